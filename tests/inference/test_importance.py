"""Values of a smooth function at many draws from its values at some."""

import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy.stats import multivariate_t

from bayescg.inference._importance import mixture_draws, smoothed_weights, systematic
from bayescg.inference._response_surface import LARGEST_ERROR, smooth_values, surface_points
from bayescg.inference._t_mixture import TMixture, fit_t_mixture, flattened

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


def test_what_no_polynomial_says_is_not_said(whitened):
    function = Counted(np.sign(whitened[:, 0]) + np.sin(20.0 * whitened[:, 1]))
    _, error = smooth_values(function, whitened, order=ORDER[: len(whitened)])
    assert error == np.inf and len(function.asked) <= surface_points(4, 4)


def test_the_largest_values_are_computed(whitened):
    """A step that only the largest values see: the leave-one-out error is small, the comparison at them is not."""
    cubic = whitened[:, 0].copy()
    rare = cubic > np.sort(cubic)[-25]
    rare[ORDER[: surface_points(4, 4)]] = False
    function = Counted(cubic + 2.0 * rare)
    _, error = smooth_values(function, whitened, order=ORDER[: len(whitened)])
    assert error == np.inf


def test_a_nearly_cubic_function_is_as_accurate_as_said(whitened):
    function = Counted(whitened[:, 0] ** 3 + 0.02 * np.sin(5.0 * whitened[:, 1]))
    values, error = smooth_values(function, whitened, order=ORDER[: len(whitened)])
    actual = np.sqrt(np.mean((values - function.values) ** 2))
    assert 0.0 < error <= LARGEST_ERROR
    assert 0.5 * actual < error < 3.0 * actual


def test_values_that_are_not_finite_are_no_polynomial(whitened):
    function = Counted(np.where(whitened[:, 0] > 1.0, -np.inf, 0.0))
    assert smooth_values(function, whitened, order=ORDER[: len(whitened)])[1] == np.inf


def test_few_draws_are_too_few():
    whitened = np.random.default_rng(0).normal(size=(300, 2))
    assert smooth_values(Counted(whitened[:, 0]), whitened, order=ORDER[: len(whitened)])[1] == np.inf


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


def test_a_mixture_has_the_density_that_it_says():
    """Against scipy's multivariate t, and by the frequency of its draws in a box."""
    rng = np.random.default_rng(5)
    root = np.stack([np.array([[1.0, 0.0], [0.5, 0.3]]), np.array([[0.2, 0.0], [0.0, 0.4]])])
    mixture = TMixture(np.array([0.3, 0.7]), np.array([[2.0, -1.0], [0.0, 1.0]]), root)
    draws = mixture.sample(200_000, rng)
    parts = [
        share * multivariate_t(mean, r @ r.T, df=5).pdf(draws[:1000])
        for share, mean, r in zip(mixture.share, mixture.mean, root, strict=True)
    ]
    np.testing.assert_allclose(np.exp(mixture.log_density(draws[:1000])), sum(parts), rtol=1e-10)
    first, second = np.meshgrid(np.arange(-0.495, 0.5, 0.01), np.arange(0.505, 1.5, 0.01))
    inside = np.mean(np.all((draws > [-0.5, 0.5]) & (draws < [0.5, 1.5]), axis=1))
    cells = np.exp(mixture.log_density(np.stack([first.ravel(), second.ravel()], axis=1)))
    assert inside == pytest.approx(cells.mean(), abs=4.0 * np.sqrt(0.25 / len(draws)) + 1e-3)


def test_a_mixture_is_fitted_to_weighted_draws():
    """Expectation and maximisation raise the weighted log density; two separate lumps are found with their shares."""
    rng = np.random.default_rng(6)
    lumps = np.concatenate([rng.normal(size=(3000, 2)) * 0.3, rng.normal(size=(3000, 2)) * 0.2 + [4.0, 0.0]])
    weights = np.where(np.arange(6000) < 3000, 3.0, 1.0) / 12_000
    mixture = fit_t_mixture(lumps, weights, n_components=4, rng=rng)
    later = mixture.updated(lumps, weights)
    assert weights @ later.log_density(lumps) >= weights @ mixture.log_density(lumps) - 1e-3
    near = np.linalg.norm(mixture.mean, axis=1) < 2.0
    assert mixture.share[near].sum() == pytest.approx(0.75, abs=0.02)


def test_components_without_draws_are_dropped():
    rng = np.random.default_rng(7)
    draws = rng.normal(size=(500, 2))
    far = TMixture(np.array([0.5, 0.5]), np.array([[0.0, 0.0], [1e3, 0.0]]), np.stack([np.eye(2)] * 2))
    assert len(far.updated(draws, np.full(500, 1 / 500)).share) == 1


def test_mixtures_find_a_bent_target():
    """A banana, x ~ N(0, 2²) and y | x ~ N(x²/4, 0.5²), from draws of its middle; its moments are known."""
    rng = np.random.default_rng(8)
    middle = rng.normal(size=(2000, 1))
    start = np.column_stack([middle, middle**2 / 4 + 0.5 * rng.normal(size=(2000, 1))])

    def log_density(points):
        x, y = points.T
        return -0.5 * (x / 2.0) ** 2 - 0.5 * ((y - x**2 / 4) / 0.5) ** 2

    found = mixture_draws(
        start, np.full(2000, 1 / 2000), log_density, n=4000, n_last=40_000, rounds=4, rng=rng
    )
    effective = 1.0 / np.sum(found.weights**2)
    assert effective > 10_000
    mean = found.weights @ found.draws
    spread = np.sqrt(2.0 + 0.5**2)  # of y: Var(x²/4) = 2, and the width of the valley
    np.testing.assert_allclose(mean, [0.0, 1.0], atol=4.0 * spread / np.sqrt(effective))
    assert found.weights @ found.draws[:, 0] ** 2 == pytest.approx(4.0, rel=0.06)


def test_draws_that_are_not_finite_have_no_weight():
    log_ratio = np.random.default_rng(0).normal(size=1000)
    log_ratio[:3] = [np.nan, -np.inf, np.inf]
    weights, khat = smoothed_weights(log_ratio)
    assert np.all(weights[:3] < 1e-15) and weights.sum() == pytest.approx(1.0) and khat < 0.7
    assert smoothed_weights(np.full(100, np.nan))[1] == np.inf


def test_mixtures_come_near_from_weights_that_one_draw_holds():
    """A target eight standard deviations away in five coordinates: at first one draw has all the weight, and a covariance
    of one draw is nothing."""
    rng = np.random.default_rng(6)
    draws = rng.normal(size=(500, 5))

    def log_density(points):
        return -0.5 * np.sum(((points - 8.0 / np.sqrt(5.0)) / 0.5) ** 2, axis=1)

    weights, _ = smoothed_weights(log_density(draws) + 0.5 * np.sum(draws**2, axis=1))
    assert 1.0 / np.sum(weights**2) < 3.0
    found = mixture_draws(draws, weights, log_density, n=500, n_last=4000, rounds=10, rng=rng)
    assert found.khat < 0.5
    mean = found.weights @ found.draws
    np.testing.assert_allclose(mean, 8.0 / np.sqrt(5.0), atol=0.08)
    np.testing.assert_allclose(np.sqrt(found.weights @ (found.draws - mean) ** 2), 0.5, rtol=0.1)


def test_flattened_weights_keep_order_and_leave_good_ones_alone():
    even = np.full(100, 0.01)
    np.testing.assert_allclose(flattened(even, size=5), even)
    steep = np.exp(-np.arange(100.0))
    flat = flattened(steep / steep.sum(), size=5)
    assert 15.0 < 1.0 / np.sum(flat**2) < 60.0 and np.all(np.diff(flat) <= 0.0)
    only = np.eye(100)[0]
    assert 1.0 / np.sum(flattened(only, size=5) ** 2) > 15.0
