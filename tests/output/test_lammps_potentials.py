"""Potentials written for LAMMPS: which files there are, what they say, and what is refused."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.output import PotentialDraws, export_lammps_potentials
from bayescg.physics import (
    BodySplines,
    FinnisSinclair,
    InteratomicPotential,
    LinearSymmetry,
    LongRangeCoulomb,
    SpeciesEnergies,
    StillingerWeber,
)
from bayescg.physics._symmetry_functions import SymmetryFunctions

METAL = get_unit_system("metal")


def silicon_draws(**provenance: object) -> PotentialDraws:
    silicon = StillingerWeber.silicon(cutoff=4.0).vary("sw_A", "sw_lambda")
    offset = SpeciesEnergies([-1.25], species=("Si",))
    potentials = [
        silicon.with_parameters({"sw_A": a, "sw_lambda": strength}) + offset
        for a, strength in ((7.0, 20.0), (7.2, 21.0), (7.1, 25.0))
    ]
    return PotentialDraws.of_potentials(
        potentials, units=METAL, posterior="calibrated:\n sandwich", provenance=provenance
    )


def entry(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")][0].split()


def test_an_ensemble_has_the_mean_parameters_the_draws_and_a_manifest(tmp_path):
    files = export_lammps_potentials(silicon_draws(seed=3), tmp_path / "deep" / "out")
    out = tmp_path / "deep" / "out"
    assert all(file.is_file() for file in files)
    assert {file for file in out.rglob("*") if file.is_file()} == set(files)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert [float(entry(out / place / "sw.sw")[9]) for place in ("mean", "draws/draw_001")] == [
        np.mean([7.0, 7.2, 7.1]), 7.2,
    ]  # fmt: skip
    first = (out / "draws/draw_001/sw.sw").read_text().splitlines()[0]
    assert "UNITS: metal" in first and "DATE: 20" in first
    assert "draw 1; posterior: calibrated: sandwich; energies lack -1.25 per Si" in first
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["posterior"] == "calibrated:\n sandwich" and manifest["provenance"]["seed"] == 3
    assert manifest["terms"][0]["style"] == "sw" and manifest["terms"][0]["package"] == "MANYBODY"
    assert [p["potential"] for p in manifest["potentials"]][:2] == ["mean parameters of the draws", "draw 0"]
    for potential in manifest["potentials"]:
        assert potential["constants"] == {"Si": -1.25}
        for file in potential["files"]:
            assert hashlib.sha256((out / file["file"]).read_bytes()).hexdigest() == file["sha256"]
    script = (out / "in.potential").read_text()
    assert "draw_002" not in script and "(to 002)" in script and "lack a constant" in script
    assert manifest["commands"] == [line for line in script.splitlines() if not line.startswith("#")]


def test_numbers_are_written_bit_by_bit(tmp_path):
    draws = silicon_draws()
    export_lammps_potentials(draws, tmp_path / "out")
    assert float(entry(tmp_path / "out/mean/sw.sw")[9]) == float(draws.mean().terms[0].A)


def splines_with(n: int) -> BodySplines:
    zero = BodySplines.uniform(species=("W",), pair=(1.9, 5.0, n), triplet=(1.9, 3.6, 4), opposite=5)
    values = np.random.default_rng(0).normal(size=(1, n))
    return zero.with_parameters({"splines_pair": values, "splines_triplet": zero.triplet})


def one_draw(potential: InteratomicPotential, units: str = "metal") -> PotentialDraws:
    return PotentialDraws.of_potentials([potential], units=get_unit_system(units), posterior="none")


def symmetry() -> LinearSymmetry:
    functions = SymmetryFunctions(((1.0, 2.0),), ((0.1, 1.0, 1),), species=("Si",), cutoff=4.0)
    return LinearSymmetry(np.ones((1, functions.n_functions)), functions=functions)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (symmetry, "LinearSymmetry has no pair style in LAMMPS; run it in ASE with PosteriorCalculator"),
        (
            lambda: LongRangeCoulomb(
                [1.0], species=("Na", "Cl"), formulas=("NaCl",), cutoff=5.0, coulomb=14.4
            ),
            "long-range Coulomb belongs to the LAMMPS script",
        ),
        (lambda: SpeciesEnergies([1.0], species=("Si",)), "nothing for LAMMPS to compute"),
        (lambda: splines_with(60), "fewer spline functions"),
        (
            lambda: StillingerWeber(2.0, 2.1, 1.8, -3.0, 1.2, 7.0, 0.6, species=("Si",), cutoff=4.0),
            "sw_lambda is -3, but LAMMPS' pair_style sw takes no negative one",
        ),
        (lambda: FinnisSinclair(*[1.0] * 7, species=("Xx1",), cutoff=4.0), "'Xx1' is no chemical element"),
    ],
)
def test_what_lammps_cannot_compute_is_refused_and_nothing_written(tmp_path, make, message):
    with pytest.raises(InputError, match=message) as raised:
        export_lammps_potentials(one_draw(make()), tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_term_that_lammps_lacks_spoils_a_sum(tmp_path):
    with pytest.raises(InputError, match="LinearSymmetry"):
        export_lammps_potentials(one_draw(StillingerWeber.silicon() + symmetry()), tmp_path / "out")


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        export_lammps_potentials(silicon_draws(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("study", "engine", "message"),
    [("metal", "si", "no LAMMPS unit system"), ("lj", "metal", "reduced units")],
)
def test_units_that_do_not_fit_are_refused(tmp_path, study, engine, message):
    with pytest.raises(InputError, match=message):
        export_lammps_potentials(one_draw(StillingerWeber.silicon(), study), tmp_path / "out", units=engine)
