"""Where a result came from: model file, seed, versions, data."""

import datetime
import importlib.metadata
import json
import platform

import bayescg
from bayescg.study._labelled_schema import LabelledModelFile
from bayescg.study._schema import ModelFile


def provenance(
    model: ModelFile | LabelledModelFile,
    text: str,
    *,
    checksum: str,
    seed: int,
    quick: bool,
    calibration: str,
) -> dict[str, str | int | float]:
    """Attributes of a stored result.

    Args:
        model: the model file.
        text: its text.
        checksum: of the data.
        seed: of all random numbers.
        quick: whether this was a mere test of the pipeline.
        calibration: what was done to the posterior's width.
    """
    packages = ("bayescg", "jax", "jaxlib", "numpyro", "numpy", "xarray")
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = bayescg.__version__ if package == "bayescg" else "unknown"
    temperature: dict[str, str | int | float] = (
        {"temperature": model.temperature} if isinstance(model, ModelFile) else {}
    )
    marks: dict[str, str | int | float] = {"quick": 1} if quick else {}
    return marks | temperature | {
        "schema_version": 1,
        "title": model.title,
        "units": model.units,
        "potential": " + ".join(table.kind for table in model.potential.values()),
        "seed": seed,
        "model_file_text": text,
        "data_checksum": checksum,
        "versions": json.dumps(versions),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "calibration": calibration,
    }  # fmt: skip
