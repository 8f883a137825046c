"""The embedded-atom method: what its forms share."""

import abc

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bayescg.physics._interatomic import InteratomicTerm
from bayescg.physics._term_fields import neighbour_distances


class EmbeddedAtom(InteratomicTerm):
    """U = Σ_i [F_a(ρ_i) + ½ Σ_j φ_ab(r_ij)], ρ_i = Σ_j f_ab(r_ij), with a, b the species of i, j.

    Two changes of the functions leave every energy as it is: all f times a number with F rescaled, and a linear
    term moved from F into φ. Where a form leaves them free, only the prior chooses.

    References:
        Daw and Baskes (1984), doi:10.1103/PhysRevB.29.6443, eqs. 1 and 2.
    """

    @abc.abstractmethod
    def density(
        self, r: Float[Array, "*edge"], centre: Int[Array, "*edge"], neighbour: Int[Array, "*edge"]
    ) -> Float[Array, "*edge"]:
        """f_ab(r), what a neighbour of species b at distance r [length] adds to the density at an atom of species a.

        Called with distances below the cutoff only.
        """

    @abc.abstractmethod
    def pair_energy(
        self, r: Float[Array, "*edge"], centre: Int[Array, "*edge"], neighbour: Int[Array, "*edge"]
    ) -> Float[Array, "*edge"]:
        """φ_ab(r) [energy] at distances r [length] below the cutoff."""

    @abc.abstractmethod
    def embedding(self, density: Float[Array, " atom"], centre: Int[Array, " atom"]) -> Float[Array, " atom"]:
        """F_a(ρ) [energy] of positive densities; F_a(0) = 0."""

    def site_energies(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        density, pair = self.densities_and_pairs(vectors, types, neighbour_types)
        # Roots and powers of the density have no derivative at 0, where an atom is alone.
        alone = density <= 0.0
        embedded = self.embedding(jnp.where(alone, 1.0, density), types)
        return jnp.where(alone, 0.0, embedded) + pair

    def densities_and_pairs(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> tuple[Float[Array, " atom"], Float[Array, " atom"]]:
        """ρ_i and ½ Σ_j φ_ab(r_ij) [energy] of every atom."""
        r, others = neighbour_distances(vectors), jnp.transpose(neighbour_types)
        inside = r < self.cutoff
        r = jnp.where(inside, r, self.cutoff)
        centre = jnp.broadcast_to(types, others.shape)
        density = jnp.where(inside, self.density(r, centre, others), 0.0)
        pair = jnp.where(inside, self.pair_energy(r, centre, others), 0.0)
        return jnp.sum(density, axis=0), 0.5 * jnp.sum(pair, axis=0)
