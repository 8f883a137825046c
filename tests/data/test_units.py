"""Unit systems: the same physics in every one of them."""

import itertools

import numpy as np
import pytest

from bayescg.data import conversion, get_unit_system, unit_factor
from bayescg.errors import InputError

PHYSICAL = ("gromacs", "metal", "real")
QUANTITIES = ("length", "energy", "time", "mass", "force", "pressure", "temperature", "charge", "virial")


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize(("a", "b"), itertools.product(PHYSICAL, PHYSICAL))
def test_there_and_back(quantity, a, b):
    assert conversion(quantity, a, b) * conversion(quantity, b, a) == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize(("a", "b"), itertools.permutations(PHYSICAL, 2))
def test_same_physics(a, b):
    """beta U, pressure, acceleration and thermal velocity don't depend on the system they are computed in."""
    one, two = get_unit_system(a), get_unit_system(b)
    energy, length, mass, force, temperature = 3.7, 2.1, 18.0, 5.5, 300.0

    def there(value, quantity):
        return value * conversion(quantity, one, two)

    assert two.beta(temperature) * there(energy, "energy") == pytest.approx(
        one.beta(temperature) * energy, rel=1e-12
    )
    pressure = energy / length**3 * one.pressure_factor
    other = there(energy, "energy") / there(length, "length") ** 3 * two.pressure_factor
    assert other == pytest.approx(there(pressure, "pressure"), rel=1e-12)
    acceleration = force / mass * one.force_to_acceleration
    per_time2 = conversion("length", one, two) / conversion("time", one, two) ** 2
    other = there(force, "force") / there(mass, "mass") * two.force_to_acceleration
    assert other == pytest.approx(acceleration * per_time2, rel=1e-12)
    assert there(force, "force") == pytest.approx(
        there(energy, "energy") / there(length, "length") * force / energy * length
    )


def test_known_constants():
    gromacs, metal, real, lj = (get_unit_system(name) for name in ("gromacs", "metal", "real", "lj"))
    assert gromacs.boltzmann == pytest.approx(8.31446261815324e-3, rel=1e-12)
    assert metal.boltzmann == pytest.approx(8.617333262e-5, rel=1e-9)
    assert real.boltzmann == pytest.approx(1.98720425864083e-3, rel=1e-12)
    assert gromacs.pressure_factor == pytest.approx(16.6053906717, rel=1e-10)
    assert metal.pressure_factor == pytest.approx(1.602176634e6, rel=1e-10)
    assert real.pressure_factor == pytest.approx(68568.42297, rel=1e-9)
    assert gromacs.force_to_acceleration == 1.0
    assert metal.force_to_acceleration == pytest.approx(9648.53321233, rel=1e-10)
    assert real.force_to_acceleration == pytest.approx(4.184e-4, rel=1e-12)
    assert (lj.boltzmann, lj.pressure_factor, lj.force_to_acceleration) == (1.0, 1.0, 1.0)
    assert gromacs.kT(300.0) == pytest.approx(2.49433878544597, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "quantity", "system", "factor"),
    [
        ("angstrom", "length", "gromacs", 0.1),
        ("Å", "length", "gromacs", 0.1),
        ("nm", "length", "real", 10.0),
        ("kJ mol-1 nm-1", "force", "gromacs", 1.0),
        ("kJ/(mol nm)", "force", "real", 1 / 41.84),
        ("kcal/mol/angstrom", "force", "gromacs", 41.84),
        ("kcal mol^-1 Å^-1", "force", "real", 1.0),
        ("eV/A", "force", "metal", 1.0),
        ("eV/A^3", "pressure", "metal", 1.602176634e6),
        ("kcal/mol", "virial", "gromacs", 4.184),
        ("atm", "pressure", "gromacs", 1.01325),
        ("amu", "mass", "real", 1.0),
        ("1", "length", "lj", 1.0),
    ],
)
def test_units_named_in_files(text, quantity, system, factor):
    assert unit_factor(text, quantity, get_unit_system(system)) == pytest.approx(factor, rel=1e-9)


def test_what_can_not_be_converted_raises():
    with pytest.raises(InputError, match="expected one of gromacs"):
        get_unit_system("si")
    with pytest.raises(InputError, match="reduced units"):
        conversion("length", "lj", "real")
    with pytest.raises(InputError, match="furlong"):
        unit_factor("furlong", "length", get_unit_system("gromacs"))
    with pytest.raises(InputError, match="lj"):
        unit_factor("nm", "length", get_unit_system("lj"))
    assert np.isclose(conversion("energy", "lj", "lj"), 1.0)
