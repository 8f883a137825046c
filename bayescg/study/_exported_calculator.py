"""ASE's calculator of an export: what its run script loads."""

from dataclasses import replace
from pathlib import Path

from ase.calculators.calculator import Calculator

from bayescg import output
from bayescg.errors import InputError
from bayescg.output._ase_export import ENGINE, has_pair_files
from bayescg.output._manifest import MEAN
from bayescg.study._stored_potentials import stored_potentials


def exported_calculator(folder: Path, name: str | None = None) -> Calculator:
    """A calculator of the potentials that `bayescg export --engine ase` wrote, all of them or one.

    Args:
        folder: of the export.
        name: `mean` or `draw_003` and so on; None for all draws together, whose calculator gives standard deviations too.

    Returns:
        A `PairCalculator` of a run on frames, a `PosteriorCalculator` of one on labelled configurations.

    Raises:
        InputError: no such export, a file that has changed since, a name that it doesn't hold.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import numpy as np
        >>> from ase import Atoms
        >>> from bayescg.data import get_unit_system
        >>> r = np.linspace(2.0, 8.0, 601)
        >>> energies = np.array([[0.010], [0.012]]) * 4.0 * ((3.4 / r) ** 12 - (3.4 / r) ** 6)
        >>> forces = np.array([[0.010], [0.012]]) * 24.0 * (2.0 * (3.4 / r) ** 12 - (3.4 / r) ** 6) / r
        >>> metal, ids = get_unit_system("metal"), ["0:0", "0:1"]
        >>> tables = output.PairTables(r, energies, forces, energies.mean(0), forces.mean(0), ids, metal, {})
        >>> start = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 3.4 * 2 ** (1 / 6)]])
        >>> pair = output.EngineSystem(("Ar", "Ar"), np.full(2, 39.9), start, np.full(3, 20.0), 85.0, 0.005, 1.0, metal)
        >>> with TemporaryDirectory() as place:
        ...     _ = output.export_ase(tables, Path(place) / "ase", system=pair, plan=output.RunPlan(100, 10, 10))
        ...     dimer = Atoms("Ar2", start, calculator=exported_calculator(Path(place) / "ase", "draw_001"))
        >>> print(round(dimer.get_potential_energy(), 4))
        -0.012
    """
    manifest = output.read_manifest(folder)
    if manifest.engine != ENGINE:
        raise InputError(
            f"{folder}: is an export for {manifest.engine}, not for ASE; write one by `bayescg export OUT --engine ase`"
        )
    names = [one.name for one in manifest.potentials]
    if name is not None and name not in names:
        raise InputError(
            f"{folder}: holds no potential '{name}'; choose from {names[0]} and {names[1]} to {names[-1]}"
        )
    if has_pair_files(manifest):
        tables = output.exported_tables(folder)
        return output.PairCalculator(tables if name is None else _only(tables, names.index(name) - 1))
    draws = stored_potentials(folder, len(manifest.draws))
    draws = replace(draws, draw_ids=tuple(one.draw for one in manifest.draws))
    if name is None:
        return output.PosteriorCalculator(draws)
    if name == MEAN:
        return output.PosteriorCalculator(draws.at_mean())
    k = names.index(name) - 1
    one = output.PotentialDraws.of_potentials(
        [draws.draw(k)], units=draws.units, posterior=draws.posterior, draw_ids=[draws.draw_ids[k]]
    )
    return output.PosteriorCalculator(one)


def _only(tables: output.PairTables, k: int) -> output.PairTables:
    """The mean potential alone, k = −1, or draw k in its place."""
    mean = (tables.mean_energy, tables.mean_force) if k < 0 else (tables.energy[k], tables.force[k])
    return tables._replace(
        mean_energy=mean[0], mean_force=mean[1], energy=tables.energy[:0], force=tables.force[:0], draw_ids=[]
    )
