"""What interatomic terms do with their fields: conversion, checks of shapes, descriptions; and distances."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._interatomic import InteratomicTerm, neighbour_rows
from bayescg.physics._potential import ParameterInfo


def as_floats(value: object) -> Float[Array, "..."]:
    """A parameter array; whole numbers become floating ones, which have derivatives."""
    return jnp.asarray(value, float)


def as_tuple(values: Iterable[float]) -> tuple[float, ...]:
    """Plain numbers for a static field."""
    return tuple(float(value) for value in values)


def check_shapes(potential: InteratomicTerm, fields: tuple[str, ...], n: int, what: str) -> None:
    """Raise an InputError unless each of the fields is a scalar or an array of n entries."""
    for field in fields:
        shape = getattr(potential, field).shape
        if shape not in ((), (n,)):
            raise InputError(
                f"potential '{potential.name}': `{field}` has shape {shape}; {', '.join(potential.species)} take a"
                f" scalar or an array of shape {(n,)}, {what}"
            )


def check_rows(
    potential: InteratomicTerm, fields: tuple[str, ...], rows: int, columns: int, what: str
) -> None:
    """Raise an InputError unless each of the fields is an array of so many rows and columns."""
    for field in fields:
        shape = getattr(potential, field).shape
        if shape != (rows, columns):
            raise InputError(
                f"potential '{potential.name}': `{field}` has shape {shape}; {', '.join(potential.species)} take"
                f" {(rows, columns)}, {what}"
            )


def is_known(value: Array) -> bool:
    """Whether a value can be looked at: no tracer."""
    return isinstance(value, jax.Array | np.ndarray) and not isinstance(value, jax.core.Tracer)


def describe(
    potential: InteratomicTerm, words: dict[str, tuple[str, str, str, float]]
) -> tuple[ParameterInfo, ...]:
    """ParameterInfo of each field.

    Args:
        potential: the term.
        words: by field its quantity, long name, support and the size of a typical value.
    """
    return tuple(
        ParameterInfo(
            f"{potential.name}_{field}",
            *about,
            getattr(potential, field).shape,
            tuple(float(i) for i in range(len(getattr(potential, field))))
            if getattr(potential, field).ndim == 1
            else (),
        )
        for field, about in words.items()
    )


def neighbour_distances(vectors: Float[Array, "atom neighbour 3"]) -> Float[Array, "neighbour atom"]:
    """Lengths of neighbour vectors [length], atoms innermost; none is zero, so that the root has a derivative."""
    x, y, z = neighbour_rows(vectors)
    return jnp.sqrt(x * x + y * y + z * z)
