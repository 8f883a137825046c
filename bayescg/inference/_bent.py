"""Predictions as polynomials in the parameters: sums of squares that stay sums of squares."""

import functools
import itertools
from math import comb

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.inference._labelled import (
    QUANTITIES,
    LabelledBatch,
    LabelledData,
    LabelledModel,
    Residuals,
    batch_residuals,
)
from bayescg.inference._likelihood import ExactLikelihood
from bayescg.inference._linearised import (
    COLUMNS_AT_ONCE,
    LabelRows,
    from_squares,
    label_rows_of,
    parameter_vector,
    with_parameter_vector,
)
from bayescg.physics import InteratomicPotential

MOST_BENT = 12
"""Parameters beyond which products of two of them are too many."""
POINTS_AT_ONCE = 32


class BentLabels(ExactLikelihood):
    """log p(labels | θ, σ) for Gaussian noise with predictions that are polynomials, its cost independent of the number of data.

    With d = W (θ − θ₀) a residual to second order is r₀ + g·d + ½ dᵀ K d, linear in the monomials f = (1, d_i, d_i d_j with
    i ≤ j), so that the weighted sum of squares of kind k is |R_k f|², with R_k of the QR decomposition of all its rows: a
    quartic in d that is nowhere negative. Expanded at θ₀ it has the exact Hessian there.

    Attributes:
        origin: θ₀ [parameter].
        whitening: W [parameter parameter].
        root: R of the kinds that have labels [occupied monomial monomial].
        kinds: which those are [occupied].
        count: n, summed weights [kind].
        power: η.
        order: of the polynomials.
    """

    origin: Float[Array, " parameter"]
    whitening: Float[Array, "parameter parameter"]
    root: Float[Array, "occupied monomial monomial"]
    kinds: Int[Array, " occupied"]
    count: Float[Array, " kind"]
    power: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)
    order: int = eqx.field(static=True, default=2)

    @classmethod
    def of(
        cls,
        rows: LabelRows,
        potential: InteratomicPotential,
        data: LabelledData,
        *,
        power: float = 1.0,
    ) -> "BentLabels":
        """Second derivatives of all predictions at a potential, beside its rows there.

        Args:
            rows: `label_rows` at this potential.
            potential: where the derivatives are taken.
            data: configurations and labels.
            power: η.

        Raises:
            InputError: a second derivative that is not finite.
        """
        pairs = np.stack(np.triu_indices(rows.jacobian.shape[1]), axis=1)
        bend = label_rows_of(lambda batch: _second_derivatives(potential, batch, pairs), data)
        if not np.all(np.isfinite(bend)):
            raise InputError("the second derivatives of the potential's predictions are not finite")
        bend = bend * np.where(pairs[:, 0] == pairs[:, 1], 0.5, 1.0)
        coefficients = np.column_stack([rows.residual, rows.jacobian, bend])
        origin = parameter_vector(potential)
        return cls._of_coefficients(
            coefficients, origin, jnp.eye(origin.size), rows, data, power=power, order=2
        )

    @classmethod
    def through(
        cls,
        points: Float[np.ndarray, "point parameter"],
        residuals: Float[np.ndarray, "row point"],
        rows: LabelRows,
        data: LabelledData,
        *,
        power: float = 1.0,
        order: int = 2,
    ) -> "BentLabels":
        """Polynomials that come closest, by least squares, to all predictions at some parameter vectors.

        Where the posterior is wide, its draws make a better polynomial than derivatives at its mode.

        Args:
            points: parameter vectors, at least as many as monomials.
            residuals: `residuals_at` these points.
            rows: `label_rows` anywhere, for its kinds and weights.
            data: configurations and labels.
            power: η.
            order: of the polynomials.

        Raises:
            InputError: too few points, or a prediction that is not finite.
        """
        n, size = points.shape
        if n < n_monomials(size, order):
            raise InputError(
                f"polynomials of order {order} in {size} parameters: at least {n_monomials(size, order)} points are"
                f" needed, found {n}"
            )
        if not np.all(np.isfinite(residuals)):
            raise InputError("the potential's predictions are not finite at some draws")
        origin = points.mean(axis=0)
        whitening = np.linalg.inv(np.linalg.cholesky(np.cov(points.T).reshape(size, size)))
        monomials = _all_monomials(jnp.asarray((points - origin) @ whitening.T), order)
        coefficients = np.linalg.lstsq(np.asarray(monomials), residuals.T, rcond=None)[0].T
        return cls._of_coefficients(
            coefficients, jnp.asarray(origin), jnp.asarray(whitening), rows, data, power=power, order=order
        )

    @classmethod
    def _of_coefficients(
        cls,
        coefficients: Float[np.ndarray, "row monomial"],
        origin: Float[Array, " parameter"],
        whitening: Float[Array, "parameter parameter"],
        rows: LabelRows,
        data: LabelledData,
        *,
        power: float,
        order: int,
    ) -> "BentLabels":
        """Triangular factors R of the weighted rows of each kind, C = Q R."""
        n_kinds = len(QUANTITIES) * len(data.groups)
        kinds, size = np.unique(rows.kind), coefficients.shape[1]
        weighted = coefficients * np.sqrt(rows.weight)[:, None]
        root = np.zeros((len(kinds), size, size))
        for k, kind in enumerate(kinds):
            upper = np.linalg.qr(weighted[rows.kind == kind], mode="r")
            root[k, : len(upper)] = upper
        return cls(
            origin,
            whitening=whitening,
            root=jnp.asarray(root),
            kinds=jnp.asarray(kinds),
            count=jnp.asarray(np.bincount(rows.kind, weights=rows.weight, minlength=n_kinds)),
            power=jnp.asarray(power),
            order=order,
        )

    def sums_of_squares(self, potential: InteratomicPotential) -> Float[Array, " kind"]:
        """Weighted sum of squared residuals of each kind."""
        d = self.whitening @ (parameter_vector(potential) - self.origin)
        squares = jnp.sum((self.root @ _monomials(d, self.order)) ** 2, axis=1)
        return jnp.zeros_like(self.count).at[self.kinds].set(squares)

    def log_likelihood(self, model: LabelledModel) -> Float[Array, ""]:
        """η Σ log p."""
        return self.power * from_squares(self.sums_of_squares(model.potential), self.count, model)


def n_monomials(size: int, order: int) -> int:
    """How many products of at most so many of so many parameters there are."""
    return comb(size + order, order)


def _monomials(d: Float[Array, " parameter"], order: int) -> Float[Array, " monomial"]:
    """1, d_i, d_i d_j with i ≤ j, and so on."""
    indices: list[tuple[int, ...]] = [()]
    parts, last = [jnp.ones(1)], jnp.ones(1)
    for n in range(1, order + 1):
        longer = list(itertools.combinations_with_replacement(range(d.size), n))
        place = {index: k for k, index in enumerate(indices)}
        shorter = np.array([place[index[:-1]] for index in longer])
        last = last[shorter] * d[np.array([index[-1] for index in longer])]
        indices = longer
        parts.append(last)
    return jnp.concatenate(parts)


@eqx.filter_jit
def _all_monomials(d: Float[Array, "point parameter"], order: int) -> Float[Array, "point monomial"]:
    return jax.vmap(lambda one: _monomials(one, order))(d)


def residuals_at(
    points: Float[np.ndarray, "point parameter"], potential: InteratomicPotential, data: LabelledData
) -> Float[np.ndarray, "row point"]:
    """All residuals at parameter vectors, in the order of `label_rows`, a fixed number of points at a time."""
    parts = []
    for first in range(0, len(points), POINTS_AT_ONCE):
        some = points[first : first + POINTS_AT_ONCE]
        at = jnp.asarray(np.resize(some, (POINTS_AT_ONCE, points.shape[1])))
        rows = label_rows_of(functools.partial(_residuals_at, potential, points=at), data)
        parts.append(rows[:, : len(some)])
    return np.concatenate(parts, axis=1)


@eqx.filter_jit
def _residuals_at(
    potential: InteratomicPotential, batch: LabelledBatch, points: Float[Array, "point parameter"]
) -> Residuals:
    """Residuals of one batch at parameter vectors [point ...]."""
    return jax.lax.map(
        lambda vector: batch_residuals(with_parameter_vector(potential, vector), batch), points
    )


def _second_derivatives(
    potential: InteratomicPotential, batch: LabelledBatch, pairs: Int[np.ndarray, "pair 2"]
) -> Residuals:
    """∂²r/∂θ_i∂θ_j of the residuals of one batch [pair ...]; the pairs ordered by their first."""
    parts = []
    basis = jnp.eye(int(pairs.max()) + 1)
    for i in range(len(basis)):
        others = pairs[pairs[:, 0] == i, 1]
        for first in range(0, len(others), COLUMNS_AT_ONCE):
            # filled up, so that all calls share one compilation
            some = np.resize(others[first : first + COLUMNS_AT_ONCE], min(COLUMNS_AT_ONCE, len(basis)))
            bend = _bend(potential, batch, basis[i], basis[some])
            n = min(COLUMNS_AT_ONCE, len(others) - first)
            parts.append([np.asarray(leaf)[:n] for leaf in jax.tree.leaves(bend)])
    return Residuals(*(jnp.asarray(np.concatenate(column)) for column in zip(*parts, strict=True)))


@eqx.filter_jit
def _bend(
    potential: InteratomicPotential,
    batch: LabelledBatch,
    direction: Float[Array, " parameter"],
    others: Float[Array, "other parameter"],
) -> Residuals:
    """Derivatives along the others of the residuals' derivatives along a direction [other ...]."""
    at = parameter_vector(potential)

    def slope(vector: Array) -> Residuals:
        def residuals(vector: Array) -> Residuals:
            return batch_residuals(with_parameter_vector(potential, vector), batch)

        return jax.jvp(residuals, (vector,), (direction,))[1]

    return jax.vmap(jax.linearize(slope, at)[1])(others)
