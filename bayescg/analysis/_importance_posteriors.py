"""Posteriors of many data sets side by side: Laplace's approximation, corrected by importance sampling."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.analysis._block_scores import _newton
from bayescg.inference import FattenedLaplace, Posterior, RelativeEntropy
from bayescg.inference._importance import smoothed_weights, systematic

DECREMENT = 1e-2
"""Newton decrement above which a search has not arrived."""
WIDE = FattenedLaplace()


class ImportancePosteriors(NamedTuple):
    """Draws of each replicate's posterior.

    Attributes:
        mode: MAP [replicate coordinate]; not a number where none was found.
        precision: minus the Hessian there [replicate coordinate coordinate].
        draws: resampled; copies are neighbours, so that an effective number of draws counts them once
            [replicate draw coordinate].
        khat: Pareto k̂ of the weights [replicate]; −∞ where all weigh the same.
    """

    mode: np.ndarray
    precision: np.ndarray
    draws: np.ndarray
    khat: np.ndarray


def importance_posteriors(
    posterior: Posterior,
    varying: RelativeEntropy,
    shared: RelativeEntropy,
    *,
    start: Float[np.ndarray, "replicate coordinate"],
    key: Key[Array, ""],
    n_proposals: int = 1000,
    n_draws: int = 400,
    least_effective_frames: float = 0.0,
    batch: int = 8,
) -> ImportancePosteriors:
    """Draws from the posteriors of many data sets.

    Of each the MAP is found by Newton steps, draws are proposed from a multivariate t about it (7 degrees of freedom,
    the curvature's scale), weighted by posterior density over proposal, the weights Pareto-smoothed, and draws
    resampled by them.

    Args:
        posterior: the prior is what counts.
        varying: a likelihood whose leaves have a leading axis of replicates, `None` where all share one.
        shared: the leaves that all share, `None` elsewhere (see `equinox.filter`).
        start: where each search begins.
        key: of the proposals and their resampling.
        n_proposals: of each replicate; more where k̂ is large.
        n_draws: kept of them.
        least_effective_frames: reweighting limit of the search.
        batch: replicates side by side; more need more memory.

    References:
        Vehtari et al. (2024), JMLR 25, 72.

    Example:
        >>> import numpyro.distributions as dist
        >>> from bayescg.inference import RelativeEntropy, independent_prior
        >>> from bayescg.physics import LinearPotential, Surrogate
        >>> def square(positions, box):
        ...     return jnp.sum(positions**2).reshape(1) / 2
        >>> spring = LinearPotential(jnp.ones(1), function=square, name="spring")
        >>> posterior = Posterior(independent_prior(spring, {"spring_theta": dist.LogNormal(0.0, 2.0)}))
        >>> x, weight = np.polynomial.hermite_e.hermegauss(40)  # the exact Z by quadrature in place of simulations
        >>> z = Surrogate(jnp.ones(()), jnp.zeros(1), jnp.asarray(x[:, None] ** 2 / 2),
        ...               jnp.asarray(np.log(weight) + x**2 / 2))
        >>> three = RelativeEntropy(jnp.array([[0.4], [0.5], [0.6]]), jnp.full(3, 200.0), None)
        >>> found = importance_posteriors(
        ...     posterior, three, RelativeEntropy(None, None, z), start=np.zeros((3, 1)), key=jax.random.key(0)
        ... )
        >>> np.exp(found.draws).mean(axis=(1, 2)).round(1).tolist()  # near 1 / (2 · 0.4), 1 / (2 · 0.5), ...
        [1.2, 1.0, 0.8]
    """
    proposal_key, resampling_key = jax.random.split(key)
    keys = jax.random.split(proposal_key, len(start))
    mode, precision, decrement, proposals, log_ratio = (
        np.array(leaf)
        for leaf in _proposals(
            posterior, varying, shared, jnp.asarray(start), keys, jnp.asarray(least_effective_frames),
            n_proposals=n_proposals, batch=batch,
        )
    )  # fmt: skip
    rng = np.random.default_rng(np.asarray(jax.random.key_data(resampling_key)))
    khat, draws = np.empty(len(start)), np.empty((len(start), n_draws, start.shape[1]))
    kept = np.linspace(0, n_proposals - 1, n_draws).round().astype(int)
    for replicate, ratio in enumerate(log_ratio):
        weights, khat[replicate] = _weights(ratio)
        draws[replicate] = proposals[replicate][systematic(weights, rng)[kept]]
        if not (decrement[replicate] < DECREMENT and np.linalg.eigvalsh(precision[replicate])[0] > 0.0):
            mode[replicate], draws[replicate] = np.nan, np.nan
    return ImportancePosteriors(mode, precision, draws, khat)


def _weights(log_ratio: np.ndarray) -> tuple[np.ndarray, float]:
    finite = np.isfinite(log_ratio)
    if finite.all() and np.ptp(log_ratio) < 1e-6:
        return np.full(len(log_ratio), 1.0 / len(log_ratio)), -np.inf
    return smoothed_weights(log_ratio)


@eqx.filter_jit
def _proposals(
    posterior: Posterior,
    varying: RelativeEntropy,
    shared: RelativeEntropy,
    start: Float[Array, "replicate coordinate"],
    keys: Key[Array, " replicate"],
    least: Float[Array, ""],
    *,
    n_proposals: int,
    batch: int,
) -> tuple[Array, Array, Array, Array, Array]:
    """Mode, curvature, decrement, proposals and log weights of every replicate."""

    def one(item: tuple[RelativeEntropy, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
        own, begin, key = item
        likelihood = eqx.combine(own, shared)
        z, curvature, decrement = _newton(posterior, likelihood, begin, least)
        values, vectors = jnp.linalg.eigh(curvature)
        values = jnp.maximum(jnp.abs(values), 1e-12 * jnp.max(jnp.abs(values)))
        w = WIDE.sample(key, n_proposals, size=z.size)
        draws = z + (w / jnp.sqrt(values)) @ vectors.T
        value = jax.lax.map(lambda point: posterior.log_density(point, likelihood), draws, batch_size=32)
        return z, curvature, decrement, draws, value - jax.vmap(WIDE.log_density)(w)

    return jax.lax.map(one, (varying, start, keys), batch_size=min(batch, len(start)))
