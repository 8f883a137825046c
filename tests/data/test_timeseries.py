"""Correlated time series: analytic answers with z-scores, fixed seeds."""

import numpy as np
import pytest
from scipy.signal import lfilter

from bayescg.data import (
    contiguous_split,
    equilibration_cut,
    long_run_covariance,
    read_frames,
    statistical_inefficiency,
    trajectory_agreement,
)
from bayescg.errors import InputError


def ar1(rho, shape, seed):
    """Stationary AR(1) of unit variance along the first axis."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=shape)
    noise[1:] *= np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], noise, axis=0)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("lengths", [None, [500] * 16, [6000, 1500, 500]])
def test_inefficiency_of_ar1(rho, lengths):
    exact = (1 + rho) / (1 - rho)
    sets = 24
    if lengths is None:
        x = ar1(rho, (8000, sets), 1)
    else:
        x = np.concatenate([ar1(rho, (n, sets), 100 + k) for k, n in enumerate(lengths)])
    found = statistical_inefficiency(x, lengths=lengths)
    assert found.shape == (sets,) and (found >= 1).all()
    error = max(found.std(ddof=1) / np.sqrt(sets), 0.01 * exact)
    assert abs(found.mean() - exact) < 4 * error + 0.02 * exact


def test_blocks_do_not_cross_the_end_of_a_trajectory():
    """A smooth series cut into single frames shows no correlation, and the order of trajectories doesn't matter."""
    smooth = np.sin(np.linspace(0, 20, 400))
    assert statistical_inefficiency(smooth)[0] > 10
    assert statistical_inefficiency(smooth, lengths=[1] * 400).tolist() == [1.0]
    x = [ar1(0.8, (1000, 3), seed) for seed in range(6)]
    a = statistical_inefficiency(np.concatenate(x), lengths=[1000] * 6)
    b = statistical_inefficiency(np.concatenate(x[::-1]), lengths=[1000] * 6)
    assert a == pytest.approx(b, rel=1e-10)
    z = np.concatenate(x)
    one = long_run_covariance(z, lengths=[1000] * 6)
    two = long_run_covariance(np.concatenate(x[::-1]), lengths=[1000] * 6)
    assert one.covariance == pytest.approx(two.covariance, rel=1e-9)


def test_inefficiency_of_degenerate_series():
    assert statistical_inefficiency(np.ones(50)).tolist() == [1.0]
    assert statistical_inefficiency(np.array([3.0])).tolist() == [1.0]
    assert statistical_inefficiency((-1.0) ** np.arange(100)).tolist() == [1.0]
    shifted = ar1(0.8, (4000, 1), 3)
    assert statistical_inefficiency(1e6 + shifted) == pytest.approx(
        statistical_inefficiency(shifted), rel=1e-3
    )


def v8(n, seed):
    z = ar1(0.8, (n,), seed)
    return z + 0.1 * z**3


@pytest.mark.parametrize("lengths", [None, [10_000] * 4])
def test_v8_long_run_variance(lengths):
    """V8: long-run variance of y² is 71.1253, its plain variance 17.057, J/H 11.6123."""
    sets, n = 40, 40_000
    fits = [
        long_run_covariance(v8(n, seed) ** 2, lengths=lengths, curvature=[[6.125]]) for seed in range(sets)
    ]
    found = np.array([fit.covariance[0, 0] for fit in fits])
    error = found.std(ddof=1) / np.sqrt(sets)
    assert abs(found.mean() - 71.1253) < 4 * error
    assert error < 2.0
    sample = np.array([fit.sample_covariance[0, 0] for fit in fits])
    assert abs(sample.mean() - 17.057) < 4 * sample.std(ddof=1) / np.sqrt(sets)


def test_the_naive_variance_is_far_too_small():
    """The negative half of V8: what independent frames would claim is a quarter of the truth."""
    fit = long_run_covariance(v8(40_000, 7) ** 2)
    assert fit.covariance[0, 0] / fit.sample_covariance[0, 0] > 3


def test_long_run_covariance_of_a_vector():
    """A mixture of AR(1) modes: J = A diag(g) Aᵀ, off-diagonals included."""
    rhos, sets = np.array([0.0, 0.5, 0.9]), 30
    mixing = np.array([[1.0, 0.5, 0.2], [0.0, 10.0, -3.0], [0.01, 0.0, 0.02]])
    exact = mixing @ np.diag((1 + rhos) / (1 - rhos)) @ mixing.T
    curvature = mixing @ mixing.T
    found = []
    for seed in range(sets):
        modes = np.stack([ar1(rho, (20_000,), 1000 * seed + k) for k, rho in enumerate(rhos)], axis=1)
        found.append(long_run_covariance(modes @ mixing.T, curvature=curvature).covariance)
    found = np.array(found)
    error = found.std(0, ddof=1) / np.sqrt(sets)
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    assert (np.abs(found.mean(0) - exact) < 4 * error + 0.03 * scale).all()


def test_the_floor_holds_in_whitened_coordinates():
    """Antithetic frames have a long-run variance near 0; J must not fall below half of the curvature."""
    x = np.stack([ar1(-0.9, (4000,), 1), 100 * ar1(0.0, (4000,), 2)], axis=1)
    fit = long_run_covariance(x, curvature=np.diag([1.0, 1e4]))
    assert fit.n_floored == 1
    assert np.linalg.eigvalsh(fit.covariance / np.outer([1, 100], [1, 100])).min() == pytest.approx(
        0.5, rel=1e-9
    )
    loose = long_run_covariance(x, curvature=np.diag([1.0, 1e4]), floor=0.0)
    assert loose.covariance[0, 0] < 0.2


def test_batch_length_follows_the_rule():
    white = long_run_covariance(ar1(0.0, (10_000,), 1))
    assert white.batch == 100 and white.n_batches == pytest.approx(100)
    slow = long_run_covariance(ar1(0.98, (10_000,), 2))
    assert 100 < slow.batch <= 1000 and slow.batch >= min(1000, 4 * slow.inefficiency.max() - 1)
    short = long_run_covariance(ar1(0.5, (1000,), 3), lengths=[25] * 40)
    assert short.batch <= 25
    with pytest.raises(InputError, match="at least 20"):
        long_run_covariance(np.zeros(10))


def test_equilibration_is_found():
    for seed in range(5):
        x = ar1(0.5, (3000,), seed)
        x[:300] += np.linspace(8, 0, 300)
        cut = equilibration_cut(x)
        assert 150 <= cut.start <= 700
        assert cut.effective_frames > 0.5 * 2700 / 3
    assert equilibration_cut(ar1(0.5, (3000, 2), 9)).start < 1500


def test_contiguous_split():
    train, test = contiguous_split(100, held_out_fraction=0.2)
    assert (train, test) == ([slice(0, 80)], [slice(80, 100)])
    train, test = contiguous_split([50, 100], held_out_fraction=0.1, gap=3)
    assert train == [slice(0, 42), slice(50, 137)] and test == [slice(45, 50), slice(140, 150)]
    for fraction in (0.0, 1.0, -0.1):
        with pytest.raises(InputError, match="between 0 and 1"):
            contiguous_split(100, held_out_fraction=fraction)
    with pytest.raises(InputError, match="trajectory 1"):
        contiguous_split([100, 3], held_out_fraction=0.01)


def test_trajectories_that_agree_and_one_that_does_not():
    lengths = [2000] * 4
    x = np.concatenate([ar1(0.8, (2000, 40), seed) for seed in range(4)])
    agree = trajectory_agreement(x, lengths)
    assert (agree.z < 4.5).all() and (agree.r_hat < 1.05).all()
    scaled = (agree.means / agree.standard_errors).std()
    assert scaled == pytest.approx(1.0, abs=0.2)
    x[2000:4000, 0] += 2.0
    apart = trajectory_agreement(x, lengths)
    assert apart.z[0] > 8 and apart.r_hat[0] > 1.2 and apart.z[1:].max() < 4.5
    drift = trajectory_agreement(np.linspace(0, 1, 1000) + 0.01 * ar1(0.0, (1000,), 1), [1000])
    assert drift.r_hat[0] > 1.5


@pytest.mark.parametrize(
    ("x", "lengths", "message"),
    [
        (np.zeros((5, 2)), [3, 3], "sum to 6"),
        (np.array([1.0, np.nan]), None, "frame 1"),
        (np.zeros((2, 2, 2)), None, "shape"),
    ],
)
def test_bad_series_raise(x, lengths, message):
    with pytest.raises(InputError, match=message):
        statistical_inefficiency(x, lengths=lengths)


def test_reference_inefficiencies_of_water(shared_data):
    """Of the potential energy (3.4) and the pressure (1.1), by another estimator in the manifest."""
    water = read_frames(shared_data / "water_spce" / "spce343_300K_com.nc")
    energy, pressure = statistical_inefficiency(np.stack([water.energy, water.pressure], axis=1))
    assert energy == pytest.approx(3.4, rel=0.2) and pressure == pytest.approx(1.1, rel=0.2)
    error = water.energy.std() / 343 * np.sqrt(energy / water.n_frames)
    assert water.energy.mean() / 343 == pytest.approx(-46.750, abs=0.001) and error == pytest.approx(
        0.017, rel=0.2
    )
