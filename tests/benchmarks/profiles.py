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

import numpy as np  # noqa: E402
from water_like import problem  # noqa: E402

from bayescg.analysis import profiles  # noqa: E402
from bayescg.inference import maximise  # noqa: E402


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
            posterior, likelihood, _, start = problem(n_frames, n_parameters)
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
