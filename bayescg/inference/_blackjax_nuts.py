"""BlackJAX's NUTS with Stan's window adaptation, in the same coordinates and chunks as NumPyro's."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bayescg.inference._posterior import Posterior
from bayescg.inference._sampler import Draws, Target, dispersed, whitened_potential

FIRST_STEP_SIZE = 0.5
"""In whitened coordinates, where the posterior's standard deviations are about 1."""


class ChainState(NamedTuple):
    """Everything that the next iteration of one chain depends on.

    Attributes:
        key: of the random numbers to come.
        iteration: how many are done.
        position: whitened coordinates, log density and its gradient.
        step_size: dual averaging's state.
        metric: the mass matrix's state.
    """

    key: Key[Array, ""]
    iteration: Int[Array, ""]
    position: Any
    step_size: Any
    metric: Any


class BlackjaxNuts:
    """BlackJAX's NUTS, many chains in lockstep; `step` advances all of them by a chunk of iterations.

    BlackJAX's own window adaptation runs to its end in one call. Here its parts (schedule, dual averaging, diagonal mass
    matrix) are stepped one iteration at a time, so that a warm-up can be stopped and resumed.

    Args:
        posterior: the posterior.
        n_warmup: adaptation iterations of step size and diagonal mass matrix.
        target_acceptance: aimed-at mean acceptance probability.
        max_tree_depth: at most 2^depth leapfrog steps per draw.

    Example:
        >>> from bayescg.inference import example_observation
        >>> posterior, target = example_observation()
        >>> nuts = BlackjaxNuts(posterior, n_warmup=50)
        >>> state, _ = nuts.step(nuts.initial_state(jax.random.key(0), target, n_chains=2), target, n=50)
        >>> bool(abs(nuts.step(state, target, n=100)[1].z.mean() - 0.8) < 0.2)
        True

    References:
        Hoffman & Gelman (2014), JMLR 15, 1593; Cabezas et al. (2024), arXiv:2402.10797, BlackJAX.
    """

    name = "blackjax-nuts"

    def __init__(
        self, posterior: Posterior, *, n_warmup: int, target_acceptance: float = 0.8, max_tree_depth: int = 8
    ):
        import blackjax
        from blackjax.adaptation.mass_matrix import mass_matrix_adaptation
        from blackjax.adaptation.step_size import dual_averaging_adaptation
        from blackjax.adaptation.window_adaptation import build_schedule

        self.posterior = posterior
        self.n_warmup = n_warmup
        self._depth = max_tree_depth
        self._kernel, self._init = blackjax.nuts.build_kernel(), blackjax.nuts.init
        self._step_size = dual_averaging_adaptation(target_acceptance)
        self._metric = mass_matrix_adaptation(is_diagonal_matrix=True)
        # one row more, since no warm-up at all would leave an empty table to look into
        self._schedule = np.concatenate(
            [np.asarray(build_schedule(n_warmup), int).reshape(-1, 2), np.zeros((1, 2), int)]
        )
        self._init_chains = eqx.filter_jit(self._init_chains_traced)
        self._run_chains = eqx.filter_jit(self._run_chains_traced)

    def _log_density(self, target: Target):
        potential = whitened_potential(self.posterior, target)
        return lambda w: -potential(w)

    def _init_chains_traced(self, target: Target, start: Array, keys: Key[Array, " chain"]):
        def one(w, key):
            state = ChainState(
                key,
                jnp.zeros((), int),
                self._init(w, self._log_density(target)),
                self._step_size[0](FIRST_STEP_SIZE),
                self._metric[0](w.size),
            )
            return jax.tree.map(_of_strong_type, state)

        return jax.vmap(one)(start, keys)

    def _run_chain(self, state: ChainState, target: Target, n: int):
        log_density, schedule = self._log_density(target), jnp.asarray(self._schedule)

        def body(state: ChainState, _):
            key, move_key = jax.random.split(state.key)
            warming = state.iteration < self.n_warmup
            log_step_size = jnp.where(
                warming, state.step_size.log_step_size, state.step_size.log_step_size_avg
            )
            step_size = jnp.exp(jnp.where(self.n_warmup > 0, log_step_size, jnp.log(FIRST_STEP_SIZE)))
            position, info = self._kernel(
                move_key,
                state.position,
                log_density,
                step_size,
                state.metric.inverse_mass_matrix,
                self._depth,
            )
            adapted = self._adapted(
                state, schedule[jnp.minimum(state.iteration, self.n_warmup)], position, info
            )
            kept = jax.tree.map(
                lambda new, old: jnp.where(warming, new, old), adapted, (state.step_size, state.metric)
            )
            draw = (
                target.centre + target.root @ position.position,
                info.energy,
                info.acceptance_rate,
                info.num_integration_steps,
                info.is_divergent,
                step_size,
            )
            return ChainState(key, state.iteration + 1, position, *kept), draw

        return jax.lax.scan(body, state, None, length=n)

    def _run_chains_traced(self, state: ChainState, target: Target, n: int):
        return jax.vmap(lambda one: self._run_chain(one, target, n))(state)

    def _adapted(self, state: ChainState, stage: Int[Array, " 2"], position: Any, info: Any):
        """Step size and mass matrix after one iteration of the warm-up.

        In slow windows the mass matrix learns; at the end of one it is renewed and the step size starts from its average.
        """
        begin, update, average = self._step_size
        _, learn, renew = self._metric
        slow, window_ends = stage[0] == 1, stage[1] == 1
        step_size = update(state.step_size, info.acceptance_rate)
        learnt = learn(state.metric, position.position)
        metric = jax.tree.map(lambda new, old: jnp.where(slow, new, old), learnt, state.metric)
        ended = begin(average(step_size)), renew(metric)
        return jax.tree.map(lambda new, old: jnp.where(window_ends, new, old), ended, (step_size, metric))

    def initial_state(
        self, key: Key[Array, ""], target: Target, *, n_chains: int, spread: float = 1.0
    ) -> ChainState:
        """Chains dispersed around the centre by `spread` Laplace standard deviations."""
        start_key, chain_key = jax.random.split(key)
        return self.state_at(
            chain_key, target, dispersed(start_key, target, n_chains=n_chains, spread=spread)
        )

    def state_at(
        self, key: Key[Array, ""], target: Target, start: Float[Array, "chain coordinate"]
    ) -> ChainState:
        """Chains that start at given whitened coordinates."""
        return self._init_chains(target, start, jax.random.split(key, len(start)))

    def step(self, state: ChainState, target: Target, *, n: int) -> tuple[ChainState, Draws]:
        """Advance all chains by n iterations."""
        state, draws = self._run_chains(state, target, n)
        return state, Draws(*(np.asarray(x) for x in draws))


def _of_strong_type(leaf: Any) -> Array:
    """An array whose type does not give way to that of what it meets: a scan's carry keeps its type."""
    leaf = jnp.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    return jax.lax.convert_element_type(leaf, leaf.dtype)
