"""Energies, forces and stresses: the likelihood against plain sums, and posteriors against closed forms."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from bayescg.analysis import label_coverage
from bayescg.data import VOIGT, Configurations, get_unit_system
from bayescg.errors import InputError
from bayescg.inference import (
    EnergyForceStress,
    LabelFitter,
    LabelledModel,
    LabelSettings,
    Noise,
    NoiseScale,
    StudentT,
    cost_temperature,
    label_rows,
    labelled_data,
    labelled_prior,
)
from bayescg.inference._linear_gaussian import linear_gaussian_posterior
from bayescg.physics import SpeciesEnergies, StillingerWeber, environments, in_data_order, predict
from bayescg.physics._pair_forms import LennardJonesPairs

METAL = get_unit_system("metal")
SILICON = StillingerWeber.silicon(cutoff=4.2)
TRUTH = {"sw_A": 7.049556277, "sw_lambda": 21.0, "sw_sigma": 2.0951, "sw_B": 0.6022245584}
NOISE = {"energy": 0.003, "forces": 0.08, "stress": 0.002}
KNOWN = {name: NoiseScale(known=value) for name, value in NOISE.items()}


def diamond(n, *, a=5.43):
    cell = (
        np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [3, 3, 1], [3, 1, 3], [1, 3, 3], [1, 1, 1]])
        / 4.0
    )
    shifts = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return a * (cell[None] + shifts[:, None]).reshape(-1, 3), a * n * np.eye(3)


@cache
def configurations(n=8, seed=0, *, groups=1):
    """Rattled and strained silicon cells of 8 atoms, labelled by the true potential with noise of known size."""
    rng = np.random.default_rng(seed)
    positions, cells = [], []
    for _ in range(n):
        x, cell = diamond(1)
        strain = np.eye(3) + 0.02 * rng.normal(size=(3, 3))
        strain = (strain + strain.T) / 2.0
        positions.append(x @ strain + 0.15 * rng.normal(size=x.shape))
        cells.append(cell @ strain)
    bare = Configurations(
        species=("Si",),
        positions=tuple(positions),
        types=(np.zeros(8, int),) * n,
        cell=np.stack(cells),
        periodic=np.ones((n, 3), bool),
        units=METAL,
        group=tuple(f"g{i % groups}" for i in range(n)),
    )
    batches = environments(bare, SILICON.cutoff)
    said = in_data_order(batches, [predict(SILICON, b) for b in batches])
    noise = rng.normal(size=(n, 3, 3)) * NOISE["stress"]
    upper = np.triu(noise) + np.triu(noise, 1).transpose(0, 2, 1)
    forces = np.asarray(said.forces) + NOISE["forces"] * rng.normal(size=(8 * n, 3))
    return dataclasses.replace(
        bare,
        energy=np.asarray(said.energy) + 8 * NOISE["energy"] * rng.normal(size=n),
        forces=tuple(forces[8 * i : 8 * i + 8] for i in range(n)),
        stress=np.asarray(said.stress) + upper,
    )


def ready(some, potential=SILICON, **keywords):
    return labelled_data(some, cutoff=SILICON.cutoff, species=("Si",), **keywords)


def noise_of(n_groups):
    return Noise(*(jnp.full(n_groups, NOISE[name]) for name in ("energy", "forces", "stress")))


def lognormal(names, width=0.2):
    return {
        name: dist.LogNormal(np.log(TRUTH[name]), 0.03 if name == "sw_sigma" else width) for name in names
    }


@pytest.mark.parametrize("family", ["gaussian", "student"])
def test_likelihood_is_the_sum_over_labels(family):
    some = configurations(6, groups=2)
    missing = dataclasses.replace(
        some,
        energy=np.where(np.arange(6) == 1, np.nan, some.energy),
        forces=tuple(None if i == 2 else f for i, f in enumerate(some.forces)),
        stress=np.where((np.arange(6) == 3)[:, None, None], np.nan, some.stress),
        weight=np.arange(6) / 2.0,
    )
    batches = environments(missing, SILICON.cutoff)
    said = in_data_order(batches, [predict(SILICON, b) for b in batches])
    density = stats.norm if family == "gaussian" else stats.t(4.0)
    expected = []
    for i in range(6):
        e = (said.energy[i] - missing.energy[i]) / 8.0
        f = said.forces[8 * i : 8 * i + 8] - (np.nan if missing.forces[i] is None else missing.forces[i])
        s = (said.stress[i] - missing.stress[i])[np.triu_indices(3)]
        terms = [
            density.logpdf(np.asarray(r) / scale) - np.log(scale)
            for r, scale in ((e, NOISE["energy"]), (f, NOISE["forces"]), (s, NOISE["stress"]))
        ]
        expected.append(missing.weight[i] * sum(np.nansum(t) for t in terms))
    keywords = {} if family == "gaussian" else {"family": StudentT(4.0)}
    likelihood = EnergyForceStress(ready(missing), **keywords)
    found = likelihood.per_configuration(LabelledModel(SILICON, noise_of(2)))
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    assert likelihood.data.counts == ((3, 2), (48, 72), (18, 12))


def test_rows_are_the_derivative_of_the_residuals():
    some = configurations(5)
    potential = SILICON.vary("sw_lambda", "sw_sigma", "sw_B")
    data = ready(some)
    rows = label_rows(potential, data)
    assert len(rows.residual) == 5 * (1 + 24 + 6)
    h = 1e-5
    values = potential.parameter_values()
    for column, name in enumerate(values):
        moved = [
            label_rows(potential.with_parameters({**values, name: values[name] + d}), data).residual
            for d in (h, -h)
        ]
        slope = (moved[0] - moved[1]) / (2 * h)
        np.testing.assert_allclose(
            rows.jacobian[:, column], slope, rtol=1e-5, atol=1e-6 * np.abs(slope).max()
        )


@cache
def linear_case():
    """A and λ, in which energies and forces are linear, with Gaussian priors and known noise."""
    potential = SILICON.vary("sw_A", "sw_lambda")
    data = ready(configurations(10, 3))
    sds = {"sw_A": 0.7, "sw_lambda": 5.0}
    means = {"sw_A": 6.5, "sw_lambda": 24.0}
    prior = labelled_prior(
        potential, {name: dist.Normal(means[name], sds[name]) for name in sds}, noise=KNOWN, data=data
    )
    rows = label_rows(potential, data)
    sigma = np.repeat(list(NOISE.values()), 1)[rows.kind]
    theta = np.array([float(v) for v in potential.parameter_values().values()])
    names = list(potential.parameter_values())
    exact = linear_gaussian_posterior(
        rows.jacobian,
        rows.jacobian @ theta - rows.residual,
        sigma,
        np.array([means[n] for n in names]),
        np.diag([sds[n] ** 2 for n in names]),
    )
    order = [names.index(c.site) for c in prior.coordinates]
    return (
        prior,
        EnergyForceStress(data),
        exact.mean[order],
        exact.covariance[np.ix_(order, order)],
        exact.log_evidence,
    )


def test_closed_form_laplace_and_nuts_agree_on_the_linear_case():
    prior, likelihood, mean, covariance, log_evidence = linear_case()
    fitter = LabelFitter(
        prior, likelihood, settings=LabelSettings(seed=1, n_starts=2, n_warmup=300, n_draws=1000)
    )
    fit = fitter.run()
    assert fit.method == "linear" and fit.khat == 0.0
    assert len(fit.modes) == 1 and fit.modes[0].n_starts == 2
    sd = np.sqrt(np.diag(covariance))
    mode = fit.modes[0].mode
    np.testing.assert_allclose(mode.z, mean, atol=1e-5 * sd.max(), rtol=1e-6)
    np.testing.assert_allclose(mode.covariance, covariance, rtol=1e-5)
    assert mode.log_evidence == pytest.approx(log_evidence, abs=1e-5)
    z = fit.draws.z.reshape(-1, 2)
    np.testing.assert_array_less(np.abs(z.mean(axis=0) - mean), 4.0 * sd / np.sqrt(1000))
    np.testing.assert_allclose(z.std(axis=0), sd, rtol=0.08)


@pytest.mark.slow
def test_truth_is_found_from_afar_and_reweighting_mends_the_bend():
    names = ("sw_A", "sw_lambda", "sw_sigma", "sw_B")
    potential = SILICON.vary(*names)
    data = ready(configurations(12, 5))
    prior = labelled_prior(potential, lognormal(names), noise=KNOWN, data=data)
    fitter = LabelFitter(
        prior, EnergyForceStress(data), settings=LabelSettings(seed=2, n_starts=3, n_warmup=200, n_draws=200)
    )
    fit = fitter.run()
    assert fit.modes[0].n_starts == 3
    z = fit.draws.z.reshape(-1, 4)
    truth = np.log([TRUTH[c.site] for c in prior.coordinates])
    np.testing.assert_array_less(np.abs(z.mean(axis=0) - truth), 4.0 * z.std(axis=0))
    assert fit.method == "expanded and reweighted" and fit.khat < 0.7


@pytest.mark.slow
def test_noise_scales_are_learned_per_group():
    some = configurations(40, 7, groups=2)
    rng = np.random.default_rng(0)
    noisy = dataclasses.replace(
        some,
        forces=tuple(
            f + (0.3 * rng.normal(size=f.shape) if i % 2 else 0.0) for i, f in enumerate(some.forces)
        ),
    )
    data = ready(noisy, quantities=("forces",))
    prior = labelled_prior(
        SILICON.vary("sw_lambda"),
        lognormal(["sw_lambda"]),
        noise={"forces": NoiseScale(learned=0.5)},
        data=data,
    )
    fit = LabelFitter(prior, EnergyForceStress(data), settings=LabelSettings(n_warmup=200, n_draws=200)).run()
    scales = np.asarray(
        jax.vmap(lambda z: prior.potential(z).noise.forces)(jnp.asarray(fit.draws.z.reshape(-1, 4)))
    )
    expected = np.array([0.08, np.hypot(0.08, 0.3)])
    np.testing.assert_array_less(np.abs(scales.mean(axis=0) - expected), 4.0 * expected / np.sqrt(2 * 480))
    np.testing.assert_allclose(scales.std(axis=0), expected / np.sqrt(2 * 480), rtol=0.25)


def test_copies_of_one_configuration_do_not_narrow_the_calibrated_width():
    """Raw: ten copies look like ten times the data. A configuration's own force errors are correlated the same way."""
    once = configurations(40, 9)
    copied = Configurations.concatenate([once] * 10)
    names = ("sw_A", "sw_lambda")
    widths = {}
    for label, some in (("once", once), ("copied", copied)):
        data = ready(some)
        prior = labelled_prior(SILICON.vary(*names), lognormal(names), noise=KNOWN, data=data)
        fitter = LabelFitter(prior, EnergyForceStress(data))
        best = fitter.modes()[0]
        widths[label] = np.sqrt(np.diag(best.mode.covariance)), np.sqrt(np.diag(fitter.sandwich(best)[0]))
    np.testing.assert_allclose(widths["copied"][0], widths["once"][0] / np.sqrt(10), rtol=0.02)
    np.testing.assert_allclose(widths["once"][1], widths["once"][0], rtol=0.35)


def test_few_configurations_never_narrow():
    data = ready(configurations(4, 11))
    names = ("sw_A", "sw_lambda", "sw_sigma")
    prior = labelled_prior(SILICON.vary(*names), lognormal(names), noise=KNOWN, data=data)
    fitter = LabelFitter(prior, EnergyForceStress(data))
    best = fitter.modes()[0]
    covariance, nu, few = fitter.sandwich(best)
    assert few and nu == pytest.approx(4.5)
    assert np.all(np.diag(covariance) > 0.99 * np.diag(best.mode.covariance))


def test_offset_energies_take_up_a_shift():
    some = configurations(12, 13)
    shifted = dataclasses.replace(some, energy=some.energy + 8 * 1.5)
    potential = SILICON.vary("sw_lambda") + SpeciesEnergies(jnp.zeros(1), species=("Si",))
    data = ready(shifted)
    prior = labelled_prior(
        potential,
        {**lognormal(["sw_lambda"]), "offset_energies": dist.Normal(0.0, 10.0)},
        noise=KNOWN,
        data=data,
    )
    mode = LabelFitter(prior, EnergyForceStress(data)).modes()[0].mode
    place = [c.site for c in prior.coordinates].index("offset_energies")
    assert mode.z[place] == pytest.approx(1.5, abs=4.0 * NOISE["energy"] / np.sqrt(12))


def test_temperature_below_one_is_warned_of():
    assert cost_temperature(50.0, 10) == (10.0, 0.1, "")
    cold = cost_temperature(1.25, 10)
    assert cold.temperature == 0.25 and "shrinks the error bars by 0.5" in cold.warning
    with pytest.raises(InputError, match="positive cost"):
        cost_temperature(0.0, 3)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"quantities": ("dipole",)}, "choose from energy, forces, stress"),
        ({"quantities": ("stress",)}, "no configuration has a label 'stress'"),
        ({"groups": ("other",)}, "group g0 is not among"),
    ],
)
def test_labels_that_are_not_there_are_refused(keywords, message):
    bare = dataclasses.replace(configurations(4), stress=np.full((4, 3, 3), np.nan))
    with pytest.raises(InputError, match=message):
        ready(bare, **keywords)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({}, "no noise scale is given"),
        ({**KNOWN, "energy": NoiseScale()}, "one positive number"),
        ({**KNOWN, "energy": NoiseScale(known=-1.0)}, "one positive number"),
        ({**KNOWN, "dipole": NoiseScale(known=1.0)}, "unknown quantity"),
    ],
)
def test_noise_that_is_impossible_is_refused(noise, message):
    data = ready(configurations(4))
    with pytest.raises(InputError, match=message):
        labelled_prior(SILICON.vary("sw_A"), lognormal(["sw_A"]), noise=noise, data=data)


@pytest.mark.slow
def test_intervals_cover_the_truth():
    """300 synthetic data sets with noise of known size about one set of cells: 90 % intervals from the search and Laplace."""
    names = ("sw_A", "sw_lambda", "sw_sigma", "sw_B")
    data = ready(configurations(12, 17))
    prior = labelled_prior(SILICON.vary(*names), lognormal(names), noise=KNOWN, data=data)
    truth = np.log([TRUTH[c.site] for c in prior.coordinates])
    fitter = LabelFitter(prior, EnergyForceStress(data), start=truth)
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(300):
        batches = []
        for batch in data.batches:
            said = predict(SILICON, batch.environments)
            stress = np.asarray(said.stress)[:, *VOIGT]
            labels = {
                "energy": said.energy + 8 * NOISE["energy"] * rng.normal(size=said.energy.shape),
                "forces": said.forces + NOISE["forces"] * rng.normal(size=said.forces.shape),
                "stress": stress + NOISE["stress"] * rng.normal(size=stress.shape),
            }
            batches.append(dataclasses.replace(batch, **{k: jnp.asarray(v) for k, v in labels.items()}))
        fitter.likelihood = EnergyForceStress(dataclasses.replace(data, batches=tuple(batches)))
        mode = fitter.modes()[0].mode
        hits.append(np.abs(mode.z - truth) < 1.645 * np.sqrt(np.diag(mode.covariance)))
    share = np.mean(hits, axis=0)
    print("coverage", dict(zip(map(str, prior.coordinates), share, strict=True)))
    assert np.all((share > 0.86) & (share < 0.94)), share


def test_two_parameters_from_one_energy_and_one_force():
    """T3: A/r¹² − B/r⁶ of an argon dimer at 3.6 Å from U = −.1936007 and F = .4906515 (kcal/mol, Å): ε .238, σ 3.405."""
    r, energy, force = 3.6, -0.1936007, 0.4906515
    expected_a = r**12 * (r * force - 6.0 * energy) / 6.0
    expected_b = r**6 * (r * force - 12.0 * energy) / 6.0
    assert (expected_a, expected_b) == pytest.approx((2312290.2257, 1483.677962), rel=1e-6)
    dimer = Configurations(
        species=("Ar",),
        positions=(np.array([[0.0, 0.0, 0.0], [r, 0.0, 0.0]]),),
        types=(np.zeros(2, int),),
        cell=np.zeros((1, 3, 3)),
        periodic=np.zeros((1, 3), bool),
        units=get_unit_system("real"),
        energy=np.array([energy]),
        forces=(np.array([[-force, 0.0, 0.0], [force, 0.0, 0.0]]),),
    )
    potential = LennardJonesPairs(0.3, 3.3, species=("Ar",), cutoff=10.0, convention="truncated")
    data = labelled_data(dimer, cutoff=10.0, species=("Ar",), quantities=("energy", "forces"))
    prior = labelled_prior(
        potential,
        {"lj_epsilon": dist.LogNormal(-1.2, 2.0), "lj_sigma": dist.LogNormal(1.2, 0.3)},
        noise={"energy": NoiseScale(known=1e-5), "forces": NoiseScale(known=1e-5)},
        data=data,
    )
    start = np.asarray(prior.unconstrain({"lj_epsilon": 0.3, "lj_sigma": 3.4}))
    mode = LabelFitter(prior, EnergyForceStress(data), start=start).modes()[0].mode
    epsilon, sigma = np.exp(mode.z)
    assert (epsilon, sigma) == pytest.approx((0.238, 3.405), rel=1e-5)
    assert (4 * epsilon * sigma**12, 4 * epsilon * sigma**6) == pytest.approx(
        (expected_a, expected_b), rel=1e-4
    )


@pytest.mark.slow
def test_coverage_of_held_out_labels():
    """Noise of known size and the right model: intervals with noise cover at their nominal rate, without it far less."""
    names = ("sw_A", "sw_lambda")
    data = ready(configurations(30, 21))
    prior = labelled_prior(SILICON.vary(*names), lognormal(names), noise=KNOWN, data=data)
    mode = LabelFitter(prior, EnergyForceStress(data)).modes()[0].mode
    draws = np.random.default_rng(0).multivariate_normal(mode.z, mode.covariance, size=400)
    held_out = ready(configurations(60, 22))
    report = label_coverage(prior, draws, held_out, with_noise=True)
    assert report["count"].values.ravel().tolist() == [60, 60 * 24, 60 * 6]
    forces = report["coverage"].sel(quantity="forces", group="g0").values
    np.testing.assert_allclose(forces, report["level"].values, atol=4.0 * 0.5 / np.sqrt(60 * 24))
    np.testing.assert_allclose(report["residual"].values.ravel(), list(NOISE.values()), rtol=0.3)
    bare = label_coverage(prior, draws, held_out, with_noise=False)
    assert np.all(bare["coverage"].sel(quantity="forces") < 0.3)
