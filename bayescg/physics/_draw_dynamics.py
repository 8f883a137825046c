"""Time correlation functions of many draws at once, a group of draws in memory at a time."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Key

from bayescg.errors import InputError
from bayescg.physics._draw_groups import LEAST_PIECE, Trajectory, grouped_dynamics, n_pieces_of
from bayescg.physics._estimate import time_blocks
from bayescg.physics._mean_squared_displacement import mean_squared_displacement
from bayescg.physics._phase_space import PhaseSpace
from bayescg.physics._potential import Potential
from bayescg.physics._simulate import Simulator
from bayescg.physics._time_correlation import time_correlation
from bayescg.physics._unwrap import unwrap
from bayescg.physics._velocity_autocorrelation import velocity_autocorrelation


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
    n_replicas = positions.shape[1]
    n_pieces = n_pieces_of(n_replicas, trajectory.n_frames)
    if n_pieces * n_replicas < 2:
        raise InputError(
            f"dynamics at draws: {n_replicas} replicas of {trajectory.n_frames} frames; at least two pieces of {LEAST_PIECE}"
            " frames are needed of each draw"
        )
    mass = 1.0 / np.asarray(simulator.engine.settings.inverse_mass, float)
    volume = float(np.prod(simulator.box))

    def correlated(kept: PhaseSpace, fine: np.ndarray, _: int) -> tuple[np.ndarray, ...]:
        return (
            _by_piece(mean_squared_displacement, unwrap(kept.positions, simulator.box), n_pieces),
            _by_piece(velocity_autocorrelation, kept.velocities, n_pieces),
            _by_piece(time_correlation, _shear_stress(kept, mass, volume), n_pieces)
            if trajectory.stress
            else np.zeros((len(fine), n_pieces, 0)),
        )

    done = grouped_dynamics(
        simulator, potentials, positions, trajectory=trajectory, reduce=correlated, key=key, tell=tell
    )
    displacement, velocity, stress = done.made
    fine = done.usable if usable is None else done.usable & usable
    heating = np.where(fine, done.heating, np.nan)
    time_step = trajectory.stride * simulator.settings.time_step
    length = trajectory.n_frames // n_pieces
    return DrawCorrelations(displacement, velocity, stress, time_step, length, fine, heating, done.at_rest)


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
