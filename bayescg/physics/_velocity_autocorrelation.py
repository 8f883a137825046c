"""Velocity autocorrelation function and the vibrational spectrum that it holds."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.fft import dct
from scipy.signal.windows import parzen

from bayescg.errors import InputError
from bayescg.physics._time_correlation import finite_series, time_correlation


def velocity_autocorrelation(
    velocities: Float[np.ndarray, "*replica frame site dim"],
    *,
    masses: Float[np.ndarray, " site"] | None = None,
    n_lags: int | None = None,
) -> Float[np.ndarray, "*replica lag"]:
    """Velocity autocorrelation function ⟨v(0) · v(t)⟩ over all time origins and all sites.

    Args:
        velocities: of the sites to average over [length/time].
        masses: of the sites, for ⟨m v(0) · v(t)⟩, whose spectrum counts every vibration alike [mass].
        n_lags: number of lags, lag 0 among them; half of the frames if None.

    Returns:
        Of each replica, summed over dimensions: d k_B T / m at lag zero [length²/time²]; with `masses`, d k_B T.

    Raises:
        InputError: too few frames, numbers that are not finite, too many lags, or not one positive mass per site.

    References:
        Rahman (1964), doi:10.1103/PhysRev.136.A405.

    Example:
        >>> turning = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])[:, None]
        >>> velocity_autocorrelation(turning, n_lags=3).round(9) + 0.0
        array([ 1.,  0., -1.])
    """
    v = finite_series(velocities, "velocity autocorrelation", n_axes=3)
    if masses is not None:
        weight = np.asarray(masses, np.float64)
        if weight.shape != v.shape[-2:-1] or not (weight > 0).all():
            raise InputError(
                f"velocity autocorrelation: masses of shape {weight.shape}; expected {v.shape[-2]} positive ones"
            )
        v = v * np.sqrt(weight)[:, None]
    return time_correlation(v.reshape(*v.shape[:-2], -1), n_lags=n_lags) / v.shape[-2]


class Spectrum(NamedTuple):
    """Density of vibrations by frequency.

    Attributes:
        frequency: not angular [1/time].
        density: integrates to one over the frequencies [time].

    Example:
        >>> float(Spectrum(np.array([0.0, 1.0]), np.array([0.5, 0.5])).density.sum())
        1.0
    """

    frequency: Float[np.ndarray, " frequency"]
    density: Float[np.ndarray, "*replica frequency"]


def vibrational_spectrum(correlation: Float[np.ndarray, "*replica lag"], *, time_step: float) -> Spectrum:
    """Vibrational density of states from a velocity autocorrelation function.

    g(ν) = 4 ∫₀^∞ w(t) C(t)/C(0) cos(2πνt) dt, with Parzen's lag window w over the lags given, whose own spectrum is
    positive: lines get the half width 0.64 / (longest lag) at half height, and a true spectrum stays positive. For a fluid,
    g(0) is 4 D m / (k_B T) in three dimensions.

    Args:
        correlation: at lags 0, 1, 2, …; of several sorts of site with `masses` [any].
        time_step: between lags [time].

    Raises:
        InputError: fewer than four lags, or nothing at lag zero.

    References:
        Dickey & Paskin (1969), doi:10.1103/PhysRev.188.1407; Parzen (1961), doi:10.1080/00401706.1961.10489939.

    Example:
        >>> t = 0.01 * np.arange(2000)
        >>> found = vibrational_spectrum(np.cos(2.0 * np.pi * 5.0 * t), time_step=0.01)
        >>> round(float(found.frequency[found.density.argmax()]), 2)
        5.0
    """
    c = np.asarray(correlation, np.float64)
    n_lags = c.shape[-1] if c.ndim else 0
    if n_lags < 4 or not (c[..., 0] > 0).all() or not time_step > 0:
        raise InputError(
            f"vibrational spectrum: correlation of shape {c.shape}, time step {time_step:g}; expected four or more lags,"
            " a positive value at lag zero and a positive time step"
        )
    window = parzen(2 * n_lags - 1)[n_lags - 1 :]
    frequency = np.arange(n_lags) / (2.0 * (n_lags - 1) * time_step)
    # dct of type 1 counts the first and the last point once and the others twice: the trapezoidal rule, doubled
    density = 2.0 * time_step * dct(window * c / c[..., :1], type=1, axis=-1)
    return Spectrum(frequency, density)
