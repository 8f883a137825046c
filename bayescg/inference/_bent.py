"""Predictions to second order in the parameters: sums of squares that stay sums of squares."""

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


class BentLabels(ExactLikelihood):
    """log p(labels | θ, σ) for Gaussian noise with predictions to second order, its cost independent of the number of data.

    With d = θ − θ₀ a residual is r₀ + g·d + ½ dᵀ K d, linear in the monomials f = (1, d_i, d_i d_j with i ≤ j), so that the
    weighted sum of squares of kind k is |R_k f|², with R_k of the QR decomposition of all its rows: a quartic in d that is
    nowhere negative, with the exact Hessian at θ₀.

    Attributes:
        origin: θ₀ [parameter].
        root: R [kind monomial monomial].
        count: n, summed weights [kind].
        power: η.
    """

    origin: Float[Array, " parameter"]
    root: Float[Array, "kind monomial monomial"]
    count: Float[Array, " kind"]
    power: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)

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
        n_kinds = len(QUANTITIES) * len(data.groups)
        pairs = np.stack(np.triu_indices(rows.jacobian.shape[1]), axis=1)
        bend = label_rows_of(lambda batch: _second_derivatives(potential, batch, pairs), data)
        if not np.all(np.isfinite(bend)):
            raise InputError("the second derivatives of the potential's predictions are not finite")
        bend = bend * np.where(pairs[:, 0] == pairs[:, 1], 0.5, 1.0)
        design = np.column_stack([rows.residual, rows.jacobian, bend]) * np.sqrt(rows.weight)[:, None]
        size = design.shape[1]
        root, count = np.zeros((n_kinds, size, size)), np.zeros(n_kinds)
        for k in np.unique(rows.kind):
            mine = rows.kind == k
            upper = np.linalg.qr(design[mine], mode="r")
            root[k, : len(upper)] = upper
            count[k] = np.sum(rows.weight[mine])
        return cls(
            parameter_vector(potential),
            root=jnp.asarray(root),
            count=jnp.asarray(count),
            power=jnp.asarray(power),
        )

    def sums_of_squares(self, potential: InteratomicPotential) -> Float[Array, " kind"]:
        """Weighted sum of squared residuals of each kind."""
        d = parameter_vector(potential) - self.origin
        first, second = np.triu_indices(d.size)
        monomials = jnp.concatenate([jnp.ones(1), d, d[first] * d[second]])
        return jnp.sum((self.root @ monomials) ** 2, axis=1)

    def log_likelihood(self, model: LabelledModel) -> Float[Array, ""]:
        """η Σ log p."""
        return self.power * from_squares(self.sums_of_squares(model.potential), self.count, model)


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
