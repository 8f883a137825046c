"""How long pairs stay together: lifetime correlations of bonds that are there or not in each frame."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from bayescg.errors import InputError
from bayescg.physics._time_correlation import checked_lags, lagged_products


class PairLifetimes(NamedTuple):
    """Lifetime correlations of pairs.

    Attributes:
        intermittent: probability that a pair bonded at time 0 is bonded at lag t, whatever happened between.
        continuous: probability that it was bonded in every frame up to lag t.

    Example:
        >>> float(PairLifetimes(np.array([[1.0, 0.5]]), np.array([[1.0, 0.4]])).intermittent[0, 1])
        0.5
    """

    intermittent: Float[np.ndarray, "*replica lag"]
    continuous: Float[np.ndarray, "*replica lag"]


def pair_lifetimes(
    bonded: Bool[np.ndarray, "*replica frame pair"], *, n_lags: int | None = None
) -> PairLifetimes:
    """Intermittent and continuous lifetime correlation of pairs, over all time origins.

    With h(t) = 1 where a pair is bonded, c(t) = ⟨h(0) h(t)⟩/⟨h⟩ and S(t) = ⟨h(0) H(t)⟩/⟨h⟩, H(t) = 1 where it was
    bonded in all frames from 0 to t; ⟨h⟩ is taken over the same time origins. c falls to the bonded share ⟨h⟩, and S to
    zero. S knows only of stored frames: a bond that breaks and forms again between two of them counts as unbroken,
    so that its lifetime grows with the time between frames.

    Args:
        bonded: hydrogen bonds, ion pairs, neighbours, or what else a criterion says of each pair in each frame.
        n_lags: number of lags, lag 0 among them; half of the frames if None.

    Raises:
        InputError: not booleans, too few frames, too many lags, or a replica in which no pair is bonded early enough.

    References:
        Rapaport (1983), doi:10.1080/00268978300102931; Luzar & Chandler (1996), doi:10.1038/379055a0.

    Example:
        >>> bonded = np.array([[True], [True], [False], [True], [False], [False]])
        >>> found = pair_lifetimes(bonded, n_lags=3)
        >>> found.intermittent.round(3), found.continuous.round(3)
        (array([1.   , 0.333, 0.333]), array([1.   , 0.333, 0.   ]))
    """
    h = checked_pairs(bonded, "pair lifetimes")
    lags = checked_lags(n_lags, h.shape[-2], "pair lifetimes")
    flat = h.reshape(-1, *h.shape[-2:])
    shape = (*h.shape[:-2], lags)
    both = pair_correlation(flat, flat, n_lags=lags)
    return PairLifetimes(both.reshape(shape), (_unbroken(flat, lags) / _origins(flat, lags)).reshape(shape))


def checked_pairs(
    pairs: Bool[np.ndarray, "*replica frame pair"], what: str
) -> Bool[np.ndarray, "*replica frame pair"]:
    """Booleans of at least two frames."""
    h = np.asarray(pairs)
    if h.dtype != bool or h.ndim < 2 or h.shape[-2] < 2 or 0 in h.shape:
        raise InputError(
            f"{what}: {h.dtype} of shape {h.shape}; expected booleans [frame pair] with two frames or more"
        )
    return h


def pair_correlation(
    h: Bool[np.ndarray, "replica frame pair"], other: Bool[np.ndarray, "replica frame pair"], *, n_lags: int
) -> Float[np.ndarray, "replica lag"]:
    """⟨h(0) other(t)⟩/⟨h⟩, both over the same time origins."""
    second = None if other is h else other.astype(np.float64)
    both = lagged_products(h.astype(np.float64), second, n_lags=n_lags)
    return np.rint(both) / _origins(
        h, n_lags
    )  # they are numbers of pairs: this takes the transform's rounding off


def _origins(h: Bool[np.ndarray, "replica frame pair"], n_lags: int) -> Float[np.ndarray, "replica lag"]:
    """Bonded pairs at the time origins that each lag can be seen from."""
    origins = np.cumsum(h.sum(axis=2), axis=1)[:, ::-1][:, :n_lags]
    if (origins == 0).any():
        raise InputError(
            f"pair lifetimes: no pair of replica {int(np.argwhere(origins == 0)[0][0])} is bonded at a frame that"
            f" {n_lags} lags can be counted from; use fewer lags or a looser criterion"
        )
    return origins.astype(np.float64)


def _unbroken(h: Bool[np.ndarray, "replica frame pair"], n_lags: int) -> Float[np.ndarray, "replica lag"]:
    """Σ over spells of max(length − lag, 0): origins from which a spell lasts for a lag."""
    n_replicas, n_frames, n_pairs = h.shape
    edge = np.zeros((n_replicas, n_pairs, 1), np.int8)
    steps = np.diff(np.swapaxes(h, 1, 2).astype(np.int8), axis=2, prepend=edge, append=edge)
    begins, ends = (
        np.nonzero(steps == 1),
        np.nonzero(steps == -1),
    )  # in the same order: each spell has one of each
    lengths = ends[2] - begins[2]
    counts = np.zeros((n_replicas, n_frames + 2))
    np.add.at(counts, (begins[0], lengths), 1.0)
    longer = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]  # spells of at least this length
    return np.cumsum(longer[:, ::-1], axis=1)[:, ::-1][:, 1 : n_lags + 1]
