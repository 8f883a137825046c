"""The calibration of a stored run, checked with its own reference simulations: `bayescg sbc`."""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import xarray as xr

from bayescg import analysis, output
from bayescg.analysis import FittedRun
from bayescg.errors import InputError
from bayescg.study._output_folder import RECORD
from bayescg.study._result import _coordinate_names
from bayescg.study._stored_fits import stored_fit
from bayescg.study._stored_verdict import cautions, refuse_labelled, verification_verdict


def check_calibration(
    folder: Path,
    *,
    n_replicates: int = 200,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> xr.Dataset:
    """Posterior simulation-based calibration of a stored run on frames; nothing is simulated.

    Reads the run's data again, since every replicate is inferred from the data and synthetic data together.

    Args:
        folder: the run's output folder.
        n_replicates: how often; fewer than 100 can't tell.
        seed: of all random numbers.
        tell: hears what is being done.

    Returns:
        As `analysis.posterior_calibration`.

    Raises:
        InputError: no run, a run on labelled configurations or a quick one, data that changed.

    Example:
        >>> check_calibration(Path("runs/none"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        bayescg.errors.InputError: runs/none/posterior.nc: no such file; name the output folder of a finished run ...
    """
    tree = output.open_result(folder)
    refuse_labelled(
        tree,
        folder,
        "have no reference simulations to resample; its report shows the coverage of held-out labels instead",
    )
    if output.is_quick(tree):
        raise InputError(f"{folder}: is a quick test run, whose numbers mean nothing; run it without --quick")
    if not (folder / RECORD).is_file():
        raise InputError(f"{folder / RECORD}: missing; the check needs it to find the data that the run read")
    tell(f"{folder}: reading data and references")
    fit = stored_fit(tree, folder)
    draws = np.asarray(output.require_variables(tree, "unconstrained", "z_calibrated")["z_calibrated"].values)
    run = FittedRun(
        fit.loaded.statistics, fit.posterior, fit.bank, fit.mode.z, draws.reshape(-1, draws.shape[-1])
    )
    names, _ = _coordinate_names(fit.loaded.prior, fit.loaded.potential, fit.pipeline.units)
    check = analysis.posterior_calibration(
        run, key=jax.random.key(seed), n_replicates=n_replicates, names=names,
        on_batch=lambda done: tell(f"{done} of {n_replicates} replicates"),
    )  # fmt: skip
    return check.assign_attrs(
        seed=seed, verification=verification_verdict(tree), data_checksum=str(tree.attrs["data_checksum"]),
        meaning="ranks of truths drawn from the calibrated posterior, in posteriors of data and synthetic data together",
        title="Does the posterior hold what it promises?",
        sentences=json.dumps([*output.calibration_check_sentences(check), *cautions(tree)]),
    )  # fmt: skip
