"""Every notebook runs to its end in its fast mode.

Notebooks are stored as Python scripts in the percent format, so running one as a script runs its cells in order.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


@pytest.mark.notebook
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook: Path, tmp_path: Path):
    environment = os.environ | {"BAYESCG_FAST": "1", "MPLBACKEND": "Agg", "JAX_ENABLE_X64": "1"}
    result = subprocess.run(
        [sys.executable, str(notebook)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_in_the_percent_format(notebook: Path):
    jupytext = pytest.importorskip("jupytext")
    cells = jupytext.read(notebook).cells
    assert any(cell.cell_type == "markdown" for cell in cells)
    assert any(cell.cell_type == "code" for cell in cells)
