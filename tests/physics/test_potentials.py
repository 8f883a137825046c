"""Laws that every potential obeys."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.errors import InputError
from bayescg.physics import DoubleWell, LennardJones, LinearPotential, SumPotential
from bayescg.physics._space import minimum_image

OPEN = np.full(3, np.inf)
SHORT_RANGED = [
    "lj_truncated", "lj_shifted", "lj_smooth", "wca", "mie", "spline_uniform", "spline_graded", "sum_of_pairs"
]  # fmt: skip
INTERNAL = [*SHORT_RANGED, "linear"]  # invariant under motions of the whole system
KINDS = [*INTERNAL, "double_well", "sum_with_well"]
EVERY = pytest.mark.parametrize("name", KINDS)


@eqx.filter_jit
def features(potential, positions, box):
    return potential.features(positions, box)


def random_rotation(seed=3):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def test_no_kind_of_potential_is_left_out(cases):
    assert list(cases.constructors) == KINDS


# --- symmetry (T14) ---


@pytest.mark.parametrize("name", INTERNAL)
def test_translation_changes_nothing(name, cases):
    potential, x, box = cases.make(name), cases.sites, cases.box
    moved = x + np.array([1.7, -3.3, 11.9])
    np.testing.assert_allclose(
        cases.energy(potential, moved, box), cases.energy(potential, x, box), rtol=1e-10, atol=1e-10
    )
    np.testing.assert_allclose(
        cases.forces(potential, moved, box), cases.forces(potential, x, box), rtol=1e-9, atol=1e-8
    )


@pytest.mark.parametrize("name", INTERNAL)
def test_moving_one_site_by_a_box_edge_changes_nothing(name, cases):
    potential, x, box = cases.make(name), cases.sites, cases.box
    wrapped = x.copy()
    wrapped[7] += box * np.array([1, -2, 0])
    np.testing.assert_allclose(
        cases.energy(potential, wrapped, box), cases.energy(potential, x, box), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", INTERNAL)
def test_rotation_in_open_space_turns_the_forces_along(name, cases):
    potential, x, turn = cases.make(name), cases.sites, random_rotation()
    np.testing.assert_allclose(
        cases.energy(potential, x @ turn.T, OPEN), cases.energy(potential, x, OPEN), rtol=1e-10, atol=1e-10
    )
    expected = np.asarray(cases.forces(potential, x, OPEN))
    np.testing.assert_allclose(
        cases.forces(potential, x @ turn.T, OPEN), expected @ turn.T, rtol=1e-8, atol=1e-8
    )


@EVERY
def test_reflection_reflects_the_forces(name, cases):
    potential, x, mirror = cases.make(name), cases.sites, np.array([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(
        cases.energy(potential, x * mirror, cases.box),
        cases.energy(potential, x, cases.box),
        rtol=1e-10,
        atol=1e-10,
    )
    expected = np.asarray(cases.forces(potential, x, cases.box))
    np.testing.assert_allclose(
        cases.forces(potential, x * mirror, cases.box), expected * mirror, rtol=1e-9, atol=1e-8
    )


@EVERY
def test_permutation_permutes_the_forces(name, cases):
    potential, x, box = cases.make(name), cases.sites, cases.box
    order = np.random.default_rng(2).permutation(len(x))
    np.testing.assert_allclose(
        cases.energy(potential, x[order], box), cases.energy(potential, x, box), rtol=1e-10, atol=1e-10
    )
    expected = np.asarray(cases.forces(potential, x, box))
    np.testing.assert_allclose(cases.forces(potential, x[order], box), expected[order], rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("name", INTERNAL)
def test_total_force_is_zero(name, cases):
    each = np.asarray(cases.forces(cases.make(name), cases.sites, cases.box))
    assert np.abs(each).max() > 1.0
    np.testing.assert_allclose(each.sum(axis=0), 0.0, atol=1e-10 * np.abs(each).sum())


@pytest.mark.parametrize("name", SHORT_RANGED)
def test_energy_is_extensive(name, cases):
    potential, x, box = cases.make(name), cases.sites, cases.box
    replicated, doubled = np.concatenate([x, x + box * [1, 0, 0]]), box * [2, 1, 1]
    total = eqx.filter_jit(lambda p, x, box: p.energy(x, box))(potential, replicated, doubled)
    np.testing.assert_allclose(total, 2 * cases.energy(potential, x, box), rtol=1e-10, atol=1e-10)


# --- energies, forces and parameters belong together ---


@EVERY
def test_energy_is_coefficients_times_features(name, cases):
    potential, x, box = cases.make(name), cases.sites, cases.box
    product = potential.coefficients() @ features(potential, x, box)
    np.testing.assert_allclose(cases.energy(potential, x, box), product, rtol=1e-10)


@EVERY
def test_forces_are_minus_the_slope_of_the_energy(name, cases):
    potential, x, box = cases.make(name), cases.sites, cases.box
    direction = np.random.default_rng(8).normal(size=x.shape)
    h = 2e-6
    slope = (potential.energy(x + h * direction, box) - potential.energy(x - h * direction, box)) / (2 * h)
    expected = np.asarray(cases.forces(potential, x, box))
    np.testing.assert_allclose(-np.sum(expected * direction), slope, rtol=1e-5)


@EVERY
def test_the_parameters_are_described_in_the_order_of_the_leaves(name, cases):
    potential = cases.make(name)
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
def test_with_parameters_replaces_all_and_refuses_other_names(name, cases):
    potential = cases.make(name)
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
def test_every_parameter_moves_the_energy(name, cases):
    potential, x = cases.make(name), jnp.asarray(cases.sites)

    @jax.jit
    @jax.value_and_grad
    def of_values(values):
        return potential.with_parameters(values).energy(x, jnp.asarray(cases.box))

    value, gradient = of_values(potential.parameter_values())
    np.testing.assert_allclose(value, cases.energy(potential, x, cases.box), rtol=1e-10)
    for parameter, slope in gradient.items():
        assert np.all(np.abs(slope) > 1e-8), parameter


def test_terms_of_a_sum_need_different_names(cases):
    with pytest.raises(InputError, match="lj_epsilon"):
        cases.make("lj_shifted") + cases.make("lj_smooth")
    two = cases.make("lj_shifted") + LennardJones(0.1, 2.0, cutoff=cases.cutoff, name="other")
    assert list(two.parameter_values()) == ["lj_epsilon", "lj_sigma", "other_epsilon", "other_sigma"]


def test_sums_are_flat_and_add_up(cases):
    a, b, c = cases.make("lj_shifted"), cases.make("spline_uniform"), DoubleWell(1.0, 1.0)
    left, right = (a + b) + c, a + (b + c)
    assert isinstance(left, SumPotential)
    assert left.terms == right.terms
    assert len(left.terms) == 3
    x, box = cases.sites, cases.box
    np.testing.assert_allclose(
        cases.energy(left, x, box),
        cases.energy(a, x, box) + cases.energy(b, x, box) + cases.energy(c, x, box),
        rtol=1e-12,
    )


# --- open directions ---


@pytest.mark.parametrize("box", [OPEN, np.array([5.2, 5.4, np.inf])], ids=["open", "slab"])
@pytest.mark.parametrize("name", INTERNAL)
def test_infinite_edges_are_open_directions(name, box, cases):
    potential, x = cases.make(name), cases.sites
    assert np.isfinite(cases.energy(potential, x, box))
    assert np.isfinite(cases.forces(potential, x, box)).all()
    far = np.where(np.isinf(box), 1e4, box)
    np.testing.assert_allclose(cases.energy(potential, x, box), cases.energy(potential, x, far), rtol=1e-9)


def test_minimum_image_is_the_shortest():
    box = jnp.asarray([2.0, 3.0, jnp.inf])
    d = jnp.asarray(np.random.default_rng(0).uniform(-9, 9, (200, 3)))
    image = np.asarray(minimum_image(d, box))
    assert np.all(np.abs(image[:, :2]) <= np.asarray(box[:2]) / 2 + 1e-12)
    np.testing.assert_array_equal(image[:, 2], d[:, 2])
    shifts = (np.asarray(d)[:, :2] - image[:, :2]) / np.asarray(box[:2])
    np.testing.assert_allclose(shifts, np.round(shifts), atol=1e-12)


# --- the kinds that are no pair potentials ---


def test_double_well_has_its_minima_where_the_docstring_says():
    well = DoubleWell(2.0, 0.5)
    x = jnp.asarray([[2.0, -2.0]])
    np.testing.assert_allclose(well.forces(x, jnp.full(2, jnp.inf)), 0.0, atol=1e-12)
    assert float(well.energy(x, jnp.full(2, jnp.inf))) == pytest.approx(2 * (-2.0 * 4 / 2 + 0.5 * 16 / 4))


def test_linear_potential_takes_a_vector():
    with pytest.raises(InputError, match="vector"):
        LinearPotential(jnp.asarray(1.0), function=lambda positions, box: positions)
