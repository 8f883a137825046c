"""Laws that every interatomic potential obeys. A new potential joins by one line in CONSTRUCTORS."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from bayescg.errors import InputError
from bayescg.inference import independent_prior
from bayescg.physics import SpeciesEnergies, StillingerWeber
from bayescg.physics._body_splines import BodySplines
from bayescg.physics._embedded_splines import EmbeddedSplines
from bayescg.physics._environment import deformed, environments_of, in_data_order, predict, predict_energy
from bayescg.physics._finnis_sinclair import FinnisSinclair
from bayescg.physics._ionic_pairs import BuckinghamPairs, ScreenedCoulomb
from bayescg.physics._johnson import Johnson
from bayescg.physics._long_range_coulomb import LongRangeCoulomb
from bayescg.physics._pair_forms import GaussianPairs, LennardJonesPairs, MiePairs, MorsePairs
from bayescg.physics._symmetry_functions import SymmetryFunctions
from bayescg.physics._symmetry_potentials import LinearSymmetry, NeuralSymmetry
from bayescg.physics._tersoff import Tersoff
from bayescg.physics._tersoff_mixture import TersoffMixture

AB = ("A", "B")
SIX = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]


def silicon():
    return StillingerWeber.silicon(cutoff=4.0)


def mixture():
    return StillingerWeber(
        [2.17, 1.9, 1.5], [2.1, 2.2, 2.3], [1.8, 1.7, 1.6], [[21, 19, 17], [23, 25, 31]], [1.2, 1.1, 1.3],
        [7.05, 7.4, 6.8], [0.6, 0.65, 0.7], [4, 4.4, 5], [0, 0.3, 0.5], species=AB, cutoff=4.0,
    )  # fmt: skip


def tersoff():
    row = (3, 1, 1.3258, 4.8381, 2.0417, 0.0, 22.956, 0.33675, 1.3258, 95.373, 3.0, 0.2, 3.2394, 3264.7)
    return Tersoff.from_entries({("Si",) * 3: row}, species=("Si",))


def smooth(form, *parameters, **more):
    return form(*parameters, species=AB, cutoff=4.0, convention="smooth", onset=3.0, **more)


def tersoff_mixture():
    return TersoffMixture(
        [1400.0, 1800.0], [350.0, 470.0], [2.8, 2.5], [1.9, 1.7], [0.02, 0.01], [0.73, 0.79], [38.0, 100.0], [4.3, 16.0],
        [-0.57, -0.6], 0.98, R=(2.9, 3.1), S=(3.5, 3.9), species=AB,
    )  # fmt: skip


def embedded_splines():
    rng = np.random.default_rng(5)
    return EmbeddedSplines(
        rng.normal(size=(3, 4)), rng.uniform(0.5, 1.0, (2, 4)), rng.normal(size=(2, 4)),
        knots=np.linspace(2.6, 4.1, 5), density_knots=(0.0, 1.0, 2.0), species=AB,
    )  # fmt: skip


def body_splines():
    empty = BodySplines.uniform(species=AB, pair=(2.6, 4.1, 4), triplet=(2.6, 4.0, 2), opposite=2)
    rng = np.random.default_rng(6)
    return empty.with_parameters(
        {name: rng.normal(size=v.shape) for name, v in empty.parameter_values().items()}
    )


def symmetry_functions():
    return SymmetryFunctions(
        ((0.5, 2.0), (2.0, 3.0)), ((0.02, 1.0, 1), (0.05, -1.0, 4)), species=AB, cutoff=4.0
    )


CONSTRUCTORS = {
    "sw": silicon,
    "sw_mixture": mixture,
    "sw_shared": lambda: StillingerWeber(2.2, 2.1, 1.8, 21, 1.2, 7.0, 0.6, q=0.5, species=AB, cutoff=3.9),
    "sum": lambda: silicon() + SpeciesEnergies([-1.5], species=("Si",)),
    "morse": lambda: MorsePairs(
        [0.3, 0.4, 0.5], 1.5, [2.7, 2.6, 2.5], species=AB, cutoff=4.0, convention="smooth", onset=3.0
    ),
    "lennard_jones": lambda: LennardJonesPairs(
        [0.1, 0.2, 0.3], 2.4, species=AB, cutoff=4.0, convention="force_shifted"
    ),
    "mie": lambda: smooth(MiePairs, [0.1, 0.2, 0.3], 2.4, [12.0, 11.0, 10.0], 5.5),
    "buckingham": lambda: smooth(BuckinghamPairs, 1500.0, [0.3, 0.31, 0.32], [10.0, 20.0, 30.0], core=1.5),
    "gaussian": lambda: smooth(GaussianPairs, [[0.5, -0.2]] * 3, [[2.0, 3.0]] * 3, [[0.5, 0.6]] * 3),
    "coulomb": lambda: smooth(ScreenedCoulomb, [0.8, -1.1], 2.0, coulomb=14.4),
    "long_range_coulomb": lambda: LongRangeCoulomb(
        [0.8, -1.1], formulas=(), coulomb=14.4, species=AB, cutoff=6.0, accuracy=1e-11
    ),
    "tersoff": tersoff,
    "tersoff_mixture": tersoff_mixture,
    "johnson": lambda: Johnson(
        [2.85, 3.54], [0.48, 0.59], [5.92, 5.09], [5.96, 5.85], [8.26, 8.0], [2.88, 2.56], [0.17, 0.3],
        onset=3.2, species=AB, cutoff=4.0,
    ),
    "embedded_splines": embedded_splines,
    "body_splines": body_splines,
    "symmetry": lambda: LinearSymmetry(np.linspace(-1, 1, 20).reshape(2, 10), functions=symmetry_functions()),
    "network": lambda: NeuralSymmetry.random(jax.random.key(0), functions=symmetry_functions(), hidden=3),
    "finnis_sinclair": lambda: FinnisSinclair.published("Ta", cutoff=4.4),
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", CONSTRUCTORS)
NOT_SMOOTH = {
    "finnis_sinclair": "its embedding has a square root's slope where the first neighbour comes in",
    "johnson": "its embedding has a power's slope where the first neighbour comes in",
    "long_range_coulomb": "it reaches beyond every cutoff and needs periodic configurations",
}

STEP = 1e-5
DIRECTIONS = 3


def rotation(seed=3):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def strain(component, size):
    i, j = SIX[component]
    e = np.zeros((3, 3))
    e[i, j] += 0.5 * size
    e[j, i] += 0.5 * size
    return e


def crystal(n_species):
    """Nine atoms, no two closer than 2 Å, in a skewed cell no wider than the cutoff: neighbours are images too."""
    rng = np.random.default_rng(8)
    cell = 1.2 * np.array([[5.0, 0.0, 0.0], [0.6, 4.6, 0.0], [-0.4, 0.5, 4.8]])
    grid = np.array([(i, j, k) for i in range(2) for j in range(2) for k in range(2)], float)
    positions = (0.5 * np.concatenate([grid, [[0.5, 0.5, 0.5]]]) + 0.05) @ cell
    positions += rng.uniform(-0.12, 0.12, positions.shape)
    return positions, np.arange(9) % n_species, cell


def variants(n_species):
    """The crystal and what the laws compare it with, by name: positions, types, cell."""
    positions, types, cell = crystal(n_species)
    rng = np.random.default_rng(2)
    order, turn = rng.permutation(len(types)), rotation()
    found = {
        "base": (positions, types, cell),
        "translated": (positions + [0.31, -1.7, 11.3], types, cell),
        "rotated": (positions @ turn.T, types, cell @ turn.T),
        "reflected": (-positions, types, -cell),
        "permuted": (positions[order], types[order], cell),
        "wrapped": (positions + rng.integers(-2, 3, positions.shape) @ cell, types, cell),
        "other_cell": (positions, types, np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]]) @ cell),
        "doubled": (
            np.concatenate([positions, positions + cell[1]]),
            np.tile(types, 2),
            cell * [[1], [2], [1]],
        ),
    }
    for k in range(DIRECTIONS):
        u = np.random.default_rng(20 + k).normal(size=positions.shape)
        found |= {f"moved_{k}_{s}": (positions + s * STEP * u, types, cell) for s in (1, -1)}
    for k in range(6):
        for s in (1, -1):
            stretch = np.eye(3) + strain(k, s * STEP)
            found[f"strained_{k}_{s}"] = (positions @ stretch.T, types, cell @ stretch.T)
    return found


def batches(potential, items, *, periodic=True, **options):
    positions, types, cells = zip(*items)
    return environments_of(
        positions,
        types,
        np.asarray(cells),
        np.full((len(cells), 3), periodic),
        potential.cutoff,
        species=potential.species,
        **options,
    )


@cache
def laws(name):
    """Energies, forces, stresses of all variants by name: one compiled call for each potential."""
    potential = CONSTRUCTORS[name]()
    items = variants(len(potential.species))
    found = batches(potential, items.values(), n_widths=1)
    energy, forces, stress = in_data_order(found, [jax.jit(predict)(potential, batch) for batch in found])
    ends = np.cumsum([len(types) for _, types, _ in items.values()])
    parts = np.split(forces, ends[:-1])
    return {key: (energy[i], parts[i], stress[i]) for i, key in enumerate(items)}


def close(found, expected, *, relative=1e-10):
    np.testing.assert_allclose(found, expected, rtol=0, atol=relative * np.max(np.abs(expected)))


@EVERY
@pytest.mark.parametrize("motion", ["translated", "wrapped", "other_cell"])
def test_motions_that_change_nothing(name, motion):
    for found, expected in zip(laws(name)[motion], laws(name)["base"]):
        close(found, expected)


@EVERY
@pytest.mark.parametrize("motion", ["rotated", "reflected"])
def test_forces_and_stress_turn_with_the_crystal(name, motion):
    turn = rotation() if motion == "rotated" else -np.eye(3)
    energy, forces, stress = laws(name)["base"]
    close(laws(name)[motion][0], energy)
    close(laws(name)[motion][1], forces @ turn.T)
    close(laws(name)[motion][2], turn @ stress @ turn.T)


@EVERY
def test_the_order_of_atoms_is_nothing(name):
    order = np.random.default_rng(2).permutation(len(laws(name)["base"][1]))
    energy, forces, stress = laws(name)["base"]
    for found, expected in zip(laws(name)["permuted"], (energy, forces[order], stress)):
        close(found, expected)


@EVERY
def test_energy_is_extensive(name):
    energy, forces, stress = laws(name)["base"]
    for found, expected in zip(laws(name)["doubled"], (2 * energy, np.tile(forces, (2, 1)), stress)):
        close(found, expected)


@EVERY
def test_forces_add_up_to_nothing_and_stress_is_symmetric(name):
    _, forces, stress = laws(name)["base"]
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-11 * np.abs(forces).max())
    np.testing.assert_array_equal(stress, stress.T)


@EVERY
def test_forces_are_minus_the_slope_of_the_energy(name):
    for k in range(DIRECTIONS):
        u = np.random.default_rng(20 + k).normal(size=laws(name)["base"][1].shape)
        slope = (laws(name)[f"moved_{k}_1"][0] - laws(name)[f"moved_{k}_-1"][0]) / (2 * STEP)
        np.testing.assert_allclose(-np.sum(laws(name)["base"][1] * u), slope, rtol=1e-6)


@EVERY
def test_stress_is_the_slope_of_the_energy_by_strain(name):
    volume = abs(np.linalg.det(crystal(1)[2]))
    _, _, stress = laws(name)["base"]
    slopes = [
        (laws(name)[f"strained_{k}_1"][0] - laws(name)[f"strained_{k}_-1"][0]) / (2 * STEP * volume)
        for k in range(6)
    ]
    close([stress[ij] for ij in SIX], slopes, relative=1e-6)


@EVERY
def test_deformed_batches_are_those_of_deformed_crystals(name):
    potential = CONSTRUCTORS[name]()
    items = variants(len(potential.species))
    (batch,) = batches(potential, [items["base"]])
    displacements = np.random.default_rng(20).normal(size=items["base"][0].shape) * STEP
    moved, strained = jax.jit(
        lambda b: (
            predict(potential, deformed(b, displacements=displacements)),
            predict(potential, deformed(b, strain=strain(4, STEP))),
        )
    )(batch)
    for found, expected in zip(moved, laws(name)["moved_0_1"]):
        close(np.squeeze(found), expected, relative=1e-9)
    for found, expected in zip(strained, laws(name)["strained_4_1"]):
        close(np.squeeze(found), expected, relative=1e-9)


@EVERY
def test_filling_up_changes_nothing(name):
    potential = CONSTRUCTORS[name]()
    items = variants(len(potential.species))
    lonely = (np.array([[0.0, 0.0, 0.0]]), np.zeros(1, int), 12.5 * np.eye(3))
    dense = tuple(x * (0.92 if i != 1 else 1) for i, x in enumerate(items["doubled"]))
    found = batches(potential, [lonely, items["base"], dense], n_widths=1)
    together = in_data_order(found, [jax.jit(predict)(potential, batch) for batch in found])
    n = len(items["base"][1])
    for value, expected in zip(
        (together.energy[1], together.forces[1 : 1 + n], together.stress[1]), laws(name)["base"]
    ):
        close(value, expected, relative=1e-12)
    np.testing.assert_allclose(together.forces[0], 0.0, atol=1e-14)


@EVERY
def test_every_parameter_has_an_effect_and_gradients_are_finite(name):
    potential = CONSTRUCTORS[name]()
    lonely = (np.array([[0.0, 0.0, 0.0]]), np.zeros(1, int), 12.5 * np.eye(3))
    (batch,) = batches(potential, [variants(len(potential.species))["base"], lonely], n_widths=1)
    known = potential.parameter_values()

    @jax.jit
    def loss_and_gradient(values):
        def loss(values):
            found = predict(potential.with_parameters(values), batch)
            return (
                jnp.sum(found.energy) + jnp.sum(found.forces**2) + 30.0 * jnp.sum(found.stress[..., 0] ** 2)
            )

        return jax.value_and_grad(loss)(values)

    _, gradient = loss_and_gradient(known)
    assert gradient.keys() == known.keys() == {info.name for info in potential.parameters()}
    for key, value in gradient.items():
        assert np.all(np.isfinite(value)) and np.all(np.asarray(value) != 0.0), key
    rng = np.random.default_rng(4)
    step = {key: 1e-6 * rng.normal(size=value.shape) * (np.abs(value) + 0.01) for key, value in known.items()}
    up, down = (
        loss_and_gradient({key: value + s * step[key] for key, value in known.items()})[0] for s in (1, -1)
    )
    along = sum(float(np.sum(gradient[key] * step[key])) for key in known)
    np.testing.assert_allclose(along, (up - down) / 2, rtol=1e-5)


@pytest.mark.parametrize("name", ["sum", "morse"])
def test_derivatives_of_all_kinds_agree(name):
    """Forward and reverse mode, and a batch of parameters, through forces and stress."""
    potential = CONSTRUCTORS[name]()
    (batch,) = batches(potential, [variants(len(potential.species))["base"]])
    values = potential.parameter_values()

    def labels(values):
        found = predict(potential.with_parameters(values), batch)
        return jnp.concatenate([found.energy, found.forces[:2].ravel(), found.stress.ravel()])

    forward, reverse = jax.jit(jax.jacfwd(labels))(values), jax.jit(jax.jacrev(labels))(values)
    for key in values:
        close(forward[key], reverse[key])
    many = jax.tree.map(lambda v: jnp.stack([v, 1.001 * v]), values)
    close(jax.jit(jax.vmap(labels))(many)[0], labels(values), relative=1e-12)


@EVERY
def test_energy_and_force_vanish_smoothly_at_the_cutoff(name):
    if name in NOT_SMOOTH:
        pytest.skip(NOT_SMOOTH[name])
    potential = CONSTRUCTORS[name]()
    r = np.append(np.linspace(0.5, 1.0, 400), 1 - 1e-6) * potential.cutoff
    for pair in {(0, 0), (0, len(potential.species) - 1)}:
        dimers = [(np.array([[0, 0, 0], [0, x, 0]]), np.array(pair), np.zeros((3, 3))) for x in r]
        (batch,) = batches(potential, dimers, periodic=False)
        found = jax.jit(predict)(potential, batch)
        alone = potential.site_energies(np.full((2, 1, 3), 500.0), np.array(pair), np.zeros((2, 1), int))
        energy, force = (
            np.asarray(found.energy) - np.sum(alone),
            np.asarray(found.forces)[1 : 2 * len(r) : 2, 1],
        )
        assert abs(energy[-1]) < 1e-6 * np.abs(energy).max() and abs(force[-1]) < 1e-4 * np.abs(force).max()
        jumps = np.diff(energy[:-1]) + 0.5 * (force[1:-1] + force[:-2]) * np.diff(r[:-1])
        assert np.abs(jumps).max() < 1e-4 * np.abs(energy).max()
        np.testing.assert_array_equal(found.stress, 0.0)


def test_parameters_that_are_held_are_no_parameters():
    potential = silicon() + SpeciesEnergies([-1.5], species=("Si",))
    some = potential.vary("sw_lambda", "offset_energies")
    assert [info.name for info in some.parameters()] == ["sw_lambda", "offset_energies"]
    assert some.hold("sw_lambda").parameter_values().keys() == {"offset_energies"}
    changed = some.with_parameters({"sw_lambda": 23.0, "offset_energies": [1.0]})
    assert changed.terms[0].lambda_ == 23.0 and changed.terms[0].A == potential.terms[0].A
    prior = independent_prior(
        some, {"sw_lambda": dist.Normal(21.0, 1.0), "offset_energies": dist.Normal(0.0, 5.0)}
    )
    assert prior.size == 2
    drawn = prior.potential(prior.sample(jax.random.key(1), 1)[0])
    assert drawn.parameter_values().keys() == some.parameter_values().keys()
    with pytest.raises(InputError, match="unknown parameters sw_mu; those that vary are sw_lambda, offset"):
        some.hold("sw_mu")
    with pytest.raises(InputError, match="unknown sw_A"):
        some.with_parameters({"sw_lambda": 23.0, "offset_energies": [1.0], "sw_A": 7.0})


def test_terms_that_do_not_fit_together():
    with pytest.raises(InputError, match="share the parameter names sw_A"):
        silicon() + silicon()
    with pytest.raises(InputError, match="different species: A, B; Si"):
        silicon() + mixture()
    with pytest.raises(InputError, match="one energy for each of A, B"):
        SpeciesEnergies([1.0], species=AB)


def test_batches_that_do_not_fit_a_potential():
    potential = silicon()
    (batch,) = batches(potential, [variants(1)["base"]])
    with pytest.raises(InputError, match="neighbour lists only to 4.0"):
        jax.jit(predict)(StillingerWeber.silicon(cutoff=4.2), batch)
    with pytest.raises(InputError, match="species are A, B, the batch's Si"):
        predict_energy(mixture(), batch)
