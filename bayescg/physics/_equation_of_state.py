"""Equation of state of a crystal: energy against volume, bulk modulus and its pressure derivative."""

from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.data import UnitSystem
from bayescg.errors import InputError
from bayescg.physics._bulk import (
    Bulk,
    RelaxedBulk,
    frozen,
    held_in_place,
    longest,
    shortest,
)
from bayescg.physics._environment import Environments, deformed, predict_energy
from bayescg.physics._interatomic import InteratomicPotential
from bayescg.physics._property import Component, CrystalProperty, PropertyValues, outcome, stress_unit
from bayescg.physics._property_code import PropertyCode, first_trouble
from bayescg.physics._relaxation import minimise

VOLUME_RATIOS = (0.94, 0.96, 0.98, 1.02, 1.04, 1.06)


class EquationOfState(CrystalProperty):
    """E(V) of the crystal, at each volume the least over the cell's shape and the atoms in it.

    Bulk modulus B = V E″ and B′ = dB/dP are exact derivatives at the minimum. With λ = ln V, w = (1, dy/dλ) the
    direction along which the relaxed crystal goes and φ(λ) its energy,

        φ″ = ∂²E[w, w],    φ‴ = ∂³E[w, w, w],    B = φ″ / V,    B′ = 2 − φ‴ / φ″:

    the third derivative needs no second derivative of the relaxation.

    Attributes:
        bulk: the crystal.
        shapes: strains that keep the crystal's symmetry and its volume [dimensionless].
        ratios: volumes relative to that of the minimum.
        factor: from energy/length³ to the unit of the bulk modulus.
        components: `volume` [length³ per atom], `bulk_modulus`, `bulk_modulus_derivative` and, per atom and relative to
            the minimum, `energy_<ratio>` [energy].
        name: prefix of the components' names.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import Bulk, Crystal, StillingerWeber
        >>> silicon = StillingerWeber.silicon()
        >>> bulk = Bulk.of(Crystal.bulk("Si", "diamond", a=5.4), silicon)
        >>> state = EquationOfState.of(bulk, units=get_unit_system("metal"), ratios=(0.96,))
        >>> {component.name: component.unit for component in state.components}
        {'eos_volume': 'angstrom^3', 'eos_bulk_modulus': 'GPa', 'eos_bulk_modulus_derivative': '1', 'eos_energy_0.96': 'eV'}
    """

    bulk: Bulk
    shapes: Float[np.ndarray, "mode 3 3"]
    ratios: tuple[float, ...] = eqx.field(static=True)
    factor: float = eqx.field(static=True)
    components: tuple[Component, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)

    @classmethod
    def of(
        cls, bulk: Bulk, *, units: UnitSystem, ratios: tuple[float, ...] = VOLUME_RATIOS, name: str = "eos"
    ) -> Self:
        """Choose the volumes.

        Args:
            bulk: the crystal, its skin wide enough for the smallest volume.
            units: the unit system of the potential.
            ratios: volumes relative to that of the minimum.
            name: prefix of the components' names.

        Raises:
            InputError: ratios that are not positive, or so small that the neighbour list cannot hold.
        """
        if not all(ratio > 0.0 for ratio in ratios):
            raise InputError(f"equation of state: volume ratios must be positive, found {ratios}")
        smallest = (bulk.cutoff / (bulk.cutoff + bulk.skin)) ** 3
        if ratios and min(ratios) <= smallest:
            raise InputError(
                f"equation of state: at {min(ratios):g} of the volume neighbours come in from beyond the list, which"
                f" holds to {smallest:.3g}: raise `skin` of the Bulk"
            )
        unit, factor = stress_unit(units)
        components = (
            Component(f"{name}_volume", f"{units.length}^3", "volume per atom at the minimum"),
            Component(f"{name}_bulk_modulus", unit, "bulk modulus"),
            Component(f"{name}_bulk_modulus_derivative", "1", "derivative of the bulk modulus by pressure"),
            *(
                Component(f"{name}_energy_{r:g}", units.energy, f"energy per atom at {r:g} of the volume")
                for r in ratios
            ),
        )
        return cls(
            bulk=bulk,
            shapes=_shapes(bulk.modes),
            ratios=tuple(ratios),
            factor=float(factor),
            components=components,
            name=name,
        )

    def evaluate_at(self, potential: InteratomicPotential, relaxed: RelaxedBulk) -> PropertyValues:
        n = self.bulk.crystal.n_atoms
        second, third = self._derivatives(potential, relaxed)
        energies, codes = jax.lax.map(
            lambda ratio: self._compressed(potential, relaxed, ratio), jnp.asarray(self.ratios, float)
        )
        volume = relaxed.rest.volume[0]
        modulus = jnp.stack([volume / n, self.factor * second / volume, 2.0 - third / second])
        values = jnp.concatenate([modulus, energies - relaxed.energy])
        return outcome(values, first_trouble(relaxed.code, *codes))

    def _compressed(
        self, potential: InteratomicPotential, relaxed: RelaxedBulk, ratio: Array
    ) -> tuple[Array, Array]:
        """Energy per atom at a volume, and how its relaxation ended."""
        fixed, rest = frozen((potential, relaxed.rest))
        bulk, n_shapes = self.bulk, len(self.shapes)
        n_atoms = bulk.crystal.n_atoms
        weights = jnp.concatenate(
            [jnp.full(n_shapes, 1.0 / (bulk.spacing * n_atoms**0.5)), jnp.ones(3 * n_atoms)]
        )

        def energy(y: Array) -> Array:
            return self._energy(fixed, rest, jnp.log(ratio), y * weights)

        found = minimise(jax.value_and_grad(energy), jnp.zeros(len(weights)), length=bulk.spacing)
        y = found.position * weights
        further = self._stretch(jnp.log(ratio), y[:n_shapes])
        u = y[n_shapes:].reshape(-1, 3)
        moved = longest(relaxed.displacements) + longest(u - jnp.mean(u, axis=0)) / shortest(relaxed.stretch)
        reach = shortest(further @ relaxed.stretch) * (bulk.cutoff + bulk.skin - 2.0 * moved)
        code = first_trouble(
            jnp.where(reach >= bulk.cutoff, PropertyCode.OK, PropertyCode.SKIN),
            jnp.where(found.converged, PropertyCode.OK, PropertyCode.NOT_CONVERGED),
        )
        return self._energy(potential, relaxed.rest, jnp.log(ratio), y) / n_atoms, code

    def _derivatives(self, potential: InteratomicPotential, relaxed: RelaxedBulk) -> tuple[Array, Array]:
        """φ″ and φ‴ of the relaxed energy by ln V [energy]."""

        def energy(x: Array) -> Array:
            return self._energy(potential, relaxed.rest, x[0], x[1:])

        start = jnp.zeros(1 + len(self.shapes) + relaxed.displacements.size)
        hessian = jax.hessian(energy)(start)
        held = held_in_place(hessian[1:, 1:], first=len(self.shapes))
        follow = jnp.concatenate([jnp.ones(1), -jnp.linalg.solve(held, hessian[1:, 0])])
        along = [lambda t: energy(start + t * follow)]
        for _ in range(3):
            along.append(jax.jacfwd(along[-1]))
        return follow @ hessian @ follow, along[3](jnp.zeros(()))

    def _stretch(self, logarithm: Array, amplitudes: Float[Array, " mode"]) -> Float[Array, "3 3"]:
        """Deformation whose determinant is exp(λ), whatever the strains that give the cell its shape."""
        stretch = jnp.eye(3) + jnp.einsum("m,mab->ab", amplitudes, jnp.asarray(self.shapes))
        return jnp.exp(logarithm / 3.0) * stretch / jnp.cbrt(jnp.linalg.det(stretch))

    def _energy(
        self, potential: InteratomicPotential, rest: Environments, logarithm: Array, y: Array
    ) -> Float[Array, ""]:
        """Energy of the cell at ln V − ln V₀ = λ; y are amplitudes of the shape and displacements of the atoms."""
        n_shapes = len(self.shapes)
        strain = self._stretch(logarithm, y[:n_shapes]) - jnp.eye(3)
        return predict_energy(
            potential, deformed(rest, displacements=y[n_shapes:].reshape(-1, 3), strain=strain)
        )[0]


def _shapes(modes: Float[np.ndarray, "mode 3 3"]) -> Float[np.ndarray, "shape 3 3"]:
    """The orthonormal strains of the same space that are orthogonal to a change of size."""
    flat = modes.reshape(len(modes), 9)
    size = flat @ np.eye(3).ravel() / np.sqrt(3.0)  # a change of size keeps every symmetry: this has length 1
    values, vectors = np.linalg.eigh(np.eye(len(modes)) - np.outer(size, size))
    return (vectors[:, values > 0.5].T @ flat).reshape(-1, 3, 3)
