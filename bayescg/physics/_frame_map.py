"""Observables of many frames, replicas or draws in bounded memory."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError

MAX_NUMBERS = 2**22
"""Numbers that an intermediate array may hold: 32 MB in 64 bits."""

Result = TypeVar("Result")


def map_frames(
    function: Callable[[Array, Array], Result],
    positions: Float[Array, "*batch site dim"],
    box: Float[Array, "*batch dim"],
    *,
    numbers: int,
) -> Result:
    """A function of one frame's positions and box, of every frame; call it inside `jax.jit`.

    As many frames run side by side as memory allows. A gradient computes each frame again and stores only its positions.

    Args:
        function: of positions [site dim] and box [dim], both [length].
        positions: frames, replicas, draws along any leading axes [length].
        box: edge lengths, one for all frames or one for each [length].
        numbers: that `function` holds at a time for one frame.

    Returns:
        What `function` gives, with the leading axes of `positions`.
    """
    batch, dim = positions.shape[:-2], positions.shape[-1]
    boxes = jnp.broadcast_to(box, (*batch, dim)).reshape(-1, dim)
    frames = positions.reshape(-1, *positions.shape[-2:])
    again = jax.checkpoint(function)
    at_once = max(1, MAX_NUMBERS // max(1, numbers))
    if len(frames) <= at_once:
        results = jax.vmap(again)(frames, boxes)
    else:
        results = jax.lax.map(lambda one: again(*one), (frames, boxes), batch_size=at_once)
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), results)


def checked_frames(
    what: str, positions: object, box: object, *, dim: int | None = None
) -> tuple[Float[Array, "*batch site dim"], Float[Array, "*batch dim"]]:
    """Positions and box as arrays whose shapes fit.

    Args:
        what: is computed, for messages.
        positions: [length].
        box: one for all frames, or one for each [length].
        dim: number of dimensions that the observable needs; any if None.

    Raises:
        InputError: shapes that do not fit.
    """
    x, edges = jnp.asarray(positions), jnp.asarray(box)
    if x.ndim < 2 or (dim is not None and x.shape[-1] != dim):
        wanted = "[..., site, dim]" if dim is None else f"[..., site, {dim}]"
        raise InputError(f"{what}: positions have the shape {x.shape}; expected {wanted}")
    if edges.shape not in ((x.shape[-1],), (*x.shape[:-2], x.shape[-1])):
        raise InputError(
            f"{what}: the box has the shape {edges.shape}; expected {(x.shape[-1],)} for all frames or"
            f" {(*x.shape[:-2], x.shape[-1])}, one for each"
        )
    return x, edges


def known(value: object) -> np.ndarray | None:
    """The numbers of an array, or None inside a traced function, where they are not known yet."""
    return None if isinstance(value, jax.core.Tracer) else np.asarray(value)
