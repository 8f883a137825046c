"""Runs made elsewhere, read back: bands of known width, what is missing or wrong, and engines for real."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayescg.analysis import nested_split
from bayescg.cli import main
from bayescg.data import Frames, State, Topology, get_unit_system, radial_distribution
from bayescg.errors import InputError
from bayescg.output import (
    RunPlan,
    export_gromacs,
    export_hoomd,
    export_lammps,
    export_openmm,
    mean_of,
    read_manifest,
)
from bayescg.physics import axis_virials, diffusion_coefficient, unwrap
from bayescg.study import collect, write_collected
from bayescg.study._collect import predictive_band
from bayescg.study._collect_averages import structure_curves
from bayescg.study._collect_pressure import frame_pressures, pair_force
from bayescg.study._collect_runs import find_runs, read_positions, read_series
from tests.output import engine_exports as ex
from tests.output import engine_pythons as pythons

PARAMETRIC, NOISE, MEAN = 3.0, 2.0, -500.0
"""Standard deviations that the parameters make and that a run adds, and the mean, in kJ/mol."""


def some_tables(n_draws: int):
    """Tables of argon with many draws, which only their names tell apart."""
    tables = ex.tables_of(ex.lennard_jones()[:1], points=200)
    ids = [f"0:{k}" for k in range(n_draws)]
    return tables._replace(
        energy=np.repeat(tables.energy, n_draws, axis=0),
        force=np.repeat(tables.force, n_draws, axis=0),
        draw_ids=ids,
    )


def write_logs(
    folder: Path, *, key: int = 0, rows: int = 40, parametric: float = PARAMETRIC, alike: int = 1
) -> None:
    """OpenMM's logs, whose means spread as they should, of rows of which so many after each other are alike."""
    rng = np.random.default_rng(key)
    manifest = read_manifest(folder)
    for one in manifest.potentials:
        centre = MEAN + (0.0 if one.name == "mean" else parametric * rng.normal())
        for repeat in range(manifest.plan.repeats):
            place = folder / "runs" / one.name / f"run_{repeat}"
            place.mkdir(parents=True)
            values = centre + NOISE * np.sqrt(rows) * np.repeat(rng.normal(size=rows // alike), alike)
            lines = [f"{10 * (k + 1)},{v!r},85.0" for k, v in enumerate(values.tolist())]
            head = '#"Step","Potential Energy (kJ/mole)","Temperature (K)"'
            (place / "log.csv").write_text("\n".join([head, *lines]) + "\n")


@pytest.fixture
def small(tmp_path):
    """An export of three draws with two runs of each, and made-up logs."""
    plan = RunPlan(steps=400, equilibration=20, interval=10)
    export_openmm(some_tables(3), tmp_path / "openmm", system=ex.argon_box(), plan=plan)
    write_logs(tmp_path / "openmm")
    return tmp_path / "openmm"


def test_the_parts_are_recovered_in_the_study_s_units(tmp_path):
    """Both variances of 150 draws with two runs each, within four of their standard errors."""
    plan, n = RunPlan(steps=400, equilibration=20, interval=10), 150
    export_openmm(some_tables(n), tmp_path / "openmm", system=ex.argon_box(), plan=plan)
    write_logs(tmp_path / "openmm")
    tree = collect(tmp_path / "openmm")
    found, kcal = tree["potential_energy"].to_dataset(), 4.184
    naive = PARAMETRIC**2 + NOISE**2 / 2
    error = np.sqrt(2 / (n - 1) * naive**2 + 2 / n * (NOISE**2 / 2) ** 2)
    assert abs(float(found["parametric_variance_estimate"]) * kcal**2 - PARAMETRIC**2) < 4 * error
    assert float(found["noise_sd"]) * kcal == pytest.approx(NOISE / np.sqrt(2), rel=4 / np.sqrt(2 * n))
    assert float(found["mean"]) * kcal == pytest.approx(MEAN, abs=4 * np.sqrt(naive / n))
    assert float(found["fluctuation_sd"]) * kcal == pytest.approx(NOISE * np.sqrt(40), rel=0.05)
    band = (float(found["upper"]) - float(found["lower"])) * kcal
    assert band == pytest.approx(2 * 1.645 * PARAMETRIC, rel=0.25)
    assert float(found["at_mean_potential"]) * kcal == pytest.approx(MEAN, abs=4 * NOISE / np.sqrt(2))
    assert found["mean"].attrs["units"] == "kcal/mol"
    assert "temperature" not in tree  # it never changes in these logs


def test_what_is_stored_says_where_it_comes_from(small, capsys):
    assert main(["collect", str(small)]) == 0
    printed = capsys.readouterr().out
    assert "parametric_sd" in printed and "potential_energy" in printed and "Potential energy: " in printed
    with xr.open_datatree(small / "collected.nc", engine="netcdf4") as tree:
        attrs, found = tree.attrs, tree["potential_energy"].to_dataset().load()
    assert (attrs["engine"], attrs["units"], attrs["engine_units"], attrs["n_draws"]) == (
        "OpenMM",
        "real",
        "gromacs",
        3,
    )
    assert json.loads(attrs["provenance"])["seed"] == 3 and json.loads(attrs["run"])["steps"] == 400
    assert len(attrs["manifest_checksum"]) == 64
    assert found["draw"].values.tolist() == ["0:0", "0:1", "0:2"]
    assert found["name"].values.tolist() == ["draw_000", "draw_001", "draw_002"]
    for name, values in found.data_vars.items():
        if name.endswith("_sd"):
            assert (
                "standard deviation" in values.attrs["long_name"]
                or "Monte-Carlo error" in values.attrs["long_name"]
            )
            assert values.attrs["units"] == "kcal/mol"


def test_single_runs_are_cut_into_pieces(tmp_path):
    plan = RunPlan(steps=4000, equilibration=20, interval=10, repeats=1)
    export_openmm(some_tables(60), tmp_path / "openmm", system=ex.argon_box(), plan=plan)
    write_logs(tmp_path / "openmm", rows=400)
    found = collect(tmp_path / "openmm")["potential_energy"].to_dataset()
    assert found["values"].sizes == {"draw": 60, "simulation": 4}
    assert float(found["noise_sd"]) * 4.184 == pytest.approx(NOISE, rel=0.25)
    assert "4 pieces" in found.attrs["note"]


def single_runs(folder: Path, *, parametric: float = PARAMETRIC, alike: int = 1) -> xr.Dataset:
    """Of 20 draws with 400 rows each."""
    plan = RunPlan(steps=4000, equilibration=20, interval=10, repeats=1)
    export_openmm(some_tables(20), folder, system=ex.argon_box(), plan=plan)
    write_logs(folder, rows=400, parametric=parametric, alike=alike)
    return collect(folder)["potential_energy"].to_dataset()


def test_the_spread_of_the_draws_is_no_memory_of_the_rows(tmp_path):
    """Rows without memory, of potentials as far apart as the rows of one: pieces are as long as they look."""
    row_sd = NOISE * np.sqrt(400)
    found = single_runs(tmp_path / "openmm", parametric=row_sd)
    assert found.attrs["note"] == "noise from 4 pieces of single runs"
    assert float(found["noise_sd"]) * 4.184 == pytest.approx(NOISE, rel=0.3)


def test_pieces_shorter_than_the_memory_of_their_rows_are_told(tmp_path):
    """Twenty rows after each other alike: a piece of 100 is worth five."""
    note = single_runs(tmp_path / "openmm", alike=20).attrs["note"]
    assert "underestimated" in note
    assert 3.5 < float(note.split("only ")[1].split()[0]) < 6.5


@pytest.mark.parametrize(("n_draws", "noise"), [(3, 0.0), (5, 0.0), (20, 0.0), (20, 0.5), (150, 1.0)])
def test_the_band_holds_a_further_draw_at_its_level(n_draws, noise):
    """The truth at one draw more, of 4000 posteriors each; with noise in two runs of every draw."""
    rng, n, level = np.random.default_rng(n_draws), 4000, 0.9
    truth = rng.normal(size=(n_draws + 1, n))
    runs = truth[:-1, None] + noise * rng.normal(size=(n_draws, 2, n))
    values = xr.DataArray(runs, dims=("draw", "simulation", "posterior"))
    low, high = predictive_band(nested_split(values), level=level)
    held = np.mean((low.values < truth[-1]) & (truth[-1] < high.values))
    assert held == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / n))


def test_a_band_that_noise_hides_is_that_of_the_mean_and_told(tmp_path):
    """Draws of which the runs of each scatter, and their means do not."""
    plan = RunPlan(steps=400, equilibration=20, interval=10)
    export_openmm(some_tables(3), tmp_path / "openmm", system=ex.argon_box(), plan=plan)
    write_logs(tmp_path / "openmm", parametric=0.0, key=1)
    found = collect(tmp_path / "openmm")["potential_energy"].to_dataset()
    assert bool(found["below_noise"]) and "noise hides the parameters" in found.attrs["note"]
    half = stats.t.ppf(0.95, 2) * float(found["simulation_sd"])
    assert float(found["upper"]) - float(found["mean"]) == pytest.approx(half) and half > 0.0
    assert float(found["mean"]) - float(found["lower"]) == pytest.approx(half)


def test_pieces_of_a_trajectory_average_to_the_whole(small):
    runs, edge = find_runs(read_manifest(small)), float(ex.argon_box().box[0])
    n_sites = len(ex.argon_box().masses)
    positions = np.random.default_rng(0).uniform(0.0, edge, (22, n_sites, 3))
    box = np.full((22, 3), edge)
    r, pieces = structure_curves(runs, positions, box, n_pieces=4)
    _, (whole,) = structure_curves(runs, positions[2:], box[2:], n_pieces=1)  # what is over is left out first
    assert len(pieces) == 4 and len(r) == len(whole)
    np.testing.assert_allclose(np.mean(pieces, axis=0), whole, rtol=1e-10)


def test_what_is_missing_or_wrong_ends_in_one_line(small, capsys):
    def refused(*words: str) -> None:
        assert main(["collect", str(small)]) == 2
        out, err = capsys.readouterr()
        *told, last = err.splitlines()  # what is being read comes before
        assert (
            last.startswith("bayescg: error: ") and len(told) <= 1 and all(word in last for word in words)
        ), err
        assert not (small / "collected.nc").exists()

    log = small / "runs" / "draw_001" / "run_1" / "log.csv"
    whole = log.read_text()
    log.write_text("\n".join(whole.splitlines()[:-5]) + "\n")
    refused(str(log), "35 rows, expected 40")
    log.write_text(whole[:-8])
    refused(str(log), "its last line has no end")
    log.write_text(whole[:-8] + "\n")
    refused(str(log), "row 39 has")
    log.unlink()
    refused(str(log), "is missing")
    shutil.rmtree(log.parent)
    refused("draw_001", "1 finished runs, expected 2")
    shutil.rmtree(log.parent.parent)
    refused("draw_001", "no finished run", "0:1")
    manifest = read_manifest(small)
    with pytest.raises(InputError, match="no finished run of draw_001 .* start the run script again"):
        find_runs(manifest)
    with pytest.raises(
        InputError, match="no finished run of draw_001 .* put the files of its runs into runs/draw_001/run_0"
    ):
        find_runs(manifest._replace(plan=None))  # such as an angle's export, which has no script
    table = small / "draw_002" / "system.xml"
    table.write_text(table.read_text().replace("0.85", "0.86", 1) + " ")
    refused(str(table), "has changed since the export", "0:2")
    (small / "manifest.json").unlink()
    refused("manifest.json", "no such file")


def test_an_ideal_gas_of_random_walks_through_lammps_dumps(tmp_path):
    """g(r) = 1 and D known, through text dumps and logs in LAMMPS' units, for a study in nm and ps."""
    n_sites, rows, sd = 30, 700, 0.05  # angstrom per frame and direction
    tables = some_tables(2)
    system = ex.argon_box()
    system = system._replace(
        positions=system.positions[:n_sites],
        masses=system.masses[:n_sites],
        site_types=system.site_types[:n_sites],
    )
    export_lammps(tables, tmp_path / "lammps", units="real", system=system, plan=RunPlan(rows * 10, 0, 10))
    rng, edge = np.random.default_rng(4), float(system.box[0])
    head = f"ITEM: NUMBER OF ATOMS\n{n_sites}\nITEM: BOX BOUNDS pp pp pp\n" + f"0 {edge!r}\n" * 3
    for name in ("mean", "draw_000", "draw_001"):
        for repeat in range(2):
            place = tmp_path / "lammps" / "runs" / name / f"run_{repeat}"
            place.mkdir(parents=True)
            x = rng.uniform(0, edge, (n_sites, 3)) + np.cumsum(
                sd * rng.normal(size=(rows + 1, n_sites, 3)), axis=0
            )
            with (place / "trajectory.lammpstrj").open("w") as file:
                for k, frame in enumerate(x):
                    file.write(f"ITEM: TIMESTEP\n{10 * k}\n{head}ITEM: ATOMS id type xu yu zu\n")
                    file.write(
                        "".join(f"{i + 1} 1 {a:.6f} {b:.6f} {c:.6f}\n" for i, (a, b, c) in enumerate(frame))
                    )
    tree = collect(tmp_path / "lammps")
    diffusion = tree["diffusion"].to_dataset()
    expected = 0.5 * sd**2 / (10 * 4.0)  # angstrom^2/fs: frames are ten steps of 4 fs apart
    assert diffusion["mean"].attrs["units"] == "angstrom^2/fs"
    values = diffusion["values"].values.ravel()
    assert abs(values.mean() - expected) < 4 * values.std(ddof=1) / 2 + 0.03 * expected
    g = tree["rdf"].to_dataset()
    far = g["r"].values > 4.0
    assert abs(g["mean"].values[far].mean() - 1.0) < 0.1
    assert g["r"].attrs["units"] == "angstrom" and g["r"].values.max() < 0.5 * edge
    dump = tmp_path / "lammps" / "runs" / "draw_001" / "run_0" / "trajectory.lammpstrj"
    dump.write_text(dump.read_text()[: -(len(head) + 40 * n_sites)])
    with pytest.raises(InputError, match="draw_001.*(ends in the middle|frames, expected)"):
        collect(tmp_path / "lammps")


# Engines for real ------------------------------------------------------------------------------------------------


def run_engine(engine: str, folder: Path, plan: RunPlan, potentials, system) -> None:
    tables = ex.tables_of(potentials)
    if engine == "OpenMM":
        python = pythons.openmm_python()
        export_openmm(tables, folder, system=system, plan=plan)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        command = [python, folder / "run.py"]
    elif engine == "GROMACS":
        environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
        environment |= {"GMX": pythons.gmx_command(), "MDRUN": "-nt 1"}
        mean = mean_of(potentials, np.mean([p.coefficients() for p in potentials], axis=0).tolist())
        export_gromacs(tables, folder, system=system, plan=plan, potentials=potentials, mean_potential=mean)
        command = [folder / "run.sh"]
    else:
        _, environment = pythons.lammps_command()
        export_lammps(tables, folder, units="real", system=system, plan=plan)
        command = [folder / "run.sh"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize("engine", ["OpenMM", "LAMMPS", "GROMACS"])
def test_the_run_script_s_results_are_collected(engine, tmp_path):
    """Short runs: every file is found, of the right length, and the energies are near the start's."""
    plan, potentials = RunPlan(steps=200, equilibration=20, interval=20), ex.lennard_jones()[:2]
    run_engine(engine, tmp_path / "export", plan, potentials, ex.argon_box())
    tree = collect(tmp_path / "export")
    assert {"potential_energy", "kinetic_energy", "temperature", "pressure", "rdf"} <= set(tree.children)
    assert ("virial of 10 frames" in tree["pressure"].attrs["note"]) == (engine == "OpenMM")
    energy = tree["potential_energy"].to_dataset()["values"]
    assert energy.shape == (2, 2)
    for k, potential in enumerate(potentials):
        start, _ = ex.forces_and_energy(potential, ex.argon_box())
        assert float(energy[k].mean()) == pytest.approx(start, rel=0.25)
    kinetic, temperature = (tree[n].to_dataset()["values"].values for n in ("kinetic_energy", "temperature"))
    freedoms = 3 * len(ex.argon_box().masses)  # the centre of mass moves with the bath
    np.testing.assert_allclose(kinetic, 0.5 * freedoms * get_unit_system("real").kT(temperature), rtol=1e-5)
    assert "diffusion" not in tree  # ten frames are too few
    assert write_collected(tree, tmp_path / "export").is_file()


def exact_force(potential):
    """In arrays of one length, so that it is compiled once."""
    return lambda r: ex.energy_and_force(potential, np.append(r, np.ones(-len(r) % 4096)))[1, : len(r)]


def test_the_pressure_of_frames_is_the_one_that_lammps_logs(tmp_path):
    """Frame by frame, but for the kinetic part, of which LAMMPS has the value of the moment."""
    plan, potentials = RunPlan(steps=100, equilibration=20, interval=20, repeats=1), ex.lennard_jones()[:2]
    run_engine("LAMMPS", tmp_path / "export", plan, potentials, ex.argon_box())
    runs = find_runs(read_manifest(tmp_path / "export"))
    for potential, one in zip(potentials, runs.manifest.draws, strict=True):
        (log,) = read_series(runs, {one.name: [runs.folders[one.name][0] / "log.lammps"]})[one.name]
        x, box = read_positions(runs, runs.folders[one.name][0] / "trajectory.lammpstrj")
        found = frame_pressures(runs.manifest, exact_force(potential), x, box)
        units = get_unit_system("real")
        moment = units.kT(log["temperature"] - ex.argon_box().temperature) * len(x[0]) / np.prod(box, axis=1)
        np.testing.assert_allclose(found + units.pressure_factor * moment, log["pressure"], atol=0.2)
        assert np.ptp(found) > 50.0


@pytest.mark.parametrize("change", [("openmm", ex.splines), ("openmm", ex.lennard_jones), ("hoomd", ex.mie)])
def test_the_exported_table_has_the_potential_s_force(change, tmp_path):
    engine, made = change
    potentials = made()
    export = export_openmm if engine == "openmm" else export_hoomd
    export(ex.tables_of(potentials), tmp_path / "a", system=ex.argon_box(), plan=ex.PLAN)
    manifest = read_manifest(tmp_path / "a")
    r = np.random.default_rng(1).uniform(0.9 * ex.SIGMA, ex.CUTOFF, 300)
    for potential, one in zip(potentials, manifest.draws, strict=True):
        expected = exact_force(potential)(r)
        np.testing.assert_allclose(
            pair_force(manifest, one)(r), expected, atol=1e-4 * np.abs(expected).max(), rtol=0
        )
    below = pair_force(manifest, manifest.draws[0])
    assert below(np.array([0.01])) == below(np.array([0.1 * ex.CUTOFF / 8000]))


def test_the_pressure_of_a_run_without_one_in_its_log(small):
    """Of frames that do not move, so that it is the pressure of one configuration, in the study's unit."""
    from MDAnalysis.coordinates.DCD import DCDWriter

    system, manifest = ex.argon_box(), read_manifest(small)
    dimensions = np.append(system.box, [90.0, 90.0, 90.0])
    for one in manifest.potentials:
        for repeat in range(2):
            path = small / "runs" / one.name / f"run_{repeat}" / "trajectory.dcd"
            write_dcd(
                path, np.repeat(system.positions[None], 40, axis=0) + 7.0 * repeat, dimensions, DCDWriter
            )
    tree = collect(small)
    found = tree["pressure"].to_dataset()
    (potential,) = ex.lennard_jones()[:1]
    expected = exact_pressures(potential, system, system.positions[None])
    np.testing.assert_allclose(found["values"].values, expected, rtol=1e-4)
    assert found["mean"].attrs["units"] == "atm" and "virial of 40 frames" in found.attrs["note"]


def write_dcd(path: Path, positions: np.ndarray, dimensions: np.ndarray, writer) -> None:
    import MDAnalysis

    universe = MDAnalysis.Universe.empty(positions.shape[1], trajectory=True)
    with writer(str(path), positions.shape[1]) as file:
        for x in positions:
            universe.atoms.positions = x
            universe.dimensions = dimensions
            file.write(universe.atoms)


def test_g_of_r_of_gmx_is_over_the_density_of_the_others(small):
    """`gmx rdf` divides by the density of all sites; here of an ideal gas."""
    lines = "".join(f"{0.01 * k:.3f} 1.000\n" for k in range(1, 80))
    for one in read_manifest(small).potentials:
        for repeat in range(2):
            (small / "runs" / one.name / f"run_{repeat}" / "rdf.xvg").write_text("@ s0 legend\n" + lines)
    g = collect(small)["rdf"].to_dataset()
    np.testing.assert_allclose(g["mean"].values, 125 / 124, rtol=1e-12)
    np.testing.assert_allclose(g["r"].values, 0.1 * np.arange(1, 80), rtol=1e-12)


LONG = RunPlan(steps=30_000, equilibration=4_020, interval=30, repeats=3)


@pytest.fixture(scope="module")
def simulated_argon():
    """Positions of six replicas by this package's engine [replica frame site 3]."""
    return simulated(ex.lennard_jones()[0], ex.argon_box(), n_replicas=6, plan=LONG)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["OpenMM", "LAMMPS", "GROMACS"])
def test_engines_and_ours_agree_on_structure_and_diffusion(engine, simulated_argon, tmp_path):
    """g(r), pressure and diffusion coefficient of liquid argon by the engine and by ours, within their errors."""
    potentials = ex.lennard_jones()[:1] * 2
    system, plan = ex.argon_box(), LONG
    run_engine(engine, tmp_path / "export", plan, potentials, system)
    tree = collect(tmp_path / "export")
    freedoms = 3 * len(system.masses)  # with those of the centre of mass, which the bath moves too
    for name, expected in (
        ("kinetic_energy", 0.5 * freedoms * get_unit_system("real").kT(system.temperature)),
        ("temperature", system.temperature),
    ):
        runs = tree[name].to_dataset()["values"].values.ravel()
        assert abs(runs.mean() - expected) < 4 * runs.std(ddof=1) / np.sqrt(len(runs)), name
    curves = np.concatenate([*tree["rdf"].to_dataset()["values"].values])  # two equal draws: six runs
    theirs = curves.mean(0), curves.std(0, ddof=1) / np.sqrt(len(curves))
    walks = tree["diffusion"].to_dataset()["values"].values.ravel()
    positions = simulated_argon
    edges = np.append(0.0, 0.085 * np.arange(1, len(curves[0]) + 1))
    ours = np.array([rdf(x, system, edges) for x in positions])
    error = np.hypot(theirs[1], ours.std(0, ddof=1) / np.sqrt(len(ours)))
    seen = (ours.mean(0) > 0.05) & (error > 0)
    z = (theirs[0] - ours.mean(0))[seen] / error[seen]
    assert np.sqrt(np.mean(z**2)) < 2.0 and np.abs(z).max() < 7.0  # few runs: Student's t, bins correlated
    assert np.abs(theirs[0] - ours.mean(0)).max() < 0.06
    pressures = tree["pressure"].to_dataset()["values"].values.ravel()
    p = exact_pressures(potentials[0], system, positions[:, ::8])
    spread = np.hypot(np.std(p, ddof=1), np.std(pressures, ddof=1)) / np.sqrt(6)
    assert abs(np.mean(p) - pressures.mean()) < 4.5 * spread
    start, end = tree["diffusion"].to_dataset()["values"].attrs["fitted_lags"]
    step = plan.interval * system.time_step
    d = [diffusion_coefficient(x, time_step=step, fit=(start, end)).coefficient.value for x in positions]
    spread = np.hypot(np.std(d, ddof=1), walks.std(ddof=1)) / np.sqrt(6)
    assert abs(np.mean(d) - walks.mean()) < 4.5 * spread


def exact_pressures(potential, system, positions: np.ndarray) -> np.ndarray:
    """Of frames [*frame site 3], averaged over those of each replica [atm]."""
    units, box = get_unit_system("real"), jnp.asarray(system.box)
    virial = axis_virials(potential, jnp.asarray(positions), box).sum(-1).mean(-1)
    kinetic = len(system.masses) * units.kT(system.temperature)
    return np.asarray(kinetic + virial / 3.0) * units.pressure_factor / np.prod(system.box)


def simulated(potential, system, *, n_replicas: int, plan: RunPlan) -> np.ndarray:
    """Unwrapped positions by the package's own engine [replica frame site 3]."""
    from bayescg.physics._engine import AnalyticForce, LangevinSettings, PairEngine
    from bayescg.physics._simulate import _pair_factor

    units = get_unit_system("real")
    settings = LangevinSettings(
        system.time_step, system.friction, units.kT(system.temperature),
        jnp.asarray(units.force_to_acceleration / system.masses),
    )  # fmt: skip
    engine = PairEngine(
        len(system.masses), system.box, potential.cutoff, settings, AnalyticForce(_pair_factor)
    )
    state = engine.initial_state(jax.random.key(1), np.tile(system.positions, (n_replicas, 1, 1)))
    many = jax.tree.map(
        lambda leaf: jnp.repeat(jnp.asarray(leaf, jnp.float32)[None], n_replicas, axis=0), potential
    )
    state, _ = engine.run(state, many, n_samples=2, stride=plan.equilibration // 2)
    _, positions = engine.run(state, many, n_samples=plan.rows, stride=plan.interval)
    return unwrap(np.asarray(positions, float), system.box)


def rdf(positions: np.ndarray, system, edges: np.ndarray) -> np.ndarray:
    some = positions[:: max(1, len(positions) // 250)]
    topology = Topology(system.site_types, system.masses)
    frames = Frames(some, system.box, topology, State(system.temperature), system.units)
    return radial_distribution(frames, edges=edges, exclude="nothing")["rdf"].values
