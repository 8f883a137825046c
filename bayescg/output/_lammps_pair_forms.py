"""Pair formulas as tables of LAMMPS' `table`."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.output._lammps import write_pair_table
from bayescg.output._lammps_term import LammpsTerm, PairCoefficient, Scale
from bayescg.physics._pair_form import PairForm, interacting

INNER = 0.1
"""Where tables begin, per cutoff; LAMMPS stops with an error where two atoms come closer."""


def write_pair_form(
    term: PairForm, folder: Path, *, stem: str, scale: Scale, comment: str, rows: int
) -> LammpsTerm:
    """Writes a table for each pair of species; LAMMPS goes through its points with cubic splines.

    Pairs that the potential leaves out have tables of zeros, which LAMMPS must be told as well.

    Args:
        term: the potential.
        folder: where the files go.
        stem: their names begin with it.
        scale: to the files' units.
        comment: for their first lines.
        rows: of each table, from 0.1 cutoffs to the cutoff.

    Raises:
        InputError: an energy that is not finite.
    """
    r = np.linspace(INNER * term.cutoff, term.cutoff, rows)
    # the limit at the cutoff: from there on the energy is 0
    inside = jnp.asarray(np.minimum(r, np.nextafter(term.cutoff, 0.0)))
    energies, slopes = (np.asarray(values) for values in _energies_and_slopes(term, inside))
    if not (np.isfinite(energies).all() and np.isfinite(slopes).all()):
        raise InputError(
            f"export: the energy of potential '{term.name}' is not finite between {r[0]:.4g} and {r[-1]:.4g}; leave"
            " such draws out"
        )
    upper, number = np.triu_indices(len(term.species)), interacting(term).tolist()
    coefficients = []
    for pair, (a, b) in enumerate(zip(*upper)):
        name = f"{stem}_{term.species[a]}-{term.species[b]}.table"
        write_pair_table(
            folder / name,
            r * scale.length,
            (energies[number.index(pair)] if pair in number else np.zeros_like(r)) * scale.energy,
            (-slopes[number.index(pair)] if pair in number else np.zeros_like(r))
            * (scale.energy / scale.length),
            keyword="PAIR",
            units=scale.units,
            comment=comment,
        )
        cutoff = f"PAIR {r[-1] * scale.length:.15g}"
        coefficients.append(PairCoefficient(f"{a + 1} {b + 1}", name, cutoff))
    precision = f"a table of {rows} rows, spacing {(r[1] - r[0]) * scale.length:.6g} of r"
    return LammpsTerm(f"table spline {rows}", tuple(coefficients), "", precision)


@eqx.filter_jit
def _energies_and_slopes(
    term: PairForm, r: Float[Array, " row"]
) -> tuple[Float[Array, "pair row"], Float[Array, "pair row"]]:
    """u [energy] and u′ [energy/length] of every pair of species."""
    distances, pairs = jnp.meshgrid(r, jnp.arange(len(interacting(term))))
    energies, pull = jax.vjp(lambda x: term.pair_energy(x, pairs), distances)
    return energies, pull(jnp.ones_like(energies))[0]
