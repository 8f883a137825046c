"""The figures of a result, drawn from the stored DataTree alone.

Each function returns a matplotlib `Figure` of its own; nothing global is changed. Colours are those of Okabe and Ito,
which colour-blind readers can tell apart; what they separate is also told by shape or line style.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.output._result import (
    calibration_note,
    energy_unit,
    flat_draws,
    has_variables,
    is_quick,
    length_unit,
    pressure_unit,
    require_variables,
    thermal_energy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POSTERIOR, PRIOR, DATA, LIMIT = "#0072B2", "#8C8C8C", "#000000", "#D55E00"


def figure_potential(tree: xr.DataTree) -> "Figure":
    """The pair potential: 50 and 90 % bands of the posterior over the prior's, and how far each lies from the median.

    Args:
        tree: A result with the group `prediction`.
    """
    prediction = require_variables(tree, "prediction", "pair_energy")
    posterior = flat_draws(prediction["pair_energy"])
    finite = np.isfinite(posterior).all(axis=0)
    posterior, distance = posterior[:, finite], prediction["distance"].values[finite]
    median = np.median(posterior, axis=0)
    low, high = np.quantile(posterior, [0.05, 0.95], axis=0)
    kT = thermal_energy(tree)

    figure, (top, bottom) = _panels(2, ratios=(2.2, 1))
    # the core is cut off: it is steep, and what is of interest happens within a few kT
    ceiling = max(6 * kT, -2.5 * float(median.min()))
    seen = distance >= distance[median < ceiling].min()
    in_reach = seen & (median < 3 * kT)
    widest = max(float((high - low)[in_reach].max()) / 2, 1e-3 * kT)
    if "prior_pair_energy" in prediction.data_vars:
        prior = prediction["prior_pair_energy"].transpose(..., "distance").values[..., finite]
        prior = prior.reshape(-1, len(distance))
        _bands(top, distance, prior, PRIOR, "prior", line=False)
        prior_low, prior_high = np.quantile(prior - median, [0.05, 0.95], axis=0)
        bottom.fill_between(distance, prior_low, prior_high, color=PRIOR, alpha=0.22, linewidth=0)
    _bands(top, distance, posterior, POSTERIOR, "posterior", line=True)
    _bands(bottom, distance, posterior - median, POSTERIOR, "posterior", line=False)
    for axes in (top, bottom):
        axes.axhline(0, color="black", linewidth=0.6)
    margin = 0.15 * (ceiling - min(float(low.min()), 0.0))
    top.set_ylim(min(float(low[seen].min()), 0.0) - margin, ceiling)
    bottom.set_ylim(-1.2 * widest, 1.2 * widest)
    bottom.set_xlim(distance[seen].min() - 0.03 * np.ptp(distance[seen]), distance.max())
    top.set_ylabel(f"pair energy U(r) [{energy_unit(tree)}]")
    bottom.set_ylabel(f"U − posterior\nmedian [{energy_unit(tree)}]")
    bottom.set_xlabel(f"distance r [{length_unit(tree)}]")
    top.legend(frameon=False)
    return _finish(figure, tree, "Pair potential: 50 and 90 % bands")


def figure_rdf(tree: xr.DataTree) -> "Figure":
    """The radial distribution function: the posterior predictive's bands over the data, and their difference.

    Args:
        tree: A result with `rdf` in `posterior_predictive`; in `observed_data` too for the comparison.
    """
    predictive = require_variables(tree, "posterior_predictive", "rdf")
    r = predictive["r"].values
    draws = flat_draws(predictive["rdf"])
    median = np.median(draws, axis=0)
    figure, (top, bottom) = _panels(2, ratios=(2.2, 1))
    _bands(top, r, draws, POSTERIOR, "posterior predictive", line=True)
    _bands(bottom, r, draws - median, POSTERIOR, "posterior predictive", line=False)
    if has_variables(tree, "observed_data", "rdf"):
        observed = require_variables(tree, "observed_data", "rdf")
        data = observed["rdf"].values
        error = observed["rdf_se"].values if "rdf_se" in observed.data_vars else None
        for axes, values in ((top, data), (bottom, data - median)):
            label = "data ± standard error"
            axes.errorbar(r, values, error, fmt="o", color=DATA, markersize=2.6, elinewidth=0.8, label=label)
    occupied = r[median > 1e-3]
    bottom.set_xlim((occupied.min() if len(occupied) else r.min()) - 0.04 * np.ptp(r), r.max())
    top.axhline(1, color="black", linewidth=0.6, linestyle=":")
    bottom.axhline(0, color="black", linewidth=0.6)
    top.set_ylabel("g(r)")
    bottom.set_ylabel("g − predictive\nmedian")
    bottom.set_xlabel(f"distance r [{length_unit(tree)}]")
    top.legend(frameon=False)
    return _finish(figure, tree, "Radial distribution function: 50 and 90 % bands")


def figure_pressure(tree: xr.DataTree) -> "Figure":
    """The predicted pressure over the posterior's draws, with the data's where the data have one.

    Args:
        tree: A result with `pressure` in `posterior_predictive`.
    """
    draws = flat_draws(require_variables(tree, "posterior_predictive", "pressure")["pressure"])
    draws = draws[np.isfinite(draws)]
    if len(draws) == 0:
        raise InputError(
            "result: no draw in posterior_predictive has a finite pressure; leave the variable out"
        )
    figure, (axes,) = _panels(1)
    axes.hist(
        draws,
        bins=min(40, max(10, len(draws) // 10)),
        color=POSTERIOR,
        alpha=0.55,
        label="posterior predictive",
    )
    low, high = np.quantile(draws, [0.05, 0.95])
    axes.axvspan(low, high, color=POSTERIOR, alpha=0.15, linewidth=0, label="its 90 % interval")
    if has_variables(tree, "observed_data", "pressure"):
        data = require_variables(tree, "observed_data", "pressure")
        observed = float(data["pressure"])
        shown = f"{observed:.4g}".replace("-", "−")
        label = f"data: {shown} {pressure_unit(tree)}"
        if "pressure_se" in data.data_vars:
            error = float(data["pressure_se"])
            axes.axvspan(observed - 2 * error, observed + 2 * error, color=LIMIT, alpha=0.25, linewidth=0)
            label = f"data: {shown} ± {error:.2g} {pressure_unit(tree)} (band: two standard errors)"
        axes.axvline(observed, color=LIMIT, linestyle="--", label=label)
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend
    axes.set_xlabel(f"pressure [{pressure_unit(tree)}]")
    axes.set_ylabel("draws")
    axes.legend(frameon=False, loc="upper center", ncols=1)
    return _finish(figure, tree, "Pressure")


def figure_fisher(tree: xr.DataTree) -> "Figure":
    """How much the data say about each combination of parameters, in units of what the prior says.

    Args:
        tree: A result with the group `identifiability`.
    """
    directions = require_variables(tree, "identifiability", "prior_relative", "contraction")
    relative = directions["prior_relative"].values.astype(float)
    contraction = directions["contraction"].values.astype(float)
    order = np.argsort(relative)[::-1]
    relative, contraction = relative[order], contraction[order]
    direction = np.arange(1, len(relative) + 1)
    # what is zero but for rounding has no place on a logarithmic axis: it is drawn at the bottom
    floor = max(float(relative.max()), 1.0) * 1e-14
    shown = np.maximum(relative, floor)

    figure, (top, bottom) = _panels(2, ratios=(1.6, 1))
    by_data = relative > 1
    top.vlines(direction, 1, shown, color="#CCCCCC", linewidth=1, zorder=1)
    top.plot(direction[by_data], shown[by_data], "o", color=POSTERIOR, label="the data decide")
    top.plot(direction[~by_data], shown[~by_data], "s", color=LIMIT, label="the prior decides")
    top.axhline(1, color="black", linewidth=1, linestyle="--", label="as much data as prior (λ = 1)")
    top.set_yscale("log")
    top.set_ylabel("data against prior λ")
    top.legend(frameon=False)
    bottom.bar(direction[by_data], contraction[by_data], color=POSTERIOR, width=0.7)
    bottom.bar(
        direction[~by_data], contraction[~by_data], color=LIMIT, width=0.7, hatch="//", edgecolor="white"
    )
    bottom.axhline(0.5, color="black", linewidth=1, linestyle="--")
    bottom.set_ylim(0, 1.05)
    bottom.set_ylabel("contraction\nλ / (1 + λ)")
    bottom.set_xlabel("combination of parameters, best constrained first")
    if len(direction) <= 12:
        bottom.set_xticks(direction)
    return _finish(
        figure, tree, f"Fisher spectrum: {by_data.sum()} of {len(direction)} combinations set by the data"
    )


def figure_verification(tree: xr.DataTree) -> "Figure":
    """Fresh simulations at posterior draws against what the reweighted references said, round by round.

    The rule: the noise of the fresh simulation below 0.5 at every draw, or the round tests nothing; then the median
    error below its limit (0.3, or 1.3 times the median noise) and the error of every draw below its own (0.7, or
    twice its noise, or more where few directions share the noise).

    Args:
        tree: A result with the group `verification`.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    verification = require_variables(
        tree, "verification", "rms_error", "noise_floor", "limit", "median_limit"
    )
    error = verification["rms_error"].transpose("round", ...).values.astype(float)
    floor = verification["noise_floor"].transpose("round", ...).values.astype(float)
    limit = verification["limit"].transpose("round", ...).values.astype(float)
    figure, (axes,) = _panels(1)
    rounds = np.arange(1, len(error) + 1)
    spread = np.linspace(-0.16, 0.16, error.shape[1]) if error.shape[1] > 1 else np.zeros(1)
    axes.plot(
        (rounds[:, None] + spread).ravel(), error.ravel(), "o", color=POSTERIOR, ms=4.5, label="one draw"
    )
    axes.plot(
        (rounds[:, None] + spread).ravel(),
        limit.ravel(),
        "_",
        color=LIMIT,
        ms=9,
        mew=1.8,
        label="limit for each draw",
    )
    steps = (
        (np.nanmedian(error, axis=1), POSTERIOR, "-", 2.4, "median over draws"),
        (np.nanmedian(floor, axis=1), PRIOR, "-", 1.6, "noise of the fresh simulation"),
        (verification["median_limit"].values.astype(float), LIMIT, "--", 1.6, "limit for the median"),
    )
    for level, color, style, width, label in steps:
        axes.hlines(
            level, rounds - 0.32, rounds + 0.32, color=color, linestyle=style, linewidth=width, label=label
        )
    untested = np.nanmax(floor, axis=1) > 0.5
    for x in rounds[untested]:
        axes.annotate(
            "not tested:\nfloor > 0.5", (x, 0.97), xycoords=("data", "axes fraction"), ha="center", va="top"
        )
    axes.set_yscale("log")
    axes.set_xticks(rounds)
    axes.set_xlim(0.4, len(rounds) + 0.6)
    axes.set_xlabel("verification round")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("rms error of the score\n[posterior sd per direction]")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    verdict = str(verification.attrs.get("verdict", "not stated"))
    return _finish(figure, tree, f"Verification: {verdict}")


def available_figures(tree: xr.DataTree) -> dict[str, Callable[[xr.DataTree], "Figure"]]:
    """The figures whose variables a result holds, by name, in the order in which they are read."""
    from bayescg.output._trace import figure_trace

    wanted: list[tuple[str, Callable[[xr.DataTree], Figure], str, tuple[str, ...]]] = [
        ("potential", figure_potential, "prediction", ("pair_energy",)),
        ("rdf", figure_rdf, "posterior_predictive", ("rdf",)),
        ("pressure", figure_pressure, "posterior_predictive", ("pressure",)),
        ("fisher", figure_fisher, "identifiability", ("prior_relative", "contraction")),
        (
            "verification",
            figure_verification,
            "verification",
            ("rms_error", "noise_floor", "limit", "median_limit"),
        ),
        ("trace", figure_trace, "posterior", ()),
    ]
    return {name: draw for name, draw, group, variables in wanted if has_variables(tree, group, *variables)}


def _panels(count: int, *, ratios: tuple[float, ...] = (1.0,)) -> tuple["Figure", list["Axes"]]:
    """A figure with panels above each other that share their horizontal axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 5.4 if count > 1 else 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(count, 1, sharex=True, squeeze=False, height_ratios=ratios)
    panels = list(grid[:, 0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _bands(
    axes: "Axes",
    x: Float[np.ndarray, "x"],
    draws: Float[np.ndarray, "draw x"],
    color: str,
    label: str,
    *,
    line: bool,
) -> None:
    """Equal-tailed 50 and 90 % bands, and the median where a line is asked for."""
    q05, q25, q50, q75, q95 = np.nanquantile(draws, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    axes.fill_between(x, q05, q95, color=color, alpha=0.22, linewidth=0, label=f"{label}, 90 %")
    axes.fill_between(x, q25, q75, color=color, alpha=0.45, linewidth=0, label=f"{label}, 50 %")
    if line:
        axes.plot(x, q50, color=color, linewidth=1.3, label=f"{label}, median")


def _finish(figure: "Figure", tree: xr.DataTree, title: str) -> "Figure":
    figure.suptitle(title, fontsize=12)
    note = calibration_note(tree)
    if is_quick(tree):
        note = "QUICK TEST RUN, the numbers mean nothing; " + note
    figure.supxlabel(note, fontsize=7, color="#555555")
    return figure
