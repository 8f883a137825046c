"""Predictions from a run's own references: which observables they reach, and their averages at every draw."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.analysis import System, reweighted_means
from bayescg.analysis._predict import ideal_counts
from bayescg.analysis._reweighted_scalars import ScalarInputs, reweighted_thermodynamics
from bayescg.analysis._reweighting_reach import Reach
from bayescg.data import UnitSystem
from bayescg.errors import InputError
from bayescg.inference import Prior
from bayescg.physics import ReferenceBank
from bayescg.physics._compressibility import hypervirial_per_bin
from bayescg.study._mean_force import mean_force_from_means
from bayescg.study._predicted_observables import FROM_RDF, LINEAR_IN_RDF, OBSERVABLES
from bayescg.study._prediction_parts import FoundParts, first_shell, rdf_functionals, reweighted_part
from bayescg.study._prediction_target import PredictionTarget

STRUCTURE = ("rdf", *FROM_RDF)
NOISY = 0.2
"""Relative noise of a bulk modulus above which it is not divided by."""


def refuse_unkept(names: Sequence[str], bank: ReferenceBank, target: PredictionTarget, *, run: str) -> None:
    """Raise an InputError for an observable that the run's references don't keep the statistics of.

    Args:
        names: observables that are functions of kept statistics.
        bank: the references.
        target: of the prediction.
        run: whose name the message begins with.
    """
    n_bins = 0 if target.distance_edges is None else len(target.distance_edges) - 1
    for name in names:
        if name in ("energy", "heat-capacity"):
            continue
        if name != "pressure" and {r.pair_counts.shape[-1] for r in bank.references} != {n_bins}:
            raise InputError(
                f"{run}: {name} needs pair counts in the references, and bank.nc keeps none of these bins; run the study"
                " again"
            )
        if name in ("pressure", "compressibility") and any(r.virial.shape[-1] == 0 for r in bank.references):
            raise InputError(
                f"{run}: {name} needs virials in the references, and bank.nc keeps none; run the study again"
            )


def reweighted_parts(
    names: Sequence[str],
    bank: ReferenceBank,
    prior: Prior,
    z: Float[np.ndarray, "draw coordinate"],
    *,
    target: PredictionTarget,
    units: UnitSystem,
    dim: int,
    reach: Reach,
    reason: str,
) -> FoundParts:
    """The observables by reweighting the bank to every draw at the target's temperature, and notes on how well that went.

    Args:
        names: functions of kept statistics.
        bank: references in the target's box.
        prior: makes the potential of a draw.
        z: unconstrained coordinates of the draws.
        target: for what.
        units: unit system.
        dim: directions of space.
        reach: verdict on overlap.
        reason: why by reweighting.

    Lost are a bulk modulus that is positive at fewer than two draws, and the logarithm of a g(r) that is noise everywhere.
    """
    kt = units.kT(target.temperature)
    eta = draw_coefficients(prior, z)
    scalars = tuple(name for name in names if name not in STRUCTURE)
    bins = np.zeros((len(z), 0))
    if "compressibility" in scalars:
        assert target.distance_edges is not None
        edges = target.distance_edges
        at = lambda point: hypervirial_per_bin(prior.potential(point), edges, kT=kt)  # noqa: E731
        mapped = jax.jit(lambda points: jax.lax.map(at, points, batch_size=8))
        bins = np.asarray(mapped(jnp.asarray(z)))
    inputs = ScalarInputs(
        eta, bins, target.n_sites, target.volume, kt, units.pressure_factor, units.pressure,
        units.energy, dim,
    )  # fmt: skip
    found = reweighted_thermodynamics(bank, inputs, scalars)
    lost: dict[str, str] = {}
    notes: list[str] = []
    if set(names) & set(STRUCTURE):
        structure, lost = _structure(bank, eta / (bank.beta * kt), target, units, names)
        found |= structure
    if "compressibility" in found:
        try:
            notes = compressibility_notes(found["compressibility"])
        except InputError as error:
            lost["compressibility"] = str(error)
    parts = [reweighted_part(name, found[name], reason) for name in names if name not in lost]
    return FoundParts([part._replace(effective_frames=reach.effective_frames) for part in parts], notes, lost)


def compressibility_notes(means: xr.Dataset) -> list[str]:
    """What is wrong with 1/K, if anything: draws without a positive K, and a K too noisy to be divided by.

    Args:
        means: of `reweighted_thermodynamics`.

    Raises:
        InputError: K is positive at fewer than two draws.
    """
    value = means["mean"]
    n, lost = value.sizes["draw"], int(value.isnull().sum())
    if n - lost < 2:
        raise InputError(
            f"compressibility: the bulk modulus is positive at {n - lost} of {n} draws; longer references are needed, or"
            " another state; leave compressibility out"
        )
    notes = []
    if lost:
        notes.append(
            f"Compressibility: the bulk modulus is not positive at {lost} of {n} draws, which have no compressibility and are"
            " left out of its band."
        )
    noise = float(np.sqrt(((means["influence"] ** 2).sum("block") / value**2).mean()))
    if noise > NOISY:
        notes.append(
            f"Compressibility: the bulk modulus of a draw has a relative error of {100 * noise:.0f} %, too large for its"
            " inverse to be read; make the references longer."
        )
    return notes


def draw_coefficients(
    prior: Prior, z: Float[np.ndarray, "draw coordinate"]
) -> Float[np.ndarray, "draw feature"]:
    """η of every draw."""
    mapped = jax.jit(jax.vmap(lambda point: prior.potential(point).coefficients()))
    return np.asarray(mapped(jnp.asarray(z)))


def _structure(
    bank: ReferenceBank,
    weighing: Float[np.ndarray, "draw feature"],
    target: PredictionTarget,
    units: UnitSystem,
    names: Sequence[str],
) -> tuple[dict[str, xr.Dataset], dict[str, str]]:
    """g(r) and functions of it, from one pass over the frames, and why of those that could not be had."""
    assert target.distance_edges is not None
    edges = target.distance_edges
    system = System(target.n_sites, target.volume, target.temperature, units, edges)
    counts = np.concatenate([r.pair_counts.reshape(r.n_frames, -1) for r in bank.references])
    frames = counts / ideal_counts(system)
    shell = first_shell(bank.weights(weighing.mean(axis=0)) @ frames, edges)
    functionals = rdf_functionals(target, shell=shell)
    extra = [name for name in LINEAR_IN_RDF if name in names]
    columns = np.column_stack([frames, *(functionals.of(name, frames) for name in extra)])
    means = reweighted_means(bank, weighing, xr.DataArray(columns, dims=("frame", "column")))
    n = frames.shape[1]
    found, lost = {}, {}
    r = ("r", (edges[1:] + edges[:-1]) / 2.0, {"units": units.unit("length")})
    rdf = means.isel(column=slice(n)).rename(column="r").assign_coords(r=r)
    rdf["mean"].attrs["units"] = "1"
    if "rdf" in names:
        found["rdf"] = rdf
    if "potential-of-mean-force" in names:
        try:
            found["potential-of-mean-force"] = mean_force_from_means(
                rdf, kT=units.kT(target.temperature), unit=units.unit("energy")
            )
        except InputError as error:
            lost["potential-of-mean-force"] = str(error)
    for k, name in enumerate(extra):
        found[name] = means.isel(column=n + k, drop=True)
        found[name]["mean"].attrs["units"] = "1" if name == "coordination" else units.unit("length^3")
        if name == "coordination":
            found[name]["mean"].attrs["shell"] = functionals.shell
    assert all(name in OBSERVABLES for name in found)
    return found, lost
