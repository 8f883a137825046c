"""Optimal superposition of two structures, and the fluctuations of the sites once it has removed rigid motion."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._chain_size import relative_weights


class Superposition(NamedTuple):
    """A structure laid on another one.

    Attributes:
        positions: of the moved structure, about the target's centre [length].
        rotation: proper rotation, positions = (x − centre) @ rotation.T + the target's centre [dimensionless].
        rmsd: root of the mean squared distance that is left [length].

    Example:
        >>> square = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        >>> superpose(square + 5.0, square).positions.round(5).tolist()[0]
        [1.0, 0.0]
    """

    positions: Float[Array, "*batch site dim"]
    rotation: Float[Array, "*batch dim dim"]
    rmsd: Float[Array, "*batch"]


def superpose(
    positions: Float[Array, "*batch site dim"],
    target: Float[Array, "site dim"],
    *,
    masses: Float[np.ndarray, " site"] | None = None,
) -> Superposition:
    """The rigid motion of a structure, no reflection, that brings it nearest to a target.

    Minimises Σ_i m_i |R (x_i − x̄) − (y_i − ȳ)|². Differentiable in both structures, symmetric ones included; not where
    the best rotation is not unique (sites on a line in three dimensions).

    Args:
        positions: of whole molecules (`whole_chains`) [length].
        target: of the same sites [length].
        masses: of the sites in any unit; all alike if None.

    Raises:
        InputError: structures of different shapes, masses that do not fit.

    References:
        Kabsch (1976), doi:10.1107/S0567739476001873; Kabsch (1978), doi:10.1107/S0567739478001680.

    Example:
        >>> bent = jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
        >>> turned = bent @ jnp.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) + 3.0
        >>> bool(superpose(turned, bent).rmsd < 1e-5)
        True
    """
    x, y = jnp.asarray(positions), jnp.asarray(target)
    if x.ndim < 2 or y.shape != x.shape[-2:]:
        raise InputError(
            f"superposition: positions of the shape {x.shape} on a target of the shape {y.shape}; expected"
            " [..., site, dim] on [site, dim] of the same sites"
        )
    weights = jnp.asarray(relative_weights("superposition", x.shape[-2], masses), x.dtype)
    return _superpose(x, y, weights)


def rmsf(
    positions: Float[Array, "*batch frame site dim"],
    *,
    masses: Float[np.ndarray, " site"] | None = None,
    n_iterations: int = 10,
) -> Float[Array, "*batch site"]:
    """Root-mean-square fluctuation of each site about its mean, rigid motion removed [length].

    RMSF_i = ⟨|x_i − ⟨x_i⟩|²⟩^½ after the superposition of all frames on their mean structure, which is found by repeated
    superposition, first on the first frame. Superposition removes 6 directions of motion: of isotropic noise σ
    on N sites there remain Σ_i RMSF_i² ≈ (3N − 6) σ².

    Args:
        positions: of one whole molecule (`whole_chains`) along the frames [length]; replicas or draws lead.
        masses: of the sites in any unit, for the superposition; all alike if None.
        n_iterations: of superposition on the mean; each narrows the error by about (RMSF/size)².

    Raises:
        InputError: no frames' axis, masses that do not fit, no iteration.

    References:
        Kabsch (1976), doi:10.1107/S0567739476001873; Theobald & Wuttke (2006), doi:10.1073/pnas.0508445103, for the
        mean structure by repeated superposition.

    Example:
        >>> up, down = [[0.0, 0.1], [3.0, 0.0], [-3.0, 0.0]], [[0.0, -0.1], [3.0, 0.0], [-3.0, 0.0]]
        >>> rmsf(jnp.array([up, down])).round(3).tolist()  # 0.1 less the motion of the centre, a third of it
        [0.067, 0.033, 0.033]
    """
    x = jnp.asarray(positions)
    if x.ndim < 3:
        raise InputError(f"RMSF: positions have the shape {x.shape}; expected [..., frame, site, dim]")
    if n_iterations < 1:
        raise InputError(f"RMSF: {n_iterations} iterations; expected at least 1")
    weights = jnp.asarray(relative_weights("RMSF", x.shape[-2], masses), x.dtype)
    return _fluctuations(x, weights, n_iterations)


@jax.jit
def _superpose(
    x: Float[Array, "*batch site dim"], y: Float[Array, "site dim"], weights: Float[Array, " site"]
) -> Superposition:
    centre = jnp.einsum("i,...ix->...x", weights, x)[..., None, :]
    target_centre = weights @ y
    a, b = x - centre, y - target_centre
    rotation = nearest_rotation(jnp.einsum("i,iy,...ix->...yx", weights, b, a))
    moved = jnp.einsum("...yx,...ix->...iy", rotation, a)
    # The best rotation minimises this distance: its change counts nothing to first order.
    fixed = jnp.einsum("...yx,...ix->...iy", jax.lax.stop_gradient(rotation), a)
    squares = jnp.einsum("i,...iy->...", weights, (fixed - b) ** 2)
    distance = jnp.where(squares > 0.0, jnp.sqrt(jnp.where(squares > 0.0, squares, 1.0)), 0.0)
    return Superposition(moved + target_centre, rotation, distance)


@partial(jax.jit, static_argnums=2)
def _fluctuations(
    x: Float[Array, "*batch frame site dim"], weights: Float[Array, " site"], n_iterations: int
) -> Float[Array, "*batch site"]:
    def of_one(frames: Array) -> Array:
        def again(reference: Array, _: None) -> tuple[Array, None]:
            return jnp.mean(_superpose(frames, reference, weights).positions, axis=0), None

        reference, _ = jax.lax.scan(jax.checkpoint(again), frames[0], length=n_iterations)
        moved = _superpose(frames, reference, weights).positions
        return jnp.sqrt(jnp.mean(jnp.sum((moved - jnp.mean(moved, axis=0)) ** 2, axis=-1), axis=0))

    results = jax.lax.map(of_one, x.reshape(-1, *x.shape[-3:]))
    return results.reshape(*x.shape[:-3], x.shape[-2])


@jax.custom_jvp
def nearest_rotation(matrix: Float[Array, "*batch dim dim"]) -> Float[Array, "*batch dim dim"]:
    """The proper rotation R that maximises tr(Rᵀ M) [dimensionless].

    M = R P with P symmetric. The derivative R A follows from A P + P A = Rᵀ dM − dMᵀ R in the axes of P, which divides
    by sums of P's eigenvalues: finite also where two of them are equal, where that of a singular value decomposition
    is not.
    """
    return _polar(matrix)[0]


@nearest_rotation.defjvp
def _nearest_rotation_derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (matrix,), (change,) = primals, tangents
    rotation, axes, stretch = _polar(matrix)
    turned = jnp.einsum("...ji,...jk->...ik", rotation, change)
    antisymmetric = turned - jnp.swapaxes(turned, -1, -2)
    in_axes = jnp.einsum("...ji,...jk,...kl->...il", axes, antisymmetric, axes)
    diagonal = jnp.eye(matrix.shape[-1], dtype=bool)  # zero above; two zero eigenvalues must not divide it
    sums = jnp.where(diagonal, 1.0, stretch[..., :, None] + stretch[..., None, :])
    generator = jnp.einsum("...ij,...jk,...lk->...il", axes, in_axes / sums, axes)
    return rotation, rotation @ generator


def _polar(matrix: Float[Array, "*batch dim dim"]) -> tuple[Array, Array, Array]:
    """Rotation, the axes of P as columns, and its eigenvalues, the smallest negative where M is a reflection."""
    left, values, right = jnp.linalg.svd(matrix)
    sign = jnp.where(jnp.linalg.det(left) * jnp.linalg.det(right) < 0.0, -1.0, 1.0)
    flip = jnp.ones_like(values).at[..., -1].set(sign)
    rotation = jnp.einsum("...ij,...j,...jk->...ik", left, flip, right)
    return rotation, jnp.swapaxes(right, -1, -2), values * flip
