"""LAMMPS text dumps, read frame by frame. Box edges that aren't periodic count as open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bayescg.data._raw_frame import RawFrame
from bayescg.errors import InputError

_COORDINATES = (("xu", "yu", "zu"), ("x", "y", "z"), ("xsu", "ysu", "zsu"), ("xs", "ys", "zs"))


@dataclass(frozen=True)
class LammpsDump:
    """A dump file and where each of its frames begins.

    Attributes:
        path: the file.
        n_atoms: number of atoms in every frame.
        offsets: first byte of each frame.
    """

    path: Path
    n_atoms: int
    offsets: tuple[int, ...]

    @staticmethod
    def open(path: Path) -> LammpsDump:
        """Indexes the file.

        Raises:
            InputError: it isn't a dump, its number of atoms changes, or it ends in the middle of a frame.
        """
        offsets: list[int] = []
        n_atoms = -1
        with path.open("rb") as file:
            while True:
                offset = file.tell()
                line = file.readline()
                if not line:
                    break
                if not line.startswith(b"ITEM:"):
                    found = line[:30].decode(errors="replace").strip()
                    raise InputError(
                        f"{path}: frame {len(offsets)} begins with {found!r}; expected 'ITEM: TIMESTEP'"
                    )
                try:
                    header = _read_header(file, line)
                    _skip(file, header.n_atoms, len(header.columns))
                except (EOFError, ValueError, IndexError):
                    raise InputError(
                        f"{path}: ends in the middle of frame {len(offsets)}; copy it again, or cut the last frame off"
                    ) from None
                if n_atoms not in (-1, header.n_atoms):
                    raise InputError(
                        f"{path}: frame {len(offsets)} has {header.n_atoms} atoms, the ones before {n_atoms}; "
                        "dump the same atoms in every frame"
                    )
                n_atoms = header.n_atoms
                offsets.append(offset)
        if not offsets:
            raise InputError(f"{path}: the file is empty; copy it again")
        return LammpsDump(path, n_atoms, tuple(offsets))

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.offsets)

    def frames(self, rows: range) -> Iterator[RawFrame]:
        """The frames of these numbers, atoms in order of their ids."""
        with self.path.open("rb") as file:
            for row in rows:
                file.seek(self.offsets[row])
                yield self._frame(file, row)

    def _frame(self, file: BinaryIO, row: int) -> RawFrame:
        header = _read_header(file, file.readline())
        if header.tilted:
            raise InputError(
                f"{self.path}: frame {row} has a triclinic box; expected an orthorhombic one: rerun with one"
            )
        columns = {name: number for number, name in enumerate(header.columns)}
        axes = next((names for names in _COORDINATES if all(name in columns for name in names)), None)
        if axes is None:
            raise InputError(
                f"{self.path}: columns {' '.join(header.columns)}; expected coordinates such as x y z"
            )
        wanted = [*axes]
        has_forces = all(name in columns for name in ("fx", "fy", "fz"))
        if has_forces:
            wanted += ["fx", "fy", "fz"]
        if "id" in columns:
            wanted.append("id")
        lines = [file.readline().decode() for _ in range(self.n_atoms)]
        try:
            table = np.loadtxt(lines, usecols=[columns[name] for name in wanted], ndmin=2, comments=None)
        except ValueError as error:
            raise InputError(f"{self.path}: frame {row} can't be read ({error}); dump it again") from None
        if "id" in columns:
            table = table[np.argsort(table[:, -1], kind="stable")]
        low, edge = header.bounds[:, 0], header.bounds[:, 1] - header.bounds[:, 0]
        positions = table[:, :3] * edge if axes[0].startswith("xs") else table[:, :3] - low
        return RawFrame(
            positions=positions,
            box=np.where(header.periodic, edge, np.inf),
            forces=table[:, 3:6] if has_forces else None,
            time=header.time,
        )


@dataclass(frozen=True)
class _Header:
    n_atoms: int
    bounds: np.ndarray  # [3 2]
    periodic: np.ndarray  # [3]
    tilted: bool
    columns: tuple[str, ...]
    time: float | None


def _read_header(file: BinaryIO, line: bytes) -> _Header:
    """Reads up to and including the ``ITEM: ATOMS`` line; `line` is the first one."""
    n_atoms, time, bounds, flags = -1, None, np.zeros((3, 2)), ["pp"] * 3
    tilted = False
    while True:
        if not line.endswith(b"\n"):
            raise EOFError
        words = line.decode(errors="replace").split()
        item = words[1] if len(words) > 1 else ""
        if item == "ATOMS":
            if n_atoms < 0:
                raise ValueError("no number of atoms")
            periodic = np.array([flag == "pp" for flag in flags])
            return _Header(n_atoms, bounds, periodic, tilted, tuple(words[2:]), time)
        if item == "NUMBER":
            n_atoms = int(file.readline())
        elif item == "TIME":
            time = float(file.readline())
        elif item == "BOX":
            rows = [[float(word) for word in file.readline().split()] for _ in range(3)]
            tilted = any(len(row) > 2 and row[2] != 0.0 for row in rows) or "abc" in words
            bounds = np.array([row[:2] for row in rows])
            flags = [word for word in words if len(word) == 2 and set(word) <= set("pfsm")] or flags
        else:  # TIMESTEP, UNITS and whatever else has one line
            file.readline()
        line = file.readline()


def _skip(file: BinaryIO, n_lines: int, n_columns: int) -> None:
    line = b"\n"
    for _ in range(n_lines):
        line = file.readline()
    if n_lines and (not line.endswith(b"\n") or len(line.split()) < n_columns):
        raise EOFError
