"""Trajectories from a dividing surface by the engine: rates of double wells, straight lines, periodic coordinates."""

import jax
import numpy as np
import pytest

from bayescg.data import Topology, get_unit_system
from bayescg.errors import InputError, SimulationError
from bayescg.physics import (
    AngleFourier,
    CartesianCoordinate,
    DoubleWell,
    Launched,
    LennardJones,
    PairDistance,
    SimulationSettings,
    Simulator,
    langevin_rates,
    launched_trajectories,
    transition_state_rates,
)

KEY = jax.random.key(4)


def simulator(potential, *, n_sites=1, dim=1, edge=np.inf, time_step=0.02, friction=1.5, newton=False):
    return Simulator(
        potential,
        topology=Topology(("A",) * n_sites, np.ones(n_sites)),
        box=np.full(dim, edge),
        units=get_unit_system("lj"),
        temperature=1.0,
        settings=SimulationSettings(time_step, friction, 1, 2, 0, metropolis=newton),
    )


@pytest.mark.parametrize(("friction", "plateau"), [(1.5, (2.4, 3.2)), (6.0, (2.4, 3.2))])
def test_transmission_times_transition_state_theory_is_the_exact_rate_at_every_draw(friction, plateau):
    """κ by our engine at two draws at once; the plateau's own slow decay is in what is compared."""
    heights, x = (4.2, 4.8), np.linspace(-3.4, 3.4, 201)
    wells = [DoubleWell(t, 1.0) for t in heights]
    launched = launched_trajectories(
        simulator(wells[0], friction=friction), wells, np.zeros((2, 6000, 1, 1)), CartesianCoordinate(0, 0),
        dividing=0.0, n_frames=20, stride=8, key=KEY,
    )  # fmt: skip
    assert launched.usable.all() and launched.time_step == pytest.approx(0.16)
    np.testing.assert_array_equal(launched.velocity[0], launched.velocity[1])  # common random numbers
    assert launched.velocity[0].std() == pytest.approx(1.0, abs=0.04)  # √(kT/m)
    for found, t in zip(launched.transmissions(plateau=plateau), heights, strict=True):
        f = -0.5 * t * x**2 + 0.25 * x**4
        of = {"dividing": 0.0, "mass": 1.0, "thermal_energy": 1.0}
        exact = langevin_rates(f, x, friction=friction, n_hermite=32, **of)
        bound = transition_state_rates(f, x, **of).upward
        kappa = found.coefficient
        expected = exact.upward * np.exp(-exact.relaxation * np.mean(plateau)) / bound
        assert abs(kappa.value - expected) < 3.5 * kappa.standard_error < 0.1
        assert kappa.value < 0.9 and abs(kappa.value - 1.0) > 5.0 * kappa.standard_error


@pytest.mark.parametrize("newton", [True, False])
def test_free_sites_fly_straight_and_their_distance_is_known(newton):
    """Two sites that feel nothing, in a box: |r + (v₁ − v₂) t| by the nearest image; dξ/dt = (v₁ − v₂)·r/|r|."""
    ghost = LennardJones(1e-36, 1.0, cutoff=2.0)
    starts = np.tile([[0.1, 0.2, 0.3], [4.9, 0.2, 0.3]], (1, 800, 1, 1))  # 1.2 apart, across the face
    launched = launched_trajectories(
        simulator(ghost, n_sites=2, dim=3, edge=6.0, friction=1e-6, newton=newton), [ghost], starts,
        PairDistance(0, 1), dividing=1.2, n_frames=4, stride=3, key=KEY,
    )  # fmt: skip
    assert launched.velocity.var() == pytest.approx(2.0, rel=0.2)  # kT (1/m + 1/m)
    x, v = launched.coordinate[0], launched.velocity[0]
    np.testing.assert_allclose(x[:, 0], 1.2, atol=1e-5)
    times = launched.time_step * np.arange(5)
    assert launched.time_step == pytest.approx(0.06)
    # |r + w t|² = r² + 2 r·w t + w² t²: exact in t², with r·w = 1.2 dξ/dt
    w2 = (x**2 - 1.44 - 2.4 * v[:, None] * times)[:, 1:] / times[1:] ** 2
    np.testing.assert_allclose(w2, np.broadcast_to(w2[:, -1:], w2.shape), atol=0.02 if newton else 0.2)
    assert w2[:, -1].mean() == pytest.approx(6.0, rel=0.15)  # 3 kT (1/m + 1/m)


def test_a_periodic_coordinate_is_told_next_to_the_dividing_point():
    """An angle whose barrier lies at the face of its box: it leaves to both sides, and jumps nowhere."""
    barrier = AngleFourier(-3.0, 0.0)
    launched = launched_trajectories(
        simulator(barrier, edge=2.0 * np.pi), [barrier], np.zeros((1, 300, 1, 1)),
        CartesianCoordinate(0, 0, 2.0 * np.pi), dividing=0.0, n_frames=40, stride=3, key=KEY,
    )  # fmt: skip
    x = launched.coordinate[0]
    assert np.abs(np.diff(x, axis=1)).max() < 0.5 and np.abs(x).max() > np.pi  # beyond the well's bottom
    assert 0.3 < np.mean(x[:, -1] > 0.0) < 0.7
    assert launched.transmissions(plateau=(1.8, 2.4))[0].coefficient.value > 0.5


def test_bad_starts_are_told_in_one_line():
    well = DoubleWell(4.0, 1.0)

    def launch(starts, n_frames=3, potentials=(well,)):
        return launched_trajectories(
            simulator(well), potentials, starts, CartesianCoordinate(0, 0),
            dividing=0.0, n_frames=n_frames, stride=2, key=KEY,
        )  # fmt: skip

    with pytest.raises(
        InputError, match=r"starts of shape \(5, 1, 1\); expected \[draw start site dim\] with 1 draws"
    ):
        launch(np.zeros((5, 1, 1)))
    with pytest.raises(InputError, match="with 2 draws, 1 sites and 1 dimensions"):
        launch(np.zeros((1, 5, 1, 1)), potentials=(well, well))
    with pytest.raises(
        InputError, match="start 3 of draw 0 is at 0.5; expected all on the surface 0: move them"
    ):
        launch(np.array([0.0, 0.0, 0.0, 0.5, 0.0])[None, :, None, None])
    with pytest.raises(InputError, match="0 frames, 2 steps apart, from 5 starts"):
        launch(np.zeros((1, 5, 1, 1)), n_frames=0)
    with pytest.raises(InputError, match="at finite positions"):
        launch(np.full((1, 5, 1, 1), np.nan))
    failed = Launched(np.zeros((1, 2, 3)), np.ones((1, 2)), 0.0, 0.1, np.zeros((1, 2), bool))
    with pytest.raises(
        SimulationError, match="more than half of those of draw 0 failed; shorten the time step"
    ):
        failed.transmissions(plateau=(0.1, 0.2))
