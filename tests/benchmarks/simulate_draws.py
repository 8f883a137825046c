"""Particle-steps per second of simulations at 64 draws against as many replicas of one potential, in one run.

    python tests/benchmarks/simulate_draws.py

A fluid of 108 sites; 64 draws with two replicas each, or 128 replicas of one potential. The ways are timed in turns and the
median of their ratios is printed: trust that, since a machine's noise is shared by both.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from bayescg.data import Topology, get_unit_system
from bayescg.physics import DrawBatch, LennardJones, Potential, SimulationSettings, Simulator, SplinePair
from bayescg.physics._draw_starts import lattice
from bayescg.physics._phase_space import on_step_state, record

N_SITES, N_DRAWS, N_REPLICAS, EDGE, CUTOFF = 108, 64, 2, 5.2, 2.5
STRIDE, CHUNK = 20, 10
KEY = jax.random.key(0)


def lennard_jones(scale: float) -> Potential:
    return LennardJones(scale, 1.0, cutoff=CUTOFF)


def spline(scale: float) -> Potential:
    made = SplinePair.uniform(inner=0.8, cutoff=CUTOFF, spacing=0.1, core_distance=0.85, core_strength=5.0)
    r = np.linspace(0.8, CUTOFF, made.coefficients_.size)
    return made.with_parameters({"pair_coefficients": 4.0 * scale * (r**-12.0 - r**-6.0)})


def simulator(potential: Potential, *, metropolis: bool) -> Simulator:
    return Simulator(
        potential,
        topology=Topology(("A",) * N_SITES, np.ones(N_SITES)),
        box=np.full(3, EDGE),
        units=get_unit_system("lj"),
        temperature=1.2,
        settings=SimulationSettings(0.004, 1.0, STRIDE, N_REPLICAS, 0, chunk=CHUNK, metropolis=metropolis),
    )


def ways(make: Callable[[float], Potential]) -> dict[str, tuple[Callable[[], object], int]]:
    """What is timed, with its number of steps."""
    scales = np.exp(0.05 * np.random.default_rng(0).normal(size=N_DRAWS))
    draws, alike = [make(s) for s in scales], [make(1.0)] * N_DRAWS
    langevin, exact = simulator(draws[0], metropolis=False), simulator(draws[0], metropolis=True)
    start = np.stack([lattice(N_SITES, np.full(3, EDGE), seed=k) for k in range(N_REPLICAS)])
    batches = {
        name: DrawBatch(langevin, potentials, n_replicas=N_REPLICAS)
        for name, potentials in (("one potential", alike), ("64 draws", draws))
    }
    tested = {
        name: DrawBatch(exact, potentials, n_replicas=N_REPLICAS)
        for name, potentials in (("one potential", alike), ("64 draws", draws))
    }

    def engine(batch: DrawBatch) -> Callable[[], object]:
        state = batch.start(KEY, start)
        return lambda: jax.block_until_ready(
            langevin.engine.run(state, batch.parameters, n_samples=CHUNK, stride=STRIDE)
        )

    def sampled(batch: DrawBatch) -> Callable[[], object]:
        state = batch.start(KEY, start)
        return lambda: batch.sample(state, n_samples=CHUNK)

    def moving(batch: DrawBatch) -> Callable[[], object]:
        state = on_step_state(exact.engine, batch.start(KEY, start), batch.parameters)
        return lambda: record(exact.engine, state, batch.parameters, n_samples=CHUNK, stride=STRIDE)

    steps = CHUNK * STRIDE
    made: dict[str, tuple[Callable[[], object], int]] = {}
    for name in ("one potential", "64 draws"):
        made[f"engine, {name}"] = (engine(batches[name]), steps)
        made[f"sampling with Metropolis' test and reduction, {name}"] = (sampled(tested[name]), steps)
        made[f"Newton's dynamics with velocities, {name}"] = (moving(tested[name]), steps)
    return made


def measure(make: Callable[[float], Potential], *, rounds: int) -> dict[str, list[float]]:
    """Million particle-steps per second of every way, in turns."""
    chosen = ways(make)
    rates: dict[str, list[float]] = {name: [] for name in chosen}
    for run, _ in chosen.values():
        run()
    for _ in range(rounds):
        for name, (run, steps) in chosen.items():
            begun = time.perf_counter()
            run()
            rates[name].append(N_SITES * N_DRAWS * N_REPLICAS * steps / (time.perf_counter() - begun) / 1e6)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    jax.config.update("jax_enable_x64", True)
    print("| potential | way | one potential | 64 draws | ratio |\n|---|---|---|---|---|")
    for title, make in (("formula", lennard_jones), ("table of a spline", spline)):
        rates = measure(make, rounds=rounds)
        for way in dict.fromkeys(name.rsplit(", ", 1)[0] for name in rates):
            one, many = rates[f"{way}, one potential"], rates[f"{way}, 64 draws"]
            ratio = statistics.median(b / a for a, b in zip(one, many, strict=True))
            print(
                f"| {title} | {way} | {statistics.median(one):.2f} | {statistics.median(many):.2f} | {ratio:.2f} |"
            )
    print(f"\nMillion particle-steps per second, {N_SITES} sites, {N_DRAWS * N_REPLICAS} replicas.")


if __name__ == "__main__":
    main()
