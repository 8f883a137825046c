"""Runs with errors estimated from few blocks: coverage where normal bands are too narrow, and the limit of many blocks."""

import jax
import numpy as np
import pytest
from scipy.stats import t

from bayescg.analysis import estimated_error_response, linear_response
from bayescg.errors import ConvergenceError, InputError

CHARGE = np.linspace(-2.0, 3.0, 7)
PZC, SLOPE, SD, NU = 0.37, 0.21, 0.05, 3.0
KEY = jax.random.key(0)


def series(rng):
    y = PZC + SLOPE * CHARGE + SD * rng.normal(size=7)
    return y, SD * np.sqrt(rng.chisquare(NU, size=7) / NU)


def test_bands_cover_where_normal_ones_are_too_narrow():
    rng, n, inside, narrow = np.random.default_rng(0), 200, np.zeros(3), 0
    for key in jax.random.split(KEY, n):
        y, e = series(rng)
        found = estimated_error_response(CHARGE, y, errors=e, degrees_of_freedom=np.full(7, NU), key=key)
        bands = found.intercept(0.8), found.slope(0.8), found.zero(0.8)
        inside += [b.low < x < b.high for b, x in zip(bands, (PZC, SLOPE, -PZC / SLOPE), strict=True)]
        normal = linear_response(CHARGE, y, errors=e).intercept(0.8)
        narrow += normal.low < PZC < normal.high
    assert np.abs(inside / n - 0.8).max() < 4.0 * np.sqrt(0.16 / n), inside / n
    assert narrow / n < 0.7


def test_posterior_is_the_product_of_students_t():
    y, e = series(np.random.default_rng(1))
    found = estimated_error_response(
        CHARGE, y, errors=e, degrees_of_freedom=np.full(7, NU), key=KEY, n_draws=9000
    )
    line = linear_response(CHARGE, y, errors=e).parts[0]
    sd = 6.0 * np.sqrt(np.diag(line.covariance))
    a = np.linspace(-1.0, 1.0, 301)[:, None] * sd[0] + line.coefficients[0]
    b = np.linspace(-1.0, 1.0, 301)[None] * sd[1] + line.coefficients[1]
    density = np.prod([t.pdf((y_i - a - b * x) / s, NU) for x, y_i, s in zip(CHARGE, y, e)], axis=0)
    share = density.sum(axis=1) / density.sum()
    mean = share @ a[:, 0]
    exact = np.sqrt(share @ (a[:, 0] - mean) ** 2)
    draws = found.coefficients[:, 0]
    assert abs(draws.mean() - mean) < 4.0 * exact / np.sqrt(4000)
    assert draws.std() == pytest.approx(exact, rel=0.06)


def test_many_blocks_are_known_errors():
    y, _ = series(np.random.default_rng(2))
    e = np.full(7, SD)
    found = estimated_error_response(CHARGE, y, errors=e, degrees_of_freedom=np.full(7, np.inf), key=KEY)
    exact = linear_response(CHARGE, y, errors=e)
    for band, known in ((found.intercept(), exact.intercept()), (found.zero(), exact.zero())):
        np.testing.assert_allclose(band, known, atol=0.1 * (known.high - known.low))


def test_an_odd_run_hardly_counts():
    y, _ = series(np.random.default_rng(3))
    e = np.full(7, SD)
    y[0] += 20 * SD
    found = estimated_error_response(CHARGE, y, errors=e, degrees_of_freedom=np.full(7, 2.0), key=KEY)
    assert (
        abs(found.intercept().value - PZC) < 2 * SD < abs(linear_response(CHARGE, y).intercept().value - PZC)
    )


def test_wrong_series_are_refused():
    y, e = series(np.random.default_rng(4))
    with pytest.raises(InputError, match="7 positive numbers"):
        estimated_error_response(CHARGE, y, errors=e, degrees_of_freedom=np.zeros(7), key=KEY)
    with pytest.raises(
        ConvergenceError, match="effective draws"
    ):  # three laws without a mean for three coefficients
        estimated_error_response(
            CHARGE[:3], y[:3], errors=e[:3], degrees_of_freedom=np.full(3, 0.5), key=KEY, order=2
        )
