"""Virials, pressures and energies of frames under any potential, along each edge of the box."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._frame_map import checked_frames, known, map_frames
from bayescg.physics._pair import PairPotential
from bayescg.physics._potential import Potential


def axis_virials(
    potential: Potential, positions: Float[Array, "*batch site dim"], box: Float[Array, "*batch dim"]
) -> Float[Array, "*batch dim"]:
    """W_a = −∂U/∂ln L_a of every frame, sites moving with the box [energy]; their sum is that of r·f over pairs.

    Args:
        potential: any; of a truncated or shifted pair potential the jump at the cutoff is left out.
        positions: wrapped or not [length].
        box: edge lengths, one for all frames or one for each [length].

    Raises:
        InputError: an open box, shapes that do not fit.

    Example:
        >>> from bayescg.physics import LennardJones
        >>> pair = jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])  # f = 24 at r = σ
        >>> abs(axis_virials(LennardJones(1.0, 1.0, cutoff=2.0), pair, jnp.full(3, 5.0))).tolist()
        [24.0, 0.0, 0.0]
    """
    x, edges = checked_frames("virial", positions, box)
    values = known(edges)
    if values is not None and not np.isfinite(values).all():
        raise InputError("virial: an open box, which has no volume; expected finite edges")
    return _virials(potential, x, edges)


@eqx.filter_jit
def _virials(potential: Potential, x: Array, edges: Array) -> Array:
    def one(positions: Array, box: Array) -> Array:
        def energy(log_scale: Array) -> Array:
            scale = jnp.exp(log_scale)
            return potential.energy(positions * scale, box * scale)

        return -jax.grad(energy)(jnp.zeros_like(box))

    pairs = x.shape[-2] * (x.shape[-2] - 1) // 2
    return map_frames(one, x, edges, numbers=8 * pairs)


@partial(jax.jit, static_argnames="n_sites")
def axis_pressures(
    virial: Float[Array, "*batch dim"],
    box: Float[Array, "*batch dim"],
    *,
    n_sites: int,
    kT: Float[Array, ""] | float,
) -> Float[Array, "*batch dim"]:
    """Normal pressure along each edge, P_a = (N k_B T + W_a)/V [energy/length³]; the pressure is their mean.

    With the kinetic part's mean in place of its fluctuating value. Add `TailCorrection.pressure` for what lies beyond
    the cutoff, multiply by `UnitSystem.pressure_factor` for the pressure's own unit.

    Args:
        virial: from `axis_virials` [energy].
        box: edge lengths [length].
        n_sites: N.
        kT: thermal energy [energy].

    References:
        Allen & Tildesley (2017), doi:10.1093/oso/9780198803195.001.0001, section 2.4.

    Example:
        >>> axis_pressures(jnp.zeros(3), jnp.full(3, 2.0), n_sites=16, kT=1.5).tolist()  # ideal gas
        [3.0, 3.0, 3.0]
    """
    return (n_sites * kT + virial) / jnp.prod(box, axis=-1)[..., None]


def frame_energies(
    potential: Potential, positions: Float[Array, "*batch site dim"], box: Float[Array, "*batch dim"]
) -> Float[Array, "*batch"]:
    """Potential energy of every frame [energy].

    Frames of a shifted Lennard-Jones potential evaluated with the convention `truncated` and `TailCorrection.energy`
    give the energy of the full one.

    Args:
        potential: any.
        positions: wrapped or not [length].
        box: edge lengths, one for all frames or one for each [length].

    Example:
        >>> from bayescg.physics import LennardJones
        >>> pair = jnp.array([[[0.0, 0.0, 0.0], [2 ** (1 / 6), 0.0, 0.0]]])
        >>> lj = LennardJones(1.0, 1.0, cutoff=2.0, convention="truncated")
        >>> frame_energies(lj, pair, jnp.full(3, 5.0)).round(6).tolist()
        [-1.0]
    """
    return _energies(potential, *checked_frames("energy", positions, box))


@eqx.filter_jit
def _energies(potential: Potential, x: Array, edges: Array) -> Array:
    pairs = x.shape[-2] * (x.shape[-2] - 1) // 2
    weight = 4 if isinstance(potential, PairPotential) else 8
    return map_frames(lambda x, box: potential.energy(x, box), x, edges, numbers=weight * pairs)
