"""Behler and Parrinello's symmetry functions: descriptors of an atom's neighbourhood."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.physics._interatomic import n_pairs
from bayescg.physics._triangles import distances, in_parts, opposite_sides


class SymmetryFunctions(eqx.Module):
    """Radial functions G² of each neighbour species and angular functions G⁴ of each unordered pair of them.

        G²_b = Σ_{j of b} e^{−η (r_ij − s)²} f(r_ij),
        G⁴_bc = 2^{1−ζ} Σ_{j<k of b, c} (1 + λ cos θ_jik)^ζ e^{−η (r_ij² + r_ik² + r_jk²)} f(r_ij) f(r_ik) f(r_jk),
        f(r) = ½ (cos(π r/r_c) + 1) for r < r_c, else 0.

    Invariant under translation, rotation, reflection and the exchange of like atoms; smooth at the cutoff.

    Attributes:
        radial: (η [1/length²], s [length]) of each radial function.
        angular: (η [1/length²], λ, ζ) of each angular function, ζ a whole number.
        species: chemical symbols.
        cutoff: r_c [length].

    Raises:
        InputError: no function at all, a ζ that is not a whole number of at least 1, a λ other than ±1.

    Example:
        >>> functions = SymmetryFunctions.spread(species=("Si",), cutoff=5.0, n_radial=8, zetas=(1, 4))
        >>> functions.n_functions
        12

    References:
        Behler and Parrinello (2007), doi:10.1103/PhysRevLett.98.146401, eqs. 3 to 6; Behler (2011),
        doi:10.1063/1.3553717, eqs. 7 and 9.
    """

    radial: tuple[tuple[float, float], ...] = eqx.field(static=True)
    angular: tuple[tuple[float, float, int], ...] = eqx.field(static=True)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)

    @classmethod
    def spread(
        cls,
        *,
        species: tuple[str, ...],
        cutoff: float,
        n_radial: int,
        zetas: tuple[int, ...] = (1, 4, 16),
        inner: float | None = None,
    ) -> "SymmetryFunctions":
        """Radial functions spread evenly, each as wide as their spacing, and angular ones of one width.

        Args:
            species: chemical symbols.
            cutoff: r_c [length].
            n_radial: number of radial functions of each species.
            zetas: sharpness of the angular functions, each with λ = ±1.
            inner: centre of the innermost radial function [length]; default a quarter of the cutoff.
        """
        first = 0.25 * cutoff if inner is None else inner
        centres = np.linspace(first, cutoff, n_radial + 1)[:-1]
        eta = 0.5 / (centres[1] - centres[0]) ** 2 if n_radial > 1 else 0.5
        widths = (0.1 / first**2,)
        return cls(
            tuple((float(eta), float(s)) for s in centres),
            tuple((float(w), sign, int(zeta)) for w in widths for zeta in zetas for sign in (1.0, -1.0)),
            species=species,
            cutoff=cutoff,
        )

    def __check_init__(self):
        if not self.cutoff > 0.0 or not (self.radial or self.angular):
            raise InputError("symmetry functions need a positive cutoff and at least one function")
        for _, sign, zeta in self.angular:
            if zeta != int(zeta) or zeta < 1 or abs(sign) != 1.0:
                raise InputError(
                    f"an angular function has lambda {sign} and zeta {zeta}; they must be ±1 and a whole number"
                )

    @property
    def n_functions(self) -> int:
        """Number of functions of each atom."""
        n = len(self.species)
        return n * len(self.radial) + n_pairs(n) * len(self.angular)

    def __call__(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> Float[Array, "atom function"]:
        """All functions of every atom: the radial ones of each species, then the angular ones of each pair.

        Args:
            vectors: to the neighbours [length]; fillers far beyond the cutoff.
            types: species of the atoms.
            neighbour_types: species of the neighbours.
        """
        return in_parts(self._of_atoms, vectors, types, neighbour_types)

    def _of_atoms(self, vectors: Array, types: Array, neighbour_types: Array) -> Array:
        n = len(self.species)
        r = distances(vectors)
        fading = _fade(r, self.cutoff)
        member = jax.nn.one_hot(neighbour_types, n, axis=1, dtype=r.dtype)
        radial = [
            jnp.einsum("asj,aj->as", member, jnp.exp(-eta * (r - centre) ** 2) * fading)
            for eta, centre in self.radial
        ]
        columns = [jnp.stack(radial, axis=2).reshape(len(types), -1)] if radial else []
        if self.angular:
            columns.append(self._angular(vectors, r, fading, member))
        return jnp.concatenate(columns, axis=1)

    def _angular(self, vectors: Array, r: Array, fading: Array, member: Array) -> Array:
        """G⁴ of [atom pair function], the last two flattened."""
        opposite, _, apart = opposite_sides(vectors, self.cutoff)
        within = jnp.where(fading > 0.0, r, self.cutoff)
        unit = jnp.where((fading > 0.0)[..., None], vectors, 0.0) / within[..., None]
        cos = jnp.einsum("ajx,akx->ajk", unit, unit)
        all_fade = fading[:, :, None] * fading[:, None, :] * _fade(opposite, self.cutoff)
        weight = jnp.where(apart, all_fade, 0.0)
        squares = within[:, :, None] ** 2 + within[:, None, :] ** 2 + opposite**2
        n, functions = len(self.species), []
        for eta, sign, zeta in self.angular:
            # half of the sum over ordered pairs; of unlike species both orders count
            terms = 2.0 ** (1 - zeta) * (1.0 + sign * cos) ** int(zeta) * jnp.exp(-eta * squares) * weight
            sums = jnp.einsum("asj,ajk,atk->ast", member, terms, member)
            pairs = [sums[:, s, t] * (0.5 if s == t else 1.0) for s in range(n) for t in range(s, n)]
            functions.append(jnp.stack(pairs, axis=1))
        return jnp.stack(functions, axis=2).reshape(len(vectors), -1)


def _fade(r: Array, cutoff: float) -> Array:
    """f(r), 0 beyond the cutoff."""
    return jnp.where(r < cutoff, 0.5 * (jnp.cos(jnp.pi * jnp.minimum(r, cutoff) / cutoff) + 1.0), 0.0)
