"""The script that an export for ASE holds."""

SCRIPT = '''"""Simulates every potential of this folder with ASE, at constant volume and temperature, or evaluates structures.

    python run.py                      all potentials of manifest.json
    python run.py mean draw_003        these only
    python run.py --evaluate FILE      energies, forces and stresses of a file of structures with their standard deviations

It needs bayescg, whose calculators ASE runs. Results go to runs/NAME/run_K/: log.csv and the trajectory. Runs that are
there already are left alone, so that the script can be started again. `bayescg collect .` then reads them. Evaluated
structures go to evaluated.extxyz in the directory that the script is started in.
"""

import argparse
import csv
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
from ase import units
from ase.io import iread, read, write
from ase.md.langevin import Langevin

from bayescg.study import exported_calculator

jax.config.update("jax_enable_x64", True)

HERE = Path(__file__).resolve().parent
COLUMNS = ["Step", "Potential Energy (eV)", "Kinetic Energy (eV)", "Temperature (K)"]
BAR = 1e5 * units.Pascal


def simulate(name, repeat, seed, manifest):
    facts, plan = manifest["system"], manifest["run"]
    final = HERE / "runs" / name / f"run_{repeat}"
    if final.exists():
        return
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    atoms = read(HERE / "start.extxyz")
    atoms.calc = exported_calculator(HERE, name)
    thermal = np.sqrt(atoms.get_masses() * units.kB * facts["temperature"])
    atoms.set_momenta(thermal[:, None] * rng.normal(size=(len(atoms), 3)))
    # the centre of mass moves with the bath, so that temperature and kinetic energy are those of 3N degrees of freedom
    dynamics = Langevin(
        atoms, facts["time_step"] * 1000.0 * units.fs, temperature_K=facts["temperature"],
        friction=facts["friction"] / (1000.0 * units.fs), fixcm=False, rng=rng,
    )
    dynamics.run(plan["equilibration"])
    boxed = atoms.pbc.all() and not (atoms.cell.array - np.diag(np.diag(atoms.cell.array))).any()
    with open(partial / "log.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*COLUMNS, *(["Pressure (bar)"] if atoms.pbc.all() else [])])
        for row in range(1, plan["steps"] // plan["interval"] + 1):
            dynamics.run(plan["interval"])
            step = row * plan["interval"]
            values = [atoms.get_potential_energy(), atoms.get_kinetic_energy(), atoms.get_temperature()]
            if atoms.pbc.all():
                values.append(-atoms.get_stress(include_ideal_gas=True)[:3].mean() / BAR)
            rows.writerow([step, *values])
            if boxed:
                append_dump(partial / "trajectory.lammpstrj", step, atoms)
            else:
                write(partial / "frames.extxyz", atoms, append=True)
    os.replace(partial, final)


def append_dump(path, step, atoms):
    """A frame as LAMMPS writes it [Å], since that is read back; unwrapped."""
    kinds = sorted(set(atoms.get_chemical_symbols()))
    rows = zip(atoms.get_chemical_symbols(), atoms.positions)
    with open(path, "a") as file:
        file.write(f"ITEM: TIMESTEP\\n{step}\\nITEM: NUMBER OF ATOMS\\n{len(atoms)}\\nITEM: BOX BOUNDS pp pp pp\\n")
        file.writelines(f"0 {float(edge)!r}\\n" for edge in np.diag(atoms.cell.array))
        file.write("ITEM: ATOMS id type xu yu zu\\n")
        file.writelines(
            f"{k} {kinds.index(kind) + 1} {x:.9g} {y:.9g} {z:.9g}\\n" for k, (kind, (x, y, z)) in enumerate(rows, start=1)
        )


def evaluate(file):
    """Energies with standard deviations over the draws on the screen; forces and stresses too in the file."""
    calculator = exported_calculator(HERE)
    found = []
    for k, atoms in enumerate(iread(file, index=":")):
        atoms.calc = calculator
        atoms.get_potential_energy()
        results = calculator.results
        kept = atoms.copy()
        for name, values in results.items():
            if name.startswith("forces"):
                kept.arrays[f"bayescg_{name}"] = np.array(values)
            else:
                kept.info[f"bayescg_{name}"] = values
        found.append(kept)
        spread = results.get("energy_std", float("nan"))
        uncertain = np.abs(results["forces_std"]).max() if "forces_std" in results else float("nan")
        print(f"{k}: energy {results['energy']:.8g} +- {spread:.2g} eV, forces +- {uncertain:.2g} eV/angstrom at most")
    write("evaluated.extxyz", found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="potentials, such as mean or draw_003 (default: all)")
    parser.add_argument("--evaluate", metavar="FILE", help="structures in a format that ASE reads")
    options = parser.parse_args()
    if options.evaluate:
        evaluate(options.evaluate)
        return
    manifest = json.loads((HERE / "manifest.json").read_text())
    names = [entry["name"] for entry in manifest["potentials"]]
    unknown = sorted(set(options.names) - set(names))
    if unknown:
        parser.error(f"no potential {unknown[0]}; choose from {', '.join(names)}")
    plan = manifest["run"]
    for name in options.names or names:
        for repeat in range(plan["repeats"]):
            seed = plan["seed"] + names.index(name) * plan["repeats"] + repeat
            print(f"{name}, run {repeat}", flush=True)
            simulate(name, repeat, seed, manifest)


if __name__ == "__main__":
    main()
'''
"""`run.py`. It reads everything from the manifest, so that the manifest says what was run."""
