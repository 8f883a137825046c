"""Bootstrap of blocks of frames: the MAP, or the whole posterior, of resampled trajectories, on the surrogate."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.data import statistical_inefficiency
from bayescg.errors import ConvergenceError, InputError
from bayescg.inference._posterior import Posterior
from bayescg.inference._sampler import BATCH, Target, whitened_potential
from bayescg.physics import SufficientStatistics

FRACTIONS = (1.0, 0.5, 0.25, 0.1, 0.02, 0.001)
"""Of a Newton step, tried side by side."""

FEWEST_BLOCKS = 5
"""Blocks below which resampling them says nothing."""


class BlockBootstrap(NamedTuple):
    """What blocks drawn with replacement make of the answer.

    Attributes:
        draws: unconstrained coordinates, one mode for each replica [draw coordinate] or pooled draws of each replica's
            posterior [bag draw coordinate].
        block_length: frames in a block.
        n_blocks: blocks in a replica.

    Example:
        >>> found = BlockBootstrap(np.array([[0.9], [1.1], [1.0]]), block_length=20, n_blocks=50)
        >>> found.draws.std(axis=0, ddof=1).round(3).tolist()
        [0.1]
    """

    draws: np.ndarray
    block_length: int
    n_blocks: int


def block_length(statistics: SufficientStatistics) -> int:
    """Four times the largest statistical inefficiency of the features [frame].

    Args:
        statistics: the reduced frames.

    Example:
        >>> features = np.random.default_rng(0).normal(size=(500, 1))
        >>> block_length(SufficientStatistics(features, features[:, :0], features[:, :0], np.zeros(500, int)))
        4
    """
    varying = statistics.features[:, statistics.features.std(axis=0) > 0.0]
    if not varying.size:
        return 1
    g = statistical_inefficiency(varying, lengths=statistics.trajectory_lengths())
    return int(np.ceil(4.0 * np.max(g) - 1e-9))


def block_bootstrap(
    posterior: Posterior,
    statistics: SufficientStatistics,
    target: Target,
    *,
    key: Key[Array, ""],
    n_replicas: int = 1000,
    length: int | None = None,
) -> BlockBootstrap:
    """Modes of trajectories put together from blocks of the data, by Newton on the surrogate: no simulation.

    Blocks may overlap, and their mean is centred on the data's. The prior's score is drawn anew too, with its own
    covariance Λ̄, since otherwise nothing would move the directions that the prior determines. So for many blocks the
    draws' covariance is C (N J + Λ̄) C, the calibrated one without simulation noise, and the shape is not Gaussian.

    Args:
        posterior: the posterior.
        statistics: the data.
        target: with the relative-entropy likelihood of all data, centred at its mode.
        key: of the random numbers.
        n_replicas: modes.
        length: frames in a block; `block_length` if None.

    Raises:
        InputError: fewer than 5 blocks in the data.
        ConvergenceError: a replica whose mode is not found.

    Example:
        >>> from bayescg.inference import example_frames
        >>> posterior, data, target = example_frames()
        >>> found = block_bootstrap(posterior, data, target, key=jax.random.key(0), n_replicas=200)
        >>> bool(0.05 < found.draws.std() < 0.08)  # √(2/500) for independent frames
        True

    References:
        Künsch (1989), doi:10.1214/aos/1176347265, eq. 2.4, moving blocks; Lahiri (1992), centring; Newton & Raftery
        (1994), doi:10.1111/j.2517-6161.1994.tb01956.x, with the prior.
    """
    blocks = centred_blocks(statistics, length)
    score_key, replica_key = jax.random.split(key)
    keys = jax.random.split(replica_key, n_replicas)
    z, converged = resampled_modes(posterior, target, blocks.means, blocks.n_blocks, score_key, keys)
    refuse_lost(np.asarray(converged))
    return BlockBootstrap(np.asarray(z), blocks.length, blocks.n_blocks)


def bayes_bag(
    posterior: Posterior,
    statistics: SufficientStatistics,
    target: Target,
    *,
    key: Key[Array, ""],
    n_bags: int = 100,
    n_draws: int = 20,
    length: int | None = None,
) -> BlockBootstrap:
    """BayesBag: posteriors of bootstrapped trajectories pooled, each by its own Laplace approximation.

    Its covariance is about that of the bootstrap plus that of the posterior: wider than either by design.

    Args:
        posterior: the posterior.
        statistics: the data.
        target: with the relative-entropy likelihood of all data, centred at its mode.
        key: of the random numbers.
        n_bags: bootstrapped trajectories, each as long as the data.
        n_draws: of each bag's posterior.
        length: frames in a block; `block_length` if None.

    Raises:
        InputError: fewer than 5 blocks in the data.
        ConvergenceError: a bag whose mode is not found.

    Example:
        >>> from bayescg.inference import example_frames
        >>> posterior, data, target = example_frames()
        >>> found = bayes_bag(posterior, data, target, key=jax.random.key(0))
        >>> bool(0.07 < found.draws.std() < 0.11)  # √(2 · 2/500) for independent frames
        True

    References:
        Huggins & Miller (2023), doi:10.1214/22-BA1301; Bühlmann (2014), doi:10.1214/14-STS486.
    """
    blocks = centred_blocks(statistics, length)
    keys = jax.random.split(key, n_bags)
    z, converged = bag_draws(posterior, target, blocks.means, blocks.n_blocks, n_draws, keys)
    refuse_lost(np.asarray(converged))
    return BlockBootstrap(np.asarray(z), blocks.length, blocks.n_blocks)


class _Blocks(NamedTuple):
    means: Float[Array, "start feature"]
    length: int
    n_blocks: int


def centred_blocks(statistics: SufficientStatistics, length: int | None) -> _Blocks:
    """Centred mean of every block that lies within one trajectory."""
    lengths = statistics.trajectory_lengths()
    n = statistics.n_frames
    wanted = block_length(statistics) if length is None else length
    b = min(wanted, max(lengths))
    n_blocks = round(n / b)
    if n_blocks < FEWEST_BLOCKS:
        raise InputError(
            f"block bootstrap: {n} frames hold {n_blocks} blocks of {b}, at least {FEWEST_BLOCKS} are needed: use a"
            " longer trajectory"
        )
    mean = statistics.features.mean(axis=0)
    total = np.concatenate([np.zeros((1, len(mean))), np.cumsum(statistics.features - mean, axis=0)])
    ends = np.cumsum(lengths)
    starts = np.concatenate([np.arange(end - size, end - b + 1) for end, size in zip(ends, lengths)])
    means = (total[starts + b] - total[starts]) / b
    return _Blocks(jnp.asarray(means - means.mean(axis=0) + mean), b, n_blocks)


def _resampled(target: Target, means: Array, n_blocks: int, key: Key[Array, ""]) -> Target:
    """The target with the data's mean features replaced by those of blocks drawn with replacement."""
    chosen = jax.random.randint(key, (n_blocks,), 0, len(means))
    likelihood = eqx.tree_at(lambda known: known.mean_features, target.likelihood, means[chosen].mean(axis=0))
    return target._replace(likelihood=likelihood)


@eqx.filter_jit
def resampled_modes(
    posterior: Posterior, target: Target, means: Array, n_blocks: int, score_key: Key[Array, ""], keys: Array
):
    sizes, vectors = jnp.linalg.eigh(posterior.prior.score_covariance(target.centre, key=score_key))
    push = target.root.T @ (vectors * jnp.sqrt(jnp.maximum(sizes, 0.0)))

    def one(key):
        block_key, push_key = jax.random.split(key)
        potential = whitened_potential(posterior, _resampled(target, means, n_blocks, block_key))
        slope = push @ jax.random.normal(push_key, sizes.shape)
        w, _, converged = _newton(lambda w: potential(w) - slope @ w, jnp.zeros_like(target.centre))
        return target.coordinates(w), converged

    return jax.lax.map(one, keys, batch_size=BATCH)


@eqx.filter_jit
def bag_draws(posterior: Posterior, target: Target, means: Array, n_blocks: int, n_draws: int, keys: Array):
    def one(key):
        block_key, draw_key = jax.random.split(key)
        potential = whitened_potential(posterior, _resampled(target, means, n_blocks, block_key))
        w, curvature, converged = _newton(potential, jnp.zeros_like(target.centre))
        root = jnp.linalg.cholesky(curvature)
        normal = jax.random.normal(draw_key, (w.size, n_draws))
        steps = jax.scipy.linalg.solve_triangular(root.T, normal, lower=False)
        return target.coordinates(w + steps.T), converged & jnp.all(jnp.isfinite(steps))

    return jax.lax.map(one, keys, batch_size=BATCH)


def _newton(
    potential: Callable[[Array], Array], start: Float[Array, " coordinate"], *, n: int = 60
) -> tuple[Array, Array, Array]:
    """Minimum, its curvature, and whether it was found, by Newton steps of which the best fraction is taken.

    The start lies within a few standard deviations, so that the full step is nearly always best.
    """
    value_and_gradient, hessian = jax.value_and_grad(potential), jax.hessian(potential)

    def body(carry):
        i, w, _ = carry
        value, gradient = value_and_gradient(w)
        sizes, vectors = jnp.linalg.eigh(hessian(w))
        step = -vectors @ ((vectors.T @ gradient) / jnp.maximum(jnp.abs(sizes), 1e-10 * jnp.abs(sizes).max()))
        values = jnp.stack([potential(w + fraction * step) for fraction in FRACTIONS])
        best = jnp.argmin(jnp.where(jnp.isfinite(values), values, jnp.inf))
        decrement = -gradient @ step
        # closer than this rounding decides which value is lower; the full step is right there
        near = decrement < 1e-8
        moved = w + jnp.where(near, 1.0, jnp.asarray(FRACTIONS)[best]) * step
        w = jnp.where(near | (values[best] < value), moved, w)
        return i + 1, w, near

    carry = (jnp.zeros((), int), start, jnp.zeros((), bool))
    _, w, converged = jax.lax.while_loop(lambda c: (c[0] < n) & ~c[2], body, carry)
    return w, hessian(w), converged


def refuse_lost(converged: np.ndarray) -> None:
    if not converged.all():
        raise ConvergenceError(
            f"block bootstrap: {int((~converged).sum())} of {len(converged)} replicas did not reach their mode; narrow the"
            " prior, or simulate more references around the posterior"
        )
