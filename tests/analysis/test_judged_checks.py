"""Many predictive checks judged together: the family-wise error, what was fitted, fluctuations, rare events."""

import numpy as np
import pytest
import xarray as xr

from bayescg.analysis import (
    Observables,
    checked_averages,
    checked_variances,
    fitted_share,
    holm,
    judged_checks,
    judged_sentences,
    too_rare,
)
from bayescg.output import figure_predictive_checks, predictive_check_table
from bayescg.physics import Reference, ReferenceBank

N, REPLICAS = 400, 24


@pytest.fixture(scope="module")
def spring() -> tuple[ReferenceBank, np.ndarray]:
    """References of U = θx²/2 at θ = 0.9 and 1.1, and x of the pooled frames."""
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(REPLICAS, 500)) / np.sqrt(theta) for theta in (0.9, 1.1)]
    references = [
        Reference(
            np.array([theta]),
            y[..., None] ** 2 / 2,
            y[..., None] ** 2 / 2,
            y[..., None][..., :0],
            np.zeros((0, 1, 1)),
        )
        for theta, y in zip((0.9, 1.1), x, strict=True)
    ]
    return ReferenceBank(1.0, tuple(references)), np.concatenate([y.ravel() for y in x])


def observables(data: np.ndarray, model: np.ndarray) -> Observables:
    return Observables(
        ("x", "x2", "x3"), ("moment",) * 3, *(np.stack([y, y**2, y**3], axis=1) for y in (data, model))
    )


def posterior(data: np.ndarray, rng: np.random.Generator, n: int = 20) -> np.ndarray:
    """Draws of θ given data, flat prior: Gamma(N/2 + 1, Σx²/2)."""
    return rng.gamma(len(data) / 2 + 1, 2 / np.sum(data**2), size=(n, 1))


def test_share_is_one_for_what_is_fitted_and_zero_for_what_no_parameter_touches(spring):
    bank, x = spring
    values = observables(x, x).model
    share = lambda prior: fitted_share(  # noqa: E731
        bank,
        np.ones(1),
        values,
        scores=-bank.features,
        covariance=np.array([[1.0 / (N / 2 + prior)]]),
        n_frames=N,
    )
    np.testing.assert_allclose(share(0.0), [0.0, 1.0, 0.0], atol=0.02)
    a = (N / 2) / (N / 2 + 100.0)
    assert share(100.0)[1] == pytest.approx(2 * a - a**2, abs=0.02), "a prior that pulls leaves part of it"


def test_share_says_how_much_less_the_data_deviate_after_a_fit(spring):
    """Of |x|, in part fitted: the deviation from the fitted model's mean has the variance (1 − share) Var/N."""
    bank, x = spring
    share = fitted_share(
        bank,
        np.ones(1),
        np.abs(x)[:, None],
        scores=-bank.features,
        covariance=np.array([[2.0 / N]]),
        n_frames=N,
    )[0]
    data = np.random.default_rng(1).normal(size=(4000, N))
    left = np.abs(data).mean(axis=1) - np.sqrt(2 / np.pi * np.mean(data**2, axis=1))
    assert 0.5 < share < 0.95
    assert np.var(left) * N / (1 - 2 / np.pi) == pytest.approx(1 - share, rel=0.12)


def test_fluctuations_of_the_models_own_data_are_standard(spring):
    """z of the variances of x and x³ over 150 data sets: none accused by chance, spread at most one."""
    bank, x = spring
    rng, found = np.random.default_rng(2), []
    for _ in range(150):
        data = rng.normal(size=N)
        check = checked_variances(
            bank, posterior(data, rng), observables(data, x).only(np.array([1, 0, 1], bool)), lengths=(N,)
        )
        found.append(check["z"].values)
    z = np.array(found)
    assert check["observable"].values.tolist() == ["variance of x", "variance of x3"]
    assert check["group"].values.tolist() == ["variance: moment"] * 2
    assert np.all(np.abs(z.mean(axis=0)) < 0.3) and np.all(z.std(axis=0) < 1.1)
    assert z[:, 0].std() < 0.3, "the variance of x is what was fitted"
    assert z[:, 1].std() > 0.3


def test_fluctuations_that_the_model_does_not_have_are_found(spring):
    """Data of two values, ±1: the mean square of a spring, none of its fluctuation."""
    bank, x = spring
    rng = np.random.default_rng(3)
    data = rng.choice([-1.0, 1.0], size=N)
    both = observables(data, x)
    eta = posterior(data, rng)
    parts = [f(bank, eta, both, lengths=(N,)) for f in (checked_averages, checked_variances)]
    check = xr.concat(parts, "observable")
    share = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    judged = judged_checks(check.assign(fitted_share=("observable", share)))
    verdict = dict(zip(judged["observable"].values, judged["verdict"].values, strict=True))
    assert verdict["x2"] == "fitted" and verdict["variance of x2"] == "not reproduced"
    assert verdict["x"] == "as expected" and verdict["variance of x"] == "fitted"
    assert judged["observed"].sel(observable="variance of x2").item() == pytest.approx(0.0, abs=1e-12)
    said = judged_sentences(judged)
    assert "variance of x2 (z = -" in said[1] and said[2].startswith("2 more were fitted")
    lines = predictive_check_table(judged).splitlines()
    assert "variance of x" in lines[1] and lines[-1].endswith("no surprise, and no test")
    figure = figure_predictive_checks(judged)
    assert figure.get_suptitle() == "Data against replicated data: 2 of 4 tests missed"


def test_one_family_errs_as_rarely_as_one_test():
    """100 tests of true models: some raw p is below 0.05 nearly always, an adjusted one in 5 %."""
    p = np.random.default_rng(4).uniform(size=(2000, 100))
    adjusted = np.array([holm(row) for row in p])
    assert np.mean(p.min(axis=1) < 0.05) > 0.98
    assert np.mean(adjusted.min(axis=1) < 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.all(adjusted >= p) and np.all(adjusted <= 1.0)


def test_what_was_fitted_does_not_count_as_a_test_but_is_told_where_missed():
    values = {
        "z": [0.0, 0.1, 2.9, -9.0],
        "p_value": [1.0, 0.9, 0.004, 1e-15],
        "fitted_share": [1.0, 0.95, 0.1, 0.99],
    }
    check = xr.Dataset({k: ("observable", v) for k, v in values.items()}, {"observable": list("abcd")})
    judged = judged_checks(check)
    assert judged["adjusted_p"].values[2] == pytest.approx(0.004), "one test only: nothing to adjust"
    assert judged["verdict"].values.tolist() == ["fitted", "fitted", "doubtful", "not reproduced"]
    assert "look at the prior" in judged["sentence"].values[3]
    assert any(s.startswith("Fitted, and missed all the same: d") for s in judged_sentences(judged))


@pytest.mark.parametrize(
    ("seen", "expected"), [(0.0, 0.004), (0.004, 0.0), (0.1, 0.1), (0.1, 0.0), (0.0, 0.1)]
)
def test_rare_events_are_judged_only_where_one_side_has_enough(seen, expected):
    rng = np.random.default_rng(5)
    phi = rng.normal(size=(16, 250, 1))
    bank = ReferenceBank(1.0, (Reference(np.ones(1), phi, phi, phi[..., :0], np.zeros((0, 1, 1))),))
    counts = [rng.poisson(mean, size=(n, 1)).astype(float) for mean, n in ((seen, N), (expected, 4000))]
    rare = too_rare(bank, np.zeros(1) + 1.0, Observables(("n",), ("g(r)",), *counts), lengths=(N,))
    assert rare.tolist() == [max(seen, expected) < 0.01]
