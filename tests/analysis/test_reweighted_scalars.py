"""Thermodynamic averages by reweighting: springs, whose energies, heat capacities and errors are known exactly."""

import numpy as np
import pytest
import xarray as xr

from bayescg.analysis import common_noise_split, reweighted_means
from bayescg.analysis._reweighted_scalars import ScalarInputs, reweighted_columns, reweighted_thermodynamics
from bayescg.analysis._reweighting_reach import reweighting_reach
from bayescg.errors import InputError
from bayescg.physics import Reference, ReferenceBank

REPLICAS, SAMPLES, N = 20, 100, 4
M = REPLICAS * SAMPLES


def spring_bank(rng: np.random.Generator, *stiffness: float, virial: bool = False) -> ReferenceBank:
    """Exact frames of N independent springs, U = η Σ x², at kT = 1."""
    references = []
    for k in stiffness:
        x = rng.normal(size=(REPLICAS, SAMPLES, N)) / np.sqrt(2.0 * k)
        square = np.sum(x**2, axis=-1, keepdims=True)
        references.append(
            Reference(
                np.array([k]),
                square,
                -2.0 * square if virial else square[..., :0],
                square[..., :0],
                np.zeros((0, N, 1)),
            )
        )
    return ReferenceBank(1.0, tuple(references))


def inputs(eta: np.ndarray, kT: float = 1.0) -> ScalarInputs:  # noqa: N803
    return ScalarInputs(eta, np.zeros((len(eta), 0)), N, 1.0, kT, 1.0, "bar", "kT", dim=1)


def test_energy_and_heat_capacity_at_another_temperature():
    """Energy kT/2 per coordinate and C = 1 k_B of each (kinetic and potential), whatever the spring."""
    bank = spring_bank(np.random.default_rng(0), 0.5, 0.6)
    eta = np.linspace(0.5, 0.6, 12)[:, None]
    for kT in (0.9, 1.0, 1.15):  # noqa: N806
        made = reweighted_thermodynamics(bank, inputs(eta, kT), ("energy", "heat-capacity"))
        energy, heat = (common_noise_split(made[name]) for name in ("energy", "heat-capacity"))
        assert abs(float(energy["mean"]) - 0.5 * kT) < 4.0 * float(energy["simulation_sd"])
        assert abs(float(heat["mean"]) - 1.0) < 4.0 * float(heat["simulation_sd"])
        assert float(energy["fluctuation_sd"]) == pytest.approx(kT * np.sqrt(0.5 / N), rel=0.1)


def test_errors_are_the_spread_over_repetitions():
    """Monte-Carlo errors of energy, C_V and pressure are those of repeating all simulations."""
    eta = np.array([[0.53], [0.57]])
    found, claimed = [], []
    for seed in range(120):
        bank = spring_bank(np.random.default_rng(seed), 0.5, 0.6, virial=True)
        made = reweighted_thermodynamics(bank, inputs(eta, 1.05), ("energy", "heat-capacity", "pressure"))
        found.append([float(one["mean"][0]) for one in made.values()])
        claimed.append([float((one["influence"][:, 0] ** 2).sum()) for one in made.values()])
    ratio = np.var(found, axis=0, ddof=1) / np.mean(claimed, axis=0)
    assert np.all(np.abs(ratio - 1.0) < 4.0 * np.sqrt(2.0 / 119)), ratio


def test_columns_agree_with_the_means_of_common_values():
    """Where the numbers are the same at all draws both ways give the same means and errors."""
    bank = spring_bank(np.random.default_rng(3), 0.5, 0.7)
    eta = np.array([[0.5], [0.6], [0.7]])
    square = bank.features[:, 0]
    one = reweighted_means(bank, eta, xr.DataArray(square, dims="frame"))
    other = reweighted_columns(
        bank,
        eta,
        lambda some, weights: np.broadcast_to(square, (1, *weights.shape)),
        xr.DataArray(np.zeros(1), dims="column"),
    ).isel(column=0)
    for name in ("mean", "influence", "fluctuation_variance"):
        np.testing.assert_allclose(
            other[name], one[name], rtol=1e-4, atol=1e-6 * float(np.abs(one[name]).max())
        )


def test_predictive_mean_parametric_and_monte_carlo_variance_of_springs():
    """⟨x²⟩ = 1/(2η): the spread over draws is that of 1/(2η), the error that of M frames, shared by all draws."""
    eta = np.random.default_rng(1).normal(0.5, 0.02, size=(300, 1))
    exact = 0.5 * N / eta[:, 0]
    means, spread, claimed = [], [], []
    for seed in range(60):
        bank = spring_bank(np.random.default_rng(seed), 0.5)
        split = common_noise_split(
            reweighted_means(bank, eta, xr.DataArray(bank.features[:, 0], dims="frame"))
        )
        means.append(float(split["mean"]))
        spread.append(float(split["parametric_variance_estimate"]))
        claimed.append(float(split["simulation_sd"]) ** 2 - float(split["parametric_sd"]) ** 2 / len(eta))
    noise = 2.0 * (0.5 / 0.5) ** 2 * N / M  # Var(Σ x²)/M
    assert abs(np.mean(means) - exact.mean()) < 4.0 * np.sqrt(noise / 60)
    assert np.mean(spread) == pytest.approx(exact.var(ddof=1), rel=0.05)
    assert np.mean(claimed) == pytest.approx(noise, rel=0.15)
    assert np.var(means, ddof=1) == pytest.approx(noise, rel=4.0 * np.sqrt(2.0 / 59))


def test_a_bank_does_not_reach_another_temperature_for_ever():
    bank = spring_bank(np.random.default_rng(0), 0.5)
    eta = np.full((5, 1), 0.5)
    near, far = reweighting_reach(bank, eta / 1.1), reweighting_reach(bank, eta / 30.0)
    assert near.reached and "overlap" in near.sentence
    assert not far.reached and ("effective" in far.sentence or "k-hat" in far.sentence)


def test_missing_virials_and_unknown_names_are_refused():
    bank, eta = spring_bank(np.random.default_rng(0), 0.5), np.full((2, 1), 0.5)
    with pytest.raises(InputError, match="keep no virials"):
        reweighted_thermodynamics(bank, inputs(eta), ("pressure",))
    with pytest.raises(InputError, match="'colour' is none of"):
        reweighted_thermodynamics(bank, inputs(eta), ("colour",))
