"""Growth with a known onset and rate: coverage, several trajectories, and what is no steady growth."""

import numpy as np
import pytest

from bayescg.analysis import growth_fit
from bayescg.errors import InputError

TIME_STEP, FRAMES = 0.5, 120
TIME = TIME_STEP * np.arange(FRAMES)


def noise(rng, n, *, persistence, sd):
    """Stationary autoregressive noise [trajectory frame]."""
    out = np.empty((n, FRAMES))
    out[:, 0] = rng.normal(size=n)
    for i in range(1, FRAMES):
        out[:, i] = persistence * out[:, i - 1] + np.sqrt(1.0 - persistence**2) * rng.normal(size=n)
    return sd * out


def growing(rng, onsets, rates, *, persistence=0.6, sd=0.1):
    onsets, rates = (
        np.broadcast_to(a, np.broadcast_shapes(np.shape(onsets), np.shape(rates))) for a in (onsets, rates)
    )
    length = 2.5 + rates[:, None] * np.maximum(TIME - onsets[:, None], 0.0)
    return (length + noise(rng, len(length), persistence=persistence, sd=sd)) ** 3


@pytest.mark.parametrize("persistence", [0.0, 0.8])
def test_onset_and_rate_are_covered(persistence):
    rng, n = np.random.default_rng(3), 120
    onsets, rates = rng.uniform(10.0, 40.0, size=n), rng.uniform(0.06, 0.12, size=n)
    fit = growth_fit(growing(rng, onsets, rates, persistence=persistence), time_step=TIME_STEP)
    assert fit.verdicts().count("steady growth") > 0.85 * n
    for bands, truth in ((fit.rate(0.8), rates), (fit.onset(0.8), onsets)):
        inside = np.mean([b.low < x < b.high for b, x in zip(bands, truth, strict=True)])
        assert abs(inside - 0.8) < 4.0 * np.sqrt(0.16 / n), inside
    assert fit.persistence.mean() == pytest.approx(persistence, abs=0.15)


def test_no_growth_is_told():
    rng = np.random.default_rng(4)
    calm = [(2.5 + noise(rng, 60, persistence=p, sd=0.1)) ** 3 for p in (0.0, 0.8)]
    walk = (3.0 + np.cumsum(0.01 * rng.normal(size=(60, FRAMES)), axis=1)) ** 3
    for sizes in (*calm, walk):
        fit = growth_fit(sizes, time_step=TIME_STEP)
        assert fit.verdicts().count("no growth") >= 53
    with pytest.raises(InputError, match="no trajectory grows steadily"):
        growth_fit(calm[0][:3], time_step=TIME_STEP).mean_rate()
    assert "no growth rate" in growth_fit(calm[0][:3], time_step=TIME_STEP).sentence()


def test_growth_that_runs_out_of_particles_is_not_steady():
    rng = np.random.default_rng(5)
    since = np.maximum(TIME - 15.0, 0.0)
    length = 2.5 + 4.0 * (1.0 - np.exp(-since / 12.0)) + noise(rng, 20, persistence=0.5, sd=0.05)
    fit = growth_fit(length**3, time_step=TIME_STEP)
    assert set(fit.verdicts()) == {"growth that is not steady"}


def test_growth_from_the_first_frame_has_no_transient():
    rng = np.random.default_rng(6)
    fit = growth_fit(growing(rng, np.zeros(10), 0.1), time_step=TIME_STEP)
    assert np.mean(fit.onset_probabilities[:, 0]) > 0.5
    assert fit.mean_rate()[0].value == pytest.approx(0.1, rel=0.05)


def test_a_line_through_everything_is_wrong_where_there_is_a_transient():
    rng = np.random.default_rng(8)
    sizes = growing(rng, np.full(10, 30.0), 0.1, sd=0.05)
    line = np.mean(np.polynomial.polynomial.polyfit(TIME, np.cbrt(sizes).T, 1)[1])
    band = growth_fit(sizes, time_step=TIME_STEP).mean_rate(0.95)[0]
    assert line < 0.08 and band.low < 0.1 < band.high and band.low > 0.09


@pytest.mark.parametrize("scatter", [0.0, 0.02])
def test_mean_rate_of_several_trajectories_is_covered(scatter):
    rng, n = np.random.default_rng(7), 40
    inside, spreads = [], []
    for _ in range(n):
        rates = 0.1 + scatter * rng.normal(size=6)
        fit = growth_fit(growing(rng, rng.uniform(10.0, 30.0, size=6), rates), time_step=TIME_STEP)
        mean, spread = fit.mean_rate(0.8)
        inside.append(mean.low < 0.1 < mean.high)
        spreads.append(spread)
    assert abs(np.mean(inside) - 0.8) < 4.0 * np.sqrt(0.16 / n), np.mean(inside)
    if scatter:
        assert np.mean([s.low < scatter < s.high for s in spreads]) > 0.6
    else:
        assert np.median([s.value for s in spreads]) < 0.012


def test_rate_follows_the_units_of_time_and_the_dimension():
    rng = np.random.default_rng(9)
    sizes = growing(rng, np.full(3, 20.0), 0.1, sd=0.03)
    fine, coarse = (growth_fit(sizes, time_step=dt).mean_rate()[0] for dt in (TIME_STEP, 10 * TIME_STEP))
    assert fine.value == pytest.approx(10 * coarse.value, rel=1e-6)
    front = growth_fit(np.cbrt(sizes), time_step=TIME_STEP, dimension=1).mean_rate()[0]
    assert front.value == pytest.approx(fine.value, rel=1e-6)


def test_wrong_sizes_are_refused():
    with pytest.raises(InputError, match="at least 40 frames"):
        growth_fit(np.ones((2, 30)), time_step=1.0)
    with pytest.raises(InputError, match="not negative"):
        growth_fit(-np.ones((2, 60)), time_step=1.0)
