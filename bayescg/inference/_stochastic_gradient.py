"""Gradients of a log posterior from a few frames and a few replicas: unbiased, noisy, with a memory of their own."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from bayescg.errors import InputError
from bayescg.inference._prior import Prior
from bayescg.physics import PersistentReplicas, Potential, SufficientStatistics
from bayescg.physics._engine import CPU_COMPILER_OPTIONS, is_on_cpu


class Replicas(Protocol):
    """Simulations of one model that go on while its parameters move; traceable, one chain's at a time.

    `physics.PersistentReplicas` simulates fluids; independent exact draws of a toy answer to the same calls.

    Example:
        >>> class Spring(eqx.Module):  # exact draws of exp(-theta x²), whose feature is x²
        ...     n_replicas: int = eqx.field(static=True)
        ...     def initial_state(self, key, potential):
        ...         return key
        ...     def advance(self, state, potential):
        ...         key, draw_key = jax.random.split(state)
        ...         x = jax.random.normal(draw_key, (self.n_replicas, 1))
        ...         return key, x**2 / (2 * potential.coefficients())
        >>> replicas: Replicas = Spring(4)
        >>> replicas.n_replicas
        4
    """

    @property
    def n_replicas(self) -> int:
        """Replicas of one chain."""
        ...

    def initial_state(self, key: Key[Array, ""], potential: Potential) -> PyTree:
        """Where they begin: an array pytree with the PRNG keys in it."""
        ...

    def advance(self, state: PyTree, potential: Potential) -> tuple[PyTree, Float[Array, "replica feature"]]:
        """All replicas moved on under the potential, and their features φ."""
        ...


class StochasticGradient(Protocol):
    """An estimate of ∂ log p(z | D)/∂z whose state (replicas, PRNG keys) is an array pytree.

    Example:
        >>> class Exact(eqx.Module):  # of a standard normal, without noise
        ...     def initial_state(self, key, z):
        ...         return ()
        ...     def gradient(self, state, z):
        ...         return state, -z
        >>> estimate: StochasticGradient = Exact()
        >>> estimate.gradient((), jnp.array([2.0]))[1].tolist()
        [-2.0]
    """

    def initial_state(self, key: Key[Array, ""], z: Float[Array, " coordinate"]) -> PyTree:
        """The state of a chain that begins at z."""
        ...

    def gradient(
        self, state: PyTree, z: Float[Array, " coordinate"]
    ) -> tuple[PyTree, Float[Array, " coordinate"]]:
        """The next state, and the estimate."""
        ...


class ReplicaGradientState(NamedTuple):
    """Memory of a `RelativeEntropyGradient`: its replicas, and the key that minibatches are drawn with."""

    replicas: PyTree
    key: Key[Array, ""]


class RelativeEntropyGradient(eqx.Module):
    """Gradient of the relative-entropy posterior from minibatches of frames and persistent replicas.

    ∂ log p/∂z = ∂ log p(z)/∂z + N β (∂η/∂z)ᵀ (⟨φ⟩_replicas − ⟨φ⟩_minibatch). Its noise has two independent
    sources: the minibatch, new in every update, and the replicas, which remember.

    Attributes:
        prior: the prior on z.
        features: φ of the data's frames.
        mean_features: their mean.
        beta: 1/kT [1/energy].
        replicas: simulations of the model.
        batch_size: frames drawn, with replacement, for each update; None takes all of them.

    References:
        Welling & Teh (2011), ICML, 681 (minibatches); Tieleman (2008), doi:10.1145/1390156.1390290 (replicas).
    """

    prior: Prior = eqx.field(static=True)
    features: Float[Array, "frame feature"]
    mean_features: Float[Array, " feature"]
    beta: Float[Array, ""]
    replicas: Replicas
    batch_size: int | None = eqx.field(static=True)

    def initial_state(self, key: Key[Array, ""], z: Float[Array, " coordinate"]) -> ReplicaGradientState:
        """Fresh replicas under the potential of z."""
        replica_key, batch_key = jax.random.split(key)
        return ReplicaGradientState(
            self.replicas.initial_state(replica_key, self.prior.potential(z)), batch_key
        )

    def simulate(
        self, state: ReplicaGradientState, z: Float[Array, " coordinate"]
    ) -> tuple[ReplicaGradientState, Float[Array, "replica feature"]]:
        """The replicas moved on at z, without a gradient: how their noise is measured."""
        replicas, features = self.replicas.advance(state.replicas, self.prior.potential(z))
        return ReplicaGradientState(replicas, state.key), features

    def gradient(
        self, state: ReplicaGradientState, z: Float[Array, " coordinate"]
    ) -> tuple[ReplicaGradientState, Float[Array, " coordinate"]]:
        """One move of every replica, one minibatch."""
        state, simulated = self.simulate(state, z)
        key, observed = state.key, self.mean_features
        if self.batch_size is not None:
            key, batch_key = jax.random.split(key)
            chosen = jax.random.randint(batch_key, (self.batch_size,), 0, len(self.features))
            observed = self.features[chosen].mean(axis=0)
        return ReplicaGradientState(state.replicas, key), self.score(z, simulated.mean(axis=0) - observed)

    def score(
        self, z: Float[Array, " coordinate"], difference: Float[Array, " feature"]
    ) -> Float[Array, " coordinate"]:
        """∂ log p(z)/∂z + N β (∂η/∂z)ᵀ difference."""
        weight = self.beta * len(self.features)

        def surrogate(z):
            eta = self.prior.potential(z).coefficients()
            return self.prior.log_density(z) + weight * eta @ jax.lax.stop_gradient(difference)

        return jax.grad(surrogate)(z)


def relative_entropy_gradient(
    prior: Prior,
    statistics: SufficientStatistics,
    *,
    beta: float,
    replicas: Replicas,
    batch_size: int | None = None,
) -> RelativeEntropyGradient:
    """The gradient of a coarse-grained potential's posterior.

    Args:
        prior: the prior on the potential.
        statistics: the data, reduced.
        beta: 1/kT [1/energy].
        replicas: simulations of the model.
        batch_size: frames of a minibatch; None takes all of them, which costs next to nothing once they are reduced.

    Raises:
        InputError: features of another number than the potential's, or an impossible batch size.

    Example:
        >>> import numpy as np
        >>> import numpyro.distributions as dist
        >>> from bayescg.data import Topology, get_unit_system
        >>> from bayescg.inference import independent_prior
        >>> from bayescg.physics import DoubleWell, persistent_replicas
        >>> well = DoubleWell(1.0, 1.0)
        >>> replicas = persistent_replicas(
        ...     well, starts=np.ones((1, 1, 1)), topology=Topology(("A",), np.ones(1)), box=np.array([np.inf]),
        ...     units=get_unit_system("lj"), temperature=1.0, time_step=0.1, friction=1.0, stride=5, n_replicas=8,
        ... )
        >>> frames = SufficientStatistics(np.tile([-0.5, 0.4], (100, 1)), *np.zeros((2, 100, 0)), np.zeros(100, int))
        >>> prior = independent_prior(well, {"well_t1": dist.Normal(1, 2), "well_t2": dist.Gamma(2, 1)})
        >>> estimate = relative_entropy_gradient(prior, frames, beta=1.0, replicas=replicas, batch_size=10)
        >>> state = estimate.initial_state(jax.random.key(0), jnp.zeros(2))
        >>> estimate.gradient(state, jnp.zeros(2))[1].shape
        (2,)
    """
    features = jnp.asarray(statistics.features)
    expected = prior.potential(jnp.zeros(prior.size)).coefficients().shape
    if features.shape[1:] != expected:
        raise InputError(
            f"the frames have {features.shape[1]} features, the potential {expected[0]}: reduce them with this potential"
        )
    _check_batch(batch_size, len(features), "frames")
    return RelativeEntropyGradient(
        prior, features, features.mean(axis=0), jnp.asarray(float(beta)), replicas, batch_size
    )


class MinibatchGradient(eqx.Module):
    """Gradient of a posterior whose log likelihood is a sum over items, from a minibatch of them.

    ∂ log p(z)/∂z + (n/B) Σ_batch ∂ log p(item | model(z))/∂z, for configurations labelled with energies or forces.

    Attributes:
        prior: the prior; it draws the model.
        items: data, with the items along the leading axis of every array.
        log_likelihood: `(model, item) -> log p(item | model)`; a module-level function.
        batch_size: items drawn, with replacement, for each update; None takes all of them.

    Raises:
        InputError: an impossible batch size.

    Example:
        >>> import numpyro
        >>> import numpyro.distributions as dist
        >>> from bayescg.inference import Prior
        >>> def slope():
        ...     return numpyro.sample("theta", dist.Normal(0.0, 10.0))
        >>> def log_likelihood(theta, item):
        ...     return -0.5 * ((item[1] + theta * item[0]) / 0.2) ** 2
        >>> x, force = jnp.array([-1.0, 1.0]), jnp.array([2.1, -1.9])
        >>> estimate = MinibatchGradient(Prior(slope), (x, force), log_likelihood=log_likelihood, batch_size=None)
        >>> key = estimate.initial_state(jax.random.key(0), jnp.zeros(1))
        >>> estimate.gradient(key, jnp.array([2.0]))[1].round(2).tolist()
        [-0.02]
    """

    prior: Prior = eqx.field(static=True)
    items: PyTree
    log_likelihood: Callable[[Any, Any], Array] = eqx.field(static=True, kw_only=True)
    batch_size: int | None = eqx.field(static=True, kw_only=True)

    def __check_init__(self):
        _check_batch(self.batch_size, self.n_items, "items")

    @property
    def n_items(self) -> int:
        """Items of the data."""
        return len(jax.tree.leaves(self.items)[0])

    def initial_state(self, key: Key[Array, ""], z: Float[Array, " coordinate"]) -> Key[Array, ""]:
        """The key that minibatches are drawn with."""
        return key

    def gradient(
        self, state: Key[Array, ""], z: Float[Array, " coordinate"]
    ) -> tuple[Key[Array, ""], Float[Array, " coordinate"]]:
        """One minibatch."""
        if self.batch_size is None:
            return state, jax.grad(self.log_density)(z)
        key, batch_key = jax.random.split(state)
        chosen = jax.random.randint(batch_key, (self.batch_size,), 0, self.n_items)
        batch = jax.tree.map(lambda leaf: leaf[chosen], self.items)
        weight = self.n_items / self.batch_size
        return key, jax.grad(lambda z: self.prior.log_density(z) + weight * self._sum(z, batch))(z)

    def log_density(self, z: Float[Array, " coordinate"]) -> Float[Array, ""]:
        """log p(z) + log p(D | z), all items."""
        return self.prior.log_density(z) + self._sum(z, self.items)

    def scores(self, z: Float[Array, " coordinate"]) -> Float[Array, "item coordinate"]:
        """∂ log p(item | model(z))/∂z of every item."""

        def one(item):
            return jax.grad(lambda z: self.log_likelihood(self.prior.potential(z), item))(z)

        return jax.lax.map(one, self.items)

    def _sum(self, z: Array, items: PyTree) -> Array:
        model = self.prior.potential(z)
        return jnp.sum(jax.vmap(lambda item: self.log_likelihood(model, item))(items))


def compiler_options(gradient: StochasticGradient, on: Array) -> dict[str, bool]:
    """The pair engine's compiler options where its loop runs on the CPU (four times faster), none elsewhere.

    Other energies and gradients may depend on exact arithmetic.

    Args:
        gradient: what will run.
        on: an array on the device.
    """
    if not isinstance(gradient, RelativeEntropyGradient):
        return {}
    replicas = gradient.replicas
    pairs = isinstance(replicas, PersistentReplicas) and replicas.only_pairs
    return CPU_COMPILER_OPTIONS if pairs and is_on_cpu(on) else {}


def _check_batch(batch_size: int | None, n: int, what: str) -> None:
    if batch_size is not None and not 1 <= batch_size <= n:
        raise InputError(
            f"batch_size is {batch_size}, expected 1 to {n}, the number of {what}, or None for all"
        )
