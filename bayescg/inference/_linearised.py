"""Labelled data with the potential's predictions linearised: exact where a potential is linear in its parameters.

Predictions bend little over the width of a posterior. With residuals r(θ) ≈ r₀ + G (θ − θ₀) the log likelihood costs a
product with G, or, for Gaussian noise, nothing that grows with the data: the sums of squares of every quantity and
group are quadratic forms in θ. What the linearisation leaves out is put back by importance weights (`_label_fit`).
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.inference._labelled import (
    QUANTITIES,
    Family,
    LabelledBatch,
    LabelledData,
    LabelledModel,
    Residuals,
    batch_residuals,
    gaussian,
)
from bayescg.inference._likelihood import ExactLikelihood
from bayescg.physics import InteratomicPotential, design_matrix
from bayescg.physics._design_matrix import has_design_matrix

COLUMNS_AT_ONCE = 8
"""Parameters whose derivatives are carried through a prediction together: bounds the memory."""


class LabelRows(NamedTuple):
    """All residuals that have a label, one row each: energies, then force and stress components.

    Attributes:
        residual: r₀, prediction minus label; energies per atom [row].
        jacobian: ∂r/∂θ [row parameter].
        kind: quantity times number of groups plus group; quantities counted as in `QUANTITIES` [row].
        weight: [row].
        configuration: index in the data [row].

    Example:
        >>> rows = LabelRows(
        ...     residual=np.array([0.3, -0.1]), jacobian=np.ones((2, 1)), kind=np.zeros(2, int), weight=np.ones(2),
        ...     configuration=np.arange(2),
        ... )
        >>> rows.residual + rows.jacobian @ [-0.1]  # at a parameter lower by 0.1
        array([ 0.2, -0.2])
    """

    residual: np.ndarray
    jacobian: np.ndarray
    kind: np.ndarray
    weight: np.ndarray
    configuration: np.ndarray


def parameter_vector(potential: InteratomicPotential) -> Float[Array, " parameter"]:
    """All parameters that vary, one after the other in the order of `parameter_values`."""
    return jnp.concatenate([jnp.ravel(value) for value in potential.parameter_values().values()])


def with_parameter_vector(
    potential: InteratomicPotential, vector: Float[Array, " parameter"]
) -> InteratomicPotential:
    """The potential at a parameter vector."""
    values, first = {}, 0
    for name, value in potential.parameter_values().items():
        values[name] = jnp.reshape(vector[first : first + value.size], jnp.shape(value))
        first += value.size
    return potential.with_parameters(values)


_residuals = eqx.filter_jit(batch_residuals)


@eqx.filter_jit
def _derivatives(
    potential: InteratomicPotential, batch: LabelledBatch, directions: Float[Array, "direction parameter"]
) -> tuple[Residuals, Residuals]:
    """Residuals, and their derivatives along directions of the parameter vector."""
    at = parameter_vector(potential)

    def residuals(vector: Array) -> Residuals:
        return batch_residuals(with_parameter_vector(potential, vector), batch)

    value, along = jax.linearize(residuals, at)
    return value, jax.vmap(along)(directions)


def _by_directions(
    potential: InteratomicPotential, batch: LabelledBatch
) -> tuple[Residuals, list[np.ndarray]]:
    """Residuals and their derivatives [parameter ...], by automatic differentiation a few parameters at a time."""
    size = parameter_vector(potential).size
    directions, columns = np.eye(size), []
    for first in range(0, size, COLUMNS_AT_ONCE):
        some = np.zeros((COLUMNS_AT_ONCE if size > COLUMNS_AT_ONCE else size, size))
        chosen = directions[first : first + COLUMNS_AT_ONCE]
        some[: len(chosen)] = chosen
        value, along = _derivatives(potential, batch, jnp.asarray(some))
        columns.append([np.asarray(leaf)[: len(chosen)] for leaf in jax.tree.leaves(along)])
    return value, [np.concatenate(column) for column in zip(*columns, strict=True)]


def _by_design(potential: InteratomicPotential, batch: LabelledBatch) -> tuple[Residuals, list[np.ndarray]]:
    """The same from the design matrix of a linear potential."""
    design = design_matrix(potential, batch.environments)
    per_atom = design.energy / np.maximum(np.asarray(batch.environments.n_atoms), 1)[:, None]
    jacobians = [np.moveaxis(columns, -1, 0) for columns in (per_atom, design.forces, design.stress)]
    return _residuals(potential, batch), jacobians


def label_rows(potential: InteratomicPotential, data: LabelledData) -> LabelRows:
    """Residuals and their Jacobian at a potential; by its design matrix where there is one.

    Args:
        potential: where to linearise.
        data: configurations and labels.

    Raises:
        InputError: a prediction or derivative that is not finite.

    Example:
        >>> from bayescg.inference import example_labels
        >>> atoms, data, _ = example_labels()
        >>> rows = label_rows(atoms, data)
        >>> rows.residual[np.argsort(rows.configuration)].round(3).tolist(), rows.jacobian.tolist()
        ([0.3, 0.1], [[1.0], [1.0]])
    """
    differentiated = _by_design if has_design_matrix(potential) else _by_directions
    parts: list[LabelRows] = []
    for batch in data.batches:
        value, jacobians = differentiated(potential, batch)
        parts.extend(_rows(batch, jax.tree.leaves(value), jacobians, len(data.groups)))
    rows = LabelRows(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    if not (np.all(np.isfinite(rows.residual)) and np.all(np.isfinite(rows.jacobian))):
        bad = ~(np.isfinite(rows.residual) & np.isfinite(rows.jacobian).all(axis=1))
        raise InputError(
            f"configuration {rows.configuration[np.argmax(bad)]}: the potential's prediction there is not finite;"
            " check the start of its parameters, or leave the configuration out"
        )
    return rows


def label_rows_of(
    derivatives: Callable[[LabelledBatch], Residuals], data: LabelledData
) -> Float[np.ndarray, "row direction"]:
    """Derivatives of the residuals of every batch [direction ...], in the order of `label_rows`."""
    parts: list[LabelRows] = []
    for batch in data.batches:
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(derivatives(batch))]
        parts.extend(_rows(batch, [leaf[0] for leaf in leaves], leaves, len(data.groups)))
    return np.concatenate([part.jacobian for part in parts])


def _rows(batch, values: list, jacobians: list[np.ndarray], n_groups: int) -> list[LabelRows]:
    configuration = np.asarray(batch.environments.configuration_index)
    of_atom = np.minimum(np.asarray(batch.environments.configuration), len(configuration) - 1)
    group = np.asarray(batch.group)
    owners = (np.arange(len(configuration)), of_atom, np.arange(len(configuration)))
    weights = (batch.energy_weight, batch.force_weight, batch.stress_weight)
    parts = []
    for quantity, (value, jacobian, owner, weight) in enumerate(
        zip(values, jacobians, owners, map(np.asarray, weights), strict=True)
    ):
        width = 1 if np.ndim(value) == 1 else np.shape(value)[1]
        kept = np.flatnonzero(np.repeat(weight, width) > 0.0)
        owner = np.repeat(owner, width)[kept]
        parts.append(
            LabelRows(
                np.asarray(value).reshape(-1)[kept],
                jacobian.reshape(len(jacobian), -1).T[kept],
                quantity * n_groups + group[owner],
                np.repeat(weight, width)[kept],
                configuration[owner],
            )
        )
    return parts


class LinearisedLabels(ExactLikelihood):
    """log p(labels | θ, σ) with residuals r₀ + G (θ − θ₀), for any family of noise.

    Attributes:
        origin: θ₀ [parameter].
        residual: r₀ [row].
        jacobian: G [row parameter].
        kind: [row].
        weight: [row].
        configuration: [row].
        n_configurations: of the data.
        family: as in `EnergyForceStress`.
        power: η.

    Example:
        >>> from bayescg.inference import Noise
        >>> from bayescg.physics import SpeciesEnergies
        >>> rows = LabelRows(
        ...     residual=np.array([0.3, -0.1]), jacobian=np.ones((2, 1)), kind=np.zeros(2, int), weight=np.ones(2),
        ...     configuration=np.arange(2),
        ... )
        >>> atoms = SpeciesEnergies([-11.5], species=("Ta",))
        >>> labels = LinearisedLabels.of(rows, atoms, n_configurations=2)
        >>> model = LabelledModel(atoms, Noise(*jnp.full((3, 1), 0.1)))
        >>> labels.per_configuration(model).round(2).tolist()
        [-3.12, 0.88]
    """

    origin: Float[Array, " parameter"]
    residual: Float[Array, " row"]
    jacobian: Float[Array, "row parameter"]
    kind: Int[Array, " row"]
    weight: Float[Array, " row"]
    configuration: Int[Array, " row"]
    n_configurations: int = eqx.field(static=True)
    family: Family = eqx.field(static=True, default=gaussian)
    power: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)

    @classmethod
    def of(
        cls,
        rows: LabelRows,
        potential: InteratomicPotential,
        *,
        n_configurations: int,
        family: Family = gaussian,
        power: float = 1.0,
    ) -> "LinearisedLabels":
        """From the rows at a potential."""
        return cls(
            parameter_vector(potential),
            residual=jnp.asarray(rows.residual),
            jacobian=jnp.asarray(rows.jacobian),
            kind=jnp.asarray(rows.kind),
            weight=jnp.asarray(rows.weight),
            configuration=jnp.asarray(rows.configuration),
            n_configurations=n_configurations,
            family=family,
            power=jnp.asarray(power),
        )

    def _row_values(self, model: LabelledModel) -> Float[Array, " row"]:
        residual = self.residual + self.jacobian @ (parameter_vector(model.potential) - self.origin)
        return self.weight * self.family(residual, model.noise.by_kind()[self.kind])

    def per_configuration(self, model: LabelledModel) -> Float[Array, " configuration"]:
        """log p of each configuration's labels, untempered."""
        return jax.ops.segment_sum(self._row_values(model), self.configuration, self.n_configurations)

    def log_likelihood(self, model: LabelledModel) -> Float[Array, ""]:
        """η Σ log p."""
        return self.power * jnp.sum(self._row_values(model))


def from_squares(
    squares: Float[Array, " kind"], count: Float[Array, " kind"], model: LabelledModel
) -> Float[Array, ""]:
    """log p(labels | θ, σ) for Gaussian noise, by the weighted sum of squared residuals S_k of each quantity and group k,

        log p = −Σ_k [S_k / (2σ_k²) + n_k log σ_k + (n_k / 2) log 2π].

    Args:
        squares: S.
        count: n, summed weights.
        model: gives σ.
    """
    sigma = model.noise.by_kind()
    return -jnp.sum(squares / (2.0 * sigma**2) + count * (jnp.log(sigma) + 0.5 * jnp.log(2.0 * jnp.pi)))


class QuadraticLabels(ExactLikelihood):
    """The same for Gaussian noise, its cost independent of the number of data.

    With d = θ − θ₀ the weighted sum of squares of kind k is c_k + 2 b_k·d + dᵀ M_k d.

    Attributes:
        origin: θ₀ [parameter].
        constant: c [kind].
        slope: b [kind parameter].
        matrix: M [kind parameter parameter].
        count: n, summed weights [kind].
        power: η.

    Example:
        >>> from bayescg.physics import SpeciesEnergies
        >>> rows = LabelRows(
        ...     residual=np.array([0.3, -0.1]), jacobian=np.ones((2, 1)), kind=np.zeros(2, int), weight=np.ones(2),
        ...     configuration=np.arange(2),
        ... )
        >>> atoms = SpeciesEnergies([-11.5], species=("Ta",))
        >>> labels = QuadraticLabels.of(rows, atoms, n_groups=1)
        >>> moved = SpeciesEnergies([-11.6], species=("Ta",))
        >>> labels.sums_of_squares(moved).round(3).tolist()  # energies, forces, stresses
        [0.08, 0.0, 0.0]
    """

    origin: Float[Array, " parameter"]
    constant: Float[Array, " kind"]
    slope: Float[Array, "kind parameter"]
    matrix: Float[Array, "kind parameter parameter"]
    count: Float[Array, " kind"]
    power: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)

    @classmethod
    def of(
        cls, rows: LabelRows, potential: InteratomicPotential, *, n_groups: int, power: float = 1.0
    ) -> "QuadraticLabels":
        """From the rows at a potential."""
        n_kinds = len(QUANTITIES) * n_groups
        size = rows.jacobian.shape[1]
        constant, count = np.zeros(n_kinds), np.zeros(n_kinds)
        slope, matrix = np.zeros((n_kinds, size)), np.zeros((n_kinds, size, size))
        for k in np.unique(rows.kind):
            mine = rows.kind == k
            r, g, w = rows.residual[mine], rows.jacobian[mine], rows.weight[mine]
            constant[k], count[k] = np.sum(w * r**2), np.sum(w)
            slope[k], matrix[k] = g.T @ (w * r), g.T @ (w[:, None] * g)
        return cls(
            parameter_vector(potential),
            constant=jnp.asarray(constant),
            slope=jnp.asarray(slope),
            matrix=jnp.asarray(matrix),
            count=jnp.asarray(count),
            power=jnp.asarray(power),
        )

    def sums_of_squares(self, potential: InteratomicPotential) -> Float[Array, " kind"]:
        """Weighted sum of squared residuals of each kind."""
        d = parameter_vector(potential) - self.origin
        return self.constant + 2.0 * self.slope @ d + jnp.einsum("i,kij,j->k", d, self.matrix, d)

    def log_likelihood(self, model: LabelledModel) -> Float[Array, ""]:
        """η Σ log p."""
        squares = jnp.maximum(self.sums_of_squares(model.potential), 0.0)
        return self.power * from_squares(squares, self.count, model)
