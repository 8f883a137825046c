"""The pre-flight: what a look at data and model can tell before anything is simulated."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from bayescg.analysis import Check
from bayescg.data import equilibration_cut, statistical_inefficiency, trajectory_agreement
from bayescg.errors import InputError
from bayescg.inference import Smoothness
from bayescg.physics import Potential, SplinePair, SufficientStatistics
from bayescg.physics._potential import terms_of
from bayescg.study._build import ParameterPrior
from bayescg.study._inspect import LEAST_FRAMES
from bayescg.study._survey import Survey

Priors = Mapping[str, ParameterPrior]

SILLY_WIDTH = 100.0
"""Standard deviation of a prior [kT] beyond which a run refuses it on coefficients that no data touch."""


def refuse_wide_priors(survey: Survey, potential: Potential, priors: Priors, *, path: Path) -> None:
    """Raise where nothing at all holds coefficients: no data, and a prior wider than `SILLY_WIDTH` kT.

    Raises:
        InputError: names the parameter.
    """
    kT = survey.source.units.kT(survey.source.state.temperature)
    for term, untouched in _untouched(survey.statistics, potential):
        name = f"{term.name}_coefficients"
        sd = _prior_sd(priors[name])
        if untouched and sd is not None and sd > SILLY_WIDTH * kT:
            raise InputError(
                f"{path}: key 'prior.{name}': a standard deviation of {sd:g} ({sd / kT:.0f} kT) on {len(untouched)}"
                f" coefficients that no data touch says nothing about them; use `smoothness`, or at most"
                f" {SILLY_WIDTH:g} kT"
            )


def preflight(survey: Survey, potential: Potential, priors: Priors) -> list[Check]:
    """Checks on data and model, worst news included, nothing raised."""
    checks = [*_length(survey.statistics), _temperature_forces(survey)]
    checks += sampled_distances(survey, potential, priors)
    checks.append(_effect(survey.statistics, potential))
    return checks + [Check("mapping", "failed", None, None, text) for text in survey.source.warnings]


def _length(statistics: SufficientStatistics) -> list[Check]:
    lengths = statistics.trajectory_lengths()
    varying = statistics.features[:, statistics.features.std(axis=0) > 0]
    if not varying.size:
        return [
            Check(
                "independent frames",
                "not tested",
                None,
                40.0,
                "No statistic of this potential varies in the data.",
            )
        ]
    g = statistical_inefficiency(varying, lengths=lengths)
    independent = statistics.n_frames / float(g.max())
    verdict = "passed" if independent >= 40 else "failed"
    checks = [
        Check(
            "independent frames", verdict, independent, 40.0,
            f"{statistics.n_frames} frames in {len(lengths)} {'trajectory' if len(lengths) == 1 else 'trajectories'} are"
            f" worth {independent:.0f} independent ones for the slowest statistic,"
            f" {statistics.n_frames / float(np.median(g)):.0f} for the median one.",
        )
    ]  # fmt: skip
    agreement = trajectory_agreement(varying, lengths)
    z = float(np.max(agreement.z))
    limit = 3.0 + 0.5 * np.log10(max(varying.shape[1], 1)) * 2
    what = f"{len(lengths)} trajectories" if len(lengths) > 1 else "two halves of the trajectory"
    checks.append(
        Check("agreement", "passed" if z < limit else "failed", z, limit,
              f"The {what} differ by at most {z:.1f} standard errors in any statistic.")
    )  # fmt: skip
    first = 0
    worst = 0.0
    for n in lengths:
        if n >= LEAST_FRAMES:
            total = statistics.features[first : first + n]
            worst = max(worst, equilibration_cut(total @ total.std(axis=0).clip(1e-300) ** -1).start / n)
        first += n
    percent = f"{100 * worst:.0f}"
    cut = (
        "No trajectory begins with an equilibration worth cutting."
        if percent == "0"
        else f"The best cut drops {percent} % of a trajectory as equilibration; set data.start to cut it."
    )
    checks.append(Check("equilibration", "passed" if worst < 0.3 else "failed", worst, 0.3, cut))
    return checks


def _temperature_forces(survey: Survey) -> Check:
    """Units: forces must be of the size that thermal motion over molecular distances makes."""
    if survey.force_sd is None or survey.n_sites < 2:
        return Check(
            "forces", "not tested", None, None, "The frames carry no forces; the start uses positions alone."
        )
    volume = float(np.prod(survey.box)) if np.isfinite(survey.box).all() else np.inf
    spacing = (volume / survey.n_sites) ** (1.0 / 3.0)
    ratio = survey.force_sd * spacing / survey.source.units.kT(survey.source.state.temperature)
    good = 0.5 < ratio < 500.0
    return Check(
        "units", "passed" if good else "failed", ratio, 500.0,
        f"Typical force times site spacing is {ratio:.1f} kT"
        + ("." if good else ": units of length, energy or temperature are probably wrong."),
    )  # fmt: skip


def sampled_distances(survey: Survey, potential: Potential, priors: Priors) -> list[Check]:
    """Which knots the data touch, and what holds the others."""
    checks = []
    units = survey.source.units
    kT = units.kT(survey.source.state.temperature)
    for term, untouched in _untouched(survey.statistics, potential):
        knots = f"knot of '{term.name}'" if len(untouched) == 1 else f"knots of '{term.name}'"
        places = f"{', '.join(f'{r:.3f}' for r in untouched)} {units.unit('length')}"
        sd = _prior_sd(priors[f"{term.name}_coefficients"])
        if not untouched:
            verdict, sentence = "passed", f"Data touch every knot of '{term.name}'."
        elif sd is None:
            verdict = "passed"
            sentence = (
                f"No data touch {len(untouched)} {knots} ({places}); core and smoothness prior hold them."
            )
        else:
            verdict = "failed"
            sentence = (
                f"No data touch {len(untouched)} {knots} ({places}), and their prior is not a smoothness prior: each"
                f" coefficient is free by {sd / kT:.3g} kT whatever its neighbours are; use `smoothness`."
            )
        checks.append(Check("sampled distances", verdict, float(len(untouched)), None, sentence))
    return checks


def _untouched(
    statistics: SufficientStatistics, potential: Potential
) -> Iterator[tuple[SplinePair, list[float]]]:
    """Every spline of the potential, and the distances of its coefficients that no data touch [length]."""
    first = 0  # column of the term's first feature
    for term in terms_of(potential):
        if isinstance(term, SplinePair):
            spread = statistics.features[:, first : first + len(term.knots) - 1].std(axis=0)
            yield term, [float(r) for r, s in zip(term.centres(), spread, strict=True) if s == 0.0]
        first += len(term.coefficients())


def _prior_sd(prior: ParameterPrior) -> float | None:
    """Standard deviation of a coefficient's own prior; None where a smoothness prior ties it to its neighbours."""
    return None if isinstance(prior, Smoothness) else float(np.sqrt(np.max(np.asarray(prior.variance))))


def _effect(statistics: SufficientStatistics, potential: Potential) -> Check:
    """Parameters whose change changes no frame's energy."""
    names = []
    base = potential.parameter_values()
    eta = np.asarray(potential.coefficients())
    for name, value in base.items():
        moved = potential.with_parameters({**base, name: value + 1e-3 * jnp.maximum(jnp.abs(value), 1.0)})
        change = np.asarray(moved.coefficients()) - eta
        if (statistics.features @ change).std() == 0.0:
            names.append(name)
    if names:
        return Check(
            "effect", "failed", float(len(names)), 0.0, f"No frame's energy varies with {', '.join(names)}."
        )
    return Check("effect", "passed", 0.0, 0.0, "Every parameter changes the energy of the frames.")
