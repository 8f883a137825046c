"""A pair potential as OpenMM's serialised System and as its XML force field, written without OpenMM."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayescg.output._engine_system import EngineSystem
from bayescg.output._lammps_term import digits

CUTOFF_PERIODIC = 2
"""OpenMM's number for CustomNonbondedForce.CutoffPeriodic."""
_NONE = "-1"


class PairFormula(NamedTuple):
    """A pair energy as OpenMM reads it, in nm and kJ/mol.

    Attributes:
        energy: expression in `r`, the parameters and, where there is a table, `u`.
        parameters: value of each name in the expression.
        table: energies at distances uniform from `first` to the cutoff, interpolated by a natural cubic spline
            [kJ/mol]; empty where there is none.
        first: distance of the first [nm].
        cutoff: [nm].
    """

    energy: str
    parameters: Mapping[str, float]
    table: Float[np.ndarray, " row"]
    first: float
    cutoff: float


def tabulated(
    distance: Float[np.ndarray, " row"], energy: Float[np.ndarray, " row"], force: Float[np.ndarray, " row"]
) -> PairFormula:
    """A table as a formula; below its first row the tangent, since OpenMM takes the table to be 0 there."""
    tangent = {"first": float(distance[0]), "energy0": float(energy[0]), "force0": float(force[0])}
    return PairFormula(
        "select(step(r-first), u(max(r,first)), energy0+force0*(first-r))",
        tangent,
        energy,
        float(distance[0]),
        float(distance[-1]),
    )


def system_xml(system: EngineSystem, formula: PairFormula) -> str:
    """The System of a box of sites, as `openmm.XmlSerializer` writes and reads it.

    Args:
        system: in nm, ps and g/mol.
        formula: the pair energy; all pairs within the cutoff interact.
    """
    root = ElementTree.Element("System", openmmVersion="8.0", type="System", version="1")
    box = ElementTree.SubElement(root, "PeriodicBoxVectors")
    for axis, name in enumerate("ABC"):
        edges = {c: digits(system.box[axis]) if k == axis else "0" for k, c in enumerate("xyz")}
        ElementTree.SubElement(box, name, edges)
    particles = ElementTree.SubElement(root, "Particles")
    for mass in system.masses:
        ElementTree.SubElement(particles, "Particle", mass=digits(mass))
    ElementTree.SubElement(root, "Constraints")
    forces = ElementTree.SubElement(root, "Forces")
    force = ElementTree.SubElement(
        forces, "Force", type="CustomNonbondedForce", name="pair", version="2", energy=formula.energy,
        method=str(CUTOFF_PERIODIC), cutoff=digits(formula.cutoff), forceGroup="0", useSwitchingFunction="0",
        switchingDistance=_NONE, useLongRangeCorrection="0",
    )  # fmt: skip
    ElementTree.SubElement(force, "PerParticleParameters")
    parameters = ElementTree.SubElement(force, "GlobalParameters")
    for name, value in formula.parameters.items():
        ElementTree.SubElement(parameters, "Parameter", name=name, default=digits(value))
    ElementTree.SubElement(force, "EnergyParameterDerivatives")
    sites = ElementTree.SubElement(force, "Particles")
    for _ in system.masses:
        ElementTree.SubElement(sites, "Particle")
    ElementTree.SubElement(force, "Exclusions")
    functions = ElementTree.SubElement(force, "Functions")
    if len(formula.table):
        function = ElementTree.SubElement(
            functions, "Function", name="u", type="Continuous1DFunction", version="1",
            min=digits(formula.first), max=digits(formula.cutoff),
        )  # fmt: skip
        values = ElementTree.SubElement(function, "Values")
        for value in formula.table:
            ElementTree.SubElement(values, "Value", v=digits(value))
    ElementTree.SubElement(force, "InteractionGroups")
    return _text(root)


def force_field_xml(system: EngineSystem, formula: PairFormula) -> str:
    """The same potential as a force field, for boxes of another size: one residue and atom per type of site.

    `createSystem` has to be given `nonbondedMethod=CutoffPeriodic` and the cutoff, which such a file cannot hold.

    Args:
        system: whose types of sites are named, with their masses [g/mol].
        formula: the pair energy.
    """
    root = ElementTree.Element("ForceField")
    root.append(ElementTree.Comment(f" nonbondedMethod=CutoffPeriodic, cutoff {digits(formula.cutoff)} nm "))
    masses = dict(zip(system.site_types, system.masses, strict=True))
    types = ElementTree.SubElement(root, "AtomTypes")
    residues = ElementTree.SubElement(root, "Residues")
    for name, mass in masses.items():
        ElementTree.SubElement(types, "Type", {"name": name, "class": name, "mass": digits(mass)})
        residue = ElementTree.SubElement(residues, "Residue", name=name)
        ElementTree.SubElement(residue, "Atom", name=name, type=name)
    force = ElementTree.SubElement(root, "CustomNonbondedForce", energy=formula.energy, bondCutoff="0")
    for name, value in formula.parameters.items():
        ElementTree.SubElement(force, "GlobalParameter", name=name, defaultValue=digits(value))
    for name in masses:
        ElementTree.SubElement(force, "Atom", type=name)
    if len(formula.table):
        function = ElementTree.SubElement(
            force, "Function", name="u", type="Continuous1D", min=digits(formula.first), max=digits(formula.cutoff)
        )  # fmt: skip
        function.text = " ".join(digits(value) for value in formula.table)
    return _text(root)


def _text(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    return '<?xml version="1.0" ?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
