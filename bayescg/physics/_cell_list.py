"""Cells of equal counts: a periodic system sorted into small boxes that all hold the same number of sites.

The sites are cut into slabs of equal counts along x, each slab into columns along y, each column into cells along z. No
cell overflows however uneven the density is, and hardly a slot is empty. What can overflow is the list of the cells
that lie within reach of a cell; its demand is counted, and the engine repeats a run that asked for too much.

All arrays keep the size they were made with, and neighbouring cells are computed against each other densely: that
vectorises, while a gather for every pair of neighbours does not.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bayescg.physics._engine import minimum_image

SITES_PER_CELL = 12
"""Fewer sites make tighter cells with fewer useless pairs, and longer lists that take longer to make."""
_CELLS_AT_ONCE = 4
"""Whose pairs stay in the core's cache while their forces are summed."""


class Capacity(NamedTuple):
    """How many neighbours there is room for.

    Attributes:
        columns: columns of cells within reach of a column, itself included.
        cells: cells within reach of a cell, itself included.
    """

    columns: int
    cells: int


@dataclasses.dataclass(frozen=True)
class CellLayout:
    """Into how many slabs, columns and cells n_sites sites are cut.

    Attributes:
        n_sites: number of sites.
        shape: slabs, columns in a slab, cells in a column.
    """

    n_sites: int
    shape: tuple[int, int, int]

    @property
    def n_columns(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def n_cells(self) -> int:
        return math.prod(self.shape)

    @property
    def most(self) -> Capacity:
        """Room for everything: with it no list overflows."""
        return Capacity(self.n_columns, self.n_cells)


def expected_candidates(layout: CellLayout, edges: Float[np.ndarray, "3"], reach: float) -> float:
    """Slots that a site is computed against, in a system of even density.

    A cell of edges l meets the cells whose centres lie in the box 2 l widened by the reach all round.
    """
    a, b, c = 2 * edges / layout.shape
    surface, perimeter = a * b + b * c + c * a, a + b + c
    widened = a * b * c + 2 * surface * reach + np.pi * perimeter * reach**2 + 4 / 3 * np.pi * reach**3
    cells = min(layout.n_cells * widened / np.prod(edges), layout.n_cells)
    return float(cells * SITES_PER_CELL)


def expected_columns(layout: CellLayout, edges: Float[np.ndarray, "3"], reach: float) -> int:
    """Columns within reach of a column in a system of even density, generously."""
    a, b = 2 * edges[:2] / layout.shape[:2]
    widened = a * b + 2 * (a + b) * reach + np.pi * reach**2
    return min(layout.n_columns, math.ceil(1.5 * layout.n_columns * widened / (edges[0] * edges[1])))


@functools.lru_cache
def cell_layout(n_sites: int, edges: tuple[float, float, float], reach: float) -> CellLayout:
    """The layout with the fewest pairs of slots within reach, in a system of even density."""
    box = np.array(edges)
    edge = (box.prod() * SITES_PER_CELL / n_sites) ** (1 / 3)
    layouts = []
    for n_slabs in _near(box[0] / edge):
        for n_columns in _near(box[1] / edge):
            fullest = math.ceil(math.ceil(n_sites / n_slabs) / n_columns)
            layouts.append(CellLayout(n_sites, (n_slabs, n_columns, math.ceil(fullest / SITES_PER_CELL))))
    return min(layouts, key=lambda layout: layout.n_cells * expected_candidates(layout, box, reach))


def _near(number: float) -> range:
    return range(max(1, math.floor(0.7 * number)), math.ceil(1.3 * number) + 1)


class _Cuts(NamedTuple):
    """Where slabs, columns and cells find their sites in the sorted arrays; -1 for an empty slot."""

    slabs: Int[np.ndarray, "slab rank"]
    columns: Int[np.ndarray, "column rank"]
    cells: Int[np.ndarray, "cell slot"]


@functools.lru_cache
def _cuts(layout: CellLayout) -> _Cuts:
    slabs, counts = _cut([layout.n_sites], layout.shape[0], layout.n_sites)
    columns, counts = _cut(counts, layout.shape[1], slabs.shape[1])
    cells, _ = _cut(counts, layout.shape[2], columns.shape[1])
    empty = SITES_PER_CELL - cells.shape[1]
    return _Cuts(slabs, columns, np.pad(cells, ((0, 0), (0, empty)), constant_values=-1))


def _cut(counts: list[int], n_parts: int, row_length: int) -> tuple[np.ndarray, list[int]]:
    """Rows with the given counts cut into n_parts parts each, whose counts differ by at most one."""
    bounds = np.array([[n * part // n_parts for part in range(n_parts + 1)] for n in counts])
    sizes = np.diff(bounds).reshape(-1)
    starts = (bounds[:, :-1] + row_length * np.arange(len(counts))[:, None]).reshape(-1)
    rank = np.arange(max(1, sizes.max()))
    return np.where(rank < sizes[:, None], starts[:, None] + rank, -1), sizes.tolist()


def sort_into_cells(rows: Float[Array, "3 site"], layout: CellLayout) -> Int[Array, "cell slot"]:
    """The site in every slot of every cell; n_sites in an empty slot.

    Args:
        rows: positions in the box [length].
        layout: made for this number of sites.
    """
    n_sites = layout.n_sites
    x, y, z = jnp.pad(rows, ((0, 0), (0, 1)), constant_values=jnp.inf)  # empty slots come last
    sites = jnp.arange(n_sites, dtype=jnp.int32)[None]
    for place, cut in zip((x, y, z), _cuts(layout), strict=True):
        _, sites = jax.lax.sort((place[sites], sites), dimension=1, num_keys=1)
        sites = jnp.where(cut < 0, n_sites, sites.reshape(-1)[np.maximum(cut, 0)])
    return sites


def find_neighbours(
    rows: Float[Array, "3 site"],
    sites: Int[Array, "cell slot"],
    edges: Float[Array, "3"],
    reach: Array,
    *,
    layout: CellLayout,
    capacity: Capacity,
) -> tuple[Int[Array, "cell neighbour"], Int[Array, "2"]]:
    """The cells within reach of every cell, and the capacity that this takes.

    First the columns within reach of a column are found, then among their cells those within reach of a cell. Two cells
    are within reach if the boxes around their sites come closer than it; the distance of the boxes is a lower bound of
    every distance between their sites.

    Returns:
        Neighbours: the cell itself comes first; the number of cells where there are no more.
        Demand: columns and cells that the fullest lists would have needed, in the order of `Capacity`; an overflow of
        columns can hide cells.
    """
    n_columns, n_layers, n_cells = layout.n_columns, layout.shape[2], layout.n_cells
    filled = sites < layout.n_sites
    places = jnp.pad(rows, ((0, 0), (0, 1)))[:, sites]
    low = jnp.where(filled, places, jnp.inf).min(-1).reshape(3, n_columns, n_layers)
    high = jnp.where(filled, places, -jnp.inf).max(-1).reshape(3, n_columns, n_layers)

    columns = _centre_and_half_width(low.min(-1), high.max(-1))
    near = _within_reach(columns[:2, :, :, None], columns[:2, :, None, :], edges, reach)
    own = jnp.arange(n_columns, dtype=jnp.int32)
    wide, n_wide = _listed(near, own[None], own[:, None], capacity.columns, nothing=n_columns)

    cells = _centre_and_half_width(low, high)
    nothing = jnp.stack([jnp.zeros(3), jnp.full(3, -jnp.inf)], 1)[:, :, None, None]
    padded = jnp.concatenate([cells, jnp.broadcast_to(nothing, (3, 2, 1, n_layers)).astype(cells.dtype)], 2)
    others = padded[:, :, wide].reshape(3, 2, n_columns, 1, -1)
    near = _within_reach(cells[..., None], others, edges, reach)
    number = (wide[:, :, None] * n_layers + jnp.arange(n_layers, dtype=jnp.int32)).reshape(n_columns, 1, -1)
    own = jnp.arange(n_cells, dtype=jnp.int32).reshape(n_columns, n_layers, 1)
    neighbours, n_near = _listed(near, number, own, capacity.cells, nothing=n_cells)
    return neighbours.reshape(n_cells, -1), jnp.stack([n_wide, n_near])


def _centre_and_half_width(low: Array, high: Array) -> Float[Array, "3 2 *box"]:
    """Boxes by centre and half width; -inf for the half width of an empty one, which is out of everyone's reach."""
    empty = high < low
    return jnp.stack([jnp.where(empty, 0, (low + high) / 2), jnp.where(empty, -jnp.inf, (high - low) / 2)], 1)


def _within_reach(a: Array, b: Array, edges: Array, reach: Array) -> Bool[Array, "*pair"]:
    """Whether periodic boxes, given by centre and half width along the first directions, come closer than reach."""
    gaps = [
        jnp.maximum(jnp.abs(minimum_image(p[0] - q[0], edge, 1 / edge)) - (p[1] + q[1]), 0)
        for p, q, edge in zip(a, b, edges, strict=False)
    ]
    return sum(gap * gap for gap in gaps) < reach * reach


def _listed(
    near: Bool[Array, "*row all"], number: Array, own: Array, capacity: int, *, nothing: int
) -> tuple[Int[Array, "*row entry"], Int[Array, ""]]:
    """The numbers that are near, padded with `nothing`, the own one first; and the longest list's length."""
    near = near | (number == own)  # an empty box is near nobody, but keeps its own place
    key = jnp.where(near, jnp.where(number == own, -1, number), nothing)
    entries = jnp.sort(key, axis=-1)[..., : min(capacity, key.shape[-1])]
    return jnp.where(entries < 0, own, entries), near.sum(-1).max().astype(jnp.int32)


def cell_forces(
    factor: Callable[[Array], Array],
    rows: Float[Array, "3 site"],
    sites: Int[Array, "cell slot"],
    neighbours: Int[Array, "cell neighbour"],
    edges: Float[Array, "3"],
    cutoff: Array,
    *,
    layout: CellLayout,
    in_blocks: bool,
) -> Float[Array, "3 cell slot"]:
    """Force on the site in every slot from the cells within reach [energy / length]; 0 in empty slots.

    Args:
        factor: f / r of squared distances, 0 beyond the cutoff.
        rows: positions [length].
        sites: from `sort_into_cells`.
        neighbours: from `find_neighbours`, made when no site was farther from here than half the skin.
        edges: box edges [length].
        cutoff: [length].
        layout: of the cells.
        in_blocks: one slab after the other and a few of its cells at once, so that the pairs never leave the core's
            cache; otherwise all at once, which suits a GPU.
    """
    # An empty slot is nowhere: comparisons with its distances are false, and it acts on nobody.
    places = jnp.pad(rows, ((0, 0), (0, 1)), constant_values=jnp.nan)[:, sites]
    targets = jnp.pad(places, ((0, 0), (0, 1), (0, 0)), constant_values=jnp.nan)

    def candidates(neighbours: Int[Array, "cell neighbour"]) -> Float[Array, "3 cell candidate"]:
        found = targets.at[:, neighbours].get(mode="promise_in_bounds")
        return found.reshape(3, neighbours.shape[0], -1)

    def dense(places: Array, candidates: Array) -> Float[Array, "3 cell slot"]:
        return _dense_forces(factor, places, candidates, edges, cutoff)

    if not in_blocks:
        return dense(places, candidates(neighbours))
    n_slab = layout.n_cells // layout.shape[0]
    n_block = max(n for n in range(1, _CELLS_AT_ONCE + 1) if n_slab % n == 0)

    # The inner loop is a boundary for the compiler, which would otherwise gather anew for every pair.
    def slab(start: Array) -> Float[Array, "block 3 cell slot"]:
        columns = candidates(jax.lax.dynamic_slice_in_dim(neighbours, start, n_slab))
        mine = jax.lax.dynamic_slice_in_dim(places, start, n_slab, 1)

        def block(start: Array) -> Float[Array, "3 cell slot"]:
            return dense(*(jax.lax.dynamic_slice_in_dim(a, start, n_block, 1) for a in (mine, columns)))

        return jax.lax.map(block, np.arange(0, n_slab, n_block))

    forces = jax.lax.map(slab, np.arange(0, layout.n_cells, n_slab))
    return jnp.moveaxis(forces, 2, 0).reshape(3, layout.n_cells, SITES_PER_CELL)


def _dense_forces(
    factor: Callable[[Array], Array],
    places: Float[Array, "3 cell slot"],
    candidates: Float[Array, "3 cell candidate"],
    edges: Float[Array, "3"],
    cutoff: Array,
) -> Float[Array, "3 cell slot"]:
    """Sum over the candidates of every cell, whose own sites are the first of them."""
    separations = [
        minimum_image(place[:, :, None] - other[:, None, :], edge, 1 / edge)
        for place, other, edge in zip(places, candidates, edges, strict=True)
    ]
    itself = np.eye(places.shape[2], candidates.shape[2], dtype=bool)
    r2 = sum((d * d for d in separations), start=jnp.where(itself, np.float32(np.inf), np.float32(0)))
    f = factor(r2)
    near = r2 < cutoff * cutoff
    # One sum over all three components at once, as in the engine of all pairs.
    zero = np.zeros((), places.dtype)
    components = jax.lax.reduce(
        tuple(jnp.where(near, f * d, zero) for d in separations),
        (zero,) * 3,
        lambda a, b: tuple(u + v for u, v in zip(a, b, strict=True)),
        (2,),
    )
    return jnp.stack(components)
