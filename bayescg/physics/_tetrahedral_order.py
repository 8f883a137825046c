"""The tetrahedral order parameter of a site and its four nearest neighbours."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from bayescg.physics._neighbour_shell import NeighbourShell, ShellNeighbours, shell_observable, unit_vectors

_FOUR = NeighbourShell(4)


def tetrahedral_order(
    positions: Float[Array, "*batch site 3"], box: Float[Array, "*batch 3"]
) -> Float[Array, "*batch site"]:
    """q = 1 − 3/8 Σ_{j<k} (cos ψ_jk + 1/3)² over the six angles between a site's four nearest [dimensionless].

    1 for a perfect tetrahedron, 0 on average for directions at random, −3 at the least. Differentiable in the positions
    where the four nearest stay the same; NaN where they lie beyond half of the box.

    Args:
        positions: wrapped or not [length].
        box: edge lengths, inf where open; one for all frames or one for each [length].

    Raises:
        InputError: shapes that do not fit, fewer than 5 sites.

    References:
        Errington & Debenedetti (2001), doi:10.1038/35053024; Chau & Hardwick (1998),
        doi:10.1080/002689798169195.

    Example:
        >>> corners = jnp.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
        >>> sites = jnp.concatenate([jnp.zeros((1, 3)), corners])
        >>> round(float(tetrahedral_order(sites, jnp.full(3, jnp.inf))[0]), 5)
        1.0
    """
    return shell_observable("tetrahedral order", _order, positions, box, shell=_FOUR)


def _order(neighbours: ShellNeighbours) -> Float[Array, " site"]:
    directions = unit_vectors(neighbours.vectors)
    first, second = jnp.triu_indices(_FOUR.number, k=1)
    cosines = jnp.sum(directions[:, first] * directions[:, second], axis=-1)
    order = 1.0 - 3.0 / 8.0 * jnp.sum((cosines + 1.0 / 3.0) ** 2, axis=-1)
    return jnp.where(neighbours.valid, order, jnp.nan)
