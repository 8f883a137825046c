"""GROMACS: tables read by the manual's rules give the potential, and the files around them what they must."""

import json
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

from bayescg.errors import InputError
from bayescg.output import RunPlan, export_gromacs, read_manifest
from tests.output import engine_exports as ex


@pytest.fixture(scope="module", params=["lj", "spline"])
def exported(request, tmp_path_factory):
    potentials = {"lj": ex.lennard_jones, "spline": ex.splines}[request.param]()
    folder = tmp_path_factory.mktemp("gromacs") / "gromacs"
    export_gromacs(ex.tables_of(potentials), folder, system=ex.argon_box(), plan=ex.PLAN)
    return potentials, folder


def columns(folder: Path, name: str) -> np.ndarray:
    return np.loadtxt(folder / name / "table.xvg").T


def gromacs_energy_and_force(table: np.ndarray, r: np.ndarray) -> np.ndarray:
    """The manual's cubic in every interval, with C12 = 1 and C6 = 0."""
    x, h, minus_slope = table[0], table[5], table[6]
    width = x[1] - x[0]
    k = (r / width + 1e-9).astype(int)
    t = (r - x[k]) / width
    a0, a1 = h[k], -width * minus_slope[k]
    step = h[k + 1] - h[k]
    slope_sum = -width * (2 * minus_slope[k] + minus_slope[k + 1])
    a2, a3 = 3 * step - slope_sum, -2 * step - width * (minus_slope[k] + minus_slope[k + 1])
    return np.array([a0 + t * (a1 + t * (a2 + t * a3)), -(a1 + t * (2 * a2 + 3 * t * a3)) / width])


def test_seven_columns_from_0_to_beyond_the_cutoff(exported):
    _, folder = exported
    table = columns(folder, "draw_000")
    assert len(table) == 7 and np.isfinite(table).all()
    assert table[0, 0] == 0.0 and table[0, -1] >= 0.1 * ex.CUTOFF + 1.0
    np.testing.assert_allclose(np.diff(table[0]), table[0, 1], rtol=1e-9)
    far = table[0] > 0.1
    np.testing.assert_allclose(table[1, far], 1 / table[0, far], rtol=1e-12)
    np.testing.assert_allclose(table[3, far], -1 / table[0, far] ** 6, rtol=1e-12)
    beyond = table[0] > 0.1 * ex.CUTOFF * (1 + 1e-9)
    assert not table[5:, beyond].any()


def test_the_table_gives_the_potential_in_kj_per_mol(exported):
    potentials, folder = exported
    r = np.random.default_rng(2).uniform(0.85 * ex.SIGMA, ex.CUTOFF * (1 - 1e-4), 500)
    curves = np.array([ex.energy_and_force(p, r) for p in potentials])
    for name, (energy, force) in (("mean", curves.mean(axis=0)), ("draw_002", curves[2])):
        found = gromacs_energy_and_force(columns(folder, name), r * ex.to_gromacs("length"))
        for values, expected, quantity, close in (
            (found[0], energy, "energy", 1e-6),
            (found[1], force, "force", 1e-4),
        ):
            expected = expected * ex.to_gromacs(quantity)
            np.testing.assert_allclose(values, expected, atol=close * np.abs(expected).max())


def test_the_force_column_is_minus_the_slope_everywhere(exported):
    """Below the first row of the study's table too, down to 0."""
    _, folder = exported
    table = columns(folder, "mean")
    r, first = table[0, 1:-1], 0.02 * ex.CUTOFF
    middle = (r < 0.1 * ex.CUTOFF * 0.999) & (
        np.abs(r - first) > 2 * r[0]
    )  # the slope's own slope jumps at the first row
    slope = (table[5, 2:] - table[5, :-2]) / (table[0, 2:] - table[0, :-2])
    np.testing.assert_allclose(-slope[middle], table[6, 1:-1][middle], atol=2e-3 * np.abs(table[6]).max())


def test_coordinates_topology_and_settings_belong_together(exported):
    import MDAnalysis

    _, folder = exported
    system = ex.argon_box()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = MDAnalysis.Universe(str(folder / "start.gro"))
    assert len(universe.atoms) == len(system.masses)
    lines = (folder / "start.gro").read_text().splitlines()
    x = np.array([[float(line[20 + 11 * k : 31 + 11 * k]) for k in range(3)] for line in lines[2:-1]])
    np.testing.assert_allclose(x, system.positions / 10, atol=6e-7)
    np.testing.assert_allclose([float(w) for w in lines[-1].split()], system.box / 10, rtol=1e-8)
    topology = (folder / "topol.top").read_text()
    assert "Ar 39.948 0.0 A 0.0 1.0" in topology and topology.rstrip().endswith("Ar 125")
    settings = dict(
        [part.strip() for part in line.split("=")]
        for line in (folder / "run.mdp").read_text().splitlines()
        if "=" in line
    )
    assert (settings["dt"], settings["tau-t"], settings["ref-t"]) == ("0.004", "1", "110")
    assert (settings["cutoff-scheme"], settings["vdwtype"]) == ("group", "user")
    assert float(settings["rvdw"]) == pytest.approx(0.1 * ex.CUTOFF, rel=1e-12)
    assert int(settings["nsteps"]) == ex.PLAN.steps + ex.PLAN.equilibration
    assert read_manifest(folder).engine == "GROMACS"


def test_the_script_runs_every_potential_once_with_seeds_of_their_own(exported, tmp_path):
    """With a stand-in for gmx that writes down its arguments and makes what mdrun would make."""
    _, folder = exported
    fake = tmp_path / "gmx"
    fake.write_text(
        '#!/bin/sh\nif [ "$1" = grompp ]; then grep gen-seed "$3" >> "$SEEDS"; touch "$9"; else cat table.xvg | head -1'
        ' >> "$SEEDS.tables"; touch energy.edr trajectory.xtc; fi\n'
    )
    fake.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "GMX": str(fake), "SEEDS": str(tmp_path / "seeds")}
    for arguments in (["mean"], []):  # the second goes on where the first stopped
        done = subprocess.run(
            [folder / "run.sh", *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    seeds = [line.split()[-1] for line in (tmp_path / "seeds").read_text().splitlines()]
    assert seeds == [str(k) for k in range(1, 9)]
    tables = (tmp_path / "seeds.tables").read_text().splitlines()
    assert ["posterior mean" in line for line in tables] == [True] * 2 + [False] * 6
    assert (folder / "runs" / "draw_002" / "run_1" / "energy.edr").is_file()


def test_long_names_have_one_alias_in_all_files(tmp_path):
    """Coordinates hold five letters of a name: what stands there has to be a type of the topology, with its own mass."""
    own = ("methylene",) * 60 + ("methyl",) * 40 + ("meth1",) * 20 + ("CH",) * 5
    weights = {"methylene": 14.0, "methyl": 15.0, "meth1": 16.0, "CH": 13.0}
    system = ex.argon_box()._replace(site_types=own, masses=np.array([weights[name] for name in own]))
    export_gromacs(ex.tables_of(ex.lennard_jones()), tmp_path / "g", system=system, plan=ex.PLAN)
    atoms = (tmp_path / "g" / "start.gro").read_text().splitlines()[2:-1]
    written = [line[10:15].strip() for line in atoms]
    assert written == [line[5:10].strip() for line in atoms]
    assert len(dict(zip(own, written, strict=True))) == len(set(written)) == 4
    assert [len(line) for line in atoms] == [20 + 3 * 11] * len(own)
    topology = (tmp_path / "g" / "topol.top").read_text()
    for line, name in zip(written, own, strict=True):
        assert f"\n{line} {weights[name]:g} 0.0 A 0.0 1.0\n" in topology
        assert (
            f"[ moleculetype ]\n{line} 0\n\n[ atoms ]\n1 {line} 1 {line} {line} 1 0.0 {weights[name]:g}"
            in topology
        )
    counts = [line.split() for line in topology.split("[ molecules ]\n")[1].splitlines()]
    assert [name for name, count in counts for _ in range(int(count))] == written
    manifest = json.loads((tmp_path / "g" / "manifest.json").read_text())
    renamed = {a: b for a, b in zip(own, written, strict=True) if a != b}
    assert manifest["aliases"] == renamed and set(renamed) == {"methylene", "methyl"}
    assert manifest["system"]["site_types"] == list(own)


def test_what_cannot_be_exported(tmp_path):
    tables = ex.tables_of(ex.lennard_jones())
    equal = ex.argon_box()._replace(box=np.full(3, 2.0 * ex.CUTOFF))
    for change, words in (
        ({"spacing": 0.2}, "too coarse"),
        ({"plan": RunPlan(5, 0, 10)}, "two rows"),
        ({"system": equal}, "longer than twice the cutoff"),
        ({"system": ex.argon_box()._replace(friction=0.0)}, "friction 0"),
    ):
        with pytest.raises(InputError, match=words):
            export_gromacs(tables, tmp_path / "a", **{"system": ex.argon_box(), "plan": ex.PLAN} | change)
    assert not (tmp_path / "a").exists()
