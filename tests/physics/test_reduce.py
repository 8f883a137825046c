"""Sufficient statistics against direct sums over pairs, finite differences and the radial distribution function."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.data import Frames, State, Topology, get_unit_system, radial_distribution
from bayescg.errors import InputError
from bayescg.physics import (
    DoubleWell,
    FrameReducer,
    LennardJones,
    LinearPotential,
    SplinePair,
    SufficientStatistics,
    WeeksChandlerAndersen,
    reduce,
)
from bayescg.physics._engine import LangevinSettings, PairEngine, TableForce
from bayescg.physics._potential import terms_of
from bayescg.physics._reduce import CALL_SIZES, TABLE_BINS, table_nodes
from bayescg.physics._space import pair_distances_squared

BOX = np.array([5.2, 5.4, 5.6])
CUTOFF = 2.5
LJ = LennardJones(0.9, 1.0, cutoff=CUTOFF, convention="shifted")
EMPTY_SPLINE = SplinePair.uniform(
    inner=0.8, cutoff=CUTOFF, spacing=0.15, core_distance=1.0, core_strength=2.0
)
SPLINE = EMPTY_SPLINE.with_parameters(
    {"pair_coefficients": np.random.default_rng(1).normal(size=EMPTY_SPLINE.coefficients_.shape)}
)
WCA = WeeksChandlerAndersen(1.3, 1.2, inner=0.7, cutoff=1.6, n_nodes=128)


def triple_overlap(positions, box):
    """A many-body feature seen through the minimum image, and its square root."""
    crowding = jnp.sum(jnp.exp(-pair_distances_squared(positions, box)))
    return jnp.stack([crowding**2, jnp.sqrt(crowding)])


MANY_BODY = LinearPotential(jnp.asarray([0.1, -0.7]), function=triple_overlap)


def gas(n_frames, n_sites, *, box=BOX, seed=5, closest=0.7):
    """Random sites of which no two are very close."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n_frames):
        sites = np.zeros((0, 3))
        while len(sites) < n_sites:
            new = rng.uniform(-1, 2, 3) * box
            d = sites - new
            if np.all(np.sum((d - box * np.round(d / box)) ** 2, axis=1) > closest**2):
                sites = np.concatenate([sites, new[None]])
        frames.append(sites)
    return np.asarray(frames)


@eqx.filter_jit
def features_of(potential, positions, box):
    return potential.features(positions, box)


def squared_distances(frame, box):
    i, j = np.triu_indices(len(frame), k=1)
    d = frame[i] - frame[j]
    closed = np.isfinite(box)
    d[:, closed] -= box[closed] * np.round(d[:, closed] / box[closed])
    return np.sum(d * d, axis=1)


def table_energy(potential, r2):
    """The energy that is linear in r² between the nodes of the engine's table."""
    terms = terms_of(potential)
    longest = max(term.cutoff for term in terms)
    nodes = table_nodes(longest)
    energies = sum(np.asarray(term.pair_energy(jnp.asarray(nodes))) for term in terms)
    grid = np.linspace(0.0, longest**2, TABLE_BINS + 1)
    return np.interp(r2, grid, energies, right=0.0)


def frames_of(positions, box, *, trajectory=None):
    n_sites = positions.shape[1]
    extra = {} if trajectory is None else {"trajectory": trajectory}
    topology = Topology(("A",) * n_sites, np.ones(n_sites))
    box = np.broadcast_to(box, (len(positions), 3))
    return Frames(positions, box, topology, State(1.0), get_unit_system("lj"), **extra)


@pytest.mark.parametrize("n_sites", [2, 25])
@pytest.mark.parametrize("convention", ["shifted", "truncated", "smooth"])
def test_lennard_jones_is_summed_exactly(n_sites, convention):
    onset = 2.0 if convention == "smooth" else None
    potential = LennardJones(0.9, 1.0, cutoff=CUTOFF, convention=convention, onset=onset)
    x = gas(3, n_sites)
    features, virial, counts = FrameReducer(potential, box=BOX)(x)
    expected = [features_of(potential, frame, BOX) for frame in x]
    np.testing.assert_allclose(features, expected, rtol=1e-12)
    assert virial.shape == (3, 2)
    assert counts.shape == (3, 0)


@pytest.mark.parametrize("n_sites", [3, 24])
@pytest.mark.parametrize("potential", [SPLINE, WCA, LJ + SPLINE + WCA], ids=["spline", "wca", "sum"])
def test_tabulated_energy_is_the_one_that_is_linear_between_the_tables_nodes(potential, n_sites):
    """Also where the terms of a sum have different cutoffs: they share the table of the longest."""
    x = gas(3, n_sites)
    features, _, _ = FrameReducer(potential, box=BOX)(x)
    expected = [np.sum(table_energy(potential, squared_distances(frame, BOX))) for frame in x]
    np.testing.assert_allclose(
        features @ np.asarray(potential.coefficients()), expected, rtol=1e-9, atol=1e-9
    )


def test_the_engines_table_force_is_minus_the_slope_of_the_reduced_energy():
    potential = LJ + SPLINE + WCA
    x = gas(1, 16)
    settings = LangevinSettings(0.001, 1.0, 1.0, jnp.ones(16))
    engine = PairEngine(16, BOX, CUTOFF, settings, TableForce(lambda nodes, r2: nodes, TABLE_BINS))
    nodes = jnp.asarray(table_nodes(CUTOFF))
    table = sum(term.pair_energy(nodes) for term in potential.terms)
    forces = np.asarray(engine.forces(x, table[None]))[0]
    direction = np.random.default_rng(0).normal(size=x.shape)
    h = 1e-7
    reducer, eta = FrameReducer(potential, box=BOX), np.asarray(potential.coefficients())
    slope = (reducer(x + h * direction)[0] - reducer(x - h * direction)[0])[0] @ eta / (2 * h)
    np.testing.assert_allclose(-np.sum(forces * direction[0]), slope, rtol=2e-5)


@pytest.mark.parametrize("potential", [SPLINE, WCA], ids=["spline", "wca"])
def test_tabulated_features_are_the_direct_ones_within_the_tables_bound(potential):
    """Linear interpolation errs by at most an eighth of the largest second difference per pair."""
    x = gas(2, 40)
    features, _, _ = FrameReducer(potential, box=BOX)(x)
    direct = np.asarray([features_of(potential, frame, BOX) for frame in x])
    s = np.linspace(0.45, potential.cutoff**2, TABLE_BINS)
    basis = np.asarray(jax.jit(lambda s: potential.pair_basis(s))(s))
    width = potential.cutoff**2 / TABLE_BINS
    curvature = np.max(np.abs(np.diff(basis, 2, axis=0)), axis=0) / (s[1] - s[0]) ** 2
    # A kink between two nodes errs by a quarter of the change of slope times the width.
    kink = np.max(np.abs(np.diff(basis, 2, axis=0)), axis=0) / (s[1] - s[0]) * width / 4
    bound = 40 * 39 / 2 * (np.maximum(curvature * width**2 / 8, kink) + 1e-12)
    assert np.all(np.abs(features - direct) <= bound)
    assert np.abs(direct).max() > 0.5
    assert np.abs(features - direct).max() < 1e-2


@pytest.mark.parametrize(
    "potential",
    [LJ, SPLINE, WCA, LJ + SPLINE, MANY_BODY, SPLINE + MANY_BODY],
    ids=["lj", "spline", "wca", "two_pairs", "many_body", "mixed"],
)
def test_virial_is_minus_the_slope_by_the_logarithm_of_the_length(potential):
    """W = −∂U/∂ln L, positions and box scaled together, of the energy that is sampled."""
    x = gas(4, 20)
    _, virial, _ = FrameReducer(potential, box=BOX)(x)
    eta, h = np.asarray(potential.coefficients()), 1e-7
    energies = [FrameReducer(potential, box=BOX * f)(x * f)[0] @ eta for f in (1 + h, 1 - h)]
    slope = (energies[0] - energies[1]) / (2 * h)
    # The grid of the table grows with no box, but a pair may cross a node.
    np.testing.assert_allclose(virial @ eta, -slope, rtol=2e-5, atol=1e-4)


def test_virial_of_a_bare_power_is_its_exponent_times_the_feature():
    potential = LennardJones(1.0, 1.0, cutoff=CUTOFF, convention="truncated")
    features, virial, _ = FrameReducer(potential, box=BOX)(gas(3, 20))
    np.testing.assert_allclose(virial, features * np.array([12.0, 6.0]), rtol=1e-12)


def test_virial_of_an_external_field_in_open_space():
    x = np.random.default_rng(0).normal(size=(5, 3, 2))
    features, virial, _ = FrameReducer(DoubleWell(1.0, 1.0), box=np.full(2, np.inf))(x)
    np.testing.assert_allclose(virial, -features * np.array([2.0, 4.0]), rtol=1e-12)


@pytest.mark.parametrize("potential", [LJ, SPLINE], ids=["analytic", "tabulated"])
def test_pair_counts_are_those_of_the_radial_distribution(potential):
    edges = np.linspace(0.0, 2.6, 27)
    frames = frames_of(gas(6, 40), BOX)
    statistics = reduce(frames.blocks(100), potential, distance_edges=edges)
    exact = radial_distribution(frames, edges=edges)["counts"].values
    assert statistics.pair_counts.shape == (6, 26)
    # Only pairs within one table bin of an edge can be shared out differently.
    width = (CUTOFF if potential is SPLINE else 2.6) ** 2 / TABLE_BINS
    s = np.concatenate([squared_distances(frame, BOX) for frame in frames.positions])
    near_edge = sum(np.sum(np.abs(s - e**2) < width) for e in edges) / len(frames.positions)
    assert np.abs(statistics.pair_counts.mean(axis=0) - exact).sum() <= 2 * near_edge + 1e-9
    assert near_edge < 0.02 * exact.sum()
    inside = np.mean([np.sum(squared_distances(f, BOX) < 2.6**2) for f in frames.positions])
    assert statistics.pair_counts.sum(axis=1).mean() == pytest.approx(inside, abs=near_edge + 1e-9)


def test_pair_counts_may_end_below_the_cutoff_and_need_not_start_at_zero():
    edges = np.array([1.0, 1.4, 2.0])
    x = gas(2, 30)
    _, _, counts = FrameReducer(SPLINE, box=BOX, distance_edges=edges)(x)
    exact = [np.histogram(np.sqrt(squared_distances(frame, BOX)), edges)[0] for frame in x]
    np.testing.assert_allclose(counts, exact, atol=1.0)


@pytest.mark.parametrize("potential", [LJ, SPLINE + MANY_BODY], ids=["lj", "mixed"])
def test_blocks_of_any_size_give_the_same_bits(potential):
    frames = frames_of(gas(CALL_SIZES[-1] + 7, 9), BOX, trajectory=np.repeat([0, 1], [50, 21]))
    edges = np.linspace(0, 2.6, 14)
    whole = reduce(frames.blocks(1000), potential, distance_edges=edges)
    for size in (1, 10, CALL_SIZES[-1]):
        parts = reduce(frames.blocks(size), potential, distance_edges=edges)
        for one, other in zip(whole, parts, strict=True):
            np.testing.assert_array_equal(one, other)
    assert whole.n_frames == CALL_SIZES[-1] + 7
    assert whole.trajectory_lengths() == (50, 21)


@pytest.mark.parametrize("potential", [LJ, SPLINE, MANY_BODY], ids=["lj", "spline", "many_body"])
def test_every_frame_may_have_its_own_box(potential):
    x = gas(5, 12)
    scale = np.array([1.0, 1.02, 1.05, 1.0, 1.1])[:, None]
    frames = frames_of(x * scale[:, :, None], BOX * scale)
    together = reduce(frames.blocks(2), potential)
    for k in range(5):
        alone = FrameReducer(potential, box=BOX * scale[k])(frames.positions[k : k + 1])
        np.testing.assert_allclose(together.features[k], alone[0][0], rtol=1e-12)
        np.testing.assert_allclose(together.virial[k], alone[1][0], rtol=1e-12)


def test_float32_positions_lose_only_float32_digits():
    x = np.mod(gas(3, 40), BOX)
    double, single = FrameReducer(SPLINE, box=BOX)(x), FrameReducer(SPLINE, box=BOX)(x.astype(np.float32))
    assert single[0].dtype == np.float64
    eta = np.asarray(SPLINE.coefficients())
    for of_double, of_single in zip(double[:2], single[:2], strict=True):
        np.testing.assert_allclose(of_single @ eta, of_double @ eta, rtol=2e-5)
        np.testing.assert_allclose(of_single, of_double, atol=2e-5 * np.abs(of_double).max())


def test_pairs_far_apart_in_open_space_are_dropped():
    x = np.array([[[0.0, 0, 0], [0, 0, 1.1], [1e7, 0, 0]]])
    features, _, counts = FrameReducer(
        SPLINE, box=np.full(3, np.inf), distance_edges=np.array([0.0, 1.0, 2.0])
    )(x)
    expected = SPLINE.pair_basis(jnp.asarray(1.1**2))
    np.testing.assert_allclose(features[0], expected, atol=1e-6)
    np.testing.assert_allclose(counts, [[0.0, 1.0]])


def test_features_of_a_sum_stand_in_the_order_of_the_terms():
    potential = MANY_BODY + SPLINE + DoubleWell(1.0, 1.0)
    x = gas(2, 10)
    features, virial, _ = FrameReducer(potential, box=BOX)(x)
    assert features.shape == virial.shape == (2, potential.coefficients().size)
    direct = np.asarray([features_of(potential, frame, BOX) for frame in x])
    np.testing.assert_allclose(features, direct, rtol=1e-5, atol=1e-5)


def test_no_frames_give_empty_rows_from_a_reducer_and_an_error_from_a_source():
    features, virial, counts = FrameReducer(LJ, box=BOX)(np.zeros((0, 5, 3)))
    assert features.shape == virial.shape == (0, 2)
    assert counts.shape == (0, 0)
    with pytest.raises(InputError, match="no frames"):
        reduce(iter(()), LJ)


@pytest.mark.parametrize("edges", [None, np.linspace(0, 2.7, 10)])
def test_reach_beyond_half_the_box_is_refused(edges):
    potential = LJ if edges is not None else LennardJones(1.0, 1.0, cutoff=2.61)
    with pytest.raises(InputError, match="half of the shortest box edge"):
        FrameReducer(potential, box=BOX, distance_edges=edges)


def test_a_box_that_shrinks_below_twice_the_cutoff_is_refused():
    frames = frames_of(gas(2, 5), np.array([BOX, BOX * 0.9]))
    with pytest.raises(InputError, match="half of the shortest box edge"):
        reduce(frames.blocks(10), LJ)


def test_trajectory_lengths_follow_the_frames_not_the_labels():
    zeros = np.zeros((6, 1))
    statistics = SufficientStatistics(zeros, zeros, zeros[:, :0], np.array([3, 3, 3, 0, 0, 1]))
    assert statistics.trajectory_lengths() == (3, 2, 1)
