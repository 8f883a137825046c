"""The linear-Gaussian posterior against direct formulas, and the search and sandwich that rest on quadratic forms."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import integrate, special, stats

from bayescg.errors import ConvergenceError, InputError
from bayescg.inference import independent_prior
from bayescg.inference._linear_gaussian import (
    QuadraticForm,
    QuadraticMode,
    QuadraticSearch,
    block_sandwich,
    linear_gaussian_posterior,
    prior_centre,
)
from bayescg.physics import DoubleWell, LennardJones, LinearPotential


def plain_features(positions, box):
    return jnp.sum(positions, axis=0)


def test_force_matching_by_hand_is_linear_gaussian():
    x = np.array([-1, -0.5, 0, 0.5, 1, 1.5])
    forces = np.array([2.1, 0.9, 0.1, -1.2, -1.9, -3.1])
    posterior = linear_gaussian_posterior(-x[:, None], forces, 0.2, np.zeros(1), np.array([[100.0]]))
    assert posterior.mean[0] == pytest.approx(2.041933, abs=1e-6)
    assert np.sqrt(posterior.covariance[0, 0]) == pytest.approx(0.0917624, abs=1e-6)


def test_posterior_and_evidence_equal_the_dense_formulas():
    rng = np.random.default_rng(3)
    x, m = rng.normal(size=(12, 3)), rng.normal(size=3)
    c = np.diag([0.5, 2.0, 1e6]) + 0.1
    noise = rng.uniform(0.2, 2.0, size=12)
    y = rng.normal(size=12)
    got = linear_gaussian_posterior(x, y, noise, m, c)
    precision = np.linalg.inv(c) + x.T @ (x / noise[:, None] ** 2)
    covariance = np.linalg.inv(precision)
    np.testing.assert_allclose(got.covariance, covariance, rtol=1e-8)
    np.testing.assert_allclose(
        got.mean, covariance @ (np.linalg.solve(c, m) + x.T @ (y / noise**2)), rtol=1e-8
    )
    marginal = stats.multivariate_normal(x @ m, np.diag(noise**2) + x @ c @ x.T)
    assert got.log_evidence == pytest.approx(marginal.logpdf(y), rel=1e-9)


def test_vague_priors_and_stiff_designs_stay_accurate():
    x = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-4]])
    got = linear_gaussian_posterior(x, x @ np.array([2.0, -1.0]), 1e-6, np.zeros(2), np.eye(2) * 1e8)
    np.testing.assert_allclose(got.mean, [2.0, -1.0], atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"noise_sd": 0.0},
        {"observations": np.zeros(3)},
        {"prior_covariance": -np.eye(1)},
        {"prior_mean": np.zeros(2)},
    ],
)
def test_impossible_input_is_refused(change):
    arguments = {
        "design": np.ones((2, 1)),
        "observations": np.ones(2),
        "noise_sd": 1.0,
        "prior_mean": np.zeros(1),
        "prior_covariance": np.eye(1),
    }
    with pytest.raises(InputError, match="linear-Gaussian"):
        linear_gaussian_posterior(*{**arguments, **change}.values())


def test_conjugate_gamma_oracle_agrees_with_quadrature():
    """V1: N frames of U = θx²/2 with a Gamma(2, 1) prior; the closed form other tests lean on."""
    n, squares, shape, rate = 50, 40.0, 2.0, 1.0
    posterior = stats.gamma(shape + n / 2, scale=1.0 / (rate + squares / 2))
    assert posterior.mean() == pytest.approx(1.285714, abs=1e-6)
    assert posterior.std() == pytest.approx(0.247436, abs=1e-6)
    np.testing.assert_allclose(posterior.ppf([0.05, 0.95]), [0.907529, 1.717934], atol=1e-6)
    log_evidence = (
        shape * np.log(rate)
        - special.gammaln(shape)
        + special.gammaln(shape + n / 2)
        - (shape + n / 2) * np.log(rate + squares / 2)
        - 0.5 * n * np.log(2.0 * np.pi)
    )
    assert log_evidence == pytest.approx(-66.887331, abs=1e-6)

    def density(theta):
        log_likelihood = 0.5 * n * np.log(theta / (2.0 * np.pi)) - 0.5 * theta * squares
        return np.exp(log_likelihood + stats.gamma(shape, scale=1.0 / rate).logpdf(theta) + 66.887331)

    assert np.log(integrate.quad(density, 0.0, 10.0)[0]) == pytest.approx(0.0, abs=1e-6)


def test_a_linear_potential_takes_one_step():
    linear = LinearPotential(jnp.zeros(2), function=plain_features)
    prior = independent_prior(linear, {"linear_theta": dist.Normal(0.5, 2.0)})
    form = QuadraticForm(np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([1.0, -4.0]))
    mode = QuadraticSearch(prior)(form, np.array([30.0, -5.0]))
    expected = np.linalg.solve(form.precision + np.eye(2) / 4.0, form.linear + 0.5 / 4.0)
    assert mode.n_iterations == 1
    np.testing.assert_allclose(mode.z, expected, rtol=1e-12)
    np.testing.assert_allclose(mode.covariance, np.linalg.inv(form.precision + np.eye(2) / 4.0), rtol=1e-10)


def test_a_curved_potential_is_found_from_the_prior_median():
    truth = LennardJones(0.24, 3.4, cutoff=10.0)
    prior = independent_prior(
        truth, {"lj_epsilon": dist.LogNormal(np.log(1.0), 1.0), "lj_sigma": dist.LogNormal(np.log(3.0), 0.3)}
    )
    design = np.random.default_rng(1).normal(size=(40, 2)) * np.array([1e-7, 1e-3])
    precision = 1e6 * design.T @ design
    form = QuadraticForm(precision, precision @ np.asarray(truth.coefficients()))
    mode = QuadraticSearch(prior)(form, prior_centre(prior))
    found = prior.potential(jnp.asarray(mode.z))
    assert float(found.epsilon) == pytest.approx(0.24, rel=1e-3)
    assert float(found.sigma) == pytest.approx(3.4, rel=1e-3)


def test_a_direction_that_nothing_holds_is_named():
    well = DoubleWell(1.0, 1.0)
    prior = independent_prior(well, {"well_t1": dist.Normal(0, 1), "well_t2": dist.LogNormal(0.0, 1e8)})
    with pytest.raises(ConvergenceError):
        QuadraticSearch(prior)(QuadraticForm(np.diag([1.0, 0.0]), np.array([0.0, 1.0])), np.zeros(2))


def test_sandwich_covers_correlated_scores_where_the_curvature_does_not():
    """Means of an AR(1) series: the sandwich's variance is (1 + ρ)/(1 − ρ) times the naive one."""
    rng, rho, n = np.random.default_rng(8), 0.8, 4000
    noise = rng.normal(size=n) * np.sqrt(1.0 - rho**2)
    y = np.empty(n)
    y[0] = rng.normal()
    for t in range(1, n):
        y[t] = rho * y[t - 1] + noise[t]
    mode = QuadraticMode(
        np.array([y.mean()]), np.zeros(1), np.eye(1), np.array([[float(n)]]), np.array([[1e-9]]), 1
    )
    sandwich = block_sandwich(
        mode, (y - y.mean())[:, None], lengths=(n,), prior_score_covariance=np.zeros((1, 1))
    )
    assert sandwich is not None
    assert sandwich.covariance[0, 0] * n == pytest.approx(9.0, rel=0.35)
    assert mode.covariance[0, 0] * n == pytest.approx(1.0)


def test_sandwich_keeps_the_prior_in_directions_it_dominates():
    mode = QuadraticMode(np.zeros(2), np.zeros(2), np.eye(2), np.diag([400.0, 1e-6]), np.diag([1.0, 64.0]), 1)
    scores = np.random.default_rng(2).normal(size=(400, 2)) * np.array([1.0, 5e-5])
    sandwich = block_sandwich(mode, scores, lengths=(200, 200), prior_score_covariance=np.diag([1.0, 64.0]))
    assert sandwich is not None
    assert sandwich.covariance[1, 1] == pytest.approx(1.0 / 64.0, rel=1e-3)


def test_too_few_blocks_are_not_calibrated():
    mode = QuadraticMode(np.zeros(1), np.zeros(1), np.eye(1), np.eye(1), np.eye(1), 1)
    assert block_sandwich(mode, np.zeros((6, 1)), lengths=(6,), prior_score_covariance=np.eye(1)) is None


def test_prior_centre_is_deterministic_and_central():
    prior = independent_prior(
        DoubleWell(1.0, 1.0), {"well_t1": dist.Normal(3, 1), "well_t2": dist.LogNormal(0, 1)}
    )
    first, second = prior_centre(prior), prior_centre(prior)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(
        first, np.asarray(prior.unconstrain({"well_t1": 3.0, "well_t2": 1.0})), atol=0.3
    )
    assert jax.dtypes.result_type(float) == np.float64
