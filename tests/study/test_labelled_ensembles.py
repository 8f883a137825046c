"""The ensembles of `[misspecification]`: as Python makes them, side by side in the result, resumed, exported, refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from bayescg.analysis import label_coverage
from bayescg.cli import main
from bayescg.inference import bootstrap, configuration_discrepancy, pops_hypercube, white_rows
from bayescg.output import open_result
from bayescg.progress import SilentProgress
from bayescg.study import Study, stored_potentials
from bayescg.study._clock import StageClock

NAMES = ["pops", "discrepancy", "bootstrap"]
MODEL = """\
title = "Mixtures whose energies do not add up"
units = "metal"

[data]
configurations = ["mixtures.extxyz"]
use = ["energy"]
held_out_fraction = 0.4

[potential.atoms]
kind = "species-energies"
energies = [-0.1, -0.3]

[noise.energy]
learned = 0.1

[inference]
seed = 7
warmup = 100
draws = 100

[misspecification]
ensembles = ["pops", "discrepancy", "bootstrap"]
draws = 300
resamples = 80
"""


def mixtures(folder: Path) -> Path:
    """Clusters of two species, far apart, with an energy per atom that bends with their share."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(80):
        n = rng.integers(1, 6, size=2)
        along = 9.0 * np.arange(n.sum()) + rng.uniform(-0.5, 0.5, size=n.sum())
        atoms = Atoms(f"Ar{n[0]}Kr{n[1]}", positions=along[:, None] * [1.0, 0.0, 0.0])
        share = n[0] / n.sum()
        bent = -0.1 * share - 0.3 * (1.0 - share) + 0.02 * np.sin(7.0 * share)
        atoms.calc = SinglePointCalculator(atoms, energy=n.sum() * bent)
        images.append(atoms)
    write(folder / "mixtures.extxyz", images)
    (folder / "model.toml").write_text(MODEL)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    return mixtures(tmp_path_factory.mktemp("mixtures"))


@pytest.fixture(scope="module")
def out(study) -> Path:
    assert main(["run", str(study), "-o", str(study / "out")]) == 0
    return study / "out"


@pytest.fixture(scope="module")
def tree(out) -> xr.DataTree:
    return open_result(out)


def test_ensembles_are_those_of_the_python_interface(study, tree):
    """From the stored mode, by the functions' own seeds: the same numbers; by name they are the same draws too."""
    stored = tree["unconstrained"].to_dataset()
    loaded = Study.from_file(study).pipeline.load(StageClock(SilentProgress()))
    mode = stored["map"].values
    rows = white_rows(loaded.prior, mode, loaded.data)
    expected = {
        "pops": pops_hypercube(rows, n=300, seed=7),
        "discrepancy": configuration_discrepancy(rows).new_configuration_draws(n=300, seed=7),
        "bootstrap": bootstrap(loaded.prior, loaded.data, mode, n=80, seed=7).draws,
    }
    for name, draws in expected.items():
        np.testing.assert_array_equal(stored[f"z_{name}"], draws, err_msg=name)
        by_name = tree[f"posterior_{name}"]["atoms_energies"].values
        assert by_name.shape == (1, len(draws), 2)
        here = [prior_value(loaded.prior, z) for z in draws[:3]]
        np.testing.assert_allclose(by_name[0, :3], here, rtol=1e-12)


def prior_value(prior, z):
    return np.asarray(prior.potential(z).potential.parameter_values()["atoms_energies"])


def test_groups_say_what_their_spread_is_and_is_not(tree):
    for name in NAMES:
        attributes = tree[f"posterior_{name}"].attrs
        assert attributes["ensemble"] == name and attributes["spread"] and "not " in attributes["is_not"]
        assert attributes["seed"] == 7 and tree[f"posterior_{name}"]["atoms_energies"].attrs["units"] == "eV"
    assert tree["posterior_discrepancy"].attrs["strength"] > 0.0
    assert "ensemble" not in tree["posterior"].attrs


def test_coverage_stands_side_by_side(study, tree):
    table = tree["coverage_by_ensemble"].to_dataset()
    assert list(table["ensemble"].values) == ["posterior", *NAMES]
    np.testing.assert_allclose(table["level"], [0.5, 0.8, 0.9, 0.95])
    assert table["unit"].sel(quantity="energy") == "eV per atom"
    loaded = Study.from_file(study).pipeline.load(StageClock(SilentProgress()))
    for name in NAMES:
        draws = tree["unconstrained"][f"z_{name}"].values
        direct = label_coverage(loaded.prior, draws, loaded.test, with_noise=False).sel(quantity="energy")
        ours = table.sel(ensemble=name, interval="parameters alone", quantity="energy")
        np.testing.assert_allclose(ours["coverage"], direct["coverage"], err_msg=name)
        np.testing.assert_allclose(ours["width"], direct["width"], rtol=1e-6, err_msg=name)
    # the labels' errors and the form's are one in POPS: noise is not added
    assert np.isnan(table["coverage"].sel(ensemble="pops", interval="with noise")).all()
    wide = table["width"].sel(interval="parameters alone", quantity="energy", level=0.9).squeeze("group")
    assert wide.sel(ensemble="discrepancy") > 2.0 * wide.sel(ensemble="posterior")


def test_report_statement_and_file_show_it(out, tree):
    statement = " ".join(json.loads(tree.attrs["statement"]))
    for words in (
        "inside 90 % intervals of the parameters alone: posterior energy",
        "POPS",
        "too narrow: ",
        "Narrowest",
    ):
        assert words in statement
    page = (out / "report.html").read_text()
    assert "<h2>Coverage by ensemble</h2>" in page and "no error of the form is in it" in page
    with (out / "coverage.csv").open() as file:
        rows = list(csv.DictReader(file))
    pooled = [row for row in rows if row["group"] == "(all groups)"]
    assert {row["ensemble"] for row in pooled} == {"posterior", *NAMES}
    assert {row["verdict"] for row in pooled} <= {"too narrow", "as nominal", "too wide"}
    assert len(rows) == 2 * len(pooled) == 2 * 4 * 7  # one group; POPS has no intervals with noise
    assert (out / "figures" / "coverage_by_ensemble.png").stat().st_size > 10_000
    assert {"pops", "discrepancy", "bootstrap"} <= set(json.loads(tree.attrs["wall_time_s"]))
    verdicts = {check["name"]: check["verdict"] for check in json.loads(tree.attrs["checks"])}
    assert all(verdicts[f"ensemble {name}"] == "passed" for name in NAMES)  # predictions are linear


def test_report_is_written_again(out):
    before = (out / "coverage.csv").read_bytes()
    (out / "coverage.csv").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "coverage.csv").read_bytes() == before


class Stop(Exception):
    """Stands for a kill."""


class StopAt(SilentProgress):
    """Stops a run where a stage begins."""

    def __init__(self, stage: str):
        self.last = stage

    def stage(self, name, *, total=None, unit=""):
        if name == self.last:
            raise Stop


def test_a_run_stopped_among_the_ensembles_ends_with_the_same_bits(study, tree, tmp_path):
    with pytest.raises(Stop):
        Study.from_file(study).run(tmp_path / "out", progress=StopAt("making the ensemble bootstrap"))
    assert {path.name for path in (tmp_path / "out" / "checkpoint").glob("ensemble_*")} == {
        "ensemble_pops.npz", "ensemble_discrepancy.npz",
    }  # fmt: skip
    again, before = Study.resume(tmp_path / "out"), tree
    for name in ("z_calibrated", *(f"z_{name}" for name in NAMES)):
        np.testing.assert_array_equal(
            again["unconstrained"][name], before["unconstrained"][name], err_msg=name
        )
    for name in NAMES:
        assert again[f"posterior_{name}"].attrs == before[f"posterior_{name}"].attrs
    np.testing.assert_array_equal(
        again["coverage_by_ensemble"]["coverage"], before["coverage_by_ensemble"]["coverage"]
    )


def test_draws_of_an_ensemble_become_potentials(out, tree):
    stored = tree["posterior_bootstrap"]["atoms_energies"].values[0]
    draws = stored_potentials(out, 80, ensemble="bootstrap")
    np.testing.assert_allclose(draws.stack.energies, stored, rtol=1e-12)
    assert "no error of the form" in draws.posterior and draws.provenance["ensemble"] == "bootstrap"
    assert "sandwich" in stored_potentials(out, 5).posterior


def test_check_says_what_will_be_made(study, capsys):
    assert main(["check", str(study)]) == 0
    told = capsys.readouterr().out
    assert "Will be made: 300 draws, spread evenly over the hypercube" in told
    assert "Will be made: 80 draws, the mode of one resampled data set each, from 48 configurations." in told


@pytest.mark.slow
def test_properties_and_exported_files_of_a_form_that_bends(tmp_path, capsys):
    """Lennard-Jones fitted to dimers of another law: bands from an ensemble, a warning where linear predictions fail."""
    rng = np.random.default_rng(4)
    images = []
    for r in rng.uniform(3.6, 4.6, size=50):
        e = np.exp(-1.5 * (r - 3.8))
        force = 0.012 * 3.0 * (e**2 - e)
        atoms = Atoms("Ar2", positions=[[0, 0, 0], [r, 0, 0]])
        pull = np.array([[-force, 0, 0], [force, 0, 0]])
        atoms.calc = SinglePointCalculator(atoms, energy=0.012 * (e**2 - 2 * e), forces=pull)
        images.append(atoms)
    write(tmp_path / "dimers.extxyz", images)
    (tmp_path / "model.toml").write_text(
        'title = "Another law"\nunits = "metal"\n[data]\nconfigurations = ["dimers.extxyz"]\nheld_out_fraction = 0.4\n'
        '[potential.lj]\nkind = "lennard-jones"\nepsilon = 0.012\nsigma = 3.4\ncutoff = 9.0\n'
        "[noise.energy]\nlearned = 0.001\n[noise.forces]\nlearned = 0.005\n[inference]\nwarmup = 200\ndraws = 100\n"
        '[misspecification]\nensembles = ["discrepancy", "bootstrap"]\ndraws = 100\nresamples = 50\n'
        'properties_from = "bootstrap"\n[prediction]\ndraws = 20\n'
        '[property.argon]\nsymbols = "Ar"\nstructure = "fcc"\na = 5.3\ncompute = ["lattice"]\n'
    )
    assert main(["run", str(tmp_path), "-o", str(tmp_path / "out")]) == 0
    tree = open_result(tmp_path / "out")
    assert tree["property"].attrs["draws_from"] == "bootstrap"
    statement = " ".join(json.loads(tree.attrs["statement"]))
    assert "Bands of properties are those of bootstrap, not of the posterior" in statement
    assert tree["posterior_bootstrap"].attrs["linear"] == 0
    bent = tree["posterior_discrepancy"].attrs["linearisation_error"]
    verdicts = {check["name"]: check["verdict"] for check in json.loads(tree.attrs["checks"])}
    assert verdicts["ensemble discrepancy"] == ("warning" if bent >= 0.3 else "passed")
    assert ("Do not rely on the coverage of discrepancy" in statement) == (bent >= 0.3)
    capsys.readouterr()
    assert main(["export", str(tmp_path / "out"), "--ensemble", "bootstrap", "--draws", "3"]) == 0
    assert "bootstrap ensemble" in capsys.readouterr().out
    manifest = (tmp_path / "out" / "lammps_bootstrap" / "manifest.json").read_text()
    assert "no error of the form" in manifest and "sandwich" not in manifest


# What is refused ------------------------------------------------------------------------------------------


@pytest.fixture
def changed(tmp_path):
    """The study with changes in its model file."""

    def make(changes: dict[str, str]) -> Path:
        folder = tmp_path / "study"
        folder.mkdir()
        mixtures(folder)
        text = MODEL
        for old, new in changes.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / "model.toml").write_text(text)
        return folder

    return make


ALL = 'ensembles = ["pops", "discrepancy", "bootstrap"]'
PROPERTY = '\n[property.solid]\nsymbols = "Ar"\nstructure = "fcc"\na = 5.3\ncompute = ["lattice"]\n'
CASES = {
    "unknown ensemble": ({ALL: 'ensembles = ["popps"]'}, "key 'misspecification.ensembles[0]'", "'popps'", "'pops'"),
    "none": ({ALL: "ensembles = []"}, "key 'misspecification.ensembles'", "at least one"),
    "named twice": ({ALL: 'ensembles = ["pops", "bootstrap", "pops"]'}, "key 'misspecification'", "'pops' twice"),
    "properties from one that is not made": (
        {ALL: 'ensembles = ["pops", "bootstrap"]\nproperties_from = "discrepancy"'},
        "key 'misspecification'", "properties_from is 'discrepancy'", "choose from posterior, pops, bootstrap",
    ),
    "properties from something else": (
        {ALL: f'{ALL}\nproperties_from = "mean"'}, "key 'misspecification.properties_from'", "'mean'", "'posterior'",
    ),
    "properties from where there are none": (
        {ALL: f'{ALL}\nproperties_from = "pops"'}, "misspecification.properties_from", "no [property.NAME]",
    ),
    "a setting of what is not made": (
        {ALL: 'ensembles = ["pops", "discrepancy"]'}, "key 'misspecification'", "`resamples` belongs to 'bootstrap'",
    ),
    "too few draws": ({"draws = 300": "draws = 20"}, "key 'misspecification.draws'", "at least 50"),
    "heavy tails": (
        {"[inference]": '[likelihood]\nfamily = "student-t"\n\n[inference]'}, "[misspecification]", "Gaussian noise",
    ),
    "too few configurations": (
        {"held_out_fraction = 0.4": "stop = 2"},
        "key 'misspecification.ensembles'", "'discrepancy' needs at least 3", "found 2", "leave 'discrepancy' out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_model_files(case, changed, refused, tmp_path):
    changes, *words = CASES[case]
    folder = changed(changes)
    refused(["run", folder, "-o", tmp_path / "out"], str(folder / "model.toml"), *words)


def test_labels_that_no_parameter_changes(changed, refused, tmp_path):
    """Forces alone say nothing about energies of isolated atoms."""
    folder = changed({'use = ["energy"]': 'use = ["forces"]', "[noise.energy]": "[noise.forces]"})
    from ase.io import read

    images = read(folder / "mixtures.extxyz", ":")
    for atoms in images:
        atoms.calc = SinglePointCalculator(atoms, forces=np.full((len(atoms), 3), 0.01))
    write(folder / "mixtures.extxyz", images)
    refused(
        ["run", folder, "-o", tmp_path / "out"],
        "key 'misspecification.ensembles'", "'pops' needs labels that change with the parameters", "leave 'pops' out",
    )  # fmt: skip


def test_check_refuses_what_a_run_would(changed, refused):
    folder = changed({"held_out_fraction = 0.4": "stop = 2"})
    refused(["check", folder], "key 'misspecification.ensembles'", "'discrepancy' needs at least 3")


def test_check_warns_where_nothing_is_held_out_or_configurations_are_few(changed, capsys):
    folder = changed(
        {"held_out_fraction = 0.4": "stop = 3", "[potential.atoms]": '[potential.pair]\nkind = "mie"\n'
         "epsilon = 0.01\nsigma = 3.4\nn = 12.0\nm = 6.0\ncutoff = 9.5\n\n[potential.atoms]"}
    )  # fmt: skip
    main(["check", str(folder)])
    told = capsys.readouterr().out
    assert "No configuration is held out, so that nothing says which ensemble covers" in told
    assert "3 configurations for" in told and "much of its width is the prior's" in told


def test_export_of_an_ensemble_that_is_not_there(tree, refused, tmp_path):
    less = tree.copy()
    del less["posterior_pops"]
    (tmp_path / "less").mkdir()
    less.to_netcdf(tmp_path / "less" / "posterior.nc", engine="netcdf4")
    refused(
        ["export", tmp_path / "less", "--ensemble", "pops", "--draws", "3"],
        "holds no ensemble 'pops'", "only posterior, discrepancy, bootstrap", "[misspecification]",
    )  # fmt: skip
