"""Calibration: posterior draws with the spread that correlated data, misfit and finite simulation deserve."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayescg.data import LongRunCovariance, long_run_covariance
from bayescg.errors import InputError
from bayescg.physics import SufficientStatistics


class Calibration(NamedTuple):
    """The calibrated covariance and what it is made of, all in the unconstrained coordinates.

    V = H_p⁻¹ (N J + N² C_sim + Λ̄) H_p⁻¹ with H_p = N H + Λ.

    Attributes:
        covariance: V [coordinate coordinate].
        degrees_of_freedom: ν of the t-inflation that the estimated J calls for.
        curvature: H, curvature of the log likelihood per frame [coordinate coordinate].
        data_covariance: J, long-run covariance of the score per frame [coordinate coordinate].
        simulation_covariance: N² C_sim, covariance of the score from finite simulation [coordinate coordinate].
        prior_precision: Λ, minus the Hessian of the log prior [coordinate coordinate].
        prior_score_covariance: Λ̄, E[s sᵀ] of the prior's score [coordinate coordinate].
        long_run: details of the estimate of J.
        fallback: whether too few batches forced J = g_max Cov, the single frames' covariance (misfit included) times
            the largest statistical inefficiency.
    """

    covariance: np.ndarray
    degrees_of_freedom: float
    curvature: np.ndarray
    data_covariance: np.ndarray
    simulation_covariance: np.ndarray
    prior_precision: np.ndarray
    prior_score_covariance: np.ndarray
    long_run: LongRunCovariance
    fallback: bool


def calibrate(
    statistics: SufficientStatistics,
    *,
    beta: float,
    coefficient_jacobian: Float[np.ndarray, "feature coordinate"],
    curvature: Float[np.ndarray, "coordinate coordinate"],
    prior_precision: Float[np.ndarray, "coordinate coordinate"],
    prior_score_covariance: Float[np.ndarray, "coordinate coordinate"],
    feature_error: Float[np.ndarray, "feature feature"],
) -> Calibration:
    """The sandwich covariance at the MAP, for autocorrelated frames, misfit, finite simulation and prior at once.

    Coverage of the resulting intervals is averaged over the prior: in a direction that the prior dominates, a truth
    two prior standard deviations away is not covered at the nominal rate.

    Args:
        statistics: the data's features.
        beta: 1/kT [1/energy].
        coefficient_jacobian: ∂η/∂z at the MAP.
        curvature: H, per frame.
        prior_precision: Λ.
        prior_score_covariance: Λ̄.
        feature_error: Monte-Carlo covariance of the simulated ⟨φ⟩ at the MAP.

    Raises:
        InputError: N H + Λ is not positive definite.

    References:
        Huber (1967), the sandwich; Vats & Flegal (2022), doi:10.1093/biomet/asab049, the lugsail estimate of J.
    """
    n = statistics.n_frames
    scores = -beta * (statistics.features - statistics.features.mean(axis=0)) @ coefficient_jacobian
    informed = np.diag(curvature) > 1e-12 * np.abs(np.diag(curvature)).max()
    inner = np.ix_(informed, informed)
    long_run = long_run_covariance(
        scores[:, informed], lengths=statistics.trajectory_lengths(), curvature=curvature[inner]
    )
    fallback = long_run.n_batches < 3 * informed.sum()
    data = np.zeros_like(curvature)
    if fallback:
        data[inner] = float(np.max(long_run.inefficiency)) * long_run.sample_covariance
    else:
        data[inner] = long_run.covariance
    total = n * curvature + prior_precision
    if np.linalg.eigvalsh((total + total.T) / 2.0)[0] <= 0.0:
        raise InputError(
            "calibration: the log posterior has no maximum at the MAP in some direction; hold it by a proper prior"
        )
    simulation = (n * beta) ** 2 * coefficient_jacobian.T @ feature_error @ coefficient_jacobian
    inverse = np.linalg.inv(total)
    covariance = inverse @ (n * data + simulation + prior_score_covariance) @ inverse
    return Calibration(
        covariance=(covariance + covariance.T) / 2.0,
        degrees_of_freedom=max(3.0, 1.5 * (long_run.n_batches - 1.0)),
        curvature=curvature,
        data_covariance=data,
        simulation_covariance=simulation,
        prior_precision=prior_precision,
        prior_score_covariance=prior_score_covariance,
        long_run=long_run,
        fallback=fallback,
    )


def symmetric_root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric positive square root."""
    eigenvalues, vectors = np.linalg.eigh((matrix + matrix.T) / 2.0)
    return (vectors * np.sqrt(np.maximum(eigenvalues, 0.0))) @ vectors.T


def calibrated_draws(
    z: Float[np.ndarray, "*batch coordinate"],
    centre: Float[np.ndarray, " coordinate"],
    calibration: Calibration,
    *,
    rng: np.random.Generator,
) -> Float[np.ndarray, "*batch coordinate"]:
    """Raw draws mapped affinely about the MAP to the calibrated covariance.

    The map is the symmetric root in coordinates where the curvature N H + Λ is the identity (a Cholesky factor would
    make non-Gaussian shapes depend on the order of the parameters). Each draw is stretched by √(ν/χ²_ν), which gives
    the tails of a multivariate t.
    """
    return spread_draws(
        z,
        centre,
        calibration.covariance,
        precision=calibration.curvature * calibration.long_run.n_frames + calibration.prior_precision,
        degrees_of_freedom=calibration.degrees_of_freedom,
        rng=rng,
    )


def spread_draws(
    z: Float[np.ndarray, "*batch coordinate"],
    centre: Float[np.ndarray, " coordinate"],
    covariance: Float[np.ndarray, "coordinate coordinate"],
    *,
    precision: Float[np.ndarray, "coordinate coordinate"],
    degrees_of_freedom: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "*batch coordinate"]:
    """Draws mapped affinely about their own mean to a covariance, with the tails of a multivariate t.

    Args:
        z: draws.
        centre: about which they lie.
        covariance: V that they get, before the t-inflation.
        precision: curvature of the log posterior, in whose units the symmetric root is taken.
        degrees_of_freedom: ν.
        rng: of the t-inflation.
    """
    whiten = np.linalg.cholesky((precision + precision.T) / 2.0).T
    flat = (z.reshape(-1, z.shape[-1]) - centre) @ whiten.T
    raw = np.atleast_2d(np.cov(flat, rowvar=False))
    shift = flat.mean(axis=0)
    target = symmetric_root(whiten @ covariance @ whiten.T)
    affine = target @ np.linalg.inv(symmetric_root(raw))
    nu = degrees_of_freedom
    stretch = np.sqrt(nu / rng.chisquare(nu, size=len(flat)))[:, None]
    mapped = shift + ((flat - shift) @ affine.T) * stretch
    return (centre + mapped @ np.linalg.inv(whiten).T).reshape(z.shape)
