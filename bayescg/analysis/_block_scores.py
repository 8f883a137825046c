"""Leave-block-out predictive scores by refits on the surrogate: no new simulation."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import logsumexp

from bayescg.analysis._scores import HEALTHY_KHAT, PredictiveScores, block_edges, score_inefficiency
from bayescg.errors import ConvergenceError, InputError
from bayescg.inference import Mode, Posterior, RelativeEntropy
from bayescg.inference._importance import smoothed_weights
from bayescg.physics import SufficientStatistics

LEAST_EFFECTIVE_FRAMES = 50.0
"""Effective reference frames below which the surrogate is not to be trusted at a draw."""
NEWTON_STEPS = 60
DECREMENT = 1e-8
"""Newton decrement at which a refit has arrived."""


class BlockScores(NamedTuple):
    """Scores of blocks, each by the posterior of the frames outside it.

    Attributes:
        pointwise: of each block the sum over its frames i of log p(x_i | frames outside).
        joint: log p(block | frames outside), the density of all its frames together: higher, since the frames of a
            correlated block tell of each other.
        edges: first frame of each block and the end of the last [block + 1].
        modes: MAP of each refit [block coordinate].
        effective_frames: smallest effective number of reference frames at any draw of each refit [block].
    """

    pointwise: PredictiveScores
    joint: PredictiveScores
    edges: Int[np.ndarray, " block_and_end"]
    modes: Float[np.ndarray, "block coordinate"]
    effective_frames: Float[np.ndarray, " block"]


class _Refit(NamedTuple):
    """One refit: where it went, and what its moved draws say. Shapes without the block."""

    mode: Float[Array, " coordinate"]
    decrement: Float[Array, ""]
    log_ratio: Float[Array, " draw"]
    coefficients: Float[Array, "draw feature"]
    log_z: Float[Array, " draw"]
    effective_frames: Float[Array, " draw"]


def leave_block_out(
    statistics: SufficientStatistics,
    posterior: Posterior,
    likelihood: RelativeEntropy,
    *,
    mode: Mode,
    draws: Float[np.ndarray, "draw coordinate"],
    edges: Int[np.ndarray, " block_and_end"] | None = None,
    n_blocks: int = 20,
    buffer: int = 0,
    batch: int = 4,
) -> BlockScores:
    """Log predictive densities of contiguous blocks of frames, each under the posterior of the other frames.

    For every block B the MAP is found anew from the frames outside by Newton steps on the surrogate. The draws of the
    full posterior are moved there by the affine map that takes its Laplace approximation to the refit's, and weighted
    by the ratio of the densities, Pareto-smoothed: exact but for the finite number of draws, and k̂ tells where that is
    too few. Where it is, the draws as they were are weighted instead if theirs is smaller. With weights w_s,

        joint     log Σ_s w_s Π_{i∈B} p(x_i | θ_s),
        pointwise Σ_{i∈B} log Σ_s w_s p(x_i | θ_s),   log p(x | θ) = −β U_θ(x) − log Z_θ + log Z_anchor.

    The posterior is the raw one, which takes the frames outside as independent: its predictions are what is scored.

    Args:
        statistics: the frames.
        posterior: prior and likelihood.
        likelihood: of all frames, with the surrogate of log Z.
        mode: MAP and Laplace approximation with all frames.
        draws: of the raw posterior of all frames; a few hundred are enough.
        edges: of the blocks; the default makes `n_blocks`, none shorter than 4 statistical inefficiencies.
        n_blocks: about how many blocks.
        buffer: frames left out of the refit, but not scored, on both sides of a block; they break the correlation
            between the block and the frames that the refit learns from.
        batch: refits that run side by side; more need more memory.

    Raises:
        InputError: too few frames for blocks, or no frame left outside a block and its buffer.
        ConvergenceError: a refit that finds no maximum.

    References:
        Vehtari, Gelman & Gabry (2017), doi:10.1007/s11222-016-9696-4; Paananen, Piironen, Bürkner & Vehtari (2021),
        doi:10.1007/s11222-020-09982-2, moved draws; Racine (2000), doi:10.1016/S0304-4076(00)00030-0, the buffer.

    Example:
        >>> from bayescg.inference import example_spring, laplace, relative_entropy
        >>> _, prior, z = example_spring()
        >>> data = np.random.default_rng(0).normal(size=(200, 1)) ** 2 / 2
        >>> frames = SufficientStatistics(data, data, data[:, :0], np.zeros(200, int))
        >>> posterior, likelihood = Posterior(prior), relative_entropy(frames, z)
        >>> mode = laplace(posterior, likelihood, np.array([-np.log(2 * data.mean())]))
        >>> draws = mode.z + 0.1 * np.random.default_rng(1).normal(size=(200, 1))
        >>> scores = leave_block_out(frames, posterior, likelihood, mode=mode, draws=draws, n_blocks=5)
        >>> bool(scores.joint.elpd > scores.pointwise.elpd - 1.0)
        True
    """
    if edges is None:
        edges = block_edges(
            statistics.trajectory_lengths(), inefficiency=score_inefficiency(statistics), n_blocks=n_blocks
        )
    outside = _outside(statistics, edges, buffer)
    n_outside = outside.sum(axis=1)
    means = (outside.astype(float) @ statistics.features) / n_outside[:, None]
    at_mode = float(posterior.effective_frames(jnp.asarray(mode.z), likelihood))
    least = min(LEAST_EFFECTIVE_FRAMES, 0.5 * at_mode)
    found = _refits(
        posterior, likelihood, jnp.asarray(means), jnp.asarray(n_outside, float), jnp.asarray(mode.z),
        jnp.asarray(mode.covariance), jnp.asarray(draws), jnp.asarray(least), batch=batch,
    )  # fmt: skip
    modes, decrement, log_ratio, eta, log_z, n_eff = (np.asarray(leaf) for leaf in found)
    still = _Still(statistics, posterior, likelihood, draws)
    lost = np.flatnonzero(~(decrement < 1e-2))
    if len(lost):
        raise ConvergenceError(
            f"leave-block-out: the refit without frames {edges[lost[0]]} to {edges[lost[0] + 1]} found no maximum within"
            " reach of the reference simulations; lengthen them, or use a narrower prior"
        )
    beta = float(likelihood.surrogate.beta)
    pointwise, joint, khat = np.zeros((3, len(means)))
    for b, (first, end) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        weights, khat[b] = smoothed_weights(log_ratio[b])
        other, khat_still = smoothed_weights(still.log_ratio(means[b], int(n_outside[b])))
        at, free = eta[b], log_z[b]
        if khat[b] > max(khat_still, HEALTHY_KHAT):
            weights, khat[b], at, free = other, khat_still, still.coefficients, still.log_z
        log_w = np.log(np.maximum(weights, 1e-300))
        density = -beta * at @ statistics.features[first:end].T - free[:, None]
        pointwise[b] = np.sum(logsumexp(log_w[:, None] + density, axis=0))
        joint[b] = logsumexp(log_w + density.sum(axis=1))
    effective = n_eff.min(axis=1)
    method = f"refits without each of {len(means)} blocks"
    about = (np.diff(edges), edges[:-1], khat, method, _warning(khat, effective, least))
    return BlockScores(
        PredictiveScores(pointwise, "pointwise", *about),
        PredictiveScores(joint, "joint", *about),
        edges,
        modes,
        effective,
    )


class _Still:
    """The draws where they were: what they say of any part of the frames."""

    def __init__(
        self,
        statistics: SufficientStatistics,
        posterior: Posterior,
        likelihood: RelativeEntropy,
        draws: Float[np.ndarray, "draw coordinate"],
    ):
        self._n, self._mean = statistics.n_frames, np.asarray(likelihood.mean_features)
        self._beta = float(likelihood.surrogate.beta)
        found = _coefficients(posterior, likelihood, jnp.asarray(draws))
        self.coefficients, self.log_z = (np.asarray(leaf) for leaf in found)

    def log_ratio(self, mean: np.ndarray, n: int) -> np.ndarray:
        """log p(D_outside | θ) − log p(D | θ) of each draw."""
        energy = self._beta * self.coefficients @ (self._n * self._mean - n * mean)
        return energy + (self._n - n) * self.log_z


@eqx.filter_jit
def _coefficients(
    posterior: Posterior, likelihood: RelativeEntropy, draws: Float[Array, "draw coordinate"]
) -> tuple[Float[Array, "draw feature"], Float[Array, " draw"]]:
    def one(point: Array) -> tuple[Array, Array]:
        eta = posterior.prior.potential(point).coefficients()
        return eta, likelihood.surrogate.log_z(eta)

    return jax.lax.map(one, draws, batch_size=32)


def _outside(
    statistics: SufficientStatistics, edges: Int[np.ndarray, " block_and_end"], buffer: int
) -> np.ndarray:
    """Which frames each refit learns from [block frame]; the buffer does not reach into another trajectory."""
    if buffer < 0:
        raise InputError(f"leave-block-out: a buffer of {buffer} frames; expected 0 or more")
    frame = np.arange(statistics.n_frames)
    near = (frame >= edges[:-1, None] - buffer) & (frame < edges[1:, None] + buffer)
    same = statistics.trajectory == statistics.trajectory[edges[:-1], None]
    outside = ~(near & same)
    if not outside.any(axis=1).all():
        raise InputError(
            f"leave-block-out: no frame is left outside a block and its buffer of {buffer}; use a shorter buffer"
        )
    return outside


def _warning(khat: np.ndarray, effective: np.ndarray, least: float) -> str:
    words = []
    if np.max(khat) > HEALTHY_KHAT:
        words.append(
            f"{np.sum(khat > HEALTHY_KHAT)} of {len(khat)} refits have heavy-tailed weights (largest k-hat {np.max(khat):.2f})"
        )
    if np.min(effective) < least:
        words.append(
            f"only {np.min(effective):.0f} effective reference frames at some draw without a block: lengthen the references"
        )
    return "; ".join(words)


@eqx.filter_jit
def _refits(
    posterior: Posterior,
    full: RelativeEntropy,
    means: Float[Array, "block feature"],
    n_frames: Float[Array, " block"],
    z: Float[Array, " coordinate"],
    covariance: Float[Array, "coordinate coordinate"],
    draws: Float[Array, "draw coordinate"],
    least: Float[Array, ""],
    *,
    batch: int,
) -> _Refit:
    """All refits, some side by side."""
    surrogate = full.surrogate
    before = jax.lax.map(lambda point: posterior.log_density(point, full), draws, batch_size=32)
    root = jnp.linalg.cholesky(covariance)
    white = jax.scipy.linalg.solve_triangular(root, (draws - z).T, lower=True).T

    def one(mean: Array, n: Array) -> _Refit:
        likelihood = RelativeEntropy(mean, n, surrogate)
        at, curvature, decrement = _newton(posterior, likelihood, z, least)
        # In coordinates where the full posterior's covariance is the identity, so that no order of parameters matters.
        values, vectors = jnp.linalg.eigh(root.T @ curvature @ root)
        values = jnp.maximum(jnp.abs(values), 1e-12 * jnp.max(jnp.abs(values)))
        moved = at + (white @ ((vectors / jnp.sqrt(values)) @ vectors.T)) @ root.T

        def look(point: Array) -> tuple[Array, Array, Array, Array]:
            eta = posterior.prior.potential(point).coefficients()
            log_z, n_eff = surrogate.log_z_and_effective_frames(eta)
            density = posterior.prior.log_density(point) - n * (surrogate.beta * eta @ mean + log_z)
            return density, eta, log_z, n_eff

        after, eta, log_z, n_eff = jax.lax.map(look, moved, batch_size=32)
        return _Refit(at, decrement, after - before, eta, log_z, n_eff)

    return jax.lax.map(lambda pair: one(*pair), (means, n_frames), batch_size=batch)


def _newton(
    posterior: Posterior,
    likelihood: RelativeEntropy,
    start: Float[Array, " coordinate"],
    least: Float[Array, ""],
) -> tuple[Array, Array, Array]:
    """Damped Newton ascent within the surrogate's reach: the maximum, minus the Hessian there, the last decrement."""

    def derivatives(z: Array) -> tuple[Array, Array, Array]:
        value, gradient = jax.value_and_grad(posterior.log_density)(z, likelihood)
        curvature = -jax.hessian(posterior.log_density)(z, likelihood)
        return value, gradient, (curvature + curvature.T) / 2.0

    def step(state):
        z, value, gradient, curvature, damping, _, count = state
        values, vectors = jnp.linalg.eigh(curvature)
        scale = jnp.maximum(jnp.abs(values), 1e-12 * jnp.max(jnp.abs(values)))
        projected = vectors.T @ gradient
        decrement = projected @ (projected / scale)
        new = z + vectors @ (projected / (scale * (1.0 + damping)))
        likely, n_eff = likelihood.log_likelihood_and_effective_frames(posterior.prior.potential(new))
        new_value = posterior.prior.log_density(new) + likely
        better = (new_value > value) & (n_eff >= least)
        stay = (value, gradient, curvature)
        value, gradient, curvature = jax.lax.cond(better, lambda: derivatives(new), lambda: stay)
        damping = jnp.where(better, damping / 8.0, jnp.maximum(4.0 * damping, 1e-2))
        return jnp.where(better, new, z), value, gradient, curvature, damping, decrement, count + 1

    def unfinished(state) -> Array:
        damping, decrement, count = state[-3:]
        return (decrement >= DECREMENT) & (count < NEWTON_STEPS) & (damping < 1e8)

    infinite = jnp.asarray(jnp.inf)
    begin = (start, *derivatives(start), jnp.asarray(1e-6), infinite, jnp.asarray(0))
    z, _, _, curvature, _, decrement, _ = jax.lax.while_loop(unfinished, step, begin)
    return z, curvature, decrement
