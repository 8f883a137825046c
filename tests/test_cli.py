"""The command line: what it prints, what it returns, and that it never shows a traceback for bad input."""

import json
import subprocess
import sys
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr

from bayescg._arguments import parse
from bayescg.cli import main
from bayescg.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


class FakeCheck(NamedTuple):
    name: str
    verdict: str
    sentence: str


class FakeStudy:
    """Stands for `bayescg.study.Study`, so that the command line is tested alone."""

    calls: list[tuple] = []
    verdicts = ("passed", "failed")

    @staticmethod
    def from_file(path: Path) -> "FakeStudy":
        text = path.read_text()
        if "temperature = -1" in text:
            raise InputError(f"{path}: data.temperature: found -1,\nexpected a number above zero")
        return FakeStudy()

    def check(self) -> list[FakeCheck]:
        return [FakeCheck(f"check {verdict}", verdict, f"It {verdict}.") for verdict in self.verdicts]

    def run(self, output: Path, *, progress, seed: int | None = None, quick: bool = False) -> xr.DataTree:
        FakeStudy.calls.append((output, seed, quick))
        progress.stage("search", total=2)
        progress.update(1, metrics={"n_eff": "310"})
        output.mkdir(parents=True)
        (output / "posterior.nc").write_text("")
        tree = xr.DataTree()
        tree.attrs["wall_time_s"] = json.dumps({"read": 1.0, "search": 2.0, "compile": 0.5})
        tree.attrs["statement"] = json.dumps(["The frames are worth 400."])
        tree.attrs["checks"] = json.dumps([{"name": "pressure", "verdict": "failed", "sentence": "Far off."}])
        return tree

    @staticmethod
    def resume(output: Path, *, progress) -> xr.DataTree:
        raise InputError(f"{output}: holds no run to resume")


def fake_pair_tables(output: Path, n_draws: int):
    from bayescg.data import get_unit_system
    from bayescg.output import PairTables

    r = np.linspace(0.2, 0.9, 701)
    energy, force = 1e-4 * r**-6, 6e-4 * r**-7
    return PairTables(
        r, np.tile(energy, (n_draws, 1)), np.tile(force, (n_draws, 1)), energy, force,
        [f"draw {k}" for k in range(n_draws)], get_unit_system("gromacs"), {"calibration": "affine sandwich"},
    )  # fmt: skip


def fake_export_pairs(folder, place, *, engine, n_draws, units, steps, repeats, kelvin, tell):
    from bayescg.output import export_lammps

    tables = fake_pair_tables(folder, n_draws)
    files = export_lammps(tables, place, units=units or "real")
    exported = types.SimpleNamespace(files=files, n_draws=n_draws, calibration="affine sandwich")
    exported.units = f"LAMMPS' units {units or 'real'}"
    return exported


@pytest.fixture
def fake_study(monkeypatch, tmp_path):
    module = types.ModuleType("bayescg.study")
    monkeypatch.setattr(FakeStudy, "calls", [])
    monkeypatch.setattr(module, "Study", FakeStudy, raising=False)
    monkeypatch.setattr(module, "export_pairs", fake_export_pairs, raising=False)
    monkeypatch.setitem(sys.modules, "bayescg.study", module)
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "models" / "water"
    model.mkdir(parents=True)
    (model / "model.toml").write_text("[data]\n")
    return model


def test_run_tells_times_files_and_statement(fake_study, capsys):
    assert main(["run", str(fake_study), "--seed", "5", "--quick"]) == 0
    assert FakeStudy.calls == [(Path("runs/water"), 5, True)]
    out, err = capsys.readouterr()
    for text in (
        "search",
        "2.0 s",
        "total",
        "3.0 s",
        "of which compiling 0.5 s",
        "posterior.nc",
        "worth 400",
    ):
        assert text in out
    assert "failed: pressure: Far off." in out
    assert "search" in err


def test_run_takes_the_file_too_and_an_output_folder(fake_study, tmp_path):
    assert main(["run", str(fake_study / "model.toml"), "-o", str(tmp_path / "here")]) == 0
    assert FakeStudy.calls == [(tmp_path / "here", None, False)]


def test_check_returns_1_where_something_failed(fake_study, capsys, monkeypatch):
    assert main(["check", str(fake_study)]) == 1
    assert "2 checks, 1 failed" in capsys.readouterr().out
    monkeypatch.setattr(FakeStudy, "verdicts", ("passed", "not tested"))
    assert main(["check", str(fake_study)]) == 0


def test_errors_are_one_line(fake_study, capsys):
    (fake_study / "model.toml").write_text("temperature = -1\n")
    for arguments in (
        ["run", str(fake_study)],
        ["check", str(fake_study / "none")],
        ["resume", "nowhere"],
        ["report", "nowhere"],
    ):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("bayescg: error: ") and err.count("\n") == 1, err


def test_a_crash_shows_its_traceback_and_is_no_failed_check(fake_study, monkeypatch, capsys):
    def broken(path):
        raise ZeroDivisionError

    monkeypatch.setattr(FakeStudy, "from_file", staticmethod(broken))
    assert main(["check", str(fake_study)]) == 3
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1].startswith(
        "bayescg: error: crashed with ZeroDivisionError"
    )


def test_export_writes_tables_once(fake_study, tmp_path, capsys):
    tree = xr.DataTree()
    tree.attrs["schema_version"] = 1
    tree.to_netcdf(tmp_path / "posterior.nc", engine="netcdf4")
    assert main(["export", str(tmp_path), "--draws", "3"]) == 0
    assert "the mean and 3 draws, in LAMMPS' units real" in capsys.readouterr().out
    assert (tmp_path / "lammps" / "draws" / "draw_002.table").is_file()
    assert main(["export", str(tmp_path), "--draws", "3"]) == 2
    assert "not empty" in capsys.readouterr().err
    assert (
        main(["export", str(tmp_path), "--draws", "3", "--units", "metal", "--to", str(tmp_path / "b")]) == 0
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run"],
        ["fly"],
        ["run", "m", "--seed", "-1"],
        ["run", "m", "--seed", "x"],
        ["run", "m", "--seed", str(2**32)],
        ["export", "o", "--draws", "0"],
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "usage: bayescg" in capsys.readouterr().err


def test_observables_may_stand_before_and_behind_options(capsys):
    before = parse(["predict", "run", "rdf", "pressure", "--temperature", "90"])
    behind = parse(["predict", "run", "--temperature", "90", "rdf", "pressure"])
    assert before == behind and before.observables == ["rdf", "pressure"]
    with pytest.raises(SystemExit):
        parse(["predict", "run", "rdf", "--temprature", "90"])
    assert "--temprature" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom bayescg.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "assert not {'jax', 'numpy', 'xarray', 'matplotlib'} & set(sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr
    for command in ("run", "check", "resume", "report", "export"):
        assert command in result.stdout


def test_the_module_returns_what_the_command_returns(tmp_path):
    """`python -m bayescg` ends a script with `set -e` on bad input, as `bayescg` does."""
    command = [sys.executable, "-m", "bayescg", "identify", str(tmp_path / "nothing")]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 2 and found.stderr.startswith("bayescg: error: ")
