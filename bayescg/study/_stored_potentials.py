"""Potentials at the draws of a stored run on labelled data."""

import json
from pathlib import Path

import numpy as np
import xarray as xr

from bayescg import output
from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.inference import LabelledData, Prior, labelled_prior
from bayescg.study._interatomic_build import build_interatomic, interatomic_priors, noise_scales
from bayescg.study._labelled_schema import LabelledModelFile
from bayescg.study._read import parse_model_file


def stored_prior(tree: xr.DataTree, folder: Path) -> Prior:
    """The prior of a stored run on labelled data; it maps unconstrained draws to potentials and noise scales.

    Args:
        tree: the result.
        folder: where it lies, named in errors.

    Raises:
        InputError: the result is of another kind.
    """
    path = folder / output.RESULT_FILE
    model = parse_model_file(tree.attrs["model_file_text"], path)
    if not isinstance(model, LabelledModelFile):
        raise InputError(f"{path}: the model is of frames at equilibrium; use `pair_tables` for it")
    species, groups = (tuple(json.loads(tree.attrs[name])) for name in ("species", "groups"))
    counts = tuple(tuple(row) for row in json.loads(tree.attrs["counts"]))
    potential = build_interatomic(model, species, path=path)
    data = LabelledData((), groups, 0, counts)
    return labelled_prior(
        potential, interatomic_priors(model, potential, path=path), noise=noise_scales(model), data=data
    )


def stored_potentials(folder: Path, n_draws: int) -> output.PotentialDraws:
    """Potentials at calibrated draws of a stored run on labelled data, for a calculator or for files.

    Args:
        folder: the run's output folder.
        n_draws: how many draws, spread evenly over the chains.

    Raises:
        InputError: no result, one of another kind, or more draws than there are.

    Example:
        >>> draws = stored_potentials(Path("runs/si-stillinger-weber"), 20)  # doctest: +SKIP
        >>> calculator = output.PosteriorCalculator(draws)  # doctest: +SKIP
    """
    tree = output.open_result(folder)
    prior = stored_prior(tree, folder)
    z = np.asarray(tree["unconstrained"].to_dataset()["z_calibrated"])
    if n_draws > z.shape[0] * z.shape[1]:
        raise InputError(
            f"{folder}: {n_draws} draws asked for, the run holds {z.shape[0] * z.shape[1]}; ask for fewer"
        )
    return output.potential_draws(
        prior,
        z,
        units=get_unit_system(str(tree.attrs["units"])),
        posterior=str(tree.attrs["calibration"]),
        n_draws=n_draws,
        provenance=output.table_provenance(tree),
    )
