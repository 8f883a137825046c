"""The Lennard-Jones fluid against equations of state: energy, pressure, chemical potential, heat capacity, volume."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.analysis import ensemble_check
from bayescg.physics import (
    ANISOTROPIC,
    ISOTROPIC,
    SEMI_ISOTROPIC,
    Barostat,
    Estimate,
    IsobaricEngine,
    LennardJones,
    axis_pressures,
    axis_virials,
    constant_number_shift,
    frame_energies,
    heat_capacity,
    insertion_energies,
    insertion_shift,
    interaction_of,
    isothermal_compressibility,
    stacked,
    tail_correction,
    throw_isobaric,
    widom,
)
from bayescg.physics._engine import AnalyticForce, PairEngine
from bayescg.physics._estimate import over_pieces, pieces_of
from bayescg.physics._langevin import LangevinSettings
from bayescg.physics._simulate import _pair_factor

pytestmark = pytest.mark.slow


class State(NamedTuple):
    """Two equations of state of the full Lennard-Jones fluid, each number by Kolafa & Nezbeda (1994) and by Thol (2016).

    Evaluated with teqp 0.23.2; the shared file lj_eos.csv holds the same energies and pressures.
    """

    temperature: float
    density: float
    energy: tuple[float, float]  # u of a site
    pressure: tuple[float, float]
    mu: tuple[float, float]  # residual chemical potential/kT
    capacity: tuple[float, float]  # residual c_V of a site
    slope: float  # p′(ρ)
    curvature: float  # p″(ρ)
    energy_curvature: float  # (ρu)″


STATES = [
    State(
        2.74,
        0.3,
        (-1.7877, -1.79326),
        (0.86637, 0.86851),
        (0.00736, 0.00991),
        (0.1569, 0.158),
        3.746,
        12.09,
        -11.43,
    ),
    State(
        2.0,
        0.5,
        (-3.1501, -3.1525),
        (1.07392, 1.07516),
        (-0.28006, -0.27816),
        (0.3201, 0.3107),
        4.934,
        30.9,
        -11.63,
    ),
    State(
        1.5025,
        0.7,
        (-4.57794, -4.57894),
        (1.5976, 1.60003),
        (-0.40799, -0.40457),
        (0.5791, 0.5784),
        11.80,
        85.6,
        -6.65,
    ),
    State(
        0.85,
        0.776,
        (-5.51247, -5.5141),
        (-0.00626, 0.0043),
        (-4.5489, -4.53209),
        (0.8874, 0.8764),
        9.91,
        106.4,
        -7.22,
    ),
]
N, CUTOFF, STEP, REPLICAS = 216, 3.0, 0.004, 8
SIMULATED = LennardJones(1.0, 1.0, cutoff=CUTOFF)
TRUNCATED = LennardJones(1.0, 1.0, cutoff=CUTOFF, convention="truncated")
FULL = LennardJones(1.0, 1.0, cutoff=np.inf, convention="truncated")


def lattice(n, length):
    """A simple cubic lattice of n sites in every replica."""
    m = round(n ** (1 / 3))
    grid = np.stack(np.meshgrid(*[np.arange(m)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return np.tile((grid + 0.5) * length / m, (REPLICAS, 1, 1))


def mean_of(series):
    return over_pieces(pieces_of(series).mean(axis=1), series.mean())


def close(found: Estimate, value, equations, *, times=4.0):
    """Within 4 standard errors of the two equations of state's middle; how far they differ is their error."""
    middle, spread = np.mean(equations), abs(equations[0] - equations[1])
    return abs(value - middle) < times * np.hypot(found.standard_error, spread)


@pytest.mark.parametrize("state", STATES, ids=lambda s: f"T{s.temperature}-rho{s.density}")
def test_the_fluid_at_constant_volume(state):
    kT, rho = state.temperature, state.density
    length, volume = (N / rho) ** (1 / 3), N / rho
    box = np.full(3, length)
    settings = LangevinSettings(STEP, 1.0, kT, jnp.ones(N))
    engine = PairEngine(N, box, CUTOFF, settings, AnalyticForce(_pair_factor))
    now = engine.initial_state(jax.random.key(0), lattice(N, length))
    parameters = jax.tree.map(lambda a: a.astype(jnp.float32), stacked([SIMULATED], each=REPLICAS))
    now, _ = engine.run(now, parameters, n_samples=1, stride=3000)
    now, x = engine.run(now, parameters, n_samples=200, stride=50)
    assert not np.asarray(now.result).any()
    x = jnp.asarray(x, jnp.float64)
    tail = tail_correction(FULL, cutoff=CUTOFF)
    structure_factor = kT / state.slope

    u = np.asarray(frame_energies(TRUNCATED, x, box)) / N
    energy = mean_of(u)
    total = energy.value + float(tail.energy(n_sites=N, volume=volume)) / N
    total -= (
        constant_number_shift(
            state.energy_curvature, density=rho, n_sites=N, structure_factor=structure_factor
        )
        / rho
    )
    assert close(energy, total, state.energy)
    assert not close(energy, energy.value, state.energy)  # without the tail

    p = np.asarray(axis_pressures(axis_virials(SIMULATED, x, box), box, n_sites=N, kT=kT))
    pressure = mean_of(p.mean(axis=-1))
    total = pressure.value + float(tail.pressure(n_sites=N, volume=volume))
    total -= constant_number_shift(state.curvature, density=rho, n_sites=N, structure_factor=structure_factor)
    assert close(pressure, total, state.pressure)
    assert not close(pressure, pressure.value, state.pressure)
    each = [mean_of(p[..., axis]) for axis in range(3)]  # isotropic
    assert all(abs(one.value - pressure.value) < 4 * one.standard_error for one in each)

    inserted = insertion_energies(TRUNCATED, x, box, key=jax.random.key(1), n_insertions=2000)
    volumes = np.full(inserted.shape[:2], volume)
    found = widom(np.asarray(inserted), kT=kT, volumes=volumes, tail=tail, n_sites=N)
    mu = found.chemical_potential
    shift = insertion_shift(state.slope, state.curvature, density=rho, n_sites=N, kT=kT)
    scaled = Estimate(mu.value / kT, mu.standard_error / kT, mu.degrees_of_freedom)
    assert close(scaled, (mu.value - shift) / kT, state.mu)
    assert scaled.standard_error < 0.2

    capacity = heat_capacity(np.asarray(frame_energies(SIMULATED, x, box)), kT=kT, degrees_of_freedom=0)
    per_site = Estimate(capacity.value / N, capacity.standard_error / N, capacity.degrees_of_freedom)
    assert close(per_site, per_site.value, state.capacity)

    kinetic = 0.5 * np.sum(np.asarray(now.velocities, np.float64) ** 2, axis=(1, 2))
    spread = np.sqrt(2 / (3 * N * REPLICAS))
    assert kinetic.mean() / (1.5 * N * kT) == pytest.approx(1.0, abs=4 * spread)


def sample_volumes(groups, pressures, *, n, cutoff, kT, rho, n_samples=200):
    """Boxes of replicas at constant pressure [replica sample 3]; they end as warm as the thermostat."""
    simulated = LennardJones(1.0, 1.0, cutoff=cutoff)
    interaction, reach = interaction_of(simulated)
    settings = LangevinSettings(STEP, 1.0, kT, jnp.ones(n))
    engine = IsobaricEngine(n, settings, interaction, cutoff=reach, groups=groups, interval=20)
    length = (n / rho) ** (1 / 3)
    parameters = stacked([simulated], each=REPLICAS)
    start = engine.initial_state(jax.random.key(0), lattice(n, length), np.full((REPLICAS, 3), length))
    tail = float(tail_correction(FULL, cutoff=cutoff).over_volume(n_sites=n))
    barostat = Barostat(pressures, 0.05, tail=tail, lower=length / 1.11, upper=length * 1.11)
    state, barostat = engine.tuned(start, parameters, barostat, n_rounds=6, stride=25)
    state, _ = engine.run(state, parameters, barostat, n_samples=1, stride=60)
    state, samples = engine.run(state, parameters, barostat, n_samples=n_samples, stride=5)
    throw_isobaric(state, stage=f"groups {groups}")
    assert 0.2 < np.nanmean(np.asarray(samples.volume_acceptance)) < 0.6
    kinetic = 0.5 * np.sum(np.asarray(state.velocities, np.float64) ** 2, axis=(1, 2))
    assert kinetic.mean() / (1.5 * n * kT) == pytest.approx(1.0, abs=4 * np.sqrt(2 / (3 * n * REPLICAS)))
    return np.asarray(samples.boxes, np.float64)


def test_the_fluid_at_constant_pressure_has_the_right_volume_and_compressibility():
    """At two pressures side by side: density and its fluctuation by the equation of state, Boltzmann's ratio of volumes."""
    at = STATES[2]
    kT, rho = at.temperature, at.density
    pressures = np.repeat([1.4, 1.8], REPLICAS // 2)
    volumes = sample_volumes(ISOTROPIC, pressures, n=N, cutoff=CUTOFF, kT=kT, rho=rho).prod(-1)
    for pressure, mine in ((1.4, volumes[:4]), (1.8, volumes[4:])):
        mean = mean_of(mine)
        # the density at which a parabola through the equation of state has that pressure
        x = np.roots([at.curvature / 2, at.slope, np.mean(at.pressure) - pressure]).max()
        expected = N / (rho + x)
        # the equations differ by 0.0024 in pressure; of order 1/N is 0.2 in volume
        own = expected * kT_compressibility(at, x) * 0.0024 + 0.2
        assert abs(mean.value - expected) < 4 * np.hypot(mean.standard_error, own)
        kappa = isothermal_compressibility(mine, kT=kT)
        assert abs(kappa.value - kT_compressibility(at, x)) < 4 * kappa.standard_error
        assert kappa.standard_error < 0.25 * kappa.value
    found = ensemble_check(volumes[:4], volumes[4:], slope=-0.4 / kT, quantity="volume")
    assert found.verdict == "passed", found.sentence
    narrow = [v.mean() + 0.5 * (v - v.mean()) for v in (volumes[:4], volumes[4:])]
    assert ensemble_check(*narrow, slope=-0.4 / kT, quantity="volume").verdict == "failed"


def kT_compressibility(at, x):  # noqa: N802 (κ_T)
    """κ_T = 1/(ρ p′) a little off the state."""
    return 1.0 / ((at.density + x) * (at.slope + at.curvature * x))


def test_all_barostats_have_the_same_mean_volume():
    at = STATES[2]
    found = [
        mean_of(sample_volumes(groups, 1.6, n=125, cutoff=2.5, kT=at.temperature, rho=at.density).prod(-1))
        for groups in (ISOTROPIC, SEMI_ISOTROPIC, ANISOTROPIC)
    ]
    for one in found[1:]:
        error = np.hypot(one.standard_error, found[0].standard_error)
        assert abs(one.value - found[0].value) < 4 * error
        assert error < 0.01 * one.value
