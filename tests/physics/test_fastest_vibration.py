"""The fastest vibration from an engine's forces: against eigenvalues of Hessians, and what it says about acceptance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.analysis import fastest_frequency
from bayescg.data import Topology, get_unit_system
from bayescg.physics import LennardJones, SimulationSettings, Simulator, SplinePair
from bayescg.physics._draw_simulation import DrawBatch
from bayescg.physics._draw_starts import lattice, relaxed
from bayescg.physics._fastest_vibration import fastest_frequencies
from bayescg.physics._generic_engine import GenericEngine
from bayescg.physics._langevin import LangevinSettings

N, EDGE = 27, 3.6
MASSES = np.tile([1.0, 0.25, 4.0], 9)
LJ = LennardJones(1.0, 1.0, cutoff=1.8, convention="smooth", onset=1.4)
SPLINE = SplinePair.uniform(
    inner=0.8, cutoff=1.8, spacing=0.125, core_distance=0.85, core_strength=30.0
).with_parameters({"pair_coefficients": jnp.asarray([8.0, 2.0, -0.5, -1.0, -0.6, -0.3, -0.1, -0.03])})


def simulator(potential, *, time_step=0.005, masses=MASSES, edge=EDGE, stride=20) -> Simulator:
    return Simulator(
        potential,
        topology=Topology(("A",) * len(masses), masses),
        box=np.full(3, edge),
        units=get_unit_system("lj"),
        temperature=1.0,
        settings=SimulationSettings(time_step, 1.0, stride, 4, 0, metropolis=True),
    )


def jittered(n: int) -> np.ndarray:
    sites = np.stack(np.meshgrid(*[np.arange(3.0)] * 3, indexing="ij"), -1).reshape(-1, 3) * EDGE / 3
    return sites + 0.08 * np.random.default_rng(0).normal(size=(n, N, 3))


@pytest.mark.parametrize("potential", [LJ, SPLINE], ids=["formula", "table"])
def test_every_replica_has_the_largest_eigenvalue_of_its_own_hessian(potential):
    """Of the Hessian in double precision by automatic differentiation, for steps that matter."""
    x, box = jittered(2), np.full(3, EDGE)
    exact = [fastest_frequency(potential, one, box, inverse_mass=1.0 / MASSES) for one in x]
    assert abs(exact[0] / exact[1] - 1.0) > 0.1  # they could be mixed up
    for steps, error in ((30.0, 0.03), (10.0, 0.03), (4.0, 0.1)):
        made = simulator(potential, time_step=2.0 * np.pi / max(exact) / steps)
        found = fastest_frequencies(made.engine, x, made._parameters([potential], each=2))
        np.testing.assert_allclose(found, exact, rtol=error)


def test_without_curvature_there_is_none_and_what_is_not_finite_is_nan():
    def energy(k, x, box):
        return 0.5 * k * jnp.sum(x * x)

    settings = LangevinSettings(0.1, 1.0, 1.0, np.array([1.0, 0.25]))
    engine = GenericEngine(2, np.full(2, np.inf), settings, energy)
    x = np.ones((4, 2, 2))
    x[3] = np.nan
    found = fastest_frequencies(engine, x, jnp.array([9.0, -1.0, 0.0, 1.0]))
    np.testing.assert_allclose(found, [3.0, 0.0, 0.0, np.nan], atol=1e-3)


def test_below_four_steps_per_period_hardly_any_trajectory_of_a_fluid_is_accepted():
    """What the limit of `time_step_verdict` rests on."""
    masses, edge = np.ones(64), (64 / 0.8) ** (1.0 / 3.0)
    lj = LennardJones(1.0, 1.0, cutoff=0.5 * edge)

    def batch(time_step, stride):
        made = simulator(lj, time_step=time_step, masses=masses, edge=edge, stride=stride)
        return DrawBatch(made, [lj], n_replicas=4)

    fine = batch(0.005, 20)
    cold = np.stack([lattice(64, np.full(3, edge), seed=k) for k in range(4)])
    state = fine.start(jax.random.key(0), relaxed(fine.simulator.engine, cold, fine.parameters))
    state, _ = fine.sample(state, n_samples=40)
    frequency = np.median(
        fastest_frequencies(fine.simulator.engine, np.asarray(state.positions), fine.parameters)
    )
    accepted = []
    for steps in (8.0, 3.2):
        time_step = 2.0 * np.pi / frequency / steps
        stride = max(2, round(0.12 / time_step))
        accepted.append(batch(time_step, stride).sample(state, n_samples=20)[1].acceptance.mean())
    assert accepted[0] > 0.7 and accepted[1] < 0.2, accepted
