"""Pair tables for LAMMPS: the mean potential and an ensemble of posterior draws.

A user who runs the same simulation with every draw sees how uncertain the result is that the potential gives; a user
who runs only the mean does not.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.data import UnitSystem, conversion, get_unit_system
from bayescg.errors import InputError
from bayescg.output._engine_files import write_text
from bayescg.output._engine_system import EngineSystem, RunPlan, run_facts
from bayescg.output._export_folder import new_folder, potential_names
from bayescg.output._lammps_native import NATIVE, include_text, native_lines, table_lines
from bayescg.output._lammps_run import RUN_FILES, write_lammps_run
from bayescg.output._manifest import MANIFEST_FILE, MEAN, write_manifest
from bayescg.physics import PairPotential

LAMMPS_UNITS = ("real", "metal", "lj")


class PairTables(NamedTuple):
    """Pair potentials on one fine grid of distances, in the units of the study.

    Attributes:
        distance: Uniform and above zero, the last one being the cutoff [length].
        energy: One potential per posterior draw [energy].
        force: Minus the derivative of each with respect to distance [force].
        mean_energy: The posterior mean potential [energy].
        mean_force: Minus its derivative [force].
        draw_ids: Which draw each row is, e.g. "chain 0 draw 17".
        units: The unit system of all of these.
        provenance: What the manifest repeats: title, calibration, seed, temperature, data checksum, versions; see
            `table_provenance`.

    Example:
        >>> r = np.linspace(0.3, 0.9, 601)
        >>> energy, force = 1e-6 / r**12, 12e-6 / r**13
        >>> units, known = get_unit_system("gromacs"), {"seed": 1}
        >>> PairTables(r, energy[None], force[None], energy, force, ["chain 0 draw 0"], units, known).units.name
        'gromacs'
    """

    distance: Float[np.ndarray, "bin"]
    energy: Float[np.ndarray, "draw bin"]
    force: Float[np.ndarray, "draw bin"]
    mean_energy: Float[np.ndarray, "bin"]
    mean_force: Float[np.ndarray, "bin"]
    draw_ids: Sequence[str]
    units: UnitSystem
    provenance: Mapping[str, object]


def table_provenance(tree: xr.DataTree) -> dict[str, object]:
    """What a table's manifest repeats of the result that it comes from.

    Args:
        tree: A result.

    Returns:
        Title, calibration, seed, temperature and its unit, checksum of the data, versions of the libraries, and when
        the result was made; without what the result does not say.

    Example:
        >>> tree = xr.DataTree()
        >>> tree.attrs |= {"units": "gromacs", "temperature": 300.0, "seed": 1, "versions": '{"bayescg": "0.1.0"}'}
        >>> table_provenance(tree)
        {'seed': 1, 'temperature': 300.0, 'temperature_unit': 'K', 'versions': {'bayescg': '0.1.0'}}
    """
    attrs = tree.attrs
    found: dict[str, object] = {name: str(attrs[name]) for name in ("title", "calibration") if name in attrs}
    if "seed" in attrs:
        found["seed"] = int(attrs["seed"])
    if "temperature" in attrs:
        found["temperature"] = float(attrs["temperature"])
        found["temperature_unit"] = get_unit_system(str(attrs["units"])).temperature
    if "data_checksum" in attrs:
        found["data_checksum"] = str(attrs["data_checksum"])
    if "versions" in attrs:
        found["versions"] = json.loads(attrs["versions"])
    if "created" in attrs:
        found["created"] = str(attrs["created"])
    return found


def write_pair_table(
    path: Path,
    distances: Float[np.ndarray, "bin"],
    energies: Float[np.ndarray, "bin"],
    forces: Float[np.ndarray, "bin"],
    *,
    keyword: str,
    units: str,
    comment: str,
) -> None:
    """Writes one potential in the format of LAMMPS' `pair_style table`.

    The first line carries the tag `UNITS:`, by which LAMMPS refuses the table in a script of other units.

    Args:
        path: The file to write.
        distances: Uniform, above zero, up to the cutoff [length unit of `units`].
        energies: U(r) [energy unit of `units`].
        forces: -dU/dr [force unit of `units`].
        keyword: The section's name, which `pair_coeff` repeats; one word.
        units: LAMMPS' name for the units that the numbers are in: "real", "metal" or "lj".
        comment: One line for the reader.

    Raises:
        ValueError: The arrays are no table: not uniform, not finite, or the forces are not the energies' slope.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> r = np.linspace(0.9, 2.5, 801)
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "repulsion.table"
        ...     write_pair_table(path, r, r**-12, 12 * r**-13, keyword="PAIR", units="lj", comment="soft spheres")
        ...     path.read_text().splitlines()[3]
        'N 801 R 0.9 2.5'
    """
    if units not in LAMMPS_UNITS:
        raise ValueError(f"LAMMPS units {units!r}: expected one of {', '.join(LAMMPS_UNITS)}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", keyword):
        raise ValueError(f"keyword {keyword!r}: expected one word of letters, digits and underscores")
    if "\n" in comment:
        raise ValueError("comment: expected one line")
    _check_table(distances, energies, forces)
    lines = [
        f"# UNITS: {units}  {comment}",
        "",
        keyword,
        f"N {len(distances)} R {distances[0]:.15g} {distances[-1]:.15g}",
        "",
    ]
    rows = zip(distances, energies, forces, strict=True)
    lines += [f"{i} {r:.15g} {u:.15g} {f:.15g}" for i, (r, u, f) in enumerate(rows, start=1)]
    write_text(path, "\n".join(lines) + "\n")


def export_lammps(
    tables: PairTables,
    folder: Path,
    *,
    units: str = "real",
    keyword: str = "PAIR",
    system: EngineSystem | None = None,
    plan: RunPlan | None = None,
    potentials: Sequence[PairPotential] = (),
    mean_potential: PairPotential | None = None,
) -> list[Path]:
    """Writes the mean potential and every draw as LAMMPS pair tables, and in LAMMPS' own style where that has them.

    The folder then holds `mean.table`, `draws/draw_000.table` and so on, `in.pair` (the lines of a LAMMPS script that
    use them) and `manifest.json` (what each file is, its checksum, and which posterior the draws come from). Lennard-Jones
    potentials, shifted to zero at the cutoff, are written as commands of `lj/cut` too, `mean.pair`, `draws/draw_000.pair`
    and so on; scripts then use these.

    Args:
        tables: The potentials, in the units of the study.
        folder: A folder that doesn't exist yet or is empty.
        units: The LAMMPS unit system to convert into: "real", "metal" or "lj".
        keyword: The name of the section in each table.
        system: The sites and where they start. With it and `plan` the folder also holds what runs them: `start.data`,
            `in.run` and `run.sh`.
        plan: How long and how often each potential is simulated.
        potentials: The draws as potentials, in the order of the tables and in their units; none for tables only.
        mean_potential: The mean as a potential, where it is one of the same form.

    Returns:
        The files written.

    Raises:
        InputError: The folder holds something already, or `units` can't be reached from the study's.
        ValueError: The tables are inconsistent.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> r = np.linspace(0.3, 0.9, 601)
        >>> energy, force = 1e-6 / r**12, 12e-6 / r**13
        >>> units, known = get_unit_system("gromacs"), {"seed": 1}
        >>> tables = PairTables(r, energy[None], force[None], energy, force, ["chain 0 draw 0"], units, known)
        >>> with TemporaryDirectory() as folder:
        ...     [path.name for path in export_lammps(tables, Path(folder), units="real")]
        ['mean.table', 'draw_000.table', 'in.pair', 'manifest.json']
    """
    if units not in LAMMPS_UNITS:
        raise InputError(
            f"export: units {units!r} is no LAMMPS unit system here; use {' or '.join(LAMMPS_UNITS)}"
        )
    if not len(tables.energy) == len(tables.force) == len(tables.draw_ids):
        raise ValueError(
            f"tables: {len(tables.energy)} energies, {len(tables.force)} forces and {len(tables.draw_ids)} draw ids; "
            "expected one of each per draw"
        )
    if potentials and len(potentials) != len(tables.draw_ids):
        raise InputError(f"export: {len(potentials)} potentials for {len(tables.draw_ids)} tables of draws")
    target = get_unit_system(units)
    cutoff = float(tables.distance[-1]) * conversion("length", tables.units, target)
    inside = None
    if system is not None and plan is not None:
        inside = system.converted(target)
        inside.check(cutoff)
        plan.check(potentials=1 + len(tables.draw_ids))
    native = None
    if potentials:
        native = native_lines((mean_potential, *potentials), study=tables.units, target=target)
    endings = ("table",) if native is None else ("pair", "table")
    entries = [
        (name, draw, tuple(f"{'' if name == MEAN else 'draws/'}{name}.{ending}" for ending in endings))
        for name, draw in potential_names(tables.draw_ids)
    ]
    shared = ["in.pair"]
    with new_folder(folder) as partial:
        _write_potentials(partial, entries, tables, target, keyword=keyword, native=native)
        text = include_text(
            units, keyword=keyword, cutoff=cutoff, native=native is not None, n_draws=len(tables.draw_ids)
        )
        write_text(partial / "in.pair", text)
        if inside is not None and plan is not None:
            commands = table_lines(keyword, cutoff) if native is None else "include ${potential}\n"
            first = [(name, files[0]) for name, _, files in entries]
            write_lammps_run(partial, inside, plan, commands=commands, cutoff=cutoff, names=first)
            shared += RUN_FILES
        write_manifest(
            partial,
            engine="LAMMPS",
            form="LAMMPS pair_style table" if native is None else f"LAMMPS {NATIVE}, and pair_style table",
            units=target,
            study_units=tables.units,
            cutoff=cutoff,
            potentials=entries,
            shared=shared,
            provenance=tables.provenance,
            more={"keyword": keyword, **run_facts(inside, plan)},
        )
    return [folder / file for file in (*(f for _, _, some in entries for f in some), *shared, MANIFEST_FILE)]


def _write_potentials(
    folder: Path,
    entries: Sequence[tuple[str, str, tuple[str, ...]]],
    tables: PairTables,
    target: UnitSystem,
    *,
    keyword: str,
    native: list[str] | None,
) -> None:
    """The table of each potential, and before it the commands of LAMMPS' own style where it has one."""
    length, to_energy, to_force = (conversion(q, tables.units, target) for q in ("length", "energy", "force"))
    calibration = str(tables.provenance.get("calibration", "not stated"))
    curves = zip((tables.mean_energy, *tables.energy), (tables.mean_force, *tables.force), strict=True)
    (folder / "draws").mkdir()
    for k, ((_, draw, files), (energy, force)) in enumerate(zip(entries, curves, strict=True)):
        words = " ".join(f"bayescg: {draw}; posterior: {calibration}".split())
        if native is not None:
            write_text(folder / files[0], f"# UNITS: {target.name}  {words}\n{native[k]}\n")
        write_pair_table(
            folder / files[-1],
            np.asarray(tables.distance, dtype=float) * length,
            np.asarray(energy, dtype=float) * to_energy,
            np.asarray(force, dtype=float) * to_force,
            keyword=keyword,
            units=target.name,
            comment=words,
        )


def _check_table(distances: np.ndarray, energies: np.ndarray, forces: np.ndarray) -> None:
    if not len(distances) == len(energies) == len(forces) or len(distances) < 2:
        raise ValueError(
            f"table: {len(distances)} distances, {len(energies)} energies, {len(forces)} forces; "
            "expected equally many, two at least"
        )
    for name, values in (("distances", distances), ("energies", energies), ("forces", forces)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise ValueError(
                f"table: {name}[{bad[0]}] is {values[bad[0]]}; begin the table where it is finite"
            )
    steps = np.diff(distances)
    if distances[0] <= 0 or not np.allclose(steps, steps.mean(), rtol=1e-6, atol=0) or steps[0] <= 0:
        raise ValueError("table: distances must be uniform, increasing and above zero, as by numpy.linspace")
    change = np.diff(energies)
    work = 0.5 * (forces[1:] + forces[:-1]) * steps
    if np.abs(change + work).sum() > 0.02 * np.abs(change).sum():
        raise ValueError(
            "table: the forces are not -dU/dr of the energies; check their sign, units and spacing"
        )
