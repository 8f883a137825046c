"""Coulomb energies of periodic configurations, all images included."""

import functools
from collections.abc import Mapping
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf, erfc
from jaxtyping import Array, Bool, Float, Int

from bayescg.errors import InputError
from bayescg.physics._ewald import ACCURACIES, check_library, splitting, wave_energies
from bayescg.physics._interatomic import per_pair
from bayescg.physics._long_range import LongRangeTerm
from bayescg.physics._pairwise_term import beyond
from bayescg.physics._periodic_cells import PeriodicCells
from bayescg.physics._potential import ParameterInfo
from bayescg.physics._term_fields import as_floats, describe, neighbour_distances

NEUTRAL = 1e-6
"""Net charge of a formula unit that counts as none [elementary charge]."""


class LongRangeCoulomb(LongRangeTerm):
    """Coulomb energy of point charges and all their periodic images, by Ewald's method:

        U = ½ k Σ_ij Σ_images q_a q_b / r_ij, without an ion and itself, a, b the species of i, j.

    The surroundings of the crystal conduct: there is no surface term. Neighbours within the cutoff r_c give
    k q_a q_b erfc(αr)/r, waves up to |k| = 2α²r_c the rest; α follows from the accuracy (`splitting`). The zero of the
    energy is ions infinitely far apart.

    Neutrality. With `formulas` every charge that they fix follows from the others, so that configurations made of these
    formula units stay neutral whatever the parameters; others are refused. Parameters are then the charges of the
    first species only, e.g. that of Na for ("Na", "Cl") and "NaCl". With `formulas=()` all charges are parameters and a
    uniform background, −π k Q²/(2α²V) with the net charge Q, neutralises what is left: energies of cells of different
    volume then compare only if they mean the same background.

    Energies depend on products of charges only: all signs may be turned at once; a prior or a held charge chooses.
    Every pair counts, an atom's own images included. With `between_molecules` atoms of one molecule do not interact: the
    neighbours' share of such a pair is left out, and what the waves have of it, k q_a q_b erf(αr)/r, is subtracted, so
    that molecules must be smaller than the cutoff. Images of the molecule count. Configurations must be periodic along all
    edges. Cells may grow by 2 % along each edge before the waves' share loses accuracy.

    Attributes:
        charges: q of those species whose charge the formulas leave free, in their order [elementary charge].
        formulas: of the neutral units, such as `("SiO2",)`; empty for a neutralising background.
        coulomb: k, e²/(4πε₀) in the units of the study [energy·length]; 14.399645 in eV Å.
        species: chemical symbols.
        cutoff: r_c, where the sum over neighbours ends [length]; results do not depend on it, cost does.
        accuracy: share of a Coulomb force that is left out at the cutoff [dimensionless].
        name: prefix of the parameter's name `<name>_charges`.
        between_molecules: whether pairs of atoms of one molecule are left out.

    Raises:
        InputError: formulas that name another species or leave no charge free, another number of charges, a cutoff or
            accuracy out of range, jax-pme is not installed.

    Example:
        >>> from bayescg.physics import environments_of, predict_energy
        >>> salt = LongRangeCoulomb(
        ...     [1.0], formulas=("NaCl",), coulomb=1.0, species=("Na", "Cl"), cutoff=2.5, accuracy=1e-9
        ... )
        >>> cell = 2.0 * (np.ones((3, 3)) - np.eye(3)) / 2.0  # ions at distance 1
        >>> batch, = environments_of([np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])], [np.array([0, 1])],
        ...     cell[None], np.ones((1, 3), bool), salt.cutoff, species=salt.species)
        >>> round(float(predict_energy(salt, batch)[0]), 6)  # minus Madelung's constant
        -1.747565

    References:
        Ewald (1921), doi:10.1002/andp.19213690304. Loche et al. (2024), doi:10.48550/arXiv.2412.03281 (jax-pme).
    """

    charges: Float[Array, " free"] = eqx.field(converter=as_floats)
    formulas: tuple[str, ...] = eqx.field(static=True, converter=tuple, kw_only=True)
    coulomb: float = eqx.field(static=True, kw_only=True)
    species: tuple[str, ...] = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    accuracy: float = eqx.field(static=True, default=1e-6, kw_only=True)
    name: str = eqx.field(static=True, default="coulomb", kw_only=True)

    @classmethod
    def of_species(
        cls,
        charges: Mapping[str, float],
        *,
        formulas: tuple[str, ...],
        coulomb: float,
        species: tuple[str, ...],
        cutoff: float,
        accuracy: float = 1e-6,
        name: str = "coulomb",
        between_molecules: bool = False,
    ) -> Self:
        """From the charges of all species by name, of which those that the formulas fix are checked.

        Args:
            charges: by chemical symbol [elementary charge].
            formulas: of the neutral units.
            coulomb: k [energy·length].
            species: chemical symbols.
            cutoff: of the sum over neighbours [length].
            accuracy: share of a Coulomb force that is left out at the cutoff [dimensionless].
            name: prefix of the parameter's name.
            between_molecules: whether pairs of atoms of one molecule are left out.

        Raises:
            InputError: a charge that is missing or of another species, a formula unit with a net charge.

        Example:
            >>> quartz = LongRangeCoulomb.of_species({"Si": 2.4, "O": -1.2}, formulas=("SiO2",), coulomb=14.399645,
            ...     species=("O", "Si"), cutoff=8.0)
            >>> quartz.charges.tolist(), quartz.species_charges().tolist()
            ([-1.2], [-1.2, 2.4])
        """
        known = ", ".join(species)
        unknown, missing = sorted(set(charges) - set(species)), sorted(set(species) - set(charges))
        if unknown:
            raise InputError(
                f"potential '{name}': `charges` name {', '.join(unknown)}, the species are {known}: remove it"
            )
        if missing:
            raise InputError(
                f"potential '{name}': `charges` lack {', '.join(missing)}: give each of {known} one, 0 if it has none"
            )
        values = np.array([charges[symbol] for symbol in species], float)
        for formula, counts in zip(formulas, _counts(name, species, formulas)):
            if abs(counts @ values) > NEUTRAL:
                raise InputError(
                    f"potential '{name}': {formula} has a net charge of {counts @ values:.6g}: correct the charges or"
                    " the formula"
                )
        free = _free(name, species, formulas)
        return cls(
            as_floats(values[list(free)]),
            formulas=formulas,
            coulomb=coulomb,
            species=species,
            cutoff=cutoff,
            accuracy=accuracy,
            name=name,
            between_molecules=between_molecules,
        )  # type: ignore[call-arg]

    def __check_init__(self):
        name, (least, most) = self.name, ACCURACIES
        check_library(name)
        if not self.cutoff > 0.0:
            raise InputError(f"potential '{name}': cutoff {self.cutoff} must be positive")
        if not least <= self.accuracy <= most:
            raise InputError(
                f"potential '{name}': accuracy {self.accuracy} must lie between {least:g} and {most:g}"
            )
        free = [self.species[i] for i in _free(name, self.species, self.formulas)]
        if self.charges.shape != (len(free),):
            rest = [symbol for symbol in self.species if symbol not in free]
            follows = (
                f" (charges of {', '.join(rest)} follow from {', '.join(self.formulas)})" if rest else ""
            )
            raise InputError(
                f"potential '{name}': one charge for each of {', '.join(free)} is expected{follows}, found an array of"
                f" shape {self.charges.shape}"
            )

    @property
    def alpha(self) -> float:
        """α, how fast the neighbours' share falls [1/length]."""
        return splitting(self.accuracy) / self.cutoff

    def species_charges(self) -> Float[Array, " species"]:
        """q of every species [elementary charge]."""
        return jnp.asarray(_from_free(self.name, self.species, self.formulas)) @ self.charges

    def site_energies(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        r, charges = neighbour_distances(vectors), self.species_charges()
        inside = r < self.cutoff
        safe = jnp.where(inside, r, self.cutoff)
        screened = jnp.where(inside, erfc(self.alpha * safe) / safe, 0.0)
        total = jnp.sum(per_pair(charges, jnp.transpose(neighbour_types)) * screened, axis=0)
        return 0.5 * self.coulomb * per_pair(charges, types) * total

    def energies_between(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
        same_molecule: Bool[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        others = beyond(vectors, same_molecule, cutoff=self.cutoff)
        r, same, charges = neighbour_distances(vectors), same_molecule.T, self.species_charges()
        of_waves = jnp.where(same, erf(self.alpha * r) / r, 0.0)
        total = jnp.sum(per_pair(charges, jnp.transpose(neighbour_types)) * of_waves, axis=0)
        excess = 0.5 * self.coulomb * per_pair(charges, types) * total
        return self.site_energies(others, types, neighbour_types) - excess

    def check_reach(self, *, whole_molecules: bool) -> None:
        if not whole_molecules:
            raise InputError(
                f"potential '{self.name}': a molecule extends beyond the cutoff {self.cutoff:g}, and what the waves have of its"
                " pairs is subtracted among neighbours: give a cutoff larger than every molecule"
            )

    def cell_energies(
        self, positions: Float[Array, "atom 3"], types: Int[Array, " atom"], cells: PeriodicCells
    ) -> Float[Array, " cell"]:
        charges, alpha = per_pair(self.species_charges(), types), self.alpha
        energies = wave_energies(
            charges.at[cells.atoms].get(mode="fill", fill_value=0.0),
            positions.at[cells.atoms].get(mode="fill", fill_value=0.0),
            cells.cell,
            lengths=cells.lengths,
            obliqueness=cells.obliqueness,
            alpha=alpha,
            longest=2.0 * alpha**2 * self.cutoff,
        )
        return self.coulomb * energies

    def check_configurations(
        self, compositions: tuple[tuple[int, ...], ...], *, open_configuration: int
    ) -> None:
        if open_configuration >= 0:
            raise InputError(
                f"potential '{self.name}': configuration {open_configuration} is not periodic along all edges, which"
                " Ewald's sum needs: leave it out, or take ScreenedCoulomb, bare where its screening is long"
            )
        if not self.formulas:
            return
        matrix = _from_free(self.name, self.species, self.formulas)
        for counts in compositions:
            if np.max(np.abs(np.asarray(counts) @ matrix)) > NEUTRAL:
                what = "".join(f"{s}{n if n > 1 else ''}" for s, n in zip(self.species, counts) if n)
                raise InputError(
                    f"potential '{self.name}': configurations of {what} are not neutral: they are not made of"
                    f" {', '.join(self.formulas)}; leave them out or correct `formulas`"
                )

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        return describe(self, {"charges": ("charge", "charges", "real", 1.0)})


@functools.cache
def _counts(
    name: str, species: tuple[str, ...], formulas: tuple[str, ...]
) -> Float[np.ndarray, "formula species"]:
    """Atoms of each species in the formulas."""
    from ase.formula import Formula

    rows = np.zeros((len(formulas), len(species)))
    for row, formula in zip(rows, formulas):
        try:
            found = Formula(formula, strict=False).count()
        except ValueError as error:
            raise InputError(
                f"potential '{name}': {formula!r} in `formulas` is no chemical formula, such as 'NaCl'"
            ) from error
        unknown = sorted(set(found) - set(species))
        if unknown or not found:
            raise InputError(
                f"potential '{name}': {formula!r} in `formulas` contains {', '.join(unknown) or 'nothing'}; the species"
                f" are {', '.join(species)}"
            )
        for symbol, number in found.items():
            row[species.index(symbol)] = number
    return rows


@functools.cache
def _free(name: str, species: tuple[str, ...], formulas: tuple[str, ...]) -> tuple[int, ...]:
    """Species whose charges the formulas leave free: the first ones."""
    counts = _counts(name, species, formulas)
    fixed: list[int] = []
    for one in reversed(range(len(species))):
        if np.linalg.matrix_rank(counts[:, [*fixed, one]]) > len(fixed):
            fixed.append(one)
    if len(fixed) == len(species):
        raise InputError(
            f"potential '{name}': neutral {', '.join(formulas)} leave no charge of {', '.join(species)} other than 0:"
            " remove a formula"
        )
    return tuple(i for i in range(len(species)) if i not in fixed)


@functools.cache
def _from_free(
    name: str, species: tuple[str, ...], formulas: tuple[str, ...]
) -> Float[np.ndarray, "species free"]:
    """The matrix that takes the free charges to those of all species."""
    counts, free = _counts(name, species, formulas), list(_free(name, species, formulas))
    fixed = [i for i in range(len(species)) if i not in free]
    matrix = np.zeros((len(species), len(free)))
    matrix[free] = np.eye(len(free))
    if fixed:
        matrix[fixed] = -np.linalg.pinv(counts[:, fixed]) @ counts[:, free]
    return matrix
