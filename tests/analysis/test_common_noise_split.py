"""Common random numbers: errors of reweighted means and their covariance over draws, against exact Gaussian references.

One reference of the spring U = ηx² at η₀, reweighted to η: with θ = 2η, w = √(θ/θ₀) exp(−(θ − θ₀)x²/2) and
d = x² − 1/θ, the covariance of the errors at two draws is ∫ p₀ w₁ w₂ d₁ d₂ / M, a Gaussian integral.
"""

import numpy as np
import pytest
import xarray as xr

from bayescg.analysis import (
    common_noise_split,
    common_seed_means,
    difference_error,
    monte_carlo_covariance,
    nested_split,
    reweighted_means,
)
from bayescg.errors import InputError
from bayescg.physics import Reference, ReferenceBank


def spring_bank(rng, *coefficients, replicas=20, samples=100):
    """Exact samples of exp(−η x²); the feature is x²."""
    found = []
    for eta in coefficients:
        x2 = rng.normal(size=(replicas, samples, 1)) ** 2 / (2.0 * eta)
        found.append(Reference(np.array([eta]), x2, x2, x2[..., :0], np.zeros((0, 1, 1))))
    return ReferenceBank(1.0, tuple(found))


def squares(bank):
    return xr.DataArray(
        bank.features[:, 0], dims="frame", attrs={"units": "nm^2", "long_name": "mean square"}
    )


def exact_covariance(eta, centre, n_frames):
    """Of the errors of ⟨x²⟩ at all pairs of η, to first order in 1/M."""
    theta, zero = 2.0 * np.asarray(eta), 2.0 * centre
    one, two = theta[:, None], theta[None, :]
    both = one + two - zero
    weight = np.sqrt(one * two / (zero * both))
    return weight * (3.0 / both**2 - (1.0 / one + 1.0 / two) / both + 1.0 / (one * two)) / n_frames


def test_errors_and_their_covariance_are_those_of_the_gaussian_integral():
    eta = np.array([0.42, 0.5, 0.52, 0.62])
    bank = spring_bank(np.random.default_rng(0), 0.5, replicas=400, samples=100)
    means = reweighted_means(bank, eta[:, None], squares(bank))
    exact = exact_covariance(eta, 0.5, len(bank.features))
    np.testing.assert_allclose(monte_carlo_covariance(means), exact, rtol=0.3)
    correlation = exact[1, 2] / np.sqrt(exact[1, 1] * exact[2, 2])
    assert correlation > 0.99
    apart = np.sqrt(exact[1, 1] + exact[2, 2] - 2.0 * exact[1, 2])
    assert float(difference_error(means, 1, 2)) == pytest.approx(apart, rel=0.2)
    assert apart < 0.1 * np.sqrt(exact[1, 1])  # ten times better known than either
    np.testing.assert_allclose(means["mean"], 0.5 / eta, atol=4.0 * np.sqrt(np.diag(exact)).max())
    np.testing.assert_allclose(means["fluctuation_variance"], 0.5 / eta**2, rtol=0.1)


def test_repeated_banks_scatter_as_each_of_them_says():
    eta, rng = np.array([[0.45], [0.5], [0.6]]), np.random.default_rng(1)
    found = []
    for _ in range(150):
        bank = spring_bank(rng, 0.4, 0.55, 0.7, samples=30)
        means = reweighted_means(bank, eta, squares(bank))
        found.append((means["mean"].values, monte_carlo_covariance(means).values))
    repeated = np.cov(np.array([mean for mean, _ in found]).T)
    np.testing.assert_allclose(np.mean([c for _, c in found], axis=0), repeated, rtol=0.35)
    apart = np.array([mean[2] - mean[0] for mean, _ in found])
    said = np.mean([c[2, 2] + c[0, 0] - 2.0 * c[0, 2] for _, c in found])
    assert said == pytest.approx(apart.var(ddof=1), rel=0.35)


def test_variances_are_those_of_the_bank_with_the_free_energies_in_them():
    bank = spring_bank(np.random.default_rng(2), 0.4, 0.55, 0.7)
    eta = np.linspace(0.42, 0.68, 40)[:, None]  # more than are held in memory together
    values = xr.DataArray(
        np.stack([bank.features[:, 0], 3.0 * bank.features[:, 0]], axis=1),
        dims=("frame", "r"),
        coords={"r": [0.1, 0.2]},
    )
    means = reweighted_means(bank, eta, values)
    for s in (0, 39):
        bank_says = bank.feature_covariance_error(eta[s])
        covariance = monte_carlo_covariance(means).values[s, s]
        np.testing.assert_allclose(covariance, np.array([1.0, 9.0]) * bank_says[0, 0], rtol=1e-5)
    weights = bank.weights(eta[7])
    np.testing.assert_allclose(means["mean"].values[7], weights @ values.values)
    assert float(means["effective_frames"][7]) == pytest.approx(1.0 / np.sum(weights**2))
    split = common_noise_split(means)
    assert split["parametric_sd"].dims == ("r",) and split["r"].values.tolist() == [0.1, 0.2]
    np.testing.assert_allclose(split["parametric_sd"][1], 3.0 * split["parametric_sd"][0])


def test_one_bank_shows_the_spread_of_the_parameters_and_carries_its_noise_in_the_mean():
    shape, rng = 192.5, np.random.default_rng(3)
    ratio, noise, said = [], [], []
    for _ in range(100):
        theta = rng.gamma(shape, 1.0 / shape, size=200)
        bank = spring_bank(rng, 0.5, samples=50)
        split = common_noise_split(reweighted_means(bank, theta[:, None] / 2.0, squares(bank)))
        ratio.append(float(split["parametric_variance_estimate"]) / np.var(1.0 / theta, ddof=1))
        noise.append(float(split["mean"]) - shape / (shape - 1.0))
        said.append(float(split["simulation_sd"]))
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.1)
    assert np.std(ratio) < 0.3  # separate simulations of the same 1000 frames could not tell it from nothing
    assert np.std(noise) == pytest.approx(np.sqrt(np.mean(np.square(said))), rel=0.25)
    assert np.std(noise) > 2.0 * np.sqrt(
        np.var(1.0 / theta) / 200.0
    )  # much more than finitely many draws make


def test_intervals_of_both_parts_hold_the_truth_at_their_rate():
    rng = np.random.default_rng(4)
    n_draws, n_seeds, repeats = 40, 12, 1500
    truth = 0.8 * rng.normal(size=(n_draws, 1, repeats))
    common = 2.0 * rng.normal(size=(1, n_seeds, repeats))
    own = 1.5 * rng.normal(size=(n_draws, n_seeds, repeats))
    values = xr.DataArray(truth + common + own, dims=("draw", "simulation", "observable"))
    split = common_noise_split(common_seed_means(values))
    assert np.mean(split["parametric_variance_estimate"]) == pytest.approx(0.64, rel=0.03)
    assert np.mean(split["noise_sd"] ** 2) == pytest.approx(2.25 / n_seeds, rel=0.03)
    low, high = split["parametric_interval"].values
    assert np.mean((low <= 0.8) & (0.8 <= high)) == pytest.approx(0.9, abs=0.04)
    error = np.sqrt((4.0 + 2.25 / n_draws) / n_seeds + 0.64 / n_draws)
    low, high = split["simulation_interval"].values
    assert np.mean((low <= error) & (error <= high)) == pytest.approx(0.9, abs=0.04)
    assert np.mean(split["simulation_sd"] ** 2) == pytest.approx(error**2, rel=0.03)
    # taken as independent runs, the shared shift is lost: the error of the mean comes out far too small
    assert np.mean(nested_split(values)["simulation_sd"]) < 0.3 * error


@pytest.mark.parametrize(("tau", "own", "tilt"), [(0.8, 0.0, 0.8), (0.3, 2.0, 0.5)])
def test_the_interval_holds_where_shared_noise_stretches_the_spread(tau, own, tilt):
    rng = np.random.default_rng(7)
    n_draws, n_seeds, repeats = 40, 12, 1000
    stretch = 1.0 + tilt * rng.normal(size=(1, n_seeds, repeats))
    noise = own * rng.normal(size=(n_draws, n_seeds, repeats)) + rng.normal(size=(1, n_seeds, repeats))
    values = tau * rng.normal(size=(n_draws, 1, repeats)) * stretch + noise
    split = common_noise_split(
        common_seed_means(xr.DataArray(values, dims=("draw", "simulation", "observable")))
    )
    estimate = split["parametric_variance_estimate"].values / tau**2
    assert abs(np.mean(estimate) - 1.0) < 4.0 * np.std(estimate) / np.sqrt(repeats)
    low, high = split["parametric_interval"].values
    assert np.mean((low <= tau) & (tau <= high)) == pytest.approx(0.9, abs=0.04)


def test_noise_that_scales_with_the_draw_has_the_exact_covariance():
    rng = np.random.default_rng(5)
    theta, m, seeds = np.array([0.8, 1.0, 1.3]), 10, 4000
    unit = rng.chisquare(m, size=(1, seeds)) / m
    means = common_seed_means(xr.DataArray(unit / theta[:, None], dims=("draw", "simulation")))
    exact = 2.0 / m / seeds / np.outer(theta, theta)
    np.testing.assert_allclose(monte_carlo_covariance(means), exact, rtol=0.1)
    apart = np.sqrt(2.0 / m / seeds) * (1.0 / 0.8 - 1.0 / 1.3)
    assert float(difference_error(means, 0, 2)) == pytest.approx(apart, rel=0.05)


def test_draws_of_the_prior_reweight_the_same_bank():
    shape, rng = 40.0, np.random.default_rng(8)
    theta = rng.gamma(shape, 1.0 / shape, size=300)
    bank = spring_bank(rng, 0.3, 0.42, 0.6, 0.8, samples=200)
    split = common_noise_split(reweighted_means(bank, theta[:, None] / 2.0, squares(bank)))
    assert split.attrs["smallest_effective_frames"] > 1000.0
    exact = np.var(1.0 / theta, ddof=1)
    assert float(split["parametric_variance_estimate"]) == pytest.approx(exact, rel=0.12)
    low, high = split["parametric_interval"].values ** 2
    assert low < shape**2 / ((shape - 1.0) ** 2 * (shape - 2.0)) < high
    assert abs(float(split["mean"]) - np.mean(1.0 / theta)) < 4.0 * float(split["simulation_sd"])
    far = common_noise_split(reweighted_means(bank, np.array([[0.01], [0.5]]), squares(bank)))
    assert far.attrs["smallest_effective_frames"] < 1000.0


def test_what_cannot_be_reweighted_is_refused():
    bank = spring_bank(np.random.default_rng(6), 0.5, replicas=1, samples=20)
    with pytest.raises(InputError, match="at least 2 replicas"):
        reweighted_means(bank, np.array([[0.5]]), squares(bank))
    with pytest.raises(InputError, match="20 of them expected"):
        reweighted_means(bank, np.array([[0.5]]), squares(bank)[:5])
    with pytest.raises(InputError, match="1 simulations of every draw"):
        common_seed_means(xr.DataArray(np.ones((3, 1)), dims=("draw", "simulation")))
    with pytest.raises(InputError, match="1 draws have no spread"):
        common_noise_split(common_seed_means(xr.DataArray(np.ones((1, 3)), dims=("draw", "simulation"))))
