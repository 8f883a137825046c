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


class Problem(NamedTuple):
    """A posterior of a spline with its smoothness, 1,500 frames of data, and a point near its mode."""

    posterior: Posterior
    likelihood: RelativeEntropy
    statistics: SufficientStatistics
    start: np.ndarray


def problem(n_frames: int, n_coefficients: int) -> Problem:
    """Made so that features vary and correlate like those of one-site water; a bank of so many frames."""
    spacing = 0.66 / n_coefficients
    spline = SplinePair.uniform(
        inner=0.24, cutoff=0.9, spacing=spacing, core_distance=0.25, core_strength=10.0
    )
    r = spline.centres()
    truth = 20.0 * np.exp(-(r - 0.24) / 0.02) + 0.3 * np.cos(22.0 * (r - 0.28)) * np.exp(-(r - 0.28) / 0.2)
    rng = np.random.default_rng(1)
    distance = np.abs(r[:, None] - r[None, :])
    scale = 3.0 + 40.0 * (r - r[0])
    root = np.linalg.cholesky(np.exp(-distance / 0.05) * np.outer(scale, scale) + 1e-6 * np.eye(len(r)))

    def frames(n: int) -> np.ndarray:
        return np.concatenate([300.0 * r + rng.normal(size=(n, len(r))) @ root.T, np.zeros((n, 1))], axis=1)

    shaped = frames(n_frames).reshape(20, -1, len(r) + 1)
    none = shaped[..., :0]
    bank = ReferenceBank(0.4, (Reference(np.append(truth, 1.0), shaped, none, none, np.zeros((0, 1, 3))),))
    data = frames(1500)
    statistics = SufficientStatistics(data, data, data[:, :0], np.zeros(1500, int))
    info = spline.parameters()[0]
    prior = independent_prior(
        spline,
        {info.name: Smoothness(dist.LogNormal(np.log(0.25), 1.0), default_smoothness_weights(info))},
    )
    start = np.asarray(prior.unconstrain({info.name: truth, f"{info.name}_smoothness": 0.3}))
    return Problem(Posterior(prior), relative_entropy(statistics, bank.surrogate()), statistics, start)
