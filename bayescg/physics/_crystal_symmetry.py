"""Symmetry of a crystal: its rotations, the strains that keep them, and which components are independent."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.physics._crystal import Crystal

TOLERANCE = 1e-6
"""Lengths relative to the cell's that count as equal; strict, because a symmetry that is not there would hide a strain."""

LENGTHS_AND_ANGLES = ("a", "b", "c", "alpha", "beta", "gamma")

_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))  # Voigt's order: xx yy zz yz xz xy


def rotations(crystal: Crystal) -> Float[np.ndarray, "operation 3 3"]:
    """All rotations, improper ones included, that with some translation map the crystal onto itself.

    In a Minkowski-reduced cell each is an integer matrix W with entries −1, 0, 1 that keeps the metric, W G Wᵀ = G.

    Example:
        >>> len(rotations(Crystal.bulk("Si", "diamond", a=5.43))), len(rotations(Crystal.bulk("Mg", "hcp", a=3.2, c=5.2)))
        (48, 24)
    """
    from ase.geometry.minkowski_reduction import minkowski_reduce

    cell, change = minkowski_reduce(crystal.cell)
    fractions = crystal.fractions @ np.linalg.inv(change)
    metric = cell @ cell.T
    rows = np.array(list(np.ndindex(3, 3, 3))) - 1
    lengths = np.einsum("ki,ij,kj->k", rows, metric, rows)
    scale = np.max(np.diag(metric))
    choices = [rows[np.abs(lengths - metric[k, k]) < TOLERANCE * scale] for k in range(3)]
    candidates = np.array([[u, v, w] for u in choices[0] for v in choices[1] for w in choices[2]])
    metrics = np.einsum("kia,ab,kjb->kij", candidates, metric, candidates)
    kept = candidates[np.max(np.abs(metrics - metric), axis=(1, 2)) < TOLERANCE * scale]
    return np.array([np.linalg.inv(cell) @ w @ cell for w in kept if _maps(w, fractions, crystal.symbols)])


def _maps(w: np.ndarray, fractions: np.ndarray, symbols: tuple[str, ...]) -> bool:
    """Whether atoms at f go to atoms of the same species at f W + t for some t."""
    kinds = np.asarray(symbols)
    turned = fractions @ w
    for j in np.flatnonzero(kinds == kinds[0]):
        moved = turned + fractions[j] - turned[0]
        apart = moved[:, None] - fractions[None]
        same = np.max(np.abs(apart - np.round(apart)), axis=2) < TOLERANCE
        if np.all(np.any(same & (kinds[:, None] == kinds[None]), axis=1)):
            return True
    return False


def strain_modes(turns: Float[np.ndarray, "operation 3 3"]) -> Float[np.ndarray, "mode 3 3"]:
    """Orthonormal symmetric strains that all rotations leave unchanged: one for cubic crystals, two for hexagonal ones.

    Example:
        >>> len(strain_modes(rotations(Crystal.bulk("Mg", "hcp", a=3.2, c=5.2))))
        2
    """
    basis = np.zeros((6, 3, 3))
    for k, (i, j) in enumerate(_PAIRS):
        basis[k, i, j] = basis[k, j, i] = 1.0 if i == j else np.sqrt(0.5)
    averaged = np.mean(np.einsum("oia,kij,ojb->okab", turns, basis, turns), axis=0)
    values, vectors = np.linalg.eigh(np.einsum("kab,lab->kl", averaged, basis))
    return np.einsum("km,kab->mab", vectors[:, values > 0.5], basis)


def cell_parameters(edges: Float[Array, "3 3"]) -> Float[Array, " 6"]:
    """Lengths a, b, c [length] and angles α, β, γ [degree] between the rows."""
    lengths = jnp.linalg.norm(edges, axis=1)
    directions = edges / lengths[:, None]
    pairs = ((1, 2), (0, 2), (0, 1))
    cosines = jnp.stack([jnp.dot(directions[i], directions[j]) for i, j in pairs])
    return jnp.concatenate([lengths, jnp.degrees(jnp.arccos(cosines))])


def free_parameters(crystal: Crystal, modes: Float[np.ndarray, "mode 3 3"]) -> tuple[int, ...]:
    """Which of a, b, c, α, β, γ of the conventional cell are free, each only once.

    Example:
        >>> crystal = Crystal.bulk("Mg", "hcp", a=3.2, c=5.2)
        >>> free_parameters(crystal, strain_modes(rotations(crystal)))  # a and c
        (0, 2)
    """

    def parameters(amplitudes: Array) -> Array:
        strain = jnp.einsum("m,mab->ab", amplitudes, jnp.asarray(modes))
        return cell_parameters(jnp.asarray(crystal.conventional) @ (jnp.eye(3) + strain))

    slopes = np.asarray(jax.jacfwd(parameters)(jnp.zeros(len(modes))))
    return independent_rows(
        slopes / np.array([*np.linalg.norm(crystal.conventional, axis=1), 60, 60, 60])[:, None]
    )


def free_elastic_constants(turns: Float[np.ndarray, "operation 3 3"]) -> tuple[tuple[int, int], ...]:
    """Which of the 21 elastic constants are free, each only once, by their places in Voigt's matrix.

    Example:
        >>> free_elastic_constants(rotations(Crystal.bulk("Si", "diamond", a=5.43)))  # C11, C12 and C44
        ((0, 0), (0, 1), (3, 3))
    """
    places = [(i, j) for i in range(6) for j in range(i, 6)]
    invariant = np.zeros((len(places), len(places)))
    for column, (i, j) in enumerate(places):
        tensor = np.zeros((3, 3, 3, 3))
        for p, q in ((i, j), (j, i)):
            for a, b in (_PAIRS[p], _PAIRS[p][::-1]):
                for c, d in (_PAIRS[q], _PAIRS[q][::-1]):
                    tensor[a, b, c, d] = 1.0
        averaged = np.zeros_like(tensor)
        for r in turns:
            averaged += np.einsum("ia,jb,kc,ld,ijkl->abcd", r, r, r, r, tensor, optimize=True) / len(turns)
        invariant[:, column] = [averaged[(*_PAIRS[p], *_PAIRS[q])] for p, q in places]
    return tuple(places[row] for row in independent_rows(invariant))


def independent_rows(matrix: Float[np.ndarray, "row column"]) -> tuple[int, ...]:
    """The first rows of which none is a combination of those before.

    Example:
        >>> independent_rows(np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]]))
        (0, 2)
    """
    chosen: list[int] = []
    for row in range(len(matrix)):
        if np.linalg.matrix_rank(matrix[[*chosen, row]], tol=1e-6) > len(chosen):
            chosen.append(row)
    return tuple(chosen)
