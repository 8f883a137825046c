"""Chemical potential by test-particle insertion."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.errors import InputError
from bayescg.physics._estimate import Estimate, over_pieces, pieces_of
from bayescg.physics._frame_map import checked_frames, known
from bayescg.physics._pair import PairPotential
from bayescg.physics._potential import Potential, terms_of
from bayescg.physics._space import minimum_image
from bayescg.physics._tail_corrections import TailCorrection

_MAX_NUMBERS = 2**22


class Insertion(NamedTuple):
    """An excess chemical potential and how well insertion worked.

    Attributes:
        chemical_potential: μ_ex, with its standard error [energy].
        effective_insertions: (Σw)²/Σw² of the Boltzmann factors w: how many insertions the answer rests on.
        largest_share: of a single insertion in Σw; much above 1 % the average is a few lucky hits.

    Example:
        >>> Insertion(Estimate(-1.0, 0.02, 19.0), 5000.0, 0.001).chemical_potential.value
        -1.0
    """

    chemical_potential: Estimate
    effective_insertions: float
    largest_share: float


def insertion_energies(
    potential: Potential,
    positions: Float[Array, "*batch site dim"],
    box: Float[Array, "*batch dim"],
    *,
    key: Key[Array, ""],
    n_insertions: int,
) -> Float[Array, "*batch insertion"]:
    """Energy of one more site at uniformly random places of every frame [energy]; inf where it overlaps a hard core.

    Args:
        potential: pair terms of one species.
        positions: [length].
        box: edge lengths, one for all frames or one for each [length].
        key: PRNG key.
        n_insertions: places in each frame.

    Raises:
        InputError: a term that is not a pair potential, an open box.

    Example:
        >>> from bayescg.physics import LennardJones
        >>> empty = jnp.zeros((3, 1, 3))  # three frames of one site
        >>> lj = LennardJones(1.0, 1.0, cutoff=2.0)
        >>> energies = insertion_energies(lj, empty, jnp.full(3, 20.0), key=jax.random.key(0), n_insertions=5)
        >>> energies.shape, bool(jnp.all(energies >= -1.0))
        ((3, 5), True)
    """
    x, edges = checked_frames("insertion", positions, box)
    lengths = known(edges)
    if lengths is not None and not np.isfinite(lengths).all():
        raise InputError("insertion: an open box, which has no volume; expected finite edges")
    for term in terms_of(potential):
        if not isinstance(term, PairPotential):
            raise InputError(
                f"insertion: the term {type(term).__name__} is no pair potential of one species; expected pair terms"
            )
    if n_insertions < 1:
        raise InputError(f"insertion: {n_insertions} insertions; expected at least one")
    batch = x.shape[:-2]
    frames = x.reshape(-1, *x.shape[-2:])
    boxes = jnp.broadcast_to(edges, (*batch, x.shape[-1])).reshape(len(frames), -1)
    energies = _energies(potential, frames, boxes, jax.random.split(key, len(frames)), n=n_insertions)
    return energies.reshape(*batch, n_insertions)


@eqx.filter_jit
def _energies(potential: Potential, x: Array, boxes: Array, keys: Array, *, n: int) -> Array:
    def one(frame: tuple[Array, Array, Array]) -> Array:
        positions, box, key = frame
        places = jax.random.uniform(key, (n, box.shape[0]), x.dtype) * box
        r2 = jnp.sum(minimum_image(places[:, None] - positions[None], box) ** 2, axis=-1)
        pairs = sum(
            (term.pair_energy(r2) for term in terms_of(potential) if isinstance(term, PairPotential)),
            jnp.zeros_like(r2),
        )
        return jnp.sum(pairs, axis=-1)

    at_once = max(1, _MAX_NUMBERS // (8 * n * x.shape[-2]))
    return jax.lax.map(one, (x, boxes, keys), batch_size=min(at_once, len(x)))


def widom(
    energies: Float[np.ndarray, "replica frame insertion"],
    *,
    kT: float,
    volumes: Float[np.ndarray, "replica frame"] | None = None,
    tail: TailCorrection | None = None,
    n_sites: int | None = None,
) -> Insertion:
    """Excess chemical potential from insertion energies, by Widom's formula.

    At constant volume μ_ex = −k_B T ln⟨exp(−ΔU/k_B T)⟩. With `volumes` that fluctuate at constant pressure
    μ_ex = −k_B T ln(⟨V exp(−ΔU/k_B T)⟩/⟨V⟩), relative to the ideal gas of density N/⟨V⟩. The standard error is that of
    the logarithm, from pieces of the run.

    Args:
        energies: from `insertion_energies` [energy].
        kT: thermal energy [energy].
        volumes: of every frame, where it fluctuates (or for the tail) [length³].
        tail: what the cutoff leaves out; needs `volumes` and `n_sites`. Use energies of the truncated potential.
        n_sites: N, the inserted one not counted.

    Raises:
        InputError: energies of a wrong shape or all infinite, a tail without volumes.

    References:
        Widom (1963), doi:10.1063/1.1734110; Shing & Chung (1987), doi:10.1021/j100290a048 (constant pressure).

    Example:
        >>> u = np.where(np.random.default_rng(0).random((20, 50, 40)) < 0.25, 0.0, np.inf)  # a quarter is free
        >>> found = widom(u, kT=1.0).chemical_potential
        >>> bool(abs(found.value - np.log(4.0)) < 4 * found.standard_error)
        True
    """
    u = np.asarray(energies, np.float64)
    if u.ndim != 3 or np.isnan(u).any() or not np.isfinite(u).any():
        raise InputError(
            f"insertion: energies of shape {u.shape}; expected [replica frame insertion], not nan, and not all infinite"
            " (where every insertion overlaps, use more insertions or a lower density)"
        )
    if not kT > 0:
        raise InputError(f"insertion: thermal energy {kT:g}; expected a positive one")
    v = np.ones(u.shape[:2]) if volumes is None else np.asarray(volumes, np.float64)
    if v.shape != u.shape[:2]:
        raise InputError(f"insertion: volumes of shape {v.shape}; expected one for each frame, {u.shape[:2]}")
    if tail is not None:
        if volumes is None or n_sites is None:
            raise InputError("insertion: a tail correction needs `volumes` and `n_sites`")
        u = u + np.asarray(tail.chemical_potential(n_sites=n_sites, volume=v))[..., None]
    lowest = u.min()  # factors relative to the best insertion: none overflows
    factors = v[..., None] * np.exp(-(u - lowest) / kT)
    total = factors.sum()
    pieces, volume_pieces = pieces_of(factors.mean(axis=-1)).mean(axis=1), pieces_of(v).mean(axis=1)
    influence = -kT * (pieces / factors.mean() - volume_pieces / v.mean())
    value = lowest - kT * np.log(factors.mean() / v.mean())
    return Insertion(
        over_pieces(influence, value), float(total**2 / np.sum(factors**2)), float(factors.max() / total)
    )
