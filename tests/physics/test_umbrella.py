"""Umbrella sampling against known surfaces: with the Jacobian, without it, at other draws, and where windows don't meet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from bayescg.data import Topology, get_unit_system
from bayescg.errors import ConvergenceError, InputError
from bayescg.physics import (
    BondAngle,
    CartesianCoordinate,
    DihedralAngle,
    DoubleWell,
    FunctionCoordinate,
    LennardJones,
    LinearPotential,
    PairDistance,
    Reference,
    SimulationSettings,
    UmbrellaBias,
    UmbrellaSamples,
    UmbrellaState,
    UmbrellaWindows,
    free_energy_surface,
    starts_in_windows,
    umbrella_sampling,
)

UNITS = get_unit_system("lj")
KEY = jax.random.key(20261122)
OPEN = np.full(3, np.inf)
R, THETA = PairDistance(0, 1), BondAngle(0, 1, 2)


def settings(time_step, stride, *, equilibration=20):
    return SimulationSettings(
        time_step, 1.0, stride=stride, n_replicas=4, equilibration=equilibration, metropolis=True
    )


def state(n_sites, box):
    return UmbrellaState(Topology(("A",) * n_sites, np.ones(n_sites)), box, UNITS, 1.0)


def bin_free_energy(log_density, edges):
    """−ln of the mean of a density over bins, relative to its lowest."""
    shares = [quad(lambda x: np.exp(log_density(x)), a, b)[0] / (b - a) for a, b in zip(edges, edges[1:])]
    free = -np.log(shares)
    return free - free.min()


def z_scores(found, error, exact):
    """Of all bins but the lowest, which is 0 by definition; both relative to the lowest found."""
    exact = exact - exact.ravel()[np.nanargmin(found)]
    known = np.isfinite(found) & (error > 0.0)
    return ((found - exact) / np.where(known, error, np.nan))[known]


# --- windows sampled exactly, without dynamics ---


def normal_windows(rng, centres, *, stiffness=4.0, spring=1.0, n_replicas=10, n_samples=40):
    """Frames of U = spring x²/2 with biases, which are normal; features (x²/2, bias)."""
    references = []
    for c in centres:
        total = spring + stiffness
        x = rng.normal(stiffness * c / total, 1.0 / np.sqrt(total), size=(n_replicas, n_samples))
        features = np.stack([x**2 / 2, x**2 / 2, -x], axis=-1)
        none = features[..., :0]
        eta = np.array([spring, stiffness, stiffness * c])
        references.append(Reference(eta, features, none, none, np.zeros((0, 1, 1))))
    windows = UmbrellaWindows.grid(centres, stiffness=[stiffness])
    return references, windows, np.array([[spring]])


def test_errors_cover_the_known_profile_and_its_reweighting():
    edges = np.linspace(-2.0, 2.0, 9)
    exact = {k: bin_free_energy(lambda x, k=k: -k * x**2 / 2, edges) for k in (1.0, 1.3)}
    scores, differences, one = [], [], np.eye(8, dtype=bool)
    rng = np.random.default_rng(0)
    for _ in range(100):
        samples = UmbrellaSamples(
            *normal_windows(rng, [-2.0, -1.0, 0.0, 1.0, 2.0])[:2],
            (CartesianCoordinate(0, 0),),
            np.array([[1.0]]),
            kT=1.0,
        )
        found = free_energy_surface(samples, edges=[edges], coefficients=np.array([[1.0], [1.3]]))
        for draw, k in enumerate(exact):
            each = [found.difference(one[b], one[3], draw=draw) for b in (0, 2, 7)]
            true = exact[k][[0, 2, 7]] - exact[k][3]
            scores.append([(e.value - x) / e.standard_error for e, x in zip(each, true)])
        left = np.arange(8) < 4
        estimate = found.difference(left, ~left)
        differences.append(estimate.value / estimate.standard_error)
    spread = np.std(scores, axis=0)
    assert 0.8 < np.std(differences) < 1.25 and abs(np.mean(differences)) < 0.3
    assert np.all((spread > 0.75) & (spread < 1.35)), spread
    assert np.abs(np.mean(scores)) < 0.15


def test_windows_that_do_not_overlap_are_named():
    references, windows, eta = normal_windows(np.random.default_rng(1), [-1.0, 0.0, 1.0, 9.0], stiffness=8.0)
    with pytest.raises(ConvergenceError, match=r"windows 3 at \(9\): no overlap with the other 3"):
        UmbrellaSamples(references, windows, (CartesianCoordinate(0, 0),), eta, kT=1.0)


def test_weakest_link_is_the_lonely_window():
    references, windows, eta = normal_windows(np.random.default_rng(1), [-1.0, -0.5, 0.0, 1.7], stiffness=8.0)
    samples = UmbrellaSamples(references, windows, (CartesianCoordinate(0, 0),), eta, kT=1.0)
    name, share = samples.weakest_link()
    assert name == "3 at (1.7)" and share < 0.2


def test_periodic_windows_give_the_surface_of_an_angle():
    """U = −cos φ with biases −9 cos(φ − c): every window is von Mises', and windows close the circle."""
    rng, box = np.random.default_rng(2), np.full(1, np.inf)
    coordinate = CartesianCoordinate(0, 0, period=2.0 * np.pi)
    centres = np.arange(8) * np.pi / 4
    references = []
    for c in centres:
        bias = UmbrellaBias(jnp.array([9.0]), jnp.array([c]), coordinates=(coordinate,))
        pull = np.exp(1j * 0.0) + 9.0 * np.exp(1j * c)
        phi = rng.vonmises(np.angle(pull), np.abs(pull), size=(10, 200))
        extra = jax.vmap(bias.features, in_axes=(0, None))(jnp.asarray(phi.reshape(-1, 1, 1)), box)
        features = np.concatenate([-np.cos(phi)[..., None], np.asarray(extra).reshape(10, 200, 2)], axis=-1)
        eta = np.concatenate([[1.0], np.asarray(bias.coefficients())])
        none = features[..., :0]
        references.append(Reference(eta, features, none, none, np.zeros((0, 1, 1))))
    windows = UmbrellaWindows.grid(centres, stiffness=[9.0])
    samples = UmbrellaSamples(references, windows, (coordinate,), np.ones((1, 1)), kT=1.0)
    edges = np.linspace(0.0, 2.0 * np.pi, 13)
    found = free_energy_surface(samples, edges=[edges])
    exact = bin_free_energy(np.cos, edges)
    z = z_scores(found.potential_of_mean_force[0], found.potential_of_mean_force_error[0], exact)
    assert np.abs(z).max() < 4.0
    np.testing.assert_allclose(found.potential_of_mean_force[0] - exact, 0.0, atol=0.2)


# --- dynamics ---


@pytest.fixture(scope="module")
def double_wells():
    """Barriers of 4, 5 and 6 kT in one batch."""
    windows = UmbrellaWindows.grid(np.linspace(-2.0, 2.0, 11), stiffness=[25.0])
    starts = np.tile(windows.centres[:, None, None], (1, 4, 1, 1))
    return umbrella_sampling(
        [DoubleWell(t1, 5.0) for t1 in (9.0, 10.0, 11.0)],
        windows,
        coordinates=[CartesianCoordinate(0, 0)],
        state=state(1, np.full(1, np.inf)),
        settings=settings(0.1, 5),
        starts=starts,
        key=KEY,
        n_samples=150,
    )


WELL_EDGES = np.linspace(-2.0, 2.0, 21)


def well(t1):
    return bin_free_energy(lambda x: t1 * x**2 / 2 - 5.0 * x**4 / 4, WELL_EDGES)


def test_double_well_by_quadrature_at_every_draw(double_wells):
    found = free_energy_surface(double_wells, edges=[WELL_EDGES])
    for draw, t1 in enumerate((9.0, 10.0, 11.0)):
        z = z_scores(found.free_energy[draw], found.free_energy_error[draw], well(t1))
        assert np.abs(z).max() < 4.5
        np.testing.assert_allclose(found.free_energy[draw] - well(t1), 0.0, atol=0.6)
    assert np.nanmedian(found.free_energy_error) < 0.15
    mean, error = found.over_draws()
    assert error[10] > 0.5  # the barrier differs by 1 kT between draws
    assert mean.shape == (20,)


def test_another_draw_needs_no_new_simulation(double_wells):
    found = free_energy_surface(double_wells, edges=[WELL_EDGES], coefficients=np.array([[9.6, 5.2]]))
    exact = bin_free_energy(lambda x: 9.6 * x**2 / 2 - 5.2 * x**4 / 4, WELL_EDGES)
    assert np.abs(z_scores(found.free_energy[0], found.free_energy_error[0], exact)).max() < 4.5
    assert np.nanmedian(found.free_energy_error) < 0.15


def test_draws_out_of_reach_are_refused(double_wells):
    with pytest.raises(InputError, match="draws 1 have fewer than"):
        free_energy_surface(
            double_wells, edges=[np.array([-2.0, 0.0, 2.0])], coefficients=np.array([[9.6, 5.2], [4e6, -1e6]])
        )


def test_pair_potential_from_the_distance_of_a_dimer():
    """The potential of mean force of two sites in open space is u(r); the free energy is u(r) − 2 kT ln r."""
    pair = LennardJones(2.0, 1.0, cutoff=3.0, convention="shifted")
    windows = UmbrellaWindows.grid([1.05, 1.3, 1.6, 1.9], stiffness=[50.0])
    two = np.tile(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.2]]), (4, 1, 1))
    samples = umbrella_sampling(
        [pair],
        windows,
        coordinates=[R],
        state=state(2, OPEN),
        settings=settings(0.02, 10),
        starts=starts_in_windows(two, windows, coordinates=[R], box=OPEN),
        key=KEY,
        n_samples=250,
    )
    edges = np.linspace(1.0, 2.0, 11)
    found = free_energy_surface(samples, edges=[edges])

    def u(r):
        return 8.0 * (r**-12.0 - r**-6.0)

    free = bin_free_energy(lambda r: -u(r) + 2.0 * np.log(r), edges)
    pmf = free + np.log((np.diff(edges**3) / 3.0) / np.diff(edges))
    assert np.abs(z_scores(found.free_energy[0], found.free_energy_error[0], free)).max() < 4.5
    assert (
        np.abs(z_scores(found.potential_of_mean_force[0], found.potential_of_mean_force_error[0], pmf)).max()
        < 4.5
    )
    middle = u(found.centres[0])
    right = found.potential_of_mean_force[0][1:] - found.potential_of_mean_force[0][1]
    wrong = found.free_energy[0][1:] - found.free_energy[0][1]
    assert np.abs(right - (middle[1:] - middle[1])).max() < 0.35
    assert np.abs(wrong - (middle[1:] - middle[1])).max() > 0.6


def trimer(positions, box):
    """φ of a known surface in r = |x₀ − x₁| and θ: 30 (r − 1)² and (r, θ) coupled, and a bond that holds site 2."""
    r, theta = R.value(positions, box), THETA.value(positions, box)
    other = PairDistance(1, 2).value(positions, box)
    return jnp.stack([(r - 1.0) ** 2, jnp.cos(theta), (r - 1.0) * jnp.cos(theta), (other - 1.0) ** 2])


TRIMER = np.array([4.0, 0.8, 2.0, 20.0])


@pytest.fixture(scope="module")
def trimer_surface():
    windows = UmbrellaWindows.grid([0.7, 1.1, 1.5], [0.35, 0.9, 1.57, 2.24, 2.8], stiffness=[20.0, 12.0])
    corner = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    starts = starts_in_windows(np.tile(corner, (4, 1, 1)), windows, coordinates=[R, THETA], box=OPEN)
    samples = umbrella_sampling(
        [LinearPotential(jnp.asarray(TRIMER), function=trimer)],
        windows,
        coordinates=[R, THETA],
        state=state(3, OPEN),
        settings=settings(0.06, 6),
        starts=starts,
        key=KEY,
        n_samples=250,
    )
    edges = [np.linspace(0.6, 1.6, 6), np.linspace(0.2, 2.94, 9)]
    return free_energy_surface(samples, edges=edges)


def trimer_exact(found, *, jacobian):
    """−ln of the mean over bins of exp(−U), or of exp(−U) r² sin θ, by Gauss–Legendre quadrature."""
    node, weight = np.polynomial.legendre.leggauss(8)

    def points(edges):
        half = 0.5 * np.diff(edges)[:, None]
        return 0.5 * (edges[1:] + edges[:-1])[:, None] + half * node, half * weight

    (r, wr), (t, wt) = points(found.edges[0]), points(found.edges[1])
    r, t = r[:, :, None, None], t[None, None]
    boltzmann = np.exp(
        -TRIMER[0] * (r - 1.0) ** 2 - TRIMER[1] * np.cos(t) - TRIMER[2] * (r - 1.0) * np.cos(t)
    )
    measure = r**2 * np.sin(t)
    area = np.einsum("ai,bj->ab", wr, wt)
    mass = np.einsum("aibj,ai,bj->ab", boltzmann * measure, wr, wt)
    volume = area if jacobian else np.einsum("aibj,ai,bj->ab", measure + 0 * r, wr, wt)
    return -np.log(mass / volume)


def test_two_dimensional_surface_with_the_jacobian(trimer_surface):
    found = trimer_surface
    exact = trimer_exact(found, jacobian=False)
    pmf, error = found.potential_of_mean_force[0], found.potential_of_mean_force_error[0]
    z = z_scores(pmf, error, exact)
    assert np.isfinite(pmf).all() and np.nanmax(error) < 0.35
    assert np.abs(z).max() < 4.5 and np.sqrt(np.mean(z**2)) < 1.8
    # the surface itself, at the middle of the bins, is what the mean force derives from
    r, t = np.meshgrid(*found.centres, indexing="ij")
    surface = 4.0 * (r - 1.0) ** 2 + 0.8 * np.cos(t) + 2.0 * (r - 1.0) * np.cos(t)
    assert np.sqrt(np.mean((pmf - pmf.mean() - surface + surface.mean()) ** 2)) < 0.15


def test_without_the_jacobian_the_surface_is_wrong(trimer_surface):
    found = trimer_surface
    free, error = found.free_energy[0], found.free_energy_error[0]
    assert np.abs(z_scores(free, error, trimer_exact(found, jacobian=True))).max() < 4.5
    wrong = z_scores(free, error, trimer_exact(found, jacobian=False))
    assert np.sqrt(np.mean(wrong**2)) > 5.0
    r, t = np.meshgrid(*found.centres, indexing="ij")
    entropy = -np.log(r**2 * np.sin(t))
    apart = (free - free.mean()) - (
        found.potential_of_mean_force[0] - found.potential_of_mean_force[0].mean()
    )
    np.testing.assert_allclose(apart, entropy - entropy.mean(), atol=0.1)


# --- coordinates ---


@pytest.mark.parametrize(
    ("coordinate", "edges"),
    [(PairDistance(0, 1), np.linspace(0.3, 1.0, 8)), (BondAngle(0, 1, 2), np.linspace(0.1, 3.1, 8))],
)
def test_jacobians_are_the_density_of_positions_at_random(coordinate, edges):
    """Sites at random in a ball about the middle one: densities r² and sin θ, by counting."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40_000, 3, 3))
    x *= (rng.uniform(size=(40_000, 3, 1)) ** (1 / 3)) / np.linalg.norm(x, axis=-1, keepdims=True)
    x[:, 1] = 0.0
    values = jax.vmap(lambda one: coordinate.value(one, jnp.asarray(OPEN)))(jnp.asarray(x))
    counts = np.histogram(np.asarray(values), edges)[0]
    expected = coordinate.volume(edges) / coordinate.volume(edges).sum() * counts.sum()
    assert np.sum((counts - expected) ** 2 / expected) < 26.0  # 6 degrees of freedom: 2e-4


def test_starts_reach_their_windows_also_across_a_period():
    chain = np.array([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.3, 1.0, 1.0]]])
    dihedral = DihedralAngle((0, 1, 2, 3))
    windows = UmbrellaWindows.grid([-3.0, 0.5, 3.0], stiffness=[1.0])
    starts = starts_in_windows(chain, windows, coordinates=[dihedral], box=OPEN)
    values = [float(dihedral.value(jnp.asarray(s), jnp.asarray(OPEN))) for s in starts[:, 0]]
    np.testing.assert_allclose(values, [-3.0, 0.5, 3.0], atol=1e-3)


def flat(positions, box):
    return jnp.sum(0.0 * positions)


def test_wrong_requests_are_refused():
    windows = UmbrellaWindows.grid([1.0], stiffness=[1.0])
    with pytest.raises(InputError, match="0 at .* not reached"):
        starts_in_windows(np.zeros((1, 1, 1)), windows, coordinates=[FunctionCoordinate(flat)], box=OPEN[:1])
    with pytest.raises(InputError, match="one number for each of 1"):
        UmbrellaBias(jnp.ones(2), jnp.ones(2), coordinates=(R,))
    with pytest.raises(InputError, match="a positive number for each of 1"):
        UmbrellaWindows.grid([1.0], stiffness=[0.0])
    references, windows, eta = normal_windows(np.random.default_rng(1), [0.0, 0.5])
    samples = UmbrellaSamples(references, windows, (CartesianCoordinate(0, 0, period=3.0),), eta, kT=1.0)
    with pytest.raises(InputError, match="more than the period"):
        free_energy_surface(samples, edges=[np.linspace(0.0, 4.0, 5)])
    with pytest.raises(InputError, match="edges of 2 coordinates; expected 1"):
        free_energy_surface(samples, edges=[np.linspace(0.0, 1.0, 5)] * 2)
