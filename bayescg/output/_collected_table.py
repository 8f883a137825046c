"""What runs elsewhere predict, as a table of the terminal."""

import numpy as np
import xarray as xr

COLUMNS = (
    "observable",
    "unit",
    "mean",
    "parametric_sd",
    "simulation_sd",
    "noise_sd",
    "lower",
    "upper",
    "at_mean",
)


def collected_table(tree: xr.DataTree) -> str:
    """One row per observable: mean, standard deviations of its parts, band, and the run of the posterior mean potential.

    `parametric_sd` is what the parameters make, `simulation_sd` the Monte-Carlo error of the mean, `noise_sd` what finite
    simulation adds to the spread of the draws' means; `lower` and `upper` are the band for the value at a further draw. Of a
    curve the row is for the place where parameters make the most.

    Args:
        tree: of `collect`.

    Returns:
        The table, without a line end.

    Example:
        >>> one = {"mean": 1.5, "parametric_sd": 0.25, "simulation_sd": 0.1, "noise_sd": 0.2, "lower": 1.1, "upper": 1.9}
        >>> data = xr.Dataset(one | {"at_mean_potential": 1.48})
        >>> data["mean"].attrs["units"] = "bar"
        >>> print(collected_table(xr.DataTree.from_dict({"pressure": data})))
        observable  unit  mean  parametric_sd  simulation_sd  noise_sd  lower  upper  at_mean
        pressure    bar    1.5           0.25            0.1       0.2    1.1    1.9     1.48
    """
    rows = [list(COLUMNS)]
    for name, node in tree.children.items():
        data, label = node.to_dataset(), name
        if data["mean"].ndim:
            (dim,) = data["mean"].dims
            data = data.isel({dim: int(np.argmax(data["parametric_sd"].values))})
            label = f"{name}({dim}={float(data[dim]):.3g})"
        numbers = [*COLUMNS[2:-1], "at_mean_potential"]
        rows.append([label, str(data["mean"].attrs["units"]), *(f"{float(data[n]):.4g}" for n in numbers)])
    widths = [max(len(row[k]) for row in rows) for k in range(len(COLUMNS))]
    lines = []
    for row in rows:
        words = [
            t.ljust(w) if k < 2 else t.rjust(w) for k, (t, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(words).rstrip())
    return "\n".join(lines)
