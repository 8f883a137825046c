"""The manifold of what a model can predict: its metric and what bends its geodesics."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayescg.inference import Prior
from bayescg.physics import Surrogate


class Manifold(NamedTuple):
    """The metric of a model manifold and what bends its geodesics, as functions of unconstrained coordinates.

    Attributes:
        metric: g(z) [coordinate coordinate].
        turning: Γ(z; u, u) with lower index, so that a geodesic has g z'' = −Γ [coordinate].
        support: effective number of reference frames at z; infinite where predictions are exact.

    Example:
        >>> plane = least_squares_manifold(lambda z: z)
        >>> plane.metric(jnp.zeros(2)).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    metric: Callable[[Array], Array]
    turning: Callable[[Array, Array], Array]
    support: Callable[[Array], Array]


def least_squares_manifold(
    predictions: Callable[[Float[Array, " coordinate"]], Float[Array, " prediction"]],
) -> Manifold:
    """The manifold of predictions r(z) in units of their noise: g = JᵀJ and Γ = Jᵀ ∂²r[u, u].

    Example:
        >>> curve = least_squares_manifold(lambda z: jnp.exp(z))
        >>> curve.turning(jnp.zeros(1), jnp.ones(1)).tolist()
        [1.0]
    """

    def metric(z: Array) -> Array:
        jacobian = jax.jacfwd(predictions)(z)
        return jacobian.T @ jacobian

    def turning(z: Array, u: Array) -> Array:
        _, pull = jax.vjp(predictions, z)
        return pull(second_derivative(predictions, z, u))[0]

    return Manifold(metric, turning, lambda z: jnp.asarray(jnp.inf))


def equilibrium_manifold(prior: Prior, surrogate: Surrogate) -> Manifold:
    """The manifold of equilibrium distributions with the Fisher metric per frame, from reference frames.

    For p ∝ exp(−β η(z)·φ), with J = ∂η/∂z and averages at z,

        g = β² Jᵀ Cov(φ) J,   Γ = −β Jᵀ (∂²⟨φ⟩[u, u] − β² ⟨δφ (δφ·Ju)²⟩/2),

    the second directional derivative of the predicted ⟨φ⟩ and half of the third cumulant, which belongs to the metric.

    Args:
        prior: gives the potential at z; its density does not matter.
        surrogate: of the bank.

    Example:
        >>> from bayescg.inference import example_spring
        >>> spring, prior, surrogate = example_spring()
        >>> round(float(equilibrium_manifold(prior, surrogate).metric(jnp.zeros(1))[0, 0]), 6)  # in ln k
        0.5
    """

    def coefficients(z: Array) -> Array:
        return prior.potential(z).coefficients()

    def predicted(z: Array) -> Array:
        return surrogate.mean_features(coefficients(z))

    def metric(z: Array) -> Array:
        whole = -surrogate.beta * jax.jacfwd(coefficients)(z).T @ jax.jacfwd(predicted)(z)
        return (whole + whole.T) / 2.0

    def turning(z: Array, u: Array) -> Array:
        # ψ = log Z as a function of η: g = JᵀψʺJ; the metric connection is Jᵀψʺ ∂²η[u, u] + Jᵀψ‴[Ju, Ju]/2, and
        # −β ∂²⟨φ⟩[u, u] is ψʺ ∂²η[u, u] + ψ‴[Ju, Ju]
        eta, pull = jax.vjp(coefficients, z)
        _, along = jax.jvp(coefficients, (z,), (u,))
        bent = second_derivative(predicted, z, u)
        third = second_derivative(surrogate.mean_features, eta, along)
        return pull(-surrogate.beta * (bent - third / 2.0))[0]

    return Manifold(metric, turning, lambda z: surrogate.effective_frames(coefficients(z)))


def second_derivative(
    function: Callable[[Array], Array], z: Float[Array, " coordinate"], u: Float[Array, " coordinate"]
) -> Float[Array, " value"]:
    """∂²f[u, u], the second derivative along a direction, by forward differentiation twice.

    Example:
        >>> second_derivative(lambda z: z**3, jnp.ones(1), jnp.ones(1)).tolist()
        [6.0]
    """
    return jax.jvp(lambda x: jax.jvp(function, (x,), (u,))[1], (z,), (u,))[1]
