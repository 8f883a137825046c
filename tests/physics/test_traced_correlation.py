"""Time correlations in JAX: those of NumPy, gradients by finite differences, a spring whose derivative is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from bayescg.errors import InputError
from bayescg.physics import (
    mean_squared_displacement,
    time_correlation,
    traced_mean_squared_displacement,
    traced_time_correlation,
    traced_velocity_autocorrelation,
    velocity_autocorrelation,
)

WALK = np.cumsum(np.random.default_rng(0).normal(size=(2, 3, 23, 4, 3)), axis=-3)
"""Of two draws and three replicas."""


@pytest.mark.parametrize("n_lags", [None, 1, 23])
def test_they_are_those_of_numpy_batched_over_draws_and_replicas(n_lags):
    series, other = WALK[..., 0], WALK[..., 1]
    pairs = [
        (
            time_correlation(series, other, n_lags=n_lags),
            traced_time_correlation(series, other, n_lags=n_lags),
        ),
        (velocity_autocorrelation(WALK, n_lags=n_lags), traced_velocity_autocorrelation(WALK, n_lags=n_lags)),
        (
            mean_squared_displacement(WALK, n_lags=n_lags),
            traced_mean_squared_displacement(WALK, n_lags=n_lags),
        ),
    ]
    for expected, found in pairs:
        assert expected.shape == found.shape and expected.shape[:2] == (2, 3)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("function", [traced_velocity_autocorrelation, traced_mean_squared_displacement])
def test_gradients_by_the_trajectory_are_those_of_differences(function):
    check_grads(lambda x: jnp.sum(jnp.sin(function(x, n_lags=5))), (WALK[0, 0, :9],), order=1, modes=["rev"])


def test_derivative_by_the_stiffness_of_a_spring():
    """x = cos(ωt + φ), ω² = k/m: over even phases the mean-squared displacement is 1 − cos(ωt), its slope by k t sin(ωt)/(2ω)."""
    k, times = 2.3, 0.05 * jnp.arange(200)
    phases = jnp.arange(4)[:, None] * np.pi / 4.0

    def displacement(stiffness):
        x = jnp.cos(jnp.sqrt(stiffness) * times + phases)
        return traced_mean_squared_displacement(x[..., None, None], n_lags=100).mean(axis=0)

    lags, omega = np.asarray(times[:100]), np.sqrt(k)
    np.testing.assert_allclose(displacement(k), 1.0 - np.cos(omega * lags), atol=1e-9)
    expected = lags * np.sin(omega * lags) / (2.0 * omega)
    np.testing.assert_allclose(jax.jacfwd(displacement)(k), expected, atol=1e-9)


def test_too_many_lags_are_refused():
    with pytest.raises(InputError, match="24 lags of 23 frames"):
        traced_mean_squared_displacement(jnp.asarray(WALK), n_lags=24)
