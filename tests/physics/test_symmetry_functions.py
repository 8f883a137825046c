"""Symmetry functions against plain loops, and the energies read from them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.errors import InputError
from bayescg.physics import _environment
from bayescg.physics._environment import environments_of
from bayescg.physics._symmetry_functions import SymmetryFunctions
from bayescg.physics._symmetry_potentials import LinearSymmetry, NeuralSymmetry, standardisation

predict = jax.jit(_environment.predict)


def functions_of(species):
    return SymmetryFunctions(
        ((0.5, 1.5), (2.0, 2.5)), ((0.02, 1.0, 1), (0.05, -1.0, 4)), species=species, cutoff=4.0
    )


def network(species):
    return NeuralSymmetry.random(jax.random.key(0), functions=functions_of(species), hidden=4)


def linear(species):
    functions = functions_of(species)
    weights = np.random.default_rng(0).normal(size=(len(species), functions.n_functions))
    return LinearSymmetry(weights, functions=functions)


def cluster(n, species, *, rotation=None, edge=3.5):
    rng = np.random.default_rng(11)
    positions, types = rng.uniform(0, edge, (n, 3)), np.arange(n) % len(species)
    if rotation is not None:
        positions = positions @ rotation + 1.0
    (batch,) = environments_of(
        [positions], [types], np.zeros((1, 3, 3)), np.zeros((1, 3), bool), 4.0, species=species
    )
    return positions, types, batch


def loops(functions, positions, types):
    def fade(r):
        return 0.5 * (np.cos(np.pi * r / functions.cutoff) + 1.0) if r < functions.cutoff else 0.0

    n, rows = len(functions.species), []
    for i in range(len(positions)):
        others = [j for j in range(len(positions)) if j != i]
        r = {j: np.linalg.norm(positions[j] - positions[i]) for j in others}
        row = [
            sum(np.exp(-eta * (r[j] - s) ** 2) * fade(r[j]) for j in others if types[j] == b)
            for b in range(n)
            for eta, s in functions.radial
        ]
        for b, c in itertools.combinations_with_replacement(range(n), 2):
            for eta, sign, zeta in functions.angular:
                total = 0.0
                for j, k in itertools.combinations(others, 2):
                    if sorted((types[j], types[k])) != [b, c]:
                        continue
                    opposite = np.linalg.norm(positions[j] - positions[k])
                    cos = (positions[j] - positions[i]) @ (positions[k] - positions[i]) / (r[j] * r[k])
                    fades = fade(r[j]) * fade(r[k]) * fade(opposite)
                    gauss = np.exp(-eta * (r[j] ** 2 + r[k] ** 2 + opposite**2))
                    total += 2.0 ** (1 - zeta) * (1 + sign * cos) ** zeta * gauss * fades
                row.append(total)
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("species", [("Si",), ("C", "Si")])
def test_plain_loops_find_the_same(species):
    functions = functions_of(species)
    positions, types, batch = cluster(6, species)
    ours = jax.jit(functions.__call__)(batch.vectors, batch.types, batch.neighbour_types)
    np.testing.assert_allclose(ours, loops(functions, positions, types), rtol=1e-11, atol=1e-13)
    assert ours.shape[1] == functions.n_functions


@pytest.mark.parametrize("make", [linear, network])
def test_energies_are_invariant_and_forces_turn(make):
    species = ("C", "Si")
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    potential = make(species)
    before, after = (predict(potential, cluster(6, species, rotation=q)[2]) for q in (None, rotation))
    np.testing.assert_allclose(after.energy, before.energy, rtol=1e-11)
    np.testing.assert_allclose(after.forces, before.forces @ rotation, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("make", [linear, network])
def test_forces_are_derivatives_and_every_weight_matters(make):
    species = ("C", "Si")
    potential = make(species)
    positions, types, batch = cluster(6, species)
    forces, h = np.asarray(predict(potential, batch).forces), 1e-5

    def energy(x):
        (moved,) = environments_of(
            [x], [types], np.zeros((1, 3, 3)), np.zeros((1, 3), bool), 4.0, species=species
        )
        return float(predict(potential, moved).energy[0])

    for atom, axis in ((0, 1), (4, 2)):
        step = np.zeros_like(positions)
        step[atom, axis] = h
        slope = (energy(positions + step) - energy(positions - step)) / (2 * h)
        np.testing.assert_allclose(forces[atom, axis], -slope, rtol=1e-6, atol=1e-8)

    def total(parameters):
        return _environment.predict_energy(potential.with_parameters(parameters), batch)[0]

    for name, gradient in jax.jit(jax.grad(total))(potential.parameter_values()).items():
        assert np.all(np.isfinite(gradient)) and np.all(gradient != 0.0), name


def test_a_lonely_atom_has_finite_derivatives():
    (batch,) = environments_of(
        [np.zeros((1, 3))],
        [np.zeros(1, int)],
        np.zeros((1, 3, 3)),
        np.zeros((1, 3), bool),
        4.0,
        species=("Si",),
    )
    assert np.all(np.isfinite(predict(network(("Si",)), batch).forces))


def test_standardised_functions_have_mean_0_and_spread_1():
    functions = functions_of(("C", "Si"))
    _, _, batch = cluster(12, ("C", "Si"), edge=5.0)
    centre, scale = standardisation(functions, [batch])
    found = functions(batch.vectors, batch.types, batch.neighbour_types)
    values = (found - jnp.asarray(centre)) / jnp.asarray(scale)
    np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-10)
    np.testing.assert_allclose(values.std(axis=0), 1.0, rtol=1e-8)
    weights = np.ones((2, functions.n_functions))
    potential = LinearSymmetry(weights, functions=functions, centre=centre, scale=scale)
    np.testing.assert_allclose(predict(potential, batch).energy[0], 0.0, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SymmetryFunctions((), (), species=("Si",), cutoff=4.0), "at least one function"),
        (lambda: SymmetryFunctions((), ((0.1, 1.0, 1.5),), species=("Si",), cutoff=4.0), "whole number"),
        (
            lambda: LinearSymmetry(np.zeros((1, 3)), functions=functions_of(("Si",))),
            r"`weights` has shape \(1, 3\)",
        ),
        (
            lambda: LinearSymmetry(
                np.zeros((1, 4)), functions=functions_of(("Si",)), scale=(1.0, 1.0, 1.0, 0.0)
            ),
            "scale positive",
        ),
    ],
)
def test_wrong_input_is_named(make, words):
    with pytest.raises(InputError, match=words):
        make()
