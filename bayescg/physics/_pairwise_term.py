"""Terms that are sums over pairs of atoms, of which those within a molecule may be left out."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from bayescg.data import Configurations
from bayescg.errors import InputError
from bayescg.physics._interatomic import (
    InteratomicPotential,
    InteratomicSum,
    InteratomicTerm,
    interatomic_terms,
)
from bayescg.physics._molecules import check_extent, molecule_extent


class PairwiseTerm(InteratomicTerm):
    """A sum over pairs of atoms, all of them or those of different molecules only.

    With `between_molecules` two atoms with the same label of their molecule do not interact; an atom and the images of
    its molecule do. `site_energies`, which knows no labels, is the sum over all pairs in either case: `predict` and
    `predict_energy` leave out what is to be left out.

    Attributes:
        between_molecules: whether pairs of atoms of one molecule are left out.
    """

    between_molecules: bool = eqx.field(static=True, default=False, kw_only=True)

    @abc.abstractmethod
    def energies_between(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
        same_molecule: Bool[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        """As `site_energies` [energy], without the pairs of one molecule.

        Args:
            vectors: from the atom to its neighbours [length].
            types: species index of the atom.
            neighbour_types: species index of its neighbours.
            same_molecule: whether a neighbour belongs to the atom's own molecule.
        """

    @abc.abstractmethod
    def check_reach(self, *, whole_molecules: bool) -> None:
        """Raise an InputError if pairs of one molecule must be among the neighbours and some are not.

        Args:
            whole_molecules: whether all of them are.
        """


def beyond(
    vectors: Float[Array, "atom neighbour 3"], dropped: Bool[Array, "atom neighbour"], *, cutoff: float
) -> Float[Array, "atom neighbour 3"]:
    """The vectors with some neighbours moved to twice the cutoff, where they have no effect and no derivative."""
    return jnp.where(dropped[..., None], jnp.array([2.0 * cutoff, 0.0, 0.0]), vectors)


def site_energies_between(
    potential: InteratomicPotential,
    vectors: Float[Array, "atom neighbour 3"],
    types: Int[Array, " atom"],
    neighbour_types: Int[Array, "atom neighbour"],
    same_molecule: Bool[Array, "atom neighbour"] | None,
) -> Float[Array, " atom"]:
    """e_i of every atom [energy], pairs of one molecule left out of those terms that say so.

    Args:
        potential: a term or a sum.
        vectors: from the atom to its neighbours [length].
        types: species index of the atom.
        neighbour_types: species index of its neighbours.
        same_molecule: whether a neighbour belongs to the atom's own molecule; None without labels.
    """
    if same_molecule is None or not terms_between_molecules(potential):
        return potential.site_energies(vectors, types, neighbour_types)
    if isinstance(potential, InteratomicSum):
        first, *others = (
            site_energies_between(term, vectors, types, neighbour_types, same_molecule)
            for term in potential.terms
        )
        return sum(others, first)
    assert isinstance(potential, PairwiseTerm)  # the only terms that leave pairs out
    return potential.energies_between(vectors, types, neighbour_types, same_molecule)


def terms_between_molecules(potential: InteratomicPotential) -> tuple[PairwiseTerm, ...]:
    """Those terms of a potential that leave out pairs of one molecule."""
    return tuple(
        term
        for term in interatomic_terms(potential)
        if isinstance(term, PairwiseTerm) and term.between_molecules
    )


def check_labelled(potential: InteratomicPotential, *, labelled: bool) -> None:
    """Raise an InputError if a term needs to know the molecules and no labels are there."""
    for term in terms_between_molecules(potential):
        if not labelled:
            raise InputError(
                f"potential '{term.name}': it acts between molecules only, but the atoms have no label of their molecule:"
                " name the per-atom array that holds it (`molecule_key` in [data]), or remove `between_molecules`"
            )


def check_molecules(potential: InteratomicPotential, configurations: Configurations) -> None:
    """Raise an InputError unless the molecules of these configurations suit all terms.

    Args:
        potential: a term or a sum.
        configurations: the data.
    """
    terms = terms_between_molecules(potential)
    if not terms:
        return
    check_labelled(potential, labelled=bool(configurations.molecules))
    extent = 0.0
    parts = configurations.positions, configurations.molecules, configurations.cell, configurations.periodic
    for index, one in enumerate(zip(*parts, strict=True)):
        found = molecule_extent(*one)
        check_extent(index, found)
        extent = max(extent, found.extent)
    for term in terms:
        term.check_reach(whole_molecules=extent < term.cutoff)


def refuse_crystal(potential: InteratomicPotential) -> None:
    """Raise an InputError if a term leaves out pairs of one molecule, which a crystal made of a formula has none of."""
    for term in terms_between_molecules(potential):
        raise InputError(
            f"potential '{term.name}': it acts between molecules only, and the atoms of a crystal have no label of their"
            " molecule: leave properties of crystals out, or remove `between_molecules`"
        )
