"""Traces and ranks of the parameters that mixed worst, by arviz-plots."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayescg.output._result import calibration_note, require_variables
from bayescg.output._tables import scalar_parameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHAINS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


def figure_trace(tree: xr.DataTree, *, count: int = 5) -> "Figure":
    """Trace (left) and rank plot (right) of the parameters with the fewest effective draws.

    Args:
        tree: A result.
        count: How many parameters are shown; those that mixed best are left out.
    """
    import arviz_plots
    import arviz_stats
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    draws = scalar_parameters(require_variables(tree, "posterior")).drop_vars("unit")
    alone = xr.DataTree.from_dict({"posterior": xr.Dataset({"value": draws})})
    effective = np.asarray(arviz_stats.ess(alone)["value"].values, dtype=float)
    varies = np.flatnonzero(np.isfinite(effective) & (draws.std(("chain", "draw")).values > 0))
    if len(varies) == 0:
        raise ValueError("posterior: no parameter varies over its draws, so there is no trace to show")
    worst = np.sort(varies[np.argsort(effective[varies])[:count]])
    names = [str(draws["parameter"].values[i]) for i in worst]
    shown = xr.Dataset(
        {name: draws[..., i].drop_vars("parameter") for name, i in zip(names, worst, strict=True)},
        coords={dim: np.arange(draws.sizes[dim]) for dim in ("chain", "draw")},
    )
    result = xr.DataTree.from_dict({"posterior": shown})

    figure = Figure(figsize=(8.0, 1.0 + 1.5 * len(names)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(names), 2, sharex="col", squeeze=False)
    # one plot collection per column, on axes made here: arviz-plots' own grids go through pyplot's global state,
    # and those of 0.8 fail with the newest xarray
    for column in (0, 1):
        axes = {name: ((), grid[row, column]) for row, name in enumerate(names)}
        collection = arviz_plots.PlotCollection(
            shown,
            xr.DataTree.from_dict({"/": xr.Dataset({"figure": ((), figure)}), "plot": xr.Dataset(axes)}),
            aes={"color": ["chain"], "overlay": ["chain"]},
            color=list(CHAINS),
            backend="matplotlib",
        )
        if column == 0:
            arviz_plots.plot_trace(
                result, plot_collection=collection, visuals={"trace": {"width": 0.6, "alpha": 0.8}}
            )
        else:
            arviz_plots.plot_rank(result, plot_collection=collection, visuals={"title": False})
    for axes in grid.flat:
        axes.label_outer()
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
    selected = (
        ""
        if len(worst) == len(varies)
        else f": the {len(worst)} of {len(varies)} parameters that mixed worst"
    )
    figure.suptitle(f"Traces and ranks{selected}", fontsize=12)
    figure.supxlabel(calibration_note(tree), fontsize=7, color="#555555")
    return figure
