"""Potentials given directly by their features: the double well and any user-supplied linear model."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._potential import NamedPotential, ParameterInfo


class LinearPotential(NamedPotential):
    """U_θ(x) = θ · φ(x) with features computed by a function.

    Attributes:
        theta: coefficients [energy / unit of the feature].
        function: (positions [site dim], box [dim]) → features [feature]; must be a plain module-level
            function (it is compared by identity when code is compiled).
        name: prefix of the parameter's name `<name>_theta`.

    Example:
        >>> def squares(positions, box):
        ...     return jnp.sum(positions**2)[None] / 2
        >>> spring = LinearPotential(jnp.array([3.0]), function=squares)
        >>> float(spring.energy(jnp.ones((1, 2)), jnp.full(2, jnp.inf)))
        3.0
    """

    theta: Float[Array, " feature"] = eqx.field(converter=jnp.asarray)
    function: Callable[[Array, Array], Array] = eqx.field(static=True, kw_only=True)
    name: str = eqx.field(static=True, default="linear", kw_only=True)

    def __check_init__(self):
        if self.theta.ndim != 1:
            raise InputError(
                f"potential '{self.name}': theta must be a vector, found shape {self.theta.shape}"
            )

    def coefficients(self) -> Float[Array, " feature"]:
        return self.theta

    def features(
        self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
    ) -> Float[Array, " feature"]:
        return self.function(positions, box)

    def parameters(self) -> tuple[ParameterInfo, ...]:
        labels = tuple(float(i) for i in range(self.theta.size))
        return (
            ParameterInfo(
                f"{self.name}_theta",
                "energy",
                "coefficients of the features",
                "real",
                1.0,
                self.theta.shape,
                labels,
            ),
        )


class DoubleWell(NamedPotential):
    """External potential U = Σ_i [−t₁ x_i²/2 + t₂ x_i⁴/4] over all coordinates; wells at ±√(t₁/t₂).

    Attributes:
        t1: strength of the barrier [energy/length²].
        t2: strength of the confinement, positive for a normalisable density [energy/length⁴].
        name: prefix of the parameters' names.

    Example:
        >>> well = DoubleWell(1.0, 1.0)
        >>> float(well.energy(jnp.ones((1, 1)), jnp.array([jnp.inf])))
        -0.25
    """

    t1: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    t2: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    name: str = eqx.field(static=True, default="well", kw_only=True)

    def coefficients(self) -> Float[Array, " feature"]:
        return jnp.stack([self.t1, self.t2])

    def features(
        self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
    ) -> Float[Array, " feature"]:
        square = positions**2
        return jnp.stack([-jnp.sum(square) / 2.0, jnp.sum(square**2) / 4.0])

    def parameters(self) -> tuple[ParameterInfo, ...]:
        return (
            ParameterInfo(f"{self.name}_t1", "dimensionless", "barrier strength", "real", 1.0, ()),
            ParameterInfo(f"{self.name}_t2", "dimensionless", "confinement strength", "positive", 1.0, ()),
        )
