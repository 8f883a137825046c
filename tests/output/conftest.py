"""A made-up result with every group, so that figures and reports can be drawn without running anything."""

import json

import numpy as np
import pytest
import xarray as xr

CHAINS, DRAWS, KNOTS, PREDICTED = 4, 200, 12, 100


def _potential(distance: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """A core, a shoulder and a well, in kJ/mol over nm; `shift` (draw, 1) moves the well's depth."""
    core = 2.5 * (0.27 / distance) ** 14
    well = -(1.6 + shift) * np.exp(-(((distance - 0.29) / 0.03) ** 2))
    shoulder = 0.9 * np.exp(-(((distance - 0.36) / 0.04) ** 2)) - 0.4 * np.exp(
        -(((distance - 0.46) / 0.05) ** 2)
    )
    return core + well + shoulder


def make_result() -> xr.DataTree:
    rng = np.random.default_rng(7)
    knot = np.linspace(0.24, 0.9, KNOTS)
    scale = np.linspace(0.03, 0.01, KNOTS)
    coefficients = rng.normal(size=(CHAINS, DRAWS, KNOTS)) * scale
    attrs = {"units": "kJ/mol", "long_name": "spline coefficients"}

    def parameters(values: np.ndarray, **group_attrs) -> xr.Dataset:
        dims = ("chain", "draw", "knot")
        data = {
            "water_coefficients": (dims, values, attrs),
            "water_smoothness": (
                dims[:2],
                np.exp(values[..., 0]),
                {"units": "1", "long_name": "prior's scale"},
            ),
        }
        return xr.Dataset(data, coords={"knot": ("knot", knot, {"units": "nm"})}, attrs=group_attrs)

    distance = np.linspace(0.22, 0.9, 341)
    shift = rng.normal(size=(PREDICTED, 1)) * 0.08
    energy = _potential(distance, shift) + rng.normal(size=(PREDICTED, 1)) * 0.02 * np.sin(20 * distance)
    wide = rng.normal(size=(200, 6))
    prior = 6 * np.exp(-(distance - 0.22) / 0.03) + sum(
        1.5 * wide[:, [k]] * np.sin((k + 1) * np.pi * (0.9 - distance) / 0.68) for k in range(6)
    )
    r = np.arange(0.215, 0.9, 0.01)
    rdf = 1 / (1 + np.exp(-(r - 0.262) / 0.004)) * (
        1 + 2.0 * np.exp(-(((r - 0.279) / 0.018) ** 2)) - 0.2 * np.exp(-(((r - 0.34) / 0.03) ** 2))
        + 0.11 * np.exp(-(((r - 0.456) / 0.05) ** 2))
    )  # fmt: skip
    rdf_draws = rdf * (1 + 0.006 * rng.normal(size=(PREDICTED, 1)) * np.sin(15 * r))
    rdf_se = 0.002 + 0.004 * rdf
    relative = np.geomspace(3e5, 0.02, KNOTS)
    floor = np.array([[0.42], [0.35], [0.31]]) * np.ones((1, 8))
    error = floor * np.abs(rng.normal(size=(3, 8)) * 0.25 + np.array([[3.0], [1.3], [0.9]]))
    shaped = {"chain": 1, "draw_p": PREDICTED}

    groups = {
        "posterior": parameters(
            coefficients * 1.6, calibration="affine sandwich, frames correlated", assumes_independent_frames=0
        ),
        "posterior_raw": parameters(coefficients, assumes_independent_frames=1),
        "prior": parameters(rng.normal(size=(1, 400, KNOTS)) * 0.5),
        "sample_stats": xr.Dataset(
            {"diverging": (("chain", "draw"), np.zeros((CHAINS, DRAWS), dtype=bool))},
        ),
        "observed_data": xr.Dataset(
            {
                "rdf": ("r", rdf + rdf_se * rng.normal(size=len(r))),
                "rdf_se": ("r", rdf_se),
                "pressure": ((), -31.0, {"units": "bar"}),
                "pressure_se": ((), 19.0, {"units": "bar"}),
            },
            coords={"r": r},
        ),
        "posterior_predictive": xr.Dataset(
            {
                "rdf": (("chain", "draw_p", "r"), rdf_draws.reshape(*shaped.values(), -1)),
                "pressure": (("chain", "draw_p"), 8100 + 250 * rng.normal(size=tuple(shaped.values()))),
            },
            coords={"r": r},
        ),
        "prediction": xr.Dataset(
            {
                "pair_energy": (("chain", "draw_p", "distance"), energy[None]),
                "prior_pair_energy": (("prior_draw", "distance"), prior),
            },
            coords={"distance": ("distance", distance, {"units": "nm"})},
        ),
        "identifiability": xr.Dataset(
            {
                "fisher_eigenvalue": ("direction", relative / 500),
                "prior_relative": ("direction", relative),
                "contraction": ("direction", relative / (1 + relative)),
                "eigenvector": (("direction", "parameter"), np.eye(KNOTS)),
                "independent_frames": ("direction", np.linspace(600, 350, KNOTS)),
                "fluctuation_ratio": ("direction", np.ones(KNOTS)),
            }
        ),
        "verification": xr.Dataset(
            {
                "rms_error": (("round", "draw_v"), error),
                "noise_floor": (("round", "draw_v"), floor),
                "limit": (("round", "draw_v"), np.maximum(0.7, 2.0 * floor)),
                "median_limit": ("round", np.maximum(0.3, 1.3 * np.median(floor, axis=1))),
            },
            attrs={"verdict": "passed"},
        ),
    }
    tree = xr.DataTree.from_dict(groups)
    checks = [
        {"name": "verification", "verdict": "passed", "value": 0.31, "threshold": 0.42,
         "sentence": "Fresh simulations agree with the surrogate."},
        {"name": "pressure", "verdict": "failed", "value": 8131.0, "threshold": None,
         "sentence": "The model's pressure is 8131 bar above the data's: do not use it for pressures & <densities>."},
        {"name": "sampler bias", "verdict": "not tested", "value": None, "threshold": 0.1,
         "sentence": "No Richardson run was made."},
    ]  # fmt: skip
    tree.attrs = {
        "schema_version": 1,
        "title": "Water, one site <test>",
        "units": "gromacs",
        "temperature": 300.0,
        "potential": "uniform cubic spline",
        "seed": 3,
        "model_file_text": '[data]\nfiles = ["<frames>.nc"]\n',
        "data_checksum": "ab" * 32,
        "versions": json.dumps({"bayescg": "0.1.0", "jax": "0.10.1"}),
        "wall_time_s": json.dumps({"read": 2.5, "search": 61.0, "sample": 30.2, "compile": 14.0}),
        "created": "2026-01-01T00:00:00+00:00",
        "calibration": "affine sandwich, frames correlated",
        "checks": json.dumps(checks),
        "statement": json.dumps(
            [
                "The 1500 frames are worth 350 to 620 independent ones.",
                "8 of 12 combinations are set by the data.",
            ]
        ),
        "result_codes": json.dumps({"OK": 24}),
    }
    return tree


@pytest.fixture(scope="session")
def result() -> xr.DataTree:
    return make_result()


@pytest.fixture
def result_folder(tmp_path, result):
    folder = tmp_path / "run"
    folder.mkdir()
    result.to_netcdf(folder / "posterior.nc", engine="netcdf4")
    return folder
