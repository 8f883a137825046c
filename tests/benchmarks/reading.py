"""Reading, mapping and reducing: frames per second, and peak memory against the trajectory's length.

usage: python tests/benchmarks/reading.py [--model models/water-spce]

Uses the atomistic piece that the water model carries (1,029 atoms), repeated as several trajectory files.
"""

import argparse
import os
import time
import tracemalloc
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402

from bayescg.data import Mapping, get_unit_system, open_trajectory, read_frames  # noqa: E402
from bayescg.physics import SplinePair, reduce  # noqa: E402


def main() -> None:
    """Prints a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/water-spce"))
    data = parser.parse_args().model / "data"
    units = get_unit_system("gromacs")
    spline = SplinePair.uniform(inner=0.24, cutoff=0.9, spacing=0.02, core_distance=0.25, core_strength=10.0)
    edges = 0.01 * np.arange(109)
    print(f"{os.cpu_count()} cores")
    print("| what | frames | frames per second | peak memory of Python's objects [MB] |")
    print("|---|---|---|---|")
    for copies in (5, 50):
        source = open_trajectory(
            data / "spce343_300K.tpr",
            [data / "spce343_300K_piece.xtc"] * copies,
            units=units,
            temperature=300.0,
            mapping=Mapping.by_group(),
        )
        tracemalloc.start()
        start = time.perf_counter()
        n = sum(block.n_frames for block in source.blocks(64))
        seconds = time.perf_counter() - start
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        print(f"| read xtc and map 1,029 atoms | {n} | {n / seconds:.0f} | {peak:.1f} |")
    frames = read_frames(data / "spce343_300K_com.nc", units=units)
    reduce(frames[:64].blocks(64), spline, distance_edges=edges)
    for part in (frames[:300], frames):
        tracemalloc.start()
        start = time.perf_counter()
        reduce(part.blocks(64), spline, distance_edges=edges)
        seconds = time.perf_counter() - start
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        print(
            f"| reduce 343 sites to 34 features, 108 bins | {len(part)} | {len(part) / seconds:.0f} | {peak:.1f} |"
        )


if __name__ == "__main__":
    main()
