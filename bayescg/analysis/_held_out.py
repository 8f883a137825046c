"""Held-out relative entropy: how well a posterior predicts frames that it did not learn from."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import logsumexp

from bayescg.analysis._scores import score_inefficiency
from bayescg.errors import InputError
from bayescg.inference import Prior
from bayescg.physics import SufficientStatistics, Surrogate


class HeldOut(NamedTuple):
    """Minus the mean log density of held-out frames, per frame [nats]: relative entropy up to the data's own entropy.

    Attributes:
        predictive: −(1/N) Σ_i log mean_s p(x_i | θ_s), of the posterior predictive density.
        at_mode: −(1/N) Σ_i log p(x_i | θ_MAP).
        mean: −(1/N) Σ_i mean_s log p(x_i | θ_s), a draw's own, averaged: higher by what uncertainty costs one draw.
        standard_error: of all three, from the frames' fluctuations with their autocorrelation.
        inefficiency: largest statistical inefficiency of the held-out frames.
        effective_frames: smallest effective number of reference frames at any draw.
        anchor: identity of the state whose log Z is the zero.
    """

    predictive: float
    at_mode: float
    mean: float
    standard_error: float
    inefficiency: float
    effective_frames: float
    anchor: str


def held_out_relative_entropy(
    statistics: SufficientStatistics,
    prior: Prior,
    surrogate: Surrogate,
    *,
    draws: Float[np.ndarray, "draw coordinate"],
    mode: Float[np.ndarray, " coordinate"],
    anchor: str,
) -> HeldOut:
    """Cross entropy of further frames, log Z included: −log p(x | θ) = β U_θ(x) + log Z_θ − log Z_anchor.

    Differences between posteriors of the same anchor are differences of relative entropy; the entropy of the data
    themselves, the same for all, is not known.

    Args:
        statistics: frames that the posterior did not learn from, reduced to the same features.
        prior: maps draws to potentials.
        surrogate: log Z relative to the anchor.
        draws: of the posterior, raw or calibrated.
        mode: the MAP.
        anchor: identity of the surrogate's anchor; see `log_z_anchor`.

    Raises:
        InputError: features of another form.

    References:
        Shell (2008), doi:10.1063/1.2992060, eq. 6.

    Example:
        >>> from bayescg.inference import example_spring
        >>> _, prior, z = example_spring()
        >>> data = np.random.default_rng(0).normal(size=(4000, 1)) ** 2 / 2
        >>> frames = SufficientStatistics(data, data, data[:, :0], np.zeros(4000, int))
        >>> found = held_out_relative_entropy(frames, prior, z, draws=np.zeros((1, 1)), mode=np.zeros(1), anchor="exact")
        >>> spacing = 16 / 399  # of the grid that stands for frames: log Z is that of a sum, not of the integral
        >>> entropy = float(1 + np.log(2 * np.pi)) / 2 - np.log(spacing)  # of a unit normal
        >>> bool(abs(found.at_mode - entropy) < 0.05)
        True
    """
    if statistics.features.shape[1] != surrogate.centre.shape[0]:
        raise InputError(
            f"held-out frames: {statistics.features.shape[1]} features, but the references have"
            f" {surrogate.centre.shape[0]}; reduce the frames with the potential of the fit"
        )
    points = jnp.concatenate([jnp.asarray(mode)[None], jnp.asarray(draws)])
    eta, log_z, n_eff = (np.asarray(a) for a in _evaluate(prior, surrogate, points))
    density = -float(surrogate.beta) * eta @ statistics.features.T - log_z[:, None]
    predictive = logsumexp(density[1:], axis=0) - np.log(len(points) - 1)
    g = score_inefficiency(statistics)
    return HeldOut(
        predictive=-float(predictive.mean()),
        at_mode=-float(density[0].mean()),
        mean=-float(density[1:].mean()),
        standard_error=float(predictive.std(ddof=1) * np.sqrt(g / statistics.n_frames)),
        inefficiency=g,
        effective_frames=float(n_eff.min()),
        anchor=anchor,
    )


@eqx.filter_jit
def _evaluate(
    prior: Prior, surrogate: Surrogate, points: Float[Array, "draw coordinate"]
) -> tuple[Float[Array, "draw feature"], Float[Array, " draw"], Float[Array, " draw"]]:
    def one(z: Array) -> tuple[Array, Array, Array]:
        eta = prior.potential(z).coefficients()
        return eta, *surrogate.log_z_and_effective_frames(eta)

    return jax.lax.map(one, points, batch_size=32)
