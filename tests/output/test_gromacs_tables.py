"""GROMACS: tables read by the manual's rules give the potential, its own form does in GROMACS itself, and the files around."""

import json
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

from bayescg.data import get_unit_system, unit_factor
from bayescg.errors import InputError
from bayescg.output import RunPlan, export_gromacs, mean_of, read_manifest
from bayescg.output._gromacs_run import mdp_text
from tests.output import engine_exports as ex
from tests.output import engine_pythons as pythons


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


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """Lennard-Jones potentials in GROMACS' own form, and their mean."""
    potentials = ex.lennard_jones()
    mean = mean_of(potentials, np.mean([p.coefficients() for p in potentials], axis=0).tolist())
    folder = tmp_path_factory.mktemp("gromacs") / "gromacs"
    export_gromacs(
        ex.tables_of(potentials), folder, system=ex.argon_box(), plan=ex.PLAN, potentials=potentials, mean_potential=mean
    )  # fmt: skip
    return [mean, *potentials], folder


def test_lennard_jones_is_written_as_c6_and_c12(native):
    potentials, folder = native
    names = ["mean", "draw_000", "draw_001", "draw_002"]
    for name, potential in zip(names, potentials, strict=True):
        *_, c6, c12 = (folder / name / "topol.top").read_text().split("[ nonbond_params ]")[1].split("\n")[1].split()  # fmt: skip
        r = np.linspace(0.3, 0.1 * ex.CUTOFF * (1 - 1e-9), 50)
        energy = float(c12) / r**12 - float(c6) / r**6
        expected, _ = ex.energy_and_force(potential, 10.0 * r)
        np.testing.assert_allclose(energy - energy[-1], 4.184 * expected, atol=1e-9)
    manifest = read_manifest(folder)
    assert [list(one.files) for one in manifest.potentials] == [[f"{n}/topol.top"] for n in names]
    assert not (folder / "topol.top").exists() and "table" not in (folder / "run.sh").read_text()


def test_other_cutoffs_and_forms_go_by_tables(tmp_path):
    for k, potentials in enumerate((ex.lennard_jones("smooth"), ex.mie())):
        export_gromacs(
            ex.tables_of(potentials), tmp_path / str(k), system=ex.argon_box(), plan=ex.PLAN, potentials=potentials,
            mean_potential=potentials[0],
        )  # fmt: skip
        assert (tmp_path / str(k) / "mean" / "table.xvg").is_file()


@pytest.mark.parametrize(("step", "edge", "kept"), [(0.004, 20.0, 17), (0.02, 20.0, 3), (0.004, 17.05, 1)])
def test_no_pair_crosses_the_buffer_of_its_list(step, edge, kept):
    """The list is kept for 5.7 standard deviations of a pair's way, and not at all where the box has no room."""
    system = ex.argon_box()._replace(box=np.full(3, edge), time_step=1e3 * step)
    system = system.converted(get_unit_system("gromacs"))
    text = mdp_text(system, ex.PLAN, 0.1 * ex.CUTOFF, native=True)
    settings = dict([part.strip() for part in line.split("=")] for line in text.splitlines() if "=" in line)
    reach, steps = float(settings["rlist"]), int(settings["nstlist"])
    assert abs(steps - kept) <= 1 and 0.1 * ex.CUTOFF - 1e-9 < reach < 0.05 * edge
    assert settings["cutoff-scheme"] == "Verlet" and settings["vdw-modifier"] == "Potential-shift"
    way = np.sqrt(2.0 * 8.314e-3 * 110.0 / 39.948) * steps * step
    assert steps == 1 or reach - 0.1 * ex.CUTOFF > 5.6 * way


def test_gromacs_itself_has_the_energy_forces_and_virial(native, tmp_path):
    """Of 125 sites where the runs start; the energy to six digits, since GROMACS works in single precision."""
    pythons.gmx_command()
    pyedr = pytest.importorskip("pyedr", reason="pyedr is not installed: pip install pyedr")
    from MDAnalysis.coordinates.TRR import TRRReader

    potentials, folder = native
    settings = (folder / "run.mdp").read_text().replace("SEED", "1")
    swap = {"integrator": "md", "nsteps": "0", "gen-vel": "no", "nstxout-compressed": "0"}
    lines = [line for line in settings.splitlines() if line.split()[0] not in swap]
    lines += [f"{a} = {b}" for a, b in swap.items()] + ["nstfout = 1", "continuation = yes"]
    (tmp_path / "run.mdp").write_text("\n".join(lines) + "\n")
    for name, potential in (("mean", potentials[0]), ("draw_001", potentials[2])):
        files = ("-c", str(folder / "start.gro"), "-p", str(folder / name / "topol.top"))
        pythons.run_gmx(tmp_path, "grompp", "-f", "run.mdp", *files, "-o", "run.tpr")
        pythons.run_gmx(tmp_path, "mdrun", "-s", "run.tpr", "-e", f"{name}.edr", "-o", f"{name}.trr")
        found = pyedr.edr_to_dict(str(tmp_path / f"{name}.edr"))
        energy, forces = ex.forces_and_energy(potential, ex.argon_box())
        assert found["Potential"][0] == pytest.approx(4.184 * energy, rel=2e-6)
        with TRRReader(str(tmp_path / f"{name}.trr")) as reader:
            theirs = reader[0].forces.copy()  # kJ/mol/angstrom
        np.testing.assert_allclose(theirs, 4.184 * forces, atol=1e-4 * np.abs(forces).max() * 4.184)
        volume = 1e-3 * np.prod(ex.argon_box().box)
        twice_kinetic = 2.0 * found["Kinetic En."][0]  # of the velocities half a step away
        pressure = (twice_kinetic + 4.184 * virial(potential)) / (3.0 * volume)
        pressure *= unit_factor("kJ/mol/nm^3", "pressure", get_unit_system("gromacs"))
        assert found["Pressure"][0] == pytest.approx(pressure, rel=1e-5)


@pytest.mark.parametrize("own", ["methylene", "1A", "W*", "O-2", "C+", "C 1", "#;[]"])
def test_gromacs_takes_types_of_any_name(own, tmp_path):
    """Two types that interact alike, one of them with a name that is long or has digits, signs or spaces."""
    pythons.gmx_command()
    pyedr = pytest.importorskip("pyedr", reason="pyedr is not installed: pip install pyedr")
    (potential,) = ex.lennard_jones()[:1]
    types = (own,) * 60 + ("Ar",) * 40 + (own,) * 25
    system = ex.argon_box()._replace(site_types=types, masses=np.repeat([14.0, 39.948, 14.0], [60, 40, 25]))
    export_gromacs(
        ex.tables_of([potential]), tmp_path / "g", system=system, plan=RunPlan(20, 0, 10, repeats=1), potentials=[potential],
        mean_potential=potential,
    )  # fmt: skip
    files = ("-c", "g/start.gro", "-p", "g/mean/topol.top")
    settings = (tmp_path / "g" / "run.mdp").read_text().replace("SEED", "1")
    (tmp_path / "run.mdp").write_text(settings)
    pythons.run_gmx(tmp_path, "grompp", "-f", "run.mdp", *files, "-o", "run.tpr")
    pythons.run_gmx(tmp_path, "mdrun", "-s", "run.tpr")
    energy, _ = ex.forces_and_energy(potential, system)
    found = pyedr.edr_to_dict(str(tmp_path / "ener.edr"))
    assert found["Potential"][0] == pytest.approx(4.184 * energy, rel=2e-6)


def virial(potential) -> float:
    """Σ r f over all pairs by the minimum image [kcal/mol]."""
    system = ex.argon_box()
    apart = system.positions[:, None] - system.positions[None]
    apart -= system.box * np.round(apart / system.box)
    r = np.linalg.norm(apart, axis=-1)[np.triu_indices(len(apart), 1)]
    r = r[r < ex.CUTOFF]
    return float(np.sum(r * ex.energy_and_force(potential, r)[1]))


def test_grompp_takes_what_stands_beside_the_tables(exported, tmp_path):
    """With the settings of GROMACS' own form in the place of those that newer versions refuse."""
    pythons.gmx_command()
    _, folder = exported
    text = mdp_text(
        ex.argon_box().converted(get_unit_system("gromacs")), ex.PLAN, 0.1 * ex.CUTOFF, native=True
    )
    (tmp_path / "run.mdp").write_text(text.replace("SEED", "1"))
    files = ("-c", str(folder / "start.gro"), "-p", str(folder / "topol.top"))
    pythons.run_gmx(tmp_path, "grompp", "-f", "run.mdp", *files, "-o", "run.tpr")
    assert (tmp_path / "run.tpr").is_file()


def test_what_cannot_be_exported(tmp_path):
    tables = ex.tables_of(ex.lennard_jones())
    equal = ex.argon_box()._replace(box=np.full(3, 2.0 * ex.CUTOFF))
    for change, words in (
        ({"spacing": 0.2}, "too coarse"),
        ({"plan": RunPlan(5, 0, 10)}, "two rows"),
        ({"plan": RunPlan(100, 0, 10, seed=900_000_000 - 6)}, "seeds 899999994 to 900000001"),
        ({"potentials": ex.lennard_jones()[:1]}, "1 potentials for 3 tables"),
        ({"system": equal}, "longer than twice the cutoff"),
        ({"system": ex.argon_box()._replace(friction=0.0)}, "friction 0"),
    ):
        with pytest.raises(InputError, match=words):
            export_gromacs(tables, tmp_path / "a", **{"system": ex.argon_box(), "plan": ex.PLAN} | change)
    assert not (tmp_path / "a").exists()
