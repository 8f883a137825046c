"""The split of new simulations at draws: complete draws alone, by the analysis that their random numbers ask for."""

import numpy as np
import xarray as xr

from bayescg.analysis._common_noise_split import common_noise_split
from bayescg.analysis._nested_split import nested_split
from bayescg.analysis._reweighted_means import common_seed_means
from bayescg.errors import InputError


def complete_draws(values: xr.DataArray) -> np.ndarray:
    """Indices of the draws of which every simulation gave a finite value.

    Example:
        >>> complete_draws(xr.DataArray([[1.0, 2.0], [1.0, np.nan]], dims=("draw", "simulation"))).tolist()
        [0]
    """
    finite = np.isfinite(values.transpose("draw", ...).values).reshape(values.sizes["draw"], -1)
    return np.flatnonzero(finite.all(axis=1))


def simulated_split(
    values: xr.DataArray,
    *,
    common_seeds: bool,
    frame_variance: xr.DataArray | None = None,
    level: float = 0.9,
) -> xr.Dataset:
    """Splits simulated values into what parameters and what finite simulation make.

    With common seeds the noise that all draws share does not widen their spread: `common_noise_split`, for which a draw
    counts only if all its simulations are there. Otherwise `nested_split`, which takes what there is.

    Args:
        values: [draw simulation *observable], NaN where a simulation failed.
        common_seeds: whether the j-th simulation of every draw used the same random numbers.
        frame_variance: variance of instantaneous values [draw simulation *observable].
        level: of the intervals.

    Returns:
        As `nested_split`; `n_failed`, in its attributes, is the number of simulations without a value.

    Raises:
        InputError: fewer than two draws left.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth, noise = rng.normal(size=(400, 1)), 3.0 * rng.normal(size=(1, 4))
        >>> values = xr.DataArray(truth + noise, dims=("draw", "simulation"))
        >>> values[7, 1] = np.nan
        >>> split = simulated_split(values, common_seeds=True)
        >>> float(split["parametric_sd"].round(1)), split.attrs["n_draws"], split.attrs["n_failed"]
        (1.0, 399, 1)
    """
    finite = np.isfinite(values.transpose("draw", "simulation", ...).values)
    failed = int(np.sum(~finite.reshape(*finite.shape[:2], -1).all(axis=2)))
    if not common_seeds:
        made = nested_split(values, frame_variance=frame_variance, level=level)
        return made.assign_attrs(n_failed=failed)
    kept = complete_draws(values)
    if len(kept) < 2:
        raise InputError(
            f"simulations at draws: {len(kept)} of {values.sizes['draw']} draws have all their simulations; at least two are"
            " needed to tell parameters from noise"
        )
    means = common_seed_means(values.isel(draw=kept))
    if frame_variance is not None:
        means["fluctuation_variance"] = frame_variance.isel(draw=kept).mean("simulation")
    return common_noise_split(means, level=level).assign_attrs(n_failed=failed)
