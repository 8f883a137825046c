"""The Stillinger–Weber potential for tetrahedral solids and their melts."""

from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.physics._interatomic import (
    InteratomicTerm,
    kept,
    n_pairs,
    neighbour_rows,
    pair_index,
    per_pair,
)
from bayescg.physics._potential import ParameterInfo
from bayescg.physics._term_fields import as_floats, is_known

TETRAHEDRAL = -1.0 / 3.0
"""Cosine of the angle between two bonds of a tetrahedron."""

_REACH_TOLERANCE = 1e-9

# field: quantity, words, support, scale; the formula holds for either sign where the support is real.
_FIELDS = {
    "epsilon": ("energy", "Stillinger–Weber energy", "positive", 1.0),
    "sigma": ("length", "Stillinger–Weber length", "positive", 1.0),
    "a": ("dimensionless", "reduced cutoff", "positive", 2.0),
    "lambda_": ("dimensionless", "strength of the three-body term", "real", 20.0),
    "gamma": ("dimensionless", "decay of the three-body term", "positive", 1.0),
    "A": ("dimensionless", "strength of the two-body term", "real", 7.0),
    "B": ("dimensionless", "repulsion of the two-body term", "real", 1.0),
    "p": ("dimensionless", "exponent of the repulsion", "real", 4.0),
    "q": ("dimensionless", "exponent of the attraction", "real", 1.0),
}
_POSITIVE = tuple(field for field, (_, _, support, _) in _FIELDS.items() if support == "positive")


class StillingerWeber(InteratomicTerm):
    """Stillinger–Weber: pairs that attract within aσ and angles that prefer cos θ = c₀.

        U = Σ_{i<j} φ₂(r_ij) + Σ_i Σ_{j<k} φ₃(r_ij, r_ik, θ_jik)
        φ₂ = A ε [B (σ/r)^p − (σ/r)^q] exp(σ/(r − aσ))
        φ₃ = λ ε (cos θ − c₀)² exp(γσ/(r_ij − aσ)) exp(γσ/(r_ik − aσ))

    each exponential 0 beyond r = aσ, where everything is smooth. U is linear in A and in λ.

    The square of the cosine makes the sum over all pairs of an atom's neighbours a sum over neighbours: with
    h_j = exp(γσ/(r_ij − aσ)), unit vectors n_j and the moments m = Σ h_j, M = Σ h_j n_j, Q = Σ h_j n_j n_jᵀ,

        Σ_{j<k} h_j h_k (n_j·n_k − c₀)² = ½ [Q:Q − 2c₀ M·M + c₀² m² − (1 − c₀)² Σ_j h_j²].

    For several species a scalar parameter is shared by all pairs and an array has one value for each unordered pair
    of species (the order of `pair_index`); λ has one for each species of the centre and unordered pair of its
    neighbours, [species pair]. The three-body energy is ε = √(ε_ij ε_ik).

    Attributes:
        epsilon: ε [energy].
        sigma: σ [length].
        a: reduced cutoff [dimensionless].
        lambda_: λ, parameter `<name>_lambda` [dimensionless].
        gamma: γ [dimensionless].
        A: [dimensionless].
        B: [dimensionless].
        p: [dimensionless].
        q: [dimensionless].
        species: chemical symbols.
        cutoff: up to which neighbour lists reach [length]; the potential itself ends at aσ, which must stay within.
            Where parameters beyond it appear in compiled code (a sampler tries them) all energies are NaN.
        cosine: c₀, fixed [dimensionless].
        name: prefix of the parameters' names.

    Raises:
        InputError: aσ beyond the cutoff, a parameter that must be positive, an array of the wrong shape.

    Example:
        >>> silicon = StillingerWeber.silicon(cutoff=4.2).vary("sw_sigma", "sw_lambda")
        >>> [info.name for info in silicon.parameters()]
        ['sw_sigma', 'sw_lambda']

    References:
        Stillinger & Weber (1985), doi:10.1103/PhysRevB.31.5262, eqs. 2.3, 2.5 and 2.6. Mixed ε as in Laradji,
        Landau & Dünweg (1995), doi:10.1103/PhysRevB.51.4894.
    """

    epsilon: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    sigma: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    a: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    lambda_: Float[Array, "*species_pair"] = eqx.field(converter=as_floats)
    gamma: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    A: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    B: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    p: Float[Array, "*pair"] = eqx.field(converter=as_floats, default=4.0)
    q: Float[Array, "*pair"] = eqx.field(converter=as_floats, default=0.0)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    cosine: float = eqx.field(static=True, default=TETRAHEDRAL, kw_only=True)
    name: str = eqx.field(static=True, default="sw", kw_only=True)

    @classmethod
    def silicon(cls, *, cutoff: float | None = None, name: str = "sw") -> Self:
        """Silicon as published in 1985, in eV and Å.

        Args:
            cutoff: reach of the neighbour lists [Å]; default aσ = 3.77118 Å, too short where a or σ vary.
            name: prefix of the parameters' names.
        """
        sigma, a = 2.0951, 1.80
        values = (2.1683, sigma, a, 21.0, 1.20, 7.049556277, 0.6022245584)
        reach = a * sigma if cutoff is None else cutoff
        return cls(*map(as_floats, values), species=("Si",), cutoff=reach, name=name)

    def __check_init__(self):
        pairs = n_pairs(len(self.species))
        for field in _FIELDS:
            allowed = ((), (len(self.species), pairs) if field == "lambda_" else (pairs,))
            if jnp.shape(getattr(self, field)) not in allowed:
                raise InputError(
                    f"potential '{self.name}': {field.rstrip('_')} has shape {jnp.shape(getattr(self, field))},"
                    f" {', '.join(self.species)} take a scalar or an array of shape {allowed[1]}"
                )
        known = {field: getattr(self, field) for field in _FIELDS}
        for field in _POSITIVE:
            if is_known(known[field]) and not np.all(np.asarray(known[field]) > 0.0):
                raise InputError(f"potential '{self.name}': {field} must be positive, found {known[field]}")
        if is_known(self.a) and is_known(self.sigma):
            # numpy, because jnp would trace the product of known values within another trace
            reach = np.max(np.asarray(self.a) * np.asarray(self.sigma))
            if reach > self.cutoff * (1.0 + _REACH_TOLERANCE):
                raise InputError(
                    f"potential '{self.name}' ends at a sigma = {reach:.6g}, beyond the neighbour lists' cutoff"
                    f" {self.cutoff:.6g}: construct it with a larger `cutoff`"
                )

    def _within_reach(self) -> Array:
        return jnp.all(self.a * self.sigma <= self.cutoff * (1.0 + _REACH_TOLERANCE))

    def site_energies(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        x, y, z = neighbour_rows(vectors)
        others = jnp.transpose(neighbour_types)
        pairs = jnp.asarray(pair_index(len(self.species)))[types, others]
        epsilon, sigma, a, gamma, A, B, p, q = (
            per_pair(getattr(self, field), pairs) for field in _FIELDS if field != "lambda_"
        )
        r = jnp.sqrt(x * x + y * y + z * z)
        inside = r < a * sigma
        reduced = jnp.where(inside, r / sigma, 0.5 * a)
        decay = 1.0 / (reduced - a)
        logarithm = jnp.log(reduced)
        pair = A * epsilon * (B * jnp.exp(decay - p * logarithm) - jnp.exp(decay - q * logarithm))
        weight = jnp.sqrt(epsilon) * jnp.exp(gamma * decay)
        pair, weight = (kept(jnp.where(inside, values, 0.0), types) for values in (pair, weight))
        inverse = 1.0 / r
        directions = tuple(kept(row * inverse, types) for row in (x, y, z))
        energies = 0.5 * jnp.sum(pair, axis=0) + self._three_body(weight, directions, types, others)
        return jnp.where(self._within_reach(), 1.0, jnp.nan) * energies

    def _three_body(
        self,
        weight: Float[Array, "neighbour atom"],
        directions: tuple[Array, ...],
        types: Int[Array, " atom"],
        others: Int[Array, "neighbour atom"],
    ) -> Float[Array, " atom"]:
        """Σ_{j<k} λ h_j h_k (cos θ − c₀)² of each atom [energy], h_j the weights with √ε_ij."""
        n, c = len(self.species), self.cosine
        of_species = [weight] if n == 1 else [jnp.where(others == s, weight, 0.0) for s in range(n)]
        moments = [_moments(h, directions) for h in of_species]
        total = jnp.zeros_like(weight[0])
        for s in range(n):
            for t in range(s, n):
                (zeroth, first, second), (zeroth_t, first_t, second_t) = moments[s], moments[t]
                angles = _dot(second, second_t) - 2.0 * c * _dot(first, first_t) + c * c * zeroth * zeroth_t
                if s == t:  # each two neighbours once, none with itself
                    angles = 0.5 * (angles - (1.0 - c) ** 2 * jnp.sum(of_species[s] ** 2, axis=0))
                total = total + self._strength(types, int(pair_index(n)[s, t])) * angles
        return total

    def _strength(self, types: Int[Array, " atom"], pair: int) -> Array:
        """λ of each atom as centre of two neighbours whose species are this pair."""
        if self.lambda_.ndim == 0:
            return self.lambda_
        return per_pair(self.lambda_[:, pair], types)

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        return tuple(
            ParameterInfo(
                f"{self.name}_{field.rstrip('_')}",
                quantity,
                words,
                support,
                scale,
                jnp.shape(getattr(self, field)),
                tuple(float(i) for i in range(jnp.size(getattr(self, field))))
                if jnp.ndim(getattr(self, field)) == 1
                else (),
            )
            for field, (quantity, words, support, scale) in _FIELDS.items()
        )


def _moments(
    h: Float[Array, "neighbour atom"], directions: tuple[Array, ...]
) -> tuple[Float[Array, " atom"], list[Array], list[Array]]:
    """m = Σ_j h_j, the components of M = Σ_j h_j n_j, and those of Q = Σ_j h_j n_j n_jᵀ, of each atom.

    Of the symmetric Q each component once, those off the diagonal times √2, so that `_dot` is the double contraction.
    """
    weighted = [h * row for row in directions]
    second = [
        (1.0 if a == b else np.sqrt(2.0)) * jnp.sum(weighted[a] * directions[b], axis=0)
        for a, b in zip(*np.triu_indices(3))
    ]
    return jnp.sum(h, axis=0), [jnp.sum(row, axis=0) for row in weighted], second


def _dot(left: list[Array], right: list[Array]) -> Array:
    """Σ of the products of components."""
    first, *others = (u * v for u, v in zip(left, right, strict=True))
    return sum(others, first)
