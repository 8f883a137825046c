"""The pre-flight: what a look at data and model finds, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from bayescg.data import Mapping as BeadMapping
from bayescg.data import Topology, get_unit_system, open_trajectory, read_all, write_frames
from bayescg.errors import InputError
from bayescg.study import Study

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
    assert set(checks) == {"independent frames", "agreement", "equilibration", "units", "effect"}
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


@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_mapped_frames_are_compared_with_the_atomistic_ones(raw_study, shift):
    """What `[data.compare]` names is mapped again and held against the mapped frames of the same times."""
    folder = raw_study({"[data.raw]": '[data]\nframes = ["mapped.nc"]\n\n[data.compare]'}, n_frames=60)
    source = open_trajectory(
        folder / "atoms.gro",
        [folder / "atoms.xtc"],
        units=get_unit_system("gromacs"),
        temperature=300.0,
        mapping=BeadMapping.by_group("residue", "geometry"),
    )
    mapped = read_all(source)
    moved = mapped.positions.copy()
    moved[5, 2] += shift
    write_frames(replace(mapped, positions=moved), folder / "mapped.nc")
    check = checks_of(folder)["mapping"]
    assert check.verdict == ("passed" if shift == 0.0 else "failed")
    assert check.sentence.startswith("60 atomistic frames") and check.value == pytest.approx(shift, abs=2e-6)
