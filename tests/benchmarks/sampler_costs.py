"""What each sampler of the model file costs on two posteriors, and how far off its draws are.

usage: python tests/benchmarks/sampler_costs.py [--draws 500] [--only nuts sgld ...] [--posteriors well water] [--bank 20000]

well: the double well U = -t1 x²/2 + t2 x⁴/4 with 100 frames, two parameters, not quite normal. Reference: quadrature.
water: 33 spline coefficients and their scale, 1,500 frames, features as normal as those of one-site water nearly are.
Reference: long runs of NUTS, on the bank for samplers that reweight it, on the exact free energy for the others.

The frames of the well's bank lie at equal steps of probability, so that reweighting is exact. SGLD and SGHMC simulate: the
well by Metropolised dynamics of 64 replicas per chain, water by 16 replicas that relax to the known distribution over 3
updates, at no cost: times of a real fluid are those of its simulated frames. Each sampler runs twice with other keys.
Seconds are those of the second run, warm-up included; what the first took longer is called compiling. Errors are in
standard deviations of the reference, the largest over parameters; beside them stand 4 Monte-Carlo errors of a mean.
Frames per effective draw count the bank once for all draws. Resampled draws are not meant to be of this posterior.
"""

import argparse
import functools
import time
from typing import NamedTuple

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_enable_compilation_cache", False)

import equinox as eqx  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import sgld as double_well  # noqa: E402
import water_like  # noqa: E402
from arviz_stats.base import array_stats  # noqa: E402

from bayescg.errors import ConvergenceError  # noqa: E402
from bayescg.inference import (  # noqa: E402
    BankExchange,
    BlackjaxNuts,
    ExactLikelihood,
    LangevinChains,
    LaplaceDraws,
    Nuts,
    Posterior,
    Prior,
    RelativeEntropyGradient,
    ResampledDraws,
    Sghmc,
    Sgld,
    StartedByPathfinder,
    StochasticGradientChains,
    Target,
    TemperedSmc,
    maximise,
    relative_entropy,
    relative_entropy_gradient,
)
from bayescg.inference._calibrate import symmetric_root  # noqa: E402
from bayescg.inference._chains import draw_chains  # noqa: E402
from bayescg.physics import Reference, ReferenceBank, SufficientStatistics  # noqa: E402
from bayescg.progress import SilentProgress  # noqa: E402

CHAINS, WARM_UP = 4, 400


class Case(NamedTuple):
    """A posterior, and means and widths of what is sampled: by reweighting its bank, and without it."""

    name: str
    posterior: Posterior
    statistics: SufficientStatistics
    target: Target
    bank: int
    gradient: RelativeEntropyGradient
    reweighted: tuple[np.ndarray, np.ndarray]
    simulated: tuple[np.ndarray, np.ndarray]


def target_at_mode(posterior, likelihood, start) -> Target:
    """Whitened by Laplace's approximation."""
    mode = maximise(posterior, likelihood, start, least_effective_frames=50.0)
    root = jnp.asarray(symmetric_root(mode.covariance))
    return Target(likelihood, jnp.asarray(mode.z), root, jnp.asarray(50.0))


def well(bank_frames: int, n_frames: int = 100) -> Case:
    """The double well."""
    truth = np.array([2.83, 1.98])
    p = np.exp(double_well.WEIGHT - double_well.FEATURES @ truth)
    middle = (np.cumsum(p) - p / 2) / p.sum()

    def frames(n):
        x = np.interp((np.arange(n) + 0.5) / n, middle, double_well.NODES)
        return np.column_stack([-(x**2) / 2, x**4 / 4])

    data = np.random.default_rng(0).permutation(frames(n_frames))
    bank = frames(bank_frames).reshape(20, -1, 2)
    none = np.zeros((n_frames, 0))
    statistics = SufficientStatistics(data, none, none, np.zeros(n_frames, int))
    prior = Prior(double_well.model)
    posterior = Posterior(prior)
    references = ReferenceBank(
        1.0, (Reference(truth, bank, bank[..., :0], bank[..., :0], np.zeros((0, 1, 1))),)
    )
    target = target_at_mode(posterior, relative_entropy(statistics, references.surrogate()), truth)
    gradient = relative_entropy_gradient(
        prior, statistics, beta=1.0, replicas=double_well.make_replicas("dynamics", 64)
    )
    exact = well_by_quadrature(data, prior)
    return Case("well", posterior, statistics, target, bank_frames, gradient, exact, exact)


def well_by_quadrature(data, prior) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations on a grid."""
    sides = (np.linspace(0.0, 6.5, 331), np.linspace(0.2, 4.8, 331))
    t = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)
    log_z = np.array([np.logaddexp.reduce(double_well.WEIGHT - double_well.FEATURES @ one) for one in t])
    log_p = -len(data) * (t @ data.mean(axis=0) + log_z)
    log_p += np.asarray(jax.vmap(prior.log_density)(jnp.asarray(t)))
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    mean = p @ t
    return mean, np.sqrt(p @ (t - mean) ** 2)


class NormalFluid(eqx.Module):
    """Replicas whose features are normal, relax by half in an update, and follow the coefficients as they do."""

    centre: jax.Array
    mean: jax.Array
    root: jax.Array
    n_replicas: int = eqx.field(static=True)

    def initial_state(self, key, potential):
        key, start_key = jax.random.split(key)
        noise = jax.random.normal(start_key, (self.n_replicas, len(self.mean)))
        return self._mean_at(potential) + noise @ self.root.T, key

    def advance(self, state, potential):
        x, key = state
        key, noise_key = jax.random.split(key)
        inner = self._mean_at(potential)
        x = inner + 0.5 * (x - inner) + 0.75**0.5 * jax.random.normal(noise_key, x.shape) @ self.root.T
        return (x, key), jnp.concatenate([x, jnp.zeros((self.n_replicas, 1))], axis=1)

    def _mean_at(self, potential):
        away = potential.coefficients()[:-1] - self.centre
        return self.mean - water_like.BETA * self.root @ (self.root.T @ away)


class NormalFreeEnergy(ExactLikelihood):
    """Relative entropy with the free energy of normal features, log Z = −β δ·μ + β² δ·Cδ/2."""

    fluid: NormalFluid
    mean_features: jax.Array
    n_frames: float

    def log_likelihood(self, model):
        eta, beta = model.coefficients(), water_like.BETA
        away = eta[:-1] - self.fluid.centre
        log_z = -beta * away @ self.fluid.mean + 0.5 * beta**2 * jnp.sum((self.fluid.root.T @ away) ** 2)
        return -self.n_frames * (beta * eta @ self.mean_features + log_z)


def water(bank_frames: int, n_coefficients: int = 33) -> Case:
    """Like one-site water."""
    posterior, likelihood, statistics, start = water_like.problem(bank_frames, n_coefficients)
    target = target_at_mode(posterior, likelihood, start)
    law = water_like.law(n_coefficients)
    fluid = NormalFluid(*(jnp.asarray(part) for part in law[1:]), 16)
    gradient = relative_entropy_gradient(posterior.prior, statistics, beta=water_like.BETA, replicas=fluid)
    exact = NormalFreeEnergy(fluid, jnp.asarray(statistics.features.mean(axis=0)), float(statistics.n_frames))
    return Case(
        "water", posterior, statistics, target, bank_frames, gradient, by_nuts(posterior, target),
        by_nuts(posterior, target_at_mode(posterior, exact, start)),
    )  # fmt: skip


def by_nuts(posterior, target) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of four long chains."""
    draws = sample(Nuts(posterior, n_warmup=500), target, seed=99, n_draws=1500)[0]
    return draws.mean(axis=(0, 1)), draws.std(axis=(0, 1))


def sample(sampler, target, *, seed, n_chains=CHAINS, n_draws) -> tuple[np.ndarray, np.ndarray]:
    """Draws by the package's own driver, and the steps of each."""
    draws, _ = draw_chains(
        sampler, target, key=jax.random.key(seed), n_chains=n_chains, n_draws=n_draws, name="", checkpoints=None,
        progress=SilentProgress(),
    )  # fmt: skip
    return draws.z, draws.n_steps


def choices(case: Case) -> dict:
    """Samplers by the model file's names."""
    noisy = functools.partial(StochasticGradientChains, gradient=case.gradient)
    resampled = functools.partial(ResampledDraws, statistics=case.statistics)
    return {
        "nuts": Nuts, "blackjax-nuts": BlackjaxNuts, "pathfinder-nuts": StartedByPathfinder, "smc": TemperedSmc,
        "smc-prior": functools.partial(TemperedSmc, from_prior=True), "laplace": LaplaceDraws,
        "sgld": functools.partial(noisy, dynamics=Sgld()), "sghmc": functools.partial(noisy, dynamics=Sghmc()),
        "tempered-langevin": LangevinChains,
        "exchange": functools.partial(BankExchange, n_frames=case.statistics.n_frames),
        "block-bootstrap": resampled, "bayesbag": functools.partial(resampled, bagged=True),
    }  # fmt: skip


def row(case: Case, name: str, choice, n_draws: int) -> str:
    """One line of the table."""
    made = choice(case.posterior, n_warmup=WARM_UP)
    seconds = []
    try:
        for seed in (1, 2):
            began = time.perf_counter()
            z, steps = sample(made, case.target, seed=seed, n_draws=n_draws)
            seconds.append(time.perf_counter() - began)
    except ConvergenceError as error:
        return f"| {case.name} | `{name}` | {str(error).split(';')[0]} |"
    ess = [array_stats.ess(z[..., i], chain_axis=0, draw_axis=1) for i in range(z.shape[-1])]
    worst = min(float(min(ess)), z.shape[0] * z.shape[1])
    noisy = isinstance(made, StochasticGradientChains)
    mean, sd = case.simulated if noisy else case.reweighted
    shift = np.abs((z.mean(axis=(0, 1)) - mean) / sd).max()
    width = np.abs(z.std(axis=(0, 1)) / sd - 1.0).max()
    frames = case.bank
    if noisy:
        per_chain = steps[0].sum() + made.n_warmup * steps[0, 0]
        frames = (per_chain * z.shape[0] + 500) * case.gradient.replicas.n_replicas
    return (
        f"| {case.name} | `{name}` | {z.shape[0] * z.shape[1]} | {max(seconds[0] - seconds[1], 0.0):.1f} | {seconds[1]:.2f} |"
        f" {worst:.0f} | {1000 * seconds[1] / worst:.2g} | {frames / worst:.0f} | {shift:.2f} | {width:.2f} |"
        f" {4 / np.sqrt(worst):.2f} |"
    )


def main() -> None:
    """Prints a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--posteriors", nargs="+", choices=("well", "water"), default=["well", "water"])
    parser.add_argument("--bank", type=int, default=20_000, help="frames")
    parser.add_argument("--resampled", type=int, default=50, help="draws per chain from resampled data")
    options = parser.parse_args()
    print(
        "| posterior | `sampler` | draws | compiling [s] | sampling [s] | effective draws (worst) | ms per effective draw |"
        " simulated frames per effective draw | error of a mean [sd] | error of an sd [sd] | 4 Monte-Carlo errors |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in options.posteriors:
        case = {"well": well, "water": water}[name](options.bank)
        for sampler, choice in choices(case).items():
            if options.only and sampler not in options.only:
                continue
            n = options.resampled if sampler in ("block-bootstrap", "bayesbag") else options.draws
            print(row(case, sampler, choice, n), flush=True)


if __name__ == "__main__":
    main()
