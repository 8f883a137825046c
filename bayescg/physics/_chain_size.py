"""How far a molecule extends: made whole across the box, its radius of gyration and end-to-end distance."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._frame_map import checked_frames
from bayescg.physics._space import minimum_image


def whole_chains(
    positions: Float[Array, "*batch site dim"], box: Float[Array, "*batch dim"]
) -> Float[Array, "*batch site dim"]:
    """Chains made whole: each site moved to the image nearest to the site before it [length].

    Several chains of equal length stand along a leading axis. Right as long as no bond is longer than half of the box.

    Args:
        positions: sites of each chain in their order, wrapped or not [length].
        box: edge lengths, inf where open; one for all chains or one for each [length].

    Raises:
        InputError: shapes that do not fit.

    Example:
        >>> whole_chains(jnp.array([[9.5], [0.5], [1.5]]), jnp.array([10.0])).tolist()
        [[9.5], [10.5], [11.5]]
    """
    x, edges = checked_frames("whole chains", positions, box)
    bonds = minimum_image(jnp.diff(x, axis=-2), edges[..., None, :])
    first = x[..., :1, :]
    return jnp.concatenate([first, first + jnp.cumsum(bonds, axis=-2)], axis=-2)


def radius_of_gyration(
    positions: Float[Array, "*batch site dim"], *, masses: Float[np.ndarray, " site"] | None = None
) -> Float[Array, "*batch"]:
    """R_g = [Σ_i m_i |x_i − x̄|²/Σ_i m_i]^½, x̄ the centre of mass [length]; differentiable unless it is 0.

    Args:
        positions: of whole molecules (`whole_chains`) [length].
        masses: of the sites in any unit; all alike if None.

    Raises:
        InputError: another number of masses than sites, a mass that is negative, a sum of 0.

    References:
        Rubinstein & Colby (2003), Polymer Physics, doi:10.1093/oso/9780198520597.001.0001, section 2.4.

    Example:
        >>> float(radius_of_gyration(jnp.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])))
        1.0
    """
    x = jnp.asarray(positions)
    weights = relative_weights("radius of gyration", x.shape[-2], masses)
    apart = x - jnp.einsum("i,...ix->...x", weights, x)[..., None, :]
    return jnp.sqrt(jnp.einsum("i,...ix->...", weights, apart**2))


def end_to_end_distance(positions: Float[Array, "*batch site dim"]) -> Float[Array, "*batch"]:
    """R = |x_last − x_first| [length]; differentiable unless it is 0.

    Args:
        positions: of whole chains (`whole_chains`), sites in their order [length].

    References:
        Rubinstein & Colby (2003), Polymer Physics, doi:10.1093/oso/9780198520597.001.0001, section 2.1.

    Example:
        >>> float(end_to_end_distance(jnp.array([[0.0, 0.0], [9.0, 0.0], [3.0, 4.0]])))
        5.0
    """
    x = jnp.asarray(positions)
    return jnp.linalg.norm(x[..., -1, :] - x[..., 0, :], axis=-1)


def relative_weights(
    what: str, n_sites: int, masses: Float[np.ndarray, " site"] | None
) -> Float[np.ndarray, " site"]:
    """Masses divided by their sum; 1/n each if None.

    Raises:
        InputError: another number of masses than sites, a mass that is negative or not finite, a sum of 0.
    """
    weights = np.ones(n_sites) if masses is None else np.asarray(masses, float)
    if weights.shape != (n_sites,) or not (weights >= 0.0).all() or not 0.0 < weights.sum() < np.inf:
        raise InputError(
            f"{what}: masses {weights.tolist() if weights.size < 9 else weights.shape}; expected {n_sites} numbers,"
            " none negative and not all 0"
        )
    return weights / weights.sum()
