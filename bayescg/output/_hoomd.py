"""Exports for HOOMD-blue: tables for `hoomd.md.pair.Table`, and a script that runs them."""

import json
from pathlib import Path

import numpy as np

from bayescg.data import get_unit_system
from bayescg.output._engine_files import write_text
from bayescg.output._engine_system import EngineSystem, RunPlan, run_facts
from bayescg.output._export_folder import new_folder, potential_names
from bayescg.output._hoomd_script import SCRIPT
from bayescg.output._lammps import PairTables
from bayescg.output._manifest import MANIFEST_FILE, write_manifest
from bayescg.output._table_lookup import TableLookup

ROWS = 8000
"""Of a table by default: HOOMD interpolates linearly."""


def export_hoomd(
    tables: PairTables, folder: Path, *, system: EngineSystem, plan: RunPlan, rows: int = ROWS
) -> list[Path]:
    """Writes the mean potential and every draw as tables of HOOMD-blue's `md.pair.Table`.

    The folder then holds `mean/table.txt`, `draw_000/table.txt` and so on, with the columns r, U and F at
    `linspace(r_min, r_cut, rows, endpoint=False)`, `start.json`, `run.py`, which simulates them, and `manifest.json`. HOOMD
    has no units of its own: a study in `lj` stays there, any other is written in nm, kJ/mol and g/mol, whose time is ps. Below
    `r_min` HOOMD has no force, so tables go down to their first row at 1/rows of the cutoff.

    Args:
        tables: the potentials, in the units of the study.
        folder: a folder that doesn't exist yet or is empty.
        system: the sites and where they start.
        plan: what `run.py` does.
        rows: of each table.

    Returns:
        The files written.

    Raises:
        InputError: the folder holds something already, a box not longer than twice the cutoff.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> r = np.linspace(0.3, 0.9, 601)
        >>> energy, force = 1e-6 / r**12, 12e-6 / r**13
        >>> units = get_unit_system("gromacs")
        >>> tables = PairTables(r, energy[None], force[None], energy, force, ["0:0"], units, {"seed": 1})
        >>> start = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
        >>> pair = EngineSystem(("A", "A"), np.ones(2), start, np.full(3, 2.0), 300.0, 0.002, 1.0, units)
        >>> with TemporaryDirectory() as place:
        ...     files = export_hoomd(tables, Path(place) / "hoomd", system=pair, plan=RunPlan(1000, 100, 10))
        ...     [file.relative_to(place).as_posix() for file in files][1:4]
        ['hoomd/draw_000/table.txt', 'hoomd/start.json', 'hoomd/run.py']
    """
    units = get_unit_system("lj" if tables.units.name == "lj" else "gromacs")
    lookup, inside = TableLookup(tables, units), system.converted(units)
    inside.check(lookup.cutoff, strictly=True)  # its neighbour list raises at equality
    names = potential_names(tables.draw_ids)
    plan.check(potentials=len(names))
    r = np.linspace(lookup.cutoff / rows, lookup.cutoff, rows, endpoint=False)
    energies, forces = lookup.energy_and_force(r)
    with new_folder(folder) as partial:
        for (name, draw), energy, force in zip(names, energies, forces, strict=True):
            (partial / name).mkdir()
            head = f"# {draw}: r [{units.length}], U [{units.energy}], F = -dU/dr [{units.force}]\n"
            text = [f"{a:.15g} {b:.15g} {c:.15g}" for a, b, c in zip(r, energy, force, strict=True)]
            write_text(partial / name / "table.txt", head + "\n".join(text) + "\n")
        start = {
            "positions": inside.positions.tolist(),
            "box": inside.box.tolist(),
            "units": units.length,
            "kT": units.kT(inside.temperature),
            "columns": _columns(units.time, units.energy),
        }
        write_text(partial / "start.json", json.dumps(start) + "\n")
        write_text(partial / "run.py", SCRIPT)
        write_manifest(
            partial,
            engine="HOOMD-blue",
            form="hoomd.md.pair.Table: r, U and F on linspace(r_min, r_cut, rows, endpoint=False)",
            units=units,
            study_units=tables.units,
            cutoff=lookup.cutoff,
            potentials=[(name, draw, (f"{name}/table.txt",)) for name, draw in names],
            shared=("start.json", "run.py"),
            provenance=tables.provenance,
            more=run_facts(inside, plan),
        )
    files = [f"{name}/table.txt" for name, _ in names]
    return [folder / file for file in (*files, "start.json", "run.py", MANIFEST_FILE)]


def _columns(time: str, energy: str) -> list[str]:
    """Heads of the columns that the script writes."""
    return ["Step", f"Time ({time})", f"Potential Energy ({energy})", f"Kinetic Energy ({energy})"]
