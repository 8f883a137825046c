"""Time per frame of the normal equations and the score sums, for one-site water with 34 spline features.

    python tests/benchmarks/force_matching.py

343 sites in a box of 2.1755 nm, cut-off 0.9 nm, float64, all pairs. The machine's noise is in it: repeat.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from bayescg.data import Frames, State, Topology, get_unit_system
from bayescg.inference._force_matching import ForceFeatures, force_normal_equations
from bayescg.inference._score_matching import FeatureLaplacian
from bayescg.physics import SplinePair

N_SITES, EDGE, N_FRAMES = 343, 2.1755, 48


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(1)
    topology = Topology(("W",) * N_SITES, np.full(N_SITES, 18.0154))
    frames = Frames(
        rng.uniform(0.0, EDGE, (N_FRAMES, N_SITES, 3)),
        np.full(3, EDGE),
        topology,
        State(300.0),
        get_unit_system("gromacs"),
        forces=rng.normal(0.0, 250.0, (N_FRAMES, N_SITES, 3)),
    )
    potential = SplinePair.uniform(
        inner=0.24, cutoff=0.9, spacing=0.02, core_distance=0.24, core_strength=0.0
    )
    force_normal_equations(frames[:16].blocks(16), potential)
    start = time.perf_counter()
    force_normal_equations(frames.blocks(N_FRAMES), potential)
    print(
        f"normal equations: {1e3 * (time.perf_counter() - start) / N_FRAMES:.1f} ms per frame, table included"
    )
    laplacian = FeatureLaplacian.of(ForceFeatures.of(potential), dim=3)
    positions, box = jnp.asarray(frames.positions), jnp.full(3, EDGE)
    all_frames = jax.jit(lambda x: jax.lax.map(lambda one: laplacian(one, box), x))
    all_frames(positions).block_until_ready()
    start = time.perf_counter()
    all_frames(positions).block_until_ready()
    print(f"Laplacian of the features: {1e3 * (time.perf_counter() - start) / N_FRAMES:.1f} ms per frame")


if __name__ == "__main__":
    main()
