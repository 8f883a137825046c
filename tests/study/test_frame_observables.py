"""Observables of frames from new simulations: insertion, mean force and a user's own functions against exact averages."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy.integrate import quad

from bayescg.analysis import simulated_split
from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.physics import HarmonicWell, LennardJones
from bayescg.study import Observable, simulate_draws
from bayescg.study._frame_columns import FrameColumn, FrameColumns, frame_columns
from bayescg.study._mean_force import mean_force_from_simulations
from bayescg.study._observable import BUILT_IN, TAKEN, told_apart
from bayescg.study._prediction_target import PredictionTarget, SimulationBudget
from bayescg.study._sampling_watch import SamplingWatch
from bayescg.study._simulated_observables import _Frames

EDGE, CUTOFF, T = 5.0, 2.4, 1.3
BOX = np.full(3, EDGE)
TARGET = PredictionTarget(T, 2, BOX, np.linspace(0.0, CUTOFF, 9), CUTOFF)
PAIRS = [LennardJones(e, 1.0, cutoff=CUTOFF) for e in (0.8, 1.2)]
WAVE = Observable(
    name="wave",
    unit="1",
    of_frame=lambda x, box: jnp.stack(
        [jnp.mean(jnp.cos(2 * jnp.pi * x[:, 0] / box[0]) ** 2), x.shape[0] * 1.0]
    ),
    at=np.array([0.5, 1.5]),
    along="place",
)


def simulate(
    observables, *, potentials=PAIRS, target=TARGET, n_samples=800, n_replicas=8, tell=lambda _: None
):
    return simulate_draws(
        potentials,
        observables=observables,
        target=target,
        budget=SimulationBudget(n_replicas, n_samples, 0, 0.02, 2.0, 20, 10),
        masses=np.ones(2),
        units=get_unit_system("lj"),
        configurations=np.zeros((1, 999, 3)),
        start_box=BOX,
        key=jax.random.key(1),
        tell=tell,
    )


@pytest.fixture(scope="module")
def done():
    return simulate(["chemical-potential", "rdf", WAVE])


def energies(pair: LennardJones, r2: np.ndarray) -> np.ndarray:
    return np.asarray(pair.pair_energy(jnp.asarray(r2)))


def excess(pair: LennardJones) -> float:
    """I = ∫ (exp(−u/kT) − 1) 4πr² dr."""
    f = lambda r: np.expm1(-float(energies(pair, np.array(r * r))) / T) * 4.0 * np.pi * r * r  # noqa: E731
    return quad(f, 1e-3, CUTOFF, limit=200)[0]


def test_the_chemical_potential_is_that_of_one_more_particle(done):
    """−kT ln Z₃/(Z₂ V), the configuration integrals by uniform random places."""
    x = np.random.default_rng(0).uniform(0.0, EDGE, size=(400_000, 3, 3))
    apart = x[:, [0, 0, 1]] - x[:, [1, 2, 2]]
    r2 = np.sum((apart - EDGE * np.round(apart / EDGE)) ** 2, axis=-1)
    for draw, pair in enumerate(PAIRS):
        u = energies(pair, r2)
        two, three = np.exp(-u[:, 0] / T), np.exp(-u.sum(axis=1) / T)
        exact = -T * np.log(three.mean() / two.mean())
        error = T * np.std(three / three.mean() - two / two.mean()) / np.sqrt(len(x))
        own = done.values["chemical-potential"].values[draw]
        noise = np.hypot(own.std(ddof=1) / np.sqrt(len(own)), error)
        assert abs(own.mean() - exact) < 5.0 * noise < 0.02
    assert "chemical-potential" not in done.frame_variance  # chance is unknown
    check = next(check for check in done.checks if check.name == "insertion")
    assert check.verdict == "passed" and check.sentence.startswith(
        "At the worst of 2 draws: the largest of all"
    )


def test_the_mean_force_of_two_particles_is_their_potential(done):
    """g = exp(−u/kT) V/(V + I), averaged over each bin; no place where hardly a pair comes."""
    made, variance = mean_force_from_simulations(
        done.values["rdf"], done.frame_variance["rdf"], kT=T, unit="kT"
    )
    split = simulated_split(made, common_seeds=True)
    error = np.maximum((made.values.std(axis=1, ddof=1) / np.sqrt(8)).max(axis=0), 0.01)
    assert made.sizes["r"] < done.values["rdf"].sizes["r"] and (made["r"].values > 0.7).all()
    for draw, pair in enumerate(PAIRS):
        norm = EDGE**3 / (EDGE**3 + excess(pair))
        exact = []
        for middle in made["r"].values:
            r = np.linspace(middle - 0.15, middle + 0.15, 400)
            exact.append(-T * np.log(norm * np.average(np.exp(-energies(pair, r**2) / T), weights=r**2)))
        assert np.all(np.abs(made.values[draw].mean(axis=0) - exact) < 5.0 * error)
    assert made.sizes["r"] > 3 and (error < 0.15).all()
    assert variance is not None and float(variance.min()) > 0.0
    assert split["mean"].sizes["r"] == made.sizes["r"]


def test_a_function_of_ones_own_is_averaged_with_its_chance(done):
    value, variance = done.values["wave"], done.frame_variance["wave"]
    assert value.dims == ("draw", "simulation", "place") and value["place"].values.tolist() == [0.5, 1.5]
    split = simulated_split(value, common_seeds=True, frame_variance=variance)
    mean, error = float(split["mean"][0]), float(split["simulation_sd"][0])
    assert abs(mean - 0.5) < 5.0 * max(error, 0.002) < 0.05
    assert float(split["fluctuation_sd"][0]) == pytest.approx(0.25, rel=0.1)  # Var cos² = 1/8, of two sites
    assert value.values[..., 1].tolist() == [[2.0] * 8] * 2


def test_order_parameters_of_a_frame():
    """Twelve neighbours in a face-centred crystal have q6 = 0.57452; the distribution is one bin, 1/0.02 high."""
    cells = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    crystal = (cells + basis).reshape(-1, 3) * 1.6
    target = PredictionTarget(1.0, len(crystal), np.full(3, 4.8), None, 2.0)
    columns = frame_columns(
        [], BUILT_IN, target, [], n_replicas=1, kT=1.0, key=jax.random.key(0)
    )  # fmt: skip
    made = columns(np.tile(crystal, (1, 6, 1, 1)))
    q6, tetrahedral = columns.of("bond-order", made), columns.of("tetrahedral-order", made)
    assert np.isnan(made[0, 1:5]).all() and np.isfinite(made[0, [0, 5]]).all()
    at = BUILT_IN["bond-order"].places(50)
    assert at[np.argmax(q6[0, 0])] == pytest.approx(0.57) and q6[0, 0].max() == pytest.approx(50.0)
    assert tetrahedral[0, 0, 0] < 0.5


@pytest.mark.parametrize(
    ("function", "at", "match"),
    [
        (lambda x, box: x, None, r"an array of shape \(2, 3\)"),
        (lambda x, box: "high", None, r"fails on positions .*class 'str'"),
        (lambda x, box: x[:, 0], np.arange(3.0), r"gives shape \(2,\) of a frame, and `at` has 3 places"),
        (lambda x, box: x[5, 7] @ box, None, r"fails on positions of shape \(2, 3\)"),
        (lambda x, box: jnp.sum(x) * 1j, None, "a real number or a row"),
    ],
)
def test_functions_of_another_shape_are_refused_before_anything_is_simulated(
    function, at, match, monkeypatch
):
    monkeypatch.setattr("bayescg.study._simulate_draws.starts_of_two_kinds", None)  # to be called by nobody
    own = Observable(name="mine", unit="1", of_frame=function, at=at)
    with pytest.raises(InputError, match=f"observable 'mine': .*{match}") as caught:
        simulate([own])
    assert "\n" not in str(caught.value)


def test_a_function_that_is_not_finite_is_named():
    always = Observable(name="mine", unit="1", of_frame=lambda x, box: jnp.log(-box[0]))
    with pytest.raises(
        InputError, match="observable 'mine': its function gives NaN or infinity at the first frame"
    ):
        simulate([always], n_samples=20)
    sometimes = Observable(
        name="mine", unit="1", of_frame=lambda x, box: jnp.where(jnp.sin(50.0 * x[0, 0]) > 0.9, jnp.nan, 1.0)
    )
    first = r"observable 'mine': its function gives NaN or infinity at (\d+ of the first 160 frames|the first frame)"
    with pytest.raises(InputError, match=first):
        simulate([sometimes, "energy"], n_samples=20)


def test_a_function_that_is_not_finite_late_is_left_out_where_others_remain(monkeypatch):
    monkeypatch.setattr(SamplingWatch, "_refuse_not_finite", lambda *_: None)
    finite_at_first = Observable(
        name="mine", unit="1", of_frame=lambda x, box: jnp.where(jnp.sin(50.0 * x[0, 0]) > 0.6, jnp.nan, 1.0)
    )
    monkeypatch.setattr("bayescg.study._simulate_draws.refuse_not_finite", lambda *_: None)
    told = []
    made = simulate([finite_at_first, "energy"], n_samples=20, tell=told.append)
    assert list(made.values) == ["energy"] and "of 320 frames" in made.lost["mine"]
    assert (
        "2 draws, 8 simulations each of 2 sites: at least 600 steps, 1.92e+04 particle-steps in all" in told
    )
    with pytest.raises(InputError, match="observable 'mine': .* of 320 frames"):
        simulate([finite_at_first], n_samples=20)


def test_the_time_that_is_left_is_told_once_by_the_second_piece(monkeypatch):
    clock, told = iter([0.0, 100.0, 130.0]), []
    monkeypatch.setattr("bayescg.study._sampling_watch.time.perf_counter", lambda: next(clock))
    watch = SamplingWatch(FrameColumns([]), n_samples=80, functions=[], tell=told.append)
    for _ in range(3):
        watch(np.zeros((2, 10, 3, 3)))
    assert told == ["about 10 min of sampling left"]  # 100 s for ten frames, sixty to come


def test_transport_without_a_plateau_leaves_the_rest(monkeypatch):
    from bayescg.errors import ConvergenceError
    from bayescg.physics._draw_transport import DrawTransport
    from bayescg.study import _simulated_observables as own

    def none(*_, **__):
        raise ConvergenceError("viscosity at draws: no plateau")

    monkeypatch.setattr(own, "draw_viscosity", none)
    monkeypatch.setattr(own, "draw_diffusion", lambda *_, **__: DrawTransport(np.ones((2, 4)), (1.0, 2.0)))
    made = own.dynamic_values(None, ["diffusion", "viscosity"], TARGET, get_unit_system("lj"))
    assert (
        list(made.values) == ["diffusion"] and str(made.lost["viscosity"]) == "viscosity at draws: no plateau"
    )


def test_names_are_told_apart():
    own = Observable(name="mine", unit="1", of_frame=lambda x, box: box[0])
    assert told_apart(["rdf", own, "bond-order"])[0] == ("rdf", "mine", "bond-order")
    with pytest.raises(InputError, match="there are two of that name"):
        told_apart([own, own])
    with pytest.raises(InputError, match="it has no name"):
        Observable(name=" ", unit="1", of_frame=lambda x, box: box[0])


@pytest.mark.parametrize("along", [*TAKEN, " "])
def test_a_coordinate_that_predictions_use_themselves_is_refused(along):
    with pytest.raises(
        InputError, match=f"observable 'mine': along '{along}'; a word expected that is none of draw, "
    ):
        Observable(name="mine", unit="1", of_frame=lambda x, box: box, along=along)


@pytest.mark.parametrize("at", [[1.0, 1.0], [2.0, 1.0], [0.0, np.nan], [], [[1.0]]])
def test_places_that_do_not_rise_are_refused(at):
    with pytest.raises(InputError, match="observable 'mine': `at` .*; a row of rising numbers expected"):
        Observable(name="mine", unit="1", of_frame=lambda x, box: box, at=np.array(at))


def test_insertion_is_refused_where_there_is_nothing_to_insert():
    open_box = TARGET._replace(box=np.full(3, np.inf), distance_edges=None)
    with pytest.raises(InputError, match="offered for pair potentials in a closed box"):
        simulate(["chemical-potential"], target=open_box)
    with pytest.raises(InputError, match="offered for pair potentials in a closed box"):
        simulate(["chemical-potential"], potentials=[HarmonicWell(1.0)])


def potentials_of(factors: np.ndarray):
    """Chemical potentials from Boltzmann factors [draw simulation], one frame each."""
    columns = FrameColumns([FrameColumn("chemical-potential", lambda x: x, 3)])
    samples = SimpleNamespace(also=np.stack([factors, factors**2, factors], axis=-1)[:, :, None])
    found = SimpleNamespace(samples=samples, usable=np.isfinite(factors))
    frames = _Frames(None, found, TARGET, get_unit_system("lj"), columns)
    return frames, frames.of("chemical-potential")[0]


def test_draws_without_a_chemical_potential_are_told_since_it_chose_them():
    factors = np.random.default_rng(0).uniform(0.4, 0.6, size=(8, 4))
    frames, made = potentials_of(factors)
    assert not frames.notes and "left out" not in frames.checks[0].sentence
    factors[2, 1:] = 0.0  # only the first simulation has room for a site
    factors[5] = 0.0
    factors[6, 0] = np.nan  # failed, which is told elsewhere
    frames, made = potentials_of(factors)
    assert np.flatnonzero(made.isnull().any("simulation")).tolist() == [2, 5, 6]
    assert frames.notes == [
        "Chemical potential left out: 2 of 8 draws, where every insertion overlaps but those of one simulation at most; they"
        " have the highest values, so the mean is too low and the band too narrow."
    ]
    check = frames.checks[0]
    assert check.verdict == "failed" and check.sentence.startswith(frames.notes[0])


def test_g_that_is_noise_has_no_mean_force():
    rdf = xr.DataArray(
        np.array([[[0.0], [3.0], [0.0], [0.0]]] * 2), dims=("draw", "simulation", "r"), coords={"r": [1.0]}
    )
    with pytest.raises(InputError, match="no more than noise at any distance"):
        mean_force_from_simulations(rdf, None, kT=1.0, unit="kT")
