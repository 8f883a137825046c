"""Solid-like sites: those whose surroundings are oriented as the surroundings of their neighbours are."""

from functools import cache, partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._neighbour_shell import NeighbourShell, ShellNeighbours, shell_observable, unit_vectors
from bayescg.physics._steinhardt import bond_order_vectors

_DEGREE = 6


def solid_connections(
    positions: Float[Array, "*batch site 3"],
    box: Float[Array, "*batch 3"],
    *,
    shell: NeighbourShell,
    threshold: float = 0.5,
) -> Float[Array, "*batch site"]:
    """Neighbours j of every site i that are connected to it: d₆(i, j) > threshold [dimensionless].

        d₆(i, j) = Σ_m q_6m(i) q_6m(j)* / (|q_6(i)| |q_6(j)|), between −1 and 1.

    A count, so without derivative; NaN where a neighbour list did not fit (`NeighbourShell`).

    Args:
        positions: wrapped or not [length].
        box: edge lengths, inf where open; one for all frames or one for each [length].
        shell: which sites are neighbours, usually all up to the first minimum of g(r).
        threshold: of d₆ [dimensionless].

    Raises:
        InputError: shapes that do not fit, not enough sites, a cutoff beyond half the box, a threshold beyond ±1.

    References:
        ten Wolde, Ruiz-Montero & Frenkel (1996), doi:10.1063/1.471721.

    Example:
        >>> grid = jnp.stack(jnp.meshgrid(*[jnp.arange(4.0)] * 3), axis=-1).reshape(-1, 3)  # simple cubic
        >>> int(solid_connections(grid, jnp.full(3, 4.0), shell=NeighbourShell(6))[0])
        6
    """
    if not -1.0 <= threshold < 1.0:
        raise InputError(f"solid-like sites: threshold {threshold} of d6; expected one from -1 to below 1")
    return shell_observable("solid-like sites", _function(float(threshold)), positions, box, shell=shell)


def solid_like_number(
    positions: Float[Array, "*batch site 3"],
    box: Float[Array, "*batch 3"],
    *,
    shell: NeighbourShell,
    threshold: float = 0.5,
    connections: int = 8,
) -> Float[Array, "*batch"]:
    """N_s, the number of sites with at least so many connections [dimensionless]: N_s(t) along the frames of a run.

    All solid-like sites count, not those of the largest cluster only. The number depends on all three choices: look at
    `solid_connections` of the liquid and of the crystal, and choose `connections` between the two.

    Args:
        positions: wrapped or not [length].
        box: edge lengths, inf where open; one for all frames or one for each [length].
        shell: which sites are neighbours, usually all up to the first minimum of g(r).
        threshold: of d₆, see `solid_connections` [dimensionless].
        connections: that make a site solid-like.

    Returns:
        N_s of every frame; NaN for a frame in which a neighbour list did not fit.

    Raises:
        InputError: shapes that do not fit, not enough sites, more connections than neighbours.

    References:
        ten Wolde, Ruiz-Montero & Frenkel (1996), doi:10.1063/1.471721.

    Example:
        >>> grid = jnp.stack(jnp.meshgrid(*[jnp.arange(4.0)] * 3), axis=-1).reshape(-1, 3)  # simple cubic
        >>> float(solid_like_number(grid, jnp.full(3, 4.0), shell=NeighbourShell(6), connections=5))
        64.0
    """
    if not 1 <= connections <= shell.number:
        raise InputError(
            f"solid-like sites: {connections} connections with {shell.number} neighbours; expected at least 1 and no"
            " more than neighbours"
        )
    found = solid_connections(positions, box, shell=shell, threshold=threshold)
    number = jnp.sum(found >= connections, axis=-1)
    return jnp.where(jnp.any(jnp.isnan(found), axis=-1), jnp.nan, number)


def _connections(neighbours: ShellNeighbours, threshold: float) -> Float[Array, " site"]:
    directions = unit_vectors(bond_order_vectors(neighbours, degree=_DEGREE))
    alike = jnp.einsum("im,ijm->ij", directions, directions[neighbours.others])
    number = jnp.sum((alike > threshold) & neighbours.inside, axis=1)
    valid = neighbours.valid & jnp.all(neighbours.valid[neighbours.others] | ~neighbours.inside, axis=1)
    return jnp.where(valid, number, jnp.nan)


@cache
def _function(threshold: float) -> partial:
    """One object for each threshold: what is compiled for it is found again."""
    return partial(_connections, threshold=threshold)
