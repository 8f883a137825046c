"""Velocity autocorrelation, spectrum, Green-Kubo diffusion and viscosity, against exactly simulated linear motions."""

import numpy as np
import pytest
from scipy.linalg import cholesky, expm

from bayescg.errors import ConvergenceError, InputError
from bayescg.physics import (
    diffusion_coefficient,
    green_kubo,
    green_kubo_diffusion,
    green_kubo_viscosity,
    time_blocks,
    time_correlation,
    velocity_autocorrelation,
    vibrational_spectrum,
)

THERMAL_ENERGY, MASS = 1.5, 2.0


def linear_langevin(
    seed: int, n_frames: int, *shape: int, stiffness: float, friction: float, time_step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities of a Langevin oscillator, exact at any time step [frame …]; free if stiffness is 0."""
    drift = np.array([[0.0, 1.0], [-stiffness / MASS, -friction]])
    noise = np.diag([0.0, 2.0 * friction * THERMAL_ENERGY / MASS])
    # Van Loan: the covariance of the transition from one matrix exponential
    block = expm(np.block([[-drift, noise], [np.zeros((2, 2)), drift.T]]) * time_step)
    transition = block[2:, 2:].T
    root = cholesky(transition @ block[:2, 2:], lower=True)
    rng = np.random.default_rng(seed)
    state = np.empty((n_frames, 2, int(np.prod(shape))))
    state[0] = rng.normal(size=state.shape[1:]) * np.sqrt(THERMAL_ENERGY / MASS)
    state[0, 0] *= np.sqrt(MASS / stiffness) if stiffness else 0.0
    for frame in range(1, n_frames):
        state[frame] = transition @ state[frame - 1] + root @ rng.normal(size=state.shape[1:])
    return state[:, 0].reshape(n_frames, *shape), state[:, 1].reshape(n_frames, *shape)


def replicas_first(series: np.ndarray) -> np.ndarray:
    return np.moveaxis(series, 1, 0)


@pytest.fixture(scope="module")
def free() -> tuple[np.ndarray, np.ndarray]:
    """12 replicas of 10 free sites with friction 2; 0.05 between frames."""
    x, v = linear_langevin(1, 1500, 12, 10, 3, stiffness=0.0, friction=2.0, time_step=0.05)
    return replicas_first(x), replicas_first(v)


def test_correlation_is_the_sum_over_origins():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 17, 4)), rng.normal(size=(2, 3, 17, 4))
    found = time_correlation(a, b, n_lags=17)
    for lag in range(17):
        expected = (a[..., : 17 - lag, :] * b[..., lag:, :]).sum(-1).mean(-1)
        np.testing.assert_allclose(found[..., lag], expected, atol=1e-12)
    with pytest.raises(InputError, match="expected equal"):
        time_correlation(a, b[..., :3])


def test_undamped_oscillator_never_decays():
    time = 0.05 * np.arange(4000)
    phase = np.random.default_rng(2).uniform(0.0, 2.0 * np.pi, (12, 1, 25, 1))
    v = np.cos(3.0 * time[:, None, None] + phase)
    correlation = velocity_autocorrelation(v, n_lags=1500)
    expected = 0.5 * np.cos(3.0 * time[:1500])
    assert (
        np.abs(correlation - expected).max() < 5e-3
    )  # ends of a window that holds no whole number of periods
    with pytest.raises(ConvergenceError, match="does not sink into its noise"):
        green_kubo(correlation, time_step=0.05)


def test_one_long_oscillation_never_decays_either():
    """Blocks of one motion differ by little: what is left of rounding must not pass for noise."""
    v = np.cos(0.3 * np.arange(4000))[:, None, None]
    with pytest.raises(ConvergenceError):
        green_kubo_diffusion(v, time_step=0.1)


def test_free_particle_forgets_its_velocity(free):
    correlation = velocity_autocorrelation(free[1], n_lags=80)
    expected = 3.0 * THERMAL_ENERGY / MASS * np.exp(-2.0 * 0.05 * np.arange(80))
    error = correlation.std(0, ddof=1) / np.sqrt(12)
    z = (correlation.mean(0) - expected) / error
    assert np.abs(z).max() < 5.0  # t with 11 degrees of freedom, 80 correlated lags
    weighted = velocity_autocorrelation(free[1], masses=np.full(10, MASS), n_lags=80)
    np.testing.assert_allclose(weighted, MASS * correlation, rtol=1e-12)


def test_diffusion_by_velocities_and_by_positions_is_einsteins(free):
    """D = k_B T / (m γ)."""
    exact = THERMAL_ENERGY / (MASS * 2.0)
    by_velocity = green_kubo_diffusion(free[1], time_step=0.05, n_lags=400)
    by_position = diffusion_coefficient(free[0], time_step=0.05)
    trapezoidal = exact * (1.0 + (2.0 * 0.05) ** 2 / 12.0)
    assert 2.0 < by_velocity.plateau[0] < 12.0
    for found, value in [(by_velocity, trapezoidal), (by_position, exact)]:
        low, high = found.coefficient.interval(0.999)
        assert low < value < high
        assert found.coefficient.standard_error < 0.05 * exact
    running = by_velocity.running[:40]
    expected = exact * (1.0 - np.exp(-2.0 * 0.05 * np.arange(40)))
    assert np.abs(running - expected).max() < 5.0 * by_velocity.running_error[39]


def test_green_kubo_error_is_calibrated():
    """Scatter over 60 repeats of short runs against the errors that these claim."""
    _, v = linear_langevin(3, 400, 60, 10, 4, 3, stiffness=0.0, friction=2.0, time_step=0.1)
    found = [
        green_kubo_diffusion(replicas_first(v[:, k]), time_step=0.1, n_lags=200).coefficient
        for k in range(60)
    ]
    values = np.array([estimate.value for estimate in found])
    claimed = np.sqrt(np.mean([estimate.standard_error**2 for estimate in found]))
    exact = 0.375 * (1.0 + 0.2**2 / 12.0)
    assert abs(values.mean() - exact) < 4.0 * values.std() / np.sqrt(60)
    assert 0.7 < values.std() / claimed < 1.35


@pytest.mark.parametrize("friction", [0.8, 12.0])
def test_langevin_oscillator_has_its_analytic_correlation(friction):
    """C(t) = k_B T/m [cos ωt − γ/(2ω) sin ωt] exp(−γt/2), ω² = k/m − γ²/4, imaginary where overdamped."""
    _, v = linear_langevin(4, 3000, 12, 10, 1, stiffness=18.0, friction=friction, time_step=0.05)
    correlation = velocity_autocorrelation(replicas_first(v), n_lags=100)
    t = 0.05 * np.arange(100)
    omega = np.sqrt(complex(18.0 / MASS - 0.25 * friction**2))
    shape = np.cos(omega * t) - 0.5 * friction / omega * np.sin(omega * t)
    expected = THERMAL_ENERGY / MASS * (shape * np.exp(-0.5 * friction * t)).real
    error = correlation.std(0, ddof=1) / np.sqrt(12)
    assert (np.abs(correlation.mean(0) - expected) / error).max() < 5.5  # t(11), 100 lags
    found = green_kubo_diffusion(replicas_first(v), time_step=0.05, n_lags=1500)
    low, high = found.coefficient.interval(0.999)
    # bound: no diffusion; the trapezoidal rule adds −Δt² C′(0)/12 = Δt² γ k_B T / (12 m)
    assert low < 0.05**2 * friction * THERMAL_ENERGY / (12.0 * MASS) < high
    assert high - low < 0.05


def test_plateau_lies_beyond_the_last_oscillation():
    """12 repeats of a weakly damped oscillator, whose integral has little noise to hide what is cut off."""
    _, v = linear_langevin(7, 3000, 12, 12, 8, 1, stiffness=18.0, friction=0.8, time_step=0.05)
    found = [
        green_kubo_diffusion(replicas_first(v[:, k]), time_step=0.05, n_lags=1500).coefficient
        for k in range(12)
    ]
    exact = 0.05**2 * 0.8 * THERMAL_ENERGY / (12.0 * MASS)
    z = np.array([(estimate.value - exact) / estimate.standard_error for estimate in found])
    assert np.sqrt((z**2).mean()) < 1.9


def test_slow_tail_below_the_noise_of_each_lag_is_found_by_its_integral():
    t = 0.1 * np.arange(6000)
    decay = np.exp(-t) + 0.01 * np.exp(-t / 20.0)
    noise = 0.02 * np.random.default_rng(8).normal(size=(8, 12, 6000))
    found = [green_kubo(decay + part, time_step=0.1).coefficient for part in noise]
    exact = 1.2 + 0.1**2 / 12.0
    z = np.array([(estimate.value - exact) / estimate.standard_error for estimate in found])
    assert (
        np.sqrt((z**2).mean()) < 2.2
    )  # of Student's t with 11 degrees of freedom; 11 without the tail's own test
    assert max(estimate.standard_error for estimate in found) < 0.05


def test_spectrum_of_two_modes_counts_both_alike():
    t = 0.01 * np.arange(4000)
    correlation = 0.5 * (np.cos(2.0 * np.pi * 3.0 * t) + np.cos(2.0 * np.pi * 8.0 * t))
    spectrum = vibrational_spectrum(correlation, time_step=0.01)
    width = spectrum.frequency[1]
    assert spectrum.density.sum() * width == pytest.approx(1.0, abs=2e-3)
    assert spectrum.density.min() > -1e-3 * spectrum.density.max()
    near = np.abs(spectrum.frequency - 3.0) < 1.0
    assert spectrum.density[near].sum() * width == pytest.approx(0.5, abs=2e-3)
    top = spectrum.density[near].max()
    half = spectrum.frequency[near][spectrum.density[near] > 0.5 * top]
    assert half.max() - half.min() == pytest.approx(2.0 * 0.64 / 40.0, abs=2.0 * width)


def test_spectrum_of_a_free_particle_is_a_lorentzian():
    """g(ν) = 4γ / (γ² + (2πν)²), so that g(0) = 4 D m / k_B T."""
    spectrum = vibrational_spectrum(np.exp(-2.0 * 0.005 * np.arange(20_000)), time_step=0.005)
    low = spectrum.frequency < 3.0
    expected = 8.0 / (4.0 + (2.0 * np.pi * spectrum.frequency[low]) ** 2)
    np.testing.assert_allclose(spectrum.density[low], expected, rtol=5e-3)
    with pytest.raises(InputError, match="four or more lags"):
        vibrational_spectrum(np.ones(3), time_step=0.1)


def stress_series(seed: int, n_replicas: int, n_frames: int, *, decay: float) -> np.ndarray:
    """Pressure tensors of an isotropic fluid: P_xy of unit variance, traceless diagonal to match, a wild trace."""
    rng = np.random.default_rng(seed)
    raw = np.empty((n_frames, n_replicas, 3, 3))
    raw[0] = rng.normal(size=raw.shape[1:])
    for frame in range(1, n_frames):
        raw[frame] = decay * raw[frame - 1] + np.sqrt(1.0 - decay**2) * rng.normal(size=raw.shape[1:])
    symmetric = (raw + np.swapaxes(raw, -1, -2)) / np.sqrt(2.0)
    trace = 30.0 + 5.0 * rng.normal(size=(n_frames, n_replicas, 1, 1))
    return np.moveaxis(symmetric + trace * np.eye(3), 1, 0)


def test_viscosity_of_a_stress_with_known_memory():
    """η = V/(k_B T) ⟨P_xy²⟩ Δt [1/2 + Σ decay^m]; the pressure itself, thirty times the stress, takes no part."""
    stress = stress_series(5, 12, 2000, decay=0.9)
    found = green_kubo_viscosity(stress, volume=8.0, thermal_energy=2.0, time_step=0.1, n_lags=200)
    exact = 8.0 / 2.0 * 0.1 * (0.5 + 0.9 / 0.1)
    low, high = found.coefficient.interval(0.999)
    assert low < exact < high
    assert found.coefficient.standard_error < 0.08 * exact
    shear = np.zeros_like(stress)
    shear[..., 0, 1] = shear[..., 1, 0] = stress[..., 0, 1]
    part = green_kubo_viscosity(
        shear, volume=8.0, thermal_energy=2.0, time_step=0.1, n_lags=200, plateau=found.plateau
    )
    off = green_kubo(
        time_correlation(stress[..., 0, 1][..., None], n_lags=200),
        time_step=0.1,
        factor=4.0,
        plateau=found.plateau,
    )
    assert part.coefficient.value == pytest.approx(0.2 * off.coefficient.value, rel=1e-9)  # one of five
    assert off.coefficient.value == pytest.approx(exact, abs=4.5 * off.coefficient.standard_error)
    assert (
        found.coefficient.standard_error < 0.75 * off.coefficient.standard_error
    )  # five components, 1/√5 ≈ 0.45


def test_single_pieces_and_bad_plateaus_are_refused():
    noise = np.random.default_rng(6).normal(size=(4, 100))
    with pytest.raises(InputError, match="two pieces"):
        green_kubo(noise[:1], time_step=1.0)
    with pytest.raises(InputError, match="plateau"):
        green_kubo(noise, time_step=1.0, plateau=(10.0, 200.0))
    with pytest.raises(InputError, match="3 × 3"):
        green_kubo_viscosity(np.zeros((10, 2, 2)), volume=1.0, thermal_energy=1.0, time_step=1.0)
    with pytest.raises(InputError, match="masses of shape"):
        velocity_autocorrelation(np.zeros((10, 2, 3)), masses=np.ones(3))
    assert time_blocks(noise, n_blocks=2).shape == (8, 50)
