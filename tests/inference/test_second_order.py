"""Labels that the form misses: the curvature of the sums of squares, and what it does to the posterior."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from bayescg.data import Configurations, get_unit_system, read_configurations
from bayescg.inference import (
    EnergyForceStress,
    LabelFitter,
    LabelSettings,
    NoiseScale,
    QuadraticLabels,
    label_rows,
    labelled_data,
    labelled_prior,
    with_curvature,
)
from bayescg.inference._labelled import QUANTITIES, batch_residuals
from bayescg.inference._linearised import parameter_vector, with_parameter_vector
from bayescg.physics import LennardJonesPairs, StillingerWeber

SILICON = Path(__file__).resolve().parents[2] / "models" / "si-stillinger-weber" / "data" / "si_sw.extxyz.gz"


def morse_dimers() -> Configurations:
    """Argon dimers whose labels are Morse's: a Lennard-Jones law misses them systematically."""
    distances = np.linspace(3.3, 6.0, 24)
    decay = np.exp(-1.6 * (distances - 3.8))
    forces = []
    for slope in 0.012 * 2 * 1.6 * (decay**2 - decay):
        forces.append(np.array([[-slope, 0.0, 0.0], [slope, 0.0, 0.0]]))
    return Configurations(
        species=("Ar",),
        positions=tuple(np.array([[0.0, 0.0, 0.0], [r, 0.0, 0.0]]) for r in distances),
        types=(np.zeros(2, int),) * 24,
        cell=np.zeros((24, 3, 3)),
        periodic=np.zeros((24, 3), bool),
        units=get_unit_system("metal"),
        energy=0.012 * (decay**2 - 2 * decay),
        forces=tuple(forces),
        group=("near",) * 12 + ("far",) * 12,
    )


@pytest.fixture(scope="module")
def setting():
    potential = LennardJonesPairs(0.012, 3.4, species=("Ar",), cutoff=9.0)
    data = labelled_data(morse_dimers(), cutoff=9.0, species=("Ar",), quantities=("energy", "forces"))
    return potential, data


def test_the_curvature_is_half_the_hessian_of_the_sums_of_squares(setting):
    potential, data = setting
    n = len(data.groups)

    def sums(vector):
        total = jnp.zeros(len(QUANTITIES) * n)
        for batch in data.batches:
            residuals = batch_residuals(with_parameter_vector(potential, vector), batch)
            of_atom = jnp.minimum(batch.environments.configuration, batch.group.shape[0] - 1)
            total = total.at[batch.group].add(batch.energy_weight * residuals.energy**2)
            total = total.at[n + batch.group[of_atom]].add(
                batch.force_weight * jnp.sum(residuals.forces**2, axis=1)
            )
        return total

    expected = 0.5 * jax.hessian(sums)(parameter_vector(potential))
    plain = QuadraticLabels.of(label_rows(potential, data), potential, n_groups=n)
    found = with_curvature(plain, potential, data)
    np.testing.assert_allclose(found.matrix, expected, rtol=1e-9, atol=1e-12)
    # and it is not Gauss and Newton's, which leaves out residual times bend
    assert np.max(np.abs(plain.matrix / np.where(expected == 0, 1, expected) - 1)[expected != 0]) > 0.2


@pytest.mark.slow
def test_a_form_that_misses_the_labels_is_drawn_from_at_second_order(setting):
    """Against the exact posterior by NUTS; Gauss and Newton's curvature would give other widths."""
    potential, data = setting
    prior = labelled_prior(
        potential,
        {"lj_epsilon": dist.LogNormal(-4.4, 0.5), "lj_sigma": dist.LogNormal(1.22, 0.1)},
        noise={"energy": NoiseScale(learned=0.01), "forces": NoiseScale(learned=0.05)},
        data=data,
    )
    fitter = LabelFitter(prior, EnergyForceStress(data), settings=LabelSettings(seed=3, n_draws=1000))
    fit = fitter.run()
    assert fit.method.endswith("reweighted") and fit.khat < 0.7
    mode, key = fit.modes[0].mode, jax.random.key(9)
    exact = fitter.sampler.chains(fitter.likelihood, mode.z, mode.covariance, "exact", key).z
    exact = exact.reshape(-1, prior.size)
    ours = fit.draws.z.reshape(-1, prior.size)
    sd = exact.std(axis=0)
    np.testing.assert_allclose(ours.mean(axis=0), exact.mean(axis=0), atol=0.12 * sd.max(), rtol=0)
    np.testing.assert_allclose(ours.std(axis=0), sd, rtol=0.1)


def test_near_equilibrium_data_are_sloppier_than_hot_ones():
    """VALIDATION C: log-parameter force Fisher spectrum, 7.5 decades near equilibrium and about 4.5 on hot data."""
    every = read_configurations(SILICON, units=get_unit_system("metal"))
    potential = StillingerWeber.silicon(cutoff=4.2).vary(
        "sw_A", "sw_B", "sw_p", "sw_sigma", "sw_gamma", "sw_lambda"
    )
    theta = np.asarray(parameter_vector(potential))

    def decades(configurations) -> float:
        data = labelled_data(configurations, cutoff=4.2, species=("Si",), quantities=("forces",))
        slopes = label_rows(potential, data).jacobian * theta
        eigenvalues = np.linalg.eigvalsh(slopes.T @ slopes)
        return float(np.log10(eigenvalues[-1] / eigenvalues[0]))

    near, hot = decades(every.select(group="md300")[:1]), decades(every.select(group="md900"))
    assert 7.0 < near < 8.0
    assert 3.7 < hot < 4.9
