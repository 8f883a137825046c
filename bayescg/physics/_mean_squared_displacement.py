"""Mean-squared displacement over all time origins, and how its values at different lags vary together."""

import numpy as np
from jaxtyping import Float, Int

from bayescg.physics._time_correlation import checked_lags, finite_series, lagged_products


def mean_squared_displacement(
    positions: Float[np.ndarray, "*replica frame site dim"], *, n_lags: int | None = None
) -> Float[np.ndarray, "*replica lag"]:
    """Mean-squared displacement against lag, over all time origins and all sites.

    MSD(m) = 1/(N − m) Σ_{k < N−m} ⟨|x(k+m) − x(k)|²⟩, split into sums of squares and a correlation, which a Fourier
    transform gives in N log N.

    Args:
        positions: unwrapped (see `unwrap`), of the sites to average over [length].
        n_lags: number of lags, lag 0 among them; half of the frames if None.

    Returns:
        Of each replica, summed over dimensions [length²]. Lag in frames.

    Raises:
        InputError: too few frames, numbers that are not finite, or too many lags.

    References:
        Calandrini, Pellegrini, Calligari, Hinsen & Kneller (2011), doi:10.1051/sfn/201112010.

    Example:
        >>> straight = np.arange(6.0)[:, None, None] * np.array([3.0, 4.0])  # velocity 5
        >>> mean_squared_displacement(straight).round(9)
        array([  0.,  25., 100.])
    """
    x = finite_series(positions, "mean-squared displacement", n_axes=3)
    n_frames, n_sites = x.shape[-3], x.shape[-2]
    lags = checked_lags(n_lags, n_frames, "mean-squared displacement")
    flat = x.reshape(-1, n_frames, n_sites * x.shape[-1])
    flat = flat - flat.mean(axis=1, keepdims=True)  # a large offset would cost digits in the difference below
    square = np.concatenate([np.zeros((len(flat), 1)), np.cumsum(np.sum(flat**2, axis=2), axis=1)], axis=1)
    lag = np.arange(lags)
    ends = square[:, -1:] - square[:, lag] + square[:, n_frames - lag]
    moved = ends - 2.0 * lagged_products(flat, None, n_lags=lags)
    moved[:, 0] = 0.0
    msd = np.maximum(moved, 0.0) / ((n_frames - lag) * n_sites)
    return msd.reshape(*x.shape[:-3], lags)


def brownian_covariance(lags: Int[np.ndarray, " lag"], *, n_frames: int) -> Float[np.ndarray, "lag lag"]:
    """Covariance of time-averaged mean-squared displacements of a random walk of unit steps, in one dimension.

    Cov(m, n) = 2 Σ_ij o_ij² / ((N−m)(N−n)), with o_ij the steps that the displacements i → i+m and j → j+n share.

    Args:
        lags: in frames, positive.
        n_frames: N, the frames of the trajectory.

    References:
        Qian, Sheetz & Elson (1991), doi:10.1016/S0006-3495(91)82125-7; Bullerjahn, von Bülow & Hummer
        (2020), doi:10.1063/5.0008312.

    Example:
        >>> brownian_covariance(np.array([1, 2]), n_frames=5)
        array([[0.5       , 1.        ],
               [1.        , 3.55555556]])
    """
    found = np.zeros((len(lags), len(lags)))
    for row, m in enumerate(lags):
        for column, n in enumerate(lags[: row + 1]):
            offset = np.arange(1 - m, n)
            shared = np.minimum(offset + m, n) - np.maximum(offset, 0)
            pairs = np.minimum(n_frames - n, n_frames - m - offset) - np.maximum(0, -offset)
            total = np.sum(np.maximum(pairs, 0) * shared.astype(float) ** 2)
            found[row, column] = found[column, row] = 2.0 * total / ((n_frames - m) * (n_frames - n))
    return found
