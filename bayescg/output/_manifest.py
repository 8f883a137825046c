"""`manifest.json`: what an export for a simulation engine holds, with units, draw ids and checksums."""

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bayescg import __version__
from bayescg.data import UnitSystem, get_unit_system
from bayescg.errors import InputError
from bayescg.output._engine_files import checksum, write_text
from bayescg.output._engine_system import RunPlan

MANIFEST_FILE = "manifest.json"
MEAN = "mean"
"""Name of the potential that is the posterior mean."""
QUANTITIES = ("length", "energy", "force", "time", "mass", "temperature", "pressure")


class ExportedPotential(NamedTuple):
    """One potential of an export.

    Attributes:
        name: of its files and of the folder of its results, as `mean` or `draw_003`.
        draw: which draw of the posterior it is, or words for the mean.
        files: checksum (SHA-256) of each file, by its path within the export.
    """

    name: str
    draw: str
    files: Mapping[str, str]


class Manifest(NamedTuple):
    """A manifest that was read.

    Attributes:
        folder: of the export.
        engine: as "OpenMM".
        units: the unit system that the engine works in.
        study_units: that of the study.
        cutoff: of the potential, in the engine's units; NaN where the export names none.
        potentials: all of them, the mean first.
        plan: what the run scripts do; None where the export has none.
        system: facts of the system in the engine's units; empty where the export has none.
        provenance: of the run that the draws come from.
    """

    folder: Path
    engine: str
    units: UnitSystem
    study_units: UnitSystem
    cutoff: float
    potentials: tuple[ExportedPotential, ...]
    plan: RunPlan | None
    system: Mapping[str, Any]
    provenance: Mapping[str, object]

    @property
    def draws(self) -> tuple[ExportedPotential, ...]:
        """The potentials that are draws, without the mean."""
        return tuple(one for one in self.potentials if one.name != MEAN)


def write_manifest(
    folder: Path,
    *,
    engine: str,
    form: str,
    units: UnitSystem,
    study_units: UnitSystem,
    cutoff: float | None,
    potentials: Sequence[tuple[str, str, Sequence[str]]],
    shared: Sequence[str],
    provenance: Mapping[str, object],
    more: Mapping[str, object],
) -> Path:
    """Writes the manifest of an export whose files are there.

    Args:
        folder: of the export.
        engine: its name.
        form: of the potentials' files, in words.
        units: those of the files.
        study_units: those of the study.
        cutoff: of the potential [length]; None where it has none.
        potentials: name, draw and files of each.
        shared: files that belong to all.
        provenance: of the run.
        more: what else to say.
    """
    entries = [
        {"name": name, "draw": draw, "files": [{"file": f, "sha256": checksum(folder / f)} for f in files]}
        for name, draw, files in potentials
    ]
    text = {
        "engine": engine,
        "format": form,
        "bayescg": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "units": units.name,
        "unit_of": {q: units.unit(q) for q in QUANTITIES},
        "study_units": study_units.name,
        **({} if cutoff is None else {"cutoff": float(cutoff)}),
        "calibration": str(provenance.get("calibration", "not stated")),
        "n_draws": sum(name != MEAN for name, _, _ in potentials),
        "potentials": entries,
        "shared": [{"file": f, "sha256": checksum(folder / f)} for f in shared],
        "provenance": dict(provenance),
        **more,
    }
    path = folder / MANIFEST_FILE
    write_text(path, json.dumps(text, indent=2, default=str) + "\n")
    return path


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of an export and compares the checksums of all potentials' files.

    Args:
        folder: of the export, as written by `bayescg export`.

    Raises:
        InputError: no manifest, a damaged one, a file that is missing or has changed since the export.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as place:
        ...     _ = (Path(place) / "draw.table").write_text("1 2.0 3.0 4.0")
        ...     known, units = {"calibration": "affine"}, get_unit_system("real")
        ...     _ = write_manifest(
        ...         Path(place), engine="LAMMPS", form="table", units=units, study_units=units, cutoff=9.0, shared=(),
        ...         potentials=[("draw_000", "0:17", ["draw.table"])], provenance=known, more={},
        ...     )
        ...     read_manifest(Path(place)).draws[0].draw
        '0:17'
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a folder that `bayescg export` wrote")
    try:
        text = json.loads(path.read_text(encoding="utf-8"))
        made = Manifest(
            folder,
            str(text.get("engine", "LAMMPS")),
            get_unit_system(text["units"]),
            get_unit_system(text["study_units"]),
            float(text.get("cutoff", "nan")),
            tuple(_potential(entry) for entry in text.get("potentials", text.get("tables"))),
            RunPlan(**text["run"]) if "run" in text else None,
            text.get("system", {}),
            text["provenance"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged ({error!r}); export again") from error
    for one in made.potentials:
        for file, written in one.files.items():
            if not (folder / file).is_file():
                raise InputError(f"{folder / file}: is gone, though {path.name} lists it; export again")
            if checksum(folder / file) != written:
                raise InputError(
                    f"{folder / file}: has changed since the export (its checksum is not the one in {path.name}), so results"
                    f" are not those of {one.draw}; export again and run again"
                )
    return made


def _potential(entry: Mapping[str, Any]) -> ExportedPotential:
    """An entry of any manifest: several files in a folder of a potential, or one table for each."""
    if "name" in entry:
        return ExportedPotential(
            entry["name"], entry["draw"], {f["file"]: f["sha256"] for f in entry["files"]}
        )
    if "folder" in entry:
        files = {f["file"]: f["sha256"] for f in entry["files"]}
        return ExportedPotential(Path(entry["folder"]).name, entry["potential"], files)
    return ExportedPotential(Path(entry["file"]).stem, entry["potential"], {entry["file"]: entry["sha256"]})
