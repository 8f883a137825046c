"""Terms whose tables say more than a class's fields: splines of the embedded atom, energies from symmetry functions."""

import dataclasses
import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist

from bayescg.data import Configurations
from bayescg.errors import InputError
from bayescg.physics import (
    EmbeddedSplines,
    InteratomicPotential,
    LinearSymmetry,
    NeuralSymmetry,
    SymmetryFunctions,
    environments,
    standardisation,
)
from bayescg.physics._embedded_atom import EmbeddedAtom
from bayescg.physics._interatomic import interatomic_terms, n_pairs
from bayescg.physics._symmetry_potentials import SymmetryTerm
from bayescg.study._interatomic_schema import (
    EmbeddedSplinesTable,
    LinearSymmetryTable,
    NeuralSymmetryTable,
    SymmetryTable,
)

Standardisations = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Centre and scale of the symmetry functions by the term's name."""


def embedded_splines(
    table: EmbeddedSplinesTable, species: tuple[str, ...], *, start: InteratomicPotential | None, name: str
) -> EmbeddedSplines:
    """The term of a table with `kind = "embedded-splines"`.

    Args:
        table: the table.
        species: chemical symbols.
        start: what its table `start` describes.
        name: of the term.

    Raises:
        InputError: knots or coefficients that do not fit one another or the species.
    """
    knots, density_knots = table.knots, table.density_knots
    if isinstance(start, EmbeddedAtom):
        return EmbeddedSplines.fitted(start, knots=knots, density_knots=density_knots, name=name)
    n = len(species)
    shapes = {
        "pair_coefficients": (n_pairs(n), len(knots) - 1),
        "density_coefficients": (n, len(knots) - 1),
        "embedding_coefficients": (n, len(density_knots) + 1),
    }
    coefficients: dict[str, Any] = {
        field: filled(getattr(table, field), shape, field=field) for field, shape in shapes.items()
    }
    if np.any(coefficients["density_coefficients"] <= 0.0):
        raise InputError(
            "`density_coefficients` must be above 0, as densities are; give a small number instead of 0"
        )
    return EmbeddedSplines(
        **coefficients, knots=knots, density_knots=density_knots, species=species, name=name
    )


def symmetry_term(table: SymmetryTable, species: tuple[str, ...], *, name: str) -> SymmetryTerm:
    """The term of a table with `kind = "linear-symmetry"` or `"neural-symmetry"`, see `standardised`.

    Args:
        table: the table.
        species: chemical symbols.
        name: of the term.

    Raises:
        InputError: functions that there are not, or numbers that do not fit them or the species.
    """
    functions = _functions(table, species)
    n = functions.n_functions
    centre, scale = (
        () if value is None else tuple(filled(value, (n,), field=field))
        for field, value in (("centre", table.centre), ("scale", table.scale))
    )
    if isinstance(table, NeuralSymmetryTable):
        key = jax.random.key(table.seed)
        return NeuralSymmetry.random(
            key, functions=functions, hidden=table.hidden, centre=centre, scale=scale, name=name
        )
    assert isinstance(table, LinearSymmetryTable)
    weights: Any = filled(table.weights, (len(species), n), field="weights")
    return LinearSymmetry(weights, functions=functions, centre=centre, scale=scale, name=name)  # type: ignore[call-arg]


def filled(value: Any, shape: tuple[int, ...], *, field: str) -> np.ndarray:
    """An array of a table's numbers; one number alone fills all of it.

    Args:
        value: a number, a list or a list of rows.
        shape: to fill with one number; lists keep theirs, which the class that takes them checks.
        field: named in errors.

    Raises:
        InputError: rows of different lengths.
    """
    if not isinstance(value, tuple):
        return np.full(shape, float(value))
    if len({len(row) if isinstance(row, tuple) else -1 for row in value}) > 1:
        raise InputError(f"`{field}` has rows of different lengths; give all of them the same")
    return np.asarray(value, float)


def standardised(potential: InteratomicPotential, configurations: Configurations) -> InteratomicPotential:
    """Symmetry functions that have no centre or scale yet get those of all atoms of these configurations.

    Args:
        potential: a term or a sum.
        configurations: the data that are learned from.

    Raises:
        InputError: atoms that coincide.
    """
    found = {}
    for term in interatomic_terms(potential):
        if isinstance(term, SymmetryTerm) and not (term.centre and term.scale):
            batches = environments(configurations, term.cutoff, species=term.species)
            found[term.name] = standardisation(term.functions, batches)
    return with_standardisations(potential, found)


def standardisations(potential: InteratomicPotential) -> Standardisations:
    """Centre and scale of all symmetry functions, to be stored with a result."""
    return {
        term.name: (term.centre, term.scale)
        for term in interatomic_terms(potential)
        if isinstance(term, SymmetryTerm)
    }


def with_standardisations(potential: InteratomicPotential, found: Standardisations) -> InteratomicPotential:
    """The potential with these centres and scales where it has none of its own.

    Args:
        potential: a term or a sum.
        found: by the term's name.
    """

    def of(term: InteratomicPotential) -> InteratomicPotential:
        if not isinstance(term, SymmetryTerm) or term.name not in found:
            return term
        centre, scale = (tuple(values) for values in found[term.name])
        return dataclasses.replace(term, centre=term.centre or centre, scale=term.scale or scale)

    if not found:
        return potential
    return functools.reduce(operator.add, map(of, interatomic_terms(potential)))


def network_priors(potential: InteratomicPotential) -> dict[str, dist.Distribution]:
    """Default priors of the networks' weights and biases: normal about 0, whatever values the search starts from."""
    return {
        name: dist.Normal(0.0, scale)
        for term in interatomic_terms(potential)
        if isinstance(term, NeuralSymmetry)
        for name, scale in term.prior_scales().items()
    }


def _functions(table: SymmetryTable, species: tuple[str, ...]) -> SymmetryFunctions:
    if table.n_radial is None:
        return SymmetryFunctions(table.radial, table.angular, species=species, cutoff=table.cutoff)
    spread = functools.partial(
        SymmetryFunctions.spread,
        species=species, cutoff=table.cutoff, n_radial=table.n_radial, inner=table.inner,
    )  # fmt: skip
    return spread() if table.zetas is None else spread(zetas=table.zetas)
