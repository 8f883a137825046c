# %% [markdown]
# # What the data determine, which model to use, and whether to trust it
#
# A hundred positions of a particle in a double well, U(x) = −t₁ x²/2 + t₂ x⁴/4 at kT = 1. The posterior is a finished run;
# everything below is read from it, without a new simulation.

# %%
import json
import os
import tempfile
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)  # the command line does this by itself

from bayescg.analysis import sweep_part
from bayescg.output import (
    calibration_check_table,
    comparison_table,
    determination_table,
    figure_calibration_check,
    figure_combinations,
    figure_data_size_sweep,
    sweep_table,
)
from bayescg.study import Study, check_calibration, compare_runs, identify_run, sweep_run

FAST = os.environ.get("BAYESCG_FAST") == "1"
HERE = Path(__file__).resolve().parent if "__file__" in globals() else Path.cwd()
ROOT = next(folder for folder in (HERE, *HERE.parents) if (folder / "models").is_dir())
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Two posteriors of the same frames
#
# The double well of `models/double-well`, and a spring that can't have two minima.

# %%
well = (ROOT / "models" / "double-well" / "model.toml").read_text()
well = well.replace('"data/', f'"{ROOT}/models/double-well/data/')
potential, simulation = well.index("[potential.well]"), well.index("[simulation]")
spring = f"""{well[:potential]}
[potential.spring]
kind = "harmonic-well"
k = 1.0

[prior.spring_k]
distribution = "lognormal"
loc = 0.0
scale = 1.0

{well[simulation:]}"""
for name, text in {"well": well, "spring": spring}.items():
    (folder / f"model-{name}").mkdir()
    (folder / f"model-{name}" / "model.toml").write_text(text)
    Study.from_file(folder / f"model-{name}").run(folder / name, quick=FAST)

# %% [markdown]
# ## Which combinations do the data determine?
#
# `bayescg identify runs/well`: the spectrum against the prior, a verdict on every parameter and combination with its reason,
# and what frames of the same kind would add.

# %%
determined, _ = identify_run(folder / "well")
print(determination_table(determined))
print()
print("\n".join(json.loads(determined.attrs["sentences"])))

# %%
figure_combinations(determined)

# %% [markdown]
# ## How much would more data bring?
#
# `bayescg sweep runs/well` fits the model to pieces of the data and scores the frames left out.

# %%
swept = sweep_run(folder / "well")
print(sweep_table(swept))
figure_data_size_sweep(sweep_part(swept, "data_size"))

# %% [markdown]
# ## Which model?
#
# `bayescg compare runs/well runs/spring --evidence`: predictive scores of blocks left out, each with its refit, stacking weights,
# and, for independent frames, the log evidence by two methods with the Bayes factor.

# %%
print(comparison_table(compare_runs([folder / "well", folder / "spring"], evidence=True)))

# %% [markdown]
# ## Can the posterior be trusted?
#
# `bayescg sbc runs/well` draws truths from the posterior, makes data of each from the stored references, and infers each truth
# again: its ranks must be uniform. A quick test run is refused, since there is nothing in it to trust.

# %%
checked = None if FAST else check_calibration(folder / "well", n_replicates=300)
if checked is not None:
    print(calibration_check_table(checked))

# %%
None if checked is None else figure_calibration_check(checked)
