"""Metropolised sampling: no bias at time steps where plain dynamics has one, and failed moves that change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.data import Topology, get_unit_system
from bayescg.errors import SimulationError
from bayescg.physics import (
    DoubleWell,
    LennardJones,
    Reference,
    SimulationSettings,
    Simulator,
    SplinePair,
)

UNITS = get_unit_system("lj")


def simulate(
    potential, starts, *, box, time_step, stride, n_samples, metropolis=True, temperature=1.0
) -> Reference:
    n_replicas, n_sites, _ = starts.shape
    simulator = Simulator(
        potential,
        topology=Topology(("A",) * n_sites, np.ones(n_sites)),
        box=box,
        units=UNITS,
        temperature=temperature,
        settings=SimulationSettings(time_step, 1.0, stride, n_replicas, 20, chunk=20, metropolis=metropolis),
    )
    return simulator.simulate([potential], starts=starts, key=jax.random.key(3), n_samples=n_samples)[0]


def z_scores(reference: Reference, exact: np.ndarray) -> np.ndarray:
    """Deviation of the mean features from exact values, in standard errors over replicas."""
    per_replica = reference.features.mean(axis=1)
    return (per_replica.mean(0) - exact) / (per_replica.std(0, ddof=1) / np.sqrt(len(per_replica)))


@pytest.fixture(scope="module")
def double_well() -> tuple[DoubleWell, np.ndarray]:
    """A stiff double well and the exact averages of its features."""
    well = DoubleWell(jnp.asarray(4.0), jnp.asarray(4.0))
    x = np.linspace(-4.0, 4.0, 20_001)
    phi = np.stack([-(x**2) / 2.0, x**4 / 4.0])
    weight = np.exp(-(4.0 * phi[0] + 4.0 * phi[1]))
    return well, (phi * weight).sum(1) / weight.sum()


def test_long_time_step_biases_dynamics_but_not_the_metropolised_sampler(double_well):
    well, exact = double_well
    starts = np.random.default_rng(1).choice([-1.0, 1.0], size=(400, 1, 1))
    arguments = {"box": np.array([np.inf]), "time_step": 0.3, "stride": 6, "n_samples": 400}
    corrected = simulate(well, starts, **arguments)
    assert 0.4 < corrected.acceptance < 0.98
    assert np.abs(z_scores(corrected, exact)).max() < 4.0
    plain = simulate(well, starts, **arguments, metropolis=False)
    assert np.abs(z_scores(plain, exact)).max() > 4.5


def test_lennard_jones_pair_against_quadrature():
    pair = LennardJones(jnp.asarray(1.0), jnp.asarray(1.0), cutoff=3.0, convention="shifted")
    rng = np.random.default_rng(2)
    starts = np.zeros((200, 2, 3))
    starts[:, 1] = 1.2 + rng.uniform(0.0, 2.0, size=(200, 3))
    reference = simulate(
        pair, starts, box=np.full(3, 6.0), time_step=0.06, stride=12, n_samples=300, temperature=1.2
    )
    r = np.linspace(0.6, 3.0, 40_001)
    basis = np.asarray(pair.pair_basis(jnp.asarray(r**2)))
    weight = np.exp(-np.asarray(pair.pair_energy(jnp.asarray(r**2))) / 1.2)
    volume = 6.0**3
    shell = 4.0 * np.pi * r**2
    inside = np.trapezoid(shell * (weight - 1.0), r)
    exact = np.trapezoid(shell[:, None] * weight[:, None] * basis, r, axis=0) / (volume + inside)
    assert np.abs(z_scores(reference, exact)).max() < 4.0


def test_hopeless_time_step_is_refused(double_well):
    with pytest.raises(SimulationError, match="shorten the time step"):
        simulate(
            double_well[0], np.ones((8, 1, 1)), box=np.array([np.inf]), time_step=3.0, stride=10, n_samples=20
        )


def test_resumed_simulation_has_the_same_bits(double_well):
    well, _ = double_well
    starts = np.ones((6, 1, 1))
    settings = SimulationSettings(0.2, 1.0, 5, 6, 4, chunk=4, metropolis=True)
    simulator = Simulator(
        well, topology=Topology(("A",), np.ones(1)), box=np.array([np.inf]), units=UNITS, temperature=1.0,
        settings=settings,
    )  # fmt: skip
    snapshots = []
    arguments = {"starts": starts, "key": jax.random.key(4), "n_samples": 18}
    (whole,) = simulator.simulate([well], **arguments, on_chunk=lambda _, take: snapshots.append(take()))
    for snapshot in snapshots[:-1]:
        (again,) = simulator.simulate([well], **arguments, resume=snapshot)
        np.testing.assert_array_equal(again.features, whole.features)
        np.testing.assert_array_equal(again.configurations, whole.configurations)


def lattice(n_replicas, *, edge=6.0):
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3) * edge / 3.0
    return np.repeat(grid[None], n_replicas, axis=0)


@pytest.mark.parametrize("trouble", ["nan", "overlap"])
@pytest.mark.parametrize("n_samples", [10, 40])
def test_one_bad_start_is_an_error_not_a_frozen_replica(trouble, n_samples):
    """All other replicas accept well, so that no average over replicas shows it."""
    starts = lattice(6)
    starts[2, 5] = np.nan if trouble == "nan" else starts[2, 6]
    pair = LennardJones(jnp.asarray(1.0), jnp.asarray(1.0), cutoff=2.5, convention="shifted")
    with pytest.raises(SimulationError, match="1 of 6 replicas failed, first replica 2: .*not a number"):
        simulate(pair, starts, box=np.full(3, 6.0), time_step=0.005, stride=5, n_samples=n_samples)


def test_a_replica_that_accepts_nothing_is_an_error():
    """Two sites almost on top of each other: the energy is finite, and every trajectory from there fails."""
    starts = lattice(6)
    starts[2, 5] = starts[2, 6] + 1e-3
    pair = LennardJones(jnp.asarray(1.0), jnp.asarray(1.0), cutoff=2.5, convention="shifted")
    with pytest.raises(SimulationError, match="1 of 6 replicas are stuck, first replica 2.*overlapping"):
        simulate(pair, starts, box=np.full(3, 6.0), time_step=0.005, stride=5, n_samples=40)


def test_results_of_all_trajectories_are_counted():
    pair = LennardJones(jnp.asarray(1.0), jnp.asarray(1.0), cutoff=2.5, convention="shifted")
    reference = simulate(pair, lattice(4), box=np.full(3, 6.0), time_step=0.005, stride=5, n_samples=20)
    assert reference.results == (80, 0, 0)
    assert reference.extended(reference).results == (160, 0, 0)


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_a_stopped_simulation_goes_on_to_the_same_bits(stop_after):
    """The pair engine's table under the Metropolis test, as a study runs it; stopped in the equilibration or later."""
    spline = SplinePair.uniform(inner=0.9, cutoff=2.5, spacing=0.2, core_distance=1.0, core_strength=5.0)
    simulator = Simulator(
        spline,
        topology=Topology(("A",) * 27, np.ones(27)),
        box=np.full(3, 6.0),
        units=UNITS,
        temperature=1.0,
        settings=SimulationSettings(0.01, 1.0, 5, 4, 20, chunk=10, metropolis=True),
    )
    rng = np.random.default_rng(0)
    potentials = [
        spline.with_parameters({"pair_coefficients": jnp.asarray(rng.normal(size=8) * 0.3)}) for _ in range(2)
    ]
    arguments = {"starts": lattice(4), "key": jax.random.key(5), "n_samples": 30}
    snapshots = []
    whole = simulator.simulate(
        potentials, on_chunk=lambda _, snapshot: snapshots.append(snapshot()), **arguments
    )
    resumed = simulator.simulate(potentials, resume=snapshots[stop_after - 1], **arguments)
    for first, second in zip(whole, resumed, strict=True):
        for name, value in first._asdict().items():
            np.testing.assert_array_equal(value, getattr(second, name), err_msg=name)
