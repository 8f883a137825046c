"""Stored runs of the same data side by side, by predictive scores: `bayescg compare`."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayescg import analysis, output
from bayescg.analysis import AnchoredFit, BridgeSettings, Candidate, Normalisation, PredictiveScores
from bayescg.errors import InputError
from bayescg.inference import block_log_likelihood
from bayescg.physics import FrameReducer, SimulationSettings, Simulator
from bayescg.physics._joint_form import JointForm
from bayescg.study._run_evidence import evidence_of_fits
from bayescg.study._stored_fits import StoredFit, stored_anchor, stored_fit
from bayescg.study._stored_verdict import failed_checks, verification_verdict

DRAWS = 400
"""Draws of the posterior that each refit moves."""
NORMALISATION_SHARE = 0.3
"""Error of a normalisation, relative to the data's own error of a difference, below which simulations end."""
METHODS, SCORES = ("refit", "psis"), ("pointwise", "joint")


def compare_runs(
    folders: Sequence[Path],
    *,
    method: str = "refit",
    score: str = "pointwise",
    n_blocks: int = 20,
    buffer: int = 0,
    evidence: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> xr.Dataset:
    """Compares stored runs of the same data; see `analysis.compare` for the table.

    Runs on frames are scored on contiguous blocks, either by refits on each run's own references (the raw posterior;
    reads the data again) or by Pareto-smoothed importance sampling of the stored scores (the calibrated posterior;
    joint only; on the longest blocks of any run, where they differ). Their log Z are brought to one normalisation: runs
    of one form by pooling their references, forms by simulations of mixtures of them. Runs on labelled configurations
    are scored per configuration from the stored draws; their densities are normalised, so they need no anchor.

    Args:
        folders: output folders of at least two runs.
        method: "refit" or "psis"; for frames.
        score: "pointwise" or "joint"; for refits.
        n_blocks: about how many blocks.
        buffer: frames on both sides of a block that refits leave out too.
        evidence: add log evidence and Bayes factors of runs on frames: along `run`, `log_evidence` with
            `log_evidence_se` and `evidence_khat` (importance sampling), `log_evidence_smc` with
            `log_evidence_smc_se` (tempered SMC), `log_bayes_factor` over the best with `log_bayes_factor_se`, and
            `refusal`, why there is none.
        tell: hears what is being done.

    Raises:
        InputError: one run only, a folder without a result, runs of different data or kinds, data that changed.
        ConvergenceError: forms so different that no mixture relates their log Z.

    Example:
        >>> compare_runs([Path("runs/lj")])
        Traceback (most recent call last):
        ...
        bayescg.errors.InputError: comparison: runs/lj alone; name the output folders of at least two runs
    """
    if method not in METHODS or score not in SCORES:
        raise InputError(f"comparison: method {method!r}, score {score!r}; expected {METHODS} and {SCORES}")
    names = _names(folders)
    trees = [output.open_result(folder) for folder in folders]
    labelled = [tree.attrs.get("kind") == "labelled" for tree in trees]
    if any(labelled) and not all(labelled):
        a, b = labelled.index(True), labelled.index(False)
        raise InputError(
            f"comparison: {folders[a]} is of labelled configurations and {folders[b]} of frames at equilibrium; compare"
            " runs of the same data"
        )
    if all(labelled) and evidence:
        raise InputError(
            "comparison: the evidence is of runs on frames at equilibrium, and these are of labelled configurations;"
            " compare them without it"
        )
    if all(labelled):
        return analysis.compare(
            [
                Candidate(name, _labelled_scores(tree, folder), _labelled_data(tree), "", _verdict(tree))
                for name, tree, folder in zip(names, trees, folders, strict=True)
            ]
        )
    _refuse_other_data(folders, trees)
    if method == "psis":
        blocks = [_stored_blocks(tree, folder) for tree, folder in zip(trees, folders, strict=True)]
        anchors = [stored_anchor(tree, folder) for tree, folder in zip(trees, folders, strict=True)]
        alike = all(np.array_equal(one.first_frame, blocks[0].first_frame) for one in blocks)
        fits = [] if alike and len(set(anchors)) == 1 and not evidence else _fits(trees, folders, tell)
        scores = _stored_scores(blocks if alike else _common_blocks(blocks, fits, trees))
    else:
        fits = _fits(trees, folders, tell)
        anchors = [fit.anchor for fit in fits]
        scores = _refit_scores(fits, score, n_blocks, buffer, tell)
    candidates = [
        Candidate(name, s, str(tree.attrs["data_checksum"]), anchor, _verdict(tree))
        for name, s, tree, anchor in zip(names, scores, trees, anchors, strict=True)
    ]
    shared = None
    if len(set(anchors)) > 1:
        shared = common_normalisation(fits, _tolerance(scores), tell=tell)
    table = analysis.compare(candidates, normalisation=shared)
    if not evidence:
        return table
    found = evidence_of_fits(
        fits, names=names, normalisation=shared, seed=fits[0].model.inference.seed, tell=tell
    )
    return table.merge(found.sel(run=table["run"])).assign_attrs(table.attrs | found.attrs)


def _names(folders: Sequence[Path]) -> list[str]:
    if len(folders) < 2:
        raise InputError(
            f"comparison: {', '.join(map(str, folders)) or 'no run'} alone; name the output folders of at least two runs"
        )
    resolved = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, resolved, strict=True):
        if resolved.count(place) > 1:
            raise InputError(f"comparison: {folder} is named twice; name different runs")
    names = [place.name for place in resolved]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _refuse_other_data(folders: Sequence[Path], trees: Sequence[xr.DataTree]) -> None:
    """Before anything is read or simulated for them."""
    for what, words in (("data_checksum", "different data"), ("temperature", "different temperatures")):
        values = [tree.attrs.get(what) for tree in trees]
        for folder, value in zip(folders, values, strict=True):
            if value != values[0]:
                raise InputError(
                    f"comparison: {folders[0]} and {folder} are of {words} ({str(values[0])[:12]} and {str(value)[:12]});"
                    " compare runs of the same frames"
                )


def _verdict(tree: xr.DataTree) -> str:
    """ "passed", or in words why the run can't be relied on."""
    if output.is_quick(tree):
        return "quick test run"
    if tree.attrs.get("kind") == "labelled":
        failed = failed_checks(tree)
        return f"failed: {', '.join(failed)}" if failed else "passed"
    verdict = verification_verdict(tree)
    return "not verified" if verdict == "none" else verdict


def _labelled_data(tree: xr.DataTree) -> str:
    """Which labels, not only which files."""
    return (
        f"{tree.attrs['data_checksum']} {tree.attrs['units']} {tree.attrs['groups']} {tree.attrs['counts']}"
    )


def _labelled_scores(tree: xr.DataTree, folder: Path) -> PredictiveScores:
    values = output.require_variables(tree, "log_likelihood", "configurations")["configurations"].values
    n = values.shape[-1]
    return analysis.psis_scores(
        values, kind="configuration", n_frames=np.ones(n, int), first_frame=np.arange(n)
    )


class StoredBlocks(NamedTuple):
    """log p of whole blocks at draws of the calibrated posterior.

    Attributes:
        values: relative to the run's anchor [chain draw block].
        first_frame: of each block [block].
        n_frames: of each block [block].
    """

    values: np.ndarray
    first_frame: np.ndarray
    n_frames: np.ndarray


def _stored_blocks(tree: xr.DataTree, folder: Path) -> StoredBlocks:
    stored = output.require_variables(tree, "log_likelihood", "frames")
    first = np.asarray(stored["first_frame"].values, int)
    if "n_frames" not in stored:
        raise InputError(
            f"{folder}: its result does not say how many frames its blocks have; run it again, or compare with"
            " --method refit"
        )
    return StoredBlocks(stored["frames"].values, first, np.asarray(stored["n_frames"].values, int))


def _common_blocks(
    blocks: Sequence[StoredBlocks], fits: Sequence[StoredFit], trees: Sequence[xr.DataTree]
) -> list[StoredBlocks]:
    """Every run on the longest blocks of any, those of the largest inefficiency, at the same draws as stored."""
    longest = min(blocks, key=lambda one: len(one.first_frame))
    edges = np.append(longest.first_frame, longest.first_frame[-1] + longest.n_frames[-1])
    found = []
    for own, fit, tree in zip(blocks, fits, trees, strict=True):
        if np.array_equal(own.first_frame, longest.first_frame):
            found.append(own)
            continue
        z = output.require_variables(tree, "unconstrained", "z_calibrated")["z_calibrated"].values[:, ::4]
        flat = jnp.asarray(z.reshape(-1, z.shape[-1]))
        values = jax.lax.map(functools.partial(_blocks_at, fit, edges), flat, batch_size=16)
        found.append(longest._replace(values=np.asarray(values).reshape(*z.shape[:2], -1)))
    return found


def _blocks_at(fit: StoredFit, edges: np.ndarray, z: jax.Array) -> jax.Array:
    potential = fit.posterior.prior.potential(z)
    return block_log_likelihood(fit.loaded.statistics, fit.likelihood, potential, edges=edges)


def _stored_scores(blocks: Sequence[StoredBlocks]) -> list[PredictiveScores]:
    return [
        analysis.psis_scores(one.values, kind="joint", n_frames=one.n_frames, first_frame=one.first_frame)
        for one in blocks
    ]


def _fits(
    trees: Sequence[xr.DataTree], folders: Sequence[Path], tell: Callable[[str], None]
) -> list[StoredFit]:
    fits = []
    for tree, folder in zip(trees, folders, strict=True):
        tell(f"{folder}: reading data and references")
        fits.append(stored_fit(tree, folder))
    return fits


def _refit_scores(
    fits: Sequence[StoredFit], score: str, n_blocks: int, buffer: int, tell: Callable[[str], None]
) -> list[PredictiveScores]:
    """With the same blocks for all, long enough for the slowest statistic of any."""
    g = max(analysis.score_inefficiency(fit.loaded.statistics) for fit in fits)
    lengths = fits[0].loaded.statistics.trajectory_lengths()
    edges = analysis.block_edges(lengths, inefficiency=g, n_blocks=n_blocks)
    scores = []
    for fit in fits:
        tell(f"{fit.folder}: {len(edges) - 1} refits, each without one block of frames")
        few = np.linspace(0, len(fit.draws) - 1, min(DRAWS, len(fit.draws))).astype(int)
        found = analysis.leave_block_out(
            fit.loaded.statistics, fit.posterior, fit.likelihood, mode=fit.mode, draws=fit.draws[few],
            edges=edges, buffer=buffer,
        )  # fmt: skip
        scores.append(found.pointwise if score == "pointwise" else found.joint)
    return scores


def _tolerance(scores: Sequence[PredictiveScores]) -> np.ndarray:
    """Error of log Z per frame that is small beside the data's own error of each difference [run run].

    Of each by itself: two runs that hardly differ would otherwise demand of all what only they need.
    """
    n = float(np.sum(scores[0].n_frames))
    errors = [[analysis.spread_of_sum(a.values - b.values) for a in scores] for b in scores]
    return np.maximum(NORMALISATION_SHARE * np.array(errors), 0.05) / n


def common_normalisation(
    fits: Sequence[StoredFit], tolerance: np.ndarray, *, tell: Callable[[str], None] = lambda _: None
) -> Normalisation:
    """One normalisation for stored fits of any forms.

    Fits of one form share features, and their references are pooled. A bank keeps the statistics of its own form
    alone, not the frames, so forms are related by new simulations in which the statistics of all are computed.

    Args:
        fits: at least two.
        tolerance: standard error of log Z that is small enough, of each pair [fit fit].
        tell: hears what is being done.
    """
    forms: list[list[int]] = []
    survey = fits[0].loaded.survey
    probes = survey.configurations[:8]
    for i, fit in enumerate(fits):
        for form in forms:
            if analysis.same_form(fits[form[0]].potential, fit.potential, probes, survey.box):
                form.append(i)
                break
        else:
            forms.append([i])
    anchored = [AnchoredFit(fit.anchor, fit.bank, fit.potential) for fit in fits]
    log_z, covariance = np.zeros(len(fits)), np.zeros((len(fits), len(fits)))
    for form in forms:
        pooled = analysis.pooled_normalisation([anchored[i] for i in form])
        log_z[form] = pooled.log_z
        if len(form) > 1:
            covariance[np.ix_(form, form)] += pooled.covariance
    words = "references of runs of one form pooled"
    if len(forms) > 1:
        key = jax.random.key(fits[0].model.inference.seed)
        tell(f"simulating mixtures of {len(forms)} forms, for one normalisation")
        strictest = np.array([[tolerance[np.ix_(a, b)].min() for a in forms] for b in forms])
        values, errors = _between_forms([fits[form[0]] for form in forms], strictest, key)
        which = np.array([next(k for k, form in enumerate(forms) if i in form) for i in range(len(fits))])
        log_z, covariance = log_z + values[which], covariance + errors[np.ix_(which, which)]
        words = f"simulations of mixtures of {len(forms)} forms, one pool"
    return Normalisation(tuple(fit.anchor for fit in fits), log_z, covariance, words)


def _between_forms(
    fits: Sequence[StoredFit], tolerance: np.ndarray, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """log Z of each form at its MAP relative to the first form's, and the covariance."""
    first = fits[0]
    table, survey, units = first.model.simulation, first.loaded.survey, first.pipeline.units
    joint = JointForm([fit.potential for fit in fits])
    beta = units.beta(first.model.temperature)
    settings = SimulationSettings(
        table.time_step, table.friction, table.stride, table.replicas, table.equilibration, metropolis=True
    )
    simulator = Simulator(
        joint.potential, topology=survey.source.topology, box=survey.box, units=units,
        temperature=first.model.temperature, settings=settings,
    )  # fmt: skip
    together = FrameReducer(joint.potential, box=survey.box)
    alone = [FrameReducer(fit.potential, box=survey.box) for fit in fits]

    def correct(positions: np.ndarray, k: int) -> np.ndarray:
        """β (U_own − U_joint): a table in the joint simulation where the run's own had a formula."""
        eta = joint.coefficients(k)[joint.own(k)]
        difference = alone[k](positions)[0] - together(positions)[0][:, joint.own(k)]
        return beta * difference @ eta

    return analysis.bridged_differences(
        joint, simulator, beta=beta, starts=survey.configurations,
        settings=BridgeSettings(
            n_replicas=max(8, table.replicas // 4),
            tolerance=tolerance,
            max_samples=max(first.model.inference.max_verification_samples, 200),
        ),
        key=key, correct=correct,
    )  # fmt: skip
