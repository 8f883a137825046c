"""Holes (V15): a flexible potential lowers the energy where no frame is, and only a fresh simulation sees it."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from bayescg.analysis import verification_check
from bayescg.inference import FitSettings, Fitter, Posterior, independent_prior, maximise, verify
from bayescg.inference._verify import draw_limit, mean_covariance, movement
from bayescg.physics import LinearPotential, Reference, ReferenceBank

DEGREE = 16
SETTINGS = FitSettings(search_samples=60, n_warmup=150, n_draws=200)


def legendre(positions, box):
    """P₁ … P₁₆ of x, by the three-term recursion."""
    x = positions[0, 0]
    p = [jnp.ones_like(x), x]
    for n in range(1, DEGREE):
        p.append(((2 * n + 1) * x * p[-1] - n * p[-2]) / (n + 1))
    return jnp.stack(p[1:])


def true_energy(x):
    """Two wells on the left, and a wall behind which there is hardly anything."""
    return 2.0 * np.cos(4.0 * x) + 12.0 / (1.0 + np.exp(-(x - 0.4) / 0.05))


@pytest.fixture(scope="module")
def flexible(toolkit):
    """(number of frames, seed) → problem, its exact mode, and the exact posterior's predictive density."""
    potential = LinearPotential(jnp.zeros(DEGREE), function=legendre)
    line = toolkit.Quadrature(potential, -1.0, 1.0, n=401)
    prior = independent_prior(potential, {"linear_theta": dist.Normal(0.0, 3.0)})
    posterior = Posterior(prior)
    p = np.exp(-true_energy(line.x))

    @cache
    def problem(n_frames: int, seed: int):
        u = np.random.default_rng(seed).random(n_frames)
        x = np.interp(u, (np.cumsum(p) - p / 2.0) / p.sum(), line.x)
        toy = toolkit.Toy(line, potential, prior, x, line.statistics(potential, x))
        mode = maximise(posterior, toy.likelihood(), np.zeros(DEGREE), least_effective_frames=0.0)
        exact = toy.sample(mode.z, n_warmup=200, n_draws=300).z
        return toy, mode, predictive(toy, exact)

    return problem


def predictive(toy, z):
    """Posterior mean of the density, on the nodes."""
    return toy.line.probability(z.reshape(-1, DEGREE)).mean(axis=0)


def total_variation(p, q):
    return 0.5 * np.abs(p - q).sum()


def run(problem, *, n_frames, seed, rounds):
    """Fit from one reference at the MAP; total variation of its predictive to the exact one."""
    toy, mode, exact = problem(n_frames, seed)
    fit = Fitter(toy.problem(mode.z), SETTINGS._replace(seed=seed, max_rounds=rounds)).run()
    return fit, total_variation(predictive(toy, fit.draws.z), exact)


def assert_blind(fit, distance):
    """(a): wrong, while everything computed from the frames themselves looks healthy."""
    assert distance >= 0.1
    assert np.quantile(fit.effective_frames, 0.05) > 100
    assert np.quantile(fit.effective_frames, 0.05) > 0.1 * fit.bank.n_frames.sum()
    assert fit.in_hull and fit.search_converged
    check = verification_check(fit)
    assert check.verdict == "not tested" and "No fresh simulation" in check.sentence


def fresh_check(toy, fit, *, key, n_draws=8):
    """Fresh simulations at random calibrated draws of a finished fit."""
    rng = np.random.default_rng(key)
    z = fit.calibrated.reshape(-1, DEGREE)
    points = [jnp.asarray(p) for p in z[rng.choice(len(z), n_draws, replace=False)]]
    problem, posterior = toy.problem(fit.mode.z), Posterior(toy.prior)
    fresh = problem.simulator.simulate(
        [toy.prior.potential(p) for p in points],
        starts=np.zeros((2 * n_draws, 1, 1)),
        key=jax.random.key(key),
        n_samples=int(2.5 * toy.statistics.n_frames),
    )
    return verify(
        fit.bank,
        fresh,
        [np.asarray(posterior.coefficient_jacobian(p)) for p in points],
        n_frames=toy.statistics.n_frames,
        laplace_covariance=fit.mode.covariance,
        calibrated_covariance=fit.calibration.covariance,
    )


def assert_holes_are_seen_and_mended(problem, *, n_frames, seed, repetitions):
    """V15: (a) blind without fresh simulations, (b) any eight of them flag it, (c) three rounds mend it."""
    fit, distance = run(problem, n_frames=n_frames, seed=seed, rounds=0)
    assert_blind(fit, distance)
    for key in range(repetitions):
        check = fresh_check(problem(n_frames, seed)[0], fit, key=key)
        assert check.verdict == "failed"
        assert check.rms_error.max() > 5.0
    fit, distance = run(problem, n_frames=n_frames, seed=seed, rounds=3)
    assert len(fit.verifications) <= 3
    assert distance < 0.03


def test_unverified_posterior_is_wrong_looks_healthy_and_is_flagged(flexible):
    fit, distance = run(flexible, n_frames=300, seed=0, rounds=0)
    assert_blind(fit, distance)
    assert fresh_check(flexible(300, 0)[0], fit, key=0).verdict == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("n_frames", [50, 300])
@pytest.mark.parametrize("seed", [0, 1])
def test_holes_over_seeds(flexible, n_frames, seed):
    assert_holes_are_seen_and_mended(flexible, n_frames=n_frames, seed=seed, repetitions=3)


# The verdict itself, on Gaussian references U = k x²/2 with known answers.


def gaussian_reference(k, rng, *, n_replicas=8, n_samples=500, shift=0.0):
    x = rng.normal(size=(n_replicas, n_samples)) / np.sqrt(k)
    nothing = np.zeros((n_replicas, n_samples, 0))
    return Reference(np.array([k]), (x**2 / 2 + shift)[..., None], nothing, nothing, np.zeros((0, 1, 1)))


def check_gaussian(*, n_samples, shift=0.0, n_frames=200, bank_samples=4000, widen=1.0, seed=0, n_draws=8):
    """Verification of the bank at k = 1 by fresh simulations nearby."""
    rng = np.random.default_rng(seed)
    bank = ReferenceBank(1.0, (gaussian_reference(1.0, rng, n_samples=bank_samples),))
    draws = 1.0 + 0.1 * rng.normal(size=n_draws)
    fresh = [gaussian_reference(k, rng, n_replicas=2, n_samples=n_samples, shift=shift) for k in draws]
    covariance = np.full((1, 1), 2.0 / n_frames)
    return verify(
        bank,
        fresh,
        [np.eye(1)] * n_draws,
        n_frames=n_frames,
        laplace_covariance=covariance,
        calibrated_covariance=widen * covariance,
    )


def test_agreement_passes():
    check = check_gaussian(n_samples=2000)
    assert check.verdict == "passed"
    assert check.noise_floor.max() < 0.5


def test_little_simulation_is_not_tested_rather_than_passed():
    check = check_gaussian(n_samples=200)
    assert check.noise_floor.max() > 0.5
    assert check.verdict == "not tested"


def test_a_noisy_bank_does_not_pass():
    """The limits know only the fresh simulation's noise: what a short bank gets wrong shows as an error."""
    verdicts = [check_gaussian(n_samples=3000, bank_samples=20, seed=seed).verdict for seed in range(10)]
    assert verdicts.count("failed") >= 7


def test_wrong_averages_fail():
    """⟨φ⟩ off by one posterior standard deviation of k: N δ sd(k) = 1."""
    shift = 1.0 / (200 * np.sqrt(2.0 / 200))
    check = check_gaussian(n_samples=4000, shift=shift)
    assert check.verdict == "failed"
    assert np.median(check.rms_error) == pytest.approx(1.0, abs=0.3)


def test_errors_are_measured_in_calibrated_units():
    """V four times as wide as the raw covariance: the shift of the mean weighs half as much."""
    shift = 10.0 / (200 * np.sqrt(2.0 / 200))
    raw, wide = (check_gaussian(n_samples=2000, shift=shift, widen=w) for w in (1.0, 4.0))
    np.testing.assert_allclose(wide.rms_error, raw.rms_error / 2.0, rtol=1e-8)
    np.testing.assert_allclose(wide.noise_floor, raw.noise_floor / 2.0, rtol=1e-8)


def test_stated_floor_is_the_expected_error_of_a_good_surrogate():
    squares = [check_gaussian(n_samples=400, seed=seed) for seed in range(60)]
    measured = np.mean([c.rms_error**2 for c in squares])
    stated = np.mean([c.expected_error**2 for c in squares])
    assert measured == pytest.approx(stated, rel=0.25)
    assert stated > np.mean([c.noise_floor**2 for c in squares])


def test_limits_of_a_quiet_check():
    check = check_gaussian(n_samples=20_000, bank_samples=40_000)
    assert check.median_limit == pytest.approx(0.3)
    np.testing.assert_allclose(check.limit, 0.7)


def test_each_draw_has_the_limit_of_its_own_noise():
    """Many directions: twice the floor; few: more, so that noise alone rarely fails; never the floor of another."""
    assert draw_limit(0.1, 33.0, n_draws=8) == 0.7
    assert draw_limit(0.5, 33.0, n_draws=8) == pytest.approx(1.0)
    assert draw_limit(0.5, 2.0, n_draws=8) == pytest.approx(0.5 * np.sqrt(-np.log(0.01 / 8)))


@pytest.mark.parametrize("directions", [1, 2, 5])
def test_noise_alone_rarely_fails_a_round(directions):
    rng = np.random.default_rng(0)
    errors = 0.5 * np.linalg.norm(rng.normal(size=(4000, 8, directions)), axis=2) / np.sqrt(directions)
    alarms = np.any(errors > draw_limit(0.5, directions, n_draws=8), axis=1).mean()
    assert 0.004 < alarms < 0.016


def test_movement_in_calibrated_units():
    rng = np.random.default_rng(0)
    root = np.array([[2.0, 0.0], [3.0, 1.0]])
    before = rng.normal(size=(2, 50_000, 2)) @ root.T
    after = 1.5 * before + root @ np.array([0.3, 0.4])
    shift, ratio, error = movement(before, after, root @ root.T)
    assert shift == pytest.approx(np.sqrt((0.3**2 + 0.4**2) / 2), abs=0.02)
    assert ratio == pytest.approx(1.5, rel=1e-6)
    assert error == pytest.approx(
        np.sqrt(2.0) * 0.5 / np.sqrt(2 * 50_000), rel=0.1
    )  # 2 dimensions, 100,000 draws


@pytest.mark.parametrize(("shift", "ratio"), [(0.7, 1.0), (0.1, 1.2), (0.1, 0.8)])
def test_a_pass_after_which_the_posterior_moves_is_none(shift, ratio):
    check = check_gaussian(n_samples=2000)
    assert check.followed_by(0.1, 1.02, 0.01).verdict == "passed"
    assert check.followed_by(shift, ratio, 0.01).verdict == "failed"
    assert check.followed_by(0.1, ratio, 0.1).verdict == "passed"  # too few draws to tell the widths apart


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_covariance_of_a_mean_counts_the_memory(memory):
    """AR(1): the variance of the mean is (1 + ρ)/(1 − ρ)/n; batches of a tenth of the series see nearly all."""
    rng = np.random.default_rng(4)
    n_replicas, n_samples = 64, 1000
    noise = rng.normal(size=(n_replicas, n_samples, 1))
    z = noise.copy()
    for t in range(1, n_samples):
        z[:, t] = memory * z[:, t - 1] + np.sqrt(1 - memory**2) * noise[:, t]
    expected = (1 + memory) / (1 - memory) / (n_replicas * n_samples)
    assert mean_covariance(z)[0, 0] == pytest.approx(expected, rel=0.2)
