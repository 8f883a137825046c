"""`predict` from end to end against quadrature: the prior, Fisher's directions, g(r)'s integrals, a larger box by simulation."""

import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayescg.output._result import RESULT_FILE
from bayescg.physics import SplinePair, kirkwood_buff_integral
from bayescg.study import predict
from tests.study.stored_run import EDGE, TEMPERATURE, TRUTH, exact_positions, stored_run

SPLINE = SplinePair.uniform(inner=0.7, cutoff=2.5, spacing=0.225, core_distance=0.8, core_strength=5.0)
R = np.linspace(1e-3, 2.5 * (1 - 1e-12), 4000)
LARGER = 6.4


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    truth = SPLINE.with_parameters({"pair_coefficients": jnp.asarray(TRUTH)})
    return stored_run(tmp_path_factory.mktemp("exact"), positions=exact_positions(truth, 3000, seed=1))


def all_draws(run: Path) -> np.ndarray:
    z = xr.open_datatree(run / RESULT_FILE)["unconstrained"]["z_calibrated"].values
    return z.reshape(-1, z.shape[-1])


def mayer(coefficients) -> np.ndarray:
    """(exp(−u/kT) − 1) 4πr² on R."""
    pair = SPLINE.with_parameters({"pair_coefficients": jnp.asarray(coefficients)})
    return np.expm1(-np.asarray(pair.pair_energy(jnp.asarray(R**2))) / TEMPERATURE) * 4.0 * np.pi * R**2


def energy(coefficients, edge=EDGE) -> float:
    """Per site of two."""
    pair, f = SPLINE.with_parameters({"pair_coefficients": jnp.asarray(coefficients)}), mayer(coefficients)
    u = np.asarray(pair.pair_energy(jnp.asarray(R**2)))
    return float(np.trapezoid(u * (f + 4.0 * np.pi * R**2), R) / (edge**3 + np.trapezoid(f, R)) / 2.0)


def pressure(coefficients, edge=EDGE) -> float:
    return float(TEMPERATURE * (1.0 / edge**3 + 1.0 / (edge**3 + np.trapezoid(mayer(coefficients), R))))


def structure_factor(coefficients, k, edge=EDGE) -> np.ndarray:
    """1 + ⟨cos k·r⟩ of the one pair, at wave vectors of the box."""
    f = mayer(coefficients)
    wave = [np.trapezoid(f * np.sinc(one * R / np.pi), R) for one in np.atleast_1d(k)]
    return 1.0 + np.array(wave) / (edge**3 + np.trapezoid(f, R))


def pairs_within(coefficients, distances, edge=EDGE) -> np.ndarray:
    """Share of frames whose pair is as near, by distance."""
    f = mayer(coefficients)
    inside = np.concatenate([[0.0], np.cumsum(0.5 * (f[1:] + f[:-1]) * np.diff(R))])
    volume = 4.0 / 3.0 * np.pi * np.asarray(distances) ** 3
    return (np.interp(distances, R, inside) + volume) / (edge**3 + inside[-1])


def of(data: xr.Dataset, name: str) -> xr.Dataset:
    return data.isel(component=np.flatnonzero(data["of"].values == name))


def test_the_prior_predicts_what_its_own_draws_give(run):
    """Fresh draws of N(0, 2²) for each coefficient, each by quadrature: the same distribution, wider than the posterior's."""
    names = {"energy": energy, "pressure": pressure}
    data = predict(run, list(names), from_prior=True, n_draws=80, simulation=False)
    assert data.attrs["posterior"] == "80 draws of the prior"
    own = np.random.default_rng(7).normal(scale=2.0, size=(300, len(TRUTH)))
    for name, exact in names.items():
        found = of(data, name)["draws"].isel(component=0).values
        expected = np.array([exact(one) for one in own])
        assert stats.ks_2samp(found, expected).pvalue > 1e-3, name
        assert abs(np.log(found.std() / expected.std())) < 0.4, name
        posterior = np.std([exact(one) for one in all_draws(run)[::3]])
        assert posterior < 0.5 * expected.std()


def test_shares_go_with_the_eigenvectors_of_the_fisher_information(run, tmp_path):
    """A Gaussian posterior under an isotropic prior has the same axes: the shares of a nearly linear function are known."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    draws = all_draws(run)
    variance, axes = np.linalg.eigh(np.cov(draws.T))
    order = np.random.default_rng(3).permutation(len(axes))  # no order that the fallback would have
    variance, axes = variance[order], axes.T[order]
    group = xr.Dataset(
        {
            "eigenvector": (("combination", "parameter"), axes),
            "independent_frames": ("parameter", [750.0] * 8),
        }
    )
    group.to_netcdf(copy / RESULT_FILE, mode="a", group="identifiability")
    data = predict(copy, ["energy", "pressure"], n_draws=120, simulation=False)
    assert data.attrs["directions"].startswith("eigenvectors of the Fisher information")
    assert data.attrs["averaged_frames"] == 750.0
    for name, exact in {"energy": energy, "pressure": pressure}.items():
        values = np.array([exact(one) for one in draws])
        slope = np.linalg.lstsq(draws - draws.mean(axis=0), values - values.mean(), rcond=None)[0]
        parts = (axes @ slope) ** 2 * variance / values.var(ddof=1)
        found = of(data, name)["direction_share"].values[:, 0]
        np.testing.assert_allclose(found, parts, atol=0.1, err_msg=name)
        assert parts.max() > 0.2


def test_integrals_of_the_pair_distribution_by_reweighting(run):
    data = predict(run, ["rdf", "coordination", "kirkwood-buff"], n_draws=60, simulation=False)
    r = of(data, "rdf")["at"].values
    width = r[1] - r[0]
    edges = np.append(r - 0.5 * width, r[-1] + 0.5 * width)
    shell = data.attrs["coordination_shell"]
    within = np.array([pairs_within(one, edges) for one in all_draws(run)])
    g = np.diff(within, axis=1) * EDGE**3 / (4.0 / 3.0 * np.pi * np.diff(edges**3))
    truth = {
        "coordination": np.array([pairs_within(one, [shell])[0] for one in all_draws(run)]),
        "kirkwood-buff": np.asarray(
            kirkwood_buff_integral(jnp.asarray(g), edges=edges, volume=EDGE**3)[..., -1]
        ),
    }
    for name, values in truth.items():
        found = of(data, name)
        error = np.hypot(found["simulation_sd"].item(), values.std() / np.sqrt(60.0))
        assert abs(found["mean"].item() - values.mean()) < 4.0 * error, name
        assert found["parametric_sd"].item() == pytest.approx(values.std(), rel=0.35), name


def test_a_larger_box_is_simulated_and_right(run):
    """Two sites in a box of twice the volume, which no reference holds, by new simulations of 16 draws."""
    data = predict(
        run, ["energy", "pressure", "coordination", "structure-factor"],
        density=2.0 / LARGER**3, n_sites=2, n_draws=120, n_simulated=16, n_replicas=8, n_samples=250,
    )  # fmt: skip
    assert set(data["method"].values) == {"simulation"}
    reasons = dict(zip(data["observable"].values, data["reason"].values, strict=True))
    assert all("another system" in reasons[name] for name in ("energy", "pressure", "coordination"))
    draws = all_draws(run)
    shell, k = data.attrs["coordination_shell"], 2.0 * np.pi / LARGER * np.sqrt([1.0, 2.0, 3.0])
    vectors = np.array([6.0, 12.0, 8.0]) / 26.0  # with these lengths, all in the first bin
    exact = {
        "energy": [[energy(one, LARGER)] for one in draws],
        "pressure": [[pressure(one, LARGER)] for one in draws],
        "coordination": [pairs_within(one, [shell], LARGER) for one in draws],
        "structure-factor": [[vectors @ structure_factor(one, k, LARGER)] for one in draws],
    }
    assert of(data, "structure-factor")["at"].values[0] == pytest.approx(vectors @ k, rel=1e-6)
    for name, values in exact.items():
        mean, spread = np.mean(values, axis=0), np.std(values, axis=0)
        found = of(data, name).isel(component=slice(len(mean)))
        error = np.hypot(found["simulation_sd"].values, spread / np.sqrt(16.0))
        z = (found["mean"].values - mean) / error
        assert np.abs(z).max() < stats.t.ppf(1.0 - 5e-4 / len(z), 7), name  # errors of eight replicas
        at_home = {"energy": energy, "pressure": pressure}.get(name)
        if at_home is not None:
            assert abs(mean[0] - np.mean([at_home(one) for one in draws])) > 2.5 * error[0], name
