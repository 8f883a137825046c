"""SGLD: Langevin steps along a noisy gradient, with the gradient's known noise subtracted from the injected one."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from bayescg.errors import InputError
from bayescg.inference._sampler import Draws
from bayescg.inference._stochastic_gradient import StochasticGradient, compiler_options
from bayescg.physics._engine import CPU_COMPILER_OPTIONS


class GradientTarget(NamedTuple):
    """What one compiled update needs: an array pytree.

    Attributes:
        gradient: the noisy gradient of the log density in z.
        centre: origin of the whitened coordinates [coordinate].
        root: z = centre + root @ w; root rootᵀ is the preconditioner P, the posterior covariance at the centre.
        noise: S, long-run covariance of the whitened gradient's noise per update [coordinate coordinate].
        step: a.

    Example:
        >>> from bayescg.inference import example_gradient
        >>> target = GradientTarget(example_gradient(), jnp.zeros(2), jnp.eye(2), jnp.zeros((2, 2)), jnp.asarray(0.1))
        >>> float(target.step)
        0.1
    """

    gradient: StochasticGradient
    centre: Float[Array, " coordinate"]
    root: Float[Array, "coordinate coordinate"]
    noise: Float[Array, "coordinate coordinate"]
    step: Float[Array, ""]


class ChainState(NamedTuple):
    """Chains between two updates; all arrays, so that it can be stored.

    Attributes:
        w: whitened coordinates [chain coordinate].
        velocity: [chain coordinate]; forgotten at every update by SGLD.
        gradient: memory of the gradient, such as replicas, with the chain as leading axis.
        keys: one PRNG key per chain.
    """

    w: Float[Array, "chain coordinate"]
    velocity: Float[Array, "chain coordinate"]
    gradient: PyTree
    keys: Key[Array, " chain"]


class Sgld:
    """Stochastic-gradient Langevin dynamics, many chains in lockstep; `step` advances them by a chunk of draws.

    In whitened coordinates w, with the noisy gradient ĝ,

        w ← w + (a/2) ĝ + √(a I − (a²/4) S) ξ,

    so that gradient noise of covariance S and injected noise add up to what the temperature demands. Without the
    correction the injected noise is √a ξ, and the variance is too large by a s/4.

    Args:
        corrected: whether the gradient's noise is subtracted.
        thin: updates per kept draw; successive draws are independent when it is about 4/a.
        n_warmup: draws that a driver should drop at the start.

    Raises:
        InputError: thin or n_warmup is impossible.

    Example:
        >>> from bayescg.inference import example_gradient
        >>> target = GradientTarget(
        ...     example_gradient(noise=5.0), jnp.zeros(2), jnp.eye(2), 5.0 * jnp.eye(2), jnp.asarray(0.2)
        ... )
        >>> sampler = Sgld(thin=10)
        >>> state = sampler.initial_state(jax.random.key(0), target, n_chains=200)
        >>> state, draws = sampler.step(state, target, n=20)
        >>> bool(abs(draws.z.var() - 1 / (1 - 0.05)) < 0.1)
        True

    References:
        Welling & Teh (2011), ICML, 681; Ahn, Korattikara & Welling (2012), arXiv:1206.6380 (preconditioning).
    """

    name = "sgld"
    decay = 1.0

    def __init__(self, *, corrected: bool = True, thin: int = 1, n_warmup: int = 0):
        check_counts(thin, n_warmup)
        self.corrected, self.thin, self.n_warmup = corrected, thin, n_warmup

    def initial_state(
        self, key: Key[Array, ""], target: GradientTarget, *, n_chains: int, spread: float = 1.0
    ) -> ChainState:
        """Chains dispersed around the centre by `spread` posterior standard deviations."""
        start_key, chain_key = jax.random.split(key)
        shape = (n_chains, target.centre.size)
        start = spread * jax.random.normal(start_key, shape, target.centre.dtype)
        return self.state_at(chain_key, target, start)

    def state_at(
        self, key: Key[Array, ""], target: GradientTarget, start: Float[Array, "chain coordinate"]
    ) -> ChainState:
        """Chains that start at given whitened coordinates."""
        return _state_at(key, target, jnp.asarray(start))

    def step(self, state: ChainState, target: GradientTarget, *, n: int) -> tuple[ChainState, Draws]:
        """Advance all chains by n draws; the log density is unknown, so that the draws carry no energy."""
        return run_chains(state, target, n=n, thin=self.thin, decay=self.decay, corrected=self.corrected)


def run_chains(
    state: ChainState, target: GradientTarget, *, n: int, thin: int, decay: float, corrected: bool
) -> tuple[ChainState, Draws]:
    """n draws of every chain, `thin` updates apart."""
    run = _run_pairs if compiler_options(target.gradient, state.w) else _run_others
    # `thin` is traced: another step, which comes with another `thin`, compiles nothing anew
    state, drawn = run(state, target, n, jnp.asarray(thin), jnp.asarray(decay), corrected)
    z = np.asarray(drawn)
    draws = Draws.without_trajectories(z, np.full(z.shape[:2], np.nan))
    return state, draws._replace(
        n_steps=np.full(z.shape[:2], thin),
        diverging=np.any(~np.isfinite(z), axis=2),
        step_size=np.full(z.shape[:2], float(target.step)),
    )


def check_counts(thin: int, n_warmup: int) -> None:
    if thin < 1 or n_warmup < 0:
        raise InputError(f"thin {thin} and n_warmup {n_warmup}: expected at least 1 and at least 0")


def injected_root(
    step: Float[Array, ""], noise: Float[Array, "coordinate coordinate"], decay: Float[Array, ""]
) -> Float[Array, "coordinate coordinate"]:
    """√(α a I − (a²/4) S), with 0 in place of what can't be subtracted."""
    values, vectors = jnp.linalg.eigh((noise + noise.T) / 2.0)
    left = jnp.maximum(decay * step - step**2 / 4.0 * values, 0.0)
    return (vectors * jnp.sqrt(left)) @ vectors.T


@eqx.filter_jit
def _state_at(key: Key[Array, ""], target: GradientTarget, w: Float[Array, "chain coordinate"]) -> ChainState:
    gradient_key, chain_key = jax.random.split(key)

    def one(w: Array, key: Array) -> PyTree:
        return target.gradient.initial_state(key, target.centre + target.root @ w)

    memory = jax.vmap(one)(w, jax.random.split(gradient_key, len(w)))
    return ChainState(w, jnp.zeros_like(w), memory, jax.random.split(chain_key, len(w)))


def _run(
    state: ChainState, target: GradientTarget, n: int, thin: Array, decay: Array, corrected: bool
) -> tuple[ChainState, Float[Array, "chain draw coordinate"]]:
    noise = target.noise if corrected else jnp.zeros_like(target.noise)
    injected = injected_root(target.step, noise, decay)

    def update(state: ChainState) -> ChainState:
        key, normal_key = jax.random.split(state.keys)
        memory, gradient = target.gradient.gradient(state.gradient, target.centre + target.root @ state.w)
        whitened = target.root.T @ gradient
        kick = injected @ jax.random.normal(normal_key, state.w.shape, state.w.dtype)
        velocity = (1.0 - decay) * state.velocity + 0.5 * target.step * whitened + kick
        return ChainState(state.w + velocity, velocity, memory, key)

    def draw(state: ChainState, _: None) -> tuple[ChainState, Array]:
        state = jax.lax.fori_loop(0, thin, lambda _, state: update(state), state)
        return state, target.centre + target.root @ state.w

    return jax.vmap(lambda one: jax.lax.scan(draw, one, None, length=n))(state)


_run_others = eqx.filter_jit(_run)
_run_pairs = eqx.filter_jit(_run, compiler_options=CPU_COMPILER_OPTIONS)  # type: ignore[call-overload]
