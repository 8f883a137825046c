"""New simulations at draws against exact averages: two particles in a box, and gases whose particles pass through another."""

import re

import jax
import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.integrate import quad

from bayescg.analysis import simulated_split
from bayescg.data import get_unit_system
from bayescg.errors import InputError, SimulationError
from bayescg.physics import HarmonicWell, LennardJones
from bayescg.physics._draw_equilibration import Equilibrium
from bayescg.physics._draw_simulation import DrawSamples
from bayescg.study import simulate_draws
from bayescg.study._prediction_target import PredictionTarget, SimulationBudget
from bayescg.study._simulate_draws import _refuse_heating, _sampling_notes
from bayescg.study._simulated_observables import _infinite

UNITS = get_unit_system("lj")
KEY = jax.random.key(5)
CUTOFF = 2.4


def fluid(n_sites, edge, temperature, cutoff=CUTOFF):
    box = np.full(3, edge)
    return PredictionTarget(temperature, n_sites, box, np.linspace(0.0, cutoff, 49), cutoff)


def budget(n_replicas, n_samples, *, time_step=0.01, stride=20, equilibration=10, friction=2.0):
    return SimulationBudget(n_replicas, n_samples, 0, time_step, friction, stride, equilibration)


def simulate(potentials, target, limits, observables, *, known=None, **more):
    """Starts are those of the lattice alone where no configurations are given."""
    return simulate_draws(
        potentials,
        observables=observables,
        target=target,
        budget=limits,
        masses=np.ones(3),
        units=UNITS,
        configurations=np.zeros((1, 999, 3)) if known is None else known,
        start_box=np.asarray(target.box),
        key=KEY,
        **more,
    )


# --- two particles: everything by quadrature ---


def two_particles(epsilon, sigma, edge, temperature):
    """Averages of two particles in a periodic cube, cutoff at half of it: energy per site, pressure, heat capacity, 1/K."""
    beta, volume = 1.0 / temperature, edge**3

    def lj(r):
        return 4.0 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)

    def u(r):
        return lj(r) - lj(CUTOFF)

    def w(r):  # f r
        return 24.0 * epsilon * (2.0 * (sigma / r) ** 12 - (sigma / r) ** 6)

    def inside(f):
        return quad(
            lambda r: f(r) * np.exp(-beta * u(r)) * 4.0 * np.pi * r**2, 0.5, CUTOFF, limit=300, points=[1.0]
        )[0]

    z = inside(lambda r: 1.0) + volume - 4.0 / 3.0 * np.pi * CUTOFF**3
    energy, square, virial = (inside(f) / z for f in (u, lambda r: u(r) ** 2, w))
    modulus = temperature * volume * (1.0 / volume**2 + 1.0 / z**2)  # P = kT d ln(V z)/dV, and dz/dV = 1
    return {
        "energy": energy / 2.0,
        "pressure": (2.0 * temperature + virial / 3.0) / volume,
        "heat-capacity": 1.5 + beta**2 * (square - energy**2) / 2.0,
        "compressibility": 1.0 / modulus,
    }


_RNG = np.random.default_rng(0)
PARAMETERS = np.stack([np.exp(0.2 * _RNG.normal(size=8)), np.exp(0.03 * _RNG.normal(size=8))], axis=1)


@pytest.fixture(scope="module")
def pairs():
    """Two particles at eight draws, and the exact averages [draw]."""
    target = fluid(2, 4.8, 1.2)
    potentials = [LennardJones(e, s, cutoff=CUTOFF) for e, s in PARAMETERS]
    done = simulate(
        potentials,
        target,
        budget(8, 300, stride=60),
        ["energy", "pressure", "heat-capacity", "rdf", "structure-factor"],
    )
    exact = [two_particles(e, s, 4.8, 1.2) for e, s in PARAMETERS]
    return done, {name: np.array([one[name] for one in exact]) for name in exact[0]}


@pytest.mark.parametrize("name", ["energy", "pressure", "heat-capacity"])
def test_two_particles_have_their_exact_averages_and_parametric_spread(pairs, name):
    done, exact = pairs
    values = done.values[name]
    over_draws = values.values.mean(axis=0) - exact[name].mean()  # replicas are independent, draws are not
    t = over_draws.mean() / (over_draws.std(ddof=1) / np.sqrt(len(over_draws)))
    assert abs(t) < stats.t.ppf(1.0 - 5e-4, len(over_draws) - 1)
    split = simulated_split(
        values, common_seeds=done.common_seeds, frame_variance=done.frame_variance.get(name)
    )
    spread, noise = exact[name].std(ddof=1), float(split["noise_sd"])
    error = 2.0 * spread * noise / np.sqrt(7.0) + noise**2 * np.sqrt(2.0 / 7.0)
    assert abs(float(split["parametric_variance_estimate"]) - spread**2) < 3.5 * error
    assert name == "pressure" or 3.5 * error < 2.0 * spread**2  # that of the pressure is below its noise
    if name == "energy":
        assert 0.0 < float(split["fluctuation_sd"]) < 1.0


def test_pair_distances_of_two_particles_follow_boltzmann(pairs):
    """g(r) of each bin is ∫ exp(−u/kT) 4πr² dr over the bin's volume, in the mean over the box."""
    done, _ = pairs
    volume, beta, edges = 4.8**3, 1.0 / 1.2, np.linspace(0.0, CUTOFF, 49)
    r = np.linspace(1e-6, CUTOFF, 48 * 200 + 1)
    exact = []
    for epsilon, sigma in PARAMETERS:
        s6 = np.minimum((sigma / r) ** 6, 1e3)
        u = 4.0 * epsilon * (s6 * s6 - s6) - 4.0 * epsilon * ((sigma / CUTOFF) ** 12 - (sigma / CUTOFF) ** 6)
        weight = np.exp(-beta * u) * 4.0 * np.pi * r**2
        whole = np.trapezoid(weight, r) + volume - 4.0 / 3.0 * np.pi * CUTOFF**3
        parts = np.array([np.trapezoid(weight[k : k + 201], r[k : k + 201]) for k in range(0, 48 * 200, 200)])
        exact.append(parts / whole * volume / (4.0 / 3.0 * np.pi * np.diff(edges**3)))
    each = done.values["rdf"].mean("draw").values  # replicas are independent, draws are not
    mean, error, truth = (
        each.mean(axis=0),
        each.std(axis=0, ddof=1) / np.sqrt(len(each)),
        np.mean(exact, axis=0),
    )
    seen = truth > 0.05
    assert 25 < seen.sum() < 40 and np.abs(mean - truth)[~seen].max() < 0.05
    t = (mean - truth)[seen] / error[seen]
    assert np.abs(t).max() < stats.t.ppf(1.0 - 5e-4 / seen.sum(), len(each) - 1)  # 4 errors of a normal law
    assert np.sqrt(np.mean(t**2)) < 2.0 and np.median(error[seen] / truth[seen]) < 0.08
    assert done.values["structure-factor"].dims == ("draw", "simulation", "k")
    assert done.values["rdf"]["r"].attrs["units"] == "sigma" and done.values["rdf"].attrs["units"] == "1"


def test_compressibility_of_two_large_particles_is_exact_within_its_error():
    """Particles that fill most of the box, so that the virial's variance does not hang on rare contacts."""
    exact = two_particles(1.0, 2.2, 4.8, 1.2)["compressibility"]
    limits = budget(32, 800, stride=60)
    done = simulate([LennardJones(1.0, 2.2, cutoff=CUTOFF)], fluid(2, 4.8, 1.2), limits, ["compressibility"])
    values = done.values["compressibility"].values[0]
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - exact) < stats.t.ppf(1.0 - 5e-4, len(values) - 1) * error
    assert error < 0.1 * exact < 0.7 * abs(exact - 4.8**3 / 2.4)  # far from that of an ideal gas
    assert not any("error bar of the compressibility" in note for note in done.notes)


def test_compressibility_that_hangs_on_rare_contacts_says_so():
    limits = budget(32, 800, stride=60)
    done = simulate([LennardJones(1.0, 1.0, cutoff=CUTOFF)], fluid(2, 4.8, 1.2), limits, ["compressibility"])
    assert any("error bar of the compressibility may be far too small" in note for note in done.notes)


# --- an ideal gas ---


@pytest.fixture(scope="module")
def gas():
    ghosts = [LennardJones(1e-30, 1.0, cutoff=2.0) for _ in range(2)]
    target = fluid(30, 5.0, 1.5, cutoff=2.0)
    names = ["pressure", "diffusion", "velocity-autocorrelation", "heat-capacity"]
    limits = budget(8, 60, time_step=0.02, friction=3.0)
    return simulate(ghosts, target, limits, names, dynamics="langevin")


def test_ideal_gas_has_its_pressure_exactly(gas):
    np.testing.assert_allclose(gas.values["pressure"], 30 * 1.5 / 5.0**3, rtol=1e-6)
    np.testing.assert_allclose(gas.values["heat-capacity"], 1.5, rtol=1e-6)


def test_ideal_gas_diffuses_as_langevin_says(gas):
    d = gas.values["diffusion"].values[0]
    exact = 1.5 / 3.0 * (1.0 + (3.0 * 0.01) ** 2 / 12.0)  # kT/(m γ), and what the time step adds
    error = d.std(ddof=1) / np.sqrt(len(d))
    assert abs(d.mean() - exact) < 5.4 * error and error < 0.05 * exact
    c = gas.values["velocity-autocorrelation"]
    decay = 3.0 * 1.5 * np.exp(-3.0 * c["time"].values)
    scatter = c.values[0].std(axis=0, ddof=1) / np.sqrt(8.0)
    assert np.abs((c.values[0].mean(axis=0) - decay)[:20] / scatter[:20]).max() < 6.0


def test_draws_that_differ_in_nothing_have_no_parametric_spread(gas):
    np.testing.assert_array_equal(gas.values["diffusion"][0], gas.values["diffusion"][1])
    split = simulated_split(gas.values["diffusion"], common_seeds=gas.common_seeds)
    assert bool(split["below_noise"]) and float(split["naive_sd"]) == 0.0
    assert float(split["simulation_sd"]) > 0.0


def test_notes_say_what_was_done(gas):
    said = " ".join(gas.notes)
    for words in ("no multiple of the 999", "friction 3", "60 frames", "Metropolis", "standard errors"):
        assert words in said
    assert "in steps of 0.01," in said and "at rest" not in said  # half of the tested step
    off = float(re.search(r"mean squared velocity is ([+-][0-9.]+) %", said)[1])
    measured = float(gas.values["velocity-autocorrelation"][..., 0].mean()) / (3.0 * 1.5) - 1.0
    assert off == pytest.approx(100.0 * measured, abs=0.06) and abs(off) < 3.0
    assert gas.particle_steps > 2 * 8 * 60 * 20 * 30 and gas.seconds > 0.0


def test_newton_keeps_time_between_frames_and_is_at_rest_where_nothing_pushes_the_whole():
    # small enough that even a close encounter leaves the energy alone, and not 0 in float32
    ghosts = [LennardJones(1e-36, 1.0, cutoff=2.0) for _ in range(2)]
    names = ["velocity-autocorrelation"]
    done = simulate(ghosts, fluid(30, 5.0, 1.5, cutoff=2.0), budget(8, 60, time_step=0.02), names)
    c = done.values["velocity-autocorrelation"]
    assert float(c["time"][1]) == pytest.approx(2 * 0.02)  # an eighth of the stride of 20, whatever the step
    np.testing.assert_allclose(c, c[..., :1] * np.ones(c.shape), rtol=1e-5)
    said = next(note for note in done.notes if note.startswith("Newton"))
    assert "in steps of 0.01," in said and ", at rest as a whole;" in said
    off = float(re.search(r"mean squared velocity is ([+-][0-9.]+) %", said)[1])
    expected = 3.0 * 1.5 * (1.0 - 1.0 / 30.0)  # the motion of the whole is missing
    assert off == pytest.approx(100.0 * (float(c[..., 0].mean()) / expected - 1.0), abs=0.06)
    assert abs(off) < 4.0 * 100.0 * np.sqrt(2.0 / (3 * 29 * 8))


def test_one_draw_that_heats_is_refused_and_named():
    calm = np.array([[0.01, -0.01], [0.02, 0.0], [np.nan, np.nan]])
    _refuse_heating(calm)
    _refuse_heating(calm * np.nan)
    with pytest.raises(SimulationError, match=r"energy of draw 1 by \+0.2 k_B T"):
        _refuse_heating(np.concatenate([[[0.0, 0.0], [0.1, 0.3], [-0.1, np.nan]], np.zeros((20, 2))]))


def test_a_start_that_is_better_cut_off_is_noted():
    samples = DrawSamples((), np.zeros((3, 2, 20, 0)), np.ones((3, 2)), np.zeros((3, 2), int))
    for late in (False, True):
        found = Equilibrium(samples, None, np.ones((3, 2), bool), 0.5, -0.5, (), 60, late)
        said = " ".join(_sampling_notes(found, budget(2, 20), True))
        assert ("a start that is better cut off, even after all extensions" in said) is late


# --- a diffusion coefficient in an infinite box ---


def of_draws(values):
    return xr.DataArray(values, dims=("draw", "simulation"), attrs={"units": "1"})


def test_diffusion_in_an_infinite_box_divides_by_what_is_known_well_enough():
    rng = np.random.default_rng(3)
    target = fluid(30, 5.0, 1.5)
    shift = 2.837297 * 1.5 / (6.0 * np.pi * 5.0)
    diffusion = of_draws(0.3 + 0.01 * rng.normal(size=(40, 4)))
    diffusion[3, 1] = np.nan
    own = np.linspace(1.5, 2.5, 40)[:, None]
    made, note = _infinite(diffusion, of_draws(own + 0.01 * rng.normal(size=(40, 4))), target, UNITS)
    found = (made - diffusion).mean("simulation").values
    np.testing.assert_allclose(np.delete(found, 3), np.delete(shift / own[:, 0], 3), rtol=0.02)
    assert "its own viscosity" in note
    noisy = of_draws(own + 1.0 * rng.normal(size=(40, 4)))
    noisy[3, 1] = np.nan
    made, note = _infinite(diffusion, noisy, target, UNITS)
    assert made.dims == ("draw", "simulation") and made.attrs["units"] == "1"
    np.testing.assert_allclose(
        made.isel(draw=np.arange(4, 40)).mean() - diffusion[4:].mean(), shift / 2.0, rtol=0.1
    )
    shared = (made - diffusion).mean("simulation").values
    assert np.ptp(np.delete(shared, 3)) < 1e-12  # one viscosity for all
    assert bool(np.isnan(made[3, 1])) and int(made.isnull().sum()) == 1
    assert "all draws together" in note
    hopeless = of_draws(own + np.array([[-3.0, 0.0, 2.0, 4.0]]) + rng.normal(size=(40, 4)))
    assert _infinite(diffusion, hopeless, target, UNITS)[0] is None
    assert "too noisy" in _infinite(diffusion, hopeless, target, UNITS)[1]


# --- what goes wrong ---


def test_failed_draws_are_nan_named_and_left_out_of_the_split():
    good = [LennardJones(e, 1.0, cutoff=2.0) for e in (0.9, 1.0, 1.1, 1.2)]
    bad = LennardJones(np.nan, 1.0, cutoff=2.0)
    known = np.random.default_rng(0).uniform(0.0, 5.0, size=(3, 15, 3))
    done = simulate_draws(
        [bad, *good],
        observables=["pressure"],
        target=fluid(30, 5.0, 1.5, cutoff=2.0),
        budget=budget(4, 40),
        masses=np.ones(15),
        units=UNITS,
        configurations=known,
        start_box=np.array([5.0, 5.0, 2.5]),
        key=KEY,
    )
    assert np.isnan(done.values["pressure"][0]).all() and np.isfinite(done.values["pressure"][1:]).all()
    assert any("4 of 20 simulations failed, at draws 0;" in note for note in done.notes)
    assert any("start from configurations of the run" in note for note in done.notes)
    split = simulated_split(done.values["pressure"], common_seeds=done.common_seeds)
    assert split.attrs["n_draws"] == 4 and split.attrs["n_failed"] == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"observables": ["colour"]}, "observable 'colour' is unknown"),
        ({"budget": budget(1, 40)}, "two replicas are needed"),
        ({"budget": budget(2, 5)}, "at least 20"),
        ({"target": fluid(30, 3.0, 1.5)}, "more than half of the box edge 3"),
        ({"masses": np.array([1.0, 2.0])}, "sites of different mass"),
        ({"dynamics": "brownian"}, "expected 'newton' or 'langevin'"),
        ({"potentials": []}, "0 draws"),
        ({"observables": ["viscosity"], "dynamics": "langevin"}, "friction does not conserve momentum"),
        ({"observables": ["viscosity"], "potentials": [HarmonicWell(1.0)]}, "viscosity is offered for pair"),
        ({"observables": ["viscosity"], "target": fluid(8000, 24.0, 1.5)}, "up to about 1,500 sites"),
        ({"observables": ["compressibility"], "potentials": [HarmonicWell(1.0)]}, "pair potentials alone"),
        (
            {
                "observables": ["compressibility"],
                "target": fluid(30, 5.0, 1.5)._replace(distance_edges=np.arange(24) / 10),
            },
            "bins end at 2.3, below the cutoff 2.4",
        ),
    ],
)
def test_bad_input_is_told_in_one_line_before_anything_is_simulated(change, words, monkeypatch):
    def never(*_, **__):
        raise AssertionError("simulated")

    monkeypatch.setattr("bayescg.study._simulate_draws.starts_of_two_kinds", never)
    given = {
        "potentials": [LennardJones(1.0, 1.0, cutoff=CUTOFF)],
        "observables": ["pressure"],
        "target": fluid(30, 5.0, 1.5),
        "budget": budget(2, 40),
        "masses": np.ones(2),
    }
    given |= change
    with pytest.raises(InputError, match=words) as caught:
        simulate_draws(
            given.pop("potentials"),
            **given,
            units=UNITS,
            configurations=np.zeros((1, 999, 3)),
            start_box=np.full(3, 5.0),
            key=KEY,
        )
    assert "\n" not in str(caught.value)
