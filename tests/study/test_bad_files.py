"""Atomistic files that cannot be used: one line that names model file, key and remedy, and nothing written."""

import gc
import sys

import numpy as np
import pytest

from bayescg.cli import main
from bayescg.data import write_frames

BEADS = 'beads = [{{ name = "A", selection = "{selection}", weights = {weights} }}]'


@pytest.fixture
def no_leftovers(monkeypatch):
    """Fails on exceptions that Python could only print, such as those of a library's destructors."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    yield
    gc.collect()
    assert seen == []


def cut(path, n_bytes: int = 50) -> None:
    path.write_bytes(path.read_bytes()[:-n_bytes])


def test_missing_trajectory(raw_study, refused, tmp_path):
    folder = raw_study({'"atoms.xtc"': '"gone.xtc"'})
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        f"{folder / 'model.toml'}: key 'data.raw.trajectories': {folder / 'gone.xtc'}: ", "correct the path",
    )  # fmt: skip


def test_missing_topology(raw_study, refused, tmp_path):
    folder = raw_study({'"atoms.gro"': '"gone.gro"'})
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        f"{folder / 'model.toml'}: key 'data.raw.topology': {folder / 'gone.gro'}: ", "correct the path",
    )  # fmt: skip


def test_truncated_trajectory(raw_study, refused, tmp_path):
    folder = raw_study()
    cut(folder / "atoms.xtc")
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        f"{folder / 'model.toml'}: key 'data.raw.trajectories': {folder / 'atoms.xtc'}: ", "frame 29", "copy it again",
    )  # fmt: skip


def test_topology_of_another_system(raw_study, refused, tmp_path):
    folder = raw_study(topology_atoms=26)
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        f"{folder / 'model.toml'}: key 'data.raw.topology': {folder / 'atoms.xtc'}: ", "27 atoms", "26",
        "give the topology",
    )  # fmt: skip


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize("name", ["atoms.xtc", "words.gro", "words.txt", "mapped.nc"])
def test_a_topology_that_is_none(raw_study, refused, tmp_path, frames, name):
    folder = raw_study({'"atoms.gro"': f'"{name}"'})
    for words in ("words.gro", "words.txt"):
        (folder / words).write_text("not a topology\n" * 20)
    write_frames(frames, folder / "mapped.nc")
    refused(
        ["check", folder],
        f"{folder / 'model.toml'}: key 'data.raw.topology': {folder / name}: can't be read as a topology",
        "give a whole tpr, gro, pdb, psf",
    )  # fmt: skip


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize("name", ["mapped.nc", "words.xtc", "words.dcd", "words.pdb", "words.txt"])
def test_a_trajectory_that_is_none(raw_study, refused, tmp_path, frames, name):
    folder = raw_study({'"atoms.xtc"': f'"{name}"'})
    for suffix in ("xtc", "dcd", "pdb", "txt"):
        (folder / f"words.{suffix}").write_text("not a trajectory, but long enough for a header\n" * 20)
    write_frames(frames, folder / "mapped.nc")
    message = refused(["check", folder], f"key 'data.raw.trajectories': {folder / name}: ")
    assert "copy" in message or "give a whole xtc, trr" in message


def test_selection_that_matches_nothing(raw_study, refused, tmp_path):
    folder = raw_study({'center = "geometry"': 'center = "geometry"\nselection = "name OW"'})
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        f"{folder / 'model.toml'}: key 'mapping.selection': {folder / 'atoms.gro'}: ", "'name OW' matches no atoms",
        "select from the atom names here: O",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("selection", "weights", "words"),
    [
        ("name OW", '"mass"', ("'mapping.beads[0].selection'", "matches no atoms", "select from")),
        ("nme O", '"mass"', ("'mapping.beads[0].selection'", "'nme O' can't be used", "selection language")),
        (
            "name O",
            "[1.0, 1.0]",
            ("'mapping.beads[0].weights'", "2 weights", "1 atoms", "one weight per atom"),
        ),
    ],
)
def test_beads_that_do_not_fit(raw_study, refused, tmp_path, selection, weights, words):
    folder = raw_study({'center = "geometry"': BEADS.format(selection=selection, weights=weights)})
    refused(["run", folder, "-o", tmp_path / "out"], f"{folder / 'model.toml'}: key ", *words)


def test_positions_that_are_no_numbers(raw_study, refused, tmp_path):
    import MDAnalysis

    folder = raw_study({'"atoms.xtc"': '"atoms.trr"'})
    universe = MDAnalysis.Universe(str(folder / "atoms.gro"), str(folder / "atoms.xtc"), refresh_offsets=True)
    with MDAnalysis.Writer(str(folder / "atoms.trr"), 27) as writer:
        for step in universe.trajectory:
            if step.frame == 12:
                step.positions[4] = np.nan
            writer.write(universe.atoms)
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        f"{folder / 'model.toml'}: key 'data.raw.trajectories': {folder / 'atoms.trr'}: frame 12, atom 4: ",
        "leave the frame out",
    )  # fmt: skip


def test_raw_files_that_are_good_pass_and_nothing_is_left_beside_them(raw_study, capsys):
    """A topology with masses; the weights of a bead may be numbers."""
    folder = raw_study(
        {
            '"atoms.gro"': '"atoms.data"\nfile_units = "real"',
            'center = "geometry"': BEADS.format(selection="type 1", weights="[2]"),
        },
        n_frames=120,
    )
    write_lammps_data(folder / "atoms.data", n_atoms=27)
    before = {path.name for path in folder.iterdir()}
    assert main(["check", str(folder)]) == 0
    assert "7 checks, 0 failed" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == before


def test_guessed_masses_are_told(raw_study, capsys):
    assert main(["check", str(raw_study(n_frames=120))]) == 1
    out = capsys.readouterr().out
    failed = [line for line in out.splitlines() if line.startswith("failed")]
    assert len(failed) == 1 and "guessed from atom names" in failed[0] and "8 checks, 1 failed" in out


def write_lammps_data(path, *, n_atoms: int) -> None:
    """Atoms of mass 16 in a box of 30 angstrom."""
    atoms = "".join(f"{i + 1} {i + 1} 1 0.0 {i}.0 0.0 0.0\n" for i in range(n_atoms))
    sides = "".join(f"0.0 30.0 {axis}lo {axis}hi\n" for axis in "xyz")
    path.write_text(
        f"atoms\n\n{n_atoms} atoms\n1 atom types\n\n{sides}\nMasses\n\n1 16.0\n\nAtoms # full\n\n{atoms}"
    )


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({'"atoms.gro"': '"gone.gro"'}, "data.compare.topology", ("gone.gro: no such file", "correct the path")),
        ({'"atoms.xtc"': '"gone.xtc"'}, "data.compare.trajectories", ("gone.xtc: no such file", "fetch the file")),
        ({'"atoms.gro"': '"atoms.xtc"'}, "data.compare.topology", ("can't be read as a topology", "give a whole")),
        ({'"atoms.xtc"': '"mapped.nc"'}, "data.compare.trajectories", ("can't be read", "give a whole xtc")),
        (
            {'center = "geometry"': 'center = "geometry"\nselection = "index 0 to 9"'},
            "data.compare.topology", ("maps to 10 sites", "have 27", "correct [mapping] or the files"),
        ),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("no_leftovers")
def test_atomistic_files_to_compare_with(compared_study, refused, tmp_path, change, key, words):
    folder = compared_study(change)
    refused(["run", folder, "-o", tmp_path / "out"], f"{folder / 'model.toml'}: key '{key}': ", *words)


def test_a_truncated_trajectory_to_compare_with(compared_study, refused, tmp_path):
    folder = compared_study()
    cut(folder / "atoms.xtc")
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        f"{folder / 'model.toml'}: key 'data.compare.trajectories': {folder / 'atoms.xtc'}: ends in the middle of frame",
        "copy it again",
    )  # fmt: skip
