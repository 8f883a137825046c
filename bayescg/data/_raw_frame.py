"""One frame as a trajectory file holds it, before units and mapping."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np


class RawFrame(NamedTuple):
    """Atoms in the file's own units; a box edge of inf is an open direction."""

    positions: np.ndarray  # [atom 3]
    box: np.ndarray  # [3]
    forces: np.ndarray | None  # [atom 3]
    time: float | None


class RawTrajectory(Protocol):
    """A trajectory file that yields frames by number."""

    @property
    def n_atoms(self) -> int: ...
    @property
    def n_frames(self) -> int: ...
    def frames(self, rows: range) -> Iterator[RawFrame]: ...
