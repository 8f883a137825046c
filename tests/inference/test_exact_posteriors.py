"""Posteriors known in closed form or by quadrature, through the package's own densities, samplers and driver."""

import arviz_stats.base
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

from bayescg.analysis import identifiability, statement
from bayescg.inference import (
    Posterior,
    Prior,
    RelativeEntropy,
    calibrate,
    independent_prior,
    laplace,
    maximise,
)
from bayescg.physics import DoubleWell, LinearPotential, Surrogate

# V2's answers.
MEAN, SD, CORRELATION = np.array([2.901786, 2.040847]), np.array([0.615019, 0.394017]), 0.929661
MAP, LAPLACE_SD = np.array([2.826133, 1.975583]), np.array([0.614201, 0.392320])
INSIDE_AT_MAP, INSIDE_MEAN, INSIDE_SD = 0.173984, 0.173568, 0.027308


def within_error(draws, expected, *, function, method, prob=None):
    """Whether a summary of [chain draw] draws lies within 4 of its Monte-Carlo standard errors."""
    array = arviz_stats.base.array_stats
    kwargs = {} if prob is None else {"prob": prob}
    error = float(array.mcse(draws, chain_axis=0, draw_axis=1, method=method, **kwargs))
    return abs(function(draws) - expected) < 4.0 * error


# V1: U = θ x²/2, 50 frames with Σx² = 40, prior Gamma(2, 1): the posterior is Gamma(27, 21).


def half_square(positions, box):
    return jnp.sum(positions**2)[None] / 2.0


@pytest.fixture(scope="module")
def spring(toolkit):
    potential = LinearPotential(jnp.ones(1), function=half_square)
    line = toolkit.Quadrature(potential, -16.0, 16.0, n=257)
    x = np.random.default_rng(1).normal(size=50)
    x *= np.sqrt(40.0 / np.sum(x**2))
    prior = independent_prior(potential, {"linear_theta": dist.Gamma(2.0, 1.0)})
    return toolkit.Toy(line, potential, prior, x, line.statistics(potential, x))


@pytest.fixture(scope="module")
def spring_mode(spring):
    return maximise(Posterior(spring.prior), spring.likelihood(), np.zeros(1), least_effective_frames=0.0)


def test_gamma_density_in_closed_form(spring):
    """log p(log θ | D) − log p(D), with the (2π)^(−N/2) in the evidence."""
    z = np.linspace(-0.6, 0.9, 7)
    posterior, likelihood = Posterior(spring.prior), spring.likelihood()
    got = [float(posterior.log_density(jnp.array([point]), likelihood)) for point in z]
    expected = stats.gamma(27.0, scale=1 / 21.0).logpdf(np.exp(z)) + z - 66.887331
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_laplace_in_log_theta_keeps_the_jacobian(spring_mode):
    assert spring_mode.z[0] == pytest.approx(0.251314, abs=1e-6)
    assert np.sqrt(spring_mode.covariance[0, 0]) == pytest.approx(0.192450, abs=1e-6)
    assert spring_mode.log_evidence == pytest.approx(-66.890417, abs=1e-6)
    assert spring_mode.interior


def test_nuts_draws_the_gamma_posterior(spring, spring_mode):
    draws = spring.sample(spring_mode.z, seed=1, n_warmup=150, n_draws=500)
    theta = np.exp(draws.z[..., 0])
    assert not draws.diverging.any()
    assert within_error(theta, 1.285714, function=np.mean, method="mean")
    assert within_error(theta, 0.247436, function=np.std, method="sd")
    for prob, expected in ((0.05, 0.907529), (0.95, 1.717934)):
        assert within_error(
            theta, expected, function=lambda d, q=prob: np.quantile(d, q), method="quantile", prob=prob
        )
    # The negative half: without the Jacobian the density is Gamma(26, 21).
    assert not within_error(theta, 26.0 / 21.0, function=np.mean, method="mean")


# V2: the double well.


def inside(line):
    """Indicator of |x| < 1/2 on the nodes."""
    distance = np.abs(line.x) - 0.5
    return np.where(np.abs(distance) < 1e-9, 0.5, distance < 0.0)


def test_grid_posterior_of_the_double_well(double_well):
    t1, t2 = np.linspace(0.2, 6.6, 65), np.linspace(0.3, 4.5, 57)
    grid = np.stack(np.meshgrid(t1, t2, indexing="ij"), -1).reshape(-1, 2)
    posterior, likelihood = Posterior(double_well.prior), double_well.likelihood()
    log_p = np.asarray(
        jax.lax.map(lambda z: posterior.log_density(z, likelihood), jnp.asarray(grid), batch_size=128)
    )
    p = np.exp(log_p - log_p.max())
    log_evidence = np.log(p.sum() * (t1[1] - t1[0]) * (t2[1] - t2[0])) + log_p.max()
    p /= p.sum()
    mean = p @ grid
    covariance = (grid - mean).T * p @ (grid - mean)
    assert log_evidence == pytest.approx(-129.962436, abs=1e-5)
    np.testing.assert_allclose(mean, MEAN, atol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), SD, atol=1e-5)
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) == pytest.approx(
        CORRELATION, abs=1e-5
    )
    share = double_well.line.probability(grid) @ inside(double_well.line)
    assert p @ share == pytest.approx(INSIDE_MEAN, abs=1e-5)
    assert np.sqrt(p @ (share - p @ share) ** 2) == pytest.approx(INSIDE_SD, abs=1e-5)


@pytest.fixture(scope="module")
def well_mode(double_well):
    likelihood = double_well.likelihood()
    return maximise(Posterior(double_well.prior), likelihood, np.ones(2), least_effective_frames=0.0)


def test_laplace_of_the_double_well(double_well, well_mode):
    np.testing.assert_allclose(well_mode.z, MAP, atol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(well_mode.covariance)), LAPLACE_SD, atol=1e-6)
    assert well_mode.log_evidence == pytest.approx(-129.966493, abs=1e-6)
    share = double_well.line.probability(well_mode.z) @ inside(double_well.line)
    assert share == pytest.approx(INSIDE_AT_MAP, abs=1e-5)  # the indicator's quadrature
    z, likelihood = jnp.asarray(well_mode.z), double_well.likelihood()
    hessian = -Posterior(double_well.prior).likelihood_hessian(z, likelihood)
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian / 100), [0.016869, 0.669695], atol=1e-6)


def test_nuts_with_the_exact_z_equals_the_grid(double_well, well_mode):
    draws = double_well.sample(well_mode.z, seed=2, n_warmup=150, n_draws=400)
    for i in range(2):
        assert within_error(draws.z[..., i], MEAN[i], function=np.mean, method="mean")
        assert within_error(draws.z[..., i], SD[i], function=np.std, method="sd")
    share = double_well.line.probability(draws.z) @ inside(double_well.line)
    assert within_error(share, INSIDE_MEAN, function=np.mean, method="mean")
    assert within_error(share, INSIDE_SD, function=np.std, method="sd")


def test_driver_with_a_hundred_times_the_data_equals_the_grid(double_well, double_well_fit):
    fit = double_well_fit
    assert 80 * 100 <= fit.bank.n_frames.sum() <= 200 * 100
    z = fit.draws.z.reshape(-1, 2)
    np.testing.assert_array_less(np.abs(z.mean(axis=0) - MEAN), 0.3 * SD)
    np.testing.assert_allclose(z.std(axis=0), SD, rtol=0.05)
    assert np.corrcoef(z.T)[0, 1] == pytest.approx(CORRELATION, abs=0.02)
    np.testing.assert_array_less(np.abs(fit.mode.z - MAP), 0.3 * SD)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.mode.covariance)), LAPLACE_SD, rtol=0.05)
    share = double_well.line.probability(z) @ inside(double_well.line)
    assert share.mean() == pytest.approx(INSIDE_MEAN, abs=0.3 * INSIDE_SD)
    assert share.std() == pytest.approx(INSIDE_SD, rel=0.1)
    assert np.all(fit.verifications[0].rms_error < 1.2)
    assert fit.verifications[0].verdict != "failed"
    assert fit.search_converged and fit.in_hull and not fit.draws.diverging.any()


# V23: a parameter that the likelihood does not contain.


def well_with_spare():
    t1, t2 = (numpyro.sample(name, dist.Normal(1.0, 2.0)) for name in ("t1", "t2"))
    numpyro.sample("spare", dist.Normal(-1.0, 3.0))
    return DoubleWell(t1, t2)


@pytest.fixture(scope="module")
def spare(double_well, well_mode):
    toy = double_well._replace(prior=Prior(well_with_spare))
    start = toy.prior.unconstrain({"t1": 1.0, "t2": 1.0, "spare": 4.0})
    mode = maximise(Posterior(toy.prior), toy.likelihood(), start, least_effective_frames=0.0)
    return toy, mode


def test_spare_parameter_leaves_the_evidence(spare, well_mode):
    assert spare[1].log_evidence - well_mode.log_evidence == pytest.approx(0.0, abs=1e-6)


def test_spare_parameter_keeps_its_prior_and_is_named(spare, double_well_fit):
    toy, mode = spare
    posterior, z = Posterior(toy.prior), jnp.asarray(mode.z)
    names = [str(c) for c in toy.prior.coordinates]
    at = names.index("spare")
    jacobian = np.asarray(posterior.coefficient_jacobian(z))
    calibration = calibrate(
        toy.statistics,
        beta=1.0,
        coefficient_jacobian=jacobian,
        curvature=-np.asarray(posterior.likelihood_hessian(z, toy.likelihood())) / 100,
        prior_precision=-np.asarray(posterior.prior_hessian(z)),
        prior_score_covariance=np.diag([1 / 9 if n == "spare" else 1 / 4 for n in names]),
        feature_error=np.zeros((2, 2)),
    )
    assert mode.z[at] == pytest.approx(-1.0, abs=1e-6)
    assert mode.covariance[at, at] == pytest.approx(9.0, rel=1e-9)
    assert calibration.covariance[at, at] == pytest.approx(9.0, rel=1e-9)
    analysis = identifiability(calibration, -toy.statistics.features @ jacobian)
    flat = int(np.argmax(np.abs(analysis.directions[:, at])))
    assert analysis.contraction[flat] == 0.0 and analysis.fisher_eigenvalue[flat] == 0.0
    assert np.all(np.delete(analysis.contraction, flat) > 0.3)
    np.testing.assert_allclose(np.abs(analysis.directions[flat]), np.eye(3)[at], atol=1e-12)
    fit = double_well_fit._replace(mode=mode, calibration=calibration)
    sentences = statement(fit, analysis, n_frames=100, coordinates=names, checks=[])
    assert any("spare" in s and "structurally unidentified" in s for s in sentences)


# T4: stationarity at the maximum of the likelihood.


def test_averages_of_data_and_model_agree_at_the_maximum_of_the_likelihood(double_well, toolkit):
    def vague():
        return DoubleWell(*(numpyro.sample(name, dist.Normal(0.0, 1e6)) for name in ("t1", "t2")))

    posterior, likelihood = Posterior(Prior(vague)), double_well.likelihood()
    mode = maximise(posterior, likelihood, np.ones(2), least_effective_frames=0.0)
    data = double_well.statistics.features.mean(axis=0)
    np.testing.assert_allclose(likelihood.surrogate.mean_features(jnp.asarray(mode.z)), data, atol=1e-6)
    simulator = toolkit.ExactSimulator(double_well.line, double_well.potential)
    reference = simulator.simulate(
        [DoubleWell(*mode.z)], starts=np.zeros((8, 1, 1)), key=jax.random.key(4), n_samples=5000
    )[0]
    features = reference.features.reshape(-1, 2)
    z = (features.mean(axis=0) - data) / (features.std(axis=0) / np.sqrt(len(features)))
    assert np.all(np.abs(z) < 4.0)


def test_averages_differ_at_the_maximum_of_an_informative_posterior(double_well, well_mode):
    """The negative half: the prior pulls the MAP off stationarity."""
    model = double_well.likelihood().surrogate.mean_features(jnp.asarray(well_mode.z))
    assert np.abs(model - double_well.statistics.features.mean(axis=0)).max() > 1e-3


def test_laplace_evidence_of_a_gaussian_posterior_is_exact():
    """A prior alone: its Laplace evidence is 1."""
    potential = LinearPotential(jnp.ones(1), function=half_square)
    posterior = Posterior(independent_prior(potential, {"linear_theta": dist.Normal(2.0, 0.3)}))
    nothing = Surrogate(jnp.asarray(1.0), jnp.zeros(1), jnp.zeros((1, 1)), jnp.zeros(1))
    mode = laplace(posterior, RelativeEntropy(jnp.zeros(1), jnp.asarray(0.0), nothing), np.array([2.0]))
    assert mode.log_evidence == pytest.approx(0.0, abs=1e-12)
