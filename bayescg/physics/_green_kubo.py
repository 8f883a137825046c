"""Transport coefficients by Green and Kubo: integrals of time correlation functions, with their plateau and error."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.integrate import cumulative_trapezoid

from bayescg.errors import ConvergenceError, InputError
from bayescg.physics._estimate import Estimate, over_pieces, pieces_of, student_quantile
from bayescg.physics._time_correlation import finite_series, time_correlation
from bayescg.physics._velocity_autocorrelation import velocity_autocorrelation

_QUIET = 3.0
"""Mean square of a correlation, in that of its own standard error, below which it counts as noise."""


class GreenKubo(NamedTuple):
    """A transport coefficient and the integral that it comes from.

    Attributes:
        coefficient: mean of the running integral over the plateau, with its standard error.
        running: integral up to each lag.
        running_error: its standard error, which grows as the square root of the lag.
        plateau: first and last lag of the plateau [time].

    Example:
        >>> GreenKubo(Estimate(1.0, 0.1, 9.0), np.ones(3), np.zeros(3), (1.0, 2.0)).coefficient.value
        1.0
    """

    coefficient: Estimate
    running: Float[np.ndarray, " lag"]
    running_error: Float[np.ndarray, " lag"]
    plateau: tuple[float, float]


def green_kubo(
    correlation: Float[np.ndarray, "piece lag"],
    *,
    time_step: float,
    factor: float = 1.0,
    plateau: tuple[float, float] | None = None,
) -> GreenKubo:
    """Integral of a time correlation function over lag, by the trapezoidal rule, taken at its plateau.

    I(t) = factor ∫₀ᵗ C(s) ds. After C has sunk into its noise, I only gathers more noise. Without `plateau`, the first
    lag c is looked for such that C over [c, 2c] is noise (its mean square at most three times that of its standard error over
    pieces) and neither I(2c) − I(c) nor I(4c) − I(c) leaves its 99 % interval. The coefficient is the mean of I over
    [2c, 4c], twice as far, where what such tests can't see has decayed as much again; its standard error is the scatter
    over pieces. A slow tail that is too small for the tests is missed: look at `running`.

    Args:
        correlation: at lags 0, 1, 2, … of each independent piece [any].
        time_step: between lags [time].
        factor: in front of the integral.
        plateau: first and last lag of the plateau [time]; found from the noise if None.

    Raises:
        InputError: a single piece, or a plateau that the lags don't hold.
        ConvergenceError: the correlation doesn't decay within a quarter of the lags.

    References:
        Green (1954), doi:10.1063/1.1740082; Kubo (1957), doi:10.1143/JPSJ.12.570.

    Example:
        >>> noise = 0.01 * np.random.default_rng(0).normal(size=(20, 1000))
        >>> found = green_kubo(np.exp(-0.05 * np.arange(1000)) + noise, time_step=0.05)
        >>> bool(abs(found.coefficient.value - 1.0) < 0.05)
        True
    """
    c = finite_series(correlation, "Green-Kubo integral", n_axes=1)
    if c.ndim != 2 or len(c) < 2 or not time_step > 0:
        raise InputError(
            f"Green-Kubo integral: correlation of shape {c.shape}, time step {time_step:g}; expected [piece lag] with at"
            " least two pieces (see `time_blocks`) and a positive time step"
        )
    integral = factor * cumulative_trapezoid(c, dx=time_step, axis=1, initial=0.0)
    if plateau is None:
        first = 2 * _first_quiet(c, integral, time_step)
        last = 2 * first
    else:
        first, last = (round(t / time_step) for t in plateau)
    if not 0 < first <= last < c.shape[1]:
        raise InputError(
            f"Green-Kubo integral: plateau {plateau}; expected two lags in order, up to {time_step * (c.shape[1] - 1):g}"
        )
    values = integral[:, first : last + 1].mean(axis=1)
    return GreenKubo(
        over_pieces(values, values.mean()),
        integral.mean(axis=0),
        integral.std(axis=0, ddof=1) / np.sqrt(len(c)),
        (first * time_step, last * time_step),
    )


def _first_quiet(
    c: Float[np.ndarray, "piece lag"], integral: Float[np.ndarray, "piece lag"], time_step: float
) -> int:
    """The first lag from which the mean correlation is no larger than its noise, and its integral is flat."""
    lag = np.arange(1, (c.shape[1] - 1) // 4 + 1)
    signal = np.concatenate([[0.0], np.cumsum(c.mean(axis=0) ** 2)])
    noise = np.concatenate([[0.0], np.cumsum(c.var(axis=0, ddof=1) / len(c))])
    over = [total[2 * lag + 1] - total[lag] for total in (signal, noise)]
    # rounding of a Fourier transform is noise that pieces of one motion needn't show
    quiet = over[0] <= _QUIET * over[1] + 1e-20 * signal[1] * (lag + 1)
    bound = student_quantile(0.99, len(c) - 1) / np.sqrt(len(c))
    for further in (2, 4):  # a slow tail is below the noise at each lag, yet adds up
        growth = integral[:, further * lag] - integral[:, lag]
        quiet &= (
            np.abs(growth.mean(axis=0)) <= bound * growth.std(axis=0, ddof=1) + 1e-10 * np.abs(integral).max()
        )
    if not quiet.any():
        raise ConvergenceError(
            f"Green-Kubo integral: the correlation does not sink into its noise within {lag[-1] * time_step:g}, a"
            " quarter of the lags; use more lags, or say by `plateau` where its integral is flat"
        )
    return int(lag[quiet.argmax()])


def green_kubo_diffusion(
    velocities: Float[np.ndarray, "*replica frame site dim"],
    *,
    time_step: float,
    n_lags: int | None = None,
    plateau: tuple[float, float] | None = None,
) -> GreenKubo:
    """Self-diffusion coefficient from velocities, D = 1/d ∫₀^∞ ⟨v(0) · v(t)⟩ dt.

    Pieces are the replicas, each cut into blocks of time if there are fewer than ten. Frames must resolve the
    correlation: the trapezoidal rule gives an exponential of rate γ too much by (γ Δt)²/12 of its integral.

    Args:
        velocities: of the sites to average over [length/time].
        time_step: between frames [time].
        n_lags: number of lags, lag 0 among them; half of a piece if None.
        plateau: first and last lag of the plateau [time]; found from the noise if None.

    Raises:
        InputError: as `green_kubo`, and too short a trajectory.
        ConvergenceError: the correlation doesn't decay within a quarter of the lags.

    References:
        Allen & Tildesley (2017), doi:10.1093/oso/9780198803195.001.0001, section 2.7.

    Example:
        >>> kicks = np.random.default_rng(0).normal(size=(10, 500, 5, 3))  # forgotten after each step: D = 1/2
        >>> found = green_kubo_diffusion(kicks, time_step=1.0, n_lags=20)
        >>> bool(abs(found.coefficient.value - 0.5) < 0.1)
        True
    """
    v = finite_series(velocities, "Green-Kubo diffusion", n_axes=3)
    pieces = pieces_of(v.reshape(-1, *v.shape[-3:]))
    correlation = velocity_autocorrelation(pieces, n_lags=n_lags)
    return green_kubo(correlation, time_step=time_step, factor=1.0 / v.shape[-1], plateau=plateau)


def green_kubo_viscosity(
    pressure: Float[np.ndarray, "*replica frame 3 3"],
    *,
    volume: float,
    thermal_energy: float,
    time_step: float,
    n_lags: int | None = None,
    plateau: tuple[float, float] | None = None,
) -> GreenKubo:
    """Shear viscosity from a series of pressure tensors.

    η = V / (10 k_B T) ∫₀^∞ ⟨Π(0) : Π(t)⟩ dt, with Π the symmetric and traceless part of the tensor: all five of its
    independent components serve, not only the three off the diagonal.

    Args:
        pressure: of the whole box, kinetic part included [energy/length³].
        volume: of the box [length³].
        thermal_energy: k_B T [energy].
        time_step: between frames [time].
        n_lags: number of lags, lag 0 among them; half of a piece if None.
        plateau: first and last lag of the plateau [time]; found from the noise if None.

    Returns:
        Viscosity [energy time/length³].

    Raises:
        InputError: as `green_kubo`, too short a series, or numbers that are not positive.
        ConvergenceError: the correlation doesn't decay within a quarter of the lags.

    References:
        Daivis & Evans (1994), doi:10.1063/1.466970.

    Example:
        >>> stress = np.random.default_rng(0).normal(size=(10, 500, 3, 3))  # variance 1/2 off the diagonal: η = 1/4
        >>> found = green_kubo_viscosity(stress, volume=1.0, thermal_energy=1.0, time_step=1.0, n_lags=20)
        >>> bool(abs(found.coefficient.value - 0.25) < 0.05)
        True
    """
    tensors = finite_series(pressure, "Green-Kubo viscosity", n_axes=3)
    if tensors.shape[-2:] != (3, 3) or not (volume > 0 and thermal_energy > 0):
        raise InputError(
            f"Green-Kubo viscosity: tensors of shape {tensors.shape[-2:]}, volume {volume:g}, thermal energy"
            f" {thermal_energy:g}; expected 3 × 3 tensors and positive numbers"
        )
    trace = np.trace(tensors, axis1=-2, axis2=-1)[..., None, None]
    shear = 0.5 * (tensors + np.swapaxes(tensors, -1, -2)) - trace * np.eye(3) / 3.0
    pieces = pieces_of(shear.reshape(-1, shear.shape[-3], 9))
    factor = volume / (10.0 * thermal_energy)
    return green_kubo(
        time_correlation(pieces, n_lags=n_lags), time_step=time_step, factor=factor, plateau=plateau
    )
