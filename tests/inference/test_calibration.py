"""Calibration where the right width is known: misfit and memory (V8), prior-dominated directions, the affine map itself."""

import numpy as np
import pytest
from scipy import signal, stats

from bayescg.data import long_run_covariance
from bayescg.errors import InputError
from bayescg.inference import Calibration, calibrate, calibrated_draws
from bayescg.inference._calibrate import symmetric_root
from bayescg.physics import SufficientStatistics

# V8: y = z + a z³ with z AR(1), model U = θ y²/2.
MEMORY, CUBIC = 0.8, 0.1
TRUTH = 4.0 / 7.0
CURVATURE, LONG_RUN = 1.53125, 17.7813
N_FRAMES, N_SETS, N_DRAWS = 1000, 1200, 1000
NOMINAL = (0.05, 0.95)


def statistics_of(features, *, trajectory=None):
    nothing = np.zeros((len(features), 0))
    index = np.zeros(len(features), int) if trajectory is None else trajectory
    return SufficientStatistics(features, nothing, nothing, index)


def misspecified_series(rng, n_sets, n_frames):
    """Stationary series of y²/2 [set frame]."""
    noise = np.sqrt(1.0 - MEMORY**2) * rng.normal(size=(n_sets, n_frames))
    noise[:, 0] /= np.sqrt(1.0 - MEMORY**2)
    z = signal.lfilter([1.0], [1.0, -MEMORY], noise, axis=1)
    return (z + CUBIC * z**3) ** 2 / 2.0


def calibrate_gaussian_width(phi, theta):
    """Calibration of U = θ φ, φ = y²/2, at θ with the exact curvature and a flat prior."""
    return calibrate(
        statistics_of(phi[:, None]),
        beta=1.0,
        coefficient_jacobian=np.eye(1),
        curvature=np.full((1, 1), 0.5 / theta**2),
        prior_precision=np.zeros((1, 1)),
        prior_score_covariance=np.zeros((1, 1)),
        feature_error=np.zeros((1, 1)),
    )


@pytest.fixture(scope="module")
def repetitions():
    """Of every data set: whether the naive and the calibrated interval hold θ*, and the estimate of J."""
    rng = np.random.default_rng(8)
    rows = []
    for phi in misspecified_series(rng, N_SETS, N_FRAMES):
        theta = 0.5 / phi.mean()
        raw = rng.gamma(N_FRAMES / 2.0 + 1.0, 1.0 / phi.sum(), size=(N_DRAWS, 1))
        calibration = calibrate_gaussian_width(phi, theta)
        draws = calibrated_draws(raw, np.array([theta]), calibration, rng=rng)
        held = [low <= TRUTH <= high for low, high in (np.quantile(d, NOMINAL) for d in (raw, draws))]
        rows.append((*held, calibration.data_covariance[0, 0], calibration.fallback))
    return [np.asarray(column) for column in zip(*rows, strict=True)]


def test_naive_posterior_covers_as_little_as_theory_says(repetitions):
    """The negative half of V8: nominal 90 %, in truth 37 %."""
    assert repetitions[0].mean() == pytest.approx(0.3707, abs=0.03)


def test_calibrated_posterior_covers(repetitions):
    assert repetitions[1].mean() == pytest.approx(0.87, abs=0.03)
    assert not repetitions[3].any()


def test_variance_inflation_is_that_of_misfit_and_memory(repetitions):
    """J/H = 11.61; the batch means of 1000 frames see nearly all of it."""
    assert repetitions[2].mean() / CURVATURE == pytest.approx(LONG_RUN / CURVATURE, rel=0.15)


def test_long_series_gives_the_exact_inflation():
    phi = misspecified_series(np.random.default_rng(1), 1, 1_000_000)[0]
    j = long_run_covariance(phi, batch=500).covariance[0, 0]
    assert j / CURVATURE == pytest.approx(11.6123, rel=0.05)


def test_memory_alone_leaves_the_misfit_unexplained(repetitions):
    """Tempering by g, the usual remedy, misses the factor 2.78 of the model's wrong fluctuations."""
    phi = misspecified_series(np.random.default_rng(2), 1, 200_000)[0]
    g = calibrate_gaussian_width(phi, TRUTH).long_run.inefficiency[0]
    assert g == pytest.approx(4.17, rel=0.1)
    assert repetitions[2].mean() / CURVATURE > 2.3 * g


def two_directions(
    *, informed=1.0, uninformed=1e-6, precision=(1.0, 64.0), middle=(1.0, 64.0), seed=0, n=400
):
    """A direction that the data decide and one that the prior does, with independent frames."""
    curvature = np.diag([informed, uninformed])
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 2)) @ np.sqrt(curvature)
    return calibrate(
        statistics_of(features),
        beta=1.0,
        coefficient_jacobian=np.eye(2),
        curvature=curvature,
        prior_precision=np.diag(precision),
        prior_score_covariance=np.diag(middle),
        feature_error=np.zeros((2, 2)),
    )


def test_prior_dominated_direction_keeps_the_width_of_the_prior():
    covariance = two_directions().covariance
    assert covariance[1, 1] == pytest.approx(1.0 / 64.0, rel=0.01)
    assert covariance[0, 0] == pytest.approx(1.0 / 401.0, rel=0.5)


def test_textbook_sandwich_would_collapse_there():
    """The negative half: without Λ̄ in the middle the prior's own direction seems to be known."""
    assert two_directions(middle=(0.0, 0.0)).covariance[1, 1] < 1e-3 / 64.0


def test_direction_that_the_data_do_not_touch_has_exactly_the_prior_width():
    features = np.random.default_rng(3).normal(size=(200, 1))
    got = calibrate(
        statistics_of(features),
        beta=1.0,
        coefficient_jacobian=np.array([[1.0, 0.0]]),
        curvature=np.diag([1.0, 0.0]),
        prior_precision=np.diag([1.0, 0.25]),
        prior_score_covariance=np.diag([1.0, 0.25]),
        feature_error=np.zeros((1, 1)),
    )
    assert got.covariance[1, 1] == pytest.approx(4.0, rel=1e-12)
    assert got.covariance[0, 1] == 0.0


def test_finite_simulation_adds_its_variance():
    """With M = N frames of simulation as noisy as the data the variance doubles."""
    n, features = 300, np.random.default_rng(4).normal(size=(300, 1))
    common = dict(
        beta=2.0,
        coefficient_jacobian=np.eye(1),
        curvature=np.full((1, 1), 4.0),
        prior_precision=np.zeros((1, 1)),
        prior_score_covariance=np.zeros((1, 1)),
    )
    none = calibrate(statistics_of(features), feature_error=np.zeros((1, 1)), **common)
    same = calibrate(statistics_of(features), feature_error=none.data_covariance / (4.0 * n), **common)
    assert same.covariance[0, 0] == pytest.approx(2.0 * none.covariance[0, 0], rel=1e-10)


def test_too_few_batches_for_the_matrix_fall_back_to_the_worst_inefficiency():
    """The frames' own covariance, misfit included, times the largest g."""
    features = 1.5 * np.random.default_rng(5).normal(size=(100, 12))
    curvature = np.eye(12)
    got = calibrate(
        statistics_of(features),
        beta=1.0,
        coefficient_jacobian=np.eye(12),
        curvature=curvature,
        prior_precision=np.zeros((12, 12)),
        prior_score_covariance=np.zeros((12, 12)),
        feature_error=np.zeros((12, 12)),
    )
    assert got.fallback
    np.testing.assert_allclose(got.data_covariance, got.long_run.inefficiency.max() * np.cov(features.T))


def test_a_direction_that_nothing_holds_is_refused():
    with pytest.raises(InputError, match="proper prior"):
        two_directions(uninformed=0.0, precision=(1.0, 0.0))


def skewed_draws(n=4000):
    """Three correlated coordinates with a long tail [draw coordinate]."""
    rng = np.random.default_rng(6)
    mixing = np.array([[1.0, 0.6, -0.3], [0.0, 0.5, 0.4], [0.0, 0.0, 2.0]])
    return (rng.gamma(3.0, size=(n, 3)) - 3.0) @ mixing


def calibration_with(curvature, covariance, *, degrees_of_freedom=1e9, n=50) -> Calibration:
    p = len(curvature)
    features = np.random.default_rng(7).normal(size=(n, p))
    plain = calibrate(
        statistics_of(features),
        beta=1.0,
        coefficient_jacobian=np.eye(p),
        curvature=curvature,
        prior_precision=0.1 * np.eye(p),
        prior_score_covariance=0.1 * np.eye(p),
        feature_error=np.zeros((p, p)),
    )
    return plain._replace(covariance=covariance, degrees_of_freedom=degrees_of_freedom)


CURVED = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.5]])
WIDE = np.array([[0.5, 0.1, 0.0], [0.1, 0.8, -0.3], [0.0, -0.3, 1.5]])


def transformed(calibration: Calibration, matrix: np.ndarray) -> Calibration:
    """The same calibration in the coordinates `matrix @ z`."""
    back = np.linalg.inv(matrix)
    return calibration._replace(
        covariance=matrix @ calibration.covariance @ matrix.T,
        curvature=back.T @ calibration.curvature @ back,
        prior_precision=back.T @ calibration.prior_precision @ back,
    )


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3)[[2, 0, 1]],
        np.diag([1.0, 1e3, 1e-2]),
        np.array([[1.0, 0.4, 0.0], [-0.3, 1.0, 0.2], [0.1, 0.0, 3.0]]),
    ],
    ids=["order", "units", "mixing"],
)
def test_calibrated_draws_do_not_depend_on_the_coordinates(matrix):
    """Not on the parameters' order, nor on their units, nor on any linear change of them."""
    z, centre = skewed_draws(), np.array([0.2, -0.1, 0.3])
    calibration = calibration_with(CURVED, WIDE, degrees_of_freedom=9.0)
    plain = calibrated_draws(z, centre, calibration, rng=np.random.default_rng(1))
    changed = calibrated_draws(
        z @ matrix.T, matrix @ centre, transformed(calibration, matrix), rng=np.random.default_rng(1)
    )
    np.testing.assert_allclose(changed @ np.linalg.inv(matrix).T, plain, rtol=1e-7, atol=1e-8)


def test_a_cholesky_map_would_depend_on_the_order():
    """The negative half."""
    z = skewed_draws()
    z = z - z.mean(axis=0)
    order = [2, 0, 1]

    def mapped(draws, covariance):
        raw = np.linalg.cholesky(np.cov(draws.T))
        return draws @ np.linalg.inv(raw).T @ np.linalg.cholesky(covariance).T

    other = mapped(z[:, order], WIDE[np.ix_(order, order)])
    assert np.abs(other - mapped(z, WIDE)[:, order]).max() > 0.1


def test_calibrated_draws_have_the_calibrated_covariance_and_keep_their_mean():
    z = skewed_draws().reshape(4, 1000, 3)
    got = calibrated_draws(z, np.zeros(3), calibration_with(CURVED, WIDE), rng=np.random.default_rng(2))
    assert got.shape == z.shape
    np.testing.assert_allclose(np.cov(got.reshape(-1, 3).T), WIDE, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(got.mean(axis=(0, 1)), z.mean(axis=(0, 1)), atol=1e-3)


def test_draws_that_already_have_the_covariance_stay_where_they_are():
    z = skewed_draws()
    got = calibrated_draws(z, z[0], calibration_with(CURVED, np.cov(z.T)), rng=np.random.default_rng(2))
    np.testing.assert_allclose(got, z, atol=1e-3)


@pytest.mark.parametrize("nu", [5.0, 13.5])
def test_inflation_gives_the_tails_of_a_t(nu):
    rng = np.random.default_rng(9)
    z = rng.normal(size=(20_000, 2)) * np.array([1.0, 3.0])
    covariance = np.array([[4.0, 1.0], [1.0, 1.0]])
    calibration = calibration_with(np.eye(2), covariance, degrees_of_freedom=nu)
    got = calibrated_draws(z, np.zeros(2), calibration, rng=rng)
    for column, scale in zip(got.T, np.sqrt(np.diag(covariance)), strict=True):
        assert stats.kstest(column / scale, stats.t(nu).cdf).pvalue > 1e-3
        assert stats.kstest(column / scale, stats.norm.cdf).pvalue < 1e-3


def test_degrees_of_freedom_follow_the_number_of_batches():
    calibration = two_directions(n=400)
    assert calibration.degrees_of_freedom == pytest.approx(1.5 * (calibration.long_run.n_batches - 1.0))


def test_symmetric_root():
    root = symmetric_root(WIDE)
    np.testing.assert_allclose(root, root.T, atol=1e-14)
    np.testing.assert_allclose(root @ root, WIDE, atol=1e-12)
