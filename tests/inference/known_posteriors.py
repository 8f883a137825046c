"""Posteriors with known answers, and every sampler that a model file can name, made for one of them."""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from bayescg.inference import (
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
    independent_prior,
    laplace,
    relative_entropy_gradient,
)
from bayescg.inference._calibrate import symmetric_root
from bayescg.inference._sampler import concatenate_draws
from bayescg.physics import LinearPotential, SufficientStatistics, Surrogate
from tests.inference.test_exact_posteriors import half_square
from tests.inference.test_sgld import WellReplicas

SAMPLERS = {
    "nuts": Nuts,
    "blackjax-nuts": BlackjaxNuts,
    "pathfinder-nuts": StartedByPathfinder,
    "smc": TemperedSmc,
    "smc-prior": functools.partial(TemperedSmc, from_prior=True),
    "laplace": LaplaceDraws,
    "tempered-langevin": LangevinChains,
}

# of the noisy gradient of the double well: see `simulating`
SIMULATING = {"sgld": Sgld, "sghmc": Sghmc}

# their answer is not the posterior but that of data taken anew: known in closed form for `two_normals` alone
RESAMPLING = {"block-bootstrap": False, "bayesbag": True}

# posteriors of the others: a noisy gradient, and the exchange algorithm's data sets, need frames with weights
ONLY_ON = {
    "sgld": "well",
    "sghmc": "well",
    "exchange": "half_well",
    "block-bootstrap": "frames",
    "bayesbag": "frames",
}

CHUNK, WARM_UP = 40, 160
"""One length of compiled chunks, one warm-up and one number of chains for nearly all tests: compiling is what costs."""


class Known(NamedTuple):
    """A posterior with a known answer, in the unconstrained coordinates or transformed."""

    posterior: Posterior
    target: Target
    mean: np.ndarray
    sd: np.ndarray
    transform: object = staticmethod(lambda z: z)
    of_others: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # noqa: RUF012
    """Mean and width of samplers with another answer, untransformed."""
    gradient: RelativeEntropyGradient | None = None
    statistics: SufficientStatistics | None = None


def target_at(posterior, likelihood, z):
    mode = laplace(posterior, likelihood, np.asarray(z, float))
    root = jnp.asarray(symmetric_root(mode.covariance))
    return Target(likelihood, jnp.asarray(mode.z), root, jnp.asarray(1e-300))


def spring_of(toolkit) -> Known:
    """V1."""
    potential = LinearPotential(jnp.ones(1), function=half_square)
    line = toolkit.Quadrature(potential, -16.0, 16.0, n=257)
    x = np.full(50, np.sqrt(0.8))  # Σx² = 40
    prior = independent_prior(potential, {"linear_theta": dist.Gamma(2.0, 1.0)})
    toy = toolkit.Toy(line, potential, prior, x, line.statistics(potential, x))
    posterior, centre = Posterior(prior), np.array([0.251314])
    return Known(
        posterior, target_at(posterior, toy.likelihood(), centre), np.array([1.285714]), np.array([0.247436]),
        np.exp, {"laplace": (centre, np.array([0.192450]))},
    )  # fmt: skip


def well_of(double_well) -> Known:
    """V2."""
    posterior, centre = Posterior(double_well.prior), np.array([2.826133, 1.975583])
    half = double_well.line.x >= 0.0
    replicas = WellReplicas(jnp.asarray(double_well.line.features[half][::2]), 64)
    gradient = relative_entropy_gradient(
        double_well.prior, double_well.statistics, beta=1.0, replicas=replicas
    )
    return Known(
        posterior,
        target_at(posterior, double_well.likelihood(), centre),
        np.array([2.901786, 2.040847]),
        np.array([0.615019, 0.394017]),
        of_others={"laplace": (centre, np.array([0.614201, 0.392320]))},
        gradient=gradient,
    )


def half_well_of(well) -> Known:
    """V2 with 88 weighted frames, the nodes of half the line, which are enough by symmetry: data sets are drawn of them."""
    surrogate = well.target.likelihood.surrogate
    middle = len(surrogate.log_base_weight) // 2
    few = surrogate.centred_features[middle::8]
    nodes = Surrogate(surrogate.beta, surrogate.centre, few, jnp.zeros(len(few)).at[0].add(-np.log(2.0)))
    target = well.target._replace(
        likelihood=eqx.tree_at(lambda l: l.surrogate, well.target.likelihood, nodes)
    )
    return well._replace(target=target)


class Gaussian(ExactLikelihood):
    """−(x − m)ᵀ A (x − m)/2."""

    mean: jax.Array
    precision: jax.Array

    def log_likelihood(self, model):
        return -0.5 * (model - self.mean) @ self.precision @ (model - self.mean)


def five_normals():
    return numpyro.sample("x", dist.Normal(0.0, 2.0).expand([5]).to_event(1))


def gaussian_in_five() -> Known:
    """A Gaussian in five dimensions with widths over a factor of 30 and correlations of 0.9."""
    scale = np.geomspace(0.05, 1.5, 5)
    covariance = (0.9 + 0.1 * np.eye(5)) * np.outer(scale, scale)
    precision, mean = np.linalg.inv(covariance), np.linspace(-1.0, 1.0, 5)
    total = np.linalg.inv(precision + np.eye(5) / 4.0)
    centre = total @ precision @ mean
    likelihood, posterior = (
        Gaussian(jnp.asarray(mean), jnp.asarray(precision)),
        Posterior(Prior(five_normals)),
    )
    target = target_at(posterior, likelihood, centre)
    # the samplers find the posterior from a whitening that is off by a shift and a factor
    off = target._replace(centre=target.centre + 0.3 * target.root.sum(axis=1), root=1.4 * target.root)
    sd = np.sqrt(np.diag(total))
    return Known(posterior, off, centre, sd, of_others={"laplace": (np.asarray(off.centre), 1.4 * sd)})


class NormalFrames(ExactLikelihood):
    """Frames x of unit normals about θ, log Z = |θ|²/2 up to a constant: N (θ·⟨x⟩ − |θ|²/2)."""

    mean_features: jax.Array
    n_frames: jax.Array

    def log_likelihood(self, model):
        return self.n_frames * (model @ self.mean_features - 0.5 * model @ model)


def two_means():
    return numpyro.sample("x", dist.Normal(0.0, 1.0).expand([2]).to_event(1))


def two_normals() -> Known:
    """The data are 0.7, and one and a half times, as wide as the model: where the bootstrap and the posterior differ.

    With C = 1/(N + 1) the maximum N C ⟨x⟩ scatters by C √(N S + 1), S being the data's variance and 1 that of the
    prior's score; BayesBag by √(C² N S + C).
    """
    n = 100
    x = np.random.default_rng(2).normal([0.3, -0.2], [0.7, 1.5], size=(n, 2))
    statistics = SufficientStatistics(x, x[:, :0], x[:, :0], np.zeros(n, int))
    c, mean = 1.0 / (n + 1.0), x.mean(axis=0)
    posterior, likelihood = (
        Posterior(Prior(two_means)),
        NormalFrames(jnp.asarray(mean), jnp.asarray(float(n))),
    )
    at, repeated = n * c * mean, c**2 * n * x.var(axis=0)
    return Known(
        posterior, target_at(posterior, likelihood, at), at, np.full(2, c**0.5), statistics=statistics,
        of_others={"block-bootstrap": (at, np.sqrt(repeated + c**2)), "bayesbag": (at, np.sqrt(repeated + c))},
    )  # fmt: skip


MADE: dict = {}
"""What a sampler has compiled serves the next test too."""


def make(known, sampler):
    key = (id(known.posterior), sampler)
    if key not in MADE:
        MADE[key] = new(known, sampler), known.posterior
    return MADE[key][0]


def new(known, sampler):
    if sampler in SIMULATING:
        return simulating(known, sampler)
    if sampler in RESAMPLING:
        bagged = RESAMPLING[sampler]
        return ResampledDraws(known.posterior, statistics=known.statistics, bagged=bagged, length=1)
    if sampler == "exchange":
        return BankExchange(known.posterior, n_frames=100, n_warmup=CHUNK)
    return SAMPLERS[sampler](known.posterior, n_warmup=WARM_UP)


def simulating(known, sampler):
    """A tolerance within the Monte-Carlo error of the draws."""
    return StochasticGradientChains(
        known.posterior,
        gradient=known.gradient,
        dynamics=SIMULATING[sampler](),
        tolerance=0.02,
        n_warmup=CHUNK,
    )


def draw(known, sampler, *, seed, n_draws=400, n_chains=4):
    made, parts = make(known, sampler), []
    state = made.initial_state(jax.random.key(seed), known.target, n_chains=n_chains)
    for _ in range((made.n_warmup + n_draws) // CHUNK):
        state, some = made.step(state, known.target, n=CHUNK)
        parts.append(some)
    return concatenate_draws(parts[made.n_warmup // CHUNK :])
