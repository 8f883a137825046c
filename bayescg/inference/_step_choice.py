"""The bias law of stochastic-gradient samplers, and the step that keeps it within a tolerance.

In coordinates where the posterior is a standard normal, one update is

    v ← (1 − α) v + (a/2) ĝ + injected noise,    w ← w + v,

with ĝ = −w + gradient noise of long-run covariance S per update. α = 1 is SGLD, α < 1 SGHMC. Plain injection has
covariance αa, the corrected one αa I − (a²/4) S. The stationary variance along an eigendirection of S is then

    (1 + a s / (4α)) / (1 − a / (4(2 − α)))  plain,    1 / (1 − a / (4(2 − α)))  corrected,

and the integrated autocorrelation time is 4α/a − α/(2 − α) updates.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayescg.errors import InputError

MOST_SUBTRACTED = 0.8
"""Largest share of the injected noise that is replaced by the gradient's own when the step is chosen."""
LARGEST_STEP = 1.0
"""The largest step that is ever chosen."""


class GradientNoise(NamedTuple):
    """Covariance of the gradient's noise per update, in coordinates where the posterior covariance is the identity.

    Attributes:
        replicas: of the replicas' part, long-run, with their memory in it [coordinate coordinate].
        replicas_single: of the replicas' part in one update by itself [coordinate coordinate].
        minibatch: of the minibatch's part, new in every update [coordinate coordinate].

    Example:
        >>> noise = GradientNoise(5.0 * np.eye(2), np.eye(2), 2.0 * np.eye(2))
        >>> noise.long_run.tolist(), noise.inefficiency().tolist()
        ([[7.0, 0.0], [0.0, 7.0]], [5.0, 5.0])
    """

    replicas: np.ndarray
    replicas_single: np.ndarray
    minibatch: np.ndarray

    @property
    def long_run(self) -> Float[np.ndarray, "coordinate coordinate"]:
        """S, both parts together."""
        return self.replicas + self.minibatch

    def directions(self) -> tuple[Float[np.ndarray, " direction"], Float[np.ndarray, "coordinate direction"]]:
        """Eigenvalues s of S, ascending, and their directions."""
        values, vectors = np.linalg.eigh((self.long_run + self.long_run.T) / 2.0)
        return np.maximum(values, 0.0), vectors

    def share_of_minibatch(self) -> Float[np.ndarray, " direction"]:
        """The part of s that the minibatch makes."""
        _, vectors = self.directions()
        return np.maximum(np.einsum("ij,ik,kj->j", vectors, self.minibatch, vectors), 0.0)

    def inefficiency(self) -> Float[np.ndarray, " direction"]:
        """g, how many updates one independent replica average is worth, along each direction of S; at least 1."""
        _, vectors = self.directions()
        long, single = (
            np.einsum("ij,ik,kj->j", vectors, part, vectors) for part in (self.replicas, self.replicas_single)
        )
        return np.maximum(long / np.where(single > 0.0, single, np.inf), 1.0)


def white_noise(covariance: Float[np.ndarray, "coordinate coordinate"]) -> GradientNoise:
    """Noise without memory, as of minibatches alone.

    Args:
        covariance: S in whitened coordinates.

    Example:
        >>> white_noise(3.0 * np.eye(1)).inefficiency().tolist()
        [1.0]
    """
    covariance = np.asarray(covariance, float)
    nothing = np.zeros_like(covariance)
    return GradientNoise(nothing, nothing, covariance)


class StepChoice(NamedTuple):
    """A step and what it is predicted to do.

    Attributes:
        step: a.
        decay: α; 1 for SGLD.
        corrected: whether the gradient's own noise is subtracted from the injected one.
        variance_ratio: sampled over true variance, by the law for white noise [direction].
        variance_ratio_with_memory: the same for replicas that forget, and follow the parameters, exponentially.
        predicted_bias: the largest distance of any of these ratios from 1.
        tolerance: the bias that was allowed.
        autocorrelation_time: integrated, in updates.
        flag: why the prediction should not be trusted, or the noise not be subtracted; empty where all is well.
        lag: how far the replicas stay behind the parameters: the largest covariance of w with w − m, m being the w that
            the replicas' mean belongs to. About a (g − 1)/4 for SGLD. A normal posterior keeps its mean all the same;
            where replicas relax at a rate that changes with w, by its own size within one standard deviation, the mean
            shifts by so many standard deviations.

    Example:
        >>> noise = white_noise(np.diag([1.0, 5.0]))
        >>> choice = choose_step(noise, tolerance=0.05)
        >>> round(choice.step, 3), choice.flag, bool(choice.predicted_bias <= 0.05)
        (0.19, '', True)
    """

    step: float
    decay: float
    corrected: bool
    variance_ratio: np.ndarray
    variance_ratio_with_memory: np.ndarray
    predicted_bias: float
    tolerance: float
    autocorrelation_time: float
    flag: str
    lag: float = 0.0

    @property
    def width_bias(self) -> float:
        """Largest predicted error of a standard deviation, in units of the true one."""
        ratios = np.concatenate([self.variance_ratio, self.variance_ratio_with_memory])
        return float(np.max(np.abs(np.sqrt(ratios) - 1.0)))

    @property
    def width_tolerance(self) -> float:
        """The tolerance on the variance as one on standard deviations: an error of 1 − √(1 − tolerance) of them."""
        return float(1.0 - np.sqrt(max(1.0 - self.tolerance, 0.0)))

    def summary(self) -> str:
        """One line for a report."""
        how = "subtracted from" if self.corrected else "added to"
        return (
            f"step {self.step:.4g}, gradient noise {how} the injected noise, predicted bias of the variance"
            f" {100 * self.predicted_bias:.1f} % (tolerance {100 * self.tolerance:.1f} %), one effective draw per"
            f" {self.autocorrelation_time:.0f} updates" + (f"; {self.flag}" if self.flag else "")
        )


def variance_ratio(
    step: float, noise: Float[np.ndarray, "..."], *, decay: float = 1.0, corrected: bool = True
) -> Float[np.ndarray, "..."]:
    """Sampled over true variance of a quadratic log density, for gradient noise that is white in updates.

    Where the noise is too large to be subtracted, nothing is injected and all of it counts.

    Args:
        step: a.
        noise: s, eigenvalues of the whitened noise covariance per update.
        decay: α; 1 for SGLD.
        corrected: whether the noise is subtracted.

    Example:
        >>> variance_ratio(0.2, np.array([5.0]), corrected=False).round(6).tolist()
        [1.315789]
        >>> variance_ratio(0.2, np.array([5.0])).round(6).tolist()
        [1.052632]
    """
    own = step * np.asarray(noise, float) / (4.0 * decay)
    total = np.maximum(own, 1.0) if corrected else 1.0 + own
    return total / (1.0 - step / (4.0 * (2.0 - decay)))


def variance_ratio_with_memory(
    step: float,
    noise: Float[np.ndarray, " direction"],
    inefficiency: Float[np.ndarray, " direction"],
    *,
    minibatch: Float[np.ndarray, " direction"] | float = 0.0,
    decay: float = 1.0,
    corrected: bool = True,
) -> Float[np.ndarray, " direction"]:
    """The same for persistent replicas, whose noise and whose response to the parameters have a memory.

    Their mean follows the parameters as m ← ρ m + (1 − ρ) w and their noise as n ← ρ n + …, with ρ = (g − 1)/(g + 1).
    Correlated noise does less harm than white noise of the same S, but replicas that lag behind pull too late, which
    adds about a (g − 1)/4. Infinite where the recursion is unstable.

    Args:
        step: a.
        noise: s, of replicas and minibatch together.
        inefficiency: g of the replicas, in updates.
        minibatch: the part of s that has no memory.
        decay: α.
        corrected: whether the noise is subtracted.

    Example:
        >>> slow = variance_ratio_with_memory(0.2, np.array([5.0]), np.array([5.0]))
        >>> bool(slow[0] > variance_ratio(0.2, 5.0) + 0.1)
        True
    """
    columns = np.broadcast_arrays(*(np.atleast_1d(a) for a in (noise, inefficiency, minibatch)))
    rows = zip(*(column.astype(float) for column in columns), strict=True)
    return np.array([_with_memory(step, s, g, white, decay, corrected)[0] for s, g, white in rows])


def _with_memory(
    step: float, s: float, g: float, white: float, decay: float, corrected: bool
) -> tuple[float, float]:
    """Stationary variance of w, and its covariance with w − m after m has moved, from the Lyapunov equation of (w, v, m, n)."""
    rho, half = (g - 1.0) / (g + 1.0), step / 2.0
    injected = max(decay * step - (half**2 * s if corrected else 0.0), 0.0) + half**2 * white
    m_row = np.array([1.0 - rho, 0.0, rho, 0.0])
    n_row = np.array([0.0, 0.0, 0.0, rho])
    v_row = np.array([0.0, 1.0 - decay, 0.0, 0.0]) - half * m_row + half * n_row
    motion = np.stack([np.array([1.0, 0.0, 0.0, 0.0]) + v_row, v_row, m_row, n_row])
    if np.abs(np.linalg.eigvals(motion)).max() >= 1.0:
        return np.inf, np.inf
    fresh = np.sqrt((1.0 - rho**2) * max(s - white, 0.0) / g)
    kick = np.array([half * fresh, half * fresh, 0.0, fresh])
    noise = np.outer(kick, kick)
    noise[:2, :2] += injected
    covariance = np.linalg.solve(np.eye(16) - np.kron(motion, motion), noise.reshape(-1))
    return float(covariance[0]), float(rho * (covariance[0] - covariance[2]))


def choose_step(
    noise: GradientNoise,
    *,
    tolerance: float = 0.05,
    corrected: bool = True,
    decay: float = 1.0,
    step: float | None = None,
    lag: float = np.inf,
) -> StepChoice:
    """The largest step whose predicted bias of the variance is within a tolerance, or the check of a given one.

    Args:
        noise: of the gradient.
        tolerance: largest distance from 1 of the ratio of sampled to true variance, in any direction of the noise.
        corrected: whether the gradient's noise is subtracted from the injected noise.
        decay: α; 1 for SGLD.
        step: a step to be checked instead of chosen.
        lag: largest lag of the replicas that a chosen step may cause; see `StepChoice`.

    Raises:
        InputError: an impossible number, or a given step that is too large for the tolerance.

    Example:
        >>> noise = white_noise(5.0 * np.eye(1))
        >>> round(choose_step(noise, corrected=False).step, 4)  # 4 · 0.05 / (5 + 1 + 0.05)
        0.0331
    """
    if not tolerance > 0.0:
        raise InputError(f"tolerance is {tolerance}, expected a positive bias of the variance such as 0.05")
    if not 0.0 < decay <= 1.0:
        raise InputError(f"decay is {decay}, expected above 0 and at most 1 (1 is SGLD)")
    if step is not None and not 0.0 < step < 4.0 * (2.0 - decay):
        raise InputError(
            f"step is {step}, expected above 0 and below {4 * (2 - decay):g}, where it is unstable"
        )
    if not np.isfinite(noise.long_run).all():
        raise InputError("the gradient's noise is not finite: check the start and the replicas")
    chosen = _largest_step(noise, tolerance, corrected, decay, lag) if step is None else step
    result = predict_step(chosen, noise, tolerance=tolerance, corrected=corrected, decay=decay)
    if step is not None and result.predicted_bias > tolerance:
        allowed = _largest_step(noise, tolerance, corrected, decay, lag)
        raise InputError(
            f"step {step:g} is too large: it biases the variance by {100 * result.predicted_bias:.0f} %, the tolerance"
            f" is {100 * tolerance:g} %; take at most {allowed:.3g}, more replicas or a larger minibatch"
        )
    return result


def predict_step(
    step: float, noise: GradientNoise, *, tolerance: float, corrected: bool, decay: float
) -> StepChoice:
    """What a step is predicted to do, whether or not that is within the tolerance."""
    s, _ = noise.directions()
    white = variance_ratio(step, s, decay=decay, corrected=corrected)
    rows = zip(s, noise.inefficiency(), noise.share_of_minibatch(), strict=True)
    found = np.array([_with_memory(step, *row, decay, corrected) for row in rows])
    memory = found[:, 0]
    bias = float(np.max(np.abs(np.concatenate([white, memory]) - 1.0)))
    too_noisy = int(np.sum(step * s / (4.0 * decay) >= 1.0))
    flag = ""
    if corrected and too_noisy:
        flag = (
            f"the gradient's noise exceeds what the step can take up in {too_noisy} of {len(s)} directions, where"
            " it can't be subtracted"
        )
    time = 4.0 * decay / step - decay / (2.0 - decay)
    lag = float(np.max(found[:, 1]))
    return StepChoice(step, decay, corrected, white, memory, bias, tolerance, time, flag, lag)


def _largest_step(noise: GradientNoise, tolerance: float, corrected: bool, decay: float, lag: float) -> float:
    """The end of the interval of small steps within the tolerance, by bisection between a good and a bad one."""
    s, _ = noise.directions()
    limit = LARGEST_STEP
    if corrected and s.max(initial=0.0) > 0.0:
        limit = min(limit, 4.0 * MOST_SUBTRACTED * decay / s.max())

    def good(step: float) -> bool:
        found = predict_step(step, noise, tolerance=tolerance, corrected=corrected, decay=decay)
        return found.predicted_bias <= tolerance and found.lag <= lag

    grid = limit * 0.8 ** np.arange(120)[::-1]
    first_bad = next((i for i, step in enumerate(grid) if not good(step)), None)
    if first_bad is None:
        return float(grid[-1])
    if first_bad == 0:
        raise InputError(
            f"no step reaches a tolerance of {tolerance:g} with this gradient noise: use more replicas"
        )
    low, high = float(grid[first_bad - 1]), float(grid[first_bad])
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if good(middle) else (low, middle)
    return low
