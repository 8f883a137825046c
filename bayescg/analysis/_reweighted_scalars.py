"""Averages of numbers that depend on the draw itself (its energy, its virial), at many draws from one bank."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.analysis._reweighted_means import _shared, frame_weights, means_dataset
from bayescg.errors import InputError
from bayescg.physics import ReferenceBank
from bayescg.physics._compressibility import bulk_modulus_terms

DRAWS_AT_ONCE = 16
"""Draws whose weights and columns are held in memory together."""


def reweighted_columns(
    bank: ReferenceBank,
    coefficients: Float[np.ndarray, "draw feature"],
    columns: Callable[[slice, Float[np.ndarray, "draw frame"]], Float[np.ndarray, "column draw frame"]],
    like: xr.DataArray,
) -> xr.Dataset:
    """As `reweighted_means`, of numbers that every draw makes of the frames in its own way.

    Args:
        bank: reference simulations, at least two blocks in each.
        coefficients: η of the draws as they weigh the frames: at another temperature times its β over the bank's.
        columns: of some draws, given their normalised weights; a number may contain averages of its draw if its own
            average does not respond to them to first order, as (U − ⟨U⟩)² does not.
        like: names and units of the columns [column].

    Example:
        >>> from bayescg.physics import Reference
        >>> x2 = np.random.default_rng(0).normal(size=(20, 100, 1)) ** 2  # a spring, U = η x²
        >>> bank = ReferenceBank(1.0, (Reference(np.array([0.5]), x2, x2, x2[..., :0], np.zeros((0, 1, 1))),))
        >>> eta = np.array([[0.5], [0.6]])
        >>> energy = lambda some, weights: (eta[some] @ bank.features.T)[None]
        >>> means = reweighted_columns(bank, eta, energy, xr.DataArray(np.zeros(1), dims="column"))
        >>> means["mean"].values[:, 0].round(1).tolist()  # kT/2
        [0.5, 0.5]
    """
    shared = _shared(bank)
    starts = shared.edges[:-1]
    found = []
    for first in range(0, len(coefficients), DRAWS_AT_ONCE):
        some = slice(first, min(first + DRAWS_AT_ONCE, len(coefficients)))
        weights = frame_weights(bank, coefficients[some])
        values = columns(some, weights)
        mean = np.einsum("csm,sm->sc", values, weights)
        apart = values - mean.T[..., None]
        square = np.einsum("csm,csm,sm->sc", apart, apart, weights, optimize=True)
        apart *= weights
        own = np.add.reduceat(apart, starts, axis=2)  # [column draw block]
        through = apart @ shared.state_weights.T  # [column draw reference]
        counts = np.diff(shared.edges) * through[:, :, shared.references]
        free = (through * bank.n_frames) @ shared.free_influence
        influence = np.moveaxis(own - counts - free, (0, 1, 2), (2, 1, 0))
        found.append((mean, square, 1.0 / np.sum(weights**2, axis=1), influence))
    mean, square, effective = (np.concatenate([one[i] for one in found]) for i in range(3))
    influence = np.concatenate([one[3] for one in found], axis=1)
    return means_dataset(like, mean, square, effective, influence, shared.references)


class ScalarInputs(NamedTuple):
    """What thermodynamic averages need.

    Attributes:
        coefficients: η of the draws, as potentials [draw feature].
        bin_hypervirial: of `hypervirial_per_bin` at each draw [draw bin]; no columns where it is not wanted.
        n_sites: number of sites.
        volume: [length³].
        kT: of the target temperature [energy].
        pressure_factor: from energy per volume to pressure.
        pressure_unit, energy_unit: names of the units.
        dim: directions of space.

    Example:
        >>> ScalarInputs(np.ones((2, 1)), np.zeros((2, 0)), 10, 5.0, 1.5, 1.0, "bar", "kJ/mol").dim
        3
    """

    coefficients: np.ndarray
    bin_hypervirial: np.ndarray
    n_sites: int
    volume: float
    kT: float
    pressure_factor: float
    pressure_unit: str
    energy_unit: str
    dim: int = 3


LONG_NAMES = {
    "energy": "potential energy per site",
    "heat-capacity": "heat capacity at constant volume, per site in k_B",
    "pressure": "pressure",
    "compressibility": "isothermal compressibility",
}


def reweighted_thermodynamics(
    bank: ReferenceBank, inputs: ScalarInputs, names: tuple[str, ...]
) -> dict[str, xr.Dataset]:
    """Energy, heat capacity, pressure and compressibility of every draw, each as `reweighted_means` would give it.

        U/N,   C_V/(N k_B) = d/2 + β² Var(U)/N,   P = [N kT + ⟨Σ f·r⟩/3]/V,   κ_T = 1/K with K of `bulk_modulus_terms`.

    The frames' weights are those of the target temperature, which may differ from the bank's: exp(−β′U) is a reweighting
    like any other. κ_T and its error follow from those of K to first order; where K is not positive they are NaN.

    Args:
        bank: reference simulations with virials, and with pair counts where the compressibility is wanted.
        inputs: of the draws.
        names: which.

    Raises:
        InputError: an unknown name, virials missing in a reference.

    Example:
        >>> from bayescg.physics import Reference
        >>> x2 = np.random.default_rng(0).normal(size=(20, 100, 1)) ** 2  # a spring, U = η x²
        >>> bank = ReferenceBank(1.0, (Reference(np.array([0.5]), x2, x2, x2[..., :0], np.zeros((0, 1, 1))),))
        >>> inputs = ScalarInputs(np.array([[0.5]] * 2), np.zeros((2, 0)), 1, 1.0, 1.0, 1.0, "bar", "kT")
        >>> made = reweighted_thermodynamics(bank, inputs, ("heat-capacity",))  # 3/2, and 1/2 of one coordinate
        >>> made["heat-capacity"]["mean"].values.round(1).tolist()
        [2.0, 2.0]
    """
    if unknown := [name for name in names if name not in LONG_NAMES]:
        raise InputError(f"reweighting: {unknown[0]!r} is none of {', '.join(LONG_NAMES)}")
    if not names:
        return {}
    virial = counts = None
    if {"pressure", "compressibility"} & set(names):
        virial = np.concatenate([r.virial.reshape(r.n_frames, -1) for r in bank.references])
        if virial.shape[1] != inputs.coefficients.shape[1]:
            raise InputError("pressure: the references keep no virials; run the study again")
    if "compressibility" in names:
        counts = np.concatenate([r.pair_counts.reshape(r.n_frames, -1) for r in bank.references])
    n, volume, kt = inputs.n_sites, inputs.volume, inputs.kT

    def columns(some: slice, weights: np.ndarray) -> np.ndarray:
        eta, made = inputs.coefficients[some], []
        energy = eta @ bank.features.T
        work = None if virial is None else eta @ virial.T
        for name in names:
            if name == "energy":
                made.append(energy / n)
            elif name == "heat-capacity":
                mean = np.sum(weights * energy, axis=1, keepdims=True)
                made.append(0.5 * inputs.dim + (energy - mean) ** 2 / (n * kt**2))
            elif name == "pressure":
                assert work is not None
                made.append((n * kt + work / 3.0) / volume * inputs.pressure_factor)
            else:
                assert work is not None and counts is not None
                mean = np.sum(weights * work, axis=1, keepdims=True)
                hyper = inputs.bin_hypervirial[some].astype(np.float32) @ counts.T
                made.append(
                    bulk_modulus_terms(work, hyper, mean, n_sites=n, volume=volume, kT=kt)
                    * inputs.pressure_factor
                )
        return np.stack(made)

    weighing = inputs.coefficients / (bank.beta * kt)
    both = reweighted_columns(bank, weighing, columns, xr.DataArray(np.zeros(len(names)), dims="column"))
    found = {name: both.isel(column=k, drop=True) for k, name in enumerate(names)}
    if "compressibility" in found:
        found["compressibility"] = _inverse(found["compressibility"])
    units = {
        "energy": inputs.energy_unit, "heat-capacity": "1", "pressure": inputs.pressure_unit,
        "compressibility": f"1/({inputs.pressure_unit})" if "/" in inputs.pressure_unit else f"1/{inputs.pressure_unit}",
    }  # fmt: skip
    for name, means in found.items():
        means["mean"].attrs = {"units": units[name], "long_name": LONG_NAMES[name]}
    return found


def _inverse(means: xr.Dataset) -> xr.Dataset:
    """1/K from K, errors to first order; NaN where K is not positive, which is no stable state or noise."""
    modulus = means["mean"].where(means["mean"] > 0.0)
    slope = 1.0 / modulus**2
    return means.assign(
        mean=1.0 / modulus,
        influence=-means["influence"] * slope,
        fluctuation_variance=means["fluctuation_variance"] * slope**2,
    )
