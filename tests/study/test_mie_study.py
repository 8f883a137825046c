"""Model files with `kind = "mie"`: bad tables, what varies, a run and its tables, side by side with Lennard-Jones."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayescg.cli import main
from bayescg.data import Frames, get_unit_system, write_frames
from bayescg.output import open_result
from bayescg.physics import Mie
from bayescg.study import pair_tables
from bayescg.study._build import build_potential, parameter_priors
from bayescg.study._read import parse_model_file
from tests.study.conftest import LJ_MODEL

MIE_MODEL = LJ_MODEL.replace(
    'kind = "lennard-jones"\n', 'kind = "mie"\nn = 11.0\nm = 6.0\ninner = 0.75\nvary = ["epsilon", "n"]\n'
)

CASES = {
    "the wrong way round": (
        {"n = 11.0": "n = 6.0"}, "'potential.fluid'", "n (6), the exponent of the repulsion, must be above m (6)",
    ),
    "no exponent": ({"n = 11.0\n": ""}, "key 'potential.fluid.n' is missing: add it"),
    "inner beyond the cutoff": ({"inner = 0.75": "inner = 3.0"}, "'potential.fluid'", "inner (3) must be below cutoff (2.5)"),
    "smooth without an onset": ({"inner = 0.75": 'inner = 0.75\nconvention = "smooth"'}, "'potential.fluid'", "`onset`"),
    "too few nodes": ({"inner = 0.75": "inner = 0.75\nnodes = 8"}, "'potential.fluid.nodes'", "found 8"),
    "an unknown field": ({'"n"]': '"depth"]'}, "'potential.fluid.vary[1]'", "found 'depth', expected", "'epsilon', 'sigma', 'n'"),
    "nothing varies": ({'["epsilon", "n"]': "[]"}, "'potential.fluid.vary'"),
    "a prior for what is held": (
        {"[simulation]": '[prior.fluid_m]\ndistribution = "lognormal"\nloc = 1.8\nscale = 0.1\n\n[simulation]'},
        "'prior.fluid_m'", "no such parameter; use one of fluid_epsilon, fluid_n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_tables(case, study, refused, tmp_path):
    changes, *words = CASES[case]
    folder = study(changes, model=MIE_MODEL)
    refused(["check", folder], f"{folder / 'model.toml'}: ", *words)


def test_what_is_not_named_in_vary_is_held_and_a_truncation_becomes_shifted():
    text = MIE_MODEL.replace("cutoff = 2.5", 'cutoff = 2.5\nconvention = "truncated"')
    model = parse_model_file(text, Path("model.toml"))
    potential = build_potential(model, path=Path("model.toml"))
    assert (
        isinstance(potential, Mie) and potential.held == ("sigma", "m") and potential.convention == "shifted"
    )
    priors = parameter_priors(model, potential, get_unit_system("lj"), path=Path("model.toml"))
    assert sorted(priors) == ["fluid_epsilon", "fluid_n"]
    assert float(priors["fluid_n"].scale) == 0.2 and float(priors["fluid_epsilon"].scale) == 1.0
    every = parse_model_file(MIE_MODEL.replace('vary = ["epsilon", "n"]\n', ""), Path("model.toml"))
    assert build_potential(every, path=Path("model.toml")).held == ()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("mie")


def quick_run(folder: Path, name: str, model: str, frames: Frames) -> Path:
    (folder / "models" / name).mkdir(parents=True)
    (folder / "models" / name / "model.toml").write_text(model)
    write_frames(frames, folder / "models" / name / "frames.nc")
    assert main(["run", str(folder / "models" / name), "-o", str(folder / name), "--quick"]) == 0
    return folder / name


@pytest.fixture(scope="module")
def run(folder, frames) -> Path:
    return quick_run(folder, "mie", MIE_MODEL, frames)


def test_a_run_has_the_parameters_that_vary_and_curves(run):
    tree = open_result(run)
    assert sorted(tree["posterior"].data_vars) == ["fluid_epsilon", "fluid_n"]
    for name in ("fluid_epsilon", "fluid_n"):
        assert float(tree["posterior"][name].std()) < float(
            tree["prior"][name].std()
        )  # the frames say something
    assert np.isfinite(tree["prediction"]["pair_energy"]).all()
    assert (run / "figures" / "potential.png").stat().st_size > 5000


def test_tables_for_an_engine_are_the_formula_at_the_draws(run):
    tables = pair_tables(run, 3)
    z = np.asarray(open_result(run)["unconstrained"]["z_calibrated"])
    values = np.exp(z.reshape(-1, 2))[np.linspace(0, z.shape[0] * z.shape[1] - 1, 3).astype(int)]
    r = tables.distance[(tables.distance > 0.8) & (tables.distance < 2.49)]
    for row, (epsilon, n) in zip(tables.energy, values, strict=True):
        exact = Mie(epsilon, 1.05, n, 6.0, inner=0.75, cutoff=2.5)
        expected = np.asarray(exact.formula(r)) - float(exact.formula(np.asarray(2.5)))
        np.testing.assert_allclose(row[np.isin(tables.distance, r)], expected, atol=1e-3 * epsilon, rtol=1e-3)


def test_identify_takes_it(run, capsys):
    assert main(["identify", str(run)]) == 0
    assert "fluid_n" in capsys.readouterr().out


@pytest.mark.slow
def test_compare_takes_it(run, folder, frames, tmp_path, capsys):
    """Forms of different features: their log Z are related by simulated mixtures."""
    other = quick_run(folder, "lj", LJ_MODEL, frames)
    capsys.readouterr()
    assert main(["compare", str(run), str(other), "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "quick test run" in out and "mixtures of 2 forms" in out
    with xr.open_dataset(tmp_path / "out" / "comparison.nc") as table:
        assert set(table["run"].values) == {"mie", "lj"}
        assert np.isfinite(table["difference"].values).all()


def test_the_check_of_a_model_file_with_it(study, capsys):
    folder = study(model=MIE_MODEL)
    assert main(["check", str(folder)]) in (0, 1)
    assert "Every parameter changes the energy of the frames." in capsys.readouterr().out
