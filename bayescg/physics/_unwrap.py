"""Trajectories as they are before they are folded into a periodic box."""

import numpy as np
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.physics._time_correlation import finite_series

_LARGEST_STEP = 0.45  # of an edge, between frames: beyond it a step and its mirror image look the same


def unwrap(
    positions: Float[np.ndarray, "*replica frame site dim"],
    box: Float[np.ndarray, " dim"] | Float[np.ndarray, "*replica frame dim"],
) -> Float[np.ndarray, "*replica frame site dim"]:
    """Positions without the jumps at the faces of a periodic box.

    u(k+1) = u(k) + s − L(k+1) round(s / L(k+1)),  s = x(k+1) − x(k): displacements to the nearest image, added up.
    With a box that changes (constant pressure) this order keeps the displacements those of the particles; the other
    one in use, to choose the image nearest to the last *unwrapped* position, blows diffusion up on long runs.

    Args:
        positions: in the box or out of it [length].
        box: edge lengths, one for all frames or one per frame; infinite where it is open [length].

    Raises:
        InputError: edges that are not positive, or a step of more than 0.45 edges between two frames, which can't be
            told from one to the other side.

    References:
        von Bülow, Bullerjahn & Hummer (2020), doi:10.1063/5.0008316.

    Example:
        >>> unwrap(np.array([[[0.7]], [[0.9]], [[0.1]]]), np.ones(1)).ravel()
        array([0.7, 0.9, 1.1])
    """
    x = finite_series(positions, "unwrap", n_axes=3)
    edges = np.asarray(box, np.float64)
    if edges.shape not in (x.shape[-1:], (*x.shape[:-2], x.shape[-1])) or not (edges > 0).all():
        raise InputError(
            f"unwrap: edges of shape {edges.shape} for positions of shape {x.shape}; expected positive ones, one per"
            " dimension, for all frames or for each"
        )
    later = edges if edges.ndim == 1 else edges[..., 1:, None, :]
    steps = np.diff(x, axis=-3)
    closed = np.where(np.isfinite(later), later, 1.0)
    steps -= np.where(np.isfinite(later), closed * np.rint(steps / closed), 0.0)
    if (np.abs(steps) > _LARGEST_STEP * later).any():
        raise InputError(
            f"unwrap: a site moves {np.max(np.abs(steps) / later):.2f} edges of the box between two frames; expected"
            f" at most {_LARGEST_STEP:g}, so store frames more often"
        )
    return np.concatenate([x[..., :1, :, :], x[..., :1, :, :] + np.cumsum(steps, axis=-3)], axis=-3)


def without_drift(
    series: Float[np.ndarray, "*replica frame site dim"], *, masses: Float[np.ndarray, " site"]
) -> Float[np.ndarray, "*replica frame site dim"]:
    """Unwrapped positions, or velocities, relative to the centre of mass of all sites.

    A thermostat that acts on every site lets the whole box diffuse; that is no property of the fluid. What is left
    is smaller by a factor 1 − 1/n for each of n independent sites, which is part of the finite-size effect.

    Args:
        series: unwrapped positions [length] or velocities [length/time].
        masses: of the sites [mass].

    Raises:
        InputError: not one positive mass per site.

    Example:
        >>> without_drift(np.array([[[0.0], [3.0]], [[1.0], [4.0]]]), masses=np.array([1.0, 2.0]))[:, :, 0]
        array([[-2.,  1.],
               [-2.,  1.]])
    """
    x = finite_series(series, "without drift", n_axes=3)
    weight = np.asarray(masses, np.float64)
    if weight.shape != x.shape[-2:-1] or not (weight > 0).all():
        raise InputError(
            f"without drift: masses of shape {weight.shape}; expected {x.shape[-2]} positive ones"
        )
    return x - np.einsum("...sd,s->...d", x, weight / weight.sum())[..., None, :]
