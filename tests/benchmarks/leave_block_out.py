"""Time of leave-block-out scores: 20 refits of a water-like spline on a bank of made-up reference frames, float64.

usage: python tests/benchmarks/leave_block_out.py [--frames 30000] [--blocks 20] [--draws 400]

Each number of coefficients is one row; each refit moves a posterior of 1500 frames by what one block says. The
reference frames are made up, with the covariance of a spline's basis sums in a liquid; the cost does not depend on
where frames come from.
"""

import argparse
import os
import time

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
from water_like import problem  # noqa: E402

from bayescg.analysis import leave_block_out  # noqa: E402
from bayescg.inference import maximise  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=30_000)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--draws", type=int, default=400)
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, {options.frames} reference frames, {options.blocks} blocks, {options.draws} draws\n"
    )
    print("| coefficients | seconds, first call | seconds, again | largest k-hat | joint − pointwise elpd |")
    print("|---|---|---|---|---|")
    for n_coefficients in (24, 33):
        posterior, likelihood, statistics, start = problem(options.frames, n_coefficients)
        mode = maximise(posterior, likelihood, start, least_effective_frames=50.0)
        normal = np.random.default_rng(2).normal(size=(options.draws, len(mode.z)))
        draws = mode.z + normal @ np.linalg.cholesky(mode.covariance).T
        seconds = []
        for _ in range(2):
            begin = time.perf_counter()
            scores = leave_block_out(
                statistics, posterior, likelihood, mode=mode, draws=draws, n_blocks=options.blocks
            )
            seconds.append(time.perf_counter() - begin)
        print(
            f"| {len(mode.z) - 1} | {seconds[0]:.1f} | {seconds[1]:.1f} | {scores.joint.khat.max():.2f}"
            f" | {scores.joint.elpd - scores.pointwise.elpd:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
