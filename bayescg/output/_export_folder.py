"""The folder of an export: new, all of it or nothing, and the names of the potentials in it."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bayescg.errors import InputError
from bayescg.output._manifest import MEAN


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes its name when everything is written.

    Raises:
        InputError: the name is taken by anything but an empty folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder}: is there already and is not empty; name another folder or remove this one"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.partial") as place:
        partial = Path(place) / folder.name
        partial.mkdir()
        yield partial
        os.replace(partial, folder)


def potential_names(draw_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Name and draw of every potential, the mean first."""
    draws = [(f"draw_{k:03d}", str(draw)) for k, draw in enumerate(draw_ids)]
    return [(MEAN, "posterior mean"), *draws]
