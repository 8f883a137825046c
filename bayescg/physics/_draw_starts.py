"""Where simulations of another density, number of sites or box begin: known configurations, and a molten lattice."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from bayescg.errors import InputError
from bayescg.physics._phase_space import AnyEngine

_BASES = {
    "simple cubic": np.zeros((1, 3)),
    "body-centred": np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]),
    "face-centred": np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]),
}
_LARGEST_MOVE = 0.02
"""Of the mean distance between sites, in one step of relaxation."""


def scaled_configurations(
    configurations: Float[np.ndarray, "configuration site dim"],
    box: Float[np.ndarray, " dim"],
    *,
    n_sites: int,
    new_box: Float[np.ndarray, " dim"],
) -> Float[np.ndarray, "configuration site dim"] | None:
    """Configurations repeated along the axes and stretched into another box, or None where no repetition fits.

    Of all ways to repeat the box n_sites / site times the one whose shape is nearest to the new box is taken.

    Args:
        configurations: [length].
        box: of the configurations [length].
        n_sites: of the new system.
        new_box: its edges [length].

    Raises:
        InputError: boxes of different dimension, or open where the other is closed.

    Example:
        >>> two = np.array([[[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]])
        >>> made = scaled_configurations(two, np.ones(3), n_sites=16, new_box=np.full(3, 3.0))
        >>> made.shape, float(made.max())
        ((1, 16, 3), 2.25)
        >>> scaled_configurations(two, np.ones(3), n_sites=15, new_box=np.full(3, 3.0)) is None
        True
    """
    old, new = np.asarray(box, float), np.asarray(new_box, float)
    if old.shape != new.shape or (np.isfinite(old) != np.isfinite(new)).any():
        raise InputError(f"starts: box {old.tolist()} of the known configurations, {new.tolist()} wanted")
    n_old = configurations.shape[1]
    if n_old == n_sites and not np.isfinite(old).all():
        return np.asarray(configurations, float)
    if n_sites % n_old:
        return None
    repeats = _nearest_repeats(n_sites // n_old, new / old)
    shifts = np.stack(np.meshgrid(*(np.arange(n) for n in repeats), indexing="ij"), -1).reshape(-1, len(old))
    wrapped = np.asarray(configurations, float)
    wrapped = wrapped - old * np.floor(wrapped / old)
    copies = wrapped[:, None] + (shifts * old)[None, :, None]
    return copies.reshape(len(configurations), n_sites, len(old)) * (new / (old * repeats))


def _nearest_repeats(n: int, stretch: Float[np.ndarray, " dim"]) -> np.ndarray:
    """Whole numbers whose product is n, with ratios nearest to those of the edges."""

    def ways(n: int, dims: int) -> list[list[int]]:
        if dims == 1:
            return [[n]]
        return [[k, *rest] for k in range(1, n + 1) if n % k == 0 for rest in ways(n // k, dims - 1)]

    all_ways = np.asarray(ways(n, len(stretch)))
    return all_ways[np.argmin(np.ptp(np.log(stretch / all_ways), axis=1))]


def lattice(n_sites: int, box: Float[np.ndarray, " dim"], *, seed: int) -> Float[np.ndarray, "site dim"]:
    """Sites on the cubic lattice that keeps them farthest apart, vacancies where it has too many places [length].

    Args:
        n_sites: number of sites.
        box: closed edges, three of them [length].
        seed: of the vacancies.

    Raises:
        InputError: an open box, or not three edges.

    Example:
        >>> lattice(4, np.ones(3), seed=0).tolist()  # one face-centred cell
        [[0.25, 0.25, 0.25], [0.25, 0.75, 0.75], [0.75, 0.25, 0.75], [0.75, 0.75, 0.25]]
    """
    edges = np.asarray(box, float)
    if edges.shape != (3,) or not np.isfinite(edges).all():
        raise InputError(
            f"starts: box {edges.tolist()}; a lattice needs three closed edges, so give configurations"
        )
    best, farthest = np.zeros((0, 3)), 0.0
    for basis in _BASES.values():
        cell = (np.prod(edges) * len(basis) / n_sites) ** (1.0 / 3.0)
        counts = np.maximum(np.floor(edges / cell + 1e-9).astype(int), 1)
        while len(basis) * np.prod(counts) < n_sites:  # one more along the axis whose cells are longest
            counts[np.argmax(edges / counts)] += 1
        places = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), -1).reshape(-1, 1, 3)
        sites = ((places + basis + 0.25) / counts * edges).reshape(-1, 3)
        apart = sites[1:] - sites[:1]
        apart -= edges * np.rint(apart / edges)
        nearest = np.inf if len(sites) < 2 else np.min(np.linalg.norm(apart, axis=1))
        if nearest > farthest:
            best, farthest = sites, nearest
    kept = np.random.default_rng(seed).permutation(len(best))[:n_sites]
    return best[np.sort(kept)]


def relaxed(
    engine: AnyEngine,
    positions: Float[np.ndarray, "replica site dim"],
    parameters: PyTree,
    *,
    n_steps: int = 60,
) -> Float[np.ndarray, "replica site dim"]:
    """Positions moved down the energy by short steps, so that no two sites overlap when dynamics begin.

    Each step is along the forces; the farthest move is 2 % of the distance between sites in the beginning and less and less
    later. An infinite force counts as the replica's largest finite one, and a site whose force is not a number waits until
    the others have moved. Not a minimisation: only what is stiff relaxes.

    Args:
        engine: gives the forces.
        positions: [length].
        parameters: of every replica.
        n_steps: steps.

    Example:
        >>> from bayescg.physics._engine import AnalyticForce, PairEngine
        >>> from bayescg.physics._langevin import LangevinSettings
        >>> def repulsion(k, r2):
        ...     return k / r2**2
        >>> settings = LangevinSettings(0.01, 1.0, 1.0, np.ones(2))
        >>> engine = PairEngine(2, np.full(3, 9.0), 4.0, settings, AnalyticForce(repulsion))
        >>> apart = relaxed(engine, np.array([[[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]]]), jnp.ones(1))
        >>> bool(np.ptp(apart[0, :, 0]) > 1.0)
        True
    """
    edges = np.asarray(engine.box, float)
    n_sites = positions.shape[1]
    spacing = (np.prod(edges) / n_sites) ** (1.0 / len(edges)) if np.isfinite(edges).all() else 1.0
    x = jnp.asarray(positions, engine.box.dtype)
    for step in range(n_steps):
        move = _LARGEST_MOVE * spacing * (1.0 - step / n_steps)
        x = x + move * _relative(engine.forces(x, parameters))
    return np.asarray(x, float)


def _relative(forces: Float[Array, "replica site dim"]) -> Float[Array, "replica site dim"]:
    """Forces in units of the largest of each replica; every site's own are capped, so that one can't stop the others."""
    finite = jnp.isfinite(forces)
    size = jnp.max(jnp.where(finite, jnp.abs(forces), 0.0), axis=(1, 2), keepdims=True)
    capped = jnp.where(jnp.isinf(forces), jnp.sign(forces), 0.0)
    # by components first: the squares of large forces overflow
    relative = jnp.where(finite, forces / jnp.where(size > 0.0, size, 1.0), capped)
    farthest = jnp.max(jnp.linalg.norm(relative, axis=-1), axis=-1)[:, None, None]
    return relative / jnp.where(farthest > 0.0, farthest, 1.0)


def two_kinds_of_start(
    known: Float[np.ndarray, "configuration site dim"] | None,
    molten: Callable[[int], Float[np.ndarray, "start site dim"]],
    *,
    n_replicas: int,
) -> Float[np.ndarray, "replica site dim"]:
    """Starts of the replicas: even ones from known configurations as far as there are any, odd ones molten.

    Args:
        known: configurations of the system, or None.
        molten: makes this many others.
        n_replicas: starts wanted.

    Example:
        >>> starts = two_kinds_of_start(np.zeros((5, 1, 3)), lambda n: np.ones((n, 1, 3)), n_replicas=4)
        >>> starts[:, 0, 0].tolist()
        [0.0, 1.0, 0.0, 1.0]
    """
    n_known = -(-n_replicas // 2) if known is not None and len(known) else 0
    others = molten(n_replicas - n_known)
    if not n_known or known is None:
        return others
    picked = known[np.linspace(0, len(known) - 1, n_known).astype(int)]
    starts = np.empty((n_replicas, *picked.shape[1:]))
    starts[::2], starts[1::2] = picked, others
    return starts
