"""Where a run writes: a new or empty folder and nothing else; what it is resumed by."""

import json
import os

import pytest

from bayescg.errors import InputError
from bayescg.study._output_folder import RECORD, claim_folder, refuse_used_folder


def test_an_output_folder_that_holds_another_run(study, refused, tmp_path):
    folder, out = study(), tmp_path / "out"
    for name in ("run.json", "posterior.nc"):
        out.mkdir(exist_ok=True)
        (out / name).write_text("somebody's work")
        refused(["run", folder, "-o", out], f"{out}: ", "another run", "-o", "resume")
        (out / name).unlink()


@pytest.mark.parametrize("name", ["report.html", "bank.nc", ".hidden", "checkpoint/x.npz"])
def test_an_output_folder_that_holds_something_else(study, refused, tmp_path, name):
    folder, out = study(), tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("somebody's work")
    refused(["run", folder, "-o", out], f"{out}: ", "not empty", "name a new folder with -o")


def test_an_output_folder_that_is_a_file(study, refused, tmp_path):
    folder, out = study(), tmp_path / "out"
    out.write_text("somebody's work")
    refused(["run", folder, "-o", out], f"{out}: is a file", "-o")


@pytest.mark.parametrize("place", ["file/out", "file/deep/out", "n" * 300])
def test_an_output_folder_that_can_not_be_made(study, refused, tmp_path, place):
    folder = study()
    (tmp_path / "file").write_text("somebody's work")
    refused(["run", folder, "-o", tmp_path / place], f"{tmp_path / place}: can't be made", "with -o")


def test_a_folder_that_may_not_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="no folder that may be written to; name another with -o"):
        refuse_used_folder(tmp_path / "out")


def test_a_folder_that_is_lost_between(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="can't be made or written to .*name another folder"):
        claim_folder(tmp_path / "out", "{}")


def test_an_empty_folder_may_be_used(tmp_path):
    refuse_used_folder(tmp_path)
    claim_folder(tmp_path, "{}")
    assert [path.name for path in tmp_path.iterdir()] == [RECORD]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_the_record_may_be_read_like_other_files(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        claim_folder(tmp_path / "out", "{}")
    finally:
        os.umask(before)
    assert (tmp_path / "out" / RECORD).stat().st_mode & 0o777 == mode


def test_nothing_to_resume_report_or_export(tmp_path, refused):
    empty = tmp_path / "empty"
    empty.mkdir()
    for place in (empty, tmp_path / "nowhere"):
        refused(["resume", place], f"{place}: ", "no run to resume", "bayescg run")
        refused(["report", place], str(place / "posterior.nc"), "no such file", "finished run")
        refused(["export", place], str(place / "posterior.nc"), "no such file", "finished run")


def test_a_damaged_record(tmp_path, refused):
    (tmp_path / "run.json").write_text("{")
    refused(["resume", tmp_path], str(tmp_path / "run.json"), "damaged", "new folder")


def test_a_model_file_that_has_moved(study, tmp_path, refused):
    folder, out = study(), tmp_path / "out"
    text = (folder / "model.toml").read_text()
    gone = tmp_path / "elsewhere" / "model.toml"
    claim_folder(out, json.dumps({"model": str(gone), "text": text, "seed": 1, "quick": True}))
    refused(
        ["resume", out],
        f"{out / 'run.json'}: the model file that it names, {gone}, is gone",
        "put it",
        '"model"',
    )
