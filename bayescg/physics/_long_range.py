"""Terms whose sum over neighbours is completed by a sum over the waves of the periodic cell."""

import abc

import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.data import Configurations
from bayescg.physics._interatomic import InteratomicPotential, interatomic_terms
from bayescg.physics._pairwise_term import PairwiseTerm, check_molecules
from bayescg.physics._periodic_cells import PeriodicCells, independent_compositions


class LongRangeTerm(PairwiseTerm):
    """A term that is no sum of site energies: `site_energies` is its share from neighbours within the cutoff."""

    @abc.abstractmethod
    def cell_energies(
        self, positions: Float[Array, "atom 3"], types: Int[Array, " atom"], cells: PeriodicCells
    ) -> Float[Array, " cell"]:
        """What the neighbours' share lacks, of each configuration [energy].

        Args:
            positions: of all atoms of the batch [length].
            types: species index of each.
            cells: the configurations.
        """

    @abc.abstractmethod
    def check_configurations(
        self, compositions: tuple[tuple[int, ...], ...], *, open_configuration: int
    ) -> None:
        """Raise an InputError unless the term makes sense for configurations of these compositions.

        Args:
            compositions: numbers of atoms of each species.
            open_configuration: the first that is not periodic along all edges; −1 where there is none.
        """


def long_range_terms(potential: InteratomicPotential) -> tuple[LongRangeTerm, ...]:
    """Those terms of a potential that reach beyond every cutoff."""
    return tuple(term for term in interatomic_terms(potential) if isinstance(term, LongRangeTerm))


def check_configurations(potential: InteratomicPotential, configurations: Configurations) -> None:
    """Raise an InputError unless all terms make sense for these configurations.

    Args:
        potential: its species are those of the configurations, in their order.
        configurations: the data.
    """
    check_molecules(potential, configurations)
    opened = np.flatnonzero(~np.all(configurations.periodic, axis=1))
    compositions = independent_compositions(configurations.types, len(configurations.species))
    for term in long_range_terms(potential):
        term.check_configurations(compositions, open_configuration=int(opened[0]) if len(opened) else -1)
