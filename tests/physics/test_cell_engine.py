"""The engine of cells against all pairs, conservation laws, and its promises about bits, overflow and codes."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.data import Topology, get_unit_system
from bayescg.physics import LennardJones, SimulationSettings, Simulator, _simulate
from bayescg.physics._cell_engine import CellEngine, is_large
from bayescg.physics._cell_list import (
    SITES_PER_CELL,
    Capacity,
    cell_forces,
    cell_layout,
    find_neighbours,
    sort_into_cells,
)
from bayescg.physics._engine import AnalyticForce, LangevinSettings, PairEngine, TableForce
from bayescg.physics._result import Result

KEY = jax.random.key(20130901)
N_SIDE, EDGE, CUTOFF = 6, 7.2, 1.6
N_SITES = N_SIDE**3


def lj_factor(parameters, r2):
    epsilon, sigma = parameters
    inverse = 1 / r2
    s6 = (sigma * sigma * inverse) ** 3
    return 24 * epsilon * inverse * s6 * (2 * s6 - 1)


def table_energy(parameters, r2):
    epsilon, sigma = parameters
    s6 = (sigma * sigma / jnp.maximum(r2, 0.3)) ** 3
    return 4 * epsilon * (s6 * s6 - s6)


def soft_factor(strength, r2):
    """Of the energy strength (1.6^2 - r^2)^2 / 4: finite everywhere, continuous at the cutoff."""
    return strength * (CUTOFF**2 - r2)


def soft_energy(strength, positions, edges):
    i, j = np.triu_indices(len(positions), 1)
    d = positions[i].astype(float) - positions[j]
    r2 = np.sum((d - edges * np.round(d / edges)) ** 2, -1)
    return strength / 4 * np.sum(np.where(r2 < CUTOFF**2, (CUTOFF**2 - r2) ** 2, 0))


def settings_for(n_sites, *, time_step=0.004, friction=1.0, kT=1.0):
    return LangevinSettings(time_step, friction, kT, np.ones(n_sites))


def lattice(n_side, edge):
    grid = (np.arange(n_side) + 0.5) * edge / n_side
    return np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), -1).reshape(-1, 3)


def fluid(force, *, kind=CellEngine, deterministic=False, **options):
    return kind(
        N_SITES,
        np.full(3, EDGE),
        CUTOFF,
        settings_for(N_SITES),
        force,
        deterministic=deterministic,
        **options,
    )


def start_of(engine, n_replicas=3):
    return engine.initial_state(KEY, np.tile(lattice(N_SIDE, EDGE), (n_replicas, 1, 1)))


LJ = AnalyticForce(lj_factor)
SOFT = AnalyticForce(soft_factor)
PARAMETERS = (jnp.array([0.5, 1.0, 1.5]), jnp.array([1.0, 0.95, 0.9]))
ROOMY = Capacity(100, 100)
sorted_sites = jax.jit(sort_into_cells, static_argnames="layout")
list_of = jax.jit(find_neighbours, static_argnames=("layout", "capacity"))


# ------------------------------------------------------------------------------------------------- cells


@pytest.mark.parametrize("n_sites", [1, 13, 1501])
@pytest.mark.parametrize("edges", [(5.0, 5.0, 5.0), (4.0, 9.0, 25.0), (25.0, 4.0, 4.0)])
def test_every_site_has_one_slot_and_cells_hold_equal_counts(n_sites, edges):
    layout = cell_layout(n_sites, edges, 1.5)
    rows = np.random.default_rng(1).uniform(size=(3, n_sites)) ** 3 * np.array(edges)[:, None]
    sites = np.asarray(sorted_sites(jnp.asarray(rows, jnp.float32), layout))
    assert sites.shape == (layout.n_cells, SITES_PER_CELL)
    np.testing.assert_array_equal(np.sort(sites[sites < n_sites]), np.arange(n_sites))
    counts = (sites < n_sites).sum(1)
    assert counts.max() - counts.min() <= 3  # one for each of the three cuts
    if n_sites > 1000:
        assert sites.size < 1.2 * n_sites
        order = np.asarray(edges)
        assert np.argmax(layout.shape) == np.argmax(order) or np.ptp(order) == 0


@pytest.mark.parametrize("edges", [(5.0, 5.0, 5.0), (3.2, 5.0, 11.0)])
@pytest.mark.parametrize("power", [1, 4], ids=["even", "crowded"])
def test_no_pair_within_reach_is_missing_from_the_list(edges, power):
    n_sites, reach, box = 300, 0.6, np.array(edges)
    rows = (np.random.default_rng(2).uniform(size=(n_sites, 3)) ** power * box).astype(np.float32)
    layout = cell_layout(n_sites, edges, reach)
    sites = sorted_sites(rows.T, layout)
    arguments = (rows.T, sites, jnp.asarray(box, jnp.float32), jnp.float32(reach))
    neighbours, demand = list_of(*arguments, layout=layout, capacity=layout.most)
    cell = np.zeros(n_sites + 1, int)
    cell[np.asarray(sites)] = np.arange(layout.n_cells)[:, None]
    d = rows[:, None] - rows[None]
    close = np.sum((d - box * np.round(d / box)) ** 2, -1) < reach**2
    listed = np.zeros((layout.n_cells, layout.n_cells + 1), bool)
    np.put_along_axis(listed, np.asarray(neighbours), True, 1)
    listed = listed[:, :-1]
    assert listed[cell[:-1, None], cell[None, :-1]][close].all()
    np.testing.assert_array_equal(neighbours[:, 0], np.arange(layout.n_cells))
    assert demand[1] == listed.sum(1).max()
    if power == 1:
        assert listed.mean() < 0.9  # it is a list, not everything
    _, short = list_of(*arguments, layout=layout, capacity=Capacity(int(demand[0]), 3))
    np.testing.assert_array_equal(short, demand)


# ------------------------------------------------------------------------------------------------- forces


def liquid(rng):
    return lattice(6, 6.6) + 0.12 * rng.normal(size=(216, 3)), np.full(3, 6.6)


def smallest_box(rng):
    """Three cutoffs and skins along every edge."""
    return lattice(5, 3 * 1.16 * CUTOFF) + 0.08 * rng.normal(size=(125, 3)), np.full(3, 3 * 1.16 * CUTOFF)


def two_cutoffs(rng):
    return rng.uniform(size=(60, 3)) * 2 * CUTOFF, np.full(3, 2 * CUTOFF)


def anisotropic_gas(rng):
    edges = np.array([5.6, 7.9, 21.0])
    return rng.uniform(size=(331, 3)) * edges, edges


def on_boundaries(rng):
    """Sites on faces, edges and corners, given as 0 and as the edge itself, and outside the box."""
    edges = np.array([6.0, 7.0, 8.0])
    positions = rng.uniform(size=(100, 3)) * edges
    positions[:30] = rng.integers(0, 2, size=(30, 3)) * edges + 1e-3 * rng.normal(size=(30, 3))
    positions[30:60, 0] = edges[0]
    return positions, edges


def droplet(rng):
    edges = np.full(3, 12.0)
    return np.concatenate([6 + rng.normal(size=(200, 3)), rng.uniform(size=(30, 3)) * edges]), edges


@pytest.mark.parametrize(
    ("configuration", "force"),
    [
        (liquid, LJ),
        (liquid, TableForce(table_energy)),
        (smallest_box, SOFT),
        (two_cutoffs, SOFT),
        (anisotropic_gas, SOFT),
        (on_boundaries, SOFT),
        (droplet, SOFT),
    ],
)
def test_forces_are_those_of_all_pairs(configuration, force):
    positions, edges = configuration(np.random.default_rng(5))
    n = len(positions)
    parameters = jnp.array([1.7]) if force is SOFT else (jnp.array([0.7]), jnp.array([1.0]))
    settings = settings_for(n)
    cells = CellEngine(n, edges, CUTOFF, settings, force)
    pairs = PairEngine(n, edges, CUTOFF, settings, force)
    wrapped = pairs.initial_state(KEY, positions[None]).positions
    expected = pairs.forces(wrapped, parameters)
    scale = float(jnp.abs(expected).max())
    assert scale > 1
    np.testing.assert_allclose(cells.forces(wrapped, parameters), expected, atol=4e-6 * scale)


def test_blocks_and_everything_at_once_are_the_same_sum():
    """The way of the CPU and that of a GPU."""
    rows = jnp.asarray(liquid(np.random.default_rng(6))[0].T % 6.6, jnp.float32)
    edges, reach = jnp.full(3, 6.6, jnp.float32), jnp.float32(1.8)
    layout = cell_layout(216, (6.6, 6.6, 6.6), 1.8)
    sites = sorted_sites(rows, layout)
    neighbours, _ = list_of(rows, sites, edges, reach, layout=layout, capacity=layout.most)

    def forces(rows, *, in_blocks):
        def factor(r2):
            return jnp.where(r2 < CUTOFF**2, soft_factor(1.0, r2), 0)

        cutoff = jnp.float32(CUTOFF)
        return cell_forces(factor, rows, sites, neighbours, edges, cutoff, layout=layout, in_blocks=in_blocks)

    found = [jax.jit(forces, static_argnames="in_blocks")(rows, in_blocks=way) for way in (True, False)]
    np.testing.assert_allclose(*found, atol=1e-5)
    assert jnp.abs(found[0]).max() > 1


# ----------------------------------------------------------------------------------------------- dynamics


@pytest.mark.parametrize("force", [LJ, TableForce(table_energy)], ids=["analytic", "table"])
def test_trajectories_start_as_those_of_all_pairs_noise_included(force):
    cells, pairs = fluid(force, capacity=ROOMY), fluid(force, kind=PairEngine)
    start = start_of(cells)
    _, expected = pairs.run(start, PARAMETERS, n_samples=1, stride=45)
    _, found = cells.run(start, PARAMETERS, n_samples=1, stride=45)
    d = np.asarray(found - expected)
    np.testing.assert_allclose(d - EDGE * np.round(d / EDGE), 0, atol=2e-4)
    moved = np.asarray(found[:, 0] - start.positions)
    assert np.abs(moved - EDGE * np.round(moved / EDGE)).max() > 0.2


def test_energy_is_conserved_over_many_new_lists():
    time_step, strength = 0.004, 3.0
    engine = fluid(SOFT, deterministic=True, capacity=ROOMY)
    state = start_of(engine, 1)
    parameters = jnp.array([strength])
    energies, kinetic = [], []
    for _ in range(10):
        state, _ = engine.run(state, parameters, n_samples=1, stride=100)
        forces = engine.forces(state.positions, parameters)
        velocities = np.asarray(state.velocities + time_step / 2 * forces, float)
        kinetic.append(0.5 * np.sum(velocities**2))
        energies.append(kinetic[-1] + soft_energy(strength, np.asarray(state.positions[0]), EDGE))
    assert state.result.tolist() == [Result.OK]
    assert np.std(kinetic) > 0.5
    assert np.ptp(energies) < 0.02 * np.mean(kinetic)
    assert abs(np.mean(energies[5:]) - np.mean(energies[:5])) < 0.005 * np.mean(kinetic)


def test_langevin_temperature():
    kT, n_replicas = 1.7, 4
    settings = settings_for(N_SITES, time_step=0.01, friction=5.0, kT=kT)
    engine = CellEngine(N_SITES, np.full(3, EDGE), CUTOFF, settings, SOFT, capacity=ROOMY)
    state, kinetic = start_of(engine, n_replicas), []
    for _ in range(25):
        state, _ = engine.run(state, jnp.full(n_replicas, 0.5), n_samples=1, stride=50)
        kinetic.append(np.mean(np.asarray(state.velocities, float) ** 2))
    kinetic = kinetic[5:]
    error = kT * np.sqrt(2 / (3 * N_SITES * n_replicas * len(kinetic)))
    # Half-step velocities: the kick before the refreshing adds (dt f / 2 m)^2, far below the error here.
    assert abs(np.mean(kinetic) - kT) < 4 * error


def test_a_site_that_crosses_the_skin_in_every_step_still_meets_its_partners():
    skin = 0.1 * CUTOFF
    cells = fluid(SOFT, deterministic=True, skin=skin, capacity=ROOMY)
    pairs = fluid(SOFT, kind=PairEngine, deterministic=True)
    state = start_of(cells, 1)
    velocities = jnp.zeros_like(state.velocities).at[0, 7].set(jnp.array([70.0, 45.0, 20.0], jnp.float32))
    fast = state._replace(velocities=velocities)
    assert 0.004 * 70 > skin
    _, expected = pairs.run(fast, jnp.array([40.0]), n_samples=1, stride=40)
    _, found = cells.run(fast, jnp.array([40.0]), n_samples=1, stride=40)
    d = np.asarray(found - expected)
    np.testing.assert_allclose(d - EDGE * np.round(d / EDGE), 0, atol=1e-4)
    # A list of the start alone would have missed forces: the free flight is far from here.
    still, _ = pairs.run(fast, jnp.array([0.0]), n_samples=1, stride=40)
    free = np.asarray(still.positions[0] - found[0, -1])
    assert np.abs(free - EDGE * np.round(free / EDGE))[7].max() > 0.01


# --------------------------------------------------------------------------------- bits, replicas, codes


@pytest.mark.parametrize("force", [LJ, TableForce(table_energy)], ids=["analytic", "table"])
def test_bits_do_not_depend_on_splitting_a_run_on_other_replicas_or_on_room(force):
    engine = fluid(force, capacity=ROOMY)
    start = start_of(engine)
    end, x = engine.run(start, PARAMETERS, n_samples=2, stride=12)
    _, again = engine.run(start, PARAMETERS, n_samples=2, stride=12)
    np.testing.assert_array_equal(x, again)
    middle, first = engine.run(start, PARAMETERS, n_samples=1, stride=12)
    last, second = engine.run(middle, PARAMETERS, n_samples=1, stride=12)
    np.testing.assert_array_equal(jnp.concatenate([first, second], 1), x)
    np.testing.assert_array_equal(last.velocities, end.velocities)
    np.testing.assert_array_equal(jax.random.key_data(last.keys), jax.random.key_data(end.keys))
    one_start, one_parameters = jax.tree.map(lambda leaf: leaf[1:2], (start, PARAMETERS))
    _, alone = engine.run(one_start, one_parameters, n_samples=2, stride=12)
    np.testing.assert_array_equal(alone[0], x[1])
    fitted = fluid(force)
    _, y = fitted.run(start, PARAMETERS, n_samples=2, stride=12)
    assert fitted.capacity is not None and fitted.capacity != ROOMY
    np.testing.assert_array_equal(y, x)


def test_replicas_have_their_own_parameters():
    engine = fluid(LJ, capacity=ROOMY)
    start = start_of(engine)
    same = start._replace(
        velocities=jnp.tile(start.velocities[:1], (3, 1, 1)), keys=jnp.broadcast_to(start.keys[:1], (3,))
    )
    _, x = engine.run(same, PARAMETERS, n_samples=1, stride=30)
    assert jnp.abs(x[0] - x[1]).max() > 1e-4 and jnp.abs(x[1] - x[2]).max() > 1e-4
    _, y = engine.run(same, (jnp.ones(3), jnp.ones(3)), n_samples=1, stride=30)
    np.testing.assert_array_equal(y[0], y[2])


def gas_of(capacity):
    settings = settings_for(1000, time_step=0.01)
    return CellEngine(1000, np.full(3, 14.4), CUTOFF, settings, SOFT, deterministic=True, capacity=capacity)


def test_overflow_of_a_condensing_replica_is_repaired_from_the_state_before(caplog):
    """Of three replicas of a gas the second is condensed, until all its cells are neighbours of each other."""
    engine = gas_of(None)
    sites = np.random.default_rng(3).uniform(size=(1000, 3)) * 14.4
    start = engine.initial_state(KEY, np.tile(sites, (3, 1, 1)))
    inwards = jnp.asarray((7.2 - sites) / 2, jnp.float32)
    start = start._replace(velocities=(0.02 * start.velocities).at[1].set(inwards))
    parameters = jnp.array([0.02, 0.02, 0.01])
    first = engine._capacity_for(start.positions)
    inputs = (start, engine._loop_parameters(parameters))
    parts = engine._attempt([0, 1, 2], inputs, first, n_samples=2, stride=80)
    assert [int(end.result) for end, *_ in parts] == [Result.OK, Result.OVERFLOW, Result.OK]

    with caplog.at_level(logging.INFO, logger="bayescg.physics._cell_engine"):
        end, x = engine.run(start, parameters, n_samples=2, stride=80)
    assert "overflowed in 1 of 3 replicas: repeated with room for" in caplog.text
    assert engine.capacity.cells > first.cells
    assert np.std(np.asarray(x[1, -1])) < 1 < np.std(np.asarray(x[0, -1]))
    expected_end, expected = gas_of(engine.layout.most).run(start, parameters, n_samples=2, stride=80)
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(end.velocities, expected_end.velocities)
    np.testing.assert_array_equal(jax.random.key_data(end.keys), jax.random.key_data(expected_end.keys))
    assert end.result.tolist() == [Result.OK] * 3

    small = gas_of(Capacity(2, 2))
    forces = small.forces(x[:, -1], parameters)
    assert small.capacity.cells > 2
    pairs = PairEngine(1000, np.full(3, 14.4), CUTOFF, settings_for(1000), SOFT)
    wanted = pairs.forces(x[:, -1], parameters)
    np.testing.assert_allclose(forces, wanted, atol=4e-6 * float(jnp.abs(wanted).max()))


def test_a_replica_that_is_already_overflown_keeps_its_code():
    engine = fluid(LJ, capacity=Capacity(1, 1))
    start = start_of(engine)._replace(result=jnp.array([Result.OVERFLOW] * 3, jnp.int32))
    end, _ = engine.run(start, PARAMETERS, n_samples=1, stride=12)
    assert end.result.tolist() == [Result.OVERFLOW] * 3
    assert engine.capacity == Capacity(1, 1)


@pytest.mark.parametrize("force", [LJ, TableForce(table_energy)], ids=["analytic", "table"])
def test_not_a_number_is_seen_and_stays_in_its_replica(force):
    engine = fluid(force, capacity=ROOMY)
    start = start_of(engine)
    broken = start._replace(positions=start.positions.at[1, 5, 0].set(jnp.nan))
    end, x = engine.run(broken, PARAMETERS, n_samples=1, stride=12)
    _, clean = engine.run(start, PARAMETERS, n_samples=1, stride=12)
    assert end.result.tolist() == [Result.OK, Result.NONFINITE, Result.OK]
    np.testing.assert_array_equal(x[0], clean[0])
    np.testing.assert_array_equal(x[2], clean[2])


def test_sites_on_top_of_each_other_and_hot_sites_are_seen():
    engine = fluid(LJ, capacity=ROOMY)
    start = start_of(engine)
    bad = start._replace(
        positions=start.positions.at[2, 0].set(start.positions[2, 1]),
        velocities=start.velocities.at[0].multiply(4.0),
    )
    end, _ = engine.run(bad, PARAMETERS, n_samples=1, stride=1)
    assert end.result.tolist() == [Result.UNSTABLE, Result.OK, Result.NONFINITE]


# ------------------------------------------------------------------------------------- choice and refusals


def test_large_systems_in_wide_boxes_are_given_cells():
    edge = (1728 / 0.8) ** (1 / 3)
    assert is_large(1728, np.full(3, edge), 2.5)
    assert not is_large(1331, np.full(3, edge), 2.5)
    assert not is_large(1728, np.full(3, edge), edge / 2)
    assert not is_large(1728, np.array([edge, edge, np.inf]), 2.5)
    assert not is_large(1728, np.array([5.0, 20.0, 20.0]), 2.5)
    assert not is_large(1728, np.array([edge]), 2.5)


def simulator_of(n_side, *, metropolis=False, potential=None):
    n = n_side**3
    return Simulator(
        potential or LennardJones(1.0, 1.0, cutoff=CUTOFF, convention="smooth", onset=1.3),
        topology=Topology(("A",) * n, np.ones(n)),
        box=np.full(3, 1.2 * n_side),
        units=get_unit_system("lj"),
        temperature=1.2,
        settings=SimulationSettings(
            0.004, 1.0, stride=5, n_replicas=2, equilibration=0, chunk=4, metropolis=metropolis
        ),
    )


def test_simulator_chooses_its_engine_by_size():
    assert isinstance(simulator_of(12).engine, CellEngine)
    assert isinstance(simulator_of(11).engine, PairEngine)


@pytest.mark.parametrize("metropolis", [False, True], ids=["langevin", "metropolis"])
def test_references_are_those_of_the_other_engine(monkeypatch, metropolis):
    potential = LennardJones(1.0, 1.0, cutoff=CUTOFF, convention="smooth", onset=1.3)
    starts = np.tile(lattice(N_SIDE, EDGE), (2, 1, 1))
    found = {}
    for large in (False, True):
        monkeypatch.setattr(_simulate, "is_large", lambda *arguments, large=large: large)
        simulator = simulator_of(N_SIDE, metropolis=metropolis, potential=potential)
        assert isinstance(simulator.engine, CellEngine if large else PairEngine)
        (found[large],) = simulator.simulate([potential], starts=starts, key=KEY, n_samples=8)
    np.testing.assert_allclose(found[True].features, found[False].features, rtol=2e-4)
    assert found[True].results == found[False].results == (16, 0, 0)


def test_impossible_arguments_are_refused_with_a_remedy():
    settings = settings_for(64)
    with pytest.raises(ValueError, match="three finite edges; use PairEngine"):
        CellEngine(64, np.array([8.0, 8.0, np.inf]), 2.0, settings, LJ)
    with pytest.raises(ValueError, match="at most half the shortest edge"):
        CellEngine(64, np.full(3, 8.0), 4.1, settings, LJ)
    with pytest.raises(ValueError, match="skin 0 must be positive"):
        CellEngine(64, np.full(3, 8.0), 2.0, settings, LJ, skin=0)
    with pytest.raises(ValueError, match="inverse_mass has shape"):
        CellEngine(65, np.full(3, 8.0), 2.0, settings, LJ)
    engine = CellEngine(64, np.full(3, 8.0), 2.0, settings, LJ)
    with pytest.raises(ValueError, match="positions have shape"):
        engine.initial_state(KEY, np.zeros((2, 3)))
    state = engine.initial_state(KEY, np.ones((4, 64, 3)))
    with pytest.raises(ValueError, match="the 4 replicas as the leading axis"):
        engine.run(state, (jnp.ones(3), jnp.ones(3)), n_samples=1, stride=1)
