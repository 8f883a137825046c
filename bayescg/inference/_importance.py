"""Importance weights of draws: each computed once, smoothed, resampled; and a better proposal where their tail is heavy."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayescg.inference._t_mixture import fit_t_mixture, flattened

STEPS_PER_ROUND = 3
"""Steps of expectation and maximisation between two rounds of proposals."""


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


class Weighted(NamedTuple):
    """Draws with importance weights.

    Attributes:
        draws: [draw coordinate].
        weights: normalised [draw].
        khat: Pareto k̂ of the weights.
    """

    draws: np.ndarray
    weights: np.ndarray
    khat: float


def mixture_draws(
    draws: Float[np.ndarray, "draw coordinate"],
    weights: Float[np.ndarray, " draw"],
    log_density: Callable[[np.ndarray], np.ndarray],
    *,
    n: int,
    n_last: int,
    rounds: int,
    rng: np.random.Generator,
    n_components: int = 8,
) -> Weighted:
    """Importance sampling by mixtures of t distributions that are fitted to the weighted draws of the round before.

    Where a few draws hold nearly all the weight, a mixture of these few would be singular: then it is fitted to flattened
    weights, and comes nearer the target round by round.

    Args:
        draws: what the first mixture is fitted to.
        weights: theirs, normalised.
        log_density: of the target, at draws.
        n: proposals of each round.
        n_last: of the last one.
        rounds: how often a mixture is fitted.
        rng: random numbers.
        n_components: of each mixture at most.

    Returns:
        The last round's proposals and weights.

    References:
        Cappé et al. (2008), doi:10.1007/s11222-008-9059-x.
    """
    size = draws.shape[1]
    mixture = fit_t_mixture(draws, flattened(weights, size=size), n_components=n_components, rng=rng)
    for round_ in range(rounds):
        if round_:
            for _ in range(STEPS_PER_ROUND):
                mixture = mixture.updated(draws, flattened(weights, size=size))
        draws = mixture.sample(n_last if round_ + 1 == rounds else n, rng)
        weights, khat = smoothed_weights(log_density(draws) - mixture.log_density(draws))
    return Weighted(draws, weights, khat)


def systematic(weights: Float[np.ndarray, " draw"], rng: np.random.Generator) -> Int[np.ndarray, " draw"]:
    """As many indices as weights, each as often as its weight says, in order.

    Copies of a draw stay neighbours and chains stay together, so that the effective number of the resampled draws
    counts the weights and the chains' autocorrelation alike.
    """
    positions = (rng.uniform() + np.arange(len(weights))) / len(weights)
    return np.minimum(np.searchsorted(np.cumsum(weights), positions), len(weights) - 1)
