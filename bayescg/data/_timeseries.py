"""How much information a correlated time series holds.

Every function takes the frames of one or more independent trajectories one after the other, with `lengths` saying where
each ends; nothing here ever correlates frames across such an end.

References:
    Geyer, Stat. Sci. 7, 473 (1992), doi:10.1214/ss/1177011137 (initial monotone sequence).
    Vats and Flegal, Biometrika 109, 735 (2022), doi:10.1093/biomet/asab049 (lugsail).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayescg.data._topology import Floats
from bayescg.errors import InputError


def statistical_inefficiency(x: ArrayLike, *, lengths: Sequence[int] | None = None) -> Floats:
    """How many frames one independent frame is worth, for each statistic.

    g = 1 + 2 Σ_t ρ(t), with the autocorrelation ρ pooled over trajectories about their common mean and the sum stopped
    by Geyer's initial monotone sequence: pairs ρ(2m) + ρ(2m+1) as long as they are positive, none above the one before.

    Args:
        x: one row per frame, [frame] or [frame stat].
        lengths: frames of each independent trajectory; one trajectory if None.

    Returns:
        g of each statistic, at least 1; exactly 1 for one that doesn't vary. Shape [stat], one entry for a 1-D `x`.

    Example:
        >>> import numpy as np
        >>> from bayescg.data import statistical_inefficiency
        >>> bool(statistical_inefficiency(np.repeat(np.random.default_rng(1).normal(size=500), 4))[0] > 2.5)
        True
    """
    values, runs = table(x, lengths)
    return np.concatenate([_inefficiency(values[:, k : k + 64], runs) for k in range(0, values.shape[1], 64)])


def table(x: ArrayLike, lengths: Sequence[int] | None) -> tuple[Floats, list[slice]]:
    """Rows of frames and columns of statistics [frame stat], and where each trajectory lies in them."""
    values = np.asarray(x, np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.shape[0]:
        raise InputError(
            f"time series: shape {values.shape}; expected [frame] or [frame stat] with at least one frame"
        )
    if not np.isfinite(values).all():
        frame, stat = np.argwhere(~np.isfinite(values))[0]
        raise InputError(
            f"time series: statistic {stat} of frame {frame} is not finite; drop that frame or statistic"
        )
    counts = [values.shape[0]] if lengths is None else [int(n) for n in lengths]
    if sum(counts) != values.shape[0] or min(counts) < 1:
        raise InputError(
            f"time series: {values.shape[0]} frames, but trajectory lengths {counts} sum to {sum(counts)}; "
            "expected positive lengths that add up"
        )
    ends = np.cumsum(counts)
    return values, [slice(int(end - n), int(end)) for n, end in zip(counts, ends, strict=True)]


def _inefficiency(values: Floats, runs: list[slice]) -> Floats:
    n_frames = values.shape[0]
    centred = values - values.mean(0)
    longest = max(run.stop - run.start for run in runs)
    n_fft = 1 << (2 * longest - 1).bit_length()
    covariance = np.zeros((longest, values.shape[1]))
    for run in runs:
        spectrum = np.fft.rfft(centred[run], n_fft, axis=0)
        n = run.stop - run.start
        covariance[:n] += np.fft.irfft(spectrum.real**2 + spectrum.imag**2, n_fft, axis=0)[:n]
    covariance /= n_frames  # lag t carries (pairs at lag t) / n_frames: the factor 1 - t/N is in it
    variance = covariance[0]
    varies = variance > 1e-28 * (1.0 + values.mean(0) ** 2)
    rho = covariance / np.where(varies, variance, 1.0)
    if longest < 2:
        return np.ones(values.shape[1])
    pairs = rho[: 2 * (longest // 2)].reshape(longest // 2, 2, -1).sum(1)
    alive = np.logical_and.accumulate(pairs > 0, axis=0)
    total = 2.0 * np.minimum.accumulate(np.where(alive, pairs, 0.0), axis=0).sum(0) - 1.0
    return np.where(varies, np.maximum(total, 1.0), 1.0)


class LongRunCovariance(NamedTuple):
    """The covariance that makes Var(mean of N frames) = covariance / N, for correlated frames.

    Attributes:
        covariance: J, long-run covariance per frame [stat stat]; symmetric, positive definite.
        sample_covariance: covariance of single frames [stat stat], as if they were independent.
        batch: batch length b [frame].
        n_batches: N / b: how many batches the estimate rests on (degrees of freedom about 1.5 (n_batches - 1)).
        n_floored: whitened directions whose estimate fell below the floor and was lifted to it.
        inefficiency: statistical inefficiency in each whitened direction [stat].
        n_frames: N.
        neighbour_correlation: ρ(1) of neighbouring frames in each whitened direction [stat]; empty if not known.
    """

    covariance: Floats
    sample_covariance: Floats
    batch: int
    n_batches: float
    n_floored: int
    inefficiency: Floats
    n_frames: int
    neighbour_correlation: Floats = np.zeros(0)


def long_run_covariance(
    z: ArrayLike,
    *,
    lengths: Sequence[int] | None = None,
    curvature: ArrayLike | None = None,
    floor: float = 0.5,
    batch: int | None = None,
) -> LongRunCovariance:
    """Long-run covariance by lugsail overlapping batch means, replicated over trajectories.

    With Γ(b) the overlapping-batch-means estimate at batch length b, about the mean of all trajectories,
    J = (Γ(b) - c Γ(b/r)) / (1 - c) with r = 3 and c = 1/2, that is 2 Γ(b) - Γ(b/3), and b = max(√N, 4 g_max), at most
    N/10 and at most the (weighted median) length of a trajectory. Eigenvalues of J, taken in coordinates where
    `curvature` is the identity, are lifted to `floor`.

    Args:
        z: statistics of each frame, [frame] or [frame stat].
        lengths: frames of each independent trajectory; one trajectory if None.
        curvature: H, the covariance that single frames would have if the model were right and frames independent
            [stat stat]; the sample covariance of `z` if None.
        floor: smallest eigenvalue of J relative to `curvature`.
        batch: b, if it's to be fixed.

    Raises:
        InputError: fewer than 20 frames, or arrays that don't fit together.

    References:
        Vats and Flegal (2022); Gupta and Vats (2020), arXiv:2007.04229 (replicated batch means).
    """
    values, runs = table(z, lengths)
    n, p = values.shape
    if n < 20:
        raise InputError(
            f"long-run covariance: {n} frames; expected at least 20, so use more of the trajectory"
        )
    centred = values - values.mean(0)
    sample = centred.T @ centred / (n - 1)
    shape = sample if curvature is None else np.asarray(curvature, np.float64).reshape(p, p)
    whiten, unwhiten = _whitening(shape)
    white = centred @ whiten
    g = statistical_inefficiency(white, lengths=[r.stop - r.start for r in runs])
    if batch is None:
        batch = max(int(np.sqrt(n)), int(np.ceil(4.0 * g.max())))
        batch = max(1, min(batch, n // 10, _typical_length(runs)))
    gamma = 2.0 * _batch_means(white, runs, batch) - _batch_means(white, runs, max(1, batch // 3))
    eigenvalues, vectors = np.linalg.eigh(0.5 * (gamma + gamma.T))
    lifted = np.maximum(eigenvalues, floor)
    covariance = unwhiten.T @ ((vectors * lifted) @ vectors.T) @ unwhiten
    return LongRunCovariance(
        covariance=0.5 * (covariance + covariance.T),
        sample_covariance=sample,
        batch=batch,
        n_batches=n / batch,
        n_floored=int((eigenvalues < floor).sum()),
        inefficiency=g,
        n_frames=n,
        neighbour_correlation=_neighbour_correlation(white, runs),
    )


def _neighbour_correlation(centred: Floats, runs: list[slice]) -> Floats:
    """ρ(1), about the mean of all trajectories; 0 for what doesn't vary."""
    products = np.zeros(centred.shape[1])
    for run in runs:
        products += np.sum(centred[run][1:] * centred[run][:-1], axis=0)
    squares = np.sum(centred**2, axis=0)
    return products / np.where(squares > 0.0, squares, 1.0)


def _whitening(curvature: Floats) -> tuple[Floats, Floats]:
    """W with Wᵀ H W = 1, and its inverse. Scaled by the diagonal first; flat directions keep a tiny scale."""
    if not np.isfinite(curvature).all():
        raise InputError("long-run covariance: the curvature holds numbers that are not finite")
    diagonal = np.diag(curvature)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(curvature / np.outer(scale, scale))
    root = np.sqrt(np.maximum(values, 1e-13 * max(values.max(), 1e-300)))
    return (vectors / root) / scale[:, None], (vectors * root).T * scale[None, :]


def _typical_length(runs: list[slice]) -> int:
    """The length such that trajectories at least this long hold half of all frames."""
    lengths = sorted((run.stop - run.start for run in runs), reverse=True)
    half, held = 0.5 * sum(lengths), 0
    for length in lengths:
        held += length
        if held >= half:
            return length
    return lengths[-1]


def _batch_means(centred: Floats, runs: list[slice], batch: int) -> Floats:
    """Γ(b) = N b / ((N - b) K) Σ ȳ ȳᵀ over the K overlapping batches of all trajectories."""
    n, p = centred.shape
    total, count = np.zeros((p, p)), 0
    for run in runs:
        length = run.stop - run.start
        if length < batch:
            continue
        sums = np.concatenate([np.zeros((1, p)), np.cumsum(centred[run], axis=0)])
        means = (sums[batch:] - sums[:-batch]) / batch
        total += means.T @ means
        count += means.shape[0]
    return n * batch / ((n - batch) * count) * total
