"""The parts of a predictive spread as a table: parameters, finite simulation, fluctuation, each with its interval."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import stats

from bayescg.analysis._statement import value_with_error
from bayescg.errors import InputError

BOUNDS = ("lower", "upper")


class VarianceParts(NamedTuple):
    """Variances of one or many observables, before they are put into a table.

    Attributes:
        mean: of the draws' means, each draw counting once [*observable].
        naive: variance of the draws' means [*observable].
        noise: how much of it finite simulation is expected to make [*observable].
        interval: of the variance that parameters make, lower and upper [bound *observable].
        simulation: variance of `mean` from finite simulations and finitely many draws [*observable].
        simulation_interval: of that [bound *observable].
    """

    mean: np.ndarray
    naive: np.ndarray
    noise: np.ndarray
    interval: np.ndarray
    simulation: np.ndarray
    simulation_interval: np.ndarray


def chi_squared_interval(variance: np.ndarray, freedom: np.ndarray | float, level: float) -> np.ndarray:
    """Central interval of a variance whose estimate has this many degrees of freedom [bound *observable]."""
    upper = stats.chi2.ppf(0.5 + level / 2.0, freedom)
    lower = stats.chi2.ppf(0.5 - level / 2.0, freedom)
    return np.stack([freedom * variance / upper, freedom * variance / lower])


def like_observable(values: xr.DataArray, *, without: tuple[str, ...]) -> xr.DataArray:
    """Dimensions, coordinates and units of an observable alone."""
    missing = [name for name in without if name not in values.dims]
    if missing:
        raise InputError(
            f"predictions: dimensions {values.dims} of the values, but {' and '.join(missing)} expected among them"
        )
    return values.isel({name: 0 for name in without}, drop=True)


def parts_dataset(
    parts: VarianceParts,
    like: xr.DataArray,
    *,
    level: float,
    fluctuation: np.ndarray | None,
    attrs: dict[str, str | int | float],
) -> xr.Dataset:
    """Standard deviations of the parts, in the units of the observable.

    A negative estimate of the parametric variance is kept in `parametric_variance_estimate`; the standard deviation is
    then 0 and `below_noise` true.
    """
    units, name = str(like.attrs.get("units", "1")), str(like.attrs.get("long_name", like.name or "value"))
    estimate = parts.naive - parts.noise
    parametric = np.maximum(estimate, 0.0)

    def of(values: np.ndarray, text: str, unit: str = units) -> xr.DataArray:
        made = like.copy(data=np.broadcast_to(values, like.shape).copy())
        made.attrs = {"units": unit, "long_name": text}
        return made.rename(None)

    def bounds(values: np.ndarray, text: str) -> xr.DataArray:
        both = [of(np.sqrt(np.maximum(one, 0.0)), text) for one in values]
        made = xr.concat(both, dim="bound", join="override")
        made.attrs = {"units": units, "long_name": text}
        return made

    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.where(parts.naive > 0.0, parts.naive / parametric, 1.0)
    table = {
        "mean": of(parts.mean, f"predicted {name}"),
        "parametric_sd": of(np.sqrt(parametric), "standard deviation that the parameters make"),
        "parametric_interval": bounds(parts.interval, f"{100 * level:g} % interval of parametric_sd"),
        "parametric_variance_estimate": of(
            estimate, "estimated variance that the parameters make, negative ones left so", f"({units})^2"
        ),
        "below_noise": of(estimate <= 0.0, "the draws scatter no more than simulation noise does", "1"),
        "simulation_sd": of(
            np.sqrt(parts.simulation), "Monte-Carlo error of the mean, from finite simulations and draws"
        ),
        "simulation_interval": bounds(
            parts.simulation_interval, f"{100 * level:g} % interval of simulation_sd"
        ),
        "naive_sd": of(np.sqrt(parts.naive), "standard deviation of the draws' means as simulated"),
        "noise_sd": of(np.sqrt(parts.noise), "standard deviation that finite simulation adds to naive_sd"),
        "naive_excess": of(excess, "variance of the draws' means over that of the parameters", "1"),
    }
    if fluctuation is not None:
        table["fluctuation_sd"] = of(
            np.sqrt(fluctuation), "standard deviation from frame to frame at one draw"
        )
    made = xr.Dataset(table, attrs={"observable": name, "level": level, **attrs})
    return made.assign_coords(bound=list(BOUNDS))


def corrected_draws(means: xr.DataArray, split: xr.Dataset) -> xr.DataArray:
    """Means of the draws, drawn together so that they spread as the parameters make them, in the same order.

    All draws are shrunk towards their mean by one factor,

        y*_s = ȳ + (τ / sd(y)) (y_s − ȳ),

    the square root of the factor that would bring each draw closest to its own truth: so that the ensemble, rather
    than each of its members, comes out right. What the noise has done to the shape of the distribution stays. Where the
    draws scatter no more than the noise does they all become the mean.

    Args:
        means: of every draw, as averaged for the split [draw *observable].
        split: of `nested_split` or `common_noise_split`.

    Returns:
        Corrected means [draw *observable].

    References:
        Louis (1984), doi:10.1080/01621459.1984.10478062: posterior means spread less than what they estimate,
        and matching their variance repairs the ensemble.

    Example:
        >>> split = xr.Dataset({"mean": 2.0, "parametric_sd": 0.5, "naive_sd": 1.0})
        >>> corrected_draws(xr.DataArray([1.0, 2.0, 3.0], dims="draw"), split).values.tolist()
        [1.5, 2.0, 2.5]
    """
    factor = (split["parametric_sd"] / split["naive_sd"]).where(split["naive_sd"] > 0.0, 0.0)
    made = (split["mean"] + factor * (means - split["mean"])).transpose(*means.dims)
    made.attrs = dict(means.attrs)
    return made


def split_sentence(split: xr.Dataset) -> str:
    """What the spread of one observable is made of, in words; says so where noise hides the parameters.

    Args:
        split: of `nested_split` or `common_noise_split`, one observable selected.

    Raises:
        InputError: more than one observable.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> runs = rng.normal(size=(50, 1)) + 2.0 * rng.normal(size=(50, 2)) + 30.0
        >>> values = xr.DataArray(runs, dims=("draw", "simulation"), attrs={"units": "bar", "long_name": "pressure"})
        >>> from bayescg.analysis import nested_split
        >>> print(split_sentence(nested_split(values)))
        Pressure: 30.19 ± 0.23 bar (Monte-Carlo error); the parameters make a standard deviation of 0.79 bar \
(90 % interval 0 to 1.4), the means as simulated one of 1.6 bar, a variance 4.3 times as large.
    """
    if split["mean"].ndim:
        raise InputError(f"sentence: select one observable, found dimensions {split['mean'].dims}")
    name, units = str(split.attrs["observable"]), str(split["mean"].attrs["units"])
    unit, level = "" if units == "1" else f" {units}", float(split.attrs["level"])
    low, high = (float(split["parametric_interval"].sel(bound=bound)) for bound in BOUNDS)
    head = (
        f"{name[:1].upper()}{name[1:]}: {value_with_error(float(split['mean']), float(split['simulation_sd']))}"
        f"{unit} (Monte-Carlo error); "
    )
    if bool(split["below_noise"]) and high == 0.0:
        return (
            f"{head}the draws scatter even less than simulation noise makes them by itself, by chance or since the repeats"
            " scatter too much: what the parameters make can't be told; simulate more draws."
        )
    if bool(split["below_noise"]):
        return (
            f"{head}the draws scatter no more than simulation noise does (their estimated parametric variance,"
            f" {float(split['parametric_variance_estimate']):.2g}, is not positive): the parameters make a standard"
            f" deviation of at most {high:.2g}{unit} ({100 * (0.5 + level / 2):g} %); simulate longer to see it."
        )
    return (
        f"{head}the parameters make a standard deviation of {float(split['parametric_sd']):.2g}{unit}"
        f" ({100 * level:g} % interval {low:.2g} to {high:.2g}), the means as simulated one of"
        f" {float(split['naive_sd']):.2g}{unit}, a variance {float(split['naive_excess']):.2g} times as large."
    )
