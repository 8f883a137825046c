"""Neighbour lists that follow moving atoms, in arrays whose shape stays the same."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from ase.geometry import complete_cell
from jaxtyping import Array, Bool, Float, Int

from bayescg.errors import InputError
from bayescg.physics import Environments, environments_of
from bayescg.physics._environment import FAR
from bayescg.physics._neighbourhoods import WIDTH_MULTIPLE

ROOM = 1.1
"""Neighbours that an atom's row has room for, relative to those found when a row had to become longer."""


class Moved(NamedTuple):
    """Where the atoms are now, relative to the neighbour lists: x = (1 + ε)(x₀ + u).

    Attributes:
        batch: neighbour lists of the atoms at x₀.
        displacements: u [length].
        strain: ε [dimensionless].
    """

    batch: Environments
    displacements: Float[np.ndarray, "atom 3"]
    strain: Float[np.ndarray, "3 3"]


class _Listed(NamedTuple):
    """What the lists were made for, and the lists."""

    positions: Float[np.ndarray, "atom 3"]
    types: Int[np.ndarray, " atom"]
    cell: Float[np.ndarray, "3 3"]
    periodic: Bool[np.ndarray, " 3"]
    molecules: Int[np.ndarray, " atom"] | None
    batch: Environments


class MovingNeighbours:
    """Lists of the neighbours within the cutoff and a skin, made anew when an atom may have crossed the skin.

    With displacements u and a deformation 1 + ε since the lists were made, two atoms that are now within the cutoff
    r_c were at most r_c ‖(1 + ε)⁻¹‖ + 2 max |u| apart; the lists serve while that is no more than r_c and the skin.
    They keep their shape unless an atom has more neighbours than ever before, which then leaves room for some more.

    Args:
        species: chemical symbols that types count along.
        cutoff: of the potential [length].
        skin: how much farther the lists reach [length].
    """

    def __init__(self, species: tuple[str, ...], cutoff: float, skin: float):
        self.species, self.cutoff, self.skin = species, cutoff, skin
        self._listed: _Listed | None = None
        self._width = 0
        self.times_made = 0

    def follow(
        self,
        positions: Float[np.ndarray, "atom 3"],
        types: Int[np.ndarray, " atom"],
        cell: Float[np.ndarray, "3 3"],
        periodic: Bool[np.ndarray, " 3"],
        *,
        molecules: Int[np.ndarray, " atom"] | None = None,
    ) -> Moved:
        """The lists for these atoms, and how the atoms moved since the lists were made.

        Args:
            positions: [length].
            types: species index of each atom.
            cell: rows are lattice vectors [length].
            periodic: which of them repeat.
            molecules: label of each atom's molecule; None where there are none.

        Raises:
            InputError: positions or a cell that are not finite, a periodic cell without volume, atoms that coincide, a
                molecule of half the cell or more.
        """
        if (
            self._listed is not None
            and np.array_equal(types, self._listed.types)
            and np.array_equal(periodic, self._listed.periodic)
            and np.array_equal(molecules, self._listed.molecules)  # type: ignore[arg-type]  # None equals None
        ):
            moved = _movement(self._listed, positions, cell)
            if moved is not None and _reach(moved, self.cutoff) <= self.cutoff + self.skin:
                return moved
        listed = self._listed = self._make(positions, types, cell, periodic, molecules)
        still = np.zeros((len(listed.batch.types), 3))
        return Moved(listed.batch, still, np.zeros((3, 3)))

    def _make(
        self,
        positions: Float[np.ndarray, "atom 3"],
        types: Int[np.ndarray, " atom"],
        cell: Float[np.ndarray, "3 3"],
        periodic: Bool[np.ndarray, " 3"],
        molecules: Int[np.ndarray, " atom"] | None,
    ) -> _Listed:
        if np.isfinite(cell).all() and _is_flat(cell, periodic):
            raise InputError(
                f"the periodic cell {np.asarray(cell).tolist()} has no volume: give three independent lattice vectors,"
                " or switch off periodicity where there is none"
            )
        (batch,) = environments_of(
            [positions],
            [types],
            np.asarray(cell)[None],
            np.asarray(periodic)[None],
            self.cutoff + self.skin,
            species=self.species,
            molecules=None if molecules is None else [molecules],
            n_widths=1,
        )
        needed = batch.row_types.shape[0]
        if needed > self._width:
            room = int(np.ceil(ROOM * needed))
            self._width = WIDTH_MULTIPLE * -(-room // WIDTH_MULTIPLE)
        self.times_made += 1
        # copies, because ASE changes its arrays in place
        return _Listed(
            np.array(positions),
            np.array(types),
            np.array(cell),
            np.array(periodic),
            None if molecules is None else np.array(molecules),
            widened(batch, self._width),
        )


def widened(batch: Environments, width: int) -> Environments:
    """The same neighbourhoods with fillers up to so many neighbours of each atom."""
    have, n_atoms = batch.row_types.shape
    own = np.tile(np.arange(n_atoms, dtype=np.int32), (width - have, 1))
    place = np.arange(have * n_atoms, width * n_atoms, dtype=np.int32).reshape(own.shape)
    far = np.stack([np.full(own.shape, FAR), np.zeros(own.shape), np.zeros(own.shape)])
    same = batch.row_same_molecule
    return dataclasses.replace(
        batch,
        row_same_molecule=None if same is None else _joined(same, np.zeros(own.shape, bool), axis=0),
        rows=_joined(batch.rows, far, axis=1),
        row_types=_joined(batch.row_types, np.zeros_like(own), axis=0),
        row_neighbours=_joined(batch.row_neighbours, own, axis=0),
        row_reverse=_joined(batch.row_reverse, place, axis=0),
    )


def _joined(values: Array, fillers: np.ndarray, *, axis: int) -> Array:
    """By NumPy: JAX would compile anew for every number of fillers."""
    return jnp.asarray(np.concatenate([np.asarray(values), fillers], axis=axis))


def _is_flat(cell: Float[np.ndarray, "3 3"], periodic: Bool[np.ndarray, " 3"]) -> bool:
    """Whether the lattice vectors that repeat depend on each other."""
    vectors = np.asarray(cell)[np.asarray(periodic)]
    if not len(vectors):
        return False
    sizes = np.linalg.svd(vectors, compute_uv=False)
    return bool(sizes[-1] <= 1e-12 * sizes[0])


def _movement(
    listed: _Listed, positions: Float[np.ndarray, "atom 3"], cell: Float[np.ndarray, "3 3"]
) -> Moved | None:
    """None where the cell became flat."""
    stretch = np.eye(3)
    if not np.array_equal(cell, listed.cell):
        if _is_flat(cell, listed.periodic):
            return None
        stretch = np.linalg.solve(complete_cell(listed.cell), complete_cell(cell)).T
    displacements = np.zeros((len(listed.batch.types), 3))
    displacements[: len(positions)] = np.linalg.solve(stretch, positions.T).T - listed.positions
    return Moved(listed.batch, displacements, stretch - np.eye(3))


def _reach(moved: Moved, cutoff: float) -> float:
    """How far apart two atoms were at most that are now within the cutoff [length]; NaN where anything is NaN."""
    if not (np.isfinite(moved.strain).all() and np.isfinite(moved.displacements).all()):
        return np.nan
    shrunk = np.linalg.svd(np.eye(3) + moved.strain, compute_uv=False)[-1]
    return cutoff / shrunk + 2.0 * np.sqrt(np.max(np.sum(moved.displacements**2, axis=1)))
