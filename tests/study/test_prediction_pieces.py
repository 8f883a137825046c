"""Pieces of a prediction that need no run: whose part is told, what is left out, intervals of values of a known law."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayescg.errors import InputError
from bayescg.output import figure_prediction_parts, figure_prediction_shares, prediction_table
from bayescg.physics import LennardJones
from bayescg.study._observed_values import ObservedValues, read_observed, refuse_unpredicted
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
