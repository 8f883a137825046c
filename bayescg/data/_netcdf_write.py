"""Writing frames to netCDF: CF-style, units in attributes, full precision, all at once or streamed.

Dimensions are ``frame``, ``site``, ``xyz``; variables ``positions``, ``box`` and, where known, ``forces``, ``energy``,
``virial``, ``pressure``, ``time``; ``trajectory``; the topology; and the attributes ``bayescg_schema``,
``schema_version``, ``unit_system``, ``temperature``.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from bayescg.data._frames import Frames, FrameSource
from bayescg.data._topology import Integers, Topology
from bayescg.errors import InputError

SCHEMA_VERSION = 1

QUANTITIES = {
    "positions": ("length", ("frame", "site", "xyz"), "positions of the sites"),
    "box": ("length", ("frame", "xyz"), "edge lengths of the orthorhombic box"),
    "forces": ("force", ("frame", "site", "xyz"), "forces on the sites"),
    "energy": ("energy", ("frame",), "potential energy"),
    "virial": ("virial", ("frame", "xyz", "abc"), "virial tensor, sum over sites of position times force"),
    "pressure": ("pressure", ("frame",), "instantaneous pressure"),
    "time": ("time", ("frame",), "time since the start of the trajectory"),
}
CONNECTIONS = {"bonds": 2, "angles": 3, "dihedrals": 4, "exclusions": 2}


def write_frames(frames: FrameSource, path: str | Path, *, title: str = "", block: int = 256) -> None:
    """Writes frames, all at once or streamed, in their own units and in full precision.

    The file appears under its name only when it is complete.

    Args:
        frames: `Frames`, or any other source of blocks.
        path: the file to write; an existing one is replaced.
        title: a line for whoever opens the file.
        block: frames per block when streaming.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from bayescg.data import Frames, State, Topology, get_unit_system, read_frames
        >>> topology = Topology(("A", "A"), np.ones(2))
        >>> frames = Frames(np.zeros((6, 2, 3)), np.full(3, 4.0), topology, State(1.0), get_unit_system("lj"))
        >>> with TemporaryDirectory() as folder:
        ...     write_frames(frames, Path(folder) / "pair.nc", title="two sites")
        ...     read_frames(Path(folder) / "pair.nc").n_frames
        6
    """
    import netCDF4

    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with netCDF4.Dataset(partial, "w") as dataset:
            _write_header(dataset, frames, title)
            start = 0
            for part in frames.blocks(block):
                _write_block(dataset, part, start)
                start += part.n_frames
            if start == 0:
                raise InputError(f"{path}: there are no frames to write; check start, stop and stride")
        os.replace(partial, path)
    except OSError as error:
        raise InputError(
            f"{path}: can't be written ({error}); check the folder and the space left on the disk"
        ) from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def _write_header(dataset: Any, frames: FrameSource, title: str) -> None:
    topology, state = frames.topology, frames.state
    dataset.setncatts(
        {
            "Conventions": "CF-1.11",
            "title": title,
            "bayescg_schema": "frames",
            "schema_version": SCHEMA_VERSION,
            "unit_system": frames.units.name,
            "temperature": float(state.temperature),
            "temperature_units": frames.units.temperature,
            "composition": json.dumps(state.composition),
        }
    )
    if state.pressure is not None:
        dataset.setncatts({"pressure": float(state.pressure), "pressure_units": frames.units.pressure})
    dataset.createDimension("frame", None)
    dataset.createDimension("site", topology.n_sites)
    names = sorted(set(topology.site_types))
    dataset.createDimension("type", len(names))
    type_name = dataset.createVariable("type_name", str, ("type",))
    type_name[:] = np.array(names, dtype=object)
    _put(
        dataset,
        "site_type",
        ("site",),
        np.array([names.index(t) for t in topology.site_types]),
        "",
        "index into type_name",
    )
    _put(dataset, "mass", ("site",), topology.masses, frames.units.mass, "mass of each site")
    _put(dataset, "charge", ("site",), topology.charges, frames.units.charge, "charge of each site")
    _put(dataset, "molecule", ("site",), topology.molecules, "", "molecule that each site belongs to")
    for (name, width), tuples in zip(CONNECTIONS.items(), _connections(topology), strict=True):
        if tuples.size:
            dataset.createDimension(f"{name}_row", len(tuples))
            if f"of_{width}" not in dataset.dimensions:
                dataset.createDimension(f"of_{width}", width)
            _put(dataset, name, (f"{name}_row", f"of_{width}"), tuples, "", f"sites of the {name}")


def _connections(topology: Topology) -> tuple[Integers, ...]:
    return (topology.bonds, topology.angles, topology.dihedrals, topology.exclusions)


def _put(
    dataset: Any, name: str, dimensions: tuple[str, ...], values: np.ndarray, unit: str, long_name: str
) -> None:
    kind = "i8" if values.dtype.kind == "i" else "f8"
    variable = dataset.createVariable(name, kind, dimensions, zlib=True, complevel=1)
    variable.long_name = long_name
    if unit:
        variable.units = unit
    variable[:] = values


def _write_block(dataset: Any, part: Frames, start: int) -> None:
    arrays = {
        "positions": part.positions, "box": part.box, "forces": part.forces, "energy": part.energy,
        "virial": part.virial, "pressure": part.pressure, "time": part.time,
    }  # fmt: skip
    if start == 0:
        dataset.createDimension("xyz", part.dim)
        for name, array in arrays.items():
            if array is not None:
                _create(dataset, name, part)
        trajectory = dataset.createVariable("trajectory", "i8", ("frame",), zlib=True)
        trajectory.long_name = "independent trajectory that a frame belongs to"
    for name, array in arrays.items():
        if (array is not None) != (name in dataset.variables):
            raise InputError(
                f"frames to write: {name} is known for some blocks only (not the same before and from frame {start}); "
                "write the parts that have it and those that don't to different files"
            )
    stop = start + part.n_frames
    for name, array in arrays.items():
        if array is not None:
            dataset.variables[name][start:stop] = array
    dataset.variables["trajectory"][start:stop] = part.trajectory


def _create(dataset: Any, name: str, part: Frames) -> None:
    quantity, dimensions, long_name = QUANTITIES[name]
    if "abc" in dimensions and "abc" not in dataset.dimensions:
        dataset.createDimension("abc", part.dim)
    chunks = (max(1, min(64, 200_000 // max(1, part.n_sites * part.dim))), part.n_sites, part.dim)
    variable = dataset.createVariable(
        name,
        "f8",
        dimensions,
        zlib=True,
        complevel=1,
        shuffle=True,
        chunksizes=chunks if "site" in dimensions else None,
    )
    variable.units, variable.long_name = part.units.unit(quantity), long_name
