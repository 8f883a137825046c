"""Labelled configurations from files, through ASE, which is imported only when one is read.

ASE gives Å, eV, eV/Å and eV/Å³ with tension positive and six stresses in the order xx, yy, zz, yz, xz, xy.

References:
    Larsen et al., J. Phys. Condens. Matter 29, 273002 (2017), doi:10.1088/1361-648X/aa680e.
"""

from __future__ import annotations

import logging
import re
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bayescg.data._configurations import Configurations
from bayescg.data._labels import LABELS, Label, find_label, has_label, keys_found
from bayescg.data._topology import Floats, Integers
from bayescg.data._units import UnitSystem, conversion
from bayescg.errors import InputError

_logger = logging.getLogger(__name__)
_GROUP_KEYS = ("group", "config_type")
_FAILURES = (
    OSError, EOFError, ValueError, TypeError, IndexError, KeyError, RuntimeError, AttributeError, AssertionError,
    NotImplementedError, ImportError, zlib.error,
)  # fmt: skip


def read_configurations(
    path: str | Path,
    *,
    units: UnitSystem,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    group_key: str | None = None,
    weight_key: str | None = None,
    temperature_key: str | None = None,
    molecule_key: str | None = None,
    index: slice | None = None,
    species: Sequence[str] | None = None,
    require: Sequence[str] = ("energy", "forces"),
) -> Configurations:
    """Reads extxyz and everything else that ASE reads, compressed (gz, bz2, xz) too.

    A key is looked up among what ASE took for results of a calculation, then in a configuration's ``info``, then in its
    ``arrays``. Values are taken in ASE's units, Å and eV. A stress key with ``virial`` but not ``stress`` in its
    name is a virial −V σ [eV], positive under pressure, and divided by −V. Where a direction is open its lattice
    vector, if the file has one, is dropped.

    Args:
        path: the file.
        units: the study's system, into which everything is converted.
        energy_key: name of the potential energy; None for ``energy``.
        forces_key: name of the forces; None for ``forces`` or ``force``.
        stress_key: name of the stress or virial; None for ``stress``, ``virial`` or ``virials``.
        group_key: info key of the group; None for ``group``, else ``config_type``, where every configuration has it,
            else one group called ``all``.
        weight_key: info key of the weight; None gives every configuration 1.
        temperature_key: info key of the temperature [K], a number or a text with one before a K (``run at 300 K``);
            None leaves it unknown. It's unknown too where a configuration lacks the key.
        molecule_key: name of the per-atom array of whole numbers that say which molecule an atom belongs to, in ``arrays``
            of every configuration; None reads none.
        index: which configurations of the file.
        species: chemical symbols that may occur, and the species of the result; None takes those that occur.
        require: which of ``energy``, ``forces``, ``stress`` every configuration must carry. What isn't required may be
            absent from some or all.

    Raises:
        InputError: no such file, not readable, something required is absent from some configurations or from all, a key
            that no configuration has, a value that is not a number, a species that was not expected, units can't be
            converted.

    Example:
        >>> from bayescg.data import get_unit_system, read_configurations
        >>> silicon = read_configurations(  # doctest: +SKIP
        ...     "silicon.extxyz.gz", units=get_unit_system("metal"), require=("energy", "forces", "stress")
        ... )
    """
    path = Path(path)
    unknown = sorted(set(require) - set(LABELS))
    if unknown:
        raise InputError(
            f"{path}: require names {', '.join(unknown)}; expected some of {', '.join(LABELS)}",
            argument="require",
        )
    try:
        length, energy, force = (conversion(name, "metal", units) for name in ("length", "energy", "force"))
        kelvin = conversion("temperature", "metal", units)
    except InputError as error:
        raise InputError(f"{path}: {error}", argument="units") from None
    images = _read(path, slice(None) if index is None else index)
    symbols = _species(images, species, path)
    keys = {"energy": energy_key, "forces": forces_key, "stress": stress_key}
    labels = {name: _labels(images, LABELS[name], keys[name], name in require, path) for name in LABELS}
    group = _groups(images, group_key, path)
    weight = _weights(images, weight_key, path)
    temperature = _temperatures(images, temperature_key, path)
    molecules = _molecules(images, molecule_key, path)
    periodic = np.array([image.pbc for image in images], bool)
    try:
        return Configurations(
            species=symbols,
            positions=tuple(image.positions * length for image in images),
            types=tuple(
                np.array([symbols.index(name) for name in image.get_chemical_symbols()]) for image in images
            ),
            cell=np.array([image.cell.array for image in images]) * periodic[:, :, None] * length,
            periodic=periodic,
            units=units,
            energy=_filled(labels["energy"], ()) * energy,
            forces=tuple(None if rows is None else rows * force for rows in labels["forces"]),
            stress=_filled(labels["stress"], (3, 3)) * (energy / length**3),
            group=group,
            weight=weight,
            temperature=temperature * kelvin,
            molecules=molecules,
        )
    except InputError as error:
        raise InputError(f"{path}: {error}", argument="path") from None


def _read(path: Path, index: slice) -> list[Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file of configurations; check the path", argument="path")
    try:
        from ase.io import read
        from ase.io.formats import UnknownFileTypeError
    except ModuleNotFoundError:
        raise InputError(
            f"{path}: reading it needs ASE; install it with: pip install ase", argument="path"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            images = list(read(path, index=index))
        except (*_FAILURES, UnknownFileTypeError) as error:
            raise InputError(
                f"{path}: can't be read ({_one_line(error)}); it's damaged, cut off, or of a format that ASE doesn't know "
                "(extended XYZ is the safest)",
                argument="path",
            ) from None
    if not images:
        raise InputError(
            f"{path}: holds no configuration in {index}; check the file and the index", argument="index"
        )
    empty = [k for k, image in enumerate(images) if len(image) == 0]
    if empty:
        raise InputError(
            f"{path}: configuration {empty[0]} has no atoms; take it out of the file", argument="path"
        )
    return images


def _species(images: list[Any], expected: Sequence[str] | None, path: Path) -> tuple[str, ...]:
    found = {name for image in images for name in set(image.get_chemical_symbols())}
    if expected is None:
        return tuple(sorted(found))
    strange = sorted(found - set(expected))
    if strange:
        k = next(k for k, image in enumerate(images) if strange[0] in image.get_chemical_symbols())
        raise InputError(
            f"{path}: species {', '.join(strange)} in configuration {k} and maybe others; "
            f"expected {', '.join(sorted(set(expected)))} only, so add it to the species or take it out of the file",
            argument="species",
        )
    return tuple(sorted(set(expected)))


def _labels(
    images: list[Any], label: Label, key: str | None, required: bool, path: Path
) -> list[Floats | None]:
    """One array per configuration, or None where absent, in ASE's units."""
    values = [
        find_label(image, label, key, where=f"{path}: configuration {k}") for k, image in enumerate(images)
    ]
    absent = [k for k, value in enumerate(values) if value is None]
    dropped = [
        k for k in absent if any(has_label(images[k], name) for name in ((key,) if key else label.keys))
    ]
    if dropped:
        _logger.warning(
            "%s: %s of %d configurations (first: %d) is left out: a direction is open, so there is no volume to refer it to",
            path, label.name, len(dropped), dropped[0],
        )  # fmt: skip
    what = f"{label.name} under the key {key!r}" if key else label.name
    if len(absent) == len(images) and (required or key):
        raise InputError(
            f"{path}: no {what} in any of {len(images)} configurations; found {keys_found(images, label)}, "
            f"so give {label.name}_key=... or take {label.name} out of require",
            argument=f"{label.name}_key",
        )
    if absent and required:
        raise InputError(
            f"{path}: no {what} in {len(absent)} of {len(images)} configurations (first: configuration {absent[0]}); "
            f"take those out of the file, or take {label.name} out of require",
            argument="require",
        )
    return values


def _filled(values: list[Floats | None], shape: tuple[int, ...]) -> Floats:
    return np.array([np.full(shape, np.nan) if value is None else value for value in values], np.float64)


def _groups(images: list[Any], key: str | None, path: Path) -> tuple[str, ...]:
    if key is None:
        key = next((name for name in _GROUP_KEYS if all(name in image.info for image in images)), None)
        if key is None:
            return ("all",) * len(images)
    absent = [k for k, image in enumerate(images) if key not in image.info]
    if absent:
        raise InputError(
            f"{path}: {len(absent)} of {len(images)} configurations (first: configuration {absent[0]}) have no info key "
            f"{key!r} for their group; that one has {_info_keys(images[absent[0]])}",
            argument="group_key",
        )
    return tuple(str(image.info[key]) for image in images)


def _weights(images: list[Any], key: str | None, path: Path) -> Floats:
    if key is None:
        return np.ones(len(images))
    return np.array(
        [_number(image, k, key, path, argument="weight_key", absent=None) for k, image in enumerate(images)]
    )


def _temperatures(images: list[Any], key: str | None, path: Path) -> Floats:
    if key is None:
        return np.full(len(images), np.nan)
    if not any(key in image.info for image in images):
        raise InputError(
            f"{path}: no configuration has the info key {key!r} for its temperature; "
            f"the first has {_info_keys(images[0])}",
            argument="temperature_key",
        )
    return np.array(
        [
            _number(image, k, key, path, argument="temperature_key", absent=np.nan, unit="K")
            for k, image in enumerate(images)
        ]
    )


def _molecules(images: list[Any], key: str | None, path: Path) -> tuple[Integers, ...]:
    if key is None:
        return ()
    return tuple(
        molecule_labels(image, key, where=f"{path}: configuration {k}") for k, image in enumerate(images)
    )


def molecule_labels(image: Any, key: str, *, where: str) -> Integers:
    """The label of each atom's molecule, from a per-atom array of an ASE object.

    Args:
        image: `ase.Atoms`.
        key: name of the array.
        where: begins the message of an error.

    Raises:
        InputError: no such array, or one that is not a whole number for each atom.
    """
    if key not in image.arrays:
        raise InputError(
            f"{where} has no per-atom array {key!r} of its molecules; it has {', '.join(sorted(image.arrays))}",
            argument="molecule_key",
        )
    labels = np.asarray(image.arrays[key])
    if labels.shape != (len(image),) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{where} has the per-atom array {key!r} of shape {labels.shape} and dtype {labels.dtype}; expected a whole"
            " number for each atom, the label of its molecule",
            argument="molecule_key",
        )
    return labels.astype(np.int64)


def _number(
    image: Any,
    k: int,
    key: str,
    path: Path,
    *,
    argument: str,
    absent: float | None,
    unit: str | None = None,
) -> float:
    """The number under an info key; in a text the last number before `unit`."""
    if key not in image.info:
        if absent is not None:
            return absent
        raise InputError(
            f"{path}: configuration {k} has no info key {key!r}; it has {_info_keys(image)}",
            argument=argument,
        )
    value = image.info[key]
    if isinstance(value, str) and unit is not None:
        numbers = re.findall(rf"([0-9][0-9.]*(?:[eE][+-]?[0-9]+)?)\s*{unit}\b", value)
        if not numbers and absent is not None:
            return absent
        value = numbers[-1] if numbers else value
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(
            f"{path}: configuration {k} has {key}={value!r}; expected a number", argument=argument
        ) from None


def _info_keys(image: Any) -> str:
    return ", ".join(map(str, image.info)) or "none"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 120 else text[:117] + "..."
