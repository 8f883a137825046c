"""Simulated frames per effective posterior draw: the surrogate against SGLD with persistent replicas, one small fluid.

usage: python tests/benchmarks/frames_per_draw.py [--draws 400] [--replicas 24] [--chains 4]

32 particles at density 0.5 and temperature 1 with a fixed r^-12 core and six Gaussian bumps whose heights are inferred
from 256 nearly independent frames. Both methods begin at heights 0 and use the same Metropolised moves; a frame is one
move of one replica, and every one counts: searches, equilibration, verification, burn-in. Effective draws are those of
the worst direction. The last columns compare both posteriors, in the surrogate's standard deviations.
"""

import argparse
import sys
import time

import jax

jax.config.update("jax_enable_x64", True)

import equinox as eqx  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from arviz_stats.base import array_stats  # noqa: E402

from bayescg.data import Topology, get_unit_system  # noqa: E402
from bayescg.inference import (  # noqa: E402
    FitSettings,
    Fitter,
    Prior,
    Problem,
    Sgld,
    plan_relative_entropy,
    relative_entropy_gradient,
)
from bayescg.physics import (  # noqa: E402
    FrameReducer,
    PairPotential,
    ParameterInfo,
    SimulationSettings,
    Simulator,
    SufficientStatistics,
    persistent_replicas,
)

N_SITES, EDGE, N_FRAMES = 32, 4.0, 256
TIME_STEP, FRICTION, STRIDE = 0.01, 1.0, 20
TRUTH = np.array([1.0, -2.0, -1.5, 1.0, 1.5, -1.0])
UNITS = get_unit_system("lj")
TOPOLOGY = Topology(("A",) * N_SITES, np.ones(N_SITES))


class CoreAndBumps(PairPotential):
    """u(r) = [r⁻¹² + Σ_k θ_k exp(−(r − c_k)²/2w²)] (1 − r²/r_c²)², with the core fixed."""

    heights: jax.Array
    cutoff: float = eqx.field(static=True, default=2.0)
    name: str = eqx.field(static=True, default="bumps")
    tabulated = True

    def coefficients(self):
        return jnp.append(self.heights, 1.0)

    def pair_basis(self, r2):
        inside = r2 < self.cutoff**2
        r = jnp.sqrt(jnp.where(inside, r2, 1.0))[..., None]
        centres = jnp.linspace(0.9, 1.8, 6).astype(r.dtype)
        bumps = jnp.exp(-0.5 * ((r - centres) / 0.12) ** 2)
        basis = jnp.concatenate([bumps, r**-12], axis=-1) * (1.0 - (r / self.cutoff) ** 2) ** 2
        return jnp.where(inside[..., None], basis, 0.0)

    def parameters(self):
        labels = tuple(float(c) for c in np.linspace(0.9, 1.8, 6))
        return (ParameterInfo("bumps_heights", "energy", "heights of the bumps", "real", 1.0, (6,), labels),)


def model():
    """Independent normal priors of standard deviation 3."""
    return CoreAndBumps(numpyro.sample("heights", dist.Normal(jnp.zeros(6), 3.0).to_event(1)))


class CountingSimulator:
    """A simulator that counts the frames it makes, kept or not."""

    def __init__(self, simulator: Simulator):
        self.simulator, self.frames, self.by_purpose = simulator, 0.0, {}

    def simulate(self, potentials, *, starts, key, n_samples, purpose="search", on_chunk=None, resume=None):
        def count(amount, snapshot):
            frames = amount / (STRIDE * TIME_STEP)
            self.frames += frames
            self.by_purpose[purpose] = self.by_purpose.get(purpose, 0.0) + frames
            if on_chunk is not None:
                on_chunk(amount, snapshot)

        return self.simulator.simulate(
            potentials,
            starts=starts,
            key=key,
            n_samples=n_samples,
            purpose=purpose,
            on_chunk=count,
            resume=resume,
        )


def replicas_of(starts, n_replicas):
    """Persistent replicas of the fluid."""
    return persistent_replicas(
        CoreAndBumps(jnp.zeros(6)), starts=starts, topology=TOPOLOGY, box=np.full(3, EDGE), units=UNITS,
        temperature=1.0, time_step=TIME_STEP, friction=FRICTION, stride=STRIDE, n_replicas=n_replicas,
    )  # fmt: skip


def make_data():
    """Frames of 256 independent replicas of the true potential, and their statistics."""
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    lattice = (grid[grid.sum(axis=1) % 2 == 0] + 0.25)[None].astype(float)
    replicas, truth = replicas_of(lattice, N_FRAMES), CoreAndBumps(jnp.asarray(TRUTH))

    @jax.jit
    def simulate(key):
        state = replicas.initial_state(key, truth)
        return jax.lax.fori_loop(0, 150, lambda _, s: replicas.advance(s, truth)[0], state)

    state = simulate(jax.random.key(100))
    frames = np.asarray(state.positions, float)
    features, virial, counts = FrameReducer(truth, box=np.full(3, EDGE))(frames)
    return frames, SufficientStatistics(features, virial, counts, np.arange(N_FRAMES) * 0)


def worst_effective_draws(z, root):
    """Effective draws of the worst whitened direction; z is [chain draw coordinate]."""
    w = (z - z.mean(axis=(0, 1))) @ np.linalg.inv(root).T
    return min(float(array_stats.ess(w[..., i], chain_axis=0, draw_axis=1)) for i in range(w.shape[-1]))


def main() -> None:
    """Prints a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--replicas", type=int, default=24)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--tolerance", type=float, default=0.05)
    options = parser.parse_args()
    prior = Prior(model)
    frames, statistics = make_data()

    began = time.perf_counter()
    settings = SimulationSettings(TIME_STEP, FRICTION, STRIDE, 16, 20, 20, metropolis=True)
    simulator = CountingSimulator(
        Simulator(
            CoreAndBumps(jnp.zeros(6)), topology=TOPOLOGY, box=np.full(3, EDGE), units=UNITS, temperature=1.0,
            settings=settings,
        )
    )  # fmt: skip
    problem = Problem(prior, statistics, 1.0, simulator, np.zeros(6), frames)
    fit = Fitter(problem, FitSettings(n_replicas=16, n_chains=4, n_draws=options.draws // 4)).run()
    seconds = time.perf_counter() - began
    root = np.linalg.cholesky(fit.mode.covariance)
    # anticorrelated draws count for more than their number: not claimed here
    surrogate_draws = min(worst_effective_draws(fit.draws.z, root), options.draws)
    mean, sd = fit.draws.z.mean(axis=(0, 1)), fit.draws.z.reshape(-1, 6).std(axis=0)
    verdicts = ", ".join(v.verdict for v in fit.verifications)
    print(f"surrogate: verification {verdicts}; frames {simulator.by_purpose}")
    print("| method | simulated frames | effective draws | frames per effective draw | seconds |"
          " largest shift of the mean [sd] | sd ratio, smallest to largest |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    per_draw = simulator.frames / surrogate_draws
    print(f"| surrogate | {simulator.frames:.0f} | {surrogate_draws:.0f} | {per_draw:.0f} | {seconds:.0f} | – | – |",
          flush=True)  # fmt: skip

    began = time.perf_counter()
    gradient = relative_entropy_gradient(
        prior, statistics, beta=1.0, replicas=replicas_of(frames, options.replicas)
    )
    plan = plan_relative_entropy(gradient, np.zeros(6), key=jax.random.key(1), tolerance=options.tolerance)
    print(f"<!-- SGLD: {plan.choice.summary()}; inefficiency {plan.noise.inefficiency().round(2)},"
          f" {plan.simulated_frames} frames to plan -->", flush=True)  # fmt: skip
    sampler = Sgld(thin=max(1, round(plan.choice.autocorrelation_time / 8)))
    state = sampler.initial_state(jax.random.key(2), plan.target, n_chains=options.chains)
    state, _ = sampler.step(state, plan.target, n=16)
    total, parts, effective = (
        plan.simulated_frames + 16 * sampler.thin * options.chains * options.replicas,
        [],
        0.0,
    )
    while effective < options.draws:
        state, draws = sampler.step(state, plan.target, n=50)
        parts.append(draws.z)
        total += 50 * sampler.thin * options.chains * options.replicas
        z = np.concatenate(parts, axis=1)
        effective = worst_effective_draws(z, root) if len(parts) > 1 else 0.0
        print(f"{total} frames, {effective:.0f} effective draws", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - began
    shift = np.abs(z.mean(axis=(0, 1)) - mean) / sd
    ratio = np.sort(z.reshape(-1, 6).std(axis=0) / sd)
    acceptance = float(state.gradient.replicas.acceptance.mean())
    print(f"| SGLD, {options.chains} chains of {options.replicas} replicas | {total} | {effective:.0f} |"
          f" {total / effective:.0f} | {seconds:.0f} | {shift.max():.2f} | {ratio[0]:.2f}–{ratio[-1]:.2f} |")  # fmt: skip
    print(f"\nacceptance of the moves {acceptance:.2f}; the surrogate needs"
          f" {total / effective / per_draw:.1f} times fewer frames per effective draw")  # fmt: skip


if __name__ == "__main__":
    main()
