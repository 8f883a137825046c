"""Rates over a barrier: exact operators, Kramers, transition-state theory, reactive flux, counting; U = ΔU (x² − 1)²."""

import numpy as np
import pytest
from scipy.integrate import quad

from bayescg.errors import ConvergenceError, InputError
from bayescg.physics import (
    crossing_rates,
    kramers_rate,
    langevin_rates,
    overdamped_rates,
    transition_state_rates,
    transmission_coefficient,
)

GRID = np.linspace(-1.9, 1.9, 381)


def double_well(x: np.ndarray, barrier: float = 5.0) -> np.ndarray:
    return barrier * (x**2 - 1.0) ** 2


def tilted(x: np.ndarray) -> np.ndarray:
    return double_well(x) + 0.7 * x


def kramers(barrier: float, friction: float) -> float:
    return kramers_rate(
        barrier=barrier,
        well_curvature=8.0 * barrier,
        barrier_curvature=4.0 * barrier,
        friction=friction,
        mass=1.0,
        thermal_energy=1.0,
    )


def test_overdamped_rate_converges_with_the_square_of_the_spacing():
    rates = []
    for n in (96, 191, 381, 3041):
        x = np.linspace(-1.9, 1.9, n)
        rates.append(
            overdamped_rates(double_well(x), x, dividing=0.0, diffusion=1.0, thermal_energy=1.0).relaxation
        )
    errors = np.abs(np.array(rates[:3]) / rates[3] - 1.0)
    np.testing.assert_allclose(errors[:-1] / errors[1:], 4.0, atol=0.4)
    assert errors[-1] < 2e-3


def test_overdamped_rate_tends_to_kramers_with_the_known_correction():
    """λ / λ_Kramers = 1 − (3/8) k_B T/ΔU + …: the quartic terms at the top and in the well, 3/16 each."""
    x = np.linspace(-1.6, 1.6, 3201)
    deviations = []
    for barrier in (8.0, 16.0):
        exact = overdamped_rates(double_well(x, barrier), x, dividing=0.0, diffusion=1.0, thermal_energy=1.0)
        formula = kramers(barrier, 1e5) * 1e5  # D = k_B T / (m γ) = 1
        assert formula == pytest.approx(np.sqrt(32.0) * barrier / (2.0 * np.pi) * np.exp(-barrier), rel=1e-6)
        deviations.append(barrier * (1.0 - exact.upward / formula))
    extrapolated = 2.0 * deviations[1] - deviations[0]
    assert extrapolated == pytest.approx(0.375, abs=0.03)
    assert abs(deviations[1] - 0.375) < abs(deviations[0] - 0.375)


@pytest.mark.parametrize("barrier", [0.0, 1.0, 6.0])
def test_overdamped_rate_is_the_eigenvalue_of_the_master_equation(barrier):
    x = np.linspace(-1.5, 1.5, 61)
    f = double_well(x, barrier) + 0.3 * x
    hop = np.exp(-0.5 * np.diff(f)) / (x[1] - x[0]) ** 2, np.exp(0.5 * np.diff(f)) / (x[1] - x[0]) ** 2
    generator = np.diag(hop[0], 1) + np.diag(hop[1], -1)
    generator -= np.diag(generator.sum(axis=1))
    exact = -np.sort(np.linalg.eigvals(generator).real)[-2]
    found = overdamped_rates(f, x, dividing=0.0, diffusion=1.0, thermal_energy=1.0)
    assert found.relaxation == pytest.approx(exact, rel=1e-8)


def test_no_barrier_is_too_high():
    x = np.linspace(-1.6, 1.6, 6401)
    found = overdamped_rates(double_well(x, 200.0), x, dividing=0.0, diffusion=1.0, thermal_energy=1.0)
    formula = np.sqrt(32.0) * 200.0 / (2.0 * np.pi) * np.exp(-200.0)
    assert found.upward / formula == pytest.approx(1.0 - 0.375 / 200.0, abs=5e-4)


def test_overdamped_rate_is_the_inverse_of_the_passage_time():
    """High barrier: 1/k is the mean time from one well to the other, a double integral."""
    x = np.linspace(-1.6, 1.6, 1601)

    def inner(y: float) -> float:
        return quad(lambda z: np.exp(-double_well(z, 12.0)), -1.6, y, points=[-1.0], epsabs=0.0)[0]

    time = quad(lambda y: np.exp(double_well(y, 12.0)) * inner(y), -1.0, 1.0, points=[0.0], epsabs=0.0)[0]
    found = overdamped_rates(double_well(x, 12.0), x, dividing=0.0, diffusion=0.3, thermal_energy=1.0)
    assert found.upward * time / 0.3 == pytest.approx(1.0, rel=2e-3)


def test_rates_up_and_down_keep_detailed_balance():
    below = quad(lambda x: np.exp(-tilted(x)), -3.0, 0.05)[0]
    above = quad(lambda x: np.exp(-tilted(x)), 0.05, 3.0)[0]
    profile = {"dividing": 0.05, "thermal_energy": 1.0}
    for rates in (
        overdamped_rates(tilted(GRID), GRID, diffusion=1.0 + 0.2 * GRID, **profile),
        langevin_rates(tilted(GRID[::4]), GRID[::4], friction=3.0, mass=1.0, **profile),
        transition_state_rates(tilted(GRID), GRID, mass=1.0, **profile),
    ):
        assert rates.upward / rates.downward == pytest.approx(above / below, rel=5e-3)
    exact = np.exp(-tilted(0.05)) / np.sqrt(2.0 * np.pi * 4.0) / below
    found = transition_state_rates(tilted(GRID), GRID, mass=4.0, **profile).upward
    assert found == pytest.approx(exact, rel=1e-3)


def test_transition_state_rates_where_the_dividing_point_lies_between_grid_points():
    below = quad(lambda x: np.exp(-tilted(x)), -3.0, -0.905)[0]
    above = quad(lambda x: np.exp(-tilted(x)), -0.905, 3.0)[0]
    flux = np.exp(-tilted(-0.905)) / np.sqrt(2.0 * np.pi)
    found = transition_state_rates(tilted(GRID), GRID, dividing=-0.905, mass=1.0, thermal_energy=1.0)
    np.testing.assert_allclose(found, (flux / below, flux / above), rtol=1e-3)


def test_langevin_rate_at_strong_friction_is_the_overdamped_one():
    x = np.linspace(-1.8, 1.8, 181)
    slow = overdamped_rates(double_well(x), x, dividing=0.0, diffusion=1.0 / 200.0, thermal_energy=1.0)
    found = langevin_rates(
        double_well(x), x, dividing=0.0, friction=200.0, mass=1.0, thermal_energy=1.0, n_hermite=8
    )
    assert found.relaxation == pytest.approx(slow.relaxation, rel=3e-3)


@pytest.mark.parametrize("friction", [2.0, 5.0, 20.0])
def test_langevin_rate_follows_kramers_and_stays_below_transition_state_theory(friction):
    x = np.linspace(-1.6, 1.6, 161)
    exact = langevin_rates(
        double_well(x, 10.0), x, dividing=0.0, friction=friction, mass=1.0, thermal_energy=1.0
    )
    bound = transition_state_rates(double_well(x, 10.0), x, dividing=0.0, mass=1.0, thermal_energy=1.0)
    assert exact.upward < bound.upward
    assert exact.upward / kramers(10.0, friction) == pytest.approx(1.0, abs=0.1)  # of order k_B T/ΔU


def test_langevin_rate_turns_over_at_weak_friction():
    """Slow gain of energy: the rate grows with friction before it falls, where Kramers' formula knows only a fall."""
    x = np.linspace(-1.7, 1.7, 137)
    rates = [
        langevin_rates(
            double_well(x), x, dividing=0.0, friction=friction, mass=1.0, thermal_energy=1.0, n_hermite=60
        ).upward
        for friction in (0.1, 0.2, 1.5, 10.0)
    ]
    assert 1.6 < rates[1] / rates[0] < 2.0  # nearly in proportion
    assert rates[0] < rates[1] < rates[2] > rates[3]
    assert rates[0] < 0.25 * kramers(5.0, 0.1)


def langevin(
    seed: int,
    x: np.ndarray,
    v: np.ndarray,
    *,
    friction: float,
    time_step: float,
    n_steps: int,
    stride: int = 1,
) -> np.ndarray:
    """BAOAB in the double well, all trajectories side by side [trajectory frame]; mass and k_B T are one."""
    rng = np.random.default_rng(seed)
    kept, kick = np.exp(-friction * time_step), np.sqrt(1.0 - np.exp(-2.0 * friction * time_step))
    frames = np.empty((n_steps // stride + 1, len(x)))
    frames[0] = x
    force = -20.0 * x * (x**2 - 1.0)
    for step in range(1, n_steps + 1):
        v = v + 0.5 * time_step * force
        x = x + 0.5 * time_step * v
        v = kept * v + kick * rng.normal(size=len(x))
        x = x + 0.5 * time_step * v
        force = -20.0 * x * (x**2 - 1.0)
        v = v + 0.5 * time_step * force
        if step % stride == 0:
            frames[step // stride] = x
    return frames.T


def exact_rates(friction: float):
    return langevin_rates(
        double_well(GRID[::2]),
        GRID[::2],
        dividing=0.0,
        friction=friction,
        mass=1.0,
        thermal_energy=1.0,
        n_hermite=48,
    )


@pytest.mark.parametrize(("friction", "plateau"), [(1.5, (2.5, 3.5)), (6.0, (1.2, 2.0)), (30.0, (2.0, 3.0))])
def test_reactive_flux_times_transition_state_theory_is_the_exact_rate(friction, plateau):
    """k(t) = k exp(−λ t) after the recrossings: the plateau's own decay, a per cent or two, is in what is compared."""
    rng = np.random.default_rng(11)
    v = np.abs(rng.normal(size=6000))
    v = np.concatenate([v, -v])
    x = langevin(12, np.zeros(12_000), v, friction=friction, time_step=0.02, n_steps=round(plateau[1] / 0.02))
    found = transmission_coefficient(x, velocity=v, dividing=0.0, time_step=0.02, plateau=plateau)
    bound = transition_state_rates(double_well(GRID), GRID, dividing=0.0, mass=1.0, thermal_energy=1.0)
    exact = exact_rates(friction)
    expected = exact.upward * np.exp(-exact.relaxation * np.mean(plateau))
    rate = found.coefficient.value * bound.upward
    assert abs(rate - expected) < 3.5 * found.coefficient.standard_error * bound.upward
    assert found.coefficient.standard_error < 0.02
    assert found.function[0] == pytest.approx(1.0, abs=1e-12)
    assert found.coefficient.value < 0.95


def test_transmission_error_is_calibrated():
    rng = np.random.default_rng(13)
    v = rng.normal(size=20_000)
    x = langevin(14, np.zeros(20_000), v, friction=6.0, time_step=0.02, n_steps=80, stride=10)
    parts = [slice(500 * k, 500 * (k + 1)) for k in range(40)]
    found = [
        transmission_coefficient(
            x[p], velocity=v[p], dividing=0.0, time_step=0.2, plateau=(1.2, 1.6)
        ).coefficient
        for p in parts
    ]
    spread = np.std([estimate.value for estimate in found], ddof=1)
    assert 0.7 < spread / np.mean([estimate.standard_error for estimate in found]) < 1.35


def test_counting_gives_the_exact_rate():
    rng = np.random.default_rng(15)
    weight = np.exp(-double_well(GRID))
    start = rng.choice(GRID, size=2000, p=weight / weight.sum())
    x = langevin(16, start, rng.normal(size=2000), friction=3.0, time_step=0.03, n_steps=2500, stride=5)
    found = crossing_rates(x, time_step=0.15, lower=-0.7, upper=0.7)
    exact = exact_rates(3.0)
    assert found.n_upward + found.n_downward > 500
    for rate, expected in [(found.upward, exact.upward), (found.downward, exact.downward)]:
        assert abs(rate.value - expected) < 3.5 * rate.standard_error
    careless = crossing_rates(x, time_step=0.15, lower=-1e-9, upper=1e-9)  # every recrossing counted
    assert careless.upward.value > 1.3 * exact.upward


def test_counts_of_a_known_jump_process_are_poisson():
    """Rates 0.02 and 0.05 per frame: 200 repeats, 90 % of the intervals hold."""
    rng = np.random.default_rng(17)
    state = (rng.random(200 * 4) < 0.02 / 0.07).astype(float)
    frames = [state]
    for _ in range(1500):
        flip = rng.random(800) < np.where(frames[-1] > 0.5, 0.05, 0.02)
        frames.append(np.where(flip, 1.0 - frames[-1], frames[-1]))
    x = np.stack(frames, axis=1).reshape(200, 4, -1)
    found = [crossing_rates(part, time_step=1.0, lower=0.4, upper=0.6) for part in x]
    for name, exact in [("upward", 0.02), ("downward", 0.05)]:
        estimates = [getattr(crossings, name) for crossings in found]
        held = sum(low < exact < high for low, high in (estimate.interval(0.9) for estimate in estimates))
        assert 165 <= held <= 193
        assert np.mean([estimate.value for estimate in estimates]) == pytest.approx(exact, rel=0.02)


def test_no_transition_seen_is_no_certainty():
    found = crossing_rates(np.array([[-1.0] * 50, [1.0] * 50]), time_step=2.0, lower=-0.5, upper=0.5)
    assert (found.upward.value, found.upward.standard_error) == (0.0, 1.0 / 98.0)


def test_what_gives_no_rate_is_refused():
    with pytest.raises(InputError, match="not uniform"):
        overdamped_rates(np.zeros(9), np.arange(9.0) ** 2, dividing=1.0, diffusion=1.0, thermal_energy=1.0)
    with pytest.raises(InputError, match="dividing point"):
        transition_state_rates(double_well(GRID), GRID, dividing=3.0, mass=1.0, thermal_energy=1.0)
    with pytest.raises(InputError, match="lost in rounding"):
        langevin_rates(
            double_well(GRID, 40.0),
            GRID,
            dividing=0.0,
            friction=9.0,
            mass=1.0,
            thermal_energy=1.0,
            n_hermite=8,
        )
    three = 4.0 * (1.0 - np.cos(2.0 * np.pi * GRID / 1.2)) - 12.0 * np.exp(-8.0 * GRID**2) + 1e-5 * GRID
    with pytest.raises(ConvergenceError, match="about as slowly"):  # out of either side into the deep middle
        overdamped_rates(three, GRID, dividing=0.5, diffusion=1.0, thermal_energy=1.0)
    with pytest.raises(ConvergenceError, match="moves no population"):
        langevin_rates(
            2.0 * GRID[::4] ** 2,
            GRID[::4],
            dividing=0.0,
            friction=0.5,
            mass=1.0,
            thermal_energy=1.0,
            n_hermite=20,
        )
    with pytest.raises(InputError, match="positive"):
        kramers(5.0, -1.0)
    v = np.array([1.0, -1.0])
    with pytest.raises(InputError, match="start at the dividing point"):
        transmission_coefficient(np.ones((2, 4)), velocity=v, dividing=0.0, time_step=1.0, plateau=(1.0, 2.0))
    with pytest.raises(InputError, match="one sign"):
        transmission_coefficient(
            np.zeros((2, 4)), velocity=np.ones(2), dividing=0.0, time_step=1.0, plateau=(1.0, 2.0)
        )
    with pytest.raises(InputError, match="no trajectory is ever above"):
        crossing_rates(-np.ones((2, 9)), time_step=1.0, lower=-0.5, upper=0.5)
