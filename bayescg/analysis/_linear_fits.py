"""Relative-entropy fits of linear models on one surrogate, many sets of data side by side; no simulation."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import logsumexp

from bayescg.analysis._linear_basis import LinearBasis
from bayescg.errors import InputError
from bayescg.physics import Surrogate

STEPS = 200
REFRESH = 8
"""Steps with one Hessian; fits that differ by their data alone need no other."""
DECREMENT = 1e-11
"""Newton decrement per frame [nats] at which a fit has arrived."""
FLAT = 1e-11
"""Curvature, relative to that of the coefficients, that rounding may leave along a direction that nothing holds."""


class LinearFits(NamedTuple):
    """Best coefficients for several sets of data in one basis.

    Attributes:
        theta: [fit coefficient].
        log_z: log Z − log Z_anchor there, with a term linear in η taken out that scores put back [fit].
        effective_frames: effective number of reference frames [fit].
        converged: whether the maximum was found within reach of the references [fit].
    """

    theta: Float[np.ndarray, "fit coefficient"]
    log_z: Float[np.ndarray, " fit"]
    effective_frames: Float[np.ndarray, " fit"]
    converged: Bool[np.ndarray, " fit"]


class _Point(NamedTuple):
    """Objective per frame and its gradient at one θ for each fit."""

    theta: np.ndarray
    value: np.ndarray
    gradient: np.ndarray
    log_z: np.ndarray
    effective_frames: np.ndarray


class LinearModel:
    """One basis on the reference frames of a surrogate: what its fits need.

    The objective of a fit to N frames with mean features ⟨φ⟩ is, per frame,

        βη·⟨φ⟩ + log Z(η) + (θ − μ)ᵀ Λ (θ − μ) / 2N,   η = offset + matrix θ,

    convex in θ.

    Args:
        surrogate: log Z as a function of η, from reference frames with the finest features.
        basis: the basis.

    Raises:
        InputError: a basis of other features than the references'.
    """

    def __init__(self, surrogate: Surrogate, basis: LinearBasis):
        n_features = surrogate.centre.shape[0]
        if len(basis.matrix) != n_features or len(basis.offset) != n_features:
            raise InputError(
                f"basis '{basis.label}': it is made of {len(basis.matrix)} features, the references have {n_features};"
                " make it from the features of the bank"
            )
        self.basis, self.beta, self.centre = basis, float(surrogate.beta), np.asarray(surrogate.centre)
        log_base = np.asarray(surrogate.log_base_weight)
        n_real = int(np.isfinite(log_base).sum())  # the surrogate is padded at the end
        centred = np.asarray(surrogate.centred_features)[:n_real]
        self._features = centred @ (self.beta * basis.matrix)
        self._log_base = log_base[:n_real] - centred @ (self.beta * basis.offset)

    def targets(self, means: Float[np.ndarray, "fit feature"]) -> Float[np.ndarray, "fit coefficient"]:
        """Mean features of the basis, reduced and about the references' centre."""
        return self.beta * (means - self.centre) @ self.basis.matrix

    def relative_entropy(
        self, fits: LinearFits, means: Float[np.ndarray, "data feature"]
    ) -> Float[np.ndarray, "fit data"]:
        """−⟨log p⟩ per frame of data with these mean features under every fit, relative to the anchor [nats]."""
        eta = self.basis.coefficients(fits.theta)
        return self.beta * eta @ (means - self.centre).T + fits.log_z[:, None]

    def curvature(
        self, theta: Float[np.ndarray, " coefficient"]
    ) -> Float[np.ndarray, "coefficient coefficient"]:
        """H = β² Cov(φ) of the basis' features at θ, per frame."""
        log_w = self._log_base - self._features @ theta
        weights = np.exp(log_w - logsumexp(log_w))
        centred = self._features - weights @ self._features
        return (centred * weights[:, None]).T @ centred

    def start(
        self, eta: Float[np.ndarray, " feature"], covariance: Float[np.ndarray, "feature feature"]
    ) -> Float[np.ndarray, " coefficient"]:
        """The θ whose energies differ least from those of given η, in the mean square over frames."""
        values, vectors = np.linalg.eigh(covariance)
        root = (vectors * np.sqrt(np.maximum(values, 0.0))).T
        left, right = root @ self.basis.matrix, root @ (eta - self.basis.offset)
        return np.linalg.lstsq(left, right, rcond=1e-10)[0]

    def fit(
        self,
        means: Float[np.ndarray, "fit feature"],
        n_frames: Float[np.ndarray, " fit"],
        *,
        start: Float[np.ndarray, " coefficient"],
        least: float,
        hessian: Float[np.ndarray, "coefficient coefficient"] | None = None,
    ) -> LinearFits:
        """The best θ for each set of data, by damped Newton steps from one start.

        Args:
            means: ⟨φ⟩ of each set.
            n_frames: N of each, which the prior is weighed against.
            start: θ.
            least: effective number of reference frames that no step may go below.
            hessian: of the objective somewhere near, to be used for several steps; by default it is made anew at each.
        """
        count = len(means)
        targets, ridge = self.targets(means), self.basis.prior_precision / n_frames[:, None, None]
        at = self._at_one(start, targets, ridge)
        hessians = None if hessian is None else np.tile(hessian, (count, 1, 1))
        length, arrived = np.ones(count), np.zeros(count, bool)
        for step in range(STEPS):
            active = ~arrived & (length > 1e-9)
            if not active.any() or not self.basis.size:
                break
            if hessians is None or (step % REFRESH == 0 and step) or hessian is None:
                fresh = [self.curvature(theta) for theta in at.theta[active]]
                hessians = np.tile(np.eye(self.basis.size), (count, 1, 1)) if hessians is None else hessians
                hessians[active] = np.stack(fresh) + ridge[active]
            direction, decrement = _newton(hessians, at.gradient)
            arrived |= decrement < DECREMENT
            move = np.where(arrived, 0.0, length)[:, None] * direction
            new = self._moved(at, move, ~arrived, targets, ridge)
            if new is at:
                break
            better = (new.value <= at.value - 1e-4 * length * decrement + 1e-13) & (
                (new.effective_frames >= least) | (new.effective_frames >= at.effective_frames)
            )
            take = better & ~arrived
            at = _Point(
                *(np.where(take.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in zip(at, new, strict=True))
            )
            length = np.where(better, np.minimum(1.0, 3.0 * length), length / 4.0)
        arrived |= self.basis.size == 0
        return LinearFits(at.theta, at.log_z, at.effective_frames, arrived & (at.effective_frames >= least))

    def _at_one(self, start: np.ndarray, targets: np.ndarray, ridge: np.ndarray) -> _Point:
        """All fits at the same θ, which takes the references once."""
        count, plain = len(targets), np.zeros((1, *ridge.shape[1:]))
        once = self._evaluate(start[None], np.zeros((1, len(start))), plain)
        apart = start - self.basis.prior_mean
        pull = ridge @ apart
        value = targets @ start + once.log_z + 0.5 * pull @ apart
        gradient = targets + once.gradient + pull
        return _Point(
            np.tile(start, (count, 1)), value, gradient, np.tile(once.log_z, count), np.tile(once.effective_frames, count)
        )  # fmt: skip

    def _moved(
        self, at: _Point, move: np.ndarray, active: np.ndarray, targets: np.ndarray, ridge: np.ndarray
    ) -> _Point:
        """The fits that are still on their way, moved; the same point where none is."""
        if not active.any():
            return at
        new = self._evaluate(at.theta[active] + move[active], targets[active], ridge[active])
        if active.all():
            return new
        both = _Point(*(leaf.copy() for leaf in at))
        for whole, part in zip(both, new, strict=True):
            whole[active] = part
        return both

    def _evaluate(self, theta: np.ndarray, targets: np.ndarray, ridge: np.ndarray) -> _Point:
        weights = theta @ self._features.T
        np.subtract(self._log_base, weights, out=weights)
        largest = weights.max(axis=1)
        np.subtract(weights, largest[:, None], out=weights)
        np.exp(weights, out=weights)
        total = weights.sum(axis=1)
        log_z = largest + np.log(total)
        pull = np.einsum("fij,fj->fi", ridge, theta - self.basis.prior_mean)
        value = np.sum(theta * targets, axis=1) + log_z
        value = value + 0.5 * np.sum((theta - self.basis.prior_mean) * pull, axis=1)
        gradient = targets - (weights @ self._features) / total[:, None] + pull
        return _Point(theta, value, gradient, log_z, total**2 / np.einsum("fn,fn->f", weights, weights))


def refuse_flat(hessian: Float[np.ndarray, "coefficient coefficient"], basis: LinearBasis) -> None:
    """Raise an InputError where nothing, neither data nor prior, holds some combination of coefficients."""
    diagonal = np.diag(hessian)
    if not basis.size:
        return
    scale = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(hessian / np.outer(scale, scale))
    if values[0] <= FLAT:
        raise InputError(
            f"basis '{basis.label}': nothing holds its coefficient {int(np.argmax(np.abs(vectors[:, 0])))}, which changes"
            " no frame's energy by itself; leave it out, or give the basis a prior precision"
        )


def _newton(hessians: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """−H⁻¹ gradient, and the decrement, of each fit; scaled first, so that units do not matter."""
    diagonal = np.einsum("fii->fi", hessians)
    scale = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    scaled = hessians / (scale[:, :, None] * scale[:, None, :])
    tiny = 1e-13 * np.eye(hessians.shape[1])
    direction = -np.linalg.solve(scaled + tiny, (gradient / scale)[..., None])[..., 0] / scale
    return direction, -np.sum(direction * gradient, axis=1)
