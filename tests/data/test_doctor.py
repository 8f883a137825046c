"""The doctor: silent on clean data, and each mistake that is planted is named."""

import importlib.util
import re
from dataclasses import replace
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from bayescg.data import get_unit_system
from bayescg.data._configurations import Configurations
from bayescg.data._distances import pair_distances
from bayescg.data._doctor import examine
from bayescg.data._read_configurations import read_configurations
from bayescg.errors import InputError

_SPEC = importlib.util.spec_from_file_location("springs", Path(__file__).with_name("springs.py"))
springs = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(springs)

METAL = springs.METAL
CLEAN = springs.clean()
STRAINED = CLEAN.select(group="strain")
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def named(findings, name, *severities):
    severities = severities or ("error", "warning")
    return [f.sentence for f in findings if f.name == name and f.severity in severities]


def bad(findings):
    return [(f.name, f.sentence) for f in findings if f.severity != "note"]


def scaled_forces(data, factor):
    return replace(data, forces=tuple(forces * factor for forces in data.forces))


def with_six(data, six):
    """Stresses from six numbers taken in the order xx yy zz yz xz xy."""
    stress = np.empty_like(data.stress)
    for column, (i, j) in enumerate(VOIGT):
        stress[:, i, j] = stress[:, j, i] = six[:, column]
    return replace(data, stress=stress)


def six_of(data):
    return np.stack([data.stress[:, i, j] for i, j in VOIGT], axis=1)


def test_the_crystal_of_springs_is_right():
    """Its forces and stress are derivatives of its energy."""
    rng = np.random.default_rng(0)
    fractions = springs.FRACTIONS + rng.normal(scale=0.005, size=springs.FRACTIONS.shape)
    _, forces, stress = springs.labels(fractions, springs.CELL)
    move, step = rng.normal(size=fractions.shape), 1e-5
    ends = [
        springs.labels(fractions + s * step * move @ np.linalg.inv(springs.CELL), springs.CELL)[0]
        for s in (1, -1)
    ]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(-np.sum(forces * move), rel=1e-6)
    strain = rng.normal(size=(3, 3))
    strain = strain + strain.T
    ends = [springs.labels(fractions, springs.CELL @ (np.eye(3) + s * step * strain))[0] for s in (1, -1)]
    volume = np.linalg.det(springs.CELL)
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(volume * np.sum(stress * strain), rel=1e-6)


@pytest.mark.parametrize("units", ["metal", "real", "gromacs"])
def test_clean_data_are_clean(units):
    data = CLEAN.to(get_unit_system(units))
    findings = examine(data)
    assert not bad(findings)
    assert "Energies change as forces say" in named(findings, "energies and forces", "note")[0]
    sentence = named(findings, "stress", "note")[0]
    assert "Energies change as stresses say" in sentence and "not testable" not in sentence


def test_order_of_configurations_and_atoms_wrapping_and_shifts_do_not_matter():
    rng = np.random.default_rng(3)
    moved = []
    for k in range(len(CLEAN)):
        hops = rng.integers(-2, 3, (len(CLEAN.positions[k]), 3)) @ CLEAN.cell[k]
        moved.append(CLEAN.positions[k] + hops + rng.normal(size=3))
    data = replace(CLEAN, positions=tuple(moved))[rng.permutation(len(CLEAN))]
    findings = examine(data)
    assert not bad(findings) and "Energies change" in named(findings, "stress", "note")[0]


@pytest.mark.parametrize("seed", range(3))
def test_kinetic_energy_at_one_temperature(seed):
    data = springs.thermal(300, 20, seed=seed)
    assert not bad(examine(data))
    findings = examine(springs.with_kinetic_energy(data, seed=seed + 10))
    assert len(named(findings, "kinetic energy", "error")) == 1


@pytest.mark.parametrize("seed", range(3))
def test_kinetic_energy_that_grows_with_temperature(seed):
    data = Configurations.concatenate(
        [springs.thermal(t, 8, seed=seed + t, group="all") for t in (50, 150, 300, 600)]
    )
    assert not bad(examine(data))
    findings = examine(springs.with_kinetic_energy(data, seed=seed))
    assert "store potential energies" in named(findings, "kinetic energy", "error")[0]


def test_kinetic_energy_of_a_run_that_conserves_the_total():
    """Velocity Verlet; the total energy hardly changes while the forces do work."""
    start = springs.thermal(300, 1, seed=4)
    rng = np.random.default_rng(5)
    mass, dt = 40.0, 0.004
    fractions = start.positions[0] @ np.linalg.inv(springs.CELL)
    acceleration = METAL.force_to_acceleration / mass
    velocity = rng.normal(size=fractions.shape) * np.sqrt(METAL.kT(300.0) * acceleration)
    _, forces, _ = springs.labels(fractions, springs.CELL)
    rows, kinetic = [], []
    for step in range(120):
        velocity += 0.5 * dt * acceleration * forces
        fractions = fractions + dt * velocity @ np.linalg.inv(springs.CELL)
        _, forces, _ = springs.labels(fractions, springs.CELL)
        velocity += 0.5 * dt * acceleration * forces
        if step % 4 == 0:
            rows.append((fractions, springs.CELL, "run", 300.0))
            kinetic.append(0.5 * np.sum(velocity**2) / acceleration)
    data = springs.crystal(rows)
    assert np.std(data.energy + kinetic) < 0.1 * np.std(data.energy)
    assert not bad(examine(data))
    findings = examine(replace(data, energy=data.energy + np.array(kinetic)))
    assert "as total energies of a run do" in named(findings, "kinetic energy", "error")[0]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: scaled_forces(d, -1.0), "wrong sign"),
        (lambda d: scaled_forces(d, 1 / 51.422067), "forces are in hartree/bohr"),
        (lambda d: scaled_forces(d, 1 / 25.711034), "forces are in rydberg/bohr"),
        (lambda d: replace(d, energy=d.energy / 27.211386), "energies are in hartree"),
        (lambda d: replace(d, energy=d.energy * 23.060548), "energies are in kcal/mol"),
        (lambda d: replace(d, energy=d.energy / 32), "energies per atom"),
        (lambda d: scaled_forces(d, 0.2), "settings"),
    ],
)
def test_forces_that_do_not_belong_to_the_energies(spoil, words):
    findings = examine(spoil(CLEAN.without(group="strain")))
    sentences = named(findings, "energies and forces", "error") + named(findings, "kinetic energy", "error")
    assert sentences
    assert all(re.search(words, sentence) for sentence in sentences), sentences
    assert len(sentences) == 2  # one of each group, none between groups that are both wrong


@pytest.mark.parametrize("seed", range(3))
def test_forces_in_another_order_of_the_atoms(seed):
    """The order is turned round, which leaves some forces nearly right: it takes more configurations than a factor does."""
    data = Configurations.concatenate([springs.thermal(t, 80, seed=seed + t) for t in (100, 300)])
    findings = examine(replace(data, forces=tuple(f[::-1] for f in data.forces)))
    sentences = named(findings, "energies and forces", "error") + named(findings, "kinetic energy", "error")
    assert len(sentences) == 2  # one of each group
    assert all(re.search("order of the atoms|order of atoms", sentence) for sentence in sentences), sentences


def test_a_group_from_other_settings():
    """Each group is right by itself, but one lies higher by 0.1 eV per atom."""
    shifted = np.where(np.array(CLEAN.group) == "T300", CLEAN.energy + 3.2, CLEAN.energy)
    findings = examine(replace(CLEAN, energy=shifted))
    assert "groups 'T100' and 'T300'" in named(findings, "energies and forces")[0]
    assert len(bad(findings)) == 1


@pytest.mark.parametrize("order", list(permutations(range(3)))[1:])
def test_shears_in_another_order(order):
    six = six_of(STRAINED)
    findings = examine(with_six(STRAINED, six[:, [0, 1, 2, *(3 + p for p in order)]]))
    names = ", ".join(("yz", "xz", "xy")[p] for p in order)
    sentence = named(findings, "stress", "error")[0]
    assert f"read as yz, xz, xy are {names} " in sentence and "sign" not in sentence


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (-1.0, "sign is a pressure's"),
        (160.21766, "stresses in GPa"),
        (-160.21766, "pressures in GPa"),
        (-1602.1766, "pressures in kbar"),
        (512.0, "not divided by the volume"),
        (-512.0, "virials with a pressure's sign"),
        (3.0, "unit or the volume is wrong"),
    ],
)
def test_stresses_of_another_sign_or_unit(factor, words):
    for units in ("metal", "real", "gromacs"):
        data = STRAINED.to(get_unit_system(units))
        scale = factor
        if abs(factor) == 512.0:
            scale = float(np.sign(factor) * data.volume.mean())
        elif abs(factor) > 100:
            scale = (
                factor / 160.21766 * 1e-4 * data.units.pressure_factor * (1.01325 if units == "real" else 1.0)
            )
        findings = examine(replace(data, stress=data.stress * scale))
        assert words in named(findings, "stress", "error")[0]
        assert len(bad(findings)) == 1


def test_sign_and_order_together():
    six = -1602.1766 * six_of(STRAINED)[:, [0, 1, 2, 5, 3, 4]]
    sentence = named(examine(with_six(STRAINED, six)), "stress", "error")[0]
    assert "are xy, yz, xz" in sentence and "pressures in kbar" in sentence


def test_stresses_that_belong_to_nothing():
    stress = STRAINED.stress[np.random.default_rng(1).permutation(len(STRAINED))]
    assert named(examine(replace(STRAINED, stress=stress)), "stress")


def test_what_can_not_be_tested_is_said():
    apart = springs.thermal(300, 3, seed=1)
    findings = examine(replace(apart, stress=apart.stress))
    assert not bad(findings)
    assert "not testable" in named(findings, "energies and forces", "note")[0]
    assert "not testable" in named(findings, "stress", "note")[0]
    along = STRAINED[np.arange(len(STRAINED)) % 36 < 6]  # along x alone
    sentence = named(examine(along), "stress", "note")[0]
    assert "Energies change as stresses say" in sentence and "order of yz, xz, xy is not testable" in sentence
    bare = replace(CLEAN, stress=np.empty(0), forces=())
    findings = examine(bare)
    assert not named(findings, "stress", "note") and not bad(findings)
    assert "No configuration has forces" in named(findings, "absent labels", "note")[0]


def test_energy_against_stated_temperature_where_pairs_can_not_tell():
    """Atoms in another order in every snapshot: no pair is near, but the mean energy grows twice too fast."""
    data = Configurations.concatenate(
        [springs.thermal(t, 12, seed=t, group="run") for t in (100, 200, 300, 400)]
    )
    rng = np.random.default_rng(2)
    orders = [rng.permutation(n) for n in data.n_atoms]
    data = replace(
        data,
        positions=tuple(x[o] for x, o in zip(data.positions, orders, strict=True)),
        forces=tuple(f[o] for f, o in zip(data.forces, orders, strict=True)),
    )
    findings = examine(data)
    assert not bad(findings) and "not testable" in named(findings, "energies and forces", "note")[0]
    findings = examine(springs.with_kinetic_energy(data, seed=1))
    assert "times 3/2 k_B T between 100 and 400 K" in named(findings, "kinetic energy", "warning")[0]


def test_net_force():
    forces = list(CLEAN.forces)
    forces[5] = forces[5] + np.array([0.05, 0.0, 0.0])
    sentence = named(examine(replace(CLEAN, forces=tuple(forces))), "net force")[0]
    assert (
        "In 1 configurations" in sentence and "configuration 5" in sentence and "1.6 eV/angstrom" in sentence
    )


def test_temperature_labels():
    swapped = replace(
        CLEAN,
        group=("md",) * 24 + ("strain",) * 36,
        temperature=np.where(
            CLEAN.temperature == 100.0, 300.0, np.where(CLEAN.temperature == 300.0, 100.0, np.nan)
        ),
    )
    assert "labelled 300 K have smaller forces" in named(examine(swapped), "temperature labels")[0]
    assert not named(examine(replace(CLEAN, group=("md",) * 24 + ("strain",) * 36)), "temperature labels")


def test_outliers():
    energy = CLEAN.energy.copy()
    energy[3] += 20.0
    assert "(configuration 3: -3.3" in named(examine(replace(CLEAN, energy=energy)), "outlier")[0]
    forces = list(CLEAN.forces)
    push = np.zeros((32, 3))
    push[0, 0], push[1, 0] = 30.0, -30.0
    forces[20] = forces[20] + push
    sentence = named(examine(replace(CLEAN, forces=tuple(forces))), "outlier")[0]
    assert "Largest forces in group 'T300'" in sentence and "configuration 20" in sentence


def test_mixed_units_of_energy():
    energy = np.where(np.arange(len(CLEAN)) % 3 == 0, CLEAN.energy / 27.211386, CLEAN.energy)
    sentence = named(examine(replace(CLEAN, energy=energy)), "mixed units", "error")[0]
    assert "of 20 configurations (0, 3, 6" in sentence and "eV and hartree" in sentence


def test_duplicates():
    again = CLEAN[[4, 30]]
    order = np.random.default_rng(0).permutation(32)
    shuffled = replace(
        again,
        positions=(again.positions[0] + 1e-9, again.positions[1][order] + 3 * again.cell[1, 0]),
        forces=(again.forces[0], again.forces[1][order]),
    )
    findings = examine(Configurations.concatenate([CLEAN, shuffled]))
    assert "2 configurations repeat an earlier one" in named(findings, "duplicates", "warning")[0]
    assert "4 and 60, 30 and 61" in named(findings, "duplicates", "warning")[0]
    assert not named(findings, "duplicates", "error")
    other = replace(shuffled, energy=shuffled.energy + np.array([0.0, 0.5]))
    findings = examine(Configurations.concatenate([CLEAN, other]))
    assert (
        "Configurations 30 and 61 are the same, but their energies differ by 0.5 eV"
        in (named(findings, "duplicates", "error")[0])
    )


def binary(counts, **change):
    """Clusters of so many atoms of two species."""
    rng = np.random.default_rng(9)
    types = [np.repeat([0, 1], pair) for pair in counts]
    n = len(counts)
    grid = np.array(np.meshgrid(*[[0.0, 2.5, 5.0]] * 3)).reshape(3, -1).T
    arguments = {
        "species": ("C", "H"),
        "positions": tuple(grid[: len(t)] + rng.normal(scale=0.1, size=(len(t), 3)) for t in types),
        "types": tuple(types),
        "cell": np.zeros((n, 3, 3)),
        "periodic": np.zeros((n, 3), bool),
        "units": METAL,
        "energy": np.array([-9.0 * a - 2.0 * b for a, b in counts]),
    }
    return Configurations(**arguments | change)


def test_reference_energies_that_can_not_be_told_apart():
    sentence = named(examine(binary([(1, 4), (2, 8), (3, 12)])), "reference energies")[0]
    assert "numbers of C, H vary in 1 independent way only" in sentence
    assert not named(examine(binary([(1, 4), (2, 6), (3, 8)])), "reference energies")
    assert "has H" in named(examine(binary([(1, 0), (2, 0)])), "reference energies")[0]


def test_displacements_of_single_atoms_are_clean():
    """As for phonons: tiny differences of energy, and labels rounded as programs round them."""
    shifts = [(a, d, s) for a in range(4) for d in range(3) for s in (0.01, -0.01)]
    rows = [(springs.FRACTIONS, springs.CELL, "phonons", np.nan)]
    for atom, axis, size in shifts:
        move = np.zeros((32, 3))
        move[atom, axis] = size
        rows.append((springs.FRACTIONS + move @ np.linalg.inv(springs.CELL), springs.CELL, "phonons", np.nan))
    data = springs.crystal(rows)
    rng = np.random.default_rng(0)
    rounded = replace(
        data,
        energy=data.energy + 1e-5 * rng.normal(size=len(data)),
        forces=tuple(forces + 1e-3 * rng.normal(size=(32, 3)) for forces in data.forces),
    )
    assert not bad(examine(data)) and not bad(examine(rounded))
    assert "wrong sign" in named(examine(scaled_forces(rounded, -1.0)), "energies and forces", "error")[0]


def test_cells_and_distances():
    findings = examine(CLEAN, cutoff=5.0)
    assert "of 5 angstrom: 60 of 60" in named(findings, "small cells", "note")[0]
    assert not named(examine(CLEAN, cutoff=3.5), "small cells", "note")
    assert "No pair Ar-Ar is closer than 2." in named(findings, "distances", "note")[0]
    assert (
        "No pair Ar-Ar visits the distances 2.9-3.8" in named(examine(STRAINED, cutoff=5.0), "distances")[0]
    )
    open_ones = binary([(1, 4), (2, 6), (3, 8)])
    findings = examine(open_ones, cutoff=2.0)
    assert "No two atoms C-H come within the cutoff of 2 angstrom" in " ".join(named(findings, "distances"))
    assert not named(findings, "small cells", "note")
    near = binary(
        [(1, 1), (2, 2)], positions=(np.array([[0, 0, 0], [0.2, 0, 0]]), open_ones.positions[2][:4])
    )
    assert "0.2 angstrom apart" in named(examine(near, cutoff=3.0), "distances", "error")[0]


def test_distances_count_images():
    """One atom in a cubic cell of edge 3 sees its images at 3, 3√2, 3√3 and 6."""
    one = Configurations(
        species=("Ar",), positions=(np.zeros((1, 3)),), types=(np.zeros(1, int),), cell=3 * np.eye(3)[None],
        periodic=np.ones((1, 3), bool), units=METAL,
    )  # fmt: skip
    _, _, distance = pair_distances(one, 0, 6.1)
    shells = {round(float(r), 6): int((np.abs(distance - r) < 1e-9).sum()) for r in distance}
    assert shells == {3.0: 6, 4.242641: 12, 5.196152: 8, 6.0: 6}


def test_absent_labels_and_bad_cutoffs():
    energy = CLEAN.energy.copy()
    energy[[2, 3]] = np.nan
    findings = examine(replace(CLEAN, energy=energy, forces=(None, *CLEAN.forces[1:])))
    sentences = " ".join(named(findings, "absent labels", "note"))
    assert (
        "2 of 60 configurations have no energy (2, 3)" in sentences
        and "1 of 60 configurations have no forces" in sentences
    )
    assert not bad(findings)
    with pytest.raises(InputError, match="cutoff is -1"):
        examine(CLEAN, cutoff=-1.0)


def test_small_and_strange_sets_raise_nothing():
    one = CLEAN[:1]
    assert not bad(examine(one, cutoff=5.0)[:0]) and examine(one)
    assert examine(binary([(1, 0)]), cutoff=3.0)
    assert examine(replace(CLEAN, energy=np.empty(0)))
    assert examine(replace(CLEAN, forces=tuple(np.zeros((32, 3)) for _ in range(60))))


def test_a_scan_of_a_dimer_is_clean():
    """Lennard-Jones argon from the wall to far out: strongly anharmonic, through its inflection point."""
    r = np.linspace(3.2, 8.0, 60)
    epsilon, sigma = 0.0103, 3.4
    energy = 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)
    force = 4 * epsilon * (12 * (sigma / r) ** 12 - 6 * (sigma / r) ** 6) / r
    scan = Configurations(
        species=("Ar",),
        positions=tuple(np.array([[0.0, 0, 0], [x, 0, 0]]) for x in r),
        types=(np.zeros(2, int),) * 60,
        cell=np.zeros((60, 3, 3)),
        periodic=np.zeros((60, 3), bool),
        units=METAL,
        energy=energy,
        forces=tuple(np.array([[-f, 0, 0], [f, 0, 0]]) for f in force),
    )
    findings = examine(scan)
    assert (
        not bad(findings)
        and "Energies change as forces say" in named(findings, "energies and forces", "note")[0]
    )
    assert "wrong sign" in named(examine(scaled_forces(scan, -1.0)), "energies and forces", "error")[0]


@cache
def read_once(path, options):
    return read_configurations(path, units=METAL, **dict(options))


def reference(shared_data, name, **options):
    pytest.importorskip("ase", reason="ASE is not installed (pip install ase)")
    return read_once(shared_data / "dft" / f"{name}.extxyz.gz", tuple(options.items()))


@pytest.mark.parametrize("name", ["si_sw_lammps", "maml_Ta", "maml_W", "mlearn_Si"])
def test_reference_sets_are_clean(shared_data, name):
    findings = examine(reference(shared_data, name), cutoff=5.0)
    assert not bad(findings)
    assert named(findings, "energies and forces", "note") and named(findings, "stress", "note")


def test_kinetic_energy_in_the_silicon_set(shared_data):
    data = reference(shared_data, "si_sw_lammps")
    temperature = {"md300": 300.0, "md900": 900.0, "md1600": 1600.0}
    hot = replace(data, temperature=np.array([temperature.get(name, 0.0) for name in data.group]))
    sentences = named(examine(springs.with_kinetic_energy(hot, seed=1)), "kinetic energy", "error")
    assert [any(f"{name!r}" in s for s in sentences) for name in temperature] == [True, True, True]


@pytest.mark.parametrize("name", ["maml_Ta", "mlearn_Si"])
def test_stresses_as_stored_upstream(shared_data, name):
    """Both sets were published as pressures in kbar in the order xx yy zz xy yz zx."""
    findings = examine(reference(shared_data, name, stress_key="virial_stress_kbar"))
    sentence = named(findings, "stress", "error")[0]
    assert "are xy, yz, xz " in sentence and "pressures in kbar" in sentence


def test_temperatures_in_the_text_of_the_silicon_vacancies(shared_data):
    data = reference(shared_data, "mlearn_Si", temperature_key="description")
    assert "labelled 3374 K have smaller forces" in named(examine(data), "temperature labels")[0]
