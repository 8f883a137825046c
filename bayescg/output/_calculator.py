"""A calculator for ASE: energies, forces and stresses of a posterior, with their standard deviations."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from jaxtyping import Array, Float, Int

from bayescg.data import VOIGT, conversion
from bayescg.data._read_configurations import molecule_labels
from bayescg.errors import InputError, SimulationError
from bayescg.output._moving_neighbours import MovingNeighbours
from bayescg.output._potential_draws import PotentialDraws
from bayescg.physics import Environments, InteratomicPotential, Predictions, predict
from bayescg.physics._environment import deformed
from bayescg.physics._pairwise_term import terms_between_molecules

MEANS = ("energy", "forces", "stress")


class PosteriorCalculator(Calculator):
    """Posterior mean predictions and their standard deviations, in ASE's units.

        energy = (1/n) Σ_d U_d(x),    energy_std² = Σ_d (U_d − energy)²/(n − 1),

    the same for each component of forces and stress. The means are means of the draws' *predictions*, and since the
    mean of forces is minus the gradient of the mean energy, dynamics on them conserve that energy. The prediction *at
    the mean parameters* is another potential, n times as fast; the two agree for potentials that are linear in their
    parameters: `PosteriorCalculator(draws.at_mean())`. With a single draw there are no standard deviations.

    Results: `energy` and `free_energy` [eV], `forces` [eV/Å], `stress` [eV/Å³] (ASE's sign, tension positive, in the
    order xx, yy, zz, yz, xz, xy; only where all directions are periodic), and with the same units `energy_std`,
    `forces_std`, `stress_std` (n − 1 in the denominator). They are the parameters' uncertainty, without the noise of
    labels. Cells may be smaller than the cutoff. Neighbour lists have a skin and are made anew only when an atom may
    have crossed it; arrays keep their shapes, so that a simulation compiles once. A potential with terms that act between
    molecules reads the labels of the atoms' molecules, which must be there.

    Args:
        draws: the potentials, in any unit system but `lj`.
        skin: how far neighbour lists reach beyond the cutoff [Å].
        draws_at_once: draws predicted in one vectorised piece, the pieces one after the other; more than 1 helps on a GPU.
        molecule_key: name of the per-atom array of these labels.

    Raises:
        InputError: reduced units; when computing also an atom of another species, coinciding atoms, a flat cell, NaN.
        SimulationError: when computing, draws whose energy is not finite.

    Example:
        >>> from ase.build import bulk
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import StillingerWeber
        >>> silicon = StillingerWeber.silicon(cutoff=4.0).vary("sw_A")
        >>> draws = PotentialDraws.of_potentials(
        ...     [silicon.with_parameters({"sw_A": A}) for A in (7.0, 7.1)],
        ...     units=get_unit_system("metal"), posterior="calibrated",
        ... )
        >>> crystal = bulk("Si", a=5.431)
        >>> crystal.calc = PosteriorCalculator(draws)
        >>> print(round(crystal.get_potential_energy(), 3), round(crystal.calc.results["energy_std"], 3))
        -8.674 0.087
    """

    implemented_properties = [
        *MEANS,
        "free_energy",
        *(f"{name}_std" for name in MEANS),
    ]

    def __init__(
        self,
        draws: PotentialDraws,
        *,
        skin: float = 0.5,
        draws_at_once: int = 1,
        molecule_key: str = "molecule",
    ):
        super().__init__()
        if not 0.0 < skin < 100.0:
            raise InputError(f"calculator: skin {skin} Å must be positive")
        if draws_at_once < 1:
            raise InputError(f"calculator: {draws_at_once} draws at once, expected one at least")
        self.draws = draws
        self.length, self.energy = (conversion(name, draws.units, "metal") for name in ("length", "energy"))
        self.draws_at_once = min(draws_at_once, draws.n_draws)
        self.molecule_key = molecule_key if terms_between_molecules(draws.stack) else None
        self.neighbours = MovingNeighbours(draws.species, draws.stack.cutoff, skin / self.length)
        if draws.n_draws == 1:
            self.implemented_properties = [*MEANS, "free_energy"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fills `results`; ASE calls it.

        Args:
            atoms: positions, cell and species [Å].
            properties: asked for; all are computed together.
            system_changes: what changed since the last call.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        energy, forces, stress = self._predictions(self.atoms)
        finite = np.isfinite(energy) & np.isfinite(forces).all(axis=(1, 2))
        if not finite.all():
            first = self.draws.draw_ids[int(np.argmin(finite))]
            raise SimulationError(
                f"calculator: {int(np.sum(~finite))} of {self.draws.n_draws} draws ({first} first) give energies or"
                f" forces that are NaN or inf for these {len(self.atoms)} atoms: atoms too close, or parameters beyond"
                " what the potential allows"
            )
        self._keep("energy", energy)
        self._keep("forces", forces)
        if self.atoms.pbc.all():
            self._keep("stress", stress[:, *VOIGT])
        self.results["free_energy"] = self.results["energy"]

    def _keep(self, name: str, values: Float[np.ndarray, "draw *rest"]) -> None:
        mean = values.mean(axis=0)
        self.results[name] = mean if mean.ndim else float(mean)
        if len(values) > 1:
            spread = values.std(axis=0, ddof=1)
            self.results[f"{name}_std"] = spread if spread.ndim else float(spread)

    def _predictions(
        self, atoms: Atoms
    ) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, "draw atom 3"], Float[np.ndarray, "draw 3 3"]]:
        """Every draw's energy [eV], forces [eV/Å] and stress [eV/Å³]."""
        labels = None
        if self.molecule_key is not None:
            labels = molecule_labels(atoms, self.molecule_key, where="calculator: the Atoms object")
        moved = self.neighbours.follow(
            atoms.positions / self.length, self._types(atoms), np.asarray(atoms.cell) / self.length, atoms.pbc,
            molecules=labels,
        )  # fmt: skip
        displacements, strain = jnp.asarray(moved.displacements), jnp.asarray(moved.strain)
        found = _predict_draws(self.draws.stack, moved.batch, displacements, strain, self.draws_at_once)
        energy, forces, stress = (np.asarray(values) * self.energy for values in found)
        return energy[:, 0], forces[:, : len(atoms)] / self.length, stress[:, 0] / self.length**3

    def _types(self, atoms: Atoms) -> Int[np.ndarray, " atom"]:
        symbols, species = atoms.get_chemical_symbols(), self.draws.species
        unknown = sorted(set(symbols) - set(species))
        if unknown or not symbols:
            raise InputError(
                f"calculator: atoms of {', '.join(unknown) or 'no species'}, the potential knows"
                f" {', '.join(species)}"
            )
        return np.asarray([species.index(symbol) for symbol in symbols])


@eqx.filter_jit
def _predict_draws(
    stack: InteratomicPotential,
    batch: Environments,
    displacements: Float[Array, "atom 3"],
    strain: Float[Array, "3 3"],
    draws_at_once: int,
) -> Predictions:
    moved = deformed(batch, displacements=displacements, strain=strain)
    return jax.lax.map(lambda potential: predict(potential, moved), stack, batch_size=draws_at_once)
