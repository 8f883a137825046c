"""A state point as a candidate of optimal design: what it promises against refits with frames of that state."""

from functools import cache

import numpy as np
import numpyro.distributions as dist
import pytest

from bayescg.analysis import optimal_design, state_information
from bayescg.errors import InputError
from bayescg.inference import Mode, Posterior, independent_prior, maximise, relative_entropy
from bayescg.physics import DoubleWell, Reference, ReferenceBank
from tests.analysis.one_dimension import Line

LINE = Line(lambda x: np.stack([-(x**2) / 2, x**4 / 4], axis=1), -4.0, 4.0, n=800)
TRUTH = np.array([2.8, 2.0])
START = np.array([TRUTH[0], np.log(TRUTH[1])])
HOT, COLD, COLDEST = 0.4, 4.0, 25.0
FIRST, MORE = 1500, 3000
POSTERIOR = Posterior(
    independent_prior(
        DoubleWell(1.0, 1.0), {"well_t1": dist.Normal(1.0, 2.0), "well_t2": dist.LogNormal(0.0, 1.0)}
    )
)


def frames(beta: float, n: int) -> np.ndarray:
    """Positions at even probabilities: data without the luck of a draw."""
    return LINE.draw(beta * TRUTH, (np.arange(n) + 0.5) / n)


@cache
def first_fit() -> Mode:
    likelihood = relative_entropy(LINE.statistics(frames(1.0, FIRST)), LINE.surrogate())
    return maximise(POSTERIOR, likelihood, START, least_effective_frames=1.0)


@cache
def refit(beta: float) -> np.ndarray:
    """Covariance of (t₁, ln t₂) given the frames of both states, summed over a grid."""
    side = np.linspace(-5.0, 5.0, 101)
    root = np.linalg.cholesky(first_fit().covariance)  # along it, so that a thin ridge is resolved
    z = first_fit().z + np.stack([a.ravel() for a in np.meshgrid(side, side)], axis=1) @ root.T
    eta = np.stack([z[:, 0], np.exp(z[:, 1])], axis=1)
    log_p = -((z[:, 0] - 1.0) ** 2) / 8.0 - z[:, 1] ** 2 / 2.0
    for b, n in ((1.0, FIRST), (beta, MORE)):
        energy = b * eta @ LINE.features.T
        least = energy.min(axis=1)
        log_z = np.log(np.exp(least[:, None] - energy).mean(axis=1)) - least
        log_p -= n * (b * eta @ LINE.of(frames(b, n)).mean(axis=0) + log_z)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    centred = z - p @ z
    return (centred * p[:, None]).T @ centred


@pytest.mark.parametrize("beta", [HOT, COLD])
def test_the_promised_width_is_that_of_a_refit(beta):
    found = state_information(POSTERIOR, first_fit().z, LINE.surrogate(), n_frames=MORE, beta=beta)
    before = np.sqrt(np.diag(first_fit().covariance))
    promised = np.sqrt(np.diag(np.linalg.inv(np.linalg.inv(first_fit().covariance) + found.information)))
    after = np.sqrt(np.diag(refit(beta)))
    assert np.all(after < 0.85 * before)  # there is something to promise
    np.testing.assert_allclose(promised, after, rtol=0.03)


def test_the_state_that_is_chosen_is_the_one_whose_refit_is_narrowest():
    """t₁ asks for a state that crosses the barrier now and then, the wells' place √(t₁/t₂) for the coldest."""
    precision = np.linalg.inv(first_fit().covariance)
    states = (HOT, COLD, COLDEST)
    candidates = np.stack(
        [
            state_information(POSTERIOR, first_fit().z, LINE.surrogate(), n_frames=MORE, beta=b).information
            for b in states
        ]
    )
    names, chosen = ("hot", "cold", "coldest"), []
    for quantity in (np.array([1.0, 0.0]), np.array([0.5 / first_fit().z[0], -0.5])):  # of t₁, of ln √(t₁/t₂)
        plan = optimal_design(precision, candidates, names=names, quantity=quantity)
        widths = [float(np.sqrt(quantity @ refit(b) @ quantity)) for b in states]
        assert plan.names == (names[int(np.argmin(widths))],)
        assert plan.spread[-1] == pytest.approx(min(widths), rel=0.03)
        chosen += plan.names
    assert chosen == ["cold", "coldest"]


def bank(beta: float, n: int) -> ReferenceBank:
    """Simulated references of the truth at a temperature: independent frames in 16 replicas."""
    rng = np.random.default_rng(5)
    features = LINE.of(LINE.draw(beta * TRUTH, rng.uniform(size=16 * n))).reshape(16, n, 2)
    none = features[..., :0]
    return ReferenceBank(beta, (Reference(TRUTH, features, none, none, features[:0]),))


def test_references_of_the_state_and_reweighted_ones_tell_the_same():
    z = START
    beta = 0.7
    own = state_information(POSTERIOR, z, bank(beta, 2000).surrogate(), n_frames=10)
    far = state_information(POSTERIOR, z, bank(1.0, 2000).surrogate(), n_frames=10, beta=beta)
    jacobian = np.diag([1.0, TRUTH[1]])
    p = LINE.probability(beta * TRUTH)
    centred = LINE.features - p @ LINE.features
    exact = 10 * beta**2 * jacobian @ (centred * p[:, None]).T @ centred @ jacobian
    np.testing.assert_allclose(own.information, exact, rtol=0.05)
    np.testing.assert_allclose(far.information, exact, rtol=0.1)
    assert own.effective_frames == pytest.approx(32000.0) and 1000.0 < far.effective_frames < 31000.0


def test_what_can_not_be_told_is_refused():
    z = first_fit().z
    with pytest.raises(InputError, match="effective reference frames, expected 50; simulate"):
        state_information(POSTERIOR, z, bank(1.0, 6).surrogate(), n_frames=10, beta=20.0)
    with pytest.raises(InputError, match="expected positive numbers"):
        state_information(POSTERIOR, z, LINE.surrogate(), n_frames=0)
    with pytest.raises(InputError, match="expected positive numbers"):
        state_information(POSTERIOR, z, LINE.surrogate(), n_frames=1, beta=-1.0)
