"""A stored run's potentials written for a simulation engine, chosen by its name."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bayescg import output
from bayescg.errors import InputError
from bayescg.study._dihedral_tables import dihedral_tables, has_angle
from bayescg.study._engine_inputs import engine_system, run_plan
from bayescg.study._pair_tables import pair_potentials, pair_tables

ENGINES = ("lammps", "openmm", "gromacs", "hoomd", "ase")
POINTS = 4000
"""Rows of the tables that other grids are made of."""


class Exported(NamedTuple):
    """What an export wrote.

    Attributes:
        files: all of them.
        n_draws: draws beside the mean.
        units: of the files, in words.
        calibration: of the posterior.
    """

    files: list[Path]
    n_draws: int
    units: str
    calibration: str


def export_pairs(
    folder: Path,
    place: Path,
    *,
    engine: str = "lammps",
    n_draws: int = 20,
    units: str | None = None,
    steps: int | None = None,
    repeats: int = 2,
    kelvin: float | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Writes the mean and draws of a stored run on frames for an engine, with a script that runs them.

    A potential of an angle is written for GROMACS as a tabulated dihedral, without a script.

    Args:
        folder: the run's output folder.
        place: a folder that doesn't exist yet or is empty.
        engine: `lammps`, `openmm`, `gromacs`, `hoomd` or `ase`.
        n_draws: draws beside the mean.
        units: LAMMPS' unit system; by default `lj` for a study in lj, `metal` for one in metal, else `real`.
        steps: of each run of the script; by default a thousand rows.
        repeats: runs of each potential.
        kelvin: what the temperature of a study in reduced units stands for [K]; for a potential of an angle alone.
        tell: told what is left out.

    Raises:
        InputError: no such engine, no pair potential, units that can't be reached; data that are gone, without which only
            LAMMPS' tables can be written.

    Example:
        >>> export_pairs(Path("runs/lj-argon"), Path("argon-openmm"), engine="openmm").n_draws  # doctest: +SKIP
        20
    """
    if engine not in ENGINES:
        raise InputError(f"export: engine '{engine}' is unknown; use one of {', '.join(ENGINES)}")
    if units is not None and engine != "lammps":
        raise InputError(f"export: units belong to LAMMPS; {engine} has its own, so leave them out")
    if engine == "gromacs" and has_angle(folder):
        return _dihedrals(folder, place, n_draws, kelvin, tell)
    if kelvin is not None:
        raise InputError(
            "export: --kelvin belongs to potentials of an angle in reduced units, exported for gromacs; leave it out"
        )
    if engine == "lammps":
        tables = pair_tables(folder, n_draws)
        own = tables.units.name
        chosen = units or (own if own in ("lj", "metal") else "real")
        files, words = (
            _lammps(tables, folder, place, chosen, steps, repeats, tell),
            f"LAMMPS' units {chosen}",
        )
    else:
        tables = pair_tables(folder, n_draws, points=POINTS)
        files, words = _other(tables, folder, place, engine, steps, repeats), f"the units of {engine}"
    return Exported(
        files, len(tables.draw_ids), words, str(tables.provenance.get("calibration", "not stated"))
    )


def _dihedrals(
    folder: Path, place: Path, n_draws: int, kelvin: float | None, tell: Callable[[str], None]
) -> Exported:
    tables = dihedral_tables(folder, n_draws)
    files = output.export_gromacs_dihedrals(tables, place, temperature=kelvin)
    tell(
        "tables only, no run script: an angle alone is no molecule; dihedral.itp says how a topology uses them"
    )
    calibration = str(tables.provenance.get("calibration", "not stated"))
    return Exported(files, n_draws, "the units of gromacs", calibration)


def _lammps(
    tables: output.PairTables,
    folder: Path,
    place: Path,
    units: str,
    steps: int | None,
    repeats: int,
    tell: Callable[[str], None],
) -> list[Path]:
    """Tables, and LAMMPS' own style where it has the potential; what runs them where the run's data are at hand."""
    potentials, mean = pair_potentials(folder, len(tables.draw_ids))
    try:
        system = engine_system(folder)
        system.check(float(tables.distance[-1]))
    except InputError as error:
        tell(f"potentials only, no run script: {error}")
        return output.export_lammps(tables, place, units=units, potentials=potentials, mean_potential=mean)
    plan = run_plan(folder, steps=steps, repeats=repeats)
    return output.export_lammps(
        tables, place, units=units, system=system, plan=plan, potentials=potentials, mean_potential=mean
    )


def _other(
    tables: output.PairTables, folder: Path, place: Path, engine: str, steps: int | None, repeats: int
) -> list[Path]:
    system, plan = engine_system(folder), run_plan(folder, steps=steps, repeats=repeats)
    if engine == "hoomd":
        return output.export_hoomd(tables, place, system=system, plan=plan)
    if engine == "ase":
        return output.export_ase(tables, place, system=system, plan=plan)
    export = output.export_openmm if engine == "openmm" else output.export_gromacs
    potentials, mean = pair_potentials(folder, len(tables.draw_ids))
    return export(tables, place, system=system, plan=plan, potentials=potentials, mean_potential=mean)
