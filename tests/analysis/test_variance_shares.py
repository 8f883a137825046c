"""Which combination makes the spread: linear observables exactly, the rest where a square or noise is in them."""

import numpy as np
import pytest
import xarray as xr

from bayescg.analysis import nested_split, share_sentence, variance_shares
from bayescg.errors import InputError


def drawn(z, names=None):
    coords = {"coordinate": list(names)} if names else None
    return xr.DataArray(z, dims=("draw", "coordinate"), coords=coords)


def white(n_draws, size, seed):
    """Draws whose sample covariance is the identity exactly."""
    z = np.random.default_rng(seed).normal(size=(n_draws, size))
    z -= z.mean(axis=0)
    return np.linalg.qr(z)[0] * np.sqrt(n_draws - 1.0)


def test_a_linear_observable_is_split_exactly_and_leaves_no_rest():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    sd = np.array([2.0, 1.0, 0.1])
    z = white(60, 3, 1) * sd @ turn  # eigenvectors are the rows of turn, widest first
    slopes = np.array([0.5, 3.0, 10.0])
    y = xr.DataArray(z @ turn.T @ slopes + 7.0, dims="draw", attrs={"units": "bar", "long_name": "pressure"})
    shares = variance_shares(y, drawn(z, "abc"))
    exact = (slopes * sd) ** 2 / np.sum((slopes * sd) ** 2)
    np.testing.assert_allclose(shares["share"], exact, atol=1e-9)
    np.testing.assert_allclose(np.abs(shares["effect"]), slopes * sd, rtol=1e-9)
    np.testing.assert_allclose(np.abs(shares["displacement"]), np.abs(turn), atol=1e-9)
    assert float(shares["rest"]) == pytest.approx(0.0, abs=1e-9)
    assert float(shares["coordinate_share"].sum()) == pytest.approx(1.0)
    assert shares["effect"].attrs["units"] == "bar"


def test_a_square_is_the_rest():
    z = np.random.default_rng(2).normal(size=(4000, 2))
    bend = xr.DataArray([0.0, 0.3, 1.0], dims="r")
    y = xr.DataArray(z[:, 0], dims="draw") + bend * xr.DataArray(z[:, 1] ** 2, dims="draw")
    shares = variance_shares(y, drawn(z), directions=np.eye(2))
    exact = 2.0 * bend**2 / (1.0 + 2.0 * bend**2)
    np.testing.assert_allclose(shares["rest"], exact, atol=0.06)
    np.testing.assert_allclose(shares["share"].sel(direction=1), 0.0, atol=0.02)
    np.testing.assert_allclose(shares["share"].sum("direction") + shares["rest"], 1.0)
    np.testing.assert_allclose(shares["coordinate_share"].sum("coordinate") + shares["rest"], 1.0)


def test_correlated_coordinates_share_what_they_explain_together():
    rho = 0.6
    z = white(50, 2, 3) @ np.linalg.cholesky(np.array([[1.0, rho], [rho, 1.0]])).T
    shares = variance_shares(xr.DataArray(5.0 * z[:, 0], dims="draw"), drawn(z))
    first = ((np.sqrt(1.0 + rho) + np.sqrt(1.0 - rho)) / 2.0) ** 2  # square of R^(1/2)'s first entry
    np.testing.assert_allclose(shares["coordinate_share"], [first, 1.0 - first], atol=1e-9)
    along = np.array([(1.0 + rho) / 2.0, (1.0 - rho) / 2.0])  # eigenvectors (1, 1) and (1, −1)
    np.testing.assert_allclose(shares["share"], along, atol=1e-9)


def test_directions_of_the_information_are_followed_though_not_orthogonal():
    v = np.array([[1.0, 6.0], [0.0, 1.0]])
    a = white(40, 2, 4) * np.array([0.1, 2.0])
    y = xr.DataArray(4.0 * a[:, 0], dims="draw")  # changes along the first displacement only
    shares = variance_shares(y, drawn(a @ v, ("epsilon", "sigma")), directions=v)
    np.testing.assert_allclose(shares["share"], [1.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(shares["effect"], [0.4, 0.0], atol=1e-9)
    np.testing.assert_allclose(shares["combination"].values @ v.T, np.eye(2), atol=1e-12)
    assert "100 % goes with epsilon;" in share_sentence(shares)


def test_chance_gives_nothing_to_directions_that_do_nothing():
    rng = np.random.default_rng(5)
    useless, rest = [], []
    for _ in range(40):
        z = rng.normal(size=(80, 25))
        y = xr.DataArray(z[:, 0] + rng.normal(size=80), dims="draw")  # half of the variance has other causes
        shares = variance_shares(y, drawn(z), directions=np.eye(25))
        useless.append(float(shares["share"][1:].sum()))
        rest.append(float(shares["rest"]))
    assert np.mean(useless) < 0.15  # the plain regression gives them 24/79 of the other half and more
    assert np.mean(rest) > 0.5  # leaving draws out never flatters


def test_simulation_noise_is_not_taken_for_what_is_not_linear():
    rng = np.random.default_rng(6)
    z = rng.normal(size=(600, 2))
    runs = (z @ np.array([1.0, 0.5]) + 0.4 * z[:, 0] ** 2)[:, None] + 1.5 * rng.normal(size=(600, 2))
    values = xr.DataArray(runs, dims=("draw", "simulation"))
    noise = nested_split(values)["noise_sd"] ** 2
    means = values.mean("simulation")
    naive = variance_shares(means, drawn(z))
    shares = variance_shares(means, drawn(z), noise_variance=noise)
    exact = 0.32 / (1.25 + 0.32)
    assert float(shares["rest"]) == pytest.approx(exact, abs=0.08)
    assert float(naive["rest"]) > 0.5
    np.testing.assert_allclose(shares["coordinate_share"].values / (1.0 - exact), [0.8, 0.2], atol=0.1)
    hidden = variance_shares(means, drawn(z, "ab"), noise_variance=100.0 * noise)
    assert np.isnan(float(hidden["rest"])) and "do not vary beyond" in share_sentence(hidden)


def test_the_words_name_the_largest_combinations():
    z = white(100, 2, 7) @ np.array([[1.0, 1.0], [-0.2, 0.2]])  # wide along a b, narrow along b / a
    y = xr.DataArray(z @ np.array([0.0, 1.0]) + 0.3 * z[:, 0] ** 2, dims="draw", name="gap")
    said = share_sentence(variance_shares(y, drawn(z, "ab")))
    assert said.startswith("Of the parametric variance of gap,") and "% goes with a b" in said
    assert "% is not linear in the parameters" in said
    with pytest.raises(InputError, match="give the coordinates names"):
        share_sentence(variance_shares(y, drawn(z)))


def test_what_cannot_be_regressed_is_refused():
    z = white(20, 3, 8)
    y = xr.DataArray(z[:, 0], dims="draw")
    with pytest.raises(InputError, match="5 draws of 3 coordinates"):
        variance_shares(y[:5], drawn(z[:5]))
    with pytest.raises(InputError, match="independent ones"):
        variance_shares(y, drawn(z), directions=np.ones((3, 3)))
    with pytest.raises(InputError, match="no coordinate that is constant"):
        variance_shares(y, drawn(np.where(np.arange(3) == 1, 0.5, z)))
    still = variance_shares(xr.full_like(y, 2.0), drawn(z))
    assert np.isnan(float(still["rest"]))
