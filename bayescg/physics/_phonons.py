"""Phonons of the relaxed crystal from exact second derivatives of the site energies, without a supercell."""

from collections.abc import Mapping
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from bayescg.data import UnitSystem
from bayescg.errors import InputError
from bayescg.physics._bulk import Bulk, RelaxedBulk
from bayescg.physics._crystal import Crystal
from bayescg.physics._environment import Environments
from bayescg.physics._interatomic import InteratomicPotential
from bayescg.physics._long_range import long_range_terms
from bayescg.physics._pairwise_term import refuse_crystal
from bayescg.physics._property import Component, CrystalProperty, PropertyValues, frequency_unit, outcome
from bayescg.physics._property_code import PropertyCode


def wave_vector_path(crystal: Crystal, corners: str, *, n_points: int) -> Float[np.ndarray, "wave_vector 3"]:
    """Wave vectors along a path through special points, equally spaced, as fractions of the reciprocal cell vectors.

    Args:
        crystal: whose `cell` the fractions refer to.
        corners: names of special points as ASE knows them for the cell's lattice, e.g. `GXWKGL`; a comma is a jump.
        n_points: along the whole path.

    Raises:
        InputError: a point that the lattice does not have.

    Example:
        >>> path = wave_vector_path(Crystal.bulk("Si", "diamond", a=5.43), "GX", n_points=3)
        >>> path.tolist()
        [[0.0, 0.0, 0.0], [0.25, 0.0, 0.25], [0.5, 0.0, 0.5]]
    """
    from ase.cell import Cell

    try:
        return np.asarray(Cell(crystal.cell).bandpath(corners, npoints=n_points).kpts)
    except (KeyError, ValueError) as error:
        known = ", ".join(Cell(crystal.cell).bandpath().special_points)
        raise InputError(f"path '{corners}': {error}; special points of this lattice are {known}") from error


class PhononDispersion(CrystalProperty):
    """Phonon frequencies at given wave vectors, those of unstable modes as negative numbers.

    The dynamical matrix is exact for the infinite crystal: with site energies e_i of the vectors v_ik to neighbours,
    a displacement wave u_j exp(2πi q·R) changes v_ik by δ_ik = u_n(k) exp(2πi q·R_ik) − u_i, and

        D(q) = M^{−1/2} [Σ_i Σ_kl δ_ik† (∂²e_i/∂v_ik∂v_il) δ_il] M^{−1/2},    ω² its eigenvalues.

    A translation changes no vector, so the acoustic sum rule holds by construction. A crystal that is unstable keeps its
    frequencies here: the negative ones say so.

    Attributes:
        bulk: the crystal.
        wave_vectors: fractions of the reciprocal vectors of the crystal's cell [dimensionless].
        images: cell that each neighbour of the list lies in, in lattice vectors.
        masses: of the atoms [mass].
        factor: to the components' unit.
        components: `<name>_<wave vector>_<branch>`, lowest branch first [THz, in `lj` reduced].
        name: prefix of the components' names.

    References:
        Born & Huang (1954), Dynamical Theory of Crystal Lattices, section 24.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import Bulk, Crystal, StillingerWeber
        >>> silicon = StillingerWeber.silicon()
        >>> bulk = Bulk.of(Crystal.bulk("Si", "diamond", a=5.43), silicon)
        >>> phonons = PhononDispersion.of(bulk, wave_vectors=np.zeros((1, 3)), units=get_unit_system("metal"))
        >>> [round(abs(float(f)), 1) for f in phonons.evaluate(silicon).values]  # 3 acoustic, 3 optical
        [0.0, 0.0, 0.0, 17.8, 17.8, 17.8]
    """

    bulk: Bulk
    wave_vectors: Float[np.ndarray, "wave_vector 3"]
    images: Float[np.ndarray, "neighbour atom 3"]
    masses: Float[np.ndarray, " atom"]
    factor: float = eqx.field(static=True)
    components: tuple[Component, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        bulk: Bulk,
        *,
        wave_vectors: Float[np.ndarray, "wave_vector 3"],
        units: UnitSystem,
        masses: Mapping[str, float] | None = None,
        name: str = "phonon",
    ) -> Self:
        """Choose wave vectors and masses.

        Args:
            bulk: the crystal.
            wave_vectors: fractions of the reciprocal cell vectors, e.g. from `wave_vector_path`.
            units: the unit system of the potential.
            masses: by chemical symbol [mass]; default those of the elements.
            name: prefix of the components' names.

        Raises:
            InputError: wave vectors of another shape, a mass that is not known.
        """
        waves = np.asarray(wave_vectors, float)
        if waves.ndim != 2 or waves.shape[1] != 3 or not np.all(np.isfinite(waves)):
            raise InputError(f"phonons: wave vectors are rows of three fractions, found shape {waves.shape}")
        crystal = bulk.crystal
        vectors = np.moveaxis(np.asarray(bulk.batch.rows), 0, -1)
        apart = crystal.positions[np.asarray(bulk.batch.row_neighbours)] - crystal.positions
        images = np.round((vectors - apart) @ np.linalg.inv(crystal.cell))
        unit, factor = frequency_unit(units)
        components = tuple(
            Component(f"{name}_{q}_{branch}", unit, f"frequency of branch {branch} at wave vector {q}")
            for q in range(len(waves))
            for branch in range(3 * crystal.n_atoms)
        )
        return cls(
            bulk=bulk,
            wave_vectors=waves,
            images=images,
            masses=_masses(crystal, units, masses),
            factor=float(factor),
            components=components,
            name=name,
        )

    def evaluate_at(self, potential: InteratomicPotential, relaxed: RelaxedBulk) -> PropertyValues:
        squares = jnp.linalg.eigvalsh(self.dynamical_matrices(potential, relaxed))
        frequencies = self.factor * jnp.sign(squares) * jnp.sqrt(jnp.abs(squares))
        # an instability shows in the frequencies themselves
        code = jnp.where(relaxed.code == PropertyCode.UNSTABLE, PropertyCode.OK, relaxed.code)
        return outcome(frequencies.reshape(-1), code)

    def dynamical_matrices(
        self, potential: InteratomicPotential, relaxed: RelaxedBulk
    ) -> Complex[Array, "wave_vector coordinate coordinate"]:
        """D(q) at every wave vector [energy/(mass length²)]."""
        curvature = site_curvatures(potential, relaxed.rest)
        n = self.bulk.crystal.n_atoms
        own = jnp.eye(n)
        leads_to = own[relaxed.rest.row_neighbours]  # [neighbour centre atom]
        weights = jnp.repeat(1.0 / jnp.sqrt(jnp.asarray(self.masses)), 3)

        def matrix(wave: Float[Array, " 3"]) -> Array:
            phases = jnp.exp(2j * jnp.pi * jnp.asarray(self.images) @ wave)
            change = phases[:, :, None] * leads_to - own[None]
            right = jnp.einsum("akbli,lij->akibj", curvature, change)
            whole = jnp.einsum("kim,akibj->majb", jnp.conj(change), right).reshape(3 * n, 3 * n)
            return 0.5 * (whole + jnp.conj(whole.T)) * weights[:, None] * weights

        return jax.lax.map(matrix, jnp.asarray(self.wave_vectors))


def check_short_range(potential: InteratomicPotential) -> None:
    """Raise an InputError if a term reaches beyond the neighbour lists that phonons are computed from."""
    names = [term.name for term in long_range_terms(potential)]
    if names:
        raise InputError(
            f"phonons: potential '{names[0]}' reaches beyond every cutoff, and the field of a wave in the crystal is not"
            " computed yet: leave phonons out, or take ScreenedCoulomb"
        )


def site_curvatures(
    potential: InteratomicPotential, batch: Environments
) -> Float[Array, "3 neighbour 3 neighbour atom"]:
    """∂²e_i/∂v_ik∂v_il of every atom's energy by the vectors to its neighbours [energy/length²]."""
    check_short_range(potential)
    refuse_crystal(potential)
    width = batch.row_types.shape[0]

    def gradient(rows: Array) -> Array:
        def total(r: Array) -> Array:
            return jnp.sum(potential.site_energies(r.T, batch.types, batch.neighbour_types))

        return jax.grad(total)(rows)

    def column(which: Float[Array, "3 neighbour"]) -> Array:
        tangent = jnp.broadcast_to(which[:, :, None], batch.rows.shape)
        return jax.jvp(gradient, (batch.rows,), (tangent,))[1]

    units = jnp.eye(3 * width).reshape(3, width, 3, width)
    return jax.vmap(jax.vmap(column))(units)


def _masses(
    crystal: Crystal, units: UnitSystem, masses: Mapping[str, float] | None
) -> Float[np.ndarray, " atom"]:
    from ase.data import atomic_masses, atomic_numbers

    if masses is None and units.name != "lj":
        masses = {s: float(atomic_masses[atomic_numbers[s]]) for s in crystal.symbols if s in atomic_numbers}
    known = {} if masses is None else masses
    missing = sorted({s for s in crystal.symbols if not known.get(s, 0.0) > 0.0})
    if missing:
        raise InputError(f"phonons: give a positive mass for {', '.join(missing)} by `masses`")
    return np.asarray([known[s] for s in crystal.symbols], float)
