"""Errors of the rooms below, told with the model file and the key that are to blame."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bayescg.errors import InputError


@contextmanager
def blame(path: Path, key: str, arguments: Mapping[str, str] | None = None) -> Iterator[None]:
    """Errors raised inside name the model file and a key of it.

    Args:
        path: the model file.
        key: the key to blame.
        arguments: other keys, by the function's argument that an error names (`InputError.argument`).

    Raises:
        InputError: the one raised inside, file and key put before it.
    """
    try:
        yield
    except InputError as error:
        told = (arguments or {}).get(error.argument, key)
        raise InputError(f"{path}: key '{told}': {error}") from error
