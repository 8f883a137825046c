"""What an interatomic potential is: a sum of site energies, each a function of the atom's neighbourhood."""

import abc
import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.physics._potential import ParameterInfo, Parametrised, check_names


class InteratomicPotential(Parametrised):
    """U = Σ_i e_i, each atom's energy from its type and the vectors to its neighbours.

    An immutable pytree whose array leaves are the parameters; forces, stresses and gradients follow by automatic
    differentiation (`predict`).

    Attributes:
        species: chemical symbols that the types count along.
        cutoff: no neighbour beyond it has any effect [length].

    Example:
        >>> from bayescg.physics import SpeciesEnergies, StillingerWeber
        >>> potential = StillingerWeber.silicon().vary("sw_A", "sw_lambda") + SpeciesEnergies([-0.1], species=("Si",))
        >>> sorted(potential.parameter_values())
        ['offset_energies', 'sw_A', 'sw_lambda']
    """

    species: eqx.AbstractVar[tuple[str, ...]]
    cutoff: eqx.AbstractVar[float]

    @abc.abstractmethod
    def site_energies(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        """e_i of every atom [energy]; differentiable everywhere, fillers far beyond the cutoff included.

        Args:
            vectors: from the atom to its neighbours [length].
            types: species index of the atom.
            neighbour_types: species index of its neighbours.
        """

    @abc.abstractmethod
    def hold(self, *names: str) -> Self:
        """A copy in which these parameters keep their present values: they are no longer among `parameters`.

        Raises:
            InputError: a name that is not among `parameters`.
        """

    def vary(self, *names: str) -> Self:
        """A copy in which exactly these parameters vary; all others keep their present values.

        Raises:
            InputError: a name that is not among `parameters`.
        """
        known = self.parameter_values()
        _check_known(names, known)
        return self.hold(*(name for name in known if name not in names))

    def __add__(self, other: "InteratomicPotential") -> "InteratomicSum":
        return _sum_of((*interatomic_terms(self), *interatomic_terms(other)))


class InteratomicTerm(InteratomicPotential):
    """A single term: its array fields are parameters called `<name>_<field>`, without a field's closing underscore.

    Attributes:
        name: prefix of the parameters' names.
        held: fields that keep their values; set by `hold` and `vary`.
    """

    name: eqx.AbstractVar[str]
    held: tuple[str, ...] = eqx.field(static=True, default=(), kw_only=True)

    @abc.abstractmethod
    def field_infos(self) -> tuple[ParameterInfo, ...]:
        """Name, quantity and scale of every array field, in their order, held or not."""

    def parameters(self) -> tuple[ParameterInfo, ...]:
        varying = self.parameter_values()
        return tuple(info for info in self.field_infos() if info.name in varying)

    def parameter_values(self) -> dict[str, Array]:
        return {name: getattr(self, field) for name, field in self._varying_fields().items()}

    def with_parameters(self, values: Mapping[str, Array]) -> Self:
        fields = self._varying_fields()
        check_names(values, fields, what=f"potential '{self.name}'")
        replacements: dict[str, Any] = {fields[name]: jnp.asarray(value) for name, value in values.items()}
        return dataclasses.replace(self, **replacements)

    def hold(self, *names: str) -> Self:
        fields = self._varying_fields()
        _check_known(names, fields)
        return dataclasses.replace(self, held=(*self.held, *(fields[name] for name in names)))

    def _varying_fields(self) -> dict[str, str]:
        """Field by parameter name, of the parameters that vary."""
        return {
            f"{self.name}_{field.name.rstrip('_')}": field.name
            for field in dataclasses.fields(self)
            if not field.metadata.get("static", False) and field.name not in self.held
        }


class InteratomicSum(InteratomicPotential):
    """Sum of interatomic potentials for the same species.

    Attributes:
        terms: the potentials added, none of them a sum when made with `+`.

    Raises:
        InputError: two terms share a parameter's name or differ in their species.

    Example:
        >>> from bayescg.physics import LennardJonesPairs
        >>> argon = LennardJonesPairs(0.01, 3.4, species=("Ar",), cutoff=8.0)
        >>> total = argon + SpeciesEnergies([-0.02], species=("Ar",))
        >>> len(total.terms), total.cutoff
        (2, 8.0)
    """

    terms: tuple[InteratomicPotential, ...]

    def __check_init__(self):
        species = {term.species for term in self.terms}
        if len(species) != 1:
            raise InputError(
                "the terms of a sum have different species: "
                + "; ".join(", ".join(symbols) for symbols in sorted(species))
                + "; give all of them the same, in the same order"
            )
        names = [name for term in self.terms for name in term.parameter_values()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"two terms of a sum share the parameter names {', '.join(twice)}: give each term its own `name`"
            )

    @property  # type: ignore[misc]  # an AbstractVar may be a property
    def species(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the terms."""
        return self.terms[0].species

    @property  # type: ignore[misc]
    def cutoff(self) -> float:  # type: ignore[override]
        """The largest of the terms [length]."""
        return max(term.cutoff for term in self.terms)

    def site_energies(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        first, *others = (term.site_energies(vectors, types, neighbour_types) for term in self.terms)
        return sum(others, first)

    def parameters(self) -> tuple[ParameterInfo, ...]:
        return tuple(info for term in self.terms for info in term.parameters())

    def parameter_values(self) -> dict[str, Array]:
        return {name: value for term in self.terms for name, value in term.parameter_values().items()}

    def with_parameters(self, values: Mapping[str, Array]) -> "InteratomicSum":
        check_names(values, self.parameter_values(), what="the sum of potentials")
        return _sum_of(
            tuple(
                term.with_parameters({name: values[name] for name in term.parameter_values()})
                for term in self.terms
            )
        )

    def hold(self, *names: str) -> "InteratomicSum":
        _check_known(names, self.parameter_values())
        return _sum_of(
            tuple(
                term.hold(*(name for name in names if name in term.parameter_values())) for term in self.terms
            )
        )


def interatomic_terms(potential: InteratomicPotential) -> tuple[InteratomicPotential, ...]:
    """The terms of a sum; a single potential is its own only term."""
    return potential.terms if isinstance(potential, InteratomicSum) else (potential,)


def _sum_of(terms: tuple[InteratomicPotential, ...]) -> InteratomicSum:
    return InteratomicSum(terms=terms)  # type: ignore[call-arg]  # mypy counts the abstract variables as fields


class SpeciesEnergies(InteratomicTerm):
    """An energy for every atom of a species, whatever its surroundings: e_i = ε[type of i].

    The offset between the zero of a data set's energies and that of a potential.

    Attributes:
        energies: of an atom of each species [energy].
        species: chemical symbols.
        name: prefix of the parameter's name `<name>_energies`.

    Raises:
        InputError: another number of energies than species.

    Example:
        >>> offset = SpeciesEnergies([-3.5, -4.1], species=("Si", "C"))
        >>> offset.cutoff, [info.name for info in offset.parameters()]
        (0.0, ['offset_energies'])
    """

    energies: Float[Array, " species"] = eqx.field(converter=partial(jnp.asarray, dtype=float))
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    name: str = eqx.field(static=True, default="offset", kw_only=True)

    def __check_init__(self):
        if jnp.shape(self.energies) != (len(self.species),):
            raise InputError(
                f"potential '{self.name}': one energy for each of {', '.join(self.species)} is expected,"
                f" found an array of shape {jnp.shape(self.energies)}"
            )

    @property  # type: ignore[misc]
    def cutoff(self) -> float:  # type: ignore[override]
        """0: no neighbour has any effect."""
        return 0.0

    def site_energies(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        return self.energies[types]

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        return (
            ParameterInfo(
                f"{self.name}_energies",
                "energy",
                "energy of an atom without neighbours",
                "real",
                10.0,
                self.energies.shape,
                tuple(float(i) for i in range(len(self.species))),
            ),
        )


def n_pairs(n_species: int) -> int:
    """Number of unordered pairs of species, equal ones included."""
    return n_species * (n_species + 1) // 2


def pair_index(n_species: int) -> Int[np.ndarray, "species species"]:
    """Index of each unordered pair of species, in the order (0, 0), (0, 1), …, (1, 1), …

    Example:
        >>> pair_index(2).tolist()
        [[0, 1], [1, 2]]
    """
    index = np.zeros((n_species, n_species), int)
    upper = np.triu_indices(n_species)
    index[upper] = np.arange(len(upper[0]))
    return np.maximum(index, index.T)


def pair_labels(species: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the unordered pairs of species in the order of `pair_index`, e.g. `Si-C`."""
    return tuple(f"{a}-{b}" for i, a in enumerate(species) for b in species[i:])


def components(
    vectors: Float[Array, "3 *edge"],
) -> tuple[Float[Array, "*edge"], Float[Array, "*edge"], Float[Array, "*edge"]]:
    """The three components along the first axis.

    By a split, whose derivative is one concatenation; that of indexing would be a sum of three filled-up arrays.
    """
    x, y, z = (jnp.squeeze(row, 0) for row in jax.lax.split(vectors, (1, 1, 1), axis=0))
    return x, y, z


def neighbour_rows(
    vectors: Float[Array, "atom neighbour 3"],
) -> tuple[Float[Array, "neighbour atom"], Float[Array, "neighbour atom"], Float[Array, "neighbour atom"]]:
    """The three components of the vectors [length], atoms innermost, so that every loop over them vectorises."""
    return components(jnp.transpose(vectors))


def kept(values: Float[Array, "*any"], types: Int[Array, " atom"]) -> Float[Array, "*any"]:
    """The same values, bit by bit, computed once and stored, and so are their derivatives.

    XLA computes products and sums anew in every reduction that uses them, which makes sums over neighbours several
    times slower (and gradients even more); a division it does only once. The divisor is 1, which XLA cannot know.

    Args:
        values: needed by several sums.
        types: species indices, none negative.
    """
    return values / jnp.where(types[0] >= 0, 1.0, 2.0)


def per_pair(
    values: Float[Array, "*pair"], pairs: Int[Array, "*edge"]
) -> Float[Array, "*edge"] | Float[Array, ""]:
    """The value of each edge's pair of species: a scalar holds for all pairs, an array has one for each.

    By selection rather than by a gather, whose derivative would be a slow scatter.

    Args:
        values: a parameter, a scalar or one for each pair, [] or [pair].
        pairs: index of the pair of each edge, see `pair_index`.
    """
    if values.ndim == 0:
        return values
    chosen = jnp.full(pairs.shape, values[0])
    for k in range(1, len(values)):
        chosen = jnp.where(pairs == k, values[k], chosen)
    return chosen


def _check_known(names: tuple[str, ...], known: Mapping) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise InputError(f"unknown parameters {', '.join(unknown)}; those that vary are {', '.join(known)}")
