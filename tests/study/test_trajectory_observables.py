"""Functions of a trajectory at draws: oscillators, free particles and a double well, whose answers are known exactly."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from bayescg.analysis import simulated_split
from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.physics import (
    DoubleWell,
    HarmonicWell,
    ReplicaTrajectory,
    langevin_rates,
    mean_squared_displacement,
    velocity_autocorrelation,
)
from bayescg.study import TrajectoryObservable, simulate_draws
from bayescg.study._prediction_target import PredictionTarget, SimulationBudget
from bayescg.study._simulated_trajectories import _values, on_trajectories

UNITS = get_unit_system("lj")
OPEN = np.full(1, np.inf)
GAMMA, T = 3.0, 1.5


def simulate(potentials, observables, target, *, n_replicas, friction=GAMMA, known, time_step, **more):
    return simulate_draws(
        potentials,
        observables=observables,
        target=target,
        budget=SimulationBudget(n_replicas, 20, 0, time_step, friction, 10, 10),
        masses=np.ones(target.n_sites),
        units=UNITS,
        configurations=known,
        start_box=np.asarray(target.box),
        key=jax.random.key(3),
        **more,
    )


def single(temperature):
    return PredictionTarget(temperature, 1, OPEN, None, 0.0)


# --- undamped oscillators: their frequency is known of every trajectory, whatever its start ---


def frequency(one: ReplicaTrajectory) -> float:
    """x(t + s) + x(t − s) = 2 cos(ω s) x(t) holds for a harmonic trajectory at every t."""
    x = one.positions[:, 0, 0]
    cosine = np.sum(x[1:-1] * (x[2:] + x[:-2])) / (2.0 * np.sum(x[1:-1] ** 2))
    return np.arccos(cosine) / one.time_step


def test_oscillators_have_their_frequency_and_its_parametric_spread_without_any_noise():
    stiffness = np.array([0.6, 1.0, 1.7])
    ringing = TrajectoryObservable(
        name="frequency", unit="1/tau", of_trajectory=frequency, n_frames=80, spacing=0.3, long_name="ω"
    )
    warmth = TrajectoryObservable(
        name="warmth", unit="1", n_frames=80, spacing=0.3, at=np.array([0.0, 1.0]), along="kind",
        of_trajectory=lambda one: [
            np.ptp(one.positions[:, 0, 0] ** 2 + one.velocities[:, 0, 0] ** 2 / frequency(one) ** 2)
            / np.max(one.positions**2),
            one.times[-1],
        ],
    )  # fmt: skip
    done = simulate(
        [HarmonicWell(k) for k in stiffness], [ringing, warmth, "energy"], single(1.0),
        n_replicas=4, known=np.array([[[0.5]], [[-0.9]]]), time_step=0.1,
    )  # fmt: skip
    found = done.values["frequency"]
    # velocity Verlet: sin(ω′ dt/2) = ω dt/2, in steps of half the sampling's
    exact = 2.0 / 0.05 * np.arcsin(np.sqrt(stiffness) * 0.025)
    np.testing.assert_allclose(found.values, np.broadcast_to(exact[:, None], (3, 4)), rtol=2e-4)
    assert found.attrs == {"units": "1/tau", "long_name": "ω"} and found.dims == ("draw", "simulation")
    split = simulated_split(found, common_seeds=done.common_seeds)
    assert float(split["parametric_sd"]) == pytest.approx(exact.std(ddof=1), rel=1e-3)
    assert float(split["noise_sd"]) < 1e-3 * float(split["parametric_sd"])
    assert done.values["warmth"].values[..., 1] == pytest.approx(79 * 0.3)
    assert (
        done.values["warmth"].values[..., 0].max() < 0.01
    )  # velocities belong to the times of the positions
    assert (
        done.values["warmth"].dims == ("draw", "simulation", "kind")
        and "frequency" not in done.frame_variance
    )
    said = " ".join(done.notes)
    assert "For frequency, warmth: Newton's dynamics" in said and "80 frames, 0.3 apart" in said
    names = [check.name for check in done.checks]
    assert "energy conservation of frequency, warmth" in names and not done.lost


# --- free particles with friction ---


def green_kubo(one: ReplicaTrajectory) -> float:
    c = velocity_autocorrelation(one.velocities, n_lags=16)
    return float(np.trapezoid(c, dx=one.time_step)) / 3.0


def test_free_particles_diffuse_as_einstein_and_green_and_kubo_say():
    free = [HarmonicWell(1e-30)] * 2
    lags = 0.1 * np.arange(11)
    integral = TrajectoryObservable(
        name="integral", unit="sigma^2/tau", of_trajectory=green_kubo, n_frames=200, spacing=0.1
    )
    displacement = TrajectoryObservable(
        name="displacement", unit="sigma^2", n_frames=200, spacing=0.1, at=lags, along="time", at_unit="tau",
        of_trajectory=lambda one: mean_squared_displacement(one.positions, n_lags=11),
    )  # fmt: skip
    done = simulate(
        free, [integral, displacement], PredictionTarget(T, 30, np.full(3, 5.0), None, 0.0),
        n_replicas=8, known=np.zeros((1, 999, 3)), time_step=0.04, dynamics="langevin",
    )  # fmt: skip
    d = done.values["integral"].values
    np.testing.assert_array_equal(d[0], d[1])  # common random numbers
    # trapezoids of exp(−γ t) up to 1.5: a sum of a geometric series
    keep = np.exp(-0.1 * GAMMA)
    exact = 0.1 * T * (0.5 * (1 + keep) / (1 - keep)) * (1.0 - keep**15)
    assert exact == pytest.approx(T / GAMMA, rel=0.02)  # kT/(m γ)
    error = d[0].std(ddof=1) / np.sqrt(8.0)
    assert abs(d[0].mean() - exact) < 5.4 * error < 0.3 * exact
    moved = done.values["displacement"]
    assert moved["time"].attrs["units"] == "tau" and moved["time"].values.tolist() == lags.tolist()
    law = 6.0 * T / GAMMA * (lags - (1.0 - np.exp(-GAMMA * lags)) / GAMMA)
    each = moved.values[0]
    scatter = each.std(axis=0, ddof=1) / np.sqrt(8.0)
    assert np.abs((each.mean(axis=0) - law)[1:] / scatter[1:]).max() < 5.4
    assert (scatter[1:] < 0.06 * law[1:]).all()
    split = simulated_split(moved, common_seeds=done.common_seeds)
    assert float(split["parametric_sd"].max()) == 0.0 and float(split["simulation_sd"][-1]) > 0.0


# --- a double well: crossings counted in all replicas of a draw, divided by their time ---


def crossings_and_time(one: ReplicaTrajectory) -> list[float]:
    """Changes between x < −1 and x > 1, and the time."""
    x = one.positions[:, 0, 0]
    side = np.where(x > 1.0, 1, np.where(x < -1.0, -1, 0))
    met = side[side != 0]
    return [float(np.sum(met[1:] != met[:-1])), one.times[-1]]


RATE = TrajectoryObservable(
    name="rate", unit="1/tau", of_trajectory=crossings_and_time, of_mean=lambda m: m[0] / m[1],
    n_frames=6000, spacing=0.5,
)  # fmt: skip


def test_counted_crossings_of_a_double_well_have_the_exact_rate_at_every_draw():
    heights = (3.2, 3.8)
    x = np.linspace(-3.4, 3.4, 201)
    exact = np.array(
        [
            langevin_rates(
                -0.5 * t * x**2 + 0.25 * x**4, x, dividing=0.0, friction=2.0, mass=1.0, thermal_energy=1.0,
                n_hermite=24,
            ).upward
            for t in heights
        ]
    )  # fmt: skip
    done = simulate(
        [DoubleWell(t, 1.0) for t in heights], [RATE], single(1.0),
        n_replicas=8, friction=2.0, known=np.array([[[1.9]], [[-1.9]]]), time_step=0.1, dynamics="langevin",
    )  # fmt: skip
    k = done.values["rate"].values
    np.testing.assert_allclose(k.std(axis=1, ddof=1) / np.sqrt(8.0), np.sqrt(exact / (8 * 3000.0)), rtol=0.8)
    error = np.sqrt(exact / (8 * 3000.0))  # a Poisson number of crossings
    assert (np.abs(k.mean(axis=1) - exact) < 4.0 * error).all() and (error < 0.085 * exact).all()
    assert exact[0] - exact[1] > 4.0 * np.hypot(*error)  # so that the draws are told apart
    assert any("Langevin dynamics with friction 2" in note for note in done.notes)


def test_a_ratio_is_made_of_the_means_of_a_draw():
    """Pseudo-values of n/T with equal T are the replicas' own; no event at all is 0, and not NaN."""
    rows = {(0, 0): np.array([3.0, 10.0]), (0, 1): np.array([0.0, 10.0]), (1, 0): np.array([0.0, 10.0])}
    rows[1, 1] = rows[1, 0]
    made = _values(RATE, rows, (2, 2))
    np.testing.assert_allclose(made.values, [[0.3, 0.0], [0.0, 0.0]], atol=1e-12)
    inverse = TrajectoryObservable(
        name="mine", unit="1", of_trajectory=lambda one: [0.0], of_mean=lambda m: 1.0 / m[0], n_frames=2, spacing=1.0
    )  # fmt: skip
    y = {(0, j): np.array([value]) for j, value in enumerate((1.0, 2.0, 3.0))}
    left = 3.0 * 0.5 - 2.0 * np.array([1.0 / 2.5, 1.0 / 2.0, 1.0 / 1.5])
    np.testing.assert_allclose(_values(inverse, y, (1, 3)).values[0], left)
    with pytest.raises(
        InputError,
        match=r"'mine': `of_mean` gives NaN or infinity at 1 of 2 draws, first at draw 1, .*; give",
    ):
        _values(inverse, y | {(1, j): np.zeros(1) for j in range(3)}, (2, 3))


# --- what is of no use is said in one line, before anything is sampled ---


def broken(function, **more):
    given = {"name": "mine", "unit": "1", "n_frames": 5, "spacing": 0.1} | more
    return TrajectoryObservable(of_trajectory=function, **given)


@pytest.mark.parametrize(
    ("function", "more", "match"),
    [
        (lambda one: one.positions[:, 0, 0], {}, r"shape \(5,\) of a trajectory; a single number expected, give `at`"),
        (lambda one: 1.0, {"at": [0.0, 1.0]}, r"gives an array of shape \(\) of a trajectory; a row of 2 expected"),
        (lambda one: one.forces, {}, r"fails on a trajectory of shape \(5, 1, 1\) \(AttributeError: .*'forces'"),
        (lambda one: np.nan, {}, "gives NaN or infinity at a trajectory from the starts; finite numbers expected"),
        (lambda one: 1j, {}, "gives complex128 of a trajectory"),
        (lambda one: "high", {}, "a real number or a row of them expected"),
        (lambda one: [1.0, 2.0], {"of_mean": lambda m: m}, r"`of_mean` gives an array of shape \(2,\) of a mean"),
        (lambda one: [1.0, 2.0], {"of_mean": lambda m: m[5]}, "`of_mean` fails on a mean of 2 numbers .IndexError"),
        (lambda one: np.ones((2, 2)), {"of_mean": np.sum}, r"shape \(2, 2\) of a trajectory; a number or a row"),
        (lambda one: 1.0, {"spacing": 0.01}, "frames 0.01 apart, and the dynamics has steps of 0.05; give a spacing"),
    ],
)  # fmt: skip
def test_a_function_of_no_use_is_refused_before_anything_is_sampled(function, more, match, monkeypatch):
    monkeypatch.setattr("bayescg.study._simulate_draws.equilibrium_samples", None)  # to be called by nobody
    with pytest.raises(InputError, match=f"observable 'mine': .*{match}") as caught:
        simulate(
            [HarmonicWell(1.0)], [broken(function, **more)], single(1.0),
            n_replicas=2, known=np.array([[[0.5]], [[-0.9]]]), time_step=0.1,
        )  # fmt: skip
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"n_frames": 1}, "1 frames, 0.1 apart; at least two"),
        ({"spacing": 0.0}, "5 frames, 0 apart; at least two, and a time above 0"),
        ({"name": " "}, "it has no name"),
        ({"along": "draw"}, "along 'draw'; a word expected"),
        ({"at": [1.0, 1.0]}, "a row of rising numbers expected"),
    ],
)
def test_bad_attributes_are_refused(more, match):
    with pytest.raises(InputError, match=match):
        broken(lambda one: 1.0, **more)


def test_what_fails_late_is_lost_where_others_remain(monkeypatch):
    """One trajectory of four gives NaN, another function fails, a third replica failed."""
    kept = [
        ReplicaTrajectory(np.full((5, 1, 1), float(k)), np.zeros((5, 1, 1)), np.arange(5.0), OPEN)
        for k in range(4)
    ]

    def visited(*_, visit, **__):
        for k in (0, 1, 3):
            visit(k // 2, k % 2, kept[k])
        return SimpleNamespace(time_step=0.15)

    monkeypatch.setattr("bayescg.study._simulated_trajectories.visit_trajectories", visited)
    own = [
        broken(lambda one: 1.0 / one.positions[0, 0, 0] if one.positions.any() else np.nan),
        broken(lambda one: [1.0][int(one.positions[0, 0, 0])], name="picky"),
        broken(lambda one: one.positions[-1, 0, 0], name="good"),
    ]
    found, _ = on_trajectories(
        None, [None] * 2, np.zeros((2, 2, 1, 1)), SimpleNamespace(n_frames=5), own,
        key=None, usable=None, time_unit="tau", tell=lambda _: None,
    )  # fmt: skip
    assert list(found.values) == ["good"]
    np.testing.assert_array_equal(found.values["good"].values, [[0.0, 1.0], [np.nan, 3.0]])
    assert "NaN or infinity at 1 of 3 trajectories, first at draw 0; finite" in str(found.lost["mine"])
    assert "'picky': its function fails on a trajectory of shape (5, 1, 1) (IndexError" in str(
        found.lost["picky"]
    )
    assert found.notes[0] == "Frames for mine are 0.15 tau apart, since whole steps make no 0.1."


def test_sites_that_cannot_be_followed_are_said_to_be_lost(monkeypatch):
    def too_far(*_, **__):
        raise InputError("unwrap: a site moves 0.49 edges of the box between two frames")

    monkeypatch.setattr("bayescg.study._simulated_trajectories.visit_trajectories", too_far)
    found, sound = on_trajectories(
        None, [None], np.zeros((1, 2, 1, 1)), SimpleNamespace(n_frames=5), [broken(len)],
        key=None, usable=None, time_unit="tau", tell=lambda _: None,
    )  # fmt: skip
    assert sound is None and not found.values and "unwrap: a site moves" in str(found.lost["mine"])
