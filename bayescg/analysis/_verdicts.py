"""Checks of a finished inference, each with what it means in words."""

import math
from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats

from bayescg.analysis._identifiability import Identifiability
from bayescg.inference import (
    BankExchange,
    FitResult,
    LabelFit,
    LaplaceDraws,
    ResampledBlocks,
    StepChoice,
    laplace_khat,
)
from bayescg.physics import ReferenceBank

PASSED, FAILED, NOT_TESTED = "passed", "failed", "not tested"
FEWEST_BLOCKS = 20
"""Blocks below which resampled widths are off by a fifth or more."""
LEAST_ACCEPTED = 0.05
"""Share of accepted proposals below which a random walk hardly moves."""


class Check(NamedTuple):
    """One check.

    Attributes:
        name: a few words.
        verdict: `passed`, `failed` or `not tested`.
        value: what was measured, or None.
        threshold: what it is held to, or None.
        sentence: what it means.

    Example:
        >>> Check("divergences", "failed", 3.0, 0.0, "3 trajectories diverged.").verdict
        'failed'
    """

    name: str
    verdict: str
    value: float | None
    threshold: float | None
    sentence: str


def _check(name: str, passed: bool, value: float, threshold: float, good: str, bad: str) -> Check:
    return Check(name, PASSED if passed else FAILED, float(value), float(threshold), good if passed else bad)


def sampler_checks(fit: FitResult | LabelFit) -> list[Check]:
    """R̂ and effective sample size of the draws, and what can go wrong with their sampler alone.

    That is divergences, how far Laplace's approximation can be trusted, the predicted bias of a stochastic-gradient step
    against its tolerance, the number of blocks that were resampled, a temperature other than the posterior's, or
    proposals that are hardly ever accepted.

    Args:
        fit: the inference's outcome.

    Example:
        >>> from bayescg.inference._nuts import NutsDraws
        >>> z = np.random.default_rng(0).normal(size=(4, 500, 1))  # four chains that agree
        >>> numbers = np.ones((4, 500))
        >>> empty = FitResult(*[None] * len(FitResult._fields))
        >>> fit = empty._replace(draws=NutsDraws(z, numbers, numbers, numbers, numbers < 0, numbers))
        >>> [check.verdict for check in sampler_checks(fit)]
        ['passed', 'passed', 'passed']
    """
    z = fit.draws.z
    n_coordinates = z.shape[-1]
    r_hat = max(float(array_stats.rhat(z[..., i], chain_axis=0, draw_axis=1)) for i in range(n_coordinates))
    ess = min(
        float(array_stats.ess(z[..., i], chain_axis=0, draw_axis=1, method=method, prob=prob))
        for i in range(n_coordinates)
        for method, prob in (("bulk", None), ("tail", (0.05, 0.95)))
    )
    return [
        _check("R-hat", r_hat < 1.01, r_hat, 1.01, f"The chains agree (largest R-hat {r_hat:.4f}).",
               f"The chains do not agree (largest R-hat {r_hat:.3f}): draw more, or look for several modes."),
        _check("effective draws", ess > 400, ess, 400,
               f"At least {ess:.0f} effective draws in bulk and tail for every parameter.",
               f"Only {ess:.0f} effective draws for some parameter: its interval's ends are noisy; draw more."),
        _own_check(fit),
    ]  # fmt: skip


def _own_check(fit: FitResult | LabelFit) -> Check:
    """What can go wrong with this sampler and with no other."""
    if isinstance(fit, FitResult):
        if fit.step_choice is not None:
            return _step_check(fit.sampler, fit.step_choice)
        if fit.resampled is not None:
            return _blocks_check(fit.sampler, fit.resampled)
        if fit.posterior_temperature is not None:
            return _temperature_check(fit.sampler, fit.posterior_temperature)
        if fit.sampler == BankExchange.name:
            return _exchange_check(fit)
        if fit.sampler == LaplaceDraws.name:
            return _laplace_check(fit)
    return _divergence_check(fit)


def _step_check(sampler: str, choice: StepChoice) -> Check:
    bias, limit = max(choice.width_bias, choice.lag), choice.width_tolerance
    told = (
        f"{sampler}'s step of {choice.step:.3g} is predicted to change posterior standard deviations by up to"
        f" {choice.width_bias:.3f} of them and to shift means by up to {choice.lag:.3f} of them"
    )
    return _check("step size", bias <= limit * (1.0 + 1e-9) and not choice.flag, bias, limit,
                  f"{told} (inference.step_tolerance {limit:.3g}); one effective draw per"
                  f" {choice.autocorrelation_time:.0f} updates. The draws come from simulations that go on while the"
                  " parameters move; the reweighted free energy is not in them.",
                  f"{told}, more than inference.step_tolerance ({limit:.3g}) allows{'; ' + choice.flag if choice.flag else ''}:"
                  " do not use these draws; leave out inference.step, or raise simulation.replicas.")  # fmt: skip


def _blocks_check(sampler: str, blocks: ResampledBlocks) -> Check:
    told = (
        f"{sampler}: each raw draw is {blocks.each} ({blocks.n_blocks} blocks of {blocks.block_length} frames), not a draw"
        " of the posterior that takes frames as independent"
    )
    return _check("resampled blocks", blocks.n_blocks >= FEWEST_BLOCKS, blocks.n_blocks, FEWEST_BLOCKS, f"{told}.",
                  f"{told}; so few blocks say little about widths: use a longer trajectory.")  # fmt: skip


def _temperature_check(sampler: str, temperature: float) -> Check:
    return _check("posterior temperature", temperature == 1.0, temperature, 1.0,
                  f"{sampler} drew at the temperature 1: from the posterior itself, but for its time step, which no Metropolis"
                  " test corrects.",
                  f"{sampler} drew at the temperature {temperature:g}, from the posterior to the power 1/{temperature:g}: these"
                  f" are not draws of the posterior (widths of a normal one would be {math.sqrt(temperature):.3g} times as"
                  " large); leave out inference.posterior_temperature to have those.")  # fmt: skip


def _exchange_check(fit: FitResult) -> Check:
    accepted = float(np.mean(fit.draws.acceptance_rate))
    told = f"exchange accepted {100 * accepted:.1f} % of its proposals"
    return _check("accepted proposals", accepted >= LEAST_ACCEPTED, accepted, LEAST_ACCEPTED,
                  f"{told}. Their data sets were drawn from the reference frames by their weights: a check of other samplers, not"
                  " of the reweighting.",
                  f"{told}: too many parameters for a random walk; use the sampler 'nuts'.")  # fmt: skip


def _divergence_check(fit: FitResult | LabelFit) -> Check:
    divergences = int(fit.draws.diverging.sum())
    return _check("divergences", divergences == 0, divergences, 0, "No divergent trajectories.",
                  f"{divergences} trajectories diverged: the posterior has corners that NUTS did not enter.")  # fmt: skip


def _laplace_check(fit: FitResult) -> Check:
    k_hat = laplace_khat(fit.draws, fit.mode.z, fit.mode.covariance)
    return _check("Laplace's approximation", k_hat < 0.7, k_hat, 0.7,
                  f"Laplace's approximation, which was drawn from, has no thinner tails than the posterior (k-hat {k_hat:.2f});"
                  " its location and widths are still those of a normal distribution.",
                  f"The posterior reaches where Laplace's approximation, which was drawn from, hardly does (k-hat {k_hat:.2f}):"
                  " use the sampler 'nuts'.")  # fmt: skip


def verification_check(fit: FitResult) -> Check:
    """The verdict of the last round of fresh simulations.

    Args:
        fit: the inference's outcome.

    Example:
        >>> from bayescg.inference import Verification
        >>> noise, frames = np.full(8, 0.62), np.full(8, 300.0)
        >>> short = Verification(0.5 * noise, noise, noise, 2 * noise, frames, "not tested")
        >>> empty = FitResult(*[None] * len(FitResult._fields))
        >>> verification_check(empty._replace(verifications=(short,))).sentence.split(": ")[-1]
        'raise inference.max_verification_samples.'
    """
    if not fit.verifications:
        return Check(
            "verification", NOT_TESTED, None, None,
            "No fresh simulation was run at posterior draws: regions that no reference visited would go unseen."
        )  # fmt: skip
    last = fit.verifications[-1]
    error, limit = float(np.median(last.rms_error)), last.median_limit
    worst, rounds = int(np.argmax(last.rms_error / last.limit)), len(fit.verifications)
    numbers = (
        f"the shift of the posterior mean that the error would cause is {error:.2f} calibrated sd per direction (median,"
        f" limit {limit:.2f}), at the worst draw {last.rms_error[worst]:.2f} (limit {last.limit[worst]:.2f})"
    )
    # rounded up, so that what is above the limit is never told as the limit
    floor = math.ceil(1000 * float(np.max(last.noise_floor))) / 1000
    sentences = {
        PASSED: f"Fresh simulations at {len(last.rms_error)} random posterior draws agree with the surrogate: {numbers};"
        f" round {rounds}.",
        FAILED: f"Fresh simulations at posterior draws disagree with the surrogate: {numbers}; the posterior moved by"
        f" {last.shift:.2f} after {rounds} rounds: do not use this posterior; add rounds or narrow the prior.",
        NOT_TESTED: f"The verification simulated too little to tell (noise floor {floor:.3f} calibrated sd per direction,"
        " at most 0.500 is allowed): raise inference.max_verification_samples.",
    }
    return Check("verification", last.verdict, error, limit, sentences[last.verdict])


def reweighting_khat(bank: ReferenceBank, coefficients: np.ndarray) -> float | None:
    """Largest Pareto k̂ of the reference frames' weights over some draws' coefficients [draw feature].

    Only draws whose effective number of frames is below half of all count: nearly equal weights, which the mixture
    denominator bounds, have no tail to fit. None where there is no such draw.

    Args:
        bank: reference simulations.
        coefficients: η of each draw.

    Example:
        >>> from bayescg.physics import Reference
        >>> x2 = np.random.default_rng(0).normal(size=(4, 500, 1)) ** 2
        >>> nothing = x2[..., :0]
        >>> spring = Reference(np.array([0.5]), x2, nothing, nothing, np.zeros((0, 1, 1)))
        >>> bank = ReferenceBank(1.0, (spring,))
        >>> print(reweighting_khat(bank, np.array([[0.52]])))  # nearly the simulated one: nothing to fit
        None
        >>> reweighting_khat(bank, np.array([[0.1]])) > 0.5
        True

    References:
        Vehtari et al. (2024), JMLR 25(72), Pareto smoothed importance sampling.
    """
    weights = np.stack([bank.weights(eta) for eta in coefficients])
    uneven = 1.0 / np.sum(weights**2, axis=1) < 0.5 * weights.shape[1]
    if not np.any(uneven):
        return None
    log_weights = np.log(np.maximum(weights[uneven], 1e-300))
    _, k_hat = array_stats.psislw(
        -log_weights, axis=-1
    )  # it takes log likelihoods, whose inverses are the weights
    return float(np.max(k_hat))


def bank_checks(fit: FitResult, independent_frames: float, k_hat: float | None) -> list[Check]:
    """Reweighting, overlap and convex hull of the reference bank.

    Args:
        fit: the inference's outcome.
        independent_frames: what the data's frames are worth, at most.
        k_hat: see `reweighting_khat`.

    Example:
        >>> from bayescg.physics import Reference
        >>> x2 = np.random.default_rng(0).normal(size=(4, 500, 1)) ** 2
        >>> nothing = x2[..., :0]
        >>> bank = ReferenceBank(1.0, (Reference(np.array([0.5]), x2, nothing, nothing, np.zeros((0, 1, 1))),))
        >>> empty = FitResult(*[None] * len(FitResult._fields))
        >>> fit = empty._replace(
        ...     bank=bank, effective_frames=np.full((4, 100), 900.0), in_hull=True, search_converged=True,
        ...     independent_reference_frames=300.0,
        ... )
        >>> [check.name for check in bank_checks(fit, 100.0, None) if check.verdict != "passed"]
        ['simulation length']
    """
    n_eff = float(np.quantile(fit.effective_frames, 0.05))
    overlap = fit.bank.overlap()
    connected = _connectivity(overlap)
    checks = [
        _check("reweighting", n_eff >= 100, n_eff, 100,
               f"Reweighting uses at least {n_eff:.0f} effective reference frames at 95 % of the calibrated draws.",
               f"Reweighting rests on only {n_eff:.0f} effective frames at some draws: simulate more references."),
        _tail_check(k_hat),
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


def _tail_check(k_hat: float | None) -> Check:
    name, limit = "Pareto k-hat", 0.7
    if k_hat is None:
        return Check(
            name, PASSED, None, limit,
            "The weights of the reference frames are nearly equal at the calibrated draws: there is no tail to fit.",
        )  # fmt: skip
    return _check(name, k_hat < limit, k_hat, limit,
                  f"The weights of the reference frames have light tails at the calibrated draws (largest k-hat {k_hat:.2f}).",
                  f"The weights of the reference frames have heavy tails at some draws (k-hat {k_hat:.2f}): averages"
                  " there hang on few frames.")  # fmt: skip


def _connectivity(overlap: np.ndarray) -> float:
    """The largest t such that states linked by mutual overlap of at least t are all connected."""
    from scipy.sparse.csgraph import minimum_spanning_tree

    if len(overlap) == 1:
        return 1.0
    mutual = np.maximum(overlap, overlap.T)
    tree = minimum_spanning_tree(-np.log(np.clip(mutual, 1e-12, 1.0)) + 1e-9).toarray()
    return float(np.exp(-tree.max()))


def bias_check(fit: FitResult) -> Check:
    """Whether the simulations sample the energy whose statistics they store.

    Args:
        fit: the inference's outcome.

    Example:
        >>> from bayescg.physics import Reference
        >>> x2 = np.ones((4, 10, 1))
        >>> plain = Reference(np.array([0.5]), x2, x2[..., :0], x2[..., :0], np.zeros((0, 1, 1)))
        >>> empty = FitResult(*[None] * len(FitResult._fields))
        >>> bias_check(empty._replace(bank=ReferenceBank(1.0, (plain._replace(acceptance=0.9),)))).verdict
        'passed'
    """
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
    """Whether the trajectory is long enough to say anything about its own correlations.

    Args:
        analysis: what the data decide; its frames' worth is looked at.

    Example:
        >>> one = np.ones(2)
        >>> data_check(Identifiability(one, one, one / 2, np.eye(2), np.array([300.0, 25.0]), one)).verdict
        'failed'
    """
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
