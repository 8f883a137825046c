"""The Mie potential on frames: Lennard-Jones at 12-6, the formula at other exponents, what may be held, the hull."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.optimize import minimize_scalar

from bayescg.data import Frames, State, Topology, get_unit_system
from bayescg.errors import InputError
from bayescg.inference import force_matching_mode, force_normal_equations, independent_prior
from bayescg.physics import (
    FrameReducer,
    LennardJones,
    Mie,
    MiePairs,
    ReferenceBank,
    SimulationSettings,
    Simulator,
)
from bayescg.physics._bank import Reference

CUTOFF = 2.5
CONVENTIONS = [("truncated", None), ("shifted", None), ("smooth", 2.0)]


def make(epsilon=0.9, sigma=1.05, n=12.0, m=6.0, **more) -> Mie:
    return Mie(epsilon, sigma, n, m, **({"inner": 0.74, "cutoff": CUTOFF} | more))


def plain(r, epsilon, sigma, n, m):
    """The formula in plain numpy, its prefactor found by minimising instead of by its own formula."""
    shape = lambda x: (sigma / x) ** n - (sigma / x) ** m  # noqa: E731
    deepest = minimize_scalar(
        shape, bounds=(sigma, 2.0 * sigma), method="bounded", options={"xatol": 1e-10}
    ).fun
    return epsilon * shape(r) / -deepest


@pytest.mark.parametrize(("convention", "onset"), CONVENTIONS)
def test_at_12_6_it_is_lennard_jones(convention, onset, cases):
    """Energy, forces and virial; the gas has pairs as close as 0.75."""
    mie = make(convention=convention, onset=onset)
    lj = LennardJones(0.9, 1.05, cutoff=CUTOFF, convention=convention, onset=onset)
    x, box = cases.sites, cases.box
    assert float(cases.energy(mie, x, box)) == pytest.approx(float(cases.energy(lj, x, box)), rel=1e-5)
    expected = np.asarray(cases.forces(lj, x, box))
    np.testing.assert_allclose(cases.forces(mie, x, box), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("convention", "onset"), CONVENTIONS[1:])
def test_statistics_give_lennard_jones_energies_and_virials(convention, onset, cases):
    mie = make(convention=convention, onset=onset)
    lj = LennardJones(0.9, 1.05, cutoff=CUTOFF, convention=convention, onset=onset)
    found, exact = (FrameReducer(p, box=cases.box)(cases.sites[None]) for p in (mie, lj))
    # The virial is that of the engine's table, whose force is constant within each of its bins.
    for statistic, rel in ((0, 1e-5), (1, 1e-3)):
        a, b = found[statistic][0] @ mie.coefficients(), exact[statistic][0] @ lj.coefficients()
        assert float(a) == pytest.approx(float(b), rel=rel)
    assert abs(float(exact[0][0] @ lj.coefficients())) > 1.0


@pytest.mark.parametrize(("n", "m"), [(12.0, 6.0), (9.0, 6.0), (14.3, 6.6), (20.0, 6.0), (10.0, 4.0)])
def test_it_is_the_formula_within_what_it_says_of_itself(n, m):
    mie, r = make(n=n, m=m, convention="truncated"), np.linspace(1.05, CUTOFF - 1e-9, 4001)
    exact = plain(r, 0.9, 1.05, n, m)
    error = np.abs(np.asarray(mie.pair_energy(jnp.asarray(r**2))) - exact).max() / 0.9
    said = float(mie.interpolation_error())
    assert error < 1.1 * said + 1e-9 and said < 2e-4
    coarse = make(n=n, m=m, convention="truncated", n_nodes=8)
    assert float(coarse.interpolation_error()) > 20 * said


def test_frames_and_labelled_configurations_have_one_formula():
    mie, r = make(n=14.0, m=7.0), jnp.linspace(0.8, 2.4, 50)
    pairs = MiePairs(0.9, 1.05, 14.0, 7.0, species=("A",), cutoff=CUTOFF, convention="truncated")
    np.testing.assert_array_equal(mie.formula(r), pairs.bare_energy(r, jnp.zeros(50, int)))


@pytest.mark.parametrize("field", ["epsilon", "sigma", "n", "m"])
def test_gradients_by_finite_differences(field, cases):
    """Of the energy by a parameter; none is zero."""
    mie, name, step = make(n=13.0, m=5.5), f"mie_{field}", 1e-4
    values = mie.parameter_values()

    def energy(value):
        potential = mie.with_parameters({**values, name: value})
        return potential.energy(jnp.asarray(cases.sites), jnp.asarray(cases.box))

    here = float(values[name])
    numerical = (energy(here + step) - energy(here - step)) / (2 * step)
    slope = float(jax.grad(energy)(jnp.asarray(here)))
    assert slope == pytest.approx(float(numerical), rel=1e-5) and abs(slope) > 0.1


def test_forces_by_finite_differences(cases):
    mie, step = make(n=13.0, m=5.5), 1e-6
    x, box = np.array(cases.sites), cases.box
    forces = np.asarray(cases.forces(mie, x, box))
    for site, axis in ((0, 0), (17, 2), (40, 1)):
        ahead, behind = x.copy(), x.copy()
        ahead[site, axis] += step
        behind[site, axis] -= step
        numerical = -(cases.energy(mie, ahead, box) - cases.energy(mie, behind, box)) / (2 * step)
        assert forces[site, axis] == pytest.approx(float(numerical), rel=1e-5, abs=1e-4)


def test_below_the_first_node_it_goes_on_rising():
    r = jnp.linspace(0.05, 0.8, 200)
    mie = make(inner=0.8)
    energy, force = mie.pair_energy(r**2), mie.pair_force_factor(r**2)
    assert bool(jnp.all(jnp.diff(energy) < 0.0)) and bool(jnp.all(force > 0.0))
    assert bool(jnp.isfinite(mie.pair_energy(jnp.zeros(1)))[0])


def test_held_fields_are_no_parameters_and_keep_their_values():
    mie = make(n=14.0, held=("n", "m"), name="argon")
    assert [info.name for info in mie.parameters()] == ["argon_epsilon", "argon_sigma"]
    moved = mie.with_parameters({"argon_epsilon": 2.0, "argon_sigma": 1.1})
    assert (float(moved.n), float(moved.m), float(moved.epsilon)) == (14.0, 6.0, 2.0)
    with pytest.raises(InputError, match="unknown argon_n"):
        mie.with_parameters({"argon_epsilon": 2.0, "argon_sigma": 1.1, "argon_n": 12.0})


def test_a_bare_truncation_becomes_the_shifted_potential_and_is_not_simulated():
    bare = make(convention="truncated", held=("m",))
    assert bare.continuous().convention == "shifted" and bare.continuous().held == ("m",)
    assert make().continuous() is not None and make().continuous().convention == "shifted"
    with pytest.raises(InputError, match="bare truncation.*continuous"):
        Simulator(
            bare, topology=Topology(("A",) * 2, np.ones(2)), box=np.full(3, 6.0), units=get_unit_system("lj"),
            temperature=1.0, settings=SimulationSettings(0.005, 1.0, stride=10, n_replicas=2, equilibration=0),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inner": 3.0}, "inner 3.0 must lie between 0 and the cutoff 2.5"),
        ({"convention": "cut"}, "truncated, shifted, smooth"),
        ({"onset": 2.0}, "onset"),
        ({"n_nodes": 3}, "at least 4"),
        ({"held": ("n", "depth")}, "held n, depth; expected some of epsilon, sigma, n, m"),
        ({"held": ("epsilon", "sigma", "n", "m")}, "not all"),
    ],
)
def test_what_does_not_fit_together(settings, message):
    with pytest.raises(InputError, match=message):
        make(**settings)


def test_force_matching_finds_the_exponents():
    """Forces without noise, of a 14-7 potential on sites that rattle about a lattice; the start knows nothing of them."""
    truth = MiePairs(0.8, 1.02, 14.0, 7.0, species=("A",), cutoff=2.3, convention="shifted")
    edge, first, second = 4.6, *np.triu_indices(64, 1)

    def energy(x):
        d = x[first] - x[second]
        r = jnp.sqrt(jnp.sum((d - edge * jnp.round(d / edge)) ** 2, axis=-1))
        return jnp.sum(truth.pair_energy(r, jnp.zeros(len(first), int)))

    lattice = np.stack(np.meshgrid(*[np.arange(4) * edge / 4] * 3), axis=-1).reshape(-1, 3)
    positions = lattice + 0.07 * np.random.default_rng(3).normal(size=(8, 64, 3))
    forces = -np.asarray(jax.jit(jax.vmap(jax.grad(energy)))(positions))
    topology = Topology(("A",) * 64, np.ones(64))
    frames = Frames(positions, np.full(3, edge), topology, State(1.0), get_unit_system("lj"), forces=forces)
    mie = make(1.0, 1.0, 11.0, 6.5, cutoff=2.3)
    wide = {i.name: dist.LogNormal(jnp.log(mie.parameter_values()[i.name]), 0.5) for i in mie.parameters()}
    prior = independent_prior(mie, wide)
    found = force_matching_mode(force_normal_equations(frames.blocks(4), mie), prior, key=jax.random.key(0))
    values = found.potential.parameter_values()
    # Forces of the engine's table are constant within its bins: that noise is what is left.
    for name, value, rel in (
        ("epsilon", 0.8, 0.05),
        ("sigma", 1.02, 3e-3),
        ("n", 14.0, 0.02),
        ("m", 7.0, 0.04),
    ):
        assert float(values[f"mie_{name}"]) == pytest.approx(value, rel=rel)


def test_the_hull_is_of_what_the_parameters_can_change():
    """A mean that the features can't reach but the parameters need not: the misfit of a curved family."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 200))
    features = np.stack([x, x**2, 1e-3 * rng.uniform(size=x.shape)], axis=-1)
    none = features[..., :0]
    bank = ReferenceBank(1.0, (Reference(np.zeros(3), features, none, none, x[:0]),))
    mean = np.array([0.3, 1.0, 5.0])
    assert not bank.contains(mean)
    along_two = np.array(
        [[1.0, 0.0, 1e6], [0.0, 1e-4, 0.0], [0.0, 0.0, 0.0]]
    )  # lengths and repeats don't matter
    assert bank.contains(mean, directions=along_two)
    assert not bank.contains(np.array([0.3, -0.1, 5.0]), directions=along_two)
    assert not bank.contains(mean, directions=np.eye(3))
    inside = features.reshape(-1, 3).mean(axis=0)
    rotated = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert bank.contains(inside, directions=rotated) and bank.contains(inside)
