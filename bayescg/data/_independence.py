"""Whether frames count as independent: an inefficiency of 1.2 or less, or one that chance alone explains."""

import functools
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from bayescg.data._timeseries import LongRunCovariance
from bayescg.errors import InputError

NEGLIGIBLE = 1.2
"""Statistical inefficiency that is passed over even where it is certain."""

CHANCE = 0.01
"""Share of independent series that each of the two tests takes for correlated."""


class Independence(NamedTuple):
    """How correlated frames look, and how correlated they may look.

    Attributes:
        inefficiency: g_max, the largest statistical inefficiency of any direction.
        limit: largest g_max with which frames pass as independent.

    Example:
        >>> Independence(1.6, 2.3).independent, Independence(1.6, 1.2).independent
        (True, False)
    """

    inefficiency: float
    limit: float

    @property
    def independent(self) -> bool:
        """Whether nothing speaks against independence."""
        return self.inefficiency <= self.limit


def frame_independence(long_run: LongRunCovariance) -> Independence:
    """Tests frames for independence by the inefficiency of every direction and by how much neighbours correlate.

    A g_max up to 1.2 always passes. Above, the limit is the larger of 1.2 and `chance_inefficiency`, unless the
    largest correlation ρ(1) of neighbouring frames is above z/√N with z the (1 − 0.01)^(1/p) quantile of the normal
    distribution: such frames are correlated, and the limit is 1.2. The first finds weak slow motions, the second
    fast ones, which the noise of g hides in short series. Of independent frames at most some 3 % are refused. Short
    correlated series may pass: of AR(1) series with g = 1.9 (ρ(1) = 0.3) and two directions about one in seven at
    100 frames, hardly any at 400; with g = 4 hardly any at 100.

    Args:
        long_run: the estimate for the frames.

    Example:
        >>> from bayescg.data import long_run_covariance
        >>> noise = np.random.default_rng(0).normal(size=(100, 2))
        >>> [frame_independence(long_run_covariance(x)).independent for x in (noise, np.cumsum(noise, axis=0))]
        [True, False]
    """
    g, n = float(np.max(long_run.inefficiency)), long_run.n_frames
    neighbours = long_run.neighbour_correlation
    p = max(len(neighbours), 1)
    if np.max(neighbours, initial=-1.0) * np.sqrt(n) > ndtri((1.0 - CHANCE) ** (1.0 / p)):
        return Independence(g, NEGLIGIBLE)
    return Independence(g, max(NEGLIGIBLE, chance_inefficiency(n, len(long_run.inefficiency))))


def chance_inefficiency(n_frames: int, n_directions: int, *, chance: float = CHANCE) -> float:
    """The g_max that independent frames exceed with a given probability, through the noise of the estimator.

    Autocorrelations of N independent frames are N(0, 1/N) each, independent of each other, whatever the distribution
    of the frames. Geyer's sum over pairs of them is then

        g = 1 + 2 T/√N,  T = X + √2 S,  S = Σ_m min(Y_1 … Y_m) up to the first Y_m ≤ 0,

    with X and all Y standard normal. Let G(y) be E exp(λ · what follows) where the smallest so far is y, and Q the
    normal tail. Then G(y) = ½ + Q(y) e^(λy) G(y) + ∫_0^y φ(u) e^(λu) G(u) du, and G(0) = 1; hence

        log E exp(λS) = log G(∞) = ∫_0^∞ λ Q e^(λu)/(1 − Q e^(λu)) du.

    T's distribution comes from its characteristic function, and the largest of p independent directions stays below
    what one stays below with probability (1 − chance)^(1/p).

    Args:
        n_frames: N.
        n_directions: p, over which the largest g is taken.
        chance: the probability.

    Raises:
        InputError: a probability outside 0 to 0.5, or no frames or directions.

    Example:
        >>> round(chance_inefficiency(100, 2), 2), round(chance_inefficiency(10_000, 2), 2)
        (2.32, 1.13)
    """
    if not 0.0 < chance < 0.5 or n_frames < 1 or n_directions < 1:
        raise InputError(
            f"inefficiency by chance: {n_frames} frames, {n_directions} directions, probability {chance}; expected at"
            " least one of each and a probability between 0 and 0.5"
        )
    return 1.0 + 2.0 * _quantile(1.0 - (1.0 - chance) ** (1.0 / n_directions)) / float(np.sqrt(n_frames))


@functools.lru_cache(maxsize=128)
def _quantile(upper_tail: float) -> float:
    """The T that is exceeded with this probability."""
    return float(brentq(lambda t: _exceeds(t) - upper_tail, -4.0, 40.0))


def _exceeds(t: float) -> float:
    """P(T > t) = ½ + (1/π) ∫_0^∞ Im[e^(−iωt) E e^(iωT)] dω/ω (Gil-Pelaez 1951, doi:10.1093/biomet/38.3-4.481)."""
    omega, weights, transform = _transform()
    return float(0.5 + (np.exp(-1j * t * omega) * transform / omega).imag @ weights / np.pi)


@functools.cache
def _transform() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes in ω, their weights, and E e^(iωT) = exp(−ω²/2) G(∞) at λ = i√2 ω."""
    nodes, weights = np.polynomial.legendre.leggauss(300)
    omega, u = 4.5 * (nodes + 1.0), 5.0 * (nodes + 1.0)
    rate = 1j * np.sqrt(2.0) * omega
    tail = ndtr(-u) * np.exp(np.outer(rate, u))
    log_s = rate * ((tail / (1.0 - tail)) @ (5.0 * weights))
    return omega, 4.5 * weights, np.exp(-(omega**2) / 2.0 + log_s)
