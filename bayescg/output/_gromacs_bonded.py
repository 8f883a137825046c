"""Tables of bonded potentials as GROMACS reads them, in every version: bonds, angles and dihedrals."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.data import UnitSystem, conversion, get_unit_system
from bayescg.errors import InputError
from bayescg.output._engine_files import write_text

BondedKind = Literal["bond", "angle", "dihedral"]
_DEGREE = np.pi / 180.0
_ANGLE_STEP = 0.5
"""Between rows by default [degree]: the cubic in between is exact to 1e-9 of a potential with three minima."""
_LENGTH_STEP = 0.001
"""Between rows by default [nm]."""
_CLOSED = 1e-5
"""Largest jump where a dihedral closes, of the largest energy's size."""


class _Kind(NamedTuple):
    """Letter in the file's name, section and function type in a topology, first and last angle [degree]."""

    letter: str
    section: str
    function: int
    span: tuple[float, float]


KINDS: dict[str, _Kind] = {
    "bond": _Kind("b", "bonds", 8, (0.0, np.nan)),
    "angle": _Kind("a", "angles", 8, (0.0, 180.0)),
    "dihedral": _Kind("d", "dihedrals", 8, (-180.0, 180.0)),
}


def write_gromacs_bonded_table(
    folder: Path,
    energy: Callable[[Float[Array, ""]], Float[Array, ""]],
    *,
    kind: BondedKind,
    number: int = 0,
    units: UnitSystem,
    longest: float | None = None,
    rows: int | None = None,
    words: str = "",
) -> Path:
    """Writes a bonded potential as GROMACS' `table_b0.xvg`, `table_a0.xvg` or `table_d0.xvg`.

    The columns are x, U(x) and −dU/dx. Of a bond x is its length in nm, from 0, and the last column is in kJ/mol/nm; of
    angles x is in degrees, from 0 to 180, of dihedrals from −180 to 180 with 0 for cis, and the last column is in
    kJ/mol/degree. A topology names the table by function type 8, its number and a factor, here 1.0:

        [ dihedrals ]
        ; i j k l type table factor
          1 2 3 4 8    0     1.0

    and `gmx mdrun -tableb table_d0.xvg` reads it. GROMACS interpolates by the cubic that has the energies and slopes of
    both rows, and stops where a bond becomes longer than its table.

    Args:
        folder: where the file is written.
        energy: of one bond length [length], angle or dihedral [rad], in the units of the study; JAX takes its slope.
        kind: `bond`, `angle` or `dihedral`.
        number: of the table, as the topology names it.
        units: of the study, but not `lj`.
        longest: end of a bond's table [length]; needed for bonds.
        rows: by default one every 0.001 nm or 0.5 degrees.
        words: of where the potential comes from, for the first line.

    Returns:
        The file.

    Raises:
        InputError: reduced units, an energy that is not finite everywhere in the table or does not close at ±180
            degrees, a bond without its longest length, JAX without 64-bit numbers.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as place:
        ...     table = write_gromacs_bonded_table(
        ...         Path(place), lambda phi: 5.0 * (1.0 + jnp.cos(phi)), kind="dihedral", units=get_unit_system("gromacs")
        ...     )
        ...     table.name, np.loadtxt(table)[[0, 360, -1], :2].tolist()
        ('table_d0.xvg', [[-180.0, 0.0], [0.0, 10.0], [180.0, 0.0]])

    References:
        GROMACS reference manual, section "Tabulated bonded interaction functions", doi:10.5281/zenodo.7323409.
    """
    if jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise InputError(
            "bonded table: needs 64-bit numbers; call jax.config.update('jax_enable_x64', True) first"
        )
    x = bonded_rows(kind, units=units, longest=longest, rows=rows)
    inside = jnp.asarray(x * _study_unit(kind, units))
    value, slope = (np.asarray(a, float) for a in jax.vmap(jax.value_and_grad(energy))(inside))
    return write_bonded_columns(folder, x, value, slope, kind=kind, number=number, units=units, words=words)


def bonded_rows(
    kind: str, *, units: UnitSystem, longest: float | None = None, rows: int | None = None
) -> Float[np.ndarray, " row"]:
    """Where a table has its rows [nm or degree].

    Raises:
        InputError: an unknown kind, a bond without its longest length, fewer than ten rows.
    """
    if kind not in KINDS:
        raise InputError(f"bonded table: kind '{kind}' is unknown; use one of {', '.join(KINDS)}")
    if (longest is None) == (kind == "bond"):
        raise InputError(f"bonded table: longest={longest} for kind '{kind}'; bonds need it, and only they")
    first, last = KINDS[kind].span
    step = _ANGLE_STEP
    if longest is not None:
        last, step = longest * conversion("length", units, get_unit_system("gromacs")), _LENGTH_STEP
        if not 0.0 < last < np.inf:
            raise InputError(f"bonded table: longest={longest:g}; expected a positive length")
    count = 1 + int(np.ceil((last - first) / step - 1e-9)) if rows is None else rows
    if count < 10:
        raise InputError(f"bonded table: {count} rows are too few to interpolate; ask for more")
    return np.linspace(first, last, count)


def write_bonded_columns(
    folder: Path,
    x: Float[np.ndarray, " row"],
    energy: Float[np.ndarray, " row"],
    slope: Float[np.ndarray, " row"],
    *,
    kind: str,
    number: int,
    units: UnitSystem,
    words: str,
) -> Path:
    """Writes a table of `bonded_rows`.

    Args:
        folder: where the file is written.
        x: of the rows [nm or degree].
        energy: there [energy].
        slope: dU/dx there [energy/length or energy/rad].
        kind: of the potential.
        number: of the table.
        units: of energy and slope.
        words: for the first line.

    Raises:
        InputError: as `write_gromacs_bonded_table`.
    """
    bad = np.flatnonzero(~(np.isfinite(energy) & np.isfinite(slope)))
    unit = "nm" if kind == "bond" else "degrees"
    if len(bad):
        raise InputError(
            f"bonded table: energy {energy[bad[0]]:g} and slope {slope[bad[0]]:g} at {x[bad[0]]:g} {unit}; GROMACS reads the"
            f" whole range from {x[0]:g} on, so make them finite there"
        )
    if kind == "dihedral" and abs(energy[-1] - energy[0]) > _CLOSED * max(1e-12, np.abs(energy).max()):
        raise InputError(
            f"bonded table: energy {energy[0]:g} at -180 and {energy[-1]:g} at 180 degrees, which are one angle; give a function"
            " of period 360 degrees"
        )
    factor = conversion("energy", units, get_unit_system("gromacs"))
    columns = np.stack([x, factor * energy, -factor * slope * _study_unit(kind, units)], axis=1)
    path = folder / f"table_{KINDS[kind].letter}{number}.xvg"
    head = f"# {' '.join(words.split()) or 'bayescg'}\n# x [{unit}], U [kJ/mol], -dU/dx [kJ/mol/{unit.removesuffix('s')}]\n"
    write_text(path, head + "\n".join(" ".join(f"{v:.15g}" for v in row) for row in columns + 0.0) + "\n")
    return path


def _study_unit(kind: str, units: UnitSystem) -> float:
    """A nanometre in the study's unit, or a degree in radians."""
    return conversion("length", get_unit_system("gromacs"), units) if kind == "bond" else _DEGREE
