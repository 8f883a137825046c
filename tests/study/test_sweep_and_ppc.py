"""`bayescg sweep` and `bayescg ppc` on a stored run whose data the model can make, and on one whose data it can't."""

import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from bayescg.analysis import sweep_part
from bayescg.cli import main
from bayescg.data import write_frames
from bayescg.inference import read_bank
from bayescg.output import read_analyses
from bayescg.output._result import NEWEST_SCHEMA, RESULT_FILE
from bayescg.physics import SplinePair
from bayescg.study import check_predictions, sweep_run
from tests.study.stored_run import EDGE, TRUTH, exact_positions, make_frames, stored_run

N = 3000


def truth() -> SplinePair:
    spline = SplinePair.uniform(inner=0.7, cutoff=2.5, spacing=0.225, core_distance=0.8, core_strength=5.0)
    return spline.with_parameters({"pair_coefficients": jnp.asarray(TRUTH)})


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Data of the model; a pressure of which the model knows nothing."""
    pressure = np.random.default_rng(3).normal(4.0, 0.3, size=N)
    return stored_run(
        tmp_path_factory.mktemp("good"), positions=exact_positions(truth(), N, seed=1), pressure=pressure
    )


@pytest.fixture(scope="module")
def swept(run) -> xr.Dataset:
    assert main(["sweep", str(run)]) == 0
    return read_analyses(run)["sweep"]


@pytest.fixture(scope="module")
def checked(run) -> xr.Dataset:
    assert main(["ppc", str(run)]) == 0
    return read_analyses(run)["predictive_checks"]


def test_a_sweep_is_kept_with_figures_and_told_by_the_report(run, swept):
    assert {"basis_sweep.png", "data_size_sweep.png"} <= {path.name for path in (run / "figures").iterdir()}
    report = (run / "report.html").read_text()
    sentences = json.loads(swept.attrs["sentences"])
    assert "<h2>How complex may it be?</h2>" in report and sentences[0] in report
    assert not any("care" in sentence for sentence in sentences)
    assert "Size of the basis" in report and "Data size" in report


def test_the_gap_is_that_of_theory(run, swept):
    """An exponential family that holds the truth, iid frames, prior N(0, 2²): tr((H + Λ/n)⁻¹ H)/n to first order in 1/n."""
    table = sweep_part(swept, "data_size")
    assert table["data_size"].values[-1] == N // 4 and table["n_pieces"].values[-1] == 4
    bank = read_bank(run / "bank.nc")
    weights = bank.weights(np.append(TRUTH, 1.0))
    phi = bank.beta * (bank.features - weights @ bank.features)[:, :8]
    curvature = (phi * weights[:, None]).T @ phi
    kept = table.sel(data_size=table["data_size"] >= N // 16)
    assert kept.sizes["data_size"] == 3
    for n in kept["data_size"].values:
        expected = np.trace(np.linalg.solve(curvature + np.eye(8) / (4.0 * n), curvature)) / n
        row = kept.sel(data_size=n)
        assert abs(float(row["gap"]) - expected) < 3.5 * float(row["gap_se"]) + 0.05 * expected
        assert float(row["gap_se"]) < 0.4 * expected, "the noise of energies must not drown it"


def test_bases_are_those_of_the_spline_and_the_coarsest_is_too_coarse(swept):
    table = sweep_part(swept, "basis").sortby("basis_size")
    assert table["basis"].values.tolist() == ["4", "5", "6", "7", "8"]
    assert np.all(np.diff(table["variance"].values) > 0.0)
    coarser = table.isel(basis=slice(0, 4))
    assert np.all(coarser["difference"] > 2.0 * coarser["difference_se"]), (
        "the truth has a wiggle for every knot"
    )
    assert table.attrs["recommended"] == "8"
    train = table["train_relative_entropy"].values
    assert train[-1] == train.min(), "the finest basis holds every other"
    assert float(table["variance"].sel(basis="8")) == pytest.approx(8 / (2 * N), rel=0.35)


def test_chosen_sizes(run):
    told: list[str] = []
    table = sweep_part(sweep_run(run, sizes=(6, 4), tell=told.append), "basis")
    assert table["basis"].values.tolist() == ["4", "6", "8"]
    assert "bases of 4, 6, 8" in told


def test_data_of_the_model_are_as_expected_but_for_a_pressure_of_something_else(run, checked):
    verdict = dict(zip(checked["observable"].values, checked["verdict"].values, strict=True))
    assert verdict["energy"] == "fitted" and verdict["variance of energy"] == "as expected"
    assert verdict.pop("pressure") == "not reproduced"
    assert set(verdict.values()) == {"fitted", "as expected"}
    fitted = checked["fitted_share"].sel(observable=checked["group"].isin(["energy", "∂U/∂z"]))
    assert fitted.sizes["observable"] == 9 and int(np.sum(fitted > 0.9)) >= 8, (
        "the innermost knot is seen rarely"
    )
    assert np.all(np.abs(checked["z"].sel(observable=fitted["observable"])) < 1.0), "fitted, yet missed"
    assert checked["predicted"].sel(observable="pressure").item() == pytest.approx(
        2 * 1.5 / EDGE**3, abs=0.02
    )
    assert "predictive_checks.png" in {path.name for path in (run / "figures").iterdir()}
    assert "<h2>Would data of the model look like these?</h2>" in (run / "report.html").read_text()
    assert json.loads(checked.attrs["sentences"])[1].startswith("Missed most: pressure (z = +")


@pytest.fixture(scope="module")
def repeated(tmp_path_factory) -> Path:
    """As many frames, every one three times: worth a third; and no verification."""
    positions = np.repeat(exact_positions(truth(), N // 3, seed=5), 3, axis=0)
    return stored_run(tmp_path_factory.mktemp("repeated"), positions=positions, verdict=None)


def test_correlated_frames_are_worth_fewer(repeated, checked):
    check = check_predictions(repeated, n_draws=20)
    assert set(check["verdict"].values) <= {"fitted", "as expected"}
    both = [name for name in check["observable"].values if name in checked["observable"]]
    ratio = check["sampling_sd"].sel(observable=both) / checked["sampling_sd"].sel(observable=both)
    assert np.sqrt(3.0) == pytest.approx(float(np.median(ratio)), rel=0.15)
    assert "not verified" in json.loads(check.attrs["sentences"])[-1]


def test_held_out_frames_are_scored_beside_the_own(run, tmp_path, capsys):
    write_frames(make_frames(exact_positions(truth(), 800, seed=7)), tmp_path / "more.nc")
    assert main(["ppc", str(run), "--draws", "10", "--held-out", str(tmp_path / "more.nc")]) == 0
    assert "Held-out relative entropy of 800 frames" in capsys.readouterr().out
    check = read_analyses(run)["predictive_checks"]
    above = check.attrs["held_out_relative_entropy"] - check.attrs["own_relative_entropy"]
    assert abs(above - 8 / N) < 4.0 * np.hypot(check.attrs["held_out_se"], check.attrs["own_se"])


def refused(capsys, *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    assert told.err.strip().splitlines()[-1].startswith("bayescg: error:")
    return told.err.strip().splitlines()[-1]


@pytest.mark.parametrize("sizes", ["3", "8", "6,20"])
def test_sizes_that_are_not_coarser(run, capsys, sizes):
    assert "expected coarser ones than the run's basis of 8, from 4 to 7" in refused(
        capsys, "sweep", str(run), "--sizes", sizes
    )


@pytest.mark.parametrize("command", ["sweep", "ppc"])
def test_runs_that_can_not_be_analysed(run, tmp_path, capsys, command):
    labelled = tmp_path / "labelled"
    labelled.mkdir()
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"a": (("chain", "draw"), np.ones((1, 3)))})})
    tree.attrs |= {"schema_version": NEWEST_SCHEMA, "kind": "labelled"}
    tree.to_netcdf(labelled / RESULT_FILE, engine="netcdf4")
    assert "of labelled configurations" in refused(capsys, command, str(labelled))
    assert "no such file" in refused(capsys, command, str(tmp_path / "nothing"))
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "bank.nc").unlink()
    assert "bank.nc: no such bank" in refused(capsys, command, str(tmp_path / "run"))


@pytest.mark.parametrize("arguments", [["sweep", "--sizes", "4;6"], ["ppc", "--draws", "1"]])
def test_words_that_are_no_numbers(run, capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main([arguments[0], str(run), *arguments[1:]])
    assert stopped.value.code == 2


@pytest.mark.parametrize("frames", ["own", "missing", "box"])
def test_held_out_frames_that_are_none(run, tmp_path, capsys, frames):
    path = tmp_path / "more.nc"
    words = {"own": "has learned from", "missing": "no such file", "box": "frames of the same box"}[frames]
    if frames == "own":
        shutil.copy(run.parent / "study" / "frames.nc", path)
    elif frames == "box":
        other = make_frames(exact_positions(truth(), 40, seed=8))
        write_frames(
            type(other)(other.positions, other.box + 1.0, other.topology, other.state, other.units), path
        )
    assert words in refused(capsys, "ppc", str(run), "--held-out", str(path))
