"""Figures of sweeps: how large a basis the data carry, what more data bring, what a model costs at other states."""

import json
import textwrap
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.analysis import sweep_part
from bayescg.errors import InputError
from bayescg.output._canvas import DATA, LIMIT, POSTERIOR, PRIOR, legend_above, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NINETY = 1.645
"""Standard errors of a 90 % interval."""


def figure_basis_sweep(table: xr.Dataset) -> "Figure":
    """Train and held-out relative entropy over the size of the basis, and bias and variance below.

    Scores are relative to the best cross-validated one. Where nothing but noise separates bases, the smallest of them is
    recommended; a hollow mark is a fit beyond reach of the references.

    Args:
        table: of `analysis.basis_sweep`.

    Example:
        >>> x = np.array([2, 4, 8])
        >>> names = ("train_relative_entropy", "block_cv", "difference", "difference_se", "tic", "bias_proxy", "variance")
        >>> values = dict(zip(names, np.linspace(0.0, 0.1, 21).reshape(7, 3)))
        >>> table = xr.Dataset(
        ...     {name: ("basis", v) for name, v in values.items()} | {"converged": ("basis", [True] * 3)},
        ...     coords={"basis": ["2", "4", "8"], "basis_size": ("basis", x)},
        ...     attrs={"recommended": "4", "best": "4", "independent_frames": 250.0, "warnings": "[]"},
        ... )
        >>> figure_basis_sweep(table).get_suptitle()
        'Bias and variance: a basis of 4'
    """
    table = table.sortby("basis_size")
    size, good = table["basis_size"].values, table["converged"].values.astype(bool)
    zero = float(table["block_cv"].sel(basis=table.attrs["best"]))
    figure, (top, bottom) = panels(2, ratios=(1.5, 1.0), size=(7.0, 6.2))
    _curve(
        top, size, table["train_relative_entropy"].values - zero, good, PRIOR, "s", "--", "frames fitted to"
    )
    left_out = "blocks left out, ± se of the difference"
    _curve(top, size, table["difference"].values, good, POSTERIOR, "o", "-", left_out)
    top.errorbar(
        size, table["difference"], yerr=table["difference_se"], fmt="none", color=POSTERIOR, capsize=3
    )
    _curve(top, size, table["tic"].values - zero, good, LIMIT, "^", ":", "information criterion")
    if "held_out_relative_entropy" in table:
        further = table["held_out_relative_entropy"].values - zero
        _curve(top, size, further, good, DATA, "D", "-.", "further frames")
    _curve(bottom, size, table["bias_proxy"].values, good, PRIOR, "s", "--", "bias, above the smallest")
    _curve(bottom, size, table["variance"].values, good, LIMIT, "^", ":", "variance")
    total = table["bias_proxy"].values + table["variance"].values
    _curve(bottom, size, total, good, POSTERIOR, "o", "-", "sum")
    chosen = float(table["basis_size"].sel(basis=table.attrs["recommended"]))
    for axes in (top, bottom):
        axes.axvline(chosen, color="black", linewidth=1.0, zorder=0)
    to_the_left = chosen > 0.7 * size.max()
    top.annotate(
        "recommended", (chosen, 0.98), xycoords=("data", "axes fraction"), fontsize=8, va="top",
        ha="right" if to_the_left else "left", xytext=(-4 if to_the_left else 4, 0), textcoords="offset points",
    )  # fmt: skip
    upper = table["difference"].values + table["difference_se"].values
    curves = np.stack([upper, table["tic"].values - zero, table["train_relative_entropy"].values - zero])
    noise = max(float(np.max(table["variance"].values[good], initial=0.0)), 1e-6)
    _span(top, curves[:, good], noise)
    _span(bottom, total[None, good], noise)
    top.set_ylabel("relative entropy above the\nbest held-out one [nats/frame]")
    bottom.set_ylabel("[nats/frame]")
    bottom.set_xlabel("number of coefficients")
    bottom.set_ylim(bottom=0.0)
    bottom.set_xticks(size)
    legend_above(top, 2)
    legend_above(bottom, 3)
    figure.suptitle(f"Bias and variance: a basis of {table.attrs['recommended']}", fontsize=12)
    worth = [f"The frames are worth {table.attrs['independent_frames']:.0f} independent ones."]
    _note(figure, " ".join(json.loads(table.attrs["warnings"]) or worth))
    return figure


def figure_data_size_sweep(table: xr.Dataset) -> "Figure":
    """Train and held-out relative entropy over the number of frames fitted to; a hollow mark is beyond reach.

    Args:
        table: of `analysis.data_size_sweep`.

    Example:
        >>> values = {name: ("data_size", [0.3, 0.2]) for name in ("train_relative_entropy", "held_out_relative_entropy")}
        >>> errors = {name: ("data_size", [0.02, 0.01]) for name in ("train_se", "held_out_se")}
        >>> about = {"basis": "8", "inefficiency": 2.0, "n_frames": 400}
        >>> table = xr.Dataset(values | errors, coords={"data_size": [50, 200]}, attrs=about)
        >>> figure_data_size_sweep(table).get_suptitle()
        'What more data bring to a basis of 8'
    """
    size = table["data_size"].values.astype(float)
    good = table["converged"].values.astype(bool) if "converged" in table else np.ones(len(size), bool)
    zero = float(table["held_out_relative_entropy"][-1])
    figure, (axes,) = panels(1)
    for name, error, color, marker, style, label in (
        ("held_out_relative_entropy", "held_out_se", POSTERIOR, "o", "-", "frames left out"),
        ("train_relative_entropy", "train_se", PRIOR, "s", "--", "frames fitted to"),
    ):
        axes.errorbar(
            size, table[name] - zero, yerr=table[error], color=color, marker=marker, linestyle=style, capsize=3,
            label=f"{label}, ± se",
        )  # fmt: skip
        if not good.all():
            axes.plot(
                size[~good],
                (table[name] - zero)[~good],
                marker,
                color=color,
                markerfacecolor="white",
                zorder=3,
            )
    axes.set_xscale("log")
    axes.set_xticks(size, [f"{n:g}" for n in size])
    axes.minorticks_off()
    axes.set_xlabel("frames fitted to")
    axes.set_ylabel("relative entropy above the held-out\none with most frames [nats/frame]")
    legend_above(axes, 2)
    figure.suptitle(f"What more data bring to a basis of {table.attrs['basis']}", fontsize=12)
    _note(figure, f"Statistical inefficiency of the frames: {table.attrs['inefficiency']:.1f}.")
    return figure


def figure_run_basis_sweep(joined: xr.Dataset) -> "Figure":
    """The figure of the basis sweep in `analysis.joined_sweeps`."""
    table = sweep_part(joined, "basis")
    if table is None:
        raise InputError("sweep: it holds no basis sweep to draw; sweep a run of one linear spline or series")
    return figure_basis_sweep(table)


def figure_run_data_size_sweep(joined: xr.Dataset) -> "Figure":
    """The figure of the data-size sweep in `analysis.joined_sweeps`."""
    table = sweep_part(joined, "data_size")
    if table is None:
        raise InputError("sweep: it holds no data-size sweep to draw; make it again")
    return figure_data_size_sweep(table)


def figure_transferability(table: xr.Dataset, *, fitted_at: float | None = None) -> "Figure":
    """What a model fitted at one state costs at the others, with a 90 % band.

    The dotted line is what finite data alone leave between two fits of one state: below it there is no penalty to see.

    Args:
        table: of `analysis.transferability`.
        fitted_at: the state of the fit; default the first.

    Raises:
        InputError: a state that the table does not have.

    Example:
        >>> pair = ("fitted_at", "used_at")
        >>> table = xr.Dataset(
        ...     {name: (pair, [[0.0, 0.2], [0.1, 0.0]]) for name in ("penalty", "penalty_se", "noise")}
        ...     | {"effective_reference_frames": (pair, [[900.0, 400.0], [300.0, 800.0]])},
        ...     coords={"fitted_at": [300.0, 350.0], "used_at": ("used_at", [300.0, 350.0], {"units": "K"})},
        ...     attrs={"least_effective_frames": 50.0},
        ... )
        >>> figure_transferability(table).get_suptitle()
        'Transferability of the model fitted at 300 K'
    """
    table = table.sortby("used_at").sortby("fitted_at") if fitted_at is None else table.sortby("used_at")
    place = float(table["fitted_at"][0]) if fitted_at is None else float(fitted_at)
    if place not in table["fitted_at"].values:
        raise InputError(
            f"transferability: no fit at {place:g}; expected one of {', '.join(f'{s:g}' for s in table['fitted_at'].values)}"
        )
    row = table.sel(fitted_at=place)
    state, penalty = row["used_at"].values.astype(float), row["penalty"].values
    error = NINETY * row["penalty_se"].values
    unit = str(row["used_at"].attrs.get("units", "1"))
    shown = "" if unit == "1" else f" {unit}"
    figure, (axes,) = panels(1)
    axes.fill_between(
        state, penalty - error, penalty + error, color=POSTERIOR, alpha=0.25, linewidth=0, label="90 % band"
    )
    axes.plot(state, penalty, "-o", color=POSTERIOR, label="penalty")
    axes.plot(state, row["noise"], ":", color=PRIOR, label="left by finite data alone")
    lost = row["effective_reference_frames"].values < table.attrs["least_effective_frames"]
    if lost.any():
        axes.plot(
            state[lost], penalty[lost], "s", color=LIMIT, label="beyond reach of the references", zorder=3
        )
    axes.axvline(place, color="black", linewidth=1.0, zorder=0)
    axes.annotate(
        "fitted here", (place, 0.98), xycoords=("data", "axes fraction"), fontsize=8, va="top",
        xytext=(4, 0), textcoords="offset points",
    )  # fmt: skip
    axes.set_ylim(bottom=min(0.0, float(np.min(penalty - error))))
    axes.set_xlabel(f"state [{unit}]" if shown else "state")
    axes.set_ylabel("relative entropy above that of the\nbest model there [nats/frame]")
    legend_above(axes, 4)
    figure.suptitle(f"Transferability of the model fitted at {place:g}{shown}", fontsize=12)
    return figure


def _curve(axes, x, y, good, color, marker, style, label) -> None:  # type: ignore[no-untyped-def]
    """A line with full marks where the fit was found and hollow ones where it was not."""
    axes.plot(x, y, style, color=color, marker=marker, markersize=5, label=label)
    if not good.all():
        axes.plot(x[~good], y[~good], marker, color=color, markerfacecolor="white", markersize=5, zorder=3)


def _span(axes, curves: Float[np.ndarray, "curve x"], noise: float) -> None:  # type: ignore[no-untyped-def]
    """Limits from the fits that were found; logarithmic beyond the noise where bias outgrows it twentyfold."""
    low, high = float(np.min(curves, initial=0.0)), float(np.max(curves, initial=noise))
    if high > 20.0 * noise:
        axes.set_yscale("symlog", linthresh=2.0 * noise)
        axes.set_ylim(min(1.3 * low, 0.0), 3.0 * high)
    else:
        axes.set_ylim(low - 0.06 * (high - low), high + 0.08 * (high - low))


def _note(figure: "Figure", text: str) -> None:
    lines = textwrap.wrap(text, round(19 * figure.get_figwidth()))
    figure.supxlabel("\n".join(lines), fontsize=7, color="#555555")
