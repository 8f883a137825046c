"""`bayescg compare` on runs by the command line: V2's double well against V3's spring, labelled runs, bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from scipy.special import logsumexp
from scipy.stats import norm

from bayescg.analysis import psis_scores
from bayescg.cli import main
from bayescg.inference import Evidence
from bayescg.output import evidence_table, open_result
from bayescg.study import _run_evidence, compare_runs
from bayescg.study._labelled import LabelledPipeline
from bayescg.study._run_evidence import _bayes_factors, evidence_basis
from bayescg.study._stored_fits import stored_fit, stored_pipeline

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "models" / "double-well" / "data" / "double_well.nc"

WELL = """\
title = "Double well"
units = "lj"
temperature = 1.0

[data]
frames = ["{data}"]

[potential.well]
kind = "double-well"
t1 = {t1}
t2 = {t2}

[prior.well_t1]
distribution = "normal"
loc = {t1}
scale = 2.0

[prior.well_t2]
distribution = "{family}"
loc = {loc}
scale = {scale}
{low}
[simulation]
time_step = 0.1
friction = 1.0
stride = 10
replicas = 32
equilibration = 20

[inference]
start = "guess"
seed = 1
draws = 150
warmup = 150
chains = 2
search_samples = 60
verification_draws = 4
max_verification_samples = 400
max_rounds = 2
"""


def written(folder: Path, *, spring: bool, data: Path = DATA) -> Path:
    folder.mkdir(parents=True)
    values = (
        {"t1": -1.0, "t2": 1e-6, "family": "lognormal", "loc": -13.8, "scale": 0.1, "low": ""}
        if spring
        else {
            "t1": 1.0,
            "t2": 1.0,
            "family": "truncated-normal",
            "loc": 1.0,
            "scale": 2.0,
            "low": "low = 0.0\n",
        }
    )
    (folder / "model.toml").write_text(WELL.format(data=data, **values))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """The double well, and the spring: the same form held at no quartic term."""
    folder = tmp_path_factory.mktemp("compared")
    for name in ("well", "spring"):
        model = written(folder / "models" / name, spring=name == "spring")
        assert main(["run", str(model), "-o", str(folder / name)]) == 0
    return [folder / "well", folder / "spring"]


def exact_scores(edges: np.ndarray) -> np.ndarray:
    """log p of each block's frames one by one under the grid posterior of the others, both models [model block]."""
    with xr.open_dataset(DATA) as file:
        frames = np.asarray(file["positions"].values, float).ravel()
    x = np.linspace(-7.0, 7.0, 1401)
    weight = np.full(len(x), x[1] - x[0])
    t1, t2 = (a.ravel() for a in np.meshgrid(np.linspace(-2.0, 8.0, 151), np.linspace(0.02, 5.0, 151)))
    k = np.linspace(0.05, 3.0, 600)
    models = (
        (np.stack([t1, t2]), norm.logpdf(t1, 1.0, 2.0) + norm.logpdf(t2, 1.0, 2.0)),
        (np.stack([-k, 0.0 * k]), norm.logpdf(-k, -1.0, 2.0)),
    )
    rows = []
    for eta, log_prior in models:
        nodes, own = (np.stack([-(y**2) / 2, y**4 / 4], axis=1) for y in (x, frames))
        density = -own @ eta - logsumexp(-nodes @ eta, b=weight[:, None], axis=0)
        row = []
        for first, end in zip(edges[:-1], edges[1:], strict=True):
            rest = log_prior + np.delete(density, np.s_[first:end], axis=0).sum(axis=0)
            row.append(logsumexp(rest - logsumexp(rest) + density[first:end], axis=1).sum())
        rows.append(row)
    return np.array(rows)


def test_the_double_well_beats_the_spring_by_the_exact_amount(runs, tmp_path, capsys):
    capsys.readouterr()
    assert main(["compare", *map(str, runs), "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    with xr.open_dataset(tmp_path / "out" / "comparison.nc") as table:
        table = table.load()
    edges = np.append(table["first_frame"].values, 100)
    well, spring = exact_scores(edges)
    assert table["run"].values.tolist() == ["well", "spring"]
    found, error = float(table["difference"][1]), float(table["normalisation_se"][1])
    print(f"{found:.2f} ± {error:.2f} (log Z), exact {np.sum(spring - well):.2f}")
    assert abs(found - np.sum(spring - well)) < 4.0 * error + 0.3 and 0.0 < error < 1.0
    assert float(table["difference_se"][1]) == pytest.approx(
        np.sqrt(len(well)) * np.std(well - spring, ddof=1), rel=0.1
    )
    assert table["weight"].values[0] > 0.9 and table.attrs["kind"] == "pointwise"
    assert "well" in out and "difference" in out and "pooled" in out and "comparison.png" in out
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 5000
    assert main(["compare", *map(str, runs), "-o", str(tmp_path / "out")]) == 2  # never writes over anything


def test_joint_scores_are_higher_and_importance_sampling_agrees(runs):
    joint = compare_runs(runs, score="joint")
    pointwise = compare_runs(runs)
    assert joint.attrs["kind"] == "joint"
    assert float(joint["difference"][1]) == pytest.approx(float(pointwise["difference"][1]), abs=3.0)
    fast = compare_runs(runs, method="psis")
    assert fast.attrs["kind"] == "joint" and "importance sampling" in fast.attrs["method"]
    assert np.all(np.isfinite(fast["khat"])) and float(fast["khat"].max()) < 0.7
    assert float(fast["difference"][1]) == pytest.approx(float(joint["difference"][1]), abs=4.0)


def test_importance_sampling_uses_the_longest_blocks_of_any_run(runs, tmp_path):
    """A run and a copy of it whose stored blocks are two of the run's together: the run's are put together too."""
    copy = tmp_path / "copy"
    shutil.copytree(runs[0], copy)
    tree = open_result(copy)
    old = tree["log_likelihood"].to_dataset()
    starts = np.arange(0, len(old["first_frame"]) - 1, 2)
    first = old["first_frame"].values[starts]
    values = np.add.reduceat(old["frames"].values, starts, axis=2)
    tree["log_likelihood"] = xr.DataTree(
        xr.Dataset(
            {
                "frames": (("chain", "draw", "block"), values),
                "n_frames": ("block", np.diff([*first, 100])),
                "first_frame": ("block", first),
            }
        )
    )
    (copy / "posterior.nc").unlink()
    tree.to_netcdf(copy / "posterior.nc", engine="netcdf4")
    table = compare_runs([runs[0], copy], method="psis")
    assert table["first_frame"].values.tolist() == first.tolist()
    expected = psis_scores(values, kind="joint", n_frames=np.diff([*first, 100]), first_frame=first)
    for row in table["score"].values:
        np.testing.assert_allclose(row, expected.values, atol=1e-6)


def test_evidence_and_bayes_factor_of_stored_runs(runs, tmp_path, capsys, monkeypatch):
    """Against quadrature, by both methods; V2 and V3 with priors as the model files have them."""
    monkeypatch.setattr(_run_evidence, "RUNS", 2)
    monkeypatch.setattr(_run_evidence, "PARTICLES", 64)
    capsys.readouterr()
    assert (
        main(["compare", *map(str, runs), "--evidence", "--method", "psis", "-o", str(tmp_path / "out")]) == 0
    )
    out = capsys.readouterr().out
    with xr.open_dataset(tmp_path / "out" / "comparison.nc") as table:
        table = table.load()
    well, spring = (table.sel(run=name) for name in ("well", "spring"))
    for row in (well, spring):
        assert (
            abs(float(row["log_evidence"] - row["log_evidence_smc"])) < 0.2
            and row["evidence_note"].item() == ""
        )
        assert 0.0 < float(row["log_evidence_se"]) < 1.5 and float(row["evidence_khat"]) < 0.7
    factor, error = float(spring["log_bayes_factor"]), float(spring["log_bayes_factor_se"])
    exact = exact_evidence()
    print(f"{factor:.2f} ± {error:.2f}, exact {exact[1] - exact[0]:.2f}")
    assert abs(factor - (exact[1] - exact[0])) < 4.0 * error and 0.0 < error < 1.5
    assert float(well["log_bayes_factor"]) == 0.0 and set(table["refusal"].values) == {""}
    assert float(well["statistical_inefficiency"]) <= float(well["inefficiency_limit"])
    assert "tempered SMC" in out and "log Bayes factor" in out and "No Bayes factor" not in out
    assert (tmp_path / "out" / "evidence.png").stat().st_size > 5000
    assert "tempered SMC" in (tmp_path / "out" / "comparison.txt").read_text()


def exact_evidence() -> tuple[float, float]:
    """log p(D) of the double well and of the spring, by sums over grids."""
    with xr.open_dataset(DATA) as file:
        frames = np.asarray(file["positions"].values, float).ravel()
    x = np.linspace(-7.0, 7.0, 701)
    t1, t2 = (a.ravel() for a in np.meshgrid(np.linspace(-2.0, 8.0, 101), np.linspace(0.02, 5.0, 101)))
    k = np.linspace(0.05, 3.0, 600)
    eta = (np.stack([t1, t2]), np.stack([-k, 0.0 * k]))
    log_prior = (
        norm.logpdf(t1, 1.0, 2.0) + norm.logpdf(t2, 1.0, 2.0) - norm.logcdf(0.5),
        norm.logpdf(-k, -1.0, 2.0),
    )
    found = []
    for theta, prior, area in zip(eta, log_prior, (0.1 * 0.0498, k[1] - k[0]), strict=True):
        nodes, own = (np.stack([-(y**2) / 2, y**4 / 4], axis=1) for y in (x, frames))
        log_z = logsumexp(-nodes @ theta, axis=0) + np.log(x[1] - x[0])
        found.append(
            float(logsumexp(prior - len(frames) * (own.mean(axis=0) @ theta + log_z)) + np.log(area))
        )
    return found[0], found[1]


def test_correlated_frames_get_an_evidence_but_no_bayes_factor(runs):
    """The same frames in order of size: every average as before, hardly one independent frame."""
    fits = [stored_fit(open_result(run), run) for run in runs]
    survey = fits[0].loaded.survey
    order = np.argsort(survey.statistics.features[:, 0])
    sorted_frames = survey.statistics._replace(features=survey.statistics.features[order])
    fit = fits[0]._replace(loaded=fits[0].loaded._replace(survey=survey._replace(statistics=sorted_frames)))
    basis = evidence_basis(fit)
    assert basis.statistical_inefficiency > 5.0 > basis.inefficiency_limit
    one = Evidence(-60.0, 0.1, 0.1, 0.0, 0.2, "importance sampling", 100, 1.0, "a", "p", np.zeros(0))
    slow = one._replace(statistical_inefficiency=basis.statistical_inefficiency)
    found = _bayes_factors([slow, slow], 100, None)
    assert np.all(np.isnan(found["log_bayes_factor"])) and "thin the frames" in found["refusal"][1]
    found = _bayes_factors([one, one._replace(anchor="b")], 100, None)
    assert found["refusal"][0] == "" and "anchor" in found["refusal"][1]
    table = xr.Dataset(
        {name: ("run", np.zeros(2)) for name in EVIDENCE_COLUMNS}
        | {"refusal": ("run", found["refusal"]), "evidence_note": ("run", ["", "tails"])},
        coords={"run": ["well", "spring"]},
        attrs={"evidence_frames": 100},
    )
    text = evidence_table(table)
    assert (
        "refused" in text
        and "No Bayes factor: log Z is relative to anchor" in text
        and "(!) spring: tails." in text
    )


EVIDENCE_COLUMNS = (
    "log_evidence", "log_evidence_se", "log_evidence_smc", "log_evidence_smc_se", "evidence_khat", "log_z_error",
    "statistical_inefficiency", "inefficiency_limit", "log_bayes_factor", "log_bayes_factor_se",
)  # fmt: skip


def test_every_run_carries_its_anchor(runs):
    anchors = {open_result(run).attrs["log_z_anchor"] for run in runs}
    assert len(anchors) == 2


def test_a_run_that_was_not_verified_is_flagged(runs, tmp_path, capsys):
    copy = tmp_path / "unverified"
    shutil.copytree(runs[1], copy)
    tree = open_result(copy).drop_nodes("verification")
    (copy / "posterior.nc").unlink()
    tree.to_netcdf(copy / "posterior.nc", engine="netcdf4")
    capsys.readouterr()
    assert main(["compare", str(runs[0]), str(copy)]) == 0
    out = capsys.readouterr().out
    assert "not verified (!)" in out and "(!) unverified: verification: not verified" in out


def changed(run: Path, copy: Path, **attributes: str) -> Path:
    shutil.copytree(run, copy)
    tree = open_result(copy)
    tree.attrs |= attributes
    (copy / "posterior.nc").unlink()
    tree.to_netcdf(copy / "posterior.nc", engine="netcdf4")
    return copy


def test_bad_input_is_told_in_one_line(runs, tmp_path, refused):
    well, spring = runs
    refused(["compare", well], "alone", "at least two runs")
    refused(["compare", well, well], "named twice")
    refused(["compare", well, tmp_path / "nothing"], "nothing", "no such file")
    other = changed(spring, tmp_path / "other", data_checksum="0123456789abcdef")
    refused(["compare", well, other], "different data", "0123456789ab")
    hot = changed(spring, tmp_path / "hot", temperature=2.0)
    refused(["compare", well, hot], "different temperatures")
    labelled = changed(spring, tmp_path / "labelled", kind="labelled")
    refused(["compare", well, labelled], "labelled configurations", "frames at equilibrium")
    bare = changed(spring, tmp_path / "bare")
    (bare / "run.json").unlink()
    refused(["compare", well, bare], "run.json", "missing or damaged")
    lost = changed(spring, tmp_path / "lost")
    (lost / "bank.nc").unlink()
    refused(["compare", well, lost], "bank.nc", "no such bank")


def test_data_that_changed_since_the_run_are_refused(runs, tmp_path, refused):
    copies = []
    for run in runs:
        copy = tmp_path / run.name
        shutil.copytree(run, copy)
        record = json.loads((copy / "run.json").read_text())
        text = open_result(copy).attrs["model_file_text"]
        model = tmp_path / f"{run.name}-model"
        model.mkdir()
        (model / "model.toml").write_text(text)
        (copy / "run.json").write_text(json.dumps(record | {"model": str(model / "model.toml")}))
        copies.append(copy)
    tree = open_result(copies[0])
    for copy in copies:
        changed_tree = open_result(copy)
        changed_tree.attrs["data_checksum"] = "f" * 64
        (copy / "posterior.nc").unlink()
        changed_tree.to_netcdf(copy / "posterior.nc", engine="netcdf4")
    assert tree.attrs["data_checksum"] != "f" * 64
    refused(["compare", *copies], "have changed since the run")


# Labelled configurations ----------------------------------------------------------------------------------------------


def dimers_of_argon() -> list[Atoms]:
    """Twelve dimers with energies [eV] and forces of a Lennard-Jones 12-6 potential, and noise."""
    rng, images = np.random.default_rng(0), []
    for r in np.linspace(3.4, 5.5, 12):
        six = (3.405 / r) ** 6
        force = 24.0 * 0.01032 / r * (2.0 * six * six - six) + 0.002 * rng.normal()
        atoms = Atoms("Ar2", positions=[[0.0, 0.0, 0.0], [0.0, 0.0, r]])
        energy = 4.0 * 0.01032 * (six * six - six) + 2e-4 * rng.normal()
        forces = np.array([[0.0, 0.0, -force], [0.0, 0.0, force]])
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        images.append(atoms)
    return images


@pytest.fixture(scope="module")
def dimers(tmp_path_factory) -> list[Path]:
    """Twelve labelled configurations by a prior that reaches the truth, and by one that does not."""
    folder = tmp_path_factory.mktemp("dimers")
    write(folder / "dimer.extxyz", dimers_of_argon())
    text = (ROOT / "models" / "argon-dimer" / "model.toml").read_text()
    text = text.replace("data/dimer.extxyz", str(folder / "dimer.extxyz")).replace("0.0005 ", "0.0025 ")
    text = text.replace("0.005 ", "0.05 ")
    runs = []
    for name, centre in (("wide", "loc = 1.2"), ("held", "loc = 1.3")):
        model = folder / f"{name}-model"
        model.mkdir()
        changed_text = text.replace("loc = 1.2\n", centre + "\n")
        if name == "held":
            changed_text = changed_text.replace("scale = 0.2", "scale = 0.001").replace(
                "sigma = 3.3 ", "sigma = 3.67 "
            )
        (model / "model.toml").write_text(changed_text)
        assert main(["run", str(model), "-o", str(folder / name), "--quick"]) == 0
        runs.append(folder / name)
    return runs


@pytest.mark.slow
def test_labelled_runs_are_compared_per_configuration(dimers, capsys):
    table = compare_runs(dimers)
    assert (
        table.attrs["kind"] == "configuration" and table.attrs["normalisation"] == "densities are normalised"
    )
    stored = open_result(dimers[0])["log_likelihood"]["configurations"]
    assert table.sizes["unit"] == stored.sizes["configuration"] == 12
    assert table["run"].values.tolist() == ["wide", "held"] and float(table["difference"][1]) < -10.0
    assert set(table["verdict"].values) == {"quick test run"}
    pipeline, loaded = stored_pipeline(open_result(dimers[0]), dimers[0])
    assert isinstance(pipeline, LabelledPipeline) and loaded.data.n_configurations == 12
    capsys.readouterr()
    assert main(["compare", *map(str, dimers)]) == 0
    assert "quick test run (!)" in capsys.readouterr().out


@pytest.mark.slow
def test_labelled_runs_of_other_labels_are_refused(dimers, tmp_path, refused):
    other = changed(dimers[1], tmp_path / "other", counts="[[1, 2, 3]]")
    refused(["compare", dimers[0], other], "different data")
