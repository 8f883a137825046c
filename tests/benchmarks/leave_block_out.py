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
import numpyro.distributions as dist  # noqa: E402

from bayescg.analysis import leave_block_out  # noqa: E402
from bayescg.inference import (  # noqa: E402
    Posterior,
    RelativeEntropy,
    Smoothness,
    default_smoothness_weights,
    independent_prior,
    maximise,
    relative_entropy,
)
from bayescg.physics import Reference, ReferenceBank, SplinePair, SufficientStatistics  # noqa: E402


def problem(
    n_frames: int, spacing: float
) -> tuple[Posterior, RelativeEntropy, SufficientStatistics, np.ndarray]:
    """A posterior of a water-like spline, its data, and a point near its mode."""
    spline = SplinePair.uniform(
        inner=0.24, cutoff=0.9, spacing=spacing, core_distance=0.25, core_strength=10.0
    )
    r = spline.centres()
    truth = 20.0 * np.exp(-(r - 0.24) / 0.02) + 0.3 * np.cos(22.0 * (r - 0.28)) * np.exp(-(r - 0.28) / 0.2)
    rng = np.random.default_rng(1)
    distance = np.abs(r[:, None] - r[None, :])
    scale = 3.0 + 40.0 * (r - r[0])
    root = np.linalg.cholesky(np.exp(-distance / 0.05) * np.outer(scale, scale) + 1e-6 * np.eye(len(r)))

    def frames(n: int) -> np.ndarray:
        return np.concatenate([300.0 * r + rng.normal(size=(n, len(r))) @ root.T, np.zeros((n, 1))], axis=1)

    shaped = frames(n_frames).reshape(20, -1, len(r) + 1)
    none = shaped[..., :0]
    bank = ReferenceBank(0.4, (Reference(np.append(truth, 1.0), shaped, none, none, np.zeros((0, 1, 3))),))
    data = frames(1500)
    statistics = SufficientStatistics(data, data, data[:, :0], np.zeros(1500, int))
    info = spline.parameters()[0]
    prior = independent_prior(
        spline,
        {info.name: Smoothness(dist.LogNormal(np.log(0.25), 1.0), default_smoothness_weights(info))},
    )
    start = np.asarray(prior.unconstrain({info.name: truth, f"{info.name}_smoothness": 0.3}))
    return Posterior(prior), relative_entropy(statistics, bank.surrogate()), statistics, start


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
    for spacing in (0.0275, 0.02):
        posterior, likelihood, statistics, start = problem(options.frames, spacing)
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
