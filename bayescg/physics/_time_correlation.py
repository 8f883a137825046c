"""Time correlation functions over all time origins, by fast Fourier transform."""

import numpy as np
from jaxtyping import Float
from scipy.fft import irfft, next_fast_len, rfft

from bayescg.errors import InputError

_AT_ONCE = 1 << 22  # numbers transformed at a time: 64 MB of work space


def time_correlation(
    series: Float[np.ndarray, "*replica frame component"],
    other: Float[np.ndarray, "*replica frame component"] | None = None,
    *,
    n_lags: int | None = None,
) -> Float[np.ndarray, "*replica lag"]:
    """Correlation of two time series over all time origins, summed over components.

    C(m) = 1/(N − m) Σ_{k < N−m} a(k) · b(k + m), for each replica by itself. Nothing is subtracted: take a known mean
    off before, and know that a mean estimated from the same frames lowers C by the variance of that mean.

    Args:
        series: a.
        other: b; a itself if None.
        n_lags: number of lags, lag 0 among them; half of the frames if None.

    Raises:
        InputError: arrays that don't fit together, numbers that are not finite, or too many lags.

    References:
        Allen & Tildesley (2017), doi:10.1093/oso/9780198803195.001.0001, section 8.3.

    Example:
        >>> time_correlation(np.array([[1.0], [2.0], [3.0], [4.0]]))
        array([7.5       , 6.66666667])
    """
    a = finite_series(series, "time correlation", n_axes=2)
    b = a if other is None else finite_series(other, "time correlation", n_axes=2)
    if a.shape != b.shape:
        raise InputError(f"time correlation: series of shapes {a.shape} and {b.shape}; expected equal ones")
    lags = checked_lags(n_lags, a.shape[-2], "time correlation")
    flat = a.reshape(-1, *a.shape[-2:])
    sums = lagged_products(flat, None if other is None else b.reshape(flat.shape), n_lags=lags)
    return (sums / (a.shape[-2] - np.arange(lags))).reshape(*a.shape[:-2], lags)


def finite_series(series: Float[np.ndarray, "..."], what: str, *, n_axes: int) -> Float[np.ndarray, "..."]:
    """A series as floats, its frames at axis −`n_axes`; refused if it is too short, too flat or not finite."""
    values = np.asarray(series, np.float64)
    if values.ndim < n_axes or values.shape[-n_axes] < 2 or 0 in values.shape:
        raise InputError(
            f"{what}: shape {values.shape}; expected at least {n_axes} axes, the {n_axes}. from the end with two"
            " frames or more"
        )
    if not np.isfinite(values).all():
        frame = np.argwhere(~np.isfinite(values))[0][values.ndim - n_axes]
        raise InputError(f"{what}: frame {frame} is not finite; drop it and what comes after")
    return values


def checked_lags(n_lags: int | None, n_frames: int, what: str) -> int:
    """Number of lags, half of the frames where none is asked for."""
    lags = max(2, n_frames // 2) if n_lags is None else n_lags
    if not 1 <= lags <= n_frames:
        raise InputError(f"{what}: {lags} lags of {n_frames} frames; expected from 1 to the number of frames")
    return lags


def lagged_products(
    a: Float[np.ndarray, "replica frame column"],
    b: Float[np.ndarray, "replica frame column"] | None,
    *,
    n_lags: int,
) -> Float[np.ndarray, "replica lag"]:
    """Σ over columns and origins of a(k) b(k + m); zeros behind the frames keep the ends apart."""
    n_replicas, n_frames, n_columns = a.shape
    length = next_fast_len(n_frames + n_lags, real=True)
    spectrum = np.zeros((n_replicas, length // 2 + 1), complex)
    chunk = max(1, _AT_ONCE // (n_replicas * length))
    for start in range(0, n_columns, chunk):
        part = slice(start, start + chunk)
        left = rfft(a[..., part], length, axis=1)
        right = left if b is None else rfft(b[..., part], length, axis=1)
        spectrum += np.einsum("rfc,rfc->rf", left.conj(), right)
    return irfft(spectrum, length, axis=1)[:, :n_lags]
