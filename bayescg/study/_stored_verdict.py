"""What to know of a stored run before an analysis of it is believed."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from bayescg import output
from bayescg.analysis import Check
from bayescg.errors import InputError
from bayescg.study._stored_fits import StoredFit


def refuse_labelled(tree: xr.DataTree, folder: Path, why: str) -> None:
    """Raise an InputError for a run on labelled configurations.

    Args:
        tree: the run's result.
        folder: its output folder.
        why: the reason and what to do instead, after "which".
    """
    if tree.attrs.get("kind") == "labelled":
        raise InputError(f"{folder}: is of labelled configurations, which {why}")


def verification_verdict(tree: xr.DataTree) -> str:
    """Of a run on frames; "none" where it was not verified.

    Example:
        >>> verification_verdict(xr.DataTree())
        'none'
    """
    return str(tree.children["verification"].attrs["verdict"]) if "verification" in tree.children else "none"


def failed_checks(tree: xr.DataTree) -> list[str]:
    """Names of the checks that the run failed."""
    return [check.name for check in output.read_checks(tree) if check.verdict == "failed"]


def cautions(tree: xr.DataTree) -> list[str]:
    """Why an analysis of the run is not to be relied on, one sentence each: a quick run, no passed verification, failed checks.

    Example:
        >>> cautions(xr.DataTree())
        ['Read this with care: the run was not verified by fresh simulations.']
    """
    said = []
    if output.is_quick(tree):
        said.append("A quick test run: its numbers mean nothing.")
    if tree.attrs.get("kind") != "labelled":  # those need no simulation
        found = verification_verdict(tree)
        if found == "none":
            said.append("Read this with care: the run was not verified by fresh simulations.")
        elif found != "passed":
            said.append(f"Read this with care: the verdict of the run's verification is '{found}'.")
    if failed := [name for name in failed_checks(tree) if name != "verification"]:
        said.append(f"Read this with care: the run failed its checks {', '.join(failed)}.")
    return said


def stored_checks(checks: Sequence[Check]) -> str:
    """Checks as a result's attribute `checks` holds them, which `bayescg.output.read_checks` reads.

    Args:
        checks: in the order in which they were made.

    Example:
        >>> tree = xr.DataTree()
        >>> tree.attrs["checks"] = stored_checks([Check("box", "passed", 6.0, 5.0, "Large enough.")])
        >>> output.read_checks(tree)[0].sentence
        'Large enough.'
    """
    return json.dumps([check._asdict() for check in checks])


def best_point(fit: StoredFit) -> np.ndarray:
    """The MAP, with hyperparameters at their mean over draws, where the joint mode says little of them."""
    prior, point = fit.loaded.prior, np.array(fit.mode.z, float)
    hyper = np.array([c.site in prior.hyperparameters for c in prior.coordinates])
    point[hyper] = fit.draws.mean(axis=0)[hyper]
    return point
