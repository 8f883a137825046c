"""Where a file keeps energies, forces and stresses, and in what shape. Units are ASE's: Å and eV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bayescg.data._topology import Floats
from bayescg.errors import InputError

VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
"""Rows and columns of the stress components in the order xx, yy, zz, yz, xz, xy."""


class Label(NamedTuple):
    """One kind of label.

    Attributes:
        name: ``energy``, ``forces`` or ``stress``.
        keys: where it's looked for when the user names no key, in this order.
    """

    name: str
    keys: tuple[str, ...]


LABELS = {
    "energy": Label("energy", ("energy",)),
    "forces": Label("forces", ("forces", "force")),
    "stress": Label("stress", ("stress", "virial", "virials")),
}


def find_label(image: Any, label: Label, key: str | None, *, where: str) -> Floats | None:
    """The label of one configuration, or None if it has none.

    Args:
        image: ASE's Atoms.
        label: what is looked for.
        key: under which name; None for the usual ones.
        where: file and configuration, for messages.

    Returns:
        [] of an energy [eV], [atom 3] of forces [eV/Å], [3 3] of a stress [eV/Å³], tension positive; None also for a
        stress that was not named in `key` where a direction is open.

    Raises:
        InputError: what is there has another shape or is not a number; a stress or virial was named in `key` but a
            direction is open.
    """
    for name in (key,) if key else label.keys:
        value = _lookup(image, name)
        if value is not None:
            return _shaped(image, label, name, value, named=key is not None, where=where)
    return None


def has_label(image: Any, key: str) -> bool:
    """Whether a configuration has anything under this key."""
    return _lookup(image, key) is not None


def keys_found(images: Sequence[Any], label: Label) -> str:
    """Keys whose values have the shape of this label, for messages."""
    names: dict[str, None] = {}
    for image in images[:50]:
        results = {} if image.calc is None else image.calc.results
        for source in (results, image.info, image.arrays):
            for key, value in source.items():
                if key not in ("positions", "numbers") and _fits(value, label, len(image)):
                    names[str(key)] = None
    others = ", ".join(names)
    return f"{others} instead" if others else "nothing else that has its shape"


def _lookup(image: Any, key: str) -> Any:
    results = {} if image.calc is None else image.calc.results
    for source in (results, image.info, image.arrays):
        if source.get(key) is not None:
            return source[key]
    return None


def _fits(value: Any, label: Label, n_atoms: int) -> bool:
    shape = np.shape(value)
    if isinstance(value, (str, bool)) or np.asarray(value).dtype.kind not in "fi":
        return False
    return shape in {"energy": ((),), "forces": ((n_atoms, 3),), "stress": ((6,), (9,), (3, 3))}[label.name]


def _shaped(image: Any, label: Label, key: str, value: Any, *, named: bool, where: str) -> Floats | None:
    if not _fits(value, label, len(image)):
        raise InputError(
            f"{where}: {key} is of shape {np.shape(value)} ({str(value)[:30]!r}); expected "
            + {
                "energy": "one number",
                "forces": f"[atom 3] = ({len(image)}, 3) numbers",
                "stress": "6 numbers in the order xx yy zz yz xz xy, or 9",
            }[label.name]
        )
    array = np.asarray(value, np.float64)
    if not np.isfinite(array).all():
        place = (
            ""
            if array.ndim != 2 or label.name != "forces"
            else f" of atom {np.argwhere(~np.isfinite(array))[0][0]}"
        )
        raise InputError(
            f"{where}: {key}{place} is not a finite number; the calculation probably failed, so take it out of the file"
        )
    return array if label.name != "stress" else _stress(image, key, array, named=named, where=where)


def _stress(image: Any, key: str, array: Floats, *, named: bool, where: str) -> Floats | None:
    """Full stress matrix; a virial becomes −virial / V."""
    if not image.pbc.all():
        if named:
            raise InputError(
                f"{where}: has {key} but an open direction (pbc {image.pbc.tolist()}), so no volume to refer it to; "
                "set pbc to T T T in the file, or leave stress_key out"
            )
        return None
    if array.shape == (6,):
        full = np.empty((3, 3))
        full[*VOIGT] = full[*VOIGT[::-1]] = array
    else:
        full = array.reshape(3, 3)
    name = key.lower()
    if "virial" in name and "stress" not in name:
        full = -full / image.get_volume()
    return full
