"""The maximum of a log density along all coordinates but one: the inner problem of a profile."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from bayescg.inference import Posterior
from bayescg.inference._likelihood import Likelihood

TOLERANCE = 1e-7
"""Newton decrement, about twice what is missing to the maximum, at which it counts as reached."""

MAX_ITERATIONS = 60
LARGEST_DAMPING = 1e8


class Density(NamedTuple):
    """A log density in whitened coordinates w, z = centre + root w, with a power of its prior.

    Attributes:
        centre: z at w = 0 [coordinate].
        root: a Cholesky factor of a covariance [coordinate coordinate].
        prior_power: power of the prior.
        likelihood: any.
    """

    centre: Float[Array, " coordinate"]
    root: Float[Array, "coordinate coordinate"]
    prior_power: Float[Array, ""]
    likelihood: Likelihood

    def at(self, w: Float[Array, " coordinate"]) -> Float[Array, " coordinate"]:
        """z at w."""
        return self.centre + self.root @ w


class ConstrainedMaximum(NamedTuple):
    """A maximum over y of the density at w = t a + B y.

    Attributes:
        w: where [coordinate].
        y: the same in the free directions [rest].
        tangent: dy/dt of the maximum as t changes [rest].
        value: log density.
        slope: its derivative by t along the maxima.
        likelihood_slope: that of the log likelihood.
        converged: whether the maximum was reached.
    """

    w: Float[Array, " coordinate"]
    y: Float[Array, " rest"]
    tangent: Float[Array, " rest"]
    value: Float[Array, ""]
    slope: Float[Array, ""]
    likelihood_slope: Float[Array, ""]
    converged: Bool[Array, ""]


class _Iterate(NamedTuple):
    """A step of the search, with the curvature −Hessian = Q diag(s) Qᵀ of a point that may be an earlier one."""

    y: Array
    value: Array
    gradient: Array
    vectors: Array
    curvature: Array
    refresh: Array
    damping: Array
    iteration: Array
    settled: Array


def terms(
    posterior: Posterior, density: Density, z: Float[Array, " coordinate"]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """log prior, log likelihood and effective frames at z."""
    log_likelihood, n_eff = density.likelihood.log_likelihood_and_effective_frames(
        posterior.prior.potential(z)
    )
    return posterior.prior.log_density(z), log_likelihood, n_eff


def maximise_along(
    posterior: Posterior,
    density: Density,
    along: Float[Array, " coordinate"],
    rest: Float[Array, "coordinate rest"],
    t: Float[Array, ""],
    start: Float[Array, " rest"],
) -> ConstrainedMaximum:
    """Damped Newton ascent over y at fixed t, traceable.

    The curvature is computed at the start and again only where a step with the old one gains too little: a Hessian costs
    as much as many gradients. Directions of negative curvature are ascended as if it were positive.

    Args:
        posterior: prior and likelihood.
        density: the latter's state and the whitening.
        along: a, unit length.
        rest: B, an orthonormal basis of the free directions.
        t: length along a.
        start: y to begin with.
    """

    def objective(y: Array, t: Array) -> tuple[Array, Array]:
        z = density.at(t * along + rest @ y)
        log_likelihood = density.likelihood.log_likelihood(posterior.prior.potential(z))
        return density.prior_power * posterior.prior.log_density(z) + log_likelihood, log_likelihood

    value_and_gradient = jax.value_and_grad(lambda y: objective(y, t)[0])

    def factor(y: Array) -> tuple[Array, Array]:
        if y.size == 0:
            return jnp.zeros((0, 0)), jnp.zeros(0)
        hessian = jax.hessian(lambda y: objective(y, t)[0])(y)
        finite = jnp.all(jnp.isfinite(hessian))
        values, vectors = jnp.linalg.eigh(jnp.where(finite, -hessian, jnp.eye(y.size)))
        size = jnp.abs(values)
        return vectors, jnp.maximum(size, 1e-12 * jnp.max(size, initial=1e-300))

    def unfinished(state: _Iterate) -> Array:
        return ~state.settled & (state.iteration < MAX_ITERATIONS) & (state.damping < LARGEST_DAMPING)

    def step(state: _Iterate) -> _Iterate:
        vectors, curvature = jax.lax.cond(
            state.refresh, factor, lambda _: (state.vectors, state.curvature), state.y
        )
        projected = vectors.T @ state.gradient
        newton = projected / curvature
        decrement = projected @ newton
        candidate = state.y + vectors @ newton / (1.0 + state.damping)
        value, gradient = value_and_gradient(candidate)
        better = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient)) & (value > state.value)
        new_projected = vectors.T @ gradient
        new_decrement = new_projected @ (new_projected / curvature)
        longer = jnp.where(state.damping > 0.1, state.damping / 8.0, 0.0)
        shorter = jnp.where(state.refresh, jnp.maximum(4.0 * state.damping, 1.0), state.damping)
        return _Iterate(
            jnp.where(better, candidate, state.y),
            jnp.where(better, value, state.value),
            jnp.where(better, gradient, state.gradient),
            vectors,
            curvature,
            ~better | (new_decrement > 0.1 * decrement),
            jnp.where(better, longer, shorter),
            state.iteration + 1,
            (decrement < TOLERANCE) | (better & (new_decrement < TOLERANCE)),
        )

    value, gradient = value_and_gradient(start)
    finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
    zero, yes = jnp.zeros(()), jnp.ones((), bool)
    unknown = (jnp.eye(start.size), jnp.ones(start.size))
    first = _Iterate(start, value, gradient, *unknown, yes, zero, jnp.zeros((), int), ~yes)
    last = jax.lax.while_loop(lambda state: finite & unfinished(state), step, first)

    def slope_and_value(t: Array) -> tuple[Array, Array]:
        (value, _), gradient = jax.value_and_grad(objective, has_aux=True)(last.y, t)
        return gradient, value

    one = jnp.ones_like(t)
    _, turning, value = jax.jvp(slope_and_value, (t,), (one,), has_aux=True)
    tangent = last.vectors @ ((last.vectors.T @ turning) / last.curvature)
    _, (slope, likelihood_slope) = jax.jvp(objective, (last.y, t), (tangent, one))
    return ConstrainedMaximum(
        t * along + rest @ last.y, last.y, tangent, value, slope, likelihood_slope, last.settled & finite
    )
