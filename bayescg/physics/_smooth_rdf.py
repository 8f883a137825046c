"""g(r) of every frame by a smooth kernel, differentiable in the positions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bayescg.errors import InputError
from bayescg.physics._frame_map import MAX_NUMBERS, checked_frames, known, map_frames
from bayescg.physics._space import minimum_image

_REACH = 2
"""Of the kernel, in spacings."""


def smooth_rdf(
    positions: Float[Array, "*batch site 3"],
    box: Float[Array, "*batch 3"],
    *,
    distances: Float[np.ndarray, " distance"],
    sites: Bool[np.ndarray, " site"] | None = None,
    partners: Bool[np.ndarray, " site"] | None = None,
) -> Float[Array, "*batch distance"]:
    """g(r) of every frame with the cubic B-spline B in place of bins: twice differentiable in positions and box.

        g_b = V / n Σ_{i≠j} B((r_ij − r_b)/h) / [4π h (r_b² + h²/3)],

    n the number of pairs. An ideal gas gives 1 on average. Its average is that of the true g(r) with the weight
    B((r − r_b)/h) r², which reaches over ±2h and has the standard deviation h/√3: choose a spacing h that a peak is wide
    against. The kernels add up to 1 at every distance, so none of the pairs between them is lost. All distances are
    computed, cost N².

    Args:
        positions: wrapped or not [length].
        box: edge lengths, one for all frames or one for each [length].
        distances: r_b, equally spaced by h; the first at least 2h, the last 2h below half the box [length].
        sites: i, those of one species; all if None.
        partners: j; all if None.

    Returns:
        g_b [dimensionless]; the number of frames, replicas and draws in front.

    Raises:
        InputError: an open box, distances that are not equally spaced or too near to 0 or to half the box, no pairs.

    References:
        de Boor (1978), A Practical Guide to Splines, doi:10.1007/978-1-4612-6333-3, chapter IX (B and its moments).

    Example:
        >>> pair = jnp.array([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
        >>> g = smooth_rdf(pair, jnp.full(3, 4.0), distances=np.array([0.8, 0.9, 1.0, 1.1, 1.2]))
        >>> (g / g.max()).round(2).tolist()  # the kernel: 2/3 in the middle, 1/6 beside it
        [[0.0, 0.31, 1.0, 0.21, 0.0]]
    """
    x, edges = checked_frames("smooth g(r)", positions, box, dim=3)
    places = np.asarray(distances, float)
    spacing = float(places[1] - places[0]) if places.ndim == 1 and len(places) > 1 else np.nan
    if not (spacing > 0.0 and np.allclose(np.diff(places), spacing, rtol=1e-6, atol=0.0)):
        raise InputError(
            f"smooth g(r): {places.size} distances; expected at least two, rising by equal steps"
        )
    if places[0] < _REACH * spacing * (1 - 1e-6):
        raise InputError(
            f"smooth g(r): first distance {places[0]:g} with steps of {spacing:g}; the kernel reaches over two steps, so"
            f" begin at {_REACH * spacing:g} or beyond"
        )
    lengths = known(edges)
    if lengths is not None and not np.isfinite(lengths).all():
        raise InputError("smooth g(r): the box is open; expected a closed one, since g(r) needs a density")
    if lengths is not None and places[-1] + _REACH * spacing > 0.5 * lengths.min() * (1 + 1e-6):
        raise InputError(
            f"smooth g(r): distances up to {places[-1]:g} and two steps of {spacing:g} are beyond half of the box"
            f" ({0.5 * lengths.min():g}); end before"
        )
    first, second = (_mask(x.shape[-2], one) for one in (sites, partners))
    n_pairs = int(first.sum()) * int(second.sum()) - int((first & second).sum())
    if n_pairs == 0:
        raise InputError(
            "smooth g(r): no pairs; expected sites and partners that are not the same single site"
        )
    volumes = 4.0 * np.pi * spacing * (places**2 + spacing**2 / 3.0) * n_pairs
    start = (float(places[0]), spacing, len(places))
    return _rdf(x, edges, jnp.asarray(first), jnp.asarray(second), jnp.asarray(1.0 / volumes), start)


def _mask(n_sites: int, given: Bool[np.ndarray, " site"] | None) -> np.ndarray:
    mask = np.ones(n_sites, bool) if given is None else np.asarray(given, bool)
    if mask.shape != (n_sites,):
        raise InputError(
            f"smooth g(r): a mask of the shape {mask.shape}; expected one for each of {n_sites} sites"
        )
    return mask


@partial(jax.jit, static_argnums=5)
def _rdf(
    positions: Float[Array, "*batch site dim"],
    box: Float[Array, "*batch dim"],
    first: Bool[Array, " site"],
    second: Bool[Array, " site"],
    scale: Float[Array, " distance"],
    grid: tuple[float, float, int],
) -> Float[Array, "*batch distance"]:
    start, spacing, n = grid
    n_sites, dim = positions.shape[-2:]
    numbers = jnp.arange(n_sites)

    def one_frame(x: Array, edges: Array) -> Array:
        @jax.checkpoint
        def one_site(site: Array) -> Array:
            counted = second & first[site] & (numbers != site)
            r2 = jnp.sum(minimum_image(x - x[site], edges) ** 2, axis=-1)
            there = counted & (r2 > 0.0)
            r = jnp.sqrt(jnp.where(there, r2, 1.0))
            return _spread((r - start) / spacing, there, n)

        at_once = max(1, MAX_NUMBERS // (n_sites * dim))
        if n_sites <= at_once:
            found = jax.vmap(one_site)(numbers)
        else:
            found = jax.lax.map(one_site, numbers, batch_size=at_once)
        return jnp.sum(found, axis=0) * scale * jnp.prod(edges)

    return map_frames(one_frame, positions, box, numbers=n_sites * (n_sites * dim + n))


def _spread(place: Float[Array, " pair"], there: Bool[Array, " pair"], n: int) -> Float[Array, " node"]:
    """Σ B(place − node) over pairs, at n nodes; a pair lies between four of them."""
    left = jnp.floor(jax.lax.stop_gradient(place))
    t = place - left
    weights = jnp.stack(
        [(1.0 - t) ** 3 / 6.0, 2.0 / 3.0 - t**2 + t**3 / 2.0, 2.0 / 3.0 - (1.0 - t) ** 2 + (1.0 - t) ** 3 / 2.0, t**3 / 6.0]
    )  # fmt: skip
    nodes = jnp.clip(left, -3, n + 1).astype(int) + jnp.arange(-1, 3)[:, None]
    inside = there & (nodes >= 0) & (nodes < n)
    return jnp.zeros(n, place.dtype).at[jnp.where(inside, nodes, 0)].add(jnp.where(inside, weights, 0.0))
