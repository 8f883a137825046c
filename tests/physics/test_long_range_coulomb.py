"""Ewald's sum: lattice constants of Madelung, independence of how it is split, neutrality, refusals."""

import importlib.util
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from bayescg.data import Configurations, get_unit_system
from bayescg.errors import InputError
from bayescg.physics import (
    BuckinghamPairs,
    Bulk,
    Crystal,
    ElasticConstants,
    LatticeConstants,
    LongRangeCoulomb,
    _environment,
    _ewald,
    environments_of,
    in_data_order,
)
from bayescg.physics._ewald import splitting, waves
from bayescg.physics._long_range import check_configurations
from bayescg.physics._periodic_cells import STEP, STRETCH, independent_compositions
from bayescg.physics._phonons import site_curvatures

predict = jax.jit(_environment.predict)
SALT = ("Na", "Cl")
METAL = get_unit_system("metal")
FCC = 0.5 * (np.ones((3, 3)) - np.eye(3))
DIAGONAL = np.ones(3) / np.sqrt(3.0)
MADELUNG = {  # cell and place of the second ion for nearest neighbours at distance 1; the constant
    "rock salt": (2.0 * FCC, np.array([1.0, 0.0, 0.0]), 1.747564594633182),
    "caesium chloride": (2.0 / np.sqrt(3.0) * np.eye(3), DIAGONAL, 1.762674773070991),
    "zinc blende": (4.0 / np.sqrt(3.0) * FCC, DIAGONAL, 1.638055053388789),
}


def salt(charges=(1.0,), *, formulas=("NaCl",), species=SALT, cutoff=2.5, accuracy=1e-12, **more):
    return LongRangeCoulomb(
        list(charges),
        formulas=formulas,
        coulomb=1.0,
        species=species,
        cutoff=cutoff,
        accuracy=accuracy,
        **more,
    )


def batches(potential, items, *, periodic=True, **options):
    positions, types, cells = zip(*items)
    return environments_of(
        [np.asarray(x, float) for x in positions],
        [np.asarray(t) for t in types],
        np.asarray(cells, float),
        np.full((len(cells), 3), periodic),
        potential.cutoff,
        species=potential.species,
        **options,
    )


def predictions(potential, items, **options):
    found = batches(potential, items, **options)
    return in_data_order(found, [predict(potential, batch) for batch in found])


def disordered(n_atoms=12, *, n_species=2, seed=0, size=5.0):
    """Ions at random places, no two closer than 0.8, in a skewed cell."""
    rng = np.random.default_rng(seed)
    cell = size * np.array([[1.0, 0.0, 0.0], [0.2, 0.9, 0.0], [-0.3, 0.1, 1.1]])
    images = np.array(list(np.ndindex(3, 3, 3))) - 1
    found = [np.zeros(3)]
    while len(found) < n_atoms:
        new = rng.uniform(size=3)
        apart = ((np.array(found) - new)[:, None] + images) @ cell
        if np.min(np.linalg.norm(apart, axis=-1)) > 0.8:
            found.append(new)
    return np.array(found) @ cell, np.arange(n_atoms) % n_species, cell


def test_crystals_have_their_madelung_constants():
    items = [(np.array([np.zeros(3), place]), [0, 1], cell) for cell, place, _ in MADELUNG.values()]
    found = predictions(salt(), items)
    np.testing.assert_allclose(-found.energy, [known for *_, known in MADELUNG.values()], rtol=3e-12)
    np.testing.assert_allclose(found.forces, 0.0, atol=1e-11)
    for (cell, _, known), stress in zip(MADELUNG.values(), found.stress):  # the energy goes as 1/V^(1/3)
        volume = abs(np.linalg.det(cell))
        np.testing.assert_allclose(stress, known / (3.0 * volume) * np.eye(3), atol=1e-11)


@pytest.mark.parametrize("net", [0.0, 0.4])
def test_how_the_sum_is_split_is_nothing(net):
    """With a net charge, too, which the background's term must make so."""
    found = [
        predictions(salt([1.1, net - 1.1], formulas=(), cutoff=cutoff), [disordered()])
        for cutoff in (2.5, 4.0)
    ]
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-11 * np.abs(other).max())


@pytest.mark.parametrize("accuracy", [1e-4, 1e-6, 1e-8])
def test_forces_are_as_accurate_as_asked(accuracy):
    exact = predictions(salt(cutoff=3.0, accuracy=1e-13), [disordered()]).forces
    forces = predictions(salt(cutoff=3.0, accuracy=accuracy), [disordered()]).forces
    error = np.sqrt(np.mean((forces - exact) ** 2) / np.mean(exact**2))
    assert 0.01 * accuracy < error < 2.0 * accuracy


def test_cells_of_all_sizes_share_batches():
    sizes = [(12, 5.0), (4, 4.0), (12, 5.5), (2, 3.0), (12, 6.5), (4, 4.0)]
    items = [disordered(n, seed=k, size=size) for k, (n, size) in enumerate(sizes)]
    potential = salt(accuracy=1e-7)
    together = batches(potential, items, n_widths=1, max_edges=150)
    assert len(together) > 2 and len({jax.tree.structure(one) for one in together}) == 1
    assert len(together[0].cells) <= 3
    many = in_data_order(together, [predict(potential, one) for one in together])
    one = predictions(potential, items, n_widths=1)
    for a, b in zip(many, one):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


def test_large_sums_in_parts_are_the_same(monkeypatch):
    positions, types, cell = disordered()
    arguments = (
        np.array([1.0 - 2.0 * types, 0.5 - types]), np.array([positions, 1.01 * positions]), np.array([cell, 1.01 * cell])
    )  # fmt: skip

    def found():
        summed = partial(
            _ewald.wave_energies.__wrapped__, lengths=(6.0, 6.0, 6.0), obliqueness=1.4, alpha=1.5, longest=8.0
        )
        energy = lambda *values: jnp.sum(jnp.array([1.0, 2.0]) * summed(*values))  # noqa: E731
        return jax.jit(jax.value_and_grad(energy, argnums=(0, 1, 2)))(*arguments)

    assert 200 < len(waves((6.0, 6.0, 6.0), 1.4, 8.0)) < 20000 / 12
    whole = jax.tree.leaves(found())
    for most in (2400, 20000):  # parts of the waves; whole configurations one after the other
        monkeypatch.setattr(_ewald, "MAX_NUMBERS", most)
        for one, other in zip(jax.tree.leaves(found()), whole):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.abs(other).max())


def test_energies_are_quadratic_in_the_charges():
    (batch,) = batches(salt(), [disordered()])
    energy = jax.jit(lambda q: _environment.predict_energy(salt(q), batch)[0])
    one = energy(jnp.array([1.0]))
    np.testing.assert_allclose(energy(jnp.array([-1.7])), 1.7**2 * one, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.grad(energy))(jnp.array([1.7])), [2 * 1.7 * one], rtol=1e-12)


def test_charges_that_follow():
    perovskite = LongRangeCoulomb.of_species(
        {"Ba": 1.9, "O": -1.5, "Ti": 2.6},
        formulas=("BaTiO3",), coulomb=14.4, species=("Ba", "O", "Ti"), cutoff=6.0, name="ions",
    )  # fmt: skip
    assert [info.name for info in perovskite.parameters()] == ["ions_charges"]
    np.testing.assert_allclose(perovskite.charges, [1.9, -1.5])
    np.testing.assert_allclose(perovskite.species_charges(), [1.9, -1.5, 2.6])
    changed = perovskite.with_parameters({"ions_charges": [2.0, -1.0]})
    np.testing.assert_allclose(changed.species_charges(), [2.0, -1.0, 1.0])
    oxides = salt([1.3], formulas=("MgO", "SiO2", "Mg2SiO4"), species=("Mg", "Si", "O"))
    np.testing.assert_allclose(oxides.species_charges(), [1.3, 2.6, -1.3], rtol=1e-14)
    free = salt([1.0, -0.5], formulas=())
    np.testing.assert_allclose(free.species_charges(), [1.0, -0.5])


def test_waves_hold_all_that_are_long_enough():
    rng = np.random.default_rng(1)
    for k in range(5):
        cell = 4.0 * np.eye(3) + rng.normal(size=(3, 3)) if k else 4.0 * FCC
        lengths = np.linalg.norm(cell, axis=1)
        edges = cell / lengths[:, None]
        n = waves(tuple(lengths), float(np.linalg.eigvalsh(edges @ edges.T)[-1]), 5.0)
        every = np.array(list(np.ndindex(25, 25, 25))) - 12
        short = every[np.linalg.norm(2 * np.pi * every @ np.linalg.inv(cell).T, axis=1) <= 5.0]
        both = {tuple(v) for v in np.concatenate([n, -n, [[0, 0, 0]]])}
        assert len(both) == 2 * len(n) + 1
        assert {tuple(v) for v in short} <= both


def test_bounds_of_cells_leave_room():
    potential = salt()
    (batch,) = batches(potential, [disordered()])
    lengths = np.linalg.norm(batch.cells[0].cell[0], axis=1)
    assert np.all(np.diff(lengths) <= 0.0)
    ratio = np.array(batch.cells[0].lengths) / lengths
    assert np.all((ratio >= STRETCH) & (ratio <= STRETCH * STEP))
    assert splitting(1e-12) > splitting(1e-6) > 3.0


def test_compositions_span_those_of_the_data():
    types = [np.array([0, 0, 1, 1]), np.array([0, 1]), np.array([0, 1, 1]), np.array([1, 1])]
    assert independent_compositions(types, 2) == ((1, 1), (1, 2))
    assert independent_compositions([np.array([2, 2])], 3) == ((0, 0, 1),)


def born_and_mayer():
    """Rock salt whose unlike ions repel by A e^{−r/ρ}."""
    coulomb = salt([0.9], cutoff=7.0, accuracy=1e-8)
    repulsion = BuckinghamPairs(
        [0.0, 80.0, 0.0], 0.32, 0.0, core=1.0, species=SALT, cutoff=7.0, convention="truncated"
    )
    return coulomb + repulsion


def distance_at_rest():
    """Of nearest neighbours, where Madelung's attraction equals the repulsion of all unlike ions."""
    sites = np.indices((9, 9, 9)).reshape(3, -1).T - 4
    unlike = np.linalg.norm(sites[sites.sum(axis=1) % 2 == 1], axis=1)

    def pull(r):
        near = unlike[unlike * r < 7.0]
        push = np.sum(near * 80.0 / 0.32 * np.exp(-near * r / 0.32))
        return 0.81 * MADELUNG["rock salt"][2] / r**2 - push

    return brentq(pull, 2.0, 4.0, xtol=1e-13)


def test_a_crystal_at_rest_is_without_stress():
    potential, r = born_and_mayer(), distance_at_rest()
    items = [
        (k * r * np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), [0, 1], 2.0 * k * r * FCC) for k in (1.0, 1.1)
    ]
    stress = predictions(potential, items).stress
    np.testing.assert_allclose(stress[0], 0.0, atol=1e-7 * np.abs(stress[1]).max())


@pytest.mark.slow
def test_elastic_constants_obey_cauchys_relation():
    """Central forces between ions that are centres of symmetry, at rest: C12 = C44."""
    potential = born_and_mayer()
    bulk = Bulk.of(Crystal.bulk("NaCl", "rocksalt", a=5.5), potential, skin=0.2)
    a = LatticeConstants.of(bulk, units=METAL).evaluate(potential).values[0]
    np.testing.assert_allclose(a, 2.0 * distance_at_rest(), rtol=1e-6)
    elastic = ElasticConstants.of(bulk, units=METAL)
    found = elastic.evaluate(potential)
    values = {one.name: float(value) for one, value in zip(elastic.components, found.values)}
    assert int(found.code) == 0
    np.testing.assert_allclose(values["elastic_C12"], values["elastic_C44"], rtol=1e-4)
    assert values["elastic_C11"] > values["elastic_C12"] > 0.0


def test_phonons_are_refused():
    potential = born_and_mayer()
    (batch,) = batches(potential, [disordered(4)])
    with pytest.raises(InputError, match="phonons: potential 'coulomb' reaches beyond every cutoff"):
        site_curvatures(potential, batch)


REFUSED = {
    "cutoff": (lambda: salt(cutoff=-1.0), "cutoff -1.0 must be positive"),
    "accuracy": (lambda: salt(accuracy=-1e-6), "accuracy -1e-06 must lie between 1e-14 and 0.1"),
    "charges": (lambda: salt([1.0, -1.0]), r"one charge for each of Na .*Cl follow from NaCl.*\(2,\)"),
    "free charges": (lambda: salt([1.0], formulas=()), r"one charge for each of Na, Cl is expected, found"),
    "another species": (
        lambda: salt(formulas=("KCl",)),
        "'KCl' in `formulas` contains K; the species are Na, Cl",
    ),
    "no formula": (lambda: salt(formulas=("Na)Cl",)), r"'Na\)Cl' in `formulas` is no chemical formula"),
    "nothing left": (lambda: salt(formulas=("NaCl", "NaCl2")), "leave no charge of Na, Cl other than 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_input_is_named(case):
    make, words = REFUSED[case]
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize(
    ("charges", "words"),
    [
        ({"Na": 1.0, "Cl": -1.0, "K": 1.0}, "`charges` name K, the species are Na, Cl"),
        ({"Na": 1.0}, "`charges` lack Cl"),
        ({"Na": 1.0, "Cl": -0.9}, "NaCl has a net charge of 0.1"),
    ],
)
def test_charges_by_species_are_checked(charges, words):
    with pytest.raises(InputError, match=words):
        LongRangeCoulomb.of_species(
            charges, formulas=("NaCl",), coulomb=1.0, species=SALT, cutoff=3.0, accuracy=1e-6
        )


def test_configurations_that_do_not_suit():
    potential = salt()
    positions, types, cell = disordered(4)
    three = (positions[:3], types[:3], cell)
    (batch,) = batches(potential, [three])
    with pytest.raises(
        InputError, match="configurations of Na2Cl are not neutral: .* made of NaCl; leave them out"
    ):
        predict(potential, batch)
    (batch,) = batches(potential, [(positions, types, cell)], periodic=np.array([True, True, False]))
    with pytest.raises(InputError, match="configuration 0 is not periodic along all edges.*ScreenedCoulomb"):
        predict(potential, batch)
    (batch,) = batches(potential, [(positions, types, 40.0 * cell)])
    with pytest.raises(InputError, match="needs more than .* waves: choose a longer cutoff"):
        predict(potential, batch)
    data = Configurations(
        species=("Cl", "Na"), positions=(positions, positions[:3]), types=(types, types[:3]),
        cell=np.array([cell, cell]), periodic=np.ones((2, 3), bool), units=METAL,
    )  # fmt: skip
    with pytest.raises(InputError, match="configurations of Cl2Na are not neutral"):
        check_configurations(salt(species=("Cl", "Na")), data)


def test_the_library_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"needs jax-pme, which is not installed: pip install 'bayescg\[electro"
    ):
        salt()
