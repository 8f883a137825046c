"""Constant pressure: distributions of the box that are known exactly, and agreement among barostats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from bayescg.errors import InputError, SimulationError
from bayescg.physics import (
    ANISOTROPIC,
    ISOTROPIC,
    SEMI_ISOTROPIC,
    AnyEnergy,
    Barostat,
    IsobaricEngine,
    throw_isobaric,
)
from bayescg.physics._isobaric_moves import IsobaricResult
from bayescg.physics._langevin import LangevinSettings
from bayescg.physics._result import Result
from bayescg.physics._space import minimum_image

N = 8
SETTINGS = LangevinSettings(0.1, 1.0, 1.0, jnp.ones(N))
P_VALUE = 1e-4
"""Below it a distribution counts as different: seeds are fixed, so that a test either passes always or never."""


def nothing(parameters, positions, box):
    return 0.0 * jnp.sum(positions)


def ideal_gas(groups, barostat, *, boxes, dtype=jnp.float64, n_samples=200):
    """Boxes of independent replicas, thinned [replica sample dim]; volumes forget themselves in a few moves."""
    engine = IsobaricEngine(
        N, SETTINGS, AnyEnergy(nothing), cutoff=np.inf, groups=groups, interval=1, dtype=dtype
    )
    n_replicas = len(boxes)
    start = engine.initial_state(jax.random.key(1), np.zeros((n_replicas, N, 3)), boxes)
    parameters = jnp.zeros(n_replicas)
    state, _ = engine.run(start, parameters, barostat, n_samples=n_samples, stride=1)
    state, samples = engine.run(state, parameters, barostat, n_samples=n_samples, stride=20 * len(groups))
    throw_isobaric(state, stage="ideal gas")
    return np.asarray(samples.boxes), samples, state


def thinned(values, every=4):
    return values[:, ::every].ravel()


def test_the_volume_of_an_ideal_gas_follows_its_gamma_distribution():
    pressures = np.repeat([0.5, 2.0], 16)  # two pressures side by side
    boxes, samples, _ = ideal_gas(ISOTROPIC, Barostat(pressures, 1.0), boxes=np.full((32, 3), 2.0))
    assert np.ptp(boxes / boxes[..., :1], axis=(0, 1)).max() < 1e-9  # edges keep their ratios
    scaled = boxes.prod(-1) * pressures[:, None]
    for part in (scaled[:16], scaled[16:]):
        assert stats.kstest(thinned(part), stats.gamma(N + 1).cdf).pvalue > P_VALUE
    # the measure d ln V would give Gamma(N): the test tells the two apart
    assert stats.kstest(thinned(scaled), stats.gamma(N).cdf).pvalue < 1e-12
    assert 0.2 < np.asarray(samples.volume_acceptance).mean() < 0.8


@pytest.mark.parametrize("axis", [0, 2])
def test_one_free_edge_of_an_ideal_gas_follows_its_gamma_distribution(axis):
    boxes, _, _ = ideal_gas(((axis,),), Barostat(1.5, 1.0), boxes=np.tile([1.0, 2.0, 3.0], (16, 1)))
    others = [a for a in range(3) if a != axis]
    assert np.ptp(boxes[..., others], axis=(0, 1)).max() == 0.0
    area = boxes[0, 0, others].prod()
    assert stats.kstest(thinned(boxes[..., axis]) * 1.5 * area, stats.gamma(N + 1).cdf).pvalue > P_VALUE


def marginal(low, high, pressure, *, powers, measure_axis):
    """Distribution function of one edge of an ideal gas whose groups' V_g lie in boxes of d ln V_g, by quadrature."""
    grid = [np.linspace(low, high, 161) for _ in powers]
    mesh = np.meshgrid(*grid, indexing="ij")
    log_volume = sum(p * np.log(m) for p, m in zip(powers, mesh, strict=True))
    # dV_g = d(L^p) is L^(p - 1) dL up to a constant
    log_density = N * log_volume - pressure * np.exp(log_volume)
    log_density += sum((p - 1) * np.log(m) for p, m in zip(powers, mesh, strict=True))
    density = np.exp(log_density - log_density.max())
    for axis in reversed(range(len(powers))):
        if axis != measure_axis:
            density = integrate.simpson(density, x=grid[axis], axis=axis)
    total = integrate.cumulative_trapezoid(density, grid[measure_axis], initial=0.0)
    return lambda x: np.interp(x, grid[measure_axis], total / total[-1])


def test_every_edge_of_an_anisotropic_ideal_gas_follows_its_marginal():
    barostat = Barostat(1.0, 1.0, lower=1.2, upper=3.6)
    boxes, _, _ = ideal_gas(ANISOTROPIC, barostat, boxes=np.full((32, 3), 2.0))
    assert boxes.min() >= 1.2 and boxes.max() <= 3.6
    cdf = marginal(1.2, 3.6, 1.0, powers=(1, 1, 1), measure_axis=0)
    for axis in range(3):
        assert stats.kstest(thinned(boxes[..., axis], 5), cdf).pvalue > P_VALUE
    # a free product of edges alone would be Gamma(N + 1); the limits matter, and are accounted for
    assert stats.kstest(thinned(boxes[..., 0], 5), stats.uniform(1.2, 2.4).cdf).pvalue < P_VALUE


def test_both_groups_of_a_semi_isotropic_ideal_gas_follow_their_marginals():
    barostat = Barostat(1.0, 1.0, lower=1.2, upper=3.6)
    boxes, _, _ = ideal_gas(SEMI_ISOTROPIC, barostat, boxes=np.full((32, 3), 2.0))
    assert np.abs(boxes[..., 0] / boxes[..., 1] - 1.0).max() < 1e-9
    for axis, which in ((0, 0), (2, 1)):
        cdf = marginal(1.2, 3.6, 1.0, powers=(2, 1), measure_axis=which)
        assert stats.kstest(thinned(boxes[..., axis], 5), cdf).pvalue > P_VALUE


def test_surface_tension_acts_on_the_area_of_the_first_group():
    """Only x and y scale at P = 0: the area is Gamma(N + 1, −βγ) distributed."""
    boxes, _, _ = ideal_gas(
        ((0, 1),), Barostat(0.0, 1.0, surface_tension=-2.0), boxes=np.tile([2.0, 2.0, 5.0], (16, 1))
    )
    area = boxes[..., 0] * boxes[..., 1]
    assert stats.kstest(2.0 * thinned(area), stats.gamma(N + 1).cdf).pvalue > P_VALUE


def test_the_energy_of_the_tail_pushes_the_volume_as_it_should():
    boxes, _, _ = ideal_gas(ISOTROPIC, Barostat(1.0, 1.0, tail=20.0), boxes=np.full((16, 3), 2.0))
    grid = np.linspace(0.5, 60.0, 20001)
    density = np.exp(N * np.log(grid) - grid - 20.0 / grid)
    total = integrate.cumulative_trapezoid(density, grid, initial=0.0)
    cdf = lambda v: np.interp(v, grid, total / total[-1])  # noqa: E731
    assert stats.kstest(thinned(boxes.prod(-1)), cdf).pvalue > P_VALUE
    assert stats.kstest(thinned(boxes.prod(-1)), stats.gamma(N + 1).cdf).pvalue < P_VALUE


# --- molecules ---


def dimers(parameters, positions, box):
    bond = minimum_image(positions[1::2] - positions[::2], box)
    return 50.0 * jnp.sum((jnp.sqrt(jnp.sum(bond**2, axis=-1)) - 0.3) ** 2)


def test_molecules_are_scaled_as_rigid_bodies():
    """A gas of four dimers has Gamma(4 + 1): the number of molecules counts, not that of sites."""
    labels = tuple(np.repeat(np.arange(N // 2), 2).tolist())
    settings = SETTINGS._replace(time_step=0.03)
    engine = IsobaricEngine(
        N,
        settings,
        AnyEnergy(dimers),
        cutoff=np.inf,
        molecules=labels,
        interval=5,
        metropolis=True,
        dtype=jnp.float64,
    )
    start = np.zeros((24, N, 3))
    start[:, 1::2, 0] = 0.3
    state = engine.initial_state(jax.random.key(3), start, np.full((24, 3), 2.5))
    barostat, parts, kinetic = Barostat(0.25, 1.0), [], []
    for _ in range(12):
        state, samples = engine.run(state, jnp.zeros(24), barostat, n_samples=10, stride=10)
        parts.append((np.asarray(samples.positions), np.asarray(samples.boxes)))
        kinetic.append(0.5 * np.sum(np.asarray(state.velocities) ** 2, axis=(1, 2)))
    x, boxes = (np.concatenate(part, axis=1) for part in zip(*parts[2:], strict=True))
    volumes = boxes.prod(-1)
    assert stats.kstest(0.25 * thinned(volumes, 2), stats.gamma(N // 2 + 1).cdf).pvalue > P_VALUE
    assert stats.kstest(0.25 * thinned(volumes, 2), stats.gamma(N + 1).cdf).pvalue < 1e-12
    # the thermostat acts on every site, so the total momentum is free too: 3N, and not 3N − 3
    twice = 2.0 * np.concatenate(kinetic[2:])
    assert stats.kstest(twice, stats.chi2(3 * N).cdf).pvalue > P_VALUE
    assert stats.kstest(twice, stats.chi2(3 * N - 3).cdf).pvalue < P_VALUE
    assert (
        abs(stats.spearmanr(twice, np.concatenate([v.prod(-1)[:, -1] for _, v in parts[2:]]))[0]) < 0.25
    )  # with volumes
    box = boxes[:, :, None]
    bond = x[:, :, 1::2] - x[:, :, ::2]
    bond -= box * np.round(bond / box)
    length = np.linalg.norm(bond, axis=-1)
    # p(r) ∝ r² exp(−50 (r − 0.3)²)
    grid = np.linspace(0.0, 1.0, 2001)
    weight = grid**2 * np.exp(-50.0 * (grid - 0.3) ** 2)
    assert length.mean() == pytest.approx((grid * weight).sum() / weight.sum(), abs=0.01)


# --- bookkeeping ---


def test_pieces_give_the_same_bits_and_precision_is_kept():
    boxes, samples, state = ideal_gas(
        ISOTROPIC, Barostat(1.0, 1.0), boxes=np.full((2, 3), 2.0), dtype=jnp.float32, n_samples=6
    )
    assert samples.positions.dtype == state.boxes.dtype == jnp.float32
    engine = IsobaricEngine(N, SETTINGS, AnyEnergy(nothing), cutoff=np.inf, interval=1)
    start = engine.initial_state(jax.random.key(1), np.zeros((2, N, 3)), np.full((2, 3), 2.0))
    run = lambda state, n: engine.run(state, jnp.zeros(2), Barostat(1.0, 1.0), n_samples=n, stride=3)  # noqa: E731
    whole, _ = run(start, 4)
    half, _ = run(start, 2)
    half, _ = run(half, 2)
    np.testing.assert_array_equal(np.asarray(whole.boxes), np.asarray(half.boxes))
    np.testing.assert_array_equal(np.asarray(whole.positions), np.asarray(half.positions))


def test_equal_codes_have_equal_meanings_at_constant_pressure_and_volume():
    meanings = {code.value: (code.name, str(code)) for code in Result}
    for code in IsobaricResult:
        assert meanings.get(code.value, (code.name, str(code))) == (code.name, str(code))
    assert {code.value for code in (Result.OK, Result.NONFINITE, Result.UNSTABLE)} <= set(IsobaricResult)


def test_bad_input_is_told_in_one_line():
    make = lambda **more: IsobaricEngine(N, SETTINGS, AnyEnergy(nothing), **({"cutoff": np.inf} | more))  # noqa: E731
    with pytest.raises(InputError, match="groups"):
        make(groups=((0, 1), (1,)))
    with pytest.raises(InputError, match="labels"):
        make(molecules=(0, 0, 2, 2, 3, 3, 4, 4))
    with pytest.raises(InputError, match="interval"):
        make(interval=0)
    engine = make(cutoff=1.0)
    with pytest.raises(InputError, match="twice the cutoff"):
        engine.initial_state(jax.random.key(0), np.zeros((1, N, 3)), np.full((1, 3), 1.9))
    with pytest.raises(InputError, match="open direction"):
        engine.initial_state(jax.random.key(0), np.zeros((1, N, 3)), np.array([[3.0, 3.0, np.inf]]))
    state = engine.initial_state(jax.random.key(0), np.zeros((2, N, 3)), np.full((2, 3), 3.0))
    with pytest.raises(InputError, match="pressure"):
        engine.run(state, jnp.zeros(2), Barostat(np.ones(3)), n_samples=1, stride=1)
    for groups in (ISOTROPIC, ((2,),), ANISOTROPIC):
        for tension in (1.0, np.array([0.0, -1.0])):
            with pytest.raises(InputError, match="area that the first group spans") as error:
                make(groups=groups).run(
                    state, jnp.zeros(2), Barostat(1.0, surface_tension=tension), n_samples=1, stride=1
                )
            assert "\n" not in str(error.value)
    # a pressure that squeezes the box below twice the cutoff is told, not hidden
    state, _ = engine.run(state, jnp.zeros(2), Barostat(50.0, 0.3), n_samples=2, stride=100)
    assert np.asarray(state.boxes).min() >= 2.0
    with pytest.raises(SimulationError, match="below twice the cutoff"):
        throw_isobaric(state, stage="squeezed")
