"""A direction of parameter space as a formula people read: the monomial ε σ⁶, or the sum a − 2 b."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.inference import Prior

LARGEST_INTEGER = 12
"""Largest exponent that is looked for among small integers."""


class Combination(NamedTuple):
    """A linear combination of coordinates in a readable normal form; of log parameters it is a monomial.

    Attributes:
        names: of the coordinates that take part.
        exponents: their coefficients, integers where the direction is close to them.
        logarithmic: whether each coordinate is the logarithm of what its name says.
        places: their indices among all coordinates.
        dropped: share of the direction's square that was left out as insignificant.

    Example:
        >>> combination(np.array([1.0, 6.0]) / np.sqrt(37.0), ("epsilon", "sigma")).text
        'epsilon sigma^6'
    """

    names: tuple[str, ...]
    exponents: np.ndarray
    logarithmic: tuple[bool, ...]
    places: np.ndarray
    dropped: float

    @property
    def text(self) -> str:
        """In words: a monomial if all coordinates are logarithms, else a sum."""
        if all(self.logarithmic):
            return _monomial(self.names, self.exponents)
        names = [f"ln {n}" if log else n for n, log in zip(self.names, self.logarithmic)]
        return _sum(names, self.exponents)

    def vector(self, size: int) -> Float[np.ndarray, " coordinate"]:
        """The coefficients as a vector over all coordinates."""
        whole = np.zeros(size)
        whole[self.places] = self.exponents
        return whole


def logarithmic_coordinates(prior: Prior) -> tuple[bool, ...]:
    """Whether each unconstrained coordinate of a prior is the logarithm of its parameter.

    Example:
        >>> import numpyro.distributions as dist
        >>> from bayescg.inference import independent_prior
        >>> from bayescg.physics import DoubleWell
        >>> well = DoubleWell(1.0, 1.0)
        >>> prior = independent_prior(well, {"well_t1": dist.Normal(1, 2), "well_t2": dist.Gamma(2, 1)})
        >>> logarithmic_coordinates(prior)
        (False, True)
    """
    kinds = np.ones(prior.size, bool)
    for value in (-0.7, 0.4):
        sites = prior.sites(jnp.full(prior.size, value))
        found = [
            float(sites[c.site][c.place]) if _has(sites[c.site], c.place) else np.nan
            for c in prior.coordinates
        ]
        kinds &= np.isclose(found, np.exp(value), rtol=1e-5)
    return tuple(bool(kind) for kind in kinds)


def _has(value: Array, place: tuple[int, ...]) -> bool:
    """Whether an array has this entry: a constrained value may have another shape than its coordinates."""
    return value.ndim == len(place) and all(i < n for i, n in zip(place, value.shape))


def participation(
    directions: Float[np.ndarray, "*direction coordinate"],
) -> Float[np.ndarray, "*direction coordinate"]:
    """Share v_i²/|v|² that each coordinate has in a direction.

    Example:
        >>> participation(np.array([3.0, 4.0])).round(2).tolist()
        [0.36, 0.64]
    """
    square = np.asarray(directions) ** 2
    return square / np.sum(square, axis=-1, keepdims=True)


def combination(
    direction: Float[np.ndarray, " coordinate"],
    names: Sequence[str],
    *,
    logarithmic: Sequence[bool] | None = None,
    least_participation: float = 0.01,
    integer_tolerance: float = 0.04,
) -> Combination:
    """A direction in its normal form.

    Coordinates with less than `least_participation` are left out. The rest is divided by the significant exponent, or
    twice or three times its inverse, that makes all of them small integers, within `integer_tolerance` of each; where
    none does, by the largest, and rounded to two digits (more with a smaller tolerance). The sign makes the exponent of
    the largest positive, of equal ones the first.

    Args:
        direction: coefficients, of any length.
        names: of the coordinates.
        logarithmic: whether each coordinate is the logarithm of what its name says; default all.
        least_participation: share v_i²/|v|² below which a coordinate is dropped.
        integer_tolerance: largest relative distance of an exponent from its integer.

    Raises:
        InputError: a direction without length, not finite, or of another size than the names.

    Example:
        >>> combination(np.array([-0.70, 0.71, 0.01]), ("k", "gamma", "mass")).text
        'gamma / k'
        >>> combination(np.array([0.5, -1.0]), ("a", "b"), logarithmic=(False, False)).text
        '2 b - a'
    """
    direction = np.asarray(direction, float)
    logs = (True,) * len(names) if logarithmic is None else tuple(bool(log) for log in logarithmic)
    if direction.shape != (len(names),) or len(logs) != len(names):
        raise InputError(
            f"a direction of shape {direction.shape} cannot be named by {len(names)} names and {len(logs)} kinds of"
            " coordinate: give one of each for every entry"
        )
    if not (np.all(np.isfinite(direction)) and np.any(direction != 0.0)):
        raise InputError("a direction must be finite and have a length: found zeros, infinities or NaN")
    share = participation(direction)
    places = np.flatnonzero((share >= min(least_participation, share.max())) & (share > 0.0))
    kept = direction[places]
    largest = np.argmax(np.abs(kept) > 0.99 * np.abs(kept).max())
    kept = kept * np.sign(kept[largest])
    return Combination(
        tuple(names[int(i)] for i in places),
        _simple(kept, integer_tolerance),
        tuple(logs[int(i)] for i in places),
        places,
        float(1.0 - share[places].sum()),
    )


def _simple(exponents: np.ndarray, tolerance: float) -> np.ndarray:
    """The smallest integers in these proportions, or a few digits relative to the largest."""
    for multiple, largest in (
        (1.0, LARGEST_INTEGER),
        (2.0, LARGEST_INTEGER // 2),
        (3.0, LARGEST_INTEGER // 2),
    ):
        for unit in np.sort(np.abs(exponents)):
            scaled = multiple * exponents / unit
            near = np.round(scaled)
            close = np.all(np.abs(scaled - near) <= tolerance * np.abs(near))
            if close and 1 <= np.abs(near).min() and np.abs(near).max() <= largest:
                return near / np.gcd.reduce(np.abs(near).astype(int))
    relative = exponents / np.abs(exponents).max()
    digits = max(2, round(-np.log10(max(tolerance, 1e-12))) + 1)
    return np.array([float(f"{x:.{digits - 1}e}") for x in relative])


def _monomial(names: Sequence[str], exponents: np.ndarray) -> str:
    above = [_power(n, e) for n, e in zip(names, exponents) if e > 0]
    below = [_power(n, -e) for n, e in zip(names, exponents) if e < 0]
    if not below:
        return " ".join(above)
    quotient = below[0] if len(below) == 1 else f"({' '.join(below)})"
    return f"{' '.join(above)} / {quotient}"


def _power(name: str, exponent: float) -> str:
    return name if exponent == 1.0 else f"{name}^{exponent:g}"


def _sum(names: Sequence[str], coefficients: np.ndarray) -> str:
    positive = sorted(zip(coefficients < 0, range(len(names))))  # positive ones first
    words = ""
    for negative, i in positive:
        size = abs(coefficients[i])
        term = names[i] if size == 1.0 else f"{size:g} {names[i]}"
        words += (" - " if negative else " + " if words else "") + term
    return words
