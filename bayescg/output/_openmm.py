"""Exports for OpenMM: a serialised System and a force field for the mean and each draw, and a script that runs them."""

import json
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.output._engine_files import write_text
from bayescg.output._engine_system import EngineSystem, RunPlan, run_facts
from bayescg.output._export_folder import new_folder, potential_names
from bayescg.output._lammps import PairTables
from bayescg.output._lammps_term import digits
from bayescg.output._manifest import MANIFEST_FILE, write_manifest
from bayescg.output._openmm_formulas import pair_formula
from bayescg.output._openmm_script import SCRIPT
from bayescg.output._openmm_system import PairFormula, force_field_xml, system_xml, tabulated
from bayescg.output._table_lookup import TableLookup
from bayescg.physics import LennardJones, PairPotential

PAIR_FILE = "pair.txt"
PAIR_ROWS = 1000
_PAIR_HEAD = "# r [nm], U [kJ/mol], -dU/dr [kJ/mol/nm]\n"


def export_openmm(
    tables: PairTables,
    folder: Path,
    *,
    system: EngineSystem,
    plan: RunPlan,
    potentials: Sequence[PairPotential] = (),
    mean_potential: PairPotential | None = None,
) -> list[Path]:
    """Writes the mean potential and every draw for OpenMM, in nm, kJ/mol and ps.

    The folder then holds `mean/`, `draw_000/` and so on, each with `system.xml` (a serialised System with a
    CustomNonbondedForce), `forcefield.xml` (the same for other boxes) and `pair.txt` (r, U and −dU/dr, for the pressure,
    which OpenMM doesn't report), `start.json` (positions and box), `run.py`, which simulates them, and `manifest.json`. A
    potential is written as its formula where it is a single Lennard-Jones, Mie or WCA term, and as the table's energies,
    interpolated by a natural cubic spline, otherwise.

    Args:
        tables: the potentials, in the units of the study.
        folder: a folder that doesn't exist yet or is empty.
        system: the sites and where they start, in any units but `lj`.
        plan: what `run.py` does.
        potentials: the draws as potentials, in the order of the tables and in their units; none for tables only.
        mean_potential: the mean as a potential, where it is one of the same form.

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
        ...     files = export_openmm(tables, Path(place) / "openmm", system=pair, plan=RunPlan(1000, 100, 10))
        ...     [file.relative_to(place).as_posix() for file in files][3:]
        ['openmm/draw_000/system.xml', 'openmm/draw_000/forcefield.xml', 'openmm/draw_000/pair.txt', 'openmm/start.json', \
'openmm/run.py', 'openmm/manifest.json']
    """
    nanometres = get_unit_system("gromacs")
    lookup, inside = TableLookup(tables, nanometres), system.converted(nanometres)
    inside.check(lookup.cutoff)
    if potentials and len(potentials) != len(tables.draw_ids):
        raise InputError(f"export: {len(potentials)} potentials for {len(tables.draw_ids)} tables of draws")
    of_draws: Sequence[PairPotential | None] = potentials or [None] * len(tables.draw_ids)
    given = [mean_potential, *of_draws]
    names = potential_names(tables.draw_ids)
    plan.check(potentials=len(names))
    r = np.linspace(lookup.distance[0], lookup.cutoff, PAIR_ROWS)
    energies, forces = lookup.energy_and_force(r)
    with new_folder(folder) as partial:
        forms = []
        for k, ((name, _), potential) in enumerate(zip(names, given, strict=True)):
            formula = None if potential is None else pair_formula(potential, tables.units)
            forms.append("table" if formula is None else "formula")
            if formula is None:
                formula = tabulated(lookup.distance, lookup.energies[k], lookup.forces[k])
            _write_potential(partial / name, inside, formula)
            rows = np.stack([r, energies[k], forces[k]], axis=1)
            write_text(
                partial / name / PAIR_FILE,
                _PAIR_HEAD + "\n".join(" ".join(map(digits, row)) for row in rows) + "\n",
            )
        start = {"positions": inside.positions.tolist(), "box": inside.box.tolist(), "units": "nm"}
        write_text(partial / "start.json", json.dumps(start) + "\n")
        write_text(partial / "run.py", SCRIPT)
        entries = [
            (n, draw, (f"{n}/system.xml", f"{n}/forcefield.xml", f"{n}/{PAIR_FILE}")) for n, draw in names
        ]
        shared = ("start.json", "run.py")
        write_manifest(
            partial,
            engine="OpenMM",
            form="serialised System with a CustomNonbondedForce",
            units=nanometres,
            study_units=tables.units,
            cutoff=lookup.cutoff,
            potentials=entries,
            shared=shared,
            provenance=tables.provenance,
            more={"forms": dict(zip([n for n, _ in names], forms, strict=True)), **run_facts(inside, plan)},
        )
    files = [file for _, _, some in entries for file in some]
    return [folder / file for file in (*files, *shared, MANIFEST_FILE)]


def mean_of(potentials: Sequence[PairPotential], coefficients: Sequence[float]) -> PairPotential | None:
    """The mean potential as a potential: Lennard-Jones, whose energy is linear in its two coefficients; else None.

    Args:
        potentials: of one form.
        coefficients: means of 4εσ¹² and −4εσ⁶ over the posterior.

    Example:
        >>> pairs = [LennardJones(epsilon, 1.0, cutoff=2.5) for epsilon in (1.0, 2.0)]
        >>> float(mean_of(pairs, [6.0, -6.0]).epsilon)
        1.5
    """
    first = potentials[0]
    if not isinstance(first, LennardJones):
        return None
    repulsion, attraction = coefficients[0], -coefficients[1]
    return first.with_parameters(
        {
            f"{first.name}_epsilon": jnp.asarray(attraction**2 / (4.0 * repulsion)),
            f"{first.name}_sigma": jnp.asarray((repulsion / attraction) ** (1.0 / 6.0)),
        }
    )


def _write_potential(folder: Path, system: EngineSystem, formula: PairFormula) -> None:
    folder.mkdir()
    write_text(folder / "system.xml", system_xml(system, formula))
    write_text(folder / "forcefield.xml", force_field_xml(system, formula))
