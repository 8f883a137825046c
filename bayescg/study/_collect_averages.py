"""Averages of every run made elsewhere: what stands in its log, g(r) and the diffusion coefficient."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import xarray as xr

from bayescg.data import statistical_inefficiency, unit_factor
from bayescg.data._engine_logs import QUANTITY
from bayescg.errors import ConvergenceError, InputError
from bayescg.output._manifest import MEAN
from bayescg.physics import diffusion_coefficient, time_blocks, unwrap
from bayescg.study._collect_pressure import PairForce, frame_pressures, pair_force
from bayescg.study._collect_runs import (
    LOGS,
    PROFILES,
    TRAJECTORIES,
    EngineRuns,
    Tell,
    rdf_edges,
    rdf_of,
    read_positions,
    read_profiles,
    read_series,
    spread_frames,
)

PIECES = 4
"""Pieces that a run is cut into where there is only one of each potential."""
LEAST_PIECE = 10.0
"""Independent rows that a piece should be worth, for pieces to count as independent."""


class RunAverages(NamedTuple):
    """One observable as every run gives it.

    Attributes:
        values: averages over runs, or pieces of them [potential simulation *observable], the mean potential first.
        variance: of the rows within each, where there are rows.
        note: what should be known of it; empty where nothing.
    """

    values: xr.DataArray
    variance: xr.DataArray | None
    note: str


def logged_averages(runs: EngineRuns) -> dict[str, RunAverages]:
    """Averages of what stands in the logs."""
    files = runs.files(LOGS)
    if files is None:
        return {}
    series = read_series(runs, files)
    flat = [log for logs in series.values() for log in logs]
    found = {}
    for name in (q for q in QUANTITY if all(q in log for log in flat)):
        rows = np.array([[log[name] for log in logs] for logs in series.values()])
        if np.ptp(rows) == 0.0:  # the volume, where it is held
            continue
        unit = runs.manifest.study_units.unit(QUANTITY[name])
        found[name] = _series(rows, name, unit)
    return found


def _series(rows: np.ndarray, name: str, unit: str) -> RunAverages:
    """Means over runs, or over pieces of single ones, of rows [potential run row]."""
    note, (n_potentials, n_runs, n_rows) = "", rows.shape
    if n_runs == 1:
        n_pieces = min(PIECES, n_rows)
        rows = time_blocks(rows[:, 0], n_blocks=n_pieces).reshape(n_potentials, n_pieces, -1)
        # about the mean of each potential: what sets the potentials apart is no memory of the rows
        own = (rows - rows.mean(axis=(1, 2), keepdims=True)).reshape(-1)
        length = rows.shape[2]
        worth = length / statistical_inefficiency(own, lengths=[length] * (n_potentials * n_pieces))[0]
        note = f"noise from {n_pieces} pieces of single runs"
        if worth < LEAST_PIECE:
            note += f", each worth only {worth:.1f} independent rows: its noise is underestimated, so run longer or twice"
    attrs = {"units": unit, "long_name": name.replace("_", " ")}
    dims = ("potential", "simulation")
    variance = rows.var(axis=2, ddof=1) if rows.shape[2] > 1 else np.full(rows.shape[:2], np.nan)
    return RunAverages(
        xr.DataArray(rows.mean(axis=2), dims=dims, attrs=attrs), xr.DataArray(variance, dims=dims), note
    )


def structure_averages(runs: EngineRuns, tell: Tell, *, logged: Collection[str]) -> dict[str, RunAverages]:
    """g(r), from the engine's file or the trajectories, diffusion, and the pressure where it isn't among the logged."""
    profiles, trajectories = runs.files(PROFILES), runs.files(TRAJECTORIES)
    found: dict[str, RunAverages] = {}
    if profiles is not None:
        r, written = read_profiles(runs, profiles)
        found["rdf"] = _rdf(runs, r, np.array(list(written.values())), "")
    if trajectories is None or not runs.manifest.system:
        return found
    tell("reading trajectories")
    shape = (len(trajectories), len(runs.folders[MEAN]))
    n_pieces = PIECES if shape[1] == 1 else 1
    curves: list[np.ndarray] = []
    walks = _no_walks(runs)
    pressures: list[np.ndarray] = []
    forces = {} if "pressure" in logged else _pair_forces(runs)
    for name, path in ((name, path) for name, files in trajectories.items() for path in files):
        positions, box = read_positions(runs, path)
        if name in forces:
            some = spread_frames(len(positions))
            pressures.append(frame_pressures(runs.manifest, forces[name], positions[some], box[some]))
        if profiles is None:
            r, pieces = structure_curves(runs, positions, box, n_pieces=n_pieces)
            curves.extend(pieces)
        walks = _with_walk(walks, positions, box)
    if profiles is None:
        note = "" if n_pieces == 1 else f"noise from {n_pieces} pieces of single runs"
        found["rdf"] = _rdf(runs, r, np.array(curves).reshape(shape[0], shape[1] * n_pieces, -1), note)
    if pressures:
        found["pressure"] = _pressure(runs, np.array(pressures).reshape(*shape, -1))
    if walks.trouble:
        tell(f"no diffusion: {walks.trouble}")
    elif walks.fit is not None:
        note = f"mean-squared displacement fitted from {walks.fit[0]:.4g} to {walks.fit[1]:.4g}"
        attrs = {
            "units": runs.manifest.study_units.unit("length^2/time"),
            "long_name": "diffusion coefficient",
            "fitted_lags": [float(lag) for lag in walks.fit],
        }
        values = np.array(walks.coefficients).reshape(shape)
        array = xr.DataArray(values, dims=("potential", "simulation"), attrs=attrs)
        found["diffusion"] = RunAverages(array, None, note)
    return found


def _pair_forces(runs: EngineRuns) -> dict[str, PairForce]:
    """The force of every potential, by its name; empty where the export holds no tables."""
    forces = {one.name: pair_force(runs.manifest, one) for one in runs.manifest.potentials}
    return {name: force for name, force in forces.items() if force is not None}


def _pressure(runs: EngineRuns, rows: np.ndarray) -> RunAverages:
    made = _series(rows, "pressure", runs.manifest.study_units.unit("pressure"))
    note = f"by the virial of {rows.shape[-1]} frames of each run, since the engine logs none"
    return made._replace(note="; ".join(filter(None, (note, made.note))))


def structure_curves(
    runs: EngineRuns, positions: np.ndarray, box: np.ndarray, *, n_pieces: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Distances and g(r) of every piece of a trajectory."""
    edges = rdf_edges(runs, float(box.min()))
    pieces = (time_blocks(of_frame[None], n_blocks=n_pieces) for of_frame in (positions, box))
    made = [rdf_of(runs, x, size, edges) for x, size in zip(*pieces, strict=True)]
    return made[0][0], [curve for _, curve in made]


class _Walks(NamedTuple):
    """Diffusion coefficients of the trajectories read so far.

    Attributes:
        time_step: between frames; NaN where it isn't known.
        fit: times between which the first trajectory's mean-squared displacement was fitted, and all others' are.
        coefficients: one of each trajectory.
        trouble: why there is no diffusion coefficient; empty where there is one of each.
    """

    time_step: float
    fit: tuple[float, float] | None
    coefficients: tuple[float, ...]
    trouble: str


def _no_walks(runs: EngineRuns) -> _Walks:
    plan, own = runs.manifest.plan, runs.manifest.units
    if plan is None or len(runs.folders[MEAN]) == 1:
        return _Walks(np.nan, None, (), "it needs two runs of each potential, made by the run script")
    factor = unit_factor(own.time, "time", runs.manifest.study_units)
    return _Walks(plan.interval * runs.manifest.system["time_step"] * factor, None, (), "")


def _with_walk(walks: _Walks, positions: np.ndarray, box: np.ndarray) -> _Walks:
    """One trajectory more; none counts once one has no coefficient."""
    if walks.trouble:
        return walks
    try:
        moved = diffusion_coefficient(unwrap(positions, box), time_step=walks.time_step, fit=walks.fit)
    except (InputError, ConvergenceError) as error:
        return walks._replace(trouble=str(error))
    return walks._replace(
        fit=walks.fit or moved.fit, coefficients=(*walks.coefficients, moved.coefficient.value)
    )


def _rdf(runs: EngineRuns, r: np.ndarray, curves: np.ndarray, note: str) -> RunAverages:
    unit = {"units": runs.manifest.study_units.length, "long_name": "distance"}
    attrs = {"units": "1", "long_name": "radial distribution function"}
    dims = ("potential", "simulation", "r")
    return RunAverages(xr.DataArray(curves, dims=dims, coords={"r": ("r", r, unit)}, attrs=attrs), None, note)
