"""Pointwise optimal parameter sets: parameters that a form must have in turn to say each label exactly.

A form that cannot say all labels at once is misspecified, and its posterior shrinks about a compromise that says none of
them. The spread of the parameters that say one label each does not shrink with more data.

Where noise is small, the generalisation error of a distribution q of parameters, −E_i log E_q N(y_i; f_i(θ), σ_i²), goes
to infinity as 1/σ² as soon as one label is out of reach of every θ that q allows. A q that is any good for σ → 0 has
therefore mass where f_i(θ) = y_i, for each i. Of all the parameters that do so the ones of least loss are chosen, one set
for each label (`pointwise_optima`). q is made of these, each as likely as the others (`pops_ensemble`), or is even in
the box about them (`hypercube`, `pops_hypercube`), which holds every one of them.

References:
    Swinburne & Perez (2025), doi:10.1088/2632-2153/ad9fce (arXiv:2402.01810).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayescg.errors import InputError
from bayescg.inference._white_rows import WhiteRows

SMALLEST_MODE = 1e-8
"""Directions in which the optima spread by less, relative to the largest sum of squares, are left out of the hypercube."""


class PointwiseOptima(NamedTuple):
    """For each label the parameters of least loss among those that say it exactly.

    Attributes:
        steps: from the mode to them [point free].
        leverage: h_i of each [point].
        row: which row of the labels each belongs to [point].

    Example:
        >>> optima = PointwiseOptima(np.array([[-0.1], [0.3]]), leverage=np.array([0.5, 0.5]), row=np.array([0, 1]))
        >>> optima.steps.shape
        (2, 1)
    """

    steps: Float[np.ndarray, "point free"]
    leverage: Float[np.ndarray, " point"]
    row: Int[np.ndarray, " point"]


def pointwise_optima(rows: WhiteRows, *, leverage_quantile: float = 0.5) -> PointwiseOptima:
    """Pointwise optima of the labels of high leverage.

    With C = (GᵀG + Λ)⁻¹ about the mode and leverage h_i = g_iᵀ C g_i, the loss grows by least on the way to
    g_i · d = −r_i at

        d_i = −C g_i r_i / h_i,

    the minimum of ½ dᵀC⁻¹d under that constraint: ½ dᵀC⁻¹d + μ (g_i · d + r_i) is stationary where C⁻¹d = −μ g_i, so that
    d = −μ C g_i, and the constraint gives μ = r_i / h_i. There the loss is larger by r_i² / (2 h_i) than at the mode.

    Labels of small leverage would ask for steps of size r_i / √h_i that nothing else supports; only those at or above a
    quantile of the leverages are used. Exact where predictions are linear, else by linearisation at the mode.

    Args:
        rows: at the mode, see `white_rows` and `WhiteRows.at_mode`.
        leverage_quantile: quantile of the leverages below which labels are left out.

    Raises:
        InputError: a quantile outside [0, 1), or no label that depends on the parameters.

    Example:
        >>> from bayescg.inference._white_rows import WhiteRows
        >>> x = np.array([[-1.0], [0.5], [1.0]])
        >>> rows = WhiteRows(
        ...     np.zeros(1), np.arange(1), residual=-np.array([-1.0, 0.7, 1.2]), jacobian=x,
        ...     prior_precision=np.zeros((1, 1)), prior_score=np.zeros(1), kind=np.zeros(3, int),
        ...     configuration=np.arange(3), noise=np.ones(3),
        ... ).at_mode()
        >>> optima = pointwise_optima(rows, leverage_quantile=0.0)
        >>> (rows.z + optima.steps)[:, 0].round(2).tolist()
        [1.0, 1.4, 1.2]

    References:
        Swinburne & Perez (2025), doi:10.1088/2632-2153/ad9fce (arXiv:2402.01810), for linear models.
    """
    if not 0.0 <= leverage_quantile < 1.0:
        raise InputError(f"pointwise optima: leverage_quantile must be in [0, 1), found {leverage_quantile}")
    towards = rows.jacobian @ rows.covariance()
    leverage = np.einsum("if,if->i", towards, rows.jacobian)
    if not np.any(leverage > 0.0):
        raise InputError("pointwise optima: no label depends on the parameters")
    used = np.flatnonzero((leverage >= np.quantile(leverage, leverage_quantile)) & (leverage > 0.0))
    steps = -towards[used] * (rows.residual[used] / leverage[used])[:, None]
    return PointwiseOptima(steps, leverage[used], used)


class Hypercube(NamedTuple):
    """The smallest box about pointwise optima, along the principal axes of their spread about the mode.

    Attributes:
        axes: columns of unit length [free axis].
        lower: smallest coordinate along each [axis].
        upper: largest [axis].

    Example:
        >>> box = Hypercube(np.eye(2), lower=np.array([-0.1, -0.2]), upper=np.array([0.3, 0.2]))
        >>> low, high = box.range_of(np.array([[1.0, 1.0]]))
        >>> round(float(low[0]), 3), round(float(high[0]), 3)
        (-0.3, 0.5)
    """

    axes: Float[np.ndarray, "free axis"]
    lower: Float[np.ndarray, " axis"]
    upper: Float[np.ndarray, " axis"]

    def range_of(
        self, jacobian: Float[np.ndarray, "row free"]
    ) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
        """Smallest and largest change of linear predictions in the box."""
        slope = jacobian @ self.axes
        centre, half = (self.upper + self.lower) / 2.0, (self.upper - self.lower) / 2.0
        return slope @ centre - np.abs(slope) @ half, slope @ centre + np.abs(slope) @ half


def hypercube(optima: PointwiseOptima, *, clip: float = 0.0) -> Hypercube:
    """The box about pointwise optima.

    With the eigenvectors V of Σ_i d_i d_iᵀ, the box is all steps V a with a between the smallest and the largest
    coordinate Vᵀ d_i of the optima along each axis; `clip` puts quantiles in place of both. Axes along which the
    optima do not spread (no label depends on them) are left out. The prediction of a label at V a is g_iᵀ V a, so
    that a box that holds all d_i has bands that reach every one of their labels.

    Args:
        optima: from `pointwise_optima`.
        clip: share of the optima left outside at either end of each axis; 0 holds all of them.

    Raises:
        InputError: a share outside [0, 0.5).

    Example:
        >>> box = hypercube(PointwiseOptima(np.array([[-0.1], [0.3]]), np.ones(2), np.arange(2)))
        >>> np.sort(np.abs(box.axes[0] * [box.lower[0], box.upper[0]])).round(3).tolist()
        [0.1, 0.3]

    References:
        Swinburne & Perez (2025), doi:10.1088/2632-2153/ad9fce (arXiv:2402.01810), the hypercube about the optima.
    """
    if not 0.0 <= clip < 0.5:
        raise InputError(f"hypercube: clip must be in [0, 0.5), found {clip}")
    sizes, axes = np.linalg.eigh(optima.steps.T @ optima.steps)
    axes = axes[:, sizes > SMALLEST_MODE * sizes[-1]]
    lower, upper = np.quantile(optima.steps @ axes, [clip, 1.0 - clip], axis=0)
    return Hypercube(axes, lower, upper)


def pops_hypercube(
    rows: WhiteRows, *, n: int, seed: int, leverage_quantile: float = 0.5, clip: float = 0.0
) -> Float[np.ndarray, "draw coordinate"]:
    """Draws spread evenly over the hypercube of pointwise optima, scales held; wider than `pops_ensemble`.

    z + V a with a_k uniform between its bounds and independent: the variance along axis k is a twelfth of the square
    of the box's width there, and nothing of how the optima lie within the box is left.

    Args:
        rows: at the mode.
        n: number of draws.
        seed: of the random numbers.
        leverage_quantile: see `pointwise_optima`.
        clip: see `hypercube`.

    Returns:
        Unconstrained coordinates, as `label_coverage` takes them.

    Example:
        >>> from bayescg.inference._white_rows import WhiteRows
        >>> rows = WhiteRows(
        ...     np.zeros(1), np.arange(1), residual=np.array([-0.2, 0.1]), jacobian=np.ones((2, 1)),
        ...     prior_precision=np.zeros((1, 1)), prior_score=np.zeros(1), kind=np.zeros(2, int),
        ...     configuration=np.arange(2), noise=np.ones(2),
        ... ).at_mode()
        >>> draws = pops_hypercube(rows, n=100, seed=0)
        >>> bool(draws.min() >= -0.1) and bool(draws.max() <= 0.2)
        True

    References:
        Swinburne & Perez (2025), doi:10.1088/2632-2153/ad9fce (arXiv:2402.01810), the hypercube about the optima.
    """
    box = hypercube(pointwise_optima(rows, leverage_quantile=leverage_quantile), clip=clip)
    inside = np.random.default_rng(seed).uniform(box.lower, box.upper, size=(n, len(box.lower)))
    return rows.draws(inside @ box.axes.T)


def pops_ensemble(
    rows: WhiteRows, *, n: int, seed: int, leverage_quantile: float = 0.5
) -> Float[np.ndarray, "draw coordinate"]:
    """Draws from the pointwise optima themselves, with replacement, scales held.

    z + d_i, with each i as likely as the others. A prediction g of its own then has the second moment Σ_i (g · d_i)² / n
    about the mode's, with n the number of optima.

    Args:
        rows: at the mode.
        n: number of draws.
        seed: of the random numbers.
        leverage_quantile: see `pointwise_optima`.

    Returns:
        Unconstrained coordinates, as `label_coverage` takes them.

    Example:
        >>> from bayescg.inference._white_rows import WhiteRows
        >>> rows = WhiteRows(
        ...     np.zeros(1), np.arange(1), residual=np.array([-0.2, 0.1]), jacobian=np.ones((2, 1)),
        ...     prior_precision=np.zeros((1, 1)), prior_score=np.zeros(1), kind=np.zeros(2, int),
        ...     configuration=np.arange(2), noise=np.ones(2),
        ... ).at_mode()
        >>> sorted({round(float(z), 3) for z in pops_ensemble(rows, n=100, seed=0)[:, 0]})
        [-0.1, 0.2]

    References:
        Swinburne & Perez (2025), doi:10.1088/2632-2153/ad9fce (arXiv:2402.01810), the ensemble of the optima.
    """
    optima = pointwise_optima(rows, leverage_quantile=leverage_quantile)
    chosen = np.random.default_rng(seed).integers(len(optima.steps), size=n)
    return rows.draws(optima.steps[chosen])
