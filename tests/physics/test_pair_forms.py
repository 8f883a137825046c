"""Pair formulas over several species: their conventions, their guards and their shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.errors import InputError
from bayescg.physics import _environment
from bayescg.physics._environment import environments_of
from bayescg.physics._ionic_pairs import BuckinghamPairs, ScreenedCoulomb
from bayescg.physics._pair_forms import GaussianPairs, LennardJonesPairs, MiePairs, MorsePairs

predict = jax.jit(_environment.predict)
AB = ("A", "B")
CONVENTIONS = {
    "truncated": {"convention": "truncated"},
    "shifted": {"convention": "shifted"},
    "force_shifted": {"convention": "force_shifted"},
    "smooth": {"convention": "smooth", "onset": 4.0},
}
CONSTRUCTORS = {
    "lj": lambda **more: LennardJonesPairs([0.1, 0.2, 0.3], [2.5, 2.4, 2.3], species=AB, cutoff=5.0, **more),
    "mie": lambda **more: MiePairs(
        [0.1, 0.2, 0.3], 2.5, [12.0, 11.0, 10.5], [6.0, 5.0, 5.5], species=AB, cutoff=5.0, **more
    ),
    "morse": lambda **more: MorsePairs([0.3, 0.4, 0.5], 1.5, [2.7, 2.6, 2.5], species=AB, cutoff=5.0, **more),
    "buckingham": lambda **more: BuckinghamPairs(
        1500.0, [0.3, 0.31, 0.32], [10.0, 20.0, 30.0], core=1.5, species=AB, cutoff=5.0, **more
    ),
    "gaussian": lambda **more: GaussianPairs(
        [[0.5, -0.2], [0.4, -0.3], [0.3, 0.1]],
        [[2.0, 3.0]] * 3,
        [[0.5, 0.6]] * 3,
        species=AB,
        cutoff=5.0,
        **more,
    ),
    "coulomb": lambda **more: ScreenedCoulomb([0.8, -1.1], 2.0, coulomb=14.4, species=AB, cutoff=5.0, **more),
}
FORMS = [(form, convention) for form in CONSTRUCTORS for convention in CONVENTIONS]


def make(form, convention):
    return CONSTRUCTORS[form](**CONVENTIONS[convention])


def values(potential, r, pair):
    return np.asarray(potential.pair_energy(jnp.asarray(r), jnp.full(np.shape(r), pair)))


def cluster(positions, types, cutoff):
    (batch,) = environments_of(
        [np.asarray(positions, float)],
        [np.asarray(types)],
        np.zeros((1, 3, 3)),
        np.zeros((1, 3), bool),
        cutoff,
        species=AB,
    )
    return batch


@pytest.mark.parametrize(("form", "convention"), FORMS)
def test_a_dimer_has_its_pair_energy_and_force(form, convention):
    potential = make(form, convention)
    for pair, types in enumerate([(0, 0), (0, 1), (1, 1)]):
        found = predict(potential, cluster([[0, 0, 0], [0, 2.55, 0]], types, 5.0))
        at, h = 2.55, 1e-6
        low, middle, high = values(potential, [at - h, at, at + h], pair)
        np.testing.assert_allclose(found.energy[0], middle, rtol=1e-12)
        np.testing.assert_allclose(found.forces[1, 1], -(high - low) / (2 * h), rtol=1e-6)
        np.testing.assert_allclose(found.forces[0], -found.forces[1], atol=1e-15)


@pytest.mark.parametrize("form", CONSTRUCTORS)
def test_what_happens_at_the_cutoff(form):
    h = 1e-7
    bare = values(make(form, "truncated"), [5.0 - h, 5.0 - 2 * h], 1)
    slope = (bare[0] - bare[1]) / h
    for convention in CONVENTIONS:
        potential = make(form, convention)
        np.testing.assert_array_equal(values(potential, [5.0, 5.1, 1e3], 1), 0.0)
        near = values(potential, [5.0 - h, 5.0 - 2 * h], 1)
        jump = {"truncated": bare[0]}.get(convention, 0.0)
        kink = slope if convention in ("truncated", "shifted") else 0.0
        np.testing.assert_allclose(
            near[0], jump - kink * h * (convention == "shifted"), atol=1e-12 + 1e-6 * h
        )
        np.testing.assert_allclose((near[0] - near[1]) / h, kink, atol=1e-6)


@pytest.mark.parametrize("form", CONSTRUCTORS)
def test_smooth_leaves_the_inside_alone(form):
    r = np.linspace(2.0, 3.99, 20)
    np.testing.assert_allclose(
        values(make(form, "smooth"), r, 2), values(make(form, "truncated"), r, 2), rtol=1e-14
    )


@pytest.mark.parametrize(("form", "convention"), FORMS)
def test_every_parameter_matters_and_every_derivative_is_finite(form, convention):
    potential = make(form, convention)
    rng = np.random.default_rng(3)
    batch = cluster(rng.uniform(0, 4.5, (12, 3)), [0, 1] * 6, 5.0)

    @jax.jit
    def energy(parameters):
        return _environment.predict_energy(potential.with_parameters(parameters), batch)[0]

    for name, gradient in jax.grad(energy)(potential.parameter_values()).items():
        assert np.all(np.isfinite(gradient)), name
        assert np.all(np.abs(gradient) > 1e-12), name
    assert [info.name for info in potential.parameters()] == list(potential.parameter_values())
    assert all(info.shape == potential.parameter_values()[info.name].shape for info in potential.parameters())


def test_wells_lie_where_they_should():
    lj = LennardJonesPairs(0.2, 2.5, species=("Ar",), cutoff=9.0, convention="truncated")
    np.testing.assert_allclose(values(lj, [2.5, 2.5 * 2 ** (1 / 6)], 0), [0.0, -0.2], atol=1e-15)
    mie = MiePairs(0.2, 2.5, 12, 6, species=("Ar",), cutoff=9.0, convention="truncated")
    r = np.linspace(2.0, 8.0, 30)
    np.testing.assert_allclose(values(mie, r, 0), values(lj, r, 0), rtol=1e-13)
    odd = MiePairs(0.2, 2.5, 14.3, 6.6, species=("Ar",), cutoff=9.0, convention="truncated")
    minimum = 2.5 * (14.3 / 6.6) ** (1 / (14.3 - 6.6))
    np.testing.assert_allclose(values(odd, [2.5, minimum], 0), [0.0, -0.2], atol=1e-15)
    morse = MorsePairs(0.3, 1.4, 2.8, species=("Cu",), cutoff=9.0, convention="truncated")
    np.testing.assert_allclose(values(morse, 2.8, 0), -0.3, rtol=1e-15)


def test_a_scalar_is_shared_by_all_pairs():
    one = MorsePairs(0.3, 1.4, 2.8, species=AB, cutoff=6.0)
    many = MorsePairs([0.3] * 3, [1.4] * 3, [2.8] * 3, species=AB, cutoff=6.0)
    batch = cluster(np.random.default_rng(0).uniform(0, 4, (6, 3)), [0, 1, 0, 1, 1, 0], 6.0)
    np.testing.assert_allclose(predict(one, batch).forces, predict(many, batch).forces, rtol=1e-14)
    assert one.parameters()[0].shape == ()


def test_buckingham_repels_however_close():
    potential = CONSTRUCTORS["buckingham"](convention="shifted")
    r = np.linspace(0.01, 1.5, 50)
    for pair in range(3):
        assert np.all(np.diff(values(potential, r, pair)) < 0)
        step = values(potential, [1.5 - 1e-7, 1.5, 1.5 + 1e-7], pair)
        np.testing.assert_allclose(step[2] - step[1], step[1] - step[0], rtol=1e-4)
    with pytest.raises(InputError, match="attracts at the core distance"):
        BuckinghamPairs(1500.0, 0.3, 1000.0, core=1.0, species=("O",), cutoff=6.0)
    with pytest.raises(InputError, match="attracts"):
        potential.with_parameters({**potential.parameter_values(), "buckingham_C": [10.0, 20.0, 3e4]})


def test_charges_attract_and_repel():
    potential = ScreenedCoulomb(
        [1.0, -1.0], 1e9, coulomb=14.399645, species=AB, cutoff=6.0, convention="truncated"
    )
    np.testing.assert_allclose(
        [values(potential, 2.0, p) for p in range(3)], [7.1998225, -7.1998225, 7.1998225], rtol=1e-8
    )


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (lambda: LennardJonesPairs([0.1, 0.2], 2.5, species=AB, cutoff=5.0), r"epsilon.*\(3,\)"),
        (lambda: LennardJonesPairs(0.1, 2.5, species=AB, cutoff=-1.0), "must be positive"),
        (
            lambda: LennardJonesPairs(0.1, 2.5, species=AB, cutoff=5.0, convention="sharp"),
            "unknown.*force_shifted",
        ),
        (lambda: LennardJonesPairs(0.1, 2.5, species=AB, cutoff=5.0, onset=4.0), "belongs to the convention"),
        (
            lambda: LennardJonesPairs(0.1, 2.5, species=AB, cutoff=5.0, convention="smooth", onset=6.0),
            "between 0 and the cutoff",
        ),
        (lambda: GaussianPairs([[0.1]], [[2.0]], [[0.5]], species=AB, cutoff=5.0), r"\(3, "),
        (
            lambda: ScreenedCoulomb(1.0, 2.0, coulomb=14.4, species=AB, cutoff=5.0),
            "one charge for each of A, B",
        ),
        (lambda: BuckinghamPairs(1.0, 0.3, 0.0, core=6.0, species=AB, cutoff=5.0), "core 6.0"),
    ],
)
def test_wrong_input_is_named(make_it, words):
    with pytest.raises(InputError, match=words):
        make_it()


def test_jax_md_has_the_same_formulas():
    from jax_md import energy

    r = jnp.linspace(2.0, 6.0, 30)
    morse = MorsePairs(0.3, 1.4, 2.8, species=("Cu",), cutoff=9.0, convention="truncated")
    lj = LennardJonesPairs(0.25, 2.5, species=("Ar",), cutoff=9.0, convention="truncated")
    np.testing.assert_allclose(
        values(morse, r, 0), energy.morse(r, sigma=2.8, epsilon=0.3, alpha=1.4), rtol=1e-12
    )
    np.testing.assert_allclose(values(lj, r, 0), energy.lennard_jones(r, sigma=2.5, epsilon=0.25), rtol=1e-11)
