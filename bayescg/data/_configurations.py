"""What was computed: labelled atomic configurations of unequal size, with energies, forces and stresses.

Stress is (1/V) ∂E/∂strain, so tension is positive; it's an energy per volume and never a pressure unit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayescg.data._configuration_checks import (
    atom_rows,
    check_cell,
    check_range,
    check_species,
    check_stress,
    frozen,
    per_configuration,
    same_length,
)
from bayescg.data._topology import Floats, Integers
from bayescg.data._units import UnitSystem, conversion
from bayescg.errors import InputError

Booleans = NDArray[np.bool_]


def _no_floats() -> Floats:
    return np.empty(0, np.float64)


@dataclass(frozen=True, eq=False)
class Configurations:
    """Labelled configurations, in the units of one `UnitSystem`. All arrays are copied and read-only.

    Attributes:
        species: chemical symbols, sorted; the species index counts along it.
        positions: of each configuration, [length]; need not be wrapped into the cell.
        types: species index of each atom of each configuration.
        cell: rows are lattice vectors [length]; a row of zeros where the direction is open.
        periodic: which directions repeat.
        units: the unit system of every array here.
        energy: potential energy [energy]; NaN where absent.
        forces: of each configuration, [force], or None where absent.
        stress: (1/V) ∂E/∂strain, tension positive [energy/length³]; NaN where absent.
        group: what a configuration belongs to (where it came from).
        weight: how much a configuration counts; 1 if not given.
        temperature: of the run a configuration was taken from [temperature]; NaN where unknown.
        molecules: label of the molecule of each atom of each configuration: equal numbers are one molecule, whatever they
            are; empty where nothing is known of molecules.

    Raises:
        InputError: shapes that disagree, numbers that are not finite, species that are not listed, a cell without
            volume, a stress where a direction is open or which is not symmetric.

    Example:
        >>> import numpy as np
        >>> from bayescg.data import Configurations, get_unit_system
        >>> dimers = Configurations(
        ...     species=("Ar",),
        ...     positions=tuple(np.array([[0.0, 0.0, 0.0], [r, 0.0, 0.0]]) for r in (3.6, 3.8)),
        ...     types=(np.zeros(2, int),) * 2,
        ...     cell=np.zeros((2, 3, 3)),
        ...     periodic=np.zeros((2, 3), bool),
        ...     units=get_unit_system("metal"),
        ...     energy=np.array([-0.0098, -0.0103]),
        ... )
        >>> dimers.n_atoms.tolist()
        [2, 2]
    """

    species: tuple[str, ...]
    positions: tuple[Floats, ...]  # each [atom 3]
    types: tuple[Integers, ...]  # each [atom]
    cell: Floats  # [configuration 3 3]
    periodic: Booleans  # [configuration 3]
    units: UnitSystem
    energy: Floats = field(default_factory=_no_floats)  # [configuration]
    forces: tuple[Floats | None, ...] = ()  # each [atom 3]
    stress: Floats = field(default_factory=_no_floats)  # [configuration 3 3]
    group: tuple[str, ...] = ()
    weight: Floats = field(default_factory=_no_floats)  # [configuration]
    temperature: Floats = field(default_factory=_no_floats)  # [configuration]
    molecules: tuple[Integers, ...] = ()  # each [atom]

    def __post_init__(self) -> None:
        put = object.__setattr__
        n = len(self.positions)
        if n == 0:
            raise InputError(
                "configurations: none given; expected at least one (is a selection or a slice empty?)"
            )
        put(self, "species", check_species(self.species))
        put(self, "positions", tuple(atom_rows(x, k, "positions") for k, x in enumerate(self.positions)))
        same_length(self.types, n, "types")
        put(self, "types", tuple(self._types(t, k) for k, t in enumerate(self.types)))
        put(self, "periodic", per_configuration(self.periodic, (n, 3), "periodic", dtype=np.bool_))
        put(self, "cell", per_configuration(self.cell, (n, 3, 3), "cell"))
        if self.molecules:
            same_length(self.molecules, n, "molecules")
            meaning = "the label of each atom's molecule"
            labels = (self._whole_numbers(m, k, "molecules", meaning) for k, m in enumerate(self.molecules))
            put(self, "molecules", tuple(labels))
        forces = self.forces or (None,) * n
        same_length(forces, n, "forces")
        put(self, "forces", tuple(self._forces(f, k) for k, f in enumerate(forces)))
        put(self, "stress", per_configuration(self.stress, (n, 3, 3), "stress", absent=np.nan))
        for k in range(n):
            check_cell(self.cell[k], self.periodic[k], k)
            check_stress(self.stress[k], bool(self.periodic[k].all()), k)
        group = self.group or ("all",) * n
        same_length(group, n, "group")
        put(self, "group", tuple(str(name) for name in group))
        for name, absent, least in (
            ("energy", np.nan, -np.inf),
            ("weight", 1.0, 0.0),
            ("temperature", np.nan, 0.0),
        ):
            values = per_configuration(getattr(self, name), (n,), name, absent=absent)
            check_range(values, name, least=least, may_be_absent=bool(np.isnan(absent)))
            put(self, name, values)

    def _whole_numbers(self, values: ArrayLike, k: int, name: str, meaning: str) -> Integers:
        array = np.array(values)
        if array.shape != self.positions[k].shape[:1] or not np.issubdtype(array.dtype, np.integer):
            raise InputError(
                f"configurations: {name} of configuration {k} have shape {array.shape} and dtype {array.dtype}; "
                f"expected {len(self.positions[k])} integers, {meaning}"
            )
        return frozen(array.astype(np.int64))

    def _types(self, values: ArrayLike, k: int) -> Integers:
        array = self._whole_numbers(values, k, "types", "one per atom")
        if array.min() < 0 or array.max() >= len(self.species):
            wrong = int(array.min() if array.min() < 0 else array.max())
            raise InputError(
                f"configurations: configuration {k} has an atom of species index {wrong}; expected 0 to "
                f"{len(self.species) - 1} ({', '.join(self.species)}), so list the missing species"
            )
        return array

    def _forces(self, values: ArrayLike | None, k: int) -> Floats | None:
        if values is None:
            return None
        array = atom_rows(values, k, "forces")
        if array.shape != self.positions[k].shape:
            raise InputError(
                f"configurations: forces of configuration {k} have shape {array.shape}; "
                f"expected {self.positions[k].shape}, one row per atom"
            )
        return array

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def n_configurations(self) -> int:
        """Number of configurations."""
        return len(self.positions)

    @property
    def n_atoms(self) -> Integers:
        """Number of atoms of each configuration [configuration]."""
        return np.array([len(positions) for positions in self.positions], np.int64)

    @property
    def volume(self) -> Floats:
        """Volume of each cell [length³]; inf where a direction is open [configuration]."""
        return np.where(self.periodic.all(axis=1), np.abs(np.linalg.det(self.cell)), np.inf)

    @property
    def composition(self) -> Integers:
        """Number of atoms of each species [configuration species]."""
        return np.stack([np.bincount(types, minlength=len(self.species)) for types in self.types])

    @property
    def has_forces(self) -> Booleans:
        """Which configurations carry forces [configuration]."""
        return np.array([forces is not None for forces in self.forces])

    def __getitem__(self, index: slice | ArrayLike) -> Configurations:
        """The configurations of a slice, of an array of numbers, or of a mask."""
        if isinstance(index, (int, np.integer)):
            raise TypeError(
                f"configurations: index {index} would be one; use configurations[{index}:{index + 1}]"
            )
        if isinstance(index, slice):
            rows = np.arange(len(self))[index]
        else:
            rows = np.asarray(index)
            if rows.dtype == bool and rows.shape != (len(self),):
                raise InputError(f"configurations: mask of shape {rows.shape}; expected ({len(self)},)")
            rows = np.arange(len(self))[rows] if rows.size else np.empty(0, np.int64)
        return replace(
            self,
            positions=tuple(self.positions[k] for k in rows),
            types=tuple(self.types[k] for k in rows),
            forces=tuple(self.forces[k] for k in rows),
            group=tuple(self.group[k] for k in rows),
            cell=self.cell[rows],
            periodic=self.periodic[rows],
            energy=self.energy[rows],
            stress=self.stress[rows],
            weight=self.weight[rows],
            temperature=self.temperature[rows],
            molecules=tuple(self.molecules[k] for k in rows) if self.molecules else (),
        )

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, in the order in which they first occur."""
        return tuple(dict.fromkeys(self.group))

    def select(self, *, group: str | Iterable[str]) -> Configurations:
        """The configurations of a group, or of several.

        Raises:
            InputError: there is no such group.
        """
        wanted = self._groups(group)
        return self[np.array([name in wanted for name in self.group])]

    def without(self, *, group: str | Iterable[str]) -> Configurations:
        """The configurations of all other groups.

        Raises:
            InputError: there is no such group, or nothing is left.
        """
        dropped = self._groups(group)
        return self[np.array([name not in dropped for name in self.group])]

    def _groups(self, group: str | Iterable[str]) -> set[str]:
        wanted = {group} if isinstance(group, str) else set(group)
        unknown = sorted(wanted - set(self.group))
        if unknown or not wanted:
            raise InputError(
                f"configurations: no group {', '.join(map(repr, unknown)) or 'named'}; "
                f"there are {', '.join(map(repr, self.groups))}"
            )
        return wanted

    def isolated_atom_energies(self, *, group: str | None = None) -> dict[str, float]:
        """Energies of single atoms by species [energy], the mean where there are several.

        Args:
            group: take the single atoms of this group, in whatever cell they are; None takes those without any
                periodic direction (a single atom in a periodic cell is usually a crystal).
        """
        alone = self.n_atoms == 1
        if group is None:
            alone &= ~self.periodic.any(axis=1)
        else:
            wanted = self._groups(group)
            alone &= np.array([name in wanted for name in self.group])
        alone &= ~np.isnan(self.energy)
        kinds = np.array([types[0] for types in self.types])
        return {
            name: float(self.energy[alone & (kinds == index)].mean())
            for index, name in enumerate(self.species)
            if (alone & (kinds == index)).any()
        }

    def to(self, units: UnitSystem) -> Configurations:
        """The same configurations in another unit system.

        Raises:
            InputError: one of the two systems is ``lj``.
        """
        length, energy, force = (
            conversion(name, self.units, units) for name in ("length", "energy", "force")
        )
        return replace(
            self,
            units=units,
            positions=tuple(positions * length for positions in self.positions),
            cell=self.cell * length,
            energy=self.energy * energy,
            forces=tuple(None if forces is None else forces * force for forces in self.forces),
            stress=self.stress * (energy / length**3),
            temperature=self.temperature * conversion("temperature", self.units, units),
        )

    @staticmethod
    def concatenate(parts: Sequence[Configurations]) -> Configurations:
        """Joins sets of configurations; the species are those of all of them.

        Raises:
            InputError: nothing to join, parts in different units, or only some with labels of molecules.
        """
        if not parts:
            raise InputError("concatenate: no configurations given; expected at least one part")
        for number, part in enumerate(parts):
            if part.units != parts[0].units:
                raise InputError(
                    f"concatenate: part {number} is in {part.units.name} units, part 0 in {parts[0].units.name}; "
                    "convert it with .to(units)"
                )
            if bool(part.molecules) != bool(parts[0].molecules):
                raise InputError(
                    f"concatenate: only one of part 0 and part {number} has labels of molecules; give both or neither"
                )
        species = tuple(sorted({name for part in parts for name in part.species}))
        places = [np.array([species.index(name) for name in part.species], np.int64) for part in parts]
        return Configurations(
            species=species,
            positions=tuple(x for part in parts for x in part.positions),
            types=tuple(place[t] for part, place in zip(parts, places, strict=True) for t in part.types),
            cell=np.concatenate([part.cell for part in parts]),
            periodic=np.concatenate([part.periodic for part in parts]),
            units=parts[0].units,
            energy=np.concatenate([part.energy for part in parts]),
            forces=tuple(f for part in parts for f in part.forces),
            stress=np.concatenate([part.stress for part in parts]),
            group=tuple(name for part in parts for name in part.group),
            weight=np.concatenate([part.weight for part in parts]),
            temperature=np.concatenate([part.temperature for part in parts]),
            molecules=tuple(labels for part in parts for labels in part.molecules),
        )

    def checksum(self) -> str:
        """SHA-256 of everything here, to tell data sets apart."""
        digest = hashlib.sha256(repr((self.species, self.group, self.units.name)).encode())
        digest.update(
            self.n_atoms.astype("<i8").tobytes() + self.has_forces.tobytes() + self.periodic.tobytes()
        )
        for types in self.types:
            digest.update(types.astype("<i8").tobytes())
        forces = (rows for rows in self.forces if rows is not None)
        rest = (self.cell, self.energy, self.stress, self.weight, self.temperature)
        for array in (*self.positions, *forces, *rest):
            digest.update(array.astype("<f8").tobytes())
        for labels in self.molecules:
            digest.update(labels.astype("<i8").tobytes())
        return digest.hexdigest()
