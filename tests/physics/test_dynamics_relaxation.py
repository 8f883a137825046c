"""Relaxation times and pair lifetimes, against autoregressive series and two-state Markov jumps with known rates."""

import numpy as np
import pytest
from scipy.linalg import expm

from bayescg.errors import ConvergenceError, InputError
from bayescg.physics import (
    bond_kinetics,
    exponential_relaxation_time,
    integral_relaxation_time,
    pair_lifetimes,
    time_correlation,
)

TIME_STEP, RATE_OFF, RATE_ON = 0.1, 0.8, 0.3


def autoregressive(seed: int, n_series: int, n_frames: int, *, decay: float) -> np.ndarray:
    """Stationary series of unit variance and correlation decay^lag [series frame 1]."""
    rng = np.random.default_rng(seed)
    x = np.empty((n_frames, n_series))
    x[0] = rng.normal(size=n_series)
    for frame in range(1, n_frames):
        x[frame] = decay * x[frame - 1] + np.sqrt(1.0 - decay**2) * rng.normal(size=n_series)
    return x.T[..., None]


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    return autoregressive(0, 20 * 60, 1000, decay=np.exp(-0.1))


def test_integral_time_of_an_autoregressive_series(series):
    correlation = time_correlation(series, n_lags=100)
    found = integral_relaxation_time(correlation, time_step=0.1, window=8.0)
    exact = 0.1 * (0.5 + 1.0 / np.expm1(0.1))
    assert abs(found.value - exact) < 3.5 * found.standard_error + np.exp(-8.0)
    assert found.standard_error < 0.02


def test_integral_time_loses_what_lies_beyond_its_window():
    decay = np.exp(-0.01 * np.arange(2000)) * np.ones((2, 1))
    for window in (2.0, 5.0):
        found = integral_relaxation_time(decay, time_step=0.01, window=window)
        # the window is self-consistent: it ends where it is `window` times what it holds
        ends = found.value * window
        assert found.value == pytest.approx(1.0 - np.exp(-ends), rel=3e-3)


@pytest.mark.parametrize("kind", ["integral", "exponential"])
def test_errors_of_relaxation_times_are_calibrated(series, kind):
    """60 repeats of 20 pieces: the scatter of the estimates is the error that they claim."""
    correlation = time_correlation(series, n_lags=100).reshape(60, 20, 100)
    if kind == "integral":
        found = [integral_relaxation_time(part, time_step=0.1) for part in correlation]
        exact = 0.1 * (0.5 + 1.0 / np.expm1(0.1)) * (1.0 - np.exp(-5.0))
    else:
        found = [exponential_relaxation_time(part, time_step=0.1, fit=(0.0, 2.0)) for part in correlation]
        exact = 1.0
    values = np.array([estimate.value for estimate in found])
    claimed = np.sqrt(np.mean([estimate.standard_error**2 for estimate in found]))
    assert abs(values.mean() - exact) < 4.0 * values.std() / np.sqrt(60) + 0.005
    assert 0.7 < values.std() / claimed < 1.35


def test_amplitude_that_differs_between_pieces_is_no_error_of_the_time():
    correlation = np.array([[0.5], [1.0], [3.0]]) * np.exp(-0.05 * np.arange(300))
    for found in (
        integral_relaxation_time(correlation, time_step=1.0),
        exponential_relaxation_time(correlation, time_step=1.0, fit=(0.0, 60.0)),
    ):
        assert found.value == pytest.approx(20.0, rel=0.01)
        assert found.standard_error < 1e-6


def test_exponential_fit_sees_only_its_range():
    t = 0.02 * np.arange(400)
    correlation = (0.7 * np.exp(-t / 1.5) + 0.3 * np.exp(-t / 0.05)) * np.ones((3, 1))
    late = exponential_relaxation_time(correlation, time_step=0.02, fit=(0.8, 6.0))
    assert late.value == pytest.approx(1.5, rel=1e-4)
    early = exponential_relaxation_time(correlation, time_step=0.02, fit=(0.0, 6.0))
    assert early.value < 1.45


def markov_pairs(seed: int, n_replicas: int, n_frames: int, n_pairs: int) -> np.ndarray:
    """Two-state jump process, exact at its frames; in equilibrium from the start [replica frame pair]."""
    rng = np.random.default_rng(seed)
    share, decay = RATE_ON / (RATE_ON + RATE_OFF), np.exp(-(RATE_ON + RATE_OFF) * TIME_STEP)
    bonded = np.empty((n_frames, n_replicas, n_pairs), bool)
    bonded[0] = rng.random(bonded.shape[1:]) < share
    for frame in range(1, n_frames):
        stay = share + (bonded[frame - 1] - share) * decay
        bonded[frame] = rng.random(bonded.shape[1:]) < stay
    return np.moveaxis(bonded, 0, 1)


@pytest.fixture(scope="module")
def bonded() -> np.ndarray:
    return markov_pairs(1, 24, 600, 40)


def test_lifetimes_are_the_sums_over_origins():
    bonded = markov_pairs(2, 2, 30, 3)
    found = pair_lifetimes(bonded, n_lags=12)
    for lag in range(12):
        now, later = bonded[:, : 30 - lag], bonded[:, lag:]
        whole = np.all([bonded[:, k : 30 - lag + k] for k in range(lag + 1)], axis=0)
        np.testing.assert_allclose(
            found.intermittent[:, lag], (now & later).sum((1, 2)) / now.sum((1, 2)), rtol=1e-12
        )
        np.testing.assert_allclose(found.continuous[:, lag], whole.sum((1, 2)) / now.sum((1, 2)), rtol=1e-12)


def test_lifetimes_of_a_two_state_process_are_exact(bonded):
    """c = p + (1 − p) exp(−(k_on + k_off) t); S = c(Δt)^m, the chance that no frame finds the pair apart."""
    found = pair_lifetimes(bonded, n_lags=60)
    lag = np.arange(60)
    share = RATE_ON / (RATE_ON + RATE_OFF)
    intermittent = share + (1.0 - share) * np.exp(-(RATE_ON + RATE_OFF) * TIME_STEP * lag)
    for c, expected in [(found.intermittent, intermittent), (found.continuous, intermittent[1] ** lag)]:
        error = c.std(0, ddof=1) / np.sqrt(24)
        assert (np.abs(c.mean(0) - expected)[1:] / error[1:]).max() < 4.5  # t(23), correlated lags
        assert c[:, 0] == pytest.approx(1.0, abs=1e-12)


def test_relaxation_times_of_pairs_give_the_rates(bonded):
    found = pair_lifetimes(bonded, n_lags=120)
    continuous = exponential_relaxation_time(found.continuous, time_step=TIME_STEP, fit=(0.0, 4.0))
    share, decay = RATE_ON / (RATE_ON + RATE_OFF), np.exp(-(RATE_ON + RATE_OFF) * TIME_STEP)
    exact = -TIME_STEP / np.log(share + (1.0 - share) * decay)
    assert abs(continuous.value - exact) < 3.5 * continuous.standard_error
    assert exact > 1.0 / RATE_OFF  # what happened between frames is not seen
    intermittent = exponential_relaxation_time(
        found.intermittent - share, time_step=TIME_STEP, fit=(0.0, 3.0)
    )
    assert abs(intermittent.value - 1.0 / (RATE_ON + RATE_OFF)) < 3.5 * intermittent.standard_error
    assert intermittent.standard_error < 0.05


def three_states(seed: int, n_replicas: int, n_frames: int, *, time_step: float) -> np.ndarray:
    """Bonded (0), close (1), apart (2): rates 0.6 and 0.9 between the first two, 0.4 and 0.1 between the others."""
    rng = np.random.default_rng(seed)
    generator = np.array([[-0.6, 0.6, 0.0], [0.9, -1.3, 0.4], [0.0, 0.1, -0.1]])
    jumps = np.cumsum(expm(generator * time_step), axis=1)
    state = rng.choice(3, size=(n_replicas, 40), p=np.array([1.5, 1.0, 4.0]) / 6.5)
    frames = [state]
    for _ in range(n_frames - 1):
        state = (rng.random(state.shape)[..., None] > jumps[state]).sum(-1)
        frames.append(state)
    return np.stack(frames, axis=1)


def test_bond_kinetics_tells_breaking_from_parting():
    """The correlation itself decays slowly, since pairs come back; k and k′ are those of the process."""
    state = three_states(3, 20, 1200, time_step=0.05)
    found = bond_kinetics(state == 0, state <= 1, time_step=0.05, fit=(0.1, 4.0))
    for estimate, exact in [(found.breaking, 0.6), (found.making, 0.9)]:
        assert abs(estimate.value - exact) < 3.5 * estimate.standard_error
        assert estimate.standard_error < 0.04
    lifetimes = pair_lifetimes(state == 0, n_lags=80)
    naive = exponential_relaxation_time(lifetimes.intermittent, time_step=0.05, fit=(0.1, 3.9))
    assert naive.value > 2.0 / 0.6


def test_moments_of_blindness_change_the_rates_as_they_must():
    """A criterion that misses every tenth bonded pair, at random: k becomes k + k′/10, and k′ becomes 0.9 k′."""
    state = three_states(5, 20, 1200, time_step=0.05)
    seen = (state == 0) & (np.random.default_rng(6).random(state.shape) < 0.9)
    found = bond_kinetics(seen, state <= 1, time_step=0.05, fit=(0.1, 4.0))
    for estimate, exact in [(found.breaking, 0.6 + 0.09), (found.making, 0.81)]:
        assert abs(estimate.value - exact) < 3.5 * estimate.standard_error
        assert estimate.standard_error < 0.05


def test_bond_kinetics_error_is_that_of_the_jackknife_where_the_model_is_wrong():
    rng = np.random.default_rng(7)
    state = three_states(8, 12, 400, time_step=0.1)
    adjacent = (state == 0) | (rng.random(state.shape) < 0.3)
    found = bond_kinetics(state == 0, adjacent, time_step=0.1, fit=(0.0, 6.0))
    kept = [np.delete(np.arange(12), piece) for piece in range(12)]
    without = [bond_kinetics(state[k] == 0, adjacent[k], time_step=0.1, fit=(0.0, 6.0)) for k in kept]
    for name in ("breaking", "making"):
        values = np.array([getattr(kinetics, name).value for kinetics in without])
        jackknife = np.sqrt(11.0 / 12.0 * np.sum((values - values.mean()) ** 2))
        assert getattr(found, name).standard_error == pytest.approx(jackknife, rel=0.2)


def test_bond_kinetics_error_is_calibrated():
    state = three_states(4, 400, 300, time_step=0.1).reshape(40, 10, 300, 40)
    found = [bond_kinetics(part == 0, part <= 1, time_step=0.1, fit=(0.1, 3.0)) for part in state]
    for name in ("breaking", "making"):
        estimates = [getattr(kinetics, name) for kinetics in found]
        claimed = np.sqrt(np.mean([estimate.standard_error**2 for estimate in estimates]))
        assert 0.7 < np.std([estimate.value for estimate in estimates], ddof=1) / claimed < 1.35


def test_what_cannot_be_estimated_is_refused(bonded):
    slow = np.exp(-0.01 * np.arange(100)) * np.ones((2, 1))
    with pytest.raises(ConvergenceError, match="use more lags"):
        integral_relaxation_time(slow, time_step=1.0)
    with pytest.raises(ConvergenceError, match="does not decay"):
        exponential_relaxation_time(np.ones((3, 50)), time_step=1.0, fit=(0.0, 40.0))
    with pytest.raises(InputError, match="two pieces"):
        integral_relaxation_time(slow[:1], time_step=1.0)
    with pytest.raises(InputError, match="range"):
        exponential_relaxation_time(slow, time_step=1.0, fit=(0.0, 200.0))
    with pytest.raises(InputError, match="expected booleans"):
        pair_lifetimes(bonded.astype(float))
    with pytest.raises(InputError, match="every bonded pair adjacent"):
        bond_kinetics(bonded, ~bonded, time_step=1.0, fit=(1.0, 9.0))
    with pytest.raises(InputError, match="four lags"):
        bond_kinetics(bonded, bonded, time_step=1.0, fit=(1.0, 900.0))
    with pytest.raises(InputError, match="no pair of replica 1 is bonded"):
        pair_lifetimes(np.concatenate([bonded[:1], np.zeros_like(bonded[:1])]))
