"""Atoms in any cell, which the run script of an interatomic potential starts from."""

from typing import NamedTuple

import numpy as np
from ase import Atoms

from bayescg.data import UnitSystem, conversion
from bayescg.errors import InputError
from bayescg.output._engine_system import EngineSystem, RunPlan


class AtomsSystem(NamedTuple):
    """Atoms to be simulated elsewhere, at constant volume and temperature.

    Attributes:
        atoms: species, masses, positions [Å] and cell [Å].
        temperature: [K].
        time_step: of the integrator [fs].
        friction: collision rate of the Langevin thermostat [1/fs].

    Example:
        >>> from ase.build import bulk
        >>> from bayescg.data import get_unit_system
        >>> silicon = AtomsSystem(bulk("Si", cubic=True), 300.0, 2.0, 0.01)
        >>> silicon.facts(get_unit_system("metal"))["time_step"]  # ps
        0.002
    """

    atoms: Atoms
    temperature: float
    time_step: float
    friction: float

    @property
    def orthorhombic(self) -> bool:
        """Whether the cell is a box along the axes, periodic in all directions."""
        cell = self.atoms.cell.array
        return bool(self.atoms.pbc.all() and np.allclose(cell, np.diag(np.diag(cell)), rtol=0.0, atol=1e-9))

    def check(self) -> None:
        """Raise an InputError where this cannot be run."""
        for name in ("temperature", "time_step", "friction"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise InputError(
                    f"system: {name} {getattr(self, name):g}; the runs' Langevin thermostat needs a positive number"
                )

    def facts(self, units: UnitSystem) -> dict[str, object]:
        """What a manifest says of it, in these units.

        Raises:
            InputError: reduced units.
        """
        length, mass, time = (conversion(q, "real", units) for q in ("length", "mass", "time"))
        return {
            "n_sites": len(self.atoms),
            "site_types": self.atoms.get_chemical_symbols(),
            "masses": (self.atoms.get_masses() * mass).tolist(),
            "cell": (self.atoms.cell.array * length).tolist(),
            "temperature": float(self.temperature),
            "time_step": float(f"{self.time_step * time:.14g}"),
            "friction": float(f"{self.friction / time:.14g}"),
        }


def atoms_facts(system: AtomsSystem, plan: RunPlan, units: UnitSystem) -> dict[str, object]:
    """What a manifest says of the atoms and of the runs."""
    return {"system": system.facts(units), "run": plan._asdict()}


def atoms_of(system: EngineSystem) -> Atoms:
    """The sites of a system in Å; types that are no chemical symbols become X, since pair potentials don't ask for them."""
    from ase.data import atomic_numbers

    length, mass = (conversion(q, system.units, "metal") for q in ("length", "mass"))
    symbols = [name if name in atomic_numbers else "X" for name in system.site_types]
    return Atoms(
        symbols,
        np.asarray(system.positions) * length,
        masses=np.asarray(system.masses) * mass,
        cell=np.asarray(system.box) * length,
        pbc=True,
    )
