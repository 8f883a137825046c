"""Pair potentials: the force of a pair, the cutoff, numbers from elsewhere, what splines and tables promise."""

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
from bayescg.physics import LennardJones, PairPotential, SplinePair, WeeksChandlerAndersen
from bayescg.physics._space import pair_displacements

PAIR_TERMS = ["lj_truncated", "lj_shifted", "lj_smooth", "wca", "mie", "spline_uniform", "spline_graded"]


@eqx.filter_jit
def pair_curves(potential, r2):
    return potential.pair_energy(r2), potential.pair_force_factor(r2)


def pair_energy(potential, r2):
    return np.asarray(pair_curves(potential, jnp.asarray(r2, float))[0])


def pair_force_factor(potential, r2):
    return np.asarray(pair_curves(potential, jnp.asarray(r2, float))[1])


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


# --- the force of a pair, and the cutoff ---


@pytest.mark.parametrize("name", PAIR_TERMS)
def test_force_factor_times_displacement_is_the_force(name, cases):
    potential, x, box = cases.make(name), cases.sites, cases.box
    d = np.asarray(jax.jit(pair_displacements)(x, box))
    pair_forces = pair_force_factor(potential, np.sum(d**2, axis=1))[:, None] * d
    first, second = np.triu_indices(len(x), k=1)
    total = np.zeros_like(x)
    np.add.at(total, first, pair_forces)
    np.add.at(total, second, -pair_forces)
    np.testing.assert_allclose(total, cases.forces(potential, x, box), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("name", PAIR_TERMS)
def test_energy_and_force_at_the_cutoff_follow_the_convention(name, cases):
    potential = cases.make(name)
    edge = potential.cutoff**2
    r2 = jnp.asarray([edge * (1 - 1e-12), edge, edge * 2])
    energy, force = pair_curves(potential, r2)
    np.testing.assert_array_equal(energy[1:], 0.0)
    np.testing.assert_array_equal(force[1:], 0.0)
    at_edge = bare_lj(cases.cutoff, 0.9, 1.05)
    np.testing.assert_allclose(energy[0], at_edge if name == "lj_truncated" else 0.0, atol=1e-9)
    if name in ("lj_truncated", "lj_shifted"):
        slope = jax.grad(lambda r: bare_lj(r, 0.9, 1.05))(cases.cutoff)
        np.testing.assert_allclose(force[0] * cases.cutoff, -slope, rtol=1e-9)
        assert abs(slope) > 0.01
    else:
        np.testing.assert_allclose(force[0], 0.0, atol=1e-9)


def test_the_switch_joins_smoothly_at_its_onset(cases):
    potential = cases.make("lj_smooth")
    r2 = jnp.asarray([4.0 * (1 - 1e-12), 4.0 * (1 + 1e-12)])
    for values in pair_curves(potential, r2):
        np.testing.assert_allclose(values[0], values[1], rtol=1e-9)
    np.testing.assert_allclose(pair_energy(potential, 2.25), bare_lj(1.5, 0.9, 1.05), rtol=1e-12)


def test_a_truncated_potential_and_its_continuous_form_have_the_same_forces(cases):
    bare = cases.make("lj_truncated")
    smooth = bare.continuous()
    assert smooth.convention == "shifted"
    x, box = cases.sites, cases.box
    np.testing.assert_allclose(
        cases.forces(bare, x, box), cases.forces(smooth, x, box), rtol=1e-10, atol=1e-10
    )
    assert abs(cases.energy(bare, x, box) - cases.energy(smooth, x, box)) > 0.1
    assert cases.make("lj_smooth").continuous() == cases.make("lj_smooth")


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


# --- numbers from elsewhere ---


def test_nist_configuration_4(cases):
    folder = Path(__file__).parents[2].parent / "shared" / "data" / "reference"
    file = folder / "nist_lj_sample_config4.xyz"
    if not file.is_file():
        pytest.skip(f"NIST's Lennard-Jones configuration 4 ({file.name}) is not next to the repository")
    lines = file.read_text().splitlines()
    x = np.array([[float(word) for word in line.split()[1:4]] for line in lines[2 : 2 + int(lines[0])]])
    assert len(x) == 30
    potential, box = LennardJones(1.0, 1.0, cutoff=3.0, convention="truncated"), np.full(3, 8.0)
    np.testing.assert_allclose(cases.energy(potential, x, box), -16.790321304625856, rtol=1e-13)
    d = np.asarray(jax.jit(pair_displacements)(x, box))
    r2 = np.sum(d * d, axis=1)
    np.testing.assert_allclose(np.sum(r2 * pair_force_factor(potential, r2)), -46.249196746308925, rtol=1e-12)


def test_a_double_loop_in_numpy_gives_the_same_energy(cases):
    x, box = cases.sites, cases.box
    shift = bare_lj(cases.cutoff, 0.9, 1.05)
    expected = direct_energy(lambda r: bare_lj(r, 0.9, 1.05) - shift, x, box, cases.cutoff)
    np.testing.assert_allclose(cases.energy(cases.make("lj_shifted"), x, box), expected, rtol=1e-12)


def test_jax_md_gives_the_same_energies_and_forces(cases):
    """To its precision: it keeps its constants in float32."""
    from jax_md import energy as their_energy
    from jax_md import smap, space

    displacement, _ = space.periodic(jnp.asarray(cases.box))
    metric = space.canonicalize_displacement_or_metric(displacement)
    x, size = jnp.asarray(cases.sites), {"sigma": jnp.asarray(1.05), "epsilon": jnp.asarray(0.9)}
    switch = their_energy.multiplicative_isotropic_cutoff(their_energy.lennard_jones, 2.0, cases.cutoff)
    switched = jax.jit(smap.pair(switch, metric, **size))
    np.testing.assert_allclose(cases.energy(cases.make("lj_smooth"), x, cases.box), switched(x), rtol=2e-7)
    np.testing.assert_allclose(
        cases.forces(cases.make("lj_smooth"), x, cases.box),
        -jax.jit(jax.grad(switched))(x),
        rtol=1e-6,
        atol=1e-5,
    )

    def truncated(dr, **sizes):
        return jnp.where(dr < cases.cutoff, their_energy.lennard_jones(dr, **sizes), 0.0)

    plain = jax.jit(smap.pair(truncated, metric, **size))
    np.testing.assert_allclose(cases.energy(cases.make("lj_truncated"), x, cases.box), plain(x), rtol=2e-7)


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


# --- splines and tables ---


@pytest.mark.parametrize("name", ["spline_uniform", "spline_graded"])
def test_spline_is_scipys_plus_a_core_and_continues_on_its_tangent(name, cases):
    potential = cases.make(name)
    knots = np.asarray(potential.knots)
    h, outside = knots[1] - knots[0], np.arange(1, 4)
    full = np.concatenate([knots[0] - h * outside[::-1], knots, knots[-1] + outside])
    exact = BSpline(full, np.append(potential.coefficients_, np.zeros(3)), 3)
    r = np.linspace(0.5, cases.cutoff, 301)[:-1]
    core = potential.core_strength * (np.maximum(potential.core_distance - r, 0) / h) ** 3
    expected = np.where(
        r < knots[0], exact(knots[0]) + exact.derivative()(knots[0]) * (r - knots[0]), exact(r)
    )
    np.testing.assert_allclose(pair_energy(potential, r**2), expected + core, atol=1e-10)


def test_uniform_spline_basis_sums_to_one_away_from_the_cutoff(cases):
    potential = cases.make("spline_uniform")
    r = np.linspace(0.95, cases.cutoff - 3 * 0.2 - 1e-9, 50)
    basis = np.asarray(jax.jit(lambda r2: potential.pair_basis(r2))(r**2))[:, :-1]
    np.testing.assert_allclose(basis.sum(axis=1), 1.0, rtol=1e-12)
    assert np.all(basis >= 0)


def test_spline_is_twice_differentiable_across_knots_and_the_cutoff(cases):
    potential = cases.make("spline_graded")

    def curve(r):
        return potential.pair_energy(r * r)

    slope = jax.grad(curve)
    first, second = jax.jit(jax.vmap(slope)), jax.jit(jax.vmap(jax.grad(slope)))
    knots = np.asarray([k for k in potential.knots if k > potential.core_distance])
    left, right = jnp.asarray(knots * (1 - 1e-10)), jnp.asarray(knots * (1 + 1e-10))
    np.testing.assert_allclose(first(left), first(right), atol=1e-5)
    np.testing.assert_allclose(second(left), second(right), atol=1e-5)


def test_graded_knots_grow_steadily_between_the_two_spacings(cases):
    steps = np.diff(cases.make("spline_graded").knots)
    ratios = steps[1:] / steps[:-1]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-10)
    assert ratios[0] > 1
    assert steps[0] == pytest.approx(0.1, rel=0.15)
    assert steps[-1] == pytest.approx(0.35, rel=0.15)


def test_centres_reproduce_a_straight_line(cases):
    potential = cases.make("spline_uniform")
    line = potential.with_parameters({"pair_coefficients": 2.0 - 3.0 * potential.centres()})
    r = np.linspace(1.15, cases.cutoff - 0.65, 20)  # beyond the core, before the basis is cut at the cutoff
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


def test_wca_is_the_repulsive_part_of_lennard_jones(cases):
    potential = cases.make("wca")
    r = np.linspace(0.9, 1.59, 100)
    expected = np.where(r < 2 ** (1 / 6) * 1.2, bare_lj(r, 1.3, 1.2) + 1.3, 0.0)
    np.testing.assert_allclose(potential.formula(jnp.asarray(r**2)), expected, atol=1e-12)


def test_wca_keeps_its_last_line_below_the_innermost_node(cases):
    potential = cases.make("wca")
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


def test_every_pair_term_says_whether_it_is_tabulated(cases):
    potentials = {name: make() for name, make in cases.constructors.items()}
    assert [name for name, one in potentials.items() if isinstance(one, PairPotential)] == PAIR_TERMS
    for name in PAIR_TERMS:
        assert potentials[name].tabulated is (not name.startswith("lj"))
