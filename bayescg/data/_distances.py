"""Distances in a configuration, images included, whatever the cell."""

from __future__ import annotations

import itertools

import numpy as np

from bayescg.data._configuration_checks import complete_cell
from bayescg.data._configurations import Booleans, Configurations
from bayescg.data._topology import Floats, Integers


def widths(cell: Floats, periodic: Booleans) -> Floats:
    """Distance between opposite faces of a cell [length]; inf for open directions [3]."""
    inverse = np.linalg.inv(complete_cell(cell))
    return np.where(periodic, 1.0 / np.linalg.norm(inverse, axis=0), np.inf)


def pair_distances(data: Configurations, k: int, cutoff: float) -> tuple[Integers, Integers, Floats]:
    """Ordered pairs of atoms of configuration `k` within the cutoff, images included.

    Returns:
        Numbers of the two atoms, and their distance [length] (an atom and its own image count too).
    """
    from scipy.spatial import cKDTree  # here, because importing it takes longer than the rest of this room

    cell, periodic = complete_cell(data.cell[k]), data.periodic[k]
    places = np.linalg.solve(cell.T, data.positions[k].T).T
    places = np.where(periodic, places - np.floor(places), places)
    reach = np.where(periodic, np.ceil(cutoff / widths(cell, periodic)), 0).astype(int)
    shifts = np.array(list(itertools.product(*(range(-r, r + 1) for r in reach))))
    centres = places @ cell
    images = (centres[None] + (shifts @ cell)[:, None]).reshape(-1, 3)
    atoms = np.tile(np.arange(len(places)), len(shifts))
    inside = ((images >= centres.min(0) - cutoff) & (images <= centres.max(0) + cutoff)).all(axis=1)
    images, atoms = images[inside], atoms[inside]
    found = cKDTree(centres).sparse_distance_matrix(cKDTree(images), cutoff, output_type="ndarray")
    found = found[found["v"] > 1e-9 * cutoff]
    return found["i"].astype(np.int64), atoms[found["j"]], found["v"]
