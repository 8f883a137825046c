"""Exports for GROMACS: tables of the pair potential for the versions that read them, and what a run needs.

User tables of non-bonded interactions need the group cut-off scheme, which GROMACS 2020 removed: 2019 is the last version
that reads them.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.output._engine_files import write_text
from bayescg.output._engine_system import EngineSystem, RunPlan, run_facts
from bayescg.output._export_folder import new_folder, potential_names
from bayescg.output._lammps import PairTables
from bayescg.output._manifest import MANIFEST_FILE, write_manifest
from bayescg.output._table_lookup import TableLookup

LAST_VERSION = "2019"
"""Of GROMACS, that reads non-bonded tables."""
EXTENSION = 1.0
"""How far a table goes beyond the cutoff [nm]: GROMACS' `table-extension`."""
_SPACING = 0.001
_SINGULAR = 0.04
"""Distance below which the columns that are multiplied by zero are zero, as in GROMACS' own tables [nm]."""
_LETTERS = 5
"""Of a name in a coordinate file."""
_FILES = ("start.gro", "topol.top", "run.mdp", "run.sh")


def export_gromacs(
    tables: PairTables, folder: Path, *, system: EngineSystem, plan: RunPlan, spacing: float = _SPACING
) -> list[Path]:
    """Writes the mean potential and every draw as non-bonded tables of GROMACS, in nm, kJ/mol and ps.

    The folder then holds `mean/table.xvg`, `draw_000/table.xvg` and so on, `start.gro`, `topol.top`, `run.mdp`, `run.sh`,
    which simulates them, and `manifest.json`. The potential stands in the columns h and −h' with C12 = 1 and C6 = 0. GROMACS
    2019 is the last version that reads such tables. Coordinate files hold five letters of a name: longer names of site types
    have a short alias in both files, which the manifest lists under `aliases`.

    Args:
        tables: the potentials, in the units of the study.
        folder: a folder that doesn't exist yet or is empty.
        system: the sites and where they start, in any units but `lj`.
        plan: what `run.sh` does.
        spacing: of the rows, at most [nm].

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
    plan.check()
    if not 0.0 < spacing < 0.1 * lookup.cutoff:
        raise InputError(
            f"export: rows {spacing:g} nm apart with a cutoff of {lookup.cutoff:g} nm are too coarse"
        )
    names = potential_names(tables)
    short = aliases(inside.site_types)
    named = inside._replace(site_types=tuple(short.get(name, name) for name in inside.site_types))
    r = grid(lookup.cutoff, spacing)
    energies, forces = lookup.energy_and_force(r)
    calibration = str(tables.provenance.get("calibration", "not stated"))
    with new_folder(folder) as partial:
        for (name, draw), energy, force in zip(names, energies, forces, strict=True):
            (partial / name).mkdir()
            words = " ".join(f"bayescg: {draw}; posterior: {calibration}".split())
            write_text(partial / name / "table.xvg", table_text(r, energy, force, words))
        write_text(partial / "start.gro", _gro(named))
        write_text(partial / "topol.top", _topology(named))
        write_text(partial / "run.mdp", _mdp(inside, plan, lookup.cutoff))
        write_text(partial / "run.sh", _shell(plan, [name for name, _ in names]))
        (partial / "run.sh").chmod(0o755)
        write_manifest(
            partial,
            engine="GROMACS",
            form=f"non-bonded table (r, f, -f', g, -g', h, -h'), read by GROMACS up to {LAST_VERSION}",
            units=units,
            study_units=tables.units,
            cutoff=lookup.cutoff,
            potentials=[(name, draw, (f"{name}/table.xvg",)) for name, draw in names],
            shared=_FILES,
            provenance=tables.provenance,
            more=run_facts(inside, plan) | ({"aliases": short} if short else {}),
        )
    files = [f"{name}/table.xvg" for name, _ in names]
    return [folder / file for file in (*files, *_FILES, MANIFEST_FILE)]


def grid(cutoff: float, spacing: float) -> Float[np.ndarray, " row"]:
    """Distances from 0 to beyond the cutoff, uniform, one of them the cutoff [nm]."""
    inside = int(np.ceil(cutoff / spacing - 1e-9))
    step = cutoff / inside
    r = step * np.arange(inside + int(np.ceil(EXTENSION / step)) + 1)
    r[inside] = cutoff
    return r


def aliases(site_types: Sequence[str]) -> dict[str, str]:
    """A name of five letters at most for every site type whose own is longer, unlike all others.

    Args:
        site_types: names of the sites' types; equal names are one type.

    Example:
        >>> aliases(["A", "methyl", "methylene", "A"])
        {'methyl': 'methy', 'methylene': 'meth1'}
    """
    own = list(dict.fromkeys(site_types))
    taken = {name for name in own if len(name) <= _LETTERS}
    short: dict[str, str] = {}
    for name in own:
        if len(name) > _LETTERS:
            numbered = (f"{name[: _LETTERS - len(str(k))]}{k}" for k in itertools.count(1))
            short[name] = next(
                one for one in itertools.chain([name[:_LETTERS]], numbered) if one not in taken
            )
            taken.add(short[name])
    return short


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


def _gro(system: EngineSystem) -> str:
    """Positions with six digits; GROMACS tells the precision from the distance of the decimal points."""
    lines = [f"{len(system.masses)} sites", str(len(system.masses))]
    for k, (name, x) in enumerate(zip(system.site_types, system.positions, strict=True), start=1):
        lines.append(f"{k % 100000:5d}{name:<5}{name:>5}{k % 100000:5d}" + "".join(f"{c:11.6f}" for c in x))
    return "\n".join([*lines, " ".join(f"{edge:.9f}" for edge in system.box)]) + "\n"


def _topology(system: EngineSystem) -> str:
    masses = dict(zip(system.site_types, system.masses, strict=True))
    lines = ["[ defaults ]", "; nbfunc comb-rule gen-pairs", "1 1 no", "", "[ atomtypes ]"]
    lines += ["; the potential is h of the table: C6 = 0, C12 = 1", "; name mass charge ptype C6 C12"]
    lines += [f"{name} {mass:.10g} 0.0 A 0.0 1.0" for name, mass in masses.items()]
    lines += ["", "[ nonbond_params ]"]
    lines += [f"{a} {b} 1 0.0 1.0" for k, a in enumerate(masses) for b in list(masses)[k:]]
    for name, mass in masses.items():
        lines += [
            "",
            "[ moleculetype ]",
            f"{name} 0",
            "",
            "[ atoms ]",
            f"1 {name} 1 {name} {name} 1 0.0 {mass:.10g}",
        ]
    lines += ["", "[ system ]", "sites", "", "[ molecules ]"]
    blocks = [[system.site_types[0], 0]]
    for name in system.site_types:  # in the order of the coordinates
        if name != blocks[-1][0]:
            blocks.append([name, 0])
        blocks[-1][1] += 1  # type: ignore[operator]
    return "\n".join([*lines, *(f"{name} {count}" for name, count in blocks)]) + "\n"


def _mdp(system: EngineSystem, plan: RunPlan, cutoff: float) -> str:
    """nstlist 1 and rlist at the cutoff: in the group scheme the pair list then is exact."""
    settings = {
        "integrator": "sd", "dt": f"{system.time_step:.10g}", "nsteps": plan.equilibration + plan.steps,
        "nstenergy": plan.interval, "nstcalcenergy": plan.interval, "nstxout-compressed": plan.interval,
        "compressed-x-precision": 100000, "nstlog": 0, "cutoff-scheme": "group", "nstlist": 1, "ns-type": "grid",
        "pbc": "xyz", "rlist": f"{cutoff:.10g}", "coulombtype": "cut-off", "rcoulomb": f"{cutoff:.10g}",
        "vdwtype": "user", "rvdw": f"{cutoff:.10g}", "table-extension": f"{EXTENSION:g}", "DispCorr": "no",
        "tc-grps": "system", "tau-t": f"{1.0 / system.friction:.10g}", "ref-t": f"{system.temperature:.10g}",
        "gen-vel": "yes", "gen-temp": f"{system.temperature:.10g}", "gen-seed": "SEED", "ld-seed": "SEED",
        "comm-mode": "none",
    }  # fmt: skip
    head = f"; GROMACS {LAST_VERSION} is the last version that reads user tables (cutoff-scheme group)\n"
    return head + "\n".join(f"{name:<24} = {value}" for name, value in settings.items()) + "\n"


def _shell(plan: RunPlan, names: list[str]) -> str:
    return f"""#!/bin/sh
# Simulates every potential of this folder with GROMACS {LAST_VERSION} or older; `./run.sh mean draw_003` these only.
# GMX is the command, gmx by default. Results go to runs/NAME/run_K/; runs that are there already are left alone.
set -eu
cd "$(dirname "$0")"
all="{" ".join(names)}"
k=0
for name in $all; do
    for repeat in $(seq 0 {plan.repeats - 1}); do
        seed=$(({plan.seed} + k)); k=$((k + 1))
        case " ${{*:-$all}} " in *" $name "*) ;; *) continue ;; esac
        place="runs/$name/run_$repeat"
        [ -e "$place" ] && continue
        rm -rf "$place.partial"; mkdir -p "$place.partial"
        sed "s/SEED/$seed/" run.mdp > "$place.partial/run.mdp"
        cp "$name/table.xvg" "$place.partial/table.xvg"
        "${{GMX:-gmx}}" grompp -f "$place.partial/run.mdp" -c start.gro -p topol.top -o "$place.partial/run.tpr" \\
            -po "$place.partial/mdout.mdp"
        (cd "$place.partial" && "${{GMX:-gmx}}" mdrun -s run.tpr -table table.xvg -e energy.edr -x trajectory.xtc)
        mv "$place.partial" "$place"
    done
done
"""
