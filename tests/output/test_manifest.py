"""Manifests of all engines say the same things, and a file that has changed is found out."""

import json

import pytest

from bayescg.errors import InputError
from bayescg.output import (
    export_gromacs,
    export_hoomd,
    export_lammps,
    export_lammps_potentials,
    export_openmm,
    read_manifest,
)
from tests.output import engine_exports as ex

ENGINES = {
    "LAMMPS": export_lammps,
    "OpenMM": export_openmm,
    "GROMACS": export_gromacs,
    "HOOMD-blue": export_hoomd,
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Of every engine; tests that change one restore it."""
    place, tables = tmp_path_factory.mktemp("exports"), ex.tables_of(ex.lennard_jones(), points=800)
    for name, export in ENGINES.items():
        files = export(tables, place / name, system=ex.argon_box(), plan=ex.PLAN)
        assert all(file.is_file() for file in files) and files[-1].name == "manifest.json"
    return place


@pytest.mark.parametrize("engine", ENGINES)
def test_all_say_engine_units_draws_and_plan(exported, engine):
    manifest = read_manifest(exported / engine)
    assert manifest.engine == engine
    assert manifest.study_units.name == "real"
    assert manifest.units.name == ("real" if engine == "LAMMPS" else "gromacs")
    assert [one.name for one in manifest.potentials] == ["mean", "draw_000", "draw_001", "draw_002"]
    assert [one.draw for one in manifest.draws] == ["0:0", "0:1", "0:2"]
    assert manifest.plan == ex.PLAN and manifest.provenance["seed"] == 3
    length = 1.0 if engine == "LAMMPS" else 0.1
    assert manifest.cutoff == pytest.approx(ex.CUTOFF * length, rel=1e-14)
    assert manifest.system["box"] == pytest.approx([18.5 * length] * 3, rel=1e-14)
    assert manifest.system["n_sites"] == 125 and manifest.system["temperature"] == 110.0
    text = json.loads((exported / engine / "manifest.json").read_text())
    assert text["unit_of"]["length"] == ("angstrom" if engine == "LAMMPS" else "nm")
    assert text["calibration"] == "affine sandwich"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_changed_table_and_a_lost_one_are_found_out(exported, engine):
    folder = exported / engine
    file = folder / next(iter(read_manifest(folder).draws[1].files))
    text = file.read_text()
    try:
        file.write_text(text.replace("1", "2", 1))
        with pytest.raises(InputError, match="has changed since the export.*0:1") as error:
            read_manifest(folder)
        assert str(file) in str(error.value) and "\n" not in str(error.value)
        file.unlink()
        with pytest.raises(InputError, match="is gone"):
            read_manifest(folder)
    finally:
        file.write_text(text)
    read_manifest(folder)


def test_no_manifest_and_a_damaged_one(exported, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_manifest(tmp_path)
    whole = (exported / "OpenMM" / "manifest.json").read_text()
    for text in ("{", "[]", "{}", whole.replace('"study_units": "real"', '"study_units": "imperial"')):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(InputError):
            read_manifest(tmp_path)


def test_those_of_interatomic_potentials_are_read_too(tmp_path):
    from bayescg.data import get_unit_system
    from bayescg.output import PotentialDraws
    from bayescg.physics import StillingerWeber

    silicon = StillingerWeber.silicon(cutoff=4.0).vary("sw_A")
    draws = PotentialDraws.of_potentials(
        [silicon.with_parameters({"sw_A": A}) for A in (7.0, 7.1)],
        units=get_unit_system("metal"),
        posterior="calibrated",
    )
    export_lammps_potentials(draws, tmp_path / "silicon")
    manifest = read_manifest(tmp_path / "silicon")
    assert (manifest.engine, manifest.plan) == ("LAMMPS", None)
    assert [(one.name, one.draw) for one in manifest.draws] == [
        ("draw_000", "draw 0"),
        ("draw_001", "draw 1"),
    ]
