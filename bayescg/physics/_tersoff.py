"""Tersoff's potential with every parameter of LAMMPS, for any number of species."""

from collections.abc import Mapping, Sequence
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._bond_order import BondOrderTerm, TersoffTable
from bayescg.physics._interatomic import n_pairs, pair_index
from bayescg.physics._potential import ParameterInfo
from bayescg.physics._term_fields import as_floats, as_tuple, check_shapes, describe


class Tersoff(BondOrderTerm):
    """Tersoff's potential with the parameters of LAMMPS's `tersoff` (see `tersoff_energies` for the formula).

    A, B, lambda1, lambda2 belong to the unordered pairs of species in the order of `pair_index`; beta and n to the
    ordered pairs (i, j), flattened; gamma, lambda3, c, d, cos0, R and D to the ordered triplets (i, j, k),
    flattened. A scalar is shared by all. With one species β and γ enter only as a product, and many published
    sets have λ₃ = 0, β = 1 or γ = 1: hold what is not to be inferred (`hold`). Mixtures by Tersoff's own
    rules have far fewer parameters: `TersoffMixture`.

    Attributes:
        A, B: strength of repulsion and attraction [energy].
        lambda1, lambda2: their decay [1/length].
        beta, n: of the bond order.
        gamma, lambda3, c, d, cos0: of the angular term; lambda3 [1/length].
        R, D: middle and half width of the range in which a neighbour fades out [length].
        m: exponent in ζ, 1 or 3.
        species: chemical symbols.
        name: prefix of the parameters' names.

    Raises:
        InputError: a wrong number of entries, or m neither 1 nor 3.

    Example:
        >>> silicon = Tersoff.from_entries(
        ...     {("Si", "Si", "Si"): (3, 1.0, 0.0, 1.0039e5, 16.217, -0.59825, 0.78734,
        ...                           1.1e-6, 1.73222, 471.18, 2.85, 0.15, 2.4799, 1830.8)},
        ...     species=("Si",),
        ... )
        >>> silicon.cutoff
        3.0

    References:
        Tersoff (1988), doi:10.1103/PhysRevB.37.6991, eqs. 1 to 3; (1988), doi:10.1103/PhysRevB.38.9902.
    """

    A: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    B: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    lambda1: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    lambda2: Float[Array, "*pair"] = eqx.field(converter=as_floats)
    beta: Float[Array, "*bond"] = eqx.field(converter=as_floats)
    n: Float[Array, "*bond"] = eqx.field(converter=as_floats)
    gamma: Float[Array, "*triplet"] = eqx.field(converter=as_floats)
    lambda3: Float[Array, "*triplet"] = eqx.field(converter=as_floats)
    c: Float[Array, "*triplet"] = eqx.field(converter=as_floats)
    d: Float[Array, "*triplet"] = eqx.field(converter=as_floats)
    cos0: Float[Array, "*triplet"] = eqx.field(converter=as_floats)
    R: tuple[float, ...] = eqx.field(static=True, converter=as_tuple, kw_only=True)
    D: tuple[float, ...] = eqx.field(static=True, converter=as_tuple, kw_only=True)
    m: int = eqx.field(static=True, default=3, kw_only=True)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    name: str = eqx.field(static=True, default="tersoff", kw_only=True)

    @classmethod
    def from_entries(
        cls,
        entries: Mapping[tuple[str, str, str], Sequence[float]],
        *,
        species: tuple[str, ...],
        name: str = "tersoff",
    ) -> Self:
        """From the entries of a LAMMPS file.

        Args:
            entries: by elements 1, 2, 3 the numbers m, gamma, lambda3, c, d, costheta0, n, beta, lambda2, B, R, D,
                lambda1, A.
            species: chemical symbols, each of whose triplets has an entry.
            name: prefix of the parameters' names.

        Raises:
            InputError: a missing triplet, another count of numbers, m not the same everywhere, or A, B, lambda1,
                lambda2 of i-j and j-i that differ.
        """
        triplets = [(i, j, k) for i in species for j in species for k in species]
        missing = [triplet for triplet in triplets if triplet not in entries]
        if missing:
            raise InputError(f"no Tersoff entry for {', '.join('-'.join(triplet) for triplet in missing)}")
        wrong = [triplet for triplet in triplets if len(entries[triplet]) != 14]
        if wrong:
            raise InputError(
                f"the Tersoff entry {'-'.join(wrong[0])} has {len(entries[wrong[0]])} numbers, 14 expected"
            )
        n_species = len(species)
        table = np.asarray([entries[triplet] for triplet in triplets]).T.reshape(14, *(n_species,) * 3)
        m, gamma, lambda3, c, d, cos0, n, beta, lambda2, b, r, width, lambda1, a = table
        if np.any(m != m.flat[0]):
            raise InputError("the Tersoff entries have different m; only one m for all is possible")
        i, j = np.indices((n_species, n_species))
        pairs = {"A": a, "B": b, "lambda1": lambda1, "lambda2": lambda2}
        for field, values in pairs.items():
            if not np.array_equal(values[i, j, j], values[j, i, i]):
                raise InputError(
                    f"the Tersoff entries of a bond i-j and j-i differ in {field}; make them equal"
                )
        upper = np.triu_indices(n_species)
        return cls(  # type: ignore[call-arg]  # mypy counts the abstract cutoff as a field
            *(values[upper[0], upper[1], upper[1]] for values in pairs.values()),  # type: ignore[arg-type]
            *(values[i, j, j].ravel() for values in (beta, n)),  # type: ignore[arg-type]
            *(values.ravel() for values in (gamma, lambda3, c, d, cos0)),  # type: ignore[arg-type]
            R=tuple(r.ravel().tolist()),
            D=tuple(width.ravel().tolist()),
            m=int(m.flat[0]),
            species=species,
            name=name,
        )

    def __check_init__(self):
        n = len(self.species)
        check_shapes(
            self, ("A", "B", "lambda1", "lambda2"), n_pairs(n), "one for each unordered pair of species"
        )
        check_shapes(self, ("beta", "n"), n**2, "one for each ordered pair of species")
        check_shapes(
            self, ("gamma", "lambda3", "c", "d", "cos0"), n**3, "one for each ordered triplet of species"
        )
        if len(self.R) != n**3 or len(self.D) != n**3:
            raise InputError(
                f"potential '{self.name}': R and D need {n**3} entries, one for each ordered triplet"
            )
        if self.m not in (1, 3):
            raise InputError(f"potential '{self.name}': m must be 1 or 3, found {self.m}")

    @property  # type: ignore[misc]  # an AbstractVar may be a property
    def cutoff(self) -> float:  # type: ignore[override]
        """The largest R + D [length]."""
        return max(r + d for r, d in zip(self.R, self.D))

    def table(self) -> TersoffTable:
        size = len(self.species)
        pair = np.broadcast_to(pair_index(size)[:, :, None], (size,) * 3)
        bond = np.broadcast_to(np.arange(size**2).reshape(size, size, 1), (size,) * 3)
        triplet = np.arange(size**3).reshape((size,) * 3)

        def spread(fields: tuple[str, ...], index: np.ndarray) -> dict[str, Array]:
            values = {field: getattr(self, field) for field in fields}
            return {
                field: jnp.broadcast_to(v, index.shape) if v.ndim == 0 else v[index]
                for field, v in values.items()
            }

        return TersoffTable(
            **spread(("A", "B", "lambda1", "lambda2"), pair),
            **spread(("beta", "n"), bond),
            **spread(("gamma", "lambda3", "c", "d", "cos0"), triplet),
            R=np.asarray(self.R)[triplet],
            D=np.asarray(self.D)[triplet],
            m=self.m,
        )

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        words = {
            "A": ("energy", "strength of the repulsion", "positive", 1000.0),
            "B": ("energy", "strength of the attraction", "positive", 100.0),
            "lambda1": ("1/length", "decay of the repulsion", "positive", 3.0),
            "lambda2": ("1/length", "decay of the attraction", "positive", 1.5),
            "beta": ("dimensionless", "strength of the bond order", "positive", 1e-6),
            "n": ("dimensionless", "exponent of the bond order", "positive", 1.0),
            "gamma": ("dimensionless", "strength of the angular term", "positive", 1.0),
            "lambda3": ("1/length", "weight of unequal bonds", "real", 1.5),
            "c": ("dimensionless", "strength of the angular dependence", "positive", 1e5),
            "d": ("dimensionless", "sharpness of the angular dependence", "positive", 10.0),
            "cos0": ("dimensionless", "cosine of the preferred angle", "real", 0.5),
        }
        return describe(self, words)
