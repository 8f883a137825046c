"""Predictive scores without refits: Pareto-smoothed importance sampling of stored draws."""

import warnings

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from bayescg.analysis._scores import KINDS, PredictiveScores, long_run_of
from bayescg.data import frame_independence
from bayescg.errors import InputError
from bayescg.physics import SufficientStatistics


def psis_scores(
    log_likelihood: Float[np.ndarray, "chain draw unit"],
    *,
    kind: str,
    n_frames: Int[np.ndarray, " unit"],
    first_frame: Int[np.ndarray, " unit"],
) -> PredictiveScores:
    """Leave-one-unit-out scores of draws of the posterior of all units, by `arviz_stats.loo`.

    The unit's likelihood is taken out of each draw's weight, w_s ∝ 1 / p(unit | θ_s), and the weights' tail is
    smoothed. On draws of the calibrated posterior the score is that of calibrated predictions and its effective number
    of parameters is tr(H⁻¹ J).

    Args:
        log_likelihood: log p(unit | θ) at each draw: of blocks of frames together, or of configurations.
        kind: "joint" for blocks, "configuration" for labelled configurations.
        n_frames: frames in each unit.
        first_frame: number of each unit's first frame.

    Returns:
        The scores; the warning names what share of units has weights too heavy-tailed (k̂ above 0.7, or above
        1 − 1/log₁₀ of the number of draws).

    Raises:
        InputError: numbers that are not finite, or another kind.

    References:
        Vehtari, Gelman & Gabry (2017), doi:10.1007/s11222-016-9696-4.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y, theta = rng.normal(size=40), rng.normal(size=(4, 250, 1)) / np.sqrt(40)  # unknown mean, known variance
        >>> density = -0.5 * (y - y.mean() - theta) ** 2 - 0.5 * np.log(2 * np.pi)
        >>> scores = psis_scores(density, kind="configuration", n_frames=np.ones(40, int), first_frame=np.arange(40))
        >>> bool(abs(scores.elpd - (density.mean((0, 1)).sum() - 0.5)) < 0.5)
        True
    """
    values = np.asarray(log_likelihood, np.float64)
    if kind not in KINDS:
        raise InputError(f"predictive scores: kind {kind!r}; expected one of {', '.join(KINDS)}")
    if not np.isfinite(values).all():
        raise InputError(
            f"predictive scores: log_likelihood of shape {values.shape} holds numbers that are not finite"
        )
    import arviz_stats

    tree = xr.DataTree.from_dict(
        {"log_likelihood": xr.Dataset({"unit_score": (("chain", "draw", "unit"), values)})}
    )
    with warnings.catch_warnings():  # what it warns of is told by k-hat
        warnings.simplefilter("ignore")
        found = arviz_stats.loo(tree, pointwise=True, var_name="unit_score", reff=_efficiency(values))
    khat, scores = (np.array(a.values, float) for a in (found.pareto_k, found.elpd_i))
    lost = ~np.isfinite(scores)  # weights so far apart that their smoothing overflows: one draw has them all
    scores[lost], khat[lost] = values[:, :, lost].min(axis=(0, 1)), np.inf
    heavy = int(np.sum(khat > found.good_k))
    warning = (
        f"{heavy} of {len(khat)} left-out units have heavy-tailed weights (k-hat above {found.good_k:.2f}, largest"
        f" {khat.max():.2f}){'; use refits' if kind == 'joint' else ''}"
        if heavy
        else ""
    )
    what = "configuration" if kind == "configuration" else ("frame" if kind == "single frames" else "block")
    return PredictiveScores(
        scores, kind, np.asarray(n_frames), np.asarray(first_frame), khat,
        f"Pareto-smoothed importance sampling without each of {len(khat)} {what}s", warning,
    )  # fmt: skip


def _efficiency(values: np.ndarray) -> float:
    """Effective draws per draw, of the total log likelihood."""
    from arviz_stats.base import array_stats

    if values.shape[1] < 4:
        return 1.0
    effective = float(array_stats.ess(values.sum(axis=2), chain_axis=0, draw_axis=1))
    n = values.shape[0] * values.shape[1]
    return min(1.0, effective / n) if np.isfinite(effective) and effective > 0 else 1.0


def frame_scores(
    statistics: SufficientStatistics,
    log_likelihood: Float[np.ndarray, "chain draw frame"],
    *,
    allow_correlated: bool = False,
) -> PredictiveScores:
    """Scores with single frames left out, for frames that are independent.

    The frames next to a left-out one tell what it holds, so on correlated frames the score is that of a fit to the
    frame itself: too high by about g per direction, while every k̂ looks healthy.

    Args:
        statistics: the frames; `data.frame_independence` decides.
        log_likelihood: log p(x_i | θ) at each draw.
        allow_correlated: give the number all the same, with a warning in it.

    Raises:
        InputError: frames that are correlated beyond chance, unless they are allowed.

    Example:
        >>> x = np.repeat(np.random.default_rng(0).normal(size=(200, 1)), 5, axis=0)  # five copies of each
        >>> frames = SufficientStatistics(x**2, x, x[:, :0], np.zeros(1000, int))
        >>> density = -0.5 * x[:, 0] ** 2 * np.ones((2, 20, 1))
        >>> frame_scores(frames, density)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        bayescg.errors.InputError: per-frame scores: ... blocks ...
    """
    found = frame_independence(long_run_of(statistics))
    words = (
        f"per-frame scores: the frames are correlated, g_max = {found.inefficiency:.1f} (by chance at most"
        f" {found.limit:.1f}), so a left-out frame's neighbours tell what it holds and overfitting is rewarded; leave"
        " out blocks of at least 4 g frames"
    )
    if not found.independent and not allow_correlated:
        raise InputError(words)
    n = statistics.n_frames
    scores = psis_scores(
        log_likelihood, kind="single frames", n_frames=np.ones(n, int), first_frame=np.arange(n)
    )
    return scores if found.independent else scores._replace(warning=words)
