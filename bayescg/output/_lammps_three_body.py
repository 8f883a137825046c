"""Stillinger–Weber and Tersoff potentials as files of LAMMPS' `sw` and `tersoff`, which compute the same formulas."""

from pathlib import Path

import numpy as np

from bayescg.output._engine_files import write_text
from bayescg.output._lammps_term import LammpsTerm, PairCoefficient, Scale, line, refuse_negative
from bayescg.physics import StillingerWeber, Tersoff, TersoffMixture
from bayescg.physics._interatomic import n_pairs, pair_index

_OF_PAIRS = ("sigma", "a", "gamma", "A", "B", "p", "q")
_EXACT = "the same formula: differences are rounding"


def write_stillinger_weber(
    term: StillingerWeber, folder: Path, *, stem: str, scale: Scale, comment: str
) -> LammpsTerm:
    """Writes a file for `pair_style sw`; the numbers of a pair stand in the entry whose second and third element agree.

    Args:
        term: the potential.
        folder: where the file goes.
        stem: of its name.
        scale: to the file's units.
        comment: its first line.

    Raises:
        InputError: a parameter that `sw` does not take below zero.
    """
    n, pairs = len(term.species), pair_index(len(term.species))
    values = {
        field: np.broadcast_to(np.asarray(getattr(term, field)), (n_pairs(n),))
        for field in ("epsilon", *_OF_PAIRS)
    }
    strength = np.broadcast_to(np.asarray(term.lambda_), (n, n_pairs(n)))
    refuse_negative(term, "sw", {"lambda": strength} | {f: values[f] for f in ("A", "B", "p", "q")})
    lines = [comment, "# three elements, epsilon sigma a lambda gamma cos(theta0) A B p q tolerance"]
    for i, j, k in np.ndindex(n, n, n):
        bond, other = pairs[i, j], pairs[i, k]
        epsilon = values["epsilon"][bond]
        if other != bond:
            epsilon = np.sqrt(epsilon * values["epsilon"][other])
        sigma, a, gamma, A, B, p, q = (values[field][bond] for field in _OF_PAIRS)
        numbers = [epsilon * scale.energy, sigma * scale.length, a, strength[i, pairs[j, k]], gamma]
        numbers += [term.cosine, A, B, p, q, 0.0]
        lines.append(" ".join(term.species[s] for s in (i, j, k)) + " " + line(numbers))
    return _finished("sw", lines, folder, f"{stem}.sw", term.species)


def write_tersoff(
    term: Tersoff | TersoffMixture, folder: Path, *, stem: str, scale: Scale, comment: str
) -> LammpsTerm:
    """Writes a file for `pair_style tersoff`.

    Args:
        term: the potential.
        folder: where the file goes.
        stem: of its name.
        scale: to the file's units.
        comment: its first line.

    Raises:
        InputError: a parameter that `tersoff` does not take below zero.
    """
    table = term.table()
    fields = ("gamma", "lambda3", "c", "d", "cos0", "n", "beta", "lambda2", "B", "R", "D", "lambda1", "A")
    factor = {"A": scale.energy, "B": scale.energy, "R": scale.length, "D": scale.length}
    factor |= {name: 1.0 / scale.length for name in ("lambda1", "lambda2", "lambda3")}
    values = {field: np.asarray(getattr(table, field)) * factor.get(field, 1.0) for field in fields}
    signed = ("lambda3", "cos0")
    refuse_negative(term, "tersoff", {f: values[f] for f in fields if f not in signed})
    lines = [comment, "# three elements, m gamma lambda3 c d cos(theta0) n beta lambda2 B R D lambda1 A"]
    for i, j, k in np.ndindex(values["A"].shape):
        numbers = [table.m, *(values[field][i, j, k] for field in fields)]
        lines.append(" ".join(term.species[s] for s in (i, j, k)) + " " + line(numbers))
    return _finished("tersoff", lines, folder, f"{stem}.tersoff", term.species)


def _finished(style: str, lines: list[str], folder: Path, name: str, species: tuple[str, ...]) -> LammpsTerm:
    write_text(folder / name, "\n".join(lines) + "\n")
    return LammpsTerm(style, (PairCoefficient("* *", name, " ".join(species)),), "MANYBODY", _EXACT)
