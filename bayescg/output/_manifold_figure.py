"""The way to the edge of the model manifold, as a figure."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayescg.output._canvas import DATA, LIMIT, POSTERIOR, PRIOR, legend_above, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = (
    (POSTERIOR, "-"), (LIMIT, "--"), (DATA, "-."), (PRIOR, ":"), (POSTERIOR, ":"), (LIMIT, "-."), (DATA, "--"),
    (PRIOR, "-"), (POSTERIOR, "--"), (LIMIT, ":"), (DATA, ":"), (PRIOR, "--"),
)  # fmt: skip
"""Colour and style of each parameter's line; a geodesic is looked for up to twelve."""
LETTERS = 90
"""That fit into a line of the legend."""
NO_LENGTH = 1e-12
"""Share of the first eigenvalue below which it is zero but for rounding."""


def figure_boundary(data: xr.Dataset) -> "Figure":
    """Parameters along the geodesic in the softest direction, and what data would see of a step along it.

    Args:
        data: of `analysis.determination_dataset`, with a geodesic.

    Example:
        >>> step = np.linspace(0.0, 5.0, 50)
        >>> data = xr.Dataset(
        ...     {
        ...         "geodesic": (("step", "parameter"), np.stack([step, np.exp(-step)], axis=1)),
        ...         "geodesic_smallest_eigenvalue": ("step", np.exp(-2 * step)), "geodesic_log_speed": ("step", step),
        ...     },
        ...     coords={"parameter": ["k1", "k2"]},
        ...     attrs={"boundary": "k1 -> infinity: one parameter fewer", "boundary_end": "parameters run to a limit"},
        ... )
        >>> figure_boundary(data).get_suptitle()
        'Along the softest direction: parameters run to a limit'
    """
    from matplotlib.ticker import LogFormatterSciNotation

    z = data["geodesic"].transpose("step", "parameter").values
    length = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(z, axis=0), axis=1)))
    figure, (top, bottom) = panels(2, ratios=(1.5, 1.0), size=(7.0, 5.4))
    top.axhline(0.0, color=PRIOR, linewidth=0.7)
    names = [str(name) for name in data["parameter"].values]
    for name, values, (color, style) in zip(names, (z - z[0]).T, LINES, strict=False):
        top.plot(length, values, color=color, linestyle=style, linewidth=1.4, label=name)
    eigenvalue = data["geodesic_smallest_eigenvalue"].values
    seen = eigenvalue > NO_LENGTH * max(float(eigenvalue[0]), 1e-300)  # below it is rounding
    bottom.plot(
        length[seen], eigenvalue[seen], color=POSTERIOR, label="smallest eigenvalue of the information"
    )
    speed = np.exp(2.0 * (data["geodesic_log_speed"].values[0] - data["geodesic_log_speed"].values))
    bottom.plot(
        length[seen], (eigenvalue[seen][0] * speed[seen]) if seen.any() else [], color=LIMIT, linestyle="--",
        label="information of a step along the geodesic",
    )  # fmt: skip
    bottom.set_yscale("log")
    # a fall by less than two decades has too few powers of ten to be read off
    bottom.yaxis.set_minor_formatter(
        LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(2.0, 0.5))
    )
    bottom.tick_params(axis="y", which="minor", labelsize=7)
    top.set_ylabel("coordinate, change\nfrom the best fit")
    bottom.set_ylabel("information\nper frame")
    bottom.set_xlabel("length of the way in the unconstrained coordinates")
    bottom.set_xlim(0.0, float(length[-1]))
    legend_above(top, max(1, min(4, len(names), LETTERS // (max(map(len, names)) + 8))))
    legend_above(bottom, 2)
    figure.suptitle(f"Along the softest direction: {data.attrs['boundary_end']}", fontsize=12)
    figure.supxlabel("\n".join(textwrap.wrap(str(data.attrs["boundary"]), 130)), fontsize=7, color="#555555")
    return figure
