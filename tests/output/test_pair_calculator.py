"""The ASE calculator of pair tables: the sum over pairs, its derivatives, its spread, its units."""

import numpy as np
import pytest
from ase import Atoms

from bayescg.data import conversion
from bayescg.errors import InputError
from bayescg.output import PairCalculator
from tests.output import engine_exports as ex


def argon(calculator: PairCalculator) -> Atoms:
    system = ex.argon_box()
    return Atoms("Ar125", system.positions, cell=system.box, pbc=True, calculator=calculator)


@pytest.mark.parametrize("make", [ex.lennard_jones, ex.splines], ids=["lj", "spline"])
def test_it_is_the_sum_over_pairs_in_ev(make):
    potentials = make()
    atoms = argon(PairCalculator(ex.tables_of(potentials)))
    each = [ex.forces_and_energy(p, ex.argon_box()) for p in potentials]
    to_ev = conversion("energy", "real", "metal")
    energies, forces = np.array([e for e, _ in each]) * to_ev, np.array([f for _, f in each]) * to_ev
    assert atoms.get_potential_energy() == pytest.approx(energies.mean(), rel=1e-7)
    np.testing.assert_allclose(atoms.get_forces(), forces.mean(axis=0), atol=1e-5 * np.abs(forces).max())
    assert atoms.calc.results["energy_std"] == pytest.approx(energies.std(ddof=1), rel=1e-5)
    spread = forces.std(axis=0, ddof=1)
    np.testing.assert_allclose(atoms.calc.results["forces_std"], spread, atol=1e-5 * np.abs(forces).max())


def test_stress_is_the_strain_derivative():
    atoms = argon(PairCalculator(ex.tables_of(ex.splines())))
    stress, cell, x = atoms.get_stress(voigt=False), atoms.cell.array.copy(), atoms.positions.copy()
    for a, b in ((0, 0), (1, 1), (1, 2)):
        energies = []
        for step in (1e-5, -1e-5):
            strain = np.eye(3)
            strain[a, b] += step
            atoms.set_cell(cell @ strain.T)
            atoms.positions = x @ strain.T
            energies.append(atoms.get_potential_energy())
        slope = (energies[0] - energies[1]) / 2e-5 / abs(np.linalg.det(cell))
        assert stress[a, b] == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_small_cells_and_lone_atoms():
    """Cells smaller than the cutoff count images; an atom without neighbours has no energy."""
    calculator = PairCalculator(ex.tables_of(ex.lennard_jones()))
    small = Atoms("Ar", [[0, 0, 0]], cell=[3.9] * 3, pbc=True, calculator=calculator)
    large = small.repeat(5)
    large.calc = calculator
    assert large.get_potential_energy() == pytest.approx(125 * small.get_potential_energy(), rel=1e-12)
    alone = Atoms("Ar", [[0, 0, 0]], calculator=calculator)
    assert alone.get_potential_energy() == 0.0 and not alone.get_forces().any()


def test_what_it_refuses():
    with pytest.raises(InputError, match="reduced units"):
        PairCalculator(ex.tables_of(ex.lennard_jones(), units="lj"))
    pair = Atoms("Ar2", [[0, 0, 0], [0, 0, 0]], calculator=PairCalculator(ex.tables_of(ex.lennard_jones())))
    with pytest.raises(InputError, match="coincide"):
        pair.get_potential_energy()
