"""From frames to sufficient statistics: features, virial features and pair counts, block by block.

A tabulated pair term is reduced through a fine histogram of squared distances: with the number of pairs
and the sum of their places within each bin, every function that is piecewise linear in s = r² on the same
bins is summed exactly, and that piecewise-linear function is the one the engine samples. Other terms are
summed directly.
"""

import concurrent.futures
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Int, PyTree

from bayescg.data import Frames
from bayescg.errors import InputError
from bayescg.physics._pair import PairPotential
from bayescg.physics._potential import Potential, terms_of
from bayescg.physics._space import pair_distances_squared

TABLE_BINS = 16_384
"""Bins of the pair-energy table, uniform in r² up to the squared cutoff."""

CALL_SIZES = (8, 16, 64)
"""Frames reduced by one compiled call, at most: bounds the memory; calls are padded, so that few shapes are compiled."""
MOST_THREADS = 8
"""Calls at once: each holds its histograms, some 50 MB of 64 frames."""


class SufficientStatistics(NamedTuple):
    """What the likelihood needs to know of frames.

    Attributes:
        features: φ of each frame [frame feature] [unit of the feature].
        virial: feature-wise Σ f·r, so that W = −∂U/∂ln L = η · virial [frame feature].
        pair_counts: number of pairs in each distance bin [frame bin]; no columns when not asked for.
        trajectory: index of the independent trajectory of each frame [frame].

    Example:
        >>> zeros = np.zeros((3, 2))
        >>> SufficientStatistics(zeros, zeros, zeros[:, :0], np.array([0, 0, 1])).trajectory_lengths()
        (2, 1)
    """

    features: np.ndarray
    virial: np.ndarray
    pair_counts: np.ndarray
    trajectory: np.ndarray

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.features)

    def trajectory_lengths(self) -> tuple[int, ...]:
        """Number of frames of each trajectory, in the order of the frames."""
        starts = np.flatnonzero(np.diff(self.trajectory)) + 1
        edges = np.concatenate([[0], starts, [len(self.trajectory)]])
        return tuple(int(n) for n in np.diff(edges) if n)


class FrameReducer:
    """Reduces positions to sufficient statistics of one potential's features.

    Pair terms with a table, and sums of several pair terms, are reduced with the table that the engine
    samples; a single analytic pair term and all other terms exactly.

    Args:
        potential: any potential with the wanted features; its parameter values do not matter.
        box: edge lengths [length]; `inf` where open.
        distance_edges: edges of the distance bins for pair counts [length], or None. A pair within one
            table bin (uniform in r²) of an edge is shared out between the two distance bins.

    Raises:
        InputError: a cutoff or distance edge beyond half the box, or JAX without 64-bit numbers.

    Example:
        >>> from bayescg.physics import LennardJones
        >>> reducer = FrameReducer(LennardJones(1.0, 1.0, cutoff=2.0), box=np.full(3, 5.0))
        >>> features, virial, counts = reducer(np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]))
        >>> features.round(4).tolist()
        [[0.9998, 0.9844]]
    """

    def __init__(self, potential: Potential, *, box: np.ndarray, distance_edges: np.ndarray | None = None):
        if jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
            raise InputError(
                "sufficient statistics need 64-bit numbers: call jax.config.update('jax_enable_x64', True) first"
            )
        self._box = np.asarray(box, float)
        self._terms = terms_of(potential)
        edges = None if distance_edges is None else np.asarray(distance_edges, float)
        pairs = [t for t in self._terms if isinstance(t, PairPotential)]
        # One table serves a sum of pair terms, in the engine and here.
        self._tabulated = pairs if len(pairs) > 1 or any(t.tabulated for t in pairs) else []
        self._reach = max([t.cutoff for t in pairs] + ([float(edges[-1])] if edges is not None else [0.0]))
        self._check_reach(self._box)
        self._n_bins = 0
        if self._tabulated or edges is not None:
            farthest_edge = 0.0 if edges is None else float(edges[-1])
            cutoff = max([t.cutoff for t in self._tabulated], default=farthest_edge)
            self._width, longest = cutoff**2 / TABLE_BINS, max(cutoff, farthest_edge)
            self._n_bins = int(np.ceil(longest**2 / self._width * (1.0 - 1e-12)))
            self._matrices = reduction_matrices(self._tabulated, cutoff, self._n_bins, edges)
        self._compiled: set[tuple[int, ...]] = set()

    def __call__(
        self, positions: np.ndarray, *, boxes: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features, virial features and pair counts of frames.

        Args:
            positions: [frame site dim] [length], in float32 or float64: distances are computed in it.
            boxes: edge lengths of every frame [frame dim] [length]; default the reducer's box for all.

        Raises:
            InputError: a cutoff beyond half of one of the boxes.
        """
        positions = np.asarray(positions)
        if boxes is None:
            boxes = np.broadcast_to(self._box, (len(positions), len(self._box)))
        else:
            self._check_reach(np.min(boxes, axis=0, initial=np.inf))
        n_workers = min(os.cpu_count() or 1, MOST_THREADS) if jax.default_backend() == "cpu" else 1
        n_each = min(max(1, -(-len(positions) // n_workers)), CALL_SIZES[-1])
        chunks = [
            (positions[start : start + n_each], boxes[start : start + n_each])
            for start in range(0, max(len(positions), 1), n_each)
        ]
        kind = (n_each, *positions.shape[1:], positions.dtype.num)
        n_first = 0 if kind in self._compiled else 1  # compiles once, here, rather than in every thread
        parts = [self._reduce_chunk(*chunk) for chunk in chunks[:n_first]]
        self._compiled.add(kind)
        if len(chunks) - n_first == 1 or n_workers == 1:
            parts += [self._reduce_chunk(*chunk) for chunk in chunks[n_first:]]
        else:
            with concurrent.futures.ThreadPoolExecutor(n_workers) as pool:
                parts += pool.map(lambda chunk: self._reduce_chunk(*chunk), chunks[n_first:])
        features, virial, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
        return features, virial, counts

    def _reduce_chunk(
        self, positions: np.ndarray, boxes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n_frames = len(positions)
        # A few sizes, each compiled once: the histograms of the padding cost memory and time.
        size = next(size for size in CALL_SIZES if n_frames <= size)
        padded = np.zeros((size, *positions.shape[1:]), positions.dtype)
        edges = np.ones((size, boxes.shape[1]))
        padded[:n_frames], edges[:n_frames] = positions, boxes
        table = virial_table = pair_counts = np.zeros((n_frames, 0))
        if self._n_bins:
            histogram = squared_distance_histogram(
                jnp.asarray(padded),
                jnp.asarray(edges, padded.dtype),
                jnp.asarray(n_frames),
                width=self._width,
                n_bins=self._n_bins,
            )
            counts, fractions = (np.asarray(a)[:n_frames] for a in histogram)
            table, virial_table, pair_counts = self._matrices.apply(counts, fractions)
        features, virials, column = [np.zeros((n_frames, 0))], [np.zeros((n_frames, 0))], 0
        for term in self._terms:
            if any(term is other for other in self._tabulated):
                stop = column + term.coefficients().size
                features.append(table[:, column:stop])
                virials.append(virial_table[:, column:stop])
                column = stop
            else:
                exact = direct_features(
                    term, jnp.asarray(padded, float), jnp.asarray(edges), jnp.asarray(n_frames)
                )
                features.append(np.asarray(exact[0])[:n_frames])
                virials.append(np.asarray(exact[1])[:n_frames])
        return np.concatenate(features, 1), np.concatenate(virials, 1), pair_counts

    def _check_reach(self, box: np.ndarray) -> None:
        half = float(np.min(box)) / 2.0
        if self._reach > half * (1.0 + 1e-6):
            raise InputError(
                f"a cutoff or distance bin reaches to {self._reach:g}, beyond half of the shortest box edge,"
                f" {half:g}: the minimum image counts each pair once; shorten it or use a larger system"
            )


def reduce(
    blocks: Iterable[Frames], potential: Potential, *, distance_edges: np.ndarray | None = None
) -> SufficientStatistics:
    """Sufficient statistics of frames that arrive block by block, in constant memory.

    Args:
        blocks: blocks of frames (`Frames.blocks(size)` or a streamed reader's); the box may change.
        potential: the potential whose features are wanted.
        distance_edges: edges of distance bins for pair counts [length].

    Raises:
        InputError: no frames, or a cutoff or distance edge beyond half of a box.

    Example:
        >>> from bayescg.data import Frames, State, Topology, get_unit_system
        >>> from bayescg.physics import LennardJones
        >>> positions = np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 1.1]]])
        >>> topology = Topology(("A", "A"), np.ones(2))
        >>> frames = Frames(positions, np.full((1, 3), 5.0), topology, State(1.0), get_unit_system("lj"))
        >>> reduce(frames.blocks(100), LennardJones(1.0, 1.0, cutoff=2.0)).n_frames
        1
    """
    parts, reducer = [], None
    for frames in blocks:
        if reducer is None:
            reducer = FrameReducer(potential, box=frames.box[0], distance_edges=distance_edges)
        parts.append((*reducer(frames.positions, boxes=frames.box), frames.trajectory))
    if not parts:
        raise InputError("no frames to reduce: check start, stop and stride of the data")
    return SufficientStatistics(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class ReductionMatrices(NamedTuple):
    """Sparse matrices that turn the histogram into features, virial features and pair counts.

    Within bin k the tabulated function is b_k + (b_{k+1} − b_k) x with x = s/Δ − k the place in the bin, so
    its sum over the n_k pairs of the bin is n_k b_k + X_k (b_{k+1} − b_k) with X_k the sum of their places.
    The virial's function, −2 s du/ds, is −2 (k + x)(b_{k+1} − b_k).

    Attributes:
        of_counts: rows b_k, then k (b_{k+1} − b_k), then the shares of each distance bin [row bin].
        of_fractions: rows b_{k+1} − b_k [feature bin].
    """

    of_counts: scipy.sparse.csr_matrix
    of_fractions: scipy.sparse.csr_matrix

    def apply(self, counts: np.ndarray, fractions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features, virial features and pair counts of the histograms [frame bin]."""
        n_features = self.of_fractions.shape[0]
        first = (self.of_counts @ counts.T.astype(np.float64)).T
        second = (self.of_fractions @ fractions.T.astype(np.float64)).T
        features = first[:, :n_features] + second
        virial = -2.0 * (first[:, n_features : 2 * n_features] + second)
        return features, virial, first[:, 2 * n_features :]


def reduction_matrices(
    terms: list[PairPotential], cutoff: float, n_bins: int, edges: np.ndarray | None
) -> ReductionMatrices:
    """The matrices of tabulated terms with one table up to the longest cutoff, and of the distance bins."""
    width = cutoff**2 / TABLE_BINS
    nodes = width * np.arange(n_bins + 1)
    nodes[: TABLE_BINS + 1] = table_nodes(cutoff)[: n_bins + 1]
    empty = scipy.sparse.csr_matrix((n_bins, 0))
    values, moments, steps = [empty], [empty], [empty]
    place = scipy.sparse.diags(np.arange(n_bins, dtype=float))
    for term in terms:
        basis = np.asarray(term.pair_basis(jnp.asarray(nodes)))
        values.append(scipy.sparse.csr_matrix(basis[:-1]))
        steps.append(scipy.sparse.csr_matrix(np.diff(basis, axis=0)))
        moments.append(place @ steps[-1])
    rebin = empty if edges is None else rebinning_matrix(width, n_bins, edges)
    return ReductionMatrices(
        scipy.sparse.csr_matrix(scipy.sparse.hstack([*values, *moments, rebin]).T),
        scipy.sparse.csr_matrix(scipy.sparse.hstack(steps).T),
    )


def table_nodes(cutoff: float) -> np.ndarray:
    """Squared distances of the table's nodes [length²]; the innermost are clipped away from 0."""
    s = np.linspace(0.0, cutoff**2, TABLE_BINS + 1)
    return np.maximum(s, (0.1 * cutoff) ** 2)


def rebinning_matrix(width: float, n_bins: int, edges: np.ndarray) -> scipy.sparse.csr_matrix:
    """Share of each s-bin that falls into each distance bin (a bin cut by an edge is split evenly in s)."""
    lower = width * np.arange(n_bins)[:, None]
    squared = np.asarray(edges) ** 2
    overlap = np.minimum(lower + width, squared[1:]) - np.maximum(lower, squared[:-1])
    return scipy.sparse.csr_matrix(np.clip(overlap / width, 0.0, 1.0))


def map_frames(
    function: Callable[..., PyTree[Array]], n_frames: Int[Array, ""], *arrays: Float[Array, "frame ..."]
) -> PyTree[Array]:
    """The function of the first n_frames frames, one after the other; zeros for the padding."""
    shapes = jax.eval_shape(function, *(a[0] for a in arrays))
    start = jax.tree.map(lambda leaf: jnp.zeros((len(arrays[0]), *leaf.shape), leaf.dtype), shapes)

    def one(frame: Array, results: PyTree[Array]) -> PyTree[Array]:
        new = function(*(jax.lax.dynamic_index_in_dim(a, frame, keepdims=False) for a in arrays))
        return jax.tree.map(lambda all_, mine: all_.at[frame].set(mine), results, new)

    return jax.lax.fori_loop(0, n_frames, one, start)


@partial(jax.jit, static_argnames="n_bins")
def squared_distance_histogram(
    positions: Float[Array, "frame site dim"],
    boxes: Float[Array, "frame dim"],
    n_frames: Int[Array, ""],
    *,
    width: float,
    n_bins: int,
) -> tuple[Float[Array, "frame bin"], Float[Array, "frame bin"]]:
    """Number of pairs in bins of s = r² of one width, and the sum of their places within the bin, 0 to 1.

    Pairs beyond the last bin are dropped. The places keep more digits than sums of s would in float32.
    """
    n_sites = positions.shape[1]
    rows = jnp.swapaxes(positions, 1, 2)

    def one(row: Float[Array, "dim site"], box: Float[Array, " dim"]) -> tuple[Array, Array]:
        doubled = jnp.concatenate([row, row], axis=1)
        edge = jnp.where(jnp.isinf(box), 0.0, box)[:, None]
        inverse = jnp.where(jnp.isinf(box), 0.0, 1.0 / box)[:, None]

        def to_partner(shift: Array) -> Float[Array, " site"]:
            d = jax.lax.dynamic_slice_in_dim(doubled, shift, n_sites, axis=1) - row
            d = d - edge * jnp.round(d * inverse)
            return jnp.sum(d * d, axis=0)

        s = jax.vmap(to_partner)(jnp.arange(1, (n_sites - 1) // 2 + 1)).reshape(-1)
        if n_sites % 2 == 0:  # the farthest partners meet twice in a cycle of even length
            s = jnp.concatenate([s, to_partner(jnp.asarray(n_sites // 2))[: n_sites // 2]])
        place = jnp.minimum(s * (1.0 / width), n_bins)
        bin_ = place.astype(jnp.int32)
        counts = jnp.zeros(n_bins + 1, s.dtype).at[bin_].add(1.0)
        fractions = jnp.zeros(n_bins + 1, s.dtype).at[bin_].add(place - bin_.astype(s.dtype))
        return counts[:-1], fractions[:-1]

    return map_frames(one, n_frames, rows, boxes)


@eqx.filter_jit
def direct_features(
    term: Potential,
    positions: Float[Array, "frame site dim"],
    boxes: Float[Array, "frame dim"],
    n_frames: Int[Array, ""],
) -> tuple[Float[Array, "frame feature"], Float[Array, "frame feature"]]:
    """Features and virial features: sums over pairs, or for other terms the derivative by the scale of the system."""

    def of_pairs(frame: Float[Array, "site dim"], box: Float[Array, " dim"]) -> tuple[Array, Array]:
        r2 = pair_distances_squared(frame, box)
        assert isinstance(term, PairPotential)  # chosen below
        basis, slope = jax.jvp(term.pair_basis, (r2,), (jnp.ones_like(r2),))
        return jnp.sum(basis, axis=0), jnp.sum(-2.0 * r2[:, None] * slope, axis=0)

    def by_scaling(frame: Float[Array, "site dim"], box: Float[Array, " dim"]) -> tuple[Array, Array]:
        growth = (frame, jnp.where(jnp.isinf(box), 0.0, box))
        features, change = jax.jvp(term.features, (frame, box), growth)
        return features, -change

    return map_frames(of_pairs if isinstance(term, PairPotential) else by_scaling, n_frames, positions, boxes)
