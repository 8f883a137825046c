"""A response measured in a series of runs, such as a voltage against charge: slope, intercept and zero with their bands."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular
from scipy.special import comb, stdtr
from scipy.stats import chi2

from bayescg.analysis._response_posterior import LinearResponse, NormalInverseGamma, PolynomialPosterior
from bayescg.errors import InputError
from bayescg.physics import Estimate


def linear_response(
    x: Float[np.ndarray, " run"],
    y: Float[np.ndarray, " run"],
    *,
    order: int = 1,
    errors: Float[np.ndarray, " run"] | None = None,
    covariance: Float[np.ndarray, "run run"] | None = None,
    scale_known: bool = True,
    prior: NormalInverseGamma | None = None,
) -> LinearResponse:
    """Polynomial of one order through a series of runs, in closed form.

    y = Σ_j b_j x^j + noise, the noise normal with the given errors or covariance, times a factor s that is 1
    (`scale_known`) or inferred with them: normal-inverse-gamma. Errors that the runs share, such as that of a common
    reference, belong into the covariance: they widen the intercept and not the slope.

    Args:
        x: what was changed, such as the surface charge.
        y: the mean response of each run.
        order: highest power.
        errors: standard error of each y; if neither is given all are alike and unknown.
        covariance: of the y, in place of `errors`.
        scale_known: take errors or covariance at their word, s = 1; else only their ratios count.
        prior: of the coefficients and s²; flat in b and ln s by default.

    Raises:
        InputError: shapes that do not fit, errors that are not positive, too few runs or too few different x.

    Returns:
        The posterior: `intercept`, `slope`, `at` and `zero` with their bands.

    Example:
        >>> charge = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
        >>> voltage = np.array([-1.51, -0.49, 0.52, 1.48, 2.50])
        >>> found = linear_response(charge, voltage, errors=np.full(5, 0.02))
        >>> [round(v, 3) for v in found.intercept()]
        [0.5, 0.482, 0.518]
        >>> [round(v, 3) for v in found.zero()]
        [-0.501, -0.519, -0.482]
    """
    part = _posterior(
        *_whitened(x, y, errors, covariance),
        order,
        scale_known and (errors is not None or covariance is not None),
        prior,
    )
    return LinearResponse((part,), np.ones(1), (float(np.min(x)), float(np.max(x))))


class CurvatureTest(NamedTuple):
    """Whether runs ask for one more power.

    Attributes:
        coefficient: of that power.
        p_value: two-sided, of no such term.
        misfit: probability of a χ² as large as that of the lower order, NaN where the noise is not known.

    Example:
        >>> CurvatureTest(Estimate(0.1, 0.1, 9.0), 0.34, 0.5).p_value
        0.34
    """

    coefficient: Estimate
    p_value: float
    misfit: float


def curvature_test(
    x: Float[np.ndarray, " run"],
    y: Float[np.ndarray, " run"],
    *,
    order: int = 1,
    errors: Float[np.ndarray, " run"] | None = None,
    covariance: Float[np.ndarray, "run run"] | None = None,
    scale_known: bool = True,
) -> CurvatureTest:
    """Test of the power `order` + 1 beside all lower ones; arguments as in `linear_response`.

    Raises:
        InputError: as `linear_response`.

    Example:
        >>> x = np.linspace(-1.0, 1.0, 9)
        >>> curvature_test(x, x + 0.3 * x**2, errors=np.full(9, 0.02)).p_value < 1e-6
        True
    """
    known = scale_known and (errors is not None or covariance is not None)
    data = _whitened(x, y, errors, covariance)
    higher = _posterior(*data, order + 1, known, None)
    lower = _posterior(*data, order, known, None)
    last = Estimate(
        float(higher.coefficients[-1]),
        float(np.sqrt(higher.covariance[-1, -1])),
        higher.degrees_of_freedom,
    )
    t = -abs(last.value) / last.standard_error
    p_value = 2.0 * float(stdtr(min(last.degrees_of_freedom, 1e6), t))
    misfit = float(chi2.sf(lower.chi_squared, len(y) - order - 1)) if known else float("nan")
    return CurvatureTest(last, p_value, misfit)


def averaged_response(
    x: Float[np.ndarray, " run"],
    y: Float[np.ndarray, " run"],
    *,
    orders: Sequence[int] = (1, 2, 3),
    errors: Float[np.ndarray, " run"] | None = None,
    covariance: Float[np.ndarray, "run run"] | None = None,
    scale_known: bool = True,
) -> LinearResponse:
    """Posterior averaged over polynomials of several orders, each as probable as it explains the runs.

    The lowest order has flat priors in all; the k further coefficients of a higher one have Zellner's prior with g = n,
    the information of one run. With R the sum of squared residuals of each, the odds against the lowest order are

        (1 + g)^(−k/2) exp[g (R₀ − R_k)/(2 (1 + g))]      where the noise is known,
        (1 + g)^((n − p₀ − k)/2) (1 + g R_k/R₀)^(−(n − p₀)/2)      where its scale is not,

    p₀ the number of coefficients of the lowest order.

    Args:
        x: what was changed.
        y: the mean response of each run.
        orders: rising; each needs fewer coefficients than there are runs.
        errors: as in `linear_response`, like the next two.
        covariance: of the y.
        scale_known: take them at their word.

    Raises:
        InputError: as `linear_response`; orders that do not rise.

    References:
        Liang, Paulo, Molina, Clyde & Berger (2008), doi:10.1198/016214507000001337, eq. 6.

    Example:
        >>> x = np.linspace(-1.0, 1.0, 9)
        >>> noise = np.array([1, -1, 0.5, -0.5, 0, 1, -1, 0.5, -0.5]) * 0.02
        >>> averaged_response(x, x + noise, errors=np.full(9, 0.02)).probabilities.round(2).tolist()
        [0.69, 0.22, 0.09]
    """
    if not len(orders) or list(orders) != sorted(set(orders)):
        raise InputError(f"linear response: orders {list(orders)}; expected rising whole numbers")
    known = scale_known and (errors is not None or covariance is not None)
    data = _whitened(x, y, errors, covariance)
    parts = tuple(_posterior(*data, order, known, None) for order in orders)
    n, p0 = len(y), orders[0] + 1
    k, g = np.array(orders) - orders[0], float(n)
    left = np.array([part.chi_squared for part in parts])
    if known:
        log_odds = -0.5 * k * np.log1p(g) + 0.5 * g / (1.0 + g) * (left[0] - left)
    else:
        log_odds = 0.5 * (n - p0 - k) * np.log1p(g) - 0.5 * (n - p0) * np.log1p(g * left / left[0])
    weights = np.exp(log_odds - log_odds.max())
    return LinearResponse(parts, weights / weights.sum(), (float(np.min(x)), float(np.max(x))))


def _whitened(
    x: np.ndarray, y: np.ndarray, errors: np.ndarray | None, covariance: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and a lower triangle whose inverse makes the noise white."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    n = len(x)
    if x.ndim != 1 or y.shape != x.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(
            f"linear response: x {x.shape}, y {y.shape}; expected one finite number of each per run"
        )
    if errors is not None and covariance is not None:
        raise InputError("linear response: both errors and a covariance; expected one of them")
    if covariance is None:
        sd = np.ones(n) if errors is None else np.asarray(errors, float)
        if sd.shape != (n,) or not ((sd > 0.0) & np.isfinite(sd)).all():
            raise InputError(
                f"linear response: errors of the shape {sd.shape}; expected {n} positive numbers"
            )
        return x, y, np.diag(sd)
    given = np.asarray(covariance, float)
    if given.shape != (n, n) or not np.allclose(given, given.T) or np.linalg.eigvalsh(given)[0] <= 0.0:
        raise InputError(
            f"linear response: covariance of the shape {given.shape}; expected a symmetric positive one, [{n}, {n}]"
        )
    return x, y, np.linalg.cholesky(given)


def _posterior(
    x: np.ndarray,
    y: np.ndarray,
    root: np.ndarray,
    order: int,
    known: bool,
    prior: NormalInverseGamma | None,
) -> PolynomialPosterior:
    """Posterior in powers of x; solved in powers of the reduced x, where the matrices are well behaved."""
    size = order + 1
    least = size if known or prior is not None else size + 1
    if order < 0 or len(y) < least or len(np.unique(x)) < size:
        raise InputError(
            f"linear response: {len(y)} runs at {len(np.unique(x))} different x for order {order}; expected at least"
            f" {least} runs and {size} different x"
        )
    shift, width = float(np.mean(x)), float(np.std(x)) or 1.0
    back = _powers_of_reduced(shift, width, size)
    design = ((x - shift) / width)[:, None] ** np.arange(size)
    design, response = (solve_triangular(root, a, lower=True) for a in (design, y))
    begin = NormalInverseGamma.reference(size)
    if prior is not None:
        if np.shape(prior.mean) != (size,) or np.shape(prior.precision) != (size, size):
            raise InputError(
                f"linear response: prior of {np.size(prior.mean)} coefficients; expected {size} for order {order}"
            )
        begin = prior._replace(
            mean=np.linalg.solve(back, prior.mean), precision=back.T @ np.asarray(prior.precision) @ back
        )
    after = begin.updated(design, response)
    spread = back @ np.linalg.inv(after.precision) @ back.T
    left = response - design @ after.mean
    variance = 1.0 if known else after.rate / after.shape
    return PolynomialPosterior(
        back @ after.mean,
        variance * spread,
        np.inf if known else 2.0 * after.shape,
        float(left @ left),
        float(np.sqrt(variance)),
    )


def _powers_of_reduced(shift: float, width: float, size: int) -> Float[np.ndarray, "power power"]:
    """Coefficients in powers of x of the powers of (x − shift)/width, as columns."""
    row, column = np.indices((size, size))
    return comb(column, row) * (-shift) ** np.maximum(column - row, 0) / width**column
