"""SGLD against exactly known posteriors: the law of its bias (V12), the noise correction, planning, bad input."""

import importlib.util
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from bayescg.data import Topology, get_unit_system
from bayescg.errors import InputError
from bayescg.inference import (
    GradientNoise,
    GradientTarget,
    MinibatchGradient,
    Prior,
    Sgld,
    choose_step,
    plan_minibatches,
    plan_relative_entropy,
    relative_entropy_gradient,
    variance_ratio,
    variance_ratio_with_memory,
    white_noise,
)
from bayescg.inference._checkpoint import arrays_to_tree, tree_to_arrays
from bayescg.physics import LennardJones, SufficientStatistics, persistent_replicas

_SPEC = importlib.util.spec_from_file_location(
    "stochastic_gradient_toys", Path(__file__).with_name("stochastic_gradient_toys.py")
)
toys = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(toys)


def ratios(sampler: Sgld, target: GradientTarget, **numbers: int) -> np.ndarray:
    settings = {"n_chains": 400, "n_draws": 40, "n_burn": 6, **numbers}
    return toys.measured_ratios(sampler, target, **settings)


@pytest.mark.parametrize(("corrected", "ratio"), [(False, 1.315789), (True, 1.052632)])
def test_white_noise_gives_the_variance_of_the_law(corrected, ratio):
    """V12: α = .2, N g/K = 5, in both eigendirections, and on the diagonals between."""
    gradient = toys.tilted(n_frames=20, n_replicas=4)
    target = toys.tilted_target(gradient, noise=5.0, step=0.2)
    np.testing.assert_allclose(variance_ratio(0.2, 5.0, corrected=corrected), ratio, atol=1e-6)
    measured = ratios(Sgld(corrected=corrected, thin=20), target)
    np.testing.assert_allclose(measured, ratio, rtol=0.05)


@pytest.mark.parametrize(("corrected", "ratio"), [(False, 1.2632), (True, 1.0)])
def test_replicas_with_a_memory_that_follow_at_once(corrected, ratio):
    """V12, second half: AR(1) replicas of g = 5 (lag one 2/3) with N/K = 1."""
    gradient = toys.tilted(n_frames=20, n_replicas=20, memory=2 / 3)
    target = toys.tilted_target(gradient, noise=5.0, step=0.2)
    np.testing.assert_allclose(ratios(Sgld(corrected=corrected, thin=20), target), ratio, rtol=0.05)


@pytest.mark.parametrize(("corrected", "step"), [(False, 0.2), (True, 0.2), (True, 0.05)])
def test_replicas_that_lag_behind_the_parameters(corrected, step):
    """Dynamics forget their old parameters as slowly as their noise: that pulls too late and widens the posterior."""
    gradient = toys.tilted(n_frames=20, n_replicas=20, memory=2 / 3, lag=1.0)
    target = toys.tilted_target(gradient, noise=5.0, step=step)
    expected = variance_ratio_with_memory(step, np.array([5.0]), np.array([5.0]), corrected=corrected)
    assert expected[0] > variance_ratio(step, 5.0, corrected=corrected) + 0.04
    measured = ratios(Sgld(corrected=corrected, thin=round(4 / step)), target)
    np.testing.assert_allclose(measured, expected[0], rtol=0.05)


def test_minibatches_add_their_own_noise():
    """Both sources at once: the replicas' N/K and the minibatch's N/B, plain and subtracted."""
    gradient = toys.tilted(n_frames=60, n_replicas=20, batch_size=15)
    noise = 60 / 20 + 60 / 15
    target = toys.tilted_target(gradient, noise=noise, step=0.15)
    for corrected in (False, True):
        measured = ratios(Sgld(corrected=corrected, thin=27), target)
        np.testing.assert_allclose(measured, variance_ratio(0.15, noise, corrected=corrected), rtol=0.05)
    forgotten = target._replace(noise=target.noise * (3.0 / 7.0))  # the replicas' noise alone is subtracted
    measured = ratios(Sgld(thin=27), forgotten)
    assert np.all(measured > variance_ratio(0.15, noise) + 0.08)


def test_the_plan_measures_noise_and_finds_the_posterior():
    gradient = toys.tilted(n_frames=60, n_replicas=30, memory=0.5, lag=1.0, batch_size=20)
    plan = plan_relative_entropy(gradient, np.array([20.0, -30.0]), key=jax.random.key(4), n_measured=2000)
    np.testing.assert_allclose(plan.noise.long_run, (60 / 30 * 3 + 60 / 20) * np.eye(2), atol=0.9)
    np.testing.assert_allclose(plan.noise.replicas_single, 60 / 30 * np.eye(2), atol=0.1)
    np.testing.assert_allclose(plan.noise.minibatch, 60 / 20 * np.eye(2), atol=0.1)
    exact = np.linalg.inv(60 * toys.SHEAR.T @ toys.SHEAR)
    np.testing.assert_allclose(plan.covariance, exact, rtol=0.05)
    off = np.linalg.solve(
        np.linalg.cholesky(exact), plan.target.centre - np.linalg.solve(toys.SHEAR, [0.3, -0.2])
    )
    assert np.abs(off).max() < 1.0
    choice = plan.choice
    assert choice.predicted_bias <= 0.05 and not choice.flag
    sampler = Sgld(corrected=choice.corrected, thin=round(choice.autocorrelation_time))
    state = sampler.initial_state(jax.random.key(5), plan.target, n_chains=500)
    state, _ = sampler.step(state, plan.target, n=5)
    _, draws = sampler.step(state, plan.target, n=40)
    flat = draws.z.reshape(-1, 2)
    np.testing.assert_allclose(flat.mean(axis=0), np.linalg.solve(toys.SHEAR, [0.3, -0.2]), atol=0.01)
    np.testing.assert_allclose(np.cov(flat.T), exact, rtol=0.09)


def test_the_chosen_step_keeps_the_tolerance_and_is_the_largest():
    noise = GradientNoise(np.diag([1.0, 8.0]), np.diag([1.0, 2.0]), np.zeros((2, 2)))
    np.testing.assert_allclose(noise.inefficiency(), [1.0, 4.0])
    for corrected in (False, True):
        choice = choose_step(noise, tolerance=0.05, corrected=corrected)
        assert choice.predicted_bias <= 0.05
        with pytest.raises(InputError, match="is too large: it biases the variance by"):
            choose_step(noise, tolerance=0.05, corrected=corrected, step=1.02 * choice.step)
        assert (
            choose_step(noise, tolerance=0.05, corrected=corrected, step=0.5 * choice.step).step < choice.step
        )
    white = white_noise(5.0 * np.eye(1))
    np.testing.assert_allclose(choose_step(white, corrected=False).step, 0.2 / 6.05, rtol=1e-6)
    np.testing.assert_allclose(choose_step(white, corrected=True).step, 0.2 / 1.05, rtol=1e-6)


def test_noise_that_cannot_be_subtracted_is_flagged():
    noise = white_noise(np.diag([1.0, 30.0]))
    choice = choose_step(noise, tolerance=1.0, step=0.2)
    assert "can't be subtracted" in choice.flag and "1 of 2 directions" in choice.flag
    np.testing.assert_allclose(choice.variance_ratio, [1 / 0.95, 1.5 / 0.95])
    assert choice.flag in choice.summary()
    with pytest.raises(InputError, match="step 0.2 is too large"):
        choose_step(noise, tolerance=0.05, step=0.2)


def test_a_run_in_pieces_gives_the_same_bits():
    """Keys, replicas and minibatches are all in the state, which goes through a checkpoint's arrays."""
    gradient = toys.tilted(n_frames=40, n_replicas=8, memory=0.5, lag=1.0, batch_size=10)
    target = toys.tilted_target(gradient, noise=10.0, step=0.1)
    sampler = Sgld(thin=3)
    begin = sampler.initial_state(jax.random.key(2), target, n_chains=4)
    _, whole = sampler.step(begin, target, n=10)
    half, first = sampler.step(begin, target, n=4)
    restored = arrays_to_tree(tree_to_arrays(half), begin)
    _, second = sampler.step(restored, target, n=6)
    np.testing.assert_array_equal(whole.z, np.concatenate([first.z, second.z], axis=1))
    again = sampler.initial_state(jax.random.key(2), target, n_chains=4)
    np.testing.assert_array_equal(sampler.step(again, target, n=10)[1].z, whole.z)
    other = sampler.initial_state(jax.random.key(3), target, n_chains=4)
    assert not np.any(sampler.step(other, target, n=10)[1].z == whole.z)
    assert whole.z.shape == (4, 10, 2) and np.isnan(whole.energy).all() and not whole.diverging.any()


class WellReplicas(eqx.Module):
    """Independent frames of the double well by inverse CDF."""

    features: jax.Array
    n_replicas: int = eqx.field(static=True)

    def initial_state(self, key, potential):
        return key

    def advance(self, state, potential):
        key, draw_key = jax.random.split(state)
        half = (
            jnp.zeros(len(self.features)).at[0].set(-jnp.log(2.0))
        )  # the middle of the line belongs to both sides
        p = jax.nn.softmax(half - self.features @ potential.coefficients())
        middle = jnp.cumsum(p) - p / 2.0
        u = jax.random.uniform(draw_key, (self.n_replicas,))
        return key, jax.vmap(lambda column: jnp.interp(u, middle, column), in_axes=1, out_axes=1)(
            self.features
        )


def test_the_double_well_by_minibatches_and_replicas(double_well):
    """V2 from a start far away: search, plan, draws; the posterior is not quite Gaussian."""
    half = double_well.line.x >= 0.0
    replicas = WellReplicas(jnp.asarray(double_well.line.features[half][::2]), 64)
    gradient = relative_entropy_gradient(
        double_well.prior, double_well.statistics, beta=1.0, replicas=replicas, batch_size=50
    )
    plan = plan_relative_entropy(gradient, np.array([0.0, 0.5]), key=jax.random.key(0), tolerance=0.04)
    sampler = Sgld(thin=round(plan.choice.autocorrelation_time / 2))
    state = sampler.initial_state(jax.random.key(1), plan.target, n_chains=150)
    state, _ = sampler.step(state, plan.target, n=8)
    _, draws = sampler.step(state, plan.target, n=50)
    mean, sd = np.array([2.901786, 2.040847]), np.array([0.615019, 0.394017])
    flat = draws.z.reshape(-1, 2)
    assert np.all(np.abs(flat.mean(axis=0) - mean) < 0.1 * sd)
    np.testing.assert_allclose(flat.std(axis=0), sd, rtol=0.06)


# Labelled data: two-parameter Lennard-Jones force matching -------------------------------------------------

NOISE = 0.5
"""Standard deviation of the labels' errors, reduced units."""


def lennard_jones():
    # in logarithms, so that the Fisher matrix is without units
    values = numpyro.sample("log_parameters", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
    return LennardJones(jnp.exp(values[0]), jnp.exp(values[1]), cutoff=1.55)


def force_log_likelihood(potential, item):
    force_features, forces = item
    return -0.5 * jnp.sum((forces - force_features @ potential.coefficients()) ** 2) / NOISE**2


@pytest.fixture(scope="module")
def argon_forces():
    """Forces, with errors, on the 32 atoms of a simulated face-centred cubic crystal of reduced density 0.94."""
    edge = (32 / 0.94) ** (1 / 3)
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cells = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    crystal = ((cells + corners) * edge / 2).reshape(1, 32, 3)
    truth, box = LennardJones(1.0, 1.0, cutoff=1.55), np.full(3, edge)
    replicas = persistent_replicas(
        truth, starts=crystal, topology=Topology(("Ar",) * 32, np.ones(32)), box=box,
        units=get_unit_system("lj"), temperature=0.4, time_step=0.005, friction=1.0, stride=100, n_replicas=60,
    )  # fmt: skip

    @jax.jit
    def simulate(key):
        state = replicas.initial_state(key, truth)
        return jax.lax.fori_loop(0, 10, lambda _, s: replicas.advance(s, truth)[0], state)

    x = simulate(jax.random.key(0)).positions.astype(float)
    features = jax.jit(jax.vmap(jax.jacobian(lambda y: -truth.features(y, jnp.asarray(box)))))(x)
    features = jnp.swapaxes(features.reshape(60, 2, 96), 1, 2)
    errors = NOISE * jax.random.normal(jax.random.key(1), (60, 96))
    return features, features @ truth.coefficients() + errors


def test_lennard_jones_force_matching_of_condition_number_26000(argon_forces):
    """Section C: SGLD without a preconditioner fails where the preconditioned one gives the exact posterior."""
    prior = Prior(lennard_jones)
    gradient = MinibatchGradient(prior, argon_forces, log_likelihood=force_log_likelihood, batch_size=20)
    plan = plan_minibatches(gradient, np.log([0.8, 1.02]), tolerance=0.05)
    eigenvalues, vectors = np.linalg.eigh(np.linalg.inv(plan.covariance))
    print(f"condition number {eigenvalues[1] / eigenvalues[0]:.0f}, {plan.choice.summary()}")
    assert 2e4 < eigenvalues[1] / eigenvalues[0] < 3.2e4
    exact_mean, exact_covariance = posterior_on_grid(gradient, plan)
    n_updates, start = (
        3000,
        3.0 / np.sqrt(eigenvalues[0]) * vectors[:, 0],
    )  # three sd off, in the soft direction

    def whitened(target):
        sampler = Sgld(thin=30)
        w = np.linalg.solve(np.asarray(target.root), start)
        state = sampler.state_at(jax.random.key(3), target, np.broadcast_to(w, (20, 2)))
        _, draws = sampler.step(state, target, n=n_updates // 30)
        late = (draws.z[:, n_updates // 60 :] - exact_mean).reshape(-1, 2)
        return late @ vectors * np.sqrt(eigenvalues)  # soft, stiff, in posterior standard deviations

    exact = np.diag(vectors.T @ exact_covariance @ vectors) * eigenvalues
    ours = whitened(plan.target)
    assert np.all(np.abs(ours.mean(axis=0)) < 0.15)
    np.testing.assert_allclose(ours.var(axis=0), exact, rtol=0.12)
    # the identity as preconditioner: its step is bounded by the stiff direction
    size = 1.0 / np.sqrt(eigenvalues[1])
    inner = np.linalg.inv(np.asarray(plan.target.root))
    noise = size**2 * inner.T @ plan.noise.long_run @ inner
    plain = whitened(plan.target._replace(root=size * jnp.eye(2), noise=jnp.asarray(noise)))
    np.testing.assert_allclose(plain[:, 1].var(), exact[1], rtol=0.12)
    assert plain[:, 0].mean() > 2.5 and plain[:, 0].var() < 0.1 * exact[0]


def posterior_on_grid(gradient, plan):
    """Mean and covariance by quadrature over ±5 Laplace standard deviations."""
    u = np.linspace(-5.0, 5.0, 61)
    w = np.stack(np.meshgrid(u, u, indexing="ij"), axis=-1).reshape(-1, 2)
    z = np.asarray(plan.target.centre) + w @ np.asarray(plan.target.root).T
    log_p = np.asarray(jax.jit(lambda z: jax.lax.map(gradient.log_density, z, batch_size=64))(jnp.asarray(z)))
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    mean = p @ z
    return mean, (z - mean).T @ ((z - mean) * p[:, None])


# Bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Sgld(thin=0), "thin 0"),
        (lambda: choose_step(white_noise(np.eye(1)), tolerance=0.0), "tolerance is 0"),
        (lambda: choose_step(white_noise(np.eye(1)), decay=1.5), "decay is 1.5"),
        (lambda: choose_step(white_noise(np.eye(1)), step=5.0), "step is 5.0.*unstable"),
        (lambda: toys.tilted(n_frames=10, n_replicas=2, batch_size=11), "batch_size is 11, expected 1 to 10"),
        (lambda: choose_step(white_noise(np.full((1, 1), np.nan))), "noise is not finite"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_frames_of_another_potential_are_refused():
    gradient = toys.tilted(n_frames=10, n_replicas=2)
    other = SufficientStatistics(np.zeros((10, 2)), *np.zeros((2, 10, 0)), np.zeros(10, int))
    with pytest.raises(InputError, match="2 features, the potential 3"):
        relative_entropy_gradient(gradient.prior, other, beta=1.0, replicas=gradient.replicas)
