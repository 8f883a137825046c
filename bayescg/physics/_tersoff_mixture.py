"""Tersoff's potential for mixtures: parameters of elements, combined by his rules."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._bond_order import BondOrderTerm, TersoffTable
from bayescg.physics._potential import ParameterInfo
from bayescg.physics._term_fields import as_floats, as_tuple, check_shapes, describe

_OF_SPECIES = ("A", "B", "decay", "mu", "beta", "n", "c", "d", "h")


class TersoffMixture(BondOrderTerm):
    """Tersoff's potential of 1989 for two or more elements.

    With a, b the species of i, j, the parameters of a bond are

        A_ab = √(A_a A_b),  B_ab = χ_ab √(B_a B_b),  λ_ab = (λ_a + λ_b)/2,  μ_ab = (μ_a + μ_b)/2,
        R_ab = √(R_a R_b),  S_ab = √(S_a S_b),

    and β, n, c, d, h are those of the central atom; the bond fades out between R_ab and S_ab. In the formula of
    `tersoff_energies`: λ₁ = λ, λ₂ = μ, cos θ₀ = h, γ = 1, λ₃ = 0.

    Attributes:
        A, B: strength of repulsion and attraction of each species [energy].
        decay: λ [1/length].
        mu: μ [1/length].
        beta, n, c, d, h: of the bond order.
        chi: χ of the unordered pairs of unlike species, counted (0, 1), (0, 2), …, (1, 2), ….
        R, S: where the neighbours of each species begin and end to fade out [length].
        species: chemical symbols.
        name: prefix of the parameters' names.

    Raises:
        InputError: a single species, for which `Tersoff` is meant; a wrong number of entries.

    Example:
        >>> silicon_carbide = TersoffMixture(
        ...     [1830.8, 1393.6], [471.18, 346.74], [2.4799, 3.4879], [1.7322, 2.2119], [1.1e-6, 1.5724e-7],
        ...     [0.78734, 0.72751], [100390.0, 38049.0], [16.217, 4.3484], [-0.59825, -0.57058], [0.9776],
        ...     R=(2.7, 1.8), S=(3.0, 2.1), species=("Si", "C"),
        ... )
        >>> silicon_carbide.cutoff
        3.0

    References:
        Tersoff (1989), doi:10.1103/PhysRevB.39.5566, eqs. 1 to 3 and table I; erratum doi:10.1103/PhysRevB.41.3248.2.
    """

    A: Float[Array, "*species"] = eqx.field(converter=as_floats)
    B: Float[Array, "*species"] = eqx.field(converter=as_floats)
    decay: Float[Array, "*species"] = eqx.field(converter=as_floats)
    mu: Float[Array, "*species"] = eqx.field(converter=as_floats)
    beta: Float[Array, "*species"] = eqx.field(converter=as_floats)
    n: Float[Array, "*species"] = eqx.field(converter=as_floats)
    c: Float[Array, "*species"] = eqx.field(converter=as_floats)
    d: Float[Array, "*species"] = eqx.field(converter=as_floats)
    h: Float[Array, "*species"] = eqx.field(converter=as_floats)
    chi: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    R: tuple[float, ...] = eqx.field(static=True, converter=as_tuple, kw_only=True)
    S: tuple[float, ...] = eqx.field(static=True, converter=as_tuple, kw_only=True)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    name: str = eqx.field(static=True, default="tersoff", kw_only=True)

    def __check_init__(self):
        n = len(self.species)
        if n < 2:
            raise InputError(
                f"potential '{self.name}': a mixture needs two species; use Tersoff for a single one"
            )
        check_shapes(self, _OF_SPECIES, n, "one for each")
        check_shapes(self, ("chi",), n * (n - 1) // 2, "one for each unordered pair of unlike species")
        if len(self.R) != n or len(self.S) != n or not all(0.0 < r < s for r, s in zip(self.R, self.S)):
            raise InputError(f"potential '{self.name}': R and S need {n} entries each, with 0 < R < S")

    @property  # type: ignore[misc]  # an AbstractVar may be a property
    def cutoff(self) -> float:  # type: ignore[override]
        """The largest S [length]."""
        return max(self.S)

    def table(self) -> TersoffTable:
        size = len(self.species)
        i, j, k = np.indices((size,) * 3)
        A, B, decay, mu, beta, n, c, d, h = (
            jnp.broadcast_to(getattr(self, field), (size,)) for field in _OF_SPECIES
        )
        upper = np.triu_indices(size, 1)
        half = jnp.zeros((size, size)).at[upper].set(self.chi)
        chi = (jnp.eye(size) + half + half.T)[i, j]
        inner, outer = (np.sqrt(np.outer(x, x)) for x in (self.R, self.S))
        return TersoffTable(
            A=jnp.sqrt(A[i] * A[j]),
            B=chi * jnp.sqrt(B[i] * B[j]),
            lambda1=0.5 * (decay[i] + decay[j]),
            lambda2=0.5 * (mu[i] + mu[j]),
            beta=beta[i],
            n=n[i],
            gamma=jnp.ones_like(chi),
            lambda3=jnp.zeros_like(chi),
            c=c[i],
            d=d[i],
            cos0=h[i],
            R=(0.5 * (inner + outer))[i, k],
            D=(0.5 * (outer - inner))[i, k],
            m=3,
        )

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        words = {
            "A": ("energy", "strength of the repulsion", "positive", 1000.0),
            "B": ("energy", "strength of the attraction", "positive", 100.0),
            "decay": ("1/length", "decay of the repulsion", "positive", 3.0),
            "mu": ("1/length", "decay of the attraction", "positive", 1.5),
            "beta": ("dimensionless", "strength of the bond order", "positive", 1e-6),
            "n": ("dimensionless", "exponent of the bond order", "positive", 1.0),
            "c": ("dimensionless", "strength of the angular dependence", "positive", 1e5),
            "d": ("dimensionless", "sharpness of the angular dependence", "positive", 10.0),
            "h": ("dimensionless", "cosine of the preferred angle", "real", 0.5),
            "chi": ("dimensionless", "strength of unlike bonds", "positive", 1.0),
        }
        return describe(self, words)
