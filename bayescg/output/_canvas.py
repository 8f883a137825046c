"""What the figures share: colours, panels, bands, a legend that nothing lies under, the note on the posterior.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; what they separate is also told by shape
or line style.
"""

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.output._result import calibration_note, is_quick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POSTERIOR, PRIOR, DATA, LIMIT = "#0072B2", "#8C8C8C", "#000000", "#D55E00"


def panels(
    count: int,
    *,
    ratios: tuple[float, ...] = (1.0,),
    size: tuple[float, float] = (7.0, 4.2),
    share: bool = True,
) -> tuple["Figure", list["Axes"]]:
    """A figure with panels above each other.

    Args:
        count: How many.
        ratios: Their relative heights.
        size: Of the figure [inch].
        share: Whether they share the horizontal axis.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(count, 1, sharex=share, squeeze=False, height_ratios=ratios)
    column = list(grid[:, 0])
    for axes in column:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, column


def bands(
    axes: "Axes", x: Float[np.ndarray, "x"], draws: Float[np.ndarray, "draw x"], label: str, *, line: bool
) -> None:
    """The posterior's equal-tailed 50 and 90 % bands, and the median where a line is asked for."""
    q05, q25, q50, q75, q95 = np.nanquantile(draws, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0, method="weibull")
    axes.fill_between(x, q05, q95, color=POSTERIOR, alpha=0.25, linewidth=0, label=f"{label}, 90 %")
    axes.fill_between(x, q25, q75, color=POSTERIOR, alpha=0.45, linewidth=0, label=f"{label}, 50 %")
    if line:
        axes.plot(x, q50, color=POSTERIOR, linewidth=1.3, label=f"{label}, median")


def legend_above(axes: "Axes", columns: int) -> None:
    """The legend between title and panel, where no curve and no band runs through its words."""
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=8,
        columnspacing=1.4,
    )


def finish(
    figure: "Figure", tree: xr.DataTree, title: str, *, groups: tuple[str, ...] = ("posterior",)
) -> "Figure":
    """Title above, and below which groups of draws the figure shows."""
    figure.suptitle(title, fontsize=12)
    note = "; ".join(calibration_note(tree, group=group) for group in groups)
    if is_quick(tree):
        note = "QUICK TEST RUN, the numbers mean nothing; " + note
    lines = textwrap.wrap(note, round(19 * figure.get_figwidth()))  # letters that an inch holds at 7 points
    figure.supxlabel("\n".join(lines), fontsize=7, color="#555555")
    return figure
