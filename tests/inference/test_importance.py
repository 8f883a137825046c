"""Values of a smooth function at many draws from its values at some."""

import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy.stats import multivariate_t

from bayescg.inference._importance import fitted_t_draws, smoothed_weights, systematic
from bayescg.inference._response_surface import LARGEST_ERROR, smooth_values, surface_points

ORDER = np.arange(3000)


class Counted:
    """A function of draws that counts how often it was asked."""

    def __init__(self, values):
        self.values, self.asked = values, []

    def __call__(self, draws):
        self.asked.extend(draws.tolist())
        return self.values[draws]


@pytest.fixture
def whitened():
    return np.random.default_rng(0).normal(size=(3000, 4))


def test_a_cubic_is_found_from_few_values(whitened):
    function = Counted(whitened[:, 0] ** 3 - 2.0 * whitened[:, 1] * whitened[:, 2] ** 2 + whitened[:, 3])
    values, error = smooth_values(function, whitened, order=ORDER[: len(whitened)])
    np.testing.assert_allclose(values, function.values, atol=1e-10)
    assert error < 1e-10
    assert len(function.asked) == len(set(function.asked)) <= surface_points(4, 3) + 32


def test_a_quartic_takes_more_values(whitened):
    function = Counted(0.3 * whitened[:, 0] ** 4 + whitened[:, 1])
    values, error = smooth_values(function, whitened, order=ORDER[: len(whitened)])
    np.testing.assert_allclose(values, function.values, atol=1e-9)
    assert surface_points(4, 3) < len(function.asked) == len(set(function.asked)) < len(whitened) / 2


def test_what_no_polynomial_says_is_computed_everywhere(whitened):
    function = Counted(np.sign(whitened[:, 0]) + np.sin(20.0 * whitened[:, 1]))
    values, error = smooth_values(function, whitened, order=ORDER[: len(whitened)])
    np.testing.assert_array_equal(values, function.values)
    assert error == 0.0 and sorted(function.asked) == list(range(len(whitened)))


def test_the_largest_values_are_computed(whitened):
    """A step that only the largest values see: the leave-one-out error is small, the comparison at them is not."""
    cubic = whitened[:, 0].copy()
    rare = cubic > np.sort(cubic)[-25]
    rare[ORDER[: surface_points(4, 4)]] = False
    function = Counted(cubic + 2.0 * rare)
    values, error = smooth_values(function, whitened, order=ORDER[: len(whitened)])
    np.testing.assert_array_equal(values, function.values)
    assert error == 0.0


def test_a_nearly_cubic_function_is_as_accurate_as_said(whitened):
    function = Counted(whitened[:, 0] ** 3 + 0.02 * np.sin(5.0 * whitened[:, 1]))
    values, error = smooth_values(function, whitened, order=ORDER[: len(whitened)])
    actual = np.sqrt(np.mean((values - function.values) ** 2))
    assert 0.0 < error <= LARGEST_ERROR
    assert 0.5 * actual < error < 3.0 * actual


def test_values_that_are_not_finite_are_computed_everywhere(whitened):
    function = Counted(np.where(whitened[:, 0] > 1.0, -np.inf, 0.0))
    values, error = smooth_values(function, whitened, order=ORDER[: len(whitened)])
    np.testing.assert_array_equal(values, function.values)


def test_few_draws_are_all_computed():
    whitened = np.random.default_rng(0).normal(size=(300, 2))
    function = Counted(whitened[:, 0])
    values, error = smooth_values(function, whitened, order=ORDER[: len(whitened)])
    np.testing.assert_array_equal(values, function.values)
    assert error == 0.0


def test_resampled_draws_tell_how_many_they_are_worth():
    """The error of a weighted mean, which copies scattered over a chain would hide.

    Normal draws with weights exp(a x): the mean's variance is E[w² (x − a)²]/n = exp(a²) (1 + a²)/n for normalised w.
    """
    rng, tilt = np.random.default_rng(3), 1.2
    draws = rng.normal(size=8000)
    weights = np.exp(tilt * draws)
    weights /= weights.sum()
    resampled = draws[systematic(weights, rng)].reshape(4, 2000)
    exact = len(draws) * np.exp(-(tilt**2)) / (1.0 + tilt**2)
    effective = float(array_stats.ess(resampled, chain_axis=0, draw_axis=1, method="mean"))
    assert effective == pytest.approx(exact, rel=0.35)
    assert resampled.mean() == pytest.approx(tilt, abs=4.0 / np.sqrt(exact))


def test_systematic_resampling_takes_each_as_often_as_its_weight_says():
    weights = np.array([0.1, 0.4, 0.0, 0.5])
    picked = systematic(np.repeat(weights, 25) / 25.0, np.random.default_rng(0)) // 25
    np.testing.assert_allclose(np.bincount(picked, minlength=4) / 100.0, weights, atol=0.0101)


def test_a_fitted_t_has_the_moments_and_the_density_that_it_says():
    rng = np.random.default_rng(5)
    draws = rng.normal(size=(4000, 2)) @ np.array([[1.0, 0.5], [0.0, 0.3]]) + [2.0, -1.0]
    weights = np.full(4000, 1 / 4000)
    new, log_density = fitted_t_draws(draws, weights, n=200_000, rng=rng)
    np.testing.assert_allclose(new.mean(axis=0), [2.0, -1.0], atol=0.05)
    np.testing.assert_allclose(np.cov(new.T), np.cov(draws.T) * 5 / 3, rtol=0.15)
    expected = multivariate_t(draws.mean(axis=0), np.cov(draws.T, ddof=0), df=5).logpdf(new)
    np.testing.assert_allclose(log_density - log_density[0], expected - expected[0], atol=1e-8)


def test_a_fitted_t_mends_what_its_own_weights_say():
    """From weighted draws of a narrow proposal to the moments of the wide target."""
    rng = np.random.default_rng(6)
    narrow = 0.7 * rng.normal(size=(8000, 3))
    log_weights = -0.5 * np.sum(narrow**2, axis=1) * (1.0 - 1.0 / 0.49)
    weights = np.exp(log_weights - log_weights.max())
    draws, log_proposal = fitted_t_draws(narrow, weights / weights.sum(), n=8000, rng=rng)
    log_ratio = -0.5 * np.sum(draws**2, axis=1) - log_proposal
    weights = np.exp(log_ratio - log_ratio.max())
    weights /= weights.sum()
    assert 1.0 / np.sum(weights**2) > 4000
    np.testing.assert_allclose(np.sqrt(weights @ draws**2), 1.0, rtol=0.06)


def test_draws_that_are_not_finite_have_no_weight():
    log_ratio = np.random.default_rng(0).normal(size=1000)
    log_ratio[:3] = [np.nan, -np.inf, np.inf]
    weights, khat = smoothed_weights(log_ratio)
    assert np.all(weights[:3] < 1e-15) and weights.sum() == pytest.approx(1.0) and khat < 0.7
    assert smoothed_weights(np.full(100, np.nan))[1] == np.inf
