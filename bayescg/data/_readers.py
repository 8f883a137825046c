"""Trajectories of any length, mapped to beads while they are read: memory constant, trajectories kept apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bayescg.data import _mdanalysis
from bayescg.data._bead_map import BeadMap, resolve
from bayescg.data._frames import Frames, check_finite
from bayescg.data._lammps_dump import LammpsDump
from bayescg.data._mapping import Mapping
from bayescg.data._mdanalysis import MdTrajectory
from bayescg.data._raw_frame import RawFrame, RawTrajectory
from bayescg.data._topology import Floats, State, Topology
from bayescg.data._units import UnitSystem, unit_factor
from bayescg.errors import InputError

_DUMP_SUFFIXES = (".dump", ".lammpstrj", ".lammpsdump")


@dataclass(frozen=True)
class _File:
    """One trajectory file, which of its frames are used, and its units as factors into the study's."""

    path: Path
    raw: RawTrajectory
    rows: range
    length: float
    force: float
    time: float


@dataclass(frozen=True, eq=False)
class MappedTrajectory:
    """A `FrameSource`: trajectory files, mapped to beads block by block.

    Attributes:
        topology: the beads.
        state: the state given.
        units: the study's system.
        bead_map: which atoms make which bead.
        files: the trajectory files, each one independent trajectory.
        box: overrides the files' [length]; None if they have their own.
        has_forces: the mapping defines forces, and the first frame of every file has them; then all must.
        has_time: likewise.
    """

    topology: Topology
    state: State
    units: UnitSystem
    bead_map: BeadMap
    files: tuple[_File, ...]
    box: Floats | None
    has_forces: bool
    has_time: bool

    @property
    def n_frames(self) -> int:
        """Number of frames of all trajectories, after start, stop and stride."""
        return sum(self.trajectory_lengths())

    @property
    def quantities(self) -> frozenset[str]:
        """Which of forces and time the frames carry."""
        return frozenset(
            name for name, known in (("forces", self.has_forces), ("time", self.has_time)) if known
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the mapping, each a sentence."""
        return self.bead_map.warnings

    def trajectory_lengths(self) -> tuple[int, ...]:
        """Number of frames of each trajectory."""
        return tuple(len(file.rows) for file in self.files)

    def blocks(self, size: int) -> Iterator[Frames]:
        """Consecutive blocks of at most `size` frames, each within one trajectory."""
        for number, file in enumerate(self.files):
            batch: list[RawFrame] = []
            first = 0
            for raw in file.raw.frames(file.rows):
                batch.append(raw)
                if len(batch) == size:
                    yield self._map(number, file, first, batch)
                    first, batch = first + len(batch), []
            if batch:
                yield self._map(number, file, first, batch)

    def _map(self, number: int, file: _File, first: int, batch: list[RawFrame]) -> Frames:
        rows = file.rows[first : first + len(batch)]
        atoms = np.stack([raw.positions for raw in batch])
        bad = np.flatnonzero(~np.isfinite(atoms).all(axis=(1, 2)))
        if bad.size:
            atom = int(np.flatnonzero(~np.isfinite(atoms[bad[0]]).all(1))[0])
            raise InputError(
                f"{file.path}: frame {rows[int(bad[0])]}, atom {atom}: the position is not a number; "
                "leave the frame out with start, stop or stride, or find where the run broke"
            )
        box = np.stack([raw.box for raw in batch]) * file.length
        if self.box is not None:
            box = np.broadcast_to(self.box, box.shape)
        forces = None
        if self.has_forces:
            raw_forces = self._forces(file, rows, batch)
            check_finite(raw_forces, "force", where=str(file.path), rows=rows)
            forces = self.bead_map.map_forces(raw_forces)
        times = [raw.time for raw in batch if raw.time is not None] if self.has_time else []
        try:
            return Frames(
                self.bead_map.map_positions(atoms * file.length, box),
                box,
                self.topology,
                self.state,
                self.units,
                forces=None if forces is None else forces * file.force,
                time=np.array(times) * file.time if self.has_time else None,
                trajectory=np.full(len(batch), number),
            )
        except InputError as error:
            text = str(error).removeprefix("frames: ")
            counted = f" (counted from frame {rows.start}, in steps of {rows.step})" if rows.start else ""
            raise InputError(f"{file.path}{counted}: {text}") from None

    def _forces(self, file: _File, rows: range, batch: list[RawFrame]) -> Floats:
        found = [raw.forces for raw in batch if raw.forces is not None]
        if len(found) < len(batch):
            missing = next(row for row, raw in zip(rows, batch, strict=True) if raw.forces is None)
            raise InputError(
                f"{file.path}: frame {missing} has no forces, though the first frame has; "
                "choose the frames that have them with start and stride"
            )
        return np.stack(found)


def open_trajectory(
    topology: str | Path,
    trajectories: Sequence[str | Path],
    *,
    units: UnitSystem,
    temperature: float,
    mapping: Mapping,
    start: int = 0,
    stop: int | None = None,
    stride: int = 1,
    pressure: float | None = None,
    box: float | Sequence[float] | None = None,
    file_units: UnitSystem | None = None,
) -> MappedTrajectory:
    """Opens trajectories for streaming, mapped to beads.

    Args:
        topology: tpr, gro, pdb, psf, LAMMPS data, or what else MDAnalysis reads.
        trajectories: xtc, trr, dcd, pdb, LAMMPS dump, ...; each file is one independent trajectory.
        units: the study's system, into which everything is converted.
        temperature: [temperature] of the simulation.
        mapping: which atoms make which bead.
        start, stop, stride: which frames of *each* trajectory.
        pressure: [pressure], if the simulation held it.
        box: edge lengths [length] in `units`, over those of the files; inf for open directions.
        file_units: of LAMMPS files, which don't say; the study's own if None.

    Raises:
        InputError: a file is missing, damaged, truncated, without a box or with a triclinic one; numbers of atoms
            differ; a selection matches nothing; units can't be converted. Its `argument` names the one to blame.

    Example:
        >>> from bayescg.data import Mapping, get_unit_system, open_trajectory
        >>> water = open_trajectory(  # doctest: +SKIP
        ...     "water.tpr", ["run1.xtc", "run2.xtc"], units=get_unit_system("gromacs"), temperature=300.0,
        ...     mapping=Mapping.by_group("residue", "mass"),
        ... )
    """
    if not trajectories:
        raise InputError(
            f"{topology}: no trajectory given with it; expected at least one file", argument="trajectories"
        )
    if stride < 1:
        raise InputError(f"stride is {stride}; expected 1 or more", argument="stride")
    lammps = file_units or units
    is_lammps = Path(topology).suffix in (".data", ".lmp") or Path(topology).name.startswith("data.")
    mass_unit = lammps.mass if is_lammps else "g/mol"
    with _blamed_on("topology"):
        atoms = _mdanalysis.read_atoms(Path(topology), units=units, file_mass_unit=mass_unit)
    opened = []
    for name in trajectories:
        path = Path(name)
        with _blamed_on("trajectories"):
            file = _open_file(
                path, atoms.n_atoms, units, lammps, given=file_units is not None, needs_box=box is None
            )
        if file.raw.n_atoms != atoms.n_atoms:
            raise InputError(
                f"{path}: {file.raw.n_atoms} atoms, but {topology} has {atoms.n_atoms}; "
                "give the topology that this trajectory was written with",
                argument="topology",
            )
        rows = range(*slice(start, stop, stride).indices(file.raw.n_frames))
        if not rows:
            raise InputError(
                f"{path}: {file.raw.n_frames} frames, of which start {start}, stop {stop}, stride {stride} leave none; "
                "lower start or raise stop",
                argument="start",
            )
        opened.append(_File(path, file.raw, rows, file.length, file.force, file.time))
    with _blamed_on("mapping"):
        bead_map = resolve(mapping, atoms)
    with _blamed_on("trajectories"):
        heads = [next(file.raw.frames(file.rows[:1])) for file in opened]
    state = State(temperature, pressure)
    edges = None if box is None else np.broadcast_to(np.asarray(box, np.float64), (3,))
    return MappedTrajectory(
        topology=bead_map.topology,
        state=state,
        units=units,
        bead_map=bead_map,
        files=tuple(opened),
        box=edges,
        has_forces=bead_map.forces_defined and all(head.forces is not None for head in heads),
        has_time=all(head.time is not None for head in heads),
    )


@contextmanager
def _blamed_on(argument: str) -> Iterator[None]:
    """Marks errors that name no argument yet with this one."""
    try:
        yield
    except InputError as error:
        error.argument = error.argument or argument
        raise


def _open_file(
    path: Path, n_atoms: int, units: UnitSystem, lammps: UnitSystem, *, given: bool, needs_box: bool
) -> _File:
    if not path.is_file():
        raise InputError(f"{path}: no such trajectory file; check the path")
    if path.suffix in _DUMP_SUFFIXES or path.name.startswith("dump."):
        if lammps.name == "gromacs" and not given:
            raise InputError(
                f"{path}: LAMMPS files don't say their units, and the study runs in gromacs units; "
                "give file_units, e.g. 'real'",
                argument="file_units",
            )
        names = (lammps.length, lammps.force, lammps.time)
        raw: RawTrajectory = LammpsDump.open(path)
    else:
        names = (_mdanalysis.LENGTH, _mdanalysis.FORCE, _mdanalysis.TIME)
        raw = MdTrajectory.open(path, n_atoms=n_atoms, needs_box=needs_box)
    try:
        length, force, time = (
            unit_factor(name, quantity, units)
            for name, quantity in zip(names, ("length", "force", "time"), strict=True)
        )
    except InputError as error:
        raise InputError(f"{path}: {error}", argument="file_units") from None
    return _File(path, raw, range(raw.n_frames), length, force, time)
