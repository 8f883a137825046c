"""`bayescg export --engine` on a stored run: what is written for each engine, with and without the run's data."""

import json
import re
import shutil

import numpy as np
import pytest
import xarray as xr

from bayescg.cli import main
from bayescg.data import write_frames
from bayescg.output import read_manifest
from bayescg.output._result import NEWEST_SCHEMA, RESULT_FILE
from bayescg.study import pair_potentials, pair_tables
from tests.study import stored_run as stored


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two sites in reduced units: the parts of a stored run that an export reads."""
    study, out = tmp_path_factory.mktemp("study"), tmp_path_factory.mktemp("run")
    (study / "model.toml").write_text(stored.MODEL)
    rng = np.random.default_rng(1)
    write_frames(stored.make_frames(rng.uniform(0, stored.EDGE, (5, 2, 3))), study / "frames.nc")
    draws = stored.TRUTH + 0.1 * rng.normal(size=(2, 60, len(stored.TRUTH)))
    z = (("chain", "draw", "coordinate"), draws)
    tree = xr.DataTree.from_dict({"unconstrained": xr.Dataset({"z": z, "z_calibrated": z})})
    tree.attrs |= {
        "schema_version": NEWEST_SCHEMA, "title": "Two sites", "units": "lj", "temperature": stored.TEMPERATURE,
        "seed": 1, "model_file_text": stored.MODEL, "calibration": "affine sandwich",
    }  # fmt: skip
    tree.to_netcdf(out / RESULT_FILE, engine="netcdf4")
    (out / "run.json").write_text(json.dumps({"model": str(study / "model.toml")}))
    return out


@pytest.mark.parametrize("engine", ["lammps", "hoomd"])
def test_draws_of_a_stored_run_with_their_system(run, tmp_path, engine, capsys):
    place = tmp_path / engine
    arguments = ["export", str(run), "--engine", engine, "--draws", "3", "--steps", "995", "--to", str(place)]
    assert main([*arguments, "--repeats", "3"]) == 0
    assert "the mean and 3 draws" in capsys.readouterr().out
    manifest = read_manifest(place)
    tables = pair_tables(run, 3)
    assert [one.draw for one in manifest.draws] == list(tables.draw_ids)
    assert manifest.units.name == "lj" and manifest.system["n_sites"] == 2
    assert manifest.system["time_step"] == 0.005 / 4  # a quarter of the study's
    assert manifest.plan.repeats == 3 and manifest.plan.steps >= 995
    assert manifest.plan.steps % manifest.plan.interval == 0
    file = place / next(iter(manifest.draws[2].files))
    if engine == "hoomd":
        r, energy, _ = np.loadtxt(file).T
        expected = np.interp(r, tables.distance, tables.energy[2])
        inside = r > 0.9
        np.testing.assert_allclose(
            energy[inside], expected[inside], atol=2e-3 * np.abs(expected[inside]).max()
        )
    else:
        script = (place / "in.run").read_text()
        assert re.search(r"^pair_coeff \* \* ", script, re.M)
        assert re.search(r"^neigh_modify delay 0 every 1 check yes$", script, re.M)
        assert "2 atoms" in (place / "start.data").read_text()


@pytest.fixture(scope="module")
def angle_run(tmp_path_factory):
    """A stored run of one angle in reduced units at kT = 2, without data: its draws and its model."""
    out = tmp_path_factory.mktemp("angle")
    model = """\
title = "An angle"
units = "lj"
temperature = 2.0
data.frames = ["frames.nc"]
potential.phi = {kind = "angle-fourier", kappa1 = 0.0, kappa2 = 0.0}
prior.phi_kappa1 = {distribution = "normal", loc = 0.0, scale = 2.0}
prior.phi_kappa2 = {distribution = "normal", loc = 0.0, scale = 2.0}
simulation = {time_step = 0.3, friction = 1.0, stride = 10}
"""
    kappa = np.random.default_rng(3).normal(size=(2, 10, 2))
    z = {"z_calibrated": (("chain", "draw", "coordinate"), kappa)}
    tree = xr.DataTree.from_dict({"unconstrained": xr.Dataset(z)})
    tree.attrs |= {
        "schema_version": NEWEST_SCHEMA, "title": "An angle", "units": "lj", "temperature": 2.0, "seed": 1,
        "model_file_text": model, "calibration": "none",
    }  # fmt: skip
    tree.to_netcdf(out / RESULT_FILE, engine="netcdf4")
    return kappa, out


def test_a_potential_of_an_angle_is_a_dihedral_of_gromacs(angle_run, tmp_path, capsys):
    kappa, run = angle_run
    place = tmp_path / "gromacs"
    arguments = ["export", str(run), "--engine", "gromacs", "--draws", "3", "--to", str(place)]
    assert main(arguments) == 2 and "--kelvin" in capsys.readouterr().err and not place.exists()
    assert main([*arguments, "--kelvin", "310"]) == 0
    out, err = capsys.readouterr()
    assert "the mean and 3 draws" in out and "no run script" in err
    scale = 0.0083144626 * 310 / 2.0
    manifest = read_manifest(place)
    for one, (k1, k2) in zip(
        manifest.potentials, [kappa.mean((0, 1)), kappa[0, 0], kappa[0, 9], kappa[1, 9]], strict=True
    ):
        angle, energy, force = np.loadtxt(place / next(iter(one.files))).T
        phi = np.radians(angle)
        np.testing.assert_allclose(energy, -scale * (k1 * np.cos(phi) + k2 * np.cos(2 * phi)), atol=1e-7)
        slope = scale * (k1 * np.sin(phi) + 2 * k2 * np.sin(2 * phi)) * np.pi / 180
        np.testing.assert_allclose(force, -slope, atol=1e-8)
    assert [one.draw for one in manifest.draws] == ["0:0", "0:9", "1:9"]


def test_other_engines_get_no_angle(angle_run, run, tmp_path, capsys):
    for stored_run, more, words in (
        (
            angle_run[1],
            ["--engine", "openmm"],
            "only a potential of an angle is exported, by --engine gromacs",
        ),
        (angle_run[1], ["--engine", "gromacs", "--kelvin", "-1"], "positive temperature"),
        (run, ["--engine", "hoomd", "--kelvin", "300"], "--kelvin belongs to"),
    ):
        assert main(["export", str(stored_run), "--draws", "3", "--to", str(tmp_path / "a"), *more]) == 2
        err = capsys.readouterr().err
        assert words in err and err.count("\n") == 1 and not (tmp_path / "a").exists()


def test_the_potentials_are_those_of_the_tables(run):
    potentials, mean = pair_potentials(run, 3)
    tables = pair_tables(run, 3)
    assert mean is None  # splines go by tables
    for potential, energy in zip(potentials, tables.energy, strict=True):
        np.testing.assert_allclose(
            potential.pair_energy(tables.distance[:-1] ** 2), energy[:-1], rtol=1e-10, atol=1e-12
        )


def test_without_its_data_only_lammps_tables_are_left(run, tmp_path, capsys):
    moved = tmp_path / "run"
    shutil.copytree(run, moved)
    (moved / "run.json").write_text(json.dumps({"model": str(tmp_path / "gone" / "model.toml")}))
    assert main(["export", str(moved), "--draws", "2", "--to", str(tmp_path / "lammps")]) == 0
    assert "potentials only, no run script" in capsys.readouterr().err
    assert not (tmp_path / "lammps" / "run.sh").exists()
    assert read_manifest(tmp_path / "lammps").plan is None
    assert main(["export", str(moved), "--engine", "hoomd", "--draws", "2", "--to", str(tmp_path / "h")]) == 2
    assert "no such file" in capsys.readouterr().err and not (tmp_path / "h").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "openmm"], "reduced units"),
        (["--engine", "gromacs"], "reduced units"),
        (["--engine", "hoomd", "--units", "real"], "units belong to LAMMPS"),
        (["--engine", "hoomd", "--draws", "5000"], "ask for fewer"),
        (["--engine", "hoomd", "--steps", "1"], "run plan"),
        (["--engine", "hoomd", "--ensemble", "pops"], "holds no ensemble"),
    ],
)
def test_what_cannot_be_exported(run, tmp_path, arguments, words, capsys):
    assert main(["export", str(run), *arguments, "--to", str(tmp_path / "a")]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert not (tmp_path / "a").exists()
