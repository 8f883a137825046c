"""The pre-flight: what a look at data and model finds, and what it refuses."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from bayescg.data import Topology
from bayescg.errors import InputError
from bayescg.physics import SufficientStatistics
from bayescg.progress import SilentProgress
from bayescg.study import Study
from bayescg.study._clock import StageClock
from bayescg.study._preflight import _length, refuse_wide_priors, sampled_distances

SPLINE = """\
kind = "spline"
inner = 0.5
cutoff = 2.5
spacing = 0.1
core_distance = 0.6
core_strength = 10.0
"""
LENNARD_JONES = 'kind = "lennard-jones"\nepsilon = 0.8\nsigma = 1.05\ncutoff = 2.5\n'


def checks_of(folder):
    return {check.name: check for check in Study.from_file(folder).check()}


@pytest.fixture(scope="module")
def many(make_frames):
    return make_frames(160)


def test_good_data_pass(study, many):
    checks = checks_of(study(data=many))
    names = {"independent frames", "agreement", "equilibration", "units", "effect", "box", "time step"}
    assert set(checks) == names
    assert [check for check in checks.values() if check.verdict != "passed"] == []
    assert 100 < checks["independent frames"].value <= 160.5


@pytest.mark.parametrize("factor", [1e3, 1e-4])
def test_forces_in_wrong_units(study, many, factor):
    check = checks_of(study(data=replace(many, forces=factor * many.forces)))["units"]
    assert check.verdict == "failed"
    assert "units of length, energy or temperature are probably wrong" in check.sentence


def test_frames_without_forces_leave_units_untested(study, many):
    check = checks_of(study(data=replace(many, forces=None)))["forces"]
    assert check.verdict == "not tested" and "no forces" in check.sentence


def test_knots_that_no_data_touch_are_told(study, many):
    check = checks_of(study({LENNARD_JONES: SPLINE}, data=many))["sampled distances"]
    shortest = shortest_distance(many)
    assert (
        check.value > 0
        and "0.500" in check.sentence
        and "core and smoothness prior hold them" in check.sentence
    )
    told = [float(word.strip("(,")) for word in check.sentence.split() if word.strip("(,").startswith("0.")]
    assert len(told) == check.value and max(told) < shortest + 0.1


def test_knots_of_the_second_term_of_a_sum_are_its_own(study, many):
    other = '\n[potential.tail]\nkind = "lennard-jones"\nepsilon = 0.1\nsigma = 1.0\ncutoff = 2.5\n'
    alone = study({LENNARD_JONES: SPLINE}, data=many)
    expected = checks_of(alone)["sampled distances"]
    text = (alone / "model.toml").read_text()
    head, table, rest = text.partition("[potential.fluid]\n" + SPLINE)
    (alone / "model.toml").write_text(head + other + table + rest)
    assert checks_of(alone)["sampled distances"] == expected


def shortest_distance(frames) -> float:
    delta = frames.positions[:, :, None] - frames.positions[:, None]
    delta -= frames.box[0] * np.round(delta / frames.box[0])
    return float(np.sqrt((delta**2).sum(-1))[:, ~np.eye(frames.n_sites, dtype=bool)].min())


def test_trajectories_that_disagree(study, many, make_frames):
    other = make_frames(80, seed=2)
    centre = other.positions.mean(axis=(0, 1))
    apart = replace(other, positions=centre + 1.05 * (other.positions - centre), trajectory=np.ones(80, int))
    check = checks_of(study(data=type(many).concatenate([many[:80], apart])))["agreement"]
    assert check.verdict == "failed" and "2 trajectories differ" in check.sentence


def test_trajectories_that_agree(study, make_frames):
    folder = study(data=make_frames(160, trajectory=np.repeat(np.arange(4), 40)))
    check = checks_of(folder)["agreement"]
    assert check.verdict == "passed" and "4 trajectories" in check.sentence


def test_halves_that_disagree(study, many):
    """A single trajectory that drifts: its two halves disagree."""
    centre = many.positions.mean(axis=(0, 1))
    growth = np.linspace(0.95, 1.05, many.n_frames)[:, None, None]
    check = checks_of(study(data=replace(many, positions=centre + growth * (many.positions - centre))))[
        "agreement"
    ]
    assert check.verdict == "failed" and "two halves" in check.sentence


def test_an_equilibration_at_the_start_is_found(study, make_frames):
    long = make_frames(300)
    centre = long.positions.mean(axis=(0, 1))
    shrunk = np.where(np.arange(300) < 130, 0.9, 1.0)[:, None, None]
    check = checks_of(study(data=replace(long, positions=centre + shrunk * (long.positions - centre))))[
        "equilibration"
    ]
    assert check.verdict == "failed" and 0.35 < check.value < 0.6 and "data.start" in check.sentence


def test_correlated_frames_are_counted_as_fewer(study, many):
    slow = replace(many, positions=np.repeat(many.positions[:16], 10, axis=0), forces=None)
    check = checks_of(study(data=slow))["independent frames"]
    assert check.verdict == "failed" and check.value < 40


def test_a_parameter_that_moves_no_energy(study, many):
    check = checks_of(study({"cutoff = 2.5": "cutoff = 0.2"}, data=many))
    assert check["effect"].verdict == "failed"
    assert "fluid_epsilon, fluid_sigma" in check["effect"].sentence


def test_several_types_of_site_are_refused(study, many):
    n = many.n_sites
    mixed = replace(many, topology=Topology(("A", "B", "A") * (n // 3), np.ones(n)))
    with pytest.raises(InputError, match="2 types .A, B.*map to one site per molecule"):
        checks_of(study(data=mixed))


def test_a_box_that_changes_is_refused(study, many):
    changing = replace(many, box=many.box * np.linspace(1.0, 1.01, many.n_frames)[:, None])
    with pytest.raises(InputError, match="box changes.*constant volume"):
        checks_of(study(data=changing))


WIDE = """\
[prior.fluid_coefficients]
distribution = "normal"
loc = 0.0
scale = {scale}

[simulation]"""


def with_normal_prior(study, many, kT: float):
    """The spline with independent normal coefficients, so many kT wide."""
    scale = kT * many.state.temperature
    return study({LENNARD_JONES: SPLINE, "[simulation]": WIDE.format(scale=scale)}, data=many)


def test_knots_that_nothing_holds_fail(study, many):
    """The sentence follows the prior in the model file: a normal one without smoothness holds no neighbour."""
    check = checks_of(with_normal_prior(study, many, 5.0))["sampled distances"]
    assert check.verdict == "failed" and check.value > 0
    assert "their prior is not a smoothness prior" in check.sentence and "free by 5 kT" in check.sentence
    assert "smoothness prior hold" not in check.sentence


def test_a_run_refuses_a_silly_prior_on_knots_that_no_data_touch(study, many, refused, tmp_path):
    folder = with_normal_prior(study, many, 101.0)
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        f"{folder / 'model.toml'}: key 'prior.fluid_coefficients': a standard deviation of 151.5 (101 kT)",
        "no data touch", "use `smoothness`, or at most 100 kT",
    )  # fmt: skip
    assert not (tmp_path / "out").exists()
    assert checks_of(folder)["sampled distances"].verdict == "failed"


@pytest.mark.parametrize("kT", [99.0, 101.0])
def test_how_wide_is_silly(study, many, kT):
    study_ = Study.from_file(with_normal_prior(study, many, kT))
    loaded = study_.pipeline.load(StageClock(SilentProgress()))
    refusal = pytest.raises(InputError, match="says nothing") if kT > 100.0 else nullcontext()
    with refusal:
        refuse_wide_priors(loaded.survey, loaded.potential, loaded.parameter_priors, path=study_.path)


def test_a_wide_prior_on_knots_that_data_touch_is_no_matter(study, make_frames):
    """Only what no data touch needs to be held."""
    folder = with_normal_prior(study, make_frames(160, spread=0.3), 101.0)
    text = (folder / "model.toml").read_text().replace("inner = 0.5", "inner = 0.7")
    (folder / "model.toml").write_text(text.replace("core_distance = 0.6", "core_distance = 0.7"))
    study_ = Study.from_file(folder)
    loaded = study_.pipeline.load(StageClock(SilentProgress()))
    (check,) = sampled_distances(loaded.survey, loaded.potential, loaded.parameter_priors)
    assert check.verdict == "passed" and "Data touch every knot" in check.sentence
    refuse_wide_priors(loaded.survey, loaded.potential, loaded.parameter_priors, path=study_.path)


def test_one_trajectory_and_two(study, make_frames):
    """Grammar; and nothing is advised where there is nothing to do."""
    checks = checks_of(study(data=make_frames(160)))
    assert "160 frames in 1 trajectory are worth" in checks["independent frames"].sentence


def test_an_equilibration_is_told_only_where_there_is_one(study, make_frames):
    checks = checks_of(study(data=make_frames(160, seed=3)))
    check = checks["equilibration"]
    assert ("data.start" in check.sentence) == (round(100 * check.value) > 0)
    still = _length(
        SufficientStatistics(
            np.random.default_rng(0).normal(size=(2000, 1)), np.zeros((2000, 1)), np.zeros((2000, 0)),
            np.zeros(2000, int),
        )
    )  # fmt: skip
    (check,) = [c for c in still if c.name == "equilibration"]
    assert (
        check.value < 0.005 and check.sentence == "No trajectory begins with an equilibration worth cutting."
    )


# [data.compare] --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_mapped_frames_are_compared_with_the_atomistic_ones(compared_study, shift):
    """What `[data.compare]` names is mapped again and held against the mapped frames of the same times."""

    def move(frames):
        moved = frames.positions.copy()
        moved[5, 2] += shift
        return replace(frames, positions=moved)

    check = checks_of(compared_study(change=move))["mapping"]
    assert check.verdict == ("passed" if shift == 0.0 else "failed")
    assert check.sentence.startswith(
        "60 atomistic frames, mapped here, differ from the mapped frames by at most"
    )
    assert check.value == pytest.approx(shift, abs=2e-6)


def test_frames_are_paired_by_time_wherever_they_stand(compared_study):
    """Many mapped frames in two trajectories, the second with the times of the atomistic piece, backwards."""

    def longer(frames):
        other = replace(frames, positions=frames.positions + 0.7, time=frames.time + 1000.0)
        parts = [other] * 3 + [frames[30:], frames[:30]]
        return type(frames).concatenate([replace(p, trajectory=np.zeros(len(p), int)) for p in parts])

    check = checks_of(compared_study(change=longer))["mapping"]
    assert check.verdict == "passed" and check.sentence.startswith("60 atomistic frames")


def test_no_times_in_common_is_told_as_such(compared_study):
    check = checks_of(compared_study(change=lambda frames: replace(frames, time=frames.time + 500.0)))[
        "mapping"
    ]
    assert check.verdict == "failed" and check.value is None
    assert (
        "No atomistic frame has the time of a mapped one (atomistic 0 to 59, mapped 500 to 559 ps)"
        in check.sentence
    )
    assert "name in data.compare the run" in check.sentence


def test_a_single_common_time(compared_study):
    check = checks_of(compared_study(change=lambda frames: replace(frames, time=frames.time + 59.0)))[
        "mapping"
    ]
    assert check.sentence.startswith("1 atomistic frame, mapped here, differs from the mapped frame by")


def test_frames_without_times_can_not_be_compared(compared_study):
    check = checks_of(compared_study(change=lambda frames: replace(frames, time=None)))["mapping"]
    assert check.verdict == "not tested" and "The mapped frames carry no times" in check.sentence
