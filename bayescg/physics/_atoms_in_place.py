"""Atoms of a supercell or a slab, relaxed within a cell that the relaxed crystal gives."""

from typing import NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.physics._bulk import Bulk, RelaxedBulk, frozen, listed, longest, shortest
from bayescg.physics._environment import Environments, deformed, predict, predict_energy
from bayescg.physics._interatomic import InteratomicPotential
from bayescg.physics._property_code import PropertyCode, first_trouble
from bayescg.physics._relaxation import minimise
from bayescg.physics._supercell import Derived

RATTLE = 0.01
"""Components of the random displacements that a relaxation starts from, as a share of the distance of nearest neighbours:
a structure whose symmetry makes it a saddle is left."""


class PlacedEnergies(NamedTuple):
    """Energies of a structure.

    Attributes:
        unrelaxed: with the atoms where the relaxed crystal has them [energy].
        relaxed: with the atoms at a minimum [energy].
        code: a `PropertyCode`.
    """

    unrelaxed: Float[Array, ""]
    relaxed: Float[Array, ""]
    code: Int[Array, ""]


class AtomsInPlace(eqx.Module):
    """A structure cut from a crystal, whose cell and starting positions follow the crystal's relaxation.

    Attributes:
        batch: neighbourhoods of the atoms.
        parent: atom of the crystal that each atom repeats.
        rattle: displacements that the relaxation starts from [length].
        n_atoms: number of atoms.
        spacing: distance of nearest neighbours [length].
        cutoff: of the potential [length].
        reach: of the neighbour list [length].
    """

    batch: Environments
    parent: Int[np.ndarray, " atom"]
    rattle: Float[np.ndarray, "atom 3"]
    n_atoms: int = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    reach: float = eqx.field(static=True)

    @classmethod
    def of(cls, structure: Derived, bulk: Bulk, potential: InteratomicPotential) -> Self:
        """Make the neighbour list, with the margin of the crystal's.

        Args:
            structure: atoms cut from the crystal.
            bulk: the crystal.
            potential: gives species and cutoff.
        """
        types = bulk.crystal.types(potential.species)[structure.parent]
        batch = listed(structure.positions, types, structure.cell, potential, margin=bulk.skin)
        filled = len(batch.types)  # atoms that fill up follow the others and stay where they are
        rattle = np.zeros((filled, 3))
        random = np.random.default_rng(0).uniform(-1.0, 1.0, (len(types), 3))
        rattle[: len(types)] = RATTLE * bulk.spacing * random
        parent = np.zeros(filled, int)
        parent[: len(types)] = structure.parent
        return cls(
            batch,
            parent,
            rattle,
            len(types),
            bulk.spacing,
            float(potential.cutoff),
            float(potential.cutoff) + bulk.skin,
        )

    def energies(self, potential: InteratomicPotential, relaxed: RelaxedBulk) -> PlacedEnergies:
        """Energies before and after relaxing the atoms at the crystal's strain.

        Derivatives by the parameters are exact at the minimum, where those by the positions vanish.
        """
        carried = relaxed.displacements[self.parent]
        rest = deformed(self.batch, displacements=carried, strain=relaxed.stretch - jnp.eye(3))
        fixed, still = frozen((potential, rest))

        def energy_and_gradient(moved: Array) -> tuple[Array, Array]:
            found = predict(fixed, deformed(still, displacements=moved))
            return found.energy[0], -found.forces

        found = minimise(energy_and_gradient, jnp.asarray(self.rattle), length=self.spacing)
        moved = jax.lax.stop_gradient(found.position)
        drift = jnp.mean(moved[: self.n_atoms], axis=0)
        farthest = longest(moved[: self.n_atoms] - drift)
        kept = shortest(relaxed.stretch) * (self.reach - 2.0 * longest(carried)) - 2.0 * farthest
        code = first_trouble(
            relaxed.code,
            jnp.where(jnp.isfinite(found.energy), PropertyCode.OK, PropertyCode.NONFINITE),
            jnp.where(kept >= self.cutoff, PropertyCode.OK, PropertyCode.SKIN),
            jnp.where(found.converged, PropertyCode.OK, PropertyCode.NOT_CONVERGED),
        )
        before = predict_energy(potential, rest)[0]
        after = predict_energy(potential, deformed(rest, displacements=moved))[0]
        return PlacedEnergies(before, after, code)
