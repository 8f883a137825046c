"""Predictive checks of many observables at once, judged together: which are tests, and which of these fail."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.analysis._predictive_checks import (
    UNLIKELY,
    VERY_UNLIKELY,
    ObservedAverages,
    observed_averages,
    predictive_checks,
)
from bayescg.physics import ReferenceBank

FITTED = 0.9
"""Share that the fit follows, from which on agreement is no test."""
RARE = 0.3
"""Skewness of an average beyond which it is not taken as normal."""
AT_A_TIME = 4
"""Observables whose fluctuations are computed together: bounds the memory."""
AS_FITTED, AS_EXPECTED, DOUBTFUL, MISSED = "fitted", "as expected", "doubtful", "not reproduced"


class Observables(NamedTuple):
    """Statistics of single configurations, of the data's frames and of the bank's.

    Attributes:
        names: of each.
        group: what kind each is of.
        data: value in every frame of the data [frame observable].
        model: value in every pooled frame of the bank [pooled observable].

    Example:
        >>> two = Observables(("x",), ("moment",), np.ones((3, 1)), np.ones((5, 1))).joined(
        ...     Observables(("y",), ("moment",), np.zeros((3, 1)), np.zeros((5, 1)))
        ... )
        >>> two.names, two.data.shape
        (('x', 'y'), (3, 2))
    """

    names: tuple[str, ...]
    group: tuple[str, ...]
    data: Float[np.ndarray, "frame observable"]
    model: Float[np.ndarray, "pooled observable"]

    def joined(self, more: "Observables") -> "Observables":
        """With further ones."""
        return Observables(
            self.names + more.names, self.group + more.group,
            np.concatenate([self.data, more.data], axis=1), np.concatenate([self.model, more.model], axis=1),
        )  # fmt: skip

    def only(self, kept: np.ndarray) -> "Observables":
        """Some of them [boolean, observable]."""
        names, group = (tuple(np.array(a, object)[kept]) for a in (self.names, self.group))
        return Observables(names, group, self.data[:, kept], self.model[:, kept])


def too_rare(
    bank: ReferenceBank,
    coefficients: Float[np.ndarray, " feature"],
    observables: Observables,
    *,
    lengths: tuple[int, ...],
) -> np.ndarray:
    """Whether averages over the data are too far from normal to be judged: skewness/√N_eff above 0.3 in data and model.

    A count of rare events has the skewness 1/√(mean), so that about ten of them in all the data are enough.

    Args:
        bank: reference simulations.
        coefficients: η of the middle of the posterior.
        observables: the statistics.
        lengths: frames of each trajectory of the data.

    Example:
        >>> from bayescg.physics import Reference
        >>> rng = np.random.default_rng(0)
        >>> phi = rng.normal(size=(16, 100, 1))
        >>> bank = ReferenceBank(1.0, (Reference(np.ones(1), phi, phi, phi[..., :0], np.zeros((0, 1, 1))),))
        >>> counts = lambda n: np.stack([rng.poisson(m, size=n) for m in (3.0, 0.002)], axis=1)
        >>> both = Observables(("common", "rare"), ("g(r)",) * 2, counts(400), counts(1600))
        >>> too_rare(bank, np.ones(1), both, lengths=(400,)).tolist()
        [False, True]
    """
    weights = bank.weights(coefficients)
    independent = observed_averages(observables.data, lengths=lengths).independent_frames
    uniform = np.full(len(observables.data), 1.0 / len(observables.data))
    skewness = [_skewness(v, w) for v, w in ((observables.model, weights), (observables.data, uniform))]
    return np.min(np.abs(skewness), axis=0) > RARE * np.sqrt(independent)


def _skewness(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    apart = values - weights @ values
    variance = weights @ apart**2
    varies = variance > 1e-24 * np.maximum(weights @ values**2, 1e-300)
    third = weights @ apart**3
    return np.where(varies, third / np.where(varies, variance, 1.0) ** 1.5, np.inf)


def checked_averages(
    bank: ReferenceBank,
    coefficients: Float[np.ndarray, "draw feature"],
    observables: Observables,
    *,
    lengths: tuple[int, ...],
) -> xr.Dataset:
    """`predictive_checks` of the averages.

    Args:
        bank: reference simulations.
        coefficients: η of calibrated draws.
        observables: the statistics.
        lengths: frames of each trajectory of the data.
    """
    check = predictive_checks(
        bank, coefficients, observables.model, observed_averages(observables.data, lengths=lengths),
        names=observables.names,
    )  # fmt: skip
    return check.drop_vars("sentence").assign(group=("observable", list(observables.group)))


def checked_variances(
    bank: ReferenceBank,
    coefficients: Float[np.ndarray, "draw feature"],
    observables: Observables,
    *,
    lengths: tuple[int, ...],
) -> xr.Dataset:
    """`predictive_checks` of the fluctuations: of (o − ⟨o⟩)², about each draw's own mean and about the data's.

    The variance of N correlated frames is short of the true one by the factor 1 − 1/N_eff, which the data's has put right.

    Args:
        bank: reference simulations.
        coefficients: η of calibrated draws.
        observables: the statistics.
        lengths: frames of each trajectory of the data.
    """
    means = np.stack([bank.weights(eta) @ observables.model for eta in coefficients])
    squares = (observables.data - observables.data.mean(axis=0)) ** 2
    seen = observed_averages(squares, lengths=lengths)
    short = 1.0 - 1.0 / observed_averages(observables.data, lengths=lengths).independent_frames
    parts = []
    for first in range(0, len(observables.names), AT_A_TIME):
        some = slice(first, first + AT_A_TIME)
        values = (observables.model[:, some] - means[:, None, some]) ** 2
        observed = ObservedAverages(seen.mean[some] / short[some], seen.independent_frames[some])
        names = [f"variance of {name}" for name in observables.names[some]]
        parts.append(predictive_checks(bank, coefficients, values, observed, names=names))
    check = xr.concat(parts, "observable").drop_vars("sentence")
    return check.assign(group=("observable", [f"variance: {group}" for group in observables.group]))


def judged_checks(check: xr.Dataset) -> xr.Dataset:
    """Adjusted tail probabilities, a verdict and a sentence for every observable.

    Tests are the observables that the fit follows by less than `FITTED`. Their tail probabilities are adjusted together by
    Holm's method, which holds however they depend on one another; those of fitted observables apart, since they are no
    tests of the model but of whether it was fitted.

    Args:
        check: of `predictive_checks`, with `fitted_share`.

    References:
        Holm (1979), Scandinavian Journal of Statistics 6, 65.

    Example:
        >>> values = {"z": [0.1, 9.0, 1.0], "p_value": [0.9, 1e-12, 0.3], "fitted_share": [1.0, 0.0, 0.2]}
        >>> check = xr.Dataset({k: ("observable", v) for k, v in values.items()}, {"observable": ["a", "b", "c"]})
        >>> judged_checks(check)["verdict"].values.tolist()
        ['fitted', 'not reproduced', 'as expected']
    """
    p, fitted = check["p_value"].values, check["fitted_share"].values >= FITTED
    adjusted = np.ones(len(p))
    for family in (fitted, ~fitted):
        adjusted[family] = holm(p[family])
    verdict = np.where(adjusted < VERY_UNLIKELY, MISSED, np.where(adjusted < UNLIKELY, DOUBTFUL, AS_EXPECTED))
    verdict = np.where(fitted & (adjusted >= UNLIKELY), AS_FITTED, verdict)
    rows = zip(check["z"].values, adjusted, fitted, verdict, strict=True)
    per = "observable"
    return check.assign(
        adjusted_p=(
            per,
            adjusted,
            {"long_name": "p_value adjusted for the number of tests, by Holm's method"},
        ),
        verdict=(per, verdict.astype(str)),
        sentence=(per, [_sentence(*row) for row in rows]),
    )


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Tail probabilities adjusted by Holm's method.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(6).tolist()
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)
    stepped = np.minimum(np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order]), 1.0)
    return stepped[np.argsort(order)]


def _sentence(z: float, adjusted: float, fitted: bool, verdict: str) -> str:
    side = "higher" if z > 0.0 else "lower"
    if verdict == AS_FITTED:
        return "the fit matched it: no surprise, and no test"
    if verdict == AS_EXPECTED:
        return "replicated data are like the data"
    odds = (
        f"replicated data are that far off in {100 * adjusted:.2g} %"
        if adjusted > 1e-6
        else "never so in replicated data"
    )
    missed = "; the fit should have matched it, so look at the prior and the verification" if fitted else ""
    return f"the data are {side}: {odds}{missed}"


def judged_sentences(check: xr.Dataset) -> list[str]:
    """What the checks say together.

    Args:
        check: of `judged_checks`.

    Example:
        >>> values = {"z": [0.1, 9.0, 1.0], "p_value": [0.9, 1e-12, 0.3], "fitted_share": [1.0, 0.0, 0.2]}
        >>> check = xr.Dataset({k: ("observable", v) for k, v in values.items()}, {"observable": ["a", "b", "c"]})
        >>> judged_sentences(judged_checks(check))[0]
        'Of 2 averages and variances that the fit did not match, 1 are as the model expects, 1 are not reproduced.'
    """
    verdict, tests = check["verdict"].values, check["fitted_share"].values < FITTED
    count = {word: int(np.sum(tests & (verdict == word))) for word in (AS_EXPECTED, DOUBTFUL, MISSED)}
    told = {AS_EXPECTED: "as the model expects", DOUBTFUL: "doubtful", MISSED: "not reproduced"}
    parts = ", ".join(f"{n} are {told[word]}" for word, n in count.items() if n or word == AS_EXPECTED)
    said = [f"Of {int(tests.sum())} averages and variances that the fit did not match, {parts}."]
    bad = tests & np.isin(verdict, (DOUBTFUL, MISSED))
    if bad.any():
        worst = _worst(check, bad)
        said.append(
            "Missed most: "
            + "; ".join(worst[:5])
            + (f"; and {len(worst) - 5} more." if len(worst) > 5 else ".")
        )
    fitted = ~tests
    wrong = fitted & (verdict != AS_FITTED)
    if fitted.any():
        said.append(
            f"{int(fitted.sum())} more were fitted: that they agree is no surprise, and no test of the model."
        )
    if wrong.any():
        said.append(
            f"Fitted, and missed all the same: {'; '.join(_worst(check, wrong)[:5])}. Look at the prior and the verification."
        )
    said.append(
        "Tail probabilities are adjusted for the number of tests (Holm). What the fit follows in part agrees better than by"
        " chance: a miss there counts, agreement says little."
    )
    return said


def _worst(check: xr.Dataset, among: np.ndarray) -> list[str]:
    z, names = check["z"].values, check["observable"].values
    order = [k for k in np.argsort(-np.abs(z)) if among[k]]
    return [f"{names[k]} (z = {z[k]:+.1f})" for k in order]
