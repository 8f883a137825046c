"""Which configuration to label next: the information of labels before they are made."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from bayescg.analysis import configuration_information, spreads_after_labelling
from bayescg.data import Configurations, get_unit_system
from bayescg.errors import InputError
from bayescg.inference import EnergyForceStress, LabelFitter, NoiseScale, labelled_data, labelled_prior
from bayescg.physics import LennardJonesPairs

NOISE = {"energy": NoiseScale(known=0.001), "forces": NoiseScale(known=0.01)}


def dimers(distances) -> Configurations:
    n = len(distances)
    attraction = (3.4 / np.asarray(distances)) ** 6
    force = 24 * 0.01 / np.asarray(distances) * attraction * (2 * attraction - 1)
    return Configurations(
        species=("Ar",),
        positions=tuple(np.array([[0.0, 0.0, 0.0], [r, 0.0, 0.0]]) for r in distances),
        types=(np.zeros(2, int),) * n,
        cell=np.zeros((n, 3, 3)),
        periodic=np.zeros((n, 3), bool),
        units=get_unit_system("metal"),
        energy=4 * 0.01 * attraction * (attraction - 1),
        forces=tuple(np.array([[-f, 0.0, 0.0], [f, 0.0, 0.0]]) for f in force),
    )


def setting(distances):
    potential = LennardJonesPairs(0.01, 3.4, species=("Ar",), cutoff=30.0, convention="truncated")
    data = labelled_data(dimers(distances), cutoff=30.0, species=("Ar",), quantities=("energy", "forces"))
    distributions = {"lj_epsilon": dist.LogNormal(-4.6, 1.0), "lj_sigma": dist.LogNormal(1.22, 0.1)}
    return data, labelled_prior(potential, distributions, noise=NOISE, data=data)


def test_the_information_is_the_curvature_of_the_log_likelihood():
    """All configurations together, against the fitter's own; labels are the truth's, so nothing else bends."""
    data, prior = setting([3.5, 3.8, 4.2, 5.0])
    fitter = LabelFitter(prior, EnergyForceStress(data))
    best = fitter.modes()[0]
    information = configuration_information(prior, best.mode.z, data)
    assert information.shape == (4, 2, 2)
    np.testing.assert_allclose(
        information.sum(axis=0), fitter.curvature(best), rtol=2e-3, atol=1e-3 * information.max()
    )


def test_the_spread_never_grows_and_is_that_of_the_refitted_posterior():
    data, prior = setting([3.5, 3.8, 4.2, 5.0])
    z = np.log([0.01, 3.4])
    information = configuration_information(prior, z, data)
    precision = np.linalg.inv(np.diag([1.0, 0.01]))
    gradient = np.array([0.3, 1.0])
    now = np.sqrt(gradient @ np.linalg.solve(precision, gradient))
    after = spreads_after_labelling(precision, information, gradient)
    assert np.all(after < now)
    for spread, own in zip(after, information, strict=True):
        covariance = np.linalg.inv(precision + own)
        assert spread == pytest.approx(np.sqrt(gradient @ covariance @ gradient), rel=1e-10)


def test_labels_that_do_not_tell_of_the_property_are_not_chosen():
    """Beyond the well a dimer tells of the product of epsilon and sigma's sixth power only."""
    data, prior = setting([3.6, 9.0])
    information = configuration_information(prior, np.log([0.01, 3.4]), data)
    after = spreads_after_labelling(np.diag([1.0, 100.0]), information, np.array([0.0, 1.0]))
    assert np.argmin(after) == 0 and after[1] > 0.99 * 0.1


def test_half_as_many_labels_as_at_random():
    """To the same spread of sigma, choosing each next label among forty, against the median of random orders."""
    distances = np.linspace(3.3, 12.0, 40)
    data, prior = setting(distances)
    information = configuration_information(prior, np.log([0.01, 3.4]), data)
    gradient, start = np.array([0.0, 1.0]), np.linalg.inv(np.diag([1.0, 0.01]))

    def spreads(order) -> list[float]:
        precision, left, found = start, list(range(40)), []
        for _ in range(10):
            after = spreads_after_labelling(precision, information[left], gradient)
            pick = int(np.argmin(after)) if order is None else left.index(order[len(found)])
            found.append(float(after[pick]))
            precision = precision + information[left.pop(pick)]
        return found

    chosen = spreads(None)
    rng = np.random.default_rng(0)
    at_random = [spreads(list(rng.permutation(40))) for _ in range(20)]
    assert chosen[4] < np.median([run[9] for run in at_random])


def test_a_flat_precision_is_refused():
    with pytest.raises(InputError, match="not positive definite"):
        spreads_after_labelling(np.zeros((2, 2)), np.zeros((1, 2, 2)), np.ones(2))


def test_noise_of_other_groups_is_used():
    data, prior = setting([3.6])
    few = configuration_information(prior, np.log([0.01, 3.4]), data)
    loud = labelled_prior(
        prior.potential(jnp.zeros(2)).potential,
        {"lj_epsilon": dist.LogNormal(-4.6, 1.0), "lj_sigma": dist.LogNormal(1.22, 0.1)},
        noise={"energy": NoiseScale(known=0.002), "forces": NoiseScale(known=0.02)},
        data=data,
    )
    np.testing.assert_allclose(
        configuration_information(loud, np.log([0.01, 3.4]), data), few / 4.0, rtol=1e-10
    )
