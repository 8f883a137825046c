"""Coverage of bands about 2+3-body splines for tantalum on groups of configurations that they were not fitted to.

    python tests/benchmarks/tantalum_coverage.py FOLDER/maml_Ta.extxyz.gz

Or with the path in BAYESCG_DATA. 364 cells of density-functional theory (54 atoms of melts and crystals at high
temperature, strained cells, surfaces); each group is held out in turn and the splines are fitted to the others, all
forces in use. 14 functions of pair distances and 166 of triangles; noise and prior scales by maximal evidence, one noise
scale per quantity. Printed for each held-out group and quantity: the share of labels inside central 50, 80, 90 and 95 %
intervals, and the mean width of the 95 % interval [eV per atom, eV/Å, eV/Å³]. Forces in the strained cells vanish by
symmetry and are left out of the mean.
"""

import argparse
import collections
import dataclasses
import os
import resource
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from bayescg.analysis import row_coverage
from bayescg.data import Configurations, get_unit_system, read_configurations
from bayescg.inference import (
    EnergyForceStress,
    LabelFitter,
    LabelledData,
    LabelledModel,
    LabelMode,
    LabelRows,
    LinearLabels,
    Noise,
    Posterior,
    Prior,
    StudentT,
    bootstrap,
    configuration_discrepancy,
    label_rows,
    labelled_data,
    laplace,
    maximise,
    pops_ensemble,
    pops_hypercube,
    white_rows,
)
from bayescg.inference._calibrate import spread_draws
from bayescg.inference._linearised import LinearisedLabels, parameter_vector
from bayescg.physics import BodySplines, InteratomicPotential, SpeciesEnergies

LEVELS = (0.5, 0.8, 0.9, 0.95)
N_DRAWS = 300
NOISE = {
    "energy": 0.05,
    "forces": 1.0,
    "stress": 0.05,
}  # scales of half-normal priors [eV per atom, eV/Å, eV/Å³]
NU = 4.0
RANDOM = "a random fifth"
VANISHING = 1e-10  # below this labels are 0 by symmetry [unit of the label]


def form() -> InteratomicPotential:
    splines = BodySplines.uniform(species=("Ta",), pair=(2.0, 5.5, 14), triplet=(2.0, 4.5, 6), opposite=8)
    return splines + SpeciesEnergies(np.zeros(1), species=("Ta",))


def prior_of(widths: dict[str, float] | None) -> Prior:
    """Normal coefficients about 0, with given widths or with widths to be found; half-normal noise scales."""

    def model() -> LabelledModel:
        values = {}
        for name, start in form().parameter_values().items():
            if name == "offset_energies":
                values[name] = numpyro.sample(name, dist.Normal(-11.8, 10.0).expand((1,)).to_event(1))
                continue
            width = (
                numpyro.sample(f"{name}_width", dist.LogNormal(0.0, 3.0)) if widths is None else widths[name]
            )
            values[name] = numpyro.sample(name, dist.Normal(0.0, width).expand(start.shape).to_event(2))
        scales = [
            numpyro.sample(f"noise_{name}", dist.HalfNormal(scale).expand((1,)).to_event(1))
            for name, scale in NOISE.items()
        ]
        return LabelledModel(form().with_parameters(values), Noise(*scales))

    return Prior(model, hyperparameters=() if widths else ("splines_pair_width", "splines_triplet_width"))


def ready(configurations: Configurations) -> LabelledData:
    """One noise scale for each quantity, whatever the group."""
    pooled = dataclasses.replace(configurations, group=("all",) * len(configurations))
    return labelled_data(pooled, cutoff=form().cutoff, species=("Ta",))


def rows_of(configurations: Configurations, data: LabelledData, name: str) -> LabelRows:
    """Rows at coefficients 0, kept in the temporary folder."""
    path = Path(tempfile.gettempdir()) / f"bayescg_tantalum_{configurations.checksum()[:16]}_{name}.npz"
    if path.exists():
        stored = np.load(path)
        return LabelRows(*(stored[field] for field in LabelRows._fields))
    rows = label_rows(form(), data)
    np.savez(path, **rows._asdict())
    return rows


def moved(rows: LabelRows, prior: Prior, z: np.ndarray) -> LabelRows:
    """The same rows at z: the potential is linear."""
    theta = np.asarray(parameter_vector(prior.potential(jnp.asarray(z)).potential))
    return rows._replace(residual=rows.residual + rows.jacobian @ theta)


def student(prior: Prior, z: np.ndarray, rows: LabelRows, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draws from Laplace's approximation with Student-t noise."""
    potential = prior.potential(jnp.asarray(z)).potential
    likelihood = LinearisedLabels.of(rows, potential, n_configurations=n, family=StudentT(NU))
    mode = maximise(Posterior(prior), likelihood, z, least_effective_frames=0.0, tolerance=1e-2)
    return rng.multivariate_normal(mode.z, mode.covariance, size=N_DRAWS)


def ensembles(
    train: Configurations, data: LabelledData, rows: LabelRows
) -> tuple[Prior, dict[str, np.ndarray], str]:
    """Draws of every method about one fit, and a sentence on it."""
    rng = np.random.default_rng(0)
    free_prior = prior_of(None)
    start = np.zeros(free_prior.size)
    closed = LinearLabels(free_prior, data, start=start, rows=moved(rows, free_prior, start))
    fit = closed.run()
    sites = {name: np.asarray(value) for name, value in free_prior.sites(jnp.asarray(fit.z)).items()}
    widths = {name: float(sites[f"{name}_width"]) for name in ("splines_pair", "splines_triplet")}
    prior = prior_of(widths)
    z = np.asarray(prior.unconstrain({name: v for name, v in sites.items() if not name.endswith("_width")}))
    here = moved(rows, prior, z)
    white = white_rows(prior, z, data, rows=here).at_mode()
    z = white.z
    fitter = LabelFitter(prior, EnergyForceStress(data), start=z)
    best = LabelMode(
        laplace(fitter.posterior, fitter.linearised(z, here), z), here, fitter.linearised(z, here), 1
    )
    raw = rng.multivariate_normal(best.mode.z, best.mode.covariance, size=N_DRAWS)
    covariance, nu, few = fitter.sandwich(best)
    found = configuration_discrepancy(white)
    discrepant = found.new_configuration_draws(n=N_DRAWS, seed=1)
    scales = np.setdiff1d(np.arange(prior.size), white.free)
    discrepant[:, scales] += np.log(found.noise_factor)  # half-normal scales are sampled as logarithms
    draws = {
        "Bayes": raw,
        "Student-t": student(prior, z, here, len(train), rng),
        "sandwich": spread_draws(
            raw, z, covariance, precision=np.linalg.inv(best.mode.covariance), degrees_of_freedom=nu, rng=rng
        ),
        "bootstrap": bootstrap(prior, data, z, n=N_DRAWS, seed=2, rows=here).draws,
        "POPS hypercube": pops_hypercube(white, n=N_DRAWS, seed=3),
        "POPS ensemble": pops_ensemble(white, n=N_DRAWS, seed=4),
        "discrepancy": discrepant,
    }
    noise = ", ".join(f"{n} {float(sites[f'noise_{n}'][0]):.4f}" for n in NOISE)
    sentence = (
        f"noise {noise}; prior widths {widths['splines_pair']:.2f} and {widths['splines_triplet']:.2f} eV;"
        f" log evidence {fit.log_evidence:.0f}; discrepancy τ = {found.strength:.2f}, noise factor"
        f" {found.noise_factor:.2f}, gain {found.gain:.0f}; the sandwich"
        f" {'widens all directions alike' if few else 'has its own directions'}; directions that the prior dominates:"
        f" {len(fit.prior_dominated)}"
    )
    return prior, draws, sentence


def report(prior: Prior, draws: dict[str, np.ndarray], rows: LabelRows) -> list[tuple]:
    """Coverage and width of each method on held-out rows, with noise and without."""
    rng = np.random.default_rng(5)
    table = []
    for method, z in draws.items():
        models = jax.jit(jax.vmap(lambda one: _theta_and_noise(prior, one)))(jnp.asarray(z))
        theta, noise = (np.asarray(a) for a in models)
        if method == "Student-t":
            noise = noise * np.sqrt(NU / rng.chisquare(NU, size=(len(noise), 1)))
        for added in (False, True) if not method.startswith("POPS") else (False,):
            found = row_coverage(rows, theta, groups=("all",), noise=noise if added else None, levels=LEVELS)
            for quantity in NOISE:
                one = found.sel(quantity=quantity, group="all")
                name = f"{method} + noise" if added else method
                table.append(
                    (quantity, name, one["coverage"].values, float(one["width"][-1]), float(one["residual"]))
                )
    return table


def _theta_and_noise(prior: Prior, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    model = prior.potential(z)
    return parameter_vector(model.potential), jnp.concatenate(
        [model.noise.energy, model.noise.forces, model.noise.stress]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default=os.environ.get("BAYESCG_DATA"))
    parser.add_argument("--folds", nargs="*", help="groups to hold out; default all, and a random fifth")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give the file of configurations, or its path in BAYESCG_DATA")
    jax.config.update("jax_enable_x64", True)
    everything = read_configurations(arguments.data, units=get_unit_system("metal"))
    names = np.array(everything.group)
    fifth = np.random.default_rng(0).permutation(len(everything)) % 5 == 0
    folds = arguments.folds or [*dict.fromkeys(names), RANDOM]
    score = collections.defaultdict(list)
    head = " | ".join(f"{100 * level:.0f} %" for level in LEVELS)
    for fold in folds:
        began = time.perf_counter()
        out = fifth if fold == RANDOM else names == fold
        train, held_out = everything[~out], everything[out]
        data, test = ready(train), ready(held_out)
        prior, draws, sentence = ensembles(train, data, rows_of(train, data, "rows"))
        table = report(prior, draws, rows_of(held_out, test, "rows"))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"Held out: {fold}, {out.sum()} of {len(out)} cells. Fit to the others: {sentence}.")
        print(f"({time.perf_counter() - began:.0f} s, {peak:.1f} GiB at most)\n")
        print(f"| held out | quantity | intervals | {head} | width of 95 % | rms residual |")
        print("|---|---|---|" + "---|" * 6)
        for quantity in NOISE:
            for name, shares, width, residual in (line[1:] for line in table if line[0] == quantity):
                cells = " | ".join(f"{100 * share:.0f}" for share in shares)
                print(f"| {fold} | {quantity} | {name} | {cells} | {width:.3g} | {residual:.3g} |")
                if residual > VANISHING:  # forces on atoms at centres of symmetry say nothing
                    score[name].append(shares)
        print(flush=True)
    print(
        f"Mean over folds and quantities:\n\n| intervals | {head} | mean distance from nominal |\n|---|"
        + "---|" * 5
    )
    for name, shares in score.items():
        distance = np.mean(np.abs(np.array(shares) - LEVELS))
        print(
            f"| {name} | {' | '.join(f'{100 * s:.0f}' for s in np.mean(shares, axis=0))} | {100 * distance:.0f} |"
        )


if __name__ == "__main__":
    main()
