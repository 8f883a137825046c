"""Two- and three-body splines as files of LAMMPS' `uf3`."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.output._engine_files import write_text
from bayescg.output._lammps_term import LammpsTerm, PairCoefficient, Scale, digits, line
from bayescg.physics import BodySplines
from bayescg.physics._radial_basis import falling_basis
from bayescg.physics._spline import DEGREE, extended_knots

LONGEST_LINE = 1000
"""Characters that LAMMPS reads of a line of such a file, less a reserve; it hangs on a longer one."""


def write_body_splines(
    term: BodySplines, folder: Path, *, stem: str, scale: Scale, comment: str
) -> LammpsTerm:
    """Writes a file for `pair_style uf3`.

    LAMMPS counts both orders of a pair, so pair coefficients are halved; of triangles it counts each once. It knows no
    tangent below the first knot: a double knot there and one interval from 0 on hold it exactly. It reads beyond its
    arrays where a distance lies outside the knots, so that knots with coefficients 0 cover all distances that occur.

    Args:
        term: the potential.
        folder: where the file goes.
        stem: of its name.
        scale: to the file's units.
        comment: its first line, starting with `#UF3 POT`.

    Raises:
        InputError: so many functions that a line gets too long for LAMMPS.
    """
    n, symbols = len(term.species), term.species
    blocks = []
    for pair, (a, b) in enumerate(zip(*np.triu_indices(n))):
        knots, coefficients = _pair_spline(term, np.asarray(term.pair)[pair])
        blocks.append([comment, f"2B {symbols[a]} {symbols[b]} 0 3 nk"])
        blocks[-1] += [
            f"{digits(_pair_cutoff(term) * scale.length)} {len(knots)}",
            line(knots * scale.length),
        ]
        blocks[-1] += [str(len(coefficients)), line(0.5 * scale.energy * coefficients), "#"]
    sides, opposite, tensor = _triplet_splines(term)
    cutoff = term.triplet_knots[-1] * scale.length
    for centre in range(n):
        for b, c in zip(*np.triu_indices(n)):
            values = tensor[centre, b, :, c] * scale.energy
            blocks.append([comment, f"3B {symbols[centre]} {symbols[b]} {symbols[c]} 0 3 nk"])
            blocks[-1].append(
                f"{digits(2.0 * cutoff)} {digits(cutoff)} {digits(cutoff)} {len(opposite)} {len(sides)} {len(sides)}"
            )
            blocks[-1] += [line(opposite * scale.length), *[line(sides * scale.length)] * 2]
            blocks[-1].append(" ".join(map(str, values.shape)))
            blocks[-1] += [*(line(row) for row in values.reshape(-1, values.shape[-1])), "#"]
    lines = [text for block in blocks for text in block]
    _check_lengths(term, lines)
    name = f"{stem}.uf3"
    write_text(folder / name, "\n".join(lines) + "\n")
    precision = "the same splines, as polynomials in r: differences are rounding, larger the closer the knots"
    return LammpsTerm("uf3 3", (PairCoefficient("* *", name, " ".join(term.species)),), "ML-UF3", precision)


def _pair_cutoff(term: BodySplines) -> float:
    """That of the pair energy or of triangles, whose neighbours LAMMPS seeks among those of the pair energy [length]."""
    return max(term.knots[-1], term.triplet_knots[-1])


def _pair_spline(
    term: BodySplines, pair: Float[np.ndarray, " function"]
) -> tuple[Float[np.ndarray, " knot"], Float[np.ndarray, " coefficient"]]:
    """Knots from 0 to the cutoff and coefficients of a pair's energy, its tangent below the first knot included."""
    from scipy.interpolate import make_interp_spline

    first, last, end = term.knots[0], term.knots[-1], _pair_cutoff(term)
    beyond = [end] if end > last else []
    knots = np.array([*[0.0] * (DEGREE + 1), first, *term.knots, *beyond, *[(beyond or [last])[0]] * DEGREE])
    centres = np.array([knots[k + 1 : k + 1 + DEGREE].mean() for k in range(len(knots) - DEGREE - 1)])
    energies = np.asarray(falling_basis(jnp.asarray(np.minimum(centres, last)), term.knots)) @ pair
    coefficients = make_interp_spline(centres, energies, k=DEGREE, t=knots).c
    # Those that belong to the cutoff and beyond vanish, but for rounding.
    coefficients[len(term.knots) + 1 :] = 0.0
    return knots, coefficients


def _triplet_splines(
    term: BodySplines,
) -> tuple[
    Float[np.ndarray, " knot"],
    Float[np.ndarray, " knot"],
    Float[np.ndarray, "species species side species side opposite"],
]:
    """Knots of the sides and of the opposite side, and coefficients with three more zeros below and as many beyond."""
    reach = 2.0 * term.triplet_knots[-1]
    sides = _covering(term.triplet_knots, term.triplet_knots[-1], at_least=0)
    opposite = _covering(term.opposite_knots, reach, at_least=len(sides))
    n, n_sides, n_opposite = len(term.species), len(term.triplet_knots) - 1, len(term.opposite_knots) - 1
    inner = np.asarray(term._dense()).reshape(n, n, n_sides, n, n_sides, n_opposite)
    shape = (n, n, len(sides) - DEGREE - 1, n, len(sides) - DEGREE - 1, len(opposite) - DEGREE - 1)
    tensor = np.zeros(shape)
    side, other = slice(DEGREE, DEGREE + n_sides), slice(DEGREE, DEGREE + n_opposite)
    tensor[:, :, side, :, side, other] = inner
    return sides, opposite, tensor


def _covering(knots: tuple[float, ...], reach: float, *, at_least: int) -> Float[np.ndarray, " knot"]:
    """The knots of `local_basis` with the first one fourfold, and more beyond the last, so that `reach` is inside.

    Args:
        knots: of the functions [length].
        reach: largest distance that occurs [length].
        at_least: how many knots there must be: LAMMPS takes those of the opposite side for the most.
    """
    t = extended_knots(knots)
    width = knots[-1] - knots[-2]
    n_beyond = max(DEGREE + 1, int(np.ceil((reach - knots[-1]) / width)) + DEGREE + 1)
    n_beyond = max(n_beyond, at_least - len(t) - DEGREE)
    return np.concatenate([[t[0]] * DEGREE, t, knots[-1] + width * np.arange(1, n_beyond + 1)])


def _check_lengths(term: BodySplines, lines: list[str]) -> None:
    longest = max(map(len, lines))
    if longest > LONGEST_LINE:
        raise InputError(
            f"export: potential '{term.name}' needs a line of {longest} characters, LAMMPS' uf3 reads {LONGEST_LINE}: use"
            " fewer spline functions (about 35), or PosteriorCalculator in ASE"
        )
