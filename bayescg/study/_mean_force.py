"""The potential of mean force, −kT ln g(r), of the distances where g(r) stands out of its noise."""

import numpy as np
import xarray as xr

from bayescg.analysis import pseudo_values
from bayescg.errors import InputError

NOISIEST = 1.0 / 3.0
"""Relative error of g(r) of a draw (root mean square over draws) above which its logarithm is not taken."""


def mean_force_from_means(rdf: xr.Dataset, *, kT: float, unit: str) -> xr.Dataset:
    """From g(r) by reweighting: errors to first order, w = −kT ln g, dw = −kT dg/g.

    Args:
        rdf: of `reweighted_means` along r.
        kT: [energy].
        unit: of kT.

    Raises:
        InputError: g(r) is noise everywhere.

    Example:
        >>> ones = np.ones((2, 3))
        >>> rdf = xr.Dataset(
        ...     {"mean": (("draw", "r"), ones * [0.0, 2.0, 1.0]), "influence": (("block", "draw", "r"), 0.1 * ones[None])},
        ...     coords={"r": [1.0, 2.0, 3.0]},
        ... ).assign(fluctuation_variance=(("draw", "r"), ones), effective_frames=("draw", [9.0, 9.0]))
        >>> found = mean_force_from_means(rdf, kT=2.0, unit="kT")
        >>> found["r"].values.tolist(), found["mean"].values[0].round(3).tolist()
        ([2.0, 3.0], [-1.386, -0.0])
    """
    g = rdf["mean"].transpose("draw", "r")
    square = (rdf["influence"] ** 2).sum("block").transpose("draw", "r")
    kept = _above_noise(g.values, square.values)
    some = rdf.isel(r=kept)
    slope = -kT / some["mean"]
    made = some.assign(
        mean=-kT * np.log(some["mean"]),
        influence=some["influence"] * slope,
        fluctuation_variance=some["fluctuation_variance"] * slope**2,
    )
    made["mean"].attrs = {"units": unit}
    return made


def mean_force_from_simulations(
    rdf: xr.DataArray, variance: xr.DataArray | None, *, kT: float, unit: str
) -> tuple[xr.DataArray, xr.DataArray | None]:
    """From g(r) of every simulation: jackknife pseudo-values of the logarithm, and the variance from frame to frame.

    Args:
        rdf: [draw simulation r], NaN where a simulation failed.
        variance: of g(r) from frame to frame, likewise.
        kT: [energy].
        unit: of kT.

    Raises:
        InputError: g(r) is noise everywhere.

    Example:
        >>> rdf = xr.DataArray(np.ones((2, 4, 2)) * [0.0, np.e], dims=("draw", "simulation", "r"), coords={"r": [1.0, 2.0]})
        >>> made, _ = mean_force_from_simulations(rdf, None, kT=2.0, unit="kT")
        >>> made["r"].values.tolist(), made.values[0, :, 0].round(6).tolist()
        ([2.0], [-2.0, -2.0, -2.0, -2.0])
    """
    rdf = rdf.transpose("draw", "simulation", "r")
    whole = rdf.notnull().all(("simulation", "r")).values
    y = rdf.isel(draw=np.flatnonzero(whole))
    n = y.sizes["simulation"]
    least = ((y.sum("simulation") - y) / (n - 1.0)).min("simulation")  # any one left out, g must stay above 0
    square = (y.var("simulation", ddof=1) / n).values
    kept = _above_noise(np.minimum(y.mean("simulation").values, np.where(least > 0.0, np.inf, 0.0)), square)
    some = rdf.isel(r=kept)
    made = pseudo_values(lambda g: -kT * np.log(g), some)
    made.attrs = {"units": unit}
    if variance is None:
        return made, None
    mean = some.mean("simulation")
    return made, (variance.isel(r=kept) * (kT / mean) ** 2).transpose("draw", "simulation", "r")


def _above_noise(g: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Places where g of every draw is positive and its error small against it [draw place]."""
    positive = (g > 0.0).all(axis=0)
    relative = np.sqrt(np.mean(square / np.where(g > 0.0, g, 1.0) ** 2, axis=0))
    kept = np.flatnonzero(positive & (relative < NOISIEST))
    if not len(kept):
        raise InputError(
            "potential-of-mean-force: g(r) is no more than noise at any distance; simulate longer, or widen rdf_bin"
        )
    return kept
