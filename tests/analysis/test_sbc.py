"""Simulation-based calibration: its tests of uniformity, and what it says of methods that are right and wrong (V21)."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

from bayescg.analysis import (
    CalibrationExperiment,
    check_ranks,
    chi_squared,
    ecdf_band,
    ecdf_of_ranks,
    ecdf_p_value,
    rank_of_truth,
    simulation_based_calibration,
)
from bayescg.analysis._importance_posteriors import ImportancePosteriors, importance_posteriors
from bayescg.errors import InputError
from bayescg.inference import Posterior, Prior, RelativeEntropy, calibrate, calibrated_draws
from bayescg.physics import DoubleWell, SufficientStatistics, Surrogate

# Uniformity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_replicates", "n_ranks"), [(60, 20), (200, 100)])
def test_band_holds_as_often_as_it_says(n_replicates, n_ranks):
    """Uniform ranks stay inside everywhere in 95 %, a little more since counts are whole numbers; 3000 trials."""
    ranks = np.random.default_rng(1).integers(0, n_ranks, size=(3000, n_replicates))
    band = ecdf_band(n_replicates, n_ranks)
    function = np.array([ecdf_of_ranks(row, band.place, n_ranks) for row in ranks])
    inside = np.all((function > band.lower - 1e-9) & (function < band.upper + 1e-9), axis=1).mean()
    assert 0.95 - 3 * 0.004 < inside < 0.975


def test_pointwise_band_would_not_hold():
    """The negative half: 95 % at each place are far less everywhere."""
    ranks = np.random.default_rng(2).integers(0, 100, size=(2000, 200))
    place = ecdf_band(200, 100).place
    function = np.array([ecdf_of_ranks(row, place, 100) for row in ranks])
    low, high = stats.binom.ppf([[0.025], [0.975]], 200, place) / 200
    assert np.mean(np.all((function >= low) & (function <= high), axis=1)) < 0.75


def test_two_ranks_by_hand():
    """One place, a half, and 3 replicates: 0 or 3 below it has probability 1/4, 1 or 2 has 1."""
    assert ecdf_p_value(np.array([0, 0, 0]), 2) == pytest.approx(0.25)
    assert ecdf_p_value(np.array([0, 1, 0]), 2) == pytest.approx(1.0)
    band = ecdf_band(3, 2, content=0.7)
    assert (band.lower[0], band.upper[0]) == pytest.approx((1 / 3, 2 / 3))
    band = ecdf_band(3, 2, content=0.8)
    assert (band.lower[0], band.upper[0]) == pytest.approx((0.0, 1.0))


def test_p_values_of_uniform_ranks_are_uniform():
    ranks = np.random.default_rng(3).integers(0, 100, size=(1500, 150))
    for p in (
        np.array([ecdf_p_value(row, 100) for row in ranks]),
        np.array([chi_squared(row, 100)[1] for row in ranks]),
    ):
        for level in (0.05, 0.3):
            assert np.mean(p <= level) == pytest.approx(level, abs=3.5 * np.sqrt(level * (1 - level) / 1500))


def test_chi_squared_is_scipys():
    ranks = np.random.default_rng(4).integers(0, 50, size=300)
    expected = stats.chisquare(np.bincount(ranks // 5, minlength=10))
    assert chi_squared(ranks, 50) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ranks", "n_ranks"), [(np.array([0, 10]), 10), (np.array([-1, 3]), 10), (np.array([3]), 10)]
)
def test_impossible_ranks_are_refused(ranks, n_ranks):
    for test in (ecdf_p_value, chi_squared):
        with pytest.raises(InputError, match="ranks"):
            test(ranks, n_ranks)


# Ranks -----------------------------------------------------------------------------------------------------------


def chains(rng, n_replicates: int, memory: float, n_draws: int = 800) -> np.ndarray:
    """AR(1) draws of a standard normal [replicate chain draw parameter]."""
    noise = rng.normal(size=(n_draws, n_replicates, 2))
    x = noise.copy()
    for t in range(1, n_draws):
        x[t] = memory * x[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    return x.transpose(1, 2, 0)[..., None]


def test_ranks_are_of_independent_draws():
    """Draws with a memory of 11 draws: thinned, their ranks are uniform; the first 19 draws' would not be."""
    rng = np.random.default_rng(5)
    draws, truth = chains(rng, 600, memory=0.84), rng.normal(size=(600, 1))
    ranks = rank_of_truth(truth, draws, n_ranks=20, rng=rng)
    assert ranks.min() >= 0
    assert ecdf_p_value(ranks[:, 0], 20) > 0.01
    naive = np.sum(draws[:, 0, :19, 0] < truth, axis=1)
    assert ecdf_p_value(naive, 20) < 1e-3


def test_too_few_effective_draws_give_no_rank():
    rng = np.random.default_rng(6)
    draws, truth = chains(rng, 3, memory=0.995), rng.normal(size=(3, 1))
    draws[2, 0, 5] = np.nan
    assert np.all(rank_of_truth(truth, draws, n_ranks=100, rng=rng) == -1)
    with pytest.raises(InputError, match="effective draws"):
        check_ranks(np.full((3, 1), -1), n_ranks=100, names=["a"])
    with pytest.raises(InputError, match="fewer ranks"):
        rank_of_truth(truth, draws, n_ranks=5000, rng=rng)


def test_equal_draws_are_ordered_at_random():
    """A parameter that can only be one value says nothing, and its ranks are uniform."""
    rng = np.random.default_rng(7)
    varied = np.concatenate([np.zeros((400, 1, 400, 1)), rng.normal(size=(400, 1, 400, 1))], axis=-1)
    truth = np.concatenate([np.zeros((400, 1)), rng.normal(size=(400, 1))], axis=-1)
    ranks = rank_of_truth(truth, varied, n_ranks=50, rng=rng)
    assert ranks.min() >= 0
    assert chi_squared(ranks[:, 0], 50)[1] > 0.01


# Verdicts --------------------------------------------------------------------------------------------------------


def ranks_with(scale: float, shift: float, *, n: int = 400, seed: int = 8) -> np.ndarray:
    """Of truths from a posterior that is `scale` times wider, and lies `shift` sd higher, than the one reported."""
    truth = shift + scale * np.random.default_rng(seed).normal(size=n)
    return np.minimum((stats.norm.cdf(truth) * 100).astype(int), 99)[:, None]


@pytest.mark.parametrize(
    ("scale", "shift", "verdict", "word"),
    [
        (1.0, 0.0, "passed", "ranks are uniform"),
        (1.6, 0.0, "failed", "too narrow"),
        (0.6, 0.0, "failed", "too wide"),
        (1.0, 0.5, "failed", "too low"),
        (1.0, -0.5, "failed", "too high"),
        (1.6, 0.7, "failed", "too low and too narrow"),
    ],
)
def test_the_fault_is_named(scale, shift, verdict, word):
    check = check_ranks(ranks_with(scale, shift), n_ranks=100, names=["a"])
    assert check["verdict"].item() == verdict
    assert check["sentence"].item().startswith(word)


def test_coverage_is_that_of_the_normal():
    check = check_ranks(ranks_with(1.6, 0.0, n=5000), n_ranks=100, names=["a"])
    for content in (0.5, 0.8, 0.9, 0.95):
        expected = 2 * stats.norm.cdf(stats.norm.ppf(0.5 + content / 2) / 1.6) - 1
        assert check["coverage"].sel(content=content).item() == pytest.approx(expected, abs=0.025)


def test_deviations_too_small_to_matter_are_told_but_pass():
    check = check_ranks(ranks_with(1.05, 0.09, n=5000), n_ranks=100, names=["a"])
    assert check["ecdf_p"].item() < 1e-3
    assert check["verdict"].item() == "passed"
    assert "too little to matter" in check["sentence"].item()


def test_few_or_lost_replicates_test_nothing():
    few = check_ranks(ranks_with(1.0, 0.0, n=40), n_ranks=100, names=["a"])
    assert few["verdict"].item() == "not tested" and "too few" in few["sentence"].item()
    lost = ranks_with(1.0, 0.0)
    lost[:40] = -1
    some = check_ranks(lost, n_ranks=100, names=["a"])
    assert some["verdict"].item() == "not tested" and "10 %" in some["sentence"].item()


# The whole procedure ----------------------------------------------------------------------------------------------


def normal_experiment(width: float, prior_mean: float = 0.0) -> CalibrationExperiment:
    """Mean of 5 observations of unit variance under N(0, 1); what is inferred may be wrong in width or prior."""

    def infer(key, data):
        mean = (prior_mean + data.sum(axis=1)) / 6.0
        noise = width * jax.random.normal(key, (len(data), 2, 150)) / jnp.sqrt(6.0)
        return (mean[:, None, None] + noise)[..., None]

    return CalibrationExperiment(
        lambda key, n: jax.random.normal(key, (n, 1)),
        lambda key, mu: mu + jax.random.normal(key, (len(mu), 5)),
        infer,
    )


@pytest.mark.parametrize(
    ("width", "prior_mean", "verdict", "word"),
    [(1.0, 0.0, "passed", "ranks"), (0.6, 0.0, "failed", "too narrow"), (1.0, 2.0, "failed", "too high")],
)
def test_conjugate_normal_by_three_callables(width, prior_mean, verdict, word):
    done = []
    check = simulation_based_calibration(
        normal_experiment(width, prior_mean), key=jax.random.key(1), n_replicates=250, names=["mu"], batch=100,
        on_batch=done.append,
    )  # fmt: skip
    assert done == [100, 200, 250]
    assert check["truth"].shape == check["rank"].shape == (250, 1)
    assert check["verdict"].item() == verdict and check["sentence"].item().startswith(word)


# V21: the double well -------------------------------------------------------------------------------------------

N = 100
N_REPLICATES, N_RANKED = 1000, 400
"""Of coverage, and of the tests of uniform ranks."""
PROPOSALS = 1500


def well() -> DoubleWell:
    """V2's prior, cut where no density can be normalised: nothing could be simulated there."""
    t1, t2 = (numpyro.sample(name, dist.Normal(1.0, 2.0)) for name in ("t1", "t2"))
    numpyro.factor("normalisable", jnp.where(t2 > 0.0, 0.0, -jnp.inf))
    return DoubleWell(t1, t2)


class Wells(NamedTuple):
    """The model with its exact log Z: |x| on a half line, finer near zero.

    Attributes:
        posterior: prior and likelihood.
        x: nodes.
        surrogate: exact log Z.
    """

    posterior: Posterior
    x: np.ndarray
    surrogate: Surrogate

    def features(self, x: np.ndarray) -> np.ndarray:
        return np.stack([-(x**2) / 2, x**4 / 4], axis=-1)

    def frames(self, eta: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """φ of n independent nodes at each η: what the quadrature takes for frames [replicate frame 2]."""
        log_p = -eta @ self.features(self.x).T + np.asarray(self.surrogate.log_base_weight)
        cumulative = np.cumsum(np.exp(log_p - log_p.max(axis=1, keepdims=True)), axis=1)
        u = rng.uniform(size=(len(eta), n)) * cumulative[:, -1:]
        nodes = np.stack([np.searchsorted(*row) for row in zip(cumulative, u, strict=True)])
        return self.features(self.x[np.minimum(nodes, len(self.x) - 1)])


@pytest.fixture(scope="module")
def wells() -> Wells:
    u = np.linspace(0.0, np.arcsinh(120.0), 901)
    x, weight = 0.5 * np.sinh(u), 0.5 * np.cosh(u) * u[1]
    weight[0] /= 2
    phi = np.stack([-(x**2) / 2, x**4 / 4], axis=-1)
    surrogate = Surrogate(jnp.ones(()), jnp.zeros(2), jnp.asarray(phi), jnp.log(weight))
    return Wells(Posterior(Prior(well)), x, surrogate)


class Sets(NamedTuple):
    """Data sets and their posteriors with the exact Z, which every method starts from."""

    truth: np.ndarray
    features: np.ndarray
    exact: ImportancePosteriors
    key: jax.Array


@pytest.fixture(scope="module")
def sets(wells) -> Sets:
    key = jax.random.key(5)
    rng = np.random.default_rng(5)
    z = rng.normal(1.0, 2.0, size=(4 * N_REPLICATES, 2))
    z = z[z[:, 1] > 0.0][:N_REPLICATES]  # t₁ and t₂ are the coefficients
    features = wells.frames(z, N, rng)
    varying = RelativeEntropy(jnp.asarray(features.mean(axis=1)), jnp.full(len(z), float(N)), None)
    shared = RelativeEntropy(None, None, wells.surrogate)
    exact = importance_posteriors(
        wells.posterior, varying, shared, start=z, key=key, n_proposals=PROPOSALS, batch=20
    )
    return Sets(z, features, exact, key)


def with_references(wells: Wells, sets: Sets, n_reference: int, seed: int):
    """Posteriors with log Z from M frames at each MAP, and those frames."""
    eta = sets.exact.mode
    frames = wells.frames(eta, n_reference, np.random.default_rng(seed))
    centre = frames.mean(axis=1)
    centred = frames - centre[:, None]
    base = np.einsum("rmf,rf->rm", centred, eta)
    n = len(eta)
    surrogate = Surrogate(jnp.ones(n), jnp.asarray(centre), jnp.asarray(centred), jnp.asarray(base))
    means, counts = jnp.asarray(sets.features.mean(axis=1)), jnp.full(n, float(N))
    varying = RelativeEntropy(means, counts, surrogate)
    found = importance_posteriors(
        wells.posterior, varying, eqx.filter(varying, False),
        start=sets.exact.mode, key=jax.random.fold_in(sets.key, seed), n_proposals=PROPOSALS, batch=20,
    )  # fmt: skip
    return found, frames


def judge(sets: Sets, draws: np.ndarray, n: int = N_REPLICATES):
    rng = np.random.default_rng(1)
    ranks = rank_of_truth(sets.truth[:n], draws[:n, None], n_ranks=100, rng=rng)
    return check_ranks(ranks, n_ranks=100, names=["t1", "t2"])


def told(name: str, check) -> None:
    print(
        name, "90 %", check["coverage"].sel(content=0.9).values.round(3), "p", check["ecdf_p"].values.round(4),
        "chi2(9)", check["chi2"].values.round(1), "lost", check.attrs["n_lost"], check["sentence"].values,
    )  # fmt: skip


def calibrated(wells: Wells, sets: Sets, found: ImportancePosteriors, frames: np.ndarray) -> np.ndarray:
    """The package's calibrated draws of every replicate."""
    posterior, rng = wells.posterior, np.random.default_rng(2)
    prior = np.eye(2) / 4.0  # N(1, sd 2), whose score has the covariance of its curvature
    draws = np.full_like(found.draws, np.nan)
    informed = np.linalg.eigvalsh(found.precision - prior)[:, 0] > 0.0
    for i in np.flatnonzero(np.isfinite(found.mode).all(axis=1) & informed):
        features = sets.features[i]
        nothing = features[:, :0]
        calibration = calibrate(
            SufficientStatistics(features, nothing, nothing, np.zeros(N, int)),
            beta=1.0,
            coefficient_jacobian=np.asarray(posterior.coefficient_jacobian(jnp.asarray(found.mode[i]))),
            curvature=(found.precision[i] - prior) / N,
            prior_precision=prior,
            prior_score_covariance=prior,
            feature_error=np.cov(frames[i].T) / len(frames[i]),
        )
        draws[i] = calibrated_draws(found.draws[i], found.mode[i], calibration, rng=rng)
    return draws


@pytest.mark.slow
def test_exact_z_gives_uniform_ranks(wells, sets):
    check = judge(sets, sets.exact.draws, N_RANKED)
    told("exact Z", check)
    assert set(check["verdict"].values) == {"passed"}
    assert np.all(check["ecdf_p"] > 0.01) and np.all(check["chi2_p"] > 0.01)


@pytest.mark.slow
def test_ten_times_the_data_in_simulation_gives_uniform_ranks(wells, sets):
    """Its noise widens errors by √1.1, so that 90 % intervals hold 88 %: more than 400 replicates can tell from 90."""
    check = judge(sets, with_references(wells, sets, 10 * N, 1)[0].draws, N_RANKED)
    told("M = 10 N", check)
    assert set(check["verdict"].values) == {"passed"}
    assert np.all(check["ecdf_p"] > 0.01) and np.all(check["chi2_p"] > 0.01)


@pytest.mark.slow
def test_as_much_simulation_as_data_fails_unless_its_noise_is_carried(wells, sets):
    """M = N: the naive posterior is too narrow by √2; the calibrated one covers."""
    found, frames = with_references(wells, sets, N, 2)
    naive = judge(sets, found.draws)
    told("M = N, naive", naive)
    assert np.all(naive["chi2_p"] < 1e-3) and np.all(naive["ecdf_p"] < 1e-3)
    assert np.all(naive["coverage"].sel(content=0.9) < 0.86)
    check = judge(sets, calibrated(wells, sets, found, frames))
    told("M = N, calibrated", check)
    coverage = check["coverage"].sel(content=0.9)
    # .918 to .941 were found with other truths: a little conservative. One Monte-Carlo standard error is allowed for.
    assert np.all((coverage > 0.86) & (coverage < 0.94 + 0.008))
