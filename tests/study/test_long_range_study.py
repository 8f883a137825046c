"""Long-range Coulomb terms in model files: one that runs, and what can be wrong with one."""

from pathlib import Path

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from bayescg.data import get_unit_system, read_configurations
from bayescg.errors import InputError
from bayescg.physics import LongRangeCoulomb, environments, in_data_order, predict
from bayescg.study._interatomic_build import build_interatomic
from bayescg.study._read import parse_model_file

MODEL = """\
title = "Rock salt"
units = "metal"

[data]
configurations = ["salt.extxyz"]
use = ["energy", "forces", "stress"]

[potential.ions]
kind = "long-range-coulomb"
cutoff = 4.0
charges = { Na = 0.9, Cl = -0.9 }
formulas = ["NaCl"]
coulomb = 14.399645
accuracy = 1e-4
vary = ["charges"]

[prior.ions_charges]
distribution = "normal"
loc = -0.8
scale = 0.2

[noise.energy]
known = 0.01
[noise.forces]
known = 0.01
[noise.stress]
known = 0.001
"""
PHONONS = """\
[property.salt]
symbols = "NaCl"
structure = "rocksalt"
a = 5.6
compute = ["phonons"]
path = "GX"
"""
HERE = Path("model.toml")


def crystals(*, symbols: str = "NaCl", atoms: int = 2, pbc: bool = True) -> list[Atoms]:
    """Six disordered crystals with labels of 0."""
    rng = np.random.default_rng(0)
    images = []
    for k in range(6):
        one = bulk(symbols, "rocksalt", a=5.5 + 0.05 * k).repeat((2, 1, 1))
        one = one[: len(one) - 2 + atoms]
        one.positions += rng.normal(0.0, 0.1, one.positions.shape)
        one.pbc = pbc
        zero = {"energy": 0.0, "forces": np.zeros((len(one), 3))} | ({"stress": np.zeros(6)} if pbc else {})
        one.calc = SinglePointCalculator(one, **zero)
        images.append(one)
    return images


@pytest.fixture
def study(labelled_study):
    """Writes a study folder with a change in the model file."""

    def make(changes: dict[str, str] | None = None, images: list[Atoms] | None = None) -> Path:
        return labelled_study(MODEL, "salt.extxyz", crystals() if images is None else images, changes)

    return make


CASES = {
    "charge of another species": (
        {"{ Na = 0.9, Cl = -0.9 }": "{ Na = 0.9, Cl = -0.9, K = 1.0 }"},
        "key 'potential.ions'",
        "`charges` name K, the species are Cl, Na",
    ),
    "charge that is missing": (
        {"{ Na = 0.9, Cl = -0.9 }": "{ Na = 0.9 }"},
        "key 'potential.ions'",
        "`charges` lack Cl",
    ),
    "charges that are no numbers": (
        {"{ Na = 0.9, Cl = -0.9 }": '{ Na = "0.9", Cl = -0.9 }'},
        "key 'potential.ions.charges.Na'",
    ),
    "charges that do not add up": (
        {"Cl = -0.9": "Cl = -0.8"},
        "key 'potential.ions'",
        "NaCl has a net charge of 0.1",
    ),
    "no formulas": ({'formulas = ["NaCl"]\n': ""}, "key 'potential.ions.formulas' is missing"),
    "a formula of another species": ({'["NaCl"]': '["KCl"]'}, "key 'potential.ions'", "'KCl'", "contains K"),
    "negative accuracy": (
        {"accuracy = 1e-4": "accuracy = -1e-4"},
        "key 'potential.ions.accuracy'",
        "a number above 0",
    ),
    "accuracy beyond what numbers have": (
        {"accuracy = 1e-4": "accuracy = 1e-20"},
        "key 'potential.ions'",
        "accuracy 1e-20 must lie between",
    ),
    "phonons": (
        {"[noise.energy]": f"{PHONONS}\n[noise.energy]"},
        "key 'property.salt'",
        "phonons: potential 'ions' reaches beyond every cutoff",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_model_files(case, study, refused, tmp_path):
    changes, *words = CASES[case]
    folder = study(changes)
    refused(["run", folder, "-o", tmp_path / "out"], str(folder / "model.toml"), *words)


def built(folder: Path):
    data = read_configurations(folder / "salt.extxyz", units=get_unit_system("metal"))
    model = parse_model_file((folder / "model.toml").read_text(), HERE)
    return build_interatomic(model, data.species, path=HERE, configurations=data), data


def test_the_potential_of_a_model_file(study):
    potential, data = built(study())
    assert isinstance(potential, LongRangeCoulomb)
    assert potential.species == ("Cl", "Na") and list(potential.parameter_values()) == ["ions_charges"]
    np.testing.assert_allclose(potential.species_charges(), [-0.9, 0.9])
    found = environments(data, potential.cutoff, species=potential.species, n_widths=1)
    energy = in_data_order(found, [jax.jit(predict)(potential, batch) for batch in found]).energy
    np.testing.assert_allclose(energy / 2, -1.7476 * 0.81 * 14.4 * 2 / (5.5 + 0.05 * np.arange(6)), rtol=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"atoms": 1}, "configurations of ClNa2 are not neutral: they are not made of NaCl"),
        ({"pbc": False}, "configuration 0 is not periodic along all edges"),
    ],
)
def test_data_that_do_not_suit(study, options, words):
    folder = study(images=crystals(**options))
    with pytest.raises(InputError, match=f"^model.toml: key 'potential.ions': potential 'ions': {words}"):
        built(folder)


def test_a_library_that_is_missing(study, refused, tmp_path, monkeypatch):
    folder = study()
    monkeypatch.setattr("bayescg.physics._ewald.importlib.util.find_spec", lambda name: None)
    words = "key 'potential.ions'", "jax-pme, which is not installed: pip install 'bayescg[electrostatics]'"
    refused(["run", folder, "-o", tmp_path / "out"], str(folder / "model.toml"), *words)
