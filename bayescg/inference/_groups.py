"""Groups of the result that every kind of inference writes alike."""

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.inference._prior import Prior
from bayescg.inference._sampler import Draws

PER_DRAW = ("chain", "draw")


def unconstrained_dataset(
    prior: Prior,
    draws: Float[np.ndarray, "chain draw coordinate"],
    calibrated: Float[np.ndarray, "chain draw coordinate"],
    *,
    best: Float[np.ndarray, " coordinate"],
    laplace_covariance: Float[np.ndarray, "coordinate coordinate"],
    calibrated_covariance: Float[np.ndarray, "coordinate coordinate"],
) -> xr.Dataset:
    """Draws and approximations in the prior's unconstrained coordinates."""
    return xr.Dataset(
        {
            "z": ((*PER_DRAW, "coordinate"), draws),
            "z_calibrated": ((*PER_DRAW, "coordinate"), calibrated),
            "map": ("coordinate", best, {"long_name": "maximum of the log density"}),
            "laplace_covariance": (("coordinate", "coordinate_2"), laplace_covariance),
            "calibrated_covariance": (("coordinate", "coordinate_2"), calibrated_covariance),
        },
        coords={"coordinate": [str(c) for c in prior.coordinates]},
    )


def sampler_dataset(draws: Draws) -> xr.Dataset:
    """What the sampler says of every draw."""
    return xr.Dataset(
        {
            "energy": (PER_DRAW, draws.energy),
            "acceptance_rate": (PER_DRAW, draws.acceptance_rate),
            "n_steps": (PER_DRAW, draws.n_steps),
            "diverging": (PER_DRAW, draws.diverging.astype(bool)),
            "step_size": (PER_DRAW, draws.step_size),
        }
    )
