"""Pieces of a prediction that need no run: whose part is told, what is left out, intervals of values of a known law."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from bayescg.data import Frames, State, Topology, get_unit_system, write_frames
from bayescg.errors import InputError
from bayescg.output import figure_prediction_parts, figure_prediction_shares, prediction_table
from bayescg.physics import LennardJones
from bayescg.study import Observable
from bayescg.study._frame_columns import waves
from bayescg.study._observable import BUILT_IN
from bayescg.study._observed_frames import observed_in_frames
from bayescg.study._observed_values import ObservedValues, read_observed, refuse_unpredicted, scorable
from bayescg.study._predict_by_reweighting import compressibility_notes
from bayescg.study._prediction_dataset import Coordinates, prediction_dataset
from bayescg.study._prediction_needs import missing_need, possible_observables
from bayescg.study._prediction_parts import PredictedPart, reweighted_part, simulated_part
from bayescg.study._prediction_sentences import prediction_sentences
from bayescg.study._prediction_target import PredictionTarget

STATE = {
    "temperature_unit": "1", "temperature": 1.0, "n_sites": 2, "density": 0.1, "length_unit": "sigma",
    "posterior": "draws of the calibrated posterior",
}  # fmt: skip
NONE = np.array([np.nan])


def coordinates(z: np.ndarray) -> Coordinates:
    size = z.shape[1]
    return Coordinates(z, [f"p{k}" for k in range(size)], np.eye(size), "the axes, in any order")


def simulated(z: np.ndarray, *, noise: float, replicas: int = 4, seed: int = 0) -> PredictedPart:
    """A number linear in the first coordinate, each simulation with its own noise."""
    rng = np.random.default_rng(seed)
    values = 5.0 + z[:, :1] + noise * rng.normal(size=(len(z), replicas))
    return simulated_part(
        "diffusion",
        xr.DataArray(values, dims=("draw", "simulation"), attrs={"units": "1"}),
        None,
        "asked",
        common_seeds=True,
    )


def told(part: PredictedPart, z: np.ndarray) -> tuple[xr.Dataset, list[str]]:
    data = prediction_dataset([part], {}, coordinates(z), averaged_frames=100.0)
    return data, prediction_sentences(
        data.assign_attrs(STATE), coordinates(z), logarithmic=[False] * z.shape[1]
    )


def test_a_chance_that_is_unknown_is_not_none():
    z = np.random.default_rng(1).normal(size=(40, 2))
    data, said = told(simulated(z, noise=0.1), z)
    assert np.isnan(data["variance"].sel(part="aleatoric").item())
    known = float(np.hypot(data["parametric_sd"], data["simulation_sd"]).item())
    assert data["total_sd"].item() == pytest.approx(known)
    assert float(data["share"].sum()) == pytest.approx(1.0)
    assert any(one.startswith("Chance is unknown of diffusion") for one in said)
    row = prediction_table(data.assign_attrs(STATE)).splitlines()[1].split()
    assert row[:3] == ["diffusion", f"{data['mean'].item():.4g}", "1"] and len(row) == 7  # no chance, no data
    axes = figure_prediction_parts(data.assign_attrs(STATE)).axes[0]
    assert [one.get_text() for one in axes.get_yticklabels()] == ["diffusion\n(chance unknown)"]


@pytest.mark.parametrize(
    ("n", "noise", "match"),
    [
        (40, 0.1, r" goes with direction 1 of 2 .* is not explained linearly by 40 draws"),
        (12, 0.1, r"can't be told from 12 draws of 2 coordinates; at least 20 are needed"),
        (40, 6.0, r"(half of it or more is simulation noise|scatter no more than simulation noise)"),
    ],
)
def test_shares_of_simulated_draws_are_told_where_noise_lets_them(n, noise, match):
    import re

    z = np.random.default_rng(2).normal(size=(n, 2))
    data, said = told(simulated(z, noise=noise), z)
    assert any(re.search(match, one) for one in said), said
    assert np.isfinite(data["rest"].item()) == (n == 40 and noise < 1.0)


def test_the_figure_of_shares_says_what_its_directions_are():
    z = np.random.default_rng(2).normal(size=(40, 2))
    data, _ = told(simulated(z, noise=0.1), z)
    axes = figure_prediction_shares(data.assign_attrs(data.attrs | STATE)).axes[0]
    assert "the axes, in any order" in axes.get_xlabel() and "best" not in axes.get_xlabel()


@pytest.mark.parametrize("replicas", [2, 4])
def test_intervals_of_few_replicas_hold_the_truth_as_often_as_they_say(replicas):
    """Common noise alone: coverage is Student's, where a normal interval of two replicas holds 65 %."""
    rng, hits, normal, n = np.random.default_rng(3), 0, 0, 400
    z = rng.normal(size=(6, 1))
    for _ in range(n):
        values = np.zeros((6, 1)) + 1e-6 * z + rng.normal(size=(1, replicas))
        part = simulated_part(
            "diffusion", xr.DataArray(values, dims=("draw", "simulation")), None, "asked", common_seeds=True
        )
        seen = {"diffusion": ObservedValues(NONE, np.zeros(1), np.zeros(1), True)}
        data = prediction_dataset([part], seen, coordinates(z), averaged_frames=1.0)
        hits += data.attrs["coverage_90"] == 1.0
        normal += abs(data["z"].item()) < 1.645
    assert abs(hits / n - 0.9) < 4.0 * np.sqrt(0.09 / n)
    assert normal / n < 0.85


def test_the_discrepancy_is_in_no_other_standard_deviation():
    z = np.random.default_rng(4).normal(size=(40, 2))
    seen = {"diffusion": ObservedValues(NONE, np.array([50.0]), np.array([0.1]), True)}
    part = simulated(z, noise=0.1)
    data = prediction_dataset([part], seen, coordinates(z), averaged_frames=1.0)
    without = prediction_dataset([part], {}, coordinates(z), averaged_frames=1.0)
    assert data["discrepancy_sd"].item() > 30.0
    assert data["total_sd"].item() == without["total_sd"].item() < 2.0
    assert "discrepancy" not in data["part"].values


def test_values_without_any_error_bar_are_named():
    z = np.random.default_rng(4).normal(size=(40, 2))
    values = xr.DataArray(np.ones((40, 2)), dims=("draw", "simulation"))
    part = simulated_part("diffusion", values, None, "asked", common_seeds=True)
    seen = {"diffusion": ObservedValues(NONE, np.ones(1), np.zeros(1), True)}
    data = prediction_dataset([part], seen, coordinates(z), averaged_frames=1.0)
    assert data.attrs["n_held_out"] == 0
    said = prediction_sentences(data.assign_attrs(STATE), coordinates(z), logarithmic=[False, False])
    assert any("1 held-out values of diffusion have no error bar" in one for one in said)


def curve(*, empty: int, n: int = 12) -> PredictedPart:
    """g(r) of 20 draws, whose first bins no pair enters."""
    rng = np.random.default_rng(6)
    values = 1.0 + 0.1 * rng.normal(size=(20, 1, n)) + 0.01 * rng.normal(size=(20, 4, n))
    values[..., :empty] = 0.0
    at = {"r": 0.05 + 0.1 * np.arange(n)}
    made = xr.DataArray(values, dims=("draw", "simulation", "r"), coords=at, attrs={"units": "1"})
    return simulated_part("rdf", made, None, "asked", common_seeds=True)


@pytest.mark.parametrize("held_out", [True, False])
def test_bins_that_no_pair_can_enter_are_no_hits(held_out):
    """Four such bins, and one where only the data are empty: that one counts, and fails."""
    part, z = curve(empty=4), np.random.default_rng(6).normal(size=(20, 1))
    value = np.where(np.arange(12) < 5, 0.0, 1.0)
    seen = {"rdf": ObservedValues(part.split["r"].values, value, np.full(12, 0.01), held_out)}
    data = prediction_dataset([part], seen, coordinates(z), averaged_frames=1.0)
    assert np.isnan(data["z"].values).tolist() == [True] * 4 + [False] * 8
    assert np.isfinite(data["discrepancy_sd"].values).tolist() == [False] * 4 + [True] * 8
    assert data["z"].values[4] < -5.0
    if held_out:
        assert data.attrs["n_held_out"] == 8 and data.attrs["coverage_90"] <= 7 / 8
        said = prediction_sentences(data.assign_attrs(STATE), coordinates(z), logarithmic=[False])
        assert not any("error bar" in one and "not scored" in one for one in said)


def frames(n: int, *, types: tuple[str, ...] = ("A", "A"), trajectory=(), pressure=None) -> Frames:
    """Two sites somewhere in a box of edge 5."""
    positions = np.random.default_rng(n).uniform(0.0, 5.0, size=(n, len(types), 3))
    return Frames(
        positions, np.full(3, 5.0), Topology(types, np.ones(len(types))), State(1.0), get_unit_system("lj"),
        pressure=pressure, trajectory=np.asarray(trajectory, int),
    )  # fmt: skip


def held_out(path: Path, given: Frames, *own: Observable, n_sites: int = 2) -> dict[str, ObservedValues]:
    write_frames(given, path)
    return observed_in_frames(
        path, ["pressure", *[one.name for one in own]], {one.name: one for one in own},
        target=PredictionTarget(1.0, n_sites, np.full(3, 5.0), None, 2.0), units=get_unit_system("lj"), learned=frames(7),
    )  # fmt: skip


HALVES = Observable(
    name="halves", unit="1", of_frame=lambda x, box: jnp.stack([jnp.mean(x[:, 0] < 2.5), jnp.mean(x[:, 0] < 9.0), 0.0])
)  # fmt: skip


def test_held_out_values_that_never_vary_have_an_unknown_error(tmp_path):
    """A column that is the same in all frames is not known exactly: z has no value, and the sentences say why."""
    pressure = np.full(400, 0.3)
    found = held_out(tmp_path / "others.nc", frames(400, pressure=pressure), HALVES)
    error = found["halves"].standard_error
    assert error[0] == pytest.approx(0.5 / np.sqrt(2 * 400), rel=0.3) and np.isnan(error[1:]).all()
    assert (
        found["halves"].value[1:].tolist() == [1.0, 0.0] and np.isnan(found["pressure"].standard_error).all()
    )
    rng, z = np.random.default_rng(7), np.random.default_rng(8).normal(size=(20, 1))
    values = np.array([0.5, 0.9, 0.1]) + 0.01 * rng.normal(size=(20, 4, 3))
    made = xr.DataArray(
        values, dims=("draw", "simulation", "component"), coords={"component": np.arange(3.0)}, attrs={"units": "1"}
    )  # fmt: skip
    part = simulated_part("halves", made, None, "asked", common_seeds=True, long_name="halves")
    data = prediction_dataset([part], found, coordinates(z), averaged_frames=1.0)
    assert np.isfinite(data["z"].values).tolist() == [True, False, False] and data.attrs["n_held_out"] == 1
    said = prediction_sentences(data.assign_attrs(STATE), coordinates(z), logarithmic=[False])
    assert sum(one.startswith("2 held-out values of halves are the same in all frames") for one in said) == 1


def test_errors_of_held_out_frames_know_where_trajectories_end(tmp_path):
    """Labels 5 and 2, in this order, the pressure a slow wave in each: the ends lie at 100 frames, not at 300."""
    from bayescg.data import statistical_inefficiency

    labels = np.repeat([5, 2], [100, 300])
    rng = np.random.default_rng(9)
    pressure = np.concatenate([np.repeat(rng.normal(size=10), 10), rng.normal(size=300)])
    found = held_out(tmp_path / "others.nc", frames(400, trajectory=labels, pressure=pressure))["pressure"]
    right, wrong = (statistical_inefficiency(pressure, lengths=n)[0] for n in ([100, 300], [300, 100]))
    error = pressure.std(ddof=1) * np.sqrt(np.array([right, wrong]) / 400)
    assert found.standard_error[0] == pytest.approx(error[0], rel=1e-5) != pytest.approx(error[1], rel=1e-5)


@pytest.mark.parametrize(
    ("given", "n_sites", "match"),
    [
        (
            frames(9, pressure=np.arange(9.0)),
            2,
            "9 frames are too few for a standard error; give at least 10",
        ),
        (
            frames(20, types=("Xx", "Xx")),
            2,
            "sites of types Xx, and the run has A, or in another order; give",
        ),
        (frames(20, types=("A", "A", "Xx")), 3, "sites of types A, Xx, and the run has A, "),
        (frames(20, types=("A",) * 3), 2, "3 sites, and 2 are predicted"),
    ],
)
def test_held_out_frames_of_another_system_or_too_few_are_refused(given, n_sites, match, tmp_path):
    with pytest.raises(InputError, match=f"others.nc: {match}") as caught:
        held_out(tmp_path / "others.nc", given, n_sites=n_sites)
    assert "\n" not in str(caught.value)


def test_frames_of_a_larger_system_of_the_same_sites_are_compared(tmp_path):
    given = frames(20, types=("A",) * 3, pressure=np.arange(20.0))
    assert held_out(tmp_path / "others.nc", given, n_sites=3)["pressure"].value[0] == pytest.approx(9.5)


def test_the_example_of_the_documentation_is_what_it_says(monkeypatch):
    """It runs as it stands but for the run itself; its density of distances to the nearest neighbour, against numpy."""
    text = (Path(__file__).parents[2] / "docs" / "propagation.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    asked = []
    monkeypatch.setattr("bayescg.study.predict", lambda run, names, **_: asked.extend(names))
    monkeypatch.setattr("bayescg.output.prediction_table", lambda data: "")
    exec(code, {})
    own, box = asked[1], np.array([12.0, 13.0, 14.0])
    x = np.random.default_rng(0).uniform(-20.0, 20.0, size=(60, 3))
    apart = (x[:, None] - x + box / 2) % box - box / 2
    nearest = np.sort(np.linalg.norm(apart, axis=-1), axis=1)[:, 1]
    edges = np.append(own.at - 0.05, own.at[-1] + 0.05)
    expected = np.histogram(nearest, edges)[0] / 60 / 0.1
    assert expected.sum() > 0 and own.n_values(60, 3) == len(own.at)
    np.testing.assert_allclose(own.of_frame(jnp.asarray(x), jnp.asarray(box)), expected, atol=1e-9)


def compressibilities(modulus: np.ndarray, noise: float) -> xr.Dataset:
    """1/K of draws with blocks of K's error, as `reweighted_thermodynamics` makes them."""
    from bayescg.analysis._reweighted_scalars import _inverse

    signs = np.array([1.0, -1.0, 1.0, -1.0])[:, None]
    return _inverse(
        xr.Dataset(
            {
                "mean": ("draw", modulus),
                "influence": (("block", "draw"), 0.5 * noise * signs * np.ones(len(modulus))),
                "fluctuation_variance": ("draw", np.ones(len(modulus))),
                "effective_frames": ("draw", np.full(len(modulus), 500.0)),
            },
            coords={"reference": ("block", np.zeros(4, int))},
        )
    )


def test_a_modulus_that_is_not_positive_has_no_inverse():
    means = compressibilities(np.array([2.0, -0.1, 2.2, 1.9]), 0.1)
    assert np.isnan(means["mean"].values).tolist() == [False, True, False, False]
    assert ["not positive at 1 of 4 draws" in one for one in compressibility_notes(means)] == [True]
    part = reweighted_part("compressibility", means, "kept")
    assert float(part.split["mean"]) == pytest.approx(np.mean([1 / 2.0, 1 / 2.2, 1 / 1.9]))
    with pytest.raises(InputError, match="positive at 0 of 2 draws"):
        compressibility_notes(compressibilities(np.array([-1.0, -2.0]), 0.1))


def test_a_noisy_modulus_is_said_to_be_noisy():
    assert compressibility_notes(compressibilities(np.array([2.0, 2.2]), 0.1)) == []
    assert "relative error of 48 %" in compressibility_notes(compressibilities(np.array([2.0, 2.2]), 1.0))[0]


def test_the_compressibility_needs_bins_up_to_the_cutoff():
    pair = LennardJones(1.0, 1.0, cutoff=2.5)
    target = PredictionTarget(1.0, 2, np.full(3, 5.2), np.linspace(0.0, 2.4, 9), 2.5)
    names, notes = possible_observables(("pressure", "compressibility"), pair, target, asked=False, run="run")
    assert names == ("pressure",) and "between the cutoff and half the box, 2.6" in notes[0]
    with pytest.raises(
        InputError, match="run: compressibility needs pair counts .* or leave compressibility out"
    ):
        possible_observables(("pressure", "compressibility"), pair, target, asked=True, run="run")
    assert (
        missing_need("compressibility", pair, target._replace(distance_edges=np.linspace(0.0, 2.5, 9)))
        is None
    )


HEAD = "observable,at,value,standard_error\n"


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ("pressure,,1,1\nrdf,,1,1\n", "line 3: `at` of rdf is empty; the place on its grid expected"),
        ("pressure,2,1,1\n", "line 2: `at` of pressure is 2; nothing expected"),
        ("\npressure,,1,1\n\npressure,,2,1\n", "line 5: a second value of pressure at the same place"),
        ("rdf,1.0,1,1\nrdf,1.0,2,1\n", "line 3: a second value of rdf"),
    ],
)
def test_rows_that_would_be_lost_are_refused(tmp_path, rows, match):
    path = tmp_path / "m.csv"
    path.write_text(HEAD + rows)
    with pytest.raises(InputError, match=match):
        read_observed(path)


def test_files_of_spreadsheets_are_read(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + "pressure,,1,1\n").encode())
    assert read_observed(path)["pressure"].value.tolist() == [1.0]


@pytest.mark.parametrize(
    ("given", "names", "match"),
    [
        ({"pressure": (NONE, 1)}, ["rdf"], "values of pressure, which is not predicted"),
        (
            {"rdf": (np.array([7.0]), 1)},
            ["rdf"],
            "no predicted value at 7; predicted ones lie from 0.125 to 2.375",
        ),
        ({"rdf": (np.array([1.10, 1.15]), 2)}, ["rdf"], "two for one predicted value, that at 1.125"),
    ],
)
def test_values_without_a_prediction_are_refused_beforehand(given, names, match):
    target = PredictionTarget(1.0, 2, np.full(3, 5.0), np.linspace(0.0, 2.5, 11), 2.5)
    values = {name: ObservedValues(at, np.ones(n), np.ones(n), True) for name, (at, n) in given.items()}
    with pytest.raises(InputError, match=f"m.csv: .*{match}"):
        refuse_unpredicted(values, names, target, path=Path("m.csv"))


OWN = {
    "wave": Observable(name="wave", unit="1", of_frame=lambda x, box: box[:2], at=np.array([0.5, 1.5])),
    "extent": Observable(name="extent", unit="1", of_frame=lambda x, box: jnp.ptp(x)),
    "single": Observable(name="single", unit="1", of_frame=lambda x, box: box[:1], at=np.array([2.0])),
    "bond-order": BUILT_IN["bond-order"],
}


@pytest.mark.parametrize(
    ("name", "at", "match"),
    [
        ("structure-factor", 1e5, "structure-factor: no predicted value at 100000"),
        ("potential-of-mean-force", 7.0, "potential-of-mean-force: no predicted value at 7"),
        ("bond-order", 2.0, "bond-order: no predicted value at 2; predicted ones lie from 0.01 to 0.99"),
        ("wave", 9.0, "wave: no predicted value at 9"),
        ("wave", np.nan, "wave: a function needs the place"),
        ("extent", 0.0, "extent: a function needs the place of each value in `at`, a single number none"),
        ("single", 2.1, "single: no predicted value at 2.1; the only predicted one lies at 2"),
    ],
)
def test_places_of_every_known_grid_are_checked_beforehand(name, at, match):
    target = PredictionTarget(1.0, 40, np.full(3, 5.0), np.linspace(0.0, 2.5, 11), 2.5)
    one = np.ones(1)
    with pytest.raises(InputError, match=f"m.csv: {match}"):
        refuse_unpredicted(
            {name: ObservedValues(at * one, one, one, True)},
            [name],
            target,
            path=Path("m.csv"),
            functions=OWN,
        )


def test_known_places_are_taken():
    target = PredictionTarget(1.0, 40, np.full(3, 5.0), np.linspace(0.0, 2.5, 11), 2.5)
    places = {
        "structure-factor": waves(target).k[2],
        "bond-order": 0.33,
        "wave": 1.5,
        "extent": np.nan,
        "single": 2.0,
    }
    given = {name: ObservedValues(np.array([at]), *np.ones((2, 1)), True) for name, at in places.items()}
    refuse_unpredicted(given, list(given), target, path=Path("m.csv"), functions=OWN)


def test_values_of_a_mean_force_where_there_is_none_are_not_scored():
    """Of four, two lie in bins that noise left; a single bin that is left takes no other bin's value."""
    target = PredictionTarget(1.0, 40, np.full(3, 5.0), np.linspace(0.0, 2.5, 11), 2.5)
    at, name = np.array([0.4, 1.1, 1.6, 2.4]), "potential-of-mean-force"
    given = {name: ObservedValues(at, at, at, True), "energy": ObservedValues(NONE, at[:1], at[:1], True)}
    kept, notes = scorable(given, {name: np.array([1.125, 1.375, 1.625]), "energy": NONE}, target)
    assert kept[name].at.tolist() == [1.125, 1.625] and kept[name].value.tolist() == [1.1, 1.6]
    assert notes == [f"Not scored: 2 of 4 observed values of {name}, at places where it is not predicted."]
    kept, notes = scorable(given, {name: np.array([1.125])}, target)
    assert kept[name].value.tolist() == [1.1] and notes[0].startswith("Not scored: 3 of 4")
    assert kept["energy"] is given["energy"]
    times = {
        "velocity-autocorrelation": ObservedValues(np.array([0.0, 0.21, 9.0]), np.ones(3), np.ones(3), True)
    }
    kept, notes = scorable(times, {"velocity-autocorrelation": 0.1 * np.arange(5.0)}, target)
    np.testing.assert_allclose(kept["velocity-autocorrelation"].at, [0.0, 0.2])
    assert notes[0].startswith("Not scored: 1 of 3")


def test_an_infinite_box_has_a_correction_for_a_cube_only():
    pair = LennardJones(1.0, 1.0, cutoff=2.4)
    target = PredictionTarget(1.0, 40, np.array([5.0, 5.0, 6.0]), None, 2.4)
    assert "needs a cube" in missing_need("diffusion-infinite", pair, target)
    assert missing_need("viscosity", pair, target) is None
    assert missing_need("diffusion-infinite", pair, target._replace(box=np.full(3, 5.0))) is None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_draws": 1}, "1 draws have no spread"),
        ({"n_simulated": 1}, "1 simulated draws have no spread"),
        ({"n_replicas": 1}, "1 replicas of each draw can't tell noise"),
        ({"averaged_frames": 0.0}, "an average over 0 frames"),
    ],
)
def test_counts_that_can_say_nothing_are_refused_before_anything_is_read(options, match):
    from bayescg.study import predict

    with pytest.raises(InputError, match=match):
        predict(Path("no-such-run"), **options)
