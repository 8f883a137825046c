"""Log evidence of stored runs, by importance sampling and by tempered SMC side by side, and their Bayes factors."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayescg.analysis import Normalisation
from bayescg.data import frame_independence, long_run_covariance
from bayescg.errors import ConvergenceError, InputError
from bayescg.inference import (
    Evidence,
    EvidenceBasis,
    Target,
    TemperedSmc,
    bayes_factor,
    importance_evidence,
    smc_evidence,
)
from bayescg.inference._calibrate import symmetric_root
from bayescg.inference._evidence import KHAT_LIMIT
from bayescg.study._stored_fits import StoredFit

LEAST_EFFECTIVE_FRAMES = 50.0
"""Where the barrier begins that keeps draws where the references are, as in `FitSettings`."""
DRAWS, RUNS, PARTICLES = 4000, 4, 128
"""Draws of importance sampling; runs of tempered SMC, and particles of each."""
AGREEMENT = 4.0
"""Standard errors by which the two may differ."""


class TwoEvidences(NamedTuple):
    """The same integral by two methods.

    Attributes:
        importance: by importance sampling.
        smc: by tempered SMC; None where it did not reach the posterior.
        notes: what is wrong with either.
    """

    importance: Evidence
    smc: Evidence | None
    notes: tuple[str, ...]

    @property
    def trusted(self) -> Evidence:
        """Importance sampling's, or SMC's where the importance weights have too heavy a tail."""
        return self.importance if self.smc is None or self.importance.khat <= KHAT_LIMIT else self.smc


def evidence_of_fits(
    fits: Sequence[StoredFit],
    *,
    names: Sequence[str],
    normalisation: Normalisation | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> xr.Dataset:
    """Log evidence of stored fits of the same frames, and Bayes factors relative to the best.

    The evidence takes frames as independent, so correlated ones get no Bayes factor (see `data.frame_independence`).
    The errors of each run's own log Z and of the normalisation are added as if independent, which is on the safe side:
    they partly rest on the same simulations.

    Args:
        fits: of the same frames.
        names: of the fits.
        normalisation: of their anchors, in their order; without it fits of different anchors get no Bayes factor.
        seed: of the random numbers.
        tell: hears what is being done.

    Returns:
        Along `run`, in the order given: `log_evidence` with `log_evidence_se` and `evidence_khat` (importance sampling),
        `log_evidence_smc` with `log_evidence_smc_se`, `log_z_error` (the part of both errors that log Z has),
        `statistical_inefficiency` with `inefficiency_limit`, `log_bayes_factor` with `log_bayes_factor_se` (NaN where
        refused), `refusal` and `evidence_note` (empty, or why).
    """
    n = fits[0].loaded.statistics.n_frames
    both = []
    for k, fit in enumerate(fits):
        tell(f"{fit.folder}: log evidence by importance sampling and by tempered SMC")
        key = jax.random.fold_in(jax.random.key(seed), k)
        shift = 0.0 if normalisation is None else n * float(normalisation.log_z[k])
        anchor = fit.anchor if normalisation is None else "common"
        both.append(_shifted(_two_evidences(fit, key), shift, anchor))
    extra = [
        0.0 if normalisation is None else n * np.sqrt(normalisation.covariance[k, k])
        for k in range(len(fits))
    ]
    columns = _columns(both, extra) | _bayes_factors([two.trusted for two in both], n, normalisation)
    table = xr.Dataset(
        {name: ("run", list(values)) for name, values in columns.items()}, coords={"run": list(names)}
    )
    return table.assign_attrs(evidence_frames=n)


def fit_target(fit: StoredFit) -> Target:
    """The posterior density of a stored fit, centred at its MAP and whitened by Laplace's covariance."""
    eta = fit.posterior.coefficients(jnp.asarray(fit.mode.z))
    effective = float(fit.bank.surrogate().effective_frames(eta))
    return Target(
        fit.likelihood,
        jnp.asarray(fit.mode.z),
        jnp.asarray(symmetric_root(fit.mode.covariance)),
        jnp.asarray(min(LEAST_EFFECTIVE_FRAMES, 0.5 * effective)),
    )


def evidence_basis(fit: StoredFit) -> EvidenceBasis:
    """Frames and references of a stored fit; the frames judged in the directions of the score at the MAP."""
    statistics = fit.loaded.statistics
    jacobian = np.asarray(jax.jacobian(fit.posterior.coefficients)(jnp.asarray(fit.mode.z)))
    scores = (statistics.features - statistics.features.mean(axis=0)) @ jacobian
    g, limit = frame_independence(long_run_covariance(scores, lengths=statistics.trajectory_lengths()))
    return EvidenceBasis(statistics.n_frames, g, fit.bank, limit)


def _two_evidences(fit: StoredFit, key: jax.Array) -> TwoEvidences:
    target, basis = fit_target(fit), evidence_basis(fit)
    first, second = jax.random.split(key)
    importance = importance_evidence(fit.posterior, target, key=first, basis=basis, n_draws=DRAWS)
    notes = []
    if importance.log_z_error > 1.0:
        notes.append(
            f"log Z alone has an error of {importance.log_z_error:.1f} nats over all frames, so the references are too short"
            " for an evidence; simulate longer (max_verification_samples)"
        )
    smc: Evidence | None = None
    try:
        sampler = TemperedSmc(fit.posterior, n_particles=PARTICLES)
        smc = smc_evidence(fit.posterior, target, key=second, basis=basis, n_runs=RUNS, smc=sampler)
    except ConvergenceError as failed:
        notes.append(f"tempered SMC: {failed}")
    if smc is not None:
        apart = abs(importance.log_evidence - smc.log_evidence)
        error = float(np.hypot(importance.monte_carlo_error, smc.monte_carlo_error))
        if importance.khat > KHAT_LIMIT:
            notes.append(
                f"importance sampling has heavy-tailed weights (k-hat {importance.khat:.2f}), so SMC's number counts"
            )
        elif apart > AGREEMENT * error + 0.01:
            notes.append(
                f"importance sampling and SMC differ by {apart:.2f} ± {error:.2f} nats; trust neither"
            )
    return TwoEvidences(importance, smc, tuple(notes))


def _shifted(two: TwoEvidences, shift: float, anchor: str) -> TwoEvidences:
    """Relative to another state, `shift` = N (log Z_anchor − log Z_other) away."""

    def moved(one: Evidence) -> Evidence:
        return one._replace(log_evidence=one.log_evidence - shift, anchor=anchor)

    return two._replace(importance=moved(two.importance), smc=None if two.smc is None else moved(two.smc))


def _columns(both: Sequence[TwoEvidences], extra: Sequence[float]) -> dict[str, list[float] | list[str]]:
    smc = [two.smc for two in both]
    return {
        "log_evidence": [two.importance.log_evidence for two in both],
        "log_evidence_se": [float(np.hypot(two.importance.standard_error, e)) for two, e in zip(both, extra, strict=True)],
        "evidence_khat": [two.importance.khat for two in both],
        "log_evidence_smc": [np.nan if one is None else one.log_evidence for one in smc],
        "log_evidence_smc_se": [
            np.nan if one is None else float(np.hypot(one.standard_error, e)) for one, e in zip(smc, extra, strict=True)
        ],
        "log_z_error": [float(np.hypot(two.importance.log_z_error, e)) for two, e in zip(both, extra, strict=True)],
        "statistical_inefficiency": [two.importance.statistical_inefficiency for two in both],
        "inefficiency_limit": [two.importance.inefficiency_limit for two in both],
        "evidence_note": ["; ".join(two.notes) for two in both],
    }  # fmt: skip


def _bayes_factors(
    evidences: Sequence[Evidence], n: int, normalisation: Normalisation | None
) -> dict[str, list[float] | list[str]]:
    """Of each over the best: not positive."""
    best = int(np.argmax([one.log_evidence for one in evidences]))
    values, errors, refusals = [], [], []
    for k, one in enumerate(evidences):
        try:
            found = bayes_factor(one, evidences[best])
        except InputError as refused:
            values.append(np.nan)
            errors.append(np.nan)
            refusals.append(str(refused).removeprefix("Bayes factor: "))
            continue
        shared = 0.0 if normalisation is None else n * normalisation.difference_error(k, best)
        values.append(found.log_bayes_factor)
        errors.append(0.0 if k == best else float(np.hypot(found.standard_error, shared)))
        refusals.append("")
    return {"log_bayes_factor": values, "log_bayes_factor_se": errors, "refusal": refusals}
