"""An Ornstein-Uhlenbeck path seen as a path and as frames at equilibrium: two posteriors of one width (V17)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from bayescg.inference import calibrate, calibrated_draws
from bayescg.physics import SufficientStatistics

RATE, DIFFUSION = 1.0, 0.5
"""λ = k/γ and D = kT/γ with kT = 1, so that k = λ/D = 2."""


class Lagged(NamedTuple):
    """What a Gaussian path likelihood needs: mean of x_i², of x_i x_{i+1}, of x_{i+1}², and the number of steps."""

    first: np.ndarray
    product: np.ndarray
    second: np.ndarray
    n: int


def paths(rng, n_sets: int, n: int, dt: float) -> np.ndarray:
    """Stationary paths, exact at any time step [set frame]."""
    a = np.exp(-RATE * dt)
    sd = np.sqrt(DIFFUSION / RATE)
    noise = sd * np.sqrt(1.0 - a**2) * rng.normal(size=(n_sets, n))
    noise[:, 0] /= np.sqrt(1.0 - a**2)
    return signal.lfilter([1.0], [1.0, -a], noise, axis=1)


def lagged(x: np.ndarray) -> Lagged:
    a, b = x[..., :-1], x[..., 1:]
    return Lagged(np.mean(a * a, -1), np.mean(a * b, -1), np.mean(b * b, -1), x.shape[-1] - 1)


def gaussian(decay, variance, path: Lagged):
    """log p of x_{i+1} = decay · x_i + √variance ε along the path."""
    squares = path.second - 2.0 * decay * path.product + decay**2 * path.first
    return -0.5 * path.n * (squares / variance + jnp.log(2.0 * jnp.pi * variance))


def exact(log_parameters, path: Lagged, dt: float):
    """log p(path | λ, D) by the exact transition density."""
    rate, diffusion = jnp.exp(log_parameters)
    return gaussian(jnp.exp(-rate * dt), diffusion / rate * -jnp.expm1(-2.0 * rate * dt), path)


def euler(log_parameters, path: Lagged, dt: float):
    """The same by one Euler step: the discretised Girsanov density."""
    rate, diffusion = jnp.exp(log_parameters)
    return gaussian(1.0 - rate * dt, 2.0 * diffusion * dt, path)


@jax.jit(static_argnums=0)
def fit(log_likelihood, path: Lagged, dt):
    """Maximum of the likelihood over (log λ, log D), and the covariance of the posterior with flat priors there."""
    gradient = jax.grad(log_likelihood)
    hessian = jax.hessian(log_likelihood)

    def step(z, _):
        move = jnp.linalg.solve(hessian(z, path, dt), gradient(z, path, dt))
        return z - jnp.clip(move, -0.2, 0.2), None

    z, _ = jax.lax.scan(step, jnp.log(jnp.array([0.9, 0.45])), None, length=40)
    return z, -jnp.linalg.inv(hessian(z, path, dt))


def population(dt: float, n: int = 10**6) -> Lagged:
    """The statistics of an infinite path."""
    variance = np.asarray(DIFFUSION / RATE)
    return Lagged(variance, variance * np.exp(-RATE * dt), variance, n)


@pytest.mark.parametrize(
    ("dt", "rate", "diffusion"), [(0.1, 0.9516, 0.4532), (0.5, 0.7869, 0.3161)], ids=["short", "long"]
)
def test_euler_likelihood_is_biased_exactly_so(dt, rate, diffusion):
    """λ_E = (1 − e^{−λ dt})/dt and D_E = D (1 − e^{−2λ dt})/(2 λ dt), for ever so much data."""
    z = np.exp(np.asarray(fit(euler, population(dt), dt)[0]))
    assert z[0] == pytest.approx(-np.expm1(-RATE * dt) / dt, rel=1e-8)
    assert z[1] == pytest.approx(DIFFUSION * -np.expm1(-2 * RATE * dt) / (2 * RATE * dt), rel=1e-8)
    np.testing.assert_allclose(z, [rate, diffusion], atol=5e-5)


@pytest.mark.parametrize("dt", [0.1, 0.5])
def test_exact_transition_likelihood_is_not_biased(dt):
    z = np.exp(np.asarray(fit(exact, population(dt), dt)[0]))
    np.testing.assert_allclose(z, [RATE, DIFFUSION], rtol=1e-8)


@pytest.mark.parametrize("dt", [0.1, 0.5])
def test_both_on_simulated_paths(dt):
    """Within 4 of the posterior's own standard deviations, where Euler's are 10 and more from the truth."""
    path = lagged(paths(np.random.default_rng(1), 1, 200_000, dt)[0])
    z, covariance = (np.asarray(leaf) for leaf in fit(exact, path, dt))
    assert np.all(np.abs(z - np.log([RATE, DIFFUSION])) < 4.0 * np.sqrt(np.diag(covariance)))
    biased, covariance = (np.asarray(leaf) for leaf in fit(euler, path, dt))
    expected = np.log([-np.expm1(-RATE * dt) / dt, DIFFUSION * -np.expm1(-2 * RATE * dt) / (2 * RATE * dt)])
    assert np.all(np.abs(biased - expected) < 5.0 * np.sqrt(np.diag(covariance)))
    assert abs(biased[1] - np.log(DIFFUSION)) > 10.0 * np.sqrt(covariance[1, 1])


def log_k_width(covariance) -> np.ndarray:
    """Standard deviation of log k = log λ − log D + log kT."""
    covariance = np.asarray(covariance)
    return np.sqrt(covariance[..., 0, 0] + covariance[..., 1, 1] - 2.0 * covariance[..., 0, 1])


def equilibrium(x: np.ndarray):
    """Calibration of U = k x²/2 in log k with a flat prior, at its maximum: curvature ½ per frame."""
    phi = x[:, None] ** 2 / 2.0
    k = 0.5 / phi.mean()
    nothing, zero = phi[:, :0], np.zeros((1, 1))
    return calibrate(
        SufficientStatistics(phi, nothing, nothing, np.zeros(len(x), int)),
        beta=1.0,
        coefficient_jacobian=np.array([[k]]),
        curvature=np.full((1, 1), 0.5),
        prior_precision=zero,
        prior_score_covariance=zero,
        feature_error=zero,
    )


WIDTHS = [(0.1, 2000, 0.100166, 60), (0.1, 20_000, 0.031675, 20), (0.5, 20_000, 0.014710, 20)]


@pytest.mark.parametrize(("dt", "n", "width", "n_sets"), WIDTHS, ids=["2000", "20000", "20000, far apart"])
def test_calibrated_equilibrium_posterior_is_as_wide_as_the_path_posterior(dt, n, width, n_sets):
    """Both √(2 g/N), g = (1 + a²)/(1 − a²); the naive posterior √(2/N), too narrow by √g."""
    a = np.exp(-RATE * dt)
    g = (1.0 + a**2) / (1.0 - a**2)
    assert np.sqrt(2.0 * g / n) == pytest.approx(width, abs=6e-7)
    assert log_k_width(fit(exact, population(dt, n), dt)[1]) == pytest.approx(np.sqrt(2.0 * g / n), rel=1e-5)
    x = paths(np.random.default_rng(2), n_sets, n, dt)
    of_paths = log_k_width(jax.vmap(lambda path: fit(exact, path, dt)[1], in_axes=(Lagged(0, 0, 0, None),))(
        lagged(x)
    ))  # fmt: skip
    calibrations = [equilibrium(row) for row in x]
    of_frames = np.sqrt([c.covariance[0, 0] for c in calibrations])
    naive = np.sqrt(2.0 / n)
    print(
        f"dt {dt} N {n}: path {np.sqrt(np.mean(of_paths**2)):.6f}, calibrated {np.sqrt(np.mean(of_frames**2)):.6f} "
        f"(scatter {of_frames.std():.6f}), exact {width}, naive {naive:.6f}"
    )
    assert np.sqrt(np.mean(of_paths**2)) == pytest.approx(width, rel=0.03)
    # The estimate of the long-run covariance scatters; what its batches do not see is a few per cent at 2000 frames.
    scatter = of_frames.std() / np.sqrt(n_sets)
    assert abs(of_frames.mean() - width) < 4.0 * scatter + (0.04 if n < 10_000 else 0.01) * width
    assert naive * np.sqrt(g) == pytest.approx(width, rel=1e-4)
    assert naive < 0.85 * of_frames.min() or g < 2.0


def test_both_maxima_scatter_as_their_widths_say():
    """1000 paths of 2000 frames: the spread of log k̂ is the width of either posterior, three times the naive one."""
    dt, n = 0.1, 2000
    x = paths(np.random.default_rng(3), 1000, n, dt)
    z = np.asarray(
        jax.vmap(lambda path: fit(exact, path, dt)[0], in_axes=(Lagged(0, 0, 0, None),))(lagged(x))
    )
    by_path, by_frames = z[:, 0] - z[:, 1], -np.log(np.mean(x**2, axis=1))
    for spread in (by_path.std(), by_frames.std()):
        assert spread == pytest.approx(0.100166, rel=4.0 / np.sqrt(2000) + 0.01)
    assert np.corrcoef(by_path, by_frames)[0, 1] > 0.98
    assert by_frames.std() > 3.0 * np.sqrt(2.0 / n)


def test_calibrated_intervals_cover_and_naive_ones_do_not():
    """Nominal 90 %, from paths of 200 relaxation times."""
    dt, n, rng = 0.1, 2000, np.random.default_rng(4)
    covered = []
    for x in paths(rng, 300, n, dt):
        raw = np.log(rng.gamma(n / 2.0, 2.0 / np.sum(x**2), size=(800, 1)))
        draws = calibrated_draws(raw, raw.mean(axis=0), equilibrium(x), rng=rng)
        quantiles = (np.quantile(d, [0.05, 0.95]) for d in (raw, draws))
        covered.append([low <= np.log(RATE / DIFFUSION) <= high for low, high in quantiles])
    naive, calibrated = np.mean(covered, axis=0)
    print("coverage of 90 % intervals: naive", naive, "calibrated", calibrated)
    assert naive < 0.5
    assert 0.84 < calibrated < 0.94
