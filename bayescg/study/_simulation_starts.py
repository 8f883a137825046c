"""Simulators of a state, and where simulations of it begin: known configurations and a molten lattice."""

from typing import Protocol

import numpy as np
from jaxtyping import Array, Key

from bayescg.data import Topology, UnitSystem
from bayescg.errors import SimulationError
from bayescg.physics import Potential, SimulationSettings, Simulator
from bayescg.physics._draw_simulation import DrawBatch, troubles
from bayescg.physics._draw_starts import lattice, relaxed, scaled_configurations, two_kinds_of_start
from bayescg.study._prediction_target import PredictionTarget, SimulationBudget

HOT = 2.0
"""Times the temperature at which the second kind of start is molten."""


class SimulatorMaker(Protocol):
    """What `simulators` returns."""

    def __call__(self, metropolis: bool, hotter: float, cut: int = 1) -> Simulator: ...


class ParticleSteps:
    """Counts particle-steps."""

    def __init__(self, n_sites: int, stride: int):
        self.n_sites, self.stride, self.total = n_sites, stride, 0.0

    def add(self, n_replicas: int, n_samples: int, stride: int | None = None) -> None:
        self.total += float(n_replicas) * n_samples * (stride or self.stride) * self.n_sites


def simulators(
    potential: Potential, target: PredictionTarget, budget: SimulationBudget, mass: float, units: UnitSystem
) -> SimulatorMaker:
    """Makes a simulator of the state, with Metropolis' test (and so an engine without friction) or without, hotter, and with
    its time step cut into several."""

    def make(metropolis: bool, hotter: float, cut: int = 1) -> Simulator:
        return Simulator(
            potential,
            topology=Topology(("A",) * target.n_sites, np.full(target.n_sites, mass)),
            box=np.asarray(target.box, float),
            units=units,
            temperature=hotter * target.temperature,
            settings=SimulationSettings(
                budget.time_step / cut,
                budget.friction,
                budget.stride * cut,
                budget.n_replicas,
                0,
                metropolis=metropolis,
            ),
            distance_edges=target.distance_edges,
        )

    return make


def starts_of_two_kinds(
    potential: Potential,
    make: SimulatorMaker,
    configurations: np.ndarray,
    start_box: np.ndarray,
    target: PredictionTarget,
    budget: SimulationBudget,
    key: Key[Array, ""],
    steps: ParticleSteps,
) -> tuple[np.ndarray, list[str]]:
    """Starts of two kinds, the same for all draws, and what they are."""
    known = scaled_configurations(
        configurations, start_box, n_sites=target.n_sites, new_box=np.asarray(target.box, float)
    )
    hot, closed = make(True, HOT), np.shape(target.box) == (3,) and bool(np.isfinite(target.box).all())
    if known is not None and not np.array_equal(np.asarray(start_box, float), np.asarray(target.box, float)):
        # stretched ones may overlap
        known = known[np.linspace(0, len(known) - 1, budget.n_replicas).astype(int)]
        alike = DrawBatch(hot, [potential], n_replicas=budget.n_replicas)
        known = relaxed(hot.engine, known, alike.parameters)

    def molten(n: int) -> np.ndarray:
        batch = DrawBatch(hot, [potential], n_replicas=max(2, n))
        seeds = range(batch.n_replicas)
        if closed:
            cold = np.stack([lattice(target.n_sites, np.asarray(target.box, float), seed=k) for k in seeds])
            cold = relaxed(hot.engine, cold, batch.parameters)
        else:
            cold = configurations[np.linspace(0, len(configurations) - 1, batch.n_replicas).astype(int)]
        state = batch.start(key, cold)
        n_samples = max(20, budget.equilibration)
        state, samples = batch.sample(state, n_samples=n_samples)
        steps.add(batch.n_replicas, n_samples)
        if troubles(samples).any():
            raise SimulationError(
                f"simulation at draws: {troubles(samples).sum()} of {batch.n_replicas} molten starts failed; shorten the"
                " time step, or use a lower density"
            )
        return np.asarray(state.positions, float)[:n]

    starts = two_kinds_of_start(known, molten, n_replicas=budget.n_replicas)
    kind = f"{'a lattice molten' if closed else 'configurations made hot'} at twice the temperature"
    if known is None:
        n_known = configurations.shape[1]
        return starts, [
            f"All simulations start from {kind}: {target.n_sites} sites are no multiple of the {n_known} of the run."
        ]
    return starts, [f"Half of the simulations start from configurations of the run, the others from {kind}."]
