"""Which combinations the data decide: against formulas for diagonal, rotated and null directions."""

import numpy as np
import pytest

from bayescg.analysis import fisher_spectrum, identifiability, participation
from bayescg.data import LongRunCovariance
from bayescg.inference import Calibration

N = 2000


def calibration_of(curvature, prior, *, inflation=None):
    """H, Λ̄ and J = √g H √g with an inflation g per coordinate."""
    p = len(curvature)
    root = np.diag(np.sqrt(np.ones(p) if inflation is None else np.asarray(inflation)))
    data = root @ curvature @ root
    long_run = LongRunCovariance(data, curvature, 40, N / 40, 0, np.ones(p), N)
    return Calibration(np.eye(p), 70.0, curvature, data, np.zeros((p, p)), prior, prior, long_run, False)


def scores_of(curvature, *, seed=0, factor=1.0):
    """Frames whose covariance is exactly factor · H."""
    raw = np.random.default_rng(seed).normal(size=(N, len(curvature)))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(raw.T @ raw / N)).T
    values, vectors = np.linalg.eigh(curvature)
    return np.sqrt(factor) * white @ (vectors * np.sqrt(np.maximum(values, 0.0))).T


def test_diagonal_case_by_hand():
    curvature, prior = np.diag([4.0, 1e-4]), np.diag([1.0, 0.25])
    got = identifiability(calibration_of(curvature, prior), scores_of(curvature))
    np.testing.assert_allclose(got.fisher_eigenvalue, [4.0, 1e-4], rtol=1e-6)
    relative = np.array([N * 4.0, N * 1e-4 / 0.25])
    np.testing.assert_allclose(got.prior_relative, relative, rtol=1e-6)
    np.testing.assert_allclose(got.contraction, relative / (1 + relative), rtol=1e-6)
    np.testing.assert_allclose(np.abs(got.directions), np.eye(2), atol=1e-6)
    np.testing.assert_allclose(got.independent_frames, N, rtol=1e-6)
    np.testing.assert_allclose(got.fluctuation_ratio, 1.0, rtol=1e-6)
    assert got.effective_parameters == pytest.approx(np.sum(relative / (1 + relative)), rel=1e-6)


def test_fisher_spectrum_is_that_of_the_information_without_the_prior():
    """Out of a spectrum relative to a prior that is neither diagonal nor of one scale, the plain H comes back."""
    stiff, soft = np.array([1.0, 6.0, 0.5]), np.array([6.0, -1.0, 0.2])
    curvature = 3.0 * np.outer(stiff, stiff) + 0.01 * np.outer(soft, soft) + 1e-3 * np.eye(3)
    prior = np.array([[1.0, 0.3, 0.0], [0.3, 25.0, 0.2], [0.0, 0.2, 0.04]])
    relative = identifiability(calibration_of(curvature, prior), scores_of(curvature))
    found = fisher_spectrum(relative, prior)
    values, vectors = np.linalg.eigh(curvature)
    np.testing.assert_allclose(found.eigenvalue, values[::-1], rtol=1e-6)
    shares = participation(found.eigenvector)
    np.testing.assert_allclose(shares, (vectors.T[::-1]) ** 2, atol=1e-6)
    np.testing.assert_allclose(
        shares[0], stiff**2 / (stiff @ stiff), atol=1e-3
    )  # v_i² of the stiff direction
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    # relative to this prior the first direction is another one
    assert np.abs(participation(relative.directions[0]) - shares[0]).max() > 0.1


def test_memory_counts_frames_once():
    curvature, prior = np.diag([4.0, 1.0]), np.eye(2)
    got = identifiability(calibration_of(curvature, prior, inflation=(2.0, 10.0)), scores_of(curvature))
    np.testing.assert_allclose(got.independent_frames, [N / 2.0, N / 10.0], rtol=1e-6)
    np.testing.assert_allclose(got.prior_relative, [N * 4.0 / 2.0, N * 1.0 / 10.0], rtol=1e-6)


def test_anticorrelated_frames_count_at_most_once_each():
    curvature = np.eye(1)
    got = identifiability(calibration_of(curvature, np.eye(1), inflation=(0.3,)), scores_of(curvature))
    assert got.independent_frames[0] == pytest.approx(N)


def test_misfit_shows_in_the_fluctuations_and_not_in_the_frames():
    """Data fluctuate 2.5 times as much as the model, independently: J and the variance grow alike."""
    curvature = np.diag([1.0, 3.0])
    calibration = calibration_of(curvature, np.eye(2), inflation=(2.5, 2.5))
    got = identifiability(calibration, scores_of(curvature, factor=2.5))
    np.testing.assert_allclose(got.fluctuation_ratio, 2.5, rtol=1e-6)
    np.testing.assert_allclose(got.independent_frames, N, rtol=1e-6)


def test_mean_of_the_scores_does_not_matter():
    curvature = np.diag([1.0, 3.0])
    shifted = identifiability(
        calibration_of(curvature, np.eye(2)), scores_of(curvature) + np.array([5.0, -2.0])
    )
    np.testing.assert_allclose(shifted.fluctuation_ratio, 1.0, rtol=1e-6)


def test_best_known_direction_comes_first_and_has_unit_length():
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    curvature = rotation @ np.diag([1e-3, 10.0, 0.5, 30.0]) @ rotation.T
    got = identifiability(calibration_of(curvature, np.eye(4)), scores_of(curvature))
    np.testing.assert_allclose(got.fisher_eigenvalue, [30.0, 10.0, 0.5, 1e-3], rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(got.directions, axis=1), 1.0)
    np.testing.assert_allclose(np.abs(got.directions @ rotation)[:, [3, 1, 2, 0]], np.eye(4), atol=1e-5)


def test_spectrum_against_the_prior_does_not_depend_on_the_coordinates():
    curvature, prior = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[3.0, -1.0], [-1.0, 4.0]])
    matrix = np.array([[2.0, 1.0], [0.0, 30.0]])
    back = np.linalg.inv(matrix)
    plain = identifiability(calibration_of(curvature, prior), scores_of(curvature))
    changed = identifiability(
        calibration_of(back.T @ curvature @ back, back.T @ prior @ back), scores_of(curvature) @ back
    )
    np.testing.assert_allclose(changed.prior_relative, plain.prior_relative, rtol=1e-8)


@pytest.mark.parametrize("angle", [0.0, 0.6])
def test_null_direction_has_no_information_at_all(angle):
    """Structurally unidentified: exactly zero, nothing in it is a number made of rounding."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    curvature = turn @ np.diag([5.0, 0.0]) @ turn.T
    got = identifiability(calibration_of(curvature, np.eye(2)), scores_of(curvature))
    np.testing.assert_array_equal(got.prior_relative[1], 0.0)
    np.testing.assert_array_equal(got.contraction[1], 0.0)
    np.testing.assert_array_equal(got.fisher_eigenvalue[1], 0.0)
    assert np.isnan(got.independent_frames[1]) and np.isnan(got.fluctuation_ratio[1])
    np.testing.assert_allclose(np.abs(got.directions[1] @ turn), [0.0, 1.0], atol=1e-7)


def test_sum_of_springs_in_series_is_known_and_their_ratio_is_not():
    """V7: k_eff = k₁k₂/(k₁ + k₂) at k = (1, 3), in log k: null vector (1, −3)/√10, other eigenvalue .3125."""
    gradient = np.array([3.0, 1.0]) / 4.0
    curvature = 0.5 * np.outer(gradient, gradient)
    got = identifiability(calibration_of(curvature, np.eye(2)), scores_of(curvature))
    assert got.fisher_eigenvalue[0] == pytest.approx(0.3125, abs=1e-8)
    np.testing.assert_allclose(np.abs(got.directions[1]), np.array([1.0, 3.0]) / np.sqrt(10.0), atol=1e-8)
    assert got.directions[1, 0] * got.directions[1, 1] < 0
    assert got.contraction[1] == 0.0
