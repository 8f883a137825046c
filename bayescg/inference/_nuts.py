"""NUTS on the surrogate posterior, in coordinates whitened by the Laplace approximation, in resumable chunks."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from numpyro.infer.hmc import hmc

from bayescg.inference._likelihood import Likelihood
from bayescg.inference._posterior import Posterior

GUARD_WIDTH = 0.25
"""Width of the effective-frames barrier in log n_eff."""


class Target(NamedTuple):
    """What one compiled NUTS step needs: arrays only.

    Attributes:
        likelihood: with its surrogate.
        centre: origin of the whitened coordinates [coordinate].
        root: z = centre + root @ w [coordinate coordinate].
        least_effective_frames: where the barrier begins.
    """

    likelihood: Likelihood
    centre: Float[Array, " coordinate"]
    root: Float[Array, "coordinate coordinate"]
    least_effective_frames: Float[Array, ""]


class NutsDraws(NamedTuple):
    """Draws and their diagnostics.

    Attributes:
        z: [chain draw coordinate].
        energy: Hamiltonian energy [chain draw].
        acceptance_rate: mean acceptance probability of the trajectory [chain draw].
        n_steps: leapfrog steps [chain draw].
        diverging: whether the trajectory diverged [chain draw].
        step_size: [chain draw].
    """

    z: np.ndarray
    energy: np.ndarray
    acceptance_rate: np.ndarray
    n_steps: np.ndarray
    diverging: np.ndarray
    step_size: np.ndarray


class Nuts:
    """NumPyro's NUTS, many chains in lockstep; `step` advances all of them by a chunk of iterations.

    Args:
        posterior: the posterior.
        n_warmup: adaptation iterations of step size and diagonal mass matrix.
        target_acceptance: aimed-at mean acceptance probability.
        max_tree_depth: at most 2^depth leapfrog steps per draw.

    References:
        Hoffman & Gelman (2014), JMLR 15, 1593; Phan et al. (2019), arXiv:1912.11554.
    """

    def __init__(
        self, posterior: Posterior, *, n_warmup: int, target_acceptance: float = 0.8, max_tree_depth: int = 8
    ):
        self.posterior = posterior
        self.n_warmup = n_warmup
        self._initialise, self._sample = hmc(potential_fn_gen=self._potential, algo="NUTS")
        self._settings = {"target_accept_prob": target_acceptance, "max_tree_depth": max_tree_depth}
        self._init_chains = eqx.filter_jit(self._init_chains_traced)
        self._run_chains = eqx.filter_jit(self._run_chains_traced)

    def _potential(self, target: Target):
        def potential(w: Float[Array, " coordinate"]) -> Float[Array, ""]:
            z = target.centre + target.root @ w
            model = self.posterior.prior.potential(z)
            log_likelihood, n_eff = target.likelihood.log_likelihood_and_effective_frames(model)
            log_density = self.posterior.prior.log_density(z) + log_likelihood
            shortfall = jnp.log(target.least_effective_frames) - jnp.log(n_eff)
            return -log_density + 0.5 * (jnp.maximum(shortfall, 0.0) / GUARD_WIDTH) ** 2

        return potential

    def _init_chains_traced(self, target: Target, start: Array, keys: Key[Array, " chain"]):
        def one(w, key):
            return self._initialise(
                w, self.n_warmup, step_size=0.5, model_args=(target,), rng_key=key, **self._settings
            )

        return jax.vmap(one)(start, keys)

    def _run_chains_traced(self, state: Any, target: Target, n: int):
        def one(state):
            def body(state, _):
                state = self._sample(state, (target,), {})
                draw = (
                    target.centre + target.root @ state.z,
                    state.energy,
                    state.accept_prob,
                    state.num_steps,
                    state.diverging,
                    state.adapt_state.step_size,
                )
                return state, draw

            return jax.lax.scan(body, state, None, length=n)

        return jax.vmap(one)(state)

    def initial_state(
        self, key: Key[Array, ""], target: Target, *, n_chains: int, spread: float = 1.0
    ) -> Any:
        """Chains dispersed around the centre by `spread` Laplace standard deviations."""
        start_key, chain_key = jax.random.split(key)
        start = spread * jax.random.normal(start_key, (n_chains, target.centre.size))
        return self._init_chains(target, start, jax.random.split(chain_key, n_chains))

    def step(self, state: Any, target: Target, *, n: int) -> tuple[Any, NutsDraws]:
        """Advance all chains by n iterations."""
        state, draws = self._run_chains(state, target, n)
        return state, NutsDraws(*(np.asarray(x) for x in draws))


def concatenate_draws(parts: list[NutsDraws]) -> NutsDraws:
    """Chunks of draws joined along the draw axis."""
    return NutsDraws(*(np.concatenate(column, axis=1) for column in zip(*parts, strict=True)))
