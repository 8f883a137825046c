"""Importance weights of draws: each computed once, smoothed, resampled; and a better proposal where their tail is heavy."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

FITTED_T = 5.0
"""Degrees of freedom of the t that is fitted to weighted draws."""


class Weighing:
    """Log importance weights of draws, each computed once."""

    def __init__(self, function: Callable[[np.ndarray], np.ndarray], points: np.ndarray):
        self.function, self.points = function, points
        self.known = np.full(len(points), np.nan)

    def __call__(self, draws: Int[np.ndarray, " some"]) -> Float[np.ndarray, " some"]:
        missing = draws[np.isnan(self.known[draws])]
        self.known[missing] = self.function(self.points[missing])
        return self.known[draws]

    def constant(self, draws: Int[np.ndarray, " some"]) -> bool:
        """Whether they are the same up to rounding."""
        values = self(draws)
        return bool(np.ptp(values) < 1e-6 * max(1.0, np.max(np.abs(values))) + 1e-6)

    def spread(self, draws: Int[np.ndarray, " some"]) -> float:
        """Their standard deviation."""
        return float(np.std(self(draws)))


def smoothed_weights(log_ratio: Float[np.ndarray, " draw"]) -> tuple[Float[np.ndarray, " draw"], float]:
    """Pareto-smoothed importance weights, normalised, and k̂; draws where the ratio is not finite have none to speak of.

    References:
        Vehtari et al. (2024), JMLR 25, 72.
    """
    from arviz_stats.base import array_stats

    finite = np.isfinite(log_ratio)
    if not finite.any():
        return np.full(len(log_ratio), 1.0 / len(log_ratio)), np.inf
    log_ratio = np.where(finite, log_ratio, np.min(log_ratio[finite]) - 50.0)
    log_weights, khat = array_stats.psislw(-log_ratio)[:2]
    weights = np.exp(log_weights - np.max(log_weights))
    return weights / weights.sum(), float(khat)


def fitted_t_draws(
    draws: Float[np.ndarray, "draw coordinate"],
    weights: Float[np.ndarray, " draw"],
    *,
    n: int,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "draw coordinate"], Float[np.ndarray, " draw"]]:
    """Draws of the multivariate t with the mean and the covariance (as scale) of weighted draws.

    Args:
        draws: what it is fitted to.
        weights: theirs, normalised.
        n: number of draws.
        rng: random numbers.

    Returns:
        The draws and their log densities, up to a constant.

    References:
        Cappé et al. (2008), doi:10.1007/s11222-008-9059-x: adaptive importance sampling.
    """
    mean = weights @ draws
    centred = draws - mean
    root = np.linalg.cholesky((weights[:, None] * centred).T @ centred)
    normal = rng.normal(size=(n, len(mean)))
    stretch = np.sqrt(FITTED_T / rng.chisquare(FITTED_T, size=n))
    square = np.sum(normal**2, axis=1) * stretch**2
    log_density = -0.5 * (FITTED_T + len(mean)) * np.log1p(square / FITTED_T)
    return mean + stretch[:, None] * (normal @ root.T), log_density


def systematic(weights: Float[np.ndarray, " draw"], rng: np.random.Generator) -> Int[np.ndarray, " draw"]:
    """As many indices as weights, each as often as its weight says, in order.

    Copies of a draw stay neighbours and chains stay together, so that the effective number of the resampled draws
    counts the weights and the chains' autocorrelation alike.
    """
    positions = (rng.uniform() + np.arange(len(weights))) / len(weights)
    return np.minimum(np.searchsorted(np.cumsum(weights), positions), len(weights) - 1)
