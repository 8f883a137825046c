"""Sizes of chains, superposition, fluctuations and angles: closed forms and invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.spatial.transform import Rotation

from bayescg.errors import InputError
from bayescg.physics import (
    angle_distribution,
    bond_angles,
    dihedral_angles,
    dihedral_distribution,
    end_to_end_distance,
    radius_of_gyration,
    rmsf,
    superpose,
    whole_chains,
)

OPEN = np.full(3, np.inf)
CUBE = np.array(list(np.ndindex(2, 2, 2)), float)


def random_directions(rng, *shape):
    x = rng.normal(size=(*shape, 3))
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def z_score(values, exact):
    return (values.mean() - exact) / (values.std() / np.sqrt(len(values)))


@pytest.mark.parametrize("n", [1, 2, 10])
def test_freely_jointed_chain(n):
    b = 1.7
    bonds = b * random_directions(np.random.default_rng(n), 20_000, n)
    chains = np.concatenate([np.zeros((20_000, 1, 3)), np.cumsum(bonds, axis=1)], axis=1)
    r2, rg2 = np.asarray(end_to_end_distance(chains)) ** 2, np.asarray(radius_of_gyration(chains)) ** 2
    expected = n * (n + 2) / (6 * (n + 1)) * b**2
    if n == 1:
        np.testing.assert_allclose(r2, b**2)
        np.testing.assert_allclose(rg2, expected)
    else:
        assert abs(z_score(r2, n * b**2)) < 4.0 and abs(z_score(rg2, expected)) < 4.0


def test_radius_of_gyration_with_masses_and_its_gradient():
    rng = np.random.default_rng(0)
    x, masses = rng.normal(size=(3, 5, 3)), rng.uniform(1.0, 9.0, 5)
    apart = x[:, :, None] - x[:, None]
    pairs = np.einsum("i,j,fijx->f", masses, masses, apart**2) / (
        2 * masses.sum() ** 2
    )  # Lagrange's identity
    np.testing.assert_allclose(radius_of_gyration(x, masses=masses) ** 2, pairs)
    check_grads(lambda y: radius_of_gyration(y, masses=masses), (jnp.asarray(x),), order=1, modes=["rev"])


def test_wrapped_chains_become_whole():
    rng = np.random.default_rng(1)
    box = np.array([5.0, 6.0, np.inf])
    chain = np.cumsum(random_directions(rng, 4, 30), axis=1)
    chain += rng.uniform(0.0, 5.0, (4, 1, 3)) - chain[:, :1]
    wrapped = chain.copy()
    wrapped[..., :2] %= box[:2]
    assert np.abs(wrapped - chain).max() > 4.0
    np.testing.assert_allclose(whole_chains(wrapped, box), chain, atol=1e-12)


def test_superposition_undoes_a_rigid_motion_and_is_the_best_one():
    rng = np.random.default_rng(2)
    target, weights = rng.normal(size=(9, 3)), rng.uniform(0.5, 3.0, 9)
    turns = Rotation.random(5, random_state=3)
    moved = np.stack([turn.apply(target) for turn in turns]) + rng.normal(size=(5, 1, 3))
    found = superpose(moved, target, masses=weights)
    np.testing.assert_allclose(found.positions, np.tile(target, (5, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(found.rotation, turns.inv().as_matrix(), atol=1e-12)
    np.testing.assert_allclose(found.rmsd, 0.0, atol=1e-7)

    noisy = moved[0] + 0.3 * rng.normal(size=target.shape)
    mean = np.average(target, axis=0, weights=weights)
    _, rssd = Rotation.align_vectors(
        target - mean, noisy - np.average(noisy, axis=0, weights=weights), weights=weights
    )
    best = superpose(noisy, target, masses=weights)
    assert float(best.rmsd) == pytest.approx(rssd / np.sqrt(weights.sum()), rel=1e-9)
    left = np.sum((np.asarray(best.positions) - target) ** 2, axis=1)
    assert float(best.rmsd) == pytest.approx(np.sqrt(np.average(left, weights=weights)), rel=1e-9)


def test_a_mirror_image_stays_one():
    hand = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    found = superpose(-hand, hand)
    assert float(jnp.linalg.det(found.rotation)) == pytest.approx(1.0) and float(found.rmsd) > 0.3


@pytest.mark.parametrize(
    "target", [CUBE, CUBE * [1.0, 1.0, 0.0], np.random.default_rng(4).normal(size=(8, 3))]
)
def test_gradients_of_superposition_also_of_symmetric_structures(target):
    rng = np.random.default_rng(5)
    x, step, weight = (rng.normal(size=(8, 3)) for _ in range(3))
    x = target + 0.02 * x * (target is not CUBE)  # the cube itself has three equal singular values

    def some(y):
        found = superpose(y, target)
        return jnp.sum(weight * found.positions) + jnp.where(found.rmsd > 1e-3, found.rmsd, 0.0)

    slope = (some(x + 1e-6 * step) - some(x - 1e-6 * step)) / 2e-6
    assert float(jnp.sum(jax.grad(some)(x) * step)) == pytest.approx(float(slope), rel=1e-5)


def test_rmsf_of_gaussian_noise_under_rigid_motion():
    """To first order in the noise the six rigid motions of the mean structure are projected out, site by site."""
    rng = np.random.default_rng(6)
    n_frames, sigma = 3000, 0.02
    mean = rng.normal(size=(10, 3)) * [2.0, 1.0, 0.5]
    mean -= mean.mean(0)
    frames = mean + sigma * rng.normal(size=(2, n_frames, 10, 3))
    turns = Rotation.random(2 * n_frames, random_state=7).as_matrix().reshape(2, n_frames, 3, 3)
    frames = np.einsum("rfij,rfsj->rfsi", turns, frames) + rng.normal(size=(2, n_frames, 1, 3))
    shifts = [np.tile(axis, (10, 1)) for axis in np.eye(3)]
    modes = np.stack([*shifts, *(np.cross(axis, mean) for axis in np.eye(3))]).reshape(6, -1)
    rigid = np.sum(np.linalg.qr(modes.T)[0] ** 2, axis=1).reshape(10, 3).sum(1)
    expected = sigma * np.sqrt((3.0 - rigid) * (1.0 - 1.0 / n_frames))
    found = np.asarray(rmsf(frames))
    assert found.shape == (2, 10)
    error = expected / np.sqrt(2 * 2 * n_frames)  # an upper bound holds for at least two free directions
    assert np.all(np.abs(found - expected) < 4.0 * error) and np.ptp(expected) > 15 * error.max()
    assert np.sum(found[0] ** 2) == pytest.approx((30 - 6) * sigma**2, rel=0.02)
    assert float(jnp.max(rmsf(frames[0, :2] * 0 + mean))) < 1e-7


def test_rmsf_does_not_depend_on_the_frame_that_comes_first():
    rng = np.random.default_rng(13)
    frames = rng.normal(size=(8, 3)) + 0.4 * rng.normal(size=(50, 8, 3))
    masses = rng.uniform(1.0, 5.0, 8)
    here, there = (
        rmsf(frames, masses=masses, n_iterations=40),
        rmsf(frames[::-1], masses=masses, n_iterations=40),
    )
    np.testing.assert_allclose(here, there, rtol=1e-8)
    assert np.abs(rmsf(frames, n_iterations=1) / rmsf(frames[::-1], n_iterations=1) - 1).max() > 1e-5


def test_angles_exact_periodic_and_invariant():
    box = np.array([4.0, 5.0, 6.0])
    corner = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, 1.0, 1.0]])
    triplets = np.array([[0, 1, 2], [1, 2, 3], [2, 1, 0]])
    far = corner + np.array([[1, 0, 0], [0, 0, 0], [0, -2, 0], [0, 0, 3]]) * box
    np.testing.assert_allclose(bond_angles(corner, OPEN, triplets=triplets), np.radians([135, 90, 135]))
    np.testing.assert_allclose(bond_angles(far, box, triplets=triplets), np.radians([135, 90, 135]))
    tiny = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [-1.0, 1e-9, 0.0]])
    found = float(bond_angles(tiny, OPEN, triplets=np.array([[0, 1, 2]]))[0])
    assert np.pi - found == pytest.approx(1e-9, rel=1e-6)  # an arccos would give 0
    rng = np.random.default_rng(8)
    x = rng.normal(size=(6, 4, 3))
    turned = Rotation.random(random_state=9).apply(x.reshape(-1, 3)).reshape(x.shape) + 4.0
    four = np.array([[0, 1, 2, 3]])
    np.testing.assert_allclose(
        bond_angles(turned, OPEN, triplets=triplets), bond_angles(x, OPEN, triplets=triplets), atol=1e-12
    )
    dihedrals = dihedral_angles(x, OPEN, quadruplets=four)
    np.testing.assert_allclose(dihedral_angles(turned, OPEN, quadruplets=four), dihedrals, atol=1e-12)
    np.testing.assert_allclose(dihedral_angles(-x, OPEN, quadruplets=four), -dihedrals, atol=1e-12)
    np.testing.assert_allclose(dihedral_angles(x[:, ::-1], OPEN, quadruplets=four), dihedrals, atol=1e-12)


@pytest.mark.parametrize("phi", [-179.0, -60.0, 0.0, 35.0, 180.0])
def test_dihedral_by_construction(phi):
    """The last site turned by φ clockwise, seen along the middle bond (z)."""
    p = np.radians(phi)
    chain = np.array([[1.0, 0.0, 0.3], [0.0, 0.0, 0.0], [0.0, 0.0, 1.5], [np.cos(p), np.sin(p), 2.0]])
    found = float(dihedral_angles(chain, OPEN, quadruplets=np.array([[0, 1, 2, 3]]))[0])
    assert np.cos(found) == pytest.approx(np.cos(p)) and np.sin(found) == pytest.approx(np.sin(p), abs=1e-12)


def test_gradients_of_angles():
    x = jnp.asarray(np.random.default_rng(10).normal(size=(2, 4, 3)))
    check_grads(
        lambda y: bond_angles(y, OPEN, triplets=np.array([[0, 1, 2], [1, 2, 3]])),
        (x,),
        order=1,
        modes=["rev"],
    )
    check_grads(
        lambda y: jnp.sin(dihedral_angles(y, OPEN, quadruplets=np.array([[0, 1, 2, 3]]))),
        (x,),
        order=1,
        modes=["rev"],
    )


def test_angle_distribution_tells_the_jacobian_apart():
    """Angles of weight exp(κ cos θ): the relative distribution falls as exp(κ cos θ), the density times sin θ more."""
    rng = np.random.default_rng(11)
    kappa, n = 1.5, 200_000
    u = rng.uniform(size=n)
    cosine = np.log(np.exp(-kappa) + u * (np.exp(kappa) - np.exp(-kappa))) / kappa
    edges = np.linspace(0.0, np.pi, 25)
    found = angle_distribution(np.arccos(cosine), edges=edges)
    assert float(jnp.sum(found.density * np.diff(edges))) == pytest.approx(1.0)
    c = np.cos(edges)
    exact = (np.exp(kappa * c[:-1]) - np.exp(kappa * c[1:])) / (2 * np.sinh(kappa))
    error = np.sqrt(exact / n)
    assert np.all(np.abs(found.density * np.diff(edges) - exact) < 4.5 * error)
    relative = (
        kappa / np.sinh(kappa) * (np.exp(kappa * c[:-1]) - np.exp(kappa * c[1:])) / (kappa * (c[:-1] - c[1:]))
    )
    np.testing.assert_allclose(found.relative, relative, atol=0.0, rtol=5 * np.max(error / exact))


def test_random_directions_are_flat_and_rows_are_frames():
    rng = np.random.default_rng(12)
    ends = random_directions(rng, 50, 400, 2)
    sites = np.concatenate([ends[:, :, :1], np.zeros((50, 400, 1, 3)), ends[:, :, 1:]], axis=2)
    angles = bond_angles(sites, OPEN, triplets=np.array([[0, 1, 2]]))[..., 0]
    found = np.asarray(angle_distribution(angles, edges=np.linspace(0.0, np.pi, 13)).relative)
    assert found.shape == (50, 12)
    z = (found.mean(0) - 1.0) / (found.std(0) / np.sqrt(50))
    assert np.all(np.abs(z) < 4.5)
    dihedrals = rng.uniform(-np.pi, np.pi, (50, 400))
    density = np.asarray(dihedral_distribution(dihedrals, edges=np.linspace(-np.pi, np.pi, 9)))
    z = (density.mean(0) - 0.5 / np.pi) / (density.std(0) / np.sqrt(50))
    assert np.all(np.abs(z) < 4.5)
    ends_count = angle_distribution(np.array([0.0, np.pi], np.float32), edges=np.array([0.0, 1.0, np.pi]))
    assert np.all(np.asarray(ends_count.density) > 0.0)  # both limits belong to the bins


def test_bad_input():
    x = np.zeros((4, 3))
    with pytest.raises(InputError, match="expected 0 to 3"):
        bond_angles(x, OPEN, triplets=np.array([[0, 1, 4]]))
    with pytest.raises(InputError, match="whole numbers"):
        dihedral_angles(x, OPEN, quadruplets=np.array([[0, 1, 2]]))
    with pytest.raises(InputError, match="edges must rise"):
        angle_distribution(np.ones(3), edges=np.array([-1.0, 1.0]))
    with pytest.raises(InputError, match="masses"):
        radius_of_gyration(x, masses=np.ones(3))
    with pytest.raises(InputError, match="of the same sites"):
        superpose(x, x[:3])
    with pytest.raises(InputError, match="frame, site, dim"):
        rmsf(x)
    with pytest.raises(InputError, match="at least 1"):
        rmsf(x[None], n_iterations=0)
