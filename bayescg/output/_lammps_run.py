"""What LAMMPS needs beside the tables to run them: a data file, an input script and a loop over all potentials."""

from pathlib import Path

import numpy as np

from bayescg.data import UnitSystem
from bayescg.output._engine_files import LAMMPS_GRID, write_text
from bayescg.output._engine_system import EngineSystem, RunPlan

RUN_FILES = ("start.data", "in.run", "run.sh")


def write_lammps_run(
    folder: Path,
    system: EngineSystem,
    plan: RunPlan,
    *,
    keyword: str,
    cutoff: float,
    names: list[tuple[str, str]],
) -> None:
    """Writes `start.data`, `in.run` and `run.sh`.

    Args:
        folder: of the export.
        system: in LAMMPS' units, which are those of the tables.
        plan: how long and how often.
        keyword: of the tables' sections.
        cutoff: of the potential [length].
        names: of each potential: the name of its results, and its table.
    """
    write_text(folder / "start.data", _data(system))
    write_text(folder / "in.run", _input(system, plan, keyword, cutoff))
    write_text(folder / "run.sh", _shell(plan, names))
    (folder / "run.sh").chmod(0o755)


def _data(system: EngineSystem) -> str:
    """One type of atom per mass; all interact alike."""
    masses, types = np.unique(system.masses, return_inverse=True)
    inside = system.positions - system.box * np.floor(system.positions / system.box)
    lines = [
        "Start of the runs, written by bayescg",
        "",
        f"{len(types)} atoms",
        f"{len(masses)} atom types",
        "",
    ]
    lines += [f"0.0 {edge:.15g} {c}lo {c}hi" for edge, c in zip(system.box, "xyz", strict=True)]
    lines += [
        "",
        "Masses",
        "",
        *(f"{k} {m:.15g}" for k, m in enumerate(masses, start=1)),
        "",
        "Atoms # atomic",
        "",
    ]
    rows = zip(types, inside, strict=True)
    lines += [
        f"{k} {kind + 1} {x[0]:.15g} {x[1]:.15g} {x[2]:.15g}" for k, (kind, x) in enumerate(rows, start=1)
    ]
    return "\n".join(lines) + "\n"


def _input(system: EngineSystem, plan: RunPlan, keyword: str, cutoff: float) -> str:
    units: UnitSystem = system.units
    return f"""# One run of one potential; run.sh gives name, table, run and seed, with this folder as the working directory.
units {units.name}
atom_style atomic
boundary p p p
read_data start.data
neighbor {0.1 * cutoff:.6g} bin
neigh_modify delay 0 every 1 check yes
pair_style table linear {LAMMPS_GRID}
pair_coeff * * ${{table}} {keyword} {cutoff:.15g}
timestep {system.time_step:.15g}
# The thermostat moves the centre of mass too, so that nothing is to be subtracted from 3N degrees of freedom.
compute_modify thermo_temp extra/dof 0
velocity all create {system.temperature:.15g} ${{seed}} mom no rot no dist gaussian temp thermo_temp
fix integrate all nve
fix bath all langevin {system.temperature:.15g} {system.temperature:.15g} {1.0 / system.friction:.15g} ${{seed}}
thermo_style custom step pe ke temp press vol
thermo_modify norm no format float %.10g
thermo {plan.interval}
run {plan.equilibration}
reset_timestep 0
dump positions all custom {plan.interval} ${{place}}/trajectory.lammpstrj id type xu yu zu
dump_modify positions sort id format float %.9g
run {plan.steps}
"""


def _shell(plan: RunPlan, names: list[tuple[str, str]]) -> str:
    pairs = " ".join(f"{name}:{table}" for name, table in names)
    return f"""#!/bin/sh
# Simulates every potential of this folder with LAMMPS; `./run.sh mean draw_003` these only.
# LMP is the command, lmp by default, such as LMP="mpirun -np 4 lmp". Results go to runs/NAME/run_K/; runs that are there
# already are left alone. `bayescg collect .` then reads them.
set -eu
cd "$(dirname "$0")"
k=0
for pair in {pairs}; do
    name="${{pair%%:*}}"
    for repeat in $(seq 0 {plan.repeats - 1}); do
        seed=$(({plan.seed} + k)); k=$((k + 1))
        if [ $# -gt 0 ]; then case " $* " in *" $name "*) ;; *) continue ;; esac; fi
        place="runs/$name/run_$repeat"
        [ -e "$place" ] && continue
        rm -rf "$place.partial"; mkdir -p "$place.partial"
        ${{LMP:-lmp}} -in in.run -log "$place.partial/log.lammps" -screen none -nocite -var place "$place.partial" \\
            -var table "${{pair#*:}}" -var seed "$seed"
        mv "$place.partial" "$place"
    done
done
"""
