"""The parts of an error bar add up; scores and coverage of held-out observables; the discrepancy that is left."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayescg.analysis import (
    budget_sentence,
    coverage_words,
    discrepancy_scale,
    error_budget,
    held_out_scores,
    nested_split,
)
from bayescg.errors import InputError


def split_of(n, *, parametric=0.8, simulation=0.6, fluctuation=2.0):
    names = [f"o{i}" for i in range(n)]

    def per(value):
        return ("observable", np.full(n, value), {"units": "bar"})

    return xr.Dataset(
        {
            "mean": per(10.0),
            "parametric_sd": per(parametric),
            "simulation_sd": per(simulation),
            "fluctuation_sd": per(fluctuation),
        },
        coords={"observable": names},
        attrs={"observable": "pressure"},
    )


def test_parts_add_up_and_shares_to_one():
    budget = error_budget(split_of(3), averaged_frames=16.0, discrepancy_sd=0.5)
    assert budget["variance"].dims == ("part", "observable")
    np.testing.assert_allclose(budget["variance"].isel(observable=0), [0.64, 0.36, 0.25, 0.25])
    np.testing.assert_allclose(budget["share"].sum("part"), 1.0)
    np.testing.assert_allclose(budget["total_sd"], np.sqrt(1.5))
    assert budget["total_sd"].attrs["units"] == "bar" and budget["variance"].attrs["units"] == "(bar)^2"
    said = budget_sentence(budget.isel(observable=0))
    assert said == (
        "Pressure: 10.0 ± 1.2 bar; of the error bar's variance 43 % is parameters, 24 % finite simulation,"
        " 17 % chance in the frames averaged, 17 % what the model's form misses."
    )
    assert "root mean square over 3 components" in budget_sentence(budget)


def test_nothing_that_varies_has_no_error_bar():
    still = error_budget(split_of(1, parametric=0.0, simulation=0.0))
    assert "nothing varies" in budget_sentence(still)
    np.testing.assert_allclose(still["share"], 0.0)


def test_each_observable_may_have_its_own_frames_and_discrepancy():
    frames = xr.DataArray([4.0, 16.0], dims="observable")
    delta = xr.DataArray([0.0, 3.0], dims="observable")
    budget = error_budget(split_of(2), averaged_frames=frames, discrepancy_sd=delta)
    np.testing.assert_allclose(budget["total_sd"] ** 2, [2.0, 1.0 + 0.25 + 9.0])


def test_predictions_from_simulated_draws_cover_new_data_at_their_rate():
    """Truth is one more draw; the data average it over 25 frames. All parts are needed for the nominal coverage."""
    rng = np.random.default_rng(0)
    n, n_draws, tau, sigma, fluctuation = 4000, 12, 1.0, 1.0, 3.0
    runs = tau * rng.normal(size=(n_draws, 1, n)) + sigma * rng.normal(size=(n_draws, 3, n))
    values = xr.DataArray(runs, dims=("draw", "simulation", "observable"))
    split = nested_split(values, frame_variance=xr.full_like(values, fluctuation**2))
    truth = tau * rng.normal(size=n) + fluctuation / 5.0 * rng.normal(size=n)
    data = xr.DataArray(truth, dims="observable")
    scores = held_out_scores(error_budget(split, averaged_frames=25.0), data)
    assert float(scores["coverage"].sel(level=0.9)) == pytest.approx(
        0.9, abs=0.035
    )  # the widths are estimates
    assert float(scores["coverage"].sel(level=0.5)) == pytest.approx(0.5, abs=0.035)
    by_hand = held_out_scores(error_budget(split), data, observed_sd=fluctuation / 5.0)
    np.testing.assert_allclose(by_hand["z"], scores["z"])
    short = held_out_scores(error_budget(split), data)
    low, high = short["coverage_interval"].sel(level=0.9).values
    assert high < 0.88 and low < float(short["coverage"].sel(level=0.9)) < high


def test_coverage_interval_is_the_binomial_one_and_missing_data_do_not_count():
    data = xr.DataArray(
        np.full(12, 10.0), dims="observable", coords={"observable": [f"o{i}" for i in range(12)]}
    )
    data[:2], data[2:5] = np.nan, 99.0
    scores = held_out_scores(error_budget(split_of(12)), data, confidence=0.95)
    assert scores.attrs["n_observed"] == 10 and float(scores["coverage"].sel(level=0.9)) == 0.7
    exact = [stats.beta.ppf(0.025, 7, 4), stats.beta.ppf(0.975, 8, 3)]
    np.testing.assert_allclose(scores["coverage_interval"].sel(level=0.9), exact)
    assert coverage_words(scores).startswith(
        "7 of 10 held-out observables lie inside their 90 % intervals (70 %"
    )
    assert int(np.isfinite(scores["z"]).sum()) == 10


def test_the_discrepancy_is_found_and_its_interval_holds_it():
    rng = np.random.default_rng(1)
    n, delta = 30, 0.2
    unit, error = rng.uniform(1.0, 5.0, n), rng.uniform(0.2, 1.0, n)
    inside, found = 0, []
    for _ in range(300):
        off = rng.normal(size=n) * np.hypot(error, delta * unit)
        one = discrepancy_scale(off, error, unit=unit)
        inside += one.lower <= delta <= one.upper
        found.append(one.scale)
    assert inside / 300 == pytest.approx(0.9, abs=0.06)
    assert np.median(found) == pytest.approx(delta, rel=0.15)


def test_error_bars_that_explain_the_differences_leave_no_discrepancy():
    one = discrepancy_scale(0.5 * np.ones(10), np.ones(10))
    assert one.scale == 0.0 and one.lower == 0.0
    exact = discrepancy_scale(2.0 * np.ones(10), np.ones(10))  # 4 = 1 + δ²
    assert exact.scale == pytest.approx(np.sqrt(3.0))
    np.testing.assert_allclose(exact.left_out, np.sqrt(3.0))
    low = stats.chi2.ppf([0.95, 0.05], 10)
    assert (exact.lower, exact.upper) == pytest.approx(tuple(np.sqrt(np.maximum(40.0 / low - 1.0, 0.0))))


def test_the_discrepancy_of_the_others_restores_coverage_of_the_one_left_out():
    rng = np.random.default_rng(2)
    n = 400
    truth = xr.DataArray(10.0 + rng.normal(size=n) * np.hypot(1.0, 2.0), dims="observable")
    plain = held_out_scores(error_budget(split_of(n).drop_vars("observable")), truth)
    assert float(plain["coverage"].sel(level=0.9)) < 0.65 and plain.attrs["discrepancy"] == "not included"
    found = discrepancy_scale(plain["difference"].values, plain["combined_sd"].values)
    left_out = xr.DataArray(found.left_out, dims="observable")
    wide = error_budget(split_of(n).drop_vars("observable"), discrepancy_sd=left_out)
    scores = held_out_scores(wide, truth)
    low, high = scores["coverage_interval"].sel(level=0.9).values
    assert low < 0.9 < high and float(scores["rms_z"]) == pytest.approx(1.0, abs=0.02)


def test_impossible_budgets_and_scores_are_refused():
    with pytest.raises(InputError, match="fluctuation_sd"):
        error_budget(split_of(2).drop_vars("fluctuation_sd"), averaged_frames=10.0)
    with pytest.raises(InputError, match="frames above 0"):
        error_budget(split_of(2), averaged_frames=0.0)
    nothing = xr.DataArray([np.nan, np.nan], dims="observable")
    with pytest.raises(InputError, match="0 observed values"):
        held_out_scores(error_budget(split_of(2)), nothing)
    with pytest.raises(InputError, match="error bars above 0"):
        held_out_scores(error_budget(split_of(2, parametric=0.0, simulation=0.0)), nothing.fillna(1.0))
    with pytest.raises(InputError, match="at least 3"):
        discrepancy_scale(np.ones(2), np.ones(2))
    with pytest.raises(InputError, match="finite differences"):
        discrepancy_scale(np.array([1.0, np.nan, 1.0]), np.ones(3))
