"""Fresh simulations at posterior draws: the one check that sees regions no reference has visited."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import chdtri

from bayescg.inference._calibrate import symmetric_root
from bayescg.physics import Reference, ReferenceBank

FLOOR_LIMIT = 0.5
"""Largest noise of a fresh simulation, in calibrated sd per direction, at which the check tells anything."""
FALSE_ALARM = 0.01
"""Chance that noise alone takes any draw of a round over its limit, where there are few directions."""

MOVEMENT_LIMIT = 0.1
"""Largest shift of the posterior mean after a passed round beyond its noise floor, in calibrated sd per direction."""
WIDTH_LIMIT = 0.05
"""Largest change of the logarithm of its width beyond three Monte-Carlo standard errors."""


class Verification(NamedTuple):
    """One round of fresh simulations against the surrogate's predictions.

    Attributes:
        rms_error: per draw, displacement of the posterior mean that the surrogate's error in ⟨φ⟩ at the draw would
            cause, in calibrated standard deviations, root mean square over directions [draw].
        noise_floor: its expectation from the noise of the fresh simulation alone [draw].
        expected_error: its expectation from that and the surrogate's own noise; for information, no limit hangs on
            it [draw].
        limit: largest error that passes at each draw [draw].
        effective_frames: reweighting's effective number of frames at the draws [draw].
        verdict: `passed`, `failed`, or `not tested` (too little simulation to tell).
        shift: how far the posterior mean moved when the fresh simulations had joined the bank, in calibrated sd per
            direction.
        width_ratio: by which factor the posterior's width changed then.
        width_error: Monte-Carlo standard error of its logarithm.
    """

    rms_error: np.ndarray
    noise_floor: np.ndarray
    expected_error: np.ndarray
    limit: np.ndarray
    effective_frames: np.ndarray
    verdict: str
    shift: float = np.nan
    width_ratio: float = np.nan
    width_error: float = np.nan

    @property
    def median_limit(self) -> float:
        """Largest median of the error over draws that passes."""
        return max(0.3, 1.3 * float(np.median(self.noise_floor)))

    def followed_by(self, shift: float, width_ratio: float, width_error: float) -> "Verification":
        """The same round, knowing how the posterior moved after it: a pass holds only if it hardly did."""
        moved = (
            shift > MOVEMENT_LIMIT + float(np.median(self.noise_floor))
            or abs(np.log(width_ratio)) > WIDTH_LIMIT + 3.0 * width_error
        )
        verdict = "failed" if moved and self.verdict == "passed" else self.verdict
        return self._replace(shift=shift, width_ratio=width_ratio, width_error=width_error, verdict=verdict)


def draw_limit(noise_floor: float, directions: float, *, n_draws: int) -> float:
    """Largest error at one draw that passes: 0.7, or twice its noise floor, or more where few directions share it.

    The mean square of f-sized noise over p directions is f² χ²_p / p, whose tail is long for small p.

    Args:
        noise_floor: f, of this draw's simulation: a noisy draw must not raise the limit of the others.
        directions: p, the number of directions that share the noise.
        n_draws: draws of the round.
    """
    tail = float(chdtri(directions, FALSE_ALARM / n_draws))
    return max(0.7, max(2.0, np.sqrt(tail / directions)) * noise_floor)


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
    errors, floors, expected, limits, effective = [], [], [], [], []
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
        noise = mean_covariance(reference.features @ to_shift.T)
        own_noise = bank.feature_covariance_error(reference.coefficients, projection=to_shift)
        floors.append(np.sqrt(np.trace(noise) / directions))
        expected.append(np.sqrt(np.trace(noise + own_noise) / directions))
        sharing = np.trace(noise) ** 2 / max(np.sum(noise**2), 1e-300)
        limits.append(draw_limit(floors[-1], max(sharing, 1.0), n_draws=len(fresh)))
    return _verdict(*(np.asarray(x) for x in (errors, floors, expected, limits, effective)))


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


def movement(
    before: Float[np.ndarray, "chain draw coordinate"],
    after: Float[np.ndarray, "chain draw coordinate"],
    covariance: Float[np.ndarray, "coordinate coordinate"],
) -> tuple[float, float, float]:
    """How far the posterior moved when fresh simulations joined the surrogate.

    Args:
        before, after: draws from the two posteriors.
        covariance: V, in whose units movement is measured.

    Returns:
        Shift of the mean, in sd per direction (root mean square), the ratio of the root mean square widths, and the
        Monte-Carlo standard error of the ratio's logarithm.
    """
    whiten = np.linalg.pinv(symmetric_root(covariance), rcond=1e-10, hermitian=True)
    means, widths, errors = [], [], []
    for draws in (before, after):
        white = draws @ whiten
        means.append(white.mean(axis=(0, 1)))
        squares = np.sum((white - means[-1]) ** 2, axis=-1)
        widths.append(np.sqrt(squares.mean()))
        errors.append(0.5 * squares.std() / squares.mean() / np.sqrt(_effective_size(squares)))
    shift = np.linalg.norm(means[1] - means[0]) / np.sqrt(len(covariance))
    return float(shift), float(widths[1] / widths[0]), float(np.hypot(*errors))


def _effective_size(values: Float[np.ndarray, "chain draw"]) -> float:
    from arviz_stats.base import array_stats

    ess = float(array_stats.ess(values, chain_axis=0, draw_axis=1, method="mean"))
    return ess if np.isfinite(ess) and ess > 1.0 else 1.0


def _verdict(
    errors: np.ndarray, floors: np.ndarray, expected: np.ndarray, limits: np.ndarray, effective: np.ndarray
) -> Verification:
    check = Verification(errors, floors, expected, limits, effective, "passed")
    if np.median(errors) > check.median_limit or np.any(errors > limits):
        return check._replace(verdict="failed")
    if np.any(floors > FLOOR_LIMIT):
        return check._replace(verdict="not tested")
    return check
