"""LAMMPS pair tables: what is written is read back, in the units asked for, and LAMMPS itself agrees."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from bayescg.data import conversion, get_unit_system
from bayescg.errors import InputError
from bayescg.output import (
    EngineSystem,
    PairTables,
    export_lammps,
    mean_of,
    read_manifest,
    table_provenance,
    write_pair_table,
)
from bayescg.output._engine_files import LAMMPS_GRID
from tests.output import engine_exports as ex
from tests.output import engine_pythons as pythons


def lennard_jones(r: np.ndarray, epsilon: float, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    s6 = (sigma / r) ** 6
    return 4 * epsilon * (s6**2 - s6), 24 * epsilon * (2 * s6**2 - s6) / r


def make_tables(units: str = "gromacs", *, n_draws: int = 3) -> PairTables:
    scale = 1.0 if units == "lj" else 0.34 * conversion("length", "gromacs", units)
    depth = 1.0 if units == "lj" else 0.996 * conversion("energy", "gromacs", units)
    r = np.linspace(0.7, 3.0, 2301) * scale
    draws = [lennard_jones(r, depth * (1 + 0.01 * k), scale) for k in range(n_draws)]
    mean = lennard_jones(r, depth, scale)
    return PairTables(
        distance=r,
        energy=np.array([u for u, _ in draws]),
        force=np.array([f for _, f in draws]),
        mean_energy=mean[0],
        mean_force=mean[1],
        draw_ids=[f"chain 0 draw {k}" for k in range(n_draws)],
        units=get_unit_system(units),
        provenance={"calibration": "affine sandwich", "seed": 3},
    )


def read_table(path: Path, keyword: str) -> np.ndarray:
    """Rows of (index, r, U, F) of one section."""
    lines = path.read_text().splitlines()
    start = lines.index(keyword)
    word, count, style, low, high = lines[start + 1].split()
    assert (word, style, lines[start + 2]) == ("N", "R", "")
    rows = np.array([[float(x) for x in line.split()] for line in lines[start + 3 :]])
    assert len(rows) == int(count)
    assert (rows[0, 1], rows[-1, 1]) == (float(low), float(high))
    return rows


@pytest.mark.parametrize(
    ("study", "engine"), [("gromacs", "real"), ("gromacs", "metal"), ("real", "metal"), ("lj", "lj")]
)
def test_export_is_read_back_in_the_units_asked_for(tmp_path, study, engine):
    tables = make_tables(study)
    files = export_lammps(tables, tmp_path / "out", units=engine)
    assert len(files) == 1 + 3 + 2
    assert all(path.is_file() for path in files)
    factors = [conversion(q, study, engine) for q in ("length", "energy", "force")]
    expected = np.array([tables.distance, tables.energy[2], tables.force[2]]) * np.array(factors)[:, None]
    rows = read_table(tmp_path / "out" / "draws" / "draw_002.table", "PAIR")
    np.testing.assert_array_equal(rows[:, 0], np.arange(1, len(rows) + 1))
    np.testing.assert_allclose(rows[:, 1:].T, expected, rtol=1e-13)


def test_argon_in_real_units_is_argon(tmp_path):
    """0.996 kJ/mol over 0.34 nm are 0.23805 kcal/mol over 3.4 Å, whatever the study's units."""
    export_lammps(make_tables("gromacs"), tmp_path / "out", units="real")
    rows = read_table(tmp_path / "out" / "mean.table", "PAIR")
    deepest = rows[np.argmin(rows[:, 2])]
    assert deepest[1] == pytest.approx(3.4 * 2 ** (1 / 6), abs=0.002)
    assert deepest[2] == pytest.approx(-0.996 / 4.184, rel=1e-5)


def test_manifest_says_what_the_files_are(tmp_path):
    export_lammps(make_tables(), tmp_path / "out", units="real")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["units"] == "real"
    assert manifest["calibration"] == "affine sandwich"
    assert manifest["provenance"]["seed"] == 3
    assert [entry["draw"] for entry in manifest["potentials"]][:2] == ["posterior mean", "chain 0 draw 0"]
    files = [file for entry in manifest["potentials"] for file in entry["files"]]
    assert len(files) == 4 and manifest["n_draws"] == 3
    for file in [*files, *manifest["shared"]]:
        content = (tmp_path / "out" / file["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
    first = (tmp_path / "out" / "mean.table").read_text().splitlines()[0]
    assert first.startswith("# UNITS: real ")
    assert "affine sandwich" in first


def test_manifest_repeats_what_the_result_says_of_itself(tmp_path, result):
    tables = make_tables()._replace(provenance=table_provenance(result))
    export_lammps(tables, tmp_path / "out", units="real")
    provenance = json.loads((tmp_path / "out" / "manifest.json").read_text())["provenance"]
    assert provenance["temperature"] == 300.0 and provenance["temperature_unit"] == "K"
    assert provenance["versions"] == {"bayescg": "0.1.0", "jax": "0.10.1"}
    assert provenance["data_checksum"] == "ab" * 32
    assert {"title", "calibration", "seed", "created"} <= set(provenance)


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        export_lammps(make_tables(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_reduced_units_have_no_size(tmp_path):
    with pytest.raises(InputError, match="reduced units"):
        export_lammps(make_tables("lj"), tmp_path / "out", units="real")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r, u, f: (r, u, -f), "not -dU/dr"),
        (lambda r, u, f: (r, u, 10 * f), "not -dU/dr"),
        (lambda r, u, f: (r**2, u, f), "uniform"),
        (lambda r, u, f: (r - r[0], u, f), "above zero"),
        (lambda r, u, f: (r, np.where(r == r[5], np.nan, u), f), r"energies\[5\] is nan"),
        (lambda r, u, f: (r, u[1:], f), "equally many"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, change, message):
    r = np.linspace(0.8, 3.0, 500)
    arrays = change(r, *lennard_jones(r, 1.0, 1.0))
    with pytest.raises(ValueError, match=message):
        write_pair_table(tmp_path / "x.table", *arrays, keyword="PAIR", units="lj", comment="")
    assert not list(tmp_path.iterdir())


# LAMMPS itself ----------------------------------------------------------------------------------------------------


def lammps_answers(folder: Path, file: str, system: EngineSystem, place: Path) -> tuple[float, np.ndarray]:
    """LAMMPS' energy and forces of a system in its own units, by a file of an export."""
    configuration = {
        "cell": np.diag(system.box),
        "positions": system.positions,
        "types": [0] * len(system.masses),
    }
    job = {
        "folder": str(folder),
        "script": "in.pair",
        "potential": file,
        "units": system.units.name,
        "n_types": 1,
    }
    ((answer,),) = pythons.read_back_by_lammps([job | {"configurations": [configuration]}], place)
    return answer["energy"], np.array(answer["forces"])


def errors_of_linear_interpolation(
    r: np.ndarray, epsilon: float, sigma: float, *, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """Largest errors of u and f of a Lennard-Jones pair in a table that is linear in s = r^2.

    LAMMPS tabulates u and f/r on 20,000 points of s; between two, d apart, a function g is off by d^2 |g''(s)| / 8 at
    most. Both second derivatives are taken where they are largest within the interval, at its lower end.
    """
    d = (high**2 - low**2) / (LAMMPS_GRID - 1)
    s = np.maximum(r**2 - d, low**2)
    a, b = 4 * epsilon * sigma**12, 4 * epsilon * sigma**6
    energy = np.abs(42 * a / s**8) + np.abs(12 * b / s**5)
    factor = 12 * 56 * a / s**9 + 6 * 20 * b / s**6
    return d**2 / 8 * energy, d**2 / 8 * factor * r


def test_lammps_reads_the_tables(tmp_path):
    """LAMMPS' energy and forces of 125 sites, by the mean's and a draw's table: within what the table resolves."""
    system = ex.argon_box()
    potentials = ex.lennard_jones()
    tables = ex.tables_of(potentials)
    export_lammps(tables, tmp_path / "out", units="real")
    apart = system.positions[:, None] - system.positions[None]
    apart -= system.box * np.round(apart / system.box)
    r = np.linalg.norm(apart, axis=-1) + 1e3 * np.eye(len(apart))
    low, high = tables.distance[0], tables.distance[-1]
    for k, file in ((0, "draws/draw_000.table"), (2, "draws/draw_002.table")):
        known = {"epsilon": float(potentials[k].epsilon), "sigma": float(potentials[k].sigma)}
        errors = errors_of_linear_interpolation(r, **known, low=low, high=high)
        of_energy, of_force = (np.where(r < high, error, 0.0) for error in errors)
        energy, forces = lammps_answers(tmp_path / "out", file, system, tmp_path)
        expected, pull = ex.forces_and_energy(potentials[k], system)
        bound, bounds = 0.5 * of_energy.sum(), of_force.sum(axis=1)
        assert bound < 5e-6 * abs(expected) and bounds.max() < 5e-6 * np.abs(pull).max()  # a sharp comparison
        assert abs(energy - expected) < bound
        assert np.all(np.linalg.norm(forces - pull, axis=1) < bounds)
    mean_of_energies = np.mean([ex.forces_and_energy(one, system)[0] for one in potentials])
    energy, _ = lammps_answers(tmp_path / "out", "mean.table", system, tmp_path)
    assert energy == pytest.approx(mean_of_energies, rel=5e-6)


def native_export(folder: Path, units: str = "real", **more: object) -> list[Path]:
    potentials = ex.lennard_jones()
    mean = mean_of(potentials, np.mean([one.coefficients() for one in potentials], axis=0).tolist())
    return export_lammps(
        ex.tables_of(potentials), folder, units=units, potentials=potentials, mean_potential=mean, **more
    )


@pytest.mark.parametrize("units", ["real", "metal"])
def test_lammps_own_lennard_jones_is_ours(tmp_path, units):
    """`lj/cut`, shifted, of the mean and a draw: the same formula, so all digits but those of units and rounding."""
    native_export(tmp_path / "out", units)
    system = ex.argon_box()
    to_energy, to_force = (conversion(q, "real", units) for q in ("energy", "force"))
    there = system.converted(get_unit_system(units))
    potentials = ex.lennard_jones()
    known = [ex.forces_and_energy(one, system) for one in potentials]
    mean = tuple(
        np.mean([one[part] for one in known], axis=0) for part in (0, 1)
    )  # U is linear in its coefficients
    for file, (energy, forces) in (("mean.pair", mean), ("draws/draw_001.pair", known[1])):
        found, pull = lammps_answers(tmp_path / "out", file, there, tmp_path)
        assert found == pytest.approx(energy * to_energy, rel=1e-11)
        np.testing.assert_allclose(
            pull, forces * to_force, rtol=0, atol=1e-11 * np.abs(forces * to_force).max()
        )


def test_lennard_jones_is_written_in_lammps_own_style_too(tmp_path):
    files = native_export(tmp_path / "out", system=ex.argon_box(), plan=ex.PLAN)
    names = [file.relative_to(tmp_path / "out").as_posix() for file in files]
    assert names[:4] == ["mean.pair", "mean.table", "draws/draw_000.pair", "draws/draw_000.table"]
    assert {file for file in (tmp_path / "out").rglob("*") if file.is_file()} == set(files)
    assert (tmp_path / "out" / "draws" / "draw_001.pair").read_text().splitlines()[1:] == [
        "pair_style lj/cut 8.5", "pair_modify shift yes",
        f"pair_coeff * * {float(1.1 * ex.EPSILON)!r} {float(0.98 * ex.SIGMA)!r}",
    ]  # fmt: skip
    script = (tmp_path / "out" / "in.run").read_text()
    assert "include ${potential}\n" in script and "pair_style" not in script
    assert "mean:mean.pair draw_000:draws/draw_000.pair" in (tmp_path / "out" / "run.sh").read_text()
    manifest = read_manifest(tmp_path / "out")
    assert set(manifest.draws[1].files) == {"draws/draw_001.pair", "draws/draw_001.table"}
    assert manifest.cutoff == 8.5 and manifest.plan == ex.PLAN


@pytest.mark.parametrize("kind", ["smooth", "mie"])
def test_what_lj_cut_is_not_goes_by_tables(tmp_path, kind):
    potentials = ex.mie() if kind == "mie" else ex.lennard_jones("smooth")
    files = export_lammps(
        ex.tables_of(potentials, points=200),
        tmp_path / "out",
        potentials=potentials,
        mean_potential=potentials[0],
    )
    assert {file.suffix for file in files} == {".table", ".pair", ".json"}  # .pair: in.pair alone
    assert [file.name for file in files if file.suffix == ".pair"] == ["in.pair"]
    assert "pair_style table" in (tmp_path / "out" / "in.pair").read_text()


def test_seeds_that_lammps_refuses_are_not_written(tmp_path):
    """`fix langevin` takes 1 to 900 000 000; four runs of two potentials have seeds of their own."""
    tables = ex.tables_of(ex.lennard_jones()[:1], points=1000)
    plans = {seed: ex.PLAN._replace(seed=seed) for seed in (0, 900_000_000 - 2)}
    for seed, plan in plans.items():
        with pytest.raises(InputError, match=f"seeds {seed} to {seed + 3}; expected 1 to 900000000"):
            export_lammps(tables, tmp_path / "a", units="real", system=ex.argon_box(), plan=plan)
    largest = ex.PLAN._replace(seed=900_000_000 - 3)
    export_lammps(tables, tmp_path / "b", units="real", system=ex.argon_box(), plan=largest)
    assert "seed=$((899999997 + k))" in (tmp_path / "b" / "run.sh").read_text()
    assert not (tmp_path / "a").exists()
