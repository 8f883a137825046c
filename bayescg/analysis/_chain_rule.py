"""The chain rule of relative entropy: what a coarse description loses, and what is lost within its cells."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import rel_entr

from bayescg.errors import InputError


class ChainRule(NamedTuple):
    """Relative entropy of a fine description and its two parts [nats].

    Attributes:
        micro: KL(p ‖ q) of the fine states.
        coarse: KL(P ‖ Q) of the cells, P and Q the sums of p and q over them.
        reconstruction: Σ_I P_I KL(p(·|I) ‖ q(·|I)), mean over cells: what going back from cells to states adds.

    Example:
        >>> parts = ChainRule(0.3, 0.2, 0.1)
        >>> abs(parts.micro - parts.coarse - parts.reconstruction) < 1e-12
        True
    """

    micro: float
    coarse: float
    reconstruction: float


def relative_entropy_chain_rule(
    p: Float[np.ndarray, " state"], q: Float[np.ndarray, " state"], cells: Int[np.ndarray, " state"]
) -> ChainRule:
    """KL(micro) = KL(coarse) + mean KL(reconstruction), for discrete distributions and a map from states to cells.

    A coarse-grained fit makes the second part small; the third does not depend on the coarse potential, but on how
    fine states are made from coarse ones. Each part is summed by itself, so that the rule can be checked.

    Args:
        p: probabilities of the truth.
        q: probabilities of the model.
        cells: number of the cell that each state belongs to.

    Raises:
        InputError: arrays of different length, or numbers that are not probabilities.

    References:
        Cover & Thomas (2006), doi:10.1002/047174882X, theorem 2.5.3; Shell (2008),
        doi:10.1063/1.2992060, the mapping entropy.

    Example:
        >>> parts = relative_entropy_chain_rule(
        ...     np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.25, 0.25, 0.2, 0.3]), np.array([0, 0, 1, 1])
        ... )
        >>> [round(part, 9) for part in parts]
        [0.100454578, 0.082282879, 0.018171699]
    """
    p, q, cells = np.asarray(p, float), np.asarray(q, float), np.asarray(cells)
    if not (p.ndim == 1 and p.shape == q.shape == cells.shape and p.size):
        raise InputError(
            f"chain rule: shapes {p.shape}, {q.shape} and {cells.shape}; expected one vector length for all three"
        )
    for name, values in (("p", p), ("q", q)):
        if not (np.all(values >= 0.0) and abs(values.sum() - 1.0) < 1e-9):
            raise InputError(
                f"chain rule: {name} sums to {values.sum():.6g} with a smallest value of {values.min():.3g}; expected"
                " probabilities"
            )
    _, cell = np.unique(cells, return_inverse=True)
    coarse_p, coarse_q = (np.bincount(cell, weights=values) for values in (p, q))
    with np.errstate(divide="ignore", invalid="ignore"):
        within_p, within_q = (
            np.where(total[cell] > 0.0, values / total[cell], 0.0)
            for values, total in ((p, coarse_p), (q, coarse_q))
        )
    return ChainRule(
        float(np.sum(rel_entr(p, q))),
        float(np.sum(rel_entr(coarse_p, coarse_q))),
        float(np.sum(coarse_p[cell] * rel_entr(within_p, within_q))),
    )
