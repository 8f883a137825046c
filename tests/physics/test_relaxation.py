"""The trust-region Newton method on functions whose minima are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.physics._relaxation import minimise


def rosenbrock(x):
    return 1.0 + jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def test_a_long_valley():
    found = minimise(jax.value_and_grad(rosenbrock), jnp.array([-1.2, 1.0, -0.5]), length=1.0)
    assert bool(found.converged)
    np.testing.assert_allclose(found.position, 1.0, atol=1e-9)
    assert float(found.energy) == pytest.approx(1.0, abs=1e-12)


def test_a_saddle_is_left():
    found = minimise(
        jax.value_and_grad(lambda x: (x[0] ** 2 - 1.0) ** 2 + x[1] ** 2), jnp.array([1e-6, 0.7]), length=1.0
    )
    assert bool(found.converged)
    np.testing.assert_allclose(jnp.abs(found.position), [1.0, 0.0], atol=1e-9)


def test_directions_without_curvature_do_no_harm():
    found = minimise(
        jax.value_and_grad(lambda x: -3.0 + (jnp.sum(x) - 2.0) ** 2 + x[0] ** 4),
        jnp.array([0.5, 3.0, 1.0]),
        length=1.0,
    )
    assert bool(found.converged)
    assert float(found.energy) == pytest.approx(-3.0, abs=1e-9)


def test_no_minimum_is_not_converged():
    found = minimise(jax.value_and_grad(lambda x: -jnp.sum(x**2)), jnp.array([0.1]), length=1.0, max_steps=20)
    assert not bool(found.converged)
    assert int(found.n_steps) == 20


def test_not_a_number_ends_the_loop():
    found = minimise(jax.value_and_grad(lambda x: jnp.sum(jnp.log(x))), jnp.array([-1.0]), length=1.0)
    assert not bool(found.converged) and int(found.n_steps) == 0
