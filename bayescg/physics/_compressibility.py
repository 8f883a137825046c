"""The isothermal bulk modulus and compressibility at constant volume, from virials and pair counts (Rowlinson's formula)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._pair import PairPotential
from bayescg.physics._potential import Potential, terms_of

CELLS = 64
"""Cells of each distance bin, over which the pair function is averaged."""
SHORTEST = 0.02
"""Of the cutoff; no pair comes as near, and formulas overflow below."""
NEAR = 1e-6
"""Of the cutoff; an edge as near to it lies on it, whichever way it was rounded, and in single precision too."""


def pair_terms_within(
    potential: Potential, edges: Float[np.ndarray, " edge"]
) -> tuple[list[PairPotential], float]:
    """The terms and the longest cutoff of a potential whose hypervirial pair counts in these bins give.

    Raises:
        InputError: a term that is no pair potential, or bins that end below the cutoff.

    Example:
        >>> from bayescg.physics import LennardJones
        >>> pair_terms_within(LennardJones(1.0, 1.0, cutoff=2.5), np.linspace(0.0, 2.5, 6))[1]
        2.5
    """
    terms = [term for term in terms_of(potential) if isinstance(term, PairPotential)]
    if len(terms) != len(terms_of(potential)):
        raise InputError(
            "hypervirial: pair potentials alone have one that pair counts give; found another term"
        )
    reach = max(term.cutoff for term in terms)
    if edges[-1] < reach * (1.0 - NEAR):
        raise InputError(
            f"hypervirial: distance bins end at {edges[-1]:g}, below the cutoff {reach:g}; count pairs up to it"
        )
    return terms, reach


def hypervirial_per_bin(
    potential: Potential,
    edges: Float[np.ndarray, " edge"],
    *,
    kT: float | Array,  # noqa: N803
) -> Float[Array, " bin"]:
    """What a pair in a distance bin adds to the hypervirial X = Σ_pairs x(r), x = r w′(r), w = r u′(r), on average [energy].

    Within a bin pairs are distributed as r² y(r) exp(−u/kT) with a cavity function y that hardly varies, so that

        x_b = ∫_b r exp(−u/kT) r² dw / ∫_b r² exp(−u/kT) dr.

    It is an integral over dw: a force that jumps, at the cutoff of a shifted potential or between the nodes of a table,
    adds what the derivative of the pressure has of it, as the usual formula with x(r) alone does not.

    Args:
        potential: a pair potential, or a sum of them.
        edges: of the distance bins; they must reach the cutoff [length].
        kT: of the ensemble that the pair counts are averaged in [energy].

    Raises:
        InputError: a term that is no pair potential, or bins that end below the cutoff.

    Example:
        >>> from bayescg.physics import LennardJones
        >>> pair = LennardJones(1.0, 1.0, cutoff=2.5)
        >>> x = hypervirial_per_bin(pair, np.array([0.0, 1.119, 1.121, 2.5, 3.0]), kT=1.0)
        >>> round(float(x[1]), 1), round(4 * (144 / 1.12**12 - 36 / 1.12**6), 1)
        (74.9, 74.9)

    References:
        Allen & Tildesley (2017), doi:10.1093/oso/9780198803195.001.0001, section 2.5 (the hypervirial; the jump at the
        cutoff is derived here).
    """
    terms, reach = pair_terms_within(potential, edges)
    n_inside = int(np.searchsorted(edges[:-1], reach * (1.0 - NEAR)))
    fine = np.linspace(edges[:n_inside], edges[1 : n_inside + 1], CELLS + 1, axis=1)
    grid = np.maximum(fine, SHORTEST * reach)
    middle = 0.5 * (grid[:, 1:] + grid[:, :-1])
    virial = -(grid**2) * sum(_force_factor(term, grid) for term in terms)
    energy = jnp.asarray(sum(term.pair_energy(jnp.asarray(middle**2)) for term in terms))
    density = middle**2 * jnp.exp(-(energy - energy.min(axis=1, keepdims=True)) / kT)
    width = np.diff(fine, axis=1)
    inside = jnp.sum(middle * density * jnp.diff(virial, axis=1), axis=1) / jnp.sum(density * width, axis=1)
    return jnp.concatenate([inside, jnp.zeros(len(edges) - 1 - n_inside)])


def _force_factor(term: PairPotential, distances: Float[np.ndarray, "bin node"]) -> Float[Array, "bin node"]:
    """f/r, none at the cutoff: a jump there belongs to the bin that ends there, wherever rounding puts the edge."""
    factor = term.pair_force_factor(jnp.asarray(distances**2))
    return jnp.where(distances >= term.cutoff * (1.0 - NEAR), 0.0, factor)


def bulk_modulus_terms(
    virial: Float[np.ndarray, "*frame"],
    hypervirial: Float[np.ndarray, "*frame"],
    mean_virial: Float[np.ndarray, "..."] | float,
    *,
    n_sites: int,
    volume: float,
    kT: float,  # noqa: N803
) -> np.ndarray:
    """A number per frame whose average is the isothermal bulk modulus K = −V (∂P/∂V)_T [energy/length³].

    With W = Σ f·r the virial and X the hypervirial of a frame at constant N, V and T

        K V = N kT + ⟨W⟩/3 + ⟨X⟩/9 − Var(W)/(9 kT),

    from the second derivative of log Z with all distances scaled as V^(1/3); the compressibility is 1/K. The average's
    derivative by `mean_virial` is zero there, so the frames' scatter is all that makes its error, to first order.

    Args:
        virial: W of every frame [energy].
        hypervirial: X of every frame: pair counts times `hypervirial_per_bin` [energy].
        mean_virial: ⟨W⟩ [energy].
        n_sites: number of sites.
        volume: [length³].
        kT: [energy].

    References:
        Rowlinson (1969), Liquids and Liquid Mixtures, doi:10.1016/C2013-0-04175-5; Allen & Tildesley (2017),
        doi:10.1093/oso/9780198803195.001.0001, eq. 2.78-2.80.

    Example:
        >>> none = np.zeros(4)  # an ideal gas: K = ρ kT
        >>> bulk_modulus_terms(none, none, 0.0, n_sites=10, volume=5.0, kT=1.5).tolist()
        [3.0, 3.0, 3.0, 3.0]
    """
    scatter = (np.asarray(virial) - mean_virial) ** 2 / kT
    return (n_sites * kT + np.asarray(virial) / 3.0 + np.asarray(hypervirial) / 9.0 - scatter / 9.0) / volume
