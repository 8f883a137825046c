"""Measured values that predictions are held against: the run's own data, or a table in a file."""

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import xarray as xr

from bayescg.errors import InputError
from bayescg.study._frame_columns import waves
from bayescg.study._observable import Observable
from bayescg.study._predicted_observables import OBSERVABLES
from bayescg.study._prediction_target import PredictionTarget
from bayescg.study._trajectory_observable import TrajectoryObservable

COLUMNS = ("observable", "at", "value", "standard_error")
IN_BINS = ("rdf", "potential-of-mean-force")
PREFIX = "observed values: "


class ObservedValues(NamedTuple):
    """Values of one observable.

    Attributes:
        at: places on its grid; one NaN for a number [value].
        value: in the units of the run [value].
        standard_error: [value].
        held_out: whether the fit did not use them.
    """

    at: np.ndarray
    value: np.ndarray
    standard_error: np.ndarray
    held_out: bool

    def on(self, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and errors at the places of a grid, NaN where there is none.

        Raises:
            InputError: a place that is none of the grid's, or two values for one place.
        """
        value, error = np.full((2, len(grid)), np.nan)
        for at, one, sd in zip(self.at, self.value, self.standard_error, strict=True):
            if np.isnan(at) != np.isnan(grid[0]):
                raise InputError(
                    "observed values: a function needs the place of each value in `at`, a single number none"
                )
            place = 0 if np.isnan(at) else int(np.argmin(np.abs(grid - at)))
            if abs(grid[place] - at) > _reach(grid):
                where = (
                    f"predicted ones lie from {grid[0]:g} to {grid[-1]:g}, at {np.min(np.diff(grid)):.3g} from one another"
                    if len(grid) > 1
                    else f"the only predicted one lies at {grid[0]:g}"
                )
                raise InputError(f"observed values: no predicted value at {at:g}; {where}; leave it out")
            if np.isfinite(value[place]):
                raise InputError(
                    "observed values: two for one predicted value"
                    + ("" if np.isnan(at) else f", that at {grid[place]:g}")
                    + "; give one"
                )
            value[place], error[place] = one, sd
        return value, error

    def only(self, some: np.ndarray) -> "ObservedValues":
        """Those of some numbers, or where some is true."""
        return ObservedValues(self.at[some], self.value[some], self.standard_error[some], self.held_out)


def _reach(grid: np.ndarray) -> float:
    """How far from a place of a grid a value may lie to belong to it; of a single place nobody knows how wide it is."""
    single = 1e-6 * float(np.max(np.abs(grid)))
    return 0.51 * float(np.min(np.diff(grid))) if len(grid) > 1 else single


def own_values(tree: xr.DataTree) -> dict[str, ObservedValues]:
    """g(r) and pressure of the frames that the run learned from.

    g(r) is what the fit matches, in part or in full; the pressure it never sees.
    """
    if "observed_data" not in tree.children:
        return {}
    data = tree["observed_data"].to_dataset()
    found = {}
    if "rdf" in data:
        found["rdf"] = ObservedValues(data["r"].values, data["rdf"].values, data["rdf_se"].values, False)
    if "pressure" in data:
        one = np.array([np.nan])
        found["pressure"] = ObservedValues(
            one, data["pressure"].values.reshape(1), data["pressure_se"].values.reshape(1), True
        )
    return found


def read_observed(path: Path, own: Collection[str] = ()) -> dict[str, ObservedValues]:
    """Values from a file with the columns observable, at, value, standard_error; `at` is empty for a number.

    Args:
        path: CSV, in the units of the run.
        own: names of functions of the user's own.

    Raises:
        InputError: no such file, other columns, an unknown observable, what is no number, a function without a place or a number
            with one.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "measured.csv"
        ...     _ = path.write_text("observable,at,value,standard_error\\npressure,,181.0,4.0\\n")
        ...     float(read_observed(path)["pressure"].value[0])
        181.0
    """
    try:
        with path.open(
            newline="", encoding="utf-8-sig"
        ) as file:  # with or without the mark that spreadsheets write
            reader = csv.DictReader(file)
            header, rows = tuple(name.strip() for name in reader.fieldnames or ()), []
            for row in reader:
                rows.append((reader.line_num, row))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: can't be read ({error}); give a CSV file") from error
    if header != COLUMNS:
        raise InputError(
            f"{path}: columns {', '.join(header) or 'none'}; expected {', '.join(COLUMNS)} in its first line"
        )
    table: dict[str, list[tuple[float, float, float]]] = {}
    for line, row in rows:
        words = [(row[original] or "").strip() for original in (reader.fieldnames or ())]
        if words[0] not in OBSERVABLES and words[0] not in own:
            known = ", ".join([*OBSERVABLES, *own])
            raise InputError(
                f"{path}: line {line}: observable {words[0]!r} is not known; expected one of {known}"
            )
        try:
            at, value, error_bar = (float(words[1]) if words[1] else np.nan), float(words[2]), float(words[3])
        except ValueError as error:
            raise InputError(
                f"{path}: line {line}: {error}; numbers expected, `at` empty for a single one"
            ) from error
        if not (np.isfinite(value) and error_bar >= 0.0 and np.isfinite(error_bar)):
            raise InputError(
                f"{path}: line {line}: value {value:g} ± {error_bar:g}; finite, and an error of at least 0"
            )
        if words[0] in OBSERVABLES and np.isnan(at) == bool(OBSERVABLES[words[0]].along):
            expected = "the place on its grid" if OBSERVABLES[words[0]].along else "nothing"
            raise InputError(
                f"{path}: line {line}: `at` of {words[0]} is {words[1] or 'empty'}; {expected} expected there"
            )
        if any(at == other or np.isnan(at) for other, *_ in table.get(words[0], [])):
            raise InputError(f"{path}: line {line}: a second value of {words[0]} at the same place; give one")
        table.setdefault(words[0], []).append((at, value, error_bar))
    if not table:
        raise InputError(f"{path}: holds no values; one line for each expected")
    columns = {name: np.array(found) for name, found in table.items()}
    return {name: ObservedValues(c[:, 0], c[:, 1], c[:, 2], True) for name, c in columns.items()}


def refuse_unpredicted(
    given: Mapping[str, ObservedValues],
    names: Sequence[str],
    target: PredictionTarget,
    *,
    path: Path,
    functions: Mapping[str, Observable | TrajectoryObservable] = MappingProxyType({}),
) -> None:
    """Raise an InputError for values of what is not predicted, before anything is simulated.

    Places are known beforehand but for those of the velocity autocorrelation function.

    Args:
        given: of `read_observed`.
        names: of the observables that are predicted.
        target: state, box and bins.
        path: of the file, for the message.
        functions: of a frame or of a trajectory, by name.

    Example:
        >>> target, one = PredictionTarget(1.0, 2, np.ones(3), None, 0.0), np.array([1.0])
        >>> given = {"pressure": ObservedValues(one * np.nan, one, one, True)}
        >>> refuse_unpredicted(given, ["energy"], target, path=Path("measured.csv"))
        Traceback (most recent call last):
        ...
        bayescg.errors.InputError: measured.csv: holds values of pressure, which is not predicted; name it or take them out
    """
    for name in given:
        if name not in names:
            raise InputError(
                f"{path}: holds values of {name}, which is not predicted; name it or take them out"
            )
        grid = _grid(name, functions, target)
        if grid is None:
            continue
        try:
            given[name].on(grid)
        except InputError as error:
            raise InputError(f"{path}: {name}: {str(error).removeprefix(PREFIX)}") from error


def _grid(
    name: str, functions: Mapping[str, Observable | TrajectoryObservable], target: PredictionTarget
) -> np.ndarray | None:
    """Where an observable is predicted; one NaN of a number, None where that is known after the simulation only."""
    if name in functions:
        n_values = functions[name].n_values(target.n_sites, len(target.box))
        return np.array([np.nan]) if n_values is None else functions[name].places(n_values)
    if name in IN_BINS:
        edges = target.distance_edges
        return None if edges is None else (edges[1:] + edges[:-1]) / 2.0
    return waves(target).k if name == "structure-factor" else None


def scorable(
    given: Mapping[str, ObservedValues], grids: Mapping[str, np.ndarray], target: PredictionTarget
) -> tuple[dict[str, ObservedValues], list[str]]:
    """The values at places that turned out to be predicted, and notes on the others.

    At which distances there is a mean force hangs on the noise of g(r), and how far the velocity autocorrelation function
    goes on the simulation.

    Args:
        given: by name.
        grids: where each observable is predicted.
        target: with the bins.

    Raises:
        InputError: two values for one place.

    Example:
        >>> target, x = PredictionTarget(1.0, 2, np.ones(3), np.arange(4.0), 0.0), np.array([0.5, 2.4])
        >>> given = {"potential-of-mean-force": ObservedValues(x, x, x, True)}
        >>> kept, notes = scorable(given, {"potential-of-mean-force": np.array([2.5])}, target)
        >>> kept["potential-of-mean-force"].at.tolist(), notes[0]
        ([2.5], 'Not scored: 1 of 2 observed values of potential-of-mean-force, at places where it is not predicted.')
    """
    made, notes = dict(given), []
    for name in ("potential-of-mean-force", "velocity-autocorrelation"):
        if name not in given or name not in grids:
            continue
        one, grid = given[name], grids[name]
        whole = _grid(name, {}, target)
        whole = grid if whole is None else whole
        nearest = whole[np.argmin(np.abs(whole - one.at[:, None]), axis=1)]
        there = (np.abs(nearest - one.at) <= _reach(whole)) & np.isclose(
            np.abs(grid - nearest[:, None]).min(axis=1), 0.0, atol=1e-6 * np.max(np.abs(grid))
        )
        made[name] = one._replace(at=nearest).only(there)
        try:
            made[name].on(grid)
        except InputError as error:
            raise InputError(f"observed values of {name}: {str(error).removeprefix(PREFIX)}") from error
        if not there.all():
            notes.append(
                f"Not scored: {np.sum(~there)} of {len(there)} observed values of {name}, at places where it is not"
                " predicted."
            )
    return made, notes
