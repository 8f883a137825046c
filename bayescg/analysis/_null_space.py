"""Structural unidentifiability: directions about which no amount of the same data would tell."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayescg.errors import InputError

NULL = 1e-10
"""Share of the largest information below which a direction has none at all."""

NULL_PARTICIPATION = 1e-6
"""Share v_i² in directions without information from which on a parameter counts as part of them."""


class NullSpace(NamedTuple):
    """What has no information at any of several values of the parameters.

    Attributes:
        dimension: number of directions without information, at the value where there are fewest.
        parameters: whether each coordinate takes part in them at every value [coordinate].
        absent: whether the data do not depend on the coordinate at all [coordinate].

    Example:
        >>> ratio = np.array([1.0, -1.0, 0.0])  # of the first two; the third is not in the likelihood
        >>> found = null_space(np.outer(ratio, ratio)[None], prior_spread=np.ones(3))
        >>> found.dimension, found.parameters.tolist(), found.absent.tolist()
        (2, [True, True, True], [False, False, True])
    """

    dimension: int
    parameters: np.ndarray
    absent: np.ndarray


def null_space(
    information: Float[np.ndarray, "point coordinate coordinate"],
    *,
    prior_spread: Float[np.ndarray, " coordinate"],
) -> NullSpace:
    """Structural unidentifiability: directions with less than 1e-10 of the largest information at several values.

    Information is compared in units of the prior's standard deviations, so that units do not matter. A direction that is
    null only at one value (a symmetric point, say) does not count.

    Args:
        information: Fisher information at each value, from `information_at` or labels' Jacobians.
        prior_spread: prior standard deviation of each coordinate.

    Raises:
        InputError: information that is not finite, or of another size.

    Example:
        >>> null_space(np.diag([4.0, 0.0])[None], prior_spread=np.ones(2)).parameters.tolist()
        [False, True]
    """
    spread = np.asarray(prior_spread, float)
    information = np.asarray(information, float)
    if information.ndim != 3 or information.shape[1:] != (len(spread), len(spread)):
        raise InputError(
            f"information of shape {information.shape} for {len(spread)} coordinates: [point, n, n] is needed"
        )
    if not np.all(np.isfinite(information)):
        raise InputError("information at one of the values is not finite; leave that value out")
    scaled = spread[:, None] * (information + information.swapaxes(1, 2)) / 2.0 * spread
    values, vectors = np.linalg.eigh(scaled)
    null = values <= NULL * np.maximum(values[:, -1:], 1e-300)
    part = np.einsum("kid,kd->ki", vectors**2, null)
    diagonal = np.diagonal(scaled, axis1=1, axis2=2)
    absent = np.all(diagonal <= NULL * np.maximum(values[:, -1:], 1e-300), axis=0)
    return NullSpace(int(null.sum(axis=1).min()), np.all(part > NULL_PARTICIPATION, axis=0), absent)
