"""Steinhardt's bond-orientational order parameters of a site, its own and averaged over its neighbours."""

from functools import partial
from math import factorial, prod, sqrt

import jax.numpy as jnp
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._neighbour_shell import NeighbourShell, ShellNeighbours, shell_observable, unit_vectors

_MOST = 12  # degree up to which single precision keeps five digits


def steinhardt(
    positions: Float[Array, "*batch site 3"],
    box: Float[Array, "*batch 3"],
    *,
    degree: int,
    shell: NeighbourShell,
) -> Float[Array, "*batch site"]:
    """q_l = [4π/(2l+1) Σ_m |q_lm|²]^½ of every site, q_lm the mean of Y_lm over its neighbours [dimensionless].

    1 for a single neighbour; 0 for a site that has none within the cutoff. Invariant under rotation, differentiable in
    the positions where the set of neighbours does not change.

    Args:
        positions: wrapped or not [length].
        box: edge lengths, inf where open; one for all frames or one for each [length].
        degree: l.
        shell: which sites are neighbours; the value depends on it, so state it with the result.

    Raises:
        InputError: shapes that do not fit, not enough sites, a cutoff beyond half the box, a degree beyond 12.

    References:
        Steinhardt, Nelson & Ronchetti (1983), doi:10.1103/PhysRevB.28.784.

    Example:
        >>> grid = jnp.stack(jnp.meshgrid(*[jnp.arange(4.0)] * 3), axis=-1).reshape(-1, 3)  # simple cubic
        >>> q = steinhardt(grid, jnp.full(3, 4.0), degree=4, shell=NeighbourShell(6))
        >>> round(float(q[0]), 5)
        0.76376
    """
    return shell_observable("Steinhardt's q", _own[_checked(degree)], positions, box, shell=shell)


def averaged_steinhardt(
    positions: Float[Array, "*batch site 3"],
    box: Float[Array, "*batch 3"],
    *,
    degree: int,
    shell: NeighbourShell,
) -> Float[Array, "*batch site"]:
    """q̄_l: as `steinhardt`, from q_lm averaged over the site itself and its neighbours [dimensionless].

    It tells crystals from each other and from the liquid better, because it looks one shell farther.

    Args:
        positions: wrapped or not [length].
        box: edge lengths, inf where open; one for all frames or one for each [length].
        degree: l.
        shell: which sites are neighbours.

    Raises:
        InputError: shapes that do not fit, not enough sites, a cutoff beyond half the box, a degree beyond 12.

    References:
        Lechner & Dellago (2008), doi:10.1063/1.2977970.

    Example:
        >>> grid = jnp.stack(jnp.meshgrid(*[jnp.arange(4.0)] * 3), axis=-1).reshape(-1, 3)  # simple cubic
        >>> q = averaged_steinhardt(grid, jnp.full(3, 4.0), degree=6, shell=NeighbourShell(6))
        >>> round(float(q[0]), 5)  # all sites alike: the same as without averaging
        0.35355
    """
    return shell_observable(
        "averaged Steinhardt's q", _averaged[_checked(degree)], positions, box, shell=shell
    )


def bond_order_vectors(neighbours: ShellNeighbours, *, degree: int) -> Float[Array, "site order"]:
    """The 2l + 1 numbers q_lm of every site, in real form and scaled so that their length is q_l [dimensionless]."""
    values = real_harmonics(unit_vectors(neighbours.vectors), degree=degree)
    inside = neighbours.inside[..., None]
    return jnp.sum(jnp.where(inside, values, 0.0), axis=1) / jnp.maximum(jnp.sum(inside, axis=1), 1)


def real_harmonics(unit: Float[Array, "*n 3"], *, degree: int) -> Float[Array, "*n order"]:
    """Real spherical harmonics of one degree times [4π/(2l+1)]^½, so that their squares add up to 1.

    Polynomials of x, y, z: smooth at the poles as well. With (x + iy)^m = A_m + iB_m they are Π_lm(z) A_m and
    Π_lm(z) B_m, where Π_mm = (2m − 1)!! and (l − m) Π_lm = (2l − 1) z Π_{l−1,m} − (l + m − 1) Π_{l−2,m}.

    Args:
        unit: vectors of length 1.
        degree: l.

    Example:
        >>> [round(float(x), 5) for x in real_harmonics(jnp.array([0.0, 0.6, 0.8]), degree=1)]  # z, x, y
        [0.8, 0.0, 0.6]
    """
    x, y, z = unit[..., 0], unit[..., 1], unit[..., 2]
    a, b = jnp.ones_like(x), jnp.zeros_like(x)
    rows = []
    for m in range(degree + 1):
        below, here = jnp.zeros_like(z), jnp.full_like(z, float(prod(range(1, 2 * m, 2))))
        for l in range(m + 1, degree + 1):
            below, here = here, ((2 * l - 1) * z * here - (l + m - 1) * below) / (l - m)
        scale = sqrt((2.0 if m else 1.0) * factorial(degree - m) / factorial(degree + m))
        rows += [scale * here * a, scale * here * b] if m else [scale * here]
        a, b = x * a - y * b, x * b + y * a
    return jnp.stack(rows, axis=-1)


def _length(vectors: Float[Array, "site order"]) -> Float[Array, " site"]:
    """Lengths, with derivative 0 where they are 0."""
    squares = jnp.sum(vectors**2, axis=-1)
    return jnp.where(squares > 0.0, jnp.sqrt(jnp.where(squares > 0.0, squares, 1.0)), 0.0)


def _own_order(neighbours: ShellNeighbours, degree: int) -> Float[Array, " site"]:
    return jnp.where(neighbours.valid, _length(bond_order_vectors(neighbours, degree=degree)), jnp.nan)


def _averaged_order(neighbours: ShellNeighbours, degree: int) -> Float[Array, " site"]:
    vectors, inside = bond_order_vectors(neighbours, degree=degree), neighbours.inside
    others = jnp.sum(jnp.where(inside[..., None], vectors[neighbours.others], 0.0), axis=1)
    mean = (vectors + others) / (1 + jnp.sum(inside, axis=1))[:, None]
    valid = neighbours.valid & jnp.all(neighbours.valid[neighbours.others] | ~inside, axis=1)
    return jnp.where(valid, _length(mean), jnp.nan)


# One object for each degree: what is compiled for it is found again.
_own = {degree: partial(_own_order, degree=degree) for degree in range(1, _MOST + 1)}
_averaged = {degree: partial(_averaged_order, degree=degree) for degree in range(1, _MOST + 1)}


def _checked(degree: int) -> int:
    if degree not in _own:
        raise InputError(f"bond order of degree {degree}; expected a whole number from 1 to {_MOST}")
    return degree
