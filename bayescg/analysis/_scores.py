"""What a predictive score is: log densities of blocks or configurations that a model did not learn from."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayescg.data import LongRunCovariance, long_run_covariance
from bayescg.errors import InputError
from bayescg.physics import SufficientStatistics

BLOCK_INEFFICIENCIES = 4.0
"""Shortest block, in statistical inefficiencies."""
LEAST_BLOCKS = 4
"""Fewest blocks whose spread says anything of a score's error."""
HEALTHY_KHAT = 0.7
"""Largest Pareto shape of importance weights that can be relied on (Vehtari et al. 2024, JMLR 25, 72)."""

KINDS = {
    "joint": "log density of all frames of a block together",
    "pointwise": "sum over a block of the log density of each of its frames",
    "single frames": "log density of each frame, all others kept",
    "configuration": "log density of all labels of a configuration together",
}


class PredictiveScores(NamedTuple):
    """Log predictive densities of units of data that were left out.

    A block's joint score is higher than its pointwise one, by about (g_B − 1)/2 per direction: scores of different
    kinds are different quantities, and are never compared.

    Attributes:
        values: log score of each unit [unit] [nats]; relative to the anchor's log Z where there is one.
        kind: one of `KINDS`.
        n_frames: frames in each unit [unit]; how often the anchor's log Z enters a unit's score.
        first_frame: number of each unit's first frame (or configuration) [unit].
        khat: Pareto shape of the importance weights of each unit [unit]; NaN where there are none.
        method: how the units were left out, in a few words.
        warning: why the numbers are not to be trusted; empty if nothing is known against them.

    Example:
        >>> blocks = np.array([40, 40, 40, 40])
        >>> values = np.array([-50.0, -52.0, -49.0, -51.0])
        >>> scores = PredictiveScores(values, "joint", blocks, np.cumsum(blocks) - 40, np.full(4, np.nan), "refits", "")
        >>> scores.elpd, round(scores.standard_error, 2)
        (-202.0, 2.58)
    """

    values: Float[np.ndarray, " unit"]
    kind: str
    n_frames: Int[np.ndarray, " unit"]
    first_frame: Int[np.ndarray, " unit"]
    khat: Float[np.ndarray, " unit"]
    method: str
    warning: str

    @property
    def elpd(self) -> float:
        """Expected log predictive density of all data: the sum of the scores [nats]."""
        return float(np.sum(self.values))

    @property
    def standard_error(self) -> float:
        """Its standard error, from the spread between units [nats]."""
        return spread_of_sum(self.values)


def spread_of_sum(values: Float[np.ndarray, " unit"]) -> float:
    """Standard error of a sum of independent units, √n times their standard deviation."""
    return float(np.sqrt(len(values)) * np.std(values, ddof=1)) if len(values) > 1 else np.nan


def score_inefficiency(statistics: SufficientStatistics) -> float:
    """g_max, the largest statistical inefficiency of any combination of the features.

    Example:
        >>> import numpy as np
        >>> noise = np.random.default_rng(0).normal(size=(4000, 2))
        >>> zeros = np.zeros((4000, 0))
        >>> frames = SufficientStatistics(noise, zeros, zeros, np.zeros(4000, int))
        >>> score_inefficiency(frames) < 1.2
        True
    """
    return float(np.max(long_run_of(statistics).inefficiency))


def long_run_of(statistics: SufficientStatistics) -> LongRunCovariance:
    """Long-run covariance of the features that vary.

    Raises:
        InputError: none does.
    """
    varying = statistics.features[:, statistics.features.std(axis=0) > 0.0]
    if not varying.size:
        raise InputError(
            "predictive scores: no feature varies from frame to frame, so no frame says anything"
        )
    return long_run_covariance(varying, lengths=statistics.trajectory_lengths())


def block_edges(
    lengths: Sequence[int], *, inefficiency: float, n_blocks: int = 20
) -> Int[np.ndarray, " block_and_end"]:
    """First frame of each contiguous block and the end of the last; no block crosses from one trajectory to another.

    Args:
        lengths: frames of each trajectory.
        inefficiency: g_max; no block is shorter than 4 of it.
        n_blocks: about how many blocks are wanted in all; fewer where they would be too short.

    Raises:
        InputError: fewer than 4 blocks of that length, or a trajectory shorter than one block.

    Example:
        >>> block_edges([1000], inefficiency=4.6, n_blocks=20).tolist()[:3]
        [0, 50, 100]
    """
    least = int(np.ceil(BLOCK_INEFFICIENCIES * inefficiency))
    total, edges = sum(lengths), [0]
    for n in lengths:
        pieces = min(max(1, round(n_blocks * n / total)), n // least)
        if pieces < 1:
            raise InputError(
                f"predictive scores: a trajectory of {n} frames is shorter than one block of {least} (4 statistical"
                f" inefficiencies of {inefficiency:.1f}); leave it out, or give longer trajectories"
            )
        start = edges[-1]
        edges += [start + round(n * (k + 1) / pieces) for k in range(pieces)]
    if len(edges) - 1 < LEAST_BLOCKS:
        raise InputError(
            f"predictive scores: {total} frames make only {len(edges) - 1} blocks of at least {least} (4 statistical"
            f" inefficiencies of {inefficiency:.1f}), {LEAST_BLOCKS} are needed; give a longer trajectory"
        )
    return np.asarray(edges)
