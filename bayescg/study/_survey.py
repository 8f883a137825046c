"""One pass over the frames: everything that a study keeps of them, in memory that does not grow with their number.

What grows is what the likelihood needs of each frame, two numbers per feature, and its time and pressure.
"""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from bayescg.data import Frames
from bayescg.data._frames import FramesDigest
from bayescg.errors import InputError
from bayescg.physics import FrameReducer, PairPotential, Potential, SufficientStatistics
from bayescg.physics._potential import terms_of
from bayescg.study._sources import StudyFrames

BLOCK = 64
"""Frames read and reduced at a time."""
CONFIGURATIONS = 200
"""Configurations kept as starts of simulations, at least, where there are as many frames."""


class Survey(NamedTuple):
    """What is kept of the frames.

    Attributes:
        source: the frames themselves, to be streamed again.
        box: edge lengths, the same in every frame [dim] [length].
        dim: number of spatial dimensions.
        statistics: the sufficient statistics of every frame; pair counts only as a sum over frames.
        distance_edges: edges of the bins of g(r) [length]; None for what has no g(r).
        pair_counts: number of pairs in each distance bin, summed over frames [bin].
        force_sd: standard deviation of the force components [force]; None without forces.
        time: of every frame [frame] [time]; None where unknown.
        pressure: of every frame [frame] [pressure]; None where unknown.
        configurations: evenly spaced configurations [configuration site dim] [length].
        few: evenly spaced frames of a single trajectory, for force or score matching; None for several trajectories.
        checksum: of everything that the frames hold.
        reduce_seconds: time spent on anything but reading.
    """

    source: StudyFrames
    box: np.ndarray
    dim: int
    statistics: SufficientStatistics
    distance_edges: np.ndarray | None
    pair_counts: np.ndarray
    force_sd: float | None
    time: np.ndarray | None
    pressure: np.ndarray | None
    configurations: np.ndarray
    few: Frames | None
    checksum: str
    reduce_seconds: float

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.statistics.n_frames

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return self.source.topology.n_sites

    def matching_blocks(self, size: int) -> Iterator[Frames]:
        """Blocks of the frames that force or score matching uses."""
        return (self.few if self.few is not None else self.source).blocks(size)


def survey_frames(
    source: StudyFrames,
    potential: Potential,
    *,
    start_frames: int,
    rdf_bin: float,
    inspect: Callable[[Frames], None],
) -> Survey:
    """Reads all frames once.

    Args:
        source: the frames.
        potential: whose features are wanted.
        start_frames: about how many frames force or score matching uses.
        rdf_bin: width of the bins of g(r) [length].
        inspect: called with every block before it is used; raises on what cannot be used.

    Raises:
        InputError: a block that cannot be read or used.
    """
    n_frames = source.n_frames
    every, step = max(1, n_frames // CONFIGURATIONS), max(1, n_frames // start_frames)
    digest, forces, kept = FramesDigest(source), _Spread(), _Kept()
    configurations: list[np.ndarray] = []
    rows: dict[str, np.ndarray] = {}
    pair_counts = np.zeros(0)
    reducer: FrameReducer | None = None
    edges: np.ndarray | None = None
    box, dim, done, seconds = np.zeros(0), 0, 0, 0.0
    for block in source.blocks(BLOCK):
        begin = time.perf_counter()
        inspect(block)
        if reducer is None:
            box, dim, edges = block.box[0].copy(), block.dim, _bin_edges(block, potential, rdf_bin)
            reducer = FrameReducer(potential, box=box, distance_edges=edges)
        features, virial, counts = reducer(block.positions, boxes=block.box)
        pair_counts = counts.sum(axis=0) + (pair_counts if pair_counts.size else 0.0)
        new = {"features": features, "virial": virial, "trajectory": block.trajectory, "time": block.time}
        new["pressure"] = block.pressure
        for name, values in new.items():
            if values is not None:
                rows.setdefault(name, np.empty((n_frames, *values.shape[1:]), values.dtype))
                rows[name][done : done + block.n_frames] = values
        digest.add(block)
        if block.forces is not None:
            forces.add(block.forces)
        configurations.append(block.positions[-done % every :: every].copy())
        kept.add(block, first=-done % step, step=step)
        done += block.n_frames
        seconds += time.perf_counter() - begin
    if done != n_frames:
        raise InputError(
            f"{source.path}: key '{source.key}': {done} frames were read, {n_frames} announced; copy again"
        )
    nothing = np.zeros((n_frames, 0))
    return Survey(
        source, box, dim,
        SufficientStatistics(rows["features"], rows["virial"], nothing, rows["trajectory"]),
        edges, pair_counts, forces.sd(), rows.get("time"), rows.get("pressure"),
        np.concatenate(configurations),
        kept.frames(source) if rows["trajectory"][-1] == 0 else None,
        digest.checksum(), seconds,
    )  # fmt: skip


def _bin_edges(block: Frames, potential: Potential, width: float) -> np.ndarray | None:
    """Edges of the bins of g(r), up to half the box or, in an open one, up to the longest cutoff."""
    terms = terms_of(potential)
    cutoffs = [term.cutoff for term in terms if isinstance(term, PairPotential)]
    if block.dim != 3 or len(cutoffs) < len(terms):
        return None
    reach = float(block.box[0].min()) / 2.0 if np.isfinite(block.box).all() else max(cutoffs)
    return width * np.arange(int(np.floor(reach / width + 1e-9)) + 1)


class _Spread:
    """The standard deviation of numbers that arrive in pieces."""

    def __init__(self) -> None:
        self._n, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, values: np.ndarray) -> None:
        self._n += values.size
        self._sum += float(values.sum())
        self._squares += float(np.einsum("...,...", values, values).sum())

    def sd(self) -> float | None:
        if not self._n:
            return None
        mean = self._sum / self._n
        return float(np.sqrt(max(self._squares / self._n - mean**2, 0.0)))


class _Kept:
    """Some frames of blocks that pass by, copied so that the blocks themselves can go."""

    def __init__(self) -> None:
        self._positions: list[np.ndarray] = []
        self._box: list[np.ndarray] = []
        self._forces: list[np.ndarray] = []

    def add(self, block: Frames, *, first: int, step: int) -> None:
        if block.trajectory[0] > 0:
            return  # of several trajectories all frames are used
        self._positions.append(block.positions[first::step].copy())
        self._box.append(block.box[first::step].copy())
        if block.forces is not None:
            self._forces.append(block.forces[first::step].copy())

    def frames(self, source: StudyFrames) -> Frames:
        return Frames(
            np.concatenate(self._positions),
            np.concatenate(self._box),
            source.topology,
            source.state,
            source.units,
            forces=np.concatenate(self._forces) if self._forces else None,
        )
