"""What a model file of labelled configurations can get wrong: one line that names file, key and remedy."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from bayescg.cli import main

MODEL = """\
title = "Dimers"
units = "metal"

[data]
configurations = ["dimers.extxyz"]
held_out_fraction = 0.2

[potential.lj]
kind = "lennard-jones"
epsilon = 0.01
sigma = 3.4
cutoff = 8.0

[prior.lj_sigma]
distribution = "lognormal"
loc = 1.2
scale = 0.1

[noise.energy]
known = 0.001

[noise.forces]
known = 0.01

[property.argon]
symbols = "Ar"
structure = "fcc"
a = 5.2
compute = ["lattice"]
"""


def dimers(*, forces: bool = True, symbol: str = "Ar", energy: float | None = None) -> list[Atoms]:
    """Ten dimers with labels."""
    images = []
    for k, r in enumerate(np.linspace(3.4, 5.0, 10)):
        atoms = Atoms([symbol, "Ar"], positions=[[0, 0, 0], [r, 0, 0]])
        results: dict = {"energy": 0.01 * k if energy is None or k != 3 else energy}
        if forces:
            results["forces"] = np.zeros((2, 3))
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["group"] = "near" if k < 5 else "far"
        images.append(atoms)
    return images


@pytest.fixture
def labelled(labelled_study):
    """Writes a study folder with a change in the model file."""

    def make(changes: dict[str, str] | None = None, images: list[Atoms] | None = None) -> Path:
        return labelled_study(MODEL, "dimers.extxyz", dimers() if images is None else images, changes)

    return make


CASES = {
    "no such file": (
        {'"dimers.extxyz"': '"lost.extxyz"'},
        "key 'data.configurations'",
        "lost.extxyz",
        "no such file",
    ),
    "variable not set": (
        {'"dimers.extxyz"': '"${NOWHERE_AT_ALL}/x.xyz"'},
        "environment variable NOWHERE_AT_ALL",
        "set it",
    ),
    "another file than meant": (
        {"held_out_fraction = 0.2": f'sha256 = ["{"0" * 64}"]'},
        "key 'data.sha256'",
        "is expected",
    ),
    "checksums that do not fit": (
        {"held_out_fraction = 0.2": 'sha256 = ["a", "b"]'},
        "sha256 has 2 entries for 1 files",
    ),
    "both divisions": (
        {"held_out_fraction = 0.2": 'held_out_fraction = 0.2\nheld_out_groups = ["far"]'},
        "not both",
    ),
    "unknown group": (
        {"held_out_fraction = 0.2": 'held_out_groups = ["middle"]'},
        "key 'data.held_out_groups'",
        "middle",
    ),
    "nothing left": ({"held_out_fraction = 0.2": "start = 50"}, "key 'data.start'", "none of 10"),
    "a sampler of runs on frames": (
        {"[noise.energy]": '[inference]\nsampler = "sgld"\n\n[noise.energy]'},
        "key 'inference.sampler': found 'sgld', expected 'nuts'",
        "runs on frames",
        "remove the key",
    ),
    "unknown kind": (
        {'"lennard-jones"': '"lenard-jones"'},
        "potential.lj",
        "lenard-jones",
        "stillinger-weber",
    ),
    "unknown key": ({"epsilon = 0.01": "epsilon = 0.01\nrange = 3"}, "unknown key 'potential.lj.range'"),
    "missing parameter": ({"epsilon = 0.01\n": ""}, "potential.lj.epsilon", "missing"),
    "a text for a number": ({"epsilon = 0.01": 'epsilon = "0.01"'}, "potential.lj.epsilon"),
    "values for pairs that do not fit": (
        {"epsilon = 0.01": "epsilon = [0.01, 0.02]"},
        "key 'potential.lj'",
        "shape (2,)",
    ),
    "vary what is not there": (
        {"cutoff = 8.0": 'cutoff = 8.0\nvary = ["depth"]'},
        "potential.lj.vary",
        "'depth'",
        "epsilon, sigma",
    ),
    "nothing varies": (
        {"cutoff = 8.0": "cutoff = 8.0\nvary = []", "[prior.lj_sigma]": "[prior.none]"},
        "no parameter varies",
    ),
    "prior of what is not there": (
        {"[prior.lj_sigma]": "[prior.lj_gamma]"},
        "key 'prior.lj_gamma'",
        "lj_epsilon, lj_sigma",
    ),
    "prior that allows what is impossible": (
        {'"lognormal"': '"normal"'},
        "key 'prior.lj_sigma'",
        "allows negative values",
    ),
    "value outside its prior": (
        {'"lognormal"\nloc = 1.2\nscale = 0.1': '"uniform"\nlow = 1.0\nhigh = 2.0'},
        "key 'prior.lj_sigma'",
        "outside its prior",
    ),
    "noise both known and learned": (
        {"known = 0.001": "known = 0.001\nlearned = 0.1"},
        "noise.energy",
        "either `learned`",
    ),
    "no noise for forces": (
        {"[noise.forces]\nknown = 0.01\n": ""},
        "data.use names forces",
        "[noise.forces]",
    ),
    "noise for what is not used": (
        {"[noise.forces]": "[noise.stress]\nknown = 0.1\n\n[noise.forces]"},
        "[noise.stress] is given",
    ),
    "noise of something else": ({"[noise.forces]": "[noise.charges]"}, "noise"),
    "a surface without indices": (
        {'["lattice"]': '["surface"]'},
        "property.argon",
        "`surfaces` belongs to 'surface'",
    ),
    "a crystal of another species": ({'symbols = "Ar"': 'symbols = "Xe"'}, "key 'property.argon'", "Xe"),
    "a lattice constant in other units": ({"a = 5.2": "a = 52.0"}, "key 'property.argon'", "no neighbours"),
    "a structure that does not exist": ({'"fcc"': '"fccc"'}, "property.argon.structure"),
    "stress where there is none": (
        {
            "held_out_fraction = 0.2": 'use = ["energy", "forces", "stress"]',
            "[noise.forces]": "[noise.stress]\nknown = 0.1\n\n[noise.forces]",
        },
        "no configuration has a label 'stress'",
    ),
    "a key that no configuration has": (
        {"held_out_fraction = 0.2": 'energy_key = "dft_energy"'},
        "data.energy_key",
        "dft_energy",
    ),
    "infinite number": ({"epsilon = 0.01": "epsilon = inf"}, "potential.lj.epsilon", "finite"),
    "too narrow a Student's t": (
        {"[noise.energy]": '[likelihood]\nfamily = "student-t"\ndegrees_of_freedom = 1.0\n\n[noise.energy]'},
        "likelihood.degrees_of_freedom",
        "above 2",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_model_files(case, labelled, refused, tmp_path):
    changes, *words = CASES[case]
    folder = labelled(changes)
    refused(["run", folder, "-o", tmp_path / "out"], str(folder / "model.toml"), *words)


IMAGES = {
    "no forces": (dimers(forces=False), "key 'data.forces_key'", "no forces in any of 10 configurations"),
    "energies that are no number": (dimers(energy=float("nan")), "key 'data.configurations'", "energy", "not a finite number"),
}  # fmt: skip


@pytest.mark.parametrize("case", IMAGES)
def test_files_of_configurations(case, labelled, refused, tmp_path):
    images, *words = IMAGES[case]
    folder = labelled(images=images)
    refused(["run", folder, "-o", tmp_path / "out"], str(folder / "model.toml"), *words)


def test_species_that_are_not_expected(labelled, refused, tmp_path):
    folder = labelled({"held_out_fraction = 0.2": 'species = ["Ar"]'}, images=dimers(symbol="Kr"))
    refused(["run", folder, "-o", tmp_path / "out"], str(folder / "model.toml"), "Kr")


def test_labels_without_noise_whose_noise_is_to_be_learned(labelled, tmp_path, capsys):
    """A search for ever smaller scales would not end: one line says what to give instead."""
    images = dimers()
    offset = 4 * 0.01 * (3.4 / 8.0) ** 6 * ((3.4 / 8.0) ** 6 - 1)
    for atoms in images:
        attraction = (3.4 / atoms.get_distance(0, 1)) ** 6
        force = 24 * 0.01 / atoms.get_distance(0, 1) * attraction * (2 * attraction - 1)
        energy = 4 * 0.01 * attraction * (attraction - 1) - offset
        atoms.calc = SinglePointCalculator(
            atoms, energy=energy, forces=np.array([[-force, 0, 0], [force, 0, 0]])
        )
    learned = {
        "sigma = 3.4": "sigma = 3.3",
        "known = 0.001": "learned = 0.001",
        "known = 0.01": "learned = 0.01",
    }
    folder = labelled(learned, images)
    assert main(["run", str(folder), "-o", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"{folder / 'model.toml'}: key 'noise'" in told and "NoiseScale(known=...)" in told
