"""Formation energies of vacancies and of surfaces."""

from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayescg.data import UnitSystem
from bayescg.errors import InputError
from bayescg.physics._atoms_in_place import AtomsInPlace
from bayescg.physics._bulk import Bulk, RelaxedBulk
from bayescg.physics._interatomic import InteratomicPotential
from bayescg.physics._property import Component, CrystalProperty, PropertyValues, outcome, surface_unit
from bayescg.physics._supercell import Derived, conventional_matrix, slab, supercell


class VacancyEnergy(CrystalProperty):
    """Formation energy of a vacancy: E(N − 1) − (N − 1) E_bulk/N, in a supercell at the relaxed crystal's volume.

    For crystals of one species: in a compound the energy depends on where the atom goes.

    Attributes:
        bulk: the crystal.
        atoms: those that remain.
        components: `name` with the atoms relaxed, and `<name>_unrelaxed` [energy].
        name: of the component.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import Bulk, Crystal, StillingerWeber
        >>> silicon = StillingerWeber.silicon()
        >>> bulk = Bulk.of(Crystal.bulk("Si", "diamond", a=5.43), silicon)
        >>> vacancy = VacancyEnergy.of(bulk, silicon, repeats=(2, 2, 2), units=get_unit_system("metal"))
        >>> vacancy.atoms.n_atoms, [component.name for component in vacancy.components]
        (63, ['vacancy', 'vacancy_unrelaxed'])
    """

    bulk: Bulk
    atoms: AtomsInPlace
    components: tuple[Component, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        bulk: Bulk,
        potential: InteratomicPotential,
        *,
        repeats: tuple[int, int, int],
        units: UnitSystem,
        removed: tuple[int, ...] = (0,),
        name: str = "vacancy",
    ) -> Self:
        """Cut the supercell and take atoms out.

        Args:
            bulk: the crystal.
            potential: gives species and cutoff.
            repeats: conventional cells along each edge.
            units: the unit system of the potential.
            removed: atoms of the supercell that are taken out; the energy is that of all of them together.
            name: of the component.

        Raises:
            InputError: a compound, a supercell thinner than twice the cutoff, atoms that are not there.
        """
        if len(set(bulk.crystal.symbols)) > 1:
            raise InputError(
                "vacancy: in a compound the formation energy depends on the removed atom's chemical potential;"
                " only crystals of one species are supported"
            )
        whole = supercell(bulk.crystal, conventional_matrix(bulk.crystal, repeats))
        if np.min(whole.heights) < 2.0 * potential.cutoff:
            raise InputError(
                f"vacancy: the supercell is {np.min(whole.heights):.4g} thick, less than twice the cutoff"
                f" {potential.cutoff:.4g}, so that atoms feel the vacancy and its image: give more repeats"
            )
        if (
            not removed
            or not set(removed) <= set(range(len(whole.parent)))
            or len(set(removed)) < len(removed)
        ):
            raise InputError(
                f"vacancy: removed atoms {removed} must be different numbers from 0 to {len(whole.parent) - 1}"
            )
        left = np.delete(np.arange(len(whole.parent)), removed)
        structure = Derived(whole.cell, whole.positions[left], whole.parent[left])
        words = "vacancy formation energy" if len(removed) == 1 else "formation energy of the vacancies"
        components = (
            Component(name, units.energy, words),
            Component(f"{name}_unrelaxed", units.energy, f"{words}, atoms unrelaxed"),
        )
        placed = AtomsInPlace.of(structure, bulk, potential)
        return cls(bulk=bulk, atoms=placed, components=components, name=name)

    def evaluate_at(self, potential: InteratomicPotential, relaxed: RelaxedBulk) -> PropertyValues:
        found = self.atoms.energies(potential, relaxed)
        energies = jnp.stack([found.relaxed, found.unrelaxed])
        return outcome(energies - self.atoms.n_atoms * relaxed.energy, found.code)


class SurfaceEnergy(CrystalProperty):
    """Energy of a surface (hkl) per area: [E_slab − N E_bulk/N] / 2A, the mean of the slab's two faces.

    Attributes:
        bulk: the crystal.
        atoms: of the slab.
        edges: of the surface cell, before any strain [length].
        factor: from energy/length² to the components' unit.
        components: `name` with the atoms relaxed, and `<name>_unrelaxed` [J/m², in `lj` reduced].
        name: of the component.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import Bulk, Crystal, StillingerWeber
        >>> silicon = StillingerWeber.silicon()
        >>> bulk = Bulk.of(Crystal.bulk("Si", "diamond", a=5.43), silicon)
        >>> surface = SurfaceEnergy.of(bulk, silicon, miller=(1, 1, 1), layers=4, units=get_unit_system("metal"))
        >>> surface.atoms.n_atoms, [component.name for component in surface.components]
        (8, ['surface_111', 'surface_111_unrelaxed'])
    """

    bulk: Bulk
    atoms: AtomsInPlace
    edges: Float[np.ndarray, "2 3"]
    factor: float = eqx.field(static=True)
    components: tuple[Component, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        bulk: Bulk,
        potential: InteratomicPotential,
        *,
        miller: tuple[int, int, int],
        layers: int,
        units: UnitSystem,
        repeats: tuple[int, int] = (1, 1),
        cut: float | None = None,
        name: str | None = None,
    ) -> Self:
        """Cut the slab.

        Args:
            bulk: the crystal.
            potential: gives species and cutoff.
            miller: indices of the plane in the conventional cell.
            layers: number of primitive layers.
            units: the unit system of the potential.
            repeats: of the surface cell, for reconstructions.
            cut: where the layers begin, see `slab`.
            name: of the component; default `surface_<hkl>`.

        Raises:
            InputError: a slab thinner than twice the cutoff, indices for which there is no cell.
        """
        gap = 2.0 * (potential.cutoff + bulk.skin)
        structure = slab(bulk.crystal, miller, layers=layers, gap=gap, repeats=repeats, cut=cut)
        thickness = structure.heights[2] - gap
        if thickness < 2.0 * potential.cutoff:
            raise InputError(
                f"surface {miller}: a slab of {layers} layers is {thickness:.4g} thick, less than twice the cutoff"
                f" {potential.cutoff:.4g}, so that its faces feel each other: give more layers"
            )
        chosen = f"surface_{''.join(map(str, miller))}" if name is None else name
        unit, factor = surface_unit(units)
        words = f"energy of the surface ({' '.join(map(str, miller))})"
        components = (
            Component(chosen, unit, words),
            Component(f"{chosen}_unrelaxed", unit, f"{words}, atoms unrelaxed"),
        )
        placed = AtomsInPlace.of(structure, bulk, potential)
        edges = structure.cell[:2]
        return cls(bulk=bulk, atoms=placed, edges=edges, factor=factor, components=components, name=chosen)

    def evaluate_at(self, potential: InteratomicPotential, relaxed: RelaxedBulk) -> PropertyValues:
        found = self.atoms.energies(potential, relaxed)
        first, second = jnp.asarray(self.edges) @ relaxed.stretch.T
        area = jnp.linalg.norm(jnp.cross(first, second))
        excess = jnp.stack([found.relaxed, found.unrelaxed]) - self.atoms.n_atoms * relaxed.energy
        return outcome(self.factor * excess / (2.0 * area), found.code)
