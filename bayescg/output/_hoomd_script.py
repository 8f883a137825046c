"""The script that an export for HOOMD-blue holds."""

SCRIPT = '''"""Simulates every potential of this folder with HOOMD-blue (3 or newer), at constant volume and temperature.

    python run.py                      all potentials of manifest.json
    python run.py mean draw_003        these only

Results go to runs/NAME/run_K/: log.csv and trajectory.dcd. Runs that are there already are left alone, so that the script
can be started again. `bayescg collect .` then reads them.
"""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import hoomd
import numpy as np

HERE = Path(__file__).resolve().parent


def types_of(facts):
    """One type per mass, since HOOMD's friction coefficient belongs to the type; all interact alike."""
    masses = sorted(set(facts["masses"]))
    return {mass: f"T{k}" for k, mass in enumerate(masses)}


def pair_force(name, cutoff, types, box):
    r, energy, force = np.loadtxt(HERE / name / "table.txt").T
    # HOOMD's neighbour list needs edges longer than twice the cutoff and the buffer together
    buffer = min(0.1 * cutoff, 0.45 * (min(box) - 2.0 * cutoff))
    table = hoomd.md.pair.Table(nlist=hoomd.md.nlist.Cell(buffer=buffer), default_r_cut=cutoff)
    for k, one in enumerate(types):
        for other in types[k:]:
            table.params[(one, other)] = {"r_min": r[0], "U": energy, "F": force}
    return table


def snapshot_of(facts, start):
    snapshot = hoomd.Snapshot()
    if snapshot.communicator.rank == 0:
        box = np.array(start["box"])
        x = np.array(start["positions"])
        snapshot.configuration.box = [*box, 0, 0, 0]
        snapshot.particles.N = len(x)
        types = types_of(facts)
        snapshot.particles.types = list(types.values())
        snapshot.particles.typeid[:] = [list(types).index(mass) for mass in facts["masses"]]
        snapshot.particles.position[:] = x - box * np.floor(x / box) - 0.5 * box
        snapshot.particles.mass[:] = facts["masses"]
    return snapshot


def simulate(name, repeat, seed, manifest, start):
    facts, plan = manifest["system"], manifest["run"]
    final = HERE / "runs" / name / f"run_{repeat}"
    if final.exists():
        return
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    simulation = hoomd.Simulation(device=hoomd.device.auto_select(), seed=seed)
    simulation.create_state_from_snapshot(snapshot_of(facts, start))
    langevin = hoomd.md.methods.Langevin(filter=hoomd.filter.All(), kT=start["kT"])
    types = types_of(facts)
    for mass, one in types.items():
        langevin.gamma[one] = facts["friction"] * mass
    force = pair_force(name, manifest["cutoff"], list(types.values()), start["box"])
    integrator = hoomd.md.Integrator(dt=facts["time_step"], methods=[langevin], forces=[force])
    simulation.operations.integrator = integrator
    thermo = hoomd.md.compute.ThermodynamicQuantities(filter=hoomd.filter.All())
    simulation.operations.computes.append(thermo)
    simulation.state.thermalize_particle_momenta(filter=hoomd.filter.All(), kT=start["kT"])
    simulation.run(plan["equilibration"])
    every, first = plan["interval"], simulation.timestep
    trigger = hoomd.trigger.Periodic(period=every, phase=first % every)
    trajectory = hoomd.write.DCD(filename=str(partial / "trajectory.dcd"), trigger=trigger, unwrap_full=True)
    simulation.operations.writers.append(trajectory)
    with open(partial / "log.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(start["columns"])
        for _ in range(plan["steps"] // every):
            simulation.run(every)
            step = simulation.timestep - first
            rows.writerow([step, step * facts["time_step"], thermo.potential_energy, thermo.kinetic_energy])
    os.replace(partial, final)


def main():
    manifest = json.loads((HERE / "manifest.json").read_text())
    start = json.loads((HERE / "start.json").read_text())
    names = [entry["name"] for entry in manifest["potentials"]]
    plan = manifest["run"]
    for name in sys.argv[1:] or names:
        for repeat in range(plan["repeats"]):
            seed = (plan["seed"] + names.index(name) * plan["repeats"] + repeat) % 65536
            print(f"{name}, run {repeat}", flush=True)
            simulate(name, repeat, seed, manifest, start)


if __name__ == "__main__":
    main()
'''
"""`run.py`. It reads everything from the manifest, so that the manifest says what was run."""
