"""Calibration where the data are: synthetic frames from the references, inferred together with the data."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int, Key

from bayescg.analysis._importance_posteriors import ImportancePosteriors, importance_posteriors
from bayescg.analysis._sbc import check_ranks, rank_of_truth
from bayescg.data import statistical_inefficiency
from bayescg.errors import InputError
from bayescg.inference import (
    Calibration,
    Posterior,
    RelativeEntropy,
    calibrate,
    calibrated_draws,
    relative_entropy,
)
from bayescg.inference._calibrate import symmetric_root
from bayescg.physics import ReferenceBank, SufficientStatistics

POSTERIORS = ("calibrated", "raw")
"""Each replicate is inferred both ways: as the package does, and as if frames were independent."""
LEAST_EFFECTIVE_FRAMES = 50.0


class FittedRun(NamedTuple):
    """What a posterior calibration needs of an inference.

    Attributes:
        statistics: the data.
        posterior: prior and likelihood.
        bank: reference simulations.
        mode: MAP [coordinate].
        calibrated: draws of the calibrated posterior [draw coordinate].

    Example:
        >>> FittedRun._fields
        ('statistics', 'posterior', 'bank', 'mode', 'calibrated')
    """

    statistics: SufficientStatistics
    posterior: Posterior
    bank: ReferenceBank
    mode: np.ndarray
    calibrated: np.ndarray


class _Fixed(NamedTuple):
    """What all replicates share, evaluated at the MAP.

    Attributes:
        prior_score_covariance: Λ̄ [coordinate coordinate].
        feature_error: Monte-Carlo covariance of ⟨φ⟩ [feature feature].
        regression: best guess of the bank's error of ⟨φ⟩, given where the truth lies [feature coordinate].
        rest: root of the covariance that is left of it [feature feature].
        inefficiency: g of the synthetic frames.
        n_synthetic: their number.
    """

    prior_score_covariance: np.ndarray
    feature_error: np.ndarray
    regression: np.ndarray
    rest: np.ndarray
    inefficiency: float
    n_synthetic: int


def posterior_calibration(
    run: FittedRun,
    *,
    key: Key[Array, ""],
    n_replicates: int = 200,
    n_ranks: int = 50,
    n_proposals: int = 500,
    n_draws: int = 400,
    inefficiency: float | None = None,
    names: Sequence[str] | None = None,
    batch: int = 20,
    on_batch: Callable[[int], None] = lambda done: None,
) -> xr.Dataset:
    """Simulation-based calibration conditional on the data, from the references alone: no new simulation.

    For every replicate a truth θ* is drawn from the calibrated posterior, and as much synthetic data as there are data
    is made at it: frames of the bank by their weights at θ*, each held for a random time so that the frames are as
    correlated as the data's. Data and synthetic data together are inferred as the package infers (MAP, importance
    sampling about it, long-run covariance, calibrated draws), and θ* is ranked among the draws. Its ranks are uniform
    where truths and inference are of one kind, since conditional on all frames θ* is a draw of their posterior.

    In the world of the bank, log Z is the bank's own and has no error. The truth is therefore given averages that
    differ from the bank's by a draw δ of its Monte-Carlo error, correlated with θ* as that error moved the posterior.

    It sees the width and shape of the posterior where the data are, the sampler, the linear map, the estimate of the
    correlation. It does not see what the truths share with the inference: regions that no reference visited (fresh
    simulations see those), a wrong form of the potential, an error in the correlation estimated from the data.

    Args:
        run: data, bank, posterior.
        key: of all random numbers.
        n_replicates: how often.
        n_ranks: how many values a rank can have.
        n_proposals: of the importance sampling of each replicate's posterior.
        n_draws: resampled from them.
        inefficiency: g of the synthetic frames; by default the data's, averaged over the features; 1 makes independent
            frames, N / g of them.
        names: of the coordinates; the prior's by default.
        batch: replicates between two reports.
        on_batch: hears how many replicates are done.

    Returns:
        As `check_ranks`, along a dimension `posterior` of "calibrated" (what the package reports) and "raw" (frames
        taken as independent, which is too narrow where they are not), with the true values `truth` and `khat`.

    Raises:
        InputError: fewer than 20 frames, or no replicate could be inferred.

    References:
        Säilynoja, Schmitt, Bürkner & Vehtari (2025), arXiv:2502.03279, section 3.

    Example:
        >>> posterior_calibration(FittedRun(*5 * [None]), key=jax.random.key(0), inefficiency=0.5)
        Traceback (most recent call last):
        ...
        bayescg.errors.InputError: calibration check: inefficiency 0.5; expected at least 1
    """
    if inefficiency is not None and not inefficiency >= 1.0:
        raise InputError(f"calibration check: inefficiency {inefficiency}; expected at least 1")
    names = [str(c) for c in run.posterior.prior.coordinates] if names is None else list(names)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.fold_in(key, 1))))
    fixed = _fixed(run, inefficiency, jax.random.fold_in(key, 2))
    surrogate = run.bank.surrogate()
    at_mode = float(run.posterior.effective_frames(jnp.asarray(run.mode), _likelihood(run, surrogate)))
    least = min(LEAST_EFFECTIVE_FRAMES, 0.5 * at_mode)
    flat = run.calibrated.reshape(-1, run.calibrated.shape[-1])
    truths = flat[rng.choice(len(flat), n_replicates, replace=n_replicates > len(flat))]
    ranks: dict[str, list[np.ndarray]] = {name: [] for name in POSTERIORS}
    khat = []
    for first in range(0, n_replicates, batch):
        some = truths[first : first + batch]
        together = [_augmented(run, fixed, truth, rng) for truth in some]
        means = np.stack([statistics.features.mean(axis=0) for statistics in together])
        counts = np.full(len(some), float(together[0].n_frames))
        found = importance_posteriors(
            run.posterior,
            RelativeEntropy(jnp.asarray(means), jnp.asarray(counts), None),  # type: ignore[arg-type]
            RelativeEntropy(None, None, surrogate),  # type: ignore[arg-type]
            start=np.tile(run.mode, (len(some), 1)),
            key=jax.random.fold_in(jax.random.fold_in(key, 3), first),
            n_proposals=n_proposals,
            n_draws=n_draws,
            least_effective_frames=least,
        )
        widened = np.stack(
            [_calibrated(run, fixed, statistics, found, i, rng) for i, statistics in enumerate(together)]
        )
        for name, draws in zip(POSTERIORS, (widened, found.draws), strict=True):
            ranks[name].append(rank_of_truth(some, draws[:, None], n_ranks=n_ranks, rng=rng))
        khat.append(found.khat)
        on_batch(first + len(some))
    checks = [check_ranks(np.concatenate(ranks[name]), n_ranks=n_ranks, names=names) for name in POSTERIORS]
    check = xr.concat(checks, xr.Variable("posterior", list(POSTERIORS)), combine_attrs="override")
    return check.assign(
        truth=(("replicate", "parameter"), truths),
        khat=("replicate", np.concatenate(khat), {"long_name": "Pareto k-hat of each replicate's weights"}),
    ).assign_attrs(inefficiency=fixed.inefficiency, n_synthetic=fixed.n_synthetic)


def _likelihood(run: FittedRun, surrogate) -> RelativeEntropy:
    return relative_entropy(run.statistics, surrogate)


def _fixed(run: FittedRun, inefficiency: float | None, key: Key[Array, ""]) -> _Fixed:
    z, n, beta = jnp.asarray(run.mode), run.statistics.n_frames, run.bank.beta
    likelihood = _likelihood(run, run.bank.surrogate())
    error = run.bank.feature_covariance_error(np.asarray(run.posterior.coefficients(z)))
    average = np.asarray(run.posterior.prior.score_covariance(z, key=key))
    curvature = -np.asarray(run.posterior.hessian(z, likelihood))
    calibration = _calibration(run, run.statistics, run.mode, curvature, average, error)
    varying = run.statistics.features[:, run.statistics.features.std(axis=0) > 0.0]
    g = float(np.mean(statistical_inefficiency(varying, lengths=run.statistics.trajectory_lengths())))
    own = g if inefficiency is None else inefficiency
    # How the bank's error moved the posterior, θ* − MAP = (N H + Λ)⁻¹ N β (∂η/∂z)ᵀ δ, read backwards.
    jacobian = np.asarray(run.posterior.coefficient_jacobian(z))
    response = n * beta * np.linalg.solve(curvature, jacobian.T)
    regression = np.linalg.solve(calibration.covariance, response @ error).T
    rest = symmetric_root(error - regression @ response @ error)
    return _Fixed(average, error, regression, rest, own, max(20, round(n / g * own)))


def _calibration(
    run: FittedRun,
    statistics: SufficientStatistics,
    mode: Float[np.ndarray, " coordinate"],
    precision: Float[np.ndarray, "coordinate coordinate"],
    prior_score_covariance: Float[np.ndarray, "coordinate coordinate"],
    feature_error: Float[np.ndarray, "feature feature"],
) -> Calibration:
    """The calibrated covariance at a MAP whose total curvature is known."""
    z = jnp.asarray(mode)
    prior_precision = -np.asarray(run.posterior.prior_hessian(z))
    return calibrate(
        statistics,
        beta=run.bank.beta,
        coefficient_jacobian=np.asarray(run.posterior.coefficient_jacobian(z)),
        curvature=(precision - prior_precision) / statistics.n_frames,
        prior_precision=prior_precision,
        prior_score_covariance=prior_score_covariance,
        feature_error=feature_error,
    )


def _augmented(
    run: FittedRun, fixed: _Fixed, truth: Float[np.ndarray, " coordinate"], rng: np.random.Generator
) -> SufficientStatistics:
    """The data and, as one more trajectory, synthetic data at the truth."""
    eta = np.asarray(run.posterior.coefficients(jnp.asarray(truth)))
    frames = synthetic_frames(
        run.bank.weights(eta), fixed.n_synthetic, inefficiency=fixed.inefficiency, rng=rng
    )
    flat = run.calibrated.reshape(-1, run.calibrated.shape[-1])
    shift = fixed.regression @ (truth - flat.mean(axis=0))
    shift = shift + fixed.rest @ rng.normal(size=len(shift))
    own = run.statistics
    features = np.concatenate([own.features, run.bank.features[frames] + shift])
    trajectory = np.concatenate([own.trajectory, np.full(len(frames), own.trajectory.max() + 1)])
    return SufficientStatistics(features, features[:, :0], features[:, :0], trajectory)


def synthetic_frames(
    weights: Float[np.ndarray, " frame"], n: int, *, inefficiency: float, rng: np.random.Generator
) -> Int[np.ndarray, " synthetic"]:
    """A sequence of frames drawn by their weights, correlated to a given statistical inefficiency.

    Each step keeps its frame with probability ρ = (g − 1)/(g + 1) and draws a new one otherwise: every frame is
    distributed by the weights, every statistic has the autocorrelation ρᵗ, and g = (1 + ρ)/(1 − ρ).

    Args:
        weights: normalised.
        n: length.
        inefficiency: g.
        rng: random numbers.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> frames = synthetic_frames(np.array([0.25, 0.75]), 20_000, inefficiency=5.0, rng=rng)
        >>> round(float(frames.mean()), 1), round(float(np.mean(np.diff(frames) == 0)), 2)  # ρ + 5 (1 − ρ) / 8
        (0.8, 0.88)
    """
    keep = (inefficiency - 1.0) / (inefficiency + 1.0)
    renewed = rng.uniform(size=n) >= keep
    renewed[0] = True
    cumulative = np.cumsum(weights)
    drawn = np.searchsorted(cumulative, rng.uniform(size=int(renewed.sum())) * cumulative[-1], side="right")
    return np.minimum(drawn, len(weights) - 1)[np.cumsum(renewed) - 1]


def _calibrated(
    run: FittedRun,
    fixed: _Fixed,
    statistics: SufficientStatistics,
    found: ImportancePosteriors,
    replicate: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "draw coordinate"]:
    """The replicate's calibrated draws; not numbers where it has no MAP."""
    mode, draws = found.mode[replicate], found.draws[replicate]
    if not (np.isfinite(mode).all() and np.isfinite(draws).all()):
        return np.full_like(draws, np.nan)
    calibration = _calibration(
        run, statistics, mode, found.precision[replicate], fixed.prior_score_covariance, fixed.feature_error
    )
    return calibrated_draws(draws, mode, calibration, rng=rng)
