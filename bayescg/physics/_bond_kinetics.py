"""Rate constants of making and breaking bonds between pairs that meet and part by diffusion."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from scipy.integrate import cumulative_trapezoid

from bayescg.errors import InputError
from bayescg.physics._estimate import Estimate, over_pieces, pieces_of
from bayescg.physics._pair_lifetime import checked_pairs, pair_correlation


class BondKinetics(NamedTuple):
    """Rate constants of bonds.

    Attributes:
        breaking: k, of bonded pairs [1/time].
        making: k′, of pairs that are close and not bonded [1/time].

    Example:
        >>> BondKinetics(Estimate(0.5, 0.01, 9.0), Estimate(1.0, 0.02, 9.0)).breaking.value
        0.5
    """

    breaking: Estimate
    making: Estimate


def bond_kinetics(
    bonded: Bool[np.ndarray, "*replica frame pair"],
    adjacent: Bool[np.ndarray, "*replica frame pair"],
    *,
    time_step: float,
    fit: tuple[float, float],
) -> BondKinetics:
    """Rate constants k and k′ in −dc/dt = k c(t) − k′ n(t), told apart from diffusion.

    c(t) is the intermittent lifetime correlation (`pair_lifetimes`) and n(t) = ⟨h(0) [1 − h(t)] d(t)⟩/⟨h⟩ the chance that
    a pair is no longer bonded but still close. Fitted in its integrated form 1 − c(t) = k ∫₀ᵗ c − k′ ∫₀ᵗ n, which needs
    no derivative of noisy data, by least squares from the first to the last lag of `fit`; what happens before the first
    (librations that break a bond for a moment) adds a constant, which is fitted too. Standard errors are the scatter
    over pieces: replicas, each cut into blocks of time if there are fewer than ten.

    Args:
        bonded: h, of each pair in each frame.
        adjacent: d, whether the pair is close enough to be bonded; true wherever `bonded` is.
        time_step: between frames, short against both times [time].
        fit: first and last lag [time].

    Raises:
        InputError: arrays that don't fit together, or a range that the frames don't hold.

    References:
        Luzar & Chandler (1996), doi:10.1038/379055a0; Luzar (2000), doi:10.1063/1.1320826.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> bonded = np.cumsum(rng.random((10, 400, 30)) < 0.05, axis=1) % 2 == 0  # both rates 0.05 per frame
        >>> found = bond_kinetics(bonded, np.ones_like(bonded), time_step=1.0, fit=(1.0, 30.0))
        >>> bool(abs(found.breaking.value - 0.05) < 0.01)
        True
    """
    h, d = checked_pairs(bonded, "bond kinetics"), checked_pairs(adjacent, "bond kinetics")
    if h.shape != d.shape or (h & ~d).any():
        raise InputError(
            f"bond kinetics: pairs of shapes {h.shape} and {d.shape}; expected equal ones, every bonded pair adjacent"
        )
    h, d = (pieces_of(x.reshape(-1, *x.shape[-2:])) for x in (h, d))
    first, last = (round(t / time_step) for t in fit)
    if not 0 <= first < last - 2 < h.shape[1] - 2:
        raise InputError(
            f"bond kinetics: range {fit}; expected four lags or more, up to {time_step * (h.shape[1] - 1):g}"
        )
    c, n = (pair_correlation(h, other, n_lags=last + 1) for other in (h, ~h & d))
    columns = [
        np.broadcast_to(1.0, c.shape),
        cumulative_trapezoid(c, dx=time_step, axis=1, initial=0.0),
        -cumulative_trapezoid(n, dx=time_step, axis=1, initial=0.0),
    ]
    design = np.stack(columns, axis=2)[:, first:]
    lost = (1.0 - c)[:, first:]
    mean = design.mean(axis=0)
    rates = np.linalg.lstsq(mean, lost.mean(axis=0))[0]
    # to first order: what is left of each piece, seen through the same weights
    influence = (lost - design @ rates) @ np.linalg.pinv(mean).T
    return BondKinetics(over_pieces(influence[:, 1], rates[1]), over_pieces(influence[:, 2], rates[2]))
