"""Time of the profile posteriors of all parameters of a spline, from a bank of reference frames, float64.

usage: python tests/benchmarks/profiles.py [--frames 30000] [--parameters 24] [--repeat 2]

The reference frames are made up, with the covariance of a spline's basis sums in a liquid; the cost does not depend
on where frames come from. The first time includes compiling.
"""

import argparse
import os
import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro.distributions as dist  # noqa: E402

from bayescg.analysis import profiles  # noqa: E402
from bayescg.inference import (  # noqa: E402
    Posterior,
    RelativeEntropy,
    Smoothness,
    default_smoothness_weights,
    independent_prior,
    maximise,
)
from bayescg.physics import Reference, ReferenceBank, SplinePair  # noqa: E402


def problem(n_frames: int, n_parameters: int) -> tuple[Posterior, RelativeEntropy, np.ndarray]:
    """A posterior of a water-like spline with its smoothness, and a point near its mode."""
    spacing = 0.66 / n_parameters
    spline = SplinePair.uniform(
        inner=0.24, cutoff=0.9, spacing=spacing, core_distance=0.25, core_strength=10.0
    )
    r = spline.centres()
    truth = 20.0 * np.exp(-(r - 0.24) / 0.02) + 0.3 * np.cos(22.0 * (r - 0.28)) * np.exp(-(r - 0.28) / 0.2)
    rng = np.random.default_rng(1)
    distance = np.abs(r[:, None] - r[None, :])
    scale = 3.0 + 40.0 * (r - r[0])
    root = np.linalg.cholesky(np.exp(-distance / 0.05) * np.outer(scale, scale) + 1e-6 * np.eye(len(r)))
    features = np.concatenate(
        [300.0 * r + rng.normal(size=(n_frames, len(r))) @ root.T, np.zeros((n_frames, 1))], axis=1
    )
    shaped = features.reshape(20, -1, len(r) + 1)
    none = shaped[..., :0]
    bank = ReferenceBank(0.4, (Reference(np.append(truth, 1.0), shaped, none, none, np.zeros((0, 1, 3))),))
    mean = features.mean(axis=0) + np.append(root @ rng.normal(size=len(r)), 0.0) / np.sqrt(1500.0)
    likelihood = RelativeEntropy(jnp.asarray(mean), jnp.asarray(1500.0), bank.surrogate())
    info = spline.parameters()[0]
    prior = independent_prior(
        spline, {info.name: Smoothness(dist.LogNormal(np.log(0.25), 1.0), default_smoothness_weights(info))}
    )
    start = np.asarray(prior.unconstrain({info.name: truth, f"{info.name}_smoothness": 0.3}))
    return Posterior(prior), likelihood, start


def main() -> None:
    """Prints a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[30_000])
    parser.add_argument("--parameters", type=int, nargs="+", default=[24])
    parser.add_argument("--repeat", type=int, default=2)
    options = parser.parse_args()
    print(f"jax {jax.__version__}, {os.cpu_count()} cores, {jax.devices()[0].platform}, float64")
    print("| frames | coordinates | time | seconds | points | ended inside | rise above the mode |")
    print("|---|---|---|---|---|---|---|")
    for n_frames in options.frames:
        for n_parameters in options.parameters:
            posterior, likelihood, start = problem(n_frames, n_parameters)
            mode = maximise(posterior, likelihood, start, least_effective_frames=50.0)
            for i in range(options.repeat):
                begin = time.perf_counter()
                found = profiles(posterior, likelihood, mode)
                seconds = time.perf_counter() - begin
                inside = int(np.isfinite(found.interval).sum())
                print(
                    f"| {n_frames} | {len(mode.z)} | {'first' if i == 0 else 'again'} | {seconds:.1f} |"
                    f" {int(np.isfinite(found.grid).sum())} | {inside} of {found.interval.size} |"
                    f" {found.rise.max():.1e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
