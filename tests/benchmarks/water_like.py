"""A posterior like that of one-site water, without simulating it: what several benchmarks measure on."""

from typing import NamedTuple

import numpy as np
import numpyro.distributions as dist

from bayescg.inference import (
    Posterior,
    RelativeEntropy,
    Smoothness,
    default_smoothness_weights,
    independent_prior,
    relative_entropy,
)
from bayescg.physics import Reference, ReferenceBank, SplinePair, SufficientStatistics

BETA = 0.4
"""Inverse temperature [mol/kJ]."""


class Problem(NamedTuple):
    """A posterior of a spline with its smoothness, 1,500 frames of data, and a point near its mode."""

    posterior: Posterior
    likelihood: RelativeEntropy
    statistics: SufficientStatistics
    start: np.ndarray


class Law(NamedTuple):
    """How the features of a spline are distributed at one potential: a normal distribution.

    At other coefficients η the same model has the mean μ − β C (η − η₀) and the same covariance C.
    """

    spline: SplinePair
    coefficients: np.ndarray
    mean: np.ndarray
    root: np.ndarray


def law(n_coefficients: int) -> Law:
    """Features that vary and correlate like those of one-site water; without the core's, which is 0."""
    spacing = 0.66 / n_coefficients
    spline = SplinePair.uniform(
        inner=0.24, cutoff=0.9, spacing=spacing, core_distance=0.25, core_strength=10.0
    )
    r = spline.centres()
    truth = 20.0 * np.exp(-(r - 0.24) / 0.02) + 0.3 * np.cos(22.0 * (r - 0.28)) * np.exp(-(r - 0.28) / 0.2)
    distance = np.abs(r[:, None] - r[None, :])
    scale = 3.0 + 40.0 * (r - r[0])
    root = np.linalg.cholesky(np.exp(-distance / 0.05) * np.outer(scale, scale) + 1e-6 * np.eye(len(r)))
    return Law(spline, truth, 300.0 * r, root)


def problem(n_frames: int, n_coefficients: int) -> Problem:
    """Such a posterior, with a bank of so many frames."""
    spline, truth, mean, root = law(n_coefficients)
    rng = np.random.default_rng(1)

    def frames(n: int) -> np.ndarray:
        return np.concatenate([mean + rng.normal(size=(n, len(mean))) @ root.T, np.zeros((n, 1))], axis=1)

    shaped = frames(n_frames).reshape(20, -1, len(mean) + 1)
    none = shaped[..., :0]
    bank = ReferenceBank(BETA, (Reference(np.append(truth, 1.0), shaped, none, none, np.zeros((0, 1, 3))),))
    data = frames(1500)
    statistics = SufficientStatistics(data, data, data[:, :0], np.zeros(1500, int))
    info = spline.parameters()[0]
    prior = independent_prior(
        spline,
        {info.name: Smoothness(dist.LogNormal(np.log(0.25), 1.0), default_smoothness_weights(info))},
    )
    start = np.asarray(prior.unconstrain({info.name: truth, f"{info.name}_smoothness": 0.3}))
    return Problem(Posterior(prior), relative_entropy(statistics, bank.surrogate()), statistics, start)
