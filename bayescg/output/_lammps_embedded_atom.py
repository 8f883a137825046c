"""Embedded-atom potentials as tables of LAMMPS' `eam/alloy` and `eam/fs`."""

from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.output._engine_files import write_text
from bayescg.output._lammps_term import LammpsTerm, PairCoefficient, Scale, digits
from bayescg.physics import EmbeddedSplines, FinnisSinclair
from bayescg.physics._embedded_atom import EmbeddedAtom

BEYOND = 5
"""Rows beyond the cutoff, all zero: the slopes that LAMMPS takes from differences are poor at a table's end."""

CLOSEST = 0.45
"""Nearest neighbours' distance of the densest crystal that the embedding's table reaches to, per cutoff."""

_PER_LINE = 5


def write_embedded_atom(
    term: EmbeddedAtom, folder: Path, *, stem: str, scale: Scale, comment: str, rows: int
) -> LammpsTerm:
    """Writes a table: `eam/fs` where the density depends on both species, `eam/alloy` where on the neighbour's only.

    LAMMPS goes through its points with cubic splines whose slopes come from differences, so that errors of forces fall
    as the third power of the spacing, and as the first within a spacing of a distance where a curvature jumps. Beyond
    the largest density, that of a close-packed crystal with nearest neighbours at 0.45 cutoffs (or the last knot of
    `EmbeddedSplines`, if larger), LAMMPS continues along the tangent.

    Args:
        term: the potential.
        folder: where the file goes.
        stem: of its name.
        scale: to the file's units.
        comment: its first line.
        rows: of each function.

    Raises:
        InputError: a species without a mass: no chemical element.
    """
    n, both = len(term.species), isinstance(term, FinnisSinclair)
    spacing = term.cutoff / (rows - 1 - BEYOND)
    r, step = spacing * np.arange(rows), _densest(term) / (rows - 1)
    found = _functions(term, jnp.asarray(r), jnp.asarray(step * np.arange(rows)))
    pairs, densities, embeddings = (np.asarray(values) for values in found)
    blocks = [
        "\n".join([comment, "# F(rho) and rho(r) of each element, then r phi(r) of each pair", "#"]),
        f"{n} {' '.join(term.species)}",
        f"{rows} {digits(step)} {rows} {digits(spacing * scale.length)} {digits(term.cutoff * scale.length)}",
    ]
    for b, symbol in enumerate(term.species):
        number, mass = _element(symbol, scale.units)
        blocks.append(f"{number} {digits(mass)} 0.0 none")
        blocks.append(_column(embeddings[b] * scale.energy))
        blocks += [_column(densities[a, b]) for a in range(n if both else 1)]
    for first, second in zip(*np.tril_indices(n)):
        blocks.append(_column(r * pairs[first, second] * (scale.energy * scale.length)))
    name, style = (f"{stem}.eam.fs", "eam/fs") if both else (f"{stem}.eam.alloy", "eam/alloy")
    write_text(folder / name, "\n".join(blocks) + "\n")
    precision = (
        f"a table of {rows} rows: spacing {digits(spacing * scale.length)} of r and {digits(step)} of rho"
    )
    coefficient = PairCoefficient("* *", name, " ".join(term.species))
    return LammpsTerm(style, (coefficient,), "MANYBODY", precision)


def _element(symbol: str, units: str) -> tuple[int, float]:
    """Atomic number and mass [g/mol]; mass 1 in reduced units."""
    from ase.data import atomic_masses, atomic_numbers

    if symbol not in atomic_numbers:
        raise InputError(
            f"export: a table for LAMMPS' eam holds masses, and '{symbol}' is no chemical element; name the species by"
            " chemical symbols"
        )
    number = atomic_numbers[symbol]
    return number, 1.0 if units == "lj" else float(atomic_masses[number])


def _column(values: Float[np.ndarray, " row"]) -> str:
    texts = [digits(value) for value in values]
    return "\n".join(" ".join(texts[i : i + _PER_LINE]) for i in range(0, len(texts), _PER_LINE))


@eqx.filter_jit
def _functions(
    term: EmbeddedAtom, r: Float[Array, " row"], density: Float[Array, " row"]
) -> tuple[
    Float[Array, "species species row"], Float[Array, "species species row"], Float[Array, "species row"]
]:
    """φ_ab [energy] and f_ab, 0 from the cutoff on, and F_a [energy] with F_a(0) = 0, by a and b."""
    n = len(term.species)
    centre, neighbour = (jnp.asarray(index)[..., None] for index in np.indices((n, n)))
    at = jnp.broadcast_to(jnp.minimum(r, term.cutoff), (n, n, *r.shape))
    centre, neighbour = jnp.broadcast_to(centre, at.shape), jnp.broadcast_to(neighbour, at.shape)
    inside = r < term.cutoff
    pairs = jnp.where(inside, term.pair_energy(at, centre, neighbour), 0.0)
    densities = jnp.where(inside, term.density(at, centre, neighbour), 0.0)
    positive = jnp.broadcast_to(jnp.where(density > 0.0, density, 1.0), (n, *density.shape))
    species = jnp.broadcast_to(jnp.arange(n)[:, None], positive.shape)
    return pairs, densities, jnp.where(density > 0.0, term.embedding(positive, species), 0.0)


def _densest(term: EmbeddedAtom) -> float:
    """The largest density that the table of the embedding reaches to."""
    nearest = CLOSEST * term.cutoff
    corners = np.indices((9, 9, 9)).reshape(3, -1).T - 4
    lattice = corners @ (nearest / np.sqrt(2.0) * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    apart = np.linalg.norm(lattice, axis=1)
    _, densities, _ = _functions(term, jnp.asarray(apart[apart > 0.0]), jnp.ones(1))
    found = float(np.max(np.sum(densities, axis=-1)))
    last_knot = term.density_knots[-1] if isinstance(term, EmbeddedSplines) else 0.0
    return max(found, last_knot * 1.01, 1e-3)
