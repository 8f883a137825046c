"""The bootstrap of blocks and BayesBag under the contract of all samplers: every draw resamples the data anew."""

from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Key

from bayescg.inference._block_bootstrap import bag_draws, centred_blocks, refuse_lost, resampled_modes
from bayescg.inference._posterior import Posterior
from bayescg.inference._sampler import Draws, Target, energies_at
from bayescg.physics import SufficientStatistics


class ResampledBlocks(NamedTuple):
    """What draws from resampled data are, and what they rest on.

    Attributes:
        each: in words, what every draw is.
        block_length: frames in a block.
        n_blocks: blocks in a resampled data set.

    Example:
        >>> ResampledBlocks("the maximum of the posterior of blocks drawn with replacement", 20, 25).n_blocks
        25
    """

    each: str
    block_length: int
    n_blocks: int


class ResampledState(NamedTuple):
    """Keys of the draws, and the one that the covariance of the prior's score is estimated with.

    Attributes:
        keys: one per chain.
        score_key: of all draws.

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 5)
        >>> ResampledState(keys[:4], keys[4]).keys.shape
        (4,)
    """

    keys: Key[Array, " chain"]
    score_key: Key[Array, ""]


class ResampledDraws:
    """Independent draws, each from data put together anew from blocks: see `block_bootstrap` and `bayes_bag`.

    These are no draws of the posterior that takes frames as independent: the bootstrap's width is that of the maximum
    under repetition of the experiment, BayesBag's is wider than either.

    Args:
        posterior: the posterior.
        statistics: the data.
        bagged: whether a draw is one of the Laplace approximation of its data's posterior (BayesBag) instead of the maximum.
        length: frames in a block; `block_length` if None.
        n_warmup: ignored, since nothing is adapted.

    Raises:
        InputError: fewer than 5 blocks in the data.

    Example:
        >>> from bayescg.inference import example_frames
        >>> posterior, frames, target = example_frames()
        >>> bootstrap = ResampledDraws(posterior, statistics=frames)
        >>> state = bootstrap.initial_state(jax.random.key(0), target, n_chains=2)
        >>> _, draws = bootstrap.step(state, target, n=100)
        >>> bool(0.05 < draws.z.std() < 0.08)  # √(2/500) for independent frames
        True
    """

    def __init__(
        self,
        posterior: Posterior,
        *,
        statistics: SufficientStatistics,
        bagged: bool = False,
        length: int | None = None,
        n_warmup: int = 0,
    ):
        self.posterior, self.bagged, self.n_warmup = posterior, bagged, 0
        self.name = "bayesbag" if bagged else "block-bootstrap"
        self._blocks = centred_blocks(statistics, length)
        each = (
            "a draw of the Laplace approximation of the posterior of blocks drawn with replacement"
            if bagged
            else "the maximum of the posterior of blocks drawn with replacement"
        )
        self.blocks = ResampledBlocks(each, self._blocks.length, self._blocks.n_blocks)
        self._energies = eqx.filter_jit(energies_at)

    def initial_state(
        self, key: Key[Array, ""], target: Target, *, n_chains: int, spread: float = 1.0
    ) -> ResampledState:
        """One key for each chain; independent draws need no dispersion."""
        score_key, chain_key = jax.random.split(key)
        return ResampledState(jax.random.split(chain_key, n_chains), score_key)

    def step(self, state: ResampledState, target: Target, *, n: int) -> tuple[ResampledState, Draws]:
        """n more draws of each chain.

        Raises:
            ConvergenceError: the maximum of some resampled data was not found.
        """
        keys, draw_keys = _split(state.keys, n)
        flat = draw_keys.reshape(-1)
        means, n_blocks = self._blocks.means, self._blocks.n_blocks
        if self.bagged:
            z, converged = bag_draws(self.posterior, target, means, n_blocks, 1, flat)
        else:
            z, converged = resampled_modes(self.posterior, target, means, n_blocks, state.score_key, flat)
        refuse_lost(np.asarray(converged))
        z = z.reshape(*draw_keys.shape, target.centre.size)
        energies = np.asarray(self._energies(self.posterior, target, z))
        return state._replace(keys=keys), Draws.without_trajectories(np.asarray(z), energies)


@eqx.filter_jit
def _split(keys: Key[Array, " chain"], n: int) -> tuple[Key[Array, " chain"], Key[Array, "chain draw"]]:
    """The chains' next keys, and a key for every draw; the same whatever the chunks are."""

    def one(key: Key[Array, ""], _: None) -> tuple[Key[Array, ""], Key[Array, ""]]:
        return tuple(jax.random.split(key))

    return jax.vmap(lambda key: jax.lax.scan(one, key, None, length=n))(keys)
