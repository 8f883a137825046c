"""Finnis and Sinclair's potential for body-centred cubic transition metals and their alloys."""

from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.physics._embedded_atom import EmbeddedAtom
from bayescg.physics._interatomic import n_pairs, pair_index, per_pair
from bayescg.physics._potential import ParameterInfo
from bayescg.physics._term_fields import as_floats, check_shapes, describe, is_known

# d [Å], A [eV/Å], β, c [Å], c0 [eV/Å²], c1 [eV/Å³], c2 [eV/Å⁴]; the paper's table 2, iron as in its erratum
_METALS = {
    "V": (3.692767, 2.010637, 0.0, 3.8, -0.8816318, 1.4907756, -0.3976370),
    "Nb": (3.915354, 3.013789, 0.0, 4.2, -1.5640104, 2.0055779, -0.4663764),
    "Ta": (4.076980, 2.591061, 0.0, 4.2, 1.2157373, 0.0271471, -0.1217350),
    "Cr": (3.915720, 1.453418, 1.8, 2.9, 29.1429813, -23.3975027, 4.7578297),
    "Mo": (4.114825, 1.887117, 0.0, 3.25, 43.4475218, -31.9332978, 6.0804249),
    "W": (4.400224, 1.896373, 0.0, 3.25, 47.1346499, -33.7665655, 6.2541999),
    "Fe": (3.569745, 1.828905, 1.8, 3.4, 1.2371147, -0.3592185, -0.0385607),
}


class FinnisSinclair(EmbeddedAtom):
    """Finnis–Sinclair: the embedding is a square root, the pair energy a polynomial.

        F_a(ρ) = −A_a √ρ,    f_ab(r) = (r − d)² + β (r − d)³/d for r < d,
        φ_ab(r) = (r − c)² (c₀ + c₁ r + c₂ r²) for r < c.

    d, β, c, c₀, c₁, c₂ are scalars or belong to the unordered pairs of species, A to the atom's species. The
    distances d and c are parameters like the others and stay within the cutoff. With β > 0 the density of a pair is
    negative below d (1 − 1/β); an atom whose whole density is not positive gets no embedding energy.

    Attributes:
        A: strength of the embedding of each species [energy/length].
        d: range of the density of each pair [length].
        beta: cubic part of the density of each pair.
        c: range of the pair energy of each pair [length].
        c0, c1, c2: its coefficients [energy/length², energy/length³, energy/length⁴].
        species: chemical symbols.
        cutoff: up to which d and c may reach [length]. Where values beyond it appear in compiled code (a sampler tries
            them) all energies are NaN.
        name: prefix of the parameters' names.

    Raises:
        InputError: a wrong number of entries, d or c beyond the cutoff.

    Example:
        >>> tantalum = FinnisSinclair.published("Ta")
        >>> round(tantalum.cutoff, 3)
        4.2

    References:
        Finnis and Sinclair (1984), doi:10.1080/01418618408244210, section 2 and table 2; for iron its erratum,
        Phil. Mag. A 53, 161 (1986).
    """

    A: Float[Array, "*species"] = eqx.field(converter=as_floats)
    d: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    beta: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    c: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    c0: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    c1: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    c2: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    name: str = eqx.field(static=True, default="fs", kw_only=True)

    @classmethod
    def published(cls, metal: str, *, cutoff: float | None = None, name: str = "fs") -> Self:
        """The potential published for V, Nb, Ta, Cr, Mo, W or Fe, in Å and eV.

        Args:
            metal: chemical symbol.
            cutoff: largest range that the parameters may take [Å]; default that of the published ones.
            name: prefix of the parameters' names.

        Raises:
            InputError: another metal.
        """
        if metal not in _METALS:
            raise InputError(
                f"Finnis and Sinclair have no parameters for {metal}, only for {', '.join(_METALS)}"
            )
        d, strength, beta, c, *polynomial = _METALS[metal]
        return cls(strength, d, beta, c, *polynomial, species=(metal,), cutoff=cutoff or max(c, d), name=name)  # type: ignore[arg-type]

    def __check_init__(self):
        n = len(self.species)
        check_shapes(self, ("A",), n, "one for each")
        fields = ("d", "beta", "c", "c0", "c1", "c2")
        check_shapes(self, fields, n_pairs(n), "one for each unordered pair of species")
        for field in ("d", "c"):
            value = getattr(self, field)
            if is_known(value) and np.any(np.asarray(value) > self.cutoff):
                raise InputError(
                    f"potential '{self.name}': `{field}` reaches to {float(np.max(value)):.6g}, beyond the cutoff"
                    f" {self.cutoff:.6g}: construct it with a larger `cutoff`"
                )

    def density(
        self, r: Float[Array, "*edge"], centre: Int[Array, "*edge"], neighbour: Int[Array, "*edge"]
    ) -> Float[Array, "*edge"]:
        pair = jnp.asarray(pair_index(len(self.species)))[centre, neighbour]
        d = per_pair(self.d, pair)
        inside = jnp.minimum(r - d, 0.0)
        return inside**2 * (1.0 + per_pair(self.beta, pair) * inside / d)

    def pair_energy(
        self, r: Float[Array, "*edge"], centre: Int[Array, "*edge"], neighbour: Int[Array, "*edge"]
    ) -> Float[Array, "*edge"]:
        pair = jnp.asarray(pair_index(len(self.species)))[centre, neighbour]
        c, c0, c1, c2 = (per_pair(parameter, pair) for parameter in (self.c, self.c0, self.c1, self.c2))
        return jnp.minimum(r - c, 0.0) ** 2 * (c0 + r * (c1 + r * c2))

    def embedding(self, density: Float[Array, " atom"], centre: Int[Array, " atom"]) -> Float[Array, " atom"]:
        within = jnp.maximum(jnp.max(self.d), jnp.max(self.c)) <= self.cutoff
        return -per_pair(self.A, centre) * jnp.where(within, 1.0, jnp.nan) * jnp.sqrt(density)

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        words = {
            "A": ("energy/length", "strength of the embedding", "positive", 2.0),
            "d": ("length", "range of the density", "positive", 4.0),
            "beta": ("dimensionless", "cubic part of the density", "real", 1.0),
            "c": ("length", "range of the pair energy", "positive", 4.0),
            "c0": ("energy/length^2", "constant of the pair polynomial", "real", 10.0),
            "c1": ("energy/length^3", "slope of the pair polynomial", "real", 10.0),
            "c2": ("energy/length^4", "curvature of the pair polynomial", "real", 2.0),
        }
        return describe(self, words)
