"""Trajectory files: every format gives the same beads; what is wrong with a file is said in one line."""

import shutil
import time

import numpy as np
import pytest

from bayescg.data import (
    Mapping,
    conversion,
    get_unit_system,
    open_trajectory,
    read_all,
    read_frames,
    write_frames,
)
from bayescg.errors import InputError

pytest.importorskip("MDAnalysis")
GROMACS, REAL = get_unit_system("gromacs"), get_unit_system("real")
BOX = np.array([2.0, 2.2, 2.4])
MASSES = np.array([15.0, 14.0, 14.0, 15.0])


def centres(chains, masses=MASSES):
    weights = masses / masses.sum()
    return (chains.whole.reshape(24, 12, 4, 3) * weights[:, None]).sum(2)


def off(a, b):
    d = a - b
    return np.abs(d - BOX * np.round(d / BOX)).max()


def opened(folder, topology, trajectory, **more):
    arguments = {"units": GROMACS, "temperature": 300.0, "mapping": Mapping.by_group(name="B")} | more
    names = [trajectory] if isinstance(trajectory, str) else trajectory
    return open_trajectory(folder / topology, [folder / name for name in names], **arguments)


@pytest.mark.parametrize(
    ("topology", "trajectory", "accuracy", "has_forces"),
    [
        ("chains.data", "chains.dump", 1e-7, True),
        ("chains.data", "chains.trr", 1e-6, True),
        ("chains.data", "chains.xtc", 6e-4, False),
        ("chains.data", "chains.dcd", 1e-6, False),
        ("chains.pdb", "chains.dcd", 1e-6, False),
        ("chains.pdb", "chains.trr", 1e-6, True),
    ],
)
def test_every_format_gives_the_same_beads(chains, chain_files, topology, trajectory, accuracy, has_forces):
    exact, center = (
        (centres(chains), "mass") if topology.endswith("data") else (centres(chains, np.ones(4)), "geometry")
    )
    mapping = Mapping.by_group("residue", center, name="B")
    source = opened(chain_files, topology, trajectory, mapping=mapping, file_units=REAL)
    frames = read_all(source, block=7)
    assert source.n_frames == frames.n_frames == 24
    assert off(frames.positions, exact) < accuracy
    assert frames.box == pytest.approx(np.broadcast_to(BOX, (24, 3)), rel=1e-6)
    if trajectory != "chains.dcd":  # MDAnalysis' writer leaves the time step of a dcd open
        assert frames.time == pytest.approx(chains.time)
    if has_forces:
        expected = chains.forces.reshape(24, 12, 4, 3).sum(2)
        assert np.abs(frames.forces - expected).max() < 1e-4 * np.abs(expected).max()
    else:
        assert frames.forces is None
    if topology.endswith("data"):
        assert frames.topology.masses == pytest.approx(np.full(12, 58.0))
        assert source.warnings == ()


def test_gro_has_no_masses_and_says_so(chains, chain_files):
    source = opened(chain_files, "chains.gro", "chains.trr")
    assert any("guessed from atom names" in w for w in source.warnings)
    assert any("no bonds" in w for w in source.warnings)
    assert source.topology.masses[0] == pytest.approx(4 * 12.011, rel=1e-3)


def test_units_of_the_study(chains, chain_files):
    gromacs = read_all(opened(chain_files, "chains.data", "chains.dump", file_units=REAL))
    real = read_all(opened(chain_files, "chains.data", "chains.dump", units=REAL))
    mixed = read_all(opened(chain_files, "chains.data", "chains.trr", units=REAL))
    for other in (real, mixed):
        length, force = conversion("length", GROMACS, REAL), conversion("force", GROMACS, REAL)
        assert off(other.positions / length, gromacs.positions) < 1e-6
        assert np.abs(other.forces / force - gromacs.forces).max() < 1e-2
        assert other.time == pytest.approx(1000 * gromacs.time)
    with pytest.raises(InputError, match="chains.dump.*give file_units"):
        opened(chain_files, "chains.data", "chains.dump")
    with pytest.raises(InputError, match="lj"):
        opened(chain_files, "chains.data", "chains.trr", units=get_unit_system("lj"))
    lj = read_all(
        opened(chain_files, "chains.data", "chains.dump", units=get_unit_system("lj"), temperature=1.0)
    )
    assert lj.box[0] == pytest.approx(10 * BOX) and lj.units.name == "lj"


def test_independent_trajectories_stay_apart(chains, chain_files):
    source = opened(chain_files, "chains.data", ["chains.trr", "chains.dcd", "chains.trr"], start=4, stride=5)
    assert source.trajectory_lengths() == (4, 4, 4)
    blocks = list(source.blocks(3))
    assert [b.n_frames for b in blocks] == [3, 1] * 3
    assert all(len(set(b.trajectory.tolist())) == 1 for b in blocks)
    frames = read_all(source)
    assert frames.trajectory_lengths() == (4, 4, 4)
    assert off(frames.positions[:4], centres(chains)[4::5]) < 1e-6
    assert off(frames.positions[8:], centres(chains)[4::5]) < 1e-6


def test_streamed_into_a_file(chain_files, tmp_path):
    source = opened(chain_files, "chains.data", "chains.trr")
    write_frames(source, tmp_path / "mapped.nc", block=5)
    assert read_frames(tmp_path / "mapped.nc").checksum() == read_all(source).checksum()


def test_atoms_themselves(chains, chain_files):
    frames = read_all(opened(chain_files, "chains.pdb", "chains.trr", mapping=Mapping.atoms("name C1 C4")))
    assert frames.n_sites == 24 and set(frames.topology.site_types) == {"C1", "C4"}
    keep = np.isin(np.arange(48) % 4, [0, 3])
    assert off(frames.positions, chains.wrapped[:, keep]) < 1e-6


@pytest.mark.parametrize("suffix", ["xtc", "trr", "dcd", "dump"])
@pytest.mark.parametrize("cut", [1, 37, 300])
def test_a_cut_off_trajectory_is_noticed(chain_files, tmp_path, suffix, cut):
    """MDAnalysis itself stops one frame early without a word."""
    content = (chain_files / f"chains.{suffix}").read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(content[:-cut])
    shutil.copy(chain_files / "chains.data", tmp_path)
    with pytest.raises(InputError, match=f"cut.{suffix}: ends in the middle of frame 23") as caught:
        opened(tmp_path, "chains.data", f"cut.{suffix}", file_units=REAL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["xtc", "trr", "dcd", "dump", "pdb", "data"])
@pytest.mark.parametrize(
    "content", [b"", b"not a trajectory at all, but long enough to have a header\n" * 20]
)
def test_a_file_of_something_else(chain_files, tmp_path, suffix, content):
    (tmp_path / f"bad.{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=f"bad.{suffix}") as caught:
        if suffix == "data":
            open_trajectory(
                tmp_path / "bad.data",
                [chain_files / "chains.trr"],
                units=GROMACS,
                temperature=300.0,
                mapping=Mapping.by_group(name="B"),
            )
        else:
            source = opened(chain_files, "chains.data", str(tmp_path / f"bad.{suffix}"), file_units=REAL)
            list(source.blocks(10))
    assert "\n" not in str(caught.value)


def test_damage_inside_a_trajectory(chain_files, tmp_path):
    content = bytearray((chain_files / "chains.trr").read_bytes())
    frame = len(content) // 24
    content[5 * frame : 5 * frame + 40] = bytes(40)
    (tmp_path / "bad.trr").write_bytes(content)
    with pytest.raises(InputError, match="bad.trr: frame 5 is damaged"):
        opened(chain_files, "chains.data", str(tmp_path / "bad.trr"))


def test_missing_files(chain_files):
    with pytest.raises(InputError, match="nope.tpr: no such topology"):
        opened(chain_files, "nope.tpr", "chains.trr")
    with pytest.raises(InputError, match="nope.trr: no such trajectory"):
        opened(chain_files, "chains.data", "nope.trr")
    with pytest.raises(InputError, match="at least one file"):
        opened(chain_files, "chains.data", [])


def test_numbers_of_atoms_must_agree(chains, chain_files, tmp_path):
    import MDAnalysis

    universe = MDAnalysis.Universe(str(chain_files / "chains.gro"))
    for suffix in ("gro", "dcd"):
        universe.atoms[:40].write(str(tmp_path / f"fewer.{suffix}"))
    for name in ("chains.xtc", "chains.trr", "chains.dcd"):
        with pytest.raises(InputError, match=f"{name}: 48 atoms, but .*fewer.gro has 40"):
            open_trajectory(
                tmp_path / "fewer.gro",
                [chain_files / name],
                units=GROMACS,
                temperature=300.0,
                mapping=Mapping.by_group(),
            )


def test_selections(chain_files):
    with pytest.raises(
        InputError, match="'name OW' matches no atoms; select from the atom names here: C1, C2, C3, C4"
    ):
        opened(chain_files, "chains.pdb", "chains.trr", mapping=Mapping.by_group(selection="name OW"))
    with pytest.raises(InputError, match="'nme C1' can't be used"):
        opened(chain_files, "chains.pdb", "chains.trr", mapping=Mapping.by_group(selection="nme C1"))
    with pytest.raises(InputError, match="give the mapping a name"):
        opened(chain_files, "chains.data", "chains.trr", mapping=Mapping.by_group())


def rewritten(chain_files, path, *, box=None, position=None):
    """The trajectory as trr with another box or with one position changed, frame 6 on."""
    import MDAnalysis

    universe = MDAnalysis.Universe(str(chain_files / "chains.gro"), str(chain_files / "chains.trr"))
    with MDAnalysis.Writer(str(path), n_atoms=48) as writer:
        for step in universe.trajectory:
            if step.frame >= 6:
                if box is not None:
                    step.dimensions = box
                if position is not None:
                    step.positions[17] = position
            writer.write(universe.atoms)


def test_boxes_that_can_not_be_used(chain_files, tmp_path):
    rewritten(chain_files, tmp_path / "tilted.trr", box=[20, 22, 24, 90, 90, 60])
    with pytest.raises(InputError, match="tilted.trr: frame 6 has a triclinic box"):
        list(opened(chain_files, "chains.data", str(tmp_path / "tilted.trr")).blocks(4))
    rewritten(chain_files, tmp_path / "open.trr", box=[0, 0, 0, 0, 0, 0])
    with pytest.raises(InputError, match="open.trr: frame 6 has no box"):
        list(opened(chain_files, "chains.data", str(tmp_path / "open.trr")).blocks(4))
    frames = read_all(opened(chain_files, "chains.data", str(tmp_path / "open.trr"), box=np.inf))
    assert np.isinf(frames.box).all()


def test_a_position_that_is_no_number(chain_files, tmp_path):
    rewritten(chain_files, tmp_path / "nan.trr", position=[1.0, np.nan, 1.0])
    with pytest.raises(InputError, match="nan.trr: frame 6, atom 17"):
        list(opened(chain_files, "chains.data", str(tmp_path / "nan.trr")).blocks(4))
    with pytest.raises(InputError, match="nan.trr: frame 6, atom 17"):
        list(opened(chain_files, "chains.data", str(tmp_path / "nan.trr"), stride=2).blocks(4))
    assert read_all(opened(chain_files, "chains.data", str(tmp_path / "nan.trr"), stop=6)).n_frames == 6


def test_forces_in_some_frames_only(chains, chain_files, tmp_path):
    """As GROMACS writes them when forces are saved more seldom than positions, or in frames of their own."""
    import MDAnalysis

    universe = MDAnalysis.Universe(str(chain_files / "chains.gro"), str(chain_files / "chains.trr"))
    with MDAnalysis.Writer(str(tmp_path / "seldom.trr"), n_atoms=48) as writer:
        for step in universe.trajectory:
            step.has_forces = step.frame % 3 == 0
            writer.write(universe.atoms)
    with pytest.raises(InputError, match="seldom.trr: frame 1 has no forces"):
        list(opened(chain_files, "chains.data", str(tmp_path / "seldom.trr")).blocks(4))
    frames = read_all(opened(chain_files, "chains.data", str(tmp_path / "seldom.trr"), stride=3))
    assert frames.forces is not None and frames.n_frames == 8
    assert not opened(chain_files, "chains.data", str(tmp_path / "seldom.trr"), start=1).has_forces
    with MDAnalysis.Writer(str(tmp_path / "apart.trr"), n_atoms=48) as writer:
        for step in universe.trajectory:
            step.has_positions = step.frame < 5
            writer.write(universe.atoms)
    with pytest.raises(InputError, match="apart.trr: frame 5 has no positions"):
        list(opened(chain_files, "chains.data", str(tmp_path / "apart.trr")).blocks(4))


def test_lammps_dump_varieties(chains, chain_files, tmp_path):
    """Scaled and unwrapped coordinates, open boundaries, tilted boxes, changing numbers of atoms."""
    text = (chain_files / "chains.dump").read_text()
    (tmp_path / "open.dump").write_text(text.replace("pp pp pp", "pp pp ff"))
    frames = read_all(opened(chain_files, "chains.data", str(tmp_path / "open.dump"), file_units=REAL))
    assert np.isinf(frames.box[:, 2]).all() and np.isfinite(frames.box[:, :2]).all()
    (tmp_path / "tilted.dump").write_text(
        text.replace("BOX BOUNDS pp", "BOX BOUNDS xy xz yz pp").replace(
            "17.000000000\n", "17.000000000 1.5\n"
        )
    )
    with pytest.raises(InputError, match="tilted.dump: frame 0 has a triclinic box"):
        list(opened(chain_files, "chains.data", str(tmp_path / "tilted.dump"), file_units=REAL).blocks(4))
    rows = "".join(
        f"{i + 1} {s[0]:.9f} {s[1]:.9f} {s[2]:.9f}\n" for i, s in enumerate(chains.wrapped[0] / BOX)
    )
    head = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n48\nITEM: BOX BOUNDS pp pp pp\n1 21\n2 24\n3 27\n"
    (tmp_path / "scaled.dump").write_text(f"{head}ITEM: ATOMS id xs ys zs\n{rows}")
    frames = read_all(opened(chain_files, "chains.data", str(tmp_path / "scaled.dump"), file_units=REAL))
    assert off(frames.positions, centres(chains)[:1]) < 1e-7 and frames.time is None and frames.forces is None
    (tmp_path / "columns.dump").write_text(f"{head}ITEM: ATOMS id a b c\n{rows}")
    with pytest.raises(InputError, match="columns.dump.*expected coordinates"):
        list(opened(chain_files, "chains.data", str(tmp_path / "columns.dump"), file_units=REAL).blocks(4))
    fewer = head.replace("48", "47") + "ITEM: ATOMS id xs ys zs\n" + "".join(rows.splitlines(True)[:47])
    (tmp_path / "changing.dump").write_text(f"{head}ITEM: ATOMS id xs ys zs\n{rows}{fewer}")
    with pytest.raises(InputError, match="changing.dump: frame 1 has 47 atoms"):
        opened(chain_files, "chains.data", str(tmp_path / "changing.dump"), file_units=REAL)


def test_start_stop_stride_that_leave_nothing(chain_files):
    with pytest.raises(InputError, match="leave none"):
        opened(chain_files, "chains.data", "chains.trr", start=30)
    with pytest.raises(InputError, match="stride is 0"):
        opened(chain_files, "chains.data", "chains.trr", stride=0)


def test_gromacs_water_run(shared_data):
    """The all-atom run, read as a user would: the reference file's beads, at 200 frames a second or more."""
    folder = shared_data / "water_spce"
    source = open_trajectory(
        folder / "gromacs" / "spce343_300K.tpr",
        [folder / "gromacs" / "spce343_300K.xtc"],
        units=GROMACS,
        temperature=300.0,
        mapping=Mapping.by_group(),
    )
    begin = time.perf_counter()
    frames = read_all(source)
    assert frames.n_frames / (time.perf_counter() - begin) > 200
    assert source.warnings == () and set(frames.topology.site_types) == {"SOL"}
    reference = read_frames(folder / "spce343_300K_com.nc")
    both, mine, theirs = np.intersect1d(frames.time, reference.time, return_indices=True)
    assert len(both) >= 490
    gap = frames.positions[mine] - reference.positions[theirs]
    gap -= frames.box[mine][:, None] * np.round(gap / frames.box[mine][:, None])
    assert np.abs(gap).max() < 1.2e-4  # [nm]; the xtc file holds four decimals
    assert frames.topology.masses == pytest.approx(reference.topology.masses, rel=1e-5)
