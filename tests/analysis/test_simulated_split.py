"""Splits of new simulations, functions of noisy averages, and the ratio of two uncertain diffusion coefficients."""

import numpy as np
import pytest
import xarray as xr

from bayescg.analysis import (
    nested_split,
    pseudo_values,
    relative_noise,
    rescaled_diffusion,
    rescaling_sentence,
    simulated_split,
    time_rescaling,
)
from bayescg.errors import InputError
from bayescg.physics import Estimate


def runs(values):
    return xr.DataArray(values, dims=("draw", "simulation"))


def split_of(mean, parametric, simulation):
    return xr.Dataset({"mean": mean, "parametric_sd": parametric, "simulation_sd": simulation})


# --- splits ---


def test_common_noise_is_no_parametric_spread_and_own_noise_is_taken_off():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(3000, 1))
    shared, own = 3.0 * rng.normal(size=(1, 6)), 2.0 * rng.normal(size=(3000, 6))
    values = runs(truth + shared + own)
    split = simulated_split(values, common_seeds=True)
    assert float(split["parametric_sd"]) == pytest.approx(1.0, abs=0.06)
    assert float(split["naive_sd"]) == pytest.approx(np.sqrt(1.0 + 4.0 / 6.0), abs=0.06)
    assert 0.5 < float(split["simulation_sd"]) < 2.5  # 3/√6, from 6 seeds
    # taken as nested, the shared noise would be subtracted although it is in no spread
    assert float(nested_split(values)["parametric_variance_estimate"]) < 0.5


def test_failed_simulations_cost_their_draw_and_are_counted():
    values = runs(np.random.default_rng(0).normal(size=(50, 4)))
    values[3, 0] = values[7, 1] = values[7, 2] = np.nan
    common, own = (simulated_split(values, common_seeds=seeds) for seeds in (True, False))
    assert (common.attrs["n_draws"], common.attrs["n_failed"]) == (48, 3)
    assert (own.attrs["n_draws"], own.attrs["n_failed"]) == (50, 3)
    values[1:] = np.nan
    with pytest.raises(InputError, match="1 of 50 draws have all"):
        simulated_split(values, common_seeds=True)


# --- functions of averages ---


def test_pseudo_values_have_the_mean_and_the_noise_of_a_ratio():
    rng = np.random.default_rng(1)
    top = runs(2.0 + 0.1 * rng.normal(size=(80_000, 4)))
    below = runs(1.0 + 0.1 * rng.normal(size=(80_000, 4)))
    made = pseudo_values(lambda a, b: a / b, top, below)
    plain = (top.mean("simulation") / below.mean("simulation")).mean()
    relative = 0.1**2 / 4.0  # to first order the ratio is 2 (1 + relative), its variance 4 relative + 0.1²/4
    assert float(plain) == pytest.approx(2.0 * (1.0 + relative), abs=0.1 * 2.0 * relative + 0.001)
    assert abs(float(made.mean()) - 2.0) < 0.35 * 2.0 * relative
    noise = float(made.var("simulation", ddof=1).mean()) / 4.0
    assert noise == pytest.approx(4.0 * relative + 0.01 / 4.0, rel=0.1)
    split = nested_split(made)
    assert abs(float(split["parametric_variance_estimate"])) < 0.15 * noise


def test_pseudo_values_of_squares_give_the_unbiased_variance():
    energy = np.random.default_rng(2).normal(size=(3, 5, 40))
    first, second = (runs((energy**k).mean(axis=2)) for k in (1, 2))
    made = pseudo_values(lambda m, s: s - m**2, first, second).mean("simulation")
    n = 5
    between = energy.mean(axis=2).var(axis=1, ddof=1)
    biased = (energy**2).mean(axis=(1, 2)) - energy.mean(axis=(1, 2)) ** 2
    np.testing.assert_allclose(made, biased + between / n, rtol=1e-10)


def test_pseudo_values_leave_out_what_is_missing():
    values = runs([[1.0, np.nan, 3.0], [2.0, np.nan, np.nan]])
    made = pseudo_values(lambda m: 5.0 * m, values)
    np.testing.assert_allclose(made, [[5.0, np.nan, 15.0], [np.nan] * 3])
    with pytest.raises(InputError, match="draws and simulations"):
        pseudo_values(lambda a, b: a * b, values, values[:1])
    assert relative_noise(runs([[9.0, 11.0], [11.0, 9.0]])) == pytest.approx(0.1)


# --- time ---


@pytest.mark.parametrize("widths", [(0.25, 0.15), (0.45, 0.1), (0.1, 0.45)])
def test_the_speed_up_is_the_ratio_of_two_log_normal_laws(widths):
    """Coefficients drawn from the laws that have these means and standard deviations: mean, median and both tails."""
    rng, n, means = np.random.default_rng(3), 200_000, (10.0, 2.5)
    sigma = np.sqrt(np.log1p(np.square(widths)))
    fast, slow = (m * np.exp(s * rng.normal(size=n) - 0.5 * s**2) for m, s in zip(means, sigma, strict=True))
    for law, mean, width in ((fast, 10.0, widths[0]), (slow, 2.5, widths[1])):
        assert law.mean() == pytest.approx(mean, rel=0.005)
        assert law.std() == pytest.approx(width * mean, rel=0.02)
    split = split_of(10.0, 0.8 * widths[0] * 10.0, 0.6 * widths[0] * 10.0)
    found = time_rescaling(split, Estimate(2.5, widths[1] * 2.5, np.inf))
    low, high = found.interval(0.9)
    assert np.mean(fast / slow < low) == pytest.approx(0.05, abs=0.003)
    assert np.mean(fast / slow > high) == pytest.approx(0.05, abs=0.003)  # both tails alike
    assert np.median(fast / slow) == pytest.approx(found.median, rel=0.008)
    assert np.mean(fast / slow) == pytest.approx(found.mean, rel=0.01)


def test_shares_of_the_speed_up_sum_to_one_and_small_errors_add_in_squares():
    found = time_rescaling(split_of(8.0, 0.08, 0.06), Estimate(2.0, 0.01, 30.0))
    assert sum(found.parts.values()) == pytest.approx(1.0)
    assert found.median == pytest.approx(4.0, rel=1e-4)
    assert found.log_sd == pytest.approx(np.sqrt(0.0125**2 + 0.005**2), rel=1e-3)
    assert found.parts["parametric"] / found.parts["simulation"] == pytest.approx((8.0 / 6.0) ** 2)
    assert found.sd == pytest.approx(4.0 * found.log_sd, rel=1e-3)
    assert "times as fast" in rescaling_sentence(found)


def test_rescaling_back_at_its_own_state_returns_the_atomistic_value_no_surer():
    split, reference = split_of(8.0, 0.4, 0.3), Estimate(2.0, 0.05, 30.0)
    back = rescaled_diffusion(split, time_rescaling(split, reference))
    assert back.median == pytest.approx(2.0 / np.sqrt(1.0 + 0.025**2))  # the median of the law of mean 2
    assert back.log_sd > 0.05 / 2.0
    assert sum(back.parts.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("split", "reference", "words"),
    [
        (
            split_of(1.0, 0.5, 0.3),
            Estimate(2.0, 0.1, 9.0),
            "coarse-grained diffusion coefficient is 1 ± 0.58",
        ),
        (split_of(8.0, 0.4, 0.3), Estimate(0.1, 0.1, 9.0), "atomistic diffusion coefficient is 0.1"),
        (split_of(8.0, 0.4, 0.3), Estimate(2.0, np.nan, 9.0), "an error of the other expected"),
    ],
)
def test_ratios_of_what_may_be_zero_are_refused(split, reference, words):
    with pytest.raises(InputError, match=words):
        time_rescaling(split, reference)
