"""Rates over a barrier by formula: transition-state theory and Kramers."""

import numpy as np
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.physics._profile import RateConstants, basins, checked_profile


def transition_state_rates(
    free_energy: Float[np.ndarray, " grid"],
    coordinate: Float[np.ndarray, " grid"],
    *,
    dividing: float,
    mass: float,
    thermal_energy: float,
) -> RateConstants:
    """Rate constants by transition-state theory from a free-energy profile.

    k = √(k_B T / 2πm) exp(−βF(x‡)) / ∫_basin exp(−βF) dx: the flux through the dividing point if none came back. It is
    an upper bound on the classical rate; times the transmission coefficient κ it is the rate, wherever the dividing
    point lies.

    Args:
        free_energy: F(x), −k_B T ln of the density of the coordinate [energy].
        coordinate: x on a uniform grid [length].
        dividing: x‡ [length].
        mass: that goes with the coordinate's velocity, ⟨ẋ²⟩ = k_B T/m [mass, in units of energy time²/length²].
        thermal_energy: k_B T [energy].

    Raises:
        InputError: a profile that isn't finite on a uniform grid, a dividing point outside it, or mass not positive.

    References:
        Eyring (1935), doi:10.1063/1.1749604; Chandler (1978), doi:10.1063/1.436049.

    Example:
        >>> x = np.linspace(-2.0, 2.0, 401)
        >>> rates = transition_state_rates(5.0 * (x**2 - 1.0) ** 2, x, dividing=0.0, mass=1.0, thermal_energy=1.0)
        >>> round(rates.upward, 5)
        0.00645
    """
    profile = checked_profile(free_energy, coordinate, thermal_energy)
    if not mass > 0:
        raise InputError(f"transition-state theory: mass {mass:g}; expected a positive one")
    below, above = basins(profile, dividing)
    top = np.exp(-np.interp(dividing, profile.coordinate, profile.reduced))
    flux = float(np.sqrt(thermal_energy / (2.0 * np.pi * mass)) * top)
    return RateConstants(flux / below, flux / above)


def kramers_rate(
    *,
    barrier: float,
    well_curvature: float,
    barrier_curvature: float,
    friction: float,
    mass: float,
    thermal_energy: float,
) -> float:
    """Rate of escape over a parabolic barrier by Kramers, for moderate to strong friction.

    k = (√(γ²/4 + ω_b²) − γ/2) / ω_b · ω_0/2π · exp(−β ΔF), with ω² = |F″|/m: transition-state theory where the
    friction vanishes and √(F″_0 |F″_b|) / (2π m γ) exp(−β ΔF) where it is strong. Corrections are of order k_B T/ΔF.
    At weak friction the true rate falls again, in proportion to γ, which this formula knows nothing of: it holds while
    γ times the action of an orbit at the barrier is well above k_B T.

    Args:
        barrier: ΔF, from the bottom of the well [energy].
        well_curvature: F″ at the bottom [energy/length²].
        barrier_curvature: −F″ at the top [energy/length²].
        friction: γ, rate at which a free velocity decays [1/time].
        mass: m [mass, in units of energy time²/length²].
        thermal_energy: k_B T [energy].

    Returns:
        Rate constant out of the well [1/time].

    Raises:
        InputError: numbers that are not positive.

    References:
        Kramers (1940), doi:10.1016/S0031-8914(40)90098-2; Hänggi, Talkner & Borkovec (1990),
        doi:10.1103/RevModPhys.62.251.

    Example:
        >>> rate = kramers_rate(
        ...     barrier=5.0, well_curvature=40.0, barrier_curvature=20.0, friction=100.0, mass=1.0, thermal_energy=1.0
        ... )
        >>> round(1e4 * rate, 4)
        3.0271
    """
    given = (barrier, well_curvature, barrier_curvature, friction, mass, thermal_energy)
    if not all(number > 0 for number in given):
        raise InputError(f"Kramers' rate: {given}; expected positive numbers only")
    top = np.sqrt(barrier_curvature / mass)
    # γ/2 taken off the root loses every digit at strong friction; this is the same number
    growth = top**2 / (np.sqrt(0.25 * friction**2 + top**2) + 0.5 * friction)
    well = np.sqrt(well_curvature / mass)
    return float(growth / top * well / (2.0 * np.pi) * np.exp(-barrier / thermal_energy))
