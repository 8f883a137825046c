"""Batched Langevin dynamics with pair forces of large periodic systems: neighbours from cells of equal counts."""

import concurrent.futures
import logging
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key, PyTree

from bayescg.physics._cell_list import (
    Capacity,
    CellLayout,
    cell_forces,
    cell_layout,
    expected_candidates,
    expected_columns,
    find_neighbours,
    sort_into_cells,
)
from bayescg.physics._engine import (
    CPU_COMPILER_OPTIONS,
    AnalyticForce,
    TableForce,
    check_replica_axis,
    compiled_loop_parameters,
    is_on_cpu,
    loop_factor,
    minimum_image,
)
from bayescg.physics._langevin import (
    EngineState,
    LangevinSettings,
    MemoryForce,
    check_box,
    integrate_with_memory,
    maxwell_state,
)
from bayescg.physics._result import Result

_logger = logging.getLogger(__name__)

LEAST_SITES = 1500
"""Below it, computing all pairs is as fast."""
_SKIN = 0.16
"""Default skin, as a fraction of the cutoff: a thicker one has more candidates and is made anew less often."""
_HEADROOM = 1.12
"""Room in the lists beyond what the positions at hand need."""


class CellList(NamedTuple):
    """Which site is where, and which cells are neighbours; the memory of one replica's force.

    Attributes:
        sites: the site in every slot, n_sites in an empty one.
        slot: of every site.
        neighbours: cells within reach of every cell.
        reference: positions it was made at; NaN where it is to be made anew [length].
        demand: the largest so far, in the order of `Capacity`.
    """

    sites: Int[Array, "cell slot"]
    slot: Int[Array, " site"]
    neighbours: Int[Array, "cell neighbour"]
    reference: Float[Array, "3 site"]
    demand: Int[Array, "2"]


class _Constants(NamedTuple):
    """What all replicas share, in float32 on the device."""

    settings: LangevinSettings
    edges: Float[Array, "3"]
    cutoff: Float[Array, ""]
    skin: Float[Array, ""]
    stride: Int[Array, ""]


class _Program(NamedTuple):
    """What the compiler has to know."""

    force: AnalyticForce | TableForce
    layout: CellLayout
    capacity: Capacity
    in_blocks: bool


def _make_list(rows: Float[Array, "3 site"], constants: _Constants, program: _Program) -> CellList:
    sites = sort_into_cells(rows, program.layout)
    # Rounding must not bring a pair within the cutoff that the list left out.
    reach = (constants.cutoff + constants.skin) * np.float32(1 + 1e-5)
    neighbours, demand = find_neighbours(
        rows, sites, constants.edges, reach, layout=program.layout, capacity=program.capacity
    )
    n_sites = program.layout.n_sites
    slot = (
        jnp.zeros(n_sites + 1, jnp.int32).at[sites.reshape(-1)].set(jnp.arange(sites.size, dtype=jnp.int32))
    )
    return CellList(sites, slot[:n_sites], neighbours, rows, demand)


def _stale_list(n_sites: int, constants: _Constants, program: _Program) -> CellList:
    """A list of the right shapes, to be made anew at the first step."""
    shapes = jax.eval_shape(
        lambda rows: _make_list(rows, constants, program), jax.ShapeDtypeStruct((3, n_sites), jnp.float32)
    )
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return _forget(empty)


def _forget(cells: CellList) -> CellList:
    return cells._replace(reference=jnp.full_like(cells.reference, np.nan))


def _memory_force(parameters: PyTree, constants: _Constants, program: _Program) -> MemoryForce:
    """One replica's force, given its parameters in the loop: the list is made anew whenever a pair might be missing."""
    factor = loop_factor(program.force, parameters, constants.cutoff)
    edges = constants.edges

    def evaluate(rows: Array, cells: CellList) -> tuple[Array, CellList]:
        moved = minimum_image(rows - cells.reference, edges[:, None], 1 / edges[:, None])
        allowed = (constants.skin / 2) ** 2
        known = jnp.all(jnp.sum(moved * moved, axis=0) <= allowed)  # false for what is not a number

        def renew(cells: CellList) -> CellList:
            new = _make_list(rows, constants, program)
            return new._replace(demand=jnp.maximum(cells.demand, new.demand))

        cells = jax.lax.cond(known, lambda cells: cells, renew, cells)
        forces = cell_forces(
            factor,
            rows,
            cells.sites,
            cells.neighbours,
            edges,
            constants.cutoff,
            layout=program.layout,
            in_blocks=program.in_blocks,
        )
        return forces.reshape(3, -1)[:, cells.slot], cells

    def trouble(cells: CellList) -> Array:
        overflown = jnp.any(cells.demand > jnp.array(program.capacity))
        return jnp.where(overflown, Result.OVERFLOW.value, Result.OK.value)

    stale = _stale_list(program.layout.n_sites, constants, program)
    return MemoryForce(stale, evaluate, _forget, trouble)


def _run(
    replica: Int[Array, ""],
    states: EngineState,
    parameters: PyTree,
    constants: _Constants,
    *,
    program: _Program,
    n_samples: int,
    deterministic: bool,
) -> tuple[EngineState, Float[Array, "sample site dim"], Int[Array, "2"]]:
    """Simulate one of the replicas; also the demand for capacity."""
    state, mine = jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, replica, keepdims=False), (states, parameters)
    )
    end, samples, cells = integrate_with_memory(
        _memory_force(mine, constants, program),
        state,
        constants.settings,
        constants.edges,
        constants.stride,
        n_samples=n_samples,
        deterministic=deterministic,
    )
    return end, samples, cells.demand


def _forces(
    positions: Float[Array, "replica site 3"], parameters: PyTree, constants: _Constants, *, program: _Program
) -> tuple[Float[Array, "replica site 3"], Int[Array, "replica 2"]]:
    def one(inputs: tuple[Array, PyTree]) -> tuple[Array, Array]:
        positions, parameters = inputs
        force = _memory_force(parameters, constants, program)
        forces, cells = force.evaluate(positions.T, force.memory)
        return forces.T, cells.demand

    return jax.lax.map(one, (positions, parameters))


def _demand(positions: Float[Array, "replica site 3"], constants: _Constants, *, program: _Program) -> Array:
    return jax.lax.map(lambda x: _make_list(x.T, constants, program).demand, positions).max(0)


_STATIC = ("program", "n_samples", "deterministic")
_run_on_cpu = jax.jit(_run, static_argnames=_STATIC, compiler_options=CPU_COMPILER_OPTIONS)
_run_elsewhere = jax.jit(_run, static_argnames=_STATIC)
_forces_on_cpu = jax.jit(_forces, static_argnames="program", compiler_options=CPU_COMPILER_OPTIONS)
_forces_elsewhere = jax.jit(_forces, static_argnames="program")
_compiled_demand = jax.jit(_demand, static_argnames="program")


def is_large(n_sites: int, box: Float[np.ndarray, " dim"], cutoff: float) -> bool:
    """Whether `CellEngine` is the faster engine: many sites in a periodic box much wider than the cutoff."""
    if n_sites < LEAST_SITES or len(box) != 3 or not np.isfinite(box).all():
        return False
    if box.min() < 3 * (1 + _SKIN) * cutoff:
        return False
    reach = (1 + _SKIN) * cutoff
    layout = cell_layout(n_sites, tuple(box.tolist()), reach)
    return expected_candidates(layout, box, reach) < 0.7 * n_sites


class CellEngine:
    """BAOAB Langevin dynamics of many equal sites with one pair force in a periodic box, in float32.

    The same dynamics, states and random numbers as `PairEngine`, and the same forces up to rounding, at a cost per site
    that does not grow with their number. Sites are kept in cells of equal counts; neighbouring cells come from a list
    that is made anew, within the compiled loop, as soon as some site has moved by half the skin since the last time.

    A list that turns out too short never goes unseen: the replica gets the code `Result.OVERFLOW`, and `run`
    makes longer lists and repeats it from the state before, with the same random numbers.

    Args:
        n_sites: number of sites.
        box: edge lengths, all finite [length].
        cutoff: the force is zero beyond it [length]; at most half the shortest edge.
        settings: time step, friction, temperature, masses.
        force: from a formula or from a table.
        deterministic: leave out friction and noise (velocity Verlet), as Metropolised sampling needs it.
        skin: pairs up to cutoff + skin are listed [length]; default 0.16 of the cutoff.
        capacity: room in the lists at first; default what the first positions need, and a little more.

    Raises:
        ValueError: the box, the cutoff, the skin or the settings are impossible.

    Example:
        >>> def factor(k, r2):
        ...     return k * jnp.ones_like(r2)
        >>> settings = LangevinSettings(0.01, 1.0, 1.0, jnp.ones(64))
        >>> engine = CellEngine(64, np.full(3, 4.0), 1.0, settings, AnalyticForce(factor))
        >>> state = engine.initial_state(jax.random.key(0), jnp.ones((2, 64, 3)))
        >>> state, positions = engine.run(state, jnp.ones(2), n_samples=3, stride=5)
        >>> positions.shape, state.result.tolist()
        ((2, 3, 64, 3), [0, 0])
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
        skin: float | None = None,
        capacity: Capacity | None = None,
    ) -> None:
        edges = np.asarray(box, float)
        check_box(edges, n_sites, settings)
        if edges.shape != (3,) or not np.isfinite(edges).all():
            raise ValueError(
                f"box is {edges}: cells need three finite edges; use PairEngine for an open direction"
            )
        if not 0 < cutoff <= edges.min() / 2 * (1 + 1e-6):
            raise ValueError(
                f"cutoff {cutoff} with box {edges}: the minimum image needs a positive cutoff of at most half the "
                "shortest edge; shorten the cutoff or use a larger system"
            )
        self.skin = _SKIN * cutoff if skin is None else float(skin)
        if not self.skin > 0:
            raise ValueError(f"skin {skin} must be positive: about a sixth of the cutoff is fast")
        self.n_sites = n_sites
        self.box = jnp.asarray(edges, jnp.float32)
        self.cutoff = float(cutoff)
        self.settings = settings
        self.force = force
        self.deterministic = deterministic
        self.layout = cell_layout(n_sites, tuple(edges.tolist()), self.cutoff + self.skin)
        self.capacity = capacity

    def initial_state(self, key: Key[Array, ""], positions: ArrayLike) -> EngineState:
        """Replicas at the given positions [length], wrapped into the box, with Maxwell velocities.

        Raises:
            ValueError: positions do not have the shape [replica, n_sites, 3].
        """
        if np.ndim(positions) != 3 or np.shape(positions)[1:] != (self.n_sites, 3):
            raise ValueError(
                f"positions have shape {np.shape(positions)}, expected (replica, {self.n_sites}, 3)"
            )
        return maxwell_state(key, jnp.asarray(positions, jnp.float32), self.settings, self.box)

    def run(
        self, state: EngineState, parameters: PyTree, *, n_samples: int, stride: int
    ) -> tuple[EngineState, Float[Array, "replica sample site dim"]]:
        """Simulate n_samples * stride steps and return the positions after every stride-th [length].

        Compiled once per number of samples, and again when the lists have to grow. A replica that fails keeps its
        result code; the others go on. The same state and parameters give the same bits, whatever the other replicas,
        the number of cores and the size of the lists.

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
        done: list[tuple[EngineState, Array] | None] = [None] * n_replicas
        left = list(range(n_replicas))
        before = np.asarray(state.result)
        capacity = self._capacity_for(state.positions)
        while left:
            parts = self._attempt(left, inputs, capacity, n_samples=n_samples, stride=stride)
            demand = np.max([np.asarray(part[2]) for part in parts], axis=0)
            for replica, (end, samples, _) in zip(left, parts, strict=True):
                done[replica] = (end, samples)
            left = [
                replica
                for replica, (end, *_) in zip(left, parts, strict=True)
                if int(end.result) == Result.OVERFLOW.value and before[replica] != Result.OVERFLOW.value
            ]
            if left:
                capacity = self._grow(demand, failed=len(left), n_replicas=n_replicas)
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *done)

    def _attempt(
        self,
        replicas: list[int],
        inputs: tuple[EngineState, PyTree],
        capacity: Capacity,
        *,
        n_samples: int,
        stride: int,
    ) -> list[tuple[EngineState, Array, Array]]:
        """The given replicas with lists of this capacity, a thread per CPU core."""
        on_cpu = is_on_cpu(inputs[0].positions)
        program = _Program(self.force, self.layout, capacity, in_blocks=on_cpu)
        run = _run_on_cpu if on_cpu else _run_elsewhere

        def simulate(replica: int, stride: int = stride) -> tuple[EngineState, Array, Array]:
            done = run(
                jnp.int32(replica),
                *inputs,
                self._constants(stride),
                program=program,
                n_samples=n_samples,
                deterministic=self.deterministic,
            )
            return jax.block_until_ready(done) if on_cpu else done

        if not on_cpu or len(replicas) == 1:
            return [simulate(replica) for replica in replicas]
        simulate(replicas[0], 0)  # zero steps: compiles once, here, rather than in every thread
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(simulate, replicas))

    def forces(
        self, positions: Float[Array, "replica site dim"], parameters: PyTree
    ) -> Float[Array, "replica site dim"]:
        """The forces the dynamics uses [energy / length]."""
        positions = jnp.asarray(positions, jnp.float32)
        check_replica_axis(parameters, positions.shape[0])
        on_cpu = is_on_cpu(positions)
        compiled = _forces_on_cpu if on_cpu else _forces_elsewhere
        capacity = self._capacity_for(positions)
        while True:
            program = _Program(self.force, self.layout, capacity, in_blocks=on_cpu)
            forces, demand = compiled(
                positions, self._loop_parameters(parameters), self._constants(0), program=program
            )
            overflown = np.any(np.asarray(demand) > np.array(capacity), axis=1)
            if not overflown.any():
                return forces
            capacity = self._grow(
                np.asarray(demand).max(0), failed=int(overflown.sum()), n_replicas=len(overflown)
            )

    def _capacity_for(self, positions: Float[Array, "replica site 3"]) -> Capacity:
        """Room in the lists, chosen at these positions where none was chosen before."""
        if self.capacity is None:
            edges = np.asarray(self.box, float)
            demand = np.array([expected_columns(self.layout, edges, self.cutoff + self.skin), 1])
            columns = 0
            while columns < demand[0]:  # a full list of columns hides cells
                columns = int(demand[0])
                program = _Program(self.force, self.layout, Capacity(columns, 1), in_blocks=False)
                demand = np.asarray(_compiled_demand(positions, self._constants(0), program=program))
            self.capacity = self._with_headroom(demand)
        return self.capacity

    def _with_headroom(self, demand: np.ndarray) -> Capacity:
        # Multiples of four, so that a little more rarely means another compilation.
        room = [4 * int(np.ceil(_HEADROOM * n / 4)) for n in demand]
        return Capacity(*(min(pair) for pair in zip(room, self.layout.most, strict=True)))

    def _grow(self, demand: np.ndarray, *, failed: int, n_replicas: int) -> Capacity:
        old = self.capacity
        if old is None:
            raise RuntimeError("lists that have no size yet cannot overflow")
        # Never smaller, and with room to spare, as a full list of columns hides how many cells there are.
        needed = self._with_headroom(demand)
        self.capacity = Capacity(*(max(pair) for pair in zip(old, needed, strict=True)))
        _logger.info(
            "the lists of neighbours overflowed in %d of %d replicas: repeated with room for %s instead of %s",
            failed,
            n_replicas,
            self.capacity,
            old,
        )
        return self.capacity

    def _constants(self, stride: int) -> _Constants:
        settings = LangevinSettings(*(jnp.asarray(value, jnp.float32) for value in self.settings))
        return _Constants(
            settings, self.box, jnp.float32(self.cutoff), jnp.float32(self.skin), jnp.int32(stride)
        )

    def _loop_parameters(self, parameters: PyTree) -> PyTree:
        return compiled_loop_parameters(parameters, jnp.float32(self.cutoff), force=self.force)
