"""Pair potentials with exact sufficient statistics: the base class and Lennard-Jones."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._potential import NamedPotential, ParameterInfo
from bayescg.physics._space import pair_distances_squared

CUTOFF_CONVENTIONS = ("truncated", "shifted", "smooth")


class PairPotential(NamedPotential):
    """Sum of u_θ(r) over all pairs, zero at and beyond a fixed cutoff.

    Written in the squared distance s = r², so that no square root is taken where none is needed:
    u(s) = η(θ) · b(s), with basis functions b. The pair force is f(s) r with f = −2 du/ds.

    Attributes:
        cutoff: distance beyond which the pair energy is zero [length].
    """

    cutoff: eqx.AbstractVar[float]
    tabulated: eqx.AbstractClassVar[bool]
    """Whether the engine samples the piecewise-linear table of u(s) (True) or the analytic force (False)."""

    @abc.abstractmethod
    def pair_basis(self, r2: Float[Array, "*pair"]) -> Float[Array, "*pair feature"]:
        """b(s), the basis functions at squared distances [length²], zero beyond the cutoff."""

    def pair_energy(self, r2: Float[Array, "*pair"]) -> Float[Array, "*pair"]:
        """u(s) [energy] at squared distances [length²]."""
        return self.pair_basis(r2) @ self.coefficients()

    def pair_force_factor(self, r2: Float[Array, "*pair"]) -> Float[Array, "*pair"]:
        """f/r = −2 du/ds [energy/length²] at squared distances [length²]."""
        return -2.0 * jax.jvp(self.pair_energy, (r2,), (jnp.ones_like(r2),))[1]

    def features(
        self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
    ) -> Float[Array, " feature"]:
        return jnp.sum(self.pair_basis(pair_distances_squared(positions, box)), axis=0)

    def energy(self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]) -> Float[Array, ""]:
        return jnp.sum(self.pair_energy(pair_distances_squared(positions, box)))


def smooth_switch(r2: Float[Array, "*pair"], *, onset: float, cutoff: float) -> Float[Array, "*pair"]:
    """Switching function, 1 below the onset and 0 beyond the cutoff, with a continuous force.

    S(s) = (c − s)² (c + 2s − 3o) / (c − o)³ with o, c the squared onset and cutoff.

    Args:
        r2: squared distances [length²].
        onset: distance where the switching starts [length].
        cutoff: distance where it ends [length].

    References:
        Brooks et al. (1983), doi:10.1002/jcc.540040211, eq. 13.
    """
    o, c = onset**2, cutoff**2
    inside = (c - r2) ** 2 * (c + 2.0 * r2 - 3.0 * o) / (c - o) ** 3
    return jnp.where(r2 <= o, 1.0, jnp.where(r2 < c, inside, 0.0))


class LennardJones(PairPotential):
    """Lennard-Jones 12-6: u(r) = 4ε[(σ/r)¹² − (σ/r)⁶] for r < r_c, else 0.

    Linear in (4εσ¹², −4εσ⁶), so a frame's sufficient statistics are its sums of r⁻¹² and r⁻⁶ (cut
    by the same convention). The convention is explicit:

    * `truncated`: the bare formula, a jump of u(r_c) at the cutoff. Dynamics without an impulse at the
      cutoff sample the *shifted* potential, whatever energies they report (see `continuous`).
    * `shifted`: u(r) − u(r_c); continuous energy, a jump in the force.
    * `smooth`: u(r) S(r), switched off between `onset` and the cutoff (see `smooth_switch`).

    Attributes:
        epsilon: well depth [energy].
        sigma: distance of zero energy [length].
        cutoff: cutoff distance [length].
        convention: one of `truncated`, `shifted`, `smooth`.
        onset: start of the switching function [length]; only for `smooth`.
        name: prefix of the parameters' names.

    Raises:
        InputError: cutoff, convention and onset do not fit together.

    Example:
        >>> argon = LennardJones(0.238, 3.405, cutoff=10.215, convention="shifted", name="argon")
        >>> float(argon.pair_energy(jnp.asarray(10.215**2)))
        0.0

    References:
        Jones (1924), doi:10.1098/rspa.1924.0082.
    """

    epsilon: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    sigma: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    cutoff: float = eqx.field(static=True, kw_only=True)
    convention: str = eqx.field(static=True, default="shifted", kw_only=True)
    onset: float | None = eqx.field(static=True, default=None, kw_only=True)
    name: str = eqx.field(static=True, default="lj", kw_only=True)
    tabulated = False

    def __check_init__(self):
        check_cutoff(self.name, self.cutoff, self.convention, self.onset)

    def coefficients(self) -> Float[Array, " feature"]:
        s6 = self.sigma**6
        return 4.0 * self.epsilon * jnp.stack([s6 * s6, -s6])

    def pair_basis(self, r2: Float[Array, "*pair"]) -> Float[Array, "*pair feature"]:
        inside = r2 < self.cutoff**2
        inverse6 = 1.0 / jnp.where(inside, r2, 1.0) ** 3
        powers = jnp.stack([inverse6 * inverse6, inverse6], axis=-1)
        if self.convention == "shifted":
            powers = powers - jnp.asarray([self.cutoff**-12, self.cutoff**-6], powers.dtype)
        elif self.onset is not None:
            powers = powers * smooth_switch(r2, onset=self.onset, cutoff=self.cutoff)[..., None]
        return jnp.where(inside[..., None], powers, 0.0)

    def pair_force_factor(self, r2: Float[Array, "*pair"]) -> Float[Array, "*pair"]:
        if self.convention == "smooth":
            return super().pair_force_factor(r2)
        inverse2 = 1.0 / r2
        attraction = (self.sigma * self.sigma * inverse2) ** 3
        factor = 24.0 * self.epsilon * inverse2 * attraction * (2.0 * attraction - 1.0)
        return jnp.where(r2 < self.cutoff**2, factor, 0.0)

    def continuous(self) -> "LennardJones":
        """The potential that dynamics with these forces sample: the shifted one for a bare truncation."""
        if self.convention != "truncated":
            return self
        return LennardJones(
            self.epsilon, self.sigma, cutoff=self.cutoff, convention="shifted", name=self.name
        )

    def parameters(self) -> tuple[ParameterInfo, ...]:
        return (
            ParameterInfo(f"{self.name}_epsilon", "energy", "Lennard-Jones well depth", "positive", 1.0, ()),
            ParameterInfo(
                f"{self.name}_sigma", "length", "Lennard-Jones diameter", "positive", self.cutoff / 3.0, ()
            ),
        )


def check_cutoff(name: str, cutoff: float, convention: str, onset: float | None) -> None:
    """Raise an InputError unless cutoff, convention and onset fit together."""
    if not cutoff > 0.0:
        raise InputError(f"potential '{name}': cutoff {cutoff} must be positive")
    if convention not in CUTOFF_CONVENTIONS:
        raise InputError(
            f"potential '{name}': cutoff convention '{convention}' is unknown,"
            f" use one of {', '.join(CUTOFF_CONVENTIONS)}"
        )
    if (convention == "smooth") != (onset is not None):
        raise InputError(f"potential '{name}': `onset` belongs to the convention 'smooth', and only to it")
    if onset is not None and not 0.0 < onset < cutoff:
        raise InputError(f"potential '{name}': onset {onset} must lie between 0 and the cutoff {cutoff}")
