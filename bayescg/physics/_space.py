"""Periodic space: the minimum-image displacement in an orthorhombic box with open directions."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def minimum_image(
    displacement: Float[Array, "*batch dim"], box: Float[Array, " dim"]
) -> Float[Array, "*batch dim"]:
    """Shortest periodic image of a displacement.

    An edge of infinite length is an open direction: the displacement passes unchanged.

    Args:
        displacement: differences of positions [length].
        box: edge lengths of the orthorhombic box [length]; `inf` where the direction is open.

    Returns:
        The image inside half a box edge of the origin [length].

    Example:
        >>> minimum_image(jnp.array([4.0, 4.0]), jnp.array([5.0, jnp.inf])).tolist()
        [-1.0, 4.0]
    """
    inverse = jnp.where(jnp.isinf(box), 0.0, 1.0 / box)
    edge = jnp.where(jnp.isinf(box), 0.0, box)
    return displacement - edge * jnp.round(displacement * inverse)


def pair_displacements(
    positions: Float[Array, "site dim"], box: Float[Array, " dim"]
) -> Float[Array, "pair dim"]:
    """Minimum-image displacements of all pairs i < j [length], in the order of `numpy.triu_indices`."""
    first, second = jnp.triu_indices(positions.shape[0], k=1)
    return minimum_image(positions[first] - positions[second], box)


def pair_distances_squared(
    positions: Float[Array, "site dim"], box: Float[Array, " dim"]
) -> Float[Array, " pair"]:
    """Squared minimum-image distances of all pairs i < j [length²]."""
    return jnp.sum(pair_displacements(positions, box) ** 2, axis=-1)
