"""Sums of squares to second order: what bent predictions add where residuals do not vanish on average."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.inference._labelled import LabelledBatch, LabelledData, batch_residuals
from bayescg.inference._linearised import QuadraticLabels, parameter_vector, with_parameter_vector
from bayescg.physics import InteratomicPotential

MOST_PARAMETERS = 30
"""Beyond, second derivatives in all directions cost more than they give."""


def with_curvature(
    quadratic: QuadraticLabels, potential: InteratomicPotential, data: LabelledData
) -> QuadraticLabels:
    """The same with M_k = Σ w (g gᵀ + r ∂²r/∂θ∂θ), half the exact Hessian of each sum of squares.

    Gauss and Newton's Σ w g gᵀ alone is the curvature where the form is right. Where it misses the data, residuals of
    one sign meet predictions that bend, and the exact posterior is wider or narrower.

    Args:
        quadratic: from rows at this potential.
        potential: where the second derivatives are taken.
        data: configurations and labels.

    Example:
        >>> from bayescg.data import Configurations, get_unit_system
        >>> from bayescg.inference import label_rows, labelled_data
        >>> from bayescg.physics import LennardJonesPairs
        >>> pair = Configurations(
        ...     species=("Ar",), positions=(np.array([[0.0, 0.0, 0.0], [3.6, 0.0, 0.0]]),), types=(np.zeros(2, int),),
        ...     cell=np.zeros((1, 3, 3)), periodic=np.zeros((1, 3), bool), units=get_unit_system("metal"),
        ...     energy=np.array([-0.008]),
        ... )
        >>> argon = LennardJonesPairs(0.01, 3.4, species=("Ar",), cutoff=8.0).vary("lj_sigma")
        >>> data = labelled_data(pair, cutoff=8.0, species=("Ar",), quantities=("energy",))
        >>> plain = QuadraticLabels.of(label_rows(argon, data), argon, n_groups=1)
        >>> bent = with_curvature(plain, argon, data)
        >>> bool(bent.matrix[0, 0, 0] != plain.matrix[0, 0, 0]), bool(bent.slope[0, 0] == plain.slope[0, 0])
        (True, True)
    """
    n_groups = len(data.groups)
    matrix = sum(np.asarray(_half_hessian(potential, batch, n_groups)) for batch in data.batches)
    return eqx.tree_at(lambda one: one.matrix, quadratic, jnp.asarray(matrix))


@eqx.filter_jit
def _half_hessian(
    potential: InteratomicPotential, batch: LabelledBatch, n_groups: int
) -> Float[Array, "kind parameter parameter"]:
    at = parameter_vector(potential)
    basis = jnp.eye(at.size)

    def sums(vector: Array) -> Array:
        return _sums_of_squares(with_parameter_vector(potential, vector), batch, n_groups)

    def slope(vector: Array, direction: Array) -> Array:
        return jax.jvp(sums, (vector,), (direction,))[1]

    def row(direction: Array) -> Array:
        along = lambda vector: jax.lax.map(lambda other: slope(vector, other), basis)  # noqa: E731
        return jax.jvp(along, (at,), (direction,))[1]

    return 0.5 * jnp.transpose(jax.lax.map(row, basis), (2, 0, 1))


def _sums_of_squares(
    potential: InteratomicPotential, batch: LabelledBatch, n_groups: int
) -> Float[Array, " kind"]:
    """Weighted sum of squared residuals of each quantity and group."""
    residuals = batch_residuals(potential, batch)
    of_atom = jnp.minimum(batch.environments.configuration, batch.group.shape[0] - 1)
    parts = (
        (residuals.energy**2, batch.energy_weight, batch.group),
        (jnp.sum(residuals.forces**2, axis=1), batch.force_weight, batch.group[of_atom]),
        (jnp.sum(residuals.stress**2, axis=1), batch.stress_weight, batch.group),
    )
    return jnp.concatenate(
        [jax.ops.segment_sum(weight * square, group, n_groups) for square, weight, group in parts]
    )
