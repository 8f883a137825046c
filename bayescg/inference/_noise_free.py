"""Labels without noise: where a potential can say them exactly there is no noise scale to learn."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.inference._labelled import QUANTITIES, LabelledData
from bayescg.inference._linearised import LabelRows
from bayescg.inference._prior import Prior

ROUNDING = 1e-6
"""Residuals below this share of the labels' spread are rounding errors, not noise."""


NEAR = 0.05
"""Root mean square residual, in units of the spread, below which least squares are followed."""


class NoiseFreeLabels(InputError):
    """Noise scales were to be learned from labels that the potential says exactly."""


def learned_quantities(prior: Prior) -> tuple[str, ...]:
    """The quantities whose noise scales are among the prior's coordinates."""
    sites = {coordinate.site for coordinate in prior.coordinates}
    return tuple(name for name in QUANTITIES if f"noise_{name}" in sites)


def label_spread(data: LabelledData) -> Float[np.ndarray, " kind"]:
    """Standard deviation of each kind of label, energies per atom; the root mean square where all are equal.

    NaN where a group has no such label.
    """
    n_groups = len(data.groups)
    values: list[list[np.ndarray]] = [[] for _ in range(len(QUANTITIES) * n_groups)]
    for batch in data.batches:
        group = np.asarray(batch.group)
        of_atom = np.minimum(np.asarray(batch.environments.configuration), len(group) - 1)
        n_atoms = np.maximum(np.asarray(batch.environments.n_atoms), 1)
        for quantity, (labels, weight, groups) in enumerate(
            (
                (np.asarray(batch.energy) / n_atoms, batch.energy_weight, group),
                (np.asarray(batch.forces), batch.force_weight, group[of_atom]),
                (np.asarray(batch.stress), batch.stress_weight, group),
            )
        ):
            for g in range(n_groups):
                mine = (np.asarray(weight) > 0.0) & (groups == g)
                values[quantity * n_groups + g].append(labels[mine].ravel())
    spread = np.full(len(values), np.nan)
    for kind, parts in enumerate(values):
        labels = np.concatenate(parts)
        if len(labels):
            deviation = labels.std()
            spread[kind] = deviation if deviation > 0.0 else np.sqrt(np.mean(labels**2))
    return spread


def refuse_exact_labels(
    rows: LabelRows,
    *,
    spread: Float[np.ndarray, " kind"],
    n_groups: int,
    learned: tuple[str, ...],
    after: Callable[[Float[np.ndarray, " parameter"]], LabelRows] | None = None,
) -> None:
    """Raise where parameters exist at which all residuals vanish, so that no learned noise scale has a maximum.

    Args:
        rows: residuals and their Jacobian.
        spread: of the labels, see `label_spread`.
        n_groups: of the data.
        learned: quantities whose noise scales are learned.
        after: the rows at a step of the parameters from those of `rows`, where predictions are not linear: least
            squares are followed while each step halves the residuals.

    Raises:
        NoiseFreeLabels: residuals at rounding level, where they are or where least squares lead.
    """
    kinds = [k for k in np.unique(rows.kind) if QUANTITIES[k // n_groups] in learned]
    if not kinds:
        return
    scale = np.where(spread[rows.kind] > 0.0, spread[rows.kind], 1.0)
    moved = np.zeros(rows.jacobian.shape[1])
    while True:
        _refuse(rows.residual / scale, rows.kind, kinds, n_groups)
        jacobian, residual = rows.jacobian / scale[:, None], rows.residual / scale
        size = np.linalg.norm(jacobian, axis=0)
        size = np.where(size > 0.0, size, 1.0)
        step = np.linalg.lstsq(jacobian / size, residual, rcond=1e-13)[0] / size
        remaining = residual - jacobian @ step
        if np.max(np.abs(remaining)) < ROUNDING:
            _refuse(remaining, rows.kind, kinds, n_groups)
        if after is None or np.sqrt(np.mean(remaining**2)) > NEAR:
            return
        moved = moved - step
        try:
            rows = after(moved)
        except InputError:  # predictions that are not finite: least squares lead nowhere
            return
        if np.sqrt(np.mean((rows.residual / scale) ** 2)) > 0.5 * np.sqrt(np.mean(residual**2)):
            return


def _refuse(residual: np.ndarray, kind: np.ndarray, kinds: list[int], n_groups: int) -> None:
    for one in kinds:
        size = float(np.sqrt(np.mean(residual[kind == one] ** 2)))
        if size < ROUNDING:
            name = QUANTITIES[one // n_groups]
            raise NoiseFreeLabels(
                f"the potential says the labels '{name}' to {size:.1g} of their spread: they have no noise, or are fewer"
                f" than the parameters, and a noise scale cannot be learned from them; give NoiseScale(known=...) for"
                f" '{name}'"
            )
