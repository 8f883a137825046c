"""`bayescg predict` on a stored run of two sites in a box, whose averages are known by quadrature at every draw."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from bayescg.cli import main
from bayescg.errors import InputError
from bayescg.output import read_analyses
from bayescg.output._result import NEWEST_SCHEMA, RESULT_FILE
from bayescg.physics import SplinePair
from bayescg.physics._compressibility import pair_terms_within
from bayescg.study import predict
from bayescg.study._predict_run import _reaching, _target
from bayescg.study._simulate_draws import SimulatedDraws
from tests.study.stored_run import EDGE, TEMPERATURE, TRUTH, exact_positions, stored_run

N, N_DRAWS = 3000, 60
VOLUME = EDGE**3
SPLINE = SplinePair.uniform(inner=0.7, cutoff=2.5, spacing=0.225, core_distance=0.8, core_strength=5.0)
R = np.linspace(1e-3, 2.5 * (1 - 1e-12), 6000)
NAMES = ["rdf", "coordination", "energy", "heat-capacity", "pressure", "compressibility"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    truth = SPLINE.with_parameters({"pair_coefficients": jnp.asarray(TRUTH)})
    return stored_run(tmp_path_factory.mktemp("good"), positions=exact_positions(truth, N, seed=1))


@pytest.fixture(scope="module")
def predicted(run) -> xr.Dataset:
    assert main(["predict", str(run), "--draws", str(N_DRAWS), "--no-simulation"]) == 0
    return read_analyses(run)["predictions"]


def of(data: xr.Dataset, name: str) -> xr.Dataset:
    return data.isel(component=np.flatnonzero(data["of"].values == name))


def draws_of(run: Path) -> np.ndarray:
    """Coefficients of the draws in the order of a prediction of N_DRAWS."""
    z = xr.open_datatree(run / RESULT_FILE)["unconstrained"]["z_calibrated"].values
    flat = z.reshape(-1, z.shape[-1])
    chosen = np.linspace(0, len(flat) - 1, N_DRAWS).astype(int)
    return flat[np.random.default_rng(0).permutation(chosen)]


def exact(coefficients: np.ndarray, temperature: float) -> dict[str, float]:
    """By quadrature over the distance: log Z = log V + log(V + I), I = ∫ (exp(−u/kT) − 1) 4πr² dr, in lj units."""
    pair = SPLINE.with_parameters({"pair_coefficients": jnp.asarray(coefficients)})
    u = np.asarray(pair.pair_energy(jnp.asarray(R**2)))
    shell = 4.0 * np.pi * R**2
    whole = VOLUME + np.trapezoid(np.expm1(-u / temperature) * shell, R)
    density = np.exp(-u / temperature) * shell / whole
    mean, square = (np.trapezoid(u**k * density, R) for k in (1, 2))
    return {
        "energy": mean / 2.0,
        "heat-capacity": 1.5 + (square - mean**2) / (2.0 * temperature**2),
        "pressure": temperature * (1.0 / VOLUME + 1.0 / whole),
        "compressibility": 1.0 / (temperature * VOLUME * (1.0 / VOLUME**2 + 1.0 / whole**2)),
    }


def test_predictive_mean_and_parametric_spread_are_those_of_quadrature(run, predicted):
    table = [exact(one, TEMPERATURE) for one in draws_of(run)]
    for name in ("energy", "heat-capacity", "pressure", "compressibility"):
        truth, found = np.array([row[name] for row in table]), of(predicted, name).isel(component=0)
        error = np.hypot(float(found["simulation_sd"]), 1e-9)
        assert abs(float(found["mean"]) - truth.mean()) < 4.0 * error, name
        low, high = found["parametric_interval"].values
        assert 0.7 * low <= truth.std(ddof=1) <= 1.4 * high, name
        if float(found["noise_sd"]) < 0.3 * float(found["parametric_sd"]):
            assert np.corrcoef(found["draws"].values, truth)[0, 1] > 0.9, name


def test_the_parts_add_up_and_shares_sum_to_one(predicted):
    total = predicted["variance"].sum("part")
    np.testing.assert_allclose(predicted["total_sd"] ** 2, total, rtol=1e-10, atol=1e-30)
    parametric = predicted["variance"].sel(part="parametric")
    np.testing.assert_allclose(parametric, predicted["parametric_sd"] ** 2, rtol=1e-10, atol=1e-30)
    there = total.values > 0.0
    np.testing.assert_allclose(predicted["share"].sum("part").values[there], 1.0, rtol=1e-10)
    told = np.isfinite(predicted["rest"].values)
    assert told.sum() > 5
    shares = predicted["direction_share"].sum("direction") + predicted["rest"]
    np.testing.assert_allclose(shares.values[told], 1.0, atol=1e-9)


def test_chance_goes_with_the_number_of_frames(run, predicted):
    other = predict(
        run, ["pressure"], n_draws=N_DRAWS, averaged_frames=4.0 * predicted.attrs["averaged_frames"]
    )
    before, after = (
        of(data, "pressure")["variance"].sel(part="aleatoric").item() for data in (predicted, other)
    )
    assert after == pytest.approx(before / 4.0, rel=1e-6)


def test_method_and_reason_are_stored(predicted):
    assert predicted["observable"].values.tolist() == NAMES
    assert set(predicted["method"].values) == {"reweighting"}
    assert all("the references overlap with all draws" in reason for reason in predicted["reason"].values)


def test_the_answer_is_told_by_the_report_with_figures(run, predicted):
    drawn = {path.name for path in (run / "figures").iterdir()}
    assert {"prediction_bands.png", "prediction_parts.png", "prediction_shares.png"} <= drawn
    report, sentences = (run / "report.html").read_text(), json.loads(predicted.attrs["sentences"])
    assert "<h2>What does it predict?</h2>" in report and sentences[0] in report
    assert any(sentence.startswith("Pressure: ") for sentence in sentences)


def test_another_temperature_is_reached_by_reweighting(run):
    data = predict(run, ["energy", "pressure"], temperature=1.6, n_draws=N_DRAWS, simulation=False)
    table = [exact(one, 1.6) for one in draws_of(run)]
    for name in ("energy", "pressure"):
        found = of(data, name).isel(component=0)
        truth = np.mean([row[name] for row in table])
        assert abs(float(found["mean"]) - truth) < 4.0 * float(found["simulation_sd"])
    assert "at 1.6" in str(data["reason"].values[0])


def test_held_out_values_get_a_z_score_and_coverage(run, tmp_path, predicted):
    pressure, energy = (of(predicted, name).isel(component=0) for name in ("pressure", "energy"))
    sd = float(np.hypot(pressure["parametric_sd"], pressure["simulation_sd"]))
    path = tmp_path / "measured.csv"
    path.write_text(
        "observable,at,value,standard_error\n"
        f"pressure,,{float(pressure['mean']) + 5.0 * sd:.12g},0\n"
        f"energy,,{float(energy['mean']):.12g},0.01\n"
    )
    data = predict(str(run), ["energy", "pressure"], n_draws=N_DRAWS, observed=str(path))
    assert of(data, "pressure")["z"].item() == pytest.approx(5.0, rel=1e-6)
    assert of(data, "pressure")["discrepancy_sd"].item() == pytest.approx(np.sqrt(24.0) * sd, rel=1e-6)
    assert of(data, "energy")["discrepancy_sd"].item() == 0.0
    assert data.attrs["n_held_out"] == 2 and data.attrs["coverage_90"] == 0.5
    assert any("1 of 2 held-out values" in sentence for sentence in json.loads(data.attrs["sentences"]))


def test_simulated_values_are_split_and_told(run, monkeypatch):
    """Whose part is simulated comes from common seeds: the shared noise shifts the mean, the parameters spread it."""
    rng = np.random.default_rng(5)
    asked: dict[str, object] = {}

    def simulated(potentials, *, observables, target, budget, **_):
        n = len(potentials)
        asked.update(observables=observables, n=n, n_sites=target.n_sites, replicas=budget.n_replicas)
        truth, noise = 2.0 + 0.1 * rng.normal(size=(n, 1)), 0.3 * rng.normal(size=(1, budget.n_replicas))
        r = ("r", (target.distance_edges[1:] + target.distance_edges[:-1]) / 2.0, {"units": "sigma"})
        rdf = np.ones((n, budget.n_replicas, len(r[1]))) * (1.0 + 0.01 * noise[..., None])
        attrs = {"units": "sigma^2/tau"}
        return SimulatedDraws(
            {"diffusion": xr.DataArray(truth + noise, dims=("draw", "simulation"), attrs=attrs),
             "rdf": xr.DataArray(rdf, dims=("draw", "simulation", "r"), coords={"r": r}, attrs={"units": "1"})},
            {}, True, budget.n_samples, 1e6, 1.0, ["Made up."],
        )  # fmt: skip

    monkeypatch.setattr("bayescg.study._simulate_draws.simulate_draws", simulated)
    data = predict(
        run, ["diffusion", "coordination"], n_sites=64, n_draws=N_DRAWS, n_simulated=40, n_replicas=8
    )
    assert asked["n"] == 40 and asked["n_sites"] == 64 and asked["replicas"] == 8
    assert set(asked["observables"]) == {"diffusion", "rdf"}
    assert set(data["method"].values) == {"simulation"}
    reasons = dict(zip(data["observable"].values, data["reason"].values, strict=True))
    assert "it needs velocities" in reasons["diffusion"]
    assert "64 sites in" in reasons["coordination"]
    found = of(data, "diffusion").isel(component=0)
    assert 0.06 < float(found["parametric_sd"]) < 0.14  # 0.1, the noise being common
    assert 0.04 < float(found["simulation_sd"]) < 0.25  # 0.3/√8
    assert int(np.isfinite(found["draws"]).sum()) == 40
    sentences = json.loads(data.attrs["sentences"])
    assert "Made up." in sentences and any("Simulated: 8 replicas of 40 draws" in one for one in sentences)


@pytest.mark.parametrize(
    ("density", "last", "n_bins"),
    [
        (0.008, 15 * 0.21, 15),  # as they are
        (64 / 5.0**3, 2.5, 12),  # half the box is the cutoff, within a bin
        (64 / 5.1**3, 2.52, 12),
    ],
)
def test_bins_reach_the_cutoff_in_a_smaller_box(density, last, n_bins):
    edges = 0.21 * np.arange(16)
    survey = SimpleNamespace(n_sites=64, distance_edges=edges, box=np.full(3, 6.0))
    pipeline = SimpleNamespace(model=SimpleNamespace(temperature=1.0))
    stored = SimpleNamespace(
        loaded=SimpleNamespace(survey=survey, potential=SPLINE), pipeline=pipeline, folder=Path("run")
    )
    made = _target(stored, temperature=None, n_sites=64, density=density).distance_edges
    assert len(made) == n_bins + 1 and made[-1] == pytest.approx(last)
    assert (np.diff(made) > 0.09).all()
    pair_terms_within(SPLINE, made)
    survey.distance_edges = 0.35 * np.arange(
        8
    )  # the references' own bins are what they keep, in their own box
    own = _target(stored, temperature=None, n_sites=64, density=64 / 6.0**3).distance_edges
    np.testing.assert_array_equal(own, survey.distance_edges)


@pytest.mark.parametrize(("end", "wanted"), [(2.5, [2.0, 2.5]), (2.1, [1.0, 2.1]), (2.0, [1.0, 2.0])])
def test_a_rest_of_a_bin_is_one_unless_it_is_narrow(end, wanted):
    np.testing.assert_allclose(_reaching(np.arange(3.0), end)[-2:], wanted)


def test_what_a_simulation_could_not_give_is_said(run, monkeypatch):
    def simulated(potentials, *, budget, **_):
        values = xr.DataArray(np.ones((len(potentials), budget.n_replicas)), dims=("draw", "simulation"))
        both = {"diffusion": values, "viscosity": values}
        return SimulatedDraws(
            both, {}, True, 10, 1e6, 1.0, ["Diffusion in an infinite box is not given: it is too noisy."]
        )

    monkeypatch.setattr("bayescg.study._simulate_draws.simulate_draws", simulated)
    with pytest.raises(InputError, match="diffusion-infinite could not be had: it is too noisy"):
        predict(run, ["diffusion-infinite"], n_draws=N_DRAWS)


def test_what_could_not_be_had_is_left_out_where_others_remain(run, monkeypatch):
    """Of diffusion in an infinite box, of a viscosity without a plateau and of a mean force that is noise a note is left."""
    rng = np.random.default_rng(1)

    def simulated(potentials, *, target, budget, **_):
        shape = (len(potentials), budget.n_replicas)
        r = ("r", (target.distance_edges[1:] + target.distance_edges[:-1]) / 2.0)
        noise = rng.choice([0.0, 4.0], size=(*shape, len(r[1])))
        made = {
            "diffusion": xr.DataArray(
                rng.normal(size=shape), dims=("draw", "simulation"), attrs={"units": "1"}
            ),
            "rdf": xr.DataArray(
                noise, dims=("draw", "simulation", "r"), coords={"r": r}, attrs={"units": "1"}
            ),
        }
        lost = {"viscosity": "viscosity at draws: no plateau; simulate longer"}
        return SimulatedDraws(made, {}, True, 10, 1e6, 1.0, [], (), lost)

    monkeypatch.setattr("bayescg.study._simulate_draws.simulate_draws", simulated)
    names = ["diffusion-infinite", "diffusion", "viscosity", "potential-of-mean-force"]
    data = predict(str(run), names, n_sites=64, n_draws=N_DRAWS, n_simulated=4)
    assert data["observable"].values.tolist() == ["diffusion"]
    said = json.loads(data.attrs["sentences"])
    assert said[0].endswith("from 4 draws of the calibrated posterior.") and data.attrs["n_draws"] == 4
    for name, why in zip(
        ("diffusion-infinite", "viscosity", "potential-of-mean-force"),
        (
            "viscosity at draws: no plateau",
            "viscosity at draws: no plateau",
            "potential-of-mean-force: g(r) is no more",
        ),
        strict=True,
    ):
        assert any(one.startswith(f"Left out: {name}, which could not be had: {why}") for one in said), said
    with pytest.raises(
        InputError, match="run: potential-of-mean-force could not be had: .* no more than noise"
    ):
        predict(run, ["potential-of-mean-force"], n_sites=64, n_draws=N_DRAWS, n_simulated=4)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["colour"], "observable 'colour' is not known; expected one of rdf, "),
        (["diffusion", "--no-simulation"], "diffusion can't be reweighted: it needs velocities"),
        (["structure-factor", "--no-simulation"], "structure-factor can't be reweighted: it needs positions"),
        (["pressure", "--sites", "64", "--no-simulation"], "are another system than the references'"),
        (["pressure", "--temperature", "0.02", "--no-simulation"], "new simulations are forbidden"),
        (["pressure", "--temperature", "-3"], "temperature -3; a number above 0 expected"),
        (["pressure", "--density", "0.9"], "below twice the cutoff 2.5; ask for more sites"),
        (["--observed", "nothing.csv"], "nothing.csv: can't be read"),
    ],
)
def test_bad_requests_end_in_one_line(run, capsys, words, match):
    assert main(["predict", str(run), *words, "--draws", "12"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("bayescg: error: ") and match in said


def test_references_without_pair_counts_miss_what_needs_them_only(run, tmp_path, capsys):
    from bayescg.inference import read_bank, write_bank

    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    bank = read_bank(copied / "bank.nc")
    bare = tuple(r._replace(pair_counts=r.pair_counts[..., :0]) for r in bank.references)
    import netCDF4

    with netCDF4.Dataset(copied / "bank.nc") as file:
        system = str(file.system)
    write_bank(type(bank)(bank.beta, bare), copied / "bank.nc", system=system)
    assert main(["predict", str(copied), "compressibility", "--draws", "12", "--no-simulation"]) == 2
    assert "compressibility needs pair counts in the references" in capsys.readouterr().err
    assert main(["predict", str(copied), "pressure", "--draws", "12"]) == 0


def test_a_labelled_run_is_refused_and_a_quick_one_flagged(run, tmp_path):
    tree = xr.DataTree()
    tree.attrs |= {"schema_version": NEWEST_SCHEMA, "kind": "labelled"}
    tree.to_netcdf(tmp_path / RESULT_FILE, engine="netcdf4")
    with pytest.raises(InputError, match="of labelled configurations"):
        predict(tmp_path)
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    whole = xr.open_datatree(run / RESULT_FILE).load()
    whole.attrs["quick"] = 1
    whole.to_netcdf(copied / RESULT_FILE, engine="netcdf4")
    quick = predict(copied, ["energy"], n_draws=12)
    assert "A quick test run: its numbers mean nothing." in json.loads(quick.attrs["sentences"])


def test_files_of_observed_values_are_checked(tmp_path):
    from bayescg.study._observed_values import read_observed

    path = tmp_path / "m.csv"
    for text, match in (
        ("observable,value\n", "expected observable, at, value, standard_error"),
        ("observable,at,value,standard_error\ncolour,,1,1\n", "line 2: observable 'colour' is not known"),
        ("observable,at,value,standard_error\npressure,,high,1\n", "line 2: could not convert"),
        ("observable,at,value,standard_error\npressure,,1,-1\n", "an error of at least 0"),
        ("observable,at,value,standard_error\n", "holds no values"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=match):
            read_observed(path)


# --- several questions to one run ---


def test_answers_to_different_questions_lie_side_by_side(run, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    for words in (["rdf"], ["pressure", "--temperature", "1.6"]):
        assert main(["predict", str(copied), *words, "--draws", "12", "--no-simulation"]) == 0
    kept = read_analyses(copied)
    assert kept["predictions-rdf"]["observable"].values.tolist() == ["rdf"]
    assert float(kept["predictions-pressure-T1.6"].attrs["temperature"]) == 1.6
    drawn = {path.name for path in (copied / "figures").iterdir()}
    assert "prediction_bands-rdf.png" in drawn and "prediction_bands-pressure-T1.6.png" not in drawn
    report = (copied / "report.html").read_text()
    for name in ("rdf", "pressure-T1.6"):
        assert f"<h2>What does it predict? ({name})</h2>" in report
    for name in ("rdf", "pressure"):
        again = ["predict", str(copied), name, "--name", "mine", "--draws", "12", "--no-simulation"]
        assert main(again) == 0  # the second replaces the first, and its figure of functions goes
    drawn = {path.name for path in (copied / "figures").iterdir()}
    assert "prediction_bands-mine.png" not in drawn and "prediction_parts-mine.png" in drawn


def test_names_of_answers():
    from bayescg.study import prediction_name
    from bayescg.study._predicted_observables import OBSERVABLES

    assert prediction_name(["b", "a"]) == prediction_name(["a", "b", "a"]) == "predictions-a-b"
    assert prediction_name([], from_prior=True, n_sites=64, density=0.5) == "predictions-N64-rho0.5-prior"
    whole, most = prediction_name(list(OBSERVABLES)), prediction_name(list(OBSERVABLES)[1:])
    assert max(len(whole), len(most)) < 170 and whole != most
    for bad in ("", "a/b", "..", "-a", "x" * 81):
        with pytest.raises(InputError, match="at most 80 letters"):
            prediction_name([], name=bad)
    for taken in (
        "prior",
        "pressure",
        "energy-rdf",
        "T90",
        "pressure-T90-N64",
        "rho0.5-prior",
        "against-me",
        "PRIOR",
    ):
        with pytest.raises(InputError, match="is one that answers to a question get by themselves"):
            prediction_name([], name=taken)
    for free in ("cold", "T90-mine", "my-pressure", "priors", "T"):
        assert prediction_name([], name=free) == f"predictions-{free}"
    one, other = (prediction_name([], observed=f"{folder}/measured.csv") for folder in ("a", "b"))
    assert one != other and prediction_name([], observed=Path("a/measured.csv")) == one


def test_the_mean_force_is_that_of_quadrature(run):
    data = predict(run, ["potential-of-mean-force", "rdf"], n_draws=N_DRAWS, simulation=False)
    found, g = of(data, "potential-of-mean-force"), of(data, "rdf")
    assert 4 <= found.sizes["component"] < g.sizes["component"]
    table = []
    for one in draws_of(run):
        pair = SPLINE.with_parameters({"pair_coefficients": jnp.asarray(one)})
        norm = VOLUME * TEMPERATURE / (exact(one, TEMPERATURE)["pressure"] * VOLUME - TEMPERATURE)  # V + I
        row = []
        for middle in found["at"].values:
            r = np.linspace(middle - 0.125, middle + 0.125, 200)
            u = np.asarray(pair.pair_energy(jnp.asarray(r**2)))
            row.append(
                -TEMPERATURE * np.log(VOLUME / norm * np.average(np.exp(-u / TEMPERATURE), weights=r**2))
            )
        table.append(row)
    truth = np.array(table)
    error = np.maximum(found["simulation_sd"].values, 1e-3)
    assert np.all(np.abs(found["mean"].values - truth.mean(axis=0)) < 5.0 * error)
    clear = found["parametric_sd"].values > 3.0 * found["noise_sd"].values
    assert clear.sum() > 2
    np.testing.assert_allclose(
        found["parametric_sd"].values[clear], truth.std(axis=0, ddof=1)[clear], rtol=0.25
    )


def test_a_variance_that_hangs_on_few_frames_is_simulated_or_said_to_be_bad(run, monkeypatch):
    """Close contacts of two sites: 45 effective frames carry the variance of the virial, 600 that of the energy."""
    asked: dict[str, tuple[str, ...]] = {}

    def simulated(potentials, *, observables, budget, **_):
        asked["names"] = tuple(observables)
        values = 40.0 + np.random.default_rng(0).normal(size=(len(potentials), budget.n_replicas))
        made = xr.DataArray(values, dims=("draw", "simulation"), attrs={"units": "1"})
        return SimulatedDraws({"compressibility": made}, {}, True, 10, 1e6, 1.0, [])

    monkeypatch.setattr("bayescg.study._simulate_draws.simulate_draws", simulated)
    data = predict(run, ["heat-capacity", "compressibility"], n_draws=N_DRAWS)
    assert asked["names"] == ("compressibility",)
    assert data["method"].values.tolist() == ["reweighting", "simulation"]
    assert "its variance of the virial hangs on" in str(data["reason"].values[1])
    kept = predict(run, ["heat-capacity", "compressibility"], n_draws=N_DRAWS, simulation=False)
    assert set(kept["method"].values) == {"reweighting"}
    said = [one for one in json.loads(kept.attrs["sentences"]) if "may be far too small" in one]
    assert len(said) == 1 and said[0].startswith("The error bar of compressibility")


def test_a_function_of_ones_own_is_predicted(run, tmp_path, monkeypatch):
    from bayescg.output import prediction_table
    from bayescg.study import Observable

    extent = Observable(
        name="extent", unit="sigma", of_frame=lambda x, box: jnp.ptp(x), long_name="greatest extent"
    )

    def simulated(potentials, *, observables, budget, **_):
        assert list(observables) == [extent]
        rng, shape = np.random.default_rng(0), (len(potentials), budget.n_replicas)
        made = xr.DataArray(
            3.0 + 0.1 * rng.normal(size=shape), dims=("draw", "simulation"), attrs={"units": "sigma"}
        )
        return SimulatedDraws({"extent": made}, {"extent": 0.0 * made + 4.0}, True, 10, 1e6, 1.0, [])

    monkeypatch.setattr("bayescg.study._simulate_draws.simulate_draws", simulated)
    path = tmp_path / "measured.csv"
    path.write_text("observable,at,value,standard_error\nextent,,3.5,0.1\n")
    data = predict(run, ["energy", extent], n_draws=N_DRAWS, observed=path, averaged_frames=100.0)
    found = of(data, "extent").isel(component=0)
    assert float(found["variance"].sel(part="aleatoric")) == pytest.approx(4.0 / 100.0)
    assert 3.0 < float(found["z"]) < 5.5 and str(found["long_name"].values) == "greatest extent"
    assert "extent" in prediction_table(data)
    taken = Observable(name="rdf", unit="1", of_frame=lambda x, box: jnp.ptp(x))
    with pytest.raises(InputError, match="the name is one that is known already"):
        predict(run, [taken])
    with pytest.raises(InputError, match="an array of shape"):
        predict(run, [Observable(name="mine", unit="1", of_frame=lambda x, box: x)], n_draws=12)


def test_held_out_frames_are_what_predictions_are_compared_with(run, tmp_path):
    from bayescg.data import write_frames
    from tests.study.stored_run import make_frames

    truth = SPLINE.with_parameters({"pair_coefficients": jnp.asarray(TRUTH)})
    apart = exact_positions(truth, 1500, seed=8)
    pressure = np.random.default_rng(3).normal(0.02, 0.01, size=1500)
    path = tmp_path / "others.nc"
    write_frames(make_frames(apart, pressure=pressure), path)
    data = predict(run, ["rdf", "pressure", "energy"], n_draws=N_DRAWS, observed=path, simulation=False)
    g, p = of(data, "rdf"), of(data, "pressure").isel(component=0)
    assert float(p["observed"]) == pytest.approx(pressure.mean(), rel=1e-6)
    assert float(p["observed_sd"]) == pytest.approx(0.01 / np.sqrt(1500), rel=0.3)
    scored = np.isfinite(g["z"].values)
    assert scored.sum() > 6 and np.sqrt(np.mean(g["z"].values[scored] ** 2)) < 2.0
    assert set(g["held_out"].values[scored]) == {1} and np.isnan(of(data, "energy")["z"]).all()
    with pytest.raises(InputError, match="nothing|of which none is predicted; name one"):
        predict(run, ["energy"], n_draws=12, observed=path)
    with pytest.raises(InputError, match="the run has learned from 3000 of these frames; give others"):
        predict(run, ["rdf"], n_draws=12, observed=run.parent / "study" / "frames.nc")
    with pytest.raises(InputError, match="and that of the prediction is"):
        predict(run, ["rdf"], n_draws=12, n_sites=2, density=2 / 8.0**3, observed=path)
    with pytest.raises(InputError, match="2 sites, and 16 are predicted"):
        predict(run, ["rdf"], n_draws=12, n_sites=16, observed=path)
