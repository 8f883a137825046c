"""Several models' features side by side, so that one simulation speaks of all of them."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._linear import LinearPotential
from bayescg.physics._pair import PairPotential
from bayescg.physics._potential import ParameterInfo, Potential, SumPotential, terms_of


class LinearPair(PairPotential):
    """A pair potential given by its basis functions, linear in all its parameters.

    Attributes:
        weights: coefficients of the basis functions [energy / unit of the feature].
        basis: squared distances [pair] → basis functions [pair feature], zero beyond the cutoff; compared by identity.
        cutoff: cutoff distance [length].
        name: prefix of the parameter's name.
    """

    weights: Float[Array, " feature"] = eqx.field(converter=jnp.asarray)
    basis: Callable[[Array], Array] = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    name: str = eqx.field(static=True, default="linear", kw_only=True)
    tabulated = True

    def coefficients(self) -> Float[Array, " feature"]:
        return self.weights

    def pair_basis(self, r2: Float[Array, "*pair"]) -> Float[Array, "*pair feature"]:
        return self.basis(r2)

    def parameters(self) -> tuple[ParameterInfo, ...]:
        labels = tuple(float(i) for i in range(self.weights.size))
        return (
            ParameterInfo(
                f"{self.name}_weights", "energy", "coefficients of the basis functions", "real", 1.0,
                self.weights.shape, labels,
            ),
        )  # fmt: skip


class JointForm:
    """The potential Σ_k λ_k U_k of several models, with the features of all of them.

    A frame sampled from any mixture carries every model's features, so that its energy under each of them is known:
    what a common normalisation of models of different forms needs.

    Args:
        models: one potential for each form, at the parameters between which log Z is wanted.

    Attributes:
        potential: the sum of all models; a form for a `Simulator`.

    Raises:
        InputError: no model.

    Example:
        >>> from bayescg.physics import DoubleWell
        >>> spring = DoubleWell(-1.0, 0.0)
        >>> joint = JointForm([spring, DoubleWell(1.0, 1.0)])
        >>> joint.mixture(np.array([1.0, 0.0])).coefficients().tolist()  # the spring alone
        [-1.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, models: Sequence[Potential]):
        if not models:
            raise InputError("a joint form needs at least one model")
        self._terms = [
            [_linear(term, f"model{k}_term{i}") for i, term in enumerate(terms_of(model))]
            for k, model in enumerate(models)
        ]
        self._coefficients = [np.asarray(model.coefficients(), np.float64) for model in models]
        self.potential = self.mixture(np.ones(len(models)))

    @property
    def n_models(self) -> int:
        """Number of models."""
        return len(self._terms)

    def own(self, model: int) -> slice:
        """Where a model's features lie among all."""
        start = sum(len(c) for c in self._coefficients[:model])
        return slice(start, start + len(self._coefficients[model]))

    def coefficients(self, model: int) -> Float[np.ndarray, " feature"]:
        """η of one model alone, zeros for the features of the others."""
        every = np.zeros(sum(len(c) for c in self._coefficients))
        every[self.own(model)] = self._coefficients[model]
        return every

    def mixture(self, weights: Float[np.ndarray, " model"]) -> Potential:
        """Σ_k λ_k U_k."""
        scaled = [
            _scaled(term, float(weight))
            for weight, terms in zip(weights, self._terms, strict=True)
            for term in terms
        ]
        return SumPotential(tuple(scaled))


def _linear(term: Potential, name: str) -> LinearPair | LinearPotential:
    # Functions of their own: a bound method of a pytree of arrays could not be compared when code is compiled.
    if isinstance(term, PairPotential):
        pair = term

        def basis(r2: Array) -> Array:
            return pair.pair_basis(r2)

        return LinearPair(term.coefficients(), basis=basis, cutoff=term.cutoff, name=name)

    def features(positions: Array, box: Array) -> Array:
        return term.features(positions, box)

    return LinearPotential(term.coefficients(), function=features, name=name)


def _scaled(term: LinearPair | LinearPotential, factor: float) -> Potential:
    name = term.parameters()[0].name
    return term.with_parameters({name: factor * term.coefficients()})
