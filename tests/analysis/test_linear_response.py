"""Regression over a series of runs: closed forms, coverage of a known intercept and zero, orders, shared errors."""

import numpy as np
import pytest
from scipy.stats import linregress, t

from bayescg.analysis import (
    NormalInverseGamma,
    averaged_response,
    curvature_test,
    linear_response,
)
from bayescg.errors import InputError

CHARGE = np.linspace(-2.0, 3.0, 9)
ERRORS = np.array([0.05, 0.02, 0.03, 0.02, 0.04, 0.02, 0.03, 0.05, 0.03])
PZC, SLOPE = 0.37, 0.21


def voltages(rng, n, *, errors=ERRORS, curvature=0.0):
    exact = PZC + SLOPE * CHARGE + curvature * CHARGE**2
    return exact + errors * rng.normal(size=(n, len(CHARGE)))


def test_unknown_noise_is_ordinary_least_squares():
    y = voltages(np.random.default_rng(0), 1)[0]
    found, expected = linear_response(CHARGE, y), linregress(CHARGE, y)
    part, q = found.parts[0], t.ppf(0.95, 7)
    assert part.degrees_of_freedom == 7.0
    assert found.intercept(0.9).value == pytest.approx(expected.intercept)
    assert found.intercept(0.9).high - expected.intercept == pytest.approx(q * expected.intercept_stderr)
    assert found.slope(0.9).low == pytest.approx(expected.slope - q * expected.stderr)


def test_zero_is_fiellers_interval():
    y = voltages(np.random.default_rng(3), 1, errors=4 * ERRORS)[0]
    found = linear_response(CHARGE, y)
    (a, b), v, q = found.parts[0].coefficients, found.parts[0].covariance, t.ppf(0.95, 7)
    # (a + b x)² = q² (V_aa + 2 V_ab x + V_bb x²)
    roots = np.sort(np.roots([b**2 - q**2 * v[1, 1], 2 * (a * b - q**2 * v[0, 1]), a**2 - q**2 * v[0, 0]]))
    band = found.zero(0.9)
    assert band.value == pytest.approx(-a / b)
    np.testing.assert_allclose([band.low, band.high], roots, rtol=1e-6)


def test_prior_is_conjugate():
    """Runs taken in two halves, the posterior of the first as the prior of the second, give that of all."""
    y = voltages(np.random.default_rng(1), 1)[0]
    whole = linear_response(CHARGE, y, errors=ERRORS, scale_known=False).parts[0]
    design = np.stack([np.ones(9), CHARGE], axis=1) / ERRORS[:, None]
    first = NormalInverseGamma.reference(2).updated(design[:5], (y / ERRORS)[:5])
    both = linear_response(CHARGE[5:], y[5:], errors=ERRORS[5:], scale_known=False, prior=first).parts[0]
    np.testing.assert_allclose(both.coefficients, whole.coefficients, rtol=1e-9)
    np.testing.assert_allclose(both.covariance, whole.covariance, rtol=1e-9)
    assert both.degrees_of_freedom == whole.degrees_of_freedom == 7.0


@pytest.mark.parametrize("noise", ["known", "ratios", "nothing"])
def test_known_intercept_and_zero_are_covered(noise):
    rng, inside, n = np.random.default_rng(7), np.zeros(3), 200
    errors = ERRORS if noise != "nothing" else np.full(9, 0.03)
    given = None if noise == "nothing" else errors / (1.0 if noise == "known" else 2.7)
    for y in voltages(rng, n, errors=errors):
        found = linear_response(CHARGE, y, errors=given, scale_known=noise == "known")
        bands = found.intercept(0.8), found.slope(0.8), found.zero(0.8)
        inside += [b.low < x < b.high for b, x in zip(bands, (PZC, SLOPE, -PZC / SLOPE), strict=True)]
    assert np.abs(inside / n - 0.8).max() < 4.0 * np.sqrt(0.16 / n), inside / n


def test_a_shared_error_widens_the_intercept_alone():
    shared = np.diag(ERRORS**2) + 0.1**2
    y = voltages(np.random.default_rng(2), 1)[0]
    alone = linear_response(CHARGE, y, errors=ERRORS).parts[0]
    both = linear_response(CHARGE, y, covariance=shared).parts[0]
    np.testing.assert_allclose(both.coefficients, alone.coefficients, atol=1e-9)
    np.testing.assert_allclose(both.covariance - alone.covariance, [[0.01, 0.0], [0.0, 0.0]], atol=1e-9)


def test_estimated_scale_tells_that_errors_are_too_small():
    y = voltages(np.random.default_rng(5), 150, errors=3 * ERRORS)
    factors = [
        linear_response(CHARGE, row, errors=ERRORS, scale_known=False).parts[0].noise_factor for row in y
    ]
    assert np.sqrt(np.mean(np.square(factors))) == pytest.approx(3.0, rel=0.1)
    assert np.median([curvature_test(CHARGE, row, errors=ERRORS).misfit for row in y]) < 1e-4


def test_curvature_is_told_and_its_test_keeps_its_level():
    rng = np.random.default_rng(11)
    p = np.array([curvature_test(CHARGE, y, errors=ERRORS).p_value for y in voltages(rng, 150)])
    assert abs(np.mean(p < 0.1) - 0.1) < 4.0 * np.sqrt(0.09 / 150)
    p = np.array([curvature_test(CHARGE, y).p_value for y in voltages(rng, 150, errors=np.full(9, 0.03))])
    assert abs(np.mean(p < 0.1) - 0.1) < 4.0 * np.sqrt(0.09 / 150)
    bent = voltages(rng, 50, curvature=0.03)
    assert np.mean([curvature_test(CHARGE, y, errors=ERRORS).p_value < 0.01 for y in bent]) > 0.9


@pytest.mark.parametrize("known", [True, False])
def test_orders_are_averaged_by_how_they_explain_the_runs(known):
    rng = np.random.default_rng(13)
    errors = ERRORS if known else None
    straight = [averaged_response(CHARGE, y, errors=errors).probabilities for y in voltages(rng, 30)]
    bent = [
        averaged_response(CHARGE, y, errors=errors).probabilities for y in voltages(rng, 30, curvature=0.05)
    ]
    assert np.mean(straight, axis=0)[0] > (0.5 if known else 0.4)
    assert np.mean(bent, axis=0)[0] < 0.1 and np.mean(bent, axis=0)[1] > 0.5


def test_average_covers_a_bent_response_where_the_line_does_not():
    rng, hits = np.random.default_rng(17), np.zeros(2)
    for y in voltages(rng, 60, curvature=0.03):
        bands = [f(CHARGE, y, errors=ERRORS).intercept(0.9) for f in (linear_response, averaged_response)]
        hits += [band.low < PZC < band.high for band in bands]
    assert hits[0] / 60 < 0.5 and hits[1] / 60 > 0.75


def test_the_average_lies_between_its_orders():
    y = voltages(np.random.default_rng(19), 1, curvature=0.015)[0]
    found = averaged_response(CHARGE, y, errors=ERRORS)
    ends = np.array([p.at(0.5).interval(0.9) for p in found.parts])
    band = found.at(0.5, 0.9)
    assert ends[:, 0].min() <= band.low < band.value < band.high <= ends[:, 1].max()
    assert found.zero().low < found.zero().value < found.zero().high


def test_a_slope_of_either_sign_leaves_the_zero_open():
    y = np.array([0.2, -0.3, 0.25, -0.1, 0.1, -0.2, 0.3, -0.25, -0.1])
    band = linear_response(CHARGE, y).zero()
    assert band.low == -np.inf and band.high == np.inf


def test_wrong_series_are_refused():
    y = voltages(np.random.default_rng(0), 1)[0]
    with pytest.raises(InputError, match="no zero between"):
        linear_response(CHARGE, y + 9.0).zero()
    with pytest.raises(InputError, match="expected at least 3 runs"):
        linear_response(CHARGE[:2], y[:2])
    with pytest.raises(InputError, match="different x"):
        linear_response(np.ones(9), y)
    with pytest.raises(InputError, match="positive numbers"):
        linear_response(CHARGE, y, errors=0 * ERRORS)
    with pytest.raises(InputError, match="symmetric positive"):
        linear_response(CHARGE, y, covariance=np.ones((9, 9)))
    with pytest.raises(InputError, match="rising whole numbers"):
        averaged_response(CHARGE, y, orders=(2, 1))
