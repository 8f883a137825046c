"""Replicas that go on while the potential changes: exact averages, and the state they carry."""

import jax
import numpy as np
import pytest

from bayescg.data import Topology, get_unit_system
from bayescg.errors import InputError
from bayescg.physics import DoubleWell, LennardJones, persistent_replicas

LJ = get_unit_system("lj")


def dimer(**changes):
    settings = {
        "starts": np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 1.2]], [[0.0, 0.0, 0.0], [2.9, 2.9, 2.9]]]),
        "topology": Topology(("A", "A"), np.ones(2)), "box": np.full(3, 6.0), "units": LJ, "temperature": 1.2,
        "time_step": 0.02, "friction": 0.5, "stride": 25, "n_replicas": 500,
    }  # fmt: skip
    return persistent_replicas(LennardJones(1.0, 1.0, cutoff=3.0), **{**settings, **changes})


@jax.jit
def averages(replicas, key, before, after):
    """Mean φ of every replica after a change of the potential."""
    state = replicas.initial_state(key, before)
    state, _ = jax.lax.scan(lambda s, _: replicas.advance(s, before), state, None, length=20)
    state, _ = jax.lax.scan(lambda s, _: replicas.advance(s, after), state, None, length=100)
    state, features = jax.lax.scan(lambda s, _: replicas.advance(s, after), state, None, length=300)
    return features.mean(axis=0), state


def test_two_particles_sample_their_exact_averages():
    """V5: ⟨∂U/∂ε⟩ and ⟨∂U/∂σ⟩ at (1, 1), reached from another potential."""
    after = LennardJones(1.0, 1.0, cutoff=3.0)
    features, state = averages(dimer(), jax.random.key(0), LennardJones(2.0, 1.1, cutoff=3.0), after)
    # U = η·φ with η = 4ε(σ¹², −σ⁶), so ∂U/∂ε and ∂U/∂σ are linear in φ
    derivatives = np.asarray(features) @ np.array([[4.0, 48.0], [-4.0, -24.0]])
    error = derivatives.std(axis=0, ddof=1) / np.sqrt(len(derivatives))
    assert np.all(error < [0.003, 0.025])
    assert np.all(np.abs(derivatives.mean(axis=0) - [-0.0692878, -0.0894778]) < 4 * error)
    assert 0.8 < float(state.acceptance.mean()) <= 1.0


def test_a_long_time_step_costs_acceptance_but_no_bias():
    after = LennardJones(1.0, 1.0, cutoff=3.0)
    features, state = averages(dimer(time_step=0.06, stride=8), jax.random.key(1), after, after)
    derivative = np.asarray(features) @ [4.0, -4.0]
    error = derivative.std(ddof=1) / np.sqrt(len(derivative))
    assert abs(derivative.mean() + 0.0692878) < 4 * error
    assert float(state.acceptance.mean()) < 0.995


def test_an_external_potential_by_automatic_differentiation():
    """The double well against quadrature."""
    replicas = persistent_replicas(
        DoubleWell(1.0, 1.0), starts=np.array([[[1.0]]]), topology=Topology(("A",), np.ones(1)),
        box=np.array([np.inf]), units=LJ, temperature=1.0, time_step=0.3, friction=1.0, stride=3, n_replicas=400,
    )  # fmt: skip
    well = DoubleWell(2.0, 1.5)
    features, _ = averages(replicas, jax.random.key(2), DoubleWell(1.0, 1.0), well)
    x = np.linspace(-6, 6, 4001)
    p = np.exp(x**2 - 1.5 * x**4 / 4)
    exact = np.array([-(x**2) / 2, x**4 / 4]) @ p / p.sum()
    error = np.asarray(features).std(axis=0, ddof=1) / np.sqrt(len(features))
    assert np.all(np.abs(np.asarray(features).mean(axis=0) - exact) < 4 * error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"starts": np.zeros((1, 3, 3))}, r"starts have shape \(1, 3, 3\)"),
        ({"box": np.full(3, 5.0)}, "cutoff of 3 is beyond half"),
        ({"time_step": 0.0}, "time_step is 0"),
        ({"n_replicas": 0}, "n_replicas is 0"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(InputError, match=message):
        dimer(**changes)
