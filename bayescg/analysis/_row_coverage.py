"""Coverage and width of intervals about rows of labels whose derivatives are known: many methods, one set of rows."""

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.inference import LabelRows
from bayescg.inference._labelled import QUANTITIES

LEVELS = (0.5, 0.8, 0.9, 0.95)
ROWS_AT_ONCE = 4096


def row_coverage(
    rows: LabelRows,
    steps: Float[np.ndarray, "draw parameter"],
    *,
    groups: tuple[str, ...],
    noise: Float[np.ndarray, "draw kind"] | None = None,
    levels: tuple[float, ...] = LEVELS,
    seed: int = 0,
) -> xr.Dataset:
    """Share of labels inside central intervals of linearised predictions, and how wide these are.

    What `label_coverage` reports, for rows that are at hand and draws of any origin.

    Args:
        rows: `label_rows` at some parameters.
        steps: draws of the parameters, from those of the rows.
        groups: names that the rows' kinds count along.
        noise: standard deviations that each draw gives to each kind, added to its predictions; default none.
        levels: nominal coverages.
        seed: of the noise.

    Returns:
        `coverage` and mean `width` of the intervals [quantity group level], NaN where a group has no such label;
        `count` and `residual`, the root mean square at the draws' mean [quantity group].

    Raises:
        InputError: fewer than 50 draws, or steps of another number of parameters.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rows = LabelRows(
        ...     rng.normal(size=1000), np.ones((1000, 1)), np.zeros(1000, int), np.ones(1000), np.arange(1000)
        ... )
        >>> report = row_coverage(rows, rng.normal(size=(2000, 1)), groups=("all",))
        >>> report["coverage"].sel(quantity="energy", group="all", level=0.9).item() > 0.85
        True
    """
    if len(steps) < 50 or np.shape(steps)[1:] != rows.jacobian.shape[1:]:
        raise InputError(
            f"coverage: steps of shape {np.shape(steps)}; at least 50 draws of {rows.jacobian.shape[1]} parameters"
        )
    rng = np.random.default_rng(seed)
    tails = np.concatenate([[0.5 - level / 2.0, 0.5 + level / 2.0] for level in levels])
    inside, width = np.zeros((2, len(levels), len(rows.residual)))
    square = (rows.residual + rows.jacobian @ np.mean(steps, axis=0)) ** 2
    for first in range(0, len(rows.residual), ROWS_AT_ONCE):
        some = slice(first, first + ROWS_AT_ONCE)
        values = rows.residual[some, None] + rows.jacobian[some] @ np.transpose(steps)
        if noise is not None:
            values = values + np.transpose(noise)[rows.kind[some]] * rng.normal(size=values.shape)
        ends = np.quantile(values, tails, axis=1).reshape(len(levels), 2, -1)
        inside[:, some] = (ends[:, 0] <= 0.0) & (ends[:, 1] >= 0.0)
        width[:, some] = ends[:, 1] - ends[:, 0]
    shape = (len(QUANTITIES), len(groups))
    count = np.bincount(rows.kind, minlength=len(QUANTITIES) * len(groups))
    number = np.where(count > 0, count, np.nan)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(rows.kind, weights=values, minlength=len(count)) / number

    by_level = ("quantity", "group", "level")
    return xr.Dataset(
        {
            "coverage": (by_level, np.stack([mean(v) for v in inside], -1).reshape(*shape, len(levels))),
            "width": (by_level, np.stack([mean(v) for v in width], -1).reshape(*shape, len(levels))),
            "count": (("quantity", "group"), count.reshape(shape)),
            "residual": (("quantity", "group"), np.sqrt(mean(square)).reshape(shape)),
        },
        coords={"quantity": list(QUANTITIES), "group": list(groups), "level": list(levels)},
        attrs={"intervals": "parameters only" if noise is None else "with noise"},
    )
