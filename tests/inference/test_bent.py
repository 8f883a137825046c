"""Predictions to second order: exact where a prediction is quadratic, third order in the distance elsewhere."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.data import Configurations, get_unit_system
from bayescg.errors import InputError
from bayescg.inference import BentLabels, EnergyForceStress, LabelledModel, Noise, label_rows, labelled_data
from bayescg.inference._bent import residuals_at
from bayescg.inference._linearised import LabelRows, parameter_vector, with_parameter_vector
from bayescg.physics import LennardJonesPairs, ScreenedCoulomb


def dimers(
    pairs: list[tuple[int, int]], distances: np.ndarray, *, energy_only: bool = False
) -> Configurations:
    """Pairs of atoms with random labels, in two groups of unequal weight."""
    rng = np.random.default_rng(0)
    n = len(pairs)
    return Configurations(
        species=("Cl", "Na"),
        positions=tuple(np.array([[0.0, 0.0, 0.0], [r, 0.3, 0.0]]) for r in distances),
        types=tuple(np.array(pair) for pair in pairs),
        cell=np.zeros((n, 3, 3)),
        periodic=np.zeros((n, 3), bool),
        units=get_unit_system("metal"),
        energy=rng.normal(size=n),
        forces=None if energy_only else tuple(rng.normal(size=(2, 3)) for _ in range(n)),
        group=("near",) * (n // 2) + ("far",) * (n - n // 2),
        weight=np.where(np.arange(n) % 2 == 0, 1.0, 2.0),
    )


@pytest.fixture(scope="module")
def data():
    distances = np.linspace(2.2, 4.0, 12)
    pairs = [(0, 0), (0, 1), (1, 1)] * 4
    return labelled_data(
        dimers(pairs, distances), cutoff=6.0, species=("Cl", "Na"), quantities=("energy", "forces")
    )


@eqx.filter_jit
def log_likelihood(likelihood, potential, noise: Noise):
    return likelihood.log_likelihood(LabelledModel(potential, noise))


def exact(potential, data, noise: Noise) -> float:
    return float(log_likelihood(EnergyForceStress(data), potential, noise))


def test_predictions_that_are_quadratic_are_exact_everywhere(data):
    """Energies of ions go with products of two charges."""
    ions = ScreenedCoulomb([0.7, -0.9], 3.0, coulomb=14.4, species=("Cl", "Na"), cutoff=6.0).vary(
        "coulomb_charges"
    )
    bent = BentLabels.of(label_rows(ions, data), ions, data)
    noise = Noise(jnp.array([0.5, 0.8]), jnp.array([1.5, 0.7]), jnp.ones(2))
    for charges in ([0.7, -0.9], [2.0, 1.0], [0.0, 0.0], [-3.0, 5.0]):
        there = ions.with_parameters({"coulomb_charges": jnp.asarray(charges)})
        assert float(log_likelihood(bent, there, noise)) == pytest.approx(
            exact(there, data, noise), rel=1e-11
        )


def test_the_error_is_of_third_order(data):
    """Value, gradient and Hessian at the origin are exact; what is left falls with the cube of the distance."""
    atoms = LennardJonesPairs([0.02] * 3, [2.3, 2.6, 2.9], species=("Cl", "Na"), cutoff=6.0)
    bent = BentLabels.of(label_rows(atoms, data), atoms, data, power=0.5)
    noise = Noise(*jnp.full((3, 2), 0.4))
    at = parameter_vector(atoms)

    @jax.jit
    def of_bent(vector):
        return bent.log_likelihood(LabelledModel(with_parameter_vector(atoms, vector), noise))

    @jax.jit
    def of_exact(vector):
        likelihood = EnergyForceStress(data, power=jnp.asarray(0.5))
        return likelihood.log_likelihood(LabelledModel(with_parameter_vector(atoms, vector), noise))

    assert float(of_bent(at)) == pytest.approx(float(of_exact(at)), rel=1e-12)
    np.testing.assert_allclose(jax.jit(jax.grad(of_bent))(at), jax.jit(jax.grad(of_exact))(at), rtol=1e-9)
    exact_hessian = jax.jit(jax.hessian(of_exact))(at)
    np.testing.assert_allclose(
        jax.jit(jax.hessian(of_bent))(at), exact_hessian, rtol=1e-8, atol=1e-10 * np.abs(exact_hessian).max()
    )
    step = np.array([1.0, -1.0, 0.5, 1.0, 0.7, -1.0]) * np.asarray(at)
    errors = [abs(float(of_bent(at + h * step) - of_exact(at + h * step))) for h in (0.004, 0.002)]
    assert 6.0 < errors[0] / errors[1] < 10.5


@pytest.mark.parametrize("order", [2, 3])
def test_polynomials_through_points_say_what_polynomials_are(data, order):
    """Energies of ions go with products of two charges, so that any points give them."""
    ions = ScreenedCoulomb([0.7, -0.9], 3.0, coulomb=14.4, species=("Cl", "Na"), cutoff=6.0).vary(
        "coulomb_charges"
    )
    points = np.random.default_rng(2).normal(size=(25, 2)) * [1.0, 1e-3] + [0.7, -0.9]
    residuals = residuals_at(points, ions, data)
    bent = BentLabels.through(points, residuals, label_rows(ions, data), data, order=order)
    noise = Noise(jnp.array([0.5, 0.8]), jnp.array([1.5, 0.7]), jnp.ones(2))
    for charges in ([0.7, -0.9], [2.0, -0.89], [0.0, -0.91]):
        there = ions.with_parameters({"coulomb_charges": jnp.asarray(charges)})
        assert float(log_likelihood(bent, there, noise)) == pytest.approx(exact(there, data, noise), rel=1e-8)


def test_residuals_at_points_are_in_the_rows_order(data):
    """More points than are taken at once, and the last lot not full."""
    atoms = LennardJonesPairs([0.02] * 3, [2.3, 2.6, 2.9], species=("Cl", "Na"), cutoff=6.0)
    points = np.asarray(parameter_vector(atoms)) * np.exp(0.1 * np.random.default_rng(3).normal(size=(40, 6)))
    found = residuals_at(points, atoms, data)
    for i in (0, 31, 39):
        rows = label_rows(with_parameter_vector(atoms, jnp.asarray(points[i])), data)
        np.testing.assert_allclose(found[:, i], rows.residual, rtol=1e-12, atol=1e-12)


def test_third_order_through_points_is_nearer_than_second(data):
    atoms = LennardJonesPairs([0.02] * 3, [2.3, 2.6, 2.9], species=("Cl", "Na"), cutoff=6.0)
    rng = np.random.default_rng(4)
    spread = np.asarray(parameter_vector(atoms)) * 0.02
    points = np.asarray(parameter_vector(atoms)) + spread * rng.normal(size=(200, 6))
    residuals, rows = residuals_at(points, atoms, data), label_rows(atoms, data)
    noise = Noise(*jnp.full((3, 2), 0.4))
    errors = []
    for order in (2, 3):
        bent = BentLabels.through(points, residuals, rows, data, order=order)
        for _ in range(5):
            vector = jnp.asarray(parameter_vector(atoms) + spread * rng.normal(size=6))
            there = with_parameter_vector(atoms, vector)
            errors.append(abs(float(log_likelihood(bent, there, noise)) - exact(there, data, noise)))
    assert np.mean(errors[5:]) < 0.3 * np.mean(errors[:5])


def test_too_few_points_are_refused(data):
    ions = ScreenedCoulomb([0.7, -0.9], 3.0, coulomb=14.4, species=("Cl", "Na"), cutoff=6.0).vary(
        "coulomb_charges"
    )
    rows = label_rows(ions, data)
    points = np.random.default_rng(0).normal(size=(5, 2))
    with pytest.raises(InputError, match="at least 6 points are needed, found 5"):
        BentLabels.through(points, residuals_at(points, ions, data), rows, data)
    points = np.random.default_rng(0).normal(size=(8, 2))
    with pytest.raises(InputError, match="not finite"):
        BentLabels.through(points, np.full((len(rows.kind), 8), np.nan), rows, data)


def test_sums_of_squares_are_nowhere_negative(data):
    atoms = LennardJonesPairs([0.02] * 3, [2.3, 2.6, 2.9], species=("Cl", "Na"), cutoff=6.0)
    bent = BentLabels.of(label_rows(atoms, data), atoms, data)
    rng = np.random.default_rng(1)
    for _ in range(20):
        vector = parameter_vector(atoms) * np.exp(rng.normal(size=6))
        assert np.all(np.asarray(bent.sums_of_squares(with_parameter_vector(atoms, vector))) >= 0.0)


def test_fewer_rows_than_monomials():
    """The square root then has rows of zeros."""
    few = labelled_data(
        dimers([(0, 1)] * 2, np.array([2.4, 3.0]), energy_only=True),
        cutoff=6.0, species=("Cl", "Na"), quantities=("energy",),
    )  # fmt: skip
    ions = ScreenedCoulomb([0.7, -0.9], 3.0, coulomb=14.4, species=("Cl", "Na"), cutoff=6.0).vary(
        "coulomb_charges"
    )
    bent = BentLabels.of(label_rows(ions, few), ions, few)
    noise = Noise(*jnp.full((3, 2), 0.4))
    there = ions.with_parameters({"coulomb_charges": jnp.array([1.0, -2.0])})
    assert float(log_likelihood(bent, there, noise)) == pytest.approx(exact(there, few, noise))


def test_derivatives_that_are_not_finite_are_refused(data, monkeypatch):
    ions = ScreenedCoulomb([0.7, -0.9], 3.0, coulomb=14.4, species=("Cl", "Na"), cutoff=6.0)
    rows = label_rows(ions, data)
    monkeypatch.setattr(
        "bayescg.inference._bent.label_rows_of",
        lambda derivatives, data: np.full((len(rows.kind), 6), np.nan),
    )
    with pytest.raises(InputError, match="second derivatives .* not finite"):
        BentLabels.of(LabelRows(*rows), ions, data)
