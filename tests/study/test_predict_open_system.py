"""`bayescg predict` for one site in a double well: no pairs, no box, one dimension, and averages known by quadrature."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayescg import inference
from bayescg.cli import main
from bayescg.data import Frames, State, Topology, get_unit_system, write_frames
from bayescg.errors import InputError
from bayescg.output import read_analyses, read_checks
from bayescg.output._result import NEWEST_SCHEMA, RESULT_FILE
from bayescg.physics import DoubleWell, FrameReducer, Reference, ReferenceBank
from bayescg.progress import SilentProgress
from bayescg.study import TrajectoryObservable, predict, read_model_file
from bayescg.study._clock import StageClock
from bayescg.study._equilibrium import EquilibriumPipeline
from bayescg.study._stored_fits import stored_pipeline

MODEL = """\
title = "Double well"
units = "lj"
temperature = 1.0
data.frames = ["frames.nc"]
[potential.well]
kind = "double-well"
t1 = 1.0
t2 = 1.0
[prior.well_t1]
distribution = "normal"
loc = 1.0
scale = 0.1
[prior.well_t2]
distribution = "truncated-normal"
loc = 1.0
scale = 0.1
low = 0.0
[simulation]
time_step = 0.1
friction = 1.0
stride = 10
equilibration = 20
[inference]
start = "guess"
"""
GRID = np.linspace(-4.0, 4.0, 4001)
OPEN = np.full(1, np.inf)


def features() -> np.ndarray:
    """Of the site at the points of the grid."""
    return FrameReducer(DoubleWell(1.0, 1.0), box=OPEN)(GRID[:, None, None])[0]


def weights(coefficients: np.ndarray, temperature: float) -> np.ndarray:
    energy = features() @ coefficients
    made = np.exp(-(energy - energy.min()) / temperature)
    return made / made.sum()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder, rng = tmp_path_factory.mktemp("well"), np.random.default_rng(0)
    out = folder / "run"
    out.mkdir()
    well = DoubleWell(1.0, 1.0)
    eta = np.asarray(well.coefficients())
    x = rng.choice(GRID, size=16 * 400 + 100, p=weights(eta, 1.0))
    positions = x[:100, None, None]
    frames = Frames(
        positions,
        np.full((100, 1), np.inf)[0],
        Topology(("A",), np.ones(1)),
        State(1.0),
        get_unit_system("lj"),
    )
    write_frames(frames, folder / "frames.nc")
    path = folder / "model.toml"
    path.write_text(MODEL)
    model, text = read_model_file(path)
    pipeline = EquilibriumPipeline(model, text, path)
    loaded = pipeline.load(StageClock(SilentProgress()))
    rows = [a.reshape(16, 400, -1) for a in FrameReducer(well, box=OPEN)(x[100:, None, None])]
    held = x[100:500, None, None]
    bank = ReferenceBank(1.0, (Reference(eta, *rows, held),))
    inference.write_bank(bank, out / "bank.nc", system=pipeline._system_identity(loaded))
    z = (("chain", "draw", "coordinate"), loaded.prior.sample(_key(), 40).reshape(2, 20, -1))
    names = {"well_t1": (("chain", "draw"), z[1][..., 0]), "well_t2": (("chain", "draw"), z[1][..., 1])}
    groups = {"posterior": xr.Dataset(names), "unconstrained": xr.Dataset({"z": z, "z_calibrated": z})}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs |= {
        "schema_version": NEWEST_SCHEMA, "title": "Double well", "units": "lj", "temperature": 1.0, "seed": 1,
        "model_file_text": text, "data_checksum": loaded.survey.checksum,
    }  # fmt: skip
    tree.to_netcdf(out / RESULT_FILE, engine="netcdf4")
    (out / "run.json").write_text(json.dumps({"model": str(path)}))
    return out


def _key():
    import jax

    return jax.random.key(3)


def test_the_default_is_what_the_system_has_and_the_rest_is_named(run):
    assert main(["predict", str(run), "--draws", "12"]) == 0
    data = read_analyses(run)["predictions"]
    assert data["observable"].values.tolist() == ["energy", "heat-capacity"]
    notes = [one for one in json.loads(data.attrs["sentences"]) if one.startswith("Left out: ")]
    assert (
        len(notes) == 1
        and "rdf, coordination, pressure, compressibility; each needs a pair potential" in notes[0]
    )


def test_energy_and_heat_capacity_are_simulated_in_one_dimension(run):
    """At eight times the temperature the references don't reach; ½ k_B is kinetic, not 3/2."""
    data = predict(
        run,
        ["energy", "heat-capacity"],
        temperature=8.0,
        n_draws=4,
        n_simulated=4,
        n_replicas=4,
        n_samples=400,
    )
    assert set(data["method"].values) == {"simulation"}
    energy, heat = (data.isel(component=k) for k in (0, 1))
    u = features()
    p = weights(np.ones(2), 8.0)
    at_one = u @ np.asarray(DoubleWell(1.0, 1.0).coefficients())
    mean = p @ at_one
    exact = 0.5 + (p @ (at_one - mean) ** 2) / 8.0**2
    assert 0.5 < exact < 1.0 and abs(float(heat["mean"]) - exact) < 5.0 * float(heat["total_sd"]) < 0.4
    assert np.isfinite(float(energy["mean"]))
    assert np.isfinite(float(energy["fluctuation_sd"])) and np.isnan(float(heat["fluctuation_sd"]))
    assert np.isnan(float(heat["variance"].sel(part="aleatoric")))
    assert float(heat["total_sd"]) > 0.0 and float(heat["share"].sum()) == pytest.approx(1.0)
    assert any("Chance is unknown of heat-capacity" in one for one in json.loads(data.attrs["sentences"]))


def test_checks_of_new_simulations_are_printed_kept_and_reported(run, capsys):
    """Twenty frames of two simulations are too few, and nothing else is wrong."""
    words = "energy --draws 3 --simulated-draws 2 --replicas 2 --samples 20 --temperature 8 --name checked"
    assert main(["predict", str(run), *words.split()]) == 0
    out = capsys.readouterr().out.splitlines()
    data = read_analyses(run)["predictions-checked"]
    checks = read_checks(data)
    verdicts = {check.name: check.verdict for check in checks}
    assert verdicts["time step"] == verdicts["acceptance"] == "passed"
    assert [name for name, verdict in verdicts.items() if verdict == "failed"] == ["independent frames"]
    for check in checks:
        assert any(
            line.startswith(check.verdict) and check.name in line and check.sentence in line for line in out
        )
    assert "Checks of its simulations" in (run / "report.html").read_text()


@pytest.mark.parametrize("name", ["rdf", "pressure", "compressibility", "structure-factor", "viscosity"])
def test_what_the_system_does_not_have_is_refused_before_simulating(run, name, monkeypatch):
    monkeypatch.setattr("bayescg.study._simulate_draws.simulate_draws", None)  # to be called by nobody
    with pytest.raises(InputError, match=f"{name} needs a .*periodic box"):
        predict(run, [name], temperature=0.05, n_draws=4)


def test_a_function_of_a_trajectory_is_simulated_split_and_compared(run, tmp_path):
    """⟨x²⟩ along Langevin trajectories is that of quadrature at the draws."""
    square = TrajectoryObservable(
        name="mean-square", unit="sigma^2", n_frames=300, spacing=1.0, long_name="⟨x²⟩",
        of_trajectory=lambda one: np.mean(one.positions**2),
    )  # fmt: skip
    path = tmp_path / "measured.csv"
    path.write_text("observable,at,value,standard_error\nmean-square,,9.0,0.1\n")
    data = predict(
        run,
        [square],
        n_draws=5,
        n_simulated=5,
        n_replicas=4,
        n_samples=20,
        observed=path,
        dynamics="langevin",
    )
    found = data.isel(component=0)
    assert data["method"].values.tolist() == ["simulation"]
    assert data["reason"].values.tolist() == [
        "it needs positions and velocities in time along trajectories, which the references don't keep"
    ]
    tree = xr.open_datatree(run / RESULT_FILE)
    z = tree["unconstrained"]["z_calibrated"].values.reshape(-1, 2)
    z = z[np.linspace(0, len(z) - 1, 5).astype(int)]
    prior = stored_pipeline(tree, run)[1].prior
    eta = [np.asarray(prior.potential(one).coefficients()) for one in z]
    exact = np.array([weights(one, 1.0) @ GRID**2 for one in eta])
    noise = float(found["simulation_sd"])
    assert abs(float(found["mean"]) - exact.mean()) < 4.5 * noise < 0.5 * exact.mean()
    assert float(found["variance"].sel(part="parametric")) < 4.0 * exact.var(ddof=1)
    assert np.isnan(float(found["variance"].sel(part="aleatoric"))) and float(found["z"]) > 5.0
    assert str(found["long_name"].values) == "⟨x²⟩"
    said = " ".join(json.loads(data.attrs["sentences"]))
    assert "For mean-square: Langevin dynamics with friction 1" in said
    assert "kinetic energy of dynamics of mean-square" in [check.name for check in read_checks(data)]


def test_a_function_of_a_trajectory_is_refused_where_it_cannot_be(run, monkeypatch):
    monkeypatch.setattr("bayescg.study._simulate_draws.simulate_draws", None)  # to be called by nobody

    def asking(name: str) -> TrajectoryObservable:
        return TrajectoryObservable(
            name=name, unit="1", of_trajectory=lambda one: one.velocities.mean(), n_frames=9, spacing=1.0
        )

    forbidden = "mine can't be reweighted: it needs positions and velocities in time along .*; new simulations are forbidden"
    with pytest.raises(InputError, match=forbidden):
        predict(run, ["energy", asking("mine")], n_draws=4, simulation=False)
    with pytest.raises(InputError, match="observable 'diffusion': the name is one that is known already"):
        predict(run, [asking("diffusion")], n_draws=4)
    with pytest.raises(InputError, match="observable 'mine': there are two of that name"):
        predict(run, [asking("mine"), asking("mine")], n_draws=4)
    with pytest.raises(InputError, match="dynamics 'brownian'; expected 'newton' or 'langevin'"):
        predict(run, [asking("mine")], n_draws=4, dynamics="brownian")
