"""Discrepancy and bootstrap: exact answers, laws, and what is refused."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from bayescg.analysis import label_coverage
from bayescg.data import Configurations, get_unit_system
from bayescg.errors import ConvergenceError, InputError
from bayescg.inference import (
    EnergyForceStress,
    LabelFitter,
    LinearLabels,
    NoiseScale,
    WhiteRows,
    bootstrap,
    configuration_discrepancy,
    discrepancy_prior,
    labelled_data,
    labelled_prior,
    pops_ensemble,
    pops_hypercube,
    white_rows,
)
from bayescg.physics import BodySplines, MorsePairs

CUTOFF = 5.0
NOISE = 0.02  # eV per atom and eV/Å
KNOWN = {"energy": NoiseScale(known=NOISE), "forces": NoiseScale(known=NOISE)}


def dimers(n=40, *, seed=0, groups=1, wrong=0.0, noise=NOISE):
    """Two atoms 2.2 to 4 Å apart, labelled by a Morse potential, a wave that it has not, and noise."""
    rng = np.random.default_rng(seed)
    r = rng.uniform(2.2, 4.0, size=n)
    e = np.exp(-1.5 * (r - 2.6))
    energy = e**2 - 2.0 * e + wrong * np.sin(4.0 * r)
    force = 3.0 * (e**2 - e) - 4.0 * wrong * np.cos(4.0 * r)
    pull = np.zeros((n, 2, 3))
    pull[:, 0, 0], pull[:, 1, 0] = -force, force
    pull += noise * rng.normal(size=pull.shape)
    return Configurations(
        species=("Cu",),
        positions=tuple(np.array([[0.0, 0.0, 0.0], [x, 0.0, 0.0]]) for x in r),
        types=(np.zeros(2, int),) * n,
        cell=np.zeros((n, 3, 3)),
        periodic=np.zeros((n, 3), bool),
        units=get_unit_system("metal"),
        energy=energy + 2.0 * noise * rng.normal(size=n),
        forces=tuple(pull),
        group=tuple(f"g{i % groups}" for i in range(n)),
    )


def ready(some, **keywords):
    return labelled_data(some, cutoff=CUTOFF, species=("Cu",), quantities=("energy", "forces"), **keywords)


def splines():
    """A pair energy that is linear in five coefficients."""
    both = BodySplines.uniform(species=("Cu",), pair=(2.0, CUTOFF, 5), triplet=(1.0, 1.5, 1), opposite=1)
    return both.hold("splines_triplet")


def spline_prior(data, **noise):
    return labelled_prior(splines(), {"splines_pair": dist.Normal(0.0, 3.0)}, noise=noise or KNOWN, data=data)


def morse_prior(data, *, noise=KNOWN):
    potential = MorsePairs(1.0, 1.5, 2.6, species=("Cu",), cutoff=CUTOFF, convention="truncated")
    widths = {"morse_depth": (1.0, 0.5), "morse_steepness": (1.5, 0.5), "morse_distance": (2.6, 0.1)}
    return labelled_prior(
        potential,
        {name: dist.LogNormal(np.log(at), width) for name, (at, width) in widths.items()},
        noise=noise,
        data=data,
    )


# Bootstrap


def test_bootstrap_has_the_sandwich_width_on_a_linear_potential():
    data = ready(dimers(400, wrong=0.1))
    prior = spline_prior(data)
    fit = LinearLabels(prior, data).run()
    again = bootstrap(prior, data, fit.z, n=600, seed=1)
    assert again.linear and again.most_steps == 1
    fitter = LabelFitter(prior, EnergyForceStress(data), start=fit.z)
    sandwich = fitter.sandwich(fitter.modes()[0])[0]
    np.testing.assert_allclose(again.draws.std(axis=0), np.sqrt(np.diag(sandwich)), rtol=0.15)
    assert np.all(again.draws.std(axis=0) > 2.0 * np.sqrt(np.diag(fit.covariance)))  # the form is wrong
    np.testing.assert_array_less(np.abs(again.draws.mean(axis=0) - fit.z), 0.5 * np.sqrt(np.diag(sandwich)))


def test_bootstrap_finds_each_mode_again_where_predictions_bend():
    data = ready(dimers(30, wrong=0.05))
    prior = morse_prior(data)
    fitter = LabelFitter(prior, EnergyForceStress(data), start=np.log([1.0, 2.6, 1.5]))
    z = fitter.modes()[0].mode.z
    again = bootstrap(prior, data, z, n=40, seed=2)
    assert not again.linear and again.most_steps > 1
    sandwich = fitter.sandwich(fitter.modes()[0])[0]
    ratio = again.draws.std(axis=0) / np.sqrt(np.diag(sandwich))
    assert np.all((ratio > 0.6) & (ratio < 1.6)), ratio


def test_bootstrap_keeps_the_prior_where_nothing_is_known():
    """A coefficient that no label reaches has the width of its prior, not 0."""
    data = ready(dimers(60))
    wide = BodySplines.uniform(
        species=("Cu",), pair=(0.4, 1.6, 4), triplet=(1.0, 1.5, 1), opposite=1, name="far"
    )
    potential = splines() + wide.hold("far_triplet")
    normal = {"splines_pair": dist.Normal(0.0, 3.0), "far_pair": dist.Normal(0.0, 2.0)}
    prior = labelled_prior(potential, normal, noise=KNOWN, data=data)
    fit = LinearLabels(prior, data).run()
    draws = bootstrap(prior, data, fit.z, n=500, seed=3).draws
    far = [c.site == "far_pair" for c in prior.coordinates]
    np.testing.assert_allclose(draws[:, far].std(axis=0), 2.0, rtol=0.15)


def test_bootstrap_of_too_little_is_refused():
    data = ready(dimers(4))
    with pytest.raises(InputError, match="two of each"):
        bootstrap(spline_prior(data), data, np.zeros(5), n=1, seed=0)
    bent = ready(dimers(6, wrong=0.2))
    with pytest.raises(ConvergenceError, match="max_steps"):
        bootstrap(morse_prior(bent), bent, np.log([1.0, 2.6, 1.5]), n=3, seed=0, max_steps=1)


# Discrepancy as random parameters of each configuration


def random_slopes(n, *, spread, noise=0.1, rows=12, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, rows, 2))
    theta = np.array([1.0, -2.0]) + spread * rng.normal(size=(n, 2))
    y = np.einsum("crf,cf->cr", x, theta) + noise * rng.normal(size=(n, rows))
    white = WhiteRows(
        np.zeros(2),
        np.arange(2),
        residual=-y.ravel() / noise,
        jacobian=x.reshape(-1, 2) / noise,
        prior_precision=1e-4 * np.eye(2),
        prior_score=np.zeros(2),
        kind=np.zeros(n * rows, int),
        configuration=np.repeat(np.arange(n), rows),
        noise=np.full(n * rows, noise),
    )
    return white.at_mode(), x, y


def test_spread_among_configurations_is_found():
    white, _, _ = random_slopes(300, spread=0.4)
    found = configuration_discrepancy(white)
    np.testing.assert_allclose(np.sqrt(np.diag(found.spread)), 0.4, rtol=0.1)
    assert found.noise_factor == pytest.approx(1.0, abs=0.05) and found.gain > 1000.0
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), 0.4 / np.sqrt(300), rtol=0.15)
    new = found.new_configuration_draws(n=4000, seed=0)
    np.testing.assert_allclose(new.std(axis=0), 0.4, rtol=0.12)
    np.testing.assert_allclose(found.shared_draws(n=4000, seed=0).mean(axis=0), [1.0, -2.0], atol=0.1)


def test_without_discrepancy_none_is_found():
    white, _, _ = random_slopes(300, spread=0.0)
    found = configuration_discrepancy(white)
    assert found.gain < 8.0
    np.testing.assert_allclose(found.covariance, white.covariance(), rtol=0.35)
    assert np.all(np.sqrt(np.diag(found.spread)) < 0.02)


def test_more_components_of_one_configuration_do_not_narrow_the_shared_parameters():
    few = configuration_discrepancy(random_slopes(60, spread=0.4, rows=6)[0])
    many = configuration_discrepancy(random_slopes(60, spread=0.4, rows=60)[0])
    np.testing.assert_allclose(np.sqrt(np.diag(many.covariance)), np.sqrt(np.diag(few.covariance)), rtol=0.35)
    plain = [np.sqrt(np.diag(random_slopes(60, spread=0.4, rows=n)[0].covariance())) for n in (6, 60)]
    np.testing.assert_allclose(plain[1], plain[0] / np.sqrt(10), rtol=0.2)


def test_discrepancy_is_the_dense_marginal_likelihood():
    """Shared parameters and their covariance against generalised least squares with the dense covariance."""
    white, x, y = random_slopes(12, spread=0.3, rows=4, seed=4)
    found = configuration_discrepancy(white)
    blocks = found.spread
    precision, slope = 1e-4 * np.eye(2), np.zeros(2)
    for g, label in zip(x, y, strict=True):
        inverse = np.linalg.inv((0.1 * found.noise_factor) ** 2 * np.eye(4) + g @ blocks @ g.T)
        precision += g.T @ inverse @ g
        slope += g.T @ inverse @ label
    np.testing.assert_allclose(found.covariance, np.linalg.inv(precision), rtol=1e-6)
    np.testing.assert_allclose(found.rows.z, np.linalg.solve(precision, slope), rtol=1e-6)

    def log_likelihood(tau, factor):
        spread, value = (tau / found.strength) ** 2 * blocks, 0.0
        total = np.kron(np.ones((12, 12)), np.zeros((4, 4)))
        total = np.einsum("arf,bsf->arbs", x, x).reshape(48, 48) / 1e-4
        for c in range(12):
            mine = slice(4 * c, 4 * c + 4)
            total[mine, mine] += (0.1 * factor) ** 2 * np.eye(4) + x[c] @ spread @ x[c].T
        value = stats.multivariate_normal(np.zeros(48), total).logpdf(y.ravel())
        return value

    best = log_likelihood(found.strength, found.noise_factor)
    for change in (0.98, 1.02):
        assert best >= log_likelihood(found.strength * change, found.noise_factor) - 1e-5
        assert best >= log_likelihood(found.strength, found.noise_factor * change) - 1e-5


def test_discrepancy_of_two_configurations_is_refused():
    with pytest.raises(InputError, match="at least three"):
        configuration_discrepancy(random_slopes(2, spread=0.1)[0])


# Discrepancy as a scale of its own


def test_learned_discrepancy_adds_to_known_noise():
    """Labels with five times the noise that is said of them: the discrepancy is what is missing, in quadrature."""
    data = ready(dimers(200, noise=5.0 * NOISE))
    prior = discrepancy_prior(
        splines(),
        {"splines_pair": dist.Normal(0.0, 3.0)},
        label_noise={"energy": NOISE, "forces": NOISE},
        discrepancy={"energy": 0.2, "forces": 0.2},
        data=data,
    )
    fit = LinearLabels(prior, data).run()
    model = prior.potential(jnp.asarray(fit.z))
    assert float(model.discrepancy.forces[0]) == pytest.approx(np.sqrt(24.0) * NOISE, rel=0.08)
    assert float(model.noise.forces[0]) == pytest.approx(5.0 * NOISE, rel=0.08)
    assert float(model.label_noise.energy[0]) == NOISE
    np.testing.assert_allclose(
        jnp.hypot(model.label_noise.forces, model.discrepancy.forces), model.noise.forces
    )
    mode = LabelFitter(prior, EnergyForceStress(data), start=fit.z).modes()[0].mode
    np.testing.assert_allclose(
        mode.z, fit.z, atol=0.02
    )  # joint and marginal maxima of the scales differ by p/n


def test_discrepancy_without_scale_is_refused():
    data = ready(dimers(4))
    arguments = {"label_noise": {"energy": 0.1, "forces": 0.1}, "discrepancy": {"energy": 0.1, "forces": 0.1}}
    for name, wrong in (
        ("label_noise", {"energy": 0.1}),
        ("discrepancy", {"energy": 0.1, "forces": -1.0}),
        ("discrepancy", {"energy": 0.1, "forces": 1.0, "dipole": 1.0}),
    ):
        with pytest.raises(InputError, match=name):
            discrepancy_prior(
                splines(), {"splines_pair": dist.Normal(0.0, 3.0)}, **{**arguments, name: wrong}, data=data
            )


# Labels without noise


def test_noise_of_labels_that_a_bent_form_says_exactly_is_refused():
    data = ready(dimers(noise=0.0))
    prior = morse_prior(data, noise={"energy": NoiseScale(learned=0.2), "forces": NoiseScale(learned=0.5)})
    sites = {"morse_depth": 0.9, "morse_steepness": 1.4, "morse_distance": 2.55}
    start = np.asarray(prior.unconstrain({**sites, "noise_energy": [0.1], "noise_forces": [0.3]}))
    with pytest.raises(InputError, match=r"NoiseScale\(known"):
        LabelFitter(prior, EnergyForceStress(data), start=start).run()
    known = LabelFitter(morse_prior(data), EnergyForceStress(data), start=start[:3]).modes()[0].mode
    np.testing.assert_allclose(np.exp(known.z), [1.0, 2.6, 1.5], rtol=2e-3)


# All of them on a form that is wrong


@cache
def wrong_form():
    data, held_out = (
        ready(dimers(150, wrong=0.15, noise=1e-3)),
        ready(dimers(150, seed=9, wrong=0.15, noise=1e-3)),
    )
    prior = morse_prior(data, noise={"energy": NoiseScale(learned=0.2), "forces": NoiseScale(learned=0.5)})
    start = np.asarray(
        prior.unconstrain(
            {
                "morse_depth": 1.0, "morse_steepness": 1.5, "morse_distance": 2.6,
                "noise_energy": [0.1], "noise_forces": [0.3],
            }
        )
    )  # fmt: skip
    mode = LabelFitter(prior, EnergyForceStress(data), start=start).modes()[0].mode
    return prior, data, held_out, mode


def test_ensembles_cover_what_the_posterior_of_a_wrong_form_does_not():
    prior, data, held_out, mode = wrong_form()
    rows = white_rows(prior, mode.z, data)
    rng = np.random.default_rng(0)
    draws = {
        "bayes": rng.multivariate_normal(mode.z, mode.covariance, size=300),
        "hypercube": pops_hypercube(rows, n=300, seed=0),
        "ensemble": pops_ensemble(rows, n=300, seed=0),
        "discrepancy": configuration_discrepancy(rows).new_configuration_draws(n=300, seed=0),
    }
    share = {
        name: float(
            label_coverage(prior, z, held_out, with_noise=False)["coverage"]
            .sel(quantity="energy", group="g0", level=0.95)
            .item()
        )
        for name, z in draws.items()
    }
    assert share["bayes"] < 0.5
    assert min(share["hypercube"], share["ensemble"], share["discrepancy"]) > 0.6, share
    assert all(
        np.allclose(z[:, ~np.isin(np.arange(5), rows.free)], mode.z[-2:][None], atol=1e-12) or name == "bayes"
        for name, z in draws.items()
    )


def test_white_rows_are_the_derivatives_of_the_log_density():
    prior, data, _, mode = wrong_form()
    rows = white_rows(prior, mode.z + 0.01, data)
    likelihood = EnergyForceStress(data)
    slope = jax.grad(lambda z: likelihood.log_likelihood(prior.potential(z)))(jnp.asarray(mode.z + 0.01))
    np.testing.assert_allclose(-rows.jacobian.T @ rows.residual, np.asarray(slope)[rows.free], rtol=1e-8)
    assert rows.noise.shape == rows.residual.shape and len(rows.free) == 3
