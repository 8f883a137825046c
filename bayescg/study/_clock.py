"""Seconds per stage, and how much of them went into compiling."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import jax.monitoring

from bayescg.progress import Progress


class StageClock:
    """Times stages and tells a progress listener of them.

    Args:
        progress: who listens.
    """

    def __init__(self, progress: Progress):
        self.progress = progress
        self._seconds: dict[str, float] = {}
        self._compile = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._on_event)

    def _on_event(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.startswith("/jax/core/compile"):
            self._compile += duration_secs

    @contextmanager
    def stage(self, name: str, key: str) -> Iterator[None]:
        """One stage, timed under a short key."""
        self.progress.stage(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add({key: time.perf_counter() - start})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add times measured elsewhere."""
        for key, value in seconds.items():
            self._seconds[key] = self._seconds.get(key, 0.0) + value

    def move(self, seconds: float, *, source: str, target: str) -> None:
        """Count a part of one stage's time as another's."""
        self.add({target: seconds})
        self.add({source: -seconds})

    def seconds(self) -> dict[str, float]:
        """Seconds per stage; `compile` is contained in the others."""
        return {**{k: round(v, 2) for k, v in self._seconds.items()}, "compile": round(self._compile, 2)}
