"""Time correlations that JAX can differentiate, batch and compile: of trajectories that a differentiable simulation makes."""

import jax.numpy as jnp
from jaxtyping import Array, Float
from scipy.fft import next_fast_len

from bayescg.physics._time_correlation import checked_lags


def traced_time_correlation(
    series: Float[Array, "*replica frame component"],
    other: Float[Array, "*replica frame component"] | None = None,
    *,
    n_lags: int | None = None,
) -> Float[Array, "*replica lag"]:
    """`time_correlation` in JAX: C(m) = 1/(N − m) Σ_{k < N−m} a(k) · b(k + m), for each replica by itself.

    It is for gradients, `vmap` and `jit`. Values are not looked at, so frames that are not finite give NaN; the
    arithmetic is that of the arrays' type, where `time_correlation` takes double precision always. The derivative goes by
    the frames; how they depend on a potential is for the simulation to say.

    Args:
        series: a.
        other: b; a itself if None.
        n_lags: number of lags, lag 0 among them; half of the frames if None.

    Raises:
        InputError: too many lags.

    References:
        Allen & Tildesley (2017), doi:10.1093/oso/9780198803195.001.0001, section 8.3.

    Example:
        >>> [round(float(c), 4) for c in traced_time_correlation(jnp.array([[1.0], [2.0], [3.0], [4.0]]))]
        [7.5, 6.6667]
    """
    n_frames = series.shape[-2]
    lags = checked_lags(n_lags, n_frames, "time correlation")
    length = next_fast_len(n_frames + lags, real=True)
    left = jnp.fft.rfft(series, length, axis=-2)
    right = left if other is None else jnp.fft.rfft(other, length, axis=-2)
    spectrum = jnp.sum(left.conj() * right, axis=-1)
    return jnp.fft.irfft(spectrum, length, axis=-1)[..., :lags] / (n_frames - jnp.arange(lags))


def traced_velocity_autocorrelation(
    velocities: Float[Array, "*replica frame site dim"], *, n_lags: int | None = None
) -> Float[Array, "*replica lag"]:
    """`velocity_autocorrelation` in JAX: ⟨v(0) · v(t)⟩ over all time origins and sites [length²/time²].

    Args:
        velocities: of the sites to average over [length/time].
        n_lags: number of lags, lag 0 among them; half of the frames if None.

    Raises:
        InputError: too many lags.

    References:
        Rahman (1964), doi:10.1103/PhysRev.136.A405.

    Example:
        >>> turning = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])[:, None]
        >>> (traced_velocity_autocorrelation(turning, n_lags=3).round(5) + 0.0).tolist()
        [1.0, 0.0, -1.0]
    """
    *outer, n_sites, dim = velocities.shape
    return traced_time_correlation(velocities.reshape(*outer, n_sites * dim), n_lags=n_lags) / n_sites


def traced_mean_squared_displacement(
    positions: Float[Array, "*replica frame site dim"], *, n_lags: int | None = None
) -> Float[Array, "*replica lag"]:
    """`mean_squared_displacement` in JAX, over all time origins and sites [length²].

    In single precision a displacement far below the extent of the trajectory loses digits, since it is a difference of
    sums of squares.

    Args:
        positions: unwrapped, of the sites to average over [length].
        n_lags: number of lags, lag 0 among them; half of the frames if None.

    Raises:
        InputError: too many lags.

    References:
        Calandrini, Pellegrini, Calligari, Hinsen & Kneller (2011), doi:10.1051/sfn/201112010.

    Example:
        >>> straight = jnp.arange(6.0)[:, None, None] * jnp.array([3.0, 4.0])  # velocity 5
        >>> traced_mean_squared_displacement(straight).round(3).tolist()
        [0.0, 25.0, 100.0]
    """
    *outer, n_frames, n_sites, dim = positions.shape
    lags = checked_lags(n_lags, n_frames, "mean-squared displacement")
    flat = positions.reshape(*outer, n_frames, n_sites * dim)
    flat = flat - flat.mean(axis=-2, keepdims=True)
    squares = jnp.cumsum(jnp.sum(flat**2, axis=-1), axis=-1)
    square = jnp.concatenate([jnp.zeros((*squares.shape[:-1], 1), squares.dtype), squares], axis=-1)
    lag = jnp.arange(lags)
    ends = square[..., -1:] - square[..., lag] + square[..., n_frames - lag]
    count = n_frames - lag
    moved = ends - 2.0 * count * traced_time_correlation(flat, n_lags=lags)
    return jnp.where(lag == 0, 0.0, moved) / (count * n_sites)
