"""What a study is made of: loading, checking, refusing, inferring. One pipeline for each kind of data."""

import abc
import hashlib
import json
import shutil
from pathlib import Path
from typing import Generic, TypeVar

import jax
import xarray as xr

import bayescg
from bayescg import inference, output
from bayescg.analysis import Check
from bayescg.data import UnitSystem, get_unit_system
from bayescg.inference import Checkpoints
from bayescg.study._clock import StageClock
from bayescg.study._labelled_schema import LabelledModelFile
from bayescg.study._schema import ModelFile

ModelT = TypeVar("ModelT", ModelFile, LabelledModelFile)
LoadedT = TypeVar("LoadedT")


class Pipeline(abc.ABC, Generic[ModelT, LoadedT]):
    """The stages of one kind of inference.

    Args:
        model: the checked model file.
        text: its text, kept in the result.
        path: where it lies; data paths are relative to its folder.
    """

    def __init__(self, model: ModelT, text: str, path: Path):
        self.model: ModelT = model
        self.text, self.path = text, path
        self.units: UnitSystem = get_unit_system(model.units)

    @abc.abstractmethod
    def load(self, clock: StageClock) -> LoadedT:
        """Data and model, ready for inference.

        Raises:
            InputError: a file or a key that cannot be used.
        """

    @abc.abstractmethod
    def check(self) -> list[Check]:
        """The pre-flight on data and model; nothing is written."""

    @abc.abstractmethod
    def refuse(self, loaded: LoadedT) -> None:
        """Raise an InputError where the data and the model together can't be inferred from."""

    @abc.abstractmethod
    def infer(
        self, loaded: LoadedT, folder: Path, clock: StageClock, *, seed: int, quick: bool
    ) -> xr.DataTree:
        """The inference, resumed from its checkpoints where there are some; writes everything into the folder."""

    def checkpoints(self, folder: Path, checksum: str, *, seed: int, quick: bool) -> Checkpoints:
        """Those of a run of this model on these data by these versions."""
        parts = [self.text, checksum, bayescg.__version__, jax.__version__, seed, quick]
        identity = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return Checkpoints(folder / "checkpoint", identity=identity)

    def write(self, tree: xr.DataTree, folder: Path, clock: StageClock) -> None:
        """The result, figures and report, with the times of the stages so far."""
        tree.attrs["wall_time_s"] = json.dumps(clock.seconds())
        inference.write_tree(tree, folder / output.RESULT_FILE)
        output.write_outputs(tree, folder)

    def finish(self, tree: xr.DataTree, folder: Path, clock: StageClock) -> None:
        """The result again, with the times of all stages; checkpoints are no longer needed."""
        tree.attrs["wall_time_s"] = json.dumps(clock.seconds())
        inference.write_tree(tree, folder / output.RESULT_FILE)
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
