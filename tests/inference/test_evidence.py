"""Log evidence against closed forms and quadrature, its error from finite simulation, and Bayes factors."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.special import logsumexp
from scipy.stats import lognorm, norm

from bayescg.data import frame_independence, long_run_covariance
from bayescg.errors import InputError
from bayescg.inference import (
    Evidence,
    EvidenceBasis,
    FattenedLaplace,
    FitSettings,
    Fitter,
    LaplaceDraws,
    Posterior,
    Prior,
    Target,
    TemperedSmc,
    bayes_factor,
    fit_evidence,
    importance_evidence,
    independent_prior,
    laplace_evidence,
    maximise,
    relative_entropy,
    smc_evidence,
)
from bayescg.inference._calibrate import symmetric_root
from bayescg.physics import DoubleWell, LinearPotential, Reference, ReferenceBank
from tests.inference.test_exact_posteriors import half_square

V1, V2, V3, V3_OPEN = -66.887331, -129.962436, -153.475371, -153.844317
ABOVE_ZERO = 0.6914624612740131
"""Share of N(1, sd 2) above 0."""


def solve(toy, start, *, likelihood=None, posterior=None):
    """Posterior, target and mode of a problem."""
    posterior = Posterior(toy.prior) if posterior is None else posterior
    likelihood = toy.likelihood() if likelihood is None else likelihood
    mode = maximise(posterior, likelihood, np.asarray(start, float), least_effective_frames=0.0)
    root = jnp.asarray(symmetric_root(mode.covariance))
    return posterior, Target(likelihood, jnp.asarray(mode.z), root, jnp.asarray(1e-300)), mode


@pytest.fixture(scope="module")
def spring(spring_toy):
    """V1."""
    return solve(spring_toy, np.zeros(1))


@pytest.fixture(scope="module")
def well(double_well):
    """V2."""
    return solve(double_well, np.ones(2))


@pytest.fixture(scope="module")
def harmonic(double_well, toolkit):
    """V3: the double well's data, a harmonic model, prior renormalised on k > 0."""
    potential = LinearPotential(jnp.ones(1), function=half_square)
    line = toolkit.Quadrature(potential, -16.0, 16.0, n=513)
    prior = independent_prior(potential, {"linear_theta": dist.TruncatedNormal(1.0, 2.0, low=0.0)})
    x = double_well.x
    return solve(toolkit.Toy(line, potential, prior, x, line.statistics(potential, x)), np.zeros(1))


BASIS = EvidenceBasis(100, 1.0)


def importance(case, *, seed=0, n_draws=4000):
    posterior, target, _ = case
    return importance_evidence(posterior, target, key=jax.random.key(seed), basis=BASIS, n_draws=n_draws)


def test_laplace_evidence_with_the_jacobian(spring, well):
    for (posterior, _, mode), expected in ((spring, -66.890417), (well, -129.966493)):
        found = laplace_evidence(posterior, mode, basis=BASIS)
        assert found.log_evidence == pytest.approx(expected, abs=1e-6)
        assert found.standard_error == 0.0 and found.method == "laplace"


def test_importance_sampling_hits_the_exact_evidence(spring, well, harmonic):
    for case, expected in ((spring, V1), (well, V2), (harmonic, V3)):
        found = importance(case)
        assert 0.0 < found.standard_error < 0.02
        assert abs(found.log_evidence - expected) < 4.0 * found.standard_error + 2e-6
        assert found.khat < 0.5
    # The negative half: Laplace's is off by more than that.
    assert abs(-129.966493 - V2) > 1e-3 and abs(-66.890417 - V1) > 1e-3


def test_importance_error_is_the_scatter(well):
    """Over independent repetitions."""
    found = [importance(well, seed=seed, n_draws=500) for seed in range(40)]
    z = np.array([(one.log_evidence - V2) / one.standard_error for one in found])
    assert abs(z.mean()) < 4.0 / np.sqrt(40) and 0.65 < z.std() < 1.4


def test_a_proposal_that_is_too_narrow_is_told_by_its_khat(well):
    posterior, target, _ = well
    narrow = importance_evidence(
        posterior, target, key=jax.random.key(1), basis=BASIS, proposal=FattenedLaplace(200.0, 0.25)
    )
    assert narrow.khat > 0.7
    with pytest.raises(InputError, match="no mean to speak of.*smc_evidence"):
        bayes_factor(narrow, narrow._replace(khat=0.1))


@pytest.mark.slow
def test_tempered_smc_from_the_prior_agrees(spring, well):
    for case, expected in ((spring, V1), (well, V2)):
        posterior, target, _ = case
        found = smc_evidence(posterior, target, key=jax.random.key(3), basis=BASIS)
        assert 0.0 < found.standard_error < 0.1 and found.method == "tempered SMC"
        assert abs(found.log_evidence - expected) < 4.0 * found.standard_error
        sampled = importance(case)
        error = np.hypot(found.standard_error, sampled.standard_error)
        assert abs(found.log_evidence - sampled.log_evidence) < 4.0 * error


@pytest.mark.slow
def test_tempered_smc_from_laplace_agrees_on_all(spring, well, harmonic):
    for case, expected in ((spring, V1), (well, V2), (harmonic, V3)):
        posterior, target, _ = case
        smc = TemperedSmc(posterior)
        found = smc_evidence(posterior, target, key=jax.random.key(4), basis=BASIS, smc=smc, n_runs=16)
        assert abs(found.log_evidence - expected) < 4.0 * found.standard_error
        assert found.standard_error < 0.03


def test_smc_needs_two_runs(well):
    with pytest.raises(InputError, match="1 run.*at least 2"):
        smc_evidence(well[0], well[1], key=jax.random.key(0), basis=BASIS, n_runs=1)


def test_double_well_against_harmonic(well, harmonic):
    """V3's three numbers: as printed, and with both priors renormalised."""
    factor = bayes_factor(importance(well), importance(harmonic))
    assert factor.log_bayes_factor == pytest.approx(23.512935, abs=0.05)
    assert factor.log_bayes_factor - np.log(ABOVE_ZERO) == pytest.approx(23.881881, abs=0.05)
    assert importance(harmonic).log_evidence + np.log(ABOVE_ZERO) == pytest.approx(V3_OPEN, abs=0.05)


def test_a_parameter_that_nothing_depends_on_leaves_the_bayes_factor_at_one(double_well, well):
    """V23, on the exact path: Laplace's evidence holds the spare coordinate's Gaussian prior exactly."""

    def with_spare():
        t1, t2 = (numpyro.sample(name, dist.Normal(1.0, 2.0)) for name in ("t1", "t2"))
        numpyro.sample("spare", dist.Normal(-1.0, 3.0))
        return DoubleWell(t1, t2)

    toy = double_well._replace(prior=Prior(with_spare))
    start = toy.prior.unconstrain({"t1": 1.0, "t2": 1.0, "spare": 4.0})
    more = solve(toy, start)
    factor = bayes_factor(
        laplace_evidence(more[0], more[2], basis=BASIS), laplace_evidence(well[0], well[2], basis=BASIS)
    )
    assert abs(factor.log_bayes_factor) < 1e-6
    sampled = bayes_factor(importance(more), importance(well))
    assert abs(sampled.log_bayes_factor) < 4.0 * sampled.standard_error


# Finite simulation.


def spring_bank(rng, k, *, frames=500, replicas=16):
    """References of U = k x²/2 at several k, exact draws."""
    references = []
    for one in k:
        x2 = rng.normal(size=(replicas, frames, 1)) ** 2 / one / 2.0
        references.append(Reference(np.array([one]), x2, x2[..., :0], x2[..., :0], np.zeros((0, 1, 1))))
    return ReferenceBank(1.0, tuple(references))


def test_error_of_log_z_is_its_scatter_over_banks():
    """Of one point and of a mean over points, with one and with three references."""
    rng = np.random.default_rng(0)
    points, weights = np.array([[0.8], [1.5]]), np.array([0.3, 0.7])
    exact = float(weights @ (-0.5 * np.log(points[:, 0])))
    for k in ((1.0,), (1.0, 1.6, 0.7)):
        z = []
        for _ in range(120):
            bank = spring_bank(rng, k)
            influence = bank.log_z_influence(points, weights=weights)
            mean = float(weights @ [bank.delta_log_z(point) for point in points])
            z.append((mean - exact) / np.sqrt(np.sum(influence**2)))
        assert abs(np.mean(z)) < 4.0 / np.sqrt(120) and 0.8 < np.std(z) < 1.2


def test_at_the_anchor_log_z_has_no_error():
    bank = spring_bank(np.random.default_rng(1), (1.0, 1.6))
    assert np.abs(bank.log_z_influence(np.array([[1.0]]), weights=np.ones(1))).max() < 1e-10


@pytest.fixture(scope="module")
def spring_toy(toolkit):
    potential = LinearPotential(jnp.ones(1), function=half_square)
    line = toolkit.Quadrature(potential, -16.0, 16.0, n=257)
    x = np.full(50, np.sqrt(0.8))
    prior = independent_prior(potential, {"linear_theta": dist.Gamma(2.0, 1.0)})
    return toolkit.Toy(line, potential, prior, x, line.statistics(potential, x))


def with_bank(toy, posterior, bank):
    """V1's data and prior with log Z from a bank."""
    likelihood = relative_entropy(toy.statistics, bank.surrogate())
    return solve(toy, np.zeros(1), likelihood=likelihood, posterior=posterior)


def test_error_of_the_evidence_holds_that_of_log_z(spring_toy, spring):
    """Evidence relative to the anchor at k = 1, log Z = ½ log 2π: scatter over banks against the stated error."""
    rng = np.random.default_rng(2)
    exact = V1 + 50 * 0.5 * np.log(2.0 * np.pi)
    z, errors, posterior = [], [], spring[0]
    for seed in range(30):
        bank = spring_bank(rng, (1.0,), frames=128, replicas=16)
        found = importance_evidence(
            posterior,
            with_bank(spring_toy, posterior, bank)[1],
            key=jax.random.key(seed),
            basis=EvidenceBasis(50, 1.0, bank),
            n_draws=1000,
        )
        z.append((found.log_evidence - exact) / found.standard_error)
        errors.append((found.log_z_error, found.monte_carlo_error))
    log_z, integral = np.mean(errors, axis=0)
    assert log_z > 3.0 * integral  # what is tested is the part that comes from simulation
    assert abs(np.mean(z)) < 4.0 / np.sqrt(30) and 0.65 < np.std(z) < 1.4


def test_errors_of_one_bank_cancel_in_a_bayes_factor(spring_toy, spring):
    bank = spring_bank(np.random.default_rng(3), (1.0,), frames=128)
    basis = EvidenceBasis(50, 1.0, bank)
    posterior, _, mode = with_bank(spring_toy, spring[0], bank)
    one = laplace_evidence(posterior, mode, basis=basis)
    assert one.log_z_error > 0.01
    assert bayes_factor(one, one).standard_error == 0.0
    other = one._replace(pool="frames of another run")
    assert bayes_factor(one, other).standard_error == pytest.approx(np.sqrt(2.0) * one.log_z_error)


def test_evidence_of_a_fit(double_well_fit, double_well):
    """The driver's surrogate: within its error of V2 relative to the anchor."""
    fit = double_well_fit
    found = fit_evidence(Posterior(double_well.prior), fit, key=jax.random.key(0))
    anchor = double_well.line.surrogate().log_z(jnp.asarray(fit.bank.coefficients[0]))
    assert found.anchor == fit.bank.anchor and found.n_frames == 100
    assert found.log_z_error > 0.01 and found.khat < 0.7
    assert abs(found.log_evidence - (V2 + 100 * float(anchor))) < 4.0 * found.standard_error


def held_near_the_spring():
    """V2's form with hardly any quartic term, close to V3."""
    t1 = numpyro.sample("t1", dist.Normal(-1.0, 2.0))
    return DoubleWell(t1, numpyro.sample("t2", dist.LogNormal(np.log(0.05), 0.3)))


def quadrature_evidence(toy, first, second, log_prior) -> float:
    """log p(D) of U = −t₁ x²/2 + t₂ x⁴/4 over a grid of both, by midpoints."""
    middles = [np.linspace(*ends, 2 * 100 + 1)[1::2] for ends in (first, second)]
    t1, t2 = (a.ravel() for a in np.meshgrid(*middles))
    energies = toy.line.features[::4] @ np.stack([t1, t2])
    log_z = logsumexp(toy.line.log_weight[::4, None] - energies, axis=0) + np.log(4.0)
    value = -100.0 * (toy.statistics.features.mean(axis=0) @ np.stack([t1, t2]) + log_z)
    area = np.prod([m[1] - m[0] for m in middles])
    return float(logsumexp(value + log_prior(t1, t2)) + np.log(area))


def test_bayes_factor_of_two_fits_of_independent_frames(double_well_fit, double_well):
    """Both from the start (1, 1), hence of one anchor; against quadrature over both parameters."""
    toy = double_well._replace(prior=Prior(held_near_the_spring))
    settings = FitSettings(seed=4, search_samples=160, max_rounds=0, n_draws=50, sampler=LaplaceDraws)
    other = Fitter(toy.problem(np.array([1.0, 0.0])), settings).run()
    well = fit_evidence(Posterior(double_well.prior), double_well_fit, key=jax.random.key(0))
    spring = fit_evidence(Posterior(toy.prior), other, key=jax.random.key(1))
    print(f"g = {well.statistical_inefficiency:.2f}, limit {well.inefficiency_limit:.2f}")
    found = bayes_factor(well, spring)
    exact = quadrature_evidence(
        double_well, (-3.0, 9.0), (0.02, 6.0), lambda t1, t2: norm.logpdf(t1, 1, 2) + norm.logpdf(t2, 1, 2)
    ) - quadrature_evidence(
        double_well, (-6.0, 3.0), (0.005, 0.5), lambda t1, t2: norm.logpdf(t1, -1, 2) + lognorm.logpdf(t2, 0.3, scale=0.05)
    )  # fmt: skip
    print(f"{found.log_bayes_factor:.2f} ± {found.standard_error:.2f}, exact {exact:.2f}")
    assert found.standard_error < 1.0 and exact > 5.0
    assert abs(found.log_bayes_factor - exact) < 4.0 * found.standard_error
    slow = frame_independence(long_run_covariance(np.sort(double_well.x)))
    correlated = well._replace(statistical_inefficiency=slow.inefficiency, inefficiency_limit=slow.limit)
    with pytest.raises(InputError, match="thin the frames"):
        bayes_factor(correlated, spring)


# What can't be compared.

ONE = Evidence(-60.0, 0.1, 0.1, 0.0, 0.2, "importance sampling", 50, 1.0, "exact", "exact", np.zeros(0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"statistical_inefficiency": 1.3}, "worth 1.30 frames.*chance at most 1.20.*thin the frames"),
        ({"anchor": "abc"}, "relative to anchor (exact|abc) in one.*references of one bank"),
        ({"n_frames": 60}, "(50|60) frames, the other of (50|60): use the same data"),
        ({"khat": 0.9}, "k-hat 0.90.*smc_evidence"),
    ],
)
def test_bayes_factors_are_refused_with_the_reason(changes, said):
    other = ONE._replace(**changes)
    for a, b in ((ONE, other), (other, ONE)):
        with pytest.raises(InputError, match=said):
            bayes_factor(a, b)
    assert bayes_factor(ONE, ONE._replace(khat=np.nan)).log_bayes_factor == 0.0
