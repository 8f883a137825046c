"""Coverage of held-out labels by several ensembles of draws side by side, and what it says of each."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.analysis._label_coverage import parameters_and_noise
from bayescg.analysis._row_coverage import LEVELS, row_coverage
from bayescg.data import UnitSystem
from bayescg.errors import InputError
from bayescg.inference import LABEL_QUANTITIES, LabelledData, Prior, label_rows
from bayescg.inference._labelled import QUANTITIES
from bayescg.inference._linearised import LabelRows, parameter_vector
from bayescg.physics._design_matrix import has_design_matrix

ALONE, NOISY = "parameters alone", "with noise"
"""The two kinds of intervals."""
NARROW, NOMINAL, WIDE = "too narrow", "as nominal", "too wide"
"""The verdicts on an ensemble's intervals."""
LEAST_DIFFERENCE = 0.05
"""Difference between actual and nominal coverage that counts as none, however many labels there are."""
VANISHING = 1e-9
"""Rows whose residual and derivatives are below this share of the largest ones are 0 by symmetry and say nothing."""
BENT = 0.3
"""Share of their changes that linear predictions may miss at an ensemble's draws."""


class CoverageDraws(NamedTuple):
    """Draws whose intervals are compared.

    Attributes:
        draws: unconstrained coordinates.
        noise_factor: what the draws' noise scales are multiplied by.
        with_noise: whether intervals with noise make sense: not where the draws' spread stands for the labels' own
            errors too.
        linearisation_error: what share of the changes linear predictions miss at the draws, see `linearisation_error`.
    """

    draws: Float[np.ndarray, "draw coordinate"]
    noise_factor: float = 1.0
    with_noise: bool = True
    linearisation_error: float = 0.0


def coverage_by_ensemble(
    prior: Prior,
    ensembles: Mapping[str, CoverageDraws],
    data: LabelledData,
    *,
    units: UnitSystem,
    levels: tuple[float, ...] = LEVELS,
    seed: int = 0,
) -> xr.Dataset:
    """What `label_coverage` reports, for several ensembles of draws of one prior.

    Labels that are 0 by symmetry, such as forces at centres of inversion, lie inside every interval and are left out.

    Args:
        prior: whose model all draws belong to.
        ensembles: draws by the name of the ensemble that made them; chains are joined.
        data: held-out configurations, their groups those that the noise scales were made for.
        units: the study's system.
        levels: nominal coverages.
        seed: of the noise.

    Returns:
        `coverage` and mean `width` of the intervals [ensemble interval quantity group level], NaN where a group has no such
        label, where intervals with noise make no sense and where predictions are not finite; `residual`, the root mean
        square at the draws' mean [ensemble quantity group]; `count` of labels and `configurations` that have them [quantity
        group]; `linearisation_error` [ensemble].

    Raises:
        InputError: no ensemble, or one with fewer than 50 draws.
    """
    if not ensembles:
        raise InputError("coverage by ensemble: no ensemble is given; give one at least")
    rows: LabelRows | None = None
    at_rows, says = np.zeros(0), np.zeros(0, bool)
    by_ensemble: list[xr.Dataset] = []
    for name, ensemble in ensembles.items():
        flat = np.asarray(ensemble.draws).reshape(-1, np.shape(ensemble.draws)[-1])
        if len(flat) < 50:
            raise InputError(f"coverage by ensemble: '{name}' has {len(flat)} draws; give at least 50")
        centre = prior.potential(jnp.asarray(flat.mean(axis=0))).potential
        if rows is None or not has_design_matrix(centre):  # a linear potential's rows serve every ensemble
            try:
                every, at_rows = label_rows(centre, data), np.asarray(parameter_vector(centre))
            except InputError:  # a prediction is not finite
                if rows is None:
                    raise
                by_ensemble.append(by_ensemble[0].map(lambda values: np.nan * values))
                continue
            if rows is None:
                says = _not_by_symmetry(every, len(data.groups))
            rows = LabelRows(*(column[says] for column in every))
        theta, noise = parameters_and_noise(prior, flat)
        with np.errstate(over="ignore", invalid="ignore"):  # parameters of wild draws: told as NaN
            both = [
                row_coverage(
                    rows, theta - at_rows, groups=data.groups, noise=scales, levels=levels, seed=seed
                )
                for scales in ((None, ensemble.noise_factor * noise) if ensemble.with_noise else (None,))
            ]
        if not ensemble.with_noise:
            both.append(both[0].assign({v: np.nan * both[0][v] for v in ("coverage", "width")}))
        one = xr.concat(both, xr.Variable("interval", [ALONE, NOISY]), combine_attrs="drop")
        by_ensemble.append(one.assign(coverage=one["coverage"].where(np.isfinite(one["width"]))))
    assert rows is not None  # there is one ensemble at least
    table = xr.concat(by_ensemble, xr.Variable("ensemble", list(ensembles)), combine_attrs="drop")
    of_kind = [np.unique(rows.configuration[rows.kind == k]).size for k in range(table["count"][0, 0].size)]
    table = table.assign(
        count=table["count"].isel(ensemble=0, interval=0, drop=True),
        residual=table["residual"].isel(interval=0, drop=True),
        configurations=(("quantity", "group"), np.reshape(of_kind, (len(QUANTITIES), -1))),
        linearisation_error=("ensemble", [ensemble.linearisation_error for ensemble in ensembles.values()]),
    )
    per_atom = {"energy": " per atom"}
    table = table.assign_coords(
        unit=("quantity", [units.unit(LABEL_QUANTITIES[q]) + per_atom.get(q, "") for q in QUANTITIES])
    )
    in_units = {"units": "those of the coordinate `unit`"}
    described = {
        "coverage": {"units": "1", "long_name": "share of labels inside central intervals"},
        "width": in_units | {"long_name": "mean width of the intervals"},
        "residual": in_units | {"long_name": "root mean square residual at the draws' mean"},
        "count": {"units": "1", "long_name": "labels"},
        "configurations": {"units": "1", "long_name": "configurations with such labels"},
        "linearisation_error": {"units": "1", "long_name": "share of changes that linear predictions miss"},
    }
    for name, attributes in described.items():
        table[name].attrs = attributes
    table.attrs["predictions"] = "linearised about each ensemble's mean"
    return table


def pooled_coverage(table: xr.Dataset) -> xr.Dataset:
    """All groups of `coverage_by_ensemble` together, each label counted once, with a verdict for each ensemble.

    An ensemble's intervals are as nominal where actual and nominal coverage differ at each level by less than 5 % or than
    two standard errors √(q (1 − q) / n) for n independent configurations: fewer of them can tell less. Otherwise the
    level of the largest difference in units of that decides.

    Args:
        table: from `coverage_by_ensemble`.

    Returns:
        `coverage` and `width` [ensemble interval quantity level], `residual` [ensemble quantity], `count` and
        `configurations` [quantity]; `least_difference` [quantity level]; `verdict` [ensemble interval quantity], empty where
        there is none; `bent` [ensemble], whether linear predictions, which coverage is counted with, do not hold at the
        draws. Only quantities with labels are left.

    Example:
        >>> shares = np.array([[[[[0.1, 0.3]]], [[[0.5, 0.91]]]]])  # one ensemble, alone and with noise
        >>> by_group = ("ensemble", "interval", "quantity", "group", "level")
        >>> table = xr.Dataset(
        ...     {"coverage": (by_group, shares), "width": (by_group, 1.0 + shares),
        ...      "residual": (("ensemble", "quantity", "group"), [[[0.4]]]), "count": (("quantity", "group"), [[900]]),
        ...      "configurations": (("quantity", "group"), [[300]]),
        ...      "linearisation_error": ("ensemble", [0.0])},
        ...     coords={"ensemble": ["posterior"], "interval": [ALONE, NOISY], "quantity": ["forces"], "level": [0.5, 0.9],
        ...             "unit": ("quantity", ["eV/angstrom"])},
        ... )
        >>> pooled_coverage(table)["verdict"].values.ravel().tolist()
        ['too narrow', 'as nominal']
    """
    weight = table["count"]
    table = table.isel(quantity=np.flatnonzero(weight.sum("group").values > 0))
    weight = weight.sel(quantity=table["quantity"])
    total = weight.sum("group")

    def mean(values: xr.DataArray) -> xr.DataArray:
        return (values.where(weight > 0, 0.0) * weight).sum("group", skipna=False) / total

    level, configurations = table["level"], table["configurations"].sum("group")
    least = (2.0 * (level * (1.0 - level) / configurations) ** 0.5).clip(min=LEAST_DIFFERENCE)
    coverage = mean(table["coverage"])
    difference = (coverage - level) / least
    worst = difference.max("level", skipna=False)
    lowest = difference.min("level", skipna=False)
    worst = worst.where(worst >= -lowest, lowest)
    verdict = xr.where(worst < -1.0, NARROW, xr.where(worst > 1.0, WIDE, NOMINAL))
    return xr.Dataset(
        {
            "coverage": coverage,
            "width": mean(table["width"]),
            "residual": np.sqrt(mean(table["residual"] ** 2)),
            "count": total,
            "configurations": configurations,
            "least_difference": least,
            "verdict": verdict.where(worst.notnull(), ""),
            "bent": table["linearisation_error"] >= BENT,
        }
    )


def _not_by_symmetry(rows: LabelRows, n_groups: int) -> np.ndarray:
    """Which rows have a residual or depend on the parameters at all, relative to the others of their quantity."""
    quantity = rows.kind // n_groups
    says = np.zeros(len(quantity), bool)
    for size in (np.abs(rows.residual), np.abs(rows.jacobian).max(axis=1, initial=0.0)):
        largest = np.zeros(len(QUANTITIES))
        np.maximum.at(largest, quantity, size)
        says |= size > VANISHING * largest[quantity]
    return says
