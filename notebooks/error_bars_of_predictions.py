# %% [markdown]
# # Error bars of predictions
#
# Liquid argon again: a Lennard-Jones potential inferred from a simulation's frames. How well are its pressure, its
# compressibility and its diffusion known, what makes their error bars, and how does the ensemble travel to another
# engine and back?

# %%
import json
import os
import tempfile
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)  # the command line does this by itself

import matplotlib.pyplot as plt
import numpy as np

from bayescg.output import figure_prediction_bands, figure_prediction_parts, prediction_table
from bayescg.study import Study, predict

FAST = os.environ.get("BAYESCG_FAST") == "1"
HERE = Path(__file__).resolve().parent if "__file__" in globals() else Path.cwd()
ROOT = next(folder for folder in (HERE, *HERE.parents) if (folder / "models").is_dir())

# %% [markdown]
# ## A posterior
#
# A quick run goes through the same stages with little simulation; its numbers mean nothing.

# %%
folder = Path(tempfile.mkdtemp()) / "argon"
Study.from_file(ROOT / "models" / "lj-argon").run(folder, quick=FAST)

# %% [markdown]
# ## Without new simulation
#
# The references that the posterior was computed from hold the statistics of structure, energy and pressure. Reweighted to
# each draw they give each observable at each draw: `bayescg predict runs/lj-argon`.

# %%
data = predict(folder, ["rdf", "pressure", "energy", "compressibility"], n_draws=50 if FAST else 200)
print(prediction_table(data))
print()
print("\n".join(json.loads(data.attrs["sentences"])))

# %% [markdown]
# ## What an error bar is made of
#
# *Parameters*: the draws differ. *Finite simulation*: the references are finite. *Chance*: an average over finitely many
# frames would scatter even if both were exact. More data shrink the first, longer simulations the second, a longer
# average the third.

# %%
figure_prediction_parts(data)
figure_prediction_bands(data)

# %% [markdown]
# ## The naive spread
#
# The spread of the draws' averages is not all parametric: simulation noise is in it. The split takes it out.

# %%
numbers = data.isel(component=np.flatnonzero(np.isnan(data["at"].values)))
for name, naive, own in zip(
    numbers["of"].values, numbers["naive_sd"].values, numbers["parametric_sd"].values, strict=True
):
    print(f"{name:>16}: spread of the draws {naive:.3g}, by the parameters {own:.3g}")

# %% [markdown]
# ## With new simulation
#
# No reference kept velocities or positions, so diffusion needs simulations at draws. The method and its reason are part of the
# answer. The same call takes `temperature=`, `density=` and `n_sites=`.

# %%
moving = predict(
    folder, ["diffusion"], n_simulated=4 if FAST else 32, n_replicas=2, n_samples=100 if FAST else 400
)
print(prediction_table(moving))
print()
print("\n".join(json.loads(moving.attrs["sentences"])))

# %%
draws = moving["draws"].values[:, 0]
plt.figure()
plt.hist(draws[np.isfinite(draws)], bins=10, color="0.7")
plt.xlabel(f"diffusion coefficient [{moving['unit'].values[0]}]")
plt.ylabel("draws")

# %% [markdown]
# ## To another engine
#
#     bayescg export runs/lj-argon --engine openmm
#     python runs/lj-argon/openmm/run.py
#     bayescg collect runs/lj-argon/openmm
#
# The first line writes the mean and twenty draws with a script, the second runs them where OpenMM is installed, the third
# reads its results and splits their spread in the same way. `docs/engines.md` has the other engines.
