"""Lennard-Jones, Mie and Weeks-Chandler-Andersen potentials as formulas that OpenMM evaluates."""

import numpy as np

from bayescg.data import UnitSystem, conversion
from bayescg.errors import InputError
from bayescg.output._openmm_system import PairFormula
from bayescg.physics import LennardJones, Mie, PairPotential, WeeksChandlerAndersen

_SWITCH = "*select(step(r-onset), (cut2-r^2)^2*(cut2+2*r^2-3*onset^2)/(cut2-onset^2)^3, 1)"
"""The switching function of the convention `smooth`."""
_NO_TABLE = np.zeros(0)


def pair_formula(term: PairPotential, units: UnitSystem) -> PairFormula | None:
    """A potential as a formula in nm and kJ/mol; None for one that has none, which goes by a table.

    Mie and WCA are inferred as fine interpolations of their formulas; the formula itself is written. It differs from what was
    sampled by the interpolation's error, and below the innermost node, where no pair came.

    Args:
        term: the potential.
        units: of its parameters.
    """
    length, energy = (conversion(q, units, "gromacs") for q in ("length", "energy"))
    cutoff = term.cutoff * length
    if isinstance(term, LennardJones):
        repulsion, attraction = (float(c) for c in np.asarray(term.coefficients()) * energy)
        values = {"c12": repulsion * length**12, "c6": -attraction * length**6}
        at_cutoff = values["c12"] / cutoff**12 - values["c6"] / cutoff**6
        return _cut("c12/r^12-c6/r^6", values, at_cutoff, term.convention, term.onset, cutoff, length)
    if isinstance(term, Mie):
        n, m = float(term.n), float(term.m)
        strength = float(term.epsilon) * energy * n / (n - m) * (n / m) ** (m / (n - m))
        values = {"strength": strength, "sigma": float(term.sigma) * length, "n": n, "m": m}
        at_cutoff = strength * ((values["sigma"] / cutoff) ** n - (values["sigma"] / cutoff) ** m)
        formula = "strength*((sigma/r)^n-(sigma/r)^m)"
        return _cut(formula, values, at_cutoff, term.convention, term.onset, cutoff, length)
    if isinstance(term, WeeksChandlerAndersen):
        values = {"epsilon": float(term.epsilon) * energy, "sigma": float(term.sigma) * length}
        text = "step(2^(1/6)*sigma-r)*(4*epsilon*((sigma/r)^12-(sigma/r)^6)+epsilon)"
        return PairFormula(text, values, _NO_TABLE, 0.0, cutoff)
    return None


def _cut(
    formula: str,
    values: dict[str, float],
    at_cutoff: float,
    convention: str,
    onset: float | None,
    cutoff: float,
    length: float,
) -> PairFormula:
    """The formula cut as the potential is."""
    if convention == "shifted":
        return PairFormula(f"{formula}-shift", values | {"shift": at_cutoff}, _NO_TABLE, 0.0, cutoff)
    if convention != "smooth" or onset is None:
        raise InputError(
            f"export: the cutoff convention '{convention}' has no continuous formula for OpenMM; use 'shifted' or 'smooth'"
        )
    more = {"onset": onset * length, "cut2": cutoff**2}
    return PairFormula(f"({formula}){_SWITCH}", values | more, _NO_TABLE, 0.0, cutoff)
