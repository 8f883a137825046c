"""Labelled configurations of a model file: read, checked, divided."""

import hashlib
from pathlib import Path

import numpy as np

from bayescg.data import Configurations, UnitSystem, read_configurations, split_configurations
from bayescg.errors import InputError
from bayescg.study._keys import blame
from bayescg.study._labelled_schema import ConfigurationsTable, configuration_path

KEYS = {
    f"{name}_key": f"data.{name}_key"
    for name in ("energy", "forces", "stress", "group", "weight", "molecule")
}
"""Keys to blame, by the argument of `read_configurations`."""


def read_labelled(table: ConfigurationsTable, *, path: Path, units: UnitSystem) -> Configurations:
    """All configurations that the table names.

    Args:
        table: `[data]`.
        path: the model file.
        units: the study's system.

    Raises:
        InputError: a file that is missing, is another than the checksum says or cannot be used, with its key.
    """
    parts = []
    for index, name in enumerate(table.configurations):
        file = _file(name, path)
        if table.sha256:
            _compare_checksum(file, table.sha256[index], path)
        with blame(path, "data.configurations", KEYS):
            parts.append(
                read_configurations(
                    file,
                    units=units,
                    energy_key=table.energy_key,
                    forces_key=table.forces_key,
                    stress_key=table.stress_key,
                    group_key=table.group_key,
                    weight_key=table.weight_key,
                    temperature_key=table.temperature_key,
                    molecule_key=table.molecule_key,
                    species=table.species or None,
                    require=tuple(name for name in table.use if name != "stress"),
                )
            )
    with blame(path, "data.species"):
        every = parts[0] if len(parts) == 1 else Configurations.concatenate(parts)
    chosen = np.arange(len(every))[table.start : table.stop : table.stride]
    if not len(chosen):
        raise InputError(
            f"{path}: key 'data.start': start, stop and stride leave none of {len(every)} configurations"
        )
    every = every[chosen]
    if table.without_groups:
        with blame(path, "data.without_groups"):
            every = every.without(group=table.without_groups)
    return every


def divide(
    table: ConfigurationsTable, every: Configurations, *, path: Path
) -> tuple[Configurations, Configurations | None]:
    """Training and held-out configurations.

    Raises:
        InputError: groups that are not there, or a part that comes out empty.
    """
    if table.held_out_groups:
        with blame(path, "data.held_out_groups"):
            return every.without(group=table.held_out_groups), every.select(group=table.held_out_groups)
    if table.held_out_fraction:
        with blame(path, "data.held_out_fraction"):
            return split_configurations(
                every, held_out_fraction=table.held_out_fraction, seed=table.split_seed
            )
    return every, None


def _file(name: str, path: Path) -> Path:
    try:
        return configuration_path(name, path)
    except KeyError as error:
        raise InputError(
            f"{path}: key 'data.configurations': {name!r} needs the environment variable {error.args[0]}, which is not"
            " set; set it to the folder that holds the file"
        ) from None


def _compare_checksum(file: Path, expected: str, path: Path) -> None:
    if not file.is_file():
        raise InputError(
            f"{path}: key 'data.configurations': {file}: no such file; correct the name or get the file"
        )
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != expected.lower():
        raise InputError(
            f"{path}: key 'data.sha256': {file} has the sha256 {found[:12]}…, {expected[:12]}… is expected; get that"
            " version of the file, or correct the checksum"
        )
