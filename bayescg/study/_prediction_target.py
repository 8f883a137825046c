"""For what a prediction is made: the state and the system, and how much simulation it may cost."""

from typing import NamedTuple

import numpy as np


class PredictionTarget(NamedTuple):
    """A state of a system of equal sites in an orthorhombic box.

    Attributes:
        temperature: [temperature].
        n_sites: number of sites.
        box: edge lengths [length].
        distance_edges: edges of the bins of g(r), None where pairs are not counted [length].
        cutoff: of the potential [length].
    """

    temperature: float
    n_sites: int
    box: np.ndarray
    distance_edges: np.ndarray | None
    cutoff: float

    @property
    def volume(self) -> float:
        """[length³]."""
        return float(np.prod(self.box))


class SimulationBudget(NamedTuple):
    """How new simulations are made.

    Attributes:
        n_replicas: independent replicas of every draw.
        n_samples: frames kept per replica.
        n_draws: draws.
        time_step: [time].
        friction: collision rate [1/time].
        stride: steps between frames.
        equilibration: frames dropped at the start of every replica, at least.
    """

    n_replicas: int
    n_samples: int
    n_draws: int
    time_step: float
    friction: float
    stride: int
    equilibration: int
