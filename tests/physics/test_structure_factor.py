"""S(k) on the reciprocal vectors of a box: exact small cases, gases, crystals, and its relation to g(r)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.data import Frames, State, Topology, get_unit_system, radial_distribution
from bayescg.errors import InputError
from bayescg.physics import _frame_map as frame_map
from bayescg.physics import (
    kirkwood_buff_integral,
    partial_structure_factors,
    structure_factor,
    structure_factor_from_rdf,
    wave_vectors,
)

BOX = np.array([6.0, 7.0, 8.0])


def dimers(rng, *, n_frames, n_dimers, box, length):
    """Rigid dimers at random places and orientations."""
    middle = rng.uniform(0.0, box, (n_frames, n_dimers, 3))
    axis = rng.normal(size=(n_frames, n_dimers, 3))
    axis *= 0.5 * length / np.linalg.norm(axis, axis=-1, keepdims=True)
    return np.concatenate([middle + axis, middle - axis], axis=1)


def test_wave_vectors_are_all_of_one_half_space():
    vectors = wave_vectors(BOX, k_max=4.0, bin_width=0.5)
    both = np.concatenate([vectors.waves, -vectors.waves])
    assert len(np.unique(both, axis=0)) == len(both)
    grid = np.array(list(np.ndindex(13, 13, 13))) - 6
    length = np.linalg.norm(2 * np.pi * grid / BOX, axis=1)
    assert len(both) == np.sum((length > 0.0) & (length <= 4.0))
    length = np.linalg.norm(2 * np.pi * vectors.waves / BOX, axis=1)
    np.testing.assert_array_equal(
        vectors.counts, np.bincount((length / 0.5).astype(int))[1:]
    )  # no k below 0.5
    np.testing.assert_allclose(vectors.k[3], length[vectors.bins == 3].mean())


def test_two_particles():
    """S = 1 + cos(k·r), wherever the box's images of the two are taken."""
    r = np.array([1.1, -0.4, 2.3])
    vectors = wave_vectors(BOX, k_max=3.0)
    k = 2 * np.pi * vectors.waves / BOX
    expected = np.bincount(vectors.bins, 1.0 + np.cos(k @ r)) / vectors.counts
    pair = np.array([[0.3, 0.2, 0.1], r + [0.3, 0.2, 0.1]])
    moved = pair + np.array([[0, 0, 0], [3, -2, 5]]) * BOX
    for positions in (pair, moved):
        np.testing.assert_allclose(structure_factor(positions, BOX, vectors=vectors), expected, atol=1e-12)


def test_perfect_crystal_has_bragg_peaks_of_height_n_and_nothing_else():
    grid = np.array(list(np.ndindex(4, 4, 4)), float) * 1.5
    vectors = wave_vectors(np.full(3, 6.0), k_max=1.01 * 2 * np.pi / 1.5)
    found = np.asarray(structure_factor(grid, np.full(3, 6.0), vectors=vectors))
    np.testing.assert_allclose(vectors.k[-1], 2 * np.pi / 1.5)
    assert vectors.counts[-1] == 3
    bragg = np.zeros(len(found))
    bragg[-1] = 64.0
    np.testing.assert_allclose(found, bragg, atol=1e-10)


def test_ideal_gas_is_one():
    rng = np.random.default_rng(0)
    positions = rng.uniform(0.0, BOX, (400, 30, 3))
    vectors = wave_vectors(BOX, k_max=4.0, bin_width=0.5)
    found = np.asarray(structure_factor(positions, BOX, vectors=vectors))
    z = (found.mean(0) - 1.0) / (found.std(0) / np.sqrt(len(found)))
    assert np.all(np.abs(z) < 4.0) and 0.3 < np.sqrt(np.mean(z**2)) < 1.8


def test_dimers_and_their_partial_factors():
    """Of dimers at random S = 1 + sin(kd)/(kd), all of it between the two ends of a dimer."""
    length, n = 0.9, 15
    positions = dimers(np.random.default_rng(1), n_frames=500, n_dimers=n, box=BOX, length=length)
    vectors = wave_vectors(BOX, k_max=4.5)
    kd = np.linalg.norm(2 * np.pi * vectors.waves / BOX, axis=1) * length
    expected = np.bincount(vectors.bins, np.sin(kd) / kd) / vectors.counts
    types = np.repeat([0, 1], n)
    partial = np.asarray(partial_structure_factors(positions, BOX, types=types, vectors=vectors))
    total = np.asarray(structure_factor(positions, BOX, vectors=vectors))
    np.testing.assert_allclose(total, 0.5 * partial.sum(axis=(1, 2)), rtol=1e-10)
    for found, exact in ((total, 1 + expected), (partial[:, 0, 1], expected), (partial[:, 0, 0], 1.0)):
        z = (found.mean(0) - exact) / (found.std(0) / np.sqrt(len(found)))
        assert np.sqrt(np.mean(z**2)) < 1.3 and np.abs(z).max() < 5.0


def test_partial_factors_of_unequal_species():
    rng = np.random.default_rng(4)
    positions, types = rng.uniform(0.0, BOX, (2, 9, 3)), np.array([2, 0, 0, 1, 0, 2, 0, 0, 2])
    vectors = wave_vectors(BOX, k_max=3.0)
    k = 2 * np.pi * vectors.waves / BOX
    wave = np.exp(-1j * np.einsum("wx,fsx->fws", k, positions))
    density = np.stack([wave[..., types == a].sum(-1) / np.sqrt(np.sum(types == a)) for a in range(3)])
    found = np.asarray(partial_structure_factors(positions, BOX, types=types, vectors=vectors))
    assert found.shape == (2, 3, 3, len(vectors.k))
    for a, b in np.ndindex(3, 3):
        product = (density[a] * density[b].conj()).real
        for frame in range(2):
            exact = np.bincount(vectors.bins, product[frame]) / vectors.counts
            np.testing.assert_allclose(found[frame, a, b], exact, atol=1e-10)
    x = np.bincount(types) / 9
    total = np.einsum("a,b,fabk->fk", np.sqrt(x), np.sqrt(x), found)
    np.testing.assert_allclose(total, structure_factor(positions, BOX, vectors=vectors), atol=1e-10)


def test_agrees_with_the_transform_of_the_measured_rdf():
    """S(k) of the positions and from g(r) of the same frames, counted by the room of data."""
    box, n, length = np.full(3, 5.0), 10, 1.0
    positions = dimers(np.random.default_rng(2), n_frames=600, n_dimers=n, box=box, length=length)
    topology = Topology(("A",) * (2 * n), np.ones(2 * n))
    frames = Frames(positions, box, topology, State(1.0), get_unit_system("lj"))
    rdf = radial_distribution(frames, bin_width=0.02)
    vectors = wave_vectors(box, k_max=7.0)
    direct = np.asarray(structure_factor(positions, box, vectors=vectors))
    density = (2 * n - 1) / np.prod(box)  # radial_distribution counts pairs of different sites only
    # Beyond the dimer's partner g(r) is 1 − 1/(N − 1); a constant has no part in S at the reciprocal vectors of the box.
    g = rdf.rdf.values + 1.0 / (2 * n - 1)
    integral = structure_factor_from_rdf(g, edges=rdf.r_edges.values, k=vectors.k, density=density)
    z = (direct.mean(0) - integral) / (direct.std(0) / np.sqrt(len(direct)))
    assert np.sqrt(np.mean(z**2)) < 1.3 and np.abs(z).max() < 4.5
    assert np.ptp(integral) > 0.9  # not flat


def test_hole_in_g_gives_its_transform_and_the_compressibility_limit():
    edges = np.linspace(0.0, 3.0, 31)
    hole = np.where(edges[1:] < 1.05, 0.0, 1.0)
    k = np.array([0.0, 1e-5, 0.05, 0.299, 0.301, 2.0, 20.0])
    found = structure_factor_from_rdf(hole, edges=edges, k=k, density=0.2)
    x = k[2:]
    np.testing.assert_allclose(found[2:], 1 - 0.8 * np.pi * (np.sin(x) - x * np.cos(x)) / x**3, rtol=1e-10)
    np.testing.assert_allclose(found[:2], 1 - 0.2 * 4 * np.pi / 3, rtol=1e-9)
    far = np.append(edges, 200.0)
    g = kirkwood_buff_integral(np.append(hole, 1.0), edges=far)[-1]
    np.testing.assert_allclose(found[0], 1 + 0.2 * float(g), rtol=1e-6)
    cross = structure_factor_from_rdf(hole, edges=edges, k=k, density=0.2, self_term=0.0)
    np.testing.assert_allclose(cross, found - 1.0, atol=1e-12)


def test_batches_boxes_and_bounded_memory(monkeypatch):
    rng = np.random.default_rng(3)
    positions = rng.uniform(0.0, BOX, (2, 3, 11, 3))
    boxes = BOX * rng.uniform(0.9, 1.1, (2, 3, 1))
    vectors = wave_vectors(BOX, k_max=3.0, bin_width=0.5)
    together = structure_factor(positions, boxes, vectors=vectors)
    assert together.shape == (2, 3, len(vectors.k))
    alone = structure_factor(positions[1, 2], boxes[1, 2], vectors=vectors)
    np.testing.assert_allclose(together[1, 2], alone, rtol=1e-12)
    from bayescg.physics import _structure_factor as module

    monkeypatch.setattr(frame_map, "MAX_NUMBERS", 50)
    monkeypatch.setattr(module, "MAX_NUMBERS", 50)
    jax.clear_caches()
    np.testing.assert_allclose(structure_factor(positions, boxes, vectors=vectors), together, rtol=1e-12)

    def some(x):
        return jnp.sum(structure_factor(x, boxes, vectors=vectors) ** 2)

    step = rng.normal(size=positions.shape)
    slope = (some(positions + 1e-5 * step) - some(positions - 1e-5 * step)) / 2e-5
    np.testing.assert_allclose(np.sum(jax.grad(some)(positions) * step), slope, rtol=1e-6)


def test_bad_input():
    vectors = wave_vectors(BOX, k_max=2.0)
    with pytest.raises(InputError, match="open box"):
        wave_vectors(np.array([1.0, np.inf]), k_max=2.0)
    with pytest.raises(InputError, match="the shortest is"):
        wave_vectors(BOX, k_max=0.1)
    with pytest.raises(InputError, match="is open"):
        structure_factor(np.zeros((4, 3)), np.array([1.0, 1.0, np.inf]), vectors=vectors)
    with pytest.raises(InputError, match="positions have the shape"):
        structure_factor(np.zeros((4, 2)), BOX, vectors=vectors)
    with pytest.raises(InputError, match="one for each"):
        structure_factor(np.zeros((5, 4, 3)), np.ones((4, 3)), vectors=vectors)
    with pytest.raises(InputError, match="no site of species 1"):
        partial_structure_factors(np.zeros((2, 3)), BOX, types=np.array([0, 2]), vectors=vectors)
    with pytest.raises(InputError, match="one edge more"):
        structure_factor_from_rdf(np.ones(5), edges=np.arange(5.0), k=np.ones(1), density=1.0)
