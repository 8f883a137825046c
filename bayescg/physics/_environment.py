"""Neighbourhoods of atoms in padded batches, and the energies, forces and stresses computed from them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bayescg.data import Configurations
from bayescg.errors import InputError
from bayescg.physics._interatomic import InteratomicPotential, components, kept
from bayescg.physics._long_range import long_range_terms
from bayescg.physics._neighbourhoods import Group, Neighbourhood, group, neighbourhood
from bayescg.physics._pairwise_term import check_labelled, site_energies_between, terms_between_molecules
from bayescg.physics._periodic_cells import PeriodicCells, independent_compositions, periodic_cells, strained

_SYMMETRIC = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])

FAR = 1e3
"""Distance of the neighbours that only fill up: every cutoff drops them [length]."""

WIDTHS = 3
"""Different numbers of neighbours, and so compiled shapes, that a data set is sorted into at most."""

MAX_EDGES = 2**18
"""Neighbours of one batch, fillers included: bounds the memory. Larger batches also cost more per neighbour on a CPU,
which takes memory beyond 32 MiB from the system anew in every call."""


class Environments(eqx.Module):
    """The neighbourhoods of all atoms of a batch of configurations, filled up to a common shape.

    A pytree of arrays. Arrays over edges have the atoms innermost, so that loops over them vectorise. Species and
    cutoff are static: a potential of other species or of longer range is refused when a function of both is traced.

    Attributes:
        rows: components of the vectors from each atom to each neighbour [length]; fillers are (`FAR`, 0, 0).
        types: species index of each atom; 0 for atoms that fill up.
        row_types: species index of each neighbour; 0 for fillers.
        row_neighbours: index of each neighbour's atom in the batch; the atom itself for fillers.
        row_reverse: place of the opposite edge, from the neighbour to the atom, in the flattened [neighbour atom]
            arrays; the place itself for fillers.
        configuration: the configuration of each atom; n_configurations for atoms that fill up.
        n_atoms: number of atoms of each configuration; 0 for configurations that fill up.
        volume: of each cell [length³]; inf where a direction is open, so that the stress is 0 there.
        configuration_index: place of each configuration in the data set; −1 for those that fill up.
        atom_index: place of each atom in the data set, all atoms counted one after the other; −1 for those that
            fill up.
        positions: of each atom [length]; only terms that reach beyond every cutoff use them.
        cells: of the periodic configurations, in groups of similar size; for the same terms.
        species: chemical symbols that the types count along.
        cutoff: the neighbours are complete up to this distance [length].
        compositions: of the data set's configurations, as few as all others are combinations of.
        open_configuration: place in the data set of the first that is not periodic along all edges; −1 for none.
        row_same_molecule: whether each neighbour belongs to the atom's own molecule; None where atoms have no labels.
        whole_molecules: whether all pairs of one molecule are among the neighbours, in the whole data set.

    Example:
        >>> import numpy as np
        >>> from bayescg.physics import environments_of
        >>> chain = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
        >>> batch, = environments_of(
        ...     [chain], [np.zeros(3, int)], np.zeros((1, 3, 3)), np.zeros((1, 3), bool), 2.5, species=("Si",)
        ... )
        >>> near = np.linalg.norm(batch.vectors, axis=2) < batch.cutoff  # the others fill up
        >>> near[batch.atom_index >= 0].sum(axis=1).tolist()
        [1, 2, 1]
    """

    rows: Float[Array, "3 neighbour atom"]
    types: Int[Array, " atom"]
    row_types: Int[Array, "neighbour atom"]
    row_neighbours: Int[Array, "neighbour atom"]
    row_reverse: Int[Array, "neighbour atom"]
    configuration: Int[Array, " atom"]
    n_atoms: Int[Array, " configuration"]
    volume: Float[Array, " configuration"]
    configuration_index: Int[Array, " configuration"]
    atom_index: Int[Array, " atom"]
    positions: Float[Array, "atom 3"]
    cells: tuple[PeriodicCells, ...]
    species: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    compositions: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    open_configuration: int = eqx.field(static=True)
    row_same_molecule: Bool[Array, "neighbour atom"] | None = None
    whole_molecules: bool = eqx.field(static=True, default=True)

    @property
    def n_configurations(self) -> int:
        """Number of configurations, those that fill up included."""
        return self.n_atoms.shape[0]

    @property
    def vectors(self) -> Float[Array, "atom neighbour 3"]:
        """Vectors from each atom to each neighbour [length]."""
        return self.rows.T

    @property
    def neighbour_types(self) -> Int[Array, "atom neighbour"]:
        """Species index of each neighbour."""
        return self.row_types.T

    @property
    def neighbours(self) -> Int[Array, "atom neighbour"]:
        """Index of each neighbour's atom in the batch."""
        return self.row_neighbours.T

    @property
    def same_molecule(self) -> Bool[Array, "atom neighbour"] | None:
        """Whether each neighbour belongs to the atom's own molecule; None where atoms have no labels."""
        return None if self.row_same_molecule is None else self.row_same_molecule.T

    @property
    def reverse(self) -> Int[Array, "atom neighbour"]:
        """Place of the opposite edge in flattened [atom neighbour] arrays."""
        width, n_atoms = self.row_reverse.shape
        return (self.row_reverse % n_atoms * width + self.row_reverse // n_atoms).T


class Predictions(NamedTuple):
    """What a potential says of a batch.

    Attributes:
        energy: of each configuration [energy].
        forces: on each atom [energy/length].
        stress: (1/V) dE/d strain of each configuration, tension positive [energy/length³].

    Example:
        >>> import numpy as np
        >>> found = Predictions(np.array([-8.6]), np.zeros((2, 3)), np.zeros((1, 3, 3)))
        >>> found.forces.shape  # atoms of all configurations one after the other
        (2, 3)
    """

    energy: Float[Array, " configuration"]
    forces: Float[Array, "atom 3"]
    stress: Float[Array, "configuration 3 3"]


def environments(
    configurations: Configurations,
    cutoff: float,
    *,
    species: tuple[str, ...] | None = None,
    n_widths: int = WIDTHS,
    max_edges: int = MAX_EDGES,
) -> list[Environments]:
    """Neighbourhoods of all configurations, in batches of at most `n_widths` different shapes.

    Configurations with similar largest numbers of neighbours share a batch; atoms follow one another whatever
    configuration they belong to, so that configurations of unequal size cost no filling.

    Args:
        configurations: the data.
        cutoff: neighbours up to this distance, through periodic images where the cell is smaller [length].
        species: symbols that the types of the batches count along, a potential's; default those of the data.
        n_widths: largest number of different shapes.
        max_edges: largest number of neighbours in one batch, fillers included.

    Raises:
        InputError: a species that is not among `species`, a cutoff that is not positive, atoms that coincide, a molecule
            of half the cell or more.

    Example:
        >>> import numpy as np
        >>> from bayescg.data import Configurations, get_unit_system
        >>> cells = Configurations(
        ...     species=("Ta",), positions=(np.zeros((1, 3)),), types=(np.zeros(1, int),), cell=3.3 * np.eye(3)[None],
        ...     periodic=np.ones((1, 3), bool), units=get_unit_system("metal"),
        ... )
        >>> batch, = environments(cells, 3.4)
        >>> int(np.sum(np.linalg.norm(batch.vectors[0], axis=1) < 3.4))  # images of the only atom
        6
    """
    chosen = configurations.species if species is None else species
    unknown = sorted(set(configurations.species) - set(chosen))
    if unknown:
        raise InputError(
            f"the configurations contain {', '.join(unknown)}, the potential knows {', '.join(chosen)}:"
            " leave these configurations out or choose a potential for all species"
        )
    translation = np.asarray([chosen.index(symbol) for symbol in configurations.species], int)
    return environments_of(
        configurations.positions,
        [translation[types] for types in configurations.types],
        configurations.cell,
        configurations.periodic,
        cutoff,
        species=chosen,
        molecules=configurations.molecules or None,
        n_widths=n_widths,
        max_edges=max_edges,
    )


def environments_of(
    positions: Sequence[np.ndarray],
    types: Sequence[np.ndarray],
    cells: Float[np.ndarray, "configuration 3 3"],
    periodic: Bool[np.ndarray, "configuration 3"],
    cutoff: float,
    *,
    species: tuple[str, ...],
    molecules: Sequence[np.ndarray] | None = None,
    n_widths: int = WIDTHS,
    max_edges: int = MAX_EDGES,
) -> list[Environments]:
    """As `environments`, from the arrays of each configuration.

    Args:
        positions: of the atoms of each configuration, [atom 3] [length].
        types: species index of the atoms of each configuration, along `species`.
        cells: rows are lattice vectors [length].
        periodic: which lattice vectors repeat.
        cutoff: [length].
        species: chemical symbols.
        molecules: label of the molecule of each atom of each configuration; None where there are none.
        n_widths: largest number of different shapes.
        max_edges: largest number of neighbours in one batch, fillers included.

    Example:
        >>> import numpy as np
        >>> positions = [np.zeros((1, 3)), np.array([[0.0, 0.0, 0.0], [2.3, 0.0, 0.0]])]
        >>> types = [np.zeros(1, int), np.zeros(2, int)]
        >>> batch, = environments_of(
        ...     positions, types, np.zeros((2, 3, 3)), np.zeros((2, 3), bool), 3.0, species=("Si",), n_widths=1
        ... )
        >>> batch.n_atoms[batch.configuration_index >= 0].tolist()
        [1, 2]
    """
    if not jax.config.read("jax_enable_x64"):
        raise ValueError(
            "interatomic potentials need 64-bit numbers: call jax.config.update('jax_enable_x64', True) first"
        )
    if not 0.0 <= cutoff < FAR:
        raise InputError(f"the cutoff of a neighbour list must lie between 0 and {FAR}, found {cutoff}")
    starts = np.cumsum([0, *map(len, positions)])
    labels = [None] * len(positions) if molecules is None else molecules
    found = [
        neighbourhood(i, x, kinds, cell, repeats, cutoff, molecules=own)
        for i, (x, kinds, cell, repeats, own) in enumerate(
            zip(positions, types, cells, periodic, labels, strict=True)
        )
    ]
    groups = group(
        np.asarray([one.width for one in found], int),
        np.asarray([len(one.types) for one in found], int),
        n_widths=n_widths,
        max_edges=max_edges,
    )
    opened = np.flatnonzero(~np.all(np.asarray(periodic, bool), axis=1))
    shared: dict[str, Any] = {
        "species": species,
        "cutoff": float(cutoff),
        "compositions": independent_compositions(types, len(species)),
        "open_configuration": int(opened[0]) if len(opened) else -1,
        "whole_molecules": all(one.extent < cutoff for one in found) if molecules is not None else True,
    }
    return [
        Environments(**_arrays([found[i] for i in one.members], one, starts), cells=cells, **shared)
        for one, cells in zip(groups, periodic_cells(found, groups), strict=True)
    ]


def _arrays(
    parts: list[Neighbourhood], group: Group, starts: Int[np.ndarray, " configuration"]
) -> dict[str, Any]:
    """The arrays of a batch by name, its cells excepted."""
    n_atoms, width, n = group.n_atoms, group.width, group.n_configurations
    own = np.tile(np.arange(n_atoms, dtype=np.int32), (width, 1))
    arrays = {
        "rows": np.stack([np.full(own.shape, FAR), np.zeros(own.shape), np.zeros(own.shape)]),
        "types": np.zeros(n_atoms, np.int32),
        "row_types": np.zeros_like(own),
        "row_neighbours": own,
        "row_reverse": np.arange(own.size, dtype=np.int32).reshape(own.shape),
        "configuration": np.full(n_atoms, n, np.int32),
        "n_atoms": np.zeros(n, np.int32),
        "volume": np.full(n, np.inf),
        "configuration_index": np.full(n, -1, np.int32),
        "atom_index": np.full(n_atoms, -1, np.int32),
        "positions": np.zeros((n_atoms, 3)),
    }
    if any(part.same_molecule is not None for part in parts):
        arrays["row_same_molecule"] = np.zeros(own.shape, bool)
    first = 0
    for c, (part, index) in enumerate(zip(parts, group.members)):
        size = len(part.types)
        atoms, centre = slice(first, first + size), first + part.centre
        arrays["rows"][:, part.slot, centre] = part.vector.T
        arrays["types"][atoms] = part.types
        arrays["row_types"][part.slot, centre] = part.types[part.neighbour]
        arrays["row_neighbours"][part.slot, centre] = first + part.neighbour
        arrays["row_reverse"][part.slot, centre] = part.slot[part.reverse] * n_atoms + centre[part.reverse]
        if part.same_molecule is not None:
            arrays["row_same_molecule"][part.slot, centre] = part.same_molecule
        arrays["configuration"][atoms] = c
        arrays["n_atoms"][c] = size
        arrays["volume"][c] = part.volume
        arrays["configuration_index"][c] = index
        arrays["atom_index"][atoms] = starts[index] + np.arange(size)
        arrays["positions"][atoms] = part.positions
        first += size
    return {name: jnp.asarray(value) for name, value in arrays.items()}


def check_fits(potential: InteratomicPotential, batch: Environments) -> None:
    """Raise an InputError unless the batch has the potential's species and all neighbours within its cutoff.

    Terms that reach beyond every cutoff must make sense for the configurations, too, and terms that act between molecules
    need labels.
    """
    if potential.species != batch.species:
        raise InputError(
            f"the potential's species are {', '.join(potential.species)}, the batch's {', '.join(batch.species)}:"
            " make the batch with environments(..., species=potential.species)"
        )
    if potential.cutoff > batch.cutoff:
        raise InputError(
            f"the potential reaches to {potential.cutoff}, the batch's neighbour lists only to {batch.cutoff}:"
            " make the batch with environments(..., potential.cutoff)"
        )
    check_labelled(potential, labelled=batch.row_same_molecule is not None)
    for pairwise in terms_between_molecules(potential):
        pairwise.check_reach(whole_molecules=batch.whole_molecules)
    for term in long_range_terms(potential):
        term.check_configurations(batch.compositions, open_configuration=batch.open_configuration)


def predict_energy(potential: InteratomicPotential, batch: Environments) -> Float[Array, " configuration"]:
    """Energy of every configuration of a batch [energy].

    Example:
        >>> import numpy as np
        >>> from bayescg.physics import LennardJonesPairs, environments_of
        >>> argon = LennardJonesPairs(0.01, 3.4, species=("Ar",), cutoff=8.0, convention="truncated")
        >>> pair = np.array([[0.0, 0.0, 0.0], [3.4 * 2 ** (1 / 6), 0.0, 0.0]])
        >>> batch, = environments_of(
        ...     [pair], [np.zeros(2, int)], np.zeros((1, 3, 3)), np.zeros((1, 3), bool), 8.0, species=("Ar",)
        ... )
        >>> round(float(predict_energy(argon, batch)[0]), 6)
        -0.01
    """
    check_fits(potential, batch)
    energies = site_energies_between(
        potential, batch.vectors, batch.types, batch.neighbour_types, batch.same_molecule
    )
    return _sums(energies, batch) + _cell_energies(potential, batch)


def predict(potential: InteratomicPotential, batch: Environments) -> Predictions:
    """Energy, forces and stress of every configuration of a batch, by one reverse pass.

    With U = Σ_i e_i(v_i1, v_i2, …), v_ik the vector from atom i to its neighbour k, and g_ik = ∂e_i/∂v_ik,

        F_i = Σ_k (g_ik − g_ki),    stress = (1/V) Σ_ik v_ik ⊗ g_ik,

    where g_ki belongs to the opposite edge, which is looked up: nothing is scattered. What long-range terms add to the
    sum of site energies is differentiated by displacements and strains.

    Example:
        >>> import numpy as np
        >>> from bayescg.physics import StillingerWeber, environments_of, predict
        >>> silicon = StillingerWeber.silicon()
        >>> pair = np.array([[0.0, 0.0, 0.0], [2.3, 0.0, 0.0]])
        >>> batch, = environments_of([pair], [np.zeros(2, int)], np.zeros((1, 3, 3)), np.zeros((1, 3), bool),
        ...     silicon.cutoff, species=silicon.species)
        >>> [round(float(f), 4) for f in predict(silicon, batch).forces[:, 0]]
        [-0.5684, 0.5684]
    """
    check_fits(potential, batch)

    def site_energies(rows: Array) -> Array:
        return site_energies_between(
            potential, rows.T, batch.types, batch.neighbour_types, batch.same_molecule
        )

    energies, pull = jax.vjp(site_energies, batch.rows)
    (gradient,) = pull(jnp.ones_like(energies))
    xyz, gradients = components(batch.rows), [kept(g, batch.types) for g in components(gradient)]
    forces = jnp.stack(
        [kept(jnp.sum(g - _opposite(g, batch.row_reverse), axis=0), batch.types) for g in gradients], axis=1
    )
    # The energy is invariant under rotations, so the virial is symmetric: six of its nine components.
    virial = [kept(jnp.sum(xyz[a] * gradients[b], axis=0), batch.types) for a, b in zip(*np.triu_indices(3))]
    virials = _sums(jnp.stack(virial, axis=1), batch)[:, _SYMMETRIC]
    energy = _sums(energies, batch)
    if long_range_terms(potential):
        n = batch.n_configurations
        still = jnp.zeros((len(batch.types), 3)), jnp.zeros((n, 3, 3))
        further, pull = jax.vjp(
            lambda u, strain: _cell_energies(potential, deformed(batch, displacements=u, strain=strain)),
            *still,
        )
        slope, virial_further = pull(jnp.ones(n))
        energy, forces = energy + further, forces - slope
        virials = virials + 0.5 * (virial_further + jnp.swapaxes(virial_further, 1, 2))
    return Predictions(energy, forces, virials / batch.volume[:, None, None])


def _cell_energies(potential: InteratomicPotential, batch: Environments) -> Float[Array, " configuration"]:
    """What long-range terms add to the sum of site energies [energy]."""
    total = jnp.zeros(batch.n_configurations)
    for term in long_range_terms(potential):
        for cells in batch.cells:
            energies = term.cell_energies(batch.positions, batch.types, cells)
            total = total.at[cells.configuration].add(energies, mode="drop")
    return total


def _opposite(
    edges: Float[Array, "neighbour atom"], reverse: Int[Array, "neighbour atom"]
) -> Float[Array, "neighbour atom"]:
    """The values of the opposite edges: a permutation that is its own inverse and its own transpose.

    Said to JAX as the solution of a symmetric linear system, so that its derivative is the same gather; the derivative
    of a plain gather would be a scatter, which is slow.
    """

    def exchange(values: Array) -> Array:
        return values.reshape(-1).at[reverse].get(mode="promise_in_bounds")

    return jax.lax.custom_linear_solve(exchange, edges, lambda _, values: exchange(values), symmetric=True)


def _sums(values: Float[Array, "atom *rest"], batch: Environments) -> Float[Array, "configuration *rest"]:
    """Sums over the atoms of each configuration; those that fill up are left out."""
    return jax.ops.segment_sum(
        values, batch.configuration, batch.n_configurations, indices_are_sorted=True, mode="drop"
    )


def deformed(
    batch: Environments,
    *,
    displacements: Float[Array, "atom 3"] | None = None,
    strain: Float[Array, "3 3"] | Float[Array, "configuration 3 3"] | None = None,
) -> Environments:
    """The batch with atoms displaced and then cells strained, x → (1 + ε)(x + u), differentiably.

    Its neighbour lists stay as they are: choose their cutoff so much beyond the potential's that no new neighbour can
    come in.

    Args:
        batch: neighbourhoods.
        displacements: u of each atom [length].
        strain: ε, one for all configurations or one for each [dimensionless].
    """
    rows, volume, positions, cells = batch.rows, batch.volume, batch.positions, batch.cells
    if displacements is not None:
        u = jnp.asarray(displacements).T
        rows = rows + u[:, batch.row_neighbours] - u[:, None, :]
        positions = positions + displacements
    if strain is not None:
        stretch = jnp.eye(3) + jnp.broadcast_to(strain, (batch.n_configurations, 3, 3))
        volume = volume * jnp.abs(jnp.linalg.det(stretch))
        of_atoms = stretch.at[batch.configuration].get(mode="clip")
        rows = jnp.einsum("aij,jna->ina", of_atoms, rows)
        positions = jnp.einsum("aij,aj->ai", of_atoms, positions)
        cells = tuple(strained(each, stretch) for each in cells)
    return dataclasses.replace(batch, rows=rows, volume=volume, positions=positions, cells=cells)


def stacked(batches: Sequence[Environments]) -> list[Environments]:
    """Batches of equal shape joined along a new first axis of every array, for `jax.lax.map`: compiled once.

    To differentiate such a map in reverse, wrap the function in `jax.checkpoint`: computing it again is faster than
    storing what its derivative needs.

    Example:
        >>> from functools import partial
        >>> from bayescg.physics import StillingerWeber, environments_of
        >>> silicon = StillingerWeber.silicon()
        >>> pairs = [np.array([[0.0, 0.0, 0.0], [r, 0.0, 0.0]]) for r in (2.2, 2.4)]
        >>> batches = environments_of(pairs, [np.zeros(2, int)] * 2, np.zeros((2, 3, 3)), np.zeros((2, 3), bool),
        ...     silicon.cutoff, species=silicon.species, max_edges=8)
        >>> together, = stacked(batches)
        >>> jax.lax.map(partial(predict_energy, silicon), together).shape
        (2, 1)
    """
    shapes: dict[tuple[object, ...], list[Environments]] = {}
    for batch in batches:
        leaves, form = jax.tree.flatten(batch)
        shapes.setdefault((form, *(leaf.shape for leaf in leaves)), []).append(batch)
    return [jax.tree.map(lambda *leaves: jnp.stack(leaves), *same) for same in shapes.values()]


def in_data_order(batches: Sequence[Environments], predictions: Sequence[Predictions]) -> Predictions:
    """Predictions of all batches together, configurations and atoms in the order of the data set.

    Args:
        batches: from one call of `environments`.
        predictions: of each batch.

    Example:
        >>> import numpy as np
        >>> from bayescg.physics import SpeciesEnergies, environments_of
        >>> atoms = SpeciesEnergies([-1.0], species=("Si",))
        >>> positions = [np.array([[0.0, 0.0, 0.0], [2.3, 0.0, 0.0]]), np.zeros((1, 3))]
        >>> types = [np.zeros(2, int), np.zeros(1, int)]
        >>> cells, periodic = np.zeros((2, 3, 3)), np.zeros((2, 3), bool)
        >>> batches = environments_of(positions, types, cells, periodic, 3.0, species=("Si",))
        >>> in_data_order(batches, [predict(atoms, batch) for batch in batches]).energy.tolist()
        [-2.0, -1.0]
    """
    n_configurations = sum(int(np.sum(batch.configuration_index >= 0)) for batch in batches)
    n_atoms = sum(int(np.sum(batch.atom_index >= 0)) for batch in batches)
    energy, forces = np.empty(n_configurations), np.empty((n_atoms, 3))
    stress = np.empty((n_configurations, 3, 3))
    for batch, prediction in zip(batches, predictions, strict=True):
        index, atom = np.asarray(batch.configuration_index), np.asarray(batch.atom_index)
        energy[index[index >= 0]] = np.asarray(prediction.energy)[index >= 0]
        stress[index[index >= 0]] = np.asarray(prediction.stress)[index >= 0]
        forces[atom[atom >= 0]] = np.asarray(prediction.forces)[atom >= 0]
    return Predictions(energy, forces, stress)  # type: ignore[arg-type]
