"""From frames to sufficient statistics: features, virial features and pair counts, block by block.

A tabulated pair term is reduced through a fine histogram of squared distances: with the number of pairs
and the sum of s in each bin, every function that is piecewise linear in s on the same bins is summed
exactly, and that piecewise-linear function is the one the engine samples. Other terms are summed directly.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float

from bayescg.physics._pair import PairPotential
from bayescg.physics._potential import Potential, terms_of
from bayescg.physics._space import pair_distances_squared

TABLE_BINS = 16_384
"""Bins of the pair-energy table, uniform in r² up to the squared cutoff."""


class SufficientStatistics(NamedTuple):
    """What the likelihood needs to know of frames.

    Attributes:
        features: φ of each frame [frame feature] [unit of the feature].
        virial: feature-wise Σ f·r, so that W = −∂U/∂ln L = η · virial [frame feature].
        pair_counts: number of pairs in each distance bin [frame bin]; no columns when not asked for.
        trajectory: index of the independent trajectory of each frame [frame].
    """

    features: np.ndarray
    virial: np.ndarray
    pair_counts: np.ndarray
    trajectory: np.ndarray

    @property
    def n_frames(self) -> int:
        return len(self.features)

    def trajectory_lengths(self) -> tuple[int, ...]:
        """Number of frames of each trajectory, in order."""
        _, counts = np.unique(self.trajectory, return_counts=True)
        return tuple(int(c) for c in counts)


class FrameReducer:
    """Reduces positions in one box to sufficient statistics of one potential's features.

    Args:
        potential: any potential with the wanted features; its parameter values do not matter.
        box: edge lengths [length]; `inf` where open.
        distance_edges: edges of the distance bins for pair counts [length], or None.
    """

    def __init__(self, potential: Potential, *, box: np.ndarray, distance_edges: np.ndarray | None = None):
        self._potential = potential
        self._box = np.asarray(box, float)
        self._edges = distance_edges
        self._terms = terms_of(potential)
        pairs = [t for t in self._terms if isinstance(t, PairPotential)]
        # One table serves a sum of pair terms, in the engine and here.
        tabulated = pairs if len(pairs) > 1 or any(t.tabulated for t in pairs) else []
        reach = [t.cutoff for t in tabulated] + ([float(distance_edges[-1])] if distance_edges is not None else [])
        self._tables: dict[int, tuple[scipy.sparse.csr_matrix, ...]] = {}
        if reach:
            width = min([t.cutoff for t in tabulated] or reach) ** 2 / TABLE_BINS
            self._width, self._n_bins = width, int(np.ceil(max(reach) ** 2 / width * (1.0 - 1e-12)))
            for index, term in enumerate(self._terms):
                if isinstance(term, PairPotential) and tabulated:
                    self._tables[index] = basis_matrices(term, width, self._n_bins)
            if distance_edges is not None:
                self._rebin = rebinning_matrix(width, self._n_bins, np.asarray(distance_edges))

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features, virial features and pair counts of positions [frame site dim]."""
        features, virials = [], []
        counts = sums = None
        if self._tables or self._edges is not None:
            counts, sums = (
                np.asarray(a, np.float64)
                for a in squared_distance_histogram(
                    jnp.asarray(positions), jnp.asarray(self._box, positions.dtype), self._width, self._n_bins
                )
            )
        for index, term in enumerate(self._terms):
            if index in self._tables:
                from_counts, from_sums, virial_sums = self._tables[index]
                features.append(counts @ from_counts + sums @ from_sums)
                virials.append(sums @ virial_sums)
            else:
                phi, w = direct_features(term, jnp.asarray(positions, jnp.float64), jnp.asarray(self._box))
                features.append(np.asarray(phi))
                virials.append(np.asarray(w))
        binned = counts @ self._rebin if self._edges is not None else np.zeros((len(positions), 0))
        return np.concatenate(features, 1), np.concatenate(virials, 1), binned


def reduce(
    blocks: Iterable, potential: Potential, *, distance_edges: np.ndarray | None = None
) -> SufficientStatistics:
    """Sufficient statistics of frames that arrive block by block, in constant memory.

    Args:
        blocks: blocks of frames (`Frames.blocks(size)` or a streamed reader's).
        potential: the potential whose features are wanted.
        distance_edges: edges of distance bins for pair counts [length].
    """
    parts, reducer, box = [], None, None
    for frames in blocks:
        boxes, starts = np.unique(frames.box, axis=0, return_inverse=True)
        collected: list[tuple[np.ndarray, ...]] = [()] * frames.n_frames
        for which, edge in enumerate(boxes):
            if reducer is None or not np.array_equal(edge, box):
                reducer, box = FrameReducer(potential, box=edge, distance_edges=distance_edges), edge
            members = np.flatnonzero(starts.reshape(-1) == which)
            for frame, *values in zip(members, *reducer(frames.positions[members]), strict=True):
                collected[frame] = tuple(values)
        trajectory = frames.trajectory if frames.trajectory is not None else np.zeros(frames.n_frames, int)
        parts.append((*(np.asarray(column) for column in zip(*collected, strict=True)), trajectory))
    return SufficientStatistics(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@partial(jax.jit, static_argnums=(3,))
def squared_distance_histogram(
    positions: Float[Array, "frame site dim"], box: Float[Array, " dim"], width: float, n_bins: int
) -> tuple[Float[Array, "frame bin"], Float[Array, "frame bin"]]:
    """Number of pairs and sum of s = r² in bins of s of one width; pairs beyond the last bin are dropped."""
    n_sites = positions.shape[1]
    rows = jnp.swapaxes(positions, 1, 2)
    doubled = jnp.concatenate([rows, rows], axis=2)
    edge = box[:, None]

    def one(frame):
        doubled, row = frame

        def shifted(shift):
            partner = jax.lax.dynamic_slice_in_dim(doubled, shift, n_sites, axis=1)
            d = partner - row
            d = d - jnp.where(jnp.isinf(edge), 0.0, edge) * jnp.round(d * jnp.where(jnp.isinf(edge), 0.0, 1 / edge))
            return jnp.sum(d * d, axis=0)

        half = (n_sites - 1) // 2
        s = jax.vmap(shifted)(jnp.arange(1, half + 1)).reshape(-1)
        if n_sites % 2 == 0:
            s = jnp.concatenate([s, shifted(n_sites // 2)[: n_sites // 2]])
        bin_ = jnp.minimum((s * (1.0 / width)).astype(jnp.int32), n_bins)
        counts = jnp.zeros(n_bins + 1, s.dtype).at[bin_].add(1.0)
        sums = jnp.zeros(n_bins + 1, s.dtype).at[bin_].add(s)
        return counts[:-1], sums[:-1]

    return jax.lax.map(one, (doubled, rows))


@eqx.filter_jit
def direct_features(
    term: Potential, positions: Float[Array, "frame site dim"], box: Float[Array, " dim"]
) -> tuple[Float[Array, "frame feature"], Float[Array, "frame feature"]]:
    """Features and virial features by summing over pairs, or by scaling the coordinates for other terms."""
    if isinstance(term, PairPotential):

        def one(frame):
            r2 = pair_distances_squared(frame, box)
            basis, slope = jax.jvp(term.pair_basis, (r2,), (jnp.ones_like(r2),))
            return jnp.sum(basis, axis=0), jnp.sum(-2.0 * r2[:, None] * slope, axis=0)

    else:

        def one(frame):
            return term.features(frame, box), -jax.jvp(lambda x: term.features(x, box), (frame,), (frame,))[1]

    return jax.lax.map(one, positions)


def table_nodes(cutoff: float) -> np.ndarray:
    """Squared distances of the table's nodes [length²]; the innermost are clipped away from 0."""
    s = np.linspace(0.0, cutoff**2, TABLE_BINS + 1)
    return np.maximum(s, (0.1 * cutoff) ** 2)


def basis_matrices(term: PairPotential, width: float, n_bins: int) -> tuple[scipy.sparse.csr_matrix, ...]:
    """Sparse matrices that turn bin counts and bin sums of s into features and virial features.

    Within bin k the tabulated function is b_k + (b_{k+1} − b_k)(s − s_k)/Δ, so its sum over the pairs of
    the bin is n_k (b_k − k (b_{k+1} − b_k)) + S_k (b_{k+1} − b_k)/Δ.
    """
    nodes = np.maximum(width * np.arange(n_bins + 1), (0.1 * term.cutoff) ** 2)
    basis = np.asarray(term.pair_basis(jnp.asarray(nodes)))
    step = np.diff(basis, axis=0)
    index = np.arange(n_bins)[:, None]
    matrices = (basis[:-1] - index * step, step / width, -2.0 * step / width)
    return tuple(scipy.sparse.csr_matrix(m) for m in matrices)


def rebinning_matrix(width: float, n_bins: int, edges: np.ndarray) -> scipy.sparse.csr_matrix:
    """Share of each s-bin that falls into each distance bin (a bin cut by an edge is split evenly in s)."""
    lower = width * np.arange(n_bins)[:, None]
    squared = np.asarray(edges) ** 2
    overlap = np.minimum(lower + width, squared[1:]) - np.maximum(lower, squared[:-1])
    return scipy.sparse.csr_matrix(np.clip(overlap / width, 0.0, 1.0))


