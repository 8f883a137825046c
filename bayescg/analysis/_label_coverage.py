"""Do the bands about predicted energies, forces and stresses hold what was computed? Nominal against actual coverage."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.inference import LabelledData, Prior, label_rows
from bayescg.inference._labelled import QUANTITIES
from bayescg.inference._linearised import parameter_vector

LEVELS = (0.5, 0.8, 0.9, 0.95)
ROWS_AT_ONCE = 4096


def label_coverage(
    prior: Prior,
    draws: Float[np.ndarray, "draw coordinate"],
    data: LabelledData,
    *,
    with_noise: bool,
    levels: tuple[float, ...] = LEVELS,
    seed: int = 0,
) -> xr.Dataset:
    """Share of the labels inside central predictive intervals, for each quantity and group.

    Predictions at the draws are linearised about the draws' mean. Without noise the intervals show the parameters'
    uncertainty alone: what they leave uncovered is noise, or the model's form. With noise each draw's own noise scale
    of the label's group is added.

    Args:
        prior: whose model the draws belong to.
        draws: unconstrained coordinates, raw or calibrated.
        data: held-out configurations, their groups those that the noise scales were made for.
        with_noise: whether the interval is for the label or for its prediction without noise.
        levels: nominal coverages.
        seed: of the noise.

    Returns:
        `coverage` [quantity group level], NaN where a group has no such label, `count` [quantity group], and the root
        mean square `residual` at the draws' mean [quantity group], in the units of the labels (energy per atom).

    Raises:
        InputError: fewer than 50 draws.
    """
    flat = np.asarray(draws).reshape(-1, np.shape(draws)[-1])
    if len(flat) < 50:
        raise InputError(f"coverage: {len(flat)} draws are too few for quantiles; give at least 50")
    centre = prior.potential(jnp.asarray(flat.mean(axis=0))).potential
    rows = label_rows(centre, data)
    models = jax.jit(jax.vmap(lambda z: _parameters_and_noise(prior, z)))
    theta, noise = (np.asarray(a) for a in models(jnp.asarray(flat)))
    steps = (theta - np.asarray(parameter_vector(centre))).T
    rng = np.random.default_rng(seed)
    tails = np.concatenate([[0.5 - level / 2.0, 0.5 + level / 2.0] for level in levels])
    inside = np.zeros((len(levels), len(rows.residual)))
    for first in range(0, len(rows.residual), ROWS_AT_ONCE):
        some = slice(first, first + ROWS_AT_ONCE)
        values = rows.residual[some, None] + rows.jacobian[some] @ steps
        if with_noise:
            values = values + noise[:, rows.kind[some]].T * rng.normal(size=values.shape)
        ends = np.quantile(values, tails, axis=1).reshape(len(levels), 2, -1)
        inside[:, some] = (ends[:, 0] <= 0.0) & (ends[:, 1] >= 0.0)
    shape = (len(QUANTITIES), len(data.groups))
    count = np.bincount(rows.kind, minlength=np.prod(shape))
    empty = np.where(count > 0, np.maximum(count, 1), np.nan)
    share = np.stack(
        [np.bincount(rows.kind, weights=row, minlength=len(count)) / empty for row in inside], -1
    )
    square = np.bincount(rows.kind, weights=rows.residual**2, minlength=len(count)) / empty
    return xr.Dataset(
        {
            "coverage": (("quantity", "group", "level"), share.reshape(*shape, len(levels))),
            "count": (("quantity", "group"), count.reshape(shape)),
            "residual": (("quantity", "group"), np.sqrt(square).reshape(shape)),
        },
        coords={"quantity": list(QUANTITIES), "group": list(data.groups), "level": list(levels)},
        attrs={"intervals": "with noise" if with_noise else "parameters only"},
    )


def _parameters_and_noise(prior: Prior, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    model = prior.potential(z)
    noise = jnp.concatenate([model.noise.energy, model.noise.forces, model.noise.stress])
    return parameter_vector(model.potential), noise
