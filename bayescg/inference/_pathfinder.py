"""Pathfinder: starting points of chains from where quasi-Newton paths pass the bulk of the posterior."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.inference._importance import smoothed_weights
from bayescg.inference._nuts import Nuts
from bayescg.inference._posterior import Posterior
from bayescg.inference._sampler import (
    BATCH,
    Draws,
    MarkovChains,
    Target,
    dispersed,
    whitened_potential,
)

ELBO_SAMPLES = 25
"""Draws that estimate the bound at each step of a path."""


class PathfinderStarts(NamedTuple):
    """Where chains may begin.

    Attributes:
        w: whitened coordinates [chain coordinate].
        khat: Pareto k̂ of the draws that they were chosen from: below 0.7 they could stand for the posterior itself.
        evidence_bound: largest lower bound of the log evidence on each path, relative to the posterior's constant [path].

    Example:
        >>> starts = PathfinderStarts(np.zeros((4, 2)), 0.2, np.array([-1.0, -1.1]))
        >>> starts.w.shape
        (4, 2)
    """

    w: Float[np.ndarray, "chain coordinate"]
    khat: float
    evidence_bound: Float[np.ndarray, " path"]


def pathfinder_starts(
    posterior: Posterior,
    target: Target,
    *,
    key: Key[Array, ""],
    n_chains: int,
    n_paths: int = 4,
    n_samples: int = 200,
    spread: float = 2.0,
) -> PathfinderStarts:
    """Starting points by multi-path Pathfinder, chosen by Pareto-smoothed weights without replacement.

    Args:
        posterior: prior and likelihood.
        target: what is to be sampled.
        key: of the random numbers.
        n_chains: starting points.
        n_paths: L-BFGS paths, each from a point of its own.
        n_samples: draws of each path's normal approximations.
        spread: how far from the centre the paths begin [Laplace standard deviations].

    Example:
        >>> from bayescg.inference import example_observation
        >>> posterior, target = example_observation()
        >>> target = target._replace(centre=jnp.array([-3.0]))  # far away
        >>> starts = pathfinder_starts(posterior, target, key=jax.random.key(0), n_chains=3)
        >>> bool(np.all(np.abs(target.coordinates(starts.w) - 0.8) < 2.0))
        True

    References:
        Zhang et al. (2022), JMLR 23, 306, algorithms 1 and 2.
    """
    start_key, path_key, choice_key = jax.random.split(key, 3)
    begin = dispersed(start_key, target, n_chains=n_paths, spread=spread)
    w, log_ratio, bound = _paths(posterior, target, path_key, begin, n_samples)
    flat = np.asarray(w).reshape(-1, begin.shape[1])
    weights, khat = smoothed_weights(np.asarray(log_ratio).reshape(-1))
    weights = np.maximum(weights, 1e-300)  # enough to choose from even where one draw has all the weight
    chosen = jax.random.choice(
        choice_key, len(flat), (n_chains,), replace=False, p=jnp.asarray(weights / weights.sum())
    )
    return PathfinderStarts(flat[np.asarray(chosen)], khat, np.asarray(bound))


@eqx.filter_jit
def _paths(posterior: Posterior, target: Target, key: Key[Array, ""], begin: Array, n_samples: int):
    """Draws of each path with log ratios, and its bound; path after path, since a density at many points at once holds as
    many copies of the reference frames' weights."""
    from blackjax.vi.pathfinder import approximate, sample

    potential = whitened_potential(posterior, target)

    def follow(path: tuple[Key[Array, ""], Array]) -> tuple[Array, Array, Array]:
        path_key, sample_key = jax.random.split(path[0])
        state, _ = approximate(path_key, lambda w: -potential(w), path[1], ELBO_SAMPLES)
        w, log_q = sample(sample_key, state, n_samples)
        return w, -jax.lax.map(potential, w, batch_size=BATCH) - log_q, state.elbo

    return jax.lax.map(follow, (jax.random.split(key, len(begin)), begin))


class StartedByPathfinder:
    """A sampler whose chains begin where Pathfinder leads, not around the Laplace approximation's centre.

    Args:
        posterior: the posterior.
        n_warmup: adaptation iterations.
        sampler: makes the sampler that does the rest.
        n_paths: L-BFGS paths.

    Example:
        >>> StartedByPathfinder(None, n_warmup=100).name
        'pathfinder-nuts'
    """

    def __init__(
        self,
        posterior: Posterior,
        *,
        n_warmup: int,
        sampler: Callable[..., MarkovChains] = Nuts,
        n_paths: int = 4,
    ):
        self.posterior, self.n_warmup, self.n_paths = posterior, n_warmup, n_paths
        self.sampler = sampler(posterior, n_warmup=n_warmup)
        self.name = f"pathfinder-{self.sampler.name}"

    def initial_state(
        self, key: Key[Array, ""], target: Target, *, n_chains: int, spread: float = 2.0
    ) -> Any:
        """Chains at Pathfinder's draws; its paths begin `spread` Laplace standard deviations from the centre."""
        path_key, chain_key = jax.random.split(key)
        starts = pathfinder_starts(
            self.posterior, target, key=path_key, n_chains=n_chains, n_paths=self.n_paths, spread=spread
        )
        return self.sampler.state_at(chain_key, target, jnp.asarray(starts.w))

    def step(self, state: Any, target: Target, *, n: int) -> tuple[Any, Draws]:
        """Advance all chains by n iterations."""
        return self.sampler.step(state, target, n=n)
