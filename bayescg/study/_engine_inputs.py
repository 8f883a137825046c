"""What a simulation engine needs of a stored run beside its potential: the system, and how long to run."""

import json
from pathlib import Path

from bayescg import output
from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.study._labelled_schema import LabelledModelFile
from bayescg.study._output_folder import RECORD
from bayescg.study._read import parse_model_file
from bayescg.study._schema import ModelFile
from bayescg.study._sources import open_data

SHORTER = 4
"""Time steps in engines for one of the study, whose own simulations are Metropolised and bear longer ones."""
ROWS = 1000
"""Rows of a log by default."""


def engine_system(folder: Path) -> output.EngineSystem:
    """The sites of a stored run on frames, in its first frame, with its thermostat and a quarter of its time step.

    Args:
        folder: the run's output folder.

    Raises:
        InputError: no result, a run of another kind, or data that are gone.

    Example:
        >>> engine_system(Path("runs/lj-argon")).temperature  # doctest: +SKIP
        85.0
    """
    model, path = _model(folder)
    source = open_data(model, path, get_unit_system(model.units))
    first = next(source.blocks(1))
    if first.positions.shape[2] != 3:
        raise InputError(f"{path}: sites in {first.positions.shape[2]} dimensions; engines need three")
    settings = model.simulation
    return output.EngineSystem(
        source.topology.site_types, source.topology.masses, first.positions[0], first.box[0], model.temperature,
        settings.time_step / SHORTER, settings.friction, source.units,
    )  # fmt: skip


def run_plan(folder: Path, *, steps: int | None = None, repeats: int = 2, seed: int = 1) -> output.RunPlan:
    """Runs of a stored run's potentials: rows as far apart in time as the run's own samples.

    Args:
        folder: the run's output folder.
        steps: of each run, rounded up to whole rows; by default a thousand rows.
        repeats: runs of each potential.
        seed: of the first of them.

    Raises:
        InputError: no result, a run of another kind, or numbers that make no run.

    Example:
        >>> run_plan(Path("runs/lj-argon"), steps=60_000).repeats  # doctest: +SKIP
        2
    """
    stride = SHORTER * _model(folder)[0].simulation.stride
    wanted = ROWS * stride if steps is None else steps
    interval = max(1, min(stride, wanted // 10))
    rows = -(-wanted // interval)
    plan = output.RunPlan(rows * interval, -(-rows // 10) * interval, interval, repeats, seed)
    plan.check()
    return plan


def _model(folder: Path) -> tuple[ModelFile, Path]:
    """The model file of a run on frames, and where it lay."""
    tree = output.open_result(folder)
    record = folder / RECORD
    try:
        path = Path(json.loads(record.read_text())["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{record}: missing or damaged ({error}), and without it the run's data can't be found; put it back"
        ) from error
    model = parse_model_file(str(tree.attrs["model_file_text"]), path)
    if isinstance(model, LabelledModelFile):
        raise InputError(f"{folder}: the run is of labelled configurations, which have no box to simulate in")
    return model, path
