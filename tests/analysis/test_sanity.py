"""Checks around a simulation: right runs pass, each classic artefact fails, with a sentence that names the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import lfilter

from bayescg.analysis import (
    autocorrelation_check,
    box_check,
    charge_check,
    ensemble_check,
    equilibration_check,
    fastest_frequency,
    insertion_check,
    kinetic_energy_check,
    state_slope,
    system_size_check,
    time_step_check,
    time_step_verdict,
    two_starts_check,
)
from bayescg.errors import InputError
from bayescg.physics import Estimate, HarmonicWell, LennardJones, LinearPotential, widom
from bayescg.physics._generic_engine import GenericEngine
from bayescg.physics._langevin import LangevinSettings

OPEN = np.full(1, np.inf)


def correlated(rng, shape, memory):
    """Normal series with autocorrelation memory^t."""
    noise = rng.normal(size=shape)
    noise[:, 1:] *= np.sqrt(1 - memory**2)
    return lfilter([1.0], [1.0, -memory], noise, axis=1)


# --- before the run ---


@pytest.mark.parametrize(
    ("edge", "verdict", "word"),
    [(12.0, "passed", "nothing meets"), (9.0, "failed", "own image"), (5.0, "failed", "no potential")],
)
def test_box_against_cutoff_and_molecule(edge, verdict, word):
    found = box_check(np.array([20.0, edge, np.inf]), cutoff=3.0, radius_of_gyration=2.0)
    assert (found.verdict, found.value, found.threshold) == (verdict, edge, 10.0)
    assert word in found.sentence
    assert box_check(np.array([[8.0, 8.0, 8.0], [5.9, 8.0, 8.0]]), cutoff=3.0).verdict == "failed"


def test_a_box_of_exactly_two_cutoffs_is_enough_and_an_open_one_too():
    assert box_check(np.full(3, 6.0 * (1.0 - 1e-12)), cutoff=3.0).verdict == "passed"
    assert box_check(np.full(3, 5.999), cutoff=3.0).verdict == "failed"
    free = box_check(np.full(3, np.inf), cutoff=3.0)
    assert (free.verdict, free.value) == ("passed", None) and "open" in free.sentence


@pytest.mark.parametrize(
    ("steps", "plain", "tested"),
    [
        (10.1, "passed", "passed"),
        (9.9, "failed", "passed"),
        (4.1, "failed", "passed"),
        (3.9, "failed", "failed"),
    ],
)
def test_the_limit_of_the_time_step_is_that_of_the_sampler(steps, plain, tested):
    given = {"time_step": 2.0 * np.pi / 3.0 / steps, "setting": "simulation.time_step", "unit": "fs"}
    for metropolis, verdict, limit in ((False, plain, 10.0), (True, tested, 4.0)):
        found = time_step_verdict(3.0, metropolis=metropolis, **given)
        assert (found.verdict, found.threshold) == (verdict, limit) and found.value == pytest.approx(steps)
        remedy = f"set simulation.time_step to at most {2.0 * np.pi / 3.0 / limit:.3g} fs"
        assert (remedy in found.sentence) == (verdict == "failed")
    with pytest.raises(InputError, match="a finite frequency"):
        time_step_verdict(np.inf, time_step=1.0)


def test_net_charge():
    assert charge_check(np.array([0.4, 0.4, -0.8])).verdict == "passed"
    found = charge_check(np.array([1.0, 1.0, -1.0]))
    assert found.verdict == "failed" and "counter-ions" in found.sentence


def chain(positions, box):
    """Features of beads on springs to their neighbours, in a ring."""
    return jnp.sum((positions - jnp.roll(positions, 1, axis=0)) ** 2)[None] / 2


def test_the_fastest_period_of_a_ring_of_springs_is_the_dispersion_relation():
    """ω_max = 2 √(k/m) for an even ring; √(k/m) √2 √2 with two masses: k (1/m₁ + 1/m₂) 2."""
    ring = LinearPotential(jnp.array([3.0]), function=chain)
    x = np.random.default_rng(0).normal(size=(10, 1))
    assert fastest_frequency(ring, x, OPEN, inverse_mass=np.full(10, 1 / 2.0)) == pytest.approx(
        2 * np.sqrt(3.0 / 2.0), rel=1e-4
    )
    two = np.tile([1.0, 0.25], 5)
    assert fastest_frequency(ring, x, OPEN, inverse_mass=two) == pytest.approx(
        np.sqrt(2 * 3.0 * 1.25), rel=1e-4
    )


def test_time_step_against_the_fastest_period():
    argon = LennardJones(1.0, 1.0, cutoff=2.5)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3) * 1.1
    jitter = grid + 0.05 * np.random.default_rng(0).normal(size=grid.shape)
    args = (argon, jitter, np.full(3, 5.5))
    mass = np.ones(27)
    hessian = jax.hessian(lambda x: argon.energy(x.reshape(27, 3), jnp.full(3, 5.5)))(
        jnp.asarray(jitter.ravel())
    )
    expected = 2 * np.pi / np.sqrt(np.linalg.eigvalsh(np.asarray(hessian))[-1])
    good = time_step_check(*args, inverse_mass=mass, time_step=0.002)
    assert good.verdict == "passed" and good.value * 0.002 == pytest.approx(expected, rel=1e-3)
    slow = time_step_check(*args, inverse_mass=mass, time_step=expected / 5)
    assert slow.verdict == "failed" and "colder" in slow.sentence
    assert "unstable" in time_step_check(*args, inverse_mass=mass, time_step=expected / 3).sentence
    hill = time_step_check(
        HarmonicWell(-1.0), np.zeros((2, 2)), np.full(2, np.inf), inverse_mass=np.ones(2), time_step=1.0
    )
    assert hill.verdict == "not tested"
    with pytest.raises(InputError, match="not finite"):
        time_step_check(argon, np.zeros((3, 3)), np.full(3, 5.5), inverse_mass=np.ones(3), time_step=0.1)


# --- the thermostat ---


def spring(k, positions, box):
    return 0.5 * k * jnp.sum(positions**2)


@pytest.fixture(scope="module")
def springs():
    """Kinetic energies half a kick before the step and on it, potential energies, at two temperatures; ω Δt = 0.8."""
    n, step = 24, 0.8
    found = []
    for kT in (1.0, 1.5):
        settings = LangevinSettings(step, 1.0, kT, jnp.ones(n))
        engine = GenericEngine(n, OPEN, settings, spring, dtype=jnp.float64)
        state = engine.initial_state(jax.random.key(2), jnp.zeros((64, n, 1)))
        early, on_step, potential = [], [], []
        state, _ = engine.run(state, jnp.ones(64), n_samples=1, stride=30)
        for _ in range(25):
            state, x = engine.run(state, jnp.ones(64), n_samples=1, stride=20)
            x, v = np.asarray(x[:, 0]), np.asarray(state.velocities)
            early.append(0.5 * np.sum(v**2, axis=(1, 2)))
            on_step.append(0.5 * np.sum((v - 0.5 * step * x) ** 2, axis=(1, 2)))
            potential.append(0.5 * np.sum(x**2, axis=(1, 2)))
        found.append([np.stack(series, axis=1) for series in (early, on_step, potential)])
    return found


def test_kinetic_energies_of_the_engine(springs):
    early, on_step, _ = springs[1]
    assert kinetic_energy_check(early, kT=1.5, degrees_of_freedom=24).verdict == "passed"
    cold = kinetic_energy_check(on_step, kT=1.5, degrees_of_freedom=24)
    assert cold.verdict == "failed" and "shorten the step" in cold.sentence
    # what the time-step check says beforehand: (ω Δt)²/4 = 16 %
    assert on_step.mean() / 18.0 == pytest.approx(0.84, abs=0.02)
    assert kinetic_energy_check(early, kT=1.5, degrees_of_freedom=27).verdict == "failed"
    assert kinetic_energy_check(early[:2, :5], kT=1.5, degrees_of_freedom=24).verdict == "not tested"


def test_potential_energies_of_the_engine_at_two_temperatures(springs):
    """BAOAB's positions are exact for springs, whatever the time step."""
    found = ensemble_check(springs[0][2], springs[1][2], slope=-(1 / 1.5 - 1.0))
    assert found.verdict == "passed", found.sentence
    wrong = ensemble_check(springs[0][2], springs[1][2], slope=-(1 / 1.8 - 1.0))
    assert wrong.verdict == "failed"


def weakly_coupled(kT, seed):
    """Kinetic energies of quartic springs under velocity rescaling (weak coupling), by velocity Verlet [replica frame]."""
    rng = np.random.default_rng(seed)
    x, v = rng.normal(size=(16, 32)), np.sqrt(kT) * rng.normal(size=(16, 32))
    force = lambda x: -(x**3) - 0.3 * (2 * x - np.roll(x, 1, 1) - np.roll(x, -1, 1))  # noqa: E731
    kept, f, dt = [], force(x), 0.05
    for step in range(4000):
        v = v + 0.5 * dt * f
        x = x + dt * v
        f = force(x)
        v = v + 0.5 * dt * f
        kinetic = 0.5 * np.sum(v**2, axis=1, keepdims=True)
        v = v * np.sqrt(1 + 0.2 * (16 * kT / kinetic - 1))
        if step >= 1000 and step % 20 == 0:
            kept.append(0.5 * np.sum(v**2, axis=1))
    return np.stack(kept, axis=1)


def test_weak_coupling_has_the_mean_right_and_fails():
    low, high = weakly_coupled(1.0, 0), weakly_coupled(1.25, 1)
    assert low.mean() == pytest.approx(16.0, rel=0.02)
    found = kinetic_energy_check(low, kT=1.0, degrees_of_freedom=32)
    assert found.verdict == "failed" and "rescales velocities" in found.sentence
    pair = ensemble_check(low, high, slope=-(1 / 1.25 - 1.0), quantity="kinetic energy")
    assert pair.verdict == "failed" and "too narrow" in pair.sentence


def test_the_slope_between_states_has_an_honest_error():
    """z of the slope over repetitions with correlated frames: unit width. As if independent it would be wider."""
    rng, scores = np.random.default_rng(5), []
    for _ in range(150):
        a, b = (shift + correlated(rng, (4, 250), 0.7) for shift in (0.0, 1.2))
        found = state_slope(a, b)
        scores.append((found.value - 1.2) / found.standard_error)
    assert abs(np.mean(scores)) < 4 / np.sqrt(150) + 0.1
    assert 0.8 < np.std(scores) < 1.3


def test_right_runs_seldom_fail():
    """Of 200 right runs each, no check may fail more than a few."""
    rng, failed = np.random.default_rng(6), np.zeros(5)
    for _ in range(200):
        a, b = correlated(rng, (3, 200), 0.6), correlated(rng, (3, 200), 0.6)
        failed += [
            equilibration_check(a).verdict == "failed",
            two_starts_check(a[..., None], b[..., None], names=("x",)).verdict == "failed",
            ensemble_check(a, b + 1.5, slope=1.5).verdict == "failed",
            kinetic_energy_check(rng.gamma(30.0, size=(2, 100)), kT=1.0, degrees_of_freedom=60).verdict
            == "failed",
            autocorrelation_check(a).verdict == "failed",
        ]
    assert failed.max() <= 4, failed


def test_states_that_do_not_overlap_are_refused_and_short_runs_are_not_judged():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="do not overlap"):
        state_slope(rng.normal(size=(2, 50)), 100 + rng.normal(size=(2, 50)))
    with pytest.raises(InputError, match="both states are the same"):
        ensemble_check(rng.normal(size=(2, 50)), rng.normal(size=(2, 50)), slope=0.0)
    few = ensemble_check(rng.normal(size=(2, 20)), 0.5 + rng.normal(size=(2, 20)), slope=0.5)
    assert few.verdict == "not tested" and "simulate longer" in few.sentence


# --- after the run ---


def test_drift_is_seen_and_what_to_drop_is_said():
    rng = np.random.default_rng(1)
    steady = correlated(rng, (4, 500), 0.8)
    assert equilibration_check(steady).verdict == "passed"
    found = equilibration_check(steady + 4 * np.exp(-np.arange(500) / 30), quantity="volume")
    assert found.verdict == "failed" and "volume" in found.sentence and "drop the first" in found.sentence
    dropped = int(found.sentence.split("drop the first ")[1].split()[0])
    assert 50 <= dropped <= 250
    assert "simulate longer" in equilibration_check(steady + np.linspace(0, 8, 500)).sentence
    assert equilibration_check(np.zeros((1, 10))).verdict == "not tested"


def test_slow_series_hold_few_independent_frames():
    rng = np.random.default_rng(2)
    good = autocorrelation_check(correlated(rng, (16, 500), 0.5))
    assert good.verdict == "passed" and good.value == pytest.approx(8000 / 3, rel=0.2)
    assert "times as long" in autocorrelation_check(correlated(rng, (1, 200), 0.98)).sentence


def test_two_wells_that_were_never_crossed_disagree():
    """Each run by itself looks equilibrated: only the second start tells."""
    rng = np.random.default_rng(3)
    left, right = (x + 0.1 * correlated(rng, (2, 400), 0.5) for x in (-1.0, 1.0))
    assert equilibration_check(left).verdict == equilibration_check(right).verdict == "passed"
    assert autocorrelation_check(left).verdict == "passed"
    energies = (left**2 - 1) ** 2, (right**2 - 1) ** 2
    runs = [np.stack([x, u], axis=-1) for x, u in zip((left, right), energies, strict=True)]
    found = two_starts_check(*runs, names=("position", "energy"))
    assert found.verdict == "failed" and "the position" in found.sentence and "1 of 2" in found.sentence


def test_system_sizes():
    same = system_size_check(Estimate(1.0, 0.01, 20.0), Estimate(1.02, 0.01, 20.0), sizes=(64, 512))
    assert same.verdict == "passed"
    differ = system_size_check(Estimate(1.1, 0.004, 20.0), Estimate(1.0125, 0.004, 20.0), sizes=(64, 512))
    assert differ.verdict == "failed" and "an infinite one has 1 ±" in differ.sentence
    with pytest.raises(InputError, match="sizes"):
        system_size_check(Estimate(1.0, 0.1, 9.0), Estimate(1.0, 0.1, 9.0), sizes=(10, 10))


def test_insertions_that_rest_on_few_hits():
    u = np.random.default_rng(0).exponential(size=(20, 20, 20))
    assert insertion_check(widom(u, kT=1.0)).verdict == "passed"
    u[0, 0, 0] = -12.0
    found = insertion_check(widom(u, kT=1.0))
    assert (
        found.verdict == "failed" and "lucky" not in found.sentence and "insert more often" in found.sentence
    )
