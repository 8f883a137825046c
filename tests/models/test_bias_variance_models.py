"""The studies of worked cases T1 and T2: their data, the exact answers in `expected.json`, and whole runs of them."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayescg.cli import main
from bayescg.data import read_frames
from tests.models.test_expected import MODELS, check_against, read_expected


def coordinates(name: str, file: str) -> np.ndarray:
    return np.asarray(read_frames(MODELS / name / "data" / file).positions, float).reshape(-1)


def test_angles_have_the_averages_of_t2_and_the_exact_posterior():
    angle, expected = coordinates("overfit-angles", "angles.nc"), read_expected(MODELS / "overfit-angles")
    assert (np.cos(angle).mean(), np.cos(2 * angle).mean()) == pytest.approx((0.0, 0.25), abs=1e-6)
    kappa = np.meshgrid(np.linspace(-3.0, 3.0, 121), np.linspace(-3.0, 4.0, 141), indexing="ij")
    circle = np.linspace(0.0, 2 * np.pi, 100, endpoint=False)
    energy = np.multiply.outer(kappa[0], np.cos(circle)) + np.multiply.outer(kappa[1], np.cos(2 * circle))
    log_z = np.log(np.exp(energy).mean(axis=-1))
    log_p = len(angle) * (kappa[1] / 4 - log_z) - (kappa[0] ** 2 + kappa[1] ** 2) / 8
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    for k in range(2):
        mean = np.sum(p * kappa[k])
        sd = np.sqrt(np.sum(p * (kappa[k] - mean) ** 2))
        numbers = expected[f"angle_kappa{k + 1}"]
        assert (numbers["mean"], numbers["sd"]) == pytest.approx((mean, sd), abs=2e-4)


def test_well_has_the_average_of_t1_and_the_exact_posterior():
    x, expected = (
        coordinates("state-dependent-well", "state_minus_2.nc"),
        read_expected(MODELS / "state-dependent-well"),
    )
    assert np.mean(x**2) == pytest.approx(0.1725647, abs=1e-6)
    shape, rate = 2.0 + len(x) / 2, 0.4 + np.sum(x**2) / 2
    assert expected["well_k"]["mean"] == pytest.approx(shape / rate, rel=1e-5)
    assert expected["well_k"]["sd"] == pytest.approx(np.sqrt(shape) / rate, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["overfit-angles", "state-dependent-well"])
def test_a_run_gives_what_is_expected(name: str, tmp_path: Path):
    assert main(["run", str(MODELS / name), "-o", str(tmp_path / "out")]) == 0
    with xr.open_datatree(tmp_path / "out" / "posterior.nc") as tree:
        check_against(read_expected(MODELS / name), tree.load())
