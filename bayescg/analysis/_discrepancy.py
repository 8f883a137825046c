"""Predictions against data: z-scores with every part of the error bar in them, coverage, and what the model misses."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import optimize, stats

from bayescg.errors import InputError

LEVELS = (0.5, 0.8, 0.9, 0.95)


def held_out_scores(
    budget: xr.Dataset,
    observed: xr.DataArray,
    *,
    observed_sd: xr.DataArray | float = 0.0,
    levels: Sequence[float] = LEVELS,
    confidence: float = 0.9,
) -> xr.Dataset:
    """z-scores of observables that the fit did not use, and the share of them inside their intervals.

        z = (observed − mean) / √(total_sd² + observed_sd²),   inside at level c: |z| ≤ Φ⁻¹((1 + c)/2).

    The interval of the coverage is the binomial one. It takes observables as independent; neighbouring bins of g(r), or
    pressures of the same model at neighbouring states, are not, and then it is too narrow.

    Args:
        budget: of `error_budget`, of all observables.
        observed: the data's values, in the dimensions of `mean`; NaN where there are none.
        observed_sd: their standard errors; chance in their frames belongs either here or into `averaged_frames`.
        levels: nominal coverages.
        confidence: of the interval of the coverage.

    Returns:
        `difference`, `combined_sd`, `z` [*observable]; `coverage` [level], `coverage_interval` [bound level], and
        `rms_z`: near 1 where error bars are right.

    Raises:
        InputError: no observed value, or an error bar of zero.

    References:
        Clopper & Pearson (1934), doi:10.1093/biomet/26.4.404.

    Example:
        >>> split = xr.Dataset({"mean": ("observable", np.zeros(40)), "parametric_sd": 0.8, "simulation_sd": 0.6})
        >>> from bayescg.analysis import error_budget
        >>> data = xr.DataArray(np.random.default_rng(1).normal(size=40), dims="observable")
        >>> scores = held_out_scores(error_budget(split), data)
        >>> low, high = scores["coverage_interval"].sel(level=0.9).values
        >>> bool(low < 0.9 < high)
        True
    """
    there = np.isfinite(observed)
    n = int(there.sum())
    combined = (budget["total_sd"] ** 2 + observed_sd**2) ** 0.5
    if not n or not bool((combined.where(there, 1.0) > 0.0).all()):
        raise InputError(
            f"held-out scores: {n} observed values, smallest error bar {float(combined.min()):g}; at least one, and error"
            " bars above 0, are needed"
        )
    difference = observed - budget["mean"]
    z = difference / combined
    inside = [int((np.abs(z) <= stats.norm.ppf(0.5 + level / 2.0)).sum()) for level in levels]
    ends = np.array([stats.binomtest(k, n).proportion_ci(confidence, method="exact") for k in inside])
    units = str(budget["mean"].attrs.get("units", "1"))
    difference.attrs = {"units": units, "long_name": "observed minus predicted"}
    combined.attrs = {
        "units": units,
        "long_name": "standard deviation of prediction and observation together",
    }
    z.attrs = {"units": "1", "long_name": "observed minus predicted, in combined standard deviations"}
    pure = {"units": "1"}
    table = xr.Dataset(
        {
            "difference": difference,
            "combined_sd": combined,
            "z": z,
            "coverage": ("level", np.array(inside) / n, pure | {"long_name": "share inside the interval"}),
            "coverage_interval": (
                ("bound", "level"),
                ends.T,
                pure | {"long_name": f"{100 * confidence:g} % binomial interval"},
            ),
            "rms_z": ((), float(np.sqrt((z**2).mean())), pure | {"long_name": "root mean square of z"}),
        },
        coords={"level": list(levels), "bound": ["lower", "upper"]},
        attrs={"n_observed": n, "confidence": confidence, "discrepancy": budget.attrs["discrepancy"]},
    )
    return table


def coverage_words(scores: xr.Dataset, *, level: float = 0.9) -> str:
    """How many held-out observables lie inside their error bars, in words.

    Args:
        scores: of `held_out_scores`.
        level: one of its levels.

    Example:
        >>> split = xr.Dataset({"mean": ("observable", np.zeros(4)), "parametric_sd": 0.8, "simulation_sd": 0.6})
        >>> from bayescg.analysis import error_budget
        >>> data = xr.DataArray([0.1, -0.5, 1.2, 9.0], dims="observable")
        >>> print(coverage_words(held_out_scores(error_budget(split), data)))
        3 of 4 held-out observables lie inside their 90 % intervals (75 %, between 25 % and 99 % with 90 % confidence); \
root mean square z = 4.5, discrepancy not included.
    """
    n = int(scores.attrs["n_observed"])
    share = float(scores["coverage"].sel(level=level))
    low, high = (100 * float(end) for end in scores["coverage_interval"].sel(level=level))
    return (
        f"{round(share * n)} of {n} held-out observables lie inside their {100 * level:g} % intervals ({100 * share:.0f} %,"
        f" between {low:.0f} % and {high:.0f} % with {100 * float(scores.attrs['confidence']):g} % confidence); root mean"
        f" square z = {float(scores['rms_z']):.2g}, discrepancy {scores.attrs['discrepancy']}."
    )


class Discrepancy(NamedTuple):
    """How far a class of observables is off beyond its error bars.

    Attributes:
        scale: δ, in the units of `unit`; 0 where the error bars explain the differences.
        lower: of its interval.
        upper: of its interval.
        left_out: δ from all other observables [observable]: what may be used for the one left out.

    Example:
        >>> found = discrepancy_scale(np.array([2.0, -2.0, 2.0]), np.ones(3))  # 4 = 1 + δ²
        >>> round(found.scale, 3), found.left_out.round(3).tolist()
        (1.732, [1.732, 1.732, 1.732])
    """

    scale: float
    lower: float
    upper: float
    left_out: np.ndarray


def discrepancy_scale(
    difference: Float[np.ndarray, " observable"],
    combined_sd: Float[np.ndarray, " observable"],
    *,
    unit: Float[np.ndarray, " observable"] | None = None,
    level: float = 0.9,
) -> Discrepancy:
    """A discrepancy common to a class of observables, from how much they are off beyond their error bars.

    Differences d_i with known variances s_i² and a discrepancy of standard deviation δ u_i give

        Q(δ) = Σ_i d_i² / (s_i² + δ² u_i²) ~ χ²_n;

    δ solves Q(δ) = n (0 where Q(0) ≤ n), and the interval's ends are where Q is a quantile of χ²_n. The parameters are not
    widened: δ stands beside them. To judge an observable take the δ that the others give (`left_out`).

    Args:
        difference: observed minus predicted, of one class: bins of g(r), pressures of several states.
        combined_sd: standard deviation of prediction and observation together, without discrepancy.
        unit: u_i, in which the discrepancy is alike for all; the observed values for a relative one, default 1.
        level: of the interval.

    Raises:
        InputError: fewer than three observables, arrays of different length, error bars or units that are not positive.

    References:
        Paule & Mandel (1982), doi:10.6028/jres.087.022 (the estimate); Viechtbauer (2007), doi:10.1002/sim.2514 (the
        interval, here about a known mean of 0, hence n degrees of freedom).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = discrepancy_scale(rng.normal(size=500) * np.hypot(1.0, 2.0), np.ones(500))
        >>> bool(found.lower < 2.0 < found.upper), found.left_out.shape
        (True, (500,))
    """
    d, s = np.asarray(difference, float), np.asarray(combined_sd, float)
    u = np.ones_like(d) if unit is None else np.asarray(unit, float)
    if d.ndim != 1 or len(d) < 3 or not (d.shape == s.shape == u.shape):
        raise InputError(
            f"discrepancy: differences of shape {d.shape}, errors {s.shape}, units {u.shape}; one of each for at least 3"
            " observables expected"
        )
    if not (np.all(s > 0.0) and np.all(u > 0.0) and np.all(np.isfinite(d))):
        raise InputError("discrepancy: error bars and units above 0 and finite differences expected")
    n = len(d)
    square, error = (d / u) ** 2, (s / u) ** 2
    low, high = stats.chi2.ppf([0.5 + level / 2.0, 0.5 - level / 2.0], n)
    others = ~np.eye(n, dtype=bool)
    return Discrepancy(
        _solved(square, error, float(n)),
        _solved(square, error, float(low)),
        _solved(square, error, float(high)),
        np.array([_solved(square[mask], error[mask], n - 1.0) for mask in others]),
    )


def _solved(square: np.ndarray, error: np.ndarray, target: float) -> float:
    """δ with Σ square/(error + δ²) = target; 0 where the sum is below it already."""

    def excess(variance: float) -> float:
        return float(np.sum(square / (error + variance))) - target

    if excess(0.0) <= 0.0:
        return 0.0
    return float(
        np.sqrt(optimize.brentq(excess, 0.0, float(np.sum(square)) / target, xtol=1e-300, rtol=1e-12))
    )
