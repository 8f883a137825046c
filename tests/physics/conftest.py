"""What several files of tests need: potentials of every kind, and batches of one configuration."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.physics import (
    DoubleWell,
    Environments,
    InteratomicPotential,
    LennardJones,
    LinearPotential,
    Mie,
    Potential,
    SplinePair,
    WeeksChandlerAndersen,
    environments_of,
    predict_energy,
)
from bayescg.physics._space import pair_distances_squared

BOX = np.array([5.2, 5.4, 5.6])
CUTOFF = 2.5


def bumps(positions, box):
    """Two Gaussians in the distance and a three-body term, all seen through the minimum image."""
    r2 = pair_distances_squared(positions, box)
    crowding = jnp.sum(jnp.exp(-r2)) ** 2
    return jnp.stack([jnp.sum(jnp.exp(-r2)), jnp.sum(jnp.exp(-((jnp.sqrt(r2) - 1.5) ** 2))), crowding])


def with_random_coefficients(spline):
    values = np.random.default_rng(1).normal(size=spline.coefficients_.shape)
    return spline.with_parameters({f"{spline.name}_coefficients": values})


def uniform_spline():
    return with_random_coefficients(
        SplinePair.uniform(inner=0.9, cutoff=CUTOFF, spacing=0.2, core_distance=1.1, core_strength=2.0)
    )


def graded_spline():
    return with_random_coefficients(
        SplinePair.uniform(
            inner=0.9, cutoff=CUTOFF, spacing=0.1, outer_spacing=0.35, core_distance=1.0, core_strength=2.0
        )
    )


def wca():
    return WeeksChandlerAndersen(1.3, 1.2, inner=0.7, cutoff=1.6)


def lennard_jones(convention):
    onset = 2.0 if convention == "smooth" else None
    return LennardJones(0.9, 1.05, cutoff=CUTOFF, convention=convention, onset=onset)


CONSTRUCTORS = {
    "lj_truncated": lambda: lennard_jones("truncated"),
    "lj_shifted": lambda: lennard_jones("shifted"),
    "lj_smooth": lambda: lennard_jones("smooth"),
    "wca": wca,
    "mie": lambda: Mie(0.9, 1.05, 13.0, 5.5, inner=0.8, cutoff=CUTOFF, convention="smooth", onset=2.0),
    "spline_uniform": uniform_spline,
    "spline_graded": graded_spline,
    "sum_of_pairs": lambda: lennard_jones("shifted") + uniform_spline() + wca(),
    "linear": lambda: LinearPotential(jnp.asarray([0.7, -1.1, 0.02]), function=bumps),
    "double_well": lambda: DoubleWell(0.8, 0.3),
    "sum_with_well": lambda: lennard_jones("smooth") + DoubleWell(0.8, 0.3),
}


def gas():
    """Sites at random, no closer than 0.75: pairs at all distances, the repulsive ones included."""
    rng = np.random.default_rng(5)
    sites = [rng.uniform(0, BOX)]
    while len(sites) < 48:
        new = rng.uniform(0, BOX)
        d = np.asarray(sites) - new
        if np.min(np.sum((d - BOX * np.round(d / BOX)) ** 2, axis=1)) > 0.75**2:
            sites.append(new)
    return np.asarray(sites)


@eqx.filter_jit
def energy_and_forces(potential, positions, box):
    """Compiled once per potential and shape, for all tests."""
    return potential.energy(positions, box), potential.forces(positions, box)


def energy(potential, positions, box):
    return energy_and_forces(potential, np.asarray(positions), np.asarray(box))[0]


def forces(potential, positions, box):
    return energy_and_forces(potential, np.asarray(positions), np.asarray(box))[1]


class Cases(NamedTuple):
    """A potential of every kind, sites to try them on, and functions compiled once for all tests.

    Attributes:
        constructors: by the kind's name.
        box: edges of the periodic box.
        cutoff: of the pair potentials but `wca`.
        sites: positions at random in the box [site 3].
        energy: of (potential, positions, box).
        forces: of (potential, positions, box).
    """

    constructors: Mapping[str, Callable[[], Potential]]
    box: np.ndarray
    cutoff: float
    sites: np.ndarray
    energy: Callable[[Potential, np.ndarray, np.ndarray], jax.Array]
    forces: Callable[[Potential, np.ndarray, np.ndarray], jax.Array]

    def make(self, name: str) -> Potential:
        """A new potential of the kind."""
        return self.constructors[name]()


@pytest.fixture(scope="session")
def cases() -> Cases:
    sites = gas()
    sites.setflags(write=False)
    return Cases(CONSTRUCTORS, BOX, CUTOFF, sites, energy, forces)


# --- interatomic potentials on one configuration ---

energies = jax.jit(predict_energy)


@jax.jit
def gradients(potential, batch):
    """dU/dθ of the first configuration, by parameter name."""

    def energy(parameters):
        return predict_energy(potential.with_parameters(parameters), batch)[0]

    return jax.grad(energy)(potential.parameter_values())


def one_batch(positions, types, cell, potential):
    """The batch of a single configuration, open where the cell is 0, with the potential's species and cutoff."""
    (batch,) = environments_of(
        [np.asarray(positions, float)], [np.asarray(types)], np.asarray(cell, float)[None],
        np.full((1, 3), np.any(cell)), potential.cutoff, species=potential.species,
    )  # fmt: skip
    return batch


def cubic_crystal_energy(potential, basis, constant, types):
    """Energy of an atom of a perfect cubic crystal."""
    batch = one_batch(constant * basis, types, constant * np.eye(3), potential)
    return float(energies(potential, batch)[0]) / len(basis)


@pytest.fixture(scope="session")
def gradients_of() -> Callable[[InteratomicPotential, Environments], dict[str, jax.Array]]:
    return gradients


@pytest.fixture(scope="session")
def batch_of() -> Callable[..., Environments]:
    return one_batch


@pytest.fixture(scope="session")
def crystal_energy() -> Callable[..., float]:
    return cubic_crystal_energy
