"""Profiles against closed forms: normal posteriors of any shape, the double well on a grid, flat sides."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jaxtyping import Array, Float
from scipy import optimize

from bayescg.analysis import profiles
from bayescg.analysis._profile import _interval
from bayescg.errors import ConvergenceError, InputError
from bayescg.inference import Posterior, Prior, RelativeEntropy, laplace, maximise
from bayescg.inference._likelihood import ExactLikelihood
from bayescg.physics import DoubleWell, LinearPotential, Surrogate

HALF_WIDTH = 1.9599639845
LEVEL = HALF_WIDTH**2 / 2.0


class Quadratic(ExactLikelihood):
    """log p = −(z − m)ᵀ P (z − m)/2; what the prior draws is z itself."""

    mean: Float[Array, " coordinate"]
    precision: Float[Array, "coordinate coordinate"]

    def log_likelihood(self, model: Array) -> Array:
        d = model - self.mean
        return -0.5 * d @ self.precision @ d


class Springs(ExactLikelihood):
    """Two springs in series, of which ln k_eff is measured with an error."""

    error: float

    def log_likelihood(self, model: Array) -> Array:
        measured = -jnp.logaddexp(-model[0], -model[1])
        return -0.5 * ((measured - jnp.log(0.75)) / self.error) ** 2


def half_square(positions, box):
    return jnp.sum(positions**2).reshape(1) / 2.0


def normal_prior(size, *, sd):
    return Prior(lambda: numpyro.sample("z", dist.Normal(0.0, sd).expand((size,)).to_event(1)))


def normal_problem(size, *, sd=2.0, condition=1e4, seed=0):
    """A normal posterior with a covariance of a given condition number, and its exact mean and covariance."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(size, size)))[0]
    precision = turn @ np.diag(np.geomspace(100.0, 100.0 / condition, size)) @ turn.T
    mean = rng.normal(size=size)
    posterior = Posterior(normal_prior(size, sd=sd))
    likelihood = Quadratic(jnp.asarray(mean), jnp.asarray(precision))
    total = precision + np.eye(size) / sd**2
    covariance = np.linalg.inv(total)
    return posterior, likelihood, covariance @ precision @ mean, covariance


@pytest.mark.parametrize("size", [1, 2, 24])
def test_a_normal_posterior_has_parabolas(size):
    posterior, likelihood, mean, covariance = normal_problem(size, condition=100.0)
    found = profiles(posterior, likelihood, laplace(posterior, likelihood, mean))
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(
        found.interval, mean[:, None] + HALF_WIDTH * np.outer(sd, [-1.0, 1.0]), atol=1e-6
    )
    there = np.isfinite(found.grid)
    assert there.sum() == size * 17  # eight steps on each side, all of them equal
    expected = -0.5 * ((found.grid - mean[:, None]) / sd[:, None]) ** 2
    np.testing.assert_allclose(found.log_density[there], expected[there], atol=1e-6)
    for i in range(size):  # the others follow their conditional means
        along = covariance[:, i] / covariance[i, i]
        path = mean + (found.grid[i][:, None] - mean[i]) * along
        np.testing.assert_allclose(found.z[i][there[i]], path[there[i]], atol=1e-4)
    assert found.converged.all() and not found.bank_ended.any() and not found.practically_unidentifiable.any()
    np.testing.assert_allclose(found.rise, 0.0, atol=1e-7)


def test_the_prior_ends_what_the_data_leave_open():
    """Five decades of information: intervals are still exact, and only what the prior holds is called flat."""
    posterior, likelihood, mean, covariance = normal_problem(6, condition=1e5, seed=2)
    information, vectors = np.linalg.eigh(np.asarray(likelihood.precision))  # from 1e-3; the prior's is 0.25
    mode = laplace(posterior, likelihood, mean)
    found = profiles(posterior, likelihood, mode, directions=vectors.T)
    sd = np.sqrt(np.diag(vectors.T @ covariance @ vectors))
    expected = (vectors.T @ mean)[:, None] + HALF_WIDTH * np.outer(sd, [-1.0, 1.0])
    np.testing.assert_allclose(found.interval, expected, atol=1e-6)
    flat = information / (information + 0.25) < 0.1
    assert flat.tolist() == [True, True, False, False, False, False]
    np.testing.assert_array_equal(found.practically_unidentifiable.all(axis=1), flat)
    np.testing.assert_array_equal(found.practically_unidentifiable.any(axis=1), flat)


def test_any_combination_has_its_own_parabola():
    posterior, likelihood, mean, covariance = normal_problem(5, seed=3)
    c = np.random.default_rng(1).normal(size=(3, 5))
    found = profiles(posterior, likelihood, laplace(posterior, likelihood, mean), directions=c)
    sd = np.sqrt(np.diag(c @ covariance @ c.T))
    np.testing.assert_allclose(
        found.interval, (c @ mean)[:, None] + HALF_WIDTH * np.outer(sd, [-1, 1]), atol=1e-6
    )
    np.testing.assert_allclose(np.einsum("kpi,ki->kp", found.z, c), found.grid, atol=1e-8)


def test_the_likelihood_alone_has_its_own():
    """Without the prior the maximum moves to the likelihood's, and the width is the likelihood's."""
    posterior, likelihood, mean, _ = normal_problem(3, sd=0.3, condition=20.0)
    found = profiles(posterior, likelihood, laplace(posterior, likelihood, mean), prior_power=0.0)
    sd = np.sqrt(np.diag(np.linalg.inv(np.asarray(likelihood.precision))))
    expected = np.asarray(likelihood.mean)[:, None] + HALF_WIDTH * np.outer(sd, [-1, 1])
    np.testing.assert_allclose(found.interval, expected, atol=1e-5)
    np.testing.assert_allclose(found.likelihood_interval, expected, atol=1e-5)


def test_the_likelihood_along_the_profile_is_exact():
    """Of a normal one it is a parabola too, about the likelihood's best point on the posterior's path."""
    posterior, likelihood, mean, covariance = normal_problem(2, sd=1.0, condition=100.0, seed=5)
    found = profiles(posterior, likelihood, laplace(posterior, likelihood, mean), depth=8.0)
    precision, best = np.asarray(likelihood.precision), np.asarray(likelihood.mean)
    for i in range(2):
        along = covariance[:, i] / covariance[i, i]
        curvature = along @ precision @ along
        peak = mean[i] + along @ precision @ (best - mean) / curvature
        expected = peak + HALF_WIDTH / np.sqrt(curvature) * np.array([-1.0, 1.0])
        reached = np.isfinite(found.likelihood_interval[i])
        np.testing.assert_allclose(found.likelihood_interval[i][reached], expected[reached], atol=2e-4)
        assert reached.any()


def well_model():
    return DoubleWell(
        numpyro.sample("t1", dist.Normal(1.0, 2.0)), numpyro.sample("t2", dist.Normal(1.0, 2.0))
    )


@pytest.fixture(scope="module")
def double_well():
    """V2: ⟨x²⟩ = 1.2, ⟨x⁴⟩ = 2.2, N = 100, the exact log Z by quadrature."""
    x = jnp.linspace(-7.0, 7.0, 1401)
    features = jnp.stack([-(x**2) / 2.0, x**4 / 4.0], axis=1)
    surrogate = Surrogate(jnp.ones(()), jnp.zeros(2), features, jnp.full(1401, jnp.log(0.01)))
    likelihood = RelativeEntropy(jnp.array([-0.6, 0.55]), jnp.asarray(100.0), surrogate)
    posterior = Posterior(Prior(well_model))
    mode = maximise(posterior, likelihood, np.array([2.5, 1.8]), least_effective_frames=0.0)
    return posterior, likelihood, mode


def test_double_well_against_a_grid(double_well):
    """V2: every point of both profiles, and where they have fallen by 1.92, by maximising over a fine grid."""
    posterior, likelihood, mode = double_well
    np.testing.assert_allclose(mode.z, [2.826133, 1.975583], atol=1e-5)
    found = profiles(posterior, likelihood, mode, least_effective_frames=0.0)
    density = jax.jit(jax.vmap(lambda z: posterior.log_density(z, likelihood)))

    def profile(i, value):
        def lost(other):
            z = np.insert(other, i, value)
            return -float(density(jnp.asarray(z)[None])[0])

        grid = np.linspace(0.3, 6.0, 400)
        z = np.insert(grid[:, None], i, value, axis=1)
        first = grid[int(np.nanargmax(np.asarray(density(jnp.asarray(z)))))]
        best = optimize.minimize_scalar(
            lambda x: lost(np.array([x])), bracket=(first - 0.02, first + 0.02), tol=1e-12
        )
        return -best.fun - mode.log_density

    for i in range(2):
        for value, height in zip(found.grid[i], found.log_density[i]):
            if np.isfinite(value):
                assert height == pytest.approx(profile(i, value), abs=1e-5)
        for side, bracket in enumerate(((0.5, mode.z[i]), (mode.z[i], 6.0))):
            expected = optimize.brentq(lambda x, i=i: profile(i, x) + LEVEL, *bracket, xtol=1e-7)
            assert found.interval[i, side] == pytest.approx(expected, abs=3e-4)
    # skewed: not what the Laplace approximation says
    laplace_width = HALF_WIDTH * np.sqrt(mode.covariance[0, 0])
    assert abs(found.interval[0, 1] - mode.z[0] - laplace_width) > 0.03


def test_a_start_beside_the_mode_is_corrected(double_well):
    posterior, likelihood, mode = double_well
    beside = mode._replace(z=mode.z + np.array([0.1, -0.05]))
    found = profiles(posterior, likelihood, beside, least_effective_frames=0.0)
    expected = profiles(posterior, likelihood, mode, least_effective_frames=0.0)
    np.testing.assert_allclose(found.interval, expected.interval, atol=1e-4)


def test_a_flat_side_has_no_bound():
    """V7's springs: each bounded below by k_eff, above only by the prior."""
    posterior = Posterior(normal_prior(2, sd=4.0))
    likelihood = Springs(0.1)
    mode = maximise(posterior, likelihood, np.array([0.4, 0.4]), least_effective_frames=0.0)
    found = profiles(posterior, likelihood, mode)
    assert found.practically_unidentifiable.tolist() == [[False, True], [False, True]]
    assert np.isfinite(found.interval).all(), "the prior bounds what the data do not"
    assert (found.interval[:, 1] > 4.0).all()
    other = jnp.linspace(-3.0, 15.0, 20_001)  # the likelihood on the way, by maximising over the other spring

    @jax.jit
    def on_the_way(first):
        z = jnp.stack([jnp.broadcast_to(first, other.shape), other], axis=1)
        log_likelihood = jax.vmap(likelihood.log_likelihood)(z)
        return log_likelihood[jnp.argmax(log_likelihood - other**2 / 32.0)]

    expected = optimize.brentq(lambda x: float(on_the_way(x)) + LEVEL, -0.7, 0.0)
    np.testing.assert_allclose(found.likelihood_interval[:, 0], expected, atol=2e-3)


def test_where_the_bank_ends_is_not_called_flat():
    """Few reference frames support only a part of the profile: no verdict on the data follows from it."""
    x = np.random.default_rng(0).normal(size=400)
    surrogate = Surrogate(
        jnp.ones(()), jnp.zeros(1), jnp.asarray(x**2 / 2.0)[:, None], jnp.full(400, -jnp.log(400.0))
    )

    def model():
        return LinearPotential(numpyro.sample("k", dist.Normal(1.0, 5.0))[None], function=half_square)

    likelihood = RelativeEntropy(jnp.array([np.mean(x**2) / 2.0]), jnp.asarray(5.0), surrogate)
    posterior = Posterior(Prior(model))
    mode = maximise(posterior, likelihood, np.array([1.0]), least_effective_frames=0.0)
    found = profiles(posterior, likelihood, mode, least_effective_frames=375.0)
    assert found.bank_ended.all() and not found.practically_unidentifiable.any()
    assert np.nanmin(found.effective_frames) >= 375.0
    assert np.isnan(found.interval).all()
    enough = profiles(posterior, likelihood, mode, least_effective_frames=0.0)
    assert np.isfinite(enough.interval).all() and not enough.bank_ended.any()


def test_impossible_directions_and_starts_are_refused():
    posterior, likelihood, mean, _ = normal_problem(2)
    mode = laplace(posterior, likelihood, mean)
    with pytest.raises(InputError, match="do not fit 2 coordinates"):
        profiles(posterior, likelihood, mode, directions=np.eye(3))
    with pytest.raises(InputError, match="no length"):
        profiles(posterior, likelihood, mode, directions=np.zeros((1, 2)))
    with pytest.raises(InputError, match="1 names for 2"):
        profiles(posterior, likelihood, mode, names=("a",))
    nowhere = Quadratic(jnp.full(2, jnp.nan), jnp.eye(2))
    with pytest.raises(ConvergenceError, match="no maximum"):
        profiles(posterior, nowhere, mode)


def test_a_curve_that_overshoots_between_its_points_has_an_interval():
    """Slopes that don't fit the points raise the cubic far above them; the crossing is looked for on the cubic itself."""
    t = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    value = np.array([-9.0, -3.0, 0.0, -3.0, -9.0])
    slope = np.array([6.0, 4.0, 30.0, -4.0, -6.0])
    lower, upper = _interval(t, value, slope)
    assert -2.0 < lower < upper < 2.0
    straight = _interval(t, -(t**2) / 2 * 4.0, -4.0 * t)
    np.testing.assert_allclose(straight, [-np.sqrt(2 * LEVEL / 4), np.sqrt(2 * LEVEL / 4)], rtol=1e-9)
