"""Rowlinson's bulk modulus against two sites in a box, whose log Z is known as a function of the volume."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.errors import InputError
from bayescg.physics import DoubleWell, LennardJones, SplinePair, WeeksChandlerAndersen
from bayescg.physics._compressibility import bulk_modulus_terms, hypervirial_per_bin

KT, EDGE = 1.2, 6.0
EDGES = np.linspace(0.0, 3.0, 31)
SPLINE = SplinePair.uniform(inner=0.7, cutoff=2.5, spacing=0.225, core_distance=0.8, core_strength=5.0)
PAIRS = {
    "shifted": LennardJones(1.0, 1.0, cutoff=2.5),
    "short and shifted, a strong jump of the force": LennardJones(1.0, 1.0, cutoff=1.47),
    "smooth": LennardJones(1.0, 1.0, cutoff=2.5, convention="smooth", onset=2.0),
    "table": WeeksChandlerAndersen(1.0, 1.0, inner=0.7, cutoff=1.3),
    "spline": SPLINE.with_parameters(
        {"pair_coefficients": jnp.asarray([3.0, -1.5, -2.0, 1.0, -1.5, 1.0, -0.5, 0.3])}
    ),
}


GRID = np.linspace(1e-3, EDGES[-1], 60_001)
MIDDLE, WIDTH = 0.5 * (GRID[1:] + GRID[:-1]), np.diff(GRID)


@eqx.filter_jit
def curves(pair):
    """Energy and force over distance on the grid."""
    r2 = jnp.asarray(MIDDLE**2)
    return pair.pair_energy(r2), pair.pair_force_factor(r2)


def exact_modulus(pair) -> float:
    """log Z = log V + log(V + ∫ (exp(−u/kT) − 1) 4πr² dr), so K = kT V [1/V² + 1/(V + I)²]."""
    mayer = np.expm1(-np.asarray(curves(pair)[0]) / KT)
    integral = np.sum(mayer * 4.0 * np.pi * MIDDLE**2 * WIDTH) - 4.0 / 3.0 * np.pi * 1e-9
    volume = EDGE**3
    return KT * volume * (1.0 / volume**2 + 1.0 / (volume + integral) ** 2)


def exact_averages(pair, *, smooth_only: bool = False, edges=EDGES) -> float:
    """K by the formula, its averages from quadrature instead of frames."""
    energy, factor = (np.asarray(one) for one in curves(pair))
    density = np.exp(-energy / KT) * 4.0 * np.pi * MIDDLE**2 * WIDTH
    density /= density.sum() + EDGE**3 - 4.0 / 3.0 * np.pi * EDGES[-1] ** 3
    work = MIDDLE**2 * factor
    counts = np.histogram(MIDDLE, edges, weights=density)[0]
    x = counts @ np.asarray(hypervirial_per_bin(pair, edges, kT=KT))
    if smooth_only:
        inside = MIDDLE < pair.cutoff - 2e-4
        x = np.sum((density * MIDDLE * np.gradient(-work, MIDDLE))[inside])
    mean = density @ work
    scatter = density @ (work - mean) ** 2 + (1.0 - density.sum()) * mean**2
    terms = bulk_modulus_terms(np.array([mean]), np.array([x]), mean, n_sites=2, volume=EDGE**3, kT=KT)
    return float(terms[0]) - scatter / (9.0 * KT * EDGE**3)


@pytest.mark.parametrize("name", PAIRS)
def test_the_bulk_modulus_is_the_derivative_of_the_pressure(name):
    assert exact_averages(PAIRS[name]) == pytest.approx(exact_modulus(PAIRS[name]), rel=2e-5)


@pytest.mark.parametrize("rounding", [-5e-10, 0.0, 5e-10])
def test_bins_may_end_at_the_cutoff(rounding):
    pair = PAIRS["short and shifted, a strong jump of the force"]
    edges = np.arange(22) * (pair.cutoff * (1.0 + rounding) / 21)
    assert exact_averages(pair, edges=edges) == pytest.approx(exact_modulus(pair), rel=3e-4)


def test_without_the_jump_of_the_force_it_is_not():
    pair = PAIRS["short and shifted, a strong jump of the force"]
    exact = exact_modulus(pair)
    ideal = 2.0 * KT / EDGE**3
    assert abs(exact_averages(pair, smooth_only=True) - exact) > 0.05 * abs(exact - ideal)


@pytest.mark.parametrize("cutoff", [1.47, 1.3])
@pytest.mark.parametrize("n_bins", [7, 15, 21])
@pytest.mark.parametrize("beyond", [0, 2])
@pytest.mark.parametrize("x64", [True, False])
def test_an_edge_on_the_cutoff_keeps_the_jump_however_it_is_rounded(cutoff, n_bins, beyond, x64):
    """The jump alone: w jumps from r u'(r_c) to 0, and the hypervirial of the last bin is mostly that."""
    width = cutoff / n_bins
    with jax.enable_x64(x64):
        pair = LennardJones(1.0, 1.0, cutoff=cutoff)
        given = [
            np.linspace(0.0, cutoff, n_bins + 1),
            np.arange(n_bins + 1 + beyond) * width,
            (np.arange(n_bins + 1 + beyond) * width).astype(np.float32),
            np.arange(n_bins + 1 + beyond) * width * (1.0 - 5e-10),
            np.arange(n_bins + 1 + beyond) * width * (1.0 + 5e-10),
        ]
        found = [np.asarray(hypervirial_per_bin(pair, edges, kT=KT)) for edges in given]
    jump = -(24.0 / cutoff**6 - 48.0 / cutoff**12)  # −r u′ at the cutoff
    r = np.linspace(cutoff - width, cutoff, 4001)
    u = 4.0 * (r**-12 - r**-6)
    weight = r**2 * np.exp(-(u - u[-1]) / KT)
    smooth = r * (576.0 / r**13 - 144.0 / r**7)  # r w′
    last = (np.trapezoid(weight * smooth, r) + cutoff**3 * jump) / np.trapezoid(weight, r)
    assert abs(cutoff**3 * jump / np.trapezoid(weight, r)) > 0.5 * abs(last)
    for one in found:
        np.testing.assert_allclose(one[n_bins - 1], last, rtol=2e-2)
        np.testing.assert_allclose(one[n_bins:], 0.0)


def test_the_formula_has_the_variance_of_the_virial_in_it():
    virial, hyper = np.array([1.0, 3.0]), np.array([9.0, 9.0])
    terms = bulk_modulus_terms(virial, hyper, 2.0, n_sites=10, volume=5.0, kT=2.0)
    # (20 + 2/3 + 1 − 1/18)/5
    assert terms.mean() == pytest.approx((20.0 + 2.0 / 3.0 + 1.0 - 1.0 / 18.0) / 5.0, rel=1e-12)


def test_bins_that_end_below_the_cutoff_are_refused():
    with pytest.raises(InputError, match="below the cutoff 2.5"):
        hypervirial_per_bin(PAIRS["shifted"], np.linspace(0.0, 2.4, 25), kT=KT)


def test_other_terms_than_pairs_are_refused():
    with pytest.raises(InputError, match="pair potentials alone"):
        hypervirial_per_bin(DoubleWell(1.0, 1.0), EDGES, kT=KT)
