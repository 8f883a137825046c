"""Laplace's approximation as a sampler, and its fattened form as something to start from."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.inference._posterior import Posterior
from bayescg.inference._sampler import BATCH, Draws, Target, whitened_potential


class FattenedLaplace(NamedTuple):
    """A multivariate t about the centre of the whitened coordinates, heavier in the tails than the posterior.

    Attributes:
        degrees_of_freedom: ν.
        scale: in Laplace standard deviations.

    Example:
        >>> fat = FattenedLaplace()
        >>> w = fat.sample(jax.random.key(0), 4000, size=2)
        >>> bool(1.1 < w.std() < 1.3), round(float(fat.log_density(jnp.zeros(2))), 3)  # √(7/5) = 1.18
        (True, -1.838)
    """

    degrees_of_freedom: float = 7.0
    scale: float = 1.0

    def sample(self, key: Key[Array, ""], n: int, *, size: int) -> Float[Array, "draw coordinate"]:
        """Independent draws."""
        normal_key, stretch_key = jax.random.split(key)
        nu = self.degrees_of_freedom
        stretch = jnp.sqrt(nu / (2.0 * jax.random.gamma(stretch_key, nu / 2.0, (n, 1))))
        return self.scale * stretch * jax.random.normal(normal_key, (n, size))

    def log_density(self, w: Float[Array, " coordinate"]) -> Float[Array, ""]:
        """Its normalised log density over w."""
        nu, p = self.degrees_of_freedom, w.size
        gammaln = jax.scipy.special.gammaln
        constant = gammaln((nu + p) / 2.0) - gammaln(nu / 2.0) - 0.5 * p * jnp.log(nu * jnp.pi)
        square = jnp.sum((w / self.scale) ** 2)
        return constant - p * jnp.log(self.scale) - 0.5 * (nu + p) * jnp.log1p(square / nu)


class LaplaceDraws:
    """Independent draws of N(mode, −Hessian⁻¹): exact for Gaussian posteriors, a quick look at others.

    The energies are the exact potential at the draws, so that `laplace_khat` can tell how good the approximation is.

    Args:
        posterior: the posterior.
        n_warmup: ignored, since nothing is adapted.

    Example:
        >>> from bayescg.inference import example_observation
        >>> posterior, target = example_observation()
        >>> laplace = LaplaceDraws(posterior)
        >>> _, draws = laplace.step(laplace.initial_state(jax.random.key(0), target, n_chains=4), target, n=500)
        >>> bool(abs(draws.z.mean() - 0.8) < 0.05)
        True
    """

    name = "laplace"

    def __init__(self, posterior: Posterior, *, n_warmup: int = 0):
        self.posterior = posterior
        self.n_warmup = 0
        self._draw = eqx.filter_jit(self._draw_traced)

    def initial_state(
        self, key: Key[Array, ""], target: Target, *, n_chains: int, spread: float = 1.0
    ) -> Key[Array, " chain"]:
        """One key for each chain; independent draws need no dispersion."""
        return jax.random.split(key, n_chains)

    def _draw_traced(self, keys: Key[Array, " chain"], target: Target, n: int):
        potential = whitened_potential(self.posterior, target)

        def body(key, _):
            key, draw_key = jax.random.split(key)
            return key, jax.random.normal(draw_key, (target.centre.size,))

        keys, w = jax.vmap(lambda key: jax.lax.scan(body, key, None, length=n))(keys)
        flat = w.reshape(-1, w.shape[-1])
        energy = jax.lax.map(potential, flat, batch_size=BATCH).reshape(w.shape[:2])
        return keys, target.coordinates(w), energy

    def step(
        self, state: Key[Array, " chain"], target: Target, *, n: int
    ) -> tuple[Key[Array, " chain"], Draws]:
        """n more draws of each chain."""
        keys, z, energy = self._draw(state, target, n)
        return keys, Draws.without_trajectories(np.asarray(z), np.asarray(energy))


def laplace_khat(
    draws: Draws,
    centre: Float[np.ndarray, " coordinate"],
    covariance: Float[np.ndarray, "coordinate coordinate"],
) -> float:
    """Pareto k̂ of the posterior's weights of Laplace's draws: above 0.7 the approximation misses some of its tail.

    Args:
        draws: of `LaplaceDraws`.
        centre: the mode.
        covariance: Laplace's.

    Example:
        >>> z = np.random.default_rng(0).normal(size=(4, 500, 1))
        >>> bool(laplace_khat(Draws.without_trajectories(z, 0.5 * z[..., 0] ** 2), np.zeros(1), np.eye(1)) < 0.0)
        True
        >>> heavy = 2.0 * np.log1p(z[..., 0] ** 2 / 3.0)  # a t with 3 degrees of freedom
        >>> laplace_khat(Draws.without_trajectories(z, heavy), np.zeros(1), np.eye(1)) > 0.5
        True

    References:
        Vehtari et al. (2024), JMLR 25, 72; Yao et al. (2018), arXiv:1802.02538, k̂ of an approximation.
    """
    from bayescg.inference._importance import smoothed_weights

    w = (draws.z - centre).reshape(-1, len(centre))
    log_laplace = -0.5 * np.sum(w * np.linalg.solve(covariance, w.T).T, axis=1)
    log_ratio = -draws.energy.reshape(-1) - log_laplace
    if np.ptp(log_ratio) < 1e-6:
        return -np.inf  # equal weights have no tail to fit
    return smoothed_weights(log_ratio)[1]
