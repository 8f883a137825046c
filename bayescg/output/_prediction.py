"""Predictions as a table in text and as figures: bands, what they are made of, and which combinations make them."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayescg.output._canvas import DATA, LIMIT, POSTERIOR, PRIOR, bands, legend_above, panels
from bayescg.output._text_table import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAD = (
    "observable",
    "mean",
    "unit",
    "± all",
    "parameters",
    "simulation",
    "chance",
    "misses",
    "data",
    "z",
    "by",
)
PARTS = {"parametric": POSTERIOR, "simulation": "#E69F00", "aleatoric": PRIOR}
WORDS = {"parametric": "parameters", "simulation": "finite simulation", "aleatoric": "chance"}
WIDEST = 32
"""Letters of an axis' label, beyond which it is broken."""
UNEVEN = 20.0
"""Times the median that the largest standard deviation of a function is, from where their axis is logarithmic."""
MOST_DIRECTIONS = 5
"""Directions of which the figure of shares names each."""


def prediction_table(data: xr.Dataset) -> str:
    """A line for each observable: mean, error bar without what the model misses, its parts, and the data.

    Of a function the numbers are root mean squares over its points. A chance that is unknown is left empty, and `± all` is
    without it. `misses` is the discrepancy beyond the error bars.

    Args:
        data: of `study.predict`.

    Example:
        >>> one = ("component", [181.0])
        >>> parts = (("part", "component"), [[400.0], [4.0], [16.0]])
        >>> names = ["parametric", "simulation", "aleatoric"]
        >>> by = ("observable", ["reweighting"])
        >>> table = {"mean": one, "variance": parts, "observed": one, "z": one, "discrepancy_sd": one, "method": by}
        >>> of, unit = ("component", ["pressure"]), ("component", ["bar"])
        >>> coords = {"of": of, "unit": unit, "observable": ["pressure"], "part": names}
        >>> data = xr.Dataset(table, coords)
        >>> print(prediction_table(data).splitlines()[1])
        pressure     181  bar      20          20           2       4  1.8e+02   181  +181.0  reweighting
    """
    rows: list[tuple[str, ...]] = [HEAD]
    for name, method in zip(data["observable"].values, data["method"].values, strict=True):
        some = data.isel(component=np.flatnonzero(data["of"].values == name))
        n = some.sizes["component"]
        variance = some["variance"].mean("component")
        parts = [float(variance.sel(part=part)) for part in ("parametric", "simulation", "aleatoric")]
        seen = np.isfinite(some["z"].values)
        z = some["z"].values[seen]
        rows.append(
            (
                str(name),
                f"{float(some['mean'][0]):.4g}" if n == 1 else f"{n} points",
                str(some["unit"].values[0]),
                f"{np.sqrt(np.nansum(parts)):.2g}",
                *("" if np.isnan(part) else f"{np.sqrt(part):.2g}" for part in parts),
                f"{np.sqrt(np.mean(some['discrepancy_sd'].values[seen] ** 2)):.2g}" if seen.any() else "",
                f"{float(some['observed'].values[seen][0]):.4g}" if seen.any() and n == 1 else "",
                (f"{z[0]:+.1f}" if n == 1 else f"rms {np.sqrt(np.mean(z**2)):.1f}") if seen.any() else "",
                str(method),
            )
        )
    return "\n".join(aligned(rows, left=(0, 2, len(HEAD) - 1)))


def figure_prediction_bands(data: xr.Dataset) -> "Figure":
    """Bands of every predicted function with the data, and below each the standard deviations that make its error bar.

    Args:
        data: of `study.predict`, with `function`.
    """
    names = [str(name) for name in data["function"].values]
    figure, column = panels(
        2 * len(names), size=(7.0, 4.6 * len(names)), ratios=(2.0, 1.0) * len(names), share=False
    )
    for k, name in enumerate(names):
        some = data.isel(component=np.flatnonzero(data["of"].values == name))
        upper, lower = column[2 * k], column[2 * k + 1]
        x = some["at"].values
        draws = some["draws"].values[np.isfinite(some["draws"].values).all(axis=1)]
        bands(upper, x, draws, "parameters", line=True)
        seen = np.isfinite(some["observed"].values)
        if seen.any():
            upper.plot(x[seen], some["observed"].values[seen], ":", color=DATA, linewidth=1.4, label="data")
        title = str(some["long_name"].values[0])
        unit = str(some["unit"].values[0])
        title = title if unit == "1" else f"{title} [{unit}]"
        upper.set_ylabel(textwrap.fill(title, WIDEST))
        legend_above(upper, 4)
        styles = {"parametric": "-", "simulation": "--", "aleatoric": ":"}
        for part, colour in PARTS.items():
            sd = np.sqrt(some["variance"].sel(part=part).values)
            lower.plot(x, sd, styles[part], color=colour, label=WORDS[part], linewidth=1.2)
        if seen.any():
            off = np.abs(some["observed"].values - some["mean"].values)
            lower.plot(x[seen], off[seen], "x", color=LIMIT, markersize=3, label="|data - mean|")
        lower.set_ylabel("standard deviation")
        _scaled(lower, np.sqrt(np.nanmax(some["variance"].sel(part=list(PARTS)).values, axis=0)))
        along = str(some["at_unit"].values[0])
        symbol = {"time": "t", "": "t"}.get(symbol := _along(some, name), symbol)
        lower.set_xlabel(symbol if along == "1" else f"{symbol} [{along}]")
        legend_above(lower, 4)
    return _noted(figure, data, "Predicted functions and what makes their error bars")


def _scaled(axes: "Axes", largest: np.ndarray) -> None:
    """An axis of standard deviations: logarithmic where a few places are far larger than all others."""
    positive = largest[largest > 0.0]
    if len(positive) and positive.max() > UNEVEN * np.median(positive):
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.01 * float(np.median(positive)))
    else:
        axes.set_ylim(bottom=0.0)


def _along(some: xr.Dataset, name: str) -> str:
    """Name of a function's coordinate; predictions stored before it was kept have few functions."""
    if "along" in some.coords:
        return str(some["along"].values[0])
    return {"rdf": "r", "structure-factor": "k"}.get(name, "time")


def figure_prediction_parts(data: xr.Dataset) -> "Figure":
    """Of every observable's predictive variance, how much is parameters, finite simulation and chance.

    Args:
        data: of `study.predict`.
    """
    names = [str(name) for name in data["observable"].values][::-1]
    figure, (axes,) = panels(1, size=(7.0, 1.6 + 0.42 * len(names)))
    left = np.zeros(len(names))
    variance = data["variance"].groupby("of").mean("component")
    unknown = [bool(np.isnan(variance.sel(of=n, part="aleatoric"))) for n in names]
    labels = [f"{n}\n(chance unknown)" if one else n for n, one in zip(names, unknown, strict=True)]
    for part, colour in PARTS.items():
        whole = np.array([float(variance.sel(of=n).sel(part=list(PARTS)).sum()) for n in names])
        own = np.nan_to_num([float(variance.sel(of=n, part=part)) for n in names])
        share = np.divide(own, whole, out=np.zeros(len(names)), where=whole > 0.0)
        hatch = {"parametric": "", "simulation": "///", "aleatoric": "..."}[part]
        axes.barh(
            labels,
            share,
            left=left,
            color=colour,
            label=WORDS[part],
            hatch=hatch,
            edgecolor="white",
            height=0.62,
        )
        for y, (at, wide) in enumerate(zip(left, share, strict=True)):
            if wide > 0.06:
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
                axes.text(
                    at + wide / 2, y, f"{100 * wide:.0f} %", ha="center", va="center", fontsize=7, bbox=box
                )
        left += share
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel("share of the predictive variance, without what the model's form misses")
    legend_above(axes, 3)
    return _noted(figure, data, "What the error bars are made of")


def figure_prediction_shares(data: xr.Dataset) -> "Figure":
    """Shares of every observable's parametric variance along the directions of parameter space.

    Args:
        data: of `study.predict`.
    """
    names, table = [], []
    for name in data["observable"].values[::-1]:
        some = data.isel(component=np.flatnonzero(data["of"].values == name))
        weight = np.where(np.isfinite(some["rest"].values), some["parametric_sd"].values ** 2, 0.0)
        if weight.sum() > 0.0:
            share = np.nan_to_num(some["direction_share"].values) @ weight / weight.sum()
            names.append(str(name))
            table.append(np.append(share, float(np.nan_to_num(some["rest"].values) @ weight / weight.sum())))
    figure, (axes,) = panels(1, size=(7.0, 2.0 + 0.42 * max(1, len(names))))
    shares = np.array(table) if table else np.zeros((0, 1))
    left = np.zeros(len(names))
    if len(names):
        named = np.argsort(-shares[:, :-1].max(axis=0))[:MOST_DIRECTIONS]
        others = np.setdiff1d(np.arange(shares.shape[1] - 1), named)
        colours = [POSTERIOR, "#E69F00", "#009E73", "#CC79A7", "#56B4E9"]
        groups = [(f"direction {k + 1}", shares[:, k]) for k in sorted(named)]
        groups += [(f"{len(others)} others", shares[:, others].sum(axis=1))] if len(others) else []
        groups += [("not explained linearly", shares[:, -1])]
        for i, (label, own) in enumerate(groups):
            colour = (
                colours[i] if label.startswith("direction") else (PRIOR if "others" in label else "#DDDDDD")
            )
            axes.barh(names, own, left=left, color=colour, label=label, edgecolor="white", height=0.62)
            left += own
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel(
        f"share of the parametric variance; directions are\n{data.attrs.get('directions', 'those of the draws')}"
    )
    if len(names):
        legend_above(axes, 4)
    else:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "can't be told; the text says why", ha="center", transform=axes.transAxes)
    return _noted(figure, data, "Which combinations of parameters make the spread")


def _noted(figure: "Figure", data: xr.Dataset, title: str) -> "Figure":
    figure.suptitle(title, fontsize=12)
    temperature = f"{float(data.attrs.get('temperature', np.nan)):g} {data.attrs.get('temperature_unit', '')}"
    note = f"{data.attrs.get('posterior', '')}; {data.attrs.get('n_sites', '')} sites at {temperature}"
    figure.supxlabel(note, fontsize=7, color="#555555")
    return figure
