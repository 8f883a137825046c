"""Lattice constants and cohesive energy."""

from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from bayescg.data import UnitSystem
from bayescg.physics._bulk import Bulk, RelaxedBulk, isolated_energies
from bayescg.physics._crystal_symmetry import LENGTHS_AND_ANGLES, cell_parameters, free_parameters
from bayescg.physics._interatomic import InteratomicPotential
from bayescg.physics._property import Component, CrystalProperty, PropertyValues, outcome


class LatticeConstants(CrystalProperty):
    """Those lengths and angles of the relaxed conventional cell that symmetry leaves free.

    Cubic crystals have one, a; hexagonal and tetragonal ones a and c; and so on.

    Attributes:
        bulk: the crystal.
        free: which of a, b, c, α, β, γ.
        components: `a`, `b`, `c` [length], `alpha`, `beta`, `gamma` [degree].
        name: prefix of the components' names.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import Bulk, Crystal, StillingerWeber
        >>> silicon = StillingerWeber.silicon()
        >>> bulk = Bulk.of(Crystal.bulk("Si", "diamond", a=5.4), silicon)
        >>> lattice = LatticeConstants.of(bulk, units=get_unit_system("metal"))
        >>> lattice.components[0].name, round(float(lattice.evaluate(silicon).values[0]), 5)
        ('lattice_a', 5.43095)
    """

    bulk: Bulk
    free: tuple[int, ...] = eqx.field(static=True)
    components: tuple[Component, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)

    @classmethod
    def of(cls, bulk: Bulk, *, units: UnitSystem, name: str = "lattice") -> Self:
        """Find the free lengths and angles.

        Args:
            bulk: the crystal.
            units: the unit system of the potential.
            name: prefix of the components' names.
        """
        free = free_parameters(bulk.crystal, bulk.modes)
        words = [("lattice constant ", units.length)] * 3 + [("angle of the cell, ", "degree")] * 3
        components = tuple(
            Component(f"{name}_{LENGTHS_AND_ANGLES[k]}", words[k][1], words[k][0] + LENGTHS_AND_ANGLES[k])
            for k in free
        )
        return cls(bulk=bulk, free=free, components=components, name=name)

    def evaluate_at(self, potential: InteratomicPotential, relaxed: RelaxedBulk) -> PropertyValues:
        edges = jnp.asarray(self.bulk.crystal.conventional) @ relaxed.stretch.T
        return outcome(cell_parameters(edges)[np.asarray(self.free)], relaxed.code)


class CohesiveEnergy(CrystalProperty):
    """Energy per atom of the relaxed crystal less that of isolated atoms: negative where the crystal is bound.

    Isolated atoms are atoms without neighbours: a constant of each species, such as `SpeciesEnergies`, cancels.

    Attributes:
        bulk: the crystal.
        types: species index of each atom.
        components: one, called `name` [energy].
        name: of the component.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import Bulk, Crystal, StillingerWeber
        >>> silicon = StillingerWeber.silicon()
        >>> bulk = Bulk.of(Crystal.bulk("Si", "diamond", a=5.4), silicon)
        >>> CohesiveEnergy.of(bulk, units=get_unit_system("metal")).components[0].unit
        'eV'
    """

    bulk: Bulk
    types: Int[np.ndarray, " atom"]
    components: tuple[Component, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)

    @classmethod
    def of(cls, bulk: Bulk, *, units: UnitSystem, name: str = "cohesive_energy") -> Self:
        """Of a crystal.

        Args:
            bulk: the crystal.
            units: the unit system of the potential.
            name: of the component.
        """
        component = Component(name, units.energy, "cohesive energy per atom, relative to isolated atoms")
        return cls(bulk=bulk, types=bulk.crystal.types(bulk.species), components=(component,), name=name)

    def evaluate_at(self, potential: InteratomicPotential, relaxed: RelaxedBulk) -> PropertyValues:
        apart = jnp.mean(isolated_energies(potential)[self.types])
        return outcome((relaxed.energy - apart)[None], relaxed.code)
