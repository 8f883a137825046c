"""The statement in words: what the posterior says, and what not to believe of it."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from bayescg.analysis._identifiability import Identifiability
from bayescg.analysis._verdicts import FAILED, NOT_TESTED, PASSED, Check
from bayescg.inference import FitResult


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
    sentences += held_sentence(analysis.directions[~by_data], coordinates, "get data there")
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
    return sentences + verdict_sentences(checks)


def held_sentence(
    directions: Float[np.ndarray, "direction coordinate"], coordinates: Sequence[str], remedy: str
) -> list[str]:
    """Which coordinates the prior holds, by their weight in the directions that it decides; nothing where none stands out."""
    weight = np.sum(directions**2, axis=0)
    names = [coordinates[i] for i in np.argsort(weight)[::-1][:3] if weight[i] > 0.3]
    return [f"Mostly the prior holds {', '.join(names)}: believe the prior or {remedy}."] if names else []


def verdict_sentences(checks: Sequence[Check]) -> list[str]:
    """Which checks failed, were not tested, and passed."""
    sentences = []
    for verdict in (FAILED, NOT_TESTED):
        named = [c.name for c in checks if c.verdict == verdict]
        if named:
            sentences.append(f"Checks {verdict}: {', '.join(named)}.")
    sentences.append(f"Checks passed: {', '.join(c.name for c in checks if c.verdict == PASSED)}.")
    return sentences


def rdf_sentence(
    observed: Float[np.ndarray, " bin"],
    error: Float[np.ndarray, " bin"],
    predicted: Float[np.ndarray, "draw bin"],
    *,
    r: Float[np.ndarray, " bin"],
    cutoff: float,
) -> str:
    """In how many bins the model reproduces the data's g(r), inside the potential's cutoff and beyond it.

    Counted are bins where the data's g(r) is above 0.001. The band itself is what the posterior allows; the data's
    points scatter about it by their own noise, which the widened band makes room for.

    Args:
        observed: the data's g(r).
        error: its standard error.
        predicted: g(r) at posterior draws.
        r: the bins' centres [length].
        cutoff: where the potential ends [length].

    Example:
        >>> predicted = np.ones((5, 1)) + np.linspace(-0.1, 0.1, 5)[:, None] * np.array([1.0, 1.0, 0.1])
        >>> observed, error = np.array([1.05, 1.0, 1.02]), np.full(3, 0.01)
        >>> rdf_sentence(observed, error, predicted, r=np.array([0.4, 0.6, 1.0]), cutoff=0.9)[:114]
        'g(r) of the data lies in the 90 % predictive band itself in 67 % of the bins (inside the cutoff 100 %, beyond 0 %)'
    """
    low, high = np.quantile(predicted, [0.05, 0.95], axis=0)
    used = observed > 1e-3
    strict = (observed >= low) & (observed <= high)
    wide = (observed >= low - 2.0 * error) & (observed <= high + 2.0 * error)

    inside, beyond = used & (r < cutoff), used & (r >= cutoff)

    def share(hits: np.ndarray) -> str:
        text = f"{100 * hits[used].mean():.0f} % of the bins"
        if inside.any() and beyond.any():
            text += f" (inside the cutoff {100 * hits[inside].mean():.0f} %, beyond {100 * hits[beyond].mean():.0f} %)"
        return text

    return (
        f"g(r) of the data lies in the 90 % predictive band itself in {share(strict)}, and in the band widened by two"
        f" standard errors of the data in {share(wide)}. The band leaves out the data's own noise: the narrower it is,"
        " the fewer of their points lie in it."
    )


def pressure_sentence(predicted: np.ndarray, observed: float | None, error: float, unit: str) -> str:
    """What not to believe about the pressure of a potential that was matched to structure.

    Args:
        predicted: at posterior draws [pressure].
        observed: the data's mean, or None [pressure].
        error: its standard error [pressure].
        unit: the pressure's unit.

    Example:
        >>> pressure_sentence(np.linspace(180.0, 200.0, 21), 187.42, 4.35, "atm")[:52]
        "The model's pressure is 190 atm (90 % 181 to 199); t"
    """
    low, high = np.quantile(predicted, [0.05, 0.95])
    middle, lower, upper = (value_with_error(float(p), 0.0) for p in (np.median(predicted), low, high))
    text = f"The model's pressure is {middle} {unit} (90 % {lower} to {upper})"
    if observed is None:
        return (
            text
            + "; nothing here tests it, and a pair potential matched to structure seldom reproduces pressure."
        )
    z = abs(float(np.mean(predicted)) - observed) / np.hypot(float(np.std(predicted)), error)
    if z > 3.0:
        return (
            f"{text}, the data's is {value_with_error(observed, error)} {unit}: a pair potential matched to structure"
            " does not reproduce the pressure. Do not use it for pressure, density or compressibility."
        )
    return (
        f"{text}; the data's, {value_with_error(observed, error)} {unit}, agrees: the two are {z:.1f} standard deviations"
        " apart, the posterior's and the data's taken together."
    )


def value_with_error(value: float, error: float) -> str:
    """A number to the digits that its standard error allows, two of the error's; to four where it has no error.

    Args:
        value: the number.
        error: its standard error; 0 or NaN where there is none.

    Example:
        >>> value_with_error(-30.907, 18.93), value_with_error(187.42, 4.35)
        ('-31 ± 19', '187.4 ± 4.3')
    """
    if not (math.isfinite(error) and error > 0.0):
        return f"{value:.0f}" if abs(value) >= 1000.0 else f"{value:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
