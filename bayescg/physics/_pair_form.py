"""What every pair formula over several species shares: the table over species pairs and the cutoff's convention."""

import abc
from collections.abc import Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bayescg.errors import InputError
from bayescg.physics._interatomic import n_pairs, pair_index, pair_labels, per_pair
from bayescg.physics._pair import smooth_switch
from bayescg.physics._pairwise_term import PairwiseTerm, beyond
from bayescg.physics._term_fields import check_shapes, neighbour_distances

CONVENTIONS = ("truncated", "shifted", "force_shifted", "smooth")


def _as_names(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


class PairForm(PairwiseTerm):
    """Sum over all pairs of u_ab(r), with parameters for each unordered pair of species a, b.

    A parameter is an array over these pairs in the order of `pair_index`, or a scalar shared by all. An atom's energy
    is half the sum over its neighbours. What happens at the cutoff r_c is explicit:

    * `truncated`: the bare formula, with a jump of u(r_c);
    * `shifted`: u(r) − u(r_c), with a jump of the force;
    * `force_shifted`: u(r) − u(r_c) − (r − r_c) u′(r_c), energy and force continuous;
    * `smooth`: u(r) S(r), switched off between `onset` and r_c (see `smooth_switch`).

    Every pair within the cutoff counts, an atom's own images included, with two exceptions. `without` names pairs of species
    that do not interact: they have no parameters, and the arrays of the others hold one entry for each pair that is left,
    in the same order. With `between_molecules` atoms of one molecule do not interact (see `PairwiseTerm`).

    Attributes:
        convention: one of `truncated`, `shifted`, `force_shifted`, `smooth`.
        onset: start of the switching function [length]; only for `smooth`.
        without: pairs of species that do not interact, such as `("Na-Na",)`.
        between_molecules: whether pairs of atoms of one molecule are left out.
    """

    convention: eqx.AbstractVar[str]
    onset: eqx.AbstractVar[float | None]
    without: tuple[str, ...] = eqx.field(static=True, default=(), kw_only=True, converter=_as_names)

    @abc.abstractmethod
    def bare_energy(self, r: Float[Array, "*edge"], pair: Int[Array, "*edge"]) -> Float[Array, "*edge"]:
        """The formula without any cutoff, u(r) [energy], at distances r [length] of species pairs `pair`."""

    def pair_energy(self, r: Float[Array, "*edge"], pair: Int[Array, "*edge"]) -> Float[Array, "*edge"]:
        """u(r) [energy] with the cutoff applied.

        Args:
            r: distances, positive [length].
            pair: index of the unordered species pair, counted (0, 0), (0, 1), …, (1, 1), … without those left out; beyond
                them for a pair without energy.
        """
        inside = r < self.cutoff
        if self.without:
            inside = inside & (pair < len(interacting(self)))
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
        pairs = jnp.arange(len(interacting(self)))
        ends = jnp.full(pairs.shape, self.cutoff)
        return jax.jvp(lambda r: self.bare_energy(r, pairs), (ends,), (jnp.ones_like(ends),))

    def site_energies(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        pair = jnp.asarray(_numbers(self))[types, jnp.transpose(neighbour_types)]
        return 0.5 * jnp.sum(self.pair_energy(neighbour_distances(vectors), pair), axis=0)

    def energies_between(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
        same_molecule: Bool[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        others = beyond(vectors, same_molecule, cutoff=self.cutoff)
        return self.site_energies(others, types, neighbour_types)

    def check_reach(self, *, whole_molecules: bool) -> None:
        """Nothing to check: pairs beyond the neighbour lists have no energy anyway."""


def interacting(potential: PairForm) -> Int[np.ndarray, " pair"]:
    """Those unordered pairs of species that have parameters, numbered as by `pair_index`; checks the names left out."""
    species = potential.species
    labels = pair_labels(species)
    left_out = set()
    for name in potential.without:
        found = {name, "-".join(reversed(name.split("-")))} & set(labels)
        if not found:
            raise InputError(
                f"potential '{potential.name}': `without` names '{name}', which is no pair of its species: choose from"
                f" {', '.join(labels)}"
            )
        left_out |= found
    if len(left_out) == len(labels):
        raise InputError(
            f"potential '{potential.name}': `without` leaves no pair of species: remove the potential, or some of the pairs"
        )
    return np.flatnonzero([label not in left_out for label in labels])


def _numbers(potential: PairForm) -> Int[np.ndarray, "species species"]:
    """Number of each unordered pair of species among those that interact; one beyond the last for the others."""
    n, kept = len(potential.species), interacting(potential)
    numbers = np.full(n_pairs(n), len(kept))
    numbers[kept] = np.arange(len(kept))
    return numbers[pair_index(n)]


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
    without = f", without {', '.join(potential.without)}" if potential.without else ""
    words = f"one for each unordered pair of species{without}"
    check_shapes(potential, fields, len(interacting(potential)), words)
