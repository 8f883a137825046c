"""Do energies change as stresses say, and in which order do the shear components stand?"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from bayescg.data._configuration_pairs import SAME_CELL, Pairs
from bayescg.data._configurations import Configurations
from bayescg.data._doctor_consistency import FEWEST, Slope, matching, slope_of
from bayescg.data._finding import ERROR, NOTE, WARNING, Finding
from bayescg.data._topology import Floats
from bayescg.data._units import unit_factor

_SHEARS = ("yz", "xz", "xy")
_PLACES = ((1, 2), (0, 2), (0, 1))
_BY_FORCES = (
    0.3  # pairs whose energies change more by forces than this share of the stress's scale are left out
)
_CLEAR = 0.4  # another order must leave less than this share of the misfit
_TESTED = 0.2  # of the stress's scale: what a shear component must contribute to be tested


def energies_and_stress(data: Configurations, pairs: Pairs) -> list[Finding]:
    """Energies against stresses in pairs of cells that differ by a strain, group by group."""
    if np.isnan(data.stress).all():
        return []
    usable = _usable(pairs)
    inside = np.array([data.group[a] == data.group[b] for a, b in usable.ends], bool)
    names = np.array([data.group[a] for a, _ in usable.ends])
    families = [(f"group {name!r}", usable[inside & (names == name)]) for name in data.groups if len(names)]
    families = [(where, family) for where, family in families if len(family) >= FEWEST]
    if not families and len(usable) >= FEWEST:
        families = [("all groups together", usable)]
    if not families:
        return [
            Finding(
                "stress", NOTE,
                f"Sign, unit and order of the stresses are not testable: {len(usable)} pairs of cells that differ by "
                "a strain alone; add a few strained and sheared copies of a crystal.",
            )
        ]  # fmt: skip
    found: list[Finding] = []
    passed: list[tuple[str, Slope]] = []
    tested: set[str] = set()
    for where, family in families:
        finding, slope = _verdict(data, family, where)
        if finding is not None:
            found.append(finding)
        else:
            passed.append((where, slope))
            tested |= _sheared(family)
    if passed:
        worst = max(passed, key=lambda entry: abs(entry[1].value - 1.0))
        rest = [name for name in _SHEARS if name not in tested]
        order = (
            f"; the order of {', '.join(rest)} is not testable, no pair is sheared that way" if rest else ""
        )
        found.append(
            Finding(
                "stress", NOTE,
                f"Energies change as stresses say in {sum(s.n_pairs for _, s in passed)} pairs of strained cells (slope "
                f"furthest from 1: {worst[1]} in {worst[0]}){order}.",
            )
        )  # fmt: skip
    return found


def _usable(pairs: Pairs) -> Pairs:
    scale = _scale(pairs)
    by_forces = np.abs(pairs.force_work).max(axis=1, initial=0.0)
    small = (by_forces <= _BY_FORCES * scale) & (
        by_forces <= _BY_FORCES * np.abs(pairs.energy)
    )  # False for NaN
    return pairs[(pairs.strain > SAME_CELL) & small]


def _scale(pairs: Pairs) -> Floats:
    """Size of the work of the stress, whatever the order of its components [energy] [pair]."""
    size = np.linalg.norm(pairs.virial, axis=(2, 3)) * np.linalg.norm(pairs.stretch, axis=(2, 3))
    return size.mean(axis=1)


def _diagonal_work(pairs: Pairs) -> Floats:
    return np.einsum("peii,peii->pe", pairs.virial, pairs.stretch).mean(axis=1)


def _shear_work(pairs: Pairs, order: tuple[int, ...]) -> Floats:
    """Work of each shear strain on the number that stands in the place of another one [pair 3]."""
    columns = [
        2.0 * (pairs.virial[:, :, *_PLACES[taken]] * pairs.stretch[:, :, *place]).mean(axis=1)
        for place, taken in zip(_PLACES, order, strict=True)
    ]
    return np.stack(columns, axis=1)


def _sheared(pairs: Pairs) -> set[str]:
    share = np.abs(_shear_work(pairs, (0, 1, 2))) > _TESTED * _scale(pairs)[:, None]
    return {name for name, column in zip(_SHEARS, share.T, strict=True) if column.sum() >= 2}


def _verdict(data: Configurations, pairs: Pairs, where: str) -> tuple[Finding | None, Slope]:
    change = pairs.energy - pairs.force_work.mean(axis=1)
    diagonal = _diagonal_work(pairs)
    orders = sorted(permutations(range(3)), key=lambda order: sum(a != b for a, b in enumerate(order)))
    works = {order: diagonal + _shear_work(pairs, order).sum(axis=1) for order in orders}
    given = orders[0]
    slopes = {order: slope_of(change, works[order]) for order in orders}
    best, kept, left = given, 1.0, 1.0
    for order in orders[1:]:
        differ = np.abs(works[order] - works[given]) > 0.1 * np.maximum(
            np.abs(works[order]), np.abs(works[given])
        )
        differ &= np.abs(works[order] - works[given]) > 1e-3 * _scale(pairs)
        size = np.abs(change[differ]).sum()
        if differ.sum() < 2 or size == 0 or not np.isfinite(slopes[order].error):
            continue
        misfit = {
            o: float(np.abs(change - slopes[o].value * works[o])[differ].sum() / size) for o in (given, order)
        }
        if misfit[order] < _CLEAR * misfit[given] and misfit[order] < left:
            best, kept, left = order, misfit[given], misfit[order]
    slope = slopes[best]
    remedies = []
    if best != given:
        names = ", ".join(_SHEARS[place] for place in np.argsort(best))
        remedies.append(
            f"the shear components read as yz, xz, xy are {names} (misfit {100 * left:.2g} % of the energy instead of "
            f"{100 * kept:.2g} %); reorder them"
        )
    if slope.error < 0.2 * abs(slope.value) and abs(slope.value - 1.0) > max(0.25, 5 * slope.error):
        remedies.append(_meaning(data, pairs, slope.value))
    if remedies:
        return Finding(
            "stress", ERROR,
            f"In {where} energies change by {slope} times the work of stresses ({slope.n_pairs} pairs): "
            f"{', and '.join(remedies)}.",
        ), slope  # fmt: skip
    size = float(np.abs(change).sum())
    misfit_all = float(np.abs(change - slope.value * works[best]).sum()) / size if size else 0.0
    if misfit_all > 0.5:
        return Finding(
            "stress", WARNING,
            f"In {where} energies do not change as stresses say: {100 * misfit_all:.0f} % of the change in "
            f"{len(change)} pairs of strained cells is unexplained in any order of the shears; check that both come from "
            "one calculation, converged in its basis (Pulay stress).",
        ), slope  # fmt: skip
    return None, slope


def _meaning(data: Configurations, pairs: Pairs, slope: float) -> str:
    volume = data.volume[pairs.ends[:, 0]]
    factors = {"the sign is a pressure's, tension must be positive; multiply by -1": -1.0}
    if np.ptp(volume) < 0.2 * volume.mean():
        factors["these are virials, not divided by the volume; divide by the volume"] = 1.0 / volume.mean()
        factors["these are virials with a pressure's sign; divide by minus the volume"] = -1.0 / volume.mean()
    if data.units.name != "lj":
        bar = unit_factor("bar", "pressure", data.units) / data.units.pressure_factor
        for unit, one in (("GPa", 1e4 * bar), ("kbar", 1e3 * bar), ("bar", bar)):
            factors[f"these are stresses in {unit}; divide by {1 / one:.6g}"] = one
            factors[f"these are pressures in {unit}; divide by {-1 / one:.6g}"] = -one
    return (
        matching(slope, factors)
        or "the unit or the volume is wrong; stresses are energies per volume, tension positive"
    )
