"""The statement in words for labelled data: what the posterior says, and what not to believe of it."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from bayescg.analysis._identifiability import Identifiability
from bayescg.analysis._statement import held_sentence, verdict_sentences
from bayescg.analysis._verdicts import Check
from bayescg.data import UnitSystem
from bayescg.inference import LABEL_QUANTITIES, LabelFit, LabelledData, cost_temperature
from bayescg.inference._labelled import QUANTITIES


def label_statement(
    fit: LabelFit,
    found: Identifiability,
    *,
    data: LabelledData,
    noise: np.ndarray,
    coordinates: Sequence[str],
    units: UnitSystem,
    checks: Sequence[Check],
    spectrum: np.ndarray,
) -> list[str]:
    """What the posterior of labelled data says and does not say, in sentences.

    Args:
        fit: the inference's outcome.
        found: the spectrum of the parameters' information.
        data: the training configurations.
        noise: noise scale at the mode, of each quantity and group one after the other [quantity·group].
        coordinates: names of the parameters' coordinates.
        units: the study's system.
        checks: all checks.
        spectrum: eigenvalues of the information in the unconstrained coordinates.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.inference import LabelMode, LabelRows, Mode
        >>> rows = LabelRows(
        ...     np.array([0.1, -0.1]), jacobian=np.ones((2, 1)), kind=np.zeros(2, int), weight=np.ones(2),
        ...     configuration=np.arange(2),
        ... )
        >>> peak = Mode(np.zeros(1), np.array([[0.005]]), 0.0, 0.0, interior=True, effective_frames=0.0)
        >>> fit = LabelFit(
        ...     (LabelMode(peak, rows, None, 1),), None, np.zeros((4, 500, 1)), np.array([[0.005]]), 50.0,
        ...     few_configurations=True, khat=0.0, method="linear",
        ... )
        >>> relative = np.array([200.0])
        >>> found = Identifiability(relative / 2, relative, relative / (1 + relative), np.eye(1), *np.ones((2, 1)))
        >>> sentences = label_statement(
        ...     fit, found, data=LabelledData((), ("all",), 2, ((2,), (0,), (0,))), noise=np.full(3, 0.1),
        ...     coordinates=["offset_energies"], units=get_unit_system("metal"), checks=[], spectrum=relative,
        ... )
        >>> sentences[0]
        'Learned from 2 configurations in one group: 2 energies.'
        >>> sentences[2]
        'The model misses the energies by 0.1 eV per atom (root mean square).'
    """
    counts = {name: sum(row) for name, row in zip(QUANTITIES, data.counts, strict=True)}
    words = {"energy": "energies", "forces": "force components", "stress": "stress components"}
    used = [
        "1 energy" if (name, n) == ("energy", 1) else f"{n} {words[name]}" for name, n in counts.items() if n
    ]
    configurations = (
        "1 configuration" if data.n_configurations == 1 else f"{data.n_configurations} configurations"
    )
    groups = "one group" if len(data.groups) == 1 else f"{len(data.groups)} groups"
    sentences = [f"Learned from {configurations} in {groups}: {', '.join(used)}."]
    by_data = found.prior_relative > 1.0
    sentences.append(
        f"The data decide {int(by_data.sum())} of {len(by_data)} combinations of parameters (effective number"
        f" {found.effective_parameters:.1f}); the prior decides the others."
    )
    informed, known = found.fisher_eigenvalue > 0.0, spectrum[spectrum > 0.0]
    if len(known) > 1:
        sentences.append(
            f"The information about the parameters spans {np.log10(known.max() / known.min()):.1f} decades."
        )
    if not informed.all():
        weight = np.sum(found.directions[~informed] ** 2, axis=0)
        named = ", ".join(coordinates[i] for i in np.argsort(weight)[::-1][:5] if weight[i] > 0.05)
        count = int((~informed).sum())
        what = "a combination" if count == 1 else f"{count} combinations"
        sentences.append(f"No data touch {what}, mainly of {named}: structurally unidentified, prior only.")
    sentences += held_sentence(found.directions[~by_data & informed], coordinates, "add data that vary them")
    rows = fit.modes[0].rows
    for index, name in enumerate(QUANTITIES):
        of = rows.kind // len(data.groups) == index
        if of.any():
            per_atom = " per atom" if name == "energy" else ""
            sentences.append(
                f"The model misses the {words[name]} by {np.sqrt(np.mean(rows.residual[of] ** 2)):.3g}"
                f" {units.unit(LABEL_QUANTITIES[name])}{per_atom} (root mean square)."
            )
    ratio = np.linalg.solve(fit.modes[0].mode.covariance, fit.covariance)
    widening = float(np.sqrt(np.trace(ratio) / len(ratio)))
    sentences.append(
        f"Intervals are {widening:.2f} times as wide as if every component were independent and the form right."
    )
    cost = 0.5 * float(np.sum(rows.weight * (rows.residual / noise[rows.kind]) ** 2))
    tempering = cost_temperature(cost, len(found.directions))
    sentences.append(
        f"Nothing was tempered. The temperature of the best fit's cost is T0 = {tempering.temperature:.3g}."
        + (f" Warning: {tempering.warning}." if tempering.warning else "")
    )
    return sentences + verdict_sentences(checks)


def coverage_sentence(coverage: xr.Dataset, noisy: xr.Dataset) -> str:
    """How often the held-out labels lay inside the 90 % intervals, with and without noise.

    Args:
        coverage: of `label_coverage` without noise.
        noisy: the same with noise.

    Example:
        >>> def shares(value):
        ...     return xr.Dataset(
        ...         {"coverage": (("quantity", "group", "level"), np.full((3, 1, 1), value)),
        ...          "count": (("quantity", "group"), np.array([[0], [30], [0]]))},
        ...         coords={"quantity": ["energy", "forces", "stress"], "level": [0.9]},
        ...     )
        >>> coverage_sentence(shares(0.2), shares(0.9))
        'Of the held-out labels the 90 % intervals hold: forces 90 % (parameters alone 20 %).'
    """
    parts = []
    for name in QUANTITIES:
        count = coverage["count"].sel(quantity=name)
        if not int(count.sum()):
            continue
        with_noise, alone = (
            float((c["coverage"].sel(quantity=name, level=0.9).fillna(0.0) * count).sum() / count.sum())
            for c in (noisy, coverage)
        )
        parts.append(f"{name} {100 * with_noise:.0f} % (parameters alone {100 * alone:.0f} %)")
    return f"Of the held-out labels the 90 % intervals hold: {'; '.join(parts)}."
