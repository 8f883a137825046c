"""Predictions from runs made elsewhere: an engine's results read back, and their bands split into what makes them."""

import datetime
import json
import os
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr

from bayescg import __version__
from bayescg.analysis import corrected_draws, draw_means, nested_split, split_sentence
from bayescg.data import statistical_inefficiency, unit_factor
from bayescg.data._engine_logs import QUANTITY
from bayescg.errors import ConvergenceError, InputError
from bayescg.output import Manifest, read_manifest
from bayescg.output._engine_files import checksum
from bayescg.output._manifest import MANIFEST_FILE, MEAN
from bayescg.physics import diffusion_coefficient, time_blocks, unwrap
from bayescg.study._collect_runs import (
    LOGS,
    PROFILES,
    TRAJECTORIES,
    EngineRuns,
    Tell,
    find_runs,
    rdf_edges,
    rdf_of,
    read_positions,
    read_profiles,
    read_series,
)

COLLECTED_FILE = "collected.nc"
PIECES = 4
"""Pieces that a run is cut into where there is only one of each potential."""
LEAST_PIECE = 10.0
"""Independent rows that a piece should be worth, for pieces to count as independent."""


class Observed(NamedTuple):
    """One observable of every run.

    Attributes:
        values: averages over runs, or pieces of them [potential simulation *observable], the mean potential first.
        variance: of the rows within each, where there are rows.
        note: what should be known of it; empty where nothing.
    """

    values: xr.DataArray
    variance: xr.DataArray | None
    note: str


def collect(folder: Path, *, level: float = 0.9, tell: Tell = lambda text: None) -> xr.DataTree:
    """Reads what an engine made of an export, and forms the bands of the posterior predictive.

    Every draw counts once. Its runs, each with a seed of its own, tell the noise of finite simulation from what
    parameters do (`nested_split`); with a single run of each draw four pieces of it do. Observables: what the logs have of
    potential_energy, kinetic_energy, total_energy, temperature, pressure and volume; `rdf`, from the engine's file or the
    trajectory; `diffusion`, from the trajectory. Nothing is written.

    Args:
        folder: of the export, as `runs/argon/openmm`, whose folder `runs` holds the results.
        level: of the bands.
        tell: told what is being read.

    Returns:
        A group for each observable, in the units of the study: `values` [draw simulation], `mean`, `parametric_sd`,
        `simulation_sd` and what else `nested_split` gives, `lower` and `upper` of the band that parameters make,
        `at_mean_potential` with `at_mean_potential_sd` (the run of the posterior mean potential). All `_sd` are standard
        deviations. Attributes hold provenance, engine, units and checksums; the coordinate `draw` the ids of the draws.

    Raises:
        InputError: no manifest, a changed table, a draw without results, a file of the wrong length, one that can't be read.

    Example:
        >>> tree = collect(Path("runs/lj-argon/openmm"))  # doctest: +SKIP
        >>> float(tree["potential_energy"]["parametric_sd"])  # doctest: +SKIP
        0.8
    """
    manifest = read_manifest(folder)
    if len(manifest.draws) < 2:
        raise InputError(f"{folder}: {len(manifest.draws)} draws were exported; a band needs two at least")
    runs = find_runs(manifest)
    tell(f"{len(manifest.potentials)} potentials, {len(runs.folders[MEAN])} runs of each")
    observed = _logged(runs) | _structure(runs, tell)
    if not observed:
        raise InputError(
            f"{runs.folders[MEAN][0]}: holds none of {', '.join((*LOGS, *TRAJECTORIES, *PROFILES))}; give results these names"
        )
    groups = {name: _group(one, manifest, level) for name, one in observed.items()}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs |= _provenance(manifest, folder, len(runs.folders[MEAN]), level)
    return tree


def write_collected(tree: xr.DataTree, folder: Path) -> Path:
    """Keeps what `collect` found, as `collected.nc` in the folder of the export.

    Args:
        tree: of `collect`.
        folder: of the export.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_collected(xr.DataTree.from_dict({"pressure": xr.Dataset({"mean": 1.5})}), Path(folder)).name
        'collected.nc'
    """
    path = folder / COLLECTED_FILE
    partial = path.with_name(path.name + ".partial")
    tree.to_netcdf(partial, engine="netcdf4")
    os.replace(partial, path)
    return path


def _logged(runs: EngineRuns) -> dict[str, Observed]:
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


def _series(rows: np.ndarray, name: str, unit: str) -> Observed:
    """Means over runs, or over pieces of single ones, of rows [potential run row]."""
    note, (n_potentials, n_runs, n_rows) = "", rows.shape
    if n_runs == 1:
        n_pieces = min(PIECES, n_rows)
        rows = time_blocks(rows[:, 0], n_blocks=n_pieces).reshape(n_potentials, n_pieces, -1)
        flat = rows.reshape(-1)
        worth = (
            rows.shape[2]
            / statistical_inefficiency(flat, lengths=[rows.shape[2]] * (n_potentials * n_pieces))[0]
        )
        note = f"noise from {n_pieces} pieces of single runs"
        if worth < LEAST_PIECE:
            note += f", each worth only {worth:.1f} independent rows: its noise is underestimated, so run longer or twice"
    attrs = {"units": unit, "long_name": name.replace("_", " ")}
    dims = ("potential", "simulation")
    variance = rows.var(axis=2, ddof=1) if rows.shape[2] > 1 else np.full(rows.shape[:2], np.nan)
    return Observed(
        xr.DataArray(rows.mean(axis=2), dims=dims, attrs=attrs), xr.DataArray(variance, dims=dims), note
    )


def _structure(runs: EngineRuns, tell: Tell) -> dict[str, Observed]:
    """g(r) and diffusion."""
    profiles, trajectories = runs.files(PROFILES), runs.files(TRAJECTORIES)
    found: dict[str, Observed] = {}
    if profiles is not None:
        r, written = read_profiles(runs, profiles)
        found["rdf"] = _rdf(runs, r, np.array(list(written.values())), "")
    if trajectories is None or not runs.manifest.system:
        return found
    tell("reading trajectories")
    means, kept = _Trajectories(runs), profiles is None
    for name, files in trajectories.items():
        for path in files:
            means.add(path, with_rdf=kept, of_mean=name == MEAN)
    shape = (len(trajectories), len(runs.folders[MEAN]))
    if kept:
        curves = (
            np.array(means.rdf)
            .reshape(*shape, means.n_pieces, -1)
            .reshape(shape[0], shape[1] * means.n_pieces, -1)
        )
        found["rdf"] = _rdf(runs, means.r, curves, means.note)
    if means.diffusion is not None:
        units = runs.manifest.study_units
        attrs = {"units": units.unit("length^2/time"), "long_name": "diffusion coefficient"}
        values = np.array(means.diffusion).reshape(*shape)
        found["diffusion"] = Observed(
            xr.DataArray(values, dims=("potential", "simulation"), attrs=attrs), None, means.fit_note
        )
    else:
        tell(f"no diffusion: {means.fit_note}")
    return found


class _Trajectories:
    """Observables of trajectories that are read one after the other, the runs of the mean potential first."""

    def __init__(self, runs: EngineRuns):
        self.runs = runs
        plan, system = runs.manifest.plan, runs.manifest.system
        own, study = runs.manifest.units, runs.manifest.study_units
        self.n_pieces = PIECES if len(runs.folders[MEAN]) == 1 else 1
        self.note = "" if self.n_pieces == 1 else f"noise from {self.n_pieces} pieces of single runs"
        self.time_step = (
            None
            if plan is None
            else plan.interval * system["time_step"] * unit_factor(own.time, "time", study)
        )
        self.rdf: list[np.ndarray] = []
        self.r = np.zeros(0)
        self.diffusion: list[float] | None = [] if self.n_pieces == 1 and plan is not None else None
        self.fit: tuple[float, float] | None = None
        self.fit_note = (
            ""
            if self.diffusion is not None
            else "it needs two runs of each potential, made by the run script"
        )

    def add(self, path: Path, *, with_rdf: bool, of_mean: bool) -> None:
        """One trajectory more."""
        positions, box = read_positions(self.runs, path)
        if with_rdf:
            edges = rdf_edges(self.runs, float(box.min()))
            length = len(positions) // self.n_pieces
            for k in range(self.n_pieces):
                piece = slice(
                    len(positions) - (self.n_pieces - k) * length,
                    len(positions) - (self.n_pieces - k - 1) * length,
                )
                self.r, curve = rdf_of(self.runs, positions[piece], box[piece], edges)
                self.rdf.append(curve)
        if self.diffusion is not None and self.time_step is not None:
            try:
                moved = diffusion_coefficient(unwrap(positions, box), time_step=self.time_step, fit=self.fit)
            except (InputError, ConvergenceError) as error:
                self.diffusion, self.fit_note = None, str(error)
                return
            self.fit = self.fit or moved.fit
            self.fit_note = f"mean-squared displacement fitted from {self.fit[0]:.4g} to {self.fit[1]:.4g}"
            self.diffusion.append(moved.coefficient.value)


def _rdf(runs: EngineRuns, r: np.ndarray, curves: np.ndarray, note: str) -> Observed:
    unit = {"units": runs.manifest.study_units.length, "long_name": "distance"}
    attrs = {"units": "1", "long_name": "radial distribution function"}
    dims = ("potential", "simulation", "r")
    return Observed(xr.DataArray(curves, dims=dims, coords={"r": ("r", r, unit)}, attrs=attrs), None, note)


def _group(one: Observed, manifest: Manifest, level: float) -> xr.Dataset:
    """The split of one observable, with its band and the run of the mean potential."""
    names = [p.name for p in manifest.potentials]
    values = one.values.assign_coords(potential=names)
    draws = (
        values.drop_sel(potential=MEAN)
        .rename(potential="draw")
        .assign_coords(draw=[d.draw for d in manifest.draws])
    )
    variance = None
    if one.variance is not None:
        variance = (
            one.variance.assign_coords(potential=names).drop_sel(potential=MEAN).rename(potential="draw")
        )
        variance = variance.assign_coords(draw=draws["draw"])
    split = nested_split(draws, frame_variance=variance, level=level)
    corrected = corrected_draws(draw_means(draws), split)
    units, words = str(values.attrs["units"]), str(values.attrs["long_name"])
    for name, share in (("lower", 0.5 - 0.5 * level), ("upper", 0.5 + 0.5 * level)):
        split[name] = corrected.quantile(share, dim="draw").drop_vars("quantile")
        split[name].attrs = {
            "units": units,
            "long_name": f"{name} end of the {100 * level:g} % band of {words}",
        }
    of_mean = values.sel(potential=MEAN, drop=True)
    n = of_mean.sizes["simulation"]
    split["at_mean_potential"] = of_mean.mean("simulation")
    split["at_mean_potential"].attrs = {
        "units": units,
        "long_name": f"{words} of the posterior mean potential",
    }
    split["at_mean_potential_sd"] = of_mean.std("simulation", ddof=1) / np.sqrt(n)
    split["at_mean_potential_sd"].attrs = {
        "units": units, "long_name": "standard deviation of at_mean_potential from finite simulation",
    }  # fmt: skip
    split["values"] = draws
    split["name"] = ("draw", [d.name for d in manifest.draws], {"long_name": "folder of the draw"})
    split["draw"].attrs = {"long_name": "draw of the posterior, chain:draw"}
    split.attrs["note"] = one.note
    if not split["mean"].ndim:
        split.attrs["sentence"] = split_sentence(split)
    return split


def _provenance(manifest: Manifest, folder: Path, n_runs: int, level: float) -> dict[str, str | int | float]:
    return {
        "engine": manifest.engine,
        "engine_units": manifest.units.name,
        "units": manifest.study_units.name,
        "n_draws": len(manifest.draws),
        "n_runs": n_runs,
        "level": level,
        "manifest_checksum": checksum(folder / MANIFEST_FILE),
        "system": json.dumps(dict(manifest.system)),
        "run": json.dumps(None if manifest.plan is None else manifest.plan._asdict()),
        "provenance": json.dumps(dict(manifest.provenance), default=str),
        "versions": json.dumps({"bayescg": __version__, "jax": jax.__version__}),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
