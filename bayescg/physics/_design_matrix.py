"""Design matrices of potentials that are linear in their parameters: energies, forces and stresses as rows."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.data import VOIGT
from bayescg.errors import InputError
from bayescg.physics._body_splines import BodySplines, side_basis
from bayescg.physics._environment import FAR, Environments, check_fits
from bayescg.physics._interatomic import (
    InteratomicPotential,
    SpeciesEnergies,
    interatomic_terms,
    n_pairs,
    pair_index,
)
from bayescg.physics._radial_basis import falling_basis, local_basis
from bayescg.physics._triangles import distances, opposite_sides

MAX_NUMBERS = 2**25
"""Numbers in the largest array of derivatives: bounds the memory (256 MiB)."""


class DesignMatrix(NamedTuple):
    """Derivatives of energies, forces and stresses by the parameters, which enter linearly.

    Columns follow `potential.parameter_values()`, each array flattened.

    Attributes:
        energy: of each configuration of the batch [energy per unit of the parameter].
        forces: on each atom of the batch.
        stress: (1/V) dE/d strain of each configuration, tension positive, in the order xx, yy, zz, yz, xz, xy.

    Example:
        >>> columns = DesignMatrix(np.array([[2.0]]), np.zeros((2, 3, 1)), np.zeros((1, 6, 1)))
        >>> float((columns.energy @ np.array([-3.5]))[0])  # two atoms of -3.5 each
        -7.0
    """

    energy: Float[np.ndarray, "configuration feature"]
    forces: Float[np.ndarray, "atom 3 feature"]
    stress: Float[np.ndarray, "configuration 6 feature"]


def has_design_matrix(potential: InteratomicPotential) -> bool:
    """Whether every parameter that varies belongs to a term of which `design_matrix` knows the derivatives."""
    varying = (term for term in interatomic_terms(potential) if term.parameter_values())
    return all(isinstance(term, BodySplines | SpeciesEnergies) for term in varying)


def design_matrix(potential: InteratomicPotential, batch: Environments) -> DesignMatrix:
    """The design matrix of a linear potential on a batch, from analytic derivatives.

    Energies, forces and stresses are matrix times parameters plus, where parameters are held, what `predict` gives
    with all parameters that vary at 0.

    Args:
        potential: `BodySplines`, `SpeciesEnergies`, or a sum of such and of terms all of whose parameters are held.
        batch: neighbourhoods; arrays of numbers, this is not to be traced.

    Raises:
        InputError: a term that is not linear in its parameters.

    Example:
        >>> from bayescg.physics import environments_of
        >>> offset = SpeciesEnergies([-3.5, -4.1], species=("Si", "C"))
        >>> chain = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
        >>> batch, = environments_of(
        ...     [chain], [np.array([0, 1, 0])], np.zeros((1, 3, 3)), np.zeros((1, 3), bool), 2.5, species=("Si", "C")
        ... )
        >>> design_matrix(offset, batch).energy[0].tolist()  # two atoms of silicon, one of carbon
        [2.0, 1.0]
    """
    check_fits(potential, batch)
    blocks: list[DesignMatrix] = []
    for term in interatomic_terms(potential):
        names = list(term.parameter_values())
        if not names:
            continue
        if isinstance(term, SpeciesEnergies):
            found = {f"{term.name}_energies": _counts(term, batch)}
        elif isinstance(term, BodySplines):
            columns = {f"{term.name}_pair": _pair_columns, f"{term.name}_triplet": _triplet_columns}
            found = {name: columns[name](term, batch) for name in names}
        else:
            raise InputError(
                f"{type(term).__name__} is not linear in its parameters {', '.join(names)}: only BodySplines and"
                " SpeciesEnergies have a design matrix; hold these parameters or leave the term out"
            )
        blocks += [found[name] for name in names]
    if not blocks:
        raise InputError("no parameter of the potential varies: there is no design matrix")
    return DesignMatrix(*(np.concatenate(parts, axis=-1) for parts in zip(*blocks)))


def _counts(term: SpeciesEnergies, batch: Environments) -> DesignMatrix:
    """Atoms of each species; no forces, no stress."""
    n_species, n_atoms = len(term.species), batch.types.shape[0]
    energy = np.zeros((batch.n_configurations + 1, n_species))
    np.add.at(energy, (np.asarray(batch.configuration), np.asarray(batch.types)), 1.0)
    return DesignMatrix(
        energy[:-1], np.zeros((n_atoms, 3, n_species)), np.zeros((batch.n_configurations, 6, n_species))
    )


def _pair_columns(term: BodySplines, batch: Environments) -> DesignMatrix:
    return DesignMatrix(*map(np.asarray, _pair_sums(batch, knots=term.knots, n_species=len(term.species))))


@partial(jax.jit, static_argnames=("knots", "n_species"))
def _pair_sums(
    batch: Environments, *, knots: tuple[float, ...], n_species: int
) -> tuple[Array, Array, Array]:
    r = distances(batch.vectors)
    value, slope = _with_slope(partial(falling_basis, knots=knots), r)
    pair = jnp.asarray(pair_index(n_species))[batch.types[:, None], batch.neighbour_types]
    unit = batch.vectors / r[..., None]
    energy, forces, virial = [], [], []
    for p in range(n_pairs(n_species)):
        own = (pair == p)[..., None]
        energy.append(0.5 * jnp.sum(jnp.where(own, value, 0.0), axis=1))
        slopes = jnp.where(own, slope, 0.0)
        forces.append(jnp.einsum("anf,anx->axf", slopes, unit))
        outer = jnp.stack([batch.vectors[..., i] * unit[..., j] for i, j in zip(*VOIGT)], axis=-1)
        virial.append(0.5 * jnp.einsum("anf,anv->avf", slopes, outer))
    sums, push, stress = (jnp.concatenate(parts, axis=-1) for parts in (energy, forces, virial))
    return _of_configurations(sums, push, stress, batch.configuration, batch.volume)


def _triplet_columns(term: BodySplines, batch: Environments) -> DesignMatrix:
    """Configurations a few at a time, with only the neighbours within the triplets' cutoff."""
    vectors = np.asarray(batch.vectors)
    near = np.sqrt(np.sum(vectors**2, axis=-1)) < term.triplet_knots[-1]
    width = max(1, int(near.sum(axis=1).max()))
    order = np.argsort(~near, axis=1, kind="stable")[:, :width]
    place = np.argsort(np.argsort(~near, axis=1, kind="stable"), axis=1)
    rows = np.arange(len(vectors))[:, None]
    back_atom, back_slot = np.divmod(np.asarray(batch.reverse)[rows, order], vectors.shape[1])
    kept = near[rows, order]
    reverse = np.where(kept, back_atom * width + place[back_atom, back_slot], rows * width + np.arange(width))
    compact = np.where(kept[..., None], vectors[rows, order], [FAR, 0.0, 0.0])
    neighbour_types = np.where(kept, np.asarray(batch.neighbour_types)[rows, order], 0)

    n_species, n_features = len(term.species), term.triplet.size
    n_full = n_species**3 * (len(term.triplet_knots) - 1) ** 2 * (len(term.opposite_knots) - 1)
    sizes = np.bincount(np.asarray(batch.configuration), minlength=batch.n_configurations)
    chunks = _chunks(sizes[: batch.n_configurations], max(1, MAX_NUMBERS // (width * 3 * n_full)))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    most = max(int(starts[last] - starts[first]) for first, last in chunks)
    most_configurations = max(last - first for first, last in chunks)
    result = DesignMatrix(
        np.zeros((batch.n_configurations, n_features)),
        np.zeros((len(vectors), 3, n_features)),
        np.zeros((batch.n_configurations, 6, n_features)),
    )
    for first, last in chunks:
        atoms, n = slice(starts[first], starts[last]), int(starts[last] - starts[first])
        fill = most - n
        own = np.arange(n, most)[:, None] * width + np.arange(width)
        energy, forces, stress = _triplet_sums(
            np.concatenate([compact[atoms], np.tile([FAR, 0.0, 0.0], (fill, width, 1))]),
            np.pad(np.asarray(batch.types)[atoms], (0, fill)),
            np.pad(neighbour_types[atoms], ((0, fill), (0, 0))),
            np.concatenate([reverse[atoms] - starts[first] * width, own]),
            np.pad(
                np.asarray(batch.configuration)[atoms] - first, (0, fill), constant_values=most_configurations
            ),
            np.pad(
                np.asarray(batch.volume)[first:last],
                (0, most_configurations - (last - first)),
                constant_values=1.0,
            ),
            n_species=n_species,
            knots=term.triplet_knots,
            opposite_knots=term.opposite_knots,
        )
        result.energy[first:last] = _fold(term, energy)[: last - first]
        result.forces[atoms] = _fold(term, forces)[:n]
        result.stress[first:last] = _fold(term, stress)[: last - first]
    return result


@partial(jax.jit, static_argnames=("n_species", "knots", "opposite_knots"))
def _triplet_sums(
    vectors: Float[Array, "atom neighbour 3"],
    types: Int[Array, " atom"],
    neighbour_types: Int[Array, "atom neighbour"],
    reverse: Int[Array, "atom neighbour"],
    configuration: Int[Array, " atom"],
    volume: Float[Array, " configuration"],
    *,
    n_species: int,
    knots: tuple[float, ...],
    opposite_knots: tuple[float, ...],
) -> tuple[Array, Array, Array]:
    """Sums over triangles for each (central species, side c, side d, opposite q), not yet symmetric in c and d.

    With L the sides' splines and O the opposite side's, M_jdq = Σ_k L_d(r_ik) O_q(r_jk); an atom's sum is
    ½ Σ_j L_c(r_ij) M_jdq. Its derivative by the vector v_j, of which the half with c and d exchanged is added when the
    columns are folded, is H_j = L_c′ v_j/r_ij M_jdq + L_c Σ_k L_d(r_ik) O_q′(r_jk) (v_j − v_k)/r_jk.
    """
    r = distances(vectors)
    side, side_slope = _with_slope(lambda x: side_basis(x, neighbour_types, n_species, knots), r)
    opposite, difference, apart = opposite_sides(vectors, knots[-1])
    value, slope = _with_slope(partial(local_basis, knots=opposite_knots), opposite)
    value = jnp.where(apart[..., None], value, 0.0)
    slope = jnp.where(apart[..., None], slope, 0.0)
    direction = jnp.where(apart[..., None], difference, 0.0) / opposite[..., None]
    along = direction[..., :, None] * slope[..., None, :]
    sums = jnp.einsum("akd,ajkq->ajdq", side, value)
    turned = jnp.einsum("akd,ajkxq->ajxdq", side, along)
    energy = 0.5 * jnp.einsum("ajc,ajdq->acdq", side, sums)
    radial = (vectors / r[..., None])[..., None] * side_slope[..., None, :]
    derivative = jnp.einsum("ajxc,ajdq->ajxcdq", radial, sums) + jnp.einsum("ajc,ajxdq->ajxcdq", side, turned)
    n_atoms, width, n_columns = *vectors.shape[:2], energy[0].size
    derivative = derivative.reshape(n_atoms, width, 3, n_columns)
    virial = jnp.stack(
        [
            jnp.einsum("aj,ajf->af", vectors[..., i] * (r < knots[-1]), derivative[:, :, j])
            for i, j in zip(*VOIGT)
        ],
        axis=1,
    )
    member = jax.nn.one_hot(types, n_species, dtype=r.dtype)

    def centred(columns: Array) -> Array:
        """Columns moved into the block of the central atom's species."""
        if n_species == 1:
            return columns
        one = member.reshape(n_atoms, *(1,) * (columns.ndim - 2), n_species, 1)
        return (one * columns[..., None, :]).reshape(*columns.shape[:-1], -1)

    derivative = centred(derivative)
    back = derivative.reshape(n_atoms * width, -1)[reverse.reshape(-1)].reshape(derivative.shape)
    forces = jnp.sum(derivative - back, axis=1)
    return _of_configurations(
        centred(energy.reshape(n_atoms, n_columns)), forces, centred(virial), configuration, volume
    )


def _fold(term: BodySplines, columns: Array) -> np.ndarray:
    """Columns of the functions that exist, those with the two sides exchanged added."""
    first, second, opposite = term.functions.T
    n_species = len(term.species)
    n_sides, n_opposite = n_species * (len(term.triplet_knots) - 1), len(term.opposite_knots) - 1
    full = np.asarray(columns).reshape(*columns.shape[:-1], n_species, n_sides, n_sides, n_opposite)
    folded = full[..., first, second, opposite]
    unlike = first != second
    folded[..., unlike] += full[..., second[unlike], first[unlike], opposite[unlike]]
    return folded.reshape(*columns.shape[:-1], -1)


def _of_configurations(
    energy: Float[Array, "atom feature"],
    forces: Float[Array, "atom 3 feature"],
    virial: Float[Array, "atom 6 feature"],
    configuration: Int[Array, " atom"],
    volume: Float[Array, " configuration"],
) -> tuple[Array, Array, Array]:
    """Energies and virials of atoms summed over each configuration; the virial by the volume."""
    sums = partial(jax.ops.segment_sum, segment_ids=configuration, num_segments=volume.shape[0])
    return sums(energy), forces, sums(virial) / volume[:, None, None]


def _with_slope(basis, x: Array) -> tuple[Array, Array]:
    """Values and derivatives of a basis at every x."""
    return jax.jvp(basis, (x,), (jnp.ones_like(x),))


def _chunks(sizes: np.ndarray, most: int) -> list[tuple[int, int]]:
    """First and last-but-one configuration of runs with at most so many atoms, or of a single larger one."""
    chunks, first, atoms = [], 0, 0
    for i, size in enumerate(sizes):
        if i > first and atoms + size > most:
            chunks.append((first, i))
            first, atoms = i, 0
        atoms += int(size)
    return [*chunks, (first, len(sizes))]
