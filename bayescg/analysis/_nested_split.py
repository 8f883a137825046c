"""Parameters against simulation noise where every draw is simulated several times: one-way analysis of variance."""

import numpy as np
import xarray as xr
from scipy import stats

from bayescg.analysis._variance_parts import (
    VarianceParts,
    chi_squared_interval,
    like_observable,
    parts_dataset,
)
from bayescg.errors import InputError


def nested_split(
    values: xr.DataArray,
    *,
    lengths: xr.DataArray | None = None,
    frame_variance: xr.DataArray | None = None,
    level: float = 0.9,
) -> xr.Dataset:
    """Splits the spread of simulated averages into what parameters and what finite simulation make.

    The average of simulation j of draw s, over w_sj frames, is y_sj = μ + a_s + e_sj with Var(a) = τ², Var(e_sj) = σ²/w_sj.
    With ȳ_s the average of all frames of a draw, W_s = Σ_j w_sj their number and S draws

        E[Var_s(ȳ_s)] = τ² + σ² mean_s(1/W_s):   the naive spread, too wide by the second term;
        σ̂² = Σ_sj w_sj (y_sj − ȳ_s)² / Σ_s (n_s − 1),   τ̂² = Var_s(ȳ_s) − σ̂² mean_s(1/W_s).

    τ̂² is unbiased and may come out negative: this is said (`below_noise`), never hidden. Draws count equally, however
    often they were simulated, since each is one sample of the posterior (or the prior). The intervals take draws' means
    and noise as normal; the error of the predictive mean is Var_s(ȳ_s)/S, whatever the split. Only where τ̂² is negative,
    so that 0 takes its place, noise is all there is, and its variance comes from draws and repeats together, as in
    restricted maximum likelihood.

    Draws have to be independent, simulations of different draws too: with common seeds use `common_noise_split`.
    Components of a vector (the bins of g(r)) are split one by one.

    Args:
        values: averages over independent simulations [draw simulation *observable]; NaN where there is none, so that draws
            may differ in their number of simulations, and at least one has two.
        lengths: frames of each simulation, or any measure of them in proportion [draw simulation]; default equal.
        frame_variance: variance of the instantaneous values within each simulation [draw simulation *observable].
        level: of the intervals.

    Returns:
        `mean`, `parametric_sd`, `simulation_sd` (of the mean) with intervals [bound *observable], `naive_sd`, `noise_sd`,
        `naive_excess` (naive over parametric variance), `parametric_variance_estimate`, `below_noise`, and
        `fluctuation_sd` where `frame_variance` is given.

    Raises:
        InputError: fewer than two draws, no draw with two simulations, lengths that are not positive.

    References:
        Searle, Casella & McCulloch (1992), doi:10.1002/9780470316856, chapter 3 (analysis of variance);
        Thomas & Hultquist (1978), doi:10.1214/aos/1176344202 (unequal numbers, through the harmonic mean);
        Williams (1962), doi:10.1093/biomet/49.1-2.278 (the interval).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth, noise = rng.normal(size=(400, 1)), 2.0 * rng.normal(size=(400, 2))
        >>> split = nested_split(xr.DataArray(truth + noise, dims=("draw", "simulation")))
        >>> float(split["parametric_sd"].round(1)), float(split["naive_sd"].round(1))  # exactly 1 and √3
        (1.0, 1.7)
    """
    like = like_observable(values, without=("draw", "simulation"))
    y = np.asarray(values.transpose("draw", "simulation", *like.dims), float)
    shape = y.shape[:2] + (1,) * (y.ndim - 2)
    given = np.ones(shape) if lengths is None else _lengths(lengths, shape)
    there = np.isfinite(y)
    weight = np.where(there, given, 0.0)
    frames = weight.sum(axis=1)
    n_draws, freedom = (frames > 0.0).sum(axis=0), np.maximum(there.sum(axis=1) - 1, 0).sum(axis=0)
    if n_draws.min() < 2 or freedom.min() < 1:
        raise InputError(
            f"nested runs: {n_draws.min()} draws with {freedom.min()} repeated simulations; to tell noise from parameters"
            " at least 2 draws are needed, and a second simulation of at least one of them"
        )
    known = np.where(there, y, 0.0)
    of_draw = _ratio((weight * known).sum(axis=1), frames)
    error = (weight * (known - of_draw[:, None]) ** 2).sum(axis=(0, 1)) / freedom
    noise = error * _ratio(1.0, frames).sum(axis=0) / n_draws
    mean = of_draw.sum(axis=0) / n_draws
    naive = np.where(frames > 0.0, (of_draw - mean) ** 2, 0.0).sum(axis=0) / (n_draws - 1)
    # Means that scatter less than noise scatter by noise alone, which the repeats know too: few draws may lie close by luck.
    pooled = ((n_draws - 1) * naive + freedom * noise) / (n_draws - 1 + freedom)
    spread = np.where(naive < noise, pooled, naive)
    low, high = chi_squared_interval(naive / n_draws, n_draws - 1, level)
    if_noise = chi_squared_interval(spread / n_draws, n_draws - 1 + freedom, level)[1]
    high = np.maximum(high, np.where(naive < noise, if_noise, 0.0))
    parts = VarianceParts(
        mean=mean,
        naive=naive,
        noise=noise,
        interval=_interval(naive, noise, n_draws - 1, freedom, level),
        simulation=spread / n_draws,
        simulation_interval=np.stack([low, high]),
    )
    within = None
    if frame_variance is not None:
        v = np.asarray(frame_variance.transpose("draw", "simulation", *like.dims), float)
        within = _ratio((weight * np.where(there, v, 0.0)).sum(axis=1), frames).sum(axis=0) / n_draws
    attrs: dict[str, str | int | float] = {
        "method": "nested simulations, one-way analysis of variance",
        "n_draws": int(n_draws.max()),
        "n_simulations": int(there.sum(axis=(0, 1)).max()),
    }
    return parts_dataset(parts, like, level=level, fluctuation=within, attrs=attrs)


def draw_means(values: xr.DataArray, *, lengths: xr.DataArray | None = None) -> xr.DataArray:
    """Averages over all simulations of every draw, weighted with their lengths: what `corrected_draws` takes.

    Args:
        values: averages over independent simulations [draw simulation *observable]; NaN where there is none.
        lengths: frames of each simulation [draw simulation]; default equal.

    Example:
        >>> draw_means(xr.DataArray([[1.0, 3.0], [5.0, np.nan]], dims=("draw", "simulation"))).values.tolist()
        [2.0, 5.0]
    """
    weighted = values if lengths is None else values.weighted(lengths)
    made = weighted.mean("simulation")
    made.attrs = dict(values.attrs)
    return made


def _interval(
    naive: np.ndarray, noise: np.ndarray, between: np.ndarray, within: np.ndarray, level: float
) -> np.ndarray:
    """Of τ², lower and upper: (S − 1)(Var ȳ − F_q noise)/χ²_q, Williams' with the harmonic mean of the lengths."""
    tails = np.array([0.5 + level / 2.0, 0.5 - level / 2.0])[(slice(None), *(None,) * naive.ndim)]
    chi, f = stats.chi2.ppf(tails, between), stats.f.ppf(tails, between, within)
    return np.maximum(between * (naive - f * noise) / chi, 0.0)


def _lengths(lengths: xr.DataArray, shape: tuple[int, ...]) -> np.ndarray:
    given = np.nan_to_num(np.asarray(lengths.transpose("draw", "simulation"), float))
    if given.shape != shape[:2] or given.min() < 0.0:
        raise InputError(
            f"nested runs: lengths of shape {given.shape}, smallest {given.min():g}; one positive for each of"
            f" {shape[0]} draws x {shape[1]} simulations expected"
        )
    return given.reshape(shape)


def _ratio(top: np.ndarray | float, frames: np.ndarray) -> np.ndarray:
    """Over the frames of a draw; 0 for a draw that has none."""
    return np.where(frames > 0.0, top / np.where(frames > 0.0, frames, 1.0), 0.0)
