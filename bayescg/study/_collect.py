"""Predictions from runs made elsewhere: an engine's results read back, and their bands split into what makes them."""

import datetime
import json
import os
from pathlib import Path

import jax
import numpy as np
import xarray as xr
from scipy import stats

from bayescg import __version__
from bayescg.analysis import nested_split, split_sentence
from bayescg.errors import InputError
from bayescg.output import Manifest, read_manifest
from bayescg.output._engine_files import checksum
from bayescg.output._manifest import MANIFEST_FILE, MEAN
from bayescg.study._collect_averages import RunAverages, logged_averages, structure_averages
from bayescg.study._collect_runs import LOGS, PROFILES, TRAJECTORIES, Tell, find_runs

COLLECTED_FILE = "collected.nc"


def collect(folder: Path, *, level: float = 0.9, tell: Tell = lambda text: None) -> xr.DataTree:
    """Reads what an engine made of an export, and forms the bands of the posterior predictive.

    Every draw counts once. Its runs, each with a seed of its own, tell the noise of finite simulation from what
    parameters do (`nested_split`); with a single run of each draw four pieces of it do. Observables: what the logs have of
    potential_energy, kinetic_energy, total_energy, temperature, pressure and volume; `pressure` from the trajectory, where
    no log has it and the export holds the potential as a table; `rdf`, from the engine's file or the trajectory;
    `diffusion`, from the trajectory. Nothing is written.

    Args:
        folder: of the export, as `runs/argon/openmm`, whose folder `runs` holds the results.
        level: of the bands.
        tell: told what is being read.

    Returns:
        A group for each observable, in the units of the study: `values` [draw simulation], `mean`, `parametric_sd`,
        `simulation_sd` and what else `nested_split` gives, `lower` and `upper` of the band for the value at a further draw
        (`predictive_band`), `at_mean_potential` with `at_mean_potential_sd` (the run of the posterior mean potential). All
        `_sd` are standard deviations. Attributes hold provenance, engine, units and checksums; the coordinate `draw` the
        ids of the draws.

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
    logged = logged_averages(runs)
    averages = logged | structure_averages(runs, tell, logged=logged.keys())
    if not averages:
        raise InputError(
            f"{runs.folders[MEAN][0]}: holds none of {', '.join((*LOGS, *TRAJECTORIES, *PROFILES))}; give results these names"
        )
    groups = {name: _group(one, manifest, level) for name, one in averages.items()}
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


def _group(one: RunAverages, manifest: Manifest, level: float) -> xr.Dataset:
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
    units, words = str(values.attrs["units"]), str(values.attrs["long_name"])
    for name, end in zip(("lower", "upper"), predictive_band(split, level=level), strict=True):
        split[name] = end.assign_attrs(
            units=units, long_name=f"{name} end of the {100 * level:g} % band of {words}"
        )
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
    split.attrs["note"] = "; ".join(filter(None, (one.note, _hidden(split))))
    if not split["mean"].ndim:
        split.attrs["sentence"] = split_sentence(split)
    return split


def predictive_band(split: xr.Dataset, *, level: float) -> tuple[xr.DataArray, xr.DataArray]:
    """Where the value of a further draw would lie, were it known without noise: lower and upper end.

    mean ± t √(τ² + b²) with τ = `parametric_sd`, b = `simulation_sd` and Student's t of one degree of freedom less than
    there are draws. For normal draws without noise it holds exactly the share `level`, from two draws on; quantiles of the
    draws hold less, of 20 draws 82 instead of 90 %. Noise costs some of it while draws are few, since τ is then uncertain
    beyond Student's t. Where noise hides τ the band holds the error of the mean alone.

    Args:
        split: of `nested_split`.
        level: probability between the ends.

    Example:
        >>> split = xr.Dataset({"mean": 2.0, "parametric_sd": 0.8, "simulation_sd": 0.6}, attrs={"n_draws": 20})
        >>> [round(float(end), 2) for end in predictive_band(split, level=0.9)]
        [0.27, 3.73]
    """
    quantile = stats.t.ppf(0.5 + 0.5 * level, split.attrs["n_draws"] - 1)
    half = quantile * np.sqrt(split["parametric_sd"] ** 2 + split["simulation_sd"] ** 2)
    return split["mean"] - half, split["mean"] + half


def _hidden(split: xr.Dataset) -> str:
    """Where the draws scatter no more than noise makes them; empty where nowhere."""
    hidden = split["below_noise"].astype(bool) & (split["naive_sd"] > 0.0)  # 0: no draw has any g(r) there
    if not bool(hidden.any()):
        return ""
    where = f" at {int(hidden.sum())} of {hidden.size} points" if hidden.ndim else ""
    return f"noise hides the parameters{where}: lower and upper hold the error of the mean alone"


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
