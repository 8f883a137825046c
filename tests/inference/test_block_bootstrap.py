"""Block bootstrap of the MAP and BayesBag: widths against the sandwich's closed form, coverage on V8."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from bayescg.errors import ConvergenceError, InputError
from bayescg.inference import (
    ExactLikelihood,
    Posterior,
    Prior,
    Target,
    bayes_bag,
    block_bootstrap,
    block_length,
)
from bayescg.inference._block_bootstrap import _newton, centred_blocks
from bayescg.physics import SufficientStatistics

A, RHO = 0.1, 0.8
THETA, J_OVER_H = 4.0 / 7.0, 11.6123


def misspecified(rng, n, n_sets):
    """V8's y = z + a z³ with z AR(1) [set frame]."""
    noise = rng.normal(size=(n_sets, n))
    z = np.empty((n_sets, n))
    z[:, 0] = noise[:, 0]
    for t in range(1, n):
        z[:, t] = RHO * z[:, t - 1] + np.sqrt(1 - RHO**2) * noise[:, t]
    return z + A * z**3


class Spring(ExactLikelihood):
    """U = θ y²/2 with the exact Z: −N (θ ⟨φ⟩ − ½ log θ), φ = y²/2."""

    mean_features: jax.Array
    n_frames: jax.Array

    def log_likelihood(self, theta):
        return -self.n_frames * (theta * self.mean_features[0] - 0.5 * jnp.log(theta))


def stiffness():
    return numpyro.sample("theta", dist.LogNormal(0.0, 5.0))


POSTERIOR = Posterior(Prior(stiffness))


def reduced(y, trajectories=1):
    nothing = np.zeros((len(y), 0))
    each = np.repeat(np.arange(trajectories), len(y) // trajectories)
    return SufficientStatistics(y[:, None] ** 2 / 2.0, nothing, nothing, each)


def target_of(statistics):
    """Centred at the maximum, whitened by √(2/N) in log θ."""
    mean, n = statistics.features.mean(axis=0), statistics.n_frames
    return Target(
        Spring(jnp.asarray(mean), jnp.asarray(float(n))), jnp.asarray(np.log(0.5 / mean)),
        jnp.asarray([[np.sqrt(2.0 / n)]]), jnp.asarray(1.0),
    )  # fmt: skip


def test_blocks_are_centred_and_stay_within_trajectories():
    y = np.arange(40.0)
    statistics = reduced(y, trajectories=4)
    blocks = centred_blocks(statistics, 4)
    assert blocks.means.shape == (4 * 7, 1) and blocks.n_blocks == 10
    np.testing.assert_allclose(np.asarray(blocks.means).mean(), statistics.features.mean())
    raw = np.convolve(statistics.features[:10, 0], np.full(4, 0.25), "valid")
    np.testing.assert_allclose(np.diff(np.asarray(blocks.means)[:7, 0]), np.diff(raw))


def test_block_length_is_four_inefficiencies():
    y = misspecified(np.random.default_rng(0), 20_000, 1)[0]
    assert 4.0 * 3.4 < block_length(reduced(y)) < 4.0 * 5.1  # g of y² is 4.17


def test_too_few_blocks_are_refused():
    with pytest.raises(InputError, match="100 frames hold 2 blocks of 50.*longer trajectory"):
        block_bootstrap(
            POSTERIOR,
            reduced(np.ones(100)),
            target_of(reduced(np.ones(100))),
            key=jax.random.key(0),
            length=50,
        )


def test_newton_finds_the_minimum_and_says_when_it_did_not():
    w, curvature, found = _newton(lambda w: jnp.sum(jnp.cosh(w - 3.0)) + 0.1 * jnp.sum(w) ** 2, jnp.zeros(2))
    assert bool(found) and np.allclose(jnp.sinh(w - 3.0) + 0.2 * w.sum(), 0.0, atol=1e-9)
    np.testing.assert_allclose(curvature, np.diag(np.cosh(np.asarray(w) - 3.0)) + 0.2, rtol=1e-9)
    assert not bool(_newton(lambda w: jnp.sum(w), jnp.zeros(1))[2])  # it has none


def test_a_replica_without_a_mode_is_an_error():
    class Slope(Spring):
        def log_likelihood(self, theta):
            return 1e3 * jnp.log(theta) ** 3

    statistics = reduced(np.random.default_rng(0).normal(size=100))
    target = target_of(statistics)._replace(likelihood=Slope(jnp.ones(1), jnp.asarray(100.0)))
    with pytest.raises(ConvergenceError, match="replicas did not reach their mode"):
        block_bootstrap(POSTERIOR, statistics, target, key=jax.random.key(0), n_replicas=8)


@pytest.fixture(scope="module")
def long_run():
    return reduced(misspecified(np.random.default_rng(1), 20_000, 1)[0])


def test_width_is_the_sandwich(long_run):
    """sd(log θ) = √(2/N · J/H) with H in log θ being ½, autocorrelation and misfit in J; about the MAP of all data."""
    target = target_of(long_run)
    found = block_bootstrap(POSTERIOR, long_run, target, key=jax.random.key(1), n_replicas=2000, length=100)
    sd = found.draws.std(ddof=1)
    expected = np.sqrt(2.0 / 20_000 * J_OVER_H)
    # 200 blocks estimate a variance within 10 %, half of that in the width; tails of y⁴ double it
    assert sd == pytest.approx(expected, rel=0.2)
    assert abs(found.draws.mean() - float(target.centre[0])) < 4.0 * sd / np.sqrt(2000) + 0.5 * sd**2
    # the negative half: single frames leave the autocorrelation out
    single = block_bootstrap(POSTERIOR, long_run, target, key=jax.random.key(1), n_replicas=2000, length=1)
    assert single.draws.std() == pytest.approx(np.sqrt(2.0 / 20_000 * 2.7848), rel=0.15)


def test_bags_are_wider_by_the_posterior(long_run):
    """Var = bootstrap + posterior."""
    target = target_of(long_run)
    bags = bayes_bag(POSTERIOR, long_run, target, key=jax.random.key(2), n_bags=1000, n_draws=10, length=100)
    assert bags.draws.shape == (1000, 10, 1)
    within = bags.draws.std(axis=1, ddof=1)
    assert np.sqrt(np.mean(within**2)) == pytest.approx(np.sqrt(2.0 / 20_000), rel=0.05)
    found = block_bootstrap(POSTERIOR, long_run, target, key=jax.random.key(1), n_replicas=2000, length=100)
    assert bags.draws.var() == pytest.approx(found.draws.var() + 2.0 / 20_000, rel=0.15)


def test_where_the_prior_decides_its_width_is_kept():
    """V9's lesson: without the prior's own score the spread would collapse to C √(N J)."""

    def narrow():
        return numpyro.sample("theta", dist.LogNormal(0.0, 0.01))

    rng = np.random.default_rng(3)
    statistics = reduced(rng.normal(size=400))
    posterior = Posterior(Prior(narrow))
    found = block_bootstrap(
        posterior, statistics, target_of(statistics), key=jax.random.key(4), n_replicas=1000, length=4
    )
    data, prior = 400 / 2.0, 1e4
    assert found.draws.std() == pytest.approx(np.sqrt(data + prior) / (data + prior), rel=0.12)


def test_same_key_same_replicas(long_run):
    a, b, c = (
        block_bootstrap(
            POSTERIOR, long_run, target_of(long_run), key=jax.random.key(seed), n_replicas=32, length=100
        ).draws
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(a, b)
    assert np.all(a != c)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "n_sets", "map_coverage", "bag_coverage"),
    [(200, 400, 0.713, 0.769), (1000, 400, 0.832, 0.857), (5000, 300, 0.864, 0.889)],
)
def test_coverage_on_the_misspecified_correlated_model(n, n_sets, map_coverage, bag_coverage):
    """V8: 90 % intervals; the numbers of METHOD 2.2 within 4 binomial errors and 0.03 for the length of blocks."""
    sets = misspecified(np.random.default_rng(n), n, n_sets)
    hits = np.zeros((n_sets, 2))
    for i, y in enumerate(sets):
        statistics = reduced(y)
        target = target_of(statistics)
        keys = jax.random.split(jax.random.key(i))
        draws = (
            block_bootstrap(POSTERIOR, statistics, target, key=keys[0], n_replicas=400, length=20).draws,
            bayes_bag(POSTERIOR, statistics, target, key=keys[1], n_bags=200, n_draws=10, length=20).draws,
        )
        for j, some in enumerate(draws):
            low, high = np.quantile(some, [0.05, 0.95])
            hits[i, j] = low <= np.log(THETA) <= high
    for got, expected in zip(hits.mean(axis=0), (map_coverage, bag_coverage), strict=True):
        error = np.sqrt(expected * (1 - expected) / n_sets)
        assert abs(got - expected) < 4.0 * error + 0.03, f"coverage {hits.mean(axis=0)}"
