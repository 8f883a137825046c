"""Which neighbours of an atom belong to its own molecule, and how far molecules extend."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from bayescg.errors import InputError

_HALF = 0.5 * (1.0 - 1e-6)
"""Largest extent of a molecule per shortest lattice vector: pairs below half of it are the nearest whatever the rounding."""


class MoleculeExtent(NamedTuple):
    """The molecule that extends farthest, and how far molecules may.

    Attributes:
        label: of that molecule; −1 where every molecule is a single atom.
        extent: largest distance of two of its atoms, each at the image nearest to the molecule's first atom [length].
        shortest: lattice vector; inf where no direction repeats [length].
    """

    label: int
    extent: float
    shortest: float


def molecule_extent(
    positions: Float[np.ndarray, "atom 3"],
    labels: Int[np.ndarray, " atom"],
    cell: Float[np.ndarray, "3 3"],
    periodic: Bool[np.ndarray, " 3"],
) -> MoleculeExtent:
    """How far the molecules of one configuration extend; they need not be wrapped into the cell as a whole.

    Args:
        positions: [length].
        labels: of the molecule of each atom.
        cell: rows are lattice vectors [length].
        periodic: which of them repeat.

    Example:
        >>> atoms = np.array([[0.2, 0.0, 0.0], [9.8, 0.0, 0.0]])  # 0.4 apart through the boundary
        >>> found = molecule_extent(atoms, np.array([7, 7]), 10.0 * np.eye(3), np.ones(3, bool))
        >>> found.label, round(found.extent, 6), round(found.shortest, 6)
        (7, 0.4, 10.0)
    """
    from ase.geometry import find_mic

    _, first, molecule = np.unique(labels, return_index=True, return_inverse=True)
    apart = positions - positions[first][molecule]
    if np.any(periodic):
        apart = find_mic(apart, cell, periodic)[0]
    order = np.argsort(labels, kind="stable")
    labels, apart = labels[order], apart[order]
    label, extent = -1, 0.0
    # pairs so many places apart among the sorted atoms
    for step in range(1, int(np.max(np.bincount(molecule)))):
        together = labels[step:] == labels[:-step]
        squares = np.sum((apart[step:] - apart[:-step]) ** 2, axis=1) * together
        if squares.max() > extent**2:
            label, extent = int(labels[np.argmax(squares)]), float(np.sqrt(squares.max()))
    return MoleculeExtent(label, extent, shortest_repeat(cell, periodic))


def shortest_repeat(cell: Float[np.ndarray, "3 3"], periodic: Bool[np.ndarray, " 3"]) -> float:
    """Length of the shortest vector that takes the crystal to itself [length]; inf where no direction repeats.

    Example:
        >>> round(shortest_repeat(np.array([[4.0, 0.0, 0.0], [4.0, 3.0, 0.0], [0.0, 0.0, 9.0]]), np.ones(3, bool)), 6)
        3.0
    """
    from ase.geometry import complete_cell, minkowski_reduce

    if not np.any(periodic):
        return np.inf
    reduced, _ = minkowski_reduce(complete_cell(cell), periodic)
    return float(np.min(np.linalg.norm(reduced[np.asarray(periodic, bool)], axis=1)))


def check_extent(index: int, found: MoleculeExtent) -> None:
    """Raise an InputError unless the nearest images of a molecule's atoms are surely its own.

    Args:
        index: number of the configuration.
        found: its molecules.
    """
    if found.extent >= _HALF * found.shortest:
        raise InputError(
            f"configuration {index}: molecule {found.label} extends over half the shortest lattice vector"
            f" ({found.shortest:.4g}) or more, so that its own images cannot be told from others: give a larger"
            " cell, or correct the labels",
            argument="molecule_key",
        )


def of_one_molecule(
    labels: Int[np.ndarray, " atom"],
    centre: Int[np.ndarray, " edge"],
    neighbour: Int[np.ndarray, " edge"],
    vector: Float[np.ndarray, "edge 3"],
    *,
    shortest: float,
) -> Bool[np.ndarray, " edge"]:
    """Which edges join two atoms of one molecule: the nearest images of a pair with the same label.

    Farther images belong to images of the molecule, and so do all of an atom's own.

    Args:
        labels: of the molecule of each atom.
        centre: atom that each edge starts from.
        neighbour: atom that it leads to.
        vector: from the one to the other [length].
        shortest: vector of the lattice, more than twice the extent of every molecule [length].
    """
    near = np.sum(vector**2, axis=1) < (0.5 * shortest) ** 2
    return (labels[centre] == labels[neighbour]) & (centre != neighbour) & near
