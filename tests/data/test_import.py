"""Importing the room costs little and pulls in no reader."""

import subprocess
import sys


def test_readers_are_imported_only_when_used():
    code = (
        "import sys, bayescg.data;"
        "print([m for m in ('MDAnalysis', 'netCDF4', 'xarray', 'jax', 'matplotlib') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]" and found.stderr == ""
