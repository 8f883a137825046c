"""Batches of draws against wells and gases whose averages, correlations and noise are known."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from bayescg.analysis import common_seed_means, difference_error, nested_split
from bayescg.data import Topology, get_unit_system
from bayescg.errors import ConvergenceError, InputError, SimulationError
from bayescg.physics import (
    DrawBatch,
    DrawCorrelations,
    HarmonicWell,
    LennardJones,
    SimulationSettings,
    Simulator,
    SumPotential,
    Trajectory,
    _draw_equilibration,
    diffusion_coefficient,
    draw_correlations,
    draw_diffusion,
    draw_viscosity,
    mean_squared_displacement,
    time_correlation,
)
from bayescg.physics._draw_dynamics import _by_piece, _shear_stress
from bayescg.physics._draw_equilibration import (
    between_starts,
    drift,
    equilibrium_samples,
    refuse_failed,
    starts_apart,
)
from bayescg.physics._draw_groups import conserves_momentum
from bayescg.physics._draw_simulation import DrawSamples, troubles
from bayescg.physics._draw_starts import lattice, relaxed, scaled_configurations
from bayescg.physics._phase_space import PhaseSpace, on_step_state, pair_virial, record
from bayescg.physics._result import Result

UNITS = get_unit_system("lj")
KEY = jax.random.key(20261122)
STIFFNESS = np.array([1.0, 2.0, 4.0])


def simulator(potential, n_sites, box, *, temperature=1.0, metropolis=True, **settings):
    defaults = {"time_step": 0.05, "friction": 1.0, "stride": 4, "n_replicas": 2, "equilibration": 0}
    return Simulator(
        potential,
        topology=Topology(("A",) * n_sites, np.ones(n_sites)),
        box=np.asarray(box, float),
        units=UNITS,
        temperature=temperature,
        settings=SimulationSettings(**{**defaults, **settings}, metropolis=metropolis),
    )


def wells_in_equilibrium(n_replicas, n_sites, seed):
    """The j-th replica of every draw from the same normal numbers [draw replica site 3]."""
    normal = np.random.default_rng(seed).normal(size=(n_replicas, n_sites, 3))
    return normal / np.sqrt(STIFFNESS)[:, None, None, None]


# --- dynamics ---


def test_undamped_oscillators_never_forget_their_velocity():
    wells = [HarmonicWell(k) for k in STIFFNESS]
    engine = simulator(wells[0], 8, [np.inf] * 3)
    found = draw_correlations(
        engine, wells, wells_in_equilibrium(5, 8, 0), trajectory=Trajectory(640, 2), key=KEY
    )
    c = found.velocity.mean(axis=(1, 2))
    t = found.time_step * np.arange(c.shape[-1])
    for stiffness, own in zip(STIFFNESS, c, strict=True):
        frequency = 2.0 / 0.05 * np.arcsin(0.05 * np.sqrt(stiffness) / 2.0)  # of the leapfrog
        np.testing.assert_allclose(own / own[0], np.cos(frequency * t), atol=0.05)
        late = np.abs(own[-60:]).max() / own[0]
        assert late > 0.95  # with friction 1 it would be below exp(-13/2)
    assert np.abs(found.heating).max() < 1e-2
    each = found.velocity[..., 0].mean(axis=2)  # 3 kT/m on average, by equipartition
    z = (each.mean(axis=1) - 3.0) / (each.std(axis=1, ddof=1) / np.sqrt(each.shape[1]))
    assert np.abs(z).max() < 6.0  # t with 4 degrees of freedom


def test_oscillators_with_friction_have_the_known_correlation():
    wells, friction = [HarmonicWell(k) for k in STIFFNESS], 1.0
    engine = simulator(wells[0], 8, [np.inf] * 3, metropolis=False, friction=friction)
    found = draw_correlations(
        engine, wells, wells_in_equilibrium(10, 8, 1), trajectory=Trajectory(640, 2), key=KEY
    )
    t = found.time_step * np.arange(60)
    each = found.velocity.mean(axis=2)[..., :60]
    for stiffness, own in zip(STIFFNESS, each, strict=True):
        w = np.sqrt(stiffness - friction**2 / 4.0)
        exact = 3.0 * np.exp(-friction * t / 2.0) * (np.cos(w * t) - friction / (2.0 * w) * np.sin(w * t))
        error = own.std(axis=0, ddof=1) / np.sqrt(len(own))
        assert np.abs((own.mean(axis=0) - exact) / error).max() < 5.5  # t with 9 degrees of freedom, 60 lags
        assert error.max() < 0.12
    assert np.isnan(found.heating).all()


def summed_virial(x, box, epsilon, sigma, cutoff):
    """Σ over pairs of f_a d_b of Lennard-Jones sites, each pair once."""
    apart = x[:, None] - x[None]
    apart -= box * np.rint(apart / box)
    r2 = np.sum(apart**2, axis=-1) + 1e9 * np.eye(len(x))
    s6 = (sigma**2 / r2) ** 3
    force = np.where(r2 < cutoff**2, 24.0 * epsilon * (2.0 * s6**2 - s6) / r2, 0.0)[..., None] * apart
    return 0.5 * np.einsum("ija,ijb->ab", force, apart)


def test_every_component_of_the_virial_tensor_is_the_sum_over_pairs():
    box = np.array([4.6, 5.0, 5.5])
    sites = lattice(32, box, seed=0) + 0.12 * np.random.default_rng(4).normal(size=(32, 3))
    pair = LennardJones(1.3, 0.95, cutoff=2.3)
    found = pair_virial(pair.pair_force_factor, jnp.asarray(sites.T), jnp.asarray(box))
    tensor = summed_virial(sites, box, 1.3, 0.95, 2.3)
    off = np.abs(tensor[np.triu_indices(3, 1)])
    assert off.min() > 1e-3 * np.abs(tensor).max() and np.ptp(off) > 0.1 * off.max()
    np.testing.assert_allclose(found, tensor, rtol=1e-9)


def test_velocities_lie_on_the_step_and_the_virial_is_that_of_the_statistics():
    rng = np.random.default_rng(4)
    box = np.full(3, 4.6)
    sites = lattice(32, box, seed=0) + 0.03 * rng.normal(size=(32, 3))
    pairs = [LennardJones(1.0, 1.0, cutoff=2.3), LennardJones(1.2, 0.97, cutoff=2.3)]
    moving = simulator(pairs[0], 32, box, time_step=0.004)
    batch = DrawBatch(moving, pairs, n_replicas=2)
    state = batch.start(KEY, np.stack([sites, sites + 0.01]))
    begin = on_step_state(moving.engine, state, batch.parameters)
    end, kept = record(moving.engine, begin, batch.parameters, n_samples=5, stride=1, virial=True)
    steps = np.diff(np.concatenate([np.asarray(state.positions)[:, None], kept.positions], axis=1), axis=1)
    steps = steps - box * np.rint(steps / box)
    np.testing.assert_allclose(
        kept.velocities[:, :-1], 0.5 * (steps[:, 1:] + steps[:, :-1]) / 0.004, atol=2e-3
    )
    _, plain = moving.engine.run(begin, batch.parameters, n_samples=5, stride=1)
    np.testing.assert_allclose(kept.positions, np.asarray(plain), atol=2e-5)
    coefficients = np.repeat(batch.coefficients, 2, axis=0)
    for frame in (0, 4):
        virial = np.sum(coefficients * moving.reducer(kept.positions[:, frame])[1], axis=1)
        np.testing.assert_allclose(np.trace(kept.virial[:, frame], axis1=1, axis2=2), virial, rtol=2e-4)
    for replica, (e, sigma) in enumerate([(1.0, 1.0), (1.0, 1.0), (1.2, 0.97), (1.2, 0.97)]):
        tensor = summed_virial(kept.positions[replica, 4].astype(float), box, e, sigma, 2.3)
        np.testing.assert_allclose(kept.virial[replica, 4], tensor, atol=2e-3)  # of numbers up to 100
    assert np.abs(kept.virial - np.swapaxes(kept.virial, -1, -2)).max() == 0.0
    assert (np.asarray(end.result) == 0).all()


def test_common_windows_give_the_coefficient_of_a_single_draw():
    walks = np.cumsum(np.random.default_rng(1).normal(size=(12, 400, 8, 3)), axis=1)
    msd = mean_squared_displacement(walks)[None, :, None, :]
    fine = np.ones((1, 12), bool)
    given = DrawCorrelations(msd, msd, msd[..., :0], 1.0, 400, fine, 0.0 * fine)
    found = draw_diffusion(given)
    single = diffusion_coefficient(walks, time_step=1.0, fit=found.window)
    assert found.values.mean() == pytest.approx(single.coefficient.value, rel=1e-9)
    assert abs(found.values.mean() - 0.5) < 4.0 * single.coefficient.standard_error


def test_a_linear_range_lies_behind_the_first_motion_and_is_not_made_up():
    t = np.arange(100.0)
    noise = 1.0 + 0.001 * np.random.default_rng(0).normal(size=(2, 4, 3, 1))
    fine = np.ones((2, 4), bool)

    def of(curve):
        msd = noise * curve
        return DrawCorrelations(msd, msd, msd[..., :0], 1.0, 200, fine, 0.0 * fine)

    straight = draw_diffusion(of(6.0 * 0.5 * t + 4.0 * (1.0 - np.exp(-t))))
    np.testing.assert_allclose(straight.values, 0.5, rtol=0.02)
    assert straight.window[0] >= 2.0
    with pytest.raises(ConvergenceError, match="still changes"):
        draw_diffusion(of(t**1.3))


def test_stress_is_the_symmetric_traceless_pressure_tensor():
    rng = np.random.default_rng(8)
    v, mass, volume = rng.normal(size=(2, 3, 5, 3)), np.arange(1.0, 6.0), 7.0
    virial = rng.normal(size=(2, 3, 3, 3))
    virial = virial + np.swapaxes(virial, -1, -2)
    found = _shear_stress(PhaseSpace(v, v, virial), mass, volume).reshape(2, 3, 3, 3)
    one = sum(m * np.outer(u, u) for m, u in zip(mass, v[1, 2], strict=True)) + virial[1, 2]
    np.testing.assert_allclose(found[1, 2], (one - np.trace(one) / 3.0 * np.eye(3)) / volume, rtol=1e-12)
    np.testing.assert_allclose(np.trace(found, axis1=2, axis2=3), 0.0, atol=1e-12)


def test_viscosity_of_made_up_stresses_is_volume_over_kt_times_their_integral():
    """Pressure P_xy a discrete Ornstein-Uhlenbeck process: ⟨P_xy(0) P_xy(k)⟩ = p² ρᵏ, η = V/(kT) p² Δt [1/2 + ρ/(1 − ρ)]."""
    rng, volume, thermal, step, rho, p = np.random.default_rng(9), 50.0, 1.7, 0.02, 0.8, 0.3
    n_draws, n_replicas, n_frames = 2, 8, 4000
    noise = autocorrelated(rng, (n_draws * n_replicas, 6, n_frames), rho)
    off, diagonal = (
        p * noise[:, :3],
        np.sqrt(2.0) * p * noise[:, 3:],
    )  # of an isotropic fluid, its trace aside
    virial = np.zeros((n_draws * n_replicas, n_frames, 3, 3))
    for k, (a, b) in enumerate([(0, 1), (0, 2), (1, 2)]):
        virial[..., a, b] = virial[..., b, a] = volume * off[:, k]
        virial[..., k, k] = volume * (diagonal[:, k] + 20.0)  # a mean pressure, which must not count
    still = np.zeros((n_draws * n_replicas, n_frames, 1, 3))
    stress = _shear_stress(PhaseSpace(still, still, virial), np.ones(1), volume)
    pieces = _by_piece(time_correlation, stress, 4).reshape(n_draws, n_replicas, 4, -1)
    fine = np.ones((n_draws, n_replicas), bool)
    given = DrawCorrelations(pieces, pieces, pieces, step, n_frames // 4, fine, 0.0 * fine)
    found = draw_viscosity(given, volume=volume, thermal_energy=thermal)
    exact = volume / thermal * p**2 * step * (0.5 + rho / (1.0 - rho))
    error = found.values.std(ddof=1) / np.sqrt(found.values.size)
    assert (
        abs(found.values.mean() - exact) < 4.1 * error and error < 0.05 * exact
    )  # t with 15 degrees of freedom


def test_momentum_is_conserved_where_forces_add_up_to_nothing():
    sites = lattice(8, np.full(3, 4.0), seed=0) + 0.1 * np.random.default_rng(1).normal(size=(2, 2, 8, 3))
    closed, open_box = [4.0] * 3, [np.inf] * 3
    pair, well = LennardJones(1.0, 1.0, cutoff=1.9), HarmonicWell(1.0)
    cases = [
        (pair, closed, True),
        (pair, open_box, True),
        (well, open_box, False),
        (SumPotential((pair, HarmonicWell(1e-2))), open_box, False),
    ]
    for potential, box, conserved in cases:
        batch = DrawBatch(simulator(potential, 8, box), [potential] * 2, n_replicas=2)
        assert conserves_momentum(batch, sites) is conserved, (potential, box)
        assert (
            conserves_momentum(batch, np.where(np.arange(2)[:, None, None, None] == 0, np.nan, sites))
            is conserved
        )
        assert conserves_momentum(batch, np.nan * sites) is None


def test_a_cluster_in_an_open_box_does_not_drift():
    """Two particles: with the whole at rest their velocities are opposite, and 3/2 kT is left of 3 kT."""
    pair = LennardJones(1.0, 1.0, cutoff=2.5)
    given = np.tile([[0.0, 0.0, 0.0], [1.12, 0.0, 0.0]], (1, 40, 1, 1))
    engine = simulator(pair, 2, [np.inf] * 3, time_step=1e-4)
    found = draw_correlations(engine, [pair], given, trajectory=Trajectory(64, 1), key=KEY)
    assert found.at_rest
    kinetic = found.velocity[0, :, 0, 0]  # 3/2 kT/m per site at first, and it hardly moves
    assert abs(kinetic.mean() - 1.5) < 4.5 * kinetic.std(ddof=1) / np.sqrt(40)
    assert kinetic.std(ddof=1) / np.sqrt(40) < 0.25


# --- parameters and noise ---


def values_of(batch, state, n_samples):
    """Average of Σx²/2 of every replica, and what failed."""
    _, samples = batch.sample(state, n_samples=n_samples)
    values = samples.statistics[0][..., 0].mean(axis=2)
    return xr.DataArray(values, dims=("draw", "simulation")), samples


def test_the_naive_spread_is_too_wide_by_the_known_factor_and_the_split_is_not():
    n_draws, n_samples, log_sd = 800, 5, 0.1
    stiffness = np.exp(log_sd * np.random.default_rng(2).normal(size=n_draws))
    wells = [HarmonicWell(k) for k in stiffness]
    # a quarter of a period, and momenta all but new: one move forgets the last position
    engine = simulator(wells[0], 1, [np.inf] * 3, time_step=0.1, stride=16, friction=5.0)
    batch = DrawBatch(engine, wells, n_replicas=2)
    starts = np.random.default_rng(3).normal(size=(2, 1, 3))
    state, _ = batch.sample(batch.start(KEY, starts, common=False), n_samples=2)
    values, samples = values_of(batch, state, n_samples)
    assert not troubles(samples).any()
    split = nested_split(values)
    exact = np.var(1.5 / stiffness, ddof=1)
    noise = np.mean(1.5 / stiffness**2) / (2 * n_samples)  # Var(Σx²/2) = 3/(2k²), of 10 independent frames
    error = np.sqrt(2.0 / n_draws) * (exact + noise)
    assert noise / exact > 6.0  # what makes the naive spread useless, as nested runs of few frames do
    assert float(split["naive_sd"] ** 2) == pytest.approx(exact + noise, abs=5.0 * error)
    assert float(split["parametric_variance_estimate"]) == pytest.approx(exact, abs=6.0 * error)
    assert float(split["parametric_variance_estimate"]) < 4.0 * exact < float(split["naive_sd"] ** 2)


def test_common_random_numbers_take_noise_out_of_differences():
    wells = [HarmonicWell(1.0), HarmonicWell(1.1)]
    engine = simulator(wells[0], 4, [np.inf] * 3, time_step=0.1, stride=8, friction=1.0)
    batch = DrawBatch(engine, wells, n_replicas=16)
    starts = np.random.default_rng(3).normal(size=(16, 4, 3))
    errors = {}
    for common in (True, False):
        state, _ = batch.sample(batch.start(KEY, starts, common=common), n_samples=5)
        values, _ = values_of(batch, state, 20)
        means = common_seed_means(values)
        errors[common] = float(difference_error(means, 0, 1))
        change = float(means["mean"][0] - means["mean"][1])
        assert abs(change - 6.0 * (1.0 - 1.0 / 1.1)) < 5.0 * errors[common]
    assert errors[True] < 0.4 * errors[False]


# --- equilibrium ---


def autocorrelated(rng, shape, rho):
    x = np.zeros(shape)
    x[..., 0] = rng.normal(size=shape[:-1])
    for k in range(1, shape[-1]):
        x[..., k] = rho * x[..., k - 1] + np.sqrt(1.0 - rho**2) * rng.normal(size=shape[:-1])
    return x


def test_z_scores_of_drift_and_starts_are_normal_and_see_what_is_there():
    rng = np.random.default_rng(5)
    series = autocorrelated(rng, (300, 4, 200), 0.8)
    for judge in (drift, between_starts):
        z = np.array([judge(one) for one in series])
        assert 0.8 < z.std() < 1.35 and np.abs(z).max() < 4.5
    assert sum(bool(starts_apart(one[None])) for one in series) <= 12  # 3 expected
    apart = series[0] + np.array([[3.0], [0.0], [3.0], [0.0]])
    assert starts_apart(np.stack([series[1], apart])) == (1,)
    assert abs(drift(series[2] + np.linspace(0.0, 4.0, 200))) > 4.5


def test_a_start_that_is_better_cut_off_after_all_extensions_is_told(monkeypatch):
    wells = [HarmonicWell(1.0), HarmonicWell(2.0)]
    engine = simulator(wells[0], 2, [np.inf] * 3, time_step=0.1, stride=16)
    batch = DrawBatch(engine, wells, n_replicas=2)
    start = batch.start(KEY, np.random.default_rng(0).normal(size=(2, 2, 3)))
    told = {}
    for cut in (0, 20):
        monkeypatch.setattr(
            _draw_equilibration, "equilibration_cut", lambda _, cut=cut: SimpleNamespace(start=cut)
        )
        heard = []
        found = equilibrium_samples(batch, start, n_samples=20, equilibration=0, tell=heard.append)
        told[found.late_start] = len(heard), found.n_discarded
    assert told == {False: (0, 0), True: (6, 60)}  # half a window each


def test_replicas_that_fail_are_named_and_too_many_are_refused():
    wells = [HarmonicWell(1.0), HarmonicWell(1e5), HarmonicWell(2.0)]
    engine = simulator(wells[0], 2, [np.inf] * 3, time_step=0.1)
    batch = DrawBatch(engine, wells, n_replicas=2)
    _, samples = batch.sample(batch.start(KEY, np.ones((2, 2, 3))), n_samples=20)
    assert troubles(samples).tolist() == [[False, False], [True, True], [False, False]]
    refuse_failed(samples, ~troubles(samples))
    worse = DrawBatch(engine, [wells[1]] * 3, n_replicas=2)
    _, lost = worse.sample(worse.start(KEY, np.ones((2, 2, 3))), n_samples=20)
    with pytest.raises(SimulationError, match="fewer than two usable replicas at 3 of 3 draws"):
        refuse_failed(lost, ~troubles(lost))
    started = np.ones((2, 2, 3))
    started[1] = np.nan
    _, bad = batch.sample(batch.start(KEY, started), n_samples=20)
    assert troubles(bad)[:, 1].all() and not troubles(bad)[0, 0]


@pytest.mark.parametrize(
    ("value", "acceptance", "code", "words"),
    [
        (np.inf, 0.9, Result.OK, "infinite or not a number"),
        (np.nan, np.nan, Result.OK, "infinite or not a number"),  # without Metropolis there is no acceptance
        (1.0, 0.0, Result.OK, "nearly every move of them is rejected"),
        (np.nan, 0.0, Result.UNSTABLE, "kinetic temperature"),
    ],
)
def test_the_reason_why_replicas_are_lost_is_the_true_one(value, acceptance, code, words):
    column, shape = np.full((3, 2, 20, 1), value), (3, 2)
    lost = DrawSamples((column,), column[..., :0], np.full(shape, acceptance), np.full(shape, code.value))
    with pytest.raises(SimulationError) as error:
        refuse_failed(lost, ~troubles(lost))
    told = str(error.value)
    others = {"infinite or not a number;", "every move", "kinetic temperature"}
    assert words in told and sum(other in told for other in others) <= 1 and "\n" not in told


def test_one_replica_is_refused():
    engine = simulator(HarmonicWell(1.0), 1, [np.inf] * 3)
    with pytest.raises(InputError, match="two replicas"):
        DrawBatch(engine, [HarmonicWell(1.0)], n_replicas=1)


# --- starts ---


@pytest.mark.parametrize("n_sites", [1, 2, 27, 64, 100, 108, 343])
def test_a_lattice_keeps_sites_apart(n_sites):
    box = np.array([5.0, 6.0, 7.0])
    sites = lattice(n_sites, box, seed=1)
    assert sites.shape == (n_sites, 3) and (sites >= 0.0).all() and (sites < box).all()
    apart = sites[:, None] - sites[None]
    apart -= box * np.rint(apart / box)
    distance = np.linalg.norm(apart, axis=-1)[~np.eye(n_sites, dtype=bool)]
    spacing = (np.prod(box) / n_sites) ** (1.0 / 3.0)
    assert n_sites == 1 or distance.min() > 0.72 * spacing


@pytest.mark.parametrize("worst", [np.inf, -np.inf, np.nan, 3e38])
def test_one_hopeless_force_does_not_stop_the_others(worst):
    """Of one replica of two; forces pull to the origin, and the sites get there unless something holds all of them."""
    box = jnp.full(3, 10.0, jnp.float32)

    class Pull:
        def __init__(self):
            self.box = box

        def forces(self, x, parameters):
            overlap = jnp.zeros(x.shape, x.dtype).at[0, 0, 0].set(worst)
            return jnp.where(overlap == 0.0, -parameters[:, None, None] * x, overlap)

    positions = np.random.default_rng(3).uniform(1.0, 2.0, size=(2, 5, 3))
    moved = np.round(relaxed(Pull(), positions, jnp.ones(2), n_steps=30) - positions, 5)
    assert np.isfinite(moved).all()
    if not np.isfinite(worst):  # one that is finite and huge goes first, the others after it
        np.testing.assert_array_less(moved[0, 1:], -0.1)
    sign = 0.0 if np.isnan(worst) else np.sign(worst)
    assert np.sign(moved[0, 0, 0]) == sign and np.linalg.norm(moved, axis=-1).max() < 30 * 0.02 * 6.0
    np.testing.assert_array_less(moved[1], -0.1)


def test_repeated_configurations_keep_density_and_neighbours():
    sites = np.random.default_rng(0).uniform(0.0, 3.0, size=(2, 10, 3))
    twice = scaled_configurations(sites, np.full(3, 3.0), n_sites=20, new_box=np.array([3.0, 6.0, 3.0]))
    np.testing.assert_allclose(twice[:, :10] if (twice[:, :10, 1] < 3.0).all() else twice[:, 10:], sites)
    assert jnp.ptp(twice[..., 1]) > 3.0
    wider = scaled_configurations(sites, np.full(3, 3.0), n_sites=10, new_box=np.full(3, 3.3))
    np.testing.assert_allclose(wider, 1.1 * sites)
    with pytest.raises(InputError, match="box"):
        scaled_configurations(sites, np.full(3, np.inf), n_sites=10, new_box=np.full(3, 3.3))
