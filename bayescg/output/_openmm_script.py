"""The script that an export for OpenMM holds."""

SCRIPT = '''"""Simulates every potential of this folder with OpenMM, at constant volume and temperature.

    python run.py                      all potentials of manifest.json
    python run.py mean draw_003        these only

Results go to runs/NAME/run_K/: log.csv and trajectory.dcd. Runs that are there already are left alone, so that the script
can be started again. `bayescg collect .` then reads them.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import openmm
from openmm import app, unit

HERE = Path(__file__).resolve().parent


def topology_of(facts, box):
    topology = app.Topology()
    chain = topology.addChain()
    for name in facts["site_types"]:
        topology.addAtom(name, None, topology.addResidue(name, chain))
    vectors = [openmm.Vec3(*(box[k] if k == j else 0.0 for k in range(3))) for j in range(3)]
    topology.setPeriodicBoxVectors(vectors * unit.nanometer)
    return topology


def simulate(name, repeat, seed, manifest, start):
    facts, plan = manifest["system"], manifest["run"]
    final = HERE / "runs" / name / f"run_{repeat}"
    if final.exists():
        return
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    system = openmm.XmlSerializer.deserialize((HERE / name / "system.xml").read_text())
    integrator = openmm.LangevinMiddleIntegrator(
        facts["temperature"] * unit.kelvin, facts["friction"] / unit.picosecond, facts["time_step"] * unit.picosecond
    )
    integrator.setRandomNumberSeed(seed)
    simulation = app.Simulation(topology_of(facts, start["box"]), system, integrator)
    simulation.context.setPositions(start["positions"] * unit.nanometer)
    simulation.context.setVelocitiesToTemperature(facts["temperature"] * unit.kelvin, seed)
    simulation.step(plan["equilibration"])
    simulation.currentStep = 0
    simulation.context.setTime(0.0)
    every = plan["interval"]
    simulation.reporters = [
        app.StateDataReporter(
            str(partial / "log.csv"), every, step=True, time=True, potentialEnergy=True, kineticEnergy=True, temperature=True
        ),
        app.DCDReporter(str(partial / "trajectory.dcd"), every, enforcePeriodicBox=False),
    ]
    simulation.step(plan["steps"])
    simulation.reporters.clear()
    del simulation
    os.replace(partial, final)


def main():
    manifest = json.loads((HERE / "manifest.json").read_text())
    start = json.loads((HERE / "start.json").read_text())
    start["positions"] = [openmm.Vec3(*x) for x in start["positions"]]
    names = [entry["name"] for entry in manifest["potentials"]]
    plan = manifest["run"]
    for name in sys.argv[1:] or names:
        for repeat in range(plan["repeats"]):
            seed = plan["seed"] + names.index(name) * plan["repeats"] + repeat
            print(f"{name}, run {repeat}", flush=True)
            simulate(name, repeat, seed, manifest, start)


if __name__ == "__main__":
    main()
'''
"""`run.py`. It reads everything from the manifest, so that the manifest says what was run."""
