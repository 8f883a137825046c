"""Vacancies and surfaces against LAMMPS and against laws.

The numbers of LAMMPS (version of 22 July 2025, metal units) are from crystals at the lattice constant without pressure:

    lattice fcc 5.308256254535562          # or diamond 5.430949778405214
    region cell block 0 4 0 4 0 4          # 4 x 4 x 4 cubic cells for the vacancy
    pair_style lj/smooth/linear 8.0        # or sw
    pair_coeff * * 0.0104 3.4
    group one id 1
    delete_atoms group one                 # or: change_box all z delta 0 20 units box, for a slab
    min_style cg
    minimize 0 1e-12 20000 100000

Slabs are oriented by `lattice … orient x 1 0 0 orient y 0 1 0 orient z 0 0 1` and `orient x 0 0 1 orient y 1 -1 0 orient z
1 1 0` with 6 cells along z (12 layers of atoms), and `orient x 1 -1 0 orient y 1 1 -2 orient z 1 1 1` with 12 layers.
"""

import equinox as eqx
import jax
import numpy as np
import pytest

from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.physics import (
    Bulk,
    Crystal,
    LennardJonesPairs,
    PropertyCode,
    StillingerWeber,
    SurfaceEnergy,
    VacancyEnergy,
)

METAL = get_unit_system("metal")

# relaxed, unrelaxed
VACANCY = (0.06490453935257179, 0.06539539606549027)  # eV
SURFACES = {  # J/m^2
    (1, 0, 0): (0.02618659429227579, 0.026285836202905116),
    (1, 1, 0): (0.028078474246907997, 0.02814998142583566),
    (1, 1, 1): (0.02465925674695396, 0.024676130215975926),
}
SILICON_111 = {"shuffle": 1.360027087709508, "glide": 4.080081263128614}


def values(one, potential, relaxed):
    found = eqx.filter_jit(lambda *data: data[0].evaluate_at(*data[1:]))(one, potential, relaxed)
    assert int(found.code) == PropertyCode.OK
    return np.asarray(found.values)


@pytest.fixture(scope="module")
def argon():
    potential = LennardJonesPairs(0.0104, 3.4, species=("Ar",), cutoff=8.0, convention="force_shifted")
    bulk = Bulk.of(Crystal.bulk("Ar", "fcc", a=5.25), potential)
    return potential, bulk, bulk.relaxed(potential)


@pytest.fixture(scope="module")
def silicon():
    potential = StillingerWeber.silicon()
    bulk = Bulk.of(Crystal.bulk("Si", "diamond", a=5.4), potential)
    return potential, bulk, bulk.relaxed(potential)


def test_the_vacancy_of_argon_is_that_of_lammps(argon):
    potential, bulk, relaxed = argon
    vacancy = VacancyEnergy.of(bulk, potential, repeats=(4, 4, 4), units=METAL)
    np.testing.assert_allclose(values(vacancy, potential, relaxed), VACANCY, rtol=1e-6)


@pytest.mark.parametrize(
    "miller", [pytest.param(m, marks=[] if m == (1, 1, 1) else pytest.mark.slow) for m in SURFACES]
)
def test_surfaces_of_argon_are_those_of_lammps(argon, miller):
    potential, bulk, relaxed = argon
    layers = 12
    surface = SurfaceEnergy.of(bulk, potential, miller=miller, layers=layers, units=METAL)
    np.testing.assert_allclose(values(surface, potential, relaxed), SURFACES[miller], rtol=1e-5)


@pytest.mark.slow
def test_the_silicon_111_surface_depends_on_the_cut(silicon):
    potential, bulk, relaxed = silicon
    for cut, energy in ((None, SILICON_111["shuffle"]), (0.9, SILICON_111["glide"])):
        surface = SurfaceEnergy.of(bulk, potential, miller=(1, 1, 1), layers=9, units=METAL, cut=cut)
        unrelaxed = values(surface, potential, relaxed)[1]
        assert unrelaxed == pytest.approx(energy, rel=1e-8)


@pytest.mark.slow
def test_two_vacancies_far_apart_cost_twice_as_much(silicon):
    potential, bulk, relaxed = silicon
    short = VacancyEnergy.of(bulk, potential, repeats=(2, 2, 2), units=METAL)
    long = VacancyEnergy.of(bulk, potential, repeats=(4, 2, 2), units=METAL, removed=_images(bulk))
    once, twice = values(short, potential, relaxed), values(long, potential, relaxed)
    np.testing.assert_allclose(twice, 2.0 * once, rtol=1e-9)
    np.testing.assert_allclose(once, 2.0 * 2.1683, rtol=1e-9)  # all bonds keep their length and angles


def _images(bulk):
    """The two atoms of the long supercell that are one of the short one."""
    from bayescg.physics._supercell import conventional_matrix, supercell

    large = supercell(bulk.crystal, conventional_matrix(bulk.crystal, (4, 2, 2)))
    apart = (large.positions - large.positions[0]) @ np.linalg.inv(large.cell) - [0.5, 0.0, 0.0]
    (other,) = np.flatnonzero(np.max(np.abs(apart - np.round(apart)), axis=1) < 1e-9)
    return 0, int(other)


@pytest.mark.slow
def test_thick_slabs_have_the_same_surface_energy(argon):
    potential, bulk, relaxed = argon
    thin, thick = (
        values(SurfaceEnergy.of(bulk, potential, miller=(1, 0, 0), layers=n, units=METAL), potential, relaxed)
        for n in (8, 14)
    )
    assert thin[1] == pytest.approx(thick[1], rel=1e-9)  # beyond the cutoff the faces do not see each other
    assert thin[0] == pytest.approx(thick[0], rel=1e-3)


@pytest.mark.slow
def test_derivatives_of_the_energies_are_those_of_finite_differences(argon):
    potential, bulk, _ = argon
    surface = SurfaceEnergy.of(bulk, potential, miller=(1, 1, 0), layers=14, units=METAL)

    def energies(sigma):
        moved = potential.with_parameters({"lj_epsilon": potential.epsilon, "lj_sigma": sigma})
        return surface.evaluate(moved).values

    exact = jax.jit(jax.jacfwd(energies))(3.4)
    plain, step = jax.jit(energies), 1e-4
    np.testing.assert_allclose(exact, (plain(3.4 + step) - plain(3.4 - step)) / (2.0 * step), rtol=1e-5)


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda p, b: VacancyEnergy.of(b, p, repeats=(1, 2, 2), units=METAL), "twice the cutoff"),
        (lambda p, b: VacancyEnergy.of(b, p, repeats=(2, 2, 2), units=METAL, removed=(64,)), "0 to 63"),
        (lambda p, b: VacancyEnergy.of(b, p, repeats=(2, 2, 2), units=METAL, removed=(1, 1)), "different"),
        (lambda p, b: SurfaceEnergy.of(b, p, miller=(1, 0, 0), layers=2, units=METAL), "give more layers"),
    ],
)
def test_cells_that_are_too_small_are_refused(silicon, make, says):
    potential, bulk, _ = silicon
    with pytest.raises(InputError, match=says) as refused:
        make(potential, bulk)
    assert "\n" not in str(refused.value)


def test_a_compound_has_no_single_vacancy_energy():
    potential = LennardJonesPairs([0.1, 0.1, 0.1], 2.0, species=("Zn", "S"), cutoff=5.0)
    bulk = Bulk.of(Crystal.bulk("ZnS", "zincblende", a=5.4), potential)
    with pytest.raises(InputError, match="chemical potential"):
        VacancyEnergy.of(bulk, potential, repeats=(2, 2, 2), units=METAL)
