"""Fisher information per frame against exact numbers and an independent way to it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jaxtyping import Array, Float

from bayescg.analysis import (
    End,
    equilibrium_manifold,
    frame_information,
    information_at,
    manifold_boundary,
    participation,
)
from bayescg.data import Topology, get_unit_system
from bayescg.errors import InputError
from bayescg.inference import Posterior, Prior, RelativeEntropy, independent_prior
from bayescg.physics import (
    DoubleWell,
    HistogramPair,
    LennardJones,
    MiePairs,
    ParameterInfo,
    ReferenceBank,
    SimulationSettings,
    Simulator,
    Surrogate,
)
from bayescg.physics._generic_engine import GenericEngine
from bayescg.physics._langevin import LangevinSettings


def quadrature(features, log_weight, beta=1.0):
    return Surrogate(jnp.asarray(beta), jnp.zeros(features.shape[1]), features, log_weight)


def test_double_well_at_its_map():
    """V2: per-frame eigenvalues (.016869, .669695)."""
    x = jnp.linspace(-7.0, 7.0, 1401)
    surrogate = quadrature(jnp.stack([-(x**2) / 2.0, x**4 / 4.0], axis=1), jnp.zeros(1401))
    found = frame_information(surrogate, DoubleWell(2.826133, 1.975583))
    assert found.names == ("well_t1", "well_t2")
    np.testing.assert_allclose(np.linalg.eigvalsh(found.matrix), [0.016869, 0.669695], atol=2e-6)


def test_two_lennard_jones_particles_in_logarithms():
    """V5: Cov(β ∂U/∂log(ε, σ)) of two particles in a cube of edge 6 at β = 1/1.2, by quadrature over their distance."""
    r = jnp.linspace(0.3, 3.0, 20_001)
    pair = LennardJones(1.0, 1.0, cutoff=3.0, convention="shifted")
    inside = pair.pair_basis(r**2)
    shell = (4.0 * jnp.pi * r**2 * (r[1] - r[0])).at[-1].multiply(0.5)
    volume = jnp.append(shell, 6.0**3 - 4.0 * jnp.pi * 27.0 / 3.0)
    surrogate = quadrature(jnp.concatenate([inside, jnp.zeros((1, 2))]), jnp.log(volume), beta=1.0 / 1.2)
    found = frame_information(surrogate, pair).in_logarithms()
    np.testing.assert_allclose(found, [[0.0274406, 0.0780563], [0.0780563, 2.943161]], rtol=2e-5)
    np.testing.assert_allclose(np.linalg.eigvalsh(found), [0.025352, 2.945249], rtol=2e-5)


def test_unconstrained_coordinates_are_the_logarithms_of_positive_parameters():
    x = jnp.linspace(-7.0, 7.0, 1401)
    surrogate = quadrature(jnp.stack([-(x**2) / 2.0, x**4 / 4.0], axis=1), jnp.zeros(1401))
    theta = np.array([2.8, 2.0])

    def model():
        return DoubleWell(
            numpyro.sample("t1", dist.LogNormal(0.0, 1.0)), numpyro.sample("t2", dist.LogNormal(0.0, 1.0))
        )

    likelihood = RelativeEntropy(jnp.array([-0.6, 0.55]), jnp.asarray(100.0), surrogate)
    at = information_at(Posterior(Prior(model)), likelihood, np.log(theta)[None])
    expected = frame_information(surrogate, DoubleWell(*theta)).in_logarithms()
    np.testing.assert_allclose(at[0], expected, rtol=1e-10)


def test_logarithms_of_what_is_not_positive_are_refused():
    x = jnp.linspace(-7.0, 7.0, 401)
    surrogate = quadrature(jnp.stack([-(x**2) / 2.0, x**4 / 4.0], axis=1), jnp.zeros(401))
    with pytest.raises(InputError, match="logarithm of well_t1"):
        frame_information(surrogate, DoubleWell(-1.0, 2.0)).in_logarithms()


# The Mie fluid: 32 particles at density 0.5 and T = 1, cut and shifted at half the box.

N_SITES, EDGE, CUTOFF = 32, 4.0, 2.0


class Mie(HistogramPair):
    """The Mie formula on nodes: not linear in anything, so that the Jacobian of the nodes' energies is needed."""

    epsilon: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    sigma: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    n: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    m: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    inner: float = eqx.field(static=True, default=0.7, kw_only=True)
    cutoff: float = eqx.field(static=True, default=CUTOFF, kw_only=True)
    n_nodes: int = eqx.field(static=True, default=256, kw_only=True)
    name: str = eqx.field(static=True, default="mie", kw_only=True)

    def formula(self, r2):
        return mie_energy(self.epsilon, self.sigma, self.n, self.m, jnp.minimum(jnp.sqrt(r2), CUTOFF))

    def parameters(self):
        words = ("epsilon", "sigma", "n", "m")
        return tuple(
            ParameterInfo(f"mie_{word}", "dimensionless", word, "positive", 1.0, ()) for word in words
        )


def mie_energy(epsilon, sigma, n, m, r):
    pair = MiePairs(epsilon, sigma, n, m, species=("A",), cutoff=CUTOFF)
    kind = jnp.zeros(jnp.shape(r), int)
    return pair.bare_energy(r, kind) - pair.bare_energy(jnp.asarray(CUTOFF), jnp.asarray(0))


def total_energy(logarithms, positions, box):
    """U of the formula itself, by the distances of all pairs."""
    first, second = np.triu_indices(N_SITES, 1)
    d = positions[first] - positions[second]
    r = jnp.sqrt(jnp.sum((d - box * jnp.round(d / box)) ** 2, axis=-1))
    inside = mie_energy(*jnp.exp(logarithms), jnp.minimum(r, CUTOFF))
    return jnp.sum(jnp.where(r < CUTOFF, inside, 0.0))


def lattice_starts(n_replicas):
    """Particles on 32 of the 64 places of a simple cubic lattice."""
    rng = np.random.default_rng(0)
    lattice = np.stack(np.meshgrid(*[np.arange(4.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.stack([lattice[rng.permutation(64)[:N_SITES]] for _ in range(n_replicas)])


@pytest.fixture(scope="module")
def mie_surrogate():
    mie = Mie(1.0, 1.0, 12.0, 6.0)
    simulator = Simulator(
        mie,
        topology=Topology(("A",) * N_SITES, np.ones(N_SITES)),
        box=np.full(3, EDGE),
        units=get_unit_system("lj"),
        temperature=1.0,
        settings=SimulationSettings(0.005, 1.0, stride=100, n_replicas=16, equilibration=20),
    )
    references = simulator.simulate([mie], starts=lattice_starts(16), key=jax.random.key(1), n_samples=400)
    return ReferenceBank(1.0, tuple(references)).surrogate(pad_to=1)


@pytest.mark.slow
def test_mie_fluid_is_sloppy_and_both_ways_to_its_spectrum_agree(mie_surrogate):
    """Stiff is σ, softest a mixture of the exponents, and the eigenvalues spread over four decades.

    One way is the package's: the table engine, histogram features, the bank and the Jacobian of the coefficients. The
    other differentiates the energy of the formula frame by frame, on frames of an engine that has no table.
    """
    found = frame_information(mie_surrogate, Mie(1.0, 1.0, 12.0, 6.0)).in_logarithms()
    values, vectors = np.linalg.eigh(found)
    langevin = LangevinSettings(0.004, 1.0, 1.0, jnp.ones(N_SITES))
    engine = GenericEngine(N_SITES, np.full(3, EDGE), langevin, total_energy)
    at = jnp.asarray(np.tile(np.log([1.0, 1.0, 12.0, 6.0]), (16, 1)))
    state = engine.initial_state(jax.random.key(2), lattice_starts(16))
    state, _ = engine.run(state, at, n_samples=1, stride=3000)
    _, positions = engine.run(state, at, n_samples=400, stride=100)
    slopes = jax.jit(jax.vmap(jax.grad(total_energy), (None, 0, None)))
    frames = np.asarray(positions, float).reshape(-1, N_SITES, 3)
    independent = np.cov(np.asarray(slopes(at[0], jnp.asarray(frames), jnp.full(3, EDGE))).T)

    np.testing.assert_allclose(values, np.linalg.eigvalsh(independent), rtol=0.15)
    share = participation(vectors.T)
    assert share[3, 1] > 0.99, "stiff is sigma"
    assert share[0, 2] + share[0, 3] > 0.9 and share[0, 2:].min() > 0.1, "softest mixes the exponents"
    assert values[3] / values[0] > 5e3


@pytest.mark.slow
def test_the_manifold_of_the_mie_fluid_ends_where_its_exponents_meet(mie_surrogate):
    """Exchanging n and m leaves the formula as it is, so that the manifold folds at n = m; that is where sloppiness leads."""
    mie = Mie(1.0, 1.0, 12.0, 6.0)
    wide = {info.name: dist.LogNormal(0.0, 1.0) for info in mie.parameters()}
    prior = independent_prior(mie, wide)
    start = np.asarray(prior.unconstrain({name: np.asarray(v) for name, v in mie.parameter_values().items()}))
    names = tuple(map(str, prior.coordinates))
    manifold = equilibrium_manifold(prior, mie_surrogate)
    found = manifold_boundary(manifold, start, names=names, least_effective_frames=300.0)
    assert found.end is End.fold
    n, m = (np.exp(found.edge[names.index(name)]) for name in ("mie_n", "mie_m"))
    assert n == pytest.approx(m, rel=0.01) and 7.0 < n < 10.0
