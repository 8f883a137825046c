"""Gradients of observables by positions, box and parameters against finite differences, and the smooth g(r) and N_s."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import BSpline

from bayescg.errors import InputError
from bayescg.physics import (
    LennardJones,
    NeighbourShell,
    axis_pressures,
    axis_virials,
    coordination_number,
    end_to_end_distance,
    finite_volume_kirkwood_buff_integral,
    frame_energies,
    insertion_energies,
    kirkwood_buff_integral,
    rmsf,
    running_kirkwood_buff_integral,
    smooth_rdf,
    smooth_solid_like_number,
    solid_like_number,
    steinhardt,
)

N, EDGE = 10, 6.0
BOX = np.full(3, EDGE)
RNG = np.random.default_rng(3)
FRAMES = RNG.uniform(0.0, EDGE, size=(2, N, 3))
DISTANCES = np.linspace(0.5, 2.4, 20)
EDGES = np.linspace(0.0, 3.0, 16)
G = RNG.uniform(0.5, 1.5, size=(2, 15))
SHELL = NeighbourShell(N - 1, cutoff=2.9)
# a lattice with noise: in it no pair overlaps
LIQUID = np.array(list(np.ndindex(3, 3, 3)))[None, :N] * 2.0 + 0.1 * RNG.normal(size=(2, N, 3))


def lj(theta):
    return LennardJones(theta[0], theta[1], cutoff=2.6, convention="smooth", onset=2.0)


def pressures(x, box, theta):
    return axis_pressures(axis_virials(lj(theta), x, box), box, n_sites=N, kT=1.3)


def insertion(x, theta):
    """Boltzmann factors: the energies of overlaps themselves are too large for differences."""
    return jnp.exp(-insertion_energies(lj(theta), x, BOX, key=jax.random.key(1), n_insertions=6))


THETA = np.array([1.0, 1.0])
CASES = {
    "end-to-end distance": (end_to_end_distance, FRAMES),
    "root-mean-square fluctuation": (rmsf, FRAMES),
    "Kirkwood-Buff integral of g": (lambda g: kirkwood_buff_integral(g, edges=EDGES, volume=EDGE**3), G),
    "its running integral": (lambda g: running_kirkwood_buff_integral(g, edges=EDGES), G),
    "its finite-volume integral": (lambda g: finite_volume_kirkwood_buff_integral(g, edges=EDGES), G),
    "coordination of g": (lambda g: coordination_number(g, edges=EDGES, density=0.8), G),
    "Kirkwood-Buff integral of positions": (
        lambda x: kirkwood_buff_integral(
            smooth_rdf(x, BOX, distances=DISTANCES), edges=np.linspace(0.45, 2.45, 21)
        ),
        FRAMES,
    ),
    "Steinhardt's q6": (lambda x: steinhardt(x, BOX, degree=6, shell=SHELL), FRAMES),
    "energy": (lambda x, box, theta: frame_energies(lj(theta), x, box), LIQUID, BOX, THETA),
    "pressure": (pressures, LIQUID, BOX, THETA),
    "insertion": (insertion, LIQUID, THETA),
    "smooth g(r)": (lambda x, box: smooth_rdf(x, box, distances=DISTANCES), FRAMES, BOX),
    "smooth number of solid-like sites": (
        lambda x: smooth_solid_like_number(x, BOX, shell=SHELL, onset=2.2, connections=1.5),
        FRAMES,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_against_finite_differences(name):
    """Along a random direction in all arguments together, of a random combination of the observable's values."""
    function, *arguments = CASES[name]
    arguments = [jnp.asarray(one) for one in arguments]
    rng = np.random.default_rng(0)
    shape = jax.eval_shape(function, *arguments).shape
    weights = rng.normal(size=shape)

    def some(step, directions):
        moved = [a + step * d for a, d in zip(arguments, directions, strict=True)]
        return jnp.sum(weights * function(*moved))

    both = jax.jit(jax.value_and_grad(some))
    directions = [jnp.asarray(rng.normal(size=a.shape)) for a in arguments]
    h = 1e-5
    slope = float(both(0.0, directions)[1])
    finite = float(both(h, directions)[0] - both(-h, directions)[0]) / (2.0 * h)
    assert np.isfinite(slope) and abs(slope) > 1e-8
    assert slope == pytest.approx(finite, rel=1e-5)


def test_smooth_rdf_is_the_kernel_density_over_that_of_an_ideal_gas():
    """Against scipy's B-spline at all distances, with species, and its norm by quadrature."""
    sites, partners = np.arange(N) < 4, np.arange(N) >= 3  # they share one site
    found = np.asarray(smooth_rdf(FRAMES, BOX, distances=DISTANCES, sites=sites, partners=partners))
    kernel = BSpline.basis_element(np.arange(-2.0, 3.0), extrapolate=False)
    h, fine = DISTANCES[1] - DISTANCES[0], np.linspace(0.0, 3.0, 30001)
    at = np.nan_to_num(kernel((fine[:, None] - DISTANCES) / h))
    norm = np.trapezoid(at * 4.0 * np.pi * fine[:, None] ** 2, fine, axis=0)
    for frame, got in zip(FRAMES, found, strict=True):
        d = frame[:, None] - frame
        r = np.linalg.norm(d - EDGE * np.round(d / EDGE), axis=-1)
        pairs = np.outer(sites, partners) & ~np.eye(N, dtype=bool)
        counts = np.nan_to_num(kernel((r[pairs][:, None] - DISTANCES) / h)).sum(axis=0)
        np.testing.assert_allclose(got, counts / norm * EDGE**3 / pairs.sum(), rtol=1e-6, atol=1e-12)


def test_smooth_rdf_of_an_ideal_gas_is_1_and_second_derivatives_agree():
    frames = np.random.default_rng(0).uniform(0.0, EDGE, size=(4000, N, 3))
    g = np.asarray(smooth_rdf(frames, BOX, distances=DISTANCES))
    z = (g.mean(axis=0) - 1.0) / (g.std(axis=0) / np.sqrt(len(g)))
    assert np.abs(z).max() < 4.0 and np.abs(z).max() > 0.05

    def one(shift):
        return smooth_rdf(jnp.asarray(FRAMES).at[0, 0, 0].add(shift), BOX, distances=DISTANCES)[0].sum()

    slope, bend, h = jax.jit(jax.grad(one)), jax.jit(jax.grad(jax.grad(one))), 1e-5
    assert float(bend(0.0)) == pytest.approx(float(slope(h) - slope(-h)) / (2.0 * h), rel=1e-4)


def fcc(n=3, noise=0.0):
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cells = np.array(list(np.ndindex(n, n, n)), float)
    sites = (cells[:, None] + basis).reshape(-1, 3)
    return sites + noise * np.random.default_rng(5).normal(size=sites.shape), np.full(3, float(n))


def test_smooth_number_of_solid_like_sites():
    """Of a perfect crystal in closed form; with narrow steps the count itself; no jump where a site enters the shell."""
    shell = NeighbourShell(20, cutoff=0.9)
    sites, box = fcc()

    def step(x):
        return 1.0 / (1.0 + np.exp(-x))

    perfect = float(smooth_solid_like_number(sites, box, shell=shell, onset=0.8))
    assert perfect == pytest.approx(108 * step((12.0 * step(0.5 / 0.05) - 7.5) / 0.5), rel=1e-6)
    noisy, box = fcc(noise=0.09)
    counted = float(solid_like_number(noisy, box, shell=shell, connections=8))
    assert 10.0 < counted < 98.0
    narrow = smooth_solid_like_number(
        noisy, box, shell=shell, onset=0.9 - 1e-9, threshold_width=1e-7, connections_width=1e-3
    )
    assert float(narrow) == pytest.approx(counted, abs=1e-6)
    # two sites alone and one more that comes in
    line = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    within = NeighbourShell(2, cutoff=2.0)
    ends = [
        float(smooth_solid_like_number(
            line + np.array([[0, 0, 0], [0, 0, 0], [0, shift, 0]]), np.full(3, 9.0), shell=within, onset=1.5, connections=0.5
        ))
        for shift in (-1e-6, 1e-6)
    ]  # fmt: skip
    assert abs(ends[0] - ends[1]) < 1e-6


def test_refusals():
    for distances, what in (
        (np.array([0.5, 0.6, 0.8]), "equal steps"),
        (np.array([0.1, 0.2, 0.3]), "begin at 0.2"),
        (np.linspace(1.0, 2.9, 20), "beyond half of the box"),
    ):
        with pytest.raises(InputError, match=what):
            smooth_rdf(FRAMES, BOX, distances=distances)
    with pytest.raises(InputError, match="box is open"):
        smooth_rdf(FRAMES, np.full(3, np.inf), distances=DISTANCES)
    one = np.arange(N) == 0
    with pytest.raises(InputError, match="no pairs"):
        smooth_rdf(FRAMES, BOX, distances=DISTANCES, sites=one, partners=one)
    with pytest.raises(InputError, match="finite cutoff"):
        smooth_solid_like_number(FRAMES, BOX, shell=NeighbourShell(5), onset=1.0)
    with pytest.raises(InputError, match="expected positive ones"):
        smooth_solid_like_number(FRAMES, BOX, shell=SHELL, onset=1.0, connections_width=0.0)
