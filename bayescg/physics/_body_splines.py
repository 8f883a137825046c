"""Two- and three-body B-splines: a potential that is linear in all of its parameters."""

import functools
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.physics._interatomic import InteratomicTerm, n_pairs, pair_index
from bayescg.physics._potential import ParameterInfo
from bayescg.physics._radial_basis import check_falling, falling_basis, local_basis, spline_sum
from bayescg.physics._spline import extended_knots
from bayescg.physics._term_fields import as_floats, as_tuple, check_rows, describe
from bayescg.physics._triangles import distances, in_parts, opposite_sides


class BodySplines(InteratomicTerm):
    """Cubic B-splines of pair distances and of triangles.

        U = Σ_{i<j} Σ_k p_abk B_k(r_ij) + Σ_i Σ_{j<k} V_a;bc(r_ij, r_ik, r_jk),
        V_a;bc = Σ_lmq t_a;bl,cm,q L_l(r_ij) L_m(r_ik) O_q(r_jk),

    with a the species of the central atom and b, c those of its neighbours. t is symmetric under the exchange of the
    neighbours, (b, l) ↔ (c, m); one number stands for both, and functions that no triangle reaches are left out
    (`triplet_functions`).

    The pair energy reaches 0 at its cutoff with slope and curvature and goes on along its tangent below the first
    knot; it has no repulsive core of its own: add a term for one where the data don't go. Triangles reach 0
    smoothly at their cutoff and below their first knots. Knots are the same for all species.

    Attributes:
        pair: p [energy].
        triplet: t, for each species of the central atom [energy].
        knots: of the pair energy [length].
        triplet_knots: of r_ij and r_ik [length].
        opposite_knots: of r_jk, from the shortest distance to twice the last of `triplet_knots` [length].
        species: chemical symbols.
        most_neighbours: an upper bound of the neighbours within the triplets' cutoff, for speed where neighbour lists
            reach further; with more neighbours than that energies are NaN.
        name: prefix of the parameters' names.

    Raises:
        InputError: knots that do not increase, coefficients that do not fit them.

    Example:
        >>> splines = BodySplines.uniform(species=("Ta",), pair=(2.0, 5.5, 14), triplet=(2.0, 4.5, 6), opposite=8)
        >>> splines.pair.shape, splines.triplet.shape
        ((1, 14), (1, 166))

    References:
        Xie, Rupp and Hennig (2023), doi:10.1038/s41524-023-01092-7, eqs. 2 to 6; de Boor (1978),
        doi:10.1007/978-1-4612-6333-3, chapter IX.
    """

    pair: Float[Array, "pair function"] = eqx.field(converter=as_floats)
    triplet: Float[Array, "species function"] = eqx.field(converter=as_floats)
    knots: tuple[float, ...] = eqx.field(static=True, converter=as_tuple, kw_only=True)
    triplet_knots: tuple[float, ...] = eqx.field(static=True, converter=as_tuple, kw_only=True)
    opposite_knots: tuple[float, ...] = eqx.field(static=True, converter=as_tuple, kw_only=True)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    most_neighbours: int | None = eqx.field(static=True, default=None, kw_only=True)
    name: str = eqx.field(static=True, default="splines", kw_only=True)

    @classmethod
    def uniform(
        cls,
        *,
        species: tuple[str, ...],
        pair: tuple[float, float, int],
        triplet: tuple[float, float, int],
        opposite: int,
        most_neighbours: int | None = None,
        name: str = "splines",
    ) -> Self:
        """All coefficients 0 on evenly spaced knots.

        Args:
            species: chemical symbols.
            pair: first knot and cutoff [length] and number of functions of the pair energy.
            triplet: the same of r_ij and r_ik in a triangle.
            opposite: number of functions of r_jk.
            most_neighbours: upper bound of the neighbours within the cutoff of triangles.
            name: prefix of the parameters' names.
        """

        def even(inner: float, outer: float, n: int) -> tuple[float, ...]:
            if not 0.0 < inner < outer or n < 1:
                raise InputError(f"splines '{name}': {n} functions between {inner} and {outer} make no basis")
            return tuple(float(x) for x in np.linspace(inner, outer, n + 1))

        sides, opposites = even(*triplet), even(triplet[0], 2.0 * triplet[1], opposite)
        functions = triplet_functions(len(species), sides, opposites)
        return cls(  # type: ignore[call-arg]  # mypy counts the abstract cutoff as a field
            np.zeros((n_pairs(len(species)), pair[2])),  # type: ignore[arg-type]
            np.zeros((len(species), len(functions))),  # type: ignore[arg-type]
            knots=even(*pair),
            triplet_knots=sides,
            opposite_knots=opposites,
            species=species,
            most_neighbours=most_neighbours,
            name=name,
        )

    def __check_init__(self):
        for field in ("knots", "triplet_knots", "opposite_knots"):
            knots = getattr(self, field)
            if len(knots) < 2 or np.any(np.diff(knots) <= 0.0):
                raise InputError(f"splines '{self.name}': {field} must increase, found {knots}")
        check_falling(self.name, self.knots)
        n = len(self.species)
        check_rows(
            self,
            ("pair",),
            n_pairs(n),
            len(self.knots) - 1,
            "a row for each pair, one column less than knots",
        )
        check_rows(
            self, ("triplet",), n, len(self.functions), "a row for each species, a column for each function"
        )

    @property  # type: ignore[misc]  # an AbstractVar may be a property
    def cutoff(self) -> float:  # type: ignore[override]
        """The larger of the two cutoffs [length]."""
        return max(self.knots[-1], self.triplet_knots[-1])

    @property
    def functions(self) -> Int[np.ndarray, "function 3"]:
        """The triplet functions, see `triplet_functions`."""
        return triplet_functions(len(self.species), self.triplet_knots, self.opposite_knots)

    def site_energies(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        pair = jnp.asarray(pair_index(len(self.species)))[types[:, None], neighbour_types]
        pairs = spline_sum(falling_basis(distances(vectors), self.knots), self.pair, pair)

        triplets = in_parts(self._triplet_energies, *self._nearest(vectors, types, neighbour_types))
        return 0.5 * jnp.sum(pairs, axis=1) + triplets

    def _nearest(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> tuple[Array, Array, Array]:
        """Only the nearest `most_neighbours`; NaN vectors where more of them are within the triplets' cutoff."""
        most = self.most_neighbours
        if most is None or most >= vectors.shape[1]:
            return vectors, types, neighbour_types
        r = distances(jax.lax.stop_gradient(vectors))
        _, slots = jax.lax.top_k(-r, most)
        fits = jnp.sum(r < self.triplet_knots[-1], axis=1) <= most
        kept = (
            jnp.take_along_axis(vectors, slots[..., None], axis=1)
            * jnp.where(fits, 1.0, jnp.nan)[:, None, None]
        )
        return kept, types, jnp.take_along_axis(neighbour_types, slots, axis=1)

    def _triplet_energies(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        """Σ_{j<k} V of each atom [energy], as half the sum over ordered pairs of neighbours."""
        sides = side_basis(distances(vectors), neighbour_types, len(self.species), self.triplet_knots)
        opposite, _, apart = opposite_sides(vectors, self.triplet_knots[-1])
        basis = jnp.where(apart[..., None], local_basis(opposite, self.opposite_knots), 0.0)
        energies = jnp.zeros(len(types))
        for species, strengths in enumerate(self._dense()):
            contracted = jnp.einsum("ajc,cdq->ajqd", sides, strengths)
            kernel = jnp.einsum("ajqd,akd->ajqk", contracted, sides)
            own = 0.5 * jnp.einsum("ajqk,ajkq->a", kernel, basis)
            energies = own if len(self.species) == 1 else jnp.where(types == species, own, energies)
        return energies

    def _dense(self) -> Float[Array, "species side side opposite"]:
        """t as a full tensor, symmetric in the two sides."""
        first, second, opposite = self.functions.T
        n_sides = len(self.species) * (len(self.triplet_knots) - 1)
        empty = jnp.zeros((len(self.species), n_sides, n_sides, len(self.opposite_knots) - 1))
        half = empty.at[:, first, second, opposite].set(self.triplet)
        return half.at[:, second, first, opposite].set(self.triplet)

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        words = {
            "pair": ("energy", "splines of the pair energy", "real", 1.0),
            "triplet": ("energy", "splines of triangles", "real", 1.0),
        }
        return describe(self, words)


def side_basis(
    r: Float[Array, "*edge"], neighbour_types: Int[Array, "*edge"], n_species: int, knots: tuple[float, ...]
) -> Float[Array, "*edge side"]:
    """L_l(r) in the columns of the neighbour's species, 0 in those of the others."""
    basis = local_basis(r, knots)
    if n_species == 1:
        return basis
    member = jax.nn.one_hot(neighbour_types, n_species, dtype=basis.dtype)
    return (member[..., None] * basis[..., None, :]).reshape(*r.shape, -1)


@functools.cache
def triplet_functions(
    n_species: int, sides: tuple[float, ...], opposite: tuple[float, ...]
) -> Int[np.ndarray, "function 3"]:
    """The products of splines that some triangle reaches.

    Args:
        n_species: number of species.
        sides: knots of r_ij and r_ik [length].
        opposite: knots of r_jk [length].

    Returns:
        One row for each function: the two columns of `side_basis`, the first not above the second, and the function
        of the opposite side.
    """
    n_sides, n_opposite = len(sides) - 1, len(opposite) - 1
    t, s = extended_knots(sides), extended_knots(opposite)
    begin, end = np.tile(np.maximum(t[:n_sides], 0.0), n_species), np.tile(t[4 : 4 + n_sides], n_species)
    first, second = np.triu_indices(n_species * n_sides)
    longest = end[first] + end[second]
    shortest = np.maximum(np.maximum(begin[first] - end[second], begin[second] - end[first]), 0.0)
    reached = (s[:n_opposite] < longest[:, None]) & (s[4 : 4 + n_opposite] > shortest[:, None])
    couple, function = np.nonzero(reached)
    return np.stack([first[couple], second[couple], function], axis=1)
