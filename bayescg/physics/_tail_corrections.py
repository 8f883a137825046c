"""What a pair potential's cutoff leaves out of energy, pressure and chemical potential of a uniform fluid."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._pair import PairPotential

_POINTS = 64
_SLOWEST = 1e-3
"""Where the decay beyond the cutoff is looked at, in cutoffs over distance."""


class TailCorrection(eqx.Module):
    """Contributions of pairs beyond the cutoff, taken as uncorrelated, g(r) = 1. Differentiable, batched by `vmap`.

    Attributes:
        energy_integral: 2π ∫ w r² dr of the missing part w of the pair energy [energy length³].
        virial_integral: −(2π/3) ∫ w′ r³ dr [energy length³].

    Example:
        >>> tail = TailCorrection(jnp.asarray(-0.3), jnp.asarray(-0.6))
        >>> round(float(tail.pressure(n_sites=100, volume=200.0)), 3)
        -0.15
    """

    energy_integral: Float[Array, ""]
    virial_integral: Float[Array, ""]

    def energy(self, *, n_sites: int, volume: ArrayLike) -> Array:
        """Of the whole box, N² I_u/V, to be added to a *truncated* energy [energy]."""
        return n_sites**2 * self.energy_integral / jnp.asarray(volume)

    def pressure(self, *, n_sites: int, volume: ArrayLike) -> Array:
        """To be added to a virial pressure, N² I_w/V² [energy/length³]."""
        return n_sites**2 * self.virial_integral / jnp.asarray(volume) ** 2

    def chemical_potential(self, *, n_sites: int, volume: ArrayLike) -> Array:
        """To be added to the insertion energy into n_sites sites, 2 N I_u/V [energy]."""
        return 2.0 * n_sites * self.energy_integral / jnp.asarray(volume)

    def over_volume(self, *, n_sites: int) -> Float[Array, ""]:
        """c of the energy c/V whose pressure, c/V², is that of `pressure`: what `Barostat.tail` takes [energy length³].

        Not N² I_u: dynamics see no jump at the cutoff, and what truncation leaves there is in the virial's integral.
        """
        return n_sites**2 * self.virial_integral


def tail_correction(
    full: PairPotential, *, cutoff: float, switched: PairPotential | None = None, onset: float | None = None
) -> TailCorrection:
    """Standard long-range corrections of a fluid of one species in three dimensions.

    I_u = 2π ∫ w(r) r² dr and I_w = −(2π/3) ∫ w′(r) r³ dr, with w the missing part of the pair energy: u beyond the
    cutoff, u minus the switched energy between onset and cutoff. g(r) = 1 there. Gauss and Legendre's rule in r and in
    r_c/r, exact for sums of integer powers.

    A shifted potential's forces are the truncated one's, and so is its pressure. Its energy also lacks u(r_c) for each
    pair inside the cutoff: evaluate frames with the convention `truncated`.

    Args:
        full: the pair potential without a cutoff (`cutoff=inf`), e.g. `LennardJones(ε, σ, cutoff=inf,
            convention="truncated")`.
        cutoff: r_c of the simulated potential [length].
        switched: the simulated potential where it differs from `full` below the cutoff (convention `smooth`).
        onset: where it begins to differ [length].

    Raises:
        InputError: an energy that decays no faster than r⁻³ (the sum depends on the box's shape: use Ewald's), or
            `switched` without `onset`.

    References:
        Allen & Tildesley (2017), doi:10.1093/oso/9780198803195.001.0001, section 2.8.

    Example:
        >>> from bayescg.physics import LennardJones
        >>> full = LennardJones(1.0, 1.0, cutoff=np.inf, convention="truncated")
        >>> tail = tail_correction(full, cutoff=3.0)
        >>> expected = 8 * np.pi / 3 * (3.0**-9 / 3 - 3.0**-3)  # per site and density
        >>> round(float(tail.energy_integral / expected), 5)
        1.0
    """
    if (switched is None) != (onset is None) or (onset is not None and not 0.0 < onset < cutoff):
        raise InputError(
            f"tail correction: onset {onset}, cutoff {cutoff:g}; expected `switched` and an `onset` below the cutoff"
            " together, or neither"
        )
    if not (np.isfinite(cutoff) and cutoff > 0.0):
        raise InputError(f"tail correction: cutoff {cutoff}; expected a finite positive one")
    node, weight = np.polynomial.legendre.leggauss(_POINTS)
    x, w = 0.5 * (node + 1.0), 0.5 * weight
    far = cutoff / x
    _check_decay(full, cutoff)
    r, weights = jnp.asarray(far), jnp.asarray(w * cutoff / x**2)
    energy, slope = _energy_and_slope(full, r)
    integrals = jnp.stack([weights @ (energy * r**2), weights @ (slope * r**3)])
    if switched is not None and onset is not None:
        r = jnp.asarray(onset + (cutoff - onset) * x)
        energy, slope = (
            a - b for a, b in zip(_energy_and_slope(full, r), _energy_and_slope(switched, r), strict=True)
        )
        weights = jnp.asarray((cutoff - onset) * w)
        integrals = integrals + jnp.stack([weights @ (energy * r**2), weights @ (slope * r**3)])
    return TailCorrection(2.0 * np.pi * integrals[0], -2.0 * np.pi / 3.0 * integrals[1])


def _energy_and_slope(potential: PairPotential, r: Array) -> tuple[Array, Array]:
    """u(r) and u′(r)."""
    return jax.jvp(lambda r: potential.pair_energy(r**2), (r,), (jnp.ones_like(r),))


def _check_decay(full: PairPotential, cutoff: float) -> None:
    """Refuse energies that decay too slowly for a sum over a uniform fluid to exist."""
    far = cutoff / np.array([1.0, _SLOWEST])
    weight = full.pair_energy(jnp.asarray(far) ** 2) * far**3
    if isinstance(weight, jax.core.Tracer):
        return
    near, beyond = np.abs(np.asarray(weight))
    if beyond > 1e-2 * near + 1e-300:
        raise InputError(
            "tail correction: the pair energy decays no faster than 1/r³ beyond the cutoff, so that the sum over a"
            " uniform fluid does not converge: use Ewald's method for Coulomb energies"
        )
