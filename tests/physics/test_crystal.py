"""Crystals, their symmetry, and what is cut from them."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from bayescg.errors import InputError
from bayescg.physics import Crystal
from bayescg.physics._crystal_symmetry import (
    LENGTHS_AND_ANGLES,
    free_elastic_constants,
    free_parameters,
    rotations,
    strain_modes,
)
from bayescg.physics._supercell import conventional_matrix, slab, supercell

TETRAGONAL = Crystal.from_atoms(bulk("Sn", "bct", a=5.8, c=3.2))
RHOMBOHEDRAL = Crystal.from_atoms(
    bulk("As", "rhombohedral", a=4.1, alpha=54.0, basis=[[0.23] * 3, [-0.23] * 3])
)
ORTHORHOMBIC = Crystal(np.diag([3.0, 4.0, 5.0]), np.zeros((1, 3)), ("U",), np.diag([3.0, 4.0, 5.0]))
MONOCLINIC = Crystal(
    [[3.0, 0, 0], [0, 4.0, 0], [-1.0, 0, 5.0]],
    np.array([[0, 0, 0], [0.3, 0.0, 0.2]]),
    ("U", "O"),
    [[3.0, 0, 0], [0, 4.0, 0], [-1.0, 0, 5.0]],
)

# structure: order of the point group, free lattice constants, number of free elastic constants
SYMMETRIES = {
    "diamond": (Crystal.bulk("Si", "diamond", a=5.43), 48, "a", 3),
    "fcc": (Crystal.bulk("Cu", "fcc", a=3.6), 48, "a", 3),
    "bcc": (Crystal.bulk("Fe", "bcc", a=2.9), 48, "a", 3),
    "zincblende": (Crystal.bulk("ZnS", "zincblende", a=5.4), 24, "a", 3),
    "hcp": (Crystal.bulk("Mg", "hcp", a=3.2, c=5.2), 24, "a c", 5),
    "wurtzite": (Crystal.bulk("ZnS", "wurtzite", a=3.8, c=6.2), 12, "a c", 5),
    "tetragonal": (TETRAGONAL, 16, None, 6),
    "rhombohedral": (RHOMBOHEDRAL, 12, "a alpha", 6),
    "orthorhombic": (ORTHORHOMBIC, 8, "a b c", 9),
    "monoclinic": (MONOCLINIC, 2, "a b c beta", 13),
}


@pytest.mark.parametrize("name", SYMMETRIES)
def test_symmetry_leaves_the_known_numbers_free(name):
    crystal, order, lengths, n_elastic = SYMMETRIES[name]
    turns = rotations(crystal)
    assert len(turns) == order
    np.testing.assert_allclose(
        np.einsum("oij,okj->oik", turns, turns), np.tile(np.eye(3), (order, 1, 1)), atol=1e-9
    )
    free = free_parameters(crystal, strain_modes(turns))
    if lengths is not None:
        assert " ".join(LENGTHS_AND_ANGLES[k] for k in free) == lengths
    assert len(free_elastic_constants(turns)) == n_elastic


def test_displacing_one_atom_breaks_the_symmetry():
    silicon = Crystal.bulk("Si", "diamond", a=5.43)
    moved = silicon.fractions + np.array([[0.0, 0.0, 0.0], [1e-3, 0.0, 0.0]])
    assert len(rotations(Crystal(silicon.cell, moved, silicon.symbols, silicon.conventional))) < 48


def test_a_supercell_holds_the_crystal_so_many_times():
    silicon = Crystal.bulk("Si", "diamond", a=5.43)
    cubic = supercell(silicon, conventional_matrix(silicon, (1, 1, 1)))
    expected = bulk("Si", "diamond", a=5.43, cubic=True)
    np.testing.assert_allclose(cubic.cell, expected.cell.array, atol=1e-12)
    ours = {tuple(x) for x in (cubic.positions @ np.linalg.inv(cubic.cell) % 1.0).round(6) % 1.0}
    assert ours == {tuple(x) for x in expected.get_scaled_positions().round(6) % 1.0}
    assert len(supercell(silicon, conventional_matrix(silicon, (2, 1, 3))).parent) == 48


@pytest.mark.parametrize(
    "miller, area", [((1, 0, 0), 0.5), ((1, 1, 0), np.sqrt(0.5)), ((1, 1, 1), np.sqrt(3) / 4)]
)
def test_slabs_have_the_plane_and_the_smallest_cell(miller, area):
    silicon = Crystal.bulk("Si", "diamond", a=1.0)
    cut = slab(silicon, miller, layers=3, gap=2.0)
    normal = np.cross(cut.cell[0], cut.cell[1])
    assert np.linalg.norm(normal) == pytest.approx(area)
    assert np.linalg.norm(np.cross(normal, miller)) == pytest.approx(0.0, abs=1e-12)
    assert len(cut.parent) == 6
    heights = cut.positions @ normal / np.linalg.norm(normal)
    assert np.ptp(heights) + 2.0 < cut.heights[2] + 1e-9  # the gap is free of atoms


def test_the_default_cut_is_in_the_widest_gap_of_planes():
    silicon = Crystal.bulk("Si", "diamond", a=1.0)
    normal = np.ones(3) / np.sqrt(3.0)
    for cut, gap in ((None, 1.0), (0.9, 3.0)):  # the outermost double plane is kept, or cut through
        heights = np.sort(slab(silicon, (1, 1, 1), layers=3, gap=2.0, cut=cut).positions @ normal)
        assert heights[1] - heights[0] == pytest.approx(gap * np.sqrt(3.0) / 12.0)


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: Crystal.bulk("Si", "diamnd", a=5.4), "diamnd"),
        (lambda: Crystal.from_atoms("Si"), "ase.Atoms"),
        (lambda: Crystal.from_atoms(Atoms("Si")), "three directions"),
        (lambda: Crystal(np.zeros((3, 3)), [[0, 0, 0]], ("Si",), np.eye(3)), "flat"),
        (lambda: Crystal(np.eye(3), [[0, 0, 0]], ("Si", "Si"), np.eye(3)), "2 symbols"),
        (lambda: Crystal(np.eye(3), [[0, 0, np.nan]], ("Si",), np.eye(3)), "NaN"),
        (lambda: Crystal.bulk("Si", "diamond", a=5.4).types(("Ge",)), "contains Si, the potential knows Ge"),
        (lambda: supercell(ORTHORHOMBIC, np.ones((3, 3), int)), "not independent"),
        (lambda: conventional_matrix(ORTHORHOMBIC, (0, 1, 1)), "at least once"),
        (lambda: slab(ORTHORHOMBIC, (0, 0, 0), layers=1, gap=1.0), "must not all be 0"),
        (lambda: slab(ORTHORHOMBIC, (101, 53, 37), layers=1, gap=1.0), "lower indices"),
    ],
)
def test_bad_crystals_are_refused_in_one_line(make, says):
    with pytest.raises(InputError, match=says) as refused:
        make()
    assert "\n" not in str(refused.value)
