"""Laws that every potential obeys, and each one against numbers from elsewhere."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.interpolate import BSpline
from scipy.optimize import brentq

from bayescg.errors import InputError
from bayescg.physics import (
    DoubleWell,
    LennardJones,
    LinearPotential,
    PairPotential,
    SplinePair,
    SumPotential,
    WeeksChandlerAndersen,
)
from bayescg.physics._space import minimum_image, pair_displacements, pair_distances_squared

BOX = np.array([5.2, 5.4, 5.6])
OPEN = np.full(3, np.inf)
CUTOFF = 2.5


def bumps(positions, box):
    """Two Gaussians in the distance and a three-body term, all seen through the minimum image."""
    r2 = pair_distances_squared(positions, box)
    crowding = jnp.sum(jnp.exp(-r2)) ** 2
    return jnp.stack([jnp.sum(jnp.exp(-r2)), jnp.sum(jnp.exp(-((jnp.sqrt(r2) - 1.5) ** 2))), crowding])


def with_random_coefficients(spline):
    values = np.random.default_rng(1).normal(size=spline.coefficients_.shape)
    return spline.with_parameters({f"{spline.name}_coefficients": values})


def uniform_spline(name="pair"):
    return with_random_coefficients(
        SplinePair.uniform(
            inner=0.9, cutoff=CUTOFF, spacing=0.2, core_distance=1.1, core_strength=2.0, name=name
        )
    )


def graded_spline():
    return with_random_coefficients(
        SplinePair.uniform(
            inner=0.9, cutoff=CUTOFF, spacing=0.1, outer_spacing=0.35, core_distance=1.0, core_strength=2.0
        )
    )


def wca():
    return WeeksChandlerAndersen(1.3, 1.2, inner=0.7, cutoff=1.6)


def lennard_jones(convention):
    onset = 2.0 if convention == "smooth" else None
    return LennardJones(0.9, 1.05, cutoff=CUTOFF, convention=convention, onset=onset)


CONSTRUCTORS = {
    "lj_truncated": lambda: lennard_jones("truncated"),
    "lj_shifted": lambda: lennard_jones("shifted"),
    "lj_smooth": lambda: lennard_jones("smooth"),
    "wca": wca,
    "spline_uniform": uniform_spline,
    "spline_graded": graded_spline,
    "sum_of_pairs": lambda: lennard_jones("shifted") + uniform_spline() + wca(),
    "linear": lambda: LinearPotential(jnp.asarray([0.7, -1.1, 0.02]), function=bumps),
    "double_well": lambda: DoubleWell(0.8, 0.3),
    "sum_with_well": lambda: lennard_jones("smooth") + DoubleWell(0.8, 0.3),
}
PAIR_TERMS = ["lj_truncated", "lj_shifted", "lj_smooth", "wca", "spline_uniform", "spline_graded"]
INTERNAL = [*PAIR_TERMS, "sum_of_pairs", "linear"]  # invariant under motions of the whole system
SHORT_RANGED = [*PAIR_TERMS, "sum_of_pairs"]
EVERY = pytest.mark.parametrize("name", CONSTRUCTORS)


def gas(n_sites=48, *, box=BOX, seed=5):
    """Sites at random, no closer than 0.75: pairs at all distances, the repulsive ones included."""
    rng = np.random.default_rng(seed)
    sites = [rng.uniform(0, box)]
    while len(sites) < n_sites:
        new = rng.uniform(0, box)
        d = np.asarray(sites) - new
        if np.min(np.sum((d - box * np.round(d / box)) ** 2, axis=1)) > 0.75**2:
            sites.append(new)
    return np.asarray(sites)


@eqx.filter_jit
def energy_and_forces(potential, positions, box):
    """Compiled once per potential and shape, for all tests."""
    return potential.energy(positions, box), potential.forces(positions, box)


def energy(potential, positions, box):
    return energy_and_forces(potential, np.asarray(positions), np.asarray(box))[0]


def forces(potential, positions, box):
    return energy_and_forces(potential, np.asarray(positions), np.asarray(box))[1]


@eqx.filter_jit
def features(potential, positions, box):
    return potential.features(positions, box)


@eqx.filter_jit
def pair_curves(potential, r2):
    return potential.pair_energy(r2), potential.pair_force_factor(r2)


def pair_energy(potential, r2):
    return np.asarray(pair_curves(potential, jnp.asarray(r2, float))[0])


def pair_force_factor(potential, r2):
    return np.asarray(pair_curves(potential, jnp.asarray(r2, float))[1])


def random_rotation(seed=3):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def direct_energy(pair_function, positions, box, cutoff):
    """A double loop in plain numpy."""
    total = 0.0
    for i in range(len(positions)):
        for j in range(i):
            d = positions[i] - positions[j]
            closed = np.isfinite(box)
            d[closed] -= box[closed] * np.round(d[closed] / box[closed])
            r = np.sqrt(np.sum(d * d))
            total += pair_function(r) if r < cutoff else 0.0
    return total


def bare_lj(r, epsilon=1.0, sigma=1.0):
    return 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)


# --- symmetry (T14) ---


@pytest.mark.parametrize("name", INTERNAL)
def test_translation_changes_nothing(name):
    potential, x = CONSTRUCTORS[name](), gas()
    moved = x + np.array([1.7, -3.3, 11.9])
    np.testing.assert_allclose(
        energy(potential, moved, BOX), energy(potential, x, BOX), rtol=1e-10, atol=1e-10
    )
    np.testing.assert_allclose(forces(potential, moved, BOX), forces(potential, x, BOX), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("name", INTERNAL)
def test_moving_one_site_by_a_box_edge_changes_nothing(name):
    potential, x = CONSTRUCTORS[name](), gas()
    wrapped = x.copy()
    wrapped[7] += BOX * np.array([1, -2, 0])
    np.testing.assert_allclose(
        energy(potential, wrapped, BOX), energy(potential, x, BOX), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", INTERNAL)
def test_rotation_in_open_space_turns_the_forces_along(name):
    potential, x, turn = CONSTRUCTORS[name](), gas(), random_rotation()
    np.testing.assert_allclose(
        energy(potential, x @ turn.T, OPEN), energy(potential, x, OPEN), rtol=1e-10, atol=1e-10
    )
    expected = np.asarray(forces(potential, x, OPEN))
    np.testing.assert_allclose(forces(potential, x @ turn.T, OPEN), expected @ turn.T, rtol=1e-8, atol=1e-8)


@EVERY
def test_reflection_reflects_the_forces(name):
    potential, x, mirror = CONSTRUCTORS[name](), gas(), np.array([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(
        energy(potential, x * mirror, BOX), energy(potential, x, BOX), rtol=1e-10, atol=1e-10
    )
    expected = np.asarray(forces(potential, x, BOX))
    np.testing.assert_allclose(forces(potential, x * mirror, BOX), expected * mirror, rtol=1e-9, atol=1e-8)


@EVERY
def test_permutation_permutes_the_forces(name):
    potential, x = CONSTRUCTORS[name](), gas()
    order = np.random.default_rng(2).permutation(len(x))
    np.testing.assert_allclose(
        energy(potential, x[order], BOX), energy(potential, x, BOX), rtol=1e-10, atol=1e-10
    )
    expected = np.asarray(forces(potential, x, BOX))
    np.testing.assert_allclose(forces(potential, x[order], BOX), expected[order], rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("name", INTERNAL)
def test_total_force_is_zero(name):
    each = np.asarray(forces(CONSTRUCTORS[name](), gas(), BOX))
    assert np.abs(each).max() > 1.0
    np.testing.assert_allclose(each.sum(axis=0), 0.0, atol=1e-10 * np.abs(each).sum())


@pytest.mark.parametrize("name", SHORT_RANGED)
def test_energy_is_extensive(name):
    potential, x = CONSTRUCTORS[name](), gas()
    replicated, doubled = np.concatenate([x, x + BOX * [1, 0, 0]]), BOX * [2, 1, 1]
    total = eqx.filter_jit(lambda p, x, box: p.energy(x, box))(potential, replicated, doubled)
    np.testing.assert_allclose(total, 2 * energy(potential, x, BOX), rtol=1e-10, atol=1e-10)


# --- energies, forces and parameters belong together ---


@EVERY
def test_energy_is_coefficients_times_features(name):
    potential, x = CONSTRUCTORS[name](), gas()
    product = potential.coefficients() @ features(potential, x, BOX)
    np.testing.assert_allclose(energy(potential, x, BOX), product, rtol=1e-10)


@EVERY
def test_forces_are_minus_the_slope_of_the_energy(name):
    potential, x = CONSTRUCTORS[name](), gas()
    direction = np.random.default_rng(8).normal(size=x.shape)
    h = 2e-6
    slope = (potential.energy(x + h * direction, BOX) - potential.energy(x - h * direction, BOX)) / (2 * h)
    expected = np.asarray(forces(potential, x, BOX))
    np.testing.assert_allclose(-np.sum(expected * direction), slope, rtol=1e-5)


@pytest.mark.parametrize("name", PAIR_TERMS)
def test_force_factor_times_displacement_is_the_force(name):
    potential, x = CONSTRUCTORS[name](), gas()
    d = np.asarray(jax.jit(pair_displacements)(x, BOX))
    pair_forces = pair_force_factor(potential, np.sum(d**2, axis=1))[:, None] * d
    first, second = np.triu_indices(len(x), k=1)
    total = np.zeros_like(x)
    np.add.at(total, first, pair_forces)
    np.add.at(total, second, -pair_forces)
    np.testing.assert_allclose(total, forces(potential, x, BOX), rtol=1e-9, atol=1e-8)


@EVERY
def test_the_parameters_are_described_in_the_order_of_the_leaves(name):
    potential = CONSTRUCTORS[name]()
    infos, values = potential.parameters(), potential.parameter_values()
    assert [info.name for info in infos] == list(values)
    for info, value, leaf in zip(infos, values.values(), jax.tree.leaves(potential), strict=True):
        assert info.shape == leaf.shape
        np.testing.assert_array_equal(value, leaf)
        assert info.quantity in ("energy", "length", "dimensionless")
        assert info.support in ("positive", "real")
        assert info.scale > 0
        assert len(info.coordinate) == (info.shape[0] if info.shape else 0)


@EVERY
def test_with_parameters_replaces_all_and_refuses_other_names(name):
    potential = CONSTRUCTORS[name]()
    values = {n: 1.1 * v for n, v in potential.parameter_values().items()}
    changed = potential.with_parameters(values)
    assert type(changed) is type(potential)
    for n, value in changed.parameter_values().items():
        np.testing.assert_allclose(value, values[n])
    first = next(iter(values))
    with pytest.raises(InputError, match="unknown misspelled"):
        potential.with_parameters({**values, "misspelled": 1.0})
    with pytest.raises(InputError, match=f"missing {first}"):
        potential.with_parameters({n: v for n, v in values.items() if n != first})


@EVERY
def test_every_parameter_moves_the_energy(name):
    potential, x = CONSTRUCTORS[name](), jnp.asarray(gas())

    @jax.jit
    @jax.value_and_grad
    def of_values(values):
        return potential.with_parameters(values).energy(x, jnp.asarray(BOX))

    value, gradient = of_values(potential.parameter_values())
    np.testing.assert_allclose(value, energy(potential, x, BOX), rtol=1e-10)
    for parameter, slope in gradient.items():
        assert np.all(np.abs(slope) > 1e-8), parameter


def test_terms_of_a_sum_need_different_names():
    with pytest.raises(InputError, match="lj_epsilon"):
        lennard_jones("shifted") + lennard_jones("smooth")
    two = lennard_jones("shifted") + LennardJones(0.1, 2.0, cutoff=CUTOFF, name="other")
    assert list(two.parameter_values()) == ["lj_epsilon", "lj_sigma", "other_epsilon", "other_sigma"]


def test_sums_are_flat_and_add_up():
    a, b, c = lennard_jones("shifted"), uniform_spline(), DoubleWell(1.0, 1.0)
    left, right = (a + b) + c, a + (b + c)
    assert isinstance(left, SumPotential)
    assert left.terms == right.terms
    assert len(left.terms) == 3
    x = gas()
    np.testing.assert_allclose(
        energy(left, x, BOX), energy(a, x, BOX) + energy(b, x, BOX) + energy(c, x, BOX), rtol=1e-12
    )


# --- at the cutoff ---


@pytest.mark.parametrize("name", PAIR_TERMS)
def test_energy_and_force_at_the_cutoff_follow_the_convention(name):
    potential = CONSTRUCTORS[name]()
    edge = potential.cutoff**2
    r2 = jnp.asarray([edge * (1 - 1e-12), edge, edge * 2])
    energy, force = pair_curves(potential, r2)
    np.testing.assert_array_equal(energy[1:], 0.0)
    np.testing.assert_array_equal(force[1:], 0.0)
    at_edge = bare_lj(CUTOFF, 0.9, 1.05)
    np.testing.assert_allclose(energy[0], at_edge if name == "lj_truncated" else 0.0, atol=1e-9)
    if name in ("lj_truncated", "lj_shifted"):
        slope = jax.grad(lambda r: bare_lj(r, 0.9, 1.05))(CUTOFF)
        np.testing.assert_allclose(force[0] * CUTOFF, -slope, rtol=1e-9)
        assert abs(slope) > 0.01
    else:
        np.testing.assert_allclose(force[0], 0.0, atol=1e-9)


def test_the_switch_joins_smoothly_at_its_onset():
    potential = lennard_jones("smooth")
    r2 = jnp.asarray([4.0 * (1 - 1e-12), 4.0 * (1 + 1e-12)])
    for values in pair_curves(potential, r2):
        np.testing.assert_allclose(values[0], values[1], rtol=1e-9)
    np.testing.assert_allclose(pair_energy(potential, 2.25), bare_lj(1.5, 0.9, 1.05), rtol=1e-12)


def test_a_truncated_potential_and_its_continuous_form_have_the_same_forces():
    bare = lennard_jones("truncated")
    smooth = bare.continuous()
    assert smooth.convention == "shifted"
    x = gas()
    np.testing.assert_allclose(forces(bare, x, BOX), forces(smooth, x, BOX), rtol=1e-10, atol=1e-10)
    assert abs(energy(bare, x, BOX) - energy(smooth, x, BOX)) > 0.1
    assert lennard_jones("smooth").continuous() == lennard_jones("smooth")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cutoff": -1.0}, "must be positive"),
        ({"cutoff": 2.5, "convention": "cut"}, "truncated, shifted, smooth"),
        ({"cutoff": 2.5, "onset": 2.0}, "onset"),
        ({"cutoff": 2.5, "convention": "smooth"}, "onset"),
        ({"cutoff": 2.5, "convention": "smooth", "onset": 2.6}, "between 0 and the cutoff"),
    ],
)
def test_impossible_cutoffs_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        LennardJones(1.0, 1.0, **settings)


# --- open directions ---


@pytest.mark.parametrize("box", [OPEN, np.array([5.2, 5.4, np.inf])], ids=["open", "slab"])
@pytest.mark.parametrize("name", INTERNAL)
def test_infinite_edges_are_open_directions(name, box):
    potential, x = CONSTRUCTORS[name](), gas()
    assert np.isfinite(energy(potential, x, box))
    assert np.isfinite(forces(potential, x, box)).all()
    far = np.where(np.isinf(box), 1e4, box)
    np.testing.assert_allclose(energy(potential, x, box), energy(potential, x, far), rtol=1e-9)


def test_minimum_image_is_the_shortest():
    box = jnp.asarray([2.0, 3.0, jnp.inf])
    d = jnp.asarray(np.random.default_rng(0).uniform(-9, 9, (200, 3)))
    image = np.asarray(minimum_image(d, box))
    assert np.all(np.abs(image[:, :2]) <= np.asarray(box[:2]) / 2 + 1e-12)
    np.testing.assert_array_equal(image[:, 2], d[:, 2])
    shifts = (np.asarray(d)[:, :2] - image[:, :2]) / np.asarray(box[:2])
    np.testing.assert_allclose(shifts, np.round(shifts), atol=1e-12)


# --- numbers from elsewhere ---


def test_nist_configuration_4():
    folder = Path(__file__).parents[2].parent / "shared" / "data" / "reference"
    file = folder / "nist_lj_sample_config4.xyz"
    if not file.is_file():
        pytest.skip(f"NIST's Lennard-Jones configuration 4 ({file.name}) is not next to the repository")
    lines = file.read_text().splitlines()
    x = np.array([[float(word) for word in line.split()[1:4]] for line in lines[2 : 2 + int(lines[0])]])
    assert len(x) == 30
    potential, box = LennardJones(1.0, 1.0, cutoff=3.0, convention="truncated"), np.full(3, 8.0)
    np.testing.assert_allclose(energy(potential, x, box), -16.790321304625856, rtol=1e-13)
    d = np.asarray(jax.jit(pair_displacements)(x, box))
    r2 = np.sum(d * d, axis=1)
    np.testing.assert_allclose(np.sum(r2 * pair_force_factor(potential, r2)), -46.249196746308925, rtol=1e-12)


def test_a_double_loop_in_numpy_gives_the_same_energy():
    x = gas()
    shift = bare_lj(CUTOFF, 0.9, 1.05)
    expected = direct_energy(lambda r: bare_lj(r, 0.9, 1.05) - shift, x, BOX, CUTOFF)
    np.testing.assert_allclose(energy(lennard_jones("shifted"), x, BOX), expected, rtol=1e-12)


def test_jax_md_gives_the_same_energies_and_forces():
    """To its precision: it keeps its constants in float32."""
    from jax_md import energy as their_energy
    from jax_md import smap, space

    displacement, _ = space.periodic(jnp.asarray(BOX))
    metric = space.canonicalize_displacement_or_metric(displacement)
    x, size = jnp.asarray(gas()), {"sigma": jnp.asarray(1.05), "epsilon": jnp.asarray(0.9)}
    switch = their_energy.multiplicative_isotropic_cutoff(their_energy.lennard_jones, 2.0, CUTOFF)
    switched = jax.jit(smap.pair(switch, metric, **size))
    np.testing.assert_allclose(energy(lennard_jones("smooth"), x, BOX), switched(x), rtol=2e-7)
    np.testing.assert_allclose(
        forces(lennard_jones("smooth"), x, BOX), -jax.jit(jax.grad(switched))(x), rtol=1e-6, atol=1e-5
    )

    def truncated(dr, **sizes):
        return jnp.where(dr < CUTOFF, their_energy.lennard_jones(dr, **sizes), 0.0)

    plain = jax.jit(smap.pair(truncated, metric, **size))
    np.testing.assert_allclose(energy(lennard_jones("truncated"), x, BOX), plain(x), rtol=2e-7)


def second_virial(temperature):
    """B₂ in σ³ from the package's pair energy, the tail beyond the cutoff to first order."""
    cutoff = 30.0
    potential = LennardJones(1.0, 1.0, cutoff=cutoff, convention="truncated")
    r, weights = np.polynomial.legendre.leggauss(400)
    total = 0.0
    for low, high in [(1e-3, 0.8), (0.8, 1.3), (1.3, 3.0), (3.0, 10.0), (10.0, cutoff)]:
        x = 0.5 * (high - low) * r + 0.5 * (high + low)
        mayer = np.expm1(-pair_energy(potential, x**2) / temperature)
        total += 0.5 * (high - low) * np.sum(weights * mayer * x**2)
    tail = quad(lambda x: -bare_lj(x) / temperature * x**2, cutoff, np.inf)[0]
    return -2 * np.pi * (total - (1e-3) ** 3 / 3 + tail)


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1.0, -5.315745), (1.5, -2.515124), (2.0, -1.314495), (5.0, 0.509657)]
)
def test_second_virial_coefficient(temperature, expected):
    assert second_virial(temperature) == pytest.approx(expected, abs=1e-6)


def test_boyle_temperature():
    assert brentq(second_virial, 3.0, 4.0, xtol=1e-7) == pytest.approx(3.41793, abs=1e-5)


# --- the single kinds ---


@pytest.mark.parametrize("name", ["spline_uniform", "spline_graded"])
def test_spline_is_scipys_plus_a_core_and_continues_on_its_tangent(name):
    potential = CONSTRUCTORS[name]()
    knots = np.asarray(potential.knots)
    h, outside = knots[1] - knots[0], np.arange(1, 4)
    full = np.concatenate([knots[0] - h * outside[::-1], knots, knots[-1] + outside])
    exact = BSpline(full, np.append(potential.coefficients_, np.zeros(3)), 3)
    r = np.linspace(0.5, CUTOFF, 301)[:-1]
    core = potential.core_strength * (np.maximum(potential.core_distance - r, 0) / h) ** 3
    expected = np.where(
        r < knots[0], exact(knots[0]) + exact.derivative()(knots[0]) * (r - knots[0]), exact(r)
    )
    np.testing.assert_allclose(pair_energy(potential, r**2), expected + core, atol=1e-10)


def test_uniform_spline_basis_sums_to_one_away_from_the_cutoff():
    potential = uniform_spline()
    r = np.linspace(0.95, CUTOFF - 3 * 0.2 - 1e-9, 50)
    basis = np.asarray(jax.jit(lambda r2: potential.pair_basis(r2))(r**2))[:, :-1]
    np.testing.assert_allclose(basis.sum(axis=1), 1.0, rtol=1e-12)
    assert np.all(basis >= 0)


def test_spline_is_twice_differentiable_across_knots_and_the_cutoff():
    potential = graded_spline()

    def curve(r):
        return potential.pair_energy(r * r)

    slope = jax.grad(curve)
    first, second = jax.jit(jax.vmap(slope)), jax.jit(jax.vmap(jax.grad(slope)))
    knots = np.asarray([k for k in potential.knots if k > potential.core_distance])
    left, right = jnp.asarray(knots * (1 - 1e-10)), jnp.asarray(knots * (1 + 1e-10))
    np.testing.assert_allclose(first(left), first(right), atol=1e-5)
    np.testing.assert_allclose(second(left), second(right), atol=1e-5)


def test_graded_knots_grow_steadily_between_the_two_spacings():
    steps = np.diff(graded_spline().knots)
    ratios = steps[1:] / steps[:-1]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-10)
    assert ratios[0] > 1
    assert steps[0] == pytest.approx(0.1, rel=0.15)
    assert steps[-1] == pytest.approx(0.35, rel=0.15)


def test_centres_reproduce_a_straight_line():
    potential = uniform_spline()
    line = potential.with_parameters({"pair_coefficients": 2.0 - 3.0 * potential.centres()})
    r = np.linspace(1.15, CUTOFF - 0.65, 20)  # beyond the core, before the basis is cut at the cutoff
    np.testing.assert_allclose(pair_energy(line, r**2), 2.0 - 3.0 * r, atol=1e-10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": 3.0}, "between 0 and the cutoff"),
        ({"spacing": 1.0}, "at least 4 intervals"),
        ({"outer_spacing": 0.05}, "must not be below"),
        ({"core_strength": -1.0}, "must not be negative"),
    ],
)
def test_impossible_splines_are_refused(change, message):
    settings = {"inner": 0.9, "cutoff": 2.5, "spacing": 0.1, "core_distance": 1.0, "core_strength": 1.0}
    with pytest.raises(InputError, match=message):
        SplinePair.uniform(**{**settings, **change})


def test_spline_refuses_a_wrong_number_of_coefficients_and_unsorted_knots():
    with pytest.raises(InputError, match="4 coefficients"):
        SplinePair(np.zeros(5), knots=(1.0, 1.5, 2.0, 2.5, 3.0), core_distance=1.0, core_strength=1.0)
    with pytest.raises(InputError, match="increase"):
        SplinePair(np.zeros(4), knots=(1.0, 2.0, 1.5, 2.5, 3.0), core_distance=1.0, core_strength=1.0)


@pytest.mark.parametrize("n_nodes", [64, 512])
def test_wca_interpolation_error_is_within_its_bound_and_the_bound_is_tight(n_nodes):
    potential = WeeksChandlerAndersen(1.3, 1.2, inner=0.9, cutoff=1.6, n_nodes=n_nodes)
    s = jnp.linspace(0.9**2, 1.6**2, 20_011)[:-1]
    error = np.max(np.abs(pair_energy(potential, s) - potential.formula(s)))
    bound = float(potential.interpolation_bound())
    assert error <= bound
    assert error >= 0.5 * bound


def test_wca_is_the_repulsive_part_of_lennard_jones():
    potential = wca()
    r = np.linspace(0.9, 1.59, 100)
    expected = np.where(r < 2 ** (1 / 6) * 1.2, bare_lj(r, 1.3, 1.2) + 1.3, 0.0)
    np.testing.assert_allclose(potential.formula(jnp.asarray(r**2)), expected, atol=1e-12)


def test_wca_keeps_its_last_line_below_the_innermost_node():
    potential = wca()
    nodes = potential.nodes()
    eta = np.asarray(potential.coefficients())
    slope = (eta[1] - eta[0]) / (nodes[1] - nodes[0])
    s = 0.4 * nodes[0]
    assert float(pair_energy(potential, s)) == pytest.approx(eta[0] + slope * (s - nodes[0]))
    assert float(pair_force_factor(potential, s)) == pytest.approx(-2 * slope)


def test_wca_refuses_a_range_beyond_its_cutoff_or_too_few_nodes():
    with pytest.raises(InputError, match="between 0 and the cutoff"):
        WeeksChandlerAndersen(1.0, 1.0, inner=2.0, cutoff=1.5)
    with pytest.raises(InputError, match="n_nodes"):
        WeeksChandlerAndersen(1.0, 1.0, inner=0.5, cutoff=1.5, n_nodes=1)


def test_double_well_has_its_minima_where_the_docstring_says():
    well = DoubleWell(2.0, 0.5)
    x = jnp.asarray([[2.0, -2.0]])
    np.testing.assert_allclose(well.forces(x, jnp.full(2, jnp.inf)), 0.0, atol=1e-12)
    assert float(well.energy(x, jnp.full(2, jnp.inf))) == pytest.approx(2 * (-2.0 * 4 / 2 + 0.5 * 16 / 4))


def test_linear_potential_takes_a_vector():
    with pytest.raises(InputError, match="vector"):
        LinearPotential(jnp.asarray(1.0), function=bumps)


def test_every_pair_term_says_whether_it_is_tabulated():
    for name in PAIR_TERMS:
        potential = CONSTRUCTORS[name]()
        assert isinstance(potential, PairPotential)
        assert potential.tabulated is (not name.startswith("lj"))
