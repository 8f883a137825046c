"""LAMMPS reads the exported potentials back and finds the same energies, forces and stresses."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from bayescg.data import get_unit_system
from bayescg.output import PotentialDraws, export_lammps_potentials
from bayescg.physics import (
    BodySplines,
    BuckinghamPairs,
    EmbeddedSplines,
    FinnisSinclair,
    GaussianPairs,
    InteratomicPotential,
    Johnson,
    LennardJonesPairs,
    MiePairs,
    MorsePairs,
    ScreenedCoulomb,
    SpeciesEnergies,
    StillingerWeber,
    Tersoff,
    TersoffMixture,
    environments_of,
    in_data_order,
    predict,
)
from bayescg.physics._body_splines import triplet_functions
from tests.output.engine_pythons import lammps_python, read_back_by_lammps

METAL = get_unit_system("metal")
BAR_IN_METAL, ATMOSPHERE_IN_REAL = (
    1.6021765e6,
    68568.415,
)  # LAMMPS' own factors from energy/volume to pressure
CU_AG = ("Ag", "Cu")


# Potentials -----------------------------------------------------------------------------------------------


def mixture() -> StillingerWeber:
    return StillingerWeber(
        [2.1683, 1.9, 1.5], [2.0951, 2.2, 2.3], [1.8, 1.7, 1.6], [[21.0, 19.0, 17.0], [23.0, 25.0, 31.0]],
        [1.2, 1.1, 1.3], [7.05, 7.4, 6.8], [0.602, 0.65, 0.7], [4.0, 4.4, 5.0], [0.0, 0.3, 0.5],
        species=("Ge", "Si"), cutoff=3.9,
    )  # fmt: skip


def tersoff(m: int = 3, name: str = "tersoff") -> Tersoff:
    numbers = (m, 1.0, 1.3258, 4.8381, 2.0417, 0.0, 22.956, 0.33675, 1.3258, 95.373, 3.0, 0.2, 3.2394, 3264.7)
    return Tersoff.from_entries({("Si",) * 3: numbers}, species=("Si",), name=name)


def carbide() -> TersoffMixture:
    return TersoffMixture(
        A=[1393.6, 1830.8], B=[346.7, 471.18], decay=[3.4879, 2.4799], mu=[2.2119, 1.73222],
        beta=[1.5724e-7, 1.1e-6], n=[0.72751, 0.78734], c=[38049, 100390], d=[4.3484, 16.217],
        h=[-0.57058, -0.59825], chi=0.9776, R=(1.8, 2.7), S=(2.1, 3.0), species=("C", "Si"),
    )  # fmt: skip


def tantalum_tungsten() -> FinnisSinclair:
    ta, w = FinnisSinclair.published("Ta"), FinnisSinclair.published("W")
    mixed = {"d": 4.2, "beta": 0.4, "c": 3.7, "c0": 20.0, "c1": -14.0, "c2": 2.6}
    pairs = [[getattr(ta, key), value, getattr(w, key)] for key, value in mixed.items()]
    return FinnisSinclair([ta.A, w.A], *pairs, species=("Ta", "W"), cutoff=4.5)


def johnson() -> Johnson:
    return Johnson(
        [2.85, 3.54], [0.48, 0.59], [5.92, 5.09], [5.96, 5.85], [8.26, 8.00], [2.88, 2.56], [0.17, 0.30],
        onset=3.2, species=CU_AG, cutoff=4.0,
    )  # fmt: skip


def embedded_splines() -> EmbeddedSplines:
    knots = tuple(np.linspace(1.6, 4.2, 12).tolist())
    return EmbeddedSplines.fitted(
        johnson(), knots=knots, density_knots=(0.0, 0.2, 0.5, 1.0, 2.0, 4.0, 6.0, 9.0)
    )


def body_splines(species: tuple[str, ...], reach: float = 3.6, opposite: int = 5) -> BodySplines:
    rng = np.random.default_rng(8)
    zero = BodySplines.uniform(
        species=species, pair=(1.9, 5.0, 8), triplet=(1.9, reach, 4), opposite=opposite
    )
    values = {"splines_pair": zero.pair, "splines_triplet": zero.triplet}
    return zero.with_parameters({name: rng.normal(size=v.shape) for name, v in values.items()})


def uneven_splines() -> BodySplines:
    """Knots of different spacing, triangles that reach farther than pairs, opposite sides that end early."""
    sides, opposite = (1.7, 2.5, 3.5, 4.4), (1.7, 2.6, 3.7, 5.0, 6.0, 7.0)
    n, rng = len(triplet_functions(1, sides, opposite)), np.random.default_rng(3)
    return BodySplines(
        rng.normal(size=(1, 5)), rng.normal(size=(1, n)), knots=(1.9, 2.2, 2.6, 3.1, 3.7, 4.0),
        triplet_knots=sides, opposite_knots=opposite, species=("W",),
    )  # fmt: skip


def sum_of_terms() -> InteratomicPotential:
    bump = GaussianPairs([[0.1]], [[2.6]], [[0.3]], species=("Si",), cutoff=4.0, name="bump/1")
    ripple = GaussianPairs([[0.05]], [[3.2]], [[0.4]], species=("Si",), cutoff=4.5, name="bump.1")
    offset = SpeciesEnergies([-1.25], species=("Si",))
    return StillingerWeber.silicon() + bump + offset + ripple


def splines_and_core() -> InteratomicPotential:
    core = LennardJonesPairs(0.02, 1.8, species=("W",), cutoff=4.0, convention="force_shifted", name="core")
    return body_splines(("W",)) + core


# Comparison -----------------------------------------------------------------------------------------------


def configurations(lattice: str, constant: float, n_species: int, repeats=(1, 1, 1), n: int = 20) -> list:
    """Sheared, disordered crystals [Å], most of them with cells smaller than twice the cutoff."""
    fcc = np.array([(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)])
    basis = {"fcc": fcc, "bcc": np.array([(0, 0, 0), (0.5, 0.5, 0.5)])}
    basis["diamond"] = np.concatenate([fcc, fcc + 0.25])
    found = []
    for seed in range(n):
        rng = np.random.default_rng(seed)
        corners = np.array(list(np.ndindex(*repeats)), float)
        lengths = constant * np.array(repeats) * rng.uniform(0.97, 1.06)
        cell = np.diag(lengths)
        cell[1, 0], cell[2, 0], cell[2, 1] = rng.uniform(-0.1, 0.1, 3) * lengths[[0, 0, 1]]
        positions = (corners[:, None] + basis[lattice]).reshape(-1, 3) / repeats @ cell
        positions = positions + rng.normal(0.0, 0.02 + 0.08 * seed / n, positions.shape)
        positions = (positions @ np.linalg.inv(cell) % 1.0) @ cell
        types = np.arange(len(positions)) % n_species
        found.append({"cell": cell, "positions": positions, "types": rng.permutation(types)})
    return found


diamond, carbon = (partial(configurations, "diamond", a) for a in (5.43, 4.36))
copper, tungsten, argon = (
    configurations("fcc", 3.8, 2, (2, 1, 1)),
    partial(configurations, "bcc", 3.24, repeats=(2, 2, 1)),
    configurations("fcc", 5.3, 2),
)
salt = configurations("fcc", 5.0, 2)
lennard_jones = partial(LennardJonesPairs, [0.0103, 0.012, 0.014], [3.405, 3.2, 3.0], species=("Ar", "Kr"))

# Each: potential, configurations, and how close LAMMPS must come, relative to the largest number of its kind: rounding
# where it computes the same formula (uf3 loses some digits to powers of r); interpolation in tables of 5000 rows, a few
# 1e-11 where the function is smooth, worse where a neighbour lies within a row of a place where its curvature jumps (both
# ends of a switch, and above all Finnis and Sinclair's ranges; energies don't feel that).
CASES = {
    "sw": (StillingerWeber.silicon, diamond(1), 1e-11),
    "sw_mixture": (mixture, diamond(2), 1e-11),
    "tersoff": (tersoff, diamond(1), 1e-11),
    "tersoff_linear": (partial(tersoff, 1), diamond(1), 1e-11),
    "tersoff_mixture": (carbide, carbon(2), 1e-11),
    "finnis_sinclair": (tantalum_tungsten, tungsten(2), 2e-4),
    "johnson": (johnson, copper, 2e-6),
    "embedded_splines": (embedded_splines, copper, 2e-7),
    "body_splines": (partial(body_splines, ("W",)), tungsten(1), 1e-10),
    "body_splines_two": (partial(body_splines, ("Ta", "W")), tungsten(2), 1e-10),
    "body_splines_uneven": (uneven_splines, tungsten(1), 1e-10),
    "lj_smooth": (partial(lennard_jones, cutoff=6.5, convention="smooth", onset=5.0), argon, 2e-8),
    "lj_truncated": (partial(lennard_jones, cutoff=6.5, convention="truncated"), argon, 2e-8),
    "mie": (
        lambda: MiePairs(
            [0.0103, 0.012, 0.014], [3.405, 3.2, 3.0], [12, 14.3, 9.1], [6, 6.6, 5.2],
            species=("Ar", "Kr"), cutoff=6.5, convention="force_shifted",
        ),
        argon, 2e-8,
    ),
    "morse": (
        lambda: MorsePairs([0.34, 0.4, 0.5], [1.36, 1.5, 1.2], [2.87, 2.7, 2.6], species=CU_AG, cutoff=6.0),
        copper, 2e-8,
    ),
    "gaussian": (
        lambda: GaussianPairs(
            [[0.8, 0.1], [-0.5, 0.2], [0.3, 0.0]], [[2.9, 3.5]] * 3, [[0.4, 0.2]] * 3, species=CU_AG, cutoff=6.0
        ),
        copper, 2e-8,
    ),
    "buckingham": (
        lambda: BuckinghamPairs(
            [1000.0, 1300.0, 2000.0], [0.31, 0.30, 0.33], [5.0, 20.0, 60.0], core=1.7, species=("Cl", "Na"), cutoff=6.0
        ),
        salt, 2e-8,
    ),
    "yukawa": (
        lambda: ScreenedCoulomb([-1.2, 0.9], 2.5, coulomb=14.399645, species=("Cl", "Na"), cutoff=6.0), salt, 2e-8
    ),
    "sum": (sum_of_terms, diamond(1), 2e-8),
    "splines_and_core": (splines_and_core, tungsten(1), 2e-8),
}  # fmt: skip


QUICK = (
    "sw_mixture",
    "tersoff_mixture",
    "finnis_sinclair",
    "johnson",
    "body_splines_two",
    "lj_smooth",
    "sum",
)
"""One case of every style; the others compile for longer than the quick suite may take."""


@pytest.fixture(scope="module")
def lammps(tmp_path_factory):
    """LAMMPS' answers to a case, one for each configuration in its own units; one process for all quick or slow cases."""
    found: dict[str, list] = {}

    def answers(name: str) -> list:
        if name not in found:
            folder = tmp_path_factory.mktemp("lammps")
            names = [other for other in CASES if (other in QUICK) == (name in QUICK)]
            jobs = [job(CASES[other][0](), CASES[other][1], folder / other) for other in names]
            found.update(zip(names, read_back_by_lammps(jobs, folder), strict=True))
        return found[name]

    lammps_python()
    return answers


def job(potential: InteratomicPotential, structures: list, folder: Path) -> dict:
    draws = PotentialDraws.of_potentials([potential], units=METAL, posterior="none, a test")
    export_lammps_potentials(draws, folder)
    return {
        "folder": str(folder),
        "potential": "mean",
        "units": "metal",
        "n_types": len(potential.species),
    } | {"configurations": structures}


def ours(potential: InteratomicPotential, structures: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies, forces and stresses (xx, yy, zz, yz, xz, xy) of all configurations."""
    positions, types, cells = ([one[key] for one in structures] for key in ("positions", "types", "cell"))
    periodic = np.ones((len(structures), 3), bool)
    batches = environments_of(
        positions,
        types,
        np.array(cells),
        periodic,
        potential.cutoff,
        species=potential.species,
        n_widths=1,
    )
    predictor = jax.jit(predict)
    found = in_data_order(batches, [predictor(potential, batch) for batch in batches])
    i, j = np.array([0, 1, 2, 1, 0, 0]), np.array([0, 1, 2, 2, 2, 1])
    return np.asarray(found.energy), np.asarray(found.forces), np.asarray(found.stress)[:, i, j]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in CASES]
)
def test_lammps_reads_back_what_was_written(name, lammps):
    make, structures, tolerance = CASES[name]
    answers = lammps(name)
    energies, forces, stresses = ours(make(), structures)
    if name == "sum":  # LAMMPS' energies lack the constants
        energies = energies + 1.25 * np.array([len(one["types"]) for one in structures])
    theirs = np.array([answer["energy"] for answer in answers])
    np.testing.assert_allclose(theirs, energies, rtol=0.0, atol=min(tolerance, 1e-8) * np.abs(energies).max())
    theirs = np.concatenate([answer["forces"] for answer in answers])
    np.testing.assert_allclose(theirs, forces, rtol=0.0, atol=tolerance * np.abs(forces).max())
    theirs = np.array([answer["stress"] for answer in answers]) / BAR_IN_METAL
    np.testing.assert_allclose(theirs, stresses, rtol=0.0, atol=tolerance * np.abs(stresses).max())


def test_lammps_reads_a_draw_in_other_units(tmp_path):
    """A study in nm and kJ/mol, exported to Å and kcal/mol: the second draw."""
    lammps_python()
    length, energy = 10.0, 1.0 / 4.184
    potentials = [
        StillingerWeber(e, 0.20951, 1.8, 21.0, 1.2, 7.05, 0.602, species=("Si",), cutoff=0.378)
        + MorsePairs(30.0, 15.0, 0.25, species=("Si",), cutoff=0.5)
        for e in (209.0, 220.0)
    ]
    draws = PotentialDraws.of_potentials(
        potentials, units=get_unit_system("gromacs"), posterior="raw", draw_ids=("first", "second")
    )
    export_lammps_potentials(draws, tmp_path / "out", units="real")
    structures = diamond(1)[:3]
    one = {"folder": str(tmp_path / "out"), "potential": "draws/draw_001", "units": "real", "n_types": 1}
    (answers,) = read_back_by_lammps([one | {"configurations": structures}], tmp_path)
    scaled = [s | {"positions": s["positions"] / length, "cell": s["cell"] / length} for s in structures]
    energies, forces, stresses = ours(potentials[1], scaled)
    np.testing.assert_allclose([a["energy"] for a in answers], energies * energy, rtol=1e-9)
    theirs = np.concatenate([a["forces"] for a in answers])
    np.testing.assert_allclose(theirs, forces * energy / length, rtol=0, atol=1e-7 * np.abs(theirs).max())
    theirs = np.array([a["stress"] for a in answers]) / ATMOSPHERE_IN_REAL
    np.testing.assert_allclose(
        theirs, stresses * energy / length**3, rtol=0, atol=1e-7 * np.abs(theirs).max()
    )


def test_lammps_python_of_the_environment_is_used(monkeypatch):
    monkeypatch.setenv("BAYESCG_LAMMPS_PYTHON", "/somewhere/bin/python")
    assert lammps_python() == Path("/somewhere/bin/python")
