"""The reference bank against Gaussians and the double well, whose free energies and averages are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.errors import ConvergenceError, InputError
from bayescg.physics import Reference, ReferenceBank
from bayescg.physics._mbar import solve_mbar

BETA = 0.7
STATES = np.array([[1.0, 0.0], [1.6, 0.5], [2.5, -0.3]])  # (k, h) of U = k x²/2 + h x
TARGET = np.array([1.9, 0.25])
N_REPLICAS, N_SAMPLES, MEMORY = 8, 60, 0.6
N_REPETITIONS = 500


def exact_log_z(eta, beta=BETA):
    k, h = eta
    return 0.5 * np.log(2 * np.pi / (beta * k)) + beta * h**2 / (2 * k)


def exact_mean(eta, beta=BETA):
    k, h = eta
    return np.array([(1 / (beta * k) + (h / k) ** 2) / 2, -h / k])


def reference(eta, features, purpose="search"):
    nothing = np.zeros((*features.shape[:2], 0))
    return Reference(np.asarray(eta, float), features, nothing, nothing, np.zeros((0, 1, 1)), purpose)


def gaussian_reference(eta, rng, *, n_replicas=N_REPLICAS, n_samples=N_SAMPLES, memory=MEMORY, beta=BETA):
    """Replicas of a stationary AR(1) process with the Boltzmann distribution at η."""
    k, h = eta
    noise = rng.normal(size=(n_replicas, n_samples))
    z = noise[:, :1]
    for step in range(1, n_samples):
        z = np.append(z, memory * z[:, -1:] + np.sqrt(1 - memory**2) * noise[:, step : step + 1], axis=1)
    x = -h / k + z / np.sqrt(beta * k)
    return reference(eta, np.stack([x**2 / 2, x], axis=-1))


def gaussian_bank(seed, **sizes):
    rng = np.random.default_rng(seed)
    return ReferenceBank(BETA, tuple(gaussian_reference(eta, rng, **sizes) for eta in STATES))


@pytest.fixture(scope="module")
def repetitions():
    """Estimates of many independent banks: free energies, log Z, ⟨φ⟩ and its stated covariance at the target."""
    rows = []
    for seed in range(N_REPETITIONS):
        bank = gaussian_bank(seed)
        mean = bank.weights(TARGET) @ bank.features
        stated = bank.feature_covariance_error(TARGET)
        rows.append((bank.free_energies(), bank.delta_log_z(TARGET), mean, stated))
    return [np.asarray(column) for column in zip(*rows, strict=True)]


def z_score(estimates, exact):
    """How many standard errors the mean of the repetitions lies off; 1/M bias is far below it."""
    estimates = np.asarray(estimates)
    return (estimates.mean(0) - exact) / (estimates.std(0, ddof=1) / np.sqrt(len(estimates)))


def test_free_energies_of_the_references_are_recovered(repetitions):
    exact = np.array([exact_log_z(STATES[0]) - exact_log_z(eta) for eta in STATES])
    np.testing.assert_array_equal(repetitions[0][:, 0], 0.0)
    assert np.all(np.abs(z_score(repetitions[0][:, 1:], exact[1:])) < 4)
    single = (repetitions[0][0, 1:] - exact[1:]) / repetitions[0][:, 1:].std(0, ddof=1)
    assert np.all(np.abs(single) < 4)


def test_log_z_and_averages_elsewhere_are_recovered(repetitions):
    assert abs(z_score(repetitions[1], exact_log_z(TARGET) - exact_log_z(STATES[0]))) < 4
    assert np.all(np.abs(z_score(repetitions[2], exact_mean(TARGET))) < 4)


def test_stated_covariance_is_that_of_the_repetitions(repetitions):
    """Autocorrelation and the estimated free energies are in it: whole replicas are the blocks."""
    empirical = np.cov(repetitions[2].T)
    stated = repetitions[3].mean(axis=0)
    np.testing.assert_allclose(np.diag(stated) / np.diag(empirical), 1.0, atol=0.15)
    whitener = np.linalg.inv(np.linalg.cholesky(empirical))
    np.testing.assert_allclose(np.linalg.eigvalsh(whitener @ stated @ whitener.T), 1.0, atol=0.15)


def test_an_error_that_ignores_autocorrelation_would_be_too_small(repetitions):
    """The negative half: the variance over weights alone misses the factor (1 + ρ)/(1 − ρ), 4 for x."""
    bank = gaussian_bank(0)
    w = bank.weights(TARGET)
    deviation = bank.features - w @ bank.features
    naive = (w[:, None] * deviation).T @ (w[:, None] * deviation)
    assert naive[1, 1] < 0.5 * np.var(repetitions[2][:, 1])


def test_projected_covariance_is_the_projection_of_the_covariance():
    bank, projection = gaussian_bank(3), np.array([[0.3, -1.0], [2.0, 0.4], [1.0, 1.0]])
    full = bank.feature_covariance_error(TARGET)
    np.testing.assert_allclose(
        bank.feature_covariance_error(TARGET, projection=projection),
        projection @ full @ projection.T,
        rtol=1e-8,
    )


def test_covariance_of_a_single_reference_at_its_own_state_is_that_of_the_replica_means():
    bank = ReferenceBank(BETA, gaussian_bank(3).references[:1])
    means = bank.references[0].features.mean(axis=1)
    np.testing.assert_allclose(
        bank.feature_covariance_error(STATES[0]), np.cov(means.T) / len(means), rtol=1e-10
    )


def test_covariance_needs_two_replicas_in_every_reference():
    with pytest.raises(InputError, match="at least 2 replicas"):
        gaussian_bank(0, n_replicas=1, n_samples=40).feature_covariance_error(TARGET)


def test_solution_satisfies_mbars_equations():
    """Σ_n exp(f_k − u_k(x_n)) / Σ_j M_j exp(f_j − u_j(x_n)) = 1 for every k (eq. 11)."""
    bank = gaussian_bank(1)
    u = BETA * bank.coefficients @ bank.features.T
    weights = np.exp(bank.free_energies()[:, None] - u)
    total = weights / (bank.n_frames @ weights)
    np.testing.assert_allclose(total.sum(axis=1) / total.sum(axis=1)[0], 1.0, rtol=1e-8)


@pytest.mark.parametrize("start", [-300.0, 40.0, 2000.0])
def test_a_start_far_off_leads_to_the_same_solution(start):
    """The function minimised is convex: a guess for a region that no frame had seen may be off by hundreds of kT."""
    rng = np.random.default_rng(3)
    k = np.array([1.0, 2.0, 30.0])
    x2 = np.concatenate([rng.normal(size=300) ** 2 / value for value in k])
    energies, counts = k[:, None] * x2 / 2, np.full(3, 300)
    expected = solve_mbar(energies, counts).free_energies
    found = solve_mbar(energies, counts, start=np.array([0.0, start, -start])).free_energies
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_overlap_is_a_markov_chain_with_the_frames_as_its_stationary_state():
    bank = gaussian_bank(1)
    overlap = bank.overlap()
    np.testing.assert_allclose(overlap.sum(axis=1), 1.0, rtol=1e-8)
    assert np.all(overlap > 0)
    np.testing.assert_allclose(bank.n_frames @ overlap, bank.n_frames, rtol=1e-8)


def test_weights_at_a_single_reference_are_uniform():
    bank = ReferenceBank(BETA, gaussian_bank(1).references[:1])
    np.testing.assert_allclose(bank.weights(STATES[0]), 1 / len(bank.features), rtol=1e-10)
    assert bank.delta_log_z(STATES[0]) == pytest.approx(0.0, abs=1e-12)


def test_log_z_at_the_references_is_minus_their_free_energy():
    bank = gaussian_bank(2)
    at_references = [bank.delta_log_z(eta) for eta in STATES]
    np.testing.assert_allclose(at_references, -bank.free_energies(), atol=1e-9)


@pytest.mark.parametrize("grown", [1, 2])
def test_a_grown_bank_is_the_same_as_one_from_scratch(grown):
    whole = gaussian_bank(4)
    start = ReferenceBank(BETA, whole.references[:grown])
    larger = start.with_references(*whole.references[grown:])
    np.testing.assert_allclose(larger.free_energies(), whole.free_energies(), atol=1e-8)
    assert larger.delta_log_z(TARGET) == pytest.approx(whole.delta_log_z(TARGET), abs=1e-8)
    assert larger.anchor == start.anchor == whole.anchor
    assert len(start.references) == grown


def test_features_far_from_zero_lose_no_digits():
    """Energies of a fluid are ~1e4 kT: only differences to the centre may enter exponentials."""
    whole, shift = gaussian_bank(4), np.array([3e5, -2e5])
    moved = ReferenceBank(
        BETA, tuple(reference(r.coefficients, r.features + shift) for r in whole.references)
    )
    extra = -BETA * (TARGET - STATES[0]) @ shift
    assert moved.delta_log_z(TARGET) - extra == pytest.approx(whole.delta_log_z(TARGET), abs=1e-7)
    np.testing.assert_allclose(moved.weights(TARGET), whole.weights(TARGET), rtol=1e-6)
    surrogate = moved.surrogate(pad_to=1)
    assert float(surrogate.log_z(TARGET)) - extra == pytest.approx(whole.delta_log_z(TARGET), abs=1e-7)


def test_anchor_tells_states_apart():
    bank = gaussian_bank(1)
    assert len(bank.anchor) == 16
    other = ReferenceBank(BETA, bank.references[1:])
    warmer = ReferenceBank(BETA * 1.1, bank.references)
    assert len({bank.anchor, other.anchor, warmer.anchor}) == 3


def test_an_empty_bank_is_refused():
    with pytest.raises(InputError, match="at least one reference"):
        ReferenceBank(1.0, ())


@pytest.mark.parametrize("distance", [8.0, 20.0, 1000.0])
def test_disjoint_states_are_an_error_not_a_number(distance):
    """Without shared frames any free energy solves the equations: the bank has to refuse."""
    rng = np.random.default_rng(0)
    near = [gaussian_reference((1.0, h), rng, beta=1.0) for h in (0.0, 1.0)]
    far = [gaussian_reference((1.0, h), rng, beta=1.0) for h in (distance, distance + 1)]
    with pytest.raises(ConvergenceError, match="simulations 2, 3 share no configurations.*in between"):
        ReferenceBank(1.0, (*near, *far))
    bridge = [gaussian_reference((1.0, h), rng, beta=1.0) for h in np.arange(3.0, distance, 2.0)]
    if distance < 30:
        exact = distance**2 / 2
        assert ReferenceBank(1.0, (*near, *bridge, *far)).free_energies()[-2] == pytest.approx(
            -exact, rel=0.1
        )


# --- the hull ---


def test_hull_contains_the_average_and_not_what_no_weights_can_reach():
    bank = gaussian_bank(1)
    assert bank.contains(bank.features.mean(axis=0))
    assert bank.contains(exact_mean(TARGET))
    x = 0.4
    assert not bank.contains(np.array([x**2 / 2 - 0.05, x]))  # below the parabola x²/2
    assert not bank.contains(np.array([100.0, 0.0]))


def test_hull_of_a_feature_that_never_changes():
    features = np.stack([np.random.default_rng(0).normal(size=(2, 50)), np.zeros((2, 50))], axis=-1)
    bank = ReferenceBank(1.0, (reference([1.0, 1.0], features),))
    assert bank.contains(np.array([0.1, 0.0]))
    assert not bank.contains(np.array([0.1, 1e-3]))


# --- the surrogate ---


@pytest.mark.parametrize("pad_to", [1, 7, 2048])
def test_surrogate_is_the_banks_log_z(pad_to):
    bank = gaussian_bank(5)
    surrogate = bank.surrogate(pad_to=pad_to)
    assert len(surrogate.log_base_weight) % pad_to == 0
    for eta in (*STATES, TARGET):
        assert float(surrogate.log_z(eta)) == pytest.approx(bank.delta_log_z(eta), abs=1e-10)
        np.testing.assert_allclose(
            surrogate.mean_features(eta), bank.weights(eta) @ bank.features, rtol=1e-10
        )
        kish = 1 / np.sum(bank.weights(eta) ** 2)
        assert float(surrogate.effective_frames(eta)) == pytest.approx(kish, rel=1e-10)


def test_surrogates_slope_is_minus_beta_times_the_average_and_its_curvature_the_covariance():
    bank = gaussian_bank(5)
    surrogate, w = bank.surrogate(), bank.weights(TARGET)
    mean = w @ bank.features
    covariance = ((bank.features - mean) * w[:, None]).T @ (bank.features - mean)
    np.testing.assert_allclose(jax.grad(surrogate.log_z)(TARGET), -BETA * mean, rtol=1e-10)
    np.testing.assert_allclose(
        jax.hessian(surrogate.log_z)(TARGET), BETA**2 * covariance, rtol=1e-8, atol=1e-10
    )


# --- laws of the double well V2 (U = −t₁x²/2 + t₂x⁴/4, β = 1) ---

GRID_X = np.linspace(-6.0, 6.0, 24_001)
PHI = np.stack([-(GRID_X**2) / 2, GRID_X**4 / 4], axis=1)
MOMENTS = np.array([-1.2 / 2, 2.2 / 4])  # of the data
PRIOR_MEAN, PRIOR_SD = 1.0, 2.0


def well_log_z(eta):
    """log Z by quadrature, of one η or many."""
    return np.log(np.sum(np.exp(-np.atleast_2d(eta) @ PHI.T), axis=1) * (GRID_X[1] - GRID_X[0]))


def well_moments(eta):
    p = np.exp(-PHI @ eta)
    p /= p.sum()
    mean = p @ PHI
    return mean, ((PHI - mean) * p[:, None]).T @ (PHI - mean)


class WellPosterior:
    """The V2 posterior on a grid in the coordinates that whiten its Laplace approximation."""

    def __init__(self, n_data, *, half_width=6.0, n_points=25):
        eta = np.array([2.8, 2.0])
        for _ in range(50):
            mean, fisher = well_moments(eta)
            gradient = n_data * (mean - MOMENTS) - (eta - PRIOR_MEAN) / PRIOR_SD**2
            eta = eta + np.linalg.solve(n_data * fisher + np.eye(2) / PRIOR_SD**2, gradient)
        self.n_data, self.map = n_data, eta
        precision = n_data * fisher + np.eye(2) / PRIOR_SD**2
        self.effective_parameters = np.trace(np.linalg.solve(precision, n_data * fisher))
        axis = np.linspace(-half_width, half_width, n_points)
        z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        self.grid = eta + z @ np.linalg.cholesky(np.linalg.inv(precision)).T
        self.grid = self.grid[self.grid[:, 1] > 1e-3]
        prior = -0.5 * np.sum(((self.grid - PRIOR_MEAN) / PRIOR_SD) ** 2, axis=1)
        self._rest = prior - n_data * self.grid @ MOMENTS

    def weights(self, log_z):
        log_p = self._rest - self.n_data * log_z
        p = np.exp(log_p - log_p.max())
        return p / p.sum()


def well_bank(eta, uniform):
    """One reference with exact frames by the inverse distribution function."""
    p = np.exp(-PHI @ eta)
    cumulative = np.cumsum(p) / p.sum()
    x = np.interp(uniform, cumulative, GRID_X)
    features = np.stack([-(x**2) / 2, x**4 / 4], axis=-1)
    return ReferenceBank(1.0, (reference(eta, features),))


log_z_on_grid = jax.jit(lambda surrogate, grid: jax.vmap(surrogate.log_z)(grid))
frames_on_grid = jax.jit(lambda surrogate, grid: jax.lax.map(surrogate.effective_frames, grid))


def test_the_grid_posterior_is_that_of_v2():
    posterior = WellPosterior(100, half_width=7.0, n_points=57)
    p = posterior.weights(well_log_z(posterior.grid))
    mean = p @ posterior.grid
    sd = np.sqrt(p @ (posterior.grid - mean) ** 2)
    np.testing.assert_allclose(posterior.map, [2.826133, 1.975583], atol=2e-6)
    np.testing.assert_allclose(mean, [2.901786, 2.040847], atol=1e-4)
    np.testing.assert_allclose(sd, [0.615019, 0.394017], atol=1e-4)


@pytest.mark.parametrize(("n_data", "expected"), [(100, 0.979265), (400, 0.995069), (2000, 0.999003)])
def test_reweighting_law(n_data, expected):
    """V10: a posterior's mean n_eff / M by reweighting from its mode is exp(−p/N).

    At N = 100 a tenth of 1 − E comes from draws whose weights lie in tails that 4000 frames do not reach.
    """
    posterior = WellPosterior(n_data)
    m = 40_000
    surrogate = well_bank(posterior.map, ((np.arange(m) + 0.5) / m).reshape(2, -1)).surrogate(pad_to=m)
    share = np.asarray(frames_on_grid(surrogate, jnp.asarray(posterior.grid))) / m
    mean = posterior.weights(well_log_z(posterior.grid)) @ share
    assert 1 - mean == pytest.approx(1 - expected, rel=0.1)
    assert 1 - mean == pytest.approx(1 - np.exp(-posterior.effective_parameters / n_data), rel=0.15)


def noise_of_the_posterior_mean(n_data, ratio, n_repetitions):
    """E z² per dimension of the surrogate posterior's mean, in units of the exact posterior's covariance."""
    posterior = WellPosterior(n_data, half_width=5.0, n_points=17)
    m, rng = ratio * n_data, np.random.default_rng(11)
    exact = posterior.weights(well_log_z(posterior.grid))
    centre = exact @ posterior.grid
    covariance = ((posterior.grid - centre) * exact[:, None]).T @ (posterior.grid - centre)
    whitener = np.linalg.inv(np.linalg.cholesky(covariance))
    grid, squares = jnp.asarray(posterior.grid), []
    for _ in range(n_repetitions):
        surrogate = well_bank(posterior.map, rng.uniform(size=(2, m // 2))).surrogate(pad_to=m)
        mean = posterior.weights(np.asarray(log_z_on_grid(surrogate, grid))) @ posterior.grid
        squares.append(np.mean((whitener @ (mean - centre)) ** 2))
    return np.mean(squares), posterior.effective_parameters / 2 / ratio


def test_surrogate_noise_law():
    """V11: E z² per dimension = (N/M) p_eff/p, so M = 10 N frames move the mean by a third of an sd."""
    measured, law = noise_of_the_posterior_mean(100, 10, 250)
    assert law == pytest.approx(0.1, rel=0.1)
    assert measured == pytest.approx(law, rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [10, 30])
def test_surrogate_noise_law_with_more_data(ratio):
    measured, law = noise_of_the_posterior_mean(400, ratio, 400)
    assert measured == pytest.approx(law, rel=0.25)
