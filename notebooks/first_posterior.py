# %% [markdown]
# # The first posterior
#
# One particle in a double well, $U(x) = -t_1 x^2/2 + t_2 x^4/4$ in units of $kT$, and 100 independent positions of it.
# What do they say about $t_1$ and $t_2$? One particle is simple enough to compute the answer by quadrature, so every
# stage of a run can be held against the truth.
#
# The stages are those of every study: read, look, search, verify, sample, calibrate, report.

# %%
import json
import os
import tempfile
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)  # the command line does this by itself

import matplotlib.pyplot as plt
import numpy as np

from bayescg.data import read_frames
from bayescg.inference import read_bank
from bayescg.output import parameter_table, read_checks, read_statement
from bayescg.study import Study

FAST = os.environ.get("BAYESCG_FAST") == "1"
HERE = Path(__file__).resolve().parent if "__file__" in globals() else Path.cwd()
ROOT = next(folder for folder in (HERE, *HERE.parents) if (folder / "models").is_dir())

# %% [markdown]
# ## The model file
#
# Data, potential, priors, how to simulate and how much to sample: all of it is in one file.

# %%
study = Study.from_file(ROOT / "models" / "double-well")
print(study.text)

# %% [markdown]
# ## The data
#
# The likelihood sees the frames only through two averages, $\langle x^2\rangle$ and $\langle x^4\rangle$.

# %%
frames = read_frames(ROOT / "models" / "double-well" / "data" / "double_well.nc")
x = frames.positions.ravel()
print(f"{frames.n_frames} frames, <x^2> = {np.mean(x**2):.6f}, <x^4> = {np.mean(x**4):.6f}")
plt.hist(x, bins=20, color="0.7")
plt.xlabel("x")

# %% [markdown]
# ## A look before the run
#
# `bayescg check` in Python: nothing is simulated yet.

# %%
for check in study.check():
    print(f"{check.verdict:<11} {check.name}: {check.sentence}")

# %% [markdown]
# ## The run
#
# The stages run in order and leave everything in one `xarray.DataTree`. A quick run goes through the same stages with
# little simulation; its numbers mean nothing.

# %%
folder = Path(tempfile.mkdtemp()) / "run"
tree = study.run(folder, quick=FAST)
print("\n".join(read_statement(tree)))

# %% [markdown]
# ## Search: where references were simulated
#
# The normalisation $\log Z(t_1, t_2)$ is not known in general. It is estimated from simulations at a few
# parameter values, the references, reweighted to all others nearby. The first ones are the search's way to the maximum,
# the last ones were added by the verification.

# %%
bank = read_bank(folder / "bank.nc")
for reference in bank.references:
    t1, t2 = reference.coefficients
    print(f"{reference.purpose:<13} t1 = {t1:6.3f}, t2 = {t2:6.3f}: {reference.n_frames} frames")

# %% [markdown]
# ## Verify: fresh simulations at posterior draws
#
# At random draws the particle is simulated afresh. The error is what the reweighting's mistake would shift the
# posterior by, in its own standard deviations; the noise floor is what the check's own simulation contributes.

# %%
verification = tree["verification"]
print("verdict:", verification.attrs["verdict"])
print("errors:     ", np.round(verification["rms_error"].values[-1], 2))
print("noise floor:", np.round(verification["noise_floor"].values[-1], 2))

# %% [markdown]
# ## Sample, and compare with the exact posterior
#
# The exact posterior on a grid: $\log p = N(t_1\langle x^2\rangle/2 - t_2\langle x^4\rangle/4 - \log Z) + \log$ prior.

# %%
t1, t2 = np.linspace(0.5, 6.0, 181), np.linspace(0.5, 4.5, 161)
grid = np.linspace(-5.0, 5.0, 1001)
exponent = t1[:, None, None] * grid**2 / 2 - t2[:, None] * grid**4 / 4
log_z = np.log(np.trapezoid(np.exp(exponent), grid))
log_density = frames.n_frames * (t1[:, None] * np.mean(x**2) / 2 - t2 * np.mean(x**4) / 4 - log_z)
log_density -= ((t1[:, None] - 1) ** 2 + (t2 - 1) ** 2) / (2 * 2.0**2)
exact = np.exp(log_density - log_density.max())
exact /= exact.sum()
means = exact.sum(1) @ t1, exact.sum(0) @ t2
sds = np.sqrt(exact.sum(1) @ (t1 - means[0]) ** 2), np.sqrt(exact.sum(0) @ (t2 - means[1]) ** 2)

raw = tree["posterior_raw"]
for name, mean, sd in zip(("well_t1", "well_t2"), means, sds, strict=True):
    draws = raw[name]
    print(
        f"{name}: exact {mean:.3f} ± {sd:.3f}, sampled {float(draws.mean()):.3f} ± {float(draws.std()):.3f}"
    )

# %%
figure, axes = plt.subplots()
axes.plot(
    raw["well_t1"].values.ravel(), raw["well_t2"].values.ravel(), ".", ms=2, color="C0", label="NUTS draws"
)
levels = np.sort(exact.ravel())[::-1]
inside = np.cumsum(levels)
heights = sorted(levels[np.searchsorted(inside, share)] for share in (0.5, 0.9))
axes.contour(t1, t2, exact.T, levels=heights, colors="black")
axes.set(xlabel="$t_1$", ylabel="$t_2$", title="Draws, and the exact posterior's 50 and 90 % regions")
axes.legend()

# %% [markdown]
# ## Calibrate
#
# The draws above take frames as independent and the model as right. The calibrated posterior asks the data how many
# independent frames they are worth and whether the model reproduces their fluctuations, and sets the width accordingly.
# Here, frames are independent and the model is right, so the two should be close: what is left is the noise of
# estimating that from 100 frames.

# %%
table = parameter_table(tree)
for name in table["parameter"].values:
    row = table.sel(parameter=name)
    print(
        f"{name}: {float(row['mean']):.3f} ± {float(row['sd']):.3f} calibrated, prior ± {float(row['prior_sd']):.3f}"
    )

# %% [markdown]
# ## What the report says

# %%
for check in read_checks(tree):
    print(f"{check.verdict:<11} {check.name}: {check.sentence}")
print("seconds per stage:", json.loads(tree.attrs["wall_time_s"]))
