"""Checks that new simulations at draws come with: right ones pass, each classic artefact fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from bayescg.analysis import Check
from bayescg.data import get_unit_system
from bayescg.physics import HarmonicWell, _metropolis
from bayescg.physics._draw_equilibration import Equilibrium
from bayescg.physics._draw_simulation import DrawBatch, DrawSamples
from bayescg.physics._langevin import EngineState
from bayescg.study import simulate_draws
from bayescg.study._prediction_target import PredictionTarget, SimulationBudget
from bayescg.study._simulation_checks import SimulatedState, _box_of_diffusion, sampling_checks
from bayescg.study._simulation_starts import simulators

UNITS, TEMPERATURE, SITES = get_unit_system("lj"), 1.5, 8
TARGET = PredictionTarget(TEMPERATURE, SITES, np.full(2, np.inf), None, 0.0)
WELLS = [HarmonicWell(1.0), HarmonicWell(1.1)]  # ω = 1 and 1.05, mass 1
NAMES = ["time step", "acceptance", "kinetic energy", "equilibration", "two starts", "independent frames"]


def checks_of(
    time_step=0.3, *, n_samples=60, n_replicas=4, stride=5, sites=SITES, **more
) -> dict[str, Check]:
    """Of sites in wells, by name."""
    target = TARGET._replace(n_sites=sites)
    budget = SimulationBudget(n_replicas, n_samples, 0, time_step, 0.7, stride, 10)
    known = np.random.default_rng(0).normal(size=(20, sites, 2)) * np.sqrt(TEMPERATURE)
    given = {"observables": ["energy"]} | more
    done = simulate_draws(
        WELLS, target=target, budget=budget, masses=np.ones(sites), units=UNITS, configurations=known,
        start_box=TARGET.box, key=jax.random.key(3), **given,
    )  # fmt: skip
    return {check.name: check for check in done.checks}


def test_good_simulations_pass_every_check():
    checks = checks_of(observables=["energy", "velocity-autocorrelation"])
    assert list(checks) == [*NAMES, "time step of dynamics", "energy conservation"]
    assert {check.verdict for check in checks.values()} == {"passed"}, checks
    stiffest = 2.0 * np.pi / np.sqrt(1.1)
    assert checks["time step"].value == pytest.approx(stiffest / 0.3, rel=1e-3)
    assert checks["time step of dynamics"].value == pytest.approx(stiffest / 0.15, rel=1e-3)  # half of it
    assert checks["time step"].threshold == 4.0 and checks["time step of dynamics"].threshold == 10.0
    assert "Of each draw, 240 frames" in checks["independent frames"].sentence


def test_a_long_step_fails_by_the_limit_of_each_dynamics():
    """1.6 in a well of frequency 1.05: 3.7 steps per period, and 7.5 for the dynamics that takes half of it."""
    checks = checks_of(
        1.6,
        stride=2,
        sites=1,
        observables=["velocity-autocorrelation"],
        dynamics="langevin",
        n_samples=300,
        n_replicas=8,
    )
    assert checks["time step"].verdict == checks["time step of dynamics"].verdict == "failed"
    assert "Metropolis' test" in checks["time step"].sentence
    assert "use a time step of at most 1.5 tau" in checks["time step"].sentence
    assert "colder in its velocities" in checks["time step of dynamics"].sentence
    warm = checks["kinetic energy of dynamics"]
    cold = -0.25 * 1.05 * 0.8**2  # (ωΔt)²/4, the average of the two wells
    assert warm.verdict == "failed" and warm.value == pytest.approx(cold, abs=0.05)
    assert "too long" in warm.sentence
    assert checks["kinetic energy"].verdict == "passed"  # of the sampling, which is right at any step


def test_velocities_that_are_only_rescaled_fail(monkeypatch):
    """A thermostat that sets the kinetic energy to its mean: the right temperature, the wrong distribution."""
    fresh = _metropolis._refresh

    def rescaled(keys, velocities, keep, thermal):
        keys, v, uniform = fresh(keys, velocities, keep, thermal)
        mean = jnp.sqrt(jnp.mean(v**2, axis=(1, 2), keepdims=True))
        return keys, v * jnp.sqrt(TEMPERATURE) / mean, uniform

    monkeypatch.setattr(_metropolis, "_refresh", rescaled)
    check = checks_of(n_samples=200, stride=1)["kinetic energy"]
    assert check.verdict == "failed" and "right mean, wrong spread" in check.sentence


def test_few_frames_fail():
    check = checks_of(0.05, n_samples=20, n_replicas=2, stride=3)["independent frames"]
    assert check.verdict == "failed" and "simulate about" in check.sentence


# --- artefacts that sampling refuses or mends where it can, seen in made-up samples ---


@pytest.fixture(scope="module")
def batch() -> DrawBatch:
    make = simulators(WELLS[0], TARGET, SimulationBudget(4, 60, 0, 0.3, 0.7, 5, 10), 1.0, UNITS)
    return DrawBatch(make(True, 1.0), WELLS, n_replicas=4)


def sampled(batch, *, drift=0.0, apart=0.0, acceptance=0.9, draws=()) -> dict[str, Check]:
    """Checks of normal energies with a decay from the start, or a distance between the two kinds of start."""
    rng = np.random.default_rng(1)
    feature = rng.normal(size=(2, 4, 60, 1)) + drift * np.exp(-np.arange(60) / 15.0)[:, None]
    feature += apart * np.array([1.0, 0.0, 1.0, 0.0])[:, None, None]
    nothing = np.zeros((2, 4, 60, 0))
    samples = DrawSamples(
        (feature, nothing, nothing), nothing, np.full((2, 4), acceptance), np.zeros((2, 4), int),
        rng.gamma(SITES, TEMPERATURE, size=(2, 4, 60)),
    )  # fmt: skip
    where = np.zeros((8, SITES, 2))
    state = EngineState(
        jnp.asarray(where), jnp.asarray(where), jax.random.split(jax.random.key(0), 8), np.zeros(8)
    )
    found = Equilibrium(samples, state, np.ones((2, 4), bool), 0.0, 0.0, draws, 0, False)
    return {check.name: check for check in sampling_checks(SimulatedState(batch, found, TARGET, UNITS))}


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"drift": 4.0}, "equilibration", "averages remember the start"),
        ({"apart": 2.0}, "two starts", "at least one has not left its start"),
        ({"draws": (1,)}, "two starts", "disagree in the energy at draws 1"),
        ({"acceptance": 0.2}, "acceptance", "accepts only 20 %"),
    ],
)
def test_an_artefact_fails_its_own_check_alone(batch, change, name, words):
    assert {check.verdict for check in sampled(batch).values()} == {"passed"}
    checks = sampled(batch, **change)
    assert checks[name].verdict == "failed" and words in checks[name].sentence
    others = {n for n, check in checks.items() if check.verdict == "failed"} - {name}
    assert others <= ({"independent frames"} if "drift" in change or "apart" in change else set())


def test_diffusion_in_a_box_is_held_to_that_in_an_infinite_one():
    def of(**numbers):
        made = {
            name.replace("_", "-"): xr.DataArray([[x, x]], dims=("draw", "simulation"))
            for name, x in numbers.items()
        }
        return _box_of_diffusion(made)

    assert of(diffusion=0.97, diffusion_infinite=1.0).verdict == "passed"
    small = of(diffusion=0.8, diffusion_infinite=1.0)
    assert small.verdict == "failed" and small.value == pytest.approx(0.2) and "20.0 %" in small.sentence
    assert "ask for `viscosity`" in of(diffusion=0.97).sentence
