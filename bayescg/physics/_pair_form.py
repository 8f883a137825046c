"""What every pair formula over several species shares: the table over species pairs and the cutoff's convention."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.physics._interatomic import InteratomicTerm, n_pairs, pair_index, per_pair
from bayescg.physics._pair import smooth_switch
from bayescg.physics._term_fields import check_shapes, neighbour_distances

CONVENTIONS = ("truncated", "shifted", "force_shifted", "smooth")


class PairForm(InteratomicTerm):
    """Sum over all pairs of u_ab(r), with parameters for each unordered pair of species a, b.

    A parameter is an array over these pairs in the order of `pair_index`, or a scalar shared by all. An atom's energy
    is half the sum over its neighbours. What happens at the cutoff r_c is explicit:

    * `truncated`: the bare formula, with a jump of u(r_c);
    * `shifted`: u(r) − u(r_c), with a jump of the force;
    * `force_shifted`: u(r) − u(r_c) − (r − r_c) u′(r_c), energy and force continuous;
    * `smooth`: u(r) S(r), switched off between `onset` and r_c (see `smooth_switch`).

    There is no list of excluded pairs: exclusions belong to bonded neighbours in molecules, and a solid
    has none; every pair within the cutoff counts, an atom's own images included.

    Attributes:
        convention: one of `truncated`, `shifted`, `force_shifted`, `smooth`.
        onset: start of the switching function [length]; only for `smooth`.
    """

    convention: eqx.AbstractVar[str]
    onset: eqx.AbstractVar[float | None]

    @abc.abstractmethod
    def bare_energy(self, r: Float[Array, "*edge"], pair: Int[Array, "*edge"]) -> Float[Array, "*edge"]:
        """The formula without any cutoff, u(r) [energy], at distances r [length] of species pairs `pair`."""

    def pair_energy(self, r: Float[Array, "*edge"], pair: Int[Array, "*edge"]) -> Float[Array, "*edge"]:
        """u(r) [energy] with the cutoff applied.

        Args:
            r: distances, positive [length].
            pair: index of the unordered species pair, counted (0, 0), (0, 1), …, (1, 1), ….
        """
        inside = r < self.cutoff
        safe = jnp.where(inside, r, self.cutoff)
        return jnp.where(inside, self._cut(safe, pair), 0.0)

    def _cut(self, r: Float[Array, "*edge"], pair: Int[Array, "*edge"]) -> Float[Array, "*edge"]:
        energy = self.bare_energy(r, pair)
        if self.convention == "truncated":
            return energy
        if self.onset is not None:
            return energy * smooth_switch(r**2, onset=self.onset, cutoff=self.cutoff)
        value, slope = self._at_cutoff()
        shifted = energy - per_pair(value, pair)
        return (
            shifted if self.convention == "shifted" else shifted - per_pair(slope, pair) * (r - self.cutoff)
        )

    def _at_cutoff(self) -> tuple[Float[Array, " pair"], Float[Array, " pair"]]:
        """u(r_c) [energy] and u′(r_c) [energy/length] of each species pair."""
        pairs = jnp.arange(n_pairs(len(self.species)))
        ends = jnp.full(pairs.shape, self.cutoff)
        return jax.jvp(lambda r: self.bare_energy(r, pairs), (ends,), (jnp.ones_like(ends),))

    def site_energies(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        pair = jnp.asarray(pair_index(len(self.species)))[types, jnp.transpose(neighbour_types)]
        return 0.5 * jnp.sum(self.pair_energy(neighbour_distances(vectors), pair), axis=0)


def check_pair_form(potential: PairForm, fields: tuple[str, ...]) -> None:
    """Raise an InputError unless the cutoff makes sense and each field has an entry for each species pair."""
    name, cutoff, onset = potential.name, potential.cutoff, potential.onset
    if not cutoff > 0.0:
        raise InputError(f"potential '{name}': cutoff {cutoff} must be positive")
    if potential.convention not in CONVENTIONS:
        raise InputError(
            f"potential '{name}': cutoff convention '{potential.convention}' is unknown,"
            f" use one of {', '.join(CONVENTIONS)}"
        )
    if (potential.convention == "smooth") != (onset is not None):
        raise InputError(f"potential '{name}': `onset` belongs to the convention 'smooth', and only to it")
    if onset is not None and not 0.0 < onset < cutoff:
        raise InputError(f"potential '{name}': onset {onset} must lie between 0 and the cutoff {cutoff}")
    check_shapes(potential, fields, n_pairs(len(potential.species)), "one for each unordered pair of species")
