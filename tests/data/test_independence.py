"""The test for independent frames: its law against simulation, how often it is wrong, and what it finds."""

import numpy as np
import pytest
from scipy.signal import lfilter

from bayescg.data import (
    Independence,
    chance_inefficiency,
    frame_independence,
    long_run_covariance,
    statistical_inefficiency,
)
from bayescg.errors import InputError


def series(n: int, p: int, *, memory: float, seed: int) -> np.ndarray:
    """Stationary AR(1) series [frame direction], g = (1 + memory)/(1 − memory)."""
    noise = np.random.default_rng(seed).normal(size=(n + 100, p))
    return lfilter([np.sqrt(1.0 - memory**2)], [1.0, -memory], noise, axis=0)[100:]


def refused(frames: list[np.ndarray], **how) -> float:
    return float(np.mean([not frame_independence(long_run_covariance(x, **how)).independent for x in frames]))


def test_the_law_of_the_estimator_is_that_of_its_sums():
    """T = X + √2 Σ_m min(Y_1 … Y_m), drawn."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(150_000, 20))
    sums = np.minimum.accumulate(np.where(np.logical_and.accumulate(y > 0, axis=1), y, 0.0), axis=1).sum(1)
    t = rng.normal(size=len(y)) + np.sqrt(2.0) * sums
    for chance in (0.3, 0.05, 0.01, 0.001):
        limit = (chance_inefficiency(100, 1, chance=chance) - 1.0) * 5.0
        share = np.mean(t > limit)
        assert abs(share - chance) < 4.0 * np.sqrt(chance / len(y))


def test_it_is_the_law_of_real_series_of_any_distribution():
    rng = np.random.default_rng(1)
    for draw in (rng.normal, rng.exponential, lambda size: rng.standard_t(3, size=size)):
        g = np.concatenate([statistical_inefficiency(draw(size=(1000, 64))) for _ in range(30)])
        for chance in (0.2, 0.05):
            assert np.mean(g > chance_inefficiency(1000, 1, chance=chance)) == pytest.approx(chance, rel=0.3)


@pytest.mark.parametrize(("n", "p"), [(60, 2), (100, 8), (400, 2), (1500, 8)])
def test_independent_frames_are_hardly_ever_refused(n, p):
    rng = np.random.default_rng(n)
    count = 200 if n < 1000 else 60
    frames = [rng.normal(size=(n, p)) ** 2 for _ in range(count)]
    share = refused(frames)
    naive = np.mean([long_run_covariance(x).inefficiency.max() > 1.2 for x in frames])
    print(f"N = {n}, p = {p}: {100 * share:.1f} % refused; above 1.2: {100 * naive:.0f} %")
    assert share <= 0.02 + 3.0 * np.sqrt(0.02 / count) and naive > 3.0 * share


def test_trajectories_are_not_mistaken_for_one():
    rng = np.random.default_rng(2)
    lengths = [10] * 40
    assert refused([rng.normal(size=(400, 3)) for _ in range(60)], lengths=lengths) <= 0.1
    apart = [rng.normal(size=(400, 1)) + np.repeat(rng.normal(size=(40, 1)), 10, axis=0) for _ in range(20)]
    assert refused(apart, lengths=lengths) == 1.0


@pytest.mark.parametrize(
    ("n", "memory", "least"),
    [
        (100, 0.3, 0.75),
        (100, 0.6, 0.98),
        (100, 0.9, 0.98),
        (400, 0.3, 0.98),
        (1500, 0.3, 1.0),
        (1500, 0.9, 1.0),
    ],
)
def test_correlated_frames_are_refused(n, memory, least):
    count = 100 if n < 1000 else 20
    found = refused([series(n, 2, memory=memory, seed=seed) for seed in range(count)])
    print(f"N = {n}, AR(1) {memory}: {100 * found:.0f} % refused")
    assert found >= least


def test_a_weak_slow_motion_is_found_by_its_sum():
    """A tenth of the variance has a memory of 20 frames: neighbours hardly correlate, g = 1 + 2 · 0.1 · 20."""
    slow = series(3000, 1, memory=0.95, seed=3)
    fast = np.random.default_rng(4).normal(size=(3000, 1))
    found = frame_independence(long_run_covariance(np.sqrt(0.1) * slow + np.sqrt(0.9) * fast))
    assert found.inefficiency > 2.5 and not found.independent


def test_the_limit_never_falls_below_what_is_negligible():
    assert chance_inefficiency(10**6, 3) < 1.02
    long_run = long_run_covariance(np.random.default_rng(5).normal(size=(20_000, 2)))
    assert frame_independence(long_run).limit == 1.2
    assert Independence(1.2, 1.2).independent and not Independence(1.21, 1.2).independent


@pytest.mark.parametrize("bad", [(0, 1, 0.01), (10, 0, 0.01), (10, 1, 0.0), (10, 1, 0.7)])
def test_bad_input(bad):
    with pytest.raises(InputError, match="inefficiency by chance"):
        chance_inefficiency(bad[0], bad[1], chance=bad[2])
