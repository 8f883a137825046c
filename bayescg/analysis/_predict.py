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

    Example:
        >>> from bayescg.data import get_unit_system
        >>> System(343, 2.18**3, 300.0, get_unit_system("gromacs"), np.linspace(0.0, 1.0, 101)).n_sites
        343
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

    Example:
        >>> prediction = StructurePrediction(np.ones((2, 50)), np.array([1.1, 0.9]), np.array([400.0, 380.0]))
        >>> float(prediction.pressure.mean())
        1.0
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

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import Reference
        >>> rng = np.random.default_rng(0)  # 2 replicas of 50 frames, one feature, two distance bins
        >>> features, counts = rng.normal(size=(2, 50, 1)), rng.poisson(5.0, size=(2, 50, 2)).astype(np.float32)
        >>> reference = Reference(np.array([1.0]), features, 0 * features, counts, np.zeros((0, 20, 3)))
        >>> system = System(20, 125.0, 1.5, get_unit_system("lj"), np.array([0.0, 1.0, 2.0]))
        >>> got = predict_structure(ReferenceBank(1 / 1.5, (reference,)), np.array([[1.0], [1.1]]), system)
        >>> got.rdf.shape, got.pressure.round(3).tolist()  # no virial: the ideal gas
        ((2, 2), [0.24, 0.24])
    """
    virial = np.concatenate([r.virial.reshape(r.n_frames, -1) for r in bank.references])
    counts = np.concatenate([r.pair_counts.reshape(r.n_frames, -1) for r in bank.references])
    weights = np.stack([bank.weights(eta) for eta in coefficients])
    return StructurePrediction(
        rdf=weights.astype(np.float32) @ counts / ideal_counts(system),
        pressure=virial_pressure(coefficients, weights @ virial, system),
        n_eff=1.0 / np.sum(weights**2, axis=1),
    )
