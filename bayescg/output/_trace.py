"""Traces and ranks of the parameters that mixed worst, by arviz-plots."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayescg.output._canvas import finish
from bayescg.output._result import require_variables, unit_text
from bayescg.output._tables import scalar_parameters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHAINS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


def figure_trace(tree: xr.DataTree, *, count: int = 5) -> "Figure":
    """Trace (left) and rank plot (right) of the parameters with the fewest effective draws.

    Args:
        tree: A result.
        count: How many parameters are shown; those that mixed best are left out.

    Raises:
        ValueError: No parameter varies over its draws.

    Example:
        >>> draws = np.random.default_rng(0).normal(size=(2, 50))
        >>> posterior = xr.Dataset({"well_t1": (("chain", "draw"), draws, {"units": "kJ/mol"})})
        >>> figure_trace(xr.DataTree.from_dict({"posterior": posterior})).axes[0].get_title()
        'well_t1 [kJ/mol]'
    """
    import arviz_plots
    import arviz_stats
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    labelled = scalar_parameters(require_variables(tree, "posterior"))
    units, draws = labelled["unit"].values, labelled.drop_vars("unit")
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

    figure = Figure(figsize=(8.0, 1.2 + 1.5 * len(names)), dpi=150, layout="constrained")
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
    for row, i in enumerate(worst):
        left, right = grid[row]
        unit = unit_text(str(units[i]))
        left.set_title(names[row] + (f" [{unit}]" if unit not in ("", "1") else ""), fontsize=10)
        right.set_ylabel("ECDF of ranks\nminus uniform", fontsize=8)
        right.yaxis.set_major_locator(MaxNLocator(3, symmetric=True))
        right.tick_params(axis="y", left=True, labelleft=True, labelsize=8)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            last = row == len(worst) - 1
            axes.tick_params(axis="x", labelbottom=last)
            axes.set_xlabel(("draw" if axes is left else "rank / number of draws") if last else "")
    _name_chains(grid[0, 1], draws.sizes["chain"])
    selected = (
        ""
        if len(worst) == len(varies)
        else f": the {len(worst)} of {len(varies)} parameters that mixed worst"
    )
    return finish(figure, tree, f"Traces and ranks{selected}")


def _name_chains(axes: "Axes", count: int) -> None:
    """Which colour is which chain, above the panel."""
    from matplotlib.lines import Line2D

    colours = [CHAINS[i % len(CHAINS)] for i in range(count)]
    handles = [Line2D([], [], color=colour, label=f"{i + 1}") for i, colour in enumerate(colours)]
    axes.legend(
        handles=handles[: len(CHAINS)], title="chain", title_fontsize=8, fontsize=8, ncols=len(CHAINS), frameon=False,
        loc="lower center", bbox_to_anchor=(0.5, 0.97), columnspacing=1.0, handlelength=1.2,
    )  # fmt: skip
