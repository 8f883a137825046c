"""Cells of a batch's configurations, for terms that sum over the waves of the periodic cell."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.physics._neighbourhoods import Group, Neighbourhood, best_widths

N_SIZES = 3
"""Different sizes of cells, and so numbers of waves, that configurations with equal numbers of neighbours have at most."""

WASTE = 2.0
"""So many times the waves that are needed are summed rather than another size introduced, which takes time to compile."""

STEP = 1.05
"""Edges are rounded up to powers of this, so that similar data sets share a compiled shape."""

STRETCH = 1.02
"""By so much at least an edge may grow before it is longer than `lengths` say."""


class PeriodicCells(eqx.Module):
    """Those configurations of a batch that are periodic along all edges and whose cells are of similar size.

    A pytree of arrays; bounds on the cells are static, since they fix the number of waves.

    Attributes:
        cell: rows are lattice vectors, the longest first [length]; the identity for cells that fill up.
        atoms: index in the batch of the atoms of each configuration; the batch's number of atoms for fillers.
        configuration: place in the batch of each configuration; the batch's number of configurations for fillers.
        lengths: no edge is longer, first to third [length].
        obliqueness: no largest eigenvalue of the matrix of cosines between the edges is larger; 1 for right angles.
    """

    cell: Float[Array, "cell 3 3"]
    atoms: Int[Array, "cell place"]
    configuration: Int[Array, " cell"]
    lengths: tuple[float, float, float] = eqx.field(static=True)
    obliqueness: float = eqx.field(static=True)


class _Shape(NamedTuple):
    """What cells of similar size are filled up to, the same in all batches of one width."""

    members: frozenset[int]
    n_cells: int
    n_places: int
    lengths: tuple[float, float, float]
    obliqueness: float


def periodic_cells(
    parts: Sequence[Neighbourhood], groups: Sequence[Group]
) -> list[tuple[PeriodicCells, ...]]:
    """The periodic cells of each batch, in groups of at most `N_SIZES` different sizes.

    Batches with the same number of neighbours get the same shapes and bounds.

    Args:
        parts: all configurations.
        groups: which of them share a batch.
    """
    widths = sorted({one.width for one in groups})
    shapes = {width: _shapes(parts, [one for one in groups if one.width == width]) for width in widths}
    return [tuple(_filled(parts, one, shape) for shape in shapes[one.width]) for one in groups]


def _shapes(parts: Sequence[Neighbourhood], groups: Sequence[Group]) -> list[_Shape]:
    members = np.array([i for one in groups for i in one.members if np.isfinite(parts[i].volume)], int)
    if not len(members):
        return []
    bounds = {int(i): _bounds(parts[i].cell) for i in members}
    volumes = np.array([np.prod(lengths) * oblique**1.5 for lengths, oblique in bounds.values()])
    sizes = np.ceil(1000.0 * volumes / volumes.max() - 1e-9).astype(int)
    chosen = _few_sizes(sizes)
    found = []
    for lower, upper in zip((0, *chosen), chosen):
        same = frozenset(members[(sizes > lower) & (sizes <= upper)].tolist())
        first, second, third = np.max([bounds[i][0] for i in same], axis=0).tolist()
        found.append(
            _Shape(
                same,
                n_cells=max(len(same & set(one.members.tolist())) for one in groups),
                n_places=max(len(parts[i].types) for i in same),
                lengths=(first, second, third),
                obliqueness=max(bounds[i][1] for i in same),
            )
        )
    return found


def _few_sizes(sizes: Int[np.ndarray, " cell"]) -> tuple[int, ...]:
    """The fewest sizes that cells are filled up to without too much waste, at most `N_SIZES`.

    Example:
        >>> _few_sizes(np.array([800, 900, 1000])), _few_sizes(np.array([10, 10, 10, 900, 1000]))
        ((1000,), (10, 1000))
    """
    for n in range(1, N_SIZES):
        chosen = best_widths(sizes, np.ones(len(sizes), int), n)
        filled = np.asarray(chosen)[np.searchsorted(chosen, sizes)]
        if filled.sum() <= WASTE * sizes.sum():
            return chosen
    return best_widths(sizes, np.ones(len(sizes), int), N_SIZES)


def _bounds(cell: Float[np.ndarray, "3 3"]) -> tuple[Float[np.ndarray, " 3"], float]:
    """Lengths of the edges, longest first, and the obliqueness, both rounded up."""
    lengths = np.linalg.norm(cell, axis=1)
    edges = cell / lengths[:, None]
    oblique = np.linalg.eigvalsh(edges @ edges.T)[-1]
    steps = np.ceil(np.log(STRETCH * np.sort(lengths)[::-1]) / np.log(STEP))
    return STEP**steps, float(np.ceil(10.0 * oblique - 1e-6) / 10.0)


def _filled(parts: Sequence[Neighbourhood], group: Group, shape: _Shape) -> PeriodicCells:
    cell = np.tile(np.eye(3), (shape.n_cells, 1, 1))
    atoms = np.full((shape.n_cells, shape.n_places), group.n_atoms, np.int32)
    configuration = np.full(shape.n_cells, group.n_configurations, np.int32)
    first = filled = 0
    for place, index in enumerate(group.members):
        size = len(parts[index].types)
        if int(index) in shape.members:
            edges = parts[index].cell
            cell[filled] = edges[np.argsort(-np.linalg.norm(edges, axis=1), kind="stable")]
            atoms[filled, :size] = np.arange(first, first + size)
            configuration[filled] = place
            filled += 1
        first += size
    return PeriodicCells(
        jnp.asarray(cell), jnp.asarray(atoms), jnp.asarray(configuration), shape.lengths, shape.obliqueness
    )


def strained(cells: PeriodicCells, stretch: Float[Array, "configuration 3 3"]) -> PeriodicCells:
    """The cells with every lattice vector a turned into (1 + ε)a.

    Args:
        cells: of a batch.
        stretch: 1 + ε of each configuration of the batch [dimensionless].
    """
    own = stretch.at[cells.configuration].get(mode="fill", fill_value=0.0)
    filler = cells.configuration >= len(stretch)
    own = jnp.where(filler[:, None, None], jnp.eye(3), own)
    return dataclasses.replace(cells, cell=jnp.einsum("cij,caj->cai", own, cells.cell))


def independent_compositions(
    types: Sequence[Int[np.ndarray, " atom"]], n_species: int
) -> tuple[tuple[int, ...], ...]:
    """Numbers of atoms of each species, reduced, of as few configurations as all others are combinations of.

    Example:
        >>> independent_compositions([np.array([0, 0, 1, 1]), np.array([0, 1]), np.array([1])], 2)
        ((1, 1), (0, 1))
    """
    found: list[tuple[int, ...]] = []
    for one in dict.fromkeys(reduced_composition(each, n_species) for each in types):
        if any(one) and np.linalg.matrix_rank(np.array([*found, one], float)) > len(found):
            found.append(one)
        if len(found) == n_species:
            break
    return tuple(found)


def reduced_composition(types: Int[np.ndarray, " atom"], n_species: int) -> tuple[int, ...]:
    """Numbers of atoms of each species, without common divisor."""
    counts = np.bincount(np.asarray(types, int), minlength=n_species)
    return tuple((counts // max(1, int(np.gcd.reduce(counts)))).tolist())
