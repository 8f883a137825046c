"""Whether data of the model would look like the data of a stored run: `bayescg ppc`."""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg import analysis, output
from bayescg.analysis import Observables, ObservedAverages, System
from bayescg.analysis._predict import ideal_counts, virial_pressure
from bayescg.physics import SufficientStatistics, reduce
from bayescg.study._held_out_frames import held_out_score, held_out_sentences, read_held_out, refuse_missing
from bayescg.study._result import _coordinate_names
from bayescg.study._stored_fits import StoredFit, stored_fit
from bayescg.study._stored_verdict import cautions, refuse_labelled

BLOCK = 64
"""Frames reduced at a time."""
LEAST_EFFECTIVE_FRAMES = 50.0
"""Effective reference frames at a draw, below which reweighted averages are not to be trusted."""


def check_predictions(
    folder: Path,
    *,
    n_draws: int = 50,
    held_out: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> xr.Dataset:
    """Posterior predictive checks of a stored run on frames, by reweighting its references; nothing is simulated.

    Checked are averages and variances of the energy at the best parameters and of ∂U/∂z, which the fit matches on average;
    averages of the bins of g(r) and of the pressure, where the run has them.

    Args:
        folder: the run's output folder.
        n_draws: calibrated draws, evenly chosen.
        held_out: netCDF of frames that the run did not learn from, to be scored beside its own.
        tell: hears what is being done.

    Returns:
        As `analysis.judged_checks`, with the posterior in words, title and sentences.

    Raises:
        InputError: no run, no bank in it, a run on labelled configurations, data that changed, held-out frames of another
            system.

    Example:
        >>> check_predictions(Path("no-such-run"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        bayescg.errors.InputError: no-such-run/posterior.nc: no such file; name the output folder of a finished run ...
    """
    tree = output.open_result(folder)
    refuse_labelled(
        tree,
        folder,
        "have no reference simulations to reweight; its report shows the coverage of held-out labels instead",
    )
    if held_out is not None:
        refuse_missing(held_out)
    tell(f"{folder}: reading data and references")
    fit = stored_fit(tree, folder)
    further = None if held_out is None else read_held_out(held_out, fit)
    eta = _coefficients(tree, fit, n_draws)
    tell(f"averages and variances at {len(eta)} draws")
    check, n_rare = _checked(fit, eta)
    effective = min(float(1.0 / np.sum(fit.bank.weights(one) ** 2)) for one in eta)
    sentences = analysis.judged_sentences(check)
    if n_rare:
        sentences.append(f"{n_rare} averages were left out: too rare in these data to be judged.")
    if effective < LEAST_EFFECTIVE_FRAMES:
        sentences.append(
            f"Read this with care: at one draw only {effective:.0f} effective reference frames are left; run more of them."
        )
    check = check.assign_attrs(
        n_draws=len(eta), n_rare=n_rare, effective_frames=effective,
        posterior=f"{len(eta)} draws of the calibrated posterior",
    )  # fmt: skip
    if further is not None:
        tell("held-out frames")
        scores = held_out_score(fit, further, _calibrated(tree, n_draws))
        check, sentences = check.assign_attrs(scores), [*sentences, *held_out_sentences(scores)]
    return check.assign_attrs(
        title="Would data of the model look like these?", sentences=json.dumps([*sentences, *cautions(tree)]),
        data_checksum=str(tree.attrs["data_checksum"]),
    )  # fmt: skip


def _calibrated(tree: xr.DataTree, n_draws: int) -> Float[np.ndarray, "draw coordinate"]:
    z = np.asarray(
        output.require_variables(tree, "unconstrained", "z_calibrated")["z_calibrated"].values, float
    )
    flat = z.reshape(-1, z.shape[-1])
    return flat[np.linspace(0, len(flat) - 1, min(n_draws, len(flat))).astype(int)]


def _coefficients(tree: xr.DataTree, fit: StoredFit, n_draws: int) -> Float[np.ndarray, "draw feature"]:
    prior = fit.loaded.prior
    mapped = jax.jit(jax.vmap(lambda z: prior.potential(z).coefficients()))
    return np.asarray(mapped(jnp.asarray(_calibrated(tree, n_draws))))


def _checked(fit: StoredFit, eta: np.ndarray) -> tuple[xr.Dataset, int]:
    """The judged checks, and how many observables were too rare for one."""
    survey, bank = fit.loaded.survey, fit.bank
    lengths = fit.loaded.statistics.trajectory_lengths()
    best = np.asarray(fit.potential.coefficients())
    jacobian = np.asarray(
        jax.jacobian(lambda z: fit.loaded.prior.potential(z).coefficients())(jnp.asarray(fit.mode.z))
    )
    moments = _moments(fit, best, jacobian)
    bins = _distance_bins(fit)
    averages = moments if bins is None else moments.joined(bins)
    rare = analysis.too_rare(bank, eta.mean(axis=0), averages, lengths=lengths)
    kept = averages.only(~rare)
    varied = moments.only(~rare[: len(moments.names)])
    parts = [
        analysis.checked_averages(bank, eta, kept, lengths=lengths),
        analysis.checked_variances(bank, eta, varied, lengths=lengths),
    ]
    squares = (varied.model - bank.weights(best) @ varied.model) ** 2
    share = analysis.fitted_share(
        bank, best, np.concatenate([kept.model, squares], axis=1),
        scores=-bank.beta * bank.features @ jacobian, covariance=np.asarray(fit.mode.covariance),
        n_frames=survey.n_frames,
    )  # fmt: skip
    pressure = _pressure(fit, eta)
    if pressure is not None:
        parts.append(pressure)
        share = np.append(share, 0.0)  # of the mapped frames it is no function
    check = xr.concat(parts, "observable").assign(fitted_share=("observable", share))
    check["fitted_share"].attrs["long_name"] = "share of the average's fluctuation that refitting takes up"
    return analysis.judged_checks(check), int(rare.sum())


def _moments(fit: StoredFit, best: np.ndarray, jacobian: np.ndarray) -> Observables:
    """The energy at the best parameters, and ∂U/∂z of the potential's parameters."""
    names, parameters = _coordinate_names(fit.loaded.prior, fit.loaded.potential, fit.pipeline.units)
    columns = np.column_stack([best, jacobian[:, parameters]])
    return Observables(
        ("energy", *(f"∂U/∂{names[i]}" for i in parameters)),
        ("energy", *("∂U/∂z" for _ in parameters)),
        fit.loaded.statistics.features @ columns,
        fit.bank.features @ columns,
    )


def _system(fit: StoredFit, edges: np.ndarray) -> System:
    survey = fit.loaded.survey
    return System(
        survey.n_sites, float(np.prod(survey.box)), fit.model.temperature, fit.pipeline.units, edges
    )


def _distance_bins(fit: StoredFit) -> Observables | None:
    """g(r) of every frame; None where the references hold no pair counts."""
    edges = fit.loaded.survey.distance_edges
    bins = {reference.pair_counts.shape[-1] for reference in fit.bank.references}
    if edges is None or bins != {len(edges) - 1}:
        return None
    frames: SufficientStatistics = reduce(
        fit.loaded.survey.source.blocks(BLOCK), fit.loaded.potential, distance_edges=edges
    )
    ideal = ideal_counts(_system(fit, edges))
    model = np.concatenate([r.pair_counts.reshape(r.n_frames, -1) for r in fit.bank.references])
    centres, unit = (edges[1:] + edges[:-1]) / 2.0, fit.pipeline.units.unit("length")
    names = tuple(f"g({r:.4g} {unit})" for r in centres)
    return Observables(
        names, ("g(r)",) * len(names), frames.pair_counts / ideal, np.asarray(model, float) / ideal
    )


def _pressure(fit: StoredFit, eta: np.ndarray) -> xr.Dataset | None:
    """The mean pressure; its error is the data's own, whose fluctuations belong to what the sites left out too."""
    survey = fit.loaded.survey
    virial = [r.virial.reshape(r.n_frames, -1) for r in fit.bank.references]
    if survey.pressure is None or any(v.shape[1] != eta.shape[1] for v in virial):
        return None
    system, stacked = _system(fit, np.zeros(0)), np.concatenate(virial)
    values = np.stack([virial_pressure(one, stacked, system) for one in eta])[..., None]
    data = survey.pressure[:, None]
    seen = analysis.observed_averages(data, lengths=fit.loaded.statistics.trajectory_lengths())
    weights = fit.bank.weights(eta[0])
    spread = weights @ (values[0] - weights @ values[0]) ** 2
    worth = spread * seen.independent_frames / np.maximum(data.var(axis=0, ddof=1), 1e-300)
    check = analysis.predictive_checks(
        fit.bank, eta, values, ObservedAverages(seen.mean, worth), names=["pressure"]
    )
    return check.drop_vars("sentence").assign(group=("observable", ["pressure"]))
