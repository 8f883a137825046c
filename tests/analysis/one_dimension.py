"""One-dimensional models whose log Z is a sum over nodes: quadrature in the form of the package's surrogate."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from bayescg.physics import SufficientStatistics, Surrogate

Features = Callable[[np.ndarray], np.ndarray]


class Line:
    """Features on nodes of an interval; Z relative to the uniform density.

    Args:
        features: x [node] → φ [node feature].
        low, high: the interval.
        n: number of nodes, the middles of equal pieces.
    """

    def __init__(self, features: Features, low: float, high: float, *, n: int = 2000):
        self.x = low + (np.arange(n) + 0.5) * (high - low) / n
        self.of, self.features = features, features(self.x)

    def surrogate(self) -> Surrogate:
        n, p = self.features.shape
        base = jnp.full(n, -np.log(n))
        return Surrogate(jnp.ones(()), jnp.zeros(p), jnp.asarray(self.features), base)

    def probability(self, eta: np.ndarray) -> np.ndarray:
        log_p = -self.features @ eta
        p = np.exp(log_p - log_p.max())
        return p / p.sum()

    def draw(self, eta: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Positions at cumulated probabilities u."""
        return np.interp(u, np.cumsum(self.probability(eta)), self.x)

    def statistics(self, x: np.ndarray) -> SufficientStatistics:
        rows = self.of(x)
        return SufficientStatistics(rows, rows, rows[:, :0], np.zeros(len(x), int))


def legendre(degree: int) -> Features:
    return lambda x: np.polynomial.legendre.legvander(x, degree)[:, 1:]


def fourier(orders: int) -> Features:
    """−cos kϑ, so that coefficients are the κ of exp(Σ κ_k cos kϑ)."""
    return lambda angle: -np.cos(np.arange(1, orders + 1) * np.asarray(angle)[:, None])
