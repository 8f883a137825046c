"""Tables: one row per scalar parameter, and the seconds that each stage took."""

import csv
import io
from pathlib import Path

import numpy as np
import xarray as xr

from bayescg.output._progress import format_duration
from bayescg.output._result import read_stage_times, require_variables

_COLUMNS = ("mean", "sd", "lower", "upper", "prior_sd", "ess_bulk", "ess_tail", "r_hat")


def scalar_parameters(parameters: xr.Dataset) -> xr.DataArray:
    """Every scalar in a group of draws as one array: a spline's coefficient at 0.28 nm is `name[0.28]`.

    Args:
        parameters: Variables with the dimensions (chain, draw, ...).

    Returns:
        The array (chain, draw, parameter), with the parameters' labels and, as a second coordinate, their units.
    """
    columns, labels, units = [], [], []
    for name, variable in parameters.data_vars.items():
        inner = [str(dim) for dim in variable.dims if dim not in ("chain", "draw")]
        ordered = variable.transpose("chain", "draw", *inner)
        values = np.asarray(ordered.values, dtype=float)
        columns.append(values.reshape(*values.shape[:2], -1))
        for index in np.ndindex(*values.shape[2:]):
            position = [_label(ordered, dim, i) for dim, i in zip(inner, index, strict=True)]
            labels.append(f"{name}[{', '.join(position)}]" if position else str(name))
            units.append(str(variable.attrs.get("units", "")))
    return xr.DataArray(
        np.concatenate(columns, axis=2),
        dims=("chain", "draw", "parameter"),
        coords={"parameter": labels, "unit": ("parameter", units)},
        name="value",
    )


def parameter_table(tree: xr.DataTree, *, group: str = "posterior", probability: float = 0.9) -> xr.Dataset:
    """What the draws say about each parameter, and whether there are enough of them.

    Args:
        tree: A result.
        group: "posterior" (the calibrated one) or "posterior_raw".
        probability: Of the equal-tailed interval.

    Returns:
        Over `parameter`: mean, sd (standard deviation of the draws), lower and upper end of the interval, prior_sd,
        ess_bulk, ess_tail, r_hat (rank-normalised); NaN where the result can't say.

    Example:
        >>> draws = 3.0 + np.random.default_rng(0).normal(size=(4, 250))
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"stiffness": (("chain", "draw"), draws)})})
        >>> round(float(parameter_table(tree)["mean"].sel(parameter="stiffness")), 1)
        3.0
    """
    import arviz_stats

    draws = scalar_parameters(require_variables(tree, group))
    sample = ("chain", "draw")
    prior_sd = xr.full_like(draws.isel(chain=0, draw=0, drop=True), np.nan)
    if "prior" in tree.children:
        prior = scalar_parameters(require_variables(tree, "prior"))
        prior_sd = prior.std(sample, ddof=1).reindex(parameter=draws["parameter"])
    alone = xr.DataTree.from_dict({"posterior": xr.Dataset({"value": draws.drop_vars("unit")})})
    lower, upper = 0.5 - probability / 2, 0.5 + probability / 2
    columns = {
        "mean": draws.mean(sample),
        "sd": draws.std(sample, ddof=1),
        "lower": draws.quantile(lower, sample).drop_vars("quantile"),
        "upper": draws.quantile(upper, sample).drop_vars("quantile"),
        "prior_sd": prior_sd,
        "ess_bulk": arviz_stats.ess(alone, method="bulk")["value"],
        "ess_tail": arviz_stats.ess(alone, method="tail")["value"],
        "r_hat": arviz_stats.rhat(alone)["value"],
    }
    arrays = {name: ("parameter", np.asarray(column.values, dtype=float)) for name, column in columns.items()}
    return xr.Dataset(
        arrays,
        coords={"parameter": draws["parameter"].values, "unit": ("parameter", draws["unit"].values)},
        attrs={"group": group, "probability": probability},
    )


def write_parameter_table(table: xr.Dataset, path: Path) -> None:
    """Writes `parameter_table`'s rows as comma-separated values.

    Args:
        table: Made by `parameter_table`.
        path: The file to write.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> draws = np.random.default_rng(0).normal(size=(4, 250))
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"stiffness": (("chain", "draw"), draws)})})
        >>> with TemporaryDirectory() as folder:
        ...     write_parameter_table(parameter_table(tree), Path(folder) / "parameters.csv")
        ...     (Path(folder) / "parameters.csv").read_text().splitlines()[0]
        'parameter,unit,mean,sd,lower,upper,prior_sd,ess_bulk,ess_tail,r_hat'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["parameter", "unit", *_COLUMNS])
    for i, (label, unit) in enumerate(zip(table["parameter"].values, table["unit"].values, strict=True)):
        writer.writerow([label, unit, *(f"{float(table[name][i]):.8g}" for name in _COLUMNS)])
    path.write_text(text.getvalue(), encoding="utf-8")


def stage_table(tree: xr.DataTree) -> str:
    """Wall time per stage as plain text; the time spent compiling, part of the stages, stands apart.

    Example:
        >>> tree = xr.DataTree()
        >>> tree.attrs["wall_time_s"] = '{"search": 83.3, "sample": 32.9, "compile": 39.0}'
        >>> print(stage_table(tree))
        search    1 min 23 s
        sample          33 s
        total     1 min 56 s
        of which compiling 39 s
    """
    times = read_stage_times(tree)
    compiling = times.pop("compile", None)
    width = max((len(name) for name in times), default=0)
    width = max(width, len("total"))
    lines = [f"{name:<{width}}  {format_duration(seconds):>12}" for name, seconds in times.items()]
    lines.append(f"{'total':<{width}}  {format_duration(sum(times.values())):>12}")
    if compiling is not None:
        lines.append(f"of which compiling {format_duration(compiling)}")
    return "\n".join(lines)


def _label(variable: xr.DataArray, dim: str, index: int) -> str:
    if dim not in variable.coords:
        return str(index)
    value = variable.coords[dim].values[index]
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
