"""Whole studies by the command line: files, groups, figures, tables, known answers, and resuming after a kill."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from bayescg.cli import main
from bayescg.data import Frames, State, Topology, get_unit_system, write_frames
from bayescg.inference import read_bank
from bayescg.physics import LennardJones
from bayescg.physics._engine import AnalyticForce, LangevinSettings, PairEngine

ROOT = Path(__file__).resolve().parents[2]
DOUBLE_WELL = ROOT / "models" / "double-well"

GROUPS = {
    "posterior", "posterior_raw", "prior", "unconstrained", "sample_stats", "log_likelihood", "identifiability",
    "reference_bank", "verification",
}  # fmt: skip
STRUCTURE_GROUPS = {"observed_data", "posterior_predictive", "prediction"}
ATTRIBUTES = {
    "schema_version", "title", "units", "temperature", "potential", "seed", "model_file_text", "data_checksum",
    "versions", "wall_time_s", "created", "calibration", "checks", "statement", "result_codes", "log_z_anchor",
}  # fmt: skip


def read(folder: Path) -> xr.DataTree:
    with xr.open_datatree(folder / "posterior.nc") as tree:
        return tree.load()


def assert_self_contained(report: Path) -> None:
    text = report.read_text()
    assert not re.search(r"https?://", text)
    assert not re.search(r"(src|href)=['\"](?!data:)", text)


# Double well: the exact answer is known --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def double_well(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "double-well"
    assert main(["run", str(DOUBLE_WELL), "-o", str(folder)]) == 0
    return folder


def test_a_run_leaves_these_files(double_well):
    names = {path.name for path in double_well.iterdir() if not path.name.startswith(".")}
    assert names == {"bank.nc", "figures", "parameters.csv", "posterior.nc", "report.html", "run.json"}
    assert {path.stem for path in (double_well / "figures").iterdir()} == {"fisher", "trace", "verification"}
    assert_self_contained(double_well / "report.html")


def test_the_result_has_the_groups_and_reads_back(double_well):
    tree = read(double_well)
    assert set(tree.children) == GROUPS
    assert set(tree.attrs) == ATTRIBUTES
    posterior = tree["posterior"]
    assert dict(posterior.sizes) == {"chain": 4, "draw": 1000}
    assert posterior.attrs["assumes_independent_frames"] == 0 and posterior.attrs["calibration"]
    assert tree["posterior_raw"].attrs["assumes_independent_frames"] == 1
    assert {"units", "long_name"} <= set(posterior["well_t1"].attrs)
    assert tree["prior"].sizes["chain"] == 1
    assert {"energy", "acceptance_rate", "n_steps", "diverging", "step_size", "n_eff"} <= set(
        tree["sample_stats"]
    )
    assert {"z", "z_calibrated"} <= set(tree["unconstrained"])
    assert tree["verification"].attrs["verdict"] == "passed"
    contraction, relative = (
        tree["identifiability"][name].values for name in ("contraction", "prior_relative")
    )
    np.testing.assert_allclose(contraction, relative / (1.0 + relative))
    assert all(np.isfinite(v).all() for group in tree.children.values() for v in group.data_vars.values())
    times, versions = json.loads(tree.attrs["wall_time_s"]), json.loads(tree.attrs["versions"])
    assert {"read", "search", "sample", "verify", "report", "compile"} <= set(times)
    assert {"python", "jax", "bayescg"} <= set(versions)
    assert tree.attrs["model_file_text"] == (DOUBLE_WELL / "model.toml").read_text()


def test_the_posterior_is_the_exact_one(double_well):
    tree = read(double_well)
    expected = json.loads((DOUBLE_WELL / "expected.json").read_text())
    draws, tolerance = tree[expected["group"]].to_dataset(), expected["tolerance"]
    for name in ("well_t1", "well_t2"):
        mean, sd = expected[name]["mean"], expected[name]["sd"]
        assert abs(float(draws[name].mean()) - mean) < tolerance["mean_in_sd"] * sd
        assert abs(float(draws[name].std()) / sd - 1.0) < tolerance["sd_ratio"]
    correlation = np.corrcoef(draws["well_t1"].values.ravel(), draws["well_t2"].values.ravel())[0, 1]
    assert correlation == pytest.approx(0.930, abs=0.02)
    verdicts = {check["name"]: check["verdict"] for check in json.loads(tree.attrs["checks"])}
    assert {name: verdicts[name] for name in expected["checks_passed"]} == dict.fromkeys(
        expected["checks_passed"], "passed"
    )


def test_arviz_reads_the_result(double_well):
    tree = read(double_well)
    summary = arviz_stats.summary(tree)
    assert list(summary.index) == ["well_t1", "well_t2"]
    for name in ("well_t1", "well_t2"):
        assert float(arviz_stats.rhat(tree)[name]) < 1.01
        assert float(arviz_stats.ess(tree)[name]) > 400
    loo = arviz_stats.loo(tree)
    assert np.isfinite(loo.elpd) and loo.n_data_points == tree["log_likelihood"].sizes["block"]


def test_the_table_of_parameters_is_the_posterior_s(double_well):
    rows = (double_well / "parameters.csv").read_text().splitlines()
    assert rows[0].startswith("parameter,unit,mean,sd,lower,upper")
    posterior = read(double_well)["posterior"]
    for row, name in zip(rows[1:], ("well_t1", "well_t2"), strict=True):
        fields = row.split(",")
        assert fields[0] == name
        assert float(fields[2]) == pytest.approx(float(posterior[name].mean()), rel=1e-6)


def test_the_bank_reads_back(double_well):
    bank = read_bank(double_well / "bank.nc")
    tree = read(double_well)
    assert bank.anchor == tree["reference_bank"].attrs["anchor"]
    np.testing.assert_array_equal(bank.n_frames, tree["reference_bank"]["n_frames"].values)


def test_a_second_run_and_a_resume_change_nothing(double_well, capsys):
    def state() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in double_well.rglob("*") if path.is_file()}

    before = state()
    assert main(["run", str(DOUBLE_WELL), "-o", str(double_well)]) == 2
    assert "holds another run" in capsys.readouterr().err
    assert main(["resume", str(double_well)]) == 0
    assert "independent ones" in capsys.readouterr().out
    assert state() == before


def test_no_table_of_what_is_no_pair_potential(double_well, capsys):
    assert main(["export", str(double_well)]) == 2
    assert "no pair potential" in capsys.readouterr().err
    assert not (double_well / "lammps").exists()


# A Lennard-Jones fluid of known parameters -----------------------------------------------------------------------

N_SITES, DENSITY, TEMPERATURE, CUTOFF = 108, 0.6, 1.5, 2.5
FLUID = f"""\
title = "A small Lennard-Jones fluid of known parameters"
units = "lj"
temperature = {TEMPERATURE}

[data]
frames = ["frames.nc"]

[potential.fluid]
kind = "lennard-jones"
epsilon = 0.8
sigma = 1.05
cutoff = {CUTOFF}

[simulation]
time_step = 0.005
friction = 1.0
stride = 20

[prediction]
rdf_bin = 0.05
draws = 50
"""


def _factor(potential, r2):
    return potential.pair_force_factor(r2)


def simulate_fluid() -> Frames:
    """Four independent trajectories of a fluid with epsilon = sigma = 1, by the package's own engine."""
    edge = (N_SITES / DENSITY) ** (1.0 / 3.0)
    cell = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    corners = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 1, 3)
    lattice = (corners + cell).reshape(-1, 3) * edge / 3 + 0.3
    settings = LangevinSettings(0.005, 1.0, TEMPERATURE, np.ones(N_SITES))
    engine = PairEngine(N_SITES, np.full(3, edge), CUTOFF, settings, AnalyticForce(_factor))
    truth = LennardJones(1.0, 1.0, cutoff=CUTOFF)
    parameters = jax.tree.map(lambda leaf: jnp.full(4, leaf, jnp.float32), truth)
    state = engine.initial_state(jax.random.key(5), np.stack([lattice] * 4))
    state, _ = engine.run(state, parameters, n_samples=75, stride=40)
    _, samples = engine.run(state, parameters, n_samples=75, stride=40)
    return Frames(
        np.asarray(samples, np.float64).reshape(-1, N_SITES, 3),
        np.full(3, edge),
        Topology(("A",) * N_SITES, np.ones(N_SITES)),
        State(TEMPERATURE),
        get_unit_system("lj"),
        trajectory=np.repeat(np.arange(4), 75),
    )


@pytest.fixture(scope="session")
def fluid(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fluid")
    write_frames(simulate_fluid(), folder / "frames.nc")
    (folder / "model.toml").write_text(FLUID)
    assert main(["run", str(folder), "-o", str(folder / "out"), "--quick"]) == 0
    return folder / "out"


def test_a_fluid_has_structure_groups_and_all_figures(fluid):
    tree = read(fluid)
    assert set(tree.children) == GROUPS | STRUCTURE_GROUPS
    assert set(tree.attrs) == ATTRIBUTES | {"quick"}
    figures = {path.stem for path in (fluid / "figures").iterdir()}
    assert figures == {"fisher", "potential", "pressure", "rdf", "trace", "verification"}
    assert_self_contained(fluid / "report.html")
    assert "A quick test run" in (fluid / "report.html").read_text()
    assert tree["posterior_predictive"]["rdf"].dims == ("chain", "draw_p", "r")
    assert tree["prediction"]["pair_energy"].dims == ("chain", "draw_p", "distance")


def test_even_a_quick_run_is_near_the_truth(fluid):
    posterior = read(fluid)["posterior"]
    for name, limit in (("fluid_epsilon", 0.2), ("fluid_sigma", 0.02)):
        mean, sd = float(posterior[name].mean()), float(posterior[name].std())
        assert abs(mean - 1.0) < max(5.0 * sd, 0.01) and sd < limit
    tree = read(fluid)
    observed, predicted = (
        tree["observed_data"]["rdf"],
        tree["posterior_predictive"]["rdf"].mean(["chain", "draw_p"]),
    )
    assert float(np.abs(observed - predicted).max()) < 0.3


def test_report_writes_the_same_numbers_again(fluid):
    table = (fluid / "parameters.csv").read_bytes()
    for name in ("report.html", "parameters.csv", "figures/rdf.png"):
        (fluid / name).unlink()
    assert main(["report", str(fluid)]) == 0
    assert (fluid / "parameters.csv").read_bytes() == table
    assert (fluid / "report.html").is_file() and (fluid / "figures" / "rdf.png").is_file()


def test_exported_tables_are_the_posterior_s_potentials(fluid, tmp_path):
    assert main(["export", str(fluid), "--draws", "5", "--to", str(tmp_path / "tables")]) == 0
    posterior = read(fluid)["posterior"]
    epsilon, sigma = (posterior[f"fluid_{name}"].values for name in ("epsilon", "sigma"))
    manifest = json.loads((tmp_path / "tables" / "manifest.json").read_text())
    assert manifest["units"] == "lj" and manifest["calibration"] == posterior.attrs["calibration"]
    assert len(manifest["potentials"]) == 6
    for entry in manifest["potentials"]:
        assert [Path(one["file"]).suffix for one in entry["files"]] == [".pair", ".table"]
        rows = read_table(tmp_path / "tables" / entry["files"][1]["file"])
        inside = rows[:, 1] < CUTOFF
        r, energy, force = rows[inside, 1:].T
        if entry["draw"] == "posterior mean":
            curves = [lennard_jones(r, e, s) for e, s in zip(epsilon.ravel(), sigma.ravel(), strict=True)]
            expected = np.mean(curves, axis=0)
        else:
            chain, draw = (int(k) for k in re.search(r"(\d+):(\d+)", entry["draw"]).groups())
            expected = lennard_jones(r, epsilon[chain, draw], sigma[chain, draw])
        np.testing.assert_allclose(energy, expected[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(force, expected[1], rtol=1e-6, atol=1e-6)


def lennard_jones(r: np.ndarray, epsilon: float, sigma: float) -> np.ndarray:
    """Shifted energy and force."""
    s6, c6 = (sigma / r) ** 6, (sigma / CUTOFF) ** 6
    return np.array([4 * epsilon * (s6**2 - s6 - c6**2 + c6), 24 * epsilon * (2 * s6**2 - s6) / r])


def read_table(path: Path) -> np.ndarray:
    """Rows of (index, r, energy, force)."""
    lines = path.read_text().splitlines()
    header = next(k for k, line in enumerate(lines) if line.startswith("N "))
    rows = np.array([[float(x) for x in line.split()] for line in lines[header + 1 :] if line.strip()])
    assert len(rows) == int(lines[header].split()[1])
    return rows


# Resuming --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "begun",
    ["start", "search_000", "nuts_round_0", "verification_0"],
    ids=["search", "settle", "verify", "NUTS"],
)
def test_a_killed_run_resumes_to_the_same_draws(double_well, tmp_path, begun):
    """SIGKILL a random moment after the checkpoint that a stage begins with; the other stages are killed alike."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "bayescg.cli"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(
        [*command, "run", str(DOUBLE_WELL), "-o", str(out)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 600
        while not (out / "checkpoint" / f"{begun}.npz").exists():
            assert run.poll() is None, f"the run ended before {begun} was written"
            assert time.monotonic() < deadline, f"{begun} was not written in time"
            time.sleep(0.02)
        time.sleep(float(np.random.default_rng().uniform(0.0, 3.0)))
        assert run.poll() is None, "the run ended before it was killed"
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert not (out / "posterior.nc").exists()
    subprocess.run(
        [*command, "resume", str(out)], env=environment, check=True, capture_output=True, timeout=900
    )
    whole, resumed = read(double_well), read(out)
    for group in ("posterior", "posterior_raw", "unconstrained"):
        xr.testing.assert_identical(resumed[group].to_dataset(), whole[group].to_dataset())
    assert not list(out.glob("checkpoint/*"))
