"""Change of an average with the potential on the double well (V2), where a grid gives every posterior (T7)."""

from functools import cache

import numpy as np
import pytest

from bayescg.analysis import observable_bias, relative_entropy_chain_rule
from bayescg.errors import InputError
from tests.analysis.one_dimension import Line

MAP = np.array([2.826133, 1.975583])
LINE = Line(lambda x: np.stack([-(x**2) / 2, x**4 / 4], axis=1), -4.0, 4.0, n=1600)
INSIDE = (np.abs(LINE.x) < 0.5).astype(float)


@cache
def posterior(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grid, its probabilities and the maximum for N frames with ⟨x²⟩ = 1.2, ⟨x⁴⟩ = 2.2, priors N(1, 2)."""
    wide = 5.5 / np.sqrt(n / 100.0)
    t1 = np.linspace(max(MAP[0] - wide * 0.62, -4.0), MAP[0] + wide * 0.62, 60)
    t2 = np.linspace(max(MAP[1] - wide * 0.4, 0.02), MAP[1] + wide * 0.4, 60)
    grid = np.stack([a.ravel() for a in np.meshgrid(t1, t2, indexing="ij")], axis=1)
    energy = grid @ LINE.features.T
    least = energy.min(axis=1)
    log_z = np.log(np.exp(-(energy - least[:, None])).mean(axis=1)) - least
    log_p = -n * (grid @ np.array([-0.6, 0.55]) + log_z) - np.sum((grid - 1.0) ** 2, axis=1) / 8.0
    p = np.exp(log_p - log_p.max())
    return grid, p / p.sum(), grid[np.argmax(log_p)]


def test_t7_exact_and_first_order():
    found = observable_bias(INSIDE, LINE.surrogate(), at=MAP, coefficients=MAP + np.array([[0.3, 0.2]]))
    assert found.at_map == pytest.approx(0.173984, abs=2e-6)
    assert found.exact[0] == pytest.approx(-0.0095206, abs=3e-7)
    assert found.first_order[0] == pytest.approx(-0.0096089, abs=3e-7)


def test_v2_probability_of_the_middle():
    grid, p, best = posterior(100)
    found = observable_bias(INSIDE, LINE.surrogate(), at=best, coefficients=grid)
    mean = found.at_map + p @ found.exact
    assert mean == pytest.approx(0.173568, abs=1e-4)
    assert np.sqrt(p @ (found.at_map + found.exact - mean) ** 2) == pytest.approx(0.027308, rel=0.005)


@pytest.mark.parametrize("n", [100, 400])
def test_over_the_posterior_first_order_follows_the_exact_change(n):
    grid, p, best = posterior(n)
    draws = grid[np.random.default_rng(0).choice(len(grid), size=2000, p=p)]
    found = observable_bias(INSIDE, LINE.surrogate(), at=best, coefficients=draws)
    assert 0.98 <= found.correlation() < 1.0 - 1e-6  # and not the same thing
    # the delta method with the raw posterior's covariance against the spread that sampling finds
    centred = grid - p @ grid
    covariance = (centred * p[:, None]).T @ centred
    assert found.delta_method_sd(covariance) == pytest.approx(found.exact.std(), rel=0.05)
    # an inflated covariance gives bars that are wider by its root
    assert found.delta_method_sd(4.0 * covariance) == pytest.approx(2.0 * found.delta_method_sd(covariance))


@pytest.mark.parametrize("n", [100, 400])
def test_the_posterior_mean_is_right_to_second_order(n):
    grid, p, best = posterior(n)
    found = observable_bias(INSIDE, LINE.surrogate(), at=best, coefficients=grid)
    centred = grid - p @ grid
    covariance = (centred * p[:, None]).T @ centred
    exact = float(p @ found.exact)
    second = found.mean_shift(p @ grid - best, covariance)
    first = found.mean_shift(p @ grid - best, np.zeros((2, 2)))
    assert abs(second - exact) < 0.25 * abs(exact) or abs(second - exact) < abs(first - exact)
    assert abs(second - exact) < 0.006 * float(np.sqrt(p @ (found.exact - exact) ** 2))


def test_the_third_cumulant_is_the_second_derivative():
    step = np.array([[0.05, 0.0], [-0.05, 0.0], [0.0, 0.05], [0.0, -0.05]])
    found = observable_bias(INSIDE, LINE.surrogate(), at=MAP, coefficients=MAP + step)
    for k in range(2):
        up, down = found.exact[2 * k], found.exact[2 * k + 1]
        assert (up + down) / 0.05**2 == pytest.approx(found.third_cumulant[k, k], rel=0.02)
        assert (up - down) / 0.1 == pytest.approx(found.sensitivity[k], rel=0.01)


def test_an_observable_that_does_not_go_with_the_energy_does_not_move():
    found = observable_bias(
        np.sign(LINE.x), LINE.surrogate(), at=MAP, coefficients=MAP + np.array([[0.3, 0.2]])
    )
    assert abs(found.exact[0]) < 1e-12
    assert abs(found.first_order[0]) < 1e-12


def test_another_number_of_values_is_refused():
    with pytest.raises(InputError, match="reference frames; give one number per pooled frame"):
        observable_bias(INSIDE[:-1], LINE.surrogate(), at=MAP, coefficients=MAP[None])


# The chain rule ----------------------------------------------------------------------------------------------------


def test_t8_chain_rule():
    p, q = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.25, 0.25, 0.2, 0.3])
    parts = relative_entropy_chain_rule(p, q, np.array([1, 1, 2, 2]))
    assert parts.micro == pytest.approx(0.100454578, abs=1e-9)
    assert parts.coarse == pytest.approx(0.082282879, abs=1e-9)
    assert parts.reconstruction == pytest.approx(0.018171699, abs=1e-9)


def test_chain_rule_adds_up_for_any_cells_and_with_empty_ones():
    rng = np.random.default_rng(3)
    p, q = rng.dirichlet(np.ones(30)), rng.dirichlet(np.ones(30))
    cells = rng.integers(0, 7, size=30)
    p[cells == 3] = 0.0  # a cell that the truth never visits
    parts = relative_entropy_chain_rule(p / p.sum(), q, cells)
    assert parts.micro == pytest.approx(parts.coarse + parts.reconstruction, abs=1e-12)
    assert min(parts) > 0.0
    whole = relative_entropy_chain_rule(p / p.sum(), q, np.zeros(30, int))
    assert whole.coarse == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("p", "message"), [([0.5, 0.6], "expected probabilities"), ([1.0], "one vector length")]
)
def test_chain_rule_refuses_what_are_no_probabilities(p, message):
    with pytest.raises(InputError, match=message):
        relative_entropy_chain_rule(np.array(p), np.array([0.5, 0.5]), np.array([0, 1]))
