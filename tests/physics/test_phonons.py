"""Phonons against forces, elastic constants and the acoustic sum rule."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.physics import (
    Bulk,
    Crystal,
    LennardJonesPairs,
    PhononDispersion,
    PropertyCode,
    StillingerWeber,
    environments_of,
    predict,
    wave_vector_path,
)
from bayescg.physics._supercell import supercell

METAL = get_unit_system("metal")
MASS = 28.085  # ASE's


@pytest.fixture(scope="module")
def silicon():
    potential = StillingerWeber.silicon()
    bulk = Bulk.of(Crystal.bulk("Si", "diamond", a=5.4), potential)
    return potential, bulk, bulk.relaxed(potential)


def frequencies(bulk, potential, relaxed, waves):
    phonons = PhononDispersion.of(bulk, wave_vectors=waves, units=METAL)
    found = eqx.filter_jit(lambda *data: data[0].evaluate_at(*data[1:]))(phonons, potential, relaxed)
    assert int(found.code) == PropertyCode.OK
    return np.asarray(found.values).reshape(len(waves), -1)


def from_forces(potential, crystal, stretch, n_repeats):
    """Frequencies at the wave vectors that fit the supercell, from finite differences of `predict`'s forces [THz]."""
    stretched = Crystal(crystal.cell @ stretch.T, crystal.fractions, crystal.symbols, crystal.conventional)
    large = supercell(stretched, n_repeats * np.eye(3, dtype=int))
    step, n = 1e-4, len(large.parent)
    moved = [large.positions + sign * step * unit.reshape(n, 3) for unit in np.eye(3 * n) for sign in (1, -1)]
    batches = environments_of(
        moved, [np.zeros(n, int)] * len(moved), np.tile(large.cell, (len(moved), 1, 1)),
        np.ones((len(moved), 3), bool), potential.cutoff, species=potential.species, n_widths=1,
    )  # fmt: skip
    forces = np.concatenate([np.asarray(jax.jit(predict)(potential, b).forces) for b in batches])
    forces = forces[: n * len(moved)].reshape(3 * n, 2, 3 * n)
    hessian = -(forces[:, 0] - forces[:, 1]) / (2.0 * step)
    squares = np.linalg.eigvalsh(0.5 * (hessian + hessian.T)) / MASS * METAL.force_to_acceleration
    return np.sort(np.sign(squares) * np.sqrt(np.abs(squares)) / (2.0 * np.pi))


def test_all_frequencies_of_a_supercell_are_those_of_its_wave_vectors(silicon):
    potential, bulk, relaxed = silicon
    waves = np.array(list(np.ndindex(2, 2, 2))) / 2.0
    ours = np.sort(frequencies(bulk, potential, relaxed, waves).ravel())
    theirs = from_forces(potential, bulk.crystal, np.asarray(relaxed.stretch), 2)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)  # 0 comes out as the root of rounding errors
    np.testing.assert_allclose(ours[3:], theirs[3:], rtol=1e-5)


def test_acoustic_modes_vanish_at_gamma_and_their_slope_is_the_speed_of_sound(silicon):
    potential, bulk, relaxed = silicon
    small = 1e-3
    waves = np.array([[0, 0, 0], [0, small, small]])  # q = 2 pi/a (2 small, 0, 0)
    found = frequencies(bulk, potential, relaxed, waves)
    assert np.max(np.abs(found[0, :3])) < 1e-5
    np.testing.assert_allclose(found[0, 3:], found[0, 3], rtol=1e-8)  # three equal optical ones
    a = 5.4 * float(relaxed.stretch[0, 0])
    q = 2.0 * np.pi / a * 2.0 * small
    reciprocal = 2.0 * np.pi * np.linalg.inv(bulk.crystal.cell @ np.asarray(relaxed.stretch).T).T
    np.testing.assert_allclose(waves[1] @ reciprocal, [q, 0, 0], atol=1e-12)
    density = 8.0 * MASS / a**3
    speeds = 2.0 * np.pi * found[1, :3] / q  # Å/ps
    for speed, constant in zip(speeds, (56.44934, 56.44934, 151.42449)):  # C44 twice, C11 [GPa]
        expected = np.sqrt(constant / 160.2176634 / density * METAL.force_to_acceleration)
        assert speed == pytest.approx(expected, rel=2e-5)


def test_unstable_modes_are_negative_numbers():
    argon = LennardJonesPairs(0.0104, 3.4, species=("Ar",), cutoff=8.0, convention="force_shifted")
    bulk = Bulk.of(Crystal.bulk("Ar", "sc", a=3.7), argon)
    relaxed = bulk.relaxed(argon)
    assert int(relaxed.code) == PropertyCode.UNSTABLE
    assert frequencies(bulk, argon, relaxed, np.array([[0.5, 0.5, 0.0]])).min() < -0.1


def test_paths_go_through_special_points():
    crystal = Crystal.bulk("Si", "diamond", a=5.43)
    path = wave_vector_path(crystal, "GXWKGL", n_points=20)
    assert path.shape == (20, 3)
    with pytest.raises(InputError, match="special points of this lattice are"):
        wave_vector_path(crystal, "GY", n_points=5)


@pytest.mark.parametrize("waves", [np.zeros(3), np.zeros((2, 2)), np.full((1, 3), np.nan)])
def test_bad_wave_vectors_are_refused(silicon, waves):
    with pytest.raises(InputError, match="wave vectors"):
        PhononDispersion.of(silicon[1], wave_vectors=waves, units=METAL)


def test_reduced_units_need_masses(silicon):
    with pytest.raises(InputError, match="mass for Si"):
        PhononDispersion.of(silicon[1], wave_vectors=jnp.zeros((1, 3)), units=get_unit_system("lj"))
