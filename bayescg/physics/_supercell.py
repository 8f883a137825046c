"""Structures cut from a crystal: supercells and slabs, each atom remembering the atom of the cell that it repeats."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayescg.errors import InputError
from bayescg.physics._crystal import Crystal

_MOST = 8
"""Largest integer combination of the cell's vectors that is tried as an edge of a surface cell."""


class Derived(NamedTuple):
    """Atoms cut from a crystal, in the crystal's own Cartesian axes.

    Attributes:
        cell: rows are lattice vectors [length].
        positions: [length].
        parent: atom of the crystal's cell that each atom repeats.

    Example:
        >>> crystal = Crystal.bulk("Cu", "fcc", a=3.6)
        >>> supercell(crystal, 2 * np.eye(3, dtype=int)).parent.tolist()
        [0, 0, 0, 0, 0, 0, 0, 0]
    """

    cell: Float[np.ndarray, "3 3"]
    positions: Float[np.ndarray, "atom 3"]
    parent: Int[np.ndarray, " atom"]

    @property
    def heights(self) -> Float[np.ndarray, " 3"]:
        """Distances between opposite faces of the cell [length]."""
        return 1.0 / np.linalg.norm(np.linalg.inv(self.cell), axis=0)


def supercell(crystal: Crystal, matrix: Int[np.ndarray, "3 3"]) -> Derived:
    """The cell whose edges are integer combinations of the crystal's.

    Args:
        crystal: what repeats.
        matrix: rows are the new edges in units of the crystal's cell vectors.

    Raises:
        InputError: rows that are not independent.
    """
    matrix = np.asarray(matrix, int)
    count = round(abs(np.linalg.det(matrix)))
    if count == 0:
        raise InputError(f"supercell: the rows of {matrix.tolist()} are not independent")
    reach = np.abs(matrix).sum(axis=0) + 1
    cells = np.array(list(np.ndindex(*(2 * reach + 1)))) - reach
    places = cells @ np.linalg.inv(matrix)
    cells = cells[np.all((places > -1e-9) & (places < 1.0 - 1e-9), axis=1)]
    fractions = (cells[:, None] + crystal.fractions).reshape(-1, 3)
    parent = np.tile(np.arange(crystal.n_atoms), len(cells))
    return Derived(matrix @ crystal.cell, fractions @ crystal.cell, parent)


def conventional_matrix(crystal: Crystal, repeats: tuple[int, int, int]) -> Int[np.ndarray, "3 3"]:
    """The supercell matrix of so many conventional cells along each edge.

    Raises:
        InputError: repeats below one, a conventional cell whose edges are no lattice vectors.

    Example:
        >>> conventional_matrix(Crystal.bulk("Cu", "fcc", a=3.6), (1, 1, 1)).tolist()
        [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]
    """
    if min(repeats) < 1:
        raise InputError(f"a supercell repeats at least once along each edge, found {repeats}")
    exact = np.asarray(repeats)[:, None] * (crystal.conventional @ np.linalg.inv(crystal.cell))
    if np.max(np.abs(exact - np.round(exact))) > 1e-6:
        raise InputError("the edges of the conventional cell are no lattice vectors of the crystal's cell")
    return np.round(exact).astype(int)


def slab(
    crystal: Crystal,
    miller: tuple[int, int, int],
    *,
    layers: int,
    gap: float,
    repeats: tuple[int, int] = (1, 1),
    cut: float | None = None,
) -> Derived:
    """A slab between two surfaces (hkl) of the crystal, with a gap of vacuum between its images.

    Its first two edges are the shortest lattice vectors in the plane. Whole cells are stacked, so that the composition
    stays the crystal's.

    Args:
        crystal: what is cut.
        miller: indices of the plane in the conventional cell.
        layers: number of primitive layers.
        gap: between the slab and its image [length].
        repeats: of the surface cell along its edges.
        cut: height at which a layer begins, as a share of the layer's thickness; default the middle of the widest gap
            between planes of atoms, where fewest bonds are cut.

    Raises:
        InputError: indices that are all 0 or too large, less than one layer.

    Example:
        >>> len(slab(Crystal.bulk("Si", "diamond", a=5.43), (1, 1, 1), layers=4, gap=8.0).parent)
        8
    """
    if not any(miller) or layers < 1 or min(repeats) < 1:
        raise InputError(
            f"slab: indices {miller} must not all be 0; layers and repeats are at least 1, found {layers}, {repeats}"
        )
    edges = surface_edges(crystal, miller)
    cell = edges @ crystal.cell
    normal = np.cross(cell[0], cell[1])
    normal /= np.linalg.norm(normal)
    fractions = crystal.fractions @ np.linalg.inv(edges)
    heights = fractions[:, 2] % 1.0
    heights[heights > 1.0 - 1e-9] = 0.0
    if cut is None:
        levels = np.sort(heights)
        widths = np.diff([*levels, levels[0] + 1.0])
        widest = int(np.argmax(widths > widths.max() - 1e-9))
        cut = levels[widest] + 0.5 * widths[widest]
    fractions = fractions - np.outer(np.floor(fractions[:, 2] - cut + 1e-9), [0, 0, 1])
    shifts = np.array(list(np.ndindex(*repeats, layers)))
    all_fractions = (shifts[:, None] + fractions).reshape(-1, 3)
    stack = np.array([repeats[0] * cell[0], repeats[1] * cell[1], layers * cell[2] + gap * normal])
    return Derived(stack, all_fractions @ cell, np.tile(np.arange(crystal.n_atoms), len(shifts)))


def surface_edges(crystal: Crystal, miller: tuple[int, int, int]) -> Int[np.ndarray, "3 3"]:
    """Integer combinations of the cell's vectors: two shortest ones in the plane (hkl) and one to the next layer.

    Example:
        >>> edges = surface_edges(Crystal.bulk("Cu", "fcc", a=3.6), (1, 1, 1))
        >>> round(float(np.linalg.det(edges)))
        1
    """
    planes = np.linalg.inv(crystal.conventional) @ np.asarray(miller, float)  # h a* + k b* + l c*
    steps = np.array(list(np.ndindex(*(2 * _MOST + 1,) * 3))) - _MOST
    vectors = steps @ crystal.cell
    heights, lengths = vectors @ planes, np.linalg.norm(vectors, axis=1)
    order = np.lexsort((*-steps.T, lengths.round(9)))
    order = order[lengths[order] > 1e-9]
    flat = [k for k in order if abs(heights[k]) < 1e-9]
    second = (
        [k for k in flat[1:] if np.linalg.norm(np.cross(vectors[flat[0]], vectors[k])) > 1e-9] if flat else []
    )
    for up in order if second else ():
        edges = np.array([steps[flat[0]], steps[second[0]], steps[up]])
        if heights[up] > 1e-9 and round(abs(np.linalg.det(edges))) == 1:
            return edges if np.linalg.det(edges) > 0 else edges[[1, 0, 2]]
    raise InputError(f"slab: no cell found for the plane {miller}; use lower indices")
