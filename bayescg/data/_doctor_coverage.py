"""What the data cover: configurations that come twice, small cells, distances never visited, species that never vary."""

from __future__ import annotations

import numpy as np

from bayescg.data._configuration_checks import complete_cell
from bayescg.data._configurations import Configurations
from bayescg.data._distances import pair_distances, widths
from bayescg.data._finding import ERROR, NOTE, WARNING, Finding, listed
from bayescg.data._topology import Floats, Integers
from bayescg.data._units import unit_factor

_SAME_PLACE = 5e-4  # of an atom's own length (volume per atom)^(1/3)
_PARTNERS = 6  # nearest configurations that are compared with each atom by atom
_SAME_ENERGY = 1e-4  # relative difference of two energies of one configuration
_MOST = 1000  # configurations in which distances are counted
_BINS = 50  # up to the cutoff
_OVERLAP = 0.3  # [Å] no two atoms of a sensible configuration are nearer
_WAVES = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]])


def duplicates(data: Configurations) -> list[Finding]:
    """Configurations with the same cell and the same atoms in the same places, in whatever order."""
    families: dict[tuple, list[int]] = {}
    for k, key in enumerate(zip(data.composition.tolist(), data.periodic.tolist(), strict=True)):
        families.setdefault((*key[0], *key[1]), []).append(k)
    twins: list[tuple[int, int]] = []
    for members in families.values():
        if len(members) > 1:
            twins += _twins(data, np.array(members))
    if not twins:
        return []
    energy = data.energy
    gaps = np.array([abs(energy[a] - energy[b]) for a, b in twins])
    relative = gaps / np.maximum(np.abs([energy[a] for a, _ in twins]), 1e-300)
    again = {max(pair) for pair in twins}
    shown = listed([f"{a} and {b}" for a, b in sorted(twins)], most=3)
    found = [
        Finding(
            "duplicates", WARNING,
            f"{len(again)} configurations repeat an earlier one (same cell and positions: {shown}); they count twice, and "
            "in a held-out set they are known answers, so drop them or share the weight.",
        )
    ]  # fmt: skip
    if np.nanmax(relative, initial=0.0) > _SAME_ENERGY:
        worst = int(np.nanargmax(relative))
        a, b = twins[worst]
        found.append(
            Finding(
                "duplicates", ERROR,
                f"Configurations {a} and {b} are the same, but their energies differ by {gaps[worst]:.4g} "
                f"{data.units.energy}; they come from different calculations, so keep one kind.",
            )
        )  # fmt: skip
    return found


def _twins(data: Configurations, members: Integers) -> list[tuple[int, int]]:
    from scipy.spatial import cKDTree  # here, because importing it takes longer than the rest of this room

    cells = {int(k): complete_cell(data.cell[k]) for k in members}
    places = {int(k): _places(data, int(k), cells[int(k)]) for k in members}
    edge = max(float(np.mean([np.abs(np.linalg.det(cells[k])) for k in cells])) ** (1.0 / 3.0), 1e-12)
    n_atoms = len(data.types[members[0]])
    own = edge / n_atoms ** (1.0 / 3.0) if data.periodic[members[0]].all() else 1.0
    features = []
    for k in cells:
        phase = np.exp(2j * np.pi * places[k] @ _WAVES.T)  # [atom wave]
        waves = np.concatenate([phase[data.types[k] == t].sum(axis=0) for t in np.unique(data.types[k])])
        features.append(np.concatenate([cells[k].ravel() / own, waves.real / n_atoms, waves.imag / n_atoms]))
    tree = cKDTree(np.array(features))
    _, partners = tree.query(
        tree.data, k=min(_PARTNERS, len(features)), distance_upper_bound=10 * _SAME_PLACE
    )
    near = {(min(a, b), max(a, b)) for a, row in enumerate(partners.tolist()) for b in row if a != b < tree.n}
    rows = list(cells)
    return [
        (rows[a], rows[b])
        for a, b in sorted(near)
        if _same_atoms(data, rows[a], rows[b], places, cells[rows[a]], _SAME_PLACE * own)
    ]


def _places(data: Configurations, k: int, cell: Floats) -> Floats:
    """Fractional coordinates; where nothing is periodic, relative to the centre."""
    positions = data.positions[k]
    if not data.periodic[k].any():
        return positions - positions.mean(axis=0)
    return np.asarray(np.linalg.solve(cell.T, positions.T).T, np.float64)


def _same_atoms(
    data: Configurations, a: int, b: int, places: dict[int, Floats], cell: Floats, tolerance: float
) -> bool:
    from scipy.spatial import cKDTree

    if np.abs(data.cell[a] - data.cell[b]).max() > tolerance:
        return False
    frame = cell if data.periodic[a].any() else np.eye(3)
    for index in np.unique(data.types[a]):
        one, two = places[a][data.types[a] == index], places[b][data.types[b] == index]
        if len(one) != len(two):
            return False
        step = two - one
        step = step - np.round(step) * data.periodic[a]
        if np.linalg.norm(step @ frame, axis=1).max() < tolerance:
            continue
        box = np.where(data.periodic[a], 1.0, 0.0)  # 0: not periodic
        wrapped = [np.where(data.periodic[a], x % 1.0 % 1.0, x) for x in (one, two)]
        distance, partner = cKDTree(wrapped[0], boxsize=box).query(wrapped[1])
        if distance.max() > tolerance / np.linalg.norm(frame, 2) or len(np.unique(partner)) < len(partner):
            return False
    return True


def offsets(data: Configurations) -> list[Finding]:
    """Whether the composition varies enough to tell the species' reference energies apart."""
    counts = data.composition[np.isfinite(data.energy)].astype(float)
    if len(counts) == 0:
        return []
    absent = [name for name, column in zip(data.species, counts.T, strict=True) if column.sum() == 0]
    found = []
    if absent:
        found.append(
            Finding(
                "reference energies", WARNING,
                f"No configuration with an energy has {listed(absent)}; the prior alone sets what belongs to it, so drop "
                "the species or add configurations.",
            )
        )  # fmt: skip
    present = counts[:, counts.sum(axis=0) > 0]
    names = [name for name in data.species if name not in absent]
    rank = int(np.linalg.matrix_rank(present, tol=1e-6 * float(np.linalg.norm(present))))
    if rank < len(names):
        found.append(
            Finding(
                "reference energies", WARNING,
                f"The numbers of {', '.join(names)} vary in {rank} independent way{'s' * (rank != 1)} only, so their "
                f"{len(names)} reference energies can't be told apart; fix some, or add isolated atoms or other "
                "compositions.",
            )
        )  # fmt: skip
    return found


def box(data: Configurations, cutoff: float) -> list[Finding]:
    """Cells narrower than twice the cutoff."""
    width = np.array(
        [widths(cell, periodic).min() for cell, periodic in zip(data.cell, data.periodic, strict=True)]
    )
    small = width < 2 * cutoff * (1 - 1e-9)
    if not small.any():
        return []
    return [
        Finding(
            "small cells", NOTE,
            f"Cells narrower than twice the cutoff of {cutoff:g} {data.units.length}: {small.sum()} of {len(data)} (narrowest "
            f"{width.min():.3g}, configuration {int(np.argmin(width))}); neighbours are counted by "
            "images, but programs that take the nearest image alone will disagree.",
        )
    ]  # fmt: skip


def distances(data: Configurations, cutoff: float) -> list[Finding]:
    """Ranges of distance below the cutoff that no pair of two species visits."""
    rows = np.unique(np.linspace(0, len(data) - 1, min(_MOST, len(data))).astype(int))
    n = len(data.species)
    edges = np.linspace(0.0, cutoff, _BINS + 1)
    counts = np.zeros((n, n, _BINS), np.int64)
    nearest = np.full((n, n), np.inf)
    for k in rows:
        first, second, distance = pair_distances(data, int(k), cutoff)
        place = np.minimum((distance / cutoff * _BINS).astype(int), _BINS - 1)
        np.add.at(counts, (data.types[k][first], data.types[k][second], place), 1)
        np.minimum.at(nearest, (data.types[k][first], data.types[k][second]), distance)
    unit = data.units.length
    sampled = f" ({len(rows)} of {len(data)} configurations looked at)" if len(rows) < len(data) else ""
    found = []
    for a in range(n):
        for b in range(a, n):
            name = f"{data.species[a]}-{data.species[b]}"
            if not counts[a, b].any():
                found.append(
                    Finding(
                        "distances", WARNING,
                        f"No two atoms {name} come within the cutoff of {cutoff:g} {unit}{sampled}; the prior alone sets "
                        "what belongs to this pair.",
                    )
                )  # fmt: skip
                continue
            if data.units.name != "lj" and nearest[a, b] < _OVERLAP * unit_factor(
                "angstrom", "length", data.units
            ):
                found.append(
                    Finding(
                        "distances", ERROR,
                        f"Two atoms {name} are {nearest[a, b]:.3g} {unit} apart; atoms overlap, or positions are in "
                        "another unit of length than the file's format says.",
                    )
                )  # fmt: skip
            gaps = [
                f"{edges[low]:.3g}-{edges[high]:.3g}"
                for low, high in _empty_ranges(counts[a, b])
                if edges[low] > nearest[a, b]
            ]
            if gaps:
                found.append(
                    Finding(
                        "distances", WARNING,
                        f"No pair {name} visits the distances {listed(gaps)} {unit}{sampled}; a flexible potential is set "
                        "by its prior there, so add hot or strained configurations.",
                    )
                )  # fmt: skip
            found.append(
                Finding(
                    "distances", NOTE,
                    f"No pair {name} is closer than {nearest[a, b]:.3g} {unit}{sampled}; the repulsive core below is set "
                    "by the prior or the formula.",
                )
            )  # fmt: skip
    return found


def _empty_ranges(counts: Integers) -> list[tuple[int, int]]:
    """Runs of two and more empty bins [first, end)."""
    empty = np.concatenate([[0], (counts == 0).astype(int), [0]])
    starts, ends = np.flatnonzero(np.diff(empty) == 1), np.flatnonzero(np.diff(empty) == -1)
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if b - a >= 2]
