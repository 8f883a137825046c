"""Coverage where everything is Gaussian (V9): a prior-dominated direction keeps its width only with Λ in the middle."""

import numpy as np
import pytest

from bayescg.inference import calibrate, calibrated_draws
from bayescg.physics import SufficientStatistics

INFORMATION = np.array([100.0, 1.0])
"""N H: of N = 100 frames with H = (1, .01), here spread over more frames, so that J is estimated well."""
PRIOR = np.array([1.0, 64.0])
INFLATION = 4.0
N_FRAMES, N_SETS, N_DRAWS = 8000, 2000, 600


def coverage(rng, *, truth=None) -> np.ndarray:
    """Share of 90 % intervals that hold the truth: raw, without Λ, with Λ in the middle [method direction].

    Frames' scores have the mean H θ* and the covariance J = 4 H; θ* is drawn anew from the prior unless given.
    """
    curvature = np.diag(INFORMATION / N_FRAMES)
    precision = np.diag(PRIOR)
    total = np.diag(INFORMATION) + precision
    held = []
    for _ in range(N_SETS):
        theta = rng.normal(size=2) / np.sqrt(PRIOR) if truth is None else truth
        features = curvature @ theta + rng.normal(size=(N_FRAMES, 2)) * np.sqrt(
            INFLATION * np.diag(curvature)
        )
        nothing = features[:, :0]
        statistics = SufficientStatistics(features, nothing, nothing, np.zeros(N_FRAMES, int))
        mode = np.linalg.solve(total, features.sum(axis=0))
        raw = mode + rng.normal(size=(N_DRAWS, 2)) / np.sqrt(np.diag(total))
        ensembles = [raw]
        for middle in (np.zeros((2, 2)), precision):
            calibration = calibrate(
                statistics,
                beta=1.0,
                coefficient_jacobian=np.eye(2),
                curvature=curvature,
                prior_precision=precision,
                prior_score_covariance=middle,
                feature_error=np.zeros((2, 2)),
            )
            ensembles.append(calibrated_draws(raw, mode, calibration, rng=rng))
        quantiles = [np.quantile(draws, [0.05, 0.95], axis=0) for draws in ensembles]
        held.append([(low <= theta) & (theta <= high) for low, high in quantiles])
    return np.mean(held, axis=0)


@pytest.mark.slow
def test_coverage_averaged_over_the_prior():
    raw, without, with_prior = coverage(np.random.default_rng(9))
    print("raw", raw, "without", without, "with", with_prior)
    np.testing.assert_allclose(raw, [0.591, 0.892], atol=0.02)
    np.testing.assert_allclose(without, [0.900, 0.310], atol=0.02)
    np.testing.assert_allclose(with_prior, [0.900, 0.900], atol=0.02)


@pytest.mark.slow
def test_coverage_of_a_truth_far_out_in_the_prior():
    """What calibration does not promise: two prior standard deviations out, the sloppy direction is covered in 11 %."""
    truth = np.array([0.0, 2.0 / np.sqrt(PRIOR[1])])
    with_prior = coverage(np.random.default_rng(10), truth=truth)[2]
    print("at +2 prior sd:", with_prior)
    assert with_prior[1] == pytest.approx(0.11, abs=0.02)
