"""The nearest neighbours of every site of a frame, as many for each: what order parameters are made of."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bayescg.errors import InputError
from bayescg.physics._frame_map import MAX_NUMBERS, checked_frames, known, map_frames
from bayescg.physics._space import minimum_image


class NeighbourShell(eqx.Module):
    """Which sites are neighbours: the `number` nearest, or with a cutoff all within it, `number` at most.

    A site with more than `number` neighbours within a finite cutoff has no defined order parameter: it becomes NaN.
    So does one whose `number` nearest reach beyond half of the box, where images would count.

    Attributes:
        number: of neighbours, or how many may lie within the cutoff.
        cutoff: [length]; inf takes the nearest wherever they are.

    Raises:
        InputError: no neighbour, a cutoff that is not positive.

    Example:
        >>> nearest_twelve, first_shell = NeighbourShell(12), NeighbourShell(24, cutoff=1.4)
        >>> nearest_twelve.cutoff, first_shell.number
        (inf, 24)
    """

    number: int = eqx.field(static=True, converter=int)
    cutoff: float = eqx.field(static=True, default=float("inf"), converter=float)

    def __check_init__(self):
        if self.number < 1 or not self.cutoff > 0.0:
            raise InputError(
                f"neighbour shell: {self.number} neighbours within {self.cutoff}; expected at least one and a"
                " positive cutoff"
            )


class ShellNeighbours(NamedTuple):
    """Neighbours of the sites of one frame.

    Attributes:
        others: numbers of the neighbours, nearest first.
        vectors: to them [length].
        inside: which of them count.
        valid: sites whose neighbours are all there.
    """

    others: Int[Array, "site neighbour"]
    vectors: Float[Array, "site neighbour dim"]
    inside: Bool[Array, "site neighbour"]
    valid: Bool[Array, " site"]


def shell_neighbours(
    positions: Float[Array, "site dim"], box: Float[Array, " dim"], *, shell: NeighbourShell
) -> ShellNeighbours:
    """The neighbours of every site; which they are has no derivative, the vectors to them have.

    All distances are computed, a few million at a time: cost N², memory bounded.
    """
    still, edges = jax.lax.stop_gradient((positions, box))
    sites = jnp.arange(len(positions))

    def of_one_site(site: Array) -> tuple[Array, Array]:
        r2 = jnp.sum(minimum_image(still - still[site], edges) ** 2, axis=-1)
        r2 = jnp.where(sites == site, jnp.inf, r2)
        # The partial sort of 32-bit numbers is 30 times faster than that of 64; only ties are cut differently.
        _, others = jax.lax.top_k(-r2.astype(jnp.float32), shell.number)
        return others, jnp.sum(r2 < shell.cutoff**2)

    at_once = max(1, MAX_NUMBERS // positions.size)
    if len(positions) <= at_once:
        others, found = jax.vmap(of_one_site)(sites)
    else:
        others, found = jax.lax.map(of_one_site, sites, batch_size=at_once)
    vectors = minimum_image(positions[others] - positions[:, None], box)
    r2 = jnp.sum(vectors**2, axis=-1)
    half = 0.5 * jnp.min(edges)
    if np.isinf(shell.cutoff):
        return ShellNeighbours(others, vectors, jnp.isfinite(r2), jnp.max(r2, axis=1) <= half**2)
    inside = r2 < shell.cutoff**2
    fits = (jnp.sum(inside, axis=1) == found) & (shell.cutoff <= half * (1.0 + 1e-6))
    return ShellNeighbours(others, vectors, inside, fits)


def unit_vectors(vectors: Float[Array, "*n dim"]) -> Float[Array, "*n dim"]:
    """Vectors of length 1; zero ones, of sites at the same place, stay zero."""
    r2 = jnp.sum(vectors**2, axis=-1, keepdims=True)
    return jnp.where(r2 > 0.0, vectors / jnp.sqrt(jnp.where(r2 > 0.0, r2, 1.0)), 0.0)


def shell_observable(
    what: str,
    function: Callable[[ShellNeighbours], Array],
    positions: object,
    box: object,
    *,
    shell: NeighbourShell,
) -> Array:
    """A function of the neighbours of a frame, of every frame.

    Args:
        what: is computed, for messages.
        function: of the neighbours of one frame; hashable, the same object for the same computation.
        positions: along any leading axes [length].
        box: edge lengths, one for all frames or one for each [length].
        shell: which sites are neighbours.

    Raises:
        InputError: shapes that do not fit, not enough sites, a cutoff beyond half the box.
    """
    x, edges = checked_frames(what, positions, box, dim=3)
    if shell.number >= x.shape[-2]:
        raise InputError(
            f"{what}: {shell.number} neighbours of each of {x.shape[-2]} sites; ask for fewer than there are sites"
        )
    lengths = known(edges)
    if lengths is not None and np.isfinite(shell.cutoff) and shell.cutoff > 0.5 * lengths.min() * (1 + 1e-6):
        raise InputError(
            f"{what}: the cutoff {shell.cutoff:g} is beyond half of the box ({0.5 * lengths.min():g}); make it smaller"
        )
    return _mapped(x, edges, function, shell)


@partial(jax.jit, static_argnums=(2, 3))
def _mapped(
    positions: Float[Array, "*batch site dim"],
    box: Float[Array, "*batch dim"],
    function: Callable[[ShellNeighbours], Array],
    shell: NeighbourShell,
) -> Array:
    def one_frame(x: Array, edges: Array) -> Array:
        return function(shell_neighbours(x, edges, shell=shell))

    n_sites, dim = positions.shape[-2:]
    return map_frames(one_frame, positions, box, numbers=n_sites * n_sites * dim)
