"""The relaxed crystal: its cell and atoms at the minimum of the energy, as a differentiable function of the potential."""

from typing import NamedTuple, Self, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.physics._crystal import Crystal
from bayescg.physics._crystal_symmetry import rotations, strain_modes
from bayescg.physics._environment import FAR, Environments, deformed, environments_of, predict_energy
from bayescg.physics._interatomic import InteratomicPotential
from bayescg.physics._pairwise_term import refuse_crystal
from bayescg.physics._property_code import PropertyCode, first_trouble
from bayescg.physics._relaxation import minimise

Tree = TypeVar("Tree")

SKIN = 0.15
"""Default margin of neighbour lists, as a share of the cutoff."""

MAX_ATOMS = 100
"""Largest cell whose Hessian is formed."""

_SOFT = 1e-8
"""Curvatures below this share of the largest count as zero."""


class RelaxedBulk(NamedTuple):
    """A crystal at the minimum of its energy.

    Attributes:
        stretch: F, by which the reference cell is deformed: x → F (x + u) [dimensionless].
        displacements: u of the atoms, before the stretch [length].
        rest: the neighbourhoods there, from which further deformations are counted.
        energy: per atom [energy].
        code: a `PropertyCode`.

    Example:
        >>> RelaxedBulk._fields
        ('stretch', 'displacements', 'rest', 'energy', 'code')
    """

    stretch: Float[Array, "3 3"]
    displacements: Float[Array, "atom 3"]
    rest: Environments
    energy: Float[Array, ""]
    code: Int[Array, ""]


class Bulk(eqx.Module):
    """A crystal with its neighbour list, made once: what all properties of a crystal start from.

    Cell and atoms are relaxed together, the cell along the strains that keep the crystal's symmetry. The neighbour list
    has a margin; a structure that leaves it gets a code, never a wrong energy.

    Attributes:
        crystal: the reference structure.
        batch: neighbourhoods of its atoms.
        modes: strains that keep its symmetry [dimensionless].
        turns: its rotations.
        species: chemical symbols of the potential.
        cutoff: of the potential [length].
        skin: margin of the neighbour list [length].
        spacing: distance of nearest neighbours [length].

    Example:
        >>> from bayescg.physics import StillingerWeber
        >>> silicon = StillingerWeber.silicon()
        >>> relaxed = Bulk.of(Crystal.bulk("Si", "diamond", a=5.4), silicon).relaxed(silicon)
        >>> round(float(relaxed.energy), 6), str(PropertyCode(int(relaxed.code)))
        (-4.3366, 'computed normally')
    """

    crystal: Crystal
    batch: Environments
    modes: Float[np.ndarray, "mode 3 3"]
    turns: Float[np.ndarray, "operation 3 3"]
    species: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    skin: float = eqx.field(static=True)
    spacing: float = eqx.field(static=True)

    @classmethod
    def of(cls, crystal: Crystal, potential: InteratomicPotential, *, skin: float = SKIN) -> Self:
        """Make the neighbour list.

        Args:
            crystal: a structure near the minimum.
            potential: gives species and cutoff; its parameters do not matter.
            skin: margin as a share of the cutoff: the cell may shrink by about as much.

        Raises:
            InputError: a species that the potential does not know, no neighbours within the cutoff, too many atoms.
        """
        if not skin > 0.0:
            raise InputError(f"the margin `skin` of a neighbour list must be positive, found {skin}")
        if crystal.n_atoms > MAX_ATOMS:
            raise InputError(
                f"a crystal cell of {crystal.n_atoms} atoms is too large for its Hessian (at most {MAX_ATOMS}):"
                " give a primitive cell"
            )
        batch = listed(
            crystal.positions,
            crystal.types(potential.species),
            crystal.cell,
            potential,
            margin=skin * potential.cutoff,
        )
        nearest = float(jnp.min(jnp.linalg.norm(batch.rows, axis=0)))
        if nearest > potential.cutoff:
            raise InputError(
                f"the crystal's atoms have no neighbours within the potential's cutoff {potential.cutoff:.6g}:"
                " check the lattice constant and its unit"
            )
        turns = rotations(crystal)
        return cls(
            crystal,
            batch,
            strain_modes(turns),
            turns,
            potential.species,
            float(potential.cutoff),
            float(skin * potential.cutoff),
            nearest,
        )

    @eqx.filter_jit
    def relaxed(self, potential: InteratomicPotential) -> RelaxedBulk:
        """Relax cell and atoms; derivatives by the parameters are exact at the minimum (implicit function theorem).

        With E(θ, y) stationary at y*, the returned y* − H⁻¹ ∂E/∂y has the value y* and the derivative
        dy*/dθ = −H⁻¹ ∂²E/∂y∂θ, H the Hessian at y*.
        """
        fixed = frozen(potential)
        n_modes, shape = len(self.modes), self.crystal.fractions.shape
        length = self.spacing * shape[0] ** 0.5

        def structure(y: Array) -> tuple[Array, Array]:
            strain = jnp.einsum("m,mab->ab", y[:n_modes] / length, jnp.asarray(self.modes))
            u = y[n_modes:].reshape(shape)
            return jnp.eye(3) + strain, u - jnp.mean(u, axis=0)  # no drift of the whole crystal

        def energy(y: Array) -> Array:
            stretch, u = structure(y)
            return _energy(fixed, deformed(self.batch, displacements=u, strain=stretch - jnp.eye(3)))

        start = jnp.zeros(n_modes + shape[0] * shape[1])
        found = minimise(jax.value_and_grad(energy), start, length=self.spacing)
        stretch, u = structure(found.position)
        there = deformed(self.batch, displacements=u, strain=stretch - jnp.eye(3))
        none = jnp.zeros(6 + start.size - n_modes)
        gradient = jax.grad(lambda x: deformed_energy(potential, there, x))(none)
        hessian = jax.hessian(lambda x: deformed_energy(fixed, there, x))(none)
        step = -jnp.linalg.solve(held_in_place(hessian), gradient)
        further = jnp.eye(3) + strain_matrix(step[:6])
        total = further @ stretch
        displacements = u + jnp.linalg.solve(stretch, step[6:].reshape(shape).T).T
        rest = deformed(self.batch, displacements=displacements, strain=total - jnp.eye(3))
        reach = shortest(total) * (self.cutoff + self.skin - 2.0 * longest(displacements))
        curvature = jnp.linalg.eigvalsh(held_in_place(scaled(hessian, self.spacing)))
        code = first_trouble(
            jnp.where(jnp.isfinite(found.energy) & jnp.all(jnp.isfinite(total)), 0, PropertyCode.NONFINITE),
            jnp.where(reach >= self.cutoff, 0, PropertyCode.SKIN),
            jnp.where(found.converged, 0, PropertyCode.NOT_CONVERGED),
            jnp.where(curvature[0] > _SOFT * curvature[-1], 0, PropertyCode.UNSTABLE),
        )
        return RelaxedBulk(total, displacements, rest, _energy(potential, rest) / self.crystal.n_atoms, code)


def listed(
    positions: Float[np.ndarray, "atom 3"],
    types: Int[np.ndarray, " atom"],
    cell: Float[np.ndarray, "3 3"],
    potential: InteratomicPotential,
    *,
    margin: float,
) -> Environments:
    """One periodic structure's neighbourhoods up to the cutoff and a margin [length]."""
    refuse_crystal(potential)
    (batch,) = environments_of(
        [positions],
        [types],
        np.asarray(cell)[None],
        np.ones((1, 3), bool),
        potential.cutoff + margin,
        species=potential.species,
    )
    return batch


def frozen(tree: Tree) -> Tree:
    """The same potential or structure, whose numbers derivatives do not see."""
    return jax.tree.map(jax.lax.stop_gradient, tree)


def isolated_energies(potential: InteratomicPotential) -> Float[Array, " species"]:
    """Energy of an atom of each species without neighbours [energy].

    Example:
        >>> from bayescg.physics import SpeciesEnergies, StillingerWeber
        >>> isolated_energies(StillingerWeber.silicon() + SpeciesEnergies([-0.5], species=("Si",))).tolist()
        [-0.5]
    """
    types = jnp.arange(len(potential.species))
    far = jnp.zeros((len(types), 1, 3)).at[:, :, 0].set(FAR)
    return potential.site_energies(far, types, jnp.zeros((len(types), 1), int))


def strain_matrix(voigt: Float[Array, " 6"]) -> Float[Array, "3 3"]:
    """The symmetric matrix of xx, yy, zz, 2yz, 2xz, 2xy [dimensionless]."""
    xx, yy, zz, yz, xz, xy = voigt
    return jnp.array([[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]])


def deformed_energy(
    potential: InteratomicPotential, rest: Environments, x: Float[Array, " strain_and_atoms"]
) -> Float[Array, ""]:
    """Energy of a cell at strain x[:6] (Voigt) and displacements x[6:] of its atoms [energy]."""
    u = x[6:].reshape(-1, 3)
    return _energy(potential, deformed(rest, displacements=u, strain=strain_matrix(x[:6])))


def held_in_place(hessian: Float[Array, "x x"], *, first: int = 6) -> Float[Array, "x x"]:
    """The Hessian with a typical curvature added for translations, which cost no energy: it can then be inverted.

    Args:
        hessian: of other coordinates and then of displacements.
        first: number of the other coordinates.
    """
    n_atoms = (len(hessian) - first) // 3
    shift = jnp.concatenate([jnp.zeros((first, 3)), jnp.tile(jnp.eye(3), (n_atoms, 1))]) / jnp.sqrt(n_atoms)
    typical = jnp.sum(jnp.abs(jnp.diag(hessian)[first:])) / (3 * n_atoms)
    floor = jnp.where(typical > 0.0, typical, 1.0)
    return hessian + floor * shift @ shift.T


def scaled(hessian: Float[Array, "x x"], spacing: float) -> Float[Array, "x x"]:
    """The Hessian with strains counted as displacements over the distance of nearest neighbours [energy/length²]."""
    weights = jnp.concatenate([jnp.full(6, 1.0 / spacing), jnp.ones(len(hessian) - 6)])
    return hessian * weights[:, None] * weights


def shortest(stretch: Float[Array, "3 3"]) -> Float[Array, ""]:
    """The smallest factor by which any length changes."""
    return jnp.sqrt(jnp.linalg.eigvalsh(jax.lax.stop_gradient(stretch.T @ stretch))[0])


def longest(displacements: Float[Array, "atom 3"]) -> Float[Array, ""]:
    """The longest displacement [length]."""
    return jnp.sqrt(jnp.max(jnp.sum(jax.lax.stop_gradient(displacements) ** 2, axis=1)))


def _energy(potential: InteratomicPotential, batch: Environments) -> Float[Array, ""]:
    return predict_energy(potential, batch)[0]
