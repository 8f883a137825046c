"""Geodesics of the model manifold against limits that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from bayescg.analysis import (
    End,
    equilibrium_manifold,
    least_squares_manifold,
    manifold_boundary,
    second_derivative,
)
from bayescg.errors import InputError
from bayescg.inference import Prior
from bayescg.physics import DoubleWell, LinearPotential, Surrogate


def half_square(positions, box):
    return jnp.sum(positions**2).reshape(1) / 2.0


def springs(z):
    """V7 as least squares: what one observation tells of ln k_eff has a standard error √2."""
    return -jnp.logaddexp(-z[0], -z[1])[None] / jnp.sqrt(2.0)


def equilibrium_springs():
    """V7 as it stands, y ~ N(0, 1/k_eff), with log Z by quadrature."""
    y = jnp.linspace(-14.0, 14.0, 1401)
    surrogate = Surrogate(jnp.ones(()), jnp.zeros(1), (y**2 / 2.0)[:, None], jnp.zeros(1401))

    def model():
        k1 = numpyro.sample("k1", dist.LogNormal(0.0, 1.0))
        k2 = numpyro.sample("k2", dist.LogNormal(0.0, 1.0))
        return LinearPotential((k1 * k2 / (k1 + k2))[None], function=half_square)

    return equilibrium_manifold(Prior(model), surrogate)


@pytest.mark.parametrize("manifold", [least_squares_manifold(springs), equilibrium_springs()])
def test_springs_in_series(manifold):
    """V7: null vector (1, −3)/√10, the other eigenvalue .3125; k_stiff → ∞ with k_soft → k_eff = .75."""
    start = np.log([1.0, 3.0])
    values, vectors = np.linalg.eigh(np.asarray(manifold.metric(jnp.asarray(start))))
    np.testing.assert_allclose(values, [0.0, 0.3125], atol=1e-8)
    np.testing.assert_allclose(
        vectors[:, 0] * np.sign(vectors[0, 0]), np.array([1.0, -3.0]) / np.sqrt(10.0), atol=1e-8
    )
    found = manifold_boundary(manifold, start, names=("k_soft", "k_stiff"))
    assert found.end is End.limit and found.running == (1,)
    assert found.words == "k_stiff -> infinity, with k_soft -> 0.75: one parameter fewer"
    assert np.exp(found.edge[0]) == pytest.approx(0.75, abs=1e-8)
    np.testing.assert_allclose(found.velocity, [0.0, 1.0], atol=1e-8)
    np.testing.assert_allclose(np.sum(np.exp(-found.z), axis=1), 4.0 / 3.0, atol=1e-8)  # k_eff never changes


def test_the_other_way_the_other_spring_stiffens():
    found = manifold_boundary(
        least_squares_manifold(springs),
        np.log([1.0, 3.0]),
        names=("k1", "k2"),
        direction=np.array([1.0, -3.0]),
    )
    assert found.words == "k1 -> infinity, with k2 -> 0.75: one parameter fewer"


def test_correlation_of_an_overdamped_mode_knows_only_the_ratio():
    """T10: null direction (1, 1)/√2 in log(k, γ)."""
    t = jnp.linspace(0.1, 3.0, 12)
    manifold = least_squares_manifold(lambda z: jnp.exp(-jnp.exp(z[0] - z[1]) * t))
    start = np.log([3.0, 2.0])
    values, vectors = np.linalg.eigh(np.asarray(manifold.metric(jnp.asarray(start))))
    assert abs(values[0]) < 1e-14 * values[1]
    np.testing.assert_allclose(np.abs(vectors[:, 0]), np.sqrt(0.5), atol=1e-10)
    found = manifold_boundary(manifold, start, names=("k", "gamma"))
    assert found.words == "k -> infinity and gamma -> infinity, with k / gamma -> 1.5: one parameter fewer"


def michaelis_menten(z):
    x = jnp.array([0.1, 0.5, 1.0, 2.0, 4.0])
    return 10.0 * jnp.exp(z[0]) * x / (jnp.exp(z[1]) + x)


def test_saturation_loses_its_plateau():
    """V x/(K + x) becomes the line (V/K) x; the speed diverges and the curve is a geodesic of the predictions."""
    manifold = least_squares_manifold(michaelis_menten)
    found = manifold_boundary(manifold, np.zeros(2), names=("V", "K"))
    assert found.end is End.limit and found.running == (0, 1)
    assert found.words.startswith("V -> infinity and K -> infinity, with V / K -> ")
    assert found.log_speed[-1] > 5.0
    assert found.smallest_eigenvalue[-1] < 1e-8 * found.smallest_eigenvalue[0]
    near = found.length < 3.0
    size = np.gradient(found.z[near], found.length[near], axis=0)
    metric = np.array([np.asarray(manifold.metric(jnp.asarray(z))) for z in found.z[near]])
    length = np.einsum("pi,pij,pj->p", size, metric, size) * np.exp(2.0 * found.log_speed[near])
    np.testing.assert_allclose(length[2:-2], length[2], rtol=0.02)  # of constant speed on the manifold


def test_exchange_of_two_rates_is_a_fold():
    """e^{−at} + e^{−bt} does not know which is which: the manifold ends where they are equal."""
    t = jnp.array([1.0 / 3.0, 1.0, 3.0])
    manifold = least_squares_manifold(lambda z: jnp.exp(-jnp.exp(z[0]) * t) + jnp.exp(-jnp.exp(z[1]) * t))
    found = manifold_boundary(manifold, np.log([1.0, 1.5]), names=("a", "b"))
    assert found.end is End.fold
    assert found.words == "the manifold ends where a / b -> 1: one parameter fewer"
    assert found.edge[0] == pytest.approx(found.edge[1], abs=1e-3)
    fast = manifold_boundary(manifold, np.log([0.3, 8.0]), names=("a", "b"))
    assert fast.end is End.limit and fast.words.startswith("b -> infinity, with a -> ")


def test_a_plane_has_no_boundary():
    found = manifold_boundary(
        least_squares_manifold(lambda z: z * jnp.array([1.0, 0.1])),
        np.zeros(2),
        names=("a", "b"),
        logarithmic=(False, False),
    )
    assert found.end is End.open and "no boundary" in found.words
    np.testing.assert_allclose(found.log_speed, 0.0, atol=1e-8)


def test_turning_is_the_connection_of_the_metric():
    """Γ_k = ∂_i g_kj u_i u_j − ½ ∂_k g_ij u_i u_j, for both manifolds, by differentiating the metric."""
    x = jnp.linspace(-5.0, 5.0, 801)
    features = jnp.stack([-(x**2) / 2.0, x**4 / 4.0], axis=1)
    surrogate = Surrogate(jnp.asarray(0.8), jnp.zeros(2), features, jnp.zeros(801))

    def model():
        return DoubleWell(
            numpyro.sample("t1", dist.LogNormal(0.0, 1.0)), numpyro.sample("t2", dist.LogNormal(0.0, 1.0))
        )

    z, u = jnp.array([0.3, -0.2]), jnp.array([0.6, -0.8])
    for manifold in (equilibrium_manifold(Prior(model), surrogate), least_squares_manifold(michaelis_menten)):
        derivative = jax.jit(jax.jacfwd(manifold.metric))(z)  # [i j k], last by z
        expected = jnp.einsum("kji,i,j->k", derivative, u, u) - 0.5 * jnp.einsum(
            "ijk,i,j->k", derivative, u, u
        )
        np.testing.assert_allclose(jax.jit(manifold.turning)(z, u), expected, rtol=1e-8, atol=1e-10)


def test_the_end_of_the_reference_frames_is_told():
    """Frames drawn at one state carry the geodesic only so far."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=2000) * 0.6)
    features = jnp.stack([-(x**2) / 2.0, x**4 / 4.0], axis=1)
    surrogate = Surrogate(jnp.ones(()), jnp.zeros(2), features, 0.5 * (x / 0.6) ** 2)

    def model():
        return DoubleWell(
            -numpyro.sample("stiffness", dist.LogNormal(0.0, 1.0)),
            numpyro.sample("t2", dist.LogNormal(0.0, 1.0)),
        )

    found = manifold_boundary(
        equilibrium_manifold(Prior(model), surrogate),
        np.log([2.5, 0.3]),
        names=("k", "t2"),
        direction=np.array([-1.0, 1.0]),
        least_effective_frames=1600.0,
    )
    assert found.end is End.bank
    assert found.words.endswith("as far as the reference frames reach")


def test_second_derivative_along_a_direction():
    value = second_derivative(
        lambda z: jnp.array([z[0] ** 2 * z[1]]), jnp.array([2.0, 3.0]), jnp.array([1.0, 1.0])
    )
    np.testing.assert_allclose(value, [2.0 * 3.0 + 4.0 * 2.0])


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="3 names"):
        manifold_boundary(least_squares_manifold(springs), np.zeros(2), names=("a", "b", "c"))
    with pytest.raises(InputError, match="not finite"):
        manifold_boundary(least_squares_manifold(lambda z: jnp.sqrt(z - 5.0)), np.ones(2), names=("a", "b"))
