"""Coordination numbers of sites by a switching function, smooth in the positions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bayescg.errors import InputError
from bayescg.physics._frame_map import MAX_NUMBERS, checked_frames, known, map_frames
from bayescg.physics._pair import smooth_switch
from bayescg.physics._space import minimum_image


def smooth_coordination(
    positions: Float[Array, "*batch site dim"],
    box: Float[Array, "*batch dim"],
    *,
    onset: float,
    cutoff: float,
    partners: Bool[np.ndarray, " site"] | None = None,
) -> Float[Array, "*batch site"]:
    """n_i = Σ_{j≠i} S(r_ij), neighbours counted fully below the onset and not beyond the cutoff [dimensionless].

    S is the switching function of the potentials, (c² − r²)² (c² + 2r² − 3o²)/(c² − o²)³ between onset o and cutoff c,
    with a continuous derivative: n_i can serve as a reaction coordinate. All distances are computed, cost N².

    Args:
        positions: wrapped or not [length].
        box: edge lengths, inf where open; one for all frames or one for each [length].
        onset: distance up to which a neighbour counts as 1 [length].
        cutoff: distance from which it counts as 0 [length].
        partners: sites that count as neighbours, e.g. those of one species; all if None.

    Raises:
        InputError: shapes that do not fit, an onset not between 0 and the cutoff, a cutoff beyond half the box.

    References:
        Brooks et al. (1983), doi:10.1002/jcc.540040211, eq. 13, for the switching function.

    Example:
        >>> line = jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
        >>> smooth_coordination(line, jnp.full(3, jnp.inf), onset=1.2, cutoff=1.8).tolist()
        [1.0, 2.0, 1.0]
    """
    x, edges = checked_frames("coordination", positions, box)
    if not 0.0 <= onset < cutoff:
        raise InputError(f"coordination: onset {onset} and cutoff {cutoff}; expected 0 <= onset < cutoff")
    lengths = known(edges)
    if lengths is not None and cutoff > 0.5 * lengths.min() * (1 + 1e-6):
        raise InputError(
            f"coordination: the cutoff {cutoff:g} is beyond half of the box ({0.5 * lengths.min():g}); make it smaller"
        )
    counted = np.ones(x.shape[-2], bool) if partners is None else np.asarray(partners, bool)
    if counted.shape != x.shape[-2:-1]:
        raise InputError(
            f"coordination: partners of the shape {counted.shape}; expected one for each of {x.shape[-2]} sites"
        )
    return _counted(x, edges, jnp.asarray(counted), float(onset), float(cutoff))


@partial(jax.jit, static_argnums=(3, 4))
def _counted(
    positions: Float[Array, "*batch site dim"],
    box: Float[Array, "*batch dim"],
    counted: Bool[Array, " site"],
    onset: float,
    cutoff: float,
) -> Float[Array, "*batch site"]:
    n_sites, dim = positions.shape[-2:]
    sites = jnp.arange(n_sites)

    def one_frame(x: Array, edges: Array) -> Array:
        @jax.checkpoint
        def one_site(site: Array) -> Array:
            r2 = jnp.sum(minimum_image(x - x[site], edges) ** 2, axis=-1)
            return jnp.sum(
                jnp.where(counted & (sites != site), smooth_switch(r2, onset=onset, cutoff=cutoff), 0.0)
            )

        at_once = max(1, MAX_NUMBERS // (n_sites * dim))
        if n_sites <= at_once:
            return jax.vmap(one_site)(sites)
        return jax.lax.map(one_site, sites, batch_size=at_once)

    return map_frames(one_frame, positions, box, numbers=n_sites * n_sites * dim)
