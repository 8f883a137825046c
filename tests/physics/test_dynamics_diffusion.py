"""Unwrapping, mean-squared displacement, diffusion coefficients and their errors, against exact motions."""

import numpy as np
import pytest
from scipy.special import erfc

from bayescg.errors import ConvergenceError, InputError
from bayescg.physics import (
    Estimate,
    brownian_covariance,
    diffusion_coefficient,
    finite_size_corrected,
    mean_squared_displacement,
    time_blocks,
    unwrap,
    without_drift,
)
from bayescg.physics._diffusion import FINITE_SIZE


def random_walk(seed: int, *shape: int) -> np.ndarray:
    """Brownian motion [… frame site dim], D = 1/2 per unit of time."""
    return np.cumsum(np.random.default_rng(seed).normal(size=shape), axis=-3)


def test_msd_is_the_sum_over_origins():
    x = np.random.default_rng(0).normal(size=(2, 3, 13, 4, 2)) + 1e3
    found = mean_squared_displacement(x, n_lags=13)
    for lag in range(13):
        moved = x[..., lag:, :, :] - x[..., : 13 - lag, :, :]
        np.testing.assert_allclose(found[..., lag], (moved**2).sum(-1).mean((-1, -2)), rtol=1e-9, atol=1e-12)


def test_msd_of_straight_motion_is_ballistic():
    velocity = np.random.default_rng(1).normal(size=(7, 3))
    x = 0.01 * np.arange(400)[:, None, None] * velocity
    expected = (0.01 * np.arange(200)) ** 2 * (velocity**2).sum(1).mean()
    np.testing.assert_allclose(mean_squared_displacement(x), expected, rtol=1e-9, atol=1e-12)


def test_ballistic_motion_has_no_linear_range():
    velocity = np.random.default_rng(1).normal(size=(10, 1, 20, 3))
    with pytest.raises(ConvergenceError, match="slope of the mean-squared displacement still changes"):
        diffusion_coefficient(0.01 * np.arange(400)[:, None, None] * velocity, time_step=0.01)


def ornstein_uhlenbeck(seed: int, n_frames: int, *shape: int, decay: float) -> np.ndarray:
    """Stationary, of unit variance; correlation decay^lag [frame …]."""
    rng = np.random.default_rng(seed)
    x = np.empty((n_frames, *shape))
    x[0] = rng.normal(size=shape)
    for frame in range(1, n_frames):
        x[frame] = decay * x[frame - 1] + np.sqrt(1.0 - decay**2) * rng.normal(size=shape)
    return x


def test_msd_of_a_site_in_a_well_reaches_its_plateau():
    x = np.moveaxis(ornstein_uhlenbeck(2, 2000, 20, 5, 3, decay=0.8), 1, 0)
    msd = mean_squared_displacement(x, n_lags=60)
    expected = 6.0 * (1.0 - 0.8 ** np.arange(60))
    error = msd.std(0, ddof=1) / np.sqrt(20)
    assert (np.abs(msd.mean(0) - expected)[1:] / error[1:]).max() < 4.5  # 59 correlated lags
    assert msd.mean(0)[-1] == pytest.approx(6.0, rel=0.02)
    bounded = diffusion_coefficient(x, time_step=1.0).coefficient
    assert abs(bounded.value) < 4.0 * bounded.standard_error
    assert bounded.standard_error < 1e-3


def test_brownian_covariance_is_that_of_many_walks():
    lags = np.array([1, 3, 8])
    x = random_walk(3, 20_000, 24, 1, 1)
    msd = mean_squared_displacement(x, n_lags=9)[:, lags]
    expected = brownian_covariance(lags, n_frames=24)
    np.testing.assert_allclose(np.cov(msd.T) / expected, 1.0, atol=0.06)


@pytest.mark.parametrize("n_replicas", [1, 3, 12])
def test_diffusion_error_is_calibrated(n_replicas):
    """Over repeats, the scatter is the error that is claimed, and 90 % intervals hold the truth in 90 %."""
    total = 1200 if n_replicas < 12 else 200
    found = [
        diffusion_coefficient(random_walk(100 + k, n_replicas, total, 2, 3), time_step=0.5).coefficient
        for k in range(150)
    ]
    values = np.array([estimate.value for estimate in found])
    errors = np.array([estimate.standard_error for estimate in found])
    assert abs(values.mean() - 1.0) < 4.0 * values.std() / np.sqrt(150)  # σ² / (2 Δt) = 1
    assert 0.83 < values.std() / np.sqrt((errors**2).mean()) < 1.2
    assert all(estimate.degrees_of_freedom == {1: 9, 3: 11, 12: 11}[n_replicas] for estimate in found)
    held = sum(low < 1.0 < high for low, high in (estimate.interval(0.9) for estimate in found))
    assert 124 <= held <= 145  # binomial, 3 sd each way


def test_diffusion_error_holds_for_sites_that_move_together():
    """Copies of one site hold no more than the site: the error must not shrink."""
    x = random_walk(4, 12, 400, 1, 3)
    alone = diffusion_coefficient(x, time_step=1.0, fit=(1.0, 20.0)).coefficient
    copies = diffusion_coefficient(np.repeat(x, 50, axis=2), time_step=1.0, fit=(1.0, 20.0)).coefficient
    np.testing.assert_allclose(copies, alone, rtol=1e-9)


def test_linear_range_begins_after_the_ballistic_part():
    """Velocities with a memory of 10 frames: MSD = 2 D (t − τ (1 − exp(−t/τ))), D = τ by unit variance."""
    decay = np.exp(-0.1)
    x = np.cumsum(np.moveaxis(ornstein_uhlenbeck(5, 4000, 12, 20, 3, decay=decay), 1, 0), axis=1)
    exact = 0.5 * (1.0 + decay) / (1.0 - decay)  # of the sums, frame by frame
    found = diffusion_coefficient(x, time_step=1.0)
    assert found.fit[0] >= 20.0
    assert abs(found.coefficient.value - exact) < 3.5 * found.coefficient.standard_error
    assert found.coefficient.standard_error < 0.03 * exact
    assert found.intercept < 0.0  # the line comes from below: displacement was lost at the start
    naive = diffusion_coefficient(x, time_step=1.0, fit=(1.0, 8.0)).coefficient
    assert exact - naive.value > 10.0 * naive.standard_error


def test_diffusion_error_covers_the_choice_of_the_linear_range():
    """40 repeats with a memory of 5 frames: a range that began where the test first passes would be 1.3 errors low."""
    decay = np.exp(-0.2)
    v = ornstein_uhlenbeck(19, 400, 40, 12, 10, 3, decay=decay)
    exact = 0.5 * (1.0 + decay) / (1.0 - decay)
    x = np.moveaxis(np.cumsum(v, axis=0), 0, 2)
    found = [diffusion_coefficient(part, time_step=1.0).coefficient for part in x]
    z = np.array([(estimate.value - exact) / estimate.standard_error for estimate in found])
    assert abs(z.mean()) < 0.6
    assert np.sqrt((z**2).mean()) < 1.5


def test_unwrapping_undoes_wrapping():
    box = np.array([3.0, 4.0, np.inf])
    x = 0.2 * random_walk(6, 2, 500, 5, 3)
    wrapped = np.where(np.isinf(box), x, x - np.where(np.isinf(box), 1.0, box) * np.floor(x / box))
    assert np.abs(wrapped - x).max() > 3.0
    found = unwrap(wrapped, box)
    np.testing.assert_allclose(found - found[:, :1], x - x[:, :1], atol=1e-10)


def test_unwrapping_in_a_box_that_changes_keeps_the_diffusion():
    """Images are counted in the box of each frame: a trajectory far from its start is not stretched with the box."""
    rng = np.random.default_rng(7)
    n_frames = 4000
    box = 2.0 * (1.0 + 0.05 * rng.normal(size=(n_frames, 1)).clip(-3, 3))
    steps = 0.1 * rng.normal(size=(n_frames, 50, 1))
    inside = np.empty_like(steps)
    inside[0] = rng.uniform(size=(50, 1)) * box[0]
    for frame in range(1, n_frames):
        moved = inside[frame - 1] + steps[frame]
        inside[frame] = moved - box[frame] * np.floor(moved / box[frame])
    found = unwrap(inside, box)
    np.testing.assert_allclose(np.diff(found, axis=0), steps[1:], atol=1e-9)


def test_unwrapping_refuses_frames_too_far_apart():
    with pytest.raises(InputError, match="store frames more often"):
        unwrap(np.random.default_rng(8).uniform(size=(50, 4, 3)), np.ones(3))
    with pytest.raises(InputError, match="edges of shape"):
        unwrap(np.zeros((50, 4, 3)), np.ones(2))


def test_drift_is_taken_off():
    masses = np.array([1.0, 2.0, 5.0])
    x = random_walk(9, 2, 30, 3, 2)
    found = without_drift(x, masses=masses)
    np.testing.assert_allclose(np.einsum("rfsd,s->rfd", found, masses), 0.0, atol=1e-12)
    drifted = without_drift(x + np.arange(30.0)[:, None, None], masses=masses)
    np.testing.assert_allclose(drifted, found, atol=1e-12)
    with pytest.raises(InputError, match="masses of shape"):
        without_drift(x, masses=np.ones(2))


def test_the_constant_of_the_finite_size_correction():
    """ξ: minus the potential, in units of 1/L, that a unit charge feels of its images and of a background (Ewald)."""
    alpha = 2.0
    n = np.arange(-6, 7)
    grid = np.stack(np.meshgrid(n, n, n), axis=-1).reshape(-1, 3)
    r = np.linalg.norm(grid[np.any(grid != 0, axis=1)], axis=1)
    near = np.sum(erfc(alpha * r) / r)
    far = np.sum(np.exp(-((np.pi * r / alpha) ** 2)) / (np.pi * r**2))
    wigner = near + far - 2.0 * alpha / np.sqrt(np.pi) - np.pi / alpha**2
    assert -wigner == pytest.approx(FINITE_SIZE, abs=1e-6)


def test_finite_size_correction_adds_errors_in_squares():
    viscosity = Estimate(0.7, 0.07, np.inf)
    found = finite_size_corrected(Estimate(2.0, 0.03, 9.0), thermal_energy=2.5, viscosity=viscosity, edge=3.0)
    correction = 2.837297 * 2.5 / (6.0 * np.pi * 0.7 * 3.0)
    assert found.value == pytest.approx(2.0 + correction, rel=1e-9)
    assert found.standard_error == pytest.approx(np.hypot(0.03, 0.1 * correction), rel=1e-9)
    assert found.degrees_of_freedom > 9.0
    with pytest.raises(InputError, match="expected positive"):
        finite_size_corrected(found, thermal_energy=2.5, viscosity=Estimate(0.0, 0.1, 9.0), edge=3.0)


def test_short_or_broken_series_are_refused():
    x = random_walk(10, 12, 40, 2, 3)
    with pytest.raises(InputError, match="use a longer trajectory"):
        diffusion_coefficient(x, time_step=1.0)
    with pytest.raises(InputError, match="linear range"):
        diffusion_coefficient(random_walk(10, 12, 100, 2, 3), time_step=1.0, fit=(5.0, 80.0))
    x[3, 5, 1, 0] = np.nan
    with pytest.raises(InputError, match="frame 5 is not finite"):
        mean_squared_displacement(x)
    with pytest.raises(InputError, match="lags"):
        mean_squared_displacement(np.zeros((5, 2, 3)), n_lags=6)


def test_time_blocks_keep_the_order():
    x = np.arange(24.0).reshape(2, 12)
    np.testing.assert_array_equal(time_blocks(x, n_blocks=3), np.arange(24.0).reshape(6, 4))
    with pytest.raises(InputError, match="time blocks"):
        time_blocks(x, n_blocks=13)
