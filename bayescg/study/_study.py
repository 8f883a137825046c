"""A study: the stages from files to report, in order, from one model file."""

import json
from pathlib import Path
from typing import Any, Self

import jax
import xarray as xr

from bayescg import analysis, output
from bayescg.errors import InputError
from bayescg.progress import Progress, SilentProgress
from bayescg.study._clock import StageClock
from bayescg.study._equilibrium import EquilibriumPipeline
from bayescg.study._labelled import LabelledPipeline
from bayescg.study._labelled_schema import LabelledModelFile
from bayescg.study._output_folder import RECORD, claim_folder, refuse_used_folder
from bayescg.study._pipeline import Pipeline
from bayescg.study._read import parse_model_file, read_model_file
from bayescg.study._schema import ModelFile


class Study:
    """One inference, described by a model file.

    Args:
        model: the checked model file.
        text: its text, kept in the result.
        path: where it lies; data paths are relative to its folder.

    Example:
        >>> study = Study.from_file(Path("models/double-well/model.toml"))  # doctest: +SKIP
        >>> tree = study.run(Path("runs/double-well"))  # doctest: +SKIP
    """

    def __init__(self, model: ModelFile | LabelledModelFile, text: str, path: Path):
        self.model, self.text, self.path = model, text, path
        self.pipeline: Pipeline[Any, Any]
        if isinstance(model, LabelledModelFile):
            labelled = LabelledPipeline(model, text, path)
            self.pipeline, self.units = labelled, labelled.units
        else:
            equilibrium = EquilibriumPipeline(model, text, path)
            self.pipeline, self.units = equilibrium, equilibrium.units

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The study of a model file (or of a folder with a `model.toml`).

        Raises:
            InputError: the file is missing or wrong, in one line that names the key.
        """
        path = path / "model.toml" if path.is_dir() else path
        model, text = read_model_file(path)
        return cls(model, text, path)

    def check(self) -> list[analysis.Check]:
        """The pre-flight on data and model; nothing is simulated or written.

        Raises:
            InputError: what no inference can mend.
        """
        _require_64_bit()
        return self.pipeline.check()

    def run(
        self, folder: Path, *, progress: Progress | None = None, seed: int | None = None, quick: bool = False
    ) -> xr.DataTree:
        """From files to report.

        Args:
            folder: new output folder.
            progress: who listens.
            seed: overrides the model file's.
            quick: a test of the pipeline with little work, marked as such in the result.

        Raises:
            InputError: bad input, or the folder is not a new or empty one.
        """
        _require_64_bit()
        refuse_used_folder(folder)
        seed = self.model.inference.seed if seed is None else seed
        clock = StageClock(progress or SilentProgress())
        loaded = self.pipeline.load(clock)
        self.pipeline.refuse(loaded)
        description = {"model": str(self.path.resolve()), "text": self.text, "seed": seed, "quick": quick}
        claim_folder(folder, json.dumps(description))
        return self.pipeline.infer(loaded, folder, clock, seed=seed, quick=quick)

    @classmethod
    def resume(cls, folder: Path, *, progress: Progress | None = None) -> xr.DataTree:
        """Go on with a run that was stopped; the result is the one it would have had.

        Raises:
            InputError: the folder holds no run, its model file is gone, or the data have changed.
        """
        _require_64_bit()
        if (folder / output.RESULT_FILE).is_file():
            return output.open_result(folder)
        record = folder / RECORD
        if not record.is_file():
            raise InputError(f"{folder}: holds no run to resume (no run.json); start one with `bayescg run`")
        try:
            description = json.loads(record.read_text())
            path, text = Path(description["model"]), description["text"]
            seed, quick = description["seed"], description["quick"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{record}: damaged ({error}); start the run again in a new folder") from error
        if not path.is_file():
            raise InputError(
                f"{record}: the model file that it names, {path}, is gone; put it and its data back, or write their new"
                ' place into its key "model"'
            )
        study = cls(parse_model_file(text, path), text, path)
        clock = StageClock(progress or SilentProgress())
        return study.pipeline.infer(study.pipeline.load(clock), folder, clock, seed=seed, quick=quick)


def _require_64_bit() -> None:
    if not jax.config.read("jax_enable_x64"):
        raise InputError(
            "log densities of many data need 64-bit arithmetic: call jax.config.update('jax_enable_x64', True) first"
        )
