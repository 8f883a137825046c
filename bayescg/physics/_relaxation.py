"""Minimisation of an energy over coordinates: a trust-region Newton method that needs only gradients.

Compiled once for all posterior draws: shapes are fixed, every loop is bounded, trouble is a flag.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

MAX_STEPS = 100
MAX_INNER = 400

TOLERANCE = 1e-7
"""Largest component of the last Newton step, relative to the distance of nearest neighbours; the error left is its square."""

_ROUNDING = 1e-12
"""Changes of the energy below this share of it are not resolved: the gradient decides, and where no step within the trust
region could change the energy by more, the minimum is found."""


class Minimum(NamedTuple):
    """Where a minimisation ended.

    Attributes:
        position: coordinates.
        energy: there.
        converged: whether the last Newton step was short enough.
        n_steps: how many there were.
    """

    position: Float[Array, "*any"]
    energy: Float[Array, ""]
    converged: Bool[Array, ""]
    n_steps: Int[Array, ""]


class _State(NamedTuple):
    position: Array
    energy: Array
    gradient: Array
    radius: Array
    n_steps: Array
    converged: Array


def minimise(
    energy_and_gradient: Callable[[Array], tuple[Array, Array]],
    start: Float[Array, "*any"],
    *,
    length: float,
    max_steps: int = MAX_STEPS,
) -> Minimum:
    """A minimum near the start, by Newton steps within a trust region, each found by conjugate gradients.

    Products with the Hessian are derivatives of the gradient. Directions of negative curvature are followed to the edge
    of the trust region, so that a saddle is left as soon as the gradient has a component along them.

    Args:
        energy_and_gradient: of the coordinates.
        start: coordinates [length].
        length: distance over which the energy changes its shape, e.g. of nearest neighbours [length].
        max_steps: Newton steps.

    References:
        Steihaug (1983), doi:10.1137/0720042; Nocedal & Wright (2006), doi:10.1007/978-0-387-40065-5, algorithms 4.1
        and 7.2.

    Example:
        >>> found = minimise(jax.value_and_grad(lambda x: jnp.sum((x**2 - 1.0) ** 2)), jnp.array([0.2, -0.3]), length=1.0)
        >>> found.position.round(6).tolist(), bool(found.converged)
        ([1.0, -1.0], True)
    """
    largest = 0.3 * length * jnp.sqrt(start.size / 3.0)
    energy, gradient = energy_and_gradient(start)
    first = jnp.maximum(jnp.linalg.norm(gradient), jnp.finfo(start.dtype).tiny)

    def flat(energy: Array, gradient: Array) -> Array:
        return jnp.linalg.norm(gradient) * largest <= _ROUNDING * jnp.abs(energy)

    def unfinished(state: _State) -> Array:
        finite = jnp.isfinite(state.energy) & jnp.all(jnp.isfinite(state.gradient))
        return finite & ~state.converged & (state.n_steps < max_steps)

    def newton(state: _State) -> _State:
        _, curvature = jax.linearize(lambda x: energy_and_gradient(x)[1], state.position)
        norm = jnp.linalg.norm(state.gradient)
        step, predicted, at_edge = _conjugate_gradients(
            curvature, state.gradient, state.radius, target=norm * jnp.minimum(0.1, norm / first)
        )
        energy, gradient = energy_and_gradient(state.position + step)
        ratio = (state.energy - energy) / jnp.where(predicted > 0.0, predicted, 1.0)
        unresolved = predicted <= _ROUNDING * jnp.abs(state.energy)
        better = jnp.where(unresolved, jnp.linalg.norm(gradient) <= norm, ratio > 1e-4)
        better &= jnp.isfinite(energy) & jnp.all(jnp.isfinite(gradient))
        shrink = ~better | (~unresolved & (ratio < 0.25))
        grow = at_edge & (ratio > 0.75)
        radius = jnp.where(shrink, 0.25 * jnp.linalg.norm(step), state.radius)
        radius = jnp.where(~shrink & grow, jnp.minimum(2.0 * radius, largest), radius)
        short = ~at_edge & (jnp.max(jnp.abs(step)) <= TOLERANCE * length) & (better | unresolved)
        return _State(
            jnp.where(better, state.position + step, state.position),
            jnp.where(better, energy, state.energy),
            jnp.where(better, gradient, state.gradient),
            radius,
            state.n_steps + 1,
            short | (better & flat(energy, gradient)),
        )

    begin = _State(start, energy, gradient, 0.5 * largest, jnp.zeros((), int), flat(energy, gradient))
    end = jax.lax.while_loop(unfinished, newton, begin)
    return Minimum(end.position, end.energy, end.converged, end.n_steps)


def _conjugate_gradients(
    curvature: Callable[[Array], Array], gradient: Array, radius: Array, *, target: Array
) -> tuple[Array, Array, Array]:
    """Step p that lowers g·p + ½ p·Hp within the radius; by how much; whether it ends at the edge."""

    def inner(a: Array, b: Array) -> Array:
        return jnp.sum(a * b)

    def to_edge(p: Array, d: Array) -> Array:
        """Largest t with |p + t d| ≤ radius."""
        a, b, c = inner(d, d), inner(p, d), inner(p, p) - radius**2
        root = jnp.sqrt(jnp.maximum(b * b - a * c, 0.0))
        return (root - b) / jnp.where(a > 0.0, a, 1.0)

    def unfinished(state: tuple) -> Array:
        _, residual, _, _, edge, k = state
        return ~edge & (jnp.sqrt(inner(residual, residual)) > target) & (k < MAX_INNER)

    def iterate(state: tuple) -> tuple:
        p, r, d, hp, _, k = state
        hd = curvature(d)
        bend, square = inner(d, hd), inner(r, r)
        whole = square / jnp.where(bend > 0.0, bend, 1.0)
        outside = inner(p + whole * d, p + whole * d) >= radius**2
        edge = (bend <= 0.0) | outside
        t = jnp.where(edge, to_edge(p, d), whole)
        p, hp, r = p + t * d, hp + t * hd, r + t * hd
        return p, r, -r + inner(r, r) / square * d, hp, edge, k + 1

    zero = jnp.zeros_like(gradient)
    start = (zero, gradient, -gradient, zero, jnp.zeros((), bool), jnp.zeros((), int))
    p, _, _, hp, edge, _ = jax.lax.while_loop(unfinished, iterate, start)
    return p, -inner(gradient, p) - 0.5 * inner(p, hp), edge
