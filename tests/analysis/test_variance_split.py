"""Nested simulations split into parameters and noise, where both are known exactly.

The spring U = θx²/2 with N frames as data and a prior 1/θ has the posterior Gamma(N/2, N/2) if ⟨x²⟩ of the data is 1, and
the average of x² over m independent frames at θ is χ²_m/(mθ): no simulation is needed. Then

    Var(1/θ) = τ² = a²/((a − 1)²(a − 2)) with a = N/2,    mean noise = (2/m) a²/((a − 1)(a − 2)) = τ² (N − 2)/m.
"""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayescg.analysis import corrected_draws, draw_means, nested_split, split_sentence
from bayescg.errors import InputError

N_DATA = 387  # so that the naive variance is 1 + 385/m times too large


def exact_parts(shape: float) -> tuple[float, float]:
    """Mean and variance of 1/θ for θ ~ Gamma(shape, rate = shape)."""
    return shape / (shape - 1.0), shape**2 / ((shape - 1.0) ** 2 * (shape - 2.0))


def spring_runs(rng, *, n_draws, lengths, repeats, shape=N_DATA / 2.0):
    """Averages of x² over simulations of these lengths [draw simulation observable]; repeats stand for observables."""
    theta = rng.gamma(shape, 1.0 / shape, size=(n_draws, 1, repeats))
    m = np.asarray(lengths, float)[None, :, None]
    averages = rng.chisquare(np.broadcast_to(m, (n_draws, len(lengths), repeats))) / m / theta
    given = xr.DataArray(np.tile(np.asarray(lengths, float), (n_draws, 1)), dims=("draw", "simulation"))
    return xr.DataArray(averages, dims=("draw", "simulation", "observable"), attrs={"units": "nm^2"}), given


def z_of_mean(values, expected):
    return (np.mean(values) - expected) / (np.std(values, ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize(
    ("n_draws", "lengths", "measured"),
    [(10, (500, 500), 1.44), (30, (150, 150), 2.22), (100, (50, 50), 4.85), (300, (17, 16), 12.7)],
)
def test_naive_spread_is_too_wide_by_the_known_factor_and_the_split_is_unbiased(n_draws, lengths, measured):
    repeats = 400
    values, given = spring_runs(
        np.random.default_rng(n_draws), n_draws=n_draws, lengths=lengths, repeats=repeats
    )
    split = nested_split(values, lengths=given)
    _, truth = exact_parts(N_DATA / 2.0)
    factor = 1.0 + (N_DATA - 2.0) / sum(lengths)
    assert factor == pytest.approx(measured, rel=0.05)  # what was once measured with 10 000 frames in all
    naive = split["naive_sd"].values ** 2 / truth
    assert abs(z_of_mean(naive, factor)) < 4.0
    assert np.mean(naive) == pytest.approx(factor, rel=0.1)
    corrected = split["parametric_variance_estimate"].values / truth
    assert abs(z_of_mean(corrected, 1.0)) < 4.0
    freedom = n_draws * (len(lengths) - 1)
    scatter = np.sqrt(2.0 * factor**2 / (n_draws - 1.0) + 2.0 * (factor - 1.0) ** 2 / freedom)
    assert np.std(corrected) == pytest.approx(scatter, rel=0.2)
    # the error of the mean is what repeats show it to be
    assert np.mean(split["simulation_sd"] ** 2) == pytest.approx(float(split["mean"].var(ddof=1)), rel=0.3)


def test_intervals_hold_the_truth_at_their_rate_with_unequal_numbers():
    rng = np.random.default_rng(1)
    n_draws, repeats, tau, sigma = 30, 3000, 0.7, 1.5
    values = tau * rng.normal(size=(n_draws, 1, repeats)) + sigma * rng.normal(size=(n_draws, 4, repeats))
    values[:10, 1:] = np.nan  # a third of the draws once, a third twice, a third four times
    values[10:20, 2:] = np.nan
    split = nested_split(xr.DataArray(values, dims=("draw", "simulation", "observable")))
    noise = sigma**2 * np.mean(np.repeat([1.0, 0.5, 0.25], 10))
    np.testing.assert_allclose(np.mean(split["noise_sd"] ** 2), noise, rtol=0.02)
    np.testing.assert_allclose(np.mean(split["naive_sd"] ** 2), tau**2 + noise, rtol=0.02)
    assert abs(z_of_mean(split["parametric_variance_estimate"].values, tau**2)) < 4.0
    low, high = split["parametric_interval"].values
    assert np.mean((low <= tau) & (tau <= high)) == pytest.approx(0.9, abs=0.03)
    low, high = split["simulation_interval"].values
    error = np.sqrt((tau**2 + noise) / n_draws)
    assert np.mean((low <= error) & (error <= high)) == pytest.approx(0.9, abs=0.03)


def test_equal_numbers_give_the_textbook_analysis_of_variance():
    rng = np.random.default_rng(2)
    y = rng.normal(size=(6, 3)) + 2.0 * rng.normal(size=(6, 1))
    split = nested_split(xr.DataArray(y, dims=("draw", "simulation")))
    within = np.sum((y - y.mean(axis=1, keepdims=True)) ** 2) / 12.0
    f, _ = stats.f_oneway(*y)
    assert float(split["parametric_variance_estimate"]) == pytest.approx((f - 1.0) * within / 3.0)
    assert float(split["noise_sd"]) == pytest.approx(np.sqrt(within / 3.0))


def test_a_negative_estimate_is_said_and_gives_an_upper_bound():
    rng = np.random.default_rng(3)
    runs = xr.DataArray(
        rng.normal(size=(20, 2, 200)),
        dims=("draw", "simulation", "r"),
        attrs={"units": "bar", "long_name": "pressure"},
    )
    split = nested_split(runs)
    below = split["below_noise"].values.astype(bool)
    assert 0.3 < below.mean() < 0.7  # there is no parametric variance at all
    assert np.all(split["parametric_variance_estimate"].values[below] <= 0.0)
    assert (
        np.all(split["parametric_sd"].values[below] == 0.0)
        and np.isinf(split["naive_excess"].values[below]).all()
    )
    assert np.mean(split["parametric_interval"].sel(bound="lower") == 0.0) > 0.9
    one = split.isel(r=int(np.argmax(below)))
    said = split_sentence(one)
    assert "is not positive" in said and "at most" in said and "simulate longer" in said
    flat = corrected_draws(draw_means(runs), split).values[:, below]
    np.testing.assert_allclose(flat, np.broadcast_to(split["mean"].values[below], flat.shape))


def test_corrected_draws_spread_as_the_parameters_do_and_keep_their_order():
    values, given = spring_runs(np.random.default_rng(4), n_draws=200, lengths=(100, 60), repeats=5)
    split, means = nested_split(values, lengths=given), draw_means(values, lengths=given)
    corrected = corrected_draws(means, split)
    np.testing.assert_allclose(corrected.std("draw", ddof=1), split["parametric_sd"])
    np.testing.assert_allclose(corrected.mean("draw"), split["mean"])
    np.testing.assert_array_equal(np.argsort(corrected.values, axis=0), np.argsort(means.values, axis=0))
    truth = np.sqrt(exact_parts(N_DATA / 2.0)[1])
    ends = corrected.quantile([0.05, 0.95], dim="draw")
    width = float((ends[1] - ends[0]).mean()) / (2.0 * 1.645 * truth)
    assert width == pytest.approx(1.0, abs=0.15)
    naive = means.quantile([0.05, 0.95], dim="draw")
    assert float((naive[1] - naive[0]).mean()) / (2.0 * 1.645 * truth) > 1.6


def test_draws_of_the_prior_give_the_prior_predictive_spread():
    shape, rng = 12.0, np.random.default_rng(5)
    values, given = spring_runs(rng, n_draws=400, lengths=(60, 60), repeats=50, shape=shape)
    prior = nested_split(values, lengths=given)
    mean, truth = exact_parts(shape)
    assert abs(z_of_mean(prior["parametric_variance_estimate"].values, truth)) < 4.0
    assert abs(z_of_mean(prior["mean"].values, mean)) < 4.0
    values, given = spring_runs(rng, n_draws=400, lengths=(60, 60), repeats=50)
    posterior = nested_split(values, lengths=given)
    learnt = 1.0 - (posterior["parametric_sd"] ** 2).mean() / (prior["parametric_sd"] ** 2).mean()
    assert float(learnt) == pytest.approx(1.0 - exact_parts(N_DATA / 2.0)[1] / truth, abs=0.02)


def test_units_names_and_fluctuation_are_kept_and_stored(tmp_path):
    rng = np.random.default_rng(6)
    r = xr.DataArray([0.3, 0.4, 0.5], dims="r", attrs={"units": "nm"})
    runs = xr.DataArray(
        rng.normal(size=(3, 5, 2)), dims=("r", "draw", "simulation"), coords={"r": r}, name="rdf"
    )
    split = nested_split(runs, frame_variance=xr.full_like(runs, 4.0))
    assert split["parametric_sd"].dims == ("r",) and split["parametric_interval"].dims == ("bound", "r")
    np.testing.assert_allclose(split["fluctuation_sd"], 2.0)
    assert split["mean"].attrs == {"units": "1", "long_name": "predicted rdf"}
    split.to_netcdf(tmp_path / "split.nc")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "split.nc"), split)


def test_runs_that_cannot_be_split_are_refused():
    once = xr.DataArray(np.ones((4, 1)), dims=("draw", "simulation"))
    with pytest.raises(InputError, match="4 draws with 0 repeated simulations"):
        nested_split(once)
    with pytest.raises(InputError, match="simulation expected among them"):
        nested_split(once.rename(simulation="replica"))
    twice = xr.DataArray(np.ones((4, 2)), dims=("draw", "simulation"))
    with pytest.raises(InputError, match="lengths of shape"):
        nested_split(twice, lengths=xr.full_like(twice, -1.0))


def test_few_draws_that_lie_close_by_luck_don_t_make_the_mean_look_exact():
    """Nothing but noise: the mean of three draws is held by its Student interval at the level or above, with or without luck."""
    runs = np.random.default_rng(3).normal(size=(3, 2, 4000))
    split = nested_split(xr.DataArray(runs, dims=("draw", "simulation", "observable")))
    below = split["below_noise"].values.astype(bool)
    inside = np.abs(split["mean"].values) < stats.t.ppf(0.95, 2) * split["simulation_sd"].values
    assert 0.3 < below.mean() < 0.7
    assert inside.mean() > 0.9
    assert inside[below].mean() > 0.9  # by the scatter of the three alone it is 0.82
    alike = xr.DataArray(
        [[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]], dims=("draw", "simulation"), attrs={"units": "bar"}
    )
    same = nested_split(alike)
    assert float(same["simulation_sd"]) == pytest.approx(
        np.sqrt(4.0 / 2 / 5 / 3)
    )  # five degrees of freedom, six runs
    assert "can't be told" in split_sentence(same)
