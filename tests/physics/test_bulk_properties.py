"""Lattice constants, cohesive energy, elastic constants and equation of state against independent numbers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar

from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.physics import (
    Bulk,
    CohesiveEnergy,
    Crystal,
    ElasticConstants,
    EquationOfState,
    GaussianPairs,
    LatticeConstants,
    LennardJonesPairs,
    PropertyCode,
    SpeciesEnergies,
    StillingerWeber,
    bulk_modulus,
    elastic_tensors,
    predict,
)

METAL = get_unit_system("metal")
EPSILON, SIGMA, CUTOFF = 0.0104, 3.4, 8.0


def argon():
    return LennardJonesPairs(EPSILON, SIGMA, species=("Ar",), cutoff=CUTOFF, convention="force_shifted")


def values_of(one, potential, relaxed):
    found = eqx.filter_jit(lambda one, potential, relaxed: one.evaluate_at(potential, relaxed))(
        one, potential, relaxed
    )
    assert int(found.code) == PropertyCode.OK
    return {component.name: float(value) for component, value in zip(one.components, found.values)}


@pytest.fixture(scope="module")
def silicon():
    potential = StillingerWeber.silicon() + SpeciesEnergies([0.3], species=("Si",))
    bulk = Bulk.of(Crystal.bulk("Si", "diamond", a=5.4), potential)
    return potential, bulk, bulk.relaxed(potential)


@pytest.fixture(scope="module")
def silicon_elastic(silicon):
    potential, bulk, relaxed = silicon
    return values_of(ElasticConstants.of(bulk, units=METAL), potential, relaxed)


def test_silicon_has_the_published_lattice_and_energy(silicon):
    potential, bulk, relaxed = silicon
    assert int(relaxed.code) == PropertyCode.OK
    lattice = LatticeConstants.of(bulk, units=METAL).evaluate_at(potential, relaxed)
    assert lattice.values.shape == (1,)
    assert float(lattice.values[0]) == pytest.approx(5.430950, rel=1e-6)
    energy = CohesiveEnergy.of(bulk, units=METAL).evaluate_at(potential, relaxed)
    assert float(energy.values[0]) == pytest.approx(-4.336400, rel=1e-4)
    assert float(energy.values[0]) == pytest.approx(-2.0 * 2.1683, rel=1e-9)  # two bonds of depth epsilon


def test_silicon_has_the_published_elastic_constants(silicon_elastic):
    for name, value in {"C11": 151.417, "C12": 76.420, "C44": 56.447}.items():
        assert silicon_elastic[f"elastic_{name}"] == pytest.approx(value, rel=1e-4)
    # LAMMPS, homogeneous shear of the cubic cell without minimisation: change_box all xy final … remap, run 0
    assert silicon_elastic["elastic_C44_clamped"] == pytest.approx(109.7564815, rel=1e-6)
    assert abs(silicon_elastic["elastic_C44_clamped"] / 56.447 - 1.0) > 0.5
    third = (silicon_elastic["elastic_C11"] + 2.0 * silicon_elastic["elastic_C12"]) / 3.0
    assert silicon_elastic["elastic_bulk_modulus"] == pytest.approx(third, rel=1e-9)


def test_the_relaxed_crystal_has_no_stress_and_no_forces(silicon):
    potential, _, relaxed = silicon
    there = eqx.filter_jit(predict)(potential, relaxed.rest)
    assert float(jnp.max(jnp.abs(there.stress))) < 1e-12
    assert float(jnp.max(jnp.abs(there.forces))) < 1e-12


@pytest.mark.slow
def test_silicon_s_equation_of_state_has_the_elastic_bulk_modulus(silicon, silicon_elastic):
    potential, bulk, relaxed = silicon
    state = values_of(EquationOfState.of(bulk, units=METAL, ratios=(0.97, 1.0, 1.03)), potential, relaxed)
    assert state["eos_bulk_modulus"] == pytest.approx(silicon_elastic["elastic_bulk_modulus"], rel=1e-6)
    assert state["eos_volume"] == pytest.approx(5.430950**3 / 8.0, rel=1e-6)
    assert state["eos_energy_1"] == pytest.approx(0.0, abs=1e-12)
    assert min(state["eos_energy_0.97"], state["eos_energy_1.03"]) > 0.0


@pytest.mark.parametrize(
    "kinds",
    [
        (LatticeConstants, CohesiveEnergy),
        pytest.param((LatticeConstants, CohesiveEnergy, ElasticConstants), marks=pytest.mark.slow),
    ],
)
def test_derivatives_by_parameters_are_those_of_finite_differences(kinds):
    potential = StillingerWeber.silicon(cutoff=3.9).vary("sw_sigma", "sw_lambda", "sw_A")
    names, centre = zip(*potential.parameter_values().items())
    bulk = Bulk.of(Crystal.bulk("Si", "diamond", a=5.4), potential)
    properties = [kind.of(bulk, units=METAL) for kind in kinds]

    def all_values(theta):
        moved = potential.with_parameters(dict(zip(names, theta)))
        relaxed = bulk.relaxed(moved)
        return jnp.concatenate([one.evaluate_at(moved, relaxed).values for one in properties])

    theta = jnp.array(centre)
    plain = jax.jit(all_values)
    exact = jax.jit(jax.jacrev(all_values))(theta)
    for k, step in enumerate(1e-5 * np.abs(theta)):
        change = jnp.zeros(len(theta)).at[k].set(step)
        slope = (plain(theta + change) - plain(theta - change)) / (2.0 * step)
        np.testing.assert_allclose(exact[:, k], slope, rtol=1e-6, atol=1e-8 * float(jnp.max(jnp.abs(exact))))
    sigma = names.index("sw_sigma")
    assert float(exact[0, sigma]) == pytest.approx(5.430950 / 2.0951, rel=1e-6)  # the cell scales with sigma


# Lennard-Jones against sums over lattice vectors written here once more -------------------------------------


def lattice_energy(cell, basis) -> float:
    """Energy per atom of the force-shifted Lennard-Jones crystal [eV]."""
    corners = (np.array(list(np.ndindex(13, 13, 13))) - 6) @ cell
    r = np.linalg.norm((basis[:, None] - basis[None])[:, :, None] + corners, axis=-1).ravel()
    r = r[(r > 1e-9) & (r < CUTOFF)]

    def u(x):
        return 4.0 * EPSILON * ((SIGMA / x) ** 12 - (SIGMA / x) ** 6)

    slope = -24.0 * EPSILON / CUTOFF * (2.0 * (SIGMA / CUTOFF) ** 12 - (SIGMA / CUTOFF) ** 6)
    return 0.5 * float(np.sum(u(r) - u(CUTOFF) - (r - CUTOFF) * slope)) / len(basis)


def fcc(a):
    return a / 2.0 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), np.zeros((1, 3))


def hcp(a, c):
    cell = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]])
    return cell, np.array([[0, 0, 0], [1 / 3, 2 / 3, 0.5]]) @ cell


@pytest.fixture(scope="module")
def fcc_argon():
    potential = argon()
    bulk = Bulk.of(Crystal.bulk("Ar", "fcc", a=5.2), potential)
    return potential, bulk, bulk.relaxed(potential)


def test_fcc_lennard_jones_is_the_lattice_sum(fcc_argon):
    potential, bulk, relaxed = fcc_argon
    best = minimize_scalar(
        lambda a: lattice_energy(*fcc(a)), bracket=(5.2, 5.3, 5.4), options={"xtol": 1e-10}
    )
    a = LatticeConstants.of(bulk, units=METAL).evaluate_at(potential, relaxed).values[0]
    assert float(a) == pytest.approx(best.x, rel=1e-7)
    energy = CohesiveEnergy.of(bulk, units=METAL).evaluate_at(potential, relaxed).values[0]
    assert float(energy) == pytest.approx(best.fun, rel=1e-12)
    # LAMMPS: pair_style lj/smooth/linear 8.0, fix box/relax
    assert float(a) == pytest.approx(5.308256254535562, rel=1e-9)
    assert float(energy) == pytest.approx(-0.06539539606537488, rel=1e-9)


def test_fcc_equation_of_state_is_the_derivative_of_the_lattice_sum(fcc_argon):
    potential, bulk, relaxed = fcc_argon
    state = values_of(EquationOfState.of(bulk, units=METAL, ratios=(0.9, 1.05)), potential, relaxed)
    a = (4.0 * state["eos_volume"]) ** (1.0 / 3.0)
    h = 4e-3
    grid = [lattice_energy(*fcc(a * np.exp(k * h / 3.0))) for k in range(-3, 4)]
    second = np.dot([2, -27, 270, -490, 270, -27, 2], grid) / (180.0 * h**2)
    third = np.dot([1, -8, 13, 0, -13, 8, -1], grid) / (8.0 * h**3)
    assert state["eos_bulk_modulus"] == pytest.approx(160.2176634 * second / state["eos_volume"], rel=1e-5)
    assert state["eos_bulk_modulus_derivative"] == pytest.approx(2.0 - third / second, rel=1e-3)
    for ratio in (0.9, 1.05):
        expected = lattice_energy(*fcc(a * ratio ** (1.0 / 3.0))) - grid[3]
        assert state[f"eos_energy_{ratio:g}"] == pytest.approx(expected, rel=1e-9)


@pytest.fixture(scope="module")
def hcp_argon():
    potential = argon()
    bulk = Bulk.of(Crystal.bulk("Ar", "hcp", a=3.7, c=6.2), potential)
    return potential, bulk, bulk.relaxed(potential)


def test_hcp_has_two_lattice_constants(hcp_argon):
    potential, bulk, relaxed = hcp_argon
    lattice = LatticeConstants.of(bulk, units=METAL)
    assert [component.name for component in lattice.components] == ["lattice_a", "lattice_c"]
    found = lattice.evaluate_at(potential, relaxed)
    assert int(found.code) == PropertyCode.OK
    best = minimize(
        lambda x: 1e3 * lattice_energy(*hcp(*x)), [3.75, 6.13], method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 2000},
    )  # fmt: skip
    np.testing.assert_allclose(found.values, best.x, rtol=1e-6)
    assert float(relaxed.energy) == pytest.approx(1e-3 * best.fun, rel=1e-10)
    assert abs(float(found.values[1] / found.values[0]) / np.sqrt(8.0 / 3.0) - 1.0) > 1e-5  # not quite ideal


@pytest.mark.slow
def test_the_hexagonal_bulk_modulus_lets_the_shape_follow(hcp_argon):
    potential, bulk, relaxed = hcp_argon
    state = values_of(EquationOfState.of(bulk, units=METAL, ratios=(0.95,)), potential, relaxed)
    tensor = eqx.filter_jit(elastic_tensors)(potential, relaxed).relaxed
    assert state["eos_bulk_modulus"] == pytest.approx(160.2176634 * float(bulk_modulus(tensor)), rel=1e-8)
    names = [component.name for component in ElasticConstants.of(bulk, units=METAL).components[:5]]
    assert names == [f"elastic_{c}" for c in ("C11", "C12", "C13", "C33", "C44")]
    assert float(tensor[5, 5]) == pytest.approx(0.5 * float(tensor[0, 0] - tensor[0, 1]), rel=1e-8)


# Trouble ----------------------------------------------------------------------------------------------------


def code_of(bulk, potential):
    found = LatticeConstants.of(bulk, units=METAL).evaluate(potential)
    assert np.isnan(found.values).all() == (int(found.code) != PropertyCode.OK)
    return PropertyCode(int(found.code))


def test_a_structure_that_leaves_the_margin_has_a_code():
    potential = StillingerWeber.silicon()
    assert (
        code_of(Bulk.of(Crystal.bulk("Si", "diamond", a=5.8), potential, skin=0.02), potential)
        == PropertyCode.SKIN
    )


def test_an_unstable_crystal_has_a_code():
    potential = argon()
    assert code_of(Bulk.of(Crystal.bulk("Ar", "sc", a=3.7), potential), potential) == PropertyCode.UNSTABLE


def test_a_potential_without_a_minimum_has_a_code():
    repulsive = GaussianPairs(
        [[0.5]], [[0.0]], [[2.0]], species=("Ar",), cutoff=8.0, convention="force_shifted"
    )
    code = code_of(Bulk.of(Crystal.bulk("Ar", "fcc", a=5.2), repulsive), repulsive)
    assert code in (PropertyCode.UNSTABLE, PropertyCode.NOT_CONVERGED)


def test_parameters_beyond_the_cutoff_have_a_code_and_leave_the_other_draws_alone():
    potential = StillingerWeber.silicon(cutoff=3.9).vary("sw_sigma")
    lattice = LatticeConstants.of(Bulk.of(Crystal.bulk("Si", "diamond", a=5.4), potential), units=METAL)
    found = jax.jit(
        lambda sigmas: jax.lax.map(
            lambda s: lattice.evaluate(potential.with_parameters({"sw_sigma": s})), sigmas
        )
    )(jnp.array([2.0951, 2.5]))
    assert found.code.tolist() == [PropertyCode.OK, PropertyCode.NONFINITE]
    assert np.isfinite(found.values).tolist() == [[True], [False]]


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda p: Bulk.of(Crystal.bulk("Ge", "diamond", a=5.6), p), "contains Ge, the potential knows Si"),
        (lambda p: Bulk.of(Crystal.bulk("Si", "diamond", a=54.3), p), "no neighbours within"),
        (lambda p: Bulk.of(Crystal.bulk("Si", "diamond", a=5.4), p, skin=0.0), "must be positive"),
        (
            lambda p: EquationOfState.of(
                Bulk.of(Crystal.bulk("Si", "diamond", a=5.4), p), units=METAL, ratios=(0.5,)
            ),
            "raise `skin`",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(make, says):
    with pytest.raises(InputError, match=says) as refused:
        make(StillingerWeber.silicon())
    assert "\n" not in str(refused.value)
