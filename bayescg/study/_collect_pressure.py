"""The pressure of runs whose engine logs none: the virial of their frames under the potential that was exported."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from bayescg.data import conversion
from bayescg.output import Manifest
from bayescg.output._manifest import ExportedPotential

TABLES = ("pair.txt", "table.txt")
"""Files of an export with distances, energies and forces in their columns."""

PairForce = Callable[[Float[np.ndarray, " pair"]], Float[np.ndarray, " pair"]]


def pair_force(manifest: Manifest, one: ExportedPotential) -> PairForce | None:
    """The force −dU/dr of an exported potential, in the units of the study; None where the export holds no table of it.

    Args:
        manifest: of the export.
        one: of its potentials.
    """
    file = next((name for name in one.files if name.rsplit("/", 1)[-1] in TABLES), None)
    if file is None:
        return None
    r, _, force = np.loadtxt(manifest.folder / file).T
    length, unit = (conversion(q, manifest.units, manifest.study_units) for q in ("length", "force"))
    spline = CubicSpline(length * r, unit * force)
    return lambda x: spline(
        np.maximum(x, length * r[0])
    )  # below the first row the wall goes on along its tangent


def frame_pressures(
    manifest: Manifest,
    force: PairForce,
    positions: Float[np.ndarray, "frame site 3"],
    box: Float[np.ndarray, "frame 3"],
) -> Float[np.ndarray, " frame"]:
    """P = (N k_B T + Σ r f(r)/3)/V of every frame, in the pressure unit of the study.

    The kinetic part is its mean at the temperature of the runs, whose thermostat moves the centre of mass too.

    Args:
        manifest: of the export.
        force: between two sites, from `pair_force`.
        positions: wrapped or not [length].
        box: edge lengths, at least twice the cutoff [length].

    References:
        Allen & Tildesley (2017), doi:10.1093/oso/9780198803195.001.0001, section 2.4.
    """
    units = manifest.study_units
    cutoff = manifest.cutoff * conversion("length", manifest.units, units)
    kinetic = positions.shape[1] * units.kT(float(manifest.system["temperature"]))
    virial = np.array([_virial(force, x, edges, cutoff) for x, edges in zip(positions, box, strict=True)])
    return units.pressure_factor * (kinetic + virial / 3.0) / np.prod(box, axis=1)


def _virial(
    force: PairForce, x: Float[np.ndarray, "site 3"], edges: Float[np.ndarray, " 3"], cutoff: float
) -> float:
    """Σ r f(r) over pairs closer than the cutoff [energy]."""
    inside = x - edges * np.floor(x / edges)
    inside = np.where(inside >= edges, 0.0, inside)  # rounding
    pairs = cKDTree(inside, boxsize=edges).query_pairs(cutoff, output_type="ndarray")
    apart = inside[pairs[:, 0]] - inside[pairs[:, 1]]
    apart -= edges * np.round(apart / edges)
    r = np.sqrt(np.sum(apart**2, axis=1))
    return float(np.sum(r * force(r)))
