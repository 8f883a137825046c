"""Measured values that predictions are held against: the run's own data, or a table in a file."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from bayescg.errors import InputError
from bayescg.study._predicted_observables import OBSERVABLES

COLUMNS = ("observable", "at", "value", "standard_error")


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
            InputError: a place that is none of the grid's.
        """
        value, error = np.full((2, len(grid)), np.nan)
        for at, one, sd in zip(self.at, self.value, self.standard_error, strict=True):
            place = 0 if np.isnan(grid).all() else int(np.nanargmin(np.abs(grid - at)))
            width = np.min(np.diff(grid)) if len(grid) > 1 else np.inf
            if np.isnan(at) != np.isnan(grid[place]) or abs(grid[place] - at) > 0.51 * width:
                raise InputError(
                    f"observed values: no predicted value at {at:g}; predicted ones lie from {grid[0]:g} to {grid[-1]:g}"
                    " (leave the place of a single number empty)"
                )
            value[place], error[place] = one, sd
        return value, error


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


def read_observed(path: Path) -> dict[str, ObservedValues]:
    """Values from a file with the columns observable, at, value, standard_error; `at` is empty for a number.

    Args:
        path: CSV, in the units of the run.

    Raises:
        InputError: no such file, other columns, an unknown observable, what is no number.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "measured.csv"
        ...     _ = path.write_text("observable,at,value,standard_error\\npressure,,181.0,4.0\\n")
        ...     float(read_observed(path)["pressure"].value[0])
        181.0
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            header, rows = tuple(name.strip() for name in reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: can't be read ({error}); give a CSV file") from error
    if header != COLUMNS:
        raise InputError(
            f"{path}: columns {', '.join(header) or 'none'}; expected {', '.join(COLUMNS)} in its first line"
        )
    table: dict[str, list[tuple[float, float, float]]] = {}
    for line, row in enumerate(rows, start=2):
        words = [(row[original] or "").strip() for original in (reader.fieldnames or ())]
        if words[0] not in OBSERVABLES:
            raise InputError(
                f"{path}: line {line}: observable {words[0]!r} is not known; expected one of {', '.join(OBSERVABLES)}"
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
        table.setdefault(words[0], []).append((at, value, error_bar))
    if not table:
        raise InputError(f"{path}: holds no values; one line for each expected")
    columns = {name: np.array(found) for name, found in table.items()}
    return {name: ObservedValues(c[:, 0], c[:, 1], c[:, 2], True) for name, c in columns.items()}
