"""Constant pressure in interacting systems that are solved exactly: hard rods, and nearest neighbours on a ring."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.errors import InputError
from bayescg.physics import (
    AnyEnergy,
    Barostat,
    HarmonicWell,
    IsobaricEngine,
    LennardJones,
    PairFormula,
    PairTable,
    interaction_of,
    stacked,
    throw_isobaric,
)
from bayescg.physics._isobaric_interaction import _energy, _energy_of_pair_terms, bound, prepared
from bayescg.physics._isobaric_moves import scaled
from bayescg.physics._langevin import LangevinSettings

# --- one dimension: gases whose partition function is a one-dimensional integral ---


def hard_rods_between_walls(parameters, positions, box):
    """Infinite where rods of length 1 overlap each other or the walls at 0 and L; flat elsewhere."""
    x = jnp.sort(positions[:, 0])
    overlap = jnp.any(jnp.diff(x) < 1.0) | (x[0] < 0.5) | (x[-1] > box[0] - 0.5)
    return jnp.where(overlap, jnp.inf, 0.0) + 0.0 * jnp.sum(positions)


def hard_rods_on_a_ring(parameters, positions, box):
    x = jnp.sort(positions[:, 0])
    gaps = jnp.diff(jnp.append(x, x[0] + box[0]))
    return jnp.where(jnp.any(gaps < 1.0), jnp.inf, 0.0) + 0.0 * jnp.sum(positions)


def rods(energy):
    n = 10
    settings = LangevinSettings(0.12, 1.0, 1.0, jnp.ones(n))
    engine = IsobaricEngine(
        n,
        settings,
        AnyEnergy(energy),
        cutoff=np.inf,
        groups=((0,),),
        interval=1,
        metropolis=True,
        dtype=jnp.float64,
    )
    start = np.tile(0.6 + 1.6 * np.arange(n)[:, None], (32, 1, 1))
    state = engine.initial_state(jax.random.key(5), start, np.full((32, 1), 16.5))
    state, _ = engine.run(state, jnp.zeros(32), Barostat(2.0, 0.06), n_samples=2, stride=1500)
    state, samples = engine.run(state, jnp.zeros(32), Barostat(2.0, 0.06), n_samples=150, stride=150)
    assert 0.1 < np.asarray(samples.stretch_acceptance).mean() < 0.95
    return np.asarray(samples.boxes)[..., 0]


def t_score(values, truth):
    """How many standard errors over replicas the mean is off."""
    means = values.mean(axis=1)
    return (means.mean() - truth) / (means.std(ddof=1) / np.sqrt(len(means)))


def test_hard_rods_between_walls_and_on_a_ring():
    """L − nσ ~ Gamma(n + 1, βP) between walls, ⟨L⟩ = 15.5; on a ring ⟨L⟩ = 15.1667."""
    walls, ring = rods(hard_rods_between_walls), rods(hard_rods_on_a_ring)
    assert abs(t_score(walls, 15.5)) < 4.0
    assert abs(t_score((walls - 15.5) ** 2, 11 / 4)) < 4.0  # variance of the Gamma distribution
    assert abs(t_score(ring, 10.0 + 77.5 / 15.0)) < 4.0
    assert abs(t_score(walls, 10.0 + 77.5 / 15.0)) > 4.0  # the boundary matters, and is seen


# --- pair interactions: a gas of nearest neighbours in one dimension ---

LJ = LennardJones(1.0, 1.0, cutoff=1.6)  # second neighbours are beyond the cutoff
CHAIN, CHAIN_PRESSURE = 8, 0.7


def ring_moments():
    """⟨L⟩, Var(L), ⟨U⟩ of the ring: gaps ∝ exp(−u(r) − P r), times L for the place of the first site."""
    r = np.linspace(0.6, 60.0, 2_000_001)
    u = np.asarray(LJ.pair_energy(jnp.asarray(r**2)))
    weight = np.exp(-u - CHAIN_PRESSURE * r)
    average = lambda f: np.trapezoid(f * weight, r) / np.trapezoid(weight, r)  # noqa: E731
    mean, energy = average(r), average(u)
    second, third = average((r - mean) ** 2), average((r - mean) ** 3)
    cross = average((u - energy) * (r - mean))
    total = CHAIN * mean
    length = total + CHAIN * second / total
    squared = (CHAIN * third + 3 * total * CHAIN * second + total**3) / total
    return length, squared - length**2, CHAIN * energy + CHAIN * cross / total


@pytest.mark.parametrize(("form", "metropolis"), [("formula", True), ("formula", False), ("table", True)])
def test_a_gas_of_nearest_neighbours_has_its_exact_length_fluctuation_and_energy(form, metropolis):
    interaction, cutoff = interaction_of(LJ)
    assert isinstance(interaction, PairFormula)
    if form == "table":
        interaction = PairTable(_energy_of_pair_terms)
    step = 0.03 if metropolis else 0.01  # plain BAOAB has a bias of the step
    settings = LangevinSettings(step, 1.0, 1.0, jnp.ones(CHAIN))
    engine = IsobaricEngine(
        CHAIN, settings, interaction, cutoff=cutoff, groups=((0,),), interval=10, metropolis=metropolis
    )
    n = 64
    parameters = stacked([LJ], each=n)
    start = engine.initial_state(
        jax.random.key(8), np.tile(1.5 * np.arange(CHAIN)[:, None], (n, 1, 1)), np.full((n, 1), 1.5 * CHAIN)
    )
    barostat = Barostat(CHAIN_PRESSURE, 0.3)
    state, _ = engine.run(start, parameters, barostat, n_samples=1, stride=200)
    state, samples = engine.run(state, parameters, barostat, n_samples=120, stride=10)
    throw_isobaric(state, stage="ring")
    length = np.asarray(samples.boxes, np.float64)[..., 0]
    x = np.sort(np.asarray(samples.positions, np.float64)[..., 0], axis=-1)
    gaps = np.diff(np.concatenate([x, x[..., :1] + length[..., None]], axis=-1), axis=-1)
    energy = np.asarray(LJ.pair_energy(jnp.asarray(gaps**2))).sum(-1)
    mean, variance, expected = ring_moments()
    assert abs(t_score(length, mean)) < 4.0
    assert abs(t_score((length - mean) ** 2, variance)) < 4.0
    assert abs(t_score(energy, expected)) < 4.0
    assert abs(t_score(energy, expected * 1.05)) > 4.0  # sharp enough to tell


def test_forces_and_energy_changes_agree_among_the_kinds_of_interaction():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    rows = jnp.asarray((1.2 * grid + 0.05 * rng.normal(size=grid.shape)).T)
    edges, larger = jnp.full(3, 3.6), jnp.array([3.7, 3.6, 3.55])
    moved = scaled(rows, edges, larger, None)
    exact = bound(AnyEnergy(_energy), LJ, jnp.asarray(1.6))
    both = lambda one: jax.jit(  # noqa: E731
        lambda: (one.energy_change(rows, edges, moved, larger), one.forces(rows, edges))
    )()
    change, forces = both(exact)
    for interaction, tolerance in ((interaction_of(LJ)[0], 1e-12), (PairTable(_energy_of_pair_terms), 1e-5)):
        tables = prepared(interaction, stacked([LJ]), 1.6, dtype=jnp.float64)
        mine = bound(interaction, jax.tree.map(lambda a: a[0], tables), jnp.asarray(1.6))
        my_change, my_forces = both(mine)
        assert float(my_change) == pytest.approx(float(change), rel=tolerance)
        scale = np.abs(np.asarray(forces)).max()
        np.testing.assert_allclose(my_forces, forces, rtol=0, atol=max(100 * tolerance, 1e-10) * scale)
    assert isinstance(interaction_of(LJ + LennardJones(0.5, 1.0, cutoff=1.5, name="b"))[0], PairTable)
    assert isinstance(interaction_of(LJ + HarmonicWell(1.0))[0], AnyEnergy)
    with pytest.raises(InputError, match="bare truncation"):
        interaction_of(LennardJones(1.0, 1.0, cutoff=1.6, convention="truncated"))
