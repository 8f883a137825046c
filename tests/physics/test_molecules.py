"""Pairs left out: those of one molecule, of every pair formula and of Ewald's sum, and named pairs of species."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from bayescg.data import Configurations, get_unit_system
from bayescg.errors import InputError
from bayescg.physics import (
    BuckinghamPairs,
    Bulk,
    Crystal,
    GaussianPairs,
    LennardJonesPairs,
    LongRangeCoulomb,
    MiePairs,
    MorsePairs,
    ScreenedCoulomb,
    SpeciesEnergies,
    _environment,
    environments,
    in_data_order,
)
from bayescg.physics._environment import deformed, stacked
from bayescg.physics._long_range import check_configurations
from bayescg.physics._molecules import molecule_extent, shortest_repeat

predict, predict_energy = jax.jit(_environment.predict), jax.jit(_environment.predict_energy)
METAL = get_unit_system("metal")
OH = ("H", "O")
SHAPE = np.array([[0.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.8, 0.6, 0.1]])
CELL = np.array([[7.0, 0.0, 0.0], [0.9, 6.6, 0.0], [-0.4, 0.7, 6.3]])
FORMS = {
    "lennard-jones": partial(LennardJonesPairs, [0.002, 0.004, 0.007], [1.5, 2.2, 3.1]),
    "mie": partial(MiePairs, [0.002, 0.004, 0.007], [1.5, 2.2, 3.1], 10.5, 5.5),
    "morse": partial(MorsePairs, [0.1, 0.2, 0.3], 1.4, [2.0, 2.4, 3.0]),
    "buckingham": partial(BuckinghamPairs, [100.0, 300.0, 900.0], 0.3, [0.1, 1.0, 9.0], core=1.2),
    "gaussian": partial(GaussianPairs, [[0.1], [-0.2], [0.3]], [[2.0], [2.5], [3.0]], [[0.5], [0.6], [0.7]]),
    "screened": partial(ScreenedCoulomb, [0.4, -0.8], 2.0, coulomb=14.4),
}


def coulomb(**changed):
    arguments = {"formulas": ("OH2",), "coulomb": 14.4, "species": OH, "cutoff": 4.0, "accuracy": 1e-9}
    return LongRangeCoulomb([0.4], **{**arguments, "between_molecules": True, **changed})


def water(
    *, n: int = 2, cell=CELL, periodic: bool = True, seed: int = 0, labels=None, shift=0.0, count: int = 1
):
    """Configurations of n molecules, their atoms wrapped into the cell one by one."""
    rng = np.random.default_rng(seed)
    places = np.array([[0.05, 0.1, 0.9], [0.45, 0.35, 0.7], [0.1, 0.55, 0.35]])[:n] @ CELL
    positions = []
    for _ in range(count):
        atoms = [place + SHAPE @ np.linalg.qr(rng.normal(size=(3, 3)))[0] for place in places]
        x = np.concatenate(atoms) + rng.normal(0.0, 0.03, (3 * n, 3)) + shift
        positions.append((x @ np.linalg.inv(cell) % 1.0) @ cell if periodic else x)
    if labels is None:
        labels = np.repeat(np.arange(n) * 5 + 3, 3)
    return Configurations(
        species=OH, positions=tuple(positions), types=(np.tile([1, 0, 0], n),) * count,
        cell=np.tile(cell if periodic else np.zeros((3, 3)), (count, 1, 1)),
        periodic=np.full((count, 3), periodic), units=METAL, molecules=(np.asarray(labels),) * count,
    )  # fmt: skip


def batch_of(potential, data, **options):
    (batch,) = environments(data, potential.cutoff, species=potential.species, **options)
    return batch


def answers(potential, data):
    batches = environments(data, potential.cutoff, species=potential.species)
    return in_data_order(batches, [predict(potential, batch) for batch in batches])


def energy_of(potential, data) -> float:
    return float(predict_energy(potential, batch_of(potential, data, n_widths=1))[0])


def by_hand(potential, data, *, reach: int = 2) -> float:
    """Sum of the bare formula over all pairs and images, without the nearest image of a pair of one molecule."""
    x, types, labels, cell = data.positions[0], data.types[0], data.molecules[0], data.cell[0]
    total = 0.0
    shifts = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3))) @ cell
    if not data.periodic[0].all():
        shifts = np.zeros((1, 3))
    table = np.array([[0, 1], [1, 2]])
    for i in range(len(x)):
        for j in range(len(x)):
            r = np.linalg.norm(x[j] - x[i] + shifts, axis=1)
            if i != j and labels[i] == labels[j]:
                r = np.delete(r, np.argmin(r))
            r = r[(r > 1e-9) & (r < potential.cutoff)]
            pair = jnp.full(r.shape, table[types[i], types[j]])
            total += 0.5 * float(jnp.sum(potential.bare_energy(jnp.asarray(r), pair)))
    return total


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("name", FORMS)
def test_energies_are_sums_over_the_pairs_that_are_left(name, periodic):
    form = partial(FORMS[name], species=OH, cutoff=5.0, convention="truncated")
    data = water(periodic=periodic)
    energy = energy_of(form(between_molecules=True), data)
    np.testing.assert_allclose(energy, by_hand(form(), data), rtol=1e-12)
    assert abs(energy - by_hand(form(), _all_separate(data))) > 1e-3 * abs(energy)


def _all_separate(data):
    return dataclasses.replace(data, molecules=(np.arange(len(data.types[0])),))


def potentials():
    lj = FORMS["lennard-jones"](species=OH, cutoff=4.0, convention="force_shifted", between_molecules=True)
    bond = FORMS["morse"](species=OH, cutoff=3.5, convention="force_shifted")  # acts within molecules too
    return {"pairs": lj, "sum": lj + bond + coulomb() + SpeciesEnergies([-1.0, -2.0], species=OH)}


@pytest.mark.parametrize("name", ["pairs", "sum"])
def test_forces_and_stress_are_derivatives(name):
    potential, data = potentials()[name], water(n=3)
    batch = batch_of(potential, data)
    found = predict(potential, batch)
    energy = jax.jit(
        lambda u, e: _environment.predict_energy(potential, deformed(batch, displacements=u, strain=e))[0]
    )
    rng, h, n = np.random.default_rng(1), 1e-4, len(batch.types)
    still, flat = jnp.zeros((n, 3)), jnp.zeros((3, 3))
    for _ in range(3):
        u, e = rng.normal(size=(n, 3)), rng.normal(size=(3, 3))
        e = e + e.T
        slope = (energy(h * u, flat) - energy(-h * u, flat)) / (2.0 * h)
        np.testing.assert_allclose(slope, -np.sum(found.forces * u), rtol=1e-5)
        slope = (energy(still, 0.1 * h * e) - energy(still, -0.1 * h * e)) / (0.2 * h)
        np.testing.assert_allclose(slope, batch.volume[0] * np.sum(found.stress[0] * e), rtol=1e-5)


def test_ewald_leaves_out_bare_pairs_of_a_molecule():
    data = water(n=3)
    x, q = data.positions[0], np.where(data.types[0] == 1, -0.8, 0.4)
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ CELL
    inner = 0.0
    for i, j in itertools.combinations(range(len(x)), 2):
        if data.molecules[0][i] == data.molecules[0][j]:
            inner += 14.4 * q[i] * q[j] / np.linalg.norm(x[j] - x[i] + shifts, axis=1).min()
    near, far = (energy_of(coulomb(cutoff=cutoff), data) for cutoff in (4.0, 5.0))
    np.testing.assert_allclose(near, far, rtol=1e-9)
    np.testing.assert_allclose(near, energy_of(coulomb(between_molecules=False), data) - inner, rtol=1e-9)
    alpha = coulomb().alpha
    assert 1e-3 < erf(alpha) < 1.0  # both shares of the sum have a part in it


@pytest.mark.parametrize("name", ["pairs", "sum"])
def test_supercells_shifts_and_relabelling(name):
    potential, data = potentials()[name], water()
    found = answers(potential, data)
    shifted = answers(potential, water(shift=1.7))
    np.testing.assert_allclose(shifted.energy, found.energy, rtol=1e-9)
    np.testing.assert_allclose(shifted.forces, found.forces, rtol=0, atol=1e-8)
    labels = data.molecules[0]
    order = np.array([4, 0, 3, 5, 2, 1])
    other = Configurations(
        species=OH, positions=(data.positions[0][order],), types=(data.types[0][order],), cell=data.cell,
        periodic=data.periodic, units=METAL, molecules=(-7 * labels[order],),
    )  # fmt: skip
    np.testing.assert_allclose(answers(potential, other).forces, found.forces[order], rtol=0, atol=1e-9)
    # every molecule whole, so that its copy has a label of its own
    whole = data.positions[0].copy()
    for first in (0, 3):
        fractions = (whole[first : first + 3] - whole[first]) @ np.linalg.inv(CELL)
        whole[first : first + 3] -= np.round(fractions) @ CELL
    double = Configurations(
        species=OH, positions=(np.concatenate([whole, whole + CELL[0]]),), types=(np.tile(data.types[0], 2),),
        cell=(CELL * np.array([[2.0], [1.0], [1.0]]))[None], periodic=data.periodic, units=METAL,
        molecules=(np.concatenate([labels, labels + 100]),),
    )  # fmt: skip
    larger = answers(potential, double)
    np.testing.assert_allclose(larger.energy, 2.0 * found.energy, rtol=1e-8)
    np.testing.assert_allclose(larger.forces, np.tile(found.forces, (2, 1)), rtol=0, atol=1e-7)
    np.testing.assert_allclose(larger.stress, found.stress, rtol=0, atol=1e-8)


def test_batches_padding_and_stacks():
    potential = potentials()["pairs"]
    data = Configurations.concatenate([water(count=2), water(n=3, seed=3, count=2)])
    one_by_one = [answers(potential, data[k : k + 1]) for k in range(4)]
    energies = np.concatenate([one.energy for one in one_by_one])
    for options in ({"n_widths": 1}, {"max_edges": 1}, {}):
        batches = environments(data, 5.0, species=OH, **options)
        found = in_data_order(batches, [predict(potential, batch) for batch in batches])
        np.testing.assert_allclose(found.energy, energies, rtol=1e-12)
        np.testing.assert_allclose(
            found.forces, np.concatenate([one.forces for one in one_by_one]), atol=1e-12
        )
    together = stacked(environments(data, 5.0, species=OH, n_widths=1, max_edges=1))
    energy = partial(_environment.predict_energy, potential)
    of_stacks = np.concatenate([jax.lax.map(energy, each).ravel() for each in together])
    np.testing.assert_allclose(np.sort(of_stacks[of_stacks != 0.0]), np.sort(energies), rtol=1e-12)


def test_nothing_changes_without_labels():
    data = water()
    bare = _without_labels(data)
    form = FORMS["lennard-jones"](species=OH, cutoff=4.0)
    without, labelled = batch_of(form, bare), batch_of(form, data)
    assert without.row_same_molecule is None and without.same_molecule is None
    assert len(jax.tree.leaves(labelled)) == len(jax.tree.leaves(without)) + 1
    assert np.sum(labelled.same_molecule) == 12
    np.testing.assert_array_equal(predict(form, without).forces, predict(form, labelled).forces)
    assert bare.checksum() != data.checksum() != water(labels=np.ones(6, int) * np.arange(6)).checksum()


def test_labels_stay_with_their_configurations():
    data = Configurations.concatenate([water(count=2), water(n=3, labels=np.arange(9))])
    assert [len(labels) for labels in data[[2, 0]].molecules] == [9, 6]
    assert data.to(get_unit_system("real")).molecules[2].tolist() == list(range(9))
    with pytest.raises(InputError, match="only one of part 0 and part 1 has labels of molecules"):
        Configurations.concatenate([data, _without_labels(data)])
    with pytest.raises(InputError, match="molecules of configuration 0 .* the label of each atom's molecule"):
        water(labels=np.arange(6) + 0.5)


def _without_labels(data):
    return dataclasses.replace(data, molecules=())


def test_molecules_through_boundaries_and_oblique_cells():
    assert shortest_repeat(
        np.array([[4.0, 0, 0], [4.0, 3.0, 0], [0, 0, 9.0]]), np.ones(3, bool)
    ) == pytest.approx(3.0)
    assert shortest_repeat(np.diag([4.0, 2.0, 0.0]), np.array([True, False, False])) == pytest.approx(4.0)
    wrapped, whole = water(shift=2.9), water(periodic=False, shift=2.9)
    found = [
        molecule_extent(d.positions[0], d.molecules[0], d.cell[0], d.periodic[0]) for d in (wrapped, whole)
    ]
    assert found[0].label == found[1].label and found[1].shortest == np.inf
    np.testing.assert_allclose(found[0].extent, found[1].extent, rtol=1e-12)
    assert molecule_extent(np.zeros((1, 3)), np.array([0]), np.zeros((3, 3)), np.zeros(3, bool)).extent == 0.0


CHAIN = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [4.0, 0.0, 0.0]])


def chain(labels, edge=7.0):
    return Configurations(
        species=OH, positions=(CHAIN,), types=(np.array([1, 0, 0]),), cell=edge * np.eye(3)[None],
        periodic=np.ones((1, 3), bool), units=METAL, molecules=(np.array(labels),),
    )  # fmt: skip


def test_what_is_refused():
    lj = FORMS["lennard-jones"](species=OH, cutoff=3.0, between_molecules=True)
    with pytest.raises(InputError, match=r"configuration 0: molecule 4 extends over half .* \(7\) or more"):
        environments(chain([4, 4, 4]), 3.0)
    with pytest.raises(InputError, match="give a larger cell"):
        check_configurations(lj, chain([4, 4, 4]))
    large = chain([4, 4, 4], edge=9.0)
    check_configurations(lj, large)  # pairs beyond the cutoff have no energy anyway
    with pytest.raises(InputError, match="'coulomb': a molecule extends beyond the cutoff 3"):
        check_configurations(coulomb(cutoff=3.0), large)
    with pytest.raises(InputError, match="'coulomb': a molecule extends beyond the cutoff 3"):
        _environment.predict(coulomb(cutoff=3.0), batch_of(coulomb(cutoff=3.0), large))
    bare = _without_labels(large)
    for refusal in (lambda: check_configurations(lj, bare), lambda: predict(lj, batch_of(lj, bare))):
        with pytest.raises(
            InputError, match="'lj': it acts between molecules only, .*`molecule_key` in \\[data\\]"
        ):
            refusal()
    with pytest.raises(InputError, match="the atoms of a crystal have no label"):
        Bulk.of(Crystal.bulk("HO", "rocksalt", a=4.0), lj)


@pytest.mark.parametrize("name", ["lennard-jones", "gaussian"])
def test_pairs_of_species_left_out(name):
    """As if their energy were zero: the arrays of parameters lack an entry."""
    form, data = FORMS[name], water()
    kept = [[value[0], value[2]] if isinstance(value, list) else value for value in form.args]
    fewer = form.func(*kept, species=OH, cutoff=6.5, without=["O-H"])
    full = form(species=OH, cutoff=6.5)
    batch = batch_of(full, data)
    pair = np.array([[0, 1], [1, 2]])[np.asarray(batch.types)[:, None], np.asarray(batch.neighbour_types)]
    r = jnp.linalg.norm(batch.vectors, axis=2)
    expected = 0.5 * jnp.sum(jnp.where(pair == 1, 0.0, full.pair_energy(r, jnp.asarray(pair))))
    energy, gradient = jax.jit(jax.value_and_grad(lambda p: _environment.predict_energy(p, batch)[0]))(fewer)
    np.testing.assert_allclose(energy, expected, rtol=1e-12)
    assert all(np.all(leaf != 0.0) for leaf in jax.tree.leaves(gradient))


def test_charges_of_pairs_left_out():
    full, data = FORMS["screened"](species=OH, cutoff=5.0), water()
    parts = [
        energy_of(FORMS["screened"](species=OH, cutoff=5.0, without=without), data)
        for without in (("H-H", "O-H"), ("O-O", "H-O"), ("H-H", "O-O"))
    ]
    np.testing.assert_allclose(sum(parts), energy_of(full, data), rtol=1e-12)


def test_names_of_pairs():
    with pytest.raises(InputError, match="'lj': `without` names 'Na-H', .* choose from H-H, H-O, O-O"):
        FORMS["lennard-jones"](species=OH, cutoff=5.0, without=("Na-H",))
    with pytest.raises(InputError, match="`without` leaves no pair"):
        FORMS["screened"](species=OH, cutoff=5.0, without=("H-H", "H-O", "O-O"))
    with pytest.raises(InputError, match=r"shape \(3,\); .* shape \(2,\), .* without O-O"):
        FORMS["lennard-jones"](species=OH, cutoff=5.0, without="O-O")
