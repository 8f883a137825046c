"""Priors: names and supports, the random walk against its dense Gaussian, scores, and models written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

from bayescg.errors import InputError
from bayescg.inference import Prior, RandomWalk, Smoothness, default_smoothness_weights, independent_prior
from bayescg.inference._prior import second_differences
from bayescg.physics import DoubleWell, LennardJones, LinearPotential, ParameterInfo

WEIGHTS = np.array([8.0, 4.0, 2.0, 1.5, 1.0])
SCALE = 0.7


def plain_features(positions, box):
    return jnp.sum(positions) * jnp.ones(5)


LINEAR = LinearPotential(jnp.zeros(5), function=plain_features)
WELL = DoubleWell(1.0, 1.0)


def walk_covariance():
    """(Dᵀ W⁻² D / s²)⁻¹ with D the matrix of second differences, zeros after the end."""
    d = np.asarray(second_differences(jnp.eye(5))).T
    return np.linalg.inv(d.T @ np.diag(1.0 / (SCALE * WEIGHTS) ** 2) @ d)


def test_second_differences_end_in_zeros():
    np.testing.assert_allclose(second_differences(jnp.array([1.0, 4.0, 2.0])), [1 - 8 + 2, 4 - 4, 2.0])


def test_random_walk_density_is_the_dense_gaussian():
    values = np.random.default_rng(0).normal(size=(6, 5)) * 10.0
    expected = stats.multivariate_normal(np.zeros(5), walk_covariance()).logpdf(values)
    np.testing.assert_allclose(RandomWalk(SCALE, WEIGHTS).log_prob(jnp.asarray(values)), expected, rtol=1e-10)


def test_random_walk_draws_have_its_covariance():
    draws = np.asarray(RandomWalk(SCALE, WEIGHTS).sample(jax.random.key(1), (40_000,)))
    covariance = walk_covariance()
    white = np.linalg.solve(np.linalg.cholesky(covariance), draws.T)
    # 4 standard errors: variances sqrt(2/n), covariances sqrt(1/n), means sqrt(1/n)
    np.testing.assert_allclose(np.cov(white), np.eye(5), atol=4 * np.sqrt(2 / 40_000))
    np.testing.assert_allclose(white.mean(axis=1), 0.0, atol=4 / np.sqrt(40_000))


def test_random_walk_takes_a_batch_of_scales():
    walk = RandomWalk(jnp.array([0.5, 2.0]), WEIGHTS)
    assert walk.batch_shape == (2,) and walk.event_shape == (5,)
    values = jnp.arange(10.0).reshape(2, 5)
    separate = [RandomWalk(s, WEIGHTS).log_prob(v) for s, v in zip((0.5, 2.0), values, strict=True)]
    np.testing.assert_allclose(walk.log_prob(values), separate)
    assert walk.sample(jax.random.key(0), (3,)).shape == (3, 2, 5)


def test_default_smoothness_weights_grow_inwards():
    info = ParameterInfo("u", "energy", "", "real", 1.0, (3,), (0.25, 0.5, 1.0))
    np.testing.assert_allclose(default_smoothness_weights(info), [64.0, 8.0, 1.0])


def test_unknown_and_missing_names_are_listed():
    with pytest.raises(InputError, match="unknown well_t3; missing well_t2; it has well_t1, well_t2"):
        independent_prior(WELL, {"well_t1": dist.Normal(), "well_t3": dist.Normal()})


@pytest.mark.parametrize(
    "wide",
    [dist.Normal(1.0, 2.0), dist.Uniform(-1.0, 5.0), dist.StudentT(4.0), dist.TruncatedNormal(1, 1, low=-1)],
)
def test_support_wider_than_the_parameter_is_refused(wide):
    with pytest.raises(InputError, match=r"'well_t2'.*positive.*LogNormal"):
        independent_prior(WELL, {"well_t1": dist.Normal(), "well_t2": wide})


@pytest.mark.parametrize(
    "proper",
    [
        dist.Gamma(2.0, 1.0),
        dist.LogNormal(0, 1),
        dist.HalfNormal(2.0),
        dist.TruncatedNormal(1, 2, low=0),
        dist.Uniform(0.1, 5),
    ],
)
def test_positive_supports_are_accepted(proper):
    prior = independent_prior(WELL, {"well_t1": dist.Normal(), "well_t2": proper})
    assert np.all(
        np.asarray(jax.vmap(lambda z: prior.sites(z)["well_t2"])(prior.sample(jax.random.key(0), 50))) > 0
    )


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match=r"'linear_theta': shape \(3,\).*\(5,\)"):
        independent_prior(LINEAR, {"linear_theta": dist.Normal(jnp.zeros(3), 1.0)})
    with pytest.raises(InputError, match=r"'linear_theta': smoothness weights have shape \(4,\)"):
        independent_prior(LINEAR, {"linear_theta": Smoothness(dist.HalfNormal(1.0), jnp.ones(4))})


def test_coordinates_are_named_and_ordered_like_the_vector():
    prior = independent_prior(LINEAR, {"linear_theta": Smoothness(dist.HalfNormal(1.0), WEIGHTS)})
    assert [str(c) for c in prior.coordinates] == [f"linear_theta[{i}]" for i in range(5)] + [
        "linear_theta_smoothness"
    ]
    assert prior.hyperparameters == ("linear_theta_smoothness",)
    z = jnp.arange(6.0)
    np.testing.assert_allclose(prior.sites(z)["linear_theta"], np.arange(5.0))
    assert float(prior.sites(z)["linear_theta_smoothness"]) == pytest.approx(np.exp(5.0))


def test_sites_and_coordinates_round_trip():
    lj = LennardJones(1.0, 1.0, cutoff=2.5)
    priors = {f"{lj.name}_epsilon": dist.LogNormal(0, 1), f"{lj.name}_sigma": dist.Uniform(0.5, 1.5)}
    prior = independent_prior(lj, priors)
    z = prior.sample(jax.random.key(2), 20)
    back = jax.vmap(lambda point: prior.unconstrain(prior.sites(point)))(z)
    np.testing.assert_allclose(back, z, rtol=1e-9, atol=1e-9)
    with pytest.raises(InputError, match="missing"):
        prior.unconstrain({f"{lj.name}_epsilon": 1.0})


def test_potential_at_z_has_the_values_of_the_sites():
    prior = independent_prior(WELL, {"well_t1": dist.Normal(0, 3), "well_t2": dist.Gamma(2.0, 1.0)})
    z = prior.unconstrain({"well_t1": -0.4, "well_t2": 2.5})
    np.testing.assert_allclose(prior.potential(z).coefficients(), [-0.4, 2.5])


def test_log_density_holds_the_jacobian():
    """p(log θ) of Gamma(2,1): θ² e^(−θ)."""
    prior = independent_prior(WELL, {"well_t1": dist.Normal(0, 3), "well_t2": dist.Gamma(2.0, 1.0)})
    z = prior.unconstrain({"well_t1": 1.5, "well_t2": 2.5})
    expected = stats.norm(0, 3).logpdf(1.5) + 2.0 * np.log(2.5) - 2.5
    assert float(prior.log_density(z)) == pytest.approx(expected, rel=1e-12)


def test_samples_follow_the_distributions():
    prior = independent_prior(WELL, {"well_t1": dist.Normal(0, 3), "well_t2": dist.Gamma(2.0, 1.0)})
    sites = jax.vmap(prior.sites)(prior.sample(jax.random.key(3), 4000))
    assert stats.kstest(np.asarray(sites["well_t1"]), stats.norm(0, 3).cdf).pvalue > 1e-3
    assert stats.kstest(np.asarray(sites["well_t2"]), stats.gamma(2.0).cdf).pvalue > 1e-3


def test_score_covariance_of_a_gaussian_is_its_precision():
    prior = independent_prior(LINEAR, {"linear_theta": dist.Normal(jnp.zeros(5), jnp.asarray(WEIGHTS))})
    got = prior.score_covariance(jnp.zeros(5), key=jax.random.key(4), n=20_000)
    relative = np.asarray(got) * np.outer(WEIGHTS, WEIGHTS)
    np.testing.assert_allclose(relative, np.eye(5), atol=4 * np.sqrt(2 / 20_000))
    np.testing.assert_allclose(
        -jax.hessian(prior.log_density)(jnp.ones(5)) * np.outer(WEIGHTS, WEIGHTS), np.eye(5), atol=1e-12
    )


def test_score_covariance_of_a_hierarchical_prior_is_that_of_its_walk_and_positive():
    """At the scale in z; minus the Hessian of this log prior would be indefinite far from the mode."""
    prior = independent_prior(LINEAR, {"linear_theta": Smoothness(dist.HalfNormal(1.0), WEIGHTS)})
    z = jnp.asarray(np.append(np.full(5, 3.0), np.log(SCALE)))
    got = np.asarray(prior.score_covariance(z, key=jax.random.key(5), n=10_000))
    root = np.linalg.cholesky(walk_covariance())
    np.testing.assert_allclose(root.T @ got[:5, :5] @ root, np.eye(5), atol=5 * np.sqrt(2 / 10_000))
    assert np.linalg.eigvalsh(got)[0] > 0
    assert np.linalg.eigvalsh(-np.asarray(jax.hessian(prior.log_density)(10 * z)))[0] < 0


def hierarchical_model():
    """Both strengths share an unknown scale."""
    scale = numpyro.sample("scale", dist.HalfNormal(2.0))
    t1 = numpyro.sample("t1", dist.Normal(0.0, scale))
    t2 = numpyro.sample("t2", dist.LogNormal(0.0, 0.5))
    return DoubleWell(t1, t2)


def test_hierarchical_model_by_hand():
    prior = Prior(hierarchical_model, hyperparameters=("scale",))
    assert [str(c) for c in prior.coordinates] == ["scale", "t1", "t2"]
    z = prior.unconstrain({"scale": 0.8, "t1": -0.3, "t2": 1.4})
    np.testing.assert_allclose(prior.potential(z).coefficients(), [-0.3, 1.4])
    expected = (
        stats.halfnorm(scale=2.0).logpdf(0.8) + np.log(0.8) + stats.norm(0, 0.8).logpdf(-0.3)
        + stats.norm(0, 0.5).logpdf(np.log(1.4))
    )  # fmt: skip
    assert float(prior.log_density(z)) == pytest.approx(expected, rel=1e-10)
    t1 = jax.vmap(prior.sites)(prior.sample(jax.random.key(6), 4000))["t1"]
    # E t1² = E scale² = 4, E t1⁴ = 3 E scale⁴ = 144
    assert float(jnp.mean(t1**2)) == pytest.approx(4.0, abs=4 * np.sqrt((144 - 16) / 4000))


def bounded_by_another():
    """The support of the second site depends on the first."""
    low = numpyro.sample("low", dist.Uniform(0.0, 1.0))
    high = numpyro.sample("high", dist.Uniform(low, 2.0))
    return DoubleWell(low, high)


def test_support_that_depends_on_another_parameter_is_refused():
    with pytest.raises(InputError, match="'high': its support depends on other parameters"):
        Prior(bounded_by_another)


def improper():
    t1 = numpyro.sample("t1", dist.Normal(0.0, 1.0))
    t2 = numpyro.sample("t2", dist.ImproperUniform(dist.constraints.positive, (), ()))
    return DoubleWell(t1, t2)


def test_improper_prior_is_refused_by_name():
    with pytest.raises(InputError, match="'t2': it cannot be sampled.*proper prior"):
        Prior(improper)
