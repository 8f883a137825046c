"""The exchange algorithm against the grid posterior of the double well (V13)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.errors import InputError
from bayescg.inference import Exchange, exchange_target
from bayescg.inference._checkpoint import arrays_to_tree, tree_to_arrays


class InverseCdf(eqx.Module):
    """Independent frames of a one-dimensional model by inverse CDF on the nodes of a quadrature."""

    features: jax.Array
    log_weight: jax.Array
    n_frames: int = eqx.field(static=True)

    def mean_features(self, key, potential):
        p = jax.nn.softmax(self.log_weight - self.features @ potential.coefficients())
        middle = jnp.cumsum(p) - p / 2.0
        u = jax.random.uniform(key, (self.n_frames,))
        return jax.vmap(lambda column: jnp.interp(u, middle, column).mean(), in_axes=1)(self.features)


@pytest.fixture(scope="module")
def target(double_well):
    # half of the line is enough by symmetry, and every second node of it
    half = double_well.line.x >= 0.0
    features = jnp.asarray(double_well.line.features[half][::2])
    auxiliary = InverseCdf(features, jnp.zeros(len(features)).at[0].add(-np.log(2.0)), 100)
    covariance = np.outer([0.615, 0.394], [0.615, 0.394]) * np.array([[1.0, 0.93], [0.93, 1.0]])
    return exchange_target(
        double_well.statistics,
        auxiliary=auxiliary,
        beta=1.0,
        centre=np.array([2.9, 2.04]),
        covariance=covariance,
    )


def test_exchange_equals_the_grid_posterior(double_well, target):
    """V13: V2's mean, standard deviations and correlation."""
    exchange = Exchange(double_well.prior, scale=1.2, thin=10)
    state = exchange.initial_state(jax.random.key(0), target, n_chains=100)
    state, _ = exchange.step(state, target, n=15)
    _, draws = exchange.step(state, target, n=150)
    mean, sd = np.array([2.901786, 2.040847]), np.array([0.615019, 0.394017])
    of_chains = draws.z.mean(axis=1)
    error = of_chains.std(axis=0, ddof=1) / np.sqrt(len(of_chains))
    flat = draws.z.reshape(-1, 2)
    assert np.all(error < 0.03 * sd)
    assert np.all(np.abs(flat.mean(axis=0) - mean) < 4.0 * error)
    spread = ((draws.z - mean) ** 2).mean(axis=1)
    spread_error = spread.std(axis=0, ddof=1) / np.sqrt(len(spread))
    assert np.all(np.abs(spread.mean(axis=0) - sd**2) < 4.0 * spread_error)
    assert abs(np.corrcoef(flat.T)[0, 1] - 0.929661) < 0.01
    assert 0.1 < draws.acceptance_rate.mean() < 0.7


def test_without_auxiliary_data_it_would_be_wrong(double_well, target):
    """The negative half: auxiliary frames of a wrong model shift the posterior by many Monte-Carlo errors."""
    wrong = target._replace(
        auxiliary=eqx.tree_at(lambda a: a.features, target.auxiliary, 1.1 * target.auxiliary.features)
    )
    exchange = Exchange(double_well.prior, scale=1.2, thin=10)
    state = exchange.initial_state(jax.random.key(0), wrong, n_chains=50)
    _, draws = exchange.step(state, wrong, n=60)
    assert np.abs(draws.z[:, 20:].mean(axis=(0, 1)) - [2.901786, 2.040847]).max() > 0.15


def test_a_run_in_pieces_gives_the_same_bits(double_well, target):
    exchange = Exchange(double_well.prior, thin=2)
    begin = exchange.initial_state(jax.random.key(3), target, n_chains=3)
    _, whole = exchange.step(begin, target, n=8)
    half, first = exchange.step(begin, target, n=3)
    restored = arrays_to_tree(tree_to_arrays(half), begin)
    _, second = exchange.step(restored, target, n=5)
    np.testing.assert_array_equal(whole.z, np.concatenate([first.z, second.z], axis=1))
    np.testing.assert_array_equal(exchange.step(begin, target, n=8)[1].z, whole.z)


def test_bad_input(double_well, target):
    with pytest.raises(InputError, match="90 frames, the data 100"):
        fewer = InverseCdf(target.auxiliary.features, target.auxiliary.log_weight, 90)
        exchange_target(
            double_well.statistics, auxiliary=fewer, beta=1.0, centre=np.zeros(2), covariance=np.eye(2)
        )
    with pytest.raises(InputError, match="not positive definite"):
        exchange_target(
            double_well.statistics,
            auxiliary=target.auxiliary,
            beta=1.0,
            centre=np.zeros(2),
            covariance=-np.eye(2),
        )
    with pytest.raises(InputError, match="scale is 0"):
        Exchange(double_well.prior, scale=0)
