"""Exports of an angle's potential for GROMACS: a tabulated dihedral for the mean and each draw."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayescg.data import UnitSystem, conversion, get_unit_system
from bayescg.errors import InputError
from bayescg.output._engine_files import write_text
from bayescg.output._export_folder import new_folder, potential_names
from bayescg.output._gromacs_bonded import bonded_rows, write_bonded_columns
from bayescg.output._manifest import MANIFEST_FILE, write_manifest

SNIPPET = "dihedral.itp"
TABLE = "table_d0.xvg"


class DihedralTables(NamedTuple):
    """The potential of an angle for the posterior mean and for draws, on the rows of `dihedral_angles`.

    Attributes:
        mean_energy: of the posterior mean [energy].
        mean_slope: its derivative by the angle [energy/rad].
        energy: of every draw [energy].
        slope: its derivative by the angle [energy/rad].
        draw_ids: which draw each is.
        kT: of the study [energy].
        units: of the study.
        provenance: of the run.
    """

    mean_energy: Float[np.ndarray, " row"]
    mean_slope: Float[np.ndarray, " row"]
    energy: Float[np.ndarray, "draw row"]
    slope: Float[np.ndarray, "draw row"]
    draw_ids: list[str]
    kT: float  # noqa: N815 (the field's own name)
    units: UnitSystem
    provenance: dict[str, object]


def dihedral_angles() -> Float[np.ndarray, " row"]:
    """The angles of a dihedral's table, from −π to π [rad].

    Example:
        >>> len(dihedral_angles())
        721
    """
    return np.radians(bonded_rows("dihedral", units=get_unit_system("gromacs")))


def export_gromacs_dihedrals(
    tables: DihedralTables, folder: Path, *, temperature: float | None = None
) -> list[Path]:
    """Writes the posterior mean and every draw of an angle's potential as tabulated dihedrals, which all GROMACS read.

    The folder then holds `mean/table_d0.xvg`, `draw_000/table_d0.xvg` and so on, `dihedral.itp`, which says how a topology
    uses them, and `manifest.json`. There is no run script: an angle alone is no molecule. The angle of the study is
    the dihedral of four sites in the IUPAC convention, 0 for cis.

    Args:
        tables: the potentials.
        folder: a folder that doesn't exist yet or is empty.
        temperature: for a study in reduced units alone, and needed there: what its temperature stands for [K]. Energies
            over kT stay what they are.

    Returns:
        The files written.

    Raises:
        InputError: the folder holds something already, reduced units without a temperature, or one with other units.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> phi = dihedral_angles()
        >>> energy, slope = 1.0 + np.cos(phi), -np.sin(phi)
        >>> tables = DihedralTables(
        ...     energy, slope, energy[None], slope[None], ["0:0"], 1.0, get_unit_system("lj"), {"seed": 1}
        ... )
        >>> with TemporaryDirectory() as place:
        ...     files = export_gromacs_dihedrals(tables, Path(place) / "gromacs", temperature=300.0)
        ...     [file.relative_to(place).as_posix() for file in files][:3]
        ['gromacs/mean/table_d0.xvg', 'gromacs/draw_000/table_d0.xvg', 'gromacs/dihedral.itp']
    """
    target = get_unit_system("gromacs")
    factor, reduced = _energy_factor(tables, temperature), tables.units.name == "lj"
    x = np.degrees(dihedral_angles())
    names = potential_names(tables.draw_ids)
    calibration = str(tables.provenance.get("calibration", "not stated"))
    energies = factor * np.concatenate([tables.mean_energy[None], tables.energy])
    slopes = factor * np.concatenate([tables.mean_slope[None], tables.slope])
    with new_folder(folder) as partial:
        for (name, draw), energy, slope in zip(names, energies, slopes, strict=True):
            (partial / name).mkdir()
            words = f"bayescg: {draw}; posterior: {calibration}"
            write_bonded_columns(
                partial / name, x, energy, slope, kind="dihedral", number=0, units=target, words=words
            )
        write_text(partial / SNIPPET, _snippet(calibration))
        write_manifest(
            partial,
            engine="GROMACS",
            form="tabulated dihedral (degrees, U, -dU/dphi), function type 8",
            units=target,
            study_units=target if reduced else tables.units,  # what results are told in
            cutoff=None,
            potentials=[(name, draw, (f"{name}/{TABLE}",)) for name, draw in names],
            shared=(SNIPPET,),
            provenance=tables.provenance,
            more={} if temperature is None else {"temperature_of_reduced_units": temperature},
        )
    return [folder / file for file in (*(f"{name}/{TABLE}" for name, _ in names), SNIPPET, MANIFEST_FILE)]


def _energy_factor(tables: DihedralTables, temperature: float | None) -> float:
    """From the study's energies to kJ/mol."""
    target = get_unit_system("gromacs")
    if tables.units.name != "lj":
        if temperature is not None:
            raise InputError(
                f"export: {temperature:g} K is given, though the study is in units {tables.units.name} and needs none; leave"
                " it out"
            )
        return conversion("energy", tables.units, target)
    if temperature is None:
        raise InputError(
            "export: the study is in reduced units, whose energies are no kJ/mol; say by --kelvin what its temperature"
            " stands for"
        )
    if not 0.0 < temperature < np.inf:
        raise InputError(f"export: {temperature:g} K; expected a positive temperature")
    return target.kT(temperature) / tables.kT


def _snippet(calibration: str) -> str:
    return f"""; An inferred potential of an angle, as a tabulated dihedral; posterior: {" ".join(calibration.split())}
; The angle is the dihedral in the IUPAC convention: 0 is cis. Include this file at the top of a topology and give every
; dihedral that the angle stands for a line of function type 8, with table number 0 and factor 1:
;
;   [ dihedrals ]
;   ; i  j  k  l  type  table and factor
;     1  2  3  4     8  bayescg_dihedral
;
; Then simulate one potential after the other:
;
;   gmx mdrun -s run.tpr -tableb mean/{TABLE}
;   gmx mdrun -s run.tpr -tableb draw_000/{TABLE}
#define bayescg_dihedral 0 1.0
"""
