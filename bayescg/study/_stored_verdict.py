"""What to know of a stored run before an analysis of it is believed."""

from pathlib import Path

import numpy as np
import xarray as xr

from bayescg import output
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


def cautions(tree: xr.DataTree) -> list[str]:
    """Why an analysis of the run is not to be relied on, one sentence each: a quick run, no passed verification.

    Example:
        >>> cautions(xr.DataTree())
        ['Read this with care: the run was not verified by fresh simulations.']
    """
    said = []
    if output.is_quick(tree):
        said.append("A quick test run: its numbers mean nothing.")
    found = tree.children["verification"].attrs["verdict"] if "verification" in tree.children else "none"
    if found == "none":
        said.append("Read this with care: the run was not verified by fresh simulations.")
    elif found != "passed":
        said.append(f"Read this with care: the verdict of the run's verification is '{found}'.")
    return said


def best_point(fit: StoredFit) -> np.ndarray:
    """The MAP, with hyperparameters at their mean over draws, where the joint mode says little of them."""
    prior, point = fit.loaded.prior, np.array(fit.mode.z, float)
    hyper = np.array([c.site in prior.hyperparameters for c in prior.coordinates])
    point[hyper] = fit.draws.mean(axis=0)[hyper]
    return point
