"""Johnson's analytic embedded-atom model for face-centred cubic metals and their alloys."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.physics._embedded_atom import EmbeddedAtom
from bayescg.physics._interatomic import per_pair
from bayescg.physics._pair import smooth_switch
from bayescg.physics._potential import ParameterInfo
from bayescg.physics._term_fields import as_floats, check_shapes, describe


class Johnson(EmbeddedAtom):
    """Johnson's nearest-neighbour model: everything is exponential, alloys need no further parameters.

        f_b(r) = f_e e^{−β(r/r_e − 1)},    φ_aa(r) = φ_e e^{−γ(r/r_e − 1)},
        φ_ab = ½ (f_b/f_a φ_aa + f_a/f_b φ_bb),
        F(ρ) = −E_c [1 − (α/β) ln x] x^{α/β} − (z/2) φ_e x^{γ/β},    x = ρ/(z f_e),

    with z neighbours in the equilibrium lattice, which has the nearest-neighbour distance r_e and the cohesive
    energy E_c. Densities and pair energies are switched off between `onset` and the cutoff (`smooth_switch`), in
    the model of the paper between the first and the second neighbours.

    Each parameter is a scalar or has one entry for each species; f_e matters as a ratio between species, with one
    species not at all.

    Attributes:
        cohesion: E_c [energy].
        pair: φ_e [energy].
        alpha: α, that of the equation of state, 3 √(volume per atom · bulk modulus / E_c).
        beta: β, decay of the density.
        gamma: γ, decay of the pair energy.
        distance: r_e [length].
        strength: f_e, strength of the density.
        onset: where the switching starts [length].
        coordination: z.
        species: chemical symbols.
        cutoff: where it ends [length].
        name: prefix of the parameters' names.

    Raises:
        InputError: a wrong number of entries; an onset that is not below the cutoff.

    Example:
        >>> copper = Johnson(
        ...     3.54, 0.59, 5.09, 5.85, 8.0, 2.556, 0.3, onset=3.0, species=("Cu",), cutoff=3.4
        ... )
        >>> twelve_neighbours = jnp.array([12 * 0.3])
        >>> pairs = 6 * 0.59  # half of twelve at their equilibrium distance
        >>> energy = copper.embedding(twelve_neighbours, jnp.array([0]))[0] + pairs
        >>> round(float(energy), 3)  # minus the cohesive energy
        -3.54

    References:
        Johnson (1989), doi:10.1103/PhysRevB.39.12554, eqs. 1 to 8 and table I.
    """

    cohesion: Float[Array, "*species"] = eqx.field(converter=as_floats)
    pair: Float[Array, "*species"] = eqx.field(converter=as_floats)
    alpha: Float[Array, "*species"] = eqx.field(converter=as_floats)
    beta: Float[Array, "*species"] = eqx.field(converter=as_floats)
    gamma: Float[Array, "*species"] = eqx.field(converter=as_floats)
    distance: Float[Array, "*species"] = eqx.field(converter=as_floats)
    strength: Float[Array, "*species"] = eqx.field(converter=as_floats)
    onset: float = eqx.field(static=True, kw_only=True)
    coordination: int = eqx.field(static=True, default=12, kw_only=True)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    name: str = eqx.field(static=True, default="johnson", kw_only=True)

    def __check_init__(self):
        fields = ("cohesion", "pair", "alpha", "beta", "gamma", "distance", "strength")
        check_shapes(self, fields, len(self.species), "one for each")
        if not 0.0 < self.onset < self.cutoff:
            raise InputError(
                f"potential '{self.name}': onset {self.onset} must lie between 0 and the cutoff {self.cutoff}"
            )

    def density(
        self, r: Float[Array, "*edge"], centre: Int[Array, "*edge"], neighbour: Int[Array, "*edge"]
    ) -> Float[Array, "*edge"]:
        return self._bare_density(r, neighbour) * smooth_switch(r**2, onset=self.onset, cutoff=self.cutoff)

    def pair_energy(
        self, r: Float[Array, "*edge"], centre: Int[Array, "*edge"], neighbour: Int[Array, "*edge"]
    ) -> Float[Array, "*edge"]:
        ratio = self._bare_density(r, neighbour) / self._bare_density(r, centre)
        mean = 0.5 * (ratio * self._bare_pair(r, centre) + self._bare_pair(r, neighbour) / ratio)
        return mean * smooth_switch(r**2, onset=self.onset, cutoff=self.cutoff)

    def embedding(self, density: Float[Array, " atom"], centre: Int[Array, " atom"]) -> Float[Array, " atom"]:
        beta = per_pair(self.beta, centre)
        exponent = per_pair(self.alpha, centre) / beta
        logarithm = jnp.log(density / (self.coordination * per_pair(self.strength, centre)))
        cohesion = (
            per_pair(self.cohesion, centre) * (1.0 - exponent * logarithm) * jnp.exp(exponent * logarithm)
        )
        pairs = per_pair(self.pair, centre) * jnp.exp(per_pair(self.gamma, centre) / beta * logarithm)
        return -cohesion - 0.5 * self.coordination * pairs

    def _bare_density(self, r: Float[Array, "*edge"], species: Int[Array, "*edge"]) -> Float[Array, "*edge"]:
        distance, beta = per_pair(self.distance, species), per_pair(self.beta, species)
        return per_pair(self.strength, species) * jnp.exp(-beta * (r / distance - 1.0))

    def _bare_pair(self, r: Float[Array, "*edge"], species: Int[Array, "*edge"]) -> Float[Array, "*edge"]:
        distance, gamma = per_pair(self.distance, species), per_pair(self.gamma, species)
        return per_pair(self.pair, species) * jnp.exp(-gamma * (r / distance - 1.0))

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        words = {
            "cohesion": ("energy", "cohesive energy", "positive", 4.0),
            "pair": ("energy", "pair energy of nearest neighbours", "positive", 0.5),
            "alpha": ("dimensionless", "equation of state", "positive", 5.0),
            "beta": ("dimensionless", "decay of the density", "positive", 6.0),
            "gamma": ("dimensionless", "decay of the pair energy", "positive", 8.0),
            "distance": ("length", "nearest-neighbour distance", "positive", 2.5),
            "strength": ("dimensionless", "strength of the density", "positive", 0.3),
        }
        return describe(self, words)
