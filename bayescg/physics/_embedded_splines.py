"""The embedded-atom method with splines for all of its functions."""

from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.optimize import lsq_linear

from bayescg.errors import InputError
from bayescg.physics._embedded_atom import EmbeddedAtom
from bayescg.physics._interatomic import n_pairs, pair_index
from bayescg.physics._potential import ParameterInfo
from bayescg.physics._radial_basis import check_falling, complete_basis, falling_basis, spline_sum
from bayescg.physics._term_fields import as_floats, as_tuple, check_rows, describe

SMALLEST_DENSITY = 1e-4
"""Least coefficient of a density that approaches a formula, relative to the largest: all of them are positive."""


class EmbeddedSplines(EmbeddedAtom):
    """EAM with cubic B-splines for pair energy, density and embedding.

        φ_ab(r) = Σ_k p_abk B_k(r),    f_b(r) = Σ_k d_bk B_k(r),    F_a(ρ) = Σ_k e_ak [G_k(ρ) − G_k(0)].

    Pair energy and density reach 0 at the last knot with slope and curvature and go on along their tangents below
    the first; F(0) = 0, and F goes on along its tangent above its last knot. U is linear in p and e. The spline
    functions leave the two free choices of `EmbeddedAtom` open (the scale of all densities, and a linear term
    between F and φ): the data say nothing about them, so give e or d a proper prior or hold one of them.

    Attributes:
        pair_coefficients: p [energy].
        density_coefficients: d.
        embedding_coefficients: e [energy].
        knots: of pair energy and density, distances up to the cutoff [length].
        density_knots: of the embedding, from 0 on; close together there if F begins as steeply as a root.
        species: chemical symbols.
        name: prefix of the parameters' names.

    Raises:
        InputError: knots that do not increase or coefficients that do not fit them.

    Example:
        >>> from bayescg.physics import Johnson
        >>> copper = Johnson(
        ...     3.54, 0.59, 5.09, 5.85, 8.0, 2.556, 0.3, onset=3.0, species=("Cu",), cutoff=3.4
        ... )
        >>> knots = (2.2, 2.5, 2.8, 3.1, 3.4)
        >>> splines = EmbeddedSplines.fitted(copper, knots=knots, density_knots=(0.0, 1.0, 3.0, 6.0))
        >>> splines.pair_coefficients.shape, splines.embedding_coefficients.shape
        ((1, 4), (1, 5))
        >>> linear = splines.vary("eam_pair_coefficients", "eam_embedding_coefficients")

    References:
        Ercolessi and Adams (1994), doi:10.1209/0295-5075/26/8/005.
    """

    pair_coefficients: Float[Array, "pair knot"] = eqx.field(converter=as_floats)
    density_coefficients: Float[Array, "species knot"] = eqx.field(converter=as_floats)
    embedding_coefficients: Float[Array, "species knot"] = eqx.field(converter=as_floats)
    knots: tuple[float, ...] = eqx.field(static=True, converter=as_tuple, kw_only=True)
    density_knots: tuple[float, ...] = eqx.field(static=True, converter=as_tuple, kw_only=True)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    name: str = eqx.field(static=True, default="eam", kw_only=True)

    @classmethod
    def fitted(
        cls,
        model: EmbeddedAtom,
        *,
        knots: tuple[float, ...],
        density_knots: tuple[float, ...],
        name: str = "eam",
    ) -> Self:
        """Splines that approach another model's functions, by least squares between the knots.

        Coefficients of the density stay positive, at least `SMALLEST_DENSITY` of the largest.

        Args:
            model: the model to approach, a starting point for a fit.
            knots: of pair energy and density [length].
            density_knots: of the embedding.
            name: prefix of the parameters' names.

        Raises:
            InputError: a model whose density depends on more than the neighbour's species.
        """
        n = len(model.species)
        upper = np.triu_indices(n)
        r = np.linspace(knots[0], min(knots[-1], model.cutoff) - 1e-9, 40 * len(knots))
        rho = np.linspace(density_knots[0], density_knots[-1], 40 * len(density_knots))[1:]
        radial = np.asarray(falling_basis(jnp.asarray(r), knots))
        embedding = np.asarray(_embedding_basis(jnp.asarray(rho), density_knots))

        def solve(basis: np.ndarray, rows: list[Array]) -> np.ndarray:
            return np.linalg.lstsq(basis, np.stack([np.asarray(row) for row in rows], axis=1), rcond=None)[
                0
            ].T

        def filled(species: int, like: np.ndarray) -> Array:
            return jnp.full(like.shape, int(species))

        at = jnp.asarray(r)
        densities = [[model.density(at, filled(a, r), filled(b, r)) for b in range(n)] for a in range(n)]
        if not all(np.allclose(own, first) for row in densities[1:] for own, first in zip(row, densities[0])):
            raise InputError(
                f"potential '{name}': the density of '{model.name}' depends on both species, that of splines on the"
                " neighbour's only; choose a model whose density does (all pairs alike, or Johnson's)"
            )
        return cls(  # type: ignore[call-arg]  # mypy counts the abstract cutoff as a field
            solve(radial, [model.pair_energy(at, filled(a, r), filled(b, r)) for a, b in zip(*upper)]),  # type: ignore[arg-type]
            _positive(radial, solve(radial, densities[0]), densities[0]),  # type: ignore[arg-type]
            solve(embedding, [model.embedding(jnp.asarray(rho), filled(a, rho)) for a in range(n)]),  # type: ignore[arg-type]
            knots=knots,
            density_knots=density_knots,
            species=model.species,
            name=name,
        )

    def __check_init__(self):
        for field, knots in (("knots", self.knots), ("density_knots", self.density_knots)):
            if len(knots) < 2 or np.any(np.diff(knots) <= 0.0):
                raise InputError(f"potential '{self.name}': {field} must increase, found {knots}")
        check_falling(self.name, self.knots)
        if self.density_knots[0] != 0.0:
            raise InputError(
                f"potential '{self.name}': density_knots must begin at 0, found {self.density_knots[0]}"
            )
        n, radial = len(self.species), len(self.knots) - 1
        check_rows(
            self,
            ("pair_coefficients",),
            n_pairs(n),
            radial,
            "a row for each pair, one column less than knots",
        )
        check_rows(
            self, ("density_coefficients",), n, radial, "a row for each species, one column less than knots"
        )
        columns = len(self.density_knots) + 1
        check_rows(
            self,
            ("embedding_coefficients",),
            n,
            columns,
            "a row for each species, one column more than knots",
        )

    @property  # type: ignore[misc]  # an AbstractVar may be a property
    def cutoff(self) -> float:  # type: ignore[override]
        """The last knot [length]."""
        return self.knots[-1]

    def density(
        self, r: Float[Array, "*edge"], centre: Int[Array, "*edge"], neighbour: Int[Array, "*edge"]
    ) -> Float[Array, "*edge"]:
        return spline_sum(falling_basis(r, self.knots), self.density_coefficients, neighbour)

    def pair_energy(
        self, r: Float[Array, "*edge"], centre: Int[Array, "*edge"], neighbour: Int[Array, "*edge"]
    ) -> Float[Array, "*edge"]:
        pair = jnp.asarray(pair_index(len(self.species)))[centre, neighbour]
        return spline_sum(falling_basis(r, self.knots), self.pair_coefficients, pair)

    def embedding(self, density: Float[Array, " atom"], centre: Int[Array, " atom"]) -> Float[Array, " atom"]:
        return spline_sum(_embedding_basis(density, self.density_knots), self.embedding_coefficients, centre)

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        words = {
            "pair_coefficients": ("energy", "splines of the pair energy", "real", 1.0),
            "density_coefficients": ("dimensionless", "splines of the density", "positive", 1.0),
            "embedding_coefficients": ("energy", "splines of the embedding", "real", 5.0),
        }
        return describe(self, words)


def _positive(
    basis: Float[np.ndarray, "point knot"], rows: Float[np.ndarray, "species knot"], values: list[Array]
) -> Float[np.ndarray, "species knot"]:
    """Least squares once more where a coefficient came out negative or tiny, with a bound below."""
    bounded = []
    for row, value in zip(rows, values):
        least = SMALLEST_DENSITY * row.max()
        if row.min() < least:
            row = lsq_linear(basis, np.asarray(value), bounds=(least, np.inf)).x
        bounded.append(row)
    return np.stack(bounded)


def _embedding_basis(
    density: Float[Array, "*atom"], knots: tuple[float, ...]
) -> Float[Array, "*atom function"]:
    """Splines less their values at the first knot; the first is left out, it makes up a constant with the others."""
    return (complete_basis(density, knots) - complete_basis(jnp.asarray(knots[0]), knots))[..., 1:]
