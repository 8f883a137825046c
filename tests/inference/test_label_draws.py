"""Posteriors too wide for an expansion about the mode: polynomials through predictions at draws, against a grid."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from arviz_stats.base import array_stats

from bayescg.data import Configurations, get_unit_system
from bayescg.inference import (
    EnergyForceStress,
    LabelFitter,
    LabelSettings,
    NoiseScale,
    Posterior,
    labelled_data,
    labelled_prior,
)
from bayescg.physics import LennardJonesPairs


@pytest.fixture(scope="module")
def dimers():
    """Argon dimers about the minimum, whose energies say ε and σ only together: a curved valley."""
    distances = np.array([3.7, 3.9, 4.3])
    truth = LennardJonesPairs([0.0104], [3.4], species=("Ar",), cutoff=8.0)
    scaled = (3.4 / distances) ** 6
    energies = 4 * 0.0104 * (scaled**2 - scaled) - 4 * 0.0104 * ((3.4 / 8) ** 12 - (3.4 / 8) ** 6)
    cells = Configurations(
        species=("Ar",),
        positions=tuple(np.array([[0.0, 0.0, 0.0], [r, 0.0, 0.0]]) for r in distances),
        types=(np.zeros(2, int),) * 3,
        cell=np.zeros((3, 3, 3)),
        periodic=np.zeros((3, 3), bool),
        units=get_unit_system("metal"),
        energy=energies + 0.0004 * np.random.default_rng(0).normal(size=3),
    )
    data = labelled_data(cells, cutoff=8.0, species=("Ar",), quantities=("energy",))
    prior = labelled_prior(
        truth,
        {"lj_epsilon": dist.LogNormal(np.log(0.0104), 1.0), "lj_sigma": dist.LogNormal(np.log(3.4), 0.2)},
        noise={"energy": NoiseScale(known=0.0015)},
        data=data,
    )
    return prior, EnergyForceStress(data)


@pytest.fixture(scope="module")
def grid(dimers):
    """Moments by quadrature on the exact density."""
    prior, likelihood = dimers
    posterior = Posterior(prior)
    epsilon, sigma = np.meshgrid(np.linspace(-9.0, 1.0, 500), np.linspace(0.2, 1.8, 500), indexing="ij")
    points = jnp.asarray(np.stack([epsilon.ravel(), sigma.ravel()], axis=1))
    log_density = np.asarray(
        jax.jit(lambda z: jax.lax.map(lambda one: posterior.log_density(one, likelihood), z, batch_size=500))(
            points
        )
    )
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    edge = weights.reshape(500, 500)
    assert max(edge[0].sum(), edge[-1].sum(), edge[:, 0].sum(), edge[:, -1].sum()) < 1e-6
    points = np.asarray(points)
    mean = weights @ points
    return mean, np.sqrt(weights @ (points - mean) ** 2), weights, points


def test_a_curved_valley_is_drawn_from_as_quadrature_says(dimers, grid):
    prior, likelihood = dimers
    mean, sd, weights, points = grid
    fitter = LabelFitter(prior, likelihood, settings=LabelSettings(seed=1, n_draws=2000, n_starts=2))
    fit = fitter.run()
    assert fit.method == "fitted and reweighted" and fit.khat < 0.7
    flat = fit.draws.z.reshape(-1, 2)
    laplace = np.sqrt(np.diag(fit.modes[0].mode.covariance))
    assert np.max(np.abs(laplace / sd - 1.0)) > 0.3, "the posterior is too nearly Gaussian for this test"
    effective = min(
        float(array_stats.ess(fit.draws.z[..., i], chain_axis=0, draw_axis=1, method="bulk"))
        for i in range(2)
    )
    assert effective > 2000
    np.testing.assert_allclose(flat.mean(axis=0), mean, atol=4.0 * sd.max() / np.sqrt(effective), rtol=0)
    np.testing.assert_allclose(flat.std(axis=0), sd, rtol=0.08)
    # the tail, which an expansion about the mode has wrong
    for i in range(2):
        order = np.argsort(points[:, i])
        for q in (0.05, 0.95):
            there = points[order, i][np.searchsorted(np.cumsum(weights[order]), q)]
            share = np.mean(flat[:, i] < there)
            assert share == pytest.approx(q, abs=4.0 * np.sqrt(q * (1 - q) / effective) + 0.004)


def test_the_same_seed_gives_the_same_draws(dimers):
    prior, likelihood = dimers
    settings = LabelSettings(seed=2, n_draws=500, n_warmup=200)
    fitter = LabelFitter(prior, likelihood, settings=settings)
    np.testing.assert_array_equal(fitter.run().draws.z, fitter.run().draws.z)
