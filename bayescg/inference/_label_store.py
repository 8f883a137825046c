"""The posterior of labelled data as labelled arrays: parameters with units, noise scales by group."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.data import UnitSystem
from bayescg.inference._groups import PER_DRAW, sampler_dataset, unconstrained_dataset
from bayescg.inference._label_fit import LabelFit
from bayescg.inference._labelled import QUANTITIES, LabelledData
from bayescg.inference._prior import Prior
from bayescg.physics import InteratomicPotential, ParameterInfo

LABEL_CALIBRATION = (
    "affine sandwich (configurations as independent units, misfit, prior) about the raw posterior's location"
)
LABEL_QUANTITIES = {"energy": "energy", "forces": "energy/length", "stress": "energy/length^3"}
"""What each kind of label measures; energies are per atom."""


def labelled_groups(
    fit: LabelFit,
    prior: Prior,
    potential: InteratomicPotential,
    data: LabelledData,
    units: UnitSystem,
    *,
    prior_draws: Float[np.ndarray, "draw coordinate"],
) -> dict[str, xr.Dataset]:
    """The groups that come straight from the inference.

    Args:
        fit: its outcome.
        prior: the prior.
        potential: describes the parameters.
        data: gives the groups of configurations.
        units: the study's system.
        prior_draws: unconstrained coordinates.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.inference import LabelMode, Mode, NoiseScale, labelled_prior
        >>> from bayescg.inference._nuts import NutsDraws
        >>> from bayescg.physics import SpeciesEnergies
        >>> import numpyro.distributions as dist
        >>> data = LabelledData((), ("all",), 2, ((2,), (0,), (0,)))
        >>> atoms = SpeciesEnergies([-11.5], species=("Ta",))
        >>> prior = labelled_prior(
        ...     atoms, {"offset_energies": dist.Normal(-11.5, 1.0)}, noise={"energy": NoiseScale(known=0.1)}, data=data
        ... )
        >>> peak = Mode(np.array([-11.7]), np.array([[0.005]]), 0.0, 0.0, interior=True, effective_frames=0.0)
        >>> z = -11.7 + 0.07 * np.random.default_rng(0).normal(size=(4, 50, 1))
        >>> raw = NutsDraws(z, *np.zeros((5, 4, 50)))
        >>> fit = LabelFit(
        ...     (LabelMode(peak, None, None, 1),), raw, z, peak.covariance, 50.0, few_configurations=True, khat=0.0,
        ...     method="linear",
        ... )
        >>> draws = np.full((50, 1), -11.5)
        >>> groups = labelled_groups(fit, prior, atoms, data, get_unit_system("metal"), prior_draws=draws)
        >>> dict(groups["posterior"]["offset_energies"].sizes)
        {'chain': 4, 'draw': 50, 'offset_energies_index': 1}
    """
    raw: dict[str, str | int | float] = {
        "assumes_independent_frames": 1,
        "calibration": "none: every force component taken as independent",
    }
    calibrated: dict[str, str | int | float] = {
        "assumes_independent_frames": 0,
        "calibration": LABEL_CALIBRATION,
        "t_degrees_of_freedom": fit.degrees_of_freedom,
    }
    draws = fit.draws

    def parameters(z: np.ndarray, attributes: Mapping[str, str | int | float]) -> xr.Dataset:
        return labelled_dataset(prior, potential, data, z, units, attributes=attributes)

    best = fit.modes[0].mode
    return {
        "posterior": parameters(fit.calibrated, calibrated),
        "posterior_raw": parameters(draws.z, raw),
        "prior": parameters(prior_draws[None], {}),
        "unconstrained": unconstrained_dataset(
            prior,
            draws.z,
            fit.calibrated,
            best=best.z,
            laplace_covariance=best.covariance,
            calibrated_covariance=fit.covariance,
        ),
        "sample_stats": sampler_dataset(draws).assign_attrs(
            method=fit.method, khat=fit.khat, weight_error=fit.weight_error
        ),
        "modes": xr.Dataset(
            {
                "z": (("mode", "coordinate"), np.stack([one.mode.z for one in fit.modes])),
                "log_density": ("mode", [one.mode.log_density for one in fit.modes]),
                "n_starts": ("mode", [one.n_starts for one in fit.modes]),
                "weight": ("mode", mode_weights(fit), {"long_name": "share of the probability, by Laplace"}),
            }
        ),
    }


def mode_weights(fit: LabelFit) -> Float[np.ndarray, " mode"]:
    """Share of the probability in each mode, by their Laplace approximations.

    Example:
        >>> from bayescg.inference import LabelMode, Mode
        >>> peaks = [
        ...     Mode(np.zeros(1), np.eye(1), value, 0.0, interior=True, effective_frames=0.0) for value in (-1.0, -3.0)
        ... ]
        >>> fit = LabelFit(
        ...     tuple(LabelMode(peak, None, None, 1) for peak in peaks), None, np.zeros((4, 500, 1)), np.eye(1), 50.0,
        ...     few_configurations=False, khat=0.0, method="linear",
        ... )
        >>> mode_weights(fit).round(3).tolist()
        [0.881, 0.119]
    """
    mass = [one.mode.log_density + 0.5 * np.linalg.slogdet(one.mode.covariance)[1] for one in fit.modes]
    weights = np.exp(np.asarray(mass) - np.max(mass))
    return weights / weights.sum()


def labelled_dataset(
    prior: Prior,
    potential: InteratomicPotential,
    data: LabelledData,
    z: Float[np.ndarray, "chain draw coordinate"],
    units: UnitSystem,
    *,
    attributes: Mapping[str, str | int | float],
) -> xr.Dataset:
    """Draws of parameters and noise scales by name, with units and long names.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.inference import NoiseScale, labelled_prior
        >>> from bayescg.physics import SpeciesEnergies
        >>> import numpyro.distributions as dist
        >>> data = LabelledData((), ("all",), 0, ((2,), (0,), (0,)))
        >>> atoms = SpeciesEnergies([-11.5], species=("Ta",))
        >>> prior = labelled_prior(
        ...     atoms, {"offset_energies": dist.Normal(0.0, 20.0)}, noise={"energy": NoiseScale(learned=0.1)}, data=data
        ... )
        >>> z = np.zeros((4, 10, prior.size))  # chains, draws, unconstrained coordinates
        >>> metal = get_unit_system("metal")
        >>> draws = labelled_dataset(prior, atoms, data, z, metal, attributes={"calibration": "none"})
        >>> dict(draws["noise_energy"].sizes), draws["offset_energies"].attrs["units"]
        ({'chain': 4, 'draw': 10, 'group': 1}, 'eV')
    """
    infos = {info.name: info for info in potential.parameters()}
    values = jax.lax.map(prior.sites, jnp.asarray(z.reshape(-1, z.shape[-1])), batch_size=256)
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {"chain": np.arange(z.shape[0]), "draw": np.arange(z.shape[1])}
    for name, value in values.items():
        array = np.asarray(value).reshape(*z.shape[:2], *value.shape[1:])
        if name in infos:
            inner, unit, words = _of_parameter(infos[name], units)
        else:
            inner, unit, words = _of_noise(name, array.ndim - 2, units)
            if inner:
                coordinates["group"] = list(data.groups)
        variables[name] = ((*PER_DRAW, *inner), array, {"units": unit, "long_name": words})
    return xr.Dataset(variables, coords=coordinates, attrs=dict(attributes))


def _of_parameter(info: ParameterInfo, units: UnitSystem) -> tuple[tuple[str, ...], str, str]:
    suffixes = {0: (), 1: ("index",), 2: ("row", "column"), 3: ("block", "row", "column")}[len(info.shape)]
    return tuple(f"{info.name}_{suffix}" for suffix in suffixes), units.unit(info.quantity), info.long_name


def _of_noise(name: str, n_dims: int, units: UnitSystem) -> tuple[tuple[str, ...], str, str]:
    quantity = next((q for q in QUANTITIES if name.startswith(f"noise_{q}")), None)
    if quantity is None:
        return tuple(f"{name}_{i}" for i in range(n_dims)), "1", "hyperparameter"
    words = "scale that the groups' noise shares" if name.endswith("_common") else "noise, standard deviation"
    per_atom = " per atom" if quantity == "energy" else ""
    inner = ("group",) if n_dims == 1 else ()
    return inner, units.unit(LABEL_QUANTITIES[quantity]), f"{words}, {quantity}{per_atom}"
