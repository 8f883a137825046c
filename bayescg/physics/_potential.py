"""What a potential is: an immutable pytree that is linear in its features.

Every potential of the package is written as a curved exponential family,

    U_θ(x) = η(θ) · φ(x),

with features φ that do not know the parameters and coefficients η(θ) that do not know the frame.
A frame then enters the likelihood, the free energy and every reweighted average only through φ(x),
which is computed once.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayescg.errors import InputError


class ParameterInfo(NamedTuple):
    """Name, meaning and size of one parameter array of a potential.

    Attributes:
        name: path in the tree joined by underscores, e.g. `water_epsilon`.
        quantity: what it measures: `energy`, `length` or `dimensionless` (the unit follows from the unit system).
        long_name: the field's words for it.
        support: `positive` or `real`.
        scale: size of a typical value, for a default prior [unit of the quantity].
        shape: shape of the array; `()` for a scalar.
        coordinate: values labelling the entries of an array, e.g. knot positions [length]; empty for a scalar.

    Example:
        >>> depth = ParameterInfo("lj_epsilon", "energy", "well depth", "positive", 1.0, ())
        >>> depth.quantity, depth.shape
        ('energy', ())
    """

    name: str
    quantity: str
    long_name: str
    support: str
    scale: float
    shape: tuple[int, ...]
    coordinate: tuple[float, ...] = ()


class Parametrised(eqx.Module):
    """An immutable pytree whose array leaves are parameters, known by name; what a prior needs of a potential."""

    @abc.abstractmethod
    def parameters(self) -> tuple[ParameterInfo, ...]:
        """Names, units and scales of the parameters that vary, in the order of the tree's leaves."""

    @abc.abstractmethod
    def parameter_values(self) -> dict[str, Array]:
        """The parameter arrays that vary, by name."""

    @abc.abstractmethod
    def with_parameters(self, values: Mapping[str, Array]) -> Self:
        """A copy with all parameters that vary replaced.

        Raises:
            InputError: when a name is unknown or missing.
        """


class Potential(Parametrised):
    """Potential energy U_θ of a configuration; its array leaves are the parameters θ.

    Example:
        >>> from bayescg.physics import DoubleWell, LennardJones
        >>> potential = LennardJones(1.0, 1.0, cutoff=2.5) + DoubleWell(0.0, 0.1)
        >>> sorted(potential.parameter_values())
        ['lj_epsilon', 'lj_sigma', 'well_t1', 'well_t2']
    """

    @abc.abstractmethod
    def coefficients(self) -> Float[Array, " feature"]:
        """η(θ), the coefficients of the features [energy / unit of the feature]."""

    @abc.abstractmethod
    def features(
        self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
    ) -> Float[Array, " feature"]:
        """φ(x), the sufficient statistics of a configuration (independent of θ)."""

    def energy(self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]) -> Float[Array, ""]:
        """U_θ(x) [energy] of positions [length] in a box of edges [length] (`inf`: open direction)."""
        return self.coefficients() @ self.features(positions, box)

    def forces(
        self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
    ) -> Float[Array, "site dim"]:
        """−∂U/∂x [energy/length], by automatic differentiation."""
        return -jax.grad(self.energy)(positions, box)

    def __add__(self, other: "Potential") -> "SumPotential":
        return SumPotential((*terms_of(self), *terms_of(other)))


class NamedPotential(Potential):
    """A single term: its array fields are parameters called `<name>_<field>`."""

    name: eqx.AbstractVar[str]

    def parameter_values(self) -> dict[str, Array]:
        return {
            f"{self.name}_{field.name}": getattr(self, field.name)
            for field in dataclasses.fields(self)
            if not field.metadata.get("static", False)
        }

    def with_parameters(self, values: Mapping[str, Array]) -> Self:
        fields = {
            f"{self.name}_{field.name}": field.name
            for field in dataclasses.fields(self)
            if not field.metadata.get("static", False)
        }
        check_names(values, fields, what=f"potential '{self.name}'")
        replacements: dict[str, Any] = {fields[name]: jnp.asarray(value) for name, value in values.items()}
        return dataclasses.replace(self, **replacements)


class SumPotential(Potential):
    """Sum of potentials; features and coefficients are concatenated.

    Attributes:
        terms: the potentials added, none of them a sum when made with `+`.

    Raises:
        InputError: two terms share a parameter's name.

    Example:
        >>> from bayescg.physics import LennardJones
        >>> two = LennardJones(1.0, 1.0, cutoff=2.5) + LennardJones(0.1, 2.0, cutoff=3.0, name="wide")
        >>> two.coefficients().shape
        (4,)
    """

    terms: tuple[Potential, ...]

    def __check_init__(self):
        names = [info.name for term in self.terms for info in term.parameters()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"two terms of a sum share the parameter names {', '.join(twice)}: give each term its own `name`"
            )

    def coefficients(self) -> Float[Array, " feature"]:
        return jnp.concatenate([term.coefficients() for term in self.terms])

    def features(
        self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
    ) -> Float[Array, " feature"]:
        return jnp.concatenate([term.features(positions, box) for term in self.terms])

    def parameters(self) -> tuple[ParameterInfo, ...]:
        return tuple(info for term in self.terms for info in term.parameters())

    def parameter_values(self) -> dict[str, Array]:
        return {name: value for term in self.terms for name, value in term.parameter_values().items()}

    def with_parameters(self, values: Mapping[str, Array]) -> "SumPotential":
        check_names(values, self.parameter_values(), what="the sum of potentials")
        return SumPotential(
            tuple(
                term.with_parameters({name: values[name] for name in term.parameter_values()})
                for term in self.terms
            )
        )

    def energy(self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]) -> Float[Array, ""]:
        return sum((term.energy(positions, box) for term in self.terms), jnp.zeros((), positions.dtype))


def terms_of(potential: Potential) -> tuple[Potential, ...]:
    """The terms of a sum; a single potential is its own only term."""
    return potential.terms if isinstance(potential, SumPotential) else (potential,)


def check_names(given: Mapping, known: Mapping, *, what: str) -> None:
    """Raise an InputError that lists unknown and missing parameter names."""
    unknown, missing = sorted(set(given) - set(known)), sorted(set(known) - set(given))
    if unknown or missing:
        problems = [f"unknown {', '.join(unknown)}"] if unknown else []
        problems += [f"missing {', '.join(missing)}"] if missing else []
        raise InputError(f"parameters of {what}: {'; '.join(problems)}; it has {', '.join(sorted(known))}")
