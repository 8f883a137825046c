"""Draws the 100 frames of this study: independent positions with exactly <x²> = 1.2 and <x⁴> = 2.2.

usage: python make_data.py OUT.nc
"""

import sys

import numpy as np

from bayescg.data import Frames, State, Topology, get_unit_system, write_frames

SECOND, FOURTH, N = 1.2, 2.2, 100

rng = np.random.default_rng(2026)
grid = np.linspace(-4.0, 4.0, 40_001)
cumulative = np.cumsum(np.exp(2.83 * grid**2 / 2 - 1.98 * grid**4 / 4))
x = np.interp(rng.uniform(size=N), cumulative / cumulative[-1], grid)
square = x**2
for _ in range(100):  # the power and the scale of x² that give both moments
    target = FOURTH / SECOND**2
    ratio = np.mean(square**2) / np.mean(square) ** 2
    square = square ** (1.0 + 0.5 * (target - ratio))
    square *= SECOND / square.mean()
positions = (np.sign(x) * np.sqrt(square)).reshape(N, 1, 1)
print(f"<x²> = {np.mean(positions**2):.12f}, <x⁴> = {np.mean(positions**4):.12f}")
topology = Topology(("X",), np.array([1.0]))
frames = Frames(positions, np.array([np.inf]), topology, State(1.0), get_unit_system("lj"))
write_frames(frames, sys.argv[1], title="100 independent positions in a double well")
