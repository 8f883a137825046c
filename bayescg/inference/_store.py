"""The only place that knows how a posterior and a bank of references lie on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import netCDF4
import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.data import UnitSystem
from bayescg.errors import InputError
from bayescg.inference._groups import PER_DRAW, sampler_dataset, unconstrained_dataset
from bayescg.inference._prior import Prior
from bayescg.inference._problem import FitResult
from bayescg.physics import ParameterInfo, Potential, Reference, ReferenceBank

SCHEMA_VERSION = 1
CALIBRATION = "affine sandwich (autocorrelated frames, misfit, finite simulation, prior) about the raw posterior's location"


def parameter_dataset(
    prior: Prior,
    potential: Potential,
    z: Float[np.ndarray, "chain draw coordinate"],
    units: UnitSystem,
    *,
    attributes: Mapping[str, str | int | float],
) -> xr.Dataset:
    """Draws of the model's parameters by name, with units, long names and the coordinates of array entries."""
    infos = {info.name: info for info in potential.parameters()}
    values = jax.lax.map(prior.sites, jax.numpy.asarray(z.reshape(-1, z.shape[-1])), batch_size=256)
    arrays = [info for info in infos.values() if info.shape]
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
    for name, value in values.items():
        array = np.asarray(value).reshape(*z.shape[:2], *value.shape[1:])
        info = infos.get(name)
        dims: tuple[str, ...] = PER_DRAW
        if info is not None and info.shape:
            dimension = "knot" if len(arrays) == 1 else f"{name}_knot"
            dims += (dimension,)
            coordinates[dimension] = (dimension, np.asarray(info.coordinate), {"units": units.unit("length")})
        variables[name] = (dims, array, _attributes(name, info, units))
    coordinates["chain"] = np.arange(z.shape[0])
    coordinates["draw"] = np.arange(z.shape[1])
    return xr.Dataset(variables, coords=coordinates, attrs=dict(attributes))


def _attributes(name: str, info: ParameterInfo | None, units: UnitSystem) -> dict[str, str]:
    if info is None:
        return {"units": units.unit("energy"), "long_name": "scale of the prior on second differences"}
    unit = "1" if info.quantity == "dimensionless" else units.unit(info.quantity)
    return {"units": unit, "long_name": info.long_name}


def posterior_groups(
    fit: FitResult, prior: Prior, potential: Potential, units: UnitSystem, *, prior_draws: np.ndarray
) -> dict[str, xr.Dataset]:
    """The groups that come straight from the inference."""
    raw: dict[str, str | int | float] = {
        "assumes_independent_frames": 1,
        "calibration": "none: frames taken as independent",
    }
    calibrated: dict[str, str | int | float] = {
        "assumes_independent_frames": 0,
        "calibration": CALIBRATION,
        "t_degrees_of_freedom": fit.calibration.degrees_of_freedom,
    }
    if fit.resampled is not None:
        raw = {"assumes_independent_frames": 0, "calibration": f"none: every draw is {fit.resampled.each}"}
    if fit.posterior_temperature not in (None, 1.0):
        told = f"draws of p(z | D)^(1/{fit.posterior_temperature:g}), not of the posterior"
        raw = {**raw, "calibration": f"none: {told}"}
        calibrated = {**calibrated, "calibration": f"{CALIBRATION}, of {told}"}
    draws = fit.draws
    independent = {"long_name": "effective reference frames at the calibrated draw"}
    rounds = range(len(fit.verifications))
    groups = {
        "posterior": parameter_dataset(prior, potential, fit.calibrated, units, attributes=calibrated),
        "posterior_raw": parameter_dataset(prior, potential, draws.z, units, attributes=raw),
        "prior": parameter_dataset(prior, potential, prior_draws[None], units, attributes={}),
        "unconstrained": unconstrained_dataset(
            prior,
            draws.z,
            fit.calibrated,
            best=fit.mode.z,
            laplace_covariance=fit.mode.covariance,
            calibrated_covariance=fit.calibration.covariance,
        ),
        "sample_stats": sampler_dataset(draws)
        .assign(n_eff=(PER_DRAW, fit.effective_frames, independent))
        .assign_attrs(sampler=fit.sampler, **_account(fit)),
        "reference_bank": xr.Dataset(
            {
                "n_frames": ("reference", fit.bank.n_frames),
                "minus_delta_log_z": ("reference", fit.bank.free_energies()),
                "coefficients": (("reference", "feature"), fit.bank.coefficients),
                "acceptance": ("reference", [r.acceptance for r in fit.bank.references]),
                "verification": (
                    "reference",
                    [int(r.purpose == "verification") for r in fit.bank.references],
                ),
            },
            attrs={"anchor": fit.bank.anchor, "file": "bank.nc"},
        ),
    }
    if fit.verifications:
        checks = fit.verifications
        groups["verification"] = xr.Dataset(
            {
                "rms_error": (("round", "draw_v"), np.stack([c.rms_error for c in checks])),
                "noise_floor": (("round", "draw_v"), np.stack([c.noise_floor for c in checks])),
                "expected_error": (("round", "draw_v"), np.stack([c.expected_error for c in checks])),
                "limit": (("round", "draw_v"), np.stack([c.limit for c in checks])),
                "median_limit": ("round", [c.median_limit for c in checks]),
                "n_eff": (("round", "draw_v"), np.stack([c.effective_frames for c in checks])),
                "shift": ("round", [c.shift for c in checks]),
                "width_ratio": ("round", [c.width_ratio for c in checks]),
                "width_error": ("round", [c.width_error for c in checks]),
            },
            coords={"round": np.arange(1, len(rounds) + 1)},
            attrs={
                "verdict": checks[-1].verdict,
                "units": "calibrated posterior standard deviations per direction",
            },
        )
    return groups


def _account(fit: FitResult) -> dict[str, str | int | float]:
    """What a sampler whose draws are not exactly those of the raw posterior says of them."""
    if fit.step_choice is not None:
        choice = fit.step_choice
        return {
            "step": choice.step,
            "predicted_width_bias": choice.width_bias,
            "predicted_mean_bias": choice.lag,
            "step_tolerance": choice.width_tolerance,
            "bias_units": "posterior standard deviations",
            "predicted_autocorrelation_time": choice.autocorrelation_time,
        }
    if fit.resampled is not None:
        found = fit.resampled
        return {"every_draw_is": found.each, "block_length": found.block_length, "n_blocks": found.n_blocks}
    if fit.posterior_temperature is not None:
        return {"posterior_temperature": fit.posterior_temperature}
    return {}


def write_tree(tree: xr.DataTree, path: Path) -> None:
    """Write a result under a temporary name and rename it into place."""
    temporary = path.with_suffix(".nc.tmp")
    tree.to_netcdf(temporary, engine="netcdf4")
    temporary.replace(path)


def write_bank(bank: ReferenceBank, path: Path, *, system: str) -> None:
    """Write all reference simulations to netCDF (temporary file, renamed into place).

    Args:
        bank: the bank.
        path: where to.
        system: identity of the system and potential form; `read_bank` refuses another.
    """
    temporary = path.with_suffix(".nc.tmp")
    with netCDF4.Dataset(temporary, "w") as file:
        file.setncatts(
            {"schema_version": SCHEMA_VERSION, "beta": bank.beta, "anchor": bank.anchor, "system": system}
        )
        for index, reference in enumerate(bank.references):
            group = file.createGroup(f"reference_{index:04d}")
            group.purpose, group.acceptance = reference.purpose, reference.acceptance
            group.results = np.asarray(reference.results, np.int64)
            for name, dims in _LAYOUT.items():
                value = np.asarray(getattr(reference, name))
                for dim, size in zip(dims, value.shape, strict=True):
                    if dim not in group.dimensions:
                        group.createDimension(dim, size)
                variable = group.createVariable(
                    name, value.dtype, dims, compression="zlib" if value.size else None
                )
                variable[...] = value
    temporary.replace(path)


def read_bank(path: Path, *, system: str | None = None) -> ReferenceBank:
    """Read a bank of references.

    Raises:
        InputError: the file is missing or broken, or belongs to another system.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such bank of references; run the study first")
    try:
        with netCDF4.Dataset(path) as file:
            found = str(file.system)
            beta = float(file.beta)
            references = tuple(
                Reference(
                    **{n: np.asarray(group[n][...]) for n in _LAYOUT},
                    purpose=str(group.purpose),
                    acceptance=float(group.acceptance),
                    results=tuple(int(n) for n in np.atleast_1d(getattr(group, "results", ()))),
                )
                for group in file.groups.values()
            )
    except (OSError, AttributeError, IndexError) as error:
        raise InputError(
            f"{path}: not a readable bank of references ({error}); run the study again"
        ) from error
    if not references:
        raise InputError(f"{path}: holds no reference simulation; run the study again")
    if system is not None and found != system:
        raise InputError(f"{path}: its references belong to another system or potential form; use a new bank")
    return ReferenceBank(beta, references)


_LAYOUT = {
    "coefficients": ("feature",),
    "features": ("replica", "sample", "feature"),
    "virial": ("replica", "sample", "virial_feature"),
    "pair_counts": ("replica", "sample", "bin"),
    "configurations": ("configuration", "site", "dim"),
}
