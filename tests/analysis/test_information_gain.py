"""What was learnt, against closed forms: normal distributions and V1's Gamma posterior."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import special, stats

from bayescg.analysis import (
    gaussian_information_gain,
    information_gain,
    log_terms,
    marginal_information_gain,
    power_scaling,
    share_beyond_prior,
    variance_contraction,
)
from bayescg.errors import InputError
from bayescg.inference import Posterior, RelativeEntropy, independent_prior
from bayescg.physics import LinearPotential, Surrogate


def half_square(positions, box):
    return jnp.sum(positions**2).reshape(1) / 2.0


def gamma_divergence(a, b, a0, b0):
    """KL(Gamma(a, rate b) ‖ Gamma(a0, rate b0))."""
    return (
        (a - a0) * special.digamma(a)
        - special.gammaln(a)
        + special.gammaln(a0)
        + a0 * np.log(b / b0)
        + a * (b0 / b - 1)
    )


def test_normal_distributions_in_closed_form():
    """Of independent coordinates the gains add; the gain does not depend on the coordinates."""
    rng = np.random.default_rng(0)
    m, m0, v, v0 = rng.normal(size=4), rng.normal(size=4), rng.uniform(0.1, 1, 4), rng.uniform(1, 3, 4)
    expected = np.sum(0.5 * (v / v0 - 1.0 - np.log(v / v0) + (m - m0) ** 2 / v0))
    got = gaussian_information_gain(m, np.diag(v), prior_mean=m0, prior_precision=np.diag(1 / v0))
    assert got == pytest.approx(expected, rel=1e-12)
    a = rng.normal(size=(4, 4))
    back = np.linalg.inv(a)
    turned = gaussian_information_gain(
        a @ m, a @ np.diag(v) @ a.T, prior_mean=a @ m0, prior_precision=back.T @ np.diag(1 / v0) @ back
    )
    assert turned == pytest.approx(expected, rel=1e-9)
    same = gaussian_information_gain(m0, np.diag(v0), prior_mean=m0, prior_precision=np.diag(1 / v0))
    assert same == pytest.approx(0.0, abs=1e-12)


def test_an_improper_prior_has_no_gain():
    with pytest.raises(InputError, match="positive definite"):
        gaussian_information_gain(
            np.zeros(2), np.eye(2), prior_mean=np.zeros(2), prior_precision=np.diag([1.0, 0.0])
        )


@pytest.fixture(scope="module")
def gamma_posterior():
    """V1: U = θx²/2, 50 frames with Σx² = 40, prior Gamma(2, 1): the posterior is Gamma(27, 21)."""
    x = jnp.linspace(-16.0, 16.0, 2001)
    surrogate = Surrogate(
        jnp.ones(()), jnp.zeros(1), (x**2 / 2.0)[:, None], jnp.full(2001, jnp.log(x[1] - x[0]))
    )
    likelihood = RelativeEntropy(jnp.array([0.4]), jnp.asarray(50.0), surrogate)
    spring = LinearPotential(jnp.ones(1), function=half_square)
    posterior = Posterior(independent_prior(spring, {"linear_theta": dist.Gamma(2.0, 1.0)}))
    z = np.log(np.random.default_rng(1).gamma(27.0, 1 / 21.0, size=(4, 2000, 1)))
    return z, *log_terms(posterior, likelihood, z)


def test_gain_from_draws_and_evidence(gamma_posterior):
    """V1: log evidence −66.887331; the divergence of the two Gammas in closed form."""
    _, _, log_likelihood = gamma_posterior
    gain = information_gain(log_likelihood, -66.887331)
    exact = gamma_divergence(27.0, 21.0, 2.0, 1.0)
    assert abs(gain.nats - exact) < 4.0 * gain.error and gain.error < 0.02
    assert gain.bits == pytest.approx(gain.nats / np.log(2.0))


def test_log_terms_are_those_of_the_posterior(gamma_posterior):
    z, log_prior, log_likelihood = gamma_posterior
    theta = np.exp(z[..., 0])
    np.testing.assert_allclose(log_prior, stats.gamma(2.0).logpdf(theta) + z[..., 0], atol=1e-9)
    np.testing.assert_allclose(log_likelihood, -20.0 * theta - 25.0 * np.log(2 * np.pi / theta), atol=1e-6)


def test_marginal_gain_from_draws_alone(gamma_posterior):
    z, _, _ = gamma_posterior
    prior = np.log(np.random.default_rng(2).gamma(2.0, 1.0, size=(4000, 1)))
    got = marginal_information_gain(z.reshape(-1, 1), prior)
    assert got[0] == pytest.approx(gamma_divergence(27.0, 21.0, 2.0, 1.0), abs=0.08)
    nothing = marginal_information_gain(
        np.log(np.random.default_rng(3).gamma(2.0, 1.0, size=(4000, 1))), prior
    )
    assert abs(nothing[0]) < 0.05


def test_too_few_or_constant_draws_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="too few"):
        marginal_information_gain(rng.normal(size=(10, 1)), rng.normal(size=(100, 1)))
    with pytest.raises(InputError, match="coordinate 1 does not vary"):
        marginal_information_gain(
            np.stack([rng.normal(size=100), np.ones(100)], axis=1), rng.normal(size=(100, 2))
        )


def test_contraction():
    np.testing.assert_allclose(variance_contraction(np.array([0.25, 2.0]), np.array([1.0, 2.0])), [0.75, 0.0])
    with pytest.raises(InputError, match="prior variance"):
        variance_contraction(np.ones(1), np.array([np.inf]))


def test_share_beyond_the_prior():
    prior = np.random.default_rng(0).normal(size=(20_000, 2))
    draws = np.random.default_rng(1).normal(size=(20_000, 2)) * 0.5 + np.array([0.0, 2.5])
    share = share_beyond_prior(draws, prior)
    assert share[0] < 1e-3
    assert share[1] == pytest.approx(stats.norm.sf((2.576 - 2.5) / 0.5), abs=0.03)


def normal_draws(precision_of_data, *, n=2000):
    """Posterior draws of N(0, 1) prior and one datum 1 of a given precision, with both logarithms."""
    rng = np.random.default_rng(4)
    total = 1.0 + precision_of_data
    x = precision_of_data / total + rng.normal(size=(4, n)) / np.sqrt(total)
    return x, -0.5 * x**2, -0.5 * precision_of_data * (x - 1.0) ** 2


def test_power_scaling_tells_who_decides():
    strong, weak = normal_draws(100.0), normal_draws(0.02)
    assert power_scaling({"x": strong[0]}, *strong[1:]).words == ("the data decide",)
    assert power_scaling({"x": weak[0]}, *weak[1:]).words == ("the prior decides, the data say little",)
    even = power_scaling({"x": normal_draws(1.0)[0]}, *normal_draws(1.0)[1:])
    assert even.prior[0] > 0.05 and even.likelihood[0] > 0.05


def test_power_scaling_of_arrays_and_blocks_of_data():
    x, log_prior, log_likelihood = normal_draws(100.0)
    blocks = log_likelihood[..., None] * np.array([0.25, 0.75])
    found = power_scaling({"y": np.stack([x, 2.0 * x], axis=-1)}, log_prior, blocks)
    one = power_scaling({"x": x}, log_prior, log_likelihood)
    assert found.names == ("y[0]", "y[1]")
    np.testing.assert_allclose(found.likelihood, one.likelihood[0], rtol=1e-6)
    with pytest.raises(InputError, match="log_likelihood"):
        power_scaling({"x": x}, log_prior, log_likelihood[:, 1:])
