"""Two- and three-body splines against a plain triple loop, and their design matrix against automatic derivatives."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from scipy.interpolate import BSpline

from bayescg.data import VOIGT
from bayescg.errors import InputError
from bayescg.physics import _design_matrix, _environment, design_matrix
from bayescg.physics._body_splines import BodySplines, triplet_functions
from bayescg.physics._environment import environments_of
from bayescg.physics._interatomic import SpeciesEnergies, pair_index
from bayescg.physics._pair_forms import MorsePairs

predict = jax.jit(_environment.predict)
predict_energy = jax.jit(_environment.predict_energy)


def random_splines(species, seed=1):
    rng = np.random.default_rng(seed)
    empty = BodySplines.uniform(species=species, pair=(1.8, 4.0, 5), triplet=(1.8, 3.2, 3), opposite=4)
    return empty.with_parameters(
        {name: rng.normal(size=v.shape) for name, v in empty.parameter_values().items()}
    )


def batches_of(sizes, species, cutoff, *, volume=12.0, seed=3, open_cell=False):
    rng = np.random.default_rng(seed)
    edges = [(n * volume) ** (1 / 3) for n in sizes]
    return environments_of(
        [rng.uniform(0, edge, (n, 3)) for n, edge in zip(sizes, edges)],
        [rng.integers(0, len(species), n) for n in sizes],
        np.array([np.zeros((3, 3)) if open_cell else edge * np.eye(3) for edge in edges]),
        np.full((len(sizes), 3), not open_cell),
        cutoff,
        species=species,
    )


def spline_values(knots, r, *, tangent=False):
    """The spline functions at one distance, by SciPy; those that do not vanish at the last knot left out."""
    knots = np.asarray(knots)
    width_left, width_right = knots[1] - knots[0], knots[-1] - knots[-2]
    t = np.concatenate(
        [knots[0] - width_left * np.arange(3, 0, -1), knots, knots[-1] + width_right * np.arange(1, 4)]
    )
    functions = [BSpline.basis_element(t[k : k + 5], extrapolate=False) for k in range(len(knots) - 1)]
    if tangent and r < knots[0]:
        values = [f(knots[0]) + f.derivative()(knots[0]) * (r - knots[0]) for f in functions]
    else:
        values = [f(r) for f in functions]
    return np.nan_to_num(values)


def loop_energy(potential, positions, types):
    """Energy of a cluster by loops over pairs and triplets."""
    n_side, functions = len(potential.triplet_knots) - 1, potential.functions
    energy = 0.0
    for i, j in itertools.combinations(range(len(positions)), 2):
        r = np.linalg.norm(positions[i] - positions[j])
        row = np.asarray(potential.pair)[pair_index(len(potential.species))[types[i], types[j]]]
        energy += row @ spline_values(potential.knots, r, tangent=True)
    for i in range(len(positions)):
        for j, k in itertools.combinations([a for a in range(len(positions)) if a != i], 2):
            sides = [np.zeros(n_side * len(potential.species)) for _ in range(2)]
            for side, other in zip(sides, (j, k)):
                first = types[other] * n_side
                r = np.linalg.norm(positions[i] - positions[other])
                side[first : first + n_side] = spline_values(potential.triplet_knots, r)
            opposite = spline_values(potential.opposite_knots, np.linalg.norm(positions[j] - positions[k]))
            for coefficient, (a, b, q) in zip(np.asarray(potential.triplet)[types[i]], functions):
                product = sides[0][a] * sides[1][b] + (a != b) * sides[0][b] * sides[1][a]
                energy += coefficient * product * opposite[q]
    return energy


@pytest.mark.parametrize("species", [("Ta",), ("C", "Si")])
def test_a_triple_loop_finds_the_same_energy(species):
    potential = random_splines(species)
    rng = np.random.default_rng(7)
    positions, types = rng.uniform(0, 3.0, (7, 3)), rng.integers(0, len(species), 7)
    (batch,) = environments_of(
        [positions], [types], np.zeros((1, 3, 3)), np.zeros((1, 3), bool), potential.cutoff, species=species
    )
    np.testing.assert_allclose(
        predict_energy(potential, batch)[0], loop_energy(potential, positions, types), rtol=1e-12
    )


@pytest.mark.parametrize("numbers", [2**25, 2**13])
@pytest.mark.parametrize("species", [("Ta",), ("C", "Si")])
def test_the_design_matrix_times_the_parameters_is_the_prediction(species, numbers, monkeypatch):
    monkeypatch.setattr(_design_matrix, "MAX_NUMBERS", numbers)
    potential = random_splines(species) + SpeciesEnergies(np.arange(1.0, 1 + len(species)), species=species)
    theta = np.concatenate([np.ravel(v) for v in potential.parameter_values().values()])
    for batch in batches_of([3, 8, 9, 1, 5], species, potential.cutoff):
        design, expected = design_matrix(potential, batch), predict(potential, batch)
        np.testing.assert_allclose(design.energy @ theta, expected.energy, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(design.forces @ theta, expected.forces, rtol=1e-10, atol=1e-11)
        stress = np.asarray(expected.stress)[:, *VOIGT]
        np.testing.assert_allclose(design.stress @ theta, stress, rtol=1e-10, atol=1e-12)


def test_columns_are_derivatives_by_the_parameters():
    potential = random_splines(("C", "Si"))
    (batch,) = batches_of([6], potential.species, potential.cutoff)
    design = design_matrix(potential, batch)
    by_name = jax.jit(jax.jacrev(lambda p: predict_energy(potential.with_parameters(p), batch)))(
        potential.parameter_values()
    )
    columns = np.concatenate([np.reshape(v, (len(design.energy), -1)) for v in by_name.values()], axis=1)
    np.testing.assert_allclose(design.energy, columns, rtol=1e-12, atol=1e-13)


def test_held_parameters_and_other_terms_have_no_columns():
    potential = random_splines(("Ta",)) + MorsePairs(0.3, 1.4, 2.6, species=("Ta",), cutoff=4.0)
    (batch,) = batches_of([6], ("Ta",), 4.0)
    with pytest.raises(InputError, match="MorsePairs is not linear in its parameters morse_depth"):
        design_matrix(potential, batch)
    linear = potential.vary("splines_triplet")
    design = design_matrix(linear, batch)
    values = linear.parameter_values()
    rest = predict_energy(linear.with_parameters({name: 0.0 * v for name, v in values.items()}), batch)
    np.testing.assert_allclose(
        design.energy @ np.ravel(values["splines_triplet"]) + rest,
        predict_energy(potential, batch),
        rtol=1e-12,
    )
    with pytest.raises(InputError, match="no parameter of the potential varies"):
        design_matrix(linear.hold("splines_triplet"), batch)


def test_forces_are_derivatives_of_the_energy():
    potential = random_splines(("C", "Si"))
    positions = np.random.default_rng(1).uniform(0, 2.8, (6, 3))

    def predicted(x):
        (batch,) = environments_of(
            [x],
            [np.array([0, 1, 0, 1, 1, 0])],
            4.1 * np.eye(3)[None],
            np.ones((1, 3), bool),
            4.0,
            species=potential.species,
        )
        return predict(potential, batch)

    forces, h = np.asarray(predicted(positions).forces), 1e-5
    for atom, axis in ((0, 0), (3, 1), (5, 2)):
        step = np.zeros_like(positions)
        step[atom, axis] = h
        slope = (predicted(positions + step).energy[0] - predicted(positions - step).energy[0]) / (2 * h)
        np.testing.assert_allclose(forces[atom, axis], -slope, rtol=1e-6, atol=1e-7)


def test_energies_of_many_atoms_come_in_parts():
    """The parts of at most MAX_TRIPLETS pairs of neighbours do not show."""
    potential = random_splines(("Ta",))
    (batch,) = batches_of([400], ("Ta",), potential.cutoff, volume=8.0)
    assert batch.vectors.shape[0] * batch.vectors.shape[1] ** 2 > 2**17
    sites = jax.jit(lambda potential, *environment: potential.site_energies(*environment))
    one = sites(potential, batch.vectors, batch.types, batch.neighbour_types)
    two = sites(potential, batch.vectors[:50], batch.types[:50], batch.neighbour_types[:50])
    np.testing.assert_allclose(one[:50], two, rtol=1e-12)


def test_only_the_nearest_neighbours_are_looked_at_where_a_bound_is_given():
    potential = random_splines(("C", "Si"))
    (batch,) = batches_of([9], potential.species, potential.cutoff)
    r = np.linalg.norm(batch.vectors, axis=-1)
    most = int((r < potential.triplet_knots[-1]).sum(axis=1).max())
    assert most < r.shape[1]
    bounded, too_few = (dataclasses.replace(potential, most_neighbours=n) for n in (most, most - 1))
    ours, theirs = predict(bounded, batch), predict(potential, batch)
    np.testing.assert_allclose(ours.energy, theirs.energy, rtol=1e-12)
    np.testing.assert_allclose(ours.forces, theirs.forces, rtol=1e-10, atol=1e-12)
    assert np.all(np.isnan(predict(too_few, batch).energy))


def test_functions_that_no_triangle_reaches_are_left_out():
    functions = triplet_functions(1, (2.0, 3.0, 4.0), (2.0, 4.0, 6.0, 8.0))
    assert np.all(functions[:, 0] <= functions[:, 1])
    rng = np.random.default_rng(0)
    seen = np.zeros((2, 2, 3), bool)
    for _ in range(4000):
        a, b = rng.uniform(0.5, 4.0, 2)
        c = np.sqrt(a * a + b * b - 2 * a * b * rng.uniform(-1, 1))
        values = [spline_values((2.0, 3.0, 4.0), x) for x in (a, b)] + [
            spline_values((2.0, 4.0, 6.0, 8.0), c)
        ]
        seen |= np.einsum("i,j,k->ijk", *values) > 0
    kept = np.zeros_like(seen)
    kept[tuple(functions.T)] = True
    assert not np.any(np.triu(seen.any(axis=2)) & ~kept.any(axis=2))
    first, second, opposite = np.nonzero(seen)
    assert np.all(kept[np.minimum(first, second), np.maximum(first, second), opposite])


def test_wrong_knots_are_named():
    with pytest.raises(InputError, match="knots must increase"):
        BodySplines(
            np.zeros((1, 2)),
            np.zeros((1, 1)),
            knots=(2.0, 4.0, 3.0),
            triplet_knots=(2.0, 3.0),
            opposite_knots=(2.0, 6.0),
            species=("Ta",),
        )
    with pytest.raises(InputError, match="4 knots of the pair functions are too few"):
        BodySplines.uniform(species=("Ta",), pair=(2.0, 4.0, 3), triplet=(2.0, 4.0, 3), opposite=3)
    with pytest.raises(InputError, match="make no basis"):
        BodySplines.uniform(species=("Ta",), pair=(5.0, 4.0, 3), triplet=(2.0, 4.0, 3), opposite=3)
    with pytest.raises(InputError, match="`triplet` has shape"):
        splines = random_splines(("Ta",))
        splines.with_parameters({**splines.parameter_values(), "splines_triplet": np.zeros((1, 2))})
