"""Closed form of labelled data: against quadrature, Laplace, NUTS and dense formulas."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import integrate, stats

from bayescg.data import Configurations, get_unit_system
from bayescg.errors import InputError
from bayescg.inference import (
    EnergyForceStress,
    LabelFitter,
    LabelledModel,
    LabelSettings,
    LinearLabels,
    Noise,
    NoiseScale,
    Prior,
    Smoothness,
    cost_temperature,
    label_rows,
    labelled_data,
    labelled_prior,
)
from bayescg.physics import BodySplines, MorsePairs, SpeciesEnergies, StillingerWeber, environments, predict

CUTOFF = 5.0
NOISE = 0.05
KNOWN = {"energy": NoiseScale(known=NOISE), "forces": NoiseScale(known=NOISE)}


def splines(n=5, name="splines"):
    both = BodySplines.uniform(
        species=("Cu",), pair=(2.0, CUTOFF, n), triplet=(1.0, 1.5, 1), opposite=1, name=name
    )
    return both.hold(f"{name}_triplet")


def clusters(n=20, *, seed=0, groups=1, noise=NOISE, n_splines=5):
    """Triangles of atoms, labelled by splines with coefficients of size 1 and noise of known size."""
    rng = np.random.default_rng(seed)
    positions = tuple(
        np.array([[0.0, 0.0, 0.0], [2.8, 0.0, 0.0], [1.4, 2.4, 0.0]]) + 0.4 * rng.uniform(-1, 1, size=(3, 3))
        for _ in range(n)
    )
    bare = Configurations(
        species=("Cu",),
        positions=positions,
        types=(np.zeros(3, int),) * n,
        cell=np.zeros((n, 3, 3)),
        periodic=np.zeros((n, 3), bool),
        units=get_unit_system("metal"),
        group=tuple(f"g{i % groups}" for i in range(n)),
    )
    truth = splines(n_splines)
    values = np.cos(np.arange(n_splines))[None]
    truth = truth.with_parameters({"splines_pair": jnp.asarray(values)})
    batch = environments(bare, CUTOFF, species=("Cu",))[0]
    said = predict(truth, batch)
    where = np.argsort(np.asarray(batch.configuration_index)[np.asarray(batch.configuration_index) >= 0])
    energy = np.asarray(said.energy)[np.asarray(batch.configuration_index) >= 0][where]
    atoms = np.asarray(batch.atom_index)
    forces = np.zeros((3 * n, 3))
    forces[atoms[atoms >= 0]] = np.asarray(said.forces)[atoms >= 0]
    forces += noise * rng.normal(size=forces.shape)
    return dataclasses.replace(
        bare,
        energy=energy + 3.0 * noise * rng.normal(size=n),
        forces=tuple(forces.reshape(n, 3, 3)),
    )


def ready(some, quantities=("energy", "forces")):
    return labelled_data(some, cutoff=CUTOFF, species=("Cu",), quantities=quantities)


def prior_of(data, noise=KNOWN, pair=None):
    return labelled_prior(
        splines(), {"splines_pair": dist.Normal(0.5, 2.0) if pair is None else pair}, noise=noise, data=data
    )


def test_given_scales_are_the_dense_formula():
    data = ready(clusters())
    fit = LinearLabels(prior_of(data), data).run()
    rows = label_rows(splines(), data)  # at coefficients 0
    g, y = rows.jacobian, -rows.residual
    precision = np.eye(5) / 4.0 + g.T @ g / NOISE**2
    np.testing.assert_allclose(fit.covariance, np.linalg.inv(precision), rtol=1e-8)
    np.testing.assert_allclose(
        fit.z, np.linalg.solve(precision, 0.5 / 4.0 * np.ones(5) + g.T @ y / NOISE**2), rtol=1e-8
    )
    marginal = stats.multivariate_normal(0.5 * g.sum(axis=1), NOISE**2 * np.eye(len(y)) + 4.0 * g @ g.T)
    assert fit.log_evidence == pytest.approx(marginal.logpdf(y), abs=1e-6)
    assert fit.log_evidence_given_scales == fit.log_evidence
    assert np.all((fit.contraction > 0.5) & (fit.contraction < 1.0)) and fit.prior_dominated == ()


def test_closed_form_laplace_and_nuts_agree():
    data = ready(clusters(seed=2))
    prior = prior_of(data)
    closed = LinearLabels(prior, data)
    exact = closed.run()
    settings = LabelSettings(n_warmup=150, n_draws=400, n_chains=2, seed=1)
    fit = LabelFitter(prior, EnergyForceStress(data), start=exact.z, settings=settings).run()
    mode = fit.modes[0].mode
    np.testing.assert_allclose(mode.z, exact.z, rtol=1e-6)
    np.testing.assert_allclose(mode.covariance, exact.covariance, rtol=1e-6)
    assert mode.log_evidence == pytest.approx(exact.log_evidence, abs=1e-6)
    sd = np.sqrt(np.diag(exact.covariance))
    z = fit.draws.z.reshape(-1, 5)
    np.testing.assert_array_less(np.abs(z.mean(axis=0) - exact.z), 4.0 * sd / np.sqrt(200))
    np.testing.assert_allclose(z.std(axis=0), sd, rtol=0.15)
    draws = closed.draws(exact, n=4000, seed=0)
    assert np.all(np.abs(np.cov(draws.T) - exact.covariance) < 0.08 * np.outer(sd, sd))


def test_two_parameters_of_stillinger_weber_are_linear():
    rng = np.random.default_rng(1)
    x = (
        5.43
        / 4
        * np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [3, 3, 1], [3, 1, 3], [1, 3, 3], [1, 1, 1]])
    )
    some = Configurations(
        species=("Si",),
        positions=tuple(x + 0.15 * rng.normal(size=x.shape) for _ in range(4)),
        types=(np.zeros(8, int),) * 4,
        cell=np.stack([5.43 * np.eye(3)] * 4),
        periodic=np.ones((4, 3), bool),
        units=get_unit_system("metal"),
        energy=-34.0 + rng.normal(size=4),
    )
    potential = StillingerWeber.silicon(cutoff=4.2).vary("sw_A", "sw_lambda")
    data = labelled_data(some, cutoff=4.2, species=("Si",), quantities=("energy",))
    normal = {"sw_A": dist.Normal(6.5, 0.7), "sw_lambda": dist.Normal(24.0, 5.0)}
    noise = {"energy": NoiseScale(known=0.01)}
    prior = labelled_prior(potential, normal, noise=noise, data=data)
    fit = LinearLabels(prior, data).run()
    mode = LabelFitter(prior, EnergyForceStress(data)).modes()[0].mode
    np.testing.assert_allclose(fit.z, mode.z, rtol=1e-6)
    assert fit.log_evidence == pytest.approx(mode.log_evidence, abs=1e-5)
    bent = labelled_prior(
        StillingerWeber.silicon(cutoff=4.2).vary("sw_A", "sw_B"),
        {"sw_A": dist.Normal(6.5, 0.7), "sw_B": dist.Normal(0.6, 0.02)},
        noise=noise,
        data=data,
    )
    with pytest.raises(InputError, match="not linear in the parameters"):
        LinearLabels(bent, data)


def one_scale(n=30):
    """Energies alone, one coefficient of the offset: y = θ + ε."""
    rng = np.random.default_rng(5)
    y = -3.0 + 0.2 * rng.normal(size=n)
    some = Configurations(
        species=("Cu",),
        positions=(np.zeros((1, 3)),) * n,
        types=(np.zeros(1, int),) * n,
        cell=np.zeros((n, 3, 3)),
        periodic=np.zeros((n, 3), bool),
        units=get_unit_system("metal"),
        energy=y,
    )
    return y, ready(some, ("energy",))


def test_evidence_with_a_learned_noise_scale_is_the_integral():
    y, data = one_scale()
    prior = labelled_prior(
        SpeciesEnergies(jnp.zeros(1), species=("Cu",)),
        {"offset_energies": dist.Normal(0.0, 5.0)},
        noise={"energy": NoiseScale(learned=1.0)},
        data=data,
    )
    fit = LinearLabels(prior, data).run()

    def integrand(log_sigma):
        sigma = np.exp(log_sigma)
        covariance = sigma**2 * np.eye(len(y)) + 25.0
        value = stats.multivariate_normal(np.zeros(len(y)), covariance).logpdf(y)
        return value + stats.halfnorm.logpdf(sigma) + log_sigma

    grid = np.linspace(np.log(0.1), np.log(0.5), 400)
    values = np.array([integrand(u) for u in grid])
    weight = np.exp(values - values.max())
    exact = np.log(integrate.simpson(weight, x=grid)) + values.max()
    assert fit.log_evidence == pytest.approx(exact, abs=0.02)
    assert fit.z[fit.scales[0]] == pytest.approx(grid[np.argmax(values)], abs=2e-3)
    mean = integrate.simpson(weight * grid, x=grid) / integrate.simpson(weight, x=grid)
    sd = np.sqrt(integrate.simpson(weight * (grid - mean) ** 2, x=grid) / integrate.simpson(weight, x=grid))
    assert np.sqrt(fit.scale_covariance[0, 0]) == pytest.approx(sd, rel=0.05)


def test_noise_scales_of_quantities_and_groups_are_found():
    some = clusters(groups=2)
    rng = np.random.default_rng(3)
    noisy = dataclasses.replace(
        some,
        forces=tuple(
            f + (0.2 * rng.normal(size=f.shape) if i % 2 else 0.0) for i, f in enumerate(some.forces)
        ),
    )
    data = ready(noisy)
    prior = prior_of(data, {"energy": NoiseScale(learned=0.2), "forces": NoiseScale(learned=0.5)})
    fit = LinearLabels(prior, data).run()
    found = prior.potential(jnp.asarray(fit.z)).noise
    np.testing.assert_allclose(found.forces, [NOISE, np.hypot(NOISE, 0.2)], rtol=0.25)
    np.testing.assert_allclose(found.energy, NOISE, rtol=0.7)


def test_smoothness_is_found_by_its_evidence():
    data = ready(clusters())
    prior = prior_of(data, pair=Smoothness(dist.HalfNormal(5.0), jnp.ones((1, 5))))
    closed = LinearLabels(prior, data)
    fit = closed.run()
    at = fit.scales[0]
    assert prior.coordinates[at].site == "splines_pair_smoothness"
    values = []
    for change in (-0.2, 0.0, 0.2):
        u = np.array([fit.z[at] + change])
        values.append(closed._given(u).log_marginal)
    assert values[1] > values[0] and values[1] > values[2]
    np.testing.assert_allclose(
        fit.z[fit.free], np.cos(np.arange(5)), atol=5 * np.sqrt(np.diag(fit.covariance)).max()
    )


def test_a_prior_scale_of_ones_own_is_found():
    """θ_k ~ N(0, s²) with s a hyperparameter: the maximum of the evidence over s."""
    data = ready(clusters())

    def model():
        s = numpyro.sample("width", dist.LogNormal(0.0, 3.0))
        pair = numpyro.sample("splines_pair", dist.Normal(0.0, s).expand((1, 5)).to_event(2))
        one = jnp.full(1, NOISE)
        return LabelledModel(splines().with_parameters({"splines_pair": pair}), Noise(one, one, one))

    fit = LinearLabels(Prior(model, hyperparameters=("width",)), data).run()
    width = float(np.exp(fit.z[fit.scales[0]]))
    assert 0.4 < width < 1.3  # the coefficients are cosines; their root mean square is 0.7


# V23: a parameter that the labels do not contain.


def test_spare_parameter_leaves_the_evidence_and_keeps_its_prior():
    data = ready(clusters())
    spare = BodySplines.uniform(
        species=("Cu",), pair=(0.4, 1.6, 4), triplet=(1.0, 1.5, 1), opposite=1, name="spare"
    )
    normal = {"splines_pair": dist.Normal(0.5, 2.0), "spare_pair": dist.Normal(-1.0, 3.0)}
    prior = labelled_prior(splines() + spare.hold("spare_triplet"), normal, noise=KNOWN, data=data)
    with_spare, without = LinearLabels(prior, data).run(), LinearLabels(prior_of(data), data).run()
    assert with_spare.log_evidence == pytest.approx(without.log_evidence, abs=1e-9)  # Bayes factor 1
    at = [c.site == "spare_pair" for c in prior.coordinates]
    assert np.all(with_spare.contraction[at] == 0.0)
    np.testing.assert_allclose(with_spare.z[at], -1.0, atol=1e-9)
    np.testing.assert_allclose(np.diag(with_spare.covariance)[at], 9.0, rtol=1e-9)
    assert with_spare.prior_dominated == tuple(f"spare_pair[0,{k}]" for k in range(4))


def test_parameters_of_which_only_the_sum_is_known_are_named():
    data = ready(clusters())
    potential = splines() + splines(name="again")
    normal = {"splines_pair": dist.Normal(0.0, 2.0), "again_pair": dist.Normal(0.0, 2.0)}
    fit = LinearLabels(labelled_prior(potential, normal, noise=KNOWN, data=data), data).run()
    assert len(fit.prior_dominated) == 5
    np.testing.assert_allclose(fit.contraction, 0.5, atol=0.01)


# What is refused


@pytest.mark.parametrize("fitter", [LinearLabels, lambda p, d: LabelFitter(p, EnergyForceStress(d)).run()])
def test_learned_scales_of_labels_without_noise_are_refused(fitter):
    data = ready(clusters(noise=0.0))
    prior = prior_of(data, {"energy": NoiseScale(learned=0.1), "forces": NoiseScale(learned=0.1)})
    with pytest.raises(InputError, match=r"NoiseScale\(known"):
        fitter(prior, data)


def test_known_scales_of_labels_without_noise_are_welcome_and_tempering_is_warned_of():
    """T0 < 1 on labels without noise; the likelihood has power 1 unless it is given another."""
    data = ready(clusters(noise=0.0))
    prior = prior_of(data)
    fit = LinearLabels(prior, data).run()
    likelihood = EnergyForceStress(data)
    assert float(likelihood.power) == 1.0
    rows = label_rows(prior.potential(jnp.asarray(fit.z)).potential, data)
    cold = cost_temperature(0.5 * float(np.sum((rows.residual / NOISE) ** 2)), 5)
    assert cold.temperature < 1.0 and "shrinks the error bars" in cold.warning
    mode = LabelFitter(prior, likelihood, start=fit.z).modes()[0].mode
    np.testing.assert_allclose(mode.covariance, fit.covariance, rtol=1e-6)  # nothing was tempered
    half = EnergyForceStress(data, power=0.25)
    wide = LabelFitter(prior, half, start=fit.z).modes()[0].mode
    assert np.all(np.diag(wide.covariance) > 1.5 * np.diag(mode.covariance))


def test_priors_that_are_not_normal_are_refused():
    data = ready(clusters())
    with pytest.raises(InputError, match="splines_pair.* is not normal"):
        LinearLabels(prior_of(data, pair=dist.StudentT(4.0, 0.0, 1.0)), data)
    morse = MorsePairs(1.0, 1.5, 2.6, species=("Cu",), cutoff=CUTOFF).vary("morse_depth")
    bent = labelled_prior(morse, {"morse_depth": dist.LogNormal(0.0, 1.0)}, noise=KNOWN, data=data)
    with pytest.raises(InputError, match="morse_depth is not normal"):
        LinearLabels(bent, data)
    with pytest.raises(InputError, match="without the start"):
        LinearLabels(prior_of(data), data, rows=label_rows(splines(), data))


def test_a_noise_scale_of_one_label_keeps_near_its_prior():
    """Its joint density with the parameters has no maximum; with the parameters integrated out it has one."""
    some = clusters()
    single = dataclasses.replace(some, energy=np.where(np.arange(20) == 0, some.energy, np.nan))
    data = ready(single)
    prior = prior_of(data, {"energy": NoiseScale(learned=0.5), "forces": NoiseScale(known=NOISE)})
    fit = LinearLabels(prior, data).run()
    assert fit.scale_covariance[0, 0] > 0.2  # of the logarithm: next to nothing is known
    assert 1e-3 < float(prior.potential(jnp.asarray(fit.z)).noise.energy[0]) < 2.0
