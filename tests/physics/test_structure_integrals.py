"""Kirkwood–Buff integrals and coordination numbers against closed forms, and against fluctuations in a sphere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.errors import InputError
from bayescg.physics import _frame_map as frame_map
from bayescg.physics import _smooth_coordination as smooth_module
from bayescg.physics import (
    coordination_number,
    finite_volume_kirkwood_buff_integral,
    kirkwood_buff_integral,
    running_kirkwood_buff_integral,
    smooth_coordination,
)

EDGES = np.linspace(0.0, 8.0, 161)
A = 1.5
HOLE = np.where(EDGES[1:] < A + 0.01, 0.0, 1.0)
FULL = -4.0 / 3.0 * np.pi * A**3


def test_hole_of_radius_a():
    beyond = EDGES[1:] > A
    L = EDGES[1:][beyond]
    running = running_kirkwood_buff_integral(HOLE, edges=EDGES)[beyond]
    np.testing.assert_allclose(running, FULL, rtol=1e-12)
    sphere = finite_volume_kirkwood_buff_integral(HOLE, edges=EDGES)[beyond]
    np.testing.assert_allclose(sphere, FULL * (1 - 9 * A / (8 * L) + A**3 / (4 * L**3)), rtol=1e-11)
    best = kirkwood_buff_integral(HOLE, edges=EDGES)[beyond]
    x = A / L
    np.testing.assert_allclose(best, FULL * (1 - 23 / 16 * x**3 + 9 / 28 * x**4 + 27 / 64 * x**5), rtol=1e-11)


def test_finite_spheres_extrapolate_linearly_in_the_inverse_diameter():
    L = EDGES[1:]
    far = L > 5.0
    sphere = np.asarray(finite_volume_kirkwood_buff_integral(HOLE, edges=EDGES))
    slope, intercept = np.polyfit(1 / L[far], sphere[far], 1)
    assert intercept == pytest.approx(FULL, rel=0.02) and slope == pytest.approx(-FULL * 9 * A / 8, rel=0.05)
    assert abs(sphere[-1] / FULL - 1) > 0.2  # what the extrapolation repairs


def test_oscillating_g_converges_where_the_running_integral_does_not():
    """g − 1 = e^{−r/ξ} cos(qr)/r: the integral is 4π Re[1/s²], s = 1/ξ − iq."""
    xi, q = 3.0, 2.0 * np.pi
    edges = np.linspace(0.0, 12.0, 1201)
    r = 0.5 * (edges[1:] + edges[:-1])
    g = 1.0 + np.exp(-r / xi) * np.cos(q * r) / r
    exact = 4 * np.pi * np.real(1.0 / (1 / xi - 1j * q) ** 2)
    last = edges[1:] > 10.0
    running = np.abs(np.asarray(running_kirkwood_buff_integral(g, edges=edges)) - exact)[last].max()
    best = np.abs(np.asarray(kirkwood_buff_integral(g, edges=edges)) - exact)[last].max()
    assert best < 0.1 * running and best < 0.05


def test_finite_volume_weight_is_that_of_pairs_in_a_sphere():
    """Number fluctuations of dimers in a sphere: ⟨N²⟩ − ⟨N⟩² = ⟨N⟩ (1 + ρG), G with the dimers' g(r)."""
    rng = np.random.default_rng(0)
    box, n, length, L = 6.0, 24, 0.8, 3.0
    middle = rng.uniform(0.0, box, (40_000, n, 3))
    axis = rng.normal(size=middle.shape)
    axis *= 0.5 * length / np.linalg.norm(axis, axis=-1, keepdims=True)
    sites = np.concatenate([middle + axis, middle - axis], axis=1)
    sites -= box * np.round(sites / box)
    number = np.sum(np.sum(sites**2, axis=-1) < (0.5 * L) ** 2, axis=1)
    density = 2 * n / box**3
    edges = np.linspace(0.0, L, 3001)
    shell = np.searchsorted(edges, length) - 1
    # a dimer's partner at `length`, and 2n − 2 other sites anywhere: g − 1 = −2/(2n) but for the partner
    g = np.full(3000, 1.0 - 1.0 / n)
    g[shell] += 1.0 / (density * 4 / 3 * np.pi * np.diff(edges**3)[shell])
    expected = 1 + density * float(finite_volume_kirkwood_buff_integral(g, edges=edges)[-1])
    found = number.var() / number.mean()
    error = found * np.sqrt(2 / len(number))
    assert abs(found - expected) < 4.5 * error
    running = 1 + density * float(running_kirkwood_buff_integral(g, edges=edges)[-1])
    assert abs(found - running) > 10 * error


@pytest.mark.parametrize(
    "estimate",
    [running_kirkwood_buff_integral, finite_volume_kirkwood_buff_integral, kirkwood_buff_integral],
)
def test_closed_box_of_dimers(estimate):
    """All N(N − 1) pairs counted, one partner of each site at the bond length and the others anywhere."""
    n, box, length = 40, 10.0, 1e-6
    edges = np.append(0.0, np.linspace(2 * length, 5.0, 50))
    g = np.full(50, (n - 2) / (n - 1))
    g[0] += box**3 / (n - 1) / (4 / 3 * np.pi * edges[1] ** 3)
    found = np.asarray(estimate(g, edges=edges, volume=box**3))
    np.testing.assert_allclose(found[10:], box**3 / (n - 1), rtol=1e-5)
    assert np.abs(np.asarray(estimate(g, edges=edges)) / found - 1)[-1] > 0.05  # what the volume is worth


def test_coordination_number_counts_spheres():
    n = coordination_number(HOLE, edges=EDGES, density=0.3)
    expected = 0.3 * 4 / 3 * np.pi * np.maximum(EDGES[1:] ** 3 - A**3, 0.0)
    np.testing.assert_allclose(n, expected, atol=1e-10)
    batch = coordination_number(np.stack([HOLE, 2 * HOLE]), edges=EDGES, density=0.3)
    np.testing.assert_allclose(batch[1], 2 * n)


def test_smooth_coordination_of_a_lattice_and_of_partners():
    grid = np.array(list(np.ndindex(4, 4, 4)), float)
    box = np.full(3, 4.0)
    np.testing.assert_allclose(smooth_coordination(grid, box, onset=1.05, cutoff=1.35), 6.0)
    np.testing.assert_allclose(smooth_coordination(grid, box, onset=1.45, cutoff=1.7), 18.0)
    even = grid.sum(1) % 2 == 0
    found = smooth_coordination(grid, box, onset=1.05, cutoff=1.35, partners=even)
    np.testing.assert_allclose(found, np.where(even, 0.0, 6.0))


def test_smooth_coordination_is_smooth_batched_and_bounded(monkeypatch):
    rng = np.random.default_rng(1)
    box = np.array([4.0, 5.0, 6.0])
    positions = rng.uniform(0.0, box, (3, 20, 3))
    found = np.asarray(smooth_coordination(positions, box, onset=0.8, cutoff=1.9))
    d = positions[:, :, None] - positions[:, None]
    d -= box * np.round(d / box)
    s = np.sum(d**2, axis=-1)
    o, c = 0.8**2, 1.9**2
    switch = np.where(s < o, 1.0, np.where(s < c, (c - s) ** 2 * (c + 2 * s - 3 * o) / (c - o) ** 3, 0.0))
    np.testing.assert_allclose(found, switch.sum(-1) - 1.0, rtol=1e-10)
    monkeypatch.setattr(frame_map, "MAX_NUMBERS", 100)
    monkeypatch.setattr(smooth_module, "MAX_NUMBERS", 100)
    jax.clear_caches()

    def some(x):
        return jnp.sum(jnp.sin(smooth_coordination(x, box, onset=0.8, cutoff=1.9)))

    assert float(some(positions)) == pytest.approx(np.sin(found).sum(), rel=1e-12)
    step = rng.normal(size=positions.shape)
    slope = (some(positions + 1e-6 * step) - some(positions - 1e-6 * step)) / 2e-6
    assert np.sum(jax.grad(some)(positions) * step) == pytest.approx(float(slope), rel=1e-6)


def test_bad_input():
    with pytest.raises(InputError, match="one edge more"):
        kirkwood_buff_integral(np.ones(4), edges=np.arange(4.0))
    with pytest.raises(InputError, match="volume of the whole box"):
        kirkwood_buff_integral(np.ones(4), edges=np.arange(5.0), volume=200.0)
    with pytest.raises(InputError, match="half of the box"):
        smooth_coordination(np.zeros((2, 3)), np.ones(3), onset=0.4, cutoff=0.6)
    with pytest.raises(InputError, match="onset"):
        smooth_coordination(np.zeros((2, 3)), np.ones(3), onset=0.4, cutoff=0.3)
    with pytest.raises(InputError, match="partners"):
        smooth_coordination(np.zeros((2, 3)), np.ones(3), onset=0.1, cutoff=0.3, partners=np.ones(3, bool))
