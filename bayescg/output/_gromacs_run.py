"""What GROMACS needs beside a pair potential to run it: coordinates, topology, settings and a loop over all potentials."""

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bayescg.data import conversion
from bayescg.output._engine_system import EngineSystem, RunPlan
from bayescg.output._lammps_term import digits
from bayescg.physics import LennardJones, PairPotential

LAST_VERSION = "2019"
"""Of GROMACS, that reads non-bonded tables."""
EXTENSION = 1.0
"""How far a table goes beyond the cutoff [nm]: GROMACS' `table-extension`."""
_LETTERS = 5
"""Of a name in a coordinate file."""
_UNREADABLE = re.compile(r'[^!-~]|[#;"\\\[\]]')
"""What a name in a topology can't hold: spaces, comments, sections, directives, strings."""
_BUFFER = 0.1
"""Of a pair list, of the cutoff."""
_REACH = 8.0
"""Thermal path lengths that the buffer should be worth while a pair list is kept: 5.7 standard deviations of a pair's."""
_MOST_STEPS = 20
"""That a pair list is kept."""


class LennardJonesTerms(NamedTuple):
    """A Lennard-Jones potential as GROMACS' own form: C12/r¹² − C6/r⁶, shifted to 0 at the cutoff.

    Attributes:
        c6: [kJ/mol nm⁶].
        c12: [kJ/mol nm¹²].
    """

    c6: float
    c12: float


TABULATED = LennardJonesTerms(0.0, 1.0)
"""Where the potential is the column h of a table."""


def lennard_jones_terms(potential: PairPotential | None, units: str) -> LennardJonesTerms | None:
    """A potential in GROMACS' own form; None for one that has none, which goes by a table.

    Args:
        potential: in the units of the study.
        units: the name of these.

    Example:
        >>> lennard_jones_terms(LennardJones(1.0, 1.0, cutoff=2.5), "gromacs")
        LennardJonesTerms(c6=4.0, c12=4.0)
    """
    if not isinstance(potential, LennardJones) or potential.convention != "shifted":
        return None
    length, energy = (conversion(q, units, "gromacs") for q in ("length", "energy"))
    repulsion, attraction = (float(c) * energy for c in np.asarray(potential.coefficients()))
    return LennardJonesTerms(-attraction * length**6, repulsion * length**12)


def aliases(site_types: Sequence[str]) -> dict[str, str]:
    """A name of five letters at most for every site type whose own GROMACS can't read, unlike all others.

    Args:
        site_types: names of the sites' types; equal names are one type.

    Example:
        >>> aliases(["A", "methyl", "methylene", "A", "C 1"])
        {'methyl': 'methy', 'methylene': 'meth1', 'C 1': 'C1'}
    """
    own = list(dict.fromkeys(site_types))
    plain = {name: _UNREADABLE.sub("", name)[:_LETTERS] or "X" for name in own}
    taken = {name for name in own if plain[name] == name}
    short: dict[str, str] = {}
    for name in own:
        if plain[name] != name:
            base = plain[name]
            numbered = (f"{base[: _LETTERS - len(str(k))]}{k}" for k in itertools.count(1))
            short[name] = next(one for one in itertools.chain([base], numbered) if one not in taken)
            taken.add(short[name])
    return short


def gro_text(system: EngineSystem) -> str:
    """Positions with six digits; GROMACS tells the precision from the distance of the decimal points."""
    lines = [f"{len(system.masses)} sites", str(len(system.masses))]
    for k, (name, x) in enumerate(zip(system.site_types, system.positions, strict=True), start=1):
        lines.append(f"{k % 100000:5d}{name:<5}{name:>5}{k % 100000:5d}" + "".join(f"{c:11.6f}" for c in x))
    return "\n".join([*lines, " ".join(f"{edge:.9f}" for edge in system.box)]) + "\n"


def topology_text(system: EngineSystem, terms: LennardJonesTerms) -> str:
    """The topology; all sites interact alike."""
    masses = dict(zip(system.site_types, system.masses, strict=True))
    c6, c12 = digits(terms.c6), digits(terms.c12)
    lines = ["[ defaults ]", "; nbfunc comb-rule gen-pairs", "1 1 no", "", "[ atomtypes ]"]
    if terms == TABULATED:
        lines.append("; the potential is h of the table: C6 = 0, C12 = 1")
    lines.append("; name mass charge ptype C6 C12")
    lines += [f"{name} {mass:.10g} 0.0 A {c6} {c12}" for name, mass in masses.items()]
    lines += ["", "[ nonbond_params ]"]
    lines += [f"{a} {b} 1 {c6} {c12}" for k, a in enumerate(masses) for b in list(masses)[k:]]
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


def mdp_text(system: EngineSystem, plan: RunPlan, cutoff: float, *, native: bool) -> str:
    """The settings of a run, with SEED where the seed is to stand.

    Args:
        system: in nm, ps and g/mol.
        plan: of the run.
        cutoff: of the potential [nm].
        native: whether the potential is GROMACS' own form, or a table.
    """
    settings = {
        "integrator": "sd", "dt": f"{system.time_step:.10g}", "nsteps": plan.equilibration + plan.steps,
        "nstenergy": plan.interval, "nstcalcenergy": plan.interval, "nstxout-compressed": plan.interval,
        "compressed-x-precision": 100000, "nstlog": 0, "pbc": "xyz", "coulombtype": "cut-off",
        "rcoulomb": f"{cutoff:.10g}", "rvdw": f"{cutoff:.10g}", "DispCorr": "no",
        **(_pair_list(system, cutoff) if native else _group_scheme(cutoff)),
        "tc-grps": "system", "tau-t": f"{1.0 / system.friction:.10g}", "ref-t": f"{system.temperature:.10g}",
        "gen-vel": "yes", "gen-temp": f"{system.temperature:.10g}", "gen-seed": "SEED", "ld-seed": "SEED",
        "comm-mode": "none",
    }  # fmt: skip
    head = "; Langevin dynamics of one potential; run.sh gives the seed\n"
    if not native:
        head = f"; GROMACS {LAST_VERSION} is the last version that reads user tables (cutoff-scheme group)\n"
    return head + "\n".join(f"{name:<24} = {value}" for name, value in settings.items()) + "\n"


def _group_scheme(cutoff: float) -> dict[str, object]:
    """nstlist 1 and rlist at the cutoff: in the group scheme the pair list then is exact."""
    return {
        "cutoff-scheme": "group", "nstlist": 1, "ns-type": "grid", "rlist": f"{cutoff:.10g}", "vdwtype": "user",
        "table-extension": f"{EXTENSION:g}",
    }  # fmt: skip


def _pair_list(system: EngineSystem, cutoff: float) -> dict[str, object]:
    """A buffer of a tenth of the cutoff where the box has room, kept for as long as no pair crosses it."""
    reach = min((1.0 + _BUFFER) * cutoff, 0.495 * float(np.min(system.box)))
    # nm/ps, since a kJ/g is a nm²/ps²
    speed = np.sqrt(system.units.kT(system.temperature) / np.min(system.masses))
    steps = int((reach - cutoff) / (_REACH * speed * system.time_step))
    kept = steps >= 2
    return {
        "cutoff-scheme": "Verlet", "verlet-buffer-tolerance": -1, "nstlist": min(steps, _MOST_STEPS) if kept else 1,
        "rlist": f"{reach if kept else cutoff:.10g}", "vdwtype": "cut-off", "vdw-modifier": "Potential-shift",
    }  # fmt: skip


def shell_text(plan: RunPlan, names: Sequence[str], *, native: bool) -> str:
    """The loop over all potentials."""
    words = "GROMACS" if native else f"GROMACS {LAST_VERSION} or older"
    topology = "$name/topol.top" if native else "topol.top"
    copied = "" if native else '        cp "$name/table.xvg" "$place.partial/table.xvg"\n'
    table = "" if native else " -table table.xvg"
    return f"""#!/bin/sh
# Simulates every potential of this folder with {words}; `./run.sh mean draw_003` these only.
# GMX is the command, gmx by default; MDRUN holds more options of mdrun, such as MDRUN="-nt 4". Results go to
# runs/NAME/run_K/; runs that are there already are left alone. `bayescg collect .` then reads them.
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
{copied}        "${{GMX:-gmx}}" grompp -f "$place.partial/run.mdp" -c start.gro -p "{topology}" -o "$place.partial/run.tpr" \\
            -po "$place.partial/mdout.mdp"
        (cd "$place.partial" && "${{GMX:-gmx}}" mdrun ${{MDRUN:-}} -s run.tpr{table} -e energy.edr -x trajectory.xtc)
        mv "$place.partial" "$place"
    done
done
"""
