"""A verdict on every parameter and every combination: do the data determine it, and if not, why not."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from bayescg.analysis._identifiability import Identifiability
from bayescg.analysis._information_gain import variance_contraction
from bayescg.analysis._monomials import Combination, combination
from bayescg.analysis._null_space import NullSpace
from bayescg.analysis._profile import Profiles
from bayescg.errors import InputError

LEAST_CONTRACTION = 0.1
"""Contraction below which the prior dominates."""

LARGEST_SHARE_BEYOND = 0.05
"""Share of draws outside the prior's central 99 % from which on a parameter counts as at the prior's edge."""

MUCH_BETTER = 3.0
"""How many times better than a parameter alone a combination is known for the reason to name it."""


NEARLY_AS_WELL = 2.0
"""A combination is written with rounded exponents if its spread grows by at most this factor."""


class Verdict(StrEnum):
    """What can be said of a parameter or combination, the first that applies."""

    structural = "structurally unidentifiable"
    practical = "practically unidentifiable"
    prior = "prior-dominated"
    identified = "identified"


class ParameterVerdict(NamedTuple):
    """What the data say of one parameter.

    Attributes:
        name: of the coordinate.
        verdict: the first that applies.
        reason: one sentence.
        contraction: 1 − Var(posterior)/Var(prior).
        spread: standard deviation in the unconstrained coordinate; of a logarithm the relative error.
        beyond_prior: share of draws outside the prior's central 99 %; NaN where no draws were given.

    Example:
        >>> ParameterVerdict("k", Verdict.identified, "these data fix k within 2 %", 0.99, 0.02, 0.01).at_boundary
        False
    """

    name: str
    verdict: Verdict
    reason: str
    contraction: float
    spread: float
    beyond_prior: float

    @property
    def at_boundary(self) -> bool:
        """Whether more than 5 % of the draws lie outside the prior's central 99 %: data or sampler push to its edge."""
        return bool(self.beyond_prior > LARGEST_SHARE_BEYOND)


class CombinationVerdict(NamedTuple):
    """What the data say of one combination of parameters.

    Attributes:
        combination: in its normal form.
        verdict: the first that applies.
        reason: one sentence.
        contraction: λ/(1 + λ).
        spread: standard deviation of the combination as it is written.

    Example:
        >>> from bayescg.analysis import combination
        >>> product = combination(np.array([1.0, 6.0]), ("epsilon", "sigma"))
        >>> CombinationVerdict(product, Verdict.identified, "these data fix it", 0.999, 0.02).combination.text
        'epsilon sigma^6'
    """

    combination: Combination
    verdict: Verdict
    reason: str
    contraction: float
    spread: float


def share_beyond_prior(
    draws: Float[np.ndarray, "draw coordinate"], prior_draws: Float[np.ndarray, "prior_draw coordinate"]
) -> Float[np.ndarray, " coordinate"]:
    """Share of draws outside the prior's central 99 %; for the prior itself 0.01.

    Example:
        >>> prior = np.linspace(0.0, 1.0, 1001)[:, None]
        >>> share_beyond_prior(np.array([[0.5], [2.0]]), prior).tolist()
        [0.5]
    """
    low, high = np.quantile(prior_draws, [0.005, 0.995], axis=0)
    return np.mean((draws < low) | (draws > high), axis=0)


def determined_combinations(
    found: Identifiability, prior_precision: Float[np.ndarray, "coordinate coordinate"]
) -> Float[np.ndarray, "direction coordinate"]:
    """The combinations c·z that the data determine independently of one another, c of unit length.

    A direction v of the spectrum moves the parameters; the combination that data fix along it is c = Λv, which no other
    direction changes.

    Example:
        >>> one = np.ones(1)
        >>> found = Identifiability(one, one, one / 2, np.array([[0.6, 0.8]]), one, one)
        >>> determined_combinations(found, np.diag([1.0, 0.0])).tolist()
        [[1.0, 0.0]]
    """
    combinations = found.directions @ np.asarray(prior_precision)
    return combinations / np.linalg.norm(combinations, axis=1, keepdims=True)


def combination_verdicts(
    found: Identifiability,
    *,
    names: Sequence[str],
    covariance: Float[np.ndarray, "coordinate coordinate"],
    prior_precision: Float[np.ndarray, "coordinate coordinate"],
    structure: NullSpace,
    logarithmic: Sequence[bool] | None = None,
    profiles: Profiles | None = None,
) -> tuple[CombinationVerdict, ...]:
    """A verdict on each of the combinations that the data determine independently of one another, best known first.

    Args:
        found: the spectrum.
        names: of the coordinates that were analysed.
        covariance: V of the posterior, calibrated where frames are correlated.
        prior_precision: Λ that the spectrum is relative to.
        structure: from `null_space`.
        logarithmic: whether each coordinate is a logarithm; default all.
        profiles: along `determined_combinations`; without them nothing is found practically unidentifiable.

    Raises:
        InputError: profiles of other combinations.

    Example:
        >>> from bayescg.analysis import null_space
        >>> relative = np.array([9.0, 0.0])
        >>> one = np.ones(2)
        >>> found = Identifiability(relative, relative, relative / (1 + relative), np.eye(2)[::-1], one, one)
        >>> structure = null_space(np.diag([0.0, 9.0])[None], prior_spread=one)
        >>> for verdict in combination_verdicts(
        ...     found, names=("a", "b"), covariance=np.diag([1.0, 0.1]), prior_precision=np.eye(2), structure=structure
        ... ):
        ...     print(verdict.reason)
        these data fix b within 32 %
        no amount of such data tells a
    """
    logs = (True,) * len(names) if logarithmic is None else tuple(logarithmic)
    size = len(names)
    directions = determined_combinations(found, prior_precision)
    if profiles is not None and not (
        profiles.directions.shape == directions.shape and np.allclose(profiles.directions, directions)
    ):
        raise InputError("verdicts: profiles along `determined_combinations` of the same spectrum are needed")
    verdicts = []
    for k, direction in enumerate(directions):
        written = _faithful(direction, names, logs, covariance)
        spread = _spread(written, covariance)
        contraction = float(found.contraction[k])
        within = _within(spread, all(written.logarithmic))
        if found.prior_relative[k] == 0.0 and k >= size - structure.dimension:
            verdict, reason = Verdict.structural, f"no amount of such data tells {written.text}"
        elif profiles is not None and np.any(profiles.practically_unidentifiable[k]):
            verdict = Verdict.practical
            reason = f"these data do not bound {written.text} on both sides within what the prior allows"
        elif contraction < LEAST_CONTRACTION:
            verdict = Verdict.prior
            reason = (
                f"these data take away only {_percent(contraction)} of the prior's variance of {written.text}"
            )
        else:
            verdict, reason = Verdict.identified, f"these data fix {written.text} {within}"
        verdicts.append(CombinationVerdict(written, verdict, reason, contraction, spread))
    return tuple(verdicts)


def parameter_verdicts(
    combinations: Sequence[CombinationVerdict],
    *,
    names: Sequence[str],
    covariance: Float[np.ndarray, "coordinate coordinate"],
    prior_spread: Float[np.ndarray, " coordinate"],
    structure: NullSpace,
    logarithmic: Sequence[bool] | None = None,
    profiles: Profiles | None = None,
    beyond_prior: Float[np.ndarray, " coordinate"] | None = None,
) -> tuple[ParameterVerdict, ...]:
    """A verdict on each parameter, with the combination that is known better where there is one.

    In this order: structurally unidentifiable where no data of this kind could tell; practically, where the likelihood
    along its profile stays within 1.92 of its maximum on one side, as far as the prior allows; prior-dominated, where the
    contraction is below 0.1; else identified.

    Args:
        combinations: from `combination_verdicts`.
        names: of the coordinates.
        covariance: V of the posterior, calibrated where frames are correlated.
        prior_spread: prior standard deviation of each coordinate.
        structure: from `null_space`.
        logarithmic: whether each coordinate is a logarithm; default all.
        profiles: of these coordinates, in their order; without them nothing is found practically unidentifiable.
        beyond_prior: from `share_beyond_prior`.

    Raises:
        InputError: profiles of other coordinates.

    Example:
        >>> from bayescg.analysis import null_space
        >>> structure = null_space(np.eye(1)[None], prior_spread=np.ones(1))
        >>> (verdict,) = parameter_verdicts(
        ...     (), names=("k",), covariance=np.array([[0.0004]]), prior_spread=np.ones(1), structure=structure
        ... )
        >>> verdict.reason
        'these data fix k within 2 %'
    """
    size = len(names)
    logs = (True,) * size if logarithmic is None else tuple(logarithmic)
    if profiles is not None and not (
        profiles.directions.shape == (size, size) and np.array_equal(profiles.directions, np.eye(size))
    ):
        raise InputError(
            "verdicts: profiles of every coordinate in their order are needed, as `profiles` makes by default"
        )
    open_sides = np.zeros((size, 2), bool) if profiles is None else profiles.practically_unidentifiable
    contraction = variance_contraction(np.diag(covariance), np.asarray(prior_spread) ** 2)
    spread = np.sqrt(np.diag(covariance))
    beyond = np.full(size, np.nan) if beyond_prior is None else np.asarray(beyond_prior, float)
    verdicts = []
    for i, name in enumerate(names):
        better = _better_known(combinations, i, float(spread[i]))
        within = _within(spread[i], logs[i])
        verdict, reason = _judge(name, structure, i, open_sides[i], float(contraction[i]), better, within)
        verdicts.append(
            ParameterVerdict(name, verdict, reason, float(contraction[i]), float(spread[i]), float(beyond[i]))
        )
    return tuple(verdicts)


def _judge(
    name: str,
    structure: NullSpace,
    i: int,
    open_sides: Bool[np.ndarray, " 2"],
    contraction: float,
    better: CombinationVerdict | None,
    within: str,
) -> tuple[Verdict, str]:
    """The verdict on one parameter and its reason."""
    known = "" if better is None else better.reason
    if structure.absent[i]:
        return Verdict.structural, f"these data do not depend on {name}, so its posterior is its prior"
    if structure.parameters[i]:
        only = f": {known}" if known else ""
        return (
            Verdict.structural,
            f"no amount of such data tells {name} alone, only combinations of it with others{only}",
        )
    if np.any(open_sides):
        sides = " and no ".join(side for side, open_ in zip(("lower", "upper"), open_sides) if open_)
        only = f"; {known}" if known else ""
        return (
            Verdict.practical,
            f"these data set no {sides} bound on {name} within what the prior allows{only}",
        )
    if contraction < LEAST_CONTRACTION:
        only = f"; {known}" if known else ""
        taken = f"take away only {_percent(contraction)} of" if contraction > 0.0 else "do not narrow"
        return Verdict.prior, f"these data {taken} the prior's variance of {name}{only}"
    if known:
        return Verdict.identified, f"{known}; {name} alone only {within}"
    return Verdict.identified, f"these data fix {name} {within}"


def _better_known(
    combinations: Sequence[CombinationVerdict], i: int, spread: float
) -> CombinationVerdict | None:
    """The best known combination of several that a parameter takes part in, if it is known much better than itself."""
    for each in combinations:
        place = np.flatnonzero(each.combination.places == i)
        if each.verdict is not Verdict.identified or not len(place) or len(each.combination.places) < 2:
            continue
        if MUCH_BETTER * each.spread < abs(each.combination.exponents[place[0]]) * spread:
            return each
    return None


def _faithful(
    direction: np.ndarray, names: Sequence[str], logs: tuple[bool, ...], covariance: np.ndarray
) -> Combination:
    """The simplest way to write a direction that is known nearly as well as the direction itself."""
    exact = float(np.sqrt(direction @ covariance @ direction)) / np.linalg.norm(direction)
    for least, tolerance in ((0.01, 0.04), (0.003, 0.02), (1e-3, 0.01), (1e-4, 0.003)):
        written = combination(
            direction, names, logarithmic=logs, least_participation=least, integer_tolerance=tolerance
        )
        if _spread(written, covariance) <= NEARLY_AS_WELL * exact * np.linalg.norm(written.exponents):
            break
    return written


def _spread(written: Combination, covariance: np.ndarray) -> float:
    vector = written.vector(len(covariance))
    return float(np.sqrt(vector @ covariance @ vector))


def _percent(share: float) -> str:
    return f"{100.0 * share:.2g} %" if share < 0.1 else f"{100.0 * share:.0f} %"


def _within(spread: float, logarithmic: bool) -> str:
    if not logarithmic:
        return f"within {spread:.2g}"
    if spread < 0.5:
        return f"within {100.0 * spread:.2g} %"
    return f"within a factor of {np.exp(spread):.2g}" if spread < 20.0 else "within no useful factor"
