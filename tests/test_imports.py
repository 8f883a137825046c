"""The rooms import one way, and importing the package costs nothing and changes nothing."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)


def test_rooms_import_one_way():
    code = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    result = run_python(code)
    assert result.returncode == 0, result.stdout + result.stderr


def test_importing_the_package_loads_nothing_heavy():
    heavy = "('jax', 'numpy', 'xarray', 'matplotlib', 'MDAnalysis', 'pydantic', 'rich')"
    result = run_python(f"import sys, bayescg; print([name for name in {heavy} if name in sys.modules])")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"
    assert result.stderr == ""


def test_importing_the_command_line_loads_nothing_heavy():
    heavy = "('jax', 'numpy', 'xarray', 'matplotlib', 'MDAnalysis', 'pydantic')"
    result = run_python(f"import sys, bayescg.cli; print([name for name in {heavy} if name in sys.modules])")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"


def test_importing_every_room_leaves_jax_settings_and_output_alone():
    rooms = "data, physics, inference, analysis, output, study"
    result = run_python(
        "import jax\n"
        "before = dict(jax.config.values)\n"
        f"from bayescg import {rooms}\n"
        "changed = {k: v for k, v in jax.config.values.items() if before.get(k, v) != v}\n"
        "assert not changed, changed\n"
        "assert not jax.config.jax_enable_x64\n"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""


def test_unknown_room_is_named():
    result = run_python("import bayescg; bayescg.physic")
    assert result.returncode != 0
    assert "its rooms are" in result.stderr
