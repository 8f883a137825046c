"""ASE's calculator of a posterior: means and standard deviations over draws, molecular dynamics, relaxation, failures."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.filters import FrechetCellFilter
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from bayescg.data import get_unit_system
from bayescg.errors import InputError, SimulationError
from bayescg.inference import LabelledModel, Noise, Prior, independent_prior
from bayescg.output import PosteriorCalculator, PotentialDraws, potential_draws
from bayescg.output._moving_neighbours import MovingNeighbours
from bayescg.physics import Environments, SpeciesEnergies, StillingerWeber, environments_of
from bayescg.physics._environment import deformed

METAL = get_unit_system("metal")
STRENGTHS = ((7.0, 20.0), (7.2, 21.5), (6.9, 23.0))


def silicon(a: float, strength: float) -> StillingerWeber:
    potential = StillingerWeber.silicon(cutoff=3.9).vary("sw_A", "sw_lambda")
    return potential.with_parameters({"sw_A": a, "sw_lambda": strength})


def some_draws() -> PotentialDraws:
    return PotentialDraws.of_potentials(
        [silicon(*one) for one in STRENGTHS], units=METAL, posterior="calibrated"
    )


def crystal(*, seed: int = 0, amplitude: float = 0.1, repeats: int = 1) -> Atoms:
    atoms = bulk("Si", a=5.431, cubic=True) * (repeats, 1, 1)
    atoms.rattle(amplitude, seed=seed)
    return atoms


def sheared(atoms: Atoms, strain: np.ndarray) -> Atoms:
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return copy


def test_means_and_deviations_are_numpys_over_the_draws():
    atoms = crystal()
    atoms.calc = PosteriorCalculator(some_draws())
    single = []
    for one in STRENGTHS:
        alone = PotentialDraws.of_potentials([silicon(*one)], units=METAL, posterior="calibrated")
        copy = atoms.copy()
        copy.calc = PosteriorCalculator(alone)
        single.append((copy.get_potential_energy(), copy.get_forces(), copy.get_stress()))
    for name, values in zip(("energy", "forces", "stress"), zip(*single, strict=True), strict=True):
        mean, spread = atoms.calc.get_property(name, atoms), atoms.calc.get_property(f"{name}_std", atoms)
        np.testing.assert_allclose(mean, np.mean(values, axis=0), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(spread, np.std(values, axis=0, ddof=1), rtol=1e-9, atol=1e-13)
        assert np.shape(mean) == np.shape(spread)
    assert atoms.calc.results["free_energy"] == atoms.calc.results["energy"]


def test_draws_in_pieces_give_the_same():
    atoms = crystal()
    found = []
    for at_once in (1, 2):
        atoms.calc = PosteriorCalculator(some_draws(), draws_at_once=at_once)
        found.append((atoms.get_forces(), atoms.calc.results["forces_std"]))
    for forces, spread in found[1:]:
        np.testing.assert_allclose(forces, found[0][0], atol=1e-13)
        np.testing.assert_allclose(spread, found[0][1], atol=1e-13)


def test_forces_are_minus_the_slope_of_the_mean_energy():
    atoms = crystal()
    atoms.calc = PosteriorCalculator(some_draws())
    forces, step = atoms.get_forces().copy(), 1e-4
    for atom, axis in ((0, 0), (3, 2), (5, 1)):
        energies = []
        for sign in (1, -1):
            atoms.positions[atom, axis] += sign * step
            energies.append(atoms.get_potential_energy())
            atoms.positions[atom, axis] -= sign * step
        assert -(energies[0] - energies[1]) / (2 * step) == pytest.approx(
            forces[atom, axis], rel=1e-6, abs=1e-7
        )


def test_stress_is_the_slope_of_the_energy_by_strain_in_ases_order():
    atoms = crystal()
    calculator = PosteriorCalculator(some_draws())
    atoms.calc = calculator
    stress, step = atoms.get_stress().copy(), 1e-5
    for place, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        strain = np.zeros((3, 3))
        strain[i, j] += step / 2
        strain[j, i] += step / 2
        energies = []
        for sign in (1, -1):
            copy = sheared(atoms, sign * strain)
            copy.calc = calculator
            energies.append(copy.get_potential_energy())
        slope = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
        assert slope == pytest.approx(stress[place], rel=1e-5, abs=1e-8)
    wider = sheared(bulk("Si", a=5.431), 0.02 * np.eye(3))
    wider.calc = calculator
    assert np.all(wider.get_stress()[:3] > 0.0)  # tension is positive


def near(batch: Environments, cutoff: float, n_atoms: int) -> list[list[tuple[float, int]]]:
    """Distance and species of the neighbours within the cutoff, of each atom, in order."""
    distances = np.linalg.norm(np.asarray(batch.vectors), axis=-1)[:n_atoms]
    species = np.asarray(batch.neighbour_types)[:n_atoms]
    return [
        sorted((round(float(r), 9), int(t)) for r, t in zip(row, kinds) if r < cutoff)
        for row, kinds in zip(distances, species, strict=True)
    ]


def test_neighbours_follow_moves_strains_jumps_and_exchanges():
    cutoff, rng = 3.0, np.random.default_rng(1)
    neighbours = MovingNeighbours(("C", "Si"), cutoff, skin=0.4)
    atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
    types = np.array([["C", "Si"].index(symbol) for symbol in atoms.symbols])
    positions, cell, periodic = atoms.positions.copy(), atoms.cell.array.copy(), atoms.pbc
    shapes = set()
    for change in range(16):
        stretch = np.eye(3) + rng.normal(0.0, 0.004, (3, 3))
        cell = cell @ stretch
        positions = positions @ (stretch if change % 2 else np.eye(3)) + rng.normal(
            0.0, 0.02, positions.shape
        )
        if change == 7:
            positions[2] += cell[0] - 2.0 * cell[1]
        if change == 9:
            types = types[::-1].copy()
        moved = neighbours.follow(positions, types, cell, periodic)
        batch = deformed(moved.batch, displacements=jnp.asarray(moved.displacements), strain=moved.strain)
        (fresh,) = environments_of(
            [positions], [types], cell[None], periodic[None], cutoff, species=("C", "Si")
        )
        assert near(batch, cutoff, len(types)) == near(fresh, cutoff, len(types))
        assert float(batch.volume[0]) == pytest.approx(float(fresh.volume[0]), rel=1e-12)
        shapes.add(batch.rows.shape)
    assert 3 <= neighbours.times_made < 16
    assert len(shapes) == 1


def test_dynamics_conserve_energy_and_compile_once(monkeypatch):
    traces, original = [], StillingerWeber.site_energies

    def counting(self, vectors, types, neighbour_types):
        traces.append(vectors.shape)
        return original(self, vectors, types, neighbour_types)

    monkeypatch.setattr(StillingerWeber, "site_energies", counting)
    atoms = crystal(amplitude=0.02, repeats=2)
    atoms.calc = PosteriorCalculator(some_draws(), skin=0.15)
    MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=np.random.default_rng(0))
    start, kinetic = atoms.get_total_energy(), atoms.get_kinetic_energy()
    once = len(traces)
    assert once > 0
    dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    ends = []
    for _ in range(6):
        dynamics.run(10)
        ends.append(atoms.get_total_energy())
    assert len(traces) == once
    assert atoms.calc.neighbours.times_made > 2
    assert np.ptp([start, *ends]) < 2e-3 * kinetic


def test_relaxation_finds_the_crystal_and_its_lattice_constant():
    atoms = crystal(amplitude=0.05)
    atoms.calc = PosteriorCalculator(some_draws().at_mean())
    assert BFGS(atoms, logfile=None).run(fmax=0.01, steps=50)
    wide = bulk("Si", a=5.55)
    wide.calc = atoms.calc
    assert BFGS(FrechetCellFilter(wide), logfile=None).run(fmax=0.005, steps=50)
    length = wide.cell.lengths()[0] * np.sqrt(2.0)
    assert length == pytest.approx(5.431, abs=0.01)  # A and lambda don't move the minimum of silicon
    assert np.abs(wide.get_stress()).max() < 1e-3


def test_prediction_at_the_mean_parameters_has_no_spread_and_is_the_same_where_linear():
    atoms, draws = crystal(), some_draws()
    atoms.calc = PosteriorCalculator(draws)
    mean = atoms.get_potential_energy()
    atoms.calc = PosteriorCalculator(draws.at_mean())  # linear in A and lambda
    assert atoms.get_potential_energy() == pytest.approx(mean, rel=1e-12)
    assert not any(name.endswith("_std") for name in atoms.calc.results)
    with pytest.raises(PropertyNotImplementedError):
        atoms.calc.get_property("energy_std", atoms)


def test_open_directions_have_no_stress():
    molecule = Atoms("Si2", [[0, 0, 0], [2.3, 0, 0]])
    molecule.calc = PosteriorCalculator(some_draws())
    assert molecule.get_forces()[0, 0] == pytest.approx(-molecule.get_forces()[1, 0])
    with pytest.raises(PropertyNotImplementedError):
        molecule.get_stress()


def test_other_unit_systems_come_out_in_ev_and_angstrom():
    ev = 96.48533212331
    small = StillingerWeber(
        2.1683 * ev, 0.20951, 1.8, 21.0, 1.2, 7.049556277, 0.6022245584, species=("Si",), cutoff=0.39
    )
    offset = SpeciesEnergies([ev], species=("Si",))
    gromacs = PotentialDraws.of_potentials(
        [small + offset], units=get_unit_system("gromacs"), posterior="none"
    )
    metal = PotentialDraws.of_potentials([StillingerWeber.silicon()], units=METAL, posterior="none")
    found = []
    for draws in (gromacs, metal):
        atoms = crystal()
        atoms.calc = PosteriorCalculator(draws)
        found.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    assert found[0][0] - len(atoms) == pytest.approx(found[1][0], rel=1e-9)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-8)
    np.testing.assert_allclose(found[0][2], found[1][2], atol=1e-9)


def test_draws_of_priors_are_the_potentials_that_their_models_return():
    well = silicon(7.0, 21.0)
    flat = independent_prior(well, {"sw_A": dist.LogNormal(2.0, 0.1), "sw_lambda": dist.Normal(21.0, 1.0)})
    rng = np.random.default_rng(0)
    draws = np.stack([rng.normal(2.0, 0.1, 10), rng.normal(21.0, 1.0, 10)], axis=1)
    found = potential_draws(flat, draws, units=METAL, posterior="raw", n_draws=3)
    assert found.draw_ids == ("draw 0", "draw 4", "draw 9")
    np.testing.assert_allclose(found.stack.A, np.exp(draws[[0, 4, 9], 0]))
    assert float(found.draw(1).lambda_) == pytest.approx(draws[4, 1])
    assert float(found.mean().A) == pytest.approx(np.exp(draws[[0, 4, 9], 0]).mean())

    def labelled() -> LabelledModel:
        scale = numpyro.sample("noise", dist.HalfNormal(1.0))
        strength = numpyro.sample("sw_A", dist.Normal(7.0, 0.1))
        noise = Noise(*[np.ones(1) * scale] * 3)
        return LabelledModel(well.hold("sw_lambda").with_parameters({"sw_A": strength}), noise)

    found = potential_draws(Prior(labelled), np.zeros((2, 5, 2)) + 6.5, units=METAL, posterior="raw")
    assert found.n_draws == 10 and found.species == ("Si",)
    np.testing.assert_allclose(found.stack.A, 6.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [], "no potential is given"),
        (lambda: [silicon(7.0, 21.0), StillingerWeber.silicon(cutoff=3.8)], "potential 1 differs"),
        (lambda: [silicon(7.0, 21.0), silicon(np.nan, 21.0)], "NaN or inf in draw 1"),
    ],
)
def test_draws_that_do_not_fit_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        PotentialDraws.of_potentials(make(), units=METAL, posterior="raw")


def test_what_is_no_draw_of_the_prior_is_refused():
    prior = independent_prior(silicon(7.0, 21.0).hold("sw_lambda"), {"sw_A": dist.LogNormal(2.0, 0.1)})
    with pytest.raises(InputError, match=r"shape \(5, 3\)"):
        potential_draws(prior, np.zeros((5, 3)), units=METAL, posterior="raw")
    with pytest.raises(InputError, match="9 asked for, there are 5"):
        potential_draws(prior, np.zeros((5, 1)), units=METAL, posterior="raw", n_draws=9)
    number = Prior(lambda: numpyro.sample("x", dist.Normal(0.0, 1.0)))
    with pytest.raises(InputError, match="no interatomic potential"):
        potential_draws(number, np.zeros((5, 1)), units=METAL, posterior="raw")


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("SiC", [[0, 0, 0], [2.3, 0, 0]]), "atoms of C, the potential knows Si"),
        (Atoms(), "no species"),
        (Atoms("Si2", [[0, 0, 0], [0, 0, 0]]), "same place"),
        (Atoms("Si2", [[0, 0, 0], [np.nan, 0, 0]]), "NaN"),
        (Atoms("Si", [[0, 0, 0]], cell=[[5, 0, 0], [10, 0, 0], [0, 0, 5]], pbc=True), "no volume"),
        (Atoms("Si", [[0, 0, 0]], pbc=True), "no volume"),
    ],
)
def test_atoms_that_cannot_be_computed_are_refused(atoms, message):
    atoms.calc = PosteriorCalculator(some_draws())
    with pytest.raises(InputError, match=message):
        atoms.get_potential_energy()


def test_draws_without_an_energy_are_told():
    draws = PotentialDraws.of_potentials([silicon(7.0, 21.0)] * 2, units=METAL, posterior="raw")
    beyond = jnp.array([2.0951, 2.3])  # the second reaches to 4.14 Å
    draws = dataclasses.replace(draws, stack=eqx.tree_at(lambda p: p.sigma, draws.stack, beyond))
    atoms = crystal()
    atoms.calc = PosteriorCalculator(draws)
    with pytest.raises(SimulationError, match=r"1 of 2 draws \(draw 1 first\)"):
        atoms.get_potential_energy()


def test_reduced_units_have_no_size():
    draws = PotentialDraws.of_potentials([silicon(7.0, 21.0)], units=get_unit_system("lj"), posterior="raw")
    with pytest.raises(InputError, match="reduced units"):
        PosteriorCalculator(draws)
