"""Exports for ASE: the potentials in files, a start, a script that runs or evaluates them, and a manifest."""

from pathlib import Path

import numpy as np
import xarray as xr
from ase import Atoms
from ase.io import write

from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.output._ase_script import SCRIPT
from bayescg.output._atoms_system import AtomsSystem, atoms_facts, atoms_of
from bayescg.output._engine_files import write_text
from bayescg.output._engine_system import EngineSystem, RunPlan, run_facts
from bayescg.output._export_folder import new_folder, potential_names
from bayescg.output._lammps import PairTables
from bayescg.output._lammps_term import digits
from bayescg.output._manifest import MANIFEST_FILE, MEAN, Manifest, read_manifest, write_manifest
from bayescg.output._potential_draws import MEAN_PARAMETERS, PotentialDraws
from bayescg.output._result import RESULT_FILE
from bayescg.output._table_lookup import TableLookup

ENGINE = "ASE"
PAIR_FILE = "pair.txt"
START_FILE = "start.extxyz"
_SHARED = (START_FILE, "run.py")
_HEAD = "r [angstrom], U [eV], -dU/dr [eV/angstrom]"


def export_ase(tables: PairTables, folder: Path, *, system: EngineSystem, plan: RunPlan) -> list[Path]:
    """Writes the mean pair potential and every draw for ASE, in Å, eV and ps.

    The folder then holds `mean/pair.txt`, `draw_000/pair.txt` and so on (r, U and −dU/dr), `start.extxyz`, `run.py`, which
    simulates them or evaluates a file of structures with a `PairCalculator`, and `manifest.json`.

    Args:
        tables: the potentials, in the units of the study.
        folder: a folder that doesn't exist yet or is empty.
        system: the sites and where they start, in any units but `lj`.
        plan: what `run.py` does.

    Returns:
        The files written.

    Raises:
        InputError: the folder holds something already, reduced units, a box shorter than twice the cutoff.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> r = np.linspace(0.3, 0.9, 601)
        >>> energy, force = 1e-6 / r**12, 12e-6 / r**13
        >>> units = get_unit_system("gromacs")
        >>> tables = PairTables(r, energy[None], force[None], energy, force, ["0:0"], units, {"seed": 1})
        >>> start = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
        >>> pair = EngineSystem(("A", "A"), np.ones(2), start, np.full(3, 2.0), 300.0, 0.002, 1.0, units)
        >>> with TemporaryDirectory() as place:
        ...     files = export_ase(tables, Path(place) / "ase", system=pair, plan=RunPlan(1000, 100, 10))
        ...     [file.relative_to(place).as_posix() for file in files]
        ['ase/mean/pair.txt', 'ase/draw_000/pair.txt', 'ase/start.extxyz', 'ase/run.py', 'ase/manifest.json']
    """
    metal = get_unit_system("metal")
    lookup, inside = TableLookup(tables, metal), system.converted(metal)
    inside.check(lookup.cutoff)
    names = potential_names(tables.draw_ids)
    plan.check(potentials=len(names))
    with new_folder(folder) as partial:
        for (name, draw), energy, force in zip(names, lookup.energies, lookup.forces, strict=True):
            (partial / name).mkdir()
            rows = zip(lookup.distance, energy, force, strict=True)
            text = "\n".join(" ".join(map(digits, row)) for row in rows)
            write_text(partial / name / PAIR_FILE, f"# {draw}: {_HEAD}\n{text}\n")
        _write_start(partial, atoms_of(system))
        write_manifest(
            partial,
            engine=ENGINE,
            form="pair.txt: r, U and -dU/dr, cubic between rows",
            units=metal,
            study_units=tables.units,
            cutoff=lookup.cutoff,
            potentials=[(name, draw, (f"{name}/{PAIR_FILE}",)) for name, draw in names],
            shared=_SHARED,
            provenance=tables.provenance,
            more=run_facts(inside, plan),
        )
    return [
        folder / file for file in (*(f"{name}/{PAIR_FILE}" for name, _ in names), *_SHARED, MANIFEST_FILE)
    ]


def export_ase_potentials(
    draws: PotentialDraws, folder: Path, *, result: xr.DataTree, system: AtomsSystem, plan: RunPlan
) -> list[Path]:
    """Writes interatomic potentials for ASE: their draws, a start, and a script that runs or evaluates them.

    The folder then holds `posterior.nc`, a result with these draws alone, of which `exported_calculator` makes a
    `PosteriorCalculator`, `start.extxyz`, `run.py` and `manifest.json`.

    Args:
        draws: the potentials.
        folder: a folder that doesn't exist yet or is empty.
        result: a result that holds the draws of the potentials, in their order, and no others.
        system: the atoms, and the thermostat.
        plan: what `run.py` does.

    Returns:
        The files written.

    Raises:
        InputError: the folder holds something already, reduced units, a thermostat that cannot be.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from ase.build import bulk
        >>> from bayescg.physics import StillingerWeber
        >>> silicon = StillingerWeber.silicon(cutoff=4.0).vary("sw_A")
        >>> draws = PotentialDraws.of_potentials([silicon] * 2, units=get_unit_system("metal"), posterior="calibrated")
        >>> start = AtomsSystem(bulk("Si", cubic=True), 300.0, 2.0, 0.01)
        >>> with TemporaryDirectory() as place:
        ...     files = export_ase_potentials(
        ...         draws, Path(place) / "ase", result=xr.DataTree(), system=start, plan=RunPlan(1000, 100, 10)
        ...     )
        ...     [file.name for file in files]
        ['posterior.nc', 'start.extxyz', 'run.py', 'manifest.json']
    """
    metal = get_unit_system("metal")
    if draws.units.name == "lj":
        raise InputError("export: ASE works in eV and Å, and reduced units have no fixed size")
    names = [(MEAN, MEAN_PARAMETERS), *potential_names(draws.draw_ids)[1:]]
    system.check()
    plan.check(potentials=len(names))
    with new_folder(folder) as partial:
        result.to_netcdf(partial / RESULT_FILE, engine="netcdf4")
        _write_start(partial, system.atoms)
        write_manifest(
            partial,
            engine=ENGINE,
            form=f"{RESULT_FILE}: the draws of the parameters, and the model file's text",
            units=metal,
            study_units=draws.units,
            cutoff=None,
            potentials=[(name, draw, (RESULT_FILE,)) for name, draw in names],
            shared=_SHARED,
            provenance={**draws.provenance, "calibration": draws.posterior},
            more=atoms_facts(system, plan, metal),
        )
    return [folder / file for file in (RESULT_FILE, *_SHARED, MANIFEST_FILE)]


def exported_tables(folder: Path) -> PairTables:
    """The pair potentials of an export for ASE, as it was written.

    Args:
        folder: that `export_ase` wrote.

    Raises:
        InputError: no such export, or a file that has changed since.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> r = np.linspace(3.0, 9.0, 601)
        >>> energy, force = 1e6 / r**12, 12e6 / r**13
        >>> units = get_unit_system("real")
        >>> tables = PairTables(r, energy[None], force[None], energy, force, ["0:7"], units, {"seed": 1})
        >>> start = np.array([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
        >>> pair = EngineSystem(("A", "A"), np.ones(2), start, np.full(3, 20.0), 300.0, 2.0, 0.01, units)
        >>> with TemporaryDirectory() as place:
        ...     _ = export_ase(tables, Path(place) / "ase", system=pair, plan=RunPlan(1000, 100, 10))
        ...     exported_tables(Path(place) / "ase").draw_ids
        ['0:7']
    """
    manifest = read_manifest(folder)
    if not has_pair_files(manifest):
        raise InputError(
            f"{folder}: holds no {PAIR_FILE} of pair potentials; name a folder of `--engine ase`"
        )
    columns = [np.loadtxt(folder / one.name / PAIR_FILE).T for one in manifest.potentials]
    energies, forces = (np.array([one[k] for one in columns]) for k in (1, 2))
    ids = [one.draw for one in manifest.draws]
    return PairTables(
        columns[0][0],
        energies[1:],
        forces[1:],
        energies[0],
        forces[0],
        ids,
        manifest.units,
        manifest.provenance,
    )


def has_pair_files(manifest: Manifest) -> bool:
    """Whether an export for ASE holds pair potentials, not draws of an interatomic one."""
    return manifest.engine == ENGINE and all(
        f"{one.name}/{PAIR_FILE}" in one.files for one in manifest.potentials
    )


def _write_start(folder: Path, atoms: Atoms) -> None:
    kept = atoms.copy()
    kept.set_masses(atoms.get_masses())  # those of the table too are written
    columns = ["symbols", "positions", "masses", *(["molecule"] if "molecule" in atoms.arrays else [])]
    write(folder / START_FILE, kept, format="extxyz", columns=columns, write_results=False)
    write_text(folder / "run.py", SCRIPT)
