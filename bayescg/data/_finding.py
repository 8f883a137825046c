"""What the doctor says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

ERROR, WARNING, NOTE = "error", "warning", "note"


class Finding(NamedTuple):
    """One thing that a look at the data tells.

    Attributes:
        name: a few words.
        severity: ``error`` (the labels can't be right), ``warning`` (look at it before fitting) or ``note``
            (nothing to do: a test that was passed, or that these data don't allow).
        sentence: what was found, in numbers, and what to do.

    Example:
        >>> found = Finding("duplicates", WARNING, "Configurations 3 and 7 are the same: leave one out.")
        >>> found.severity
        'warning'
    """

    name: str
    severity: str
    sentence: str


def listed(names: Sequence[object], *, most: int = 5) -> str:
    """The first few names, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + rest
