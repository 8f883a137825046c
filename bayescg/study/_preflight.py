"""The pre-flight: what a look at data and model can tell before anything is simulated."""

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from bayescg.analysis import Check
from bayescg.data import Frames, equilibration_cut, statistical_inefficiency, trajectory_agreement
from bayescg.errors import InputError
from bayescg.physics import PairPotential, Potential, SplinePair, SufficientStatistics
from bayescg.physics._potential import terms_of

LEAST_FRAMES = 20


def refuse_unusable(frames: Frames, potential: Potential, *, path: Path) -> None:
    """Raise on what no inference can mend.

    Raises:
        InputError: too few frames, a box too small for the cutoff, sites of several types, a box that changes.
    """
    if frames.n_frames < LEAST_FRAMES:
        raise InputError(
            f"{path}: key 'data': {frames.n_frames} frames are too few to see their own correlations, at least"
            f" {LEAST_FRAMES} are needed (hundreds to learn anything); give a longer trajectory"
        )
    pairs = [term for term in terms_of(potential) if isinstance(term, PairPotential)]
    if not pairs:
        return
    shortest = float(frames.box.min())
    for term in pairs:
        if np.isfinite(shortest) and 2.0 * term.cutoff > shortest * (1.0 + 1e-9):
            raise InputError(
                f"{path}: key 'potential.{term.name}.cutoff': {term.cutoff:g} is more than half the shortest box edge"
                f" ({shortest:g} {frames.units.unit('length')}); shorten the cutoff or use a larger system"
            )
    types = sorted(set(frames.topology.site_types))
    if len(types) > 1:
        raise InputError(
            f"{path}: key 'data': the sites are of {len(types)} types ({', '.join(types)}), but pair potentials here"
            " act between sites of one type; map to one site per molecule"
        )
    if np.ptp(frames.box, axis=0).max(initial=0.0, where=np.isfinite(frames.box).all()) > 1e-6 * shortest:
        raise InputError(
            f"{path}: key 'data': the box changes from frame to frame; use a run at constant volume"
        )


def preflight(
    frames: Frames, statistics: SufficientStatistics, potential: Potential, *, warnings: Sequence[str] = ()
) -> list[Check]:
    """Checks on data and model, worst news included, nothing raised."""
    checks = [*_length(frames, statistics), _temperature_forces(frames)]
    first = 0
    for term in terms_of(potential):
        if isinstance(term, SplinePair):
            checks.append(_reach(frames, statistics, term, first=first))
        first += len(term.coefficients())
    checks.append(_effect(statistics, potential))
    checks += [Check("mapping", "failed", None, None, text) for text in warnings]
    return [check for check in checks if check is not None]


def _length(frames: Frames, statistics: SufficientStatistics) -> list[Check]:
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
    independent = frames.n_frames / float(g.max())
    verdict = "passed" if independent >= 40 else "failed"
    checks = [
        Check(
            "independent frames", verdict, independent, 40.0,
            f"{frames.n_frames} frames in {len(lengths)} trajectories are worth {independent:.0f} independent ones for"
            f" the slowest statistic, {frames.n_frames / float(np.median(g)):.0f} for the median one.",
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
    checks.append(
        Check("equilibration", "passed" if worst < 0.3 else "failed", worst, 0.3,
              f"The best cut drops {100 * worst:.0f} % of a trajectory as equilibration; set data.start to cut it.")
    )  # fmt: skip
    return checks


def _temperature_forces(frames: Frames) -> Check:
    """Units: forces must be of the size that thermal motion over molecular distances makes."""
    if frames.forces is None or frames.n_sites < 2:
        return Check(
            "forces", "not tested", None, None, "The frames carry no forces; the start uses positions alone."
        )
    volume = float(np.prod(frames.box[0])) if np.isfinite(frames.box).all() else np.inf
    spacing = (volume / frames.n_sites) ** (1.0 / 3.0)
    ratio = float(frames.forces.std()) * spacing / frames.units.kT(frames.state.temperature)
    good = 0.5 < ratio < 500.0
    return Check(
        "units", "passed" if good else "failed", ratio, 500.0,
        f"Typical force times site spacing is {ratio:.1f} kT"
        + ("." if good else ": units of length, energy or temperature are probably wrong."),
    )  # fmt: skip


def _reach(frames: Frames, statistics: SufficientStatistics, term: SplinePair, *, first: int) -> Check:
    """Which knots the data touch; `first` is the column of the term's first feature."""
    columns = statistics.features[:, first : first + len(term.knots) - 1]
    untouched = [f"{r:.3f}" for r, s in zip(term.centres(), columns.std(axis=0), strict=True) if s == 0.0]
    unit = frames.units.unit("length")
    if not untouched:
        return Check("sampled distances", "passed", 0.0, None, f"Data touch every knot of '{term.name}'.")
    return Check(
        "sampled distances", "passed", float(len(untouched)), None,
        f"No data touch {len(untouched)} knots of '{term.name}' ({', '.join(untouched)} {unit}); core and smoothness"
        " prior hold them.",
    )  # fmt: skip


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
