"""Checks of a finished inference, and what they mean in words."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats

from bayescg.analysis._identifiability import Identifiability
from bayescg.inference import FitResult
from bayescg.physics import ReferenceBank

PASSED, FAILED, NOT_TESTED = "passed", "failed", "not tested"


class Check(NamedTuple):
    """One check.

    Attributes:
        name: a few words.
        verdict: `passed`, `failed` or `not tested`.
        value: what was measured, or None.
        threshold: what it is held to, or None.
        sentence: what it means.
    """

    name: str
    verdict: str
    value: float | None
    threshold: float | None
    sentence: str


def _check(name: str, passed: bool, value: float, threshold: float, good: str, bad: str) -> Check:
    return Check(name, PASSED if passed else FAILED, float(value), float(threshold), good if passed else bad)


def sampler_checks(fit: FitResult) -> list[Check]:
    """R̂, effective sample size and divergences of the NUTS draws."""
    z = fit.draws.z
    n_coordinates = z.shape[-1]
    r_hat = max(float(array_stats.rhat(z[..., i], chain_axis=0, draw_axis=1)) for i in range(n_coordinates))
    ess = min(
        float(array_stats.ess(z[..., i], chain_axis=0, draw_axis=1, method=method, prob=prob))
        for i in range(n_coordinates)
        for method, prob in (("bulk", None), ("tail", (0.05, 0.95)))
    )
    divergences = int(fit.draws.diverging.sum())
    return [
        _check("R-hat", r_hat < 1.01, r_hat, 1.01, f"The chains agree (largest R-hat {r_hat:.4f}).",
               f"The chains do not agree (largest R-hat {r_hat:.3f}): draw more, or look for several modes."),
        _check("effective draws", ess > 400, ess, 400,
               f"At least {ess:.0f} effective draws in bulk and tail for every parameter.",
               f"Only {ess:.0f} effective draws for some parameter: its interval's ends are noisy; draw more."),
        _check("divergences", divergences == 0, divergences, 0, "No divergent trajectories.",
               f"{divergences} trajectories diverged: the posterior has corners that NUTS did not enter."),
    ]  # fmt: skip


def verification_check(fit: FitResult) -> Check:
    """The verdict of the last round of fresh simulations."""
    if not fit.verifications:
        return Check(
            "verification", NOT_TESTED, None, None,
            "No fresh simulation was run at posterior draws: regions that no reference visited would go unseen."
        )  # fmt: skip
    last = fit.verifications[-1]
    error, floor = float(np.median(last.rms_error)), float(np.max(last.noise_floor))
    limit, worst = last.median_limit, int(np.argmax(last.rms_error / last.limit))
    draws, rounds = len(last.rms_error), len(fit.verifications)
    sentences = {
        PASSED: f"Fresh simulations at {draws} random posterior draws agree with the surrogate: median error {error:.2f}"
        f" standard deviations per direction, limit {limit:.2f}; worst draw {last.rms_error[worst]:.2f}, limit"
        f" {last.limit[worst]:.2f} (round {rounds}).",
        FAILED: f"Fresh simulations at posterior draws disagree with the surrogate (median error {error:.2f}, limit"
        f" {limit:.2f}; worst draw {last.rms_error[worst]:.2f}, limit {last.limit[worst]:.2f}; the posterior moved by"
        f" {last.shift:.2f} after {rounds} rounds): do not use this posterior; add rounds or narrow the prior.",
        NOT_TESTED: f"The verification simulated too little to tell (noise floor {floor:.2f}, at most 0.5 is allowed):"
        " raise the verification samples.",
    }
    return Check("verification", last.verdict, error, limit, sentences[last.verdict])


def reweighting_khat(bank: ReferenceBank, coefficients: np.ndarray) -> float:
    """Largest Pareto k̂ of the reference frames' weights over some draws' coefficients [draw feature].

    Only draws whose effective number of frames is below half of all count: nearly equal weights, which the mixture
    denominator bounds, have no tail to fit. 0 where there is no such draw.

    References:
        Vehtari et al. (2024), JMLR 25(72), Pareto smoothed importance sampling.
    """
    weights = np.stack([bank.weights(eta) for eta in coefficients])
    uneven = 1.0 / np.sum(weights**2, axis=1) < 0.5 * weights.shape[1]
    if not np.any(uneven):
        return 0.0
    log_weights = np.log(np.maximum(weights[uneven], 1e-300))
    _, k_hat = array_stats.psislw(
        -log_weights, axis=-1
    )  # it takes log likelihoods, whose inverses are the weights
    return float(np.max(k_hat))


def bank_checks(fit: FitResult, independent_frames: float, k_hat: float) -> list[Check]:
    """Reweighting, overlap and convex hull of the reference bank."""
    n_eff = float(np.quantile(fit.effective_frames, 0.05))
    overlap = fit.bank.overlap()
    connected = _connectivity(overlap)
    checks = [
        _check("reweighting", n_eff >= 100, n_eff, 100,
               f"Reweighting uses at least {n_eff:.0f} effective reference frames at 95 % of the calibrated draws.",
               f"Reweighting rests on only {n_eff:.0f} effective frames at some draws: simulate more references."),
        _check("Pareto k-hat", k_hat < 0.7, k_hat, 0.7,
               f"The weights of the reference frames have light tails at the calibrated draws (largest k-hat {k_hat:.2f}).",
               f"The weights of the reference frames have heavy tails at some draws (k-hat {k_hat:.2f}): averages there"
               " hang on few frames."),
        _check("overlap", connected >= 0.03, connected, 0.03,
               f"The reference simulations overlap (weakest link {connected:.2f}).",
               f"Some reference simulations hardly overlap (weakest link {connected:.3f}): log Z between them is a guess."),
        _check("convex hull", fit.in_hull, float(fit.in_hull), 1.0,
               "The data's mean statistics lie inside the hull of the simulated ones.",
               "The data's mean statistics lie outside the hull of what was simulated: the model cannot reach them yet."),
        _check("search", fit.search_converged, float(fit.search_converged), 1.0,
               "The search for the maximum settled.",
               "The search ended before its last step was small; verification decides whether that matters."),
    ]  # fmt: skip
    ratio = fit.independent_reference_frames / max(independent_frames, 1.0)
    checks.append(
        _check("simulation length", ratio >= 5.0, ratio, 5.0,
               f"The references hold {fit.independent_reference_frames:.0f} independent frames, {ratio:.0f} times the"
               " data's; what noise is left is in the calibrated width.",
               f"The references hold only {ratio:.1f} times as many independent frames as the data (5 are asked for):"
               " simulate longer."),
    )  # fmt: skip
    return checks


def _connectivity(overlap: np.ndarray) -> float:
    """The largest t such that states linked by mutual overlap of at least t are all connected."""
    from scipy.sparse.csgraph import minimum_spanning_tree

    if len(overlap) == 1:
        return 1.0
    mutual = np.maximum(overlap, overlap.T)
    tree = minimum_spanning_tree(-np.log(np.clip(mutual, 1e-12, 1.0)) + 1e-9).toarray()
    return float(np.exp(-tree.max()))


def bias_check(fit: FitResult) -> Check:
    """Whether the simulations sample the energy whose statistics they store."""
    acceptance = float(np.min([r.acceptance for r in fit.bank.references]))
    if np.isnan(acceptance):
        return Check(
            "sampler bias", NOT_TESTED, None, None,
            "The references come from dynamics without a Metropolis test; nothing here measured its time-step bias.",
        )  # fmt: skip
    return _check("sampler bias", acceptance > 0.4, acceptance, 0.4,
                  "The references were sampled with a Metropolis test on float64 energies (mean acceptance"
                  f" {acceptance:.2f} or more), so time step, float32 and tables bias no average.",
                  f"Only {acceptance:.2f} of the Metropolised moves were accepted in some reference: shorten"
                  " the time step.")  # fmt: skip


def data_check(analysis: Identifiability) -> Check:
    """Whether the trajectory is long enough to say anything about its own correlations."""
    worst = float(np.nanmin(analysis.independent_frames))
    if worst >= 100:
        return Check(
            "data length",
            PASSED,
            worst,
            100.0,
            f"Worth at least {worst:.0f} independent frames in every direction.",
        )
    if worst >= 40:
        sentence = f"Worth only {worst:.0f} independent frames in the slowest direction: its interval is approximate."
        return Check("data length", PASSED, worst, 40.0, sentence)
    return Check(
        "data length",
        FAILED,
        worst,
        40.0,
        f"Worth only {worst:.0f} independent frames in the slowest direction: too short.",
    )


def statement(
    fit: FitResult,
    analysis: Identifiability,
    *,
    n_frames: int,
    coordinates: Sequence[str],
    checks: Sequence[Check],
    agreement_z: float | None = None,
    n_trajectories: int = 1,
) -> list[str]:
    """What the posterior says and does not say, in sentences."""
    informed = np.isfinite(analysis.independent_frames)
    frames = analysis.independent_frames[informed]
    by_data = analysis.prior_relative > 1.0
    sentences = [
        f"The {n_frames} frames are worth {frames.min():.0f} to {frames.max():.0f} independent ones, depending on the"
        " combination of parameters."
    ]
    if agreement_z is not None:
        word = "agree" if agreement_z < 4.0 else "DISAGREE"
        what = (
            f"{n_trajectories} independent trajectories"
            if n_trajectories > 1
            else "two halves of the trajectory"
        )
        sentences.append(f"The {what} {word} (largest difference {agreement_z:.1f} standard errors).")
    sentences.append(
        f"The data decide {int(by_data.sum())} of {len(by_data)} combinations of parameters"
        f" (effective number {analysis.effective_parameters:.1f}); the prior decides the others."
    )
    held = analysis.directions[~by_data]
    if len(held):
        weight = np.sum(held**2, axis=0)
        names = [coordinates[i] for i in np.argsort(weight)[::-1][:3] if weight[i] > 0.3]
        if names:
            sentences.append(
                f"Mostly the prior holds {', '.join(names)}: believe the prior or get data there."
            )
    null = analysis.directions[analysis.fisher_eigenvalue == 0.0]
    unseen = [c for c, weight in zip(coordinates, np.sum(null**2, axis=0), strict=True) if weight > 0.9]
    if unseen:
        sentences.append(f"No data touch {', '.join(unseen)}: structurally unidentified, prior only.")
    ratio = analysis.fluctuation_ratio[by_data & informed]
    if len(ratio):
        low, high = float(np.min(ratio)), float(np.max(ratio))
        judged = "reproduces" if 0.67 < low and high < 1.5 else "does not fully reproduce"
        sentences.append(
            f"The model {judged} the data's own fluctuations: variance of its statistics in the data over that in the"
            f" model {low:.2f} to {high:.2f} (median {float(np.median(ratio)):.2f})."
        )
    widening = float(
        np.sqrt(np.trace(np.linalg.solve(fit.mode.covariance, fit.calibration.covariance)) / len(fit.mode.z))
    )
    sentences.append(
        f"Intervals are {widening:.2f} times as wide as if all frames were independent, the model right and log Z exact."
    )
    if fit.calibration.fallback:
        sentences.append(
            "There were too few blocks for the full covariance of the data; one conservative factor"
            f" (g = {float(np.max(fit.calibration.long_run.inefficiency)):.1f}) widens all directions."
        )
    for verdict in (FAILED, NOT_TESTED):
        named = [c.name for c in checks if c.verdict == verdict]
        if named:
            sentences.append(f"Checks {verdict}: {', '.join(named)}.")
    sentences.append(f"Checks passed: {', '.join(c.name for c in checks if c.verdict == PASSED)}.")
    return sentences


def pressure_sentence(predicted: np.ndarray, observed: float | None, error: float, unit: str) -> str:
    """What not to believe about the pressure of a potential that was matched to structure.

    Args:
        predicted: at posterior draws [pressure].
        observed: the data's mean, or None [pressure].
        error: its standard error [pressure].
        unit: the pressure's unit.
    """
    low, high = np.quantile(predicted, [0.05, 0.95])
    text = f"The model's pressure is {np.median(predicted):.4g} {unit} (90 % {low:.4g} to {high:.4g})"
    if observed is None:
        return (
            text
            + "; nothing here tests it, and a pair potential matched to structure seldom reproduces pressure."
        )
    z = abs(float(np.mean(predicted)) - observed) / np.hypot(float(np.std(predicted)), error)
    if z > 3.0:
        return (
            f"{text}, the data's is {observed:.3g} ± {error:.2g} {unit}: a pair potential matched to structure does not"
            " reproduce the pressure. Do not use it for pressure, density or compressibility."
        )
    return f"{text}; the data's, {observed:.3g} ± {error:.2g} {unit}, agrees within {z:.1f} standard errors."
