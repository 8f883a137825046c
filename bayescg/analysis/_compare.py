"""Several fits of the same data side by side: score, difference to the best with its error, stacking weights."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.analysis._normalisation import Normalisation
from bayescg.analysis._scores import KINDS, PredictiveScores, spread_of_sum
from bayescg.errors import InputError


class Candidate(NamedTuple):
    """One fit to compare.

    Attributes:
        name: what the table calls it.
        scores: its predictive scores.
        data: identity of the data that it was fitted to.
        anchor: identity of the state that its log Z is measured against; empty where densities are normalised.
        verdict: of the verification: "passed", or why it can't be relied on.

    Example:
        >>> n = np.full(4, 10)
        >>> scores = PredictiveScores(np.zeros(4), "joint", n, np.cumsum(n) - 10, np.zeros(4), "refits", "")
        >>> Candidate("spline", scores, data="d1", anchor="a1", verdict="passed").scores.elpd
        0.0
    """

    name: str
    scores: PredictiveScores
    data: str
    anchor: str
    verdict: str


def compare(candidates: Sequence[Candidate], *, normalisation: Normalisation | None = None) -> xr.Dataset:
    """A table of predictive scores, best first.

    The error of a difference is that of a sum over units of the differences, and N times the error of
    log Z_A − log Z_B where the fits were brought to one normalisation:

        se² = n Var_u(s_A − s_B) + N² Var(log Z_A − log Z_B).

    Args:
        candidates: at least two fits of the same data.
        normalisation: of their anchors, in the order of the candidates; needed where these differ.

    Returns:
        Along `run`, best first: `elpd`, `elpd_se`, `difference` (to the best, not positive), `difference_se`,
        `normalisation_se` (the part of it that log Z has), `weight` (stacking), `khat` (largest), `verdict`, `flag`
        (empty, or why the row can't be relied on), and the scores themselves along `unit`.

    Raises:
        InputError: fewer than two fits, one name twice, or fits that differ in data, kind of score, units of data or
            anchor; the message names what differs.

    References:
        Vehtari, Gelman & Gabry (2017), doi:10.1007/s11222-016-9696-4, eq. 24; Yao et al. (2018),
        doi:10.1214/17-BA1091, stacking.

    Example:
        >>> n = np.full(4, 10)
        >>> def fit(name, *values):
        ...     scores = PredictiveScores(np.array(values), "joint", n, np.cumsum(n) - 10, np.zeros(4), "refits", "")
        ...     return Candidate(name, scores, data="d1", anchor="a1", verdict="passed")
        >>> table = compare([fit("spring", -14.0, -15.0, -14.5, -14.0), fit("well", -12.0, -12.5, -13.0, -12.0)])
        >>> table["run"].values.tolist(), table["difference"].values.tolist()
        (['well', 'spring'], [0.0, -8.0])
    """
    _refuse(candidates, normalisation)
    n = np.asarray(candidates[0].scores.n_frames, float)
    values = np.stack([candidate.scores.values for candidate in candidates])
    if normalisation is not None:
        values = values - normalisation.log_z[:, None] * n
    order = np.argsort(-values.sum(axis=1), kind="stable")
    best = order[0]
    shared = np.array(
        [0.0 if normalisation is None else n.sum() * normalisation.difference_error(best, k) for k in order]
    )
    data_error = np.array([0.0 if k == best else spread_of_sum(values[best] - values[k]) for k in order])
    rows = [candidates[k] for k in order]
    first = candidates[0].scores
    own = {
        "elpd": (values[order].sum(axis=1), "expected log predictive density of all data"),
        "elpd_se": ([spread_of_sum(v) for v in values[order]], "its standard error, from the spread of units"),
        "difference": (values[order].sum(axis=1) - values[best].sum(), "to the best"),
        "difference_se": (np.hypot(data_error, shared), "standard error of the difference"),
        "normalisation_se": (shared, "the part of it that is the Monte-Carlo error of log Z"),
        "weight": (stacking_weights(values)[order], "stacking weight"),
        "khat": ([_largest(row.scores.khat) for row in rows], "largest Pareto shape of the importance weights"),
    }  # fmt: skip
    table = xr.Dataset(
        {
            **{name: ("run", np.asarray(v, float), {"long_name": text}) for name, (v, text) in own.items()},
            "verdict": ("run", [row.verdict for row in rows]),
            "flag": ("run", [_flag(row) for row in rows]),
            "score": (("run", "unit"), values[order]),
            "n_frames": ("unit", first.n_frames),
            "first_frame": ("unit", first.first_frame),
        },
        coords={"run": [row.name for row in rows]},
    )
    return table.assign_attrs(
        kind=first.kind, meaning=KINDS[first.kind], method=first.method, units="nats",
        normalisation=_words(candidates, normalisation),
    )  # fmt: skip


def stacking_weights(values: Float[np.ndarray, "run unit"]) -> Float[np.ndarray, " run"]:
    """Weights of the mixture of predictive densities that scores best, by `arviz_stats.compare`.

    Example:
        >>> stacking_weights(np.array([[-1.0, -1.2, -0.9], [-9.0, -8.0, -9.5]])).round(2).tolist()
        [1.0, 0.0]
    """
    import arviz_stats
    from arviz_stats.utils import ELPDData

    # The weights do not change when a unit's scores shift together, and densities of whole blocks would underflow.
    shifted = values - values.max(axis=0)
    parts = {
        str(k): ELPDData(
            "loo", float(row.sum()), 0.0, 0.0, 1, row.size, "log", False, 0.7, elpd_i=xr.DataArray(row, dims="unit")
        )
        for k, row in enumerate(shifted)
    }  # fmt: skip
    found = arviz_stats.compare(parts, method="stacking")
    return np.array([float(found.loc[str(k), "weight"]) for k in range(len(values))])


def _refuse(candidates: Sequence[Candidate], normalisation: Normalisation | None) -> None:
    names = [candidate.name for candidate in candidates]
    if len(candidates) < 2:
        raise InputError(f"comparison: {len(candidates)} fit given; at least two are needed")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"comparison: two fits are called {twice[0]!r}; give each its own name")
    first = candidates[0]
    if len(first.scores.values) < 2:
        raise InputError(
            "comparison: the data are one unit only, whose score says nothing of its error; at least two blocks or"
            " configurations are needed"
        )
    for other in candidates[1:]:
        pair = f"comparison of {first.name!r} and {other.name!r}"
        if other.data != first.data:
            raise InputError(
                f"{pair}: they were fitted to different data ({first.data[:12]} and {other.data[:12]}), so their scores say"
                " nothing of each other; fit both to the same frames or labels"
            )
        if other.scores.kind != first.scores.kind:
            raise InputError(
                f"{pair}: the scores are of different kinds ({first.scores.kind} and {other.scores.kind}); a block's joint"
                " score is higher than its pointwise one, so compare like with like"
            )
        if not np.array_equal(other.scores.first_frame, first.scores.first_frame) or not np.array_equal(
            other.scores.n_frames, first.scores.n_frames
        ):
            raise InputError(
                f"{pair}: their scores are of different blocks ({len(first.scores.values)} and"
                f" {len(other.scores.values)}); score both with the same blocks, by refits"
            )
        if other.anchor != first.anchor and normalisation is None:
            raise InputError(
                f"{pair}: their log Z are measured against different anchors ({first.anchor or 'none'} and"
                f" {other.anchor or 'none'}); bring them to one normalisation first"
            )
    if normalisation is not None and normalisation.anchors != tuple(c.anchor for c in candidates):
        raise InputError(
            f"comparison: the normalisation is of anchors {', '.join(normalisation.anchors)}, the fits have"
            f" {', '.join(c.anchor or 'none' for c in candidates)}; make it for these fits, in their order"
        )


def _largest(khat: np.ndarray) -> float:
    known = khat[~np.isnan(khat)]
    return float(known.max()) if known.size else np.nan


def _flag(candidate: Candidate) -> str:
    words = [] if candidate.verdict == "passed" else [f"verification: {candidate.verdict}"]
    return "; ".join([*words, candidate.scores.warning] if candidate.scores.warning else words)


def _words(candidates: Sequence[Candidate], normalisation: Normalisation | None) -> str:
    if normalisation is not None:
        return normalisation.method
    return "one anchor for all" if candidates[0].anchor else "densities are normalised"
