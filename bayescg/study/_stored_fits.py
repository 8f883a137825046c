"""A stored run on frames at equilibrium, ready to be scored again: its data, potential, prior and references."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import netCDF4
import numpy as np
import xarray as xr

from bayescg import analysis, inference, output
from bayescg.errors import InputError
from bayescg.inference import Mode, Posterior, RelativeEntropy
from bayescg.physics import Potential, ReferenceBank
from bayescg.progress import SilentProgress
from bayescg.study._clock import StageClock
from bayescg.study._equilibrium import EquilibriumPipeline
from bayescg.study._labelled import LabelledPipeline
from bayescg.study._labelled_result import LabelledLoaded
from bayescg.study._labelled_schema import LabelledModelFile
from bayescg.study._output_folder import RECORD
from bayescg.study._read import parse_model_file
from bayescg.study._result import Loaded
from bayescg.study._schema import ModelFile

BANK_FILE = "bank.nc"


class StoredFit(NamedTuple):
    """What a stored run on frames was, rebuilt from its folder and its data.

    Attributes:
        folder: the run's output folder.
        model: its model file.
        pipeline: that of the run.
        loaded: data, potential and prior.
        bank: all reference simulations.
        anchor: identity of the state that log Z is measured against.
        posterior: prior and likelihood.
        likelihood: of all frames.
        mode: MAP and Laplace approximation.
        draws: of the raw posterior [draw coordinate].
    """

    folder: Path
    model: ModelFile
    pipeline: EquilibriumPipeline
    loaded: Loaded
    bank: ReferenceBank
    anchor: str
    posterior: Posterior
    likelihood: RelativeEntropy
    mode: Mode
    draws: np.ndarray

    @property
    def potential(self) -> Potential:
        """At the MAP."""
        return self.posterior.prior.potential(jnp.asarray(self.mode.z))


def stored_anchor(tree: xr.DataTree, folder: Path) -> str:
    """Identity of a stored run's log Z anchor; from its bank where the result is older than the attribute."""
    if "log_z_anchor" in tree.attrs:
        return str(tree.attrs["log_z_anchor"])
    bank = inference.read_bank(folder / BANK_FILE)
    with netCDF4.Dataset(folder / BANK_FILE) as file:
        return analysis.log_z_anchor(bank, system=str(file.system))


def stored_pipeline(
    tree: xr.DataTree, folder: Path
) -> tuple[EquilibriumPipeline, Loaded] | tuple[LabelledPipeline, LabelledLoaded]:
    """The pipeline of a stored run, of either kind of data, with its data read again.

    Args:
        tree: its result.
        folder: its output folder.

    Raises:
        InputError: the folder lacks its record, or the data have changed or are gone.
    """
    record = folder / RECORD
    try:
        path = Path(json.loads(record.read_text())["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{record}: missing or damaged ({error}), and without it the run's data can't be found; put it back, or run"
            " the study again"
        ) from error
    text = str(tree.attrs["model_file_text"])
    model, clock = parse_model_file(text, path), StageClock(SilentProgress())
    if isinstance(model, LabelledModelFile):
        labelled = LabelledPipeline(model, text, path)
        configurations = labelled.load(clock)
        parts = [
            configurations.train,
            *([] if configurations.held_out is None else [configurations.held_out]),
        ]
        checksum = hashlib.sha256("".join(part.checksum() for part in parts).encode()).hexdigest()
        _refuse_changed(checksum, tree, folder, path)
        return labelled, configurations
    pipeline = EquilibriumPipeline(model, text, path)
    loaded = pipeline.load(clock)
    _refuse_changed(loaded.survey.checksum, tree, folder, path)
    return pipeline, loaded


def _refuse_changed(checksum: str, tree: xr.DataTree, folder: Path, path: Path) -> None:
    if checksum != tree.attrs["data_checksum"]:
        raise InputError(
            f"{folder}: the data that {path} names have changed since the run; put them back, or run it again"
        )


def stored_fit(tree: xr.DataTree, folder: Path) -> StoredFit:
    """Reads the data of a stored run on frames again and puts the fit together.

    Args:
        tree: its result.
        folder: its output folder.

    Raises:
        InputError: the folder lacks its record or bank, the data have changed or are gone.
    """
    pipeline, loaded = stored_pipeline(tree, folder)
    assert isinstance(pipeline, EquilibriumPipeline) and isinstance(
        loaded, Loaded
    )  # callers keep others apart
    bank = inference.read_bank(folder / BANK_FILE, system=pipeline._system_identity(loaded))
    posterior = Posterior(loaded.prior)
    likelihood = inference.relative_entropy(loaded.statistics, bank.surrogate())
    stored = output.require_variables(tree, "unconstrained", "z", "map")
    z = np.asarray(stored["z"].values, float)
    return StoredFit(
        folder, pipeline.model, pipeline, loaded, bank, stored_anchor(tree, folder), posterior, likelihood,
        inference.laplace(posterior, likelihood, np.asarray(stored["map"].values, float)),
        z.reshape(-1, z.shape[-1]),
    )  # fmt: skip
