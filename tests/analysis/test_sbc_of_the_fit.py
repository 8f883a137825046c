"""Simulation-based calibration of the whole pipeline on V2: search, references, verification, NUTS and calibrated draws."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from bayescg.analysis import CalibrationExperiment, check_ranks, rank_of_truth, simulation_based_calibration
from bayescg.errors import ConvergenceError
from bayescg.inference import FitSettings, Fitter, Nuts, Posterior, Prior, Problem
from bayescg.physics import DoubleWell, SufficientStatistics
from tests.inference.conftest import ExactSimulator

N, N_REPLICATES, N_RANKS = 100, 200, 20
NAMES = ("t1", "t2", "t1 calibrated", "t2 calibrated")


class WideLine:
    """`Quadrature` with nodes that are fine near zero and reach to ±60: the prior holds wells that far apart."""

    beta = 1.0

    def __init__(self):
        u = np.linspace(-1.0, 1.0, 1801) * np.arcsinh(120.0)
        self.x, self.log_weight = 0.5 * np.sinh(u), np.log(np.cosh(u))
        self.features = self.reduce(None, self.x)

    @staticmethod
    def reduce(potential, x: np.ndarray) -> np.ndarray:
        return np.stack([-(x**2) / 2.0, x**4 / 4.0], axis=-1)

    def quantile(self, eta: np.ndarray, u: np.ndarray) -> np.ndarray:
        log_p = self.log_weight - self.features @ np.asarray(eta)
        p = np.exp(log_p - log_p.max())
        p /= p.sum()
        return np.interp(u, np.cumsum(p) - p / 2.0, self.x)


def well() -> DoubleWell:
    """V2's prior where a density can be normalised."""
    t1 = numpyro.sample("t1", dist.Normal(1.0, 2.0))
    return DoubleWell(t1, numpyro.sample("t2", dist.TruncatedNormal(1.0, 2.0, low=0.0)))


def score_matching(x: np.ndarray) -> np.ndarray:
    """The start: the minimum of ⟨U'²/2 − U''⟩, held by the prior."""
    slope = np.stack([-x, x**3], axis=-1)
    curvature = np.stack([-np.ones_like(x), 3.0 * x**2], axis=-1).mean(axis=0)
    prior = 0.25 / len(x)
    t1, t2 = np.linalg.solve(slope.T @ slope / len(x) + prior * np.eye(2), curvature + prior)
    return np.array([t1, np.log(max(t2, 0.05))])


class Pipeline(NamedTuple):
    """What all fits share, so that it compiles once: prior, posterior and sampler know nothing of the data."""

    prior: Prior
    posterior: Posterior
    nuts: Nuts
    line: WideLine

    def fit(self, x: np.ndarray, seed: int) -> np.ndarray:
        """Raw and calibrated draws of one data set [chain draw 4]; every simulation has 640 frames, for fixed shapes."""
        features = self.line.reduce(None, x)
        nothing = features[:, :0]
        simulator = ExactSimulator(self.line, DoubleWell(1.0, 1.0))
        problem = Problem(
            self.prior, SufficientStatistics(features, nothing, nothing, np.zeros(N, int)), 1.0, simulator,
            score_matching(x), x[:, None, None],
        )  # fmt: skip
        settings = FitSettings(
            seed=seed, search_samples=40, max_verification_samples=40, max_rounds=1, n_chains=2, n_warmup=50, n_draws=130,
            sampler=lambda posterior, n_warmup: self.nuts,
        )  # fmt: skip
        fitter = Fitter(problem, settings)
        fitter.posterior = self.posterior
        try:
            found = fitter.run()
        except ConvergenceError:
            return np.full((2, 130, 4), np.nan)  # counted as lost
        assert found.bank.n_frames.sum() >= 15 * N and len(found.verifications) == 1
        assert {"search", "verification"} == set(simulator.purposes)
        return np.concatenate([found.draws.z, found.calibrated], axis=-1)


@pytest.mark.slow
def test_ranks_of_the_truth_are_uniform_under_the_whole_fit():
    """Prior draw → 100 independent positions → the real driver → rank, 200 times; too narrow draws are told from right ones."""
    prior, fitted = Prior(well), []
    posterior = Posterior(prior)
    pipeline = Pipeline(prior, posterior, Nuts(posterior, n_warmup=50), WideLine())

    def draw_parameters(key, n):
        return np.tile(np.asarray(prior.sample(key, n)), 2)

    def simulate(key, truth):
        u = np.asarray(jax.random.uniform(key, (len(truth), N)))
        etas = np.asarray(jax.vmap(posterior.coefficients)(jnp.asarray(truth[:, :2])))
        return np.stack([pipeline.line.quantile(eta, row) for eta, row in zip(etas, u, strict=True)])

    def infer(key, data):
        seeds = np.asarray(jax.random.randint(key, (len(data),), 0, 2**31 - 1))
        fitted.append(np.stack([pipeline.fit(x, int(seed)) for x, seed in zip(data, seeds, strict=True)]))
        return fitted[-1]

    check = simulation_based_calibration(
        CalibrationExperiment(draw_parameters, simulate, infer), key=jax.random.key(8), n_replicates=N_REPLICATES,
        names=NAMES, n_ranks=N_RANKS, on_batch=print,
    )  # fmt: skip
    print(check["sentence"].values, check["ecdf_p"].values, check["chi2_p"].values, check.attrs)
    assert set(check["verdict"].values) == {"passed"}
    assert np.all(check["ecdf_p"] > 0.0025) and np.all(check["chi2_p"] > 0.0025)  # four times two tests
    draws = np.concatenate(fitted)
    narrow = draws.mean(axis=(1, 2), keepdims=True) + 0.6 * (draws - draws.mean(axis=(1, 2), keepdims=True))
    ranks = rank_of_truth(check["truth"].values, narrow, n_ranks=N_RANKS, rng=np.random.default_rng(0))
    wrong = check_ranks(ranks, n_ranks=N_RANKS, names=NAMES)
    assert set(wrong["verdict"].values) == {"failed"}
