# %% [markdown]
# # Water by hand
#
# One-site water from atomistic SPC/E frames, with the Python interface stage by stage: the same objects that `bayescg
# run models/water-spce` uses, made by hand. Read this to put a potential or a prior of your own in their place.

# %%
import os
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist

from bayescg.data import radial_distribution, read_frames, statistical_inefficiency
from bayescg.inference import (
    FitSettings,
    Fitter,
    Problem,
    Smoothness,
    default_smoothness_weights,
    force_matching_mode,
    force_normal_equations,
    independent_prior,
)
from bayescg.physics import SimulationSettings, Simulator, SplinePair, reduce

FAST = os.environ.get("BAYESCG_FAST") == "1"
HERE = Path(__file__).resolve().parent if "__file__" in globals() else Path.cwd()
ROOT = next(folder for folder in (HERE, *HERE.parents) if (folder / "models").is_dir())

# %% [markdown]
# ## Read
#
# Mapped frames: one site per molecule at its centre of mass, with the sum of the atomistic forces on it.

# %%
frames = read_frames(
    ROOT / "models" / "water-spce" / "data" / "spce343_300K_com.nc", stop=120 if FAST else None
)
units, temperature = frames.units, frames.state.temperature
print(
    f"{frames.n_frames} frames of {frames.n_sites} sites, box {frames.box[0]} {units.length}, {temperature:g} K"
)

# %% [markdown]
# ## A potential
#
# A cubic B-spline in the distance. Inside `core_distance`, where the data have no pairs, a fixed repulsive core
# holds the sites apart.

# %%
potential = SplinePair.uniform(
    inner=0.24,
    cutoff=0.9,
    spacing=0.06 if FAST else 0.02,
    core_distance=0.25,
    core_strength=10.0,
    name="water",
)
for info in potential.parameters():
    print(f"{info.name} {info.shape}: {info.long_name} [{units.unit(info.quantity)}], {info.support}")

# %% [markdown]
# ## Sufficient statistics
#
# The energy is linear in the coefficients, $U = \sum_j \theta_j \phi_j(x)$: a frame is its sums $\phi_j$ of the
# spline's basis functions over all pairs, computed once. They also tell how many independent frames there are.

# %%
edges = 0.01 * np.arange(91)
statistics = reduce(frames.blocks(64), potential, distance_edges=edges)
varying = statistics.features[:, statistics.features.std(axis=0) > 0]
g = statistical_inefficiency(varying, lengths=statistics.trajectory_lengths())
print(
    f"{statistics.features.shape[1]} features; one independent frame is worth {g.min():.1f} to {g.max():.1f} frames"
)

# %% [markdown]
# ## A prior
#
# Neighbouring coefficients should not jump: a second-order random walk whose scale is inferred too. Its draws show
# what it allows before any data.

# %%
(info,) = potential.parameters()
smoothness = Smoothness(dist.LogNormal(jnp.log(0.25), 1.0), default_smoothness_weights(info))
prior = independent_prior(potential, {"water_coefficients": smoothness})
distance = np.linspace(0.25, 0.9, 200)


def curves(points: np.ndarray) -> np.ndarray:
    """Pair energies at points of the unconstrained coordinates [draw distance]."""
    r2 = jnp.asarray(distance**2)
    return np.asarray(jax.vmap(lambda z: prior.potential(z).pair_energy(r2))(jnp.asarray(points)))


allowed = curves(prior.sample(jax.random.key(1), 200))

# %% [markdown]
# ## A start by force matching
#
# The forces are linear in the coefficients too, so a least-squares fit to the mapped forces needs no simulation.

# %%
equations = force_normal_equations(frames.blocks(32), potential)
matched = force_matching_mode(equations, prior, key=jax.random.key(2))

# %% [markdown]
# ## A fit by relative entropy
#
# The simulator accepts or rejects each stretch of `stride` steps (`metropolis=True`), so that the time step does not bias
# its averages. `Problem` says what is to be inferred from what, `FitSettings` how much work is done. The driver searches for the
# maximum, verifies it at draws of the posterior (left out in the fast mode), samples and calibrates.

# %%
settings = SimulationSettings(
    time_step=0.007,
    friction=5.0,
    stride=25,
    n_replicas=8 if FAST else 16,
    equilibration=10,
    metropolis=True,
)
simulator = Simulator(
    potential,
    topology=frames.topology,
    box=frames.box[0],
    units=units,
    temperature=temperature,
    settings=settings,
    distance_edges=edges,
)
problem = Problem(prior, statistics, units.beta(temperature), simulator, matched.z, frames.positions[::10])
work = (
    FitSettings(seed=1, n_replicas=8, search_samples=40, max_search=12, max_rounds=0, n_warmup=50, n_draws=50)
    if FAST
    else FitSettings(seed=1, n_replicas=16)
)
fit = Fitter(problem, work).run()
print(
    f"{len(fit.bank.references)} references with {fit.bank.n_frames.sum()} frames; search settled: {fit.search_converged}"
)
print("verification:", fit.verifications[-1].verdict if fit.verifications else "not tested")

# %% [markdown]
# ## The potential
#
# The band of the calibrated posterior over the prior's, and the force-matched start.

# %%
draws = fit.calibrated.reshape(-1, fit.calibrated.shape[-1])
energies = curves(draws[:: max(1, len(draws) // 400)])
figure, (upper, lower) = plt.subplots(2, sharex=True, figsize=(6, 7))
upper.fill_between(distance, *np.quantile(allowed, [0.05, 0.95], axis=0), color="0.85", label="prior, 90 %")
upper.fill_between(
    distance, *np.quantile(energies, [0.05, 0.95], axis=0), color="C0", alpha=0.6, label="posterior, 90 %"
)
upper.plot(distance, curves(matched.z[None])[0], "k--", lw=1, label="force matching")
upper.set(ylabel=f"u(r) [{units.energy}]", ylim=(-4, 8))
upper.legend()

observed = radial_distribution(frames, edges=edges, exclude="nothing")
lower.errorbar(observed["r"], observed["rdf"], observed["rdf_se"], fmt=".", ms=3, color="black", label="data")
lower.set(xlabel=f"r [{units.length}]", ylabel="g(r)")
lower.legend()
