"""Elastic constants of the relaxed crystal, with the atoms in the cell held (Born) or free to relax."""

from typing import NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayescg.data import UnitSystem
from bayescg.physics._bulk import Bulk, RelaxedBulk, deformed_energy, held_in_place
from bayescg.physics._crystal_symmetry import free_elastic_constants
from bayescg.physics._interatomic import InteratomicPotential
from bayescg.physics._property import Component, CrystalProperty, PropertyValues, outcome, stress_unit
from bayescg.physics._property_code import PropertyCode, first_trouble


class ElasticTensors(NamedTuple):
    """Elastic constants in Voigt's order xx yy zz yz xz xy.

    Attributes:
        relaxed: atoms in the cell at the minimum for every strain [energy/length³].
        clamped: fractional coordinates held, Born's part [energy/length³].

    Example:
        >>> ElasticTensors(jnp.eye(6), 2.0 * jnp.eye(6)).clamped.shape
        (6, 6)
    """

    relaxed: Float[Array, "6 6"]
    clamped: Float[Array, "6 6"]


def elastic_tensors(potential: InteratomicPotential, relaxed: RelaxedBulk) -> ElasticTensors:
    """Both tensors of elastic constants, by second derivatives of the energy.

    With strain η and displacements u of the atoms in the cell of volume V,

        C = C̄ − Lᵀ D⁻¹ L / V,    C̄ = (1/V) ∂²E/∂η∂η,    L = ∂²E/∂u∂η,    D = ∂²E/∂u∂u,

    translations of the whole crystal left out of D.

    Args:
        potential: the potential that the crystal is relaxed with.
        relaxed: from `Bulk.relaxed`.

    References:
        Born & Huang (1954), Dynamical Theory of Crystal Lattices, section 11; Wu, Vanderbilt & Hamann (2005),
        doi:10.1103/PhysRevB.72.035105, eq. 17.

    Example:
        >>> from bayescg.physics import Bulk, Crystal, StillingerWeber
        >>> silicon = StillingerWeber.silicon()
        >>> relaxed = Bulk.of(Crystal.bulk("Si", "diamond", a=5.4), silicon).relaxed(silicon)
        >>> tensors = eqx.filter_jit(elastic_tensors)(silicon, relaxed)
        >>> [round(160.21766 * float(tensor[3, 3]), 1) for tensor in tensors]  # C44 in GPa
        [56.4, 109.8]
    """
    n = 6 + relaxed.displacements.size
    hessian = jax.hessian(lambda x: deformed_energy(potential, relaxed.rest, x))(jnp.zeros(n))
    volume = relaxed.rest.volume[0]
    held = held_in_place(hessian)[6:, 6:]
    clamped = hessian[:6, :6]
    softening = hessian[:6, 6:] @ jnp.linalg.solve(held, hessian[6:, :6])
    return ElasticTensors((clamped - softening) / volume, clamped / volume)


def bulk_modulus(tensor: Float[Array, "6 6"]) -> Float[Array, ""]:
    """1 / Σ_{i,j≤3} S_ij, S = C⁻¹: the resistance to pressure, the cell's shape free to follow [as the tensor].

    Example:
        >>> round(float(bulk_modulus(jnp.diag(jnp.array([3.0, 3.0, 3.0, 1.0, 1.0, 1.0])))), 12)
        1.0
    """
    pressure = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    return 1.0 / (pressure @ jnp.linalg.solve(tensor, pressure))


class ElasticConstants(CrystalProperty):
    """The independent elastic constants, relaxed and clamped, and the bulk modulus.

    Attributes:
        bulk: the crystal.
        places: places of the independent constants in Voigt's matrix.
        factor: from energy/length³ to the components' unit.
        components: `C11`, …, `bulk_modulus` with the atoms relaxed, then `C11_clamped`, … [GPa, in `lj` reduced].
        name: prefix of the components' names.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import Bulk, Crystal, StillingerWeber
        >>> silicon = StillingerWeber.silicon()
        >>> bulk = Bulk.of(Crystal.bulk("Si", "diamond", a=5.4), silicon)
        >>> elastic = ElasticConstants.of(bulk, units=get_unit_system("metal"))
        >>> [component.name for component in elastic.components[:4]]
        ['elastic_C11', 'elastic_C12', 'elastic_C44', 'elastic_bulk_modulus']
    """

    bulk: Bulk
    places: tuple[tuple[int, int], ...] = eqx.field(static=True)
    factor: float = eqx.field(static=True)
    components: tuple[Component, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)

    @classmethod
    def of(cls, bulk: Bulk, *, units: UnitSystem, name: str = "elastic") -> Self:
        """Find the independent constants.

        Args:
            bulk: the crystal.
            units: the unit system of the potential.
            name: prefix of the components' names.
        """
        places = free_elastic_constants(bulk.turns)
        unit, factor = stress_unit(units)
        names = [f"C{i + 1}{j + 1}" for i, j in places]
        components = (
            *(Component(f"{name}_{c}", unit, f"elastic constant {c}, atoms relaxed") for c in names),
            Component(f"{name}_bulk_modulus", unit, "bulk modulus"),
            *(Component(f"{name}_{c}_clamped", unit, f"elastic constant {c}, atoms clamped") for c in names),
        )
        return cls(bulk=bulk, places=places, factor=float(factor), components=components, name=name)

    def evaluate_at(self, potential: InteratomicPotential, relaxed: RelaxedBulk) -> PropertyValues:
        tensors = elastic_tensors(potential, relaxed)
        rows, columns = (jnp.asarray(index) for index in zip(*self.places))
        values = [
            tensors.relaxed[rows, columns],
            bulk_modulus(tensors.relaxed)[None],
            tensors.clamped[rows, columns],
        ]
        lowest = jnp.linalg.eigvalsh(tensors.relaxed)[0]
        stable = jnp.where(lowest > 0.0, PropertyCode.OK, PropertyCode.UNSTABLE)
        return outcome(self.factor * jnp.concatenate(values), first_trouble(relaxed.code, stable))
