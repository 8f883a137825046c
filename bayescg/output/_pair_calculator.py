"""A calculator for ASE of pair potentials inferred from frames: energies, forces and stresses with standard deviations."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from jaxtyping import Float

from bayescg.data import VOIGT, get_unit_system
from bayescg.errors import InputError
from bayescg.output._lammps import PairTables
from bayescg.output._table_lookup import TableLookup


class PairCalculator(Calculator):
    """Energies, forces and stresses of the posterior mean potential, and their standard deviations over draws.

    The potential is that of `pair_tables`: all pairs of sites within the cutoff interact alike, whatever their species.
    Between rows of the tables energies are cubic with the forces of both ends, so that dynamics conserve them.

    Results: `energy` and `free_energy` [eV], `forces` [eV/Å], `stress` [eV/Å³] (tension positive, in the order xx, yy, zz,
    yz, xz, xy; only where all directions are periodic), of the *mean* potential; and with the same units `energy_std`,
    `forces_std`, `stress_std`, standard deviations over the draws (n − 1 in the denominator), where there are two draws at
    least. Neighbours are found anew for every configuration, by ASE.

    Args:
        tables: the potentials, in any unit system but `lj`.

    Raises:
        InputError: reduced units.

    Example:
        >>> r = np.linspace(2.0, 8.0, 1201)
        >>> energies = np.array([[0.010], [0.012]]) * 4.0 * ((3.4 / r) ** 12 - (3.4 / r) ** 6)
        >>> forces = np.array([[0.010], [0.012]]) * 24.0 * (2.0 * (3.4 / r) ** 12 - (3.4 / r) ** 6) / r
        >>> tables = PairTables(
        ...     r, energies, forces, energies.mean(0), forces.mean(0), ["0:0", "0:1"], get_unit_system("metal"), {}
        ... )
        >>> pair = Atoms("Ar2", [[0.0, 0.0, 0.0], [3.4 * 2 ** (1 / 6), 0.0, 0.0]], calculator=PairCalculator(tables))
        >>> print(round(pair.get_potential_energy(), 4), round(pair.calc.results["energy_std"], 4))
        -0.011 0.0014
    """

    implemented_properties = [
        "energy", "forces", "stress", "free_energy", "energy_std", "forces_std", "stress_std",
    ]  # fmt: skip

    def __init__(self, tables: PairTables):
        super().__init__()
        if tables.units.name == "lj":
            raise InputError("calculator: ASE works in eV and Å, and reduced units have no fixed size")
        self.lookup = TableLookup(tables, get_unit_system("metal"))
        if len(tables.draw_ids) < 2:
            self.implemented_properties = ["energy", "forces", "stress", "free_energy"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fills `results`; ASE calls it.

        Args:
            atoms: positions and cell [Å].
            properties: asked for; all are computed together.
            system_changes: what changed since the last call.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        here, distance, away = neighbor_list("idD", self.atoms, self.lookup.cutoff)
        if len(distance) and not distance.min() > 0.0:
            raise InputError("calculator: two sites coincide; move them apart")
        energy, force = self.lookup.energy_and_force(distance)  # each pair twice, once from each site
        if len(distance):
            pull = -force[..., None] * (away / distance[:, None])  # on the site, from the other one
        else:
            pull = np.zeros((*force.shape, 3))
        sites = len(self.atoms)
        forces = np.array(
            [[np.bincount(here, one[:, c], minlength=sites) for c in range(3)] for one in pull]
        ).transpose(0, 2, 1)
        self._keep("energy", 0.5 * energy.sum(axis=1))
        self._keep("forces", forces)
        if self.atoms.pbc.all():
            # positive under tension: the strain derivative of the energy is minus half of Σ f d over both orders
            stress = 0.5 * np.einsum("kpx,py->kxy", pull, away) / self.atoms.get_volume()
            self._keep("stress", stress[:, *VOIGT])
        self.results["free_energy"] = self.results["energy"]

    def _keep(self, name: str, values: Float[np.ndarray, "potential *rest"]) -> None:
        """Of the mean potential, which comes first, and the spread over the draws."""
        mean = values[0]
        self.results[name] = mean if mean.ndim else float(mean)
        if len(values) > 2:
            spread = values[1:].std(axis=0, ddof=1)
            self.results[f"{name}_std"] = spread if spread.ndim else float(spread)
