"""Structure and pressure from reweighted references: the ideal gas, and Lennard-Jones at another depth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.analysis import System, predict_structure
from bayescg.analysis._predict import ideal_counts, virial_pressure
from bayescg.data import Topology, get_unit_system
from bayescg.physics import (
    FrameReducer,
    LennardJones,
    Reference,
    ReferenceBank,
    SimulationSettings,
    Simulator,
)

N_SITES, EDGE, TEMPERATURE, CUTOFF = 20, 5.2, 1.4, 2.5
EDGES = np.linspace(0.4, 2.6, 23)
LJ = get_unit_system("lj")


def system_of(units=LJ, temperature=TEMPERATURE):
    return System(N_SITES, EDGE**3, temperature, units, EDGES)


def test_ideal_counts_sum_to_all_pairs_of_a_sphere():
    counts = ideal_counts(system_of()._replace(distance_edges=np.array([0.0, 1.0, 2.0])))
    pairs = N_SITES * (N_SITES - 1) / 2.0
    assert counts.sum() == pytest.approx(pairs * 4.0 / 3.0 * np.pi * 8.0 / EDGE**3)
    assert counts[1] / counts[0] == pytest.approx(7.0)


@pytest.fixture(scope="module")
def ideal_gas():
    """Uniform frames of sites that do not see one another."""
    rng = np.random.default_rng(0)
    positions = rng.uniform(0.0, EDGE, size=(8 * 250, N_SITES, 3))
    reducer = FrameReducer(LennardJones(0.0, 1.0, cutoff=CUTOFF), box=np.full(3, EDGE), distance_edges=EDGES)
    _, _, counts = reducer(positions)
    zeros = np.zeros((8, 250, 2))
    reference = Reference(np.zeros(2), zeros, zeros, counts.reshape(8, 250, -1), np.zeros((0, N_SITES, 3)))
    return ReferenceBank(1.0 / TEMPERATURE, (reference,))


def test_ideal_gas_has_no_structure_and_the_ideal_pressure(ideal_gas):
    got = predict_structure(ideal_gas, np.zeros((3, 2)), system_of())
    counts = ideal_gas.references[0].pair_counts.reshape(2000, -1)
    error = counts.std(axis=0) / np.sqrt(2000) / ideal_counts(system_of())
    assert np.all(np.abs(got.rdf[0] - 1.0) < 4.5 * error)
    np.testing.assert_allclose(got.pressure, N_SITES * TEMPERATURE / EDGE**3)
    np.testing.assert_allclose(got.n_eff, 2000.0)


def test_ideal_pressure_carries_the_units():
    """One site per nm³ at 300 K: 41.42 bar."""
    system = system_of(get_unit_system("gromacs"), 300.0)._replace(n_sites=1, volume=1.0)
    assert virial_pressure(np.zeros(2), np.zeros(2), system) == pytest.approx(41.419, rel=1e-4)


def test_virial_of_a_compressed_spring():
    """A virial of 3 V adds a pressure of 1 in reduced units."""
    got = virial_pressure(np.array([[2.0]]), np.array([[1.5 * EDGE**3]]), system_of())
    assert got[0] == pytest.approx(N_SITES * TEMPERATURE / EDGE**3 + 1.0)


@pytest.fixture(scope="module")
def simulated():
    """Lennard-Jones fluids of three depths, simulated side by side."""
    potential = LennardJones(1.0, 1.0, cutoff=CUTOFF, convention="shifted")
    simulator = Simulator(
        potential,
        topology=Topology(("A",) * N_SITES, np.ones(N_SITES)),
        box=np.full(3, EDGE),
        units=LJ,
        temperature=TEMPERATURE,
        settings=SimulationSettings(0.004, 1.0, stride=50, n_replicas=24, equilibration=20, chunk=20),
        distance_edges=EDGES,
    )
    lattice = np.stack(np.meshgrid(*[(np.arange(3) + 0.5) * EDGE / 3] * 3), -1).reshape(-1, 3)[:N_SITES]
    depths = (0.8, 1.0, 1.15)
    references = simulator.simulate(
        [LennardJones(e, 1.0, cutoff=CUTOFF, convention="shifted") for e in depths],
        starts=np.broadcast_to(lattice, (24, N_SITES, 3)),
        key=jax.random.key(1),
        n_samples=160,
    )
    return dict(zip(depths, references, strict=True))


def direct(reference):
    """g(r) and pressure of one reference, with standard errors over replicas."""
    system = system_of()
    rdf = reference.pair_counts.mean(axis=1) / ideal_counts(system)
    pressure = virial_pressure(reference.coefficients, reference.virial.mean(axis=1), system)
    return [(a.mean(axis=0), a.std(axis=0, ddof=1) / np.sqrt(len(a))) for a in (rdf, pressure)]


def test_reweighted_fluid_equals_the_direct_one(simulated):
    bank = ReferenceBank(1.0 / TEMPERATURE, (simulated[0.8], simulated[1.15]))
    potential = LennardJones(jnp.asarray(1.0), jnp.asarray(1.0), cutoff=CUTOFF, convention="shifted")
    got = predict_structure(bank, np.asarray(potential.coefficients())[None], system_of())
    (rdf, rdf_error), (pressure, pressure_error) = direct(simulated[1.0])
    seen = rdf_error > 0
    z = (got.rdf[0] - rdf)[seen] / (np.sqrt(2.0) * rdf_error[seen] + 1e-3)
    assert np.sqrt(np.mean(z**2)) < 1.8 and np.abs(z).max() < 5.0
    assert abs(got.pressure[0] - pressure) < 4.0 * np.sqrt(2.0) * pressure_error
    # The negative half: a reference as it stands is not the answer, since the two differ.
    middle = 0.5 * (EDGES[1:] + EDGES[:-1])
    peak = (middle > 1.0) & (middle < 1.3)
    shallow, deep = (simulated[depth].pair_counts.mean(axis=1)[:, peak].sum(axis=1) for depth in (0.8, 1.15))
    error = np.hypot(*(c.std(ddof=1) / np.sqrt(len(c)) for c in (shallow, deep)))
    assert deep.mean() > shallow.mean() + 4.0 * error


def test_a_reference_predicts_its_own_averages(simulated):
    bank = ReferenceBank(1.0 / TEMPERATURE, (simulated[1.0],))
    got = predict_structure(bank, simulated[1.0].coefficients[None], system_of())
    (rdf, _), (pressure, _) = direct(simulated[1.0])
    np.testing.assert_allclose(got.rdf[0], rdf, rtol=2e-4, atol=1e-6)
    assert got.pressure[0] == pytest.approx(pressure, rel=1e-6)
    assert got.n_eff[0] == pytest.approx(bank.n_frames.sum())
