"""T15: the second virial coefficient of Lennard-Jones, from the energies of dimers in open space."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import simpson
from scipy.optimize import brentq

from bayescg.data import Configurations, get_unit_system
from bayescg.physics import LennardJonesPairs, environments, in_data_order, predict

CUTOFF = 60.0
EXACT = {1.0: -5.315745, 1.5: -2.515124, 2.0: -1.314495, 5.0: 0.509657}  # B₂/σ³ by T* (VALIDATION)


@pytest.fixture(scope="module")
def energies() -> tuple[np.ndarray, np.ndarray]:
    """Distances and energies of dimers [sigma, epsilon]."""
    r = np.linspace(0.5, CUTOFF * (1.0 - 1e-9), 24_001)
    potential = LennardJonesPairs(1.0, 1.0, species=("Ar",), cutoff=CUTOFF, convention="truncated")
    return r, np.asarray(potential.bare_energy(jnp.asarray(r), jnp.zeros(len(r), int)))


def second_virial(temperature: float, r: np.ndarray, energy: np.ndarray) -> float:
    """B₂ = −2π ∫ (e^{−u/T} − 1) r² dr; a hard core below the grid, −4ε(σ/r)⁶ beyond it."""
    inside = 2.0 * np.pi * r[0] ** 3 / 3.0
    tail = -8.0 * np.pi / (3.0 * temperature * r[-1] ** 3)
    return float(inside - 2.0 * np.pi * simpson(np.expm1(-energy / temperature) * r**2, x=r) + tail)


@pytest.mark.parametrize("temperature", EXACT)
def test_second_virial_coefficient(temperature, energies):
    assert second_virial(temperature, *energies) == pytest.approx(EXACT[temperature], abs=2e-6)


def test_boyle_temperature(energies):
    assert brentq(lambda t: second_virial(t, *energies), 3.0, 4.0) == pytest.approx(3.41793, abs=1e-5)


def test_dimers_in_open_space_have_these_energies(energies):
    """The formula is the one that configurations are predicted with."""
    r, energy = (column[[100, 500, 900, 3000]] for column in energies)
    dimers = Configurations(
        species=("Ar",),
        positions=tuple(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, x]]) for x in r),
        types=(np.zeros(2, int),) * len(r),
        cell=np.zeros((len(r), 3, 3)),
        periodic=np.zeros((len(r), 3), bool),
        units=get_unit_system("lj"),
    )
    potential = LennardJonesPairs(1.0, 1.0, species=("Ar",), cutoff=CUTOFF, convention="truncated")
    batches = environments(dimers, CUTOFF)
    found = in_data_order(batches, [predict(potential, batch) for batch in batches])
    np.testing.assert_allclose(found.energy, energy, rtol=1e-12)
