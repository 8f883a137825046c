"""What one sampler has and others have not: its settings, its errors, its check, and how the driver draws with it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.analysis import sampler_checks
from bayescg.data import get_unit_system
from bayescg.errors import ConvergenceError, InputError
from bayescg.inference import (
    BankExchange,
    Draws,
    FitResult,
    FitSettings,
    Fitter,
    LangevinChains,
    Sgld,
    StochasticGradientChains,
    TemperedSmc,
    pathfinder_starts,
    posterior_groups,
)
from tests.inference.known_posteriors import (
    CHUNK,
    MADE,
    SAMPLERS,
    WARM_UP,
    Known,
    draw,
    gaussian_in_five,
    make,
    well_of,
)
from tests.inference.test_exact_posteriors import within_error


@pytest.fixture(scope="module")
def well(double_well) -> Known:
    return well_of(double_well)


@pytest.fixture(scope="module")
def gaussian() -> Known:
    return gaussian_in_five()


def test_another_temperature_is_not_the_posterior(gaussian):
    """Widths go with √τ, and the check fails; at τ = 1 it passes."""
    verdicts = {}
    for temperature in (1.0, 2.0):
        hot = LangevinChains(gaussian.posterior, temperature=temperature, n_warmup=WARM_UP)
        MADE[id(gaussian.posterior), f"at {temperature}"] = hot, gaussian.posterior
        draws = draw(gaussian, f"at {temperature}", seed=13)
        for i in range(5):
            wide = gaussian.sd[i] * np.sqrt(temperature)
            assert within_error(draws.z[..., i], wide, function=np.std, method="sd")
            if temperature != 1.0:
                assert not within_error(draws.z[..., i], gaussian.sd[i], function=np.std, method="sd")
        fit = FitResult(*[None] * len(FitResult._fields))._replace(
            draws=draws, sampler=hot.name, posterior_temperature=hot.temperature
        )
        verdicts[temperature] = sampler_checks(fit)[-1]
    assert {t: check.verdict for t, check in verdicts.items()} == {1.0: "passed", 2.0: "failed"}
    assert "not draws of the posterior (widths of a normal one would be 1.41 times" in verdicts[2.0].sentence


@pytest.mark.parametrize(("accepted", "verdict"), [(0.4, "passed"), (0.01, "failed")])
def test_a_random_walk_that_stands_still_is_flagged(accepted, verdict):
    numbers = np.random.default_rng(0).normal(size=(4, 500, 1))
    draws = Draws.without_trajectories(numbers, numbers[..., 0])
    fit = FitResult(*[None] * len(FitResult._fields))._replace(
        draws=draws._replace(acceptance_rate=np.full((4, 500), accepted)), sampler="exchange"
    )
    check = sampler_checks(fit)[-1]
    assert (check.name, check.verdict) == ("accepted proposals", verdict)
    assert f"{100 * accepted:.1f} %" in check.sentence


def test_a_given_step_is_held_to_the_tolerance(well):
    """The one that was chosen keeps it, twice that does not, and the check says so; one too large is refused."""
    chosen = make(well, "sgld").choice(
        make(well, "sgld").initial_state(jax.random.key(0), well.target, n_chains=2)
    )
    assert 0.5 * 0.02 < max(chosen.width_bias, chosen.lag) <= 0.02 * (1.0 + 1e-9)
    np.testing.assert_allclose(chosen.width_tolerance, 0.02)
    given = StochasticGradientChains(
        well.posterior, gradient=well.gradient, dynamics=Sgld(), tolerance=0.02, step=2.0 * chosen.step
    )
    choice = given.choice(given.initial_state(jax.random.key(0), well.target, n_chains=2))
    assert choice.width_bias > 0.02
    empty = FitResult(*[None] * len(FitResult._fields))
    numbers = np.random.default_rng(0).normal(size=(4, 500, 1))
    draws = Draws.without_trajectories(numbers, numbers[..., 0])
    for predicted, verdict in ((chosen, "passed"), (choice, "failed")):
        fit = empty._replace(draws=draws, sampler="sgld", step_choice=predicted)
        check = next(check for check in sampler_checks(fit) if check.name == "step size")
        assert check.verdict == verdict and check.threshold == pytest.approx(0.02)
    assert "do not use these draws" in check.sentence
    for wrong in ({"tolerance": 1.5}, {"tolerance": 0.0}, {"step": 4.5}, {"step": -1.0}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} is .*expected"):
            StochasticGradientChains(well.posterior, gradient=well.gradient, dynamics=Sgld(), **wrong)


@pytest.mark.parametrize(
    ("sampler", "told"), [("sgld", "with the step 0"), ("tempered-langevin", "at temperature 1: .*'nuts'")]
)
def test_a_chain_that_leaves_the_finite_numbers_is_an_error(sampler, told, request):
    """Samplers with a test of every proposal refuse such a one; a lost resampling is an error in `test_block_bootstrap`."""
    known = request.getfixturevalue("well" if sampler == "sgld" else "gaussian")
    made = make(known, sampler)
    state = made.initial_state(jax.random.key(0), known.target, n_chains=2, spread=np.inf)
    with pytest.raises(ConvergenceError, match=f"{sampler}: a chain left the finite numbers {told}"):
        made.step(state, known.target, n=CHUNK)


def test_the_exchange_algorithm_needs_frames(gaussian):
    made = BankExchange(gaussian.posterior, n_frames=100)
    state = made.initial_state(jax.random.key(0), gaussian.target, n_chains=2)
    with pytest.raises(InputError, match="exchange: needs .* a reference bank, found Gaussian; use .*'nuts'"):
        made.step(state, gaussian.target, n=1)


def test_a_temperature_that_is_none_is_refused(gaussian):
    for wrong in (0.0, -1.0, np.inf):
        with pytest.raises(
            InputError, match="temperature is .*expected a positive number; 1 gives the posterior"
        ):
            LangevinChains(gaussian.posterior, temperature=wrong)


def test_a_step_beyond_any_use_is_refused_before_it_is_taken(well):
    made = StochasticGradientChains(well.posterior, gradient=well.gradient, dynamics=Sgld(), step=3.9)
    with pytest.raises(
        InputError, match="sgld: the step 3.9 is predicted to change .* beyond any use: leave it out"
    ):
        made.initial_state(jax.random.key(0), well.target, n_chains=2)


def test_particles_are_moved_again_when_they_run_out(gaussian):
    smc = TemperedSmc(gaussian.posterior, n_particles=100, n_warmup=50)
    state = smc.initial_state(jax.random.key(1), gaussian.target, n_chains=4)
    state, _ = smc.step(state, gaussian.target, n=50)
    assert np.all(np.asarray(state.temperature) == 1.0)
    state, draws = smc.step(state, gaussian.target, n=350)
    assert int(state.used) == 50
    assert len(np.unique(draws.z[0], axis=0)) > 300
    for i in range(5):
        assert within_error(draws.z[..., i], gaussian.mean[i], function=np.mean, method="mean")


def test_smc_says_when_it_has_not_arrived(well):
    smc = TemperedSmc(well.posterior, from_prior=True, n_particles=50, n_warmup=2)
    state = smc.initial_state(jax.random.key(1), well.target, n_chains=2)
    state, _ = smc.step(state, well.target, n=2)
    assert np.all(np.asarray(state.temperature) < 1.0)
    with pytest.raises(ConvergenceError, match="power .* of the likelihood in 2 steps.*`warmup`"):
        smc.step(state, well.target, n=1)


def test_pathfinder_finds_the_posterior_from_afar(well):
    """Paths that begin ten standard deviations away end where the posterior is, spread like it."""
    starts = pathfinder_starts(
        well.posterior, well.target, key=jax.random.key(2), n_chains=100, n_paths=6, spread=10.0
    )
    z = np.asarray(well.target.coordinates(jnp.asarray(starts.w)))
    assert starts.khat < 0.7
    np.testing.assert_array_less(np.abs(z.mean(axis=0) - well.mean), 0.5 * well.sd)
    np.testing.assert_allclose(z.std(axis=0), well.sd, rtol=0.4)
    assert len(np.unique(z, axis=0)) == 100


@pytest.mark.parametrize(
    "sampler",
    [
        "laplace",
        "sgld",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("smc", "tempered-langevin", "exchange")),
    ],
)
def test_the_driver_draws_with_what_it_is_given(sampler, double_well, well):
    """And the stored result says so; a Laplace run is judged by its k-hat, SGLD by its step."""
    of_frames = {
        "sgld": functools.partial(
            StochasticGradientChains, gradient=well.gradient, dynamics=Sgld(), tolerance=0.05
        ),
        "exchange": functools.partial(BankExchange, n_frames=100),
    }
    choice = (SAMPLERS | of_frames)[sampler]
    settings = FitSettings(seed=3, search_samples=160, max_rounds=1, n_warmup=60, n_draws=200, sampler=choice)
    fit = Fitter(double_well.problem(np.ones(2)), settings).run()
    assert fit.sampler == sampler and fit.draws.z.shape == (4, 200, 2)
    np.testing.assert_array_less(np.abs(fit.draws.z.mean(axis=(0, 1)) - well.mean), 0.4 * well.sd)
    np.testing.assert_allclose(fit.draws.z.std(axis=(0, 1)), well.sd, rtol=0.15)
    prior = fit.draws.z[0, :5]
    units = get_unit_system("lj")
    groups = posterior_groups(fit, double_well.prior, double_well.potential, units, prior_draws=prior)
    assert (attributes := groups["sample_stats"].attrs)["sampler"] == sampler
    own = {
        "laplace": "Laplace's approximation", "sgld": "step size", "tempered-langevin": "posterior temperature",
        "exchange": "accepted proposals",
    }.get(sampler, "divergences")  # fmt: skip
    assert [check.name for check in sampler_checks(fit)] == ["R-hat", "effective draws", own]
    if sampler == "sgld":
        assert 0.02 < max(attributes["predicted_width_bias"], attributes["predicted_mean_bias"]) <= 0.0501
        assert (
            attributes["step_tolerance"] == pytest.approx(0.05) and attributes["step"] == fit.step_choice.step
        )
