"""Relaxation times of correlation functions: their integral, and the rate of their exponential decay."""

from functools import partial

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

from bayescg.errors import ConvergenceError, InputError
from bayescg.physics._estimate import Estimate, over_pieces
from bayescg.physics._time_correlation import finite_series


def integral_relaxation_time(
    correlation: Float[np.ndarray, "piece lag"], *, time_step: float, window: float = 5.0
) -> Estimate:
    """Integral relaxation time ∫₀^∞ C(t)/C(0) dt, cut off by Sokal's self-consistent window.

    τ(M) = Δt [1/2 + Σ_{0 < m ≤ M} ρ(m)], with ρ from the mean over pieces and M the first lag with M Δt ≥ window τ(M).
    An exponential loses exp(−window) of its time, 0.7 % for 5; slow tails of small amplitude lose more. The standard
    error is that of a ratio of means over pieces at fixed M.

    Args:
        correlation: at lags 0, 1, 2, … of each independent piece [any].
        time_step: between lags [time].
        window: how many relaxation times to integrate over.

    Returns:
        τ [time].

    Raises:
        InputError: a single piece, nothing at lag zero, or a window that is not positive.
        ConvergenceError: too few lags for the window.

    References:
        Sokal (1997), doi:10.1007/978-1-4899-0319-8_6, section 3; Madras & Sokal (1988), doi:10.1007/BF01022990.

    Example:
        >>> decay = np.exp(-0.1 * np.arange(100)) * np.ones((2, 1))
        >>> round(integral_relaxation_time(decay, time_step=0.1).value, 2)
        0.99
    """
    c = _pieces(correlation, time_step, "integral relaxation time")
    if not window > 0:
        raise InputError(f"integral relaxation time: window {window:g}; expected a positive number")
    integral = time_step * (np.cumsum(c, axis=1) - 0.5 * c[:, :1])
    times = integral.mean(axis=0) / c[:, 0].mean()
    enough = time_step * np.arange(c.shape[1]) >= window * times
    enough[0] = False
    if not enough.any():
        raise ConvergenceError(
            f"integral relaxation time: {c.shape[1]} lags hold less than {window:g} relaxation times (about"
            f" {times[-1]:g} so far); use more lags or a longer trajectory"
        )
    place = int(enough.argmax())
    value = times[place]
    return over_pieces((integral[:, place] - value * c[:, 0]) / c[:, 0].mean(), value)


def exponential_relaxation_time(
    correlation: Float[np.ndarray, "piece lag"], *, time_step: float, fit: tuple[float, float]
) -> Estimate:
    """Time τ of the exponential A exp(−t/τ) that fits a correlation function over a range of lags.

    Weighted least squares to the mean over pieces, each lag by its own variance; the standard error is the scatter over
    pieces of the fit's linear response, so that the correlation between lags is in it.

    Args:
        correlation: at lags 0, 1, 2, … of each independent piece [any].
        time_step: between lags [time].
        fit: first and last lag [time]; late enough that faster processes are over, early enough that there is signal.

    Returns:
        τ [time].

    Raises:
        InputError: a single piece, or a range that the lags don't hold.
        ConvergenceError: no decay over the range.

    References:
        Sokal (1997), doi:10.1007/978-1-4899-0319-8_6, section 2 (exponential and integrated times).

    Example:
        >>> decay = 3.0 * np.exp(-0.1 * np.arange(50)) * np.ones((2, 1))
        >>> round(exponential_relaxation_time(decay, time_step=0.1, fit=(0.0, 3.0)).value, 6)
        1.0
    """
    c = _pieces(correlation, time_step, "exponential relaxation time")
    first, last = (round(t / time_step) for t in fit)
    if not 0 <= first < last - 1 < c.shape[1] - 1:
        raise InputError(
            f"exponential relaxation time: range {fit}; expected three lags or more, up to"
            f" {time_step * (c.shape[1] - 1):g}"
        )
    lags = np.arange(first, last + 1).astype(float)
    part = c[:, first : last + 1]
    mean, spread = part.mean(axis=0), part.std(axis=0, ddof=1)
    spread = np.maximum(spread, 1e-6 * np.abs(mean[0]))  # lag zero may be known exactly: no infinite weight
    found = least_squares(
        partial(_misfit, lag=lags - first, mean=mean, spread=spread),
        (mean[0], 0.5 * len(lags)),
        x_scale="jac",
    )
    amplitude, tau = found.x
    if not (found.success and 0 < tau < 1e3 * len(lags)):
        raise ConvergenceError(
            f"exponential relaxation time: the correlation does not decay over {fit}; use later lags"
        )
    influence = (part - mean) / spread @ np.linalg.pinv(found.jac).T
    return over_pieces(time_step * influence[:, 1], time_step * tau)


def _misfit(
    amplitude_and_time: Float[np.ndarray, " 2"],
    lag: Float[np.ndarray, " lag"],
    mean: Float[np.ndarray, " lag"],
    spread: Float[np.ndarray, " lag"],
) -> Float[np.ndarray, " lag"]:
    amplitude, tau = amplitude_and_time
    return (amplitude * np.exp(-lag / tau) - mean) / spread


def _pieces(
    correlation: Float[np.ndarray, "piece lag"], time_step: float, what: str
) -> Float[np.ndarray, "piece lag"]:
    c = finite_series(correlation, what, n_axes=1)
    if c.ndim != 2 or len(c) < 2 or not c[:, 0].mean() > 0 or not time_step > 0:
        raise InputError(
            f"{what}: correlation of shape {c.shape}, time step {time_step:g}; expected [piece lag] with at least two"
            " pieces (see `time_blocks`), a positive mean at lag zero and a positive time step"
        )
    return c
