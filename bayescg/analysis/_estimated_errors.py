"""A response over runs whose errors are themselves estimates from few blocks: Student's t for every run."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.analysis._linear_response import linear_response
from bayescg.analysis._response_posterior import Band, zero_band
from bayescg.errors import ConvergenceError, InputError

_PROPOSALS, _ROUNDS, _LEAST_EFFECTIVE = 10_000, 6, 1000.0
"""Draws of the proposal, how often it is adapted, fewest effective draws."""
_TAIL_DEGREES, _WIDER = 4.0, 1.2
"""Student's t of the proposal, and its width over that of the posterior."""


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
    sampling from a multivariate t, fitted to the posterior in a few rounds, and resampled. Where runs fall into groups that
    contradict each other far beyond their errors the posterior has several modes, of which this may see one.

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
        ConvergenceError: a posterior that the proposal misses, as with tails so heavy that it hardly has a width.

    References:
        Gelman, Carlin, Stern, Dunson, Vehtari & Rubin (2013), doi:10.1201/b16018, section 3.2; Cappé, Guillin, Marin &
        Robert (2004), doi:10.1198/106186004X12803 (adapted proposals).

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
    nu, design = np.minimum(nu, 1e6), x[:, None] ** np.arange(order + 1)

    def log_posterior(draws: np.ndarray) -> np.ndarray:
        scaled = (y - draws @ design.T) / errors
        return np.sum(-0.5 * (nu + 1.0) * np.log1p(scaled**2 / nu), axis=1)

    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    # the covariance of errors taken as known, widened to what the residuals say
    mean = start.coefficients
    covariance = start.covariance * max(1.0, start.chi_squared / max(len(y) - order - 1, 1))
    for _ in range(_ROUNDS):
        draws, log_proposal = _student(mean, covariance * _WIDER**2, rng)
        log_weight = log_posterior(draws) - log_proposal
        weights = np.exp(log_weight - log_weight.max())
        weights /= weights.sum()
        effective = float(1.0 / np.sum(weights**2))
        mean = weights @ draws
        # what few draws say of the width is mixed with the width before
        share = effective / (effective + 10.0 * (order + 1))
        covariance = (
            share * (weights[:, None] * (draws - mean)).T @ (draws - mean) + (1.0 - share) * covariance
        )
    if effective < _LEAST_EFFECTIVE:
        raise ConvergenceError(
            f"linear response: {effective:.0f} effective draws of {_PROPOSALS}; the errors of too few blocks, or runs far"
            " off the others: simulate longer, or leave these out"
        )
    chosen = rng.choice(_PROPOSALS, size=n_draws, p=weights)
    return ResponseDraws(draws[chosen], (float(x.min()), float(x.max())), effective)


def _student(
    mean: Float[np.ndarray, " power"], covariance: Float[np.ndarray, "power power"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "draw power"], Float[np.ndarray, " draw"]]:
    """Draws of a multivariate Student's t with this scale matrix, and their log density up to a constant."""
    size = len(mean)
    z = rng.normal(size=(_PROPOSALS, size))
    z /= np.sqrt(rng.chisquare(_TAIL_DEGREES, size=(_PROPOSALS, 1)) / _TAIL_DEGREES)
    log_density = -0.5 * (_TAIL_DEGREES + size) * np.log1p(np.sum(z**2, axis=1) / _TAIL_DEGREES)
    return mean + z @ np.linalg.cholesky(covariance).T, log_density
