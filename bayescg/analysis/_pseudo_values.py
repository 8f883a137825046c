"""Functions of several noisy averages, brought back to one value for each simulation, so that a split can judge them."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from bayescg.errors import InputError


def pseudo_values(function: Callable[..., xr.DataArray], *values: xr.DataArray) -> xr.DataArray:
    """Jackknife pseudo-values of a function of averages over simulations.

    With ȳ the averages over n simulations of a draw and ȳ₋ⱼ those without the j-th,

        p_j = n f(ȳ) − (n − 1) f(ȳ₋ⱼ).

    Their mean estimates f without the bias of order 1/n that f(ȳ) has, and their scatter is its simulation noise. Of a
    linear function they are f of each simulation. So a ratio, a variance or a corrected diffusion coefficient goes
    through `nested_split` or `common_noise_split` like any average: the noise that its parts share is counted once.

    Args:
        function: of arrays without the dimension simulation, which it must not mix along draws.
        values: [draw simulation *dims], NaN where there is none.

    Returns:
        Pseudo-values [draw simulation *dims]; NaN where a part is, or where fewer than two simulations are left.

    Raises:
        InputError: no values, or arrays of different draws and simulations.

    References:
        Tukey (1958), Annals of Mathematical Statistics 29, 614; Miller (1974), doi:10.1093/biomet/61.1.1.

    Example:
        >>> y = xr.DataArray([[1.0, 2.0, 3.0]], dims=("draw", "simulation"))
        >>> pseudo_values(lambda m: 2.0 * m, y).values.tolist()
        [[2.0, 4.0, 6.0]]
        >>> pseudo_values(lambda m: m**2, y).mean().item()  # 2² less the variance 1/3 of the mean
        3.6666666666666665
    """
    if not values or any(v.dims[:2] != ("draw", "simulation") for v in values):
        raise InputError("pseudo-values: arrays with the first dimensions draw and simulation expected")
    if len({v.shape[:2] for v in values}) > 1:
        raise InputError(f"pseudo-values: arrays of {[v.shape[:2] for v in values]} draws and simulations")
    there = xr.ones_like(values[0], dtype=bool)
    for v in values:
        finite = v.notnull()
        there = there & finite.all([d for d in finite.dims if d not in ("draw", "simulation")])
    there = there.all([d for d in there.dims if d not in ("draw", "simulation")])
    known = [v.where(there) for v in values]
    n = there.sum("simulation")
    sums = [v.sum("simulation") for v in known]
    whole = function(*(s / n for s in sums))
    left = function(
        *((s - v.where(there, 0.0)) / (n - 1.0).where(n > 1) for s, v in zip(sums, known, strict=True))
    )
    made = (n * whole - (n - 1.0) * left).where(there & (n > 1))
    return made.transpose("draw", "simulation", ...)


def relative_noise(values: xr.DataArray) -> float:
    """Root mean square, over draws, of the standard error of a draw's mean relative to the mean of all draws.

    Args:
        values: [draw simulation].

    Example:
        >>> round(relative_noise(xr.DataArray([[9.0, 11.0], [11.0, 9.0]], dims=("draw", "simulation"))), 3)
        0.1
    """
    n = values.notnull().sum("simulation")
    error = values.var("simulation", ddof=1) / n
    return float(np.sqrt(error.where(n > 1).mean()) / np.abs(values.mean()))
