"""Parameters against simulation noise where all draws share their random numbers: reweighting, or common seeds."""

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


def common_noise_split(means: xr.Dataset, *, level: float = 0.9) -> xr.Dataset:
    """Splits the spread of averages with common noise into what parameters and what finite simulation make.

    With m_s the mean at draw s and I_bs what block b contributes to its error, Cov(m_s, m_t) = Σ_b I_bs I_bt,

        τ̂² = Var_s(m_s) − Σ_b Var_s(I_bs):        what is common to all draws does not widen their spread,
        simulation = Σ_b (mean_s I_bs)² + τ̂²/S:   but shifts all of them together.

    So the spread between draws is nearly right as it is, while the noise that they share has to be added to the error of
    the mean. Draws are taken as independent.

    Args:
        means: of `reweighted_means` or `common_seed_means`.
        level: of the intervals.

    Returns:
        The parts as from `nested_split`; `noise_sd` is the root of Σ_b Var_s(I_bs). The attribute
        `smallest_effective_frames` tells whether the bank reaches all draws: those of a broad prior it may not.

    Raises:
        InputError: fewer than two draws.

    References:
        Zou & Donner (2008), doi:10.1002/sim.3095 (the interval of a difference from those of its terms; here a third term
        stands for the covariance of means and shared noise).

    Example:
        >>> from bayescg.analysis import common_seed_means
        >>> rng = np.random.default_rng(0)
        >>> truth, noise = rng.normal(size=(400, 1)), 2.0 * rng.normal(size=(1, 16))
        >>> split = common_noise_split(common_seed_means(xr.DataArray(truth + noise, dims=("draw", "simulation"))))
        >>> float(split["parametric_sd"].round(1)), float(split["naive_sd"].round(1))  # the noise shifts all draws alike
        (1.0, 1.0)
        >>> bool(0.3 < split["simulation_sd"] < 0.7)  # 2/√16
        True
    """
    like = like_observable(means["mean"], without=("draw",))
    m = np.asarray(means["mean"].transpose("draw", *like.dims), float)
    influence = np.asarray(means["influence"].transpose("block", "draw", *like.dims), float)
    n_draws = len(m)
    if n_draws < 2:
        raise InputError(f"common noise: {n_draws} draws have no spread; give at least two")
    naive = m.var(axis=0, ddof=1)
    owner = means["reference"].values
    noise, noise_freedom = _noise_of_spread(influence.var(axis=1, ddof=1), owner)
    shared, shared_freedom = _satterthwaite(influence.mean(axis=1) ** 2, owner)
    apart = m - m.mean(axis=0)
    tilt = np.sum(apart * influence, axis=1) / (n_draws - 1.0)
    # noise that is not common crosses with the means by chance; the naive spread's own interval holds that already
    crossed = np.maximum(4.0 * np.sum(tilt**2, axis=0) - 4.0 * naive * noise / (n_draws - 1.0), 0.0)
    finite = np.maximum(naive - noise, 0.0) / n_draws
    simulation = shared + finite
    square = shared**2 / shared_freedom + finite**2 / (n_draws - 1.0)
    freedom = np.where(square > 0.0, simulation**2 / np.where(square > 0.0, square, 1.0), n_draws - 1.0)
    parts = VarianceParts(
        mean=m.mean(axis=0),
        naive=naive,
        noise=noise,
        interval=_interval(naive, n_draws - 1.0, noise, noise_freedom, crossed, level),
        simulation=simulation,
        simulation_interval=chi_squared_interval(simulation, freedom, level),
    )
    fluctuation = (
        means["fluctuation_variance"].transpose("draw", *like.dims).values.mean(axis=0)
        if "fluctuation_variance" in means
        else None
    )
    attrs: dict[str, str | int | float] = {
        "method": "common random numbers, errors over independent blocks",
        "n_draws": n_draws,
        "n_blocks": len(influence),
    }
    if "effective_frames" in means:
        attrs["smallest_effective_frames"] = float(means["effective_frames"].min())
    return parts_dataset(parts, like, level=level, fluctuation=fluctuation, attrs=attrs)


def _satterthwaite(squares: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum over blocks, and its degrees of freedom from those of each reference (Satterthwaite 1946, doi:10.2307/3002019)."""
    of_reference = np.stack([squares[owner == k].sum(axis=0) for k in np.unique(owner)])
    freedom = np.stack([np.sum(owner == k) - 1.0 for k in np.unique(owner)])
    total = of_reference.sum(axis=0)
    below = np.tensordot(1.0 / freedom, of_reference**2, axes=1)
    return total, np.where(below > 0.0, total**2 / np.where(below > 0.0, below, 1.0), freedom.sum())


def _noise_of_spread(squares: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum over blocks, and its degrees of freedom from how much the blocks of a reference differ.

    Many where the noise is each draw's own, since every block then averages over the draws; one a block where all draws
    feel it in proportion.
    """
    total, scatter = squares.sum(axis=0), np.zeros(squares.shape[1:])
    for k in np.unique(owner):
        own = squares[owner == k]
        scatter = scatter + len(own) * own.var(axis=0, ddof=1)
    most = 1e6
    return total, np.where(
        scatter * most > 2.0 * total**2, 2.0 * total**2 / np.maximum(scatter, 1e-300), most
    )


def _interval(
    naive: np.ndarray,
    between: float,
    noise: np.ndarray,
    freedom: np.ndarray,
    crossed: np.ndarray,
    level: float,
) -> np.ndarray:
    """Of naive − noise: from the distance of each to the ends of its own interval, and the variance of what crosses.

    Noise that tilts the means along the parameters multiplies the spread, so its bounds are those of a logarithm; upwards
    no further than to where that is e times the estimate, and linearly from there.
    """
    low, high = chi_squared_interval(naive, between, level)
    noise_low, noise_high = chi_squared_interval(noise, freedom, level)
    estimate = naive - noise
    positive = np.maximum(estimate, 1e-12 * np.maximum(naive, 1e-300))
    tilt = stats.norm.ppf(0.5 + level / 2.0) * np.sqrt(crossed) / positive
    cross_down = positive * -np.expm1(-tilt)
    cross_up = positive * np.where(tilt < 1.0, np.expm1(np.minimum(tilt, 1.0)), np.expm1(1.0) * tilt)
    down = np.sqrt((naive - low) ** 2 + (noise_high - noise) ** 2 + cross_down**2)
    up = np.sqrt((high - naive) ** 2 + (noise - noise_low) ** 2 + cross_up**2)
    return np.maximum(np.stack([estimate - down, estimate + up]), 0.0)
