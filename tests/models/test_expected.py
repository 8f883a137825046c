"""Whole runs of the models with real data, held to the numbers in their `expected.json`.

The file gives, for each parameter, mean and standard deviation (lists for arrays) and says how far a run may be from
them: `mean_in_sd` in those standard deviations, `sd_ratio` as a fraction; and `checks_passed`, which checks must pass.
Optional are `rdf`, the heights of the data's g(r) at its extrema by their place, which must lie inside the 90 % band
of what the model predicts for them; `properties`, the truth of crystal properties, which must lie in their 90 % bands; and
`sentences`, regular expressions that the statement must contain.
"""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from arviz_stats.base import array_stats

from bayescg.cli import main
from bayescg.inference import BlackjaxNuts, Target
from bayescg.inference._calibrate import symmetric_root
from bayescg.inference._chains import draw_chains
from bayescg.progress import SilentProgress
from bayescg.study import predict
from bayescg.study._stored_fits import stored_fit

MODELS = Path(__file__).resolve().parents[2] / "models"
DFT = MODELS.parents[1] / "shared" / "data" / "dft"
NOT_PARAMETERS = {"tolerance", "rdf", "properties"}


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in MODELS.glob("*/model.toml")), ids=lambda p: p.name
)
def test_every_model_says_what_is_expected(folder: Path):
    expected = read_expected(folder)
    assert expected["checks_passed"] and expected["source"]
    assert parameters_of(expected), "expected.json names no parameter"
    assert set(expected["tolerance"]) == {"mean_in_sd", "sd_ratio"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lj-argon", "water-spce", "si-stillinger-weber", "tantalum-eam"])
def test_a_run_gives_what_is_expected(name: str, tmp_path: Path, monkeypatch):
    if name.startswith("tantalum"):
        if not (DFT / "maml_Ta.extxyz.gz").is_file():
            pytest.skip(f"{DFT / 'maml_Ta.extxyz.gz'}: not here; the data are not part of the project")
        monkeypatch.setenv("BAYESCG_DATA", str(DFT))
    expected = read_expected(MODELS / name)
    assert main(["run", str(MODELS / name), "-o", str(tmp_path / "out")]) == 0
    with xr.open_datatree(tmp_path / "out" / "posterior.nc") as tree:
        check_against(expected, tree.load())
        if name == "water-spce":
            check_another_nuts(tree, tmp_path / "out")
        if name in ("lj-argon", "water-spce"):
            check_predictions(tree, tmp_path / "out", own_form=name == "lj-argon")


def read_expected(folder: Path) -> dict:
    path = folder / "expected.json"
    assert path.is_file(), f"{path} is missing: every model says what a run of it must give"
    return json.loads(path.read_text())


def parameters_of(expected: dict) -> dict:
    return {k: v for k, v in expected.items() if isinstance(v, dict) and k not in NOT_PARAMETERS}


def check_against(expected: dict, tree: xr.DataTree) -> None:
    """Compares parameters, verdicts, and where they are given g(r) and the statement."""
    check_parameters(expected, tree)
    verdicts = {check["name"]: check["verdict"] for check in json.loads(tree.attrs["checks"])}
    wrong = {name: verdicts.get(name, "absent") for name in expected["checks_passed"]}
    assert set(wrong.values()) <= {"passed"}, wrong
    for place, height in expected.get("rdf", {}).items():
        check_rdf(float(place), height, tree)
    for component, truth in expected.get("properties", {}).items():
        low, high = tree["property"]["band"].sel(component=component, quantile=[0.05, 0.95]).values
        assert low <= truth <= high, f"{component}: {truth} is not in {low} to {high}"
    statement = " ".join(json.loads(tree.attrs["statement"]))
    for pattern in expected.get("sentences", []):
        assert re.search(pattern, statement), f"the statement does not contain {pattern!r}: {statement}"


def check_parameters(expected: dict, tree: xr.DataTree) -> None:
    tolerance = expected["tolerance"]
    posterior = tree[expected.get("group", "posterior")].to_dataset()
    assert parameters_of(expected), "expected.json names no parameter"
    for name, numbers in parameters_of(expected).items():
        mean, sd = np.asarray(numbers["mean"]), np.asarray(numbers["sd"])
        draws = posterior[name]
        shift = (draws.mean(["chain", "draw"]).values - mean) / sd
        ratio = draws.std(["chain", "draw"]).values / sd
        assert np.abs(shift).max() < tolerance["mean_in_sd"], f"{name}: means are {shift} sd away"
        assert np.abs(ratio - 1.0).max() < tolerance["sd_ratio"], f"{name}: sd are {ratio} times the expected"


def check_another_nuts(tree: xr.DataTree, folder: Path) -> None:
    """BlackJAX's NUTS on the stored references gives the run's posterior, which NumPyro's drew: means and widths along
    directions that are independent in it, within the errors of their differences."""
    fit = stored_fit(tree, folder)
    root = symmetric_root(fit.mode.covariance)
    target = Target(fit.likelihood, jnp.asarray(fit.mode.z), jnp.asarray(root), jnp.asarray(1.0))
    other, _ = draw_chains(
        BlackjaxNuts(fit.posterior, n_warmup=400), target, key=jax.random.key(3), n_chains=4, n_draws=1000,
        name="other", checkpoints=None, progress=SilentProgress(),
    )  # fmt: skip
    own = tree["unconstrained"]["z"].values
    root = np.linalg.cholesky(np.cov(own.reshape(-1, own.shape[-1]).T))
    white = [np.linalg.solve(root, (z - own.mean(axis=(0, 1)))[..., None])[..., 0] for z in (own, other.z)]
    gaps = np.concatenate([gaps_in_errors(*white, power) for power in (1, 2)])
    assert np.sqrt(np.mean(gaps**2)) < 1.5 and np.abs(gaps).max() < 4.5, gaps


def check_predictions(tree: xr.DataTree, folder: Path, *, own_form: bool) -> None:
    """Reweighted predictions of the run: shares sum to 1, pressures are those of the report, and the data's own pressure is
    met where the form is the data's, and far away where structure alone was matched."""
    data = predict(folder, ["pressure", "compressibility"], n_draws=150, simulation=False)
    assert set(data["method"].values) == {"reweighting"}
    assert data.attrs["directions"].startswith("eigenvectors of the Fisher information")
    np.testing.assert_allclose(data["share"].sum("part"), 1.0, rtol=1e-9)
    np.testing.assert_allclose(data["direction_share"].sum("direction") + data["rest"], 1.0, atol=1e-9)
    pressure = data.isel(component=int(np.argmax(data["of"].values == "pressure")))
    reported = tree["posterior_predictive"]["pressure"]
    sd = float(reported.std())
    assert abs(float(pressure["mean"] - reported.mean())) < 0.4 * sd
    assert 0.75 < float(pressure["parametric_sd"]) / sd < 1.3
    z = float(pressure["z"])
    assert abs(z) < 3.0 if own_form else z < -15.0


def gaps_in_errors(a: np.ndarray, b: np.ndarray, power: int) -> np.ndarray:
    """Differences of the mean powers of two sets of draws [chain draw coordinate] over their Monte-Carlo errors."""
    shift = a.mean(axis=(0, 1)) if power == 2 else 0.0
    powers = [(z - shift) ** power for z in (a, b)]
    errors = [
        z.var(axis=(0, 1)) / array_stats.ess(z, chain_axis=0, draw_axis=1, method="mean") for z in powers
    ]
    return (powers[0].mean(axis=(0, 1)) - powers[1].mean(axis=(0, 1))) / np.sqrt(sum(errors))


def check_rdf(place: float, height: float, tree: xr.DataTree) -> None:
    """The same parabola through data and every draw, in the same bins: heights depend on both."""
    r = tree["observed_data"]["r"].values
    observed = tree["observed_data"]["rdf"].values
    at, found = extremum(r, observed, place)
    width = r[1] - r[0]
    assert abs(at - place) < 0.1 * width, f"g(r) of the data has its extremum at {at}, not at {place}"
    assert abs(found - height) < 1e-3, f"g(r) of the data is {found} at {place}, not {height}"
    draws = tree["posterior_predictive"]["rdf"].values.reshape(-1, len(r))
    low, high = np.quantile([extremum(r, g, place)[1] for g in draws], [0.05, 0.95])
    assert low <= height <= high, f"g(r) at {place}: {height} is not inside {low:.4f} to {high:.4f}"


def extremum(r: np.ndarray, g: np.ndarray, place: float) -> tuple[float, float]:
    """Place and height of the extremum of a parabola through five bins, the middle one the extreme one near `place`."""
    nearest = int(np.argmin(np.abs(r - place)))
    near = slice(nearest - 3, nearest + 4)
    sign = np.sign(g[nearest] - (g[near.start] + g[near.stop - 1]) / 2)
    middle = near.start + int(np.argmax(sign * g[near]))
    five = slice(middle - 2, middle + 3)
    a, b, c = np.polyfit(r[five] - r[middle], g[five], 2)
    return r[middle] - b / (2 * a), c - b * b / (4 * a)


# The rules themselves, on a made-up result ------------------------------------------------------------------------


def made_up() -> tuple[dict, xr.DataTree]:
    """One parameter, and a g(r) with a peak of height 2 at 0.33 and a valley of 0.5 at 0.52."""
    rng = np.random.default_rng(0)
    r = np.arange(0.005, 1.0, 0.01)
    shape = np.exp(-(((r - 0.33) / 0.05) ** 2)) - 0.5 * np.exp(-(((r - 0.52) / 0.05) ** 2))
    draws = 1.0 + (1.0 + 0.01 * rng.normal(size=(1, 200, 1))) * shape
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"epsilon": (("chain", "draw"), rng.normal(size=(2, 500)))}),
            "observed_data": xr.Dataset({"rdf": ("r", 1.0 + shape)}, coords={"r": r}),
            "posterior_predictive": xr.Dataset({"rdf": (("chain", "draw_p", "r"), draws)}, coords={"r": r}),
        }
    )
    tree.attrs["checks"] = json.dumps([{"name": "verification", "verdict": "passed"}])
    tree.attrs["statement"] = json.dumps(
        ["The frames agree.", "The potential does not reproduce the pressure."]
    )
    (peak, high), (valley, low) = (extremum(r, 1.0 + shape, place) for place in (0.33, 0.52))
    expected = {
        "group": "posterior",
        "epsilon": {"mean": 0.0, "sd": 1.0},
        "tolerance": {"mean_in_sd": 0.3, "sd_ratio": 0.2},
        "checks_passed": ["verification"],
        "rdf": {f"{peak:.4f}": high, f"{valley:.4f}": low},
        "sentences": ["does not reproduce the pressure", "frames (dis)?agree"],
    }
    return expected, tree


def test_what_is_as_expected_passes():
    expected, tree = made_up()
    assert [round(height, 2) for height in expected["rdf"].values()] == [2.0, 0.5]
    check_against(expected, tree)


@pytest.mark.parametrize(
    ("group", "factor", "message"),
    [("posterior_predictive", 1.05, "not inside"), ("observed_data", 1.05, "g\\(r\\) of the data is")],
)
def test_another_rdf_fails(group, factor, message):
    expected, tree = made_up()
    tree[group] = tree[group].to_dataset() * factor
    with pytest.raises(AssertionError, match=message):
        check_against(expected, tree)


def test_bins_of_another_width_fail():
    expected, tree = made_up()
    for group in ("observed_data", "posterior_predictive"):
        tree[group] = tree[group].to_dataset().coarsen(r=3, boundary="trim").mean()
    with pytest.raises(AssertionError, match="g\\(r\\) of the data"):
        check_against(expected, tree)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("statement", ["The potential reproduces everything."], "does not reproduce"),
        ("checks", [{"name": "verification", "verdict": "failed"}], "failed"),
        ("checks", [], "absent"),
    ],
)
def test_another_statement_or_verdict_fails(attribute, value, message):
    expected, tree = made_up()
    tree.attrs[attribute] = json.dumps(value)
    with pytest.raises(AssertionError, match=message):
        check_against(expected, tree)


@pytest.mark.parametrize("change", [{"mean": 1.0, "sd": 1.0}, {"mean": 0.0, "sd": 2.0}])
def test_another_posterior_fails(change):
    expected, tree = made_up()
    with pytest.raises(AssertionError, match="epsilon"):
        check_against(expected | {"epsilon": change}, tree)


def test_a_model_without_expected_numbers_fails(tmp_path):
    with pytest.raises(AssertionError, match="is missing"):
        read_expected(tmp_path)


def test_gaps_between_draws_are_told_from_noise():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 4, 1000, 30))
    for power in (1, 2):
        assert np.abs(gaps_in_errors(a, b, power)).max() < 4.5
    assert np.abs(gaps_in_errors(a, b + 0.2, 1)).min() > 4.5
    assert np.abs(gaps_in_errors(a, 1.2 * b, 2)).min() > 4.5
