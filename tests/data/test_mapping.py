"""From atoms to beads: centres, whole molecules, consistent forces, topology."""

import numpy as np
import pytest

from bayescg.data import Bead, Mapping, read_frames
from bayescg.data._bead_map import resolve
from bayescg.data._connectivity import angles_from_bonds, dihedrals_from_bonds, exclusions_from_bonds
from bayescg.data._mapping import AtomTable
from bayescg.errors import InputError

BOX = np.array([2.0, 2.2, 2.4])


def table(chains, *, bonds=True, masses=True, names=("C1", "C2", "C3", "C4")):
    n = len(chains.masses)
    labels = tuple(names) * (n // 4)
    molecule = np.arange(n) // 4

    def select(selection):
        words = selection.split()
        if words == ["all"]:
            return np.arange(n)
        return np.flatnonzero(np.isin(labels, words[1:]))

    return AtomTable(
        source="chains",
        names=labels,
        residues=molecule,
        residue_names=("BUT",) * n,
        molecules=molecule if bonds else None,
        masses=chains.masses if masses else None,
        charges=None,
        bonds=chains.bonds if bonds else np.empty((0, 2), np.int64),
        select=select,
    )


def beads_of(chains, weights):
    """The exact answer, from molecules that were never wrapped."""
    whole = chains.whole.reshape(len(chains.whole), -1, 4, 3)
    forces = chains.forces.reshape(whole.shape)
    weights = np.asarray(weights, float)
    used = weights > 0
    return (whole * (weights / weights.sum())[:, None]).sum(2), (forces * used[:, None]).sum(2)


def distance(a, b):
    d = a - b
    return np.abs(d - BOX * np.round(d / BOX)).max()


@pytest.mark.parametrize("by", ["residue", "molecule"])
@pytest.mark.parametrize(("center", "weights"), [("mass", [15, 14, 14, 15]), ("geometry", [1, 1, 1, 1])])
def test_one_bead_per_group(chains, by, center, weights):
    mapped = resolve(Mapping.by_group(by, center), table(chains))
    positions, forces = beads_of(chains, weights)
    found = mapped.map_positions(chains.wrapped, np.broadcast_to(BOX, (24, 3)))
    assert distance(found, positions) < 1e-12
    assert (found >= 0).all() and (found <= BOX).all()
    assert mapped.map_forces(chains.forces) == pytest.approx(forces)
    assert mapped.topology.site_types == ("BUT",) * 12
    assert mapped.topology.masses.tolist() == [58.0] * 12
    assert mapped.warnings == ()


def test_named_beads_molecule_major(chains):
    mapping = Mapping.named_beads(
        [Bead("E", "name C1 C2"), Bead("M", "name C3", (2.0,)), Bead("E", "name C4")]
    )
    mapped = resolve(mapping, table(chains))
    expected = [beads_of(chains, w)[0] for w in ([15, 14, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1])]
    found = mapped.map_positions(chains.wrapped, np.broadcast_to(BOX, (24, 3))).reshape(24, 12, 3, 3)
    for k in range(3):
        assert distance(found[:, :, k], expected[k]) < 1e-12
    topology = mapped.topology
    assert topology.site_types[:3] == ("E", "M", "E")
    assert topology.masses[:3].tolist() == [29.0, 14.0, 15.0]
    assert topology.molecules[:6].tolist() == [0, 0, 0, 1, 1, 1]
    assert topology.bonds[:4].tolist() == [[0, 1], [1, 2], [3, 4], [4, 5]]
    assert topology.angles[:2].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert topology.exclusions[:3].tolist() == [[0, 1], [0, 2], [1, 2]]
    forces = mapped.map_forces(chains.forces)
    assert forces.sum(1) == pytest.approx(chains.forces.sum(1))
    assert any("several beads" in w for w in mapped.warnings)


def test_long_molecules_need_bonds_to_be_whole(chains):
    """The negative half: relative to the first atom, a molecule longer than half the box comes out wrong."""
    mapped = resolve(Mapping.by_group(), table(chains, bonds=False))
    found = mapped.map_positions(chains.wrapped, np.broadcast_to(BOX, (24, 3)))
    assert distance(found, beads_of(chains, [15, 14, 14, 15])[0]) > 0.1
    assert any("no bonds" in w for w in mapped.warnings)
    big = resolve(Mapping.by_group(), table(chains)).map_positions(chains.whole, np.full((24, 3), np.inf))
    assert big == pytest.approx(beads_of(chains, [15, 14, 14, 15])[0])


def test_dropping_atoms_is_recorded(chains):
    mapping = Mapping.named_beads([Bead("A", "name C2 C3")])
    mapped = resolve(mapping, table(chains))
    found = mapped.map_positions(chains.wrapped, np.broadcast_to(BOX, (24, 3)))
    positions, forces = beads_of(chains, [0, 14, 14, 0])
    assert distance(found, positions) < 1e-12
    assert mapped.map_forces(chains.forces) == pytest.approx(forces)
    assert any("leave out 24 atoms" in w for w in mapped.warnings)


def test_shared_atoms_have_no_mapped_forces(chains):
    mapping = Mapping.named_beads([Bead("A", "name C1 C2"), Bead("B", "name C2 C3 C4")])
    mapped = resolve(mapping, table(chains))
    assert mapped.map_forces(chains.forces) is None
    assert any("two beads" in w for w in mapped.warnings)


def test_a_weight_of_zero_takes_neither_position_nor_force(chains):
    mapping = Mapping.named_beads([Bead("A", "all", (1.0, 0.0, 0.0, 3.0))])
    mapped = resolve(mapping, table(chains))
    positions, forces = beads_of(chains, [1, 0, 0, 3])
    assert distance(mapped.map_positions(chains.wrapped, np.broadcast_to(BOX, (24, 3))), positions) < 1e-12
    assert mapped.map_forces(chains.forces) == pytest.approx(forces)


def test_identity(chains):
    mapped = resolve(Mapping.atoms(), table(chains))
    found = mapped.map_positions(chains.wrapped, np.broadcast_to(BOX, (24, 3)))
    assert distance(found, chains.wrapped) < 1e-12
    assert mapped.map_forces(chains.forces) == pytest.approx(chains.forces)
    assert mapped.topology.site_types[:4] == ("C1", "C2", "C3", "C4")
    assert mapped.topology.bonds.tolist() == chains.bonds.tolist()
    assert mapped.topology.dihedrals[:1].tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("mapping", "options", "message"),
    [
        (
            Mapping.by_group(selection="name X9"),
            {},
            "'name X9' matches no atoms; select from the atom names here: C1, C2",
        ),
        (Mapping.by_group("molecule"), {"bonds": False}, "map by residue"),
        (Mapping.by_group(), {"masses": False}, "no masses"),
        (Mapping.named_beads([Bead("A", "name C1 C2", (1.0, 2.0, 3.0))]), {}, "3 weights.*2 atoms"),
    ],
)
def test_what_does_not_fit_raises(chains, mapping, options, message):
    with pytest.raises(InputError, match=message):
        resolve(mapping, table(chains, **options))


def test_wrong_specifications_raise():
    with pytest.raises(InputError, match="'centre'"):
        Bead("A", "all", "centre")
    with pytest.raises(InputError, match="positive sum"):
        Bead("A", "all", (0.0, 0.0))
    with pytest.raises(InputError, match="'chain'"):
        Mapping.by_group("chain")
    with pytest.raises(InputError, match="no beads"):
        Mapping.named_beads([])


def test_connectivity_of_a_branched_molecule_and_a_ring():
    isobutane = np.array([[0, 1], [0, 2], [0, 3]])
    assert angles_from_bonds(isobutane, 4).tolist() == [[1, 0, 2], [1, 0, 3], [2, 0, 3]]
    assert dihedrals_from_bonds(isobutane, 4).size == 0
    ring = np.array([[0, 1], [1, 2], [2, 3], [3, 0]])
    assert len(angles_from_bonds(ring, 4)) == 4 and len(dihedrals_from_bonds(ring, 4)) == 4
    chain = np.array([[k, k + 1] for k in range(5)])
    assert dihedrals_from_bonds(chain, 6).tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
    assert [0, 3] in exclusions_from_bonds(chain, 6).tolist()
    assert [0, 4] not in exclusions_from_bonds(chain, 6).tolist()
    assert exclusions_from_bonds(chain, 6, up_to=1).tolist() == chain.tolist()


@pytest.mark.parametrize(
    ("atoms", "beads", "stride", "masses", "mapping"),
    [
        (
            "water_spce/spce343_300K_atoms_40frames.nc",
            "water_spce/spce343_300K_com.nc",
            37,
            (15.9994, 1.008, 1.008),
            Mapping.by_group(name="W"),
        ),
        (
            "hexane_ua/hexane125_300K_atoms_40frames.nc",
            "hexane_ua/hexane125_300K_3site.nc",
            25,
            (15.035, 14.027, 14.027, 14.027, 14.027, 15.035),
            Mapping.named_beads([Bead("A", "name C1 C2"), Bead("B", "name C3 C4"), Bead("A", "name C5 C6")]),
        ),
    ],
)
def test_against_an_independent_mapping(shared_data, atoms, beads, stride, masses, mapping):
    """The reference files were mapped by another script: positions to 17 bits of mantissa, forces to 12."""
    fine, coarse = read_frames(shared_data / atoms), read_frames(shared_data / beads, stride=stride)
    size = len(masses)
    molecule = np.arange(fine.n_sites) // size
    hops = [[0, 1], [0, 2]] if size == 3 else [[k, k + 1] for k in range(5)]
    names = np.array(fine.topology.site_types)
    source = AtomTable(
        source=atoms,
        names=fine.topology.site_types,
        residues=molecule,
        residue_names=None,
        molecules=molecule,
        masses=np.tile(masses, fine.n_sites // size),
        charges=None,
        bonds=(size * np.arange(molecule[-1] + 1)[:, None, None] + np.array(hops)).reshape(-1, 2),
        select=lambda s: (
            np.arange(fine.n_sites) if s == "all" else np.flatnonzero(np.isin(names, s.split()[1:]))
        ),
    )
    mapped = resolve(mapping, source)
    broken = fine.positions - fine.box[:, None] * np.floor(fine.positions / fine.box[:, None])
    found = mapped.map_positions(broken, fine.box)
    gap = found - coarse.positions[: len(found)]
    gap -= fine.box[:, None] * np.round(gap / fine.box[:, None])
    assert np.abs(gap).max() < 4e-5  # [nm]
    forces = mapped.map_forces(fine.forces)
    assert np.abs(forces - coarse.forces[: len(found)]).max() < 1.0  # [kJ/mol/nm] of a few thousand at most
    assert np.sqrt(np.mean((forces - coarse.forces[: len(found)]) ** 2)) < 1e-3 * forces.std()
    assert mapped.topology.masses == pytest.approx(coarse.topology.masses, rel=1e-6)
    assert mapped.topology.molecules.tolist() == coarse.topology.molecules.tolist()
