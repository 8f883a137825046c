"""What a study is made of: loading, checking, refusing, inferring. One pipeline for each kind of data."""

import abc
from pathlib import Path
from typing import Generic, TypeVar

import xarray as xr

from bayescg.analysis import Check
from bayescg.study._clock import StageClock

LoadedT = TypeVar("LoadedT")


class Pipeline(abc.ABC, Generic[LoadedT]):
    """The stages of one kind of inference."""

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
