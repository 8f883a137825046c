"""Bond-order parameters: perfect crystals to the published digits, gases, invariances, an independent formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial.legendre import Legendre
from scipy.spatial.transform import Rotation

from bayescg.errors import InputError
from bayescg.physics import (
    NeighbourShell,
    averaged_steinhardt,
    solid_connections,
    solid_like_number,
    steinhardt,
    tetrahedral_order,
)
from bayescg.physics import _frame_map as frame_map
from bayescg.physics import _neighbour_shell as neighbour_shell
from bayescg.physics._steinhardt import real_harmonics

FCC = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
BASES = {
    "fcc": (FCC, [1, 1, 1]),
    "bcc": ([[0, 0, 0], [0.5, 0.5, 0.5]], [1, 1, 1]),
    "sc": ([[0, 0, 0]], [1, 1, 1]),
    "hcp": (
        [[0, 0, 0], [0.5, 0.5, 0], [0.5, 5 / 6, 0.5], [0, 1 / 3, 0.5]],
        [1, np.sqrt(3), np.sqrt(8 / 3)],
    ),
    "diamond": (FCC + [[x + 0.25, y + 0.25, z + 0.25] for x, y, z in FCC], [1, 1, 1]),
}
# neighbours, then q4 and q6 of the perfect crystal
PUBLISHED = {
    "fcc": (12, 0.19094, 0.57452),
    "bcc": (8, 0.50918, 0.62854),
    "sc": (6, 0.76376, 0.35355),
    "hcp": (12, 0.09722, 0.48476),
}


def crystal(name, *, n=4, noise=0.0, seed=0):
    """Sites of n × n × n conventional cells, and the box."""
    basis, edges = (np.asarray(part, float) for part in BASES[name])
    cells = np.array(list(np.ndindex(n, n, n)), float)
    sites = (cells[:, None] + basis).reshape(-1, 3) * edges
    return sites + noise * np.random.default_rng(seed).normal(size=sites.shape), n * edges


def by_legendre(positions, box, *, degree, number):
    """q_l and averaged q_l of every site from angles between bonds alone, by the addition theorem."""
    d = positions[None] - positions[:, None]
    d -= np.where(np.isinf(box), 0.0, box * np.round(d / box))
    r = np.linalg.norm(d, axis=-1)
    near = np.argsort(r, axis=1)[:, 1 : number + 1]
    unit = np.take_along_axis(d / np.where(r > 0, r, 1.0)[..., None], near[..., None], axis=1)
    cosines = np.einsum("ijx,klx->ikjl", unit, unit)
    dots = Legendre.basis(degree)(cosines).mean(axis=(2, 3))  # Σ_m q_lm(i) q_lm(k)*
    group = np.concatenate([np.arange(len(positions))[:, None], near], axis=1)
    averaged = np.array([dots[np.ix_(g, g)].mean() for g in group])
    return np.sqrt(np.diag(dots)), np.sqrt(averaged), dots, near


@pytest.mark.parametrize("name", PUBLISHED)
def test_perfect_crystals(name):
    number, q4, q6 = PUBLISHED[name]
    sites, box = crystal(name)
    shell = NeighbourShell(number)
    for degree, published in ((4, q4), (6, q6)):
        np.testing.assert_allclose(steinhardt(sites, box, degree=degree, shell=shell), published, atol=6e-6)
    if name in ("fcc", "bcc"):  # all sites alike: the average is each one's own
        by_cutoff = NeighbourShell(20, cutoff={"fcc": 0.8, "bcc": 0.95}[name])
        np.testing.assert_allclose(averaged_steinhardt(sites, box, degree=6, shell=by_cutoff), q6, atol=6e-6)


def test_harmonics_obey_the_addition_theorem_in_every_degree():
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(6, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    unit[0] = [0.0, 0.0, 1.0]
    for degree in range(1, 13):
        values = np.asarray(real_harmonics(jnp.asarray(unit), degree=degree))
        assert values.shape == (6, 2 * degree + 1)
        np.testing.assert_allclose(values @ values.T, Legendre.basis(degree)(unit @ unit.T), atol=1e-12)


def test_own_and_averaged_order_against_the_addition_theorem():
    sites, box = crystal("fcc", n=3, noise=0.06)
    own, averaged, dots, near = by_legendre(sites, box, degree=6, number=12)
    shell = NeighbourShell(12)
    np.testing.assert_allclose(steinhardt(sites, box, degree=6, shell=shell), own, atol=1e-10)
    np.testing.assert_allclose(averaged_steinhardt(sites, box, degree=6, shell=shell), averaged, atol=1e-10)
    alike = np.take_along_axis(dots / (own[:, None] * own), near, axis=1)
    threshold = float(np.median(alike))
    found = solid_connections(sites, box, shell=shell, threshold=threshold + 1e-9)
    np.testing.assert_array_equal(found, np.sum(alike > threshold + 1e-9, axis=1))


def test_invariance_under_rotation_translation_and_order():
    rng = np.random.default_rng(1)
    sites, box = rng.normal(size=(40, 3)), np.full(3, np.inf)
    turned = Rotation.random(random_state=2).apply(sites) + [3.0, -1.0, 7.0]
    order = rng.permutation(40)
    shell = NeighbourShell(7)
    for observable in (
        lambda x: steinhardt(x, box, degree=4, shell=shell),
        lambda x: averaged_steinhardt(x, box, degree=3, shell=shell),
        lambda x: solid_connections(x, box, shell=shell),
        lambda x: tetrahedral_order(x, box),
    ):
        here = np.asarray(observable(sites))
        assert np.ptp(here) > 0.1
        np.testing.assert_allclose(observable(turned), here, atol=1e-10)
        np.testing.assert_allclose(observable(sites[order]), here[order], atol=1e-10)


def test_solid_like_sites_of_crystal_gas_and_both():
    shell = NeighbourShell(12)
    sites, box = crystal("fcc", noise=0.02)
    assert float(solid_like_number(sites, box, shell=shell)) == len(sites)
    hot, _ = crystal("fcc", noise=0.08)
    counts = np.asarray(solid_connections(hot, box, shell=shell))
    assert np.all(np.bincount(counts.astype(int), minlength=13)[6:11] > 0)
    assert float(solid_like_number(hot, box, shell=shell)) == np.sum(counts >= 8)
    assert float(solid_like_number(hot, box, shell=shell, connections=10)) == np.sum(counts >= 10)
    gas = np.random.default_rng(3).uniform(0.0, box, (4, *sites.shape))
    assert float(np.mean(solid_like_number(gas, box, shell=shell))) < 0.02 * len(sites)
    beside = gas[0] * [0.5, 1.0, 1.0] + [0.5 * box[0], 0.0, 0.0]
    half = np.where(sites[:, :1] < 0.5 * box[0], sites, beside)
    counts = np.asarray(solid_connections(half, box, shell=shell))
    deep = (half[:, 0] > 0.9) & (half[:, 0] < 0.5 * box[0] - 0.9) & (sites[:, 0] < 0.5 * box[0])
    assert deep.sum() > 20 and np.all(counts[deep] >= 8)
    assert deep.sum() < float(solid_like_number(half, box, shell=shell)) < 0.6 * len(sites)


def test_tetrahedral_order_of_lattices_and_the_ideal_gas():
    sites, box = crystal("diamond", n=2)
    np.testing.assert_allclose(tetrahedral_order(sites, box), 1.0, atol=1e-12)
    along = np.concatenate([np.zeros((1, 3)), np.arange(1, 5)[:, None] * [[1.0, 0.0, 0.0]]])
    assert float(tetrahedral_order(along, np.full(3, np.inf))[0]) == pytest.approx(-3.0)
    gas = np.random.default_rng(4).uniform(0.0, 5.0, (300, 60, 3))
    found = np.asarray(tetrahedral_order(gas, np.full(3, 5.0))).mean(axis=1)
    assert abs(found.mean()) < 4.0 * found.std() / np.sqrt(len(found))
    assert found.std() / np.sqrt(len(found)) < 0.01


def test_gradients_are_right_also_along_the_axes():
    """Bonds of the crystal lie along z, where angles as coordinates would have none."""
    sites, box = crystal("sc", n=3, noise=0.0)
    sites = sites + 0.03 * np.random.default_rng(5).normal(size=sites.shape) * (sites[:, :1] > 0.5)
    step = np.random.default_rng(6).normal(size=sites.shape)
    shell = NeighbourShell(6)
    for observable in (
        lambda x: averaged_steinhardt(x, box, degree=4, shell=shell),
        lambda x: tetrahedral_order(x + jnp.asarray(0.02 * np.cos(3 * step)), box),
    ):

        def some(x, observable=observable):
            return jnp.sum(jnp.sin(3.0 * observable(x)))

        both = jax.jit(jax.value_and_grad(some))
        slope = (both(sites + 1e-6 * step)[0] - both(sites - 1e-6 * step)[0]) / 2e-6
        assert np.sum(both(sites)[1] * step) == pytest.approx(float(slope), rel=1e-5, abs=1e-6)


def test_batches_and_bounded_memory(monkeypatch):
    frames = np.stack([crystal("fcc", n=3, noise=0.05, seed=seed)[0] for seed in range(6)]).reshape(
        2, 3, -1, 3
    )
    boxes = np.full((2, 3, 3), 3.0) * np.array([1.0, 1.01, 1.02])[:, None]
    shell = NeighbourShell(12)
    together = steinhardt(frames, boxes, degree=2, shell=shell)
    alone = by_legendre(frames[1, 2], boxes[1, 2], degree=2, number=12)[0]
    np.testing.assert_allclose(together[1, 2], alone, rtol=1e-10)
    for module in (frame_map, neighbour_shell):
        monkeypatch.setattr(module, "MAX_NUMBERS", 20_000)
    jax.clear_caches()
    np.testing.assert_allclose(steinhardt(frames, boxes, degree=2, shell=shell), together, rtol=1e-10)


def test_a_list_that_does_not_fit_is_nan_not_wrong():
    sites, box = crystal("fcc", n=3)
    assert np.all(np.isnan(steinhardt(sites, box, degree=2, shell=NeighbourShell(11, cutoff=0.8))))
    assert np.isnan(solid_like_number(sites, box, shell=NeighbourShell(11, cutoff=0.8)))
    few = np.random.default_rng(7).uniform(0.0, 1.0, (6, 3))
    assert np.all(np.isnan(steinhardt(few, np.full(3, 1.0), degree=2, shell=NeighbourShell(5))))
    none = steinhardt(few, np.full(3, 1.0), degree=2, shell=NeighbourShell(5, cutoff=1e-3))
    np.testing.assert_array_equal(none, 0.0)


def test_bad_input():
    sites, box = crystal("sc", n=2)
    with pytest.raises(InputError, match="half of the box"):
        steinhardt(sites, box, degree=6, shell=NeighbourShell(6, cutoff=1.5))
    with pytest.raises(InputError, match="fewer than there are sites"):
        steinhardt(sites, box, degree=6, shell=NeighbourShell(8))
    with pytest.raises(InputError, match="from 1 to 12"):
        steinhardt(sites, box, degree=13, shell=NeighbourShell(6))
    with pytest.raises(InputError, match="positions have the shape"):
        tetrahedral_order(sites[:, :2], box[:2])
    with pytest.raises(InputError, match="at least one"):
        NeighbourShell(0)
    with pytest.raises(InputError, match="connections"):
        solid_like_number(sites, box, shell=NeighbourShell(6))
    with pytest.raises(InputError, match="threshold"):
        solid_connections(sites, box, shell=NeighbourShell(6), threshold=1.5)
