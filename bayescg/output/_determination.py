"""What the data determine, as a table in text and as figures."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayescg.output._canvas import DATA, LIMIT, POSTERIOR, PRIOR, panels
from bayescg.output._text_table import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 12
"""Profiles that a figure shows: those of the parameters that are known worst."""
MOST_NAMES = 4
"""Parameters of a combination beyond which it is not told in words."""
MOST_BARS = 24
"""Combinations that a figure shows, half of them the best known, half the worst."""
MOST_EIGENVALUES = 12
"""Eigenvalues of the observed Fisher information in the table, half of them the largest, half the smallest."""
MOST_SHARES = 3
"""Parameters of a combination whose shares are told."""
LETTERS = 90
"""That fit into the width of a figure of combinations."""
LEAST_CONTRACTION = 0.1
"""Contraction below which the prior dominates."""
LEVEL = 1.92
"""Fall that bounds a 95 % interval."""
HEAD = ("parameter", "verdict", "contraction", "nats", "prior sens.", "data sens.", "95 % by profile")


def determination_table(data: xr.Dataset) -> str:
    """A line for each parameter and each combination, which parameters take most part in it among them.

    Args:
        data: of `analysis.determination_dataset`; participation is told where it was stored.
    """
    rows: list[tuple[str, ...]] = [HEAD]
    for name in data["parameter"].values:
        row = data.sel(parameter=name)
        low, high = (float(value) for value in data["interval"].sel(profile=name).values)
        rows.append(
            (
                str(name),
                str(row["verdict"].item()),
                f"{float(row['contraction']):.3f}",
                f"{float(row['information_gain']):.1f}",
                f"{float(row['prior_sensitivity']):.2f}",
                f"{float(row['likelihood_sensitivity']):.2f}",
                f"{_end(low)} .. {_end(high)}",
            )
        )
    lines = aligned(rows, left=(0, 1))
    lines.append("")
    for k, reason in enumerate(data["combination_reason"].values.tolist()):
        shares = _shares(data, "participation", k)
        lines.append(f"{k + 1}. {reason}" + (f" ({', '.join(shares)})" if shares else ""))
    return "\n".join(lines + _fisher_lines(data))


def _fisher_lines(data: xr.Dataset) -> list[str]:
    """Eigenvalues of the observed Fisher information with the parameters that take part; none where they were not stored."""
    if "fisher_participation" not in data:
        return []
    eigenvalue = data["fisher_eigenvalue"].values
    rows = [("observed information", "participation")]
    for k in _shown(len(eigenvalue), MOST_EIGENVALUES):
        rows.append((f"{k + 1}. {eigenvalue[k]:.3g}", ", ".join(_shares(data, "fisher_participation", k))))
    note = (
        "In brackets: the largest participations, shares of parameters in a combination. Observed information: eigenvalues of"
        " the curvature of the log likelihood per frame, without the prior."
    )
    return ["", *aligned(rows, left=(0, 1)), "", note]


def _shares(data: xr.Dataset, variable: str, k: int) -> list[str]:
    """The parameters that take most part in a direction; none where it was not stored."""
    if variable not in data:
        return []
    names, shares = data["parameter"].values, data[variable].transpose(..., "parameter").values[k]
    largest = np.argsort(-shares, kind="stable")[:MOST_SHARES]
    return [f"{names[i]} {_percent(float(shares[i]))}" for i in largest if shares[i] >= 0.0005]


def _percent(share: float) -> str:
    digits = 1 if share < 0.01 or 0.99 < share < 0.9995 else 0
    return f"{100.0 * share:.{digits}f} %"


def _end(value: float) -> str:
    return "open" if np.isnan(value) else f"{value:.4g}"


def figure_profiles(data: xr.Dataset) -> "Figure":
    """Profiles of the parameters that are known worst: posterior, and likelihood alone.

    Args:
        data: of `analysis.determination_dataset`.

    Example:
        >>> grid = np.linspace(-3.0, 3.0, 7)
        >>> data = xr.Dataset(
        ...     {
        ...         "verdict": ("parameter", ["identified"]), "contraction": ("parameter", [0.9]),
        ...         "grid": (("profile", "point"), [grid]), "profile_log_density": (("profile", "point"), [-(grid**2) / 2]),
        ...         "profile_log_likelihood": (("profile", "point"), [-(grid**2) / 3]),
        ...     },
        ...     coords={"parameter": ["k"], "profile": ["k"]},
        ... )
        >>> figure_profiles(data).axes[0].get_title()
        'k: identified'
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = data["parameter"].values[np.argsort(data["contraction"].values)[:MOST_PANELS]]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.6 * columns + 0.6, 2.1 * rows + 0.9), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in grid.ravel()[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.ravel(), names, strict=False):
        _profile(axes, data, str(name))
    for axes in grid[:, 0]:
        axes.set_ylabel("fall of log density")
    grid[0, 0].legend(fontsize=6.5, frameon=False, loc="lower center")
    figure.suptitle("Profiles, the least known parameters first", fontsize=12)
    figure.supxlabel(
        "unconstrained coordinates: the logarithm of a parameter that is positive; dotted: 1.92, which bounds 95 %",
        fontsize=7,
        color="#555555",
    )
    return figure


def _profile(axes: "Axes", data: xr.Dataset, name: str) -> None:
    one = data.sel(profile=name)
    x = one["grid"].values
    axes.axhline(-LEVEL, color=PRIOR, linestyle=":", linewidth=0.9)
    axes.plot(
        x, one["profile_log_density"].values, color=POSTERIOR, marker=".", markersize=3, label="posterior"
    )
    axes.plot(
        x,
        one["profile_log_likelihood"].values,
        color=LIMIT,
        linestyle="--",
        linewidth=1.0,
        label="likelihood",
    )
    axes.set_ylim(-5.0, 0.4)
    axes.set_title(f"{name}: {data['verdict'].sel(parameter=name).item()}", fontsize=7.5)
    axes.tick_params(labelsize=7)
    axes.locator_params(axis="x", nbins=4)
    axes.spines[["top", "right"]].set_visible(False)


def figure_combinations(data: xr.Dataset) -> "Figure":
    """How much of each combination the data decide, in words that name it; on the bars who takes most part in it.

    Args:
        data: of `analysis.determination_dataset`.

    Example:
        >>> data = xr.Dataset(
        ...     {"combination_contraction": ("combination", [0.99]), "exponent": (("combination", "parameter"), [[1.0, 6.0]])},
        ...     coords={"combination": ["epsilon sigma^6"], "parameter": ["epsilon", "sigma"]},
        ... )
        >>> figure_combinations(data).axes[0].get_yticklabels()[0].get_text()
        'epsilon sigma^6'
    """
    contraction = data["combination_contraction"].values
    first = _shown(len(contraction), MOST_BARS)
    figure, (axes,) = panels(1, size=(7.0, 0.9 + 0.26 * len(first)))
    place = np.arange(len(first))[::-1]
    axes.barh(place, contraction[first], color=POSTERIOR, alpha=0.75, height=0.7)
    axes.axvline(LEAST_CONTRACTION, color=LIMIT, linestyle="--", linewidth=1.0)
    members = np.sum(data["exponent"].values != 0.0, axis=1)
    texts = data["combination"].values
    labels = [
        str(texts[k]) if members[k] <= MOST_NAMES else f"no. {k + 1}, of {members[k]} parameters"
        for k in first
    ]
    axes.set_yticks(place, labels, fontsize=7)
    for y, k in zip(place, first, strict=True):
        _write_shares(axes, y, float(contraction[k]), _shares(data, "participation", int(k)))
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(-0.6, len(first) - 0.4)
    axes.set_xlabel("contraction (left of the line the prior dominates)")
    figure.suptitle("Combinations that the data determine independently", fontsize=12)
    return figure


def _write_shares(axes: "Axes", y: float, contraction: float, shares: list[str]) -> None:
    """As many shares as fit, in white on a long bar and beside a short one."""
    inside, beside = contraction - LEAST_CONTRACTION, 1.0 - max(contraction, LEAST_CONTRACTION)
    while len(", ".join(shares)) > LETTERS * max(inside, beside) and len(shares) > 1:
        shares = shares[:-1]
    on_bar = inside >= beside
    axes.annotate(
        ", ".join(shares), (LEAST_CONTRACTION if on_bar else max(contraction, LEAST_CONTRACTION), y), xytext=(5, 0),
        textcoords="offset points", va="center", fontsize=6.5, color="white" if on_bar else DATA,
    )  # fmt: skip


def _shown(n: int, most: int) -> np.ndarray:
    """All, or the best known and the worst known."""
    half = most // 2
    return np.arange(n) if n <= most else np.concatenate([np.arange(half), np.arange(n - (most - half), n)])
