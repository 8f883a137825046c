"""Labelled configurations: shapes hold, units change nothing, splits keep groups, errors name the place."""

import dataclasses

import numpy as np
import pytest

from bayescg.data import get_unit_system
from bayescg.data._configuration_splits import split_configurations, split_groups
from bayescg.data._configurations import Configurations
from bayescg.errors import InputError

METAL = get_unit_system("metal")


def make(sizes=(3, 1, 2, 4), **change):
    """Configurations of oxygen and silicon, the second one a lone atom in the open."""
    rng = np.random.default_rng(7)
    n = len(sizes)
    periodic = np.ones((n, 3), bool)
    periodic[1:2] = False
    stress = rng.normal(size=(n, 3, 3))
    stress = stress + stress.transpose(0, 2, 1)
    stress[1:2] = np.nan
    arguments = {
        "species": ("O", "Si"),
        "positions": tuple(rng.uniform(0, 5, (k, 3)) for k in sizes),
        "types": tuple(rng.integers(0, 2, k) for k in sizes),
        "cell": (np.eye(3) * 5.0 + rng.normal(scale=0.2, size=(n, 3, 3))) * periodic[:, :, None],
        "periodic": periodic,
        "units": METAL,
        "energy": np.array([-3.0, -0.5, np.nan, -4.0])[:n],
        "forces": tuple(None if k == 1 else rng.normal(size=(size, 3)) for k, size in enumerate(sizes)),
        "stress": stress,
        "group": ("bulk", "atom", "bulk", "hot")[:n],
        "weight": np.array([1.0, 2.0, 0.0, 0.5])[:n],
        "temperature": np.array([300.0, np.nan, 300.0, 900.0])[:n],
    }
    return Configurations(**arguments | change)


def test_slices_masks_and_groups():
    data = make()
    assert len(data) == data.n_configurations == 4 and data.n_atoms.tolist() == [3, 1, 2, 4]
    assert data[1:3].n_atoms.tolist() == [1, 2] and data[::-1].group == ("hot", "bulk", "atom", "bulk")
    picked = data[np.array([3, 0])]
    assert picked.energy.tolist() == [-4.0, -3.0] and np.array_equal(picked.forces[1], data.forces[0])
    assert data[data.weight > 0].n_atoms.tolist() == [3, 1, 4]
    assert data.select(group="bulk").n_atoms.tolist() == [3, 2]
    assert data.select(group=["hot", "atom"]).group == ("atom", "hot")
    assert data.without(group="bulk").group == ("atom", "hot") and data.groups == ("bulk", "atom", "hot")
    assert data.composition.sum(axis=1).tolist() == [3, 1, 2, 4] and data.composition.shape == (4, 2)
    assert np.isinf(data.volume[1]) and np.isfinite(data.volume[[0, 2, 3]]).all()
    assert data.has_forces.tolist() == [True, False, True, True]
    with pytest.raises(InputError, match="no group 'cold'; there are 'bulk', 'atom', 'hot'"):
        data.select(group="cold")
    with pytest.raises(InputError, match="none given"):
        data.without(group=("bulk", "atom", "hot"))
    with pytest.raises(InputError, match="none given"):
        data[4:]
    with pytest.raises(InputError, match="mask of shape"):
        data[np.array([True, False])]
    with pytest.raises(TypeError, match=r"configurations\[2:3\]"):
        data[2]


def test_nothing_changes_under_the_hand():
    positions = np.zeros((1, 3))
    data = make(sizes=(1,), positions=(positions,))
    positions[0, 0] = 9.0
    assert data.positions[0][0, 0] == 0.0
    for array in (data.positions[0], data.energy, data.cell, data.stress, data.types[0], data.forces[0]):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.energy = np.zeros(1)


def test_absent_labels_have_one_form():
    data = make(
        energy=np.empty(0), forces=(), stress=np.empty(0), group=(), weight=np.empty(0), temperature=[]
    )
    assert np.isnan(data.energy).all() and data.forces == (None,) * 4 and np.isnan(data.stress).all()
    assert (
        data.group == ("all",) * 4 and data.weight.tolist() == [1.0] * 4 and np.isnan(data.temperature).all()
    )


def test_concatenate_merges_species():
    data = make()
    other = make(species=("C", "Si"), group=("new",) * 4)
    joined = Configurations.concatenate([data, other])
    assert joined.species == ("C", "O", "Si") and len(joined) == 8
    for part, rows in ((data, joined[:4]), (other, joined[4:])):
        for a, b in zip(part.types, rows.types, strict=True):
            assert [part.species[t] for t in a] == [joined.species[t] for t in b]
    assert Configurations.concatenate([data[:2], data[2:]]).checksum() == data.checksum()
    with pytest.raises(InputError, match="part 1 is in real units"):
        Configurations.concatenate([data, data.to(get_unit_system("real"))])
    with pytest.raises(InputError, match="at least one"):
        Configurations.concatenate([])


@pytest.mark.parametrize("name", ["real", "gromacs", "metal"])
def test_units_change_nothing(name):
    """Force times length over energy, stress times volume over energy, and there and back again."""
    data = make()
    other = data.to(get_unit_system(name))
    known = np.array([0, 3])
    assert other.units.name == name
    for k in known:
        ratio = (data.forces[k] * data.positions[k]).sum() / data.energy[k]
        assert (other.forces[k] * other.positions[k]).sum() / other.energy[k] == pytest.approx(
            ratio, rel=1e-12
        )
    work = data.stress[known] * (data.volume / data.energy)[known, None, None]
    assert other.stress[known] * (other.volume / other.energy)[known, None, None] == pytest.approx(
        work, rel=1e-12
    )
    pressure = data.units.pressure_factor * np.trace(data.stress[0]) * 1e5
    factor = {"metal": 1e5, "gromacs": 1e5, "real": 101325.0}[name]
    assert other.units.pressure_factor * np.trace(other.stress[0]) * factor == pytest.approx(
        pressure, rel=1e-9
    )
    back = other.to(METAL)
    for a, b in ((data.energy, back.energy), (data.stress, back.stress), (data.cell, back.cell)):
        assert np.allclose(a, b, rtol=1e-13, atol=0, equal_nan=True)
    assert back.group == data.group and back.forces[1] is None
    with pytest.raises(InputError, match="reduced units"):
        data.to(get_unit_system("lj"))


def test_checksum_sees_every_change():
    data = make()
    assert data.checksum() == make().checksum()
    moved = data.positions[0].copy()
    moved[0, 0] += 1e-12
    others = [
        make(positions=(moved, *data.positions[1:])),
        make(energy=data.energy + 1e-9),
        make(forces=(None,) * 4),
        make(group=("a",) * 4),
        make(weight=data.weight + 1),
        make(species=("O", "Zr")),
        data[::-1],
    ]
    assert len({data.checksum(), *(other.checksum() for other in others)}) == len(others) + 1


def test_isolated_atoms():
    data = make(types=(np.zeros(3, int), np.array([1]), np.zeros(2, int), np.zeros(4, int)))
    assert data.isolated_atom_energies() == {"Si": -0.5}
    assert data.isolated_atom_energies(group="atom") == {"Si": -0.5}
    assert data.isolated_atom_energies(group="bulk") == {}


def wrong_types():
    types = list(make().types)
    types[2] = np.array([0, 2])
    return tuple(types)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"positions": tuple(np.zeros((k, 2)) for k in (3, 1, 2, 4))},
            r"configuration 0 have shape \(3, 2\)",
        ),
        ({"positions": (*make().positions[:3], np.full((4, 3), np.nan))}, "atom 0 in configuration 3"),
        ({"positions": (np.empty((0, 3)), *make().positions[1:])}, "one atom or more"),
        ({"positions": ()}, "none given"),
        ({"types": make().types[:3]}, "3 entries of types for 4"),
        ({"types": wrong_types()}, "configuration 2 has an atom of species index 2"),
        ({"types": tuple(np.zeros(k) for k in (3, 1, 2, 4))}, "float64"),
        ({"species": ("Si", "O")}, "alphabetical"),
        ({"species": ("O", "O")}, "each once"),
        ({"cell": np.zeros((4, 3))}, "cell has shape"),
        ({"cell": np.zeros((4, 3, 3))}, "configuration 0 is .* no positive volume"),
        ({"cell": np.ones((4, 3, 3)) * make().periodic[:, :, None]}, "no positive volume"),
        ({"cell": np.full((4, 3, 3), np.inf)}, "finite lattice vectors"),
        ({"periodic": np.zeros((4, 3), bool)}, "rows of open directions to zero"),
        ({"forces": (np.zeros((2, 3)), None, None, None)}, r"forces of configuration 0 have shape \(2, 3\)"),
        ({"forces": (None,)}, "1 entries of forces"),
        ({"forces": (np.full((3, 3), np.nan), None, None, None)}, "forces of atom 0 in configuration 0"),
        ({"energy": np.array([0, np.inf, 0, 0])}, "energy of configuration 1 is inf"),
        ({"energy": np.zeros(3)}, "energy has shape"),
        ({"stress": np.zeros((4, 3, 3))}, "configuration 1 has a stress but an open direction"),
        ({"stress": np.zeros((4, 6))}, "stress has shape"),
        ({"weight": np.array([1, 1, -1, 1.0])}, "weight of configuration 2 is -1"),
        ({"weight": np.array([1, 1, 1, np.nan])}, "weight of configuration 3 is nan"),
        ({"temperature": np.array([-1.0, 1, 1, 1])}, "temperature of configuration 0 is -1"),
        ({"group": ("a",)}, "1 entries of group"),
    ],
)
def test_what_does_not_fit_raises(change, message):
    with pytest.raises(InputError, match=message):
        make(**change)


def test_a_stress_is_symmetric_and_whole():
    stress = make().stress.copy()
    stress[0, 0, 1] += 1.0
    with pytest.raises(InputError, match="configuration 0 is not symmetric"):
        make(stress=stress)
    stress[0, 0, 1] = np.nan
    with pytest.raises(InputError, match="nine finite numbers"):
        make(stress=stress)


def test_partly_periodic_cells_are_fine():
    cell = np.zeros((1, 3, 3))
    cell[0, 0], cell[0, 1] = [3.0, 0.0, 0.0], [1.0, 3.0, 0.0]
    data = make(
        sizes=(2,), cell=cell, periodic=np.array([[True, True, False]]), stress=np.empty(0), forces=(None,)
    )
    assert np.isinf(data.volume).all()


def many(counts):
    n = sum(counts.values())
    return Configurations(
        species=("Si",),
        positions=tuple(np.full((1, 3), float(k)) for k in range(n)),
        types=(np.zeros(1, int),) * n,
        cell=np.zeros((n, 3, 3)),
        periodic=np.zeros((n, 3), bool),
        units=METAL,
        energy=np.arange(n, dtype=float),
        group=tuple(name for name, number in counts.items() for _ in range(number)),
    )


def test_split_by_configuration_takes_the_same_share_of_each_group():
    data = many({"a": 20, "b": 40, "c": 3})
    train, held_out = split_configurations(data, held_out_fraction=0.25, seed=1)
    assert [held_out.group.count(name) for name in "abc"] == [5, 10, 1]
    assert sorted([*train.energy, *held_out.energy]) == list(range(63))
    assert (np.diff(train.energy) > 0).all()
    again, _ = split_configurations(data, held_out_fraction=0.25, seed=1)
    other, _ = split_configurations(data, held_out_fraction=0.25, seed=2)
    assert again.checksum() == train.checksum() != other.checksum()
    with pytest.raises(InputError, match="between 0 and 1"):
        split_configurations(data, held_out_fraction=1.0, seed=1)
    with pytest.raises(InputError, match="at least one on each side"):
        split_configurations(data[:2], held_out_fraction=0.01, seed=1)


@pytest.mark.parametrize("seed", range(5))
def test_split_by_group_keeps_groups_whole(seed):
    data = many({"a": 20, "b": 5, "c": 3, "d": 8})
    train, held_out = split_groups(data, held_out_fraction=0.2, seed=seed)
    assert not set(train.group) & set(held_out.group)
    assert len(train) + len(held_out) == 36 and len(held_out) >= 8
    with pytest.raises(InputError, match="one group"):
        split_groups(data.select(group="a"), held_out_fraction=0.2, seed=seed)
