"""Tersoff's potential: known crystals, mixtures against the general form, lonely atoms."""

import jax
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from bayescg.errors import InputError
from bayescg.physics import _environment
from bayescg.physics._tersoff import Tersoff
from bayescg.physics._tersoff_mixture import TersoffMixture

predict = jax.jit(_environment.predict)
predict_energy = jax.jit(_environment.predict_energy)
SILICON = (
    3,
    1.0,
    0.0,
    1.0039e5,
    16.217,
    -0.59825,
    0.78734,
    1.1e-6,
    1.73222,
    471.18,
    2.85,
    0.15,
    2.4799,
    1830.8,
)
DIAMOND = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
DIAMOND = np.concatenate([DIAMOND, DIAMOND + 0.25])


def silicon(**changes):
    return Tersoff.from_entries({("Si",) * 3: SILICON}, species=("Si",), **changes)


def carbide():
    return TersoffMixture(
        A=[1393.6, 1830.8], B=[346.7, 471.18], decay=[3.4879, 2.4799], mu=[2.2119, 1.73222],
        beta=[1.5724e-7, 1.1e-6], n=[0.72751, 0.78734], c=[38049, 100390], d=[4.3484, 16.217],
        h=[-0.57058, -0.59825], chi=0.9776, R=(1.8, 2.7), S=(2.1, 3.0), species=("C", "Si"),
    )  # fmt: skip


def entries_of(potential):
    """The LAMMPS entries of a potential."""
    t = potential.table()
    columns = (t.gamma, t.lambda3, t.c, t.d, t.cos0, t.n, t.beta, t.lambda2, t.B, t.R, t.D, t.lambda1, t.A)
    index = list(np.ndindex((len(potential.species),) * 3))
    return {tuple(potential.species[s] for s in i): (t.m, *(float(c[i]) for c in columns)) for i in index}


@pytest.fixture(scope="module")
def disordered(batch_of):
    """A rattled crystal of two species, as the batch of a potential."""
    positions = 4.36 * DIAMOND + np.random.default_rng(2).normal(0, 0.08, (8, 3))

    def batch(potential):
        return batch_of(positions, [0, 1, 1, 0, 1, 0, 0, 1], 4.36 * np.eye(3), potential)

    return batch


@pytest.mark.parametrize(
    ("potential", "types", "constant", "energy"),
    [
        # Tersoff (1988), doi:10.1103/PhysRevB.38.9902, table II; Tersoff (1989), table II
        (silicon, [0] * 8, 5.432, -4.63),
        (carbide, [0] * 8, 3.566, -7.37),
        (carbide, [1] * 8, 5.432, -4.63),
        (carbide, [0] * 4 + [1] * 4, 4.32, -6.16),
    ],
)
def test_crystals_are_those_of_the_papers(potential, types, constant, energy, crystal_energy):
    potential = potential()
    found = minimize_scalar(
        lambda a: crystal_energy(potential, DIAMOND, a, types),
        bounds=(constant - 0.1, constant + 0.1),
        method="bounded",
    )
    np.testing.assert_allclose(found.x, constant, atol=0.005)
    np.testing.assert_allclose(found.fun, energy, atol=0.03)


def test_a_mixture_is_a_case_of_the_general_form(disordered):
    mixture = carbide()
    general = Tersoff.from_entries(entries_of(mixture), species=mixture.species)
    batch = disordered(mixture)
    ours, theirs = predict(mixture, batch), predict(general, batch)
    np.testing.assert_allclose(ours.energy, theirs.energy, rtol=1e-13)
    np.testing.assert_allclose(ours.forces, theirs.forces, rtol=1e-10, atol=1e-11)
    again = Tersoff.from_entries(entries_of(general), species=mixture.species)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(general.parameter_values().values(), again.parameter_values().values())
    )


def test_scalars_are_shared(batch_of):
    ours = silicon()
    names = [
        field for field in ("A", "B", "lambda1", "lambda2", "beta", "n", "gamma", "lambda3", "c", "d", "cos0")
    ]
    shared = Tersoff(*(float(getattr(ours, f)[0]) for f in names), R=ours.R, D=ours.D, species=("Si",))
    batch = batch_of(5.43 * DIAMOND, [0] * 8, 5.43 * np.eye(3), ours)
    np.testing.assert_allclose(predict_energy(shared, batch), predict_energy(ours, batch), rtol=1e-14)


@pytest.mark.parametrize(
    "positions", [[[0.0, 0, 0]], [[0.0, 0, 0], [2.3, 0, 0]], [[0.0, 0, 0], [2.3, 0, 0], [9.0, 0, 0]]]
)
def test_few_atoms_have_finite_derivatives(positions, batch_of, gradients_of):
    potential = silicon()
    batch = batch_of(positions, [0] * len(positions), np.zeros((3, 3)), potential)
    found = predict(potential, batch)
    assert np.all(np.isfinite(found.forces))
    gradients = gradients_of(potential, batch)
    assert all(np.all(np.isfinite(g)) for g in gradients.values())
    if len(positions) == 2:  # a full bond: ζ = 0
        pair = 1830.8 * np.exp(-2.4799 * 2.3) - 471.18 * np.exp(-1.73222 * 2.3)
        np.testing.assert_allclose(found.energy[0], pair, rtol=1e-12)


def test_every_parameter_matters(gradients_of, disordered):
    mixture = carbide()
    general = Tersoff.from_entries(
        {key: (row[0], row[1], 0.5, *row[3:]) for key, row in entries_of(mixture).items()},
        species=mixture.species,
    )
    batch = disordered(mixture)
    for potential in (mixture, general):
        gradients = gradients_of(potential, batch)
        for name, gradient in gradients.items():
            assert np.all(np.isfinite(gradient)) and np.all(gradient != 0.0), name


def test_parameters_can_be_held():
    potential = silicon().hold("tersoff_gamma", "tersoff_lambda3")
    assert "tersoff_gamma" not in potential.parameter_values()
    assert len(potential.parameters()) == 9


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Tersoff.from_entries({}, species=("Si",)), "no Tersoff entry for Si-Si-Si"),
        (
            lambda: Tersoff.from_entries({("Si",) * 3: SILICON[:-1]}, species=("Si",)),
            "13 numbers, 14 expected",
        ),
        (lambda: Tersoff.from_entries({("Si",) * 3: (2, *SILICON[1:])}, species=("Si",)), "m must be 1 or 3"),
        (
            lambda: Tersoff.from_entries(
                {**entries_of(carbide()), ("C", "Si", "Si"): SILICON}, species=("C", "Si")
            ),
            "i-j and j-i differ in A",
        ),
        (
            lambda: TersoffMixture(*[1.0] * 9, chi=1.0, R=(1.0,), S=(2.0,), species=("Si",)),
            "use Tersoff for a single one",
        ),
    ],
)
def test_wrong_input_is_named(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_jax_md_finds_the_same_energy(batch_of):
    from jax_md import energy, space

    potential = silicon()
    positions = 5.43 * DIAMOND + np.random.default_rng(0).normal(0, 0.1, (8, 3))
    batch = batch_of(positions, [0] * 8, np.zeros((3, 3)), potential)
    names = ("mTf", "gamma", "lam3", "cTf", "dTf", "hTf", "nTf", "beta", "lam2", "B", "R", "D", "lam1", "A")
    displacement, _ = space.free()
    theirs = energy.tersoff(displacement, [dict(zip(names, SILICON))])
    np.testing.assert_allclose(
        predict_energy(potential, batch)[0], theirs(positions), rtol=1e-7
    )  # it rounds to 32 bits
