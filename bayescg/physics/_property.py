"""What a property of a crystal is: numbers with names and units, and a code that says whether they mean anything."""

import abc
import math
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bayescg.data import UnitSystem, unit_factor
from bayescg.physics._bulk import Bulk, RelaxedBulk
from bayescg.physics._interatomic import InteratomicPotential
from bayescg.physics._property_code import PropertyCode, first_trouble


class Component(NamedTuple):
    """One number of a property.

    Attributes:
        name: unique among the properties of a study.
        unit: as written in files.
        long_name: in words.

    Example:
        >>> Component("a", "angstrom", "lattice constant a").unit
        'angstrom'
    """

    name: str
    unit: str
    long_name: str


class PropertyValues(NamedTuple):
    """What a property is for one potential.

    Attributes:
        values: in the order and the units of the property's components; NaN where the code is not 0.
        code: a `PropertyCode`.

    Example:
        >>> PropertyValues(jnp.array([5.43]), jnp.array(0)).values.shape
        (1,)
    """

    values: Float[Array, " component"]
    code: Int[Array, ""]


class CrystalProperty(eqx.Module):
    """A property of a crystal, as a pure function of the potential that can be compiled, mapped and differentiated.

    Attributes:
        bulk: the crystal.
        name: of the property.
        components: names and units of its numbers.

    Example:
        >>> from bayescg.physics import LatticeConstants
        >>> issubclass(LatticeConstants, CrystalProperty)
        True
    """

    bulk: eqx.AbstractVar[Bulk]
    name: eqx.AbstractVar[str]
    components: eqx.AbstractVar[tuple[Component, ...]]

    @abc.abstractmethod
    def evaluate_at(self, potential: InteratomicPotential, relaxed: RelaxedBulk) -> PropertyValues:
        """The property's numbers for this potential, the crystal being relaxed already.

        Args:
            potential: the potential.
            relaxed: of the property's `bulk` with this potential; several properties may share it.
        """

    @eqx.filter_jit
    def evaluate(self, potential: InteratomicPotential) -> PropertyValues:
        """The property's numbers for this potential.

        Args:
            potential: of the same species, and of no longer reach, as the potential that the property was made for.

        Raises:
            InputError: another species or a longer reach.
        """
        return self.evaluate_at(potential, self.bulk.relaxed(potential))


def outcome(values: Float[Array, " component"], code: Int[Array, ""]) -> PropertyValues:
    """Values that are NaN where the code is not `OK`; numbers that are not finite get the code `NONFINITE`."""
    finite = jnp.all(jnp.isfinite(values))
    code = first_trouble(code, jnp.where(finite, PropertyCode.OK, PropertyCode.NONFINITE))
    return PropertyValues(jnp.where(code == PropertyCode.OK, values, jnp.nan), code)


def stress_unit(units: UnitSystem) -> tuple[str, float]:
    """Unit of elastic constants and the factor from energy/length³: GPa, or reduced units.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> unit, factor = stress_unit(get_unit_system("metal"))
        >>> unit, round(factor, 6)
        ('GPa', 160.217663)
    """
    if units.name == "lj":
        return units.pressure, 1.0
    return "GPa", units.pressure_factor / unit_factor("GPa", "pressure", units)


def surface_unit(units: UnitSystem) -> tuple[str, float]:
    """Unit of surface energies and the factor from energy/length²: J/m², or reduced units."""
    if units.name == "lj":
        return f"{units.energy}/{units.length}^2", 1.0
    return "J/m^2", unit_factor("m", "length", units) ** 2 / unit_factor("J", "energy", units)


def frequency_unit(units: UnitSystem) -> tuple[str, float]:
    """Unit of frequencies and the factor to ν from ω = √(energy/(mass length²)): THz, or reduced units."""
    factor = units.force_to_acceleration**0.5 / (2.0 * math.pi)
    if units.name == "lj":
        return f"1/{units.time}", factor
    return "THz", factor * unit_factor("ps", "time", units)
