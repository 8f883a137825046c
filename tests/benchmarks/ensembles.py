"""The Lennard-Jones fluid against its equation of state, and what a barostat costs.

    python tests/benchmarks/ensembles.py [--samples 100]

First table: 216 sites, 8 replicas, cutoff 3 σ with tail corrections; beside each number its standard error and the value of
Kolafa & Nezbeda's equation of state (1994). The numbers are not corrected for the finite size. Second table: volumes and
compressibility at constant pressure. Third table: CPU time for as many steps,
relative to constant volume.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

N, CUTOFF, STEP, REPLICAS = 216, 3.0, 0.004, 8
# T, ρ: u, p, residual μ/kT, residual c_V, S(0)
EQUATION = {
    (2.74, 0.3): (-1.7877, 0.86637, 0.00736, 0.1569, 0.73461),
    (2.0, 0.5): (-3.1501, 1.07392, -0.28006, 0.3201, 0.4057),
    (1.5025, 0.7): (-4.57794, 1.5976, -0.40799, 0.5791, 0.1276),
    (0.85, 0.776): (-5.51247, -0.00626, -4.5489, 0.8874, 0.08637),
}


def lattice(length: float) -> np.ndarray:
    """A simple cubic lattice in every replica."""
    m = round(N ** (1 / 3))
    grid = np.stack(np.meshgrid(*[np.arange(m)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return np.tile((grid + 0.5) * length / m, (REPLICAS, 1, 1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100)
    n_samples = parser.parse_args().samples
    jax.config.update("jax_enable_x64", True)
    constant_volume(n_samples)
    constant_pressure(n_samples)


def engine_at(kT: float, length: float):
    """An engine at constant volume."""
    from bayescg.physics._engine import AnalyticForce, PairEngine
    from bayescg.physics._langevin import LangevinSettings
    from bayescg.physics._simulate import _pair_factor

    settings = LangevinSettings(STEP, 1.0, kT, jnp.ones(N))
    return PairEngine(N, np.full(3, length), CUTOFF, settings, AnalyticForce(_pair_factor))


def mean_of(series: np.ndarray):
    from bayescg.physics._estimate import over_pieces, pieces_of

    return over_pieces(pieces_of(series).mean(axis=1), series.mean())


def constant_volume(n_samples: int) -> None:
    """Print the first table."""
    from bayescg.physics import (
        LennardJones,
        axis_pressures,
        axis_virials,
        frame_energies,
        heat_capacity,
        insertion_energies,
        stacked,
        tail_correction,
        widom,
    )

    simulated = LennardJones(1.0, 1.0, cutoff=CUTOFF)
    truncated = LennardJones(1.0, 1.0, cutoff=CUTOFF, convention="truncated")
    tail = tail_correction(LennardJones(1.0, 1.0, cutoff=np.inf, convention="truncated"), cutoff=CUTOFF)
    parameters = jax.tree.map(lambda a: a.astype(jnp.float32), stacked([simulated], each=REPLICAS))
    print("| T* | ρ* | u* | equation | p* | equation | μ/kT | equation | c_V | equation |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (kT, rho), known in EQUATION.items():
        length, volume = (N / rho) ** (1 / 3), N / rho
        box = np.full(3, length)
        engine = engine_at(kT, length)
        state = engine.initial_state(jax.random.key(0), lattice(length))
        state, _ = engine.run(state, parameters, n_samples=1, stride=3000)
        state, x = engine.run(state, parameters, n_samples=n_samples, stride=50)
        x = jnp.asarray(x, jnp.float64)
        u = mean_of(np.asarray(frame_energies(truncated, x, box)) / N)
        p = np.asarray(axis_pressures(axis_virials(simulated, x, box), box, n_sites=N, kT=kT))
        p = mean_of(p.mean(axis=-1))
        energies = insertion_energies(truncated, x, box, key=jax.random.key(1), n_insertions=2000)
        volumes = np.full(energies.shape[:2], volume)
        mu = widom(np.asarray(energies), kT=kT, volumes=volumes, tail=tail, n_sites=N).chemical_potential
        c = heat_capacity(np.asarray(frame_energies(simulated, x, box)), kT=kT, degrees_of_freedom=0)
        cells = [
            f"{u.value + float(tail.energy(n_sites=N, volume=volume)) / N:.4f} ± {u.standard_error:.4f}",
            f"{p.value + float(tail.pressure(n_sites=N, volume=volume)):.4f} ± {p.standard_error:.4f}",
            f"{mu.value / kT:.3f} ± {mu.standard_error / kT:.3f}",
            f"{c.value / N:.3f} ± {c.standard_error / N:.3f}",
        ]
        row = [
            cell for pair in zip(cells, (f"{value:.4g}" for value in known), strict=False) for cell in pair
        ]
        print(f"| {kT} | {rho} | " + " | ".join(row) + " |", flush=True)


def constant_pressure(n_samples: int) -> None:
    """Print the second and third table."""
    from bayescg.physics import (
        ISOTROPIC,
        Barostat,
        IsobaricEngine,
        LennardJones,
        interaction_of,
        isothermal_compressibility,
        stacked,
        tail_correction,
        throw_isobaric,
    )

    kT, rho, pressure, s0 = 1.5025, 0.7, 1.5976, 0.1276
    length = (N / rho) ** (1 / 3)
    simulated = LennardJones(1.0, 1.0, cutoff=CUTOFF)
    full = LennardJones(1.0, 1.0, cutoff=np.inf, convention="truncated")
    tail = float(tail_correction(full, cutoff=CUTOFF).over_volume(n_sites=N))
    parameters = stacked([simulated], each=REPLICAS)
    interaction, cutoff = interaction_of(simulated)
    still = engine_at(kT, length)
    barostat, start = Barostat(pressure, 0.05, tail=tail), None
    times, rows = {}, []
    for interval in (10, 20, 50):
        engine = IsobaricEngine(
            N, still.settings, interaction, cutoff=cutoff, groups=ISOTROPIC, interval=interval
        )
        if start is None:
            start = engine.initial_state(jax.random.key(0), lattice(length), np.full((REPLICAS, 3), length))
            start, barostat = engine.tuned(start, parameters, barostat, n_rounds=6, stride=25)
        state, _ = engine.run(start, parameters, barostat, n_samples=n_samples, stride=1)
        rounds = 100 // interval
        before = time.process_time()
        state, samples = engine.run(state, parameters, barostat, n_samples=n_samples, stride=rounds)
        volumes = np.asarray(samples.boxes, np.float64).prod(-1)
        times[interval] = time.process_time() - before
        throw_isobaric(state, stage="benchmark")
        mean, kappa = mean_of(volumes), isothermal_compressibility(volumes, kT=kT)
        rows.append(
            f"| {interval} | {np.asarray(samples.volume_acceptance).mean():.2f} | {mean.value:.2f} ±"
            f" {mean.standard_error:.2f} | {N / rho:.2f} | {kappa.value:.4f} ± {kappa.standard_error:.4f} |"
            f" {s0 / (rho * kT):.4f} |"
        )
    single = jax.tree.map(lambda a: a.astype(jnp.float32), parameters)
    state = still.initial_state(jax.random.key(0), lattice(length))
    state, _ = still.run(state, single, n_samples=n_samples, stride=1)
    before = time.process_time()
    state, _ = still.run(state, single, n_samples=n_samples, stride=100)
    jax.block_until_ready(state)
    steady = time.process_time() - before
    print(
        "\n| steps between volume moves | accepted | volume | equation | compressibility | equation |\n|---|---|---|---|---|---|"
    )
    print("\n".join(rows))
    print("\n| steps between volume moves | CPU time, constant volume = 1 |\n|---|---|")
    for interval, seconds in times.items():
        print(f"| {interval} | {seconds / steady:.2f} |")


if __name__ == "__main__":
    main()
