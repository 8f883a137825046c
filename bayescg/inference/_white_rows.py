"""Labelled rows in units of their noise, in the coordinates of a potential's parameters: what linear algebra needs.

Noise scales and smoothness are held at their values; about a mode the posterior of what is left is Gaussian, exactly so
where predictions are linear in the coordinates and their prior is normal.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.inference._labelled import LabelledData
from bayescg.inference._linearised import LabelRows, label_rows, parameter_vector
from bayescg.inference._prior import Prior

SCALE_SITES = ("noise_", "discrepancy_")
"""How the names of sites begin that are scales of residuals, not parameters of the potential."""


class WhiteRows(NamedTuple):
    """Residuals over their noise and what they change by, at a point z.

    Rows with a weight are multiplied by its root. What holds about z:

        −log p(z + d | labels) ≈ const + ½ |r + G d|² + ½ dᵀΛd − sᵀd.

    Attributes:
        z: the point [coordinate].
        free: indices of the coordinates that are parameters of the potential [free].
        residual: r, prediction minus label over its noise [row].
        jacobian: G, its derivative by the free coordinates [row free].
        prior_precision: Λ, minus the Hessian of the log prior [free free].
        prior_score: s, gradient of the log prior [free].
        kind: quantity times number of groups plus group [row].
        configuration: index in the data [row].
        noise: standard deviation of each row [row] [unit of the label].

    Example:
        >>> rows = WhiteRows(
        ...     np.zeros(1), np.arange(1), residual=np.array([1.0, 3.0]), jacobian=np.ones((2, 1)),
        ...     prior_precision=np.zeros((1, 1)), prior_score=np.zeros(1), kind=np.zeros(2, int),
        ...     configuration=np.arange(2), noise=np.ones(2),
        ... )
        >>> rows.at_mode().z.round(6).tolist(), rows.covariance().round(6).tolist()
        ([-2.0], [[0.5]])
    """

    z: np.ndarray
    free: np.ndarray
    residual: np.ndarray
    jacobian: np.ndarray
    prior_precision: np.ndarray
    prior_score: np.ndarray
    kind: np.ndarray
    configuration: np.ndarray
    noise: np.ndarray

    def covariance(self) -> Float[np.ndarray, "free free"]:
        """(GᵀG + Λ)⁻¹, the Laplace approximation with scales held.

        Raises:
            InputError: a direction that neither data nor prior hold.
        """
        precision = self.jacobian.T @ self.jacobian + self.prior_precision
        scale = 1.0 / np.sqrt(np.maximum(np.diag(precision), 1e-300))
        scaled = precision * np.outer(scale, scale)
        if np.linalg.eigvalsh(scaled)[0] < 1e-14:
            raise InputError(
                "neither labels nor prior determine all directions of the parameters: give each parameter a proper prior"
            )
        return np.outer(scale, scale) * scipy.linalg.cho_solve(
            scipy.linalg.cho_factor(scaled), np.eye(len(scale))
        )

    def at_mode(self) -> "WhiteRows":
        """The same rows one Gauss–Newton step on: at the mode, where predictions are linear."""
        gradient = self.prior_score - self.jacobian.T @ self.residual
        step = self.covariance() @ gradient
        z = self.z.copy()
        z[self.free] += step
        return self._replace(
            z=z,
            residual=self.residual + self.jacobian @ step,
            prior_score=self.prior_score - self.prior_precision @ step,
        )

    def draws(self, steps: Float[np.ndarray, "draw free"]) -> Float[np.ndarray, "draw coordinate"]:
        """Unconstrained coordinates at steps from z, the scales as they are."""
        z = np.tile(self.z, (len(steps), 1))
        z[:, self.free] += steps
        return z


def free_coordinates(prior: Prior) -> np.ndarray:
    """Indices of the coordinates that are no scales."""
    return np.array(
        [
            i
            for i, coordinate in enumerate(prior.coordinates)
            if coordinate.site not in prior.hyperparameters and not coordinate.site.startswith(SCALE_SITES)
        ],
        int,
    )


class Local(NamedTuple):
    """What a prior says about a point, with the derivatives that a quadratic approximation needs.

    Attributes:
        log_prior: log p(z).
        score: its gradient [coordinate].
        hessian: its second derivatives [coordinate coordinate].
        chain: derivatives of the potential's parameters [parameter coordinate].
        noise: standard deviation of each kind of residual [kind].
    """

    log_prior: np.ndarray
    score: np.ndarray
    hessian: np.ndarray
    chain: np.ndarray
    noise: np.ndarray


@functools.lru_cache(maxsize=16)
def local(prior: Prior) -> Callable[[Float[np.ndarray, " coordinate"]], Local]:
    """`Local` as a function of z, compiled once per prior."""

    @jax.jit
    def traced(z: Array) -> tuple[Array, ...]:
        value, score = jax.value_and_grad(prior.log_density)(z)
        chain = jax.jacfwd(lambda x: parameter_vector(prior.potential(x).potential))(z)
        noise = prior.potential(z).noise.by_kind()
        return value, score, jax.hessian(prior.log_density)(z), chain, noise

    return lambda z: Local(*map(np.asarray, traced(jnp.asarray(z))))


def white_rows(
    prior: Prior, z: Float[np.ndarray, " coordinate"], data: LabelledData, *, rows: LabelRows | None = None
) -> WhiteRows:
    """Residuals over their noise, and their Jacobian by the coordinates of the potential's parameters.

    Args:
        prior: from `labelled_prior`.
        z: where, in unconstrained coordinates; a mode of the posterior for what is built on it.
        data: configurations and labels.
        rows: `label_rows` at z, if they are known already.

    Raises:
        InputError: a prior without parameters of the potential, or its derivatives not finite at z.

    Example:
        >>> from bayescg.inference import example_labels
        >>> import numpy as np
        >>> atoms, data, prior = example_labels()
        >>> mode = white_rows(prior, np.zeros(1), data).at_mode()
        >>> round(float(mode.z[0]), 2), mode.jacobian.shape
        (-11.7, (2, 1))
    """
    z = np.asarray(z, float)
    free = free_coordinates(prior)
    if not len(free):
        raise InputError("the prior has no coordinate that is a parameter of the potential")
    if rows is None:
        rows = label_rows(prior.potential(jnp.asarray(z)).potential, data)
    here = local(prior)(z)
    if not all(np.all(np.isfinite(a)) for a in here):
        raise InputError("the prior or its derivatives are not finite at z: choose another point")
    precision = -here.hessian[np.ix_(free, free)]
    scale = np.sqrt(rows.weight) / here.noise[rows.kind]
    return WhiteRows(
        z,
        free=free,
        residual=scale * rows.residual,
        jacobian=scale[:, None] * (rows.jacobian @ here.chain[:, free]),
        prior_precision=(precision + precision.T) / 2.0,
        prior_score=here.score[free],
        kind=rows.kind,
        configuration=rows.configuration,
        noise=here.noise[rows.kind],
    )
