"""One conformance test for every sampler that a model file can name: known answers, reproducibility, resumption, keys.

What a contract of draws from a posterior can't ask: the bootstrap and BayesBag answer another question, so that they are
held to their own closed form; the exchange algorithm needs frames to draw data sets from, so that it has the double well
alone; it and the bootstrap have no state that could leave the finite numbers. `Exchange` and `TemperedLangevin`, which
two of these samplers drive, take targets of their own and are held to theirs in tests of their own.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayescg.inference._block_bootstrap as bootstrap_module
import bayescg.inference._chains as chains
from bayescg.inference import (
    BankExchange,
    BlackjaxNuts,
    Checkpoints,
    LangevinChains,
    LaplaceDraws,
    ResampledDraws,
    StartedByPathfinder,
    TemperedSmc,
    laplace_khat,
)
from bayescg.inference._sampler import concatenate_draws
from bayescg.progress import SilentProgress
from tests.inference.known_posteriors import (
    CHUNK,
    ONLY_ON,
    RESAMPLING,
    SAMPLERS,
    SIMULATING,
    Known,
    draw,
    gaussian_in_five,
    half_well_of,
    make,
    simulating,
    spring_of,
    two_normals,
    well_of,
)
from tests.inference.test_exact_posteriors import within_error

# compiled and run in CI only: what each adds to the others is little, and compiling takes most of the time
LONG = {
    ("spring", "pathfinder-nuts"), ("spring", "smc"), ("spring", "nuts"), ("gaussian", "pathfinder-nuts"),
    ("gaussian", "smc-prior"), ("well", "smc"), ("spring", "smc-prior"), ("spring", "tempered-langevin"),
}  # fmt: skip
QUICK_OR_SLOW = [
    pytest.param(name, marks=[pytest.mark.slow] if name in ("pathfinder-nuts", "smc-prior") else [])
    for name in (*SAMPLERS, *ONLY_ON)
]


@pytest.fixture(scope="module")
def spring(toolkit) -> Known:
    return spring_of(toolkit)


@pytest.fixture(scope="module")
def well(double_well) -> Known:
    return well_of(double_well)


@pytest.fixture(scope="module")
def half_well(well) -> Known:
    return half_well_of(well)


@pytest.fixture(scope="module")
def gaussian() -> Known:
    return gaussian_in_five()


@pytest.fixture(scope="module")
def frames() -> Known:
    return two_normals()


def posterior_for(sampler, request):
    """Where a sampler is bound to no posterior, the cheapest."""
    return request.getfixturevalue(ONLY_ON.get(sampler, "gaussian"))


@pytest.mark.parametrize(
    ("posterior", "sampler"),
    [
        pytest.param(posterior, name, marks=[pytest.mark.slow] if (posterior, name) in LONG else [])
        for posterior in ("spring", "well", "half_well", "gaussian", "frames")
        for name in (*SAMPLERS, *ONLY_ON)
        if ONLY_ON.get(name, posterior) == posterior
        and (posterior not in ("half_well", "frames") or name in ONLY_ON)
    ],
)
def test_mean_and_width_within_their_monte_carlo_errors(posterior, sampler, request):
    known = request.getfixturevalue(posterior)
    draws = draw(known, sampler, seed=11)
    values = draws.z if sampler in known.of_others else known.transform(draws.z)
    mean, sd = known.of_others.get(sampler, (known.mean, known.sd))
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


def test_resampled_data_are_not_the_posterior(frames):
    """The negative half: the widths of the bootstrap and of BayesBag are told from the posterior's by the same test."""
    for sampler in RESAMPLING:
        draws = draw(frames, sampler, seed=11)
        for i in range(2):
            assert not within_error(draws.z[..., i], frames.sd[i], function=np.std, method="sd")


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


@pytest.mark.parametrize(
    "sampler",
    [name for name in (*SAMPLERS, *ONLY_ON) if name not in ("nuts", "block-bootstrap", *SIMULATING)],
)
def test_no_key_is_used_twice(sampler, request, monkeypatch):
    """By JAX's own check, which can't follow keys into NumPyro: not into its NUTS, whose unused branches it takes for use,
    nor into its sampling of the prior, whose score the bootstrap draws."""
    known = posterior_for(sampler, request)
    monkeypatch.setattr(jax, "vmap", one_by_one)
    monkeypatch.setattr(bootstrap_module, "BATCH", None)  # batches reorder keys, as `vmap` does
    made = {
        "blackjax-nuts": lambda p: BlackjaxNuts(p, n_warmup=30),
        "pathfinder-nuts": lambda p: StartedByPathfinder(p, n_warmup=30, sampler=BlackjaxNuts, n_paths=2),
        "smc": lambda p: TemperedSmc(p, n_warmup=30, n_particles=20),
        "smc-prior": lambda p: TemperedSmc(p, n_warmup=30, n_particles=20, from_prior=True),
        "laplace": LaplaceDraws,
        "tempered-langevin": LangevinChains,
        "exchange": lambda p: BankExchange(p, n_frames=100),
        "bayesbag": lambda p: ResampledDraws(p, statistics=known.statistics, bagged=True, length=1),
    }[sampler](known.posterior)
    if isinstance(made, TemperedSmc):
        made._settings["batch_size"] = 0
    with jax.debug_key_reuse(True):
        state = made.initial_state(jax.random.key(7), known.target, n_chains=2)
        if made.n_warmup:
            state, _ = made.step(state, known.target, n=made.n_warmup)
        _, draws = made.step(state, known.target, n=3)
    assert np.isfinite(draws.z).all()


@pytest.mark.parametrize("sampler", SIMULATING)
def test_no_key_of_noisy_gradients_is_used_twice(sampler, well, monkeypatch):
    monkeypatch.setattr(jax, "vmap", one_by_one)
    made = simulating(well, sampler)
    with jax.debug_key_reuse(True):
        state = made.initial_state(jax.random.key(7), well.target, n_chains=2)
        _, draws = made.step(state, well.target, n=3)
    assert np.isfinite(draws.z).all()


def test_the_check_of_keys_sees_a_key_used_twice():
    with jax.debug_key_reuse(True), pytest.raises(jax.errors.KeyReuseError):
        jax.jit(lambda key: jax.random.normal(key) + jax.random.uniform(key))(jax.random.key(0))


def test_chunks_do_not_matter(gaussian):
    """Three chunks of 40 are one of 120, up to how the compiler orders sums."""
    for sampler in ("blackjax-nuts", "smc", "laplace", "tempered-langevin"):
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


@pytest.mark.parametrize(
    "sampler",
    [
        "nuts",
        "tempered-langevin",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("blackjax-nuts", "smc")),
    ],
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
