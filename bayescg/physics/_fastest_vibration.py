"""The fastest vibration about configurations, from the very forces that an engine simulates with."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from bayescg.physics._phase_space import AnyEngine

PRODUCTS = 40
"""Products of the Hessian with a vector: enough for the largest eigenvalue within a per cent or two."""
NUDGE = 0.3
"""Largest displacement of a site in one of them, in what a thermal velocity covers in one time step."""


def fastest_frequencies(
    engine: AnyEngine, positions: Float[np.ndarray, "replica site dim"], parameters: PyTree
) -> Float[np.ndarray, " replica"]:
    """Angular frequency of the stiffest vibration about each configuration, ω = √λ_max of M^−½ (∂²U/∂x∂x) M^−½ [1/time].

    Lanczos' method for all configurations side by side, with products of the Hessian from differences of forces: nothing
    that grows faster than the engine's own work, so that systems with cell lists can be looked at too. Displacements are
    a part of what a site moves in one time step, which is the range over which the curvature matters for that step. Jumps of
    the force, at a bare cutoff or between the bins of a table, count as curvature where steps are so short that they don't
    matter.

    Args:
        engine: with its masses, temperature and time step.
        positions: configurations [length].
        parameters: of every configuration, along the leading axis of each leaf.

    Returns:
        0 where no curvature is positive, NaN where forces are not finite.

    References:
        Lanczos (1950), doi:10.6028/jres.045.026.

    Example:
        >>> from bayescg.physics._generic_engine import GenericEngine
        >>> from bayescg.physics._langevin import LangevinSettings
        >>> def spring(k, x, box):
        ...     return 0.5 * k * jnp.sum(x * x)
        >>> settings = LangevinSettings(0.1, 1.0, 1.0, np.ones(1))
        >>> engine = GenericEngine(1, np.array([np.inf]), settings, spring)
        >>> fastest_frequencies(engine, np.full((2, 1, 1), 0.3), jnp.array([4.0, -1.0])).round(3).tolist()
        [2.0, 0.0]
    """
    x = np.asarray(positions, np.float64)
    inverse_mass = np.asarray(engine.settings.inverse_mass, np.float64)
    root = np.sqrt(inverse_mass)[:, None]
    thermal = np.sqrt(float(np.asarray(engine.settings.kT)) * inverse_mass.max())
    step = NUDGE * thermal * float(np.asarray(engine.settings.time_step))

    def forces(where: np.ndarray) -> np.ndarray:
        return np.asarray(engine.forces(jnp.asarray(where, jnp.float32), parameters), np.float64)

    def product(vectors: np.ndarray) -> np.ndarray:
        moved = root * vectors
        scale = step / np.maximum(np.abs(moved).max(axis=(1, 2), keepdims=True), np.finfo(float).tiny)
        return root * (forces(x - scale * moved) - forces(x + scale * moved)) / (2.0 * scale)

    eigenvalues = _largest_eigenvalues(product, x.shape)
    return np.sqrt(np.maximum(eigenvalues, 0.0))  # of NaN, NaN


def _largest_eigenvalues(
    product: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]
) -> Float[np.ndarray, " replica"]:
    """The largest eigenvalue of every replica's symmetric matrix, NaN of one that is not finite."""
    n_products = min(PRODUCTS, int(np.prod(shape[1:])))
    diagonal, beside = np.zeros((2, shape[0], n_products))
    before = np.zeros(shape)
    vector = np.broadcast_to(np.random.default_rng(0).normal(size=shape[1:]), shape)
    vector = vector / _norm(vector)
    for k in range(n_products):
        new = product(vector)
        diagonal[:, k] = np.sum(vector * new, axis=(1, 2))
        new = new - diagonal[:, k, None, None] * vector - beside[:, k - 1, None, None] * before
        length = _norm(new)
        beside[:, k] = length[:, 0, 0]
        # an invariant subspace has been exhausted: zeros from here on, which are no larger eigenvalues
        before, vector = vector, np.divide(new, length, out=np.zeros(shape), where=length > 0.0)
    fine = np.isfinite(diagonal + beside).all(axis=1)
    diagonal[~fine], beside[~fine] = 0.0, 0.0
    matrix = np.zeros((shape[0], n_products, n_products))
    along = np.arange(n_products)
    matrix[:, along, along] = diagonal
    matrix[:, along[1:], along[:-1]] = beside[:, :-1]  # eigvalsh reads this half
    return np.where(fine, np.linalg.eigvalsh(matrix)[:, -1], np.nan)


def _norm(vectors: Float[np.ndarray, "replica site dim"]) -> Float[np.ndarray, "replica 1 1"]:
    return np.sqrt(np.sum(vectors**2, axis=(1, 2), keepdims=True))
