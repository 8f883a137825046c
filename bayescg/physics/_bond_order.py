"""Tersoff's bond-order formula over a table of parameters, one entry for each triplet of species as in LAMMPS."""

import abc
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.physics._interatomic import InteratomicTerm, neighbour_rows, per_pair

_SELECTED = 8
"""Entries up to which a table is read by selection, whose derivative is faster than that of a gather."""


class TersoffTable(NamedTuple):
    """Parameters of each ordered triplet of species: an atom i, its bonded neighbour j, another neighbour k.

    The entries of the bond itself (A, B, lambda1, lambda2, beta, n and the range of i-j) are those with k = j.

    Attributes:
        A, B: strength of repulsion and attraction [energy].
        lambda1, lambda2: their decay [1/length].
        beta, n: of the bond order.
        gamma, lambda3, c, d, cos0: of ζ; lambda3 [1/length].
        R, D: middle and half width of the range in which a neighbour fades out [length].
        m: exponent in ζ, 1 or 3.
    """

    A: Array
    B: Array
    lambda1: Array
    lambda2: Array
    beta: Array
    n: Array
    gamma: Array
    lambda3: Array
    c: Array
    d: Array
    cos0: Array
    R: np.ndarray
    D: np.ndarray
    m: int


class BondOrderTerm(InteratomicTerm):
    """Tersoff's site energies (`tersoff_energies`) from a table that each kind of parameters fills in its own way.

    Attributes:
        species: chemical symbols.
        cutoff: largest R + D [length].
        name: prefix of the parameters' names.
    """

    @abc.abstractmethod
    def table(self) -> TersoffTable:
        """The parameters of each ordered triplet, as in a LAMMPS file."""

    def site_energies(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        return tersoff_energies(vectors, types, neighbour_types, table=self.table(), cutoff=self.cutoff)


def tersoff_energies(
    vectors: Float[Array, "atom neighbour 3"],
    types: Int[Array, " atom"],
    neighbour_types: Int[Array, "atom neighbour"],
    *,
    table: TersoffTable,
    cutoff: float,
) -> Float[Array, " atom"]:
    """Tersoff's site energies [energy].

        e_i = ½ Σ_j f_C(r_ij) [A e^{−λ₁ r_ij} − b_ij B e^{−λ₂ r_ij}],    b_ij = [1 + (β ζ_ij)ⁿ]^{−1/(2n)},
        ζ_ij = Σ_{k≠j} f_C(r_ik) g(cos θ_ijk) e^{[λ₃ (r_ij − r_ik)]ᵐ},
        g(x) = γ [1 + c²/d² − c²/(d² + (x − cos θ₀)²)],    f_C = ½ − ½ sin(π/2 (r − R)/D) where |r − R| < D.

    Args:
        vectors: to the neighbours [length].
        types: species of the atoms.
        neighbour_types: species of the neighbours.
        table: the parameters.
        cutoff: largest R + D [length].
    """
    x, y, z = neighbour_rows(vectors)
    r = jnp.sqrt(x * x + y * y + z * z)
    inside = r < cutoff
    r = jnp.where(inside, r, cutoff)
    x, y, z = (jnp.where(inside, row, 0.0) / r for row in (x, y, z))
    n_species, others = len(table.A), jnp.transpose(neighbour_types)
    bonds = (types * n_species + others) * n_species + others
    triplets = (types * n_species + others[:, None]) * n_species + others[None]

    def at(parameter: Array | np.ndarray, index: Array) -> Array:
        values = jnp.ravel(jnp.asarray(parameter))
        return per_pair(values, index) if len(values) <= _SELECTED else values[index]

    cos = x[:, None] * x[None] + y[:, None] * y[None] + z[:, None] * z[None]
    c2, d2 = at(table.c, triplets) ** 2, at(table.d, triplets) ** 2
    angular = 1.0 + c2 / d2 - c2 / (d2 + (cos - at(table.cos0, triplets)) ** 2)
    stretch = at(table.lambda3, triplets) * (r[:, None] - r[None])
    fading = _fade(r[None], at(table.R, triplets), at(table.D, triplets))
    apart = inside[None] & ~np.eye(len(r), dtype=bool)[:, :, None]
    terms = fading * at(table.gamma, triplets) * angular * jnp.exp(stretch**table.m)
    zeta = jnp.sum(jnp.where(apart, terms, 0.0), axis=1)

    n, scaled = at(table.n, bonds), at(table.beta, bonds) * zeta
    # A neighbour without others has ζ = 0 and a full bond; powers of 0 have no derivative.
    bonded = scaled > 0.0
    logarithm = n * jnp.log(jnp.where(bonded, scaled, 1.0))
    order = jnp.where(bonded, jnp.exp(-0.5 / n * jnp.logaddexp(0.0, logarithm)), 1.0)
    repulsion = at(table.A, bonds) * jnp.exp(-at(table.lambda1, bonds) * r)
    attraction = at(table.B, bonds) * jnp.exp(-at(table.lambda2, bonds) * r)
    energy = _fade(r, at(table.R, bonds), at(table.D, bonds)) * (repulsion - order * attraction)
    return 0.5 * jnp.sum(jnp.where(inside, energy, 0.0), axis=0)


def _fade(r: Array, middle: Array, half_width: Array) -> Array:
    """f_C(r), from 1 below R − D to 0 above R + D."""
    return 0.5 - 0.5 * jnp.sin(0.5 * jnp.pi * jnp.clip((r - middle) / half_width, -1.0, 1.0))
