"""Frames, topologies and states: shapes hold, errors name the place."""

import numpy as np
import pytest

from bayescg.data import Frames, State, Topology, get_unit_system, read_all
from bayescg.errors import InputError

LJ = get_unit_system("lj")


def make(n_frames=7, n_sites=4, dim=3, **more):
    rng = np.random.default_rng(3)
    topology = Topology(tuple("AB"[k % 2] for k in range(n_sites)), np.arange(1.0, n_sites + 1))
    return Frames(
        rng.uniform(0, 5, (n_frames, n_sites, dim)), np.full(dim, 5.0), topology, State(1.0), LJ, **more
    )


def test_blocks_and_slices_cover_everything():
    frames = make(energy=np.arange(7.0), trajectory=np.array([0, 0, 0, 1, 1, 1, 1]))
    assert [b.n_frames for b in frames.blocks(3)] == [3, 3, 1]
    assert np.array_equal(read_all(frames, block=2).positions, frames.positions)
    assert frames.trajectory_lengths() == (3, 4)
    assert frames[2:5].trajectory_lengths() == (1, 2)
    assert np.array_equal(frames[::2].energy, [0, 2, 4, 6])
    with pytest.raises(TypeError, match="sliced"):
        frames[3]


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_any_dimension_and_open_boxes(dim):
    topology = Topology(("A",), np.ones(1))
    frames = Frames(np.zeros((4, 1, dim)), np.full(dim, np.inf), topology, State(1.0), LJ)
    assert frames.dim == dim and frames.box.shape == (4, dim)


def test_concatenate_keeps_trajectories_apart():
    a, b = make(forces=np.zeros((7, 4, 3)), energy=np.zeros(7)), make(energy=np.ones(7))[:3]
    joined = Frames.concatenate([a, b, a])
    assert joined.trajectory_lengths() == (7, 3, 7)
    assert joined.forces is None and joined.energy is not None and joined.energy.sum() == 3
    with pytest.raises(InputError, match="part 1 differs"):
        Frames.concatenate([a, make(n_sites=5)])
    with pytest.raises(InputError, match="at least one"):
        Frames.concatenate([])


def test_checksum_sees_every_change():
    base = make(energy=np.zeros(7))
    same = make(energy=np.zeros(7))
    assert base.checksum() == same.checksum()
    moved = base.positions.copy()
    moved[3, 2, 1] += 1e-12
    others = [
        make(),
        make(energy=np.ones(7)),
        Frames(moved, base.box, base.topology, base.state, LJ, energy=base.energy),
        Frames(base.positions, base.box, base.topology, State(2.0), LJ, energy=base.energy),
        Frames(base.positions, 1.1 * base.box, base.topology, base.state, LJ, energy=base.energy),
        make(energy=np.zeros(7), trajectory=np.array([0, 0, 1, 1, 1, 1, 1])),
    ]
    assert len({base.checksum()} | {o.checksum() for o in others}) == 1 + len(others)


def test_a_position_that_is_no_number_is_named():
    frames = make()
    positions = frames.positions.copy()
    positions[5, 2, 0] = np.nan
    with pytest.raises(InputError, match="position of site 2 in frame 5"):
        Frames(positions, frames.box, frames.topology, frames.state, LJ)
    with pytest.raises(InputError, match="force of site 1 in frame 4"):
        forces = np.zeros(positions.shape)
        forces[4, 1] = np.inf
        make(forces=forces)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": np.array([5.0, 0.0, 5.0])}, "positive edge"),
        ({"box": np.array([5.0, np.nan, 5.0])}, "positive edge"),
        ({"box": np.ones((3, 3))}, "expected \\[frame dim\\]"),
        ({"positions": np.zeros((7, 4))}, "expected \\[frame site dim\\]"),
        ({"positions": np.zeros((7, 3, 3))}, "topology has 4"),
        ({"energy": np.zeros(6)}, "energy has shape"),
        ({"energy": np.r_[np.zeros(6), np.nan]}, "energy of frame 6"),
        ({"trajectory": np.array([0, 0, 1, 1, 0, 0, 0])}, "not contiguous"),
        ({"virial": np.zeros((7, 6))}, "virial has shape"),
    ],
)
def test_what_does_not_fit_raises(change, message):
    good = make()
    arguments = {
        "positions": good.positions,
        "box": good.box,
        "topology": good.topology,
        "state": good.state,
    } | change
    with pytest.raises(InputError, match=message):
        Frames(units=LJ, **arguments)


def test_topology_checks_itself_and_repeats():
    one = Topology(
        ("A", "B", "A"),
        np.array([2.0, 3.0, 2.0]),
        molecules=np.zeros(3),
        bonds=np.array([[0, 1], [1, 2]]),
        angles=np.array([[0, 1, 2]]),
    )
    two = one.repeat(2)
    assert two.site_types == ("A", "B", "A") * 2
    assert two.bonds.tolist() == [[0, 1], [1, 2], [3, 4], [4, 5]]
    assert two.angles.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert two.molecules.tolist() == [0, 0, 0, 1, 1, 1]
    assert two.exclusions.shape == (0, 2) and two.charges.tolist() == [0.0] * 6
    with pytest.raises(InputError, match="2 masses for 1 sites"):
        Topology(("A",), np.ones(2))
    with pytest.raises(InputError, match="site 1 .* mass 0"):
        Topology(("A", "B"), np.array([1.0, 0.0]))
    with pytest.raises(InputError, match="bonds name site 2"):
        Topology(("A", "B"), np.ones(2), bonds=np.array([[0, 2]]))


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_a_state_has_a_positive_temperature(temperature):
    with pytest.raises(InputError, match="positive"):
        State(temperature)
