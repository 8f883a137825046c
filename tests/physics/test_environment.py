"""Neighbour lists, and the padded batches that configurations of unequal size share."""

from pathlib import Path

import jax
import numpy as np
import pytest
from ase.build import bulk, molecule

from bayescg.data import Configurations, get_unit_system, read_configurations
from bayescg.errors import InputError
from bayescg.physics import StillingerWeber, _neighbourhoods
from bayescg.physics._environment import (
    FAR,
    environments,
    environments_of,
    in_data_order,
    predict,
    stacked,
)
from bayescg.physics._neighbourhoods import best_widths

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "dft"
SILICON = StillingerWeber.silicon()


def crystals(sizes, seed=1):
    """Disordered silicon crystals with so many cubic cells along x."""
    rng = np.random.default_rng(seed)
    atoms = [bulk("Si", "diamond", a=5.43, cubic=True).repeat((n, 1, 1)) for n in sizes]
    for one in atoms:
        one.positions += rng.normal(0, 0.15, one.positions.shape)
    return atoms


def configurations(atoms, species=("Si",)):
    return Configurations(
        species=species,
        positions=tuple(one.positions for one in atoms),
        types=tuple(np.zeros(len(one), int) for one in atoms),
        cell=np.array([one.cell.array for one in atoms]),
        periodic=np.array([one.pbc for one in atoms]),
        units=get_unit_system("metal"),
    )


def test_edges_come_in_opposite_pairs():
    atoms = crystals([1, 2, 1])
    (batch,) = environments(configurations(atoms), 5.0, n_widths=1)
    vectors, reverse = np.asarray(batch.vectors), np.asarray(batch.reverse)
    flat = reverse.ravel()
    np.testing.assert_array_equal(flat[flat], np.arange(flat.size))
    real = vectors[..., 0] != FAR
    np.testing.assert_array_equal(vectors.reshape(-1, 3)[reverse][real], -vectors[real])
    owner = np.arange(flat.size) // vectors.shape[1]
    np.testing.assert_array_equal(owner[reverse], np.asarray(batch.neighbours))
    rows = np.asarray(batch.row_reverse)
    np.testing.assert_array_equal(
        np.asarray(batch.rows)[:, ~real.T], np.array([[FAR], [0], [0]]) * np.ones((~real).sum())
    )
    np.testing.assert_array_equal(rows.ravel()[rows.ravel()], np.arange(rows.size))


@pytest.mark.parametrize("few", [0, 2**21])
def test_neighbours_are_all_images_within_the_cutoff(few, monkeypatch):
    monkeypatch.setattr(_neighbourhoods, "FEW_PAIRS", few)
    cell = np.array([[2.5, 0, 0], [1.1, 2.4, 0], [-0.7, 0.9, 2.6]])
    positions = np.array([[0.1, 0.2, 0.3], [7.0, -3.0, 1.0]])
    (batch,) = environments_of(
        [positions], [np.array([0, 1])], cell[None], np.array([[True, True, False]]), 6.0, species=("A", "B")
    )
    images = np.array([(i, j, 0) for i in range(-9, 10) for j in range(-9, 10)]) @ cell
    for i in range(2):
        every = (positions[:, None] + images - positions[i]).reshape(-1, 3)
        lengths = np.linalg.norm(every, axis=1)
        expected = every[(lengths > 0) & (lengths < 6.0)]
        found = np.asarray(batch.vectors)[i]
        found = found[found[:, 0] != FAR]
        assert len(found) == len(expected)
        np.testing.assert_allclose(
            found[np.lexsort(found.round(6).T)], expected[np.lexsort(expected.round(6).T)], atol=1e-12
        )
    assert np.isinf(batch.volume[0])


@pytest.mark.parametrize("seed", range(8))
def test_both_ways_to_find_neighbours_agree(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    cell, periodic = rng.normal(0, 1, (3, 3)) + 4 * np.eye(3), np.array([seed & 1, seed & 2, seed & 4], bool)
    cell[~periodic] *= seed % 3 > 0  # open directions with and without a vector
    positions = 8 * rng.normal(size=(12, 3))
    arguments = ([positions], [rng.integers(0, 2, 12)], cell[None], periodic[None], 4.4)
    found = []
    for few in (0, 2**21):
        monkeypatch.setattr(_neighbourhoods, "FEW_PAIRS", few)
        (batch,) = environments_of(*arguments, species=("A", "B"))
        near = np.asarray(batch.rows[0]) != FAR
        vectors = np.asarray(batch.rows)[:, near]
        edges = [
            np.nonzero(near)[1],
            np.asarray(batch.row_neighbours)[near],
            np.asarray(batch.row_types)[near],
        ]
        order = np.lexsort([*vectors.round(6), *edges])
        found.append((vectors[:, order], np.array(edges)[:, order]))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-12)
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_few_shapes_and_the_order_of_the_data():
    atoms = crystals([1, 3, 2, 1, 4, 2, 1, 1])
    data = configurations(atoms)
    run = jax.jit(predict)
    one = in_data_order(*_run(run, environments(data, SILICON.cutoff)))
    many = in_data_order(*_run(run, environments(data, SILICON.cutoff, n_widths=2, max_edges=200)))
    for a, b in zip(one, many):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)
    batches = environments(data, SILICON.cutoff, n_widths=2, max_edges=200)
    assert len(batches) > 3
    assert len({batch.rows.shape for batch in batches}) == len(stacked(batches)) <= 2
    together = [jax.lax.map(lambda batch: predict(SILICON, batch), some) for some in stacked(batches)]
    np.testing.assert_allclose(
        np.sort(np.concatenate([np.ravel(some.energy) for some in together]))[: len(atoms)],
        np.sort(one.energy),
    )


def _run(run, batches):
    before = run._cache_size()
    found = [run(SILICON, batch) for batch in batches]
    assert run._cache_size() - before <= len({batch.rows.shape for batch in batches})
    return batches, found


def test_open_and_periodic_configurations_share_a_batch():
    dimer, crystal = molecule("Si2"), crystals([1])[0]
    (batch,) = environments(configurations([dimer, crystal]), SILICON.cutoff, n_widths=1)
    found = predict(SILICON, batch)
    assert np.isinf(batch.volume[0]) and np.all(np.asarray(found.stress[0]) == 0.0)
    np.testing.assert_allclose(batch.volume[1], crystal.get_volume())


def test_widths_leave_as_few_fillers_as_possible():
    rng = np.random.default_rng(5)
    widths, sizes = 4 * rng.integers(1, 6, 30), rng.integers(1, 60, 30)
    for n in range(1, 7):
        chosen = best_widths(widths, sizes, n)
        assert len(chosen) <= n and chosen[-1] == widths.max()
        cost = sum(size * min(c for c in chosen if c >= width) for width, size in zip(widths, sizes))
        if n >= len(set(widths)):
            assert cost == np.sum(widths * sizes)
        else:
            assert cost < sum(
                size * min(c for c in best_widths(widths, sizes, n - 1) if c >= width)
                for width, size in zip(widths, sizes)
            ) or n == 1  # fmt: skip


def test_species_in_another_order():
    atoms = crystals([1])
    (batch,) = environments(configurations(atoms), 4.0, species=("C", "Si"))
    assert np.all(np.asarray(batch.types) == 1) and batch.species == ("C", "Si")
    with pytest.raises(InputError, match="the configurations contain Si, the potential knows C, Ge"):
        environments(configurations(atoms), 4.0, species=("C", "Ge"))


def test_bad_input():
    cell, periodic = 5.0 * np.eye(3)[None], np.ones((1, 3), bool)

    def build(positions, cutoff=4.0):
        return environments_of(
            [np.array(positions)], [np.zeros(len(positions), int)], cell, periodic, cutoff, species=("Si",)
        )

    with pytest.raises(InputError, match="configuration 0: two atoms lie at the same place"):
        build([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    with pytest.raises(InputError, match="configuration 0: its positions contain NaN"):
        build([[0.0, 0.0, np.nan]])
    with pytest.raises(InputError, match="must lie between 0 and 1000"):
        build([[0.0, 0.0, 0.0]], cutoff=-1.0)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not next to the repository")
@pytest.mark.parametrize("name, n_configurations", [("maml_Ta", 364), ("mlearn_Si", 239)])
def test_shapes_of_the_reference_sets(name, n_configurations):
    data = read_configurations(SHARED / f"{name}.extxyz.gz", units=get_unit_system("metal"))
    batches = environments(data, 4.0)
    assert sum(int(np.sum(batch.configuration_index >= 0)) for batch in batches) == n_configurations
    assert len({batch.rows.shape for batch in batches}) <= 3
    edges = sum(batch.row_types.size for batch in batches)
    fillers = sum(int(np.sum(batch.rows[0] == FAR)) for batch in batches)
    assert fillers < 0.5 * edges
