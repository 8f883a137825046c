# %% [markdown]
# # Silicon with error bars
#
# 216 cells of silicon, their energies, forces and stresses computed by the Stillinger–Weber potential with noise added:
# the truth is known. What do they say about the potential's parameters, about combinations of them, and about elastic
# constants that no label contains?

# %%
import os
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)  # the command line does this by itself

import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist

from bayescg.analysis import label_coverage, property_bands, property_sentence
from bayescg.data import examine, get_unit_system, read_configurations, split_configurations
from bayescg.inference import (
    EnergyForceStress,
    LabelFitter,
    LabelSettings,
    NoiseScale,
    cost_temperature,
    label_rows,
    labelled_data,
    labelled_prior,
)
from bayescg.output import PosteriorCalculator, potential_draws
from bayescg.physics import Bulk, CohesiveEnergy, Crystal, ElasticConstants, LatticeConstants, StillingerWeber

FAST = os.environ.get("BAYESCG_FAST") == "1"
HERE = Path(__file__).resolve().parent if "__file__" in globals() else Path.cwd()
ROOT = next(folder for folder in (HERE, *HERE.parents) if (folder / "models").is_dir())
METAL = get_unit_system("metal")

# %% [markdown]
# ## The data, and a look at them before anything is fitted

# %%
every = read_configurations(
    ROOT / "models" / "si-stillinger-weber" / "data" / "si_sw_noisy.extxyz.gz",
    units=METAL,
    require=("energy", "forces", "stress"),
)
if FAST:
    every = every[::9]
for finding in examine(every, cutoff=4.2):
    print(f"{finding.severity}: {finding.sentence}")
train, held_out = split_configurations(every, held_out_fraction=0.2, seed=0)

# %% [markdown]
# ## Potential, prior, noise
#
# Four parameters vary, the others are held. Noise scales are learned, one for each group and quantity.

# %%
potential = StillingerWeber.silicon(cutoff=4.2).vary("sw_A", "sw_B", "sw_lambda", "sw_sigma")
data = labelled_data(train, cutoff=potential.cutoff, species=potential.species)
prior = labelled_prior(
    potential,
    {
        "sw_A": dist.LogNormal(2.0, 0.3),
        "sw_B": dist.LogNormal(-0.5, 0.3),
        "sw_lambda": dist.LogNormal(3.0, 0.3),
        "sw_sigma": dist.LogNormal(0.74, 0.03),
    },
    noise={
        "energy": NoiseScale(learned=0.01),  # eV per atom
        "forces": NoiseScale(learned=0.3),  # eV/Å
        "stress": NoiseScale(learned=0.01),  # eV/Å³
    },
    data=data,
)

# %% [markdown]
# ## The posterior
#
# The search linearises the predictions; NUTS then runs on sums of squares, whose cost does not grow with the data, and the
# exact likelihood reweights its draws.

# %%
settings = LabelSettings(n_warmup=100, n_draws=100) if FAST else LabelSettings()
fit = LabelFitter(prior, EnergyForceStress(data), settings=settings).run()
print(f"method: {fit.method}, Pareto k-hat {fit.khat:.2f}")
names = [str(coordinate) for coordinate in prior.coordinates]
flat = np.exp(fit.calibrated.reshape(-1, prior.size))
for name, truth in {"sw_A": 7.049556277, "sw_B": 0.6022245584, "sw_lambda": 21.0, "sw_sigma": 2.0951}.items():
    draws = flat[:, names.index(name)]
    low, high = np.quantile(draws, [0.05, 0.95])
    print(
        f"{name}: {draws.mean():.5f} ± {draws.std():.5f}, 90 % interval {low:.5f} to {high:.5f}, truth {truth:.5f}"
    )

# %% [markdown]
# ## Do the intervals hold what was not learned from?

# %%
test = labelled_data(held_out, cutoff=potential.cutoff, species=potential.species, groups=data.groups)
coverage = label_coverage(prior, fit.calibrated, test, with_noise=True)
for quantity in coverage["quantity"].values:
    count = coverage["count"].sel(quantity=quantity)
    share = (coverage["coverage"].sel(quantity=quantity).fillna(0.0) * count).sum("group") / count.sum()
    plt.plot(coverage["level"], share, "o-", label=str(quantity))
plt.plot([0.5, 0.95], [0.5, 0.95], "k--", label="as it should be")
plt.xlabel("nominal coverage")
plt.ylabel("share of held-out labels inside")
plt.legend()

# %% [markdown]
# ## Sloppiness: the data choose what can be known
#
# Eigenvalues of the Fisher information of the forces in six log-parameters: one cell near equilibrium leaves combinations
# that are known ten million times worse than the best, hot cells shrink that to ten thousand.

# %%
six = StillingerWeber.silicon(cutoff=4.2).vary("sw_A", "sw_B", "sw_p", "sw_sigma", "sw_gamma", "sw_lambda")
theta = np.concatenate([np.ravel(value) for value in six.parameter_values().values()])
plt.figure()
for group, n in (("md300", 1), ("md900", 4 if FAST else 40)):
    some = every.select(group=group)[:n]
    slopes = (
        label_rows(six, labelled_data(some, cutoff=4.2, species=("Si",), quantities=("forces",))).jacobian
        * theta
    )
    eigenvalues = np.linalg.eigvalsh(slopes.T @ slopes)[::-1]
    print(f"{group}, {len(some)} cells: {np.log10(eigenvalues[0] / eigenvalues[-1]):.1f} decades")
    plt.semilogy(range(1, 7), eigenvalues / eigenvalues[0], "o-", label=group)
plt.xlabel("combination of parameters")
plt.ylabel("eigenvalue / largest")
plt.legend()

# %% [markdown]
# ## What it means for elastic constants
#
# The crystal is relaxed at each draw; derivatives are exact. The band says what the parameters' uncertainty means for
# C11, C12, C44; with the true parameters they are 151.42, 76.42 and 56.45 GPa.

# %%
bulk = Bulk.of(Crystal.bulk("Si", "diamond", a=5.43), potential)
properties = [
    LatticeConstants.of(bulk, units=METAL),
    CohesiveEnergy.of(bulk, units=METAL),
    ElasticConstants.of(bulk, units=METAL),
]
chosen = fit.calibrated.reshape(-1, prior.size)[:: 10 if FAST else 10]
bands = property_bands(prior, chosen, properties)
for component in bands["component"].values:
    if "clamped" not in str(component):
        print(property_sentence(bands, str(component)))

# %% [markdown]
# ## Tempering
#
# Dividing the likelihood by a "temperature" of the best fit's cost is common where forms are wrong. Where labels are nearly
# exact the same rule *shrinks* the error bars, and bayescg says so; nothing is tempered by itself.

# %%
rows = fit.modes[0].rows
sigma = {0: 0.0005, 1: 0.05, 2: 0.0005}
scale = np.asarray([sigma[k // len(data.groups)] for k in rows.kind])
print(cost_temperature(0.5 * float(np.sum((rows.residual / scale) ** 2)), 4))
print(cost_temperature(0.5 * float(np.sum((1e-3 * rows.residual / scale) ** 2)), 4).warning)

# %% [markdown]
# ## Out of Python's posterior, into a simulation
#
# A calculator for ASE predicts with the posterior's mean and standard deviation; `export_lammps_potentials` writes files.

# %%
from ase.build import bulk as ase_bulk

atoms = ase_bulk("Si", a=5.43, cubic=True)
atoms.rattle(0.05, seed=1)
atoms.calc = PosteriorCalculator(
    potential_draws(prior, fit.calibrated, units=METAL, posterior="calibrated", n_draws=8)
)
print(f"energy {atoms.get_potential_energy():.5f} ± {atoms.calc.results['energy_std']:.5f} eV")
