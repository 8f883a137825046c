"""`bayescg identify` on stored runs of both kinds: what it prints, keeps and adds to the report; bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayescg.cli import main
from bayescg.output import determination_table, open_result, read_analyses
from bayescg.output._analyses import figures_of
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
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert {"profiles.png", "combinations.png"} <= figures
    assert ("boundary.png" in figures) == ("geodesic" in data) == (folder.name == "double-well")
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


def test_participation_is_kept_and_shown(identified):
    """Of each combination as it is written, and of the Fisher information's own eigenvectors."""
    folder, data = identified
    shares = data["participation"].transpose("combination", "parameter").values
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    exponents = data["exponent"].values
    np.testing.assert_allclose(shares, exponents**2 / np.sum(exponents**2, axis=1, keepdims=True), atol=0.05)
    # v_i² of the information per frame that the run itself has stored, relative to the prior
    stored = open_result(folder)["identifiability"].to_dataset()
    v, e = stored["eigenvector"].values, stored["fisher_eigenvalue"].values
    inverse = np.linalg.inv(v)
    values, vectors = np.linalg.eigh(inverse @ np.diag(e) @ inverse.T)
    np.testing.assert_allclose(data["fisher_eigenvalue"].values, values[::-1], rtol=0.05)
    np.testing.assert_allclose(data["fisher_participation"].values, (vectors.T[::-1]) ** 2, atol=0.02)
    table, sentences = determination_table(data), json.loads(data.attrs["sentences"])
    name = str(data["parameter"].values[np.argmax(data["fisher_participation"].values[0])])
    assert f"({data['parameter'].values[np.argmax(shares[0])]} " in table and "participation" in table
    assert any(f"% {name}, the softest" in sentence for sentence in sentences)


def test_an_older_analysis_without_participation_still_opens_and_reports(runs, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(runs["double-well"], folder)
    path = folder / "analyses" / "identification.nc"
    assert main(["identify", str(folder)]) == 0
    with xr.open_dataset(path) as stored:
        new = stored.load()
    old = new.drop_vars(["participation", "fisher_eigenvalue", "fisher_participation"])
    old.to_netcdf(path)
    assert main(["report", str(folder)]) == 0
    assert "<h2>What the data determine</h2>" in (folder / "report.html").read_text()
    assert "participation" in determination_table(new) and "participation" not in determination_table(old)
    # one from before the edge was looked for has no picture of it, and no other picture less
    without = old.drop_dims("step")
    assert set(figures_of("identification", old)) - set(figures_of("identification", without)) == {"boundary"}


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
