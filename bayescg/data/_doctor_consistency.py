"""Do energies change as forces say? And if not: which mistake looks like that?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bayescg.data._configuration_pairs import SAME_CELL, Pairs
from bayescg.data._configurations import Configurations
from bayescg.data._finding import ERROR, NOTE, WARNING, Finding, listed
from bayescg.data._topology import Floats

FEWEST = 4  # pairs that make a test
_UNSURE = 0.2  # a slope with a larger standard error tells nothing
_OFF = 0.3  # a slope further from 1 is wrong; anharmonicity alone was seen to make 0.13
_THERMAL = 0.5  # scatter in units of a kinetic energy's; anharmonicity alone was seen to make 0.22
_HOTTEST = 4.0  # more scatter than a kinetic energy makes, even one of another temperature
_COLDEST, _COLDEST_LJ = 20.0, 0.002  # [K], reduced: forces of nearer pairs are rounded too much to tell
_NEVER = 0.4  # a slope nearer to 0 means that energies are conserved
_MANY = 8  # atoms that make a scatter
_TWICE = (1.6, 2.6)  # slopes that mean that potential and kinetic energy both grow with temperature
_FACTORS = {
    "the forces have the wrong sign, so they are gradients; multiply them by -1": -1.0,
    "the energies are in hartree; multiply them by 27.2114": 1 / 27.211386,
    "the energies are in rydberg; multiply them by 13.6057": 1 / 13.605693,
    "the energies are in kcal/mol; divide them by 23.0605": 23.060548,
    "the energies are in kJ/mol; divide them by 96.4853": 96.485332,
    "the forces are in hartree/bohr; multiply them by 51.4221": 51.422067,
    "the forces are in rydberg/bohr; multiply them by 25.7110": 25.711034,
    "the forces are in eV/bohr, or the positions in bohr; convert them": 1.8897261,
}  # slope: what is read as eV and Å


class Slope(NamedTuple):
    """Energy differences against work.

    Attributes:
        value: 1 where they agree.
        error: its standard error.
        n_pairs: how many pairs were used.
    """

    value: float
    error: float
    n_pairs: int

    def __str__(self) -> str:
        return f"{self.value:.3g} ± {self.error:.1g}"


def slope_of(energy: Floats, work: Floats) -> Slope:
    """Robust slope through the origin: the weighted median of ratios drops what lies 6 deviations off, then squares."""
    used = np.isfinite(energy) & np.isfinite(work) & (work != 0)
    energy, work = energy[used], work[used]
    if len(work) < FEWEST:
        return Slope(np.nan, np.inf, len(work))
    ratio = energy / work
    order = np.argsort(ratio)
    weight = np.cumsum(np.abs(work[order]))
    first = ratio[order][np.searchsorted(weight, 0.5 * weight[-1])]
    residual = np.abs(energy - first * work)
    kept = residual <= 6 * 1.4826 * np.median(residual) + 1e-12 * np.abs(energy).max()
    energy, work = energy[kept], work[kept]
    square = float(np.sum(work**2))
    value = float(np.sum(work * energy)) / square
    # each configuration is in several pairs: twice the variance of independent ones
    error = float(np.sqrt(2 * np.sum((work * (energy - value * work)) ** 2))) / square
    return Slope(value, error, int(kept.sum()))


def matching(slope: float, factors: dict[str, float]) -> str | None:
    """What a slope means, if it lies within 8 % of one of these; several, if they are too alike."""
    off = {text: abs(slope / factor - 1.0) for text, factor in factors.items()}
    if min(off.values()) > 0.08:
        return None
    nearest = factors[min(off, key=lambda text: off[text])]
    return ", or ".join(text for text, factor in factors.items() if abs(factor / nearest - 1.0) < 0.03)


def energies_and_forces(data: Configurations, pairs: Pairs) -> list[Finding]:
    """Energies against forces group by group, then between groups that passed."""
    close = pairs[(pairs.strain < SAME_CELL) & np.isfinite(pairs.force_work).all(axis=1)]
    found: list[Finding] = []
    passed: list[tuple[str, Slope]] = []
    bad: set[str] = set()
    good: set[str] = set()
    for names, family in _families(data, close):
        if bad.intersection(names):
            continue
        slope = slope_of(family.energy, family.force_work.mean(axis=1))
        where = f"group {names[0]!r}" if len(names) == 1 else f"groups {names[0]!r} and {names[1]!r}"
        finding = _verdict(data, family, where, slope)
        if finding is not None:
            found.append(finding)
            bad.update(names if len(names) == 1 else ())
        elif slope.error < _UNSURE:
            passed.append((where, slope))
            good.update(names)
    if passed:
        worst = max(passed, key=lambda entry: abs(entry[1].value - 1.0))
        number = sum(slope.n_pairs for _, slope in passed)
        rest = [name for name in data.groups if name not in good | bad]
        untested = f"; not testable in {listed([repr(name) for name in rest])}" if rest else ""
        found.append(
            Finding(
                "energies and forces", NOTE,
                f"Energies change as forces say in {number} pairs of near configurations (slope furthest from 1: "
                f"{worst[1]} in {worst[0]}){untested}.",
            )
        )  # fmt: skip
    if not passed and not found:
        found.append(
            Finding(
                "energies and forces", NOTE,
                f"Whether energies fit forces is not testable: {len(close)} pairs of near configurations in the same "
                "cell with energies and forces; a few snapshots of one crystal or molecule, a little apart, would do.",
            )
        )  # fmt: skip
        found += _energies_and_temperature(data)
    return found


def _families(data: Configurations, pairs: Pairs) -> Iterator[tuple[tuple[str, ...], Pairs]]:
    """Pairs inside each group, then pairs between two groups; small ones are left out."""
    group = np.array(data.group)[pairs.ends] if len(pairs) else np.empty((0, 2), str)
    inside = group[:, 0] == group[:, 1]
    for name in data.groups:
        rows = inside & (group[:, 0] == name)
        if rows.sum() >= FEWEST:
            yield (name,), pairs[rows]
    between = sorted({(min(a, b), max(a, b)) for a, b in group[~inside].tolist()})
    for a, b in between:
        rows = ((group[:, 0] == a) & (group[:, 1] == b)) | ((group[:, 0] == b) & (group[:, 1] == a))
        if rows.sum() >= FEWEST:
            yield (a, b), pairs[rows]


def _scatter(data: Configurations, pairs: Pairs, slope: float) -> tuple[float, float]:
    """Scatter of energy / slope about the work of forces, in units of a kinetic energy's; and its pairs' mean k_B T [energy].

    For two independent snapshots of a harmonic solid (F₁ − F₂)·(x₂ − x₁) = 6 N k_B T on average, and a kinetic energy in
    both would scatter their difference by √(3N) k_B T. Anharmonicity scatters it as T^(3/2), so the colder half is taken.
    Too few pairs of many atoms give no scatter, and so do pairs that are nearer than thermal motion makes them.
    """
    coldest = data.units.kT(_COLDEST if data.units.name != "lj" else _COLDEST_LJ)
    thermal = (pairs.force_work[:, 1] - pairs.force_work[:, 0]) / (6 * pairs.n_atoms)
    rows = np.flatnonzero((thermal > coldest) & (pairs.n_atoms >= _MANY))
    if len(rows) < 2 * FEWEST:
        return 0.0, np.nan
    cold = rows[np.argsort(thermal[rows])[: len(rows) // 2]]
    residual = np.abs(pairs.energy / slope - pairs.force_work.mean(axis=1))[cold]
    scatter = residual / (np.sqrt(3 * pairs.n_atoms[cold]) * thermal[cold])
    return 1.4826 * float(np.median(scatter)), float(np.mean(thermal[cold]))


def _verdict(data: Configurations, pairs: Pairs, where: str, slope: Slope) -> Finding | None:
    """The first mistake whose picture this is, or None."""
    scatter, thermal = _scatter(data, pairs, 1.0)
    off = slope.error < _UNSURE * max(1.0, abs(slope.value)) and abs(slope.value - 1.0) > max(
        _OFF, 5 * slope.error
    )
    times = f"In {where} energies change by {slope} times the work of forces ({slope.n_pairs} pairs)"
    factors = {text: f for text, f in _FACTORS.items() if f == -1.0 or data.units.name != "lj"}
    n_atoms = int(pairs.n_atoms[0])
    if n_atoms > 1 and np.ptp(pairs.n_atoms) == 0:
        factors[f"they are energies per atom; multiply them by {n_atoms}, the number of atoms"] = (
            1.0 / n_atoms
        )
    meaning = matching(slope.value, factors)
    if off and meaning and _scatter(data, pairs, slope.value)[0] < _THERMAL:
        return Finding("energies and forces", ERROR, f"{times}: {meaning}.")
    if off and _TWICE[0] < slope.value < _TWICE[1]:
        return Finding(
            "kinetic energy", ERROR,
            f"{times}, as when the kinetic energy is in them and grows with temperature; store potential energies.",
        )  # fmt: skip
    if off and abs(slope.value) < _NEVER:
        return Finding(
            "kinetic energy", ERROR,
            f"{times}, that is hardly, as total energies of a run do (or forces of other configurations); store potential "
            "energies, and check the order of the atoms.",
        )  # fmt: skip
    if _THERMAL < scatter < _HOTTEST and not off:
        kelvin = f"{thermal / data.units.boltzmann:.3g} {data.units.temperature}"
        return Finding(
            "kinetic energy", ERROR,
            f"In {where} energies scatter about the work of forces by {scatter:.2g} times what a kinetic energy at the "
            f"{kelvin} of these forces would ({len(pairs)} pairs); store potential energies without kinetic energy.",
        )  # fmt: skip
    if off or scatter > _THERMAL:
        offset = float(np.median((pairs.energy - pairs.force_work.mean(axis=1)) / pairs.n_atoms))
        return Finding(
            "energies and forces", ERROR if off else WARNING,
            f"{times}, and differ from it by {offset:.3g} {data.units.energy} per atom in the median; check that all come "
            "from one kind of calculation with the same settings, order of atoms and units.",
        )  # fmt: skip
    return None


def _energies_and_temperature(data: Configurations) -> list[Finding]:
    """Growth of the mean energy with the stated temperature, the median over neighbouring temperatures."""
    found = []
    labels = np.array(data.group)
    per_atom = data.energy / data.n_atoms
    sets: Sequence[tuple[str, np.ndarray]] = [(f"group {name!r}", labels == name) for name in data.groups]
    for where, rows in [*sets, ("all groups together", np.ones(len(data), bool))]:
        rows = rows & np.isfinite(data.temperature) & np.isfinite(per_atom)
        levels = np.unique(np.round(data.temperature[rows], 3))
        if len(levels) < 3:
            continue
        means = [per_atom[rows & (np.abs(data.temperature - level) < 1e-2)].mean() for level in levels]
        growth = float(np.median(np.diff(means) / np.diff(levels))) / (1.5 * data.units.boltzmann)
        if _TWICE[0] < growth < _TWICE[1]:
            found.append(
                Finding(
                    "kinetic energy", WARNING,
                    f"In {where} the energy per atom grows by {growth:.2f} times 3/2 k_B T between {levels[0]:g} and "
                    f"{levels[-1]:g} {data.units.temperature}, where about 1 is expected of a solid's potential energy "
                    "and 2 with kinetic energy in it (or a transition between them); check what was stored.",
                )
            )  # fmt: skip
            break
    return found
