"""The bootstrap of blocks and BayesBag as samplers: their widths, their contract, and what is told of their draws."""

import jax
import numpy as np
import pytest

import bayescg.inference._block_bootstrap as bootstrap_module
import bayescg.inference._chains as chains
from bayescg.analysis import sampler_checks
from bayescg.errors import InputError
from bayescg.inference import (
    Checkpoints,
    FitResult,
    ResampledDraws,
    block_bootstrap,
    example_frames,
)
from bayescg.inference._sampler import concatenate_draws, whitened_potential
from bayescg.progress import SilentProgress

POSTERIOR, FRAMES, TARGET = example_frames()
"""500 independent frames of a unit normal, U = −t₁ x²/2: the Fisher information per frame is 1/2."""
SAMPLERS = {bagged: ResampledDraws(POSTERIOR, statistics=FRAMES, bagged=bagged) for bagged in (False, True)}


def draw(bagged, *, seed, n=100, n_chains=2):
    sampler = SAMPLERS[bagged]
    state = sampler.initial_state(jax.random.key(seed), TARGET, n_chains=n_chains)
    return sampler.step(state, TARGET, n=n)[1]


@pytest.mark.parametrize(("bagged", "variance"), [(False, 2.0 / 500.0), (True, 4.0 / 500.0)])
def test_widths_are_those_of_repetition(bagged, variance):
    """The maximum's variance is that of ⟨x²⟩, BayesBag's is that and the posterior's."""
    draws = draw(bagged, seed=0, n=500)
    x2 = -2.0 * FRAMES.features[:, 0]
    maximum = -1.0 / x2.mean()
    sd = np.sqrt(variance) * maximum**2 * x2.std() / np.sqrt(2.0)
    assert abs(draws.z.mean() - maximum) < 5.0 * sd / np.sqrt(1000.0) + 0.01
    assert draws.z.std() == pytest.approx(sd, rel=0.15)
    assert not draws.diverging.any() and not draws.n_steps.any()


def test_it_is_the_bootstrap_of_blocks():
    known = block_bootstrap(POSTERIOR, FRAMES, TARGET, key=jax.random.key(1), n_replicas=1000).draws
    ours = draw(False, seed=1, n=500).z
    assert ours.std() == pytest.approx(known.std(), rel=0.1)


@pytest.mark.parametrize("bagged", [False, True])
def test_keys_chunks_and_energies(bagged):
    """The same key gives the same draws, in one chunk or several; energies are minus the log density."""
    whole, again, other = (draw(bagged, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(whole.z, again.z)
    assert np.all(whole.z != other.z) and len(np.unique(whole.z)) == whole.z.size
    sampler, parts = SAMPLERS[bagged], []
    state = sampler.initial_state(jax.random.key(5), TARGET, n_chains=2)
    for n in (60, 40):
        state, some = sampler.step(state, TARGET, n=n)
        parts.append(some)
    np.testing.assert_allclose(concatenate_draws(parts).z, whole.z, rtol=1e-6)
    potential = whitened_potential(POSTERIOR, TARGET)
    expected = jax.vmap(potential)((whole.z - np.asarray(TARGET.centre)).reshape(-1, 1))
    np.testing.assert_allclose(whole.energy.ravel(), expected, rtol=1e-9)


class Stop(Exception):
    pass


class StopAtOnce(SilentProgress):
    def update(self, done, *, metrics=None):
        if done > 20:
            raise Stop


def test_a_stopped_run_goes_on_to_the_same_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(chains, "CHUNK", 20)
    checkpoints = Checkpoints(tmp_path, identity="x", interval=-1.0)

    def run(checkpoints, progress):
        return chains.draw_chains(
            SAMPLERS[False], TARGET, key=jax.random.key(3), n_chains=2, n_draws=60, name="draws",
            checkpoints=checkpoints, progress=progress,
        )[0]  # fmt: skip

    whole = run(None, SilentProgress())
    with pytest.raises(Stop):
        run(checkpoints, StopAtOnce())
    assert int(checkpoints.load("draws")["done"]) == 20
    np.testing.assert_array_equal(run(checkpoints, SilentProgress()).z, whole.z)


def test_no_key_is_used_twice(monkeypatch):
    """Of BayesBag; the bootstrap hands one more key to NumPyro's sampling of the prior, where the check can't follow."""

    def one_by_one(function, in_axes=0, out_axes=0):
        return lambda *args: jax.lax.map(lambda each: function(*each), args)

    monkeypatch.setattr(jax, "vmap", one_by_one)
    monkeypatch.setattr(
        bootstrap_module, "BATCH", None
    )  # batches reorder keys, which the check takes for use
    sampler = ResampledDraws(POSTERIOR, statistics=FRAMES, bagged=True)
    with jax.debug_key_reuse(True):
        _, draws = sampler.step(sampler.initial_state(jax.random.key(7), TARGET, n_chains=2), TARGET, n=3)
    assert np.isfinite(draws.z).all()


@pytest.mark.parametrize(("length", "verdict"), [(4, "passed"), (50, "failed")])
def test_the_check_names_the_draws_and_fails_for_few_blocks(length, verdict):
    sampler = ResampledDraws(POSTERIOR, statistics=FRAMES, length=length)
    fit = FitResult(*[None] * len(FitResult._fields))._replace(
        draws=draw(False, seed=0), sampler=sampler.name, resampled=sampler.blocks
    )
    check = next(check for check in sampler_checks(fit) if check.name == "resampled blocks")
    assert check.verdict == verdict
    assert f"{500 // length} blocks of {length} frames" in check.sentence
    assert "not a draw of the posterior that takes frames as independent" in check.sentence


def test_too_few_blocks_are_refused_before_anything_is_run():
    with pytest.raises(InputError, match="500 frames hold 4 blocks of 125.*longer trajectory"):
        ResampledDraws(POSTERIOR, statistics=FRAMES, length=125)
