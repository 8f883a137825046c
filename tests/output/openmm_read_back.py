"""Energies and forces by OpenMM: run by a Python that has `openmm`, on a file of jobs; nothing of bayescg is imported.

    python openmm_read_back.py jobs.json results.json

A job is a folder that `export_openmm` wrote and the name of a potential in it; the answer is that for the start, in kJ/mol
and nm: of the serialised System and of the force field.
"""

import json
import sys
from pathlib import Path

import openmm
from openmm import app, unit


def evaluate(system, positions) -> dict:
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions([openmm.Vec3(*x) for x in positions])
    state = context.getState(getEnergy=True, getForces=True)
    forces = state.getForces().value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    return {
        "energy": state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole),
        "forces": [[f.x, f.y, f.z] for f in forces],
    }


def by_force_field(place: Path, manifest: dict, box: list):
    topology = app.Topology()
    chain = topology.addChain()
    for name in manifest["system"]["site_types"]:
        topology.addAtom(name, None, topology.addResidue(name, chain))
    vectors = [openmm.Vec3(*(box[k] if k == j else 0.0 for k in range(3))) for j in range(3)]
    topology.setPeriodicBoxVectors(vectors * unit.nanometer)
    field = app.ForceField(str(place / "forcefield.xml"))
    return field.createSystem(
        topology, nonbondedMethod=app.CutoffPeriodic, nonbondedCutoff=manifest["cutoff"] * unit.nanometer
    )


def main(jobs: Path, results: Path) -> None:
    answers = []
    for job in json.loads(jobs.read_text()):
        folder = Path(job["folder"])
        start = json.loads((folder / "start.json").read_text())
        manifest = json.loads((folder / "manifest.json").read_text())
        place = folder / job["potential"]
        system = openmm.XmlSerializer.deserialize((place / "system.xml").read_text())
        answer = evaluate(system, start["positions"])
        mass = system.getParticleMass(0).value_in_unit(unit.dalton)
        other = evaluate(by_force_field(place, manifest, start["box"]), start["positions"])
        answers.append(answer | {"mass": mass, "force_field": other})
    results.write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
