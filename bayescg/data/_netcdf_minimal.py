"""The minimal convention: netCDF files of frames that other programs (or older scripts) wrote.

| what          | where                                                                                         |
|---------------|-----------------------------------------------------------------------------------------------|
| positions     | variable ``positions`` [frame site xyz] with a ``units`` attribute                             |
| box           | variable ``box`` [frame xyz] or [xyz] with ``units``; or attribute ``box_nm``/``box_angstrom`` |
| temperature   | attribute ``temperature_K``                                                                    |
| masses [g/mol]| attribute ``bead_masses``, ``atom_masses``, ``masses`` or ``mass_amu``: one, one per site of a |
|               | molecule, or one per site                                                                      |
| molecules     | attribute ``n_molecules``: sites are molecule-major, equally many in each                      |
| site types    | attribute ``atom_names`` or ``site_types`` (words, one per site of a molecule or per site);    |
|               | otherwise sites of equal mass get one type, A, B, ... in order of appearance                   |
| forces        | variable ``forces`` [frame site xyz]                                                           |
| energy        | variable ``potential_energy`` or ``energy`` [frame]                                            |
| virial        | variable ``virial`` [frame 6] as xx yy zz xy xz yz, or [frame xyz xyz]                         |
| pressure, time| variables [frame]; a ``time`` without units is in ps                                           |

Every variable but ``time`` must carry ``units``. Without ``units=`` the study runs in ``real`` if positions are in
ångström with energies or forces in kcal/mol, in ``metal`` if in ångström otherwise, and in ``gromacs`` if in nm.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bayescg.data._netcdf_variable import Layout, Variable
from bayescg.data._topology import Floats, State, Topology
from bayescg.data._units import UnitSystem, get_unit_system, unit_factor
from bayescg.errors import InputError


def minimal_layout(
    dataset: Any,
    path: Path,
    *,
    units: UnitSystem | None,
    box: float | Sequence[float] | None,
    topology: Topology | None,
) -> Layout:
    """Finds positions and what else there is.

    Raises:
        InputError: positions, box, masses or a unit is missing or makes no sense.
    """
    if "positions" not in dataset.variables or dataset.variables["positions"].ndim != 3:
        found = ", ".join(list(dataset.variables)[:8]) or "nothing"
        raise InputError(
            f"{path}: no variable 'positions' [frame site xyz] (found {found}); map the trajectory first"
        )
    target = units or _guess_units(dataset)
    _, n_sites, dim = dataset.variables["positions"].shape

    def variable(names: tuple[str, ...], quantity: str) -> Variable | None:
        for name in names:
            if name in dataset.variables:
                shape = dataset.variables[name].shape
                return Variable.of(
                    dataset, path, name, quantity, target, voigt=name == "virial" and shape[1:] == (6,)
                )
        return None

    positions = Variable.of(dataset, path, "positions", "length", target)
    box_variable, fixed_box = _box(dataset, path, target, box, dim)
    time = None
    if "time" in dataset.variables:
        if "units" in dataset.variables["time"].ncattrs():
            time = variable(("time",), "time")
        elif target.name != "lj":
            time = Variable("time", unit_factor("ps", "time", target))
    state = None
    if "temperature_K" in dataset.ncattrs() and target.name != "lj":
        state = State(float(dataset.getncattr("temperature_K")))
    return Layout(
        units=target,
        topology=topology or _topology(dataset, path, n_sites, target),
        state=state,
        positions=positions,
        box=box_variable,
        fixed_box=fixed_box,
        forces=variable(("forces",), "force"),
        energy=variable(("potential_energy", "energy"), "energy"),
        virial=variable(("virial",), "virial"),
        pressure=variable(("pressure",), "pressure"),
        time=time,
        trajectory=Variable("trajectory", 1.0) if "trajectory" in dataset.variables else None,
    )


def _guess_units(dataset: Any) -> UnitSystem:
    def text(name: str) -> str:
        variable = dataset.variables.get(name)
        return (
            str(variable.getncattr("units")) if variable is not None and "units" in variable.ncattrs() else ""
        )

    if text("positions") in ("nm", "nanometer", ""):
        return get_unit_system("gromacs")
    energies = text("forces") + text("potential_energy") + text("energy")
    return get_unit_system("real" if "kcal" in energies else "metal")


def _box(
    dataset: Any, path: Path, units: UnitSystem, given: float | Sequence[float] | None, dim: int
) -> tuple[Variable | None, Floats]:
    if given is not None:
        return None, np.broadcast_to(np.asarray(given, np.float64), (dim,))
    if "box" in dataset.variables:
        variable = Variable.of(dataset, path, "box", "length", units)
        if len(variable.shape(dataset)) == 2:
            return variable, np.empty(0)
        return None, variable.read(dataset, path, slice(None))
    for name, unit in (("box_nm", "nm"), ("box_angstrom", "angstrom")):
        if name in dataset.ncattrs():
            edges = np.asarray(dataset.getncattr(name), np.float64) * unit_factor(unit, "length", units)
            return None, np.broadcast_to(edges, (dim,))
    raise InputError(
        f"{path}: no box (variable 'box', attribute box_nm or box_angstrom); give box=..., inf if the system is open"
    )


def _topology(dataset: Any, path: Path, n_sites: int, units: UnitSystem) -> Topology:
    attributes = dataset.ncattrs()
    n_molecules = int(dataset.getncattr("n_molecules")) if "n_molecules" in attributes else None
    if n_molecules is not None and n_sites % n_molecules:
        raise InputError(
            f"{path}: n_molecules is {n_molecules}, which doesn't divide {n_sites} sites; correct it"
        )
    for name in ("bead_masses", "atom_masses", "masses", "mass_amu"):
        if name in attributes:
            pattern = np.asarray(dataset.getncattr(name), np.float64).reshape(-1)
            break
    else:
        raise InputError(
            f"{path}: no masses (attribute bead_masses or atom_masses, in g/mol); give topology=..."
        )
    factor = 1.0 if units.name == "lj" else unit_factor("g/mol", "mass", units)
    masses = _tile(pattern, n_sites, path, "masses") * factor
    names: list[str] = []
    for name in ("site_types", "atom_names"):
        if name in attributes and not names:
            names = str(dataset.getncattr(name)).split()
    if not names:
        order = list(dict.fromkeys(pattern.tolist()))
        names = [_letter(order.index(mass)) for mass in pattern.tolist()]
    types = _tile(np.array(names), n_sites, path, "site types")
    if n_molecules is None:
        molecules = np.arange(n_sites) if len(pattern) == 1 else np.arange(n_sites) // len(pattern)
    else:
        molecules = np.arange(n_sites) // (n_sites // n_molecules)
    return Topology(site_types=tuple(types.tolist()), masses=masses, molecules=molecules)


def _tile(pattern: np.ndarray, n_sites: int, path: Path, what: str) -> np.ndarray:
    if n_sites % len(pattern):
        raise InputError(
            f"{path}: {len(pattern)} {what} don't repeat evenly over {n_sites} sites; give topology=..."
        )
    return np.tile(pattern, n_sites // len(pattern))


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"T{number}"
