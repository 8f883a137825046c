"""What a simulation at constant pressure needs of an energy: forces, and the change of the energy when the box changes."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from bayescg.errors import InputError
from bayescg.physics._engine import minimum_image, pair_forces, table_force_factor
from bayescg.physics._langevin import with_precision
from bayescg.physics._mie import Mie
from bayescg.physics._pair import LennardJones, PairPotential
from bayescg.physics._potential import Potential, terms_of
from bayescg.physics._reduce import TABLE_BINS

Rows = Float[Array, "dim site"]
Edges = Float[Array, " dim"]

_COLUMN_MULTIPLE = 16  # as in the engine at constant volume: whole vectors of neighbours


@dataclasses.dataclass(frozen=True)
class PairFormula:
    """A pair interaction whose energy and force are formulas.

    Attributes:
        pair_energy: `(parameters, r2) -> u` [energy], elementwise in the squared distance [length²].
        force_factor: `(parameters, r2) -> f / r` with f = −du/dr [energy/length²]. Both are module-level functions
            and need not vanish beyond the cutoff, but u should be 0 at it: no force sees a jump.
    """

    pair_energy: Callable[[PyTree, Array], Array]
    force_factor: Callable[[PyTree, Array], Array]


@dataclasses.dataclass(frozen=True)
class PairTable:
    """A pair interaction by a table: energies at nodes uniform in r², linear between them.

    Attributes:
        pair_energy: `(parameters, r2) -> u` [energy], called at the nodes once per run; a module-level function.
        n_bins: number of bins on [0, cutoff²].
    """

    pair_energy: Callable[[PyTree, Array], Array]
    n_bins: int = TABLE_BINS


@dataclasses.dataclass(frozen=True)
class AnyEnergy:
    """Any differentiable energy; forces by automatic differentiation.

    Attributes:
        energy: `(parameters, positions [site dim], box [dim]) -> scalar` [energy]; a module-level function.
    """

    energy: Callable[[PyTree, Array, Array], Array]


Interaction = PairFormula | PairTable | AnyEnergy


class Bound(NamedTuple):
    """One replica's interaction with its parameters filled in.

    Attributes:
        forces: of positions and edges [energy/length].
        energy_change: from positions and edges before to those after [energy].
    """

    forces: Callable[[Rows, Edges], Rows]
    energy_change: Callable[[Rows, Edges, Rows, Edges], Float[Array, ""]]


def prepared(interaction: Interaction, parameters: PyTree, cutoff: float, *, dtype: DTypeLike) -> PyTree:
    """The parameters of all replicas in the engine's precision, or the tables made from them in their own."""
    if not isinstance(interaction, PairTable):
        return with_precision(parameters, dtype)
    exact = jnp.result_type(jnp.float32, *(leaf.dtype for leaf in jax.tree.leaves(parameters)))
    nodes = jnp.linspace(0, 1, interaction.n_bins + 1, dtype=exact) * cutoff**2
    within = jnp.maximum(
        nodes, (0.1 * cutoff) ** 2
    )  # the innermost are clipped away from 0, as for the statistics

    def tables(parameters: PyTree) -> tuple[Array, Array]:
        energies = interaction.pair_energy(parameters, within)
        # what a fixed cutoff leaves at the last node would be a jump that no force sees
        energies = energies - energies[-1]
        factors = jnp.append(table_force_factor(energies, cutoff=cutoff), 0)
        return energies.astype(dtype), factors.astype(dtype)

    return jax.vmap(tables)(parameters)


def bound(interaction: Interaction, parameters: PyTree, cutoff: Array) -> Bound:
    """The interaction of one replica, given its `prepared` parameters."""
    if isinstance(interaction, AnyEnergy):
        return _bound_energy(interaction, parameters)
    cutoff2 = cutoff * cutoff
    if isinstance(interaction, PairFormula):
        formula = interaction

        def factor(r2: Array) -> Array:
            return jnp.where(r2 < cutoff2, formula.force_factor(parameters, r2), 0)

        def energy(r2: Array) -> Array:
            return formula.pair_energy(parameters, r2)

        multiple = _COLUMN_MULTIPLE
    else:
        n_bins, (energies, factors) = interaction.n_bins, parameters
        per_bin = n_bins / cutoff2

        def factor(r2: Array) -> Array:
            # unsigned indices and the barrier let both loops vectorise, as in the engine at constant volume
            index = jnp.minimum((r2 * per_bin).astype(jnp.uint32), np.uint32(n_bins))
            return jax.lax.optimization_barrier(factors.at[index].get(mode="promise_in_bounds"))

        def energy(r2: Array) -> Array:
            place = r2 * per_bin
            index = jnp.minimum(place.astype(jnp.uint32), np.uint32(n_bins - 1))
            low = energies.at[index].get(mode="promise_in_bounds")
            high = energies.at[index + 1].get(mode="promise_in_bounds")
            return low + (place - index.astype(place.dtype)) * (high - low)

        multiple = 1

    def forces(rows: Rows, edges: Edges) -> Rows:
        columns = multiple if rows.shape[1] > multiple else 1
        return pair_forces(factor, rows, edges, column_multiple=columns)

    def energy_change(rows: Rows, edges: Edges, new_rows: Rows, new_edges: Edges) -> Float[Array, ""]:
        before, after = _squared_distances(rows, edges), _squared_distances(new_rows, new_edges)
        # pair by pair: the rounding is then that of the change, not that of the whole energy
        pairs = _inside(energy, after, cutoff2) - _inside(energy, before, cutoff2)
        # a reduction over neighbours first, as the forces' own: it is fused with what makes the pairs
        each = jax.lax.reduce(pairs, np.zeros((), pairs.dtype), jax.lax.add, (1,))
        return 0.5 * jnp.sum(each)

    return Bound(forces, energy_change)


def _inside(energy: Callable[[Array], Array], r2: Array, cutoff2: Array) -> Array:
    inside = r2 < cutoff2
    return jnp.where(inside, energy(jnp.where(inside, r2, 1.0)), 0.0)


def _squared_distances(rows: Rows, edges: Edges) -> Float[Array, "site site"]:
    """Squared minimum-image distances of all pairs, infinite for a site with itself [length²]."""
    inverse = jnp.where(edges > 0, 1 / edges, 0)
    n_sites = rows.shape[1]
    i, j = (jax.lax.broadcasted_iota(jnp.int32, (n_sites, n_sites), axis) for axis in (0, 1))
    own = jnp.where(i == j, jnp.asarray(jnp.inf, rows.dtype), 0)
    for row, edge, over in zip(rows, edges, inverse, strict=True):
        own = own + minimum_image(row[:, None] - row[None, :], edge, over) ** 2
    return own


def _bound_energy(interaction: AnyEnergy, parameters: PyTree) -> Bound:
    def energy(rows: Rows, edges: Edges) -> Float[Array, ""]:
        return interaction.energy(parameters, rows.T, jnp.where(edges > 0, edges, jnp.inf))

    def forces(rows: Rows, edges: Edges) -> Rows:
        return -jax.grad(energy)(rows, edges)

    def energy_change(rows: Rows, edges: Edges, new_rows: Rows, new_edges: Edges) -> Float[Array, ""]:
        return energy(new_rows, new_edges) - energy(rows, edges)

    return Bound(forces, energy_change)


def _energy_of_pair(potential: PairPotential, r2: Array) -> Array:
    # u = η · b term by term: XLA would not fuse a matrix product with the distances, and be several times slower
    basis, coefficients = potential.pair_basis(r2), potential.coefficients()
    return sum((basis[..., k] * coefficients[k] for k in range(len(coefficients))), jnp.zeros_like(r2))


def _factor_of_pair(potential: PairPotential, r2: Array) -> Array:
    return potential.pair_force_factor(r2)


def _energy_of_pair_terms(potential: Potential, r2: Array) -> Array:
    return sum(
        (term.pair_energy(r2) for term in terms_of(potential) if isinstance(term, PairPotential)),
        jnp.zeros_like(r2),
    )


def _energy(potential: Potential, positions: Array, box: Array) -> Array:
    return potential.energy(positions, box)


def interaction_of(potential: Potential) -> tuple[Interaction, float]:
    """How a potential's form is simulated at constant pressure, and its cutoff [length] (inf where it has none).

    A single analytic pair potential runs by its formula, other sums of pair terms by a table, anything else by automatic
    differentiation. The parameters are the potential itself, its leaves stacked over replicas (see `stacked`).

    Raises:
        InputError: a bare truncation, which no dynamics samples.

    Example:
        >>> interaction, cutoff = interaction_of(LennardJones(1.0, 1.0, cutoff=2.5))
        >>> type(interaction).__name__, cutoff
        ('PairFormula', 2.5)
    """
    terms = terms_of(potential)
    for term in terms:
        if isinstance(term, LennardJones | Mie) and term.convention == "truncated":
            raise InputError(
                f"potential '{term.name}': dynamics cannot sample a bare truncation; simulate its"
                " `continuous()` form (the same forces), or use the convention 'shifted' or 'smooth'"
            )
    pairs = [term for term in terms if isinstance(term, PairPotential)]
    cutoff = max((term.cutoff for term in pairs), default=np.inf)
    if len(pairs) < len(terms):
        return AnyEnergy(_energy), cutoff
    if len(pairs) == 1 and not pairs[0].tabulated:
        return PairFormula(_energy_of_pair, _factor_of_pair), cutoff
    return PairTable(_energy_of_pair_terms), cutoff


def stacked(potentials: list[Potential], *, each: int = 1) -> Potential:
    """Potentials of one form as one with a leading replica axis, every potential `each` times in a row.

    Example:
        >>> stacked([LennardJones(e, 1.0, cutoff=2.5) for e in (1.0, 1.1)], each=2).epsilon.tolist()
        [1.0, 1.0, 1.1, 1.1]
    """
    if len({jax.tree.structure(potential) for potential in potentials}) != 1:
        raise InputError(
            f"{len(potentials)} potentials that differ in more than their parameter values; expected one form: make"
            " them with `with_parameters`"
        )
    return jax.tree.map(lambda *leaves: jnp.repeat(jnp.stack(leaves), each, axis=0), *potentials)
