"""Pair tables read at any distance: what other grids and calculators are made of."""

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicHermiteSpline

from bayescg.data import UnitSystem, conversion
from bayescg.errors import InputError
from bayescg.output._lammps import PairTables


class TableLookup:
    """All potentials of `PairTables` as functions of the distance.

    Between rows a cubic with the energies and forces of both ends; below the first row its tangent, so that no gap
    without forces is left; zero beyond the cutoff, where the left limit is that of the table.

    Args:
        tables: the potentials.
        target: the units that distances, energies and forces are asked for in.

    Raises:
        InputError: units that the study's cannot be turned into.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> r = np.linspace(0.3, 0.9, 601)
        >>> energy, force = 1e-6 / r**12, 12e-6 / r**13
        >>> units = get_unit_system("gromacs")
        >>> tables = PairTables(r, energy[None], force[None], energy, force, ["chain 0 draw 0"], units, {})
        >>> TableLookup(tables, units).energy_and_force(np.array([0.4567]))[0].round(6).ravel().tolist()
        [0.012146, 0.012146]
    """

    def __init__(self, tables: PairTables, target: UnitSystem):
        if not len(tables.energy) == len(tables.force) == len(tables.draw_ids):
            raise InputError(
                f"tables: {len(tables.energy)} energies, {len(tables.force)} forces and {len(tables.draw_ids)} draw ids;"
                " expected one of each per draw"
            )
        length, energy, force = (conversion(q, tables.units, target) for q in ("length", "energy", "force"))
        self.distance = np.asarray(tables.distance, float) * length
        self.energies = np.concatenate([tables.mean_energy[None], tables.energy]) * energy
        self.forces = np.concatenate([tables.mean_force[None], tables.force]) * force
        self.cutoff = float(self.distance[-1])
        self._spline = CubicHermiteSpline(self.distance, self.energies.T, -self.forces.T)

    def energy_and_force(
        self, r: Float[np.ndarray, " pair"]
    ) -> tuple[Float[np.ndarray, "potential pair"], Float[np.ndarray, "potential pair"]]:
        """Energies and forces −dU/dr, the mean potential first, then the draws, at these distances."""
        inside = np.clip(r, self.distance[0], self.cutoff)
        energy, force = self._spline(inside).T, -self._spline(inside, 1).T
        energy = energy + force * (inside - r) * (r < self.distance[0])
        beyond = r > self.cutoff
        return np.where(beyond, 0.0, energy), np.where(beyond, 0.0, force)
