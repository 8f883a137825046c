"""Fresh simulations at posterior draws: the one check that sees regions no reference has visited."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayescg.inference._calibrate import symmetric_root
from bayescg.physics import Reference, ReferenceBank

FLOOR_LIMIT = 0.5
"""Largest noise of a fresh simulation, in calibrated sd per direction, at which the check tells anything."""
EXPECTED_LIMIT = 0.75
"""Likewise with the surrogate's own noise included."""


class Verification(NamedTuple):
    """One round of fresh simulations against the surrogate's predictions.

    Attributes:
        rms_error: per draw, displacement of the posterior mean that the surrogate's error in ⟨φ⟩ at the draw would
            cause, in calibrated standard deviations, root mean square over directions [draw].
        noise_floor: its expectation from the noise of the fresh simulation alone [draw].
        expected_error: its expectation from that and the surrogate's own noise, which the calibrated covariance
            already carries [draw].
        effective_frames: reweighting's effective number of frames at the draws [draw].
        verdict: `passed`, `failed`, or `not tested` (too little simulation to tell).
    """

    rms_error: np.ndarray
    noise_floor: np.ndarray
    expected_error: np.ndarray
    effective_frames: np.ndarray
    verdict: str

    def limits(self) -> tuple[float, float]:
        """Largest median and largest maximum of the error that pass."""
        return thresholds(self.expected_error)


def thresholds(expected_error: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    """Limits on the median and the maximum of the error over draws."""
    return max(0.3, 1.3 * float(np.median(expected_error))), max(0.7, 2.0 * float(np.max(expected_error)))


def verify(
    bank: ReferenceBank,
    fresh: list[Reference],
    jacobians: list[Float[np.ndarray, "feature coordinate"]],
    *,
    n_frames: int,
    laplace_covariance: Float[np.ndarray, "coordinate coordinate"],
    calibrated_covariance: Float[np.ndarray, "coordinate coordinate"],
) -> Verification:
    """Compare ⟨φ⟩ of fresh simulations with the surrogate's from the bank *before* they join it.

    An error δ of ⟨φ⟩ shifts the score by N β ∂η/∂zᵀ δ and the posterior mean by C times that, C the raw (Laplace)
    covariance; it is measured in units of the calibrated covariance V. For V = C this is Lᵀ N δ with L Lᵀ = C.

    Args:
        bank: the references so far.
        fresh: simulations at posterior draws.
        jacobians: ∂η/∂z at each draw.
        n_frames: N of the data.
        laplace_covariance: C.
        calibrated_covariance: V.
    """
    errors, floors, expected, effective = [], [], [], []
    for reference, jacobian in zip(fresh, jacobians, strict=True):
        to_shift = shift_matrix(
            n_frames=n_frames,
            beta=bank.beta,
            laplace_covariance=laplace_covariance,
            calibrated_covariance=calibrated_covariance,
            coefficient_jacobian=jacobian,
        )
        weights = bank.weights(reference.coefficients)
        effective.append(1.0 / np.sum(weights**2))
        simulated = reference.features.reshape(reference.n_frames, -1)
        difference = simulated.mean(axis=0) - weights @ bank.features
        directions = len(to_shift)
        errors.append(np.linalg.norm(to_shift @ difference) / np.sqrt(directions))
        fresh_noise = noise_floor(reference, to_shift) ** 2
        own_noise = (
            np.trace(bank.feature_covariance_error(reference.coefficients, projection=to_shift)) / directions
        )
        floors.append(np.sqrt(fresh_noise))
        expected.append(np.sqrt(fresh_noise + own_noise))
    return _verdict(*(np.asarray(x) for x in (errors, floors, expected, effective)))


def shift_matrix(
    *,
    n_frames: int,
    beta: float,
    laplace_covariance: Float[np.ndarray, "coordinate coordinate"],
    calibrated_covariance: Float[np.ndarray, "coordinate coordinate"],
    coefficient_jacobian: Float[np.ndarray, "feature coordinate"],
) -> Float[np.ndarray, "direction feature"]:
    """V^(−1/2) C N β ∂η/∂zᵀ: from an error of ⟨φ⟩ to the shift of the posterior mean in calibrated sd."""
    whiten = np.linalg.pinv(symmetric_root(calibrated_covariance), rcond=1e-10, hermitian=True)
    return n_frames * beta * whiten @ laplace_covariance @ coefficient_jacobian.T


def mean_covariance(
    series: Float[np.ndarray, "replica sample direction"],
) -> Float[np.ndarray, "direction direction"]:
    """Covariance of the mean over replicas and samples, by overlapping batches within replicas."""
    n_replicas, n_samples, p = series.shape
    batch = max(1, n_samples // 10)
    centred = series - series.reshape(-1, p).mean(axis=0)
    sums = np.concatenate([np.zeros((n_replicas, 1, p)), np.cumsum(centred, axis=1)], axis=1)
    means = ((sums[:, batch:] - sums[:, :-batch]) / batch).reshape(-1, p)
    total = n_replicas * n_samples
    # The batches share the estimated mean: total / batch − 1 of them are left.
    return means.T @ means / len(means) / max(total / batch - 1.0, 1.0)


def noise_floor(reference: Reference, to_shift: Float[np.ndarray, "direction feature"]) -> float:
    """Noise of one fresh simulation's mean, in calibrated sd per direction."""
    return float(np.sqrt(np.trace(mean_covariance(reference.features @ to_shift.T)) / len(to_shift)))


def _verdict(
    errors: np.ndarray, floors: np.ndarray, expected: np.ndarray, effective: np.ndarray
) -> Verification:
    median_limit, maximum_limit = thresholds(expected)
    if np.median(errors) > median_limit or np.max(errors) > maximum_limit:
        verdict = "failed"
    elif np.any(floors > FLOOR_LIMIT) or np.any(expected > EXPECTED_LIMIT):
        verdict = "not tested"
    else:
        verdict = "passed"
    return Verification(errors, floors, expected, effective, verdict)
