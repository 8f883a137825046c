"""How a long computation tells where it stands, without knowing who listens."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

NO_METRICS: Mapping[str, str] = MappingProxyType({})


class Progress(Protocol):
    """A listener to stages that follow one another.

    A stage begins with `stage`, moves by `update` and ends with `finish`, or with the next stage's beginning.
    """

    def stage(self, name: str, *, total: float | None = None, unit: str = "") -> None:
        """Begins a stage.

        Args:
            name: What happens in it, a few words.
            total: The value of `completed` at which it ends; None where that is not known.
            unit: What `total` counts, such as "draws" or "ns".
        """

    def update(self, completed: float, *, metrics: Mapping[str, str] = NO_METRICS) -> None:
        """Says how far the present stage has come.

        Args:
            completed: Amount done since the stage began (not since the last update).
            metrics: Physics worth watching, as text: `{"round": "2", "n_eff": "310"}`.
        """

    def message(self, text: str) -> None:
        """Leaves one line that stays."""

    def finish(self) -> None:
        """Ends the present stage and the display."""


class SilentProgress:
    """Says nothing: the library's default.

    Example:
        >>> progress = SilentProgress()
        >>> progress.stage("search", total=10)
        >>> progress.update(3, metrics={"n_eff": "310"})
        >>> progress.finish()
    """

    def stage(self, name: str, *, total: float | None = None, unit: str = "") -> None:
        pass

    def update(self, completed: float, *, metrics: Mapping[str, str] = NO_METRICS) -> None:
        pass

    def message(self, text: str) -> None:
        pass

    def finish(self) -> None:
        pass
