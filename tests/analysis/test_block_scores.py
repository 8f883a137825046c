"""Predictive scores against closed forms: a Gaussian model of AR(1) frames (V16), and a double well on a grid."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import gammaln, logsumexp

from bayescg.analysis import (
    block_edges,
    frame_scores,
    held_out_relative_entropy,
    leave_block_out,
    psis_scores,
    score_inefficiency,
)
from bayescg.errors import InputError
from bayescg.inference import Posterior, Prior, independent_prior, laplace, maximise, relative_entropy
from bayescg.physics import DoubleWell, LinearPotential, SufficientStatistics, Surrogate

N, BLOCK, MEMORY = 1000, 50, 0.8
EDGES = np.arange(0, N + 1, BLOCK)


def square(positions, box):
    return jnp.sum(positions**2).reshape(1) / 2.0


def statistics_of(features: np.ndarray, trajectory: np.ndarray | None = None) -> SufficientStatistics:
    n = len(features)
    return SufficientStatistics(
        features, features, features[:, :0], np.zeros(n, int) if trajectory is None else trajectory
    )


def quadrature(features: np.ndarray, log_weight: np.ndarray) -> Surrogate:
    """The exact log Z in the form of the bank's surrogate."""
    return Surrogate(
        jnp.ones(()), jnp.zeros(features.shape[1]), jnp.asarray(features), jnp.asarray(log_weight)
    )


# U = θ x²/2, flat prior in log θ: the posterior is Γ(N/2, Σ x²/2), every predictive density is known ----------------


class Spring(NamedTuple):
    """The model, its exact log Z, and its posterior object."""

    prior: Prior
    posterior: Posterior
    surrogate: Surrogate


@pytest.fixture(scope="module")
def spring() -> Spring:
    potential = LinearPotential(jnp.ones(1), function=square, name="spring")
    prior = independent_prior(potential, {"spring_theta": dist.LogNormal(0.0, 100.0)})
    x, weight = np.polynomial.hermite_e.hermegauss(64)
    return Spring(prior, Posterior(prior), quadrature(x[:, None] ** 2 / 2, np.log(weight) + x**2 / 2))


def ar1(n_sets: int, n: int, seed: int) -> np.ndarray:
    """x²/2 of AR(1) sequences of unit variance [set frame]."""
    noise = np.random.default_rng(seed).normal(size=(n, n_sets))
    x = np.empty((n, n_sets))
    x[0] = noise[0]
    for t in range(1, n):
        x[t] = MEMORY * x[t - 1] + np.sqrt(1.0 - MEMORY**2) * noise[t]
    return x.T**2 / 2.0


def predictive(shape: np.ndarray | float, rate: np.ndarray, k: int, total: np.ndarray) -> np.ndarray:
    """log p of k frames with Σ x²/2 = total together, θ ~ Γ(shape, rate)."""
    gamma = gammaln(shape + k / 2) - gammaln(shape) - k / 2 * np.log(2 * np.pi)
    return gamma + shape * np.log(rate) - (shape + k / 2) * np.log(rate + total)


def at_truth(phi: np.ndarray) -> np.ndarray:
    """Σ log p(x | θ = 1) of every set."""
    return np.sum(-phi - 0.5 * np.log(2 * np.pi), axis=-1)


class Exact(NamedTuple):
    """Closed forms of every set."""

    joint: np.ndarray
    pointwise: np.ndarray
    single: np.ndarray


def closed_forms(phi: np.ndarray) -> Exact:
    total = phi.sum(axis=1)
    blocks = phi.reshape(len(phi), -1, BLOCK)
    inside = blocks.sum(axis=2)
    shape, rate = (N - BLOCK) / 2, total[:, None] - inside
    return Exact(
        predictive(shape, rate, BLOCK, inside).sum(axis=1),
        predictive(shape, rate[..., None], 1, blocks).sum(axis=(1, 2)),
        predictive((N - 1) / 2, total[:, None] - phi, 1, phi).sum(axis=1),
    )


def exact_draws(phi: np.ndarray, n: int, seed: int) -> np.ndarray:
    return np.log(np.random.default_rng(seed).gamma(len(phi) / 2, size=n) / phi.sum())[:, None]


def score(spring: Spring, phi: np.ndarray, *, n_draws: int, seed: int):
    statistics = statistics_of(phi[:, None])
    likelihood = relative_entropy(statistics, spring.surrogate)
    mode = laplace(spring.posterior, likelihood, np.array([-np.log(2 * phi.mean())]))
    return leave_block_out(
        statistics,
        spring.posterior,
        likelihood,
        mode=mode,
        draws=exact_draws(phi, n_draws, seed),
        edges=EDGES,
    )


def test_v16_correlated_frames_left_out_one_by_one_mislead():
    """Means over 4000 sets, relative to the truth: single frames, blocks both ways, and what new data give."""
    phi = ar1(4000, N, seed=1)
    exact, truth = closed_forms(phi), at_truth(phi)
    shape, rate = N / 2, phi.sum(axis=1)
    x, weight = np.polynomial.hermite_e.hermegauss(40)
    weight = weight / weight.sum()
    one = N * (
        predictive(shape, rate[:, None], 1, x**2 / 2) @ weight - at_truth(x[:, None] ** 2 / 2) @ weight
    )
    new = ar1(4000, 1000, seed=2).reshape(-1, BLOCK)[::4]  # blocks of their own, for the joint test value
    inside, own = new.sum(axis=1), at_truth(new)
    # Only the mean over new blocks enters: subtract θ = 1 on the same blocks.
    together = np.array([N / BLOCK * np.mean(predictive(shape, r, BLOCK, inside) - own) for r in rate[:1000]])
    found = {
        "single frames": np.mean(exact.single - truth), "pointwise test": np.mean(one),
        "blocks, pointwise": np.mean(exact.pointwise - truth), "blocks, joint": np.mean(exact.joint - truth),
        "joint test": np.mean(together),
    }  # fmt: skip
    print(found)
    expected = {
        "single frames": 1.3, "pointwise test": -2.3, "blocks, pointwise": -2.2, "blocks, joint": -0.43,
        "joint test": -0.57,
    }  # fmt: skip
    for name, value in expected.items():
        assert abs(found[name] - value) < 0.3, (name, found[name])


def test_v16_by_refits_on_the_surrogate(spring):
    """The package's scores of 30 sets are the closed forms, joint and pointwise apart."""
    phi = ar1(30, N, seed=3)
    exact = closed_forms(phi)
    found = [score(spring, one, n_draws=800, seed=k) for k, one in enumerate(phi)]
    joint, pointwise = (np.array([getattr(f, kind).elpd for f in found]) for kind in ("joint", "pointwise"))
    assert np.abs(pointwise - exact.pointwise).max() < 0.1
    assert np.abs(joint - exact.joint).max() < 0.6 and abs(np.mean(joint - exact.joint)) < 0.1
    assert np.mean(joint - pointwise) == pytest.approx(np.mean(exact.joint - exact.pointwise), abs=0.1)
    assert {f.joint.kind for f in found} == {"joint"} and {f.pointwise.kind for f in found} == {"pointwise"}
    assert not any(f.joint.warning for f in found)


def test_per_frame_scores_of_correlated_frames_are_refused_or_flagged(spring):
    phi = ar1(1, N, seed=4)[0]
    statistics = statistics_of(phi[:, None])
    theta = np.exp(exact_draws(phi, 2000, seed=0)).reshape(4, 500, 1)
    density = -theta * phi + 0.5 * np.log(theta / (2 * np.pi))
    with pytest.raises(InputError, match=r"correlated, g_max = .* blocks of at least 4 g"):
        frame_scores(statistics, density)
    naive = frame_scores(statistics, density, allow_correlated=True)
    assert "correlated" in naive.warning and naive.kind == "single frames"
    assert naive.elpd == pytest.approx(closed_forms(phi[None]).single[0], abs=0.1)
    assert naive.khat.max() < 0.5  # every k-hat looks healthy
    excess = naive.elpd - closed_forms(phi[None]).pointwise[0]
    print(f"single frames above blocks by {excess:.2f} nats, largest k-hat {naive.khat.max():.2f}")
    assert excess > 1.0
    independent = statistics_of(np.random.default_rng(8).permutation(phi)[:, None])
    assert frame_scores(independent, density).warning == ""


def test_importance_sampling_gives_the_joint_score(spring):
    """What a run stores, log p of whole blocks, scored by arviz-stats."""
    phi = ar1(1, N, seed=5)[0]
    theta = np.exp(exact_draws(phi, 8000, seed=1)).reshape(4, 2000, 1)
    blocks = phi.reshape(-1, BLOCK).sum(axis=1)
    density = -theta * blocks + BLOCK / 2 * np.log(theta / (2 * np.pi))
    found = psis_scores(density, kind="joint", n_frames=np.full(len(blocks), BLOCK), first_frame=EDGES[:-1])
    exact = closed_forms(phi[None])
    assert found.elpd == pytest.approx(exact.joint[0], abs=0.3)
    assert found.kind == "joint" and found.elpd - exact.pointwise[0] > 0.4
    with pytest.raises(InputError, match="not finite"):
        psis_scores(density * np.nan, kind="joint", n_frames=np.ones(20, int), first_frame=EDGES[:-1])


def test_weights_that_overflow_are_flagged():
    """A model hundreds of nats off at one unit: the smallest density stands for its score, and k-hat says so."""
    density = np.random.default_rng(0).normal(size=(4, 100, 5))
    density[..., 2] = -400.0 * np.random.default_rng(1).pareto(0.4, size=(4, 100))
    found = psis_scores(density, kind="configuration", n_frames=np.ones(5, int), first_frame=np.arange(5))
    assert np.isfinite(found.values).all() and "heavy-tailed" in found.warning
    assert found.values[2] < -300.0 and found.khat[2] > 0.7


def test_held_out_relative_entropy_is_the_closed_form(spring):
    train, test = ar1(2, 400, seed=6)
    statistics = statistics_of(test[:, None])
    draws = exact_draws(train, 8000, seed=2)
    mode = np.array([-np.log(2 * train.mean())])
    found = held_out_relative_entropy(
        statistics, spring.prior, spring.surrogate, draws=draws, mode=mode, anchor="exact"
    )
    theta = 1 / (2 * train.mean())
    at_mode = theta * test.mean() - 0.5 * np.log(theta / (2 * np.pi))
    assert found.at_mode == pytest.approx(at_mode, abs=1e-9)
    assert found.predictive == pytest.approx(-predictive(200.0, train.sum(), 1, test).mean(), abs=2e-4)
    # E[θ] = a/b and E[log θ] = ψ(a) − log b; ψ(200) = log 200 − 1/400 − 1/(12 · 200²)
    log_theta = np.log(200.0) - 1 / 400 - 1 / (12 * 200**2) - np.log(train.sum())
    mean = 200.0 / train.sum() * test.mean() - 0.5 * log_theta + 0.5 * np.log(2 * np.pi)
    assert found.mean == pytest.approx(mean, abs=2e-3)
    assert found.predictive < found.mean and found.anchor == "exact"
    fluctuation = theta * test.std(ddof=1) * np.sqrt(found.inefficiency / 400)
    assert found.standard_error == pytest.approx(fluctuation, rel=0.1)
    with pytest.raises(InputError, match="features"):
        held_out_relative_entropy(
            statistics_of(np.ones((30, 2))),
            spring.prior,
            spring.surrogate,
            draws=draws,
            mode=mode,
            anchor="a",
        )


# A double well: refits against a grid ---------------------------------------------------------------------------------


class Well(NamedTuple):
    """100 frames of a double well, the exact log Z, and the posterior on a grid of (t₁, log t₂)."""

    posterior: Posterior
    surrogate: Surrogate
    features: np.ndarray
    t1: np.ndarray
    log_t2: np.ndarray
    log_prior: np.ndarray
    log_z: np.ndarray

    def density(self, features: np.ndarray) -> np.ndarray:
        """log p of frames at every point of the grid [frame point]."""
        eta = np.stack([self.t1, np.exp(self.log_t2)])
        return -features @ eta - self.log_z


@pytest.fixture(scope="module")
def well() -> Well:
    prior = independent_prior(
        DoubleWell(1.0, 1.0), {"well_t1": dist.Normal(1.0, 2.0), "well_t2": dist.LogNormal(0.5, 0.5)}
    )
    x = np.linspace(-5.0, 5.0, 401)

    def reduce(x: np.ndarray) -> np.ndarray:
        return np.stack([-(x**2) / 2, x**4 / 4], axis=1)

    nodes, weight = reduce(x), np.full(len(x), np.log(x[1] - x[0]))
    rng = np.random.default_rng(0)
    p = np.exp(-nodes @ np.array([2.8, 2.0]))
    features = reduce(rng.choice(x, size=100, p=p / p.sum()))
    t1, log_t2 = (a.ravel() for a in np.meshgrid(np.linspace(-1.0, 7.0, 101), np.linspace(-1.2, 2.2, 101)))
    log_prior = -0.5 * ((t1 - 1) / 2) ** 2 - 0.5 * ((log_t2 - 0.5) / 0.5) ** 2
    log_z = logsumexp(-nodes @ np.stack([t1, np.exp(log_t2)]) + weight[:, None], axis=0)
    return Well(Posterior(prior), quadrature(nodes, weight), features, t1, log_t2, log_prior, log_z)


def test_refits_are_brute_force(well):
    """Joint and pointwise score of every block, against the grid's posterior of the other frames."""
    statistics = statistics_of(well.features)
    likelihood = relative_entropy(statistics, well.surrogate)
    mode = maximise(well.posterior, likelihood, np.array([1.0, 0.0]), least_effective_frames=1.0)
    density = well.density(well.features)
    log_p = well.log_prior + density.sum(axis=0)
    rng = np.random.default_rng(1)
    chosen = rng.choice(len(log_p), size=1500, p=np.exp(log_p - logsumexp(log_p)))
    draws = np.stack([well.t1[chosen], well.log_t2[chosen]], axis=1)
    draws = draws + rng.uniform(-0.5, 0.5, size=draws.shape) * [0.08, 0.034]
    edges = np.arange(0, 101, 20)
    found = leave_block_out(statistics, well.posterior, likelihood, mode=mode, draws=draws, edges=edges)
    for b, (first, end) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        rest = log_p - density[first:end].sum(axis=0)
        rest = rest - logsumexp(rest)
        assert found.pointwise.values[b] == pytest.approx(
            logsumexp(rest + density[first:end], axis=1).sum(), abs=0.05
        )
        assert found.joint.values[b] == pytest.approx(
            logsumexp(rest + density[first:end].sum(axis=0)), abs=0.1
        )
        outside = np.r_[0:first, end:100]
        alone = relative_entropy(statistics_of(well.features[outside]), well.surrogate)
        again = maximise(well.posterior, alone, mode.z, least_effective_frames=1.0)
        assert found.modes[b] == pytest.approx(again.z, abs=1e-3)
    assert found.pointwise.standard_error == pytest.approx(
        np.sqrt(5) * np.std(found.pointwise.values, ddof=1)
    )


def test_a_buffer_leaves_out_more_of_the_same_trajectory(well):
    trajectory = np.repeat([0, 1], 50)
    statistics = statistics_of(well.features, trajectory)
    likelihood = relative_entropy(statistics, well.surrogate)
    mode = maximise(well.posterior, likelihood, np.array([1.0, 0.0]), least_effective_frames=1.0)
    draws = np.random.default_rng(0).multivariate_normal(mode.z, mode.covariance, size=200)
    found = leave_block_out(
        statistics, well.posterior, likelihood, mode=mode, draws=draws, edges=np.arange(0, 101, 25), buffer=10
    )
    for block, left_out in ((1, np.r_[15:50]), (2, np.r_[50:85])):
        outside = np.setdiff1d(np.arange(100), left_out)
        alone = relative_entropy(statistics_of(well.features[outside]), well.surrogate)
        again = maximise(well.posterior, alone, mode.z, least_effective_frames=1.0)
        assert found.modes[block] == pytest.approx(again.z, abs=1e-3)
    with pytest.raises(InputError, match="no frame is left"):
        leave_block_out(
            statistics_of(well.features), well.posterior, likelihood, mode=mode, draws=draws,
            edges=np.arange(0, 101, 25), buffer=100,
        )  # fmt: skip


# Blocks ---------------------------------------------------------------------------------------------------------------


def test_blocks_are_long_enough_and_stay_in_their_trajectory():
    edges = block_edges([300, 500], inefficiency=4.7, n_blocks=20)
    assert np.diff(edges).min() >= 4 * 4.7 and 300 in edges and edges[-1] == 800
    assert len(block_edges([10_000], inefficiency=1.0, n_blocks=20)) == 21
    with pytest.raises(InputError, match="longer trajectory"):
        block_edges([100], inefficiency=10.0)
    with pytest.raises(InputError, match="shorter than one block"):
        block_edges([1000, 30], inefficiency=10.0)


def test_the_slowest_combination_decides():
    slow, fast = ar1(1, 4000, seed=7)[0], np.random.default_rng(0).normal(size=4000)
    g = score_inefficiency(statistics_of(np.stack([fast + 3 * slow, fast - 3 * slow], axis=1)))
    assert g == pytest.approx((1 + MEMORY**2) / (1 - MEMORY**2), rel=0.25)
    with pytest.raises(InputError, match="no feature varies"):
        score_inefficiency(statistics_of(np.ones((50, 2))))
