"""Is an edr file whole? Found by walking its frames, because pyedr stops silently at a cut-off one and fills the memory
where a damaged number says how much is to come."""

from __future__ import annotations

import struct
from pathlib import Path

from bayescg.errors import InputError

MAGIC = (-55555).to_bytes(4, "big", signed=True)
"""What an edr file begins with."""
_FRAME_MAGIC = -7777777
_OLDEST = 4
"""Version of the format, of GROMACS 4.5."""
_SIZES = (4, 4, 8, 8, 4)
"""Of an int, float, double, 64-bit int and character in a block [byte]; strings, type 5, say theirs."""
_STRING = 5


def check_edr(path: Path) -> None:
    """Raises where an edr file is none, is damaged, or ends in the middle of a frame.

    Args:
        path: the file.

    Raises:
        InputError: it is not whole.
    """
    data = path.read_bytes()
    if data[:4] != MAGIC:
        raise InputError(f"{path}: is no edr file of GROMACS 4.5 or newer; copy it again")
    frame = 0
    try:
        position, n_terms = _names(data)
        while position < len(data):
            position = _next(data, position, n_terms)
            frame += 1
    except struct.error:
        position = len(data) + 1
    except ValueError as error:
        raise InputError(f"{path}: frame {frame} is damaged ({error}); copy the file again") from None
    if position > len(data):
        raise InputError(
            f"{path}: ends in the middle of frame {frame} ({frame} whole frames); let the run finish, or copy it again"
        )
    if not frame:
        raise InputError(f"{path}: holds names but no frame; let the run finish, or copy it again")


def _names(data: bytes) -> tuple[int, int]:
    """Where the first frame begins, and the number of terms."""
    version, n_terms = struct.unpack_from(">ii", data, 4)
    if not _OLDEST <= version < 100 or not 0 <= n_terms < len(data):
        raise ValueError(f"version {version} of the format with {n_terms} terms")
    position = 12
    for _ in range(2 * n_terms):  # name and unit
        position = _string(data, position)
    return position, n_terms


def _string(data: bytes, position: int) -> int:
    """Where a string ends."""
    (length,) = struct.unpack_from(">i", data, position)
    if length < 0:
        raise ValueError(f"a name of {length} letters")
    return position + 4 + (length + 3) // 4 * 4


def _next(data: bytes, position: int, n_terms: int) -> int:
    """Where a frame ends: a header that says what follows, energies and their sums, blocks of other data."""
    real = next((size for size in (4, 8) if _int(data, position + size) == _FRAME_MAGIC), None)
    if real is None:
        raise ValueError("no frame begins where one should")
    position += real + 4
    version, position = _int(data, position), position + 4 + 16  # time and step
    n_sums, position = (
        _int(data, position),
        position + 4 + 8 + (8 if version >= 5 else 0),
    )  # steps and their length
    here, _, n_blocks = struct.unpack_from(">iii", data, position)
    if here not in (0, n_terms) or n_blocks < 0:
        raise ValueError(f"{here} terms, where the file has {n_terms}, and {n_blocks} blocks")
    position += 12
    parts: list[tuple[int, int]] = []
    for _ in range(n_blocks):
        (n_parts,) = struct.unpack_from(">i", data, position + 4)
        position += 8
        for _ in range(n_parts):
            parts.append(struct.unpack_from(">ii", data, position))  # type: ignore[arg-type]
            position += 8
    position += 12 + here * real * (3 if n_sums > 0 else 1)
    for kind, count in parts:
        if not 0 <= kind <= _STRING or count < 0:
            raise ValueError(f"a block of {count} values of type {kind}")
        if kind < _STRING:
            position += count * _SIZES[kind]
        else:
            for _ in range(count):
                position = _string(data, position)
    return position


def _int(data: bytes, position: int) -> int:
    return int(struct.unpack_from(">i", data, position)[0])
