"""Batched Langevin dynamics with pair forces: the loop in which nearly all computer time is spent."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key, PyTree

from bayescg.physics._langevin import (
    EngineState,
    LangevinSettings,
    check_box,
    closed_edges,
    integrate,
    maxwell_state,
    with_precision,
)

# Per-jit, never global, and only on the CPU: without them XLA does not vectorise the sum over neighbours. The four
# `honor` options keep NaN and infinity alive, on which the result codes depend (tested).
CPU_COMPILER_OPTIONS = {
    "xla_cpu_enable_fast_math": True,
    "xla_cpu_fast_math_honor_nans": True,
    "xla_cpu_fast_math_honor_infs": True,
    "xla_cpu_fast_math_honor_division": True,
    "xla_cpu_fast_math_honor_functions": True,
}

# Columns of the pair loop are filled up to a multiple of the vector width when the force is a formula (14 % faster at
# 343 sites); with a table the gather dominates and filling up only costs.
_COLUMN_MULTIPLE = 16

# Pairs that one program should have per step: enough to hide XLA's cost per operation, but more fall out of the core's
# cache. With a table a batch gains nothing at 343 sites with jax 0.10, and is three times slower with jax 0.12.
_PAIRS_WITH_FORMULA = 500_000
_PAIRS_WITH_TABLE = 100_000

# Added to the squared distance of a site to itself and to the columns that fill up: beyond every cutoff.
_NO_PAIR = np.float32(np.inf)


@dataclasses.dataclass(frozen=True)
class AnalyticForce:
    """A pair force computed from its formula.

    Attributes:
        force_factor: `(parameters, r2) -> f / r` with f = -du/dr [energy / length^2] for squared distances r2
            [length^2], elementwise; parameters are one replica's. A module-level function (a new lambda on every
            call would compile anew).
    """

    force_factor: Callable[[PyTree, Array], Array]


@dataclasses.dataclass(frozen=True)
class TableForce:
    """A pair force from a table: the energy is sampled at nodes and is linear in r^2 between them.

    The force factor f / r = -2 du/d(r^2) is constant within a bin, so the force is exactly minus the gradient of the
    interpolated energy, and a pair costs one gather.

    Attributes:
        pair_energy: `(parameters, r2) -> u` [energy], called once per run at the n_bins + 1 nodes, uniform in r^2 on
            [0, cutoff^2]; parameters are one replica's. A module-level function, as for `AnalyticForce`. Node
            energies made elsewhere are passed as the parameters, with the function that returns them unchanged.
        n_bins: number of bins on [0, cutoff^2].
    """

    pair_energy: Callable[[PyTree, Array], Array]
    n_bins: int = 16384


def table_force_factor(
    node_energies: Float[Array, " node"], *, cutoff: float | Array
) -> Float[Array, " bin"]:
    """Force factor -2 (u[k+1] - u[k]) / (s[k+1] - s[k]) of the energy that is linear in s = r^2 between nodes.

    Args:
        node_energies: energies at nodes uniform in r^2 from 0 to cutoff^2 [energy].
        cutoff: [length].
    """
    width = cutoff**2 / (node_energies.shape[-1] - 1)
    return -2.0 * jnp.diff(node_energies) / width


def minimum_image(displacement: Array, edge: Array, inverse_edge: Array) -> Array:
    """Nearest periodic image along one direction; an open direction has edge and inverse edge 0."""
    return displacement - edge * jnp.round(displacement * inverse_edge)


def pair_forces(
    factor: Callable[[Array], Array],
    rows: Float[Array, "dim site"],
    edges: Float[Array, " dim"],
    *,
    column_multiple: int = 1,
) -> Float[Array, "dim site"]:
    """Force on every site from all pairs, by one sum over all components at once [energy / length].

    Args:
        factor: f / r of squared distances, 0 beyond the cutoff.
        rows: positions, one row per direction [length].
        edges: box edges, 0 for open [length].
        column_multiple: the sum over neighbours runs over a multiple of this number of columns.
    """
    n_sites = rows.shape[1]
    n_columns = -(-n_sites // column_multiple) * column_multiple
    columns = jnp.pad(rows, ((0, 0), (0, n_columns - n_sites)))
    inverse = jnp.where(edges > 0, 1 / edges, 0)
    separations = [
        minimum_image(row[:, None] - column[None, :], edge, inverse_edge)
        for row, column, edge, inverse_edge in zip(rows, columns, edges, inverse, strict=True)
    ]
    i, j = (jax.lax.broadcasted_iota(jnp.int32, (n_sites, n_columns), axis) for axis in (0, 1))
    filling = jnp.where(jnp.arange(n_columns) < n_sites, np.float32(0), _NO_PAIR)
    r2 = sum((d * d for d in separations), start=jnp.where(i == j, _NO_PAIR, filling[None, :]))
    f = factor(r2)
    # Three separate sums are several times slower: XLA would compute the pair loop once for each.
    zero = np.zeros((), rows.dtype)
    components = jax.lax.reduce(
        tuple(f * d for d in separations),
        (zero,) * len(separations),
        lambda a, b: tuple(u + v for u, v in zip(a, b, strict=True)),
        (1,),
    )
    return jnp.stack(components)


def _loop_parameters(parameters: PyTree, cutoff: Array, *, force: AnalyticForce | TableForce) -> PyTree:
    """What the loop needs of the parameters of all replicas: their float32 copy, or the tables made from them.

    Tables are made in the parameters' own precision and end in a bin of zeros for everything beyond the cutoff.
    """
    if isinstance(force, AnalyticForce):
        return with_precision(parameters, jnp.float32)
    dtype = jnp.result_type(jnp.float32, *(leaf.dtype for leaf in jax.tree.leaves(parameters)))
    exact_cutoff = cutoff.astype(dtype)
    nodes = jnp.linspace(0, 1, force.n_bins + 1, dtype=dtype) * exact_cutoff**2

    def table(parameters: PyTree) -> Float[Array, " bin"]:
        bins = table_force_factor(force.pair_energy(parameters, nodes), cutoff=exact_cutoff)
        return jnp.append(bins, 0).astype(jnp.float32)

    return jax.vmap(table)(parameters)


def loop_factor(
    force: AnalyticForce | TableForce, parameters: PyTree, cutoff: Array
) -> Callable[[Array], Array]:
    """The function from squared distances to f / r, 0 beyond the cutoff, given one replica's `_loop_parameters`."""
    cutoff2 = cutoff * cutoff
    if isinstance(force, TableForce):
        per_bin = force.n_bins / cutoff2

        def look_up(r2: Array) -> Array:
            # Unsigned indices, and the barrier that keeps the gather out of the sum's loop, let both loops vectorise.
            index = jnp.minimum((r2 * per_bin).astype(jnp.uint32), np.uint32(force.n_bins))
            return jax.lax.optimization_barrier(parameters.at[index].get(mode="promise_in_bounds"))

        return look_up

    def factor(r2: Array) -> Array:
        return jnp.where(r2 < cutoff2, force.force_factor(parameters, r2), 0)

    return factor


def _total_force(
    force: AnalyticForce | TableForce, parameters: PyTree, edges: Float[Array, " dim"], cutoff: Array
) -> Callable[[Float[Array, "dim site"]], Float[Array, "dim site"]]:
    """The function from one replica's position rows to its forces, given its `_loop_parameters`."""
    factor = loop_factor(force, parameters, cutoff)
    if isinstance(force, TableForce):
        return lambda rows: pair_forces(factor, rows, edges)
    return lambda rows: pair_forces(
        factor, rows, edges, column_multiple=_COLUMN_MULTIPLE if rows.shape[1] > _COLUMN_MULTIPLE else 1
    )


class _Constants(NamedTuple):
    """What all replicas share, in float32 on the device."""

    settings: LangevinSettings
    edges: Float[Array, " dim"]
    cutoff: Float[Array, ""]
    stride: Int[Array, ""]


def _run(
    start: Int[Array, ""],
    state: EngineState,
    parameters: PyTree,
    constants: _Constants,
    *,
    force: AnalyticForce | TableForce,
    n_samples: int,
    n_replicas: int,
    deterministic: bool,
) -> tuple[EngineState, Float[Array, "replica sample site dim"]]:
    """Simulate the n_replicas replicas from `start` on, given the `_loop_parameters` of all."""
    settings, edges, cutoff, stride = constants

    def replica(state: EngineState, parameters: PyTree) -> tuple[EngineState, Array]:
        total = _total_force(force, parameters, edges, cutoff)
        return integrate(
            total, state, settings, edges, stride, n_samples=n_samples, deterministic=deterministic
        )

    mine = jax.tree.map(
        lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, n_replicas), (state, parameters)
    )
    if n_replicas == 1:  # without a batch axis, whose cost for tables grew with jax 0.12
        return jax.tree.map(lambda leaf: leaf[None], replica(*jax.tree.map(lambda leaf: leaf[0], mine)))
    return jax.vmap(replica)(*mine)


def _forces(
    positions: Float[Array, "replica site dim"],
    parameters: PyTree,
    edges: Float[Array, " dim"],
    cutoff: Array,
    *,
    force: AnalyticForce | TableForce,
    one_by_one: bool,
) -> Float[Array, "replica site dim"]:
    def replica(positions: Array, parameters: PyTree) -> Array:
        return _total_force(force, parameters, edges, cutoff)(positions.T).T

    if one_by_one:  # a CPU keeps one replica's pairs in its cache, not those of all
        return jax.lax.map(lambda mine: replica(*mine), (positions, parameters))
    return jax.vmap(replica)(positions, parameters)


compiled_loop_parameters = jax.jit(_loop_parameters, static_argnames="force")
_STATIC = ("force", "n_samples", "n_replicas", "deterministic")
_run_on_cpu = jax.jit(_run, static_argnames=_STATIC, compiler_options=CPU_COMPILER_OPTIONS)
_run_elsewhere = jax.jit(_run, static_argnames=_STATIC)
_FORCES_STATIC = ("force", "one_by_one")
_forces_on_cpu = jax.jit(_forces, static_argnames=_FORCES_STATIC, compiler_options=CPU_COMPILER_OPTIONS)
_forces_elsewhere = jax.jit(_forces, static_argnames=_FORCES_STATIC)


def is_on_cpu(array: Array) -> bool:
    """Whether the array lies on the CPU, for which the compiler options are."""
    return next(iter(array.devices())).platform == "cpu"


def replica_groups(n_replicas: int, *, n_sites: int, n_workers: int, n_pairs: int) -> list[tuple[int, int]]:
    """Start and size of the groups of replicas, each simulated by one program on one CPU core.

    A thread per core, each with programs of its own, beats XLA's splitting of every operation over the cores. A
    program has about n_pairs pairs per step, or a single replica.
    """
    size = min(-(-n_replicas // n_workers), max(1, n_pairs // n_sites**2))
    n_groups = -(-n_replicas // size)
    n_groups = -(-n_groups // n_workers) * n_workers
    size = -(-n_replicas // n_groups)
    return [(start, min(size, n_replicas - start)) for start in range(0, n_replicas, size)]


class PairEngine:
    """BAOAB Langevin dynamics of n_sites equal sites with one pair force, many replicas at once, in float32.

    All pairs are computed (best up to about 1500 sites), with the minimum image in an orthorhombic box.
    Every replica has its own parameters: the leading axis of each leaf of `parameters` is the replica.

    Args:
        n_sites: number of sites.
        box: edge lengths, inf for an open direction [length].
        cutoff: the force is zero beyond it [length]; at most half the shortest edge.
        settings: time step, friction, temperature, masses.
        force: from a formula or from a table.
        deterministic: leave out friction and noise (velocity Verlet), as Metropolised sampling needs it.

    Raises:
        ValueError: the box, the cutoff or the settings are impossible.

    Example:
        >>> def factor(k, r2):
        ...     return -k * jnp.ones_like(r2)
        >>> settings = LangevinSettings(0.01, 1.0, 1.0, jnp.ones(2))
        >>> engine = PairEngine(2, jnp.full(3, jnp.inf), jnp.inf, settings, AnalyticForce(factor))
        >>> state = engine.initial_state(jax.random.key(0), jnp.zeros((4, 2, 3)))
        >>> state, positions = engine.run(state, jnp.ones(4), n_samples=5, stride=10)
        >>> positions.shape
        (4, 5, 2, 3)
    """

    def __init__(
        self,
        n_sites: int,
        box: ArrayLike,
        cutoff: float,
        settings: LangevinSettings,
        force: AnalyticForce | TableForce,
        *,
        deterministic: bool = False,
    ) -> None:
        edges = np.asarray(box, float)
        check_box(edges, n_sites, settings)
        if not 0 < cutoff <= edges.min() / 2 * (1 + 1e-6):
            raise ValueError(
                f"cutoff {cutoff} with box {edges}: the minimum image needs a positive cutoff of at most half the "
                "shortest edge; shorten the cutoff or use a larger system"
            )
        if isinstance(force, TableForce) and not np.isfinite(cutoff):
            raise ValueError("a table needs a finite cutoff, found inf: give the cutoff or use AnalyticForce")
        self.n_sites = n_sites
        self.box = jnp.asarray(edges, jnp.float32)
        self.cutoff = float(cutoff)
        self.settings = settings
        self.force = force
        self.deterministic = deterministic
        self._compiled: set[tuple[int, int, int]] = set()

    def initial_state(self, key: Key[Array, ""], positions: ArrayLike) -> EngineState:
        """Replicas at the given positions [length], wrapped into the box, with Maxwell velocities.

        Raises:
            ValueError: positions do not have the shape [replica, n_sites, dim].
        """
        expected = (self.n_sites, self.box.shape[0])
        if np.ndim(positions) != 3 or np.shape(positions)[1:] != expected:
            raise ValueError(
                f"positions have shape {np.shape(positions)}, expected (replica, {expected[0]}, {expected[1]})"
            )
        return maxwell_state(key, jnp.asarray(positions, jnp.float32), self.settings, self.box)

    def run(
        self, state: EngineState, parameters: PyTree, *, n_samples: int, stride: int
    ) -> tuple[EngineState, Float[Array, "replica sample site dim"]]:
        """Simulate n_samples * stride steps and return the positions after every stride-th [length].

        Compiled once per number of samples and of replicas. A replica that fails keeps its result code; the others
        go on. The same state and parameters give the same bits, whatever the other replicas and the number of cores.

        Args:
            state: from `initial_state` or an earlier run.
            parameters: of every replica, along the leading axis of each leaf.
            n_samples: frames to return.
            stride: steps between frames.

        Raises:
            ValueError: the parameters' leading axis is not the replica axis.
        """
        n_replicas = state.positions.shape[0]
        check_replica_axis(parameters, n_replicas)
        inputs = (state, self._loop_parameters(parameters))
        constants = self._constants(stride)
        static = {"force": self.force, "n_samples": n_samples, "deterministic": self.deterministic}
        if not is_on_cpu(state.positions):
            return _run_elsewhere(jnp.int32(0), *inputs, constants, n_replicas=n_replicas, **static)
        n_workers = os.cpu_count() or 1
        n_pairs = _PAIRS_WITH_TABLE if isinstance(self.force, TableForce) else _PAIRS_WITH_FORMULA
        groups = replica_groups(n_replicas, n_sites=self.n_sites, n_workers=n_workers, n_pairs=n_pairs)

        def simulate(group: tuple[int, int]) -> tuple[EngineState, Array]:
            start, size = group
            done = _run_on_cpu(jnp.int32(start), *inputs, constants, n_replicas=size, **static)
            return jax.block_until_ready(done)

        if len(groups) == 1:
            return simulate(groups[0])
        for size in {size for _, size in groups}:
            if (size, n_replicas, n_samples) not in self._compiled:
                # Zero steps: compiles once, here, rather than in every thread.
                _run_on_cpu(jnp.int32(0), *inputs, self._constants(0), n_replicas=size, **static)
                self._compiled.add((size, n_replicas, n_samples))
        with concurrent.futures.ThreadPoolExecutor(n_workers) as pool:
            parts = list(pool.map(simulate, groups))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

    def forces(
        self, positions: Float[Array, "replica site dim"], parameters: PyTree
    ) -> Float[Array, "replica site dim"]:
        """The forces the dynamics uses [energy / length]."""
        positions = jnp.asarray(positions, jnp.float32)
        check_replica_axis(parameters, positions.shape[0])
        constants, on_cpu = self._constants(0), is_on_cpu(positions)
        compiled = _forces_on_cpu if on_cpu else _forces_elsewhere
        tables = self._loop_parameters(parameters)
        return compiled(
            positions, tables, constants.edges, constants.cutoff, force=self.force, one_by_one=on_cpu
        )

    def _constants(self, stride: int) -> _Constants:
        settings = LangevinSettings(*(jnp.asarray(value, jnp.float32) for value in self.settings))
        return _Constants(settings, closed_edges(self.box), jnp.float32(self.cutoff), jnp.int32(stride))

    def _loop_parameters(self, parameters: PyTree) -> PyTree:
        return compiled_loop_parameters(parameters, jnp.float32(self.cutoff), force=self.force)


def check_replica_axis(parameters: PyTree, n_replicas: int) -> None:
    for leaf in jax.tree.leaves(parameters):
        if np.ndim(leaf) == 0 or np.shape(leaf)[0] != n_replicas:
            raise ValueError(
                f"a parameter array has shape {np.shape(leaf)}, expected the {n_replicas} replicas as the leading "
                "axis: stack one set of parameters per replica"
            )
