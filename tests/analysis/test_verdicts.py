"""Checks and sentences of made-up fits: every verdict, and the words for what is not known."""

import json

import numpy as np
import pytest

from bayescg.analysis import (
    Check,
    Identifiability,
    bank_checks,
    bias_check,
    data_check,
    pressure_sentence,
    rdf_sentence,
    reweighting_khat,
    sampler_checks,
    statement,
    value_with_error,
    verification_check,
)
from bayescg.analysis._verdicts import _connectivity
from bayescg.data import LongRunCovariance
from bayescg.inference import Calibration, FitResult, RelativeEntropy, Verification
from bayescg.inference._nuts import NutsDraws
from bayescg.inference._posterior import Mode
from bayescg.physics import Reference, ReferenceBank

CHAINS, DRAWS = 4, 500


def draws_of(z, *, diverging=0):
    ones = np.ones(z.shape[:2])
    flags = np.zeros(z.shape[:2], bool)
    flags.flat[:diverging] = True
    return NutsDraws(z, ones, ones, ones, flags, ones)


def bank_of(*stiffness):
    rng = np.random.default_rng(1)
    nothing = np.zeros((4, 100, 0))
    references = [
        Reference(
            np.array([k]), rng.normal(size=(4, 100, 1)) ** 2 / k / 2, nothing, nothing, np.zeros((0, 1, 1))
        )
        for k in stiffness
    ]
    return ReferenceBank(1.0, tuple(references))


def calibration_of(curvature, covariance, *, fallback=False):
    p = len(curvature)
    long_run = LongRunCovariance(curvature, curvature, 10, 20.0, 0, np.full(p, 2.0), 200)
    return Calibration(
        covariance, 30.0, curvature, curvature, 0 * curvature, np.eye(p), np.eye(p), long_run, fallback
    )


@pytest.fixture
def fit():
    """Two parameters, everything in order."""
    z = np.random.default_rng(0).normal(size=(CHAINS, DRAWS, 2))
    bank = bank_of(1.0, 1.2)
    small = np.full(8, 0.2)
    return FitResult(
        mode=Mode(np.zeros(2), np.eye(2), 0.0, 0.0, True, 300.0),
        calibration=calibration_of(np.diag([1.0, 0.5]), 4.0 * np.eye(2)),
        likelihood=RelativeEntropy(np.zeros(1), np.asarray(200.0), bank.surrogate()),
        draws=draws_of(z),
        calibrated=2.0 * z,
        effective_frames=np.full((CHAINS, DRAWS), 300.0),
        verifications=(Verification(small, small, small, 10 * small, np.full(8, 300.0), "passed"),),
        bank=bank,
        search_path=np.zeros((2, 2)),
        search_converged=True,
        in_hull=True,
        independent_reference_frames=800.0,
        seconds={},
    )


def verdicts(checks):
    return {check.name: check.verdict for check in checks}


def test_good_draws_pass(fit):
    assert set(verdicts(sampler_checks(fit)).values()) == {"passed"}


def test_chains_that_disagree_fail(fit):
    z = fit.draws.z + np.array([0.0, 0.0, 0.0, 1.0])[:, None, None]
    got = verdicts(sampler_checks(fit._replace(draws=draws_of(z))))
    assert got["R-hat"] == "failed" and got["divergences"] == "passed"


def test_sticky_chains_have_too_few_effective_draws(fit):
    z = np.repeat(fit.draws.z[:, ::25], 25, axis=1)
    assert verdicts(sampler_checks(fit._replace(draws=draws_of(z))))["effective draws"] == "failed"


def test_one_divergence_fails(fit):
    check = sampler_checks(fit._replace(draws=draws_of(fit.draws.z, diverging=1)))[2]
    assert check.verdict == "failed" and check.value == 1.0


@pytest.mark.parametrize(
    ("verdict", "words"),
    [("passed", "agree with"), ("failed", "do not use this posterior"), ("not tested", "too little")],
)
def test_verification_takes_the_last_round(fit, verdict, words):
    first = fit.verifications[0]._replace(verdict="failed")
    last = fit.verifications[0]._replace(verdict=verdict, rms_error=np.full(8, 0.25))
    check = verification_check(fit._replace(verifications=(first, last)))
    assert check.verdict == verdict and words in check.sentence
    assert check.value == pytest.approx(0.25) and check.threshold == pytest.approx(0.3)


def test_verification_names_its_quantity(fit):
    words = "the shift of the posterior mean that the error would cause is 0.20 calibrated sd per direction"
    assert words in verification_check(fit).sentence


def test_a_floor_hardly_above_its_limit_is_told_apart_from_it(fit):
    floor = np.full(8, 0.5003)
    last = fit.verifications[0]._replace(verdict="not tested", noise_floor=floor)
    sentence = verification_check(fit._replace(verifications=(last,))).sentence
    assert "noise floor 0.501" in sentence and "0.500 is allowed" in sentence
    assert "raise inference.max_verification_samples" in sentence


def test_no_round_is_not_tested(fit):
    check = verification_check(fit._replace(verifications=()))
    assert check.verdict == "not tested" and check.value is None


def test_good_bank_passes(fit):
    assert set(verdicts(bank_checks(fit, 100.0, 0.3)).values()) == {"passed"}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"effective_frames": np.full((CHAINS, DRAWS), 99.0)}, "reweighting"),
        ({"in_hull": False}, "convex hull"),
        ({"search_converged": False}, "search"),
        ({"independent_reference_frames": 499.0}, "simulation length"),
    ],
)
def test_each_fault_of_the_bank_fails_its_own_check(fit, change, name):
    got = verdicts(bank_checks(fit._replace(**change), 100.0, 0.3))
    assert [n for n, verdict in got.items() if verdict != "passed"] == [name]


def test_a_few_poor_draws_do_not_fail_the_reweighting(fit):
    frames = fit.effective_frames.copy()
    frames[0, :80] = 5.0
    assert verdicts(bank_checks(fit._replace(effective_frames=frames), 100.0, 0.3))["reweighting"] == "passed"
    frames[0, :120] = 5.0
    assert verdicts(bank_checks(fit._replace(effective_frames=frames), 100.0, 0.3))["reweighting"] == "failed"


def test_connectivity_is_the_weakest_necessary_link():
    assert _connectivity(np.ones((1, 1))) == 1.0
    chain = np.array([[0.6, 0.4, 0.0], [0.4, 0.55, 0.05], [0.0, 0.05, 0.95]])
    assert _connectivity(chain) == pytest.approx(0.05, rel=1e-6)
    ring = np.array([[0.5, 0.4, 0.1], [0.4, 0.58, 0.02], [0.1, 0.02, 0.88]])
    assert _connectivity(ring) == pytest.approx(0.1, rel=1e-6)


def test_a_short_verification_reference_among_long_ones_is_connected():
    """One direction of the overlap suffices: a short run lies inside a long one."""
    assert _connectivity(np.array([[0.99, 0.01], [0.9, 0.1]])) == pytest.approx(0.9, rel=1e-6)


def test_heavy_tailed_weights_fail(fit):
    got = verdicts(bank_checks(fit, 100.0, 0.8))
    assert [n for n, verdict in got.items() if verdict != "passed"] == ["Pareto k-hat"]


def test_khat_of_the_weights_grows_with_the_distance():
    """Reweighting x² of stiffness 1 to k has weights with tail index 1 − k where k < 1: k̂ is near it."""
    bank = bank_of(1.0)
    assert reweighting_khat(bank, np.array([[1.0], [0.05]])) > 0.7


def test_weights_without_a_tail_have_no_khat(fit):
    """Nearly equal weights: no number stands in for one, and the check passes in words of its own."""
    assert reweighting_khat(bank_of(1.0), np.array([[1.0], [1.1]])) is None
    check = {c.name: c for c in bank_checks(fit, 100.0, None)}["Pareto k-hat"]
    assert check.verdict == "passed" and check.value is None
    assert "nearly equal" in check.sentence and "0.00" not in check.sentence
    json.dumps(check._asdict(), allow_nan=False)


@pytest.mark.parametrize(
    ("acceptance", "verdict"),
    [((0.9, 0.8), "passed"), ((0.9, 0.3), "failed"), ((1.0, 1.0), "passed"), ((0.9, np.nan), "not tested")],
)
def test_sampler_bias_is_what_the_metropolis_test_removes(fit, acceptance, verdict):
    references = [r._replace(acceptance=a) for r, a in zip(fit.bank.references, acceptance, strict=True)]
    check = bias_check(fit._replace(bank=ReferenceBank(1.0, tuple(references))))
    assert check.verdict == verdict


def analysis_of(*, relative=(50.0, 0.1), frames=(90.0, 180.0), ratio=(1.0, 1.1), directions=None):
    relative = np.asarray(relative)
    return Identifiability(
        fisher_eigenvalue=relative / 200.0,
        prior_relative=relative,
        contraction=relative / (1 + relative),
        directions=np.eye(2) if directions is None else directions,
        independent_frames=np.asarray(frames),
        fluctuation_ratio=np.asarray(ratio),
    )


@pytest.mark.parametrize(
    ("frames", "verdict", "word"),
    [((150.0, 120.0), "passed", "at least 120"), ((150.0, 60.0), "passed", "approximate"),
     ((150.0, 30.0), "failed", "too short"), ((150.0, np.nan), "passed", "at least 150")],
)  # fmt: skip
def test_data_length(frames, verdict, word):
    check = data_check(analysis_of(frames=frames))
    assert check.verdict == verdict and word in check.sentence


def said(fit, analysis, **changes):
    options = {"n_frames": 200, "coordinates": ["one", "two"], "checks": []} | changes
    return " ".join(statement(fit, analysis, **options))


def test_statement_counts_what_the_data_decide(fit):
    text = said(fit, analysis_of())
    assert "200 frames are worth 90 to 180 independent ones" in text
    assert "decide 1 of 2 combinations" in text and "effective number 1.1" in text
    assert "prior holds two" in text and "prior holds one" not in text
    assert "reproduces the data's own fluctuations" in text
    assert "Intervals are 2.00 times as wide" in text
    assert "structurally" not in text and "too few blocks" not in text


def test_statement_names_what_no_data_touch(fit):
    calibration = calibration_of(np.diag([1.0, 0.0]), np.eye(2))
    analysis = analysis_of(relative=(50.0, 0.0), frames=(90.0, np.nan), ratio=(1.0, np.nan))
    assert analysis.fisher_eigenvalue[1] == 0.0
    text = said(fit._replace(calibration=calibration), analysis)
    assert "No data touch two: structurally unidentified" in text
    assert "nan" not in text


def test_statement_admits_misfit_and_the_fallback(fit):
    calibration = fit.calibration._replace(fallback=True)
    text = said(fit._replace(calibration=calibration), analysis_of(ratio=(2.8, 1.0)))
    assert "does not fully reproduce" in text and "2.80" in text
    assert "g = 2.0" in text and "too few blocks" in text


def test_statement_lists_failed_and_untested_checks(fit):
    checks = [Check(n, v, None, None, "") for n, v in (("a", "passed"), ("b", "failed"), ("c", "not tested"))]
    text = said(fit, analysis_of(), checks=checks)
    assert "Checks failed: b." in text and "Checks not tested: c." in text and "Checks passed: a." in text


@pytest.mark.parametrize(("z", "word"), [(1.5, "agree"), (6.0, "DISAGREE")])
def test_statement_compares_trajectories(fit, z, word):
    assert f"two halves of the trajectory {word}" in said(fit, analysis_of(), agreement_z=z)
    assert f"3 independent trajectories {word}" in said(fit, analysis_of(), agreement_z=z, n_trajectories=3)


def test_pressure_is_disowned_unless_it_is_reproduced():
    predicted = np.linspace(8000.0, 8400.0, 100)
    assert "Do not use it for pressure" in pressure_sentence(predicted, 1.0, 30.0, "bar")
    assert "agrees: the two are 0.0 standard deviations apart" in pressure_sentence(
        predicted, 8200.0, 30.0, "bar"
    )
    assert "agrees" in pressure_sentence(predicted, 7000.0, 500.0, "bar")
    assert "nothing here tests it" in pressure_sentence(predicted, None, 0.0, "bar")


def rdf_of(cutoff):
    """A band of ± 0.09 in four bins; the data lie in it, in it, 0.1 above it and far above it, and one bin is empty."""
    predicted = 1.0 + np.linspace(-0.1, 0.1, 101)[:, None] * np.ones(5)
    observed = np.array([0.0, 1.05, 0.95, 1.19, 2.0])
    return rdf_sentence(observed, np.full(5, 0.06), predicted, r=np.arange(5.0), cutoff=cutoff)


def test_the_band_itself_and_the_widened_one_are_told_apart():
    text = rdf_of(cutoff=10.0)
    assert "itself in 50 % of the bins, and" in text
    assert "widened by two standard errors of the data in 75 % of the bins." in text
    assert "cutoff" not in text


def test_bins_beyond_the_cutoff_are_counted_apart():
    text = rdf_of(cutoff=3.0)
    assert "itself in 50 % of the bins (inside the cutoff 100 %, beyond 0 %)" in text
    assert "in 75 % of the bins (inside the cutoff 100 %, beyond 50 %)" in text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(-30.907, 18.9, "-31 ± 19"), (187.42, 4.37, "187.4 ± 4.4"), (0.123456, 0.00123, "0.1235 ± 0.0012"),
     (8131.4, 250.0, "8131 ± 250"), (187.42, 0.0, "187.4"), (187.42, np.nan, "187.4"), (12345.6, 0.0, "12346")],
)  # fmt: skip
def test_a_value_has_the_digits_of_its_error(value, error, text):
    assert value_with_error(value, error) == text
