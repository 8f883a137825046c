"""Batched Langevin dynamics of any energy function, by automatic differentiation: for toys and small systems."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
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

Energy = Callable[[PyTree, Array, Array], Array]


def _run(
    state: EngineState,
    parameters: PyTree,
    settings: LangevinSettings,
    box: Float[Array, " dim"],
    stride: Int[Array, ""],
    *,
    energy: Energy,
    n_samples: int,
    deterministic: bool,
) -> tuple[EngineState, Float[Array, "replica sample site dim"]]:
    """Simulate all replicas."""

    def replica(state: EngineState, parameters: PyTree) -> tuple[EngineState, Array]:
        gradient = jax.grad(lambda positions: energy(parameters, positions, box))
        return integrate(
            lambda rows: -gradient(rows.T).T,
            state,
            settings,
            closed_edges(box),
            stride,
            n_samples=n_samples,
            deterministic=deterministic,
        )

    return jax.vmap(replica)(state, with_precision(parameters, state.positions.dtype))


# Without the pair engine's compiler options: an energy of the user's may depend on exact arithmetic.
_compiled_run = jax.jit(_run, static_argnames=("energy", "n_samples", "deterministic"))


def _forces(
    positions: Float[Array, "replica site dim"],
    parameters: PyTree,
    box: Float[Array, " dim"],
    *,
    energy: Energy,
) -> Float[Array, "replica site dim"]:
    gradients = jax.vmap(jax.grad(energy, argnums=1), in_axes=(0, 0, None))
    return -gradients(with_precision(parameters, positions.dtype), positions, box)


_compiled_forces = jax.jit(_forces, static_argnames="energy")


class GenericEngine:
    """BAOAB Langevin dynamics under any differentiable energy, many replicas at once.

    Every replica has its own parameters: the leading axis of each leaf of `parameters` is the replica.

    Args:
        n_sites: number of sites.
        box: edge lengths, inf for an open direction [length]; any number of directions.
        settings: time step, friction, temperature, masses.
        energy: `(parameters, positions [site dim], box [dim]) -> scalar` [energy]; a module-level function (a new
            lambda on every call would compile anew).
        deterministic: leave out friction and noise (velocity Verlet), as Metropolised sampling needs it.
        dtype: float32 or float64 (which needs JAX's 64-bit mode).

    Raises:
        ValueError: the box or the settings are impossible, or float64 was asked for and is switched off.

    Example:
        >>> def double_well(theta, positions, box):
        ...     return jnp.sum(theta[1] * positions**4 / 4 - theta[0] * positions**2 / 2)
        >>> settings = LangevinSettings(0.05, 1.0, 1.0, jnp.ones(1))
        >>> engine = GenericEngine(1, jnp.array([jnp.inf]), settings, double_well, dtype=jnp.float32)
        >>> state = engine.initial_state(jax.random.key(0), jnp.zeros((3, 1, 1)))
        >>> state, positions = engine.run(state, jnp.ones((3, 2)), n_samples=4, stride=10)
        >>> positions.shape
        (3, 4, 1, 1)
    """

    def __init__(
        self,
        n_sites: int,
        box: ArrayLike,
        settings: LangevinSettings,
        energy: Energy,
        *,
        dtype: DTypeLike = jnp.float32,
        deterministic: bool = False,
    ) -> None:
        edges = np.asarray(box, float)
        check_box(edges, n_sites, settings)
        self.dtype = jnp.dtype(dtype)
        if jnp.zeros((), self.dtype).dtype != self.dtype:
            raise ValueError(
                "float64 dynamics needs JAX's 64-bit mode: call jax.config.update('jax_enable_x64', True) first, "
                "or use dtype=float32"
            )
        self.n_sites = n_sites
        self.box = jnp.asarray(edges, self.dtype)
        self.settings = settings
        self.energy = energy
        self.deterministic = deterministic

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
        return maxwell_state(key, jnp.asarray(positions, self.dtype), self.settings, self.box)

    def run(
        self, state: EngineState, parameters: PyTree, *, n_samples: int, stride: int
    ) -> tuple[EngineState, Float[Array, "replica sample site dim"]]:
        """Simulate n_samples * stride steps and return the positions after every stride-th [length].

        Compiled once per number of samples and of replicas. A replica that fails keeps its result code; the others
        go on.
        """
        return _compiled_run(
            state,
            parameters,
            self.settings,
            self.box,
            jnp.int32(stride),
            energy=self.energy,
            n_samples=n_samples,
            deterministic=self.deterministic,
        )

    def forces(
        self, positions: Float[Array, "replica site dim"], parameters: PyTree
    ) -> Float[Array, "replica site dim"]:
        """The forces the dynamics uses [energy / length]."""
        return _compiled_forces(jnp.asarray(positions, self.dtype), parameters, self.box, energy=self.energy)
