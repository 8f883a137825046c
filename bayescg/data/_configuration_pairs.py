"""Pairs of configurations near each other, and the work that forces and stresses say lies between them.

Along the straight path s(t) = s₀ + t Δs, h(t) = h₀ + t Δh of fractional coordinates s and lattice vectors h (rows),

    dE/dt = −Σ_i F_i · (Δs_i h) + V σ : h⁻¹ Δh,

exactly, so ΔE is the mean of the two ends' dE/dt up to the third derivative of E along the path (nothing, if the
energy is harmonic, however long the path).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from bayescg.data._configuration_checks import complete_cell
from bayescg.data._configurations import Booleans, Configurations
from bayescg.data._topology import Floats, Integers

SAME_CELL = 1e-6  # largest strain between cells that count as one
_LARGEST_STRAIN = 0.06
_SMALLEST_STRAIN = 1e-4
# Largest rms displacement and largest displacement of one atom, of the distance between atoms: few atoms have no other
# ones to average over, and their energy is far from harmonic.
_FEW = 8
_LARGEST_SHIFTS = {True: (0.03, 0.06), False: (0.15, 0.4)}  # few atoms or not
_SMALLEST_SHIFT = 1e-4
_NEIGHBOURS = 3  # partners of each configuration in its group, and again in the other groups
_BUDGET = 3e7  # atoms times pairs that are looked at in one family
_MOST = 400  # configurations of one family


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of configurations of the same atoms; what belongs to an end is [pair end], start first.

    Attributes:
        ends: numbers of the two configurations [pair 2].
        n_atoms: [pair].
        shift: rms displacement of an atom [length], a common shift taken out [pair].
        strain: largest element of the strain between the cells [pair].
        energy: difference of the energies [energy] [pair].
        force_work: −Σ F · dr/dt [energy] [pair end].
        virial: V σ [energy] [pair end 3 3].
        stretch: symmetric part of h⁻¹ Δh [pair end 3 3].
    """

    ends: Integers
    n_atoms: Integers
    shift: Floats
    strain: Floats
    energy: Floats
    force_work: Floats
    virial: Floats
    stretch: Floats

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, rows: Booleans | Integers) -> Pairs:
        """The pairs of a mask or of an array of numbers."""
        return Pairs(*(getattr(self, column.name)[rows] for column in fields(self)))


def near_pairs(configurations: Configurations) -> Pairs:
    """Each configuration with its nearest ones: in the same cell, displaced; and in a cell strained a little.

    Large families (the same atoms in the same order) are thinned evenly, group by group.
    """
    families: dict[tuple[bytes, bytes], list[int]] = {}
    for k in range(len(configurations)):
        if np.isfinite(configurations.energy[k]):
            key = (configurations.types[k].tobytes(), configurations.periodic[k].tobytes())
            families.setdefault(key, []).append(k)
    found: dict[tuple[int, int], tuple] = {}
    volume = configurations.volume
    for members in families.values():
        if len(members) > 1:
            _pair_up(configurations, _thinned(configurations, members), volume, found)
    rows = [found[key] for key in sorted(found)]
    if not rows:
        empty = np.empty
        return Pairs(
            np.empty((0, 2), np.int64), np.empty(0, np.int64), empty(0), empty(0), empty(0),
            empty((0, 2)), empty((0, 2, 3, 3)), empty((0, 2, 3, 3)),
        )  # fmt: skip
    return Pairs(*(np.array(column) for column in zip(*rows, strict=True)))


def _thinned(configurations: Configurations, members: list[int]) -> Integers:
    n_atoms = len(configurations.types[members[0]])
    most = int(np.clip(np.sqrt(_BUDGET / n_atoms), 30, _MOST))
    if len(members) <= most:
        return np.array(members)
    groups: dict[str, list[int]] = {}
    for k in members:
        groups.setdefault(configurations.group[k], []).append(k)
    share = max(most // len(groups), 4)
    kept = [
        rows[int(place)]
        for rows in groups.values()
        for place in np.unique(np.linspace(0, len(rows) - 1, min(share, len(rows))).astype(int))
    ]
    return np.array(sorted(kept))


def _pair_up(
    data: Configurations, members: Integers, volume: Floats, found: dict[tuple[int, int], tuple]
) -> None:
    periodic = data.periodic[members[0]]
    cells = np.array([complete_cell(data.cell[k]) for k in members])
    if not periodic.any():
        cells = np.broadcast_to(np.eye(3), cells.shape)
    places = np.array(
        [np.linalg.solve(h.T, data.positions[k].T).T for h, k in zip(cells, members, strict=True)]
    )
    spacing = _spacing(data, members)
    groups = np.array([data.group[k] for k in members])
    for row in range(len(members) - 1):
        later = slice(row + 1, None)
        steps = _steps(places[later] - places[row], periodic)
        squares = ((steps @ cells[row]) ** 2).sum(axis=-1)
        shift, farthest = np.sqrt(squares.mean(axis=1)), np.sqrt(squares.max(axis=1))
        strain = np.abs(np.linalg.solve(cells[row], cells[later] - cells[row])).max(axis=(1, 2))
        limits = _LARGEST_SHIFTS[steps.shape[1] < _FEW]
        close = (shift < limits[0] * spacing) & (farthest < limits[1] * spacing) & (strain < _LARGEST_STRAIN)
        same_group = groups[later] == groups[row]
        for wanted in _nearest(close, shift / spacing, strain, same_group, closed=bool(periodic.all())):
            other = row + 1 + int(wanted)
            ends = (int(members[row]), int(members[other]))
            near = (ends, steps.shape[1], shift[wanted], strain[wanted])
            found[ends] = (*near, *_works(data, ends, (cells[row], cells[other]), steps[wanted], volume))


def _steps(steps: Floats, periodic: Booleans) -> Floats:
    """Fractional displacements along the shortest way, without a common shift."""
    for _ in range(2):
        steps = steps - np.round(steps) * periodic
        steps = steps - steps.mean(axis=1, keepdims=True)
    return steps


def _spacing(data: Configurations, members: Integers) -> float:
    """A distance between atoms [length]."""
    k = int(members[0])
    if data.periodic[k].all():
        return float((data.volume[k] / len(data.types[k])) ** (1.0 / 3.0))
    gaps = np.linalg.norm(data.positions[k][:, None] - data.positions[k][None], axis=-1)
    gaps[np.diag_indices_from(gaps)] = np.inf
    return float(np.median(gaps.min(axis=1))) if len(gaps) > 1 else 1.0


def _nearest(
    close: Booleans, shift: Floats, strain: Floats, same_group: Booleans, *, closed: bool
) -> Integers:
    """The nearest of the close ones: displaced and strained, of the same group and of others."""
    displaced = close & (strain < SAME_CELL) & (shift > _SMALLEST_SHIFT)
    strained = close & (strain > _SMALLEST_STRAIN) & closed
    chosen = []
    for mask, distance in ((displaced, shift), (strained, strain + shift)):
        for kind in (same_group, ~same_group):
            rows = np.flatnonzero(mask & kind)
            chosen.append(rows[np.argsort(distance[rows], kind="stable")[:_NEIGHBOURS]])
    return np.unique(np.concatenate(chosen))


def _works(
    data: Configurations, ends: tuple[int, int], cells: tuple[Floats, Floats], steps: Floats, volume: Floats
) -> tuple[float, list[float], list[Floats], list[Floats]]:
    """Difference of energy, and for both ends the work of forces, V σ and the stretch."""
    change = cells[1] - cells[0]
    work, virial, stretch = [], [], []
    for k, cell in zip(ends, cells, strict=True):
        forces = data.forces[k]
        still = 0.0 if not steps.any() else np.nan
        work.append(still if forces is None else -float(np.sum(forces * (steps @ cell))))
        gradient = np.linalg.solve(cell, change)
        stretch.append(0.5 * (gradient + gradient.T))
        virial.append(data.stress[k] * (volume[k] if np.isfinite(volume[k]) else np.nan))
    return float(data.energy[ends[1]] - data.energy[ends[0]]), work, virial, stretch
