"""OpenMM: what is written is read back, by the format's own rules and by OpenMM itself."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.output import EngineSystem, RunPlan, export_openmm, mean_of
from bayescg.output._openmm_formulas import pair_formula
from bayescg.physics import PairPotential
from tests.output import engine_exports as ex
from tests.output import engine_pythons as pythons

# By formula or by table, and how close energies must be in kJ/mol: a formula is exact for Lennard-Jones; Mie and WCA are
# inferred as interpolations, here of many nodes; the table is a natural spline of 4000 rows.
FORMULAS = {
    "lj": (ex.lennard_jones, 1e-12),
    "lj_smooth": (lambda: ex.lennard_jones("smooth"), 1e-12),
    "mie": (ex.mie, 1e-6),
    "mie_smooth": (lambda: ex.mie("smooth"), 1e-6),
    "wca": (ex.weeks_chandler_andersen, 1e-5),
}


def export(place: Path, potentials: list[PairPotential], *, by_formula: bool) -> Path:
    mean = None
    if by_formula:
        coefficients = np.mean([p.coefficients() for p in potentials], axis=0)
        mean = mean_of(potentials, coefficients.tolist())
    given = potentials if by_formula else []
    export_openmm(
        ex.tables_of(potentials),
        place,
        system=ex.argon_box(),
        plan=ex.PLAN,
        potentials=given,
        mean_potential=mean,
    )
    return place


def distances(cutoff: float) -> np.ndarray:
    """Random ones in angstrom, and both sides of the cutoff."""
    random = np.random.default_rng(0).uniform(0.8 * ex.SIGMA, cutoff, 400)
    return np.append(random, cutoff * np.array([1 - 1e-9, 1 + 1e-9, 1.2]))


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_are_the_potentials(tmp_path, name):
    make, close = FORMULAS[name]
    potentials = make()
    folder = export(tmp_path / "openmm", potentials, by_formula=True)
    forms = json.loads((folder / "manifest.json").read_text())["forms"]
    assert forms["draw_001"] == "formula"
    assert forms["mean"] == ("formula" if name.startswith("lj") else "table")
    r = distances(potentials[0].cutoff)
    for k, potential in enumerate(potentials):
        expected = ex.energy_and_force(potential, r)[0] * ex.to_gromacs("energy")
        found = ex.read_system(folder / f"draw_{k:03d}" / "system.xml")(r * ex.to_gromacs("length"))
        np.testing.assert_allclose(found, expected, rtol=close, atol=close)


def test_the_mean_of_lennard_jones_potentials_is_one(tmp_path):
    potentials = ex.lennard_jones()
    folder = export(tmp_path / "openmm", potentials, by_formula=True)
    r = distances(ex.CUTOFF)
    expected = np.mean([ex.energy_and_force(p, r)[0] for p in potentials], axis=0) * ex.to_gromacs("energy")
    found = ex.read_system(folder / "mean" / "system.xml")(r * ex.to_gromacs("length"))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [ex.lennard_jones, ex.splines], ids=["lj", "spline"])
def test_tables_are_the_potentials_and_go_on_below_their_first_row(tmp_path, make):
    potentials = make()
    folder = export(tmp_path / "openmm", potentials, by_formula=False)
    energy = ex.read_system(folder / "draw_001" / "system.xml")
    r = distances(ex.CUTOFF)
    expected = ex.energy_and_force(potentials[1], r)[0] * ex.to_gromacs("energy")
    scale = np.abs(expected).max()
    found = energy(r * ex.to_gromacs("length"))
    np.testing.assert_allclose(found, expected, atol=1e-6 * scale)
    first = 0.2 * ex.CUTOFF * ex.to_gromacs("length")
    below = energy(np.array([0.5, 0.9, 1.0 - 1e-9, 1.0 + 1e-9]) * first)
    assert np.all(np.diff(below[:3]) < 0)  # a wall, no gap
    assert below[2] == pytest.approx(below[3], rel=1e-6)


def read_back(jobs: list[dict], folder: Path) -> list:
    """OpenMM's answers, from one process."""
    python = pythons.openmm_python()
    (folder / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).with_name("openmm_read_back.py")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [python, script, folder / "jobs.json", folder / "results.json"],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads((folder / "results.json").read_text())


def test_openmm_finds_the_same_energies_and_forces(tmp_path):
    """Serialised Systems and force fields of formulas and tables, for a box of 125 sites."""
    pythons.openmm_python()
    cases = {name: (make(), True) for name, (make, _) in FORMULAS.items()}
    cases |= {"lj_table": (ex.lennard_jones(), False), "spline": (ex.splines(), False)}
    jobs = []
    for name, (potentials, by_formula) in cases.items():
        folder = export(tmp_path / name, potentials, by_formula=by_formula)
        jobs.append({"folder": str(folder), "potential": "draw_001"})
    system = ex.argon_box()
    for (name, (potentials, _)), answer in zip(cases.items(), read_back(jobs, tmp_path), strict=True):
        energy, forces = ex.forces_and_energy(potentials[1], system)
        expected = forces * ex.to_gromacs("force")
        largest = np.abs(expected).max()
        assert answer["mass"] == 39.948
        for found in (answer, answer["force_field"]):
            assert found["energy"] == pytest.approx(energy * ex.to_gromacs("energy"), rel=2e-5), name
            # the inferred WCA potential is linear in r² between its nodes, so that its force has steps
            close = 1e-3 if name == "wca" else 2e-4
            np.testing.assert_allclose(found["forces"], expected, atol=close * largest, err_msg=name)
        if name.startswith("lj") and name != "lj_table":
            assert answer["energy"] == pytest.approx(energy * ex.to_gromacs("energy"), rel=1e-9)
            np.testing.assert_allclose(answer["forces"], expected, atol=1e-8 * largest)


def test_the_system_is_converted_exactly():
    system = ex.argon_box()
    there = system.converted(get_unit_system("gromacs"))
    assert (there.time_step, there.friction) == (0.004, 1.0)
    np.testing.assert_allclose(there.box, system.box / 10, rtol=1e-15)
    back = there.converted(get_unit_system("real"))
    np.testing.assert_allclose(back.positions, system.positions, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("make", [ex.lennard_jones, ex.mie], ids=["lj", "mie"])
def test_a_bare_truncation_has_no_formula(make):
    with pytest.raises(InputError, match="'truncated' has no continuous formula"):
        pair_formula(make("truncated")[0], get_unit_system("real"))


def refused(
    place: Path, *, system: EngineSystem | None = None, plan: RunPlan = ex.PLAN, units: str = "real"
) -> str:
    tables = ex.tables_of(ex.lennard_jones(), units=units)
    with pytest.raises(InputError) as error:
        export_openmm(tables, place, system=system or ex.argon_box(units=units), plan=plan)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_cannot_be_exported(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    assert "not empty" in refused(tmp_path / "full")
    assert "reduced units" in refused(tmp_path / "a", units="lj")
    assert "twice the cutoff" in refused(tmp_path / "a", system=ex.argon_box(4))
    assert "multiples of the interval" in refused(tmp_path / "a", plan=RunPlan(205, 20, 10))
    assert "positive" in refused(tmp_path / "a", plan=RunPlan(200, 20, 10, repeats=0))
    for seed in (0, -1, 900_000_000 - 6):  # eight runs: two of the mean and of three draws
        words = refused(tmp_path / "a", plan=ex.PLAN._replace(seed=seed))
        assert f"seeds {seed} to {seed + 7}; expected 1 to 900000000" in words
    for name in ("friction", "time_step", "temperature"):
        for value in (0.0, np.nan):
            words = refused(tmp_path / "a", system=ex.argon_box()._replace(**{name: value}))
            assert f"{name} {value:g}" in words
    assert "one mass" in refused(tmp_path / "a", system=ex.argon_box()._replace(masses=np.ones(3)))
    assert not (tmp_path / "a").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes"]
