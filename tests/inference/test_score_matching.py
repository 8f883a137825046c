"""Score matching against closed forms, differentiated Laplacians, and known argon."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from bayescg.data import Frames, State, Topology, get_unit_system, read_frames
from bayescg.errors import InputError
from bayescg.inference import independent_prior
from bayescg.inference._force_matching import ForceFeatures
from bayescg.inference._score_matching import (
    FeatureLaplacian,
    laplacian_by_differentiation,
    score_matching_mode,
)
from bayescg.physics import DoubleWell, LennardJones, LinearPotential, SplinePair, WeeksChandlerAndersen
from bayescg.physics._reduce import TABLE_BINS

KEY = jax.random.key(20050401)
ARGON = Path(__file__).resolve().parents[3] / "shared" / "data" / "lj_argon" / "lj_ar_94K.nc"


def harmonic_features(positions, box):
    return jnp.sum(positions**2)[None] / 2.0


def toy_frames(positions, *, temperature=1.0):
    n_sites, dim = positions.shape[1:]
    topology = Topology(("A",) * n_sites, np.ones(n_sites))
    return Frames(positions, np.full(dim, np.inf), topology, State(temperature), get_unit_system("lj"))


def test_gaussian_is_the_inverse_mean_square():
    x = np.random.default_rng(1).normal(size=(300, 4, 1)) * 0.7
    linear = LinearPotential(jnp.zeros(1), function=harmonic_features)
    prior = independent_prior(linear, {"linear_theta": dist.Normal(0.0, 1e4)})
    fit = score_matching_mode(toy_frames(x, temperature=2.5).blocks(100), linear, prior, key=KEY)
    assert fit.z[0] == pytest.approx(2.5 / np.mean(x**2), rel=1e-6)
    assert fit.n_frames == 300 and fit.covariance is not None
    # for a Gaussian score matching is maximum likelihood: variance 2θ²/n
    assert fit.covariance[0, 0] == pytest.approx(2.0 * fit.z[0] ** 2 / x.size, rel=0.5)


def test_double_well_is_the_solution_of_hyvarinens_equations():
    grid = np.linspace(-4.0, 4.0, 4001)
    cumulative = np.cumsum(np.exp((0.5 * grid**2 - 0.25 * grid**4) / 1.3))
    x = np.interp(np.random.default_rng(2).uniform(size=(60, 20, 1)), cumulative / cumulative[-1], grid)
    well = DoubleWell(1.0, 1.0)
    prior = independent_prior(well, {"well_t1": dist.Normal(0.0, 1e4), "well_t2": dist.HalfNormal(1e5)})
    beta = 1.0 / 1.3
    fit = score_matching_mode(toy_frames(x, temperature=1.3).blocks(7), well, prior, key=KEY)
    flat = x.reshape(-1)
    gradient = np.stack([-flat, flat**3], axis=1)
    laplacian = np.stack([-np.ones_like(flat), 3.0 * flat**2], axis=1)
    exact = np.linalg.solve(beta * gradient.T @ gradient, laplacian.sum(axis=0))
    np.testing.assert_allclose(
        fit.eta, exact, rtol=0.01
    )  # the prior's Jacobian in log t₂ counts as one frame


POTENTIALS = {
    "smooth LJ": LennardJones(1.0, 1.0, cutoff=1.7, convention="smooth", onset=1.3),
    "shifted LJ": LennardJones(1.0, 1.0, cutoff=3.4),
    "spline": SplinePair.uniform(inner=0.7, cutoff=1.7, spacing=0.1, core_distance=0.9, core_strength=2.0),
}


@pytest.mark.parametrize("name", POTENTIALS)
@pytest.mark.parametrize("dim", [2, 3])
def test_pair_laplacian_is_the_trace_of_the_hessian(name, dim):
    potential = POTENTIALS[name]
    grid = np.stack(np.meshgrid(*[np.arange(3)] * dim), -1).reshape(-1, dim)[:9]
    x = jnp.asarray((grid + 0.5) * 1.1 + np.random.default_rng(3).uniform(-0.1, 0.1, grid.shape))
    box = jnp.full(dim, jnp.inf)
    laplacian = FeatureLaplacian.of(ForceFeatures.of(potential), dim=dim)
    got = jax.jit(laplacian.__call__)(x, box)
    expected = jax.jit(lambda y: laplacian_by_differentiation(potential, y, box))(x)
    hessian = jax.jit(jax.jacfwd(jax.jacfwd(lambda y: potential.features(y.reshape(x.shape), box))))(
        x.reshape(-1)
    )
    np.testing.assert_allclose(expected, jnp.trace(hessian, axis1=1, axis2=2), rtol=1e-9)
    tolerance = 5e-3 if name == "spline" else 1e-9
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(
    "potential",
    [
        LennardJones(1.0, 1.0, cutoff=1.6, convention="truncated"),
        WeeksChandlerAndersen(1.0, 1.1, inner=0.7, cutoff=1.6, n_nodes=33),
    ],
    ids=["jump at the cutoff", "jumps at nodes"],
)
def test_jumps_of_the_slope_are_counted(potential):
    """Gauss' theorem: over all of space beyond r₀ the Laplacian integrates to the flux through the sphere at r₀."""
    width = 1.6**2 / TABLE_BINS
    inner = 0.9**2 // width * width
    s = np.arange(inner, 1.7**2, width) + 0.5 * width
    r = np.sqrt(s)
    pairs = jnp.asarray(np.stack([np.zeros((r.size, 3)), np.stack([r, 0 * r, 0 * r], 1)], axis=1))
    laplacian = FeatureLaplacian.of(ForceFeatures.of(potential), dim=3)
    box = jnp.full(3, jnp.inf)
    values = np.asarray(jax.jit(lambda p: jax.lax.map(lambda q: laplacian(q, box), p, batch_size=100))(pairs))
    eta = np.asarray(potential.coefficients())
    integral = np.sum(values @ eta * 2.0 * np.pi * r) * width
    flux = 4.0 * np.pi * inner**1.5 * float(potential.pair_force_factor(jnp.asarray(inner)))
    assert integral == pytest.approx(2.0 * flux, rel=2e-3)


def test_different_temperatures_are_refused():
    x = np.zeros((3, 1, 1))
    well = DoubleWell(1.0, 1.0)
    prior = independent_prior(well, {"well_t1": dist.Normal(0.0, 1.0), "well_t2": dist.HalfNormal(1.0)})
    with pytest.raises(InputError, match="different temperatures"):
        score_matching_mode([toy_frames(x), toy_frames(x, temperature=2.0)], well, prior, key=KEY)


@pytest.mark.skipif(not ARGON.exists(), reason=f"no argon trajectory at {ARGON}: reference data absent")
def test_argon_is_recovered_from_positions():
    frames = read_frames(ARGON)[::2]
    potential = LennardJones(0.3, 3.2, cutoff=10.215, convention="truncated", name="argon")
    prior = independent_prior(
        potential,
        {"argon_epsilon": dist.LogNormal(np.log(0.3), 0.5), "argon_sigma": dist.LogNormal(np.log(3.2), 0.2)},
    )
    fit = score_matching_mode(frames.blocks(50), potential, prior, key=KEY)
    assert float(fit.potential.epsilon) == pytest.approx(119.8 * frames.units.boltzmann, rel=0.04)
    assert float(fit.potential.sigma) == pytest.approx(3.405, rel=0.005)
    truth = np.log([119.8 * frames.units.boltzmann, 3.405])
    assert fit.covariance is not None
    assert np.all(np.abs(fit.z - truth) < 4.0 * np.sqrt(np.diag(fit.covariance)))
