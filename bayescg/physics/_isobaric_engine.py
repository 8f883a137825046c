"""Batched simulation at constant pressure: Langevin dynamics with a Monte-Carlo barostat.

Why Monte Carlo and not a piston: its acceptance rule is the ensemble, without a mass or a friction of the box to choose, a
time step of the box, or a virial (which many-body energies make dear). It needs energies only, leaves velocities alone,
and scales one edge, two or three by the same rule. The dynamics between volume moves have a bias of order Δt² in the
configurations without `metropolis`, and the mean volume inherits it. Dynamics between volume moves are those of constant
volume, so that transport coefficients come out nearly undisturbed where volume moves are rare.
"""

import concurrent.futures
import os
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Int, Key, PyTree

from bayescg.errors import InputError
from bayescg.physics._engine import CPU_COMPILER_OPTIONS, is_on_cpu, replica_groups
from bayescg.physics._isobaric_interaction import AnyEnergy, Interaction, bound, prepared
from bayescg.physics._isobaric_moves import (
    ISOTROPIC,
    Conditions,
    Groups,
    Replica,
    stretch,
    volume_move,
)
from bayescg.physics._isobaric_state import Barostat, IsobaricSamples, IsobaricState
from bayescg.physics._langevin import LangevinSettings, wrap

_PAIRS_AT_ONCE = 500_000  # per program and step, as at constant volume
_AIM = 0.4
"""Acceptance of volume moves that tuning aims at; anything between 0.2 and 0.6 samples about equally well."""


class _Fixed(NamedTuple):
    """What programs are compiled for."""

    interaction: Interaction
    groups: Groups
    molecules: tuple[int, ...] | None
    metropolis: bool


class _Inputs(NamedTuple):
    """Everything that a replica has of its own, along the leading axis."""

    state: IsobaricState
    parameters: PyTree
    kT: Float[Array, " replica"]
    conditions: Conditions


def _run(
    start: Int[Array, ""],
    inputs: _Inputs,
    settings: LangevinSettings,
    cutoff: Float[Array, ""],
    interval: Int[Array, ""],
    stride: Int[Array, ""],
    *,
    fixed: _Fixed,
    n_samples: int,
    n_replicas: int,
) -> tuple[IsobaricState, IsobaricSamples]:
    """Simulate the n_replicas replicas from `start` on."""
    n_groups = len(fixed.groups)

    def replica(mine: _Inputs) -> tuple[IsobaricState, IsobaricSamples]:
        state, parameters, kT, conditions = mine
        interaction = bound(fixed.interaction, parameters, cutoff)
        own = settings._replace(kT=kT)

        def cycle(_: Array, carry: tuple[Replica, Array]) -> tuple[Replica, Array]:
            now, counts = carry
            now, kept = stretch(now, interaction, own, interval, metropolis=fixed.metropolis)
            now, tried, chance = volume_move(
                now, interaction, kT, conditions, groups=fixed.groups, molecules=fixed.molecules
            )
            return now, counts + jnp.concatenate([tried, chance, kept[None]])

        def sample(carry: tuple[Replica, Array], _: None):
            now, counts = jax.lax.fori_loop(0, stride, cycle, carry)
            return (now, counts), (now.rows.T, now.edges)

        edges = jnp.where(jnp.isfinite(state.boxes), state.boxes, 0)
        first = Replica(state.positions.T, state.velocities.T, edges, state.keys, state.result)
        nothing = jnp.zeros(2 * n_groups + 1, state.positions.dtype)
        (now, counts), (x, boxes) = jax.lax.scan(sample, (first, nothing), None, length=n_samples)
        tried, chance, kept = counts[:n_groups], counts[n_groups:-1], counts[-1]
        acceptance = chance / tried  # 0/0 is nan: none was tried
        done = IsobaricState(now.rows.T, now.velocities.T, _open(now.edges), now.key, now.result)
        return done, IsobaricSamples(x, _open(boxes), acceptance, kept / (stride * n_samples))

    mine = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, n_replicas), inputs)
    if n_replicas == 1:  # without a batch axis, as at constant volume
        return jax.tree.map(lambda leaf: leaf[None], replica(jax.tree.map(lambda leaf: leaf[0], mine)))
    return jax.vmap(replica)(mine)


def _open(edges: Array) -> Array:
    return jnp.where(edges > 0, edges, jnp.inf)


_STATIC = ("fixed", "n_samples", "n_replicas")
_run_fast = jax.jit(_run, static_argnames=_STATIC, compiler_options=CPU_COMPILER_OPTIONS)
_run_plain = jax.jit(_run, static_argnames=_STATIC)
_prepared = jax.jit(prepared, static_argnames=("interaction", "dtype"))


class IsobaricEngine:
    """Langevin dynamics of many replicas with a Monte-Carlo barostat: samples the NPT ensemble.

    After every `interval` steps of dynamics one group of edges is scaled, sites or molecules with it; the acceptance
    rule and the measure of the volume are those of `volume_move`: V ~ Gamma(N + 1, βP) for an ideal gas. The box keeps
    its right angles.

    Edges that move by themselves have no preferred length in a fluid, only their product has: with `SEMI_ISOTROPIC` or
    `ANISOTROPIC` groups a fluid's box drifts in shape, until the barostat's `lower` or `upper` edges hold it. These
    only cut the ensemble off, they never bias what is inside.

    Args:
        n_sites: number of sites.
        settings: time step, friction, kT (shared, or one per replica), masses.
        interaction: pair formula, pair table, or any energy; `interaction_of` finds it for a potential.
        cutoff: of the interaction, inf if it has none; no edge goes below twice the cutoff [length].
        groups: directions whose edges keep their ratio; directions in no group keep their edge.
        molecules: label of every site's molecule, 0, 1, 2, …; None: every site by itself. No molecule may extend over
            half an edge from its first site.
        interval: steps of dynamics between two volume moves.
        metropolis: accept or reject the dynamics too, which removes the bias of the time step.
        dtype: float32 or float64 (which needs JAX's 64-bit mode).

    Raises:
        InputError: groups, molecules, settings or precision are impossible.

    Example:
        >>> def ideal(parameters, positions, box):
        ...     return 0.0 * jnp.sum(positions)
        >>> settings = LangevinSettings(0.1, 1.0, 1.0, jnp.ones(4))
        >>> engine = IsobaricEngine(4, settings, AnyEnergy(ideal), cutoff=np.inf, interval=1)
        >>> start = engine.initial_state(jax.random.key(0), np.zeros((2, 4, 3)), np.full((2, 3), 2.0))
        >>> state, samples = engine.run(start, jnp.zeros(2), Barostat(1.0, 1.0), n_samples=5, stride=2)
        >>> samples.boxes.shape
        (2, 5, 3)
    """

    def __init__(
        self,
        n_sites: int,
        settings: LangevinSettings,
        interaction: Interaction,
        *,
        cutoff: float,
        groups: Groups = ISOTROPIC,
        molecules: tuple[int, ...] | None = None,
        interval: int = 20,
        metropolis: bool = False,
        dtype: DTypeLike = jnp.float32,
    ) -> None:
        axes = [axis for group in groups for axis in group]
        if not groups or min(map(len, groups)) < 1 or len(set(axes)) < len(axes) or min(axes) < 0:
            raise InputError(
                f"barostat: groups {groups}; expected tuples of directions, each direction in one at most, such as"
                " ISOTROPIC = ((0, 1, 2),)"
            )
        self.dtype = jnp.dtype(dtype)
        if jnp.zeros((), self.dtype).dtype != self.dtype:
            raise InputError(
                "float64 dynamics needs JAX's 64-bit mode: call jax.config.update('jax_enable_x64', True) first, or"
                " use dtype=float32"
            )
        if not (interval >= 1 and cutoff > 0):
            raise InputError(f"barostat: interval {interval}, cutoff {cutoff}; expected positive numbers")
        _check_molecules(molecules, n_sites)
        _check_settings(settings, n_sites)
        self.n_sites, self.settings, self.cutoff, self.interval = n_sites, settings, float(cutoff), interval
        self._fixed = _Fixed(interaction, groups, molecules, metropolis)
        self._compiled: set[tuple[int, int, int]] = set()

    def initial_state(self, key: Key[Array, ""], positions: ArrayLike, boxes: ArrayLike) -> IsobaricState:
        """Replicas at the given positions, wrapped into their boxes, with Maxwell velocities.

        Args:
            key: PRNG key.
            positions: [replica site dim] [length].
            boxes: edges of every replica [replica dim], inf where open [length].

        Raises:
            InputError: shapes that don't fit, an open direction in a group, an edge below twice the cutoff.
        """
        x, edges = jnp.asarray(positions, self.dtype), np.asarray(boxes, float)
        if x.ndim != 3 or x.shape[1] != self.n_sites or edges.shape != (x.shape[0], x.shape[2]):
            raise InputError(
                f"initial state: positions of shape {x.shape} with boxes of shape {edges.shape}; expected"
                f" [replica, {self.n_sites}, dim] and [replica, dim]"
            )
        axes = [axis for group in self._fixed.groups for axis in group]
        if max(axes) >= x.shape[2] or not np.isfinite(edges[:, axes]).all():
            raise InputError(
                f"barostat: groups {self._fixed.groups} hold an open direction or one that the box {edges[0]} lacks"
            )
        smallest = 2.0 * self.cutoff if np.isfinite(self.cutoff) else 0.0
        if not edges.min() > smallest:
            raise InputError(
                f"initial state: the shortest edge is {edges.min():.6g}; expected more than twice the cutoff,"
                f" {smallest:.6g}, with room to fluctuate: use more sites or a shorter cutoff"
            )
        velocity_key, replica_key = jax.random.split(key)
        kT = jnp.broadcast_to(jnp.asarray(self.settings.kT, self.dtype), len(x))
        scale = jnp.sqrt(kT[:, None] * jnp.asarray(self.settings.inverse_mass, self.dtype))
        velocities = scale[..., None] * jax.random.normal(velocity_key, x.shape, self.dtype)
        box = jnp.asarray(edges, self.dtype)
        closed = jnp.where(jnp.isfinite(box), box, 0)
        x = jax.vmap(lambda x, edges: wrap(x.T, edges).T)(x, closed)
        return IsobaricState(
            x, velocities, box, jax.random.split(replica_key, len(x)), jnp.zeros(len(x), jnp.int32)
        )

    def run(
        self,
        state: IsobaricState,
        parameters: PyTree,
        barostat: Barostat,
        *,
        n_samples: int,
        stride: int,
    ) -> tuple[IsobaricState, IsobaricSamples]:
        """n_samples samples, each after `stride` rounds of `interval` steps and one volume move.

        A replica that fails keeps its result code; the others go on (see `throw_isobaric`).

        Args:
            state: from `initial_state` or an earlier run.
            parameters: of every replica, along the leading axis of each leaf.
            barostat: pressure and what else acts on the box.
            n_samples: frames to return.
            stride: rounds between frames.

        Raises:
            InputError: parameters or barostat that don't have one entry per replica, or a surface tension without a plane.
        """
        n_replicas, dim = state.boxes.shape
        inputs = self._inputs(state, parameters, barostat)
        settings = LangevinSettings(*(jnp.asarray(value, self.dtype) for value in self.settings))
        settings = settings._replace(kT=jnp.zeros((), self.dtype))  # each replica's own, from the inputs
        shared = (settings, jnp.asarray(self.cutoff, self.dtype), jnp.int32(self.interval))
        static = {"fixed": self._fixed, "n_samples": n_samples}
        pairwise = not isinstance(self._fixed.interaction, AnyEnergy)
        if not (pairwise and is_on_cpu(state.positions)):
            return _run_plain(
                jnp.int32(0), inputs, *shared, jnp.int32(stride), n_replicas=n_replicas, **static
            )
        n_workers = os.cpu_count() or 1
        parts = replica_groups(n_replicas, n_sites=self.n_sites, n_workers=n_workers, n_pairs=_PAIRS_AT_ONCE)

        def simulate(part: tuple[int, int], rounds: int) -> tuple[IsobaricState, IsobaricSamples]:
            done = _run_fast(
                jnp.int32(part[0]), inputs, *shared, jnp.int32(rounds), n_replicas=part[1], **static
            )
            return jax.block_until_ready(done)

        if len(parts) == 1:
            return simulate(parts[0], stride)
        for size in {size for _, size in parts}:
            if (size, n_replicas, n_samples) not in self._compiled:
                simulate((0, size), 0)  # compiles once, here, rather than in every thread
                self._compiled.add((size, n_replicas, n_samples))
        with concurrent.futures.ThreadPoolExecutor(n_workers) as pool:
            done = list(pool.map(partial(simulate, rounds=stride), parts))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *done)

    def tuned(
        self,
        state: IsobaricState,
        parameters: PyTree,
        barostat: Barostat,
        *,
        n_rounds: int = 8,
        stride: int = 40,
    ) -> tuple[IsobaricState, Barostat]:
        """The state after a stretch of equilibration, and the barostat with volume steps accepted about 40 % of the time.

        Steps change only between calls of `run`: no sampling is adaptive. They are shared by all replicas.

        Args:
            state: as for `run`.
            parameters: as for `run`.
            barostat: its volume steps are where the search begins.
            n_rounds: adjustments.
            stride: volume moves in each.
        """
        steps = np.array(np.broadcast_to(np.asarray(barostat.volume_steps, float), len(self._fixed.groups)))
        for _ in range(n_rounds):
            now = barostat._replace(volume_steps=steps)
            state, samples = self.run(state, parameters, now, n_samples=1, stride=stride)
            tried = np.asarray(samples.volume_acceptance)
            for group in range(len(steps)):
                mine = tried[:, group][np.isfinite(tried[:, group])]
                if len(mine):
                    steps[group] = min(steps[group] * float(np.clip(mine.mean() / _AIM, 0.3, 2.0)), 2.0)
        return state, barostat._replace(volume_steps=steps)

    def _inputs(self, state: IsobaricState, parameters: PyTree, barostat: Barostat) -> _Inputs:
        n_replicas, dim = state.boxes.shape
        for leaf in jax.tree.leaves(parameters):
            if np.ndim(leaf) == 0 or np.shape(leaf)[0] != n_replicas:
                raise InputError(
                    f"a parameter array has shape {np.shape(leaf)}, expected the {n_replicas} replicas as the leading"
                    " axis: stack one set of parameters per replica"
                )

        def each(value: ArrayLike, name: str) -> Array:
            if np.shape(value) not in ((), (n_replicas,)):
                raise InputError(
                    f"barostat: {name} has shape {np.shape(value)}; expected a number or one per replica"
                )
            return jnp.broadcast_to(jnp.asarray(value, self.dtype), n_replicas)

        def shared(value: ArrayLike, n: int) -> Array:
            return jnp.broadcast_to(jnp.asarray(value, self.dtype), (n_replicas, n))

        first = self._fixed.groups[0]
        if len(first) != dim - 1 and np.any(np.asarray(barostat.surface_tension) != 0.0):
            raise InputError(
                f"barostat: a surface tension acts on the area that the first group spans, but {first} are {len(first)} of"
                f" {dim} directions; expected {dim - 1} in the first group, such as SEMI_ISOTROPIC, or no surface tension"
            )
        smallest = 2.0 * self.cutoff if np.isfinite(self.cutoff) else 0.0
        conditions = Conditions(
            each(barostat.pressure, "pressure"),
            each(barostat.surface_tension, "surface_tension"),
            each(barostat.tail, "tail"),
            shared(barostat.volume_steps, len(self._fixed.groups)),
            shared(barostat.lower, dim),
            shared(barostat.upper, dim),
            each(smallest, "cutoff"),
        )
        tables = _prepared(self._fixed.interaction, parameters, self.cutoff, dtype=self.dtype)
        return _Inputs(state, tables, each(self.settings.kT, "kT"), conditions)


def _check_molecules(molecules: tuple[int, ...] | None, n_sites: int) -> None:
    if molecules is None:
        return
    if len(molecules) != n_sites or set(molecules) != set(range(max(molecules) + 1)):
        raise InputError(
            f"barostat: labels of {len(molecules)} sites' molecules; expected {n_sites} labels 0, 1, 2, … without a gap"
        )


def _check_settings(settings: LangevinSettings, n_sites: int) -> None:
    if np.shape(settings.inverse_mass) != (n_sites,):
        raise InputError(f"inverse_mass has shape {np.shape(settings.inverse_mass)}, expected ({n_sites},)")
    time_step, friction = (float(np.asarray(value)) for value in settings[:2])
    if not (time_step > 0 and friction >= 0 and np.all(np.asarray(settings.kT) > 0)):
        raise InputError(f"time_step and kT must be positive and friction not negative, found {settings[:3]}")
