"""Replicas that go on while the potential changes under them: Metropolised dynamics as one traceable function."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.data import Topology, UnitSystem
from bayescg.errors import InputError
from bayescg.physics._engine import pair_forces, table_force_factor
from bayescg.physics._langevin import EngineState, LangevinSettings, closed_edges, integrate, wrap
from bayescg.physics._pair import PairPotential
from bayescg.physics._potential import Potential, terms_of
from bayescg.physics._result import Result

TABLE_BINS = 4096
"""Bins of the table that the trajectories' pair forces come from. It biases nothing: the exact energy decides."""


class ReplicaState(NamedTuple):
    """Replicas between two moves; all arrays, so that it can be stored.

    Attributes:
        positions: [length].
        velocities: at the same time as the positions [length/time].
        features: φ of the positions.
        keys: one PRNG key per replica.
        acceptance: acceptance probability of the last move.
    """

    positions: Float[Array, "replica site dim"]
    velocities: Float[Array, "replica site dim"]
    features: Float[Array, "replica feature"]
    keys: Key[Array, " replica"]
    acceptance: Float[Array, " replica"]


class PersistentReplicas(eqx.Module):
    """Simulations of one model that keep their configurations while its parameters move.

    One move refreshes part of the momenta, runs `stride` steps of velocity Verlet with the engine's pair loop, and
    accepts the end with probability min(1, exp(−βΔH)). The energy is η·φ in double precision where JAX allows it, so
    that neither the time step nor the table of forces biases an average. The potential is an argument of every move:
    changing its parameters compiles nothing anew. Everything is traceable and belongs inside `scan` and `vmap`.

    Attributes:
        starts: configurations that replicas begin from [length].
        box: edge lengths [length]; `inf` where open.
        settings: of the dynamics.
        n_replicas: replicas of one chain.
        stride: steps of a move.
        only_pairs: whether all terms are pair potentials, for which the engine's compiler options are meant.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import LennardJones
        >>> pair = LennardJones(1.0, 1.0, cutoff=2.5)
        >>> replicas = persistent_replicas(
        ...     pair, starts=np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 1.2]]]), topology=Topology(("A", "A"), np.ones(2)),
        ...     box=np.full(3, 6.0), units=get_unit_system("lj"), temperature=1.2, time_step=0.01, friction=1.0,
        ...     stride=10, n_replicas=4,
        ... )
        >>> state = replicas.initial_state(jax.random.key(0), pair)
        >>> state, features = replicas.advance(state, LennardJones(1.1, 1.0, cutoff=2.5))
        >>> features.shape
        (4, 2)

    References:
        Horowitz (1991), doi:10.1016/0370-2693(91)90812-5; Tieleman (2008), doi:10.1145/1390156.1390290.
    """

    starts: Float[Array, "start site dim"]
    box: Float[Array, " dim"]
    settings: LangevinSettings
    n_replicas: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    only_pairs: bool = eqx.field(static=True)

    def initial_state(self, key: Key[Array, ""], potential: Potential) -> ReplicaState:
        """Replicas at starts drawn at random, with Maxwell velocities."""
        start_key, velocity_key, replica_key = jax.random.split(key, 3)
        chosen = jax.random.choice(start_key, len(self.starts), (self.n_replicas,))
        edges = closed_edges(self.box)
        x = jax.vmap(lambda rows: wrap(rows.T, edges).T)(self.starts[chosen])
        thermal = jnp.sqrt(self.settings.kT * self.settings.inverse_mass).astype(x.dtype)
        v = thermal[:, None] * jax.random.normal(velocity_key, x.shape, x.dtype)
        return ReplicaState(
            x,
            v,
            jax.vmap(lambda one: self._features(potential, one))(x),
            jax.random.split(replica_key, self.n_replicas),
            jnp.ones(self.n_replicas),
        )

    def advance(
        self, state: ReplicaState, potential: Potential
    ) -> tuple[ReplicaState, Float[Array, "replica feature"]]:
        """One move of every replica under the potential, and the features after it."""
        force = self._force(potential)
        coefficients = potential.coefficients()

        def one(state: ReplicaState) -> ReplicaState:
            return self._move(state, potential, coefficients, force)

        state = jax.vmap(one)(state)
        return state, state.features

    def _move(self, state: ReplicaState, potential: Potential, coefficients: Array, force) -> ReplicaState:
        """The move of one replica."""
        dtype = state.positions.dtype
        time_step, friction, kT = (jnp.asarray(value, dtype) for value in self.settings[:3])
        inverse_mass = jnp.asarray(self.settings.inverse_mass, dtype)[:, None]
        key, normal_key, uniform_key = jax.random.split(state.keys, 3)
        keep = jnp.exp(-friction * time_step * self.stride)
        noise = jnp.sqrt((1.0 - keep**2) * kT * inverse_mass)
        v = keep * state.velocities + noise * jax.random.normal(normal_key, state.velocities.shape, dtype)
        half_kick = 0.5 * time_step * inverse_mass
        late = v - half_kick * force(state.positions.T).T
        fine = jnp.asarray(Result.OK.value)
        end, _ = integrate(
            force,
            EngineState(state.positions, late, key, fine),
            self.settings,
            closed_edges(self.box),
            jnp.int32(self.stride),
            n_samples=1,
            deterministic=True,
        )
        new_v = end.velocities + half_kick * force(end.positions.T).T
        features = self._features(potential, end.positions)
        kinetic = 0.5 * jnp.sum(
            (new_v.astype(features.dtype) ** 2 - v.astype(features.dtype) ** 2) / inverse_mass
        )
        change = (coefficients @ (features - state.features) + kinetic) / self.settings.kT
        sound = jnp.isfinite(change) & (end.result == fine)
        chance = jnp.where(sound, jnp.exp(-jnp.maximum(change, 0.0)), 0.0)
        take = jax.random.uniform(uniform_key) < chance
        return ReplicaState(
            jnp.where(take, end.positions, state.positions),
            jnp.where(take, new_v, -v),
            jnp.where(take, features, state.features),
            key,
            chance.astype(state.acceptance.dtype),
        )

    def _features(
        self, potential: Potential, positions: Float[Array, "site dim"]
    ) -> Float[Array, " feature"]:
        dtype = jax.dtypes.canonicalize_dtype(np.float64)
        return potential.features(positions.astype(dtype), self.box.astype(dtype))

    def _force(self, potential: Potential):
        """Forces of position rows: by a table of the pair energy, or by automatic differentiation."""
        terms = terms_of(potential)
        edges = closed_edges(self.box)
        pairs = [term for term in terms if isinstance(term, PairPotential)]
        if len(pairs) < len(terms):
            box = self.box
            gradient = jax.grad(lambda positions: potential.energy(positions, box))
            return lambda rows: -gradient(rows.T).T
        cutoff = max(term.cutoff for term in pairs)
        nodes = jnp.maximum(jnp.linspace(0.0, cutoff**2, TABLE_BINS + 1), (0.1 * cutoff) ** 2)
        energies = jnp.sum(jnp.stack([term.pair_energy(nodes) for term in pairs]), axis=0)
        table = jnp.append(table_force_factor(energies, cutoff=cutoff), 0.0).astype(self.starts.dtype)

        def look_up(r2: Array) -> Array:
            index = jnp.minimum((r2 * (TABLE_BINS / cutoff**2)).astype(jnp.uint32), np.uint32(TABLE_BINS))
            return jax.lax.optimization_barrier(table.at[index].get(mode="promise_in_bounds"))

        return lambda rows: pair_forces(look_up, rows, edges)


def persistent_replicas(
    potential: Potential,
    *,
    starts: Float[np.ndarray, "start site dim"],
    topology: Topology,
    box: np.ndarray,
    units: UnitSystem,
    temperature: float,
    time_step: float,
    friction: float,
    stride: int,
    n_replicas: int,
) -> PersistentReplicas:
    """Replicas of a fluid for stochastic-gradient samplers.

    Args:
        potential: a potential of the form to be simulated; its parameter values do not matter.
        starts: configurations that replicas begin from [length].
        topology: sites and their masses.
        box: edge lengths [length]; `inf` where open.
        units: unit system of every number here.
        temperature: [K, or reduced].
        time_step: [time].
        friction: collision rate; over a move of length τ the momenta keep exp(−γτ) of themselves [1/time].
        stride: steps of a move, which is what one update of the parameters costs.
        n_replicas: replicas of one chain.

    Raises:
        InputError: a cutoff beyond half the box, starts of a wrong shape, or a number that is not positive.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import DoubleWell
        >>> replicas = persistent_replicas(
        ...     DoubleWell(1.0, 1.0), starts=np.ones((1, 1, 1)), topology=Topology(("A",), np.ones(1)),
        ...     box=np.array([np.inf]), units=get_unit_system("lj"), temperature=1.0, time_step=0.1, friction=1.0,
        ...     stride=5, n_replicas=8,
        ... )
        >>> replicas.n_replicas
        8
    """
    edges, starts = np.asarray(box, float), np.asarray(starts)
    expected = (len(topology.masses), len(edges))
    if starts.ndim != 3 or starts.shape[1:] != expected or not len(starts):
        raise InputError(
            f"starts have shape {starts.shape}, expected (start, {expected[0]}, {expected[1]}): one row per site"
        )
    for name, value in (
        ("time_step", time_step), ("temperature", temperature), ("stride", stride), ("n_replicas", n_replicas),
    ):  # fmt: skip
        if not value > 0:
            raise InputError(f"{name} is {value}, expected a positive number")
    terms = terms_of(potential)
    reach = max([t.cutoff for t in terms if isinstance(t, PairPotential)], default=0.0)
    if reach > edges.min() / 2 * (1 + 1e-6):
        raise InputError(
            f"a cutoff of {reach:g} is beyond half of the shortest box edge, {edges.min() / 2:g}: shorten it"
        )
    settings = LangevinSettings(
        jnp.asarray(time_step),
        jnp.asarray(friction),
        jnp.asarray(units.kT(temperature)),
        jnp.asarray(units.force_to_acceleration / np.asarray(topology.masses, float)),
    )
    return PersistentReplicas(
        jnp.asarray(starts, jnp.float32),
        jnp.asarray(edges, jnp.float32),
        settings,
        int(n_replicas),
        int(stride),
        all(isinstance(term, PairPotential) for term in terms),
    )
