"""netCDF: nothing lost, nothing converted silently, damage noticed; older files read."""

from types import SimpleNamespace

import netCDF4
import numpy as np
import pytest

from bayescg.data import (
    Frames,
    State,
    Topology,
    conversion,
    frames_checksum,
    get_unit_system,
    open_frames,
    read_frames,
    write_frames,
)
from bayescg.errors import InputError

GROMACS, REAL = get_unit_system("gromacs"), get_unit_system("real")


@pytest.fixture
def frames():
    rng = np.random.default_rng(5)
    one = Topology(
        ("A", "B b"),
        np.array([2.0, 3.0]),
        charges=np.array([0.5, -0.5]),
        molecules=np.zeros(2),
        bonds=np.array([[0, 1]]),
        exclusions=np.array([[0, 1]]),
    )
    return Frames(
        rng.normal(size=(9, 6, 3)),
        rng.uniform(2, 3, (9, 3)),
        one.repeat(3),
        State(300.0, pressure=1.0, composition={"AB": 3}),
        GROMACS,
        forces=rng.normal(size=(9, 6, 3)),
        energy=rng.normal(size=9),
        virial=rng.normal(size=(9, 3, 3)),
        pressure=rng.normal(size=9),
        time=np.arange(9.0),
        trajectory=np.array([0] * 4 + [1] * 5),
    )


def test_round_trip_is_exact(frames, tmp_path):
    path = tmp_path / "frames.nc"
    write_frames(frames, path, title="a test", block=4)
    again = read_frames(path)
    assert again.checksum() == frames.checksum() == frames_checksum(open_frames(path), block=2)
    assert again.state == frames.state and again.units == frames.units
    assert again.trajectory_lengths() == (4, 5)
    assert again.topology.site_types == frames.topology.site_types
    assert [p.name for p in tmp_path.iterdir()] == ["frames.nc"]


def test_open_box_and_one_dimension(tmp_path):
    toy = Frames(
        np.zeros((3, 1, 1)),
        np.array([np.inf]),
        Topology(("x",), np.ones(1)),
        State(1.0),
        get_unit_system("lj"),
    )
    write_frames(toy, tmp_path / "toy.nc")
    assert read_frames(tmp_path / "toy.nc").checksum() == toy.checksum()


def test_reading_into_another_system_converts_everything(frames, tmp_path):
    path = tmp_path / "frames.nc"
    write_frames(frames, path)
    other = read_frames(path, units=REAL)
    for name, quantity in [
        ("positions", "length"), ("box", "length"), ("forces", "force"), ("energy", "energy"), ("virial", "virial"),
        ("pressure", "pressure"), ("time", "time"),
    ]:  # fmt: skip
        factor = conversion(quantity, GROMACS, REAL)
        assert np.allclose(getattr(other, name), factor * getattr(frames, name), rtol=1e-12), name
    assert other.state.pressure == pytest.approx(1 / 1.01325)
    assert other.units == REAL


def test_start_stop_stride_and_streaming(frames, tmp_path):
    path = tmp_path / "frames.nc"
    write_frames(frames, path)
    source = open_frames(path, start=1, stop=8, stride=3)
    assert source.n_frames == 3
    assert np.array_equal(np.concatenate([b.positions for b in source.blocks(2)]), frames.positions[1:8:3])
    write_frames(source, tmp_path / "fewer.nc")
    assert read_frames(tmp_path / "fewer.nc").n_frames == 3
    with pytest.raises(InputError, match="9 frames, of which start 9.* leave none; lower start"):
        open_frames(path, start=9)


def test_writing_is_all_or_nothing(frames, tmp_path):
    path = tmp_path / "frames.nc"
    write_frames(frames, path)

    def broken(size):
        yield frames[:3]
        raise RuntimeError("the reader broke")

    source = SimpleNamespace(
        topology=frames.topology, state=frames.state, units=GROMACS, n_frames=9, blocks=broken
    )
    with pytest.raises(RuntimeError, match="broke"):
        write_frames(source, path)
    assert read_frames(path).checksum() == frames.checksum()
    assert [p.name for p in tmp_path.iterdir()] == ["frames.nc"]

    def uneven(size):
        yield frames[:3]
        yield Frames(frames.positions[3:], frames.box[3:], frames.topology, frames.state, GROMACS)

    source = SimpleNamespace(
        topology=frames.topology, state=frames.state, units=GROMACS, n_frames=9, blocks=uneven
    )
    with pytest.raises(InputError, match="forces is known for some blocks only"):
        write_frames(source, path)
    with pytest.raises(InputError, match="can't be written"):
        write_frames(frames, tmp_path / "no" / "such" / "folder.nc")


def test_damage_is_one_line_naming_the_file(frames, tmp_path):
    path = tmp_path / "frames.nc"
    big = Frames.concatenate([frames] * 20)
    write_frames(big, path)
    content = path.read_bytes()
    cases = {
        "cut.nc": content[: len(content) // 2],
        "empty.nc": b"",
        "text.nc": b"hello",
    }
    for name, damaged in cases.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(InputError, match=name) as caught:
            read_frames(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        read_frames(tmp_path / "missing.nc")


def test_temperature_is_checked_not_overridden(frames, tmp_path):
    path = tmp_path / "frames.nc"
    write_frames(frames, path)
    assert read_frames(path, temperature=300.0).state.temperature == 300.0
    with pytest.raises(InputError, match="300 in the file, but 310"):
        read_frames(path, temperature=310.0)


def write_minimal(path, *, attributes, positions_units="nm", voigt=False, forces_units="kJ/mol/nm"):
    with netCDF4.Dataset(path, "w") as dataset:
        for name, size in (("frame", 4), ("bead", 6), ("xyz", 3), ("voigt", 6)):
            dataset.createDimension(name, size)
        dataset.createVariable("positions", "f4", ("frame", "bead", "xyz"))[:] = 1.0
        if positions_units:
            dataset["positions"].units = positions_units
        dataset.createVariable("forces", "f4", ("frame", "bead", "xyz"))[:] = 2.0
        if forces_units:
            dataset["forces"].units = forces_units
        if voigt:
            virial = dataset.createVariable("virial", "f8", ("frame", "voigt"))
            virial.units = "kcal/mol"
            virial[:] = np.arange(6.0)
        dataset.setncatts(attributes)


GOOD = {"box_nm": 2.5, "temperature_K": 300.0, "bead_masses": [29.0, 28.0, 29.0], "n_molecules": 2}


def test_the_minimal_convention(tmp_path):
    path = tmp_path / "old.nc"
    write_minimal(path, attributes=GOOD, voigt=True)
    found = read_frames(path)
    assert found.units == GROMACS and found.state.temperature == 300.0
    assert found.topology.site_types == ("A", "B", "A") * 2
    assert found.topology.molecules.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.box[0].tolist() == [2.5] * 3
    assert found.virial[0] / 4.184 == pytest.approx(np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2.0]]))
    real = read_frames(path, units=REAL)
    assert real.positions[0, 0, 0] == pytest.approx(10.0) and real.box[0, 0] == pytest.approx(25.0)
    assert real.forces[0, 0, 0] == pytest.approx(2.0 / 41.84)
    assert read_frames(path, box=[3.0, np.inf, 4.0]).box[0].tolist() == [3.0, np.inf, 4.0]
    mine = Topology(
        ("X", "Y", "X"), np.ones(3), molecules=np.zeros(3), bonds=np.array([[0, 1], [1, 2]])
    ).repeat(2)
    assert read_frames(path, topology=mine).topology.bonds.shape == (4, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attributes": {k: v for k, v in GOOD.items() if k != "box_nm"}}, "no box"),
        ({"attributes": {k: v for k, v in GOOD.items() if k != "temperature_K"}}, "no temperature"),
        ({"attributes": {k: v for k, v in GOOD.items() if k != "bead_masses"}}, "no masses"),
        ({"attributes": GOOD | {"n_molecules": 4}}, "n_molecules is 4"),
        ({"attributes": GOOD | {"bead_masses": [1.0] * 4}}, "don't repeat"),
        ({"attributes": GOOD, "positions_units": ""}, "'positions' has no units"),
        ({"attributes": GOOD, "positions_units": "furlong"}, "'furlong'"),
        ({"attributes": GOOD, "forces_units": "nm"}, "'forces'"),
    ],
)
def test_what_the_minimal_convention_lacks_is_named(change, message, tmp_path):
    write_minimal(tmp_path / "old.nc", **change)
    with pytest.raises(InputError, match=message) as caught:
        read_frames(tmp_path / "old.nc")
    assert "old.nc" in str(caught.value)


def test_a_netcdf_file_of_something_else(tmp_path):
    with netCDF4.Dataset(tmp_path / "x.nc", "w") as dataset:
        dataset.createDimension("a", 2)
        dataset.createVariable("temperature", "f8", ("a",))
    with pytest.raises(InputError, match="no variable 'positions'.*found temperature"):
        read_frames(tmp_path / "x.nc")


@pytest.mark.parametrize(
    ("name", "system", "shape", "mass", "temperature"),
    [
        ("water_spce/spce343_300K_com.nc", "gromacs", (1500, 343, 3), 18.0154, 300.0),
        ("hexane_ua/hexane125_300K_3site.nc", "gromacs", (1000, 375, 3), 29.062, 300.0),
        ("lj_argon/lj_ar_85K.nc", "real", (1000, 256, 3), 39.948, 85.0),
    ],
)
def test_the_projects_older_files(shared_data, name, system, shape, mass, temperature):
    found = read_frames(shared_data / name)
    assert (found.units.name, found.positions.shape, found.state.temperature) == (system, shape, temperature)
    assert found.topology.masses[0] == pytest.approx(mass)
    assert found.forces is not None and found.energy is not None and found.pressure is not None


def test_virial_sign_and_unit_by_the_pressure(shared_data):
    """Argon: rho kT + tr W / 3V is the pressure that LAMMPS wrote, up to the thermostat's fluctuations."""
    argon = read_frames(shared_data / "lj_argon" / "lj_ar_94K.nc", units=GROMACS)
    volume = argon.box.prod(1)
    trace = np.trace(argon.virial, axis1=1, axis2=2)
    pressure = (argon.n_sites * GROMACS.kT(94.4) + trace / 3) / volume * GROMACS.pressure_factor
    assert pressure.mean() == pytest.approx(argon.pressure.mean(), abs=2.0)
