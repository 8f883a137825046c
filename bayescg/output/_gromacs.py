"""Exports of pair potentials for GROMACS: its own Lennard-Jones form, or tables for the versions that read them.

User tables of non-bonded interactions need the group cut-off scheme, which GROMACS 2020 removed: 2019 is the last version
that reads them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.output._engine_files import write_text
from bayescg.output._engine_system import EngineSystem, RunPlan, run_facts
from bayescg.output._export_folder import new_folder, potential_names
from bayescg.output._gromacs_run import (
    EXTENSION,
    LAST_VERSION,
    TABULATED,
    aliases,
    gro_text,
    lennard_jones_terms,
    mdp_text,
    shell_text,
    topology_text,
)
from bayescg.output._lammps import PairTables
from bayescg.output._manifest import MANIFEST_FILE, write_manifest
from bayescg.output._table_lookup import TableLookup
from bayescg.physics import PairPotential

_SPACING = 0.001
_SINGULAR = 0.04
"""Distance below which the columns that are multiplied by zero are zero, as in GROMACS' own tables [nm]."""
_TOPOLOGY = "topol.top"
_TABLE = "table.xvg"
_TABLE_FORM = f"non-bonded table (r, f, -f', g, -g', h, -h'), read by GROMACS up to {LAST_VERSION}"


def export_gromacs(
    tables: PairTables,
    folder: Path,
    *,
    system: EngineSystem,
    plan: RunPlan,
    potentials: Sequence[PairPotential] = (),
    mean_potential: PairPotential | None = None,
    spacing: float = _SPACING,
) -> list[Path]:
    """Writes the mean potential and every draw for GROMACS, in nm, kJ/mol and ps.

    Lennard-Jones potentials, shifted to zero at the cutoff, become `mean/topol.top`, `draw_000/topol.top` and so on with
    their C6 and C12, for every GROMACS from 5 on. All others become non-bonded tables, `mean/table.xvg` and so on, with the
    potential in the columns h and −h' and C12 = 1 and C6 = 0; GROMACS 2019 is the last version that reads such tables.
    Beside them are `start.gro`, `run.mdp`, `run.sh`, which simulates them, and `manifest.json`. Coordinate files hold five
    letters of a name: longer names of site types, or ones with spaces, have an alias in both files, which the manifest
    lists under `aliases`.

    Args:
        tables: the potentials, in the units of the study.
        folder: a folder that doesn't exist yet or is empty.
        system: the sites and where they start, in any units but `lj`.
        plan: what `run.sh` does.
        potentials: the draws as potentials, in the order of the tables and in their units; none for tables only.
        mean_potential: the mean as a potential, where it is one of the same form.
        spacing: of the rows of a table, at most [nm].

    Returns:
        The files written.

    Raises:
        InputError: the folder holds something already, reduced units, a box not longer than twice the cutoff.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> r = np.linspace(0.3, 0.9, 601)
        >>> energy, force = 1e-6 / r**12, 12e-6 / r**13
        >>> units = get_unit_system("gromacs")
        >>> tables = PairTables(r, energy[None], force[None], energy, force, ["0:0"], units, {"seed": 1})
        >>> start = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
        >>> pair = EngineSystem(("A", "A"), np.ones(2), start, np.full(3, 2.0), 300.0, 0.002, 1.0, units)
        >>> with TemporaryDirectory() as place:
        ...     files = export_gromacs(tables, Path(place) / "gromacs", system=pair, plan=RunPlan(1000, 100, 10))
        ...     [file.relative_to(place).as_posix() for file in files][:3]
        ['gromacs/mean/table.xvg', 'gromacs/draw_000/table.xvg', 'gromacs/start.gro']
    """
    units = get_unit_system("gromacs")
    lookup, inside = TableLookup(tables, units), system.converted(units)
    inside.check(lookup.cutoff, strictly=True)  # grompp refuses equality
    if not 0.0 < spacing < 0.1 * lookup.cutoff:
        raise InputError(
            f"export: rows {spacing:g} nm apart with a cutoff of {lookup.cutoff:g} nm are too coarse"
        )
    if potentials and len(potentials) != len(tables.draw_ids):
        raise InputError(f"export: {len(potentials)} potentials for {len(tables.draw_ids)} tables of draws")
    names = potential_names(tables.draw_ids)
    plan.check(potentials=len(names))
    short = aliases(inside.site_types)
    named = inside._replace(site_types=tuple(short.get(name, name) for name in inside.site_types))
    terms = [lennard_jones_terms(one, tables.units.name) for one in (mean_potential, *potentials)]
    known = [one for one in terms if one is not None]
    native = len(known) == len(names)
    file = _TOPOLOGY if native else _TABLE
    shared = ("start.gro", *(() if native else (_TOPOLOGY,)), "run.mdp", "run.sh")
    with new_folder(folder) as partial:
        for name, _ in names:
            (partial / name).mkdir()
        if native:
            for (name, _), one in zip(names, known, strict=True):
                write_text(partial / name / file, topology_text(named, one))
        else:
            write_text(partial / _TOPOLOGY, topology_text(named, TABULATED))
            _write_tables(partial, names, tables, lookup, spacing)
        write_text(partial / "start.gro", gro_text(named))
        write_text(partial / "run.mdp", mdp_text(inside, plan, lookup.cutoff, native=native))
        write_text(partial / "run.sh", shell_text(plan, [name for name, _ in names], native=native))
        (partial / "run.sh").chmod(0o755)
        write_manifest(
            partial,
            engine="GROMACS",
            form="Lennard-Jones C6 and C12 in a topology" if native else _TABLE_FORM,
            units=units,
            study_units=tables.units,
            cutoff=lookup.cutoff,
            potentials=[(name, draw, (f"{name}/{file}",)) for name, draw in names],
            shared=shared,
            provenance=tables.provenance,
            more=run_facts(inside, plan) | ({"aliases": short} if short else {}),
        )
    return [folder / path for path in (*(f"{name}/{file}" for name, _ in names), *shared, MANIFEST_FILE)]


def _write_tables(
    folder: Path, names: list[tuple[str, str]], tables: PairTables, lookup: TableLookup, spacing: float
) -> None:
    r = grid(lookup.cutoff, spacing)
    calibration = str(tables.provenance.get("calibration", "not stated"))
    for (name, draw), energy, force in zip(names, *lookup.energy_and_force(r), strict=True):
        words = " ".join(f"bayescg: {draw}; posterior: {calibration}".split())
        write_text(folder / name / _TABLE, table_text(r, energy, force, words))


def grid(cutoff: float, spacing: float) -> Float[np.ndarray, " row"]:
    """Distances from 0 to beyond the cutoff, uniform, one of them the cutoff [nm]."""
    inside = int(np.ceil(cutoff / spacing - 1e-9))
    step = cutoff / inside
    r = step * np.arange(inside + int(np.ceil(EXTENSION / step)) + 1)
    r[inside] = cutoff
    return r


def table_text(
    r: Float[np.ndarray, " row"],
    energy: Float[np.ndarray, " row"],
    force: Float[np.ndarray, " row"],
    words: str,
) -> str:
    """Seven columns: r, f, −f', g, −g', h, −h'.

    Charges and C6 are zero, so that f = 1/r and g = −1/r⁶ only keep the format.
    """
    safe = np.where(r < _SINGULAR, 1.0, r)
    far = (r >= _SINGULAR).astype(float)
    columns = [
        r, far / safe, far / safe**2, -far / safe**6, -6.0 * far / safe**7, energy, force,
    ]  # fmt: skip
    rows = [" ".join(f"{x:.15g}" for x in row) for row in np.array(columns).T]
    return f"# {words}\n# r [nm], f, -f', g, -g', h = U [kJ/mol], -h' [kJ/mol/nm]\n" + "\n".join(rows) + "\n"
