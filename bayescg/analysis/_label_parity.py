"""Labels against predictions with their standard deviations, one row each."""

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.analysis._label_coverage import parameters_and_noise
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

    Example:
        >>> from bayescg.inference import example_labels
        >>> from bayescg.data import get_unit_system
        >>> atoms, data, prior = example_labels()
        >>> draws = -11.7 + 0.07 * np.random.default_rng(0).normal(size=(200, 1))
        >>> rows = label_residuals(prior, draws, data, units=get_unit_system("metal"))["energy"]
        >>> sorted(rows["residual"].values.round(1).tolist()), rows["sd"].attrs["units"]
        ([-0.1, 0.1], 'eV')
    """
    flat = np.asarray(draws).reshape(-1, np.shape(draws)[-1])
    centre = prior.potential(jnp.asarray(flat.mean(axis=0))).potential
    rows = label_rows(centre, data)

    theta, noise = parameters_and_noise(prior, flat)
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
