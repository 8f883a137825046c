"""How much was learnt: prior-to-posterior contraction, and the information gain in nats."""

from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Float
from scipy.stats import differential_entropy, gaussian_kde

from bayescg.errors import InputError


class Gain(NamedTuple):
    """An information gain and its Monte-Carlo error.

    Attributes:
        nats: KL(posterior ‖ prior).
        error: standard error from the finite number of draws.

    Example:
        >>> Gain(np.log(2.0), 0.0).bits
        1.0
    """

    nats: float
    error: float

    @property
    def bits(self) -> float:
        """The gain in bits."""
        return float(self.nats / np.log(2.0))


def variance_contraction(
    variance: Float[np.ndarray, "*any"], prior_variance: Float[np.ndarray, "*any"]
) -> Float[np.ndarray, "*any"]:
    """Prior-to-posterior contraction 1 − Var(posterior)/Var(prior): 0 where nothing was learnt, 1 where everything.

    Below 0 the posterior is wider than the prior, as a calibrated one may be, or one on another scale of the parameter.

    Args:
        variance: of the posterior, from draws or from a covariance.
        prior_variance: of the prior, in the same coordinate.

    Raises:
        InputError: a prior variance that is not positive and finite.

    Example:
        >>> variance_contraction(np.array([0.01, 1.0]), np.array([1.0, 1.0])).tolist()
        [0.99, 0.0]
    """
    prior_variance = np.asarray(prior_variance, float)
    if not np.all((prior_variance > 0.0) & np.isfinite(prior_variance)):
        raise InputError(
            "contraction: a prior variance is not positive and finite; use unconstrained coordinates, or a proper prior"
            " with a variance"
        )
    return 1.0 - np.asarray(variance, float) / prior_variance


def gaussian_information_gain(
    mean: Float[np.ndarray, " coordinate"],
    covariance: Float[np.ndarray, "coordinate coordinate"],
    *,
    prior_mean: Float[np.ndarray, " coordinate"],
    prior_precision: Float[np.ndarray, "coordinate coordinate"],
) -> float:
    """KL(posterior ‖ prior) [nats] with both taken as normal: of the Laplace or the calibrated covariance.

    ½ [tr(ΛV) − p − ln det(ΛV) + (m − m₀)ᵀ Λ (m − m₀)].

    Args:
        mean: m of the posterior.
        covariance: V of the posterior.
        prior_mean: m₀.
        prior_precision: Λ.

    Raises:
        InputError: covariance or precision not positive definite.

    Example:
        >>> one = np.eye(1)
        >>> gain = gaussian_information_gain(np.ones(1), 0.25 * one, prior_mean=np.zeros(1), prior_precision=one)
        >>> round(gain, 4)  # (0.25 - 1 + ln 4 + 1) / 2
        0.8181

    References:
        Kullback & Leibler (1951), doi:10.1214/aoms/1177729694.
    """
    signs, logs = np.linalg.slogdet(np.stack([covariance, prior_precision]))
    least = min(np.linalg.eigvalsh(covariance)[0], np.linalg.eigvalsh(prior_precision)[0])
    if least <= 0.0 or np.any(signs <= 0.0):
        raise InputError(
            "information gain: the covariance or the prior's precision is not positive definite; it needs a proper prior"
        )
    shift = np.asarray(mean) - np.asarray(prior_mean)
    trace = float(np.sum(prior_precision * np.asarray(covariance).T))
    return 0.5 * (trace - len(shift) - float(logs.sum()) + float(shift @ prior_precision @ shift))


def information_gain(log_likelihood: Float[np.ndarray, "chain draw"], log_evidence: float) -> Gain:
    """KL(posterior ‖ prior) [nats] of all parameters together, E[log p(D | z)] − log p(D), for any shape.

    Args:
        log_likelihood: at draws of the raw posterior; calibrated draws do not follow from prior and likelihood alone.
        log_evidence: log p(D), with the same zero as the log likelihood. Its error adds to that of the gain.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(4, 2000)) / 2  # prior N(0, 1), likelihood exp(-3 x²/2)
        >>> gain = information_gain(-1.5 * x**2, -np.log(2.0))
        >>> bool(abs(gain.nats - 0.5 * (0.25 - 1 + np.log(4))) < 4 * gain.error)
        True
    """
    values = np.asarray(log_likelihood, float)
    error = array_stats.mcse(values, chain_axis=0, draw_axis=1, method="mean")
    return Gain(float(values.mean() - log_evidence), float(error))


def marginal_information_gain(
    draws: Float[np.ndarray, "draw coordinate"], prior_draws: Float[np.ndarray, "prior_draw coordinate"]
) -> Float[np.ndarray, " coordinate"]:
    """KL of each coordinate's posterior against its prior [nats], from draws of both.

    −h(posterior) − E[log p(z_i)], the entropy h from spacings of the ordered draws and the prior's density from a kernel
    estimate. Good to about 0.05 nats with a thousand draws of each. Where the posterior lies beyond nearly all prior draws
    it comes out too large: see the boundary flag.

    Args:
        draws: of the posterior, raw or calibrated, chains joined.
        prior_draws: of the prior.

    Raises:
        InputError: fewer than 50 draws, or a coordinate that does not vary.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> prior, posterior = rng.normal(size=(2000, 1)), 1.0 + 0.5 * rng.normal(size=(2000, 1))
        >>> bool(abs(marginal_information_gain(posterior, prior)[0] - 0.8181) < 0.05)
        True

    References:
        Vasicek (1976), doi:10.1111/j.2517-6161.1976.tb01566.x, eq. 1.3.
    """
    draws, prior_draws = np.asarray(draws, float), np.asarray(prior_draws, float)
    if min(len(draws), len(prior_draws)) < 50:
        raise InputError(
            f"information gain: {len(draws)} draws and {len(prior_draws)} prior draws are too few, give at least 50 of each"
        )
    still = (np.ptp(draws, axis=0) == 0.0) | (np.ptp(prior_draws, axis=0) == 0.0)
    if np.any(still):
        raise InputError(f"information gain: coordinate {int(np.argmax(still))} does not vary; leave it out")
    entropy = differential_entropy(draws, axis=0)
    cross = [-np.mean(gaussian_kde(prior).logpdf(own)) for own, prior in zip(draws.T, prior_draws.T)]
    return np.array(cross) - entropy
