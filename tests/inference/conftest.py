"""One-dimensional models whose Z is known: quadrature in place of the bank, inverse-CDF draws in place of dynamics."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import optimize, stats

from bayescg.inference import (
    FitResult,
    FitSettings,
    Fitter,
    Posterior,
    Prior,
    Problem,
    laplace,
    relative_entropy,
)
from bayescg.inference._calibrate import symmetric_root
from bayescg.inference._nuts import Nuts, NutsDraws, Target
from bayescg.physics import DoubleWell, Potential, Reference, SufficientStatistics, Surrogate

OPEN = np.array([np.inf])


class Quadrature:
    """A model on an interval by the trapezoidal rule: log Z, averages, densities and frames without simulation.

    The nodes stand for reference frames and the logarithms of their weights for `log_base_weight`, so that the
    package's own surrogate gives log Z itself, not a difference.

    Args:
        potential: gives the features; its parameter values do not matter.
        low, high: the interval.
        n: number of nodes.
    """

    beta = 1.0

    def __init__(self, potential: Potential, low: float, high: float, *, n: int = 2001):
        self.x = np.linspace(low, high, n)
        self.features = self.reduce(potential, self.x)
        self.log_weight = np.full(n, np.log((high - low) / (n - 1)))
        self.log_weight[[0, -1]] -= np.log(2.0)

    @staticmethod
    def reduce(potential: Potential, x: np.ndarray) -> np.ndarray:
        """φ of every x [frame feature]."""
        return np.asarray(
            jax.jit(jax.vmap(lambda y: potential.features(y[None, None], OPEN)))(jnp.asarray(x))
        )

    def surrogate(self) -> Surrogate:
        """The exact log Z in the form of the bank's surrogate."""
        centre = jnp.zeros(self.features.shape[1])
        return Surrogate(
            jnp.asarray(self.beta), centre, jnp.asarray(self.features), jnp.asarray(self.log_weight)
        )

    def probability(self, coefficients: np.ndarray) -> np.ndarray:
        """Probability of the nodes at each η [*draw node]."""
        log_p = self.log_weight - self.beta * np.asarray(coefficients) @ self.features.T
        p = np.exp(log_p - log_p.max(axis=-1, keepdims=True))
        return p / p.sum(axis=-1, keepdims=True)

    def quantile(self, coefficients: np.ndarray, u: np.ndarray) -> np.ndarray:
        """x at cumulated probability u."""
        p = self.probability(coefficients)
        return np.interp(u, np.cumsum(p) - p / 2.0, self.x)

    def statistics(self, potential: Potential, x: np.ndarray) -> SufficientStatistics:
        """Reduced frames of one trajectory."""
        nothing = np.zeros((len(x), 0))
        return SufficientStatistics(self.reduce(potential, x), nothing, nothing, np.zeros(len(x), int))


class ExactSimulator:
    """Draws from the Boltzmann distribution by inverse CDF; the memory of a Gaussian AR(1) correlates the samples.

    It answers to the same call as `physics.Simulator`. What was drawn before an interruption is drawn again.

    Args:
        line: the model.
        potential: gives the features.
        memory: correlation of successive samples' normal scores; 0 for independent samples.
    """

    def __init__(self, line: Quadrature, potential: Potential, *, memory: float = 0.0):
        self.line, self.potential, self.memory = line, potential, memory
        self.purposes: list[str] = []

    def simulate(
        self,
        potentials: Sequence[Potential],
        *,
        starts: np.ndarray,
        key: jax.Array,
        n_samples: int,
        purpose: str = "search",
        on_chunk: Callable[[float, Callable[[], dict[str, np.ndarray]]], None] | None = None,
        resume: dict[str, np.ndarray] | None = None,
    ) -> list[Reference]:
        self.purposes.append(purpose)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        each = len(starts) // len(potentials)
        references = []
        for potential in potentials:
            noise = rng.normal(size=(each, n_samples))
            for t in range(1, n_samples if self.memory else 0):
                noise[:, t] = self.memory * noise[:, t - 1] + np.sqrt(1 - self.memory**2) * noise[:, t]
            eta = np.asarray(potential.coefficients())
            x = self.line.quantile(eta, stats.norm.cdf(noise))
            features = self.line.reduce(self.potential, x.ravel()).reshape(each, n_samples, -1)
            nothing = np.zeros((each, n_samples, 0))
            kept = x[:, -1:, None].astype(np.float32)
            references.append(Reference(eta, features, nothing, nothing, kept, purpose))
        if on_chunk is not None:
            on_chunk(float(n_samples * len(starts)), lambda: {"done": np.asarray(n_samples)})
        return references


class Toy(NamedTuple):
    """A problem with a known answer.

    Attributes:
        line: quadrature of the model.
        potential: its form.
        prior: the prior.
        x: the data [frame].
        statistics: the data, reduced.
    """

    line: Quadrature
    potential: Potential
    prior: Prior
    x: np.ndarray
    statistics: SufficientStatistics

    def likelihood(self):
        """The likelihood with the exact Z."""
        return relative_entropy(self.statistics, self.line.surrogate())

    def problem(self, start: np.ndarray, *, memory: float = 0.0) -> Problem:
        """The same problem for the driver, with exact draws as simulations."""
        simulator = ExactSimulator(self.line, self.potential, memory=memory)
        return Problem(self.prior, self.statistics, self.line.beta, simulator, start, self.x[:, None, None])

    def sample(
        self, centre: np.ndarray, *, seed: int = 0, n_chains: int = 4, n_warmup: int = 300, n_draws: int = 500
    ) -> NutsDraws:
        """NUTS with the exact Z, whitened at `centre`."""
        posterior, likelihood = Posterior(self.prior), self.likelihood()
        mode = laplace(posterior, likelihood, centre)
        root = jnp.asarray(symmetric_root(mode.covariance))
        target = Target(likelihood, jnp.asarray(centre), root, jnp.asarray(1e-300))
        nuts = Nuts(posterior, n_warmup=n_warmup)
        state = nuts.initial_state(jax.random.key(seed), target, n_chains=n_chains)
        state, _ = nuts.step(state, target, n=n_warmup)
        return nuts.step(state, target, n=n_draws)[1]


class Toolkit(NamedTuple):
    """The classes above, for tests that build a model of their own."""

    Quadrature: type[Quadrature]
    ExactSimulator: type[ExactSimulator]
    Toy: type[Toy]


@pytest.fixture(scope="session")
def toolkit() -> Toolkit:
    return Toolkit(Quadrature, ExactSimulator, Toy)


def well_model() -> Potential:
    """V2's prior: normal on both, the likelihood being 0 where t₂ ≤ 0."""
    return DoubleWell(
        numpyro.sample("t1", dist.Normal(1.0, 2.0)), numpyro.sample("t2", dist.Normal(1.0, 2.0))
    )


@pytest.fixture(scope="session")
def double_well() -> Toy:
    """V2: 100 independent frames with ⟨x²⟩ = 1.2 and ⟨x⁴⟩ = 2.2 exactly."""
    potential = DoubleWell(1.0, 1.0)
    line = Quadrature(potential, -7.0, 7.0, n=1401)
    q = line.quantile(np.array([2.826133, 1.975583]), (np.arange(100) + 0.5) / 100)

    def shaped(p):
        return p[0] * np.sign(q) * np.abs(q) ** p[1]

    def excess(p):
        return [np.mean(shaped(p) ** 2) - 1.2, np.mean(shaped(p) ** 4) - 2.2]

    x = np.random.default_rng(0).permutation(shaped(optimize.fsolve(excess, [1.0, 1.0], xtol=1e-14)))
    return Toy(line, potential, Prior(well_model), x, line.statistics(potential, x))


@pytest.fixture(scope="session")
def double_well_fit(double_well) -> FitResult:
    """The whole driver on V2 with about 100 N reference frames."""
    settings = FitSettings(seed=3, search_samples=160, max_rounds=1, n_warmup=100, n_draws=300)
    return Fitter(double_well.problem(np.array([1.0, 1.0])), settings).run()
