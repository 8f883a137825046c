"""How much of an observable the fit itself follows: what is fitted agrees by construction, and proves nothing."""

import numpy as np
from jaxtyping import Float

from bayescg.physics import ReferenceBank


def fitted_share(
    bank: ReferenceBank,
    coefficients: Float[np.ndarray, " feature"],
    values: Float[np.ndarray, "frame observable"],
    *,
    scores: Float[np.ndarray, "frame coordinate"],
    covariance: Float[np.ndarray, "coordinate coordinate"],
    n_frames: int,
) -> Float[np.ndarray, " observable"]:
    """The share of an average's fluctuation between data sets that refitting takes up.

    Data whose mean score is off by δ move the parameters by (N H + Λ)⁻¹ N δ, and with them the predicted mean of an
    observable o: by C (N H + Λ)⁻¹ N δ, with C = Cov(o, s) and H = Cov(s). What is left of the fluctuation of ⟨o⟩ after
    the fit has followed it has the variance (1 − share) Var(o)/N,

        share = (2 C A Cᵀ − C A H A Cᵀ) / Var(o),   A = N (N H + Λ)⁻¹,

    which without a prior is R², the squared multiple correlation of o with the scores.

    Args:
        bank: reference simulations.
        coefficients: η at the best parameters.
        values: observables in every pooled frame.
        scores: −β ∂U/∂z of every pooled frame at the best parameters.
        covariance: (N H + Λ)⁻¹, of Laplace's approximation.
        n_frames: N.

    Returns:
        0 for an observable that no parameter touches, 1 for one that the fit matches; 1 too for one that is constant.

    References:
        Robins, van der Vaart & Ventura (2000), doi:10.1080/01621459.2000.10474310, on why p-values of what was fitted
        are not uniform.

    Example:
        >>> from bayescg.physics import Reference
        >>> x = np.random.default_rng(0).normal(size=(16, 500))
        >>> phi = x[..., None] ** 2 / 2
        >>> bank = ReferenceBank(1.0, (Reference(np.ones(1), phi, phi, phi[..., :0], np.zeros((0, 1, 1))),))
        >>> values = np.stack([x.ravel() ** 2, x.ravel()], axis=1)  # H = Var(x²)/4 = 1/2
        >>> score, c = -phi.reshape(-1, 1), np.array([[2.0 / 200]])
        >>> fitted_share(bank, np.ones(1), values, scores=score, covariance=c, n_frames=200).round(2).tolist()
        [1.0, 0.0]
    """
    weights = bank.weights(coefficients)
    apart = values - weights @ values
    score = scores - weights @ scores
    weighted = weights[:, None] * score
    variance = weights @ apart**2
    cross = apart.T @ weighted
    gain = n_frames * covariance
    moved = cross @ gain
    explained = 2.0 * np.sum(moved * cross, axis=1) - np.sum((moved @ (score.T @ weighted)) * moved, axis=1)
    constant = variance <= 1e-24 * np.maximum(weights @ values**2, 1e-300)
    return np.where(constant, 1.0, np.clip(explained / np.where(constant, 1.0, variance), 0.0, 1.0))
