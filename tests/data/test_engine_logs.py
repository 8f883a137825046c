"""Logs of engines, written as they write them or by them: values, units, and what is wrong with a file."""

import struct
from pathlib import Path

import numpy as np
import pytest

from bayescg.data import (
    Frames,
    State,
    Topology,
    conversion,
    get_unit_system,
    radial_distribution,
    read_engine_log,
    read_rdf_file,
)
from bayescg.data._mdanalysis import MdTrajectory
from bayescg.errors import InputError

WRITTEN = Path(__file__).parent / "gromacs"
"""Files of a run by GROMACS."""

REAL, GROMACS, METAL, LJ = (get_unit_system(name) for name in ("real", "gromacs", "metal", "lj"))
LAMMPS = """\
LAMMPS (2 Aug 2023)
thermo 10
Step PotEng KinEng Temp Press Volume
0 -300.5 60 85 100 12000
10 -299 61 86 90 12000
Loop time of 0.3 on 1 procs for 10 steps with 256 atoms
Per MPI rank memory allocation (min/avg/max) = 3.1 | 3.1 | 3.1 Mbytes
   Step         PotEng         KinEng          Temp          Press          Volume
         0  -340.5          62          83             100             12000
        10  -341.25         61          82             -20.5           12000
WARNING: something harmless
        20  -339            63          84              14             12000
Loop time of 0.324853 on 1 procs for 20 steps with 256 atoms
Total wall time: 0:00:00
"""
OPENMM = '#"Step","Time (ps)","Potential Energy (kJ/mole)","Temperature (K)","Box Volume (nm^3)"\n'
XVG = """\
# This file was created by gmx energy
@    title "GROMACS Energies"
@    yaxis  label "(kJ/mol), (K), (bar)"
@TYPE xy
@ s0 legend "Potential"
@ s1 legend "Temperature"
@ s2 legend "Pressure"
    0.000000  -1400.5  85.0  12.5
    0.600000  -1399.0  86.0  -3.0
"""


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def edr(path: Path, names: list[tuple[str, str]], frames: np.ndarray) -> Path:
    """A file of version 5 in single precision, without averages [frame term]."""

    def string(text: str) -> bytes:
        data = text.encode()
        return struct.pack(">i", len(data)) + data + b"\0" * (-len(data) % 4)

    made = struct.pack(">iii", -55555, 5, len(names)) + b"".join(string(a) + string(b) for a, b in names)
    for k, row in enumerate(frames):
        made += struct.pack(">fiidqiqd", -1e10, -7777777, 5, 0.6 * k, 120 * k, 0, 120, 0.005)
        made += struct.pack(">iii", len(names), 0, 0) + struct.pack(">iii", 0, 0, 0)
        made += struct.pack(f">{len(names)}f", *row)
    path.write_bytes(made)
    return path


def test_the_last_run_of_a_lammps_log(tmp_path):
    log = read_engine_log(write(tmp_path, "log.lammps", LAMMPS), file_units=REAL, units=GROMACS)
    np.testing.assert_allclose(log["potential_energy"], np.array([-340.5, -341.25, -339]) * 4.184, rtol=1e-13)
    np.testing.assert_allclose(log["pressure"], np.array([100, -20.5, 14]) * 1.01325, rtol=1e-13)
    np.testing.assert_allclose(log["volume"], 12.0, rtol=1e-13)
    assert log["temperature"].tolist() == [83, 82, 84] and "step" not in log


def test_openmm_s_table_names_its_units(tmp_path):
    path = write(tmp_path, "log.csv", OPENMM + "10,0.1,-4.184,85,12.5\n20,0.2,-8.368,84,12.5\n")
    log = read_engine_log(path, file_units=GROMACS, units=REAL)
    np.testing.assert_allclose(log["potential_energy"], [-1, -2], rtol=1e-13)
    np.testing.assert_allclose(log["volume"], 12500, rtol=1e-13)
    reduced = write(tmp_path, "lj.csv", "Step,Time (tau),Potential Energy (epsilon)\n10,0.1,-4.5\n")
    assert read_engine_log(reduced, file_units=LJ, units=LJ)["potential_energy"].tolist() == [-4.5]


def test_gromacs_s_energies_as_xvg_and_edr(tmp_path):
    names = [("Potential", "kJ/mol"), ("Temperature", "K"), ("Pressure", "bar"), ("Box-X", "nm")]
    frames = np.array([[-1400.5, 85.0, 12.5, 2.0], [-1399.0, 86.0, -3.0, 2.0]])
    paths = [write(tmp_path, "energy.xvg", XVG), edr(tmp_path / "energy.edr", names, frames)]
    pytest.importorskip("pyedr", reason="pyedr is not installed: pip install pyedr")
    for path in paths:
        log = read_engine_log(path, file_units=GROMACS, units=METAL)
        factor = conversion("energy", "gromacs", "metal")
        np.testing.assert_allclose(log["potential_energy"], frames[:, 0] * factor, rtol=1e-12)
        np.testing.assert_allclose(log["pressure"], frames[:, 2], rtol=1e-12)
        assert set(log) == {"potential_energy", "temperature", "pressure"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("log.lammps", LAMMPS.split("Loop time of 0.324")[0], "ends in the middle"),
        ("log.lammps", "LAMMPS\n", "no thermodynamic output"),
        ("log.lammps", LAMMPS + "ERROR: Lost atoms: original 256 current 255\n", "Lost atoms"),
        ("log.lammps", LAMMPS.replace("-339 ", "nan "), "row 2 is nan"),
        ("log.lammps", LAMMPS.replace("         63  ", "  "), "row 2 has 5 columns, the head 6"),
        ("log.csv", OPENMM + "10,0.1,-4.184,85\n", "row 0 has 4 columns"),
        ("log.csv", OPENMM + "10,0.1,cold,85,12\n", "could not convert"),
        ("log.csv", "", "is empty"),
        ("log.csv", "Step,Speed (ns/day)\n1,5\n", "none of the columns"),
        ("log.csv", OPENMM + "10,0.1,-4.184,85,12", "last line has no end"),
        ("energy.xvg", XVG[:-3], "last line has no end"),
        ("energy.xvg", XVG[:-9] + "\n", "row 1 has 3 columns, the head 4"),
        ("energy.xvg", XVG.replace("86.0", "inf"), "temperature of row 1 is inf"),
        ("energy.xvg", XVG.replace("legend", "label"), "row 0 has 4 columns, the head 1"),
        ("energy.edr", "not binary", "is no edr file"),
    ],
)
def test_what_is_no_log(tmp_path, name, text, words):
    path = write(tmp_path, name, text)
    with pytest.raises(InputError, match=words) as error:
        read_engine_log(path, file_units=GROMACS, units=GROMACS)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(InputError, match="no such file"):
        read_engine_log(tmp_path / "none.csv", file_units=GROMACS, units=GROMACS)


def test_g_of_r_of_lammps_and_gromacs(tmp_path):
    blocks = "# Time-averaged data for fix rdf\n# TimeStep Number-of-rows\n# Row c_1[1] c_1[2] c_1[3]\n"
    blocks += "100 2\n1 0.5 0 0\n2 1.5 1.2 3\n200 2\n1 0.5 0.1 0\n2 1.5 1.4 3\n"
    r, g = read_rdf_file(write(tmp_path, "rdf.txt", blocks), file_units=REAL, units=GROMACS)
    np.testing.assert_allclose(r, [0.05, 0.15], rtol=1e-13)
    np.testing.assert_allclose(g, [0.05, 1.3], rtol=1e-13)
    r, g = read_rdf_file(
        write(tmp_path, "rdf.xvg", "@ x\n0.05 0.0\n0.15 1.3\n"), file_units=GROMACS, units=REAL
    )
    np.testing.assert_allclose(r, [0.5, 1.5], rtol=1e-13)
    with pytest.raises(InputError, match="block of 2 rows has 1"):
        read_rdf_file(write(tmp_path, "cut.txt", blocks[:-12]), file_units=REAL, units=GROMACS)


def test_gromacs_s_own_edr_is_what_gmx_energy_prints_of_it():
    pytest.importorskip("pyedr", reason="pyedr is not installed: pip install pyedr")
    logs = [
        read_engine_log(WRITTEN / f"energy.{end}", file_units=GROMACS, units=REAL) for end in ("edr", "xvg")
    ]
    assert set(logs[0]) == {"potential_energy", "kinetic_energy", "total_energy", "temperature", "pressure"}
    for name, values in logs[1].items():
        np.testing.assert_allclose(logs[0][name], values, rtol=1e-6, err_msg=name)
    printed = {
        "potential_energy": -551.223083 / 4.184,
        "temperature": 125.967720,
        "pressure": 705.078125 / 1.01325,
    }
    for name, value in printed.items():  # of the last row
        assert logs[0][name][-1] == pytest.approx(value, rel=1e-7) and len(logs[0][name]) == 12
    kinetic = 1.5 * 125 * REAL.kT(logs[0]["temperature"])
    np.testing.assert_allclose(logs[0]["kinetic_energy"], kinetic, rtol=1e-5)


def test_lengths_and_forces_of_gromacs_s_own_trajectories():
    """Frame 11 of the xtc and frame 2 of the trr are of one step; both readers give ångström."""
    found = []
    for name, n_frames in (("trajectory.xtc", 12), ("trajectory.trr", 3)):
        source = MdTrajectory.open(WRITTEN / name, n_atoms=125, needs_box=True)
        assert (source.n_frames, source.n_atoms) == (n_frames, 125)
        (last,) = source.frames(range(n_frames - 1, n_frames))
        np.testing.assert_allclose(last.box, 18.5, rtol=1e-6)
        np.testing.assert_allclose(last.positions[124], [14.9999, 13.5829, 14.1894], atol=1.1e-4)
        found.append(last)
    np.testing.assert_allclose(found[0].positions, found[1].positions, atol=6e-5)
    np.testing.assert_allclose(
        found[1].forces[0], [-4.23386, -5.55711, -11.5309], rtol=1e-5
    )  # kJ/mol/angstrom
    assert found[0].forces is None


def test_g_of_r_of_gmx_is_that_of_the_trajectory():
    """Its bins are centred at the distances written; its density is that of all 125 sites, ours of the 124 others."""
    r, g = read_rdf_file(WRITTEN / "rdf.xvg", file_units=GROMACS, units=REAL)
    source = MdTrajectory.open(WRITTEN / "trajectory.xtc", n_atoms=125, needs_box=True)
    frames = list(source.frames(range(12)))
    x = np.array([f.positions for f in frames], float)
    topology, box = Topology(("Ar",) * 125, np.full(125, 39.948)), np.array([f.box for f in frames], float)
    edges = np.append(r[1:] - 0.1, r[-1] + 0.1)
    ours = radial_distribution(Frames(x, box, topology, State(110.0), REAL), edges=edges, exclude="nothing")
    np.testing.assert_allclose(ours["r"].values, r[1:], rtol=1e-6)
    np.testing.assert_allclose(ours["rdf"].values[:-1] * 124 / 125, g[1:-1], atol=1e-3)


def test_an_edr_file_that_is_cut_or_damaged_ends_in_one_line(tmp_path, capsys):
    """Wherever it is cut, and at whatever number it is damaged: pyedr alone would stop silently or fill the memory."""
    pytest.importorskip("pyedr", reason="pyedr is not installed: pip install pyedr")
    whole, path = (WRITTEN / "energy.edr").read_bytes(), tmp_path / "energy.edr"
    rows = {}
    for size in range(0, len(whole), 37):
        path.write_bytes(whole[:size])
        try:
            rows[size] = len(read_engine_log(path, file_units=GROMACS, units=GROMACS)["pressure"])
        except InputError as error:
            assert "\n" not in str(error) and str(path) in str(error)
    assert not rows
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(60):
        at = 4 * rng.integers(1, len(whole) // 4 - 1)
        path.write_bytes(whole[:at] + rng.bytes(4) + whole[at + 4 :])
        try:
            read_engine_log(path, file_units=GROMACS, units=GROMACS)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused >= 10
    assert capsys.readouterr() == ("", "")
