"""What `bayescg check` says of the simulations to come: right setups pass, each classic artefact fails and names its key."""

from dataclasses import replace

import numpy as np
import pytest

from bayescg.cli import main
from bayescg.data import Topology, get_unit_system, read_configurations
from bayescg.physics import LongRangeCoulomb
from bayescg.study import Study
from bayescg.study._net_charge import net_charge_checks
from tests.study.test_long_range_study import MODEL as SALT
from tests.study.test_long_range_study import crystals

LENNARD_JONES = 'kind = "lennard-jones"\nepsilon = 0.8\nsigma = 1.05\ncutoff = 2.5\n'
SPLINE = """\
kind = "spline"
inner = 0.7
cutoff = 2.5
spacing = 0.2
core_distance = 0.75
core_strength = 10.0
"""
FORCES = '\n[inference]\nstart = "force-matching"\n'
GUESS = '\n[inference]\nstart = "guess"\n'


@pytest.fixture(scope="module")
def many(make_frames):
    return make_frames(60, spread=0.1)


def checks_of(folder):
    return {check.name: check for check in Study.from_file(folder).check()}


def test_a_long_time_step_fails_on_the_command_line_and_names_its_key(study, many, capsys):
    folder = study(
        {"time_step = 0.005": "time_step = 0.08", "replicas = 16\n": f"replicas = 16\n{GUESS}"}, data=many
    )
    assert main(["check", str(folder)]) == 1
    (line,) = [one for one in capsys.readouterr().out.splitlines() if " time step " in one]
    assert line.startswith("failed") and "set simulation.time_step to at most" in line
    assert "unstable" in line and "with the model file's own parameters" in line


def test_the_limit_is_that_of_the_sampler(study, many):
    """Six steps per period: too few for plain dynamics, enough where trajectories are accepted or rejected."""
    changes = {"replicas = 16\n": f"replicas = 16\n{GUESS}"}
    folder = study(changes, data=many)
    check = checks_of(folder)["time step"]
    assert check.verdict == "passed" and check.threshold == 4.0
    text = (folder / "model.toml").read_text()
    six = 0.005 * check.value / 6.0
    (folder / "model.toml").write_text(text.replace("time_step = 0.005", f"time_step = {six}"))
    check = checks_of(folder)["time step"]
    assert check.verdict == "passed" and check.value == pytest.approx(6.0, rel=0.05)
    assert "Metropolis" in check.sentence


@pytest.mark.parametrize(("start", "told"), [(FORCES, "forces of 60"), ("", "positions of 60")])
def test_a_spline_is_matched_to_frames_first(study, make_frames, start, told):
    """Its coefficients are 0 in the model file. The frames' forces are those of a Lennard-Jones fluid."""
    many = make_frames(60)
    folder = study(
        {
            LENNARD_JONES: SPLINE,
            "time_step = 0.005": "time_step = 0.05",
            "replicas = 16\n": f"replicas = 16\n{start}",
        },
        data=many,
    )
    check = checks_of(folder)["time step"]
    assert f"with a potential matched to the {told} frames" in check.sentence
    period = check.value * 0.05
    if start:  # of forces without noise
        exact = checks_of_lennard_jones(folder)
        assert period == pytest.approx(exact, rel=0.15)
    assert 0.05 < period < 0.5


def checks_of_lennard_jones(folder) -> float:
    """The period with the potential that the forces come from [tau]."""
    text = (folder / "model.toml").read_text()
    true = LENNARD_JONES.replace("0.8", "1.0").replace("1.05", "0.9")
    (folder / "model.toml").write_text(text.replace(SPLINE, true).replace("force-matching", "guess"))
    return checks_of(folder)["time step"].value * 0.05


def test_a_poor_guess_is_not_believed_where_the_run_does_not_start_from_it(study, many):
    """σ is 25 % too large: with it the frames overlap, and the step looks too long."""
    changes = {"sigma = 1.05": "sigma = 1.125", "time_step = 0.005": "time_step = 0.02"}
    folder = study(changes | {"replicas = 16\n": f"replicas = 16\n{GUESS}"}, data=many)
    guessed = checks_of(folder)["time step"]
    text = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(text.replace(GUESS, FORCES))
    matched = checks_of(folder)["time step"]
    assert guessed.verdict == "failed" and matched.verdict == "passed"
    assert "matched to the forces" in matched.sentence


def test_a_box_that_molecules_fill_fails_and_names_its_keys(study, many):
    """Nine chains of three sites, R_g = 0.92: 2 R_g + 2 r_c is above the edge of 6, 2 r_c below."""
    chains = Topology(("A",) * 27, np.ones(27), molecules=np.repeat(np.arange(9), 3))
    check = checks_of(study(data=replace(many, topology=chains)))["box"]
    assert check.verdict == "failed" and check.value == 6.0 and 6.8 < check.threshold < 7.3
    assert "its own image" in check.sentence and "`data`" in check.sentence
    assert "`potential.fluid.cutoff`" in check.sentence


def test_a_box_large_enough_passes(study, many):
    check = checks_of(study(data=many))["box"]
    assert (check.verdict, check.value, check.threshold) == ("passed", 6.0, 5.0)


def test_net_charge_of_labelled_configurations(labelled_study):
    changes = {'"energy", "forces", "stress"': '"energy"'}
    changes |= {f"[noise.{name}]\nknown = {sd}\n": "" for name, sd in (("forces", 0.01), ("stress", 0.001))}
    folder = labelled_study(SALT, "salt.extxyz", crystals(), changes)
    check = checks_of(folder)["net charge"]
    assert check.verdict == "passed" and abs(check.value) < 1e-9 and "configuration" in check.sentence
    data = read_configurations(folder / "salt.extxyz", units=get_unit_system("metal"))
    ions = LongRangeCoulomb(
        [-0.9, 0.8], formulas=(), coulomb=14.4, species=data.species, cutoff=4.0, accuracy=1e-4
    )
    (check,) = net_charge_checks(ions, data)
    assert check.verdict == "failed" and check.value == pytest.approx(-0.2)  # two of each
    assert "uniform background" in check.sentence and "`potential.coulomb.charges`" in check.sentence
