"""Reading frames from netCDF: files that `write_frames` wrote, and others of the minimal convention.

Nothing is converted silently: every variable's ``units`` attribute is read and brought into the study's system.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bayescg.data._frames import Frames, check_finite, read_all
from bayescg.data._netcdf_minimal import minimal_layout
from bayescg.data._netcdf_variable import Layout, Variable, open_dataset
from bayescg.data._netcdf_write import CONNECTIONS, QUANTITIES, SCHEMA_VERSION
from bayescg.data._topology import Floats, State, Topology
from bayescg.data._units import UnitSystem, conversion, get_unit_system
from bayescg.errors import InputError


@dataclass(frozen=True)
class NetcdfFrames:
    """A netCDF file as a `FrameSource`: read block by block, converted into `units`, memory constant."""

    path: Path
    topology: Topology
    state: State
    units: UnitSystem
    start: int
    stop: int
    stride: int
    layout: Layout

    @property
    def n_frames(self) -> int:
        """Number of frames, after start, stop and stride."""
        return len(range(self.start, self.stop, self.stride))

    @property
    def quantities(self) -> frozenset[str]:
        """Which of forces, energy, virial, pressure and time the frames carry."""
        names = ("forces", "energy", "virial", "pressure", "time")
        return frozenset(name for name in names if getattr(self.layout, name) is not None)

    def blocks(self, size: int) -> Iterator[Frames]:
        """Consecutive blocks of at most `size` frames."""
        with open_dataset(self.path) as dataset:
            for first in range(self.start, self.stop, size * self.stride):
                yield self._read(
                    dataset, slice(first, min(first + size * self.stride, self.stop), self.stride)
                )

    def _read(self, dataset: Any, rows: slice) -> Frames:
        layout, numbers = self.layout, range(rows.start, rows.stop, rows.step)

        def values(variable: Variable | None) -> Floats | None:
            return None if variable is None else variable.read(dataset, self.path, rows)

        positions = layout.positions.read(dataset, self.path, rows)
        box = layout.fixed_box if layout.box is None else layout.box.read(dataset, self.path, rows)
        trajectory = (
            np.zeros(len(numbers))
            if layout.trajectory is None
            else layout.trajectory.read(dataset, self.path, rows)
        )
        forces = values(layout.forces)
        check_finite(positions, "position", where=str(self.path), rows=numbers)
        if forces is not None:
            check_finite(forces, "force", where=str(self.path), rows=numbers)
        try:
            return Frames(
                positions,
                box,
                self.topology,
                self.state,
                self.units,
                forces=forces,
                energy=values(layout.energy),
                virial=values(layout.virial),
                pressure=values(layout.pressure),
                time=values(layout.time),
                trajectory=trajectory.astype(np.int64),
            )
        except InputError as error:
            text = str(error).removeprefix("frames: ")
            counted = f" (counted from frame {rows.start}, in steps of {rows.step})" if rows.start else ""
            raise InputError(f"{self.path}{counted}: {text}") from None


def open_frames(
    path: str | Path,
    *,
    units: UnitSystem | None = None,
    temperature: float | None = None,
    topology: Topology | None = None,
    box: float | Sequence[float] | None = None,
    start: int = 0,
    stop: int | None = None,
    stride: int = 1,
) -> NetcdfFrames:
    """Opens a netCDF file of frames for streaming.

    Args:
        path: written by `write_frames`, or keeping to the minimal convention.
        units: the study's system, into which everything is converted; the file's own if None.
        temperature: [temperature] in `units`, for files that don't say; checked against those that do.
        topology: replaces what the file says of types, masses, molecules and connections.
        box: edge lengths [length] in `units` for files that don't say; inf for open directions.
        start, stop, stride: which frames.

    Raises:
        InputError: no such file, damaged, not of this convention, or a unit that can't be converted.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from bayescg.data import Frames, State, Topology, get_unit_system, open_frames, write_frames
        >>> topology = Topology(("A", "A"), np.ones(2))
        >>> frames = Frames(np.zeros((6, 2, 3)), np.full(3, 4.0), topology, State(1.0), get_unit_system("lj"))
        >>> with TemporaryDirectory() as folder:
        ...     write_frames(frames, Path(folder) / "pair.nc")
        ...     source = open_frames(Path(folder) / "pair.nc", stride=2)
        ...     [block.n_frames for block in source.blocks(2)]
        [2, 1]
    """
    path = Path(path)
    with open_dataset(path) as dataset:
        if "bayescg_schema" in dataset.ncattrs():
            layout = _own_layout(dataset, path, units)
        else:
            layout = minimal_layout(dataset, path, units=units, box=box, topology=topology)
        n_frames, n_sites = layout.positions.shape(dataset)[:2]
    if topology is not None and topology.n_sites != n_sites:
        raise InputError(f"{path}: {n_sites} sites, but the topology given has {topology.n_sites}")
    known = layout.state.temperature if layout.state is not None else None
    if temperature is not None and known is not None and abs(temperature - known) > 1e-6 * known:
        raise InputError(
            f"{path}: temperature is {known:g} in the file, but {temperature:g} was given; "
            "give that one, or use data of the other",
            argument="temperature",
        )
    if known is None and temperature is None:
        raise InputError(
            f"{path}: no temperature in the file (attribute temperature_K); give temperature=...",
            argument="temperature",
        )
    state = layout.state if layout.state is not None else State(temperature or 0.0)
    if stride < 1:
        raise InputError(f"{path}: stride is {stride}; expected 1 or more", argument="stride")
    first, last, _ = slice(start, stop).indices(n_frames)
    if first >= last:
        raise InputError(
            f"{path}: {n_frames} frames, of which start {start}, stop {stop} leave none; lower start or raise stop",
            argument="start",
        )
    return NetcdfFrames(path, topology or layout.topology, state, layout.units, first, last, stride, layout)


def read_frames(
    path: str | Path,
    *,
    units: UnitSystem | None = None,
    temperature: float | None = None,
    topology: Topology | None = None,
    box: float | Sequence[float] | None = None,
    start: int = 0,
    stop: int | None = None,
    stride: int = 1,
) -> Frames:
    """Reads a netCDF file of frames into memory; arguments as in `open_frames`.

    Example:
        >>> from bayescg.data import read_frames
        >>> frames = read_frames("water.nc")  # doctest: +SKIP
    """
    return read_all(
        open_frames(
            path,
            units=units,
            temperature=temperature,
            topology=topology,
            box=box,
            start=start,
            stop=stop,
            stride=stride,
        )
    )


def _own_layout(dataset: Any, path: Path, units: UnitSystem | None) -> Layout:
    """The layout of a file that `write_frames` wrote."""
    try:
        kind, version = str(dataset.getncattr("bayescg_schema")), int(dataset.getncattr("schema_version"))
        own = get_unit_system(str(dataset.getncattr("unit_system")))
        temperature = float(dataset.getncattr("temperature"))
        composition = json.loads(str(dataset.getncattr("composition")))
        held = float(dataset.getncattr("pressure")) if "pressure" in dataset.ncattrs() else None
    except AttributeError as error:
        raise InputError(
            f"{path}: an attribute is missing ({error}); write the file again with write_frames"
        ) from None
    if kind != "frames" or version > SCHEMA_VERSION:
        raise InputError(
            f"{path}: holds {kind!r} of schema version {version}; expected 'frames' of version up to "
            f"{SCHEMA_VERSION}, so update bayescg or choose another file"
        )
    target = units or own
    scale = conversion("temperature", own, target)
    pressure = None if held is None else held * conversion("pressure", own, target)

    def variable(name: str) -> Variable | None:
        if name not in dataset.variables:
            return None
        return Variable.of(dataset, path, name, QUANTITIES[name][0], target)

    positions = variable("positions")
    if positions is None:
        raise InputError(f"{path}: no variable 'positions'; the file is incomplete, write it again")
    return Layout(
        units=target,
        topology=_read_topology(dataset, path, own, target),
        state=State(temperature * scale, pressure, composition),
        positions=positions,
        box=variable("box"),
        fixed_box=np.empty(0),
        forces=variable("forces"),
        energy=variable("energy"),
        virial=variable("virial"),
        pressure=variable("pressure"),
        time=variable("time"),
        trajectory=Variable("trajectory", 1.0) if "trajectory" in dataset.variables else None,
    )


def _read_topology(dataset: Any, path: Path, own: UnitSystem, target: UnitSystem) -> Topology:
    def column(name: str) -> np.ndarray:
        return Variable(name, 1.0).read(dataset, path, slice(None), dtype=None)

    names = column("type_name")
    connections = {
        name: column(name) if name in dataset.variables else np.empty(0, np.int64) for name in CONNECTIONS
    }
    return Topology(
        site_types=tuple(str(names[k]) for k in column("site_type")),
        masses=column("mass") * conversion("mass", own, target),
        charges=column("charge") * conversion("charge", own, target),
        molecules=column("molecule"),
        bonds=connections["bonds"],
        angles=connections["angles"],
        dihedrals=connections["dihedrals"],
        exclusions=connections["exclusions"],
    )
