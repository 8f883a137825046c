"""What LAMMPS needs beside the tables to run them: a data file, an input script and a loop over all potentials."""

from pathlib import Path

import numpy as np
from ase.io import write

from bayescg.data import UnitSystem
from bayescg.errors import InputError
from bayescg.output._atoms_system import AtomsSystem
from bayescg.output._engine_files import write_text
from bayescg.output._engine_system import EngineSystem, RunPlan

RUN_FILES = ("start.data", "in.run", "run.sh")
TRAJECTORY = "trajectory.lammpstrj"
"""That `bayescg collect` reads; of cells that are tilted, which it doesn't, frames have another name."""


def write_lammps_run(
    folder: Path,
    system: EngineSystem,
    plan: RunPlan,
    *,
    commands: str,
    cutoff: float,
    names: list[tuple[str, str]],
) -> None:
    """Writes `start.data`, `in.run` and `run.sh`.

    Args:
        folder: of the export.
        system: in LAMMPS' units, which are those of the tables.
        plan: how long and how often.
        commands: pair_style and pair_coeff, or what includes them, with the potential's file in the variable `potential`.
        cutoff: of the potential [length].
        names: of each potential: the name of its results, and its file.
    """
    write_text(folder / "start.data", _data(system))
    thermostat = (system.temperature, system.time_step, system.friction)
    write_text(folder / "in.run", _input(system.units, thermostat, plan, commands, cutoff, TRAJECTORY))
    _write_shell(folder, plan, names)


def check_start(system: AtomsSystem, species: tuple[str, ...]) -> None:
    """Raise an InputError for atoms that LAMMPS' script can't start from."""
    system.check()
    unknown = sorted(set(system.atoms.get_chemical_symbols()) - set(species))
    if unknown:
        raise InputError(
            f"system: atoms of {', '.join(unknown)}, the potential knows {', '.join(species)}; start from others"
        )
    if not system.atoms.pbc.all():
        raise InputError(
            "system: LAMMPS' script needs atoms that are periodic in all directions; start from others"
        )


def write_potentials_run(
    folder: Path,
    system: AtomsSystem,
    plan: RunPlan,
    *,
    units: UnitSystem,
    species: tuple[str, ...],
    cutoff: float,
    names: list[tuple[str, str]],
) -> None:
    """Writes `start.data`, `in.run` and `run.sh` beside the files of interatomic potentials and their `in.potential`.

    Args:
        folder: of the export.
        system: atoms in any periodic cell.
        plan: how long and how often.
        units: LAMMPS' ones, of the files.
        species: in the order of the types.
        cutoff: of the potential [length of the units].
        names: of each potential: the name of its results, and its folder.
    """
    write(
        folder / "start.data", system.atoms, format="lammps-data", specorder=list(species), units=units.name,
        masses=True, atom_style="atomic",
    )  # fmt: skip
    facts = system.facts(units)
    thermostat = tuple(float(str(facts[name])) for name in ("temperature", "time_step", "friction"))
    file = TRAJECTORY if system.orthorhombic else "frames.lammpstrj"
    commands = "include in.potential\n"
    write_text(folder / "in.run", _input(units, thermostat, plan, commands, cutoff, file))
    _write_shell(folder, plan, names)


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


def _input(
    units: UnitSystem, thermostat: tuple[float, ...], plan: RunPlan, commands: str, cutoff: float, file: str
) -> str:
    temperature, time_step, friction = thermostat
    return f"""# One run of one potential. run.sh gives its file, the place of its results and a seed, in this folder.
units {units.name}
atom_style atomic
boundary p p p
box tilt large
read_data start.data
neighbor {0.1 * cutoff:.6g} bin
neigh_modify delay 0 every 1 check yes
{commands}timestep {time_step:.15g}
# The thermostat moves the centre of mass too, so that nothing is to be subtracted from 3N degrees of freedom.
compute_modify thermo_temp extra/dof 0
velocity all create {temperature:.15g} ${{seed}} mom no rot no dist gaussian temp thermo_temp
fix integrate all nve
fix bath all langevin {temperature:.15g} {temperature:.15g} {1.0 / friction:.15g} ${{seed}}
thermo_style custom step pe ke temp press vol
thermo_modify norm no format float %.10g
thermo {plan.interval}
run {plan.equilibration}
reset_timestep 0
dump positions all custom {plan.interval} ${{place}}/{file} id type xu yu zu
dump_modify positions sort id format float %.9g
run {plan.steps}
"""


def _write_shell(folder: Path, plan: RunPlan, names: list[tuple[str, str]]) -> None:
    write_text(folder / "run.sh", _shell(plan, names))
    (folder / "run.sh").chmod(0o755)


def _shell(plan: RunPlan, names: list[tuple[str, str]]) -> str:
    pairs = " ".join(f"{name}:{file}" for name, file in names)
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
            -var potential "${{pair#*:}}" -var seed "$seed"
        mv "$place.partial" "$place"
    done
done
"""
