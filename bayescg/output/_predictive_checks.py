"""Posterior predictive checks as a table in text and as a figure."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayescg.output._canvas import LIMIT, POSTERIOR, PRIOR, panels
from bayescg.output._text_table import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEAD = ("observable", "data", "model", "± sd", "z", "adjusted p", "fitted", "verdict")
MOST_ROWS = 20
BAD = ("doubtful", "not reproduced")
MOST_NAMED = 3
"""Observables of one group that a figure names."""


def predictive_check_table(check: xr.Dataset) -> str:
    """A line for each observable, worst first, tests before what was fitted.

    Args:
        check: of `analysis.judged_checks`.

    Example:
        >>> from bayescg.analysis import judged_checks
        >>> columns = ("observed", "predicted", "epistemic_sd", "sampling_sd", "simulation_sd", "z", "p_value", "fitted_share")
        >>> values = {name: ("observable", [0.1, 0.2]) for name in columns}
        >>> check = judged_checks(xr.Dataset(values, {"observable": ["energy", "pressure"]}))
        >>> print(predictive_check_table(check).splitlines()[1])
        pressure     0.2    0.2  0.35  +0.2         0.2    20 %  as expected: replicated data are like the data
    """
    ordered = check.isel(observable=_worst_first(check))
    rows = [HEAD]
    for k in range(min(MOST_ROWS, ordered.sizes["observable"])):
        row = ordered.isel(observable=k)
        sd = np.sqrt(sum(float(row[f"{part}_sd"]) ** 2 for part in ("epistemic", "sampling", "simulation")))
        rows.append(
            (
                str(row["observable"].item()),
                f"{float(row['observed']):.4g}",
                f"{float(row['predicted']):.4g}",
                f"{sd:.2g}",
                f"{float(row['z']):+.1f}",
                f"{float(row['adjusted_p']):.1g}",
                f"{100 * float(row['fitted_share']):.0f} %",
                f"{row['verdict'].item()}: {row['sentence'].item()}",
            )
        )
    lines = aligned(rows, left=(0, len(HEAD) - 1))
    left = ordered.sizes["observable"] - MOST_ROWS
    if left > 0:
        lines.append(f"... and {left} more, in analyses/predictive_checks.nc")
    return "\n".join(lines)


def _worst_first(check: xr.Dataset) -> np.ndarray:
    bad = np.isin(check["verdict"].values, BAD)
    fitted = check["verdict"].values == "fitted"
    return np.lexsort((-np.abs(check["z"].values), fitted, ~bad))


def figure_predictive_checks(check: xr.Dataset) -> "Figure":
    """z of every observable by group: what the fit matched hollow, what the model misses in orange and named.

    Args:
        check: of `analysis.judged_checks`, with `group`.

    Example:
        >>> from bayescg.analysis import judged_checks
        >>> values = {name: ("observable", [0.1, 0.2]) for name in ("z", "p_value", "fitted_share")}
        >>> groups = ("observable", ["energy", "pressure"])
        >>> check = judged_checks(xr.Dataset(values | {"group": groups}, {"observable": ["energy", "pressure"]}))
        >>> figure_predictive_checks(check).get_suptitle()
        'Data against replicated data: all of 2 tests as expected'
    """
    groups = list(dict.fromkeys(str(g) for g in check["group"].values))[::-1]
    figure, (axes,) = panels(1, size=(7.0, 1.9 + 0.62 * len(groups)))
    z, verdict = check["z"].values, check["verdict"].values
    fitted, bad = verdict == "fitted", np.isin(verdict, BAD)
    axes.axvspan(-2.0, 2.0, color=PRIOR, alpha=0.2, linewidth=0, label="|z| < 2")
    axes.axvline(0.0, color=PRIOR, linewidth=0.8)
    at = np.array([groups.index(str(g)) for g in check["group"].values], float)
    at += _spread(check["group"].values)
    for mine, colour, marker, face, label in (
        (fitted, POSTERIOR, "o", "white", "fitted, no test"),
        (~fitted & ~bad, POSTERIOR, "o", POSTERIOR, "as expected"),
        (bad, LIMIT, "s", LIMIT, "doubtful or not reproduced"),
    ):
        if mine.any():
            axes.plot(
                z[mine],
                at[mine],
                marker,
                color=colour,
                markerfacecolor=face,
                markersize=4,
                label=label,
                alpha=0.8,
            )
    for group in groups:
        among = np.flatnonzero(bad & (check["group"].values == group))
        named = among[np.argsort(-np.abs(z[among]))][:MOST_NAMED]
        if len(named) and len(np.flatnonzero(check["group"].values == group)) > 1:
            text = ", ".join(str(check["observable"].values[k]).removeprefix("variance of ") for k in named)
            more = f" and {len(among) - len(named)} more" if len(among) > len(named) else ""
            axes.annotate(
                text + more, (0.01, groups.index(group) + 0.3), xycoords=("axes fraction", "data"), fontsize=7,
                color=LIMIT, va="bottom",
            )  # fmt: skip
    axes.set_yticks(range(len(groups)), groups)
    axes.set_ylim(-0.6, len(groups) - 0.3)
    if np.max(np.abs(z), initial=0.0) > 12.0:
        axes.set_xscale("symlog", linthresh=4.0)
        reach = 1.3 * float(np.max(np.abs(z)))
        axes.set_xlim(-reach, reach)
        steps = sorted(
            {sign * v for v in (0, 2, 4, 10, 30, 100, 300, 1000) for sign in (-1, 1) if v <= reach}
        )
        axes.set_xticks(steps, [f"{v:g}".replace("-", "−") for v in steps])
        axes.minorticks_off()
    axes.set_xlabel("z: data minus prediction, in predictive standard deviations")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, fontsize=8)
    tests = int(np.sum(check["fitted_share"].values < 0.9))
    missed = int(np.sum(bad & (check["fitted_share"].values < 0.9)))
    what = f"all of {tests} tests as expected" if not missed else f"{missed} of {tests} tests missed"
    figure.suptitle(f"Data against replicated data: {what}", fontsize=12)
    figure.supxlabel(str(check.attrs.get("posterior", "")), fontsize=7, color="#555555")
    return figure


def _spread(group: np.ndarray) -> np.ndarray:
    """Heights within the group's row, so that marks do not cover each other."""
    height = np.zeros(len(group))
    for name in np.unique(group):
        mine = np.flatnonzero(group == name)
        if len(mine) > 1:
            height[mine] = np.linspace(-0.22, 0.22, len(mine))
    return height
