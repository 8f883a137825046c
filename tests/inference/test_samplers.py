"""One conformance test for every sampler of a log density: known posteriors, reproducibility, resumption, keys."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayescg.inference._chains as chains
from bayescg.analysis import sampler_checks
from bayescg.data import get_unit_system
from bayescg.errors import ConvergenceError, InputError
from bayescg.inference import (
    BlackjaxNuts,
    Checkpoints,
    Draws,
    ExactLikelihood,
    FitResult,
    FitSettings,
    Fitter,
    LaplaceDraws,
    Nuts,
    Posterior,
    Prior,
    RelativeEntropyGradient,
    Sghmc,
    Sgld,
    StartedByPathfinder,
    StochasticGradientChains,
    Target,
    TemperedSmc,
    independent_prior,
    laplace,
    laplace_khat,
    pathfinder_starts,
    posterior_groups,
    relative_entropy_gradient,
)
from bayescg.inference._calibrate import symmetric_root
from bayescg.inference._sampler import concatenate_draws
from bayescg.physics import LinearPotential
from bayescg.progress import SilentProgress
from tests.inference.test_exact_posteriors import half_square, within_error
from tests.inference.test_sgld import WellReplicas

SAMPLERS = {
    "nuts": Nuts,
    "blackjax-nuts": BlackjaxNuts,
    "pathfinder-nuts": StartedByPathfinder,
    "smc": TemperedSmc,
    "smc-prior": functools.partial(TemperedSmc, from_prior=True),
    "laplace": LaplaceDraws,
}


# of the noisy gradient of the double well: see `simulating`
SIMULATING = {"sgld": Sgld, "sghmc": Sghmc}

# compiled and run in CI only: what each adds to the others is little, and compiling takes most of the time
LONG = {
    ("spring", "pathfinder-nuts"), ("spring", "smc"), ("spring", "nuts"), ("gaussian", "pathfinder-nuts"),
    ("gaussian", "smc-prior"), ("well", "smc"), ("spring", "smc-prior"),
}  # fmt: skip
QUICK_OR_SLOW = [
    pytest.param(name, marks=[pytest.mark.slow] if name in ("pathfinder-nuts", "smc-prior") else [])
    for name in (*SAMPLERS, *SIMULATING)
]

CHUNK, WARM_UP = 40, 160
"""One length of compiled chunks, one warm-up and one number of chains for nearly all tests: compiling is what costs."""


class Known(NamedTuple):
    """A posterior with a known answer, in the unconstrained coordinates or transformed."""

    posterior: Posterior
    target: Target
    mean: np.ndarray
    sd: np.ndarray
    transform: object = staticmethod(lambda z: z)
    laplace_mean: np.ndarray | None = None
    laplace_sd: np.ndarray | None = None
    gradient: RelativeEntropyGradient | None = None


def target_at(posterior, likelihood, z):
    mode = laplace(posterior, likelihood, np.asarray(z, float))
    root = jnp.asarray(symmetric_root(mode.covariance))
    return Target(likelihood, jnp.asarray(mode.z), root, jnp.asarray(1e-300))


@pytest.fixture(scope="module")
def spring(toolkit) -> Known:
    """V1."""
    potential = LinearPotential(jnp.ones(1), function=half_square)
    line = toolkit.Quadrature(potential, -16.0, 16.0, n=257)
    x = np.full(50, np.sqrt(0.8))  # Σx² = 40
    prior = independent_prior(potential, {"linear_theta": dist.Gamma(2.0, 1.0)})
    toy = toolkit.Toy(line, potential, prior, x, line.statistics(potential, x))
    posterior, centre = Posterior(prior), np.array([0.251314])
    return Known(
        posterior, target_at(posterior, toy.likelihood(), centre), np.array([1.285714]), np.array([0.247436]),
        np.exp, centre, np.array([0.192450]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def well(double_well) -> Known:
    """V2."""
    posterior, centre = Posterior(double_well.prior), np.array([2.826133, 1.975583])
    half = double_well.line.x >= 0.0
    replicas = WellReplicas(jnp.asarray(double_well.line.features[half][::2]), 64)
    gradient = relative_entropy_gradient(
        double_well.prior, double_well.statistics, beta=1.0, replicas=replicas
    )
    return Known(
        posterior,
        target_at(posterior, double_well.likelihood(), centre),
        np.array([2.901786, 2.040847]),
        np.array([0.615019, 0.394017]),
        laplace_mean=centre,
        laplace_sd=np.array([0.614201, 0.392320]),
        gradient=gradient,
    )


class Gaussian(ExactLikelihood):
    """−(x − m)ᵀ A (x − m)/2."""

    mean: jax.Array
    precision: jax.Array

    def log_likelihood(self, model):
        return -0.5 * (model - self.mean) @ self.precision @ (model - self.mean)


def five_normals():
    return numpyro.sample("x", dist.Normal(0.0, 2.0).expand([5]).to_event(1))


@pytest.fixture(scope="module")
def gaussian() -> Known:
    """A Gaussian in five dimensions with widths over a factor of 30 and correlations of 0.9."""
    scale = np.geomspace(0.05, 1.5, 5)
    covariance = (0.9 + 0.1 * np.eye(5)) * np.outer(scale, scale)
    precision, mean = np.linalg.inv(covariance), np.linspace(-1.0, 1.0, 5)
    total = np.linalg.inv(precision + np.eye(5) / 4.0)
    centre = total @ precision @ mean
    likelihood, posterior = (
        Gaussian(jnp.asarray(mean), jnp.asarray(precision)),
        Posterior(Prior(five_normals)),
    )
    target = target_at(posterior, likelihood, centre)
    # the samplers find the posterior from a whitening that is off by a shift and a factor
    off = target._replace(centre=target.centre + 0.3 * target.root.sum(axis=1), root=1.4 * target.root)
    sd = np.sqrt(np.diag(total))
    return Known(
        posterior, off, centre, sd, laplace_mean=np.asarray(off.centre), laplace_sd=1.4 * sd
    )  # fmt: skip


MADE: dict = {}
"""What a sampler has compiled serves the next test too."""


def make(known, sampler):
    key = (id(known.posterior), sampler)
    if key not in MADE:
        MADE[key] = (
            simulating(known, sampler)
            if sampler in SIMULATING
            else SAMPLERS[sampler](known.posterior, n_warmup=WARM_UP),
            known.posterior,
        )
    return MADE[key][0]


def simulating(known, sampler):
    """A tolerance within the Monte-Carlo error of the draws."""
    return StochasticGradientChains(
        known.posterior,
        gradient=known.gradient,
        dynamics=SIMULATING[sampler](),
        tolerance=0.02,
        n_warmup=CHUNK,
    )


def posterior_for(sampler, request):
    """Noisy gradients need frames; all others have the cheapest posterior."""
    return request.getfixturevalue("well" if sampler in SIMULATING else "gaussian")


def draw(known, sampler, *, seed, n_draws=400, n_chains=4):
    made, parts = make(known, sampler), []
    state = made.initial_state(jax.random.key(seed), known.target, n_chains=n_chains)
    for _ in range((made.n_warmup + n_draws) // CHUNK):
        state, some = made.step(state, known.target, n=CHUNK)
        parts.append(some)
    return concatenate_draws(parts[made.n_warmup // CHUNK :])


@pytest.mark.parametrize(
    ("posterior", "sampler"),
    [
        pytest.param(posterior, name, marks=[pytest.mark.slow] if (posterior, name) in LONG else [])
        for posterior in ("spring", "well", "gaussian")
        for name in (*SAMPLERS, *SIMULATING)
        if posterior == "well" or name not in SIMULATING
    ],
)
def test_mean_and_width_within_their_monte_carlo_errors(posterior, sampler, request):
    known = request.getfixturevalue(posterior)
    draws = draw(known, sampler, seed=11)
    if sampler == "laplace":
        values, mean, sd = draws.z, known.laplace_mean, known.laplace_sd
    else:
        values, mean, sd = known.transform(draws.z), known.mean, known.sd
    assert draws.z.shape == (4, 400, len(mean)) and np.isfinite(draws.energy).all()
    assert not draws.diverging.any()
    for i in range(len(mean)):
        assert within_error(values[..., i], mean[i], function=np.mean, method="mean")
        assert within_error(values[..., i], sd[i], function=np.std, method="sd")


def test_laplace_is_not_the_posterior(spring, gaussian):
    """The negative half: the test above tells Laplace's widths from the posterior's, and k̂ the misplaced one."""
    theta = np.exp(draw(spring, "laplace", seed=11, n_draws=4000).z)[..., 0]
    assert not within_error(theta, spring.mean[0], function=np.mean, method="mean")
    draws = draw(gaussian, "laplace", seed=12)
    covariance = np.asarray(gaussian.target.root @ gaussian.target.root.T)
    narrow = gaussian.target._replace(root=gaussian.target.root / 5.0)
    state = jax.random.split(jax.random.key(0), 4)
    too_narrow = LaplaceDraws(gaussian.posterior).step(state, narrow, n=400)[1]
    assert laplace_khat(draws, np.asarray(gaussian.target.centre), covariance) < 0.5
    assert laplace_khat(too_narrow, np.asarray(gaussian.target.centre), covariance / 25.0) > 0.7


def test_blackjax_equals_numpyro_on_the_double_well(well):
    """Means and widths agree within the errors of their difference."""
    values = [draw(well, name, seed=21, n_draws=800).z for name in ("nuts", "blackjax-nuts")]
    for function, power in ((np.mean, 1), (np.var, 2)):
        for i in range(2):
            a, b = (v[..., i] - well.mean[i] for v in values)
            chains_of = [function(v, axis=1) for v in (a, b)]
            error = np.sqrt(sum(np.var(c, ddof=1) / len(c) for c in chains_of))
            floor = well.sd[i] ** power * np.sqrt(power / 800.0)  # four chains may agree by chance
            assert abs(function(a) - function(b)) < 4.0 * max(error, floor)


@pytest.mark.parametrize("sampler", QUICK_OR_SLOW)
def test_same_key_same_draws_other_key_other_draws(sampler, request):
    known = posterior_for(sampler, request)
    a, b, c = (draw(known, sampler, seed=seed, n_draws=CHUNK) for seed in (5, 5, 6))
    for first, again in zip(a, b, strict=True):
        np.testing.assert_array_equal(first, again)
    assert np.all(a.z != c.z)
    flat = a.z.reshape(-1, a.z.shape[-1])
    assert len(np.unique(flat, axis=0)) > 0.5 * len(flat), "chains repeat each other"


class Stop(Exception):
    pass


class StopAfter(SilentProgress):
    """Interrupts at the n-th report."""

    def __init__(self, n):
        self.left = n

    def update(self, done, *, metrics=None):
        self.left -= 1
        if self.left == 0:
            raise Stop


@pytest.mark.parametrize("sampler", QUICK_OR_SLOW)
def test_resumed_equals_uninterrupted(sampler, request, tmp_path, monkeypatch):
    monkeypatch.setattr(chains, "CHUNK", CHUNK)
    known = posterior_for(sampler, request)
    made, n_draws = make(known, sampler), 2 * CHUNK

    def run(checkpoints, progress):
        return chains.draw_chains(
            made, known.target, key=jax.random.key(3), n_chains=4, n_draws=n_draws, name="draws",
            checkpoints=checkpoints, progress=progress,
        )[0]  # fmt: skip

    whole = run(None, SilentProgress())
    last = (made.n_warmup + n_draws) // CHUNK
    stops = sorted({2, last})  # in the warm-up where there is one, and among the draws
    for stop in stops:
        checkpoints = Checkpoints(tmp_path / str(stop), identity="x", interval=-1.0)
        with pytest.raises(Stop):
            run(checkpoints, StopAfter(stop))
        saved = checkpoints.load("draws")
        assert 0 < int(saved["done"]) < made.n_warmup + n_draws
        resumed = run(checkpoints, SilentProgress())
        for a, b in zip(whole, resumed, strict=True):
            np.testing.assert_array_equal(a, b)
    assert whole.z.shape == (4, n_draws, len(known.mean))


VMAP = jax.vmap


def one_by_one(function, in_axes=0, out_axes=0):
    """In place of `vmap`, whose reordered key arrays JAX's check takes for keys used twice."""
    if (in_axes, out_axes) != (0, 0):  # of columns of features, where no keys are
        return VMAP(function, in_axes=in_axes, out_axes=out_axes)
    return lambda *args: jax.lax.map(lambda each: function(*each), args)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "nuts"])
def test_no_key_is_used_twice(sampler, gaussian, monkeypatch):
    """By JAX's own check; NumPyro's NUTS hands a key through unused branches, which the check can't tell from use."""
    monkeypatch.setattr(jax, "vmap", one_by_one)
    made = {
        "blackjax-nuts": lambda p: BlackjaxNuts(p, n_warmup=30),
        "pathfinder-nuts": lambda p: StartedByPathfinder(p, n_warmup=30, sampler=BlackjaxNuts, n_paths=2),
        "smc": lambda p: TemperedSmc(p, n_warmup=30, n_particles=20),
        "smc-prior": lambda p: TemperedSmc(p, n_warmup=30, n_particles=20, from_prior=True),
        "laplace": LaplaceDraws,
    }[sampler](gaussian.posterior)
    if isinstance(made, TemperedSmc):
        made._settings["batch_size"] = 0
    with jax.debug_key_reuse(True):
        state = made.initial_state(jax.random.key(7), gaussian.target, n_chains=2)
        if made.n_warmup:
            state, _ = made.step(state, gaussian.target, n=made.n_warmup)
        _, draws = made.step(state, gaussian.target, n=3)
    assert np.isfinite(draws.z).all()


@pytest.mark.parametrize("sampler", SIMULATING)
def test_no_key_of_noisy_gradients_is_used_twice(sampler, well, monkeypatch):
    monkeypatch.setattr(jax, "vmap", one_by_one)
    made = simulating(well, sampler)
    with jax.debug_key_reuse(True):
        state = made.initial_state(jax.random.key(7), well.target, n_chains=2)
        _, draws = made.step(state, well.target, n=3)
    assert np.isfinite(draws.z).all()


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


def test_a_chain_that_leaves_the_finite_numbers_is_an_error(well):
    made = make(well, "sgld")
    state = made.initial_state(jax.random.key(0), well.target, n_chains=2, spread=np.inf)
    with pytest.raises(ConvergenceError, match="sgld: a chain left the finite numbers with the step 0"):
        made.step(state, well.target, n=CHUNK)


def test_a_step_beyond_any_use_is_refused_before_it_is_taken(well):
    made = StochasticGradientChains(well.posterior, gradient=well.gradient, dynamics=Sgld(), step=3.9)
    with pytest.raises(
        InputError, match="sgld: the step 3.9 is predicted to change .* beyond any use: leave it out"
    ):
        made.initial_state(jax.random.key(0), well.target, n_chains=2)


def test_the_check_of_keys_sees_a_key_used_twice():
    with jax.debug_key_reuse(True), pytest.raises(jax.errors.KeyReuseError):
        jax.jit(lambda key: jax.random.normal(key) + jax.random.uniform(key))(jax.random.key(0))


def test_chunks_do_not_matter(gaussian):
    """Three chunks of 40 are one of 120, up to how the compiler orders sums."""
    for sampler in ("blackjax-nuts", "smc", "laplace"):
        made = make(gaussian, sampler)
        state = made.initial_state(jax.random.key(0), gaussian.target, n_chains=4)
        for _ in range(made.n_warmup // CHUNK):
            state, _ = made.step(state, gaussian.target, n=CHUNK)
        whole = made.step(state, gaussian.target, n=3 * CHUNK)[1]
        parts = []
        for _ in range(3):
            state, some = made.step(state, gaussian.target, n=CHUNK)
            parts.append(some)
        np.testing.assert_allclose(concatenate_draws(parts).z, whole.z, rtol=1e-6, atol=1e-8)


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
    "sampler", ["nuts", *(pytest.param(name, marks=pytest.mark.slow) for name in ("blackjax-nuts", "smc"))]
)
def test_barrier_keeps_every_sampler_where_frames_are(sampler, well):
    """With a limit of frames that the whole posterior can't meet, the draws stay where it is met."""
    likelihood = well.target.likelihood
    n_eff = jax.jit(jax.vmap(lambda z: likelihood.effective_frames(well.posterior.prior.potential(z))))
    at_mode = float(n_eff(well.target.centre[None])[0])
    guarded = well._replace(target=well.target._replace(least_effective_frames=jnp.asarray(3.0 * at_mode)))
    free, held = (draw(known, sampler, seed=31, n_draws=3 * CHUNK) for known in (well, guarded))
    least = [float(np.quantile(n_eff(jnp.asarray(d.z.reshape(-1, 2))), 0.05)) for d in (free, held)]
    assert least[1] > least[0] + 0.01 * at_mode


@pytest.mark.parametrize("sampler", ["laplace", "sgld", pytest.param("smc", marks=pytest.mark.slow)])
def test_the_driver_draws_with_what_it_is_given(sampler, double_well, well):
    """And the stored result says so; a Laplace run is judged by its k-hat, SGLD by its step."""
    choice = SAMPLERS.get(
        sampler,
        functools.partial(StochasticGradientChains, gradient=well.gradient, dynamics=Sgld(), tolerance=0.05),
    )
    settings = FitSettings(seed=3, search_samples=160, max_rounds=1, n_warmup=60, n_draws=200, sampler=choice)
    fit = Fitter(double_well.problem(np.ones(2)), settings).run()
    assert fit.sampler == sampler and fit.draws.z.shape == (4, 200, 2)
    np.testing.assert_array_less(np.abs(fit.draws.z.mean(axis=(0, 1)) - well.mean), 0.4 * well.sd)
    np.testing.assert_allclose(fit.draws.z.std(axis=(0, 1)), well.sd, rtol=0.15)
    prior = fit.draws.z[0, :5]
    units = get_unit_system("lj")
    groups = posterior_groups(fit, double_well.prior, double_well.potential, units, prior_draws=prior)
    assert (attributes := groups["sample_stats"].attrs)["sampler"] == sampler
    own = {"laplace": "Laplace's approximation", "sgld": "step size"}.get(sampler, "divergences")
    assert [check.name for check in sampler_checks(fit)] == ["R-hat", "effective draws", own]
    if sampler == "sgld":
        assert 0.02 < max(attributes["predicted_width_bias"], attributes["predicted_mean_bias"]) <= 0.0501
        assert (
            attributes["step_tolerance"] == pytest.approx(0.05) and attributes["step"] == fit.step_choice.step
        )
