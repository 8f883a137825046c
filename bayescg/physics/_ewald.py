"""Ewald's method: how the sum is split, which waves are summed, and the sum over waves by jax-pme."""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.optimize import brentq
from scipy.special import erfc

from bayescg.errors import InputError

MAX_WAVES = 2**18
"""More waves are refused."""

MAX_NUMBERS = 2**20
"""Phases of atoms and waves that are held at once: bounds the memory (8 MiB each)."""

ACCURACIES = (1e-14, 0.1)
"""Accuracies that can be asked for."""


def check_library(name: str) -> None:
    """Raise an InputError unless jax-pme is installed.

    Args:
        name: of the potential, for the message.
    """
    if importlib.util.find_spec("jaxpme") is None:
        raise InputError(
            f"potential '{name}': the sum over waves needs jax-pme, which is not installed: pip install"
            " 'bayescg[electrostatics]'"
        )


@functools.cache
def splitting(accuracy: float) -> float:
    """x = α r_c at which the part of Ewald's sum over neighbours has this share of a Coulomb force left:

        erfc(x) + 2x/√π e^{−x²} = accuracy.

    Example:
        >>> round(splitting(1e-6), 3)
        3.916
    """
    return float(brentq(lambda x: _rest(x) - accuracy, 0.0, 10.0, xtol=1e-12))


def _rest(x: float) -> float:
    return float(erfc(x)) + 2.0 * x / np.pi**0.5 * np.exp(-(x**2))


@functools.cache
def waves(
    lengths: tuple[float, float, float], obliqueness: float, longest: float
) -> Int[np.ndarray, "wave 3"]:
    """Integer waves n, one of n and −n, that contain all of |k| ≤ longest of every cell within the bounds.

    A wave k of a cell with edges a_i has n_i = k·a_i/2π, so that |n_i| ≤ |k||a_i|/2π and Σ (n_i/|a_i|)² ≤
    λ (|k|/2π)², λ the largest eigenvalue of the matrix of cosines between the edges.

    Args:
        lengths: no edge of a cell is longer [length].
        obliqueness: bound on λ.
        longest: of the wave vectors [1/length].

    Raises:
        InputError: more than `MAX_WAVES`.

    Example:
        >>> waves((1.0, 1.0, 1.0), 1.0, 2.0 * np.pi).tolist()
        [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    """
    reach = longest * np.asarray(lengths) / (2.0 * np.pi) * (1.0 + 1e-12)
    if np.prod(2.0 * np.floor(reach) + 1.0) > 8.0 * MAX_WAVES:
        edges = " × ".join(f"{edge:.3g}" for edge in lengths)
        raise InputError(
            f"a cell of {edges} needs more than {MAX_WAVES} waves: choose a longer cutoff or a larger `accuracy`"
        )
    most = np.floor(reach).astype(int)
    n = np.indices(tuple(2 * most + 1)).reshape(3, -1).T - most
    half = (n[:, 0] > 0) | ((n[:, 0] == 0) & ((n[:, 1] > 0) | ((n[:, 1] == 0) & (n[:, 2] > 0))))
    inside = np.sum((n / reach) ** 2, axis=1) <= obliqueness
    return n[half & inside]


@functools.partial(jax.jit, static_argnames=("lengths", "obliqueness", "alpha", "longest"))
def wave_energies(
    charges: Float[Array, "cell atom"],
    positions: Float[Array, "cell atom 3"],
    cells: Float[Array, "cell 3 3"],
    *,
    lengths: tuple[float, float, float],
    obliqueness: float,
    alpha: float,
    longest: float,
) -> Float[Array, " cell"]:
    """Energy of each cell's charges without what erfc(αr)/r between neighbours gives [charge²/length]:

        (2π/V) Σ_{k≠0} e^{−k²/4α²}/k² |Σ_i q_i e^{ik·x_i}|² − α/√π Σ_i q_i² − π/(2α²V) (Σ_i q_i)².

    Args:
        charges: q; 0 for atoms that fill up.
        positions: x [length].
        cells: rows are lattice vectors [length].
        lengths: no edge of a cell is longer [length].
        obliqueness: bound on that of the cells, see `waves`.
        alpha: α [1/length].
        longest: of the wave vectors k [1/length].

    References:
        Frenkel & Smit (2002), Understanding Molecular Simulation, doi:10.1016/B978-0-12-267351-1.X5000-7,
        section 12.1; the last term is that of a uniform background.
    """
    n = waves(lengths, obliqueness, longest)

    @jax.checkpoint
    def energy(one: tuple[Array, Array, Array]) -> Array:
        return _wave_energy(*one, n, alpha)

    at_once = max(1, MAX_NUMBERS // max(1, len(n) * charges.shape[1]))
    if len(cells) <= at_once:
        return jax.vmap(energy)((charges, positions, cells))
    return jax.lax.map(energy, (charges, positions, cells), batch_size=at_once)


def _wave_energy(
    charges: Float[Array, " atom"],
    positions: Float[Array, "atom 3"],
    cell: Float[Array, "3 3"],
    n: Int[np.ndarray, "wave 3"],
    alpha: float,
) -> Float[Array, ""]:
    """Of one cell."""
    from jaxpme.potentials import potential
    from jaxpme.solvers import ewald

    solver = ewald(potential(exponent=1), halfspace=True)
    # by cross products, which compile faster than the inverse of a matrix
    faces = jnp.stack([jnp.cross(cell[(i + 1) % 3], cell[(i + 2) % 3]) for i in range(3)])
    signed_volume = jnp.sum(cell[0] * faces[0])
    reciprocal, volume = 2.0 * jnp.pi * faces / signed_volume, jnp.abs(signed_volume)
    width = 1.0 / (np.sqrt(2.0) * alpha)

    def potentials(vectors: Float[Array, "wave 3"]) -> Float[Array, " atom"]:
        return solver.kspace(width, charges, vectors, positions, volume, cell, None)

    at_once = max(1, MAX_NUMBERS // len(charges))
    if len(n) <= at_once:
        return jnp.sum(charges * potentials(jnp.asarray(n, float) @ reciprocal))
    # A zero wave adds nothing, so that what each call adds for the charges themselves is known and counted once.
    own = potentials(jnp.zeros((1, 3)))
    n_parts = -(-len(n) // at_once)
    padded = np.zeros((n_parts * at_once, 3))
    padded[: len(n)] = n
    part = jax.checkpoint(lambda some: potentials(some @ reciprocal) - own)
    found = jax.lax.map(part, jnp.asarray(padded.reshape(n_parts, at_once, 3)))
    return jnp.sum(charges * (own + jnp.sum(found, axis=0)))
