"""Sweeps the number of harmonics for the angles of this study and draws the figure of its README.

usage: python bias_variance.py OUT.png

log Z is a sum over a grid of the circle, in place of reference simulations; the same grid, in random order, is the
uniform truth on which each fit is scored.
"""

import sys
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from bayescg.analysis import basis_sweep, chosen_features  # noqa: E402
from bayescg.data import read_frames  # noqa: E402
from bayescg.output import figure_basis_sweep  # noqa: E402
from bayescg.physics import SufficientStatistics, Surrogate  # noqa: E402

MOST, NODES = 6, 2000


def harmonics(angle: np.ndarray) -> np.ndarray:
    """−cos kϑ, so that the coefficients are the κ of exp(Σ κ_k cos kϑ) [frame harmonic]."""
    return -np.cos(np.arange(1, MOST + 1) * angle[:, None])


def statistics(angle: np.ndarray) -> SufficientStatistics:
    rows = harmonics(angle)
    return SufficientStatistics(rows, rows, rows[:, :0], np.zeros(len(rows), int))


def main() -> None:
    angle = read_frames(Path(__file__).parent / "data" / "angles.nc").positions[:, 0, 0]
    grid = 2.0 * np.pi * (np.arange(NODES) + 0.5) / NODES
    base = jnp.full(NODES, -np.log(NODES))  # log Z relative to the uniform distribution
    surrogate = Surrogate(jnp.ones(()), jnp.zeros(MOST), jnp.asarray(harmonics(grid)), base)
    table = basis_sweep(
        statistics(angle),
        surrogate,
        [chosen_features(MOST, range(k)) for k in range(MOST + 1)],
        start=np.zeros(MOST),
        held_out=statistics(np.random.default_rng(0).permutation(grid)),
        n_blocks=5,
    )
    print("harmonics  gain on the angles  relative entropy to the truth  blocks left out")
    for k in range(MOST + 1):
        row = table.isel(basis=k)
        gain, loss = -float(row["train_relative_entropy"]), float(row["held_out_relative_entropy"])
        print(f"{k:9d}  {gain:18.6f}  {loss:29.6f}  {float(row['block_cv']):15.4f}")
    print(f"kappa of two harmonics: {table['coefficients'].values[2, :2].round(6).tolist()}")
    print(f"recommended: {table.attrs['recommended']}")
    figure_basis_sweep(table).savefig(sys.argv[1])


if __name__ == "__main__":
    main()
