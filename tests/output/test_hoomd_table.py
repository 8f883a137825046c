"""HOOMD-blue: tables read by the documented rules of md.pair.Table give the potential."""

import json
import sys
from unittest.mock import MagicMock

import numpy as np
import pytest

from bayescg.errors import InputError
from bayescg.output import export_hoomd, read_manifest
from tests.output import engine_exports as ex


def hoomd_energy_and_force(table: np.ndarray, r_cut: float, r: np.ndarray) -> np.ndarray:
    """U and F on linspace(r_min, r_cut, N, endpoint=False), linear between, towards 0 in the last cell, 0 outside."""
    at, *both = table
    n, r_min = len(at), at[0]
    width = (r_cut - r_min) / n
    k = np.clip(((r - r_min) / width).astype(int), 0, n - 1)
    t = (r - r_min) / width - k
    inside = (r >= r_min) & (r < r_cut)
    found = []
    for values in both:
        after = np.append(values, 0.0)[k + 1]
        found.append(np.where(inside, values[k] + t * (after - values[k]), 0.0))
    return np.array(found)


@pytest.mark.parametrize(("units", "factors"), [("real", (0.1, 4.184, 41.84)), ("lj", (1.0, 1.0, 1.0))])
@pytest.mark.parametrize("make", [ex.lennard_jones, ex.splines], ids=["lj", "spline"])
def test_tables_give_the_potential(tmp_path, make, units, factors):
    potentials = make()
    export_hoomd(
        ex.tables_of(potentials, units=units), tmp_path / "h", system=ex.argon_box(units=units), plan=ex.PLAN
    )
    manifest = json.loads((tmp_path / "h" / "manifest.json").read_text())
    table = np.loadtxt(tmp_path / "h" / "draw_001" / "table.txt").T
    length, energy_unit, force_unit = factors
    assert manifest["cutoff"] == pytest.approx(ex.CUTOFF * length, rel=1e-14)
    grid = np.linspace(table[0, 0], manifest["cutoff"], table.shape[1], endpoint=False)
    np.testing.assert_allclose(table[0], grid, rtol=1e-12)
    r = np.random.default_rng(2).uniform(0.85 * ex.SIGMA, ex.CUTOFF * (1 - 1e-3), 500)
    energy, force = ex.energy_and_force(potentials[1], r)
    found = hoomd_energy_and_force(table, manifest["cutoff"], r * length)
    np.testing.assert_allclose(found[0], energy * energy_unit, atol=2e-5 * energy_unit * np.abs(energy).max())
    np.testing.assert_allclose(found[1], force * force_unit, atol=2e-4 * force_unit * np.abs(force).max())
    assert not hoomd_energy_and_force(table, manifest["cutoff"], np.array([1.001 * manifest["cutoff"]])).any()
    assert (
        table[2, 0] > 0.0 and table[0, 0] < 0.001 * manifest["cutoff"]
    )  # a wall down to the first row near 0


def test_the_start_is_in_the_units_of_the_tables(tmp_path):
    export_hoomd(ex.tables_of(ex.lennard_jones()), tmp_path / "h", system=ex.argon_box(), plan=ex.PLAN)
    start = json.loads((tmp_path / "h" / "start.json").read_text())
    np.testing.assert_allclose(start["positions"], ex.argon_box().positions / 10, rtol=1e-14, atol=1e-14)
    assert start["kT"] == pytest.approx(110.0 * 8.31446261815324e-3, rel=1e-10)
    assert start["columns"][2] == "Potential Energy (kJ/mol)"
    manifest = read_manifest(tmp_path / "h")
    assert (manifest.engine, manifest.units.name, manifest.study_units.name) == (
        "HOOMD-blue",
        "gromacs",
        "real",
    )
    assert manifest.system["time_step"] == 0.004
    compile((tmp_path / "h" / "run.py").read_text(), "run.py", "exec")


@pytest.mark.parametrize(("edge", "full"), [(18.5, False), (17.001, False), (30.0, True)])
def test_the_neighbour_list_fits_into_the_box(tmp_path, monkeypatch, edge, full):
    """HOOMD raises unless every edge is longer than 2 (r_cut + buffer); a stand-in hears what the script asks for."""
    box = ex.argon_box()._replace(box=np.array([40.0, edge, 40.0]))
    folder = tmp_path / "h"
    export_hoomd(ex.tables_of(ex.lennard_jones()), folder, system=box, plan=ex.PLAN)
    hoomd = MagicMock()
    hoomd.Simulation.return_value.timestep = 0
    monkeypatch.setitem(sys.modules, "hoomd", hoomd)
    monkeypatch.setattr(sys, "argv", ["run.py", "mean"])
    script = (folder / "run.py").read_text()
    exec(compile(script, "run.py", "exec"), {"__name__": "__main__", "__file__": str(folder / "run.py")})  # noqa: S102
    r_cut = hoomd.md.pair.Table.call_args.kwargs["default_r_cut"]
    buffer = hoomd.md.nlist.Cell.call_args.kwargs["buffer"]
    assert r_cut == pytest.approx(0.1 * ex.CUTOFF)
    assert buffer > 0.0 and 0.1 * edge > 2.0 * (r_cut + buffer)
    assert (buffer == pytest.approx(0.1 * r_cut)) == full


def test_what_cannot_be_exported(tmp_path):
    equal = ex.argon_box()._replace(box=np.full(3, 2.0 * ex.CUTOFF))
    for system in (ex.argon_box(4), equal):
        with pytest.raises(InputError, match="longer than twice the cutoff") as error:
            export_hoomd(ex.tables_of(ex.lennard_jones()), tmp_path / "h", system=system, plan=ex.PLAN)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="seeds 899999994 to 900000001; expected 1 to 900000000"):
        plan = ex.PLAN._replace(seed=900_000_000 - 6)
        export_hoomd(ex.tables_of(ex.lennard_jones()), tmp_path / "h", system=ex.argon_box(), plan=plan)
    assert not (tmp_path / "h").exists()
