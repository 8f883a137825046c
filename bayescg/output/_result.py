"""Reading a stored result, and the few facts of it that every table, figure and report repeats."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from bayescg.data import get_unit_system
from bayescg.errors import InputError

RESULT_FILE = "posterior.nc"
NEWEST_SCHEMA = 1


class Check(NamedTuple):
    """One check as the result tells it.

    Attributes:
        name: A few words.
        verdict: "passed", "failed" or "not tested".
        value: What was measured; None where it is no number.
        threshold: What it was held to; None where it is no number.
        sentence: What it means.

    Example:
        >>> Check("divergences", "passed", 0.0, 0.0, "No divergent trajectories.").verdict
        'passed'
    """

    name: str
    verdict: str
    value: float | None
    threshold: float | None
    sentence: str


def open_result(folder: Path) -> xr.DataTree:
    """Reads the result of a run into memory.

    Args:
        folder: The run's output folder.

    Raises:
        InputError: There is no result, it can't be read, or a newer bayescg wrote it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"stiffness": (("chain", "draw"), [[1.0, 1.2]])})})
        >>> tree.attrs["schema_version"] = NEWEST_SCHEMA
        >>> with TemporaryDirectory() as folder:
        ...     tree.to_netcdf(Path(folder) / RESULT_FILE, engine="netcdf4")
        ...     list(open_result(Path(folder)).children)
        ['posterior']
    """
    path = folder / RESULT_FILE
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; name the output folder of a finished run (`bayescg resume` finishes one)"
        )
    try:
        with xr.open_datatree(path, engine="netcdf4") as result:
            # xarray's own load() leaves out a variable that is called like a group, which then opens the file again
            for node in result.subtree:
                for variable in node.variables.values():
                    variable.load()
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: can't be read as netCDF ({reason}); run the study again") from error
    schema = result.attrs.get("schema_version")
    if schema is None:
        raise InputError(f"{path}: carries no schema_version, so it is no result of bayescg")
    if int(schema) > NEWEST_SCHEMA:
        raise InputError(
            f"{path}: schema {schema} is newer than {NEWEST_SCHEMA}, the newest read; update bayescg"
        )
    return result


def has_variables(tree: xr.DataTree, group: str, *names: str) -> bool:
    """Whether a group is there and holds all of these variables."""
    return group in tree.children and all(name in tree.children[group].data_vars for name in names)


def require_variables(tree: xr.DataTree, group: str, *names: str) -> xr.Dataset:
    """A group with these variables in it.

    Raises:
        InputError: The result lacks the group or one of the variables.
    """
    if group not in tree.children:
        raise InputError(
            f"result: has no group {group!r}; its groups are {', '.join(tree.children) or 'none'}"
        )
    dataset = tree.children[group].to_dataset()
    missing = [name for name in names if name not in dataset.data_vars]
    if missing:
        raise InputError(f"result: group {group!r} has no variable {', '.join(missing)}")
    return dataset


def read_checks(tree: xr.DataTree | xr.Dataset) -> list[Check]:
    """The checks of a result or of an analysis of it, in the order in which they were made.

    Example:
        >>> tree = xr.DataTree()
        >>> tree.attrs["checks"] = '[{"name": "R-hat", "verdict": "passed", "value": 1.002, "threshold": 1.01}]'
        >>> read_checks(tree)[0].value
        1.002
    """
    return [
        Check(c["name"], c["verdict"], c.get("value"), c.get("threshold"), c.get("sentence", ""))
        for c in json.loads(tree.attrs.get("checks", "[]"))
    ]


def read_statement(tree: xr.DataTree) -> list[str]:
    """The statement in words, one sentence or short paragraph each.

    Example:
        >>> tree = xr.DataTree()
        >>> tree.attrs["statement"] = '["The 1500 frames are worth 746 to 1500 independent ones."]'
        >>> read_statement(tree)
        ['The 1500 frames are worth 746 to 1500 independent ones.']
    """
    return [str(sentence) for sentence in json.loads(tree.attrs.get("statement", "[]"))]


def read_stage_times(tree: xr.DataTree) -> dict[str, float]:
    """Wall time of each stage [s], in the order in which they ran.

    Example:
        >>> tree = xr.DataTree()
        >>> tree.attrs["wall_time_s"] = '{"read": 0.2, "search": 83.3}'
        >>> read_stage_times(tree)
        {'read': 0.2, 'search': 83.3}
    """
    return {
        str(name): float(seconds) for name, seconds in json.loads(tree.attrs.get("wall_time_s", "{}")).items()
    }


def calibration_note(tree: xr.DataTree, *, group: str = "posterior") -> str:
    """Which posterior or ensemble a figure or table shows, in a few words."""
    attrs = tree.children[group].attrs
    if "ensemble" in attrs:
        return f"{attrs['calibration']} ({attrs['spread']})"
    if int(attrs.get("assumes_independent_frames", 0)):
        return "uncalibrated posterior: takes frames as independent"
    return f"calibrated posterior ({attrs.get('calibration', 'calibration not stated')})"


def property_source(tree: xr.DataTree) -> tuple[str, str]:
    """The group of draws that the bands of properties come from, and what it is called in words."""
    name = str(tree.children["property"].attrs.get("draws_from", "posterior"))
    if name == "posterior":
        return name, name
    group = f"posterior_{name}"
    return group, str(tree.children[group].attrs["calibration"])


def is_quick(tree: xr.DataTree) -> bool:
    """Whether the run was a small test of the pipeline, whose numbers mean nothing."""
    return bool(int(tree.attrs.get("quick", 0)))


def unit_text(unit: str) -> str:
    """A unit as a reader expects it: "angstrom" becomes "Å"."""
    return unit.replace("angstrom", "Å").replace("^3", "³").replace("sigma", "σ").replace("epsilon", "ε")


def length_unit(tree: xr.DataTree) -> str:
    return unit_text(get_unit_system(str(tree.attrs["units"])).length)


def energy_unit(tree: xr.DataTree) -> str:
    return unit_text(get_unit_system(str(tree.attrs["units"])).energy)


def pressure_unit(tree: xr.DataTree) -> str:
    return unit_text(get_unit_system(str(tree.attrs["units"])).pressure)


def thermal_energy(tree: xr.DataTree) -> float:
    """k_B T of the study [energy]."""
    return get_unit_system(str(tree.attrs["units"])).kT(float(tree.attrs["temperature"]))


def flat_draws(variable: xr.DataArray) -> np.ndarray:
    """Draws of all chains in one row: (chain, draw, ...) becomes (draw, ...)."""
    values = np.asarray(variable.values, dtype=float)
    return values.reshape(-1, *values.shape[2:])
