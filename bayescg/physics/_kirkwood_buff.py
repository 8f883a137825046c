"""Integrals of g(r): Kirkwood–Buff integrals and their finite-volume forms, coordination numbers.

G_ab = ∫ (g_ab − 1) 4πr² dr tells how many more sites b than at random surround a site a, ρ_b G_ab; for one species
1 + ρG = ρ kT κ_T, the limit of S(k) for small k. In a simulation g(r) ends at half the box, and it tends not to 1 but
to 1 − G/V, because the box holds all sites: `volume` takes that into account, up to G/N.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError

_RUNNING = ((0, 1.0),)
_SPHERE = ((0, 1.0), (1, -1.5), (3, 0.5))
_EXTRAPOLATED = ((0, 1.0), (3, -23 / 8), (4, 3 / 4), (5, 9 / 8))


def running_kirkwood_buff_integral(
    rdf: Float[Array, "*batch bin"], *, edges: Float[np.ndarray, " edge"], volume: float = np.inf
) -> Float[Array, "*batch bin"]:
    """G(R) = ∫₀^R [g(r) − 1] 4πr² dr up to the upper edge of each bin [length³].

    It oscillates with R and converges slowly: see `kirkwood_buff_integral`.

    Args:
        rdf: g(r), constant in each bin.
        edges: of the bins, one more than bins [length].
        volume: of the closed box in which g(r) was counted; inf for a g(r) that tends to 1 [length³].

    Raises:
        InputError: another number of edges than bins + 1, a volume that the bins fill.

    References:
        Kirkwood & Buff (1951), doi:10.1063/1.1748352.

    Example:
        >>> edges = np.linspace(0.0, 4.0, 41)
        >>> hole = np.where(edges[1:] <= 1.0, 0.0, 1.0)
        >>> round(float(running_kirkwood_buff_integral(hole, edges=edges)[-1]), 6)  # −4π/3
        -4.18879
    """
    return _weighted(rdf, edges, _RUNNING, volume)


def finite_volume_kirkwood_buff_integral(
    rdf: Float[Array, "*batch bin"], *, edges: Float[np.ndarray, " edge"], volume: float = np.inf
) -> Float[Array, "*batch bin"]:
    """G(L) = ∫₀^L [g(r) − 1] 4πr² (1 − 3x/2 + x³/2) dr, x = r/L: exact for an open sphere of diameter L [length³].

    1/V ∫∫ [g(|x₁ − x₂|) − 1] dx₁ dx₂ over that sphere, what particle-number fluctuations in it give. It tends to the
    infinite volume as 1/L: extrapolate linearly, or take `kirkwood_buff_integral`.

    Args:
        rdf: g(r), constant in each bin.
        edges: of the bins, one more than bins; L is the upper edge of each [length].
        volume: of the closed box in which g(r) was counted; inf for a g(r) that tends to 1 [length³].

    Raises:
        InputError: another number of edges than bins + 1, a volume that the bins fill.

    References:
        Krüger, Schnell, Bedeaux, Kjelstrup, Vlugt & Simon (2013), doi:10.1021/jz301992u.

    Example:
        >>> edges = np.linspace(0.0, 4.0, 41)
        >>> hole = np.where(edges[1:] <= 1.0, 0.0, 1.0)  # −4π/3 (1 − 9/(8L) + 1/(4L³)) at L = 4
        >>> round(float(finite_volume_kirkwood_buff_integral(hole, edges=edges)[-1]), 6)
        -3.027055
    """
    return _weighted(rdf, edges, _SPHERE, volume)


def kirkwood_buff_integral(
    rdf: Float[Array, "*batch bin"], *, edges: Float[np.ndarray, " edge"], volume: float = np.inf
) -> Float[Array, "*batch bin"]:
    """Estimate of G = ∫₀^∞ [g(r) − 1] 4πr² dr from g(r) up to L = the upper edge of each bin [length³].

    The weight 1 − 23x³/8 + 3x⁴/4 + 9x⁵/8, x = r/L, extrapolates the finite spheres to infinite volume: its error falls
    as L⁻³, and an end of g(r) in the middle of an oscillation counts little, because the weight and its slope end at 0.

    Args:
        rdf: g(r), constant in each bin.
        edges: of the bins, one more than bins [length].
        volume: of the closed box in which g(r) was counted; inf for a g(r) that tends to 1 [length³].

    Raises:
        InputError: another number of edges than bins + 1, a volume that the bins fill.

    References:
        Krüger & Vlugt (2018), doi:10.1103/PhysRevE.97.051301.

    Example:
        >>> edges = np.linspace(0.0, 10.0, 101)
        >>> hole = np.where(edges[1:] <= 1.0, 0.0, 1.0)
        >>> round(float(kirkwood_buff_integral(hole, edges=edges)[-1]), 4)  # −4π/3 = −4.1888
        -4.1829
    """
    return _weighted(rdf, edges, _EXTRAPOLATED, volume)


def coordination_number(
    rdf: Float[Array, "*batch bin"], *, edges: Float[np.ndarray, " edge"], density: float
) -> Float[Array, "*batch bin"]:
    """n(R) = 4πρ ∫₀^R g(r) r² dr, the mean number of neighbours up to the upper edge of each bin [dimensionless].

    Args:
        rdf: g(r), constant in each bin.
        edges: of the bins, one more than bins [length].
        density: ρ of the neighbours [1/length³].

    Raises:
        InputError: another number of edges than bins + 1.

    References:
        Hansen & McDonald (2013), Theory of Simple Liquids, doi:10.1016/C2010-0-66723-X, section 2.5.

    Example:
        >>> edges = np.linspace(0.0, 2.0, 21)
        >>> round(float(coordination_number(np.ones(20), edges=edges, density=0.3)[-1]), 4)  # 0.3 · 4π/3 · 8
        10.0531
    """
    g, r = _checked(rdf, edges)
    return 4.0 / 3.0 * jnp.pi * density * jnp.cumsum(g * jnp.diff(r**3), axis=-1)


def _weighted(
    rdf: Float[Array, "*batch bin"],
    edges: Float[np.ndarray, " edge"],
    weight: tuple[tuple[int, float], ...],
    volume: float,
) -> Float[Array, "*batch bin"]:
    """G = ∫₀^L [g(r) − 1] w(r) dr / (1 − W/V), w = 4πr² Σ_p c_p (r/L)^p, W = ∫₀^L w dr, for L = each upper edge.

    Exact for a g(r) constant in each bin. In a closed box all pairs are counted, ∫_V (g − 1) = 0, so that g(r) tends
    to 1 − G/V instead of 1: g + G/V in place of g, solved for G, gives the denominator.
    """
    g, r = _checked(rdf, edges)
    if not volume > 4.0 / 3.0 * np.pi * float(edges[-1]) ** 3:
        raise InputError(
            f"Kirkwood-Buff integral: g(r) up to {float(edges[-1]):g} fills a box of volume {volume:g}; expected the"
            " volume of the whole box"
        )
    scaled = r / r[-1]  # powers of r itself could overflow in other units
    total, filled = jnp.zeros(g.shape, g.dtype), jnp.zeros(g.shape[-1], g.dtype)
    for power, factor in weight:
        shells = factor / (3 + power) * jnp.diff(scaled ** (3 + power))
        total = total + jnp.cumsum((g - 1.0) * shells, axis=-1) / scaled[1:] ** power
        filled = filled + jnp.cumsum(shells) / scaled[1:] ** power
    size = 4.0 * jnp.pi * r[-1] ** 3
    return size * total / (1.0 - size * filled / volume)


def _checked(rdf: Float[Array, "*batch bin"], edges: Float[np.ndarray, " edge"]) -> tuple[Array, Array]:
    g = jnp.asarray(rdf, float)
    if len(edges) != g.shape[-1] + 1:
        raise InputError(
            f"integral of g(r): {len(edges)} edges for {g.shape[-1]} bins; expected one edge more than bins"
        )
    return g, jnp.asarray(edges, g.dtype)
