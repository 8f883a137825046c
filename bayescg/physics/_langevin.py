"""Langevin dynamics of one replica, whatever its forces: state, settings, and the BAOAB loop."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Int, Key, PyTree

from bayescg.physics._result import Result


class EngineState(NamedTuple):
    """Replicas between two calls of `run`; simulating in one piece or in several gives the same bits.

    Attributes:
        positions: wrapped into the box [length].
        velocities: half a kick before the end of the step, as BAOAB's closing kick and the next step's opening kick
            are done as one [length / time].
        keys: one PRNG key per replica.
        result: the `Result` code of each replica.
    """

    positions: Float[Array, "replica site dim"]
    velocities: Float[Array, "replica site dim"]
    keys: Key[Array, " replica"]
    result: Int[Array, " replica"]


class LangevinSettings(NamedTuple):
    """What the Langevin equation needs besides the force; changing a value never recompiles.

    Attributes:
        time_step: [time].
        friction: collision rate [1 / time].
        kT: [energy].
        inverse_mass: 1 / mass times `UnitSystem.force_to_acceleration`, per site [length^2 / (time^2 energy)].
    """

    time_step: ArrayLike
    friction: ArrayLike
    kT: ArrayLike
    inverse_mass: ArrayLike


def wrap(rows: Float[Array, "dim site"], edges: Float[Array, " dim"]) -> Float[Array, "dim site"]:
    """Positions moved into [0, edge); open directions (edge 0) are left alone."""
    inverse = jnp.where(edges > 0, 1 / edges, 0)
    return rows - edges[:, None] * jnp.floor(rows * inverse[:, None])


def closed_edges(box: Float[Array, " dim"]) -> Float[Array, " dim"]:
    """The box with 0 in place of the infinite edge of an open direction, so that nothing multiplies infinity."""
    return jnp.where(jnp.isfinite(box), box, 0)


def integrate(
    force: Callable[[Array], Array],
    state: EngineState,
    settings: LangevinSettings,
    edges: Float[Array, " dim"],
    stride: Int[Array, ""],
    *,
    n_samples: int,
    deterministic: bool = False,
) -> tuple[EngineState, Float[Array, "sample site dim"]]:
    """One replica's BAOAB trajectory: n_samples samples, stride steps apart.

    Without the O step (`deterministic`) it is the leapfrog form of velocity Verlet, and no random numbers are made.

    One step, with the closing kick of a step and the opening kick of the next done together (one force per step):
    B: v += dt F(x) / m;  A: x += v dt / 2;  O: v = c v + sqrt((1 - c^2) kT / m) R;  A: x += v dt / 2,
    where c = exp(-gamma dt) and R is standard normal.

    References:
        Leimkuhler & Matthews 2013, doi:10.1093/amrx/abs010 and doi:10.1063/1.4802990, eqs. 10-12.
    """
    forgetful = MemoryForce((), lambda x, memory: (force(x), memory), lambda memory: memory, None)
    state, samples, _ = integrate_with_memory(
        forgetful, state, settings, edges, stride, n_samples=n_samples, deterministic=deterministic
    )
    return state, samples


class MemoryForce(NamedTuple):
    """A force that remembers something from step to step, such as which sites are neighbours.

    Attributes:
        memory: at the start.
        evaluate: `(rows, memory) -> (force, memory)`.
        refresh: `memory -> memory`, at the start of every sample: what it forgets there cannot make the bits depend on
            how a run is split.
        trouble: `memory -> Result code`, which comes before every other code of the same sample; None for a force that
            never fails by itself.
    """

    memory: PyTree
    evaluate: Callable[[Array, PyTree], tuple[Array, PyTree]]
    refresh: Callable[[PyTree], PyTree]
    trouble: Callable[[PyTree], Array] | None


def integrate_with_memory(
    force: MemoryForce,
    state: EngineState,
    settings: LangevinSettings,
    edges: Float[Array, " dim"],
    stride: Int[Array, ""],
    *,
    n_samples: int,
    deterministic: bool = False,
) -> tuple[EngineState, Float[Array, "sample site dim"], PyTree]:
    """`integrate` with a force that has a memory; also returns the memory at the end."""
    dtype = state.positions.dtype
    time_step, friction, kT = (jnp.asarray(value, dtype) for value in settings[:3])
    inverse_mass = jnp.asarray(settings.inverse_mass, dtype)
    keep = jnp.exp(-friction * time_step)
    noise = jnp.sqrt(-jnp.expm1(-2 * friction * time_step) * kT * inverse_mass)
    kick = time_step * inverse_mass
    half = time_step / 2

    def step(_: Array, carry: tuple[Array, Array, Array, PyTree]) -> tuple[Array, Array, Array, PyTree]:
        x, v, key, memory = carry
        if deterministic:
            f, memory = force.evaluate(x, memory)
            v = v + kick * f
            return wrap(x + time_step * v, edges), v, key, memory
        key, normal_key = jax.random.split(key)
        f, memory = force.evaluate(x, memory)
        v = v + kick * f
        x = x + half * v
        v = keep * v + noise * jax.random.normal(normal_key, v.shape, dtype)
        x = wrap(x + half * v, edges)
        return x, v, key, memory

    degrees = state.positions.size
    hottest = (10 + 100 / degrees) * kT  # chi-squared fluctuations of few degrees of freedom are allowed for

    def sample(
        carry: tuple[Array, Array, Array, PyTree, Array], _: None
    ) -> tuple[tuple[Array, Array, Array, PyTree, Array], Array]:
        x, v, key, memory, result = carry
        # The number of steps is traced: XLA neither unrolls nor specialises the loop, so its bits never change.
        x, v, key, memory = jax.lax.fori_loop(0, stride, step, (x, v, key, force.refresh(memory)))
        finite = jnp.isfinite(x).all() & jnp.isfinite(v).all()
        hot = jnp.sum(v * v / inverse_mass) > degrees * hottest
        code = jnp.where(
            finite, jnp.where(hot, Result.UNSTABLE.value, Result.OK.value), Result.NONFINITE.value
        )
        if force.trouble is not None:
            trouble = force.trouble(memory)
            code = jnp.where(trouble == Result.OK.value, code, trouble)
        result = jnp.where(result == Result.OK.value, code.astype(result.dtype), result)
        return (x, v, key, memory, result), x.T

    carry = (state.positions.T, state.velocities.T, state.keys, force.memory, state.result)
    (x, v, key, memory, result), samples = jax.lax.scan(sample, carry, None, length=n_samples)
    return EngineState(x.T, v.T, key, result), samples, memory


def maxwell_state(
    key: Key[Array, ""],
    positions: Float[Array, "replica site dim"],
    settings: LangevinSettings,
    box: Float[Array, " dim"],
) -> EngineState:
    """Replicas at the given positions, wrapped into the box, with velocities of the Maxwell distribution."""
    if positions.ndim != 3:
        raise ValueError(f"positions have shape {positions.shape}, expected [replica site dim]")
    velocity_key, replica_key = jax.random.split(key)
    scale = jnp.sqrt(jnp.asarray(settings.kT * jnp.asarray(settings.inverse_mass), positions.dtype))
    velocities = scale[:, None] * jax.random.normal(velocity_key, positions.shape, positions.dtype)
    edges = closed_edges(box)
    wrapped = jax.vmap(lambda x: wrap(x.T, edges).T)(positions)
    n_replicas = positions.shape[0]
    return EngineState(
        wrapped, velocities, jax.random.split(replica_key, n_replicas), jnp.zeros(n_replicas, jnp.int32)
    )


def check_box(box: Float[np.ndarray, " dim"], n_sites: int, settings: LangevinSettings) -> None:
    """Refuse a box, masses or settings that no simulation can have."""
    if box.ndim != 1 or not np.all(box > 0):
        raise ValueError(
            f"box is {box}, expected one positive edge length per direction (inf for an open one)"
        )
    if np.shape(settings.inverse_mass) != (n_sites,):
        raise ValueError(f"inverse_mass has shape {np.shape(settings.inverse_mass)}, expected ({n_sites},)")
    time_step, friction, kT = (np.asarray(value, float) for value in settings[:3])
    if not (time_step > 0 and kT > 0 and friction >= 0):
        raise ValueError(f"time_step and kT must be positive and friction not negative, found {settings[:3]}")


def with_precision(parameters: PyTree, dtype: DTypeLike) -> PyTree:
    """The parameters with their real arrays in the given precision."""
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, parameters
    )
