"""Bad input: one line that names file, key and remedy, a non-zero exit, and nothing written."""

import re
from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from bayescg.cli import main

SPLINE_TABLE = """\
[potential.fluid]
kind = "spline"
inner = 0.8
cutoff = 2.5
spacing = 0.2
core_distance = 0.9
core_strength = 10.0
"""

LJ_TABLE = """\
[potential.fluid]
kind = "lennard-jones"
epsilon = 0.8
sigma = 1.05
cutoff = 2.5
"""


@pytest.fixture
def refused(tmp_path: Path, capsys) -> Callable[..., str]:
    """Runs a command that must fail in one line with all these words, and that must change no file."""

    def run(arguments: list[str | Path], *words: str) -> str:
        capsys.readouterr()
        before = contents(tmp_path)
        assert main([str(a) for a in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        message = one_error_line(err)
        for word in words:
            assert word in message, f"{word!r} is not in: {message}"
        assert contents(tmp_path) == before
        return message

    return run


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, but for the index that MDAnalysis keeps beside a trajectory."""
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file() and "offsets" not in p.name}


def one_error_line(err: str) -> str:
    """The last line; those before it tell stages."""
    lines = [line for line in err.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("bayescg: error: ")]
    assert errors == lines[-1:], err
    assert "Traceback" not in err
    return errors[0]


MODEL_FILE_CASES = {
    "unknown key": ({"temperature = 1.5": "temperature = 1.5\ncolour = 3"}, "'colour'", "remove it"),
    "unknown key in a table": ({"stride = 20": "stride = 20\nstrides = 3"}, "'simulation.strides'", "spelling"),
    "unknown key in a potential": ({"sigma = 1.05": "sigma = 1.05\nsgima = 1"}, "'potential.fluid.sgima'", "spelling"),
    "missing key": ({"friction = 1.0\n": ""}, "'simulation.friction'", "add it"),
    "unknown kind": ({'"lennard-jones"': '"mie"'}, "'potential.fluid'", "'lennard-jones'"),
    "no kind": ({'kind = "lennard-jones"\n': ""}, "'potential.fluid.kind'", "add it"),
    "wrong type": ({"stride = 20": 'stride = "often"'}, "'simulation.stride'", "integer", "often"),
    "negative temperature": ({"temperature = 1.5": "temperature = -1.5"}, "'temperature'", "greater than 0", "-1.5"),
    "zero cutoff": ({"cutoff = 2.5": "cutoff = 0.0"}, "'potential.fluid.cutoff'", "greater than 0"),
    "another unit system": ({'units = "lj"': 'units = "si"'}, "'units'", "gromacs", "si"),
    "replicas": ({"replicas = 16": "replicas = 12"}, "simulation.replicas", "(12)", "multiple", "(8)"),
    "no data": ({'frames = ["frames.nc"]': ""}, "'data'", "`frames`", "`raw`"),
    "syntax": ({"[simulation]": "[simulation"}, "not valid TOML", "line", "mend"),
    "smooth without an onset": (
        {"cutoff = 2.5": 'cutoff = 2.5\nconvention = "smooth"'}, "'potential.fluid'", "`onset`",
    ),
    "prior of nothing": (
        {"[simulation]": '[prior.fluid_gamma]\ndistribution = "normal"\nloc = 0.0\nscale = 1.0\n\n[simulation]'},
        "'prior.fluid_gamma'", "no such parameter", "fluid_epsilon, fluid_sigma",
    ),
    "prior wider than its support": (
        {"[simulation]": '[prior.fluid_epsilon]\ndistribution = "normal"\nloc = 1.0\nscale = 1.0\n\n[simulation]'},
        "'prior.fluid_epsilon'", "negative", "LogNormal",
    ),
    "prior without its scale": (
        {"[simulation]": '[prior.fluid_epsilon]\ndistribution = "lognormal"\nloc = 0.0\n\n[simulation]'},
        "'prior.fluid_epsilon'", "takes loc, scale", "found loc",
    ),
    "prior with a wrong type": (
        {"[simulation]": '[prior.fluid_epsilon]\ndistribution = "lognormal"\nloc = "x"\nscale = 1.0\n\n[simulation]'},
        "'prior.fluid_epsilon.loc'", "number", "'x'",
    ),
    "prior with an unknown key": (
        {"[simulation]": '[prior.fluid_epsilon]\ndistribution = "exponential"\nspeed = 1.0\n\n[simulation]'},
        "unknown key 'prior.fluid_epsilon.speed'", "spelling",
    ),
    "prior that says nothing": (
        {"[simulation]": "[prior.fluid_epsilon]\n\n[simulation]"}, "'prior.fluid_epsilon'", "give one",
    ),
    "uniform the wrong way round": (
        {"[simulation]": '[prior.fluid_sigma]\ndistribution = "uniform"\nlow = 2.0\nhigh = 1.0\n\n[simulation]'},
        "'prior.fluid_sigma'", "below high",
    ),
    "smoothness of one number": (
        {"[simulation]": "[prior.fluid_sigma]\nsmoothness = 0.1\n\n[simulation]"},
        "'prior.fluid_sigma'", "`distribution`",
    ),
    "flat prior on spline coefficients": (
        {
            LJ_TABLE: SPLINE_TABLE,
            "[simulation]": "[prior.fluid_coefficients]\n"
            'distribution = "uniform"\nlow = -9.0\nhigh = 9.0\n\n[simulation]',
        },
        "'prior.fluid_coefficients'", "flat prior", "`smoothness`",
    ),
    "spline that is too coarse": (
        {LJ_TABLE: SPLINE_TABLE.replace("spacing = 0.2", "spacing = 1.0")},
        "'potential.fluid'", "spacing (1)", "4 intervals",
    ),
    "inner knot beyond the cutoff": (
        {LJ_TABLE: SPLINE_TABLE.replace("inner = 0.8", "inner = 3.0")},
        "'potential.fluid'", "inner (3) must be below cutoff",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MODEL_FILE_CASES)
def test_model_files(case, study, refused, tmp_path):
    changes, *words = MODEL_FILE_CASES[case]
    folder = study(changes)
    refused(["run", folder, "-o", tmp_path / "out"], f"{folder / 'model.toml'}: ", *words)
    refused(["check", folder], f"{folder / 'model.toml'}: ", *words)


def test_no_model_file(tmp_path, refused):
    refused(["run", tmp_path / "nowhere"], str(tmp_path / "nowhere"), "no such file", "model.toml")


def test_missing_frames(study, refused, tmp_path):
    folder = study(data=None)
    refused(
        ["run", folder, "-o", tmp_path / "out"], f"{folder / 'frames.nc'}: ", "[data]", "correct the path"
    )


def test_truncated_frames(study, refused, tmp_path):
    folder = study()
    whole = (folder / "frames.nc").read_bytes()
    (folder / "frames.nc").write_bytes(whole[: len(whole) // 2])
    refused(["run", folder, "-o", tmp_path / "out"], f"{folder / 'frames.nc'}: ")


def test_positions_that_are_no_numbers(study, refused, tmp_path):
    folder = study()
    with netCDF4.Dataset(folder / "frames.nc", "a") as file:
        file["positions"][7, 3, 1] = np.nan
    message = refused(["run", folder, "-o", tmp_path / "out"], f"{folder / 'frames.nc'}", "frame", "position")
    assert re.search(r"\b7\b", message) and re.search(r"\b3\b", message), message


def test_data_of_another_temperature(study, refused, tmp_path):
    folder = study({"temperature = 1.5": "temperature = 1.4"})
    refused(["run", folder, "-o", tmp_path / "out"], f"{folder / 'frames.nc'}: ", "temperature", "1.5", "1.4")


def test_box_smaller_than_twice_the_cutoff(study, refused, tmp_path):
    folder = study({"cutoff = 2.5": "cutoff = 3.1"})
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        f"{folder / 'model.toml'}: ", "'potential.fluid.cutoff'", "3.1", "6", "shorten the cutoff",
    )  # fmt: skip


def test_ten_frames_only(study, refused, tmp_path, make_frames):
    folder = study(data=make_frames(10))
    refused(
        ["run", folder, "-o", tmp_path / "out"], f"{folder / 'model.toml'}: ", "'data'", "10 frames", "longer",
    )  # fmt: skip


def test_start_and_stop_that_leave_nothing(study, refused, tmp_path):
    folder = study({'frames = ["frames.nc"]': 'frames = ["frames.nc"]\nstart = 500'})
    refused(["run", folder, "-o", tmp_path / "out"], f"{folder / 'frames.nc'}: ", "500", "start")


def test_force_matching_without_forces(study, refused, tmp_path, frames):
    bare = type(frames)(frames.positions, frames.box, frames.topology, frames.state, frames.units)
    folder = study({"replicas = 16": 'replicas = 16\n\n[inference]\nstart = "force-matching"'}, data=bare)
    refused(["run", folder, "-o", tmp_path / "out"], "'inference.start'", "no forces", "score-matching")


def test_missing_trajectory(raw_study, refused, tmp_path):
    folder = raw_study({'"atoms.xtc"': '"gone.xtc"'})
    refused(["run", folder, "-o", tmp_path / "out"], f"{folder / 'gone.xtc'}: ", "[data]", "correct the path")


def test_truncated_trajectory(raw_study, refused, tmp_path):
    folder = raw_study()
    whole = (folder / "atoms.xtc").read_bytes()
    (folder / "atoms.xtc").write_bytes(whole[:-50])
    refused(["run", folder, "-o", tmp_path / "out"], f"{folder / 'atoms.xtc'}: ", "frame 29", "copy it again")


def test_topology_of_another_system(raw_study, refused, tmp_path):
    folder = raw_study(topology_atoms=26)
    refused(
        ["run", folder, "-o", tmp_path / "out"], f"{folder / 'atoms.xtc'}: ", "27 atoms", "26", "give the topology",
    )  # fmt: skip


def test_selection_that_matches_nothing(raw_study, refused, tmp_path):
    folder = raw_study({'center = "geometry"': 'center = "geometry"\nselection = "name OW"'})
    refused(["run", folder, "-o", tmp_path / "out"], str(folder / "atoms.gro"), "selection", "name OW")


def test_raw_files_that_are_good_pass(raw_study, capsys):
    assert main(["check", str(raw_study())]) in (0, 1)
    assert "checks" in capsys.readouterr().out


def test_an_output_folder_that_holds_another_run(study, refused, tmp_path):
    folder, out = study(), tmp_path / "out"
    for name in ("run.json", "posterior.nc"):
        out.mkdir(exist_ok=True)
        (out / name).write_text("somebody's work")
        refused(["run", folder, "-o", out], f"{out}: ", "another run", "-o", "resume")
        (out / name).unlink()


def test_nothing_to_resume_report_or_export(tmp_path, refused):
    empty = tmp_path / "empty"
    empty.mkdir()
    for place in (empty, tmp_path / "nowhere"):
        refused(["resume", place], f"{place}: ", "no run to resume", "bayescg run")
        refused(["report", place], str(place / "posterior.nc"), "no such file", "finished run")
        refused(["export", place], str(place / "posterior.nc"), "no such file", "finished run")


def test_a_damaged_record(tmp_path, refused):
    (tmp_path / "run.json").write_text("{")
    refused(["resume", tmp_path], str(tmp_path / "run.json"), "damaged", "new folder")
