"""What a change of the potential does to an observable: exact reweighting, its linear form, and the spread it gives."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from bayescg.errors import InputError
from bayescg.physics import Surrogate


class ObservableBias(NamedTuple):
    """Change of an average by the change of the potential from a map, ⟨g⟩_θ − ⟨g⟩_map, for each θ.

    Attributes:
        at_map: ⟨g⟩ there [unit of g].
        exact: by reweighting with the exponential [draw] [unit of g].
        first_order: −β Cov_map(g, U_θ − U_map) [draw] [unit of g].
        effective_frames: effective number of reference frames at each θ [draw].
        sensitivity: c = −β Cov_map(g, φ), slope of the average by η [feature].
        third_cumulant: κ₃(g, φ, φ) at the map, which bends it [feature feature].
        beta: 1/kT [1/energy].

    Example:
        >>> none = np.zeros((1, 1))
        >>> ObservableBias(0.5, np.array([0.1]), np.array([0.12]), np.ones(1), np.ones(1), none, 1.0).correlation()
        nan
    """

    at_map: float
    exact: Float[np.ndarray, " draw"]
    first_order: Float[np.ndarray, " draw"]
    effective_frames: Float[np.ndarray, " draw"]
    sensitivity: Float[np.ndarray, " feature"]
    third_cumulant: Float[np.ndarray, "feature feature"]
    beta: float

    def correlation(self) -> float:
        """Between the exact change and its first order, over draws; NaN where either does not vary."""
        if len(self.exact) < 2 or not (np.std(self.exact) > 0.0 and np.std(self.first_order) > 0.0):
            return float("nan")
        return float(np.corrcoef(self.exact, self.first_order)[0, 1])

    def delta_method_sd(self, covariance: Float[np.ndarray, "feature feature"]) -> float:
        """√(cᵀ V c), the spread of the average that a covariance of η gives to first order [unit of g].

        Args:
            covariance: of η: of the calibrated posterior for honest bars, of the raw one for comparison with its draws.
        """
        return float(np.sqrt(max(self.sensitivity @ covariance @ self.sensitivity, 0.0)))

    def mean_shift(
        self, mean: Float[np.ndarray, " feature"], covariance: Float[np.ndarray, "feature feature"]
    ) -> float:
        """Posterior mean of the average minus its value at the map, to second order: c·δ + β²/2 tr(Σ κ₃) [unit of g].

        Args:
            mean: δ, posterior mean of η minus η at the map; not 0 where the posterior is skewed.
            covariance: Σ, of η.
        """
        return float(self.sensitivity @ mean + 0.5 * self.beta**2 * np.sum(covariance * self.third_cumulant))


def observable_bias(
    values: Float[np.ndarray, " frame"],
    surrogate: Surrogate,
    *,
    at: Float[np.ndarray, " feature"],
    coefficients: Float[np.ndarray, "draw feature"],
) -> ObservableBias:
    """How an average changes from one potential to others, from the pooled reference frames.

    With ΔU = U_θ − U_map and ΔF its free-energy difference, exactly

        ⟨g⟩_θ − ⟨g⟩_map = Cov_map(g, exp[−β(ΔU − ΔF)]),

    whose first order is −β Cov_map(g, ΔU): what matters of an error of the potential is how it goes with g.

    Args:
        values: g of every pooled reference frame, in the order of the bank (padding left out).
        surrogate: of the bank.
        at: η of the map.
        coefficients: η of each θ.

    Raises:
        InputError: another number of values than frames.

    References:
        Zwanzig (1954), doi:10.1063/1.1740409; Ceriotti, Brain, Riordan & Manolopoulos (2012),
        doi:10.1098/rspa.2011.0413, the first order.

    Example:
        >>> import jax.numpy as jnp
        >>> x, weight = np.polynomial.hermite_e.hermegauss(60)  # U = x²/2, exactly, in place of simulations
        >>> phi, log_base = x[:, None] ** 2 / 2, np.log(weight) + x**2 / 2
        >>> z = Surrogate(jnp.ones(()), jnp.zeros(1), jnp.asarray(phi), jnp.asarray(log_base))
        >>> stiffer = observable_bias(x**2, z, at=np.ones(1), coefficients=np.array([[1.1]]))
        >>> [round(float(change[0]), 4) for change in (stiffer.exact, stiffer.first_order)]  # 1/1.1 − 1 and −0.1
        [-0.0909, -0.1]
    """
    log_base = np.asarray(surrogate.log_base_weight)
    real = np.isfinite(log_base)
    values = np.asarray(values, float)
    if values.shape != (int(real.sum()),):
        raise InputError(
            f"observable: values of shape {values.shape} for {int(real.sum())} reference frames; give one number per"
            " pooled frame, in the order of the bank"
        )
    coefficients = np.asarray(coefficients, float)
    beta, features = float(surrogate.beta), np.asarray(surrogate.centred_features)[real]
    log_base = log_base[real]
    weights = _weights(log_base, beta * features, np.asarray(at)[None])[0]
    mean = float(weights @ values)
    phi = features - weights @ features
    weighted = weights * (values - mean)
    sensitivity = -beta * weighted @ phi
    exact, effective = np.zeros((2, len(coefficients)))
    for first in range(0, len(coefficients), 64):  # as many as fit into memory
        some = slice(first, first + 64)
        new = _weights(log_base, beta * features, coefficients[some])
        exact[some], effective[some] = new @ values - mean, 1.0 / np.sum(new**2, axis=1)
    return ObservableBias(
        mean, exact, (coefficients - at) @ sensitivity, effective, sensitivity, (phi * weighted[:, None]).T @ phi, beta
    )  # fmt: skip


def _weights(
    log_base: Float[np.ndarray, " frame"],
    scaled: Float[np.ndarray, "frame feature"],
    coefficients: Float[np.ndarray, "draw feature"],
) -> Float[np.ndarray, "draw frame"]:
    """Normalised weights of the frames at each η."""
    log_w = log_base - coefficients @ scaled.T
    return np.exp(log_w - logsumexp(log_w, axis=1, keepdims=True))
