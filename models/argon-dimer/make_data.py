"""One energy and one force of two argon atoms, Lennard-Jones with epsilon 0.238 kcal/mol and sigma 3.405 Å at 3.6 Å."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from bayescg.data import conversion

EPSILON, SIGMA, DISTANCE = 0.238, 3.405, 3.6


def main() -> None:
    """Writes `data/dimer.extxyz`, in eV and Å as the format wants it."""
    attraction = (SIGMA / DISTANCE) ** 6
    energy = 4.0 * EPSILON * attraction * (attraction - 1.0)
    force = 24.0 * EPSILON / DISTANCE * attraction * (2.0 * attraction - 1.0)
    to_ev = conversion("energy", "real", "metal")
    dimer = Atoms("Ar2", positions=[[0.0, 0.0, 0.0], [DISTANCE, 0.0, 0.0]])
    forces = np.array([[-force, 0.0, 0.0], [force, 0.0, 0.0]]) * to_ev
    dimer.calc = SinglePointCalculator(dimer, energy=energy * to_ev, forces=forces)
    write(Path(__file__).parent / "data" / "dimer.extxyz", dimer)


if __name__ == "__main__":
    main()
