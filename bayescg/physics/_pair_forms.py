"""Pair formulas over several species: Lennard-Jones, Mie, Morse and Gaussian bumps.

Parameters of pairs are scalars or arrays in the order of `pair_index`; cutoffs and pairs
that are left out follow the conventions of `PairForm`.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bayescg.physics._interatomic import per_pair
from bayescg.physics._pair_form import PairForm, check_pair_form, interacting
from bayescg.physics._potential import ParameterInfo
from bayescg.physics._term_fields import as_floats, check_rows, describe


class LennardJonesPairs(PairForm):
    """Lennard-Jones 12-6 over species pairs: u(r) = 4ε[(σ/r)¹² − (σ/r)⁶].

    Attributes:
        epsilon: well depth [energy].
        sigma: distance of zero energy [length].
        species: chemical symbols.
        cutoff: cutoff distance [length].
        convention, onset: what happens at the cutoff, see `PairForm`.
        without, between_molecules: pairs left out, see `PairForm`.
        name: prefix of the parameters' names.

    Example:
        >>> argon = LennardJonesPairs(0.0103, 3.405, species=("Ar",), cutoff=8.5)
        >>> [info.name for info in argon.parameters()]
        ['lj_epsilon', 'lj_sigma']

    References:
        Jones (1924), doi:10.1098/rspa.1924.0082.
    """

    epsilon: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    sigma: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    convention: str = eqx.field(static=True, default="shifted", kw_only=True)
    onset: float | None = eqx.field(static=True, default=None, kw_only=True)
    name: str = eqx.field(static=True, default="lj", kw_only=True)

    def __check_init__(self):
        check_pair_form(self, ("epsilon", "sigma"))

    def bare_energy(self, r: Float[Array, "*edge"], pair: Int[Array, "*edge"]) -> Float[Array, "*edge"]:
        attraction = (per_pair(self.sigma, pair) / r) ** 6
        return 4.0 * per_pair(self.epsilon, pair) * attraction * (attraction - 1.0)

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        words = {
            "epsilon": ("energy", "Lennard-Jones well depth", "positive", 1.0),
            "sigma": ("length", "Lennard-Jones diameter", "positive", 3.0),
        }
        return describe(self, words)


def mie_strength(
    epsilon: Float[Array, "*pair"], n: Float[Array, "*pair"], m: Float[Array, "*pair"]
) -> Float[Array, "*pair"]:
    """C ε with C = n/(n−m) (n/m)^{m/(n−m)}, for which the well is ε deep [energy]."""
    return epsilon * n / (n - m) * (n / m) ** (m / (n - m))


def mie_energy(
    r: Float[Array, "*pair"],
    strength: Float[Array, "*pair"],
    sigma: Float[Array, "*pair"],
    n: Float[Array, "*pair"],
    m: Float[Array, "*pair"],
) -> Float[Array, "*pair"]:
    """The Mie formula C ε[(σ/r)ⁿ − (σ/r)ᵐ] [energy], C ε by `mie_strength`."""
    logarithm = jnp.log(sigma / r)
    return strength * (jnp.exp(n * logarithm) - jnp.exp(m * logarithm))


class MiePairs(PairForm):
    """Mie n-m over species pairs: u(r) = C ε[(σ/r)ⁿ − (σ/r)ᵐ], C = n/(n−m) (n/m)^{m/(n−m)}.

    The exponents are parameters like the others and may be fractions; n > m.

    Attributes:
        epsilon: well depth [energy].
        sigma: distance of zero energy [length].
        n: exponent of the repulsion.
        m: exponent of the attraction.
        species: chemical symbols.
        cutoff: cutoff distance [length].
        convention, onset: what happens at the cutoff, see `PairForm`.
        without, between_molecules: pairs left out, see `PairForm`.
        name: prefix of the parameters' names.

    Example:
        >>> argon = MiePairs(0.0103, 3.405, 12.0, 6.0, species=("Ar",), cutoff=8.5)
        >>> at_the_minimum = argon.bare_energy(jnp.array([3.405 * 2 ** (1 / 6)]), jnp.array([0]))
        >>> round(float(at_the_minimum[0]), 6)
        -0.0103

    References:
        Mie (1903), doi:10.1002/andp.19033160802.
    """

    epsilon: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    sigma: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    n: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    m: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    convention: str = eqx.field(static=True, default="shifted", kw_only=True)
    onset: float | None = eqx.field(static=True, default=None, kw_only=True)
    name: str = eqx.field(static=True, default="mie", kw_only=True)

    def __check_init__(self):
        check_pair_form(self, ("epsilon", "sigma", "n", "m"))

    def bare_energy(self, r: Float[Array, "*edge"], pair: Int[Array, "*edge"]) -> Float[Array, "*edge"]:
        strength = per_pair(mie_strength(self.epsilon, self.n, self.m), pair)
        return mie_energy(
            r, strength, per_pair(self.sigma, pair), per_pair(self.n, pair), per_pair(self.m, pair)
        )

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        words = {
            "epsilon": ("energy", "Mie well depth", "positive", 1.0),
            "sigma": ("length", "Mie diameter", "positive", 3.0),
            "n": ("dimensionless", "exponent of the repulsion", "positive", 12.0),
            "m": ("dimensionless", "exponent of the attraction", "positive", 6.0),
        }
        return describe(self, words)


class MorsePairs(PairForm):
    """Morse over species pairs: u(r) = D [e^{−2α(r−r₀)} − 2 e^{−α(r−r₀)}].

    Attributes:
        depth: D, depth of the well [energy].
        steepness: α [1/length].
        distance: r₀, position of the minimum [length].
        species: chemical symbols.
        cutoff: cutoff distance [length].
        convention, onset: what happens at the cutoff, see `PairForm`.
        without, between_molecules: pairs left out, see `PairForm`.
        name: prefix of the parameters' names.

    Example:
        >>> copper = MorsePairs(0.34, 1.36, 2.87, species=("Cu",), cutoff=8.0)
        >>> float(copper.bare_energy(jnp.array([2.87]), jnp.array([0]))[0])
        -0.34

    References:
        Morse (1929), doi:10.1103/PhysRev.34.57, eq. 4.
    """

    depth: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    steepness: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    distance: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    convention: str = eqx.field(static=True, default="shifted", kw_only=True)
    onset: float | None = eqx.field(static=True, default=None, kw_only=True)
    name: str = eqx.field(static=True, default="morse", kw_only=True)

    def __check_init__(self):
        check_pair_form(self, ("depth", "steepness", "distance"))

    def bare_energy(self, r: Float[Array, "*edge"], pair: Int[Array, "*edge"]) -> Float[Array, "*edge"]:
        decay = jnp.exp(-per_pair(self.steepness, pair) * (r - per_pair(self.distance, pair)))
        return per_pair(self.depth, pair) * decay * (decay - 2.0)

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        words = {
            "depth": ("energy", "Morse well depth", "positive", 1.0),
            "steepness": ("1/length", "Morse steepness", "positive", 1.5),
            "distance": ("length", "Morse equilibrium distance", "positive", 3.0),
        }
        return describe(self, words)


class GaussianPairs(PairForm):
    """Sum of Gaussian bumps over species pairs: u(r) = Σ_k h_k exp(−(r − c_k)²/(2 w_k²)).

    Attributes:
        heights: h [energy].
        centres: c [length].
        widths: w [length].
        species: chemical symbols.
        cutoff: cutoff distance [length].
        convention, onset: what happens at the cutoff, see `PairForm`.
        without, between_molecules: pairs left out, see `PairForm`.
        name: prefix of the parameters' names.

    Example:
        >>> bumps = GaussianPairs([[0.1, -0.2]], [[2.5, 3.5]], [[0.3, 0.3]], species=("Cu",), cutoff=6.0)
        >>> round(float(bumps.bare_energy(jnp.array([3.5]), jnp.array([0]))[0]), 3)
        -0.2
    """

    heights: Float[Array, "pair bump"] = eqx.field(converter=as_floats)
    centres: Float[Array, "pair bump"] = eqx.field(converter=as_floats)
    widths: Float[Array, "pair bump"] = eqx.field(converter=as_floats)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    convention: str = eqx.field(static=True, default="shifted", kw_only=True)
    onset: float | None = eqx.field(static=True, default=None, kw_only=True)
    name: str = eqx.field(static=True, default="gaussian", kw_only=True)

    def __check_init__(self):
        check_pair_form(self, ())
        pairs = len(interacting(self))
        n = jnp.size(self.heights) // pairs
        fields = ("heights", "centres", "widths")
        check_rows(
            self, fields, pairs, n, "one row for each unordered pair of species, one column for each bump"
        )

    def bare_energy(self, r: Float[Array, "*edge"], pair: Int[Array, "*edge"]) -> Float[Array, "*edge"]:
        energy = jnp.zeros_like(r)
        for height, centre, width in zip(self.heights.T, self.centres.T, self.widths.T):
            offset = (r - per_pair(centre, pair)) / per_pair(width, pair)
            energy = energy + per_pair(height, pair) * jnp.exp(-0.5 * offset**2)
        return energy

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        words = {
            "heights": ("energy", "heights of the bumps", "real", 1.0),
            "centres": ("length", "centres of the bumps", "positive", 3.0),
            "widths": ("length", "widths of the bumps", "positive", 0.5),
        }
        return describe(self, words)
