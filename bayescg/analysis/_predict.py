"""Predictions at posterior draws by reweighting the bank: g(r) and pressure, no new simulation."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayescg.data import UnitSystem
from bayescg.physics import ReferenceBank


class System(NamedTuple):
    """What a prediction needs to know of the simulated system.

    Attributes:
        n_sites: number of sites.
        volume: [length³].
        temperature: [temperature].
        units: unit system.
        distance_edges: edges of the bins of the stored pair counts [length].
    """

    n_sites: int
    volume: float
    temperature: float
    units: UnitSystem
    distance_edges: np.ndarray


class StructurePrediction(NamedTuple):
    """Reweighted averages at draws.

    Attributes:
        rdf: g(r) [draw bin].
        pressure: virial pressure [draw] [pressure].
        n_eff: effective number of reference frames [draw].
    """

    rdf: np.ndarray
    pressure: np.ndarray
    n_eff: np.ndarray


def ideal_counts(system: System) -> Float[np.ndarray, " bin"]:
    """Expected pairs per distance bin of an ideal gas of the same density."""
    shells = 4.0 / 3.0 * np.pi * np.diff(system.distance_edges**3)
    return shells * system.n_sites * (system.n_sites - 1) / 2.0 / system.volume


def virial_pressure(
    coefficients: Float[np.ndarray, "*draw feature"],
    mean_virial: Float[np.ndarray, "*draw feature"],
    system: System,
) -> np.ndarray:
    """P = [N kT + ⟨Σ f·r⟩/3] / V, the virial being linear in the coefficients [pressure]."""
    kinetic = system.n_sites * system.units.kT(system.temperature)
    virial = np.sum(coefficients * mean_virial, axis=-1)
    return (kinetic + virial / 3.0) / system.volume * system.units.pressure_factor


def predict_structure(
    bank: ReferenceBank, coefficients: Float[np.ndarray, "draw feature"], system: System
) -> StructurePrediction:
    """g(r) and pressure of every draw, all from the same reference frames (common random numbers).

    Args:
        bank: reference simulations with pair counts and virial features.
        coefficients: η of each draw.
        system: the simulated system.
    """
    virial = np.concatenate([r.virial.reshape(r.n_frames, -1) for r in bank.references])
    counts = np.concatenate([r.pair_counts.reshape(r.n_frames, -1) for r in bank.references])
    weights = np.stack([bank.weights(eta) for eta in coefficients])
    return StructurePrediction(
        rdf=weights.astype(np.float32) @ counts / ideal_counts(system),
        pressure=virial_pressure(coefficients, weights @ virial, system),
        n_eff=1.0 / np.sum(weights**2, axis=1),
    )
