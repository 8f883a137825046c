"""Mixtures of multivariate t distributions fitted to weighted draws: proposals for importance sampling."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln, logsumexp

DEGREES_OF_FREEDOM = 5.0
FIRST_STEPS = 10
"""Steps of expectation and maximisation from a random start."""
LEAST_DRAWS = 3.0
"""Effective draws per coordinate below which a component is dropped, and weights are flattened before they are fitted."""
N_POWERS = 21
"""Powers of the weights that are tried where few draws hold nearly all."""
RIDGE = 1e-4
"""Share of the draws' covariance that every component's scale has at least."""


class TMixture(NamedTuple):
    """Σ_k α_k t_ν(x; μ_k, Σ_k) with ν = 5.

    Attributes:
        share: α, sums to one [component].
        mean: μ [component coordinate].
        root: Cholesky factors of the scales Σ [component coordinate coordinate].

    References:
        Cappé et al. (2008), doi:10.1007/s11222-008-9059-x, sec. 4: mixtures of t adapted to importance weights; Peel and
        McLachlan (2000), doi:10.1023/A:1008981510081: expectation and maximisation for them.
    """

    share: np.ndarray
    mean: np.ndarray
    root: np.ndarray

    def log_components(self, points: Float[np.ndarray, "draw coordinate"]) -> tuple[np.ndarray, np.ndarray]:
        """log α_k t(x) and squared distances in units of the scales, both [draw component]."""
        size = points.shape[1]
        squares = np.stack(
            [
                np.sum(np.linalg.solve(root, (points - mean).T) ** 2, axis=0)
                for mean, root in zip(self.mean, self.root, strict=True)
            ],
            axis=1,
        )
        half = (DEGREES_OF_FREEDOM + size) / 2.0
        constant = (
            gammaln(half)
            - gammaln(DEGREES_OF_FREEDOM / 2.0)
            - size / 2.0 * np.log(DEGREES_OF_FREEDOM * np.pi)
        )
        volume = np.sum(np.log(np.diagonal(self.root, axis1=1, axis2=2)), axis=1)
        log_t = constant - volume - half * np.log1p(squares / DEGREES_OF_FREEDOM)
        return np.log(self.share) + log_t, squares

    def log_density(self, points: Float[np.ndarray, "draw coordinate"]) -> Float[np.ndarray, " draw"]:
        """Log density, normalised."""
        return logsumexp(self.log_components(points)[0], axis=1)

    def sample(self, n: int, rng: np.random.Generator) -> Float[np.ndarray, "draw coordinate"]:
        """Independent draws."""
        component = rng.choice(len(self.share), size=n, p=self.share)
        normal = rng.normal(size=(n, self.mean.shape[1]))
        stretch = np.sqrt(DEGREES_OF_FREEDOM / rng.chisquare(DEGREES_OF_FREEDOM, size=n))
        return self.mean[component] + stretch[:, None] * np.einsum("nij,nj->ni", self.root[component], normal)

    def updated(
        self, draws: Float[np.ndarray, "draw coordinate"], weights: Float[np.ndarray, " draw"]
    ) -> "TMixture":
        """One step of expectation and maximisation towards weighted draws; components that few of them hold are dropped."""
        size = draws.shape[1]
        log_parts, squares = self.log_components(draws)
        owned = np.exp(log_parts - logsumexp(log_parts, axis=1, keepdims=True)) * weights[:, None]
        share = owned.sum(axis=0)
        kept = np.minimum(share * len(draws), _effective(owned)) > LEAST_DRAWS * size
        if not kept.any():
            return self
        pulled = owned * (DEGREES_OF_FREEDOM + size) / (DEGREES_OF_FREEDOM + squares)
        means, roots = [], []
        floor = RIDGE * _covariance(draws, weights)
        for k in np.flatnonzero(kept):
            mean = pulled[:, k] @ draws / pulled[:, k].sum()
            centred = draws - mean
            scale = (pulled[:, k, None] * centred).T @ centred / share[k]
            means.append(mean)
            roots.append(np.linalg.cholesky(scale + floor))
        return TMixture(share[kept] / share[kept].sum(), np.stack(means), np.stack(roots))


def flattened(weights: Float[np.ndarray, " draw"], *, size: int) -> Float[np.ndarray, " draw"]:
    """The largest power of weights, normalised, whose effective number of draws is enough to fit a mixture to.

    Args:
        weights: normalised.
        size: number of coordinates.

    References:
        Koblents and Míguez (2015), doi:10.1007/s11222-013-9440-2: flattened weights while a proposal is far away.
    """
    log_weights = np.log(np.maximum(weights, np.finfo(float).tiny))
    for power in np.linspace(1.0, 0.0, N_POWERS):
        flat = np.exp(power * log_weights - logsumexp(power * log_weights))
        if _effective(flat) > LEAST_DRAWS * size:
            break
    return flat


def _effective(weights: Float[np.ndarray, "draw ..."]) -> np.ndarray:
    """Effective number (Σ w)² / Σ w² of draws."""
    return weights.sum(axis=0) ** 2 / np.maximum(np.sum(weights**2, axis=0), np.finfo(float).tiny)


def fit_t_mixture(
    draws: Float[np.ndarray, "draw coordinate"],
    weights: Float[np.ndarray, " draw"],
    *,
    n_components: int,
    rng: np.random.Generator,
) -> TMixture:
    """A mixture near weighted draws.

    Args:
        draws: what it is fitted to.
        weights: theirs, normalised.
        n_components: at most so many.
        rng: random numbers.
    """
    size = draws.shape[1]
    mean = draws[rng.choice(len(draws), size=n_components, p=weights)]
    covariance = _covariance(draws, weights) * float(n_components) ** (-2.0 / size)
    root = np.repeat(np.linalg.cholesky(covariance)[None], n_components, axis=0)
    mixture = TMixture(np.full(n_components, 1.0 / n_components), mean, root)
    for _ in range(FIRST_STEPS):
        mixture = mixture.updated(draws, weights)
    return mixture


def _covariance(draws: np.ndarray, weights: np.ndarray) -> np.ndarray:
    centred = draws - weights @ draws
    return (weights[:, None] * centred).T @ centred
