"""Draws the 20 frames of this study: one angle each, from a uniform truth, with <cos> = 0 and <cos 2> = 1/4 exactly.

usage: python make_data.py OUT.nc
"""

import sys

import numpy as np

from bayescg.data import Frames, State, Topology, get_unit_system, write_frames

FIRST, SECOND, N = 0.0, 0.25, 20


def angles() -> np.ndarray:
    """Independent uniform angles, moved as little as it takes to have both averages."""
    angle = np.random.default_rng(2026).uniform(0.0, 2.0 * np.pi, size=N)
    for _ in range(50):
        missing = np.array([FIRST - np.cos(angle).mean(), SECOND - np.cos(2.0 * angle).mean()])
        slopes = -np.stack([np.sin(angle), 2.0 * np.sin(2.0 * angle)]) / N
        angle = angle + np.linalg.pinv(slopes) @ missing
    return angle % (2.0 * np.pi)


if __name__ == "__main__":
    angle = angles()
    print(f"<cos> = {np.cos(angle).mean():.12f}, <cos 2> = {np.cos(2.0 * angle).mean():.12f}")
    topology = Topology(("X",), np.array([1.0]))
    box = np.array([2.0 * np.pi])
    frames = Frames(angle.reshape(N, 1, 1), box, topology, State(1.0), get_unit_system("lj"))
    write_frames(frames, sys.argv[1], title="20 independent angles")
