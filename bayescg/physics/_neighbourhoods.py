"""Neighbour lists of single configurations, and which configurations share a padded batch."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from bayescg.errors import InputError
from bayescg.physics._molecules import check_extent, molecule_extent, of_one_molecule

WIDTH_MULTIPLE = 4
"""The number of neighbours is filled up to a multiple of this, so that similar data sets share a shape."""

LINE = 8
"""Float64 numbers in a cache line."""

MANY_ATOMS = 256
"""From so many atoms on a row of a batch is an odd number of cache lines: rows whose lengths are multiples of a power of
two would compete for the same few places in the caches, which makes sums over them four times slower."""

FEW_PAIRS = 2**21
"""Up to so many pairs, images included, all distances are computed: some ten times faster than linked cells."""

_COINCIDENT = 1e-6


class Neighbourhood(NamedTuple):
    """The neighbour list of one configuration: one row per directed edge, sorted by the atom it starts from.

    Attributes:
        positions: of the atoms [length].
        types: species index of each atom.
        cell: rows are lattice vectors [length].
        centre: atom that each edge starts from.
        neighbour: atom that it leads to.
        vector: from the one to the other [length].
        slot: number of the edge among those of its atom.
        reverse: row of the opposite edge.
        width: largest number of edges of an atom.
        volume: of the cell [length³]; inf where a direction is open.
        same_molecule: whether the edge joins two atoms of one molecule; None without labels.
        extent: of the largest molecule [length]; 0 without labels.
    """

    positions: Float[np.ndarray, "atom 3"]
    types: Int[np.ndarray, " atom"]
    cell: Float[np.ndarray, "3 3"]
    centre: Int[np.ndarray, " edge"]
    neighbour: Int[np.ndarray, " edge"]
    vector: Float[np.ndarray, "edge 3"]
    slot: Int[np.ndarray, " edge"]
    reverse: Int[np.ndarray, " edge"]
    width: int
    volume: float
    same_molecule: Bool[np.ndarray, " edge"] | None
    extent: float


def neighbourhood(
    index: int,
    positions: Float[np.ndarray, "atom 3"],
    types: Int[np.ndarray, " atom"],
    cell: Float[np.ndarray, "3 3"],
    periodic: Bool[np.ndarray, " 3"],
    cutoff: float,
    *,
    molecules: Int[np.ndarray, " atom"] | None = None,
) -> Neighbourhood:
    """All neighbours within the cutoff, periodic images included.

    Args:
        index: number of the configuration, for messages.
        positions: [length].
        types: species indices.
        cell: rows are lattice vectors [length].
        periodic: which of them repeat.
        cutoff: [length].
        molecules: label of each atom's molecule; None where there are none.

    Raises:
        InputError: positions or cell that are not finite, atoms that coincide, a molecule of half the cell or more.
    """
    from ase.geometry import complete_cell
    from ase.neighborlist import primitive_neighbor_list

    positions, cell, periodic = (
        np.asarray(positions, float),
        np.asarray(cell, float),
        np.asarray(periodic, bool),
    )
    for what, values in (("positions", positions), ("cell", cell)):
        if not np.all(np.isfinite(values)):
            raise InputError(f"configuration {index}: its {what} contain NaN or inf; leave it out")
    shifts = _shifts(cell, periodic, cutoff)
    if len(shifts) * len(positions) ** 2 <= FEW_PAIRS:
        i, j, vector, shift = _all_pairs(positions, cell, periodic, cutoff, shifts)
    else:
        # Completed here: with a row of zeros ASE 3.29 misses neighbours under NumPy 2.5.
        i, j, vector, shift = primitive_neighbor_list(
            "ijDS", periodic, complete_cell(cell), positions, cutoff
        )
    # One of each two opposite edges, mirrored: both exist and are exactly opposite, whatever the rounding.
    x, y, z = shift.T
    forwards = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    kept = (i < j) | ((i == j) & forwards)
    i, j, vector = i[kept], j[kept], vector[kept]
    if len(vector) and np.min(np.sum(vector**2, axis=1)) < _COINCIDENT**2:
        raise InputError(
            f"configuration {index}: two atoms lie at the same place; remove one of them or the configuration"
        )
    n = len(i)
    centre = np.concatenate([i, j])
    order = np.argsort(centre, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(2 * n)
    opposite = np.concatenate([np.arange(n) + n, np.arange(n)])
    counts = np.bincount(centre, minlength=len(positions))
    first = np.cumsum(counts) - counts
    centre, neighbour, vector = (
        centre[order],
        np.concatenate([j, i])[order],
        np.concatenate([vector, -vector])[order],
    )
    same, extent = None, 0.0
    if molecules is not None:
        largest = molecule_extent(positions, molecules, cell, periodic)
        check_extent(index, largest)
        same = of_one_molecule(molecules, centre, neighbour, vector, shortest=largest.shortest)
        extent = largest.extent
    return Neighbourhood(
        positions=positions,
        types=np.asarray(types, int),
        cell=cell,
        centre=centre,
        neighbour=neighbour,
        vector=vector,
        slot=np.arange(2 * n) - first[centre],
        reverse=place[opposite[order]],
        width=int(counts.max(initial=0)),
        volume=abs(np.linalg.det(cell)) if np.all(periodic) else np.inf,
        same_molecule=same,
        extent=extent,
    )


def _shifts(
    cell: Float[np.ndarray, "3 3"], periodic: Bool[np.ndarray, " 3"], cutoff: float
) -> Int[np.ndarray, "image 3"]:
    """Images of the cell that hold neighbours of atoms in it: as many as fit between opposite faces, and one more."""
    from ase.geometry import complete_cell

    inverse = np.linalg.inv(complete_cell(cell))
    most = np.where(periodic, np.ceil(cutoff * np.linalg.norm(inverse, axis=0)), 0).astype(int)
    return np.array(list(np.ndindex(*(2 * most + 1)))) - most


def _all_pairs(
    positions: Float[np.ndarray, "atom 3"],
    cell: Float[np.ndarray, "3 3"],
    periodic: Bool[np.ndarray, " 3"],
    cutoff: float,
    shifts: Int[np.ndarray, "image 3"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What `ase.neighborlist.primitive_neighbor_list("ijDS", …)` finds, in another order, for wrapped positions."""
    from ase.geometry import complete_cell

    fractions = positions @ np.linalg.inv(complete_cell(cell))
    wrapped = positions - np.floor(np.where(periodic, fractions, 0.0)) @ cell
    apart = wrapped[None] - wrapped[:, None]
    found = []
    for shift in shifts:
        vector = apart + shift @ cell
        near = np.einsum("ijx,ijx->ij", vector, vector) < cutoff**2
        if not np.any(shift):
            np.fill_diagonal(near, False)
        i, j = np.nonzero(near)
        found.append((i, j, vector[i, j], np.tile(shift, (len(i), 1))))
    i, j, vector, shift = (np.concatenate(parts) for parts in zip(*found))
    return i, j, vector, shift


class Group(NamedTuple):
    """Configurations that share a batch, and the shape that it is filled up to.

    Attributes:
        members: numbers of the configurations.
        width: neighbours of each atom.
        n_atoms: atoms of all.
        n_configurations: configurations.
    """

    members: Int[np.ndarray, " configuration"]
    width: int
    n_atoms: int
    n_configurations: int


def group(
    widths: Int[np.ndarray, " configuration"],
    sizes: Int[np.ndarray, " configuration"],
    *,
    n_widths: int,
    max_edges: int,
) -> list[Group]:
    """Sort configurations into batches of few shapes, so that as little as possible is filled up.

    Args:
        widths: largest number of neighbours of an atom of each configuration.
        sizes: number of atoms of each configuration.
        n_widths: largest number of different shapes.
        max_edges: largest number of atoms × neighbours in a batch; a single configuration may exceed it.
    """
    widths = WIDTH_MULTIPLE * np.maximum(1, -(-widths // WIDTH_MULTIPLE))
    chosen = best_widths(widths, sizes, n_widths)
    groups = []
    for lower, width in zip((0, *chosen), chosen):
        members = np.flatnonzero((widths > lower) & (widths <= width))
        batches = _even_parts(members, sizes[members], max_edges // width)
        n_atoms = _row_length(max(int(sizes[batch].sum()) for batch in batches))
        n_configurations = max(map(len, batches))
        groups += [Group(batch, int(width), n_atoms, n_configurations) for batch in batches]
    return groups


def _row_length(n_atoms: int) -> int:
    """The number of atoms, filled up as `MANY_ATOMS` says."""
    if n_atoms < MANY_ATOMS:
        return n_atoms
    return LINE * (-(-n_atoms // LINE) | 1)


def best_widths(
    widths: Int[np.ndarray, " configuration"], sizes: Int[np.ndarray, " configuration"], n_widths: int
) -> tuple[int, ...]:
    """The at most `n_widths` widths that leave fewest fillers, by dynamic programming; the largest is one of them.

    Example:
        >>> best_widths(np.array([4, 4, 8, 20]), np.array([64, 64, 64, 8]), 2)
        (8, 20)
    """
    values = np.unique(widths)
    below = np.cumsum([0, *(sizes[widths == value].sum() for value in values)])
    nothing: tuple[int, tuple[int, ...]] = (0, ())
    best = [nothing] + [(int(below[k + 1] * v), (int(v),)) for k, v in enumerate(values)]
    for _ in range(n_widths - 1):
        best = [nothing] + [
            min(
                (best[f][0] + int((below[k + 1] - below[f]) * v), (*best[f][1], int(v))) for f in range(k + 1)
            )
            for k, v in enumerate(values)
        ]
    return best[-1][1]


def _even_parts(
    members: Int[np.ndarray, " configuration"], sizes: Int[np.ndarray, " configuration"], most: int
) -> list[np.ndarray]:
    """Members in parts of nearly equal size, each at most `most` or a single member larger than that."""
    n_parts = max(1, -(-int(sizes.sum()) // max(1, most)))
    while True:
        target = sizes.sum() / n_parts
        part = np.minimum((np.cumsum(sizes) - 0.5 * sizes) // target, n_parts - 1)
        parts = [members[part == k] for k in range(n_parts) if np.any(part == k)]
        loads = [(sizes[part == k].sum(), np.sum(part == k)) for k in range(n_parts)]
        if all(load <= most or n <= 1 for load, n in loads):
            return parts
        n_parts += 1
