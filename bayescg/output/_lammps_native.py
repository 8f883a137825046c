"""Lennard-Jones potentials in LAMMPS' own style, and the lines of a script that use an export's potentials."""

from collections.abc import Sequence

from bayescg.data import UnitSystem, conversion
from bayescg.output._engine_files import LAMMPS_GRID
from bayescg.output._lammps_term import digits
from bayescg.physics import LennardJones, PairPotential

NATIVE = "lj/cut with pair_modify shift yes"
"""LAMMPS' style for Lennard-Jones potentials that are shifted to zero at the cutoff."""


def native_lines(
    potentials: Sequence[PairPotential | None], *, study: UnitSystem, target: UnitSystem
) -> list[str] | None:
    """The commands of each potential in LAMMPS' own style; None where one of them has none and all go by tables.

    Args:
        potentials: in the units of the study.
        study: the unit system of these.
        target: that of the script.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> lj = get_unit_system("lj")
        >>> (lines,) = native_lines([LennardJones(1.0, 1.0, cutoff=2.5)], study=lj, target=lj)
        >>> print(lines)
        pair_style lj/cut 2.5
        pair_modify shift yes
        pair_coeff * * 1.0 1.0
    """
    length, energy = (conversion(q, study, target) for q in ("length", "energy"))
    found = []
    for one in potentials:
        if not isinstance(one, LennardJones) or one.convention != "shifted":
            return None
        found.append(
            f"pair_style lj/cut {digits(one.cutoff * length)}\n"
            "pair_modify shift yes\n"
            f"pair_coeff * * {digits(one.epsilon * energy)} {digits(one.sigma * length)}"
        )
    return found


def table_lines(keyword: str, cutoff: float) -> str:
    """The commands that use the table whose name is in the variable `potential`."""
    return (
        f"pair_style table linear {LAMMPS_GRID}\npair_coeff * * ${{potential}} {keyword} {digits(cutoff)}\n"
    )


def include_text(units: str, *, keyword: str, cutoff: float, native: bool, n_draws: int) -> str:
    """`in.pair`: what a script of the user's own includes."""
    ending = "pair" if native else "table"
    head = (
        f"# Include this in a LAMMPS script that says `units {units}`, after the atoms are defined and with this folder as\n"
        f"# the working directory. `-var potential draws/draw_000.{ending}` (to {n_draws - 1:03d}) on LAMMPS' command line\n"
        "# picks a draw; the spread of a result over the draws is the uncertainty that comes from the potential.\n"
    )
    if native:
        return (
            f"{head}# The files *.table hold the same potentials: pair_style table linear {LAMMPS_GRID}, pair_coeff * *\n"
            f"# mean.table {keyword} {digits(cutoff)}.\n"
            "variable potential index mean.pair\ninclude ${potential}\n"
        )
    return f"{head}variable potential index mean.table\n{table_lines(keyword, cutoff)}"
