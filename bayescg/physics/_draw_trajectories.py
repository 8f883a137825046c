"""Trajectories of every replica of many draws, handed over one by one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Key

from bayescg.physics._draw_dynamics import DrawCorrelations
from bayescg.physics._draw_groups import Trajectory, grouped_dynamics, n_pieces_of
from bayescg.physics._estimate import time_blocks
from bayescg.physics._phase_space import PhaseSpace
from bayescg.physics._potential import Potential
from bayescg.physics._simulate import Simulator
from bayescg.physics._unwrap import unwrap


class ReplicaTrajectory(NamedTuple):
    """What one replica passes through.

    Attributes:
        positions: unwrapped, so without jumps at the faces of the box: fold them back or take the minimum image where
            that is wanted [length].
        velocities: at the same times as the positions [length/time].
        times: of the frames, 0 for the first [time].
        box: edge lengths, inf where open [length].

    Example:
        >>> still = ReplicaTrajectory(np.zeros((9, 2, 3)), np.zeros((9, 2, 3)), np.arange(9.0), np.full(3, np.inf))
        >>> still.time_step
        1.0
    """

    positions: Float[np.ndarray, "frame site dim"]
    velocities: Float[np.ndarray, "frame site dim"]
    times: Float[np.ndarray, " frame"]
    box: Float[np.ndarray, " dim"]

    @property
    def time_step(self) -> float:
        """Between frames [time]."""
        return float(self.times[1] - self.times[0])


Visit = Callable[[int, int, ReplicaTrajectory], None]
"""Takes the numbers of draw and replica, and the trajectory."""


def visit_trajectories(
    simulator: Simulator,
    potentials: Sequence[Potential],
    positions: Float[np.ndarray, "draw replica site dim"],
    *,
    trajectory: Trajectory,
    visit: Visit,
    key: Key[Array, ""],
    usable: Bool[np.ndarray, "draw replica"] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> DrawCorrelations:
    """Dynamics from equilibrium configurations, as `draw_correlations` has it, with every trajectory handed over.

    The trajectories of a group of draws are in memory at a time. Replicas that fail, or are not usable, are left out.

    Args:
        simulator: of the state; with `metropolis` its engine is without friction.
        potentials: one for each draw.
        positions: equilibrium configurations [length].
        trajectory: length and spacing of frames.
        visit: is given every trajectory, in double precision.
        key: PRNG key; the same gives the same trajectories as `draw_correlations`.
        usable: replicas whose configurations are of use.
        tell: hears what is being done.

    Returns:
        What tells whether the dynamics is sound: as `draw_correlations`, with the mean squared velocity alone.

    Raises:
        InputError: a site that moves so far between two frames that it can't be followed.

    Example:
        >>> import jax
        >>> from bayescg.data import Topology, get_unit_system
        >>> from bayescg.physics import HarmonicWell, SimulationSettings
        >>> well, settings = HarmonicWell(1.0), SimulationSettings(0.1, 1.0, 5, 4, 0, metropolis=True)
        >>> simulator = Simulator(
        ...     well,
        ...     topology=Topology(("A",), np.ones(1)),
        ...     box=np.full(3, np.inf),
        ...     units=get_unit_system("lj"),
        ...     temperature=1.0,
        ...     settings=settings,
        ... )
        >>> lengths = {}
        >>> found = visit_trajectories(
        ...     simulator,
        ...     [well],
        ...     np.ones((1, 2, 1, 3)),
        ...     trajectory=Trajectory(20, 2),
        ...     visit=lambda draw, replica, kept: lengths.update({(draw, replica): float(kept.times[-1])}),
        ...     key=jax.random.key(0),
        ... )
        >>> {which: round(length, 6) for which, length in lengths.items()}
        {(0, 0): 3.8, (0, 1): 3.8}
    """
    n_draws, n_replicas = positions.shape[:2]
    times = trajectory.stride * simulator.settings.time_step * np.arange(trajectory.n_frames)
    n_pieces = max(1, n_pieces_of(n_replicas, trajectory.n_frames))
    wanted = np.ones((n_draws, n_replicas), bool) if usable is None else usable

    def handed_over(kept: PhaseSpace, fine: np.ndarray, first: int) -> tuple[np.ndarray, ...]:
        for k in np.flatnonzero(fine):
            draw, replica = first + k // n_replicas, k % n_replicas
            if draw < n_draws and wanted[draw, replica]:
                x = unwrap(kept.positions[k], simulator.box)
                v = np.asarray(kept.velocities[k], np.float64)
                visit(int(draw), int(replica), ReplicaTrajectory(x, v, times, simulator.box))
        squares = np.sum(np.asarray(kept.velocities, np.float64) ** 2, axis=3).mean(axis=2)
        return (time_blocks(squares, n_blocks=n_pieces).reshape(len(fine), n_pieces, -1).mean(axis=2),)

    done = grouped_dynamics(
        simulator, potentials, positions, trajectory=trajectory, reduce=handed_over, key=key, tell=tell
    )
    fine = done.usable & wanted
    none = np.zeros((n_draws, n_replicas, n_pieces, 0))
    return DrawCorrelations(
        none, done.made[0][..., None], none, float(times[1] - times[0]), trajectory.n_frames // n_pieces, fine,
        np.where(fine, done.heating, np.nan), done.at_rest,
    )  # fmt: skip
