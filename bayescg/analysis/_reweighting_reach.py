"""Whether a bank of references reaches what draws ask of it, at the bank's temperature or another."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayescg.analysis._verdicts import reweighting_khat
from bayescg.data import statistical_inefficiency
from bayescg.physics import ReferenceBank

LEAST_EFFECTIVE = 100.0
"""Effective independent reference frames that 95 % of the draws must have."""
LEAST_AT_ANY = 50.0
"""Effective independent reference frames that every draw must have."""
LARGEST_KHAT = 0.7
"""Pareto k̂ above which averages hang on few frames."""
DRAWS_AT_ONCE = 32
"""Draws whose weights are held in memory together."""
MOST_JUDGED = 50
"""Draws whose k̂ is fitted."""
MOST_OF_VARIANCES = 10
"""Draws whose variances are judged."""
LEAST_TERMS = 300.0
"""Effective independent terms that a variance must have: of fewer, claimed errors were found to be 0.2 to 0.75 of true ones."""


class Reach(NamedTuple):
    """The verdict.

    Attributes:
        reached: whether averages by reweighting are to be trusted.
        sentence: why or why not.
        effective_frames: independent ones, of every draw; 0 where its weights are not finite [draw].
        k_hat: largest over the judged draws; None where weights are nearly equal.
        independent: share of the references' frames that are independent.

    Example:
        >>> Reach(True, "all reached", np.array([300.0]), None).reached
        True
    """

    reached: bool
    sentence: str
    effective_frames: np.ndarray
    k_hat: float | None
    independent: float = 1.0


def reweighting_reach(bank: ReferenceBank, coefficients: Float[np.ndarray, "draw feature"]) -> Reach:
    """Whether the references overlap with all draws: effective frames and the tail of their weights.

    Effective frames are 1/Σ w² times the share of the references' frames that are independent, since frames that follow
    one another tell the same.

    Args:
        bank: reference simulations.
        coefficients: η of each draw, times its β over the bank's where it is at another temperature.

    Example:
        >>> from bayescg.physics import Reference
        >>> x2 = np.random.default_rng(0).normal(size=(4, 500, 1)) ** 2
        >>> spring = Reference(np.array([0.5]), x2, x2[..., :0], x2[..., :0], np.zeros((0, 1, 1)))
        >>> bank = ReferenceBank(1.0, (spring,))
        >>> reweighting_reach(bank, np.array([[0.5], [0.55]])).reached
        True
        >>> reweighting_reach(bank, np.array([[0.02]])).reached  # a spring so soft that no frame stretches as far
        False

    References:
        Vehtari et al. (2024), JMLR 25(72) (the tail index and its limit).
    """
    parts = [coefficients[i : i + DRAWS_AT_ONCE] for i in range(0, len(coefficients), DRAWS_AT_ONCE)]
    counted = np.concatenate([1.0 / np.sum(bank.draw_weights(eta) ** 2, axis=1) for eta in parts])
    independent = min(1.0, bank.independent_frames() / float(np.sum(bank.n_frames)))
    effective = np.where(np.isfinite(counted), counted, 0.0) * independent
    fewest = float(effective.min())
    few = float(np.mean(effective < LEAST_EFFECTIVE))
    if few > 0.05 or fewest < LEAST_AT_ANY:
        limit = LEAST_EFFECTIVE if few > 0.05 else LEAST_AT_ANY
        return Reach(
            False,
            f"at {np.sum(effective < limit)} of {len(effective)} draws fewer than {limit:.0f} effective independent reference"
            f" frames are left (fewest {fewest:.0f})",
            effective,
            None,
            independent,
        )
    some = np.argsort(effective)[:MOST_JUDGED]  # the tails are longest where fewest frames count
    k_hat = reweighting_khat(bank, coefficients[some])
    if k_hat is not None and not k_hat <= LARGEST_KHAT:
        return Reach(
            False,
            f"the weights of the reference frames have a heavy tail (k-hat {k_hat:.2f}, at most {LARGEST_KHAT:g})",
            effective,
            k_hat,
            independent,
        )
    tail = "nearly equal weights" if k_hat is None else f"k-hat {k_hat:.2f}"
    return Reach(
        True,
        f"the references overlap with all draws (at least {fewest:.0f} effective independent frames, {tail})",
        effective,
        k_hat,
        independent,
    )


def variance_terms(
    bank: ReferenceBank,
    weighing: Float[np.ndarray, "draw feature"],
    coefficients: Float[np.ndarray, "draw feature"],
    columns: Float[np.ndarray, "frame feature"],
    *,
    reach: Reach,
) -> float:
    """Fewest effective independent terms of a reweighted variance Σ w (X − ⟨X⟩)², (Σ t)²/Σ t², at the worst draws.

    Frames that are enough for an average need not be so for a variance: far ones count by weight and by distance, and in
    the claimed error both are squared. With few effective terms that error is too small, since the frames that would make
    it were not met. The tail index of the terms tells less: it does not see close contacts apart from all other frames.

    Args:
        bank: reference simulations.
        weighing: η of the draws as they weigh the frames.
        coefficients: that make X of the columns.
        columns: of every frame, such as features (X the energy) or virials.
        reach: of these draws; those with fewest effective frames are looked at.

    Example:
        >>> from bayescg.physics import Reference
        >>> x2 = np.random.default_rng(0).normal(size=(4, 500, 1)) ** 2
        >>> bank = ReferenceBank(1.0, (Reference(np.array([0.5]), x2, x2[..., :0], x2[..., :0], np.zeros((0, 1, 1))),))
        >>> near, far = np.array([[0.5]]), np.array([[0.3]])  # (a softer spring: frames farther out count more)
        >>> of = lambda eta: variance_terms(bank, eta, eta, bank.features, reach=reweighting_reach(bank, eta))
        >>> of(near) > 3.0 * of(far), reweighting_reach(bank, far).reached
        (True, True)
    """
    some = np.argsort(reach.effective_frames)[:MOST_OF_VARIANCES]
    weights = bank.draw_weights(weighing[some])
    values = coefficients[some] @ columns.T
    terms = weights * (values - np.sum(weights * values, axis=1, keepdims=True)) ** 2
    square = np.sum(terms**2, axis=1)
    counted = np.sum(terms, axis=1) ** 2 / np.where(square > 0.0, square, np.inf)
    return float(counted.min()) * reach.independent


def variance_terms_of_frames(deviations: Float[np.ndarray, "draw trajectory frame"]) -> float:
    """Effective independent terms of a variance of simulated frames, over all draws: (Σ t)²/Σ t², t = (X − ⟨X⟩)².

    Normal deviations have a third of their number. Few say that rare frames make the variance: the scatter between
    simulations then hides what most of them have not seen. Frames of one trajectory count by the inefficiency of t. Draws
    simulated with the same random numbers count as the independent ones that their mean of t is as quiet as,
    D = ⟨Var t⟩/Var⟨t⟩.

    Args:
        deviations: X − ⟨X⟩ of every frame.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> normal, rare = rng.normal(size=(4, 8, 250)), rng.standard_t(2.5, size=(4, 8, 250))
        >>> variance_terms_of_frames(normal) > 1500.0 > 300.0 > variance_terms_of_frames(rare)
        True
        >>> one, same = normal[:1], np.repeat(normal[:1], 4, axis=0)
        >>> round(variance_terms_of_frames(one) / variance_terms_of_frames(same), 3)
        1.0
    """
    t = np.asarray(deviations) ** 2
    square = float(np.sum(t**2))
    if square == 0.0:  # nothing varies, as in an ideal gas
        return float(t.size)
    of_mean = float(np.var(t.mean(axis=0)))
    independent = 1.0 if of_mean == 0.0 else np.clip(np.var(t, axis=(1, 2)).mean() / of_mean, 1.0, len(t))
    lengths = [t.shape[2]] * (t.shape[0] * t.shape[1])
    inefficiency = float(statistical_inefficiency(t.reshape(-1), lengths=lengths)[0])
    return float(np.sum(t)) ** 2 / square / inefficiency * float(independent) / len(t)
