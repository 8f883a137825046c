"""A gradient for the examples: that of a standard normal in two dimensions, with white noise."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key


class NormalGradient(eqx.Module):
    """−z plus independent normal noise in every update.

    Attributes:
        noise: variance of each component of the noise.
    """

    noise: float

    def initial_state(self, key: Key[Array, ""], z: Float[Array, " coordinate"]) -> Key[Array, ""]:
        """The key of the noise."""
        return key

    def gradient(
        self, state: Key[Array, ""], z: Float[Array, " coordinate"]
    ) -> tuple[Key[Array, ""], Float[Array, " coordinate"]]:
        """A noisy −z."""
        key, noise_key = jax.random.split(state)
        return key, -z + self.noise**0.5 * jax.random.normal(noise_key, z.shape, z.dtype)


def example_gradient(*, noise: float = 1.0) -> NormalGradient:
    """The noisy gradient of a standard normal.

    Args:
        noise: variance of each component.

    Example:
        >>> estimate = example_gradient(noise=0.0)
        >>> import jax.numpy as jnp
        >>> estimate.gradient(jax.random.key(0), jnp.array([1.0, -2.0]))[1].tolist()
        [-1.0, 2.0]
    """
    return NormalGradient(noise)
