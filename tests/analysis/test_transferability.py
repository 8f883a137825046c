"""The harmonic well fitted at one state of a quartic one and used at others, against its closed form (T1)."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from bayescg.analysis import StateData, transferability
from bayescg.errors import InputError
from bayescg.inference import Posterior, independent_prior
from bayescg.output import figure_transferability
from bayescg.physics import HarmonicWell, Reference, ReferenceBank, SufficientStatistics

STATES = (-2.0, 0.0, 2.0, 4.0)
SECOND = np.array([0.1725647, 0.3379891, 0.8327455, 1.8353417])
PENALTY = np.array([0.0, 0.143190, 1.125872, 3.635728])
POSTERIOR = Posterior(independent_prior(HarmonicWell(1.0), {"well_k": dist.LogNormal(0.0, 30.0)}))
GRID = np.linspace(-4.0, 4.0, 80_001)


def truth(state: float) -> np.ndarray:
    density = np.exp(-(GRID**4 - state * GRID**2) + max(state, 0.0) ** 2 / 4)
    return density / density.sum()


def bank(*, seed: int | None = None, size: int = 1000) -> ReferenceBank:
    """The well at stiffnesses over the whole range, exactly stratified or drawn."""
    references = []
    for number, k in enumerate((0.4, 0.8, 1.6, 3.2, 6.4)):
        u = (np.arange(20 * size) + 0.5) / (20 * size)
        x = (
            stats.norm.ppf(u)
            if seed is None
            else np.random.default_rng([seed, number]).normal(size=20 * size)
        )
        phi = (x**2 / k / 2).reshape(size, 20).T[..., None]
        references.append(Reference(np.array([k]), phi, phi[..., :0], phi[..., :0], phi[:0]))
    return ReferenceBank(1.0, tuple(references))


def frames(state: float, n: int, *, seed: int | None = None) -> SufficientStatistics:
    """Frames of the truth; without a seed in strata, with its exact second moment."""
    p = truth(state)
    if seed is None:
        u = np.random.default_rng(0).permutation((np.arange(n) + 0.5) / n)
        x = np.interp(u, np.cumsum(p) - p / 2, GRID)
        x *= np.sqrt(p @ GRID**2 / np.mean(x**2))
    else:
        x = np.interp(np.random.default_rng(seed).uniform(size=n), np.cumsum(p) - p / 2, GRID)
    rows = x[:, None] ** 2 / 2
    return SufficientStatistics(rows, rows, rows[:, :0], np.zeros(n, int))


@pytest.fixture(scope="module")
def exact():
    pool = bank()
    states = [
        StateData(s, frames(s, 2000), pool, np.array([-np.log(e)]))
        for s, e in zip(STATES, SECOND, strict=True)
    ]
    return transferability(states, POSTERIOR)


def test_the_averages_of_the_truth():
    assert [truth(s) @ GRID**2 for s in STATES] == pytest.approx(SECOND, abs=1e-6)


def test_t1_penalty_of_the_first_state(exact):
    assert exact["coefficients"].values[:, 0] == pytest.approx(
        [5.794926, 2.958675, 1.200847, 0.544858], rel=1e-5
    )
    assert exact["penalty"].sel(fitted_at=-2.0).values == pytest.approx(PENALTY, abs=3e-6)


def test_every_pair_of_states_has_its_closed_form(exact):
    ratio = SECOND[None, :] / SECOND[:, None]
    assert exact["penalty"].values == pytest.approx((ratio - 1.0 - np.log(ratio)) / 2.0, abs=3e-6)
    assert np.all(np.diag(exact["penalty"].values) == 0.0)


def test_the_error_is_the_spread_between_data_sets():
    """Data and references drawn anew each time; N = 300 at each state, M = 5 × 2,000."""
    found, errors = [], []
    for seed in range(40):
        pool = bank(seed=seed, size=100)
        states = [
            StateData(s, frames(s, 300, seed=2 * seed + k), pool, np.array([-np.log(SECOND[k])]))
            for k, s in enumerate(STATES[:2])
        ]
        table = transferability(states, POSTERIOR)
        found.append(table["penalty"].values[0, 1])
        errors.append(table["penalty_se"].values[0, 1])
    spread = np.std(found, ddof=1)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(spread, rel=0.3)  # se of a spread of 40: 11 %
    assert abs(np.mean(found) - PENALTY[1]) < 4 * spread / np.sqrt(40)


def test_two_data_sets_of_one_state_differ_by_the_noise():
    pool = bank(size=100)
    found, noise = [], []
    for seed in range(40):
        states = [
            StateData(float(k), frames(0.0, 200, seed=1000 + 2 * seed + k), pool, np.array([1.0]))
            for k in range(2)
        ]
        table = transferability(states, POSTERIOR)
        found.append(table["penalty"].values[[0, 1], [1, 0]].mean())
        noise.append(table["noise"].values[0, 1])
    assert np.mean(found) == pytest.approx(np.mean(noise), abs=4 * np.std(found) / np.sqrt(40))
    # the quartic well fluctuates less than the harmonic one, so the noise is below that of a right model, 1/N
    # (the estimate of J has a floor, which lifts its mean a little)
    assert 0.55 / 200 < np.mean(noise) < 0.8 / 200


def test_the_ratio_of_fluctuations_used_above():
    p = truth(0.0)
    second = p @ GRID**2
    assert (p @ GRID**4 - second**2) / (2 * second**2) == pytest.approx(0.594, abs=1e-3)


def test_a_state_given_twice_is_refused():
    pool = bank(size=50)
    state = StateData(1.0, frames(0.0, 100), pool, np.array([1.0]))
    with pytest.raises(InputError, match="expected at least two that differ"):
        transferability([state, state], POSTERIOR)
    with pytest.raises(InputError, match="expected at least two that differ"):
        transferability([state], POSTERIOR)


def test_figure_says_which_fit_it_shows(exact):
    assert figure_transferability(exact).get_suptitle() == "Transferability of the model fitted at -2"
    assert figure_transferability(exact, fitted_at=2.0).get_suptitle().endswith("at 2")
    with pytest.raises(InputError, match="no fit at 1; expected one of -2, 0, 2, 4"):
        figure_transferability(exact, fitted_at=1.0)


def test_the_well_is_linear_in_its_stiffness():
    well = HarmonicWell(2.0)
    x, box = jnp.array([[0.3], [-0.5]]), jnp.array([jnp.inf])
    assert float(well.energy(x, box)) == pytest.approx(0.34)
    assert np.asarray(well.forces(x, box)) == pytest.approx(-2.0 * np.asarray(x))
