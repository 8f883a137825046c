"""Diffusion coefficients from mean-squared displacements, and their value in an infinite box.

Mean-squared displacements at different lags come from the same frames and are strongly correlated: neither the scatter
of points about a line nor the formula of ordinary least squares says how far off the slope is. Here the correlation
serves twice. The weights of the fit are those that are best for Brownian motion, whose covariance is known; and the
standard error comes from the slopes of independent replicas or blocks of time, whatever the covariance is in truth.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayescg.errors import ConvergenceError, InputError
from bayescg.physics._estimate import Estimate, over_pieces, pieces_of, student_quantile
from bayescg.physics._mean_squared_displacement import brownian_covariance, mean_squared_displacement
from bayescg.physics._time_correlation import finite_series

FINITE_SIZE = 2.837297
"""ξ: the self-interaction of a point force with its periodic images, in a cubic box."""
_LEAST_FRAMES = 64  # of a piece


class Diffusion(NamedTuple):
    """A diffusion coefficient and the fit that it comes from.

    Attributes:
        coefficient: D, with its standard error [length²/time].
        intercept: of the straight line at lag zero, what motion before the linear range leaves behind [length²].
        fit: first and last lag of the linear range [time].

    Example:
        >>> Diffusion(Estimate(1.0, 0.1, 9.0), 0.0, (1.0, 20.0)).coefficient.value
        1.0
    """

    coefficient: Estimate
    intercept: float
    fit: tuple[float, float]


def diffusion_coefficient(
    positions: Float[np.ndarray, "*replica frame site dim"],
    *,
    time_step: float,
    fit: tuple[float, float] | None = None,
) -> Diffusion:
    """Self-diffusion coefficient by a generalised linear fit to the mean-squared displacement.

    MSD(t) = a + 2 d D t, fitted with the covariance that Brownian motion has at those lags; a takes up the ballistic
    or caged start. The standard error is the scatter of D over pieces: replicas, each cut into blocks of time if there
    are fewer than ten. It holds for sites that move together.

    Without `fit`, the linear range starts at twice the first lag s for which the slopes from s and from 2s agree
    within the 95 % interval of their difference over pieces; it ends at half of a piece. Motion that is bounded has
    slope zero at long lags and gives D = 0 within its error.

    Args:
        positions: unwrapped (see `unwrap`), of the sites to average over [length].
        time_step: between frames [time].
        fit: first and last lag of the linear range [time]; found from the data if None.

    Raises:
        InputError: too short a trajectory, or a range that it doesn't hold.
        ConvergenceError: no linear range up to the longest lag.

    References:
        Bullerjahn, von Bülow & Hummer (2020), doi:10.1063/5.0008312 (generalised least squares).

    Example:
        >>> steps = np.random.default_rng(0).normal(size=(10, 400, 8, 3))  # D = 1/2
        >>> low, high = diffusion_coefficient(np.cumsum(steps, axis=1), time_step=1.0).coefficient.interval(0.99)
        >>> bool(low < 0.5 < high), high - low < 0.2
        (True, True)
    """
    x = finite_series(positions, "diffusion", n_axes=3)
    if not time_step > 0:
        raise InputError(f"diffusion: time step {time_step:g}; expected a positive one")
    pieces = pieces_of(x.reshape(-1, *x.shape[-3:]))
    n_frames = pieces.shape[1]
    if n_frames < _LEAST_FRAMES:
        raise InputError(
            f"diffusion: {len(pieces)} independent pieces of {n_frames} frames; expected at least {_LEAST_FRAMES} frames"
            " in each, so use a longer trajectory or more frames of it"
        )
    longest = n_frames // 2
    window = None if fit is None else _frames_of(fit, time_step, n_frames)
    msd = mean_squared_displacement(pieces, n_lags=1 + (longest if window is None else window[1]))
    first, last = (
        window if window is not None else (_first_linear(msd, n_frames, longest, time_step), longest)
    )
    lags = _fit_lags(first, last)
    fitted = msd[:, lags] @ _line_weights(lags, n_frames).T
    slopes = fitted[:, 1] / (2.0 * x.shape[-1] * time_step)
    return Diffusion(
        over_pieces(slopes, slopes.mean()), float(fitted[:, 0].mean()), (first * time_step, last * time_step)
    )


def _frames_of(fit: tuple[float, float], time_step: float, n_frames: int) -> tuple[int, int]:
    first, last = (round(t / time_step) for t in fit)
    if not 1 <= first < last <= n_frames // 2:
        raise InputError(
            f"diffusion: linear range {fit} with frames {time_step:g} apart; expected from {time_step:g} or later to at"
            f" most {time_step * (n_frames // 2):g}, half of an independent piece"
        )
    return first, last


def _fit_lags(first: int, last: int) -> Int[np.ndarray, " lag"]:
    """Lags in ratios of about √2: those between add next to nothing, and make the covariance singular."""
    n = max(2, int(np.ceil(2.0 * np.log2(last / first))) + 1)
    return np.unique(np.rint(np.geomspace(first, last, n)).astype(int))


def _line_weights(lags: Int[np.ndarray, " lag"], n_frames: int) -> Float[np.ndarray, "2 lag"]:
    """What the best linear estimates of intercept and slope per frame give to each lag."""
    design = np.stack([np.ones(len(lags)), lags.astype(float)], axis=1)
    weighted = np.linalg.solve(brownian_covariance(lags, n_frames=n_frames), design)
    return np.linalg.solve(design.T @ weighted, weighted.T)


def _slopes(
    msd: Float[np.ndarray, "piece lag"], first: int, last: int, n_frames: int
) -> Float[np.ndarray, " piece"]:
    lags = _fit_lags(first, last)
    return msd[:, lags] @ _line_weights(lags, n_frames)[1]


def _first_linear(msd: Float[np.ndarray, "piece lag"], n_frames: int, longest: int, time_step: float) -> int:
    """Twice the first lag from which the slope no longer depends on where the fit starts."""
    starts = np.unique(np.rint(2.0 ** np.arange(0.0, np.log2(longest // 2) + 0.01, 0.5)).astype(int))
    for start in starts[2 * starts <= longest // 2]:
        change = _slopes(msd, 2 * start, longest, n_frames) - _slopes(msd, start, longest, n_frames)
        spread = change.std(ddof=1) / np.sqrt(len(change))
        if abs(change.mean()) <= student_quantile(0.95, len(change) - 1) * spread:
            return int(2 * start)
    raise ConvergenceError(
        f"diffusion: the slope of the mean-squared displacement still changes at lag {longest // 2 * time_step:g}; use a"
        " longer trajectory, or say by `fit` what to take as linear"
    )


def finite_size_corrected(
    diffusion: Estimate,
    *,
    thermal_energy: float,
    viscosity: Estimate,
    edge: float,
) -> Estimate:
    """Diffusion coefficient in an infinite system from that in a periodic cube.

    D_∞ = D + ξ k_B T / (6 π η L), ξ = 2.837297: hydrodynamics of a particle and its images. The viscosity itself
    depends little on the size of the box. Errors of both are added in squares.

    Args:
        diffusion: D in the box [length²/time].
        thermal_energy: k_B T [energy].
        viscosity: η, with its error [energy time/length³].
        edge: L of the cubic box [length].

    Raises:
        InputError: numbers that are not positive.

    References:
        Yeh & Hummer (2004), doi:10.1021/jp0477147; Dünweg & Kremer (1993), doi:10.1063/1.465445.

    Example:
        >>> bulk = finite_size_corrected(
        ...     Estimate(1.0, 0.02, 9.0), thermal_energy=1.0, viscosity=Estimate(1.5, 0.0, 9.0), edge=10.0
        ... )
        >>> round(bulk.value, 5)
        1.01003
    """
    if not (thermal_energy > 0 and viscosity.value > 0 and edge > 0):
        raise InputError(
            f"finite-size correction: thermal energy {thermal_energy:g}, viscosity {viscosity.value:g}, edge {edge:g};"
            " expected positive numbers"
        )
    correction = FINITE_SIZE * thermal_energy / (6.0 * np.pi * viscosity.value * edge)
    parts = np.array([diffusion.standard_error, correction * viscosity.standard_error / viscosity.value]) ** 2
    freedom = np.array([diffusion.degrees_of_freedom, viscosity.degrees_of_freedom])
    total = parts.sum()
    # Welch and Satterthwaite: the degrees of freedom of a sum of independent variances
    combined = total**2 / np.sum(parts**2 / freedom) if np.isfinite(freedom).any() and total > 0 else np.inf
    return Estimate(diffusion.value + float(correction), float(np.sqrt(total)), float(combined))
