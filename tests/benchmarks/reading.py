"""Reading, mapping and reducing: frames per second, and peak memory against the trajectory's length.

usage: python tests/benchmarks/reading.py [--model models/water-spce]

Uses the atomistic piece that the water model carries (1,029 atoms), repeated as several trajectory files, and its
mapped frames, repeated as one longer trajectory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402

from bayescg.data import (  # noqa: E402
    Frames,
    Mapping,
    get_unit_system,
    open_trajectory,
    read_frames,
    write_frames,
)
from bayescg.physics import SplinePair, reduce  # noqa: E402

CHECK = """
import resource, sys, time
from bayescg.cli import main
start = time.perf_counter()
status = main(["check", sys.argv[1]])
print(status, time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def main() -> None:
    """Prints two markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/water-spce"))
    model = parser.parse_args().model
    data = model / "data"
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
    print()
    print("| command | frames | seconds | peak resident memory of the process [MB] |")
    print("|---|---|---|---|")
    for copies in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            whole_check(model, repeated(frames, copies), Path(folder))


def repeated(frames: Frames, copies: int) -> Frames:
    """The frames several times over, as one trajectory whose times go on."""
    assert frames.time is not None
    step = float(frames.time[1] - frames.time[0])
    parts = [replace(frames, time=frames.time + k * step * len(frames)) for k in range(copies)]
    return replace(Frames.concatenate(parts), trajectory=np.zeros(copies * len(frames), int))


def whole_check(model: Path, frames: Frames, folder: Path) -> None:
    """`bayescg check` on these frames, in a process of its own; prints a row."""
    write_frames(frames, folder / "frames.nc")
    data = str((model / "data").resolve())
    text = (model / "model.toml").read_text().replace('"data/spce343_300K_com.nc"', '"frames.nc"')
    (folder / "model.toml").write_text(text.replace('"data/', f'"{data}/'))
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(folder)], check=True, capture_output=True, text=True
    )
    status, seconds, memory = done.stderr.split()[-3:]
    if status != "0":
        raise SystemExit(f"bayescg check ended with {status}:\n{done.stdout}{done.stderr}")
    print(f"| bayescg check | {len(frames)} | {float(seconds):.1f} | {int(memory) * 1024 / 1e6:.0f} |")


if __name__ == "__main__":
    main()
