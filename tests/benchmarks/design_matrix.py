"""Seconds and memory of the linear 2+3-body splines on 364 tantalum cells: neighbours, design matrix, closed form.

    python tests/benchmarks/design_matrix.py FOLDER/maml_Ta.extxyz.gz

14 functions of pair distances between 2.0 and 5.5 Å and 166 of triangles within 4.5 Å (6 of each side, 8 of the
opposite one); rows of energies, forces and stresses, weighted by 5 meV per atom, 0.2 eV/Å and 0.02 eV/Å³. The first
time includes compiling. The closed form is that of least squares with a weak ridge.
"""

import argparse
import resource
import time

import jax
import numpy as np

from bayescg.data import VOIGT, get_unit_system, read_configurations
from bayescg.physics import design_matrix
from bayescg.physics._body_splines import BodySplines
from bayescg.physics._environment import environments
from bayescg.physics._interatomic import SpeciesEnergies

NOISE = {"energy": 0.005, "forces": 0.2, "stress": 0.02}  # eV per atom, eV/Å, eV/Å³
RIDGE = 1e-4


def timed(what, function):
    start = time.perf_counter()
    result = function()
    print(f"{what:32s}{time.perf_counter() - start:8.2f} s")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="configurations with energies, forces and stresses")
    jax.config.update("jax_enable_x64", True)
    data = read_configurations(parser.parse_args().data, units=get_unit_system("metal"))
    splines = BodySplines.uniform(
        species=data.species, pair=(2.0, 5.5, 14), triplet=(2.0, 4.5, 6), opposite=8
    )
    potential = splines + SpeciesEnergies(np.zeros(len(data.species)), species=data.species)
    batches = timed("neighbour lists", lambda: environments(data, potential.cutoff))
    rows = timed("design matrix, first", lambda: [design_matrix(potential, batch) for batch in batches])
    rows = timed("design matrix, again", lambda: [design_matrix(potential, batch) for batch in batches])

    def normal_equations():
        """Precision and its product with the mean, row by row of each kind, and the rows' squares."""
        all_forces = np.concatenate(data.forces)
        n_features = rows[0].energy.shape[1]
        precision, product = RIDGE * np.eye(n_features), np.zeros(n_features)
        blocks = []
        for batch, design in zip(batches, rows):
            one, atom = np.asarray(batch.configuration_index), np.asarray(batch.atom_index)
            real, real_atom = one >= 0, atom >= 0
            n_atoms = np.asarray(batch.n_atoms)[real]
            stress = data.stress[one[real]][:, *VOIGT]
            blocks += [
                ("energy", design.energy[real] / n_atoms[:, None], data.energy[one[real]] / n_atoms),
                (
                    "forces",
                    design.forces[real_atom].reshape(-1, n_features),
                    all_forces[atom[real_atom]].ravel(),
                ),
                ("stress", design.stress[real].reshape(-1, n_features), stress.ravel()),
            ]
        for kind, matrix, values in blocks:
            known = np.isfinite(values)
            precision += matrix[known].T @ matrix[known] / NOISE[kind] ** 2
            product += matrix[known].T @ values[known] / NOISE[kind] ** 2
        mean = np.linalg.solve(precision, product)
        return blocks, mean, np.linalg.inv(precision)

    blocks, mean, _ = timed("closed form", normal_equations)
    for kind in NOISE:
        residuals = np.concatenate([values - matrix @ mean for k, matrix, values in blocks if k == kind])
        print(f"root mean square of the residuals, {kind}: {np.sqrt(np.nanmean(residuals**2)):.4f}")
    n_rows = sum(len(values) for _, _, values in blocks)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{n_rows} rows, {len(mean)} parameters, {peak:.2f} GiB at most")


if __name__ == "__main__":
    main()
