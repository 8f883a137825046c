"""What is computed of every frame's positions while draws are simulated: S(k), insertions, functions of a frame."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.errors import InputError
from bayescg.physics import PairPotential, Potential, insertion_energies, structure_factor, wave_vectors
from bayescg.physics._cell_engine import LEAST_SITES
from bayescg.physics._frame_map import map_frames
from bayescg.physics._potential import terms_of
from bayescg.physics._structure_factor import WaveVectors
from bayescg.study._observable import BUILT_IN, Observable
from bayescg.study._prediction_target import PredictionTarget

COSTLY_EVERY = 5
"""Frames between two of which the dearest averages (S(k), order parameters) are computed; they decay slowly too."""
WAVES = 2.0
"""Largest k of S(k), in 2π over the mean distance between sites."""
INSERTIONS = 4
"""Insertions into each frame for each of its sites: where all pairs are computed, their cost is that of as many steps."""
LEAST_INSERTIONS = 100
"""Insertions into each frame, at least."""

Positions = Float[np.ndarray, "replica sample site dim"]
OfFrames = Callable[[Positions], Float[np.ndarray, "replica sample column"]]


class FrameColumn(NamedTuple):
    """Columns of one observable.

    Attributes:
        name: of the observable.
        compute: of frames.
        number: of columns.
        every: frames between two that it is computed of; the others are NaN.
    """

    name: str
    compute: OfFrames
    number: int
    every: int = 1


class FrameColumns:
    """The columns of several observables side by side.

    Args:
        parts: of each.

    Example:
        >>> sums = FrameColumn("sum", lambda x: x.sum(axis=(2, 3))[..., None], 1, every=2)
        >>> columns = FrameColumns([sums])
        >>> made = columns(np.ones((1, 3, 2, 3)))
        >>> made[0, :, 0].tolist(), columns.of("sum", made).shape
        ([6.0, nan, 6.0], (1, 3, 1))
    """

    def __init__(self, parts: Sequence[FrameColumn]):
        self.parts = tuple(parts)
        self.slices: dict[str, slice] = {}
        ends = np.cumsum([part.number for part in parts], dtype=int)
        for part, end in zip(parts, ends, strict=True):
            self.slices[part.name] = slice(int(end) - part.number, int(end))

    def __call__(self, positions: Positions) -> Float[np.ndarray, "replica sample column"]:
        """Columns of some frames."""
        total = sum(part.number for part in self.parts)
        made = np.full((*positions.shape[:2], total), np.nan)
        for part in self.parts:
            made[:, :: part.every, self.slices[part.name]] = part.compute(positions[:, :: part.every])
        return made

    def of(self, name: str, columns: np.ndarray) -> np.ndarray:
        """The columns of one observable."""
        return columns[..., self.slices[name]]


def frame_columns(
    observables: Sequence[str],
    functions: Mapping[str, Observable],
    target: PredictionTarget,
    potentials: Sequence[Potential],
    *,
    n_replicas: int,
    kT: float,
    key: Key[Array, ""],
) -> FrameColumns:
    """Those that some observables need.

    Args:
        observables: names.
        functions: of a frame, by name.
        target: the state.
        potentials: one for each draw.
        n_replicas: of each draw.
        kT: thermal energy [energy].
        key: PRNG key of the insertions.
    """
    box, parts = np.asarray(target.box, float), []
    if "structure-factor" in observables:
        vectors = waves(target)

        def of_frames(positions: Positions) -> np.ndarray:
            return np.asarray(structure_factor(jnp.asarray(positions), jnp.asarray(box), vectors=vectors))

        parts.append(FrameColumn("structure-factor", of_frames, len(vectors.k), COSTLY_EVERY))
    if "chemical-potential" in observables:
        inserted = insertions(potentials, box, n_replicas=n_replicas, n_sites=target.n_sites, kT=kT, key=key)
        parts.append(FrameColumn("chemical-potential", inserted, 3))
    for name, one in functions.items():
        number = one.n_values(target.n_sites, len(box)) or 1
        every = COSTLY_EVERY if name in BUILT_IN else 1
        parts.append(FrameColumn(name, function_of_frames(one, box), number, every))
    return FrameColumns(parts)


def waves(target: PredictionTarget) -> WaveVectors:
    """Wave vectors of the target's box, in bins as wide as its smallest."""
    spacing = (target.volume / target.n_sites) ** (1.0 / 3.0)
    width = 2.0 * np.pi / float(np.max(target.box))
    return wave_vectors(
        np.asarray(target.box, float), k_max=max(WAVES * 2.0 * np.pi / spacing, 1.01 * width), bin_width=width
    )


def function_of_frames(one: Observable, box: np.ndarray) -> OfFrames:
    """An observable's function, compiled, of frames [... site dim]."""

    @jax.jit
    def mapped(positions: Array) -> Array:
        n_sites, dim = positions.shape[-2:]
        edges = jnp.asarray(box, positions.dtype)
        return map_frames(one.of_frame, positions, edges, numbers=n_sites * n_sites * dim)

    def columns(positions: np.ndarray) -> np.ndarray:
        made = np.asarray(mapped(jnp.asarray(positions, float)), float)
        return made[..., None] if made.ndim == positions.ndim - 2 else made

    return columns


def insertions_of_frame(n_sites: int) -> int:
    """How many insertions each frame gets: beyond the sites from which on steps have neighbour lists, fewer for each site.

    Insertions have no such lists, and a frame's cost stops growing there.

    Args:
        n_sites: in a frame.

    Example:
        >>> [insertions_of_frame(n) for n in (2, 256, 1500, 6000, 100_000)]
        [100, 1024, 6000, 1500, 100]
    """
    return max(LEAST_INSERTIONS, INSERTIONS * min(n_sites, LEAST_SITES**2 // n_sites))


def insertions(
    potentials: Sequence[Potential],
    box: np.ndarray,
    *,
    n_replicas: int,
    n_sites: int,
    kT: float,
    key: Key[Array, ""],
) -> OfFrames:
    """Boltzmann factors w = exp(−ΔU/kT) of one more site at n places in each frame: Σw/n, Σw²/n², and the largest w/n.

    The same places for every draw. A call takes the next key, since frames come in several calls.

    Args:
        potentials: one for each draw.
        box: [length].
        n_replicas: of each draw, which the frames are sorted by.
        n_sites: in a frame.
        kT: [energy].
        key: PRNG key.

    Raises:
        InputError: a term that is not a pair potential, an open box.
    """
    pairs = all(isinstance(term, PairPotential) for term in terms_of(potentials[0]))
    if not (pairs and np.isfinite(box).all()):
        raise InputError(
            "chemical-potential: offered for pair potentials in a closed box, where a site can be inserted; leave it out"
        )
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *potentials)
    n_insertions, calls = insertions_of_frame(n_sites), itertools.count()

    @eqx.filter_jit
    def of_draws(potential: Potential, positions: Array, chunk_key: Array) -> Array:
        def of_draw(one: tuple[Potential, Array]) -> Array:
            energies = insertion_energies(
                one[0], one[1], jnp.asarray(box), key=chunk_key, n_insertions=n_insertions
            )
            parts = jnp.exp(-energies / kT) / n_insertions
            return jnp.stack([parts.sum(axis=-1), (parts**2).sum(axis=-1), parts.max(axis=-1)], axis=-1)

        return jax.lax.map(of_draw, (potential, positions))

    def columns(positions: Positions) -> np.ndarray:
        x = jnp.asarray(positions, float).reshape(len(potentials), n_replicas, *positions.shape[1:])
        made = of_draws(stacked, x, jax.random.fold_in(key, next(calls)))
        return np.asarray(made, float).reshape(*positions.shape[:2], 3)

    return columns
