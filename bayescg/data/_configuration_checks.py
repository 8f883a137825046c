"""What a set of configurations must satisfy, one check each; messages name the configuration."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayescg.data._topology import Floats
from bayescg.errors import InputError

_FLAT = 1e-6  # a cell whose volume is below this share of the product of its edges has none
_ASYMMETRY = 1e-3  # of the largest component of a stress


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array, from now on read-only."""
    array.flags.writeable = False
    return array


def check_species(species: Sequence[str]) -> tuple[str, ...]:
    """Symbols as a tuple.

    Raises:
        InputError: none, or not sorted, or one twice.
    """
    names = tuple(str(name) for name in species)
    if not names or list(names) != sorted(set(names)):
        raise InputError(
            f"configurations: species are {names}; expected chemical symbols in alphabetical order, each once"
        )
    return names


def atom_rows(values: ArrayLike, k: int, what: str) -> Floats:
    """A read-only copy [atom 3].

    Raises:
        InputError: another shape, no atom, or a number that is not finite.
    """
    array = np.array(values, np.float64)
    if array.ndim != 2 or array.shape[1] != 3 or len(array) == 0:
        raise InputError(
            f"configurations: {what} of configuration {k} have shape {array.shape}; expected [atom 3], one atom or more"
        )
    if not np.isfinite(array).all():
        atom = int(np.argwhere(~np.isfinite(array))[0][0])
        raise InputError(
            f"configurations: {what} of atom {atom} in configuration {k} are {array[atom].tolist()}; "
            "expected finite numbers, so drop the configuration or find where the calculation broke"
        )
    return frozen(array)


def same_length(values: Sized, n: int, what: str) -> None:
    """Raises:
    InputError: not one entry per configuration.
    """
    if len(values) != n:
        raise InputError(
            f"configurations: {len(values)} entries of {what} for {n} configurations; expected {n}"
        )


def per_configuration(
    values: ArrayLike,
    shape: tuple[int, ...],
    what: str,
    *,
    absent: float | None = None,
    dtype: type = np.float64,
) -> NDArray[Any]:
    """A read-only copy of the given shape; an empty array means `absent` everywhere.

    Raises:
        InputError: another shape.
    """
    array: NDArray[Any] = np.array(values, dtype)
    if array.size == 0 and absent is not None:
        array = np.full(shape, absent)
    if array.shape != shape:
        raise InputError(f"configurations: {what} has shape {array.shape}; expected {shape}")
    return frozen(array)


def check_range(values: Floats, what: str, *, least: float, may_be_absent: bool) -> None:
    """Raises:
    InputError: a value is infinite or below `least`, or NaN unless it may be absent.
    """
    good = (np.isfinite(values) & (values >= least)) | (np.isnan(values) & may_be_absent)
    if good.all():
        return
    k = int(np.argwhere(~good)[0][0])
    bound = f" from {least:g} on" if np.isfinite(least) else ""
    absent = ", or NaN where absent" if may_be_absent else ""
    raise InputError(
        f"configurations: {what} of configuration {k} is {values[k]}; expected a finite number{bound}{absent}"
    )


def check_cell(cell: Floats, periodic: NDArray[np.bool_], k: int) -> None:
    """Raises:
    InputError: a periodic direction without a lattice vector, an open one with one, or no volume.
    """
    rows = ", ".join(str(row.tolist()) for row in cell)
    if not np.isfinite(cell).all():
        raise InputError(
            f"configurations: cell of configuration {k} is {rows}; expected finite lattice vectors"
        )
    has_vector = np.any(cell != 0, axis=1)
    if (has_vector & ~periodic).any():
        raise InputError(
            f"configurations: cell of configuration {k} is {rows} though directions {periodic.tolist()} are periodic; "
            "set the rows of open directions to zero"
        )
    edges = np.linalg.norm(complete_cell(cell), axis=1)
    if (~has_vector & periodic).any() or volume_of(cell) <= _FLAT * float(np.prod(edges)):
        raise InputError(
            f"configurations: cell of configuration {k} is {rows} and has no positive volume; "
            "give three independent lattice vectors, or make the direction open"
        )


def check_stress(stress: Floats, closed: bool, k: int) -> None:
    """Raises:
    InputError: a stress with holes, infinite or not symmetric, or one without a volume.
    """
    if np.isnan(stress).all():
        return
    if not np.isfinite(stress).all():
        raise InputError(
            f"configurations: stress of configuration {k} is {stress.tolist()}; "
            "expected nine finite numbers, or nine NaN where it is absent"
        )
    if not closed:
        raise InputError(
            f"configurations: configuration {k} has a stress but an open direction, so no volume to refer it to; "
            "set its stress to NaN, or make the cell periodic in all three directions"
        )
    asymmetry = float(np.abs(stress - stress.T).max())
    if asymmetry > _ASYMMETRY * float(np.abs(stress).max()):
        raise InputError(
            f"configurations: stress of configuration {k} is not symmetric (components differ by {asymmetry:.3g}); "
            "it may be a deformation derivative or in another order, so give the symmetric Cauchy stress"
        )


def complete_cell(cell: Floats) -> Floats:
    """The cell with unit vectors, normal to the lattice vectors, in place of rows of zeros."""
    full = np.array(cell)
    empty = np.flatnonzero(~np.any(cell != 0, axis=1))
    if empty.size:
        _, _, directions = np.linalg.svd(cell)
        full[empty] = directions[3 - empty.size :]
    return full


def volume_of(cell: Floats) -> float:
    """Volume of a cell whose open directions count with length 1."""
    return float(abs(np.linalg.det(complete_cell(cell))))
