"""The number of solid-like sites by switching functions, smooth in the positions."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._neighbour_shell import NeighbourShell, ShellNeighbours, shell_observable, unit_vectors
from bayescg.physics._pair import smooth_switch
from bayescg.physics._steinhardt import real_harmonics

_DEGREE = 6


def smooth_solid_like_number(
    positions: Float[Array, "*batch site 3"],
    box: Float[Array, "*batch 3"],
    *,
    shell: NeighbourShell,
    onset: float,
    threshold: float = 0.5,
    connections: float = 7.5,
    threshold_width: float = 0.05,
    connections_width: float = 0.5,
) -> Float[Array, "*batch"]:
    """As `solid_like_number`, with every count replaced by a smooth one: a reaction coordinate for crystals that grow.

        N_s = Σ_i s((c_i − connections)/connections_width),   c_i = Σ_j S(r_ij) s((d₆(i, j) − threshold)/threshold_width)

    with s(y) = 1/(1 + e^(−y)) and S the switching function of the potentials between `onset` and the shell's cutoff, which
    weighs the neighbours in q_6 too: no jump where a site enters the shell. With widths and cutoff − onset going to 0 it
    becomes `solid_like_number` with the next whole number of connections above. Its value depends on all these choices;
    a liquid's is not 0.

    Args:
        positions: wrapped or not [length].
        box: edge lengths, inf where open; one for all frames or one for each [length].
        shell: with a finite cutoff, usually at the first minimum of g(r), and room for all neighbours within it.
        onset: distance up to which a neighbour counts as 1 [length].
        threshold: of d₆ [dimensionless].
        connections: that make a site half solid-like.
        threshold_width: of the step in d₆ [dimensionless].
        connections_width: of the step in the number of connections.

    Returns:
        N_s of every frame; NaN for a frame in which a neighbour list did not fit.

    Raises:
        InputError: shapes that do not fit, not enough sites, a shell without cutoff, an onset beyond it, widths that are not
            positive.

    References:
        ten Wolde, Ruiz-Montero & Frenkel (1996), doi:10.1063/1.471721, for d₆; the smooth steps are ours.

    Example:
        >>> grid = jnp.stack(jnp.meshgrid(*[jnp.arange(4.0)] * 3), axis=-1).reshape(-1, 3)  # simple cubic
        >>> shell = NeighbourShell(8, cutoff=1.3)
        >>> float(smooth_solid_like_number(grid, jnp.full(3, 4.0), shell=shell, onset=1.2, connections=3.5).round(1))
        63.6
    """
    if not (np.isfinite(shell.cutoff) and 0.0 <= onset < shell.cutoff):
        raise InputError(
            f"solid-like sites: onset {onset:g} and cutoff {shell.cutoff:g}; expected a finite cutoff above the onset"
        )
    if not (threshold_width > 0.0 and connections_width > 0.0):
        raise InputError(
            f"solid-like sites: widths {threshold_width:g} and {connections_width:g}; expected positive ones (sharp steps"
            " are those of solid_like_number)"
        )
    steps = (onset, shell.cutoff, threshold, threshold_width, connections, connections_width)
    function = _function(tuple(float(one) for one in steps))
    found = shell_observable("solid-like sites", function, positions, box, shell=shell)
    return jnp.sum(found, axis=-1)


def _solidity(neighbours: ShellNeighbours, steps: tuple[float, ...]) -> Float[Array, " site"]:
    onset, cutoff, threshold, threshold_width, connections, connections_width = steps
    r2 = jnp.sum(neighbours.vectors**2, axis=-1)
    weights = jnp.where(neighbours.inside, smooth_switch(r2, onset=onset, cutoff=cutoff), 0.0)
    harmonics = real_harmonics(unit_vectors(neighbours.vectors), degree=_DEGREE)
    directions = unit_vectors(jnp.einsum("ij,ijm->im", weights, harmonics))
    alike = jnp.einsum("im,ijm->ij", directions, directions[neighbours.others])
    number = jnp.sum(weights * jax.nn.sigmoid((alike - threshold) / threshold_width), axis=1)
    valid = neighbours.valid & jnp.all(neighbours.valid[neighbours.others] | ~neighbours.inside, axis=1)
    return jnp.where(valid, jax.nn.sigmoid((number - connections) / connections_width), jnp.nan)


@cache
def _function(steps: tuple[float, ...]) -> partial:
    """One object for each choice: what is compiled for it is found again."""
    return partial(_solidity, steps=steps)
