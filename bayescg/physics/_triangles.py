"""Pairs of an atom's neighbours: their distances, and how to work on many of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

MAX_TRIPLETS = 2**17
"""Pairs of neighbours worked on at once: bounds the memory of an energy and of its derivative."""


def distances(vectors: Float[Array, "*edge 3"]) -> Float[Array, "*edge"]:
    """Lengths of neighbour vectors [length]; none is zero, so that the root has a derivative."""
    return jnp.sqrt(jnp.sum(vectors**2, axis=-1))


def opposite_sides(
    vectors: Float[Array, "*atom neighbour 3"], cutoff: float
) -> tuple[
    Float[Array, "*atom neighbour neighbour"],
    Float[Array, "*atom neighbour neighbour 3"],
    Bool[Array, "*atom neighbour neighbour"],
]:
    """r_jk [length] and v_j − v_k of all pairs of neighbours, and which of them are two atoms within the cutoff."""
    inside = distances(vectors) < cutoff
    n = vectors.shape[-2]
    apart = inside[..., :, None] & inside[..., None, :] & ~np.eye(n, dtype=bool)
    difference = vectors[..., :, None, :] - vectors[..., None, :, :]
    squared = jnp.where(apart, jnp.sum(difference**2, axis=-1), 1.0)
    return jnp.sqrt(squared), difference, apart


def in_parts(
    function: Callable[[Array, Array, Array], Array],
    vectors: Float[Array, "atom neighbour 3"],
    types: Int[Array, " atom"],
    neighbour_types: Int[Array, "atom neighbour"],
) -> Float[Array, "atom *rest"]:
    """A function of environments evaluated for some atoms at a time; its derivative computes each part anew.

    Args:
        function: of vectors, types and types of neighbours, for any number of atoms.
        vectors: to the neighbours [length].
        types: species of the atoms.
        neighbour_types: species of the neighbours.
    """
    environment, n = (vectors, types, neighbour_types), len(types)
    at_once = max(1, MAX_TRIPLETS // max(1, vectors.shape[1] ** 2))
    if n <= at_once:
        return function(*environment)
    n_parts = -(-n // at_once)
    size = -(-n // n_parts)

    def parted(array: Array) -> Array:
        fill = ((0, n_parts * size - n), *((0, 0),) * (array.ndim - 1))
        return jnp.pad(array, fill, mode="edge").reshape(n_parts, size, *array.shape[1:])

    results = jax.lax.map(jax.checkpoint(lambda part: function(*part)), tuple(map(parted, environment)))
    return results.reshape(n_parts * size, *results.shape[2:])[:n]
