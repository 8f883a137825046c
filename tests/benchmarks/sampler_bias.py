"""Bias of simulated averages, BAOAB at several time steps against Metropolised sampling, on one-site water.

usage: python tests/benchmarks/sampler_bias.py RUN [--samples 600] [--rounds 70]

RUN is the output folder of a finished `bayescg run models/water-spce`. Every row of the first table is one simulation
at the MAP: the shift of the posterior mean that its averages would cause, in calibrated standard deviations per
direction, against the Metropolised bank; the noise of the comparison is subtracted from the root mean square.

Metropolised moves made in exact arithmetic bias nothing, whatever their step and force. What is left is rounding: the
engine's trajectories are float32. Its effect is far below the noise of any such comparison, so the second table
measures it move by move. With P the kernel in float64 (the same table of forces), Q the engine's, and f an average,

    E_Q[f] - E_P[f] = E_Q[(Q - P) g],    g = sum_t (P^t f - E_P[f]),

where E_Q is over the engine's own stationary samples (Schweitzer 1968, doi:10.2307/3212261). (Q - P) f is the mean
difference of f after one move from the same start, each end weighted by its acceptance probability; its noise is small
because both trajectories are the same but for rounding. g is f times at most the longest relaxation time of any
direction, counted in moves: (1 + statistical inefficiency) / 2.
"""

import argparse
import json
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402

from bayescg.data import statistical_inefficiency  # noqa: E402
from bayescg.inference import read_bank  # noqa: E402
from bayescg.inference._verify import mean_covariance, shift_matrix  # noqa: E402
from bayescg.physics import SimulationSettings, Simulator  # noqa: E402
from bayescg.physics._engine import pair_forces  # noqa: E402
from bayescg.physics._langevin import closed_edges  # noqa: E402
from bayescg.study import Study  # noqa: E402
from bayescg.study._build import build_potential, build_prior  # noqa: E402
from bayescg.study._sources import open_data  # noqa: E402

MOMENTA = 4
"""Moves compared from each configuration, with momenta of their own."""


def stretch_in_float64(table, cutoff, edges, *, time_step, stride, inverse_mass):
    """Frictionless velocity Verlet in float64 with the engine's table of forces, for a batch of replicas."""
    per_bin = (len(table) - 1) / cutoff**2

    def factor(r2):
        index = jnp.minimum(r2 * per_bin, len(table) - 1).astype(jnp.int32)
        return table[index]

    def forces(x):
        return pair_forces(factor, x.T, edges).T

    def one(x, v):
        def step(_, state):
            x, v, f = state
            v = v + 0.5 * time_step * inverse_mass * f
            x = x + time_step * v
            f = forces(x)
            return x, v + 0.5 * time_step * inverse_mass * f, f

        x, v, _ = jax.lax.fori_loop(0, stride, step, (x, v, forces(x)))
        return x, v

    return jax.jit(jax.vmap(one))


def rounding_bias(simulator, potential, starts, to_shift, *, rounds: int) -> None:
    """Prints the second table: the bias that float32 trajectories leave in Metropolised sampling."""
    settings, langevin, engine = simulator.settings, simulator.engine.settings, simulator.engine
    n_moves = 2 * len(starts) * MOMENTA
    step, kt = float(langevin.time_step), float(langevin.kT)
    inverse_mass = np.asarray(langevin.inverse_mass, float)[:, None]
    parameters = simulator._parameters([potential], each=n_moves)
    loop = engine._loop_parameters(parameters)
    edges = jnp.asarray(np.asarray(closed_edges(engine.box), np.float64))
    exact = stretch_in_float64(
        jnp.asarray(loop[0], jnp.float64), engine.cutoff, edges,
        time_step=step, stride=settings.stride, inverse_mass=jnp.asarray(inverse_mass),
    )  # fmt: skip
    eta = np.asarray(potential.coefficients(), float)

    def features(x):
        return np.asarray(simulator.reducer(np.asarray(x))[0], float)

    def total(x_features, v):
        return x_features @ eta + 0.5 * np.sum(np.asarray(v, float) ** 2 / inverse_mass, axis=(1, 2))

    differences, distances, flips = [], [], []
    rng = np.random.default_rng(7)
    for index in range(rounds):
        (reference,) = simulator.simulate(
            [potential], starts=starts, key=jax.random.key(100 + index), n_samples=20
        )
        starts = reference.configurations[1::2]
        x = jnp.asarray(np.repeat(reference.configurations, MOMENTA, axis=0), jnp.float32)
        thermal = np.sqrt(kt * inverse_mass)
        v = jnp.asarray(thermal * rng.standard_normal(x.shape), jnp.float32)
        # The engine keeps velocities half a step behind, as the moves of bayescg.physics._metropolis do.
        half = jnp.asarray(0.5 * step * inverse_mass, jnp.float32)
        state = engine.initial_state(jax.random.key(0), x)
        late = state._replace(velocities=v - half * engine.forces(x, parameters))
        end, samples = engine.run(late, parameters, n_samples=1, stride=settings.stride)
        x32 = samples[:, 0]
        v32 = end.velocities + half * engine.forces(x32, parameters)
        x64, v64 = exact(jnp.asarray(x, jnp.float64), jnp.asarray(v, jnp.float64))
        before = features(x)
        chances, ends = [], []
        for y, w in ((x32, v32), (x64, v64)):
            after = features(y)
            change = total(after, w) - total(before, v)
            chances.append(np.exp(-np.maximum(change, 0.0) / kt))
            ends.append(before + chances[-1][:, None] * (after - before))
        differences.append((ends[0] - ends[1]) @ to_shift.T)
        box = np.asarray(engine.box)
        apart = np.asarray(x32, float) - np.asarray(x64)
        apart -= box * np.round(apart / box)
        distances.append(np.abs(apart).max())
        flips.append(np.abs(chances[0] - chances[1]).max())
    per_move = np.concatenate(differences)
    (reference,) = simulator.simulate([potential], starts=starts, key=jax.random.key(99), n_samples=400)
    series = reference.features @ to_shift.T
    lengths = [series.shape[1]] * len(series)
    longest = statistical_inefficiency(series.reshape(-1, series.shape[2]), lengths=lengths).max()
    moves_to_forget = 0.5 * (1.0 + longest)
    bias = moves_to_forget * per_move.mean(0)
    error = moves_to_forget * per_move.std(0, ddof=1) / np.sqrt(len(per_move))
    print(
        "| moves compared | largest distance of the ends [nm] | largest change of acceptance |"
        " moves to forget | largest bias of a direction [sd] | its error [sd] | largest of bias + 2 errors [sd] |"
    )
    print("|---|---|---|---|---|---|---|")
    worst = int(np.abs(bias).argmax())
    print(
        f"| {len(per_move)} | {max(distances):.1e} | {max(flips):.1e} | {moves_to_forget:.1f} |"
        f" {abs(bias[worst]):.1e} | {error[worst]:.1e} | {np.max(np.abs(bias) + 2 * error):.1e} |",
        flush=True,
    )


def main() -> None:
    """Prints two markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=70)
    parser.add_argument("--only-rounding", action="store_true", help="the second table only")
    options = parser.parse_args()
    study = Study.from_file(Path(json.loads((options.run / "run.json").read_text())["model"]))
    model, units = study.model, study.units
    potential = build_potential(model, path=study.path)
    prior = build_prior(model, potential, units, path=study.path)
    frames = open_data(model, study.path, units)
    box = next(frames.blocks(1)).box[0]
    bank = read_bank(options.run / "bank.nc")
    result = xr.open_datatree(options.run / "posterior.nc")["unconstrained"]
    z = jnp.asarray(result["map"].values)
    to_shift = shift_matrix(
        n_frames=frames.n_frames,
        beta=bank.beta,
        laplace_covariance=result["laplace_covariance"].values,
        calibrated_covariance=result["calibrated_covariance"].values,
        coefficient_jacobian=np.asarray(jax.jacobian(lambda z: prior.potential(z).coefficients())(z)),
    )
    eta = np.asarray(prior.potential(z).coefficients())
    weights = bank.weights(eta)
    own = bank.feature_covariance_error(eta, projection=to_shift)
    starts = bank.references[-1].configurations
    starts = starts[np.arange(16) % len(starts)]
    if options.rounds:
        settings = SimulationSettings(0.007, 5.0, 25, len(starts), 20, 20, metropolis=True)
        simulator = Simulator(
            potential, topology=frames.topology, box=box, units=units, temperature=model.temperature,
            settings=settings,
        )  # fmt: skip
        rounding_bias(simulator, prior.potential(z), starts, to_shift, rounds=options.rounds)
    if options.only_rounding:
        return
    print(
        "\n| sampler | time step [ps] | acceptance | rms bias [sd] | noise per direction [sd] | largest shift [sd] |"
    )
    print("|---|---|---|---|---|---|")
    for metropolis, time_step in (
        (True, 0.007),
        (False, 0.0025),
        (False, 0.005),
        (False, 0.007),
        (False, 0.010),
    ):
        stride = max(1, round(0.175 / time_step))
        simulator = Simulator(
            potential, topology=frames.topology, box=box, units=units, temperature=model.temperature,
            settings=SimulationSettings(time_step, 5.0, stride, 16, 20, 20, metropolis=metropolis),
        )  # fmt: skip
        (reference,) = simulator.simulate(
            [prior.potential(z)], starts=starts, key=jax.random.key(5), n_samples=options.samples
        )
        difference = to_shift @ (
            reference.features.reshape(reference.n_frames, -1).mean(0) - weights @ bank.features
        )
        noise = np.trace(own + mean_covariance(reference.features @ to_shift.T)) / len(difference)
        rms = np.sqrt(max(np.mean(difference**2) - noise, 0.0))
        name = "Metropolised" if metropolis else "BAOAB"
        accepted = f"{reference.acceptance:.2f}" if metropolis else "–"
        print(
            f"| {name} | {time_step:g} | {accepted} | {rms:.2f} | {np.sqrt(noise):.2f} |"
            f" {np.abs(difference).max():.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
