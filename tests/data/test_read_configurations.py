"""Labelled configurations from files: whatever the name, place and shape of the labels, the same numbers come out."""

import gzip

import numpy as np
import pytest

from bayescg.data import get_unit_system
from bayescg.data._read_configurations import read_configurations
from bayescg.errors import InputError

ase = pytest.importorskip("ase", reason="ASE is not installed (pip install ase)")

METAL = get_unit_system("metal")
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def images(n=4, *, calculated=("energy", "forces", "stress")):
    """Sodium chloride in a skewed cell; `truth` is what reading must give."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    rng = np.random.default_rng(5)
    made, truth = [], []
    for k in range(n):
        cell = 6.0 * np.eye(3) + rng.normal(scale=0.3, size=(3, 3))
        symbols = ["Na", "Cl"] * (k + 1)
        stress = rng.normal(scale=0.01, size=(3, 3))
        labels = {
            "energy": float(-3.0 * len(symbols) + rng.normal()),
            "forces": rng.normal(size=(len(symbols), 3)),
            "stress": 0.5 * (stress + stress.T),
        }
        image = Atoms(symbols, positions=rng.uniform(0, 6, (len(symbols), 3)), cell=cell, pbc=True)
        image.info |= {
            "group": "even" if k % 2 == 0 else "odd",
            "share": 0.5 + k,
            "origin": f"run {k} at {300 + k} K",
        }
        results = {name: labels[name] for name in calculated}
        if "stress" in results:
            results["stress"] = np.array([labels["stress"][place] for place in VOIGT])
        if results:
            image.calc = SinglePointCalculator(image, **results)
        made.append(image)
        truth.append(labels)
    return made, truth


def check(data, truth, *, factor=1.0):
    assert data.energy == pytest.approx([t["energy"] * factor for t in truth], rel=1e-7)
    for k, t in enumerate(truth):
        assert data.forces[k] == pytest.approx(t["forces"] * factor, abs=1e-7 * factor)
        assert data.stress[k] == pytest.approx(t["stress"] * factor, abs=1e-9 * factor)


def save(path, made, **options):
    from ase.io import write

    write(path, made, **options)
    return path


@pytest.mark.parametrize("name", ["data.extxyz", "data.extxyz.gz", "data.xyz", "data.traj", "data.json"])
def test_what_ase_wrote_comes_back(tmp_path, name):
    made, truth = images()
    data = read_configurations(save(tmp_path / name, made), units=METAL)
    check(data, truth)
    assert data.species == ("Cl", "Na") and data.n_atoms.tolist() == [2, 4, 6, 8]
    assert [data.species[t] for t in data.types[0]] == ["Na", "Cl"]
    for k, image in enumerate(made):
        assert data.positions[k] == pytest.approx(image.positions, abs=1e-7)
        assert data.cell[k] == pytest.approx(image.cell.array, abs=1e-7)
    assert data.periodic.all() and data.volume == pytest.approx([image.get_volume() for image in made])


@pytest.mark.parametrize("shape", ["voigt", "nine", "matrix"])
def test_labels_under_other_names(tmp_path, shape):
    made, truth = images(calculated=())
    for image, labels in zip(made, truth, strict=True):
        image.info["dft_energy"] = labels["energy"]
        image.arrays["dft_forces"] = labels["forces"]
        six = np.array([labels["stress"][place] for place in VOIGT])
        image.info["dft_stress"] = {
            "voigt": six,
            "nine": labels["stress"].ravel(),
            "matrix": labels["stress"],
        }[shape]
    path = save(tmp_path / "data.extxyz", made)
    keys = {"energy_key": "dft_energy", "forces_key": "dft_forces", "stress_key": "dft_stress"}
    check(read_configurations(path, units=METAL, **keys), truth)
    with pytest.raises(
        InputError, match=r"no energy in any of 4 configurations; found .*dft_energy.* energy_key"
    ):
        read_configurations(path, units=METAL)
    with pytest.raises(InputError, match=r"no forces in any of 4 configurations; found dft_forces instead"):
        read_configurations(path, units=METAL, energy_key="dft_energy")
    with pytest.raises(
        InputError, match=r"no stress under the key 'dft_stess' in any of 4 .*found dft_stress"
    ):
        read_configurations(path, units=METAL, **keys | {"stress_key": "dft_stess"})
    with pytest.raises(InputError, match=r"dft_stress is of shape .* expected one number"):
        read_configurations(path, units=METAL, energy_key="dft_stress")


@pytest.mark.parametrize("key", ["virial", "virials", "dft_virial"])
def test_a_virial_is_minus_stress_times_volume(tmp_path, key):
    made, truth = images(calculated=("energy", "forces"))
    for image, labels in zip(made, truth, strict=True):
        image.info[key] = -labels["stress"] * image.get_volume()
    path = save(tmp_path / "data.extxyz", made)
    given = key if key.startswith("dft") else None
    check(read_configurations(path, units=METAL, stress_key=given), truth)


def test_the_virial_of_an_ideal_pair_has_the_sign_of_its_pressure(tmp_path):
    """Two atoms that push each other apart press on the cell: Σ r ⊗ F is positive and the stress negative."""
    from ase import Atoms

    image = Atoms("Ar2", positions=[[0, 0, 0], [3, 0, 0]], cell=[20, 20, 20], pbc=True)
    forces = np.array([[-1.0, 0, 0], [1.0, 0, 0]])
    image.info |= {"energy": 1.0, "virial": image.positions.T @ forces}
    image.arrays["forces"] = forces
    data = read_configurations(save(tmp_path / "pair.extxyz", [image]), units=METAL)
    assert data.stress[0, 0, 0] == pytest.approx(-3.0 / 8000.0)


def test_groups_weights_temperatures(tmp_path):
    made, _ = images()
    path = save(tmp_path / "data.extxyz", made)
    plain = read_configurations(path, units=METAL)
    assert plain.group == ("even", "odd", "even", "odd") and plain.weight.tolist() == [1.0] * 4
    assert np.isnan(plain.temperature).all()
    data = read_configurations(
        path,
        units=METAL,
        group_key="origin",
        weight_key="share",
        temperature_key="origin",
        index=slice(1, None),
    )
    assert data.group[0] == "run 1 at 301 K" and data.weight.tolist() == [1.5, 2.5, 3.5]
    assert data.temperature.tolist() == [301.0, 302.0, 303.0]
    with pytest.raises(
        InputError, match="have no info key 'kind' for their group; that one has group, share, origin"
    ):
        read_configurations(path, units=METAL, group_key="kind")
    with pytest.raises(InputError, match="no info key 'importance'"):
        read_configurations(path, units=METAL, weight_key="importance")
    with pytest.raises(InputError, match="no configuration has the info key 'T'"):
        read_configurations(path, units=METAL, temperature_key="T")
    with pytest.raises(InputError, match="configuration 0 has group='even'; expected a number"):
        read_configurations(path, units=METAL, weight_key="group")


@pytest.mark.parametrize(("name", "energy"), [("real", 23.060548), ("gromacs", 96.485332)])
def test_other_units(tmp_path, name, energy):
    made, truth = images()
    path = save(tmp_path / "data.extxyz", made)
    data, metal = (
        read_configurations(path, units=get_unit_system(name)),
        read_configurations(path, units=METAL),
    )
    length = 0.1 if name == "gromacs" else 1.0
    assert data.energy == pytest.approx(metal.energy * energy, rel=1e-7)
    assert data.positions[2] == pytest.approx(metal.positions[2] * length)
    assert data.forces[2] == pytest.approx(metal.forces[2] * energy / length, rel=1e-7)
    assert data.stress[2] == pytest.approx(metal.stress[2] * energy / length**3, rel=1e-7)
    assert data.to(METAL).energy == pytest.approx(metal.energy, rel=1e-13)
    with pytest.raises(InputError, match="data.extxyz: .*reduced units"):
        read_configurations(path, units=get_unit_system("lj"))


def test_species_that_are_expected(tmp_path):
    path = save(tmp_path / "data.extxyz", images()[0])
    data = read_configurations(path, units=METAL, species=("Na", "K", "Cl"))
    assert data.species == ("Cl", "K", "Na") and data.composition[:, 1].tolist() == [0, 0, 0, 0]
    with pytest.raises(InputError, match="species Na in configuration 0 .* expected Cl only"):
        read_configurations(path, units=METAL, species=["Cl"])


def test_open_directions(tmp_path, caplog):
    made, _ = images(2)
    made[1].pbc = (True, True, False)
    path = save(tmp_path / "data.extxyz", made)
    data = read_configurations(path, units=METAL)
    assert (
        (data.cell[1, 2] == 0).all() and np.isnan(data.stress[1]).all() and np.isfinite(data.stress[0]).all()
    )
    assert "stress of 1 configurations (first: 1) is left out" in caplog.text
    with pytest.raises(InputError, match=r"configuration 1: has stress but an open direction"):
        read_configurations(path, units=METAL, stress_key="stress")
    with pytest.raises(InputError, match="no stress in 1 of 2 configurations"):
        read_configurations(path, units=METAL, require=("energy", "forces", "stress"))


def test_some_have_labels_and_some_not(tmp_path):
    with_forces, without = images(2)[0], images(3, calculated=("energy",))[0]
    path = save(tmp_path / "data.extxyz", [*with_forces, *without])
    with pytest.raises(InputError, match=r"no forces in 3 of 5 configurations \(first: configuration 2\)"):
        read_configurations(path, units=METAL)
    data = read_configurations(path, units=METAL, require=("energy",))
    assert data.has_forces.tolist() == [True, True, False, False, False]
    assert np.isnan(data.stress[2:]).all() and np.isfinite(data.stress[:2]).all()
    assert len(read_configurations(save(tmp_path / "bare.cif", images(1)[0]), units=METAL, require=())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("energy=", "energy=nan old=", 2).replace("energy=nan old=", "energy=", 1),
         "configuration 1: energy is not a finite number"),
        (lambda text: text[: 2 * len(text) // 3], "can't be read"),
        (lambda text: "no atoms at all", "can't be read"),
        (lambda text: "", "can't be read|holds no configuration"),
        (lambda text: text.replace("Na ", "Qq "), "can't be read"),
    ],
)  # fmt: skip
def test_files_that_can_not_be_used(tmp_path, change, message):
    path = save(tmp_path / "data.extxyz", images()[0])
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message) as caught:
        read_configurations(path, units=METAL)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_not_there_or_not_whole(tmp_path):
    with pytest.raises(InputError, match=r"gone\.extxyz: no such file"):
        read_configurations(tmp_path / "gone.extxyz", units=METAL)
    with pytest.raises(InputError, match="no such file"):
        read_configurations(tmp_path, units=METAL)
    path = save(tmp_path / "data.extxyz.gz", images()[0])
    with pytest.raises(InputError, match="holds no configuration"):
        read_configurations(path, units=METAL, index=slice(10, None))
    with pytest.raises(InputError, match="require names force; expected some of energy, forces, stress"):
        read_configurations(path, units=METAL, require=("force",))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="can't be read"):
        read_configurations(path, units=METAL)
    path.write_bytes(b"not compressed")
    with pytest.raises(InputError, match="can't be read"):
        read_configurations(path, units=METAL)
    unknown = tmp_path / "data.unknown"
    unknown.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="can't be read"):
        read_configurations(unknown, units=METAL)


def test_forces_that_are_not_numbers(tmp_path):
    made, truth = images(2, calculated=("energy",))
    for image, labels in zip(made, truth, strict=True):
        image.arrays["forces"] = labels["forces"]
    made[1].arrays["forces"][2, 1] = np.nan
    path = save(tmp_path / "data.extxyz", made)
    with pytest.raises(InputError, match="configuration 1: forces of atom 2 is not a finite number"):
        read_configurations(path, units=METAL)


def test_fixed_atoms_keep_their_forces(tmp_path):
    """ASE would set the forces of atoms that were held fixed to zero."""
    from ase.constraints import FixAtoms

    made, truth = images(1)
    made[0].set_constraint(FixAtoms([0]))
    data = read_configurations(save(tmp_path / "data.traj", made), units=METAL)
    assert data.forces[0] == pytest.approx(truth[0]["forces"])


@pytest.mark.parametrize(("name", "number"), [("si_sw_lammps", 216), ("mlearn_Si", 239), ("maml_Ta", 364)])
def test_reference_files(shared_data, name, number):
    path = shared_data / "dft" / f"{name}.extxyz.gz"
    data = read_configurations(path, units=METAL, require=("energy", "forces", "stress"))
    assert len(data) == number and np.isfinite(data.energy).all() and np.isfinite(data.stress).all()
    with gzip.open(path, "rt") as file:
        n_atoms, header = int(file.readline()), file.readline()
    assert data.n_atoms[0] == n_atoms and f"group={data.group[0]} " in header
    assert f"energy={data.energy[0]}" in header
