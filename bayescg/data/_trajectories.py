"""Where to cut trajectories, and whether several of them agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayescg.data._timeseries import statistical_inefficiency, table
from bayescg.data._topology import Floats
from bayescg.errors import InputError


class EquilibrationCut(NamedTuple):
    """Where a trajectory's usable part begins.

    Attributes:
        start: first frame to keep.
        inefficiency: statistical inefficiency of the kept part (worst statistic).
        effective_frames: independent frames in the kept part (worst statistic).
    """

    start: int
    inefficiency: float
    effective_frames: float


def equilibration_cut(x: ArrayLike, *, candidates: int = 60) -> EquilibrationCut:
    """The start that leaves the most independent frames, (N - t₀) / g(t₀), in one trajectory.

    Args:
        x: [frame] or [frame stat]; of several statistics the worst counts.
        candidates: how many starts between 0 and 90 % of the trajectory are tried.

    References:
        Chodera, J. Chem. Theory Comput. 12, 1799 (2016), doi:10.1021/acs.jctc.5b00784.
    """
    values, _ = table(x, None)
    n = values.shape[0]
    best = EquilibrationCut(0, 1.0, 0.0)
    for start in np.unique(np.linspace(0, 0.9 * n, candidates).astype(int)):
        g = float(statistical_inefficiency(values[start:]).max())
        effective = float(n - start) / g
        if effective > best.effective_frames:
            best = EquilibrationCut(int(start), g, effective)
    return best


def contiguous_split(
    lengths: int | Sequence[int], *, held_out_fraction: float, gap: int = 0
) -> tuple[list[slice], list[slice]]:
    """Training and held-out frames as contiguous stretches: the end of every trajectory is held out.

    Random frames would leak: a held-out frame's neighbour in time is nearly the same frame.

    Args:
        lengths: number of frames, or of each independent trajectory.
        held_out_fraction: between 0 and 1.
        gap: frames dropped between the two parts (a few statistical inefficiencies).

    Returns:
        Slices into the concatenated frames, one of each kind per trajectory.

    Raises:
        InputError: the fraction is not between 0 and 1, or a part comes out empty.
    """
    if not 0.0 < held_out_fraction < 1.0:
        raise InputError(f"held_out_fraction is {held_out_fraction}; expected a number between 0 and 1")
    counts = [lengths] if isinstance(lengths, int) else list(lengths)
    train, test, offset = [], [], 0
    for number, n in enumerate(counts):
        kept = n - round(n * held_out_fraction)
        if kept - gap < 1 or kept >= n:
            raise InputError(
                f"trajectory {number}: {n} frames can't be split with held_out_fraction {held_out_fraction} and "
                f"gap {gap}; expected at least one frame on each side"
            )
        train.append(slice(offset, offset + kept - gap))
        test.append(slice(offset + kept, offset + n))
        offset += n
    return train, test


class TrajectoryAgreement(NamedTuple):
    """Whether independent trajectories tell the same story, for each statistic.

    Attributes:
        z: largest deviation of one trajectory's mean from the mean of the others, in its standard errors [stat].
        r_hat: √(1 + (spread of means beyond sampling error) / variance), 1 if trajectories agree [stat].
        means: mean of each trajectory [trajectory stat].
        standard_errors: of those means, autocorrelation included [trajectory stat].
    """

    z: Floats
    r_hat: Floats
    means: Floats
    standard_errors: Floats


def trajectory_agreement(x: ArrayLike, lengths: Sequence[int]) -> TrajectoryAgreement:
    """Compares trajectories by their means, with standard errors that know of autocorrelation.

    A single trajectory is compared as its two halves. Inefficiency and variance are taken within trajectories, so that
    trajectories stuck in different places don't hide behind a large common inefficiency.

    Args:
        x: [frame] or [frame stat].
        lengths: frames of each independent trajectory.
    """
    values, runs = table(x, lengths)
    if len(runs) == 1:
        half = values.shape[0] // 2
        runs = [slice(0, half), slice(half, values.shape[0])]
        if not half:
            raise InputError("trajectory agreement: one frame; expected at least two")
    counts = np.array([run.stop - run.start for run in runs], float)
    means = np.stack([values[run].mean(0) for run in runs])
    within = np.concatenate([values[run] - mean for run, mean in zip(runs, means, strict=True)])
    degrees = max(values.shape[0] - len(runs), 1)
    variance = (within**2).sum(0) / degrees
    g = statistical_inefficiency(within, lengths=[int(n) for n in counts])
    error2 = variance * g / counts[:, None]
    total = values.shape[0]
    others = (values.sum(0) - counts[:, None] * means) / (total - counts)[:, None]
    deviation2 = (means - others) ** 2
    expected = error2 + variance * g / (total - counts)[:, None]
    safe = np.where(expected > 0, expected, 1.0)
    z = np.sqrt(np.where(expected > 0, deviation2 / safe, np.where(deviation2 > 0, np.inf, 0.0)).max(0))
    between = means.var(0, ddof=1)
    excess = np.maximum(between - error2.mean(0), 0.0)
    r_hat = np.sqrt(1.0 + excess / np.where(variance > 0, variance, 1.0))
    r_hat = np.where((variance > 0) | (excess == 0), r_hat, np.inf)
    return TrajectoryAgreement(z=z, r_hat=r_hat, means=means, standard_errors=np.sqrt(error2))
