"""Coverage of 90 % intervals on a simulated fluid whose frames are far too close in time to be independent."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from bayescg.data import State, Topology, get_unit_system
from bayescg.inference import (
    Posterior,
    calibrate,
    calibrated_draws,
    independent_prior,
    maximise,
    relative_entropy,
)
from bayescg.physics import (
    ReferenceBank,
    SimulationSettings,
    Simulator,
    SplinePair,
    SufficientStatistics,
)

UNITS = get_unit_system("real")
TEMPERATURE, N_SITES, EDGE = 140.0, 64, 17.5
N_DATA_SETS, N_FRAMES = 240, 1500


def fluid() -> SplinePair:
    """An argon-like fluid whose pair potential is a coarse spline: the model family holds the truth."""
    kT = UNITS.kT(TEMPERATURE)
    spline = SplinePair.uniform(
        inner=3.2, cutoff=8.2, spacing=1.2, core_distance=3.5, core_strength=8.0 * kT, name="pair"
    )
    r = np.linspace(3.2, 8.1, 200)
    wanted = 4.0 * kT / 1.17 * ((3.405 / r) ** 12 - (3.405 / r) ** 6)
    basis = np.asarray(spline.pair_basis(jnp.asarray(r**2)))
    coefficients = np.linalg.lstsq(basis[:, :-1], wanted - basis[:, -1], rcond=None)[0]
    return spline.with_parameters({"pair_coefficients": jnp.asarray(coefficients)})


def simulator(potential: SplinePair, *, n_replicas: int, stride: int, metropolis: bool) -> Simulator:
    settings = SimulationSettings(
        5.0,
        0.002,
        stride,
        n_replicas,
        equilibration=200 if not metropolis else 40,
        chunk=100,
        metropolis=metropolis,
    )
    topology = Topology(("Ar",) * N_SITES, np.full(N_SITES, 39.948))
    return Simulator(
        potential,
        topology=topology,
        box=np.full(3, EDGE),
        units=UNITS,
        temperature=State(TEMPERATURE).temperature,
        settings=settings,
    )


def lattice(n: int) -> np.ndarray:
    """n replicas of a slightly disturbed cubic lattice."""
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3) * EDGE / 4.0
    return grid + np.random.default_rng(1).normal(scale=0.1, size=(n, N_SITES, 3))


@pytest.mark.slow
def test_naive_intervals_fail_and_calibrated_ones_cover():
    """Frames 0.1 ps apart, 240 data sets of 1500 frames; nominal 90 %, marginal intervals."""
    truth = fluid()
    beta = UNITS.beta(TEMPERATURE)
    (pool,) = simulator(truth, n_replicas=32, stride=60, metropolis=True).simulate(
        [truth], starts=lattice(32), key=jax.random.key(1), n_samples=700
    )
    (data,) = simulator(truth, n_replicas=N_DATA_SETS, stride=20, metropolis=False).simulate(
        [truth], starts=lattice(N_DATA_SETS), key=jax.random.key(2), n_samples=N_FRAMES
    )
    bank = ReferenceBank(beta, (pool,))
    surrogate = bank.surrogate()
    wide = 10.0 / beta
    prior = independent_prior(truth, {"pair_coefficients": dist.Normal(0.0, wide)})
    posterior = Posterior(prior)
    exact = np.asarray(truth.coefficients_)
    precision = -np.asarray(posterior.prior_hessian(jnp.asarray(exact)))
    error = bank.feature_covariance_error(np.asarray(truth.coefficients()))
    rng = np.random.default_rng(3)
    naive, calibrated = [], []
    for features in data.features:
        n = len(features)
        statistics = SufficientStatistics(features, features[:, :0], features[:, :0], np.zeros(n, int))
        likelihood = relative_entropy(statistics, surrogate)
        mode = maximise(posterior, likelihood, exact, least_effective_frames=50.0)
        result = calibrate(
            statistics,
            beta=beta,
            coefficient_jacobian=np.asarray(posterior.coefficient_jacobian(jnp.asarray(mode.z))),
            curvature=-np.asarray(posterior.likelihood_hessian(jnp.asarray(mode.z), likelihood)) / n,
            prior_precision=precision,
            prior_score_covariance=precision,
            feature_error=error,
        )
        raw = rng.multivariate_normal(mode.z, mode.covariance, size=2000)
        for draws, hits in ((raw, naive), (calibrated_draws(raw, mode.z, result, rng=rng), calibrated)):
            low, high = np.quantile(draws, [0.05, 0.95], axis=0)
            hits.append((low <= exact) & (exact <= high))
    naive_share, calibrated_share = np.mean(naive, axis=0), np.mean(calibrated, axis=0)
    print("naive", naive_share.round(3), "calibrated", calibrated_share.round(3), calibrated_share.mean())
    assert naive_share.mean() < 0.65
    # Within 86 to 94 %, one Monte-Carlo standard error of the 240 data sets (.01) allowed for; .939 was found. With 400
    # frames 0.05 ps apart and 7 coefficients it was .961: too few batches, conservative fallback.
    assert 0.86 <= calibrated_share.mean() <= 0.95
    assert calibrated_share.min() > 0.80
