"""How often checks of a finished simulation fail although nothing is wrong: stationary series with a given memory.

    python tests/benchmarks/false_alarms.py

Prints a table: failures among 1,000 right runs.
"""

import numpy as np
from scipy.signal import lfilter

from bayescg.analysis import equilibration_check, two_starts_check

REPEATS = 1000
CASES = ((4, 200, 0.0), (4, 200, 0.7), (4, 200, 0.9), (8, 60, 0.3), (2, 60, 0.5), (4, 40, 0.8), (2, 20, 0.5))
"""Replicas, frames of each, and correlation of neighbouring frames."""


def stationary(rng: np.random.Generator, shape: tuple[int, int], memory: float) -> np.ndarray:
    """Normal series [replica frame] whose correlation is memory^t from the first frame on."""
    noise = rng.normal(size=shape)
    noise[:, 0] /= np.sqrt(1.0 - memory**2)
    return lfilter([1.0], [1.0, -memory], noise, axis=1)


def failures(n_replicas: int, n_frames: int, memory: float) -> tuple[int, int]:
    """Of `equilibration` on one series, and of `two starts` on two."""
    rng = np.random.default_rng(0)
    drift = starts = 0
    for _ in range(REPEATS):
        both = np.stack([stationary(rng, (n_replicas, n_frames), memory) for _ in range(2)], axis=-1)
        drift += equilibration_check(both[..., 0]).verdict == "failed"
        starts += two_starts_check(both[::2], both[1::2], names=("energy", "pressure")).verdict == "failed"
    return drift, starts


def main() -> None:
    print("| replicas | frames | correlation of neighbours | equilibration | two starts |")
    print("|---|---|---|---|---|")
    for case in CASES:
        print("| " + " | ".join(str(number) for number in (*case, *failures(*case))) + " |", flush=True)


if __name__ == "__main__":
    main()
