"""The live display and the plain lines."""

import io

import pytest
from rich.console import Console

from bayescg.output import PlainProgress, RichProgress, format_duration, make_progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (59.7, "1 min 00 s"), (125, "2 min 05 s"), (4805, "1 h 20 min")],
)
def test_format_duration(seconds: float, text: str):
    assert format_duration(seconds) == text


def test_amounts_are_whole_where_they_count_and_rounded_where_they_measure():
    stream, clock = io.StringIO(), Clock()
    progress = PlainProgress(stream, interval=0, clock=clock)
    progress.stage("sample", total=20_000, unit="draws")
    progress.update(12_345)
    progress.stage("verify", total=2.5, unit="ns")
    progress.update(1.23456)
    text = stream.getvalue()
    assert "12,345/20,000 draws" in text and "1.23/2.5 ns" in text


def test_plain_lines_are_throttled_and_complete():
    stream, clock = io.StringIO(), Clock()
    progress = PlainProgress(stream, interval=10, clock=clock)
    progress.stage("search", total=40, unit="references")
    for step in range(31):
        clock.now = float(step)
        progress.update(step, metrics={"n_eff": str(100 + step)})
    progress.message("the data mean lies inside the hull")
    clock.now = 40.0
    progress.stage("sample")
    progress.finish()
    assert stream.getvalue().splitlines() == [
        "search ...",
        "  search: 10/40 references, n_eff 110, 30 s left",
        "  search: 20/40 references, n_eff 120, 20 s left",
        "  search: 30/40 references, n_eff 130, 10 s left",
        "the data mean lies inside the hull",
        "search done: 40 s, 30 references, n_eff 130",
        "sample ...",
        "sample done: 0.0 s",
    ]


def test_live_display_shows_stages_metrics_and_messages():
    stream = io.StringIO()
    progress = RichProgress(Console(file=stream, force_terminal=True, width=120))
    progress.stage("search", total=10, unit="references")
    progress.update(4, metrics={"n_eff": "310", "round": "2"})
    progress.message("kept [line]")
    progress.stage("verify")
    progress.finish()
    progress.finish()
    text = stream.getvalue()
    for word in ("search", "references", "n_eff", "310", "round", "kept [line]", "verify"):
        assert word in text


def test_a_stage_that_was_broken_off_is_not_called_done():
    stream = io.StringIO()
    progress = PlainProgress(stream, clock=Clock())
    progress.stage("search", total=40)
    progress.stop()
    progress.stop()
    assert stream.getvalue().splitlines() == ["search ...", "search stopped after 0.0 s"]
    stream = io.StringIO()
    live = RichProgress(Console(file=stream, force_terminal=True, width=120))
    live.stage("search", total=40)
    live.stop()
    assert "✓" not in stream.getvalue()


@pytest.mark.parametrize("display", ["plain", "live"])
def test_update_before_a_stage_is_refused(display: str):
    stream = io.StringIO()
    progress = PlainProgress(stream) if display == "plain" else RichProgress(Console(file=stream))
    with pytest.raises(ValueError, match="before the first stage"):
        progress.update(1)


def test_make_progress_picks_by_the_stream(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(make_progress(io.StringIO()), PlainProgress)
    assert isinstance(make_progress(Terminal()), RichProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_progress(Terminal()), PlainProgress)
