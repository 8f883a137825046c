"""NUTS on the surrogate posterior, in coordinates whitened by the Laplace approximation, in resumable chunks."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Key
from numpyro.infer.hmc import hmc

from bayescg.inference._posterior import Posterior
from bayescg.inference._sampler import Draws, Target, concatenate_draws, dispersed, whitened_potential

__all__ = ["Nuts", "NutsDraws", "Target", "concatenate_draws"]

NutsDraws = Draws
"""NUTS fills every column of `Draws`."""


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

    name = "nuts"

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
        return whitened_potential(self.posterior, target)

    def _init_chains_traced(self, target: Target, start: Array, keys: Key[Array, " chain"]):
        def one(w, key):
            return self._initialise(
                w, self.n_warmup, step_size=0.5, model_args=(target,), rng_key=key, **self._settings
            )

        return jax.vmap(one)(start, keys)

    def _run_chain(self, state: Any, target: Target, n: int):
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

    def _run_chains_traced(self, state: Any, target: Target, n: int):
        return jax.vmap(lambda one: self._run_chain(one, target, n))(state)

    def initial_state(
        self, key: Key[Array, ""], target: Target, *, n_chains: int, spread: float = 1.0
    ) -> Any:
        """Chains dispersed around the centre by `spread` Laplace standard deviations."""
        start_key, chain_key = jax.random.split(key)
        return self.state_at(
            chain_key, target, dispersed(start_key, target, n_chains=n_chains, spread=spread)
        )

    def state_at(self, key: Key[Array, ""], target: Target, start: Float[Array, "chain coordinate"]) -> Any:
        """Chains that start at given whitened coordinates."""
        return self._init_chains(target, start, jax.random.split(key, len(start)))

    def step(self, state: Any, target: Target, *, n: int) -> tuple[Any, Draws]:
        """Advance all chains by n iterations."""
        state, draws = self._run_chains(state, target, n)
        return state, Draws(*(np.asarray(x) for x in draws))
