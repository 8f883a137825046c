"""Reaction coordinates: differentiable functions of the positions, each with its period and its Jacobian."""

import abc
import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._angle_distributions import bond_angles, dihedral_angles
from bayescg.physics._space import minimum_image


class ReactionCoordinate(abc.ABC):
    """A differentiable function ξ of the positions, along which a free energy is wanted.

    Its Jacobian J(ξ) is the density that ξ has where all positions are equally likely: r² for a distance in three
    dimensions, sin θ for a bond angle.

    Attributes:
        period: after which ξ repeats itself; inf where it does not.
    """

    period: float

    @abc.abstractmethod
    def value(self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]) -> Float[Array, ""]:
        """ξ of a configuration."""

    @abc.abstractmethod
    def volume(self, edges: Float[np.ndarray, " edge"]) -> Float[np.ndarray, " bin"]:
        """∫ J dξ over each bin, up to one common factor."""


@dataclasses.dataclass(frozen=True)
class CartesianCoordinate(ReactionCoordinate):
    """One Cartesian coordinate of one site [length]; J = 1.

    Attributes:
        site: its number.
        direction: 0 for x, and so on.
        period: the box edge where the direction is periodic.

    Example:
        >>> float(CartesianCoordinate(0, 1).value(jnp.array([[1.0, 2.0]]), jnp.full(2, jnp.inf)))
        2.0
    """

    site: int
    direction: int
    period: float = np.inf

    def value(self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]) -> Float[Array, ""]:
        return positions[self.site, self.direction]

    def volume(self, edges: Float[np.ndarray, " edge"]) -> Float[np.ndarray, " bin"]:
        return np.diff(edges)


@dataclasses.dataclass(frozen=True)
class PairDistance(ReactionCoordinate):
    """Distance r of two sites, by the minimum image [length]; J = r^(dim − 1).

    Attributes:
        first: number of a site.
        second: number of the other.
        dim: number of dimensions.

    Example:
        >>> distance = PairDistance(0, 1)
        >>> float(distance.value(jnp.array([[0.0, 0.0, 0.0], [0.0, 3.0, 4.0]]), jnp.full(3, jnp.inf)))
        5.0
        >>> distance.volume(np.array([0.0, 1.0, 2.0])).round(4).tolist()  # 1/3 and 8/3 − 1/3
        [0.3333, 2.3333]
    """

    first: int
    second: int
    dim: int = 3
    period = np.inf

    def value(self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]) -> Float[Array, ""]:
        apart = minimum_image(positions[self.first] - positions[self.second], box)
        return jnp.sqrt(jnp.sum(apart**2))

    def volume(self, edges: Float[np.ndarray, " edge"]) -> Float[np.ndarray, " bin"]:
        if edges[0] < 0.0:
            raise InputError(f"distance: bins begin at {edges[0]:g}; expected 0 or more")
        return np.diff(edges**self.dim) / self.dim


@dataclasses.dataclass(frozen=True)
class BondAngle(ReactionCoordinate):
    """Angle θ at the middle one of three sites in three dimensions, between 0 and π [rad]; J = sin θ.

    Attributes:
        first: number of the first site.
        vertex: of the one in the middle.
        last: of the last.

    Example:
        >>> corner = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> round(float(BondAngle(0, 1, 2).value(corner, jnp.full(3, jnp.inf))), 4)
        1.5708
    """

    first: int
    vertex: int
    last: int
    period = np.inf

    def value(self, positions: Float[Array, "site 3"], box: Float[Array, " 3"]) -> Float[Array, ""]:
        return bond_angles(positions, box, triplets=np.array([[self.first, self.vertex, self.last]]))[0]

    def volume(self, edges: Float[np.ndarray, " edge"]) -> Float[np.ndarray, " bin"]:
        if edges[0] < -1e-12 or edges[-1] > np.pi + 1e-12:
            raise InputError(
                f"bond angle: bins from {edges[0]:g} to {edges[-1]:g}; expected within 0 to π [rad]"
            )
        return -np.diff(np.cos(edges))


@dataclasses.dataclass(frozen=True)
class DihedralAngle(ReactionCoordinate):
    """Dihedral angle φ of four sites, of period 2π [rad]; J = 1.

    Attributes:
        sites: their numbers, in order along the chain.

    Example:
        >>> chain = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
        >>> round(float(DihedralAngle((0, 1, 2, 3)).value(chain, jnp.full(3, jnp.inf))), 4)
        1.5708
    """

    sites: tuple[int, int, int, int]
    period = 2.0 * np.pi

    def value(self, positions: Float[Array, "site 3"], box: Float[Array, " 3"]) -> Float[Array, ""]:
        return dihedral_angles(positions, box, quadruplets=np.array([self.sites]))[0]

    def volume(self, edges: Float[np.ndarray, " edge"]) -> Float[np.ndarray, " bin"]:
        return np.diff(edges)


def _identity(value: Float[np.ndarray, " edge"]) -> Float[np.ndarray, " edge"]:
    return value


@dataclasses.dataclass(frozen=True)
class FunctionCoordinate(ReactionCoordinate):
    """Any differentiable function of the positions.

    Attributes:
        function: `(positions [site dim], box [dim]) -> ξ`, a module-level function.
        period: after which ξ repeats itself.
        antiderivative: of J, where a Jacobian is to be taken out; ξ itself, thus J = 1, by default.

    Example:
        >>> def height_difference(positions, box):
        ...     return positions[1, 0] - positions[0, 0]
        >>> coordinate = FunctionCoordinate(height_difference)
        >>> float(coordinate.value(jnp.array([[1.0], [3.0]]), jnp.full(1, jnp.inf)))
        2.0
    """

    function: Callable[[Array, Array], Array]
    period: float = np.inf
    antiderivative: Callable[[np.ndarray], np.ndarray] = _identity

    def value(self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]) -> Float[Array, ""]:
        return self.function(positions, box)

    def volume(self, edges: Float[np.ndarray, " edge"]) -> Float[np.ndarray, " bin"]:
        return np.diff(self.antiderivative(edges))
