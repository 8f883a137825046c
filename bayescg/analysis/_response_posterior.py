"""What is known of a response after regression: its band, slope, intercept and zero, of one polynomial or several."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import stdtr

from bayescg.errors import InputError
from bayescg.physics import Estimate

_FAR = 1e3
"""Reach of the search for an end of an interval, in spans of the data; what lies beyond is as good as unbounded."""


class Band(NamedTuple):
    """A number with the interval that holds it with the probability asked for.

    Attributes:
        value: posterior mean; the best estimate for a zero.
        low: lower end, −inf where unbounded.
        high: upper end, inf where unbounded.

    Example:
        >>> Band(1.0, 0.5, 1.5).high
        1.5
    """

    value: float
    low: float
    high: float


class NormalInverseGamma(NamedTuple):
    """b | s² ~ N(mean, s² precision⁻¹), s² ~ inverse gamma(shape, rate): the conjugate law of coefficients and noise.

    Attributes:
        mean: of the coefficients.
        precision: in units of 1/s².
        shape: of the inverse gamma.
        rate: of it.

    References:
        Bernardo & Smith (2000), doi:10.1002/9780470316870, appendix A.2.

    Example:
        >>> prior = NormalInverseGamma.reference(1)
        >>> posterior = prior.updated(np.ones((4, 1)), np.array([1.0, 2.0, 3.0, 4.0]))
        >>> posterior.mean.tolist(), posterior.shape, posterior.rate  # n/2 − 1/2, half the sum of squares
        ([2.5], 1.5, 2.5)
    """

    mean: Float[np.ndarray, " power"]
    precision: Float[np.ndarray, "power power"]
    shape: float
    rate: float

    @classmethod
    def reference(cls, size: int) -> "NormalInverseGamma":
        """Flat in the coefficients and in ln s: intervals then cover as often as they say."""
        return cls(np.zeros(size), np.zeros((size, size)), -0.5 * size, 0.0)

    def updated(
        self, design: Float[np.ndarray, "run power"], response: Float[np.ndarray, " run"]
    ) -> "NormalInverseGamma":
        """Posterior after responses with independent noise of one variance s²."""
        precision = self.precision + design.T @ design
        mean = np.linalg.solve(precision, self.precision @ self.mean + design.T @ response)
        left, moved = response - design @ mean, mean - self.mean
        rate = self.rate + 0.5 * (left @ left + moved @ self.precision @ moved)
        return NormalInverseGamma(mean, precision, self.shape + 0.5 * len(response), float(rate))


class PolynomialPosterior(NamedTuple):
    """Posterior of the coefficients of a polynomial: normal, or Student's t where the noise is estimated.

    Attributes:
        coefficients: posterior mean, ascending powers.
        covariance: of the normal; the scale matrix of Student's t.
        degrees_of_freedom: inf where the noise is known.
        chi_squared: sum of squared residuals over their given variances.
        noise_factor: s, by which the given errors have to be multiplied; 1 where they are known.

    Example:
        >>> line = PolynomialPosterior(np.array([1.0, 2.0]), np.eye(2), np.inf, 3.0, 1.0)
        >>> line.at(3.0).value, round(line.at(3.0).standard_error, 4)
        (7.0, 3.1623)
    """

    coefficients: Float[np.ndarray, " power"]
    covariance: Float[np.ndarray, "power power"]
    degrees_of_freedom: float
    chi_squared: float
    noise_factor: float

    def at(self, x: float) -> Estimate:
        """The polynomial at x."""
        return self._combination(x ** np.arange(len(self.coefficients)))

    def slope_at(self, x: float) -> Estimate:
        """Its derivative at x."""
        powers = np.arange(len(self.coefficients))
        return self._combination(np.where(powers > 0, powers * x ** np.maximum(powers - 1, 0), 0.0))

    def positive(self, x: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """Probability that the polynomial is positive at each x."""
        rows = np.asarray(x, float)[..., None] ** np.arange(len(self.coefficients))
        error = np.sqrt(np.sum((rows @ self.covariance) * rows, axis=-1))
        return stdtr(min(self.degrees_of_freedom, 1e6), rows @ self.coefficients / np.maximum(error, 1e-300))

    def _combination(self, c: Float[np.ndarray, " power"]) -> Estimate:
        error = np.sqrt(c @ self.covariance @ c)
        return Estimate(float(c @ self.coefficients), float(error), self.degrees_of_freedom)


class LinearResponse(NamedTuple):
    """Posterior of a response as a function of what was changed from run to run; of one order or averaged over orders.

    Attributes:
        parts: posterior of each order.
        probabilities: of the orders.
        domain: smallest and largest x of the runs.

    Example:
        >>> line = PolynomialPosterior(np.array([-1.0, 2.0]), np.diag([0.01, 0.0]), np.inf, 3.0, 1.0)
        >>> response = LinearResponse((line,), np.ones(1), (-1.0, 1.0))
        >>> [round(v, 3) for v in response.intercept(0.95)]
        [-1.0, -1.196, -0.804]
        >>> [round(v, 3) for v in response.zero(0.95)]
        [0.5, 0.402, 0.598]
    """

    parts: tuple[PolynomialPosterior, ...]
    probabilities: Float[np.ndarray, " order"]
    domain: tuple[float, float]

    def at(self, x: float, level: float = 0.95) -> Band:
        """The mean response at x, without the noise of a single run."""
        return _band([part.at(x) for part in self.parts], self.probabilities, level)

    def intercept(self, level: float = 0.95) -> Band:
        """The response at x = 0: the potential of zero charge where x is the charge."""
        return self.at(0.0, level)

    def slope(self, level: float = 0.95, *, x: float = 0.0) -> Band:
        """Derivative of the response at x: the inverse of a capacitance where x is the charge."""
        return _band([part.slope_at(x) for part in self.parts], self.probabilities, level)

    def zero(self, level: float = 0.95) -> Band:
        """The x at which the response vanishes.

        Where the response rises, its zero lies below x with the probability that the response at x is positive. Solved for
        the two tails this is Fieller's interval for a line; it is unbounded where the slope may be of either sign.

        Raises:
            InputError: the mean response has no zero within one span of the runs on either side.

        References:
            Fieller (1954), doi:10.1111/j.2517-6161.1954.tb00159.x.
        """

        def mean(x: np.ndarray) -> np.ndarray:
            return sum(w * np.polyval(part.coefficients[::-1], x) for w, part in zip(weights, self.parts))

        def positive(x: np.ndarray) -> np.ndarray:
            return sum(w * part.positive(x) for w, part in zip(weights, self.parts))

        weights = self.probabilities
        return zero_band(mean, positive, self.domain, level)


def _distribution(estimates: Sequence[Estimate], weights: np.ndarray, value: float) -> float:
    """Probability below a value of a mixture of Student's t."""
    return float(
        sum(
            w * stdtr(min(e.degrees_of_freedom, 1e6), (value - e.value) / max(e.standard_error, 1e-300))
            for w, e in zip(weights, estimates)
        )
    )


def _band(estimates: Sequence[Estimate], weights: np.ndarray, level: float) -> Band:
    """Mean and central interval of a mixture; the ends lie between those of its parts."""
    value = float(sum(w * e.value for w, e in zip(weights, estimates)))
    ends = np.array([e.interval(level) for e in estimates])
    if len(estimates) == 1:
        return Band(value, *ends[0].tolist())
    limits = []
    for column, tail in ((0, 0.5 - 0.5 * level), (1, 0.5 + 0.5 * level)):
        low, high = ends[:, column].min(), ends[:, column].max()
        if high - low <= 1e-12 * (1.0 + abs(high)):
            limits.append(float(high))
            continue
        margin = 1e-9 * (high - low)
        limits.append(
            brentq(
                lambda v, tail=tail: _distribution(estimates, weights, v) - tail, low - margin, high + margin
            )
        )
    return Band(value, *limits)


def zero_band(
    mean: Callable[[np.ndarray], np.ndarray],
    positive: Callable[[np.ndarray], np.ndarray],
    domain: tuple[float, float],
    level: float,
) -> Band:
    """Zero of a response nearest to the middle of the runs, and the interval between its two tails.

    Args:
        mean: the mean response at several x.
        positive: probability that the response is positive there.
        domain: of the runs.
        level: probability inside.

    Raises:
        InputError: no zero within one span of the runs on either side.
    """
    low, high = domain
    span, middle = high - low, 0.5 * (low + high)
    grid = np.linspace(low - span, high + span, 601)
    values = mean(grid)
    change = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) <= 0)
    if not len(change):
        raise InputError(
            f"linear response: the mean response has no zero between {grid[0]:.4g} and {grid[-1]:.4g}; add runs nearer"
            " to it"
        )
    k = change[np.argmin(np.abs(grid[change] - middle))]
    best = float(grid[k]) if values[k] == 0.0 else float(brentq(mean, grid[k], grid[k + 1]))
    rises = values[k + 1] > values[k]
    steps = np.concatenate([[0.0], span * np.geomspace(1e-6, _FAR, 200)])

    def beyond(step: np.ndarray, direction: float) -> np.ndarray:
        """Probability that the zero lies farther than a step in a direction, less the tail."""
        p = positive(best + direction * step)
        return (p if rises == (direction < 0) else 1.0 - p) - (0.5 - 0.5 * level)

    def end(direction: float) -> float:
        past = np.flatnonzero(beyond(steps, direction) <= 0.0)
        if not len(past):
            return direction * np.inf
        k = max(int(past[0]), 1)
        return best + direction * float(brentq(beyond, steps[k - 1], steps[k], args=(direction,)))

    return Band(best, end(-1.0), end(1.0))
