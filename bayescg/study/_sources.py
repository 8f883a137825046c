"""The frames of a study as one stream: files opened, trajectories numbered through, errors with the key to blame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bayescg.data import (
    Bead,
    Frames,
    MappedTrajectory,
    Mapping,
    NetcdfFrames,
    State,
    Topology,
    UnitSystem,
    get_unit_system,
    open_frames,
    open_trajectory,
)
from bayescg.errors import InputError
from bayescg.study._keys import blame
from bayescg.study._schema import MappingTable, ModelFile, RawTable

_ROWS = {"start": "data.start", "stride": "data.stride", "temperature": "temperature"}


@dataclass(frozen=True)
class StudyFrames:
    """A `FrameSource`: the files of `[data]` one after the other, read block by block.

    Attributes:
        parts: the files' own sources.
        path: the model file, named in errors.
        key: its key that names the files.
        quantities: which of forces, energy, virial, pressure and time all parts carry; others are left out.
    """

    parts: tuple[NetcdfFrames | MappedTrajectory, ...]
    path: Path
    key: str
    quantities: frozenset[str]

    @classmethod
    def of(cls, parts: Sequence[NetcdfFrames | MappedTrajectory], *, path: Path, key: str) -> "StudyFrames":
        """Joins sources of one system.

        Raises:
            InputError: parts of different systems, states or units.
        """
        first = parts[0]
        for number, part in enumerate(parts):
            same = part.topology.site_types == first.topology.site_types and np.array_equal(
                part.topology.masses, first.topology.masses
            )
            if not same or part.state != first.state or part.units != first.units:
                raise InputError(
                    f"{path}: key '{key}[{number}]': differs from the first file in sites, state or units; keep"
                    " different systems and states apart"
                )
        quantities = frozenset.intersection(*(part.quantities for part in parts))
        return cls(tuple(parts), path, key, quantities)

    @property
    def topology(self) -> Topology:
        """The sites."""
        return self.parts[0].topology

    @property
    def state(self) -> State:
        """Temperature and, where it is held, pressure."""
        return self.parts[0].state

    @property
    def units(self) -> UnitSystem:
        """The study's system."""
        return self.parts[0].units

    @property
    def n_frames(self) -> int:
        """Number of frames of all parts."""
        return sum(part.n_frames for part in self.parts)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the mapping, each a sentence."""
        return tuple(w for part in self.parts if isinstance(part, MappedTrajectory) for w in part.warnings)

    def blocks(self, size: int) -> Iterator[Frames]:
        """Consecutive blocks of at most `size` frames; the trajectories of all parts are numbered through."""
        number = -1
        for part in self.parts:
            seen: set[int] = set()
            last: int | None = None
            with blame(self.path, self.key):
                for block in part.blocks(size):
                    labels = block.trajectory
                    new = np.r_[last is None or labels[0] != last, np.diff(labels) != 0]
                    if not seen.isdisjoint(begun := labels[new].tolist()):
                        raise InputError(
                            f"trajectory {sorted(seen & set(begun))[0]} is not contiguous; sort the frames by trajectory"
                        )
                    seen.update(begun)
                    numbers = number + np.cumsum(new)
                    last, number = int(labels[-1]), int(numbers[-1])
                    yield self._only_known(block, numbers)

    def _only_known(self, block: Frames, numbers: np.ndarray) -> Frames:
        """The block with its trajectories' numbers in the study, without what other parts lack."""
        extra = block.quantities - self.quantities
        if not extra and np.array_equal(numbers, block.trajectory):
            return block

        def known(name: str) -> np.ndarray | None:
            return None if name in extra else getattr(block, name)

        return replace(
            block,
            forces=known("forces"),
            energy=known("energy"),
            virial=known("virial"),
            pressure=known("pressure"),
            time=known("time"),
            trajectory=numbers,
        )


def open_data(model: ModelFile, path: Path, units: UnitSystem) -> StudyFrames:
    """The files of `[data]`, opened and not yet read.

    Args:
        model: the model file.
        path: where it lies; the files' paths are relative to its folder.
        units: the study's system.

    Raises:
        InputError: a file is missing, broken or does not fit; with the key that names it.
    """
    table = model.data
    if table.raw is not None:
        source = StudyFrames.of(
            [open_raw(table.raw, "data.raw", model, path, units)], path=path, key="data.raw.trajectories"
        )
    else:
        parts = []
        for file in table.frames:
            with blame(path, "data.frames", _ROWS):
                parts.append(
                    open_frames(
                        _existing(path.parent, file),
                        units=units,
                        temperature=model.temperature,
                        start=table.start,
                        stop=table.stop,
                        stride=table.stride,
                    )
                )
        source = StudyFrames.of(parts, path=path, key="data.frames")
    if model.inference.start == "force-matching" and "forces" not in source.quantities:
        raise InputError(
            f"{path}: key 'inference.start': found 'force-matching', but the mapped frames have no forces; use"
            " 'score-matching', or data with forces and a mapping that defines them"
        )
    return source


def open_raw(
    raw: RawTable, key: str, model: ModelFile, path: Path, units: UnitSystem, *, whole: bool = False
) -> MappedTrajectory:
    """Atomistic files, mapped while they are read.

    Args:
        raw: the table that names them.
        key: where it stands in the model file.
        model: the model file.
        path: where it lies.
        units: the study's system.
        whole: all frames, whatever `data.start`, `stop` and `stride` say.

    Raises:
        InputError: a file is missing, broken or does not fit; with the key that is to blame.
    """
    with blame(path, f"{key}.topology"):
        topology = _existing(path.parent, raw.topology)
    with blame(path, f"{key}.trajectories"):
        trajectories = [_existing(path.parent, file) for file in raw.trajectories]
    mapping = build_mapping(model.mapping)
    keys = {name: f"{key}.{name}" for name in ("topology", "trajectories", "file_units")}
    with blame(path, "mapping", _ROWS | keys | _mapping_keys(model.mapping)):
        return open_trajectory(
            topology,
            trajectories,
            units=units,
            temperature=model.temperature,
            mapping=mapping,
            file_units=get_unit_system(raw.file_units) if raw.file_units else None,
            start=0 if whole else model.data.start,
            stop=None if whole else model.data.stop,
            stride=1 if whole else model.data.stride,
        )


def build_mapping(table: MappingTable) -> Mapping:
    """The mapping of the model file."""
    if table.beads:
        beads = [Bead(b.name, b.selection, b.weights) for b in table.beads]
        return Mapping.named_beads(beads, by=table.by)
    return Mapping.by_group(by=table.by, center=table.center, selection=table.selection)


def _mapping_keys(table: MappingTable) -> dict[str, str]:
    """The model file's keys for the parts of a `Mapping`."""
    if table.beads:
        places = [
            f"mapping.beads[{k}].{name}" for k in range(len(table.beads)) for name in ("selection", "weights")
        ]
        return {place: place for place in ("mapping.by", *places)}
    return {
        "mapping.by": "mapping.by",
        "mapping.beads[0].selection": "mapping.selection",
        "mapping.beads[0].weights": "mapping.center",
    }


def _existing(folder: Path, file: Path) -> Path:
    path = file if file.is_absolute() else folder / file
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct the path or fetch the file")
    return path
