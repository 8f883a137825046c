"""Labels one by one: absent ones, forces that don't cancel, temperatures that can't be, outliers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayescg.data._configurations import Configurations
from bayescg.data._finding import ERROR, NOTE, WARNING, Finding, listed
from bayescg.data._topology import Floats
from bayescg.data._units import conversion

_UNIT_RATIOS = {
    "eV and hartree": 27.211386,
    "eV and rydberg": 13.605693,
    "kcal/mol and eV": 23.060548,
    "kJ/mol and eV": 96.485332,
    "kJ/mol and kcal/mol": 4.184,
    "meV and eV": 1000.0,
}
_NET = 0.01  # net force, of the sum of the forces' sizes
_ROUNDING = 5e-3  # [eV/Å] per √atom, or in reduced units: net forces that programs leave
_LEAST_ENERGY = 1e-3  # [eV] per atom, or in reduced units: a group's energies spread by this at least
_LEAST_FORCE = 0.1  # the same of the logarithm of its forces
_FEWEST = 8  # configurations of a group in which outliers are looked for
_FAR = 8.0  # robust deviations from the median
_APART = 4.0  # ... and from the next configuration nearer to the median
_WIDER = 4.0  # ... a gap that wider than any between the others
_FORCE_RATIO = 3.0  # largest force against the next smaller one


def absent_labels(data: Configurations) -> list[Finding]:
    """How many configurations lack what others have."""
    found = []
    has = {
        "energy": ~np.isnan(data.energy),
        "forces": data.has_forces,
        "stress": ~np.isnan(data.stress).any(axis=(1, 2)),
    }
    for name, present in has.items():
        if present.any() and not present.all():
            rows = np.flatnonzero(~present).tolist()
            found.append(
                Finding(
                    "absent labels", NOTE,
                    f"{len(rows)} of {len(data)} configurations have no {name} ({listed(rows)}); they enter no term of it.",
                )
            )  # fmt: skip
    if not data.has_forces.any():
        found.append(
            Finding("absent labels", NOTE, "No configuration has forces; fit to energies, or compute them.")
        )
    return found


def mixed_units(data: Configurations) -> list[Finding]:
    """Energies per atom of one composition in two heaps whose ratio is that of two units."""
    found = []
    counts = data.composition
    recipe = counts // np.gcd.reduce(counts, axis=1)[:, None]
    usable = np.isfinite(data.energy) & (data.n_atoms > 1) & (data.energy != 0)
    for kind in np.unique(recipe[usable], axis=0):
        rows = np.flatnonzero(usable & (recipe == kind).all(axis=1))
        size = np.abs(data.energy[rows] / data.n_atoms[rows])
        order = np.argsort(size)
        if len(rows) < 4:
            continue
        step = int(np.argmax(np.diff(np.log(size[order])))) + 1
        low, high = order[:step], order[step:]
        ratio = float(np.median(size[high]) / np.median(size[low]))
        unit = next((text for text, factor in _UNIT_RATIOS.items() if abs(ratio / factor - 1.0) < 0.03), None)
        if unit is not None and min(len(low), len(high)) >= 2:
            few = rows[low if len(low) < len(high) else high]
            found.append(
                Finding(
                    "mixed units", ERROR,
                    f"Energies per atom of {len(few)} configurations ({listed(sorted(few))}) differ from the others' by a "
                    f"factor of {ratio:.4g}, that of {unit}; convert them.",
                )
            )  # fmt: skip
    return found


def net_force(data: Configurations) -> list[Finding]:
    """Forces of a potential that knows only relative positions cancel."""
    rows = np.flatnonzero(data.has_forces)
    if not rows.size:
        return []
    forces = [f for f in data.forces if f is not None]
    total = np.array([np.linalg.norm(f.sum(axis=0)) for f in forces])
    size = np.array([np.linalg.norm(f, axis=1).sum() for f in forces])
    typical = float(np.sqrt(np.mean([np.mean(np.sum(f**2, axis=1)) for f in forces])))
    atoms = np.array([len(f) for f in forces])
    rounding = _ROUNDING * (1.0 if data.units.name == "lj" else conversion("force", "metal", data.units))
    wrong = (
        (total > _NET * size)
        & (total > _NET * typical * np.sqrt(atoms))
        & (total > rounding * np.sqrt(atoms))
    )
    if not wrong.any():
        return []
    worst = int(np.argmax(np.where(wrong, total, 0.0)))
    return [
        Finding(
            "net force", WARNING,
            f"In {wrong.sum()} configurations the forces do not cancel (configuration {rows[worst]}: "
            f"{total[worst]:.3g} {data.units.force} in total, {100 * total[worst] / size[worst]:.2g} % of the sum of their "
            "sizes); look for fixed atoms, an outer field, missing atoms or unconverged calculations.",
        )
    ]  # fmt: skip


def temperature_labels(data: Configurations) -> list[Finding]:
    """Hotter configurations of one kind must have larger forces."""
    found = []
    labels = np.array(data.group)
    for name in data.groups:
        known = (labels == name) & np.isfinite(data.temperature) & data.has_forces
        rows = np.flatnonzero(known)
        levels = np.unique(data.temperature[rows])
        if len(rows) < 10 or len(levels) < 2:
            continue
        size = np.array([np.sqrt(np.mean(np.asarray(data.forces[k]) ** 2)) for k in rows])
        means = [float(size[data.temperature[rows] == level].mean()) for level in levels]
        if means[-1] < 0.8 * means[0]:
            found.append(
                Finding(
                    "temperature labels", WARNING,
                    f"In group {name!r} configurations labelled {levels[-1]:g} {data.units.temperature} have smaller forces "
                    f"(rms {means[-1]:.3g} {data.units.force}) than those labelled {levels[0]:g} ({means[0]:.3g}); the "
                    "labels are probably swapped, so do not rely on them.",
                )
            )  # fmt: skip
    return found


class _Quantity(NamedTuple):
    """What outliers are looked for in.

    Attributes:
        name: for the sentence.
        reason: what an outlier may mean.
        values: [configuration], compared within groups.
        shown: the same as the user knows it, in `unit`.
        unit: of `shown`.
        least: smallest spread that counts.
        gap: smallest distance of an outlier from the rest.
        signs: which sides are looked at.
    """

    name: str
    reason: str
    values: Floats
    shown: Floats
    unit: str
    least: float
    gap: float
    signs: tuple[float, ...]


def outliers(data: Configurations) -> list[Finding]:
    """Energies per atom, after the species' best constant energies, and largest forces, within groups."""
    counts = data.composition.astype(float)
    known = np.isfinite(data.energy)
    per_atom = np.full(len(data), np.nan)
    if known.any():
        constant = np.linalg.lstsq(counts[known], data.energy[known], rcond=None)[0]
        per_atom[known] = (data.energy[known] - counts[known] @ constant) / data.n_atoms[known]
    largest = np.array([np.nan if f is None else np.linalg.norm(f, axis=1).max() for f in data.forces])
    typical = float(np.nanmedian(largest)) if np.isfinite(largest).any() else 0.0
    log_force = np.log(np.maximum(largest, 0.05 * typical)) if typical > 0 else np.full(len(data), np.nan)
    least = _LEAST_ENERGY * (1.0 if data.units.name == "lj" else conversion("energy", "metal", data.units))
    quantities = (
        _Quantity("Energies", "its calculation failed", per_atom, data.energy / data.n_atoms,
                  f"{data.units.energy} per atom", least, 0.0, (-1.0, 1.0)),
        _Quantity("Largest forces", "atoms overlap", log_force, largest,
                  data.units.force, _LEAST_FORCE, np.log(_FORCE_RATIO), (1.0,)),
    )  # fmt: skip
    found = []
    labels = np.array(data.group)
    for name in data.groups:
        rows = np.flatnonzero(labels == name)
        for q in quantities:
            lonely = _isolated(q, rows)
            if lonely:
                named = listed(
                    [f"{k}: {q.shown[k]:.6g} {q.unit}, {far:.0f} robust deviations off" for k, far in lonely]
                )
                found.append(
                    Finding(
                        "outlier", WARNING,
                        f"{q.name} in group {name!r} far from the median and apart from all others (configuration {named}); "
                        f"look at them, and take out those where {q.reason}.",
                    )
                )  # fmt: skip
    return found


def _isolated(q: _Quantity, rows: np.ndarray) -> list[tuple[int, float]]:
    """Configurations far from the median beyond a gap; at most a tenth of them, or it's a second population."""
    rows = rows[np.isfinite(q.values[rows])]
    if len(rows) < _FEWEST:
        return []
    x = q.values[rows] - np.median(q.values[rows])
    low, high = np.quantile(x, [0.1, 0.9])
    spread = max(1.4826 * float(np.median(np.abs(x))), float(high - low) / 2.56, q.least)
    found: list[tuple[int, float]] = []
    for sign in q.signs:
        order = np.argsort(sign * x)
        y = sign * x[order]
        gaps = np.diff(y)
        # the steep end of a scan has wide gaps too, but they widen step by step
        below = np.concatenate([[0.0], np.maximum.accumulate(gaps)[:-1]])
        alone = gaps > np.maximum(max(_APART * spread, q.gap), _WIDER * below)
        breaks = np.flatnonzero(alone & (y[1:] > _FAR * spread))
        if breaks.size and len(y) - 1 - breaks[0] <= max(1, len(y) // 10):
            found += [(int(rows[order[p]]), float(y[p] / spread)) for p in range(breaks[0] + 1, len(y))]
    return sorted(found)
