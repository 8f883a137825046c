"""Topologies and trajectories through MDAnalysis, which is imported only when one is read.

MDAnalysis gives ångström, kJ/mol/Å and ps, whatever the file holds. The index of frames that it would keep beside an
xtc or trr file (a hidden ``.NAME_offsets.npz``) is made in memory instead: reading writes nothing.

References:
    Michaud-Agrawal et al., J. Comput. Chem. 32, 2319 (2011), doi:10.1002/jcc.21787.
    Gowers et al., Proc. 15th Python in Science Conf. 98 (2016), doi:10.25080/Majora-629e541a-00e.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bayescg.data._integrity import check_complete
from bayescg.data._mapping import AtomTable
from bayescg.data._raw_frame import RawFrame
from bayescg.data._topology import Integers
from bayescg.data._units import UnitSystem, unit_factor
from bayescg.errors import InputError

LENGTH, FORCE, TIME = "angstrom", "kJ/mol/angstrom", "ps"
_FAILURES = (
    OSError, EOFError, ValueError, TypeError, IndexError, KeyError, RuntimeError, AttributeError, ImportError,
)  # fmt: skip

T = TypeVar("T")


def _library(path: Path) -> Any:
    try:
        import MDAnalysis
    except ModuleNotFoundError:
        raise InputError(
            f"{path}: reading it needs MDAnalysis; install it with: pip install MDAnalysis"
        ) from None
    return MDAnalysis


def read_atoms(path: Path, *, units: UnitSystem, file_mass_unit: str) -> AtomTable:
    """Reads a topology file: names, residues, molecules, masses, charges, bonds.

    Args:
        path: the file.
        units: the study's system.
        file_mass_unit: unit of masses in the file, ``g/mol`` but for reduced units.

    Raises:
        InputError: no such file, or MDAnalysis can't read it.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such topology file; check the path")
    library = _library(path)
    is_data = path.suffix in (".data", ".lmp") or path.name.startswith("data.")
    missing = library.exceptions.NoDataError
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if not is_data and not _has_atoms(library, path):
                raise ValueError("it holds coordinates only, no names of atoms")
            universe = library.Universe(str(path), to_guess=(), topology_format="DATA" if is_data else None)
        except _FAILURES as error:
            raise InputError(
                f"{path}: can't be read as a topology ({_one_line(error)}); give a whole tpr, gro, pdb, psf or LAMMPS "
                "data file, of a version that MDAnalysis knows"
            ) from None
        atoms = universe.atoms

        def optional(read: Callable[[], T]) -> T | None:
            try:
                return read()
            except missing:
                return None

        masses, guessed = optional(lambda: atoms.masses), False
        if masses is None and file_mass_unit == "g/mol":
            guessed = True
            try:
                universe.guess_TopologyAttrs(to_guess=["types", "masses"])
                masses = atoms.masses
            except _FAILURES:
                masses = None
        bonds = optional(lambda: np.asarray(universe.bonds.indices, np.int64))
        if bonds is None or not bonds.size:
            bonds = np.empty((0, 2), np.int64)
        molecules = optional(lambda: np.asarray(atoms.fragindices, np.int64)) if bonds.size else None
        if molecules is None:
            molecules = optional(lambda: np.asarray(atoms.molnums, np.int64))
        names = optional(lambda: atoms.names)
        types = optional(lambda: atoms.types)
        residue_names = optional(lambda: atoms.resnames)
        charges = optional(lambda: np.asarray(atoms.charges, np.float64))
    labels = names if names is not None else types
    try:
        factor = unit_factor(file_mass_unit, "mass", units)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return AtomTable(
        source=str(path),
        names=tuple(str(n) for n in labels) if labels is not None else ("?",) * len(atoms),
        residues=np.asarray(atoms.resindices, np.int64),
        residue_names=None if residue_names is None else tuple(str(n) for n in residue_names),
        molecules=molecules,
        masses=None if masses is None else _tidy(masses) * factor,
        charges=None if charges is None else _tidy(charges),
        bonds=bonds,
        select=_selector(universe, path),
        guessed_masses=guessed and masses is not None,
    )


def _has_atoms(library: Any, path: Path) -> bool:
    """Whether a file of this name can say more of atoms than how many there are."""
    parser = library.topology.core.get_parser_for(str(path))
    return parser is not library.topology.MinimalParser.MinimalParser


def _tidy(values: np.ndarray) -> np.ndarray:
    """Undoes single precision: 15.99940014 in a tpr file is 15.9994 in the force field."""
    return np.array([float(f"{v:.7g}") if np.float32(v) == v else float(v) for v in values])


def _selector(universe: Any, path: Path) -> Callable[[str], Integers]:
    refused = _library(path).exceptions.SelectionError

    def select(selection: str) -> Integers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return np.sort(np.asarray(universe.select_atoms(selection).indices, np.int64))
            except (*_FAILURES, refused) as error:
                raise InputError(
                    f"{path}: selection {selection!r} can't be used ({_one_line(error)}); "
                    "expected MDAnalysis' selection language, e.g. 'name OW' or 'resname SOL'"
                ) from None

    return select


@dataclass(frozen=True)
class MdTrajectory:
    """A trajectory file that MDAnalysis reads."""

    path: Path
    n_atoms: int
    n_frames: int
    needs_box: bool

    @staticmethod
    def open(path: Path, *, n_atoms: int, needs_box: bool) -> MdTrajectory:
        """Checks that the file is whole and counts its frames.

        Args:
            path: the file.
            n_atoms: number of atoms in the topology, for formats that don't say.
            needs_box: a frame without a box is an error; otherwise its box is open.

        Raises:
            InputError: no such file, truncated, or not readable.
        """
        check_complete(path)
        with _reader(path, n_atoms) as reader:
            return MdTrajectory(path, int(reader.n_atoms), int(reader.n_frames), needs_box)

    def frames(self, rows: range) -> Iterator[RawFrame]:
        """The frames of these numbers."""
        with _reader(self.path, self.n_atoms) as reader:
            row = rows.start
            try:
                for step in reader[rows.start : rows.stop : rows.step]:
                    yield self._frame(step, row)
                    row += rows.step
            except _FAILURES as error:
                raise InputError(
                    f"{self.path}: frame {row} can't be read ({_one_line(error)}); copy it again"
                ) from None
            if row < rows.stop:
                raise InputError(
                    f"{self.path}: ends at frame {row}, though it announces {self.n_frames} frames; copy it again"
                )

    def _frame(self, step: Any, row: int) -> RawFrame:
        if not step.has_positions:
            raise InputError(
                f"{self.path}: frame {row} has no positions, only velocities or forces; "
                "choose the frames that have them with start and stride"
            )
        box = step.dimensions
        forces = step.forces.copy() if step.has_forces else None
        if not self.needs_box:
            return RawFrame(step.positions.copy(), np.full(3, np.inf), forces, float(step.time))
        if box is None or not np.all(np.asarray(box[:3]) > 0):
            raise InputError(
                f"{self.path}: frame {row} has no box; expected periodic edge lengths, so write the trajectory with "
                "its unit cell (PDB: CRYST1), or give box=..."
            )
        if np.abs(np.asarray(box[3:6]) - 90.0).max() > 1e-2:
            angles = " ".join(f"{angle:.2f}" for angle in box[3:6])
            raise InputError(
                f"{self.path}: frame {row} has a triclinic box (angles {angles}); expected 90 90 90, so run the "
                "reference simulation in a rectangular box"
            )
        return RawFrame(
            positions=step.positions.copy(),
            box=np.asarray(box[:3], np.float64),
            forces=forces,
            time=float(step.time),
        )


def _reader(path: Path, n_atoms: int) -> Any:
    library = _library(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _clean_reader(library.coordinates.core.get_reader_for(str(path)))(
                str(path), n_atoms=n_atoms
            )
        except _FAILURES as error:
            raise InputError(
                f"{path}: can't be read as a trajectory ({_one_line(error)}); give a whole xtc, trr, dcd, pdb or LAMMPS "
                "dump file" + ("; mapped frames are no atomistic trajectory" if path.suffix == ".nc" else "")
            ) from None


@functools.cache
def _clean_reader(kind: type) -> type:
    """MDAnalysis' reader, but it leaves no index beside the trajectory, and no traceback where it can't be made.

    A reader whose ``__init__`` failed is still deleted, and then closes files that it never opened.
    """

    class CleanReader(kind):  # type: ignore[misc, valid-type]
        def _load_offsets(self) -> None:
            self._read_offsets()

        def _read_offsets(self, store: bool = False) -> None:
            super()._read_offsets(store=False)

        def __del__(self) -> None:
            with contextlib.suppress(AttributeError):
                super().__del__()

    return CleanReader


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 120 else text[:117] + "..."
