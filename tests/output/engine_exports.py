"""Argon and a spline fluid ready for export, and the languages of engines read back in Python."""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicSpline

from bayescg.data import conversion, get_unit_system
from bayescg.output import EngineSystem, PairTables, RunPlan
from bayescg.physics import LennardJones, Mie, PairPotential, SplinePair, WeeksChandlerAndersen

PLAN = RunPlan(steps=200, equilibration=20, interval=10)
SIGMA, EPSILON, CUTOFF = 3.4, 0.238, 8.5  # angstrom, kcal/mol


def lennard_jones(convention: str = "shifted") -> list[PairPotential]:
    onset = 7.0 if convention == "smooth" else None
    values = [(EPSILON, SIGMA), (1.1 * EPSILON, 0.98 * SIGMA), (0.9 * EPSILON, 1.03 * SIGMA)]
    return [LennardJones(e, s, cutoff=CUTOFF, convention=convention, onset=onset) for e, s in values]


def mie(convention: str = "shifted") -> list[PairPotential]:
    onset = 7.0 if convention == "smooth" else None
    return [
        Mie(EPSILON, SIGMA, n, 6.0, inner=2.5, cutoff=CUTOFF, convention=convention, onset=onset, n_nodes=200)
        for n in (12.0, 14.5, 10.2)
    ]


def weeks_chandler_andersen() -> list[PairPotential]:
    return [WeeksChandlerAndersen(EPSILON, s, inner=2.0, cutoff=5.0, n_nodes=20_000) for s in (3.4, 3.5, 3.3)]


def splines() -> list[PairPotential]:
    zero = SplinePair.uniform(
        inner=2.8, cutoff=CUTOFF, spacing=0.4, core_distance=3.0, core_strength=5.0, name="fluid"
    )
    rng = np.random.default_rng(1)
    size = zero.parameter_values()["fluid_coefficients"].shape
    wells = [0.2 * rng.normal(size=size) for _ in range(3)]
    return [zero.with_parameters({"fluid_coefficients": jnp.asarray(w)}) for w in wells]


def energy_and_force(potential: PairPotential, r: np.ndarray) -> np.ndarray:
    """In the units of the potential [2 pair]."""
    return np.asarray(_energy_and_force(potential, jnp.asarray(r)))


@eqx.filter_jit
def _energy_and_force(potential: PairPotential, r: jnp.ndarray) -> jnp.ndarray:
    return jnp.stack([potential.pair_energy(r**2), potential.pair_force_factor(r**2) * r])


def tables_of(potentials: list[PairPotential], *, units: str = "real", points: int = 4000) -> PairTables:
    """The draws' tables and their mean, as a stored run gives them."""
    cutoff = potentials[0].cutoff
    r = np.linspace(0.2 * cutoff, cutoff, points)
    inside = np.append(r[:-1], cutoff * (1 - 1e-12))
    curves = np.array([energy_and_force(p, inside) for p in potentials])
    mean = curves.mean(axis=0)
    ids = [f"0:{k}" for k in range(len(potentials))]
    known = {"calibration": "affine sandwich", "seed": 3}
    return PairTables(r, curves[:, 0], curves[:, 1], mean[0], mean[1], ids, get_unit_system(units), known)


def argon_box(repeats: int = 5, spacing: float = 3.7, *, units: str = "real") -> EngineSystem:
    """A disordered simple cubic lattice, in angstrom and fs."""
    rng = np.random.default_rng(5)
    lattice = np.stack(np.meshgrid(*[np.arange(repeats)] * 3), axis=-1).reshape(-1, 3) * spacing
    x = lattice + rng.uniform(-0.25, 0.25, lattice.shape)
    n, box = len(x), np.full(3, repeats * spacing)
    system = EngineSystem(("Ar",) * n, np.full(n, 39.948), x, box, 110.0, 4.0, 0.001, get_unit_system("real"))
    return system if units == "real" else system._replace(units=get_unit_system(units))


def forces_and_energy(potential: PairPotential, system: EngineSystem) -> tuple[float, np.ndarray]:
    """The sum over all pairs by the minimum image, in the potential's units."""
    apart = system.positions[:, None] - system.positions[None]
    apart -= system.box * np.round(apart / system.box)
    r = np.linalg.norm(apart, axis=-1) + 1e3 * np.eye(len(apart))
    u, f = energy_and_force(potential, r.ravel()).reshape(2, *r.shape)
    return 0.5 * float(u.sum()), ((f / r)[..., None] * apart).sum(axis=1)


def to_gromacs(quantity: str) -> float:
    return conversion(quantity, "real", "gromacs")


def read_system(path: Path):
    """Energy [kJ/mol] as a function of distance [nm], as OpenMM reads a serialised CustomNonbondedForce."""
    force = ElementTree.parse(path).getroot().find("Forces/Force")
    text = force.get("energy").replace("^", "**")
    names = {p.get("name"): float(p.get("default")) for p in force.find("GlobalParameters")}
    functions = {
        "select": lambda a, b, c: np.where(a != 0, b, c), "step": lambda x: np.where(x >= 0, 1.0, 0.0),
        "max": np.maximum, "pi": math.pi,
    }  # fmt: skip
    table = force.find("Functions/Function")
    if table is not None:
        low, high = float(table.get("min")), float(table.get("max"))
        values = [float(v.get("v")) for v in table.find("Values")]
        spline = CubicSpline(np.linspace(low, high, len(values)), values, bc_type="natural")
        functions["u"] = lambda x: np.where((x >= low) & (x <= high), spline(np.clip(x, low, high)), 0.0)
    cutoff = float(force.get("cutoff"))

    def energy(r: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            found = eval(text, {"__builtins__": {}}, functions | names | {"r": r})  # noqa: S307
        return np.where(r < cutoff, found, 0.0)

    return energy
