"""Labels against predictions with their standard deviations, one row each."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.data import UnitSystem
from bayescg.inference import LABEL_QUANTITIES, LabelledData, Prior, label_rows
from bayescg.inference._labelled import QUANTITIES
from bayescg.inference._linearised import parameter_vector


def label_residuals(
    prior: Prior,
    draws: Float[np.ndarray, "draw coordinate"],
    data: LabelledData,
    *,
    units: UnitSystem,
) -> dict[str, xr.Dataset]:
    """Prediction minus label at the draws' mean, and the prediction's standard deviation over the draws.

    Predictions are linearised about the mean, so that the standard deviation is that of the parameters' covariance
    (ddof = 1) along each row.

    Args:
        prior: whose model the draws belong to.
        draws: unconstrained coordinates.
        data: configurations.
        units: the study's system.

    Returns:
        For each quantity that there are labels of a data set over `row`: `residual`, `sd` (of the parameters alone),
        `noise` (mean over the draws), `configuration`, `group`. Energies are per atom.
    """
    flat = np.asarray(draws).reshape(-1, np.shape(draws)[-1])
    centre = prior.potential(jnp.asarray(flat.mean(axis=0))).potential
    rows = label_rows(centre, data)

    def both(z):
        model = prior.potential(z)
        scales = jnp.concatenate([model.noise.energy, model.noise.forces, model.noise.stress])
        return parameter_vector(model.potential), scales

    theta, noise = (np.asarray(a) for a in jax.jit(jax.vmap(both))(jnp.asarray(flat)))
    covariance = np.atleast_2d(np.cov(theta, rowvar=False))
    shift = rows.jacobian @ (theta.mean(axis=0) - np.asarray(parameter_vector(centre)))
    sd = np.sqrt(np.maximum(np.einsum("ri,ij,rj->r", rows.jacobian, covariance, rows.jacobian), 0.0))
    n_groups, found = len(data.groups), {}
    for index, quantity in enumerate(QUANTITIES):
        of = rows.kind // n_groups == index
        if not of.any():
            continue
        unit = units.unit(LABEL_QUANTITIES[quantity])
        spread = {"units": unit, "ddof": 1}
        found[quantity] = xr.Dataset(
            {
                "residual": ("row", rows.residual[of] + shift[of], {"units": unit, "long_name": "prediction - label"}),
                "sd": ("row", sd[of], {**spread, "long_name": "standard deviation over the posterior"}),
                "noise": ("row", noise.mean(axis=0)[rows.kind[of]], {"units": unit, "long_name": "noise scale"}),
                "configuration": ("row", rows.configuration[of]),
                "group": ("row", rows.kind[of] % n_groups),
            },
            attrs={"groups": ", ".join(data.groups), "per_atom": int(quantity == "energy")},
        )  # fmt: skip
    return found
