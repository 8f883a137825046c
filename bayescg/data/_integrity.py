"""Is a binary trajectory whole? Found from sizes in the file, because readers stop silently at a cut-off frame."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from bayescg.errors import InputError


def check_complete(path: Path) -> None:
    """Walks the frame headers of an xtc, trr or dcd file; does nothing for other formats.

    Raises:
        InputError: the file is empty, isn't of the format its name says, or ends in the middle of a frame.
    """
    walk = {".xtc": _next_xtc, ".trr": _next_trr}.get(path.suffix.lower())
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path}: the file is empty; copy it again")
    with path.open("rb") as file:
        if path.suffix.lower() == ".dcd":
            _check_dcd(path, file, size)
        elif walk is not None:
            frame, position = 0, 0
            while position < size:
                file.seek(position)
                try:
                    end = position + walk(file)
                except struct.error:
                    end = size + 1
                except ValueError as error:
                    raise InputError(
                        f"{path}: frame {frame} is damaged ({error}); copy the file again"
                    ) from None
                if end > size:
                    raise _truncated(path, frame)
                frame, position = frame + 1, end


def _truncated(path: Path, whole_frames: int) -> InputError:
    return InputError(
        f"{path}: ends in the middle of frame {whole_frames} ({whole_frames} whole frames); "
        f"copy it again, or write the whole ones to a new file (gmx check, mdconvert)"
    )


def _next_xtc(file: BinaryIO) -> int:
    """Length of the frame that begins here [byte]: 52 bytes of header, then coordinates."""
    head = _unpack(file, ">iii", 12)
    if head[0] not in (1995, 2023):
        raise ValueError(f"no xtc frame header: magic number {head[0]}")
    if head[1] <= 9:
        return 52 + 4 + 12 * head[1]
    file.seek(52 + 4 + 32 - 12, 1)
    wide = head[0] == 2023
    (n_bytes,) = _unpack(file, ">q", 8) if wide else _unpack(file, ">i", 4)
    if n_bytes < 0:
        raise ValueError(f"negative length {n_bytes}")
    return 52 + 4 + 32 + (8 if wide else 4) + (n_bytes + 3) // 4 * 4


def _next_trr(file: BinaryIO) -> int:
    """Length of the frame that begins here [byte]: a header that lists the sizes of all that follows."""
    magic, _, length = _unpack(file, ">iii", 12)
    if magic != 1993 or not 0 < length < 256:
        raise ValueError(f"no trr frame header: magic number {magic}")
    file.seek((length + 3) // 4 * 4, 1)
    *sizes, n_atoms, _, _ = _unpack(file, ">13i", 52)
    box, coordinates = sizes[2], sizes[7] or sizes[8] or sizes[9]
    double = box == 72 if box else coordinates == 24 * n_atoms
    return 12 + (length + 3) // 4 * 4 + 52 + (16 if double else 8) + sum(sizes)


def _check_dcd(path: Path, file: BinaryIO, size: int) -> None:
    """A dcd file is a header and frames of equal size."""
    try:
        (first,) = _unpack(file, "<i", 4)
        order = "<" if first == 84 else ">"
        file.seek(0)
        mark, _, *control, end = _unpack(file, order + "i4s20ii", 92)
        if mark != 84 or end != 84:
            raise InputError(f"{path}: has no dcd header; it's damaged or of another format, copy it again")
        (title,) = _unpack(file, order + "i", 4)
        file.seek(title + 4, 1)
        _, n_atoms, _ = _unpack(file, order + "iii", 12)
        if control[8]:  # atoms held fixed: frames differ in size
            return
        frame = 3 * (4 * n_atoms + 8) + (56 if control[10] else 0) + (4 * n_atoms + 8 if control[11] else 0)
        whole, rest = divmod(size - file.tell(), frame)
    except struct.error:
        raise InputError(f"{path}: ends in the middle of its header; copy it again") from None
    if rest or control[0] > whole:
        raise _truncated(path, whole)


def _unpack(file: BinaryIO, form: str, length: int) -> tuple:
    return struct.unpack(form, file.read(length))
