"""Time correlation functions of many draws at once, a group of draws in memory at a time."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from bayescg.errors import InputError
from bayescg.physics._draw_simulation import DrawBatch
from bayescg.physics._engine import EngineState
from bayescg.physics._estimate import LEAST_PIECES, time_blocks
from bayescg.physics._mean_squared_displacement import mean_squared_displacement
from bayescg.physics._phase_space import PhaseSpace, on_step_state, record
from bayescg.physics._potential import Potential
from bayescg.physics._result import Result
from bayescg.physics._simulate import Simulator
from bayescg.physics._time_correlation import time_correlation
from bayescg.physics._unwrap import unwrap
from bayescg.physics._velocity_autocorrelation import velocity_autocorrelation

LEAST_PIECE = 64
"""Frames of a piece, below which no linear range or plateau is looked for."""
BALANCED = 1e-4
"""Net force in the sum of the sites' forces, below which it is rounding: 1e-6 of pair forces in single precision."""
_NUMBERS = 1 << 26
"""Numbers of a group's trajectory in memory, 256 MB in single precision."""


class DrawCorrelations(NamedTuple):
    """Correlation functions of every replica, each cut into pieces of equal length.

    Attributes:
        displacement: mean-squared displacement [draw replica piece lag] [length²].
        velocity: velocity autocorrelation, summed over dimensions [draw replica piece lag] [length²/time²].
        stress: Π(0) : Π(t) of the symmetric traceless pressure tensor, no lags where it was not asked for
            [draw replica piece lag] [energy²/length⁶].
        time_step: between lags [time].
        n_frames: of a piece.
        usable: replicas that stayed finite [draw replica].
        heating: change of the total energy over the trajectory, per site and k_B T; NaN for Langevin dynamics
            [draw replica].
        at_rest: whether the total momentum was taken away at the start, since the forces conserve it.

    Example:
        >>> DrawCorrelations._fields[:3]
        ('displacement', 'velocity', 'stress')
    """

    displacement: Float[np.ndarray, "draw replica piece lag"]
    velocity: Float[np.ndarray, "draw replica piece lag"]
    stress: Float[np.ndarray, "draw replica piece lag"]
    time_step: float
    n_frames: int
    usable: Bool[np.ndarray, "draw replica"]
    heating: Float[np.ndarray, "draw replica"]
    at_rest: bool = False


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


def draw_correlations(
    simulator: Simulator,
    potentials: Sequence[Potential],
    positions: Float[np.ndarray, "draw replica site dim"],
    *,
    trajectory: Trajectory,
    key: Key[Array, ""],
    usable: Bool[np.ndarray, "draw replica"] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> DrawCorrelations:
    """Dynamics from equilibrium configurations with fresh velocities, reduced to time correlation functions.

    An engine without friction gives Newton's dynamics: velocities are drawn from the Maxwell distribution at every
    configuration, so that the average over replicas is canonical, and energy is conserved from then on. Where the forces on
    all sites add up to nothing, as they do between pairs, momentum is conserved too, and is taken away first. An engine with
    friction gives Langevin dynamics, whose friction slows diffusion down and which conserves neither.

    The j-th replica of every draw begins with the same velocities, and feels the same noise. Replicas are cut into
    pieces, ten or more of each draw, as far as pieces of 64 frames allow.

    Args:
        simulator: of the state; with `metropolis` its engine is without friction.
        potentials: one for each draw.
        positions: equilibrium configurations [length].
        trajectory: length and spacing of frames.
        key: PRNG key.
        usable: replicas whose configurations are of use.
        tell: hears what is being done.

    Raises:
        InputError: fewer than two pieces of 64 frames of a draw.

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
        >>> found = draw_correlations(
        ...     simulator, [well], np.ones((1, 2, 1, 3)), trajectory=Trajectory(64, 2), key=jax.random.key(0)
        ... )
        >>> found.velocity.shape
        (1, 2, 1, 32)
    """
    n_draws, n_replicas = positions.shape[:2]
    n_pieces = min(-(-LEAST_PIECES // n_replicas), trajectory.n_frames // LEAST_PIECE)
    if n_pieces * n_replicas < 2:
        raise InputError(
            f"dynamics at draws: {n_replicas} replicas of {trajectory.n_frames} frames; at least two pieces of {LEAST_PIECE}"
            " frames are needed of each draw"
        )
    per_draw = n_replicas * trajectory.n_frames * 2 * int(np.prod(positions.shape[2:]))
    size = max(1, min(n_draws, _NUMBERS // per_draw))
    size = -(-n_draws // -(-n_draws // size))
    found, at_rest = [], None if simulator.engine.deterministic else False
    for first in range(0, n_draws, size):
        # the last group is filled up, so that one shape is compiled
        members = np.minimum(np.arange(first, first + size), n_draws - 1)
        batch = DrawBatch(simulator, [potentials[d] for d in members], n_replicas=n_replicas)
        if at_rest is None:
            at_rest = _conserves_momentum(batch, positions[members])
        one = _of_group(batch, positions[members], trajectory, n_pieces, key, at_rest=bool(at_rest))
        found.append([values[: n_draws - first] for values in one])
        tell(f"dynamics: {min(first + size, n_draws)} of {n_draws} draws")
    displacement, velocity, stress, fine, heating = (np.concatenate(c) for c in zip(*found, strict=True))
    fine = fine if usable is None else fine & usable
    heating = np.where(fine, heating, np.nan)
    time_step = trajectory.stride * simulator.settings.time_step
    length = trajectory.n_frames // n_pieces
    return DrawCorrelations(
        displacement, velocity, stress, time_step, length, fine, heating, at_rest=bool(at_rest)
    )


def _of_group(
    batch: DrawBatch,
    positions: np.ndarray,
    trajectory: Trajectory,
    n_pieces: int,
    key: Key[Array, ""],
    *,
    at_rest: bool,
) -> tuple[np.ndarray, ...]:
    """Correlations, usable replicas and heating of a group of draws."""
    simulator, engine, settings = batch.simulator, batch.simulator.engine, batch.simulator.engine.settings
    mass = 1.0 / np.asarray(settings.inverse_mass, float)
    flat = _finite_starts(positions)
    # of one draw's replicas, for all draws: common random numbers, whatever the size of the group
    first, all_of_them = (engine.initial_state(key, x) for x in (flat[: batch.n_replicas], flat))
    each = np.tile(np.arange(batch.n_replicas), batch.n_draws)
    velocities, keys = first.velocities[each], first.keys[each]
    if at_rest:
        share = jnp.asarray(mass / mass.sum(), velocities.dtype)
        velocities = velocities - jnp.einsum("s,rsd->rd", share, velocities)[:, None]
    state = on_step_state(
        engine,
        EngineState(all_of_them.positions, velocities, keys, all_of_them.result),
        batch.parameters,
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
    kept = PhaseSpace(*(np.where(fine.reshape(-1, 1, 1, *(1,) * (a.ndim - 3)), a, 0.0) for a in kept))
    volume = float(np.prod(simulator.box))
    made = [
        _by_piece(mean_squared_displacement, unwrap(kept.positions, simulator.box), n_pieces),
        _by_piece(velocity_autocorrelation, kept.velocities, n_pieces),
        _by_piece(time_correlation, _shear_stress(kept, mass, volume), n_pieces)
        if trajectory.stress
        else np.zeros((len(flat), n_pieces, 0)),
        fine,
        _heating(batch, kept, mass) if engine.deterministic else np.full(len(flat), np.nan),
    ]
    return tuple(values.reshape(batch.n_draws, batch.n_replicas, *values.shape[1:]) for values in made)


def _finite_starts(positions: Float[np.ndarray, "draw replica site dim"]) -> np.ndarray:
    """Starts of all replicas [replica site dim], draws that have none at the origin: they are not usable anyway."""
    fine = np.isfinite(positions).all(axis=(1, 2, 3), keepdims=True)
    return np.where(fine, positions, 0.0).reshape(-1, *positions.shape[2:])


def _conserves_momentum(batch: DrawBatch, positions: np.ndarray) -> bool | None:
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


def _by_piece(
    function: Callable[[np.ndarray], np.ndarray], series: np.ndarray, n_pieces: int
) -> Float[np.ndarray, "replica piece lag"]:
    """A correlation function of every piece of every replica, one replica in double precision at a time."""
    found = [function(time_blocks(np.asarray(one, np.float64)[None], n_blocks=n_pieces)) for one in series]
    return np.stack(found)


def _shear_stress(
    kept: PhaseSpace, mass: Float[np.ndarray, " site"], volume: float
) -> Float[np.ndarray, "replica frame component"]:
    """Symmetric traceless part of the pressure tensor, all nine numbers [energy/length³]."""
    v = np.asarray(kept.velocities, np.float64)
    tensor = np.einsum("s,rfsa,rfsb->rfab", mass, v, v, optimize=True) + kept.virial
    trace = np.trace(tensor, axis1=-2, axis2=-1)[..., None, None]
    dim = tensor.shape[-1]
    return ((tensor - trace * np.eye(dim) / dim) / volume).reshape(*tensor.shape[:2], -1)


def _heating(
    batch: DrawBatch, kept: PhaseSpace, mass: Float[np.ndarray, " site"]
) -> Float[np.ndarray, " replica"]:
    """Change of the total energy from the first to the last frame, per site and k_B T."""
    coefficients = np.repeat(batch.coefficients, batch.n_replicas, axis=0)
    ends = []
    for frame in (0, -1):
        features = batch.simulator.reducer(kept.positions[:, frame])[0]
        v = np.asarray(kept.velocities[:, frame], np.float64)
        ends.append(np.sum(coefficients * features, axis=1) + 0.5 * np.einsum("s,rsd->r", mass, v**2))
    thermal = float(np.asarray(batch.simulator.engine.settings.kT))
    return (ends[1] - ends[0]) / (thermal * kept.positions.shape[2])
