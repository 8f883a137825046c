"""A smooth function of many draws from its values at some of them: polynomials in whitened coordinates."""

import itertools
from collections.abc import Callable
from math import comb

import numpy as np
from jaxtyping import Float, Int

DEGREES = (3, 4)
"""Orders that are tried, one after the other."""
POINTS_PER_COEFFICIENT = 2
FEWEST_POINTS = 200
LARGEST_ERROR = 0.05
"""Largest root mean square leave-one-out error of a log weight: that much noise in it costs 0.25 % of the draws."""
N_HEAVIEST = 32
"""Draws of largest value at which the polynomial is compared again."""


def surface_points(n_coordinates: int, degree: int) -> int:
    """How many values a polynomial is fitted to."""
    return max(FEWEST_POINTS, POINTS_PER_COEFFICIENT * comb(n_coordinates + degree, degree))


def smooth_values(
    function: Callable[[Int[np.ndarray, " some"]], Float[np.ndarray, " some"]],
    whitened: Float[np.ndarray, "draw coordinate"],
    *,
    order: Int[np.ndarray, " draw"],
) -> tuple[Float[np.ndarray, " draw"], float]:
    """Values of a costly smooth function at all draws, computed at some of them where that is accurate enough.

    All monomials up to third order in the coordinates are fitted by least squares to the first draws of a random order, then
    up to fourth order to more of them. What counts as accurate: a root mean square leave-one-out error of at most
    `LARGEST_ERROR`, and an error of at most twice that over the draws where the values come out largest, which are
    computed too.

    Args:
        function: values at draws given by their indices; asked once for each.
        whitened: coordinates of order one.
        order: a random permutation of the draws.

    Returns:
        The values, exact where they were computed; and the larger of the leave-one-out error and half of that over the
        largest values; infinite where no polynomial is accurate enough.

    Example:
        >>> w = np.random.default_rng(0).normal(size=(2000, 2))
        >>> values, error = smooth_values(lambda i: w[i, 0] ** 3 - w[i, 1], w, order=np.arange(2000))
        >>> bool(error < 1e-10), bool(np.allclose(values, w[:, 0] ** 3 - w[:, 1]))
        (True, True)
    """
    n_draws, n_coordinates = whitened.shape
    known, done = np.full(n_draws, np.nan), np.zeros(n_draws, bool)

    def compute(draws: Int[np.ndarray, " some"]) -> None:
        new = draws[~done[draws]]
        if len(new):
            known[new], done[new] = function(new), True

    for degree in DEGREES:
        n_points = surface_points(n_coordinates, degree)
        if 2 * n_points > n_draws:
            break
        chosen = order[:n_points]
        compute(chosen)
        if not np.all(np.isfinite(known[chosen])):
            break
        basis = _monomials(whitened, degree)
        q, r = np.linalg.qr(basis[chosen])
        values = basis @ np.linalg.lstsq(r, q.T @ known[chosen], rcond=None)[0]
        left_out = (known - values)[chosen] / np.maximum(1.0 - np.sum(q**2, axis=1), 1e-3)
        error = float(np.sqrt(np.mean(left_out**2)))
        if not error <= LARGEST_ERROR:
            continue
        heaviest = np.argsort(values)[-N_HEAVIEST:]
        compute(heaviest)
        error = max(error, 0.5 * float(np.sqrt(np.mean((known - values)[heaviest] ** 2))))
        if error <= LARGEST_ERROR:
            return np.where(done, known, values), error
    return known, np.inf


def _monomials(x: Float[np.ndarray, "draw coordinate"], degree: int) -> Float[np.ndarray, "draw monomial"]:
    """All products of at most so many coordinates."""
    columns = [np.ones(len(x))]
    for n in range(1, degree + 1):
        for indices in itertools.combinations_with_replacement(range(x.shape[1]), n):
            columns.append(np.prod(x[:, indices], axis=1))
    return np.stack(columns, axis=1)
