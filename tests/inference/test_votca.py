"""Force matching of one-site water against the table that VOTCA's csg_fmatch made from the same frames."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.interpolate import CubicSpline

from bayescg.data import read_frames
from bayescg.inference import independent_prior
from bayescg.inference._force_matching import force_matching_mode, force_normal_equations
from bayescg.physics import SplinePair
from bayescg.physics._pair import PairPotential
from bayescg.physics._potential import ParameterInfo

KEY = jax.random.key(20080511)
FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "water_spce"
WATER, VOTCA = FOLDER / "spce343_300K_com.nc", FOLDER / "votca_fmatch_300K_force.dat"
needs_water = pytest.mark.skipif(
    not WATER.exists(), reason=f"no water trajectory at {WATER}: reference data absent"
)
NODES = np.linspace(0.24, 0.9, 34)
# Energies of natural cubic spline forces that are 1 at one node and 0 at the others: a quartic in each interval.
CARDINAL = CubicSpline(NODES, np.eye(len(NODES)), bc_type="natural").antiderivative()


class NaturalForceSpline(PairPotential):
    """VOTCA's basis: the force is a natural cubic spline (f″ = 0 at both ends), and constant below the first node."""

    nodes_: jax.Array
    name: str = eqx.field(static=True, default="pair")
    cutoff = 0.9
    tabulated = False

    def coefficients(self):
        return self.nodes_

    def parameters(self):
        return (ParameterInfo("pair_nodes_", "force", "force at the nodes", "real", 1.0, self.nodes_.shape),)

    def pair_basis(self, r2):
        r = jnp.sqrt(r2)
        inside = jnp.clip(r, NODES[0], NODES[-1])
        width = NODES[1] - NODES[0]
        interval = jnp.clip(((inside - NODES[0]) / width).astype(int), 0, len(NODES) - 2)
        pieces = jnp.asarray(CARDINAL.c)[:, interval]  # [power *pair node]
        place = (inside - jnp.asarray(NODES)[interval])[..., None]
        integral = sum(pieces[k] * place ** (4 - k) for k in range(5))
        energy = jnp.asarray(CARDINAL(NODES[-1])) - integral
        first = jnp.zeros(len(NODES)).at[0].set(1.0)
        energy = energy + first * (NODES[0] - jnp.minimum(r, NODES[0]))[..., None]
        return jnp.where((r < self.cutoff)[..., None], energy, 0.0)


def water_fit(frames):
    """The fit, and for VOTCA's distances: its curve, its error, our curve, our sd, and what our basis can't express."""
    potential = SplinePair.uniform(
        inner=0.24, cutoff=0.9, spacing=0.02, core_distance=0.24, core_strength=0.0
    )
    prior = independent_prior(potential, {"pair_coefficients": dist.Normal(0.0, 1000.0)})
    fit = force_matching_mode(force_normal_equations(frames.blocks(64), potential), prior, key=KEY)
    r, votca, error = np.loadtxt(VOTCA, usecols=(0, 1, 2)).T
    inside = r < 0.9
    r, votca, error = r[inside], votca[inside], error[inside]

    def force(z):
        return prior.potential(z).pair_force_factor(jnp.asarray(r**2)) * r

    ours = np.asarray(force(jnp.asarray(fit.z)))
    sd = np.asarray(jax.vmap(force)(jnp.asarray(fit.draw(KEY, 300)))).std(axis=0)
    basis = np.asarray(jax.jacobian(force)(jnp.asarray(fit.z)))
    weight = np.sqrt(pair_counts(frames[:20], r))[:, None]
    projected = basis @ np.linalg.lstsq(weight * basis, weight[:, 0] * votca, rcond=1e-10)[0]
    return fit, r, votca, error, ours, sd, np.abs(projected - votca)


def pair_counts(frames, r):
    first, second = np.triu_indices(frames.n_sites, 1)
    counts = np.zeros(r.size)
    edges = np.concatenate([r - 0.5 * (r[1] - r[0]), [r[-1] + 0.5 * (r[1] - r[0])]])
    for positions, box in zip(frames.positions, frames.box, strict=True):
        d = positions[first] - positions[second]
        d -= box * np.round(d / box)
        counts += np.histogram(np.linalg.norm(d, axis=1), edges)[0]
    return counts


@needs_water
def test_water_agrees_with_votca():
    """On the last 100 frames, whose residual is VOTCA's χ² of 26210.5 (kJ/mol/nm)²; over all frames it is 26359."""
    frames = read_frames(WATER)[1400:]
    fit, r, votca, error, ours, sd, basis = water_fit(frames)
    checked = r > 0.262
    tolerance = 4.0 * np.hypot(sd, error) + 2.0 * basis + 0.3
    assert np.all(np.abs(ours - votca)[checked] < tolerance[checked])
    residual = (1.0 - fit.explained_variance) * np.mean(frames.forces**2)
    assert residual == pytest.approx(26210.5, rel=1e-3)
    assert fit.explained_variance == pytest.approx(0.573, abs=0.004)
    assert fit.interval_is_meaningful and np.median(sd) < 2.0


@needs_water
@pytest.mark.slow
def test_water_agrees_with_votca_on_all_frames():
    fit, r, votca, error, ours, sd, basis = water_fit(read_frames(WATER))
    for distance, published in {
        0.28: 22.5,
        0.29: -33.7,
        0.30: -32.6,
        0.34: 30.2,
        0.40: 9.67,
        0.48: -8.45,
    }.items():
        at = int(np.argmin(np.abs(r - distance)))
        assert votca[at] == pytest.approx(published, abs=0.06)
        assert abs(ours[at] - published) < 1.645 * np.hypot(sd, error)[at] + basis[at] + 0.3
    smooth = r > 0.4  # where both bases express the curve, the 90 % band holds VOTCA's
    assert np.mean(np.abs(ours - votca)[smooth] < 1.645 * np.hypot(sd, error)[smooth]) > 0.9
    assert fit.explained_variance == pytest.approx(0.573, abs=0.004)


@needs_water
@pytest.mark.slow
def test_in_votcas_basis_the_table_comes_out_at_all_distances():
    """Also below 0.262 nm, where our basis, free of VOTCA's end condition f″ = 0, gives another curve."""
    potential = NaturalForceSpline(jnp.zeros(len(NODES)))
    prior = independent_prior(potential, {"pair_nodes_": dist.Normal(0.0, 1e5)})
    frames = read_frames(WATER)
    fit = force_matching_mode(force_normal_equations(frames.blocks(64), potential), prior, key=KEY)
    r, votca, error = np.loadtxt(VOTCA, usecols=(0, 1, 2)).T
    inside = r < 0.9
    r, votca, error = r[inside], votca[inside], error[inside]
    ours = np.asarray(prior.potential(jnp.asarray(fit.z)).pair_force_factor(jnp.asarray(r**2))) * r
    assert np.max(np.abs(ours - votca) / error) < 1.0
    free = water_fit(frames)[4]
    assert np.abs(free - votca)[0] > 20.0 * error[0]  # what the end condition is worth
