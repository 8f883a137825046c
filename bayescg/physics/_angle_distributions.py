"""Bond angles and dihedral angles of chosen sites, and their distributions with the Jacobian told apart."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.physics._frame_map import checked_frames
from bayescg.physics._space import minimum_image

_ROUNDING = 1e-6  # by which single-precision angles may pass the last edge


class AngleDistribution(NamedTuple):
    """Distribution of angles between 0 and π.

    Attributes:
        density: p(θ), which integrates to 1 over θ [1/rad].
        relative: p(θ) / (½ sin θ), relative to directions at random: −kT times its logarithm is the potential of mean
            force without the Jacobian [dimensionless].

    Example:
        >>> found = angle_distribution(jnp.array([0.3, 2.0]), edges=np.array([0.0, np.pi / 2, np.pi]))
        >>> found.density.round(6).tolist(), found.relative.round(6).tolist()
        ([0.31831, 0.31831], [1.0, 1.0])
    """

    density: Float[Array, "*batch bin"]
    relative: Float[Array, "*batch bin"]


def bond_angles(
    positions: Float[Array, "*batch site dim"],
    box: Float[Array, "*batch dim"],
    *,
    triplets: Int[np.ndarray, "angle 3"],
) -> Float[Array, "*batch angle"]:
    """Angle θ at the middle site of each triplet, between 0 and π [rad]; differentiable unless it is 0 or π.

    Args:
        positions: wrapped or not [length].
        box: edge lengths, inf where open; one for all frames or one for each [length].
        triplets: numbers of the sites, the vertex in the middle.

    Raises:
        InputError: shapes that do not fit, a site that is not there.

    References:
        Allen & Tildesley (2017), Computer Simulation of Liquids, doi:10.1093/oso/9780198803195.001.0001, appendix C.

    Example:
        >>> corner = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> float(jnp.degrees(bond_angles(corner, jnp.full(3, jnp.inf), triplets=np.array([[0, 1, 2]])))[0].round(4))
        90.0
    """
    first, vertex, last = _sites("bond angles", positions, box, triplets, 3)
    _, edges = checked_frames("bond angles", positions, box)
    edges = edges[..., None, :]
    a, b = minimum_image(first - vertex, edges), minimum_image(last - vertex, edges)
    a, b = a / jnp.linalg.norm(a, axis=-1, keepdims=True), b / jnp.linalg.norm(b, axis=-1, keepdims=True)
    # exact to the last digit near 0 and π too, where an arccos loses half of the digits
    return 2.0 * jnp.arctan2(jnp.linalg.norm(a - b, axis=-1), jnp.linalg.norm(a + b, axis=-1))


def dihedral_angles(
    positions: Float[Array, "*batch site 3"],
    box: Float[Array, "*batch 3"],
    *,
    quadruplets: Int[np.ndarray, "dihedral 4"],
) -> Float[Array, "*batch dihedral"]:
    """Dihedral angle φ of each quadruplet between −π and π, 0 for cis and ±π for trans [rad].

    Positive if, seen along the middle bond, the last bond is turned clockwise from the first. Differentiable unless
    three sites stand in a line.

    Args:
        positions: wrapped or not [length].
        box: edge lengths, inf where open; one for all frames or one for each [length].
        quadruplets: numbers of the sites in their order.

    Raises:
        InputError: shapes that do not fit, a site that is not there.

    References:
        Blondel & Karplus (1996), doi:10.1002/(SICI)1096-987X(19960715)17:9<1132::AID-JCC5>3.0.CO;2-T.

    Example:
        >>> chain = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
        >>> found = dihedral_angles(chain, jnp.full(3, jnp.inf), quadruplets=np.array([[0, 1, 2, 3]]))
        >>> float(jnp.degrees(found)[0].round(4))
        90.0
    """
    _, edges = checked_frames("dihedral angles", positions, box, dim=3)
    one, two, three, four = _sites("dihedral angles", positions, box, quadruplets, 4)
    edges = edges[..., None, :]
    a, b, c = (minimum_image(x, edges) for x in (two - one, three - two, four - three))
    left, right = jnp.cross(a, b), jnp.cross(b, c)
    sine = jnp.linalg.norm(b, axis=-1) * jnp.sum(a * right, axis=-1)
    return jnp.arctan2(sine, jnp.sum(left * right, axis=-1))


def angle_distribution(
    angles: Float[Array, "*batch angle"], *, edges: Float[np.ndarray, " edge"]
) -> AngleDistribution:
    """Histogram of angles of every frame, as a density and relative to directions at random.

    Directions at random are distributed as ½ sin θ, exactly ½ (cos θ₁ − cos θ₂) in a bin. Every frame has its own
    row, so that averages and reweighted averages are means over rows.

    Args:
        angles: [rad].
        edges: of the bins, rising between 0 and π [rad]; angles outside count in the norm only.

    Raises:
        InputError: no angles, edges that do not rise or lie beyond 0 or π.

    References:
        Müller-Plathe (2002), doi:10.1002/1439-7641(20020916)3:9<754::AID-CPHC754>3.0.CO;2-U, for the Jacobian.

    Example:
        >>> found = angle_distribution(jnp.array([1.5, 1.6, 1.7, 2.5]), edges=np.array([0.0, 1.0, 2.0, np.pi]))
        >>> found.density.round(4).tolist()  # 0, 3/4 and 1/4 over the widths 1, 1, 1.1416
        [0.0, 0.75, 0.219]
    """
    counts, bins = _shares("angle distribution", angles, edges, 0.0)
    return AngleDistribution(counts / np.diff(bins), counts / (-0.5 * np.diff(np.cos(bins))))


def dihedral_distribution(
    dihedrals: Float[Array, "*batch dihedral"], *, edges: Float[np.ndarray, " edge"]
) -> Float[Array, "*batch bin"]:
    """Histogram of dihedral angles of every frame, a density over φ [1/rad]; there is no Jacobian.

    Args:
        dihedrals: between −π and π [rad].
        edges: of the bins, rising between −π and π [rad]; dihedrals outside count in the norm only.

    Raises:
        InputError: no dihedrals, edges that do not rise or lie beyond ±π.

    References:
        Müller-Plathe (2002), doi:10.1002/1439-7641(20020916)3:9<754::AID-CPHC754>3.0.CO;2-U.

    Example:
        >>> dihedral_distribution(jnp.array([-3.0, 0.1, 0.2, 3.0]), edges=np.array([-np.pi, 0, np.pi])).round(6).tolist()
        [0.079577, 0.238732]
    """
    counts, bins = _shares("dihedral distribution", dihedrals, edges, -np.pi)
    return counts / np.diff(bins)


def _sites(what: str, positions: object, box: object, groups: object, size: int) -> list[Array]:
    """Positions of the first, second, … site of each group."""
    x, _ = checked_frames(what, positions, box)
    numbers = np.asarray(groups)
    if numbers.ndim != 2 or numbers.shape[1] != size or not np.issubdtype(numbers.dtype, np.integer):
        raise InputError(
            f"{what}: sites of the shape {numbers.shape}; expected whole numbers [group, {size}]"
        )
    if numbers.size and not (0 <= numbers.min() and numbers.max() < x.shape[-2]):
        raise InputError(
            f"{what}: sites {numbers.min()} to {numbers.max()} are asked for; expected 0 to {x.shape[-2] - 1}"
        )
    return [x[..., column, :] for column in numbers.T]


def _shares(what: str, angles: object, edges: object, lowest: float) -> tuple[Array, np.ndarray]:
    """Share of the angles in each bin of every frame, and the bins' edges."""
    values, bins = jnp.asarray(angles), np.asarray(edges, float)
    if values.ndim < 1 or not values.shape[-1]:
        raise InputError(f"{what}: angles of the shape {values.shape}; expected at least one in each frame")
    rising = bins.ndim == 1 and len(bins) > 1 and (np.diff(bins) > 0.0).all()
    if not rising or bins[0] < lowest - _ROUNDING or bins[-1] > np.pi + _ROUNDING:
        raise InputError(f"{what}: edges must rise from {lowest:.4g} at the least to π at the most [rad]")
    inner = bins.copy()
    inner[0] -= _ROUNDING * (bins[0] < lowest + _ROUNDING)
    inner[-1] += _ROUNDING * (bins[-1] > np.pi - _ROUNDING)
    return _histogram(values, jnp.asarray(inner, values.dtype)), bins


@jax.jit
def _histogram(
    values: Float[Array, "*batch angle"], edges: Float[Array, " edge"]
) -> Float[Array, "*batch bin"]:
    n_bins = len(edges) - 1

    def one(row: Array) -> Array:
        place = jnp.searchsorted(edges, row, side="right") - 1
        place = jnp.where((place < 0) | (place >= n_bins), n_bins, place)
        return jnp.zeros(n_bins + 1, row.dtype).at[place].add(1.0)[:-1] / len(row)

    rows = jax.vmap(one)(values.reshape(-1, values.shape[-1]))
    return rows.reshape(*values.shape[:-1], n_bins)
