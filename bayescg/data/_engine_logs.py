"""Time series that simulation engines write: LAMMPS logs, OpenMM's tables, GROMACS' xvg and edr."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from bayescg.data._edr_integrity import check_edr
from bayescg.data._topology import Floats
from bayescg.data._units import UnitSystem, unit_factor
from bayescg.errors import InputError

QUANTITY = {
    "potential_energy": "energy", "kinetic_energy": "energy", "total_energy": "energy",
    "temperature": "temperature", "pressure": "pressure", "volume": "length^3",
}  # fmt: skip
"""What is read of a log, and what it measures."""
_LAMMPS = {
    "PotEng": "potential_energy", "KinEng": "kinetic_energy", "TotEng": "total_energy", "Temp": "temperature",
    "Press": "pressure", "Volume": "volume",
}  # fmt: skip
_TABLE = {
    "Potential Energy": "potential_energy", "Kinetic Energy": "kinetic_energy", "Total Energy": "total_energy",
    "Temperature": "temperature", "Pressure": "pressure", "Box Volume": "volume",
}  # fmt: skip
_GROMACS = {
    "Potential": "potential_energy", "Kinetic En.": "kinetic_energy", "Total Energy": "total_energy",
    "Temperature": "temperature", "Pressure": "pressure", "Volume": "volume",
}  # fmt: skip


def read_engine_log(path: Path, *, file_units: UnitSystem, units: UnitSystem) -> dict[str, Floats]:
    """The time series of a log, by the suffix of its name: `.csv` (OpenMM), `.xvg` or `.edr` (GROMACS), else LAMMPS.

    Of a LAMMPS log the last run counts. Rows stand as in the file, that of step 0 included.

    Args:
        path: the log.
        file_units: of the engine; columns whose head names a unit are read in that one.
        units: of what is returned.

    Returns:
        Arrays of equal length: those that the file has of potential_energy, kinetic_energy, total_energy, temperature,
        pressure and volume.

    Raises:
        InputError: no such file, no such log, a row that is cut off, a number that is not finite.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from bayescg.data import get_unit_system
        >>> gromacs = get_unit_system("gromacs")
        >>> with TemporaryDirectory() as folder:
        ...     log = Path(folder) / "log.csv"
        ...     _ = log.write_text('#"Step","Potential Energy (kJ/mole)"\\n10,-1.5\\n20,-1.25\\n')
        ...     read_engine_log(log, file_units=gromacs, units=gromacs)
        {'potential_energy': array([-1.5 , -1.25])}
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; run this potential, or put the engine's log there")
    readers: dict[str, Callable[[Path], tuple[dict[str, Floats], Mapping[str, str]]]] = {
        ".csv": _read_csv, ".xvg": _read_xvg, ".edr": _read_edr,
    }  # fmt: skip
    columns, named = readers.get(path.suffix, _read_lammps)(path)
    if not columns:
        raise InputError(
            f"{path}: has none of the columns that are read ({', '.join(QUANTITY)}); log at least one of them"
        )
    found = {}
    for name, values in columns.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise InputError(
                f"{path}: {name} of row {bad[0]} is {values[bad[0]]}; the simulation failed there: shorten its time step"
            )
        found[name] = values * _factor(name, named.get(name, ""), file_units, units)
    return found


def _factor(name: str, written: str, file_units: UnitSystem, units: UnitSystem) -> float:
    """From the file's unit to that of `units`; from the engine's where the file names none."""
    quantity = QUANTITY[name]
    text = written.replace("mole", "mol") or file_units.unit(quantity)
    if quantity == "length^3":
        return unit_factor(text.removesuffix("^3"), "length", units) ** 3
    return unit_factor(text, quantity, units)


def _read_lammps(path: Path) -> tuple[dict[str, Floats], Mapping[str, str]]:
    """The thermodynamic table of the last run."""
    head: list[str] = []
    rows: list[list[str]] = []
    inside = False
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            head, rows, inside = words, [], True
        elif line.startswith("Loop time"):
            inside = False
        elif line.startswith("ERROR"):
            raise InputError(f"{path}: LAMMPS stopped with '{line.strip()}'; mend the run and repeat it")
        elif inside and words and words[0].lstrip("-").isdigit():
            rows.append(words)
    if not head:
        raise InputError(
            f"{path}: holds no thermodynamic output that begins with Step; give LAMMPS' log file"
        )
    if inside:
        raise InputError(f"{path}: ends in the middle of a run, after {len(rows)} rows; let LAMMPS finish")
    return _columns(path, head, rows, _LAMMPS), {}


def _read_csv(path: Path) -> tuple[dict[str, Floats], Mapping[str, str]]:
    """A table with a head that names units in parentheses, as OpenMM's StateDataReporter writes it."""
    rows = [row for row in csv.reader(line.lstrip("#") for line in _lines(path)) if row]
    if not rows:
        raise InputError(f"{path}: is empty; run this potential again")
    split = [name.strip().rstrip(")").split(" (") for name in rows[0]]
    head = [parts[0] for parts in split]
    named = {_TABLE[p[0]]: p[1] for p in split if p[0] in _TABLE and len(p) > 1}
    return _columns(path, head, rows[1:], _TABLE), named


def _read_xvg(path: Path) -> tuple[dict[str, Floats], Mapping[str, str]]:
    """What `gmx energy` writes: legends of the columns after the time."""
    head, rows = ["Time"], []
    for line in _lines(path):
        if line.startswith("@") and " legend " in line and line[1:].split()[0].startswith("s"):
            head.append(line.split('"')[1])
        elif line.strip() and line[0] not in "#@&":
            rows.append(line.split())
    return _columns(path, head, rows, _GROMACS), {}


def _lines(path: Path) -> list[str]:
    """The lines of a table, of which the last must be whole: a number that is cut off is still one."""
    text = path.read_text(errors="replace")
    if text and not text.endswith("\n"):
        raise InputError(
            f"{path}: its last line has no end, so the file is cut off; let the run finish, or copy it again"
        )
    return text.splitlines()


def _read_edr(path: Path) -> tuple[dict[str, Floats], Mapping[str, str]]:
    """GROMACS' binary energies, by pyedr."""
    check_edr(path)
    try:
        import pyedr
    except ImportError:
        raise InputError(
            f"{path}: reading edr files needs pyedr: pip install pyedr; or turn it into xvg by `gmx energy`"
        ) from None
    try:
        with contextlib.redirect_stdout(None):  # it prints where it fails
            terms, named = pyedr.edr_to_dict(str(path)), pyedr.get_unit_dictionary(str(path))
    except (ValueError, RuntimeError, EOFError, IndexError, AssertionError) as error:
        raise InputError(f"{path}: can't be read as an edr file ({error}); copy it again") from error
    known = {name: _GROMACS[name] for name in terms if name in _GROMACS}
    found = {of: np.asarray(terms[name], float) for name, of in known.items()}
    return found, {of: named[name] for name, of in known.items()}


def _columns(
    path: Path, head: list[str], rows: list[list[str]], names: Mapping[str, str]
) -> dict[str, Floats]:
    for number, row in enumerate(rows):
        if len(row) != len(head):
            raise InputError(
                f"{path}: row {number} has {len(row)} columns, the head {len(head)}; the file is cut off or was written over"
            )
    wanted = {k: names[name] for k, name in enumerate(head) if name in names}
    try:
        return {name: np.array([float(row[k]) for row in rows]) for k, name in wanted.items()}
    except ValueError as error:
        raise InputError(f"{path}: {error}; expected numbers, so write the log again") from None


def read_rdf_file(path: Path, *, file_units: UnitSystem, units: UnitSystem) -> tuple[Floats, Floats]:
    """g(r) as an engine wrote it: LAMMPS' `fix ave/time ... mode vector` of `compute rdf`, or the xvg of `gmx rdf`.

    Of several averages in a LAMMPS file the mean is taken.

    Args:
        path: the file.
        file_units: of the engine.
        units: of the distances returned.

    Returns:
        Distances [length] and g(r).

    Raises:
        InputError: no such file, or not of this form.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from bayescg.data import get_unit_system
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder) / "rdf.txt"
        ...     _ = file.write_text("# Time-averaged data\\n# head\\n# Row c_1[1]\\n100 2\\n1 0.5 0 0\\n2 1.5 1.25 3\\n")
        ...     lj = get_unit_system("lj")
        ...     [values.tolist() for values in read_rdf_file(file, file_units=lj, units=lj)]
        [[0.5, 1.5], [0.0, 1.25]]
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; write g(r) of this run there")
    lines = [
        s.split() for s in path.read_text(errors="replace").splitlines() if s.strip() and s[0] not in "#@&"
    ]
    factor = unit_factor(file_units.length, "length", units)
    try:
        if path.suffix == ".xvg":
            table = np.array([[float(row[0]), float(row[1])] for row in lines])
            return table[:, 0] * factor, table[:, 1]
        blocks, at = [], 0
        while at < len(lines):
            (_, count), at = lines[at], at + 1
            block = [[float(row[1]), float(row[2])] for row in lines[at : at + int(count)]]
            if len(block) < int(count):
                raise ValueError(f"block of {count} rows has {len(block)}")
            blocks.append(block)
            at += int(count)
        table = np.mean(blocks, axis=0)
        return table[:, 0] * factor, table[:, 1]
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: is no g(r) file ({error}); write it again") from None
