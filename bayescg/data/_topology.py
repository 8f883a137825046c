"""The system and the state that frames belong to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bayescg.errors import InputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def _no_floats() -> Floats:
    return np.empty(0, np.float64)


def _no_integers() -> Integers:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class State:
    """A thermodynamic state.

    Attributes:
        temperature: [temperature], positive.
        pressure: [pressure] of a constant-pressure ensemble; None at constant volume.
        composition: number of molecules (or mole fraction) by name, where that distinguishes states.
    """

    temperature: float
    pressure: float | None = None
    composition: dict[str, float] | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"state: temperature is {self.temperature}; expected a positive number")
        if self.pressure is not None and not np.isfinite(self.pressure):
            raise InputError(f"state: pressure is {self.pressure}; expected a finite number or none")


@dataclass(frozen=True, eq=False)
class Topology:
    """The sites of one system and what connects them.

    Attributes:
        site_types: name of each site's type.
        masses: mass of each site [mass].
        charges: charge of each site [charge]; zeros if not given.
        molecules: number of the molecule that each site belongs to; each site its own if not given.
        bonds: pairs of bonded sites.
        angles: triples i-j-k with j in the middle.
        dihedrals: quadruples i-j-k-l along a chain.
        exclusions: pairs of sites between which non-bonded terms don't act.
    """

    site_types: tuple[str, ...]
    masses: Floats  # [site]
    charges: Floats = field(default_factory=_no_floats)  # [site]
    molecules: Integers = field(default_factory=_no_integers)  # [site]
    bonds: Integers = field(default_factory=_no_integers)  # [bond 2]
    angles: Integers = field(default_factory=_no_integers)  # [angle 3]
    dihedrals: Integers = field(default_factory=_no_integers)  # [dihedral 4]
    exclusions: Integers = field(default_factory=_no_integers)  # [pair 2]

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "site_types", tuple(str(name) for name in self.site_types))
        n = len(self.site_types)
        masses = np.array(self.masses, np.float64).reshape(-1)
        charges = np.array(self.charges, np.float64).reshape(-1)
        molecules = np.array(self.molecules, np.int64).reshape(-1)
        put(self, "masses", masses)
        put(self, "charges", charges if charges.size else np.zeros(n))
        put(self, "molecules", molecules if molecules.size else np.arange(n))
        for name, found in (("masses", masses), ("charges", self.charges), ("molecules", self.molecules)):
            if found.shape != (n,):
                raise InputError(f"topology: {found.size} {name} for {n} sites; expected one for each site")
        bad = np.flatnonzero(~(np.isfinite(masses) & (masses > 0)))
        if bad.size:
            raise InputError(
                f"topology: site {bad[0]} (type {self.site_types[bad[0]]}) has mass {masses[bad[0]]}; "
                "expected a positive mass, so give masses or leave massless sites out"
            )
        for name, width in (("bonds", 2), ("angles", 3), ("dihedrals", 4), ("exclusions", 2)):
            put(self, name, _tuples(getattr(self, name), name, width, n))

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return len(self.site_types)

    def repeat(self, count: int) -> Topology:
        """The topology of `count` copies of this one, molecule-major: build one molecule, repeat it."""
        n, shift = self.n_sites, np.arange(count)[:, None, None]
        per_copy = int(self.molecules.max(initial=-1)) + 1

        def tile(tuples: Integers) -> Integers:
            return (tuples[None] + n * shift).reshape(-1, tuples.shape[1])

        return Topology(
            site_types=self.site_types * count,
            masses=np.tile(self.masses, count),
            charges=np.tile(self.charges, count),
            molecules=(self.molecules[None] + per_copy * np.arange(count)[:, None]).reshape(-1),
            bonds=tile(self.bonds),
            angles=tile(self.angles),
            dihedrals=tile(self.dihedrals),
            exclusions=tile(self.exclusions),
        )


def _tuples(values: Integers, name: str, width: int, n_sites: int) -> Integers:
    array = np.array(values, np.int64)
    if array.size == 0:
        return np.empty((0, width), np.int64)
    if array.ndim != 2 or array.shape[1] != width:
        raise InputError(f"topology: {name} have shape {array.shape}; expected [n {width}]")
    if array.min() < 0 or array.max() >= n_sites:
        raise InputError(
            f"topology: {name} name site {array.max() if array.max() >= n_sites else array.min()}; "
            f"expected indices from 0 to {n_sites - 1}"
        )
    return array
