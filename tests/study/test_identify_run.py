"""`bayescg identify` on stored runs of both kinds: what it prints, keeps and adds to the report; bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayescg.cli import main
from bayescg.output import open_result, read_analyses
from bayescg.study import identify_run

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Quick runs: frames of the double well, and energies and forces of argon dimers."""
    folder = tmp_path_factory.mktemp("identified")
    for name in ("double-well", "argon-dimer"):
        assert main(["run", "--quick", str(MODELS / name), "-o", str(folder / name)]) in (0, 1)
    return {name: folder / name for name in ("double-well", "argon-dimer")}


@pytest.fixture(scope="module", params=["double-well", "argon-dimer"])
def identified(request, runs) -> tuple[Path, xr.Dataset]:
    folder = runs[request.param]
    assert main(["identify", str(folder)]) == 0
    return folder, read_analyses(folder)["identification"]


def test_it_is_kept_with_figures_and_told_by_the_report(identified):
    folder, data = identified
    assert {"profiles.png", "combinations.png"} <= {path.name for path in (folder / "figures").iterdir()}
    report = (folder / "report.html").read_text()
    assert "<h2>What the data determine</h2>" in report
    first = json.loads(data.attrs["sentences"])[0]
    assert first in report and first.startswith("Of 2 parameters: 2 identified.")
    assert main(["report", str(folder)]) == 0
    assert first in (folder / "report.html").read_text(), "a report that is written anew loses the analysis"


def test_it_agrees_with_the_stored_posterior(identified):
    """Profiles' intervals are those of the raw draws where the posterior is nearly normal; the spectrum is the run's own."""
    folder, data = identified
    stored = open_result(folder)["unconstrained"].to_dataset()
    at_mode = stored["map"].values
    sd = np.sqrt(np.diag(stored["laplace_covariance"].values))
    interval = data["interval"].values[:2]
    np.testing.assert_allclose((interval - at_mode[:, None]) / sd[:, None], [[-1.96, 1.96]] * 2, atol=0.35)
    np.testing.assert_allclose(
        data["spread"].values, np.sqrt(np.diag(stored["calibrated_covariance"].values)), rtol=1e-6
    )
    assert np.all(data["contraction"].values > 0.5)
    assert np.all(data["likelihood_sensitivity"].values > data["prior_sensitivity"].values)


def test_nothing_is_simulated_and_the_result_stays(runs):
    folder = runs["double-well"]
    before = (folder / "posterior.nc").read_bytes(), (folder / "bank.nc").read_bytes()
    _, sentences = identify_run(folder)
    assert before == ((folder / "posterior.nc").read_bytes(), (folder / "bank.nc").read_bytes())
    assert any(sentence.startswith("Along the softest direction") for sentence in sentences)


@pytest.mark.slow  # its few draws in a curved valley depend on rounding: it wants the code that users run
def test_a_parameter_that_the_data_do_not_see(runs, tmp_path):
    """Of an argon dimer's labels the energy alone, at one distance: ε and σ only together.

    A narrower prior and more noise than the model's, so that quick chains get through the valley."""
    text = (MODELS / "argon-dimer" / "model.toml").read_text()
    folder = tmp_path / "one"
    shutil.copytree(MODELS / "argon-dimer", folder)
    head, forces, tail = text.partition("[noise.forces]")
    assert forces and 'use = ["energy", "forces"]' in head
    head = head.replace('use = ["energy", "forces"]', 'use = ["energy"]')
    tail = tail[tail.index("[inference]") :]
    assert "scale = 1.0" in head + tail and "known = 0.0005" in head
    easier = (head + tail).replace("scale = 1.0", "scale = 0.3").replace("known = 0.0005", "known = 0.002")
    (folder / "model.toml").write_text(easier)
    assert main(["run", "--quick", str(folder), "-o", str(tmp_path / "out")]) in (0, 1)
    data, sentences = identify_run(tmp_path / "out")
    stiff, soft = data["combination_contraction"].values
    assert stiff > 0.99 and soft < 0.01
    assert any("alone, only combinations" in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "no such file"),
        (lambda folder: (folder / "bank.nc").unlink(), "bank.nc"),
        (lambda folder: (folder / "run.json").unlink(), "run.json"),
        (lambda folder: (folder / "run.json").write_text("{"), "damaged"),
    ],
)
def test_bad_input_ends_in_one_line(runs, tmp_path, capsys, damage, words):
    folder = tmp_path / "run"
    shutil.copytree(runs["double-well"], folder)
    damage(folder)
    capsys.readouterr()
    assert main(["identify", str(folder)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("bayescg: error: ") and words in error


def test_a_damaged_analysis_is_named(runs, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(runs["double-well"], folder)
    (folder / "analyses").mkdir(exist_ok=True)
    (folder / "analyses" / "identification.nc").write_bytes(b"nothing")
    assert main(["report", str(folder)]) == 2
    assert "identification.nc: damaged" in capsys.readouterr().err
