"""Analyses of a stored run: kept beside its result, with figures, and told by its report."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import xarray as xr

from bayescg.errors import InputError
from bayescg.output._calibration_check import figure_calibration_check
from bayescg.output._determination import figure_combinations, figure_profiles
from bayescg.output._manifold_figure import figure_boundary
from bayescg.output._prediction import (
    figure_prediction_bands,
    figure_prediction_parts,
    figure_prediction_shares,
)
from bayescg.output._predictive_checks import figure_predictive_checks
from bayescg.output._result import RESULT_FILE
from bayescg.output._sweep_figures import figure_run_basis_sweep, figure_run_data_size_sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OF_RESULT = "of_result"
"""Attribute of an analysis: when the result that it was made from was created."""
FOLDER = "analyses"
"""Of a run's output folder, where analyses lie."""


class AnalysisFigure(NamedTuple):
    """A figure of an analysis.

    Attributes:
        draw: from the stored dataset.
        title: above it in the report.
        caption: what to look for.
        needs: variable without which there is nothing to draw; none where it is always drawn.
    """

    draw: Callable[[xr.Dataset], "Figure"]
    title: str
    caption: str
    needs: str = ""


FIGURES: dict[str, dict[str, AnalysisFigure]] = {
    "identification": {
        "profiles": AnalysisFigure(
            figure_profiles,
            "Profiles",
            "One parameter held, all others at their best: how fast the posterior (blue) and the likelihood alone (orange) "
            "fall. Where the orange line never reaches the dotted one on a side, the data do not bound the parameter there, "
            "and what bounds it is the prior.",
        ),
        "combinations": AnalysisFigure(
            figure_combinations,
            "Combinations",
            "Each bar is a combination of parameters that the data determine on its own, written as a product of powers "
            "where the parameters are positive; its length is the share of the answer that comes from the data. On it stand "
            "the parameters that take most part in it, with the squares of their entries in the eigenvector.",
        ),
        "boundary": AnalysisFigure(
            figure_boundary,
            "The edge of the model manifold",
            "From the best fit along the direction that frames tell least about: which parameters run away, and below how much "
            "a frame of the model there tells of a further step. Where that dies out, the limit that the text names is a model "
            "with fewer parameters which such data can hardly tell from this one.",
            needs="geodesic",
        ),
    },
    "calibration_check": {
        "calibration_check": AnalysisFigure(
            figure_calibration_check,
            "Ranks of known truths",
            "Truths drawn from this posterior, and where they rank among the draws of posteriors of synthetic data: uniform if "
            "intervals hold what they promise. A line that leaves the grey band is a fault: an S that rises first means "
            "intervals too narrow, the reverse too wide.",
        ),
    },
    "predictive_checks": {
        "predictive_checks": AnalysisFigure(
            figure_predictive_checks,
            "Data against replicated data",
            "How far averages and variances of the data lie from those of data that the model would make, uncertainty of the "
            "parameters and of finite data included. Hollow marks were fitted, so their agreement is no surprise; of the full "
            "ones, those in orange are misses that the number of tests does not explain.",
        ),
    },
    "predictions": {
        "prediction_bands": AnalysisFigure(
            figure_prediction_bands,
            "Predicted functions",
            "Bands are what the parameters leave open; below, the standard deviations of parameters, of finite simulation and "
            "of chance in an average of as many frames as the text says, beside the distance to the data where there are any.",
            needs="function",
        ),
        "prediction_parts": AnalysisFigure(
            figure_prediction_parts,
            "What the error bars are made of",
            "More data narrow the blue part, more simulation the orange one; chance goes only with the number of frames "
            "that are averaged. What the model's form misses is not among them: the text tells it where data exist.",
        ),
        "prediction_shares": AnalysisFigure(
            figure_prediction_shares,
            "Which combinations make the spread",
            "Shares of the parametric variance along directions of parameter space. Many small ones: no single combination "
            "is worth another measurement. Grey at the right end: not linear in the parameters.",
        ),
    },
    "sweep": {
        "data_size_sweep": AnalysisFigure(
            figure_run_data_size_sweep,
            "Data size",
            "The model fitted to pieces of the data, and its score on the piece (grey) and on all frames outside it (blue). "
            "Where both curves meet, more data bring nothing, and what misfit is left is the form's; a gap at the right end "
            "says that more data would make predictions better.",
        ),
        "basis_sweep": AnalysisFigure(
            figure_run_basis_sweep,
            "Size of the basis",
            "The frames fitted by coarser bases on the run's own references: scores on the frames fitted to (grey) fall with "
            "every coefficient, scores on blocks left out (blue) only as far as the data carry. Below, what the form misses "
            "(bias) and what finite data cost (variance). The line is at the smallest basis within one standard error of the "
            "best.",
            needs="block_cv_by_basis",
        ),
    },
}
"""Figures of each analysis, by name."""


def figures_of(name: str, data: xr.Dataset) -> dict[str, AnalysisFigure]:
    """The figures that an analysis holds the variables for.

    Args:
        name: of the analysis, what follows the first hyphen telling it from others of its kind.
        data: as it is stored.
    """
    all_ = FIGURES.get(_kind(name)[0], {})
    return {key: figure for key, figure in all_.items() if not figure.needs or figure.needs in data}


def analysis_title(name: str, data: xr.Dataset) -> str:
    """What stands above an analysis in the report.

    Args:
        name: of the analysis.
        data: as it is stored.

    Example:
        >>> analysis_title("predictions-cold", xr.Dataset(attrs={"title": "What does it predict?"}))
        'What does it predict? (cold)'
    """
    which = _kind(name)[1]
    return str(data.attrs["title"]) + (f" ({which})" if which else "")


def _kind(name: str) -> tuple[str, str]:
    """What kind of analysis it is, and which of that kind; empty where there is one of it."""
    kind, _, which = name.partition("-")
    return kind, which


def write_analysis(data: xr.Dataset, folder: Path, name: str) -> list[Path]:
    """Keeps an analysis beside the run's result and draws its figures.

    Args:
        data: with the attributes `title` and `sentences` (a JSON list).
        folder: the run's output folder.
        name: of the analysis: its kind, and behind a hyphen which of that kind; an older one of that name is replaced, its
            figures too.

    Returns:
        The files written.
    """
    path = folder / FOLDER / f"{name}.nc"
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    if created := _created(folder / RESULT_FILE):
        data = data.assign_attrs({OF_RESULT: created})
    data.to_netcdf(partial, engine="netcdf4")
    os.replace(partial, path)
    files = [path]
    kind, which = _kind(name)
    places = {
        key: folder / "figures" / (f"{key}-{which}.png" if which else f"{key}.png")
        for key in FIGURES.get(kind, {})
    }
    for old in places.values():  # of what is replaced; the new one may have fewer
        old.unlink(missing_ok=True)
    for figure, one in figures_of(name, data).items():
        file = places[figure]
        file.parent.mkdir(exist_ok=True)
        one.draw(data).savefig(file, format="png")
        files.append(file)
    return files


def _created(path: Path) -> str:
    """When a result was made; empty where there is none, or where it does not say."""
    if not path.is_file():
        return ""
    with xr.open_dataset(path, engine="netcdf4") as root:
        return str(root.attrs.get("created", ""))


def is_outdated(data: xr.Dataset, created: str) -> bool:
    """Whether an analysis was made from another result than that of the same folder.

    Args:
        data: the analysis.
        created: when that result was made; empty where it does not say.

    Example:
        >>> is_outdated(xr.Dataset(attrs={"of_result": "2026-01-01"}), "2026-02-02"), is_outdated(xr.Dataset(), "2026-02-02")
        (True, False)
    """
    return bool(created) and str(data.attrs.get(OF_RESULT, created)) != created


def read_analyses(folder: Path) -> dict[str, xr.Dataset]:
    """Analyses beside a run's result, by name.

    Args:
        folder: the run's output folder.

    Raises:
        InputError: one that can't be read.
    """
    found = {}
    for path in sorted((folder / FOLDER).glob("*.nc")):
        try:
            with xr.open_dataset(path, engine="netcdf4") as data:
                found[path.stem] = data.load()
            json.loads(found[path.stem].attrs["sentences"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: damaged ({error}); delete it and make the analysis again") from error
    return found
