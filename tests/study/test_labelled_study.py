"""A whole study of labelled configurations, from the model file to files: two parameters from one dimer (T3)."""

import json
from pathlib import Path

import arviz_base
import numpy as np
import pytest
import xarray as xr
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from bayescg.cli import main
from bayescg.data import conversion, get_unit_system
from bayescg.inference import _checkpoint
from bayescg.output import PosteriorCalculator, open_result
from bayescg.progress import SilentProgress
from bayescg.study import Study, stored_potentials

MODELS = Path(__file__).resolve().parents[2] / "models"
R0, ENERGY, FORCE = (
    3.6,
    -0.1936007,
    0.4906515,
)  # Å, kcal/mol, kcal/mol/Å; VALIDATION T3, unrounded in the data


@pytest.fixture(scope="module")
def dimer(tmp_path_factory) -> Path:
    """The output of `models/argon-dimer`."""
    out = tmp_path_factory.mktemp("dimer") / "out"
    assert main(["run", str(MODELS / "argon-dimer"), "-o", str(out)]) == 0
    return out


def test_a_run_leaves_these_files(dimer):
    assert {path.name for path in dimer.iterdir()} == {
        "posterior.nc", "report.html", "parameters.csv", "figures", "run.json",
    }  # fmt: skip
    assert {path.name for path in (dimer / "figures").iterdir()} == {
        "residuals.png", "fisher.png", "sloppiness.png", "trace.png",
    }  # fmt: skip
    page = (dimer / "report.html").read_text()
    assert "temperature" not in page.split("<h2>")[0] and "nothing to draw it from" in page


def test_two_parameters_from_one_energy_and_one_force(dimer):
    """A = r₀¹² (r₀F − 6U)/6 and B = r₀⁶ (r₀F − 12U)/6 at the maximum; the posterior lies about the truth."""
    tree = open_result(dimer)
    at_map = dict(
        zip(
            tree["unconstrained"]["coordinate"].values,
            np.exp(tree["unconstrained"]["map"].values),
            strict=True,
        )
    )
    epsilon, sigma = at_map["lj_epsilon"], at_map["lj_sigma"]
    # data are exact to eight decimals in eV; the prior, a factor e wide, shifts by some 1e-6
    assert 4.0 * epsilon * sigma**12 == pytest.approx(2312290.2257, rel=2e-4)
    assert 4.0 * epsilon * sigma**6 == pytest.approx(1483.677962, rel=2e-4)
    for name, truth in (("lj_epsilon", 0.238), ("lj_sigma", 3.405)):
        low, high = np.quantile(tree["posterior"][name], [0.05, 0.95])
        assert low < truth < high


def test_the_result_says_units_and_what_its_width_is(dimer):
    tree = open_result(dimer)
    assert tree["posterior"]["lj_epsilon"].attrs["units"] == "kcal/mol"
    assert tree["posterior"]["lj_sigma"].attrs["units"] == "angstrom"
    rows = tree["labels/train/forces"]
    assert rows["sd"].attrs["ddof"] == 1 and rows["sd"].attrs["units"] == "kcal/mol/angstrom"
    assert tree["posterior"].attrs["assumes_independent_frames"] == 0
    assert tree["posterior_raw"].attrs["assumes_independent_frames"] == 1
    statement = " ".join(json.loads(tree.attrs["statement"]))
    assert "Learned from 1 configuration in one group: 1 energy, 6 force components." in statement
    assert "T0 = " in statement and "it shrinks the error bars" in statement  # labels without noise: T0 < 1


def test_one_configuration_is_told_to_be_few(dimer):
    verdicts = {check["name"]: check["verdict"] for check in json.loads(open_result(dimer).attrs["checks"])}
    assert verdicts["configurations"] == "failed" and verdicts["noise"] == "not tested"
    assert verdicts["modes"] == "passed" and verdicts["R-hat"] == "passed"


def test_arviz_reads_the_result(dimer):
    tree = open_result(dimer)
    assert {"posterior", "sample_stats", "log_likelihood"} <= set(tree.children)
    assert arviz_base.extract(tree, group="posterior")["lj_sigma"].size == 4000
    assert tree["log_likelihood"]["configurations"].dims == ("chain", "draw", "configuration")


def test_draws_become_potentials_again(dimer):
    draws = stored_potentials(dimer, 40)
    atoms = read(MODELS / "argon-dimer" / "data" / "dimer.extxyz")
    label = atoms.get_potential_energy()
    atoms.calc = PosteriorCalculator(draws)
    spread = 0.0005 * 2 * conversion("energy", "real", "metal")  # noise per atom, two atoms
    assert abs(atoms.get_potential_energy() - label) < 3 * spread
    assert 0.3 * spread < atoms.calc.results["energy_std"] < 5 * spread


def test_export_writes_files_for_lammps(dimer, tmp_path, capsys):
    assert main(["export", str(dimer), "--draws", "3", "--to", str(tmp_path / "lammps")]) == 0
    assert "the mean and 3 draws, in LAMMPS' units real" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "lammps" / "manifest.json").read_text())
    assert "sandwich" in json.dumps(manifest)
    assert main(["export", str(dimer), "--to", str(tmp_path / "lammps")]) == 2


def test_report_writes_the_same_again(dimer, tmp_path):
    before = (dimer / "parameters.csv").read_bytes()
    assert main(["report", str(dimer)]) == 0
    assert (dimer / "parameters.csv").read_bytes() == before


@pytest.mark.parametrize("system", ["metal", "gromacs"])
def test_another_unit_system_gives_the_same_physics(dimer, system, tmp_path):
    """Every stored number, uncertainties included, is the converted one: the mode and its curvature to rounding, which
    chains amplify, so that draws agree within their Monte-Carlo error."""
    text = (MODELS / "argon-dimer" / "model.toml").read_text()
    energy, length = conversion("energy", "real", system), conversion("length", "real", system)
    for old, new in (
        ('units = "real"', f'units = "{system}"'),
        ('["data/dimer.extxyz"]', f'["{MODELS}/argon-dimer/data/dimer.extxyz"]'),
        ("epsilon = 0.3 ", f"epsilon = {0.3 * energy!r} "),
        ("sigma = 3.3 ", f"sigma = {3.3 * length!r} "),
        ("cutoff = 30.0", f"cutoff = {30.0 * length!r}"),
        ("loc = -1.2", f"loc = {-1.2 + float(np.log(energy))!r}"),
        ("loc = 1.2\n", f"loc = {1.2 + float(np.log(length))!r}\n"),
        ("known = 0.0005 ", f"known = {0.0005 * energy!r} "),
        ("known = 0.005 ", f"known = {0.005 * energy / length!r} "),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (tmp_path / "model.toml").write_text(text)
    assert main(["run", str(tmp_path), "-o", str(tmp_path / "out")]) == 0
    ours, theirs = open_result(dimer), open_result(tmp_path / "out")
    for name, factor in (("lj_epsilon", energy), ("lj_sigma", length)):
        one, other = ours["posterior"][name], theirs["posterior"][name]
        # one configuration: the calibrated draws are of a t with 3 degrees of freedom, whose moments hardly settle
        (low, middle, high), found = (np.quantile(draws, [0.25, 0.5, 0.75]) for draws in (one, other))
        assert found[1] == pytest.approx(middle * factor, abs=0.1 * (high - low) * factor)
        assert found[2] - found[0] == pytest.approx((high - low) * factor, rel=0.1)
        assert other.attrs["units"] == get_unit_system(system).unit(
            "energy" if factor == energy else "length"
        )
    first, second = (tree["unconstrained"] for tree in (ours, theirs))
    shift = np.log([energy, length])  # both priors are lognormal, in the order epsilon, sigma
    np.testing.assert_allclose(second["map"], first["map"] + shift, rtol=0, atol=1e-6)
    np.testing.assert_allclose(second["laplace_covariance"], first["laplace_covariance"], rtol=1e-4)
    for quantity, factor in (("energy", energy), ("forces", energy / length)):
        one, other = (tree[f"labels/train/{quantity}"]["sd"].values for tree in (ours, theirs))
        # standard deviations of few draws with heavy tails; a factor that is forgotten is at least 4
        np.testing.assert_allclose(other, one * factor, rtol=0.4, atol=1e-9 * factor)


class Stop(Exception):
    """Stands for a kill."""


class StopAfter(SilentProgress):
    """Stops a run at its n-th sign of life."""

    def __init__(self, n: int):
        self.left = n

    def update(self, completed, *, metrics=None):
        self.left -= 1
        if self.left == 0:
            raise Stop


@pytest.mark.parametrize("n", [3, 12, 20])  # in the search (8 starts), in the warm-up, among the draws
def test_a_stopped_run_resumes_to_the_same_draws(dimer, n, tmp_path, monkeypatch):
    original = _checkpoint.Checkpoints.__init__
    monkeypatch.setattr(
        _checkpoint.Checkpoints,
        "__init__",
        lambda self, folder, *, identity: original(self, folder, identity=identity, interval=0.0),
    )
    with pytest.raises(Stop):
        Study.from_file(MODELS / "argon-dimer").run(tmp_path / "out", progress=StopAfter(n))
    assert not (tmp_path / "out" / "posterior.nc").exists()
    again = Study.resume(tmp_path / "out")
    np.testing.assert_array_equal(again["unconstrained"]["z"], open_result(dimer)["unconstrained"]["z"])
    np.testing.assert_array_equal(
        again["unconstrained"]["z_calibrated"], open_result(dimer)["unconstrained"]["z_calibrated"]
    )
    assert not (tmp_path / "out" / "checkpoint").exists()


# Held-out data, groups, properties -------------------------------------------------------------------------


def springs(rng: np.random.Generator, n: int) -> list[Atoms]:
    """Crystals of argon-like atoms with labels of a Lennard-Jones law and noise, in two groups."""
    from bayescg.data import Configurations
    from bayescg.physics import LennardJonesPairs, environments, in_data_order, predict

    images = []
    law = LennardJonesPairs(0.0104, 3.4, species=("Ar",), cutoff=6.0, convention="smooth", onset=5.0)
    from ase.build import bulk

    for k in range(n):
        atoms = bulk("Ar", "fcc", a=5.2 * (1.0 + 0.01 * (k % 3)), cubic=True)
        atoms.rattle(0.1, rng=rng)
        one = Configurations(
            species=("Ar",), positions=(atoms.positions,), types=(np.zeros(4, int),), cell=atoms.cell.array[None],
            periodic=np.ones((1, 3), bool), units=get_unit_system("metal"),
        )  # fmt: skip
        batch = environments(one, law.cutoff)
        found = in_data_order(batch, [predict(law, b) for b in batch])
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=float(found.energy[0]) + 4 * 2e-4 * rng.normal(),
            forces=np.asarray(found.forces) + 1e-3 * rng.normal(size=(4, 3)),
        )
        atoms.info["group"] = "cold" if k % 2 else "hot"
        images.append(atoms)
    return images


MODEL = """
title = "Crystals of argon"
units = "metal"

[data]
configurations = ["crystals.extxyz"]
{division}

[potential.lj]
kind = "lennard-jones"
epsilon = 0.012
sigma = 3.3
cutoff = 6.0
convention = "smooth"
onset = 5.0

[noise.energy]
learned = 0.001

[noise.forces]
learned = 0.01

[inference]
warmup = 200
draws = 250

[prediction]
draws = 20

[property.argon]
symbols = "Ar"
structure = "fcc"
a = 5.2
compute = ["lattice", "phonons"]
path = "GX"
points = 3
"""


@pytest.fixture(scope="module")
def crystals(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crystals")
    write(folder / "crystals.extxyz", springs(np.random.default_rng(1), 40))
    return folder


@pytest.mark.parametrize(
    "division",
    ["held_out_fraction = 0.3", pytest.param('held_out_groups = ["hot"]', marks=pytest.mark.slow)],
)
def test_held_out_labels_are_covered_and_the_truth_is_found(crystals, division, tmp_path):
    """Held-out configurations at random, and a whole group, whose noise is then that of all."""
    (crystals / "model.toml").write_text(MODEL.format(division=division))
    assert main(["run", str(crystals), "-o", str(tmp_path / "out")]) == 0
    tree = open_result(tmp_path / "out")
    assert tree["coverage"].sizes["group"] == (2 if "fraction" in division else 1)
    for name, truth in (("lj_epsilon", 0.0104), ("lj_sigma", 3.4)):
        draws = tree["posterior"][name]
        assert abs(float(draws.mean()) - truth) < 3.5 * float(draws.std())
    noise = tree["posterior"]["noise_forces"].mean(["chain", "draw"]).values
    np.testing.assert_allclose(noise, 1e-3, rtol=0.2)
    count = tree["coverage"]["count"].sel(quantity="forces")
    share = (tree["coverage"]["coverage"].sel(quantity="forces", level=0.9) * count).sum() / count.sum()
    assert 0.8 < float(share) < 0.97
    bands = tree["property"]
    # the truth's own lattice constant follows from the same code at the true parameters
    assert bands["mean"].sel(component="argon_lattice_a") == pytest.approx(5.2, abs=0.15)
    assert {"coverage.png", "properties.png", "phonons.png"} <= {
        p.name for p in (tmp_path / "out/figures").iterdir()
    }
    assert any("Of the held-out labels" in sentence for sentence in json.loads(tree.attrs["statement"]))


def test_check_tells_what_the_doctor_finds(crystals, capsys):
    (crystals / "model.toml").write_text(MODEL.format(division=""))
    assert main(["check", str(crystals)]) == 0
    out = capsys.readouterr().out
    assert "note" in out and "Every parameter changes some prediction." in out
    assert "property argon_lattice" in out and "computed normally" in out


def test_check_names_a_parameter_without_effect(crystals, tmp_path, capsys):
    """A hump beyond all distances: nothing would be learned of it."""
    text = MODEL.format(division="") + (
        '\n[potential.hump]\nkind = "gaussian-bumps"\nheights = [[0.1]]\ncentres = [[0.5]]\nwidths = [[0.01]]\n'
        'cutoff = 6.0\nvary = ["heights"]\n'
    )
    (crystals / "model.toml").write_text(text)
    assert main(["check", str(crystals)]) == 1
    assert "No prediction changes with hump_heights" in capsys.readouterr().out


def test_the_tree_is_a_tree_of_netcdf(dimer):
    with xr.open_datatree(dimer / "posterior.nc") as tree:
        assert tree.attrs["kind"] == "labelled" and json.loads(tree.attrs["species"]) == ["Ar"]
