"""The silent listener takes everything that a stage says and says nothing."""

from bayescg.progress import Progress, SilentProgress


def test_silent_progress_is_a_progress(capsys):
    progress: Progress = SilentProgress()
    progress.stage("search", total=10, unit="references")
    progress.update(3, metrics={"n_eff": "310"})
    progress.message("a line")
    progress.finish()
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
