"""Crystals: a cell that repeats, the atoms in it, and the edges that lattice constants are reported for."""

from typing import Self

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from bayescg.errors import InputError


def _matrix(values: object) -> np.ndarray:
    return np.asarray(values, float)


class Crystal(eqx.Module):
    """A periodic crystal: the starting point of a relaxation, and what its strains are counted from.

    Computations take `cell`, best a primitive one; lattice constants are lengths and angles of `conventional`, whose
    edges may be any vectors of the same lattice. Elastic constants refer to the Cartesian axes of both.

    Attributes:
        cell: rows are lattice vectors [length].
        fractions: fractional coordinates of the atoms [dimensionless].
        symbols: chemical symbol of each atom.
        conventional: rows are the edges of the conventional cell [length].

    Raises:
        InputError: a flat cell, numbers that are not finite, another number of symbols than of atoms.

    Example:
        >>> silicon = Crystal.bulk("Si", "diamond", a=5.43)
        >>> silicon.symbols, round(silicon.volume, 3), silicon.conventional.diagonal().tolist()
        (('Si', 'Si'), 40.026, [5.43, 5.43, 5.43])
    """

    cell: Float[np.ndarray, "3 3"] = eqx.field(converter=_matrix)
    fractions: Float[np.ndarray, "atom 3"] = eqx.field(converter=_matrix)
    symbols: tuple[str, ...] = eqx.field(static=True)
    conventional: Float[np.ndarray, "3 3"] = eqx.field(converter=_matrix)

    def __check_init__(self):
        if self.cell.shape != (3, 3) or self.conventional.shape != (3, 3):
            raise InputError(
                f"a crystal's cells are three vectors each, found arrays of shape {self.cell.shape} and"
                f" {self.conventional.shape}"
            )
        if self.fractions.shape != (len(self.symbols), 3) or not self.symbols:
            raise InputError(
                f"a crystal needs three fractional coordinates for each of its {len(self.symbols)} symbols,"
                f" found an array of shape {self.fractions.shape}"
            )
        for what, values in (("cell", self.cell), ("fractional coordinates", self.fractions)):
            if not np.all(np.isfinite(values)):
                raise InputError(f"the crystal's {what} contain NaN or inf")
        if self.volume <= 1e-9 * np.max(np.abs(self.cell), initial=1e-300) ** 3:
            raise InputError(
                "the crystal's cell is flat: a crystal repeats along three independent directions"
            )

    @classmethod
    def bulk(cls, symbols: str, structure: str, *, a: float, c: float | None = None) -> Self:
        """A simple crystal by the name of its structure, as the primitive cell that `ase.build.bulk` makes.

        Args:
            symbols: of the elements, e.g. `Si` or `NaCl`.
            structure: one of ASE's names, e.g. `fcc`, `bcc`, `hcp`, `diamond`, `rocksalt`, `zincblende`, `wurtzite`.
            a: first guess of the lattice constant [length].
            c: of the second one; default the ideal ratio [length].

        Raises:
            InputError: a structure or symbols that ASE does not know.
        """
        from ase.build import bulk

        try:
            atoms = bulk(symbols, structure, a=a, c=c)
            cubic = structure in ("fcc", "bcc", "diamond", "zincblende", "rocksalt")
            edges = bulk(symbols, structure, a=a, cubic=True).cell if cubic else atoms.cell
        except (ValueError, KeyError, RuntimeError, NotImplementedError) as error:
            raise InputError(f"no crystal '{symbols}' of structure '{structure}': {error}") from error
        return cls.from_atoms(atoms, conventional=np.asarray(edges))

    @classmethod
    def from_atoms(cls, atoms: object, *, conventional: Float[np.ndarray, "3 3"] | None = None) -> Self:
        """The crystal of an `ase.Atoms`.

        Args:
            atoms: periodic in three directions.
            conventional: edges of the conventional cell; default the cell itself [length].

        Raises:
            InputError: something else than an `ase.Atoms`, or one that is not periodic.
        """
        from ase import Atoms

        if not isinstance(atoms, Atoms):
            raise InputError(f"a crystal is made from an ase.Atoms, found {type(atoms).__name__}")
        if not np.all(atoms.pbc):
            raise InputError("a crystal repeats in three directions; set the atoms' pbc = True")
        cell = np.asarray(atoms.cell)
        fractions = atoms.get_scaled_positions(wrap=False)
        return cls(
            cell,
            fractions,
            tuple(atoms.get_chemical_symbols()),
            cell if conventional is None else conventional,
        )

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the cell."""
        return len(self.symbols)

    @property
    def positions(self) -> Float[np.ndarray, "atom 3"]:
        """Cartesian coordinates [length]."""
        return self.fractions @ self.cell

    @property
    def volume(self) -> float:
        """Of the cell [length³]."""
        return float(abs(np.linalg.det(self.cell)))

    def types(self, species: tuple[str, ...]) -> Int[np.ndarray, " atom"]:
        """Species index of each atom along `species`.

        Raises:
            InputError: the crystal has a species that is not among them.
        """
        unknown = sorted(set(self.symbols) - set(species))
        if unknown:
            raise InputError(
                f"the crystal contains {', '.join(unknown)}, the potential knows {', '.join(species)}:"
                " choose a potential for all species"
            )
        return np.asarray([species.index(symbol) for symbol in self.symbols], int)
