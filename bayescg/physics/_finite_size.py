"""What a finite number of sites changes, to first order in 1/N, besides the cutoff."""

import numpy as np

from bayescg.errors import InputError


def constant_number_shift(
    curvature: float, *, density: float, n_sites: int, structure_factor: float
) -> float:
    """How far an intensive average at constant N lies from its value in an infinite system.

    a_N − a_∞ = −S(0) ρ² a″(ρ)/(2N): the number of sites in an open box of the same volume would fluctuate with variance
    N S(0), S(0) = ρ k_B T κ_T. For the pressure a is P, for the energy per volume ρu (then divide by ρ). Periodic
    images of correlations shorter than the box add nothing of this order.

    Args:
        curvature: a″(ρ), from an equation of state or from simulations at neighbouring densities.
        density: ρ [1/length³].
        n_sites: N.
        structure_factor: S(0).

    Raises:
        InputError: numbers that are not positive.

    References:
        Lebowitz & Percus (1961), doi:10.1103/PhysRev.122.1675; Lebowitz, Percus & Verlet (1967),
        doi:10.1103/PhysRev.153.250.

    Example:
        >>> rho, n = 0.5, 20  # hard rods of length 1 on a ring: βP_N = 1/L + (N − 1)/(L − N), exactly
        >>> exact = rho / n + (1 - 1 / n) * rho / (1 - rho) - rho / (1 - rho)
        >>> shift = constant_number_shift(
        ...     2 / (1 - rho) ** 3, density=rho, n_sites=n, structure_factor=(1 - rho) ** 2
        ... )
        >>> round(exact, 6), round(shift, 6)
        (-0.025, -0.025)
    """
    _positive(density=density, n_sites=n_sites, structure_factor=structure_factor)
    return -structure_factor * density**2 * curvature / (2.0 * n_sites)


def insertion_shift(slope: float, curvature: float, *, density: float, n_sites: int, kT: float) -> float:
    """How far the excess chemical potential by insertion into N sites lies from its value in an infinite system.

    Δμ = (1/2N) P′ [1 − k_B T/P′ − ρ k_B T P″/P′²], with P′ = ∂P/∂ρ at constant temperature [energy].

    Args:
        slope: P′(ρ) [energy].
        curvature: P″(ρ) [energy length³].
        density: ρ [1/length³].
        n_sites: N, the inserted one not counted.
        kT: thermal energy [energy].

    Raises:
        InputError: numbers that are not positive.

    References:
        Siepmann, McDonald & Frenkel (1992), doi:10.1088/0953-8984/4/3/009, eq. 9.

    Example:
        >>> round(insertion_shift(9.0, 20.0, density=0.7, n_sites=200, kT=1.5), 5)
        0.01292
    """
    _positive(density=density, n_sites=n_sites, kT=kT, slope=slope)
    return slope / (2.0 * n_sites) * (1.0 - kT / slope - density * kT * curvature / slope**2)


def _positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"finite-size shift: {name} is {value}; expected a positive number")
