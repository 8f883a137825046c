"""Pairs left out in model files: a study of molecules that is checked, its calculator, its export, and bad input."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from bayescg.data import get_unit_system, read_configurations
from bayescg.errors import InputError
from bayescg.output import PosteriorCalculator, PotentialDraws
from bayescg.output._lammps_potentials import export_lammps_potentials
from bayescg.physics import environments, in_data_order, predict
from bayescg.study import Study
from bayescg.study._interatomic_build import build_interatomic
from bayescg.study._read import parse_model_file

MODEL = """\
title = "Chlorine"
units = "metal"

[data]
configurations = ["gas.extxyz"]
use = ["energy", "forces"]
molecule_key = "molecule"

[potential.lj]
kind = "lennard-jones"
cutoff = 6.0
epsilon = [0.01, 0.02]
sigma = [3.4, 3.2]
without = ["F-F"]
between_molecules = true

[potential.bond]
kind = "morse"
cutoff = 3.0
depth = 2.0
steepness = 2.0
distance = 1.8

[noise.energy]
known = 0.01
[noise.forces]
known = 0.01
"""
CRYSTAL = """\
[property.salt]
symbols = "ClF"
structure = "rocksalt"
a = 4.5
compute = ["lattice"]
"""
METAL, HERE = get_unit_system("metal"), Path("model.toml")


def gas(*, labels=(1, 1, 2, 2), edge: float = 12.0, dtype: type = int) -> list[Atoms]:
    """Six configurations of two molecules ClF, labels of 0."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(6):
        x = np.array([[0.5, 0.0, 0.0], [2.1, 0.0, 0.0], [-0.3, 3.6, 0.4], [-1.8, 4.0, 0.4]])
        one = Atoms("ClFClF", x + rng.normal(0.0, 0.1, (4, 3)), cell=edge * np.eye(3), pbc=True)
        one.wrap()
        one.calc = SinglePointCalculator(one, energy=0.0, forces=np.zeros((4, 3)))
        if labels is not None:
            one.set_array("molecule", np.array(labels, dtype))
        images.append(one)
    return images


@pytest.fixture
def study(labelled_study):
    """Writes a study folder with a change in the model file."""

    def make(changes: dict[str, str] | None = None, images: list[Atoms] | None = None) -> Path:
        return labelled_study(MODEL, "gas.extxyz", gas() if images is None else images, changes)

    return make


CASES = {
    "labels that are not read": (
        {'molecule_key = "molecule"\n': ""},
        {},
        "key 'potential.lj'",
        "it acts between molecules only",
        "`molecule_key` in [data]",
    ),
    "no such array": (
        {'"molecule"': '"resid"'},
        {},
        "key 'data.molecule_key'",
        "gas.extxyz: configuration 0 has no per-atom array 'resid'",
        "molecule, numbers, positions",
    ),
    "labels that are no whole numbers": (
        {},
        {"labels": (1.5, 1.5, 2.0, 2.0), "dtype": float},
        "key 'data.molecule_key'",
        "dtype float64; expected a whole number for each atom",
    ),
    "a molecule across half the cell": (
        {},
        {"labels": (1, 1, 1, 1), "edge": 7.0},
        "key 'data.molecule_key'",
        "configuration 0: molecule 1 extends over half the shortest lattice vector (7) or more",
    ),
    "pairs of other species": (
        {'"F-F"]': '"Cl-Br"]'},
        {},
        "key 'potential.lj'",
        "`without` names 'Cl-Br'",
        "choose from Cl-Cl, Cl-F, F-F",
    ),
    "an entry for a pair left out": (
        {"[3.4, 3.2]": "[3.4, 3.3, 3.2]"},
        {},
        "key 'potential.lj'",
        "an array of shape (2,), one for each unordered pair of species, without F-F",
    ),
    "properties of a crystal": (
        {"[noise.energy]": f"{CRYSTAL}\n[noise.energy]"},
        {},
        "key 'property.salt'",
        "potential 'lj': it acts between molecules only, and the atoms of a crystal have no label",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_refused(case, study, refused):
    changes, options, *words = CASES[case]
    folder = study(changes, gas(**options))
    refused(["check", folder], str(folder / "model.toml"), *words)


def built(folder: Path):
    data = read_configurations(folder / "gas.extxyz", units=METAL, molecule_key="molecule")
    model = parse_model_file((folder / "model.toml").read_text(), HERE)
    return build_interatomic(model, data.species, path=HERE, configurations=data), data


def test_a_study_of_molecules_is_checked(study):
    folder = study()
    checks = Study.from_file(folder / "model.toml").check()
    assert not [check for check in checks if check.verdict == "failed" and check.name == "effect"]
    potential, data = built(folder)
    assert {k: v.shape for k, v in potential.parameter_values().items()}["lj_epsilon"] == (2,)
    x, energy = data.positions[0], 0.0
    for a, b, kind in ((0, 2, 0), (0, 3, 1), (1, 2, 1)):  # Cl-Cl and Cl-F of the two molecules
        r = np.linalg.norm((x[b] - x[a] + 6.0) % 12.0 - 6.0)
        epsilon, sigma = ((0.01, 3.4), (0.02, 3.2))[kind]
        energy += (
            4.0 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6 - (sigma / 6.0) ** 12 + (sigma / 6.0) ** 6)
        )
    lj = potential.terms[0]
    found = in_data_order(*_predicted(lj, data)).energy[0]
    np.testing.assert_allclose(found, energy, rtol=1e-12)


def _predicted(potential, data):
    batches = environments(data, potential.cutoff, species=potential.species)
    return batches, [predict(potential, batch) for batch in batches]


def test_the_calculator_reads_the_labels_and_lammps_is_refused(study, tmp_path):
    potential, data = built(study())
    draws = PotentialDraws.of_potentials([potential], units=METAL, posterior="calibrated")
    expected = in_data_order(*_predicted(potential, data))
    first, *_ = gas()
    first.calc = calculator = PosteriorCalculator(draws)
    np.testing.assert_allclose(first.get_potential_energy(), expected.energy[0], rtol=1e-7)
    np.testing.assert_allclose(first.get_forces(), expected.forces[:4], atol=1e-6)
    first.positions[0] += 0.05  # within the skin
    moved = first.get_potential_energy()
    assert calculator.neighbours.times_made == 1
    again = first.copy()
    again.calc = PosteriorCalculator(draws)
    np.testing.assert_allclose(moved, again.get_potential_energy(), rtol=1e-10)
    first.set_array("molecule", np.array([1, 2, 3, 4]))
    first.positions[0] += 0.01
    assert first.get_potential_energy() > moved + 0.1 and calculator.neighbours.times_made == 2
    (bare, *_) = gas(labels=None)
    bare.calc = PosteriorCalculator(draws)
    with pytest.raises(InputError, match="calculator: the Atoms object has no per-atom array 'molecule'"):
        bare.get_potential_energy()
    with pytest.raises(InputError, match="export: potential 'lj' acts between molecules only"):
        export_lammps_potentials(draws, tmp_path / "lammps")


def test_lammps_tables_of_species_left_out_are_zero(study, tmp_path):
    potential, _ = built(study({"between_molecules = true\n": ""}))
    draws = PotentialDraws.of_potentials([potential.terms[0]], units=METAL, posterior="calibrated")
    export_lammps_potentials(draws, tmp_path / "lammps", rows=1000)
    tables = {
        pair: np.loadtxt(tmp_path / f"lammps/mean/lj_{pair}.table", skiprows=5)
        for pair in ("Cl-Cl", "Cl-F", "F-F")
    }
    assert not tables["F-F"][:, 2:].any()
    for pair, epsilon in (("Cl-Cl", 0.01), ("Cl-F", 0.02)):
        np.testing.assert_allclose(tables[pair][:, 2].min(), -epsilon, rtol=0.2)
