"""Whether a bank of references reaches what draws ask of it, at the bank's temperature or another."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayescg.analysis._verdicts import reweighting_khat
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


class Reach(NamedTuple):
    """The verdict.

    Attributes:
        reached: whether averages by reweighting are to be trusted.
        sentence: why or why not.
        effective_frames: independent ones, of every draw; 0 where its weights are not finite [draw].
        k_hat: largest over the judged draws; None where weights are nearly equal.

    Example:
        >>> Reach(True, "all reached", np.array([300.0]), None).reached
        True
    """

    reached: bool
    sentence: str
    effective_frames: np.ndarray
    k_hat: float | None


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
        )
    some = np.argsort(effective)[:MOST_JUDGED]  # the tails are longest where fewest frames count
    k_hat = reweighting_khat(bank, coefficients[some])
    if k_hat is not None and k_hat > LARGEST_KHAT:
        return Reach(
            False,
            f"the weights of the reference frames have a heavy tail (k-hat {k_hat:.2f}, at most {LARGEST_KHAT:g})",
            effective,
            k_hat,
        )
    tail = "nearly equal weights" if k_hat is None else f"k-hat {k_hat:.2f}"
    return Reach(
        True,
        f"the references overlap with all draws (at least {fewest:.0f} effective independent frames, {tail})",
        effective,
        k_hat,
    )
