"""What was seen: positions of sites, frame by frame, with their system and the state they were taken at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from bayescg.data._topology import Floats, Integers, State, Topology
from bayescg.data._units import UnitSystem
from bayescg.errors import InputError

_PER_FRAME = ("forces", "energy", "virial", "pressure", "time")


def _no_integers() -> Integers:
    return np.empty(0, np.int64)


class FrameSource(Protocol):
    """Anything that yields frames block by block in constant memory. `Frames` is one; streamed readers are others."""

    @property
    def topology(self) -> Topology: ...
    @property
    def state(self) -> State: ...
    @property
    def units(self) -> UnitSystem: ...
    @property
    def n_frames(self) -> int: ...
    def blocks(self, size: int) -> Iterator[Frames]: ...


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of one system at one state, in the units of one `UnitSystem`.

    Attributes:
        positions: [length]; need not be wrapped into the box.
        box: edge lengths of the orthorhombic box [length]; inf marks an open direction. One row serves all frames.
        topology: the sites.
        state: temperature and, where it is held, pressure.
        units: the unit system of every array here.
        forces: [force].
        energy: potential energy [energy], without kinetic energy.
        virial: sum over sites of r_i ⊗ F_i [energy], so that pressure = (2 kinetic + trace of virial) / (3 volume).
        pressure: instantaneous pressure [pressure].
        time: [time].
        trajectory: which independent trajectory a frame belongs to; frames of one trajectory are contiguous and in
            order of time.

    Raises:
        InputError: arrays whose shapes disagree, a position or force that is not finite, a box edge that is not
            positive.

    Example:
        >>> import numpy as np
        >>> from bayescg.data import Frames, State, Topology, get_unit_system
        >>> topology = Topology(("A", "A"), np.array([1.0, 1.0]))
        >>> frames = Frames(np.zeros((5, 2, 3)), np.full(3, 4.0), topology, State(1.0), get_unit_system("lj"))
        >>> [block.n_frames for block in frames.blocks(2)]
        [2, 2, 1]
    """

    positions: Floats  # [frame site dim]
    box: Floats  # [frame dim]
    topology: Topology
    state: State
    units: UnitSystem
    forces: Floats | None = None  # [frame site dim]
    energy: Floats | None = None  # [frame]
    virial: Floats | None = None  # [frame dim dim]
    pressure: Floats | None = None  # [frame]
    time: Floats | None = None  # [frame]
    trajectory: Integers = field(default_factory=_no_integers)  # [frame]

    def __post_init__(self) -> None:
        put = object.__setattr__
        positions = np.asarray(self.positions, np.float64)
        if positions.ndim != 3:
            raise InputError(f"frames: positions have shape {positions.shape}; expected [frame site dim]")
        n_frames, n_sites, dim = positions.shape
        if n_sites != self.topology.n_sites:
            raise InputError(
                f"frames: positions of {n_sites} sites, but the topology has {self.topology.n_sites}"
            )
        check_finite(positions, "position", where="frames")
        put(self, "positions", positions)
        put(self, "box", _box(np.asarray(self.box, np.float64), n_frames, dim))
        shapes = {
            "forces": (n_frames, n_sites, dim),
            "energy": (n_frames,),
            "virial": (n_frames, dim, dim),
            "pressure": (n_frames,),
            "time": (n_frames,),
        }
        for name, values in zip(_PER_FRAME, self._optional(), strict=True):
            if values is None:
                continue
            array = np.asarray(values, np.float64)
            if array.shape != shapes[name]:
                raise InputError(f"frames: {name} has shape {array.shape}; expected {shapes[name]}")
            if name == "forces":
                check_finite(array, "force", where="frames")
            elif not np.isfinite(array).all():
                frame = int(np.argwhere(~np.isfinite(array))[0][0])
                raise InputError(
                    f"frames: {name} of frame {frame} is not a number; drop the frame or the {name}"
                )
            put(self, name, array)
        trajectory = np.asarray(self.trajectory, np.int64)
        if trajectory.size == 0:
            trajectory = np.zeros(n_frames, np.int64)
        if trajectory.shape != (n_frames,):
            raise InputError(f"frames: trajectory has shape {trajectory.shape}; expected ({n_frames},)")
        if np.unique(trajectory).size != len(_run_lengths(trajectory)):
            raise InputError(
                "frames: a trajectory's frames are not contiguous; sort the frames by trajectory"
            )
        put(self, "trajectory", trajectory)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(self.positions.shape[0])

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return int(self.positions.shape[1])

    @property
    def dim(self) -> int:
        """Number of spatial dimensions."""
        return int(self.positions.shape[2])

    @property
    def quantities(self) -> frozenset[str]:
        """Which of forces, energy, virial, pressure and time the frames carry."""
        return frozenset(name for name, a in zip(_PER_FRAME, self._optional(), strict=True) if a is not None)

    def __len__(self) -> int:
        return self.n_frames

    def __getitem__(self, index: slice) -> Frames:
        """The frames of a slice; trajectories keep their numbers."""
        if not isinstance(index, slice):
            raise TypeError(
                f"frames are sliced, e.g. frames[:100]; got an index of type {type(index).__name__}"
            )
        forces, energy, virial, pressure, time = (a if a is None else a[index] for a in self._optional())
        return Frames(
            self.positions[index],
            self.box[index],
            self.topology,
            self.state,
            self.units,
            forces=forces,
            energy=energy,
            virial=virial,
            pressure=pressure,
            time=time,
            trajectory=self.trajectory[index],
        )

    def blocks(self, size: int) -> Iterator[Frames]:
        """Consecutive blocks of at most `size` frames."""
        for start in range(0, self.n_frames, size):
            yield self[start : start + size]

    def trajectory_lengths(self) -> tuple[int, ...]:
        """Number of frames of each independent trajectory, in order."""
        return _run_lengths(self.trajectory)

    @staticmethod
    def concatenate(parts: Sequence[Frames]) -> Frames:
        """Joins frames of one system; each part's trajectories stay separate trajectories.

        Quantities that a part lacks (forces, energy, ...) are dropped.

        Raises:
            InputError: nothing to join, or parts of different systems, states or units.
        """
        if not parts:
            raise InputError("concatenate: no frames given; expected at least one part")
        first = parts[0]
        for number, part in enumerate(parts):
            same = part.topology.site_types == first.topology.site_types and np.array_equal(
                part.topology.masses, first.topology.masses
            )
            if not same or part.state != first.state or part.units != first.units or part.dim != first.dim:
                raise InputError(
                    f"concatenate: part {number} differs from part 0 in sites, state or units; "
                    "keep different systems and states apart"
                )
        labels, offset = [], 0
        for part in parts:
            runs = part.trajectory_lengths()
            labels.append(offset + np.repeat(np.arange(len(runs)), runs))
            offset += len(runs)

        def join(arrays: list[Floats | None]) -> Floats | None:
            known = [a for a in arrays if a is not None]
            return np.concatenate(known) if len(known) == len(arrays) else None

        return Frames(
            np.concatenate([p.positions for p in parts]),
            np.concatenate([p.box for p in parts]),
            first.topology,
            first.state,
            first.units,
            forces=join([p.forces for p in parts]),
            energy=join([p.energy for p in parts]),
            virial=join([p.virial for p in parts]),
            pressure=join([p.pressure for p in parts]),
            time=join([p.time for p in parts]),
            trajectory=np.concatenate(labels),
        )

    def checksum(self) -> str:
        """SHA-256 of everything these frames hold, the same on every machine and for every way of storing them."""
        return frames_checksum(self)

    def _optional(self) -> tuple[Floats | None, ...]:
        return (self.forces, self.energy, self.virial, self.pressure, self.time)


def _run_lengths(labels: Integers) -> tuple[int, ...]:
    if labels.size == 0:
        return ()
    ends = np.flatnonzero(np.diff(labels)) + 1
    return tuple(int(n) for n in np.diff(np.concatenate([[0], ends, [labels.size]])))


def check_finite(array: Floats, what: str, *, where: str, rows: range | None = None) -> None:
    """Raises on a vector [frame site dim] that is not finite.

    Args:
        array: positions or forces.
        what: what one of the vectors is.
        where: the file or object that is to blame.
        rows: the numbers that the frames have there, if not 0, 1, 2, ...

    Raises:
        InputError: names the first such frame and site.
    """
    if np.isfinite(array).all():
        return
    frame, site, _ = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
    raise InputError(
        f"{where}: the {what} of site {site} in frame {frame if rows is None else rows[frame]} is "
        f"{array[frame, site].tolist()}; expected finite numbers, so leave the frame out (start, stop, stride) or find "
        "where the run broke"
    )


def _box(box: Floats, n_frames: int, dim: int) -> Floats:
    if box.shape == (dim,):
        box = np.broadcast_to(box, (n_frames, dim))
    if box.shape != (n_frames, dim):
        raise InputError(f"frames: box has shape {box.shape}; expected [frame dim] = ({n_frames}, {dim})")
    if not (box > 0).all():  # NaN fails too
        frame = int(np.argwhere(~(box > 0))[0][0])
        raise InputError(
            f"frames: the box of frame {frame} is {box[frame].tolist()}; "
            "expected positive edge lengths (inf for an open direction)"
        )
    return box


def read_all(source: FrameSource, *, block: int = 256) -> Frames:
    """All frames of a source in memory, trajectories as the source numbers them.

    Raises:
        InputError: the source has no frames.
    """
    parts = list(source.blocks(block))
    if not parts:
        raise InputError("frame source: it yields no frames; check start, stop and stride")
    labels = np.concatenate([p.trajectory for p in parts])
    return replace(Frames.concatenate(parts), trajectory=labels)


class FramesDigest:
    """The checksum of a source whose blocks are handed in one after the other.

    Args:
        source: whose topology, state and units go into the checksum.
    """

    def __init__(self, source: FrameSource):
        self._source = source
        self._hashers = {name: hashlib.sha256() for name in ("positions", "box", *_PER_FRAME, "trajectory")}

    def add(self, part: Frames) -> None:
        """Takes in the next block."""
        arrays = (part.positions, part.box, *part._optional(), part.trajectory)
        for hasher, array in zip(self._hashers.values(), arrays, strict=True):
            if array is not None:
                hasher.update(
                    np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
                )

    def checksum(self) -> str:
        """SHA-256 of what was taken in."""
        topology, state = self._source.topology, self._source.state
        total = hashlib.sha256()
        total.update(f"{self._source.units.name} {state.temperature!r} {state.pressure!r}".encode())
        total.update(repr(sorted((state.composition or {}).items())).encode())
        total.update("\0".join(topology.site_types).encode())
        for floats in (topology.masses, topology.charges):
            total.update(floats.astype("<f8").tobytes())
        for integers in (
            topology.molecules,
            topology.bonds,
            topology.angles,
            topology.dihedrals,
            topology.exclusions,
        ):
            total.update(integers.astype("<i8").tobytes())
        for hasher in self._hashers.values():
            total.update(hasher.digest())
        return total.hexdigest()


def frames_checksum(source: FrameSource, *, block: int = 256) -> str:
    """SHA-256 of a source, streamed: the same for a file and for the frames read from it."""
    digest = FramesDigest(source)
    for part in source.blocks(block):
        digest.add(part)
    return digest.checksum()
