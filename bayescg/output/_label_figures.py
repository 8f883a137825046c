"""Figures of labelled data: residuals against what was expected of them, coverage, properties with bands."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayescg.output._canvas import DATA, LIMIT, POSTERIOR, PRIOR, finish, legend_above, panels
from bayescg.output._result import property_source, require_variables, unit_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUANTITIES = ("energy", "forces", "stress")
WORDS = {"energy": "energy per atom", "forces": "force component", "stress": "stress component"}
MARKS = {"energy": "o", "forces": "s", "stress": "^"}
COLOURS = {"energy": POSTERIOR, "forces": LIMIT, "stress": "#009E73"}


def figure_residuals(tree: xr.DataTree) -> "Figure":
    """How far predictions miss the labels, in units of the predictive standard deviation, against a normal law.

    Args:
        tree: A result of labelled data.

    Example:
        >>> residual = np.random.default_rng(0).normal(size=200)
        >>> rows = xr.Dataset({"residual": ("row", residual), "sd": ("row", 0 * residual), "noise": ("row", 0 * residual + 1)})
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset(), "labels/train/forces": rows})
        >>> len(figure_residuals(tree).axes[0].lines)  # the normal law, and the forces' points
        2
    """
    figure, (axes,) = panels(1, size=(6.2, 4.6))
    grid = np.linspace(0.0, 5.0, 200)
    axes.plot(grid, _normal_tail(grid), color=DATA, linewidth=1.2, linestyle="--", label="normal law")
    for part, filled in (("train", True), ("held_out", False)):
        for quantity in QUANTITIES:
            rows = _rows(tree, part, quantity)
            if rows is None:
                continue
            scale = np.hypot(rows["sd"].values, rows["noise"].values)
            size = np.sort(np.abs(rows["residual"].values) / scale)
            share = 1.0 - (np.arange(len(size)) + 0.5) / len(size)
            shown = np.unique(np.geomspace(1, len(size), 40).astype(int) - 1)
            axes.plot(
                np.minimum(size[::-1][shown], 5.0), share[::-1][shown], MARKS[quantity], ms=4.5,
                color=COLOURS[quantity], mfc=COLOURS[quantity] if filled else "white",
                label=f"{WORDS[quantity]}, {'training' if filled else 'held-out'}",
            )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlim(0.0, 5.1)
    axes.set_xlabel("|prediction − label| / predictive standard deviation\n(5 and more at the edge)")
    axes.set_ylabel("share of labels that lie farther off")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return finish(figure, tree, "Residuals: training (filled), held-out (open)")


def _rows(tree: xr.DataTree, part: str, quantity: str) -> xr.Dataset | None:
    node = tree.children.get("labels")
    for name in (part, quantity):
        node = None if node is None else node.children.get(name)
    return None if node is None else node.to_dataset()


def _normal_tail(x: np.ndarray) -> np.ndarray:
    from scipy.special import erfc

    return erfc(x / np.sqrt(2.0))


def figure_coverage(tree: xr.DataTree) -> "Figure":
    """Nominal against actual coverage of held-out labels, with and without noise.

    Args:
        tree: A result with the group `coverage`.

    Example:
        >>> shares = (("quantity", "group", "level"), np.array([[[0.5, 0.9]]]))
        >>> group = xr.Dataset(
        ...     {"coverage": shares, "coverage_parameters": shares, "count": (("quantity", "group"), [[30]])},
        ...     coords={"quantity": ["forces"], "level": [0.5, 0.9]},
        ... )
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset(), "coverage": group})
        >>> figure_coverage(tree).get_suptitle()
        'Coverage of held-out labels'
    """
    coverage = require_variables(tree, "coverage", "coverage", "coverage_parameters", "count")
    figure, (axes,) = panels(1, size=(6.2, 4.6))
    axes.plot([0, 1], [0, 1], color=DATA, linewidth=1.2, linestyle="--", label="as it should be")
    level = coverage["level"].values
    for quantity in coverage["quantity"].values:
        count = coverage["count"].sel(quantity=quantity).values
        if not count.sum():
            continue
        for name, style, filled, words in (
            ("coverage", "-", True, "with noise"),
            ("coverage_parameters", ":", False, "parameters alone"),
        ):
            share = np.nan_to_num(coverage[name].sel(quantity=quantity).values)
            actual = (share * count[:, None]).sum(axis=0) / count.sum()
            axes.plot(
                level, actual, style, marker=MARKS[str(quantity)], color=COLOURS[str(quantity)], ms=5.5,
                mfc=COLOURS[str(quantity)] if filled else "white", label=f"{WORDS[str(quantity)]}, {words}",
            )  # fmt: skip
    axes.set_xlim(0.4, 1.0)
    axes.set_ylim(0.0, 1.03)
    axes.set_xlabel("nominal coverage")
    axes.set_ylabel("share of held-out labels inside")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return finish(figure, tree, "Coverage of held-out labels")


def figure_sloppiness(tree: xr.DataTree) -> "Figure":
    """The eigenvalues of the information, and which parameters each combination is made of.

    Args:
        tree: A result with the group `sloppiness`.

    Example:
        >>> group = xr.Dataset(
        ...     {"eigenvalue": ("direction", [4.0, 1e-3]), "eigenvector": (("direction", "parameter"), np.eye(2))},
        ...     coords={"parameter": ["a", "b"]},
        ... )
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset(), "sloppiness": group})
        >>> figure_sloppiness(tree).get_suptitle()
        'Information spans 3.6 decades'
    """
    group = require_variables(tree, "sloppiness", "eigenvalue", "eigenvector")
    from matplotlib.ticker import MaxNLocator

    value = group["eigenvalue"].values.astype(float)
    names = [str(name) for name in group["parameter"].values]
    order = np.argsort(value)[::-1]
    value, weight = value[order], group["eigenvector"].values[order] ** 2
    informed = value > 0.0
    n, shown = len(value), len(names) <= 30
    width = min(4.5 + 0.35 * n, 9.0)
    figure, column = panels(
        2 if shown else 1,
        ratios=(1.0, max(0.6, 0.13 * n)) if shown else (1.0,),
        size=(width, 6.2 if shown else 4.0),
    )
    direction = np.arange(1, n + 1)
    column[0].plot(direction[informed], value[informed], "o", color=POSTERIOR)
    column[0].vlines(
        direction[informed], value[informed].min() / 3.0, value[informed], color="#CCCCCC", lw=1, zorder=1
    )
    column[0].set_yscale("log")
    column[0].set_ylabel("information per configuration")
    column[-1].set_xlabel("combination of parameters, best known first")
    column[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    if shown:
        column[1].imshow(
            weight.T, aspect="auto", cmap="Blues", vmin=0.0, vmax=1.0, extent=(0.5, n + 0.5, n - 0.5, -0.5)
        )
        column[1].set_yticks(range(n), names, fontsize=8)
        for i, j in np.ndindex(n, n):
            if weight[i, j] >= 0.05:
                dark = weight[i, j] > 0.5
                column[1].text(
                    i + 1,
                    j,
                    f"{weight[i, j]:.2f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if dark else DATA,
                )
    decades = np.log10(value[informed].max() / value[informed].min())
    return finish(figure, tree, f"Information spans {decades:.1f} decades")


def figure_properties(tree: xr.DataTree) -> "Figure":
    """Bands of the properties at the draws that they were computed at, each about its own median.

    Args:
        tree: A result with the group `property`.

    Example:
        >>> group = xr.Dataset(
        ...     {"value": (("draw", "component"), np.array([[5.42], [5.43], [5.44]])),
        ...      "unit": ("component", ["angstrom"])},
        ...     coords={"component": ["si_lattice_a"]},
        ... )
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset(), "property": group})
        >>> [text.get_text() for text in figure_properties(tree).axes[0].get_yticklabels()]
        ['si_lattice_a']
    """
    group = require_variables(tree, "property", "value")
    names = [str(name) for name in group["component"].values]
    units = [unit_text(str(unit)) for unit in group["unit"].values]
    left_out = ("_phonon_", "_clamped", "_unrelaxed")
    kept = [i for i, name in enumerate(names) if not any(part in name for part in left_out)]
    figure, (axes,) = panels(1, size=(7.0, 1.4 + 0.34 * len(kept)))
    for row, i in enumerate(kept):
        draws = group["value"].values[:, i]
        draws = draws[np.isfinite(draws)]
        if not len(draws):
            axes.text(0.0, row, "no draw could be computed", fontsize=8, va="center", ha="center")
            continue
        q05, q25, q50, q75, q95 = np.quantile(draws, [0.05, 0.25, 0.5, 0.75, 0.95])
        scale = max(abs(q50), 1e-300) / 100.0
        axes.barh(row, (q95 - q05) / scale, left=(q05 - q50) / scale, height=0.5, color=POSTERIOR, alpha=0.25)
        axes.barh(row, (q75 - q25) / scale, left=(q25 - q50) / scale, height=0.5, color=POSTERIOR, alpha=0.45)
        unit = "" if units[i] == "1" else f" {units[i]}"
        axes.annotate(
            f"{q50:.5g}{unit}", (1.01, row), xycoords=("axes fraction", "data"), fontsize=8, va="center"
        )
    axes.axvline(0.0, color=PRIOR, linewidth=1.0)
    axes.margins(x=0.05)
    axes.set_yticks(range(len(kept)), [names[i] for i in kept], fontsize=8)
    axes.invert_yaxis()
    source, words = property_source(tree)
    axes.set_xlabel(f"difference from the median [% of the median]; 50 and 90 % of the {words}")
    return finish(figure, tree, "Properties", groups=(source,))


def figure_phonons(tree: xr.DataTree) -> "Figure":
    """Phonon dispersion with its band.

    Args:
        tree: A result whose group `property` holds phonon frequencies.

    Example:
        >>> names = [f"si_phonon_{wave}_0" for wave in range(3)]
        >>> group = xr.Dataset(
        ...     {"value": (("draw", "component"), np.array([[0.0, 4.0, 6.0], [0.0, 4.2, 6.1]])),
        ...      "unit": ("component", ["THz"] * 3)},
        ...     coords={"component": names},
        ... )
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset(), "property": group})
        >>> figure_phonons(tree).get_suptitle()
        'Phonon dispersion'
    """
    group = require_variables(tree, "property", "value")
    names = [str(name) for name in group["component"].values]
    families = dict.fromkeys(name.split("_phonon_")[0] for name in names if "_phonon_" in name)
    source, words = property_source(tree)
    figure, column = panels(
        len(families), ratios=(1.0,) * len(families), size=(6.2, 0.8 + 3.4 * len(families)), share=False
    )
    for axes, family in zip(column, families, strict=True):
        _one_dispersion(axes, group, names, family, words)
    legend_above(column[0], 3)
    return finish(figure, tree, "Phonon dispersion", groups=(source,))


def _one_dispersion(axes: "Axes", group: xr.Dataset, names: list[str], family: str, words: str) -> None:
    columns = [i for i, name in enumerate(names) if name.startswith(f"{family}_phonon_")]
    places = np.asarray([[int(part) for part in names[i].split("_")[-2:]] for i in columns])
    n_waves, n_branches = places.max(axis=0) + 1
    values = group["value"].values[:, columns]
    values = values[np.all(np.isfinite(values), axis=1)].reshape(-1, n_waves, n_branches)
    if not len(values):
        axes.text(0.5, 0.5, "no draw could be computed", transform=axes.transAxes, ha="center")
        return
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95], axis=0)
    for branch in range(n_branches):
        first = branch == 0
        axes.fill_between(
            range(n_waves), low[:, branch], high[:, branch], color=POSTERIOR, alpha=0.3, linewidth=0,
            label=f"{words}, 90 %" if first else None,
        )  # fmt: skip
        axes.plot(middle[:, branch], color=POSTERIOR, linewidth=1.0, label="median" if first else None)
    axes.set_xlim(0, n_waves - 1)
    axes.set_ylabel(f"{family}: frequency [{unit_text(str(group['unit'].values[columns[0]]))}]")
    axes.set_xlabel("wave vectors along the path")
