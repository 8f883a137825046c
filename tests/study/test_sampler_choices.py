"""Samplers by one line of the model file: whole runs with simulations that go on, and with resampled data."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from arviz_stats.base import array_stats

from bayescg.cli import main

DOUBLE_WELL = Path(__file__).resolve().parents[2] / "models" / "double-well"
EXACT = {"well_t1": (2.901786, 0.615019), "well_t2": (2.040847, 0.394017)}


@pytest.fixture
def run(tmp_path):
    """Runs the double well with other lines in `[inference]`."""

    def go(lines: str, *options: str) -> tuple[xr.DataTree, Path]:
        folder = tmp_path / "study"
        folder.mkdir()
        text = (DOUBLE_WELL / "model.toml").read_text()
        text = text.replace("data/double_well.nc", str(DOUBLE_WELL / "data" / "double_well.nc"))
        (folder / "model.toml").write_text(text.replace("[inference]\n", f"[inference]\n{lines}\n"))
        assert main(["run", str(folder), "-o", str(folder / "out"), *options]) == 0
        with xr.open_datatree(folder / "out" / "posterior.nc") as tree:
            return tree.load(), folder / "out"

    return go


def checks_of(tree):
    return {check["name"]: check for check in json.loads(tree.attrs["checks"])}


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["sgld", "sghmc"])
def test_simulations_that_go_on_give_the_exact_posterior(run, sampler):
    """V2 within the tolerance and the Monte-Carlo error; the prediction is stored and told."""
    tree, folder = run(f'sampler = "{sampler}"\nstep_tolerance = 0.05')
    stats, raw = tree["sample_stats"].attrs, tree["posterior_raw"]
    assert stats["sampler"] == sampler and stats["step_tolerance"] == pytest.approx(0.05)
    predicted = max(stats["predicted_width_bias"], stats["predicted_mean_bias"])
    assert 0.5 * 0.05 < predicted <= 0.05 * (1.0 + 1e-9)
    for name, (mean, sd) in EXACT.items():
        values = raw[name].values
        ess = float(array_stats.ess(values, chain_axis=0, draw_axis=1))
        assert ess > 400
        assert abs(values.mean() - mean) < (0.05 + 4.0 / np.sqrt(ess)) * sd
        assert abs(values.std() / sd - 1.0) < 0.05 + 4.0 / np.sqrt(2.0 * ess)
    check = checks_of(tree)["step size"]
    assert check["verdict"] == "passed" and check["value"] == pytest.approx(predicted)
    assert f"{sampler}'s step of" in (folder / "report.html").read_text().replace("&#x27;", "'")
    assert "divergences" not in checks_of(tree)
    assert tree["verification"].attrs["verdict"] == "passed"


@pytest.mark.slow
def test_a_step_too_large_for_its_tolerance_is_flagged(run, capsys):
    tree, _ = run('sampler = "sgld"\nstep = 0.8', "--quick")
    check = checks_of(tree)["step size"]
    assert check["verdict"] == "failed" and check["value"] > check["threshold"] == pytest.approx(0.1)
    assert "do not use these draws" in check["sentence"]
    assert "Checks failed: " in (text := capsys.readouterr().out) and "step size" in text


@pytest.mark.slow
def test_bayesbag_is_named_for_what_it_is(run):
    tree, _ = run('sampler = "bayesbag"', "--quick")
    assert tree["posterior_raw"].attrs["assumes_independent_frames"] == 0
    assert "blocks drawn with replacement" in tree["posterior_raw"].attrs["calibration"]
    assert tree["sample_stats"].attrs["n_blocks"] < 20
    assert checks_of(tree)["resampled blocks"]["verdict"] == "failed"
    for name, (_, sd) in EXACT.items():
        assert 1.1 * sd < float(tree["posterior_raw"][name].std()) < 1.9 * sd


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "check", "verdict", "width"),
    [
        (
            'sampler = "tempered-langevin"\nposterior_temperature = 4.0',
            "posterior temperature",
            "failed",
            2.0,
        ),
        ('sampler = "exchange"', "accepted proposals", "passed", 1.0),
        ('sampler = "sgld"\nbatch = 50', "step size", "passed", 1.0),
    ],
)
def test_samplers_with_keys_of_their_own(run, lines, check, verdict, width):
    """Their widths, as far as a quick run tells, and their check; what is no posterior says so where it is stored."""
    tree, folder = run(lines, "--quick")
    assert checks_of(tree)[check]["verdict"] == verdict
    raw = tree["posterior_raw"]
    for name, (_, sd) in EXACT.items():
        assert 0.7 * width * sd < float(raw[name].std()) < 1.4 * width * sd
    told = "not of the posterior"
    assert (
        (told in raw.attrs["calibration"])
        == (told in tree["posterior"].attrs["calibration"])
        == (width == 2.0)
    )
    assert checks_of(tree)[check]["sentence"].split(";")[0] in (folder / "report.html").read_text().replace(
        "&#x27;", "'"
    )
