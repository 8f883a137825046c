"""Draws the 200 frames of one state s: independent positions from exp(-(x^4 - s x^2)), <x^2> exact.

usage: python make_data.py OUT.nc [--state -2]
"""

import argparse

import numpy as np

from bayescg.data import Frames, State, Topology, get_unit_system, write_frames

N = 200


def positions(state: float) -> np.ndarray:
    """Independent positions, scaled by the per cent that it takes to have the exact second moment."""
    rng = np.random.default_rng([2026, round(1000 * (state + 10))])
    grid = np.linspace(-4.0, 4.0, 40_001)
    density = np.exp(-(grid**4 - state * grid**2) + max(state, 0.0) ** 2 / 4.0)
    density /= density.sum()
    x = np.interp(rng.uniform(size=N), np.cumsum(density), grid)
    return x * np.sqrt(density @ grid**2 / np.mean(x**2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--state", type=float, default=-2.0)
    arguments = parser.parse_args()
    x = positions(arguments.state)
    print(f"s = {arguments.state:g}: <x²> = {np.mean(x**2):.7f}")
    topology = Topology(("X",), np.array([1.0]))
    frames = Frames(x.reshape(N, 1, 1), np.array([np.inf]), topology, State(1.0), get_unit_system("lj"))
    write_frames(frames, arguments.out, title=f"{N} independent positions at s = {arguments.state:g}")
