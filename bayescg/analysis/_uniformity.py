"""Whether ranks are uniform: exact simultaneous bands of their distribution function, and the chi-squared test."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from bayescg.errors import InputError

POINTS = 60
"""Places at most where the distribution function is compared; more see little more, since neighbours go together."""
NEGLIGIBLE = 1e-10
"""Probability of the counts that the recursion leaves out, at either end of every place."""


class EcdfBand(NamedTuple):
    """A band that holds the empirical distribution function of uniform ranks everywhere at once.

    Attributes:
        place: where it is compared, shares of the ranks [place].
        lower: its lower edge [place].
        upper: its upper edge [place].

    Example:
        >>> band = ecdf_band(200, 100)
        >>> middle = np.argmin(abs(band.place - 0.5))
        >>> bool(0.35 < band.lower[middle] < 0.45), bool(0.55 < band.upper[middle] < 0.65)
        (True, True)
    """

    place: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class _Chain(NamedTuple):
    """The counts of ranks below each place, a Markov chain, inside windows that hold all but a negligible share.

    Attributes:
        place: shares of the ranks [place].
        counts: of every window [place count].
        tail: 2 min(P(X ≤ x), P(X ≥ x)) of each count by itself [place count].
        first: probability of the counts at the first place [count].
        steps: transition probabilities to the next place [step count count].
    """

    place: np.ndarray
    counts: np.ndarray
    tail: np.ndarray
    first: np.ndarray
    steps: np.ndarray

    def inside(self, level: float, *, closed: bool) -> float:
        """Probability that every count has a tail of at least `level` (above it, where the set is not closed)."""
        allowed = self.tail >= level if closed else self.tail > level
        p = self.first * allowed[0]
        for step, mask in zip(self.steps, allowed[1:], strict=True):
            p = (p @ step) * mask
        return float(p.sum())


@lru_cache(maxsize=16)
def _chain(n_replicates: int, n_ranks: int) -> _Chain:
    edges = np.unique(np.linspace(0, n_ranks, min(POINTS, n_ranks) + 1).round().astype(int))[1:-1]
    place = edges / n_ranks
    low = stats.binom.ppf(NEGLIGIBLE, n_replicates, place).astype(int)
    width = int(np.max(stats.binom.isf(NEGLIGIBLE, n_replicates, place) - low)) + 1
    counts = low[:, None] + np.arange(width)
    single = stats.binom(n_replicates, place[:, None])
    tail = 2.0 * np.minimum(single.cdf(counts), single.sf(counts - 1))
    tail = np.where(counts <= n_replicates, tail, 0.0)
    share = np.diff(place) / (1.0 - place[:-1])
    before = counts[:-1, :, None]
    left = np.maximum(n_replicates - before, 0)
    steps = stats.binom.pmf(counts[1:, None, :] - before, left, share[:, None, None])
    return _Chain(place, counts, tail, single.pmf(counts)[0], steps)


def ecdf_band(n_replicates: int, n_ranks: int, *, content: float = 0.95) -> EcdfBand:
    """The band in which the empirical distribution function of uniform ranks lies everywhere with a given probability.

    At each place the number of ranks below it is binomial; from place to place these counts are a Markov chain, whose
    probability of staying between pointwise quantiles is a product of matrices. The quantiles' level is the one at
    which that probability is the content.

    Args:
        n_replicates: independent ranks.
        n_ranks: how many values a rank can have.
        content: probability that the function lies inside everywhere.

    References:
        Säilynoja, Bürkner & Vehtari (2022), doi:10.1007/s11222-022-10090-6, section 2.2.
    """
    chain = _chain(n_replicates, n_ranks)
    low, high = 0.0, 1.0
    for _ in range(40):
        level = (low + high) / 2.0
        low, high = (level, high) if chain.inside(level, closed=True) >= content else (low, level)
    allowed = chain.tail >= low
    first = chain.counts[np.arange(len(allowed)), np.argmax(allowed, axis=1)]
    last = chain.counts[np.arange(len(allowed)), allowed.shape[1] - 1 - np.argmax(allowed[:, ::-1], axis=1)]
    return EcdfBand(chain.place, first / n_replicates, last / n_replicates)


def ecdf_of_ranks(
    ranks: Int[np.ndarray, " replicate"], place: Float[np.ndarray, " place"], n_ranks: int
) -> Float[np.ndarray, " place"]:
    """Share of the ranks below each place.

    Example:
        >>> ecdf_of_ranks(np.array([0, 1, 2, 3]), np.array([0.25, 0.5]), 4).tolist()
        [0.25, 0.5]
    """
    edges = np.round(place * n_ranks)
    return np.searchsorted(np.sort(ranks), edges, side="left") / len(ranks)


def ecdf_p_value(ranks: Int[np.ndarray, " replicate"], n_ranks: int) -> float:
    """Probability that uniform ranks leave their expected distribution function as far somewhere as these do.

    Args:
        ranks: 0 to n_ranks − 1.
        n_ranks: how many values a rank can have.

    References:
        Säilynoja, Bürkner & Vehtari (2022), doi:10.1007/s11222-022-10090-6, eq. 5.

    Example:
        >>> even = np.arange(200) % 100
        >>> ecdf_p_value(even, 100) > 0.99, ecdf_p_value(even // 2, 100) < 1e-6
        (True, True)
    """
    _refuse(ranks, n_ranks)
    chain = _chain(len(ranks), n_ranks)
    counts = np.round(ecdf_of_ranks(ranks, chain.place, n_ranks) * len(ranks)).astype(int)
    single = stats.binom(len(ranks), chain.place)
    level = 2.0 * float(np.min(np.minimum(single.cdf(counts), single.sf(counts - 1))))
    return float(np.clip(1.0 - chain.inside(level * (1.0 + 1e-12), closed=False), 0.0, 1.0))


def chi_squared(
    ranks: Int[np.ndarray, " replicate"], n_ranks: int, *, n_bins: int = 10
) -> tuple[float, float]:
    """χ² of the ranks' histogram against uniform, and its probability of being exceeded.

    Args:
        ranks: 0 to n_ranks − 1.
        n_ranks: how many values a rank can have.
        n_bins: bins, as equal as the ranks allow; the degrees of freedom are one fewer.

    Example:
        >>> chi_squared(np.arange(200) % 100, 100)
        (0.0, 1.0)
    """
    _refuse(ranks, n_ranks)
    edges = np.unique(np.linspace(0, n_ranks, min(n_bins, n_ranks) + 1).round().astype(int))
    found = np.histogram(ranks, bins=edges - 0.5)[0]
    expected = len(ranks) * np.diff(edges) / n_ranks
    statistic = float(np.sum((found - expected) ** 2 / expected))
    return statistic, float(stats.chi2.sf(statistic, len(expected) - 1))


def _refuse(ranks: np.ndarray, n_ranks: int) -> None:
    if len(ranks) < 2 or n_ranks < 2:
        raise InputError(f"ranks: {len(ranks)} of {n_ranks} possible values; expected at least 2 of each")
    if ranks.min() < 0 or ranks.max() >= n_ranks:
        raise InputError(
            f"ranks: found {ranks.min()} to {ranks.max()}; with {n_ranks} possible values they are 0 to {n_ranks - 1}"
        )
