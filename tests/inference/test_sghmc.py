"""SGHMC: the variance that its law predicts, with the gradient's noise added or subtracted."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from bayescg.data import statistical_inefficiency
from bayescg.errors import InputError
from bayescg.inference import (
    Sghmc,
    Sgld,
    choose_step,
    variance_ratio,
    variance_ratio_with_memory,
    white_noise,
)
from bayescg.inference._checkpoint import arrays_to_tree, tree_to_arrays

_SPEC = importlib.util.spec_from_file_location(
    "stochastic_gradient_toys", Path(__file__).with_name("stochastic_gradient_toys.py")
)
toys = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(toys)


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize(("decay", "step"), [(0.3, 0.1), (0.3, 0.02), (0.8, 0.2)])
def test_white_noise_gives_the_variance_of_the_law(decay, step, corrected):
    gradient = toys.tilted(n_frames=10, n_replicas=4, batch_size=4)
    target = toys.tilted_target(gradient, noise=5.0, step=step)
    sampler = Sghmc(decay=decay, corrected=corrected, thin=max(10, round(4 * decay / step)))
    measured = toys.measured_ratios(sampler, target, n_chains=400, n_draws=40, n_burn=8)
    expected = variance_ratio(step, 5.0, decay=decay, corrected=corrected)
    np.testing.assert_allclose(measured, expected, rtol=0.05)


def test_replicas_that_remember_and_lag_behind():
    gradient = toys.tilted(n_frames=20, n_replicas=20, memory=2 / 3, lag=1.0)
    target = toys.tilted_target(gradient, noise=5.0, step=0.03)
    measured = toys.measured_ratios(Sghmc(decay=0.4, thin=50), target, n_chains=400, n_draws=40, n_burn=8)
    expected = variance_ratio_with_memory(0.03, np.array([5.0]), np.array([5.0]), decay=0.4)
    np.testing.assert_allclose(measured, expected[0], rtol=0.05)


def test_the_autocorrelation_time_is_the_predicted_one():
    gradient = toys.tilted(n_frames=20, n_replicas=20)
    target = toys.tilted_target(gradient, noise=1.0, step=0.05)
    choice = choose_step(white_noise(np.eye(2)), tolerance=0.2, decay=0.5, step=0.05)
    sampler = Sghmc(decay=0.5)
    state = sampler.initial_state(jax.random.key(0), target, n_chains=20)
    _, draws = sampler.step(state, target, n=4000)
    w = (draws.z - np.asarray(target.centre)) @ np.linalg.inv(np.asarray(target.root)).T
    measured = statistical_inefficiency(w.reshape(-1, 2), lengths=[4000] * 20)
    np.testing.assert_allclose(measured, choice.autocorrelation_time, rtol=0.1)


def test_without_momenta_it_is_sgld():
    gradient = toys.tilted(n_frames=50, n_replicas=10)
    target = toys.tilted_target(gradient, noise=5.0, step=0.2)
    draws = []
    for sampler in (Sghmc(decay=1.0, thin=2), Sgld(thin=2)):
        state = sampler.initial_state(jax.random.key(1), target, n_chains=3)
        draws.append(sampler.step(state, target, n=20)[1].z)
    np.testing.assert_array_equal(*draws)


def test_a_run_in_pieces_gives_the_same_bits():
    gradient = toys.tilted(n_frames=40, n_replicas=8, memory=0.5, lag=1.0, batch_size=10)
    target = toys.tilted_target(gradient, noise=10.0, step=0.05)
    sampler = Sghmc(decay=0.3, thin=3)
    begin = sampler.initial_state(jax.random.key(2), target, n_chains=4)
    _, whole = sampler.step(begin, target, n=10)
    half, first = sampler.step(begin, target, n=4)
    _, second = sampler.step(arrays_to_tree(tree_to_arrays(half), begin), target, n=6)
    np.testing.assert_array_equal(whole.z, np.concatenate([first.z, second.z], axis=1))


def test_a_step_too_large_for_its_tolerance_is_refused():
    with pytest.raises(InputError, match="decay is 0, expected above 0"):
        Sghmc(decay=0)
    with pytest.raises(InputError, match="step 0.2 is too large: it biases the variance by"):
        choose_step(white_noise(5.0 * np.eye(2)), decay=0.1, step=0.2)
