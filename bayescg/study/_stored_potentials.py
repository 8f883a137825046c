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
from bayescg.study._many_body_build import with_standardisations
from bayescg.study._read import parse_model_file


def stored_prior(tree: xr.DataTree, folder: Path) -> Prior:
    """The prior of a stored run on labelled data; it maps unconstrained draws to potentials and noise scales.

    Args:
        tree: the result.
        folder: where it lies, named in errors.

    Raises:
        InputError: the result is of another kind.

    Example:
        >>> folder = Path("runs/si-stillinger-weber")
        >>> prior = stored_prior(output.open_result(folder), folder)  # doctest: +SKIP
        >>> prior.coordinates[0].site  # doctest: +SKIP
        'sw_A'
    """
    path = folder / output.RESULT_FILE
    model = parse_model_file(tree.attrs["model_file_text"], path)
    if not isinstance(model, LabelledModelFile):
        raise InputError(f"{path}: the model is of frames at equilibrium; use `pair_tables` for it")
    species, groups = (tuple(json.loads(tree.attrs[name])) for name in ("species", "groups"))
    counts = tuple(tuple(row) for row in json.loads(tree.attrs["counts"]))
    potential = with_standardisations(
        build_interatomic(model, species, path=path), json.loads(tree.attrs.get("standardisations", "{}"))
    )
    data = LabelledData((), groups, 0, counts)
    return labelled_prior(
        potential, interatomic_priors(model, potential, path=path), noise=noise_scales(model), data=data
    )


def stored_potentials(folder: Path, n_draws: int, *, ensemble: str = "posterior") -> output.PotentialDraws:
    """Potentials at draws of a stored run on labelled data, for a calculator or for files.

    Args:
        folder: the run's output folder.
        n_draws: how many draws, spread evenly over the chains.
        ensemble: `posterior`, the calibrated draws, or one that `[misspecification]` named: `pops`, `discrepancy`,
            `bootstrap`.

    Raises:
        InputError: no result, one of another kind, an ensemble that it does not hold, or more draws than there are.

    Example:
        >>> draws = stored_potentials(Path("runs/si-stillinger-weber"), 20)  # doctest: +SKIP
        >>> calculator = output.PosteriorCalculator(draws)  # doctest: +SKIP
    """
    tree = output.open_result(folder)
    prior = stored_prior(tree, folder)
    z, words = ensemble_draws(tree, folder, ensemble)
    n_held = int(np.prod(z.shape[:-1]))
    if n_draws > n_held:
        raise InputError(f"{folder}: {n_draws} draws asked for, the run holds {n_held}; ask for fewer")
    return output.potential_draws(
        prior,
        z,
        units=get_unit_system(str(tree.attrs["units"])),
        posterior=words,
        n_draws=n_draws,
        provenance={**output.table_provenance(tree), "ensemble": ensemble, "calibration": words},
    )


def ensemble_draws(tree: xr.DataTree, folder: Path, ensemble: str) -> tuple[np.ndarray, str]:
    """Unconstrained coordinates of an ensemble, and in words what its spread is."""
    stored = tree["unconstrained"].to_dataset()
    if ensemble == "posterior":
        return np.asarray(stored["z_calibrated"]), str(tree.attrs["calibration"])
    if f"z_{ensemble}" not in stored or f"posterior_{ensemble}" not in tree.children:
        held = [
            name.removeprefix("posterior_")
            for name in tree.children
            if "ensemble" in tree.children[name].attrs
        ]
        raise InputError(
            f"{folder / output.RESULT_FILE}: holds no ensemble '{ensemble}', only {', '.join(['posterior', *held])}; name one"
            f" of these, or run a model file whose [misspecification] names it among its ensembles"
        )
    about = tree.children[f"posterior_{ensemble}"].attrs
    return np.asarray(
        stored[f"z_{ensemble}"]
    ), f"{about['calibration']}: {about['spread']}; {about['is_not']}"
