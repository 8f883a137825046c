"""How the files of an export are written, and told from changed ones."""

import hashlib
import os
from pathlib import Path

LAMMPS_GRID = 20_000
"""Entries that `pair_style table` interpolates a file onto, on a grid of its own, uniform in r squared."""


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
