"""Pair formulas of ionic solids over several species: Buckingham and screened Coulomb.

Parameters of pairs are arrays in the order of `pair_index`; cutoffs and pairs that
are left out follow the conventions of `PairForm`.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.physics._interatomic import per_pair
from bayescg.physics._pair_form import PairForm, check_pair_form, interacting
from bayescg.physics._potential import ParameterInfo
from bayescg.physics._term_fields import as_floats, describe, is_known


class BuckinghamPairs(PairForm):
    """Buckingham over species pairs: u(r) = A e^{−r/ρ} − C/r⁶.

    The bare formula falls to −∞ at short distance, behind a barrier whose place depends on the parameters. Below
    `core` each pair therefore goes on along its tangent there,

        u(r) = u(r_core) + (r − r_core) u′(r_core) for r < r_core,

    and parameters whose force at r_core is not repulsive are refused.

    Attributes:
        A: strength of the repulsion [energy].
        rho: decay length of the repulsion [length].
        C: strength of the attraction [energy·length⁶].
        core: r_core, below the distances that occur and outside the barrier [length].
        species: chemical symbols.
        cutoff: cutoff distance [length].
        convention, onset: what happens at the cutoff, see `PairForm`.
        without, between_molecules: pairs left out, see `PairForm`.
        name: prefix of the parameters' names.

    Raises:
        InputError: a pair that attracts at r_core (checked where the parameters are numbers, not while tracing).

    Example:
        >>> salt = BuckinghamPairs([0.0, 1200.0, 3500.0], [0.3, 0.31, 0.32], [0.0, 0.0, 70.0],
        ...     core=1.0, species=("Na", "Cl"), cutoff=8.0)  # Na-Na, Na-Cl, Cl-Cl
        >>> [info.name for info in salt.parameters()]
        ['buckingham_A', 'buckingham_rho', 'buckingham_C']

    References:
        Buckingham (1938), doi:10.1098/rspa.1938.0173.
    """

    A: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    rho: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    C: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    core: float = eqx.field(static=True, kw_only=True)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    convention: str = eqx.field(static=True, default="shifted", kw_only=True)
    onset: float | None = eqx.field(static=True, default=None, kw_only=True)
    name: str = eqx.field(static=True, default="buckingham", kw_only=True)

    def __check_init__(self):
        check_pair_form(self, ("A", "rho", "C"))
        if not 0.0 < self.core < self.cutoff:
            raise InputError(
                f"potential '{self.name}': core {self.core} must lie between 0 and the cutoff {self.cutoff}"
            )
        parameters = (self.A, self.rho, self.C)
        if not all(map(is_known, parameters)):
            return
        a, rho, c = map(np.asarray, parameters)
        slope = np.atleast_1d(-a / rho * np.exp(-self.core / rho) + 6.0 * c / self.core**7)
        if np.any((slope >= 0.0) & (c > 0.0)):
            raise InputError(
                f"potential '{self.name}': species pair {int(np.argmax(slope))} attracts at the core distance"
                f" {self.core}, inside its barrier; choose a larger `core` or a smaller C"
            )

    def bare_energy(self, r: Float[Array, "*edge"], pair: Int[Array, "*edge"]) -> Float[Array, "*edge"]:
        a, rho, c = (per_pair(parameter, pair) for parameter in (self.A, self.rho, self.C))
        outside = jnp.maximum(r, self.core)
        repulsion, attraction = a * jnp.exp(-outside / rho), c / outside**6
        slope = -repulsion / rho + 6.0 * attraction / outside
        return repulsion - attraction + jnp.minimum(r - self.core, 0.0) * slope

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        words = {
            "A": ("energy", "Buckingham repulsion", "positive", 1000.0),
            "rho": ("length", "Buckingham decay length", "positive", 0.3),
            "C": ("energy*length^6", "Buckingham dispersion", "positive", 10.0),
        }
        return describe(self, words)


class ScreenedCoulomb(PairForm):
    """Screened Coulomb (Yukawa) between charges of the species: u_ab(r) = k q_a q_b e^{−r/λ}/r.

    Energies depend on products of charges only: all signs may be turned at once, and with one species the charge
    enters as its square; a prior or a held charge chooses. `LongRangeCoulomb` is the sum without screening.

    Attributes:
        charges: q of each species [elementary charge].
        screening: λ, screening length [length].
        coulomb: k, e²/(4πε₀) in the units of the study [energy·length]; 14.399645 in eV Å.
        species: chemical symbols.
        cutoff: cutoff distance [length].
        convention, onset: what happens at the cutoff, see `PairForm`.
        without, between_molecules: pairs left out, see `PairForm`.
        name: prefix of the parameters' names.

    Example:
        >>> ions = ScreenedCoulomb([1.0, -1.0], 2.0, coulomb=14.4, species=("Na", "Cl"), cutoff=9.0)
        >>> unlike = ions.bare_energy(jnp.array([2.0]), jnp.array([1]))  # -14.4 e⁻¹/2
        >>> round(float(unlike[0]), 4)
        -2.6487

    References:
        Yukawa (1935), doi:10.11429/ppmsj1919.17.0_48.
    """

    charges: Float[Array, " species"] = eqx.field(converter=as_floats)
    screening: Float[Array, ""] = eqx.field(converter=as_floats)
    coulomb: float = eqx.field(static=True, kw_only=True)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    convention: str = eqx.field(static=True, default="shifted", kw_only=True)
    onset: float | None = eqx.field(static=True, default=None, kw_only=True)
    name: str = eqx.field(static=True, default="coulomb", kw_only=True)

    def __check_init__(self):
        check_pair_form(self, ())
        if self.charges.shape != (len(self.species),):
            raise InputError(
                f"potential '{self.name}': one charge for each of {', '.join(self.species)} is expected, found an"
                f" array of shape {self.charges.shape}"
            )

    def bare_energy(self, r: Float[Array, "*edge"], pair: Int[Array, "*edge"]) -> Float[Array, "*edge"]:
        a, b = (ends[interacting(self)] for ends in np.triu_indices(len(self.species)))
        products = self.coulomb * self.charges[a] * self.charges[b]
        return per_pair(products, pair) * jnp.exp(-r / self.screening) / r

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        words = {
            "charges": ("charge", "charges", "real", 1.0),
            "screening": ("length", "screening length", "positive", 3.0),
        }
        return describe(self, words)
