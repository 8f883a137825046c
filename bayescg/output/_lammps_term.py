"""What one term of an interatomic potential becomes in LAMMPS, and how numbers are written."""

import re
from typing import NamedTuple

import numpy as np

from bayescg.errors import InputError
from bayescg.physics._interatomic import InteratomicTerm


class PairCoefficient(NamedTuple):
    """A `pair_coeff` command without the style's name.

    Attributes:
        types: of the atoms, such as `* *` or `1 2`.
        file: name of the file that it reads, within the folder of a potential.
        arguments: what follows the file.
    """

    types: str
    file: str
    arguments: str


class LammpsTerm(NamedTuple):
    """A pair style with its arguments, its coefficients, and the package that it belongs to.

    Attributes:
        style: what `pair_style` takes, such as `sw` or `table spline 5000`.
        coefficients: one for each `pair_coeff`.
        package: LAMMPS must be built with it; empty for a style of the core.
        precision: in words, how closely the style follows the potential.
    """

    style: str
    coefficients: tuple[PairCoefficient, ...]
    package: str
    precision: str


class Scale(NamedTuple):
    """Factors from the study's units to those of the files.

    Attributes:
        units: LAMMPS' name of the unit system of the files.
        length: [length unit of the files per length unit of the study].
        energy: [energy unit of the files per energy unit of the study].
    """

    units: str
    length: float
    energy: float


def digits(value: object) -> str:
    """A number with all digits that it has: reading gives the same one, bit by bit.

    Example:
        >>> digits(np.float64(0.1) + 0.2)
        '0.30000000000000004'
    """
    return repr(float(np.asarray(value)))


def line(values: object) -> str:
    """Numbers in a row."""
    return " ".join(digits(value) for value in np.ravel(np.asarray(values, float)))


def file_stem(term: InteratomicTerm, others: tuple[str, ...]) -> str:
    """A file name made from the term's, different from those taken already."""
    plain = stem = re.sub(r"[^A-Za-z0-9]+", "_", term.name) or "term"
    number = 2
    while stem in others:
        stem, number = f"{plain}_{number}", number + 1
    return stem


def refuse_negative(term: InteratomicTerm, style: str, fields: dict[str, np.ndarray]) -> None:
    """Raise an InputError for numbers that LAMMPS' style does not take below zero."""
    for field, values in fields.items():
        if np.any(np.asarray(values) < 0.0):
            raise InputError(
                f"export: {term.name}_{field} is {float(np.min(values)):.6g}, but LAMMPS' pair_style {style} takes no"
                " negative one; give it a positive prior, or use PosteriorCalculator in ASE"
            )
