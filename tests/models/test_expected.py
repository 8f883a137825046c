"""Whole runs of the models with real data, held to the numbers in their `expected.json`.

The file gives, for each parameter, mean and standard deviation (lists for arrays) and says how far a run may be from
them: `mean_in_sd` in those standard deviations, `sd_ratio` as a fraction; and which checks must pass.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayescg.cli import main

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lj-argon", "water-spce"])
def test_a_run_gives_what_is_expected(name: str, tmp_path: Path):
    path = MODELS / name / "expected.json"
    if not path.is_file():
        pytest.skip(f"{path.name} of {name} has not been written yet")
    expected = json.loads(path.read_text())
    assert main(["run", str(MODELS / name), "-o", str(tmp_path / "out")]) == 0
    with xr.open_datatree(tmp_path / "out" / "posterior.nc") as tree:
        check_against(expected, tree.load())


def check_against(expected: dict, tree: xr.DataTree) -> None:
    """Compares means, standard deviations and verdicts."""
    tolerance = expected["tolerance"]
    posterior = tree[expected.get("group", "posterior")].to_dataset()
    parameters = {k: v for k, v in expected.items() if isinstance(v, dict) and k != "tolerance"}
    assert parameters, "expected.json names no parameter"
    for name, numbers in parameters.items():
        mean, sd = np.asarray(numbers["mean"]), np.asarray(numbers["sd"])
        draws = posterior[name]
        shift = (draws.mean(["chain", "draw"]).values - mean) / sd
        ratio = draws.std(["chain", "draw"]).values / sd
        assert np.abs(shift).max() < tolerance["mean_in_sd"], f"{name}: means are {shift} sd away"
        assert np.abs(ratio - 1.0).max() < tolerance["sd_ratio"], f"{name}: sd are {ratio} times the expected"
    verdicts = {check["name"]: check["verdict"] for check in json.loads(tree.attrs["checks"])}
    wrong = {name: verdicts.get(name, "absent") for name in expected["checks_passed"]}
    assert set(wrong.values()) <= {"passed"}, wrong
