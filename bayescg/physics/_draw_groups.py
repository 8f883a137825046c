"""Dynamics at many draws from given configurations, a group of draws in memory at a time."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from bayescg.physics._draw_simulation import DrawBatch
from bayescg.physics._engine import EngineState
from bayescg.physics._estimate import LEAST_PIECES
from bayescg.physics._phase_space import PhaseSpace, on_step_state, record
from bayescg.physics._potential import Potential
from bayescg.physics._result import Result
from bayescg.physics._simulate import Simulator

LEAST_PIECE = 64
"""Frames of a piece, below which no linear range or plateau is looked for."""
BALANCED = 1e-4
"""Net force in the sum of the sites' forces, below which it is rounding: 1e-6 of pair forces in single precision."""
_NUMBERS = 1 << 26
"""Numbers of a group's trajectory in memory, 256 MB in single precision."""


class Trajectory(NamedTuple):
    """How long dynamics runs and how often it is looked at.

    Attributes:
        n_frames: frames of every replica.
        stride: steps between frames.
        stress: keep pressure tensors.

    Example:
        >>> Trajectory(1000, 5).stress
        False
    """

    n_frames: int
    stride: int
    stress: bool = False


class GroupedDynamics(NamedTuple):
    """What all groups were reduced to.

    Attributes:
        made: what `reduce` gave, each [draw replica *].
        usable: replicas that stayed finite [draw replica].
        heating: change of the total energy over the trajectory, per site and k_B T; NaN for Langevin dynamics
            [draw replica].
        at_rest: whether the total momentum was taken away at the start, since the forces conserve it.
    """

    made: list[np.ndarray]
    usable: Bool[np.ndarray, "draw replica"]
    heating: Float[np.ndarray, "draw replica"]
    at_rest: bool


Reduce = Callable[[PhaseSpace, Bool[np.ndarray, " replica"], int], tuple[np.ndarray, ...]]
"""Of a group's trajectories, zero where a replica failed, of which did not, and of its first draw: arrays [replica *]."""


def grouped_dynamics(
    simulator: Simulator,
    potentials: Sequence[Potential],
    positions: Float[np.ndarray, "draw replica site dim"],
    *,
    trajectory: Trajectory,
    reduce: Reduce,
    key: Key[Array, ""],
    tell: Callable[[str], None],
) -> GroupedDynamics:
    """Dynamics with fresh velocities, the j-th replica of every draw with the same ones and the same noise.

    Args:
        simulator: of the state; with `metropolis` its engine is without friction.
        potentials: one for each draw.
        positions: configurations [length].
        trajectory: length and spacing of frames.
        reduce: of each group. The last is filled up with its last draw, so that one shape is compiled; what it gives of
            draws beyond the last is dropped.
        key: PRNG key.
        tell: hears what is being done.
    """
    n_draws, n_replicas = positions.shape[:2]
    per_draw = n_replicas * trajectory.n_frames * 2 * int(np.prod(positions.shape[2:]))
    size = max(1, min(n_draws, _NUMBERS // per_draw))
    size = -(-n_draws // -(-n_draws // size))
    found, at_rest = [], None if simulator.engine.deterministic else False
    for first in range(0, n_draws, size):
        members = np.minimum(np.arange(first, first + size), n_draws - 1)
        batch = DrawBatch(simulator, [potentials[d] for d in members], n_replicas=n_replicas)
        if at_rest is None:
            at_rest = conserves_momentum(batch, positions[members])
        kept, fine = _of_group(batch, positions[members], trajectory, key, at_rest=bool(at_rest))
        heating = _heating(batch, kept) if simulator.engine.deterministic else np.full(len(fine), np.nan)
        one = [*reduce(kept, fine, first), fine, heating]
        found.append([v.reshape(size, n_replicas, *v.shape[1:])[: n_draws - first] for v in one])
        tell(f"dynamics: {min(first + size, n_draws)} of {n_draws} draws")
    *made, usable, heating = (np.concatenate(c) for c in zip(*found, strict=True))
    return GroupedDynamics(made, usable, np.where(usable, heating, np.nan), bool(at_rest))


def n_pieces_of(n_replicas: int, n_frames: int) -> int:
    """Into how many pieces each replica is cut: ten or more of a draw, as far as pieces of 64 frames allow.

    Example:
        >>> n_pieces_of(4, 1000), n_pieces_of(4, 100), n_pieces_of(4, 10)
        (3, 1, 0)
    """
    return min(-(-LEAST_PIECES // n_replicas), n_frames // LEAST_PIECE)


def _of_group(
    batch: DrawBatch, positions: np.ndarray, trajectory: Trajectory, key: Key[Array, ""], *, at_rest: bool
) -> tuple[PhaseSpace, np.ndarray]:
    """Trajectories of a group of draws, and which of its replicas stayed finite."""
    engine = batch.simulator.engine
    mass = 1.0 / np.asarray(engine.settings.inverse_mass, float)
    flat = _finite_starts(positions)
    # of one draw's replicas, for all draws: common random numbers, whatever the size of the group
    first, all_of_them = (engine.initial_state(key, x) for x in (flat[: batch.n_replicas], flat))
    each = np.tile(np.arange(batch.n_replicas), batch.n_draws)
    velocities, keys = first.velocities[each], first.keys[each]
    if at_rest:
        share = jnp.asarray(mass / mass.sum(), velocities.dtype)
        velocities = velocities - jnp.einsum("s,rsd->rd", share, velocities)[:, None]
    state = on_step_state(
        engine, EngineState(all_of_them.positions, velocities, keys, all_of_them.result), batch.parameters
    )
    end, kept = record(
        engine,
        state,
        batch.parameters,
        n_samples=trajectory.n_frames,
        stride=trajectory.stride,
        virial=trajectory.stress,
    )
    fine = (np.asarray(end.result) == Result.OK.value) & np.isfinite(kept.positions).all(axis=(1, 2, 3))
    return PhaseSpace(*(np.where(fine.reshape(-1, 1, 1, *(1,) * (a.ndim - 3)), a, 0.0) for a in kept)), fine


def _finite_starts(positions: Float[np.ndarray, "draw replica site dim"]) -> np.ndarray:
    """Starts of all replicas [replica site dim], draws that have none at the origin: they are not usable anyway."""
    fine = np.isfinite(positions).all(axis=(1, 2, 3), keepdims=True)
    return np.where(fine, positions, 0.0).reshape(-1, *positions.shape[2:])


def conserves_momentum(
    batch: DrawBatch, positions: Float[np.ndarray, "draw replica site dim"]
) -> bool | None:
    """Whether the forces on all sites add up to nothing at every start; None where no start has finite forces."""
    if positions.shape[2] == 1:  # taking its momentum away would stop it
        return False
    flat = _finite_starts(positions)
    forces = np.asarray(batch.simulator.engine.forces(jnp.asarray(flat), batch.parameters), float)
    known = np.isfinite(positions).all(axis=(1, 2, 3)).repeat(batch.n_replicas)
    forces = forces[known & np.isfinite(forces).all(axis=(1, 2))]
    if not len(forces):
        return None
    net, whole = np.abs(forces.sum(axis=1)), np.abs(forces).sum(axis=(1, 2))
    return bool((net <= BALANCED * whole[:, None]).all())


def _heating(batch: DrawBatch, kept: PhaseSpace) -> Float[np.ndarray, " replica"]:
    """Change of the total energy from the first to the last frame, per site and k_B T."""
    settings = batch.simulator.engine.settings
    mass = 1.0 / np.asarray(settings.inverse_mass, float)
    coefficients = np.repeat(batch.coefficients, batch.n_replicas, axis=0)
    ends = []
    for frame in (0, -1):
        features = batch.simulator.reducer(kept.positions[:, frame])[0]
        v = np.asarray(kept.velocities[:, frame], np.float64)
        ends.append(np.sum(coefficients * features, axis=1) + 0.5 * np.einsum("s,rsd->r", mass, v**2))
    return (ends[1] - ends[0]) / (float(np.asarray(settings.kT)) * kept.positions.shape[2])
