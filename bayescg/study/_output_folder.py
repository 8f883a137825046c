"""The folder that a run writes into: new or empty, never one that holds something already."""

import os
from pathlib import Path

from bayescg.errors import InputError
from bayescg.output import RESULT_FILE

RECORD = "run.json"
"""The file that says what a run is of, and by which it is resumed."""


def refuse_used_folder(folder: Path) -> None:
    """Raise unless a run may write into the folder; nothing is made or changed.

    Raises:
        InputError: it is a file, holds a run or something else, or cannot be made.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file; name a new folder with -o")
        if (folder / RESULT_FILE).exists() or (folder / RECORD).exists():
            raise InputError(
                f"{folder}: holds another run; choose another folder with -o, remove it, or go on with"
                f" `bayescg resume {folder}`"
            )
        if folder.exists() and any(folder.iterdir()):
            raise InputError(
                f"{folder}: is there already and is not empty; name a new folder with -o, or empty this one"
            )
        place = folder.absolute()
        nearest = next(p for p in (place, *place.parents) if p.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise InputError(
                f"{folder}: can't be made, since {nearest} is no folder that may be written to; name another with -o"
            )
    except OSError as error:
        raise _unusable(folder, error) from error


def claim_folder(folder: Path, record: str) -> None:
    """Make the folder and write its record, whole or not at all.

    Args:
        folder: the folder.
        record: the record's text.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    temporary = folder / f".{RECORD}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(record)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / RECORD)
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: OSError) -> InputError:
    reason = error.strerror or type(error).__name__
    return InputError(f"{folder}: can't be made or written to ({reason}); name another folder with -o")
