"""The multistate Bennett acceptance ratio over a pool of reference simulations.

Shirts & Chodera (2008), doi:10.1063/1.2978177. Signs follow the paper: f_k = −log Z_k, anchored at
f_0 = 0, and reduced potentials are u = βU.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from bayescg.errors import ConvergenceError


class MbarSolution(NamedTuple):
    """Free energies of the sampled states.

    Attributes:
        free_energies: f_k relative to the first state [dimensionless].
        log_denominator: log Σ_k M_k exp(f_k − u_k(x_n)) of each frame.
    """

    free_energies: np.ndarray
    log_denominator: np.ndarray


def solve_mbar(
    reduced_energies: np.ndarray,
    n_frames: np.ndarray,
    *,
    start: np.ndarray | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 200,
) -> MbarSolution:
    """Free energies that satisfy MBAR's equations (eq. 11), the minimum of a convex function of them.

    The function is Σ_n log Σ_k M_k exp(f_k − u_k(x_n)) − Σ_k M_k f_k; Newton steps are shortened until it falls, and
    where rounding hides its fall, until the equations' residual does.

    Args:
        reduced_energies: u_k(x_n) of every frame in every state [state frame].
        n_frames: frames drawn from each state, in the order of the frames [state].
        start: initial free energies [state].
        tolerance: largest residual of a free energy at convergence.
        max_iterations: steps before giving up.

    Raises:
        ConvergenceError: when the equations are not solved, or when the states fall into two groups that share
            less than one frame, so that nothing fixes the free energy between the groups.

    Example:
        >>> energies = np.array([[0.0, 0.1, 0.3, 0.2], [0.5, 0.4, 0.0, 0.1]])
        >>> solve_mbar(energies, np.array([2, 2])).free_energies.round(3).tolist()
        [0.0, 0.1]
    """
    current = _Point(
        np.zeros(len(n_frames)) if start is None else start - start[0], reduced_energies, n_frames
    )
    for _ in range(max_iterations):
        if current.largest_residual < tolerance:
            check_connected(current.weights, n_frames)
            return MbarSolution(current.free - current.free[0], current.log_denominator - current.free[0])
        step = current.newton_step()
        for shorten in 0.25 ** np.arange(8):
            candidate = _Point(current.free + shorten * step, reduced_energies, n_frames)
            if (
                candidate.largest_residual < 0.9 * current.largest_residual
                or candidate.objective < current.objective - 1e-4 * shorten * abs(current.gradient @ step)
            ):
                break
        else:
            candidate = _Point(current.free - current.residual, reduced_energies, n_frames)
        current = candidate
    raise ConvergenceError(
        f"MBAR did not converge in {max_iterations} steps (largest residual {current.largest_residual:.1e}):"
        " two reference simulations share too few configurations; add one between them"
    )


class _Point:
    """The objective and its derivatives at some free energies."""

    def __init__(self, free: np.ndarray, reduced_energies: np.ndarray, n_frames: np.ndarray):
        self.free, self._n_frames = free, n_frames
        exponents = (np.log(n_frames) + free)[:, None] - reduced_energies
        self.log_denominator = logsumexp(exponents, axis=0)
        self.probabilities = np.exp(exponents - self.log_denominator)
        log_weights = -reduced_energies - self.log_denominator
        log_sums = logsumexp(log_weights, axis=1)
        self.weights = np.exp(log_weights - log_sums[:, None])
        self.residual = free + log_sums
        self.largest_residual = float(np.max(np.abs(self.residual)))
        self.objective = float(self.log_denominator.sum() - n_frames @ free)
        self.gradient = self.probabilities.sum(axis=1) - n_frames

    def newton_step(self) -> np.ndarray:
        """−Hessian⁻¹ gradient, no free energy moving by more than 10."""
        hessian = np.diag(self.probabilities.sum(axis=1)) - self.probabilities @ self.probabilities.T
        step = -np.linalg.lstsq(hessian, self.gradient, rcond=1e-13)[0]
        return step * min(1.0, 10.0 / max(float(np.max(np.abs(step))), 1e-300))


def check_connected(weights: np.ndarray, n_frames: np.ndarray) -> None:
    """Raise a ConvergenceError when less than one frame connects two groups of states.

    The overlap matrix Σ_n W_in W_jn N_j is a Markov chain between states; 1 − λ₂ is the probability by which its
    two least connected groups exchange frames, and the second eigenvector tells the groups apart.

    Args:
        weights: W_in, normalised weight of every frame in every state [state frame].
        n_frames: frames drawn from each state [state].

    References:
        Klimovich, Shirts & Mobley (2015), doi:10.1007/s10822-015-9840-9.
    """
    if len(n_frames) < 2:
        return
    root = np.sqrt(n_frames)
    values, vectors = np.linalg.eigh(root[:, None] * (weights @ weights.T) * root)
    shared = (1.0 - values[-2]) * np.min(n_frames)
    if shared < 1.0:
        place = vectors[:, -2] / root
        above = place > 0.5 * (place.min() + place.max())
        far = ", ".join(str(k) for k in np.flatnonzero(above != above[0]))
        raise ConvergenceError(
            f"the reference simulations {far} share no configurations with the others ({max(shared, 0.0):.1e} frames):"
            " their free energies cannot be related; add a reference simulation in between, or lengthen them"
        )
