"""Simulation-based calibration: does a method find, of parameters drawn anew, posteriors that hold them as they should?"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from jaxtyping import Array, Float, Int, Key

from bayescg.analysis._uniformity import chi_squared, ecdf_p_value
from bayescg.errors import InputError

CONTENTS = (0.5, 0.8, 0.9, 0.95)
"""Central intervals whose coverage is counted."""
LEAST_REPLICATES = 100
"""Below it the coverage of 90 % intervals has a standard error above 3 %: too few to say anything."""
LARGEST_SHARE_LOST = 0.05
"""Replicates that may be left out for too few effective draws before the rest are no fair sample."""
SIGNIFICANCE = 0.01
"""Of the whole family of parameters: ranks below it are not uniform."""
NEAR_NINETY, NEAR_HALF = 0.04, 0.06
"""Deviations of the 90 % coverage, and of the mean rank from a half (0.2 posterior sd), too small to matter."""


class CalibrationExperiment(NamedTuple):
    """What a calibration repeats, each for a batch of replicates at once.

    Attributes:
        draw_parameters: (key, n) → parameters [replicate parameter], from the prior.
        simulate: (key, parameters) → data sets, in whatever form `infer` takes a batch of them.
        infer: (key, data sets) → posterior draws [replicate chain draw parameter].

    Example:
        >>> import jax.numpy as jnp
        >>> def infer(key, y):  # one observation of unit variance under a prior of unit variance
        ...     return y[:, None, None] / 2 + jnp.sqrt(0.5) * jax.random.normal(key, (len(y), 1, 200, 1))
        >>> experiment = CalibrationExperiment(
        ...     lambda key, n: jax.random.normal(key, (n, 1)),
        ...     lambda key, mu: mu[:, 0] + jax.random.normal(key, (len(mu),)),
        ...     infer,
        ... )
        >>> check = simulation_based_calibration(experiment, key=jax.random.key(0), n_replicates=200, names=["mu"])
        >>> check["verdict"].item()
        'passed'
    """

    draw_parameters: Callable[[Key[Array, ""], int], Float[np.ndarray, "replicate parameter"]]
    simulate: Callable[[Key[Array, ""], Float[np.ndarray, "replicate parameter"]], Any]
    infer: Callable[[Key[Array, ""], Any], Float[np.ndarray, "replicate chain draw parameter"]]


def simulation_based_calibration(
    experiment: CalibrationExperiment,
    *,
    key: Key[Array, ""],
    n_replicates: int,
    names: Sequence[str],
    n_ranks: int = 100,
    batch: int = 100,
    on_batch: Callable[[int], None] = lambda done: None,
) -> xr.Dataset:
    """Calibration of a whole method: parameters from the prior, data simulated with them, posteriors, ranks.

    Where model, simulation and inference are right, the rank of the true value among independent draws of its
    posterior is uniform.

    Args:
        experiment: the three steps.
        key: of all random numbers.
        n_replicates: how often.
        names: of the parameters.
        n_ranks: how many values a rank can have; each replicate needs one effective draw fewer.
        batch: replicates at a time.
        on_batch: hears how many replicates are done.

    Returns:
        As `check_ranks`, with the true values.

    References:
        Talts et al. (2018), arXiv:1804.06788, algorithms 1 and 2 (thinning).
    """
    truths, ranks = [], []
    rng = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.fold_in(key, 1))))
    for first in range(0, n_replicates, batch):
        n = min(batch, n_replicates - first)
        keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 0), first), 3)
        truth = np.asarray(experiment.draw_parameters(keys[0], n))
        data = experiment.simulate(keys[1], truth)
        draws = np.asarray(experiment.infer(keys[2], data))
        ranks.append(rank_of_truth(truth, draws, n_ranks=n_ranks, rng=rng))
        truths.append(truth)
        on_batch(first + n)
    check = check_ranks(np.concatenate(ranks), n_ranks=n_ranks, names=names)
    return check.assign(truth=(("replicate", "parameter"), np.concatenate(truths)))


def rank_of_truth(
    truth: Float[np.ndarray, "replicate parameter"],
    draws: Float[np.ndarray, "replicate chain draw parameter"],
    *,
    n_ranks: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, "replicate parameter"]:
    """Rank of each true value among n_ranks − 1 independent draws of its posterior.

    Draws of chains are correlated, and ranks among them pile up at both ends. As many draws are kept, evenly spaced,
    as the smallest effective number of any parameter allows; equal draws are ordered at random.

    Args:
        truth: the true values.
        draws: of each replicate's posterior.
        n_ranks: how many values a rank can have.
        rng: orders equal draws.

    Returns:
        0 to n_ranks − 1; −1 for all parameters of a replicate whose draws are too few or not finite.

    Raises:
        InputError: shapes that don't fit, or fewer draws than ranks.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rank_of_truth(np.array([[5.0], [-5.0]]), rng.normal(size=(2, 1, 400, 1)), n_ranks=100, rng=rng).tolist()
        [[99], [0]]
    """
    n_replicates, n_chains, n_draws, n_parameters = draws.shape
    if truth.shape != (n_replicates, n_parameters):
        raise InputError(f"ranks: true values {truth.shape} and draws {draws.shape} don't fit together")
    if n_chains * n_draws < n_ranks - 1:
        raise InputError(
            f"ranks: {n_chains * n_draws} draws for {n_ranks} ranks; draw more, or ask for fewer ranks"
        )
    ranks = np.full(truth.shape, -1)
    kept = np.linspace(0, n_chains * n_draws - 1, n_ranks - 1).round().astype(int)
    for replicate, (value, chains) in enumerate(zip(truth, draws, strict=True)):
        if effective_draws(chains) < n_ranks - 1:
            continue
        some = chains.reshape(-1, n_parameters)[kept]
        ties = np.sum(some == value, axis=0)
        ranks[replicate] = np.sum(some < value, axis=0) + rng.integers(0, ties + 1)
    return ranks


def effective_draws(draws: Float[np.ndarray, "chain draw parameter"]) -> float:
    """The smallest effective number of draws of any parameter, at most their number; 0 where they are not finite.

    Example:
        >>> effective_draws(np.random.default_rng(0).normal(size=(2, 200, 1))) > 250
        True
    """
    if not np.isfinite(draws).all():
        return 0.0
    n = draws.shape[0] * draws.shape[1]
    least = min(
        float(array_stats.ess(draws[..., i], chain_axis=0, draw_axis=1)) for i in range(draws.shape[-1])
    )
    # The estimate scatters by some per cent around its value also where draws are independent.
    return float(n) if least > 0.8 * n else least


def check_ranks(
    ranks: Int[np.ndarray, "replicate parameter"], *, n_ranks: int, names: Sequence[str]
) -> xr.Dataset:
    """Coverage, uniformity and a verdict in words of the ranks of each parameter.

    Coverage of a central interval is the share of replicates whose truth lies inside. A rank that the interval's end
    cuts counts in part, so that the expected coverage of uniform ranks is exactly nominal.

    Args:
        ranks: 0 to n_ranks − 1; negative where a replicate gave none.
        n_ranks: how many values a rank can have.
        names: of the parameters.

    Returns:
        `rank`, `coverage` and `coverage_se` (binomial), `ecdf_p` (simultaneous band), `chi2` and `chi2_p`, `verdict`
        (passed, failed, not tested) and `sentence` of each parameter.

    Raises:
        InputError: no replicate gave ranks.

    Example:
        >>> even = np.arange(200)[:, None] % 100
        >>> narrow = np.where(even < 50, even // 2, 99 - (99 - even) // 2)  # the truth is too often far out
        >>> check = check_ranks(np.concatenate([even, narrow], axis=1), n_ranks=100, names=["a", "b"])
        >>> check["verdict"].values.tolist()
        ['passed', 'failed']
        >>> print(check["sentence"].values[1])
        too narrow: 90 % intervals hold the truth in 80 ± 3 % of 200 replicates
    """
    good = np.all(ranks >= 0, axis=1)
    if not good.any():
        raise InputError(
            f"calibration check: none of {len(ranks)} replicates had {n_ranks - 1} effective draws; draw more of each"
        )
    kept, n = ranks[good], int(good.sum())
    coverage = np.stack([_coverage(kept, n_ranks, content) for content in CONTENTS], axis=1)
    error = np.sqrt(np.maximum(coverage * (1.0 - coverage), 0.25 / n) / n)
    tests = [(ecdf_p_value(column, n_ranks), *chi_squared(column, n_ranks)) for column in kept.T]
    p_ecdf, statistic, p_chi = np.array(tests).T
    lost = 1.0 - n / len(ranks)
    words = [
        _words(kept[:, i], n_ranks, coverage[i], error[i], p_ecdf[i] * len(names), lost)
        for i in range(len(names))
    ]
    per = "parameter"
    return xr.Dataset(
        {
            "rank": (
                ("replicate", per),
                ranks,
                {"long_name": f"rank of the truth among {n_ranks - 1} draws"},
            ),
            "coverage": ((per, "content"), coverage),
            "coverage_se": ((per, "content"), error, {"long_name": "binomial standard error"}),
            "ecdf_p": (per, p_ecdf, {"long_name": "probability of the largest deviation, simultaneous"}),
            "chi2": (per, statistic),
            "chi2_p": (per, p_chi),
            "verdict": (per, [verdict for verdict, _ in words]),
            "sentence": (per, [sentence for _, sentence in words]),
        },
        coords={per: list(names), "content": list(CONTENTS)},
        attrs={"n_ranks": n_ranks, "n_replicates": n, "n_lost": len(ranks) - n},
    )


def _coverage(ranks: np.ndarray, n_ranks: int, content: float) -> np.ndarray:
    """Expected share inside, a rank k standing for all of the interval from k to k + 1 of n_ranks."""
    low, high = n_ranks * (1.0 - content) / 2.0, n_ranks * (1.0 + content) / 2.0
    return np.mean(np.clip(np.minimum(ranks + 1, high) - np.maximum(ranks, low), 0.0, 1.0), axis=0)


def _words(
    ranks: np.ndarray, n_ranks: int, coverage: np.ndarray, error: np.ndarray, p: float, lost: float
) -> tuple[str, str]:
    """Verdict and sentence of one parameter; p is adjusted for the number of parameters."""
    n, at = len(ranks), CONTENTS.index(0.9)
    hold = f"90 % intervals hold the truth in {100 * coverage[at]:.0f} ± {100 * error[at]:.0f} % of {n} replicates"
    if lost > LARGEST_SHARE_LOST:
        return "not tested", f"{100 * lost:.0f} % of the replicates had too few effective draws; {hold}"
    mean = float(np.mean((ranks + 0.5) / n_ranks))
    beyond = coverage[at] - 0.9
    shifted, resized = abs(mean - 0.5) > NEAR_HALF, abs(beyond) > NEAR_NINETY
    if p >= SIGNIFICANCE:
        if n < LEAST_REPLICATES:
            return "not tested", f"{n} replicates are too few to tell; {hold}"
        return "passed", f"ranks are uniform: {hold}"
    if not (shifted or resized):
        return "passed", f"ranks are not quite uniform, too little to matter: {hold}"
    fault = "too narrow" if beyond < 0.0 else "too wide"
    side = "too low" if mean > 0.5 else "too high"
    name = f"{side} and {fault}" if shifted and resized else (side if shifted else fault)
    return "failed", f"{name}: {hold}"
