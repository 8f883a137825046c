"""A response over runs whose errors are themselves estimates from few blocks: Student's t for every run."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.analysis._linear_response import linear_response
from bayescg.analysis._response_posterior import Band, zero_band
from bayescg.errors import ConvergenceError, InputError

_PROPOSALS, _TAIL_DEGREES, _WIDER, _LEAST_EFFECTIVE = 16_000, 5.0, 1.2, 400.0
"""Draws of the proposal, its Student's t, its width over that of the posterior, fewest effective draws."""


class ResponseDraws(NamedTuple):
    """Posterior draws of the coefficients of a polynomial response.

    Attributes:
        coefficients: ascending powers.
        domain: smallest and largest x of the runs.
        effective_draws: Kish's number behind them.

    Example:
        >>> draws = ResponseDraws(np.array([[0.9, 1.0], [1.0, 1.0], [1.1, 1.0]]), (-2.0, 2.0), 3.0)
        >>> round(draws.intercept(0.5).value, 6)
        1.0
    """

    coefficients: Float[np.ndarray, "draw power"]
    domain: tuple[float, float]
    effective_draws: float

    def at(self, x: float, level: float = 0.95) -> Band:
        """The mean response at x."""
        return _band(self.coefficients @ x ** np.arange(self.coefficients.shape[1]), level)

    def intercept(self, level: float = 0.95) -> Band:
        """The response at x = 0."""
        return self.at(0.0, level)

    def slope(self, level: float = 0.95, *, x: float = 0.0) -> Band:
        """Derivative of the response at x."""
        powers = np.arange(1, self.coefficients.shape[1])
        return _band(self.coefficients[:, 1:] @ (powers * x ** (powers - 1)), level)

    def zero(self, level: float = 0.95) -> Band:
        """The x at which the response vanishes, as `LinearResponse.zero`.

        Raises:
            InputError: the mean response has no zero within one span of the runs on either side.
        """
        powers, mean = np.arange(self.coefficients.shape[1]), self.coefficients.mean(axis=0)

        def positive(x: np.ndarray) -> np.ndarray:
            return np.mean((np.asarray(x)[..., None] ** powers) @ self.coefficients.T > 0.0, axis=-1)

        return zero_band(lambda x: np.polyval(mean[::-1], x), positive, self.domain, level)


def _band(values: Float[np.ndarray, " draw"], level: float) -> Band:
    low, high = np.quantile(values, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    return Band(float(values.mean()), float(low), float(high))


def estimated_error_response(
    x: Float[np.ndarray, " run"],
    y: Float[np.ndarray, " run"],
    *,
    errors: Float[np.ndarray, " run"],
    degrees_of_freedom: Float[np.ndarray, " run"],
    key: Key[Array, ""],
    order: int = 1,
    n_draws: int = 4000,
) -> ResponseDraws:
    """Posterior of a polynomial response where each run's error was estimated from a few blocks of its own.

    A mean over ν + 1 blocks with standard error e, its variance integrated out with the prior 1/s², is distributed about
    the response as Student's t of ν degrees of freedom and scale e. Coefficients have a flat prior. Drawn by importance
    sampling from a multivariate t about the mode, and resampled.

    Args:
        x: what was changed.
        y: the mean response of each run.
        errors: standard error of each y, estimated.
        degrees_of_freedom: ν of each, as in `Estimate`.
        key: PRNG key.
        order: highest power.
        n_draws: draws returned.

    Raises:
        InputError: shapes that do not fit, errors or degrees of freedom that are not positive.
        ConvergenceError: runs that contradict each other so much that the proposal misses the posterior.

    References:
        Gelman, Carlin, Stern, Dunson, Vehtari & Rubin (2013), doi:10.1201/b16018, sections 3.2 and 10.4.

    Example:
        >>> charge = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
        >>> voltage = np.array([-1.51, -0.49, 0.52, 1.48, 2.50])
        >>> few = dict(errors=np.full(5, 0.02), degrees_of_freedom=np.full(5, 4.0), key=jax.random.key(0))
        >>> band = estimated_error_response(charge, voltage, **few).intercept()
        >>> bool(band.low < 0.5 < band.high and band.high - band.low > 0.036)  # wider than with errors known
        True
    """
    x, y, errors, nu = (np.asarray(a, float) for a in (x, y, errors, degrees_of_freedom))
    if nu.shape != y.shape or not (nu > 0.0).all():
        raise InputError(
            f"linear response: degrees of freedom of the shape {nu.shape}; expected {y.size} positive numbers"
        )
    start = linear_response(x, y, order=order, errors=errors).parts[0]
    nu = np.minimum(nu, 1e6)
    design = x[:, None] ** np.arange(order + 1)

    def weight(b: np.ndarray) -> np.ndarray:
        """Of each run at the coefficients: small for runs that lie far off."""
        return (nu + 1.0) / (nu + ((y - design @ b) / errors) ** 2) / errors**2

    mode = start.coefficients
    for _ in range(100):
        w = weight(mode)
        mode = np.linalg.solve((design.T * w) @ design, design.T @ (w * y))
    information = (design.T * ((nu + 1.0) / (nu + 3.0) / errors**2)) @ design
    root = np.linalg.cholesky(np.linalg.inv(information)) * _WIDER
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    z = rng.normal(size=(_PROPOSALS, order + 1))
    z /= np.sqrt(rng.chisquare(_TAIL_DEGREES, size=(_PROPOSALS, 1)) / _TAIL_DEGREES)
    draws = mode + z @ root.T
    log_proposal = -0.5 * (_TAIL_DEGREES + order + 1) * np.log1p(np.sum(z**2, axis=1) / _TAIL_DEGREES)
    scaled = (y - draws @ design.T) / errors
    log_weight = np.sum(-0.5 * (nu + 1.0) * np.log1p(scaled**2 / nu), axis=1) - log_proposal
    weights = np.exp(log_weight - log_weight.max())
    effective = float(weights.sum() ** 2 / np.sum(weights**2))
    if effective < _LEAST_EFFECTIVE:
        raise ConvergenceError(
            f"linear response: {effective:.0f} effective draws of {_PROPOSALS}; some runs lie far off the others: look at"
            " them, or raise the order"
        )
    chosen = rng.choice(_PROPOSALS, size=n_draws, p=weights / weights.sum())
    return ResponseDraws(draws[chosen], (float(x.min()), float(x.max())), effective)
