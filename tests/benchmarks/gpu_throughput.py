"""Particle-steps per second of wall-clock time on an accelerator, with the share of its peak rates that is reached.

    python tests/benchmarks/gpu_throughput.py
    python tests/benchmarks/gpu_throughput.py --replicas 2 4 --large 2000 --seconds 0.2       on a CPU, to see that it works

Lennard-Jones liquid: density 0.8, temperature 1, cut-off 2.5 sigma, time step 0.005, Langevin dynamics with friction 1. Many
replicas of a small system go by all pairs (`PairEngine`), single large systems by cells (`CellEngine`); sites are the nearest
cube to the number asked for.

Floating-point operations and bytes of a particle-step are those of one evaluation of the forces, by the compiler's own cost
analysis (`compiled.cost_analysis()`) of the program for all replicas, plus a stated count for the integrator: 40 operations, and
72 bytes for positions, velocities and forces in float32, each read and written once. Making lists of neighbours anew is not
counted, though its time is. Peak rates are arguments; the defaults are those of an H200: 4.8 TB/s and 67 TFLOP/s in float32.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayescg.physics._cell_engine import CellEngine, _make_list, _Program
from bayescg.physics._cell_list import cell_forces
from bayescg.physics._engine import AnalyticForce, PairEngine, TableForce, _forces, loop_factor
from bayescg.physics._langevin import LangevinSettings

DENSITY, CUTOFF, TIME_STEP, FRICTION, KT = 0.8, 2.5, 0.005, 1.0, 1.0
INTEGRATOR_OPERATIONS, INTEGRATOR_BYTES = 40.0, 72.0
PROBE = 20
"""Steps of the run that says how long the measured ones are to be."""


class Cost(NamedTuple):
    """Of a particle-step: floating-point operations, and bytes read and written."""

    operations: float
    bytes: float


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


def made(kind: type[PairEngine] | type[CellEngine], n_side: int, force: AnalyticForce | TableForce):
    n_sites, edge = n_side**3, n_side * DENSITY ** (-1 / 3)
    settings = LangevinSettings(TIME_STEP, FRICTION, KT, np.ones(n_sites))
    return kind(n_sites, np.full(3, edge), min(CUTOFF, edge / 2), settings, force)


def analysed(function: Callable, *arguments: object) -> tuple[float, float]:
    """Operations and bytes of one call, by the compiler."""
    found = jax.jit(function).lower(*arguments).compile().cost_analysis()
    return float(found.get("flops", np.nan)), float(found.get("bytes accessed", np.nan))


def cost_of_pairs(engine: PairEngine, positions: jax.Array, parameters: jax.Array) -> Cost:
    """Of all replicas side by side."""
    constants = engine._constants(0)

    def forces(positions, tables):
        return _forces(
            positions, tables, constants.edges, constants.cutoff, force=engine.force, one_by_one=False
        )

    return per_particle(analysed(forces, positions, engine._loop_parameters(parameters)), positions)


def cost_of_cells(engine: CellEngine, positions: jax.Array, parameters: jax.Array) -> Cost:
    """Of one replica, whose neighbours are known."""
    constants, rows = engine._constants(0), positions[0].T
    program = _Program(engine.force, engine.layout, engine._capacity_for(positions), in_blocks=False)
    cells = jax.jit(lambda rows: _make_list(rows, constants, program))(rows)

    def forces(rows, sites, neighbours, tables):
        factor = loop_factor(engine.force, tables, constants.cutoff)
        return cell_forces(
            factor,
            rows,
            sites,
            neighbours,
            constants.edges,
            constants.cutoff,
            layout=engine.layout,
            in_blocks=False,
        )

    tables = jax.tree.map(lambda leaf: leaf[0], engine._loop_parameters(parameters))
    return per_particle(analysed(forces, rows, cells.sites, cells.neighbours, tables), positions[:1])


def per_particle(found: tuple[float, float], positions: jax.Array) -> Cost:
    n = positions.shape[0] * positions.shape[1]
    return Cost(found[0] / n + INTEGRATOR_OPERATIONS, found[1] / n + INTEGRATOR_BYTES)


def measured(
    kind: type[PairEngine] | type[CellEngine],
    n_side: int,
    n_replicas: int,
    force: AnalyticForce | TableForce,
    *,
    rounds: int,
    seconds: float,
) -> tuple[float, Cost]:
    """Median seconds of wall-clock time of a particle-step, after the lattice has melted, and its cost."""
    engine = made(kind, n_side, force)
    parameters = jnp.ones(n_replicas)
    start = np.broadcast_to(lattice(n_side), (n_replicas, n_side**3, 3))
    state = engine.initial_state(jax.random.key(1), start)
    count = n_replicas * n_side**3

    def timed(state, n_steps: int):
        begun = time.perf_counter()
        state, _ = jax.block_until_ready(engine.run(state, parameters, n_samples=1, stride=n_steps))
        return state, (time.perf_counter() - begun) / n_steps

    for _ in range(3):
        state, _ = timed(state, 50)
    state, step = timed(state, PROBE)
    n_steps = max(PROBE, int(seconds / step))
    steps = []
    for _ in range(rounds):
        state, step = timed(state, n_steps)
        steps.append(step)
    if np.any(state.result):
        raise RuntimeError(f"the benchmark's dynamics failed with codes {np.unique(state.result)}")
    cost = cost_of_pairs if kind is PairEngine else cost_of_cells
    return statistics.median(steps) / count, cost(engine, state.positions, parameters)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sites", type=int, default=343, help="of the small system (343)")
    parser.add_argument(
        "--replicas", type=int, nargs="*", default=[64, 512, 4096], help="of the small system"
    )
    parser.add_argument(
        "--large", type=int, nargs="*", default=[10_000, 100_000], help="sites of large systems"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements; the median counts")
    parser.add_argument(
        "--peak-bytes", type=float, default=4.8e12, help="memory bandwidth [byte/s] (H200: 4.8e12)"
    )
    parser.add_argument("--peak-flops", type=float, default=67e12, help="rate in float32 [1/s] (H200: 67e12)")
    parser.add_argument("--table", action="store_true", help="the force from a table, not from its formula")
    options = parser.parse_args()
    force = TableForce(pair_energy) if options.table else AnalyticForce(force_factor)
    how = {"rounds": options.rounds, "seconds": options.seconds}
    cases = [(PairEngine, options.sites, n) for n in options.replicas] + [
        (CellEngine, n, 1) for n in options.large
    ]

    device = jax.devices()[0]
    print(
        f"jax {jax.__version__}, {device.platform}: {device.device_kind}; peaks {options.peak_flops / 1e12:g} TFLOP/s,"
    )
    print(f"{options.peak_bytes / 1e12:g} TB/s\n")
    print(
        "| engine | sites | replicas | particle-steps/s | ns | FLOP | TFLOP/s | of peak | bytes | TB/s | of peak |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for kind, sites, n_replicas in cases:
        n_side = round(sites ** (1 / 3))
        seconds, cost = measured(kind, n_side, n_replicas, force, **how)
        rates = (cost.operations / seconds, cost.bytes / seconds)
        name = "all pairs" if kind is PairEngine else "cells"
        print(
            f"| {name} | {n_side**3} | {n_replicas} | {1 / seconds:.3g} | {1e9 * seconds:.3g} | {cost.operations:.0f}"
            f" | {rates[0] / 1e12:.3g} | {100 * rates[0] / options.peak_flops:.2g} %"
            f" | {cost.bytes:.0f} | {rates[1] / 1e12:.3g} | {100 * rates[1] / options.peak_bytes:.2g} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
