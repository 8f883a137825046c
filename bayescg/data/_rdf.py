"""Radial distribution functions with honest errors, streamed over frames of any number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayescg.data._frames import Frames, FrameSource
from bayescg.data._timeseries import statistical_inefficiency
from bayescg.data._topology import Floats, Integers, Topology
from bayescg.errors import InputError

if TYPE_CHECKING:
    import xarray

_MAX_ROWS = (
    20_000  # histograms kept for the error analysis; beyond, neighbouring frames of a trajectory share one
)
_TILE = 1 << 14  # distances computed at a time: they stay in the cache


def radial_distribution(
    source: FrameSource,
    *,
    bin_width: float | None = None,
    edges: Sequence[float] | Floats | None = None,
    r_max: float | None = None,
    pairs: tuple[str, str] | None = None,
    exclude: str = "molecule",
) -> xarray.Dataset:
    """g(r) of a source, with standard errors that know of the correlation between frames.

    g(r) = ⟨n(r)⟩ / (n_pairs v(r) / V), where n counts the pairs in a spherical shell of volume v, so that an ideal gas
    gives 1 whatever its number of sites. Excluded pairs count neither in n nor in n_pairs.

    Args:
        source: frames in a closed box.
        bin_width: of equal bins from 0 to `r_max` [length]; 1/200 of `r_max` if neither it nor `edges` is given.
        edges: bin edges [length], instead of `bin_width` and `r_max`.
        r_max: at most half of the shortest edge of the first frame's box, which is also what None means [length].
        pairs: two site types; all sites if None.
        exclude: which pairs don't count: ``molecule`` (both sites in one molecule), ``exclusions`` (those of the
            topology) or ``nothing``.

    Returns:
        Dataset with coordinate ``r`` (bin centres) and variables ``rdf``, ``rdf_se`` (standard error), ``counts``
        (mean pairs per frame), ``inefficiency`` (frames per independent one), all of dimension ``r``, and
        ``r_edges``. The standard error of a bin that no pair ever entered is what a single count would give.

    Raises:
        InputError: an open box, `r_max` beyond half the box, unknown types, or no pairs.

    Example:
        >>> from bayescg.data import radial_distribution, read_frames
        >>> rdf = radial_distribution(read_frames("water.nc"), bin_width=0.01)  # doctest: +SKIP
    """
    import xarray

    stream = source.blocks(64)
    first = next(stream, None)
    if first is None:
        raise InputError("radial distribution: the source yields no frames; check start, stop and stride")
    bins = _bins(first, bin_width, edges, r_max)
    chosen = _choose(source.topology, pairs, exclude)
    counts, ideal, lengths = _count(
        _chain(first, stream), chosen, bins, max(1, -(-source.n_frames // _MAX_ROWS))
    )
    per_row = counts / ideal
    g = statistical_inefficiency(per_row, lengths=lengths)
    n = len(per_row)
    spread = np.sqrt(per_row.var(0, ddof=1) * g / n) if n > 1 else np.full(len(bins) - 1, np.nan)
    error = np.where(counts.any(0), spread, 1.0 / ideal.sum(0))
    units = source.units
    dataset = xarray.Dataset(
        {
            "rdf": ("r", per_row.mean(0), {"long_name": "radial distribution function", "units": "1"}),
            "rdf_se": ("r", error, {"long_name": "standard error of rdf", "units": "1"}),
            "counts": ("r", counts.mean(0), {"long_name": "pairs per frame", "units": "1"}),
            "inefficiency": ("r", g, {"long_name": "statistical inefficiency of the bin", "units": "frame"}),
            "r_edges": ("edge", bins, {"long_name": "bin edges", "units": units.length}),
        },
        coords={"r": ("r", 0.5 * (bins[1:] + bins[:-1]), {"long_name": "distance", "units": units.length})},
        attrs={
            "pairs": "all" if pairs is None else "-".join(pairs),
            "exclude": exclude,
            "n_frames": source.n_frames,
            "n_trajectories": len(lengths),
        },
    )
    return dataset


def _chain(first: Frames, rest: Iterator[Frames]) -> Iterator[Frames]:
    yield first
    yield from rest


def _bins(
    frames: Frames, bin_width: float | None, edges: Sequence[float] | Floats | None, r_max: float | None
) -> Floats:
    half = 0.5 * float(frames.box[0].min())
    if not np.isfinite(frames.box).all():
        raise InputError(
            "radial distribution: the box is open; expected a closed one, since g(r) needs a density"
        )
    top = half if r_max is None else r_max
    if edges is not None:
        if bin_width is not None or r_max is not None:
            raise InputError(
                "radial distribution: edges given together with bin_width or r_max; give one of them"
            )
        bins: Floats = np.asarray(edges, np.float64)
        if bins.ndim != 1 or len(bins) < 2 or bins[0] < 0 or not (np.diff(bins) > 0).all():
            raise InputError("radial distribution: edges must be at least two rising numbers, none negative")
    else:
        width = top / 200 if bin_width is None else bin_width
        if not 0 < width <= top:
            raise InputError(
                f"radial distribution: bins of width {width:g} up to {top:g}; expected 0 < width <= r_max"
            )
        bins = np.arange(int(top / width + 1e-9) + 1) * np.float64(width)
    if bins[-1] > half * (1 + 1e-9):
        raise InputError(
            f"radial distribution: r_max {bins[-1]:g} {frames.units.length} is beyond half of the box ({half:g}); "
            "make it smaller"
        )
    return bins


class _Chosen(NamedTuple):
    """Sites of each kind, which pairs of them don't count, and how many do."""

    a: Integers
    b: Integers
    same: bool  # a and b are the same sites: count each pair once
    skipped: list[tuple[slice, np.ndarray]]  # rows of `a`, and flat places in their tile to leave out
    n_pairs: int


def _choose(topology: Topology, pairs: tuple[str, str] | None, exclude: str) -> _Chosen:
    if exclude not in ("molecule", "exclusions", "nothing"):
        raise InputError(
            f"radial distribution: exclude is {exclude!r}; expected molecule, exclusions or nothing"
        )
    types = np.array(topology.site_types)
    if pairs is None:
        a = b = np.arange(topology.n_sites)
    else:
        for name in pairs:
            if name not in topology.site_types:
                known = ", ".join(sorted(set(topology.site_types)))
                raise InputError(f"radial distribution: no sites of type {name!r}; types here are {known}")
        a, b = np.flatnonzero(types == pairs[0]), np.flatnonzero(types == pairs[1])
    same = pairs is None or pairs[0] == pairs[1]
    excluded: set[int] = set()
    if exclude == "exclusions":
        i, j = topology.exclusions.T if topology.exclusions.size else np.empty((2, 0), np.int64)
        excluded = set((i * topology.n_sites + j).tolist()) | set((j * topology.n_sites + i).tolist())
    forbidden = np.array(sorted(excluded), np.int64)
    rows = max(1, _TILE // max(1, len(b)))
    skipped, n_pairs = [], 0
    for start in range(0, len(a), rows):
        tile = slice(start, min(start + rows, len(a)))
        columns = b[start:] if same else b
        out = np.zeros((tile.stop - start, len(columns)), bool)
        if same:
            out |= columns[None, :] <= a[tile, None]
        if exclude == "molecule":
            out |= topology.molecules[columns][None, :] == topology.molecules[a[tile]][:, None]
        elif forbidden.size:
            out |= np.isin(a[tile, None] * topology.n_sites + columns[None, :], forbidden)
        n_pairs += out.size - int(out.sum())
        skipped.append((tile, np.flatnonzero(out)))
    if not n_pairs:
        raise InputError("radial distribution: no pairs are left; check the types and what is excluded")
    return _Chosen(a, b, same, skipped, n_pairs)


def _count(
    blocks: Iterator[Frames], chosen: _Chosen, bins: Floats, group: int
) -> tuple[Floats, Floats, list[int]]:
    """Histogram rows (each the mean of up to `group` frames), what an ideal gas would give, and rows per trajectory."""
    shell = 4.0 / 3.0 * np.pi * np.diff(bins**3)
    counts: list[Floats] = []
    density: list[float] = []
    weight: list[int] = []
    lengths: list[int] = []
    last = None
    for block in blocks:
        density_of = chosen.n_pairs / np.prod(block.box, axis=1)
        for frame in range(block.n_frames):
            label = int(block.trajectory[frame])
            if label != last:
                lengths.append(0)
            if label != last or weight[-1] == group:
                counts.append(np.zeros(len(shell)))
                density.append(0.0)
                weight.append(0)
                lengths[-1] += 1
            last = label
            counts[-1] += _histogram(block.positions[frame], block.box[frame], chosen, bins)
            density[-1] += float(density_of[frame])
            weight[-1] += 1
    scale = np.array(weight, np.float64)[:, None]
    return np.stack(counts) / scale, np.array(density)[:, None] / scale * shell, lengths


def _histogram(positions: Floats, box: Floats, chosen: _Chosen, bins: Floats) -> Floats:
    """Pairs in each bin, of one frame."""
    n_bins = len(bins) - 1
    width = (bins[-1] - bins[0]) / n_bins
    uniform = np.allclose(np.diff(bins), width, rtol=1e-9, atol=0.0)
    left, right = positions[chosen.a].T / box[:, None], positions[chosen.b].T / box[:, None]
    total = np.zeros(n_bins + 1, np.int64)
    for tile, skip in chosen.skipped:
        square: Floats | float = 0.0
        for axis, edge in enumerate(box):
            columns = right[axis, tile.start :] if chosen.same else right[axis]
            distance = np.subtract.outer(left[axis, tile], columns)
            distance -= np.rint(distance)
            distance *= distance
            distance *= edge * edge
            square = distance if axis == 0 else square + distance
        place = np.sqrt(np.ravel(square))
        if uniform:
            place -= bins[0]
            place *= 1.0 / width
            np.minimum(place, n_bins, out=place)
            if bins[0] > 0:
                place[place < 0] = n_bins
            number = place.astype(np.intp)
        else:
            number = np.searchsorted(bins, place, side="right") - 1
            number[(number < 0) | (number >= n_bins)] = n_bins
        number[skip] = n_bins
        total += np.bincount(number, minlength=n_bins + 1)
    return total[:-1].astype(np.float64)
