"""Bad input: one line that names file, key and remedy, a non-zero exit, and nothing written."""

from dataclasses import replace

import netCDF4
import numpy as np
import pytest

from bayescg.data import Topology, write_frames

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


MODEL_FILE_CASES = {
    "unknown key": ({"temperature = 1.5": "temperature = 1.5\ncolour = 3"}, "'colour'", "remove it"),
    "unknown key in a table": ({"stride = 20": "stride = 20\nstrides = 3"}, "'simulation.strides'", "spelling"),
    "unknown key in a potential": ({"sigma = 1.05": "sigma = 1.05\nsgima = 1"}, "'potential.fluid.sgima'", "spelling"),
    "missing key": ({"friction = 1.0\n": ""}, "'simulation.friction'", "add it"),
    "unknown kind": (
        {'"lennard-jones"': '"morse"'},
        "'potential.fluid.kind'", "found 'morse', expected one of 'spline', 'lennard-jones', 'mie', 'wca', 'double-well'",
    ),
    "no kind": ({'kind = "lennard-jones"\n': ""}, "'potential.fluid.kind'", "add it"),
    "wrong type": ({"stride = 20": 'stride = "often"'}, "'simulation.stride'", "found 'often', expected a whole number"),
    "number in quotes": ({"friction = 1.0": 'friction = "1.0"'}, "'simulation.friction'", "expected a number [1/tau]"),
    "list where a table belongs": ({"[simulation]": "[[simulation]]"}, "'simulation'", "expected a table"),
    "negative temperature": (
        {"temperature = 1.5": "temperature = -1.5"}, "'temperature'", "found -1.5, expected a number above 0",
    ),
    "kelvin": (
        {"temperature = 1.5": "temperature = -300.0", 'units = "lj"': 'units = "gromacs"'},
        "key 'temperature': found -300.0, expected a number above 0 [K]",
    ),
    "endless cutoff": ({"cutoff = 2.5": "cutoff = inf"}, "'potential.fluid.cutoff'", "found inf, expected a finite number"),
    "endless time step": ({"time_step = 0.005": "time_step = inf"}, "'simulation.time_step'", "found inf", "finite"),
    "no number for a prior": (
        {"[simulation]": '[prior.fluid_sigma]\ndistribution = "lognormal"\nloc = nan\nscale = 1.0\n\n[simulation]'},
        "'prior.fluid_sigma.loc'", "found nan, expected a finite number",
    ),
    "weights of a bead by a wrong name": (
        {"[simulation]": '[mapping]\nbeads = [{ name = "A", selection = "all", weights = "mas" }]\n\n[simulation]'},
        "'mapping.beads[0].weights'", "found 'mas', expected 'mass', 'geometry' or a list of numbers",
    ),
    "weights of a bead that cancel": (
        {"[simulation]": '[mapping]\nbeads = [{ name = "A", selection = "all", weights = [1.0, -1] }]\n\n[simulation]'},
        "'mapping.beads[0].weights'", "positive sum",
    ),
    "bins of g(r) wider than half the box": (
        {"replicas = 16": "replicas = 16\n\n[prediction]\nrdf_bin = 5.0"},
        "'prediction.rdf_bin'", "bins of 5 sigma are too wide", "cutoff (2.5)", "half the box (3)", "give less, for example 0.05",
    ),
    "bins of g(r) without number": (
        {"replicas = 16": "replicas = 16\n\n[prediction]\nrdf_bin = 1e-7"},
        "'prediction.rdf_bin'", "more than 10000", "give more, for example 0.05",
    ),
    "zero cutoff": ({"cutoff = 2.5": "cutoff = 0.0"}, "'potential.fluid.cutoff'", "found 0.0, expected a number above 0"),
    "another unit system": ({'units = "lj"': 'units = "si"'}, "'units'", "gromacs", "si"),
    "replicas": ({"replicas = 16": "replicas = 12"}, "simulation.replicas", "(12)", "multiple", "(8)"),
    "no data": ({'frames = ["frames.nc"]': ""}, "'data'", "`frames`", "`raw`"),
    "syntax": ({"[simulation]": "[simulation"}, "not valid TOML", "line", "mend"),
    "smooth without an onset": (
        {"cutoff = 2.5": 'cutoff = 2.5\nconvention = "smooth"'}, "'potential.fluid'", "`onset`",
    ),
    "unknown sampler": (
        {"replicas = 16": 'replicas = 16\n\n[inference]\nsampler = "emcee"'},
        "'inference.sampler'", "found 'emcee', expected one of 'nuts'", "'sgld'", "'exchange'", "'bayesbag'",
    ),
    "minibatches of a sampler that takes all frames": (
        {"replicas = 16": 'replicas = 16\n\n[inference]\nsampler = "smc"\nbatch = 10'},
        "'inference'", "`batch` belongs to the samplers 'sgld' and 'sghmc', not to 'smc'; remove it",
    ),
    "temperature of a sampler without": (
        {"replicas = 16": "replicas = 16\n\n[inference]\nposterior_temperature = 2.0"},
        "'inference'", "`posterior_temperature` belongs to the sampler 'tempered-langevin', not to 'nuts'; remove it",
    ),
    "no temperature": (
        {"replicas = 16": 'replicas = 16\n\n[inference]\nsampler = "tempered-langevin"\nposterior_temperature = 0.0'},
        "'inference.posterior_temperature'", "found 0.0, expected a number above 0",
    ),
    "step of a sampler without steps": (
        {"replicas = 16": "replicas = 16\n\n[inference]\nstep_tolerance = 0.1"},
        "'inference'", "`step_tolerance` belongs to the samplers 'sgld' and 'sghmc', not to 'nuts'; remove it",
    ),
    "tolerance of a whole width": (
        {"replicas = 16": 'replicas = 16\n\n[inference]\nsampler = "sgld"\nstep_tolerance = 1.0'},
        "'inference'", "step_tolerance (1) must be below 1", "0.1 is the default",
    ),
    "step that no chain survives": (
        {"replicas = 16": 'replicas = 16\n\n[inference]\nsampler = "sgld"\nstep = 4.0'},
        "'inference'", "step (4) must be below 4, where sgld is unstable", "step_tolerance",
    ),
    "prior of nothing": (
        {"[simulation]": '[prior.fluid_gamma]\ndistribution = "normal"\nloc = 0.0\nscale = 1.0\n\n[simulation]'},
        "'prior.fluid_gamma'", "no such parameter; use one of fluid_epsilon, fluid_sigma",
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
    "misspelt smoothness": (
        {"[simulation]": "[prior.fluid_sigma]\nsmothness = 0.1\n\n[simulation]"},
        "'prior.fluid_sigma'", "only `smothness`", "`smoothness`",
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
        ["run", folder, "-o", tmp_path / "out"],
        f"{folder / 'model.toml'}: key 'data.frames': {folder / 'frames.nc'}: ", "correct the path",
    )  # fmt: skip


def test_truncated_frames(study, refused, tmp_path):
    folder = study()
    whole = (folder / "frames.nc").read_bytes()
    (folder / "frames.nc").write_bytes(whole[: len(whole) // 2])
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        f"{folder / 'model.toml'}: key 'data.frames': {folder / 'frames.nc'}: ", "truncated", "copy it again",
    )  # fmt: skip


def test_positions_that_are_no_numbers(study, refused, tmp_path):
    folder = study()
    with netCDF4.Dataset(folder / "frames.nc", "a") as file:
        file["positions"][7, 3, 1] = np.nan
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        f"{folder / 'model.toml'}: key 'data.frames': {folder / 'frames.nc'}: the position of site 3 in frame 7 is ",
        "leave the frame out",
    )  # fmt: skip


def test_positions_that_are_no_numbers_in_a_later_block(study, refused, tmp_path, make_frames):
    """The frame is counted in the file, whatever start and stride are."""
    folder = study(
        {'frames = ["frames.nc"]': 'frames = ["frames.nc"]\nstart = 3\nstride = 2'}, data=make_frames(200)
    )
    with netCDF4.Dataset(folder / "frames.nc", "a") as file:
        file["positions"][161, 5, 0] = np.inf
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        "'data.frames'",
        "the position of site 5 in frame 161 is [inf,",
    )


def test_files_of_different_systems(study, refused, tmp_path, frames):
    folder = study({'["frames.nc"]': '["frames.nc", "other.nc"]'})
    heavier = Topology(frames.topology.site_types, 2.0 * frames.topology.masses)
    write_frames(replace(frames, topology=heavier), folder / "other.nc")
    refused(["run", folder, "-o", tmp_path / "out"], "'data.frames[1]'", "differs from the first", "keep")


def test_a_trajectory_in_pieces(study, refused, tmp_path, frames):
    """Its frames are not one after the other, in a file that another program wrote."""
    folder = study()
    with netCDF4.Dataset(folder / "frames.nc", "a") as file:
        file["trajectory"][30:40] = 1
    refused(["run", folder, "-o", tmp_path / "out"], "'data.frames'", "not contiguous", "sort")


def test_data_of_another_temperature(study, refused, tmp_path):
    folder = study({"temperature = 1.5": "temperature = 1.4"})
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        f"key 'temperature': {folder / 'frames.nc'}: ", "1.5", "1.4", "give that one",
    )  # fmt: skip


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
    refused(
        ["run", folder, "-o", tmp_path / "out"], f"key 'data.start': {folder / 'frames.nc'}: ", "500", "lower start",
    )  # fmt: skip


def test_force_matching_without_forces(study, refused, tmp_path, frames):
    bare = type(frames)(frames.positions, frames.box, frames.topology, frames.state, frames.units)
    folder = study({"replicas = 16": 'replicas = 16\n\n[inference]\nstart = "force-matching"'}, data=bare)
    refused(["run", folder, "-o", tmp_path / "out"], "'inference.start'", "no forces", "score-matching")
