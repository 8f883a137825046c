"""Bases of cubic B-splines for functions of a distance or a density, each with its own ends."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.physics._spline import DEGREE, basis_at_inner_knot, bspline_basis, extended_knots


def falling_basis(r: Float[Array, "*edge"], knots: tuple[float, ...]) -> Float[Array, "*edge function"]:
    """Splines that reach 0 smoothly at the last knot and go on along their tangents below the first.

    Complete from the first knot on among functions whose value, slope and curvature vanish at the last.

    Args:
        r: distances [length].
        knots: increasing [length].

    Returns:
        One column less than knots.
    """
    inner = knots[0]
    basis = local_basis(jnp.maximum(r, inner), knots)
    value, slope = basis_at_inner_knot(knots)
    tangent = value + slope * (r - inner)[..., None]
    return jnp.where((r < inner)[..., None], tangent, basis)


def check_falling(name: str, knots: tuple[float, ...]) -> None:
    """Raise an InputError unless the knots are enough for `falling_basis`."""
    if len(knots) <= DEGREE + 1:
        raise InputError(
            f"potential '{name}': {len(knots)} knots of the pair functions are too few, {DEGREE + 2} are needed"
        )


def local_basis(r: Float[Array, "*edge"], knots: tuple[float, ...]) -> Float[Array, "*edge function"]:
    """Splines that reach 0 smoothly at the last knot and, within three more intervals, below the first.

    Args:
        r: distances [length].
        knots: increasing [length].

    Returns:
        One column less than knots.
    """
    t = extended_knots(knots)
    if not np.allclose(np.diff(t), t[1] - t[0], rtol=1e-10):
        return bspline_basis(r, t)
    # Even knots share one bell, a difference of truncated powers without branches.
    distance = jnp.abs(r[..., None] - t[2:-2]) / (t[1] - t[0])
    outer, inner = jnp.maximum(2.0 - distance, 0.0), jnp.maximum(1.0 - distance, 0.0)
    return outer**3 / 6.0 - inner**3 * (2.0 / 3.0)


def complete_basis(x: Float[Array, "*edge"], knots: tuple[float, ...]) -> Float[Array, "*edge function"]:
    """All splines between the first and the last knot, which go on along their tangents outside.

    Args:
        x: positions [unit of the knots].
        knots: increasing.

    Returns:
        Two columns more than knots.
    """
    from scipy.interpolate import BSpline

    t = _knots_beyond(knots)
    spline = BSpline(t, np.eye(len(knots) + DEGREE - 1), DEGREE)
    slopes = spline.derivative()
    lower, upper = knots[0], knots[-1]
    inside = bspline_basis(jnp.clip(x, lower, upper), t)
    before = spline(lower) + slopes(lower) * (x - lower)[..., None]
    after = spline(upper) + slopes(upper) * (x - upper)[..., None]
    return jnp.where((x < lower)[..., None], before, jnp.where((x > upper)[..., None], after, inside))


def spline_sum(
    basis: Float[Array, "*edge function"],
    coefficients: Float[Array, "row function"],
    row: Int[Array, "*edge"],
) -> Float[Array, "*edge"]:
    """Σ_k c_k B_k with each edge's own row of coefficients, by selection rather than by a gather."""
    chosen = basis @ coefficients[0]
    for k in range(1, len(coefficients)):
        chosen = jnp.where(row == k, basis @ coefficients[k], chosen)
    return chosen


def _knots_beyond(knots: tuple[float, ...]) -> np.ndarray:
    """Knots with three more on either side."""
    left = extended_knots(knots)
    right = knots[-1] + (knots[-1] - knots[-2]) * np.arange(1, DEGREE + 1)
    return np.concatenate([left, right])
