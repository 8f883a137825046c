"""Time of a basis sweep: splines of 6 to 48 coefficients on one bank, against the largest of them alone, float64.

usage: python tests/benchmarks/basis_sweep.py [--frames 20000] [--data 1500] [--blocks 20]

Knots of the smaller splines are among those of the largest, so that one reduction of the frames serves all. The
reference frames are made up, with the covariance of a spline's basis sums in a liquid; the cost does not depend on where
frames come from. Sizes are timed one by one, then all together, on one thread; the least of five times counts. The
bank's own simulations, minutes where these are fractions of a second, are shared by all sizes and not in the times.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads that wait for each other would be timed

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402

from bayescg.analysis import LinearBasis, basis_sweep, spline_basis  # noqa: E402
from bayescg.physics import Reference, ReferenceBank, SplinePair, SufficientStatistics  # noqa: E402

SIZES = (6, 8, 12, 16, 24, 48)


def spline(size: int) -> SplinePair:
    return SplinePair.uniform(
        inner=0.24, cutoff=0.9, spacing=0.66 / size, core_distance=0.25, core_strength=10.0
    )


def problem(
    n_frames: int, n_data: int
) -> tuple[SufficientStatistics, ReferenceBank, list[LinearBasis], np.ndarray]:
    """Data that a slightly different potential made, references, bases, and the truth of the references."""
    fine = spline(SIZES[-1])
    r = fine.centres()
    truth = 20.0 * np.exp(-(r - 0.24) / 0.05) + 0.3 * np.cos(22.0 * (r - 0.28)) * np.exp(-(r - 0.28) / 0.2)
    rng = np.random.default_rng(1)
    scale = 3.0 + 40.0 * (r - r[0])
    correlation = np.exp(-np.abs(r[:, None] - r[None, :]) / 0.05)
    root = np.linalg.cholesky(correlation * np.outer(scale, scale) + 1e-6 * np.eye(len(r)))

    def frames(n: int, shift: np.ndarray) -> np.ndarray:
        rows = 300.0 * r + rng.normal(size=(n, len(r))) @ root.T - 0.4 * root @ (root.T @ shift)
        return np.concatenate([rows, np.zeros((n, 1))], axis=1)

    shaped = frames(n_frames, 0.0 * r).reshape(20, -1, len(r) + 1)
    none = shaped[..., :0]
    eta = np.append(truth, 1.0)
    bank = ReferenceBank(0.4, (Reference(eta, shaped, none, none, np.zeros((0, 1, 3))),))
    data = frames(n_data, 0.01 * np.sin(30.0 * r))
    statistics = SufficientStatistics(data, data, data[:, :0], np.zeros(n_data, int))
    bases = [spline_basis(fine, spline(size), smoothness=0.5) for size in SIZES]
    # the made-up frames are Gaussian, so any energy can be taken as the zero: here that of the references
    return statistics, bank, [basis._replace(offset=eta) for basis in bases], eta


def measure(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of the processors: the least of both, since other work on the machine adds to either."""
    wall, processor = [], []
    for _ in range(5):
        begin, busy = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - begin)
        processor.append(time.process_time() - busy)
    return min(wall), min(processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--data", type=int, default=1500)
    parser.add_argument("--blocks", type=int, default=20)
    arguments = parser.parse_args()
    statistics, bank, bases, eta = problem(arguments.frames, arguments.data)
    surrogate = bank.surrogate()

    def sweep(some: list[LinearBasis]) -> object:
        return basis_sweep(statistics, surrogate, some, start=eta, bank=bank, n_blocks=arguments.blocks)

    table = sweep(bases)
    print(
        f"{arguments.frames} reference frames, {arguments.data} frames of data, {table.sizes['block']} blocks,"
        f" {os.cpu_count()} cores\n"
    )
    print(
        "| coefficients | seconds | processor seconds | cross-validated score above the best [nats/frame] | reached |"
    )
    print("|---|---|---|---|---|")
    alone = {}
    for basis in bases:
        alone[basis.size] = measure(lambda basis=basis: sweep([basis]))
        row = table.sel(basis=basis.label)
        print(
            f"| {basis.size} | {alone[basis.size][0]:.2f} | {alone[basis.size][1]:.2f} | {float(row['difference']):.4f} ±"
            f" {float(row['difference_se']):.4f} | {bool(row['converged'])} |"
        )
    together = measure(lambda: sweep(bases))
    print(f"| all six | {together[0]:.2f} | {together[1]:.2f} | | |")
    ratio = [both / one for both, one in zip(together, alone[SIZES[-1]], strict=True)]
    print(f"\nall six / the largest alone: {ratio[0]:.2f} by the clock, {ratio[1]:.2f} of the processors")
    print(f"recommended: {table.attrs['recommended']}")


if __name__ == "__main__":
    main()
