"""Prior and likelihood together: the log density on unconstrained coordinates."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import ConvergenceError, InputError
from bayescg.inference._likelihood import Likelihood
from bayescg.inference._prior import Prior

BATCH = 16
"""Densities evaluated side by side: many at once would hold as many copies of the reference frames' weights."""
FLAT = 1e-12
"""Curvature, relative to that of the coordinates, that rounding may leave along a direction that nothing holds."""


class Posterior:
    """log p(z | D) up to a constant, with its derivatives, compiled once per shape of the likelihood.

    Args:
        prior: the prior on z.

    The likelihood is an argument of every method, since it changes whenever the bank grows.
    """

    def __init__(self, prior: Prior):
        self.prior = prior
        self.value_and_gradient = eqx.filter_jit(jax.value_and_grad(self.log_density, argnums=0))
        self.hessian = eqx.filter_jit(jax.hessian(self.log_density, argnums=0))
        self.likelihood_hessian = eqx.filter_jit(jax.hessian(self.log_likelihood, argnums=0))
        self.prior_hessian = jax.jit(jax.hessian(prior.log_density))
        self.coefficients = jax.jit(lambda z: prior.potential(z).coefficients())
        self.coefficient_jacobian = jax.jit(jax.jacobian(lambda z: prior.potential(z).coefficients()))
        self.effective_frames = eqx.filter_jit(self._effective_frames)
        self.effective_frames_of_draws = eqx.filter_jit(self._effective_frames_of_draws)

    def log_likelihood(self, z: Float[Array, " coordinate"], likelihood: Likelihood) -> Float[Array, ""]:
        """log p(D | z)."""
        return likelihood.log_likelihood(self.prior.potential(z))

    def log_density(self, z: Float[Array, " coordinate"], likelihood: Likelihood) -> Float[Array, ""]:
        """log p(z) + log p(D | z)."""
        return self.prior.log_density(z) + self.log_likelihood(z, likelihood)

    def _effective_frames(self, z: Float[Array, " coordinate"], likelihood: Likelihood) -> Float[Array, ""]:
        return likelihood.effective_frames(self.prior.potential(z))

    def _effective_frames_of_draws(
        self, z: Float[Array, "draw coordinate"], likelihood: Likelihood
    ) -> Float[Array, " draw"]:
        return jax.lax.map(lambda point: self._effective_frames(point, likelihood), z, batch_size=BATCH)

    def check(self, z: Float[Array, " coordinate"], likelihood: Likelihood) -> None:
        """Refuse a posterior that no sampler should see.

        Raises:
            InputError: density or gradient not finite at z, or a coordinate that nothing depends on.
        """
        value, gradient = self.value_and_gradient(z, likelihood)
        if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
            raise InputError(
                f"the log density at the start is {value} or its gradient is not finite; check the start"
            )
        curvature = -np.asarray(self.hessian(z, likelihood))
        for coordinate, row in zip(self.prior.coordinates, curvature, strict=True):
            if not np.any(row != 0.0):
                raise InputError(
                    f"parameter '{coordinate}' changes neither prior nor likelihood: give it a proper prior or drop it"
                )


class Mode(NamedTuple):
    """A maximum of the log density and the curvature there (the Laplace approximation).

    Attributes:
        z: where [coordinate].
        covariance: inverse of minus the Hessian [coordinate coordinate].
        log_density: value at the maximum.
        log_evidence: Laplace's estimate of the log evidence relative to the anchor.
        interior: whether the step stayed where the surrogate can be trusted (no trust-region cut).
        effective_frames: of the reweighting at the maximum.

    Example:
        >>> peak = Mode(np.array([0.3]), np.array([[0.04]]), -1.2, -2.0, interior=True, effective_frames=0.0)
        >>> np.sqrt(np.diag(peak.covariance)).tolist()  # standard deviations of the Laplace approximation
        [0.2]
    """

    z: np.ndarray
    covariance: np.ndarray
    log_density: float
    log_evidence: float
    interior: bool
    effective_frames: float


def maximise(
    posterior: Posterior,
    likelihood: Likelihood,
    start: Float[np.ndarray, " coordinate"],
    *,
    least_effective_frames: float,
    max_iterations: int = 200,
    tolerance: float = 1e-8,
    refuse_flat: bool = True,
) -> Mode:
    """Damped Newton ascent that never leaves the region where the reweighting is healthy.

    A step is taken when the log density rises and the effective number of reference frames stays above the
    limit; otherwise the damping grows and the step shortens.

    Args:
        posterior: prior and likelihood.
        likelihood: at its present state.
        start: [coordinate].
        least_effective_frames: the limit.
        max_iterations: most steps.
        tolerance: decrement at which the maximum is reached.
        refuse_flat: whether a maximum with a direction that nothing holds is an error; a step on the way need not be one.

    Raises:
        ConvergenceError: the density is not finite at the start, or the curvature is not positive at an
            interior maximum.
    """
    z = np.asarray(start, float)
    value, gradient = posterior.value_and_gradient(jnp.asarray(z), likelihood)
    if not np.isfinite(value):
        raise ConvergenceError(
            "the log density is not finite at the start of the search: choose another start"
        )
    damping, interior = 1e-6, True
    for _ in range(max_iterations):
        curvature = -np.asarray(posterior.hessian(jnp.asarray(z), likelihood))
        eigenvalues, vectors = np.linalg.eigh(curvature)
        scale = np.maximum(np.abs(eigenvalues), 1e-12 * np.abs(eigenvalues).max())
        projected = vectors.T @ np.asarray(gradient)
        improved = False
        while damping < 1e8:
            step = vectors @ (projected / (scale * (1.0 + damping)))
            candidate = z + step
            new_value, new_gradient = posterior.value_and_gradient(jnp.asarray(candidate), likelihood)
            n_eff = float(posterior.effective_frames(jnp.asarray(candidate), likelihood))
            if np.isfinite(new_value) and new_value > value and n_eff >= least_effective_frames:
                improved = True
                break
            if abs(projected @ (projected / scale)) < tolerance:
                break
            interior = interior and n_eff >= least_effective_frames
            damping = max(4.0 * damping, 1e-2)
        decrement = float(projected @ (projected / scale))
        if not improved or decrement < tolerance:
            break
        gain = float(new_value - value)
        z, value, gradient = candidate, new_value, new_gradient
        damping = damping / 8.0 if damping > 1e-6 else damping
        interior = True if damping < 1e-2 else interior
        if gain < tolerance and damping < 1e-2:
            break
    n_eff = float(posterior.effective_frames(jnp.asarray(z), likelihood))
    return laplace(
        posterior,
        likelihood,
        z,
        interior=interior and decrement < 1e-2 and refuse_flat,
        effective_frames=n_eff,
    )


def laplace(
    posterior: Posterior,
    likelihood: Likelihood,
    z: Float[np.ndarray, " coordinate"],
    *,
    interior: bool = True,
    effective_frames: float = np.inf,
) -> Mode:
    """The Laplace approximation at a maximum: N(z, −Hessian⁻¹), and its log evidence."""
    value, _ = posterior.value_and_gradient(jnp.asarray(z), likelihood)
    curvature = -np.asarray(posterior.hessian(jnp.asarray(z), likelihood))
    curvature = (curvature + curvature.T) / 2.0
    if interior:
        _refuse_flat_direction(posterior, curvature)
    eigenvalues, vectors = np.linalg.eigh(curvature)
    if eigenvalues[0] <= 0.0:
        eigenvalues = np.maximum(np.abs(eigenvalues), 1e-12 * np.abs(eigenvalues).max())
    covariance = (vectors / eigenvalues) @ vectors.T
    log_evidence = (
        float(value) + 0.5 * len(z) * np.log(2.0 * np.pi) - 0.5 * float(np.sum(np.log(eigenvalues)))
    )
    return Mode(np.asarray(z), covariance, float(value), float(log_evidence), interior, effective_frames)


def _refuse_flat_direction(
    posterior: Posterior, curvature: Float[np.ndarray, "coordinate coordinate"]
) -> None:
    """Raise where the curvature is not positive beyond rounding, in coordinates scaled to unit diagonal."""
    diagonal = np.abs(np.diag(curvature))
    scale = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    eigenvalues, vectors = np.linalg.eigh(curvature / np.outer(scale, scale))
    if eigenvalues[0] <= FLAT:
        softest = posterior.prior.coordinates[int(np.argmax(np.abs(vectors[:, 0])))]
        raise ConvergenceError(
            f"the log density has no maximum in the direction of '{softest}' (relative curvature"
            f" {eigenvalues[0]:.1e}): the data do not determine it and the prior does not hold it; give it a proper,"
            " narrower prior"
        )
