"""The disk: a result and a bank come back as they were, and broken files are named."""

import netCDF4
import numpy as np
import numpyro.distributions as dist
import pytest
import xarray as xr

from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.inference import (
    Smoothness,
    independent_prior,
    parameter_dataset,
    posterior_groups,
    read_bank,
    write_bank,
    write_tree,
)
from bayescg.physics import DoubleWell, LinearPotential, Reference, ReferenceBank

UNITS = get_unit_system("gromacs")
ARRAYS = ("coefficients", "features", "virial", "pair_counts", "configurations")


def one_feature(positions, box):
    return positions[:, 0]


def reference(rng, eta, *, purpose="search"):
    """Three replicas of four samples of two Gaussian features, with every optional column."""
    features = rng.normal(size=(3, 4, 2)) / np.sqrt(np.asarray(eta))
    virial, counts = rng.normal(size=(3, 4, 2)), rng.integers(0, 9, size=(3, 4, 5)).astype(np.float32)
    return Reference(np.asarray(eta, float), features, virial, counts, rng.normal(size=(6, 2, 3)), purpose)


@pytest.fixture
def bank():
    rng = np.random.default_rng(0)
    return ReferenceBank(
        0.4, (reference(rng, (1.0, 1.2)), reference(rng, (1.1, 1.0), purpose="verification"))
    )


def test_bank_comes_back_bit_for_bit(bank, tmp_path):
    path = tmp_path / "bank.nc"
    write_bank(bank, path, system="argon")
    again = read_bank(path, system="argon")
    assert again.beta == bank.beta and again.anchor == bank.anchor
    for one, other in zip(bank.references, again.references, strict=True):
        assert one.purpose == other.purpose
        for field in ARRAYS:
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
            assert np.asarray(getattr(one, field)).dtype == getattr(other, field).dtype
    np.testing.assert_array_equal(again.free_energies(), bank.free_energies())
    assert [p.name for p in tmp_path.iterdir()] == ["bank.nc"]


def test_bank_without_virial_and_counts_comes_back(bank, tmp_path):
    nothing = np.zeros((3, 4, 0))
    plain = ReferenceBank(
        0.4,
        tuple(
            r._replace(virial=nothing, pair_counts=nothing, configurations=np.zeros((0, 1, 1)))
            for r in bank.references
        ),
    )
    write_bank(plain, tmp_path / "bank.nc", system="toy")
    again = read_bank(tmp_path / "bank.nc").references[1]
    assert again.virial.shape == again.pair_counts.shape == (3, 4, 0)
    assert again.configurations.shape == (0, 1, 1)


def test_bank_of_another_system_is_refused(bank, tmp_path):
    write_bank(bank, tmp_path / "bank.nc", system="argon")
    with pytest.raises(InputError, match=r"bank\.nc: its references belong to another system.*new bank"):
        read_bank(tmp_path / "bank.nc", system="krypton")
    assert len(read_bank(tmp_path / "bank.nc").references) == 2


def test_missing_bank_is_named(tmp_path):
    with pytest.raises(InputError, match=r"bank\.nc: no such bank of references"):
        read_bank(tmp_path / "bank.nc")


def not_netcdf(path):
    path.write_bytes(b"CDF of another kind")


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_attribute(path):
    with netCDF4.Dataset(path, "a") as file:
        file.delncattr("beta")


def without_variable(path):
    with netCDF4.Dataset(path, "a") as file:
        file["reference_0001"].renameVariable("features", "f")


def without_references(path):
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts({"system": "argon", "beta": 1.0})


@pytest.mark.parametrize(
    "damage", [not_netcdf, cut_short, without_attribute, without_variable, without_references]
)
def test_broken_bank_is_named(bank, tmp_path, damage):
    path = tmp_path / "bank.nc"
    write_bank(bank, path, system="argon")
    damage(path)
    with pytest.raises(InputError, match=r"bank\.nc"):
        read_bank(path)


def test_rewriting_leaves_no_temporary_file(bank, tmp_path):
    for _ in range(2):
        write_bank(bank, tmp_path / "bank.nc", system="argon")
    assert [p.name for p in tmp_path.iterdir()] == ["bank.nc"]


def test_parameters_by_name_with_units_and_coordinates():
    potential = LinearPotential(np.zeros(4), function=one_feature)
    weights = np.ones(4)
    prior = independent_prior(potential, {"linear_theta": Smoothness(dist.HalfNormal(1.0), weights)})
    z = np.random.default_rng(1).normal(size=(2, 3, 5))
    data = parameter_dataset(prior, potential, z, UNITS, attributes={"calibration": "none"})
    assert data["linear_theta"].dims == ("chain", "draw", "knot")
    np.testing.assert_array_equal(data["linear_theta"], z[..., :4])
    np.testing.assert_allclose(data["linear_theta_smoothness"], np.exp(z[..., 4]))
    np.testing.assert_array_equal(data["knot"], [0.0, 1.0, 2.0, 3.0])
    assert data["linear_theta"].attrs == {"units": "kJ/mol", "long_name": "coefficients of the features"}
    assert data.attrs == {"calibration": "none"}


def test_tree_comes_back(double_well, double_well_fit, tmp_path):
    fit = double_well_fit
    potential = DoubleWell(1.0, 1.0, name="t")
    prior_draws = np.random.default_rng(2).normal(size=(20, 2))
    groups = posterior_groups(fit, double_well.prior, potential, UNITS, prior_draws=prior_draws)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs["title"] = "well"
    path = tmp_path / "posterior.nc"
    write_tree(tree, path)
    assert [p.name for p in tmp_path.iterdir()] == ["posterior.nc"]
    with xr.open_datatree(path, engine="netcdf4") as again:
        assert again.attrs["title"] == "well"
        for name, data in groups.items():
            xr.testing.assert_identical(again[name].to_dataset().load(), data)
        np.testing.assert_array_equal(again["unconstrained"]["z_calibrated"], fit.calibrated)
        np.testing.assert_array_equal(again["posterior_raw"]["t1"], fit.draws.z[..., 0])
        assert again["posterior"].attrs["assumes_independent_frames"] == 0
        assert again["posterior_raw"].attrs["assumes_independent_frames"] == 1
        assert again["verification"].attrs["verdict"] == fit.verifications[-1].verdict
        assert again["sample_stats"]["diverging"].dtype == bool


def test_calibration_is_the_group_that_is_wider(double_well, double_well_fit):
    """100 frames: t-inflation and the surrogate's noise widen the raw draws."""
    prior_draws = np.zeros((2, 2))
    groups = posterior_groups(
        double_well_fit, double_well.prior, double_well.potential, UNITS, prior_draws=prior_draws
    )
    assert float(groups["posterior"]["t2"].std()) > float(groups["posterior_raw"]["t2"].std())
