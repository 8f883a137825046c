"""Checks of finished runs: equilibrated, long enough, independent of where they began and of the system's size."""

import numpy as np
from jaxtyping import Float
from scipy import stats

from bayescg.analysis._judged_checks import holm
from bayescg.analysis._sanity_ensemble import P_LIMIT, Z_LIMIT
from bayescg.analysis._verdicts import FAILED, NOT_TESTED, PASSED, Check
from bayescg.data import equilibration_cut, statistical_inefficiency
from bayescg.errors import InputError
from bayescg.physics import Estimate, Insertion

LEAST_INDEPENDENT = 50.0
"""Independent frames from which on a standard error is itself known within 10 %."""
LARGEST_SHARE = 0.01
"""Of one insertion in all Boltzmann factors: above it an average of exponentials is a few lucky hits."""


def equilibration_check(series: Float[np.ndarray, "replica frame"], *, quantity: str = "energy") -> Check:
    """Whether the first fifth of a run agrees with its second half.

    z of the difference of means with the statistical inefficiency of the second half. Where they differ the sentence
    says how many frames to drop, by the cut that leaves most independent frames.

    Args:
        series: a slow quantity: energy, volume, an order parameter.
        quantity: its name.

    References:
        Geweke (1992), Bayesian Statistics 4, 169; Chodera (2016), doi:10.1021/acs.jctc.5b00784.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=(4, 400))
        >>> drift = noise + 5 * np.exp(-np.arange(400) / 40)
        >>> equilibration_check(noise).verdict, equilibration_check(drift).verdict
        ('passed', 'failed')
    """
    x = _checked("equilibration", series)
    n = x.shape[1]
    if n < 20:
        sentence = f"Only {n} frames per replica: too few to see a drift; store more frames."
        return Check("equilibration", NOT_TESTED, None, Z_LIMIT, sentence)
    begin, rest = x[:, : n // 5], x[:, n // 2 :]
    g = _inefficiency(rest)
    error = np.sqrt(rest.var() * g * (1.0 / begin.size + 1.0 / rest.size))
    z = float((begin.mean() - rest.mean()) / error) if error > 0 else 0.0
    if abs(z) <= Z_LIMIT:
        sentence = f"The {quantity} of the first fifth agrees with that of the second half ({z:+.1f} standard errors)."
        return Check("equilibration", PASSED, z, Z_LIMIT, sentence)
    start = equilibration_cut(x.mean(axis=0)).start
    remedy = (
        f"drop the first {start} of {n} frames"
        if start <= n // 2
        else f"simulate longer: the drift lasts for most of the {n} frames"
    )
    sentence = (
        f"The {quantity} of the first fifth is {abs(z):.1f} standard errors {'above' if z > 0 else 'below'} that of the"
        f" second half: averages remember the start; {remedy}."
    )
    return Check("equilibration", FAILED, z, Z_LIMIT, sentence)


def autocorrelation_check(series: Float[np.ndarray, "replica frame"], *, quantity: str = "energy") -> Check:
    """Whether a run holds at least fifty independent frames of a quantity.

    N/g with g = 1 + 2 Σ ρ(t), the statistical inefficiency. A run much shorter than its slowest motion can't show it:
    see `two_starts_check`.

    Args:
        series: of the quantity.
        quantity: its name.

    Example:
        >>> walk = np.cumsum(np.random.default_rng(0).normal(size=(2, 500)), axis=1)
        >>> autocorrelation_check(walk).verdict
        'failed'
    """
    x = _checked("autocorrelation", series)
    g = _inefficiency(x)
    independent = x.size / g
    told = (
        f"{x.size} frames hold about {independent:.0f} independent values of the {quantity} (one in {g:.3g})"
    )
    if independent >= LEAST_INDEPENDENT:
        return Check("independent frames", PASSED, independent, LEAST_INDEPENDENT, f"{told}.")
    sentence = (
        f"{told}: standard errors are rough, and slower motions may not be seen at all; simulate about"
        f" {np.ceil(LEAST_INDEPENDENT / independent):.0f} times as long."
    )
    return Check("independent frames", FAILED, independent, LEAST_INDEPENDENT, sentence)


def two_starts_check(
    first: Float[np.ndarray, "replica frame observable"],
    second: Float[np.ndarray, "replica frame observable"],
    *,
    names: tuple[str, ...],
) -> Check:
    """Whether two runs from different starts agree in every observable.

    Student's t of the difference of means, each run's error from its own statistical inefficiency, adjusted for the number
    of observables by Holm's method. Starts should differ in what is slow: melted and crystalline, folded and open, from a
    larger and a smaller box.

    Args:
        first: observables of the run from the first start.
        second: of the run from the second start.
        names: of the observables.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> a, b = rng.normal(size=(2, 300, 2)), rng.normal(size=(2, 300, 2)) + np.array([0.0, 1.0])
        >>> two_starts_check(a, b, names=("energy", "end-to-end distance")).sentence.split(":")[0]
        'Runs from two starts disagree in 1 of 2 observables, most in the end-to-end distance (17 standard errors)'
    """
    runs = [np.asarray(run, np.float64) for run in (first, second)]
    for run in runs:
        if run.ndim != 3 or run.shape[2] != len(names) or not np.isfinite(run).all() or run.size < 4:
            raise InputError(
                f"two starts: a run of shape {run.shape} with {len(names)} names; expected [replica frame observable],"
                " finite, and one name per observable"
            )
    means = np.stack([run.mean(axis=(0, 1)) for run in runs])
    worth, spread = np.empty_like(means), np.empty_like(means)
    for i, run in enumerate(runs):
        flat = run.reshape(-1, len(names))
        g = statistical_inefficiency(flat, lengths=[run.shape[1]] * len(run))
        worth[i], spread[i] = len(flat) / g, flat.var(axis=0, ddof=1) * g / len(flat)
    error = np.sqrt(spread.sum(axis=0))
    difference = means[0] - means[1]
    t = np.where(difference == 0.0, 0.0, difference / np.where(error > 0, error, np.finfo(float).tiny))
    freedom = np.maximum(worth.sum(axis=0) - 2.0, 1.0)
    p = holm(2.0 * stats.t.sf(np.abs(t), freedom))
    worst = int(np.argmax(np.abs(t)))
    value = float(p.min())
    if value >= P_LIMIT:
        sentence = (
            f"Runs from two starts agree in {len(names)} observable{'s' if len(names) > 1 else ''} (most apart: the"
            f" {names[worst]}, {abs(t[worst]):.1f} standard errors)."
        )
        return Check("two starts", PASSED, value, P_LIMIT, sentence)
    sentence = (
        f"Runs from two starts disagree in {int((p < P_LIMIT).sum())} of {len(names)} observables, most in the"
        f" {names[worst]} ({abs(t[worst]):.0f} standard errors): at least one has not left its start, however calm it"
        " looks; simulate longer, or help it over the barrier (umbrella sampling, exchange with hotter replicas)."
    )
    return Check("two starts", FAILED, value, P_LIMIT, sentence)


def system_size_check(
    small: Estimate, large: Estimate, *, sizes: tuple[int, int], quantity: str = "observable"
) -> Check:
    """Whether an observable is the same in two system sizes, and its value in an infinite one if not.

    An error of order 1/N in both gives a_∞ = (N₂ a₂ − N₁ a₁)/(N₂ − N₁). Diffusion goes with 1/L instead: correct it first
    (`finite_size_corrected`).

    Args:
        small: in the smaller system.
        large: in the larger one.
        sizes: N₁ < N₂.
        quantity: its name.

    Example:
        >>> found = system_size_check(
        ...     Estimate(1.04, 0.002, 20.0), Estimate(1.01, 0.002, 20.0), sizes=(100, 400), quantity="pressure"
        ... )
        >>> found.verdict, "1 ± 0.0027" in found.sentence
        ('failed', True)
    """
    n1, n2 = sizes
    if not 0 < n1 < n2:
        raise InputError(f"system size: sizes {sizes}; expected the smaller and the larger number of sites")
    difference = large.value - small.value
    error = float(np.hypot(small.standard_error, large.standard_error))
    if not error > 0:
        raise InputError("system size: both standard errors are 0; expected those of simulations")
    z = difference / error
    limit = (n2 * large.value - n1 * small.value) / (n2 - n1)
    limit_error = float(np.hypot(n2 * large.standard_error, n1 * small.standard_error)) / (n2 - n1)
    if abs(z) <= Z_LIMIT:
        left = (abs(difference) + 2.0 * error) * n1 / (n2 - n1)
        sentence = (
            f"The {quantity} is the same with {n1} and {n2} sites ({z:+.1f} standard errors); if its error goes as 1/N,"
            f" less than {left:.2g} of it is left at {n2}."
        )
        return Check("system size", PASSED, float(z), Z_LIMIT, sentence)
    sentence = (
        f"The {quantity} differs by {difference:.3g} ± {error:.2g} between {n1} and {n2} sites: the smaller system is too"
        f" small. If the error goes as 1/N, an infinite one has {limit:.5g} ± {limit_error:.2g}; simulate a third size to"
        " see that it does."
    )
    return Check("system size", FAILED, float(z), Z_LIMIT, sentence)


def insertion_check(insertion: Insertion) -> Check:
    """Whether a chemical potential by insertion rests on many insertions, not on a few lucky ones.

    Args:
        insertion: from `widom`.

    Example:
        >>> insertion_check(Insertion(Estimate(-4.5, 0.1, 19.0), 85.0, 0.044)).verdict
        'failed'
    """
    share, n = insertion.largest_share, insertion.effective_insertions
    told = f"The largest of all Boltzmann factors is {100 * share:.2g} % of their sum, {n:.0f} insertions carry it"
    if share <= LARGEST_SHARE:
        return Check("insertion", PASSED, share, LARGEST_SHARE, f"{told}.")
    sentence = (
        f"{told}: rarer and better places were likely never hit, and the chemical potential is too high and its error"
        " too small; insert more often, or grow the particle in stages at this density."
    )
    return Check("insertion", FAILED, share, LARGEST_SHARE, sentence)


def _checked(what: str, series: Float[np.ndarray, "replica frame"]) -> Float[np.ndarray, "replica frame"]:
    values = np.asarray(series, np.float64)
    if values.ndim != 2 or values.size < 2 or not np.isfinite(values).all():
        raise InputError(
            f"{what}: a series of shape {values.shape}; expected [replica frame], all values finite"
        )
    return values


def _inefficiency(series: Float[np.ndarray, "replica frame"]) -> float:
    return float(statistical_inefficiency(series.ravel(), lengths=[series.shape[1]] * len(series))[0])
