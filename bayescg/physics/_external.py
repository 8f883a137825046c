"""External potentials of one coordinate: the harmonic well and the Fourier series of an angle."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayescg.physics._potential import NamedPotential, ParameterInfo


class HarmonicWell(NamedPotential):
    """External potential U = Σ_i k x_i²/2 over all coordinates.

    Attributes:
        k: stiffness, positive for a normalisable density [energy/length²].
        name: prefix of the parameter's name.

    Example:
        >>> spring = HarmonicWell(3.0)
        >>> float(spring.energy(jnp.ones((1, 2)), jnp.full(2, jnp.inf)))
        3.0
    """

    k: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    name: str = eqx.field(static=True, default="well", kw_only=True)

    def coefficients(self) -> Float[Array, " feature"]:
        return self.k[None]

    def features(
        self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
    ) -> Float[Array, " feature"]:
        return jnp.sum(positions**2)[None] / 2.0

    def parameters(self) -> tuple[ParameterInfo, ...]:
        return (ParameterInfo(f"{self.name}_k", "dimensionless", "stiffness", "positive", 1.0, ()),)


class AngleFourier(NamedPotential):
    """Potential of angles, U = −Σ_i [κ₁ cos ϑ_i + κ₂ cos 2ϑ_i] over all coordinates.

    A coordinate in a periodic box of edge L is the angle ϑ = 2π x/L, so the box of an angle has the edge 2π; in an open
    direction ϑ = x. With β = 1 the density is ∝ exp(κ₁ cos ϑ + κ₂ cos 2ϑ), von Mises' where κ₂ = 0.

    Attributes:
        kappa1: strength of the first harmonic [energy].
        kappa2: strength of the second harmonic [energy].
        name: prefix of the parameters' names.

    Example:
        >>> angle = AngleFourier(1.0, 0.5)
        >>> round(float(angle.energy(jnp.array([[0.0]]), jnp.array([2 * jnp.pi]))), 6)
        -1.5

    References:
        Mardia & Jupp (2000), doi:10.1002/9780470316979, section 3.5.4.
    """

    kappa1: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    kappa2: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    name: str = eqx.field(static=True, default="angle", kw_only=True)

    def coefficients(self) -> Float[Array, " feature"]:
        return jnp.stack([self.kappa1, self.kappa2])

    def features(
        self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
    ) -> Float[Array, " feature"]:
        angle = positions * jnp.where(jnp.isinf(box), 1.0, 2.0 * jnp.pi / box)
        return -jnp.stack([jnp.sum(jnp.cos(angle)), jnp.sum(jnp.cos(2.0 * angle))])

    def parameters(self) -> tuple[ParameterInfo, ...]:
        return (
            ParameterInfo(f"{self.name}_kappa1", "energy", "strength of the first harmonic", "real", 1.0, ()),
            ParameterInfo(
                f"{self.name}_kappa2", "energy", "strength of the second harmonic", "real", 1.0, ()
            ),
        )
