"""A stored run's interatomic potentials written for a simulation engine, chosen by its name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from bayescg import output
from bayescg.errors import InputError
from bayescg.output._potential_draws import evenly_spaced
from bayescg.study._export_pairs import Exported
from bayescg.study._labelled_engine_inputs import labelled_plan, labelled_system
from bayescg.study._stored_potentials import ensemble_draws, stored_potentials

LABELLED_ENGINES = ("lammps", "ase")


def export_labelled(
    folder: Path,
    place: Path,
    *,
    engine: str = "lammps",
    n_draws: int = 20,
    units: str | None = None,
    ensemble: str = "posterior",
    steps: int | None = None,
    repeats: int = 2,
    kelvin: float | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Writes the mean and draws of a stored run on labelled configurations, with a script that runs them.

    Args:
        folder: the run's output folder.
        place: a folder that doesn't exist yet or is empty.
        engine: `lammps` or `ase`.
        n_draws: draws beside the mean.
        units: LAMMPS' unit system; by default `lj` for a study in lj, `metal` for one in metal, else `real`.
        ensemble: which draws, `posterior` or one that `[misspecification]` named.
        steps: of each run of the script; 2000 by default.
        repeats: runs of each potential.
        kelvin: temperature of the runs [K]; 300 by default.
        tell: told what is left out.

    Raises:
        InputError: no such engine, units that can't be reached, terms that LAMMPS lacks; for ASE, data that are gone.

    Example:
        >>> export_labelled(Path("runs/si-stillinger-weber"), Path("silicon"), engine="ase").n_draws  # doctest: +SKIP
        20
    """
    if engine not in LABELLED_ENGINES:
        raise InputError(
            f"{folder}: potentials inferred from labelled configurations are exported for {' and '.join(LABELLED_ENGINES)};"
            f" name one of these instead of {engine}"
        )
    if units is not None and engine != "lammps":
        raise InputError(f"export: units belong to LAMMPS; {engine} has its own, so leave them out")
    draws = stored_potentials(folder, n_draws, ensemble=ensemble)
    plan = labelled_plan(steps=steps, repeats=repeats)
    if engine == "ase":
        system = labelled_system(folder, draws.mean(), temperature=kelvin)
        result = _with_draws(folder, n_draws, ensemble, draws.posterior)
        files = output.export_ase_potentials(draws, place, result=result, system=system, plan=plan)
        return Exported(files, draws.n_draws, "the units of ASE", draws.posterior)
    own = draws.units.name
    chosen = units or (own if own in ("lj", "metal") else "real")
    start = _lammps_start(folder, draws, kelvin, tell)
    files = output.export_lammps_potentials(
        draws, place, units=chosen, system=start, plan=None if start is None else plan
    )
    return Exported(files, draws.n_draws, f"LAMMPS' units {chosen}", draws.posterior)


def _lammps_start(
    folder: Path, draws: output.PotentialDraws, kelvin: float | None, tell: Callable[[str], None]
) -> output.AtomsSystem | None:
    """What LAMMPS' script starts from; None, and a word, where the run's data give nothing."""
    try:
        system = labelled_system(folder, draws.mean(), temperature=kelvin)
    except InputError as error:
        tell(f"potentials only, no run script: {error}")
        return None
    if not system.atoms.pbc.all():
        tell("potentials only, no run script: no configuration of the data is periodic in all directions")
        return None
    return system


def _with_draws(folder: Path, n_draws: int, ensemble: str, words: str) -> xr.DataTree:
    """A result that holds the exported draws and what potentials are built from, nothing else."""
    tree = output.open_result(folder)
    z, _ = ensemble_draws(tree, folder, ensemble)
    flat = z.reshape(-1, z.shape[-1])
    kept = np.asarray(flat[evenly_spaced(len(flat), n_draws)])[None]
    unconstrained = xr.Dataset({"z_calibrated": (("chain", "draw", "coordinate"), kept)})
    reduced = xr.DataTree.from_dict({"unconstrained": unconstrained})
    reduced.attrs |= tree.attrs | {"calibration": words}
    return reduced
