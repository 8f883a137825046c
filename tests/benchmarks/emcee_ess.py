"""Effective draws per second: bayescg's NUTS against emcee's ensemble sampler, the same posterior, the same run.

    pip install emcee
    python tests/benchmarks/emcee_ess.py [--seconds 60]

The posterior of Stillinger–Weber silicon (energies and forces of `models/si-stillinger-weber`, noise scales known), with two
parameters (A, λ) and with seven, from 4 and from 100 cells. emcee runs as KLIFF runs it: twice as many walkers as parameters
at least (here 4 per parameter), stretch moves, one log density at a time; the log density is bayescg's exact one, compiled, so
that both pay the same for a look at the data. Effective draws are the smallest bulk effective sample size over the
parameters (rank-normalised, walkers as chains, the first half of emcee's run dropped but its time too; bayescg's draws are
resampled by their weights, which lowers their number). Seconds of bayescg count the whole inference, made a second time with
what was compiled: search, curvature, NUTS, importance weights, sandwich. The first time, with compiling, is given too; emcee's
compiling is left out.
"""

import argparse
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from arviz_stats.base import array_stats

jax.config.update("jax_enable_x64", True)

from bayescg.data import get_unit_system, read_configurations  # noqa: E402
from bayescg.inference import (  # noqa: E402
    EnergyForceStress,
    LabelFitter,
    LabelSettings,
    NoiseScale,
    Posterior,
    labelled_data,
    labelled_prior,
)
from bayescg.physics import StillingerWeber  # noqa: E402

DATA = (
    Path(__file__).resolve().parents[2] / "models" / "si-stillinger-weber" / "data" / "si_sw_noisy.extxyz.gz"
)
N_DRAWS = 5000
"""Kept draws of each of four chains."""
TWO = ("sw_A", "sw_lambda")
SEVEN = ("sw_A", "sw_B", "sw_p", "sw_sigma", "sw_a", "sw_gamma", "sw_lambda")
WIDTHS = {"sw_p": 0.1, "sw_sigma": 0.03, "sw_a": 0.02}


def problem(names: tuple[str, ...], n_cells: int):
    """Prior and likelihood of so many cells, taken evenly from the data."""
    every = read_configurations(DATA, units=get_unit_system("metal"))
    chosen = every[np.linspace(0, len(every) - 1, n_cells).astype(int)]
    potential = StillingerWeber.silicon(cutoff=4.6).vary(*names)
    data = labelled_data(chosen, cutoff=4.6, species=("Si",), quantities=("energy", "forces"))
    priors = {
        name: dist.LogNormal(np.log(float(value)), WIDTHS.get(name, 0.3))
        for name, value in potential.parameter_values().items()
    }
    noise = {"energy": NoiseScale(known=0.0005), "forces": NoiseScale(known=0.05)}
    return labelled_prior(potential, priors, noise=noise, data=data), EnergyForceStress(data)


def least_effective(draws: np.ndarray) -> float:
    """Smallest bulk effective sample size over the coordinates [chain draw coordinate]."""
    return min(
        float(array_stats.ess(draws[..., i], chain_axis=0, draw_axis=1, method="bulk"))
        for i in range(draws.shape[-1])
    )


def ours(prior, likelihood) -> tuple[float, float, float, np.ndarray, np.ndarray]:
    """Effective draws per second, seconds, seconds of the first run with compiling, mode and covariance."""
    times = []
    fitter = LabelFitter(prior, likelihood, start=start_of(prior), settings=LabelSettings(n_draws=N_DRAWS))
    for _ in range(2):
        begun = time.perf_counter()
        fit = fitter.run()
        times.append(time.perf_counter() - begun)
    effective = least_effective(fit.draws.z)
    return effective / times[1], times[1], times[0], fit.modes[0].mode.z, fit.modes[0].mode.covariance


def start_of(prior) -> np.ndarray:
    """The prior's mean."""
    return np.asarray(prior.sample(jax.random.key(0), 2000).mean(axis=0))


def theirs(
    prior, likelihood, mode: np.ndarray, covariance: np.ndarray, seconds: float
) -> tuple[float, float]:
    """Effective draws per second of emcee, started about the mode as wide as the posterior; and its seconds."""
    import emcee

    posterior = Posterior(prior)
    density = eqx.filter_jit(posterior.log_density)
    log_density = lambda z: float(np.nan_to_num(density(jnp.asarray(z), likelihood), nan=-np.inf))  # noqa: E731
    rng = np.random.default_rng(0)
    walkers = max(8, 4 * len(mode))
    state = mode + rng.normal(size=(walkers, len(mode))) @ np.linalg.cholesky(covariance).T
    sampler = emcee.EnsembleSampler(walkers, len(mode), log_density)
    log_density(mode)
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        state = sampler.run_mcmc(state, 20)
    spent = time.perf_counter() - begun
    chain = np.swapaxes(sampler.get_chain(), 0, 1)
    kept = chain[:, chain.shape[1] // 2 :]
    return least_effective(kept) / spent * 2.0, spent


def main() -> None:
    """Prints a markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of emcee's runs")
    options = parser.parse_args()
    print(
        "| parameters | cells | bayescg, effective draws/s | seconds (first, with compiling) | emcee, effective draws/s | ratio |"
    )
    print("|---|---|---|---|---|---|")
    for names, n_cells in ((TWO, 4), (TWO, 100), (SEVEN, 100), (SEVEN, 4)):
        prior, likelihood = problem(names, n_cells)
        rate, spent, first, mode, covariance = ours(prior, likelihood)
        other, _ = theirs(prior, likelihood, mode, covariance, options.seconds)
        print(
            f"| {len(names)} | {n_cells} | {rate:.0f} | {spent:.1f} ({first:.0f}) | {other:.2f} | {rate / other:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
