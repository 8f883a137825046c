"""Progress on a terminal (a live display) and without one (plain lines, not too many)."""

import os
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from bayescg.progress import NO_METRICS


def format_duration(seconds: float) -> str:
    """A duration as a reader says it: "8 s", "2 min 05 s", "1 h 20 min".

    Example:
        >>> format_duration(125)
        '2 min 05 s'
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _amount(completed: float, total: float | None, unit: str) -> str:
    text = _number(completed) if total is None else f"{_number(completed)}/{_number(total)}"
    return f"{text} {unit}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() or value >= 1000 else f"{value:.3g}"


def _time_left(completed: float, total: float | None, elapsed: float) -> float | None:
    """Seconds left at the mean speed since the stage began [s]; None where that cannot be said yet."""
    if total is None or completed <= 0 or completed >= total or elapsed < 1:
        return None
    return elapsed * (total - completed) / completed


class _AmountColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["amount"], style="cyan")


class _MetricsColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        text = Text()
        for name, value in task.fields["metrics"].items():
            text.append(f"{'  ' if text else ''}{name} ", style="dim")
            text.append(value, style="bold")
        return text


class _TimeColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        elapsed = task.finished_time if task.finished_time is not None else task.elapsed or 0.0
        text = format_duration(elapsed)
        left = _time_left(task.completed, task.total, elapsed)
        if left is not None and task.finished_time is None:
            text += f", {format_duration(left)} left"
        return Text(text, style="dim")


class RichProgress:
    """A live display: a bar per stage, with its physics beside it; finished stages stay with their time.

    Args:
        console: Where it is drawn.

    Example:
        >>> import io
        >>> progress = RichProgress(Console(file=io.StringIO()))
        >>> progress.stage("search", total=10, unit="references")
        >>> progress.update(4, metrics={"step": "0.8 sd"})
        >>> progress.finish()
    """

    def __init__(self, console: Console):
        self._display = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _AmountColumn(),
            _MetricsColumn(),
            _TimeColumn(),
            console=console,
            refresh_per_second=4,
        )
        self._task: TaskID | None = None
        self._total: float | None = None
        self._completed = 0.0
        self._unit = ""

    def stage(self, name: str, *, total: float | None = None, unit: str = "") -> None:
        self._end_stage()
        self._display.start()
        self._total, self._completed, self._unit = total, 0.0, unit
        amount = "" if total is None else _amount(0, total, unit)
        self._task = self._display.add_task(name, total=total, amount=amount, metrics=NO_METRICS)

    def update(self, completed: float, *, metrics: Mapping[str, str] = NO_METRICS) -> None:
        if self._task is None:
            raise ValueError("update before the first stage; call stage(name) first")
        self._completed = completed
        amount = _amount(completed, self._total, self._unit)
        self._display.update(self._task, completed=completed, amount=amount)
        if metrics:
            self._display.update(self._task, metrics=dict(metrics))

    def message(self, text: str) -> None:
        self._display.console.print(text, markup=False, highlight=False)

    def finish(self) -> None:
        self._end_stage()
        self._display.stop()

    def stop(self) -> None:
        """Ends the display where the present stage did not come to its end."""
        self._display.stop()
        self._task = None

    def _end_stage(self) -> None:
        if self._task is None:
            return
        # a stage may end before its total: what is left is a full bar and the amount that was really done
        amount = _amount(self._completed, None, self._unit) if self._completed else ""
        full = self._completed or 1.0
        self._display.update(self._task, total=full, completed=full, amount=amount)
        self._display.stop_task(self._task)
        self._task = None


class PlainProgress:
    """Plain lines for logs and pipes: a stage's beginning, its end, and between them a line now and then.

    Args:
        stream: Where the lines go.
        interval: Shortest time between two lines of one stage [s].
        clock: Gives the time [s]; for tests.

    Example:
        >>> import sys
        >>> progress = PlainProgress(sys.stdout, clock=lambda: 0.0)
        >>> progress.stage("search", total=10, unit="references")
        search ...
        >>> progress.update(4, metrics={"step": "0.8 sd"})
        >>> progress.finish()
        search done: 0.0 s, 4 references, step 0.8 sd
    """

    def __init__(
        self, stream: TextIO, *, interval: float = 10.0, clock: Callable[[], float] = time.monotonic
    ):
        self._stream = stream
        self._interval = interval
        self._clock = clock
        self._name: str | None = None
        self._total: float | None = None
        self._unit = ""
        self._metrics: Mapping[str, str] = NO_METRICS
        self._completed = self._began = self._last_line = 0.0

    def stage(self, name: str, *, total: float | None = None, unit: str = "") -> None:
        self._end_stage()
        self._name, self._total, self._unit, self._metrics = name, total, unit, NO_METRICS
        self._completed = 0.0
        self._began = self._last_line = self._clock()
        self._write(f"{name} ...")

    def update(self, completed: float, *, metrics: Mapping[str, str] = NO_METRICS) -> None:
        if self._name is None:
            raise ValueError("update before the first stage; call stage(name) first")
        self._completed = completed
        if metrics:
            self._metrics = dict(metrics)
        now = self._clock()
        if now - self._last_line < self._interval:
            return
        self._last_line = now
        parts = [_amount(completed, self._total, self._unit), *self._metric_texts()]
        left = _time_left(completed, self._total, now - self._began)
        if left is not None:
            parts.append(f"{format_duration(left)} left")
        self._write(f"  {self._name}: {', '.join(parts)}")

    def message(self, text: str) -> None:
        self._write(text)

    def finish(self) -> None:
        self._end_stage()

    def stop(self) -> None:
        """Ends the display where the present stage did not come to its end."""
        if self._name is not None:
            self._write(f"{self._name} stopped after {format_duration(self._clock() - self._began)}")
        self._name = None

    def _end_stage(self) -> None:
        if self._name is None:
            return
        done = [_amount(self._completed, None, self._unit)] if self._completed else []
        parts = [format_duration(self._clock() - self._began), *done, *self._metric_texts()]
        self._write(f"{self._name} done: {', '.join(parts)}")
        self._name = None

    def _metric_texts(self) -> list[str]:
        return [f"{name} {value}" for name, value in self._metrics.items()]

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def make_progress(stream: TextIO) -> RichProgress | PlainProgress:
    """The live display where the stream is a terminal that can redraw lines, plain lines elsewhere.

    Example:
        >>> import sys
        >>> progress = make_progress(sys.stderr)
    """
    if stream.isatty() and os.environ.get("TERM", "") != "dumb":
        return RichProgress(Console(file=stream))
    return PlainProgress(stream)
