"""Exports whose script this environment runs itself: ASE's, and LAMMPS' of potentials from labelled configurations."""

import csv
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from ase import Atoms, units
from ase.build import bulk
from ase.io import read, write

from bayescg.cli import main
from bayescg.data import conversion, read_engine_log
from bayescg.errors import InputError
from bayescg.output import (
    PairCalculator,
    PosteriorCalculator,
    PotentialDraws,
    RunPlan,
    export_ase,
    export_openmm,
    read_manifest,
)
from bayescg.output._result import NEWEST_SCHEMA, RESULT_FILE
from bayescg.study import collect, exported_calculator, stored_potentials
from tests.output import engine_exports as ex
from tests.output import engine_pythons as pythons

PLAN = RunPlan(steps=20, equilibration=10, interval=10)


def run_script(folder: Path, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script of an export, as it lies there."""
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    runpy.run_path(str(folder / "run.py"), run_name="__main__")


# Runs on frames ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def argon(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("argon") / "ase"
    export_ase(ex.tables_of(ex.lennard_jones()[:2]), folder, system=ex.argon_box(), plan=PLAN)
    return folder


def test_pair_potentials_are_loaded_as_they_were_exported(argon):
    """Energies and forces of the start in eV and Å: the mean, each draw, and the spread of both."""
    start = read(argon / "start.extxyz")
    np.testing.assert_allclose(start.get_masses(), 39.948)
    known = [ex.forces_and_energy(one, ex.argon_box()) for one in ex.lennard_jones()[:2]]
    to_ev = conversion("energy", "real", "metal")
    energies, forces = np.array([e for e, _ in known]) * to_ev, np.array([f for _, f in known]) * to_ev
    for name, energy, force in (
        ("mean", energies.mean(), forces.mean(axis=0)), ("draw_000", energies[0], forces[0]),
        ("draw_001", energies[1], forces[1]), (None, energies.mean(), forces.mean(axis=0)),
    ):  # fmt: skip
        start.calc = exported_calculator(argon, name)
        assert isinstance(start.calc, PairCalculator)
        assert start.get_potential_energy() == pytest.approx(energy, rel=1e-7)
        np.testing.assert_allclose(start.get_forces(), force, atol=1e-6 * np.abs(force).max())
        assert ("energy_std" in start.calc.results) == (name is None)
    assert start.calc.results["energy_std"] == pytest.approx(energies.std(ddof=1), rel=1e-5)


def test_the_script_simulates_and_its_results_are_collected(argon, monkeypatch):
    run_script(argon, monkeypatch=monkeypatch)
    tree = collect(argon)
    assert {"potential_energy", "kinetic_energy", "temperature", "pressure", "rdf"} <= set(tree.children)
    assert tree.attrs["engine"] == "ASE" and tree["pressure"].attrs["note"].find("virial") < 0  # ASE's own
    values = tree["potential_energy"].to_dataset()["values"]
    for one, energy in zip(ex.lennard_jones()[:2], values, strict=True):
        start, _ = ex.forces_and_energy(one, ex.argon_box())
        assert float(energy.mean()) == pytest.approx(start, rel=0.25)
    kinetic, temperature = (tree[n].to_dataset()["values"].values for n in ("kinetic_energy", "temperature"))
    np.testing.assert_allclose(kinetic, 0.5 * 3 * 125 * tree_kt(temperature), rtol=1e-4)
    first, second = (argon / "runs" / "mean" / f"run_{k}" / "log.csv" for k in (0, 1))
    assert first.read_text() != second.read_text()  # seeds of their own
    stamp = first.stat().st_mtime_ns
    run_script(argon, "mean", monkeypatch=monkeypatch)
    assert first.stat().st_mtime_ns == stamp  # what is there is left alone


def tree_kt(temperature: np.ndarray) -> np.ndarray:
    return conversion("energy", "metal", "real") * 8.617333262e-5 * temperature


def test_the_script_evaluates_structures(argon, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pair = Atoms("Ar2", [[0.0, 0.0, 0.0], [0.0, 0.0, 3.8]])
    write(tmp_path / "some.extxyz", [read(argon / "start.extxyz"), pair])
    run_script(argon, "--evaluate", "some.extxyz", monkeypatch=monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("1: energy -")
    found = read(tmp_path / "evaluated.extxyz", ":")[1]
    pair.calc = exported_calculator(argon)
    assert found.info["bayescg_energy"] == pytest.approx(pair.get_potential_energy(), rel=1e-7)
    assert found.info["bayescg_energy_std"] == pytest.approx(pair.calc.results["energy_std"], rel=1e-7)
    np.testing.assert_allclose(found.arrays["bayescg_forces"], pair.get_forces(), atol=1e-7)


def test_what_is_no_such_export_is_refused(argon, tmp_path):
    with pytest.raises(
        InputError, match="holds no potential 'draw_002'; choose from mean and draw_000 to draw_001"
    ):
        exported_calculator(argon, "draw_002")
    export_openmm(ex.tables_of(ex.lennard_jones()[:2]), tmp_path / "openmm", system=ex.argon_box(), plan=PLAN)
    with pytest.raises(InputError, match="is an export for OpenMM, not for ASE"):
        exported_calculator(tmp_path / "openmm")
    with pytest.raises(InputError, match="fixed size|reduced units"):
        tables = ex.tables_of(ex.lennard_jones()[:2], units="lj")
        export_ase(tables, tmp_path / "lj", system=ex.argon_box(units="lj"), plan=PLAN)
    assert not (tmp_path / "lj").exists()


# Runs on labelled configurations ----------------------------------------------------------------------------------

MODEL = """\
title = "Argon crystals"
units = "metal"
data.configurations = ["argon.extxyz"]
data.use = ["energy"]
potential.lj = {kind = "lennard-jones", epsilon = 0.0104, sigma = 3.4, cutoff = 4.5}
prior.lj_epsilon = {distribution = "lognormal", loc = -4.6, scale = 1.0}
prior.lj_sigma = {distribution = "lognormal", loc = 1.2, scale = 0.2}
noise.energy.known = 0.001
"""
VALUES = np.array([(0.0104, 3.4), (0.0110, 3.35), (0.0098, 3.45)])


def stored(folder: Path, images: list[Atoms]) -> Path:
    """The parts of a stored run on labelled configurations that an export reads."""
    study, out = folder / "study", folder / "run"
    study.mkdir()
    out.mkdir()
    for one in images:
        one.info["energy"] = -0.01 * len(one)
    write(study / "argon.extxyz", images)
    (study / "model.toml").write_text(MODEL)
    z = {"z_calibrated": (("chain", "draw", "coordinate"), np.log(VALUES)[None])}
    tree = xr.DataTree.from_dict({"unconstrained": xr.Dataset(z)})
    tree.attrs |= {
        "schema_version": NEWEST_SCHEMA, "title": "Argon crystals", "units": "metal", "seed": 1, "kind": "labelled",
        "model_file_text": MODEL, "calibration": "none", "species": '["Ar"]', "groups": '["all"]', "counts": "[[1], [0], [0]]",
    }  # fmt: skip
    tree.to_netcdf(out / RESULT_FILE, engine="netcdf4")
    (out / "run.json").write_text(json.dumps({"model": str(study / "model.toml")}))
    return out


def crystal(*, cubic: bool = True) -> Atoms:
    made = bulk("Ar", "fcc", a=5.3, cubic=cubic)
    made.rattle(0.05, seed=1)
    return made


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    dimer = Atoms("Ar2", [[0.0, 0.0, 0.0], [3.8, 0.0, 0.0]])
    return stored(tmp_path_factory.mktemp("labelled"), [dimer, crystal()])


def test_labelled_potentials_run_in_ase(labelled, tmp_path, monkeypatch, capsys):
    """The crystal, repeated beyond twice the cutoff; the script's potentials are the run's, draw by draw."""
    place = tmp_path / "ase"
    arguments = [
        "export",
        str(labelled),
        "--engine",
        "ase",
        "--draws",
        "2",
        "--steps",
        "20",
        "--repeats",
        "1",
    ]
    assert main([*arguments, "--kelvin", "40", "--to", str(place)]) == 0
    manifest = read_manifest(place)
    assert [one.draw for one in manifest.draws] == ["chain 0 draw 0", "chain 0 draw 2"]
    assert (manifest.system["n_sites"], manifest.system["temperature"]) == (32, 40.0)
    start = read(place / "start.extxyz")
    draws = stored_potentials(labelled, 2)
    start.calc = PosteriorCalculator(draws)
    energy, spread = start.get_potential_energy(), start.calc.results["energy_std"]
    start.calc = exported_calculator(place)
    assert isinstance(start.calc, PosteriorCalculator)
    assert start.get_potential_energy() == pytest.approx(energy, rel=1e-12)
    assert start.calc.results["energy_std"] == pytest.approx(spread, rel=1e-9)
    assert start.calc.draws.draw_ids == ("chain 0 draw 0", "chain 0 draw 2")
    run_script(place, "mean", "draw_001", monkeypatch=monkeypatch)
    with (place / "runs" / "draw_001" / "run_0" / "log.csv").open() as file:
        rows = [list(map(float, row)) for row in list(csv.reader(file))[1:]]
    assert len(rows) == manifest.plan.rows == 10
    last = Atoms("Ar32", cell=start.cell, pbc=True)
    lines = (place / "runs" / "draw_001" / "run_0" / "trajectory.lammpstrj").read_text().splitlines()[-32:]
    last.positions = [[float(x) for x in line.split()[2:]] for line in lines]
    last.calc = exported_calculator(place, "draw_001")
    assert rows[-1][1] == pytest.approx(last.get_potential_energy(), rel=1e-6)
    kinetic = 2.0 / 3.0 * rows[-1][2] / last.get_volume()
    pressure = (kinetic - last.get_stress()[:3].mean()) / (1e5 * units.Pascal)
    assert rows[-1][4] == pytest.approx(pressure, rel=1e-5)
    assert main([*arguments, "--to", str(place)]) == 2 and "not empty" in capsys.readouterr().err


@pytest.mark.parametrize("cubic", [True, False], ids=["box", "tilted"])
def test_labelled_potentials_run_in_lammps(cubic, tmp_path):
    """`run.sh` over the mean and the draws; LAMMPS' energy of the start is ours, and logs are collected."""
    program, environment = pythons.lammps_command()
    run = stored(tmp_path, [crystal(cubic=cubic)])
    place = tmp_path / "lammps"
    arguments = ["export", str(run), "--draws", "2", "--steps", "20", "--repeats", "2", "--to", str(place)]
    chosen = "metal" if cubic else "real"
    assert main([*arguments, "--kelvin", "40", "--units", chosen]) == 0
    environment = environment | {"LMP": str(program)}
    done = subprocess.run(
        [place / "run.sh"], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    manifest = read_manifest(place)
    assert [one.name for one in manifest.potentials] == ["mean", "draw_000", "draw_001"]
    assert (
        manifest.cutoff == pytest.approx(4.5) and manifest.plan.rows == 10 and manifest.units.name == chosen
    )
    assert manifest.system["time_step"] == pytest.approx(2.0 if chosen == "real" else 0.002)
    shared = {one["file"] for one in json.loads((place / "manifest.json").read_text())["shared"]}
    assert shared == {"in.potential", "in.run", "run.sh", "start.data"}
    draws = stored_potentials(run, 2)
    one = PotentialDraws.of_potentials([draws.draw(0)], units=draws.units, posterior="none")
    systems = {"file_units": manifest.units, "units": draws.units}
    for name, potential in (("mean", draws.at_mean()), ("draw_000", one)):
        results = place / "runs" / name / "run_1"
        log = read_engine_log(results / "log.lammps", **systems)
        file = results / ("trajectory.lammpstrj" if cubic else "frames.lammpstrj")
        frames = read(file, index=":", format="lammps-dump-text", specorder=["Ar"])
        assert len(frames) == len(log["potential_energy"]) == 11
        assert len(frames[0]) == manifest.system["n_sites"]
        calculator = PosteriorCalculator(potential)
        found = [calculator.get_potential_energy(atoms) for atoms in frames]
        np.testing.assert_allclose(log["potential_energy"], found, rtol=1e-6)
    tree = collect(place)
    assert {"potential_energy", "pressure"} <= set(tree.children)
    assert ("rdf" in tree.children) == cubic  # frames of tilted cells are not read


def test_without_a_periodic_configuration_lammps_has_no_script(tmp_path, capsys):
    run = stored(tmp_path, [Atoms("Ar2", [[0.0, 0.0, 0.0], [3.8, 0.0, 0.0]])])
    assert main(["export", str(run), "--draws", "2", "--to", str(tmp_path / "lammps")]) == 0
    assert "no run script: no configuration of the data is periodic" in capsys.readouterr().err
    assert not (tmp_path / "lammps" / "run.sh").exists() and read_manifest(tmp_path / "lammps").plan is None
    assert main(["export", str(run), "--draws", "2", "--engine", "openmm", "--to", str(tmp_path / "a")]) == 2
    err = capsys.readouterr().err
    assert "are exported for lammps and ase" in err and err.count("\n") == 1
