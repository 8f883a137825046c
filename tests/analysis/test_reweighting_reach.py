"""Whether references reach draws: weights of a normal feature, whose effective numbers are known in closed form."""

import numpy as np
import pytest
from arviz_stats.base import array_stats

from bayescg.analysis._reweighting_reach import reweighting_reach, variance_terms
from bayescg.physics import Reference, ReferenceBank

N = 20000


def bank(x: np.ndarray) -> ReferenceBank:
    """One reference at η = 0 with features x [replica frame]; a draw η shifts x by −η."""
    rows = x[..., None]
    return ReferenceBank(
        1.0, (Reference(np.zeros(1), rows, rows[..., :0], rows[..., :0], np.zeros((0, 1, 1))),)
    )


@pytest.fixture(scope="module")
def independent() -> ReferenceBank:
    return bank(np.random.default_rng(0).normal(size=(10, N // 10)))


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.6])
def test_effective_frames_and_terms_are_those_of_normal_weights(independent, shift):
    """n exp(−s²) frames; terms w (x − ⟨x⟩)² have n exp(−s²)/(s⁴ + 6 s² + 3) effective ones."""
    eta = np.full((3, 1), -shift)
    reach = reweighting_reach(independent, eta)
    assert reach.reached and reach.independent > 0.85
    expected = N * np.exp(-(shift**2))
    np.testing.assert_allclose(reach.effective_frames / reach.independent, expected, rtol=0.05)
    terms = variance_terms(independent, eta, np.ones((3, 1)), independent.features, reach=reach)
    assert terms / reach.independent == pytest.approx(expected / (shift**4 + 6.0 * shift**2 + 3.0), rel=0.15)


def test_few_terms_mean_a_claimed_error_that_is_too_small():
    """At a shift of 1.5 the variance's error is claimed to be less than three quarters of the true one."""
    rng, n, shift = np.random.default_rng(1), 3000, 1.5
    found, claimed, counts = [], [], []
    for _ in range(200):
        x = rng.normal(size=n)
        weights = np.exp(shift * x - shift**2 / 2.0)
        weights /= weights.sum()
        apart = (x - weights @ x) ** 2
        found.append(weights @ apart)
        claimed.append(np.sqrt(np.sum((weights * (apart - found[-1])) ** 2)))
        counts.append(np.sum(weights * apart) ** 2 / np.sum((weights * apart) ** 2))
    assert np.median(claimed) < 0.75 * np.std(found) and np.median(counts) < 300.0


def test_close_contacts_are_seen_by_terms_and_not_by_the_tail_index():
    """Two Lennard-Jones sites at T = 1.5, reweighted to 1.8: even weights, and half of C_V's true error is claimed."""
    rng, n = np.random.default_rng(2), 3000
    found, claimed, counts, tails = [], [], [], []
    for _ in range(100):
        apart = rng.uniform(-2.6, 2.6, size=(4 * n, 3))
        inverse = 1.0 / np.maximum(np.sum(apart**2, axis=1), 1e-12) ** 3
        u = np.where(inverse > 2.5**-6, 4.0 * (inverse**2 - inverse), 0.0)
        u = u[rng.uniform(size=4 * n) < np.exp(-(u + 1.0) / 1.5)][:n]
        weights = np.exp(u / 1.5 - u / 1.8)
        weights /= weights.sum()
        square = (u - weights @ u) ** 2
        found.append(weights @ square)
        claimed.append(np.sqrt(np.sum((weights * (square - found[-1])) ** 2)))
        counts.append(np.sum(weights * square) ** 2 / np.sum((weights * square) ** 2))
        tails.append(float(array_stats.psislw(-np.log(weights * square)[None], axis=-1)[1].max()))
    assert np.median(claimed) < 0.5 * np.std(found)
    assert np.median(counts) < 300.0 and np.median(tails) < 0.7


def test_frames_that_follow_one_another_count_as_fewer(independent):
    walk = np.random.default_rng(2).normal(size=(10, N // 10))
    for k in range(1, walk.shape[1]):
        walk[:, k] = (
            0.9 * walk[:, k - 1] + np.sqrt(1.0 - 0.81) * walk[:, k]
        )  # 19 frames for an independent one
    reach = reweighting_reach(bank(walk), np.zeros((2, 1)))
    assert reach.effective_frames[0] == pytest.approx(N / 19.0, rel=0.25)


def test_a_draw_without_weights_is_not_reached(independent):
    eta = np.zeros((40, 1))
    eta[7] = np.nan
    reach = reweighting_reach(independent, eta)
    assert not reach.reached and reach.effective_frames[7] == 0.0
    assert "at 1 of 40 draws fewer than 50 effective independent reference frames" in reach.sentence
    eta[:4] = -3.0
    assert "at 5 of 40 draws fewer than 100" in reweighting_reach(independent, eta).sentence
