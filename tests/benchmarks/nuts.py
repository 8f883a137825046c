"""Effective draws per second of NUTS on the surrogate: 33 spline coefficients and their scale, float64.

usage: python tests/benchmarks/nuts.py [--frames 20000] [--chains 4] [--draws 500]

The reference frames are made up, with the covariance of a spline's basis sums in a liquid; the cost does not depend
on where frames come from.
"""

import argparse
import os
import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from arviz_stats.base import array_stats  # noqa: E402
from water_like import problem  # noqa: E402

from bayescg.inference import Nuts, maximise  # noqa: E402
from bayescg.inference._nuts import Target, concatenate_draws  # noqa: E402


def main() -> None:
    """Prints a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[20_000])
    parser.add_argument("--chains", type=int, nargs="+", default=[4])
    parser.add_argument("--draws", type=int, default=500)
    options = parser.parse_args()
    print(f"jax {jax.__version__}, {os.cpu_count()} cores, {jax.devices()[0].platform}, float64")
    print(
        "| frames | chains | leapfrog steps per draw | divergences | effective draws (worst) | per second |"
    )
    print("|---|---|---|---|---|---|")
    for n_frames in options.frames:
        posterior, likelihood, _, start = problem(n_frames, 33)
        mode = maximise(posterior, likelihood, start, least_effective_frames=50.0)
        root = jnp.asarray(np.linalg.cholesky(mode.covariance))
        target = Target(likelihood, jnp.asarray(mode.z), root, jnp.asarray(50.0))
        for n_chains in options.chains:
            nuts = Nuts(posterior, n_warmup=300)
            state = nuts.initial_state(jax.random.key(1), target, n_chains=n_chains)
            for _ in range(6):
                state, _ = nuts.step(state, target, n=50)
            start_time, parts = time.perf_counter(), []
            for _ in range(options.draws // 50):
                state, draws = nuts.step(state, target, n=50)
                parts.append(draws)
            seconds = time.perf_counter() - start_time
            draws = concatenate_draws(parts)
            worst = min(
                float(array_stats.ess(draws.z[..., i], chain_axis=0, draw_axis=1))
                for i in range(draws.z.shape[-1])
            )
            print(
                f"| {n_frames} | {n_chains} | {draws.n_steps.mean():.1f} | {int(draws.diverging.sum())} |"
                f" {worst:.0f} | {worst / seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
