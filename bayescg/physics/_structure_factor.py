"""The static structure factor S(k) on the reciprocal vectors of a periodic box, total and of pairs of species."""

from functools import partial, reduce
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from bayescg.errors import InputError
from bayescg.physics._frame_map import MAX_NUMBERS, checked_frames, known, map_frames

_SAME = 1e-7  # relative difference up to which two lengths |k| are one


class WaveVectors(NamedTuple):
    """Reciprocal vectors of a periodic box, one of each pair ±k, and the bins of |k| that they fall into.

    Attributes:
        waves: whole numbers n, with k = 2π n/L along each axis.
        bins: number of each vector's bin.
        k: mean |k| of each bin [1/length].
        counts: vectors in each bin, −k not counted.

    Example:
        >>> vectors = wave_vectors(np.array([6.0, 6.0, 6.0]), k_max=2.0)
        >>> vectors.counts.tolist(), (vectors.k * 6 / (2 * np.pi)).round(6).tolist()  # |n| = 1, √2, √3
        ([3, 6, 4], [1.0, 1.414214, 1.732051])
    """

    waves: Int[np.ndarray, "wave dim"]
    bins: Int[np.ndarray, " wave"]
    k: Float[np.ndarray, " bin"]
    counts: Int[np.ndarray, " bin"]


def wave_vectors(
    box: Float[np.ndarray, " dim"], *, k_max: float, bin_width: float | None = None
) -> WaveVectors:
    """All reciprocal vectors of a box with 0 < |k| ≤ k_max, binned in |k|; only these see no edge of the box.

    Where the box fluctuates, choose them for the mean box: the whole numbers then stay and k breathes with the box.

    Args:
        box: edge lengths [length].
        k_max: largest |k| [1/length].
        bin_width: of bins that start at 0, empty ones left out [1/length]; None gives each |k| a bin of its own.

    Raises:
        InputError: an open box, a bin width that is not positive, or no vector below `k_max`.

    Example:
        >>> len(wave_vectors(np.full(3, 10.0), k_max=6.0, bin_width=0.5).k)  # 2π/L = 0.63: the first bin is empty
        11
    """
    edges = np.asarray(box, float)
    if edges.ndim != 1 or not (np.isfinite(edges).all() and (edges > 0.0).all()):
        raise InputError(
            f"wave vectors: box {edges.tolist()}; expected finite edge lengths, since an open box has none"
        )
    if bin_width is not None and not bin_width > 0.0:
        raise InputError(f"wave vectors: bins of width {bin_width}; expected a positive one, or None")
    most = np.floor(k_max * edges / (2.0 * np.pi) * (1.0 + _SAME)).astype(int)
    if not k_max > 0.0 or not most.any():
        raise InputError(
            f"wave vectors: none up to k_max = {k_max:g}; the shortest is {2.0 * np.pi / edges.max():.4g}"
        )
    n = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in most), indexing="ij"), axis=-1)
    n = n.reshape(-1, len(edges))[
        len(n.reshape(-1, len(edges))) // 2 + 1 :
    ]  # the first half is minus the second
    length = np.linalg.norm(2.0 * np.pi * n / edges, axis=1)
    inside = length <= k_max * (1.0 + _SAME)
    order = np.argsort(length[inside], kind="stable")
    n, length = n[inside][order], length[inside][order]
    if bin_width is None:
        bins = np.concatenate([[0], np.cumsum(np.diff(length) > _SAME * length[1:])])
    else:
        bins = np.unique((length / bin_width * (1.0 + _SAME)).astype(int), return_inverse=True)[1].ravel()
    counts = np.bincount(bins)
    return WaveVectors(n, bins, np.bincount(bins, weights=length) / counts, counts)


def structure_factor(
    positions: Float[Array, "*batch site dim"], box: Float[Array, "*batch dim"], *, vectors: WaveVectors
) -> Float[Array, "*batch bin"]:
    """S(k) = |Σ_i exp(−ik·x_i)|²/N of every frame [dimensionless], averaged over the vectors of each bin.

    1 for an ideal gas, N at the reciprocal vectors of a perfect crystal. Differentiable in the positions.

    Args:
        positions: wrapped or not [length].
        box: edge lengths, one for all frames or one for each [length].
        vectors: from `wave_vectors`.

    Raises:
        InputError: shapes that do not fit, an open box.

    References:
        Hansen & McDonald (2013), Theory of Simple Liquids, doi:10.1016/C2010-0-66723-X, section 4.1.

    Example:
        >>> two = jnp.array([[0.0, 0.0, 0.0], [2.5, 0.0, 0.0]])
        >>> box = np.full(3, 10.0)
        >>> vectors = wave_vectors(box, k_max=0.65)  # the three vectors 2π/L along the axes
        >>> structure_factor(two, box, vectors=vectors).round(6).tolist()  # (1 + cos(π/2) + 2 + 2)/3
        [1.666667]
    """
    x, edges = _checked(positions, box, vectors)
    species = jnp.ones((x.shape[-2], 1), x.dtype)
    return _binned(x, edges, species, vectors)[..., 0, 0, :]


def partial_structure_factors(
    positions: Float[Array, "*batch site dim"],
    box: Float[Array, "*batch dim"],
    *,
    types: Int[np.ndarray, " site"],
    vectors: WaveVectors,
) -> Float[Array, "*batch type type bin"]:
    """S_ab(k) = Re[ρ_a(k) ρ_b(k)*]/√(N_a N_b) of every frame, ρ_a(k) = Σ_{i of a} exp(−ik·x_i) [dimensionless].

    Ashcroft's and Langreth's convention: δ_ab for an ideal mixture, and S = Σ_ab √(N_a N_b)/N S_ab.

    Args:
        positions: wrapped or not [length].
        box: edge lengths, one for all frames or one for each [length].
        types: species index of each site, 0, 1, …
        vectors: from `wave_vectors`.

    Raises:
        InputError: shapes that do not fit, an open box, a species without sites.

    References:
        Ashcroft & Langreth (1967), doi:10.1103/PhysRev.156.685.

    Example:
        >>> two = jnp.array([[0.0, 0.0, 0.0], [2.5, 0.0, 0.0]])
        >>> box = np.full(3, 10.0)
        >>> vectors = wave_vectors(box, k_max=0.65)
        >>> found = partial_structure_factors(two, box, types=np.array([0, 1]), vectors=vectors)
        >>> found[:, :, 0].round(6).tolist()
        [[1.0, 0.666667], [0.666667, 1.0]]
    """
    x, edges = _checked(positions, box, vectors)
    labels = np.asarray(types)
    if labels.shape != x.shape[-2:-1] or labels.min(initial=0) < 0:
        raise InputError(
            f"partial structure factors: types of the shape {labels.shape}; expected one species index from 0 for"
            f" each of {x.shape[-2]} sites"
        )
    counts = np.bincount(labels)
    if not counts.all():
        raise InputError(
            f"partial structure factors: no site of species {int(np.argmin(counts))}; number the species 0, 1, …"
        )
    return _binned(x, edges, jnp.asarray(labels[:, None] == np.arange(len(counts)), x.dtype), vectors)


def structure_factor_from_rdf(
    rdf: Float[Array, "*batch bin"],
    *,
    edges: Float[np.ndarray, " edge"],
    k: Float[np.ndarray, " wave"],
    density: float,
    self_term: float = 1.0,
) -> Float[Array, "*batch wave"]:
    """S(k) = 1 + 4πρ ∫₀^R r² [g(r) − 1] sin(kr)/(kr) dr from a g(r) that is constant in each bin [dimensionless].

    The integral over each bin is exact. The end at R adds ripples of period 2π/R in k; S(0) = 1 + ρ ∫(g − 1) 4πr² dr.

    Args:
        rdf: g(r), e.g. from `radial_distribution`.
        edges: of its bins, one more than bins [length].
        k: wave numbers; 0 is allowed [1/length].
        density: ρ of the sites; √(ρ_a ρ_b) for S_ab of two species [1/length³].
        self_term: the 1 in front; 0 for S_ab of two different species.

    Raises:
        InputError: another number of edges than bins + 1.

    References:
        Hansen & McDonald (2013), Theory of Simple Liquids, doi:10.1016/C2010-0-66723-X, section 4.1.

    Example:
        >>> edges = np.linspace(0.0, 2.0, 21)  # a hole of radius 1 around each site, and nothing else
        >>> hole = np.where(edges[1:] <= 1.0, 0.0, 1.0)
        >>> found = structure_factor_from_rdf(hole, edges=edges, k=np.array([0.0, 3.0]), density=0.2)
        >>> found.round(6).tolist()  # 1 − 0.2 · 4π/3, and 1 − 0.2 · 4π (sin 3 − 3 cos 3)/27
        [0.162242, 0.710406]
    """
    g = jnp.asarray(rdf)
    if len(edges) != g.shape[-1] + 1:
        raise InputError(
            f"structure factor: {len(edges)} edges for {g.shape[-1]} bins of g(r); expected one edge more than bins"
        )
    r, wave = jnp.asarray(edges, g.dtype), jnp.asarray(k, g.dtype)
    shells = jnp.diff(r**3 * _ball(wave[:, None] * r), axis=-1)
    return self_term + 4.0 * jnp.pi * density * jnp.einsum("...b,kb->...k", g - 1.0, shells)


def _ball(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """(sin x − x cos x)/x³, the Fourier transform of a ball up to 4π; a series where the difference would cancel."""
    small = jnp.abs(x) < 0.3
    far, s = jnp.where(small, 1.0, x), jnp.where(small, x, 0.0) ** 2
    series = 1 / 3 - s / 30 * (1 - s / 28 * (1 - s / 54 * (1 - s / 88)))
    return jnp.where(small, series, (jnp.sin(far) - far * jnp.cos(far)) / far**3)


def _checked(positions: object, box: object, vectors: WaveVectors) -> tuple[Array, Array]:
    x, edges = checked_frames("structure factor", positions, box, dim=vectors.waves.shape[-1])
    numbers = known(edges)
    if numbers is not None and not np.isfinite(numbers).all():
        raise InputError("structure factor: the box is open; expected finite edge lengths")
    return x, edges


def _binned(
    positions: Float[Array, "*batch site dim"],
    box: Float[Array, "*batch dim"],
    species: Float[Array, "site type"],
    vectors: WaveVectors,
) -> Float[Array, "*batch type type bin"]:
    """Partial structure factors averaged over the vectors of each bin."""
    most = np.abs(vectors.waves).max(axis=0)
    shape = (most[0] + 1, *(2 * most[1:] + 1))  # the vectors' first number is never negative
    places = np.ravel_multi_index(tuple((vectors.waves + np.append(0, most[1:])).T), shape)
    return _on_grid(positions, box, species, places, vectors, tuple(map(int, most)))


@partial(jax.jit, static_argnums=5)
def _on_grid(
    positions: Float[Array, "*batch site dim"],
    box: Float[Array, "*batch dim"],
    species: Float[Array, "site type"],
    places: Int[Array, " wave"],
    vectors: WaveVectors,
    most: tuple[int, ...],
) -> Float[Array, "*batch type type bin"]:
    """As `_binned`, from ρ(n) on the whole grid up to ±`most`: waves along the axes are multiplied as matrices."""
    norm = 1.0 / jnp.sqrt(jnp.sum(species, axis=0))
    n_sites, n_bins = positions.shape[-2], len(vectors.k)
    n_middle = prod(2 * m + 1 for m in most[1:-1])
    n_grid = (most[0] + 1) * prod(2 * m + 1 for m in most[1:])

    def one_frame(x: Array, edges: Array) -> Array:
        first = _waves_along(x[:, 0] / edges[0], 0, most[0])
        others = [_waves_along(x[:, a] / edges[a], -m, m) for a, m in enumerate(most) if a > 0]
        one = jnp.ones((1, n_sites), first.dtype)
        last = others.pop() if others else one
        middle = reduce(lambda left, right: (left[:, None] * right).reshape(-1, n_sites), others, one)
        right = jnp.transpose(species)[:, None] * last

        def one_row(row: Array) -> Array:
            return jnp.einsum("ms,tls->mlt", row * middle, right, precision=jax.lax.Precision.HIGHEST)

        at_once = max(1, MAX_NUMBERS // (2 * n_middle * n_sites))
        grid = jax.lax.map(jax.checkpoint(one_row), first, batch_size=at_once)
        density = grid.reshape(-1, species.shape[1])[places] * norm
        values = jnp.real(density[:, :, None] * jnp.conj(density[:, None, :]))
        total = jax.ops.segment_sum(values, jnp.asarray(vectors.bins), num_segments=n_bins)
        return jnp.moveaxis(total / vectors.counts[:, None, None], 0, -1)

    numbers = 2 * (most[0] + 1) * n_middle * n_sites + 4 * n_grid * species.shape[1]
    return map_frames(one_frame, positions, box, numbers=numbers)


def _waves_along(turns: Float[Array, " site"], lowest: int, highest: int) -> Complex[Array, "wave site"]:
    """exp(2πi n t) of whole numbers n from `lowest` to `highest`."""
    phase = jnp.arange(lowest, highest + 1)[:, None] * turns
    phase = 2.0 * jnp.pi * (phase - jnp.round(jax.lax.stop_gradient(phase)))  # digits are lost far from 0
    return jax.lax.complex(jnp.cos(phase), jnp.sin(phase))
