"""Positions, velocities on the step and virial tensors along batched dynamics, for time correlation functions."""

import concurrent.futures
import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from bayescg.errors import InputError
from bayescg.physics._cell_engine import CellEngine
from bayescg.physics._engine import (
    CPU_COMPILER_OPTIONS,
    AnalyticForce,
    EngineState,
    PairEngine,
    TableForce,
    is_on_cpu,
    loop_factor,
    minimum_image,
    pair_forces,
    replica_groups,
)
from bayescg.physics._generic_engine import Energy, GenericEngine
from bayescg.physics._langevin import LangevinSettings, closed_edges, integrate, with_precision

AnyEngine = PairEngine | CellEngine | GenericEngine
"""What simulates batches of replicas."""

_PAIRS = 300_000  # per program and step, as for the engine's formulas; a sample costs about two steps more


class PhaseSpace(NamedTuple):
    """What batched dynamics passes through.

    Attributes:
        positions: wrapped into the box [length].
        velocities: on the step [length/time].
        virial: Σ over pairs of f_a d_b, no entries where it was not asked for [energy].

    Example:
        >>> PhaseSpace(np.zeros((4, 9, 2, 3)), np.zeros((4, 9, 2, 3)), np.zeros((4, 9, 0, 0))).positions.shape
        (4, 9, 2, 3)
    """

    positions: Float[np.ndarray, "replica sample site dim"]
    velocities: Float[np.ndarray, "replica sample site dim"]
    virial: Float[np.ndarray, "replica sample a b"]


def on_step_state(engine: AnyEngine, state: EngineState, parameters: PyTree) -> EngineState:
    """The engine's state whose velocities lie half a kick before the step, from one with velocities on the step.

    Example:
        >>> from bayescg.physics._langevin import LangevinSettings
        >>> def spring(k, x, box):
        ...     return 0.5 * k * jnp.sum(x * x)
        >>> settings = LangevinSettings(0.1, 0.0, 1.0, np.ones(1))
        >>> engine = GenericEngine(1, np.array([np.inf]), settings, spring, deterministic=True)
        >>> state = engine.initial_state(jax.random.key(0), np.ones((1, 1, 1)))
        >>> moved = on_step_state(engine, state, jnp.ones(1))
        >>> round(float((moved.velocities - state.velocities)[0, 0, 0]), 6)  # -f dt/2, and f = -1
        0.05
    """
    forces = engine.forces(state.positions, parameters)
    return state._replace(velocities=state.velocities - _half_kick(engine) * forces)


def record(
    engine: AnyEngine,
    state: EngineState,
    parameters: PyTree,
    *,
    n_samples: int,
    stride: int,
    virial: bool = False,
) -> tuple[EngineState, PhaseSpace]:
    """Dynamics of an engine that keeps velocities, and virial tensors if they are asked for.

    The steps are those of `engine.run`, in its precision; a replica gives the same bits in every batch. Velocities are
    brought onto the step by half a kick.

    Args:
        engine: deterministic (velocity Verlet) or Langevin, as it was made.
        state: from `on_step_state` or an earlier call.
        parameters: of every replica, along the leading axis of each leaf.
        n_samples: frames.
        stride: steps between them.
        virial: keep the virial tensor of each frame; only for an engine of pair forces.

    Raises:
        InputError: the virial of an engine without pair forces.

    Example:
        >>> from bayescg.physics._langevin import LangevinSettings
        >>> def spring(k, x, box):
        ...     return 0.5 * k * jnp.sum(x * x)
        >>> settings = LangevinSettings(0.1, 0.0, 1.0, np.ones(1))
        >>> engine = GenericEngine(1, np.array([np.inf]), settings, spring, deterministic=True)
        >>> state = engine.initial_state(jax.random.key(0), np.ones((2, 1, 1)))
        >>> _, kept = record(engine, on_step_state(engine, state, jnp.ones(2)), jnp.ones(2), n_samples=50, stride=2)
        >>> energy = 0.5 * (kept.positions**2 + kept.velocities**2)[..., 0, 0]
        >>> bool(np.ptp(energy, axis=1).max() < 0.01 * energy.max())
        True
    """
    if isinstance(engine, PairEngine):
        return _recorded_pairs(engine, state, parameters, n_samples, stride, virial)
    if virial:
        raise InputError(
            "virial tensor: the engine has no pair forces to sum; viscosity is offered for pair potentials of up to"
            " about 1,500 sites"
        )
    if isinstance(engine, GenericEngine):
        state, kept = _record_generic(
            state,
            parameters,
            engine.settings,
            engine.box,
            jnp.int32(stride),
            energy=engine.energy,
            n_samples=n_samples,
            deterministic=engine.deterministic,
        )
        positions, velocities = map(np.asarray, kept)
        return state, PhaseSpace(positions, velocities, np.zeros((len(positions), n_samples, 0, 0)))
    frames = []
    for _ in range(n_samples):
        state, samples = engine.run(state, parameters, n_samples=1, stride=stride)
        forces = engine.forces(state.positions, parameters)
        frames.append((np.asarray(samples[:, 0]), np.asarray(state.velocities + _half_kick(engine) * forces)))
    positions, velocities = (np.stack(part, 1) for part in zip(*frames, strict=True))
    return state, PhaseSpace(positions, velocities, np.zeros((len(positions), n_samples, 0, 0)))


@partial(jax.jit, static_argnames=("energy", "n_samples", "deterministic"))
def _record_generic(
    state: EngineState,
    parameters: PyTree,
    settings: LangevinSettings,
    box: Float[Array, " dim"],
    stride: Int[Array, ""],
    *,
    energy: Energy,
    n_samples: int,
    deterministic: bool,
) -> tuple[EngineState, tuple[Array, Array]]:
    """All frames in one program: a call for each would cost more than its steps."""
    half_kick = 0.5 * jnp.asarray(settings.time_step) * jnp.asarray(settings.inverse_mass)

    def replica(state: EngineState, parameters: PyTree) -> tuple[EngineState, tuple[Array, Array]]:
        gradient = jax.grad(lambda positions: energy(parameters, positions, box))

        def total(rows: Array) -> Array:
            return -gradient(rows.T).T

        def sample(state: EngineState, _: None) -> tuple[EngineState, tuple[Array, Array]]:
            state = integrate(
                total, state, settings, closed_edges(box), stride, n_samples=1, deterministic=deterministic
            )[0]
            kick = half_kick.astype(state.velocities.dtype)[:, None] * total(state.positions.T).T
            return state, (state.positions, state.velocities + kick)

        return jax.lax.scan(sample, state, None, length=n_samples)

    return jax.vmap(replica)(state, with_precision(parameters, state.positions.dtype))


def _half_kick(engine: AnyEngine) -> Float[Array, "site one"]:
    settings = engine.settings
    kick = 0.5 * float(np.asarray(settings.time_step)) * np.asarray(settings.inverse_mass, float)
    return jnp.asarray(kick, engine.box.dtype)[:, None]


def _recorded_pairs(
    engine: PairEngine, state: EngineState, parameters: PyTree, n_samples: int, stride: int, virial: bool
) -> tuple[EngineState, PhaseSpace]:
    """As the engine's own run: programs of some replicas each, a thread per core on the CPU."""
    n_replicas = state.positions.shape[0]
    inputs = (state, engine._loop_parameters(parameters))
    static = {
        "force": engine.force,
        "n_samples": n_samples,
        "deterministic": engine.deterministic,
        "virial": virial,
    }
    if not is_on_cpu(state.positions):
        done = _elsewhere(jnp.int32(0), *inputs, engine._constants(stride), n_replicas=n_replicas, **static)
        return done[0], PhaseSpace(*map(np.asarray, done[1]))
    n_workers = os.cpu_count() or 1
    groups = replica_groups(n_replicas, n_sites=engine.n_sites, n_workers=n_workers, n_pairs=_PAIRS)

    def simulate(group: tuple[int, int]) -> tuple[EngineState, tuple[Array, ...]]:
        start, size = group
        constants = engine._constants(stride)
        return jax.block_until_ready(_on_cpu(jnp.int32(start), *inputs, constants, n_replicas=size, **static))

    for size in {size for _, size in groups}:  # zero steps: compiled here, rather than in every thread
        _on_cpu(jnp.int32(0), *inputs, engine._constants(0), n_replicas=size, **static)
    with concurrent.futures.ThreadPoolExecutor(n_workers) as pool:
        parts = list(pool.map(simulate, groups))
    state, kept = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    return state, PhaseSpace(*map(np.asarray, kept))


def pair_virial(
    factor: Callable[[Array], Array], rows: Float[Array, "dim site"], edges: Float[Array, " dim"]
) -> Float[Array, "dim dim"]:
    """Σ over pairs of (f/r) d_a d_b with d the displacement to the nearest image [energy].

    Args:
        factor: f / r of squared distances, 0 beyond the cutoff.
        rows: positions, one row per direction [length].
        edges: box edges, 0 for open [length].

    Example:
        >>> rows = jnp.array([[0.0, 1.0], [0.0, 2.0]])
        >>> pair_virial(lambda r2: jnp.where(r2 < 100.0, 3.0, 0.0), rows, jnp.zeros(2)).tolist()
        [[3.0, 6.0], [6.0, 12.0]]
    """
    inverse = jnp.where(edges > 0, 1 / edges, 0)
    apart = [
        minimum_image(row[:, None] - row[None, :], edge, inverse_edge)
        for row, edge, inverse_edge in zip(rows, edges, inverse, strict=True)
    ]
    i, j = (jax.lax.broadcasted_iota(jnp.int32, (rows.shape[1],) * 2, axis) for axis in (0, 1))
    r2 = sum((d * d for d in apart), start=jnp.where(i == j, np.float32(np.inf), np.float32(0)))
    f = factor(r2)
    dim = len(apart)
    terms = tuple(f * apart[a] * apart[b] for a in range(dim) for b in range(a, dim))
    zero = np.zeros((), rows.dtype)
    # one sum over all components: separate ones would compute the pairs once for each
    sums = jax.lax.reduce(
        terms, (zero,) * len(terms), lambda a, b: tuple(u + v for u, v in zip(a, b, strict=True)), (0, 1)
    )
    upper = jnp.zeros((dim, dim), rows.dtype).at[np.triu_indices(dim)].set(0.5 * jnp.stack(sums))
    return upper + jnp.triu(upper, 1).T


def _record(
    start: Int[Array, ""],
    state: EngineState,
    parameters: PyTree,
    constants: PyTree,
    *,
    force: AnalyticForce | TableForce,
    n_samples: int,
    n_replicas: int,
    deterministic: bool,
    virial: bool,
) -> tuple[EngineState, tuple[Array, ...]]:
    """The n_replicas replicas from `start` on."""
    settings, edges, cutoff, stride = constants
    half_kick = (0.5 * settings.time_step * settings.inverse_mass)[:, None]

    def replica(state: EngineState, parameters: PyTree) -> tuple[EngineState, tuple[Array, ...]]:
        factor = loop_factor(force, parameters, cutoff)

        def total(rows: Array) -> Array:
            return pair_forces(factor, rows, edges)

        def sample(state: EngineState, _: None) -> tuple[EngineState, tuple[Array, ...]]:
            state = integrate(
                total, state, settings, edges, stride, n_samples=1, deterministic=deterministic
            )[0]
            rows = state.positions.T
            tensor = pair_virial(factor, rows, edges) if virial else jnp.zeros((0, 0), rows.dtype)
            return state, (state.positions, state.velocities + half_kick * total(rows).T, tensor)

        return jax.lax.scan(sample, state, None, length=n_samples)

    mine = jax.tree.map(
        lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, n_replicas), (state, parameters)
    )
    return jax.vmap(replica)(*mine)


_STATIC = ("force", "n_samples", "n_replicas", "deterministic", "virial")
_on_cpu = jax.jit(_record, static_argnames=_STATIC, compiler_options=CPU_COMPILER_OPTIONS)
_elsewhere = jax.jit(_record, static_argnames=_STATIC)
