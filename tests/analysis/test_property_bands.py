"""Bands of crystal properties over posterior draws."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from bayescg.analysis import property_bands, property_sentence
from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.inference import Prior
from bayescg.inference._labelled import LabelledModel, Noise
from bayescg.physics import (
    Bulk,
    CohesiveEnergy,
    Crystal,
    DoubleWell,
    LatticeConstants,
    LennardJonesPairs,
    PropertyCode,
)

METAL = get_unit_system("metal")


def argon(epsilon, sigma):
    return LennardJonesPairs(epsilon, sigma, species=("Ar",), cutoff=9.0, convention="force_shifted")


@pytest.fixture(scope="module")
def setting():
    prior = Prior(
        lambda: argon(
            numpyro.sample("epsilon", dist.LogNormal(-4.5, 0.1)),
            numpyro.sample("sigma", dist.LogNormal(1.2, 0.01)),
        )
    )
    bulk = Bulk.of(Crystal.bulk("Ar", "fcc", a=5.2), argon(0.01, 3.4))
    return prior, [LatticeConstants.of(bulk, units=METAL), CohesiveEnergy.of(bulk, units=METAL)]


@pytest.fixture(scope="module")
def bands(setting):
    prior, properties = setting
    rng = np.random.default_rng(3)
    sites = np.stack([rng.normal(-4.5, 0.1, 40), rng.normal(np.log(3.4), 0.01, 40)], axis=1)
    sites[7, 1] = np.log(0.5)  # atoms so small that the crystal they are put into has no minimum nearby
    draws = np.stack([prior.unconstrain({"epsilon": jnp.exp(e), "sigma": jnp.exp(s)}) for e, s in sites])
    return sites, property_bands(prior, draws.reshape(4, 10, 2), properties)


def test_values_are_those_of_each_draw(setting, bands):
    _, properties = setting
    sites, found = bands
    assert found["value"].dims == ("draw", "component")
    assert found["component"].values.tolist() == ["lattice_a", "cohesive_energy"]
    assert found["unit"].values.tolist() == ["angstrom", "eV"]

    @eqx.filter_jit
    def evaluate(properties, theta):
        potential = argon(theta[0], theta[1])
        relaxed = properties[0].bulk.relaxed(potential)
        return [one.evaluate_at(potential, relaxed) for one in properties]

    for k in (0, 7, 39):
        alone = evaluate(properties, jnp.exp(jnp.asarray(sites[k])))
        np.testing.assert_allclose(found["value"][k], np.concatenate([a.values for a in alone]), rtol=1e-9)
        assert found["code"][k].values.tolist() == [int(a.code) for a in alone]


def test_failed_draws_are_counted_and_left_out(bands):
    _, found = bands
    bad = np.isnan(found["value"].values)
    assert bad.sum(axis=0).tolist() == [1, 1]
    assert bad[7].all()
    assert found["n_draws"].values.tolist() == [39, 39]
    assert found["count"].sel(reason="OK").values.tolist() == [39, 39]
    assert found["count"].sum("reason").values.tolist() == [40, 40]
    assert ((found["code"] != PropertyCode.OK).values == bad).all()


def test_mean_deviation_and_bands_are_what_they_say(bands):
    _, found = bands
    values = np.delete(found["value"].values, 7, axis=0)
    np.testing.assert_allclose(found["mean"], values.mean(axis=0))
    np.testing.assert_allclose(found["standard_deviation"], values.std(axis=0, ddof=1))
    assert found["standard_deviation"].attrs["ddof"] == 1
    np.testing.assert_allclose(found["band"].sel(quantile=0.95), np.quantile(values, 0.95, axis=0))


def test_the_sentence_says_value_interval_and_failures(bands):
    _, found = bands
    sentence = property_sentence(found, "lattice_a")
    assert sentence.startswith("Lattice constant a: 5.")
    assert " angstrom (mean ± standard deviation of 39 draws), 90 % interval " in sentence
    assert "1 of 40 draws failed (1 " in sentence
    with pytest.raises(InputError, match="there are lattice_a, cohesive_energy"):
        property_sentence(found, "lattice_b")


def test_it_is_stored_as_netcdf(bands, tmp_path):
    import xarray as xr

    _, found = bands
    found.to_netcdf(tmp_path / "properties.nc")
    with xr.open_dataset(tmp_path / "properties.nc") as again:
        assert property_sentence(again, "lattice_a") == property_sentence(found, "lattice_a")


def test_models_with_noise_are_known_and_others_are_refused(setting):
    _, properties = setting
    ones = jnp.ones(1)
    labelled = Prior(
        lambda: LabelledModel(
            argon(numpyro.sample("epsilon", dist.LogNormal(-4.5, 0.1)), 3.4), Noise(ones, ones, ones)
        )
    )
    found = property_bands(labelled, np.log([[0.01], [0.012]]), properties[1:], draws_at_once=2)
    energy = found["value"].values[:, 0]
    assert energy[1] / energy[0] == pytest.approx(1.2, rel=1e-9)
    other = Prior(lambda: DoubleWell(numpyro.sample("t", dist.Normal(0.0, 1.0)), 1.0))
    with pytest.raises(InputError, match="gives a DoubleWell"):
        property_bands(other, np.zeros((2, 1)), properties)


def test_bad_input_is_refused_in_one_line(setting):
    prior, properties = setting
    draws = np.asarray(prior.sample(jax.random.key(0), 3))
    for arguments, says in (
        ((prior, draws[:1], properties), "at least two"),
        ((prior, draws, []), "found none"),
        ((prior, draws, [properties[0], properties[0]]), "different names"),
    ):
        with pytest.raises(InputError, match=says):
            property_bands(*arguments)
    with pytest.raises(InputError, match="between 0 and 1"):
        property_bands(prior, draws, properties, quantiles=(5, 95))
