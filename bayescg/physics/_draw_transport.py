"""Transport coefficients of many draws, all with one linear range or plateau, which is found from all draws together."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.integrate import cumulative_trapezoid

from bayescg.errors import ConvergenceError, InputError
from bayescg.physics._diffusion import _slopes
from bayescg.physics._draw_dynamics import DrawCorrelations
from bayescg.physics._estimate import student_quantile
from bayescg.physics._green_kubo import green_kubo

STRAIGHT = 0.01
"""Share of the slope by which it may still change, however clear that is: all draws together resolve more than matters."""


class DrawTransport(NamedTuple):
    """A transport coefficient of every replica of every draw.

    Attributes:
        values: NaN where a replica failed [draw replica].
        window: first and last lag of the linear range, or of the plateau [time].

    Example:
        >>> DrawTransport(np.ones((3, 2)), (1.0, 4.0)).window
        (1.0, 4.0)
    """

    values: Float[np.ndarray, "draw replica"]
    window: tuple[float, float]


def draw_diffusion(correlations: DrawCorrelations, *, dim: int = 3) -> DrawTransport:
    """Self-diffusion coefficient of every replica, the slope of its mean-squared displacement over 2 d [length²/time].

    One linear range for all, found as in `diffusion_coefficient` from displacements averaged over draws: a range chosen
    for each draw by itself would add the noise of the choice to what looks like an effect of the parameters. It starts at
    twice the first lag s for which the slopes from s and from 2s agree within noise, or within one per cent.

    Args:
        correlations: of `draw_correlations`.
        dim: number of dimensions.

    Raises:
        ConvergenceError: no linear range up to half of a piece.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> walks = np.cumsum(rng.normal(size=(60, 100, 4, 3)), axis=1)  # D = 1/2
        >>> from bayescg.physics import mean_squared_displacement
        >>> msd = mean_squared_displacement(walks).reshape(3, 4, 5, -1)
        >>> fine = np.ones((3, 4), bool)
        >>> found = draw_diffusion(DrawCorrelations(msd, msd, msd[..., :0], 1.0, 100, fine, fine * 0.0))
        >>> found.values.shape, bool(abs(found.values.mean() - 0.5) < 0.05)
        ((3, 4), True)
    """
    msd = correlations.displacement
    n_frames, longest = correlations.n_frames, msd.shape[-1] - 1
    first = _first_straight(_over_draws(msd, correlations), n_frames, longest, correlations.time_step)
    slopes = _slopes(msd.reshape(-1, msd.shape[-1]), first, longest, n_frames).reshape(msd.shape[:3])
    values = slopes.mean(axis=2) / (2.0 * dim * correlations.time_step)
    window = (first * correlations.time_step, longest * correlations.time_step)
    return DrawTransport(np.where(correlations.usable, values, np.nan), window)


def _first_straight(
    msd: Float[np.ndarray, "piece lag"], n_frames: int, longest: int, time_step: float
) -> int:
    """Twice the first lag from which the slope hardly depends on where the fit starts."""
    starts = np.unique(np.rint(2.0 ** np.arange(0.0, np.log2(longest // 2) + 0.01, 0.5)).astype(int))
    quantile = student_quantile(0.95, len(msd) - 1) / np.sqrt(len(msd))
    for start in starts[2 * starts <= longest // 2]:
        early, late = (_slopes(msd, first, longest, n_frames) for first in (start, 2 * start))
        noise = quantile * (late - early).std(ddof=1)
        if abs((late - early).mean()) <= max(noise, STRAIGHT * abs(late.mean())):
            return int(2 * start)
    raise ConvergenceError(
        f"diffusion at draws: the slope of the mean-squared displacement still changes at lag"
        f" {longest // 2 * time_step:g}; simulate longer"
    )


def draw_viscosity(correlations: DrawCorrelations, *, volume: float, thermal_energy: float) -> DrawTransport:
    """Shear viscosity of every replica by Green and Kubo [energy time/length³]; see `green_kubo_viscosity`.

    One plateau for all, found from correlations averaged over draws.

    Args:
        correlations: of `draw_correlations`, with pressure tensors.
        volume: of the box [length³].
        thermal_energy: k_B T [energy].

    Raises:
        InputError: no pressure tensors.
        ConvergenceError: the correlation doesn't decay within a quarter of the lags.

    Example:
        >>> decay = np.exp(-0.1 * np.arange(200)) * np.ones((2, 2, 5, 1))
        >>> noisy = decay + 0.01 * np.random.default_rng(0).normal(size=decay.shape)
        >>> fine = np.ones((2, 2), bool)
        >>> given = DrawCorrelations(decay, decay, noisy, 0.1, 400, fine, fine * 0.0)
        >>> draw_viscosity(given, volume=10.0, thermal_energy=1.0).values.round(1).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    stress = correlations.stress
    if stress.shape[-1] < 2:
        raise InputError(
            "viscosity at draws: no pressure tensors; ask for them with `Trajectory(..., stress=True)`"
        )
    factor, step = volume / (10.0 * thermal_energy), correlations.time_step
    found = green_kubo(_over_draws(stress, correlations), time_step=step, factor=factor)
    running = factor * cumulative_trapezoid(stress.mean(axis=2), dx=step, axis=-1, initial=0.0)
    first, last = (round(t / step) for t in found.plateau)
    values = running[..., first : last + 1].mean(axis=-1)
    return DrawTransport(np.where(correlations.usable, values, np.nan), found.plateau)


def _over_draws(
    values: Float[np.ndarray, "draw replica piece lag"], correlations: DrawCorrelations
) -> Float[np.ndarray, "repeat lag"]:
    """Averages over draws of each piece: draws with common noise are no repeats of one another, pieces are."""
    whole = correlations.usable.all(axis=1)
    if whole.any():
        mean = values[whole].mean(axis=0)
        return mean.reshape(-1, values.shape[-1])
    good = correlations.usable
    return values[good].reshape(-1, values.shape[-1])
