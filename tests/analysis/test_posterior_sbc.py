"""Calibration conditional on data, from the references alone: a spring with known posterior, and a small fluid (V21)."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from bayescg.analysis import FittedRun, posterior_calibration, synthetic_frames
from bayescg.data import Topology, get_unit_system, statistical_inefficiency
from bayescg.inference import (
    Posterior,
    calibrate,
    calibrated_draws,
    independent_prior,
    maximise,
    relative_entropy,
)
from bayescg.physics import (
    LinearPotential,
    Reference,
    ReferenceBank,
    SimulationSettings,
    Simulator,
    SplinePair,
    SufficientStatistics,
)

# Synthetic frames ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("g", [1.0, 4.0, 15.0])
def test_synthetic_frames_have_the_weights_and_the_inefficiency(g):
    rng = np.random.default_rng(1)
    values = rng.normal(size=500)
    weights = np.exp(0.7 * values)
    weights /= weights.sum()
    series = values[synthetic_frames(weights, 200_000, inefficiency=g, rng=rng)]
    mean = weights @ values
    sd = np.sqrt(weights @ (values - mean) ** 2)
    assert series.mean() == pytest.approx(mean, abs=4 * sd * np.sqrt(g / 200_000))
    assert series.std() == pytest.approx(sd, rel=0.03)
    assert statistical_inefficiency(series)[0] == pytest.approx(g, rel=0.1)


def test_frames_without_weight_are_never_drawn():
    weights = np.array([0.0, 0.5, 0.0, 0.5, 0.0])
    frames = synthetic_frames(weights, 5000, inefficiency=1.0, rng=np.random.default_rng(2))
    assert set(frames) == {1, 3}


# A spring --------------------------------------------------------------------------------------------------------


def half_square(positions, box):
    return jnp.sum(positions**2).reshape(1) / 2.0


def ar1(rng, n: int, memory: float) -> np.ndarray:
    noise = rng.normal(size=n)
    x = noise.copy()
    for t in range(1, n):
        x[t] = memory * x[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    return x


def fitted(
    potential, prior, data: np.ndarray, bank: ReferenceBank, start: np.ndarray, *, n_draws: int = 1500
) -> FittedRun:
    """Laplace's draws at the MAP, calibrated as the package does."""
    statistics = SufficientStatistics(data, data[:, :0], data[:, :0], np.zeros(len(data), int))
    posterior, likelihood = Posterior(prior), relative_entropy(statistics, bank.surrogate())
    mode = maximise(posterior, likelihood, start, least_effective_frames=20.0)
    z, n = jnp.asarray(mode.z), len(data)
    eta = np.asarray(posterior.coefficients(z))
    calibration = calibrate(
        statistics,
        beta=bank.beta,
        coefficient_jacobian=np.asarray(posterior.coefficient_jacobian(z)),
        curvature=-np.asarray(posterior.likelihood_hessian(z, likelihood)) / n,
        prior_precision=-np.asarray(posterior.prior_hessian(z)),
        prior_score_covariance=np.asarray(prior.score_covariance(z, key=jax.random.key(0))),
        feature_error=bank.feature_covariance_error(eta),
    )
    rng = np.random.default_rng(3)
    raw = rng.multivariate_normal(mode.z, mode.covariance, size=n_draws)
    return FittedRun(statistics, posterior, bank, mode.z, calibrated_draws(raw, mode.z, calibration, rng=rng))


def spring_run(n_reference: int, memory: float = 0.7) -> FittedRun:
    """600 frames of U = θx²/2, θ = 1, with the memory of an AR(1), and M frames of one reference."""
    rng = np.random.default_rng(4)
    potential = LinearPotential(jnp.ones(1), function=half_square, name="spring")
    prior = independent_prior(potential, {"spring_theta": dist.LogNormal(0.0, 2.0)})
    data = ar1(rng, 600, memory)[:, None] ** 2 / 2
    phi = rng.normal(size=(20, n_reference // 20, 1)) ** 2 / 2
    bank = ReferenceBank(1.0, (Reference(np.ones(1), phi, phi, phi[..., :0], np.zeros((0, 1, 1))),))
    return fitted(potential, prior, data, bank, np.zeros(1))


def told(name: str, check) -> None:
    for posterior in ("calibrated", "raw"):
        own = check.sel(posterior=posterior)
        print(
            name, posterior, "90 %", own["coverage"].sel(content=0.9).values.round(3), "p", own["ecdf_p"].values.round(4),
            "verdicts", own["verdict"].values, "khat", float(check["khat"].max()), check.attrs["inefficiency"],
        )  # fmt: skip


def test_calibrated_posterior_of_correlated_frames_passes_and_the_raw_one_fails():
    check = posterior_calibration(spring_run(8000), key=jax.random.key(1), n_replicates=400)
    told("spring", check)
    assert check.attrs["inefficiency"] == pytest.approx(1.49 / 0.51, rel=0.35)  # of φ, whose memory is ρ²
    own, raw = check.sel(posterior="calibrated"), check.sel(posterior="raw")
    assert own["verdict"].item() == "passed"
    assert 0.86 < own["coverage"].sel(content=0.9).item() < 0.94
    assert raw["verdict"].item() == "failed" and raw["sentence"].item().startswith("too narrow")
    assert raw["coverage"].sel(content=0.9).item() < 0.80


@pytest.mark.slow
def test_noise_of_a_short_simulation_is_in_the_world_of_the_truths():
    """M = N: without the bank's error the truths would be too well hit; with it the calibrated posterior covers."""
    check = posterior_calibration(spring_run(600, memory=0.0), key=jax.random.key(2), n_replicates=500)
    told("short simulation", check)
    own, raw = check.sel(posterior="calibrated"), check.sel(posterior="raw")
    assert own["verdict"].item() == "passed"
    assert 0.86 < own["coverage"].sel(content=0.9).item() < 0.94
    assert raw["coverage"].sel(content=0.9).item() < 0.80


@pytest.mark.slow
def test_draws_wider_than_the_inference_makes_them_are_found():
    """The negative half: truths from a posterior 1.8 times as wide lie too far out in the posteriors inferred."""
    run = spring_run(8000)
    centre = run.calibrated.mean(axis=0)
    broken = run._replace(calibrated=centre + 1.8 * (run.calibrated - centre))
    check = posterior_calibration(broken, key=jax.random.key(3), n_replicates=200).sel(posterior="calibrated")
    assert check["verdict"].item() == "failed"
    assert check["sentence"].item().startswith("too narrow")


def test_independent_synthetic_frames_are_as_many_as_the_data_are_worth():
    run = spring_run(4000)
    check = posterior_calibration(run, key=jax.random.key(4), n_replicates=5, inefficiency=1.0)
    g = statistical_inefficiency(run.statistics.features)[0]
    assert check.attrs["n_synthetic"] == round(600 / g)


def test_the_same_key_gives_the_same_ranks():
    run = spring_run(4000)
    first, again = (posterior_calibration(run, key=jax.random.key(5), n_replicates=5) for _ in range(2))
    np.testing.assert_array_equal(first["rank"].values, again["rank"].values)


# A small fluid ---------------------------------------------------------------------------------------------------

UNITS = get_unit_system("real")
TEMPERATURE, N_SITES, EDGE = 140.0, 32, 14.0


def fluid() -> SplinePair:
    """Argon-like, a coarse spline."""
    kT = UNITS.kT(TEMPERATURE)
    spline = SplinePair.uniform(
        inner=3.2, cutoff=6.9, spacing=0.9, core_distance=3.5, core_strength=8.0 * kT, name="pair"
    )
    r = np.linspace(3.2, 6.8, 200)
    wanted = 4.0 * kT / 1.17 * ((3.405 / r) ** 12 - (3.405 / r) ** 6)
    basis = np.asarray(spline.pair_basis(jnp.asarray(r**2)))
    coefficients = np.linalg.lstsq(basis[:, :-1], wanted - basis[:, -1], rcond=None)[0]
    return spline.with_parameters({"pair_coefficients": jnp.asarray(coefficients)})


def simulate(potential: SplinePair, *, n_replicas: int, stride: int, n_samples: int, seed: int) -> Reference:
    settings = SimulationSettings(
        5.0, 0.002, stride, n_replicas, equilibration=40, chunk=100, metropolis=True
    )
    simulator = Simulator(
        potential,
        topology=Topology(("Ar",) * N_SITES, np.full(N_SITES, 39.948)),
        box=np.full(3, EDGE),
        units=UNITS,
        temperature=TEMPERATURE,
        settings=settings,
    )
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)[::2] * EDGE / 4.0
    starts = grid + np.random.default_rng(1).normal(scale=0.1, size=(n_replicas, N_SITES, 3))
    (found,) = simulator.simulate([potential], starts=starts, key=jax.random.key(seed), n_samples=n_samples)
    return found


@pytest.mark.slow
def test_small_fluid_by_one_shared_bank():
    """1500 frames 0.1 ps apart, a bank of 16 000 frames, 240 replicates: every coefficient covered, the raw ones not."""
    truth = fluid()
    data = simulate(truth, n_replicas=1, stride=20, n_samples=1500, seed=2).features[0]
    pool = simulate(truth, n_replicas=32, stride=60, n_samples=500, seed=1)
    bank = ReferenceBank(UNITS.beta(TEMPERATURE), (pool,))
    prior = independent_prior(truth, {"pair_coefficients": dist.Normal(0.0, 10.0 / bank.beta)})
    run = fitted(truth, prior, data, bank, np.asarray(truth.coefficients_))
    check = posterior_calibration(run, key=jax.random.key(6), n_replicates=240)
    told("fluid", check)
    own, raw = check.sel(posterior="calibrated"), check.sel(posterior="raw")
    coverage = own["coverage"].sel(content=0.9)
    assert check.attrs["n_lost"] <= 0.02 * 240
    assert 0.86 <= float(coverage.mean()) <= 0.94
    assert float(coverage.min()) > 0.82
    assert not np.any(own["verdict"].values == "not tested")
    assert np.mean(own["verdict"].values == "passed") >= 0.75
    assert float(raw["coverage"].sel(content=0.9).mean()) < 0.75
    assert np.all(raw["verdict"].values == "failed")
