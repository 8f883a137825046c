"""Langevin sampling of parameters at a chosen temperature: training as physics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from bayescg.errors import InputError
from bayescg.inference._sampler import Draws


class LossTarget(NamedTuple):
    """What one compiled step needs: an array pytree.

    Attributes:
        data: what the loss is computed from.
        centre: origin of the scaled coordinates [coordinate].
        root: z = centre + root @ w [coordinate coordinate].
        temperature: τ, in units of the loss.

    Example:
        >>> target = LossTarget((), jnp.zeros(1), jnp.eye(1), jnp.asarray(0.1))
        >>> float(target.temperature)
        0.1
    """

    data: PyTree
    centre: Float[Array, " coordinate"]
    root: Float[Array, "coordinate coordinate"]
    temperature: Float[Array, ""]


class LangevinState(NamedTuple):
    """Chains between two steps.

    Attributes:
        w: scaled coordinates [chain coordinate].
        momentum: [chain coordinate].
        force: −∂L/∂w [chain coordinate].
        keys: one PRNG key per chain.
    """

    w: Float[Array, "chain coordinate"]
    momentum: Float[Array, "chain coordinate"]
    force: Float[Array, "chain coordinate"]
    keys: Key[Array, " chain"]


class TemperedLangevin:
    """Draws from p(z) ∝ exp(−L(z)/τ) by underdamped Langevin dynamics (BAOAB), many chains in lockstep.

    With unit masses in scaled coordinates: half a kick −h ∂L/∂w / 2, half a drift, p ← c p + √((1 − c²) τ) ξ with
    c = exp(−γh), half a drift, half a kick. A minimum is then occupied by its volume, ∫ exp(−L/τ), so that a wide one
    can outweigh a deeper narrow one, and left at a rate ∝ exp(−ΔL/τ) over a barrier ΔL. With L = −log p(z | D) and
    τ = 1 these are posterior draws; τ < 1 is a cold posterior. The error of the time step in averages of positions
    is of order h⁴ at high friction and absent in a quadratic loss.

    Args:
        loss: `(z, data) -> L`, differentiable; a module-level function.
        time_step: h; below about a quarter of the shortest oscillation time 1/√curvature in scaled coordinates.
        friction: γ.
        thin: steps per kept draw.
        n_warmup: draws that a driver should drop at the start.

    Raises:
        InputError: a number is impossible.

    Example:
        >>> def bowl(z, data):
        ...     return 0.5 * data * jnp.sum(z**2)
        >>> target = LossTarget(jnp.asarray(4.0), jnp.zeros(1), jnp.eye(1), jnp.asarray(2.0))
        >>> sampler = TemperedLangevin(bowl, time_step=0.3, friction=1.0, thin=10)
        >>> state = sampler.initial_state(jax.random.key(0), target, n_chains=500)
        >>> state, draws = sampler.step(state, target, n=20)
        >>> bool(abs(draws.z[:, 5:].var() - 2.0 / 4.0) < 0.03)  # τ over curvature
        True

    References:
        Leimkuhler & Matthews (2013), doi:10.1093/amrx/abs010; Kramers (1940), doi:10.1016/S0031-8914(40)90098-2.
    """

    name = "tempered-langevin"

    def __init__(
        self,
        loss: Callable[[Array, Any], Array],
        *,
        time_step: float,
        friction: float,
        thin: int = 1,
        n_warmup: int = 0,
    ):
        if not (time_step > 0.0 and friction > 0.0):
            raise InputError(f"time_step {time_step} and friction {friction}: expected positive numbers")
        if thin < 1 or n_warmup < 0:
            raise InputError(f"thin {thin} and n_warmup {n_warmup}: expected at least 1 and at least 0")
        self.loss, self.time_step, self.friction = loss, time_step, friction
        self.thin, self.n_warmup = thin, n_warmup

    def initial_state(
        self, key: Key[Array, ""], target: LossTarget, *, n_chains: int, spread: float = 1.0
    ) -> LangevinState:
        """Chains dispersed around the centre by `spread` in scaled coordinates, with thermal momenta.

        Raises:
            InputError: the temperature is not positive.
        """
        start_key, chain_key = jax.random.split(key)
        start = spread * jax.random.normal(start_key, (n_chains, target.centre.size), target.centre.dtype)
        return self.state_at(chain_key, target, start)

    def state_at(
        self, key: Key[Array, ""], target: LossTarget, start: Float[Array, "chain coordinate"]
    ) -> LangevinState:
        """Chains at given scaled coordinates, with thermal momenta.

        Raises:
            InputError: the temperature is not positive.
        """
        if not float(target.temperature) > 0.0:
            raise InputError(f"temperature is {float(target.temperature)}, expected a positive number")
        momentum_key, chain_key = jax.random.split(key)
        momentum = jnp.sqrt(target.temperature) * jax.random.normal(momentum_key, start.shape, start.dtype)
        _, force = _loss_and_forces(start, target, self.loss)
        return LangevinState(start, momentum, force, jax.random.split(chain_key, len(start)))

    def step(self, state: LangevinState, target: LossTarget, *, n: int) -> tuple[LangevinState, Draws]:
        """Advance all chains by n draws; their energy is L/τ, minus the log density up to a constant."""
        numbers = (jnp.asarray(self.time_step), jnp.asarray(self.friction))
        state, (z, energy) = _run(state, target, *numbers, self.loss, n, self.thin)
        draws = Draws.without_trajectories(np.asarray(z), np.asarray(energy))
        return state, draws._replace(
            n_steps=np.full(draws.energy.shape, self.thin),
            diverging=~np.isfinite(draws.energy),
            step_size=np.full(draws.energy.shape, self.time_step),
        )


def _value_and_force(
    w: Array, target: LossTarget, loss: Callable[[Array, Any], Array]
) -> tuple[Array, Array]:
    value, slope = jax.value_and_grad(lambda w: loss(target.centre + target.root @ w, target.data))(w)
    return value, -slope


@eqx.filter_jit
def _loss_and_forces(
    w: Array, target: LossTarget, loss: Callable[[Array, Any], Array]
) -> tuple[Array, Array]:
    return jax.vmap(lambda one: _value_and_force(one, target, loss))(w)


@eqx.filter_jit
def _run(
    state: LangevinState,
    target: LossTarget,
    time_step: Array,
    friction: Array,
    loss: Callable[[Array, Any], Array],
    n: int,
    thin: int,
) -> tuple[LangevinState, tuple[Array, Array]]:
    """n draws of every chain, thin steps apart."""
    keep = jnp.exp(-friction * time_step)
    heat = jnp.sqrt((1.0 - keep**2) * target.temperature)
    half = 0.5 * time_step

    def step(_: Array, carry: tuple[LangevinState, Array]) -> tuple[LangevinState, Array]:
        (w, p, force, key), _ = carry
        key, normal_key = jax.random.split(key)
        p = p + half * force
        w = w + half * p
        p = keep * p + heat * jax.random.normal(normal_key, p.shape, p.dtype)
        w = w + half * p
        value, force = _value_and_force(w, target, loss)
        return LangevinState(w, p + half * force, force, key), value

    def draw(state: LangevinState, _: None) -> tuple[LangevinState, tuple[Array, Array]]:
        start = (state, jnp.zeros((), state.w.dtype))
        state, value = jax.lax.fori_loop(0, thin, step, start)
        return state, (target.centre + target.root @ state.w, value / target.temperature)

    return jax.vmap(lambda one: jax.lax.scan(draw, one, None, length=n))(state)
