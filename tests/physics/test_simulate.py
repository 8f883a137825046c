"""The simulation driver and the bank together, against systems whose free energies and averages are known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from scipy.integrate import quad

from bayescg.data import Topology, get_unit_system
from bayescg.errors import InputError, SimulationError
from bayescg.physics import (
    DoubleWell,
    HistogramPair,
    LennardJones,
    LinearPotential,
    ParameterInfo,
    ReferenceBank,
    SimulationSettings,
    Simulator,
    SplinePair,
)

UNITS = get_unit_system("lj")
KEY = jax.random.key(271828)


def simulator(potential, n_sites, box, *, temperature=1.0, edges=None, **settings):
    defaults = {"time_step": 0.005, "friction": 1.0, "stride": 10, "n_replicas": 4, "equilibration": 0}
    return Simulator(
        potential,
        topology=Topology(("A",) * n_sites, np.ones(n_sites)),
        box=np.asarray(box, float),
        units=UNITS,
        temperature=temperature,
        settings=SimulationSettings(**{**defaults, **settings}),
        distance_edges=edges,
    )


def z_of_replicas(values, exact):
    """How many standard errors the mean lies off; replicas [replica ...] are independent."""
    values = np.asarray(values)
    return (values.mean(0) - exact) / (values.std(0, ddof=1) / np.sqrt(len(values)))


def replica_covariances(features, mean):
    """One estimate of Cov(φ) from each replica, around the known mean."""
    deviation = features - mean
    return np.einsum("rsa,rsb->rab", deviation, deviation) / features.shape[1]


def groups_of(reference, n_groups):
    """The reference split into references of a part of the replicas each, for errors of nonlinear estimates."""
    parts = np.array_split(np.arange(len(reference.features)), n_groups)
    return [
        reference._replace(
            features=reference.features[part],
            virial=reference.virial[part],
            pair_counts=reference.pair_counts[part],
        )
        for part in parts
    ]


# --- V4: the ring Gaussian, by automatic differentiation ---


def ring_features(positions, box):
    """(xᵀAx/2, xᵀx/2) with A = 2I − S − Sᵀ."""
    x = positions[:, 0]
    return jnp.stack([jnp.sum((x - jnp.roll(x, 1)) ** 2) / 2, jnp.sum(x**2) / 2])


N_RING = 10
RING_EIGENVALUES = np.stack([2 - 2 * np.cos(2 * np.pi * np.arange(N_RING) / N_RING), np.ones(N_RING)], axis=1)


def ring_exact(t):
    """log Z, ⟨φ⟩ and Cov(φ), a sum over the modes."""
    stiffness = RING_EIGENVALUES @ t
    log_z = 0.5 * np.sum(np.log(2 * np.pi / stiffness))
    share = RING_EIGENVALUES / stiffness[:, None]
    return log_z, 0.5 * share.sum(axis=0), 0.5 * share.T @ share


@pytest.fixture(scope="module")
def ring():
    """References at t and at a neighbour, side by side; BAOAB is exact for a harmonic energy at any time step."""
    t, neighbour = np.array([2.0, 0.5]), np.array([2.3, 0.6])
    potentials = [LinearPotential(jnp.asarray(v), function=ring_features) for v in (t, neighbour)]
    engine = simulator(
        potentials[0], N_RING, [np.inf], time_step=0.3, stride=5, equilibration=40, chunk=60, n_replicas=200
    )
    starts = np.random.default_rng(0).normal(size=(200, N_RING, 1))
    return t, engine.simulate(potentials, starts=starts, key=KEY, n_samples=180)


def test_the_ring_gaussians_exact_numbers():
    log_z, mean, fisher = ring_exact(np.array([2.0, 0.5]))
    assert log_z == pytest.approx(3.256098, abs=1e-6)
    np.testing.assert_allclose(mean, [1.885004, 2.459984], atol=1e-6)
    np.testing.assert_allclose(fisher, [[0.808370, 0.536527], [0.536527, 2.773859]], atol=1e-6)


def test_ring_gaussian_is_sampled(ring):
    t, (reference, _) = ring
    _, mean, fisher = ring_exact(t)
    assert np.all(np.abs(z_of_replicas(reference.features.mean(axis=1), mean)) < 4)
    assert np.all(np.abs(z_of_replicas(replica_covariances(reference.features, mean), fisher)) < 4)
    np.testing.assert_allclose(reference.virial, -2 * reference.features, rtol=1e-6)


def test_ring_gaussian_is_predicted_from_a_neighbouring_simulation(ring):
    """⟨φ⟩, the Fisher information and log Z at t, reweighted from frames at other parameters."""
    t, (_, neighbour) = ring
    log_z, mean, fisher = ring_exact(t)
    estimates = []
    for part in groups_of(neighbour, 20):
        bank = ReferenceBank(1.0, (part,))
        w = bank.weights(t)
        deviation = bank.features - mean
        covariance = (deviation * w[:, None]).T @ deviation
        estimates.append([bank.delta_log_z(t), *(w @ bank.features), *covariance[np.triu_indices(2)]])
    exact = [log_z - ring_exact(neighbour.coefficients)[0], *mean, *fisher[np.triu_indices(2)]]
    z = z_of_replicas(estimates, exact)
    assert np.all(np.abs(z) < 4), z


def test_ring_gaussian_free_energy_by_mbar_between_both(ring):
    t, references = ring
    exact = ring_exact(references[1].coefficients)[0] - ring_exact(t)[0]
    pairs = zip(groups_of(references[0], 20), groups_of(references[1], 20), strict=True)
    estimates = [-ReferenceBank(1.0, pair).free_energies()[1] for pair in pairs]
    assert abs(z_of_replicas(estimates, exact)) < 4


def test_a_simulation_agrees_with_what_the_surrogate_of_the_other_says(ring):
    """The verification step: fresh averages against the surrogate's, both with their stated errors."""
    _, (fresh, other) = ring
    bank, check = ReferenceBank(1.0, (other,)), ReferenceBank(1.0, (fresh,))
    said = np.asarray(bank.surrogate().mean_features(jnp.asarray(fresh.coefficients)))
    difference = check.features.mean(axis=0) - said
    covariance = bank.feature_covariance_error(fresh.coefficients) + check.feature_covariance_error(
        fresh.coefficients
    )
    assert difference @ np.linalg.solve(covariance, difference) < 18.4  # chi-squared of 2, p = 1e-4


# --- V5: two Lennard-Jones particles ---

EDGE, CUT, BETA = 6.0, 3.0, 1 / 1.2
THETA = np.array([1.0, 1.0])
OTHER = np.array([1.1, 0.95])


def bare(r, epsilon, sigma):
    return 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)


def shifted_features(r):
    return np.array([r**-12 - CUT**-12, r**-6 - CUT**-6])


def lj_coefficients(theta):
    epsilon, sigma = theta
    return np.array([4 * epsilon * sigma**12, -4 * epsilon * sigma**6])


def lj_slopes(theta):
    """∂η/∂(ε, σ) [feature parameter]."""
    epsilon, sigma = theta
    return np.array([[4 * sigma**12, 48 * epsilon * sigma**11], [-4 * sigma**6, -24 * epsilon * sigma**5]])


def average_over_pair(function, theta):
    """∫ 4πr² f(r) exp(−βu) dr over the sphere of the cutoff, where alone f differs from 0."""
    eta = lj_coefficients(theta)

    def integrand(r):
        return 4 * np.pi * r**2 * function(r) * np.exp(-BETA * eta @ shifted_features(r))

    return quad(integrand, 0.3, CUT, epsabs=1e-12, epsrel=1e-12, points=[0.9, 1.0, 1.1, 1.3], limit=200)[0]


def lj_exact(theta):
    """log Z, ⟨φ⟩, Cov(φ) and ⟨W⟩ of two particles with minimum image."""
    outside = EDGE**3 - 4 / 3 * np.pi * CUT**3
    z = outside + average_over_pair(lambda r: 1.0, theta)
    mean = np.array([average_over_pair(lambda r, k=k: shifted_features(r)[k], theta) for k in range(2)]) / z
    second = np.array(
        [
            [
                average_over_pair(lambda r, j=j, k=k: shifted_features(r)[j] * shifted_features(r)[k], theta)
                for j in range(2)
            ]
            for k in range(2)
        ]
    )
    eta = lj_coefficients(theta)
    virial = average_over_pair(lambda r: eta @ [12 * r**-12, 6 * r**-6], theta) / z
    return 3 * np.log(EDGE) + np.log(z), mean, second / z - np.outer(mean, mean), virial


def scattered_pairs(n_replicas, *, n_sites=2, edge=EDGE, closest=1.0, seed=0):
    rng = np.random.default_rng(seed)
    starts = np.zeros((n_replicas, n_sites, 3))
    for replica in starts:
        for site in range(n_sites):
            while True:
                new = rng.uniform(0, edge, 3)
                d = replica[:site] - new
                if np.all(np.sum((d - edge * np.round(d / edge)) ** 2, axis=1) > closest**2):
                    replica[site] = new
                    break
    return starts


def lennard_jones(theta):
    return LennardJones(theta[0], theta[1], cutoff=CUT, convention="shifted")


@pytest.fixture(scope="module")
def pair():
    potentials = [lennard_jones(THETA), lennard_jones(OTHER)]
    engine = simulator(
        potentials[0],
        2,
        np.full(3, EDGE),
        temperature=1 / BETA,
        time_step=0.008,
        friction=0.3,
        stride=40,
        equilibration=20,
        chunk=50,
        n_replicas=1600,
    )
    return engine.simulate(potentials, starts=scattered_pairs(1600), key=KEY, n_samples=180)


def test_the_two_particles_exact_numbers():
    log_z, mean, covariance, _ = lj_exact(THETA)
    assert log_z == pytest.approx(10.780768, abs=1e-6)
    assert lj_exact(OTHER)[0] == pytest.approx(10.782272, abs=1e-6)
    np.testing.assert_allclose(mean @ lj_slopes(THETA), [-0.0692878, -0.0894778], atol=1e-6)
    slopes = BETA * lj_slopes(THETA) * THETA
    expected = [[0.0274406, 0.0780563], [0.0780563, 2.943161]]
    np.testing.assert_allclose(slopes.T @ covariance @ slopes, expected, rtol=2e-5)


def test_two_particles_are_sampled(pair):
    _, mean, covariance, virial = lj_exact(THETA)
    reference, slopes = pair[0], lj_slopes(THETA)
    z = z_of_replicas(reference.features.mean(axis=1) @ slopes, mean @ slopes)
    assert np.all(np.abs(z) < 4), z
    scaled = BETA * slopes * THETA
    fisher = scaled.T @ replica_covariances(reference.features, mean) @ scaled
    z = z_of_replicas(fisher, scaled.T @ covariance @ scaled)
    assert np.all(np.abs(z) < 4), z
    z = z_of_replicas((reference.virial @ reference.coefficients).mean(axis=1), virial)
    assert abs(z) < 4, z


def test_two_particles_free_energy_between_parameters(pair):
    exact = lj_exact(OTHER)[0] - lj_exact(THETA)[0]
    parts = zip(groups_of(pair[0], 20), groups_of(pair[1], 20), strict=True)
    estimates = [-ReferenceBank(BETA, part).free_energies()[1] for part in parts]
    assert abs(z_of_replicas(estimates, exact)) < 4
    one_sided = [
        ReferenceBank(BETA, (p,)).delta_log_z(lj_coefficients(OTHER)) for p in groups_of(pair[0], 20)
    ]
    assert abs(z_of_replicas(one_sided, exact)) < 4
    spread = np.std(estimates, ddof=1) / np.sqrt(20)
    assert spread < 0.004  # the test can see: kT ε β is 0.08


def test_potentials_side_by_side_give_references_of_their_own(pair):
    for reference, theta in zip(pair, (THETA, OTHER), strict=True):
        np.testing.assert_allclose(reference.coefficients, lj_coefficients(theta), rtol=1e-12)
        assert reference.features.shape[0] == 800
        assert reference.features.shape[1] <= 180
        z = z_of_replicas(reference.features.mean(axis=1), lj_exact(theta)[1])
        assert np.all(np.abs(z) < 4), z
    wrong = z_of_replicas(pair[1].features.mean(axis=1), lj_exact(THETA)[1])
    assert np.max(np.abs(wrong)) > 10  # the two are told apart


# --- the table and the formula ---


class TabulatedLennardJones(HistogramPair):
    """The same Lennard-Jones through nodes: what a table-driven potential looks like."""

    epsilon: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    sigma: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    inner: float = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    n_nodes: int = eqx.field(static=True, default=600, kw_only=True)
    name: str = eqx.field(static=True, default="table", kw_only=True)

    def formula(self, r2):
        return LennardJones(self.epsilon, self.sigma, cutoff=self.cutoff).pair_energy(r2)

    def parameters(self):
        return (
            ParameterInfo("table_epsilon", "energy", "well depth", "positive", 1.0, ()),
            ParameterInfo("table_sigma", "length", "diameter", "positive", 1.0, ()),
        )


@pytest.mark.slow
def test_a_table_and_a_formula_of_the_same_potential_sample_the_same():
    box, edges = np.full(3, 4.4), np.linspace(0.8, 2.2, 8)
    starts = scattered_pairs(16, n_sites=12, edge=4.4, closest=0.95)
    results = []
    for potential in (
        LennardJones(1.0, 1.0, cutoff=2.2),
        TabulatedLennardJones(1.0, 1.0, inner=0.75, cutoff=2.2),
    ):
        engine = simulator(
            potential,
            12,
            box,
            temperature=1.5,
            edges=edges,
            stride=25,
            equilibration=20,
            chunk=20,
            n_replicas=16,
        )
        (reference,) = engine.simulate([potential], starts=starts, key=KEY, n_samples=60)
        energy = (reference.features @ reference.coefficients).mean(axis=1)
        virial = (reference.virial @ reference.coefficients).mean(axis=1)
        results.append(np.column_stack([energy, virial, reference.pair_counts.mean(axis=1)]))
    difference = results[0].mean(0) - results[1].mean(0)
    error = np.sqrt(sum(r.var(0, ddof=1) / len(r) for r in results))
    assert np.all(np.abs(difference) < 4 * error), difference / error


@pytest.mark.slow
def test_the_average_energy_of_a_spline_is_that_of_its_own_table():
    """Two particles under a spline: ⟨B_j⟩ by quadrature over the distance."""
    empty = SplinePair.uniform(inner=0.8, cutoff=2.4, spacing=0.3, core_distance=1.1, core_strength=8.0)
    spline = empty.with_parameters(
        {
            "pair_coefficients": np.array([4.0, 2.0, 0.5, -1.0, -0.6, -0.2, 0.3, 0.0])[
                : empty.coefficients_.size
            ]
        }
    )
    edge = 4.8
    r = (np.arange(40_000) + 0.5) / 40_000 * 2.4
    basis, energy = (
        np.asarray(spline.pair_basis(jnp.asarray(r**2))),
        np.asarray(spline.pair_energy(jnp.asarray(r**2))),
    )
    weight = 4 * np.pi * r**2 * np.exp(-energy) * 2.4 / 40_000
    exact = weight @ basis / (weight.sum() + edge**3 - 4 / 3 * np.pi * 2.4**3)
    engine = simulator(
        spline,
        2,
        np.full(3, edge),
        time_step=0.01,
        friction=0.5,
        stride=200,
        equilibration=5,
        chunk=20,
        n_replicas=64,
    )
    starts = scattered_pairs(64, edge=edge)
    (reference,) = engine.simulate([spline], starts=starts, key=KEY, n_samples=60)
    z = z_of_replicas(reference.features.mean(axis=1), exact)
    assert np.all(np.abs(z[exact > 1e-4]) < 4), z


# --- the driver's promises ---


def small_lj(**settings):
    potential = LennardJones(1.0, 1.0, cutoff=2.0)
    return potential, simulator(potential, 4, np.full(3, 4.0), **settings)


def test_the_same_key_gives_the_same_bits_and_another_key_others():
    potential, engine = small_lj(chunk=3)
    starts = scattered_pairs(4, n_sites=4, edge=4.0)
    first, again = (engine.simulate([potential], starts=starts, key=KEY, n_samples=7)[0] for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    different = engine.simulate([potential], starts=starts, key=jax.random.key(1), n_samples=7)[0]
    assert not np.array_equal(first.features, different.features)


def test_chunks_and_equilibration_only_divide_the_same_trajectory():
    starts = scattered_pairs(4, n_sites=4, edge=4.0)
    runs = []
    for chunk in (4, 10):
        potential, engine = small_lj(equilibration=3, chunk=chunk)
        (reference,) = engine.simulate(
            [potential], starts=starts, key=KEY, n_samples=7, purpose="verification"
        )
        assert reference.features.shape == reference.virial.shape == (4, 7, 2)
        assert reference.pair_counts.shape == (4, 7, 0)
        assert reference.configurations.shape == (8, 4, 3)
        assert reference.purpose == "verification"
        assert reference.n_frames == 28
        runs.append(reference.features)
    np.testing.assert_array_equal(runs[0], runs[1])


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_simulation_ends_in_the_same_bits(stop_after):
    potential, engine = small_lj(equilibration=4, chunk=3)
    starts = scattered_pairs(4, n_sites=4, edge=4.0)
    snapshots, times = [], []

    def keep(time, snapshot):
        times.append(time)
        snapshots.append(snapshot())

    (whole,) = engine.simulate([potential], starts=starts, key=KEY, n_samples=9, on_chunk=keep)
    assert times == [pytest.approx(3 * 10 * 0.005 * 4)] * 5
    resume = snapshots[stop_after - 1]
    (resumed,) = engine.simulate([potential], starts=starts, key=KEY, n_samples=9, resume=resume)
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_truncated_potential_is_refused_alone_and_in_a_sum():
    truncated = LennardJones(1.0, 1.0, cutoff=2.0, convention="truncated")
    for potential in (truncated, truncated + DoubleWell(1.0, 1.0)):
        with pytest.raises(InputError, match="bare truncation.*continuous"):
            simulator(potential, 4, np.full(3, 4.0))
    simulator(truncated.continuous(), 4, np.full(3, 4.0))


def test_a_potential_of_another_form_is_refused():
    _, engine = small_lj()
    starts = scattered_pairs(4, n_sites=4, edge=4.0)
    for other in (LennardJones(1.0, 1.0, cutoff=1.9), LennardJones(1.0, 1.0, cutoff=2.0, name="other")):
        with pytest.raises(InputError, match="with_parameters"):
            engine.simulate([other], starts=starts, key=KEY, n_samples=1)


@pytest.mark.parametrize("shape", [(4, 3, 3), (4, 4, 2), (4, 4)])
def test_starts_of_another_shape_are_refused(shape):
    potential, engine = small_lj()
    with pytest.raises(ValueError, match="positions have shape"):
        engine.simulate([potential], starts=np.zeros(shape), key=KEY, n_samples=1)


def test_replicas_that_cannot_be_shared_out_are_refused():
    potential, engine = small_lj()
    starts = scattered_pairs(4, n_sites=4, edge=4.0)
    with pytest.raises(InputError, match="4 replicas cannot be shared evenly among 3"):
        engine.simulate([potential] * 3, starts=starts, key=KEY, n_samples=1)
    with pytest.raises(InputError, match="n_samples"):
        engine.simulate([potential], starts=starts, key=KEY, n_samples=0)


def test_a_blow_up_is_an_error_that_names_stage_and_remedy():
    potential, engine = small_lj(time_step=0.5)
    starts = scattered_pairs(4, n_sites=4, edge=4.0)
    with pytest.raises(SimulationError, match="verification simulation.*time step"):
        engine.simulate([potential], starts=starts, key=KEY, n_samples=5, purpose="verification")
    _, engine = small_lj()
    starts[2, 0] = starts[2, 1]
    with pytest.raises(SimulationError, match="1 of 4 replicas failed, first replica 2.*overlapping"):
        engine.simulate([potential], starts=starts, key=KEY, n_samples=5)


def height(positions, box):
    return jnp.sum(positions)[None]


def test_a_drift_that_never_ends_is_an_error():
    """Free fall in open space with friction: the energy only sinks, at a steady rate."""
    falling = LinearPotential(jnp.asarray([5.0]), function=height)
    engine = simulator(falling, 2, [np.inf], time_step=0.01, stride=20, chunk=40, n_replicas=8)
    with pytest.raises(SimulationError, match="still drifts"):
        engine.simulate([falling], starts=np.ones((8, 2, 1)), key=KEY, n_samples=40)


def test_what_relaxes_at_the_start_is_cut_off():
    well = DoubleWell(-4.0, 0.0)
    engine = simulator(well, 2, [np.inf], time_step=0.02, friction=10.0, stride=10, chunk=60, n_replicas=16)
    (reference,) = engine.simulate([well], starts=np.full((16, 2, 1), 3.0), key=KEY, n_samples=120)
    n_kept = reference.features.shape[1]
    assert 60 <= n_kept < 120
    assert np.all(np.abs(z_of_replicas(reference.features[..., 0].mean(axis=1), -0.25)) < 4)
