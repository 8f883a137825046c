"""One variable of a netCDF file, with the factor that brings it into the study's units, and where the others are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bayescg.data._topology import Floats, State, Topology
from bayescg.data._units import UnitSystem, unit_factor
from bayescg.errors import InputError


@contextmanager
def open_dataset(path: Path) -> Iterator[Any]:
    """A netCDF4 dataset open for reading, or one line that says why it can't be."""
    try:
        import netCDF4
    except ModuleNotFoundError:
        raise InputError(
            f"{path}: reading netCDF needs netCDF4; install it with: pip install netCDF4"
        ) from None
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        dataset = netCDF4.Dataset(path, "r")
    except (OSError, RuntimeError) as error:
        reason = str(error).split(": b'")[0]
        raise InputError(
            f"{path}: can't be read as netCDF ({reason}, {path.stat().st_size} bytes); it's truncated, damaged or of "
            "another format, so copy it again or write it with write_frames"
        ) from None
    try:
        dataset.set_auto_mask(False)
        for variable in dataset.variables.values():
            _limit_cache(variable)
        yield dataset
    finally:
        dataset.close()


def _limit_cache(variable: Any) -> None:
    """Keep the chunk that is being read and the next; the library's own cache holds tens of megabytes per variable."""
    chunks = variable.chunking()
    if isinstance(chunks, list) and variable.dtype is not str:
        size = 2 * int(np.prod(chunks)) * variable.dtype.itemsize
        variable.set_var_chunk_cache(size=max(size, 1 << 16))


@dataclass(frozen=True)
class Variable:
    """A variable's name, the factor into the study's units, and whether a tensor is stored as xx yy zz xy xz yz."""

    name: str
    factor: float
    voigt: bool = False

    @staticmethod
    def of(
        dataset: Any, path: Path, name: str, quantity: str, units: UnitSystem, *, voigt: bool = False
    ) -> Variable:
        """Looks the unit up in the variable's ``units`` attribute."""
        variable = dataset.variables[name]
        if "units" not in variable.ncattrs():
            raise InputError(
                f"{path}: variable {name!r} has no units attribute; add one, e.g. {units.unit(quantity)!r}"
            )
        try:
            factor = unit_factor(str(variable.getncattr("units")), quantity, units)
        except InputError as error:
            raise InputError(f"{path}: variable {name!r}: {error}") from None
        return Variable(name, factor, voigt)

    def shape(self, dataset: Any) -> tuple[int, ...]:
        """Shape of the whole variable."""
        return tuple(int(n) for n in dataset.variables[self.name].shape)

    def read(self, dataset: Any, path: Path, rows: slice, *, dtype: Any = np.float64) -> Any:
        """The rows, in the study's units."""
        try:
            raw = dataset.variables[self.name][rows]
        except KeyError:
            raise InputError(
                f"{path}: no variable {self.name!r}; the file is incomplete, write it again"
            ) from None
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{path}: variable {self.name!r} can't be read ({error}); the file is damaged, copy it again"
            ) from None
        if dtype is None:
            return np.asarray(raw)
        values = np.asarray(raw, dtype) * self.factor
        return values[:, [0, 3, 4, 3, 1, 5, 4, 5, 2]].reshape(-1, 3, 3) if self.voigt else values


@dataclass(frozen=True)
class Layout:
    """Where a file keeps what; `box` is a variable per frame, or None and `fixed_box` holds for all frames."""

    units: UnitSystem
    topology: Topology
    state: State | None
    positions: Variable
    box: Variable | None
    fixed_box: Floats
    forces: Variable | None
    energy: Variable | None
    virial: Variable | None
    pressure: Variable | None
    time: Variable | None
    trajectory: Variable | None
