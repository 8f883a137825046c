"""Trajectories from a dividing surface, for the transmission coefficient: batched over starts and draws."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree

from bayescg.errors import InputError, SimulationError
from bayescg.physics._engine import EngineState
from bayescg.physics._phase_space import on_step_state, record
from bayescg.physics._potential import Potential
from bayescg.physics._reaction_coordinates import ReactionCoordinate
from bayescg.physics._reactive_flux import Transmission, transmission_coefficient
from bayescg.physics._result import Result
from bayescg.physics._simulate import Simulator

ON_IT = 1e-3
"""Distance from the dividing surface, in what a start's velocity would make of it, below which a start is on it."""
_NUMBERS = 1 << 26
"""Numbers of a group's trajectories in memory, 256 MB in single precision."""


class Launched(NamedTuple):
    """A reaction coordinate along trajectories from a dividing surface.

    Attributes:
        coordinate: ξ of every frame, the start first, NaN where the trajectory failed [draw start frame].
        velocity: dξ/dt at the start [draw start].
        dividing: ξ‡, where all start.
        time_step: between frames [time].
        usable: trajectories that stayed finite [draw start].

    Example:
        >>> x = np.array([[[0.0, 0.1, 0.3], [0.0, -0.1, -0.3]]])
        >>> launched = Launched(x, np.array([[1.0, -1.0]]), 0.0, 0.1, np.ones((1, 2), bool))
        >>> launched.transmissions(plateau=(0.1, 0.2))[0].coefficient.value
        1.0
    """

    coordinate: Float[np.ndarray, "draw start frame"]
    velocity: Float[np.ndarray, "draw start"]
    dividing: float
    time_step: float
    usable: Bool[np.ndarray, "draw start"]

    def transmissions(self, *, plateau: tuple[float, float]) -> tuple[Transmission, ...]:
        """The transmission coefficient of every draw, from its usable trajectories; see `transmission_coefficient`.

        Args:
            plateau: first and last time of the plateau [time].

        Raises:
            SimulationError: a draw of which more than half of the trajectories failed.
        """
        failed = np.flatnonzero(self.usable.mean(axis=1) < 0.5)
        if len(failed):
            raise SimulationError(
                f"trajectories from the dividing surface: more than half of those of draw {failed[0]} failed; shorten the time"
                " step"
            )
        return tuple(
            transmission_coefficient(
                x[fine], velocity=v[fine], dividing=self.dividing, time_step=self.time_step, plateau=plateau
            )
            for x, v, fine in zip(self.coordinate, self.velocity, self.usable, strict=True)
        )


def launched_trajectories(
    simulator: Simulator,
    potentials: Sequence[Potential],
    starts: Float[np.ndarray, "draw start site dim"],
    coordinate: ReactionCoordinate,
    *,
    dividing: float,
    n_frames: int,
    stride: int,
    key: Key[Array, ""],
) -> Launched:
    """Trajectories that start on the dividing surface ξ = ξ‡ with velocities of the Maxwell distribution.

    The dynamics is the simulator's own: Langevin with its friction, or Newton's where it was made with `metropolis`. The
    j-th start of every draw has the same velocities and feels the same noise. κ times `transition_state_rates` at ξ‡ is
    the rate, with 1/m the mean of Σ_i |∂ξ/∂r_i|²/m_i on the surface.

    Args:
        simulator: of the state.
        potentials: one for each draw.
        starts: configurations on the surface, from the equilibrium of all that is orthogonal to ξ at the draw; in one
            dimension all are the same [length].
        coordinate: ξ; where it has a period it is followed without jumps, so frames must be less than half of one apart.
        dividing: ξ‡.
        n_frames: of each trajectory after its start.
        stride: steps between frames.
        key: PRNG key.

    Raises:
        InputError: starts of another shape or away from the surface, no frames, or a potential of another form.

    References:
        Chandler (1978), doi:10.1063/1.436049.

    Example:
        >>> from bayescg.data import Topology, get_unit_system
        >>> from bayescg.physics import CartesianCoordinate, DoubleWell, SimulationSettings
        >>> well, settings = DoubleWell(4.0, 1.0), SimulationSettings(0.02, 1.5, 1, 2, 0)
        >>> simulator = Simulator(
        ...     well,
        ...     topology=Topology(("A",), np.ones(1)),
        ...     box=np.full(1, np.inf),
        ...     units=get_unit_system("lj"),
        ...     temperature=1.0,
        ...     settings=settings,
        ... )
        >>> launched = launched_trajectories(
        ...     simulator,
        ...     [well],
        ...     np.zeros((1, 500, 1, 1)),
        ...     CartesianCoordinate(0, 0),
        ...     dividing=0.0,
        ...     n_frames=30,
        ...     stride=5,
        ...     key=jax.random.key(0),
        ... )
        >>> kappa = launched.transmissions(plateau=(2.0, 3.0))[0].coefficient
        >>> launched.coordinate.shape, bool(0.5 < kappa.value < 0.95)
        ((1, 500, 31), True)
    """
    starts = np.asarray(starts, float)
    n_sites, dim = simulator.engine.n_sites, len(simulator.box)
    if starts.ndim != 4 or starts.shape[0] != len(potentials) or starts.shape[2:] != (n_sites, dim):
        raise InputError(
            f"trajectories from the dividing surface: starts of shape {starts.shape}; expected [draw start site dim] with"
            f" {len(potentials)} draws, {n_sites} sites and {dim} dimensions"
        )
    if n_frames < 1 or stride < 1 or not starts.size or not np.isfinite(starts).all():
        raise InputError(
            f"trajectories from the dividing surface: {n_frames} frames, {stride} steps apart, from {starts[..., 0, 0].size}"
            " starts; expected at least one of each, at finite positions"
        )
    state = _launch_state(simulator, starts, key)
    box = jnp.asarray(simulator.box, float)
    xi, velocity = _value_and_rate(coordinate, state.positions, state.velocities, box)
    xi = dividing + _nearest(xi - dividing, coordinate.period)
    time_step = stride * simulator.settings.time_step
    reach = float(np.sqrt(np.mean(velocity**2))) * time_step * n_frames
    worst = int(np.argmax(np.abs(xi - dividing)))
    if not abs(xi[worst] - dividing) <= ON_IT * reach:
        raise InputError(
            f"trajectories from the dividing surface: start {worst % starts.shape[1]} of draw {worst // starts.shape[1]} is at"
            f" {xi[worst]:g}; expected all on the surface {dividing:g}: move them there along the coordinate"
        )
    parameters = simulator._parameters(potentials, each=starts.shape[1])
    along, usable = _along(simulator, state, parameters, coordinate, n_frames=n_frames, stride=stride)
    whole = np.concatenate([xi[:, None], along], axis=1)
    steps = _nearest(np.diff(whole, axis=1), coordinate.period)
    followed = xi[:, None] + np.concatenate([np.zeros((len(xi), 1)), np.cumsum(steps, axis=1)], axis=1)
    shape = starts.shape[:2]
    return Launched(
        np.where(usable[:, None], followed, np.nan).reshape(*shape, n_frames + 1),
        velocity.reshape(shape),
        float(dividing),
        time_step,
        usable.reshape(shape),
    )


def _launch_state(
    simulator: Simulator, starts: Float[np.ndarray, "draw start site dim"], key: Key[Array, ""]
) -> EngineState:
    """All starts of all draws with velocities on the step, those of the first draw for every one."""
    engine = simulator.engine
    one = engine.initial_state(key, starts[0])
    everywhere = engine.initial_state(key, starts.reshape(-1, *starts.shape[2:]))
    each = np.tile(np.arange(starts.shape[1]), len(starts))
    return everywhere._replace(velocities=one.velocities[each], keys=one.keys[each])


def _value_and_rate(
    coordinate: ReactionCoordinate, positions: Array, velocities: Array, box: Array
) -> tuple[np.ndarray, np.ndarray]:
    """ξ and dξ/dt = Σ_i ∂ξ/∂r_i · v_i of configurations."""

    @jax.jit
    @jax.vmap
    def both(x: Array, v: Array) -> tuple[Array, Array]:
        return jax.jvp(lambda y: coordinate.value(y, box), (x,), (v,))

    xi, rate = both(jnp.asarray(positions, box.dtype), jnp.asarray(velocities, box.dtype))
    return np.asarray(xi, float), np.asarray(rate, float)


def _along(
    simulator: Simulator,
    state: EngineState,
    parameters: PyTree,
    coordinate: ReactionCoordinate,
    *,
    n_frames: int,
    stride: int,
) -> tuple[Float[np.ndarray, "trajectory frame"], Bool[np.ndarray, " trajectory"]]:
    """ξ along all trajectories, a group of them in memory at a time, and which of them stayed finite."""
    engine, box = simulator.engine, jnp.asarray(simulator.box, float)
    values = jax.jit(jax.vmap(jax.vmap(lambda x: coordinate.value(x, box))))
    n = len(state.positions)
    size = max(1, min(n, _NUMBERS // (2 * n_frames * int(np.prod(state.positions.shape[1:])))))
    size = -(-n // -(-n // size))
    xi, usable = [], []
    for first in range(0, n, size):
        members = np.minimum(np.arange(first, first + size), n - 1)  # one shape for all groups
        mine, own = (jax.tree.map(lambda leaf: leaf[members], tree) for tree in (state, parameters))  # noqa: B023
        end, kept = record(engine, on_step_state(engine, mine, own), own, n_samples=n_frames, stride=stride)
        made = np.asarray(values(jnp.asarray(kept.positions, float)), float)
        fine = (np.asarray(end.result) == Result.OK.value) & np.isfinite(made).all(axis=1)
        xi.append(made[: n - first])
        usable.append(fine[: n - first])
    return np.concatenate(xi), np.concatenate(usable)


def _nearest(apart: np.ndarray, period: float) -> np.ndarray:
    """Differences of a periodic coordinate, folded to the nearest image."""
    return apart - period * np.round(apart / period) if np.isfinite(period) else apart
