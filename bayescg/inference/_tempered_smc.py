"""Adaptive tempered sequential Monte Carlo: from the prior, or a fattened Laplace, to the posterior and its evidence."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bayescg.errors import ConvergenceError
from bayescg.inference._laplace_draws import FattenedLaplace
from bayescg.inference._posterior import Posterior
from bayescg.inference._sampler import BATCH, Draws, Target, log_volume, whitened_potential

NO_DENSITY = -1e100
"""Log density where there is none: finite, so that 0 times it is 0."""

LARGEST_STEP_SIZE = 0.6
"""Of the moves, in standard deviations of the particles: with 4 steps at most 2.4, since a half turn of π only mirrors."""

SHORTEST = 0.4
"""Each particle's step size is drawn between this share of the common one and all of it, against periodic motion."""

PARTICLES_AT_ONCE = 64
"""Particles moved side by side."""


class SmcState(NamedTuple):
    """Everything that the next step of all runs depends on.

    Attributes:
        key: of the random numbers to come [chain].
        particles: whitened coordinates [chain particle coordinate].
        weights: normalised [chain particle].
        temperature: the share of the likelihood that the particles follow, 0 to 1 [chain].
        log_evidence: accumulated so far [chain].
        step_size: of the moves [chain].
        acceptance: mean acceptance probability of the last moves [chain].
        n_tempering: steps that led to the temperature [chain].
        iteration: how many are done, idle ones after the last temperature included.
        used: particles handed out since the last moves.
    """

    key: Key[Array, " chain"]
    particles: Float[Array, "chain particle coordinate"]
    weights: Float[Array, "chain particle"]
    temperature: Float[Array, " chain"]
    log_evidence: Float[Array, " chain"]
    step_size: Float[Array, " chain"]
    acceptance: Float[Array, " chain"]
    n_tempering: Int[Array, " chain"]
    iteration: Int[Array, ""]
    used: Int[Array, ""]


class TemperedSmc:
    """BlackJAX's adaptive tempered SMC as a sampler: each chain is a run of its own, its draws are the run's particles.

    p_λ(w) ∝ p_0(w) (p(w | D)/p_0(w))^λ, λ rising from 0 to 1 so that the effective number of particles stays at a given
    share at each step; the product of the mean weights estimates the evidence. Particles are resampled and moved
    by Hamiltonian Monte Carlo preconditioned by their own covariance. Runs that agree (R-hat) are a strong sign that
    no mode was missed, stronger from the prior. When all particles of a run have been handed out they are moved again.

    Args:
        posterior: the posterior.
        n_warmup: most tempering steps.
        from_prior: whether p_0 is the prior, or else Laplace's approximation fattened to a multivariate t.
        n_particles: of each run.
        target_effective: share of effective particles after each change of λ.
        n_moves: moves of every particle at each λ.
        n_leapfrog: leapfrog steps of one move.

    Example:
        >>> from bayescg.inference import example_observation
        >>> posterior, target = example_observation()
        >>> smc = TemperedSmc(posterior, from_prior=True, n_particles=200)
        >>> state, _ = smc.step(smc.initial_state(jax.random.key(0), target, n_chains=4), target, n=smc.n_warmup)
        >>> bool(np.abs(state.log_evidence.mean() + 0.5 * np.log(2 * np.pi * 1.25) + 0.4) < 0.1)
        True

    References:
        Del Moral, Doucet & Jasra (2006), doi:10.1111/j.1467-9868.2006.00553.x, eqs. 9 and 31; Buchholz, Chopin & Jacob
        (2021), doi:10.1214/20-BA1222, moves tuned by the particles.
    """

    name = "smc"

    def __init__(
        self,
        posterior: Posterior,
        *,
        n_warmup: int = 100,
        from_prior: bool = False,
        n_particles: int = 512,
        target_effective: float = 0.6,
        n_moves: int = 4,
        n_leapfrog: int = 4,
    ):
        import blackjax
        from blackjax.smc import adaptive_tempered, resampling, tempered

        self.posterior, self.n_warmup = posterior, n_warmup
        self.name = "smc-prior" if from_prior else "smc"
        self.from_prior, self.n_particles = from_prior, n_particles
        self.n_moves, self.n_leapfrog = n_moves, n_leapfrog
        self._base = FattenedLaplace()
        hmc = blackjax.hmc.build_kernel()
        self._move = functools.partial(hmc, num_integration_steps=n_leapfrog)
        self._settings = {
            "mcmc_step_fn": self._move,
            "mcmc_init_fn": blackjax.hmc.init,
            "resampling_fn": resampling.systematic,
            "batch_size": PARTICLES_AT_ONCE,
        }
        self._adaptive = functools.partial(adaptive_tempered.build_kernel, target_ess=target_effective)
        self._fixed, self._tempered_state = tempered.build_kernel, tempered.TemperedSMCState
        self._start = eqx.filter_jit(self._start_traced)
        self._temper = eqx.filter_jit(self._temper_traced)
        self._refresh = eqx.filter_jit(self._refresh_traced)
        self._energies = eqx.filter_jit(self._energies_traced)

    # Densities --------------------------------------------------------------------------------------------

    def _log_base(self, target: Target):
        """log p_0(w), normalised over z."""
        volume = log_volume(target)
        if self.from_prior:
            return lambda w: self.posterior.prior.log_density(target.centre + target.root @ w)
        return lambda w: self._base.log_density(w) - volume

    def _densities(self, target: Target) -> dict[str, Any]:
        """What the tempering calls prior and likelihood: p_0 and p(w, D)/p_0."""
        potential, log_base = whitened_potential(self.posterior, target), self._log_base(target)

        def log_ratio(w):
            ratio = -potential(w) - log_base(w)
            return jnp.where(jnp.isfinite(ratio), ratio, NO_DENSITY)

        return {"logprior_fn": log_base, "loglikelihood_fn": log_ratio}

    def _moves(self, key: Key[Array, ""], run: SmcState) -> dict[str, Array]:
        """Step sizes and covariance of the moves, from the particles of one run."""
        n, p = run.particles.shape
        mean = run.weights @ run.particles
        centred = run.particles - mean
        covariance = (run.weights[:, None] * centred).T @ centred
        # some of the diagonal alone, since few distinct particles span few directions
        variances = jnp.maximum(jnp.diag(covariance), 1e-12)
        shrunk = (n * covariance + p * jnp.diag(variances)) / (n + p)
        steps = run.step_size * jax.random.uniform(key, (n,), minval=SHORTEST)
        return {"step_size": steps, "inverse_mass_matrix": shrunk[None]}

    # Steps ------------------------------------------------------------------------------------------------

    def _start_traced(self, key: Key[Array, ""], target: Target, n_chains: int, spread: Array) -> SmcState:
        draw_key, run_key = jax.random.split(key)
        n, size = self.n_particles, target.centre.size
        if self.from_prior:
            z = self.posterior.prior.sample(draw_key, n_chains * n)
            w = jnp.linalg.solve(target.root, (z - target.centre).T).T
        else:
            w = self._base.sample(draw_key, n_chains * n, size=size)
        zeros = jnp.zeros(n_chains)
        return SmcState(
            jax.random.split(run_key, n_chains), w.reshape(n_chains, n, size), jnp.full((n_chains, n), 1.0 / n),
            zeros, zeros, jnp.full(n_chains, LARGEST_STEP_SIZE), zeros, jnp.zeros(n_chains, int),
            jnp.asarray(0), jnp.asarray(n),
        )  # fmt: skip

    def _adapted(self, run: SmcState, acceptance: Array) -> Array:
        """The step size after moves of a mean acceptance."""
        return jnp.clip(run.step_size * jnp.exp(acceptance - 0.8), 1e-3, LARGEST_STEP_SIZE)

    def _temper_traced(self, state: SmcState, target: Target, n: int) -> SmcState:
        kernel = self._adaptive(**self._densities(target), **self._settings)

        def advance(carry):
            i, run = carry
            key, step_key, size_key = jax.random.split(run.key, 3)
            before = self._tempered_state(run.particles, run.weights, run.temperature)
            after, info = kernel(step_key, before, self.n_moves, self._moves(size_key, run))
            acceptance = jnp.mean(info.update_info.acceptance_rate)
            new = run._replace(
                key=key,
                particles=after.particles,
                weights=after.weights,
                temperature=jnp.where(after.tempering_param > 1.0 - 1e-9, 1.0, after.tempering_param),
                log_evidence=run.log_evidence + info.log_likelihood_increment,
                step_size=self._adapted(run, acceptance),
                acceptance=acceptance,
                n_tempering=run.n_tempering + 1,
            )
            return i + 1, new

        def one(run: SmcState) -> SmcState:
            unfinished = lambda carry: (carry[0] < n) & (carry[1].temperature < 1.0)  # noqa: E731
            return jax.lax.while_loop(unfinished, advance, (jnp.zeros((), int), run))[1]

        return self._over_runs(one, state)

    def _refresh_traced(self, state: SmcState, target: Target) -> SmcState:
        """All particles resampled and moved at the posterior itself."""
        kernel = self._fixed(**self._densities(target), **self._settings)

        def one(run: SmcState) -> SmcState:
            key, step_key, size_key = jax.random.split(run.key, 3)
            before = self._tempered_state(run.particles, run.weights, run.temperature)
            after, info = kernel(step_key, before, self.n_moves, jnp.ones(()), self._moves(size_key, run))
            acceptance = jnp.mean(info.update_info.acceptance_rate)
            return run._replace(
                key=key,
                particles=after.particles,
                weights=after.weights,
                step_size=self._adapted(run, acceptance),
                acceptance=acceptance,
            )

        return self._over_runs(one, state)._replace(used=jnp.zeros_like(state.used))

    def _over_runs(self, function: Any, state: SmcState) -> SmcState:
        """A function of one run, one after the other: each stops when it has arrived."""
        each = jnp.zeros(len(state.weights), int)
        runs = jax.lax.map(function, state._replace(iteration=each, used=each))
        return runs._replace(iteration=state.iteration, used=state.used)

    def _energies_traced(self, target: Target, w: Array) -> tuple[Array, Array]:
        flat = w.reshape(-1, w.shape[-1])
        energies = jax.lax.map(whitened_potential(self.posterior, target), flat, batch_size=BATCH)
        return target.coordinates(w), energies.reshape(w.shape[:2])

    # The contract -----------------------------------------------------------------------------------------

    def initial_state(
        self, key: Key[Array, ""], target: Target, *, n_chains: int, spread: float = 1.0
    ) -> SmcState:
        """Particles of p_0, whose width is its own: `spread` does not matter."""
        return self._start(key, target, n_chains, jnp.asarray(spread))

    def step(self, state: SmcState, target: Target, *, n: int) -> tuple[SmcState, Draws]:
        """At most n tempering steps while the warm-up lasts; afterwards the next n draws of each run.

        What is returned during the warm-up only has the shape of draws.

        Raises:
            ConvergenceError: the warm-up is over, and some run has not reached the posterior.
        """
        iteration = int(state.iteration)
        if iteration < self.n_warmup:
            state = self._temper(state, target, n)
            one = self._draws(state, target, np.asarray(state.particles[:, :1]))
            draws = Draws(*(np.repeat(column, n, axis=1) for column in one))
        elif np.any(np.asarray(state.temperature) < 1.0):
            raise ConvergenceError(
                f"tempered SMC reached only the power {float(np.min(state.temperature)):.3g} of the likelihood in"
                f" {iteration} steps; allow more (`warmup`) or give a narrower prior"
            )
        else:
            state, draws = self._next_draws(state, target, n)
        return state._replace(iteration=jnp.asarray(iteration + n, state.iteration.dtype)), draws

    def _next_draws(self, state: SmcState, target: Target, n: int) -> tuple[SmcState, Draws]:
        parts: list[np.ndarray] = []
        missing = n
        while missing:
            if int(state.used) >= self.n_particles:
                state = self._refresh(state, target)
            used = int(state.used)
            some = np.asarray(state.particles[:, used : used + missing])
            parts.append(some)
            missing -= some.shape[1]
            state = state._replace(used=jnp.asarray(used + some.shape[1], state.used.dtype))
        return state, self._draws(state, target, np.concatenate(parts, axis=1))

    def _draws(self, state: SmcState, target: Target, w: np.ndarray) -> Draws:
        z, energy = self._energies(target, jnp.asarray(w))
        draws = Draws.without_trajectories(np.asarray(z), np.asarray(energy))
        repeated = np.ones(draws.energy.shape)
        return draws._replace(
            acceptance_rate=repeated * np.asarray(state.acceptance)[:, None],
            n_steps=np.full(repeated.shape, self.n_moves * self.n_leapfrog),
            step_size=repeated * np.asarray(state.step_size)[:, None],
        )
