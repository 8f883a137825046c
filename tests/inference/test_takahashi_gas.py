"""The Takahashi gas (V6): gaps r of density ∝ exp(−θ r⁻⁶ − r), whose posterior is known by quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import optimize

from bayescg.inference import FitSettings, Fitter, Posterior, Prior
from bayescg.physics import LinearPotential

MEAN, SD, MODE = 0.697270, 0.126902, 0.67587
N = 200


def gap_features(positions, box):
    """r⁻⁶, and r itself, which the pressure multiplies."""
    r = positions[0, 0]
    return jnp.stack([r**-6, r])


def gas_model() -> LinearPotential:
    theta = numpyro.sample("theta", dist.Gamma(2.0, 1.0))
    return LinearPotential(jnp.stack([theta, jnp.ones(())]), function=gap_features, name="gap")


@pytest.fixture(scope="module")
def gas(toolkit):
    """200 gaps with ⟨r⁻⁶⟩ = .25 exactly: quantiles of θ = .676, stretched."""
    potential = LinearPotential(jnp.ones(2), function=gap_features, name="gap")
    line = toolkit.Quadrature(potential, 0.2, 45.0, n=8001)
    gaps = line.quantile(np.array([MODE, 1.0]), (np.arange(N) + 0.5) / N)
    scale = optimize.brentq(lambda s: np.mean((s * gaps) ** -6) - 0.25, 0.5, 2.0)
    r = np.random.default_rng(6).permutation(scale * gaps)
    return toolkit.Toy(line, potential, Prior(gas_model), r, line.statistics(potential, r))


def test_free_energy_and_averages_at_one(gas):
    eta = np.ones(2)
    surrogate = gas.line.surrogate()
    assert float(surrogate.log_z(jnp.asarray(eta))) == pytest.approx(-1.096147, abs=2e-6)
    p, phi = gas.line.probability(eta), gas.line.features
    assert p @ phi[:, 0] == pytest.approx(0.178141, abs=2e-6)
    assert p @ phi[:, 0] ** 2 - (p @ phi[:, 0]) ** 2 == pytest.approx(0.149744, abs=2e-6)
    assert p @ phi[:, 1] == pytest.approx(2.068846, abs=5e-6)


def test_posterior_by_the_packages_density(gas):
    """Mean, sd and mode on a grid of θ."""
    posterior, likelihood = Posterior(gas.prior), gas.likelihood()
    theta = np.linspace(0.2, 1.6, 561)
    log_p = np.asarray(
        jax.lax.map(
            lambda z: posterior.log_density(z[None], likelihood), jnp.log(jnp.asarray(theta)), batch_size=32
        )
    ) - np.log(theta)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    mean = p @ theta
    assert mean == pytest.approx(MEAN, abs=1e-5)
    assert np.sqrt(p @ (theta - mean) ** 2) == pytest.approx(SD, abs=1e-5)
    top = np.argmax(log_p)
    curve = np.polyfit(theta[top - 2 : top + 3], log_p[top - 2 : top + 3], 2)
    assert -curve[1] / (2 * curve[0]) == pytest.approx(MODE, abs=1e-4)


def test_driver_with_exact_draws_equals_quadrature(gas):
    """Search, references, NUTS; about 100 N reference frames, so that mean and sd are right within 2 %."""
    settings = FitSettings(seed=2, search_samples=300, max_rounds=1, n_warmup=150, n_draws=500)
    fit = Fitter(gas.problem(np.array([0.0])), settings).run()
    theta = np.exp(fit.draws.z[..., 0])
    print("frames", fit.bank.n_frames.sum(), "mean", theta.mean(), "sd", theta.std())
    assert fit.search_converged and fit.verifications[0].verdict != "failed"
    # 2 % for the surrogate, and 4 Monte-Carlo standard errors of about 1000 effective draws
    assert theta.mean() == pytest.approx(MEAN, abs=0.02 * MEAN + 4 * SD / np.sqrt(1000) * 0.5)
    assert theta.std() == pytest.approx(SD, rel=0.02 + 4 / np.sqrt(2 * 1000) * 0.5)


def test_without_the_normalisation_the_posterior_would_be_the_priors_and_the_datas(gas):
    """The negative half: exp(−θ Σ r⁻⁶) alone, with no Z, is a Gamma(2, 51) of mean .04."""
    assert 2.0 / (1.0 + N * 0.25) < 0.1 * MEAN
