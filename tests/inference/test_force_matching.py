"""Force matching against hand-worked cases, finite differences, and known argon."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import integrate, optimize

from bayescg.data import Frames, State, Topology, get_unit_system, read_frames
from bayescg.errors import InputError
from bayescg.inference import Posterior, independent_prior, maximise
from bayescg.inference._force_matching import (
    ForceFeatures,
    ForceNormalEquations,
    force_matching_likelihood,
    force_matching_mode,
    force_normal_equations,
)
from bayescg.inference._linear_gaussian import linear_gaussian_posterior
from bayescg.inference._score_matching import score_matching_mode
from bayescg.physics import DoubleWell, LennardJones, LinearPotential, SplinePair, WeeksChandlerAndersen

KEY = jax.random.key(20080511)
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ARGON = DATA / "lj_argon" / "lj_ar_94K.nc"
needs_argon = pytest.mark.skipif(
    not ARGON.exists(), reason=f"no argon trajectory at {ARGON}: reference data absent"
)


def harmonic_features(positions, box):
    return jnp.sum(positions**2)[None] / 2.0


def chain_features(positions, box):
    bonds = jnp.linalg.norm(positions[1:] - positions[:-1], axis=1)
    return jnp.stack([jnp.sum((bonds - 1.0) ** 2), jnp.sum(bonds**4), jnp.sum(jnp.cos(positions))])


def toy_frames(positions, forces=None, *, temperature=1.0, trajectory=None, box=np.inf):
    n_sites, dim = positions.shape[1:]
    topology = Topology(("A",) * n_sites, np.ones(n_sites))
    extra = {} if trajectory is None else {"trajectory": trajectory}
    return Frames(
        positions,
        np.full(dim, box),
        topology,
        State(temperature),
        get_unit_system("lj"),
        forces=forces,
        **extra,
    )


def liquid_positions(n_sites, edge, *, rng):
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)[:n_sites]
    return (grid + 0.5) * edge / 3 + rng.uniform(-0.12, 0.12, (n_sites, 3))


def spline(**change):
    settings = {"inner": 1.0, "cutoff": 1.7, "spacing": 0.1, "core_distance": 1.2, "core_strength": 2.0}
    return SplinePair.uniform(**{**settings, **change})


POTENTIALS = {
    "truncated LJ": LennardJones(1.0, 1.0, cutoff=1.7, convention="truncated"),
    "shifted LJ": LennardJones(1.0, 1.0, cutoff=1.7),
    "smooth LJ": LennardJones(1.0, 1.0, cutoff=1.7, convention="smooth", onset=1.3),
    "spline": spline(),
    "sum": LennardJones(1.0, 1.0, cutoff=1.5) + spline(name="second"),
    "chain": LinearPotential(jnp.array([3.0, 1.0, 0.5]), function=chain_features),
    "wells": DoubleWell(1.0, 2.0),
}


def test_hand_worked_case_with_known_noise():
    x = np.array([-1, -0.5, 0, 0.5, 1, 1.5])[:, None, None]
    forces = np.array([2.1, 0.9, 0.1, -1.2, -1.9, -3.1])[:, None, None]
    linear = LinearPotential(jnp.zeros(1), function=harmonic_features)
    prior = independent_prior(linear, {"linear_theta": dist.Normal(0.0, 10.0)})
    equations = force_normal_equations(toy_frames(x, forces).blocks(4), linear)
    fit = force_matching_mode(equations, prior, key=KEY, sigma=0.2)
    assert fit.z[0] == pytest.approx(2.041933, abs=1e-6)
    assert np.sqrt(fit.covariance[0, 0]) == pytest.approx(0.0917624, abs=1e-6)
    assert "not calibrated" in fit.calibration
    np.testing.assert_array_equal(fit.calibrated_covariance, fit.covariance)


@pytest.mark.parametrize("name", POTENTIALS)
def test_force_features_are_the_finite_differences_of_the_features(name):
    potential, edge = POTENTIALS[name], 3.6
    x = liquid_positions(20, edge, rng=np.random.default_rng(4))
    box = jnp.full(3, edge) if name not in ("chain", "wells") else jnp.full(3, jnp.inf)
    matrix = np.asarray(ForceFeatures.of(potential).matrix(jnp.asarray(x), box))
    phi = jax.jit(lambda y: potential.features(y.reshape(x.shape), box))
    h, expected = 1e-5, np.empty_like(matrix)
    for k in range(x.size):
        step = np.zeros(x.size)
        step[k] = h
        expected[k] = -(phi(x.reshape(-1) + step) - phi(x.reshape(-1) - step)) / (2.0 * h)
    tabulated = name in ("spline", "sum")  # the engine's force is constant within a bin of r²
    scale = np.abs(expected).max(axis=0)
    assert np.all(scale > 0.0)
    np.testing.assert_array_less(
        np.abs(matrix - expected).max(axis=0), (2e-3 if tabulated else 1e-6) * scale + 1e-6
    )
    forces = np.asarray(potential.forces(jnp.asarray(x), box)).reshape(-1)
    product = matrix @ np.asarray(potential.coefficients())
    np.testing.assert_allclose(
        product, forces, atol=(1e-3 if tabulated else 1e-9) * np.abs(forces).max() + 1e-12
    )


def test_force_features_of_a_pair_obey_newtons_third_law():
    x = liquid_positions(20, 3.6, rng=np.random.default_rng(5))
    matrix = np.asarray(ForceFeatures.of(spline()).matrix(jnp.asarray(x), jnp.full(3, 3.6)))
    np.testing.assert_allclose(matrix.reshape(20, 3, -1).sum(axis=0), 0.0, atol=1e-9)


def test_sums_do_not_depend_on_how_frames_arrive_and_blocks_end_with_trajectories():
    rng = np.random.default_rng(6)
    x = np.stack([liquid_positions(9, 3.6, rng=rng) for _ in range(53)])
    trajectory = np.repeat([0, 3, 7], [20, 7, 26])
    frames = toy_frames(x, rng.normal(size=x.shape), trajectory=trajectory, box=3.6)
    potential = LennardJones(1.0, 1.0, cutoff=1.7)
    fine = force_normal_equations(frames.blocks(53), potential)
    assert fine.trajectory_lengths() == (20, 7, 26)
    for size in (1, 5, 20, 53):
        equations = force_normal_equations(frames.blocks(size), potential, max_blocks=16)
        assert len(equations.square) <= 16 and equations.n_components == x.size
        assert equations.n_frames.sum() == 53 and equations.n_frames.max() == 4
        assert equations.trajectory_lengths() == (5, 2, 7)
        for got, total in zip(equations[:3], fine[:3], strict=True):
            np.testing.assert_allclose(got.sum(axis=0), total.sum(axis=0), rtol=1e-12)
        starts = np.cumsum(np.r_[0, equations.n_frames[:-1]])
        np.testing.assert_allclose(equations.gram, np.add.reduceat(fine.gram, starts), rtol=1e-12)
    assert len(force_normal_equations(frames.blocks(8), potential, max_blocks=2).square) == 3


def test_frames_without_forces_or_without_frames_are_refused():
    frames = toy_frames(np.zeros((3, 1, 1)))
    with pytest.raises(InputError, match="hold no forces"):
        force_normal_equations(frames.blocks(2), DoubleWell(1.0, 1.0))
    with pytest.raises(InputError, match="no frames"):
        force_normal_equations([], DoubleWell(1.0, 1.0))


def test_a_linear_potential_reproduces_the_linear_gaussian_posterior_and_its_noise():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(30, 10, 1))
    forces = 1.5 * x - 0.8 * x**3 + rng.normal(0.0, 0.7, x.shape)
    well = DoubleWell(1.0, 1.0)
    prior = independent_prior(well, {"well_t1": dist.Normal(1.0, 2.0), "well_t2": dist.HalfNormal(50.0)})
    fit = force_matching_mode(force_normal_equations(toy_frames(x, forces).blocks(8), well), prior, key=KEY)
    flat = x.reshape(-1)
    design = np.stack([flat, -(flat**3)], axis=1)
    least = np.linalg.lstsq(design, forces.reshape(-1), rcond=None)
    assert fit.sigma == pytest.approx(np.sqrt(least[1][0] / (flat.size - 2)), rel=1e-3)
    exact = linear_gaussian_posterior(
        design, forces.reshape(-1), fit.sigma, np.array([1.0, 0.0]), np.diag([4.0, 2500.0])
    )
    np.testing.assert_allclose(fit.eta, exact.mean, rtol=2e-3)  # the mode in log t₂ carries the Jacobian
    assert np.sqrt(fit.covariance[0, 0]) == pytest.approx(np.sqrt(exact.covariance[0, 0]), rel=1e-2)
    assert fit.explained_variance == pytest.approx(1.0 - least[1][0] / np.sum(forces**2), abs=1e-3)
    assert fit.interval_is_meaningful


def test_fixed_features_stay_fixed():
    rng = np.random.default_rng(8)
    potential = spline(inner=0.7, spacing=0.25, core_strength=20.0)
    truth = potential.with_parameters({"pair_coefficients": jnp.array([3.0, -1.0, 0.5, 0.2])})
    x = np.stack([liquid_positions(20, 3.0, rng=rng) for _ in range(30)])
    forces = np.asarray(jax.jit(jax.vmap(truth.forces, (0, None)))(jnp.asarray(x), jnp.full(3, 3.0)))
    frames = toy_frames(x, forces + rng.normal(0.0, 1.0, x.shape), box=3.0)
    prior = independent_prior(potential, {"pair_coefficients": dist.Normal(0.0, 100.0)})
    fit = force_matching_mode(force_normal_equations(frames.blocks(16), potential), prior, key=KEY)
    assert fit.eta[-1] == 1.0 and fit.sigma == pytest.approx(1.0, rel=0.05)
    deviation = fit.z - np.asarray(truth.coefficients_)
    assert deviation @ np.linalg.solve(fit.covariance, deviation) < 13.3  # χ²₄, 1 %


def test_sandwich_sees_that_components_of_a_frame_share_their_noise():
    """Each frame has its own stiffness error δ: variance (s²(m + 2) + σ²)/(s² + σ²) times the naive one."""
    rng, m, n = np.random.default_rng(9), 20, 2000
    x = rng.normal(size=(n, m, 1))
    forces = -(2.0 + rng.normal(size=(n, 1, 1))) * x + rng.normal(size=x.shape)
    linear = LinearPotential(jnp.zeros(1), function=harmonic_features)
    prior = independent_prior(linear, {"linear_theta": dist.Normal(0.0, 100.0)})
    equations = force_normal_equations(toy_frames(x, forces).blocks(500), linear)
    fit = force_matching_mode(equations, prior, key=KEY)
    assert fit.calibrated_covariance[0, 0] / fit.covariance[0, 0] == pytest.approx((m + 3) / 2, rel=0.3)
    draws = fit.draw(KEY, 4000)
    assert draws.mean() == pytest.approx(fit.z[0], abs=0.1 * draws.std())
    inflation = fit.degrees_of_freedom / (fit.degrees_of_freedom - 2.0)
    assert draws.var() == pytest.approx(fit.calibrated_covariance[0, 0] * inflation, rel=0.1)
    assert abs(fit.z[0] - 2.0) < 3.0 * draws.std()


def test_likelihood_is_the_normal_density_and_serves_the_posterior():
    rng = np.random.default_rng(10)
    x = rng.normal(size=(25, 8, 1))
    forces = 1.2 * x - 0.9 * x**3 + rng.normal(0.0, 0.5, x.shape)
    well = DoubleWell(1.1, 0.95)
    equations = force_normal_equations(toy_frames(x, forces).blocks(10), well)
    likelihood = force_matching_likelihood(equations, sigma=0.5)
    model = 1.1 * x - 0.95 * x**3
    for sigma in (0.5, 0.8):
        direct = dist.Normal(model, sigma).log_prob(forces).sum()
        assert float(likelihood.log_likelihood(well, jnp.asarray(sigma))) == pytest.approx(
            float(direct), rel=1e-9
        )
    prior = independent_prior(well, {"well_t1": dist.Normal(0.0, 5.0), "well_t2": dist.HalfNormal(5.0)})
    mode = maximise(Posterior(prior), likelihood, np.zeros(2), least_effective_frames=1.0)
    fit = force_matching_mode(equations, prior, key=KEY, sigma=0.5)
    np.testing.assert_allclose(mode.z, fit.z, atol=1e-4)
    np.testing.assert_allclose(mode.covariance, fit.covariance, rtol=1e-3)


def test_nodes_of_a_tabulated_formula_match_its_parameters():
    rng, edge = np.random.default_rng(11), 3.0
    truth = WeeksChandlerAndersen(1.3, 1.05, inner=0.6, cutoff=1.4, n_nodes=32)
    x = np.stack([liquid_positions(20, edge, rng=rng) for _ in range(12)])
    forces = np.asarray(jax.jit(jax.vmap(truth.forces, (0, None)))(jnp.asarray(x), jnp.full(3, edge)))
    frames = toy_frames(x, forces + rng.normal(0.0, 0.5, x.shape), box=edge)
    prior = independent_prior(
        truth, {"wca_epsilon": dist.LogNormal(0.0, 0.5), "wca_sigma": dist.LogNormal(0.0, 0.1)}
    )
    fit = force_matching_mode(force_normal_equations(frames.blocks(12), truth), prior, key=KEY)
    assert float(fit.potential.epsilon) == pytest.approx(1.3, rel=0.05)
    assert float(fit.potential.sigma) == pytest.approx(1.05, rel=0.01)


def test_complete_basis_all_three_roads_lead_to_the_mean_force():
    """T5: x in a double well, y bound to x and averaged out, so the potential of mean force is the well itself."""
    rng, t1, t2, stiffness, n, m = np.random.default_rng(12), 1.0, 0.8, 9.0, 200, 100
    grid = np.linspace(-6.0, 6.0, 20001)
    density = np.exp(0.5 * t1 * grid**2 - 0.25 * t2 * grid**4)
    cumulative = np.concatenate([[0.0], integrate.cumulative_trapezoid(density, grid)])
    x = np.interp(rng.uniform(size=(n, m, 1)), cumulative / cumulative[-1], grid)
    y = x + rng.normal(size=x.shape) / np.sqrt(stiffness)
    frames = toy_frames(x, t1 * x - t2 * x**3 + stiffness * (y - x))
    well = DoubleWell(1.0, 1.0)
    prior = independent_prior(well, {"well_t1": dist.Normal(0.0, 20.0), "well_t2": dist.Gamma(1.0, 0.01)})
    forces = force_matching_mode(force_normal_equations(frames.blocks(64), well), prior, key=KEY)
    scores = score_matching_mode(frames.blocks(64), well, prior, key=KEY)

    features = np.stack([-(grid**2) / 2.0, grid**4 / 4.0])
    mean = np.stack([-(x**2) / 2.0, x**4 / 4.0]).reshape(2, -1).mean(axis=1)

    def relative_entropy(eta):
        log_weight = -eta @ features
        peak = log_weight.max()
        weight = np.exp(log_weight - peak)
        z = np.trapezoid(weight, grid)
        return eta @ mean + np.log(z) + peak, mean - np.trapezoid(features * weight, grid) / z

    entropy = optimize.minimize(
        relative_entropy, np.ones(2), jac=True, method="BFGS", options={"gtol": 1e-9}
    ).x
    truth = np.array([t1, t2])
    log_scale = np.array([1.0, 1.0 / t2])  # z = (t1, log t2)
    assert scores.covariance is not None
    for estimate, covariance in ((forces.eta, forces.calibrated_covariance), (scores.eta, scores.covariance)):
        assert np.all(np.abs(estimate - truth) * log_scale < 4.0 * np.sqrt(np.diag(covariance)))
        assert np.all(np.abs(estimate - entropy) * log_scale < 5.0 * np.sqrt(np.diag(covariance)))
    weight = np.exp(-truth @ features) / np.trapezoid(np.exp(-truth @ features), grid)
    centred = features - np.trapezoid(features * weight, grid)[:, None]
    fisher = n * m * np.trapezoid(centred[:, None] * centred[None] * weight, grid)
    assert (entropy - truth) @ fisher @ (entropy - truth) < 13.8  # χ²₂, 0.1 %
    assert forces.explained_variance < 0.6  # far from noise-free: the average is what is matched


def argon_prior():
    potential = LennardJones(0.3, 3.2, cutoff=10.215, convention="truncated", name="argon")
    widths = {
        "argon_epsilon": dist.LogNormal(np.log(0.3), 0.5),
        "argon_sigma": dist.LogNormal(np.log(3.2), 0.2),
    }
    return potential, independent_prior(potential, widths)


@needs_argon
def test_argon_is_recovered_from_noisy_forces():
    frames = read_frames(ARGON)[:100]
    potential, prior = argon_prior()
    noise = np.random.default_rng(13).normal(
        0.0, 0.5, frames.forces.shape
    )  # kcal/mol/Å; the forces' rms is 0.99
    noisy = replace(frames, forces=frames.forces + noise)
    fit = force_matching_mode(force_normal_equations(noisy.blocks(50), potential), prior, key=KEY)
    truth = np.asarray(
        prior.unconstrain({"argon_epsilon": 119.8 * frames.units.boltzmann, "argon_sigma": 3.405})
    )
    low, high = np.quantile(fit.draw(KEY, 4000), [0.05, 0.95], axis=0)
    assert np.all(low < truth) and np.all(truth < high)
    assert np.all(high - low < [0.06, 0.004])
    assert fit.sigma == pytest.approx(0.5, rel=0.01)
    assert fit.interval_is_meaningful and "explains" in fit.verdict


@needs_argon
def test_exact_argon_forces_get_no_interval():
    frames = read_frames(ARGON)[:40]
    potential, prior = argon_prior()
    fit = force_matching_mode(force_normal_equations(frames.blocks(50), potential), prior, key=KEY)
    assert float(fit.potential.epsilon) == pytest.approx(119.8 * frames.units.boltzmann, rel=1e-4)
    assert float(fit.potential.sigma) == pytest.approx(3.405, rel=1e-5)
    assert not fit.interval_is_meaningful and "refusing an interval" in fit.verdict
    assert fit.explained_variance > 0.99999
    with pytest.raises(InputError, match="rounding"):
        fit.draw(KEY, 10)


def test_equations_are_plain_sums():
    equations = ForceNormalEquations(
        np.array([[[4.0]]]), np.array([[6.0]]), np.array([10.0]), np.array([1]), np.array([0]), 5
    )
    assert equations.residual_square(np.array([1.5])) == pytest.approx(1.0)
