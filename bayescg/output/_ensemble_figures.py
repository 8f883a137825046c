"""The figure of coverage by ensemble: posterior and ensembles side by side."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayescg.analysis import ensemble_words, pooled_coverage
from bayescg.output._canvas import DATA, LIMIT, POSTERIOR, finish, panels
from bayescg.output._result import require_variables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORDS = {"energy": "energies", "forces": "forces", "stress": "stresses"}
LOOKS = {
    "posterior": (POSTERIOR, "o"),
    "pops": (LIMIT, "s"),
    "discrepancy": ("#009E73", "^"),
    "bootstrap": ("#CC79A7", "D"),
}
COMPARED = ("coverage", "width", "residual", "count", "configurations", "linearisation_error")
"""The variables of `coverage_by_ensemble` that tables and figures need."""


def figure_coverage_by_ensemble(tree: xr.DataTree) -> "Figure":
    """Actual minus nominal coverage of held-out labels by the posterior and every ensemble, one panel per quantity.

    Args:
        tree: A result with the group `coverage_by_ensemble`.

    Example:
        >>> shares = np.array([[0.1, 0.3], [0.5, 0.91], [0.52, 0.9], [0.8, 1.0]]).reshape(2, 2, 1, 1, 2)
        >>> by_group = ("ensemble", "interval", "quantity", "group", "level")
        >>> table = xr.Dataset(
        ...     {"coverage": (by_group, shares), "width": (by_group, 1.0 + shares),
        ...      "residual": (("ensemble", "quantity", "group"), [[[0.4]], [[0.4]]]),
        ...      "count": (("quantity", "group"), [[900]]), "configurations": (("quantity", "group"), [[300]]),
        ...      "linearisation_error": ("ensemble", [0.0, 0.0])},
        ...     coords={"ensemble": ["posterior", "pops"], "interval": ["parameters alone", "with noise"],
        ...             "quantity": ["forces"], "level": [0.5, 0.9], "unit": ("quantity", ["eV/angstrom"])},
        ... )
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset(), "coverage_by_ensemble": table})
        >>> figure_coverage_by_ensemble(tree).get_suptitle()
        'Coverage of held-out labels by ensemble'
    """
    pooled = pooled_coverage(require_variables(tree, "coverage_by_ensemble", *COMPARED))
    quantities = [str(name) for name in pooled["quantity"].values]
    count = max(len(quantities), 1)
    figure, column = panels(count, ratios=(1.0,) * count, size=(7.2, 1.2 + 2.5 * count))
    for axes, quantity in zip(column, quantities):
        _one_quantity(axes, pooled.sel(quantity=quantity), quantity)
    column[-1].set_xlabel("nominal coverage [%]")
    column[0].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    groups = tuple(name for name, node in tree.children.items() if "ensemble" in node.attrs)
    return finish(figure, tree, "Coverage of held-out labels by ensemble", groups=("posterior", *groups))


def _one_quantity(axes: "Axes", pooled: xr.Dataset, quantity: str) -> None:
    level = 100 * pooled["level"].values
    least = 100 * pooled["least_difference"].values
    axes.fill_between(level, -least, least, color="#E6E6E6", linewidth=0, label="as nominal")
    axes.plot(level, 0.0 * level, color=DATA, linewidth=1.0, linestyle="--")
    axes.plot(level, 100.0 - level, color="#AAAAAA", linewidth=0.8)  # no interval holds more than everything
    for interval, style in (("parameters alone", "-"), ("with noise", ":")):
        for name in map(str, pooled["ensemble"].values):
            actual = 100 * pooled["coverage"].sel(ensemble=name, interval=interval).values
            if not np.isfinite(actual).all():
                continue
            colour, mark = LOOKS.get(name, (DATA, "v"))
            axes.plot(
                level, actual - level, style, marker=mark, ms=5.5, color=colour, linewidth=1.2,
                mfc=colour if style == "-" else "white", label=ensemble_words(name, interval),
            )  # fmt: skip
    axes.set_ylabel(f"{WORDS[quantity]}: actual − nominal [%]", fontsize=8)
    axes.set_xticks(level)
