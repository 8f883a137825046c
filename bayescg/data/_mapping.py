"""What a coarse-grained site is made of: the specification, before any file is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bayescg.data._topology import Floats, Integers
from bayescg.errors import InputError

Group = Literal["residue", "molecule"]
Center = Literal["mass", "geometry"]


@dataclass(frozen=True)
class Bead:
    """One bead of each residue or molecule.

    Attributes:
        name: the bead's type; several beads may share one.
        selection: its atoms, in MDAnalysis' selection language, e.g. ``name C1 C2``.
        weights: ``mass`` (centre of mass), ``geometry`` (mean position), or one number per atom in file order.
    """

    name: str
    selection: str
    weights: Center | tuple[float, ...] = "mass"

    def __post_init__(self) -> None:
        if isinstance(self.weights, str):
            if self.weights not in ("mass", "geometry"):
                raise InputError(
                    f"bead {self.name!r}: weights are {self.weights!r}; expected 'mass', 'geometry' or numbers"
                )
            return
        numbers = tuple(float(w) for w in self.weights)
        if not numbers or not np.isfinite(numbers).all() or not sum(numbers) > 0:
            raise InputError(
                f"bead {self.name!r}: weights {numbers}; expected finite numbers with a positive sum"
            )
        object.__setattr__(self, "weights", numbers)


@dataclass(frozen=True)
class Mapping:
    """How atoms become coarse-grained sites. Made by `by_group`, `named_beads` or `atoms`.

    Beads come molecule-major: all beads of the first residue or molecule in the order given, then those of the next.

    Attributes:
        beads: the beads of each group; for `by_group` a single one, whose empty name means the residue's name.
        by: what a group is; ``atom`` is the identity mapping.

    Example:
        >>> from bayescg.data import Bead, Mapping
        >>> water = Mapping.by_group()
        >>> hexane = Mapping.named_beads([Bead("A", "name C1 C2"), Bead("B", "name C3 C4"), Bead("A", "name C5 C6")])
    """

    beads: tuple[Bead, ...]
    by: Literal["residue", "molecule", "atom"]

    @staticmethod
    def by_group(
        by: Group = "residue", center: Center = "mass", selection: str = "all", name: str | None = None
    ) -> Mapping:
        """One bead per residue or molecule.

        Args:
            by: ``residue``, or ``molecule`` (needs bonds or molecule numbers in the topology).
            center: ``mass`` or ``geometry``.
            selection: the atoms that count.
            name: the bead's type; the residue's name if None.
        """
        if by not in ("residue", "molecule"):
            raise InputError(f"mapping: by is {by!r}; expected 'residue' or 'molecule'")
        return Mapping((Bead(name or "", selection, center),), by)

    @staticmethod
    def named_beads(beads: Sequence[Bead], by: Group = "residue") -> Mapping:
        """Several beads per residue or molecule."""
        if not beads:
            raise InputError("mapping: no beads given; expected at least one Bead(name, selection)")
        if by not in ("residue", "molecule"):
            raise InputError(f"mapping: by is {by!r}; expected 'residue' or 'molecule'")
        return Mapping(tuple(beads), by)

    @staticmethod
    def atoms(selection: str = "all") -> Mapping:
        """The atoms themselves, each a site of the type of its name."""
        return Mapping((Bead("", selection, "mass"),), "atom")


@dataclass(frozen=True, eq=False)
class AtomTable:
    """What a topology file says of its atoms, as plain arrays.

    Attributes:
        source: the file, for error messages.
        names: atom names, or types where a file has no names [atom].
        residues: residue number of each atom [atom].
        residue_names: [atom]; None where the file has none.
        molecules: molecule number of each atom [atom]; None where neither bonds nor molecule numbers are known.
        masses: [mass, in the study's units] [atom]; None where unknown.
        charges: [charge] [atom]; None where unknown.
        bonds: [bond 2].
        select: atoms that match a selection, ascending.
        guessed_masses: masses were guessed from atom names.
    """

    source: str
    names: tuple[str, ...]
    residues: Integers
    residue_names: tuple[str, ...] | None
    molecules: Integers | None
    masses: Floats | None
    charges: Floats | None
    bonds: Integers
    select: Callable[[str], Integers]
    guessed_masses: bool = False

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.names)
