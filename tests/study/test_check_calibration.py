"""`bayescg sbc`: a stored run checked with its own references, and one-line errors for what can't be checked."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayescg.cli import main
from bayescg.output import (
    calibration_check_sentences,
    figure_calibration_check,
    read_analyses,
    write_analysis,
)
from bayescg.output._result import NEWEST_SCHEMA, RESULT_FILE

ROOT = Path(__file__).resolve().parents[2]


def refused(capsys, *words: str) -> str:
    assert main(["sbc", *words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.strip().splitlines()
    assert lines[-1].startswith("bayescg: error:") and "Traceback" not in told.err
    return lines[-1]


def result_with(folder: Path, **attributes) -> Path:
    folder.mkdir()
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"a": (("chain", "draw"), np.ones((1, 3)))})})
    tree.attrs |= {"schema_version": NEWEST_SCHEMA, **attributes}
    tree.to_netcdf(folder / RESULT_FILE, engine="netcdf4")
    return folder


def test_no_run(tmp_path, capsys):
    assert "no such file" in refused(capsys, str(tmp_path / "nothing"))


def test_labelled_runs_have_no_references(tmp_path, capsys):
    assert "labelled" in refused(capsys, str(result_with(tmp_path / "run", kind="labelled")))


def test_quick_runs_mean_nothing(tmp_path, capsys):
    assert "--quick" in refused(capsys, str(result_with(tmp_path / "run", quick=1)))


def test_a_run_without_its_record(tmp_path, capsys):
    told = refused(capsys, str(result_with(tmp_path / "run", model_file_text="", data_checksum="")))
    assert "run.json" in told


@pytest.mark.parametrize("replicates", ["0", "-3"])
def test_too_few_replicates(tmp_path, capsys, replicates):
    with pytest.raises(SystemExit) as stopped:
        main(["sbc", str(tmp_path), "--replicates", replicates])
    assert stopped.value.code == 2
    assert "too few" in capsys.readouterr().err


def both(n_failed: int) -> xr.Dataset:
    from bayescg.analysis import check_ranks

    rng = np.random.default_rng(1)
    own = rng.integers(0, 100, size=(200, 3))
    own[:, :n_failed] = np.where(
        own[:, :n_failed] < 50, own[:, :n_failed] // 3, 99 - (99 - own[:, :n_failed]) // 3
    )
    raw = np.where(rng.integers(0, 100, size=(200, 3)) < 50, 0, 99)
    checks = [check_ranks(ranks, n_ranks=100, names=["a", "b", "c"]) for ranks in (own, raw)]
    return xr.concat(checks, xr.Variable("posterior", ["calibrated", "raw"]), combine_attrs="override")


@pytest.mark.parametrize(
    ("n_failed", "words"), [(0, "passed for all 3"), (2, "failed for 2 of 3 parameters (a, b)")]
)
def test_words_and_figure_agree(n_failed, words, tmp_path):
    check = both(n_failed)
    assert words in calibration_check_sentences(check)[0]
    figure = figure_calibration_check(check)
    assert figure.get_suptitle() == (
        f"Calibration check: {'failed for 2' if n_failed else 'passed for 3'} of 3 parameters"
    )
    colours = [line.get_color() for line in figure.axes[0].lines[1:]]
    assert len(colours) == 3 and colours.count("#D55E00") == n_failed
    told = check.assign_attrs(title="Check", sentences=json.dumps(calibration_check_sentences(check)))
    assert [path.name for path in write_analysis(told, tmp_path, "calibration_check")] == [
        "calibration_check.nc", "calibration_check.png",
    ]  # fmt: skip
    stored = read_analyses(tmp_path)["calibration_check"]
    np.testing.assert_array_equal(stored["rank"].values, check["rank"].values)
    assert stored["coverage"].dims == ("posterior", "parameter", "content")


@pytest.mark.slow
def test_the_double_well_passes(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["run", str(ROOT / "models" / "double-well"), "-o", str(folder)]) == 0
    capsys.readouterr()
    assert main(["sbc", str(folder), "--replicates", "200", "--seed", "3"]) == 0
    told = capsys.readouterr().out
    print(told)
    assert "Calibration check: passed for all 2 parameters." in told
    assert (folder / "figures" / "calibration_check.png").stat().st_size > 10_000
    check = read_analyses(folder)["calibration_check"]
    coverage = check["coverage"].sel(posterior="calibrated", content=0.9)
    assert np.all((coverage > 0.84) & (coverage < 0.96))
    assert check["rank"].sizes["replicate"] == 200 and check.attrs["seed"] == 3
    assert "Does the posterior hold what it promises?" in (folder / "report.html").read_text()
