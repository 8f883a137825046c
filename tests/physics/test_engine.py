"""The Langevin engines against exact averages, independent forces, and their own promises about bits and codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from bayescg.errors import SimulationError
from bayescg.physics._engine import (
    AnalyticForce,
    LangevinSettings,
    PairEngine,
    TableForce,
    replica_groups,
)
from bayescg.physics._generic_engine import GenericEngine
from bayescg.physics._result import Result, throw

KEY = jax.random.key(20130901)


def lj_energy(parameters, r2):
    epsilon, sigma = parameters
    s6 = (sigma * sigma / r2) ** 3
    return 4 * epsilon * (s6 * s6 - s6)


def lj_factor(parameters, r2):
    epsilon, sigma = parameters
    inverse = 1 / r2
    s6 = (sigma * sigma * inverse) ** 3
    return 24 * epsilon * inverse * s6 * (2 * s6 - 1)


def table_energy(parameters, r2):
    return lj_energy(parameters, jnp.maximum(r2, 0.3)) - lj_energy(parameters, 4.0)


def table_factor(parameters, r2):
    return jnp.where(r2 < 0.3, 0, lj_factor(parameters, r2))


def no_force(parameters, r2):
    return jnp.zeros_like(r2)


def spring_factor(stiffness, r2):
    return -stiffness * jnp.ones_like(r2)


def harmonic(stiffness, positions, box):
    return 0.5 * stiffness * jnp.sum(positions**2)


def settings_for(n_sites, *, time_step=0.005, friction=1.0, kT=1.0, mass=1.0):
    return LangevinSettings(time_step, friction, kT, np.full(n_sites, 1 / mass))


def lattice(n_side, edge):
    grid = (np.arange(n_side) + 0.5) * edge / n_side
    return np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), -1).reshape(-1, 3)


def assert_mean(samples, expected):
    """The mean over independent replicas [replica, ...] lies within four standard errors."""
    means = np.asarray(samples, float).reshape(len(samples), -1).mean(1)
    error = means.std(ddof=1) / np.sqrt(len(means))
    assert abs(means.mean() - expected) < 4 * error, f"{means.mean()} ± {error}, expected {expected}"


# ------------------------------------------------------------------------------------------------- physics


@pytest.mark.parametrize("time_step", [0.1, 1.0, 1.8])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_harmonic_variance_is_exact_at_any_stable_time_step(time_step, dtype):
    stiffness, kT, mass = 0.5, 2.0, 0.5
    settings = settings_for(2, time_step=time_step, friction=0.7, kT=kT, mass=mass)
    engine = GenericEngine(2, [np.inf], settings, harmonic, dtype=dtype)
    n = 400
    state = engine.initial_state(
        KEY, np.sqrt(kT / stiffness) * jax.random.normal(jax.random.key(1), (n, 2, 1))
    )
    state, x = engine.run(state, jnp.full(n, stiffness), n_samples=60, stride=10)
    assert x.dtype == dtype and x.shape == (n, 60, 2, 1)
    assert_mean(x[:, 20:] ** 2, kT / stiffness)
    assert not state.result.any()


def test_ideal_gas_is_uniform_and_at_the_thermostat_s_temperature():
    edges, kT = np.array([2.0, 3.0, 4.0]), 1.7
    engine = PairEngine(
        40, edges, 1.0, settings_for(40, time_step=0.05, kT=kT, mass=3.0), AnalyticForce(no_force)
    )
    n = 32
    state = engine.initial_state(KEY, np.full((n, 40, 3), 0.5))
    kinetic = []
    for _ in range(10):
        state, x = engine.run(state, jnp.zeros(n), n_samples=10, stride=40)
        kinetic.append(3.0 * np.asarray(state.velocities) ** 2)
    assert (x >= 0).all() and (x <= edges).all()
    for axis, edge in enumerate(edges):
        assert_mean(x[..., axis], edge / 2)
        assert_mean((x[..., axis] - edge / 2) ** 2, edge**2 / 12)
    assert_mean(np.stack(kinetic, 1), kT)


def test_two_lennard_jones_particles_give_the_exact_mean_gradients():
    """V5: U = u(r) - u(3) below 3 in a periodic cube of edge 6, beta = 1/1.2, epsilon = sigma = 1."""
    edge, kT = 6.0, 1.2

    def shifted_derivatives(r2):
        def one(r2):
            return jnp.array([4 * (r2**-6 - r2**-3), 4 * (12 * r2**-6 - 6 * r2**-3)])

        return jnp.where(r2 < 9, one(r2) - one(9.0)[:, None], 0)

    def weight(r):
        return 4 * np.pi * r**2 * np.exp(-(lj_energy((1, 1), r**2) - lj_energy((1, 1), 9.0)) / kT)

    inside = integrate.quad(weight, 0.3, 3, limit=200)[0]
    norm = edge**3 - 4 / 3 * np.pi * 27 + inside
    exact = [
        integrate.quad(
            lambda r, i=i: weight(r) * float(shifted_derivatives(np.array([r * r]))[i, 0]), 0.3, 3
        )[0]
        / norm
        for i in (0, 1)
    ]
    np.testing.assert_allclose(exact, [-0.0692878, -0.0894778], rtol=2e-6)

    n = 1000
    engine = PairEngine(
        2, np.full(3, edge), 3.0, settings_for(2, kT=kT, time_step=0.01), AnalyticForce(lj_factor)
    )
    offsets = jax.random.uniform(jax.random.key(4), (n, 3), minval=1.5, maxval=4.5)
    state = engine.initial_state(KEY, jnp.stack([jnp.zeros((n, 3)), offsets], 1))
    _, x = engine.run(state, (jnp.ones(n), jnp.ones(n)), n_samples=400, stride=20)
    d = x[:, 50:, 0] - x[:, 50:, 1]
    d = d - edge * jnp.round(d / edge)
    values = shifted_derivatives(jnp.sum(d.astype(jnp.float64) ** 2, -1).reshape(-1)).reshape(2, n, -1)
    for value, expected in zip(values, exact):
        assert_mean(value, expected)


# -------------------------------------------------------------------------------------------------- forces


@pytest.mark.parametrize("n_side", [2, 4])
def test_pair_forces_are_minus_the_gradient_of_the_energy(n_side):
    edges = np.array([5.2, 5.6, np.inf])
    sites = lattice(n_side, 5.2) + 0.3 * np.asarray(jax.random.normal(KEY, (n_side**3, 3)))
    n = n_side**3

    def energy(x):
        i, j = np.triu_indices(n, 1)
        d = x[i] - x[j]
        d = d.at[:, :2].add(-edges[:2] * jnp.round(d[:, :2] / edges[:2]))
        r2 = jnp.sum(d * d, -1)
        return jnp.sum(jnp.where(r2 < 2.5**2, lj_energy((0.7, 1.1), r2), 0))

    expected = -jax.grad(energy)(jnp.asarray(sites))
    engine = PairEngine(n, edges, 2.5, settings_for(n), AnalyticForce(lj_factor))
    found = engine.forces(sites[None], (jnp.array([0.7]), jnp.array([1.1])))[0]
    np.testing.assert_allclose(found, expected, atol=3e-6 * float(jnp.abs(expected).max()))


def test_forces_agree_with_jax_md():
    from jax_md import energy as jax_md_energy
    from jax_md import space

    edge, n = 6.0, 64
    sites = lattice(4, edge) + 0.1 * np.asarray(jax.random.normal(KEY, (n, 3)))
    displacement, _ = space.periodic(edge)
    # Its smooth cut-off starts at r_onset: compared where no pair lies between onset and cut-off.
    distances = np.linalg.norm((d := sites[:, None] - sites[None]) - edge * np.round(d / edge), axis=-1)
    onset = 2.2
    cutoff = distances[distances < onset].max() + 1e-4
    energy = jax_md_energy.lennard_jones_pair(
        displacement, sigma=1.0, epsilon=0.8, r_onset=cutoff, r_cutoff=cutoff + 1e-5
    )
    expected = -jax.grad(energy)(jnp.asarray(sites))
    engine = PairEngine(n, np.full(3, edge), cutoff, settings_for(n), AnalyticForce(lj_factor))
    found = engine.forces(sites[None], (jnp.array([0.8]), jnp.array([1.0])))[0]
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(jnp.abs(expected).max()))


def test_open_box_without_cutoff_keeps_springs_between_all_pairs():
    """Columns that fill up the vector loop must not act, however far the force reaches."""
    n = 20
    sites = np.asarray(jax.random.normal(KEY, (1, n, 3)))
    engine = PairEngine(n, np.full(3, np.inf), np.inf, settings_for(n), AnalyticForce(spring_factor))
    expected = -0.3 * n * (sites - sites.mean(1, keepdims=True))
    np.testing.assert_allclose(engine.forces(sites, jnp.array([0.3])), expected, atol=1e-5)
    state, x = engine.run(engine.initial_state(KEY, sites), jnp.array([0.3]), n_samples=3, stride=5)
    assert jnp.isfinite(x).all() and not state.result.any()


def fluid(force, *, n_replicas=3, n_side=4, edge=4.6):
    n = n_side**3
    engine = PairEngine(n, np.full(3, edge), 2.0, settings_for(n, time_step=0.002), force)
    return engine, engine.initial_state(KEY, np.tile(lattice(n_side, edge), (n_replicas, 1, 1)))


PARAMETERS = (jnp.array([0.5, 1.0, 1.5]), jnp.array([1.0, 0.95, 0.9]))


def test_table_follows_the_formula():
    analytic, start = fluid(AnalyticForce(table_factor))
    table, _ = fluid(TableForce(table_energy, 2**18))
    _, expected = analytic.run(start, PARAMETERS, n_samples=4, stride=5)
    _, found = table.run(start, PARAMETERS, n_samples=4, stride=5)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_table_force_is_minus_the_gradient_of_its_piecewise_linear_energy():
    n_bins, cutoff = 50, 2.0
    nodes = np.linspace(0, cutoff**2, n_bins + 1)
    values = np.asarray(table_energy((1.0, 1.0), nodes))
    engine = PairEngine(2, np.full(3, np.inf), cutoff, settings_for(2), TableForce(table_energy, n_bins))
    for r in (0.6, 1.05, 1.41, 1.99, 2.01):
        found = engine.forces(jnp.array([[[r, 0, 0], [0, 0, 0]]]), (jnp.ones(1), jnp.ones(1)))[0, 0, 0]
        k = int(r * r / cutoff**2 * n_bins)
        slope = (values[k + 1] - values[k]) / (nodes[1] - nodes[0]) if r < cutoff else 0.0
        np.testing.assert_allclose(found, -2 * slope * r, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------- bits, replicas, codes


@pytest.mark.parametrize(
    "force", [AnalyticForce(lj_factor), TableForce(table_energy)], ids=["analytic", "table"]
)
def test_bits_do_not_depend_on_splitting_a_run_or_on_the_other_replicas(force):
    engine, start = fluid(force)
    end, x = engine.run(start, PARAMETERS, n_samples=6, stride=7)
    again, y = engine.run(start, PARAMETERS, n_samples=6, stride=7)
    np.testing.assert_array_equal(x, y)
    middle, first = engine.run(start, PARAMETERS, n_samples=3, stride=7)
    last, second = engine.run(middle, PARAMETERS, n_samples=3, stride=7)
    np.testing.assert_array_equal(jnp.concatenate([first, second], 1), x)
    np.testing.assert_array_equal(last.velocities, end.velocities)
    np.testing.assert_array_equal(jax.random.key_data(last.keys), jax.random.key_data(end.keys))
    alone, z = engine.run(
        jax.tree.map(lambda leaf: leaf[1:2], start),
        jax.tree.map(lambda leaf: leaf[1:2], PARAMETERS),
        n_samples=6,
        stride=7,
    )
    np.testing.assert_array_equal(z[0], x[1])


def test_generic_engine_splits_to_the_same_bits():
    engine = GenericEngine(3, [np.inf, 4.0], settings_for(3), harmonic)
    start = engine.initial_state(KEY, np.ones((2, 3, 2)))
    _, whole = engine.run(start, jnp.array([1.0, 2.0]), n_samples=8, stride=3)
    middle, first = engine.run(start, jnp.array([1.0, 2.0]), n_samples=4, stride=3)
    _, second = engine.run(middle, jnp.array([1.0, 2.0]), n_samples=4, stride=3)
    np.testing.assert_array_equal(jnp.concatenate([first, second], 1), whole)


def test_replicas_have_their_own_parameters():
    engine, start = fluid(AnalyticForce(lj_factor))
    same = start._replace(
        velocities=jnp.tile(start.velocities[:1], (3, 1, 1)), keys=jnp.broadcast_to(start.keys[:1], (3,))
    )
    _, x = engine.run(same, PARAMETERS, n_samples=1, stride=30)
    assert jnp.abs(x[0] - x[1]).max() > 1e-4 and jnp.abs(x[1] - x[2]).max() > 1e-4
    _, y = engine.run(same, (jnp.ones(3), jnp.ones(3)), n_samples=1, stride=30)
    np.testing.assert_array_equal(y[0], y[2])


@pytest.mark.parametrize(
    "force", [AnalyticForce(lj_factor), TableForce(table_energy)], ids=["analytic", "table"]
)
def test_not_a_number_is_seen_and_stays_in_its_replica(force):
    engine, start = fluid(force)
    broken = start._replace(positions=start.positions.at[1, 5, 0].set(jnp.nan))
    end, x = engine.run(broken, PARAMETERS, n_samples=2, stride=3)
    _, clean = engine.run(start, PARAMETERS, n_samples=2, stride=3)
    assert end.result.tolist() == [Result.OK, Result.NONFINITE, Result.OK]
    np.testing.assert_array_equal(x[0], clean[0])
    np.testing.assert_array_equal(x[2], clean[2])
    with pytest.raises(
        SimulationError, match=r"search: 1 of 3 replicas failed, first replica 1: a position or"
    ):
        throw(end.result, stage="search")


def test_sites_on_top_of_each_other_are_seen():
    engine, start = fluid(AnalyticForce(lj_factor))
    overlapping = start._replace(positions=start.positions.at[2, 0].set(start.positions[2, 1]))
    end, _ = engine.run(overlapping, PARAMETERS, n_samples=1, stride=1)
    assert end.result.tolist() == [Result.OK, Result.OK, Result.NONFINITE]


def test_blow_up_is_unstable_and_a_later_recovery_does_not_hide_it():
    engine, start = fluid(AnalyticForce(lj_factor))
    hot = start._replace(velocities=start.velocities.at[0].multiply(4.0))
    middle, _ = engine.run(hot, PARAMETERS, n_samples=1, stride=1)
    assert middle.result.tolist() == [Result.UNSTABLE, Result.OK, Result.OK]
    end, _ = engine.run(middle._replace(velocities=start.velocities), PARAMETERS, n_samples=1, stride=1)
    assert end.result.tolist() == [Result.UNSTABLE, Result.OK, Result.OK]


def test_result_members_are_their_messages():
    assert [member.value for member in Result] == [0, 1, 2, 3]
    assert "shorten the time step" in str(Result.UNSTABLE)
    throw([0, 0], stage="search")


# -------------------------------------------------------------------------------------------------- refusals


def test_impossible_arguments_are_refused_with_a_remedy():
    force, settings = AnalyticForce(lj_factor), settings_for(2)
    with pytest.raises(ValueError, match="at most half the shortest edge"):
        PairEngine(2, np.full(3, 4.0), 2.1, settings, force)
    with pytest.raises(ValueError, match="positive edge length"):
        PairEngine(2, np.array([4.0, -1.0, 4.0]), 2.0, settings, force)
    with pytest.raises(ValueError, match="a table needs a finite cutoff"):
        PairEngine(2, np.full(3, np.inf), np.inf, settings, TableForce(table_energy))
    with pytest.raises(ValueError, match="inverse_mass has shape"):
        PairEngine(3, np.full(3, 4.0), 2.0, settings, force)
    with pytest.raises(ValueError, match="time_step and kT must be positive"):
        PairEngine(2, np.full(3, 4.0), 2.0, settings._replace(time_step=0.0), force)
    engine = PairEngine(2, np.full(3, 4.0), 2.0, settings, force)
    with pytest.raises(ValueError, match="positions have shape"):
        engine.initial_state(KEY, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="the 4 replicas as the leading axis"):
        engine.run(
            engine.initial_state(KEY, np.ones((4, 2, 3))), (jnp.ones(3), jnp.ones(3)), n_samples=1, stride=1
        )


@pytest.mark.parametrize("n_replicas", [1, 2, 3, 8, 13, 400])
@pytest.mark.parametrize("n_workers", [1, 2, 16])
@pytest.mark.parametrize("n_sites", [1, 343, 3000])
def test_groups_cover_all_replicas_once(n_replicas, n_workers, n_sites):
    groups = replica_groups(n_replicas, n_sites=n_sites, n_workers=n_workers, n_pairs=500_000)
    covered = [replica for start, size in groups for replica in range(start, start + size)]
    assert covered == list(range(n_replicas))
