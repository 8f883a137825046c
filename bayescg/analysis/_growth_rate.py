"""Growth from the number of solid-like particles N_s(t): onset, steady rate, and whether there is steady growth at all."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from bayescg.analysis._response_posterior import Band
from bayescg.errors import InputError

VERDICTS = ("no growth", "steady growth", "growth that is not steady")

_PERSISTENCE = np.concatenate([[0.0], 1.0 - np.geomspace(0.8, 0.004, 15)])
"""Correlations of the noise between frames that are tried: from white to nearly a random walk."""
_MOST_ONSETS = 400
_RATES, _SCATTERS = 601, 16


class GrowthFit(NamedTuple):
    """Posterior of delayed growth, for each trajectory: l(t) = l₀ + v max(t − t₀, 0), l = N_s^(1/d).

    Attributes:
        probabilities: of no growth, steady growth, growth that is not steady [trajectory verdict].
        onsets: times t₀ that are tried [time].
        onset_probabilities: of them, if growth is steady [trajectory onset].
        rates: values of v that are tried [particles^(1/d)/time].
        rate_densities: posterior density of v, if growth is steady [trajectory rate].
        persistence: posterior mean of the correlation of the noise from frame to frame [trajectory].

    Example:
        >>> one = np.ones((1, 1))
        >>> fit = GrowthFit(np.array([[0.1, 0.8, 0.1]]), np.zeros(1), one, np.ones(1), one, np.zeros(1))
        >>> fit.verdicts()
        ['steady growth']
    """

    probabilities: Float[np.ndarray, "trajectory 3"]
    onsets: Float[np.ndarray, " onset"]
    onset_probabilities: Float[np.ndarray, "trajectory onset"]
    rates: Float[np.ndarray, " rate"]
    rate_densities: Float[np.ndarray, "trajectory rate"]
    persistence: Float[np.ndarray, " trajectory"]

    def verdicts(self) -> list[str]:
        """The most probable of `VERDICTS` for each trajectory."""
        return [VERDICTS[k] for k in np.argmax(self.probabilities, axis=1)]

    def onset(self, level: float = 0.95) -> list[Band]:
        """When steady growth begins in each trajectory [time]."""
        return [_band(self.onsets, p, level) for p in self.onset_probabilities]

    def rate(self, level: float = 0.95) -> list[Band]:
        """v of each trajectory, if its growth is steady [particles^(1/d)/time]."""
        return [_band(self.rates, p, level) for p in self.rate_densities]

    def mean_rate(self, level: float = 0.95) -> tuple[Band, Band]:
        """Mean of v over trajectories that might be made, and its scatter between them.

        v_i ~ N(mean, scatter²), with a flat prior of the mean and a half-normal one of the scatter, as wide as the median
        rate. Only trajectories whose most probable verdict is steady growth count.

        Raises:
            InputError: no trajectory grows steadily.

        References:
            Gelman (2006), doi:10.1214/06-BA117A, for the prior of the scatter.
        """
        steady = np.argmax(self.probabilities, axis=1) == 1
        if not steady.any():
            told = ", ".join(f"{i}: {v}" for i, v in enumerate(self.verdicts()[:8]))
            raise InputError(
                f"growth rate: no trajectory grows steadily ({told}); simulate longer, larger, or colder"
            )
        v, density = self.rates, self.rate_densities[steady]
        width = abs(float(np.median([band.value for band, s in zip(self.rate(), steady) if s])))
        scatters = width * np.concatenate([[0.0], np.geomspace(0.01, 3.0, _SCATTERS - 1)])
        # trapezoids in the scatter, whose grid is uneven; flat in the mean
        cell = np.gradient(scatters)
        log_p = np.empty((len(scatters), len(v)))
        for k, scatter in enumerate(scatters):
            spread = density if scatter == 0.0 else density @ _normal_kernel(v, scatter)
            log_p[k] = np.log(np.maximum(spread, 1e-300)).sum(axis=0) - 0.5 * (scatter / width) ** 2
        p = np.exp(log_p - log_p.max()) * cell[:, None]
        return _band(v, p.sum(axis=0), level), _band(scatters, p.sum(axis=1), level)

    def sentence(self) -> str:
        """How many trajectories grow steadily, and how fast."""
        steady = int(np.sum(np.argmax(self.probabilities, axis=1) == 1))
        found = f"{steady} of {len(self.probabilities)} trajectories grow steadily"
        if not steady:
            return f"{found}: there is no growth rate to be given"
        rate = self.mean_rate(0.9)[0]
        return f"{found}, with rate {rate.value:.3g} ({rate.low:.3g} to {rate.high:.3g}, 90 %)"


def growth_fit(
    sizes: Float[np.ndarray, "trajectory frame"],
    *,
    time_step: float,
    dimension: int = 3,
    least_frames: int = 10,
) -> GrowthFit:
    """Bayesian fit of delayed growth to the number of solid-like particles along several trajectories.

    A compact cluster that grows at its surface has N_s ∝ (v t)^d, so l = N_s^(1/d) rises linearly; before the onset t₀,
    while no nucleus has formed, it fluctuates about l₀. Noise is correlated from frame to frame (autoregressive of first
    order, up to nearly a random walk, which by itself can look like growth). Three descriptions compete: constant, with
    prior probability ½; constant, then linear, with ¼; constant, then linear with a quadratic term, as where growth runs
    out of particles or accelerates, with ¼. Coefficients and noise are integrated out in closed form, onset and
    correlation on a grid. What is added to the constant has the prior of unit information about its best value, which
    divides the odds by √frames for each coefficient; v given onset and correlation is Student's t, as from a flat prior.

    Args:
        sizes: N_s of every frame, such as `solid_like_number` gives.
        time_step: between frames [time].
        dimension: d; 3 for a compact cluster, 1 for a flat front.
        least_frames: fewest frames of growth, and of the time before it unless growth begins with the trajectory.

    Raises:
        InputError: fewer frames than four times `least_frames`, numbers that are negative or not finite, no time step.

    References:
        Kass & Wasserman (1995), doi:10.1080/01621459.1995.10476592 (odds); Carlin, Gelfand & Smith (1992),
        doi:10.2307/2347570 (change points).

    Example:
        >>> t, rng = np.arange(100.0), np.random.default_rng(0)
        >>> length = 2.0 + 0.05 * np.maximum(t - 40.0, 0.0) + 0.05 * rng.normal(size=(3, 100))
        >>> fit = growth_fit(length**3, time_step=1.0)
        >>> fit.sentence()
        '3 of 3 trajectories grow steadily, with rate 0.0496 (0.0485 to 0.0507, 90 %)'
    """
    n_s = np.asarray(sizes, float)
    if n_s.ndim != 2 or n_s.shape[1] < 4 * least_frames or least_frames < 3:
        raise InputError(
            f"growth rate: sizes of the shape {n_s.shape}; expected [trajectory, frame] with at least"
            f" {4 * max(least_frames, 3)} frames"
        )
    if not (np.isfinite(n_s).all() and (n_s >= 0.0).all() and time_step > 0.0 and dimension >= 1):
        raise InputError(
            f"growth rate: sizes must be finite and not negative, time step {time_step} and dimension {dimension} positive"
        )
    n = n_s.shape[1]
    # finer than frames where they are few: with little noise the onset is known within one
    count = max(50, min(_MOST_ONSETS, 4 * n, int(4e5 // n)))
    first = np.concatenate([[0.0], np.linspace(least_frames, n - least_frames, count)])
    length = n_s ** (1.0 / dimension)
    basis = _basis(n, first)
    pieces = [_posterior(row, basis) for row in length]
    lows, highs = zip(*(piece.reach for piece in pieces))
    rates = np.linspace(min(lows), max(highs), _RATES)
    densities = np.stack([piece.density(rates, n - 2) for piece in pieces])
    return GrowthFit(
        np.stack([piece.verdict for piece in pieces]),
        first * time_step,
        np.stack([piece.weights.sum(axis=0) for piece in pieces]),
        rates / time_step,
        densities * time_step,
        np.array([piece.weights.sum(axis=1) @ _PERSISTENCE for piece in pieces]),
    )


class _Basis(NamedTuple):
    """Constant, linear and quadratic growth whitened for each correlation, the constant projected out of the others."""

    constant: Float[np.ndarray, "persistence frame"]
    linear: Float[np.ndarray, "persistence onset frame"]
    quadratic: Float[np.ndarray, "persistence onset frame"]


class _Piece(NamedTuple):
    """Posterior of one trajectory; times in frames."""

    verdict: Float[np.ndarray, " 3"]
    weights: Float[np.ndarray, "persistence onset"]
    mean: Float[np.ndarray, "persistence onset"]
    scale: Float[np.ndarray, "persistence onset"]

    @property
    def reach(self) -> tuple[float, float]:
        """Six standard deviations of the rate to either side of its mean: finer steps for what matters than all tails."""
        middle = np.sum(self.weights * self.mean)
        sd = np.sqrt(np.sum(self.weights * ((self.mean - middle) ** 2 + self.scale**2)))
        return float(middle - 6.0 * sd), float(middle + 6.0 * sd)

    def density(self, rates: Float[np.ndarray, " rate"], degrees: int) -> Float[np.ndarray, " rate"]:
        """The mixture of Student's t over onset and correlation."""
        counts = self.weights > 1e-4 * self.weights.max()
        w, mean, scale = self.weights[counts], self.mean[counts], self.scale[counts]
        z = (rates - mean[:, None]) / scale[:, None]
        density = (w / scale) @ np.exp(-0.5 * (degrees + 1) * np.log1p(z**2 / degrees))
        return density / (density.sum() * (rates[1] - rates[0]))


def _whitened(rows: Float[np.ndarray, "*row frame"]) -> Float[np.ndarray, "persistence *row frame"]:
    """Innovations of rows under each correlation: x_i − ρ x_(i−1), the first one times √(1 − ρ²)."""
    rho = _PERSISTENCE.reshape(-1, *[1] * rows.ndim)
    first = np.sqrt(1.0 - rho**2) * rows[..., :1]
    return np.concatenate([first, rows[..., 1:] - rho * rows[..., :-1]], axis=-1)


def _basis(n_frames: int, first: np.ndarray) -> _Basis:
    constant = _whitened(np.ones(n_frames))
    constant /= np.linalg.norm(constant, axis=-1, keepdims=True)
    since = np.maximum(np.arange(n_frames) - first[:, None], 0.0)
    columns = []
    for power in (1, 2):
        w = _whitened(since**power)
        columns.append(w - np.einsum("rof,rf->ro", w, constant)[..., None] * constant[:, None])
    linear, quadratic = columns
    # the quadratic one without its linear part: what it adds
    part = np.sum(quadratic * linear, axis=-1) / np.sum(linear**2, axis=-1)
    return _Basis(constant, linear, quadratic - part[..., None] * linear)


def _posterior(length: Float[np.ndarray, " frame"], basis: _Basis) -> _Piece:
    n = len(length)
    y = _whitened(length - length.mean())
    y -= np.sum(y * basis.constant, axis=-1, keepdims=True) * basis.constant
    square = np.sum(y**2, axis=-1)[:, None] + 1e-12 * n * (1.0 + np.abs(length).max()) ** 2
    of_linear = np.sum(basis.linear**2, axis=-1)
    along = np.einsum("rof,rf->ro", basis.linear, y)
    further = np.einsum("rof,rf->ro", basis.quadratic, y) ** 2 / np.sum(basis.quadratic**2, axis=-1)
    left_one = np.maximum(square - along**2 / of_linear, 1e-9 * square)
    left_two = np.maximum(left_one - further, 1e-9 * square)
    # what all have in common: the noise's determinant, and the constant integrated out with a flat prior
    rho = _PERSISTENCE[:, None]
    common = 0.5 * np.log1p(-(rho**2)) - 0.5 * np.log((1.0 - rho**2) + (n - 1) * (1.0 - rho) ** 2)

    def evidence(left: np.ndarray, k: int) -> np.ndarray:
        return common - 0.5 * k * np.log(n) - 0.5 * (n - 1) * np.log(left)

    log_none = logsumexp(evidence(square, 0))
    one, two = evidence(left_one, 1), evidence(left_two, 2)
    n_onsets = one.shape[1]
    logs = np.array([log_none, logsumexp(one) - np.log(n_onsets), logsumexp(two) - np.log(n_onsets)])
    logs += np.log([0.5, 0.25, 0.25])
    verdict = np.exp(logs - logsumexp(logs))
    scale = np.sqrt(left_one / (n - 2) / of_linear)
    return _Piece(verdict, np.exp(one - logsumexp(one)), along / of_linear, scale)


def _normal_kernel(points: np.ndarray, sd: float) -> Float[np.ndarray, "point point"]:
    """Normal densities about each point, as rows times the grid's spacing; exact sums even where sd is below the spacing."""
    step = points[1] - points[0]
    kernel = np.exp(-0.5 * ((points[:, None] - points) / sd) ** 2)
    return (
        kernel / np.maximum(kernel.sum(axis=0, keepdims=True), 1e-300)
        if sd < step
        else (kernel * step / (sd * np.sqrt(2.0 * np.pi)))
    )


def _band(points: np.ndarray, weights: np.ndarray, level: float) -> Band:
    """Mean and central interval of a law on a grid."""
    share = weights / weights.sum()
    cumulative = np.cumsum(share) - 0.5 * share
    low, high = np.interp([0.5 - 0.5 * level, 0.5 + 0.5 * level], cumulative, points)
    return Band(float(share @ points), float(low), float(high))
