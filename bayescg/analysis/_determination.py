"""What the data of one inference determine: profiles, verdicts, information and sensitivity in one dataset."""

import json
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from bayescg.analysis._identifiability import FisherSpectrum, Identifiability, fisher_spectrum
from bayescg.analysis._information_gain import gaussian_information_gain, marginal_information_gain
from bayescg.analysis._manifold_boundary import ManifoldBoundary
from bayescg.analysis._monomials import logarithmic_coordinates, participation
from bayescg.analysis._null_space import NullSpace, null_space
from bayescg.analysis._parameter_verdicts import (
    CombinationVerdict,
    ParameterVerdict,
    combination_verdicts,
    determined_combinations,
    parameter_verdicts,
    share_beyond_prior,
)
from bayescg.analysis._power_scaling import PowerScaling, log_terms, power_scaling
from bayescg.analysis._profile import Profiles, profiles
from bayescg.inference import Mode, Posterior
from bayescg.inference._likelihood import Likelihood


class Inference(NamedTuple):
    """One inference, as its stored run tells.

    Attributes:
        posterior: prior and log density.
        likelihood: one that costs no simulation and no look at the data.
        mode: maximum and Laplace approximation.
        draws: of the raw posterior, unconstrained [chain draw coordinate].
        calibrated: of the calibrated one [draw coordinate].
        prior_draws: of the prior [prior_draw coordinate].
        covariance: V, calibrated [coordinate coordinate].
        prior_information: Λ̄ [coordinate coordinate].
        parameters: indices of the coordinates that are parameters of the potential [parameter].
        names: of all coordinates.
        spectrum: of those parameters.
        information: of the data at several values, those coordinates only [point parameter parameter].
        least_effective_frames: reweighting limit.
    """

    posterior: Posterior
    likelihood: Likelihood
    mode: Mode
    draws: Float[np.ndarray, "chain draw coordinate"]
    calibrated: Float[np.ndarray, "draw coordinate"]
    prior_draws: Float[np.ndarray, "prior_draw coordinate"]
    covariance: Float[np.ndarray, "coordinate coordinate"]
    prior_information: Float[np.ndarray, "coordinate coordinate"]
    parameters: Int[np.ndarray, " parameter"]
    names: tuple[str, ...]
    spectrum: Identifiability
    information: Float[np.ndarray, "point parameter parameter"]
    least_effective_frames: float


class Determination(NamedTuple):
    """What the data of an inference determine.

    Attributes:
        parameters: a verdict on each parameter.
        combinations: a verdict on each combination, best known first.
        profiles: of each parameter, then of each combination.
        gain: KL(posterior ‖ prior) of each parameter [nats].
        total_gain: of all together, both taken as normal [nats].
        sensitivity: to the powers of prior and likelihood.
        structure: what no such data tell.
        participation: share of each parameter in each combination [combination parameter].
        fisher: eigenvalues and eigenvectors of the observed Fisher information, without the prior.
    """

    parameters: tuple[ParameterVerdict, ...]
    combinations: tuple[CombinationVerdict, ...]
    profiles: tuple[Profiles, Profiles]
    gain: np.ndarray
    total_gain: float
    sensitivity: PowerScaling
    structure: NullSpace
    participation: Float[np.ndarray, "combination parameter"]
    fisher: FisherSpectrum


def determination(inference: Inference) -> Determination:
    """Profiles, verdicts, information gain and power-scaling sensitivity of one inference.

    Args:
        inference: from a stored run.

    Raises:
        ConvergenceError: no maximum where the profiles begin.
    """
    chosen, prior = inference.parameters, inference.posterior.prior
    block = np.ix_(chosen, chosen)
    names = [inference.names[i] for i in chosen]
    logs = [logarithmic_coordinates(prior)[i] for i in chosen]
    spread = inference.prior_draws.std(axis=0)[chosen]
    structure = null_space(inference.information, prior_spread=spread)
    precision = inference.prior_information[block]
    whole = np.eye(len(inference.names))[chosen]
    along = determined_combinations(inference.spectrum, precision)
    own, combined = (
        profiles(
            inference.posterior, inference.likelihood, inference.mode, directions=rows @ whole, names=labels,
            least_effective_frames=inference.least_effective_frames,
        )
        for rows, labels in (
            (np.eye(len(chosen)), names),
            (along, [f"combination {k + 1}" for k in range(len(along))]),
        )
    )  # fmt: skip
    covariance = inference.covariance[block]
    found = combination_verdicts(
        inference.spectrum, names=names, covariance=covariance, prior_precision=precision, structure=structure,
        logarithmic=logs, profiles=_restricted(combined, chosen),
    )  # fmt: skip
    told = parameter_verdicts(
        found, names=names, covariance=covariance, prior_spread=spread, structure=structure, logarithmic=logs,
        profiles=_restricted(own, chosen),
        beyond_prior=share_beyond_prior(inference.calibrated[:, chosen], inference.prior_draws[:, chosen]),
    )  # fmt: skip
    log_prior, log_likelihood = log_terms(inference.posterior, inference.likelihood, inference.draws)
    draws = {name: inference.draws[..., i] for name, i in zip(names, chosen, strict=True)}
    return Determination(
        told,
        found,
        (own, combined),
        marginal_information_gain(inference.calibrated[:, chosen], inference.prior_draws[:, chosen]),
        gaussian_information_gain(
            inference.calibrated[:, chosen].mean(axis=0), covariance,
            prior_mean=inference.prior_draws[:, chosen].mean(axis=0), prior_precision=precision,
        ),
        power_scaling(draws, log_prior, log_likelihood),
        structure,
        participation(along),
        fisher_spectrum(inference.spectrum, precision),
    )  # fmt: skip


def _restricted(found: Profiles, chosen: Int[np.ndarray, " parameter"]) -> Profiles:
    """Profiles with directions of the parameters alone, which is all they have."""
    return found._replace(directions=found.directions[:, chosen])


def determination_sentences(found: Determination, boundary: ManifoldBoundary | None = None) -> list[str]:
    """The answer in words: parameters, combinations, and the reduced model that the softest direction points to."""
    counts: dict[str, int] = {}
    for verdict in found.parameters:
        counts[str(verdict.verdict)] = counts.get(str(verdict.verdict), 0) + 1
    tally = ", ".join(f"{count} {name}" for name, count in counts.items())
    sentences = [
        f"Of {len(found.parameters)} parameters: {tally}. The data tell {found.total_gain:.1f} nats about them (posterior"
        " and prior taken as normal)."
    ]
    few = len(found.parameters) <= 12
    shown = found.parameters if few else [v for v in found.parameters if str(v.verdict) != "identified"]
    sentences += [f"{verdict.name}: {verdict.verdict}; {verdict.reason}." for verdict in shown]
    beyond = [verdict.name for verdict in found.parameters if verdict.at_boundary]
    if beyond:
        sentences.append(
            f"More than 5 % of the draws of {', '.join(beyond)} lie beyond the prior's central 99 %: the data push to"
            " its edge; look at the prior again."
        )
    if len(found.parameters) > 1:
        sentences.append(_fisher_sentence(found))
    if boundary is not None:
        sentences.append(f"Along the softest direction: {boundary.words}.")
    return sentences


def _fisher_sentence(found: Determination) -> str:
    """The two ends of the Fisher spectrum, and which parameter takes most part in them."""
    shares = participation(found.fisher.eigenvector)
    ends = []
    for k in (0, -1):
        most = int(np.argmax(shares[k]))
        name = f"{100.0 * shares[k, most]:.3g} % {found.parameters[most].name}"
        ends.append((f"{found.fisher.eigenvalue[k]:.3g}", name))
    (largest, stiff), (smallest, soft) = ends
    return (
        f"Eigenvalues of the observed Fisher information per frame go from {largest} to {smallest}; by participation the stiffest"
        f" direction is {stiff}, the softest {soft}."
    )


def determination_dataset(found: Determination, boundary: ManifoldBoundary | None = None) -> xr.Dataset:
    """All of it as arrays, to be stored.

    Dimensions: `parameter`, `combination`, `profile` (parameters first, then combinations), `point`, `side`,
    `fisher_direction` (eigenvectors of the observed Fisher information, largest eigenvalue first).
    """
    own, combined = found.profiles
    places = {verdict.name: i for i, verdict in enumerate(found.parameters)}
    exponents = np.zeros((len(found.combinations), len(found.parameters)))
    for k, verdict in enumerate(found.combinations):
        exponents[k, verdict.combination.places] = verdict.combination.exponents
    parameter, combination = ("parameter",), ("combination",)
    sides = ("profile", "side")
    variables = {
        "verdict": (parameter, [str(v.verdict) for v in found.parameters]),
        "reason": (parameter, [v.reason for v in found.parameters]),
        "contraction": (parameter, [v.contraction for v in found.parameters]),
        "spread": (parameter, [v.spread for v in found.parameters], {"long_name": "sd, unconstrained"}),
        "beyond_prior": (parameter, [v.beyond_prior for v in found.parameters]),
        "information_gain": (parameter, found.gain, {"units": "nats"}),
        "prior_sensitivity": (parameter, found.sensitivity.prior),
        "likelihood_sensitivity": (parameter, found.sensitivity.likelihood),
        "combination_verdict": (combination, [str(v.verdict) for v in found.combinations]),
        "combination_reason": (combination, [v.reason for v in found.combinations]),
        "combination_contraction": (combination, [v.contraction for v in found.combinations]),
        "combination_spread": (combination, [v.spread for v in found.combinations]),
        "exponent": (("combination", "parameter"), exponents),
        "participation": (
            ("combination", "parameter"), found.participation, {"long_name": "share of a parameter in a combination"}
        ),
        "fisher_eigenvalue": (("fisher_direction",), found.fisher.eigenvalue, {"units": "1/frame"}),
        "fisher_participation": (
            ("fisher_direction", "parameter"), participation(found.fisher.eigenvector),
            {"long_name": "share of a parameter in an eigenvector of the observed Fisher information"},
        ),
        "grid": (("profile", "point"), _joined(own.grid, combined.grid)),
        "profile_log_density": (("profile", "point"), _joined(own.log_density, combined.log_density)),
        "profile_log_likelihood": (
            ("profile", "point"),
            _joined(own.log_likelihood, combined.log_likelihood),
        ),
        "interval": (sides, np.concatenate([own.interval, combined.interval])),
        "likelihood_interval": (
            sides,
            np.concatenate([own.likelihood_interval, combined.likelihood_interval]),
        ),
        "bank_ended": (sides, np.concatenate([own.bank_ended, combined.bank_ended])),
        "converged": (sides, np.concatenate([own.converged, combined.converged])),
    }  # fmt: skip
    texts = [verdict.combination.text for verdict in found.combinations]
    data = xr.Dataset(
        variables,
        coords={
            "parameter": list(places),
            "combination": texts,
            "profile": [*places, *(f"combination {k + 1}" for k in range(len(texts)))],
            "side": ["below", "above"],
        },
        attrs={
            "title": "What the data determine",
            "information_gain_nats": found.total_gain,
            "sentences": json.dumps(determination_sentences(found, boundary)),
        },
    )
    if boundary is not None:
        data.attrs |= {"boundary": boundary.words, "boundary_end": str(boundary.end)}
        data["geodesic"] = (("step", "parameter"), boundary.z)
        data["geodesic_smallest_eigenvalue"] = ("step", boundary.smallest_eigenvalue)
        data["geodesic_log_speed"] = ("step", boundary.log_speed)
    return data


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rows of both, filled up with NaN to one length."""
    width = max(first.shape[1], second.shape[1])
    return np.concatenate(
        [
            np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=np.nan)
            for rows in (first, second)
        ]
    )
