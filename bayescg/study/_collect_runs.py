"""Results that engines wrote for an export: the runs of each potential, their logs and their trajectories."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bayescg.data import (
    Frames,
    State,
    Topology,
    radial_distribution,
    read_engine_log,
    read_rdf_file,
    unit_factor,
)
from bayescg.data._lammps_dump import LammpsDump
from bayescg.data._mdanalysis import MdTrajectory
from bayescg.errors import InputError
from bayescg.output import Manifest

Tell = Callable[[str], None]
RUNS = "runs"
"""Folder of an export where results lie, as runs/NAME/run_K."""
LOGS = ("log.lammps", "log.csv", "energy.edr", "energy.xvg")
TRAJECTORIES = ("trajectory.lammpstrj", "trajectory.dcd", "trajectory.xtc", "trajectory.trr")
PROFILES = ("rdf.txt", "rdf.xvg")
MOST_FRAMES = 250
"""Frames of a run that g(r), and the pressure, are made of, evenly spaced."""
BINS = 100
"""Of g(r), up to the cutoff."""


class EngineRuns(NamedTuple):
    """Where the results of all potentials lie.

    Attributes:
        manifest: of the export.
        folders: of every run, by the name of the potential, as many for each.
    """

    manifest: Manifest
    folders: dict[str, list[Path]]

    def files(self, names: tuple[str, ...]) -> dict[str, list[Path]] | None:
        """The first of these files that the first run has, of every run; None where it has none.

        Raises:
            InputError: another run has no such file.
        """
        first = next(iter(self.folders.values()))[0]
        name = next((name for name in names if (first / name).is_file()), None)
        if name is None:
            return None
        found = {k: [folder / name for folder in some] for k, some in self.folders.items()}
        for some in found.values():
            for file in some:
                if not file.is_file():
                    raise InputError(
                        f"{file}: is missing, though {first / name} is there; run that potential again"
                    )
        return found


def find_runs(manifest: Manifest) -> EngineRuns:
    """The runs of every potential.

    Raises:
        InputError: a potential without results, or with fewer runs than the others or than the manifest says.
    """
    folders = {}
    for one in manifest.potentials:
        place = manifest.folder / RUNS / one.name
        runs = sorted(p for p in place.glob("run_*") if p.is_dir() and not p.name.endswith(".partial"))
        if not runs:
            remedy = (
                f"put the files of its runs into {RUNS}/{one.name}/run_0, run_1, ..."
                if manifest.plan is None
                else "start the run script again, it goes on where it stopped"
            )
            raise InputError(
                f"{place}: holds no finished run of {one.name} ({one.draw}); all potentials of the manifest are needed:"
                f" {remedy}"
            )
        folders[one.name] = runs
    wanted = max(map(len, folders.values())) if manifest.plan is None else manifest.plan.repeats
    for name, runs in folders.items():
        if len(runs) != wanted:
            raise InputError(
                f"{manifest.folder / RUNS / name}: {len(runs)} finished runs, expected {wanted} of each potential;"
                f" {'make the missing ones' if manifest.plan is None else 'start the run script again'}, or remove what is too"
                " much"
            )
    return EngineRuns(manifest, folders)


def read_series(runs: EngineRuns, files: dict[str, list[Path]]) -> dict[str, list[dict[str, np.ndarray]]]:
    """Time series of all runs by name of the potential [study's units], equilibration and step 0 left out.

    Raises:
        InputError: a log that can't be read, or of another length than it must have.
    """
    units, own = runs.manifest.study_units, runs.manifest.units
    found, longest = {}, 0
    for name, some in files.items():
        found[name] = [read_engine_log(path, file_units=own, units=units) for path in some]
    for name, some in files.items():
        for path, log in zip(some, found[name], strict=True):
            rows = len(next(iter(log.values())))
            _check_rows(runs.manifest, path, rows, "rows", least=longest)
            longest = longest or rows
    keep = kept_rows(runs.manifest)
    return {name: [{q: v[keep:] for q, v in log.items()} for log in logs] for name, logs in found.items()}


def kept_rows(manifest: Manifest) -> int:
    """Index of the first row that counts, from the end; all rows where the manifest has no plan."""
    return 0 if manifest.plan is None else -manifest.plan.rows


def _check_rows(manifest: Manifest, path: Path, rows: int, what: str, *, least: int) -> None:
    plan = manifest.plan
    if plan is None:
        if least and rows != least:
            raise InputError(
                f"{path}: {rows} {what}, the first run has {least}; let every run be of one length"
            )
        return
    more = plan.equilibration // plan.interval if manifest.engine == "GROMACS" else 0
    if rows not in (plan.rows + more, plan.rows + more + 1):  # some engines write step 0 too
        raise InputError(
            f"{path}: {rows} {what}, expected {plan.rows + more} by the run plan in manifest.json ({plan.steps} steps, one in"
            f" {plan.interval}); the run is not finished, or was another one: remove its folder and run it again"
        )


def read_positions(runs: EngineRuns, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions [frame site 3] and box [frame 3] of one trajectory in the study's units.

    Raises:
        InputError: a file that can't be read, of another number of sites, or of another length than it must have.
    """
    manifest = runs.manifest
    n_sites = int(manifest.system["n_sites"])
    # MDAnalysis takes what it reads to be in angstrom; HOOMD-blue writes its own length, GROMACS' is converted
    unit = manifest.units.length if manifest.engine in ("LAMMPS", "HOOMD-blue") else "angstrom"
    source = (
        LammpsDump.open(path)
        if path.suffix == ".lammpstrj"
        else MdTrajectory.open(path, n_atoms=n_sites, needs_box=True)
    )
    if source.n_atoms != n_sites:
        raise InputError(f"{path}: {source.n_atoms} sites, expected the {n_sites} of the export")
    _check_rows(manifest, path, source.n_frames, "frames", least=0)
    first = max(0, source.n_frames + kept_rows(manifest)) if manifest.plan is not None else 0
    frames = list(source.frames(range(first, source.n_frames)))
    factor = unit_factor(unit, "length", manifest.study_units)
    return np.array([f.positions for f in frames]) * factor, np.array([f.box for f in frames]) * factor


def rdf_edges(runs: EngineRuns, shortest_edge: float) -> np.ndarray:
    """Bins of g(r) as wide as a hundredth of the cutoff, up to half the shortest edge [length]."""
    own, study = runs.manifest.units, runs.manifest.study_units
    width = runs.manifest.cutoff * unit_factor(own.length, "length", study) / BINS
    return width * np.arange(int(0.5 * shortest_edge * (1.0 - 1e-6) / width) + 1)


def spread_frames(n_frames: int) -> np.ndarray:
    """Numbers of the frames that are used of so many, evenly spaced."""
    return np.unique(np.linspace(0, n_frames - 1, min(MOST_FRAMES, n_frames)).astype(int))


def rdf_of(
    runs: EngineRuns, positions: np.ndarray, box: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bin centres [length] and g(r) of one run, all sites alike."""
    system = runs.manifest.system
    some = spread_frames(len(positions))
    topology = Topology(tuple(system["site_types"]), np.asarray(system["masses"], float))
    state = State(float(system["temperature"]))
    frames = Frames(positions[some], box[some], topology, state, runs.manifest.study_units)
    found = radial_distribution(frames, edges=edges, exclude="nothing")
    return found["r"].values, found["rdf"].values


def read_profiles(
    runs: EngineRuns, files: dict[str, list[Path]]
) -> tuple[np.ndarray, dict[str, list[np.ndarray]]]:
    """Distances [length] and g(r) of every run, as the engine wrote it, over the density of the other N − 1 sites.

    Raises:
        InputError: files of different bins.
    """
    units, own = runs.manifest.study_units, runs.manifest.units
    n_sites = int(runs.manifest.system.get("n_sites", 0))
    r: np.ndarray | None = None
    found: dict[str, list[np.ndarray]] = {}
    for name, some in files.items():
        for path in some:
            here, values = read_rdf_file(path, file_units=own, units=units)
            if path.suffix == ".xvg" and n_sites > 1:
                values = values * n_sites / (n_sites - 1)  # gmx rdf: density of all sites, not of the others
            if r is None:
                r = here
            if len(here) != len(r) or not np.allclose(here, r, rtol=1e-5):
                raise InputError(
                    f"{path}: {len(here)} bins of g(r), not the {len(r)} of the first run; write all alike"
                )
            found.setdefault(name, []).append(values)
    assert r is not None
    return r, found
