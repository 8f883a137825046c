"""Bases of different size as linear maps of one finest basis: the frames are reduced once, for all of them."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.inference import default_smoothness_weights
from bayescg.inference._prior import second_differences
from bayescg.physics import HistogramPair, PairPotential, SplinePair

NESTED = 1e-9
"""Largest misfit, relative to a function's height, at which one basis holds the functions of another."""


class LinearBasis(NamedTuple):
    """A model U = η·φ with η = offset + matrix θ, of features φ that are finer than its own.

    Its own features are matrixᵀ φ: what is stored of a frame for the finest basis serves every coarser one.

    Attributes:
        label: what the basis is called in tables and figures.
        matrix: a column for each coefficient θ [feature coefficient].
        offset: coefficients of the features that are not inferred [feature] [energy / unit of the feature].
        prior_precision: Λ of a Gaussian prior on θ; zeros for none [coefficient coefficient].
        prior_mean: its mean [coefficient].

    Example:
        >>> two = chosen_features(4, [0, 1])
        >>> two.label, two.size, two.coefficients(np.array([3.0, 5.0])).tolist()
        ('2', 2, [3.0, 5.0, 0.0, 0.0])
    """

    label: str
    matrix: Float[np.ndarray, "feature coefficient"]
    offset: Float[np.ndarray, " feature"]
    prior_precision: Float[np.ndarray, "coefficient coefficient"]
    prior_mean: Float[np.ndarray, " coefficient"]

    @property
    def size(self) -> int:
        """Number of coefficients that are inferred."""
        return self.matrix.shape[1]

    def coefficients(self, theta: Float[np.ndarray, "*fit coefficient"]) -> Float[np.ndarray, "*fit feature"]:
        """η of the finest features [energy / unit of the feature]."""
        return self.offset + theta @ self.matrix.T


def chosen_features(
    n_features: int, columns: Sequence[int], *, label: str | None = None, precision: float = 0.0
) -> LinearBasis:
    """The basis of some of the features, the others having coefficient 0.

    Args:
        n_features: of the finest basis.
        columns: which; none is the model without interaction.
        label: default the number of columns.
        precision: of independent Gaussian priors about 0 [1/(unit of the coefficient)²].

    Raises:
        InputError: a column that does not exist or stands twice.

    Example:
        >>> chosen_features(4, [0, 2]).matrix.T.tolist()
        [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    """
    if len(set(columns)) != len(columns) or not all(0 <= c < n_features for c in columns):
        raise InputError(
            f"basis: columns {list(columns)} of {n_features} features; give different numbers from 0 to {n_features - 1}"
        )
    return _basis(
        label or str(len(columns)),
        np.eye(n_features)[:, list(columns)],
        np.zeros(n_features),
        precision * np.eye(len(columns)),
    )


def spline_basis(
    fine: SplinePair, coarse: SplinePair, *, smoothness: float | None = None, label: str | None = None
) -> LinearBasis:
    """A coarse pair spline whose knots are all knots of the finest one; both share the finest one's core.

    Args:
        fine: the spline of the stored features.
        coarse: between the same distances, on some of the knots.
        smoothness: scale of the random-walk prior on the *fine* spline's coefficients [energy]; None for no prior.
            A walk with the same function-space spread on knots h apart has second differences that grow as h^(3/2).
        label: default the number of coefficients.

    Raises:
        InputError: a coarse spline that the fine one cannot make exactly.

    Example:
        >>> def spline(spacing):
        ...     return SplinePair.uniform(inner=0.3, cutoff=0.9, spacing=spacing, core_distance=0.3, core_strength=10.0)
        >>> basis = spline_basis(spline(0.05), spline(0.1), smoothness=0.2)
        >>> basis.label, basis.matrix.shape, float(basis.offset[-1])
        ('6', (13, 6), 1.0)
    """
    r2 = jnp.linspace(fine.knots[0], fine.cutoff, max(2048, 40 * len(fine.knots))) ** 2
    inner, outer = (np.asarray(_pair_basis(term, r2))[:, :-1] for term in (fine, coarse))
    matrix = np.linalg.lstsq(inner, outer, rcond=None)[0]
    misfit = np.max(np.abs(inner @ matrix - outer), axis=0) / np.max(np.abs(outer), axis=0)
    if coarse.knots[0] != fine.knots[0] or coarse.cutoff != fine.cutoff or np.max(misfit) > NESTED:
        raise InputError(
            f"spline basis: {len(coarse.knots)} knots that are not all among the {len(fine.knots)} of the stored"
            " features; use knots that are, from the same first knot to the same cutoff"
        )
    precision = np.zeros((matrix.shape[1], matrix.shape[1]))
    if smoothness is not None:
        spacing = [term.knots[1] - term.knots[0] for term in (fine, coarse)]
        scale = smoothness * (spacing[1] / spacing[0]) ** 1.5
        weights = np.asarray(default_smoothness_weights(coarse.parameters()[0]))
        bends = np.asarray(second_differences(jnp.eye(matrix.shape[1]))) / weights  # of each coefficient
        precision = bends @ bends.T / scale**2
    offset = np.zeros(len(matrix) + 1)
    offset[-1] = 1.0
    return _basis(
        label or str(matrix.shape[1]), np.vstack([matrix, np.zeros(matrix.shape[1])]), offset, precision
    )


def histogram_basis(
    fine: HistogramPair, coarse: PairPotential, *, fixed: int = 0, label: str | None = None
) -> LinearBasis:
    """A pair basis read off a fine histogram of squared distances, interpolated linearly between its nodes.

    Args:
        fine: of the stored features, one for each node.
        coarse: any pair potential that is linear in its coefficients.
        fixed: how many of its last features have a coefficient that is not inferred, as a spline's core has.
        label: default the number of coefficients.

    Raises:
        InputError: a coarse potential that reaches beyond the histogram.

    Example:
        >>> from bayescg.physics import WeeksChandlerAndersen
        >>> bins = WeeksChandlerAndersen(1.0, 1.0, inner=0.7, cutoff=2.0, n_nodes=64)
        >>> spline = SplinePair.uniform(inner=0.7, cutoff=2.0, spacing=0.26, core_distance=0.8, core_strength=1.0)
        >>> histogram_basis(bins, spline, fixed=1).matrix.shape
        (64, 5)
    """
    if coarse.cutoff > fine.cutoff:
        raise InputError(
            f"histogram basis: a cutoff of {coarse.cutoff:g} beyond the histogram's {fine.cutoff:g}; shorten it"
        )
    values = np.asarray(_pair_basis(coarse, jnp.asarray(fine.nodes())))
    size = values.shape[1] - fixed
    offset = values[:, size:] @ np.asarray(coarse.coefficients())[size:]
    return _basis(label or str(size), values[:, :size], offset, np.zeros((size, size)))


@eqx.filter_jit
def _pair_basis(term: PairPotential, r2: Float[Array, " pair"]) -> Float[Array, "pair feature"]:
    return term.pair_basis(r2)


def _basis(label: str, matrix: np.ndarray, offset: np.ndarray, precision: np.ndarray) -> LinearBasis:
    return LinearBasis(label, matrix, offset, precision, np.zeros(matrix.shape[1]))
