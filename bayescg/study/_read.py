"""Reading a model file of either kind: frames at equilibrium, or labelled configurations."""

import tomllib
from pathlib import Path

from pydantic import ValidationError

from bayescg.errors import InputError
from bayescg.study._labelled_schema import LabelledModelFile
from bayescg.study._messages import describe_problem
from bayescg.study._schema import ModelFile


def read_model_file(path: Path) -> tuple[ModelFile | LabelledModelFile, str]:
    """The checked model file and its text.

    Args:
        path: a TOML file.

    Raises:
        InputError: one line that names file, key, what was found and what is expected.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> text = 'title = "Argon"\\nunits = "metal"\\ndata.configurations = ["a.extxyz"]\\nnoise = {}'
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder) / "model.toml"
        ...     _ = file.write_text(text)
        ...     try:
        ...         read_model_file(file)
        ...     except InputError as error:
        ...         print(str(error).removeprefix(f"{file}: "))
        key 'potential' is missing: add it (and 1 more)
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); name a folder with a model.toml, or the file"
        ) from error
    return parse_model_file(text, path), text


def parse_model_file(text: str, path: Path) -> ModelFile | LabelledModelFile:
    """The checked contents of a model file; `path` is named in errors.

    Raises:
        InputError: as `read_model_file`.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}; mend that line") from error
    try:
        data = document.get("data")
        labelled = isinstance(data, dict) and "configurations" in data
        return (LabelledModelFile if labelled else ModelFile).model_validate(document)
    except ValidationError as error:
        raise InputError(f"{path}: {describe_problem(error, document)}") from error
