"""Replicas and gradients whose noise is known exactly, for the tests of stochastic-gradient samplers."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from bayescg.inference import GradientTarget, Prior, relative_entropy_gradient
from bayescg.physics import LinearPotential, SufficientStatistics

SHEAR = np.array([[1.0, 0.6], [0.0, 0.4]])
"""θ = SHEAR z, so that the coordinates are neither scaled nor independent."""


def tilt(positions, box):
    """φ of U = −θ·x + |x|²/2, the model N(θ, 1) of one point in the plane."""
    x = positions[0]
    return jnp.concatenate([-x, jnp.sum(x**2)[None] / 2])


def tilted_model():
    z = numpyro.sample("z", dist.Normal(jnp.zeros(2), 1e3).to_event(1))
    return LinearPotential(jnp.append(jnp.asarray(SHEAR) @ z, 1.0), function=tilt)


class Points(NamedTuple):
    noise: jax.Array
    key: jax.Array


class TiltedReplicas(eqx.Module):
    """Replicas of N(θ, 1): an AR(1) process with correlation `memory`.

    Attributes:
        memory: correlation of successive moves.
        lag: 1 lets the replicas follow θ with the same memory, as dynamics do; 0 shifts them with θ at once.
        n_replicas: replicas of one chain.
    """

    memory: float
    lag: float
    n_replicas: int = eqx.field(static=True)

    def initial_state(self, key, potential):
        key, start_key = jax.random.split(key)
        theta = potential.coefficients()[:2]
        return Points(self.lag * theta + jax.random.normal(start_key, (self.n_replicas, 2)), key)

    def advance(self, state, potential):
        key, noise_key = jax.random.split(state.key)
        theta = potential.coefficients()[:2]
        fresh = jax.random.normal(noise_key, (self.n_replicas, 2))
        inner = self.lag * theta
        memory = self.memory
        point = inner + memory * (state.noise - inner) + jnp.sqrt(1.0 - memory**2) * fresh
        x = point + (1.0 - self.lag) * theta
        features = jnp.concatenate([-x, jnp.sum(x**2, axis=1, keepdims=True) / 2], axis=1)
        return Points(point, key), features


def tilted(
    *, n_frames: int, n_replicas: int, memory: float = 0.0, lag: float = 0.0, batch_size: int | None = None
):
    """The gradient for frames with mean (0.3, −0.2) and covariance 1 in both directions."""
    x = np.random.default_rng(0).normal(size=(n_frames, 2))
    x = x - x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T, bias=True))).T + np.array([0.3, -0.2])
    features = np.column_stack([-x, (x**2).sum(axis=1) / 2])
    statistics = SufficientStatistics(features, *np.zeros((2, n_frames, 0)), np.zeros(n_frames, int))
    replicas = TiltedReplicas(memory, lag, n_replicas)
    return relative_entropy_gradient(
        Prior(tilted_model), statistics, beta=1.0, replicas=replicas, batch_size=batch_size
    )


def tilted_target(gradient, *, noise: float, step: float) -> GradientTarget:
    """The exact posterior N(SHEAR⁻¹ x̄, (N SHEARᵀ SHEAR)⁻¹) as preconditioner, and the exact noise."""
    n = len(gradient.features)
    centre = np.linalg.solve(SHEAR, [0.3, -0.2])
    root = np.linalg.inv(np.sqrt(n) * SHEAR)
    return GradientTarget(
        gradient, jnp.asarray(centre), jnp.asarray(root), noise * jnp.eye(2), jnp.asarray(step)
    )


def measured_ratios(
    sampler, target, *, n_chains: int, n_draws: int, n_burn: int, seed: int = 0
) -> np.ndarray:
    """Variance of whitened draws along both coordinates and both diagonals, about the known mean."""
    state = sampler.initial_state(jax.random.key(seed), target, n_chains=n_chains)
    state, _ = sampler.step(state, target, n=n_burn)
    _, draws = sampler.step(state, target, n=n_draws)
    w = (draws.z - np.asarray(target.centre)) @ np.linalg.inv(np.asarray(target.root)).T
    directions = np.array([[1.0, 0.0], [0.0, 1.0], [0.6**0.5, 0.4**0.5], [0.6**0.5, -(0.4**0.5)]])
    return ((w @ directions.T) ** 2).mean(axis=(0, 1))
