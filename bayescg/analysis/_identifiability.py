"""Which combinations of parameters the data determine: Fisher information against the prior."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float

from bayescg.data import statistical_inefficiency
from bayescg.inference import Calibration


class Identifiability(NamedTuple):
    """Directions of parameter space, best constrained first.

    Attributes:
        fisher_eigenvalue: curvature of the log likelihood per frame along the direction, which has unit length in
            the unconstrained coordinates [direction].
        prior_relative: λ = N vᵀHv / (g vᵀΛ̄v), information of the data against the prior's [direction].
        contraction: λ/(1 + λ) [direction].
        directions: v, unit length [direction coordinate].
        independent_frames: N/g, what the correlated frames are worth in this direction [direction].
        fluctuation_ratio: variance of the direction's statistic in the data over that in the model; 1 where the
            model reproduces the data's fluctuations [direction].

    Example:
        >>> strong, weak = 9.0, 0.25
        >>> relative = np.array([strong, weak])
        >>> Identifiability(relative / 500, relative, relative / (1 + relative), np.eye(2), *np.ones((2, 2))
        ...     ).effective_parameters
        1.1
    """

    fisher_eigenvalue: np.ndarray
    prior_relative: np.ndarray
    contraction: np.ndarray
    directions: np.ndarray
    independent_frames: np.ndarray
    fluctuation_ratio: np.ndarray

    @property
    def effective_parameters(self) -> float:
        """Number of parameter combinations that the data decide, Σ λ/(1 + λ)."""
        return float(np.sum(self.contraction))


class FisherSpectrum(NamedTuple):
    """Eigenvalues and eigenvectors of the observed Fisher information per frame, without the prior; largest first.

    Attributes:
        eigenvalue: per frame, or per configuration [direction].
        eigenvector: unit length in the unconstrained coordinates [direction coordinate].

    Example:
        >>> FisherSpectrum(np.array([100.0, 1.0]), np.eye(2)).eigenvector[0].tolist()
        [1.0, 0.0]
    """

    eigenvalue: np.ndarray
    eigenvector: np.ndarray


def fisher_spectrum(
    found: Identifiability, prior_precision: Float[np.ndarray, "coordinate coordinate"]
) -> FisherSpectrum:
    """The observed Fisher information F per frame that a spectrum relative to the prior holds, in its own eigenvectors.

    F is the curvature of the log likelihood at the best fit. Where the form reproduces the data it is that of
    `frame_information`; where it does not, and bends in its parameters, the misfit adds to it. With F v = μ Λ v and
    c = Λv it is F = Σ (vᵀFv) c cᵀ / (vᵀc)². Of logarithms of parameters its eigenvectors are combinations of relative
    errors; where coordinates have different units they mean little, and only those relative to the prior are to be read.

    Args:
        found: the spectrum.
        prior_precision: Λ that it is relative to.

    Example:
        >>> relative, one = np.array([4.0, 1.0]), np.ones(2)
        >>> found = Identifiability(np.array([1.0, 9.0]), relative, relative / (1 + relative), np.eye(2), one, one)
        >>> fisher_spectrum(found, np.diag([0.25, 9.0])).eigenvalue.round(9).tolist()  # of diag(1, 9)
        [9.0, 1.0]
    """
    against = found.directions @ np.asarray(prior_precision)
    along = np.einsum("dc,dc->d", found.directions, against)
    scaled = against / along[:, None]
    values, vectors = np.linalg.eigh(scaled.T @ (found.fisher_eigenvalue[:, None] * scaled))
    return FisherSpectrum(np.maximum(values[::-1], 0.0), vectors.T[::-1])


def identifiability(
    calibration: Calibration,
    scores: np.ndarray,
    *,
    lengths: Sequence[int] | None = None,
    coordinates: np.ndarray | None = None,
    null_tolerance: float = 1e-10,
) -> Identifiability:
    """Generalised eigenvectors of the data's information against the prior's.

    Args:
        calibration: curvature H, long-run covariance J and the prior's Λ̄ at the MAP.
        scores: per-frame scores in the unconstrained coordinates [frame coordinate].
        lengths: frames of each independent trajectory; one trajectory if None.
        coordinates: indices of the coordinates to analyse (hyperparameters left out); default all.
        null_tolerance: directions with less than this share of the largest information count as none at all.

    Example:
        >>> from bayescg.data import long_run_covariance
        >>> curvature = np.diag([4.0, 1e-3])  # of the log likelihood per frame: stiff along the first coordinate
        >>> scores = np.random.default_rng(0).normal(size=(1000, 2)) * np.sqrt(np.diag(curvature))
        >>> long_run = long_run_covariance(scores)
        >>> zero, one = np.zeros((2, 2)), np.eye(2)
        >>> calibration = Calibration(one, 30.0, curvature, curvature, zero, 5 * one, 5 * one, long_run, False)
        >>> found = identifiability(calibration, scores)
        >>> found.prior_relative.round(1).tolist()  # the data decide the first combination, the prior the second
        [800.0, 0.2]
        >>> round(found.effective_parameters, 1)
        1.2
    """
    n = len(scores)
    chosen = np.arange(scores.shape[1]) if coordinates is None else np.asarray(coordinates)
    scores, block = scores[:, chosen], np.ix_(chosen, chosen)
    found = _spectrum(
        n * calibration.curvature[block], calibration.prior_score_covariance[block], null_tolerance
    )
    directions, fisher, against, informed = (
        found.directions,
        found.information / n,
        found.prior,
        found.informed,
    )
    safe = np.where(informed, fisher, 1.0)
    centred = scores - scores.mean(axis=0)
    variance = np.mean((centred @ directions.T) ** 2, axis=0)
    ratio = np.where(informed, variance / safe, np.nan)
    if calibration.fallback:  # J is then one factor for all directions
        g = statistical_inefficiency(centred @ directions.T, lengths=lengths)
    else:
        long_run = np.einsum("di,ij,dj->d", directions, calibration.data_covariance[block], directions)
        g = np.maximum(long_run / np.where(variance > 0, variance, 1.0), 1.0)
    g = np.where(informed, g, np.nan)
    relative = np.where(informed, n * fisher / np.where(informed, g, 1.0) / against, 0.0)
    return Identifiability(
        fisher_eigenvalue=np.where(informed, fisher, 0.0),
        prior_relative=relative,
        contraction=relative / (1.0 + relative),
        directions=directions,
        independent_frames=n / g,
        fluctuation_ratio=ratio,
    )


def label_identifiability(
    curvature: Float[np.ndarray, "coordinate coordinate"],
    prior: Float[np.ndarray, "coordinate coordinate"],
    scores: Float[np.ndarray, "configuration coordinate"],
    *,
    coordinates: np.ndarray | None = None,
    null_tolerance: float = 1e-14,
) -> Identifiability:
    """The same for labelled configurations, which are independent of one another.

    `fluctuation_ratio` is the variance of a configuration's score over the curvature: 1 where noise is as assumed and
    components are independent, larger where forces of one snapshot err together or the form misses them, smaller where
    the labels are better than the noise that was assumed. The information counts configurations: it is divided by that
    ratio where it is above 1.

    Args:
        curvature: minus the Hessian of the log likelihood, all configurations together.
        prior: covariance of the prior's score.
        scores: of every configuration.
        coordinates: indices of the coordinates to analyse; default all.
        null_tolerance: directions with less than this share of the largest information count as none at all.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(400, 2)) * np.array([2.0, 0.02])
        >>> found = label_identifiability(scores.T @ scores, np.eye(2), scores)
        >>> (found.prior_relative > 1.0).tolist()
        [True, False]
    """
    chosen = np.arange(scores.shape[1]) if coordinates is None else np.asarray(coordinates)
    scores, block = scores[:, chosen], np.ix_(chosen, chosen)
    n = len(scores)
    found = _spectrum(curvature[block], prior[block], null_tolerance)
    safe = np.where(found.informed, found.information, 1.0)
    spread = n * np.mean(((scores - scores.mean(axis=0)) @ found.directions.T) ** 2, axis=0)
    ratio = np.where(found.informed, spread / safe, np.nan)
    relative = np.where(found.informed, found.information / np.maximum(ratio, 1.0) / found.prior, 0.0)
    return Identifiability(
        fisher_eigenvalue=np.where(found.informed, found.information / n, 0.0),
        prior_relative=relative,
        contraction=relative / (1.0 + relative),
        directions=found.directions,
        independent_frames=np.where(found.informed, float(n), np.nan),
        fluctuation_ratio=ratio,
    )


class _Spectrum(NamedTuple):
    """Generalised eigenvectors of information against prior, unit length, and both along them."""

    directions: np.ndarray
    information: np.ndarray
    prior: np.ndarray
    informed: np.ndarray


def _spectrum(information: np.ndarray, prior: np.ndarray, null_tolerance: float) -> _Spectrum:
    information = (information + information.T) / 2.0
    prior = (prior + prior.T) / 2.0 + 1e-14 * np.trace(prior) / len(prior) * np.eye(len(prior))
    values, vectors = scipy.linalg.eigh(information, prior)
    order = np.argsort(values)[::-1]
    directions = (vectors[:, order] / np.linalg.norm(vectors[:, order], axis=0)).T
    along = np.einsum("di,ij,dj->d", directions, information, directions)
    against = np.einsum("di,ij,dj->d", directions, prior, directions)
    informed = along > null_tolerance * max(float(np.max(along)), 1e-300)
    return _Spectrum(directions, along, against, informed)
