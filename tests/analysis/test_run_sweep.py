"""A stored fit as a linear basis, coarser bases under its prior, and sizes that a sweep can use."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.interpolate import BSpline
from scipy.linalg import cho_factor, cho_solve
from scipy.special import i0, i1

from bayescg.analysis import (
    basis_sweep,
    chosen_features,
    coarser_bases,
    data_size_sweep,
    data_sizes,
    default_sizes,
    local_basis,
    spline_basis,
    within,
)
from bayescg.errors import InputError
from bayescg.inference import Smoothness, default_smoothness_weights, independent_prior
from bayescg.physics import AngleFourier, LennardJones, SplinePair
from bayescg.physics._spline import extended_knots
from tests.analysis.one_dimension import Line, fourier, legendre


def spline(n: int, *, outer: float | None = None) -> SplinePair:
    return SplinePair.uniform(
        inner=0.3, cutoff=0.9, spacing=0.6 / n, outer_spacing=outer, core_distance=0.3, core_strength=5.0
    )


@pytest.fixture(scope="module")
def own():
    fine = spline(12)
    smooth = Smoothness(dist.LogNormal(0.0, 1.0), default_smoothness_weights(fine.parameters()[0]))
    return local_basis(independent_prior(fine, {"pair_coefficients": smooth}), np.append(np.zeros(12), 0.5))


def test_a_random_walk_of_given_scale_is_that_gaussian(own):
    """Hyperparameter log s = 0.5 held: second differences, zeros appended, over w s."""
    weights = np.asarray(default_smoothness_weights(spline(12).parameters()[0]))
    bends = np.eye(12) - 2 * np.eye(12, k=1) + np.eye(12, k=2)
    bends = bends / (weights * np.exp(0.5))[:, None]
    np.testing.assert_allclose(own.prior_precision, bends.T @ bends, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(own.prior_mean, 0.0, atol=1e-9)
    assert own.label == "12" and own.matrix.shape == (13, 12)


def test_fewer_parameters_than_features_give_the_tangent():
    argon = LennardJones(1.2, 0.9, cutoff=2.5)
    prior = independent_prior(
        argon, {"lj_epsilon": dist.LogNormal(0.3, 0.5), "lj_sigma": dist.LogNormal(0.0, 0.1)}
    )
    z = np.array([0.1, -0.05])
    basis = local_basis(prior, z)
    step = 1e-5 * np.array([1.0, -2.0])
    change = np.asarray(prior.potential(jnp.asarray(z + step)).coefficients()) - basis.coefficients(
        np.zeros(2)
    )
    np.testing.assert_allclose(change, basis.matrix @ step, rtol=1e-3)
    np.testing.assert_allclose(basis.prior_precision, np.diag([4.0, 100.0]), rtol=1e-9)
    np.testing.assert_allclose(basis.prior_mean + z, [0.3, 0.0], atol=1e-9)


def test_coarser_splines_are_exact_where_knots_are_shared_and_near_elsewhere(own):
    six, seven, whole = coarser_bases(spline(12), own, (7, 6))
    np.testing.assert_allclose(six.matrix, spline_basis(spline(12), spline(6)).matrix, atol=1e-9)
    assert whole is own
    r = np.linspace(0.3, 0.9, 500)
    knots = [np.asarray(extended_knots(spline(n).knots)) for n in (12, 7)]
    fine, coarse = (
        BSpline.design_matrix(np.clip(r, 0.3, 0.9 - 1e-12), np.append(t, [0.95, 1.0, 1.05]), 3).toarray()
        for t in knots
    )
    made = fine[:, :12] @ seven.matrix[:12]
    assert 1e-4 < np.abs(made - coarse[:, :7]).max() < 0.15


def test_the_coarse_prior_is_that_of_the_same_function(own):
    """Density of a coarse function under its own prior and under the fine one's differ by a constant."""
    five = coarser_bases(spline(12), own, (5,))[0]
    theta = np.random.default_rng(0).normal(size=(6, 5))
    fine = (five.coefficients(theta) - own.offset)[:, :12]

    def quadratic(x, basis):
        return np.einsum("fi,ij,fj->f", x - basis.prior_mean, basis.prior_precision, x - basis.prior_mean)

    apart = quadratic(theta, five) - quadratic(fine, own)
    assert np.ptp(apart) < 1e-8 * np.abs(quadratic(fine, own)).max()


def test_a_prior_away_from_zero_comes_along():
    fine = spline(8)
    prior = independent_prior(fine, {"pair_coefficients": dist.Normal(2.0, 0.5)})
    own = local_basis(prior, np.full(8, 0.7))
    four = coarser_bases(fine, own, (4,))[0]
    d = four.matrix[:8]
    expected = cho_solve(cho_factor(d.T @ d), d.T @ np.full(8, 2.0))
    np.testing.assert_allclose(four.prior_mean, expected, rtol=1e-8)
    np.testing.assert_allclose(four.prior_precision, 4.0 * d.T @ d, rtol=1e-9)


def test_a_basis_that_is_not_within_is_refused(own):
    with pytest.raises(InputError, match="take one within it"):
        within(coarser_bases(spline(12), own, (4,))[0], own)


def test_a_series_of_angles_that_needs_one_harmonic():
    """2000 angles of von Mises' law: the second harmonic brings nothing, none is far too few."""
    angle = AngleFourier(0.5, 0.1)
    prior = independent_prior(angle, {f"angle_kappa{k}": dist.Normal(0.0, 2.0) for k in (1, 2)})
    own = local_basis(prior, np.array([0.5, 0.1]))
    circle = Line(fourier(2), 0.0, 2 * np.pi)
    data = circle.statistics(circle.draw(np.array([1.0, 0.0]), np.random.default_rng(3).uniform(size=2000)))
    bases = coarser_bases(angle, own, default_sizes(angle))
    table = basis_sweep(data, circle.surrogate(), bases, start=own.offset)
    assert table["basis"].values.tolist() == ["0", "1", "2"] and table.attrs["recommended"] == "1"
    gain = i1(1.0) / i0(1.0) - np.log(i0(1.0))  # relative entropy of von Mises' law to the uniform one
    assert float(table["difference"].sel(basis="0")) == pytest.approx(gain, abs=0.04)
    np.testing.assert_allclose(table["coefficients"].values[1], [1.0, 0.0], atol=0.1)


def test_sizes_of_coarser_bases(own):
    assert (
        default_sizes(spline(33)) == (11, 14, 17, 21, 26)
        and default_sizes(LennardJones(1.0, 1.0, cutoff=2.0)) == ()
    )
    assert all(len(spline(20, outer=0.06).knots) - 1 > n >= 4 for n in default_sizes(spline(20, outer=0.06)))
    for sizes in ((3,), (12,), (), (5, 40)):
        with pytest.raises(
            InputError, match="expected coarser ones than the run's basis of 12, from 4 to 11"
        ):
            coarser_bases(spline(12), own, sizes)
    with pytest.raises(InputError, match="LennardJones, which has no coarser bases"):
        coarser_bases(LennardJones(1.0, 1.0, cutoff=2.0), own, (4,))


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([1500], (46, 93, 187, 375)), ([500, 500, 500, 500, 500], (62, 125, 250, 500)), ([400, 100], (50, 100))],
)
def test_data_sizes_leave_four_pieces(lengths, expected):
    assert data_sizes(lengths, inefficiency=4.0, n_parameters=33) == expected


def test_too_few_frames_for_the_parameters():
    with pytest.raises(InputError, match="100 frames for 33 parameters hold no 4 pieces of 34 frames"):
        data_sizes([100], inefficiency=1.0, n_parameters=33)


def test_errors_of_a_data_size_sweep_are_those_of_the_fits():
    """Energies that differ from frame to frame as a fluid's do: the gap is known to a few percent all the same."""
    line, rng = Line(legendre(2), -1.0, 1.0), np.random.default_rng(1)
    data = line.statistics(line.draw(np.array([8.0, 3.0]), rng.uniform(size=8000)))
    basis = chosen_features(2, [0, 1])
    table = data_size_sweep(data, line.surrogate(), basis, start=np.array([8.0, 3.0]), n_frames=(400,))
    assert float(table["gap"][0]) == pytest.approx(2 / 400, abs=4 * float(table["gap_se"][0]))
    energies = np.std(data.features @ np.array([8.0, 3.0])) / np.sqrt(400 * 20)
    assert float(table["gap_se"][0]) < 0.3 * energies
    assert float(table["train_relative_entropy"][0]) < float(table["held_out_relative_entropy"][0])
