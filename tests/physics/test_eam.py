"""The embedded-atom method: published metals, freedoms of the functions, splines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from bayescg.errors import InputError
from bayescg.physics import _environment
from bayescg.physics._embedded_splines import EmbeddedSplines
from bayescg.physics._finnis_sinclair import FinnisSinclair
from bayescg.physics._johnson import Johnson

predict = jax.jit(_environment.predict)
predict_energy = jax.jit(_environment.predict_energy)
# lattice constant [Å] and cohesive energy [eV] that the potentials were made for: Finnis and Sinclair (1984), table 1
METALS = {
    "V": (3.0399, 5.31), "Nb": (3.3008, 7.57), "Ta": (3.3058, 8.10), "Cr": (2.8845, 4.10),
    "Mo": (3.1472, 6.82), "W": (3.1652, 8.90), "Fe": (2.8665, 4.28),
}  # fmt: skip
BCC = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
COPPER = dict(onset=3.0, species=("Cu",), cutoff=3.4)


@pytest.fixture(scope="module")
def disordered(batch_of):
    """A rattled crystal with every species, as the batch of a potential."""
    constant = 3.2
    corners = np.array(list(np.ndindex(2, 2, 2)))
    positions = constant * (corners[:, None] + BCC).reshape(-1, 3)
    positions = positions + np.random.default_rng(0).normal(0, 0.1, (16, 3))

    def batch(potential):
        types = np.arange(16) // 2 % len(potential.species)
        return batch_of(positions, types, 2 * constant * np.eye(3), potential)

    return batch


def alloy():
    ta, w = FinnisSinclair.published("Ta"), FinnisSinclair.published("W")
    mixed = {"d": 4.2, "beta": 0.4, "c": 3.7, "c0": 20.0, "c1": -14.0, "c2": 2.6}
    pairs = [[getattr(ta, key), value, getattr(w, key)] for key, value in mixed.items()]
    return FinnisSinclair([ta.A, w.A], *pairs, species=("Ta", "W"), cutoff=4.5)


def splines():
    rng = np.random.default_rng(5)
    return EmbeddedSplines(
        rng.normal(size=(3, 7)), rng.uniform(0.5, 1.5, (2, 7)), rng.normal(size=(2, 6)),
        knots=tuple(np.linspace(2.0, 4.4, 8)), density_knots=(0.0, 4.0, 8.0, 12.0, 20.0), species=("Ta", "W"),
    )  # fmt: skip


def johnson():
    return Johnson(
        [2.85, 3.54], [0.48, 0.59], [5.92, 5.09], [5.96, 5.85], [8.26, 8.00], [2.88, 2.56], [0.17, 0.30],
        onset=3.2, species=("Ag", "Cu"), cutoff=4.0,
    )  # fmt: skip


CONSTRUCTORS = {"finnis_sinclair": alloy, "johnson": johnson, "splines": splines}


@pytest.mark.parametrize("metal", METALS)
def test_finnis_and_sinclair_made_their_metals_right(metal, crystal_energy):
    potential = FinnisSinclair.published(metal)
    constant, cohesion = METALS[metal]
    found = minimize_scalar(
        lambda a: crystal_energy(potential, BCC, a, [0] * 2),
        bounds=(constant - 0.05, constant + 0.05),
        method="bounded",
    )
    np.testing.assert_allclose(found.x, constant, atol=2e-4)
    np.testing.assert_allclose(-found.fun, cohesion, atol=0.02)


def test_johnsons_copper_has_its_own_constants(crystal_energy):
    r_e = 3.615 / np.sqrt(2)
    copper = Johnson(3.54, 0.59, 5.09, 5.85, 8.00, r_e, 0.30, **COPPER)
    constant = 3.615
    np.testing.assert_allclose(crystal_energy(copper, FCC, constant, [0] * 4), -3.54, rtol=1e-12)
    h = 1e-3
    low, middle, high = (crystal_energy(copper, FCC, constant * (1 + x), [0] * 4) for x in (-h, 0.0, h))
    np.testing.assert_allclose(high - low, 0.0, atol=1e-6)
    # α² = 9 Ω B/E_c, and d²E/d(strain)² = 9 Ω B under isotropic strain
    np.testing.assert_allclose((high - 2 * middle + low) / h**2, 3.54 * 5.09**2, rtol=1e-3)


def test_the_scale_of_johnsons_density_means_nothing_for_one_species(disordered):
    one, two = (Johnson(3.54, 0.59, 5.09, 5.85, 8.00, 2.556, strength, **COPPER) for strength in (0.3, 0.9))
    batch = disordered(one)
    np.testing.assert_allclose(predict(one, batch).forces, predict(two, batch).forces, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_a_lonely_atom_has_no_energy_and_no_infinite_derivatives(name, batch_of, gradients_of):
    potential = CONSTRUCTORS[name]()
    batch = batch_of([[0.0, 0, 0], [20.0, 0, 0]], [0, 1], np.zeros((3, 3)), potential)
    found = predict(potential, batch)
    np.testing.assert_array_equal(found.energy, 0.0)
    np.testing.assert_array_equal(found.forces, 0.0)
    gradients = gradients_of(potential, batch)
    assert all(np.all(np.isfinite(g)) for g in gradients.values())


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_forces_are_derivatives_and_every_parameter_matters(name, gradients_of, disordered):
    potential = CONSTRUCTORS[name]()
    batch = disordered(potential)
    forces = np.asarray(predict(potential, batch).forces)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-10)
    gradients = gradients_of(potential, batch)
    for parameter, gradient in gradients.items():
        assert np.all(np.isfinite(gradient)), parameter
        reached = np.abs(gradient) > 1e-9
        assert np.all(reached) if name != "splines" else np.mean(reached) > 0.6, parameter


def test_splines_approach_a_formula(disordered):
    formula = FinnisSinclair.published("W")
    fine = EmbeddedSplines.fitted(
        formula,
        knots=tuple(np.linspace(2.2, 4.400224, 23)),
        density_knots=tuple(np.linspace(0.0, 6.5, 25) ** 2),
    )
    batch = disordered(formula)
    ours, theirs = predict(fine, batch), predict(formula, batch)
    np.testing.assert_allclose(ours.energy[0] / 16, theirs.energy[0] / 16, atol=2e-3)
    # within 2 %: the curvature of φ jumps at 3.25 Å, that of a spline does not
    np.testing.assert_allclose(ours.forces, theirs.forces, atol=0.02 * np.abs(theirs.forces).max())


def test_splines_of_a_density_that_turns_negative_stay_positive():
    """Iron's cubic density falls below 0 at short distance; coefficients are positive parameters all the same."""
    iron = FinnisSinclair.published("Fe")
    found = EmbeddedSplines.fitted(
        iron, knots=tuple(np.linspace(1.2, 3.569745, 12)), density_knots=tuple(np.linspace(0.0, 5.0, 8) ** 2)
    )
    assert np.all(found.density_coefficients > 0.0)
    r = jnp.linspace(2.2, 3.4, 30)
    none = jnp.zeros(30, int)
    theirs = iron.density(r, none, none)
    np.testing.assert_allclose(found.density(r, none, none), theirs, atol=0.05 * float(theirs.max()))


def test_the_two_freedoms_of_the_functions(disordered):
    """Densities may be scaled with the embedding's knots; a linear term may move from F into φ."""
    potential = splines()
    batch = disordered(potential)
    before = predict(potential, batch)
    scaled = EmbeddedSplines(
        potential.pair_coefficients, 2.0 * potential.density_coefficients, potential.embedding_coefficients,
        knots=potential.knots, density_knots=tuple(2.0 * x for x in potential.density_knots), species=potential.species,
    )  # fmt: skip
    np.testing.assert_allclose(predict(scaled, batch).forces, before.forces, rtol=1e-9, atol=1e-11)
    # one species: F − s ρ and φ + 2 s f; the coefficients of ρ itself are Greville's abscissae
    alone = EmbeddedSplines(
        potential.pair_coefficients[:1], potential.density_coefficients[:1], potential.embedding_coefficients[:1],
        knots=potential.knots, density_knots=potential.density_knots, species=("Ta",),
    )  # fmt: skip
    knots = np.asarray(alone.density_knots)
    t = np.concatenate(
        [
            knots[0] - (knots[1] - knots[0]) * np.arange(3, 0, -1),
            knots,
            knots[-1] + (knots[-1] - knots[-2]) * np.arange(1, 4),
        ]
    )
    greville = np.array([t[j + 1 : j + 4].mean() for j in range(len(knots) + 2)])
    slope = 0.3
    moved = EmbeddedSplines(
        alone.pair_coefficients + 2.0 * slope * alone.density_coefficients, alone.density_coefficients,
        alone.embedding_coefficients - slope * (greville - greville[0])[1:],
        knots=alone.knots, density_knots=alone.density_knots, species=("Ta",),
    )  # fmt: skip
    batch = disordered(alone)
    np.testing.assert_allclose(predict(moved, batch).energy, predict(alone, batch).energy, rtol=1e-10)
    np.testing.assert_allclose(
        predict(moved, batch).forces, predict(alone, batch).forces, rtol=1e-9, atol=1e-10
    )


def test_a_range_beyond_the_cutoff_is_refused_or_not_a_number(disordered):
    tantalum = FinnisSinclair.published("Ta")
    beyond = {**tantalum.parameter_values(), "fs_d": np.float64(4.5)}
    with pytest.raises(InputError, match="`d` reaches to 4.5.*larger `cutoff`"):
        tantalum.with_parameters(beyond)
    batch = disordered(tantalum)
    energy = jax.jit(lambda p: predict_energy(tantalum.with_parameters(p), batch))(beyond)
    assert np.all(np.isnan(energy))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FinnisSinclair.published("Cu"), "no parameters for Cu, only for V"),
        (lambda: FinnisSinclair([1.0] * 3, 4.0, 0.0, 3.0, 1.0, 1.0, 1.0, species=("A", "B"), cutoff=4.0), r"`A`.*\(2,\)"),
        (lambda: Johnson(1, 1, 1, 1, 1, 1, 1, onset=4.0, species=("Cu",), cutoff=3.0), "onset 4.0"),
        (
            lambda: EmbeddedSplines(
                np.zeros((1, 3)), np.zeros((1, 4)), np.zeros((1, 4)),
                knots=(2.0, 3.0, 4.0, 5.0, 6.0), density_knots=(0.0, 1.0, 2.0), species=("Ta",),
            ),
            r"pair_coefficients` has shape \(1, 3\)",
        ),
    ],
)  # fmt: skip
def test_wrong_input_is_named(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_jax_md_finds_the_same_energy(batch_of):
    from jax_md import energy, space

    tungsten = FinnisSinclair.published("W")
    positions = 3.17 * np.concatenate([BCC, BCC + [1, 0, 0], BCC + [0, 1, 0]])
    positions = positions + np.random.default_rng(0).normal(0, 0.1, positions.shape)
    batch = batch_of(positions, [0] * len(positions), np.zeros((3, 3)), tungsten)
    displacement, _ = space.free()

    def function(method):
        return lambda r: jnp.where(
            (r > 0.1) & (r < tungsten.cutoff), method(r, jnp.zeros(r.shape, int), None), 0.0
        )

    pair = function(lambda r, one, _: tungsten.pair_energy(r, one, one))
    density = function(lambda r, one, _: tungsten.density(r, one, one))
    theirs = energy.eam(
        displacement, density, lambda rho: tungsten.embedding(rho, jnp.zeros(rho.shape, int)), pair
    )
    np.testing.assert_allclose(predict_energy(tungsten, batch)[0], theirs(positions), rtol=1e-10)
    np.testing.assert_allclose(
        predict(tungsten, batch).forces, -jax.grad(theirs)(positions), rtol=1e-8, atol=1e-9
    )
