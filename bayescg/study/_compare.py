"""The mapped frames against the atomistic files that they were made of, mapped again: `[data.compare]`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bayescg.analysis import Check
from bayescg.data import Frames, MappedTrajectory, UnitSystem
from bayescg.errors import InputError
from bayescg.study._keys import blame
from bayescg.study._schema import ModelFile
from bayescg.study._sources import open_raw
from bayescg.study._survey import BLOCK, Survey

CLOSE = 1e-3
"""Largest difference of a site's position that passes, relative to the shortest box edge: stored digits, no more."""


def compare_mapping(model: ModelFile, survey: Survey, *, path: Path, units: UnitSystem) -> Check | None:
    """Maps the atomistic files and compares with the mapped frames at the same times.

    Args:
        model: the model file.
        survey: of the mapped frames.
        path: where the model file lies.
        units: the study's system.

    Returns:
        A check of the largest difference; None where the model file names nothing to compare with.

    Raises:
        InputError: an atomistic file that cannot be used, with its key.
    """
    raw = model.data.compare
    if raw is None:
        return None
    atomistic = open_raw(raw, "data.compare", model, path, units, whole=True)
    if atomistic.topology.n_sites != survey.n_sites:
        raise InputError(
            f"{path}: key 'data.compare.topology': {path.parent / raw.topology}: maps to"
            f" {atomistic.topology.n_sites} sites, but the mapped frames have {survey.n_sites}; correct [mapping] or"
            " the files"
        )
    if survey.time is None or "time" not in atomistic.quantities:
        which = "mapped" if survey.time is None else "atomistic"
        return Check(
            "mapping", "not tested", None, None,
            f"The {which} frames carry no times, so mapped and atomistic ones can't be paired.",
        )  # fmt: skip
    mapped, times = _Cursor(survey), _Times(survey.time)
    worst, compared, first, last = 0.0, 0, np.inf, -np.inf
    for block in _blocks(atomistic, path):
        assert block.time is not None
        first, last = min(first, float(block.time.min())), max(last, float(block.time.max()))
        for index, time in enumerate(block.time):
            match = times.find(float(time))
            if match is None:
                continue
            difference = block.positions[index] - mapped.positions(match)
            difference -= block.box[index] * np.round(difference / block.box[index])
            worst, compared = max(worst, float(np.abs(difference).max())), compared + 1
    unit, limit = units.unit("length"), CLOSE * float(survey.box.min())
    if not compared:
        return Check(
            "mapping", "failed", None, limit,
            f"No atomistic frame has the time of a mapped one (atomistic {first:g} to {last:g}, mapped"
            f" {survey.time.min():g} to {survey.time.max():g} {units.unit('time')}): name in data.compare the run that"
            " the mapped frames were made of, or remove data.compare.",
        )  # fmt: skip
    frames = "1 atomistic frame, mapped here, differs" if compared == 1 else (
        f"{compared} atomistic frames, mapped here, differ"
    )  # fmt: skip
    return Check(
        "mapping", "passed" if worst < limit else "failed", worst, limit,
        f"{frames} from the mapped {'frame' if compared == 1 else 'frames'} by at most {worst:.1e} {unit}.",
    )  # fmt: skip


def _blocks(atomistic: MappedTrajectory, path: Path) -> Iterator[Frames]:
    with blame(path, "data.compare.trajectories"):
        yield from atomistic.blocks(BLOCK)


class _Times:
    """Finds the first frame of a time, to a thousandth of the frames' spacing and to single precision."""

    def __init__(self, time: np.ndarray):
        self._order = np.argsort(time, kind="stable")
        self._sorted = time[self._order]
        steps = np.diff(self._sorted)
        self._tolerance = 1e-3 * float(steps[steps > 0].min(initial=np.inf))
        if not np.isfinite(self._tolerance):
            self._tolerance = 1e-3

    def find(self, time: float) -> int | None:
        tolerance = self._tolerance + abs(time) * float(np.finfo(np.float32).eps)
        place = int(np.searchsorted(self._sorted, time - tolerance))
        if place < len(self._sorted) and self._sorted[place] <= time + tolerance:
            return int(self._order[place])
        return None


class _Cursor:
    """Frames of a stream by number; asked for in rising order, each is read once."""

    def __init__(self, survey: Survey):
        self._survey = survey
        self._blocks: Iterator[Frames] = iter(())
        self._block: Frames | None = None
        self._first = 0

    def positions(self, number: int) -> np.ndarray:
        """Positions of one frame [site dim]."""
        if self._block is None or number < self._first:
            self._blocks = self._survey.source.blocks(BLOCK)
            self._first, self._block = 0, next(self._blocks)
        while number >= self._first + self._block.n_frames:
            self._first += self._block.n_frames
            self._block = next(self._blocks)
        return self._block.positions[number - self._first]
