"""Do the bands about predicted energies, forces and stresses hold what was computed? Nominal against actual coverage."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.analysis._row_coverage import LEVELS, row_coverage
from bayescg.errors import InputError
from bayescg.inference import LabelledData, Prior, label_rows
from bayescg.inference._linearised import parameter_vector


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
        `coverage` and mean `width` of the intervals [quantity group level], NaN where a group has no such label; `count`
        and the root mean square `residual` at the draws' mean [quantity group], in the units of the labels (energy per
        atom).

    Raises:
        InputError: fewer than 50 draws.

    Example:
        >>> from bayescg.inference import example_labels
        >>> atoms, data, prior = example_labels()
        >>> draws = -11.7 + 0.07 * np.random.default_rng(0).normal(size=(200, 1))
        >>> shares = label_coverage(prior, draws, data, with_noise=True)["coverage"]
        >>> float(shares.sel(quantity="energy", group="all", level=0.95))
        1.0
    """
    flat = np.asarray(draws).reshape(-1, np.shape(draws)[-1])
    if len(flat) < 50:
        raise InputError(f"coverage: {len(flat)} draws are too few for quantiles; give at least 50")
    centre = prior.potential(jnp.asarray(flat.mean(axis=0))).potential
    rows = label_rows(centre, data)
    theta, noise = parameters_and_noise(prior, flat)
    return row_coverage(
        rows,
        theta - np.asarray(parameter_vector(centre)),
        groups=data.groups,
        noise=noise if with_noise else None,
        levels=levels,
        seed=seed,
    )


def parameters_and_noise(
    prior: Prior, draws: Float[np.ndarray, "draw coordinate"]
) -> tuple[Float[np.ndarray, "draw parameter"], Float[np.ndarray, "draw kind"]]:
    """The potential's parameters and the noise scales at every draw."""

    def one(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        model = prior.potential(z)
        return parameter_vector(model.potential), model.noise.by_kind()

    theta, noise = jax.jit(jax.vmap(one))(jnp.asarray(draws))
    return np.asarray(theta), np.asarray(noise)
