"""A discrepancy between form and data that every configuration has of its own: random parameters.

Where a form is wrong, each configuration would like other parameters. Its labels err together, and a hundred force
components of one cell say hardly more about the common parameters than one does.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.inference._white_rows import WhiteRows

LARGEST = 12.0
"""Largest magnitude of the logarithms of τ and of the noise factor in the search."""


class Discrepancy(NamedTuple):
    """Parameters that configurations share, and how far each strays from them.

    Attributes:
        rows: the rows at the shared parameters, scales held.
        covariance: of the shared parameters [free free].
        spread: τ² T, covariance of one configuration's parameters about the shared ones [free free].
        strength: τ; near 0 where no discrepancy shows, near or above 1 where it decides the width.
        noise_factor: s, by which the noise scales of `rows` are to be multiplied once misfit is told apart from noise.
        gain: twice the log likelihood gained over a model without discrepancy, τ = 0, with a noise factor too.

    Example:
        >>> rows = WhiteRows(
        ...     np.zeros(1), np.arange(1), residual=np.array([2.0, 2.1, -2.0, -2.1, 0.0, 0.1]), jacobian=np.ones((6, 1)),
        ...     prior_precision=np.zeros((1, 1)), prior_score=np.zeros(1), kind=np.zeros(6, int),
        ...     configuration=np.array([0, 0, 1, 1, 2, 2]), noise=np.ones(6),
        ... )
        >>> found = configuration_discrepancy(rows)
        >>> new, shared = (draw(n=2000, seed=0).std() for draw in (found.new_configuration_draws, found.shared_draws))
        >>> bool(new > shared)
        True
    """

    rows: WhiteRows
    covariance: Float[np.ndarray, "free free"]
    spread: Float[np.ndarray, "free free"]
    strength: float
    noise_factor: float
    gain: float

    def shared_draws(self, *, n: int, seed: int) -> Float[np.ndarray, "draw coordinate"]:
        """Draws of the shared parameters: for what averages over many configurations."""
        return self._draws(self.covariance, n, seed)

    def new_configuration_draws(self, *, n: int, seed: int) -> Float[np.ndarray, "draw coordinate"]:
        """Draws of the parameters that a configuration not seen yet would have: for predictions on it."""
        return self._draws(self.covariance + self.spread, n, seed)

    def _draws(self, covariance: np.ndarray, n: int, seed: int) -> np.ndarray:
        sizes, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(sizes, 0.0))
        return self.rows.draws(np.random.default_rng(seed).normal(size=(n, len(root))) @ root.T)


class _Rotated(NamedTuple):
    """Rows of each configuration turned so that, given the shared parameters, they are independent.

    Attributes:
        jacobian: in units where T is the identity; those of one configuration are orthogonal [row free].
        residual: [row].
        size: squared length of each row of the Jacobian [row].
        rest: squared residuals that no parameter changes.
        n_rest: their number.
    """

    jacobian: np.ndarray
    residual: np.ndarray
    size: np.ndarray
    rest: float
    n_rest: int


def configuration_discrepancy(rows: WhiteRows) -> Discrepancy:
    """Shared parameters and each configuration's own: a linear model with random coefficients.

    With rows G_c, residuals r_c in units of noise and shared parameters at θ + d,

        −r_c = G_c (d + u_c) + ε_c,    u_c ~ N(0, τ² T),    ε_c ~ N(0, s²),    T = n (GᵀG + Λ)⁻¹,

    for n configurations: T is the covariance that one average configuration gives. τ and s maximise the likelihood with
    d and all u_c integrated out. The discrepancy of a configuration's labels, G_c u_c, so has a covariance as rich as
    its Jacobian, the posterior of d narrows with the number of configurations and never faster, and predictions on new
    configurations are widened by the same u. Exact where predictions are linear, else by linearisation at the mode.

    Args:
        rows: at the mode, see `white_rows` and `WhiteRows.at_mode`.

    Raises:
        InputError: fewer than three configurations.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> slope = 2.0 + 0.3 * rng.normal(size=100)  # each configuration has a slope of its own
        >>> x = rng.normal(size=(100, 20))
        >>> owner = np.repeat(np.arange(100), 20)
        >>> rows = WhiteRows(
        ...     np.zeros(1), np.arange(1), residual=(-slope[:, None] * x).ravel() / 0.05, jacobian=x.reshape(-1, 1) / 0.05,
        ...     prior_precision=0.01 * np.eye(1), prior_score=np.zeros(1), kind=np.zeros(2000, int),
        ...     configuration=owner, noise=np.full(2000, 0.05),
        ... ).at_mode()
        >>> found = configuration_discrepancy(rows)
        >>> round(float(np.sqrt(found.spread[0, 0])), 1), round(float(np.sqrt(found.covariance[0, 0])), 2)
        (0.3, 0.03)

    References:
        Laird & Ware (1982), doi:10.2307/2529876, random effects; Kennedy & O'Hagan (2001),
        doi:10.1111/1467-9868.00294, why a discrepancy must be stated.
    """
    owners = np.unique(rows.configuration)
    if len(owners) < 3:
        raise InputError(f"discrepancy: {len(owners)} configurations are too few; give at least three")
    unit = len(owners) * rows.covariance()
    root = np.linalg.cholesky((unit + unit.T) / 2.0)
    turned = _rotate(rows, root)
    prior_precision, score = root.T @ rows.prior_precision @ root, root.T @ rows.prior_score

    def cost(logs: np.ndarray) -> float:
        return -_marginal(turned, prior_precision, score, *np.exp(logs))[0]

    bounds = [(-LARGEST, LARGEST)] * 2
    without = scipy.optimize.minimize_scalar(
        lambda s: cost(np.array([-LARGEST, s])), bounds=bounds[0], method="bounded"
    )
    starts = [np.array([t, without.x]) for t in (-4.0, -1.0, 1.0)]
    best = min(starts, key=cost)
    found = scipy.optimize.minimize(
        cost, best, method="Nelder-Mead", bounds=bounds, options={"xatol": 1e-4, "fatol": 1e-4}
    )
    logs = found.x if found.fun < without.fun else np.array([-LARGEST, without.x])
    tau, factor = (float(x) for x in np.exp(logs))
    _, step, half = _marginal(turned, prior_precision, score, tau, factor)
    half = root @ half
    moved = root @ step
    z = rows.z.copy()
    z[rows.free] += moved
    at = rows._replace(
        z=z,
        residual=rows.residual + rows.jacobian @ moved,
        prior_score=rows.prior_score - rows.prior_precision @ moved,
    )
    gain = 2.0 * max(float(without.fun - found.fun), 0.0)
    return Discrepancy(at, half @ half.T, tau**2 * unit, tau, factor, gain)


def _rotate(rows: WhiteRows, root: np.ndarray) -> _Rotated:
    """Singular values of each configuration's Jacobian."""
    order = np.argsort(rows.configuration, kind="stable")
    starts = np.unique(rows.configuration[order], return_index=True)[1]
    jacobians, residuals, sizes, rest, n_rest = [], [], [], 0.0, 0
    for mine in np.split(order, starts[1:]):
        left, values, right = np.linalg.svd(rows.jacobian[mine] @ root, full_matrices=False)
        along = left.T @ rows.residual[mine]
        jacobians.append(values[:, None] * right)
        residuals.append(along)
        sizes.append(values**2)
        rest += max(float(rows.residual[mine] @ rows.residual[mine] - along @ along), 0.0)
        n_rest += len(mine) - len(values)
    return _Rotated(np.concatenate(jacobians), np.concatenate(residuals), np.concatenate(sizes), rest, n_rest)


def _marginal(
    turned: _Rotated, prior_precision: np.ndarray, score: np.ndarray, tau: float, factor: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Log likelihood with all parameters integrated out, up to a constant; the shared ones' mean and covariance root."""
    variance = factor**2 + tau**2 * turned.size
    weighted = turned.jacobian / variance[:, None]
    precision = turned.jacobian.T @ weighted + prior_precision
    slope = score - weighted.T @ turned.residual
    lower = np.linalg.cholesky((precision + precision.T) / 2.0)
    step = scipy.linalg.cho_solve((lower, True), slope)
    value = (
        -0.5 * float(np.sum(turned.residual**2 / variance) + turned.rest / factor**2)
        - 0.5 * float(np.sum(np.log(variance)) + turned.n_rest * 2.0 * np.log(factor))
        + 0.5 * float(slope @ step)
        - float(np.sum(np.log(np.diag(lower))))
    )
    return value, step, scipy.linalg.solve_triangular(lower, np.eye(len(lower)), lower=True).T
