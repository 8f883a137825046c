"""The page of observables names every public function of them, and nothing that does not exist."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "observables.md").read_text()
ROOMS = {name: importlib.import_module(f"bayescg.{name}") for name in ("data", "physics", "analysis")}
# files of the room of physics whose public functions are observables
FILES = (
    "angle_distributions", "barrier_rates", "bond_kinetics", "chain_size", "compressibility", "diffusion", "draw_transport",
    "finite_size", "fluctuations", "fokker_planck", "free_energy_surface", "green_kubo", "kirkwood_buff",
    "mean_squared_displacement", "pair_lifetime", "pressure", "reactive_flux", "relaxation_times", "smooth_coordination",
    "smooth_rdf", "smooth_solid_like", "solid_like", "steinhardt", "structure_factor", "superposition", "surface_launch",
    "tail_corrections", "tetrahedral_order", "time_correlation", "traced_correlation", "umbrella",
    "velocity_autocorrelation", "widom",
)  # fmt: skip
HELPERS = {"brownian_covariance", "wave_vectors", "whole_chains"}
"""Public functions of these files that are no observables."""


def named_in_tables() -> set[str]:
    """Names in the first column of each table, without the room."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([\w.]+)`", row.split(" | ")[0])}


def test_every_name_of_the_page_is_public():
    for name in named_in_tables():
        room, _, own = name.rpartition(".")
        assert any(hasattr(ROOMS[one], own) for one in ([room] if room else ROOMS)), name


@pytest.mark.parametrize("file", FILES)
def test_every_observable_of_a_file_is_on_the_page(file):
    module = importlib.import_module(f"bayescg.physics._{file}")
    public = {
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and name[0].islower() and hasattr(ROOMS["physics"], name)
    }  # fmt: skip
    assert public, file
    assert public - HELPERS <= {name.rpartition(".")[2] for name in named_in_tables()}
