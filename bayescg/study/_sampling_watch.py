"""An eye on sampling while it goes on: how long it will take, and functions of a frame that are not finite."""

import time
from collections.abc import Callable, Collection

import numpy as np
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.study._frame_columns import FrameColumns, Positions
from bayescg.study._observable import not_finite

WORTH_TELLING = 10.0
"""Seconds of remaining time from which it is told."""


class SamplingWatch:
    """Columns of frames as they come; of the first ones it is seen whether they are finite, of the next how fast they come.

    The first piece of sampling holds the time that compiling takes, so only the second tells how long the rest will be.

    Args:
        columns: of every frame.
        n_samples: frames wanted of every replica.
        functions: names of functions of a frame.
        tell: hears of the remaining time.

    Raises:
        InputError: a function that gives NaN or infinity of one of the first frames, though its positions are finite.

    Example:
        >>> watch = SamplingWatch(FrameColumns([]), n_samples=20, functions=[], tell=print)
        >>> watch(np.zeros((2, 10, 3, 3))).shape
        (2, 10, 0)
    """

    def __init__(
        self,
        columns: FrameColumns,
        *,
        n_samples: int,
        functions: Collection[str],
        tell: Callable[[str], None],
    ):
        self.columns, self.n_samples, self.functions, self.tell = columns, n_samples, functions, tell
        self.seen, self.calls, self.last = 0, 0, 0.0

    def __call__(self, positions: Positions) -> Float[np.ndarray, "replica sample column"]:
        """Columns of some frames."""
        made = self.columns(positions)
        if self.calls == 0:
            self._refuse_not_finite(positions, made)
        self._time(positions.shape[1])
        return made

    def _refuse_not_finite(self, positions: Positions, made: np.ndarray) -> None:
        if not self.functions:
            return
        sound = np.isfinite(positions).all(axis=(1, 2, 3))
        for part in self.columns.parts:
            if part.name in self.functions:
                computed = self.columns.of(part.name, made)[:, :: part.every]
                bad = ~np.isfinite(computed).all(axis=-1) & sound[:, None]
                if bad.any():
                    raise InputError(
                        not_finite(part.name, f"{bad.sum()} of the first {sound.sum() * bad.shape[1]} frames")
                    )

    def _time(self, n: int) -> None:
        now = time.perf_counter()
        self.calls, self.seen = self.calls + 1, self.seen + n
        if self.calls == 2:
            left = (now - self.last) / n * (self.n_samples - self.seen)
            if left > WORTH_TELLING:
                self.tell(f"about {_in_words(left)} of sampling left")
        self.last = now


def _in_words(seconds: float) -> str:
    """Rounded.

    Example:
        >>> _in_words(90.0), _in_words(9000.0)
        ('90 s', '2.5 h')
    """
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.1f} h"
