"""How large a basis the data carry: sweeps over basis and data size from one bank, without new simulations."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from bayescg.analysis._linear_basis import LinearBasis
from bayescg.analysis._linear_fits import LinearModel, refuse_flat
from bayescg.analysis._scores import block_edges, score_inefficiency
from bayescg.analysis._sweep_table import (
    FRAMES_PER_PARAMETER,
    INDEPENDENT_FRAMES,
    FittedBasis,
    bias_proxy,
    differences,
    held_out_error,
    score_table,
    sweep_dataset,
    warnings_of,
)
from bayescg.errors import InputError
from bayescg.inference import calibrate
from bayescg.physics import ReferenceBank, SufficientStatistics, Surrogate

LEAST_EFFECTIVE_FRAMES = 50.0
"""Effective reference frames below which a fit is not to be trusted."""


class _Data(NamedTuple):
    """What all bases share."""

    statistics: SufficientStatistics
    surrogate: Surrogate
    start: np.ndarray
    covariance: np.ndarray
    edges: np.ndarray
    mean: np.ndarray
    block_means: np.ndarray
    outside_means: np.ndarray
    held_out: np.ndarray


def basis_sweep(
    statistics: SufficientStatistics,
    surrogate: Surrogate,
    bases: Sequence[LinearBasis],
    *,
    start: Float[np.ndarray, " feature"],
    bank: ReferenceBank | None = None,
    held_out: SufficientStatistics | None = None,
    edges: Int[np.ndarray, " block_and_end"] | None = None,
    n_blocks: int = 20,
) -> xr.Dataset:
    """Train and held-out relative entropy of several bases from one bank, and the basis that they recommend.

    Each basis is fitted to all frames and anew without each block; its score on a block that its fit has not seen is
    the cross-validated one. All take log Z from the same references, so that their scores share one zero. With H the
    curvature per frame, J the long-run covariance of the score and Λ the prior precision, to first order in 1/N

        held-out − train = tr[(H + Λ/N)⁻¹ J] / N,   variance = tr[H (H + Λ/N)⁻¹ J (H + Λ/N)⁻¹] / 2N.

    These are plug-in estimates: too small where N is not many times the number of coefficients, and worthless where a
    trajectory holds few slow transitions, since then the frames do not tell J. A warning says so. The recommended basis
    is the smallest whose cross-validated score is within one standard error, of the difference, of the best.

    Args:
        statistics: the frames, reduced to the finest features.
        surrogate: log Z from reference frames with the same features.
        bases: of different labels.
        start: η near the best fit, such as the MAP of a run with the finest basis.
        bank: of the surrogate; its Monte-Carlo error is then part of that of differences.
        held_out: further frames.
        edges: of the blocks; the default makes `n_blocks`, none shorter than 4 statistical inefficiencies.
        n_blocks: about how many blocks.

    Returns:
        A variable for each quantity along the dimension `basis` (scores of blocks also along `block`), all in nats per
        frame; attributes `recommended`, `best`, `inefficiency`, `independent_frames` and `warnings` (JSON).

    Raises:
        InputError: fewer frames than coefficients, features that do not fit, too few frames for blocks, a coefficient
            that nothing holds.

    References:
        Takeuchi (1976), Suri-Kagaku 153, 12; Shibata (1989), doi:10.1007/978-3-642-75007-6_5, with a prior;
        Breiman, Friedman, Olshen & Stone (1984), section 3.4.3, one standard error.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayescg.analysis import chosen_features
        >>> x = np.linspace(-1.0, 1.0, 401)  # a uniform grid in place of simulations
        >>> legendre = lambda x: np.polynomial.legendre.legvander(x, 4)[:, 1:]
        >>> z = Surrogate(jnp.ones(()), jnp.zeros(4), jnp.asarray(legendre(x)), jnp.full(401, -np.log(401.0)))
        >>> data = legendre(np.random.default_rng(0).beta(2.0, 2.0, size=400) * 2 - 1)  # no straight line makes this
        >>> frames = SufficientStatistics(data, data, data[:, :0], np.zeros(400, int))
        >>> sweep = basis_sweep(frames, z, [chosen_features(4, range(p)) for p in (1, 2, 4)], start=np.zeros(4))
        >>> sweep.attrs["recommended"], bool(sweep["train_relative_entropy"].diff("basis").max() < 0)
        ('2', True)
    """
    _check(statistics, surrogate, bases)
    g = score_inefficiency(statistics)
    if edges is None:
        edges = block_edges(statistics.trajectory_lengths(), inefficiency=g, n_blocks=n_blocks)
    data = _shared(statistics, surrogate, start, edges, held_out)
    sizes = np.array([basis.size for basis in bases])
    outside = statistics.n_frames - int(np.diff(edges).max())
    _refuse_few_frames(bases, outside, f"outside a block of {int(np.diff(edges).max())}")
    fitted = [_fit(data, basis) for basis in bases]
    table = score_table(fitted, edges)
    best = int(np.argmin(np.where(table["converged"], table["block_cv"], np.inf)))
    table["difference"], table["difference_se"] = differences(fitted, edges, best, bank)
    if held_out is not None:
        table["held_out_se"] = held_out_error(fitted, held_out, float(surrogate.beta), best)
    table["bias_proxy"] = bias_proxy(table)
    within = table["converged"] & (table["difference"] <= table["difference_se"])
    recommended = int(np.flatnonzero(within)[np.argmin(sizes[within])]) if within.any() else best
    independent = statistics.n_frames / g
    table["plug_in_trusted"] = independent >= np.maximum(INDEPENDENT_FRAMES, FRAMES_PER_PARAMETER * sizes)
    return sweep_dataset(
        table, fitted, bases, edges,
        attrs={
            "recommended": bases[recommended].label,
            "best": bases[best].label,
            "smallest_tic": bases[int(np.argmin(np.where(table["converged"], table["tic"], np.inf)))].label,
            "n_frames": statistics.n_frames,
            "inefficiency": g,
            "independent_frames": independent,
            "warnings": json.dumps(warnings_of(table, bases, g, independent, bases[recommended])),
        },
    )  # fmt: skip


def _check(statistics: SufficientStatistics, surrogate: Surrogate, bases: Sequence[LinearBasis]) -> None:
    if not bases or len({basis.label for basis in bases}) < len(bases):
        raise InputError(
            f"basis sweep: bases {', '.join(basis.label for basis in bases) or 'none'}; expected some with different"
            " labels"
        )
    if statistics.features.shape[1] != surrogate.centre.shape[0]:
        raise InputError(
            f"basis sweep: {statistics.features.shape[1]} features in the data, {surrogate.centre.shape[0]} in the"
            " references; reduce both with the finest basis"
        )
    _refuse_few_frames(bases, statistics.n_frames, "in the data")


def _refuse_few_frames(bases: Sequence[LinearBasis], n_frames: int, where: str) -> None:
    largest = max(bases, key=lambda basis: basis.size)
    if n_frames <= largest.size:
        raise InputError(
            f"basis sweep: basis '{largest.label}' has {largest.size} coefficients, but there are only {n_frames} frames"
            f" {where}; leave it out, or give more frames"
        )


def _shared(
    statistics: SufficientStatistics,
    surrogate: Surrogate,
    start: np.ndarray,
    edges: np.ndarray,
    held_out: SufficientStatistics | None,
) -> _Data:
    features, sizes = statistics.features, np.diff(edges)
    if len(sizes) < 2 or edges[0] != 0 or edges[-1] != len(features) or sizes.min() < 1:
        raise InputError(
            f"basis sweep: block edges from {edges[0]} to {edges[-1]} for {len(features)} frames; expected at least two"
            " blocks that cover all frames"
        )
    sums = np.add.reduceat(features, edges[:-1], axis=0)
    further = np.zeros((0, features.shape[1]))
    return _Data(
        statistics,
        surrogate,
        np.asarray(start, float),
        np.atleast_2d(np.cov(features, rowvar=False)),
        edges,
        features.mean(axis=0),
        sums / sizes[:, None],
        (sums.sum(axis=0) - sums) / (len(features) - sizes)[:, None],
        further if held_out is None else held_out.features,
    )


def _fit(data: _Data, basis: LinearBasis) -> FittedBasis:
    model, n = LinearModel(data.surrogate, basis), data.statistics.n_frames
    start = model.start(data.start, data.covariance)
    hessian = model.curvature(start) + basis.prior_precision / n
    refuse_flat(hessian, basis)
    all_frames = model.fit(data.mean[None], np.array([float(n)]), start=start, least=LEAST_EFFECTIVE_FRAMES)
    curvature = model.curvature(all_frames.theta[0])
    without = model.fit(
        data.outside_means, n - np.diff(data.edges).astype(float), start=all_frames.theta[0],
        least=LEAST_EFFECTIVE_FRAMES, hessian=curvature + basis.prior_precision / n,
    )  # fmt: skip
    gap, variance, effective = _plug_in(data.statistics, basis, model, curvature)
    held_out = model.relative_entropy(all_frames, data.held_out)[0]
    return FittedBasis(
        basis.coefficients(all_frames.theta[0]),
        float(model.relative_entropy(all_frames, data.mean[None])[0, 0]),
        held_out,
        np.diagonal(model.relative_entropy(without, data.block_means)),
        gap, variance, effective,
        float(min(all_frames.effective_frames.min(), without.effective_frames.min())),
        bool(all_frames.converged.all() and without.converged.all()),
    )  # fmt: skip


def _plug_in(
    statistics: SufficientStatistics, basis: LinearBasis, model: LinearModel, curvature: np.ndarray
) -> tuple[float, float, float]:
    """tr(H_p⁻¹ J)/N, tr(H H_p⁻¹ J H_p⁻¹)/2N and tr(H_p⁻¹ H), with H_p = H + Λ/N."""
    if not basis.size:
        return 0.0, 0.0, 0.0
    n, none = statistics.n_frames, np.zeros((len(basis.matrix), len(basis.matrix)))
    found = calibrate(
        statistics, beta=model.beta, coefficient_jacobian=basis.matrix, curvature=curvature,
        prior_precision=basis.prior_precision, prior_score_covariance=np.zeros_like(curvature), feature_error=none,
    )  # fmt: skip
    penalised = curvature + basis.prior_precision / n
    gap = np.trace(np.linalg.solve(penalised, found.data_covariance)) / n
    variance = 0.5 * np.trace(curvature @ found.covariance)
    return float(gap), float(variance), float(np.trace(np.linalg.solve(penalised, curvature)))
