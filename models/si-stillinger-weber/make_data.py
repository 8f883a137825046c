"""Adds noise of known size to labels that the Stillinger–Weber potential made, so that there is something to learn.

Reads `data/si_sw.extxyz.gz` (216 cells of 64 silicon atoms, labels computed by LAMMPS with the parameters of 1985) and
writes `data/si_sw_noisy.extxyz.gz`: 0.5 meV per atom on energies, 0.05 eV/Å on force components (without a net
force), 0.5 meV/Å³ on stress components.
"""

from pathlib import Path

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

ENERGY, FORCE, STRESS = 0.0005, 0.05, 0.0005  # eV per atom, eV/Å, eV/Å³


def main() -> None:
    """Writes the file."""
    folder = Path(__file__).parent / "data"
    rng = np.random.default_rng(2026)
    noisy = []
    for exact in read(folder / "si_sw.extxyz.gz", ":"):
        image = exact.copy()
        push = rng.normal(size=(len(exact), 3))
        push = (push - push.mean(axis=0)) / np.sqrt(1.0 - 1.0 / len(exact))
        image.calc = SinglePointCalculator(
            image,
            energy=round(exact.get_potential_energy() + len(exact) * ENERGY * rng.normal(), 6),
            forces=np.round(exact.get_forces() + FORCE * push, 4),
            stress=np.round(exact.get_stress() + STRESS * rng.normal(size=6), 7),
        )
        noisy.append(image)
    write(folder / "si_sw_noisy.extxyz.gz", noisy)


if __name__ == "__main__":
    main()
