"""Figures of what the model says: pair potential, radial distribution function, pressure."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.analysis import value_with_error
from bayescg.errors import InputError
from bayescg.output._canvas import DATA, LIMIT, POSTERIOR, PRIOR, bands, finish, legend_above, panels
from bayescg.output._result import (
    energy_unit,
    flat_draws,
    has_variables,
    length_unit,
    pressure_unit,
    require_variables,
    thermal_energy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure_potential(tree: xr.DataTree) -> "Figure":
    """The pair potential: the posterior over the prior's 90 % band, and below it how far each lies from the median.

    The axes show what the posterior does where data are; a prior that goes beyond them is cut off there.

    Args:
        tree: A result with the group `prediction`.

    Example:
        >>> distance = np.linspace(0.9, 2.5, 50)
        >>> depth = np.linspace(0.9, 1.1, 20)[:, None]
        >>> energy = 4 * depth * (distance**-12 - distance**-6)
        >>> curves = {"pair_energy": (("chain", "draw_p", "distance"), energy[None])}
        >>> prediction = xr.Dataset(curves, coords={"distance": distance})
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset(), "prediction": prediction})
        >>> tree.attrs |= {"units": "lj", "temperature": 1.0}
        >>> figure_potential(tree).axes[1].get_xlabel()
        'distance r [σ]'
    """
    prediction = require_variables(tree, "prediction", "pair_energy")
    posterior = flat_draws(prediction["pair_energy"])
    finite = np.isfinite(posterior).all(axis=0)
    posterior, distance = posterior[:, finite], prediction["distance"].values[finite]
    median = np.median(posterior, axis=0)
    low, high = np.quantile(posterior, [0.05, 0.95], axis=0)
    kT, ceiling = thermal_energy(tree), _ceiling(median, thermal_energy(tree))
    start = _first_occupied(tree)
    seen = (distance >= distance[median < ceiling].min()) & (distance >= (start or 0.0))

    floor = min(float(low[seen].min()), 0.0)
    inner = seen & (median < 3 * kT)
    widest = max(float(np.abs(np.array([low, high]) - median)[:, inner].max()), 1e-3 * kT)
    shown = ((floor - 0.08 * (ceiling - floor), ceiling), (-1.15 * widest, 1.15 * widest))

    figure, panes = panels(2, ratios=(1.35, 1), size=(7.0, 6.0))
    if "prior_pair_energy" in prediction.data_vars:
        prior = prediction["prior_pair_energy"].transpose(..., "distance").values[..., finite]
        prior = prior.reshape(-1, len(distance))
        _outline(panes[0], distance, _near(prior, shown[0]), fill=True)
        _outline(panes[1], distance, _near(prior - median, shown[1]), fill=False)
    bands(panes[0], distance, _near(posterior, shown[0]), "posterior", line=True)
    bands(panes[1], distance, _near(posterior - median, shown[1]), "posterior", line=False)
    left = distance[seen].min() if start is None else min(distance[seen].min(), start)
    left = max(distance.min(), left - 0.03 * (distance.max() - left))
    for axes, limits in zip(panes, shown, strict=True):
        axes.set_ylim(*limits)
        axes.axhline(0, color="black", linewidth=0.6)
        if start is not None and start > left:
            axes.axvspan(
                left, start, facecolor="none", edgecolor="#999999", hatch="////", linewidth=0, label="no data"
            )
    top, bottom = panes
    bottom.set_xlim(left, distance.max())
    top.set_ylabel(f"pair energy U(r) [{energy_unit(tree)}]")
    bottom.set_ylabel(f"U − posterior median\n[{energy_unit(tree)}]")
    bottom.set_xlabel(f"distance r [{length_unit(tree)}]")
    legend_above(top, 5)
    return finish(figure, tree, "Pair potential")


def _near(curves: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Curves cut off well outside the axes: dashes of a line that leaves them a million times over take minutes to draw."""
    low, high = limits
    return np.clip(curves, low - 3.0 * (high - low), high + 3.0 * (high - low))


def figure_rdf(tree: xr.DataTree) -> "Figure":
    """The radial distribution function: the posterior predictive's bands over the data, and their difference.

    Args:
        tree: A result with `rdf` in `posterior_predictive`; in `observed_data` too for the comparison.

    Example:
        >>> r, draws = np.linspace(0.25, 0.95, 8), np.random.default_rng(0).normal(1.0, 0.02, size=(1, 40, 8))
        >>> predicted = xr.Dataset({"rdf": (("chain", "draw_p", "r"), draws)}, coords={"r": r})
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset(), "posterior_predictive": predicted})
        >>> tree.attrs["units"] = "gromacs"
        >>> [axes.get_ylabel() for axes in figure_rdf(tree).axes]
        ['g(r)', 'g − predictive median']
    """
    predictive = require_variables(tree, "posterior_predictive", "rdf")
    r = predictive["r"].values
    draws = flat_draws(predictive["rdf"])
    median = np.median(draws, axis=0)
    spread = np.abs(np.quantile(draws, [0.05, 0.95], axis=0) - median).max(axis=0)
    occupied = median > 1e-3
    figure, (top, bottom) = panels(2, ratios=(1.15, 1), size=(7.0, 6.4))
    bands(top, r, draws, "posterior predictive", line=True)
    bands(bottom, r, draws - median, "posterior predictive", line=False)
    if has_variables(tree, "observed_data", "rdf"):
        observed = require_variables(tree, "observed_data", "rdf")
        data = observed["rdf"].values
        occupied |= data > 1e-3
        error = observed["rdf_se"].values if "rdf_se" in observed.data_vars else np.zeros_like(data)
        error = np.where(data > 0, error, np.nan)  # an empty bin has nothing to estimate its error from
        spread = np.maximum(spread, np.abs(data - median) + np.nan_to_num(error))
        for axes, values in ((top, data), (bottom, data - median)):
            label = "data ± standard error"
            axes.errorbar(r, values, error, fmt="o", color=DATA, markersize=2.2, elinewidth=0.8, label=label)
    first = r[occupied].min() if occupied.any() else r.min()
    bottom.set_xlim(first - 0.04 * (r.max() - first), r.max())
    highest = 1.15 * max(float(spread[occupied].max(initial=0.0)), 1e-6)
    bottom.set_ylim(-highest, highest)
    if has_variables(tree, "prediction", "pair_energy"):
        cutoff = float(tree["prediction"]["distance"].max())
        for axes in (top, bottom):
            axes.axvline(cutoff, color=LIMIT, linewidth=1, linestyle="--", label="cutoff of the potential")
    top.axhline(1, color="black", linewidth=0.6, linestyle=":")
    bottom.axhline(0, color="black", linewidth=0.6)
    top.set_ylabel("g(r)")
    bottom.set_ylabel("g − predictive median")
    bottom.set_xlabel(f"distance r [{length_unit(tree)}]")
    legend_above(top, 3)
    return finish(figure, tree, "Radial distribution function")


class _Observed(NamedTuple):
    pressure: float
    error: float


def figure_pressure(tree: xr.DataTree) -> "Figure":
    """The pressure of model and data on one axis, and below it the model's over the posterior's draws.

    The lower panel has an axis of its own where the data lie too far away for one.

    Args:
        tree: A result with `pressure` in `posterior_predictive`.

    Example:
        >>> predicted = xr.Dataset({"pressure": (("chain", "draw_p"), [[180.0, 190.0, 200.0, 185.0]])})
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset(), "posterior_predictive": predicted})
        >>> tree.attrs["units"] = "real"
        >>> figure_pressure(tree).axes[0].get_xlabel()
        'pressure [atm]'
    """
    draws = flat_draws(require_variables(tree, "posterior_predictive", "pressure")["pressure"])
    draws = draws[np.isfinite(draws)]
    if len(draws) == 0:
        raise InputError(
            "result: no draw in posterior_predictive has a finite pressure; leave the variable out"
        )
    unit = pressure_unit(tree)
    observed = _observed_pressure(tree)
    if observed is None:
        figure, (lower,) = panels(1)
    else:
        figure, (upper, lower) = panels(2, ratios=(1, 1.9), size=(7.0, 4.8), share=False)
        _compare_pressures(upper, draws, observed, unit)
    _pressure_histogram(lower, draws)
    label = f"pressure [{unit}]"
    if observed is not None:
        low, high = draws.min(), draws.max()
        gap = max(low - observed.pressure, observed.pressure - high, 0.0)
        if gap < 0.5 * (high - low):
            lower.axvline(observed.pressure, color=LIMIT, linestyle="--", label="data")
            lower.set_xlim(upper.get_xlim())
            upper.tick_params(axis="x", labelbottom=False)
        else:
            upper.set_xlabel(label)
            away = abs(float(np.median(draws)) - observed.pressure)
            side = "left" if observed.pressure < low else "right"
            label += f"; the data lie {value_with_error(away, 0.0)} {unit} to the {side}"
    lower.set_xlabel(label)
    lower.set_ylabel("draws")
    legend_above(lower, 4)
    return finish(figure, tree, "Pressure")


def _ceiling(median: Float[np.ndarray, "x"], kT: float) -> float:
    """Upper end of the energy axis: the core is steep, and what is of interest happens within a few kT."""
    inner = int(np.argmax(np.append(np.diff(median) > 0, True)))  # the first minimum
    barrier = float(median[inner:].max())
    return max(3.0 * kT, -2.5 * float(median.min()), 1.5 * barrier)


def _first_occupied(tree: xr.DataTree) -> float | None:
    """Where the data's shortest pair distances begin: the lower edge of the first bin that is not empty [length]."""
    if not has_variables(tree, "observed_data", "rdf"):
        return None
    observed = tree["observed_data"].to_dataset()
    r, occupied = observed["r"].values, observed["rdf"].values > 0
    if not occupied.any() or len(r) < 2:
        return None
    return float(r[int(np.argmax(occupied))] - (r[1] - r[0]) / 2)


def _outline(
    axes: "Axes", x: Float[np.ndarray, "x"], draws: Float[np.ndarray, "draw x"], *, fill: bool
) -> None:
    """The prior's 90 % band: dashed edges, with a light filling or none."""
    from matplotlib.colors import to_rgb

    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    inside = (*to_rgb(PRIOR), 0.18 if fill else 0.0)
    axes.fill_between(
        x, low, high, facecolor=inside, edgecolor=PRIOR, linewidth=0.9, linestyle="--", label="prior, 90 %"
    )


def _observed_pressure(tree: xr.DataTree) -> _Observed | None:
    if not has_variables(tree, "observed_data", "pressure"):
        return None
    data = require_variables(tree, "observed_data", "pressure")
    error = float(data["pressure_se"]) if "pressure_se" in data.data_vars else 0.0
    return _Observed(float(data["pressure"]), error)


def _compare_pressures(
    axes: "Axes", draws: Float[np.ndarray, "draw"], observed: _Observed, unit: str
) -> None:
    """Model and data as intervals with their numbers, on an axis that holds both."""
    low, median, high = np.quantile(draws, [0.05, 0.5, 0.95])
    value, error = observed
    axes.plot([low, high], [0, 0], color=POSTERIOR, linewidth=5, alpha=0.4, solid_capstyle="butt")
    axes.plot(median, 0, "o", color=POSTERIOR)
    axes.errorbar(value, 1, xerr=2 * error, fmt="s", color=LIMIT, elinewidth=2, capsize=4)
    ends = np.array([low, high, value - 2 * error, value + 2 * error])
    left, right = min(ends.min(), draws.min()), max(ends.max(), draws.max())
    left, right = left - 0.05 * (right - left), right + 0.05 * (right - left)
    axes.set_xlim(left, right)
    axes.set_ylim(-0.6, 1.75)
    axes.set_yticks([0, 1], ["model", "data"])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    middle, lower, upper = (value_with_error(float(number), 0.0) for number in (median, low, high))
    model_text = f"{middle} {unit}, 90 % from {lower} to {upper}"
    data_text = f"{value_with_error(value, error)} {unit}" + (
        " (line: two standard errors)" if error > 0 else ""
    )
    for x, y, text, color in ((median, 0, model_text, POSTERIOR), (value, 1, data_text, LIMIT)):
        place = (x - left) / (right - left)
        side = "left" if place < 0.35 else "right" if place > 0.65 else "center"
        shift = {"left": -8, "right": 8, "center": 0}[side]
        axes.annotate(
            text.replace("-", "−"), (x, y), xytext=(shift, 6), textcoords="offset points", ha=side, va="bottom",
            fontsize=9, color=color,
        )  # fmt: skip


def _pressure_histogram(axes: "Axes", draws: Float[np.ndarray, "draw"]) -> None:
    low, high = np.quantile(draws, [0.05, 0.95])
    bins = min(40, max(10, len(draws) // 10))
    axes.hist(draws, bins=bins, color=POSTERIOR, alpha=0.55, label="draws of the posterior")
    for position, label in ((low, "90 % of them lie between"), (high, None)):
        axes.axvline(position, color=POSTERIOR, linewidth=1, linestyle=":", label=label)
