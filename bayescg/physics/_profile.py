"""A free-energy profile along one coordinate, its two basins, and the rates between them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.integrate import trapezoid

from bayescg.errors import InputError


class RateConstants(NamedTuple):
    """Rate constants between the basin below the dividing point and the one above.

    Attributes:
        upward: from below to above [1/time].
        downward: from above to below [1/time].

    Example:
        >>> RateConstants(0.1, 0.3).relaxation
        0.4
    """

    upward: float
    downward: float

    @property
    def relaxation(self) -> float:
        """Rate at which the populations of the basins come to equilibrium [1/time]."""
        return self.upward + self.downward


class Profile(NamedTuple):
    """A checked profile on a uniform grid, in units of the thermal energy."""

    coordinate: Float[np.ndarray, " grid"]
    reduced: Float[np.ndarray, " grid"]
    spacing: float


def checked_profile(
    free_energy: Float[np.ndarray, " grid"], coordinate: Float[np.ndarray, " grid"], thermal_energy: float
) -> Profile:
    """βF on its grid, lowest value zero; refused if it is not finite or the grid not uniform."""
    f, x = np.asarray(free_energy, np.float64), np.asarray(coordinate, np.float64)
    if f.ndim != 1 or f.shape != x.shape or len(f) < 8 or not np.isfinite(f).all():
        raise InputError(
            f"rate: free energy of shape {f.shape} on a grid of shape {x.shape}; expected finite numbers on one axis,"
            " eight or more"
        )
    steps = np.diff(x)
    if not steps[0] > 0 or not np.allclose(steps, steps.mean(), rtol=1e-6, atol=0.0):
        raise InputError("rate: the grid is not uniform and rising; interpolate the profile on one that is")
    if not thermal_energy > 0:
        raise InputError(f"rate: thermal energy {thermal_energy:g}; expected a positive one")
    return Profile(x, (f - f.min()) / thermal_energy, float(steps.mean()))


def share_below(profile: Profile, dividing: float) -> float:
    """Equilibrium population below the dividing point."""
    below, above = basins(profile, dividing)
    return below / (below + above)


def basins(profile: Profile, dividing: float) -> tuple[float, float]:
    """∫ exp(−βF) dx below and above the dividing point, by the trapezoidal rule."""
    x, weight = profile.coordinate, np.exp(-profile.reduced)
    if not x[0] < dividing < x[-1]:
        raise InputError(
            f"rate: dividing point {dividing:g}; expected one inside the profile, {x[0]:g} to {x[-1]:g}"
        )
    split = int(np.searchsorted(x, dividing))
    at = np.exp(-np.interp(dividing, x, profile.reduced))
    below = trapezoid(np.append(weight[:split], at), np.append(x[:split], dividing))
    above = trapezoid(np.append(at, weight[split:]), np.append(dividing, x[split:]))
    return float(below), float(above)
